"""PyTorch as the framework of an engine, and on a device."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from fer.engines.core.log import Log
from fer.engines.pytorch import device as devices
from fer.engines.pytorch.distributed import PROGRAM, Ranks, start_ranks
from fer.engines.pytorch.gpu_faults import gpu_fault
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds, known_types
from fer.engines.pytorch.training import Training
from fer.errors import FerError
from fer.nets.states import State
from fer.schema import caffe_pb2


@dataclass
class Backend:
    """PyTorch on one device, in one precision, as one of `ranks`."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    ranks: Ranks = field(default_factory=Ranks)
    graphs: bool = field(default_factory=devices.graphs_wanted)
    """Whether passes on a GPU are replayed as a CUDA graph."""
    memory_format: torch.memory_format = torch.channels_last
    """How images and filters lie in memory; scripts/bench_gpu.py measures both ways."""

    def set_up(self) -> None:
        """What holds for all that this process computes. Raises FerError for a precision that there is not."""
        devices.set_up(self.device, self.precision)

    def net(
        self,
        proto: caffe_pb2.NetParameter,
        state: State,
        *,
        path: str | Path | None = None,
        seed: int = -1,
        scope: str = "",
    ) -> Net:
        """The layers that take part in `state`, on the device; see `fer.engines.core.framework.Backend`."""
        context = Context(
            state.phase,
            self.device,
            seeds=Seeds(seed, self.device, scope),
            rank=self.ranks.rank,
            world=self.ranks.world,
            memory_format=self.memory_format,
            precision=self.precision,
        )
        return Net(proto, context, state=state, path=path)

    def training(self, net: Net, solver: caffe_pb2.SolverParameter, log: Log) -> Training:
        """The training of one of this backend's nets."""
        return Training(net, solver, self.ranks, log, self.graphs)

    def class_gradient(
        self, net: Net, images: np.ndarray, classes: Sequence[int], *, score: str, at: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """A blob and the gradient by it; see `fer.engines.core.verbs.grad_cam.Differentiating`."""
        net.forward(**{net.inputs[0]: torch.from_numpy(images).to(self.device).requires_grad_()})
        scores = net.blobs[score].reshape(len(images), -1)
        chosen = scores[torch.arange(len(images)), torch.tensor(classes, device=self.device)]
        (gradient,) = torch.autograd.grad(chosen.sum(), net.blobs[at])
        return net.host(net.blobs[at]), net.host(gradient)


class PyTorch:
    """See `fer.engines.core.framework.Framework`."""

    program = PROGRAM
    name = "PyTorch"
    file = torch.__file__
    epilog = "FER_TORCH_GRAPH=0 in the environment: train on a GPU without CUDA graphs (slower; to find a fault)."

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def layer_types(self) -> frozenset[str]:
        return known_types()

    def gpu_names(self) -> list[str]:
        if not torch.cuda.is_available():
            return []
        return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]

    def gpus_of(self, text: str | None) -> list[int]:
        return devices.gpus_of(text)

    def try_gpu(self, gpu: int) -> None:
        torch.ones(1, device=devices.device_of(gpu)).sum().item()

    def fault(self, error: RuntimeError) -> FerError | None:
        return gpu_fault(error)

    def on(self, gpus: Sequence[int], precision: str) -> Backend:
        return Backend(devices.device_of(gpus[0] if gpus else None), precision)

    def join(self, gpus: Sequence[int], precision: str) -> Backend:
        ranks = Ranks()
        backend = Backend(ranks.device(gpus), precision, ranks)
        backend.set_up()  # before NCCL, which takes the current device
        ranks.join(backend.device)
        return backend

    def leave(self, backend: Backend) -> None:
        backend.ranks.wait()
        backend.ranks.leave()

    def start_ranks(self, count: int, arguments: Sequence[str]) -> int | None:
        return start_ranks(count, arguments) if Ranks().alone else None
