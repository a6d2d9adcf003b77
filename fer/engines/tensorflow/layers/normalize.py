"""BatchNorm, Scale, Bias and MVN."""

from typing import Any

from fer.engines.core.layers import normalize as rules
from fer.engines.tensorflow.keras_layers import normalize as own
from fer.engines.tensorflow.layer import Layer, Tensor
from fer.engines.tensorflow.registry import register
from fer.engines.tensorflow.wiring import Wiring


@register("BatchNorm")
class BatchNorm(rules.BatchNorm, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.batch_norm_param
        made = own.BatchNorm(
            moving_average_fraction=self.fraction,
            eps=param.eps,
            use_global_stats=param.use_global_stats if param.HasField("use_global_stats") else None,
            name=wiring.name(self.param.name),
            dtype=wiring.policy,
        )
        top = wiring.call(made, self, bottoms[0])
        wiring.holds(self, *made.sums)
        return (top,)


class _Affine(rules.Affine, Layer):
    def covering(self, bottoms: tuple[Tensor, ...]) -> dict[str, Any]:
        """Which of Caffe's axes are covered."""
        own = self.blobs[0].shape if self.blobs else ()
        return {"axis": len(bottoms[0].shape) - len(self.shape), "shape": own}

    def apply(self, made: Any, bottoms: tuple[Tensor, ...]) -> Tensor:
        return made(list(bottoms) if len(bottoms) > 1 else bottoms[0])


@register("Scale")
class Scale(rules.Scale, _Affine):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        made = own.Scale(
            **self.covering(bottoms),
            use_bias=self.param.scale_param.bias_term,
            name=wiring.name(self.param.name),
            dtype=wiring.policy,
        )
        top = self.apply(made, bottoms)
        wiring.holds(self, *(variable for variable in (made.factor, made.bias) if variable is not None))
        return (top,)


@register("Bias")
class Bias(rules.Bias, _Affine):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        made = own.Bias(**self.covering(bottoms), name=wiring.name(self.param.name), dtype=wiring.policy)
        top = self.apply(made, bottoms)
        wiring.holds(self, *(variable for variable in (made.bias,) if variable is not None))
        return (top,)


@register("MVN")
class MVN(rules.MVN, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.mvn_param
        made = own.MVN(
            normalize_variance=param.normalize_variance,
            across_channels=param.across_channels,
            eps=param.eps,
            name=wiring.name(self.param.name),
            dtype=wiring.policy,
        )
        return (made(bottoms[0]),)
