"""What is wrong with a set of faces, counted: duplicates within and across splits, contradictions, blank images."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer.data.classes import CLASSES
from fer.data.dataset import SPLITS, Split
from fer.data.manifest import Audit
from fer.system.escapes import escaped
from fer.system.plural import counted

_WIDE = 160  # where no terminal says how much room there is
_TRAIN, _VAL, _TEST = (SPLITS.index(split) for split in (Split.TRAIN, Split.VAL, Split.TEST))


@dataclass(frozen=True)
class Catalog:
    """A source's images without their pixels, in the source's order; arrays are [N].

    `splits` (positions in SPLITS) and `labels` are uint8, `blank` is bool, `digests` (of `dataset.fingerprints`)
    uint64 [N, 2]. `classes` are the labels' names; `targets`, float32 [N, K], their shares of the votes on each image.
    """

    splits: np.ndarray
    labels: np.ndarray
    digests: np.ndarray
    blank: np.ndarray
    classes: tuple[str, ...] = CLASSES
    targets: np.ndarray | None = None

    def class_counts(self, split: Split) -> list[int]:
        """Images of each class in `split`."""
        rows = self.splits == SPLITS.index(split)
        counts: list[int] = np.bincount(self.labels[rows], minlength=len(self.classes)).tolist()
        return counts


def _groups(catalog: Catalog) -> tuple[np.ndarray, int]:
    """The number of the group of equal images each image is in, int64 [N], and how many groups there are."""
    unique, groups = np.unique(catalog.digests, axis=0, return_inverse=True)
    return groups.reshape(-1), len(unique)


def _present(catalog: Catalog, groups: np.ndarray, count: int, split: int) -> np.ndarray:
    """Which groups have an image in `split`: bool [count]."""
    present = np.zeros(count, bool)
    present[groups[catalog.splits == split]] = True
    return present


def leaked(catalog: Catalog) -> np.ndarray:
    """Which Training images also lie, pixel for pixel, in PublicTest or PrivateTest: bool [N]."""
    groups, count = _groups(catalog)
    held_out = _present(catalog, groups, count, _VAL) | _present(catalog, groups, count, _TEST)
    found: np.ndarray = (catalog.splits == _TRAIN) & held_out[groups]
    return found


def audit(catalog: Catalog) -> Audit:
    """The counts.

    `duplicate_groups` are groups of two or more equal images, `conflicting_groups` those whose labels differ;
    `val_in_train` counts PublicTest images that also lie in Training, `test_in_train` PrivateTest's, `test_in_val`
    PrivateTest images that also lie in PublicTest; `train_leaked` counts the Training images that `--drop-leaks`
    would leave out.
    """
    groups, count = _groups(catalog)
    sizes = np.bincount(groups, minlength=count)
    labels = np.zeros((count, len(catalog.classes)), bool)
    labels[groups, catalog.labels] = True
    train, val = (_present(catalog, groups, count, split) for split in (_TRAIN, _VAL))
    within = {}
    for position, split in enumerate(SPLITS):
        inside = groups[catalog.splits == position]
        within[split.folder] = int(len(inside) - len(np.unique(inside)))
    return Audit(
        images=len(groups),
        class_counts={split.folder: tuple(catalog.class_counts(split)) for split in SPLITS},
        unique=count,
        duplicate_groups=int((sizes > 1).sum()),
        conflicting_groups=int((labels.sum(axis=1) > 1).sum()),
        repeats_within=within,
        val_in_train=int(train[groups[catalog.splits == _VAL]].sum()),
        test_in_train=int(train[groups[catalog.splits == _TEST]].sum()),
        test_in_val=int(val[groups[catalog.splits == _TEST]].sum()),
        train_leaked=int(leaked(catalog).sum()),
        blank={split.folder: int(catalog.blank[catalog.splits == k].sum()) for k, split in enumerate(SPLITS)},
    )


def audit_text(result: Audit, room: int | None = None, classes: Sequence[str] = CLASSES) -> str:
    """What `audit` returned, as lines of `room` characters at most; a class a line where they are too many for one."""
    blank = result.blank
    rows: list[tuple[str, ...]] = [("", *map(escaped, classes), "all")]
    for split in SPLITS:
        counts = result.class_counts[split.folder]
        rows.append((split.value, *(f"{count:,}" for count in (*counts, sum(counts)))))
    lines = _columns(rows, gap=2)
    if max(map(len, lines)) > (room or _WIDE):
        lines = _columns(list(zip(*rows, strict=True)), gap=1)
    sentences = [
        f"{result.unique:,} of {result.images:,} images are unique",
        f"{counted(result.duplicate_groups, 'group')} of exact duplicates, {result.conflicting_groups:,} with "
        "conflicting labels",
        f"{result.val_in_train:,} PublicTest and {result.test_in_train:,} PrivateTest images also lie in "
        f"Training; {result.test_in_val:,} lie in both test splits",
        f"{counted(sum(blank.values()), 'blank image')} (Training {blank['train']}, PublicTest {blank['val']}, "
        f"PrivateTest {blank['test']})",
    ]
    for sentence in sentences:
        lines += [sentence] if room is None else textwrap.wrap(sentence, room)
    return "\n".join(lines)


def _columns(rows: Sequence[Sequence[str]], gap: int) -> list[str]:
    """Lines of a table whose first column stands to the left."""
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [
        f"{name:<{first}}" + "".join(f"{cell:>{width + gap}}" for cell, width in zip(cells, widths, strict=True))
        for name, *cells in rows
    ]
