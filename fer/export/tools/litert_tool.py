# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "ai-edge-litert==2.3.0"]
# ///
"""LiteRT, TFLite's interpreter, behind a few verbs; fer runs this file in an environment of its own, and so can you:

    uv run --no-project --script litert_tool.py predict M.tflite --images images.npy --out answers.npz
    uv run --no-project --script litert_tool.py noise M.tflite --than FLOATS.tflite --images I.npy --out N.npz

Images are float32 [N, C, H, W] of 0..255, quantized here as the model's input is; answers.npz holds `probs` float32
[N, K] and `milliseconds`, the median of one image by one thread. `serve` reads arrays [N, ...] in .npy's format from
stdin and answers each on stdout. N.npz holds the signal to noise of each tensor, in decibels.
"""

from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from answers import Blobs, Read, run_tool


def reader(path: str) -> Read:
    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()

    def answer(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given["index"], quantized(image.transpose(0, 2, 3, 1), given))
        interpreter.invoke()
        return dequantized(interpreter.get_tensor(made["index"]), made)

    return answer


def blobs(path: str) -> Blobs:
    """Every tensor that is computed, by its name, as no delegate takes several operations for one."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        path, num_threads=1, experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    made = [details for details in interpreter.get_tensor_details() if list(details["shape"][:1]) == [1]]

    def answer(image: np.ndarray) -> "dict[str, np.ndarray]":
        interpreter.set_tensor(given["index"], quantized(image.transpose(0, 2, 3, 1), given))
        interpreter.invoke()
        return {each["name"]: dequantized(interpreter.get_tensor(each["index"]), each) for each in made}

    return answer


def quantized(values: np.ndarray, details: "dict[str, Any]") -> np.ndarray:
    kind, (scale, zero) = details["dtype"], details["quantization"]
    if kind == np.float32:
        return np.ascontiguousarray(values)
    limits = np.iinfo(kind)
    whole: np.ndarray = np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(kind)
    return whole


def dequantized(values: np.ndarray, details: "dict[str, Any]") -> np.ndarray:
    scale, zero = details["quantization"]
    if not scale:
        return values
    numbers: np.ndarray = (values.astype(np.float32) - zero) * np.float32(scale)
    return numbers


if __name__ == "__main__":
    run_tool(__doc__, reader, {}, blobs)
