# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "openvino==2026.4.1", "nncf==3.4.0"]
# ///
"""OpenVINO behind a few verbs; fer runs this file in an environment of its own, and so can you:

    uv run --no-project --script openvino_tool.py convert model.onnx --out model.xml
    uv run --no-project --script openvino_tool.py int8 model.onnx --images calibration.npy --keep NODE ... --out M.xml
    uv run --no-project --script openvino_tool.py predict M.xml --images images.npy --out answers.npz

Images are float32 [N, ...], as the model takes them; answers.npz holds `probs` float32 [N, K] and `milliseconds`, the
median of one image by one thread. `serve` reads arrays [N, ...] in .npy's format from stdin and answers each on stdout.
"""

import argparse
import sys
from collections.abc import Callable

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it would tell its maker of each run

import numpy as np  # noqa: E402
import openvino  # noqa: E402
from answers import serve, write_answers  # noqa: E402


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


def reader(path: str) -> "Callable[[np.ndarray], np.ndarray]":
    core = openvino.Core()
    precise = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(path, "CPU", precise)
    return lambda image: compiled([image])[compiled.output(0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("convert", "int8", "predict", "serve"))
    parser.add_argument("model")
    parser.add_argument("--images")
    parser.add_argument("--keep", nargs="*", default=[])
    parser.add_argument("--out")
    args = parser.parse_args()
    if args.verb == "serve":
        serve(reader(args.model))
    elif args.verb == "predict":
        write_answers(args.out, np.load(args.images), reader(args.model))
    else:
        {"convert": convert, "int8": int8}[args.verb](args)


if __name__ == "__main__":
    main()
