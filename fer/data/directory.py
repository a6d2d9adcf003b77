"""The data directory on disk: whether it is whole, and whether a new one may take its place."""

import os
from collections.abc import Collection
from pathlib import Path

from fer.data.dataset import SPLITS
from fer.data.manifest import Manifest, Source, is_prepared, read_manifest
from fer.data.options import PrepareOptions
from fer.errors import FerError
from fer.system.hashes import check_file, files_hash
from fer.system.shell import command


def verify_data(data_dir: Path) -> Manifest:
    """Check that a data directory is as it was written, to the last byte, and return its manifest.

    Raises FerError that names what changed.
    """
    data_dir = Path(data_dir)
    manifest = read_manifest(data_dir)
    cure = f"`{command('fer', 'prepare', 'SOURCE', '--force', '--out', data_dir)}` makes it again"
    for name, written in manifest.files.items():
        path = data_dir / name
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            raise FerError(f"{path}: missing. {cure}")
        if size != written.bytes:
            raise FerError(f"{path}: {size:,} bytes, where {written.bytes:,} were written. {cure}")
        check_file(path, written.sha256, "it was written", cure)
    for folder, images in manifest.images.items():
        sizes = _sizes(data_dir / folder)
        if (len(sizes), sum(sizes.values())) != (images.count, images.bytes):
            raise FerError(
                f"{data_dir / folder}: {len(sizes):,} files of {sum(sizes.values()):,} bytes, "
                f"where {images.count:,} of {images.bytes:,} were written. {cure}"
            )
        if files_hash(data_dir / folder, _in_order(data_dir / f"{folder}.txt", sizes, cure)) != images.sha256:
            raise FerError(f"{data_dir / folder}: an image has changed since it was written. {cure}")
    return manifest


def _sizes(folder: Path) -> dict[str, int]:
    """The size of each file directly in `folder`; none when there is no folder."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries}


def _in_order(index: Path, there: Collection[str], cure: str) -> list[str]:
    """The names in an index file. Raises FerError unless they are those that are there."""
    try:
        names = [line.rpartition(" ")[0] for line in index.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        names = []
    if sorted(names) != sorted(there):
        raise FerError(f"{index}: does not list the images in {index.with_suffix('')}. {cure}")
    return names


def check_replaceable(data_dir: Path) -> None:
    """Refuse to touch what `fer prepare` did not make. Raises FerError."""
    if not data_dir.exists() and not data_dir.is_symlink():
        return
    if data_dir.is_symlink() or not data_dir.is_dir():
        raise FerError(f"{data_dir}: exists and is not a directory. Choose another --out")
    if not any(data_dir.iterdir()):
        return
    folders = {split.folder for split in SPLITS}
    if not is_prepared(data_dir) or not folders <= {path.name for path in data_dir.iterdir()}:
        raise FerError(
            f"{data_dir}: not empty and not made by `fer prepare`: it will not be touched.\n"
            "Choose another --out, or move it away"
        )


class WouldReplaceError(FerError):
    """A data directory that was made from something else, and is not to be replaced."""


def check_made_from(data_dir: Path, source_sha256: str, options: PrepareOptions, votes: Source | None = None) -> None:
    """Raise WouldReplaceError where a data directory holds what another source, or other options or votes, made."""
    try:
        manifest = read_manifest(data_dir)
    except FerError:
        return  # none, or one that is of no use to anybody
    made = manifest.source
    if made.sha256 != source_sha256:
        raise WouldReplaceError(f"{data_dir} was made from {made.path}, of which it holds the faces")
    if manifest.options != options:
        given = [name for name, value in vars(options).items() if getattr(manifest.options, name) != value]
        raise WouldReplaceError(f"{data_dir} was made from the same source with other options ({', '.join(given)})")
    if manifest.votes and votes and manifest.votes.sha256 != votes.sha256:
        raise WouldReplaceError(f"{data_dir} was made with {votes.path} as it was then, and it has changed")
