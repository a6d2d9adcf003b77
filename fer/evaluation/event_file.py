"""A run for TensorBoard: one event file in DIR/<name>/ with its curves, hyper-parameters and, once scored, the rest.

with RunEvents(Path("boards"), run) as events:
    events.add(record)                    # LogRecords, as the log of the training gives them
"""

import struct
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from fer.errors import FerError
from fer.formats.log_outputs import find_accuracy
from fer.formats.log_records import LogRecord
from fer.formats.prototxt import read_solver
from fer.nets.accuracy import read_accuracy_outputs
from fer.runs.run import Run
from fer.system.files import cannot_write, is_writable
from fer.system.hashes import content_hash
from fer.system.shell import pip_install

PACKAGE = "tensorboardX"
ACCURACY, LOSS = "val/accuracy", "val/loss"
_FLUSH_SECONDS = 5.0


def check_tensorboard(directory: Path) -> None:
    """Make the directory. Raises FerError where it cannot be written, or what writes event files is not installed."""
    _check_package()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(directory, error) from None
    if not is_writable(directory):
        raise FerError(f"--tensorboard {directory}: cannot be written")


def _check_package() -> None:
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise FerError(f"--tensorboard needs {PACKAGE}, which this Python has not\n{pip_install(PACKAGE)}") from None


class RunEvents:
    """The event file of a run, in place of those that it had in this directory before: no point is there twice.

    Where another run of the same name has its file in DIR/<name>/, it is DIR/<name>-2/. Each value is there for
    TensorBoard a few seconds after it was added. Raises FerError without tensorboardX; it and all methods OSError where
    the file cannot be written.
    """

    def __init__(self, directory: Path, run: Run):
        _check_package()
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2, summary_pb2

        self._summary, self._event, self._protos = summary, event_pb2.Event, summary_pb2
        self._accuracies = read_accuracy_outputs(run.net, run.solver)
        self._started = _seconds(run.record.started)
        mark = f".fer-{content_hash(run.name, run.record.started or '')[:12]}"
        self.folder = _folder(directory, run.name, mark)
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in _files(self.folder, mark):
            path.unlink()
        self._writer = EventsWriter(str(self.folder / "events"), mark)
        self._flushed = time.monotonic()
        self._written: set[tuple[str, int]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._writer.close()

    def begin(self, run: Run, records: Iterable[LogRecord], metrics: Mapping[str, float] | None = None) -> None:
        """The run's hyper-parameters, its solver's text, and the records of its log until now; `metrics` are its final
        figures, once it is scored, by their tags."""
        known = {ACCURACY: 0.0, LOSS: 0.0, **(metrics or {})}
        experiment, start, end = self._summary.hparams(_hyperparameters(run), known)
        self._put(experiment, start, *([end] if metrics else []))
        self.text("solver.prototxt", run.solver.read_text("utf-8", "backslashreplace"))
        for record in records:
            self.add(record, self._started + record.seconds)
        for tag, value in (metrics or {}).items():
            self.scalar(tag, value, run.record.iteration)

    def add(self, record: LogRecord, when: float | None = None) -> None:
        """A displayed iteration or a test of the training; `when` is its time, now without."""
        if record.phase == "train":
            values = {"train/loss": record.loss, "train/learning rate": record.lr}
        else:
            accuracy = find_accuracy([record], self._accuracies).name
            first = "val" if record.net == 0 else f"test net {record.net}"
            values = {f"{first}/{'accuracy' if name == accuracy else name}": x for name, x in record.outputs.items()}
        for tag, value in values.items():
            if value is not None:
                self.scalar(tag, value, record.iteration, when)

    def scalar(self, tag: str, value: float, step: int, when: float | None = None) -> None:
        """One value of a curve; the first one of a tag at a step stays."""
        if (tag, step) not in self._written:
            self._written.add((tag, step))
            self._put(self._protos.Summary(value=[{"tag": tag, "simple_value": value}]), step=step, when=when)

    def image(self, tag: str, png: bytes, step: int) -> None:
        """A picture, as it is."""
        width, height = struct.unpack(">II", png[16:24])  # of a PNG's header
        image = self._protos.Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        self._put(self._protos.Summary(value=[{"tag": tag, "image": image}]), step=step)

    def text(self, tag: str, text: str) -> None:
        """Text, line for line."""
        self._put(self._summary.text(tag, "\n".join(f"    {line}" for line in text.splitlines())))

    def _put(self, *summaries: Any, step: int = 0, when: float | None = None) -> None:
        for each in summaries:
            self._writer.write_event(self._event(wall_time=when or time.time(), step=step, summary=each))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._writer.flush()
            self._flushed = time.monotonic()


def _folder(directory: Path, name: str, mark: str) -> Path:
    """The folder that holds the run's file, or the first that holds no other run's."""
    places = [directory / name, *(directory / f"{name}-{number}" for number in range(2, 1000))]
    found = (place for place in places if _files(place, mark))
    return next(found, None) or next(place for place in places if not _files(place, ""))


def _files(folder: Path, mark: str) -> list[Path]:
    return sorted(path for path in folder.glob("*.tfevents.*") if path.name.endswith(mark))


def _seconds(started: str | None) -> float:
    try:
        return datetime.fromisoformat(started or "").timestamp()
    except ValueError:
        return time.time()


def _hyperparameters(run: Run) -> dict[str, Any]:
    """What was chosen for the training."""
    record, solver = run.record, read_solver(run.solver)
    told = {
        "net": record.net,
        "solver": record.solver,
        "engine": record.engine,
        "precision": record.precision,
        "data": record.data.title or "",
    }
    numbers = {"seed": record.seed, "batch_size": record.batch_size, "max_iter": record.max_iter}
    numbers |= {name: getattr(solver, name) for name in ("base_lr", "momentum", "weight_decay", "gamma", "power")}
    texts = {**told, "type": solver.type, "lr_policy": solver.lr_policy}
    return {**texts, **{name: value for name, value in numbers.items() if value is not None}}
