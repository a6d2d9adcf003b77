"""The layers by Caffe's type names."""

from fer.engines.core.registry import Registry
from fer.engines.tensorflow.layer import Layer

LAYERS: Registry[Layer] = Registry("fer.engines.tensorflow.layers")
register = LAYERS.register
