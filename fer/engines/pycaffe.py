"""The engine that is real Caffe behind its Python interface: a build of ours, the wheel, or FER_CAFFE_PYTHON's."""

from dataclasses import dataclass

from fer.engines.process_engine import gpu_numbers
from fer.engines.real_caffe import RealCaffe
from fer.errors import FerError

_NOT_IN_WHEEL = frozenset({"Clip"})  # of BVLC Caffe's layer types


@dataclass(frozen=True)
class PyCaffe(RealCaffe):
    """The worker trains and scores. The wheel is BVLC Caffe 1.0 for the CPU; of a user's own nothing is known.

    `built`: there is a build by `fer caffe build`; `gpu_build`: and it is for GPUs.
    """

    built: bool = False
    gpu_build: bool = False

    @property
    def program(self) -> str:
        return self.command[0]

    @property
    def has_gpu_code(self) -> bool:
        return self.own or self.gpu_build

    def known_types(self, wanted: frozenset[str]) -> frozenset[str]:
        from fer.nets.lint import KNOWN_LAYERS  # here, as the command line goes without it

        wheels = KNOWN_LAYERS - _NOT_IN_WHEEL
        return self.layer_types() if self.own or self.built or not wanted <= KNOWN_LAYERS else wheels

    def check_gpus(self, wanted: int | str) -> tuple[int, ...]:
        numbers = gpu_numbers(wanted)
        if numbers is None or len(numbers) > 1:
            raise FerError(
                f"--gpu {wanted}: pycaffe trains on one GPU\n"
                "take --gpu N, name a caffe executable that was built with NCCL in FER_CAFFE, or take --engine pytorch"
            )
        return super().check_gpus(wanted)
