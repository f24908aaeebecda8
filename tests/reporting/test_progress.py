"""What a person sees: a live bar on a terminal, plain lines elsewhere, nothing when asked for silence."""

import io

import pytest

from ebomlc_dist.reporting.panel import show_panel
from ebomlc_dist.reporting.progress import ProgressReport
from ebomlc_dist.reporting.stopwatch import Stopwatch


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


def test_the_stopwatch_stands_still_while_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("ebomlc_dist.reporting.stopwatch.time.monotonic", lambda: now[0])
    watch = Stopwatch(lambda: None, seconds=5.0)
    watch.start()
    now[0] = 2.0
    with watch.paused():
        now[0] = 100.0
    now[0] = 101.0
    assert watch.read() == 8.0
