"""Arrays in and out of BlobProto at memory speed: the packed floats are copied as bytes, never one by one."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from fer.errors import FerError
from fer.schema import caffe_pb2
from fer.system.files import write_bytes

_LEGACY = ("num", "channels", "height", "width")
_DATA, _DOUBLE_DATA = 5, 8
# NVCaffe's own: the values as bytes, and of which type they are.
_RAW_TYPE, _RAW_DATA = 10, 12
_RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}
_FIXED = {1: 8, 5: 4}  # bytes of the wire types of fixed length
_BYTES = 2  # the wire type of packed fields
_MOST_BYTES = 2**31 - 1  # of one protobuf message


def to_blob(array: np.ndarray) -> caffe_pb2.BlobProto:
    """A BlobProto of the array's shape and its float32 values. Raises FerError where they are too many for one."""
    blob = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=array.shape))
    _set_data(blob, array)
    return blob


def from_blob(blob: caffe_pb2.BlobProto, where: str) -> np.ndarray:
    """float32 array of the blob's shape, as `blob_shape` has it.

    Raises FerError, naming `where`, when its shape and its count of values disagree.
    """
    shape = blob_shape(blob)
    values = _packed(blob)
    if any(size < 0 for size in shape) or math.prod(shape) != values.size:
        raise FerError(
            f"{where}: its shape {shape_text(shape)} does not fit the {values.size:,} numbers it holds; a damaged file?"
        )
    return values.reshape(shape)


def blobs_by_layer(weights: caffe_pb2.NetParameter, where: object) -> dict[str, list[np.ndarray]]:
    """float32, the parameters of each layer that has some, by name, in Caffe's order. Raises FerError as from_blob."""
    return {
        layer.name: [from_blob(blob, f"{where}: layer {layer.name!r}") for blob in layer.blobs]
        for layer in weights.layer
        if layer.blobs
    }


def is_legacy(blob: caffe_pb2.BlobProto) -> bool:
    """Whether a blob has the four numbers of Caffe before 2015, which count more than its `shape`."""
    return any(blob.HasField(name) for name in _LEGACY)


def blob_shape(blob: caffe_pb2.BlobProto) -> tuple[int, ...]:
    """The shape that Caffe gives a blob: (num, channels, height, width) of a legacy one, else `shape`."""
    return tuple(getattr(blob, name) for name in _LEGACY) if is_legacy(blob) else tuple(blob.shape.dim)


def same_shape(stored: Sequence[int], shape: Sequence[int], *, legacy: bool) -> bool:
    """Whether Caffe takes a blob `stored` in a file for a parameter of `shape`, by its Blob::ShapeEquals.

    A legacy blob's four numbers are the shape with ones in front; any other must be equal.
    """
    return tuple(stored) == ((1,) * (4 - len(shape)) if legacy else ()) + tuple(shape)


def shape_text(shape: Sequence[int]) -> str:
    """A shape as messages show it: 3 x 4."""
    return " x ".join(map(str, shape)) or "()"


def write_blob(path: Path, array: np.ndarray) -> None:
    """Write an array [N, C, H, W] as a BlobProto of its own, atomically; legacy, as Caffe's own tools do.

    Raises FerError where it cannot be written.
    """
    blob = caffe_pb2.BlobProto(**dict(zip(_LEGACY, array.shape, strict=True)))
    _set_data(blob, array)
    write_bytes(path, blob.SerializeToString())


def read_blob(path: Path, what: str) -> np.ndarray:
    """The float32 array in a BlobProto's file; `what` it should be stands in messages.

    Raises FerError when it is missing, cut off, of another kind, or holds numbers that are not finite.
    """
    try:
        blob = caffe_pb2.BlobProto.FromString(path.read_bytes())
    except OSError as error:
        raise FerError(f"cannot read the {what} {path}: {error.strerror}") from None
    except DecodeError:
        raise FerError(f"{path}: not a {what} (BlobProto): cut off or of another kind") from None
    array = from_blob(blob, f"{path}: not a {what}")
    if not np.isfinite(array).all():
        raise FerError(f"{path}: the {what} holds numbers that are not finite")
    return array


def _set_data(blob: caffe_pb2.BlobProto, array: np.ndarray) -> None:
    data = np.ascontiguousarray(array, dtype="<f4").tobytes()
    if len(data) > _MOST_BYTES - 1024:
        raise FerError(
            f"a parameter of {len(data):,} bytes does not fit a binary protobuf; use `snapshot_format: HDF5`"
        )
    if data:
        blob.MergeFromString(bytes([_DATA << 3 | _BYTES]) + varint(len(data)) + data)


def _packed(blob: caffe_pb2.BlobProto) -> np.ndarray:
    """The values of data, of double_data or of NVCaffe's raw_data as float32 [N]."""
    encoded = blob.SerializeToString()
    found: dict[int, list[np.ndarray]] = {_DATA: [], _DOUBLE_DATA: [], _RAW_DATA: []}
    position, raw_type = 0, "<f4"
    while position < len(encoded):
        key, position = _read_varint(encoded, position)
        field, wire = key >> 3, key & 7
        if wire == _BYTES:
            length, position = _read_varint(encoded, position)
            if field in found:
                dtype = np.dtype({_DATA: "<f4", _DOUBLE_DATA: "<f8", _RAW_DATA: raw_type}[field])
                found[field].append(np.frombuffer(encoded, dtype, length // dtype.itemsize, position))
            position += length
        elif wire in _FIXED:
            position += _FIXED[wire]
        else:
            number, position = _read_varint(encoded, position)
            if field == _RAW_TYPE:
                raw_type = _RAW_TYPES.get(number, raw_type)
    pieces = found[_DOUBLE_DATA] or found[_DATA] or found[_RAW_DATA]
    if not pieces:
        return np.zeros(0, np.float32)
    with np.errstate(over="ignore"):  # a double too great for a float is inf
        return (pieces[0] if len(pieces) == 1 else np.concatenate(pieces)).astype(np.float32)


def varint(number: int) -> bytes:
    """Protocol buffers' variable-length integer, for numbers from 0."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        number |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return number, position
