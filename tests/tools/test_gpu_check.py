"""The GPU check: it keeps every row, goes on where it stopped, and says what is missed, missing or broken."""

import faulthandler
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder
from tools.gpu_check import __main__ as command
from tools.gpu_check import run as runner
from tools.gpu_check import worker
from tools.gpu_check.bars import Bar, bars
from tools.gpu_check.measure import GRAPH, Steps, stepping
from tools.gpu_check.page import page
from tools.gpu_check.parts import PARTS, TOTAL_S, Part, PytestPart, WorkerPart
from tools.gpu_check.place import NotHeld, Place, Row, RowFile
from tools.gpu_check.promises import RECORDINGS, _recordings
from tools.gpu_check.runs import last_epoch_ms

PROGRAM = """
import json, sys, time
file, script, done = sys.argv[1], json.loads(open(sys.argv[2]).read()), sys.argv[3:]
for name, act in script.items():
    if name in done:
        continue
    with open(file, "a") as rows:
        rows.write(json.dumps({"begin": name}) + "\\n")
    if act == "die":
        sys.exit("it died")
    if act == "stop":
        sys.exit(75)
    if act == "hang":
        time.sleep(60)
    with open(file, "a") as rows:
        rows.write(json.dumps({"row": name, "state": "done", "seconds": 0.0, "reason": "", "figures": {}}) + "\\n")
"""


@dataclass(frozen=True)
class Scripted(Part):
    """Rows that are done, die or hang, as a file says."""

    script: Path = field(default=Path(), kw_only=True)

    def command(self, name: str, place: Place, done: Sequence[str]) -> list[str]:
        return [sys.executable, "-S", "-c", PROGRAM, str(self.file(name, place)), str(self.script), *done]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "out.json", None, "cpu")


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A check of one part whose rows the file names."""
    path = tmp_path / "script.json"
    path.write_text("{}")
    monkeypatch.setattr(runner, "PARTS", {"first": Scripted(60.0, script=path), "last": Scripted(60.0, script=path)})
    monkeypatch.setattr(Place, "patience", 1.0)
    monkeypatch.setattr(runner, "_END_S", 1.0)
    monkeypatch.setattr(runner, "_LEAST_S", 1.0)
    return path


def states(result: runner.Result, part: str = "first") -> dict[str, str]:
    return {name: row.state for name, row in result.parts[part].rows.items()}


def test_a_row_that_dies_costs_only_itself(script: Path, place: Place) -> None:
    script.write_text(json.dumps({"a": "", "b": "die", "c": "", "d": "die"}))
    result = runner.run_parts(place, None, 120.0)
    assert states(result) == {"a": "done", "b": "failed", "c": "done", "d": "failed"}
    assert "exit code 1: it died" in result.parts["first"].rows["b"].reason
    assert [part.state for part in result.parts.values()] == ["done", "done"]
    assert not result.good
    stored = json.loads(place.output.read_text())
    assert stored["parts"]["first"]["rows"]["c"]["state"] == "done"
    assert "it died" in place.output.with_suffix(".html").read_text()


def test_a_second_call_takes_only_what_is_missing(script: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"first": Scripted(5.0, script=script)}
    monkeypatch.setattr(runner, "PARTS", parts)
    script.write_text(json.dumps({"a": "", "b": "hang", "c": ""}))
    first = runner.run_parts(place, None, 120.0)
    assert (first.parts["first"].state, states(first)) == ("unfinished", {"a": "done"})
    script.write_text(json.dumps({"a": "die", "b": "", "c": ""}))
    second = runner.run_parts(place, None, 120.0)
    assert states(second) == {"a": "done", "b": "done", "c": "done"}
    assert second.good
    script.write_text(json.dumps({"a": "die"}))
    assert runner.run_parts(place, None, 120.0).good
    assert states(runner.run_parts(place, ["first"], 120.0)) == {"a": "failed"}


def test_a_row_that_fills_the_limit_twice_has_failed(
    script: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PARTS", {"first": Scripted(5.0, script=script)})
    script.write_text(json.dumps({"a": "hang", "b": ""}))
    assert states(runner.run_parts(place, None, 60.0)) == {}
    assert states(runner.run_parts(place, None, 60.0)) == {"a": "failed"}
    third = runner.run_parts(place, None, 60.0)
    assert (third.parts["first"].state, states(third)) == ("done", {"a": "failed", "b": "done"})


def test_without_time_nothing_begins(script: Path, place: Place) -> None:
    script.write_text(json.dumps({"a": ""}))
    result = runner.run_parts(place, None, 0.5)
    assert {part.reason for part in result.parts.values()} == {"no time was left"}
    assert not any(part.rows for part in result.parts.values())


def test_a_part_that_cannot_start_is_named(script: Path, place: Place) -> None:
    script.write_text("no JSON")
    found = runner.run_parts(place, ["first"], 60.0).parts["first"]
    assert found.state == "failed"
    assert "JSONDecodeError" in found.reason


def test_a_run_that_was_asked_to_stop_goes_on_later(script: Path, place: Place) -> None:
    script.write_text(json.dumps({"a": "", "b": "stop"}))
    stopped = runner.run_parts(place, ["first"], 60.0)
    assert (stopped.parts["first"].state, states(stopped)) == ("unfinished", {"a": "done"})
    script.write_text(json.dumps({"a": "die", "b": ""}))
    assert states(runner.run_parts(place, None, 60.0)) == {"a": "done", "b": "done"}


def test_figures_of_other_code_are_set_aside(script: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    script.write_text(json.dumps({"a": ""}))
    runner.run_parts(place, None, 60.0)
    kept = place.output.read_text()
    monkeypatch.setattr(runner, "_code", lambda: "other code")
    script.write_text(json.dumps({"b": ""}))
    assert states(runner.run_parts(place, None, 60.0)) == {"b": "done"}
    assert place.output.with_name("out.before-1.json").read_text() == kept
    assert (place.work.with_name("out.before-1.work") / "first" / "rows.jsonl").exists()


def test_limits_add_up_to_nine_minutes() -> None:
    assert sum(part.limit_s for part in PARTS.values()) <= TOTAL_S == 540.0
    assert list(PARTS)[:3] == ["smoke", "steps", "kernels"]
    compiled = list(PARTS).index("compiled")
    assert compiled > max(list(PARTS).index(name) for name in ("steps", "tests-step", "tests-graph", "alone", "packed"))
    files = {part.path for part in PARTS.values() if isinstance(part, PytestPart)}
    assert files == {str(path) for path in Path("tests/gpu").glob("test_*.py")}


def test_rows_are_complete_on_a_gpu() -> None:
    on_gpu = Place(Path("x.json"), None, "cuda")
    rows = {name: list(part.takes(on_gpu)) for name, part in PARTS.items() if isinstance(part, WorkerPart)}
    assert not [row for name in ("steps", "smoke", "methods") for row in rows[name] if "compiled" in row]
    for word in ("tf32", "IEEE", "bf16", "one stream", "released", "ResNet-50 at 224"):
        assert any(word in row for row in rows["steps"]), word
    for word in ("dataloader", "ten recordings", "fault", "deterministic"):
        assert any(word in row for row in rows["promises"]), word
    assert rows["methods"][:3] == ["dividemix", "glc", "coteaching-plus"]


def test_a_line_that_was_cut_off_costs_one_row(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.jsonl")
    file.begin("a")
    file.end("a", Row(state="done", figures={"ms": 1.0}))
    with file.path.open("a") as cut:
        cut.write('{"row": "b", "sta')
    file.begin("c")
    rows, last, times = file.read()
    assert (list(rows), last, times) == (["a"], "c", 1)


def test_the_worker_says_how_each_row_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(place: Place) -> dict:
        raise InputError("no such setting")

    def broken(place: Place) -> dict:
        raise NotHeld("12 % differ")

    def wrong(place: Place) -> dict:
        raise ValueError("a fault of the code")

    takes = {"refused": refused, "broken": broken, "wrong": wrong, "good": lambda place: {"ms": 2.0}, "old": wrong}
    part = WorkerPart(9.0, lambda place: takes)
    monkeypatch.setitem(PARTS, "x", part)
    armed: list[float | None] = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda limit, exit: armed.append(limit if exit else None))
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: armed.append(None))
    part.file("x", place).parent.mkdir(parents=True)
    assert worker.main("x", place, ["old"]) == 0
    rows, last, _ = RowFile(part.file("x", place)).read()
    found = {name: (row.state, row.reason) for name, row in rows.items()}
    assert found == {
        "refused": ("skipped", "no such setting"),
        "broken": ("failed", "12 % differ"),
        "wrong": ("failed", "ValueError: a fault of the code"),
        "good": ("done", ""),
    }
    assert last is None
    assert armed == [part.row_limit_s * place.patience, None] * 4
    assert rows["good"].figures == {"ms": 2.0}


def test_bars_are_reached_missed_or_not_measured() -> None:
    def rows(**values: float) -> dict[str, Row]:
        return {name: Row(state="done", figures={"ms": value}) for name, value in values.items()}

    steps = rows(**{"ebomlc, graph": 2.5, "ebomlc, eager": 8.0, "released EBOMLC's operations": 10.0})
    steps["mlc double_backward, eager"] = Row(state="failed", figures={"ms": 99.0})
    alone = {"ebomlc": Row(state="done", figures={"last_epoch_ms": 2.0, "minutes_of_120_epochs": 2.0})}
    packed = {"3 runs of ebomlc": Row(state="done", figures={"last_epoch_ms": 2.5})}
    found = [(bar.value, bar.reached) for bar in bars({"steps": steps, "alone": alone, "packed": packed})]
    assert found == [(2.5, True), (2.0, True), (3.2, True), (4.0, False), (None, None), (2.4, True)]
    assert {bar.reached for bar in bars({})} == {None}
    assert Bar(name="", value=1.9, limit=2.0, at_least=True).reached is False


def test_the_time_of_a_step_leaves_start_up_out(tmp_path: Path) -> None:
    lines = [(1, 50, 900.0), (1, 100, 5.0), (2, 150, 3.0), (2, 200, 4.0), (2, 250, 40.0)]
    records = [{"step": step, "epoch": epoch, "perf/step_ms": value} for epoch, step, value in lines]
    records.append({"step": 250, "epoch": 2, "eval/accuracy": 1.0})
    RunFolder(tmp_path).metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert last_epoch_ms(RunFolder(tmp_path)) == 4.0


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_escapes_everything_and_needs_nothing_else() -> None:
    evil = "<script>alert(1)</script>"
    run = {"seed": 0, "num_noisy": 9, "num_clean": 1, "num_test": 4, "epochs": 2, "steps": 6, "precision": evil}
    run |= {"last_epoch_ms": 2.0, "train_seconds": 1.0, "accuracy_last": 50.0, "images": evil}
    step = {"ms": 2.0, "lowest_ms": 1.0, "highest_ms": 3.0, "images_per_second": 9.0}
    kernels = {"launches": 3.0, "busy_ms": 1.0, "top": [[evil, 3.0, 9.0]]}
    rows = {
        "steps": {evil: Row(state="done", figures=step), "x": Row(state="failed", reason=evil)},
        "kernels": {evil: Row(state="done", figures=kernels)},
        "accuracy": {evil: Row(state="done", figures=run)},
        "packed": {"3": Row(state="done", figures={"each": [run, run]})},
        "loaders": {"loaders": Row(state="done", figures={"images_per_second": {evil: 1.0}})},
        "promises": {evil: Row(state="done", figures={"held_mb": [1.0, 2.0], "said": [evil]})},
    }
    parts = {name: runner.Outcome(state="done", seconds=1.0, rows=found, reason=evil) for name, found in rows.items()}
    result = runner.Result(code=evil, environment={"devices": [evil]}, rehearsal=False, parts=parts)
    found = _Tags(page(result))
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert found.text.count(evil) >= 12
    assert "50.00 % of 4" in found.text


def test_recordings_that_keep_memory_are_seen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    held = iter(range(0, 100 * 2**20, 2**20))
    monkeypatch.setattr("tools.gpu_check.promises._allocated", lambda place: next(held))
    with pytest.raises(NotHeld, match=r"7\.0 MiB more after recording 10 than after 3"):
        _recordings(Steps(f"ebomlc:{GRAPH}"), place)
    monkeypatch.setattr("tools.gpu_check.promises._allocated", lambda place: 5)
    assert _recordings(Steps(f"ebomlc:{GRAPH}"), place)["recordings"] == RECORDINGS


@pytest.mark.parametrize(("method", "epoch"), [("dividemix", 11), ("coteaching-plus", 21), ("glc", 120), ("ce", 0)])
def test_a_method_is_timed_after_its_warm_up(method: str, epoch: int, place: Place) -> None:
    with stepping(Steps(method, epoch=None), place) as (training, _, numbers):
        assert training.method.epoch == epoch
        assert next(numbers) == epoch * training.loader.steps_per_epoch


def test_a_setting_of_another_version_is_refused(place: Place) -> None:
    with pytest.raises(InputError), stepping(Steps("ebomlc:train.precision=fp4"), place):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parts", "nothing"], "there is no 'nothing'; there are smoke, steps"),
        (["-o", "x.txt"], "ends in .json"),
        (["--data-dir", "/does/not/exist"], "no such folder"),
        ([], "no CUDA device here; --device cpu"),
    ],
)
def test_bad_input(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert command.run(["run", *(["-o", "x.json"] if "-o" not in arguments else []), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_rehearsal_of_all_parts(tmp_path: Path) -> None:
    output = tmp_path / "check.json"
    command.run(["run", "--device", "cpu", "-o", str(output), "--seconds", "3000"])
    found = json.loads(output.read_text())
    assert found["rehearsal"] is True
    assert {name: part["state"] for name, part in found["parts"].items()} == dict.fromkeys(PARTS, "done")
    rows = {f"{part}: {name}": row for part, kept in found["parts"].items() for name, row in kept["rows"].items()}
    assert {name: row["reason"] for name, row in rows.items() if row["state"] == "failed"} == {}
