"""What an image file says of itself before it is decoded."""

import re
from collections.abc import Callable

MAX_PIXELS = 64_000_000
"""An encoded image that claims more is refused: a file of a few bytes could ask for gigabytes."""

_Size = tuple[int, int]
_PNM = re.compile(rb"P([1-6])(?:\s+|#[^\n]*\n)+(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,9})(?:(?:\s+|#[^\n]*\n)+(\d{1,9}))?")
_PAM = re.compile(rb"P7\s(?:[^\n]*\n)*?WIDTH\s+(\d{1,9})\s(?:[^\n]*\n)*?HEIGHT\s+(\d{1,9})\s")
_CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ of JPEG 2000, bare or in a .jp2
_TIFF_HEADS = {b"II*\0": "little", b"MM\0*": "big", b"II+\0": "little", b"MM\0+": "big"}
_NO_IMAGES = (
    (re.compile(rb".{4}ftyp(hei[cxms]|hev[cx]|mif1|msf1)", re.DOTALL), "a HEIC photo, which OpenCV does not read"),
    (re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE), "a web page"),
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<svg", re.IGNORECASE | re.DOTALL), "an SVG drawing"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS; `git lfs pull` fetches the image"),
    (re.compile(rb"%PDF"), "a PDF"),
)


def image_size(file: bytes) -> _Size | None:
    """(height, width) that the header of an image file tells, without decoding it; None for files of other kinds.

    Known are JPEG, PNG, BMP, WebP, TIFF, GIF, JPEG 2000, AVIF, the PNM family and Sun rasters.
    """
    for head, size in _SIZES:
        if head.match(file):
            return size(file)
    return None


def other_kind(file: bytes) -> str | None:
    """What a file is that often bears an image's name and is none; None where that is not known."""
    return next((what for head, what in _NO_IMAGES if head.match(file[:1024])), None)


def greatest_value(file: bytes) -> int | None:
    """The value that is white in a PGM or PPM file; None for other files."""
    found = _PNM.match(file)
    return int(found[4]) if found and found[4] and found[1] in b"2356" else None


def has_more_frames(file: bytes) -> bool:
    """Whether a GIF, PNG or WebP file is an animation, or a TIFF has a second page."""
    if file.startswith(b"GIF8"):
        return _gif_frames(file) > 1
    if file.startswith(b"\x89PNG"):
        return file.find(b"acTL", 0, 4096) > 0
    if file.startswith(b"RIFF"):
        return file[12:16] == b"VP8X" and len(file) > 20 and bool(file[20] & 2)
    return file[:4] in _TIFF_HEADS and _tiff(file)[1]


def is_whole(file: bytes) -> bool:
    """Whether a JPEG or PNG file has its end mark; phones append films and more behind it. True for other files."""
    if file.startswith(b"\x89PNG"):
        return _png_ends(file)
    # Before the frame header a thumbnail may have an end mark of its own.
    return not file.startswith(b"\xff\xd8") or file.find(b"\xff\xd9", _jpeg_frame(file) or len(file)) >= 0


def _number(file: bytes, at: int, length: int, order: str = "big") -> int:
    return int.from_bytes(file[at : at + length], "big" if order == "big" else "little")


def _jpeg(file: bytes) -> _Size | None:
    frame = _jpeg_frame(file)
    return None if frame is None else (_number(file, frame + 5, 2), _number(file, frame + 7, 2))


def _jpeg_frame(file: bytes) -> int | None:
    """Where the frame header (SOF) of a JPEG file begins, found by walking its segments; None where there is none."""
    at = 2 if file.startswith(b"\xff\xd8") else len(file)
    while at + 9 <= len(file) and file[at] == 0xFF:
        marker = file[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return at
        else:
            at += 2 + int.from_bytes(file[at + 2 : at + 4], "big")
    return None


def _png(file: bytes) -> _Size:
    return _number(file, 20, 4), _number(file, 16, 4)


def _png_ends(file: bytes) -> bool:
    """Whether the chunks lead to the last one; libpng would make room for one that claims to be of gigabytes."""
    at = 8
    while at + 8 <= len(file):
        if file[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + _number(file, at, 4)
    return False


def _bmp(file: bytes) -> _Size:
    if _number(file, 14, 4, "little") == 12:  # OS/2's header
        return _number(file, 20, 2, "little"), _number(file, 18, 2, "little")
    width, height = (int.from_bytes(file[at : at + 4], "little", signed=True) for at in (18, 22))
    return abs(height), abs(width)


def _webp(file: bytes) -> _Size | None:
    match file[12:16]:
        case b"VP8X":
            return _number(file, 27, 3, "little") + 1, _number(file, 24, 3, "little") + 1
        case b"VP8L":
            bits = _number(file, 21, 4, "little")
            return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
        case b"VP8 ":
            return _number(file, 28, 2, "little") & 0x3FFF, _number(file, 26, 2, "little") & 0x3FFF
    return None


def _tiff(file: bytes) -> tuple[_Size | None, bool]:
    """The size of a TIFF's first page, and whether there is another."""
    order, big = _TIFF_HEADS[file[:4]], b"+" in file[:4]
    count_bytes, entry, offset_bytes = (8, 20, 8) if big else (2, 12, 4)
    at = _number(file, 8 if big else 4, offset_bytes, order)
    count = _number(file, at, count_bytes, order)
    found = {}
    if at + count_bytes + count * entry <= len(file):
        for field in range(at + count_bytes, at + count_bytes + count * entry, entry):
            length = {3: 2, 4: 4, 16: 8}.get(_number(file, field + 2, 2, order), 0)
            found[_number(file, field, 2, order)] = _number(file, field + (12 if big else 8), length, order)
    size = (found[257], found[256]) if found.get(256) and found.get(257) else None
    return size, bool(size) and _number(file, at + count_bytes + count * entry, offset_bytes, order) > 0


def _gif(file: bytes) -> _Size:
    return _number(file, 8, 2, "little"), _number(file, 6, 2, "little")


def _gif_frames(file: bytes) -> int:
    """How many frames there are, found by walking its blocks; no more than 2 are counted."""
    at, frames = 13 + _palette(file, 10), 0
    while frames < 2 and file[at : at + 1] in (b"\x21", b"\x2c"):
        if file[at] == 0x2C:
            frames += 1
            at += 10 + _palette(file, at + 9) + 1
        else:
            at += 2
        while length := _number(file, at, 1):
            at += 1 + length
        at += 1
    return frames


def _palette(file: bytes, flags_at: int) -> int:
    flags = _number(file, flags_at, 1)
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _jpeg2000(file: bytes) -> _Size | None:
    at = file.find(_CODESTREAM)
    if at < 0:
        return None
    width, height, left, top = (_number(file, at + 8 + 4 * field, 4) for field in range(4))
    return max(height - top, 0), max(width - left, 0)


def _avif(file: bytes) -> _Size | None:
    """Of the largest image in it: alpha planes and tiles have sizes of their own."""
    places = [found.end() + 4 for found in re.finditer(b"ispe", file[: 1 << 16])]
    sizes = [(_number(file, at + 4, 4), _number(file, at, 4)) for at in places]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _pnm(file: bytes) -> _Size:
    found = _PNM.match(file)
    assert found
    return int(found[3]), int(found[2])


def _pam(file: bytes) -> _Size:
    found = _PAM.match(file)
    assert found
    return int(found[2]), int(found[1])


_SIZES: tuple[tuple[re.Pattern[bytes], Callable[[bytes], _Size | None]], ...] = tuple(
    (re.compile(head, re.DOTALL), size)
    for head, size in (
        (rb"\xff\xd8", _jpeg),
        (rb"\x89PNG\r\n\x1a\n.{16}", _png),
        (rb"BM.{24}", _bmp),
        (rb"RIFF.{4}WEBP.{14}", _webp),
        (rb"II[*+]\0|MM\0[*+]", lambda file: _tiff(file)[0]),
        (rb"GIF8[79]a.{4}", _gif),
        (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", _jpeg2000),
        (rb".{4}ftyp(avif|avis|mif1.{4,40}avif)", _avif),
        (_PNM.pattern, _pnm),
        (_PAM.pattern, _pam),
        (rb"\x59\xa6\x6a\x95.{8}", lambda file: (_number(file, 8, 4), _number(file, 4, 4))),
    )
)
