"""A net with drawn weights, ready to be written in any form: no run, no data, no proof."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from drawn_net import by_torch, drawn

from fer.export.form import Form, Job
from fer.export.forms import FORMS
from fer.formats.blobs import to_blob
from fer.formats.database import write_mean
from fer.formats.prototxt import read_net
from fer.inference.classifier import DEPLOY, MEAN, WEIGHTS, Model
from fer.nets.shapes import UnknownShapeError
from fer.nets.transform import Transform
from fer.schema import caffe_pb2


def job_of(
    folder: Path,
    layers: str,
    images: np.ndarray,
    *,
    mean: float = 120,
    scale: float = 1 / 64,
    blobs: Mapping[str, list[np.ndarray]] = MappingProxyType({}),
) -> Job:
    """A job of the layers after `data`, whose images (uint8 [N, C, H, W]) are the calibration's, too."""
    shape = " ".join(f"dim: {size}" for size in (1, *images.shape[1:]))
    text = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {shape} }} }} }}\n{layers}'
    (folder / DEPLOY).write_text(text)
    net = read_net(folder / DEPLOY)
    with contextlib.suppress(UnknownShapeError):
        blobs = drawn(net) | dict(blobs)
    weights = caffe_pb2.NetParameter()
    weights.layer.add(name="of training alone", type="Bias").blobs.append(to_blob(np.ones(1, np.float32)))
    for layer in net.layer:
        if layer.name in blobs:
            weights.layer.add(name=layer.name, type=layer.type).blobs.extend(map(to_blob, blobs[layer.name]))
    (folder / WEIGHTS).write_bytes(weights.SerializeToString())
    size = images.shape[1:]
    write_mean(folder / MEAN, np.full(size, mean, np.float32))
    transform = Transform(caffe_pb2.TransformationParameter(scale=scale, mean_file=str(folder / MEAN)), size)
    model = Model(folder, folder / DEPLOY, folder / WEIGHTS, ("one", "two"), transform)
    return Job(model, net, lambda: images, lambda stage, done, total: None)


def wanted_of(job: Job, images: np.ndarray) -> np.ndarray:
    """What Caffe's rules on PyTorch make of images uint8 [N, C, H, W]: float32 [N, K]."""
    blobs = {layer.name: job.blobs[layer.name] for layer in job.deploy.layer if layer.name in job.blobs}
    return by_torch(job.deploy, blobs, job.model.transform.views(images)[0])


def written(job: Job, name: str) -> Form:
    """The form, written into the job's folder."""
    form = FORMS[name]
    if form.tool:
        form.tool.find()
    form.write(job)
    return form
