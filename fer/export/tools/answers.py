"""What a tool's `predict` writes: the answers, and how long one takes. Imports numpy alone."""

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
