"""What a tool answers: to a file of images with how long one takes, or to arrays on stdin. Imports numpy alone."""

import io
import os
import sys
import time
from collections.abc import Callable

import numpy as np

TIMED = 50


def write_answers(path: str, images: np.ndarray, read: Callable[[np.ndarray], np.ndarray]) -> None:
    """answers.npz: `probs` float32 [N, K] of images one by one, and the median milliseconds of one.

    `read` takes one image [1, ...] and answers [1, K], or [K].
    """
    answers, seconds = [], []
    for image in images:
        started = time.perf_counter()
        answers.append(np.asarray(read(image[np.newaxis]), np.float32).ravel())
        seconds.append(time.perf_counter() - started)
    np.savez(path, probs=np.stack(answers), milliseconds=1000 * np.median(seconds[-TIMED:]))


def serve(read: Callable[[np.ndarray], np.ndarray]) -> None:
    """Answer what comes in on stdin, arrays [N, ...], with float32 [N, K] each on stdout, until it ends.

    Each is eight bytes that say how many follow, and a file of .npy's.
    """
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    while head := sys.stdin.buffer.read(8):
        images = np.load(io.BytesIO(sys.stdin.buffer.read(int.from_bytes(head, "little"))), allow_pickle=False)
        file = io.BytesIO()
        np.save(file, np.stack([np.asarray(read(image[np.newaxis]), np.float32).ravel() for image in images]))
        out.write(len(file.getvalue()).to_bytes(8, "little") + file.getvalue())
        out.flush()
