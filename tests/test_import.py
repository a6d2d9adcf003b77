"""fer import: trainings made by pycaffe alone, in any of Caffe's formats, as runs; what is missing is named."""

import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import elsewhere
import numpy as np
import pytest
from training import assert_nothing_left, resume

from fer import cli
from fer.engines.core.weights import read_model
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.evaluation.scores import load_scores
from fer.formats.database import read_mean
from fer.imports.importing import Wanted, import_training
from fer.imports.parts import Options
from fer.report.scored_run import read_scored_run
from fer.runs.record import UNKNOWN
from fer.runs.run import Run
from fer.runs.scores import ScoresBySnapshot
from fer.system.records import read_record

DIGITS = "20160809-112414-0296"
NAMES = ",".join(elsewhere.CLASSES)


@pytest.fixture(scope="session")
def trained(once: Callable[..., Path], data: Path) -> Path:
    """Trainings by real Caffe, as `elsewhere` describes them."""
    return once("elsewhere", lambda folder: elsewhere.make_trainings(folder, data))


def imported(paths: list[Path], data: Path, folder: Path, said: list[str] | None = None, **options: str | None) -> Run:
    wanted = Wanted(Options(**options), runs_dir=folder / "runs")
    return import_training(paths, data, wanted, (said if said is not None else []).append)


def accuracies(run: Run) -> dict[str, float]:
    scored = read_record(run.scores_by_snapshot, ScoresBySnapshot).snapshots
    return {name: each.accuracy for name, each in scored.items()}


def assert_scored_as_caffe_does(run: Run, answers: Path, order: tuple[int, ...] | None = None) -> None:
    """All that fer says of val is what Caffe's own test net said; `order` are the data's classes at Caffe's places."""
    score_run(run)
    said = np.load(answers)
    columns = [order.index(c) for c in range(7)] if order else list(range(7))
    for name, accuracy in accuracies(run).items():
        assert accuracy == pytest.approx(float(said[f"accuracy/{name}"]), abs=1e-6)
    scores = load_scores(run.scores("val"))
    np.testing.assert_allclose(scores.probs, said[f"prob/{scores.meta.iteration}"][:, columns], rtol=0, atol=1e-6)


# ---- whole trainings


@pytest.mark.full
def test_a_job_of_digits(trained: Path, data: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.tar.gz"
    with tarfile.open(job, "w:gz") as archive:
        archive.add(trained / DIGITS, DIGITS, filter=lambda member: None if member.name.endswith("_db") else member)
    said: list[str] = []
    run = imported([job], data, tmp_path, said)
    made = run.record.imported
    assert (
        made is not None and made.classes == elsewhere.THEIRS and made.made_by == "NVIDIA Caffe 0.15.9, DIGITS 4.1-dev"
    )
    assert {file.part for file in made.files} == {
        "net", "solver", "deploy net", "log", "DIGITS' job", "class names", "mean", "weights", "solver state",
    }  # fmt: skip
    assert any("status.pickle" in line for line in said) and not Path("opened").exists()
    assert (run.record.engine, run.record.precision, run.record.started) == (UNKNOWN,) * 3
    assert (run.record.iteration, run.record.max_iter, run.record.state) == (40, 40, "finished")
    np.testing.assert_array_equal(
        read_mean(run.dir / "mean.binaryproto"), read_mean(trained / DIGITS / "mean.binaryproto")
    )
    assert_scored_as_caffe_does(run, trained / DIGITS / "answers.npz", elsewhere.ORDER)
    report = read_scored_run(run)
    assert "Trained elsewhere, by NVIDIA Caffe 0.15.9" in report.warnings[0] and len(report.warnings) == 1
    assert report.agreement is not None and report.agreement.apart == 0
    assert list(report.curves.accuracy.iterations) == [0, 20, 40]


def old_training(trained: Path, data: Path, folder: Path, version: str) -> Path:
    """folder/bvlc as it would have been kept in 2013 (v0) or 2014 (v1)."""
    shutil.copytree(trained / "bvlc" / version, folder)
    nets = {"v0": {f"{phase}.prototxt": elsewhere.v0_net(data, phase) for phase in ("TRAIN", "TEST")}}
    nets["v1"] = {"fer_train_test.prototxt": elsewhere.v1_net()}
    for name, text in nets[version].items():
        (folder / name).write_text(text)
    named = {
        "v0": 'train_net: "fer/TRAIN.prototxt"\ntest_net: "fer/TEST.prototxt"\n',
        "v1": 'net: "fer_train_test.prototxt"\n',
    }
    (folder / "solver").write_text(
        named[version] + elsewhere.SOLVER.partition("\n")[2] + "momentum: 0.9\nweight_decay: 0.0005\nsolver_mode: GPU\n"
    )
    if version == "v0":
        shutil.copy(data / "mean.binaryproto", folder)
    else:
        np.save(folder / "mean.npy", read_mean(data / "mean.binaryproto"))
    return folder


@pytest.mark.full
@pytest.mark.parametrize("version", ["v0", "v1"])
def test_a_training_in_an_old_format(version: str, trained: Path, data: Path, tmp_path: Path) -> None:
    run = imported([old_training(trained, data, tmp_path / "old", version)], data, tmp_path, labels=NAMES)
    assert [snapshot.iteration for snapshot in run.snapshots() if snapshot.state] == [20, 40]
    assert_scored_as_caffe_does(run, trained / "bvlc" / "answers.npz")
    assert "No log of the training was given: there are no curves." in read_scored_run(run).notes


@pytest.mark.full
def test_colour_of_another_size_from_hdf5(trained: Path, data: Path, tmp_path: Path) -> None:
    run = imported([trained / "colour"], data, tmp_path)
    made = run.record.imported
    assert made is not None and made.images == (
        "faces are resized from 48 x 48 to 40 x 40 pixels, repeated in 3 equal channels, cut to their centre of "
        "36 x 36, the mean (number of each channel) taken away, multiplied by 0.0078125"
    )
    assert_scored_as_caffe_does(run, trained / "colour" / "answers.npz")
    assert [snapshot.state is not None for snapshot in run.snapshots()] == [True, True]


@pytest.mark.full
def test_of_a_deploy_net_alone(trained: Path, data: Path, tmp_path: Path) -> None:
    theirs = trained / "bvlc"
    paths = [theirs / "deploy.prototxt", theirs / "theirs_iter_40.caffemodel", data / "mean.binaryproto"]
    wanted = Wanted(Options(labels=NAMES), "bare", tmp_path / "runs", scale=0.00390625)
    # Its mean is of 48 x 48, so its input of 44 x 44 is a crop.
    run = import_training(paths, data, wanted)
    assert (run.record.solver, run.record.seconds, run.record.batch_size) == (UNKNOWN, None, 0)
    assert_scored_as_caffe_does(run, theirs / "answers.npz")
    with pytest.raises(FerError, match=r"imported without a \.solverstate"):
        resume(run.dir)


HDF5 = (
    'layer {{ name: "data" type: "HDF5Data" top: "data" top: "label" hdf5_data_param {{ source: "{phase}.txt" }} }}\n'
)


@pytest.mark.full
@pytest.mark.parametrize(("kept", "note"), [(0, "(HDF5Data) gives it its images"), (1, "no data layer for tests")])
def test_a_net_that_is_not_tested_on_images(kept: int, note: str, trained: Path, data: Path, tmp_path: Path) -> None:
    """By its deploy net where it has no images of ours, else as it is trained."""
    shutil.copytree(trained / "bvlc", tmp_path / "theirs", ignore=shutil.ignore_patterns("v0", "v1"))
    net = tmp_path / "theirs" / "train_val.prototxt"
    head, train, _, rest = re.split(r'(?=layer \{ name: "data")|(?=layer \{ name: "conv")', net.read_text())
    net.write_text(head + (train if kept else HDF5.format(phase="train")) + rest)
    options = Options(labels=NAMES, mean=str(data / "mean.binaryproto"))
    wanted = Wanted(options, runs_dir=tmp_path / "runs", scale=None if kept else 0.00390625)
    run = import_training([tmp_path / "theirs"], data, wanted)
    assert any(note in each for each in run.record.notes)
    assert [snapshot.state is not None for snapshot in run.snapshots()] == [bool(kept)] * 2
    assert_scored_as_caffe_does(run, trained / "bvlc" / "answers.npz")


@pytest.fixture
def half(trained: Path, data: Path, tmp_path: Path) -> Path:
    """The training of folder/bvlc as it was after 20 of its 40 iterations."""
    folder = tmp_path / "half"
    folder.mkdir()
    for name in ("train_val.prototxt", "solver.prototxt", "theirs_iter_20.caffemodel", "theirs_iter_20.solverstate"):
        shutil.copy(trained / "bvlc" / name, folder)
    shutil.copy(data / "mean.binaryproto", folder)
    (folder / "labels.txt").write_text("\n".join(elsewhere.CLASSES))
    return folder


@pytest.mark.full
def test_caffe_goes_on_as_if_it_had_never_stopped(half: Path, trained: Path, data: Path, tmp_path: Path) -> None:
    run = imported([half], data, tmp_path)
    assert run.record.state == "interrupted"
    run = resume(run.dir)
    uninterrupted = read_model(trained / "bvlc" / "theirs_iter_40.caffemodel")
    for layer, blobs in read_model(run.weights_file(40)).items():
        for place, blob in blobs.items():
            np.testing.assert_array_equal(blob, uninterrupted[layer][place])
    assert (run.record.engine, run.record.changes[0].before.engine) == ("caffe", UNKNOWN)


@pytest.mark.full
def test_pytorch_goes_on(half: Path, data: Path, tmp_path: Path) -> None:
    run = resume(imported([half], data, tmp_path).dir, engine="pytorch", max_iter=30)
    assert (run.record.engine, run.record.iteration, run.record.state) == ("pytorch", 30, "finished")
    score_run(run)
    assert "From iteration 20 on it was trained here." in read_scored_run(run).warnings[0]


@pytest.mark.full
def test_a_log_that_contradicts_the_scores_is_pointed_out(trained: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "bvlc", tmp_path / "theirs", ignore=shutil.ignore_patterns("v0", "v1"))
    log = (tmp_path / "theirs" / "caffe.INFO").read_text().splitlines(keepends=True)
    wrong = [line.partition("accuracy = ")[0] + "accuracy = 0.6\n" if "accuracy = " in line else line for line in log]
    (tmp_path / "theirs" / "caffe.INFO").write_text("".join(wrong))
    run = imported([tmp_path / "theirs"], data, tmp_path, mean=str(data / "mean.binaryproto"), labels=NAMES)
    score_run(run, val_only=True)
    (_, pointed_out) = read_scored_run(run, val_only=True).warnings
    assert pointed_out.startswith("Its log contradicts these figures") and "60.00%" in pointed_out


@pytest.mark.full
def test_damaged_snapshots_are_left_out(trained: Path, data: Path, tmp_path: Path, half: Path) -> None:
    whole = (trained / "bvlc" / "theirs_iter_40.caffemodel").read_bytes()
    (half / "theirs_iter_40.caffemodel").write_bytes(whole[:-100])
    said: list[str] = []
    run = imported([half], data, tmp_path, said)
    assert [snapshot.iteration for snapshot in run.snapshots()] == [20]
    assert any("theirs_iter_40.caffemodel" in line and line.startswith("left out") for line in said)
    assert any("theirs_iter_40" in note for note in run.record.notes)


# ---- what is missing, or one too many


@pytest.fixture
def kept(trained: Path, data: Path, tmp_path: Path) -> Path:
    """A whole training in one folder."""
    folder = tmp_path / "kept"
    shutil.copytree(trained / "colour", folder)
    return folder


def _second(name: str, change: Callable[[str], str]) -> Callable[[Path], object]:
    def add(folder: Path) -> None:
        (folder / f"other_{name}").write_text(change((folder / name).read_text()))

    return add


def _remove(*patterns: str) -> Callable[[Path], object]:
    def remove(folder: Path) -> None:
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()

    return remove


def _labels(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "labels.txt").write_text(text)


def _wanting_mean(folder: Path) -> None:
    net = folder / "train_val.prototxt"
    values = "mean_value: 104 mean_value: 117 mean_value: 123"
    net.write_text(net.read_text().replace(values, 'mean_file: "/gone/fer_mean.binaryproto"'))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no labels": (_remove("labels.txt"), "the order of the net's classes is not known.*--labels"),
    "no weights": (_remove("*.caffemodel.h5"), r"no weights among \d+ files: looked for a .caffemodel"),
    "no net": (_remove("*.prototxt"), "no net among .*train_val.prototxt .* deploy.prototxt"),
    "no mean": (_wanting_mean, "takes the mean /gone/fer_mean.binaryproto away, and it was not found"),
    "two solvers": (_second("solver.prototxt", lambda t: t + "gamma: 1\n"), "2 solvers: .*with --solver"),
    "two lists of names": (_second("labels.txt", lambda t: "\n".join(elsewhere.THEIRS)), "2 class names: .*--labels"),
    "a class too many": (_labels("\n".join([*elsewhere.CLASSES, "Contempt"])), "'Contempt' is no class of the data"),
    "a class missing": (_labels("\n".join(elsewhere.CLASSES[1:])), "the data's class 'Angry' is missing"),
    "a class twice": (_labels("\n".join([*elsewhere.CLASSES[:6], "Anger"])), "'Anger' and 'Angry' are one class"),
    "a deploy of another size": (
        lambda folder: (folder / "deploy.prototxt").write_text(elsewhere.deploy(3, 32)),
        r"takes images of 3 x 32 x 32, and .*train_val.prototxt gives 3 x 36 x 36",
    ),
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("fault", FAULTS)
def test_each_missing_piece_is_named(fault: str, kept: Path, data: Path, tmp_path: Path) -> None:
    damage, message = FAULTS[fault]
    damage(kept)
    with pytest.raises(FerError, match=f"(?s){message}"):
        imported([kept], data, tmp_path)
    assert_nothing_left(tmp_path)


@pytest.mark.full
def test_a_choice_that_is_asked_for_can_be_made(kept: Path, data: Path, tmp_path: Path) -> None:
    _second("solver.prototxt", lambda text: text.replace("max_iter: 40", "max_iter: 400"))(kept)
    run = imported([kept], data, tmp_path, solver="other_solver.prototxt")
    assert (run.record.max_iter, run.record.state) == (400, "interrupted")


@pytest.mark.full
def test_on_the_command_line(
    kept: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["import", "kept", "--data", str(data), "--name", "theirs"]) == 0
    said = capsys.readouterr().out
    assert "kept/colour_iter_40.caffemodel.h5" in said and "Next: fer report runs/theirs" in said
    assert cli.main(["import", "kept", "--data", str(data), "--name", "theirs"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["engine"] == UNKNOWN


@pytest.mark.full
def test_all_that_takes_a_run_takes_an_imported_one(
    trained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In another order of classes, and of a deploy net alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")

    def fer(*words: str) -> str:
        code = cli.main([*words])
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out

    theirs = trained / "bvlc"
    weights = [str(theirs / f"theirs_iter_{iteration}.caffemodel") for iteration in (20, 40)]
    fer("import", str(trained / DIGITS), "--data", str(data), "--name", "job")
    alone = ["--scale", "0.00390625", "--labels", NAMES, "--data", str(data), "--name", "alone"]
    fer("import", str(theirs / "deploy.prototxt"), *weights, str(data / "mean.binaryproto"), *alone)
    runs = [Run(Path("runs", name)) for name in ("job", "alone")]
    assert "the mean of snapshots 20, 40" in fer("average", "runs/job")
    compared = fer("report", "runs/job", "runs/alone")
    assert compared.count("Trained elsewhere, by ") == 2 and "McNemar's exact test" in compared
    assert set(accuracies(Run(runs[0].dir))) == {"20", "40", "average_20-40"}
    assert "Ensemble of job, alone" in fer("report", "--ensemble", "runs/job", "runs/alone")
    listed = {run["name"]: run for run in json.loads(fer("runs", "--json"))}
    for run in runs:
        assert listed[run.dir.name]["val_accuracy"] == max(accuracies(run).values())
        assert "Largest difference" in fer("export", str(run.dir), "--no-onnx")
        scores = load_scores(run.scores("val"))
        for model in (run.dir, run.dir / "export"):
            picture = str(data / "val" / scores.files[0])
            told = json.loads(fer("predict", "--model", str(model), picture, "--no-detect", "--json"))
            given = told["images"][0]["faces"][0]["probabilities"]
            assert [given[name] for name in elsewhere.CLASSES] == pytest.approx(scores.probs[0].tolist(), abs=1e-4)
