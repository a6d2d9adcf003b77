"""The images of Training that the integers of a form are chosen by."""

import numpy as np

from fer.errors import FerError
from fer.evaluation.splits import READ_LAYERS, layer_source
from fer.formats.prototxt import read_net, read_solver
from fer.inference.model_record import Calibration
from fer.nets.deploy import front_layer
from fer.nets.files import with_paths
from fer.nets.states import train_state
from fer.runs.run import Run

IMAGES, SEED = 300, 0


def calibration_images(run: Run) -> tuple[np.ndarray, Calibration]:
    """uint8 [N, C, H, W] of what the run was trained on, IMAGES or all there are, drawn by a seed.

    As many of each class, as far as there are so many; what is missing is drawn from the rest. Raises FerError for a
    net that does not train on a database or list of images.
    """
    layer = front_layer(with_paths(read_net(run.net), run.moved), train_state(read_solver(run.solver)))
    if layer.type not in READ_LAYERS:
        raise FerError(
            f"layer {layer.name!r} ({layer.type}) trains the net, and images to calibrate by come from "
            "databases and image lists alone"
        )
    pixels, labels = layer_source(layer).read()
    chosen = _balanced(labels.astype(np.int64), IMAGES)
    counts = np.unique(labels[chosen], return_counts=True)[1]
    images: np.ndarray = np.ascontiguousarray(pixels[chosen].transpose(0, 3, 1, 2))
    return images, Calibration(len(chosen), SEED, bool(counts.max() - counts.min() <= 1))


def _balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows, drawn and sorted: one of each class in turn, as long as it has one."""
    order = np.random.default_rng(SEED).permutation(len(labels))
    turns = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        turns[rows] = np.arange(len(rows))
    places = np.argsort(turns[order], kind="stable")
    return np.sort(order[places[:count]])
