"""The Python of a script with pinned packages (PEP 723): found, or set up by uv in an environment of its own.

script = ScriptPython(Path("worker.py"), "3.9", "real Caffe")
script.find(progress).python          # with everything that worker.py.lock has the hashes of

(`uv lock --script worker.py` writes the lock from the script's header.) Nothing is put into the user's environment,
and nothing beside the script, which may lie where none may write.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fer.errors import FerError
from fer.system.files import write_bytes
from fer.system.hashes import file_hash
from fer.system.shell import pip_install

EXPORT = ("export", "--quiet", "--offline")
_STAMP = "fer-lock"  # a file of the environment: the hash of the lock that all of it was installed by


@dataclass(frozen=True)
class FoundPython:
    """A script's Python, in the environment that it is to be started in; `skipped` says what could not be used."""

    python: Path
    environment: dict[str, str]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScriptPython:
    """The environment of `script`, which wants CPython `version`; `what` it is and its `cure` stand in messages."""

    script: Path
    version: str
    what: str
    cure: str = ""

    @property
    def lock(self) -> Path:
        return self.script.with_name(f"{self.script.name}.lock")

    def find(self, environment: dict[str, str], on_set_up: Callable[[], None] | None = None) -> FoundPython:
        """Its Python, in `environment` with uv's cache where it can be written.

        `on_set_up` is called before it is made. Raises FerError with the cure.
        """
        environment = dict(environment)
        skipped = with_cache(environment)
        ready = self.python(environment)
        if not self.is_whole(ready):
            if on_set_up:
                on_set_up()
            self._sync(environment, skipped)
            ready = self.python(environment)
        if ready is None:
            raise self._fault(f"uv set up the environment of {self.what} but does not find it again")
        return FoundPython(ready, environment, tuple(skipped))

    def is_there(self, environment: dict[str, str]) -> bool:
        """Whether it is set up already."""
        environment = dict(environment)
        with_cache(environment)
        return self.is_whole(self.python(environment))

    def python(self, environment: dict[str, str]) -> Path | None:
        """The Python of its environment, if uv has made one."""
        found = self._uv(["python", "find", "--no-python-downloads", "--script", str(self.script)], environment)
        return Path(found.stdout.strip()) if found.returncode == 0 and found.stdout.strip() else None

    def is_whole(self, python: Path | None) -> bool:
        """Whether all that the lock names was installed beside `python`, and by this very lock."""
        if python is None:
            return False
        try:
            return (python.parent.parent / _STAMP).read_text(encoding="utf-8") == file_hash(self.lock)
        except (OSError, UnicodeError):
            return False

    def _fault(self, message: str) -> FerError:
        return FerError(f"{message}\n{self.cure}" if self.cure else message)

    def _sync(self, environment: dict[str, str], skipped: list[str]) -> None:
        failures = []
        for python in (*self.installed_pythons(environment, skipped), self.version):
            done = self._install(python, environment)
            if done.returncode == 0:
                return
            failures.append(_reason(done.stderr))
        passed_over = f" (passed over: {'; '.join(skipped)})" if skipped else ""
        raise self._fault(f"{self.what} could not be set up: {failures[-1]}{passed_over}")

    def _install(self, python: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Make an environment and put in it, from whatever index uv is set to, the wheels that have the lock's hashes.

        `uv sync` would do it at once, but from the index alone that the lock was made with.
        """
        packages = re.findall(r'^name = "([\w.-]+)"$', self.lock.read_text(encoding="utf-8"), re.MULTILINE)
        empty = [option for name in packages for option in ("--no-install-package", name)]
        script = ["--frozen", "--script", str(self.script)]
        done = self._uv(["sync", *script, "--python", python, "--inexact", *empty], environment)
        ready = self.python(environment) if done.returncode == 0 else None
        if ready is None:
            return done
        done = self._uv([*EXPORT, *script], environment)
        if done.returncode != 0:
            return done
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirements:
            requirements.write(done.stdout)
            requirements.flush()
            options = ["--python", str(ready), "--require-hashes", "--no-build", "--no-progress"]
            done = self._uv(["pip", "sync", *options, requirements.name], environment)
        if done.returncode == 0:
            write_bytes(ready.parent.parent / _STAMP, file_hash(self.lock).encode())
        return done

    def installed_pythons(self, environment: dict[str, str], skipped: list[str]) -> Iterator[str]:
        """CPython of its version on PATH, then in pyenv's versions folder, newest first; only those that start.

        A folder that cannot be looked into is passed over; `skipped` then says why.
        """
        root = Path(environment.get("PYENV_ROOT") or Path(environment.get("HOME") or "/") / ".pyenv")
        versions: list[Path] = []
        try:
            versions = [
                folder for folder in (root / "versions").iterdir() if folder.name.startswith(f"{self.version}.")
            ]
        except FileNotFoundError:
            pass
        except OSError as error:
            skipped.append(f"{root}: {error.strerror}")
        versions.sort(key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.name)], reverse=True)
        pyenv = (folder / "bin" / f"python{self.version}" for folder in versions)
        for candidate in (shutil.which(f"python{self.version}", path=environment.get("PATH")), *map(str, pyenv)):
            if candidate and starts(candidate, self.version, environment):
                yield candidate

    def _uv(self, arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        try:
            import uv  # here, as a process of an engine goes without it

            return subprocess.run(
                [uv.find_uv_bin(), *arguments],
                capture_output=True, text=True, errors="surrogateescape", env=environment, cwd=self.script.parent,
            )  # fmt: skip
        except (ImportError, OSError) as error:
            cure = f"{pip_install('uv')}" + (f"\nor {self.cure}" if self.cure else "")
            raise FerError(f"uv is missing ({error}): {cure}") from error


def with_cache(environment: dict[str, str]) -> list[str]:
    """Let uv keep environments in the temporary folder where its own place cannot be written; says so."""
    home = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or "/") / ".cache")
    cache = Path(environment.get("UV_CACHE_DIR") or home / "uv")
    if _can_write(cache):
        return []
    own = Path(tempfile.gettempdir()) / f"fer-caffe-{os.getuid()}"
    if not _can_write(own) or own.is_symlink() or own.stat().st_uid != os.getuid():
        return [f"{cache}: cannot be written, nor can {own}; name a folder in UV_CACHE_DIR"]
    environment["UV_CACHE_DIR"] = str(own)
    environment.setdefault("UV_PYTHON_INSTALL_DIR", str(own / "python"))
    return [f"{cache}: cannot be written, so packages are kept in {own}"]


def _can_write(folder: Path) -> bool:
    """Whether the folder is there, or could be made, to be written by us."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _reason(said: str) -> str:
    """The last cause of those that uv gives, which what it found may follow; else its last line."""
    lines = said.strip().splitlines() or ["uv said nothing"]
    causes = [found[1] for line in lines if (found := re.match(r"\s*(?:error:|[Cc]ause[\w ]*:|[×╰├][─▶]*) (.*)", line))]
    return (causes or lines)[-1].strip()


def starts(python: str, version: str, environment: dict[str, str]) -> bool:
    """Whether it is a CPython of that version, as a pyenv shim may be on PATH and yet start nothing."""
    code = "import platform; print(platform.python_implementation(), platform.python_version())"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, errors="replace", env=environment, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.startswith(f"CPython {version}.")
