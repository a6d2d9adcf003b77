"""The order in which a data layer hands out its rows: a pure function of how many batches went before."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

import numpy as np

from fer.engines.core.seeds import derive_seed

Indices = TypeVar("Indices")


class Order(Generic[Indices]):
    """Rows in file order, over and over; or, shuffled, in a new order each epoch.

    `counts` are the rows of each file; shuffled, the files and the rows within each are permuted, as Caffe's HDF5Data
    does (one file: all rows). Each epoch's order comes from the seed, the layer's name and the epoch alone, so there
    is no generator to save: a resume needs the number of batches only. Rank r of a world of w takes the batches r,
    r + w, r + 2w, ... `rand_skip` > 0 starts at a drawn row below it.
    """

    def __init__(
        self,
        name: str,
        counts: Sequence[int],
        batch: int,
        seed: int,
        place: Callable[[np.ndarray], Indices],
        *,
        share: tuple[int, int] = (0, 1),
        shuffle: bool = False,
        rand_skip: int = 0,
    ):
        """`place` puts an epoch's order (int64 rows) to where rows are taken from; `share` is (rank, world)."""
        self._name = name
        self._counts = list(counts)
        self._count = sum(counts)
        self._batch = batch
        self._rank, self._world = share
        self._shuffle = shuffle
        self._seed = seed
        self._place = place
        self._orders: dict[int, Any] = {}
        self._start = self._derive("rand_skip") % rand_skip if rand_skip else 0
        self.batches = 0
        """How many batches this rank has taken."""

    def _derive(self, purpose: str) -> int:
        # Every rank must see the same order, so there is no scope, which keeps ranks apart.
        return derive_seed(self._seed, "", f"{self._name}/{purpose}")

    @property
    def start(self) -> int:
        """The row that the very first batch begins with."""
        return self._start

    def next(self) -> list[slice | Indices]:
        """The next batch's rows, in pieces: a slice where rows follow each other, else indices as `place` made them."""
        position = self._start + (self.batches * self._world + self._rank) * self._batch
        self.batches += 1
        pieces: list[slice | Indices] = []
        left = self._batch
        while left:
            epoch, row = divmod(position, self._count)
            taken = min(left, self._count - row)
            pieces.append(self._piece(epoch, row, row + taken))
            position, left = position + taken, left - taken
        return pieces

    def _piece(self, epoch: int, first: int, last: int) -> slice | Indices:
        if not self._shuffle:
            return slice(first, last)
        if epoch not in self._orders:
            # A batch may span two epochs, and no more are ever asked for again.
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = self._place(self._permute(epoch))
        rows: Indices = self._orders[epoch][first:last]
        return rows

    def _permute(self, epoch: int) -> np.ndarray:
        twister = np.random.MT19937()
        # As PyTorch seeds and draws, so that runs that began with it go on: a 32-bit seed, a draw for each swap.
        twister._legacy_seeding(self._derive(f"order/{epoch}") & 0xFFFFFFFF)
        starts = [0, *accumulate(self._counts)]
        files = _permutation(len(self._counts), twister)
        return np.concatenate([starts[k] + _permutation(self._counts[k], twister) for k in files])


def _permutation(count: int, twister: np.random.MT19937) -> np.ndarray:
    """0 to count - 1, shuffled by Fisher and Yates: each place in turn gets one of the rest."""
    draws = twister.random_raw(count - 1) % np.arange(count, 1, -1, dtype=np.uint64) if count > 1 else np.empty(0)
    order = list(range(count))
    for place, draw in enumerate(draws.astype(np.int64).tolist()):
        order[place], order[place + draw] = order[place + draw], order[place]
    return np.array(order, np.int64)
