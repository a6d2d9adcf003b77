"""Augment: the Python layer of caffe/augment.py."""

from fer.engines.caffe.augmentation import parse
from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer


class Augment(Layer):
    """Images [B, C, H, W] turned, shifted, scaled, brightened and erased in part, each by its own draw; not in TEST.

    What is drawn and what it does: caffe/augmentation.py. No gradient flows down.
    """

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        try:
            self.ranges = parse(self.param.python_param.param_str)
        except ValueError as error:
            self.fail(str(error))
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        if len(shapes[0]) != 4:
            self.fail(f"takes images [B, C, H, W], not a bottom of shape {shapes[0]}")
        if len(self.param.top) != 1:
            self.fail(f"has 1 top, not {len(self.param.top)}")
        self.image_shape = shapes[0]
        return [shapes[0]]

    @property
    def generator_name(self) -> str:
        """Of the random generator that it draws by."""
        return f"{self.param.name}/augment/{self.ranges.seed}"
