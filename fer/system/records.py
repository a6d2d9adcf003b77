"""Records kept as JSON files: a frozen dataclass each, checked when it is read, written atomically."""

import json
import re
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from fer.errors import FerError
from fer.system.files import write_bytes


class Record(Protocol):
    """A frozen dataclass whose fields have types. `FORMAT` is the newest that this fer knows, `format` the file's own.

    A file without the field is of the oldest format; what older formats lack has a default, and what they have
    otherwise a method `upgrade` of the class puts into today's form. Fields that are not known are passed over.
    """

    FORMAT: ClassVar[int]

    @property
    def format(self) -> int: ...


R = TypeVar("R", bound=Record)


class NewerFormat(FerError):
    """A file that a newer fer wrote, in a format that this one does not know."""


def read_record(path: Path, kind: type[R], cure: str = "") -> R:
    """The record in a file. Raises FerError, which names file and field and ends with the `cure`, where the file cannot
    be read, is damaged, or of a newer format."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FerError(f"cannot read {path}: {error.strerror}") from error
    return decode_record(data, kind, str(path), cure)


def write_record(path: Path, record: Record, *, parents: bool = False) -> None:
    """Write a record as JSON, atomically. Raises FerError where it cannot be written."""
    write_bytes(path, encode_record(record), parents=parents)


def decode_record(data: bytes | str, kind: type[R], where: str, cure: str = "") -> R:
    """The record that JSON text holds; `where` names it in messages. Raises FerError as `read_record` does."""
    ending = f". {cure}" if cure else ""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise FerError(f"{where}: damaged: not JSON{ending}") from None
    if not isinstance(fields, dict):
        raise FerError(f"{where}: damaged: not one JSON object{ending}")
    newest, found = kind.FORMAT, fields.get("format")
    if type(found) is int and found > newest:
        raise NewerFormat(f"{where}: format {found}, which a newer fer wrote; this one reads up to {newest}{ending}")
    if upgrade := getattr(kind, "upgrade", None):
        fields = upgrade(fields)
    try:
        return msgspec.convert(fields, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise FerError(f"{where}: damaged: {_fault(str(error))}{ending}") from None


def encode_record(record: Record) -> bytes:
    """A record as JSON text."""
    return (json.dumps(msgspec.to_builtins(record), indent=2) + "\n").encode()


def as_json(record: object) -> Any:
    """A record, or a part of one, as what JSON has: objects, lists, numbers, strings."""
    return json.loads(json.dumps(msgspec.to_builtins(record)))


def _fault(message: str) -> str:
    """msgspec's message with the field in front: "splits.train.count: expected `int`, got `str`"."""
    what, _, path = message.partition(" - at ")
    parts = path.strip("`").removeprefix("$").removeprefix(".")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", what):
        return f"the field {'.'.join(filter(None, (parts, missing[1])))} is missing"
    what = what[:1].lower() + what[1:]
    return f"{parts}: {what}" if parts else what
