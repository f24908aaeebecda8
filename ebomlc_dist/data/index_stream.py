"""The order of samples: a pure function of (seed, step), the same sequence of global batches at every world size.

Passes over the set, each in an order of its own, are laid end to end and cut into batches of B. Every batch is
full, every pass visits every sample once, and a batch may span two passes (or many, where B exceeds the set).
"""

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.data.seeds import child


class IndexStream:
    """Positions 0…size−1 in an endless shuffled stream.

    Attributes:
        size: samples in the set.
        global_batch_size: samples in every global batch.
    """

    def __init__(self, size: int, global_batch_size: int, seed: np.random.SeedSequence) -> None:
        if size < 1 or global_batch_size < 1:
            raise ValueError(f"size {size} and global_batch_size {global_batch_size} must be at least 1")
        self.size = size
        self.global_batch_size = global_batch_size
        self._seed = seed
        self._orders: dict[int, NDArray[np.int64]] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every sample was seen at least once: ceil(size / global_batch_size)."""
        return -(-self.size // self.global_batch_size)

    def positions(self, step: int) -> NDArray[np.int64]:
        """(B,) int64 positions of global batch ``step`` ≥ 0."""
        begin = step * self.global_batch_size
        end = begin + self.global_batch_size
        passes = range(begin // self.size, (end - 1) // self.size + 1)
        starts = {number: number * self.size for number in passes}
        return np.concatenate([self._order(n)[max(begin - start, 0) : end - start] for n, start in starts.items()])

    def _order(self, number: int) -> NDArray[np.int64]:
        """The permutation of one pass. Sorting raw bits gives the same order with every numpy, unlike `shuffle`."""
        if number not in self._orders:
            if len(self._orders) >= 2:
                self._orders.pop(min(self._orders))
            bits = np.random.PCG64(child(self._seed, number)).random_raw(self.size)
            self._orders[number] = np.argsort(bits, kind="stable").astype(np.int64, copy=False)
        return self._orders[number]


def shard(total: int, rank: int, world_size: int) -> slice:
    """Rank ``rank``'s contiguous part of ``range(total)``. Parts differ by at most 1, and may be empty."""
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is outside 0…{world_size - 1}")
    return slice(rank * total // world_size, (rank + 1) * total // world_size)
