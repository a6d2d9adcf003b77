"""A face's pixels as they stand in a CSV, to arrays."""

import re

import numpy as np

from fer.data.dataset import PIXELS, SIDE

_NUMBER = re.compile(rb"[0-9]{1,3}")
_LIST = re.compile(rb"[\[(]+\s*([^\[(].*?)\s*[\])]+", re.DOTALL)
_ROW_END = re.compile(rb"[\])]\s*,?\s*[\[(]")
_GAP = re.compile(rb"^\s*,|,\s*,|,\s*$")
_WHOLE_FLOAT = re.compile(rb"(?<=[0-9])\.0*(?=\s|$)")


def plain_numbers(text: bytes) -> bytes:
    """A list of numbers as Python, NumPy or JSON print it, as numbers with single spaces between; else as it is."""
    if (listed := _LIST.fullmatch(text)) is not None:
        text = _ROW_END.sub(b" ", listed[1])
    if b"," in text and not _GAP.search(text):
        text = text.replace(b",", b" ")
    if b"." in text:
        text = _WHOLE_FLOAT.sub(b"", text)
    return b" ".join(text.split())


def parse_pixels(text: bytes) -> np.ndarray:
    """2304 numbers 0..255 with spaces between, uint8 [2304]. Raises ValueError with the reason."""
    if b"..." in text:
        raise ValueError("the pixels are cut short by '...', as NumPy prints an array: save all of them")
    fields = text.split()
    for position, field in enumerate(fields, 1):
        if not _NUMBER.fullmatch(field) or int(field) > 255:
            raise ValueError(f"pixel {position} is {shown(field)}: not a whole number from 0 to 255")
    if len(fields) != PIXELS:
        raise ValueError(f"{len(fields)} pixels, not {PIXELS} ({SIDE} x {SIDE})")
    return np.array([int(field) for field in fields], np.uint8)


def parse_pixels_fast(texts: list[bytes]) -> np.ndarray | None:
    """`parse_pixels` of many stripped texts at once, uint8 [n, 2304]; None if any of them needs the slow look.

    A number is known by the space behind it: its value is the digit one before, plus ten times the digit two before
    and a hundred times the digit three before, as far as the number reaches.
    """
    if not texts:
        return np.empty((0, PIXELS), np.uint8)
    joined = b"".join([b"   ", b" ".join(texts), b" "])
    digits = np.frombuffer(joined, np.uint8) - np.uint8(ord("0"))
    ends = np.flatnonzero(digits[3:] > 9)
    row_ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    if len(ends) != len(texts) * PIXELS or not np.array_equal(ends[PIXELS - 1 :: PIXELS], row_ends):
        return None
    ones, tens, hundreds = (digits[start:].take(ends) for start in (2, 1, 0))
    two, three = tens < 10, hundreds < 10
    three &= two
    # Every byte is accounted for exactly when no number is longer than three digits.
    length = 2 * len(ends) + np.count_nonzero(two) + np.count_nonzero(three)
    space = np.uint8((ord(" ") - ord("0")) & 0xFF)
    if length != len(joined) - 3 or ones.max() > 9 or np.count_nonzero(digits[3:] == space) != len(ends):
        return None
    tens *= two
    hundreds *= three
    ones += tens * np.uint8(10)
    if hundreds.max() > 2 or ((hundreds == 2) & (ones > 55)).any():
        return None
    ones += hundreds * np.uint8(100)
    return ones.reshape(-1, PIXELS)


def shown(text: bytes) -> str:
    """`text` as it may stand in a message: printable and short."""
    shown = text[:60].decode("ascii", "backslashreplace").strip()
    return repr(shown + ("..." if len(text) > 60 else ""))
