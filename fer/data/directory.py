"""The data directory on disk: whether it is whole, and whether a new one may take its place."""

import os
from pathlib import Path

from fer.data.dataset import SPLITS
from fer.data.manifest import Manifest, is_prepared, read_manifest
from fer.errors import FerError
from fer.system.files import sha256
from fer.system.shell import command


def verify_data(data_dir: Path, *, full: bool = False) -> Manifest:
    """Check that a data directory is as it was written, and return its manifest.

    Compares the size of every database, index and mean, and the number and total size of the images; with `full`
    also the SHA-256 of all but the images. Raises FerError that names what changed.
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
        if full and sha256(path) != written.sha256:
            raise FerError(f"{path}: changed since it was written (SHA-256 differs). {cure}")
    for folder, images in manifest.images.items():
        count, size = _folder_size(data_dir / folder)
        if (count, size) != (images.count, images.bytes):
            raise FerError(
                f"{data_dir / folder}: {count:,} files of {size:,} bytes, "
                f"where {images.count:,} of {images.bytes:,} were written. {cure}"
            )
    return manifest


def _folder_size(folder: Path) -> tuple[int, int]:
    """(number of files, sum of their sizes) directly in `folder`; (0, 0) when there is none."""
    count = size = 0
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                count += 1
                size += entry.stat().st_size
    return count, size


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
