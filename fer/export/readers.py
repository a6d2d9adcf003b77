"""The proof of an export's own files: every program at hand reads them, and must give the run's own probabilities."""

import importlib.util
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from fer.engines.engine import Engine
from fer.engines.registry import ENGINES, find_engine
from fer.errors import FerError
from fer.evaluation.scores import Scores
from fer.export.onnx_model import INPUT
from fer.inference.classifier import BATCH, MEAN, ONNX, Classifier, Model, answers
from fer.schema import caffe_pb2
from fer.system.progress import StageProgress

Reader = Callable[[np.ndarray], np.ndarray]  # uint8 [N, C, H, W] -> float32 [N, K]

TOLERANCE = 1e-4
"""The most by which a probability may differ from the run's own."""


def check_readers(
    model: Model, images: np.ndarray, val: Scores, progress: StageProgress
) -> tuple[dict[str, float], dict[str, str]]:
    """(largest difference from the run's own probabilities by reader, why others were not asked).

    `images` are val's, uint8 [N, C, H, W]. Raises FerError where one is more than TOLERANCE.
    """
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
