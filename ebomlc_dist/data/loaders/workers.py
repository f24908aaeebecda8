"""The backend ``dataloader``: images decoded one by one in the worker processes of torch's ``DataLoader``."""

import os
import signal
import traceback
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ebomlc_dist.data.dataset import InputSet
from ebomlc_dist.data.inputs.decode import ignore_pillow_warnings
from ebomlc_dist.data.inputs.lazy import ImageFiles
from ebomlc_dist.data.loaders.prefetch import Prefetcher
from ebomlc_dist.errors import InputError

_GRACE_S = 60
"""Seconds for which a worker goes on after a SIGTERM; the run usually ends it before."""

_SIGNALS = frozenset({signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
"""What a scheduler or a terminal may send to every process of a job."""


_SHARED_MEMORY = Path("/dev/shm")
_TOO_LITTLE = (
    "the workers of --loader dataloader hand batches on in shared memory, and there is too little: /dev/shm has {:.1f} "
    "of {:.1f} MiB free; give a container more (docker run --shm-size=8g), or take --num-workers 0 instead of {}"
)


class WorkerReader(Prefetcher):
    """Frames from a ``DataLoader``, in the order of the shares."""

    def __init__(self, images: InputSet, *, num_workers: int, pinned: bool) -> None:
        """Prepare; workers start with the first step that is read.

        Args:
            images: a tensor, or files.
            num_workers: worker processes; 0 decodes in this process.
            pinned: whether frames are wanted in pinned memory, for a GPU.
        """
        super().__init__()
        self._first = 0
        self._loader = DataLoader(
            _Frames(images),
            batch_sampler=_Rows(self),
            num_workers=num_workers,
            collate_fn=_collate,
            pin_memory=pinned,
            persistent_workers=num_workers > 0,
            worker_init_fn=_prepare_worker,
            # Workers are seeded from a generator of their own, or each start would move torch's.
            generator=torch.Generator().manual_seed(0),
        )

    def frames(self, first: int) -> Generator[Tensor]:
        """See `Prefetcher`. Raises `InputError` for an image that cannot be decoded, and too little shared memory."""
        self._first = first
        # A worker inherits the mask, so that no signal meets it before its handlers are in place.
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            loading = iter(self._loader)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        found: Tensor | str = ""
        while True:
            try:
                found = next(loading)
            except RuntimeError as error:
                if not _lacks_shared_memory(str(error)):
                    raise
                found = _TOO_LITTLE.format(*_free_mib(), self._loader.num_workers)
                # A worker's error refers to itself, by a frame that refers to the iterator.
                traceback.clear_frames(error.__traceback__)
            if isinstance(found, str):
                # The error will refer to this frame, and workers end when nobody refers to their iterator.
                del loading
                raise InputError(found)
            yield found

    def close(self) -> None:
        """End the workers."""
        super().close()
        # Its end tells them to go; the garbage collector may come too late, when nothing is told any more.
        self._loader._iterator = None

    def steps(self) -> Iterator[list[int]]:
        """The rows of every step from the one that was asked for."""
        return (self.rows(step).tolist() for step in count(self._first))


class _Rows:
    """What a ``DataLoader`` takes as a batch sampler."""

    def __init__(self, reader: WorkerReader) -> None:
        self._reader = reader

    def __iter__(self) -> Iterator[list[int]]:
        return self._reader.steps()


class _Frames(Dataset[Tensor | str]):
    """One frame by its row; the text of the error where it cannot be decoded."""

    def __init__(self, images: InputSet) -> None:
        self._images = images

    def __getitem__(self, row: int) -> Tensor | str:
        if not isinstance(self._images, ImageFiles):
            return cast(Tensor, self._images)[row]
        try:
            return torch.from_numpy(self._images.read_frame(row))
        except InputError as error:
            return str(error)


def _collate(frames: list[Tensor | str]) -> Tensor | str:
    errors = [frame for frame in frames if isinstance(frame, str)]
    return errors[0] if errors else default_collate(frames)


def _lacks_shared_memory(text: str) -> bool:
    """Return whether the text of a worker's error says that shared memory ran out. That may also be a bus error."""
    return ("shared memory" in text and "No space left on device" in text) or (
        "unable to write to file" in text or "unable to allocate shared memory" in text or "Bus error" in text
    )


def _free_mib() -> tuple[float, float]:
    found = os.statvfs(_SHARED_MEMORY)
    return found.f_bavail * found.f_frsize / 2**20, found.f_blocks * found.f_frsize / 2**20


def _prepare_worker(worker: int) -> None:
    ignore_pillow_warnings()
    _leave_signals_to_the_run(worker)


def _leave_signals_to_the_run(worker: int) -> None:
    """Ignore signals but SIGTERM in a worker: the run answers them, and needs batches until its checkpoint."""
    for number in _SIGNALS - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_GRACE_S))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
