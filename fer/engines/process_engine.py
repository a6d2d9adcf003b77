"""What engines share that are processes with a command line: their verbs as calls."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fer.engines.caffe import ipc
from fer.engines.engine import NO_GPU, Counter, Demand, Say
from fer.engines.process import call, last_words
from fer.errors import FerError, UsageError

if TYPE_CHECKING:
    from fer.nets.states import State
    from fer.schema import caffe_pb2


@dataclass(frozen=True)
class ProcessEngine:
    """An engine whose process takes the verbs of engine.py after `command`, in `environment`."""

    name: str = ""
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    precision: str = "fp32"
    own: bool = False
    python_layers: bool = False
    lacks: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        return self.name.capitalize()

    @property
    def precisions(self) -> tuple[str, ...]:
        return ("fp32",)

    @property
    def shuffles(self) -> bool:
        return False

    @property
    def keeps_ema(self) -> bool:
        return False

    @property
    def has_gpu_code(self) -> bool:
        return True

    @property
    def resumes_exactly(self) -> bool:
        return True

    @property
    def threads(self) -> str:
        return self.environment.get("OMP_NUM_THREADS", "1")

    @property
    def instead(self) -> str:
        return "take another --engine"

    @property
    def train_environment(self) -> Mapping[str, str]:
        return self.environment

    def set_up(self, say: Say | None = None) -> Self:
        return self

    def allowing(self, python_layers: bool) -> Self:
        return replace(self, python_layers=python_layers)

    def at(self, precision: str) -> Self:
        return replace(self, precision=precision)

    def known_types(self, wanted: frozenset[str]) -> frozenset[str]:
        return self.layer_types()

    def layer_types(self) -> frozenset[str]:
        """Every layer type that it says it has."""
        listed = self._ask(["layers"], "listing its layer types")["layer_types"]
        return frozenset(name.partition(":")[0] for name in listed)  # Python:Augment is a Python layer

    def shortfall(self, demand: Demand) -> str | None:
        from fer.nets.lint import KNOWN_LAYERS  # here, as the command line goes without it

        missing = sorted((demand.layer_types & KNOWN_LAYERS) - self.known_types(demand.layer_types))
        return f"has no layer type {', '.join(missing)}" if missing else None

    def stop_signal(self, number: int) -> int:
        return number

    def train_command(
        self,
        solver: Path,
        *,
        gpus: Sequence[int] = (),
        weights: Path | None = None,
        snapshot: Path | None = None,
        ema: float | None = None,
    ) -> list[str]:
        argv = [*self.command, "train", "--solver", str(solver)]
        argv += ["--gpu", ",".join(map(str, gpus))] if gpus else []
        argv += ["--precision", self.precision] if self.precision != "fp32" else []
        argv += ["--weights", str(weights)] if weights is not None else []
        argv += ["--snapshot", str(snapshot)] if snapshot is not None else []
        argv += ["--ema", str(ema)] if ema is not None else []
        return argv

    def describe(self, model: Path, state: State, *, folder: Path | None = None) -> dict[str, Any]:
        argv = ["describe", "--model", str(model), "--phase", state.phase, *_rules(state)]
        return self._ask(argv, "building the net", folder)

    def predict(
        self,
        deploy: Path,
        weights: Sequence[Path],
        images: Path,
        transform: caffe_pb2.TransformationParameter,
        outs: Sequence[Path],
        *,
        ten_crop: bool = False,
        gpu: int | None = None,
        folder: Path | None = None,
        progress: Counter | None = None,
        answered: Counter | None = None,
    ) -> None:
        from google.protobuf import text_format  # here, as the command line goes without it

        text = text_format.MessageToString(transform, as_one_line=True)
        argv = ["predict", "--model", str(deploy), "--source", str(images), "--transform", text]
        for path, out in zip(weights, outs, strict=True):
            argv += ["--weights", str(path), "--out", str(out)]
        argv += ["--ten-crop"] if ten_crop else []
        argv += ["--gpu", str(gpu)] if gpu is not None else []
        self._call(argv, "scoring", folder, counting({ipc.Predicted: progress, ipc.Answered: answered}))

    def batch(self, model: Path, out: Path, *, state: State, seed: int = -1, folder: Path | None = None) -> None:
        argv = ["batch", "--model", str(model), "--phase", state.phase, *_rules(state)]
        self._call([*argv, "--seed", str(seed), "--out", str(out)], "reading a batch", folder, None)

    def average(
        self,
        train_val: Path,
        weights: Sequence[Path],
        out: Path,
        *,
        state: State,
        batches: int | None = None,
        gpu: int | None = None,
        folder: Path | None = None,
        progress: Counter | None = None,
    ) -> int:
        argv = ["average", "--model", str(train_val), "--weights", ",".join(map(str, weights)), "--out", str(out)]
        argv += ["--iterations", str(batches)] if batches is not None else []
        argv += _rules(state)
        argv += ["--gpu", str(gpu)] if gpu is not None else []
        return int(self._ask(argv, "averaging snapshots", folder, counting({ipc.Passed: progress}))["batches"])

    def doctor(self) -> dict[str, Any]:
        return self._ask(["doctor"], "looking at itself")

    # ---- GPUs

    def check_gpus(self, wanted: int | str) -> tuple[int, ...]:
        numbers = gpu_numbers(wanted)
        probe = subprocess.run(
            self._gpu_command(wanted), env=dict(self.environment), capture_output=True, text=True, errors="replace"
        )
        if probe.returncode != 0:
            raise self._no_gpu(wanted, last_words(probe.stderr.splitlines(), self.title))
        if numbers is None:
            numbers = self._listed_gpus((probe.stdout + probe.stderr).splitlines())
        if not numbers:
            raise FerError(f"--gpu {wanted}: {self.title} does not say which it found; name them, as --gpu 0,1")
        return numbers

    def first_gpu(self, wanted: int | str | None) -> int | None:
        if wanted is None:
            return None
        try:
            return self.check_gpus(wanted)[0]
        except FerError:
            return None

    def _gpu_command(self, wanted: int | str) -> list[str]:
        """What exits with 0 where the GPUs can be used, and says which they are."""
        return [*self.command, "gpu", "--gpu", str(wanted)]

    def _listed_gpus(self, lines: Sequence[str]) -> tuple[int, ...]:
        return tuple(said.number for said in map(ipc.parse, lines) if isinstance(said, ipc.Gpu))

    def _no_gpu(self, wanted: int | str, reason: str) -> FerError:
        reason = reason.removesuffix("; leave --gpu out to train on the CPU")  # as one says that is called by itself
        return FerError(
            f"--gpu {wanted}: {self.title} cannot use it; {reason}\ntake --gpu {NO_GPU} to train on the CPU"
        )

    # ---- verbs

    @property
    def _speaker(self) -> str:
        """Who answers to the verbs, for a person."""
        return self.title

    def _call(self, argv: Sequence[str], task: str, folder: Path | None, on_line: Callable[[str], None] | None) -> str:
        return call([*self.command, *argv], self.environment, folder, on_line, self._speaker, task)

    def _ask(
        self,
        argv: Sequence[str],
        task: str,
        folder: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Run a verb that answers with one JSON object."""
        answer = self._call(argv, task, folder, on_line)
        try:
            said: dict[str, Any] = json.loads(answer.strip().splitlines()[-1])
            return said
        except (IndexError, json.JSONDecodeError) as error:
            raise FerError(f"{self._speaker}, {task}, answered what is no JSON: {answer[:200]!r}") from error


def gpu_numbers(gpus: int | str) -> tuple[int, ...] | None:
    """(0, 1) of "0,1"; None of "all". Raises UsageError for anything else."""
    if gpus == "all":
        return None
    words = str(gpus).split(",")
    if not all(re.fullmatch(r"[0-9]+", word) for word in words) or len(set(words)) < len(words):
        raise UsageError(f"--gpu {gpus}: give numbers, each once, as 0 or 0,1, or all")
    return tuple(map(int, words))


def _rules(state: State) -> list[str]:
    return [*(word for stage in state.stages for word in ("--stage", stage)), "--level", str(state.level)]


def counting(counters: Mapping[type[ipc.Count], Counter | None]) -> Callable[[str], None]:
    """Hands the numbers of an engine's messages of these kinds on."""

    def on_line(line: str) -> None:
        message = ipc.parse(line)
        if isinstance(message, ipc.COUNTS) and (counter := counters.get(type(message))):
            counter(*message)

    return on_line
