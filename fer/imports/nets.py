"""The prototxts of an imported run: its own net, reading the data directory's faces as its own images were read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fer.data.manifest import Manifest
from fer.errors import FerError
from fer.evaluation.splits import READ_LAYERS
from fer.formats.blobs import shape_text
from fer.formats.prototxt import read_net
from fer.imports.given import GivenFile
from fer.nets.deploy import front_layer, input_of
from fer.nets.states import State
from fer.nets.transform import under_mean
from fer.schema import caffe_pb2
from fer.training.run_prototxts import clear_cudnn, layer_phases

MEAN = "mean.binaryproto"
_BATCH = 32
_SPLITS = {"TRAIN": "train", "TEST": "val"}
Shape = tuple[int, int, int]


@dataclass
class Images:
    """How a training's images were made for its net: (channels, height, width) before the crop, crop, mean and scale.

    `said` tells, in a sentence each, how faces are brought to that.
    """

    shape: Shape
    crop: int
    mean: np.ndarray | None
    scale: float
    said: list[str] = field(default_factory=list)

    def sentence(self, stored: Shape) -> str:
        """What is done to a face of the data."""
        steps = []
        if self.shape[1:] != stored[1:]:
            steps.append(f"resized from {stored[1]} x {stored[2]} to {self.shape[1]} x {self.shape[2]} pixels")
        if self.shape[0] != stored[0]:
            steps.append(f"repeated in {self.shape[0]} equal channels" if self.shape[0] > 1 else "turned gray")
        if self.crop:
            steps.append(f"cut to their centre of {self.crop} x {self.crop}")
        if self.mean is not None:
            kind = "number of each channel" if self.mean.shape[1:] == (1, 1) else "image"
            steps.append(f"the mean ({kind}) taken away")
        if self.scale != 1:
            steps.append(f"multiplied by {self.scale:.6g}")
        return f"faces are {', '.join(steps) if steps else 'taken as they are'}"


@dataclass(frozen=True)
class Hints:
    """What else there is to know a training's images from; None where there is nothing.

    deploy    the net for use, and its file
    channels  that the weights of its first layer take
    size      (height, width) as DIGITS has it
    mean      float32 [C, H, W]
    """

    deploy: tuple[caffe_pb2.NetParameter, GivenFile] | None = None
    channels: int | None = None
    size: tuple[int, int] | None = None
    mean: np.ndarray | None = None


def read_nets(files: Sequence[GivenFile], dropped: list[str]) -> caffe_pb2.NetParameter:
    """The net of a training; of old Caffe's two, one for each phase, both as one. Raises FerError."""
    nets = [read(file, dropped) for file in files]
    if len(nets) == 1:
        return nets[0]
    both = caffe_pb2.NetParameter(name=nets[0].name)
    for net, phase in zip(nets, ("TRAIN", "TEST"), strict=True):
        for layer in net.layer:
            made = both.layer.add()
            made.CopyFrom(layer)
            if not made.include and not made.exclude:
                made.include.add(phase=caffe_pb2.Phase.Value(phase))
    return both


def read(file: GivenFile, dropped: list[str]) -> caffe_pb2.NetParameter:
    """The net in a file, without what forks of Caffe write for themselves, which `dropped` takes. Raises FerError."""
    with file.told():
        return read_net(file.path, dropped)


def images_of(net: caffe_pb2.NetParameter, state: State, hints: Hints, manifest: Manifest, name: str) -> Images:
    """How the images of a net for training were made. Raises FerError where its parts do not fit each other."""
    front = front_layer(net, state)
    param, given = front.transform_param, front.image_data_param
    stored, mean = manifest.image.shape, hints.mean
    deploy = input_of(hints.deploy[0], hints.deploy[1].name) if hints.deploy else None
    wanted = bool(param.mean_file)
    if wanted and mean is None:
        raise FerError(
            f"{name}: layer {front.name!r} takes the mean {param.mean_file} away, and it was not found: looked for a "
            "binaryproto or .npy\ngive its path too, or --mean FILE"
        )
    if param.mean_value and mean is None:
        mean = np.array(param.mean_value, np.float32).reshape(-1, 1, 1)
    whole = mean.shape[1:] if mean is not None and mean.shape[1:] != (1, 1) else None
    size = (given.new_height, given.new_width) if given.new_height else whole or hints.size
    crop = param.crop_size
    if size is None and crop:
        size = (stored[1], stored[2]) if crop <= min(stored[1:]) else (crop, crop)
    if size is None:
        size = deploy[1][1:] if deploy else (stored[1], stored[2])
    channels = deploy[1][0] if deploy else hints.channels or (mean.shape[0] if mean is not None else stored[0])
    images = Images((channels, *size), crop, mean, param.scale)
    _check(images, deploy, hints, name)
    return images


def images_for_deploy(hints: Hints, scale: float) -> Images:
    """How the images of a net are made of which nothing but its deploy is known."""
    assert hints.deploy is not None
    deploy, file = hints.deploy
    shape, crop = under_mean(input_of(deploy, file.name)[1], hints.mean)
    images = Images(shape, crop, hints.mean, scale)
    _check(images, None, hints, file.name)
    return images


def _check(images: Images, deploy: tuple[str, Shape] | None, hints: Hints, name: str) -> None:
    channels, height, width = images.shape
    if channels not in (1, 3):
        raise FerError(f"{name}: its images have {channels} channels; faces have 1, or 3 equal ones")
    if images.crop > min(height, width):
        raise FerError(f"{name}: its crop of {images.crop} does not fit its images of {height} x {width}")
    given = (channels, images.crop or height, images.crop or width)
    if deploy and hints.deploy and deploy[1] != given:
        raise FerError(
            f"{hints.deploy[1].name} takes images of {shape_text(deploy[1])}, and {name} gives {shape_text(given)}: "
            "they are of two trainings\nchoose with --net, or give the files of one"
        )
    mean = images.mean
    if mean is not None and (mean.shape[0] not in (1, channels) or mean.shape[1:] not in ((1, 1), (height, width))):
        raise FerError(f"the mean is {shape_text(mean.shape)}, where {name} has images of {shape_text(images.shape)}")


def net_on_data(
    net: caffe_pb2.NetParameter, states: Sequence[State], images: Images, data_dir: Path, stored: Shape
) -> caffe_pb2.NetParameter:
    """The net with its images taken from a data directory: its databases where they are stored as the net wants them,
    else its image lists, resized as Caffe does. The mean is a file of the run."""
    copy = caffe_pb2.NetParameter()
    copy.CopyFrom(net)
    roles = layer_phases(copy, states)
    for position, layer in enumerate(copy.layer):
        clear_cudnn(layer)
        if layer.type in READ_LAYERS:
            split = _SPLITS["TEST" if roles.get(position) == {"TEST"} else "TRAIN"]
            _read_from(layer, split, images, data_dir.resolve(), stored)
    return copy


def _read_from(layer: caffe_pb2.LayerParameter, split: str, images: Images, data_dir: Path, stored: Shape) -> None:
    channels, height, width = images.shape
    transform = layer.transform_param
    for name in ("mean_file", "mean_value", "force_color", "force_gray"):
        transform.ClearField(name)
    if images.mean is not None and images.mean.shape[1:] == (1, 1):
        transform.mean_value.extend(images.mean.ravel().tolist())
    elif images.mean is not None:
        transform.mean_file = MEAN
    if layer.type == "Data" and images.shape == stored:
        layer.data_param.source = str(data_dir / f"{split}_lmdb")
        layer.data_param.backend = caffe_pb2.DataParameter.LMDB
        return
    lists = layer.image_data_param
    if layer.type == "Data":
        lists.batch_size = layer.data_param.batch_size
        layer.ClearField("data_param")
        layer.type = "ImageData"
    lists.source, lists.root_folder = str(data_dir / f"{split}.txt"), f"{data_dir / split}/"
    lists.is_color = channels > 1
    for name, side in (("new_height", height), ("new_width", width)):
        lists.ClearField(name)
        if (height, width) != stored[1:]:
            setattr(lists, name, side)


def net_around(deploy: caffe_pb2.NetParameter, file: GivenFile, images: Images) -> caffe_pb2.NetParameter:
    """A net that can be tested, of a deploy net: data layers in front, a loss and an accuracy behind.

    Raises FerError where the deploy net has no one output.
    """
    blob, _ = input_of(deploy, file.name)
    layers = [layer for layer in deploy.layer if layer.type != "Input"]
    if not layers:
        raise FerError(f"{file.name}: this net has no layer behind its input")
    read = {bottom for layer in layers for bottom in layer.bottom}
    outputs = [layer for layer in layers if any(top not in read for top in layer.top)]
    last = next((layer for layer in outputs if layer.type == "Softmax"), outputs[-1] if outputs else layers[-1])
    scores = last.bottom[0] if last.type == "Softmax" else last.top[0]
    made = caffe_pb2.NetParameter(name=deploy.name)
    for phase in ("TRAIN", "TEST"):
        front = made.layer.add(name="data", type="Data", top=[blob, "label"])
        front.include.add(phase=caffe_pb2.Phase.Value(phase))
        front.data_param.batch_size = _BATCH
        if images.crop:
            front.transform_param.crop_size = images.crop
        if images.scale != 1:
            front.transform_param.scale = images.scale
    made.layer.extend(layer for layer in layers if not (layer is last and last.type == "Softmax"))
    made.layer.add(name="loss", type="SoftmaxWithLoss", bottom=[scores, "label"], top=["loss"])
    accuracy = made.layer.add(name="accuracy", type="Accuracy", bottom=[scores, "label"], top=["accuracy"])
    accuracy.include.add(phase=caffe_pb2.TEST)
    return made
