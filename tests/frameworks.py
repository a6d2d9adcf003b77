"""Our engines' frameworks by name, for tests that hold for each of them and run it in their own process."""

import importlib
from typing import Any

import pytest

from fer.engines.core.framework import Framework

FRAMEWORKS = {"pytorch": "PyTorch", "tensorflow": "TensorFlow"}
each_engine = pytest.mark.parametrize("engine", FRAMEWORKS)


def framework(name: str) -> Framework:
    """Imported when it is asked for, as that takes seconds."""
    made: Any = getattr(importlib.import_module(f"fer.engines.{name}.backend"), FRAMEWORKS[name])
    of_it: Framework = made()
    return of_it
