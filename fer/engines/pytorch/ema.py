"""The exponential moving average of parameters, on their device."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Ema:
    """See `fer.engines.core.framework.Ema`. It runs beside a captured graph: parameters keep their places in memory."""

    def __init__(self, parameters: Sequence[Tensor]):
        self._parameters = list(parameters)
        self._averages = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def take(self, decay: float) -> None:
        """Become `decay` times what it was plus (1 - decay) times the parameters; 0: exactly the parameters."""
        torch._foreach_lerp_(self._averages, self._parameters, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the numbers of the average and of the parameters."""
        before = [average.clone() for average in self._averages]
        torch._foreach_copy_(self._averages, self._parameters)
        torch._foreach_copy_(self._parameters, before)
