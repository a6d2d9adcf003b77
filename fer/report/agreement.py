"""Whether a report's own figures are those that the training's tests gave: the guard against a split scored otherwise
than the net reads it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fer.errors import FerError
from fer.formats.log_records import Log
from fer.formats.prototxt import read_net, read_solver
from fer.nets.deploy import find_judge, front_layer
from fer.nets.states import filter_net, scored_state
from fer.report.results import AgreementResult
from fer.runs.run import Run
from fer.runs.scores import SnapshotScore
from fer.system.plural import counted


@dataclass(frozen=True)
class Tests:
    """What a run's tests on val show: the log's name of their accuracy, and how many images each counts."""

    output: str
    images: int


def check_agreement(
    run: Run, log: Log, scored: Mapping[str, SnapshotScore], count: int, chosen: str
) -> AgreementResult | None:
    """The comparison of a snapshot's accuracy on val, of `count` images, with the test that the log has of it.

    Of all snapshots that were tested the one that is farthest off; the `chosen` one where none is. None where nothing
    can be compared: no test of a snapshot, images mirrored at random, accuracies of other things.
    """
    tests = _tests(run)
    if tests is None:
        return None
    logged = {str(record.iteration): record.outputs.get(tests.output, math.nan) for record in log.curve("test")}
    if run.record.imported:
        logged.pop("0", None)  # which its weights are called where their iteration is not known
    found = [
        _compare(int(name), logged[name], tests.images, score, count)
        for name, score in scored.items()
        if score.undecided is not None and math.isfinite(logged.get(name, math.nan))
    ]
    return max(found, key=lambda each: (each.apart, str(each.iteration) == chosen), default=None)


def _tests(run: Run) -> Tests | None:
    """How the run's first test net measures what the report measures; None where it does not."""
    try:
        solver, net = read_solver(run.solver), read_net(run.net)
        state = scored_state(solver)
        tested = filter_net(net, state)
        judge, front = find_judge(tested), front_layer(net, state)
    except FerError:
        return None
    if judge.type != "Accuracy" or judge.accuracy_param.HasField("ignore_label") or not solver.test_iter:
        return None
    if front.transform_param.mirror:
        return None  # in TEST too, at random
    batch = (front.data_param if front.type == "Data" else front.image_data_param).batch_size
    if front.image_data_param.shuffle and front.image_data_param.rand_skip:
        return None  # begins within an epoch, and so counts some images twice
    return Tests(judge.top[0], solver.test_iter[0] * batch)


def _compare(iteration: int, logged: float, images: int, score: SnapshotScore, count: int) -> AgreementResult:
    """The log's number of right answers among `images`, against what the report's own allow.

    A test goes through val `rounds` times and then sees `rest` more of its images, of which the right ones are not
    known, only how few and how many there can be. An image between two answers may be counted either way by a test that
    sums in another order, or in bf16: those are allowed for, and half an image for the six digits that the log has.
    """
    right = round(score.accuracy * count)
    rounds, rest = divmod(images, count)
    slack = (score.undecided or 0) * (rounds + (rest > 0)) + 0.5
    least = rounds * right + max(0, rest - (count - right))
    most = rounds * right + min(rest, right)
    told = logged * images
    apart = max(least - slack - told, told - most - slack, 0.0)
    return AgreementResult(
        iteration=iteration,
        logged=logged,
        logged_images=images,
        scored=score.accuracy,
        scored_images=count,
        undecided=score.undecided or 0,
        apart=math.ceil(apart) if apart else 0,
    )


def disagreement(found: AgreementResult | None, *, elsewhere: bool = False) -> str | None:
    """What a report says first where its figures are not those of the training's tests; None where they are.

    Of a training made `elsewhere` the images of the tests may have been others.
    """
    if found is None or not found.apart:
        return None
    logged, scored = counted(found.logged_images, "image"), counted(found.scored_images, "image")
    if elsewhere:
        return (
            f"Its log contradicts these figures: of snapshot {found.iteration:,} it has {found.logged:.2%} "
            f"({logged}), this report {found.scored:.2%} ({scored}). "
            "Either it was tested on other images than these, or its mean, scale, size or order of classes is another "
            "than was taken here (fer import: --mean, --labels)."
        )
    whole = found.logged_images == found.scored_images
    images = "each image of val once" if whole else f"{logged} of val"
    rounding = f"; rounding could turn {found.undecided:,}" if found.undecided else ""
    return (
        f"These figures disagree with the training's own test: of snapshot {found.iteration:,} its log has "
        f"{found.logged:.2%} ({images}), this report {found.scored:.2%} ({scored}{rounding}). "
        "The images, transform or weights scored here are not those tested there: trust neither before you know why."
    )
