"""A deploy net with its transform as files of Keras, TensorFlow and TFLite, and what those files answer.

Every form takes pixels [N, H, W, C] of 0..255 and does the crop, the mean and the scale itself: float32, or where it is
whole in integers, as its input is quantized.
"""

import argparse
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from fer.engines.caffe import ipc
from fer.engines.core.verbs.predict import read_images
from fer.engines.tensorflow.model import build_model
from fer.engines.tensorflow.registry import LAYERS
from fer.engines.tensorflow_engine import layers_of
from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.nets.transform import Transform
from fer.schema import caffe_pb2
from fer.system.files import scratch, write_bytes

BATCH = 64
INTEGERS = {"tflite-int8": tf.int8, "tflite-uint8": tf.uint8}
"""What goes into the forms that are whole in integers, and comes out of them; within, all is int8."""


def whole_model(deploy: Path, weights: Path, transform: Transform) -> keras.Model:
    """From `pixels` [N, H, W, C] to the net's probabilities [N, K]."""
    net = build_model(deploy, phase="TEST", weights=weights)
    channels, height, width = transform.shape
    pixels = keras.Input((height, width, channels), name="pixels")
    rows, columns = transform.window(*transform.offsets()[0])
    x = pixels
    if transform.crop:
        cropping = ((rows.start, height - rows.stop), (columns.start, width - columns.stop))
        x = keras.layers.Cropping2D(cropping, name="crop")(x)
    if transform.mean is not None:
        mean = transform.mean if transform.mean.shape[1:] == (1, 1) else transform.mean[:, rows, columns]
        x = keras.layers.Rescaling(1.0, -mean.transpose(1, 2, 0), name="mean")(x)
    if transform.scale != 1:
        x = keras.layers.Rescaling(transform.scale, name="scale")(x)
    if isinstance(net.input, dict):
        raise FerError(f"{deploy} has {len(net.input)} inputs ({', '.join(net.input)}); one is needed: a deploy net")
    answer = net(x)
    if isinstance(answer, dict):
        answer = answer["prob"] if "prob" in answer else next(iter(answer.values()))
    return keras.Model(pixels, keras.layers.Flatten(name="probabilities")(answer), name=net.name)


# ---- writing


def _tflite(model: keras.Model, form: str, calibration: np.ndarray | None) -> bytes:
    """One image a call, as devices do; with `calibration` (pixels [N, H, W, C]) whole in 8-bit integers."""
    with scratch("fer-tflite-") as folder:
        one = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="pixels")
        model.export(folder / "model", verbose=False, input_signature=[one])
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "model"))
        return _converted(converter, form, calibration)


def _converted(converter: Any, form: str, calibration: np.ndarray | None) -> bytes:
    if calibration is not None:

        def images() -> Iterator[list[np.ndarray]]:
            for image in calibration:
                yield [image[np.newaxis].astype(np.float32)]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = images
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = INTEGERS[form]
    written: bytes = converter.convert()
    return written


def _in_integers(written: bytes, layers: Sequence[str]) -> bytes:
    """The same. FerError unless all is in integers: TFLite leaves operations in floats that it has in no integers."""
    with warnings.catch_warnings(action="ignore"):  # it says that ai-edge-litert will take its place
        tensors = tf.lite.Interpreter(model_content=written).get_tensor_details()
    floats = [tensor["name"].split(";")[0] for tensor in tensors if tensor["dtype"] == np.float32]
    if floats:
        of = [layer for name in floats for layer in layers_of(name, layers)]  # constants bear none's name
        where = f"layer {of[0]!r}" if of else floats[0]
        raise FerError(f"{where}: TFLite has it in floats alone, and the net would not be whole in integers")
    return written


def _write(form: str, model: keras.Model, path: Path, calibration: np.ndarray | None, layers: Sequence[str]) -> None:
    if form == "keras":
        model.save(path)
    elif form == "savedmodel":
        model.export(path, verbose=False)
    elif form == "tflite":
        write_bytes(path, _tflite(model, form, None))
    elif calibration is None:
        raise FerError(f"{form} needs images to calibrate by: --calibration")
    else:
        write_bytes(path, _in_integers(_tflite(model, form, calibration), layers))


# ---- reading back


def _read_keras(path: Path) -> Callable[[np.ndarray], Any]:
    LAYERS.known_types()  # imports our own layers, which a file may hold
    model = keras.models.load_model(path)
    return lambda pixels: model(pixels, training=False)


def _read_saved_model(path: Path) -> Callable[[np.ndarray], Any]:
    loaded = tf.saved_model.load(path)
    return lambda pixels: loaded.serve(tf.constant(pixels))


READERS = {"keras": _read_keras, "savedmodel": _read_saved_model}
FORMS = (*READERS, "tflite", *INTEGERS)


# ---- the verbs


def export_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--model", type=Path, required=True)
    verb.add_argument("--weights", type=Path, required=True)
    verb.add_argument("--transform", default="", metavar="TEXT", help="a TransformationParameter's prototxt")
    verb.add_argument("--size", required=True, metavar="C,H,W", help="of the images before the crop")
    verb.add_argument("--format", choices=FORMS, required=True)
    verb.add_argument("--out", type=Path, required=True)
    verb.add_argument("--calibration", type=Path, help="images that integers are chosen by, uint8 [N, C, H, W] (.npy)")


def export(arguments: argparse.Namespace) -> int:
    """Write the deploy net in a form of TensorFlow's."""
    net = read_net(arguments.model)  # a fault of it first, in words
    channels, height, width = map(int, arguments.size.split(","))
    param = text_format.Parse(arguments.transform, caffe_pb2.TransformationParameter())
    model = whole_model(arguments.model, arguments.weights, Transform(param, (channels, height, width)))
    images = read_images(arguments.calibration).transpose(0, 2, 3, 1) if arguments.calibration else None
    try:
        _write(arguments.format, model, arguments.out, images, [layer.name for layer in net.layer])
    except (RuntimeError, ValueError, NotImplementedError) as error:
        reason = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
        raise FerError(f"TensorFlow cannot write this net as {arguments.format}: {reason}") from error
    return 0


def read_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--format", choices=READERS, required=True)
    verb.add_argument("--file", type=Path, required=True)
    for option in ("source", "out"):
        verb.add_argument(f"--{option}", type=Path, required=True)


def read(arguments: argparse.Namespace) -> int:
    """Write what an exported file answers to images, as `predict` does."""
    images = read_images(arguments.source)
    answer = READERS[arguments.format](arguments.file)
    probs = []
    for start in range(0, len(images), BATCH):
        pixels = np.array(images[start : start + BATCH]).transpose(0, 2, 3, 1).astype(np.float32)
        probs.append(np.asarray(answer(pixels), np.float32))
        ipc.say(ipc.Predicted(start + len(pixels), len(images)))
    stream = io.BytesIO()
    np.savez(stream, probs=np.concatenate(probs))
    write_bytes(arguments.out, stream.getvalue(), parents=True)
    return 0
