"""The proof of a form: what it says of val, read back by its own runtime, beside what the run itself said."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer.errors import FerError
from fer.evaluation.scores import Scores
from fer.export.form import INPUTS, Form, Source, given
from fer.inference.model_record import FormRecord, SplitAccuracy
from fer.system.progress import StageProgress

AGREEMENT = 0.97
"""The least share of val in whose class a form of integers agrees with the run."""
_WORST = 3


@dataclass(frozen=True)
class HeldOut:
    """A split: its images uint8 [N, C, H, W], and what the run said of them."""

    images: np.ndarray
    scores: Scores


def add_form(
    form: Form, source: Source, folder: Path, splits: dict[str, HeldOut], progress: StageProgress
) -> FormRecord:
    """Write a form of both kinds of input into `folder` and read it back on val, and of bytes on test.

    Raises FerError where its probabilities are not the run's own, or (integers) too few of its classes are.
    """
    progress(f"writing {form.name}", 0, 1)
    folder.mkdir()
    seen = {}
    for kind in INPUTS:
        form.write(source, kind, folder)
        progress(f"checking {form.name}, {kind}", 0, len(splits["val"].images))
        seen[kind] = _check(form, source, folder, kind, splits["val"])
    val, test = seen[INPUTS[0]], None
    if "test" in splits:
        inputs = given(splits["test"].images, source.transform, INPUTS[0])
        test = _accuracy(form.predict(folder, INPUTS[0], inputs).probs, splits["test"].scores)
    return FormRecord(
        bytes=sum(path.stat().st_size for path in folder.iterdir() if path.stem == INPUTS[0]),
        val=val.accuracy,
        agreement=val.agreement,
        largest_difference=val.largest_difference,
        test=test,
        milliseconds=float(f"{val.milliseconds:.3g}"),
        tool=form.tool.versions(),
    )


@dataclass(frozen=True)
class _Seen:
    accuracy: SplitAccuracy
    agreement: float
    largest_difference: float
    milliseconds: float


def _check(form: Form, source: Source, folder: Path, kind: str, split: HeldOut) -> _Seen:
    answers, own = form.predict(folder, kind, given(split.images, source.transform, kind)), split.scores.probs
    if answers.probs.shape != own.shape or not np.isfinite(answers.probs).all():
        raise FerError(f"{form.name} ({kind}) gives no probabilities of {own.shape[1]} classes; nothing was written")
    apart = np.abs(answers.probs - own).max(axis=1)
    same = answers.probs.argmax(axis=1) == own.argmax(axis=1)
    worst = int(apart.argmax())
    if form.tolerance is not None and not apart[worst] <= form.tolerance:
        raise FerError(
            f"{form.name} ({kind}) gives probabilities up to {apart[worst]:.2g} off the run's own "
            f"(val, {split.scores.files[worst]}); {form.tolerance:g} is allowed\nso nothing was written"
        )
    if form.tolerance is None and same.mean() < AGREEMENT:
        raise FerError(
            f"{form.name} ({kind}) agrees with the run in {same.mean():.1%} of val; {AGREEMENT:.0%} is the least\n"
            f"least signal to noise in the weights: {_worst_layers(source)}\n"
            "try another form, or a net without layers of few, very unequal channels; nothing was written"
        )
    accuracy = _accuracy(answers.probs, split.scores)
    return _Seen(accuracy, float(same.mean().round(4)), float(f"{apart[worst]:.2g}"), answers.milliseconds)


def _accuracy(probs: np.ndarray, scores: Scores) -> SplitAccuracy:
    right = probs.argmax(axis=1) == scores.labels
    return SplitAccuracy(len(right), int(right.sum()), float(right.mean()))


def _worst_layers(source: Source) -> str:
    """The layers whose weights lose most in 255 steps an output channel, in decibels of signal to noise."""
    ratios = {}
    for name, blobs in source.blobs.items():
        rows = np.asarray(blobs[0], np.float64).reshape(len(blobs[0]), -1)
        steps = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-30) / 127
        noise = ((np.rint(rows / steps) * steps - rows) ** 2).sum()
        if noise:
            ratios[name] = 10 * np.log10((rows**2).sum() / noise)
    worst = sorted(ratios, key=lambda name: ratios[name])[:_WORST]
    return ", ".join(f"{name} {ratios[name]:.0f} dB" for name in worst)
