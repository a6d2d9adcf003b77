"""Caffe's six update rules over all parameters at once, in one graph."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from fer.engines.core.parameters import LearnedParam
from fer.engines.core.rules import check_rule, fit_history, keeps_history
from fer.engines.tensorflow.blob import Blob
from fer.engines.tensorflow.layer import Tensor
from fer.formats.prototxt import TWO_HISTORIES
from fer.schema import caffe_pb2


@dataclass
class _Kept:
    """A parameter whose history changes: its variables, and what Caffe multiplies its rate and decay by."""

    parameter: Any
    histories: list[Any]
    lr_mult: float
    decay: float
    trained: bool


class Updater:
    """Applies the solver's rule to the gradients; keeps Caffe's history blobs.

    The learning rate sits inside the momentum buffer, and parameters with lr_mult 0 are left alone.
    """

    def __init__(self, learnable: Sequence[LearnedParam], solver: caffe_pb2.SolverParameter):
        check_rule(solver)
        self.solver = solver
        self.learnable = list(learnable)
        self._rule: Callable[..., None] = getattr(self, f"_{solver.type.lower()}")
        self._two = solver.type in TWO_HISTORIES
        self._histories: dict[int, list[Blob]] = {}
        self._frozen: dict[int, list[np.ndarray]] = defaultdict(list)
        self._kept: list[_Kept] = []
        for position, learned in enumerate(self.learnable):
            trained = learned.lr_mult > 0
            if keeps_history(solver, learned, trained):
                histories = [Blob(np.zeros(learned.shape, np.float32)) for _ in range(1 + self._two)]
                for history in histories:
                    history.axes = learned.parameter.axes
                self._histories[position] = histories
                decay = float(np.float32(solver.weight_decay) * np.float32(learned.decay_mult))
                variables = [history.variable for history in histories]
                self._kept.append(_Kept(learned.parameter.variable, variables, learned.lr_mult, decay, trained))
        self.trained: list[Any] = [kept.parameter for kept in self._kept if kept.trained]
        # On a CPU it saves some 6 ms of AlexNet's 1,000, and its compiler speaks amid Caffe's lines.
        self._apply = tf.function(self._update, jit_compile=bool(tf.config.get_visible_devices("GPU")) or None)
        self._add = tf.function(lambda a, b: [x + y for x, y in zip(a, b, strict=True)])

    # ---- the history

    def history(self) -> list[np.ndarray]:
        """Caffe's history blobs as float32 arrays: one per learnable parameter, or all first and then all second."""
        rows: list[np.ndarray] = []
        for kind in range(1 + self._two):
            for position, learned in enumerate(self.learnable):
                if position in self._histories:
                    rows.append(self._histories[position][kind].numpy())
                elif self._frozen[position]:
                    rows.append(self._frozen[position][kind])
                else:
                    rows.append(np.zeros(learned.shape, np.float32))
        return rows

    def load_history(self, rows: Sequence[np.ndarray], *, legacy: bool = False) -> None:
        """Take over a solver state's history; FerError where it is of another net or rule."""
        self._frozen.clear()
        for kind, arrays in enumerate(fit_history(rows, self.learnable, self.solver, legacy)):
            for position, array in enumerate(arrays):
                if position in self._histories:
                    self._histories[position][kind].assign(array)
                else:
                    self._frozen[position].append(array)

    # ---- the update

    def add(self, gradients: list[Tensor] | None, more: list[Tensor]) -> list[Tensor]:
        """The sum of the gradients of several passes."""
        return more if gradients is None else self._add(gradients, more)

    def apply(self, gradients: list[Tensor], iteration: int, rate: float) -> float | None:
        """Update every parameter from the gradients of `trained`; `rate` is that of `iteration`.

        Returns the gradients' L2 norm where it exceeded clip_gradients.
        """
        beta1, beta2 = self.solver.momentum, self.solver.momentum2
        correction = 1.0
        if self.solver.type == "Adam":
            correction = math.sqrt(1 - beta2 ** (iteration + 1)) / (1 - beta1 ** (iteration + 1))
        norm = self._apply(gradients, np.float32(rate), np.float32(correction))
        limit = self.solver.clip_gradients
        if limit < 0 or not gradients:
            return None
        value = float(norm)
        return value if value > limit else None

    def _update(self, gradients: list[Tensor], rate: Tensor, correction: Tensor) -> Tensor:
        solver, norm = self.solver, tf.zeros(())
        if solver.clip_gradients >= 0 and gradients:
            norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients]))
            share = tf.where(norm > solver.clip_gradients, solver.clip_gradients / norm, 1.0)
            gradients = [gradient * share for gradient in gradients]
        given = iter(gradients)
        for kept in self._kept:
            weight = kept.parameter.value()
            gradient = next(given) if kept.trained else tf.zeros_like(weight)
            if solver.iter_size != 1:
                gradient = gradient * (1 / solver.iter_size)
            if kept.decay:
                penalty = tf.sign(weight) if solver.regularization_type == "L1" else weight
                gradient = gradient + kept.decay * penalty
            self._rule(kept, gradient, rate * np.float32(kept.lr_mult), correction)
        return norm

    # ---- the rules

    def _sgd(self, kept: _Kept, gradient: Tensor, rate: Tensor, _: Tensor) -> None:
        (history,) = kept.histories
        step = history.assign(self.solver.momentum * history + rate * gradient)
        kept.parameter.assign_sub(step)

    def _nesterov(self, kept: _Kept, gradient: Tensor, rate: Tensor, _: Tensor) -> None:
        (history,), momentum = kept.histories, self.solver.momentum
        before = history.value()
        after = momentum * before + rate * gradient
        # Step back by the old history, then over by the new one.
        kept.parameter.assign_sub((1 + momentum) * after - momentum * before)
        history.assign(after)

    def _adagrad(self, kept: _Kept, gradient: Tensor, rate: Tensor, _: Tensor) -> None:
        (history,) = kept.histories
        self._divide_by_root(kept, gradient, history.assign_add(tf.square(gradient)), rate)

    def _rmsprop(self, kept: _Kept, gradient: Tensor, rate: Tensor, _: Tensor) -> None:
        (history,), keep = kept.histories, self.solver.rms_decay
        squares = history.assign(keep * history + (1 - keep) * tf.square(gradient))
        self._divide_by_root(kept, gradient, squares, rate)

    def _adadelta(self, kept: _Kept, gradient: Tensor, rate: Tensor, _: Tensor) -> None:
        (first, second), momentum, delta = kept.histories, self.solver.momentum, self.solver.delta
        squares = first.assign(momentum * first + (1 - momentum) * tf.square(gradient))
        step = tf.sqrt((second + delta) / (squares + delta)) * gradient
        second.assign(momentum * second + (1 - momentum) * tf.square(step))
        kept.parameter.assign_sub(rate * step)

    def _adam(self, kept: _Kept, gradient: Tensor, rate: Tensor, correction: Tensor) -> None:
        (first, second), (beta1, beta2) = kept.histories, (self.solver.momentum, self.solver.momentum2)
        mean = first.assign(beta1 * first + (1 - beta1) * gradient)
        squares = second.assign(beta2 * second + (1 - beta2) * tf.square(gradient))
        self._divide_by_root(kept, mean, squares, rate * correction)

    def _divide_by_root(self, kept: _Kept, over: Tensor, squares: Tensor, rate: Tensor) -> None:
        kept.parameter.assign_sub(rate * over / (tf.sqrt(squares) + self.solver.delta))
