"""The order of samples: a pure function of (seed, step), the same sequence of global batches at every world size.

Passes over the set, each in an order of its own, are laid end to end and cut into batches of B. Every batch is
full, every pass visits every sample once, and a batch may span two passes (or many, where B exceeds the set).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

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
        """Return the permutation of one pass.

        Sorting raw bits gives the same order with every numpy, unlike `shuffle`.
        """
        if number not in self._orders:
            if len(self._orders) >= 2:
                self._orders.pop(min(self._orders))
            bits = np.random.PCG64(child(self._seed, number)).random_raw(self.size)
            self._orders[number] = np.argsort(bits, kind="stable").astype(np.int64, copy=False)
        return self._orders[number]


def shard(total: int, rank: int, world_size: int) -> slice:
    """Return one rank's contiguous slice of ``range(total)``. Parts differ by at most 1, and may be empty."""
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is outside 0…{world_size - 1}")
    return slice(rank * total // world_size, (rank + 1) * total // world_size)


class RankSlice:
    """One rank's part of every global batch of a stream.

    Attributes:
        index: (n,) int64 rows of the images, one a sample of the stream's set.
        stream: the order of samples.
        count: how many samples count.
        part: where in the global batch they lie. An empty share borrows one sample, so that shapes stay valid.
        offset, total: how many samples of the global batch, or of the part of it that is shared out, come before this
            share, and how many there are on all ranks.
    """

    def __init__(
        self, index: Tensor, stream: IndexStream, *, rank: int, world_size: int, part: Sequence[int] | None = None
    ) -> None:
        """Cut out a rank's part.

        Args:
            index: (n,) int64 rows of the images, one a sample of the stream's set.
            stream: order over 0…n−1.
            rank, world_size: whose share this is.
            part: begin and end within each global batch, where only that part of it is shared out; else all of it.
        """
        if len(index) != stream.size:
            raise ValueError(f"{len(index)} indices and a stream over {stream.size} do not fit")
        self.stream = stream
        self.index = index.cpu().numpy()
        begin, end = part or (0, stream.global_batch_size)
        share = shard(end - begin, rank, world_size)
        self.count = share.stop - share.start
        self.offset, self.total = share.start, end - begin
        self.part = slice(begin + share.start, begin + share.stop) if self.count else slice(0, 1)

    def __len__(self) -> int:
        """Samples in a batch, borrowed ones too."""
        return self.part.stop - self.part.start

    def positions(self, step: int) -> NDArray[np.int64]:
        """Return the (n,) positions of the samples of ``step`` in the stream's set."""
        return self.stream.positions(step)[self.part]

    def rows(self, step: int) -> NDArray[np.int64]:
        """(n,) rows of the images of ``step``."""
        return self.index[self.positions(step)]
