"""Caffe's DataTransformer for whole batches on the device."""

import torch
from torch import Tensor

from fer.engines.core import transform
from fer.engines.pytorch.registry import Context, Shape
from fer.schema import caffe_pb2


class Transform(transform.Transform):
    """Mean, scale, crop and mirror of whole batches."""

    _context: Context

    def __init__(self, param: caffe_pb2.TransformationParameter, shape: Shape, context: Context):
        super().__init__(param, shape, context)
        self._mean = None if self.mean is None else torch.from_numpy(self.mean).to(context.device, context.dtype)

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
