"""The data that a net reads, and faults of it: every Datum, every list, and that crop and mean fit."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fer.engines.caffe import augmentation
from fer.errors import FerError
from fer.evaluation.splits import READ_LAYERS, layer_source, size_text
from fer.formats.database import DatabaseInfo, check_database, read_mean
from fer.formats.image_list import ListedImage, read_list
from fer.nets.infogain import read_infogain
from fer.nets.python_layers import AUGMENT
from fer.nets.states import State
from fer.schema import caffe_pb2
from fer.training.preflight.subject import Subject


@dataclass(frozen=True)
class Sources:
    """What was found of a net's databases and image lists, by their paths; of what is faulty, the error."""

    databases: dict[str, DatabaseInfo | FerError]
    image_lists: dict[str, list[ListedImage] | FerError]

    def database(self, source: str) -> DatabaseInfo | None:
        found = self.databases.get(source)
        return found if isinstance(found, DatabaseInfo) else None

    def image_count(self, layer: caffe_pb2.LayerParameter) -> int | None:
        """Of the images that a data layer reads; None where it is no such layer, or the data are faulty."""
        if layer.type == "Data" and (info := self.database(layer.data_param.source)):
            return info.count
        if layer.type == "ImageData":
            images = self.image_lists.get(layer.image_data_param.source)
            return len(images) if isinstance(images, list) else None
        return None


def read_sources(subject: Subject, classes: int) -> Sources:
    """Look at all the data of a run's net."""
    sources = Sources({}, {})
    for _, layer in subject.layers() if not subject.ambiguous else ():
        if layer.type == "Data" and (source := layer.data_param.source) not in sources.databases:
            try:
                sources.databases[source] = check_database(Path(source), classes)
            except FerError as error:
                sources.databases[source] = error
        elif layer.type == "ImageData" and (source := layer.image_data_param.source) not in sources.image_lists:
            try:
                sources.image_lists[source] = read_list(Path(source))
            except FerError as error:
                sources.image_lists[source] = error
    return sources


def source_faults(subject: Subject, sources: Sources, classes: int) -> Iterator[str]:
    """Faults of the data and of what is done with them, layer by layer."""
    for i, layer in subject.layers() if not subject.ambiguous else ():
        match layer.type:
            case "Data":
                yield from _database_faults(subject, i, layer, sources.databases[layer.data_param.source])
            case "ImageData":
                found = sources.image_lists[layer.image_data_param.source]
                yield from _list_faults(subject, i, layer, found, classes)
            case _:
                yield from _file_faults(subject, i, layer, classes)


def _database_faults(
    subject: Subject, i: int, layer: caffe_pb2.LayerParameter, found: DatabaseInfo | FerError
) -> Iterator[str]:
    if isinstance(found, FerError):
        yield str(found)
        return
    if layer.data_param.backend != caffe_pb2.DataParameter.LMDB:
        yield subject.fault(i, f"layer {layer.name!r} has no  backend: LMDB  (Caffe's default is LEVELDB)")
    yield from _transform_faults(subject, i, layer, found.shape)


def _list_faults(
    subject: Subject, i: int, layer: caffe_pb2.LayerParameter, found: list[ListedImage] | FerError, classes: int
) -> Iterator[str]:
    if isinstance(found, FerError):
        yield subject.fault(i, f"layer {layer.name!r}: {found}")
        return
    param = layer.image_data_param
    wrong = [image for image in found if not 0 <= image.label < classes]
    if wrong:
        where = f"{param.source}:{wrong[0].line}"
        yield subject.fault(i, f"layer {layer.name!r}: {where}: label {wrong[0].label} is not 0..{classes - 1}")
    elif bool(param.new_height) != bool(param.new_width):
        yield subject.fault(i, f"layer {layer.name!r}: new_height and new_width must be set together")
    else:
        try:
            yield from _transform_faults(subject, i, layer, layer_source(layer).shape)
            # Caffe takes images of several sizes where each is cropped, or comes alone.
            layer_source(layer).check_images(one_size=param.batch_size > 1 and not layer.transform_param.crop_size)
        except FerError as error:
            yield subject.fault(i, f"layer {layer.name!r}: {error}")


def _file_faults(subject: Subject, i: int, layer: caffe_pb2.LayerParameter, classes: int) -> Iterator[str]:
    """Of InfogainLoss's matrix and of what the layer Augment is told."""
    try:
        if layer.infogain_loss_param.source:
            read_infogain(Path(layer.infogain_loss_param.source), classes)
    except FerError as error:
        yield subject.fault(i, f"layer {layer.name!r}: {error}; fer infogain writes one")
    try:
        if layer.python_param.module == AUGMENT:
            augmentation.parse(layer.python_param.param_str)
    except ValueError as error:
        yield subject.fault(i, f"layer {layer.name!r}: {error}")


def _transform_faults(
    subject: Subject, i: int, layer: caffe_pb2.LayerParameter, shape: tuple[int, int, int]
) -> Iterator[str]:
    param, (channels, height, width) = layer.transform_param, shape
    about = f"layer {layer.name!r}:"
    if param.crop_size > min(height, width):
        cure = "; a crop of 227 wants data made with  fer prepare --resize 256" if param.crop_size > 48 else ""
        yield subject.fault(i, f"{about} crop_size {param.crop_size} does not fit images of {height}x{width}{cure}")
    if len(param.mean_value) not in (0, 1, channels):
        yield subject.fault(i, f"{about} {len(param.mean_value)} mean_value for {channels} channel(s)")
    if not param.mean_file:
        return
    try:
        mean = read_mean(Path(param.mean_file))
    except FerError as error:
        yield str(error)
        return
    if mean.shape != shape:
        yield subject.fault(
            i,
            f"{about} the mean {param.mean_file} is {size_text(mean.shape)}, its images are {size_text(shape)}; "
            "take the mean made from the same data",
        )


def image_shape(subject: Subject, sources: Sources, state: State) -> tuple[int, int, int] | None:
    """(channels, height, width) of the images in a state's first data layer, before any crop, if known."""
    for i in subject.positions(state):
        layer = subject.net.layer[i]
        if layer.type in READ_LAYERS:
            try:
                return layer_source(layer).shape
            except FerError:
                return None
    return None


def epoch(subject: Subject, sources: Sources) -> tuple[int, int | None]:
    """Images an iteration (0: no data layer), and images in the training data (None: the layer does not tell)."""
    for i in subject.positions(subject.train):
        layer = subject.net.layer[i]
        if layer.type in ("Data", "ImageData"):
            param = layer.data_param if layer.type == "Data" else layer.image_data_param
            return param.batch_size * subject.solver.iter_size, sources.image_count(layer)
    return 0, None
