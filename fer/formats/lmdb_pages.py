"""Whether an LMDB's file is whole, page by page: LMDB itself follows whatever stands there, behind the file's end too.

The layout is that of LMDB 0.9 on 64-bit machines (MDB_meta, MDB_page and MDB_node in its mdb.c), little-endian.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from fer.errors import FerError

_HEADER = 16  # bytes in front of each page: its number, flags, and where its free room begins and ends
_META_BYTES = _HEADER + 136
_MAGIC = 0xBEEFC0DE
_MAX_PAGE = 1 << 16
_BRANCH, _LEAF = 0x01, 0x02
_BIG_DATA = 0x01  # of a node: its value lies on pages of its own
_INTEGER_KEY = 0x08  # the only flag that the table of free pages has
_NO_PAGE = 2**64 - 1
_DEEPEST = 31
_AGAIN = "`fer prepare SOURCE --force` makes it again"


@dataclass(frozen=True)
class _Meta:
    """What a meta page says of the newest state of the file."""

    page_size: int
    free_flags: int
    flags: int
    entries: int
    root: int
    last_page: int
    transaction: int


def check_pages(file: Path) -> None:
    """Raise FerError unless the file is an LMDB of which every page that a reader comes to is there and whole."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(file, descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FerError(f"{file}: cannot be read: {error.strerror}") from None


def _check(file: Path, descriptor: int, size: int) -> None:
    head = os.pread(descriptor, _MAX_PAGE + _META_BYTES, 0)
    page_size = struct.unpack_from("<I", head, _HEADER + 24)[0] if len(head) >= _META_BYTES else 0
    found = [meta for meta in (_read_meta(head, 0), _read_meta(head, page_size)) if meta]
    if not found:
        raise FerError(f"{file}: not an LMDB, or cut off in its first page ({size:,} bytes)")
    meta = max(found, key=lambda meta: meta.transaction)
    needed = (meta.last_page + 1) * meta.page_size
    if size < needed:
        raise FerError(f"{file}: cut off: {size:,} bytes of {needed:,}. {_AGAIN}")
    if len({each.page_size for each in found}) > 1 or meta.flags or meta.free_flags & ~_INTEGER_KEY:
        raise FerError(f"{file}: damaged, or not a database of Caffe's: its first pages. {_AGAIN}")
    entries = _Tree(file, descriptor, meta).entries()
    if entries != meta.entries:
        raise FerError(f"{file}: damaged: {entries:,} of {meta.entries:,} records can be read. {_AGAIN}")


def _read_meta(head: bytes, offset: int) -> _Meta | None:
    """The meta page at `offset`; None when there is none."""
    if len(head) < offset + _META_BYTES:
        return None
    start = offset + _HEADER
    magic, version = struct.unpack_from("<II", head, start)
    page_size, free_flags = struct.unpack_from("<IH", head, start + 24)
    (flags,) = struct.unpack_from("<H", head, start + 76)
    entries, root, last_page, transaction = struct.unpack_from("<QQQQ", head, start + 104)
    if magic != _MAGIC or version != 1 or not 512 <= page_size <= _MAX_PAGE:
        return None
    return _Meta(page_size, free_flags, flags, entries, root, last_page, transaction)


class _Tree:
    """The B+ tree of a database's records."""

    def __init__(self, file: Path, descriptor: int, meta: _Meta):
        self._file, self._descriptor, self._meta = file, descriptor, meta

    def entries(self) -> int:
        """The number of its records. Raises FerError where a page is not what its place asks for."""
        if self._meta.root == _NO_PAGE:
            return 0
        seen, leaf_depths, count = set[int](), set[int](), 0
        pages = [(self._meta.root, 1)]
        while pages:
            number, depth = pages.pop()
            if number in seen or not 2 <= number <= self._meta.last_page or depth > _DEEPEST:
                raise self._damage(number)
            seen.add(number)
            data = os.pread(self._descriptor, self._meta.page_size, number * self._meta.page_size)
            flags, nodes = self._nodes(number, data)
            if flags == _BRANCH:
                pages += [(self._child(data, node), depth + 1) for node in nodes]
            else:
                leaf_depths.add(depth)
                count += len(nodes)
                for node in nodes:
                    self._check_record(number, data, node)
        if len(leaf_depths) > 1:
            raise self._damage(self._meta.root)
        return count

    def _nodes(self, number: int, data: bytes) -> tuple[int, tuple[int, ...]]:
        """A page's kind, and where its nodes begin."""
        flags, lower, upper = struct.unpack_from("<HHH", data, 10)
        count = (lower - _HEADER) // 2
        least = {_BRANCH: 2, _LEAF: 1}.get(flags)
        if least is None or count < least or lower % 2 or not lower <= upper <= len(data):
            raise self._damage(number)
        nodes: tuple[int, ...] = struct.unpack_from(f"<{count}H", data, _HEADER)
        if min(nodes) < upper or max(nodes) + 8 > len(data):
            raise self._damage(number)
        return flags, nodes

    def _child(self, data: bytes, node: int) -> int:
        low, high, top = struct.unpack_from("<HHH", data, node)
        return int(low | high << 16 | top << 32)

    def _check_record(self, number: int, data: bytes, node: int) -> None:
        size, flags, key = struct.unpack_from("<IHH", data, node)
        end = node + 8 + key + (8 if flags == _BIG_DATA else size)
        if flags not in (0, _BIG_DATA) or end > len(data):
            raise self._damage(number)
        if flags == _BIG_DATA:
            (page,) = struct.unpack_from("<Q", data, node + 8 + key)
            last = page + (_HEADER + size - 1) // self._meta.page_size
            if page < 2 or last > self._meta.last_page:
                raise self._damage(number)

    def _damage(self, number: int) -> FerError:
        return FerError(f"{self._file}: damaged: page {number:,} is not what it should be. {_AGAIN}")
