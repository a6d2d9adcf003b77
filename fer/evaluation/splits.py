"""The images of val and test as a net reads them: val from what its TEST data layer names, test in the same way."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from fer.data.dataset import held_out
from fer.engines.core.images import (
    ListOptions,
    Read,
    check_image_list,
    first_image,
    first_of_database,
    list_names,
    read_database,
    read_image_list,
)
from fer.errors import FerError
from fer.formats.database import Database
from fer.formats.image_list import images_hash
from fer.formats.prototxt import read_net, read_solver
from fer.nets.deploy import front_layer
from fer.nets.files import with_paths
from fer.nets.states import State, scored_state
from fer.runs.run import Run
from fer.schema import caffe_pb2
from fer.system.hashes import file_hash

READ_LAYERS = ("Data", "ImageData")


@dataclass(frozen=True)
class Reading:
    """How a net is scored: by the images of `sources` ("val", "test"), read and transformed as its front layer says."""

    layer: caffe_pb2.LayerParameter
    sources: dict[str, "SplitSource"]

    @cached_property
    def transform_sha256(self) -> str:
        """Of what is done to an image: its size and colours, crop, mean and scale."""
        transform, images = caffe_pb2.TransformationParameter(), caffe_pb2.ImageDataParameter()
        transform.CopyFrom(self.layer.transform_param)
        transform.ClearField("mean_file")
        given = self.layer.image_data_param
        if self.layer.type == "ImageData":
            images.new_height, images.new_width, images.is_color = given.new_height, given.new_width, given.is_color
        digest = hashlib.sha256(text_format.MessageToString(transform).encode())
        digest.update(text_format.MessageToString(images).encode())
        if mean := self.layer.transform_param.mean_file:
            digest.update(file_hash(Path(mean)).encode())
        return digest.hexdigest()

    def check_deploy(self, path: Path) -> None:
        """Raises FerError unless a deploy net takes val's images as they come out of the transform."""
        crop = self.layer.transform_param.crop_size
        channels, height, width = self.sources["val"].shape
        given = [1, channels, crop or height, crop or width]
        for layer in read_net(path).layer[:1]:
            taken = [list(shape.dim) for shape in layer.input_param.shape]
            if taken and taken[0][1:] != given[1:]:
                raise FerError(
                    f"{path} takes images of {size_text(tuple(taken[0][1:]))}, and the net's layer {self.layer.name!r} "
                    f"gives {size_text(tuple(given[1:]))}: its scores would not be those of the training\n"
                    "train anew; this run was made by an older fer, or its files were changed"
                )


def reading(net: caffe_pb2.NetParameter, state: State, data_dir: Path) -> Reading:
    """How a run's net is scored beside a data directory. Raises FerError where it cannot be."""
    layer = front_layer(net, state)
    return Reading(layer, {split: split_source(layer, data_dir, split) for split in held_out()})


def reading_of(run: Run) -> Reading:
    """How a run is scored. Raises FerError where it cannot be."""
    net = with_paths(read_net(run.net), run.moved)
    return reading(net, scored_state(read_solver(run.solver)), Path(run.record.data.dir))


@dataclass(frozen=True)
class SplitSource:
    """Where the images of a split are: the database or list `path`, read as the data layer `layer` reads its own.

    `own` says that they are the user's, not the data directory's.
    """

    split: str
    layer: caffe_pb2.LayerParameter
    path: Path
    root: str
    own: bool

    @property
    def is_list(self) -> bool:
        return self.layer.type == "ImageData"

    @property
    def _options(self) -> ListOptions:
        param = self.layer.image_data_param
        size = (param.new_height, param.new_width) if param.new_height else None
        return ListOptions(self.root, size, param.is_color)

    @property
    def _force(self) -> str:
        param = self.layer.transform_param
        return "color" if param.force_color else "gray" if param.force_gray else ""

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images, before any crop. Raises FerError where the first cannot be read."""
        if self.is_list and self._options.size:
            return (3 if self._options.color else 1, *self._options.size)
        first = first_image(self.path, self._options) if self.is_list else first_of_database(self.path, self._force)
        if first.dtype != np.uint8:
            raise FerError(f"{self.path} holds {first.dtype} values, and images of bytes are scored")
        return first.shape[2], first.shape[0], first.shape[1]

    @property
    def file(self) -> Path:
        """The database's data.mdb, or the list."""
        return self.path if self.is_list else self.path / "data.mdb"

    @cached_property
    def file_sha256(self) -> str:
        return file_hash(self.file)

    @cached_property
    def images_sha256(self) -> str | None:
        """Of a list, the SHA-256 over those of its image files, as a manifest has it for a folder."""
        return images_hash(self.path, self.root) if self.is_list else None

    @property
    def sha256(self) -> str:
        """Of all that is read: the data.mdb, or the list and its image files."""
        if self.images_sha256 is None:
            return self.file_sha256
        return hashlib.sha256((self.file_sha256 + self.images_sha256).encode()).hexdigest()

    def read(self) -> Read:
        """Pixels [N, H, W, C] and labels float32 [N]. Raises FerError for what cannot be read."""

        def room(shape: tuple[int, ...], itemsize: int) -> None:
            return None

        if self.is_list:
            return read_image_list(self.path, self._options, room)
        return read_database(self.path, self._force, room)

    def check_images(self, *, one_size: bool) -> None:
        """Look at each image that a list names. Raises FerError, with its line, for one that cannot be read."""
        check_image_list(self.path, self._options, one_size=one_size)

    def names(self) -> list[str]:
        """A name for each image, in the same order, each once: `00012.jpg` of the key `00000012_00012.jpg`."""
        if self.is_list:
            names = whole = list_names(self.path)
        else:
            with Database(self.path) as database:
                whole = database.keys()
            names = [key.partition("_")[2] or key for key in whole]
        if len(set(names)) == len(names):
            return names
        if len(set(whole)) == len(whole):
            return whole
        seen: Counter[str] = Counter()
        for place, name in enumerate(names):
            seen[name] += 1
            names[place] = f"{name}#{seen[name]}" if seen[name] > 1 else name
        return names


@dataclass(frozen=True)
class StoredSplit:
    """A split as an engine scores it: uint8 images [N,C,H,W] in a .npy, their labels int64 [N] and file names."""

    npy: Path
    labels: np.ndarray
    files: Sequence[str]


def split_source(layer: caffe_pb2.LayerParameter, data_dir: Path, split: str) -> SplitSource:
    """The source of "val", which the front layer of a run's net names, or of "test", which none does.

    Test is the data directory's, its database for a Data layer and its list for an ImageData layer. Raises FerError for
    a layer that reads neither.
    """
    if layer.type not in READ_LAYERS:
        raise FerError(
            f"layer {layer.name!r} ({layer.type}) gives the net that is tested its images, and val and test are scored "
            "from databases and image lists alone\n"
            "let the TEST phase read val_lmdb by a Data layer, or val.txt by an ImageData layer"
        )
    is_list = layer.type == "ImageData"
    ours = data_dir / (f"{split}.txt" if is_list else f"{split}_lmdb")
    root = f"{data_dir / split}/"
    if split == "test":
        return SplitSource(split, layer, ours, root, own=False)
    named = layer_source(layer)
    return replace(named, split=split, own=named.path.resolve() != ours.resolve())


def layer_source(layer: caffe_pb2.LayerParameter) -> SplitSource:
    """What a Data or ImageData layer itself names."""
    given = layer.image_data_param.source if layer.type == "ImageData" else layer.data_param.source
    return SplitSource("", layer, Path(given), layer.image_data_param.root_folder, own=True)


def check_alike(val: SplitSource, test: SplitSource) -> None:
    """Raises FerError unless test's images, read as val's, have val's shape, so that one net can score both."""
    if val.shape == test.shape:
        return
    if val.is_list:
        cure = "set new_height and new_width in image_data_param"
    elif val.shape[0] != test.shape[0]:
        cure = "take the data directory's val_lmdb; force_color acts on databases made with  fer prepare --encoded"
    else:
        cure = "take the data directory's val_lmdb, made with  fer prepare --resize  where another size is wanted"
    raise FerError(
        f"{val.path}: its images are {size_text(val.shape)}, those of {test.path}, which the report scores as well, "
        f"{size_text(test.shape)}\n{cure}"
    )


def size_text(shape: tuple[int, ...]) -> str:
    """The size of images as messages show it: 1x48x48."""
    return "x".join(map(str, shape))


def as_images(pixels: np.ndarray) -> np.ndarray:
    """uint8 [N, C, H, W], a view of pixels [N, H, W, C]. Raises FerError for a database of floats."""
    if pixels.dtype != np.uint8:
        raise FerError(f"the database holds {pixels.dtype} values; images of bytes are scored")
    return pixels.transpose(0, 3, 1, 2)
