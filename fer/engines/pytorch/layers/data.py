"""Data and ImageData: images of a database or a list, transformed on the device."""

from torch import Tensor

from fer.engines.core.layers import data as rules
from fer.engines.pytorch.data.rows import take
from fer.engines.pytorch.data.transform import Transform
from fer.engines.pytorch.registry import Layer, Shape, register
from fer.schema import caffe_pb2


class ImageBatches(rules.ImageBatches, Layer):
    transform: Transform

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().setup(shapes)
        self._generator = self.context.seeds.generator(f"{self.param.name}/transform")
        return tops

    def make_transform(self, param: caffe_pb2.TransformationParameter, shape: Shape) -> Transform:
        return Transform(param, shape, self.context)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        pieces = self.order.next()
        pixels = take(self.images.pixels, pieces).permute(0, 3, 1, 2)
        data = self.transform(pixels, self._generator)
        if len(self.param.top) == 1:
            return (data,)
        return data, take(self.images.labels, pieces).to(self.context.dtype)


@register("Data")
class Data(rules.Data, ImageBatches):
    pass


@register("ImageData")
class ImageData(rules.ImageData, ImageBatches):
    pass
