"""`grad_cam`: where a convolutional net sees a class (Selvaraju, ICCV 2017), for frameworks that give gradients."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np

from fer.engines.core.framework import Backend, Net
from fer.engines.core.verbs.predict import read_images
from fer.engines.core.weights import copy_weights
from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.nets.states import State
from fer.nets.transform import Transform
from fer.schema import caffe_pb2
from fer.system.files import write_bytes

# What pools, thins out or passes on what a layer before has made.
_PASSING = ("Pooling", "Dropout", "LRN", "Split", "Input", "Softmax")


@runtime_checkable
class Differentiating(Protocol):
    """A backend that gives the gradients of scores by blobs."""

    def class_gradient(
        self, net: Any, images: np.ndarray, classes: Sequence[int], *, score: str, at: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """The blob `at` [N,C,h,w] for float32 images [N,C,H,W], and by it the gradient of the blob `score`'s value of
        each image's class, float32 both."""
        ...


def grad_cam(
    backend: Backend,
    model: Path,
    weights: Path,
    source: Path,
    transform: caffe_pb2.TransformationParameter,
    classes: Sequence[int],
    out: Path,
) -> None:
    """Write `maps` float32 [N,H,W] of the images in `source` (.npy, uint8 [N,C,H,W]), one class each, to `out`.

    0 where nothing speaks for the class, 1 where in this image most does; 0 too outside of the crop. Raises FerError
    for a net without a layer that sees places, and for anything that cannot be read or does not fit.
    """
    if not isinstance(backend, Differentiating):
        raise FerError("this engine gives no gradients; take the PyTorch engine")
    images = np.array(read_images(source))
    if len(classes) != len(images):
        raise FerError(f"{len(classes)} classes for {len(images)} images")
    net = backend.net(read_net(model), State("TEST"), path=model)
    copy_weights(net, weights, complete=True)
    score, at = _blobs(net, model)
    transformer = Transform(transform, images.shape[1:])
    values, gradients = backend.class_gradient(net, transformer.views(images)[0], classes, score=score, at=at)
    shares = np.maximum((gradients.mean(axis=(2, 3), keepdims=True) * values).sum(axis=1), 0)
    maps = np.zeros((len(images), *images.shape[2:]), np.float32)
    rows, columns = transformer.window(*transformer.offsets()[0])
    size = maps[0, rows, columns].shape
    for whole, share in zip(maps, shares, strict=True):
        whole[rows, columns] = cv2.resize(share / (share.max() or 1), size[::-1], interpolation=cv2.INTER_LINEAR)
    stream = io.BytesIO()
    np.savez(stream, maps=maps)
    write_bytes(out, stream.getvalue(), parents=True)


def _blobs(net: Net, model: Path) -> tuple[str, str]:
    """The blob of the classes' scores before the softmax, and the last one that still has places."""
    names = [name for name, _ in net.outputs]
    score = "prob" if "prob" in names else names[0]
    score = next((node.bottoms[0] for node in net.nodes if node.type == "Softmax" and score in node.tops), score)
    seen = [top for node in net.nodes if node.type not in _PASSING for top in node.tops if _has_places(net.shapes[top])]
    if not seen:
        raise FerError(f"{model} has no layer that sees places, so that there is no Grad-CAM of it")
    return score, seen[-1]


def _has_places(shape: Sequence[int]) -> bool:
    return len(shape) == 4 and shape[2] * shape[3] > 1
