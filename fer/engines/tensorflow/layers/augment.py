"""Augment: the Python layer of caffe/augment.py."""

from fer.engines.core.layers import augment as rules
from fer.engines.tensorflow.keras_layers import augment as own
from fer.engines.tensorflow.layer import Layer, Tensor
from fer.engines.tensorflow.registry import register
from fer.engines.tensorflow.wiring import Wiring


@register("Python:Augment")
class Augment(rules.Augment, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        ranges = {name: value for name, value in self.ranges._asdict().items() if name != "seed"}
        made = own.Augment(**ranges, name=wiring.name(self.param.name), dtype="float32")
        top = wiring.call(made, self, bottoms[0])
        if self.context.training:
            wiring.draws(made, self.generator_name)
        return (top,)
