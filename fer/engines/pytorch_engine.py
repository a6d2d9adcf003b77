"""The engine that is `python -m fer.engines.pytorch`, in a process of this Python."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fer.engines.engine import PRECISIONS, Say
from fer.engines.interpreter import python_path
from fer.engines.process_engine import ProcessEngine
from fer.errors import FerError
from fer.system.hardware import physical_cores
from fer.system.shell import pip_install

if TYPE_CHECKING:
    from fer.schema import caffe_pb2

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
