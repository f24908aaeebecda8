"""The backend ``ffcv``: packed images, read and put into order by FFCV on threads of its own.

Import `ffcv_extra.import_ffcv` first.
"""

from collections.abc import Generator
from itertools import count

import numpy as np
import torch
from ffcv.loader import Loader
from ffcv.traversal_order.base import TraversalOrder
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.data.loaders.beton import Frame, pipelines
from ebomlc_dist.data.loaders.prefetch import Prefetcher

_STEPS = 256
"""Steps in what FFCV takes for an epoch; it begins one in about 2 ms."""


class FfcvReader(Prefetcher):
    """Frames from one FFCV loader, in the order of the shares."""

    def __init__(self, path: str, frame: Frame, *, own_size: bool, num_workers: int, pinned: bool) -> None:
        """Prepare; FFCV compiles its code with the first step that is read.

        Args:
            path: a file of packed images whose digest has been checked.
            frame: (C, h, w) of its frames.
            own_size: whether its images differ in size.
            num_workers: threads.
            pinned: whether frames are wanted in pinned memory, for a GPU.
        """
        super().__init__()
        self._path, self._frame, self._own_size = path, frame, own_size
        self._num_workers, self._pinned = num_workers, pinned
        self._order = _GivenOrder()
        self._loader: Loader | None = None

    def frames(self, first: int) -> Generator[Tensor]:
        """See `Prefetcher`."""
        for begin in count(first, _STEPS):
            wanted = np.stack([self.rows(step) for step in range(begin, begin + _STEPS)])
            self._order.rows = wanted.ravel().astype(np.uint64)
            if self._loader is None:
                self._loader = self._open(len(wanted[0]))
            batches = iter(self._loader)
            try:
                for rows, (frames, index) in zip(wanted, batches, strict=True):
                    if not np.array_equal(index[:, 0], rows):
                        raise RuntimeError(f"FFCV read the images {index[:, 0]} where {rows} were asked for")
                    # The memory is FFCV's, and stays untouched until the next batch is asked for: by then a GPU may not
                    # have copied it.
                    tensor = torch.from_numpy(frames)
                    yield tensor.clone().pin_memory() if self._pinned else tensor
            finally:
                batches.close()

    def _open(self, batch_size: int) -> Loader:
        return Loader(
            self._path,
            batch_size=batch_size,
            num_workers=max(self._num_workers, 1),
            order=self._order,
            seed=0,  # or it would draw one from numpy's generator
            pipelines=pipelines(self._frame, own_size=self._own_size),
        )


class _GivenOrder(TraversalOrder):
    """The rows that it is given, in the place of FFCV's own orders."""

    rows: NDArray[np.uint64]

    def __init__(self) -> None:
        """Unlike the base, without a loader: the loader makes its order by a call, see below."""

    def __call__(self, loader: Loader) -> "_GivenOrder":
        return self

    def sample_order(self, epoch: int) -> NDArray[np.uint64]:
        """FFCV's protocol: the rows of one of its epochs."""
        return self.rows
