"""fer train with the engines of ours, from start to report: stops, resumes to the last bit, and Caffe's own log."""

import difflib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training
from made_report import report_of
from training import assert_same_training, numbers, resume, train, wait_for_log

from fer.engines.registry import find_engine
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.evaluation.scores import load_scores
from fer.formats.log import parse_log
from fer.formats.prototxt import read_net
from fer.nets.deploy import front_layer
from fer.nets.states import State
from fer.runs.run import Run
from fer.runs.scores import ScoresBySnapshot
from fer.system.records import read_record

pytestmark = pytest.mark.full

OURS = ("pytorch", "tensorflow")
NET = training.NET  # with mirror, random crop and dropout
LONG: dict[str, Any] = {"max_iter": 300, "display": 1, "snapshot": 110, "test_interval": 70, "test_iter": 4}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for engine in OURS:
            patch.setenv(f"FER_{'TORCH' if engine == 'pytorch' else 'TENSORFLOW'}_THREADS", "1")
        patch.delenv("FER_CAFFE", raising=False)
        yield


def start(folder: Path, data: Path, engine: str = "pytorch", name: str = "run", **solver: object) -> Run:
    net_path, solver_path = training.write_net(folder, net=NET, **solver)
    return train(net_path, solver_path, data, name=name, seed=1, engine=engine, runs_dir=folder / "runs")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Run:
    """300 iterations without a stop."""
    return start(tmp_path_factory.mktemp("whole"), data, **LONG)


@pytest.fixture(scope="module")
def whole_of_tensorflow(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Run:
    return start(tmp_path_factory.mktemp("whole"), data, "tensorflow", **LONG)


# ---- stops and resumes


@pytest.mark.parametrize(
    ("engine", "of", "number", "code"),
    [
        ("pytorch", "whole", signal.SIGINT, 130),
        ("pytorch", "whole", signal.SIGTERM, 143),
        ("tensorflow", "whole_of_tensorflow", signal.SIGTERM, 143),
    ],
)
def test_stopped_and_resumed_it_is_the_training_that_was_never_stopped(
    tmp_path: Path, data: Path, request: pytest.FixtureRequest, engine: str, of: str, number: signal.Signals, code: int
) -> None:
    whole = request.getfixturevalue(of)
    training.write_net(tmp_path, net=NET, **LONG)
    process = training.start_training(tmp_path, data, engine)
    wait_for_log(tmp_path, "Iteration 30 ", process)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == code, said
    stopped = Run(tmp_path / "runs" / "run").snapshots()[-1]
    assert f"stopped at iteration {stopped.iteration}, saved" in said and 30 < stopped.iteration < 300
    assert stopped.extra is not None and stopped.extra.is_file()
    assert_same_training(resume(tmp_path / "runs" / "run"), whole)


def test_killed_it_loses_what_was_not_saved(tmp_path: Path, data: Path, whole: Run) -> None:
    training.write_net(tmp_path, net=NET, **LONG)
    process = training.start_training(tmp_path, data, "pytorch")
    wait_for_log(tmp_path, "Iteration 115 ", process)
    os.kill(training.child_of(process), signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == 1 and "PyTorch was killed (SIGKILL)" in said
    assert Run(tmp_path / "runs" / "run").snapshots()[-1].iteration in (110, 220)
    assert_same_training(resume(tmp_path / "runs" / "run"), whole)


def test_made_longer_it_is_the_longer_training(tmp_path: Path, data: Path, whole: Run) -> None:
    run = start(tmp_path, data, **{**LONG, "max_iter": 37})  # in the midst of an epoch of 70 images
    assert_same_training(resume(run.dir, max_iter=300), whole)


def test_a_faulty_training_is_told_in_its_own_words(tmp_path: Path, data: Path) -> None:
    with pytest.raises(FerError, match=r"loss (is|has exploded).*lower base_lr"):
        start(tmp_path, data, base_lr=1e4, max_iter=2000, snapshot=0, display=1)
    net, _ = training.write_net(tmp_path, net='layer { name: "x" type: "Convolutoin" top: "x" }')
    with pytest.raises(FerError, match=r"PyTorch says: .*net\.prototxt:1: .*'Convolutoin'.*Convolution"):
        find_engine("pytorch").describe(net, State("TRAIN"), folder=tmp_path)


# ---- with real Caffe


def test_every_engine_goes_on_with_the_others_runs(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data, "caffe", **{**LONG, "max_iter": 25})
    run = resume(run.dir, max_iter=50, engine="pytorch")
    assert run.record.engine == "pytorch" and run.snapshots()[-1].extra
    run = resume(run.dir, max_iter=65, engine="tensorflow")
    assert run.record.engine == "tensorflow" and run.snapshots()[-1].extra
    run = resume(run.dir, max_iter=80, engine="caffe")
    assert run.record.engine == "caffe" and not run.snapshots()[-1].extra
    changes = [(c.iteration, c.before.engine, c.after.engine) for c in run.record.changes]
    assert changes == [(25, "caffe", "pytorch"), (50, "pytorch", "tensorflow"), (65, "tensorflow", "caffe")]
    losses = [loss for _, loss, _ in numbers(run, "train") if loss is not None]
    assert np.mean(losses[-20:]) < 0.95 * np.mean(losses[:10])  # it went on learning
    training_log = parse_log(run.log)
    assert [record.iteration for record in training_log.curve("train")][-1] == 80


NUMBER = r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|\bnan\b|\binf\b)"
HEADER = re.compile(r"[IWEF]\d{8} [\d:.]+ +(?P<thread>\d+) [\w./]+:\d+\] ?(?P<text>.*)")
WAITING = "Waiting for data"


def bare(log: Path) -> list[str]:
    """What the solver's thread says, without times, threads, source lines and numbers.

    Left out are Caffe's lines on its reading ahead, which our engine does not do: those of its reading threads ("data
    prefetching" begins anew: they run some batches ahead, so the line stands where it happens to), and that the solver
    had to wait for them, which it says by the clock.
    """
    lines, solvers = [], None
    for line in log.read_text().splitlines():
        header = HEADER.match(line)
        if header:
            solvers = solvers or header["thread"]  # it speaks first
            if header["thread"] != solvers or header["text"] == WAITING:
                assert "data" in header["text"], line
                continue
        lines.append(re.sub(NUMBER, "N", header["text"] if header else line).strip())
    return lines


@pytest.mark.parametrize("engine", OURS)
def test_our_logs_differ_from_caffes_in_numbers_and_times_only(tmp_path: Path, data: Path, engine: str) -> None:
    """From the solver's start on; before it both describe the net they build, word for word alike too."""
    options = {"max_iter": 40, "lr_policy": '"multistep"\nstepvalue: 10\nstepvalue: 30\ngamma: 0.5'}
    ours, caffes = (start(tmp_path, data, each, each, **options) for each in (engine, "caffe"))
    mine, theirs = bare(ours.log), bare(caffes.log)
    begin = "Solving Small"
    difference = list(difflib.unified_diff(theirs[theirs.index(begin) :], mine[mine.index(begin) :], lineterm="", n=1))
    assert not difference, "\n".join(difference)
    before = [difflib.SequenceMatcher(None, theirs[: theirs.index(begin)], mine[: mine.index(begin)]).ratio()]
    assert before[0] > 0.9
    for phase in ("train", "test"):
        rows = [
            [(r.iteration, r.lr, sorted(r.outputs)) for r in parse_log(run.log).curve(phase)] for run in (ours, caffes)
        ]
        assert rows[0] and rows[0] == rows[1]
    assert parse_log(ours.log).optimization_done


# ---- from start to report


def test_from_start_to_report(tmp_path: Path, data: Path, whole: Run) -> None:
    score_run(whole, ten_crop=True)
    assert read_record(whole.scores_by_snapshot, ScoresBySnapshot).snapshots.keys() == {"110", "220", "300"}
    scores = load_scores(whole.scores("test"))
    assert len(scores.files) == training.VAL_COUNT and scores.meta.engine == "pytorch"
    result = report_of(whole, tmp_path / "report")
    assert (tmp_path / "report" / "report.html").is_file() and result


def test_all_engines_score_the_same_weights_alike(tmp_path: Path, data: Path, whole: Run) -> None:
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(1).integers(0, 256, (50, 1, 48, 48), np.uint8))
    transform = front_layer(read_net(whole.net)).transform_param
    for ten_crop in (False, True):
        answers = []
        for engine in ("caffe", *OURS):
            out = tmp_path / f"{engine}.npz"
            find_engine(engine).predict(
                whole.deploy, [whole.weights_file(300)], images, transform, [out], ten_crop=ten_crop, folder=whole.dir
            )
            with np.load(out, allow_pickle=False) as file:
                answers.append(file["probs"])
        for answer in answers[1:]:
            np.testing.assert_allclose(answers[0], answer, atol=1e-5)


@pytest.mark.parametrize("engine", ["caffe", *OURS])
def test_a_process_scores_several_weights_as_one_process_each_does(tmp_path: Path, whole: Run, engine: str) -> None:
    """To the last bit, also behind a batch of fewer images; and what was there before a file failed stays."""
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(1).integers(0, 256, (70, 1, 48, 48), np.uint8))
    transform = front_layer(read_net(whole.net)).transform_param
    files = [whole.weights_file(iteration) for iteration in (300, 110)]
    told: list[tuple[int, int]] = []

    def score(*weights: Path) -> list[Path]:
        outs = [tmp_path / f"{path.stem}_of_{len(weights)}.npz" for path in weights]
        asked = find_engine(engine)
        asked.predict(
            whole.deploy, weights, images, transform, outs, ten_crop=True, folder=whole.dir,
            answered=lambda done, total: told.append((done, total)),
        )  # fmt: skip
        return outs

    with pytest.raises(FerError, match="gone"):
        score(*files, tmp_path / "gone.caffemodel")
    assert told == [(1, 3), (2, 3)]
    together = [np.load(tmp_path / f"{path.stem}_of_3.npz")["probs"] for path in files]
    assert not (tmp_path / "gone_of_3.npz").exists() and (together[0] != together[1]).any()
    for file, probs in zip(files, together, strict=True):
        assert np.array_equal(np.load(score(file)[0])["probs"], probs)
