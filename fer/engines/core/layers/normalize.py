"""BatchNorm, Scale, Bias and MVN."""

from typing import Any

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer
from fer.engines.core.layers.neuron import Elementwise
from fer.schema import caffe_pb2


class BatchNorm(Elementwise):
    """Each channel to mean 0 and variance 1; blobs: sums of means [C], of variances [C], and of their weights [1].

    Training takes the batch's statistics and adds them to the sums, which fade by moving_average_fraction; testing
    (or use_global_stats) takes the sums divided by the weights' sum.
    """

    learns = False

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        self.blobs = [self.context.statistics(size) for size in (self.channels, self.channels, 1)]
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().reshape(shapes)
        if not shapes[0]:
            self.fail("needs a bottom with at least one axis")
        if any(spec.HasField("lr_mult") and spec.lr_mult for spec in self.param.param):
            self.fail("its blobs are statistics, not learnt: lr_mult must be 0")
        self.channels = shapes[0][1] if len(shapes[0]) > 1 else 1
        if self.blobs and self.blob_shape(0) != (self.channels,):
            self.fail(f"its statistics are of {self.blob_shape(0)[0]} channels, which do not fit {shapes[0]}")
        param = self.param.batch_norm_param
        stored = param.use_global_stats if param.HasField("use_global_stats") else not self.context.training
        self.uses_stored = bool(stored)
        self.fraction = param.moving_average_fraction
        return tops


class Affine(Layer):
    """What Scale and Bias share: a blob, or a second bottom, that covers axes `axis` to `axis + num_axes`."""

    def affine_param(self) -> Any:
        raise NotImplementedError

    def covered(self, shapes: list[Shape]) -> Shape:
        """Checks the bottoms and sets `shape`: the blob's or second bottom's, made to broadcast over the first."""
        self.expect_bottoms(shapes, 1, 2)
        param = self.affine_param()
        if len(shapes) == 2:
            axis = self.axis_of(param.axis, shapes[0]) if shapes[1] else 0
            own = shapes[1]
            if shapes[0][axis : axis + len(own)] != own:
                self.fail(f"its second bottom {own} does not fit axis {axis} of {shapes[0]}")
        else:
            axis = self.axis_of(param.axis, shapes[0]) if param.num_axes else 0
            stop = len(shapes[0]) if param.num_axes == -1 else axis + param.num_axes
            if param.num_axes < -1 or stop > len(shapes[0]):
                self.fail(f"num_axes {param.num_axes} from axis {axis} is outside of {shapes[0]}")
            own = shapes[0][axis:stop]
            if self.blobs and self.blob_shape(0) != own:
                self.fail(f"its blob is {self.blob_shape(0)}, which does not fit {own}")
        self.shape: Shape = own + (1,) * (len(shapes[0]) - axis - len(own))
        return own

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.covered(shapes)
        return [shapes[0]]


class Scale(Affine):
    """The first bottom times a blob or the second bottom; with bias_term plus another blob of that shape."""

    def affine_param(self) -> caffe_pb2.ScaleParameter:
        return self.param.scale_param

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        own, param = self.covered(shapes), self.param.scale_param
        if len(shapes) == 1:
            filler = param.filler if param.HasField("filler") else caffe_pb2.FillerParameter(value=1)
            self.learn(filler, own)
        if param.bias_term:
            self.learn(param.bias_filler, own)
        return [shapes[0]]


class Bias(Affine):
    """The first bottom plus a blob or the second bottom."""

    def affine_param(self) -> caffe_pb2.BiasParameter:
        return self.param.bias_param

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        own = self.covered(shapes)
        if len(shapes) == 1:
            self.learn(self.param.bias_param.filler, own)
        return [shapes[0]]


class MVN(Elementwise):
    """Each image's channel (or image, with across_channels) less its mean, and divided by its deviation + eps."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        if not 2 <= len(shapes[0]) <= 4:
            self.fail(f"needs a bottom of two to four axes, not {shapes[0]}")
        return super().reshape(shapes)
