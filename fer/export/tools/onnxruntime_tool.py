# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "onnx==1.23.2", "onnxruntime==1.32.0"]
# ///
"""onnxruntime behind a few verbs; fer runs this file in an environment of its own, and so can you:

    uv run --no-project --script onnxruntime_tool.py int8 M.onnx --images calibration.npy --keep NODE ... --out Q.onnx
    uv run --no-project --script onnxruntime_tool.py fp16 M.onnx --keep NODE ... --out H.onnx
    uv run --no-project --script onnxruntime_tool.py predict M.onnx --images images.npy --out answers.npz
    uv run --no-project --script onnxruntime_tool.py noise Q.onnx --than M.onnx --images I.npy --out N.npz

Images are float32 [N, ...], as the model takes them; answers.npz holds `probs` float32 [N, K] and `milliseconds`, the
median of one image by one thread. `serve` reads arrays [N, ...] in .npy's format from stdin and answers each on stdout.
N.npz holds the signal to noise of each node's output, in decibels.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from answers import Blobs, Read, run_tool
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16


class Images(CalibrationDataReader):
    """One image at a time."""

    def __init__(self, name: str, images: np.ndarray):
        self._batches = iter([{name: image[np.newaxis]} for image in images])

    def get_next(self) -> "dict[str, np.ndarray] | None":
        return next(self._batches, None)


def int8(args: argparse.Namespace) -> None:
    """Weights a channel and activations a tensor, of seven and eight bits: on processors without VNNI the sums of
    eight by eight saturate."""
    name = onnx.load(args.model).graph.input[0].name
    with tempfile.TemporaryDirectory() as folder:
        simpler = Path(folder, "simpler.onnx")
        quant_pre_process(args.model, simpler, skip_symbolic_shape=True)
        quantize_static(
            simpler,
            args.out,
            Images(name, np.load(args.images)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=args.keep,
        )


def fp16(args: argparse.Namespace) -> None:
    """Half precision inside, float32 in and out; the mean, whose numbers are large, stays in float32."""
    onnx.save(convert_float_to_float16(onnx.load(args.model), keep_io_types=True, node_block_list=args.keep), args.out)


def session_of(model: "str | bytes") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def reader(path: str) -> Read:
    session = session_of(path)
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0]


def blobs(path: str) -> Blobs:
    model = onnx.load(path)
    given = {each.name for each in model.graph.output}
    inner = [name for node in model.graph.node for name in node.output if name not in given]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    session = session_of(model.SerializeToString())
    first, names = session.get_inputs()[0].name, [each.name for each in session.get_outputs()]
    return lambda image: dict(zip(names, session.run(names, {first: image}), strict=True))


if __name__ == "__main__":
    run_tool(__doc__, reader, {"int8": int8, "fp16": fp16}, blobs)
