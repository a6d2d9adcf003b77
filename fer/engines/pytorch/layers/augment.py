"""Augment, with the arithmetic of caffe/augment.py on the device."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fer.engines.caffe.augmentation import DRAWS, ELONGATION, ERASED
from fer.engines.core.layers import augment as rules
from fer.engines.pytorch.registry import Layer, Shape, register


@register("Python:Augment")
class Augment(rules.Augment, Layer):
    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().setup(shapes)
        if self.context.training:
            self._generator = self.context.seeds.generator(self.generator_name)
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().reshape(shapes)
        self._rows, self._columns = (
            torch.arange(side, device=self.context.device, dtype=self.context.dtype) for side in shapes[0][2:]
        )
        return tops

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        if not self.context.training:
            return bottoms
        changed = self.apply(bottoms[0].detach(), *self.draw())
        return (changed.contiguous(memory_format=self.context.memory_format),)

    def draw(self) -> tuple[Tensor, Tensor | None]:
        """Uniform numbers [B, DRAWS], and normal noise [B, C, H, W] where something may be erased."""
        generator, device, dtype = self._generator, self.context.device, self.context.dtype
        uniform = torch.rand(self.image_shape[0], DRAWS, generator=generator, device=device, dtype=dtype)
        if not self.ranges.erase:
            return uniform, None
        return uniform, torch.randn(self.image_shape, generator=generator, device=device, dtype=dtype)

    def apply(self, images: Tensor, uniform: Tensor, noise: Tensor | None) -> Tensor:
        """The images changed by what was drawn."""
        ranges, signed = self.ranges, 2 * uniform - 1
        if ranges.rotation or ranges.shift or ranges.scale:
            images = self._warp(images, signed)
        mean = images.mean((1, 2, 3), keepdim=True)
        # torch's own std takes ten times as long.
        deviation = torch.linalg.vector_norm(images - mean, dim=(1, 2, 3), keepdim=True) / math.sqrt(images[0].numel())
        result = images
        if ranges.brightness or ranges.contrast:
            factor = 1 + ranges.contrast * signed[:, 5].reshape(-1, 1, 1, 1)
            light = ranges.brightness * signed[:, 4].reshape(-1, 1, 1, 1) * deviation
            result = torch.addcmul(mean * (1 - factor) + light, images, factor)
        if noise is not None:
            result = torch.where(self._rectangles(uniform), torch.addcmul(mean, noise, deviation), result)
        return result

    def _warp(self, images: Tensor, signed: Tensor) -> Tensor:
        """grid_sample at places [B, H, W, 2] in its own units: -1 and 1 are the centres of the outermost pixels."""
        ranges, (height, width) = self.ranges, self.image_shape[2:]
        half_width, half_height = max(width - 1, 1) / 2, max(height - 1, 1) / 2
        angle = math.radians(ranges.rotation) * signed[:, 0]
        size = (1 + ranges.scale) ** signed[:, 3]
        cosine, sine = (angle.cos() / size)[:, None], (angle.sin() / size)[:, None]
        x = self._columns - (width - 1) / 2 - ranges.shift * width * signed[:, 1, None]
        y = self._rows - (height - 1) / 2 - ranges.shift * height * signed[:, 2, None]
        # A place is the sum of a part of its column and a part of its row: less work than F.affine_grid's product.
        columns = torch.stack([cosine * x / half_width, -sine * x / half_height], 2)
        rows = torch.stack([sine * y / half_width, cosine * y / half_height], 2)
        places = columns[:, None] + rows[:, :, None]
        return F.grid_sample(images, places, padding_mode="border", align_corners=True)

    def _rectangles(self, uniform: Tensor) -> Tensor:
        """Which pixels are erased, bool [B, 1, H, W]."""
        height, width = self.image_shape[2:]
        low, high = ERASED
        area = (low + (high - low) * uniform[:, 7]) * (height * width)
        ratio = float(ELONGATION) ** (2 * uniform[:, 8] - 1)
        tall = ((area * ratio).sqrt() + 0.5).floor().clamp(1, height) * (uniform[:, 6] < self.ranges.erase)
        wide = ((area / ratio).sqrt() + 0.5).floor().clamp(1, width)
        rows = _within(self._rows, tall, uniform[:, 10])
        columns = _within(self._columns, wide, uniform[:, 9])
        return rows[:, None, :, None] & columns[:, None, None, :]


def _within(places: Tensor, lengths: Tensor, where: Tensor) -> Tensor:
    """Which `places` [H] lie in a stretch that begins at the share `where` [B] of what `lengths` [B] leave: [B, H]."""
    first = (where * (len(places) - lengths + 1)).floor()[:, None]
    return (places >= first) & (places < first + lengths[:, None])
