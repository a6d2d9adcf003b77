"""Losses and Accuracy: one number from scores and what they should have been."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from fer.engines.tensorflow.keras_layers.labels import class_index
from fer.engines.tensorflow.keras_layers.own import Own, Shape, Tensor, nchw, nhwc, serializable

_LOG_SMALLEST, _SMALLEST = math.log(np.finfo(np.float32).tiny), 1e-20


def floored(x: Tensor, floor: float) -> Tensor:
    """Clamped from below, with the gradient that passes as if it were not."""
    return x + tf.stop_gradient(tf.maximum(x, floor) - x)


class Normalized(Own):
    """A loss whose sum is divided by what `normalization` says: VALID, FULL, BATCH_SIZE or NONE."""

    normalization: str = "VALID"
    ignore_label: int | None = None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return ()

    def normalized(self, total: Tensor, outer: Tensor, inner: int, counted: Tensor) -> Tensor:
        """`counted`: 1 for each place that was not ignored."""
        if self.normalization == "VALID":
            return total / tf.maximum(tf.reduce_sum(counted), 1)
        if self.normalization == "NONE":
            return total
        by = outer if self.normalization == "BATCH_SIZE" else outer * inner
        return total / tf.maximum(tf.cast(by, total.dtype), 1)


class Classified(Normalized):
    """Losses over scores with `classes` along Caffe's `axis` and `inner` places behind it; one label a place.

    with_probabilities: a second top takes these, without a gradient.
    """

    axis: int = 1
    classes: int = 1
    inner: int = 1
    with_probabilities: bool = False

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return [(), tuple(input_shape[0])] if self.with_probabilities else ()

    def rows(self, scores: Tensor) -> Tensor:
        """[outer * inner, classes]."""
        return places(scores, self.classes, self.inner)

    def labels(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Indices [outer * inner], and how much each counts."""
        return class_index(self, tf.reshape(labels, (-1,)), self.classes, self.ignore_label)

    def tops(self, losses: Tensor, counted: Tensor, logits: Tensor, scores: Tensor) -> Tensor:
        outer = tf.shape(counted)[0] // self.inner
        loss = self.normalized(tf.reduce_sum(losses * counted), outer, self.inner, counted)
        if not self.with_probabilities:
            return loss
        shares = tf.reshape(tf.stop_gradient(tf.nn.softmax(logits)), (-1, self.inner, self.classes))
        return [loss, nhwc(tf.reshape(tf.transpose(shares, (0, 2, 1)), tf.shape(nchw(scores))))]


def places(scores: Tensor, classes: int, inner: int) -> Tensor:
    """[outer * inner, classes] of scores whose axis of classes has `inner` places behind it."""
    scores = nchw(scores)
    if inner == 1:
        return tf.reshape(scores, (-1, classes))
    return tf.reshape(tf.transpose(tf.reshape(scores, (-1, classes, inner)), (0, 2, 1)), (-1, classes))


@serializable
class SoftmaxWithLoss(Classified):
    """Mean of -log of the right class's probability."""

    def call(self, bottoms: list[Tensor]) -> Tensor:
        logits = self.rows(bottoms[0])
        index, counted = self.labels(bottoms[1])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(index, logits)
        return self.tops(-floored(-losses, _LOG_SMALLEST), counted, logits, bottoms[0])


@serializable
class InfogainLoss(Classified):
    """Mean of -sum over classes of H[label, class] * log probability; H is `matrix` or a third bottom."""

    matrix: tuple[tuple[float, ...], ...] | None = None

    def call(self, bottoms: list[Tensor]) -> Tensor:
        logits = self.rows(bottoms[0])
        index, counted = self.labels(bottoms[1])
        if len(bottoms) == 3:
            matrix = tf.reshape(tf.stop_gradient(bottoms[2]), (self.classes, self.classes))
        else:
            matrix = tf.constant(self.matrix, logits.dtype)
        logs = floored(tf.nn.log_softmax(logits), math.log(_SMALLEST))
        return self.tops(-tf.reduce_sum(tf.gather(matrix, index) * logs, 1), counted, logits, bottoms[0])


class OfItems(Own):
    """A loss over items, each with one label."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return ()

    def items(self, bottoms: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """What the items hold, [N, classes]; their labels [N], and how much each counts."""
        classes = math.prod(bottoms[0].shape[1:])
        rows = tf.reshape(nchw(bottoms[0]), (-1, classes))
        return rows, *class_index(self, tf.reshape(bottoms[1], (-1,)), classes)


def _mean(numbers: Tensor, items: Tensor) -> Tensor:
    """Their sum over how many items there are."""
    return tf.reduce_sum(numbers) / tf.cast(tf.shape(items)[0], numbers.dtype)


@serializable
class MultinomialLogisticLoss(OfItems):
    """Mean over items of -log of the right class's probability; the bottom holds probabilities."""

    def call(self, bottoms: list[Tensor]) -> Tensor:
        shares, index, counted = self.items(bottoms)
        right = tf.reduce_sum(shares * tf.one_hot(index, shares.shape[1]), 1)
        return _mean(-tf.math.log(floored(right, _SMALLEST)) * counted, shares)


@serializable
class HingeLoss(OfItems):
    """Mean over items of the sum over classes of max(0, 1 - score), the wrong classes' scores negated; L2: squared."""

    norm: str = "L1"

    def call(self, bottoms: list[Tensor]) -> Tensor:
        scores, index, counted = self.items(bottoms)
        sign = 1 - tf.one_hot(index, scores.shape[1]) * (1 + counted)[:, None]
        margin = tf.nn.relu(1 + sign * scores)
        return _mean(tf.square(margin) if self.norm == "L2" else margin, scores)


@serializable
class SigmoidCrossEntropyLoss(Normalized):
    """Cross-entropy of sigmoid(score) and targets in 0..1, summed, and divided by the number of items by default."""

    normalization: str = "BATCH_SIZE"

    def call(self, bottoms: list[Tensor]) -> Tensor:
        scores = bottoms[0]
        targets = tf.stop_gradient(bottoms[1])
        if targets.shape != scores.shape:
            scores = nchw(scores)
            targets = tf.reshape(nchw(targets), tf.shape(scores))
        losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, scores)
        counted = tf.ones_like(losses)
        if self.ignore_label is not None:
            counted = tf.cast(tf.cast(targets, tf.int32) != self.ignore_label, losses.dtype)
        inner = math.prod(scores.shape[1:])
        return self.normalized(tf.reduce_sum(losses * counted), tf.shape(scores)[0], inner, counted)


@serializable
class EuclideanLoss(Own):
    """Sum of squared differences over twice the number of items; both bottoms get a gradient."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return ()

    def call(self, bottoms: list[Tensor]) -> Tensor:
        a, b = bottoms
        if a.shape != b.shape:
            a = nchw(a)
            b = tf.reshape(nchw(b), tf.shape(a))
        return _mean(tf.square(a - b), a) / 2


@serializable
class ContrastiveLoss(Own):
    """Draws features [N, C] of similar pairs together and pushes others apart up to the margin."""

    margin: float = 1.0
    legacy_version: bool = False

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return ()

    def call(self, bottoms: list[Tensor]) -> Tensor:
        a, b = (tf.reshape(bottom, (tf.shape(bottom)[0], -1)) for bottom in bottoms[:2])
        similar = tf.cast(tf.stop_gradient(tf.reshape(bottoms[2], (-1, 1))), tf.int32) != 0
        margin, legacy = self.margin, self.legacy_version

        @tf.custom_gradient
        def loss(difference: Tensor) -> Any:
            """Caffe adds 1e-4 to the distance it divides the gradient by; so does this."""
            squares = tf.reduce_sum(tf.square(difference), 1, keepdims=True)
            distance = tf.sqrt(squares)
            gap = margin - (squares if legacy else distance)
            beyond = tf.nn.relu(gap)
            slope = -tf.cast(gap > 0, gap.dtype) if legacy else -beyond / (distance + 1e-4)
            count = tf.cast(tf.shape(difference)[0], gap.dtype)
            towards = tf.where(similar, 1.0, slope) * difference / count

            def gradient(grad: Tensor) -> Tensor:
                return towards * grad

            pushed = beyond if legacy else tf.square(beyond)
            return tf.reduce_sum(tf.where(similar, squares, pushed)) / (2 * count), gradient

        return loss(a - b)


@serializable
class Accuracy(Own):
    """Share of places whose right class is among the top_k scores; by_class: a second top [classes] has it for each.

    A class is in the top k if fewer than k others score as high or higher, so ties count as wrong.
    """

    top_k: int = 1
    ignore_label: int | None = None
    classes: int = 1
    inner: int = 1
    by_class: bool = False

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return [(), (self.classes,)] if self.by_class else ()

    def call(self, bottoms: list[Tensor]) -> Tensor:
        scores = places(tf.stop_gradient(bottoms[0]), self.classes, self.inner)
        index, counted = class_index(self, tf.reshape(bottoms[1], (-1,)), self.classes, self.ignore_label)
        of_label = tf.gather(scores, index, batch_dims=1)
        rank = tf.reduce_sum(tf.cast(scores >= of_label[:, None], tf.int32), 1)
        right = tf.cast(rank <= self.top_k, tf.float32) * counted
        top = tf.reduce_sum(right) / tf.maximum(tf.reduce_sum(counted), 1)
        if not self.by_class:
            return top
        member = tf.one_hot(index, self.classes)
        totals = tf.linalg.matvec(member, counted, transpose_a=True)
        return [top, tf.linalg.matvec(member, right, transpose_a=True) / tf.maximum(totals, 1)]
