"""What CUDA and its libraries raise, in words: which of it a user can mend, and how."""

import re

import torch

from fer.errors import FerError

# (what the message says, what it means and what helps); the first that fits counts.
_CURES = (
    (
        r"no kernel image|PTX|invalid device function|architecture mismatch",
        "this build of PyTorch has no code for this GPU: install one that has (a newer one for a new GPU)",
    ),
    (
        r"out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUBLAS_STATUS_NOT_INITIALIZED|CUDNN_STATUS_NOT_INITIALIZED"
        r"|CUDNN_STATUS_ALLOC_FAILED|CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION",
        "the GPU's memory is full: try a smaller batch_size, or end what else uses it (nvidia-smi shows it)",
    ),
    (
        r"driver version is insufficient|driver on your system is too old|forward compatibility|unsupported driver",
        "the NVIDIA driver is older than this build of PyTorch needs: update it, or install a build for older CUDA",
    ),
    (
        r"no NVIDIA driver|no CUDA-capable device|invalid device ordinal|No CUDA GPUs are available",
        "PyTorch finds no such GPU: nvidia-smi lists what there is, and CUDA_VISIBLE_DEVICES may hide some of it",
    ),
    (
        r"busy or unavailable|device is busy|exclusive",
        "another process has the GPU for itself (its compute mode is exclusive): wait for it, or take another GPU",
    ),
    (
        r"system not yet initialized|system not ready",
        "the GPUs' fabric manager does not run: start nvidia-fabricmanager",
    ),
    (r"the launch timed out", "the GPU also drives a display, whose watchdog ended a kernel: try a smaller batch_size"),
    (
        r"ECC error|has fallen off|device is lost|GPU is lost|hardware stack|NVLink|cudaErrorDevicesUnavailable"
        r"|initialization error|unknown error",
        "the GPU or its driver is in a bad state: dmesg tells of it (Xid); reset the GPU, or restart the machine",
    ),
    (
        r"NCCL (error|WARN)|ncclSystemError|ncclUnhandledCudaError|ncclRemoteError|ncclInternalError",
        "the ranks lost each other: the first that failed says why; NCCL_DEBUG=INFO tells more, and NCCL_SOCKET_IFNAME "
        "names the network interface",
    ),
)
_OF_A_GPU = re.compile(r"CUDA|cuda|cuDNN|CUDNN|CUBLAS|cublas|NCCL|nccl|NVIDIA")
_OURS = "a fault of fer, or of a library under it; FER_TORCH_GRAPH=0 CUDA_LAUNCH_BLOCKING=1 show where it is"


class _Fault(FerError):
    """A fault that only we can mend."""

    exit_code = 70


def gpu_fault(error: RuntimeError) -> FerError | None:
    """The message's first line and what it means, with exit code 1 where the user can mend it, else 70.

    None for an error that is not of a GPU.
    """
    message = str(error)
    first = message.strip().partition("\n")[0]
    if isinstance(error, torch.OutOfMemoryError):  # of any device
        return FerError(f"{first}\n{_CURES[1][1]}")
    if not _OF_A_GPU.search(message):
        return None
    for pattern, cure in _CURES:
        if re.search(pattern, message):
            return FerError(f"{first}\n{cure}")
    return _Fault(f"{first}\n{_OURS}")
