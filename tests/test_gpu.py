"""Streams that nobody else holds, though torch gives each of its 32 again after the last one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ebomlc_dist import gpu
from ebomlc_dist.errors import InputError
from tests.support.border import DEVICE
from tests.support.fake_gpu import POOL, FakeGpu


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    fake = FakeGpu()
    fake.install(monkeypatch)
    assert not gpu._held
    yield fake
    assert not gpu._held


def numbers(streams: list) -> list[int]:
    return [stream.cuda_stream for stream in streams]


def test_a_stream_that_is_held_is_not_drawn_again(fake_gpu: FakeGpu) -> None:
    held = gpu.own_stream(DEVICE)
    passing = [gpu.own_stream(DEVICE).cuda_stream for _ in range(2 * POOL)]
    assert held.cuda_stream not in passing
    assert set(passing) == set(range(POOL)) - {held.cuda_stream}
    # What torch itself gives comes round to it.
    assert held.cuda_stream in numbers([torch.cuda.Stream(DEVICE) for _ in range(POOL)])


def test_all_of_them_can_be_held_and_no_more(fake_gpu: FakeGpu) -> None:
    held = [gpu.own_stream(DEVICE) for _ in range(POOL)]
    assert sorted(numbers(held)) == list(range(POOL))
    with pytest.raises(InputError, match="all 32 CUDA streams of meta are in use; pack fewer runs"):
        gpu.own_stream(DEVICE)
    free = held.pop(5).cuda_stream
    assert gpu.own_stream(DEVICE).cuda_stream == free


def test_streams_of_a_block_are_kept_by_whoever_collects_them(fake_gpu: FakeGpu) -> None:
    with gpu.kept_streams() as kept:
        number = gpu.own_stream(DEVICE).cuda_stream
    gpu.own_stream(DEVICE)
    assert numbers(kept) == [number]
    assert number not in [gpu.own_stream(DEVICE).cuda_stream for _ in range(POOL)]


def asks_for_a_kind(text: str) -> bool:
    return bool(re.search(r"\.type\s*[!=]=\s*[\"']cuda|\.is_cuda\b|torch\.cuda\.Stream\((?!\))", text))


def test_no_other_module_asks_for_the_kind_of_a_device_or_draws_a_stream() -> None:
    """So that each way of a GPU can be rehearsed without one."""
    root = Path(gpu.__file__).parent
    found = [path.name for path in root.rglob("*.py") if asks_for_a_kind(path.read_text(encoding="utf-8"))]
    assert found == ["gpu.py"]
    assert all(asks_for_a_kind(text) for text in ('if device.type == "cuda":', "t.is_cuda", "torch.cuda.Stream(d)"))
