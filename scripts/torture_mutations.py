"""Damaged copies of the files that fer reads, the same for the same seed: what readers must refuse in plain words.

for mutant in mutants("run.json", data, count=100, seed=1):
    mutant.what, mutant.data

Bytes are flipped, cut, doubled, moved in files of any kind; of those with a structure it is damaged too: JSON's values
and keys, the arrays in a .npz, the fields of a protobuf message, numbers and words of a text, pages of an LMDB.
"""

import io
import json
import random
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

HUGE = (0, -1, 1, 2**31 - 1, 2**31, 2**63, -(2**63), 10**30, 1e308, 1e-320, float("nan"), float("inf"), True, None)
WORDS = (
    "", " ", "\0", "\ud800", "\udcff", "../../outside", "/etc/passwd", "a/b", "..", ".", "nan", "é" * 40, "x" * 100_000,
    "\x1b[31mred\x1b[0m", "$\\frac{$", "=1+1", "<script>", "-1", "NaN", "9" * 5000,
)  # fmt: skip
TEXT_NUMBERS = ("0", "-1", "9" * 20, "9" * 5000, "nan", "inf", "-inf", "1e400", "1e-400", "0x7fffffff", "1.5", "", "٣")
_NUMBER = re.compile(rb"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])")
_TOKEN = re.compile(rb"[\w./+-]+|[^\w\s]")
_DEEP = 100_000


@dataclass(frozen=True)
class Mutant:
    """`what` was done to the file, and the bytes it has now."""

    what: str
    data: bytes


Mutation = Callable[[bytes, random.Random], bytes]


def mutants(name: str, data: bytes, *, count: int, seed: int = 0) -> Iterator[Mutant]:
    """`count` damaged copies of a file of this name; mutant k is the same whatever `count` is."""
    ways = {**OF_BYTES, **next((of for ending, of in OF_KIND.items() if name.endswith(ending)), {})}
    names = list(ways)
    for number in range(count):
        random_ = random.Random(f"{seed}/{name}/{number}")
        what = names[number % len(names)]
        yield Mutant(f"{name}: {what} {number}", ways[what](data, random_))


# ---- files of any kind


def _flip(data: bytes, random_: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 4, 64))):
        if changed:
            changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def _flip_early(data: bytes, random_: random.Random) -> bytes:
    """Where most formats say what they are and how long."""
    return _flip(data[:256], random_) + data[256:]


def _span(data: bytes, random_: random.Random, most: int = 4096) -> tuple[int, int]:
    start = random_.randrange(len(data) + 1)
    return start, min(len(data), start + random_.randrange(1, most))


def _cut(data: bytes, random_: random.Random) -> bytes:
    return data[: random_.randrange(len(data) + 1)]


def _remove(data: bytes, random_: random.Random) -> bytes:
    start, end = _span(data, random_)
    return data[:start] + data[end:]


def _double(data: bytes, random_: random.Random) -> bytes:
    start, end = _span(data, random_)
    return data[:end] + data[start:]


def _zero(data: bytes, random_: random.Random) -> bytes:
    start, end = _span(data, random_)
    return data[:start] + bytes(end - start) + data[end:]


def _insert(data: bytes, random_: random.Random) -> bytes:
    at = random_.randrange(len(data) + 1)
    return data[:at] + random_.randbytes(random_.choice((1, 2, 16, 1000))) + data[at:]


def _append(data: bytes, random_: random.Random) -> bytes:
    return data + random_.choice((b"\0", b"\n", data, random_.randbytes(4096)))


def _other(data: bytes, random_: random.Random) -> bytes:
    """Something else altogether."""
    return random_.choice(
        (b"", b"\0" * 4096, b"{}", b"[]", b"null", b"\xff" * 64, random_.randbytes(10_000), b"\x89PNG")
    )


OF_BYTES: dict[str, Mutation] = {
    "bits": _flip, "early bits": _flip_early, "cut": _cut, "removed": _remove, "doubled": _double, "zeros": _zero,
    "inserted": _insert, "appended": _append, "other": _other,
}  # fmt: skip


# ---- JSON


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of all that a JSON value holds."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, inside in items:
        yield value, key
        yield from _places(inside)


def _in_json(change: Callable[[Any, Any, random.Random], None]) -> Mutation:
    def mutate(data: bytes, random_: random.Random) -> bytes:
        whole = json.loads(data)
        places = list(_places(whole))
        if places:
            change(*random_.choice(places), random_)
        return json.dumps(whole, indent=2).encode("utf-8", "surrogatepass")

    return mutate


def _other_value(holder: Any, key: Any, random_: random.Random) -> None:
    holder[key] = random_.choice(("text", 1, -1, 1.5, [], {}, [1, 2], {"a": 1}, True, None, [[]], {"": None}))


def _number(holder: Any, key: Any, random_: random.Random) -> None:
    holder[key] = random_.choice(HUGE)


def _word(holder: Any, key: Any, random_: random.Random) -> None:
    holder[key] = random_.choice(WORDS)


def _gone(holder: Any, key: Any, random_: random.Random) -> None:
    del holder[key]


def _renamed(holder: Any, key: Any, random_: random.Random) -> None:
    if isinstance(holder, dict):
        holder[random_.choice(WORDS)] = holder.pop(key)
    else:
        holder.append(holder[key])


def _deep(data: bytes, random_: random.Random) -> bytes:
    """Lists within lists, or an integer of very many digits."""
    inside = random_.choice((b"[" * _DEEP + b"]" * _DEEP, b'{"a":' * 900 + b"1" + b"}" * 900, b"9" * 5000))
    return b'{"deep": ' + inside + b", " + data.lstrip()[1:]


OF_JSON: dict[str, Mutation] = {
    "value": _in_json(_other_value), "number": _in_json(_number), "word": _in_json(_word), "gone": _in_json(_gone),
    "renamed": _in_json(_renamed), "deep": _deep,
}  # fmt: skip


# ---- NumPy's archives


def _array(array: np.ndarray, random_: random.Random) -> np.ndarray:
    """Of another type, shape or content."""
    match random_.randrange(8):
        case 0:
            return (
                array.astype(random_.choice(("f8", "i4", "u1", "U9", "?", "S5", "c16")))
                if array.dtype.kind in "fiu"
                else array[:0]
            )
        case 1:
            return array[: len(array) // 2] if array.ndim else np.zeros(3)
        case 2:
            return array[np.newaxis]
        case 3:
            return np.zeros(random_.choice(((), (0,), (1,), (0, 7), (7, 0), (1, 1, 1, 1, 1))), array.dtype)
        case 4 if array.dtype.kind == "f":
            return array * np.float32(random_.choice((np.nan, np.inf, -1, 1e38, 0)))
        case 5 if array.dtype.kind in "iu":
            return array * 0 + random_.choice((-1, 99, 2**31 - 1))
        case 6:
            return np.concatenate([array, array]) if array.ndim else array
        case _:
            return np.array(random_.choice((*WORDS[:8], "{}", "[]", "null", '{"format": 99}')))


def _in_arrays(data: bytes, random_: random.Random) -> bytes:
    with np.load(io.BytesIO(data)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    name = random_.choice(list(arrays))
    match random_.randrange(4):
        case 0:
            del arrays[name]
        case 1 if arrays[name].dtype.kind == "U" and arrays[name].ndim == 0 and str(arrays[name]).startswith("{"):
            mutate = random_.choice([OF_JSON["value"], OF_JSON["number"], OF_JSON["word"], OF_JSON["gone"]])
            arrays[name] = np.array(mutate(str(arrays[name]).encode(), random_).decode("utf-8", "surrogatepass"))
        case _:
            arrays[name] = _array(arrays[name], random_)
    return _saved(arrays)


def _pickled(data: bytes, random_: random.Random) -> bytes:
    with np.load(io.BytesIO(data)) as stored:
        arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
    arrays[random_.choice(list(arrays))] = np.array([{"an": "object"}], object)
    return _saved(arrays)


def _announced(data: bytes, random_: random.Random) -> bytes:
    """A member whose header says that a great deal follows."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        chosen = random_.choice(old.namelist())
        for member in old.namelist():
            content = old.read(member)
            if member == chosen:
                shape = random_.choice(
                    (b"(1000000000000,)", b"(1000000, 1000000)", b"(-1,)", b"(2305843009213693952, 8)")
                )
                header = b"{'descr': '<f8', 'fortran_order': False, 'shape': " + shape + b"}"
                header += b" " * (118 - len(header) - 1) + b"\n"
                content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content[-64:]
            new.writestr(member, content)
    return stream.getvalue()


def _saved(arrays: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


OF_ARRAYS: dict[str, Mutation] = {
    "arrays": _in_arrays, "pickle": _pickled, "announced": _announced, "more arrays": _in_arrays,
}  # fmt: skip


# ---- protobuf messages


def _fields(data: bytes) -> list[tuple[int, int, int, int]]:
    """(start, start of the value, end, wire type) of a message's fields; none where it is not one to its end."""
    found, at = [], 0
    while at < len(data):
        start = at
        key, at = _varint(data, at)
        wire, value = key & 7, at
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 2:
            length, value = _varint(data, at)
            at = value + length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            return []
        if at > len(data) or key >> 3 == 0:
            return []
        found.append((start, value, at, wire))
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data):
        byte = data[at]
        number, at, shift = number | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128 or shift > 63:
            break
    return number, at


def _encode(number: int) -> bytes:
    encoded = bytearray()
    number &= 2**64 - 1
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])


def _in_message(data: bytes, random_: random.Random, depth: int = 0) -> bytes:
    """One field of the message, or of one within it, taken out, doubled, or with another value; lengths kept right."""
    fields = _fields(data)
    if not fields:
        return _flip(data, random_)
    start, value, end, wire = random_.choice(fields)
    key = _encode(_varint(data, start)[0])
    if wire == 2 and depth < 6 and random_.random() < 0.7 and _fields(data[value:end]):
        changed = _in_message(data[value:end], random_, depth + 1)
        return data[:start] + key + _encode(len(changed)) + changed + data[end:]
    match random_.randrange(5):
        case 0:
            new = b""
        case 1:
            new = data[start:end] * 2
        case 2 if wire == 0:
            new = key + _encode(random_.choice((0, 1, 7, 2**31 - 1, 2**31, 2**32, 2**63 - 1, -1)))
        case 2 | 3 if wire == 2:
            content = random_.choice(
                (b"", data[value:end][:-1], data[value:end] + b"\0" * 4, b"\xff\xfe\0", b"../../x")
            )
            new = key + _encode(len(content)) + content
        case _:
            new = data[start:value] + random_.randbytes(end - value)
    return data[:start] + new + data[end:]


OF_MESSAGE: dict[str, Mutation] = {"field": _in_message, "another field": _in_message, "a third field": _in_message}


# ---- texts


def _text_number(data: bytes, random_: random.Random) -> bytes:
    return _replaced(_NUMBER, data, random_, random_.choice(TEXT_NUMBERS).encode())


def _text_word(data: bytes, random_: random.Random) -> bytes:
    return _replaced(_TOKEN, data, random_, random_.choice(WORDS).encode("utf-8", "surrogatepass"))


def _replaced(pattern: re.Pattern[bytes], data: bytes, random_: random.Random, new: bytes) -> bytes:
    found = list(pattern.finditer(data))
    if not found:
        return data + new
    match = random_.choice(found)
    return data[: match.start()] + new + data[match.end() :]


def _lines(data: bytes, random_: random.Random) -> bytes:
    """A line taken out, doubled, moved, joined to the next, or very many times."""
    lines = data.split(b"\n")
    at = random_.randrange(len(lines))
    match random_.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            lines.insert(random_.randrange(len(lines)), lines.pop(at))
        case 3 if at + 1 < len(lines):
            lines[at : at + 2] = [lines[at] + lines[at + 1]]
        case _:
            lines[at : at + 1] = [lines[at]] * 2000
    return b"\n".join(lines)


def _recoded(data: bytes, random_: random.Random) -> bytes:
    text = data.decode("latin-1")
    encoding = random_.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-32"))
    return random_.choice((text.encode(encoding), data.replace(b"\n", b"\r\n"), data.replace(b"\n", b"\r")))


def _nested(data: bytes, random_: random.Random) -> bytes:
    return data + b"layer { " * 5000 + b"}" * 5000


OF_TEXT: dict[str, Mutation] = {
    "number": _text_number, "word": _text_word, "lines": _lines, "code": _recoded, "another number": _text_number,
}  # fmt: skip
OF_PROTOTXT = {**OF_TEXT, "nested": _nested}


# ---- LMDB


def _page(data: bytes, random_: random.Random) -> bytes:
    """Bits in the heads of pages, where the tree is: flags, bounds, offsets of nodes."""
    changed = bytearray(data)
    for _ in range(random_.choice((1, 4, 32))):
        page = random_.randrange(max(1, len(changed) // 4096)) * 4096
        at = page + random_.randrange(64)
        if at < len(changed):
            changed[at] = random_.randrange(256)
    return bytes(changed)


def _meta(data: bytes, random_: random.Random) -> bytes:
    """The two first pages, which say where the tree is and how large the file."""
    changed = bytearray(data)
    at = random_.randrange(16, 16 + 136, 8)
    new = random_.choice((0, 1, 2**31, 2**63 - 1, 2**64 - 1, random_.randrange(len(data) // 4096 + 2)))
    for page in (0, 4096):
        if page + at + 8 <= len(changed):
            changed[page + at : page + at + 8] = new.to_bytes(8, "little")
    return bytes(changed)


OF_LMDB: dict[str, Mutation] = {"page": _page, "meta": _meta, "another page": _page}

OF_KIND: dict[str, dict[str, Mutation]] = {
    ".json": OF_JSON, ".npz": OF_ARRAYS, ".caffemodel": OF_MESSAGE, ".solverstate": OF_MESSAGE,
    ".binaryproto": OF_MESSAGE, ".prototxt": OF_PROTOTXT, ".log": OF_TEXT, ".txt": OF_TEXT, ".csv": OF_TEXT,
    ".mdb": OF_LMDB,
}  # fmt: skip
