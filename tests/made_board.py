"""A folder of runs and data for the board, a training in it that the test itself writes, and `fer board` over them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import made_run
import numpy as np
import sample_csv
import training

from fer.data.options import PrepareOptions
from fer.data.prepare import prepare
from fer.data.suspects import read_index
from fer.formats.log_lines import Event, Iteration, Lr, Testing, TestOutput, format_line
from fer.formats.prototxt import read_net, write_text
from fer.nets.deploy import derive_deploy
from fer.report.files import MARK, publish
from fer.report.measure import run_result
from fer.report.page import page
from fer.report.scored_run import read_scored_run
from fer.runs.record import TrainedOn
from fer.runs.run import Run
from fer.system.locks import lock
from fer.system.records import seal_record, write_record

HOSTILE = "<img src=x onerror=alert(1)>&\"'"


def make_data(root: Path) -> Path:
    """Faces of each class and split; of them three are the same with two labels in two splits, and two are black."""
    black, twice = np.zeros((48, 48), np.uint8), sample_csv.face(0)
    more = [(0, twice, "Training"), (4, twice, "PublicTest"), (1, black, "Training"), (2, black, "Training")]
    prepare(sample_csv.write_csv(root / "faces.csv", sample_csv.rows(6) + more), root / "data", PrepareOptions())
    return root / "data"


def make_runs(root: Path) -> Path:
    """Two scored runs, the first with a report, and one whose name is not nice."""
    data = make_data(root)
    val, test = (np.array([face.label for face in read_index(data, split)]) for split in ("val", "test"))
    np.savez(root / "labels.npz", val=val, test=test)
    first = made_run.make_run(root, "lenet-s1", skill=1.7)
    (root / "net.prototxt").write_text(training.NET)
    write_text(first.deploy, derive_deploy(read_net(root / "net.prototxt"), (1, 48, 48)))
    write_report(first)
    second = made_run.make_run(root, "lenet-s2", skill=2.6)
    (second.dir / "snapshots").mkdir()
    second.weights_file(200).write_bytes(b"not to be read")
    write_run(root / "runs" / HOSTILE, data, state="finished", max_iter=100, iteration=100)
    return root / "runs"


def write_report(run: Run) -> None:
    """Its report without figures, whose drawing takes seconds."""
    result = run_result(read_scored_run(run))
    files = {"report.html": page(result, {}, {}).encode(), MARK: seal_record(result)}
    publish(run.report_dir, files)


def write_run(directory: Path, data: Path, **facts: object) -> Run:
    directory.mkdir()
    record = made_run.make_record(net="lenet", solver="s2", data=TrainedOn(str(data), {}, "drawn"), **facts)
    write_record(directory / "run.json", record)
    return Run(directory)


@dataclass
class Training:
    """A run that this process trains, as far as anybody can see; `say` writes what an engine would."""

    run: Run
    descriptor: int
    now: datetime = field(default_factory=lambda: datetime(2026, 11, 24, 12, 0))

    def say(self, *events: Event) -> None:
        with self.run.log.open("a") as log:
            for event in events:
                self.now += timedelta(seconds=1)
                log.write(format_line(event, self.now) + "\n")

    def display(self, iteration: int, loss: float, rate: float = 0.01) -> None:
        self.say(Iteration(iteration, loss, 10.0, 2.0, 20), Lr(iteration, rate))

    def test(self, iteration: int, accuracy: float) -> None:
        self.say(Testing(iteration), TestOutput(0, "accuracy", accuracy), TestOutput(1, "loss", 1.5, 1.0))


@contextmanager
def being_trained(runs: Path, name: str) -> Iterator[Training]:
    """A run that is locked while it is open, and killed at its end."""
    run = write_run(runs / name, runs.parent / "data", state="training", max_iter=1000, started="2026-11-25T12:00:00")
    descriptor = os.open(run.dir, os.O_RDONLY)
    assert lock(descriptor)
    try:
        yield Training(run, descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def board(runs: Path, *options: str, ends: signal.Signals = signal.SIGTERM) -> Iterator[str]:
    """`fer board` over a folder of runs, and its address; it ends by a signal as every command does."""
    words: Sequence[str] = ("-m", "fer", "board", str(runs), "--port", "0", *options)
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=runs.parent)
    try:
        assert process.stdout is not None
        found = re.match(r"http://\S+", process.stdout.readline())
        assert found
        yield found[0]
    finally:
        process.send_signal(ends)
        process.communicate(timeout=60)
    assert process.returncode == 128 + ends, process.returncode


def write_photo(path: Path) -> Path:
    """A photo with one drawn face, large enough to be found."""
    from make_sample import draw_face

    face = cv2.resize(draw_face("Happy", np.random.default_rng(3)), (240, 240), interpolation=cv2.INTER_CUBIC)
    photo = np.full((360, 480), round(float(face[0].mean())), np.uint8)
    photo[60:300, 120:360] = face
    assert cv2.imwrite(str(path), photo)
    return path
