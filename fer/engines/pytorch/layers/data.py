"""Data and ImageData: images of a database or a list, transformed on the device."""

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from fer.engines.core.images import ListOptions
from fer.engines.core.order import Order
from fer.engines.pytorch.data.room import check_room
from fer.engines.pytorch.data.rows import make_order, take
from fer.engines.pytorch.data.source import Images, load_database, load_image_list
from fer.engines.pytorch.data.transform import Transform
from fer.engines.pytorch.registry import Layer, Shape, register
from fer.errors import FerError
from fer.formats.image_header import MAX_PIXELS
from fer.nets.states import SHUFFLE
from fer.schema import caffe_pb2


class ImageBatches(Layer):
    """A data layer whose tops are transformed images [B, C, h, w] and, if asked for, their labels float32 [B]."""

    host = True

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
            self.transform = Transform(self.param.transform_param, self.images.shape, self.context)
            self._shapes: list[Shape] = [(batch, *self.transform.shape), (batch,)][: len(self.param.top)]
            check_room(self._shapes, self.context.dtype.itemsize, self.context.device)
        except FerError as error:
            self.fail(str(error))
        self.order = self.make_order(batch)
        self._generator = self.context.seeds.generator(f"{self.param.name}/transform")
        return self._shapes

    def batch_size(self) -> int:
        raise NotImplementedError

    def epoch(self) -> int:
        """The batches that show each image once."""
        return math.ceil(len(self.images) / self.batch_size())

    def load(self) -> Images:
        """The images, on the device; FerError for a source that cannot be used."""
        raise NotImplementedError

    def make_order(self, batch: int) -> Order[Tensor]:
        raise NotImplementedError

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        return self._shapes

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        pieces = self.order.next()
        data = self.transform(take(self.images.pixels, pieces), self._generator)
        if len(self._shapes) == 1:
            return (data,)
        return data, take(self.images.labels, pieces).to(self.context.dtype)

    def all_values(self, top: int) -> Tensor | None:
        return self.images.labels if top == 1 else None

    def state(self) -> dict[str, Any]:
        return {"batches": self.order.batches}

    def load_state(self, state: dict[str, Any]) -> None:
        self.order.batches = int(state["batches"])

    def seek(self, batches: int) -> None:
        self.order.batches = batches


@register("Data")
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
        return load_database(Path(data.source), force, self.context.device)

    def make_order(self, batch: int) -> Order[Tensor]:
        shuffle = self.context.training and SHUFFLE in self.context.stages
        name = self.context.shuffled.setdefault(len(self.images), self.param.name)
        return make_order(name, [len(self.images)], batch, self.context, shuffle=shuffle)


@register("ImageData")
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
        return load_image_list(Path(param.source), options, self.context.device)

    def make_order(self, batch: int) -> Order[Tensor]:
        param, count = self.param.image_data_param, len(self.images)
        order = make_order(
            self.param.name, [count], batch, self.context, shuffle=param.shuffle, rand_skip=param.rand_skip
        )
        if order.start >= count:
            self.fail(f"rand_skip {param.rand_skip} drew {order.start} images to skip, and there are {count}")
        return order
