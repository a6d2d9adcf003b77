"""Memory of the C library: kept between iterations instead of being given back and faulted in again."""

import ctypes

# <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed; whether there is a glibc to tell.

    By itself it returns blocks of some megabytes to the system, and each iteration's activations then cost thousands
    of page faults: with AlexNet 3 to 6 percent of the time in fp32 and more in bf16. Call it before the first net.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Older glibc refuse more than 32 MB for the first; every allocation of these nets is then still covered.
    kept = mallopt(_M_MMAP_THRESHOLD, 1 << 30) or mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
