"""Records in JSON files: what is damaged or newer is named by file and field."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from fer.errors import FerError
from fer.system.records import SEAL, as_json, encode_record, read_record, rewrite_record, write_record


@dataclass(frozen=True)
class Part:
    count: int


@dataclass(frozen=True)
class Whole:
    FORMAT: ClassVar[int] = 2

    name: str
    part: Part
    rates: tuple[float, ...]
    new: str | None = None
    format: int = 1

    def __post_init__(self) -> None:
        if self.part.count < 0:
            raise ValueError("part.count is negative")


GOOD = '{"name": "n", "part": {"count": 1}, "rates": [0.5, 1, NaN], "unknown": 3}'


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = Whole("n", Part(3), (0.1, 2.0), "x", 2)
    write_record(tmp_path / "made" / "a.json", record, parents=True)
    assert read_record(tmp_path / "made" / "a.json", Whole) == record
    assert encode_record(record).endswith(b"}\n")


def test_an_older_format_has_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(GOOD)
    record = read_record(tmp_path / "a.json", Whole)
    assert (record.name, record.part.count, record.new, record.format) == ("n", 1, None, 1)
    assert as_json(record)["new"] is None and json.loads(encode_record(record))["format"] == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "damaged: not JSON"),
        (b"\xff\xfe{}", "damaged: not JSON"),
        (b"[" * 100_000, "damaged: not JSON"),
        (b"[1]", "damaged: not one JSON object"),
        (GOOD[:-1].encode(), "damaged: not JSON"),
        (GOOD.replace('"n"', "7").encode(), "damaged: name: expected `str`, got `int`"),
        (GOOD.replace("1}", '"1"}').encode(), "damaged: part.count: expected `int`, got `str`"),
        (GOOD.replace("1}", "-1}").encode(), "damaged: part.count is negative"),
        (GOOD.replace('"count": 1', "").encode(), "damaged: the field part.count is missing"),
        (GOOD.replace('"rates"', '"rat"').encode(), "damaged: the field rates is missing"),
        (GOOD.replace("NaN", '"a"').encode(), "damaged: rates[2]: expected `float`, got `str`"),
        (GOOD.replace('"unknown"', '"format"').encode(), "format 3, which a newer fer wrote; this one reads up to 2"),
        (GOOD.replace('"unknown": 3', '"format": "3"').encode(), "damaged: format: expected `int`, got `str`"),
    ],
)  # fmt: skip
def test_damage_is_named_by_file_and_field(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FerError) as error:
        read_record(path, Whole, "Make it again")
    assert str(error.value) == f"{path}: {expected}. Make it again"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FerError, match=r"cannot read .*a\.json: No such file"):
        read_record(tmp_path / "a.json", Whole)


def edited(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_edit_by_hand_is_seen_and_taken_once_it_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_record(path, Whole("n", Part(3), (0.1, 1e-7, float("nan"), 3.0)))
    edited(path)
    assert read_record(path, Whole).name == "n"  # written anew by another program, and the same
    edited(path, part={"count": 4})
    with pytest.raises(FerError, match=r"a\.json: edited since fer wrote it.* Make it again\n.*delete the entry"):
        read_record(path, Whole, "Make it again")
    fields = json.loads(path.read_text())
    del fields[SEAL]
    path.write_text(json.dumps(fields))
    assert read_record(path, Whole).part.count == 4
    edited(path, **{SEAL: 1})
    with pytest.raises(FerError, match="edited"):
        read_record(path, Whole)


def test_remarks_of_others_stay_and_are_not_sealed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_record(path, Whole("n", Part(3), ()))
    edited(path, remark="the one of the paper")
    for _ in range(2):
        rewrite_record(path, replace(read_record(path, Whole), name="m"))
        assert read_record(path, Whole).name == "m"
        assert json.loads(path.read_text())["remark"] == "the one of the paper"
        edited(path, remark="the one of the paper")
    path.write_text("[]")
    rewrite_record(path, Whole("n", Part(3), ()))
    path.write_text("{")
    with pytest.raises(FerError, match="damaged or gone, while it was in use"):
        rewrite_record(path, Whole("n", Part(3), ()))


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\udfff\udfff"])
def test_what_is_no_text_is_refused_wherever_it_stands(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    for place in ({"name": text}, {"more": [{"deep": text}]}, {text: 1}):
        path.write_text(json.dumps(json.loads(GOOD) | place))
        with pytest.raises(FerError, match=r"a\.json: damaged: .* is no text"):
            read_record(path, Whole)


def test_a_file_s_name_that_is_no_utf_8_is_text(tmp_path: Path) -> None:
    write_record(tmp_path / "a.json", Whole("caf\udce9.jpg", Part(1), ()))
    assert read_record(tmp_path / "a.json", Whole).name == "caf\udce9.jpg"
