"""BatchNorm, Scale, Bias and MVN."""

from typing import Any

import tensorflow as tf

from fer.engines.tensorflow.keras_layers.own import Own, Shape, Tensor, caffes, nchw, nhwc, serializable


@serializable
class BatchNorm(Own):
    """Each channel to mean 0 and variance 1, without a learnt factor: that is the Scale layer's behind it.

    Weights: sums of means [C], of variances [C], and of how much each batch counts [1]. Training takes the batch's
    statistics and adds them to the sums, which fade by moving_average_fraction; testing (or use_global_stats) takes
    the sums divided by the last.
    """

    moving_average_fraction: float = 0.999
    eps: float = 1e-5
    use_global_stats: bool | None = None

    def build(self, shape: Shape) -> None:
        channels = caffes(shape)[1] if len(shape) > 1 else 1
        names = {"mean": (channels,), "variance": (channels,), "weight": (1,)}
        self.sums = [
            self.add_weight(shape=size, name=name, initializer="zeros", trainable=False, autocast=False)
            for name, size in names.items()
        ]

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        images = _as_images(x)
        stored = not training if self.use_global_stats is None else self.use_global_stats
        top = self._by_stored(images) if stored else self._by_batch(images)
        return _from_images(top, x)

    def _by_stored(self, images: Tensor) -> Tensor:
        mean, variance, weight = map(tf.convert_to_tensor, self.sums)
        share = tf.math.divide_no_nan(1.0, weight)
        return self._fused(images, mean * share, variance * share, training=False)[0]

    def _by_batch(self, images: Tensor) -> Tensor:
        top, mean, variance = self._fused(images, [], [], training=True)
        fresh = (mean, variance, tf.ones(1))
        for total, value in zip(self.sums, fresh, strict=True):
            total.assign(total * self.moving_average_fraction + tf.stop_gradient(value))
        return top

    def _fused(self, images: Tensor, mean: Tensor, variance: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised, with the mean and the unbiased variance of the batch, which is what Caffe adds up."""
        channels = images.shape[-1]
        top, *moments = tf.raw_ops.FusedBatchNormV3(
            x=images,
            scale=tf.ones(channels),
            offset=tf.zeros(channels),
            mean=mean,
            variance=variance,
            epsilon=self.eps,
            is_training=training,
        )[:3]
        return top, *moments


def _as_images(x: Tensor) -> Tensor:
    """[N, ..., C] with four axes."""
    if len(x.shape) == 4:
        return x
    channels = x.shape[1] if len(x.shape) > 1 else 1
    rows = x if len(x.shape) < 3 else tf.transpose(x, (0, *range(2, len(x.shape)), 1))
    return tf.reshape(rows, (-1, 1, 1, channels))


def _from_images(top: Tensor, x: Tensor) -> Tensor:
    axes = len(x.shape)
    if axes == 4:
        return top
    if axes < 3:
        return tf.reshape(top, tf.shape(x))
    shape = tf.shape(x)
    last = tf.reshape(top, tf.concat([shape[:1], shape[2:], shape[1:2]], 0))
    return tf.transpose(last, (0, axes - 1, *range(1, axes - 1)))


def spread(values: Tensor, axis: int, axes: int) -> Tensor:
    """`values`, whose first axis is Caffe's `axis` of a blob of so many axes, in a form that broadcasts over it."""
    rest = [1] * (axes - axis - len(values.shape))
    return nhwc(tf.reshape(values, tf.concat([[1] * axis, tf.shape(values), rest], 0)))


def _several(shape: Shape) -> bool:
    """Whether it is of several bottoms (a saved model's shapes come back as lists)."""
    return len(shape) > 0 and isinstance(shape[0], list | tuple)


@serializable
class Scale(Own):
    """The bottom times a weight that covers its axes from Caffe's `axis` on, plus another with `use_bias`.

    Of two bottoms the second is the factor.
    """

    shape: tuple[int, ...] = ()
    axis: int = 1
    use_bias: bool = False

    def build(self, shape: Shape) -> None:
        self.factor = None
        if not _several(shape):
            self.factor = self.add_weight(shape=self.shape, name="factor", initializer="ones")
        self.bias = self.add_weight(shape=self.shape, name="bias", initializer="zeros") if self.use_bias else None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0] if _several(input_shape) else input_shape

    def call(self, bottoms: Tensor) -> Tensor:
        x, factor = (
            (bottoms[0], nchw(bottoms[1])) if self.factor is None else (bottoms, tf.convert_to_tensor(self.factor))
        )
        top = x * spread(factor, self.axis, len(x.shape))
        return top if self.bias is None else top + spread(tf.convert_to_tensor(self.bias), self.axis, len(x.shape))


@serializable
class Bias(Own):
    """The bottom plus a weight that covers its axes from Caffe's `axis` on; of two bottoms plus the second."""

    shape: tuple[int, ...] = ()
    axis: int = 1

    def build(self, shape: Shape) -> None:
        self.bias = None
        if not _several(shape):
            self.bias = self.add_weight(shape=self.shape, name="bias", initializer="zeros")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0] if _several(input_shape) else input_shape

    def call(self, bottoms: Tensor) -> Tensor:
        x, term = (bottoms[0], nchw(bottoms[1])) if self.bias is None else (bottoms, tf.convert_to_tensor(self.bias))
        return x + spread(term, self.axis, len(x.shape))


@serializable
class MVN(Own):
    """Each image's channel (or image, with across_channels) less its mean, and divided by its deviation + eps."""

    normalize_variance: bool = True
    across_channels: bool = False
    eps: float = 1e-9

    def call(self, x: Tensor) -> Tensor:
        axes: tuple[int, ...]
        if len(x.shape) == 4:
            axes = (1, 2, 3) if self.across_channels else (1, 2)
        else:
            axes = tuple(range(1 if self.across_channels else 2, len(x.shape)))
        if not axes:  # each number is a plane by itself
            x, axes = x[..., None], (2,)
            return self._normalize(x, axes)[..., 0]
        return self._normalize(x, axes)

    def _normalize(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        if not self.normalize_variance:
            return x - tf.reduce_mean(x, axes, keepdims=True)
        eps = self.eps

        @tf.custom_gradient
        def standardize(x: Tensor) -> Any:
            """Caffe's gradient takes eps for part of the deviation; so does this one."""
            centred = x - tf.reduce_mean(x, axes, keepdims=True)
            deviation = tf.sqrt(tf.reduce_mean(tf.square(centred), axes, keepdims=True)) + eps
            top = centred / deviation

            def gradient(grad: Tensor) -> Tensor:
                along = tf.reduce_mean(grad * top, axes, keepdims=True)
                return (grad - tf.reduce_mean(grad, axes, keepdims=True) - top * along) / deviation

            return top, gradient

        return standardize(x)
