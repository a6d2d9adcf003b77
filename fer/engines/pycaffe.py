"""The engine that is real Caffe behind its Python interface: the wheel, or the Python named in FER_CAFFE_PYTHON."""

from dataclasses import dataclass

from fer.engines.process_engine import gpu_numbers
from fer.engines.real_caffe import RealCaffe
from fer.errors import FerError


@dataclass(frozen=True)
class PyCaffe(RealCaffe):
    """The worker trains and scores. The wheel is BVLC Caffe 1.0 for the CPU; of a user's own nothing is known."""

    @property
    def program(self) -> str:
        return self.command[0]

    @property
    def has_gpu_code(self) -> bool:
        return self.own

    def known_types(self, wanted: frozenset[str]) -> frozenset[str]:
        from fer.nets.lint import KNOWN_LAYERS  # here, as the command line goes without it

        return KNOWN_LAYERS if not self.own and wanted <= KNOWN_LAYERS else self.layer_types()

    def check_gpus(self, wanted: int | str) -> tuple[int, ...]:
        numbers = gpu_numbers(wanted)
        if numbers is None or len(numbers) > 1:
            raise FerError(
                f"--gpu {wanted}: pycaffe trains on one GPU\n"
                "take --gpu N, name a GPU build's caffe executable in FER_CAFFE, or take --engine pytorch"
            )
        return super().check_gpus(wanted)
