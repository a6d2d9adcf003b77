"""What a source is by its names and first bytes: a CSV, class folders, or something that is not read, said in words."""

from collections import Counter
from pathlib import Path, PurePosixPath

from fer.data.image_file import is_image_name
from fer.errors import FerError
from fer.system.folders import is_hidden

_PREFERRED = ("fer2013.csv", "icml_face_data.csv")
_FERPLUS = "label.csv"
_ARCHIVE_ENDINGS = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_NOT_READ = {
    b"\x28\xb5\x2f\xfd": "a Zstandard file: unpack it (unzstd)",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive: unpack it (7z x)",
    b"Rar!\x1a\x07": "a RAR archive: unpack it (unrar x)",
    b"\x1f\x9d": "a file of compress: unpack it (uncompress)",
    b"\x04\x22\x4d\x18": "an LZ4 file: unpack it (unlz4)",
    b"]\0\0": "an .lzma file: unpack it (unlzma)",
    b"LZIP": "an lzip file: unpack it (lzip -d)",
    b"\x89HDF": "an HDF5 file: save it as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save it as CSV",
    b"PAR1": "a Parquet file: save it as CSV (pandas: read_parquet, to_csv)",
    b"\x93NUMPY": "a NumPy array: save it as CSV",
    b"%PDF": "a PDF",
    b"<!DOCTYPE": "a web page, not the download: log in and fetch the file itself",
    b"<html": "a web page, not the download: log in and fetch the file itself",
    b"version https://git-lfs": "a pointer of Git LFS: `git lfs pull` fetches the file itself",
}


def refuse_other_kinds(head: bytes, path: Path) -> None:
    """Raise FerError for a file that begins as one of a kind that is not read."""
    if what := kind_not_read(head):
        read = "fer2013.csv, plain or in .gz .bz2 .xz .zip .tar, or class folders"
        raise FerError(f"{path}: {what}\nA source is {read}")


def kind_not_read(head: bytes) -> str | None:
    """What a file is, and what to do about it, that begins as one of a kind that is not read; None for any other."""
    for magic, what in _NOT_READ.items():
        if head.lower().startswith(magic.lower()) if magic.startswith(b"<") else head.startswith(magic):
            return what
    return None


def choose_csv(where: Path, names: list[str], what: str) -> str | None:
    """The CSV among the file names of an archive or folder (`what`); None where it holds images in folders.

    Raises FerError when it is neither, and for a name that leads out of it.
    """
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if name.startswith(("/", "\\")) or ".." in parts or ":" in name.partition("/")[0]:
            raise FerError(f"{where}: {what}'s member '{name}' points outside of it: not read")
    files = [name for name in names if not is_hidden_path(name)]
    tables = [name for name in files if name.lower().endswith(".csv")]
    for preferred in _PREFERRED:
        chosen = [name for name in tables if PurePosixPath(name).name.lower() == preferred]
        if chosen:
            return chosen[0]
    if any(PurePosixPath(name).name.lower() == _FERPLUS for name in tables):
        raise FerError(
            f"{where}: {what} is laid out as FER+ is, whose {_FERPLUS} files hold votes for images without classes\n"
            "give the same faces and votes in one piece: fer prepare fer2013.csv --votes fer2013new.csv"
        )
    if any(is_image_name(name) and "/" in name for name in files):
        return None
    if len(tables) == 1:
        return tables[0]
    raise FerError(_no_faces(where, files, tables, what))


def _no_faces(where: Path, files: list[str], tables: list[str], what: str) -> str:
    expected = f"Expected {', '.join(_PREFERRED)}, or class folders"
    if tables:
        return f"{where}: {what} holds {len(tables)} CSV files, none of that name ({_some(tables)}). {expected}"
    if archives := [name for name in files if name.lower().endswith(_ARCHIVE_ENDINGS)]:
        cure = f"Give {where / archives[0]}" if what == "the folder" else "Unpack that one, and give it"
        return f"{where}: {what} holds no CSV and no image in a folder, but {_some(archives)}. {cure}"
    endings = Counter(PurePosixPath(name).suffix or "no ending" for name in files)
    held = f" ({', '.join(f'{count:,} {ending}' for ending, count in endings.most_common(5))})" if endings else ""
    return f"{where}: {what} holds no CSV and no image in it that is read{held}. {expected}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def is_hidden_path(name: str) -> bool:
    """Whether a member's name, or that of a folder it lies in, is none of the user's."""
    return any(is_hidden(part) for part in PurePosixPath(name).parts)
