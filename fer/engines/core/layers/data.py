"""Data and ImageData: images of a database or a list."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from fer.engines.core.framework import Shape
from fer.engines.core.images import ListOptions
from fer.engines.core.layer import Layer
from fer.engines.core.loaded import Images, load_database, load_image_list
from fer.engines.core.order import Order
from fer.engines.core.transform import Transform
from fer.errors import FerError
from fer.formats.image_header import MAX_PIXELS
from fer.nets.states import SHUFFLE
from fer.schema import caffe_pb2


class Cursor(Layer):
    """A data layer that hands out rows in an order, from where so many batches before have left it."""

    host = True
    order: Order[Any]

    def state(self) -> dict[str, Any]:
        return {"batches": self.order.batches}

    def load_state(self, state: dict[str, Any]) -> None:
        self.order.batches = int(state["batches"])

    def seek(self, batches: int) -> None:
        self.order.batches = batches


class ImageBatches(Cursor):
    """A data layer whose tops are transformed images [B, C, h, w] and, if asked for, their labels float32 [B]."""

    transform: Any

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        if shapes:
            self.fail("takes no bottom")
        if len(self.param.top) > 2:
            self.fail(f"has 2 tops at most (images, labels), not {len(self.param.top)}")
        batch = self.batch_size()
        if batch < 1:
            self.fail("batch_size must be 1 or more")
        try:
            self.images = self.load()
            self.transform = self.make_transform(self.param.transform_param, self.images.shape)
            self._shapes: list[Shape] = [(batch, *self.transform.shape), (batch,)][: len(self.param.top)]
            self.context.check_room(self._shapes)
        except FerError as error:
            self.fail(str(error))
        self.order = self.ordered(batch)
        return self._shapes

    def make_transform(self, param: caffe_pb2.TransformationParameter, shape: Shape) -> Transform:
        """What the images of `shape` (C, H, W) go through; a framework's works on its own batches."""
        return Transform(param, shape, self.context)

    def batch_size(self) -> int:
        raise NotImplementedError

    def epoch(self) -> int:
        """The batches that show each image once."""
        return math.ceil(len(self.images) / self.batch_size())

    def load(self) -> Images:
        """The images; FerError for a source that cannot be used."""
        raise NotImplementedError

    def ordered(self, batch: int) -> Order[Any]:
        raise NotImplementedError

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        return self._shapes

    def all_values(self, top: int) -> np.ndarray | None:
        labels: np.ndarray | None = self.context.host(self.images.labels) if top == 1 else None
        return labels


class Data(ImageBatches):
    """The Datums of an LMDB in key order, over and over; in TRAIN with the stage `shuffle`, in a new order an epoch."""

    def batch_size(self) -> int:
        return self.param.data_param.batch_size

    def load(self) -> Images:
        data, transform = self.param.data_param, self.param.transform_param
        if data.backend != caffe_pb2.DataParameter.LMDB:
            raise FerError(
                "the backend LEVELDB (Caffe's default) is not read; "
                "say `backend: LMDB` in data_param and make the LMDB with `fer prepare`"
            )
        if not data.source:
            raise FerError("data_param names no source")
        if transform.force_color and transform.force_gray:
            raise FerError("force_color and force_gray cannot both be set")
        force = "color" if transform.force_color else "gray" if transform.force_gray else ""
        return load_database(Path(data.source), force, self.context)

    def ordered(self, batch: int) -> Order[Any]:
        shuffle = self.context.training and SHUFFLE in self.context.stages
        name = self.context.shuffled.setdefault(len(self.images), self.param.name)
        return self.make_order([len(self.images)], batch, name=name, shuffle=shuffle)


class ImageData(ImageBatches):
    """The image files of a list; with `shuffle`, in a new order each epoch."""

    def batch_size(self) -> int:
        return self.param.image_data_param.batch_size

    def load(self) -> Images:
        param = self.param.image_data_param
        if not param.source:
            raise FerError("image_data_param names no source")
        if bool(param.new_height) != bool(param.new_width):
            raise FerError("new_height and new_width must be set together")
        size = (param.new_height, param.new_width) if param.new_height else None
        if param.new_height * param.new_width > MAX_PIXELS:
            raise FerError(f"new_height x new_width is more than {MAX_PIXELS:,} pixels")
        options = ListOptions(param.root_folder, size, param.is_color)
        return load_image_list(Path(param.source), options, self.context)

    def ordered(self, batch: int) -> Order[Any]:
        param, count = self.param.image_data_param, len(self.images)
        order = self.make_order([count], batch, shuffle=param.shuffle, rand_skip=param.rand_skip)
        if order.start >= count:
            self.fail(f"rand_skip {param.rand_skip} drew {order.start} images to skip, and there are {count}")
        return order
