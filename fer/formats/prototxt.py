"""Prototxt and caffemodel files, read and written; their old formats are upgraded as Caffe does on load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from fer.errors import Faults, FerError, nearest
from fer.formats.forks import DELETE_IT, explain_field
from fer.formats.prototxt_text import (
    backslash_faults,
    decode,
    encode,
    file_path,
    foreign_faults,
    joined_signs,
    read_text,
)
from fer.formats.tokens import blank_field, layer_lines
from fer.formats.upgrade import V1_TYPES, upgrade_net
from fer.schema import caffe_pb2
from fer.system.files import write_bytes

MessageT = TypeVar("MessageT", bound=Message)

SOLVER_TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")  # by the old enum's number
TWO_HISTORIES = frozenset({"AdaDelta", "Adam"})  # whose state keeps two numbers for each parameter, not one
_UNKNOWN_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "([\w.]+)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named "?(\w+)')
_COMMENT = re.compile(r"Expected identifier or number, got /")
_NO_STRING = re.compile(r"Expected string but found: '(\w+)'")
# The parser's message repeats the place and quotes the line: `3:8 : ' type: 3': Expected ...`.
_PREFIX = re.compile(r"^\d+:\d+ : (?:'.*': )?", re.DOTALL)
_MOST_FAULTS = 20


def read_net(path: str | Path, dropped: list[str] | None = None) -> caffe_pb2.NetParameter:
    """A net from a prototxt, its old formats upgraded as Caffe does on load.

    Given a list `dropped`, fields of forks that mean nothing to Caffe are left out and told there. Raises FerError with
    `file:line: ...` for each fault, with the nearest known name.
    """
    net = _read_message(path, caffe_pb2.NetParameter(), dropped)
    if not (net.layer or net.layers):
        raise FerError(f"{path}:1: this net has no layers")
    try:
        return upgrade_net(net)
    except FerError as error:
        raise FerError(f"{path}:1: {error}") from None


def read_solver(path: str | Path, dropped: list[str] | None = None) -> caffe_pb2.SolverParameter:
    """A solver from a prototxt, its old `solver_type` turned into `type`; `dropped` as read_net has it.

    Raises FerError with `file:line: ...` for each fault, with the nearest known name.
    """
    solver = _read_message(path, caffe_pb2.SolverParameter(), dropped)
    if solver.HasField("solver_type"):
        if solver.HasField("type"):
            raise FerError(f"{path}:1: both solver_type and type are given; keep type and delete solver_type")
        solver.type = SOLVER_TYPES[solver.solver_type]
        solver.ClearField("solver_type")
    return solver


def to_text(message: Message) -> str:
    """Protobuf text; floats in their shortest form that reads back the same (0.01, not 0.0099999998)."""
    return text_format.MessageToString(message, as_utf8=True)


def to_bytes(message: Message) -> bytes:
    """A prototxt of the message, with the very bytes of what was read."""
    return encode(to_text(message))


def write_text(path: str | Path, message: Message) -> None:
    """Write a message as prototxt, atomically. Raises FerError."""
    write_bytes(Path(path), to_bytes(message))


def read_weights(path: str | Path) -> caffe_pb2.NetParameter:
    """A .caffemodel, its old formats upgraded.

    Raises FerError when it is missing, empty, cut short, or holds no layer with parameters: Caffe itself loads an
    empty file without a word and goes on with random weights.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FerError(f"cannot read {path}: {error.strerror}") from error
    if not data:
        raise FerError(f"{path} is empty (0 bytes): no weights in it")
    net = caffe_pb2.NetParameter()
    try:
        net.ParseFromString(data)
    except DecodeError as error:
        raise FerError(f"{path} is cut short or is no .caffemodel ({len(data)} bytes read)") from error
    try:
        net = upgrade_net(net)
    except FerError as error:
        raise FerError(f"{path} is damaged: {error}") from None
    for layer in net.layer:
        if not isinstance(layer.name, str):  # what is no UTF-8 comes as bytes
            layer.name = decode(layer.name)
    if not any(layer.blobs for layer in net.layer):
        raise FerError(f"{path} holds no layer with parameters: no .caffemodel, or one cut short")
    return net


def solver_net_path(solver: caffe_pb2.SolverParameter, solver_path: str | Path) -> Path:
    """The net file a solver names (`net`, else `train_net`), as Caffe finds it from the current folder, or else
    beside the solver. Raises FerError where it names none or the file is missing."""
    name = solver.net or solver.train_net
    if not name:
        raise FerError(f'{solver_path}:1: the solver names no net; add  net: "train_val.prototxt"')
    for candidate in (file_path(name), Path(solver_path).parent / file_path(name)):
        if candidate.is_file():
            return candidate
    raise FerError(
        f"{solver_path}: the net it names, {name}, is not there\n"
        f"looked in {Path.cwd()} and {Path(solver_path).resolve().parent}"
    )


def are_exchanged(solver_path: str | Path, net_path: str | Path) -> bool:
    """Whether what is given for a solver is a net, and the other way round."""
    return _reads_as(solver_path, caffe_pb2.NetParameter) and _reads_as(net_path, caffe_pb2.SolverParameter)


def _reads_as(path: str | Path, kind: type[Message]) -> bool:
    try:
        return bool(text_format.Parse(joined_signs(read_text(path)), kind()).ListFields())
    except (FerError, text_format.ParseError):
        return False


def _read_message(path: str | Path, message: MessageT, dropped: list[str] | None = None) -> MessageT:
    """Parse a prototxt into `message`; FerError lists every unknown field, up to the first fault of another kind.

    Given a list `dropped`, fields that are to be deleted are, and told there.
    """
    text = read_text(path)
    if faults := [f"{path}:{line}: {fault}" for line, fault in (*backslash_faults(text), *foreign_faults(text))]:
        raise FerError("\n".join(faults[:_MOST_FAULTS]))
    text = joined_signs(text)
    while len(faults) < _MOST_FAULTS:
        message.Clear()
        try:
            text_format.Parse(text, message)
            break
        except text_format.ParseError as error:
            if not faults and (kind := _taken_for(path, message)):
                raise FerError(f"{path} is a {kind[0]}, where a {kind[1]} is expected") from None
            fault = f"{path}:{error.GetLine() or 1}: {_explain(error)}"
            mended = _without_unknown_field(text, error)
            if dropped is not None and mended is not None and fault.endswith(DELETE_IT):
                dropped.append(fault.removesuffix(DELETE_IT))
            else:
                faults.append(fault)
            if mended is None:
                break
            text = mended
    if faults := faults or _missing_fields(path, text, message):
        raise Faults(faults)
    return message


def _missing_fields(path: str | Path, text: str, message: Message) -> list[str]:
    """Fields that Caffe's parser does without no more than ours when it writes them: clip_param's min and max."""
    faults = []
    for name in message.FindInitializationErrors():  # type: ignore[attr-defined]  # its stub lacks it
        place = re.match(r"layer\[(\d+)\]\.", name)
        line = layer_lines(text)[int(place[1])] if place else 1
        faults.append(f"{path}:{line}: {name[place.end() :] if place else name} is missing")
    return faults


def _taken_for(path: str | Path, message: Message) -> tuple[str, str] | None:
    """(what a file is, what it was taken for) where a net was given for a solver, or the other way round."""
    if isinstance(message, caffe_pb2.NetParameter) and _reads_as(path, caffe_pb2.SolverParameter):
        return "solver", "net"
    if isinstance(message, caffe_pb2.SolverParameter) and _reads_as(path, caffe_pb2.NetParameter):
        return "net", "solver"
    return None


def _without_unknown_field(text: str, error: text_format.ParseError) -> str | None:
    """The text with the unknown field that `error` is about blanked; None for any other fault."""
    line, column = error.GetLine(), error.GetColumn()
    if line is None or column is None or not _UNKNOWN_FIELD.search(str(error)):
        return None
    start = sum(map(len, text.splitlines(keepends=True)[: line - 1])) + column - 1
    return blank_field(text, start)


def _explain(error: text_format.ParseError) -> str:
    """The parser's message in our words, with the nearest known name where a name is wrong."""
    message = _PREFIX.sub("", str(error))
    if match := _UNKNOWN_FIELD.search(message):
        kind, name = match.groups()
        kind = kind.removeprefix("caffe.")
        if fork := explain_field(kind, name):
            return f"{kind} has no field {name!r}: it is {fork}"
        owner = caffe_pb2.DESCRIPTOR.message_types_by_name.get(kind)
        fields = [field.name for field in owner.fields] if owner else []
        return f"{kind} has no field {name!r}{nearest(name, fields)}"
    if match := _UNKNOWN_VALUE.search(message):
        kind, name = match.groups()
        if name in V1_TYPES.values() and kind.endswith("LayerType"):
            return f"type {name!r} is of the new blocks: write  layer {{  instead of  layers {{"
        values = _enum_values(kind.removeprefix("caffe."))
        if name in values:
            return f"{name} is a value of {kind.removeprefix('caffe.')}, and no string: write it without quotes"
        return f"{kind.removeprefix('caffe.')} has no value {name}{nearest(name, values)}; it has {', '.join(values)}"
    if _COMMENT.search(message):
        return f"{message} A comment begins with #"
    if (match := _NO_STRING.search(message)) and (new := V1_TYPES.get(match[1])):
        return f'{message}; in a layer {{ ... }} block this type is written  type: "{new}"'
    return message


def _enum_values(name: str) -> list[str]:
    """Values of an enum of the schema, by its name without the package (`Phase`, `PoolingParameter.PoolMethod`)."""
    owner, _, inner = name.rpartition(".")
    schema = caffe_pb2.DESCRIPTOR
    enums = schema.message_types_by_name[owner].enum_types_by_name if owner else schema.enum_types_by_name
    return [value.name for value in enums[inner].values]
