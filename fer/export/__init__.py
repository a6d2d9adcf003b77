"""A run's chosen net for other programs, each form proved."""
