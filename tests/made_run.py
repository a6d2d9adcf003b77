"""A run directory made by hand: drawn images, random scores, a log written by fer's own grammar."""

import hashlib
import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer.data.classes import CLASSES
from fer.data.manifest import MANIFEST, ImageSize, Manifest, Source, SplitCounts
from fer.data.options import PrepareOptions
from fer.formats.log_lines import (
    Done,
    Event,
    Iteration,
    Lr,
    Snapshotting,
    Solving,
    Testing,
    TestOutput,
    TrainOutput,
    format_line,
)
from fer.runs.record import HashedFile, RunRecord, SnapshotFiles, TrainedOn
from fer.runs.run import Run
from fer.runs.scores import ScoresBySnapshot, ScoresMeta, SnapshotScore
from fer.runs.scores import write_scores as write_scores_file
from fer.system.records import write_record

SHARES = (0.13, 0.02, 0.14, 0.25, 0.18, 0.11, 0.17)


def log_events(iterations: int, gamma: float, stepsize: int, *, every: int = 20, test: int = 100) -> list[Event]:
    """The events of a run that learns while the rate (0.01 * gamma ^ (i // stepsize)) is there."""
    noise = np.random.default_rng(1)
    events: list[Event] = [Solving("LeNet")]
    learnt = 0.0
    for i in range(0, iterations + 1, every):
        rate = 0.01 * gamma ** (i // stepsize)
        gain = 1 - np.exp(-learnt / 0.2)
        if i % test == 0:
            events += [
                Snapshotting(f"snapshots/lenet_iter_{i}.caffemodel"),
                Testing(i),
                TestOutput(0, "accuracy", 0.25 + 0.3 * gain),
                TestOutput(1, "loss", 1.8 - 0.5 * gain, 1.0),
            ]
        loss = float(1.8 - 0.8 * gain + noise.normal() * 0.1)
        if i < iterations:
            events += [Iteration(i, loss, 10.0, 2.0, every), TrainOutput(0, "loss", loss, 1.0), Lr(i, rate)]
        else:
            events += [Iteration(i, loss)]
        learnt += rate * every / (0.01 * iterations)
    return [*events, Done()]


def log_text(events: list[Event]) -> str:
    start = datetime(2026, 11, 24, 23, 59, 0)
    return "".join(format_line(event, start + timedelta(seconds=i)) + "\n" for i, event in enumerate(events))


def make_data(directory: Path, counts: dict[str, int]) -> dict[str, np.ndarray]:
    """A data directory with drawn images, index and manifest, as far as a report reads it. Labels by split."""
    random = np.random.default_rng(2)
    labels = {split: random.choice(7, count, p=SHARES) for split, count in counts.items()}
    for split, each in labels.items():
        (directory / split).mkdir(parents=True)
        for index, label in enumerate(each[:40]):
            face = np.full((48, 48), 200, np.uint8)
            cv2.circle(face, (24, 24), 18, 90, -1)
            cv2.putText(face, str(label), (16, 32), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
            cv2.imwrite(str(directory / split / f"{index:05d}.jpg"), face)
    manifest = Manifest(
        fer_version="0.1.0",
        source=Source("drawn", "", 0, 0),
        options=PrepareOptions(),
        image=ImageSize(1, 48, 48),
        classes=CLASSES,
        splits={
            split: SplitCounts(len(each), tuple(np.bincount(each, minlength=7).tolist()))
            for split, each in labels.items()
        },
        images={},
        files={},
        title="drawn sample, not FER2013",
    )
    write_record(directory / MANIFEST, manifest)
    return labels


def write_scores(path: Path, split: str, labels: np.ndarray, skill: float, **meta: Any) -> None:
    """Random scores: the greater the skill the more of them right."""
    random = np.random.default_rng(int(skill * 100))
    logits = random.normal(size=(len(labels), 7))
    logits[np.arange(len(labels)), labels] += skill
    probs = np.exp(1.5 * logits)
    probs /= probs.sum(axis=1, keepdims=True)
    made: dict[str, Any] = {"iteration": 200, "weights": "lenet_iter_200.caffemodel", "weights_sha256": "ab"}
    made |= {"ten_crop": False, "engine": "caffe", "database_sha256": "of no database", **meta}
    files = [f"{index:05d}.jpg" for index in range(len(labels))]
    facts = ScoresMeta(split=split, **made)
    write_scores_file(path, facts, files=files, labels=labels, probs=probs.astype(np.float32))


def write_by_snapshot(directory: Path, accuracies: dict[int, float]) -> None:
    """val_by_snapshot.json of a run in `directory`, by iteration."""
    entries = {str(i): SnapshotScore(accuracy, 1.5, "ab", "of no database") for i, accuracy in accuracies.items()}
    write_record(directory / "scores" / "val_by_snapshot.json", ScoresBySnapshot(entries))


def make_record(**fields: Any) -> RunRecord:
    """The record of a finished run on the CPU, with the fields given."""
    made: dict[str, Any] = {
        "state": "finished",
        "command": ("fer", "train"),
        "engine": "caffe",
        "net": "lenet",
        "solver": "s2",
        "seed": 1,
        "gpu": None,
        "batch_size": 16,
        "data": TrainedOn("data", {}),
        "prototxt_sha256": {},
        "versions": {"fer": "0.1.0", "caffe": "1.0.0"},
        "hardware": {"cpu": "a CPU", "cores": 2, "memory_gib": 8, "gpu": None},
        "started": "2026-11-24T23:59:00",
        "seconds": 3725.0,
        "max_iter": 0,
        "iteration": 0,
        "repeatable": "The same seed and one BLAS thread on the same CPU.",
        "snapshots": {},
        "warnings": (),
    }
    return RunRecord(**made | fields)


def make_run(
    root: Path,
    name: str = "lenet-s2",
    *,
    skill: float = 1.7,
    gamma: float = 0.5,
    stepsize: int = 200,
    iterations: int = 400,
    counts: dict[str, int] | None = None,
    ten_crop: bool = False,
) -> Run:
    """A finished, scored run in root/runs on the data in root/data (made when it is not there)."""
    data, directory = root / "data", root / "runs" / name
    counts = counts or {"train": 400, "val": 210, "test": 210}
    if not data.exists():
        drawn: dict[str, Any] = {**make_data(data, counts)}
        np.savez(root / "labels.npz", **drawn)
    with np.load(root / "labels.npz") as stored:
        labels = {split: stored[split] for split in ("val", "test")}
    directory.mkdir(parents=True)
    (directory / "train.log").write_text(log_text(log_events(iterations, gamma, stepsize)))
    (directory / "solver.prototxt").write_text(
        f'net: "train_val.prototxt"\nbase_lr: 0.01\nlr_policy: "step"\ngamma: {gamma}\nstepsize: {stepsize}\n'
        f"max_iter: {iterations}\n"
    )
    net, _, solver = name.partition("-")
    digest = hashlib.sha256((data / "manifest.json").read_bytes()).hexdigest()
    record = make_record(
        name=name,
        command=("fer", "train", "--net", net, "--solver", solver, "--seed", "1"),
        net=net,
        solver=solver,
        data=TrainedOn(str(data), {"mean.binaryproto": "cd" * 32}, "drawn sample, not FER2013", digest),
        max_iter=iterations,
        iteration=iterations,
        snapshots={200: SnapshotFiles(HashedFile("ab", "snapshots/lenet_iter_200.caffemodel"))},
    )
    write_record(directory / "run.json", record)
    for split in ("val", "test"):
        write_scores(directory / "scores" / f"{split}.npz", split, labels[split], skill)
        if ten_crop:
            write_scores(directory / "scores" / f"{split}_tencrop.npz", split, labels[split], skill + 0.1)
    write_by_snapshot(directory, {i: 0.5 - abs(i - 200) / 1e5 for i in range(100, iterations + 1, 100)})
    return Run(directory)


def npz_bytes(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
