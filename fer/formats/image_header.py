"""What an image file says of itself before it is decoded."""

MAX_PIXELS = 64_000_000
"""An encoded image that claims more is refused: a file of a few bytes could ask for gigabytes."""


def image_size(file: bytes) -> tuple[int, int] | None:
    """(height, width) that the header of a JPEG, PNG or BMP file tells, without decoding it; None for other files."""
    if file.startswith(b"\x89PNG\r\n\x1a\n") and len(file) >= 24:
        return int.from_bytes(file[20:24], "big"), int.from_bytes(file[16:20], "big")
    if file.startswith(b"BM") and len(file) >= 26:
        width, height = (int.from_bytes(file[at : at + 4], "little", signed=True) for at in (18, 22))
        return abs(height), abs(width)
    frame = _jpeg_frame(file)
    if frame is None:
        return None
    return int.from_bytes(file[frame + 5 : frame + 7], "big"), int.from_bytes(file[frame + 7 : frame + 9], "big")


def is_whole(file: bytes) -> bool:
    """Whether a JPEG or PNG file has its end mark; phones append films and more behind it. True for other files."""
    if file.startswith(b"\x89PNG"):
        return b"IEND" in file
    # Before the frame header a thumbnail may have an end mark of its own.
    return not file.startswith(b"\xff\xd8") or file.find(b"\xff\xd9", _jpeg_frame(file) or len(file)) >= 0


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
