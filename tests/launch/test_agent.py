"""The launcher hands on one request to stop, and no later one reaches the agent that waits for the workers."""

import os
import signal
from collections.abc import Iterator

import pytest
from torch.distributed.elastic.multiprocessing import SignalException

from ebomlc_dist.launch import agent

REQUESTS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Handlers as before at the end, and none that would end the tests."""
    before = {number: signal.signal(number, lambda *_: None) for number in (*REQUESTS, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", REQUESTS)
def test_the_first_request_alone_reaches_the_agent(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_SIGNALS_TO_HANDLE", "")
    seen: list[signal.Signals] = []

    def launch() -> None:
        for name in os.environ["PET_SIGNALS_TO_HANDLE"].split(","):
            assert signal.Signals[name] not in REQUESTS
        for sent in (number, *REQUESTS, *REQUESTS):
            try:
                os.kill(os.getpid(), sent)
            except SignalException as error:
                seen.append(error.sigval)

    monkeypatch.setattr("accelerate.commands.accelerate_cli.main", launch)
    agent.main()
    assert seen == [number]


@pytest.mark.usefixtures("handlers")
def test_a_closed_terminal_does_not_stop_what_runs_under_nohup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_SIGNALS_TO_HANDLE", "")
    monkeypatch.setattr("accelerate.commands.accelerate_cli.main", lambda: os.kill(os.getpid(), signal.SIGHUP))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    agent.main()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("end", [SignalException("stopped", sigval=signal.SIGINT), KeyboardInterrupt()])
def test_being_told_to_stop_is_no_traceback(end: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch() -> None:
        raise end

    monkeypatch.setenv("PET_SIGNALS_TO_HANDLE", "")
    monkeypatch.setattr("accelerate.commands.accelerate_cli.main", launch)
    with pytest.raises(SystemExit) as ended:
        agent.main()
    assert ended.value.code == 1
