"""Dividing images that have no splits into Training, PublicTest and PrivateTest, by class and by person."""

from collections.abc import Sequence

import numpy as np

from fer.data.dataset import SPLITS
from fer.errors import FerError
from fer.system.escapes import some_names


def divide(labels: np.ndarray, classes: Sequence[str], shares: Sequence[int], seed: int) -> np.ndarray:
    """Splits (positions in SPLITS, uint8 [N]) of images: of each class so many percent, drawn by `seed`.

    Each split gets one image of each class at least. Raises FerError for a class of less than three images.
    """
    splits = np.zeros(len(labels), np.uint8)
    generator = np.random.default_rng(seed)
    few = []
    for label, name in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        if 0 < len(rows) < len(SPLITS):
            few.append(name)
            continue
        sizes = _sizes(len(rows), shares)
        splits[generator.permutation(rows)] = np.repeat(np.arange(len(SPLITS)), sizes)
    if few:
        raise FerError(
            f"--split: less than three images of {some_names(few)}: too few to be in train, val and test\n"
            "add images, or leave these folders out"
        )
    return splits


def _sizes(count: int, shares: Sequence[int]) -> np.ndarray:
    """How many of `count` go to each split: by the largest remainders, one at least."""
    if not count:
        return np.zeros(len(shares), np.int64)
    exact = count * np.asarray(shares) / sum(shares)
    sizes = np.floor(exact).astype(np.int64)
    for position in np.argsort(sizes - exact, kind="stable")[: count - sizes.sum()]:
        sizes[position] += 1
    while not sizes.all():
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return sizes


def divide_groups(labels: np.ndarray, groups: np.ndarray, count: int, shares: Sequence[int], seed: int) -> np.ndarray:
    """Splits (positions in SPLITS, uint8 [N]) of images of `count` classes, so that none of `groups` (numbers from 0,
    [N]) is in two.

    Each group in turn, the largest first and those of one size in an order drawn by `seed`, goes where the classes'
    counts are then nearest to `shares`. Raises FerError for less than three groups.
    """
    of_group = np.zeros((groups.max() + 1, count))
    np.add.at(of_group, (groups, labels), 1)
    if len(of_group) < len(SPLITS):
        raise FerError(f"--group finds {len(of_group)} person(s): too few to be in train, val and test")
    wanted = np.outer(np.asarray(shares) / sum(shares), of_group.sum(axis=0))
    scale = 1 / np.maximum(wanted, 1)
    drawn = np.random.default_rng(seed).permutation(len(of_group))
    order = drawn[np.argsort(-of_group[drawn].sum(axis=1), kind="stable")]
    have, chosen = np.zeros_like(wanted), np.zeros(len(of_group), np.uint8)
    for place, group in enumerate(order):
        with_it = have[:, np.newaxis] + np.eye(len(SPLITS))[:, :, np.newaxis] * of_group[group]  # as each split gets it
        with_it = np.swapaxes(with_it, 0, 1)
        cost = (((with_it - wanted) * scale) ** 2).sum(axis=(1, 2))
        empty = have.sum(axis=1) == 0
        if empty.sum() >= len(order) - place:  # as many splits without anybody as persons left
            cost[~empty] = np.inf
        split = int(cost.argmin())
        have[split] += of_group[group]
        chosen[group] = split
    splits: np.ndarray = chosen[groups]
    return splits
