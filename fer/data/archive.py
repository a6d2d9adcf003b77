"""Archives of faces, zip and tar: which of their members are FER2013's, and reading those. Nothing is extracted."""

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from fer.data.image_file import check_file_size
from fer.data.source_kind import choose_csv, is_hidden_path, refuse_other_kinds
from fer.errors import FerError
from fer.system.progress import StageProgress

_PACKED: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda raw: cast(BinaryIO, gzip.GzipFile(fileobj=raw)),
    b"BZh": lambda raw: cast(BinaryIO, _Streams(raw, bz2.BZ2Decompressor)),
    b"\xfd7zXZ": lambda raw: cast(BinaryIO, _Streams(raw, lzma.LZMADecompressor)),
}
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """An open archive: its CSV of faces, or None where it holds class folders, whose files are `names` in order.

    `hidden` counts its members that are none of the user's, `odd` says what those are that are no files.
    """

    path: Path
    table: str | None
    names: Sequence[str]
    open: Callable[[str], BinaryIO]
    size: Callable[[str], int]
    hidden: int = 0
    odd: dict[str, str] = field(default_factory=dict)

    def read_image(self, name: str) -> bytes:
        """An image's file. Raises ValueError where it is too large to be one."""
        check_file_size(self.size(name))
        with self.open(name) as stream:
            return stream.read()


def kind_of(raw: BinaryIO, path: Path) -> str:
    """`zip`, `tar`, `packed tar`, `packed` or `plain`, by the bytes it begins with; `raw` is rewound.

    Raises FerError for a file of a kind that is not read.
    """
    head = raw.read(512)
    raw.seek(0)
    refuse_other_kinds(head, path)
    return packing_of(raw)


def packing_of(raw: BinaryIO) -> str:
    """As `kind_of`, of any file."""
    head = raw.read(512)
    raw.seek(0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(tuple(_PACKED)):
        inner = open_packed(raw).read(512)
        raw.seek(0)
        return "packed tar" if _is_tar(inner) else "packed"
    return "tar" if _is_tar(head) else "plain"


def _is_tar(head: bytes) -> bool:
    """Whether a block is a tar member's header: its checksum says it, of old tars without `ustar` too."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return head[257:262] == b"ustar"
    return True


@contextlib.contextmanager
def open_zip(raw: BinaryIO, path: Path) -> Iterator[Archive]:
    """The zip file `raw`; `path` stands in messages. Raises FerError where it holds no faces."""
    with zipfile.ZipFile(raw) as archive:
        infos = {info.filename.replace("\\", "/"): info for info in archive.infolist()}  # Windows'
        infos = {name: info for name, info in infos.items() if not name.endswith("/")}
        names = sorted(name for name in infos if not is_hidden_path(name))
        if "xl/workbook.xml" in infos:
            raise FerError(f"{path}: an Excel workbook: save it as CSV")

        def open_member(name: str) -> BinaryIO:
            return cast(BinaryIO, archive.open(infos[name]))

        table = choose_csv(path, list(infos), "the archive")
        yield Archive(path, table, names, open_member, lambda name: infos[name].file_size, len(infos) - len(names))


@contextlib.contextmanager
def open_tar(raw: BinaryIO, path: Path) -> Iterator[Archive]:
    """The unpacked tar file `raw`; `path` stands in messages. Raises FerError where it holds no faces."""
    with tarfile.open(fileobj=raw, mode="r:") as archive:
        members, odd = tar_members(archive)
        check_tar_end(raw, archive.offset)

        def open_member(name: str) -> BinaryIO:
            return cast(BinaryIO, archive.extractfile(members[name]))

        names = [name for name in members if not is_hidden_path(name)]
        table = choose_csv(path, list(members), "the archive")
        hidden = len(members) - len(names)
        yield Archive(path, table, names, open_member, lambda name: members[name].size, hidden, odd)


def tar_members(archive: tarfile.TarFile) -> tuple[dict[str, tarfile.TarInfo], dict[str, str]]:
    """The files of a tar by name, hard links as the file that they are; and what else lies in it, and what that is."""
    members: dict[str, tarfile.TarInfo] = {}
    odd = {}
    for member in archive:
        if member.isreg() or (member.islnk() and member.linkname in members):
            members[member.name] = members[member.linkname] if member.islnk() else member
        elif not member.isdir():
            odd[member.name] = "a link" if member.islnk() or member.issym() else "no file"
    return members, odd


def check_tar_end(raw: BinaryIO, offset: int) -> None:
    """Raise ReadError unless a tar's end mark lies at `offset` and no more behind it: tarfile takes a cut or damaged
    header for the end, and members would be missing without a word."""
    raw.seek(offset)
    if raw.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end mark is missing")
    while block := raw.read(_BLOCK):
        if any(block):
            raise tarfile.ReadError("other data lies behind its end mark")


@contextlib.contextmanager
def unpacked(raw: BinaryIO, size: int, folder: Path | None, progress: StageProgress | None) -> Iterator[BinaryIO]:
    """What is in the gzip, bzip2 or xz file `raw` of `size` bytes, decompressed once, to a nameless file in `folder`.

    Progress has the stage `unpacking` (bytes of `raw`).
    """
    with tempfile.TemporaryFile(dir=folder) as plain:
        with open_packed(raw) as packed:
            while block := packed.read(_BLOCK):
                plain.write(block)
                if progress:
                    progress("unpacking", raw.tell(), size)
        plain.seek(0)
        yield cast(BinaryIO, plain)


class _Streams(io.RawIOBase):
    """The bzip2 or xz streams of a file, one behind the other; Python's own classes pass over all that follows damage.

    Raises EOFError where it is cut, ReadError for what is no stream.
    """

    def __init__(self, raw: BinaryIO, decoder: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]):
        self._raw, self._new = raw, decoder
        self._decoder, self._streams = decoder(), 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        while True:
            data = b""
            if self._decoder.eof:
                data = (self._decoder.unused_data or self._raw.read(_BLOCK)).lstrip(b"\0")  # padding
                if not data and not (data := self._raw.read(_BLOCK).lstrip(b"\0")):
                    return b""
                self._decoder = self._new()
                self._streams += 1
            elif self._decoder.needs_input and not (data := self._raw.read(_BLOCK)):
                raise EOFError("it ends too early")
            if found := self._decode(data, size):
                return found

    def _decode(self, data: bytes, size: int) -> bytes:
        try:
            return self._decoder.decompress(data, size)
        except (OSError, lzma.LZMAError) as error:
            raise tarfile.ReadError("other data lies behind its end" if self._streams else str(error)) from None


def open_packed(raw: BinaryIO) -> BinaryIO:
    """What is in the gzip, bzip2 or xz file `raw`, as a stream."""
    head = raw.read(8)
    raw.seek(0)
    (unpack,) = (kind for magic, kind in _PACKED.items() if head.startswith(magic))
    return unpack(raw)


@contextlib.contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Raise what an archive's damage raises as a FerError."""
    try:
        yield
    except gzip.BadGzipFile as error:
        raise _damaged(path, "other data lies behind its end" if "Not a gzipped" in str(error) else error) from None
    except (EOFError, zlib.error, zipfile.BadZipFile, tarfile.ReadError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # bz2's word for damage, and a place before a file's beginning
            raise
        raise _damaged(path, error) from None
    except NotImplementedError as error:
        raise FerError(f"{path}: the archive cannot be read: {error}. Unpack it") from None
    except RuntimeError as error:
        if "password" not in str(error):
            raise
        raise FerError(f"{path}: the archive is encrypted: unpack it with its password") from None


def _damaged(path: Path, reason: object) -> FerError:
    """zipfile repeats whole headers, so the reason is cut."""
    return FerError(f"{path}: the archive is truncated or damaged ({str(reason)[:100]}). Download it again")
