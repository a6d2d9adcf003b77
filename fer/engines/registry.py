"""The engines by name. To add one: a module with its class, a function here that makes one, its name in ENGINES."""

import os
from collections.abc import Callable
from pathlib import Path

from fer.engines.caffe_executable import CaffeExecutable
from fer.engines.engine import Engine, Say
from fer.engines.pycaffe import PyCaffe
from fer.engines.pytorch_engine import PyTorch
from fer.engines.tensorflow_engine import TensorFlow
from fer.errors import UsageError

AUTO = "auto"


def users_own_caffe() -> bool:
    """Whether the environment names a Caffe to take, so that no other is looked for."""
    return bool(os.environ.get("FER_CAFFE") or os.environ.get("FER_CAFFE_PYTHON"))


def _caffe() -> Engine:
    if executable := os.environ.get("FER_CAFFE"):
        return CaffeExecutable(executable=Path(executable))
    if users_own_caffe():
        return PyCaffe(own=True)
    from fer.engines.caffe_build.builds import candidates  # here, as the command line goes without it

    kinds = [build.record.kind for build in candidates()[:1]]
    return PyCaffe(built=bool(kinds), gpu_build="gpu" in kinds)


# What makes each engine: at once and without looking for it, which its `set_up` does.
ENGINES: dict[str, Callable[[], Engine]] = {"caffe": _caffe, "pytorch": PyTorch, "tensorflow": TensorFlow}
CHOSEN = ("caffe", "pytorch")
"""Those that `--engine auto` chooses from: the first that can do what is asked."""
SPARE = "tensorflow"
"""What it takes where none of them can be had."""


def engine_called(name: str) -> Engine:
    """The engine called `name`, not yet set up. Raises UsageError with the valid names."""
    if name not in ENGINES:
        raise UsageError(f"no engine called {name!r}; there is {', '.join(sorted(ENGINES))}")
    return ENGINES[name]()


def find_engine(name: str, say: Say | None = None) -> Engine:
    """The engine called `name`, set up if need be. Raises UsageError with the valid names."""
    return engine_called(name).set_up(say)


def engines_that(can: Callable[[Engine], bool]) -> list[str]:
    """Names of those for which `can` holds, as far as is known without setting them up."""
    return [name for name, make in ENGINES.items() if can(make())]
