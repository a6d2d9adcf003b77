"""Layers that feed data: on the host they choose rows and seeds, in the graph they take and transform them."""

from typing import Any

import numpy as np
import tensorflow as tf

from fer.engines.core.framework import Shape
from fer.engines.core.layers import data as rules
from fer.engines.core.layers import feed as feed_rules
from fer.engines.core.order import Order
from fer.engines.tensorflow.keras_layers.own import nhwc
from fer.engines.tensorflow.layer import Layer, Tensor
from fer.engines.tensorflow.registry import register
from fer.engines.tensorflow.transform import Transform
from fer.schema import caffe_pb2

Fed = tuple[np.ndarray, ...]
"""What the host tells the graph for one pass."""


class Feeding(Layer):
    """A layer without bottoms."""

    def feed(self) -> Fed:
        """What `tops` needs for the next pass."""
        raise NotImplementedError

    def tops(self, fed: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The blobs of a pass, in the graph."""
        raise NotImplementedError


def _rows(order: Order[Any]) -> np.ndarray:
    """int32 [B]: the next batch's."""
    pieces = order.next()
    return np.concatenate(
        [np.arange(p.start, p.stop) if isinstance(p, slice) else np.asarray(p) for p in pieces], dtype=np.int32
    )


class ImageBatches(rules.ImageBatches, Feeding):
    transform: Transform

    def make_transform(self, param: caffe_pb2.TransformationParameter, shape: Shape) -> Transform:
        return Transform(param, shape, self.context)

    def feed(self) -> Fed:
        rows = _rows(self.order)
        if not self.transform.draws:
            return (rows,)
        return rows, self.context.seeds.next(f"{self.param.name}/transform")

    def tops(self, fed: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        rows, *seed = fed
        data = self.transform(tf.gather(self.images.pixels, rows), *seed)
        if len(self.param.top) == 1:
            return (data,)
        return data, tf.cast(tf.gather(self.images.labels, rows), tf.float32)


@register("Data")
class Data(rules.Data, ImageBatches):
    pass


@register("ImageData")
class ImageData(rules.ImageData, ImageBatches):
    pass


@register("Input")
class Input(feed_rules.Input, Feeding):
    def feed(self) -> Fed:
        return ()

    def tops(self, fed: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(nhwc(tf.zeros(shape)) for shape in self.shapes)


@register("DummyData")
class DummyData(feed_rules.DummyData, Feeding):
    def feed(self) -> Fed:
        return self.next()

    def tops(self, fed: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(map(nhwc, fed))


@register("HDF5Data")
class HDF5Data(feed_rules.HDF5Data, Feeding):
    def feed(self) -> Fed:
        return (_rows(self.order),)

    def tops(self, fed: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(nhwc(tf.gather(rows, fed[0])) for rows in self.rows)


@register("MemoryData")
class MemoryData(feed_rules.MemoryData, Feeding):
    def feed(self) -> Fed:
        self.fail("has no data: it hands out arrays that a program gives; use Data or HDF5Data here")
