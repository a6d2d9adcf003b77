# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = [
#     "numpy", "rknn-toolkit2==2.5.0", "onnx==1.18.0", "onnxruntime==1.22.1", "opencv-python-headless", "setuptools<81",
# ]
#
# [tool.uv]
# override-dependencies = ["torch; sys_platform == 'never'", "opencv-python; sys_platform == 'never'"]
# ///
"""rknn-toolkit2 behind a few verbs; fer runs this file in an environment of its own, and so can you:

    uv run --no-project --script rknn_tool.py int8 simulator/bytes/plain.onnx --out bytes.rk3588.rknn
    uv run --no-project --script rknn_tool.py predict bytes.rk3588.rknn --images images.npy --out answers.npz

The chip is part of the file's name. `calibration.npy` lies beside plain.onnx. The simulator reads no .rknn: `predict`
and `serve` build the same again from `simulator/` beside it. Images are float32 [N, C, H, W], as the model takes them;
answers.npz holds `probs` float32 [N, K].
"""

import argparse
import os
import sys
import tempfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from answers import Read, run_tool


class Nothing:
    """A class or a decorator of PyTorch's, as far as an import goes."""

    def __init__(self, *args: object, **kwargs: object):
        pass

    def __call__(self, function: object) -> object:
        return function


class NoTorch:
    """Lets rknn-toolkit2 import PyTorch, which only its reader of PyTorch's own files and one method of quantizing use,
    neither of them here: five gigabytes with CUDA that need not be fetched."""

    def find_spec(self, name: str, *_: object) -> "ModuleSpec | None":
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] == "torch" else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__getattr__"] = lambda name: type(name, (Nothing,), {})


sys.meta_path.insert(0, NoTorch())

from rknn.api import RKNN  # noqa: E402


def built(model: Path, chip: str) -> "RKNN":
    """The net in integers, of plain.onnx and the calibration beside it."""
    rknn = RKNN(verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for number, image in enumerate(np.load(model.with_name("calibration.npy"))):
            rows.append(f"{folder}/{number}.npy\n")
            np.save(rows[-1].strip(), image[np.newaxis].astype(np.float32))
        images = Path(folder, "list.txt")
        images.write_text("".join(rows))
        os.chdir(folder)  # where it may leave what it likes
        done(rknn.config, target_platform=chip)
        done(rknn.load_onnx, str(model))
        done(rknn.build, do_quantization=True, dataset=str(images))
        os.chdir("/")
    return rknn


def done(step: Any, *args: object, **kwargs: object) -> None:
    """One step of the toolkit. Ends the program with what it has to say, where it fails."""
    try:
        failed = step(*args, **kwargs)
    except ValueError as error:
        raise SystemExit(str(error).strip().splitlines()[-1].removeprefix("ValueError: ")) from None
    if failed:
        raise SystemExit(f"{step.__name__} failed ({failed})")


def int8(args: argparse.Namespace) -> None:
    out = Path(args.out).absolute()
    done(built(Path(args.model).absolute(), chip_of(out)).export_rknn, str(out))


def reader(path: str) -> Read:
    file = Path(path).absolute()
    rknn = built(file.parent / "simulator" / file.name.split(".")[0] / "plain.onnx", chip_of(file))
    done(rknn.init_runtime)
    return lambda image: rknn.inference(inputs=[image], data_format=["nchw"])[0]


def predict(args: argparse.Namespace) -> None:
    read = reader(args.model)  # builds it; how long the simulator takes tells nothing of the chip
    np.savez(args.out, probs=np.stack([read(image[np.newaxis]).ravel() for image in np.load(args.images)]))


def chip_of(file: Path) -> str:
    return file.name.split(".")[1]


if __name__ == "__main__":
    run_tool(__doc__, reader, {"int8": int8, "predict": predict})
