"""Local response normalisation."""

from fer.engines.core.layers import lrn as rules
from fer.engines.tensorflow.keras_layers import lrn as own
from fer.engines.tensorflow.layer import Layer, Tensor
from fer.engines.tensorflow.registry import register
from fer.engines.tensorflow.wiring import Wiring


@register("LRN")
class LRN(rules.LRN, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.lrn_param
        made = own.LRN(
            local_size=param.local_size,
            alpha=param.alpha,
            beta=param.beta,
            k=param.k,
            within_channel=not self.across,
            name=wiring.name(self.param.name),
            dtype=wiring.policy,
        )
        return (made(bottoms[0]),)
