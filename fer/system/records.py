"""Records kept as JSON files: a frozen dataclass each, checked when it is read, written atomically.

The last thing that fer writes into one is its seal, the hash of all above it. A record without one is taken as it is:
an older fer wrote it, or someone who meant the edit took the seal out.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from fer.errors import FerError
from fer.system.files import cannot_read, open_regular, write_bytes
from fer.system.hashes import content_hash

SEAL = "content_sha256"
_MOST_BYTES = 64 << 20  # of a record, which is a hundred times less
_NO_NAME = ("", ".", "..")


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
    be read, is damaged, edited by hand, or of a newer format."""
    try:
        with open_regular(path) as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise cannot_read(path, error) from error
    if len(data) > _MOST_BYTES:
        raise FerError(f"{path}: damaged: over {_MOST_BYTES >> 20} MB{f'. {cure}' if cure else ''}")
    return decode_record(data, kind, str(path), cure)


def write_record(path: Path, record: Record, *, parents: bool = False) -> None:
    """Write a record as JSON, sealed, atomically. Raises FerError where it cannot be written."""
    write_bytes(path, seal_record(record), parents=parents)


def rewrite_record(path: Path, record: Record) -> None:
    """Write a record as `write_record` does; what others have put into the file stays in it.

    Raises FerError where it cannot be written, or the file is no record any more.
    """
    try:
        there = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise FerError(f"{path}: damaged or gone, while it was in use") from None
    known = {SEAL, *as_json(record)}
    remarks = {key: value for key, value in there.items() if key not in known} if isinstance(there, dict) else {}
    write_bytes(path, seal_record(record, remarks))


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
    upgrade = getattr(kind, "upgrade", None)
    try:
        if (no_text := next((text for text in _strings(fields) if not _is_text(text)), None)) is not None:
            raise FerError(f"{where}: damaged: {no_text!a} is no text{ending}")
        record: R = msgspec.convert(upgrade(fields) if upgrade else fields, kind, str_keys=True)
        sealed = _is_sealed(fields)
    except (msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise FerError(f"{where}: damaged: {_fault(str(error))}{ending}") from None
    if not sealed:
        raise FerError(
            f"{where}: edited since fer wrote it, so what it says cannot be relied on. Put it back{ending}\n"
            f"Where the edit is meant, delete the entry {SEAL!r}"
        )
    return record


def encode_record(record: Record) -> bytes:
    """A record as JSON text, without a seal."""
    return _encoded(as_json(record))


def seal_record(record: Record, remarks: Mapping[str, Any] | None = None) -> bytes:
    """A record as JSON text, and its seal; `remarks` are of others, and stand behind it."""
    fields = as_json(record)
    return _encoded({**fields, SEAL: _seal(fields), **(remarks or {})})


def _encoded(fields: Mapping[str, Any]) -> bytes:
    return (json.dumps(fields, indent=2) + "\n").encode()


def _seal(fields: Mapping[str, Any]) -> str:
    return content_hash(json.dumps(fields, sort_keys=True))


def _is_sealed(fields: dict[str, Any]) -> bool:
    """Whether what stands above the seal is what was sealed; or there is none."""
    if SEAL not in fields:
        return True
    names = list(fields)
    above = {name: fields[name] for name in names[: names.index(SEAL)]}
    return bool(fields[SEAL] == _seal(above))


def _strings(value: Any) -> Iterator[str]:
    """All strings in what JSON has, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value:
            yield from _strings(each)
        if isinstance(value, dict):
            yield from _strings(list(value.values()))


def _is_text(text: str) -> bool:
    """Whether it can be written, and named to the system: a file's name may have bytes that are no UTF-8, held as
    surrogates."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def check_inside(name: str) -> None:
    """Raise ValueError unless a name in a record is that of a file in the record's folder, or further in."""
    if name.startswith("/") or not set(name.split("/")).isdisjoint(_NO_NAME):
        raise ValueError(f"{name!a} leads out of its folder")


def check_name(name: str) -> None:
    """Raise ValueError unless it can be the name of a file or a folder."""
    if "/" in name or name in _NO_NAME:
        raise ValueError(f"{name!a} is no name of a file")


def as_json(record: object) -> Any:
    """A record, or a part of one, as what JSON has: objects, lists, numbers, strings."""
    return json.loads(json.dumps(record, default=asdict))


def _fault(message: str) -> str:
    """msgspec's message with the field in front: "splits.train.count: expected `int`, got `str`"."""
    what, _, path = message.partition(" - at ")
    parts = path.strip("`").removeprefix("$").removeprefix(".")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", what):
        return f"the field {'.'.join(filter(None, (parts, missing[1])))} is missing"
    what = what[:1].lower() + what[1:]
    return f"{parts}: {what}" if parts else what
