"""A program with packages of its own that writes and reads a form: a script of `tools/`, in its own environment."""

import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np

from fer.errors import FerError
from fer.system.arrays import write_array
from fer.system.script_python import FoundPython, ScriptPython

TOOLS = Path(__file__).parent / "tools"


@dataclass(frozen=True)
class Answers:
    """Probabilities float32 [N, K], and the median milliseconds of one image by one thread; None of a simulator."""

    probs: np.ndarray
    milliseconds: float | None


@dataclass(frozen=True)
class Tool:
    """A script of `tools/` with pinned packages of its own; `title` and the megabytes to fetch are for people.

    `python` is the CPython that it wants, where not any will do.
    """

    name: str
    title: str
    megabytes: int
    python: str = f"{sys.version_info.major}.{sys.version_info.minor}"

    @property
    def script(self) -> ScriptPython:
        return ScriptPython(TOOLS / f"{self.name}_tool.py", self.python, self.title)

    def is_there(self) -> bool:
        """Whether its packages have been fetched."""
        return self.script.is_there(_environment())

    def need(self, form: str) -> None:
        """Raises FerError where it is not there, which writes or reads the form."""
        if not self.is_there():
            raise FerError(f"--format {form}: {self.title} is not there; fer export --yes fetches it")

    def versions(self) -> dict[str, str]:
        """Of the packages that its script names."""
        header = self.script.script.read_text(encoding="utf-8").partition("dependencies")[2].partition("]")[0]
        return dict(re.findall(r'"([\w-]+)==([\w.]+)"', header))

    def find(self, say: Callable[[str], None] | None = None) -> FoundPython:
        """Its Python; fetches its packages where they are not there, and tells `say` so. Raises FerError."""
        text = f"fetching {self.title} (about {self.megabytes} MB, once) ..."
        return self.script.find(_environment(), (lambda: say(text)) if say else None)

    def run(self, *words: object) -> None:
        """Run a verb of it. Raises FerError with its last words."""
        found = _found(self)
        done = subprocess.run(
            [found.python, self.script.script, *map(str, words)],
            capture_output=True, text=True, errors="replace", env=found.environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise FerError(f"{self.title}: {last}")

    def predict(self, model: Path, inputs: np.ndarray) -> Answers:
        """What the file `model` says to inputs float32 [N, ...]. Raises FerError."""
        with tempfile.TemporaryDirectory(prefix="fer-form-") as folder:
            images, out = Path(folder, "images.npy"), Path(folder, "answers.npz")
            write_array(images, inputs)
            self.run("predict", model.absolute(), "--images", images, "--out", out)
            with np.load(out, allow_pickle=False) as answers:
                took = float(answers["milliseconds"]) if "milliseconds" in answers else None
                return Answers(answers["probs"], took)

    def noise(self, model: Path, than: Path, inputs: np.ndarray) -> dict[str, float]:
        """The signal to noise of what `model` computes inside, in decibels, held to another of the same net, by name.

        Inputs are float32 [N, ...]. Raises FerError.
        """
        with tempfile.TemporaryDirectory(prefix="fer-form-") as folder:
            images, out = Path(folder, "images.npy"), Path(folder, "noise.npz")
            write_array(images, inputs)
            self.run("noise", model.absolute(), "--than", than, "--images", images, "--out", out)
            with np.load(out, allow_pickle=False) as found:
                return dict(zip(found["names"].tolist(), found["ratios"].tolist(), strict=True))


class Server:
    """A tool that has read a model and answers, until it is closed; a context manager."""

    def __init__(self, tool: Tool, model: Path):
        self._tool, found = tool, _found(tool)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 -- as long as the process
        self._process = subprocess.Popen(
            [found.python, tool.script.script, "serve", model.absolute()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, env=found.environment,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """float32 [N, K] of inputs float32 [N, ...]. Raises FerError where the tool ended."""
        assert self._process.stdin and self._process.stdout
        file = io.BytesIO()
        np.save(file, inputs)
        try:
            self._process.stdin.write(len(file.getvalue()).to_bytes(8, "little") + file.getvalue())
            self._process.stdin.flush()
            size = int.from_bytes(self._process.stdout.read(8), "little")
            answer: np.ndarray = np.load(io.BytesIO(self._process.stdout.read(size)), allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            self._process.wait()
            self._said.seek(0)
            last = (self._said.read().decode(errors="replace").strip().splitlines() or [str(error)])[-1]
            raise FerError(f"{self._tool.title}: {last}") from None
        return answer


@cache
def _found(tool: Tool) -> FoundPython:
    """Its Python, looked for once: uv takes its time."""
    return tool.find()


def _environment() -> dict[str, str]:
    """One thread; no PYTHONPATH of the user's Python; nothing tells its maker of a run."""
    kept = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH")
    }
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
