"""Layers that work on every number by itself."""

import math

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer
from fer.schema import caffe_pb2


class Elementwise(Layer):
    """One bottom, one top of the same shape."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        return [shapes[0]]


class ReLU(Elementwise):
    """max(x, 0) + negative_slope * min(x, 0)."""


class PReLU(Elementwise):
    """max(x, 0) + slope * min(x, 0) with a learnt slope for each channel [channels], or one for all []."""

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        param = self.param.prelu_param
        filler = param.filler if param.HasField("filler") else caffe_pb2.FillerParameter(value=0.25)
        shape = () if param.channel_shared else (shapes[0][self.axis_of(1, shapes[0])],)
        self.learn(filler, shape)
        return tops


class ELU(Elementwise):
    """x where positive, else alpha * (e^x - 1)."""


class Swish(Elementwise):
    """x * sigmoid(beta * x)."""


class Clip(Elementwise):
    """x, but no less than min and no more than max; its gradient passes from min to max, both included."""


class Threshold(Elementwise):
    """1 above the threshold, else 0; without a gradient."""


class Dropout(Elementwise):
    """Training: each number is 0 with probability dropout_ratio, else divided by 1 - dropout_ratio."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        if not 0 <= self.param.dropout_param.dropout_ratio < 1:
            self.fail(f"dropout_ratio must be from 0 to less than 1, not {self.param.dropout_param.dropout_ratio}")
        return super().reshape(shapes)


class Power(Elementwise):
    """(shift + scale * x)^power."""


class Based(Elementwise):
    """What Exp and Log share: a base (-1: e), and a line that x goes through first."""

    def natural_base(self, param: caffe_pb2.ExpParameter | caffe_pb2.LogParameter) -> float:
        """The natural logarithm of the base."""
        if param.base != -1 and param.base <= 0:
            self.fail(f"base must be positive (or -1 for e), not {param.base}")
        return 1.0 if param.base == -1 else math.log(param.base)


class Exp(Based):
    """base^(shift + scale * x)."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.log_base = self.natural_base(self.param.exp_param)
        return super().reshape(shapes)


class Log(Based):
    """Logarithm of shift + scale * x to the base."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.log_base = self.natural_base(self.param.log_param)
        if not self.log_base:
            self.fail("base must not be 1")
        return super().reshape(shapes)


class Sigmoid(Elementwise):
    """1 / (1 + e^-x)."""


class TanH(Elementwise):
    """The hyperbolic tangent of x."""


class AbsVal(Elementwise):
    """|x|."""


class BNLL(Elementwise):
    """log(1 + e^x)."""
