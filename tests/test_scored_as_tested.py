"""The report's figures are those of the net's own test, whatever its TEST layer reads; what cannot be is refused."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import training
from made_model import here
from made_run import log_events, log_text, make_record

from fer.data.options import PrepareOptions
from fer.data.prepare import prepare
from fer.engines.core.verbs.caffe_test import test as caffe_test
from fer.engines.core.weights import write_model
from fer.engines.pytorch.backend import Backend
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds
from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.evaluation.scores import load_scores, log_loss
from fer.formats import log_lines
from fer.formats.database import DatabaseWriter, encode_datum
from fer.formats.log import parse_log
from fer.formats.log_records import Log, LogRecord
from fer.formats.prototxt import read_net, read_solver, write_text
from fer.inference.classifier import Classifier, find_model
from fer.inference.faces import whole
from fer.inference.media import find_sources
from fer.inference.predict import Result, predict
from fer.nets.states import scored_state
from fer.report.agreement import check_agreement, disagreement
from fer.report.build import build_report
from fer.report.kept import find_report
from fer.report.results import RunResult
from fer.report.text import summary_text
from fer.runs.create import create_run
from fer.runs.record import SnapshotFiles, TrainedOn
from fer.runs.run import Run
from fer.runs.scores import ScoresBySnapshot
from fer.runs.unchanged import check_data
from fer.system.hashes import file_hash
from fer.system.records import read_record
from fer.training.average_run import average_run
from fer.training.first_record import first_record
from fer.training.preflight.plan import Plan, preflight
from fer.training.prototxts import read_prototxts
from fer.training.resume import resume

BATCH, COUNT = 7, 35
SCALE, MEAN = "scale: 0.0078", 'mean_file: "mean.binaryproto"'
TAIL = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 5 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX global_pooling: true } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 7 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" ACCURACY }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" LOSS }
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """A TEST data layer; `shape` is that of the images it reads."""

    shape: tuple[int, int, int]
    param: str
    transform: str = SCALE
    kind: str = "ImageData"
    own: bool = False


def listed(more: str, split: str = "val", folder: str = "DATA") -> str:
    return (
        f'image_data_param {{ source: "{folder}/{split}.txt" root_folder: "{folder}/{split}/" batch_size: 7 {more} }}'
    )


def database(source: str) -> str:
    return f'data_param {{ source: "{source}" batch_size: 7 backend: LMDB }}'


CASES = {
    "gray, larger": Case((1, 96, 96), listed("is_color: false new_height: 96 new_width: 96")),
    "colour": Case((3, 48, 48), listed("")),
    "colour, cropped": Case((3, 64, 64), listed("new_height: 64 new_width: 64"), "scale: 0.0078 crop_size: 56"),
    "wider than high": Case((3, 40, 72), listed("new_height: 40 new_width: 72"), "mean_value: 90 mean_value: 100 "
                            "mean_value: 110 scale: 0.0078"),
    "smaller, shuffled": Case((1, 32, 32), listed("is_color: false new_height: 32 new_width: 32 shuffle: true")),
    "a list of one's own": Case((1, 60, 60), 'image_data_param { source: "OWN/own.txt" root_folder: "OWN/" '
                                "batch_size: 7 is_color: false new_height: 60 new_width: 60 }", own=True),
    "a database of one's own": Case((1, 48, 48), database("OWN/own_lmdb"), kind="Data", own=True),
    "encoded, forced to colour": Case((3, 48, 48), database("val_lmdb"), "scale: 0.0078 force_color: true", "Data"),
    "colours of one's own": Case((3, 60, 60), 'image_data_param { source: "OWN/own.txt" root_folder: "OWN/" '
                                 "batch_size: 7 new_height: 60 new_width: 60 }", own=True),
    "as prepared": Case((1, 48, 48), database("val_lmdb"), MEAN + " crop_size: 40 scale: 0.0078", "Data"),
}  # fmt: skip
# As Caffe's fully convolutional nets score: a map of scores, averaged.
CONVOLUTIONAL = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 7 kernel_size: 5 stride: 2 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "ip" type: "Pooling" bottom: "conv" top: "ip" pooling_param { pool: AVE global_pooling: true } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" ACCURACY }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" LOSS }
"""
STAGES = 'test_state { stage: "val" }\ntrain_state { stage: "train" }\n'


def make_own(folder: Path, data: Path) -> None:
    """The user's own: turned val images in another order, as a list with two names alike, and as databases."""
    lines = [line.rsplit(" ", 1) for line in (data / "val.txt").read_text().splitlines()][::-1]
    (folder / "turned").mkdir(parents=True)
    for name, _ in lines:
        image = cv2.imread(str(data / "val" / name), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(folder / "turned" / name), np.asarray(image)[::-1])
    lines[1] = lines[0]
    (folder / "own.txt").write_text("".join(f"turned/{name} {label}\n" for name, label in lines))
    files = [(folder / "turned" / name).read_bytes() for name, _ in lines]
    gray = [np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE))[None] for file in files]
    labels = [int(label) for _, label in lines]
    with DatabaseWriter(folder / "own_lmdb", COUNT, 1 << 20) as writer:
        datums = map(encode_datum, gray, labels)
        writer.append((f"{k:08d}_{k % 3}".encode(), datum) for k, datum in enumerate(datums))


def write(folder: Path, data: Path, case: Case, *, staged: bool = False, tail: str = TAIL) -> tuple[Path, Path]:
    """net.prototxt and solver.prototxt; `staged`: all in one, as DIGITS writes them, with stages and no phases."""
    if not (folder / "own").exists():
        make_own(folder / "own", data)
    train, test = ("include { stage: \"train\" }", "include { stage: \"val\" }") if staged else (
        "include { phase: TRAIN }", "include { phase: TEST }")  # fmt: skip
    start = f'layer {{ name: "data" type: "{case.kind}" top: "data" top: "label" transform_param {{ {case.transform} }}'
    trained = case.param.replace("val", "train").replace("shuffle: true", "")
    text = f'name: "net"\n{start} {train} {trained} }}\n{start} {test} {case.param} }}{tail}'
    text = text.replace("ACCURACY", test).replace("LOSS", 'exclude { stage: "deploy" }' if staged else "")
    text = text.replace("OWN", str(folder / "own")).replace("DATA", str(data))
    net, solver = training.write_net(folder, net=text, max_iter=3, test_interval=3, snapshot=3)
    solver.write_text(solver.read_text() + (STAGES if staged else ""))
    return net, solver


def planned(net: Path, solver: Path, data: Path) -> Plan:
    return preflight(read_prototxts(solver, net), data)


def make_run(folder: Path, plan: Plan, data: Path) -> Run:
    """A run of the plan with drawn weights."""
    sources = {str(data / name): file_hash(data / name) for name in ("val_lmdb/data.mdb", "test_lmdb/data.mdb")}
    record = make_record(engine="pytorch", net="net", solver="s1", data=TrainedOn(str(data), sources, "drawn"))
    run = create_run(folder / "runs", "net-s1", record)
    for path, message in ((run.solver, plan.solver), (run.net, plan.net), (run.deploy, plan.deploy)):
        write_text(path, message)
    state = scored_state(plan.solver)
    path = run.weights_file(3)
    write_model(path, Net(plan.net, Context("TEST", seeds=Seeds(3)), state=state))
    run.update(snapshots={3: SnapshotFiles(run.hashed(path))})
    return run


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "pytorch", here)


def assert_scored_as_tested(run: Run, outputs: dict[str, float]) -> None:
    scores = load_scores(run.scores("val"))
    assert outputs["accuracy"] == pytest.approx(scores.correct.mean(), abs=1e-6)
    assert outputs["loss"] == pytest.approx(log_loss(scores.labels, scores.probs), rel=1e-4)


@pytest.fixture(scope="session")
def encoded(once: Callable[..., Path], data: Path) -> Path:
    """The same data, the databases of JPG files."""

    def make(folder: Path) -> Path:
        prepare(data.parent / "sample.csv", folder / "data", PrepareOptions(title="drawn sample", encoded=True))
        return folder / "data"

    return once("encoded", make)


FORMS = {"phases": (False, TAIL), "stages": (True, TAIL), "convolutional": (False, CONVOLUTIONAL)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_scores_are_those_of_the_nets_own_test(
    tmp_path: Path, data: Path, encoded: Path, case: Case, form: str
) -> None:
    data = encoded if "force_color" in case.transform else data
    staged, tail = FORMS[form]
    plan = planned(*write(tmp_path, data, case, staged=staged, tail=tail), data)
    run = make_run(tmp_path, plan, data)
    score_run(run)
    crop = plan.net.layer[1].transform_param.crop_size
    channels, *size = case.shape
    assert plan.deploy.layer[0].input_param.shape[0].dim == [1, channels, *(crop or side for side in size)]
    state = scored_state(plan.solver)
    assert_scored_as_tested(run, caffe_test(Backend(), run.net, str(run.weights_file(3)), 5, state=state))
    meta, test = load_scores(run.scores("val")).meta, load_scores(run.scores("test"))
    assert (meta.own, meta.shape) == (case.own, case.shape) and not test.meta.own and test.meta.shape == case.shape
    assert [f"{name} {label}" for name, label in zip(test.files, test.labels, strict=True)] == (
        data / "test.txt"
    ).read_text().splitlines()


@pytest.mark.full
@pytest.mark.parametrize("name", ["gray, larger", "colour, cropped", "wider than high", "encoded, forced to colour"])
def test_real_caffes_own_test_gives_the_same(tmp_path: Path, data: Path, encoded: Path, name: str) -> None:
    data = encoded if "encoded" in name else data
    net, solver = write(tmp_path, data, CASES[name], staged=name == "colour, cropped")
    run = training.train(net, solver, data, engine="caffe", seed=1, runs_dir=tmp_path / "runs")
    score_run(run)
    assert_scored_as_tested(run, training.numbers(run, "test")[-1][2])
    by_snapshot = read_record(run.scores_by_snapshot, ScoresBySnapshot).snapshots
    found = check_agreement(run, parse_log(run.log), by_snapshot, COUNT, "3")
    assert found is not None and (found.iteration, found.apart, found.logged_images) == (3, 0, COUNT)


@pytest.mark.parametrize("name", ["gray, larger", "colour", "wider than high"])
def test_predict_gives_the_scores_own_probabilities(tmp_path: Path, data: Path, name: str) -> None:
    run = make_run(tmp_path, planned(*write(tmp_path, data, CASES[name]), data), data)
    score_run(run)
    scores = load_scores(run.scores("val"))
    pictures = find_sources([data / "val" / name for name in scores.files[:5]]).sources
    for row, result in enumerate(predict(pictures, Classifier(find_model(run.dir)), whole)):
        assert isinstance(result, Result)
        given = list(result.faces[0].probabilities.values())
        assert given == pytest.approx(scores.probs[row].tolist(), abs=1e-4)


def test_predict_says_that_it_has_no_colours_to_give(tmp_path: Path, data: Path) -> None:
    case = CASES["colours of one's own"]
    run = make_run(tmp_path, planned(*write(tmp_path, data, case), data), data)
    score_run(run)
    with pytest.raises(FerError, match="was trained on images in colour"):
        next(iter(predict(find_sources([data / "val"]).sources, Classifier(find_model(run.dir)), whole)))


SHIFTED = TAIL.replace(
    'layer { name: "conv"', 'layer { name: "shift" type: "Power" bottom: "label" top: "l" power_param { shift: 1 } }\n'
    'layer { name: "conv"').replace('bottom: "label" top: "accuracy"', 'bottom: "l" top: "accuracy"')  # fmt: skip
TWO = TAIL.replace(
    'layer { name: "conv"', 'layer { name: "other" type: "DummyData" top: "other" dummy_data_param { shape { dim: 7 '
    'dim: 1 dim: 48 dim: 48 } } }\nlayer { name: "both" type: "Eltwise" bottom: "data" bottom: "other" top: "both" }\n'
    'layer { name: "conv"', 1).replace('"Convolution" bottom: "data"', '"Convolution" bottom: "both"')  # fmt: skip
SLICED = TAIL.replace(
    'layer { name: "conv"', 'layer { name: "half" type: "Slice" bottom: "label" top: "l" top: "rest" slice_param { '
    'axis: 0 slice_point: 3 } }\nlayer { name: "conv"', 1
).replace('bottom: "label" top: "accuracy"', 'bottom: "l" top: "accuracy"')  # fmt: skip
OTHERS = TAIL.replace(
    'layer { name: "conv"', 'layer { name: "others" type: "Data" top: "images" top: "l" data_param { source: '
    '"val_lmdb" batch_size: 7 backend: LMDB } include { phase: TEST } }\nlayer { name: "conv"', 1
).replace('bottom: "label" top: "accuracy"', 'bottom: "l" top: "accuracy"')  # fmt: skip
REGRESSION = re.sub('layer { name: "accuracy".*\n', "", TAIL).replace("SoftmaxWithLoss", "EuclideanLoss").replace(
    "num_output: 7", "num_output: 1")  # fmt: skip
HDF5 = Case((1, 48, 48), 'hdf5_data_param { source: "val.h5.txt" batch_size: 7 }', "", "HDF5Data")
PLAIN = CASES["as prepared"]
REFUSED = {
    "numbers of HDF5 files": (HDF5, TAIL, r"layer 'data' \(HDF5Data\) gives the net .*let the TEST phase"),
    "labels made by a layer": (PLAIN, SHIFTED, r"'accuracy' judges by labels that layer 'shift' \(Power\) makes"),
    "labels cut in two": (PLAIN, SLICED, r"'accuracy' judges by labels that layer 'half' \(Slice\) makes"),
    "labels of another data layer": (PLAIN, OTHERS, r"'accuracy' judges by labels that layer 'others' \(Data\) makes"),
    "a class that is left out": (
        PLAIN, TAIL.replace("ACCURACY", "accuracy_param { ignore_label: 6 } ACCURACY"),
        r"'accuracy' leaves images of label 6 out \(ignore_label\)",
    ),
    "a number for an image": (PLAIN, REGRESSION, "'loss' tests 1 numbers an image, and the report scores 7 classes"),
    "images of several sizes, cropped": (
        Case((1, 48, 48), listed("is_color: false", folder="OWN/sizes"), "crop_size: 40"), TAIL,
        "b.png: 1 x 60 x 64, where the first is 1 x 48 x 48\nset new_height",
    ),
    "two data layers": (PLAIN, TWO, "takes what it scores from 'data' and 'other'"),
    "an own database of another size": (
        Case((1, 64, 64), database("OWN/large_lmdb"), kind="Data"), TAIL,
        "large_lmdb: its images are 1x64x64, those of .*test_lmdb, .* 1x48x48",
    ),
    "own images of another size": (
        Case((1, 64, 64), listed("is_color: false", folder="OWN/large")), TAIL,
        "its images are 1x64x64, those of .*test.txt, .* 1x48x48\nset new_height",
    ),
    "PrivateTest": (Case((1, 48, 48), listed("is_color: false", "test")), TAIL, "the images of PrivateTest"),
    "a crop larger than the images": (
        Case((3, 48, 48), listed(""), "crop_size: 56"), TAIL, "crop_size 56 does not fit images of 48x48"
    ),
    "a mean of other images": (
        Case((3, 48, 48), listed(""), MEAN), TAIL, "is 1x48x48, its images are 3x48x48"
    ),
    "one side alone": (Case((1, 48, 48), listed("new_height: 64")), TAIL, "new_height and new_width must be set"),
}  # fmt: skip


@pytest.mark.parametrize(("case", "tail", "message"), REFUSED.values(), ids=REFUSED)
def test_what_could_not_be_scored_so_is_refused_before_training(
    tmp_path: Path, data: Path, case: Case, tail: str, message: str
) -> None:
    make_own(tmp_path / "own", data)
    large = tmp_path / "own" / "large"
    for split in ("train", "val"):
        (large / split).mkdir(parents=True)
        cv2.imwrite(str(large / split / "a.png"), np.zeros((64, 64), np.uint8))
        (large / f"{split}.txt").write_text("a.png 0\n")
    sizes = tmp_path / "own" / "sizes"
    for split in ("train", "val"):
        (sizes / split).mkdir(parents=True)
        for name, size in (("a.png", (48, 48)), ("b.png", (60, 64))):
            cv2.imwrite(str(sizes / split / name), np.zeros(size, np.uint8))
        (sizes / f"{split}.txt").write_text("a.png 0\nb.png 1\n")
    with DatabaseWriter(tmp_path / "own" / "large_lmdb", 1, 1 << 14) as writer:
        writer.append([(b"0", encode_datum(np.zeros((1, 64, 64), np.uint8), 0))])
    net, solver = write(tmp_path, data, case, tail=tail)
    with pytest.raises(FerError, match=f"(?s){message}") as error:
        planned(net, solver, data)
    assert re.search(r"net\.prototxt:\d+: ", str(error.value))


# ---- the guard


def logged(run: Run, accuracy: float) -> Log:
    return Log(records=(LogRecord(3, "test", 1.0, outputs={"accuracy": accuracy, "loss": 2.0}),))


def told(run: Run, accuracy: float) -> str | None:
    by_snapshot = read_record(run.scores_by_snapshot, ScoresBySnapshot).snapshots
    return disagreement(check_agreement(run, logged(run, accuracy), by_snapshot, COUNT, "3"))


def test_figures_other_than_the_tests_own_are_told_first(tmp_path: Path, data: Path) -> None:
    run = make_run(tmp_path, planned(*write(tmp_path, data, CASES["gray, larger"]), data), data)
    score_run(run)
    right = int(load_scores(run.scores("val")).correct.sum())
    assert told(run, float(f"{right / COUNT:.6g}")) is None
    sentence = told(run, (right + 1) / COUNT)
    assert sentence is not None and "of snapshot 3 its log has" in sentence and "each image of val once" in sentence
    solver = read_solver(run.solver)
    # Four batches of five leave seven images out, of which none or all may be right.
    solver.test_iter[0] = 4
    write_text(run.solver, solver)
    seen = 4 * BATCH
    assert told(run, min(right, seen) / seen) is None and told(run, max(0, right - BATCH) / seen) is None
    assert "28 images of val" in (told(run, (right + 1) / seen) or "")
    # Twelve go twice through val, and see fourteen images once more.
    solver.test_iter[0] = 12
    write_text(run.solver, solver)
    seen = 12 * BATCH
    assert told(run, (2 * right + min(right, 14)) / seen) is None
    assert told(run, (2 * right + min(right, 14) + 1) / seen) is not None


def test_the_first_lines_say_it(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    run = make_run(tmp_path, planned(*write(tmp_path, data, CASES["a list of one's own"]), data), data)
    score_run(run)
    right = int(load_scores(run.scores("val")).correct.sum())
    for more, begins in ((1, "WARNING: These figures disagree with the training's own test: "), (0, "WARNING: Val is")):
        tested = log_lines.TestOutput(0, "accuracy", (right + more) / COUNT)
        run.log.write_text(log_text([log_lines.Testing(3), tested, log_lines.Iteration(3, 1.0), log_lines.Done()]))
        result = build_report([run])
        assert summary_text(result).startswith(begins)
        told = json.loads((run.report_dir / "metrics.json").read_text())
        assert list(told).index("warnings") == 1 and f"WARNING: {told['warnings'][0]}".startswith(begins)
        assert isinstance(result, RunResult) and result.agreement is not None and result.agreement.apart == more
        page = (run.report_dir / "report.html").read_text()
        assert page.index("<b>Warning:</b>") < page.index("Accuracy")
        assert result.splits["val"].name == "own.txt (val)" and "chosen on own.txt (val)" in page


def test_a_report_that_would_come_out_the_same_is_found(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    run = make_run(tmp_path, planned(*write(tmp_path, data, PLAIN), data), data)
    score_run(run)
    run.log.write_text(log_text(log_events(3, 1.0, 1, every=1, test=3)))
    assert find_report([run], run.report_dir) is None
    result = build_report([run])
    assert find_report([run], run.report_dir) == result
    assert find_report([run], run.report_dir, val_only=True) is None and find_report([run], tmp_path / "other") is None
    (run.report_dir / "report.html").write_text("edited")
    assert find_report([run], run.report_dir) is None
    build_report([run])
    assert find_report([run], run.report_dir) == result
    with run.log.open("a") as log:
        log.write("\n")
    assert find_report([run], run.report_dir) is None


def test_answers_that_rounding_decides_are_allowed_for(tmp_path: Path, data: Path) -> None:
    run = make_run(tmp_path, planned(*write(tmp_path, data, CASES["gray, larger"]), data), data)
    score_run(run)
    right = int(load_scores(run.scores("val")).correct.sum())
    known = read_record(run.scores_by_snapshot, ScoresBySnapshot).snapshots
    few = {"3": dataclasses.replace(known["3"], undecided=2)}
    for more, apart in ((2, 0), (3, 1)):
        found = check_agreement(run, logged(run, (right + more) / COUNT), few, COUNT, "3")
        assert found is not None and found.apart == apart
    assert (
        check_agreement(run, logged(run, 0.5), {"3": dataclasses.replace(known["3"], undecided=None)}, COUNT, "3")
        is None
    )


def test_a_test_that_mirrors_at_random_is_not_compared(tmp_path: Path, data: Path) -> None:
    case = dataclasses.replace(CASES["gray, larger"], transform="mirror: true")
    run = make_run(tmp_path, planned(*write(tmp_path, data, case), data), data)
    score_run(run)
    assert told(run, 0.0) is None and told(run, 1.0) is None


def test_a_deploy_net_of_other_images_scores_nothing(tmp_path: Path, data: Path) -> None:
    run = make_run(tmp_path, planned(*write(tmp_path, data, CASES["gray, larger"]), data), data)
    deploy = read_net(run.deploy)
    deploy.layer[0].input_param.shape[0].dim[2:] = [48, 48]
    write_text(run.deploy, deploy)
    with pytest.raises(FerError, match="takes images of 1x48x48, and the net's layer 'data' gives 1x96x96"):
        score_run(run)


# ---- what is kept


def test_what_scores_were_made_from_is_told_where_it_changed(tmp_path: Path, data: Path) -> None:
    run = make_run(tmp_path, planned(*write(tmp_path, data, CASES["a list of one's own"]), data), data)
    assert score_run(run) == [] and score_run(run) == []
    deploy = read_net(run.deploy)
    deploy.name = "another"
    write_text(run.deploy, deploy)
    again = "scored again: snapshot 3, val.npz, test.npz: changed since: "
    assert score_run(run) == [again + "deploy.prototxt"]
    net = read_net(run.net)
    net.layer[1].transform_param.scale = 0.0079
    write_text(run.net, net)
    assert score_run(run) == [again + "the crop, mean, scale or size of the images"]
    picture = next((tmp_path / "own" / "turned").glob("*.jpg"))
    cv2.imwrite(str(picture), np.zeros((48, 48), np.uint8))
    assert score_run(run) == ["scored again: snapshot 3, val.npz: changed since: the images"]
    assert score_run(run) == []


@pytest.mark.parametrize("name", ["a list of one's own", "colour"])
def test_an_image_of_a_list_that_was_trained_on_is_guarded(tmp_path: Path, data: Path, name: str) -> None:
    data = shutil.copytree(data, tmp_path / "there" / "data")
    net, solver = write(tmp_path / "there", data, CASES[name])
    plan = planned(net, solver, data)
    run = make_run(tmp_path / "there", plan, data)
    run.update(data=first_record(plan, "net", solver, data, here(), ()).data, dir=str(run.dir))
    (tmp_path / "there").rename(tmp_path / "here")
    run = Run(tmp_path / "here" / "runs" / "net-s1")
    check_data(run)
    listed = next(each for each in run.record.data.images if "train" not in each.list)
    picture = Path(listed.root, Path(listed.list).read_text().split()[0])
    cv2.imwrite(str(picture), np.zeros((48, 48), np.uint8))
    with pytest.raises(FerError, match=rf"{Path(listed.list).name}: an image that it names has changed") as error:
        check_data(run)
    if name != "colour":  # the data directory's own images are checked before
        for read in (score_run, average_run, lambda run: resume(run.dir)):
            with pytest.raises(FerError, match=re.escape(str(error.value))):
                read(run)
    picture.unlink()
    with pytest.raises(FerError, match=picture.name):
        check_data(run)


def test_a_file_of_numbers_that_was_trained_on_is_guarded(tmp_path: Path, data: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["label"] = np.zeros((7, 1, 48, 48), np.float32), np.zeros(7, np.float32)
    (tmp_path / "train.txt").write_text(f"{tmp_path}/a.h5\n")
    net, solver = write(tmp_path, data, PLAIN)
    numbers = f'hdf5_data_param {{ source: "{tmp_path}/train.txt" batch_size: 7 }}'
    text = net.read_text().replace('type: "Data"', 'type: "HDF5Data"', 1)
    net.write_text(
        re.sub(r"transform_param \{ [^}]*\} ", "", text, count=1).replace(database("train_lmdb"), numbers, 1)
    )
    plan = planned(net, solver, data)
    run = make_run(tmp_path, plan, data)
    run.update(data=first_record(plan, "net", solver, data, here(), ()).data)
    check_data(run)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["label"][0] = 1
    with pytest.raises(FerError, match=r"a\.h5 has changed since"):
        check_data(run)


def test_edited_scores_are_made_again(tmp_path: Path, data: Path) -> None:
    run = make_run(tmp_path, planned(*write(tmp_path, data, PLAIN), data), data)
    score_run(run)
    path = run.scores("test")
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **arrays | {"labels": (arrays["labels"] + 1) % 7})
    with pytest.raises(FerError, match=r"test\.npz: edited since fer wrote it"):
        load_scores(path)
    by_snapshot = json.loads(run.scores_by_snapshot.read_text())
    by_snapshot["snapshots"]["3"]["accuracy"] = 1.0
    run.scores_by_snapshot.write_text(json.dumps(by_snapshot))
    assert score_run(run) == [
        "scored again: snapshot 3: val_by_snapshot.json was damaged or edited",
        "scored again: test.npz: damaged or edited",
    ]
    assert (load_scores(path).labels == arrays["labels"]).all()


def test_what_a_killed_scoring_has_left_goes(tmp_path: Path, data: Path) -> None:
    run = make_run(tmp_path, planned(*write(tmp_path, data, PLAIN), data), data)
    left = run.dir / ".scores.partial"
    left.mkdir()
    (left / "val.npy").write_bytes(b"half")
    score_run(run)
    assert not left.exists() and not list(run.dir.glob(".score*"))
    shutil.rmtree(run.dir / "scores")
