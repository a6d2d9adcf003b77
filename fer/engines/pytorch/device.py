"""Which device to work on, and with what precision."""

import contextlib
import os
from collections.abc import Iterator

import torch

from fer.engines.core.gpus import gpus_named
from fer.engines.engine import PRECISIONS
from fer.errors import FerError


def gpus_of(text: str | None) -> list[int]:
    """The GPUs of `--gpu` ("", "0", "0,2", "all"); FerError for anything else or where one is not there."""
    return gpus_named(text, torch.cuda.device_count() if torch.cuda.is_available() else 0, _why_not) if text else []


def _why_not(there: int) -> str:
    """Why PyTorch has no more than `there` GPUs: a build without CUDA, a driver, or what the machine has."""
    version = f"PyTorch {torch.__version__}"
    if torch.version.cuda is None and torch.version.hip is None:
        return f"{version} is a build for the CPU alone: install one with CUDA"
    if there:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        shown = f" (CUDA_VISIBLE_DEVICES={hidden})" if hidden is not None else ""
        return f"this machine has {there} that {version} can use{shown}: 0 to {there - 1}"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # torch's own words name the driver's version, where that is it
        return f"{version} finds none: {str(error).strip().partition(chr(10))[0]}"
    return f"{version} finds none (CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')})"


def device_of(gpu: int | None) -> torch.device:
    return torch.device("cpu") if gpu is None else torch.device("cuda", gpu)


def graphs_wanted() -> bool:
    """Whether a training's passes on a GPU are replayed as a CUDA graph: unless FER_TORCH_GRAPH is 0."""
    return os.environ.get("FER_TORCH_GRAPH", "1") != "0"


def set_up(device: torch.device, precision: str) -> None:
    """What holds for all that a process runs on `device`: how float32 products are rounded (fp32: not at all), and
    that cuDNN measures which of its kernels are the fastest. FerError for a precision that there is not."""
    if precision not in PRECISIONS:
        raise FerError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    loose = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = loose
    torch.backends.cudnn.allow_tf32 = loose
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True


@contextlib.contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """Forward passes inside run in bf16 where `precision` says so; parameters stay fp32."""
    if precision != "bf16":
        yield
        return
    with torch.autocast(device.type, torch.bfloat16):
        yield
