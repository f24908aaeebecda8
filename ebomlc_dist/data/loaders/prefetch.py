"""Images read ahead of their steps, for backends that do not hold the images in memory."""

from abc import ABC, abstractmethod
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.data.loaders.index_stream import RankSlice


class Prefetcher(ABC):
    """Frames for one step after another, for several streams of a rank together.

    Asking for the steps in order is fast, as the next ones are being read; any other step starts anew from there.

    Attributes:
        shares: whose rows are read, one share after another within each step. All are there before the first step.
    """

    def __init__(self) -> None:
        self.shares: list[RankSlice] = []
        self._frames: Generator[Tensor] | None = None
        self._held: tuple[int, Tensor] | None = None

    def rows(self, step: int) -> NDArray[np.int64]:
        """(n,) rows of the images of ``step``, the shares end to end."""
        return np.concatenate([share.rows(step) for share in self.shares])

    def read(self, step: int) -> Tensor:
        """(n, C, h, w) uint8 on the host: the frames of `rows`. They stay as they are until another step is read.

        Raises:
            InputError: an image that cannot be decoded.
        """
        if self._held is None or self._held[0] != step:
            if self._frames is None or self._held is None or self._held[0] != step - 1:
                if self._frames is not None:
                    self._frames.close()
                self._frames = self.frames(step)
            self._held = (step, next(self._frames))
        return self._held[1]

    @abstractmethod
    def frames(self, first: int) -> Generator[Tensor]:
        """What `read` gives for the steps from ``first`` on, without end."""

    def close(self) -> None:
        """End what reads ahead."""
        self._held = None
        if self._frames is not None:
            self._frames.close()
            self._frames = None


class PrefetchedPixels:
    """The images of one share out of a `Prefetcher` (`Pixels`)."""

    reads = True

    def __init__(self, reader: Prefetcher, share: RankSlice) -> None:
        self._reader = reader
        begin = sum(len(other) for other in reader.shares)
        self._part = slice(begin, begin + len(share))
        reader.shares.append(share)

    def frames(self, step: int) -> Tensor:
        """(n, C, h, w) uint8: the frames of ``step``."""
        return self._reader.read(step)[self._part]

    def of(self, rows: Tensor, frames: Tensor | None) -> Tensor:
        """Return the frames, which are those of ``rows`` already."""
        assert frames is not None
        return frames

    def close(self) -> None:
        """End what reads ahead, for every share."""
        self._reader.close()
