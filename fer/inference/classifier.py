"""A trained net for use: where its files are, and what OpenCV says with it. No engine is started, no Caffe needed.

classifier = Classifier(find_model("runs/lenet-s2"))
probs = classifier(images)                  # uint8 [N, 1, 48, 48] -> float32 [N, 7]

An exported model is a directory that `fer export` wrote (its names stand below); so is `model/` beside this
file, which ships.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.inference.model_record import EXPORT_AGAIN, MODEL_JSON, read_model_json
from fer.nets.shapes import ShapeError, UnknownShapeError, infer_shapes
from fer.nets.transform import Transform
from fer.runs.run import RUN_JSON, Run
from fer.schema import caffe_pb2
from fer.system.hashes import check_file

DEPLOY, WEIGHTS, MEAN, ONNX = "deploy.prototxt", "weights.caffemodel", "mean.binaryproto", "model.onnx"
SHIPPED = Path(__file__).resolve().parent / "model"
BATCH = 64
COLOURS = 3


@dataclass(frozen=True)
class Model:
    """`directory` is the run or the exported model; `transform` takes images uint8 [N, C, H, W] as they were stored.

    Gray images may have three equal channels, as Caffe's ImageData reads them; `colour` says that those of the training
    were the user's own, in colour. `contents` are deploy and weights as OpenCV reads them, where the files are in
    another format.
    """

    directory: Path
    deploy: Path
    weights: Path
    classes: tuple[str, ...]
    transform: Transform
    colour: bool = False
    contents: tuple[bytes, bytes] | None = None


def find_model(directory: Path | None = None) -> Model:
    """The model in an exported directory, of a scored run's chosen snapshot, or (None) the one that ships.

    Raises FerError if there is none, or a file of it is missing or changed.
    """
    if directory is None:
        if not (SHIPPED / MODEL_JSON).is_file():
            raise FerError(
                "this fer ships no trained model, so one must be named: --model runs/lenet-s2\n"
                "fer train makes a run and fer report scores it; fer export makes a folder of it that can be given on"
            )
        directory = SHIPPED
    if (directory / MODEL_JSON).is_file():
        return _exported(directory)
    if (directory / RUN_JSON).is_file():
        return trained_model(Run(directory))
    if directory.is_file():
        raise FerError(f"{directory}: a deploy net needs its weights: --weights FILE.caffemodel (and --mean, --labels)")
    raise FerError(
        f"{directory}: neither a run nor an exported model: it has no {RUN_JSON} and no {MODEL_JSON}\n"
        "fer train makes runs, as runs/lenet-s2; fer export RUN --out DIR makes models"
    )


def _exported(directory: Path) -> Model:
    record = read_model_json(directory)
    for name in (DEPLOY, WEIGHTS, MEAN):
        check_file(directory / name, record.files.get(name, ""), "it was exported", EXPORT_AGAIN)
    param = caffe_pb2.TransformationParameter(
        crop_size=record.transform.crop_size, scale=record.transform.scale, mean_file=str(directory / MEAN)
    )
    transform = Transform(param, record.image.shape)
    return Model(directory, directory / DEPLOY, directory / WEIGHTS, record.classes, transform, record.colour)


def trained_model(run: Run) -> Model:
    from fer.data.manifest import read_manifest
    from fer.evaluation.trained_on import check_trained_on
    from fer.formats.prototxt import read_net, read_solver
    from fer.nets.deploy import front_layer
    from fer.nets.files import with_paths
    from fer.nets.states import scored_state
    from fer.runs.scores import chosen_snapshot
    from fer.runs.unchanged import check_data, check_run, data_dir

    check_run(run)
    snapshot, scores = chosen_snapshot(run)
    manifest = read_manifest(data_dir(run))
    check_trained_on(run, manifest)
    channels, height, width = scores.shape or manifest.image.shape
    net = with_paths(read_net(run.net), run.moved)
    param = front_layer(net, scored_state(read_solver(run.solver))).transform_param
    check_data(run, [param.mean_file])
    transform = Transform(param, (channels, height, width))
    colour = scores.own and channels == COLOURS
    return Model(run.dir, run.deploy, snapshot.weights, manifest.classes, transform, colour)


class Classifier:
    """A model read by OpenCV. Raises FerError if OpenCV cannot run the net."""

    def __init__(self, model: Model):
        self.model = model
        try:
            with contextlib.suppress(UnknownShapeError):  # nothing is wrong with the net
                infer_shapes(read_net(model.deploy))  # OpenCV divides by sizes of 0
        except ShapeError as error:
            raise FerError(f"{model.deploy}: {error}") from None
        try:
            if model.contents is None:
                self._net = cv2.dnn.readNetFromCaffe(str(model.deploy), str(model.weights))
            else:
                self._net = cv2.dnn.readNetFromCaffe(*(np.frombuffer(part, np.uint8) for part in model.contents))
        except cv2.error as error:
            raise FerError(f"OpenCV cannot read {model.deploy} with {model.weights.name}: {error.err}") from None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 [N, K] of uint8 [N, C, H, W], H and W being the model's, N of 1 or more."""
        views = self.model.transform.views(images)[0]
        return answers(self._net, views, len(self.model.classes), self.model.deploy)

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """What the net gives of the same, float32 [N, K], whatever it is."""
        return _outputs(self._net, self.model.transform.views(images)[0], self.model.deploy)


def answers(net: "cv2.dnn.Net", inputs: np.ndarray, classes: int, path: Path) -> np.ndarray:
    """What a net, read from `path`, answers to inputs float32 [N, ...]: float32 [N, classes]. Raises FerError."""
    answer = _outputs(net, inputs, path)
    if answer.shape != (len(inputs), classes) or not np.isfinite(answer).all():
        raise FerError(f"{path} gives no probabilities of {classes} classes, but {answer.shape[1]} numbers, or nan")
    return answer


def _outputs(net: "cv2.dnn.Net", inputs: np.ndarray, path: Path) -> np.ndarray:
    outputs = net.getUnconnectedOutLayersNames()
    probs = []
    try:
        for start in range(0, len(inputs), BATCH):
            net.setInput(inputs[start : start + BATCH])
            batch = net.forward("prob" if "prob" in outputs else outputs[0])
            probs.append(batch.reshape(len(batch), -1))
    except cv2.error as error:
        raise FerError(f"OpenCV cannot run {path}: {error.err}") from None
    return np.concatenate(probs)
