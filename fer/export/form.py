"""A form of a net for a device or a program: what it is made of, what writes it, and what reads it back.

Each is written twice: of `bytes`, images as a camera gives them, with crop, mean and scale inside; and of `floats`,
which the caller has transformed. What writes and reads it may be heavy, or want packages of its own: a Tool, which
runs in an environment of its own.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from fer.errors import FerError
from fer.nets.transform import Transform
from fer.schema import caffe_pb2
from fer.system.script_python import FoundPython, ScriptPython

TOOLS = Path(__file__).parent / "tools"
BYTES, FLOATS = "bytes", "floats"
INPUTS = (BYTES, FLOATS)


@dataclass(frozen=True)
class Source:
    """What forms are made of: the folded net for use with its parameters, what comes before it, images to calibrate by.

    `calibration` is uint8 [N, C, H, W], as stored.
    """

    net: caffe_pb2.NetParameter
    blobs: Mapping[str, Sequence[np.ndarray]]
    transform: Transform
    calibration: np.ndarray

    def before(self, kind: str) -> Transform | None:
        """The transform that is part of a net of that kind of input."""
        return self.transform if kind == BYTES else None


def given(images: np.ndarray, transform: Transform, kind: str) -> np.ndarray:
    """float32, what a form of that kind of input is given for images uint8 [N, C, H, W]."""
    return images.astype(np.float32) if kind == BYTES else transform.views(images)[0]


@dataclass(frozen=True)
class Answers:
    """Probabilities float32 [N, K], and the median milliseconds of one image by one thread."""

    probs: np.ndarray
    milliseconds: float


@dataclass(frozen=True)
class Tool:
    """A script of `tools/` with pinned packages of its own; `title` and the megabytes to fetch are for people."""

    name: str
    title: str
    megabytes: int

    @property
    def script(self) -> ScriptPython:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return ScriptPython(TOOLS / f"{self.name}_tool.py", version, self.title)

    def is_there(self) -> bool:
        """Whether its packages have been fetched."""
        return self.script.is_there(_environment())

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
        found = self.find()
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
            np.save(images, inputs)
            self.run("predict", model.absolute(), "--images", images, "--out", out)
            with np.load(out, allow_pickle=False) as answers:
                return Answers(answers["probs"], float(answers["milliseconds"]))


class Server:
    """A tool that has read a model and answers, until it is closed; a context manager."""

    def __init__(self, tool: Tool, model: Path):
        self._tool, found = tool, tool.find()
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


class Form(Protocol):
    """A form: its name on the command line, and how it is judged."""

    @property
    def name(self) -> str: ...

    @property
    def tool(self) -> Tool: ...

    @property
    def tolerance(self) -> float | None:
        """The most by which a probability may differ from the run's own; None: judged by agreement (integers)."""
        ...

    @property
    def reading(self) -> str:
        """The lines of Python that load it and give it `face`, for the README."""
        ...

    def write(self, source: Source, kind: str, folder: Path) -> None:
        """Write the form of one kind of input into its folder. Raises FerError for a layer it does not know."""
        ...

    def predict(self, folder: Path, kind: str, inputs: np.ndarray) -> Answers:
        """Read it back. Raises FerError."""
        ...

    def serve(self, folder: Path) -> Server:
        """Its own runtime, to be asked again and again of images as a camera gives them."""
        ...


def _environment() -> dict[str, str]:
    """One thread; no PYTHONPATH of the user's Python; nothing tells its maker of a run."""
    kept = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH")
    }
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
