"""Reading sources: the CSV's grammar, archives, class folders, and every kind of bad input."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Literal

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_csv import FOLDERS, Sample, csv_text, face, read, rows, text, write_csv, write_folders

from fer.data import archive
from fer.data.dataset import Split
from fer.data.image_file import decode_image, face_of
from fer.data.pixel_text import parse_pixels, parse_pixels_fast
from fer.data.source import open_source, source_sha256, source_state
from fer.errors import FerError
from fer.formats.image_header import image_size
from fer.system.workers import Workers


def fault(path: Path) -> str:
    with pytest.raises(FerError) as caught:
        read(path)
    return str(caught.value)


def assert_is_sample_data(found: list[Sample]) -> None:
    assert [(s.label, s.split.value) for s in found] == [(label, usage) for label, _, usage in rows()]
    for sample, (_, pixels, _) in zip(found, rows(), strict=True):
        np.testing.assert_array_equal(sample.pixels, pixels)
    assert [s.index for s in found] == list(range(len(found)))


def test_split_folders() -> None:
    assert [split.folder for split in Split] == ["train", "val", "test"]


# ---- the CSV's grammar ----


def test_kaggle_csv(tmp_path: Path) -> None:
    assert_is_sample_data(read(write_csv(tmp_path / "fer2013.csv")))


def test_other_column_order_spaces_quotes_and_crlf(tmp_path: Path) -> None:
    path = tmp_path / "icml_face_data.csv"
    lines = ["emotion, Usage, pixels"] + [f'{label}, {usage},"{text(pixels)}"' for label, pixels, usage in rows()]
    path.write_bytes("\r\n".join(lines).encode() + b"\r\n\r\n")
    assert_is_sample_data(read(path))


def test_blocks_do_not_change_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer.data.csv_text._BLOCK", 9_973)
    path = write_csv(tmp_path / "fer2013.csv")
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert_is_sample_data(read(path))


def test_progress_ends_at_the_size(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv")
    told: list[tuple[str, int, int]] = []
    with Workers(0) as workers, open_source(path, workers, progress=lambda *step: told.append(step)) as faces:
        list(faces.batches)
    assert told[-1] == ("reading", path.stat().st_size, path.stat().st_size)


def in_folders(path: Path) -> bool:
    with Workers(0) as workers, open_source(path, workers) as faces:
        return faces.in_folders


GOOD = text(face(0))
BAD_ROWS = {
    "pixel above 255": (f"0,{GOOD.rsplit(' ', 1)[0]} 256,Training", ["pixel 2304", "'256'", "0 to 255"]),
    "pixel of four digits": (f"0,{GOOD.rsplit(' ', 1)[0]} 0001,Training", ["pixel 2304", "'0001'"]),
    "negative pixel": (f"0,-1 {GOOD.split(' ', 1)[1]},Training", ["pixel 1", "'-1'"]),
    "a letter": (f"0,x {GOOD.split(' ', 1)[1]},Training", ["pixel 1", "'x'"]),
    "a decimal": (f"0,1.5 {GOOD.split(' ', 1)[1]},Training", ["pixel 1", "'1.5'"]),
    "one pixel too few": (f"0,{GOOD.split(' ', 1)[1]},Training", ["2303 pixels, not 2304"]),
    "one pixel too many": (f"0,7 {GOOD},Training", ["2305 pixels, not 2304"]),
    "no pixels": ("0,,Training", ["0 pixels, not 2304"]),
    "emotion 7": (f"7,{GOOD},Training", ["emotion '7'", "0..6"]),
    "emotion -1": (f"-1,{GOOD},Training", ["emotion '-1'", "0..6"]),
    "no emotion": (f",{GOOD},Training", ["emotion ''"]),
    "unknown Usage": (f"0,{GOOD},Test", ["Usage 'Test'", "PublicTest"]),
    "column missing": (f"0,{GOOD}", ["2 columns", "the header has 3"]),
    "column too many": (f"0,{GOOD},Training,1", ["4 columns"]),
    "NUL bytes": (f"0,{GOOD[:50]}\0{GOOD[51:]},Training", ["NUL"]),
    "open quote": (f'0,"{GOOD},Training', ["quote", "not closed"]),
    "quote inside": (f'0,{GOOD[:50]}"" {GOOD[51:]},Training', ["quote inside"]),
    "empty row": ("", ["the row is empty"]),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row_is_named(tmp_path: Path, name: str) -> None:
    bad, expected = BAD_ROWS[name]
    lines = csv_text().splitlines()
    lines[17] = bad
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    message = fault(path)
    assert f"{path}:18: row 17: " in message
    assert all(part in message for part in expected), message


def test_open_quote_that_swallows_rows(tmp_path: Path) -> None:
    lines = csv_text().splitlines()
    lines[3] = lines[3].replace(",", ',"', 1)
    lines[8] = lines[8].replace(",T", '",T').replace(",P", '",P')
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="ascii")
    assert "a.csv:4: row 3: a quote is opened and not closed" in fault(tmp_path / "a.csv")


BAD_FILES = {
    "empty": (b"", "the file is empty"),
    "blank": (b"\n\n", "the file is empty"),
    "header only": (b"emotion,pixels,Usage\n", "no row"),
    "half of a UTF-16 letter": ("emotion,pixels,Usage\n\ud800".encode("utf-16", "surrogatepass"), "not the utf-16"),
    "the competition's train.csv": (b"emotion,pixels\n0,1\n", "train.csv is Training alone: icml_face_data.csv"),
    "the competition's test.csv": (b"pixels\n1 2\n", "test.csv holds faces without labels"),
    "no Usage": (b"emotion,pixels,name\n0,1,x\n", "the column `usage` is not there"),
    "Usage twice": (b"emotion,pixels,Usage,usage\n0,1\n", "the column `usage` is twice"),
    "NUL": (b"emo\0tion,pixels,Usage\n", "NUL"),
    "no header": (f"0,{GOOD},Training\n".encode(), "the column `emotion` is not there"),
    "no line end": (b"emotion,pixels,Usage\n" + b"1 " * 200_000, "no end of line"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file(tmp_path: Path, name: str) -> None:
    content, expected = BAD_FILES[name]
    path = tmp_path / "fer2013.csv"
    path.write_bytes(content)
    message = fault(path)
    assert expected in message and str(path) in message
    assert len(message.splitlines()) <= 3 and len(message) < 500


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FerError, match="no such file"):
        source_state(tmp_path / "nothing.csv")


@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=4), st.sampled_from(["", "0", "00"]))
def test_fast_and_slow_pixels_agree(seeds: list[int], zeros: str) -> None:
    texts = []
    for seed in seeds:
        values = np.random.default_rng(seed).integers(0, 256, 2304)
        texts.append(" ".join(f"{zeros}{v}" if v < 10 else str(v) for v in values).encode())
    fast = parse_pixels_fast(texts)
    assert fast is not None
    np.testing.assert_array_equal(fast, [parse_pixels(one) for one in texts])


@given(st.integers(0, 2303), st.binary(max_size=5), st.integers(0, 2))
def test_fast_path_takes_nothing_that_the_slow_one_refuses(position: int, field: bytes, row: int) -> None:
    texts = [b" ".join([b"12"] * 2304) for _ in range(3)]
    texts[row] = b" ".join([b"12"] * position + [field] + [b"7"] * (2303 - position)).strip()
    fast = parse_pixels_fast(texts)
    if fast is not None:
        np.testing.assert_array_equal(fast, [parse_pixels(one) for one in texts])


def test_counts_that_even_out_between_rows_are_refused() -> None:
    texts = [b" ".join([b"1"] * 2303), b" ".join([b"1"] * 2305)]
    assert parse_pixels_fast(texts) is None


# ---- archives ----


def tar_bytes(members: dict[str, bytes], mode: Literal["w:gz", "w:bz2", "w:xz", "w"] = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_bytes(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


CSV = csv_text().encode()
ARCHIVES = {
    "fer2013.csv.gz": gzip.compress(CSV),
    "of Windows.zip": zip_bytes({"fer2013\\": b"", "fer2013\\fer2013.csv": CSV}),
    "fer2013.zip": zip_bytes({"example_submission.csv": b"x", "fer2013/": b"", "fer2013/fer2013.csv": CSV}),
    "fer2013.tar.gz": tar_bytes({"fer2013/README": b"x", "fer2013/fer2013.csv": CSV, "fer2013/fer2013.bib": b"x"}),
    "fer2013.tar": tar_bytes({"fer2013/fer2013.csv": CSV}, "w"),
    "no-suffix": tar_bytes({"one.csv": CSV}),
    "fer2013.tar.bz2": tar_bytes({"fer2013.csv": CSV}, "w:bz2"),
    "fer2013.tar.xz": tar_bytes({"fer2013.csv": CSV}, "w:xz"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(ARCHIVES[name])
    assert not in_folders(path)
    assert_is_sample_data(read(path))
    assert list(tmp_path.iterdir()) == [path]


def test_a_packed_tar_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[BinaryIO] = []
    unpack = archive._PACKED[b"\x1f\x8b"]

    def unpack_and_tell(raw: BinaryIO) -> BinaryIO:
        opened.append(raw)
        return unpack(raw)

    monkeypatch.setitem(archive._PACKED, b"\x1f\x8b", unpack_and_tell)
    path = tmp_path / "faces.tar.gz"
    path.write_bytes(ARCHIVES["fer2013.tar.gz"])
    told: list[tuple[str, int, int]] = []
    (tmp_path / "scratch").mkdir()
    with (
        Workers(0) as workers,
        open_source(path, workers, progress=lambda *step: told.append(step), scratch=tmp_path / "scratch") as faces,
    ):
        assert not faces.in_folders and sum(len(batch) for batch in faces.batches) == len(rows())
        assert len(opened) == 2  # to look what it is, and to unpack it
    size = path.stat().st_size
    assert ("unpacking", size, size) in told and told[-1][0] == "reading" and told[-1][1] <= told[-1][2]
    assert [*(tmp_path / "scratch").iterdir()] == []


def test_damage_within_bzip2_is_told(tmp_path: Path) -> None:
    path = tmp_path / "faces.tar.bz2"
    damaged = bytearray(ARCHIVES["fer2013.tar.bz2"])
    damaged[len(damaged) // 2] ^= 255
    path.write_bytes(damaged)
    assert "truncated or damaged" in fault(path)


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_truncated_archive(tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    path.write_bytes(ARCHIVES[name][: int(len(ARCHIVES[name]) * part)])
    assert "truncated or damaged" in fault(path)


@pytest.mark.parametrize("evil", ["../fer2013.csv", "/etc/fer2013.csv", "a/../../fer2013.csv", "C:/fer2013.csv"])
@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_members_that_point_outside(tmp_path: Path, evil: str, make: Callable[[dict[str, bytes]], bytes]) -> None:
    path = tmp_path / "archive"
    path.write_bytes(make({evil: CSV}))
    message = fault(path)
    assert "points outside" in message and evil in message


def test_archive_without_faces(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zip_bytes({"readme.txt": b"x"}))
    assert "no CSV and no image" in fault(path)
    path.write_bytes(zip_bytes({"train.csv": b"x", "test.csv": b"y"}))
    assert "2 CSV files" in fault(path)


def test_bad_row_in_an_archive_names_the_member(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zip_bytes({"fer2013.csv": CSV.replace(b"PublicTest", b"Public", 1)}))
    assert f"{path}/fer2013.csv:3: row 2: Usage 'Public'" in fault(path)


# ---- class folders ----


def test_class_folders_with_validation(tmp_path: Path) -> None:
    found = read(write_folders(tmp_path / "faces", validation=True))
    assert in_folders(tmp_path / "faces")
    counts = {split: [s.label for s in found if s.split is split] for split in Split}
    assert {split.folder: len(labels) for split, labels in counts.items()} == {"train": 14, "val": 7, "test": 14}
    assert all(sorted(set(labels)) == list(range(7)) for labels in counts.values())
    assert all(s.pixels.shape == (48, 48) and s.pixels.dtype == np.uint8 for s in found)


def test_public_and_private_test_by_file_name(tmp_path: Path) -> None:
    found = read(write_folders(tmp_path, test_names=("PublicTest_1.jpg", "PrivateTest_2.jpg", "PrivateTest_3.jpg")))
    assert [sum(s.split is split for s in found) for split in Split] == [14, 7, 14]


def test_test_is_halved_by_the_seed_and_by_class(tmp_path: Path) -> None:
    write_folders(tmp_path, test_names=tuple(f"im{k}.jpg" for k in range(6)))
    first, again, other = read(tmp_path, 1), read(tmp_path, 1), read(tmp_path, 2)
    for split in (Split.VAL, Split.TEST):
        assert [sum(s.label == label and s.split is split for s in first) for label in range(7)] == [3] * 7
    assert [s.split for s in first] == [s.split for s in again]
    assert [s.split for s in first] != [s.split for s in other]


@pytest.mark.parametrize("make", ["zip", "tar"])
def test_class_folders_in_archives(tmp_path: Path, make: str) -> None:
    folder = write_folders(tmp_path / "faces")
    members = {str(p.relative_to(tmp_path)): p.read_bytes() for p in sorted(folder.rglob("*.jpg"))}
    members["__MACOSX/faces/train/angry/._a.jpg"] = b"x"
    path = tmp_path / f"faces.{make}"
    path.write_bytes(zip_bytes(members) if make == "zip" else tar_bytes(members))
    assert in_folders(path)
    for one, two in zip(read(path), read(folder), strict=True):
        assert (one.split, one.label) == (two.split, two.label)
        np.testing.assert_array_equal(one.pixels, two.pixels)


def test_empty_class(tmp_path: Path) -> None:
    write_folders(tmp_path)
    for file in (tmp_path / "test" / FOLDERS[1]).iterdir():
        file.unlink()
    assert "test has no image of the class Disgust" in fault(tmp_path)


def test_unknown_class_and_missing_split(tmp_path: Path) -> None:
    write_folders(tmp_path / "a")
    (tmp_path / "a" / "train" / "bored").mkdir()
    (tmp_path / "a" / "train" / "bored" / "x.jpg").write_bytes(b"x")
    assert "'train/bored' is not named after a class" in fault(tmp_path / "a")
    (tmp_path / "b" / "angry").mkdir(parents=True)
    (tmp_path / "b" / "angry" / "x.jpg").write_bytes(b"x")
    assert "not below a folder named train" in fault(tmp_path / "b")
    (tmp_path / "c").mkdir()
    assert "no image" in fault(tmp_path / "c")


def png(height: int, width: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08" + bytes(12) + b"IEND"


def encoded(kind: str) -> bytes:
    return cv2.imencode(kind, face(1))[1].tobytes()


BAD_IMAGES = {
    "text": (b"not an image", "unreadable image"),
    "empty": (b"", "an empty file"),
    "cut-off JPEG": (encoded(".jpg")[:-200], "cut off"),
    "cut-off PNG": (encoded(".png")[:-200], "cut off"),
    "900 megapixels": (png(30_000, 30_000), "30,000 x 30,000"),
    "damaged": (png(48, 48), "damaged"),
    "cut-off BMP": (encoded(".bmp")[:100], "unreadable image"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_image_is_named(tmp_path: Path, name: str) -> None:
    content, expected = BAD_IMAGES[name]
    write_folders(tmp_path)
    bad = tmp_path / "train" / "HAPPY" / "b.jpg"
    bad.write_bytes(content)
    message = fault(tmp_path)
    assert str(bad) in message and expected in message


@pytest.mark.parametrize("kind", [".jpg", ".png", ".bmp"])
def test_image_size_is_told_without_decoding(kind: str) -> None:
    file = cv2.imencode(kind, np.zeros((31, 57, 3), np.uint8))[1].tobytes()
    assert image_size(file) == (31, 57)
    assert face_of(decode_image(file)).shape == (48, 48)
    assert decode_image(file, colour=True).shape == (31, 57, 3)
    # Phones append films and more to a photo.
    assert (decode_image(file + b"film" * 4096) == decode_image(file)).all()


def test_what_libraries_say_of_an_image_is_its_own_in_threads_too(capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 200), np.uint8)
    good = cv2.imencode(".jpg", noise)[1].tobytes()
    half = good[: len(good) // 2] + good[-2:]  # whole by its end

    def refused(file: bytes) -> bool:
        try:
            return decode_image(file) is None
        except ValueError:
            return True

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(refused, [good, half] * 100)) == [False, True] * 100
    os.write(2, b"here still")
    assert capfd.readouterr().err == "here still"


def test_the_end_of_a_thumbnail_is_not_that_of_the_photo() -> None:
    thumbnail = cv2.imencode(".jpg", np.zeros((4, 4), np.uint8))[1].tobytes()
    photo = cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = photo[:2] + segment + photo[2:]
    assert decode_image(whole).shape == (64, 64)
    with pytest.raises(ValueError, match="cut off"):
        decode_image(whole[:-2])


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_in_words(tail: bytes) -> None:
    for head in (b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b""):
        with pytest.raises(ValueError):
            decode_image(head + tail)


def test_source_hash_sees_names_and_contents(tmp_path: Path) -> None:
    write_folders(tmp_path / "faces")
    before = source_sha256(tmp_path / "faces")
    file = tmp_path / "faces" / "train" / "HAPPY" / "a.jpg"
    renamed = file.rename(file.with_name("c.jpg"))
    changed = source_sha256(tmp_path / "faces")
    renamed.rename(file)
    assert changed != before == source_sha256(tmp_path / "faces")
