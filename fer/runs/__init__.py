"""The run directory, its record and its snapshots."""
