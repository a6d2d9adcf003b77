"""The engine that is `python -m fer.engines.tensorflow`, in a process of this Python."""

from collections.abc import Mapping
from dataclasses import dataclass

from fer.engines.own_engine import OwnEngine
from fer.engines.process_engine import gpu_numbers
from fer.errors import FerError


@dataclass(frozen=True)
class TensorFlow(OwnEngine):
    """Caffe's nets as Keras models, on the CPU or one GPU."""

    name: str = "tensorflow"
    lacks: frozenset[str] = frozenset({"HDF5Output", "LSTM", "LSTMUnit", "RNN", "WindowData"})

    title = "TensorFlow"
    framework = "tensorflow"
    packages = ("tensorflow-cpu", "h5py")
    threads_variable = "FER_TENSORFLOW_THREADS"

    @property
    def precisions(self) -> tuple[str, ...]:
        return ("fp32", "bf16")

    @property
    def instead(self) -> str:
        return "take --engine pytorch, or --engine caffe"

    def own_environment(self, threads: str) -> Mapping[str, str]:
        # Its C++ would else tell of the processor and of missing GPU libraries in the midst of Caffe's lines.
        return {"TF_NUM_INTRAOP_THREADS": threads, "TF_CPP_MIN_LOG_LEVEL": "2"}

    def check_gpus(self, wanted: int | str) -> tuple[int, ...]:
        numbers = gpu_numbers(wanted)
        if numbers is None or len(numbers) > 1:
            raise FerError(
                f"--gpu {wanted}: TensorFlow trains on one GPU here\n"
                f"take --gpu N, or --engine pytorch --gpu {wanted}, which trains on several"
            )
        return super().check_gpus(wanted)
