"""A data layer's rows, in the order of core/order.py, on the device."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fer.engines.core.order import Order
from fer.engines.pytorch.registry import Context


def make_order(
    name: str, counts: Sequence[int], batch: int, context: Context, *, shuffle: bool = False, rand_skip: int = 0
) -> Order[Tensor]:
    """The order of the layer `name`, whose indices lie on the context's device; in TEST every rank takes all rows."""

    def place(indices: np.ndarray) -> Tensor:
        return torch.from_numpy(indices).to(context.device)

    share = (context.rank, context.world) if context.training else (0, 1)
    return Order(name, counts, batch, context.seeds.seed, place, share=share, shuffle=shuffle, rand_skip=rand_skip)


def take(rows: Tensor, pieces: Sequence[slice | Tensor]) -> Tensor:
    """`rows` at the pieces of a batch: a view where they are one slice, else a copy."""
    return rows[pieces[0]] if len(pieces) == 1 else torch.cat([rows[piece] for piece in pieces])
