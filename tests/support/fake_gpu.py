"""What ``torch.cuda`` and a GPU's optimisers are for the package, played without one. Notes what is done, in order."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.optim import optimizer as torch_optimizer

from ebomlc_dist import gpu
from tests.support.border import DEVICE, Border

POOL = 32
"""Streams that a device has: the next one after the last is the first."""


class FakeGpu:
    """Attributes:
    notes: what was done, in order.
    capturing: whether a graph is being recorded.
    border: watches at least while one is.
    current: the current stream.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.capturing = False
        self.border = Border(watching=False)
        self._drawn = 0
        self.current = FakeStream(self, number=-1)
        self.generator = FakeGenerator(self)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let `DEVICE` be a GPU for the package."""
        patch.setattr(gpu, "KIND", DEVICE.type)
        names = {
            "Stream": lambda device=None, **_: FakeStream(self),
            "Event": lambda **_: FakeEvent(self),
            "CUDAGraph": lambda: FakeGraph(self),
            "graph": self._record,
            "stream": self._on,
            "current_stream": lambda device=None: self.current,
            "is_current_stream_capturing": lambda: self.capturing,
            "current_device": lambda: 0,
            "default_generators": [self.generator],
            "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
            "set_rng_state": lambda state, device=None: self.notes.append("set generator"),
            "synchronize": lambda device=None: self.notes.append("synchronize"),
            "get_device_name": lambda device=None: "a GPU",
            "get_device_properties": lambda device=None: SimpleNamespace(total_memory=2**30),
            "max_memory_allocated": lambda device=None: 3 * 2**30,
            "memory_allocated": lambda device=None: 2**30,
            "reset_peak_memory_stats": lambda device=None: None,
        }
        for name, value in names.items():
            patch.setattr(torch.cuda, name, value)
        # torch knows neither precision nor fused optimisers on this device.
        patch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
        kinds = torch_optimizer._get_fused_kernels_supported_devices()
        patch.setattr(torch_optimizer, "_get_fused_kernels_supported_devices", lambda: [*kinds, DEVICE.type])

    @contextmanager
    def _on(self, stream: "FakeStream | None") -> Iterator[None]:
        before, self.current = self.current, stream or self.current
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def _record(self, graph: "FakeGraph", *, stream: "FakeStream", capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.notes.append("record")
        watching, self.border.watching = self.border.watching, True
        self.capturing = True
        try:
            with self._on(stream):
                yield
        finally:
            self.capturing = False
            self.border.watching = watching


class FakeStream:
    def __init__(self, owner: FakeGpu, number: int | None = None) -> None:
        if number is None:
            number = owner._drawn % POOL
            owner._drawn += 1
        self.cuda_stream, self.device, self._owner = number, DEVICE, owner

    def wait_stream(self, other: "FakeStream") -> None:
        self._owner.notes.append(f"stream {self.cuda_stream} waits for {other.cuda_stream}")

    def wait_event(self, event: "FakeEvent") -> None:
        self._owner.notes.append(f"stream {self.cuda_stream} waits for an event")

    def record_event(self) -> "FakeEvent":
        return FakeEvent(self._owner)

    def synchronize(self) -> None:
        self._owner.notes.append("synchronize stream")


class FakeEvent:
    def __init__(self, owner: FakeGpu) -> None:
        self._owner = owner

    def record(self) -> None:
        self._owner.notes.append("event")

    def synchronize(self) -> None:
        self._owner.notes.append("wait for event")

    def elapsed_time(self, other: "FakeEvent") -> float:
        return 1.0


class FakeGraph:
    def __init__(self, owner: FakeGpu) -> None:
        self._owner = owner

    def replay(self) -> None:
        self._owner.notes.append("replay")

    def reset(self) -> None:
        self._owner.notes.append("reset graph")


class FakeGenerator:
    """States are numbers; `clone_state` gives the next one."""

    def __init__(self, owner: FakeGpu) -> None:
        self.state, self._states, self._owner = 0, 0, owner

    def clone_state(self) -> Any:
        self._states += 1
        return self._states

    def graphsafe_get_state(self) -> Any:
        return self.state

    def graphsafe_set_state(self, state: Any) -> None:
        self.state = state
        self._owner.notes.append(f"generator {state}")
