"""The engine that is `python -m fer.engines.pytorch`, in a process of this Python."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fer.engines.engine import PRECISIONS
from fer.engines.own_engine import OwnEngine

if TYPE_CHECKING:
    from fer.schema import caffe_pb2


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

    def grad_cam(
        self,
        deploy: Path,
        weights: Path,
        images: Path,
        transform: "caffe_pb2.TransformationParameter",
        classes: Sequence[int],
        out: Path,
        *,
        folder: Path | None = None,
    ) -> None:
        """Write Grad-CAM maps float32 [N,H,W] ("maps") of the images, one class each, to `out` (.npz). Raises FerError
        with the engine's reason."""
        from google.protobuf import text_format  # here, as the command line goes without it

        argv = ["grad_cam", "--model", str(deploy), "--weights", str(weights), "--source", str(images)]
        argv += ["--transform", text_format.MessageToString(transform, as_one_line=True)]
        argv += ["--classes", ",".join(map(str, classes)), "--out", str(out)]
        self._call(argv, "drawing Grad-CAM", folder, None)
