"""The engine that is `python -m fer.engines.pytorch`, in a process of this Python."""

import importlib.util
import os
import sys
from dataclasses import dataclass, replace
from typing import Self

from fer.engines.engine import PRECISIONS, Say
from fer.engines.interpreter import python_path
from fer.engines.process_engine import ProcessEngine
from fer.errors import FerError
from fer.system.hardware import physical_cores
from fer.system.shell import pip_install

PACKAGES = ("torch", "h5py")


@dataclass(frozen=True)
class PyTorch(ProcessEngine):
    """`lacks`: the layer types of BVLC Caffe 1.0 that it has not."""

    name: str = "pytorch"
    lacks: frozenset[str] = frozenset({"HDF5Output", "LSTM", "LSTMUnit", "RNN", "WindowData"})

    @property
    def title(self) -> str:
        return "PyTorch"

    @property
    def precisions(self) -> tuple[str, ...]:
        return PRECISIONS

    @property
    def shuffles(self) -> bool:
        return True

    @property
    def instead(self) -> str:
        return "take --engine caffe"

    def set_up(self, say: Say | None = None) -> Self:
        if self.command:
            return self
        if importlib.util.find_spec("torch") is None:
            raise FerError(f"the PyTorch engine needs torch, which this Python has not\n{pip_install(*PACKAGES)}")
        threads = os.environ.get("FER_TORCH_THREADS") or str(physical_cores())
        command = (sys.executable, "-m", "fer.engines.pytorch")
        # It works in run directories, whose Python files are no code of ours (nor of those it starts).
        environment = {**os.environ, **python_path("PYTHONPATH"), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": threads}
        return replace(self, command=command, environment=environment)

    def known_types(self, wanted: frozenset[str]) -> frozenset[str]:
        from fer.nets.lint import KNOWN_LAYERS  # here, as the command line goes without it

        return KNOWN_LAYERS - self.lacks if wanted <= KNOWN_LAYERS else self.layer_types()
