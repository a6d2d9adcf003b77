"""BatchNorm, Scale, Bias and MVN."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fer.engines.pytorch.layers.neuron import Elementwise
from fer.engines.pytorch.layers.parts import axis_of, expect_bottoms, in_its_own_type, learnable
from fer.engines.pytorch.registry import Layer, Shape, register
from fer.schema import caffe_pb2


@register("BatchNorm")
class BatchNorm(Elementwise):
    """Each channel to mean 0 and variance 1; blobs: sums of means [C], of variances [C], and of their weights [1].

    Training takes the batch's statistics and adds them to the sums, which fade by moving_average_fraction; testing
    (or use_global_stats) takes the sums divided by the weights' sum.
    """

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        sizes = (self.channels, self.channels, 1)
        self.blobs = [nn.Parameter(self._zeros(size), requires_grad=False) for size in sizes]
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().reshape(shapes)
        if not shapes[0]:
            self.fail("needs a bottom with at least one axis")
        if any(spec.HasField("lr_mult") and spec.lr_mult for spec in self.param.param):
            self.fail("its blobs are statistics, not learnt: lr_mult must be 0")
        self.channels = shapes[0][1] if len(shapes[0]) > 1 else 1
        if self.blobs and len(self.blobs[0]) != self.channels:
            self.fail(f"its statistics are of {len(self.blobs[0])} channels, which do not fit {shapes[0]}")
        param = self.param.batch_norm_param
        stored = param.use_global_stats if param.HasField("use_global_stats") else not self.context.training
        self.uses_stored = bool(stored)
        self.fraction = param.moving_average_fraction
        return tops

    def _zeros(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=self.context.dtype, device=self.context.device)

    def apply(self, x: Tensor, factor: Tensor | None = None, term: Tensor | None = None) -> Tensor:
        """Normalised; and then, channel by channel, times `factor` [C] plus `term` [C], as the Scale behind it does."""
        normalize = self._by_stored if self.uses_stored else self._by_batch
        return normalize(x, factor, term) if x.dim() > 1 else normalize(x[:, None], factor, term)[:, 0]

    def _by_stored(self, x: Tensor, factor: Tensor | None, term: Tensor | None) -> Tensor:
        mean, variance, weight = self.blobs
        share = torch.where(weight == 0, 0, 1 / weight)
        return F.batch_norm(x, mean * share, variance * share, factor, term, eps=self.param.batch_norm_param.eps)

    def _by_batch(self, x: Tensor, factor: Tensor | None, term: Tensor | None) -> Tensor:
        """With momentum 1 torch leaves just the batch's mean and unbiased variance, which is what Caffe adds up."""
        param = self.param.batch_norm_param
        mean, variance = self._zeros(self.channels), self._zeros(self.channels)
        if x.numel() == self.channels:
            top = F.batch_norm(x - x, torch.zeros_like(mean), torch.ones_like(mean), factor, term, eps=0)
            mean.copy_(x.detach().reshape(-1))
        else:
            top = F.batch_norm(x, mean, variance, factor, term, training=True, momentum=1.0, eps=param.eps)
        with torch.no_grad():
            for blob, fresh in zip(self.blobs, (mean, variance, torch.ones_like(mean[:1])), strict=True):
                blob.mul_(self.fraction).add_(fresh)
        return top


class _Affine(Layer):
    """What Scale and Bias share: a blob, or a second bottom, that covers axes `axis` to `axis + num_axes`."""

    def affine_param(self) -> Any:
        raise NotImplementedError

    def covered(self, shapes: list[Shape]) -> Shape:
        """Checks the bottoms and sets `shape`: the blob's or second bottom's, made to broadcast over the first."""
        expect_bottoms(self, shapes, 1, 2)
        param = self.affine_param()
        if len(shapes) == 2:
            axis = axis_of(self, param.axis, shapes[0]) if shapes[1] else 0
            own = shapes[1]
            if shapes[0][axis : axis + len(own)] != own:
                self.fail(f"its second bottom {own} does not fit axis {axis} of {shapes[0]}")
        else:
            axis = axis_of(self, param.axis, shapes[0]) if param.num_axes else 0
            stop = len(shapes[0]) if param.num_axes == -1 else axis + param.num_axes
            if param.num_axes < -1 or stop > len(shapes[0]):
                self.fail(f"num_axes {param.num_axes} from axis {axis} is outside of {shapes[0]}")
            own = shapes[0][axis:stop]
            if self.blobs and tuple(self.blobs[0].shape) != own:
                self.fail(f"its blob is {tuple(self.blobs[0].shape)}, which does not fit {own}")
        self.shape: Shape = own + (1,) * (len(shapes[0]) - axis - len(own))
        return own

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.covered(shapes)
        return [shapes[0]]


@register("Scale")
class Scale(_Affine):
    """The first bottom times a blob or the second bottom; with bias_term plus another blob of that shape."""

    def affine_param(self) -> caffe_pb2.ScaleParameter:
        return self.param.scale_param

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        own, param = self.covered(shapes), self.param.scale_param
        if len(shapes) == 1:
            filler = param.filler if param.HasField("filler") else caffe_pb2.FillerParameter(value=1)
            self.blobs.append(learnable(self, filler, own))
        if param.bias_term:
            self.blobs.append(learnable(self, param.bias_filler, own))
        return [shapes[0]]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        factor = (bottoms[1] if len(bottoms) == 2 else self.blobs[0]).reshape(self.shape)
        if not self.param.scale_param.bias_term:
            return (bottoms[0] * factor,)
        return (torch.addcmul(self.blobs[-1].reshape(self.shape), bottoms[0], factor),)


@register("Bias")
class Bias(_Affine):
    """The first bottom plus a blob or the second bottom."""

    def affine_param(self) -> caffe_pb2.BiasParameter:
        return self.param.bias_param

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        own = self.covered(shapes)
        if len(shapes) == 1:
            self.blobs = [learnable(self, self.param.bias_param.filler, own)]
        return [shapes[0]]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0] + (bottoms[1] if len(bottoms) == 2 else self.blobs[0]).reshape(self.shape),)


@register("MVN")
class MVN(Elementwise):
    """Each image's channel (or image, with across_channels) less its mean, and divided by its deviation + eps."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        if not 2 <= len(shapes[0]) <= 4:
            self.fail(f"needs a bottom of two to four axes, not {shapes[0]}")
        return super().reshape(shapes)

    def apply(self, x: Tensor) -> Tensor:
        param = self.param.mvn_param
        planes = x.reshape(*x.shape[:2], -1)
        axes = (1, 2) if param.across_channels else (2,)
        if not param.normalize_variance:
            return (planes - planes.mean(axes, keepdim=True)).reshape(x.shape)
        standard: Tensor = _Standardize.apply(planes, axes, param.eps)
        return standard.reshape(x.shape)


class _Standardize(torch.autograd.Function):
    """(x - mean) / (deviation + eps). Caffe's gradient takes eps for part of the deviation; so does this one."""

    @staticmethod
    @in_its_own_type
    def forward(ctx: Any, x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        deviation = centred.square().mean(axes, keepdim=True).sqrt_().add_(eps)
        top = centred.div_(deviation)
        ctx.save_for_backward(top, deviation)
        ctx.axes = axes
        return top

    @staticmethod
    @once_differentiable
    @in_its_own_type
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        top, deviation = ctx.saved_tensors
        along = (grad * top).mean(ctx.axes, keepdim=True)
        return (grad - grad.mean(ctx.axes, keepdim=True)).addcmul_(top, along, value=-1).div_(deviation), None, None
