"""A model of which there is nothing but a deploy net and its weights, of any Caffe.

classifier = Classifier(bare_model(Path("deploy.prototxt"), Path("W.caffemodel"), mean="mean.npy", labels="labels.txt"))
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fer.data.class_names import read_labels
from fer.errors import FerError
from fer.formats.blobs import from_blob, is_legacy, to_blob
from fer.formats.hdf5 import MAGIC, read_hdf5_weights
from fer.formats.mean import find_mean
from fer.formats.prototxt import read_net, read_weights, to_bytes
from fer.inference.classifier import Classifier, Model
from fer.nets.deploy import input_of
from fer.nets.transform import Transform, under_mean
from fer.schema import caffe_pb2
from fer.system.files import cannot_read


def bare_model(
    deploy: Path, weights: Path, *, mean: str | None = None, labels: str | None = None, scale: float = 1.0
) -> Model:
    """The model of a deploy net and its weights, in any of Caffe's formats.

    mean    a .binaryproto, a .npy or numbers; of one larger than the net's input the centre is taken, as Caffe crops
    labels  a labels.txt or names with commas; without them classes are called by their numbers
    scale   what pixels less the mean are multiplied by
    Raises FerError where the files do not fit each other, or the net gives no probabilities.
    """
    net = read_net(deploy)
    found = find_mean(mean) if mean is not None else None
    shape, crop = under_mean(input_of(net, str(deploy))[1], found)
    param = caffe_pb2.TransformationParameter(crop_size=crop, scale=scale)
    contents = to_bytes(net), _weights_for(net, weights).SerializeToString()
    unnamed = Model(deploy, deploy, weights, (), Transform(param, shape, found), contents=contents)
    count = _count_classes(unnamed)
    names = read_labels(labels) if labels is not None else [f"class {number}" for number in range(count)]
    if len(names) != count:
        raise FerError(f"--labels {labels}: {len(names)} names, and {deploy} gives {count} probabilities")
    return replace(unnamed, classes=tuple(names))


def _weights_for(net: caffe_pb2.NetParameter, path: Path) -> caffe_pb2.NetParameter:
    """The parameters of the net's layers in today's format. Raises FerError where the file has none for it."""
    used = {layer.name: layer.type for layer in net.layer}
    made = caffe_pb2.NetParameter(name=net.name)
    for name, blobs in _blobs(path).items():
        if name in used:
            made.layer.add(name=name, type=used[name]).blobs.extend(blobs)
    if not made.layer:
        raise FerError(f"{path}: no layer of it has the name of one of the net's; the net's: {', '.join(used)}")
    return made


def _blobs(path: Path) -> dict[str, list[caffe_pb2.BlobProto]]:
    try:
        with path.open("rb") as stream:
            is_hdf5 = stream.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise cannot_read(path, error) from error
    if is_hdf5:
        stored = read_hdf5_weights(path)
        return {name: [to_blob(blobs[place]) for place in sorted(blobs)] for name, blobs in stored.items()}
    layers = [layer for layer in read_weights(path).layer if layer.blobs]
    return {layer.name: [_of_today(blob, f"{path}: {layer.name!r}") for blob in layer.blobs] for layer in layers}


def _of_today(blob: caffe_pb2.BlobProto, where: str) -> caffe_pb2.BlobProto:
    """A blob that OpenCV reads: it takes floats, and shapes of any age."""
    values = from_blob(blob, where)
    if not np.isfinite(values).all():
        raise FerError(f"{where} holds nan or inf")
    return blob if len(blob.data) and not is_legacy(blob) else to_blob(values)


def _count_classes(model: Model) -> int:
    """How many probabilities it gives. Raises FerError where what it gives are none."""
    answer = Classifier(model).outputs(np.zeros((1, *model.transform.shape), np.uint8))
    if answer.ndim != 2 or answer.shape[1] < 2 or not np.isfinite(answer).all() or abs(answer.sum() - 1) > 1e-3:
        raise FerError(
            f"{model.deploy} gives no probabilities: its last layer must be a Softmax over the classes\n"
            'add  layer { name: "prob" type: "Softmax" bottom: "SCORES" top: "prob" }  at its end'
        )
    return int(answer.shape[1])
