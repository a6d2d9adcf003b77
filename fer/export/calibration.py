"""The images of Training that the integers of a form are chosen by."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fer.errors import FerError
from fer.evaluation.splits import READ_LAYERS, as_images, layer_source
from fer.formats.prototxt import read_net, read_solver
from fer.inference.model_record import Calibration
from fer.nets.deploy import training_front
from fer.nets.files import with_paths
from fer.nets.states import scored_state, train_state
from fer.runs.run import Run
from fer.system.arrays import write_array
from fer.system.hashes import file_hash

IMAGES, SEED = 300, 0
CALIBRATION = "calibration"


@dataclass(frozen=True)
class CalibrationImages:
    """uint8 [N, C, H, W], with a name and a label each."""

    images: np.ndarray
    names: list[str]
    labels: np.ndarray
    record: Calibration

    def write(self, directory: Path) -> Calibration:
        """calibration/images.npy and list.txt, for a toolchain of one's own; returns what model.json says of them."""
        folder = directory / CALIBRATION
        folder.mkdir()
        images, names = folder / "images.npy", folder / "list.txt"
        write_array(images, self.images)
        rows = (f"{name} {label}\n" for name, label in zip(self.names, self.labels, strict=True))
        names.write_text("".join(rows), encoding="utf-8")
        return replace(
            self.record,
            file=f"{CALIBRATION}/{images.name}",
            sha256=file_hash(images),
            list=f"{CALIBRATION}/{names.name}",
            list_sha256=file_hash(names),
        )


def calibration_images(run: Run) -> CalibrationImages:
    """What the run was trained on, IMAGES or all there are, drawn by a seed.

    As many of each class, as far as there are so many; what is missing is drawn from the rest. Raises FerError for a
    net that does not train on a database or list of images.
    """
    solver = read_solver(run.solver)
    layer = training_front(with_paths(read_net(run.net), run.moved), train_state(solver), scored_state(solver))
    if layer.type not in READ_LAYERS:
        raise FerError(
            f"layer {layer.name!r} ({layer.type}) trains the net, and images to calibrate by come from "
            "databases and image lists alone"
        )
    source = layer_source(layer)
    pixels, labels = source.read()
    chosen = balanced(labels.astype(np.int64), IMAGES)
    counts = np.unique(labels[chosen], return_counts=True)[1]
    images, names = np.ascontiguousarray(as_images(pixels)[chosen]), source.names()
    record = Calibration(len(chosen), SEED, bool(counts.max() - counts.min() <= 1))
    return CalibrationImages(images, [names[row] for row in chosen], labels[chosen].astype(np.int64), record)


def balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows, drawn and sorted: one of each class in turn, as long as it has one."""
    order = np.random.default_rng(SEED).permutation(len(labels))
    turns = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        turns[rows] = np.arange(len(rows))
    places = np.argsort(turns[order], kind="stable")
    return np.sort(order[places[:count]])
