"""A run's chosen net as files for other programs, each proved on val before any of it is there to see.

export_run(Run("runs/lenet-s2"), Path("lenet"))

deploy.prototxt weights.caffemodel mean.binaryproto mean.npy labels.txt   for Caffe and all that reads its files
model.onnx                                                                for all else
README.md model.json run.json                                             how to use it; what it is; how it was trained
"""

import importlib.util
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from fer import __version__
from fer.data.dataset import held_out
from fer.data.manifest import ImageSize
from fer.engines.engine import Engine
from fer.engines.registry import ENGINES, find_engine
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.evaluation.scores import Scores, load_scores
from fer.evaluation.splits import as_images, reading_of
from fer.export.onnx_model import INPUT, to_onnx
from fer.export.readme import readme
from fer.formats.blobs import from_blob
from fer.formats.database import write_mean
from fer.formats.prototxt import read_net, read_weights
from fer.inference.classifier import (
    BATCH,
    DEPLOY,
    MEAN,
    ONNX,
    WEIGHTS,
    Classifier,
    Model,
    answers,
    trained_model,
)
from fer.inference.model_record import MODEL_JSON, ExportedSnapshot, ModelRecord, Preprocessing, SplitAccuracy
from fer.nets.transform import Transform
from fer.runs.record import HashedFile, RunRecord, SnapshotFiles
from fer.runs.run import RUN_JSON, Run, Snapshot
from fer.runs.scores import chosen_snapshot
from fer.schema import caffe_pb2
from fer.system.files import replacement, write_bytes
from fer.system.hashes import file_hash
from fer.system.progress import StageProgress
from fer.system.records import write_record

Reader = Callable[[np.ndarray], np.ndarray]  # uint8 [N, C, H, W] -> float32 [N, K]

TOLERANCE = 1e-4
"""The most by which a probability may differ from the run's own."""


def export_run(run: Run, out: Path, *, onnx: bool = True, progress: StageProgress | None = None) -> ModelRecord:
    """Write the model of the run's snapshot that is best on val to the directory `out`; returns what model.json says.

    Every program at hand that reads the files scores val with them (OpenCV always; real Caffe, PyTorch and
    onnxruntime where they are) and must give the run's own probabilities to 1e-4. Only then `out` appears, or takes
    the place of an earlier export. Raises FerError: they differ, a layer cannot be converted to ONNX, `out` is
    something else, the run or its data has changed.
    """
    if out.exists() and not (out.is_dir() and ((out / MODEL_JSON).is_file() or not any(out.iterdir()))):
        raise FerError(f"{out} is there already and is no exported model: choose another --out, or remove it")
    progress = progress or (lambda stage, done, total: None)
    for line in score_run(run, progress=progress):
        progress(line, 0, 1)
    trained, (snapshot, _) = trained_model(run), chosen_snapshot(run)
    deploy = read_net(trained.deploy)
    scores = {split: load_scores(run.scores(split)) for split in held_out()}
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacement(out) as folder:
        model = _write_caffe_files(folder, trained, deploy)
        if onnx:
            _write_onnx(folder, model, deploy)
        checks, unchecked = _check(model, run, scores["val"], progress)
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
            onnx=onnx,
            data=run.record.data.title or "unnamed data",
            accuracy={split: _accuracy(each) for split, each in scores.items()},
            largest_difference_on_val=checks,
            not_checked=unchecked,
            probe=tuple(map(tuple, probe.astype(float).round(6).tolist())),
            files={},
            colour=trained.colour,
        )
        write_bytes(folder / "README.md", readme(record).encode())
        record = replace(record, files={path.name: file_hash(path) for path in sorted(folder.iterdir())})
        write_record(folder / MODEL_JSON, record)
    return record


def probe_images(shape: tuple[int, int, int], count: int = 4) -> np.ndarray:
    """Images to try a model on without any data set: uint8 [count, C, H, W] of slanted stripes, always the same."""
    channels, height, width = shape
    rows, columns = np.mgrid[:height, :width]
    stripes = [(3 * k * rows + (5 - k) * columns + 40 * k) * 256 // (height + width) % 256 for k in range(count)]
    return np.repeat(np.array(stripes, np.uint8)[:, np.newaxis], channels, axis=1)


def _write_caffe_files(folder: Path, trained: Model, deploy: caffe_pb2.NetParameter) -> Model:
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
    np.save(folder / "mean.npy", mean)
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


def _write_onnx(folder: Path, model: Model, deploy: caffe_pb2.NetParameter) -> None:
    blobs = {
        layer.name: [from_blob(blob, f"{model.weights}: layer {layer.name!r}").ravel() for blob in layer.blobs]
        for layer in read_weights(model.weights).layer
    }
    written = to_onnx(deploy, blobs, model.transform)
    (folder / ONNX).write_bytes(written.SerializeToString(deterministic=True))


def _record(run: Run, snapshot: Snapshot) -> RunRecord:
    """run.json without the other snapshots, and without the folders of the machine that it was trained on."""
    record, weights = run.record, HashedFile(run.weights_hash(snapshot))
    folder = Path(record.data.dir)
    files = {os.path.relpath(path, folder): digest for path, digest in record.data.files.items()}
    images = tuple(each.moved(lambda path: os.path.relpath(path, folder)) for each in record.data.images)
    name, averaged = snapshot.name, bool(snapshot.averaged)
    return replace(
        record,
        dir=None,
        command=tuple(Path(word).name if word.startswith("/") else word for word in record.command),
        data=replace(record.data, dir=folder.name, files=files, images=images),
        snapshots={} if averaged else {snapshot.iteration: SnapshotFiles(weights)},
        averages={name: replace(record.averages[name], weights=weights)} if averaged else {},
    )


def _accuracy(scores: Scores) -> SplitAccuracy:
    return SplitAccuracy(len(scores.labels), int(scores.correct.sum()), float(scores.correct.mean()))


# ---- the proof


def _check(model: Model, run: Run, val: Scores, progress: StageProgress) -> tuple[dict[str, float], dict[str, str]]:
    """(largest difference from the run's own probabilities by reader, why others were not asked)."""
    images = as_images(reading_of(run).sources["val"].read()[0])
    readers, unchecked = _readers(model, progress)
    differences = {}
    for name, read in readers.items():
        progress(f"checking with {name}", 0, len(images))
        apart = np.abs(read(images) - val.probs).max(axis=1)
        worst = int(apart.argmax())
        if not apart[worst] <= TOLERANCE:
            raise FerError(
                f"{name} reads the exported files, and gives probabilities up to {apart[worst]:.2g} off the run's own "
                f"(val, {val.files[worst]})\nso nothing was written; {TOLERANCE} is allowed"
            )
        differences[name] = float(f"{apart[worst]:.2g}")
    return differences, unchecked


def _readers(model: Model, progress: StageProgress) -> tuple[dict[str, Reader], dict[str, str]]:
    """Programs at hand that read the exported files, by name, and why others are not."""
    readers: dict[str, Reader] = {"OpenCV (Caffe's files)": Classifier(model)}
    missing: dict[str, str] = {}
    if (model.directory / ONNX).exists():
        readers["OpenCV (ONNX)"] = partial(_opencv_onnx, model)
        if importlib.util.find_spec("onnxruntime"):
            readers["onnxruntime"] = partial(_onnxruntime, model)
        else:
            missing["onnxruntime"] = "not installed"
    for name in ENGINES:
        try:
            engine = find_engine(name, lambda message: progress(message, 0, 1))
        except FerError as error:
            missing[name] = str(error).splitlines()[0]
        else:
            readers[engine.title] = partial(_engine, engine, model)
    return readers, missing


def _opencv_onnx(model: Model, images: np.ndarray) -> np.ndarray:
    path = model.directory / ONNX
    try:
        net = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise FerError(f"OpenCV cannot read {path.name}: {error.err}\n--no-onnx leaves ONNX out") from None
    return answers(net, images.astype(np.float32), len(model.classes), path)


def _onnxruntime(model: Model, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.directory / ONNX, providers=["CPUExecutionProvider"])
    pixels = images.astype(np.float32)
    batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
    return np.concatenate([session.run(None, {INPUT: batch})[0] for batch in batches])


def _engine(engine: Engine, model: Model, images: np.ndarray) -> np.ndarray:
    """By an engine's `predict`."""
    transform = model.transform
    with tempfile.TemporaryDirectory(prefix="fer-export-", dir=model.directory) as folder:
        source, out = Path(folder, "images.npy"), Path(folder, "scores.npz")
        np.save(source, images)
        param = caffe_pb2.TransformationParameter(
            crop_size=transform.crop, scale=transform.scale, mean_file=str((model.directory / MEAN).absolute())
        )
        engine.predict(model.deploy.absolute(), model.weights.absolute(), source, param, out)
        with np.load(out, allow_pickle=False) as answer:
            probs: np.ndarray = answer["probs"]
            return probs
