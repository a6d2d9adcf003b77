"""Caffe's TEST-phase transform of images: the crop, the mean under it taken away, the scale."""

import numpy as np

from fer.errors import FerError
from fer.formats.blobs import shape_text
from fer.formats.database import read_mean
from fer.schema import caffe_pb2

Shape = tuple[int, int, int]


def under_mean(given: Shape, mean: np.ndarray | None) -> tuple[Shape, int]:
    """((channels, height, width) of images before the crop, the crop or 0) for a net's input and its mean alone.

    Images are as large as the mean, or as the input where the mean is one of numbers. Raises FerError where the mean
    does not fit.
    """
    channels, height, width = given
    if mean is None or mean.shape[1:] in ((1, 1), (height, width)):
        return given, 0
    if height != width or min(mean.shape[1:]) < height:
        raise FerError(f"the mean is {shape_text(mean.shape)}, where the net's input is {shape_text(given)}")
    return (channels, mean.shape[1], mean.shape[2]), height


class Transform:
    """The TEST-phase transform of `param` for uint8 images of `shape` (channels, height, width).

    `mean` is float32 [C, H, W], of one number a channel [C, 1, 1], or None; it is taken from `param` unless it is
    given. Raises FerError where crop or mean do not fit the images, or the mean cannot be read.
    """

    def __init__(self, param: caffe_pb2.TransformationParameter, shape: Shape, mean: np.ndarray | None = None):
        self.shape = shape
        channels, self.height, self.width = shape
        self.crop = param.crop_size
        self.scale = param.scale
        if self.crop > min(self.height, self.width):
            raise FerError(f"crop_size {self.crop} is larger than the images of {self.height} x {self.width}")
        self.mean = mean
        if param.mean_file:
            self.mean = read_mean(param.mean_file)
        elif param.mean_value:
            self.mean = np.array(param.mean_value, np.float32).reshape(-1, 1, 1)
        if self.mean is not None:
            fits = self.mean.shape[0] in (1, channels) and self.mean.shape[1:] in ((1, 1), (self.height, self.width))
            if not fits:
                raise FerError(f"the mean is {self.mean.shape}, where the images are {shape}")

    def offsets(self, ten_crop: bool = False) -> list[tuple[int, int]]:
        """(top, left) of each crop: the centre, and with `ten_crop` the four corners too."""
        if not self.crop:
            return [(0, 0)]
        bottom, right = self.height - self.crop, self.width - self.crop
        centre = (bottom // 2, right // 2)
        return [centre, (0, 0), (0, right), (bottom, 0), (bottom, right)] if ten_crop else [centre]

    def window(self, top: int, left: int) -> tuple[slice, slice]:
        """Rows and columns of the crop there."""
        return slice(top, top + (self.crop or self.height)), slice(left, left + (self.crop or self.width))

    def views(self, images: np.ndarray, ten_crop: bool = False) -> list[np.ndarray]:
        """float32 [N, C, h, w] of each view of uint8 [N, C, H, W]; with `ten_crop` each is followed by its mirror."""
        views = []
        for offset in self.offsets(ten_crop):
            rows, columns = self.window(*offset)
            pixels = images[:, :, rows, columns].astype(np.float32)
            if self.mean is not None:
                pixels -= self.mean if self.mean.shape[1:] == (1, 1) else self.mean[:, rows, columns]
            pixels *= np.float32(self.scale)
            views += [pixels, np.ascontiguousarray(pixels[..., ::-1])] if ten_crop else [pixels]
        return views
