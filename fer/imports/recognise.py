"""What a file of a training is, by what it holds; its name decides only where that tells nothing, so that one that is
empty or damaged is named for what it should be."""

import contextlib
import json
import re
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from fer.data.class_names import meaning, names_in
from fer.data.classes import as_text
from fer.errors import FerError
from fer.formats.hdf5 import MAGIC, need_hdf5, read_hdf5
from fer.formats.log_text import encoding_of
from fer.formats.mean import NPY
from fer.formats.tokens import tokenize
from fer.system.files import cannot_read, open_regular

_HEAD = 1 << 16
_BINARY = re.compile(rb"\x00|^[\x01-\x08\x0e-\x1f]")
_NET_FIELDS = {"layer", "layers", "input", "input_dim", "input_shape"}
_SOLVER_FIELDS = {
    "base_lr", "lr_policy", "max_iter", "train_net", "test_net", "test_iter", "test_interval", "snapshot_prefix",
    "net", "solver_mode", "solver_type", "momentum", "weight_decay", "stepsize", "gamma",
}  # fmt: skip
_DATA_LAYER = re.compile(
    r"""\btype\s*:\s*(?:["'](?:\w*Data|data|images|hdf5_data|window_data|\w*[Ll]oss)["']|(?:\w+_)?(?:DATA|LOSS)\b)"""
)
_LOG_LINE = re.compile(r"[IWEF]\d{4}(?:\d{4})? \d\d:\d\d:\d\d\.\d+ +\d+ [\w.]+:\d+\]")
_LABELS = re.compile(r"label|class|synset|categor", re.IGNORECASE)
_TEXTS = (".txt", ".names", ".lst", ".list", ".json", "labels", "classes")
_FIXED = {1: 8, 5: 4}


class Kind(Enum):
    """A part of a training, in the words that name it."""

    NET = "net"
    DEPLOY = "deploy net"
    SOLVER = "solver"
    WEIGHTS = "weights"
    STATE = "solver state"
    MEAN = "mean"
    LABELS = "class names"
    LOG = "log"
    INFO = "DIGITS' job"


_ENDINGS = {
    ".caffemodel": Kind.WEIGHTS, ".solverstate": Kind.STATE, ".binaryproto": Kind.MEAN, "labels.txt": Kind.LABELS,
}  # fmt: skip


def kind_of(path: Path, base: str, classes: Sequence[str]) -> Kind | None:
    """What a file is, None where it is no part of a training; `base` is its name, `classes` those of the data.

    Raises FerError where it cannot be read, or needs h5py for it.
    """
    try:
        with open_regular(path) as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise cannot_read(path, error) from error
    return _of_content(path, head, base, classes) or _of_ending(base)


def _of_ending(base: str) -> Kind | None:
    """What an ending that only one kind of file has says."""
    return next((kind for ending, kind in _ENDINGS.items() if base.lower().removesuffix(".h5").endswith(ending)), None)


def _of_content(path: Path, head: bytes, base: str, classes: Sequence[str]) -> Kind | None:
    if head.startswith(MAGIC):
        return _of_hdf5(path)
    if head.startswith(NPY):
        return Kind.MEAN
    if head.startswith(b"{") and (found := _of_json(path)):
        return found
    encoding = encoding_of(head)
    if not encoding.startswith("utf-16") and (_BINARY.search(head[:4096]) or not _is_text(head)):
        return _of_binary(head)
    return _of_text(path, head.decode(encoding, "replace"), base, classes)


def _is_text(head: bytes) -> bool:
    return sum(byte < 9 or 13 < byte < 32 for byte in head[:4096]) * 50 < max(len(head[:4096]), 1) and bool(head)


def _of_hdf5(path: Path) -> Kind | None:
    need_hdf5(path)
    try:
        names = read_hdf5(path, lambda file: {name for name in ("data", "iter", "history") if name in file})
    except FerError:  # whoever wants to read it says why
        return None
    if {"iter", "history"} <= names:
        return Kind.STATE
    return Kind.WEIGHTS if names == {"data"} else None


def _of_json(path: Path) -> Kind | None:
    try:
        said = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return Kind.INFO if isinstance(said, dict) and "image dimensions" in said else None


def _of_binary(head: bytes) -> Kind | None:
    """By the fields of a protobuf message: a net's layers, a state's iteration and history, a blob's numbers."""
    fields = _fields(head)
    if {(1, 2), (2, 2)} <= fields or (100, 2) in fields or fields == {(2, 2)}:
        return Kind.WEIGHTS
    if (5, 2) in fields or (8, 2) in fields:
        return Kind.MEAN
    if (1, 0) in fields and fields & {(2, 2), (3, 2)} and all(number <= 4 for number, _ in fields):
        return Kind.STATE
    return None


def _fields(head: bytes) -> set[tuple[int, int]]:
    """(number, wire type) of the fields that a message begins with, up to the first that is none, or too long."""
    found: set[tuple[int, int]] = set()
    position = 0
    while position < len(head):
        key, position = _varint(head, position)
        wire = key & 7
        if key >> 3 == 0 or wire not in (0, 1, 2, 5):
            break
        found.add((key >> 3, wire))
        length, after = _varint(head, position) if wire in (0, 2) else (0, position)
        position = after + (length if wire == 2 else _FIXED.get(wire, 0))
    return found


def _varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        number |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            break
    return number, position


def _of_text(path: Path, head: str, base: str, classes: Sequence[str]) -> Kind | None:
    if _LOG_LINE.search(head):
        return Kind.LOG
    fields = _top_fields(head)
    if fields & _NET_FIELDS:
        return Kind.NET if _DATA_LAYER.search(_whole(path)) else Kind.DEPLOY
    if len(fields & _SOLVER_FIELDS) > 1:
        return Kind.SOLVER
    if _LABELS.search(base) and base.lower().endswith(_TEXTS):
        return Kind.LABELS
    known = set(map(meaning, classes))
    with contextlib.suppress(ValueError):
        if all(meaning(name) in known for name in names_in(as_text(path.read_bytes()), classes)):
            return Kind.LABELS
    return None


def _whole(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _top_fields(head: str) -> set[str]:
    """Names of the fields of a prototxt's outermost message."""
    found, depth, before = set(), 0, ""
    for token in tokenize(head):
        if depth == 0 and token.text in (":", "{"):
            found.add(before)
        depth += (token.text == "{") - (token.text == "}")
        before = token.text
    return found
