"""A CSV that is one file, plain, packed or alone in an archive, as a stream of bytes."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fer.data.archive import damage_explained, open_packed, open_tar, open_zip, packing_of, unpacked
from fer.data.source_kind import kind_not_read
from fer.errors import FerError


@contextlib.contextmanager
def open_csv(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """The CSV in a file (.csv, .gz, .bz2, .xz, .zip, .tar), and what it is called in messages.

    Raises FerError for a file of another kind, and for an archive that is damaged or holds no CSV, or several.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from None
    with raw, damage_explained(path), contextlib.ExitStack() as stack:
        if reason := kind_not_read(raw.read(512)):
            raise FerError(f"{path}: {reason}")
        raw.seek(0)
        stream: BinaryIO = raw
        match packing_of(raw):
            case "plain":
                yield raw, str(path)
                return
            case "packed":
                yield open_packed(raw), str(path)
                return
            case "packed tar":
                stream = stack.enter_context(unpacked(raw, os.fstat(raw.fileno()).st_size, None, None))
                opened = open_tar
            case kind:
                opened = open_zip if kind == "zip" else open_tar
        archive = stack.enter_context(opened(stream, path))
        if archive.table is None:
            raise FerError(f"{path}: the archive holds images in folders, and a CSV is wanted")
        yield stack.enter_context(archive.open(archive.table)), f"{path}/{archive.table}"
