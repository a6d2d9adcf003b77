"""Engines: processes that speak Caffe. This package starts them; nothing of `fer` imports one.

An engine is a command with these verbs (see caffe/worker.py, which is one):
    train    --solver S [--snapshot X.solverstate | --weights W.caffemodel] [--gpu N]
    predict  --model deploy.prototxt --weights W --source images.npy --transform train_val.prototxt --out scores.npz
    describe --model M --phase P [--stage S ...] [--level L]
    layers, doctor, gpu
To add one, add its name to ENGINES.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer.engines.interpreter import WORKER, find_caffe
from fer.engines.process import Child, call, how_it_ended, last_words
from fer.errors import FerError, UsageError

__all__ = ["ENGINES", "Child", "Engine", "caffe_doctor", "find_caffe", "find_engine", "how_it_ended", "last_words"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Engine:
    """How to start an engine: `command` before each verb, in `environment`.

    tool     a user's own `caffe` executable that trains in its place (FER_CAFFE), or None
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    tool: Path | None = None

    @property
    def precise(self) -> bool:
        """Whether training can be resumed in the middle of an epoch with nothing changed."""
        return self.tool is None

    def stop_signal(self, number: int) -> int:
        """The signal that makes the engine stop and save, when we are asked to by `number`."""
        return signal.SIGINT if self.tool else number

    def train_command(
        self, solver: Path, *, gpu: int | None = None, weights: Path | None = None, snapshot: Path | None = None
    ) -> list[str]:
        """The command that trains; paths as the engine sees them from its folder, the run directory."""
        argv = [str(self.tool), "train"] if self.tool else [*self.command, "train"]
        argv += ["--solver", str(solver)]
        if gpu is not None:
            argv += ["--gpu", str(gpu)]
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
        Raises FerError with the engine's reason when it cannot build it.
        """
        argv = ["describe", "--model", str(model), "--phase", phase, "--level", str(level)]
        for stage in stages:
            argv += ["--stage", stage]
        return self._ask(argv, folder)

    def layer_types(self) -> frozenset[str]:
        """Every layer type the engine knows."""
        return frozenset(self._ask(["layers"])["layer_types"])

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

        def on_line(line: str) -> None:
            words = line.split()
            if progress and len(words) == 4 and words[0] == "predicted":
                progress(int(words[1]), int(words[3]))

        call([*self.command, *argv], self.environment, folder, on_line)

    def check_gpu(self, gpu: int) -> None:
        """Raise FerError with the cures unless the engine can train on GPU `gpu`."""
        if self.tool:
            argv = [str(self.tool), "device_query", "--gpu", str(gpu)]
        else:
            argv = [*self.command, "gpu", "--gpu", str(gpu)]
        probe = subprocess.run(argv, env=dict(self.environment), capture_output=True, text=True, errors="replace")
        if probe.returncode == 0:
            return
        reason = last_words(probe.stderr.splitlines())
        if "CPU-only" in reason:
            what = f"--gpu {gpu}: the Caffe found ({self.tool or self.command[0]}) is CPU-only"
        else:
            what = f"--gpu {gpu}: {self.tool or self.command[0]} cannot use it; {reason}"
        raise FerError(
            f"{what}\nleave --gpu out, or name a GPU build's caffe executable in FER_CAFFE"
            + ("" if self.name == "pytorch" or "pytorch" not in ENGINES else ", or take --engine pytorch")
        )

    def _ask(self, argv: Sequence[str], folder: Path | None = None) -> dict[str, Any]:
        """Run a verb that answers with one JSON object."""
        answer = call([*self.command, *argv], self.environment, folder)
        try:
            return json.loads(answer.strip().splitlines()[-1])
        except (IndexError, json.JSONDecodeError) as error:
            raise FerError(f"{self.name}'s {argv[0]} answered what is no JSON: {answer[:200]!r}") from error


def _caffe(say: Callable[[str], None] | None) -> Engine:
    found = find_caffe(say)
    command = (str(found.python), str(WORKER))
    return Engine("caffe", command, found.environment, _users_tool())


def _users_tool() -> Path | None:
    """FER_CAFFE: a `caffe` executable, by path or by name on PATH."""
    name = os.environ.get("FER_CAFFE")
    if not name:
        return None
    path = shutil.which(name)
    if path is None:
        raise FerError(f"FER_CAFFE names {name}, which is no program\nset it to a caffe executable, or unset it")
    return Path(path).absolute()


# From a name to what makes the engine, given something to tell of a long set-up.
ENGINES: dict[str, Callable[[Callable[[str], None] | None], Engine]] = {"caffe": _caffe}


def find_engine(name: str, say: Callable[[str], None] | None = None) -> Engine:
    """The engine called `name`, set up if need be. Raises UsageError with the valid names."""
    if name not in ENGINES:
        raise UsageError(f"no engine called {name!r}; there is {', '.join(sorted(ENGINES))}")
    return ENGINES[name](say)


def caffe_doctor() -> dict[str, Any]:
    """What the Caffe found says of itself.

    {"python", "executable", "caffe", "file", "numpy", "protobuf": versions and paths, "layer_types": [...],
    "gpu": bool, "one_step_ok": bool}. Raises FerError where there is none.
    """
    return find_engine("caffe")._ask(["doctor"])
