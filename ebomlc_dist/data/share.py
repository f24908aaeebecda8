"""Which samples one rank sees of one stream: a pure function of the step."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.data.index_stream import IndexStream, shard


class Share:
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
        """(n,) where the samples of ``step`` stand in the stream's set."""
        return self.stream.positions(step)[self.part]

    def rows(self, step: int) -> NDArray[np.int64]:
        """(n,) rows of the images of ``step``."""
        return self.index[self.positions(step)]
