"""Caffe's six update rules over all parameters at once."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fer.engines.core.parameters import LearnedParam
from fer.engines.core.rules import check_rule, fit_history, keeps_history
from fer.formats.prototxt import TWO_HISTORIES
from fer.schema import caffe_pb2


class _Group:
    """Parameters with one lr_mult and one decay_mult, with their histories."""

    def __init__(self, lr_mult: float, decay_mult: float):
        self.lr_mult = np.float32(lr_mult)
        self.decay_mult = np.float32(decay_mult)
        self.params: list[Tensor] = []
        self.first: list[Tensor] = []
        self.second: list[Tensor] = []


class Updater:
    """Applies the solver's rule to the gradients; keeps Caffe's history blobs.

    The learning rate sits inside the momentum buffer, and parameters with lr_mult 0 are left alone.
    """

    def __init__(self, learnable: Sequence[LearnedParam], solver: caffe_pb2.SolverParameter):
        check_rule(solver)
        self.solver = solver
        self.learnable = list(learnable)
        self.l1 = solver.regularization_type == "L1"
        self._rule = getattr(self, f"_{solver.type.lower()}")
        self._two = solver.type in TWO_HISTORIES
        groups: dict[tuple[float, float], _Group] = {}
        self._history: dict[int, list[Tensor]] = {}
        for position, learned in enumerate(self.learnable):
            if not keeps_history(solver, learned, learned.parameter.requires_grad):
                continue
            key = (learned.lr_mult, learned.decay_mult)
            group = groups.setdefault(key, _Group(*key))
            histories = [torch.zeros_like(learned.parameter, requires_grad=False) for _ in range(1 + self._two)]
            self._history[position] = histories
            group.params.append(learned.parameter)
            group.first.append(histories[0])
            if self._two:
                group.second.append(histories[1])
        self._groups = list(groups.values())
        self.trained: list[Tensor] = [p for group in self._groups for p in group.params if p.requires_grad]
        self._frozen: dict[int, list[np.ndarray]] = defaultdict(list)

    def history(self) -> list[np.ndarray]:
        """Caffe's history blobs as float32 arrays: one per learnable parameter, or all first and then all second."""
        rows: list[np.ndarray] = []
        for kind in range(1 + self._two):
            for position, learned in enumerate(self.learnable):
                if position in self._history:
                    rows.append(self._history[position][kind].detach().float().cpu().numpy())
                elif self._frozen[position]:
                    rows.append(self._frozen[position][kind])
                else:
                    rows.append(np.zeros(tuple(learned.parameter.shape), np.float32))
        return rows

    def load_history(self, rows: Sequence[np.ndarray], *, legacy: bool = False) -> None:
        """Take over a solver state's history; FerError where it is of another net or rule."""
        self._frozen.clear()
        for kind, arrays in enumerate(fit_history(rows, self.learnable, self.solver, legacy)):
            for position, array in enumerate(arrays):
                if position in self._history:
                    with torch.no_grad():
                        self._history[position][kind].copy_(torch.from_numpy(array))
                else:
                    self._frozen[position].append(array)

    @torch.no_grad()
    def apply(self, iteration: int, rate: float) -> float | None:
        """Update every parameter from its gradient; `rate` is that of `iteration`.

        Gradients are used up. Returns the gradients' L2 norm where it exceeded clip_gradients (CPU only: elsewhere
        reading it would wait for the device).
        """
        norm = self._clip()
        size = self.solver.iter_size
        for group in self._groups:
            grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in group.params]
            if size != 1:
                torch._foreach_mul_(grads, 1 / size)
            decay = float(np.float32(self.solver.weight_decay) * group.decay_mult)
            if self.l1 and decay:
                torch._foreach_add_(grads, torch._foreach_sign(group.params), alpha=decay)
                decay = 0.0
            self._rule(group, grads, float(np.float32(rate) * group.lr_mult), decay, iteration)
        return norm

    def _clip(self) -> float | None:
        limit = self.solver.clip_gradients
        grads = [p.grad for p in self.trained if p.grad is not None]
        if limit < 0 or not grads:
            return None
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        if norm.device.type == "cpu":
            value: float = norm.item()
            if not value > limit:
                return None
            torch._foreach_mul_(grads, limit / value)
            return value
        torch._foreach_mul_(grads, torch.where(norm > limit, limit / norm, torch.ones_like(norm)))
        return None

    # ---- the rules: `grads` may be overwritten

    def _sgd(self, group: _Group, grads: list[Tensor], rate: float, decay: float, _iteration: int) -> None:
        if not self.solver.momentum:  # which the fused kernel takes to mean that there is no buffer
            _add_decay(group, grads, decay)
            torch._foreach_copy_(group.first, grads)
            torch._foreach_mul_(group.first, rate)
            torch._foreach_sub_(group.params, group.first)
            return
        # Dampened by 1 - rate, torch's buffer is Caffe's: momentum * history + rate * (gradient + decay * weight).
        torch._fused_sgd_(
            group.params,
            grads,
            group.first,
            weight_decay=decay,
            momentum=self.solver.momentum,
            lr=1.0,
            dampening=1.0 - rate,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )

    def _nesterov(self, group: _Group, grads: list[Tensor], rate: float, decay: float, _iteration: int) -> None:
        momentum = self.solver.momentum
        _add_decay(group, grads, decay)
        # Step back by the old history, then over by the new one.
        torch._foreach_add_(group.params, group.first, alpha=momentum)
        torch._foreach_mul_(group.first, momentum)
        torch._foreach_add_(group.first, grads, alpha=rate)
        torch._foreach_add_(group.params, group.first, alpha=-(1 + momentum))

    def _adagrad(self, group: _Group, grads: list[Tensor], rate: float, decay: float, _iteration: int) -> None:
        _add_decay(group, grads, decay)
        torch._foreach_addcmul_(group.first, grads, grads)
        self._divide_by_root(group, grads, group.first, rate)

    def _rmsprop(self, group: _Group, grads: list[Tensor], rate: float, decay: float, _iteration: int) -> None:
        _add_decay(group, grads, decay)
        keep = self.solver.rms_decay
        torch._foreach_mul_(group.first, keep)
        torch._foreach_addcmul_(group.first, grads, grads, value=1 - keep)
        self._divide_by_root(group, grads, group.first, rate)

    def _divide_by_root(self, group: _Group, over: list[Tensor], squares: list[Tensor], rate: float) -> None:
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, self.solver.delta)
        torch._foreach_addcdiv_(group.params, over, roots, value=-rate)

    def _adadelta(self, group: _Group, grads: list[Tensor], rate: float, decay: float, _iteration: int) -> None:
        _add_decay(group, grads, decay)
        momentum, delta = self.solver.momentum, self.solver.delta
        torch._foreach_mul_(group.first, momentum)
        torch._foreach_addcmul_(group.first, grads, grads, value=1 - momentum)
        steps = torch._foreach_add(group.second, delta)
        torch._foreach_div_(steps, torch._foreach_add(group.first, delta))
        torch._foreach_sqrt_(steps)
        torch._foreach_mul_(steps, grads)
        torch._foreach_mul_(group.second, momentum)
        torch._foreach_addcmul_(group.second, steps, steps, value=1 - momentum)
        torch._foreach_add_(group.params, steps, alpha=-rate)

    def _adam(self, group: _Group, grads: list[Tensor], rate: float, decay: float, iteration: int) -> None:
        _add_decay(group, grads, decay)
        beta1, beta2 = self.solver.momentum, self.solver.momentum2
        correction = math.sqrt(1 - beta2 ** (iteration + 1)) / (1 - beta1 ** (iteration + 1))
        torch._foreach_mul_(group.first, beta1)
        torch._foreach_add_(group.first, grads, alpha=1 - beta1)
        torch._foreach_mul_(group.second, beta2)
        torch._foreach_addcmul_(group.second, grads, grads, value=1 - beta2)
        self._divide_by_root(group, group.first, group.second, rate * correction)


def _add_decay(group: _Group, grads: list[Tensor], decay: float) -> None:
    if decay:
        torch._foreach_add_(grads, group.params, alpha=decay)
