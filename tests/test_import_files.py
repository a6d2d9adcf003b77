"""What fer import is given: what each file is taken for, archives, names of classes, means. No engine, no Caffe."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import cv2
import elsewhere
import numpy as np
import pytest

from fer import cli
from fer.data.class_names import class_order, names_in, read_labels
from fer.errors import FerError
from fer.formats.blobs import from_blob, to_blob, varint
from fer.formats.database import write_mean
from fer.formats.hdf5 import MAGIC
from fer.formats.log import parse_log
from fer.formats.mean import find_mean
from fer.formats.prototxt import read_solver
from fer.imports.chosen import choose_mean
from fer.imports.given import Given, GivenFile, given_files
from fer.imports.heads import Heads, find_heads
from fer.imports.importing import copy_matrices
from fer.imports.logs import training_log
from fer.imports.parts import Options, Parts, find_parts, number_in
from fer.imports.recognise import Kind, kind_of
from fer.imports.snapshots import find_pairs
from fer.nets.infogain import read_infogain, write_infogain
from fer.nets.states import State
from fer.schema import caffe_pb2

CLASSES = elsewhere.CLASSES
GOLDEN = Path(__file__).parent / "golden"


def write_weights(path: Path, order: tuple[int, ...] = tuple(range(7)), seed: int = 1) -> Path:
    """A .caffemodel of the layers of `elsewhere`, for an input of 44 x 44, its classes in this order."""
    generator = np.random.default_rng(seed)
    shapes = {"conv": ((4, 1, 5, 5), (4,)), "ip": ((7, 784), (7,))}
    net = caffe_pb2.NetParameter(name="Theirs")
    for name, each in shapes.items():
        layer = net.layer.add(name=name, type={"conv": "Convolution", "ip": "InnerProduct"}[name])
        for shape in each:
            blob = generator.normal(0, 0.05, shape).astype(np.float32)
            layer.blobs.append(to_blob(blob[list(order)] if name == "ip" else blob))
    path.write_bytes(net.SerializeToString())
    return path


def write_all(folder: Path) -> dict[str, Kind | None]:
    """Files of every kind, under names that say nothing; and what each is."""
    write_weights(folder / "a")
    state = caffe_pb2.SolverState(iter=20, learned_net="a", current_step=0, history=[to_blob(np.ones(3))])
    (folder / "b").write_bytes(state.SerializeToString())
    write_mean(folder / "c", np.ones((1, 48, 48)))
    np.save(folder / "d.npy", np.ones((1, 48, 48)))
    (folder / "e").write_text(elsewhere.v1_net())
    (folder / "f").write_text(elsewhere.v0_net(folder, "TRAIN"))
    (folder / "g").write_text(elsewhere.deploy(1, 44))
    (folder / "h").write_text(elsewhere.deploy(1, 44, old_input=True))
    (folder / "i").write_text(elsewhere.SOLVER)
    (folder / "j").write_text("\n".join(elsewhere.THEIRS))
    (folder / "k").write_text("Log file created at: 2016/05/01\nI0501 10:00:00.000000  77 caffe.cpp:210] Use CPU.\n")
    (folder / "l").write_text('{"image dimensions": [48, 48, 1], "framework": "caffe"}')
    (folder / "m").write_text("Notes on what I did that May:\nnothing much, but it took all of it\n")
    (folder / "n").write_bytes(bytes(range(256)) * 10)
    (folder / "o").write_text("")
    kinds = [
        Kind.WEIGHTS, Kind.STATE, Kind.MEAN, Kind.MEAN, Kind.NET, Kind.NET, Kind.DEPLOY, Kind.DEPLOY, Kind.SOLVER,
        Kind.LABELS, Kind.LOG, Kind.INFO, None, None, None,
    ]  # fmt: skip
    return dict(zip(sorted(path.name for path in folder.iterdir()), kinds, strict=True))


def test_what_is_what_is_found_by_what_is_in_it(tmp_path: Path) -> None:
    expected = write_all(tmp_path)
    assert {name: kind_of(tmp_path / name, name, CLASSES) for name in expected} == expected


# ---- archives


def test_members_of_archives_are_taken_and_pickles_are_not(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        for name in ("job/solver.prototxt", "job/status.pickle", "job/photo.jpg", "__MACOSX/._solver.prototxt"):
            archive.writestr(name, elsewhere.SOLVER)
    given = given_files([tmp_path / "job.zip"], tmp_path / "scratch")
    assert [file.name for file in given.files] == [f"{tmp_path}/job.zip/job/solver.prototxt"]
    assert given.unopened == [f"{tmp_path}/job.zip/job/status.pickle: a pickle is code"]
    assert read_solver(given.files[0].path).max_iter == 40


def test_what_only_begins_like_an_archive_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "notes.txt").write_text("BZh9garbage")
    given = given_files([tmp_path / "job"], tmp_path / "scratch")
    assert given.files == [] and "an archive in what was given" in given.unopened[0]


def test_a_matrix_of_infogain_is_no_mean_and_is_put_in_order(tmp_path: Path) -> None:
    write_infogain(tmp_path / "h.binaryproto", np.arange(9, dtype=np.float32).reshape(3, 3))
    file = GivenFile(tmp_path / "h.binaryproto", "h.binaryproto")
    parts, given = Parts(means=[file]), Given()
    assert choose_mean(parts, given, None, None, print, {"h.binaryproto"}) is None
    net = caffe_pb2.NetParameter()
    net.layer.add(name="loss").infogain_loss_param.source = "C:\\data\\h.binaryproto"
    copy_matrices(net, parts, tmp_path, [2, 0, 1])
    assert net.layer[0].infogain_loss_param.source == "h.binaryproto"
    assert read_infogain(file.path, 3).tolist() == [[8, 6, 7], [2, 0, 1], [5, 3, 4]]
    with pytest.raises(FerError, match=r"h\.binaryproto holds 9 numbers, not 7x7"):
        copy_matrices(net, parts, tmp_path, range(7))


def test_many_labels_on_the_command_line() -> None:
    names = [f"class of images {number}" for number in range(40)]
    assert read_labels(",".join(names)) == names


@pytest.mark.parametrize("name", ["../../evil", "/evil", "a/../../evil"])
def test_a_member_that_leads_out_of_its_archive_is_refused(name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "job.tar", "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(FerError, match="points outside of it"):
        given_files([tmp_path / "job.tar"], tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "job.tar.gz", "w:gz") as archive:
        for name in ("a", "b"):
            (tmp_path / name).write_bytes(np.random.default_rng(1).bytes(5000))
            archive.add(tmp_path / name, name)
    whole = (tmp_path / "job.tar.gz").read_bytes()
    (tmp_path / "job.tar.gz").write_bytes(whole[:-3000])
    with pytest.raises(FerError, match="truncated or damaged"):
        given_files([tmp_path / "job.tar.gz"], tmp_path / "scratch")


# ---- which of several


def test_the_solver_says_which_net_of_several(tmp_path: Path) -> None:
    for name, text in {
        "train_val.prototxt": elsewhere.v1_net(),
        "original.prototxt": elsewhere.v1_net() + "#\n",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "solver.prototxt").write_text(elsewhere.SOLVER)
    write_weights(tmp_path / "w_iter_40.caffemodel")
    parts = find_parts(given_files([tmp_path], tmp_path / "scratch"), Options(), CLASSES)
    assert [net.base for net in parts.nets] == ["train_val.prototxt"]
    (tmp_path / "solver.prototxt").unlink()
    with pytest.raises(
        FerError, match=r"2 nets: .*original.prototxt.*train_val.prototxt\nchoose one of them with --net"
    ):
        find_parts(given_files([tmp_path], tmp_path / "scratch"), Options(), CLASSES)
    chosen = find_parts(given_files([tmp_path], tmp_path / "scratch"), Options(net="original.prototxt"), CLASSES)
    assert [net.base for net in chosen.nets] == ["original.prototxt"]


def training(folder: Path, number: int = 1) -> Path:
    """A training's folder, its solver and weights those of this number."""
    folder.mkdir(parents=True)
    (folder / "train_val.prototxt").write_text(elsewhere.v1_net())
    (folder / "solver.prototxt").write_text(elsewhere.SOLVER.replace("0.01", f"0.0{number}"))
    write_weights(folder / f"w_iter_{number}.caffemodel", seed=number)
    return folder


def test_one_of_several_trainings_in_a_folder_is_chosen(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    training(jobs / "a", 1), training(jobs / "b", 2)
    (jobs / "labels.txt").write_text("\n".join(CLASSES))
    given = given_files([jobs], tmp_path / "scratch")
    with pytest.raises(FerError, match=r"2 trainings: .*/a, .*/b\ngive one of these alone, or choose with --solver"):
        find_parts(given, Options(), CLASSES)
    parts = find_parts(given, Options(solver="b/solver.prototxt"), CLASSES)
    assert [file.folder.name for file in (*parts.nets, *parts.weights)] == ["b", "b"] and len(parts.labels) == 1
    assert {Path(name).parent.name for name in parts.left} == {"a"}


def test_what_one_file_names_is_found_beside_it(tmp_path: Path) -> None:
    folder = training(tmp_path / "theirs")
    given = given_files([folder / "solver.prototxt", folder / "w_iter_1.caffemodel"], tmp_path / "scratch")
    assert [net.path for net in find_parts(given, Options(), CLASSES).nets] == [folder / "train_val.prototxt"]


def test_of_equal_weights_the_numbered_are_taken_and_the_nearest(tmp_path: Path) -> None:
    folder = training(tmp_path / "theirs", 7)
    (folder / "old").mkdir()
    for copy in ("final.caffemodel", "best.caffemodel", "w_iter_8.caffemodel", "old/w_iter_7.caffemodel"):
        shutil.copy(folder / "w_iter_7.caffemodel", folder / copy)
    write_weights(folder / "old" / "w_iter_8.caffemodel", seed=8)
    for place in (folder, folder / "old"):
        state = caffe_pb2.SolverState(iter=8, learned_net="/gone/w_iter_8.caffemodel", history=[to_blob(np.ones(3))])
        (place / "w_iter_8.solverstate").write_bytes(state.SerializeToString())
    (folder / "w_iter_7.solverstate").write_bytes(b"\x08")
    said: list[str] = []
    parts = find_parts(given_files([folder], tmp_path / "scratch"), Options(), CLASSES)
    pairs = find_pairs(parts, "", said.append)
    assert [(pair.iteration, pair.weights.path.parent, pair.state is not None) for pair in pairs] == [
        (7, folder, False),
        (8, folder, True),
    ]
    assert len(said) == 1 and "w_iter_7.solverstate is cut short" in said[0]


def test_the_logs_of_a_resumed_training_are_one(tmp_path: Path) -> None:
    folder = training(tmp_path / "theirs")
    resumed = (GOLDEN / "resumed.log").read_text()
    cut = resumed.rindex("\n", 0, resumed.index("restoring history")) + 1
    (folder / "b.log").write_text(resumed[:cut])
    (folder / "a.log").write_text(resumed[cut:])
    (folder / "caffe.WARNING").write_text(resumed.splitlines()[0])
    said: list[str] = []
    parts = find_parts(given_files([folder], tmp_path / "scratch"), Options(), CLASSES)
    log, path = training_log(parts, tmp_path, said.append, asked_for=False)
    assert log == parse_log(GOLDEN / "resumed.log") and path is not None and path.read_text() == resumed
    assert len(said) == 1 and "caffe.WARNING" in said[0]
    (folder / "a.log").write_text(resumed[:cut].replace("loss = 1", "loss = 2"))
    parts = find_parts(given_files([folder], tmp_path / "scratch"), Options(), CLASSES)
    with pytest.raises(FerError, match=r"2 logs: .*\nchoose one of them with --log"):
        training_log(parts, tmp_path, said.append, asked_for=False)


def test_copies_of_a_file_are_one(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "deploy.prototxt").write_text(elsewhere.deploy(1, 44))
        write_weights(tmp_path / folder / "w_iter_40.caffemodel")
    parts = find_parts(given_files([tmp_path], tmp_path / "scratch"), Options(), CLASSES)
    assert parts.deploy is not None and len(parts.weights) == 1


def test_an_option_that_names_nothing_lists_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "deploy.prototxt").write_text(elsewhere.deploy(1, 44))
    with pytest.raises(FerError, match=r"--net other.prototxt: no such file\nfound: .*deploy.prototxt"):
        find_parts(given_files([tmp_path], tmp_path / "scratch"), Options(net="other.prototxt"), CLASSES)
    with pytest.raises(FerError, match="no net among 0 files"):
        find_parts(Given(), Options(), CLASSES)


@pytest.mark.parametrize(
    ("name", "number"),
    [("lenet_iter_1000.caffemodel", 1000), ("snapshot_iter_30.caffemodel.h5", 30), ("vgg_face_40.caffemodel", 40),
     ("final.caffemodel", None), ("caffenet2.binaryproto", None)],
)  # fmt: skip
def test_the_iteration_in_a_name(name: str, number: int | None) -> None:
    assert number_in(name) == number


# ---- classes


@pytest.mark.parametrize(
    "text",
    [
        "Sadness\nanger\nNormal\n",
        "0 Sadness\n1 anger\n2 Normal",
        "Normal 2\nSadness 0\r\nanger 1\n",
        "2: Normal\n0: Sadness\n1: anger",
        "1 Sadness\n2 anger\n3 Normal",
        "0_Sadness\n1_anger\n2_Normal",
        "Normal\t2\nSadness\t0\nanger\t1",
        "Sadness, anger, Normal",
        "# of 2016\n'Sadness'\n'anger'\n'Normal'",
        '["Sadness", "anger", "Normal"]',
        '{"1": "anger", "0": "Sadness", "2": "Normal"}',
    ],
)
def test_class_names_of_a_file(text: str) -> None:
    assert names_in(text) == ["Sadness", "anger", "Normal"]


def test_numbers_that_are_part_of_the_names_stay() -> None:
    assert names_in("class 0\nclass 1") == ["class 0", "class 1"]
    assert names_in("cat 0\ndog 1", ["Dog 1", "Cat 0"]) == ["cat 0", "dog 1"]


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("labels.txt", "\n".join(CLASSES).encode("utf-16"), Kind.LABELS),
        ("labels.txt", b"Angry\nAngry", Kind.LABELS),
        ("labels.txt", b"", Kind.LABELS),
        ("a_iter_1.caffemodel", b"", Kind.WEIGHTS),
        ("a_iter_1.caffemodel.h5", MAGIC + bytes(100), Kind.WEIGHTS),
        ("a_iter_1.solverstate.h5", MAGIC, Kind.STATE),
        ("net", elsewhere.deploy(1, 44).encode() + elsewhere.JUDGES.encode(), Kind.NET),
    ],
)
def test_what_is_damaged_is_taken_for_what_it_should_be(name: str, data: bytes, kind: Kind, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert kind_of(tmp_path / name, name, CLASSES) is kind


@pytest.mark.parametrize("text", ["", "Angry", "0 Angry\n2 Sad", "Angry\nAngry", "x" * 61 + "\ny"])
def test_what_is_no_list_of_class_names(text: str) -> None:
    with pytest.raises(ValueError):
        names_in(text)


def test_names_that_mean_the_same_are_matched() -> None:
    assert class_order(elsewhere.THEIRS, CLASSES, "labels.txt") == tuple(elsewhere.ORDER.index(c) for c in range(7))
    assert class_order(["smile", "frown"], ["Frown", "smile"], "labels.txt") == (1, 0)


def net_of(text: str) -> caffe_pb2.NetParameter:
    from google.protobuf import text_format

    return text_format.Parse(text, caffe_pb2.NetParameter())


def test_the_rows_that_are_classes_are_moved() -> None:
    net = net_of(elsewhere.LAYERS + elsewhere.JUDGES)
    shapes = {"conv": [[4, 1, 5, 5], [4]], "ip": [[7, 784], [7]]}
    heads = find_heads(net, [State("TRAIN"), State("TEST")], elsewhere.ORDER, shapes, "net")
    assert heads.axes == {"ip": [0, 0]}
    np.testing.assert_array_equal(heads.moved("ip", 1, np.arange(7)), elsewhere.ORDER)
    np.testing.assert_array_equal(heads.moved("conv", 1, np.arange(4)), np.arange(4))


def test_scores_that_cannot_be_put_in_order_are_refused() -> None:
    summed = elsewhere.LAYERS + (
        'layer { name: "sum" type: "Eltwise" bottom: "ip" bottom: "ip" top: "sum" }'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "sum" bottom: "label" }'
    )
    with pytest.raises(FerError, match="does not let itself be put in order"):
        find_heads(net_of(summed), [State("TRAIN")], elsewhere.ORDER, {"ip": [[7, 784], [7]]}, "net")
    same = find_heads(net_of(summed), [State("TRAIN")], range(7), {"ip": [[7, 784], [7]]}, "net")
    assert not same.are_moved and isinstance(same, Heads)


def test_a_net_of_other_classes_is_refused() -> None:
    with pytest.raises(FerError, match="gives 8 scores, and there are 7 class names"):
        find_heads(
            net_of(elsewhere.LAYERS + elsewhere.JUDGES), [State("TEST")], range(7), {"ip": [[8, 784], [8]]}, "net"
        )


# ---- numbers


def test_nvcaffes_own_blobs_are_read() -> None:
    values = np.array([[0.5, -2.0, 3.25]])
    for kind, dtype in ((0, "<f8"), (1, "<f4"), (2, "<f2")):
        data = values.astype(dtype).tobytes()
        raw = bytes([10 << 3, kind, 12 << 3 | 2]) + varint(len(data)) + data
        blob = caffe_pb2.BlobProto.FromString(caffe_pb2.BlobProto(shape={"dim": [1, 3]}).SerializeToString() + raw)
        np.testing.assert_array_equal(from_blob(blob, "here"), values.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "read_as"),
    [((3, 5, 4), (3, 5, 4)), ((1, 3, 5, 4), (3, 5, 4)), ((5, 4), (1, 5, 4)), ((5, 4, 3), (3, 5, 4)), ((3,), (3, 1, 1))],
)
def test_a_mean_in_numpys_format(shape: tuple[int, ...], read_as: tuple[int, ...], tmp_path: Path) -> None:
    mean = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    np.save(tmp_path / "mean.npy", mean)
    found = find_mean(tmp_path / "mean.npy")
    assert found.shape == read_as and found.dtype == np.float32
    if shape == (5, 4, 3):
        np.testing.assert_array_equal(found, mean.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("given", "message"),
    [("nothing.npy", "cannot be read: No such file"), ("1,2", "cannot be read"), ("1,2,nan", "cannot be read")],
)
def test_what_is_no_mean(given: str, message: str) -> None:
    with pytest.raises(FerError, match=message):
        find_mean(given)
    np.testing.assert_array_equal(find_mean("104,117,123").ravel(), [104, 117, 123])


# ---- fer predict with a deploy net alone


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words of a command line that names a face and a net of 44 x 44 pixels."""
    monkeypatch.chdir(tmp_path)
    Path("deploy.prototxt").write_text(elsewhere.deploy(1, 44, old_input=True))
    write_weights(Path("w.caffemodel"))
    cv2.imwrite("face.png", np.random.default_rng(2).integers(0, 256, (48, 48), np.uint8))
    return ["predict", "face.png", "--no-detect", "--json", "--model", "deploy.prototxt", "--weights", "w.caffemodel"]


def probabilities(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    import json

    found: dict[str, float] = json.loads(capsys.readouterr().out)["images"][0]["faces"][0]["probabilities"]
    return found


def expected_of(transformed: np.ndarray) -> np.ndarray:
    net = cv2.dnn.readNetFromCaffe("deploy.prototxt", "w.caffemodel")
    net.setInput(transformed.astype(np.float32)[np.newaxis, np.newaxis])
    probs: np.ndarray = np.asarray(net.forward("prob"))[0]
    return probs


def test_a_deploy_net_is_used_without_an_import(bare: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    face = cv2.imread("face.png", cv2.IMREAD_GRAYSCALE)
    assert face is not None
    assert cli.main(bare) == 0
    found = probabilities(capsys)
    assert list(found) == [f"class {number}" for number in range(7)]
    np.testing.assert_allclose(list(found.values()), expected_of(cv2.resize(face, (44, 44))), atol=1e-5)
    np.save("mean.npy", np.full((48, 48), 100.0))
    assert cli.main([*bare, "--mean", "mean.npy", "--scale", "0.01", "--labels", ",".join(elsewhere.THEIRS)]) == 0
    found = probabilities(capsys)
    assert tuple(found) == elsewhere.THEIRS
    np.testing.assert_allclose(list(found.values()), expected_of((face[2:46, 2:46] - 100.0) * 0.01), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (["--labels", "Angry,Sad"], 1, "2 names, and deploy.prototxt gives 7 probabilities"),
        (["--mean", "gone.binaryproto"], 1, "--mean gone.binaryproto: cannot be read"),
        (["--weights", "face.png"], 1, "face.png is cut short or is no .caffemodel"),
        (["--model", "face.png"], 1, "face.png is not text"),
    ],
)
def test_what_does_not_fit_a_deploy_net(
    change: list[str], code: int, message: str, bare: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*bare, *change]) == code
    assert message in capsys.readouterr().err


def test_a_deploy_net_needs_its_softmax_and_its_weights(bare: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("deploy.prototxt").read_text()
    Path("deploy.prototxt").write_text(text[: text.index('layer { name: "prob"')])
    assert cli.main(bare) == 1 and "its last layer must be a Softmax" in capsys.readouterr().err
    assert cli.main(bare[:-2]) == 1 and "--weights FILE.caffemodel" in capsys.readouterr().err
    assert cli.main(["predict", "face.png", "--labels", "a,b"]) == 2
    assert cli.main(["predict", "face.png", "--weights", "w.caffemodel"]) == 2
