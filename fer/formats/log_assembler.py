"""Records out of a log's lines, of a file's and of a run's that still goes on alike."""

import re
from dataclasses import replace

from fer.formats.log_clock import Clock
from fer.formats.log_lines import (
    Done,
    Event,
    Fatal,
    Iteration,
    Lr,
    Output,
    Policy,
    Resuming,
    Said,
    Snapshotting,
    SnapshottingState,
    Solving,
    Step,
    StoppedEarly,
    Testing,
    TestLoss,
    TestOutput,
    TestScore,
    TrainScore,
    event_of,
    said_in,
)
from fer.formats.log_parts import Thread, Training
from fer.formats.log_records import Log, LogRecord
from fer.formats.log_text import clean

Finished = LogRecord | Event
MOST_KNOWN = 2**20  # lines whose repetition is noticed


class LogAssembler:
    """Makes records of a log's lines: feed them, and take what each finishes, then `log`.

    Each thread's lines are taken by themselves: several GPUs, or several trainings at once, mix theirs up.
    A training begins where one begins anew at the iteration that the one before began at, and no line says that it
    was resumed.
    """

    def __init__(self) -> None:
        self._clock = Clock()
        self._threads: dict[str, Thread] = {}
        self._trainings: list[Training] = []
        self._before = self._shown = Training(0.0)  # what is said before the first
        self._resumes: Training | None = None  # what the next record goes on with
        self._wrote: dict[str, Training] = {}  # by the states, and by their prefixes
        self._open: dict[Thread, None] = {}  # that have a record at hand, in their order
        self._known: set[int] = set()
        self._latest_time, self._repeats = ("", ""), False
        self._seconds = 0.0
        self.lines = self.events = 0

    def feed(self, line: str) -> list[Finished]:
        """What one whole line finishes: records, then the line's own event, where that is no part of a record."""
        self.lines += 1
        finished: list[Finished] = []
        for said in said_in(clean(line)):
            event = event_of(said.severity, said.message)
            # The end of a message that another one runs into is lost: half a number is none.
            if event is None or (said.cut and not isinstance(event, Done | StoppedEarly | Fatal)):
                continue
            thread = self._threads.setdefault(said.thread, Thread())
            if self._is_repeated(thread, said):
                continue
            seconds = self._clock.seconds(said.date, said.time)
            if seconds is not None:
                self.events += 1
                self._seconds = seconds
                finished += self._take(thread, event, seconds)
        return finished

    def _is_repeated(self, thread: Thread, said: Said) -> bool:
        """Whether a line says again what was said before, in a log that was written twice.

        It is the one before, or one of an earlier time, or behind such: a log whose times stand still may say the same
        anew.
        """
        key, when = hash((said.thread, said.date, said.time, said.message)), (said.date, said.time)
        self._repeats = key in self._known and (key == thread.said or when < self._latest_time or self._repeats)
        if len(self._known) == MOST_KNOWN:
            self._known.clear()
        self._known.add(key)
        thread.said, self._latest_time = key, max(self._latest_time, when)
        return self._repeats

    def finish(self) -> list[LogRecord]:
        """The records that no more lines will come for."""
        threads = [*self._threads.values()]
        finished = [record for thread in threads for record in self._keep(thread, thread.finish())]
        if not self._trainings and threads:  # rates alone
            return self._keep(threads[0], threads[0].rates)
        return finished

    def log(self, *, truncated: bool = False) -> Log:
        """All that is finished, of the training that began, or was resumed, last."""
        self._shown.latest = self._seconds
        others = [training for training in self._trainings if training is not self._shown]
        return replace(self._shown.log(others), truncated=truncated)

    def _take(self, thread: Thread, event: Event, seconds: float) -> list[Finished]:
        if isinstance(event, Iteration | Testing | Lr):
            self._open[thread] = None
            if thread.training:
                thread.training.threads[thread] = None
        match event:
            case Output(_, name, value, weight):
                thread.output("test" if isinstance(event, TestOutput) else "train", name, value, weight)
                return []
            case TestScore(index, value):
                phase = "train" if isinstance(event, TrainScore) else "test"
                thread.output(phase, f"score#{index}", value)
                return []
            case TestLoss(loss):
                if thread.newest and thread.newest.phase == "test":
                    thread.newest = replace(thread.newest, loss=loss)
                return []
            case Iteration(iteration, loss):
                return [*self._keep(thread, thread.train(iteration, seconds, loss=loss))]
            case Testing(iteration, net):
                return [*self._keep(thread, thread.begin(LogRecord(iteration, "test", seconds, net=net)))]
            case Lr(iteration, lr):
                return [*self._keep(thread, thread.train(iteration, seconds, lr=lr))]
            case Step():  # said between the loss and its rate
                return [event]
        ends_all = isinstance(event, Done | StoppedEarly | Fatal | Resuming)
        finished: list[Finished] = []
        for ended in [*self._open] if ends_all else [thread]:
            finished += self._keep(ended, ended.finish())
            ended.newest = None
            self._open.pop(ended, None)
        self._note(thread, event, seconds)
        return [*finished, event]

    # ---- trainings

    def _latest(self) -> Training:
        return self._trainings[-1] if self._trainings else self._before

    def _note(self, thread: Thread, event: Event, seconds: float) -> None:
        """Keep what is said beside the records, of the training that says it."""
        training = thread.training or self._latest()
        training.latest = seconds if thread.training else training.latest
        match event:
            case Solving(name, policy):
                thread.solving, thread.began, thread.policy = event, seconds, policy or ""
                if not self._trainings:
                    training.net_name, training.policy = name, thread.policy
            case Policy(policy):
                thread.policy = policy
                if thread.solving is None or not self._trainings:
                    training.policy = policy
            case Resuming(path):
                self._resumes = self._resumed(path, seconds)
            case Snapshotting(path):
                training.snapshots.append(path)
            case SnapshottingState(path):
                self._wrote[path] = self._wrote[_prefix(path)] = training
                training.prefixes.add(_prefix(path))
            case StoppedEarly():
                training.stopped_early = True
            case Done():
                training.done = True
            case Fatal(message):
                training.fatal = message

    def _resumed(self, path: str, seconds: float) -> Training:
        """The training that a state is of: of those that wrote it the last, else the last of all."""
        if not path and self._resumes is not None:  # that is what was said before
            return self._resumes
        training = self._wrote.get(path) or self._wrote.get(_prefix(path)) or self._latest()
        if _prefix(path) and training.prefixes and _prefix(path) not in training.prefixes:
            training = Training(seconds)  # of a training that this log does not hold
        training.goes_on()
        training.resumed += [path] * bool(path)
        return training

    def _keep(self, thread: Thread, records: list[LogRecord]) -> list[LogRecord]:
        kept: list[LogRecord] = []
        for record in records:
            joins, training = thread.training is None, self._training_of(thread, record)
            thread.training, thread.solving, self._resumes = training, None, None
            if joins:  # after another process, whose last record no line has finished
                others, training.threads = training.threads, {}
                for other in others:
                    kept += self._keep(other, other.finish())
            if not training.records:
                training.first = record.iteration
            training.records.append(record)
            training.newest, training.latest = record.iteration, record.seconds
            kept.append(record)
        return kept

    def _training_of(self, thread: Thread, record: LogRecord) -> Training:
        current = thread.training or self._latest()
        if self._resumes is not None or not self._trainings:
            training = self._resumes or self._before
            if not training.records:
                return self._begun(training, thread)
            self._shown = training
            return training
        begins = thread.solving is not None or thread.training is None
        if begins and record.iteration > current.first and current.may_be_called(thread.solving):
            current.goes_on()  # nobody begins in the middle
            return current
        if begins or (record.iteration <= current.first and record.iteration < current.newest):
            began = record.seconds if thread.began is None or thread.solving is None else thread.began
            return self._begun(Training(began), thread)
        return current

    def _begun(self, training: Training, thread: Thread) -> Training:
        self._trainings.append(training)
        self._shown = training
        if thread.solving is not None:
            training.net_name, training.policy = thread.solving.name, thread.policy
        return training


def _prefix(path: str) -> str:
    """The snapshot_prefix of a state, without its folder; "" of a file that was called otherwise."""
    return re.split(r"[/\\]", path)[-1].rpartition("_iter_")[0]
