"""What Caffe's DataTransformer does to images of one shape, but for the arithmetic on whole batches."""

from typing import Any

import numpy as np

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Context
from fer.errors import FerError
from fer.formats.database import read_mean
from fer.schema import caffe_pb2


class Transform:
    """`(pixel - mean) * scale`, cropped and mirrored, in the order and arithmetic of Caffe.

    A mean file is subtracted at the crop's offset. In TRAIN the crop's place is drawn for each image, in TEST it is
    the centre; `mirror` flips each image or not, in both phases, as Caffe does.
    """

    def __init__(self, param: caffe_pb2.TransformationParameter, shape: Shape, context: Context):
        """`shape` is that of the stored images, (C, H, W). Raises FerError for a crop or a mean that does not fit."""
        self._context: Any = context
        self._scale = param.scale
        self._mirror = param.mirror
        channels, height, width = shape
        crop = param.crop_size
        if crop > min(height, width):
            raise FerError(f"crop_size {crop} is larger than the images of {height} x {width}")
        self._crop = None if crop in (0, height) and crop in (0, width) else crop
        self._spare = (height - crop, width - crop) if crop else (0, 0)
        self.shape: Shape = (channels, crop or height, crop or width)
        """The shape of one transformed image."""
        self.mean = _mean(param, shape)
        """What is subtracted, float32 [C, H, W] or [C, 1, 1]; None where there is nothing."""


def _mean(param: caffe_pb2.TransformationParameter, shape: Shape) -> np.ndarray | None:
    channels = shape[0]
    if param.HasField("mean_file"):
        if param.mean_value:
            raise FerError("mean_file and mean_value cannot be given at the same time")
        mean = read_mean(param.mean_file)
        if mean.shape != shape:
            raise FerError(
                f"{param.mean_file}: a mean of {' x '.join(map(str, mean.shape))} does not fit "
                f"images of {' x '.join(map(str, shape))}"
            )
        return mean
    if not param.mean_value:
        return None
    if len(param.mean_value) not in (1, channels):
        raise FerError(f"{len(param.mean_value)} mean_values for {channels} channels; give one, or one a channel")
    values = np.array(param.mean_value, np.float32).reshape(-1, 1, 1)
    return np.broadcast_to(values, (channels, 1, 1)).copy()
