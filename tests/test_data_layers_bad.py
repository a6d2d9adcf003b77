"""Bad input to the data layers of our engines: one clear error, and no huge allocation."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from data_layers import (
    FILE_MEAN,
    MEMORY,
    data_text,
    drawn_images,
    hdf5_text,
    image_text,
    layer_of,
    make_layer,
    make_sources,
    one_pass,
    write_lmdb,
)
from frameworks import each_engine

from fer.errors import FerError
from fer.formats.database import encode_datum, encode_file_datum
from fer.schema import caffe_pb2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_sources(tmp_path)


def png_that_claims(width: int, height: int) -> bytes:
    file = bytearray(cv2.imencode(".png", np.zeros((2, 2), np.uint8))[1].tobytes())
    file[16:24] = struct.pack(">II", width, height)
    return bytes(file)


def bad_data(folder: Path, datum: bytes) -> str:
    good = encode_datum(drawn_images(1)[0], 0)
    write_lmdb(folder / "bad", [good, datum])
    return data_text(folder, "bad")


def datum(**fields: Any) -> bytes:
    return caffe_pb2.Datum(**fields).SerializeToString()


BAD: dict[str, Callable[[Path], object]] = {
    "no such database": lambda f: data_text(f, "none"),
    "no LMDB": lambda f: data_text(f, "gray/files"),
    "leveldb": lambda f: data_text(f).replace("backend: LMDB", ""),
    "no source": lambda f: 'name: "d" type: "Data" top: "data" data_param { batch_size: 1 backend: LMDB }',
    "empty database": lambda f: data_text(write_lmdb(f / "empty", []).parent, "empty"),
    "cut off": lambda f: cut(f) and data_text(f),
    "batch_size 0": lambda f: data_text(f, batch=0),
    "batch_size 10^9": lambda f: data_text(f, batch=1_000_000_000),
    "batch_size of 2^32 - 1 images": lambda f: image_text(f, batch=(1 << 32) - 1),
    "crop too large": lambda f: data_text(f, transform="crop_size: 11"),
    "no mean": lambda f: data_text(f, transform='mean_file: "@/none"'),
    "mean of another shape": lambda f: data_text(f, "color", transform=FILE_MEAN),
    "mean cut off": lambda f: data_text(cut_mean(f), transform=FILE_MEAN),
    "two means": lambda f: data_text(f, transform=FILE_MEAN + "mean_value: 1"),
    "two mean values": lambda f: data_text(f, "color", transform="mean_value: 1 mean_value: 2"),
    "both forced": lambda f: data_text(f, transform="force_color: true force_gray: true"),
    "no Datum": lambda f: bad_data(f, b"\x22\xff\xff\xff"),
    "short Datum": lambda f: bad_data(f, datum(channels=1, height=12, width=10, data=b"x" * 119)),
    "Datum of 10^9 pixels": lambda f: bad_data(f, datum(channels=1, height=50000, width=20000, data=b"x")),
    "negative Datum": lambda f: bad_data(f, datum(channels=1, height=-12, width=-10, data=b"x" * 120)),
    "Datum of another shape": lambda f: bad_data(f, encode_datum(drawn_images(1)[0, :, :5], 0)),
    "encoded Datum of 10^9 pixels": lambda f: bad_data(f, encode_file_datum(png_that_claims(50000, 20000), 0)),
    "encoded Datum of noise": lambda f: bad_data(f, encode_file_datum(b"noise", 0)),
    "encoded Datum of nothing": lambda f: bad_data(f, datum(encoded=True)),
    "floats among bytes": lambda f: bad_data(f, datum(channels=1, height=12, width=10, float_data=[1.0] * 120)),
    "no list": lambda f: image_text(f, "none"),
    "empty list": lambda f: (f / "gray.txt").write_text("\n") and image_text(f),
    "list without a label": lambda f: (f / "gray.txt").write_text("a.png\n") and image_text(f),
    "list with a word for a label": lambda f: (f / "gray.txt").write_text("a.png happy\n") and image_text(f),
    "list of a file that is not there": lambda f: (f / "gray.txt").write_text("b.png 1\n") and image_text(f),
    "list of sizes that differ": lambda f: odd_image(f),
    "new_height alone": lambda f: image_text(f, more="new_height: 4"),
    "huge resize": lambda f: image_text(f, more="new_height: 100000000 new_width: 100000000"),
    "three tops": lambda f: data_text(f) + ' top: "three"',
    "no HDF5 list": lambda f: hdf5_text(f, "none"),
    "empty HDF5 list": lambda f: (f / "e.txt").write_text("\n") and hdf5_text(f, "e.txt"),
    "HDF5 list of something else": lambda f: (f / "e.txt").write_text(f"{f}/gray.mean") and hdf5_text(f, "e.txt"),
    "HDF5 without the dataset": lambda f: hdf5_text(f, tops="nothing"),
    "HDF5 batch_size 0": lambda f: hdf5_text(f, batch=0),
    "HDF5 transformed": lambda f: hdf5_text(f) + " transform_param { scale: 2 }",
    "dummy of 10^27": lambda f: dummy_text("shape { dim: 1000000000 dim: 1000000000 dim: 1000000000 }"),
    "dummy of negative size": lambda f: dummy_text("shape { dim: -1 }"),
    "dummy without shape": lambda f: dummy_text(""),
    "dummy of two kinds": lambda f: dummy_text("shape { dim: 1 } num: 1"),
    "dummy of an unknown filler": lambda f: dummy_text('shape { dim: 1 } data_filler { type: "zero" }'),
    "memory of no size": lambda f: MEMORY.replace("channels: 1", ""),
    "input of negative size": lambda f: input_text("dim: -3"),
    "input of 10^18": lambda f: input_text("dim: 1000000000 dim: 1000000000"),
}  # fmt: skip


def cut(folder: Path) -> Path:
    file = folder / "gray" / "data.mdb"
    file.write_bytes(file.read_bytes()[:9000])
    return folder


def cut_mean(folder: Path) -> Path:
    file = folder / "gray.mean"
    file.write_bytes(file.read_bytes()[:99])
    return folder


def odd_image(folder: Path) -> str:
    cv2.imwrite(str(folder / "gray" / "files" / "a 5.png"), np.zeros((12, 11), np.uint8))
    return image_text(folder, more="is_color: false")


def input_text(shape: str) -> str:
    return f'name: "i" type: "Input" top: "a" input_param {{ shape {{ {shape} }} }}'


def dummy_text(param: str) -> str:
    return f'name: "d" type: "DummyData" top: "a" dummy_data_param {{ {param} }}'


@each_engine
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error(folder: Path, name: str, capfd: pytest.CaptureFixture[str], engine: str) -> None:
    text = BAD[name](folder)
    assert isinstance(text, str)
    with pytest.raises(FerError) as caught:
        one_pass(layer_of(engine, text))
    message = str(caught.value)
    assert message.startswith("layer '") and len(message.splitlines()) <= 3 and len(message) < 600


@each_engine
def test_errors_name_the_place_and_the_cure(folder: Path, engine: str) -> None:
    for text, words in (
        (data_text(folder).replace("backend: LMDB", ""), "say `backend: LMDB`"),
        (bad_data(folder, b"\x22\xff\xff\xff"), "bad: 00000001_x: not a Datum"),
        (odd_image(folder), "gray.txt:6: .*new_height"),
        (data_text(folder, batch=1_000_000_000), "needs 484.0 GB"),
    ):
        with pytest.raises(FerError, match="(?s)" + words):
            layer_of(engine, text)


def test_memory_data_without_arrays_says_what_to_use() -> None:
    with pytest.raises(FerError, match="set_arrays"):
        make_layer(MEMORY).forward()
