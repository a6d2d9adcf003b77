"""What devices begin with: the folded net, and images to calibrate integers by; and the forms that are made of both."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from fer.errors import FerError
from fer.evaluation.splits import as_images, layer_source
from fer.export.onnx_model import to_onnx
from fer.export.proof import HeldOut
from fer.export.readers import check_readers
from fer.formats.blobs import from_blob, to_blob
from fer.formats.prototxt import read_net, read_solver, read_weights, write_text
from fer.inference.classifier import MEAN, ONNX, WEIGHTS, Model
from fer.nets.deploy import front_layer
from fer.nets.files import with_paths
from fer.nets.fold import Folded, fold
from fer.nets.states import train_state
from fer.runs.run import Run
from fer.schema import caffe_pb2
from fer.system.progress import StageProgress

CALIBRATION = "calibration"
FOLDED = "folded"
IMAGES, SEED = 300, 0  # to calibrate by


def blobs_of(model: Model) -> dict[str, list[np.ndarray]]:
    """float32, the parameters of each layer by name, in Caffe's order."""
    layers = read_weights(model.weights).layer
    return {
        layer.name: [from_blob(blob, f"{model.weights}: layer {layer.name!r}") for blob in layer.blobs]
        for layer in layers
    }


def write_onnx(
    path: Path, deploy: caffe_pb2.NetParameter, blobs: dict[str, list[np.ndarray]], model: Model, batch: int | None
) -> None:
    flat = {name: [blob.ravel() for blob in each] for name, each in blobs.items()}
    path.write_bytes(to_onnx(deploy, flat, model.transform, batch).SerializeToString(deterministic=True))


def write_folded(folder: Path, model: Model, *, onnx: bool, val: HeldOut, progress: StageProgress) -> Folded:
    """Write `folded/`: the net without its BatchNorm and Scale layers, proved as the whole one is."""
    folded = fold(read_net(model.deploy), blobs_of(model))
    for name, reason in folded.left.items():
        progress(f"{name} is not folded: {reason}", 0, 1)
    target = folder / FOLDED
    target.mkdir()
    shutil.copy(folder / MEAN, target)
    made = replace(model, directory=target, deploy=target / model.deploy.name, weights=target / WEIGHTS)
    write_text(made.deploy, folded.net)
    weights = caffe_pb2.NetParameter(name=folded.net.name)
    for layer in folded.net.layer:
        if blobs := folded.blobs.get(layer.name):
            weights.layer.add(name=layer.name, type=layer.type).blobs.extend(map(to_blob, blobs))
    made.weights.write_bytes(weights.SerializeToString(deterministic=True))
    if onnx:
        write_onnx(target / ONNX, folded.net, folded.blobs, made, None)
    check_readers(made, val.images, val.scores, progress)
    return folded


def write_calibration(folder: Path, run: Run, shape: tuple[int, int, int]) -> np.ndarray:
    """Write `calibration/`: Training images of each class alike, drawn by a seed; returns them, uint8 [N, C, H, W].

    Raises FerError where the net's training images cannot be read, or are not of `shape` (C, H, W).
    """
    net, solver = with_paths(read_net(run.net), run.moved), read_solver(run.solver)
    source = layer_source(front_layer(net, train_state(solver)))
    pixels, labels = source.read()
    images = as_images(pixels)
    if images.shape[1:] != shape:
        raise FerError(f"{source.path}: its images are {images.shape[1:]}, where the net for use takes {shape}")
    places = np.sort(drawn_alike(labels.astype(int).ravel()))
    target, names = folder / CALIBRATION, source.names()
    target.mkdir()
    np.save(target / "images.npy", images[places])
    rows = (f"{names[place]} {int(labels[place])}\n" for place in places)
    (target / "list.txt").write_text("".join(rows), encoding="utf-8")
    return np.ascontiguousarray(images[places])


def drawn_alike(labels: np.ndarray) -> np.ndarray:
    """Places of IMAGES images, of each class as many as of another where there are so many."""
    draw = np.random.default_rng(SEED)
    shuffled = [draw.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    in_turn = [places[turn] for turn in range(max(map(len, shuffled))) for places in shuffled if turn < len(places)]
    return np.array(in_turn[:IMAGES])
