"""How long work tells how far it is."""

from collections.abc import Callable

StageProgress = Callable[[str, int, int], None]
"""Is called with the name of a stage, what is done of it, and how much it is."""
