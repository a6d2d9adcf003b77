"""A data layer's rows on the device."""

from collections.abc import Sequence

import torch
from torch import Tensor


def take(rows: Tensor, pieces: Sequence[slice | Tensor]) -> Tensor:
    """`rows` at the pieces of a batch: a view where they are one slice, else a copy."""
    return rows[pieces[0]] if len(pieces) == 1 else torch.cat([rows[piece] for piece in pieces])
