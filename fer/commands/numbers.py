"""Types of options: numbers within bounds."""

import argparse
from collections.abc import Callable


def between(low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not in {low}..{high}")
        return value

    return parse


def _number(words: str, inside: Callable[[float], bool]) -> Callable[[str], float]:
    """A number that `inside` lets pass, as `words` say."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")  # within no bounds
        if not inside(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {words}")
        return value

    return parse


positive = between(1, 2**31 - 1)  # Caffe counts in int32
share = _number("from 0 to less than 1", lambda value: 0 <= value < 1)
decay = _number("over 0 and less than 1", lambda value: 0 < value < 1)
over_0 = _number("over 0", lambda value: 0 < value < float("inf"))
power = _number("over 0, to 1", lambda value: 0 < value <= 1)
temperature = _number("from 0.1 to 100", lambda value: 0.1 <= value <= 100)


def percentages(text: str) -> tuple[int, ...]:
    """80/10/10: whole percentages of train, val and test."""
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts) or sum(map(int, parts)) != 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not three percentages over 0 that add up to 100, as 80/10/10")
    return tuple(map(int, parts))
