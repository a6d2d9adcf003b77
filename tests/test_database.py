"""Datums, databases and means: the exact bytes of Caffe's tools, and everything damaged refused."""

from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_csv import face

from fer.errors import FerError
from fer.formats.database import (
    Database,
    DatabaseInfo,
    DatabaseWriter,
    check_database,
    decode_datum,
    encode_datum,
    encode_file_datum,
    encode_sized_file_datum,
    read_mean,
    write_mean,
)
from fer.schema import caffe_pb2

JPEG = cv2.imencode(".jpg", face(3))[1].tobytes()


def make(path: Path, records: list[tuple[str, bytes]]) -> Path:
    with DatabaseWriter(path, len(records), sum(len(data) for _, data in records)) as writer:
        writer.append((key.encode(), data) for key, data in records)
    return path


def good_records(count: int = 30) -> list[tuple[str, bytes]]:
    return [(f"{k:08d}_{k:05d}.jpg", encode_datum(face(k)[np.newaxis], k % 7)) for k in range(count)]


def test_datum_is_convert_imagesets_bytes() -> None:
    pixels = face(1)
    expected = b"\x08\x01\x10\x30\x18\x30\x22\x80\x12" + pixels.tobytes() + b"\x28\x03\x38\x00"
    assert encode_datum(pixels[np.newaxis], 3) == expected


@given(st.integers(1, 4), st.integers(1, 300), st.integers(1, 20), st.integers(0, 2**31 - 1))
def test_datum_is_what_protobuf_writes_and_comes_back(channels: int, height: int, width: int, label: int) -> None:
    image = np.random.default_rng(label).integers(0, 256, (channels, height, width), np.uint8)
    datum = caffe_pb2.Datum(
        channels=channels, height=height, width=width, data=image.tobytes(), label=label, encoded=False
    )
    data = encode_datum(image, label)
    assert data == datum.SerializeToString(deterministic=True)
    found, found_label = decode_datum(data)
    np.testing.assert_array_equal(found, image)
    assert found_label == label


def test_encoded_datums() -> None:
    assert encode_file_datum(JPEG, 5) == caffe_pb2.Datum(data=JPEG, label=5, encoded=True).SerializeToString()
    sized = caffe_pb2.Datum(channels=1, height=48, width=48, data=JPEG, label=5, encoded=True)
    assert encode_sized_file_datum(JPEG, (1, 48, 48), 5) == sized.SerializeToString()
    image, label = decode_datum(encode_file_datum(JPEG, 5))
    np.testing.assert_array_equal(image[0], cv2.imdecode(np.frombuffer(JPEG, np.uint8), 0))
    assert label == 5
    colour = cv2.imencode(".png", np.arange(48, dtype=np.uint8).reshape(4, 4, 3))[1].tobytes()
    np.testing.assert_array_equal(
        decode_datum(encode_file_datum(colour, 0))[0], np.arange(48).reshape(4, 4, 3).transpose(2, 0, 1)
    )


@pytest.mark.parametrize("image", [np.zeros((48, 48), np.uint8), np.zeros((1, 4, 4), np.float32)])
def test_datum_of_something_else(image: np.ndarray) -> None:
    with pytest.raises(ValueError):
        encode_datum(image, 0)


def test_negative_label() -> None:
    with pytest.raises(ValueError):
        encode_datum(np.zeros((1, 4, 4), np.uint8), -1)


SHORT = caffe_pb2.Datum(channels=1, height=48, width=48, data=b"x" * 2204, label=0).SerializeToString()
BAD_DATUMS = {
    "100 bytes short": (SHORT, "holds 2,204 bytes"),
    "cut off": (encode_datum(face(1)[np.newaxis], 1)[:-900], "not a Datum"),
    "no label": (caffe_pb2.Datum(channels=1, height=1, width=1, data=b"x").SerializeToString(), "no label"),
    "no shape": (caffe_pb2.Datum(data=b"x", label=1).SerializeToString(), "0 x 0 x 0"),
    "floats": (
        caffe_pb2.Datum(channels=1, height=1, width=1, float_data=[1.0], label=1).SerializeToString(),
        "floats",
    ),
    "broken JPEG": (encode_file_datum(JPEG[:20], 1), "cannot be decoded"),
    "empty image": (encode_file_datum(b"", 1), "cannot be decoded"),
    "empty": (b"", "no label"),
}


@pytest.mark.parametrize("name", BAD_DATUMS)
def test_bad_datum_is_refused_and_its_key_named(tmp_path: Path, name: str) -> None:
    data, expected = BAD_DATUMS[name]
    with pytest.raises(FerError, match=expected):
        decode_datum(data)
    path = make(tmp_path / "db", [*good_records(3), ("00000003_00003.jpg", data)])
    with pytest.raises(FerError, match=r"db: 00000003_00003\.jpg: .*" + expected):
        check_database(path, 7)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        image, _ = decode_datum(data)
    except FerError:
        return
    assert image.dtype == np.uint8 and image.ndim == 3


def test_database_round_trip(tmp_path: Path) -> None:
    path = make(tmp_path / "db", good_records())
    with Database(path) as database:
        assert len(database) == 30
        listed = list(database)
        images, labels, keys = database.read_all()
    assert keys == [key for key, _, _ in listed] == [key for key, _ in good_records()]
    assert images.shape == (30, 1, 48, 48) and images.dtype == np.uint8
    assert labels.dtype == np.int64 and labels.tolist() == [k % 7 for k in range(30)]
    np.testing.assert_array_equal(images[7, 0], face(7))
    assert check_database(path, 7) == DatabaseInfo(path, 30, (1, 48, 48), (5, 5, 4, 4, 4, 4, 4))


def test_database_is_stored_bytes_for_bytes(tmp_path: Path) -> None:
    path = make(tmp_path / "db", good_records())
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        assert [(key.decode(), value) for key, value in transaction.cursor()] == good_records()
    assert [file.name for file in path.iterdir()] == ["data.mdb"]


def test_label_out_of_range_and_mixed_shapes(tmp_path: Path) -> None:
    path = make(tmp_path / "a", [*good_records(3), ("00000009_x.jpg", encode_datum(face(1)[np.newaxis], 7))])
    with pytest.raises(FerError, match=r"00000009_x.jpg: label 7 is not 0\.\.6"):
        check_database(path, 7)
    path = make(
        tmp_path / "b", [*good_records(3), ("00000009_x.jpg", encode_datum(np.zeros((1, 47, 48), np.uint8), 0))]
    )
    with pytest.raises(FerError, match=r"00000009_x.jpg: 1 x 47 x 48, where the first is 1 x 48 x 48"):
        check_database(path, 7)
    with Database(path) as database, pytest.raises(FerError, match=r"00000009_x\.jpg"):
        database.read_all()


@pytest.mark.parametrize("size", [0, 100, 4096, 5000, 8192, 40_000, -1])
def test_truncated_database_is_an_error_and_no_crash(tmp_path: Path, size: int) -> None:
    path = make(tmp_path / "db", good_records())
    file = path / "data.mdb"
    data = file.read_bytes()
    file.write_bytes(data[:size])
    with pytest.raises(FerError, match="cut off"):
        check_database(path, 7)


def test_what_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(FerError, match="no such database"):
        Database(tmp_path / "nothing")
    with pytest.raises(FerError, match=r"holds no data\.mdb"):
        Database(tmp_path)
    (tmp_path / "data.mdb").write_bytes(b"x" * 100_000)
    with pytest.raises(FerError, match="not an LMDB"):
        Database(tmp_path)
    with pytest.raises(FerError, match="empty"):
        Database(make(tmp_path / "db", []))


def test_full_map_is_an_error(tmp_path: Path) -> None:
    big = encode_datum(np.zeros((1, 1024, 1024), np.uint8), 0)
    with pytest.raises(FerError, match="map is full"), DatabaseWriter(tmp_path / "db", 1, 100) as writer:
        writer.append((f"{k:08d}".encode(), big) for k in range(100))


def test_keys_must_ascend(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not behind"), DatabaseWriter(tmp_path / "db", 2, 100) as writer:
        writer.append([(b"b", b"x"), (b"a", b"x")])


def test_mean_is_compute_image_means_bytes(tmp_path: Path) -> None:
    mean = np.random.default_rng(0).random((1, 48, 48)) * 255
    path = tmp_path / "mean.binaryproto"
    write_mean(path, mean)
    head = b"\x08\x01\x10\x01\x18\x30\x20\x30\x2a\x80\x48"
    assert path.read_bytes() == head + mean.astype("<f4").tobytes()
    blob = caffe_pb2.BlobProto.FromString(path.read_bytes())
    assert (blob.num, blob.channels, blob.height, blob.width) == (1, 1, 48, 48) and not blob.HasField("shape")
    np.testing.assert_array_equal(read_mean(path), mean.astype(np.float32))
    assert list(tmp_path.iterdir()) == [path]


def test_mean_of_new_style_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    blob = caffe_pb2.BlobProto(data=range(12))
    blob.shape.dim.extend([1, 3, 2, 2])
    path.write_bytes(blob.SerializeToString())
    np.testing.assert_array_equal(read_mean(path), np.arange(12, dtype=np.float32).reshape(3, 2, 2))


@pytest.mark.parametrize("shape", [[3, 2, 2], [12], [3, 4], [1, 1, 3, 2, 2], [2, 1, 3, 2]])
def test_a_mean_without_caffes_four_axes_is_refused(tmp_path: Path, shape: list[int]) -> None:
    """Real Caffe takes the second axis for the channels: of [1, 48, 48] it says 1 vs. 48, and aborts."""
    path = tmp_path / "mean.binaryproto"
    blob = caffe_pb2.BlobProto(data=range(12))
    blob.shape.dim.extend(shape)
    path.write_bytes(blob.SerializeToString())
    words = "Caffe wants 1 x 3 x 2 x 2" if len(shape) == 3 else "not a mean image: its shape is"
    with pytest.raises(FerError, match=words):
        read_mean(path)


def test_bad_means(tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    with pytest.raises(FerError, match="cannot read"):
        read_mean(path)
    write_mean(path, np.ones((1, 4, 4)))
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(FerError, match="not a mean image"):
            read_mean(path)
    write_mean(path, np.full((1, 4, 4), np.nan))
    with pytest.raises(FerError, match="not finite"):
        read_mean(path)
