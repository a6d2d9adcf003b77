"""The proof: every program at hand reads a form back, and what it says of val is held to what the run said."""

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fer.engines.engine import Engine
from fer.engines.registry import ENGINES, find_engine
from fer.errors import FerError
from fer.evaluation.scores import Scores
from fer.export.form import EXACT, Form, Job, Reader, Reads, size_of
from fer.export.forms import FORMS
from fer.inference.classifier import MEAN, Classifier, Model
from fer.inference.model_record import FormRecord
from fer.schema import caffe_pb2
from fer.system.arrays import write_array

AGREEMENT = 0.97
"""The least share of val's images that a form of integers must give the run's own class."""
_WORST = 3
_OF_BYTES = ("bytes.*",)


@dataclass(frozen=True)
class HeldOut:
    """A split: its images uint8 [N, C, H, W], and what the run said of them."""

    images: np.ndarray
    scores: Scores


def check_caffe_files(job: Job, val: HeldOut) -> tuple[dict[str, float], dict[str, str]]:
    """(largest difference from the run's own probabilities by reader of Caffe's files, why others were not asked).

    Raises FerError where one is more than EXACT.
    """
    readers, unchecked = _readers(job)
    return {name: _largest(name, _read(job, name, read, val), val.scores) for name, read in readers.items()}, unchecked


def prove(
    job: Job, form: Form, val: HeldOut, test: HeldOut | None
) -> tuple[FormRecord, dict[str, float], dict[str, str]]:
    """What a written form gives on val, and once on test; the largest difference by reader, why others were not asked.

    Raises FerError where its probabilities are not the run's own, or (integers) too few of its classes are.
    """
    readers, unchecked = form.readers(job)
    seen = {name: _read(job, name, read, val) for name, read in readers.items()}
    limit = None if form.integers else form.tolerance
    differences = {name: _largest(name, probs, val.scores, limit) for name, probs in seen.items()}
    agreements = {name: _agreement(probs, val.scores) for name, probs in seen.items()}
    name, worst = min(agreements.items(), key=lambda item: item[1])
    if form.integers and worst < AGREEMENT:
        raise FerError(
            f"{name} gives {worst:.1%} of val's images the run's own class; {AGREEMENT:.0%} is the least\n"
            f"least signal to noise {_worst_layers(job, form)}\n{_cure(form)}; nothing was written"
        )
    first, read = next(iter(readers.items()))
    record = FormRecord(
        file=form.file,
        bytes=size_of(job.model.directory / form.file, _OF_BYTES if form.tool else ("*",)),
        integers=form.integers,
        accuracy=_accuracy(seen[first], val.scores),
        agreement=float(f"{agreements[first]:.4f}"),
        difference=differences[first],
        test=_accuracy(_read(job, first, read, test), test.scores) if test else None,
        milliseconds=None if read.milliseconds is None else float(f"{read.milliseconds:.3g}"),
        versions=dict(form.versions()),
    )
    return record, {} if form.integers else differences, unchecked


def _read(job: Job, name: str, read: Reader, split: HeldOut) -> np.ndarray:
    job.tell(f"checking with {name}", 0, len(split.images))
    probs = read(split.images)
    if probs.shape != split.scores.probs.shape or not np.isfinite(probs).all():
        count = split.scores.probs.shape[1]
        raise FerError(f"{name} gives no probabilities of {count} classes, or nan; nothing was written")
    return probs


def _largest(name: str, probs: np.ndarray, own: Scores, limit: float | None = EXACT) -> float:
    """The largest difference of a probability from the run's own; FerError where it is more than the limit."""
    apart = np.abs(probs - own.probs).max(axis=1)
    worst = int(apart.argmax())
    if limit is not None and not apart[worst] <= limit:
        raise FerError(
            f"{name} reads the exported files, and gives probabilities up to {apart[worst]:.2g} off the run's own "
            f"({own.split}, {own.files[worst]})\nso nothing was written; {limit:g} is allowed"
        )
    return float(f"{apart[worst]:.2g}")


def _agreement(probs: np.ndarray, own: Scores) -> float:
    return float((probs.argmax(axis=1) == own.probs.argmax(axis=1)).mean())


def _accuracy(probs: np.ndarray, own: Scores) -> float:
    return float((probs.argmax(axis=1) == own.labels).mean())


def _worst_layers(job: Job, form: Form) -> str:
    """The layers with weights that have the least signal to noise, in decibels, each with what it is given has."""
    weighty = [layer for layer in job.folded.net.layer if layer.name in job.folded.blobs]
    job.tell("looking for the layers that lose most", 0, 1)
    try:
        ratios = form.noise(job)
    except FerError:  # that of the disagreement is the one to tell
        ratios = {}
    given, of = dict[str, float](), "in what layers give to images of calibration"
    made: dict[str, float] = {}  # by blob, what is known of it last
    for layer in job.folded.net.layer:
        before = min((made[name] for name in layer.bottom if name in made), default=None)
        if before is not None:
            given[layer.name] = before
        if (ratio := ratios.get(layer.name, before)) is not None:
            made.update(dict.fromkeys(layer.top, ratio))
    if not any(layer.name in ratios for layer in weighty):
        ratios, given, of = _weight_noise(job.folded.blobs), {}, "in the weights"
    names = [layer.name for layer in weighty if layer.name in ratios]
    worst = sorted(names, key=lambda name: ratios[name])[:_WORST]
    came = {name: f" (of {given[name]:.0f} before it)" if name in given else "" for name in worst}
    return f"{of}: {', '.join(f'{name} {ratios[name]:.0f} dB{came[name]}' for name in worst)}"


def _cure(form: Form) -> str:
    floats = [name for name, each in FORMS.items() if type(each) is type(form) and not each.integers]
    first = f"try {' or '.join(floats)}, in floats" if floats else "try a form in floats"
    return f"{first}, or BatchNorm before the worst of them, which brings all channels to one range"


def _weight_noise(blobs: dict[str, list[np.ndarray]]) -> dict[str, float]:
    """By layer, what 255 steps an output channel leave of its weights."""
    ratios = {}
    for name, (weights, *_) in blobs.items():
        rows = np.asarray(weights, np.float64).reshape(len(weights), -1)
        steps = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-30) / 127
        noise = ((np.rint(rows / steps) * steps - rows) ** 2).sum()
        if noise:
            ratios[name] = 10 * np.log10((rows**2).sum() / noise)
    return ratios


def _readers(job: Job) -> tuple[dict[str, Reader], dict[str, str]]:
    """Programs at hand that read Caffe's files, by name, and why others are not."""
    readers: dict[str, Reader] = {"OpenCV (Caffe's files)": Reads(Classifier(job.model))}
    missing: dict[str, str] = {}
    for name in ENGINES:
        try:
            engine = find_engine(name, lambda message: job.tell(message, 0, 1))
        except FerError as error:
            missing[name] = str(error).splitlines()[0]
        else:
            readers[engine.title] = Reads(partial(_engine, engine, job.model))
    return readers, missing


def _engine(engine: Engine, model: Model, images: np.ndarray) -> np.ndarray:
    """By an engine's `predict`."""
    transform = model.transform
    with tempfile.TemporaryDirectory(prefix="fer-export-", dir=model.directory) as folder:
        source, out = Path(folder, "images.npy"), Path(folder, "scores.npz")
        write_array(source, images)
        param = caffe_pb2.TransformationParameter(
            crop_size=transform.crop, scale=transform.scale, mean_file=str((model.directory / MEAN).absolute())
        )
        engine.predict(model.deploy.absolute(), [model.weights.absolute()], source, param, [out])
        with np.load(out, allow_pickle=False) as answer:
            probs: np.ndarray = answer["probs"]
            return probs
