"""The engine that is `python -m fer.engines.tensorflow`, in a process of this Python."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fer.engines.caffe import ipc
from fer.engines.engine import Counter
from fer.engines.own_engine import OwnEngine
from fer.engines.process_engine import counting, gpu_numbers
from fer.errors import FerError

if TYPE_CHECKING:
    from fer.schema import caffe_pb2


@dataclass(frozen=True)
class TensorFlow(OwnEngine):
    """Caffe's nets as Keras models, on the CPU or one GPU."""

    name: str = "tensorflow"
    lacks: frozenset[str] = frozenset({"HDF5Output", "LSTM", "LSTMUnit", "RNN", "WindowData"})

    title = "TensorFlow"
    framework = "tensorflow"
    packages = ("tensorflow-cpu", "h5py")
    threads_variable = "FER_TENSORFLOW_THREADS"
    slow = True

    @property
    def precisions(self) -> tuple[str, ...]:
        return ("fp32", "bf16")

    @property
    def instead(self) -> str:
        return "take --engine pytorch, or --engine caffe"

    def own_environment(self, threads: str) -> Mapping[str, str]:
        # Its C++ would else tell of the processor and of missing GPU libraries in the midst of Caffe's lines.
        return {"TF_NUM_INTRAOP_THREADS": threads, "TF_CPP_MIN_LOG_LEVEL": "2"}

    def export(
        self,
        form: str,
        deploy: Path,
        weights: Path,
        transform: "caffe_pb2.TransformationParameter",
        shape: tuple[int, int, int],
        out: Path,
        *,
        calibration: Path | None = None,
    ) -> None:
        """Write a deploy net, with the transform of images of `shape` (C, H, W) in it, in a form of TensorFlow's.

        `calibration` are the images (uint8 [N, C, H, W], .npy) that a form of integers is chosen by. Raises FerError
        with the reason.
        """
        from google.protobuf import text_format  # here, as the command line goes without it

        text = text_format.MessageToString(transform, as_one_line=True)
        argv = ["export", "--format", form, "--model", str(deploy), "--weights", str(weights), "--transform", text]
        argv += ["--size", ",".join(map(str, shape)), "--out", str(out)]
        argv += ["--calibration", str(calibration)] if calibration else []
        self._call(argv, f"writing {form}", None, None)

    def read(self, form: str, file: Path, images: Path, out: Path, progress: Counter | None = None) -> None:
        """Write what an exported file answers to images (uint8 [N, C, H, W], .npy): probs float32 [N, K], .npz."""
        argv = ["read", "--format", form, "--file", str(file), "--source", str(images), "--out", str(out)]
        self._call(argv, f"reading {form}", None, counting({ipc.Predicted: progress}))

    def check_gpus(self, wanted: int | str) -> tuple[int, ...]:
        numbers = gpu_numbers(wanted)
        if numbers is None or len(numbers) > 1:
            raise FerError(
                f"--gpu {wanted}: TensorFlow trains on one GPU here\n"
                f"take --gpu N, or --engine pytorch --gpu {wanted}, which trains on several"
            )
        return super().check_gpus(wanted)


def layers_of(tensor: str, layers: Iterable[str]) -> list[str]:
    """The layers that a tensor of a TFLite file is the answer of, by its name as NET_1/NET_1/conv1_1/BiasAdd;..."""
    known = {keras_name(layer): layer for layer in layers}
    words = re.split("[/;]", tensor)
    return [known[name] for word in words for name in (word, re.sub(r"_\d+$", "", word)) if name in known]


def keras_name(layer: str) -> str:
    """A name that TensorFlow allows, of a layer's, which may hold no slash there."""
    plain = re.sub(r"[^\w.>-]", "_", layer.replace("/", "."), flags=re.ASCII) or "unnamed"
    return plain if re.match("[A-Za-z0-9.]", plain) else f".{plain}"
