"""Votes on faces: the majority as label, the shares as targets, and the same numbers from both engines."""

import gzip
import re
import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from google.protobuf import text_format
from sample_csv import USAGES, face, text
from training import SOLVER

from fer import cli
from fer.data.manifest import read_manifest
from fer.data.source import open_source
from fer.data.votes import read_votes
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds
from fer.errors import FerError
from fer.formats.database import Database, check_database
from fer.formats.log import parse_log
from fer.formats.prototxt import read_net
from fer.nets.states import SHUFFLE, State, filter_net
from fer.nets.vote_loss import with_votes
from fer.nets.zoo import find_net, net_names
from fer.schema import caffe_pb2
from fer.system.workers import Workers

COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
OF_COLUMN = (6, 3, 5, 4, 0, 1, 2, 0)  # FER2013's labels for them, contempt called angry


def rows(count: int) -> list[list[int]]:
    """Ten votes each, most of them for one class, every class in turn."""
    generator = np.random.default_rng(5)
    made = []
    for k in range(count):
        votes = generator.multinomial(4, [0.1] * 10)
        votes[k % 8] += 6
        made.append(votes.tolist())
    return made


def write(folder: Path, votes: Sequence[Sequence[int]], *, labels: Sequence[int] | None = None) -> tuple[Path, Path]:
    """A CSV of faces, a third of each usage in Kaggle's order, and its votes as FER+ writes them."""
    usages = [USAGES[3 * k // len(votes)] for k in range(len(votes))]
    labels = labels or [OF_COLUMN[int(np.argmax(each[:8]))] for each in votes]
    faces = [f"{label},{text(face(k))},{usages[k]}" for k, label in enumerate(labels)]
    (folder / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *faces]) + "\n")
    lines = [",".join(["Usage", "Image name", *COLUMNS])]
    lines += [
        ",".join([usages[k], "" if each[9] > 5 else f"fer{k:07d}.png", *map(str, each)]) for k, each in enumerate(votes)
    ]
    (folder / "fer2013new.csv").write_text("\n".join(lines) + "\n")
    return folder / "fer2013.csv", folder / "fer2013new.csv"


def prepare(source: Path, votes: Path, *options: str) -> int:
    out = source.parent / "data"
    return cli.main(["prepare", str(source), "--votes", str(votes), "--out", str(out), "--force", *options])


def test_the_majority_is_the_label_and_the_shares_are_targets(tmp_path: Path) -> None:
    votes = rows(72)
    assert prepare(*write(tmp_path, votes), "--shuffle", "--augment", "1") == 0
    data = tmp_path / "data"
    manifest = read_manifest(data)
    assert manifest.classes == COLUMNS[:8] and manifest.splits["val"].class_counts == (3,) * 8
    assert any("source's own label in " in note for note in manifest.notes)
    for split, part in (("train", votes[:24]), ("val", votes[24:48]), ("test", votes[48:])):
        info = check_database(data / f"{split}_votes_lmdb", 8)
        assert info.shape == (8, 1, 1) and info.floats and f"{split}_votes_lmdb/data.mdb" in manifest.files
        with Database(data / f"{split}_votes_lmdb") as shares, Database(data / f"{split}_lmdb") as images:
            found = list(zip(shares.floats(), images, strict=True))
        assert len(found) == len(part) * (2 if split == "train" else 1)
        for (key, values, label), (image_key, _, image_label) in found:
            assert key == image_key and label == image_label
            row = part[int(re.findall(r"_(\d+)", key)[0])][:8]
            assert values.ravel().tolist() == pytest.approx([each / sum(row) for each in row]) and label == np.argmax(
                row
            )


def pack(file: Path, kind: str) -> Path:
    """The CSV as it is passed on."""
    text, packed = file.read_bytes(), file.with_name(f"votes{kind}")
    match kind:
        case ".csv.gz":
            packed.write_bytes(gzip.compress(text))
        case ".zip":
            with zipfile.ZipFile(packed, "w") as archive:
                archive.writestr("ferplus/fer2013new.csv", text)
        case ".tar.xz":
            with tarfile.open(packed, "w:xz") as tar:
                tar.add(file, file.name)
        case _:
            packed.write_bytes(text.decode().replace("\n", "\r\n").encode("utf-16"))
    return packed


@pytest.mark.parametrize("kind", [".csv.gz", ".zip", ".tar.xz", " of Excel.csv"])
def test_votes_are_read_as_other_csvs_are(kind: str, tmp_path: Path) -> None:
    _, file = write(tmp_path, rows(24))
    packed = read_votes(pack(file, kind), None, 1)
    assert (packed.counts == read_votes(file, None, 1).counts).all() and packed.table.names == COLUMNS[:8]


def test_a_damaged_archive_of_votes_is_refused(tmp_path: Path) -> None:
    packed = pack(write(tmp_path, rows(24))[1], ".csv.gz")
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(FerError, match=r"votes\.csv\.gz: the archive is truncated or damaged"):
        read_votes(packed, None, 1)


def test_a_quotation_mark_left_open_is_told(tmp_path: Path) -> None:
    _, file = write(tmp_path, rows(6000))
    file.write_text(file.read_text().replace("\nTraining,", '\n"Training,', 1))
    with pytest.raises(FerError, match="quotation mark"):
        read_votes(file, None, 1)


def test_the_folders_of_ferplus_are_told_what_to_give_instead(tmp_path: Path) -> None:
    for part in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        (tmp_path / "data" / part).mkdir(parents=True)
        (tmp_path / "data" / part / "label.csv").write_text('fer0000000.png,"(0, 0, 48, 48)",4,0,0,1,3,2,0,0,0,0\n')
        cv2.imwrite(str(tmp_path / "data" / part / "fer0000000.png"), face(1).reshape(48, 48))
    with pytest.raises(FerError, match=r"as FER\+ is.*\n.* --votes fer2013new\.csv"), Workers(1) as workers:  # noqa: SIM117
        with open_source(tmp_path / "data", workers):
            pass


def test_faces_without_a_majority_are_left_out(tmp_path: Path) -> None:
    votes = rows(72)
    votes[0] = [0, 0, 0, 0, 0, 0, 0, 0, 9, 1]  # unknown
    votes[1] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 9]  # not a face
    votes[2] = [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]
    votes[3] = [0] * 10
    votes[8] = [4, 3, 1, 1, 1, 0, 0, 0, 0, 0]
    source, file = write(tmp_path, votes)
    assert prepare(source, file, "--min-votes", "5") == 0
    notes = read_manifest(tmp_path / "data").notes
    reasons = (
        "1 without a vote, 1 with equal votes for two, 1 mostly unknown, 1 mostly NF, 1 with less than 5 votes for one"
    )
    assert any(note.startswith(f"left out by the votes: 5 images ({reasons}") for note in notes)
    assert prepare(source, file, "--classes", "Happy,Neutral,Surprise,Sad,Fear,Disgust,Angry") == 0
    manifest = read_manifest(tmp_path / "data")
    assert manifest.classes[:2] == ("Happy", "Neutral") and any("mostly contempt" in note for note in manifest.notes)
    assert cli.main(["prepare", str(source), "--votes", str(file), "--out", str(tmp_path / "data")]) == 1, (
        "other options"
    )


def test_votes_of_other_rows_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    votes = rows(72)
    source, file = write(tmp_path, votes)
    lines = file.read_text().splitlines()

    def said(*changed: str, options: Sequence[str] = ()) -> str:
        file.write_text("\n".join(changed or lines) + "\n")
        assert prepare(source, file, *options) == 1 and not (tmp_path / "data").exists()
        return " ".join(capsys.readouterr().err.split())

    assert "72 rows, where" in said(*lines, lines[-1].replace("fer0000071", "fer0000072")) and "joined" in said(
        *lines, lines[-1].replace("fer0000071", "")
    )
    assert "more than the 71 rows of" in said(*lines[:-1])
    assert "fer0000002.png in row 1 from 0: rows are missing or in another order" in said(
        lines[0], lines[1], *lines[3:]
    )
    assert "row 24 is PublicTest," in said(*lines[:24], lines[24].replace("Training", "PublicTest"), *lines[25:])
    assert "new.csv:3: happiness '-1' is not a whole number" in said(lines[0], lines[1], "Training,,1,-1" + ",0" * 8)
    assert "new.csv:2: 3 columns, where the header has 12" in said(lines[0], "Training,,1")
    assert "a web page, not the download" in said("<!DOCTYPE html>", "<html>")
    assert "the file is empty" in said("")
    assert "not one column of votes for calm" in said(options=["--classes", "neutral,calm"])
    file.write_text("\n".join([lines[0], *(f"{line}.0" for line in lines[1:])]))  # as pandas writes a column with a gap
    assert prepare(source, file) == 0
    shutil.rmtree(tmp_path / "data")
    capsys.readouterr()
    strange = write(tmp_path, votes, labels=[(OF_COLUMN[k % 8] + 2) % 7 for k in range(72)])
    assert prepare(*strange) == 1
    assert "hardly more than by chance" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(set(net_names()) - {"tang"}))
def test_a_net_for_votes_is_tested_as_before(name: str) -> None:
    path = find_net(name)
    text = path.read_text()
    changed = with_votes(text, read_net(path))
    net = parsed(changed)
    assert filter_net(net, State("TEST")).layer[1:-1] == filter_net(read_net(path), State("TEST")).layer[1:-1]
    losses = [
        layer
        for layer in filter_net(net, State("TRAIN", ("batch100",))).layer
        if layer.loss_weight or layer.type.endswith("Loss")
    ]
    before = [
        layer
        for layer in filter_net(read_net(path), State("TRAIN", ("batch100",))).layer
        if layer.type.endswith("Loss")
    ]
    assert [layer.type for layer in losses] == ["Reduction"] * len(before)
    assert [layer.loss_weight[0] for layer in losses] == [
        layer.loss_weight[0] if layer.loss_weight else 1 for layer in before
    ]
    assert [layer.top[0] for layer in losses] == [layer.top[0] for layer in before]


def parsed(text: str) -> caffe_pb2.NetParameter:
    return text_format.Parse(text, caffe_pb2.NetParameter())


def test_a_net_with_another_loss_is_not_made_for_votes() -> None:
    path = find_net("tang")
    with pytest.raises(FerError, match="'loss' is HingeLoss; votes replace SoftmaxWithLoss alone"):
        with_votes(path.read_text(), read_net(path))


SMALL = """name: "Small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 } data_param { source: "train_lmdb" backend: LMDB batch_size: 7 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 } data_param { source: "val_lmdb" backend: LMDB batch_size: 8 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SIGMOID = """
layer { name: "votes" type: "Data" top: "votes" include { phase: TRAIN }
  data_param { source: "train_votes_lmdb" backend: LMDB batch_size: 7 } }
layer { name: "flat" type: "Flatten" bottom: "votes" top: "flat" include { phase: TRAIN } }
layer { name: "sigmoid" type: "SigmoidCrossEntropyLoss" bottom: "ip" bottom: "flat" top: "loss"
  include { phase: TRAIN } }
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("votes")
    assert prepare(*write(folder, rows(72))) == 0
    own = folder / "small.prototxt"
    own.write_text(SMALL)
    (folder / "softmax.prototxt").write_text(with_votes(SMALL, read_net(own)))
    of_test = SMALL.replace('top: "loss" }', 'top: "loss" include { phase: TEST } }')
    (folder / "sigmoid.prototxt").write_text(of_test + SIGMOID)
    lines = dict(line.split(": ", 1) for line in SOLVER.splitlines())
    lines |= {
        "max_iter": "12",
        "snapshot": "6",
        "test_iter": "3",
        "test_interval": "6",
        "display": "1",
        "average_loss": "1",
    }
    (folder / "solver.prototxt").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return folder


def losses(folder: Path, name: str, engine: str, run: str, *options: str) -> list[float]:
    words = [
        "--net",
        f"{name}.prototxt",
        "--solver",
        "solver.prototxt",
        "--engine",
        engine,
        "--name",
        run,
        "--seed",
        "1",
    ]
    assert cli.main(["train", *words, "--data", "data", *options]) == 0
    return [record.loss for record in parse_log(folder / "runs" / run / "train.log").records if record.loss is not None]


@pytest.mark.full
@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_both_engines_give_equal_numbers(
    name: str, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    caffe = losses(trained, name, "caffe", f"{name}-caffe")
    assert len(caffe) >= 12 and caffe[-1] < caffe[0]
    weights = str(next((trained / "runs" / f"{name}-caffe" / "snapshots").glob("*_iter_6.caffemodel")))
    both = [
        losses(trained, name, engine, f"{name}-{engine}-on", "--weights", weights) for engine in ("pytorch", "caffe")
    ]
    assert both[0] == pytest.approx(both[1], rel=2e-5)
    assert cli.main(["report", f"runs/{name}-caffe"]) == 0
    model, photo = f"{name}-model", str(next((trained / "data" / "val").glob("*.jpg")))
    assert cli.main(["export", f"runs/{name}-caffe", "--out", model]) == 0
    assert (trained / model / "labels.txt").read_text().split() == list(COLUMNS[:8])
    for directory in (model, f"runs/{name}-caffe"):
        capsys.readouterr()
        assert cli.main(["predict", photo, "--no-detect", "--model", directory]) == 0
        assert capsys.readouterr().out.split()[:8] == list(COLUMNS[:8])


def build(folder: Path, *stages: str) -> Net:
    proto = read_net(folder / "softmax.prototxt")
    for layer in proto.layer:
        if layer.type == "Data":
            layer.data_param.source = str(folder / "data" / layer.data_param.source)
        elif layer.type == "InnerProduct":
            layer.inner_product_param.weight_filler.type = "constant"  # 0
    return Net(proto, Context(phase="TRAIN", seeds=Seeds(1)), state=State("TRAIN", stages))


def test_the_loss_is_cross_entropy_and_votes_stay_with_their_images(trained: Path) -> None:
    with Database(trained / "data" / "train_lmdb") as images, Database(trained / "data" / "train_votes_lmdb") as votes:
        known = {
            image.tobytes(): values.ravel()
            for (_, image, _), (_, values, _) in zip(images, votes.floats(), strict=True)
        }
    orders = []
    for stages in ((), (SHUFFLE,)):
        net = build(trained, *stages)
        seen = []
        for _ in range(6):
            assert float(net.forward().detach()) == pytest.approx(np.log(8), rel=1e-6)
            pixels = (net.blobs["data"] * 256).round().to(dtype=torch.uint8).contiguous().numpy()
            for image, shares in zip(pixels, net.blobs["votes/flat"].numpy(), strict=True):
                np.testing.assert_array_equal(shares, known[image.tobytes()])
                seen.append(image.tobytes())
        orders.append(seen)
    assert orders[0] != orders[1]
