"""Arrays in and out of BlobProto at memory speed: the packed floats are copied as bytes, never one by one."""

import math

import numpy as np

from fer.errors import FerError
from fer.schema import caffe_pb2

_DATA, _DOUBLE_DATA = 5, 8
_FIXED = {1: 8, 5: 4}  # bytes of the wire types of fixed length
_BYTES = 2  # the wire type of packed fields
_MOST_BYTES = 2**31 - 1  # of one protobuf message


def to_blob(array: np.ndarray) -> caffe_pb2.BlobProto:
    """A BlobProto of the array's shape and its float32 values."""
    blob = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=array.shape))
    data = np.ascontiguousarray(array, dtype="<f4").tobytes()
    if len(data) > _MOST_BYTES - 1024:
        raise FerError(
            f"a parameter of {len(data):,} bytes does not fit a binary protobuf; use `snapshot_format: HDF5`"
        )
    if data:
        blob.MergeFromString(bytes([_DATA << 3 | _BYTES]) + _varint(len(data)) + data)
    return blob


def from_blob(blob: caffe_pb2.BlobProto, where: str) -> np.ndarray:
    """float32 array of the blob's shape (the legacy num, channels, height, width too).

    Raises FerError, naming `where`, when its shape and its count of values disagree.
    """
    legacy = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else legacy
    values = _packed(blob)
    if any(size < 0 for size in shape) or math.prod(shape) != values.size:
        raise FerError(f"{where}: its shape {shape} does not fit the {values.size:,} numbers it holds; a damaged file?")
    return values.reshape(shape)


def _packed(blob: caffe_pb2.BlobProto) -> np.ndarray:
    """The values of data, or of double_data, as float32 [N]."""
    encoded = blob.SerializeToString()
    found: dict[int, list[np.ndarray]] = {_DATA: [], _DOUBLE_DATA: []}
    position = 0
    while position < len(encoded):
        key, position = _read_varint(encoded, position)
        field, wire = key >> 3, key & 7
        if wire == _BYTES:
            length, position = _read_varint(encoded, position)
            if field in found:
                dtype = np.dtype("<f4" if field == _DATA else "<f8")
                found[field].append(np.frombuffer(encoded, dtype, length // dtype.itemsize, position))
            position += length
        elif wire in _FIXED:
            position += _FIXED[wire]
        else:
            _, position = _read_varint(encoded, position)
    pieces = found[_DOUBLE_DATA] or found[_DATA]
    if not pieces:
        return np.zeros(0, np.float32)
    return (pieces[0] if len(pieces) == 1 else np.concatenate(pieces)).astype(np.float32)


def _varint(number: int) -> bytes:
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
