"""Finds, or sets up, a Python that has real Caffe.

FER_CAFFE_PYTHON, if set; else the Python of a build by `fer caffe build`; else CPython 3.9 from PATH, from pyenv's
versions folder, or downloaded by uv, with the wheels that worker.py.lock has the hashes of. (`uv lock --script
worker.py` writes that from the worker's header.)
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from fer.errors import FerError
from fer.system.script_python import EXPORT, ScriptPython
from fer.system.shell import command

WORKER = Path(__file__).parent / "caffe" / "worker.py"
PYTHON = "3.9"
_WHEEL = f"kendryte-caffe's wheel in CPython {PYTHON}"
_DOWNLOAD = "--only-binary :all: --python-version {} --platform manylinux_2_24_x86_64 --platform manylinux2014_x86_64"
_OFFLINE = f"""here:
  EXPORT > caffe.txt
with caffe.txt where there is a network:
  pip download {_DOWNLOAD.format(PYTHON)} --dest wheels -r caffe.txt
bring wheels/ here, to any CPython {PYTHON}:
  python{PYTHON} -m venv caffe && caffe/bin/pip install --no-index --find-links wheels -r caffe.txt
  export FER_CAFFE_PYTHON="$PWD/caffe/bin/python\""""
CURE = "name a Python that can `import caffe` in FER_CAFFE_PYTHON; `fer doctor` says what was found"
SCRIPT = ScriptPython(WORKER, PYTHON, "real Caffe", CURE)
# Older Pythons have no -P, which keeps the current folder out; PYTHONPATH stays, as pycaffe is often found by it.
_IMPORTS_CAFFE = "import sys; sys.path[:] = filter(None, sys.path); import caffe"
# Where the worker finds a user's Python layers: behind its own packages, which a PYTHONPATH of another Python must not
# take the place of.
PYTHON_LAYERS = "FER_PYTHON_LAYERS"
SETTING_UP = "setting up real Caffe (about 60 MB, once) ..."


@dataclass(frozen=True)
class CaffePython:
    """A Python with Caffe, and how it was come by."""

    python: Path
    how: str
    environment: dict[str, str] = field(repr=False)
    skipped: tuple[str, ...] = ()  # where it could not be looked for, and why
    build: Path | None = None  # the folder of a build of ours

    def __str__(self) -> str:
        return f"{self.how} ({self.python})"

    @property
    def is_wheel(self) -> bool:
        """Whether it is the wheel that fer brings."""
        return self.how == _WHEEL


_known: dict[tuple[str | None, ...], CaffePython] = {}


def find_caffe(progress: Callable[[str], None] | None = None) -> CaffePython:
    """The Python that runs the Caffe worker; sets one up where there is none (and tells `progress` so).

    Raises FerError with the cure when Caffe cannot be had.
    """
    named = os.environ.get("FER_CAFFE_PYTHON")
    key = named, os.environ.get("PATH"), os.environ.get("FER_CAFFE_BUILDS"), *python_path("PYTHONPATH").values()
    if key not in _known:
        _known[key] = _users_own(named) if named else _built_or_wheel(progress)
    return _known[key]


def _built_or_wheel(progress: Callable[[str], None] | None) -> CaffePython:
    """A build of ours that starts, else the wheel; with why those were passed over that do not."""
    from fer.engines.caffe_build.builds import candidates, environment_of  # here, as it is read where there is need

    skipped: list[str] = []
    for build in candidates():
        environment = engine_environment(environment_of(build, clean_environment()))
        reason = _cannot_import(build.record.python, environment)
        if not reason:
            return CaffePython(Path(build.record.python), f"the {build}", environment, tuple(skipped), build.folder)
        cure = f"fer caffe remove {build.record.kind}, and build it anew"
        skipped.append(f"{build.folder} is for {build.record.python}, {reason}; {cure}")
    found = find_wheel(progress)
    return replace(found, skipped=(*skipped, *found.skipped))


def _cannot_import(python: str, environment: dict[str, str]) -> str | None:
    """Why a Python cannot `import caffe`; None where it can. Follows the name of the Python."""
    try:
        probe = subprocess.run(
            [python, "-c", _IMPORTS_CAFFE], capture_output=True, text=True, errors="replace", env=environment
        )
    except OSError as error:
        return f"which cannot be started: {error.strerror}"
    if probe.returncode == 0:
        return None
    words = probe.stderr.strip().splitlines() or [f"exit code {probe.returncode}"]
    return f"but `import caffe` fails there: {words[-1]}"


def clean_environment() -> dict[str, str]:
    """The shell's, without what is for another Python: the user's PYTHONPATH is for Python layers alone."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    return {**environment, **python_path(PYTHON_LAYERS)}


def _users_own(name: str) -> CaffePython:
    """FER_CAFFE_PYTHON: a path, or a name on PATH."""
    path = shutil.which(name)
    if path is None:
        raise FerError(f"FER_CAFFE_PYTHON names {name}, which is no program\nset it to a Python that has pycaffe")
    environment = engine_environment({**os.environ, **python_path("PYTHONPATH")})
    path = str(Path(path).absolute())  # it is started in other folders
    if reason := _cannot_import(path, environment):
        raise FerError(
            f"FER_CAFFE_PYTHON names {path}, {reason}\n"
            "set it to a Python that has pycaffe, or unset it and fer sets up Caffe by itself"
        )
    return CaffePython(Path(path), "the Python named in FER_CAFFE_PYTHON", environment)


def find_wheel(progress: Callable[[str], None] | None = None) -> CaffePython:
    """The worker's own environment, made by uv as its lock says. Raises FerError with the cure."""
    found = SCRIPT.find(clean_environment(), (lambda: progress(SETTING_UP)) if progress else None)
    return CaffePython(found.python, _WHEEL, engine_environment(found.environment), found.skipped)


def wheel_is_there() -> bool:
    """Whether the wheel's environment is set up already."""
    return SCRIPT.is_there(clean_environment())


def offline_cure() -> str:
    """How to get the wheel onto a machine without a network, in lines."""
    export = command(sys.executable, "-m", "uv", *EXPORT, "--frozen", "--script", WORKER)
    return _OFFLINE.replace("EXPORT", export)


def python_path(variable: str) -> dict[str, str]:
    """The user's PYTHONPATH as `variable`, if it is set, seen from the folder that we are in: engines run in others.

    An empty entry, which would mean the folder of the run, is left out.
    """
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = [os.path.abspath(entry) for entry in entries if entry]  # noqa: PTH100 -- Path.absolute() keeps ".."
    return {variable: os.pathsep.join(folders)} if "PYTHONPATH" in os.environ else {}


def engine_environment(environment: dict[str, str]) -> dict[str, str]:
    """The environment of an engine: log on stderr, one BLAS thread (faster on small nets, and repeatable)."""
    threads = environment.get("FER_CAFFE_THREADS", "1")
    return environment | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "GLOG_logtostderr": "1"}
