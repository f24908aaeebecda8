"""The GPU check, rehearsed on a CPU: it goes on where it stopped, and says what is missed, missing or broken."""

import json
from pathlib import Path

import pytest

from tools.gpu_check import run as runner
from tools.gpu_check.__main__ import run
from tools.gpu_check.bars import Bar, bars
from tools.gpu_check.parts import FAST, PARTS, Part, Place


@pytest.fixture
def two_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A check of two parts: one counts its calls, one lasts as long as a file says."""
    program = "import sys, time, pathlib; p = pathlib.Path(sys.argv[1]); p.write_text(p.read_text() + 'x'); print('{}')"
    (tmp_path / "calls").write_text("")
    (tmp_path / "seconds").write_text("30")
    lasting = "import sys, time; time.sleep(float(open(sys.argv[1]).read())); print('{}')"
    parts = {
        "count": Part(20.0, lambda place: ["-c", program, str(tmp_path / "calls")], lambda place, printed: {"a": 1}),
        "last": Part(2.0, lambda place: ["-c", lasting, str(tmp_path / "seconds")], lambda place, printed: {"b": 2}),
    }
    monkeypatch.setattr(runner, "PARTS", parts)
    return tmp_path


def test_it_goes_on_with_what_is_not_done(two_parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(two_parts / "out.json", None, "cpu")
    first = runner.run_parts(place, None, 120.0)
    assert (first.parts["count"].state, first.parts["last"].state) == ("done", "unfinished")
    assert not first.good
    (two_parts / "seconds").write_text("0")
    second = runner.run_parts(place, None, 120.0)
    assert (second.parts["last"].state, second.parts["last"].result) == ("done", {"b": 2})
    assert second.good
    assert (two_parts / "calls").read_text() == "x"
    monkeypatch.setattr(runner, "_code", lambda: "other code")
    assert list(runner.run_parts(place, ["last"], 120.0).parts) == ["last"]


def test_without_time_nothing_begins(two_parts: Path) -> None:
    result = runner.run_parts(Place(two_parts / "out.json", None, "cpu"), None, 5.0)
    assert {part.reason for part in result.parts.values()} == {"no time was left"}
    assert (two_parts / "calls").read_text() == ""


def test_a_part_that_fails_is_named(two_parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Part(20.0, lambda place: ["-c", "import sys; sys.exit('no such thing')"], lambda place, printed: {})
    unread = Part(20.0, lambda place: ["-c", "print('x')"], lambda place, printed: json.loads(printed))
    monkeypatch.setattr(runner, "PARTS", {"wrong": wrong, "unread": unread})
    result = runner.run_parts(Place(two_parts / "out.json", None, "cpu"), None, 120.0)
    assert result.parts["wrong"].reason == "exit code 1: no such thing"
    assert result.parts["unread"].reason.startswith("its output cannot be read")
    assert not result.good


def test_bars_are_reached_missed_or_not_measured() -> None:
    rows = {"ebomlc": 8.0, f"ebomlc:{FAST}": 2.5, "mlc:double_backward": 12.0}
    step = {"rows": [{"name": name, "step_ms": {"median": value}} for name, value in rows.items()]}
    run_of = {"method": "ebomlc", "epochs": 120, "train_seconds": 150.0, "images_per_second": 10.0}
    parts = {"step": step, "training": {"runs": [run_of]}, "alone": {"runs": [run_of]}}
    found = {bar.name: (bar.value, bar.reached) for bar in bars(parts)}
    assert list(found.values()) == [(2.5, True), (2.5, True), (3.2, True), (1.5, False), (None, None)]
    short = {"training": {"runs": [run_of | {"epochs": 60}]}}
    assert all(bar.value is None for bar in bars(short))
    assert Bar(name="", value=1.9, limit=2.0, at_least=True).reached is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parts", "nothing"], "there is no 'nothing'; there are tests, step"),
        (["-o", "x.txt"], "ends in .json"),
        (["--data-dir", "/does/not/exist"], "no such folder"),
        ([], "no CUDA device here; --device cpu"),
    ],
)
def test_bad_input(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert run([*(["-o", "x.json"] if "-o" not in arguments else []), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_rehearsal_of_all_parts(tmp_path: Path) -> None:
    output = tmp_path / "check.json"
    assert run(["--device", "cpu", "-o", str(output)]) == 0
    found = json.loads(output.read_text())
    assert found["rehearsal"] is True
    assert {name: part["state"] for name, part in found["parts"].items()} == dict.fromkeys(PARTS, "done")
