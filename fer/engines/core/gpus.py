"""The GPUs that --gpu names."""

from collections.abc import Callable

from fer.errors import FerError


def gpus_named(text: str | None, there: int, why_not: Callable[[int], str]) -> list[int]:
    """Their numbers, of "", "0", "0,2" or "all", where the framework can use so many.

    `why_not` says why there are no more. Raises FerError for anything else, or where one is not there.
    """
    if not text:
        return []
    if text == "all":
        if not there:
            raise FerError(f"--gpu all: no GPU; {why_not(0)}\nleave --gpu out to train on the CPU")
        return list(range(there))
    try:
        wanted = [int(word) for word in text.split(",")]
    except ValueError:
        raise FerError(f"--gpu takes numbers separated by commas, or all; not {text!r}") from None
    if len(set(wanted)) != len(wanted):
        raise FerError(f"--gpu {text}: a GPU is named twice")
    missing = [gpu for gpu in wanted if not 0 <= gpu < there]
    if missing:
        raise FerError(f"--gpu {text}: no GPU {missing[0]}; {why_not(there)}\nleave --gpu out to train on the CPU")
    return wanted
