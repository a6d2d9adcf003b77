"""Layers that move numbers about and change none."""

import math
from itertools import pairwise

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer


class Concat(Layer):
    """The bottoms behind one another along the axis."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1, max(len(shapes), 1))
        param = self.param.concat_param
        if param.HasField("axis") and param.HasField("concat_dim"):
            self.fail("takes axis or concat_dim, not both")
        self.axis = self.axis_of(param.concat_dim if param.HasField("concat_dim") else param.axis, shapes[0])
        if len({(*shape[: self.axis], -1, *shape[self.axis + 1 :]) for shape in shapes}) > 1:
            self.fail(f"its bottoms differ beside axis {self.axis}: {shapes}")
        total = sum(shape[self.axis] for shape in shapes)
        return [(*shapes[0][: self.axis], total, *shapes[0][self.axis + 1 :])]


class Slice(Layer):
    """The bottom cut along the axis at every slice_point, or into equal parts, one for each top."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        param, tops = self.param.slice_param, max(len(self.param.top), 1)
        if param.HasField("axis") and param.HasField("slice_dim"):
            self.fail("takes axis or slice_dim, not both")
        self.axis = self.axis_of(param.slice_dim if param.HasField("slice_dim") else param.axis, shapes[0])
        length = shapes[0][self.axis]
        if param.slice_point:
            edges = [0, *param.slice_point, length]
            if len(edges) != tops + 1 or any(a >= b for a, b in pairwise(edges)):
                self.fail(f"needs {tops - 1} rising slice_point within 1..{length - 1}, not {list(param.slice_point)}")
        elif length % tops:
            self.fail(f"axis {self.axis} of {shapes[0]} does not divide into {tops} tops")
        else:
            edges = [length // tops * i for i in range(tops + 1)]
        self.sizes = [b - a for a, b in pairwise(edges)]
        return [(*shapes[0][: self.axis], size, *shapes[0][self.axis + 1 :]) for size in self.sizes]


class Split(Layer):
    """The bottom once for each top."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        return [shapes[0]] * len(self.param.top)


class Reshaping(Layer):
    """One bottom whose numbers keep their order."""

    top_shape: Shape


class Flatten(Reshaping):
    """Axes `axis` to `end_axis` made one."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        param, shape = self.param.flatten_param, shapes[0]
        start, end = self.axis_of(param.axis, shape), self.axis_of(param.end_axis, shape)
        if start > end:
            self.fail(f"axis {param.axis} comes after end_axis {param.end_axis} in {shape}")
        self.top_shape = (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
        return [self.top_shape]


class Reshape(Reshaping):
    """Axes `axis` to `axis + num_axes` replaced by `shape`: 0 copies a length, one -1 takes what is left."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        param, shape = self.param.reshape_param, shapes[0]
        start = param.axis if param.axis >= 0 else len(shape) + param.axis + 1
        stop = len(shape) if param.num_axes == -1 else start + param.num_axes
        if not 0 <= start <= len(shape) or param.num_axes < -1 or stop > len(shape):
            self.fail(f"axis {param.axis} with num_axes {param.num_axes} is outside of {shape}")
        self.top_shape = (*shape[:start], *self._replaced(shape, start, stop), *shape[stop:])
        return [self.top_shape]

    def _replaced(self, shape: Shape, start: int, stop: int) -> list[int]:
        wanted = list(self.param.reshape_param.shape.dim)
        for i, length in enumerate(wanted):
            if length == 0 and start + i >= len(shape):
                self.fail(f"shape's 0 at place {i} copies axis {start + i}, which {shape} has not")
        lengths = [shape[start + i] if length == 0 else length for i, length in enumerate(wanted)]
        total, known = math.prod(shape[start:stop]), math.prod(length for length in lengths if length != -1)
        if any(length < -1 for length in lengths) or lengths.count(-1) > 1:
            self.fail(f"shape takes one -1 at most and no other negative number, not {wanted}")
        if (total % known if -1 in lengths else total != known) or known == 0:
            self.fail(f"{shape} does not reshape to {wanted} at axis {start}")
        return [total // known if length == -1 else length for length in lengths]


class Crop(Layer):
    """The first bottom cut, from `axis` on, to the second one's size at `offset`."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 2)
        param, (image, like) = self.param.crop_param, shapes
        axis = self.axis_of(param.axis, image)
        cropped = len(image) - axis
        if len(param.offset) > 1 and len(param.offset) != cropped:
            self.fail(f"has {len(param.offset)} offsets for {cropped} axes (give one, or one for each)")
        if len(like) != len(image):
            self.fail(f"its bottoms differ in axes: {shapes}")
        offsets = list(param.offset) if len(param.offset) > 1 else list(param.offset or [0]) * cropped
        if any(image[axis + i] < offset + like[axis + i] for i, offset in enumerate(offsets)):
            self.fail(f"a crop of {like[axis:]} at {offsets} is outside of {image[axis:]}")
        self.cuts = (slice(None),) * axis + tuple(
            slice(offset, offset + like[axis + i]) for i, offset in enumerate(offsets)
        )
        return [(*image[:axis], *like[axis:])]


class Tile(Layer):
    """The bottom `tiles` times along the axis."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        param, shape = self.param.tile_param, shapes[0]
        if param.tiles < 1:
            self.fail("tiles must be 1 or more")
        axis = self.axis_of(param.axis, shape)
        self.times = [param.tiles if i == axis else 1 for i in range(len(shape))]
        return [tuple(length * times for length, times in zip(shape, self.times, strict=True))]


class BatchReindex(Layer):
    """Items of the first bottom in the order (and as often) as the second, a list of indices, names them."""

    index_bottom = 1

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 2)
        if not shapes[0] or len(shapes[1]) != 1:
            self.fail(f"takes items and a list of indices, not {shapes}")
        self._items = shapes[0][0]
        return [(*shapes[1], *shapes[0][1:])]

    def index_range(self) -> tuple[int, int | None]:
        return self._items, None


class Filter(Layer):
    """Of every bottom but the last, the items for which the last one, the selector, is not 0."""

    host = True

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 2, max(len(shapes), 2))
        *items, selector = shapes
        if len(self.param.top) != len(items):
            self.fail(f"takes {len(items)} tops for {len(items)} bottoms and a selector, not {len(self.param.top)}")
        if not selector or math.prod(selector[1:]) != 1:
            self.fail(f"its selector must be one number for each item, not {selector}")
        if any(shape[:1] != selector[:1] for shape in items):
            self.fail(f"its bottoms differ in how many items they have: {shapes}")
        return items


class Silence(Layer):
    """Takes bottoms, so that nobody reports them as outputs."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        return []
