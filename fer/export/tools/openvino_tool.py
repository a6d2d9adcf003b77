# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "openvino==2026.4.1", "nncf==3.4.0"]
# ///
"""OpenVINO behind a few verbs; fer runs this file in an environment of its own, and so can you:

    uv run --no-project --script openvino_tool.py convert model.onnx --out model.xml
    uv run --no-project --script openvino_tool.py int8 model.onnx --images calibration.npy --keep NODE ... --out M.xml
    uv run --no-project --script openvino_tool.py predict M.xml --images images.npy --out answers.npz
    uv run --no-project --script openvino_tool.py noise M.xml --than model.onnx --images I.npy --out N.npz

Images are float32 [N, ...], as the model takes them; answers.npz holds `probs` float32 [N, K] and `milliseconds`, the
median of one image by one thread. `serve` reads arrays [N, ...] in .npy's format from stdin and answers each on stdout.
N.npz holds the signal to noise of each tensor, in decibels.
"""

import argparse
import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it would tell its maker of each run

import numpy as np  # noqa: E402
import openvino  # noqa: E402
from answers import Blobs, Read, run_tool  # noqa: E402


def convert(args: argparse.Namespace) -> None:
    openvino.save_model(openvino.convert_model(args.model), args.out, compress_to_fp16=False)  # the mean needs 32 bits


def int8(args: argparse.Namespace) -> None:
    import nncf

    images = np.load(args.images)
    quantized = nncf.quantize(
        openvino.convert_model(args.model),
        nncf.Dataset([image[np.newaxis] for image in images]),
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=args.keep, validate=False),  # a scale may be part of a weight by now
    )
    openvino.save_model(quantized, args.out, compress_to_fp16=False)


def compiled_by_cpu(model: "str | openvino.Model") -> "openvino.CompiledModel":
    precise = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", precise)


def reader(path: str) -> Read:
    compiled = compiled_by_cpu(path)
    return lambda image: compiled([image])[compiled.output(0)]


def blobs(path: str) -> Blobs:
    model = openvino.Core().read_model(path)
    inner = [name for node in model.get_ordered_ops() for out in node.outputs() for name in out.get_names()]
    constants = {name for node in model.get_ordered_ops() if node.get_type_name() in ("Constant", "Parameter", "Result")
                 for out in node.outputs() for name in out.get_names()}  # fmt: skip
    model.add_outputs([name for name in inner if name not in constants])
    compiled = compiled_by_cpu(model)

    def answer(image: np.ndarray) -> "dict[str, np.ndarray]":
        return {name: value for out, value in compiled([image]).items() for name in out.get_names()}

    return answer


if __name__ == "__main__":
    run_tool(__doc__, reader, {"convert": convert, "int8": int8}, blobs)
