"""What a net looks at, found by covering: the drop in a class's probability where a part of the image is gray.

maps = occlusion_maps(faces, classifier, [3])        # (Zeiler and Fergus, ECCV 2014, section 4.2)
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""Probabilities [N,K] of images uint8 [N,C,H,W]."""
PATCHES = 6  # along a side of the image; each covers so much of it


def occlusion_maps(images: NDArray[np.uint8], predict: Predict, classes: Sequence[int]) -> NDArray[np.float32]:
    """float32 [N,H,W]: how far the probability of `classes[i]` falls where a part of image i [C,H,W] is covered.

    A square of the image's own mean gray is laid over every place in steps of half its side; a pixel has the mean of
    the squares that covered it. Positive where the class is seen, negative where something speaks against it. All
    views go to `predict` in one call: about 122 an image. Raises ValueError unless there is a class for each image.
    """
    if images.ndim != 4 or len(images) != len(classes):
        raise ValueError(f"{len(classes)} classes for images {images.shape}; wanted one each of [N,C,H,W]")
    windows = _windows(*images.shape[2:])
    views = np.repeat(images, len(windows) + 1, axis=0).reshape(len(images), len(windows) + 1, *images.shape[1:])
    gray = images.mean(axis=(2, 3), keepdims=True).round().astype(np.uint8)
    for place, (rows, columns) in enumerate(windows, 1):
        views[:, place, :, rows, columns] = gray
    probs = np.asarray(predict(views.reshape(-1, *images.shape[1:])), np.float64).reshape(*views.shape[:2], -1)
    seen = probs[np.arange(len(images)), :, np.asarray(classes, np.int64)]
    drops = seen[:, :1] - seen[:, 1:]
    total, covered = np.zeros((len(images), *images.shape[2:])), np.zeros(images.shape[2:])
    for place, (rows, columns) in enumerate(windows):
        total[:, rows, columns] += drops[:, place, None, None]
        covered[rows, columns] += 1
    return (total / covered).astype(np.float32)


def _windows(height: int, width: int) -> list[tuple[slice, slice]]:
    """The squares: rows and columns of each; the last ones end at the edge."""
    side = max(1, round(max(height, width) / PATCHES))

    def spans(length: int) -> list[slice]:
        last = max(0, length - side)
        starts = sorted({*range(0, last, max(1, side // 2)), last})
        return [slice(start, start + side) for start in starts]

    return [(rows, columns) for rows in spans(height) for columns in spans(width)]
