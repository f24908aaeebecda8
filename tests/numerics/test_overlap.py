"""The order in which two streams wait for each other, with streams that note it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from ebomlc_dist.numerics.overlap import overlap

GPU = torch.device("cuda")


class NotedStreams:
    """Stands for ``torch.cuda``: notes, in order, what is put on which stream."""

    def __init__(self, capturing: bool) -> None:
        self.notes: list[str] = []
        self.current = Noted("main", self)
        self.capturing = capturing

    def is_current_stream_capturing(self) -> bool:
        return self.capturing

    def current_stream(self, device: torch.device) -> "Noted":
        return self.current

    def Stream(self, device: torch.device) -> "Noted":  # torch's name
        return Noted("side", self)

    @contextmanager
    def stream(self, stream: "Noted") -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    def work(self, what: str) -> None:
        self.notes.append(f"{self.current.name}: {what}")


class Noted:
    def __init__(self, name: str, streams: NotedStreams) -> None:
        self.name, self._streams, self.device, self.cuda_stream = name, streams, GPU, id(self)

    def wait_stream(self, other: "Noted") -> None:
        self._streams.notes.append(f"{self.name}: wait for {other.name}")

    def record_event(self) -> str:
        self._streams.notes.append(f"{self.name}: event")
        return "event"

    def wait_event(self, event: str) -> None:
        self._streams.notes.append(f"{self.name}: wait for {event}")


def use(streams: NotedStreams, monkeypatch: pytest.MonkeyPatch, device: torch.device) -> int:
    for name in ("is_current_stream_capturing", "current_stream", "Stream", "stream"):
        monkeypatch.setattr(torch.cuda, name, getattr(streams, name))

    def forward() -> torch.Tensor:
        streams.work("forward")
        return torch.ones(())

    def backward(total: torch.Tensor) -> int:
        streams.work("backward")
        return int(total) + 6

    join = overlap(device, forward, backward)
    streams.work("next forward")
    result = join()
    streams.work("use")
    return result


def test_within_a_graph_only_the_forward_passes_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = NotedStreams(capturing=True)
    assert use(streams, monkeypatch, GPU) == 7
    assert streams.notes == [
        "side: wait for main",
        "side: forward",
        "side: event",
        "side: backward",
        "main: wait for event",
        "main: next forward",
        "main: wait for side",
        "main: use",
    ]


@pytest.mark.parametrize(("device", "capturing"), [(GPU, False), (torch.device("cpu"), True)], ids=str)
def test_elsewhere_all_is_done_in_turn(device: torch.device, capturing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = NotedStreams(capturing)
    assert use(streams, monkeypatch, device) == 7
    assert streams.notes == ["main: forward", "main: backward", "main: next forward", "main: use"]
