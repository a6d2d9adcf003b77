"""Labels, and other numbers that Caffe keeps as floats, as indices."""

from typing import Any

import tensorflow as tf

from fer.engines.tensorflow.keras_layers.own import Tensor

FAULT = "wrong index: "
"""What the message of a fault that a pass finds begins with."""


def class_index(
    layer: Any, labels: Tensor, classes: int, ignore: int | None = None, what: str = "label"
) -> tuple[Tensor, Tensor]:
    """int32 indices of the shape of `labels`, and how much each counts: 0 where ignored, else 1.

    One outside of 0..classes-1 ends the pass; under XLA, which cannot, it counts NaN: the loss shows it.
    """
    index = tf.cast(tf.stop_gradient(labels), tf.int32)
    kept = tf.ones_like(index, tf.bool) if ignore is None else index != ignore
    wrong = kept & ((index < 0) | (index >= classes))
    first = tf.reshape(index, (-1,))[tf.argmax(tf.cast(tf.reshape(wrong, (-1,)), tf.int32))]
    words = [f"{FAULT}{layer.name}|{what}", first, f"is outside of 0..{classes - 1}|"]
    check = tf.debugging.Assert(tf.logical_not(tf.reduce_any(wrong)), words)
    with tf.control_dependencies([check] if check is not None else []):  # None where it ran at once
        weight = tf.where(wrong, float("nan"), tf.cast(kept, tf.float32))
    return tf.where(kept & ~wrong, index, 0), weight
