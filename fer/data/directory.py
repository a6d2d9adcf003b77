"""The data directory on disk: its manifest, and whether a new one may take its place."""

import json
import os
from pathlib import Path
from typing import Any

from fer.data.dataset import SPLITS
from fer.errors import FerError
from fer.system.files import sha256
from fer.system.shell import command

MANIFEST = "manifest.json"
FORMAT = 1


def read_manifest(data_dir: Path) -> dict[str, Any]:
    """`manifest.json` of a data directory. Raises FerError when there is none of `fer prepare`'s, or it is damaged."""
    data_dir = Path(data_dir)
    path = data_dir / MANIFEST
    if not data_dir.is_dir():
        raise FerError(
            f"{data_dir}: no such data directory. `{command('fer', 'prepare', 'SOURCE', '--out', data_dir)}` makes it"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FerError(
            f"{data_dir}: not a data directory: it has no {MANIFEST}. `fer prepare SOURCE` makes one"
        ) from None
    except OSError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise FerError(f"{path}: damaged: not JSON. `fer prepare SOURCE --force` makes it again") from None
    required = {"fer_version", "format", "source", "options", "image", "classes", "splits", "images", "files"}
    if not isinstance(manifest, dict) or not required <= manifest.keys():
        raise FerError(f"{path}: not written by `fer prepare`. `fer prepare SOURCE` makes a data directory")
    if manifest["format"] != FORMAT:
        raise FerError(
            f"{path}: of format {manifest['format']}, where this fer reads {FORMAT}. "
            "`fer prepare SOURCE --force` makes it again"
        )
    return manifest


def verify_data(data_dir: Path, *, full: bool = False) -> dict[str, Any]:
    """Check that a data directory is as it was written, and return its manifest.

    Compares the size of every database, index and mean, and the number and total size of the images; with `full`
    also the SHA-256 of all but the images. Raises FerError that names what changed.
    """
    data_dir = Path(data_dir)
    manifest = read_manifest(data_dir)
    cure = f"`{command('fer', 'prepare', 'SOURCE', '--force', '--out', data_dir)}` makes it again"
    for name, written in manifest["files"].items():
        path = data_dir / name
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            raise FerError(f"{path}: missing. {cure}")
        if size != written["bytes"]:
            raise FerError(f"{path}: {size:,} bytes, where {written['bytes']:,} were written. {cure}")
        if full and sha256(path) != written["sha256"]:
            raise FerError(f"{path}: changed since it was written (SHA-256 differs). {cure}")
    for folder, written in manifest["images"].items():
        count, size = _folder_size(data_dir / folder)
        if (count, size) != (written["count"], written["bytes"]):
            raise FerError(
                f"{data_dir / folder}: {count:,} files of {size:,} bytes, "
                f"where {written['count']:,} of {written['bytes']:,} were written. {cure}"
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
    try:
        manifest = json.loads((data_dir / MANIFEST).read_text(encoding="utf-8"))
        ours = isinstance(manifest, dict) and "fer_version" in manifest
    except (OSError, ValueError):
        ours = False
    folders = {split.folder for split in SPLITS}
    if not ours or not folders <= {path.name for path in data_dir.iterdir()}:
        raise FerError(
            f"{data_dir}: not empty and not made by `fer prepare`: it will not be touched.\n"
            "Choose another --out, or move it away"
        )
