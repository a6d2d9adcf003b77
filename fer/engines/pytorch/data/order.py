"""The order in which a data layer hands out its rows: a pure function of how many batches went before."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from fer.engines.pytorch.registry import Context, Seeds

Piece = slice | Tensor


class Order:
    """Rows in file order, over and over; or, shuffled, in a new order each epoch.

    `counts` are the rows of each file; shuffled, the files and the rows within each are permuted, as Caffe's HDF5Data
    does (one file: all rows). Each epoch's order comes from the seed, the layer's name and the epoch alone, so there
    is no generator to save: a resume needs the number of batches only. In TRAIN, rank r of a world of w takes the
    batches r, r + w, r + 2w, ...; in TEST every rank takes them all. `rand_skip` > 0 starts at a drawn row below it.
    """

    def __init__(
        self,
        name: str,
        counts: Sequence[int],
        batch: int,
        context: Context,
        *,
        shuffle: bool = False,
        rand_skip: int = 0,
    ):
        self._name = name
        self._counts = list(counts)
        self._count = sum(counts)
        self._batch = batch
        self._rank, self._world = (context.rank, context.world) if context.training else (0, 1)
        self._device = context.device
        self._shuffle = shuffle
        # Every rank must see the same order, so the scope, which keeps ranks apart, is left out.
        self._seeds = Seeds(context.seeds.seed)
        self._permutations: dict[int, Tensor] = {}
        self._start = self._seeds.derive(f"{name}/rand_skip") % rand_skip if rand_skip else 0
        self.batches = 0
        """How many batches this rank has taken."""

    @property
    def start(self) -> int:
        """The row that the very first batch begins with."""
        return self._start

    def next(self) -> list[Piece]:
        """The next batch's rows, in pieces: a slice where rows follow each other, else int64 indices on the device."""
        position = self._start + (self.batches * self._world + self._rank) * self._batch
        self.batches += 1
        pieces, left = [], self._batch
        while left:
            epoch, row = divmod(position, self._count)
            taken = min(left, self._count - row)
            pieces.append(self._piece(epoch, row, row + taken))
            position, left = position + taken, left - taken
        return pieces

    def _piece(self, epoch: int, first: int, last: int) -> Piece:
        if not self._shuffle:
            return slice(first, last)
        if epoch not in self._permutations:
            # A batch may span two epochs, and no more are ever asked for again.
            self._permutations = {e: p for e, p in self._permutations.items() if e == epoch - 1}
            self._permutations[epoch] = self._permute(epoch).to(self._device)
        return self._permutations[epoch][first:last]

    def _permute(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(self._seeds.derive(f"{self._name}/order/{epoch}"))
        starts = [0, *accumulate(self._counts)]
        files = torch.randperm(len(self._counts), generator=generator).tolist()
        return torch.cat([starts[k] + torch.randperm(self._counts[k], generator=generator) for k in files])


def take(rows: Tensor, pieces: list[Piece]) -> Tensor:
    """`rows` at the pieces of a batch: a view where they are one slice, else a copy."""
    return rows[pieces[0]] if len(pieces) == 1 else torch.cat([rows[piece] for piece in pieces])
