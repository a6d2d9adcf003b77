"""Engines: processes that speak Caffe. This package starts them; nothing of `fer` imports one.

An engine is a command with these verbs (see caffe/worker.py, which is one):
    train    --solver S [--snapshot X.solverstate | --weights W.caffemodel] [--gpu 0[,1...]]
    predict  --model deploy.prototxt --weights W --source images.npy --transform train_val.prototxt --out scores.npz
    describe --model M --phase P [--stage S ...] [--level L]
    layers, doctor, gpu
    average  --model train_val.prototxt --weights W,W2[,...] --out W (the PyTorch engine)
To add one, add its name to ENGINES.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fer.engines.interpreter import WORKER, find_caffe
from fer.engines.process import Child, EngineFailed, call, how_it_ended, last_words
from fer.errors import FerError, UsageError
from fer.system.hardware import physical_cores
from fer.system.shell import pip_install

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "TITLES",
    "Child",
    "Engine",
    "EngineFailed",
    "caffe_doctor",
    "find_caffe",
    "find_engine",
    "how_it_ended",
    "last_words",
    "users_own_caffe",
]

Say = Callable[[str], None]
PRECISIONS = ("fp32", "tf32", "bf16")
PYTORCH_PACKAGES = ("torch", "h5py")
TITLES = {"caffe": "Caffe", "pytorch": "PyTorch"}


@dataclass(frozen=True)
class Engine:
    """How to start an engine: `command` before each verb, in `environment`.

    tool        a user's own `caffe` executable that trains in its place (FER_CAFFE), or None
    own         whether it is a Caffe of the user's, of which nothing is known before it is asked
    precisions  the arithmetic it can train in; `precision` is the one it is to train in
    lacks       layer types of BVLC Caffe 1.0 that it has not
    shuffles    whether it can read an LMDB in a new order each epoch (the stage `shuffle`)
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    tool: Path | None = None
    own: bool = False
    precisions: tuple[str, ...] = ("fp32",)
    precision: str = "fp32"
    lacks: frozenset[str] = frozenset()
    shuffles: bool = False

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.tool.name if self.tool else TITLES.get(self.name, self.name.capitalize())

    @property
    def threads(self) -> str:
        """How many threads it calculates with."""
        return self.environment.get("OMP_NUM_THREADS", "1")

    def at(self, precision: str) -> "Engine":
        """The engine that trains in this precision. Raises UsageError where it has only others."""
        if precision not in self.precisions:
            raise UsageError(
                f"--precision {precision}: {self.title} trains in {' or '.join(self.precisions)}"
                + (" only; take --engine pytorch" if precision in PRECISIONS else "")
            )
        return replace(self, precision=precision)

    @property
    def precise(self) -> bool:
        """Whether training can be resumed in the middle of an epoch with nothing changed."""
        return self.tool is None

    @property
    def train_environment(self) -> dict[str, str]:
        """That of the process that trains: the Python inside a user's own `caffe` finds our layers, and theirs."""
        if self.tool is None:
            return dict(self.environment)
        folders = [str(WORKER.parent), os.environ.get("PYTHONPATH")]
        return {**self.environment, "PYTHONPATH": os.pathsep.join(filter(None, folders))}

    def stop_signal(self, number: int) -> int:
        """The signal that makes the engine stop and save, when we are asked to by `number`."""
        return signal.SIGINT if self.tool else number

    def train_command(
        self, solver: Path, *, gpus: Sequence[int] = (), weights: Path | None = None, snapshot: Path | None = None
    ) -> list[str]:
        """The command that trains, on the CPU without `gpus`; paths as seen from the run directory, its folder."""
        argv = [str(self.tool), "train"] if self.tool else [*self.command, "train"]
        argv += ["--solver", str(solver)]
        if gpus:
            argv += ["--gpu", ",".join(map(str, gpus))]
        if self.precision != "fp32":
            argv += ["--precision", self.precision]
        if weights is not None:
            argv += ["--weights", str(weights)]
        if snapshot is not None:
            argv += ["--snapshot", str(snapshot)]
        if self.tool:
            argv += ["--sigint_effect", "stop", "--sighup_effect", "snapshot"]
        return argv

    def describe(
        self, model: Path, phase: str, *, stages: Sequence[str] = (), level: int = 0, folder: Path | None = None
    ) -> dict[str, Any]:
        """The net as the engine builds it.

        {"params": {layer: [shape, ...]}, "blobs": {name: shape}, "types": {layer: type}, "versions": {name: version}}
        Raises EngineFailed with the engine's reason when it cannot build it, and with the layer it was at.
        """
        argv = ["describe", "--model", str(model), "--phase", phase, *_net_state(stages, level)]
        return self._ask(argv, "building the net", folder)

    def layer_types(self) -> frozenset[str]:
        """Every layer type that the engine knows."""
        return frozenset(self._ask(["layers"], "listing its layer types")["layer_types"])

    def predict(
        self,
        deploy: Path,
        weights: Path,
        images: Path,
        train_val: Path,
        out: Path,
        *,
        ten_crop: bool = False,
        gpu: int | None = None,
        folder: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Write probs float32 [N,K] of the images (uint8 [N,C,H,W], .npy) to `out` (.npz).

        The images go through the TEST-phase transform of `train_val`; with `ten_crop` the probabilities of the four
        corners and the centre, each also mirrored, are averaged. Raises FerError with the engine's reason.
        """
        argv = ["predict", "--model", str(deploy), "--weights", str(weights), "--source", str(images)]
        argv += ["--transform", str(train_val), "--out", str(out)]
        argv += ["--ten-crop"] if ten_crop else []
        argv += ["--gpu", str(gpu)] if gpu is not None else []
        call([*self.command, *argv], self.environment, folder, _counting("predicted", progress), self.title, "scoring")

    def average(
        self,
        train_val: Path,
        weights: Sequence[Path],
        out: Path,
        *,
        batches: int | None = None,
        stages: Sequence[str] = (),
        level: int = 0,
        gpu: int | None = None,
        folder: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Write the mean of the weights files to `out`, the statistics of BatchNorm layers measured anew.

        These take `batches` forward passes of the training data (an epoch if None); gives how many were made, 0 for a
        net without such layers. Raises FerError with the engine's reason.
        """
        argv = ["average", "--model", str(train_val), "--weights", ",".join(map(str, weights)), "--out", str(out)]
        argv += ["--iterations", str(batches)] if batches is not None else []
        argv += _net_state(stages, level)
        argv += ["--gpu", str(gpu)] if gpu is not None else []
        return int(self._ask(argv, "averaging snapshots", folder, _counting("passed", progress))["batches"])

    def check_gpus(self, wanted: int | str) -> tuple[int, ...]:
        """The GPUs that `wanted` (0, "0,1" or "all") means. Raises FerError unless the engine can train on them."""
        numbers = _numbers(wanted)
        if self.name == "caffe" and self.tool is None and (numbers is None or len(numbers) > 1):
            raise FerError(
                f"--gpu {wanted}: pycaffe trains on one GPU\n"
                "take --gpu N, name a GPU build's caffe executable in FER_CAFFE, or take --engine pytorch"
            )
        argv = [str(self.tool), "device_query"] if self.tool else [*self.command, "gpu"]
        probe = subprocess.run(
            [*argv, "--gpu", str(wanted)], env=dict(self.environment), capture_output=True, text=True, errors="replace"
        )
        if probe.returncode != 0:
            raise self._no_gpu(wanted, last_words(probe.stderr.splitlines(), self.title))
        if numbers is None:
            numbers = _listed_gpus(probe.stdout + probe.stderr)
        if not numbers:
            raise FerError(f"--gpu {wanted}: {self.title} does not say which it found; name them, as --gpu 0,1")
        return numbers

    def first_gpu(self, wanted: int | str | None) -> int | None:
        """The first of a run's GPUs, where the engine scores on GPUs and this machine has them; None means the CPU."""
        if wanted is None or self.tool is not None:
            return None
        try:
            return self.check_gpus(wanted)[0]
        except FerError:
            return None

    def _no_gpu(self, wanted: int | str, reason: str) -> FerError:
        if self.name == "pytorch":
            cure = "leave --gpu out to train on the CPU"
            return FerError(f"--gpu {wanted}: PyTorch cannot use it; {reason.removesuffix(f'; {cure}')}\n{cure}")
        program = self.tool or self.command[0]
        only_cpu = "CPU-only" in reason
        what = f"the Caffe found ({program}) is CPU-only" if only_cpu else f"{program} cannot use it; {reason}"
        return FerError(
            f"--gpu {wanted}: {what}\n"
            "leave --gpu out, name a GPU build's caffe executable in FER_CAFFE, or take --engine pytorch"
        )

    def _ask(
        self,
        argv: Sequence[str],
        task: str,
        folder: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Run a verb that answers with one JSON object."""
        answer = call(
            [*self.command, *argv], self.environment, folder, on_line, TITLES.get(self.name, self.title), task
        )
        try:
            said: dict[str, Any] = json.loads(answer.strip().splitlines()[-1])
            return said
        except (IndexError, json.JSONDecodeError) as error:
            raise FerError(f"{self.title}, {task}, answered what is no JSON: {answer[:200]!r}") from error


def _net_state(stages: Sequence[str], level: int) -> list[str]:
    return [*(word for stage in stages for word in ("--stage", stage)), "--level", str(level)]


def _counting(verb: str, progress: Callable[[int, int], None] | None) -> Callable[[str], None]:
    """Hears `predicted 64 of 3589` in an engine's lines."""

    def on_line(line: str) -> None:
        words = line.split()
        if progress and len(words) == 4 and words[0] == verb:
            progress(int(words[1]), int(words[3]))

    return on_line


def _caffe(say: Say | None) -> Engine:
    found = find_caffe(say)
    command = (str(found.python), str(WORKER))
    return Engine("caffe", command, found.environment, _users_tool(), own=users_own_caffe())


def users_own_caffe() -> bool:
    """Whether the environment names a Caffe to take, so that no other is looked for."""
    return bool(os.environ.get("FER_CAFFE") or os.environ.get("FER_CAFFE_PYTHON"))


def _users_tool() -> Path | None:
    """FER_CAFFE: a `caffe` executable, by path or by name on PATH."""
    name = os.environ.get("FER_CAFFE")
    if not name:
        return None
    path = shutil.which(name)
    if path is None:
        raise FerError(f"FER_CAFFE names {name}, which is no program\nset it to a caffe executable, or unset it")
    return Path(path).absolute()


def _pytorch(_say: Say | None) -> Engine:
    if importlib.util.find_spec("torch") is None:
        raise FerError(f"the PyTorch engine needs torch, which this Python has not\n{pip_install(*PYTORCH_PACKAGES)}")
    threads = os.environ.get("FER_TORCH_THREADS") or str(physical_cores())
    return Engine(
        "pytorch",
        (sys.executable, "-m", "fer.engines.pytorch"),
        {**os.environ, "OMP_NUM_THREADS": threads},
        precisions=PRECISIONS,
        lacks=frozenset({"HDF5Output", "LSTM", "LSTMUnit", "RNN", "WindowData"}),
        shuffles=True,
    )


# From a name to what makes the engine, given something to tell of a long set-up.
ENGINES: dict[str, Callable[[Say | None], Engine]] = {"caffe": _caffe, "pytorch": _pytorch}


def find_engine(name: str, say: Say | None = None) -> Engine:
    """The engine called `name`, set up if need be. Raises UsageError with the valid names."""
    if name not in ENGINES:
        raise UsageError(f"no engine called {name!r}; there is {', '.join(sorted(ENGINES))}")
    return ENGINES[name](say)


def _numbers(gpus: int | str) -> tuple[int, ...] | None:
    """(0, 1) of "0,1"; None of "all". Raises UsageError for anything else."""
    if gpus == "all":
        return None
    words = str(gpus).split(",")
    if not all(word.isascii() and word.isdigit() for word in words) or len(set(words)) < len(words):
        raise UsageError(f"--gpu {gpus}: give numbers, each once, as 0 or 0,1, or all")
    return tuple(map(int, words))


def _listed_gpus(answer: str) -> tuple[int, ...]:
    """Of `GPU 0: name` or of the `Device id: 0` of `caffe device_query`."""
    return tuple(int(number) for number in re.findall(r"\b(?:GPU|Device id:) +(\d+)(?:: |$)", answer, re.MULTILINE))


def caffe_doctor() -> dict[str, Any]:
    """What the Caffe found says of itself.

    {"python", "executable", "caffe", "file", "numpy", "protobuf": versions and paths, "layer_types": [...],
    "gpu": bool, "one_step_ok": bool}. Raises FerError where there is none.
    """
    return find_engine("caffe")._ask(["doctor"], "looking at itself")
