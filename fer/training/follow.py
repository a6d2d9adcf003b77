"""A training's curves for TensorBoard while it goes on, from the records of its log, whichever engine writes it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from fer.errors import FerError
from fer.evaluation.event_file import RunEvents
from fer.formats.log import parse_log
from fer.formats.log_records import LogRecord
from fer.runs.run import Run
from fer.training.events import Notice, Tell

Take = Callable[[LogRecord], None]


@contextlib.contextmanager
def following(directory: Path | None, run: Run, start: int, tell: Tell) -> Iterator[Take]:
    """What takes each record for the event file in `directory` (None: for nobody).

    It begins with the curves of the run's log up to the iteration `start`, from which the training goes on. A file that
    can no longer be written is told, and stops no training. Raises FerError where it cannot be begun.
    """
    if directory is None:
        yield lambda record: None
        return
    try:
        events = RunEvents(directory, run)
        before = parse_log(run.log).curves() if start and run.log.is_file() else []
        events.begin(run, [record for record in before if record.iteration <= start])
    except OSError as error:
        raise FerError(f"--tensorboard {directory}: cannot be written: {error.strerror}") from error
    broken = False

    def take(record: LogRecord) -> None:
        nonlocal broken
        if broken:
            return
        try:
            events.add(record)
        except OSError as error:
            broken = True
            tell(Notice(f"{events.folder} cannot be written ({error.strerror}): TensorBoard sees no more of this run"))

    try:
        yield take
    finally:
        with contextlib.suppress(OSError):
            events.close()
