"""Classes of one's own: sources of any classes, their splits, and nets and reports of as many outputs."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from sample_csv import face, text

from fer import cli
from fer.data.classes import CLASSES, SEVEN, ClassTable, read_classes
from fer.data.dataset import SPLITS
from fer.data.divide import divide, divide_groups
from fer.data.manifest import Manifest, read_manifest
from fer.errors import FerError, UsageError
from fer.formats.database import Database
from fer.formats.prototxt import read_net
from fer.nets.catalog import copy_net
from fer.nets.deploy import derive_deploy
from fer.nets.heads import heads
from fer.nets.shapes import infer_shapes
from fer.nets.zoo import find_net, net_names

EIGHT = ("Neutral", "Happy", "Surprise", "Sad", "Angry", "Disgust", "Fear", "Contempt")


def write_folders(
    root: Path, classes: Sequence[str], splits: Sequence[str] = ("train", "test"), count: int = 2
) -> Path:
    """Images of each class, called S000_0.png, S001_1.png, ... after seven persons."""
    number = 0
    for split in splits:
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for place in range(count):
                number += 1
                cv2.imwrite(str(folder / f"S{place % 7:03d}_{place}.png"), face(number))
    return root


def write_csv(
    path: Path, labels: Sequence[str], usages: Sequence[str] = ("Training", "PublicTest", "PrivateTest")
) -> Path:
    """A row of each label for each usage; no column Usage without usages."""
    rows = ["emotion,pixels" + ",Usage" * bool(usages)]
    for number, label in enumerate(labels):
        for part, usage in enumerate(usages or [""]):
            rows.append(f"{label},{text(face(3 * number + part))}" + f",{usage}" * bool(usages))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def prepared(source: Path, *options: str) -> Manifest:
    out = source.parent / "out"
    assert cli.main(["prepare", str(source), "--out", str(out), "--force", *options]) == 0
    return read_manifest(out)


def refused(source: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    out = source.parent / "refused"
    assert cli.main(["prepare", str(source), "--out", str(out), *options]) in (1, 2) and not out.exists()
    return capsys.readouterr().err


# ---- what the classes are


@pytest.mark.parametrize("classes", [("smile", "no smile"), ("7", "1", "10"), ("Ärger", "žal", "喜び"), tuple("zyxwv")])
def test_folders_of_any_names_are_classes_sorted_by_name(tmp_path: Path, classes: tuple[str, ...]) -> None:
    manifest = prepared(write_folders(tmp_path / "faces", classes))
    assert manifest.classes == tuple(sorted(classes))
    assert manifest.splits["train"].class_counts == (2,) * len(classes)
    assert any("classes by folder name" in note for note in manifest.notes)


@pytest.mark.parametrize(
    "names",
    [
        ("anger", "Disgusted", "fearful", "HAPPINESS", "sadness", "surprised", "normal"),
        ("6_neutral", "0_angry", "1_disgust", "2_fear", "3_happy", "4_sad", "5_surprise"),
    ],
)
def test_the_seven_by_any_name_are_in_fer2013s_order(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert prepared(write_folders(tmp_path / "faces", names)).classes == CLASSES


def test_an_eighth_class_in_each_split_is_a_class(tmp_path: Path) -> None:
    names = [name.lower() for name in EIGHT]
    assert prepared(write_folders(tmp_path / "faces", names)).classes == tuple(sorted(names))


def test_named_classes_are_in_their_order(tmp_path: Path) -> None:
    source = write_folders(tmp_path / "faces", ["happiness", "contempt", "sadness"])
    labels = tmp_path / "labels.txt"
    labels.write_text("Sad\r\nContempt\r\nHappy\r\n\r\n", encoding="utf-8-sig")
    manifest = prepared(source, "--classes", str(labels))
    assert manifest.classes == ("Sad", "Contempt", "Happy")
    with Database(tmp_path / "out" / "train_lmdb") as database:
        found = {label for _, _, label in database}
    assert found == {0, 1, 2}
    for listed in ("Sad, Contempt, Happy", '["Sad", "Contempt", "Happy"]', "# of mine\nSad\nContempt\nHappy"):
        labels.write_text(listed, encoding="utf-16")
        assert read_classes(str(labels)) == ("Sad", "Contempt", "Happy")
    assert prepared(source, "--classes", "Sad,Contempt,Happy").files == manifest.files


@pytest.mark.parametrize("make", [write_folders, None])
def test_codes_that_count_from_1_are_told_what_they_mean(tmp_path: Path, make: object) -> None:
    """RAF-DB's 1 to 7, as folders and as a CSV's column."""
    given = "1=Surprise,2=Fear,3=Disgust,4=Happy,5=Sad,6=Angry,7=Neutral"
    codes = [str(code) for code in range(1, 8)]
    source = write_folders(tmp_path / "faces", codes) if make else write_csv(tmp_path / "faces.csv", codes)
    manifest = prepared(source, "--classes", given)
    assert manifest.classes == ("Surprise", "Fear", "Disgust", "Happy", "Sad", "Angry", "Neutral")
    assert min(manifest.splits["val"].class_counts) == 1


def test_a_csv_of_other_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = write_csv(tmp_path / "words.csv", ["happiness", "Contempt", "sad"])
    assert prepared(words, "--classes", "contempt,happy,sad").classes == ("contempt", "happy", "sad")
    numbers = write_csv(tmp_path / "numbers.csv", ["0", "1.0", "2"])
    assert prepared(numbers, "--classes", "contempt,happy,sad").splits["train"].class_counts == (1, 1, 1)
    assert "emotion 'Contempt' is not one of 0..6" in refused(words, capsys) and "--classes A,B,C" in refused(
        words, capsys
    )
    one = write_csv(tmp_path / "one.csv", ["1", "2", "3"])
    assert "'3' is not one of 0..2 (a, b, c)\nOther classes: " in refused(one, capsys, "--classes", "a,b,c")
    assert "emotion '3' is not one of 1=a, 2=b" in refused(one, capsys, "--classes", "1=a,2=b")
    assert "Training has no image of the class b" in refused(
        write_csv(tmp_path / "gap.csv", ["0", "2"]), capsys, "--classes", "a,b,c"
    )


def test_words_of_fer2013s_classes_in_a_csv(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "words.csv", ["anger", "Disgust", "fear", "happiness", "SAD", "surprise", "neutral"])
    assert prepared(source).classes == CLASSES


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("one", "no such file; give one with a class a line, or names"),
        ("a,,b", "class 2 has no name"),
        ("a,A", "classes differ in capitals or not at all: 'a' and 'A'"),
        ("e\u0301,\u00e9", "differ in capitals or not at all"),
        ("a,b\x1b[2J", r"'b\u001b[2J' holds characters that cannot be seen"),
        (",".join(map(str, range(101))), "101 classes, not 2 to 100"),
        ("1=a,b", "'b' has no key"),
        ("1=a,1=b", "'1' stands for two classes"),
    ],
)
def test_names_that_cannot_be_classes(given: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_classes(given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("cat", "Cat", "dog"), "the folders 'Cat' and 'cat' differ in capitals alone"),
        (("cat", "d\x1bog"), r"'d\u001bog' holds characters that cannot be seen"),
        (tuple(f"c{k:03d}" for k in range(101)), "101 classes, not 2 to 100"),
        (("smile",), "'smile' alone, and a net tells 2 to 100 apart"),
    ],
)
def test_folders_that_cannot_be_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: tuple[str, ...], said: str
) -> None:
    assert said in refused(write_folders(tmp_path / "faces", classes, count=1), capsys)


def test_a_folder_beside_named_classes_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_folders(tmp_path / "faces", ["cat", "dog", "cow"])
    said = refused(source, capsys, "--classes", "cat,dog")
    assert "/cow' is not named after a class\nThe classes are cat, dog" in said


def test_what_a_table_finds() -> None:
    table = ClassTable.of(["Happy", "anger", "Not Sure"])
    asked = ["happiness", " HAPPY ", "Angry", "not sure", "1", "2.0", "sad", "3", ""]
    assert [table.find(text) for text in asked] == [0, 0, 1, 2, 1, 2, None, None, None]
    assert [SEVEN.find(text) for text in ("6", "Normal", "contempt", "0_angry")] == [6, 6, None, None]
    assert [ClassTable.of(["5", "0"]).find(text) for text in ("0", "5", "1")] == [1, 0, None]


# ---- splits


@pytest.mark.parametrize("packed", [False, True])
def test_folders_of_classes_alone_are_divided_by_class(
    tmp_path: Path, packed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_folders(tmp_path / "x", ["CK/happy", "CK/sad", "CK/contempt"], ["."], count=10)
    assert "--split 80/10/10" in refused(source, capsys)
    if packed:
        source = Path(shutil.make_archive(str(tmp_path / "ck"), "zip", source))
    manifest = prepared(source, "--split", "60/30/10")
    assert [manifest.splits[split.folder].class_counts for split in SPLITS] == [(6,) * 3, (3,) * 3, (1,) * 3]
    assert any(
        note.startswith("--split 60/30/10, drawn with seed 0, by class: 18 images in train") for note in manifest.notes
    )
    index = (tmp_path / "out" / "val.txt").read_bytes()
    again = prepared(source, "--split", "60/30/10")
    assert (tmp_path / "out" / "val.txt").read_bytes() == index and again.files == manifest.files
    assert prepared(source, "--split", "60/30/10", "--seed", "1").files != manifest.files


def test_a_person_is_in_one_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_folders(tmp_path / "faces", ["happy", "sad", "contempt"], ["."], count=21)
    manifest = prepared(source, "--split", "60/20/20", "--group", r"^(S\d+)_")
    persons = next(note for note in manifest.notes if "by person" in note).partition("persons: ")[2]
    assert persons in ("4 train, 2 val, 1 test", "4 train, 1 val, 2 test", "5 train, 1 val, 1 test")
    assert "finds no person" in refused(source, capsys, "--split", "60/20/20", "--group", "^(T)")
    assert "give --split" in refused(source, capsys, "--group", "(S)")
    assert "has no group" in refused(source, capsys, "--split", "60/20/20", "--group", "S")
    assert "not a regular expression" in refused(source, capsys, "--split", "60/20/20", "--group", "(")
    assert "finds 1 person(s): too few" in refused(source, capsys, "--split", "60/20/20", "--group", "^(S)")
    # Of the path where the expression has a slash: here each class is a person.
    said = refused(source, capsys, "--split", "60/20/20", "--group", "([a-z]+)/")
    assert "Training has no image of the class" in said


def test_a_csv_without_usage_is_divided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_csv(tmp_path / "own.csv", [str(k % 7) for k in range(35)], usages=())
    assert "--split 80/10/10" in refused(source, capsys)
    assert prepared(source, "--split", "60/20/20").splits["test"].class_counts == (1,) * 7
    assert "has a column Usage" in refused(write_csv(tmp_path / "b.csv", ["0"]), capsys, "--split", "60/20/20")
    assert "a CSV has none" in refused(source, capsys, "--split", "60/20/20", "--group", "(a)")
    folders = write_folders(tmp_path / "divided", ["cat", "dog"])
    assert "has test and train already" in refused(folders, capsys, "--split", "60/20/20")


def test_shares_are_those_of_each_class() -> None:
    labels = np.repeat([0, 1, 2], [100, 31, 3])
    splits = divide(labels, ("a", "b", "c"), (80, 10, 10), seed=3)
    counts = [[int(((labels == label) & (splits == split)).sum()) for split in range(3)] for label in range(3)]
    assert counts == [[80, 10, 10], [25, 3, 3], [1, 1, 1]]
    with pytest.raises(FerError, match="less than three images of b"):
        divide(np.array([0, 0, 0, 1]), ("a", "b"), (80, 10, 10), seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_classes_near_their_shares(seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(60), generator.integers(0, 60, 2940)])  # each person has an image
    labels = generator.choice(5, 3000, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    splits = divide_groups(labels, groups, 5, (80, 10, 10), seed)
    assert all(len(np.unique(splits[groups == group])) == 1 for group in range(60))
    for label in range(5):
        shares = np.bincount(splits[labels == label], minlength=3) / (labels == label).sum()
        assert np.abs(shares - [0.8, 0.1, 0.1]).max() < 0.05
    few = divide_groups(np.zeros(3, int), np.arange(3), 2, (98, 1, 1), seed)
    assert sorted(few.tolist()) == [0, 1, 2]


# ---- nets


@pytest.mark.parametrize("name", net_names())
def test_a_copied_net_has_as_many_outputs(name: str, tmp_path: Path) -> None:
    copy_net(name, tmp_path / "mine", classes=12)
    net, before = read_net(tmp_path / "mine" / "train_val.prototxt"), read_net(find_net(name))
    changed = [k for k, (one, two) in enumerate(zip(net.layer, before.layer, strict=True)) if one != two]
    assert len(changed) == (3 if name.startswith("googlenet") else 1)
    assert set(changed) == {head for made in heads(net).values() for head in made}
    crop = next(layer for layer in net.layer if layer.type == "Data").transform_param.crop_size
    assert infer_shapes(derive_deploy(net, (1, crop, crop))).blobs["prob"] == (1, 12)


CONVOLUTION_HEAD = """name: "Conv"  # num_output: 7
layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 2 backend: LMDB } }
layer { name: "first" type: "Convolution" bottom: "data" top: "first"
  convolution_param { num_output: 7 kernel_size: 3 } }
layer { name: "a" type: "Convolution" bottom: "first" top: "a" convolution_param { kernel_size: 1 num_output: 7 } }
layer { name: "b" type: "Convolution" bottom: "first" top: "b" convolution_param { num_output:7 kernel_size: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }
layer { name: "relu" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "pool" bottom: "label" top: "loss" }
"""


def test_the_heads_of_a_net_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.prototxt"
    own.write_text(CONVOLUTION_HEAD)
    assert cli.main(["nets", str(own), "--copy", str(tmp_path / "mine"), "--classes", "3"]) == 0
    copied = (tmp_path / "mine" / "train_val.prototxt").read_text()
    assert copied == re.sub(r"(name: \"[ab]\".*num_output: ?)7", r"\g<1>3", CONVOLUTION_HEAD)
    own.write_text(CONVOLUTION_HEAD.replace('type: "Eltwise"', 'type: "Concat"'))
    assert cli.main(["nets", str(own), "--copy", str(tmp_path / "again"), "--classes", "3"]) == 1
    assert "'loss' alone: set its size by hand" in capsys.readouterr().err and not (tmp_path / "again").exists()
    assert cli.main(["nets", "lenet", "--classes", "3"]) == 2


def test_a_net_that_does_not_fit_is_told_how_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path / "faces", ["a", "b", "c"])
    assert cli.main(["prepare", "faces", "--out", "data/own"]) == 0
    assert "Next: fer nets lenet --copy mynet --classes 3" in capsys.readouterr().out
    assert cli.main(["train", "lenet", "--data", "data/own"]) == 1
    said = capsys.readouterr().err
    line = (find_net("lenet").read_text().split('name: "ip2"')[0]).count("\n")
    assert f"lenet/train_val.prototxt:{line}: layer 'ip2' gives 7 scores to 'loss' for 3 classes (a, b, c)" in said
    assert "fer nets lenet --copy mynet --classes 3" in said


def test_the_matrix_of_other_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared(write_folders(tmp_path / "faces", ["a", "b\u00e9", "c"]))
    capsys.readouterr()
    for option in ("--data", "--balance"):
        out = tmp_path / f"h{option}.binaryproto"
        assert cli.main(["infogain", str(out), "--smoothing", "0.3", option, str(tmp_path / "out")]) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:3]] == ["a", "b\u00e9", "c"]
