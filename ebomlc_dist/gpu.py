"""What is done otherwise where tensors lie on a GPU: the one place that asks for a device's kind or draws a stream.

`torch.cuda.Stream` takes the next of 32 streams a device, so that the 33rd is the first again. Graphs recorded on one
stream share its cuBLAS workspace, and the end of one takes it from the other (pytorch#193402). `own_stream` therefore
draws until it has one that nobody holds.
"""

import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from ebomlc_dist.errors import InputError

KIND = "cuda"
"""`torch.device.type` of a GPU. Tests let another kind play it."""
STREAMS = 32
"""Streams that torch has for a device."""

_held: set[tuple[int, int]] = set()
_keepers: list[list["torch.cuda.Stream"]] = []


def on_gpu(device: torch.device) -> bool:
    """Return whether ``device`` is a GPU."""
    return device.type == KIND


def pinned(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in memory from which a GPU copies while the host goes on."""
    return tensor if tensor.is_pinned() else tensor.pin_memory()


def forked_generators(device: torch.device) -> AbstractContextManager[None]:
    """Return a block after which the generators of host and ``device`` are as before it."""
    return torch.random.fork_rng(devices=[device] if on_gpu(device) else [])


def own_stream(device: torch.device) -> "torch.cuda.Stream":
    """Return a stream that is nobody else's in this process for as long as it is held.

    Raises:
        InputError: all of them are held.
    """
    for _ in range(STREAMS):
        stream = torch.cuda.Stream(device)
        key = (stream.device.index or 0, stream.cuda_stream)
        if key not in _held:
            _held.add(key)
            weakref.finalize(stream, _held.discard, key)
            for keeper in _keepers:
                keeper.append(stream)
            return stream
    raise InputError(
        f"all {STREAMS} CUDA streams of {device} are in use; pack fewer runs into one process, or leave "
        "--cuda-graph out"
    )


@contextmanager
def kept_streams() -> Iterator[list["torch.cuda.Stream"]]:
    """Collect the streams that are drawn in the block, for whoever is to hold them longer."""
    kept: list[torch.cuda.Stream] = []
    _keepers.append(kept)
    try:
        yield kept
    finally:
        _keepers.remove(kept)
