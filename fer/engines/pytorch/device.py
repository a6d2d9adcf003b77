"""Which device to work on, and with what precision."""

import contextlib
from collections.abc import Iterator

import torch

from fer.errors import FerError

PRECISIONS = ("fp32", "tf32", "bf16")


def gpus_of(text: str | None) -> list[int]:
    """The GPUs of `--gpu` ("", "0", "0,2", "all"); FerError for anything else or where one is not there."""
    if not text:
        return []
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text == "all":
        wanted = list(range(there))
        if not wanted:
            raise FerError("--gpu all: this machine has no GPU that PyTorch can use; leave --gpu out")
        return wanted
    try:
        wanted = [int(word) for word in text.split(",")]
    except ValueError:
        raise FerError(f"--gpu takes numbers separated by commas, or all; not {text!r}") from None
    if len(set(wanted)) != len(wanted):
        raise FerError(f"--gpu {text}: a GPU is named twice")
    missing = [gpu for gpu in wanted if not 0 <= gpu < there]
    if missing:
        have = f"this machine has {there} that PyTorch {torch.__version__} can use"
        raise FerError(f"--gpu {text}: no GPU {missing[0]}; {have}\nleave --gpu out to train on the CPU")
    return wanted


def device_of(gpu: int | None) -> torch.device:
    return torch.device("cpu") if gpu is None else torch.device("cuda", gpu)


def set_precision(precision: str) -> None:
    """Let float32 products be rounded as `precision` allows; fp32 allows nothing."""
    if precision not in PRECISIONS:
        raise FerError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    loose = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = loose
    torch.backends.cudnn.allow_tf32 = loose


@contextlib.contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """Forward passes inside run in bf16 where `precision` says so; parameters stay fp32."""
    if precision != "bf16":
        yield
        return
    with torch.autocast(device.type, torch.bfloat16):
        yield
