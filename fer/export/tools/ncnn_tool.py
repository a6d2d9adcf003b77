# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "ncnn==1.0.20261020"]
# ///
"""ncnn behind a few verbs; fer runs this file in an environment of its own, and so can you:

    uv run --no-project --script ncnn_tool.py ranges model.param --images calibration.npy --blobs NAME ... --out R.npz
    uv run --no-project --script ncnn_tool.py predict model.param --images images.npy --out answers.npz
    uv run --no-project --script ncnn_tool.py noise int8.param --than float.param --images images.npy --out N.npz

`model.bin` lies beside `model.param`; images are float32 [N, C, H, W], as the net takes them. R.npz holds the largest
absolute value of each blob in each image; answers.npz `probs` float32 [N, K] and `milliseconds`, the median of one
image by one thread; N.npz the signal to noise of each blob, in decibels.
"""

import argparse
from pathlib import Path

import ncnn
import numpy as np
from answers import Blobs, Read, run_tool


def read_net(path: str) -> "ncnn.Net":
    net = ncnn.Net()
    options = net.opt
    options.num_threads = 1
    # Half precision inside would be another net's answers.
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
    options.use_bf16_storage = False
    if net.load_param(path) or net.load_model(str(Path(path).with_suffix(".bin"))):
        raise SystemExit(f"ncnn cannot read {path}")
    return net


def extract(net: "ncnn.Net", image: np.ndarray, names: list[str]) -> list[np.ndarray]:
    extractor = net.create_extractor()
    # A copy: a first layer that works in place, as LRN does, ends in a segmentation fault on an array of NumPy's.
    extractor.input(net.input_names()[0], ncnn.Mat(np.ascontiguousarray(image)).clone())
    answers = []
    for name in names:
        code, blob = extractor.extract(name)
        if code:
            raise SystemExit(f"ncnn cannot compute {name}: {code}")
        answers.append(np.array(blob))
    return answers


def ranges(args: argparse.Namespace) -> None:
    net = read_net(args.model)
    net.opt.lightmode = False
    rows = [[np.abs(blob).max() for blob in extract(net, image, args.blobs)] for image in np.load(args.images)]
    np.savez(args.out, **dict(zip(args.blobs, np.array(rows, np.float32).T, strict=True)))


def reader(path: str) -> Read:
    net = read_net(path)
    output = net.output_names()[:1]
    return lambda image: extract(net, image[0], output)[0]


def blobs(path: str) -> Blobs:
    net = read_net(path)
    net.opt.lightmode = False
    lines = Path(path).read_text(encoding="utf-8").splitlines()[2:]
    names = [name for kind, _, inputs, outputs, *words in map(str.split, lines) if kind not in ("Input", "MemoryData")
             for name in words[int(inputs) : int(inputs) + int(outputs)]]  # fmt: skip
    return lambda image: dict(zip(names, extract(net, image[0], names), strict=True))


if __name__ == "__main__":
    run_tool(__doc__, reader, {"ranges": ranges}, blobs)
