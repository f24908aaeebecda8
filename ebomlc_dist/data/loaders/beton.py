"""FFCV's files of packed images: how images lie in them, and their writer and decoder.

Images of one size are (C, H, W) arrays; images that keep their own size are raw RGB images (h, w, 3), whose sizes FFCV
keeps. Beside each image stands its row. Pixels are stored as they are, so that every backend sees the same ones.

Import `ffcv_extra.import_ffcv` first.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ffcv.fields import IntField, NDArrayField, RGBImageField
from ffcv.fields.decoders import IntDecoder, NDArrayDecoder, SimpleRGBImageDecoder
from ffcv.memory_allocator import MemoryAllocator
from ffcv.pipeline.allocation_query import AllocationQuery
from ffcv.pipeline.compiler import Compiler
from ffcv.types import ALLOC_TABLE_TYPE
from ffcv.writer import MIN_PAGE_SIZE, DatasetWriter, handle_sample
from numpy.typing import NDArray

Frame = tuple[int, int, int]
_UINT8 = np.dtype("u1")


def write_beton(path: Path, images: Iterable[NDArray[np.uint8]], total: int, frame: Frame, *, own_size: bool) -> None:
    """Write a file of packed images in this process.

    FFCV's own loop over worker processes waits for ever where one of them meets an image that it cannot read.

    Args:
        path: the file; it is made, or replaced.
        images: (C, h, w) uint8 each.
        total: how many there are, at least 1.
        frame: (C, h, w) of the largest.
        own_size: whether they differ in size.

    Raises:
        OSError: the disk is full, or another failure; a part of the file may be left.
    """
    image_field = RGBImageField(write_mode="raw") if own_size else NDArrayField(_UINT8, frame)
    fields = {"image": image_field, "index": IntField()}
    largest = max(3, frame[0]) * frame[1] * frame[2]
    writer = DatasetWriter(str(path), fields, page_size=max(4 * MIN_PAGE_SIZE, 1 << (largest - 1).bit_length()))
    writer.num_samples = total
    writer.prepare()
    try:
        metadata = np.frombuffer(writer.metadata_sm.buf, dtype=writer.metadata_type, count=total)
        allocator = MemoryAllocator(writer.fname, writer.data_region_start, writer.page_size)
        with allocator:
            for row, image in enumerate(images):
                sample = (_as_rgb(image) if own_size else image, row)
                handle_sample(sample, row, metadata.dtype.names, metadata, allocator, fields)
        del metadata  # or its memory cannot be given back
        writer.finalize(allocator.allocations)
    finally:
        writer.metadata_sm.unlink()
    expected = int(writer.header["alloc_table_ptr"]) + total * ALLOC_TABLE_TYPE.itemsize
    if path.stat().st_size != expected:
        raise OSError(f"{path} has {path.stat().st_size} bytes instead of {expected}")


def pipelines(frame: Frame, *, own_size: bool) -> dict[str, list[Any]]:
    """Return what FFCV does with each field: images into frames (C, h, w), and their rows."""
    return {"image": [FrameDecoder(frame) if own_size else NDArrayDecoder()], "index": [IntDecoder()]}


class FrameDecoder(SimpleRGBImageDecoder):
    """Puts a raw RGB image of any size into the upper left corner of a frame (C, h, w); what lies beyond stays."""

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self._frame = frame

    def declare_state_and_memory(self, previous_state: Any) -> tuple[Any, AllocationQuery]:
        """FFCV's protocol: the shape of what comes out, and the memory for it."""
        state = replace(previous_state, jit_mode=True, shape=self._frame, dtype=_UINT8)
        return state, AllocationQuery(self._frame, _UINT8)

    def generate_code(self) -> Callable:
        """FFCV's protocol: the function that numba compiles."""
        read, batch_range, channels = self.memory_read, Compiler.get_iterator(), self._frame[0]

        def decode(batch_indices, destination, metadata, storage_state):  # type: ignore[no-untyped-def]
            for place in batch_range(len(batch_indices)):
                field = metadata[batch_indices[place]]
                height, width = np.int64(field["height"]), np.int64(field["width"])
                image = read(field["data_ptr"], storage_state).reshape(height, width, 3)
                for channel in range(channels):
                    destination[place, channel, :height, :width] = image[:, :, channel]
            return destination[: len(batch_indices)]

        decode.is_parallel = True  # type: ignore[attr-defined]
        return decode


def _as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) of a (C, h, w) image; FFCV has no grey images."""
    return np.ascontiguousarray(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0))
