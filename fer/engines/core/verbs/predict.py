"""`predict`: class probabilities of images with a deploy net, number for number those of the Caffe worker's verb."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer.engines.core.framework import Backend, Net
from fer.engines.core.weights import copy_weights
from fer.engines.engine import Counter
from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.nets.states import State
from fer.nets.transform import Transform
from fer.schema import caffe_pb2
from fer.system.files import write_bytes

BATCH = 64


def predict(
    backend: Backend,
    model: Path,
    weights: Sequence[Path],
    source: Path,
    transform: caffe_pb2.TransformationParameter,
    outs: Sequence[Path],
    *,
    ten_crop: bool = False,
    progress: Counter | None = None,
    answered: Counter | None = None,
) -> None:
    """Write the probabilities float32 [N, classes] of the images in `source` (.npy, uint8 [N, C, H, W]), with each of
    the `weights`, to its own one of `outs`.

    The images go through `transform` as in the TEST phase; with `ten_crop` the answers to ten views are averaged.
    `progress` counts the images, for each of the weights anew, `answered` the files written.
    Raises FerError for anything that cannot be read or does not fit.
    """
    images = read_images(source)
    net = backend.net(read_net(model), State("TEST"), path=model)
    net.run_lean()
    if len(net.inputs) != 1:
        raise FerError(f"{model} has {len(net.inputs)} inputs ({', '.join(net.inputs)}); one is needed: a deploy net")
    transformer = Transform(transform, images.shape[1:])
    for number, (path, out) in enumerate(zip(weights, outs, strict=True), 1):
        copy_weights(net, path, complete=True)
        net.seek(0)
        stream = io.BytesIO()
        np.savez(stream, probs=_probs(net, model, images, transformer, ten_crop, progress))
        write_bytes(out, stream.getvalue(), parents=True)
        if answered:
            answered(number, len(weights))


def _probs(
    net: Net, model: Path, images: np.ndarray, transformer: Transform, ten_crop: bool, progress: Counter | None
) -> np.ndarray:
    names = [name for name, _ in net.outputs]
    if not names:
        raise FerError(f"{model} has no output")
    output = "prob" if "prob" in names else names[0]
    probs = []
    for start in range(0, len(images), BATCH):
        batch = np.array(images[start : start + BATCH])
        views = transformer.views(batch, ten_crop)
        total = np.zeros(())
        for view in views:
            total = total + net.infer(view, output)
        probs.append((total / len(views)).astype(np.float32))
        if progress:
            progress(start + len(batch), len(images))
    return np.concatenate(probs)


def read_images(path: Path) -> np.ndarray:
    """uint8 [N, C, H, W] of a .npy, N of 1 or more. Raises FerError for anything else."""
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FerError(f"cannot read images from {path}: {error}") from error
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise FerError(f"{path}: images must be uint8 [N, C, H, W] with N of 1 or more")
    return images
