"""Class probabilities of images with a deploy net: the Caffe worker's `predict`, number for number."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fer.engines.pytorch.device import computing
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context
from fer.engines.pytorch.weights import copy_weights
from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.nets.states import test_transform
from fer.nets.transform import Transform
from fer.system.files import write_bytes

BATCH = 64


def predict(
    model: Path,
    weights: Path,
    source: Path,
    transform: Path,
    out: Path,
    *,
    ten_crop: bool = False,
    device: torch.device | None = None,
    precision: str = "fp32",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the probabilities float32 [N, classes] of the images in `source` (.npy, uint8 [N, C, H, W]) to `out`.

    Raises FerError for anything that cannot be read or does not fit.
    """
    device = device or torch.device("cpu")
    images = _read_images(source)
    net = Net(read_net(model), Context("TEST", device), path=model)
    net.run_lean()
    if len(net.inputs) != 1:
        raise FerError(f"{model} has {len(net.inputs)} inputs ({', '.join(net.inputs)}); one is needed: a deploy net")
    copy_weights(net, weights, complete=True)
    names = [name for name, _ in net.outputs]
    if not names:
        raise FerError(f"{model} has no output")
    output = "prob" if "prob" in names else names[0]
    transformer = Transform(test_transform(read_net(transform)), images.shape[1:])
    probs = []
    for start in range(0, len(images), BATCH):
        batch = np.array(images[start : start + BATCH])
        total = torch.zeros(())
        pictures = [torch.from_numpy(view).to(device) for view in transformer.views(batch, ten_crop)]
        with torch.inference_mode(), computing(precision, device):
            for pixels in pictures:
                net.forward(**{net.inputs[0]: pixels.contiguous(memory_format=torch.channels_last)})
                total = total + net.blobs[output].reshape(len(batch), -1).double()
        probs.append((total / len(pictures)).float().cpu().numpy())
        if progress:
            progress(start + len(batch), len(images))
    stream = io.BytesIO()
    np.savez(stream, probs=np.concatenate(probs))
    write_bytes(out, stream.getvalue(), parents=True)


def _read_images(path: Path) -> np.ndarray:
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FerError(f"cannot read images from {path}: {error}") from error
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise FerError(f"{path}: images must be uint8 [N, C, H, W] with N of 1 or more")
    return images
