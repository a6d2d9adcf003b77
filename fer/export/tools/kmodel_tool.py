# /// script
# requires-python = ">=3.10,<3.11"
# dependencies = ["numpy<2", "nncase==1.9.0.20230322"]
# ///
"""nncase 1.9 behind a few verbs; fer runs this file in an environment of its own, and so can you:

    uv run --no-project --script kmodel_tool.py int8 model.onnx --images calibration.npy --out bytes.kmodel
    uv run --no-project --script kmodel_tool.py predict bytes.kmodel --images images.npy --out answers.npz

Images are float32 [N, C, H, W], as the model takes them; answers.npz holds `probs` float32 [N, K], by the simulator of
the K210, which takes a process a core: one image takes it a tenth of a second.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from os import chdir, cpu_count
from pathlib import Path
from tempfile import TemporaryDirectory

import nncase
import numpy as np
from answers import Read, run_tool


def int8(args: argparse.Namespace) -> None:
    images = np.load(args.images)
    options = nncase.CompileOptions()
    options.target, options.input_type = "k210", "float32"
    compiler = nncase.Compiler(options)
    compiler.import_onnx(Path(args.model).read_bytes(), nncase.ImportOptions())
    calibration = nncase.PTQTensorOptions()
    calibration.set_tensor_data(np.ascontiguousarray(images).tobytes())
    calibration.samples_count = len(images)
    compiler.use_ptq(calibration)
    out = Path(args.out).absolute()
    with TemporaryDirectory() as scratch:
        chdir(scratch)  # it leaves a kmodel_info.txt where it is
        compiler.compile()
        code = compiler.gencode_tobytes()
        chdir(out.parent)
    out.write_bytes(code)


def reader(path: str) -> Read:
    simulator = nncase.Simulator()
    simulator.load_model(Path(path).read_bytes())

    def answer(image: np.ndarray) -> np.ndarray:
        # nncase knows NumPy's own float32 alone, not the equal one of an array that came from another process.
        pixels = np.empty(image.shape, np.float32)
        pixels[:] = image
        simulator.set_input_tensor(0, nncase.RuntimeTensor.from_numpy(pixels))
        simulator.run()
        found: np.ndarray = simulator.get_output_tensor(0).to_numpy()
        return found

    return answer


def answers_of(path: str, images: np.ndarray) -> np.ndarray:
    read = reader(path)
    return np.stack([read(image[np.newaxis]).ravel() for image in images])


def predict(args: argparse.Namespace) -> None:
    parts = np.array_split(images := np.load(args.images), min(cpu_count() or 1, len(images)))
    with ProcessPoolExecutor(len(parts)) as pool:
        probs = np.concatenate(list(pool.map(partial(answers_of, args.model), parts)))
    np.savez(args.out, probs=probs)


if __name__ == "__main__":
    run_tool(__doc__, reader, {"int8": int8, "predict": predict})
