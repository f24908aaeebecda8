"""What a person sees: a live bar on a terminal, plain lines elsewhere, nothing when asked for silence."""

import io

import pytest

from ebomlc_dist.monitoring.goodput import Stopwatch
from ebomlc_dist.monitoring.progress import ProgressReport, show_panel


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_elsewhere_name_epoch_rate_and_figures() -> None:
    stream = io.StringIO()
    report = ProgressReport("ebomlc", 40, 10, seconds=0.0, stream=stream)
    report.figures(F=0.5, accuracy=None)
    report.figures(accuracy=91.0)
    report.step(11)
    report.close()
    (line,) = stream.getvalue().splitlines()
    assert "\x1b" not in line
    for part in ("ebomlc", "epoch 2", "step 11/40", "steps/s", "s left", "F 0.5", "accuracy 91"):
        assert part in line


def test_plain_lines_keep_their_distance() -> None:
    stream = io.StringIO()
    report = ProgressReport("ebomlc", 40, 10, seconds=1000.0, stream=stream)
    for done in range(1, 41):
        report.step(done)
    assert stream.getvalue() == ""


def test_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    report = ProgressReport("[red]name", 40, 10, done=20, stream=stream)
    report.figures(F=0.25)
    report.step(30)
    report.close()
    assert "[red]name" in stream.getvalue()
    assert "30/40" in stream.getvalue()


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_silence(stream: io.StringIO) -> None:
    report = ProgressReport("ebomlc", 4, 2, enabled=False, seconds=0.0, stream=stream)
    report.step(1)
    report.close()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_panel_shows_values_as_they_are(stream: io.StringIO) -> None:
    show_panel([("folder", "/tmp/[bold]x[/bold]")], stream)
    assert "/tmp/[bold]x[/bold]" in stream.getvalue()


def test_the_stopwatch_spends_every_second_in_one_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5.0]
    monkeypatch.setattr("ebomlc_dist.monitoring.goodput.time.monotonic", lambda: now[0])
    waits: list[float] = []
    watch = Stopwatch(lambda: waits.append(now[0]))
    now[0] = 7.0
    watch.switch("step")
    now[0] = 10.0
    with watch.within("checkpoint"):
        now[0] = 100.0
    now[0] = 101.0
    assert watch.split() == {"start": 2.0, "step": 4.0, "checkpoint": 90.0, "evaluation": 0.0, "other": 0.0}
    assert waits == [7.0, 10.0, 100.0], "the device is waited for where the phase changes"
    assert watch.read("step") == 4.0
    assert waits[-1] == 101.0
