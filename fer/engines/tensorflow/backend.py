"""TensorFlow as the framework of an engine, and on a device."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import tensorflow as tf

from fer.engines.core.log import Log
from fer.engines.core.ranks import Alone
from fer.engines.engine import PRECISIONS
from fer.engines.tensorflow import device as devices
from fer.engines.tensorflow.context import Context, Seeds
from fer.engines.tensorflow.net import Net
from fer.engines.tensorflow.registry import LAYERS
from fer.engines.tensorflow.training import Training
from fer.errors import FerError
from fer.nets.states import State
from fer.schema import caffe_pb2

PROGRAM = "fer.engines.tensorflow"


@dataclass
class Backend:
    """TensorFlow on one device, in one precision."""

    gpu: int | None = None
    precision: str = "fp32"
    ranks: Alone = field(default_factory=Alone)

    def set_up(self) -> None:
        """What holds for all that this process computes. Raises FerError for a precision that there is not."""
        if self.precision not in PRECISIONS:
            raise FerError(f"no precision {self.precision!r}; there are {', '.join(PRECISIONS)}")
        tf.config.experimental.enable_tensor_float_32_execution(self.precision != "fp32")
        devices.use(self.gpu)

    def net(
        self,
        proto: caffe_pb2.NetParameter,
        state: State,
        *,
        path: str | Path | None = None,
        seed: int = -1,
        scope: str = "",
    ) -> Net:
        """The layers that take part in `state`; see `fer.engines.core.framework.Backend`."""
        context = Context(state.phase, seeds=Seeds(seed, scope), precision=self.precision)
        return Net(proto, context, state=state, path=path)

    def training(self, net: Net, solver: caffe_pb2.SolverParameter, log: Log) -> Training:
        """The training of one of this backend's nets."""
        return Training(net, solver)


class TensorFlow:
    """See `fer.engines.core.framework.Framework`."""

    program = PROGRAM
    name = "TensorFlow"
    file = tf.__file__
    epilog = "TF_CPP_MIN_LOG_LEVEL=0 in the environment: TensorFlow's own messages, which are off."

    def versions(self) -> dict[str, str]:
        return {"tensorflow": tf.__version__, "keras": keras.__version__}

    def layer_types(self) -> frozenset[str]:
        return LAYERS.known_types()

    def gpu_names(self) -> list[str]:
        return devices.gpu_names()

    def gpus_of(self, text: str | None) -> list[int]:
        return devices.gpus_of(text)

    def try_gpu(self, gpu: int) -> None:
        with tf.device(f"/GPU:{gpu}"):
            float(tf.reduce_sum(tf.ones(1)))

    def fault(self, error: RuntimeError) -> FerError | None:
        return None

    def on(self, gpus: Sequence[int], precision: str) -> Backend:
        return Backend(gpus[0] if gpus else None, precision)

    def join(self, gpus: Sequence[int], precision: str) -> Backend:
        return self.on(gpus, precision)

    def leave(self, backend: Backend) -> None:
        pass

    def start_ranks(self, count: int, arguments: Sequence[str]) -> int | None:
        line = " ".join(arguments)
        raise FerError(
            f"TensorFlow trains on one GPU here, and {count} are named\n"
            f"name one, or take PyTorch for several: --engine pytorch (python -m fer.engines.pytorch {line})"
        )
