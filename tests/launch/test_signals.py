"""Signals of a process that trains: noted in a block, as before after it, and harmless once all ranks have agreed."""

import os
import signal
from collections.abc import Iterator

import pytest

from ebomlc_dist.launch.signals import SIGNALS, Signals


@pytest.fixture
def own_handlers() -> Iterator[list[int]]:
    """Handlers that note what arrives, put back at the end."""
    arrived: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: arrived.append(number)) for number in SIGNALS}
    yield arrived
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_noted_in_the_block_and_as_before_after_it(own_handlers: list[int]) -> None:
    with Signals() as signals:
        send(signal.SIGUSR2)
    assert signals.reason == "SIGUSR2"
    assert own_handlers == []
    send(signal.SIGTERM)
    assert own_handlers == [signal.SIGTERM]


def test_a_late_request_does_not_end_a_rank_that_has_stopped(own_handlers: list[int]) -> None:
    with Signals() as signals:
        signals.ignore_later_ones()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        send(number)
    assert own_handlers == []
    send(signal.SIGINT)
    assert own_handlers == [signal.SIGINT]


def test_a_late_request_is_ignored_after_the_outer_block_too(own_handlers: list[int]) -> None:
    with Signals(), Signals() as inner:
        inner.ignore_later_ones()
    send(signal.SIGTERM)
    assert own_handlers == []


def test_a_closed_terminal_does_not_stop_what_runs_under_nohup(own_handlers: list[int]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Signals() as signals:
        send(signal.SIGHUP)
    assert signals.reason is None
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    with Signals() as signals:
        send(signal.SIGTERM)
    assert signals.reason == "SIGTERM"
