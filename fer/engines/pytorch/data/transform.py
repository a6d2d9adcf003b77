"""Caffe's DataTransformer for whole batches on the device: mean, scale, crop, mirror."""

import torch
from torch import Tensor

from fer.engines.pytorch.registry import Context, Shape
from fer.errors import FerError
from fer.formats.database import read_mean
from fer.schema import caffe_pb2


class Transform:
    """`(pixel - mean) * scale`, cropped and mirrored, in the order and arithmetic of Caffe.

    A mean file is subtracted at the crop's offset. In TRAIN the crop's place is drawn for each image, in TEST it is
    the centre; `mirror` flips each image or not, in both phases, as Caffe does.
    """

    def __init__(self, param: caffe_pb2.TransformationParameter, shape: Shape, context: Context):
        """`shape` is that of the stored images, (C, H, W). Raises FerError for a crop or a mean that does not fit."""
        self._context = context
        self._scale = param.scale
        self._mirror = param.mirror
        channels, height, width = shape
        crop = param.crop_size
        if crop > min(height, width):
            raise FerError(f"crop_size {crop} is larger than the images of {height} x {width}")
        self._crop = None if crop in (0, height) and crop in (0, width) else crop
        self._spare = (height - crop, width - crop) if crop else (0, 0)
        self.shape: Shape = (channels, crop or height, crop or width)
        """The shape of one transformed image."""
        mean = _mean(param, shape)
        self._mean = None if mean is None else mean.to(context.device, context.dtype)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """[B, C, H, W] as stored (uint8 or float32) -> [B, C, h, w] in the context's dtype and memory format.

        Offsets and mirrors are drawn from `generator`, which is on the images' device.
        """
        drawn = self._crop is not None and self._context.training
        if self._crop is None:
            result = self._normalise(images)
        elif drawn:
            result = self._crop_at_random(self._normalise(images), self._crop, generator)
        else:
            result = self.at(images, self._spare[0] // 2, self._spare[1] // 2)
        if self._mirror:
            flips = torch.randint(0, 2, (len(images), 1, 1, 1), generator=generator, device=images.device)
            result = torch.where(flips.bool(), result.flip(3), result)
        return result.contiguous(memory_format=self._context.memory_format)

    def at(self, images: Tensor, top: int, left: int) -> Tensor:
        """All images cropped at (`top`, `left`), with mean and scale, not mirrored."""
        rows, columns = slice(top, top + self.shape[1]), slice(left, left + self.shape[2])
        return self._normalise(images[:, :, rows, columns], rows, columns)

    def _normalise(self, images: Tensor, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
        """(image - mean) * scale; `rows` and `columns` say which part of the mean belongs to the images."""
        if self._mean is None:
            result = images.to(self._context.dtype)
        else:
            whole = self._mean.shape[1:] == (1, 1)
            result = images - (self._mean if whole else self._mean[:, rows, columns])
        return result if self._scale == 1 else result * self._scale

    def _crop_at_random(self, images: Tensor, crop: int, generator: torch.Generator) -> Tensor:
        device = images.device
        count = len(images)
        top, left = (torch.randint(0, spare + 1, (count,), generator=generator, device=device) for spare in self._spare)
        windows = images.unfold(2, crop, 1).unfold(3, crop, 1)  # [B, C, H-crop+1, W-crop+1, crop, crop], a view
        return windows[torch.arange(count, device=device), :, top, left]


def _mean(param: caffe_pb2.TransformationParameter, shape: Shape) -> Tensor | None:
    """The mean to subtract, [C, H, W] or [C, 1, 1]; None where there is none."""
    channels = shape[0]
    if param.HasField("mean_file"):
        if param.mean_value:
            raise FerError("mean_file and mean_value cannot be given at the same time")
        mean = torch.from_numpy(read_mean(param.mean_file))
        if mean.shape != shape:
            raise FerError(
                f"{param.mean_file}: a mean of {' x '.join(map(str, mean.shape))} does not fit "
                f"images of {' x '.join(map(str, shape))}"
            )
        return mean
    if not param.mean_value:
        return None
    if len(param.mean_value) not in (1, channels):
        raise FerError(f"{len(param.mean_value)} mean_values for {channels} channels; give one, or one a channel")
    return torch.tensor(param.mean_value).reshape(-1, 1, 1).expand(channels, 1, 1)
