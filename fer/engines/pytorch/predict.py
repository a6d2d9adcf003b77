"""Class probabilities of images with a deploy net: the Caffe worker's `predict`, number for number."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fer.database import read_mean
from fer.engines.pytorch.device import computing
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context
from fer.engines.pytorch.weights import copy_weights
from fer.errors import FerError
from fer.files import write_bytes
from fer.prototxt import read_net, test_transform
from fer.schema import caffe_pb2

BATCH = 64


class Views:
    """The TEST-phase transform of uint8 images [N, C, H, W]: the centre crop, or ten crops."""

    def __init__(self, param: caffe_pb2.TransformationParameter, shape: tuple[int, int, int], device: torch.device):
        channels, self.height, self.width = shape
        self.crop = param.crop_size
        self.scale = param.scale
        self.device = device
        if self.crop > min(self.height, self.width):
            raise FerError(f"crop_size {self.crop} is larger than the images of {self.height} x {self.width}")
        mean: np.ndarray | None = None
        if param.mean_file:
            mean = read_mean(param.mean_file)
        elif param.mean_value:
            mean = np.array(param.mean_value, np.float32).reshape(-1, 1, 1)
        self.mean = None if mean is None else torch.from_numpy(mean).to(device)
        if self.mean is not None:
            fits = self.mean.shape[0] in (1, channels) and self.mean.shape[1:] in ((1, 1), (self.height, self.width))
            if not fits:
                raise FerError(f"the mean is {tuple(self.mean.shape)}, where the images are {shape}")

    def offsets(self, ten_crop: bool) -> list[tuple[int, int]]:
        """(top, left) of each crop: the centre, and with `ten_crop` the four corners too."""
        if not self.crop:
            return [(0, 0)]
        bottom, right = self.height - self.crop, self.width - self.crop
        centre = (bottom // 2, right // 2)
        return [centre, (0, 0), (0, right), (bottom, 0), (bottom, right)] if ten_crop else [centre]

    def __call__(self, images: np.ndarray, ten_crop: bool) -> list[Tensor]:
        """float32 [N, C, h, w] of each view; with `ten_crop` each crop is followed by its mirror image."""
        whole = torch.from_numpy(images).to(self.device)
        views = []
        for top, left in self.offsets(ten_crop):
            rows, columns = slice(top, top + (self.crop or self.height)), slice(left, left + (self.crop or self.width))
            pixels = whole[:, :, rows, columns].float()
            if self.mean is not None:
                pixels = pixels - (self.mean if self.mean.shape[1:] == (1, 1) else self.mean[:, rows, columns])
            pixels = pixels * self.scale
            views += [pixels, pixels.flip(3)] if ten_crop else [pixels]
        return views


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
    views = Views(test_transform(read_net(transform)), images.shape[1:], device)
    probs = []
    for start in range(0, len(images), BATCH):
        batch = np.array(images[start : start + BATCH])
        total = torch.zeros(())
        pictures = views(batch, ten_crop)
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
