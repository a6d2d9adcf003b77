"""What explained.npz holds as figures show it, and what is to be said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fer.errors import FerError
from fer.report.net_table import net_table
from fer.report.plots.faces import Picture, Seen
from fer.report.scored_run import ScoredRun
from fer.report.table import Table
from fer.runs.explained import Explained, read_explained

FILTERS = 64  # shown


@dataclass(frozen=True)
class Insight:
    """The table of a run's net, and why "Grad-CAM", "filters", "batch of the training" or "net" cannot be shown."""

    net: Table | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


NO_INSIGHT = Insight()


def find_explained(scored: ScoredRun) -> Explained | None:
    """The file's, where it is of the scored snapshot; None where it is not there, or is of another or damaged."""
    try:
        found = read_explained(scored.run.explained)
    except FerError:
        return None
    meta = scored.scores["val"].meta
    return found if found.meta.weights_sha256 == meta.weights_sha256 else None


def seen_faces(explained: Explained, classes: Sequence[str]) -> list[Seen]:
    """Its faces with their maps."""
    grad_cam = explained.grad_cam if len(explained.grad_cam) else [None] * len(explained.images)
    rows = zip(explained.images, explained.labels, explained.classes, explained.probs, strict=True)
    return [
        Seen(as_picture(image), classes[label], classes[answer], float(prob), occlusion, cam)
        for (image, label, answer, prob), occlusion, cam in zip(rows, explained.occlusion, grad_cam, strict=True)
    ]


def filter_pictures(explained: Explained) -> list[Picture]:
    """The first filters, black where a weight is the most negative of them all and white where it is the most positive;
    of other channels than one or three their mean."""
    filters = explained.filters[:FILTERS]
    if not len(filters):
        return []
    if filters.shape[1] not in (1, 3):
        filters = filters.mean(axis=1, keepdims=True)
    largest = float(np.abs(filters).max()) or 1.0
    return [as_picture(each) for each in _bytes(filters / largest / 2 + 0.5)]


def batch_pictures(explained: Explained) -> list[Picture]:
    """The batch, from its smallest number, black, to its largest, white."""
    batch = explained.batch
    if not len(batch) or batch.shape[1] not in (1, 3):
        return []
    low, high = float(batch.min()), float(batch.max())
    return [as_picture(each) for each in _bytes((batch - low) / ((high - low) or 1.0))]


def batch_labels(explained: Explained, classes: Sequence[str]) -> list[str]:
    """The names of the batch's labels; none where they are no numbers of classes."""
    labels = explained.batch_labels
    known = len(labels) == len(explained.batch) and len(labels) > 0 and np.isin(labels, range(len(classes))).all()
    return [classes[int(label)] for label in labels] if known else []


def find_insight(scored: ScoredRun) -> Insight:
    """The table of a run's net, and what cannot be shown of it."""
    explained = find_explained(scored)
    meta = explained.meta if explained else None
    missing = {"Grad-CAM": meta.grad_cam, "filters": meta.filters, "batch of the training": meta.batch} if meta else {}
    lines = {what: f"No {what} is shown: {why.splitlines()[0]}." for what, why in missing.items() if why}
    net = None
    if scored.run.deploy.is_file():
        try:
            net = net_table(scored.run)
        except FerError as error:
            lines["net"] = f"No table of the net is shown: {error}."
    return Insight(net, lines)


def as_picture(image: NDArray[np.uint8]) -> Picture:
    """uint8 [H,W], or [H,W,3] red, green, blue, of [C,H,W] as Caffe has it."""
    return image[0] if len(image) == 1 else np.ascontiguousarray(image[::-1].transpose(1, 2, 0))


def _bytes(shares: NDArray[np.floating]) -> Picture:
    return np.asarray((255 * shares).round(), np.uint8)
