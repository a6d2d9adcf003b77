"""Finds, or sets up, a Python that has real Caffe.

FER_CAFFE_PYTHON, if set; else the Python of a build by `fer caffe build`; else CPython 3.9 from PATH, from pyenv's
versions folder, or downloaded by uv, with the wheels that worker.py.lock has the hashes of. (`uv lock --script
worker.py` writes that from the worker's header.)
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from fer.errors import FerError
from fer.system.files import write_bytes
from fer.system.hashes import file_hash
from fer.system.shell import command, pip_install

WORKER = Path(__file__).parent / "caffe" / "worker.py"
LOCK = WORKER.with_name("worker.py.lock")
PYTHON = "3.9"
_EXPORT = ("export", "--quiet", "--offline")
_WHEEL = f"kendryte-caffe's wheel in CPython {PYTHON}"
_STAMP = "fer-lock"  # a file of the environment: the hash of the lock that all of it was installed by
_DOWNLOAD = "--only-binary :all: --python-version {} --platform manylinux_2_24_x86_64 --platform manylinux2014_x86_64"
_OFFLINE = f"""here:
  EXPORT > caffe.txt
with caffe.txt where there is a network:
  pip download {_DOWNLOAD.format(PYTHON)} --dest wheels -r caffe.txt
bring wheels/ here, to any CPython {PYTHON}:
  python{PYTHON} -m venv caffe && caffe/bin/pip install --no-index --find-links wheels -r caffe.txt
  export FER_CAFFE_PYTHON="$PWD/caffe/bin/python\""""
CURE = "name a Python that can `import caffe` in FER_CAFFE_PYTHON; `fer doctor` says what was found"
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
    environment = clean_environment()
    skipped = _with_cache(environment)
    ready = _script_python(environment)
    if not _is_whole(ready):
        if progress:
            progress(SETTING_UP)
        _sync(environment, skipped)
        ready = _script_python(environment)
    if ready is None:
        raise FerError(f"uv set up Caffe's environment but does not find it again\n{CURE}")
    environment = engine_environment(environment)
    return CaffePython(ready, _WHEEL, environment, tuple(skipped))


def wheel_is_there() -> bool:
    """Whether the wheel's environment is set up already."""
    environment = clean_environment()
    _with_cache(environment)
    return _is_whole(_script_python(environment))


def _with_cache(environment: dict[str, str]) -> list[str]:
    """Let uv keep Caffe's environment in the temporary folder where its own place cannot be written; says so."""
    home = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or "/") / ".cache")
    cache = Path(environment.get("UV_CACHE_DIR") or home / "uv")
    if _can_write(cache):
        return []
    own = Path(tempfile.gettempdir()) / f"fer-caffe-{os.getuid()}"
    if not _can_write(own) or own.is_symlink() or own.stat().st_uid != os.getuid():
        return [f"{cache}: cannot be written, nor can {own}; name a folder in UV_CACHE_DIR"]
    environment["UV_CACHE_DIR"] = str(own)
    environment.setdefault("UV_PYTHON_INSTALL_DIR", str(own / "python"))
    return [f"{cache}: cannot be written, so Caffe is kept in {own}"]


def _script_python(environment: dict[str, str]) -> Path | None:
    """The Python of the worker's environment, if uv has made one."""
    found = _uv(["python", "find", "--no-python-downloads", "--script", str(WORKER)], environment)
    return Path(found.stdout.strip()) if found.returncode == 0 and found.stdout.strip() else None


def _is_whole(python: Path | None) -> bool:
    """Whether all that the lock names was installed beside `python`, and by this very lock."""
    if python is None:
        return False
    try:
        return (python.parent.parent / _STAMP).read_text(encoding="utf-8") == file_hash(LOCK)
    except (OSError, UnicodeError):
        return False


def _can_write(folder: Path) -> bool:
    """Whether the folder is there, or could be made, to be written by us."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _sync(environment: dict[str, str], skipped: list[str]) -> None:
    """Make the worker's environment; writes nothing beside the worker, which may lie where none may write."""
    failures = []
    for python in (*_installed_pythons(environment, skipped), PYTHON):
        done = _install(python, environment)
        if done.returncode == 0:
            return
        failures.append(_reason(done.stderr))
    passed_over = f" (passed over: {'; '.join(skipped)})" if skipped else ""
    raise FerError(f"real Caffe could not be set up: {failures[-1]}{passed_over}\n{CURE}")


def _reason(said: str) -> str:
    """The last cause of those that uv gives, which what it found may follow; else its last line."""
    lines = said.strip().splitlines() or ["uv said nothing"]
    causes = [found[1] for line in lines if (found := re.match(r"\s*(?:error:|[Cc]ause[\w ]*:|[×╰├][─▶]*) (.*)", line))]
    return (causes or lines)[-1].strip()


def _install(python: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Make an environment and put in it, from whatever index uv is set to, the wheels that have the lock's hashes.

    `uv sync` would do it at once, but from the index alone that the lock was made with.
    """
    packages = re.findall(r'^name = "([\w.-]+)"$', LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    empty = [option for name in packages for option in ("--no-install-package", name)]
    script = ["--frozen", "--script", str(WORKER)]
    done = _uv(["sync", *script, "--python", python, "--inexact", *empty], environment)
    ready = _script_python(environment) if done.returncode == 0 else None
    if ready is None:
        return done
    done = _uv([*_EXPORT, *script], environment)
    if done.returncode != 0:
        return done
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirements:
        requirements.write(done.stdout)
        requirements.flush()
        options = ["--python", str(ready), "--require-hashes", "--no-build", "--no-progress"]
        done = _uv(["pip", "sync", *options, requirements.name], environment)
    if done.returncode == 0:
        write_bytes(ready.parent.parent / _STAMP, file_hash(LOCK).encode())
    return done


def _installed_pythons(environment: dict[str, str], skipped: list[str]) -> Iterator[str]:
    """CPython 3.9 on PATH, then in pyenv's versions folder, newest first; only those that start.

    A folder that cannot be looked into is passed over; `skipped` then says why.
    """
    root = Path(environment.get("PYENV_ROOT") or Path(environment.get("HOME") or "/") / ".pyenv")
    versions: list[Path] = []
    try:
        versions = [folder for folder in (root / "versions").iterdir() if folder.name.startswith(f"{PYTHON}.")]
    except FileNotFoundError:
        pass
    except OSError as error:
        skipped.append(f"{root}: {error.strerror}")
    versions.sort(key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.name)], reverse=True)
    pyenv = (folder / "bin" / f"python{PYTHON}" for folder in versions)
    for candidate in (shutil.which(f"python{PYTHON}", path=environment.get("PATH")), *map(str, pyenv)):
        if candidate and _starts(candidate, environment):
            yield candidate


def _starts(python: str, environment: dict[str, str]) -> bool:
    """A pyenv shim may be on PATH and yet start nothing."""
    code = "import platform; print(platform.python_implementation(), platform.python_version())"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, errors="replace", env=environment, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.startswith(f"CPython {PYTHON}.")


def _uv(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        import uv  # here, as a process of an engine goes without it

        return subprocess.run(
            [uv.find_uv_bin(), *arguments],
            capture_output=True, text=True, errors="surrogateescape", env=environment, cwd=WORKER.parent,
        )  # fmt: skip
    except (ImportError, OSError) as error:
        raise FerError(f"uv is missing ({error}): {pip_install('uv')}\nor {CURE}") from error


def offline_cure() -> str:
    """How to get the wheel onto a machine without a network, in lines."""
    export = command(sys.executable, "-m", "uv", *_EXPORT, "--frozen", "--script", WORKER)
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
