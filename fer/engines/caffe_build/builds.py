"""The builds that there are: where they lie, what each can do, which one is taken."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fer.errors import FerError
from fer.system.files import cannot_write
from fer.system.locks import lock
from fer.system.records import read_record

KINDS = ("cpu", "gpu")
RECORD = "build.json"
# Made by the NVIDIA driver; under WSL the other one.
_DRIVER = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


@dataclass(frozen=True)
class BuildRecord:
    """What was built, of what, and what was proved of it.

    `python` ran fer at the build, whose pycaffe is for it alone; `arch` are the GPUs that it has code for, none on a
    CPU build; `without` says what it lacks for want of a library.
    """

    FORMAT: ClassVar[int] = 1

    kind: str
    commit: str
    edits: str
    python: str
    python_version: str
    compiler: str
    date: str
    fer: str
    arch: tuple[int, ...] = ()
    cuda: str = ""
    cudnn: bool = False
    without: tuple[str, ...] = ()
    proofs: tuple[str, ...] = ()
    format: int = 1


@dataclass(frozen=True)
class Build:
    """A finished build in `folder`: bin/caffe, lib/libcaffe.so, python/caffe."""

    folder: Path
    record: BuildRecord

    @property
    def executable(self) -> Path:
        return self.folder / "bin" / "caffe"

    @property
    def python_path(self) -> Path:
        return self.folder / "python"

    def __str__(self) -> str:
        gpus = ", ".join(f"sm_{number}" for number in self.record.arch)
        of = f"GPU build ({gpus}{', cuDNN' if self.record.cudnn else ''})" if gpus else "CPU build"
        return f"{of} of BVLC Caffe {self.record.commit[:7]} for CPython {self.record.python_version}"


def home() -> Path:
    """Where the user's builds lie, or links to those elsewhere: FER_CAFFE_BUILDS, else the user's data folder."""
    if named := os.environ.get("FER_CAFFE_BUILDS"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "fer" / "caffe"


def unfinished(folder: Path) -> Path:
    """Where what is to be `folder` is being built."""
    return folder.with_name(f".{folder.name}.unfinished")


def build_in(folder: Path) -> Build:
    """The build there. Raises FerError where there is none, or its record is damaged."""
    cure = "remove the folder, and fer caffe build makes it anew"
    return Build(folder, read_record(folder / RECORD, BuildRecord, cure))


def all_builds() -> tuple[list[Build], list[str]]:
    """Those that are finished, in the order of their names; and of others why they are passed over."""
    found, passed_over = [], []
    for folder in _folders():
        if folder.is_symlink() and not folder.exists():
            passed_over.append(f"{folder} leads to {folder.readlink()}, which is not there")
            continue
        try:
            found.append(build_in(folder))
        except FerError as fault:
            passed_over.append(str(fault).splitlines()[0])
    return found, passed_over


def _folders() -> list[Path]:
    try:
        return sorted(path for path in home().iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def unfinished_builds() -> list[Path]:
    """What stopped builds have left, to be gone on with."""
    try:
        return sorted(path for path in home().iterdir() if path.name.endswith(".unfinished"))
    except OSError:
        return []


def candidates() -> list[Build]:
    """Those that may be taken, best first: a GPU build where there is a driver, as without one it cannot train."""
    driver = any(path.exists() for path in _DRIVER)
    usable = [build for build in all_builds()[0] if driver or build.record.kind == "cpu"]
    return sorted(usable, key=lambda build: KINDS.index(build.record.kind), reverse=True)


def is_of_a_build(executable: Path) -> bool:
    """Whether a caffe executable is one of ours."""
    return (executable.resolve().parent.parent / RECORD).exists()


def register(folder: Path) -> None:
    """Have a build that lies elsewhere found, by a link in `home`."""
    if folder.parent.resolve() == home().resolve():
        return
    link = home() / folder.name
    try:
        home().mkdir(parents=True, exist_ok=True)
        if link.is_symlink() or not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(folder.resolve(), target_is_directory=True)
    except OSError as error:
        raise cannot_write(link, error) from error


def check_ours(path: Path) -> None:
    """Raise FerError where what is there was not made by us."""
    if path.exists() and not (path / RECORD).is_file():
        raise FerError(f"{path} is left alone: it is no build of fer's (no {RECORD} is in it)")


def remove(path: Path) -> None:
    """Remove a build, and of a link what it leads to, too. Raises FerError where it cannot, or where it is none."""
    check_ours(path)
    try:
        build = path.resolve()
        if path.is_symlink():
            path.unlink()
        if build.exists():
            _remove(build)
    except OSError as error:
        raise cannot_write(path, error) from error


def remove_unfinished(path: Path) -> None:
    """Remove what a stopped build left. Raises FerError where it cannot, or where a build is at it."""
    try:
        with held(path):
            _remove(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def _remove(folder: Path) -> None:
    """By another name first, so that what a stop leaves looks neither built nor begun."""
    going = folder.with_name(f".{folder.name.strip('.')}.removed")
    shutil.rmtree(going, ignore_errors=True)
    folder.replace(going)
    shutil.rmtree(going)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Path]:
    """The folder of what is unfinished, which no other process builds in meanwhile. Raises FerError, OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not lock(descriptor):
            raise FerError(f"{folder}: another process is building there. Wait for it")
        yield folder
    finally:
        os.close(descriptor)


def environment_of(build: Build, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for the build's Python: its pycaffe is the one that `import caffe` finds."""
    return {**environment, "PYTHONPATH": str(build.python_path)}
