"""Sources as people have them: CSVs that other programs saved, archives that are damaged, folders with all sorts in."""

import bz2
import csv
import gzip
import io
import lzma
import os
import re
import shutil
import socket
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from sample_csv import FOLDERS, csv_text, face, read, rows, text, write_csv, write_folders

from fer import cli
from fer.commands import terminal
from fer.data.image_file import ENDINGS, decode_image
from fer.data.source import Reading, open_source, source_sha256
from fer.errors import FerError
from fer.system.folders import contents
from fer.system.workers import Workers

ROWS = rows(1)
CSV = csv_text(ROWS)


def fault(path: Path) -> str:
    with pytest.raises(FerError) as caught:
        read(path)
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


def assert_is_sample(path: Path) -> None:
    found = read(path)
    assert [(one.label, one.split.value) for one in found] == [(label, usage) for label, _, usage in ROWS]
    np.testing.assert_array_equal([one.pixels for one in found], [pixels for _, pixels, _ in ROWS])


def notes_of(path: Path, seed: int = 0) -> list[str]:
    with Workers(0) as workers, open_source(path, workers, Reading(seed)) as faces:
        list(faces.batches)
        return faces.notes


# ---- the CSV as other programs save it


def saved(pixels: Callable[[np.ndarray], str] = text, label: str = "{}", **how: str | int) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, **how)  # type: ignore[arg-type]  # the reader's own names
    writer.writerow(["emotion", "pixels", "Usage"])
    writer.writerows([label.format(number), pixels(image), usage] for number, image, usage in ROWS)
    return out.getvalue().encode()


def of_numpy(image: np.ndarray) -> str:
    return np.array2string(image, threshold=image.size)


def with_note() -> str:
    head, *lines = CSV.splitlines()
    return "\n".join([f"{head},note", *(f'{line},"a, ""b""\nc\r\nd"' for line in lines)])


FORMS = {
    "UTF-8 with a mark": CSV.encode("utf-8-sig"),
    "UTF-16": CSV.encode("utf-16"),
    "UTF-16 without a mark": CSV.encode("utf-16-le"),
    "UTF-16, big end first": CSV.encode("utf-16-be"),
    "UTF-32": CSV.encode("utf-32"),
    "CRLF": CSV.replace("\n", "\r\n").encode(),
    "CR": CSV.replace("\n", "\r").encode(),
    "semicolons": CSV.replace(",", ";").encode(),
    "tabs": CSV.replace(",", "\t").encode(),
    "icml_face_data's header": CSV.replace("emotion,pixels,Usage", "emotion, pixels, Usage").encode(),
    "all quoted": saved(quoting=csv.QUOTE_ALL),
    "a list": saved(lambda image: str(image.ravel().tolist())),
    "a list, semicolons": saved(lambda image: str(image.ravel().tolist()), delimiter=";"),
    "a tuple": saved(lambda image: str(tuple(image.ravel().tolist()))),
    "lists of rows": saved(lambda image: str(image.tolist())),
    "NumPy's print": saved(lambda image: of_numpy(image.ravel())),
    "NumPy's print of rows": saved(of_numpy),
    "NumPy's print of floats": saved(lambda image: of_numpy(image.astype(float))),
    "floats": saved(lambda image: " ".join(map(str, image.ravel().astype(float).tolist())), label="{}.0"),
    "commas": saved(lambda image: text(image).replace(" ", ",")),
    "pandas' index": "\n".join(f"{k - 1 if k else ''},{line}" for k, line in enumerate(CSV.splitlines())).encode(),
    "a note of commas, quotes and lines": with_note().encode(),
    "bzip2": bz2.compress(CSV.encode()),
    "bzip2 in two streams": bz2.compress(CSV[:70_000].encode()) + bz2.compress(CSV[70_000:].encode()),
    "xz": lzma.compress(CSV.encode()),
    "gzip in two members": gzip.compress(CSV[:70_000].encode()) + gzip.compress(CSV[70_000:].encode()),
}


@pytest.mark.parametrize("block", [1 << 18, 9_973])
@pytest.mark.parametrize("form", FORMS)
def test_legal_csv_is_read(tmp_path: Path, form: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer.data.csv_text._BLOCK", block)
    path = tmp_path / "faces"
    path.write_bytes(FORMS[form])
    assert_is_sample(path)


BAD_FORMS = {
    "NumPy's print, cut short": (saved(lambda image: str(image.ravel())), "cut short by '...'"),
    "fractions": (saved(lambda image: text(image / 255)), "not a whole number from 0 to 255"),
    "a pixel left out of a list": (saved(lambda image: text(image).replace(" ", ",").replace(",", ",,", 1)), "pixel"),
    "a number for each row": (saved(lambda image: "[1] [2]"), "2 pixels, not 2304"),
}


@pytest.mark.parametrize("form", BAD_FORMS)
def test_pixels_that_are_not_whole_are_refused(tmp_path: Path, form: str) -> None:
    content, words = BAD_FORMS[form]
    path = tmp_path / "faces.csv"
    path.write_bytes(content)
    message = fault(path)
    assert f"{path}:2: row 1: " in message and words in message


def test_a_fault_behind_notes_of_several_lines_has_the_files_own_line(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text(with_note().replace("PrivateTest", "Private", 1), encoding="ascii", newline="")
    assert f"{path}:8: row 3: Usage 'Private'" in fault(path)  # two rows of three lines each lie before it


def test_a_folder_or_an_archive_that_holds_the_csv(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write_csv(tmp_path / "in" / "deep" / "fer2013.csv", ROWS)
    (tmp_path / "in" / "train.csv").write_text("emotion,pixels\n")
    (tmp_path / "in" / "overview.png").write_bytes(cv2.imencode(".png", face(1))[1].tobytes())
    assert_is_sample(tmp_path / "in")
    (tmp_path / "in" / "deep" / "fer2013.csv").rename(tmp_path / "in" / "deep" / "mine.csv")
    assert "2 CSV files, none of that name (deep/mine.csv, train.csv)" in fault(tmp_path / "in")
    (tmp_path / "in" / "train.csv").unlink()
    assert_is_sample(tmp_path / "in")
    packed = (tmp_path / "in" / "deep" / "mine.csv").rename(tmp_path / "in" / "deep" / "fer2013.tar.gz")
    assert f"Give {packed}" in fault(tmp_path / "in")


def test_class_folders_beside_a_stray_csv_are_read(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "labels.csv").write_text("a,b\n")
    assert len(read(tmp_path)) == 28
    assert any("1 .csv" in note for note in notes_of(tmp_path))


# ---- archives to their ends


def tar_of(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_class_folders_in_a_zip_with_the_separators_of_windows(tmp_path: Path) -> None:
    folder, path = write_folders(tmp_path / "faces"), tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.*"):
            archive.writestr(str(file.relative_to(tmp_path)).replace("/", "\\"), file.read_bytes())
    assert [one.label for one in read(path)] == [one.label for one in read(folder)]


def zip_of(content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("fer2013.csv", content)
    return out.getvalue()


def flipped(data: bytes, at: int, bits: int = 1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= bits
    return bytes(changed)


def encrypted(data: bytes) -> bytes:
    """A zip whose member says that it is."""
    return flipped(flipped(data, 6), data.rfind(b"PK\x01\x02") + 8)


TAR = tar_of(("fer2013.csv", CSV.encode()))
END = 512 + -(-len(CSV) // 512) * 512  # of the member
TWO = tar_of(("readme", b"x"), ("fer2013.csv", CSV.encode()))
ZIP = zip_of(CSV.encode())
DAMAGED = {
    "gzip's checksum": (flipped(gzip.compress(CSV.encode()), -6), "CRC check failed"),
    "gzip's length": (flipped(gzip.compress(CSV.encode()), -2), "Incorrect length"),
    "gzip's end": (gzip.compress(CSV.encode())[:-5], "truncated or damaged"),
    "behind gzip": (gzip.compress(CSV.encode()) + b"garbage", "other data lies behind its end"),
    "behind bzip2": (bz2.compress(CSV.encode()) + b"garbage", "other data lies behind its end"),
    "behind xz": (lzma.compress(CSV.encode()) + b"garbage", "other data lies behind its end"),
    "a second bzip2 stream's head": (bz2.compress(b"a") + flipped(bz2.compress(b"b"), 0), "behind its end"),
    "a .tar.gz's checksum": (flipped(gzip.compress(TAR), -6), "CRC check failed"),
    "a .tar.gz behind the tar's end": (gzip.compress(TAR)[:-9], "truncated or damaged"),
    "a tar's member": (TAR[: END - 700], "unexpected end"),
    "a tar's end mark": (TAR[:END], "its end mark is missing"),
    "a tar's second header": (flipped(TWO, 1034), "its end mark is missing"),
    "two tars": (TAR + TAR, "other data lies behind its end mark"),
    "a zip's member": (flipped(zip_of(CSV.encode(), zipfile.ZIP_STORED), 5_000), "Bad CRC-32"),
    "a zip of LZMA": (flipped(zip_of(CSV.encode(), zipfile.ZIP_LZMA), 60), "truncated or damaged"),
    "a zip's directory": (ZIP[:-30], "truncated or damaged"),
    "a zip's beginning": (ZIP[60:].join([b"PK\x03\x04", b""]), "truncated or damaged"),
    "encrypted": (encrypted(ZIP), "is encrypted"),
    "Zstandard": (b"\x28\xb5\x2f\xfd" + bytes(20), "unzstd"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c" + bytes(20), "7z x"),
    "a web page": (b"<!doctype html><html>", "a web page, not the download"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_archive_is_refused(tmp_path: Path, name: str) -> None:
    content, words = DAMAGED[name]
    path = tmp_path / "faces"
    path.write_bytes(content)
    message = fault(path)
    assert str(path) in message and words in message and len(message) < 400


def test_hard_links_in_a_tar_are_the_files_that_they_are(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "faces")
    twin = folder / "train" / "HAPPY" / "twin.jpg"
    twin.hardlink_to(folder / "train" / "HAPPY" / "a.jpg")
    with tarfile.open(tmp_path / "faces.tar", "w") as archive:
        archive.add(folder, "faces")
    assert len(read(tmp_path / "faces.tar")) == len(read(folder)) == 29


# ---- class folders with all sorts of files in them


def test_images_of_every_ending_are_read(tmp_path: Path) -> None:
    write_folders(tmp_path)
    for number, ending in enumerate(ENDINGS):
        name = f"{number}{ending.upper() if number % 2 else ending}"
        kind = {".jfif": ".jpg", ".j2k": ".jp2"}.get(ending, ending)
        image = face(number) if ending in (".pbm", ".pgm") else cv2.cvtColor(face(number), cv2.COLOR_GRAY2BGR)
        (tmp_path / "train" / "HAPPY" / name).write_bytes(cv2.imencode(kind, image)[1].tobytes())
    assert len(read(tmp_path)) == 28 + len(ENDINGS)


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    write_folders(tmp_path / "faces")
    happy, jpg = tmp_path / "faces" / "train" / "HAPPY", cv2.imencode(".jpg", face(1))[1].tobytes()
    for name in ("._a.jpg", "Thumbs.db", ".DS_Store", "a.heic", "b.HEIC", "notes.txt", "README", "../sample.jpg"):
        (happy / name).write_bytes(jpg)
    (happy / "deep").mkdir()
    (happy / "deep" / "d.jpg").write_bytes(jpg)
    os.mkfifo(happy / "pipe.jpg")
    (happy / "itself.jpg").symlink_to("itself.jpg")
    (happy / "lost.jpg").symlink_to("nothing.jpg")
    (happy / "loop").symlink_to(tmp_path / "faces")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(happy / "s.jpg"))
    assert len(read(tmp_path / "faces")) == 29
    notes = "\n".join(notes_of(tmp_path / "faces"))
    for words in (
        "2 .heic, 1 without an ending, 1 .txt (train/HAPPY/README, ...)",
        "beside the class folders: 1 image (train/sample.jpg)",
        "pipe.jpg (a named pipe)",
        "s.jpg (a socket)",
        "itself.jpg (a link that leads to itself)",
        "lost.jpg (a link to nothing)",
        "loop (a link to a folder that it lies in)",
        "hidden: 3 ",
        "28 images resized to 48 x 48, from 50 x 60, 28 of them squeezed to squares",
        "no folder validation: test was halved by class, drawn with seed 0: 7 images in val, 7 in test",
    ):
        assert words in notes, words
    assert source_sha256(tmp_path / "faces")


def test_a_data_set_that_lies_twice_in_its_archive(tmp_path: Path) -> None:
    write_folders(tmp_path / "images")
    shutil.copytree(tmp_path / "images", tmp_path / "images" / "images")
    where = "images/images/test/Disgusted and images/test/Disgusted"
    assert f"28 images of the same name in several folders, all were read: {where}" in notes_of(tmp_path)


def test_a_file_too_large_for_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folders(tmp_path / "faces")
    monkeypatch.setattr("fer.data.image_file.MAX_FILE", 100)
    assert "more than 100 are not read" in fault(tmp_path / "faces")
    with tarfile.open(tmp_path / "faces.tar", "w") as archive:
        archive.add(tmp_path / "faces", "faces")
    assert f"{tmp_path}/faces.tar/faces/" in fault(tmp_path / "faces.tar")


def test_linked_class_folders_are_read_once(tmp_path: Path) -> None:
    write_folders(tmp_path / "real")
    (tmp_path / "linked").mkdir()
    for split in ("train", "test"):
        (tmp_path / "linked" / split).symlink_to(tmp_path / "real" / split)
    assert len(read(tmp_path / "linked")) == 28
    (tmp_path / "linked" / "again").symlink_to(tmp_path / "real" / "test")
    assert len(contents(tmp_path / "linked").files) == 28
    assert "a link to a folder that is read already" in contents(tmp_path / "linked").odd.values()


def test_an_image_in_a_folder_of_no_class_is_not_passed_over(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "train" / "contempt").mkdir()
    (tmp_path / "train" / "contempt" / "a.jpg").write_bytes(cv2.imencode(".jpg", face(1))[1].tobytes())
    assert "'train/contempt' is not named after a class" in fault(tmp_path)


def test_train_and_validation_alone(tmp_path: Path) -> None:
    write_folders(tmp_path / "images")
    (tmp_path / "images" / "test").rename(tmp_path / "images" / "validation")
    found = read(tmp_path)
    assert [sum(one.split.folder == split for one in found) for split in ("train", "val", "test")] == [14, 7, 7]
    assert "no folder test: validation was halved by class, drawn with seed 0: 7 images in val, 7 in test" in notes_of(
        tmp_path
    )
    assert [one.split for one in read(tmp_path, 1)] != [one.split for one in found]
    for folder in FOLDERS:
        (tmp_path / "images" / "validation" / folder / "im2.jpg").unlink()
    assert "validation has one image of Angry: too few to share" in fault(tmp_path)
    (tmp_path / "images" / "validation").rename(tmp_path / "elsewhere")
    for folder in FOLDERS:
        (tmp_path / "elsewhere" / folder / "im1.jpg").unlink()
    assert "no folder validation and no folder test with images" in fault(tmp_path)


# ---- images that are not what they seem


def sixteen(top: int) -> np.ndarray:
    return (face(3).astype(np.uint16) * (top // 255)).astype(np.uint16)


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


BAD_PIXELS = {
    "12 bits in a 16-bit PNG": (cv2.imencode(".png", sixteen(4095))[1].tobytes(), "fewer bits, stored in 16"),
    "10 bits in a 16-bit TIFF": (cv2.imencode(".tiff", sixteen(1023))[1].tobytes(), "fewer bits, stored in 16"),
    "floats": (cv2.imencode(".tiff", face(1).astype(np.float32))[1].tobytes(), "its pixels are float32 numbers"),
    "a PGM up to 15": (b"P5\n48 48\n15\n" + bytes(48 * 48), "from 0 to 15"),
    "a JPEG cut, with an end": (jpeg(face(1))[:600] + b"\xff\xd9", "a part of it is missing"),
    "a PNG whose chunk claims 500 MB": (
        flipped(cv2.imencode(".png", face(1))[1].tobytes(), 33, 0x1E),
        "the file is cut off",
    ),
    "a HEIC": (b"\0\0\0\x18ftypheic" + bytes(40), "a HEIC photo"),
    "a web page": (b"<!DOCTYPE html><p>", "a web page"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    "a TIFF of 30,000 x 30,000": (
        b"II*\0\x08\0\0\0\x02\0"
        + b"".join(
            number.to_bytes(2, "little") + b"\x04\0\x01\0\0\0" + (30_000).to_bytes(4, "little") for number in (256, 257)
        )
        + bytes(4),
        "30,000 x 30,000",
    ),
    "a GIF of 65,535 x 65,535": (b"GIF89a\xff\xff\xff\xff" + bytes(20), "65,535 x 65,535"),
    "a WebP of 16,384 x 16,384": (b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\xff\x3f\0\xff\x3f\0", "16,384 x 16,384"),
    "a PPM of 10^9 x 10^9": (b"P6 999999999 999999999 255 ", "999,999,999 x"),
}


@pytest.mark.parametrize("name", BAD_PIXELS)
def test_pixels_that_would_be_wrong_are_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    file, words = BAD_PIXELS[name]
    with pytest.raises(ValueError) as caught:
        decode_image(file)
    assert words in str(caught.value)
    assert capfd.readouterr().err == ""  # libjpeg and libtiff have words of their own


def test_sixteen_bits_are_scaled_to_eight() -> None:
    file = cv2.imencode(".png", sixteen(65_535))[1].tobytes()
    np.testing.assert_array_equal(decode_image(file), face(3))
    assert decode_image(cv2.imencode(".png", np.zeros((48, 48), np.uint16))[1].tobytes()).max() == 0


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    write_folders(tmp_path)
    frames = [cv2.cvtColor(face(number), cv2.COLOR_GRAY2BGR) for number in (1, 2)]
    kept = cv2.imencode(".png", frames[0])[1].tobytes()
    assert cv2.imwritemulti(str(tmp_path / "train" / "HAPPY" / "pages.tiff"), frames)
    pages = (tmp_path / "train" / "HAPPY" / "pages.tiff").read_bytes()
    np.testing.assert_array_equal(decode_image(pages), decode_image(kept))
    assert any("1 image with several frames or pages" in note for note in notes_of(tmp_path))


# ---- how far it is


def test_progress_is_told_in_images_of_folders_and_in_bytes_of_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "PLAIN_LINE_SECONDS", 0.0)
    write_folders(tmp_path / "faces")
    (tmp_path / "in").mkdir()
    write_csv(tmp_path / "in" / "fer2013.csv", ROWS)
    for source in ("faces", "in"):
        assert cli.main(["prepare", str(tmp_path / source), "--out", str(tmp_path / "data" / source)]) == 0
    told = capsys.readouterr().err
    assert re.search(r"^decoding: 28/28 images, [\d,.]+ images/s", told, re.MULTILINE)
    assert re.search(r"^reading: \d+/\d+ MB, [\d,.]+ MB/s", told, re.MULTILINE)
    assert re.search(r"^writing: [\d,]+/[\d,]+ images, ", told, re.MULTILINE)
