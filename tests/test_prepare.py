"""`prepare`: what is written, and when nothing is to be done."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest
from prepared import gray_image, left_overs, run, snapshot
from sample_csv import rows, write_csv, write_folders

import fer.data.prepare
from fer.data.directory import verify_data
from fer.data.leaks import in_training
from fer.data.manifest import ImageSize, SplitCounts, read_manifest
from fer.engines.interpreter import find_caffe
from fer.errors import FerError
from fer.formats.database import check_database, encode_datum, encode_file_datum, read_mean

SPLITS = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}


def records(path: Path) -> list[tuple[str, bytes]]:
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        return [(key.decode(), value) for key, value in transaction.cursor()]


def index(out: Path, split: str) -> list[tuple[str, int]]:
    lines = (out / f"{split}.txt").read_text().splitlines()
    return [(line.rpartition(" ")[0], int(line.rpartition(" ")[2])) for line in lines]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "fer2013.csv")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data" / "sample"


# ---- what is written ----


def test_folders_and_indexes(source: Path, out: Path) -> None:
    run(source, out)
    for split, usage in SPLITS.items():
        expected = [(label, pixels) for label, pixels, row_usage in rows() if row_usage == usage]
        assert index(out, split) == [(f"{k:05d}.jpg", label) for k, (label, _) in enumerate(expected)]
        assert sorted(path.name for path in (out / split).iterdir()) == [f"{k:05d}.jpg" for k in range(14)]
        for k, (_, pixels) in enumerate(expected):
            image = cv2.imread(str(out / split / f"{k:05d}.jpg"), cv2.IMREAD_UNCHANGED)
            assert image is not None and image.shape == (48, 48)
            assert np.abs(image.astype(int) - pixels).max() <= 3
    assert left_overs(out) == []


def convert_imageset(
    out: Path, split: str, resize: int | None = None, encoded: bool = False
) -> list[tuple[str, bytes]]:
    """What `convert_imageset --gray` makes of the folder and its index, written down from its source."""
    made = []
    for position, (name, label) in enumerate(index(out, split)):
        image = gray_image(out / split / name)
        if resize:
            image = cv2.resize(image, (resize, resize))
        data = (out / split / name).read_bytes()
        datum = encode_file_datum(data, label) if encoded else encode_datum(image[np.newaxis], label)
        made.append((f"{position:08d}_{name}", datum))
    return made


@pytest.mark.parametrize("options", [{}, {"shuffle": True, "seed": 3}, {"resize": 64}, {"encoded": True},
                                     {"jpeg_quality": 60}])  # fmt: skip
def test_databases_are_convert_imagesets(source: Path, out: Path, options: dict[str, Any]) -> None:
    manifest = run(source, out, **options).manifest
    side = options.get("resize", 48)
    assert manifest.image == ImageSize(1, side, side)
    for split in SPLITS:
        expected = convert_imageset(out, split, options.get("resize"), options.get("encoded", False))
        assert records(out / f"{split}_lmdb") == expected
        info = check_database(out / f"{split}_lmdb", 7)
        assert info.count == 14 and info.shape == (1, side, side) and info.label_counts == (2,) * 7


def test_pixels_are_the_decoded_files_and_not_the_sources(source: Path, out: Path) -> None:
    """At quality 60 they differ: a database of the source's own pixels would not be convert_imageset's."""
    run(source, out, jpeg_quality=60)
    stored = records(out / "train_lmdb")[0][1]
    assert stored != encode_datum(rows()[0][1][np.newaxis], rows()[0][0])


def test_encoded_and_resized(source: Path, out: Path) -> None:
    run(source, out, encoded=True, resize=64)
    for split in SPLITS:
        assert check_database(out / f"{split}_lmdb", 7).shape == (1, 64, 64)
    first = records(out / "train_lmdb")[0][1]
    assert first.startswith(b"\x08\x01\x10\x40\x18\x40\x22") and first.endswith(b"\x28\x00\x38\x01")
    assert read_mean(out / "mean.binaryproto").shape == (1, 64, 64)


@pytest.mark.parametrize("options", [{}, {"resize": 64}, {"encoded": True}, {"shuffle": True}])
def test_mean_is_of_the_train_database(source: Path, out: Path, options: dict[str, Any]) -> None:
    run(source, out, **options)
    from fer.formats.database import Database

    with Database(out / "train_lmdb") as database:
        images, _, _ = database.read_all()
    # compute_image_mean sums and divides in float32; sums of bytes are exact there.
    expected = images.astype(np.float32).sum(axis=0) / np.float32(len(images))
    np.testing.assert_allclose(read_mean(out / "mean.binaryproto"), expected, atol=1e-4)


def test_shuffle_reorders_index_and_database_but_not_names(source: Path, out: Path, tmp_path: Path) -> None:
    run(source, out)
    run(source, tmp_path / "b", shuffle=True, seed=1)
    run(source, tmp_path / "c", shuffle=True, seed=2)
    plain, one, two = (index(directory, "train") for directory in (out, tmp_path / "b", tmp_path / "c"))
    assert plain != one != two != plain
    assert sorted(one) == sorted(two) == plain
    assert (out / "train" / "00003.jpg").read_bytes() == (tmp_path / "b" / "train" / "00003.jpg").read_bytes()


def test_drop_leaks(tmp_path: Path, out: Path) -> None:
    data = rows()
    label = data[2][0]
    data.append((label, data[2][1], "Training"))
    manifest = run(write_csv(tmp_path / "a.csv", data), out).manifest
    assert manifest.audit is not None and manifest.audit.test_in_train == 1 and manifest.splits["train"].count == 15
    manifest = run(tmp_path / "a.csv", out, drop_leaks=True).manifest
    assert manifest.splits["train"].count == 14 and manifest.dropped == 1
    assert check_database(out / "train_lmdb", 7).count == 14


def test_class_folders_are_always_shuffled(tmp_path: Path, out: Path) -> None:
    manifest = run(write_folders(tmp_path / "faces"), out).manifest
    labels = [label for _, label in index(out, "train")]
    assert manifest.shuffled and labels != sorted(labels)
    assert {split: part.count for split, part in manifest.splits.items()} == {"train": 14, "val": 7, "test": 7}
    assert run(tmp_path / "faces", out).up_to_date
    (tmp_path / "faces" / "train" / "neutral" / "c.jpg").write_bytes(
        (tmp_path / "faces" / "train" / "neutral" / "a.jpg").read_bytes()
    )
    assert not run(tmp_path / "faces", out).up_to_date


def test_manifest(source: Path, out: Path) -> None:
    outcome = run(source, out, title="drawn")
    manifest = read_manifest(out)
    assert manifest == outcome.manifest and not outcome.up_to_date
    assert manifest.title == "drawn"
    assert manifest.splits["val"] == SplitCounts(14, (2,) * 7)
    assert manifest.source.bytes == source.stat().st_size
    assert re.fullmatch("[0-9a-f]{64}", manifest.source.sha256)
    assert set(manifest.files) == {f"{s}_lmdb/data.mdb" for s in SPLITS} | {f"{s}.txt" for s in SPLITS} | {
        "mean.binaryproto",
        "fingerprints.npz",
    }
    assert run(source, out.parent / "b").manifest.title == "fer2013.csv"


def test_two_runs_write_the_same_bytes(source: Path, out: Path, tmp_path: Path) -> None:
    run(source, out, shuffle=True)
    run(source, tmp_path / "again", shuffle=True)
    one, two = snapshot(out), snapshot(tmp_path / "again")
    first, second = json.loads(one.pop("manifest.json")), json.loads(two.pop("manifest.json"))
    assert one == two
    same = {"created": "", "content_sha256": ""}  # the latter is of the former, too
    assert first | same == second | same


@pytest.mark.full
@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"resize": 64}])
def test_helper_processes_change_nothing(
    source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    run(source, out, **options)
    monkeypatch.setattr(fer.data.prepare, "_SMALL_SOURCE", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    run(source, tmp_path / "helped", **options)
    one, two = snapshot(out), snapshot(tmp_path / "helped")
    assert one.pop("manifest.json") != b"" != two.pop("manifest.json")
    assert one == two


# ---- when nothing is to be done ----


def test_second_run_is_up_to_date(source: Path, out: Path) -> None:
    assert not run(source, out).up_to_date
    before = out.stat().st_ino
    assert run(source, out).up_to_date and out.stat().st_ino == before
    source.touch()
    assert run(source, out).up_to_date
    assert not run(source, out, force=True).up_to_date and out.stat().st_ino != before
    assert left_overs(out) == []


@pytest.mark.parametrize(
    "change",
    [{"jpeg_quality": 90}, {"seed": 1}, {"encoded": True}, {"resize": 64}, {"drop_leaks": True}, {"title": "x"}],
)
def test_other_options_are_another_directory(source: Path, out: Path, change: dict[str, Any]) -> None:
    run(source, out)
    assert not run(source, out, **change).up_to_date
    assert run(source, out, **change).up_to_date


def test_changed_source_is_prepared_again(source: Path, out: Path) -> None:
    run(source, out)
    stamp = source.stat().st_mtime_ns
    source.write_text(source.read_text().replace("Training", "PublicTest", 1))
    assert not run(source, out).up_to_date
    # The same size, later, with other pixels.
    lines = source.read_text().splitlines()
    lines[1], lines[2] = lines[2], lines[1]
    source.write_text("\n".join(lines) + "\n")
    os.utime(source, ns=(stamp, stamp + 10**9))
    assert not run(source, out).up_to_date


DAMAGE: dict[str, Callable[[Path], object]] = {
    "database cut off": lambda out: os.truncate(out / "train_lmdb" / "data.mdb", 50_000),
    "database missing": lambda out: (out / "val_lmdb" / "data.mdb").unlink(),
    "mean grown": lambda out: (out / "mean.binaryproto").write_bytes(b"x" * 10_000),
    "index missing": lambda out: (out / "test.txt").unlink(),
    "image missing": lambda out: (out / "train" / "00003.jpg").unlink(),
    "image empty": lambda out: (out / "val" / "00003.jpg").write_bytes(b""),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_mended(source: Path, out: Path, name: str) -> None:
    run(source, out)
    whole = snapshot(out)
    DAMAGE[name](out)
    with pytest.raises(FerError, match=str(out)):
        verify_data(out)
    assert not run(source, out).up_to_date
    mended = snapshot(out)
    whole.pop("manifest.json"), mended.pop("manifest.json")
    assert mended == whole


def test_one_changed_byte_is_seen(source: Path, out: Path) -> None:
    run(source, out)
    file = out / "test_lmdb" / "data.mdb"
    data = bytearray(file.read_bytes())
    data[-1000] ^= 1
    file.write_bytes(data)
    with pytest.raises(FerError, match=r"test_lmdb/data\.mdb has changed"):
        verify_data(out)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such data directory"),
        ("", "not JSON"),
        ("{}", "the field fer_version is missing"),
        ("[1]", "one JSON object"),
    ],
)
def test_bad_manifest(tmp_path: Path, content: str | None, expected: str) -> None:
    out = tmp_path / "data"
    if content is not None:
        out.mkdir()
        with pytest.raises(FerError, match=r"no manifest\.json"):
            read_manifest(out)
        (out / "manifest.json").write_text(content)
    with pytest.raises(FerError, match=expected):
        read_manifest(out)


# ---- real FER2013 and real Caffe ----


@pytest.mark.full
def test_real_rows(fer2013_csv: Path, out: Path) -> None:
    manifest = run(fer2013_csv, out).manifest
    assert {split: part.count for split, part in manifest.splits.items()} == dict.fromkeys(SPLITS, 200)
    assert manifest.title == "fer2013.csv"
    assert sum(check_database(out / "val_lmdb", 7).label_counts) == 200


@pytest.mark.full
def test_whole_fer2013(fer2013_csv_whole: Path, out: Path) -> None:
    manifest = run(fer2013_csv_whole, out).manifest
    assert manifest.title == "FER2013"
    assert manifest.splits["val"] == SplitCounts(3589, (467, 56, 496, 895, 653, 415, 607))
    assert manifest.audit is not None and manifest.audit.duplicate_groups == 1516
    assert check_database(out / "train_lmdb", 7).label_counts == (3995, 436, 4097, 7215, 4830, 3171, 4965)
    assert {split: len(keys) for split, keys in in_training(out).items()} == {"val": 280, "test": 288}
    assert run(fer2013_csv_whole, out).up_to_date
    dropped = run(fer2013_csv_whole, out, drop_leaks=True).manifest
    assert dropped.audit is not None
    assert dropped.splits["train"].count == 28_709 - dropped.audit.train_leaked
    assert in_training(out) == {"val": [], "test": []}


CAFFE = '''"""Read a data directory with the real Caffe: a Data layer without and with the mean, and pycaffe's Datum."""
import os, sys
os.environ["GLOG_minloglevel"] = "2"
import caffe, numpy as np
from caffe.proto import caffe_pb2
data, out, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
NET = """
layer { name: "data" type: "Data" top: "%(top)s" top: "label%(top)s" %(transform)s
        data_param { source: "%(data)s/train_lmdb" batch_size: %(count)d backend: LMDB } }
"""
mean = 'transform_param { mean_file: "%s/mean.binaryproto" }' % data
text = "".join(NET % dict(top=top, transform=t, data=data, count=count) for top, t in (("raw", ""), ("centred", mean)))
open(out + ".prototxt", "w").write(text)
net = caffe.Net(out + ".prototxt", caffe.TEST)
net.forward()
datum = caffe_pb2.Datum()
datum.channels, datum.height, datum.width = 1, 48, 48
datum.data, datum.label, datum.encoded = net.blobs["raw"].data[0].astype(np.uint8).tobytes(), 0, False
blob = caffe_pb2.BlobProto.FromString(open(data + "/mean.binaryproto", "rb").read())
np.savez(out, raw=net.blobs["raw"].data, label=net.blobs["labelraw"].data, centred=net.blobs["centred"].data,
         datum=np.frombuffer(datum.SerializeToString(), np.uint8), mean=caffe.io.blobproto_to_array(blob))
'''


@pytest.mark.full
@pytest.mark.parametrize("options", [{}, {"encoded": True}, {"shuffle": True}])
def test_real_caffe_reads_it(source: Path, out: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    run(source, out, **options)
    script = tmp_path / "read.py"
    script.write_text(CAFFE)
    caffe = find_caffe()
    done = subprocess.run(
        [caffe.python, script, out, tmp_path / "seen", "14"],
        capture_output=True, text=True, check=False, env=caffe.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    seen = np.load(tmp_path / "seen.npz")
    names = index(out, "train")
    images = np.stack([gray_image(out / "train" / name) for name, _ in names])
    np.testing.assert_array_equal(seen["raw"][:, 0], images)
    assert seen["label"].astype(int).tolist() == [label for _, label in names]
    assert seen["mean"].shape == (1, 1, 48, 48)
    np.testing.assert_allclose(seen["mean"][0, 0], images.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(seen["centred"][:, 0], images - images.mean(axis=0), atol=1e-3)
    assert seen["datum"].tobytes() == encode_datum(images[:1], 0)
