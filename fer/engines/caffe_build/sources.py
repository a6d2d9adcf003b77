"""Caffe's sources: brought, checked to be those of one commit, and changed."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from fer.engines.caffe_build.edits import EDITS, apply_edits
from fer.errors import FerError
from fer.system.hashes import file_hash

URL = "https://github.com/BVLC/caffe"
COMMIT = "9b891540183ddc834a02b2bd81b31afae71b2153"
SOURCE_ENDINGS = frozenset({".hpp", ".cpp", ".cu", ".cuh", ".h", ".cc", ".proto", ".py", ".txt", ".h5"})
# Of each folder that is needed, the hash of the files with these endings: their names and SHA-256s, sorted.
HASHES = {
    "include": "b0d233400794d1b1de946b06b3ac888bebb84f2965244a00d8bfce3e64fa6163",
    "python/caffe": "fb8053463d55d1e65c20d3758d1f62cb29b8960aafc5128d3c2b7d4f98e83f5e",
    "src": "710a6eac480037746bae3e4ac4e854ca8e2a0827eb98def83eac230268b6320b",
    "tools": "ffe1932982e55f5eae7d87e71a26b61c3d04cb2843256abcc315ffeea3e97b6d",
}
_CURE = f"take the sources as they are at {COMMIT[:7]} of {URL}: git clone {URL} DIR; git -C DIR checkout {COMMIT[:7]}"


def folder_hash(folder: Path) -> str:
    """SHA-256 over the sources in a folder: for each, sorted by name, its name and its own SHA-256."""
    digest = hashlib.sha256()
    for name in sorted(path.relative_to(folder).as_posix() for path in _sources(folder)):
        digest.update(f"{file_hash(folder / name)}  {name}\n".encode())
    return digest.hexdigest()


def _sources(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in SOURCE_ENDINGS and path.is_file()]


def check_sources(folder: Path) -> None:
    """Raise FerError unless the sources in `folder` are those of COMMIT, in each folder that is needed."""
    missing = [name for name in HASHES if not (folder / name).is_dir()]
    if missing:
        raise FerError(f"{folder} has no {', no '.join(missing)}: these are not Caffe's sources\n{_CURE}")
    other = [name for name, wanted in HASHES.items() if folder_hash(folder / name) != wanted]
    if other:
        raise FerError(f"{folder}: {', '.join(other)} differs from BVLC's at {COMMIT[:7]} (another SHA-256)\n{_CURE}")


def bring_sources(into: Path, source: Path | None) -> None:
    """Caffe's sources in the folder `into`, by git or from the folder `source`; checked, then changed by EDITS.

    Raises FerError where they cannot be had or are others. `into` gets its name once all is well.
    """
    fresh = into.with_name(f"{into.name}.fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    if source is None:
        _clone(fresh)
    else:
        check_sources(source)
        for name in (*HASHES, "examples/images"):
            if (source / name).is_dir():
                shutil.copytree(source / name, fresh / name)
    check_sources(fresh)
    apply_edits(fresh, EDITS)
    fresh.replace(into)


def _clone(folder: Path) -> None:
    """COMMIT alone, without its history."""
    folder.mkdir(parents=True)
    for words in (["init", "--quiet"], ["fetch", "--quiet", "--depth", "1", URL, COMMIT], ["checkout", "-q", COMMIT]):
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, errors="replace", check=False
            )
        except OSError as error:
            raise FerError(f"git cannot be started ({error.strerror}); install it, or give --source DIR") from error
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise FerError(
                f"Caffe's sources could not be had from {URL}: {said}\n"
                f"Where there is no network, bring them along and give --source DIR"
            )
