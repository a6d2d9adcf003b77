"""The engine that is `python -m fer.engines.pytorch`, in a process of this Python."""

from dataclasses import dataclass

from fer.engines.engine import PRECISIONS
from fer.engines.own_engine import OwnEngine


@dataclass(frozen=True)
class PyTorch(OwnEngine):
    """Caffe's nets on torch, on the CPU and on GPUs, alone or as several processes."""

    name: str = "pytorch"
    lacks: frozenset[str] = frozenset({"HDF5Output", "LSTM", "LSTMUnit", "RNN", "WindowData"})

    title = "PyTorch"
    framework = "torch"
    packages = ("torch", "h5py")
    threads_variable = "FER_TORCH_THREADS"

    @property
    def precisions(self) -> tuple[str, ...]:
        return PRECISIONS

    @property
    def instead(self) -> str:
        return "take --engine caffe"
