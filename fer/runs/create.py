"""Making a run directory: whole, or not at all."""

import errno
import hashlib
import itertools
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fer.errors import FerError
from fer.runs.record import RunRecord
from fer.runs.run import DEPLOY, NET, RUN_JSON, SNAPSHOTS, SOLVER, UNVERIFIED, Run
from fer.system.files import Busy, beside, cannot_write, write_bytes
from fer.system.locks import lock
from fer.system.records import write_record
from fer.system.shell import command


def create_run(
    parent: Path,
    base_name: str,
    record: RunRecord,
    prototxts: Mapping[str, bytes] | None = None,
    *,
    exact: bool = False,
) -> Run:
    """Make a new run directory called `base_name`, or with the next free -k; `exact`: that name or FerError.

    `prototxts` are its files by name. The directory gets its name once it is whole.
    """
    for number in itertools.count(1):
        directory = parent / (base_name if number == 1 else f"{base_name}-{number}")
        try:
            if _make_run(directory, record, prototxts or {}):
                break
        except Busy:
            if exact:
                raise
        if exact:
            raise FerError(f"{directory} exists already; take another --name, or {command('--resume', directory)}")
    return Run(directory)


def _make_run(directory: Path, record: RunRecord, prototxts: Mapping[str, bytes]) -> bool:
    """Make a run directory whole, then give it its name; False where there is something of that name."""
    with beside(directory, f"{directory}: another training is about to begin there") as fresh:
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in prototxts.items()}
        for name, data in prototxts.items():
            write_bytes(fresh / name, data)
        try:
            (fresh / UNVERIFIED).mkdir(parents=True)
            write_record(
                fresh / RUN_JSON,
                replace(record, name=directory.name, dir=str(directory.resolve()), prototxt_sha256=hashes),
            )
            fresh.rename(directory)  # an empty folder of that name gives way
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                return False
            raise cannot_write(directory, error) from error
    return True


def remove_unbegun(directory: Path) -> None:
    """Remove a run directory whose making was cut short: nothing was trained in it, and nobody is about to.

    Anything else is left as it is.
    """
    if directory.is_symlink() or not directory.is_dir() or not _is_unbegun(directory):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if lock(descriptor):
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(descriptor)


def _is_unbegun(directory: Path) -> bool:
    """Whether there is nothing in it but what stands in a run directory before the engine is started."""
    made = {RUN_JSON, SOLVER, NET, DEPLOY, SNAPSHOTS, UNVERIFIED, f"{UNVERIFIED}/{SOLVER}"}
    unfinished = tuple(f".{name}." for name in (RUN_JSON, SOLVER, NET, DEPLOY))
    there = [path.relative_to(directory).as_posix() for path in directory.rglob("*")]
    return all(name in made or Path(name).name.startswith(unfinished) for name in there)
