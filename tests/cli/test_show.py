"""Commands that change nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ebomlc_dist.files.run_folder import write_status
from ebomlc_dist.methods import METHODS
from ebomlc_dist.recipes import RECIPES
from ebomlc_dist.recipes.assemble import Request, resolve
from tests.cli.conftest import Ended

QUICK = [
    ["--help"],
    ["--version"],
    ["train", "--help"],
    ["list", "methods"],
    ["list", "recipes"],
    ["list", "datasets"],
    ["list", "models"],
    ["status", "run"],
    ["logs", "run"],
    ["submit", "train", "digits"],
]


@pytest.mark.parametrize("arguments", [["digits"], ["cifar10-uniform40", "--seed", "3"], ["--method", "ce,ce-clean"]])
def test_show_config_is_taken_back(arguments: list[str], ebomlc: Callable[..., Ended], place: Path) -> None:
    shown = ebomlc("show-config", *arguments).out
    file = place / "config.json"
    file.write_text(shown)
    assert ebomlc("show-config", "--config", str(file)).out == shown
    again = resolve(Request(config_file=file))
    changed = resolve(Request(config_file=file, assignments=("optim.main_lr=0.7",)))
    assert [run.config for run in again] != [run.config for run in changed]


def test_show_config_names_the_source_of_each_value(ebomlc: Callable[..., Ended]) -> None:
    out = ebomlc("show-config", "digits", "--sources", "--noise-rate", "0.3", "--set", "optim.main_lr=0.2").out
    rows = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    assert rows["noise.rate"][1:] == ["0.3", "--noise-rate"]
    assert rows["optim.main_lr"][1:] == ["0.2", "--set"]
    assert rows["model.name"][2:] == ["recipe", "digits"]
    assert rows["optim.momentum"][2:] == ["default"]
    assert "method.name (ce)" in rows


def test_list_shows_every_row_as_text_and_as_json(ebomlc: Callable[..., Ended]) -> None:
    assert list(json.loads(ebomlc("list", "recipes", "--json").out)) == list(RECIPES)
    assert list(json.loads(ebomlc("list", "methods", "--json").out)) == list(METHODS)
    for kind in ("methods", "recipes", "datasets", "models", "grids"):
        names = json.loads(ebomlc("list", kind, "--json").out)
        text = ebomlc("list", kind).out.splitlines()
        assert max(map(len, text)) <= 100
        rows = [line for line in "\n".join(text).partition("\n\n")[0].splitlines()[1:] if not line.startswith(" ")]
        assert [line.split("  ")[0] for line in rows] == list(names)


def test_list_wraps_and_drops_no_word(ebomlc: Callable[..., Ended]) -> None:
    words = " ".join(ebomlc("list", "methods").out.split())
    for name, info in METHODS.items():
        row = words[words.index(f" {name} {'yes' if info.needs_clean else 'no'} ") :]
        assert info.summary in row
    assert "--cuda-graph: not with double_backward (mlc, l2rw, mw-net, pmw-net)" in words


def test_status_of_one_run_and_of_several(ebomlc: Callable[..., Ended], place: Path) -> None:
    for name, state in (("ce", "finished"), ("ebomlc", "running")):
        (place / "out" / name).mkdir(parents=True)
        write_status(place / "out" / name, state=state, step=5)  # type: ignore[arg-type]
    assert "running" not in ebomlc("status", "out/ce").out
    assert ebomlc("status", "out").out.count("out/") == 2
    states = json.loads(ebomlc("status", "out", "--json").out)
    assert [status["state"] for status in states.values()] == ["finished", "running"]


def test_status_shows_the_goodput_so_far(ebomlc: Callable[..., Ended], place: Path) -> None:
    """Of a run that has left lines of its attempts; of another one nothing is said."""
    for name in ("ce", "old"):
        (place / "out" / name).mkdir(parents=True)
        write_status(place / "out" / name, state="running", step=5)
    seconds = {"start": 1.0, "step": 0.0, "checkpoint": 0.0, "evaluation": 0.0, "other": 0.0}
    lines = [{"step": 0, "wall": 11.0, "seconds": seconds, "resumed_at": 0}]
    lines.append({"step": 5, "wall": 14.0, "seconds": seconds | {"step": 3.0}})
    (place / "out" / "ce" / "attempts.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    rows = ebomlc("status", "out").out.splitlines()
    assert "75.0 %, 1 attempt" in next(row for row in rows if "out/ce" in row)
    assert "%" not in next(row for row in rows if "out/old" in row)
    found = json.loads(ebomlc("status", "out", "--json").out)
    assert found["out/ce"]["goodput"]["useful_seconds"] == 3.0
    assert found["out/old"]["goodput"] is None


def test_a_damaged_account_costs_the_goodput_alone(ebomlc: Callable[..., Ended], place: Path) -> None:
    (place / "out").mkdir()
    write_status(place / "out", state="running", step=5)
    (place / "out" / "attempts.jsonl").write_text('{"step": 5}\n')
    ended = ebomlc("status", "out")
    assert ended.code == 0
    assert "running" in ended.out
    assert ended.err.count("\n") == 1
    assert "no goodput: out/attempts.jsonl is damaged" in ended.err


@pytest.mark.parametrize(
    ("codes", "worst"), [([0, 0], 0), ([0, 75], 75), ([75, 2], 2), ([0, None], 1), ([130, 75], 130)]
)
def test_status_ends_with_the_runs_code(
    codes: list[int | None], worst: int, ebomlc: Callable[..., Ended], place: Path
) -> None:
    """A running one has died, where somebody asks how it ended."""
    for number, code in enumerate(codes):
        (place / "out" / str(number)).mkdir(parents=True)
        write_status(place / "out" / str(number), state="running" if code is None else "stopped", code=code)
    assert ebomlc("status", "out", "--exit-code").code == worst
    assert ebomlc("status", "out").code == 0


def test_logs_of_ranks_are_shown_without_what_moves_the_cursor(ebomlc: Callable[..., Ended], place: Path) -> None:
    logs = place / "run" / "logs"
    logs.mkdir(parents=True)
    for rank in (0, 1, 10):
        (logs / f"rank-{rank}.log").write_text("".join(f"{rank} line {line}\n" for line in range(30)) + "\x1b[2Jend\n")
    out = ebomlc("logs", "run", "-n", "2").out.splitlines()
    ends = [(f"==> run/logs/rank-{rank}.log <==", f"{rank} line 29", "\\x1b[2Jend") for rank in (0, 1, 10)]
    assert [tuple(out[place : place + 3]) for place in (0, 4, 8)] == ends
    assert ebomlc("logs", "run", "--rank", "1", "-n", "0").out.splitlines()[:2] == ["1 line 0", "1 line 1"]
    assert "no log of rank 3" in ebomlc("logs", "run", "--rank", "3").refused()
    assert "no logs" in ebomlc("logs", "elsewhere").refused()


def in_a_new_process(code: str, place: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=place, env=os.environ | {"PYTHONPATH": root}
    )


@pytest.mark.process
def test_what_must_answer_at_once_does_not_import_torch(place: Path) -> None:
    (place / "run" / "logs").mkdir(parents=True)
    (place / "run" / "logs" / "rank-0.log").touch()
    write_status(place / "run", state="finished", code=0)
    code = f"""
import sys
from ebomlc_dist.cli import run
codes = [run(arguments) for arguments in {QUICK!r}]
print(codes, sorted({{"torch", "numpy", "accelerate"}} & set(sys.modules)), file=sys.stderr)
run(["show-config"])
print("torch" in sys.modules, file=sys.stderr)
"""
    ended = in_a_new_process(code, place)
    assert ended.stderr.splitlines() == [f"{[0] * len(QUICK)} []", "True"], ended.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["list", "recipes"], ["status", "run"]])
@pytest.mark.process
def test_it_answers_within_half_a_second(arguments: list[str], place: Path) -> None:
    """Processor time, the best of three. A slow or busy machine is allowed what the libraries alone take, twice."""
    (place / "run").mkdir()
    write_status(place / "run", state="finished", code=0)

    def seconds(code: str) -> float:
        before = os.times()
        assert in_a_new_process(code, place).returncode == 0
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    command = f"from ebomlc_dist.cli import main; main({arguments!r})"
    tries = [(seconds(command), seconds("import typer, pydantic.main, pydantic.types")) for _ in range(3)]
    assert min(own for own, _ in tries) < max(0.5, 2 * min(libraries for _, libraries in tries))


def test_show_config_lists_every_run_of_a_recipe_with_variants(ebomlc: Callable[..., Ended]) -> None:
    found = json.loads(ebomlc("show-config", "figure-9").out)
    assert {name: config["method"]["noisy_scale"] for name, config in found.items()} == {
        "ebomlc-xi0.1": 0.1, "ebomlc-xi0.25": 0.25, "ebomlc-xi0.5": 0.5, "ebomlc-xi1": 1.0,
    }  # fmt: skip
    listed = ebomlc("show-config", "figure-9", "--sources").out
    assert "ebomlc-xi0.1   method.noisy_scale" in listed
