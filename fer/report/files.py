"""A report's files: CSV texts, and a folder that appears whole or not at all."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fer.errors import FerError
from fer.evaluation.metrics import Scores
from fer.formats.log import Log, LogRecord
from fer.system.files import replacement, write_bytes

MARK = "metrics.json"  # every report has one: a folder without it is not ours to replace


def curve_csv(log: Log, phase: str, net: int = 0) -> str:
    """The columns of Caffe's parse_log.py: NumIters,Seconds,LearningRate,<outputs>.

    As there, a row is an iteration with outputs; a log of 2014 has none in training, so its displayed loss is the
    column. The learning rate of a test is that in force at its iteration. Unknown cells are empty.
    """
    records = log.curve(phase, net)
    rows = [(record, record.outputs) for record in records if record.outputs]
    if not rows:
        rows = [(record, {"loss": record.loss}) for record in records if record.loss is not None]
    names = list(dict.fromkeys(name for _, outputs in rows for name in outputs))
    rates = [(r.iteration, r.lr) for r in log.curve("train") if r.lr is not None]
    return _csv(
        ("NumIters", "Seconds", "LearningRate", *names),
        (
            (r.iteration, f"{r.seconds:.6f}", _rate(r, rates), *(outputs.get(name, "") for name in names))
            for r, outputs in rows
        ),
    )


def _rate(record: LogRecord, rates: Sequence[tuple[int, float]]) -> float | str:
    if record.lr is not None:
        return record.lr
    return next((rate for iteration, rate in reversed(rates) if iteration <= record.iteration), "")


def scores_csv(scores: Scores, classes: Sequence[str]) -> str:
    """A row for each image: file, label and prediction as class numbers, the probability of each class by name."""
    rows = zip(scores.files, scores.labels, scores.predictions, scores.probs, strict=True)
    return _csv(
        ("file", "label", "prediction", *classes),
        ((file, label, prediction, *(str(p) for p in probs)) for file, label, prediction, probs in rows),
    )


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def publish(out: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files (names relative to `out`) beside, then puts the whole folder in place of an older report.

    Raises FerError: `out` is a file or holds something else than a report; the disk is full or read-only.
    """
    if out.exists() and not (out.is_dir() and ((out / MARK).is_file() or not any(out.iterdir()))):
        raise FerError(f"{out} is there already and is no report: choose another --out, or remove it")
    with replacement(out) as beside:
        for name, data in files.items():
            write_bytes(beside / name, data, parents=True)
