"""What the tests of our engines' data layers share: drawn sources, layers as text, batches."""

import json
from pathlib import Path
from typing import Any

import cv2
import h5py
import lmdb
import numpy as np
import torch
from google.protobuf import text_format

from fer.engines.pytorch.registry import Context, Layer, Seeds, create
from fer.formats.database import encode_datum, encode_file_datum, write_mean
from fer.schema import caffe_pb2

COUNT = 23
FILE_MEAN = 'mean_file: "@/gray.mean" '
MEMORY = (
    'name: "m" type: "MemoryData" top: "data" top: "label" '
    "memory_data_param { batch_size: 2 channels: 1 height: 3 width: 3 }"
)


def make_layer(
    text: str, phase: str = "TEST", seed: int = 1, dtype: torch.dtype = torch.float32, **context: Any
) -> Layer:
    """PyTorch's data layer that `text` (fields of a layer) describes, set up."""
    param = text_format.Parse(text, caffe_pb2.LayerParameter())
    layer = create(param, Context(phase=phase, seeds=Seeds(seed, scope=phase), dtype=dtype, **context))
    layer.setup([])
    return layer


def layer_of(engine: str, text: str, phase: str = "TEST", seed: int = 1) -> Any:
    """The same of either engine."""
    if engine == "pytorch":
        return make_layer(text, phase, seed)
    from fer.engines.tensorflow import context as tensorflow  # here, as its import takes seconds
    from fer.engines.tensorflow.registry import LAYERS

    param = text_format.Parse(text, caffe_pb2.LayerParameter())
    layer = LAYERS.create(param, tensorflow.Context(phase=phase, seeds=tensorflow.Seeds(seed, scope=phase)))
    layer.setup([])
    return layer


def one_pass(layer: Any) -> list[np.ndarray]:
    """The tops of the next pass, as Caffe has them."""
    if isinstance(layer, Layer):
        return [top.clone().numpy() for top in layer.forward()]
    from fer.engines.tensorflow.keras_layers.own import nchw

    return [np.array(nchw(top)) for top in layer.tops(layer.feed())]


def batches(layer: Any, passes: int) -> list[np.ndarray]:
    """What `passes` forward passes give, each top joined over the passes."""
    tops = [one_pass(layer) for _ in range(passes)]
    return [np.concatenate(values) for values in zip(*tops, strict=True)]


def write_lmdb(path: Path, datums: list[bytes]) -> Path:
    path.mkdir()
    with lmdb.open(str(path), map_size=1 << 26) as env, env.begin(write=True) as transaction:
        for row, datum in enumerate(datums):
            transaction.put(f"{row:08d}_x".encode(), datum)
    return path


def drawn_images(channels: int, count: int = COUNT, height: int = 12, width: int = 10) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, 256, (count, channels, height, width), np.uint8)


def make_sources(tmp_path: Path) -> Path:
    """Databases, means, image files and lists of drawn images of 12 x 10."""
    for channels, name in ((1, "gray"), (3, "color")):
        images = drawn_images(channels)
        write_lmdb(tmp_path / name, [encode_datum(image, row % 7) for row, image in enumerate(images)])
        write_mean(tmp_path / f"{name}.mean", images.mean(0))
        files = [cv2.imencode(".png", image.transpose(1, 2, 0))[1].tobytes() for image in images]
        write_lmdb(tmp_path / f"{name}_encoded", [encode_file_datum(file, row % 7) for row, file in enumerate(files)])
        (tmp_path / name / "files").mkdir()
        for row, file in enumerate(files):
            (tmp_path / name / "files" / f"a {row}.png").write_bytes(file)
        (tmp_path / f"{name}.txt").write_text("".join(f"a {row}.png {row % 7}\n" for row in range(COUNT)))
    values = np.random.default_rng(9).normal(size=(COUNT, 2, 5, 6)).astype(np.float32)
    datums = [
        caffe_pb2.Datum(channels=2, height=5, width=6, float_data=row.ravel().tolist(), label=k)
        for k, row in enumerate(values)
    ]
    write_lmdb(tmp_path / "floats", [datum.SerializeToString() for datum in datums])
    for k, part in enumerate((values[:9], values[9:])):
        with h5py.File(tmp_path / f"{k}.h5", "w") as stream:
            stream["data"] = part
            stream["label"] = np.arange(len(part)) + 9 * k
    (tmp_path / "h5.txt").write_text(f"{tmp_path}/0.h5\n{tmp_path}/1.h5\n")
    return tmp_path


def data_text(folder: Path, source: str = "gray", batch: int = 5, transform: str = "") -> str:
    """A Data layer; `@` in `transform` stands for the folder."""
    return (
        'name: "data" type: "Data" top: "data" top: "label" '
        f"transform_param {{ {transform.replace('@', str(folder))} }} "
        f'data_param {{ source: "{folder}/{source}" batch_size: {batch} backend: LMDB }}'
    )


def image_text(folder: Path, source: str = "gray", batch: int = 5, transform: str = "", more: str = "") -> str:
    return (
        f'name: "data" type: "ImageData" top: "data" top: "label" '
        f"transform_param {{ {transform.replace('@', str(folder))} }} image_data_param {{ source: "
        f'"{folder}/{source}.txt" root_folder: "{folder}/{source}/files/" batch_size: {batch} {more} }}'
    )


def hdf5_text(folder: Path, source: str = "h5.txt", tops: str = "data label", batch: int = 2, more: str = "") -> str:
    """An HDF5Data layer; `tops` are the names of its tops."""
    return (
        f'name: "h" type: "HDF5Data" {" ".join(f"top: {json.dumps(top)}" for top in tops.split())} '
        f'hdf5_data_param {{ source: "{folder}/{source}" batch_size: {batch} {more} }}'
    )
