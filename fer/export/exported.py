"""A run's chosen net as files for other programs, each proved on val before any of it is there to see.

export_run(Run("runs/lenet-s2"), Path("lenet"))

deploy.prototxt weights.caffemodel mean.binaryproto mean.npy labels.txt   for Caffe and all that reads its files
model.onnx [ncnn/ model.tflite ...] [calibration/] [folded/]                for all else, as forms.py has them
README.md model.json run.json                                             how to use it; what it is; how it was trained
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from fer import __version__
from fer.data.dataset import held_out
from fer.data.manifest import ImageSize
from fer.evaluation.score import score_run
from fer.evaluation.scores import Scores, load_scores
from fer.evaluation.splits import SplitSource, as_images, reading_of
from fer.export.calibration import calibration_images
from fer.export.folded import write_folded
from fer.export.form import Form, Job
from fer.export.forms import forms_called
from fer.export.layers import check_layers, told_where
from fer.export.proof import HeldOut, check_caffe_files, prove
from fer.export.readme import readme
from fer.formats.database import write_mean
from fer.formats.prototxt import read_net, read_weights
from fer.inference.classifier import (
    DEPLOY,
    MEAN,
    WEIGHTS,
    Classifier,
    Model,
    trained_model,
)
from fer.inference.model_record import (
    MODEL_JSON,
    ExportedSnapshot,
    FormRecord,
    ModelRecord,
    Preprocessing,
    SplitAccuracy,
)
from fer.nets.transform import Transform
from fer.runs.record import HashedFile, RunRecord, SnapshotFiles
from fer.runs.run import RUN_JSON, Run, Snapshot
from fer.runs.scores import chosen_snapshot
from fer.schema import caffe_pb2
from fer.system.arrays import write_array
from fer.system.files import check_free, replacement, told_full, write_bytes
from fer.system.hashes import file_hash
from fer.system.progress import StageProgress
from fer.system.records import write_record


def export_run(
    run: Run,
    out: Path,
    *,
    forms: Sequence[str] = ("onnx",),
    fold: bool = False,
    batch: int | None = None,
    progress: StageProgress | None = None,
) -> ModelRecord:
    """Write the model of the run's snapshot that is best on val to the directory `out`; returns what model.json says.

    `forms` are those of forms.py besides Caffe's files, for `batch` images at once where that is given; with `fold` the
    net without its BatchNorm and Scale layers is there, too. Every program at hand that reads a file scores val with it
    (OpenCV always; the engines and onnxruntime where they are) and must give the run's own probabilities to 1e-4, or
    where it calculates in integers, the run's own class for 97 of 100 images. Only then `out` appears, or takes the
    place of an earlier export. Raises FerError: they differ, a net cannot be converted, a form's tools are not there,
    `out` is something else, the run or its data has changed.
    """
    wanted = forms_called(forms)
    for form in wanted:
        form.need()
    check_free(out, MODEL_JSON, "exported model")
    progress = progress or (lambda stage, done, total: None)
    for line in score_run(run, progress=progress):
        progress(line, 0, 1)
    trained, (snapshot, _) = trained_model(run), chosen_snapshot(run)
    deploy = read_net(trained.deploy)
    sources = reading_of(run).sources
    splits = {split: _held_out(run, sources[split]) for split in held_out()}
    out.parent.mkdir(parents=True, exist_ok=True)
    with told_full(out), replacement(out) as folder:
        model = write_caffe_files(folder, trained, deploy)
        calibration = cache(partial(calibration_images, run))
        job = Job(model, deploy, lambda: calibration().images, progress, batch)
        check_layers(job, wanted, trained.deploy)
        with told_where(job, trained.deploy):
            checked = _Checked(*check_caffe_files(job, splits["val"]))
            if fold:
                write_folded(job, splits["val"], onnx=any(form.name == "onnx" for form in wanted))
        proved = _write_forms(job, wanted, splits, checked, trained.deploy)
        images = calibration().write(folder) if any(form.integers for form in wanted) else None
        write_record(folder / RUN_JSON, _record(run, snapshot))
        probe = Classifier(model)(probe_images(model.transform.shape))
        record = ModelRecord(
            fer_version=__version__,
            net=run.net_name,
            snapshot=ExportedSnapshot(snapshot.iteration, snapshot.averaged, run.weights_hash(snapshot)),
            classes=model.classes,
            image=ImageSize(*model.transform.shape),
            transform=Preprocessing(model.transform.crop, model.transform.scale),
            input=deploy.layer[0].top[0],
            output=deploy.layer[-1].top[0],
            onnx="onnx" in proved,
            data=run.record.data.title or "unnamed data",
            accuracy={split: _accuracy(each.scores) for split, each in splits.items()},
            largest_difference_on_val=checked.differences,
            not_checked=checked.unchecked,
            probe=tuple(map(tuple, probe.astype(float).round(6).tolist())),
            files={},
            colour=trained.colour,
            forms=proved,
            calibration=images,
            folded=fold,
        )
        write_bytes(folder / "README.md", readme(record, wanted).encode())
        record = replace(record, files=_hashes(folder))
        write_record(folder / MODEL_JSON, record)
    return record


@dataclass
class _Checked:
    """The largest difference from the run's own probabilities by reader, and why others were not asked."""

    differences: dict[str, float]
    unchecked: dict[str, str]


def _write_forms(
    job: Job, wanted: Sequence[Form], splits: dict[str, HeldOut], checked: _Checked, prototxt: Path
) -> dict[str, FormRecord]:
    """Write and prove each form. Raises FerError."""
    proved = {}
    for form in wanted:
        job.tell(f"writing {form.name}", 0, 1)
        with told_where(job, prototxt, form):
            form.write(job)
        proved[form.name], more, missing = prove(job, form, splits["val"], splits["test"])
        checked.differences.update(more)
        checked.unchecked.update(missing)
    return proved


def _held_out(run: Run, source: SplitSource) -> HeldOut:
    return HeldOut(as_images(source.read()[0]), load_scores(run.scores(source.split)))


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file under a folder, by its name from there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in paths}


def probe_images(shape: tuple[int, int, int], count: int = 4) -> np.ndarray:
    """Images to try a model on without any data set: uint8 [count, C, H, W] of slanted stripes, always the same."""
    channels, height, width = shape
    rows, columns = np.mgrid[:height, :width]
    stripes = [(3 * k * rows + (5 - k) * columns + 40 * k) * 256 // (height + width) % 256 for k in range(count)]
    return np.repeat(np.array(stripes, np.uint8)[:, np.newaxis], channels, axis=1)


def write_caffe_files(folder: Path, trained: Model, deploy: caffe_pb2.NetParameter) -> Model:
    """deploy, weights, mean and labels of a trained model; returns the model that they are."""
    transform = trained.transform
    (folder / DEPLOY).write_bytes(trained.deploy.read_bytes())
    # The layers that are used, without what else a snapshot holds: the training's other layers and paths.
    used = {layer.name for layer in deploy.layer}
    weights = caffe_pb2.NetParameter(name=deploy.name)
    for layer in read_weights(trained.weights).layer:
        if layer.name in used and layer.blobs:
            weights.layer.add(name=layer.name, type=layer.type).blobs.extend(layer.blobs)
    (folder / WEIGHTS).write_bytes(weights.SerializeToString(deterministic=True))
    mean = np.zeros(transform.shape, np.float32)
    if transform.mean is not None:
        mean += transform.mean
    write_mean(folder / MEAN, mean)
    write_array(folder / "mean.npy", mean)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in trained.classes), encoding="utf-8")
    param = caffe_pb2.TransformationParameter(
        crop_size=transform.crop, scale=transform.scale, mean_file=str(folder / MEAN)
    )
    return replace(
        trained,
        directory=folder,
        deploy=folder / DEPLOY,
        weights=folder / WEIGHTS,
        transform=Transform(param, transform.shape),
    )


def _record(run: Run, snapshot: Snapshot) -> RunRecord:
    """run.json without the other snapshots, and without the folders of the machine that it was trained on."""
    record, weights = run.record, HashedFile(run.weights_hash(snapshot))
    folder = Path(record.data.dir)
    files = {os.path.relpath(path, folder): digest for path, digest in record.data.files.items()}
    name, averaged = snapshot.name, bool(snapshot.averaged)
    return replace(
        record,
        dir=None,
        command=tuple(Path(word).name if word.startswith("/") else word for word in record.command),
        data=replace(record.data, dir=folder.name, files=files),
        snapshots={} if averaged else {snapshot.iteration: SnapshotFiles(weights)},
        averages={name: replace(record.averages[name], weights=weights)} if averaged else {},
    )


def _accuracy(scores: Scores) -> SplitAccuracy:
    return SplitAccuracy(len(scores.labels), int(scores.correct.sum()), float(scores.correct.mean()))
