"""The engine that is a user's own `caffe` executable (FER_CAFFE): it trains, and the worker does the rest."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from fer.engines.engine import Say
from fer.engines.interpreter import WORKER, python_path
from fer.engines.process import EngineFailed
from fer.engines.real_caffe import PROBE_SOLVER, RealCaffe
from fer.errors import FerError

_TIED = WORKER.with_name("tied.py")
_NO_SUCH_TYPE = 'net_param { layer { name: "no" type: "NoSuchType" top: "no" } }'


@dataclass(frozen=True)
class CaffeExecutable(RealCaffe):
    """`executable` trains: what FER_CAFFE names, as a path or on PATH."""

    own: bool = True
    executable: Path = Path("caffe")

    @property
    def title(self) -> str:
        return self.executable.name

    @property
    def program(self) -> str:
        return str(self.executable)

    @property
    def resumes_exactly(self) -> bool:
        return False  # it begins at the data's start again

    @property
    def train_environment(self) -> dict[str, str]:
        """The Python inside it finds our layers, and the user's."""
        folders = [str(WORKER.parent), *python_path("PYTHONPATH").values()]
        return {**self.environment, "PYTHONPATH": os.pathsep.join(filter(None, folders))}

    def set_up(self, say: Say | None = None) -> Self:
        path = shutil.which(self.executable)
        if path is None:
            raise FerError(
                f"FER_CAFFE names {self.executable}, which is no program\nset it to a caffe executable, or unset it"
            )
        return replace(self, executable=Path(path).absolute())._with_worker(say)

    def _with_worker(self, say: Say | None) -> Self:
        return super().set_up(say)

    def stop_signal(self, number: int) -> int:
        return signal.SIGINT  # it has no answer to SIGTERM

    def train_command(
        self,
        solver: Path,
        *,
        gpus: Sequence[int] = (),
        weights: Path | None = None,
        snapshot: Path | None = None,
        ema: float | None = None,
    ) -> list[str]:
        argv = super().train_command(solver, gpus=gpus, weights=weights, snapshot=snapshot, ema=ema)
        effects = ["--sigint_effect", "stop", "--sighup_effect", "snapshot"]
        return [sys.executable, str(_TIED), str(self.executable), *argv[len(self.command) :], *effects]

    def known_types(self, wanted: frozenset[str]) -> frozenset[str]:
        return self._layer_types

    @cached_property
    def _layer_types(self) -> frozenset[str]:
        """It has no verb that lists them; it does so where it is asked for one that there is not."""
        try:
            self.probe(PROBE_SOLVER.format(type="SGD") + _NO_SUCH_TYPE)
        except EngineFailed as failure:
            if known := re.search(r"\(known types: ([\w:, ]+)\)", failure.reason):
                return frozenset(name.partition(":")[0] for name in known[1].split(", "))
            message = f"{self.executable} does not say which layer types it has\n{failure.reason}"
            raise FerError(message) from failure
        raise FerError(f"{self.executable} trains a layer type that there is not; is it a caffe executable?")

    def check_gpus(self, wanted: int | str) -> tuple[int, ...]:
        from fer.engines.caffe_build.builds import is_of_a_build  # here, as the command line goes without it

        numbers = super().check_gpus(wanted)
        if len(numbers) > 1 and is_of_a_build(self.executable):
            raise FerError(
                f"--gpu {wanted}: {self.executable} was built without NCCL, so that it trains on one GPU\n"
                "take --gpu N, or --engine pytorch, which trains on several"
            )
        return numbers

    def first_gpu(self, wanted: int | str | None) -> int | None:
        return None  # what scores is the worker

    def _gpu_command(self, wanted: int | str) -> list[str]:
        return [str(self.executable), "device_query", "--gpu", str(wanted)]

    def _listed_gpus(self, lines: Sequence[str]) -> tuple[int, ...]:
        return tuple(int(found[1]) for line in lines if (found := re.search(r"\bDevice id: +(\d+)\s*$", line)))
