"""What is read from the files of finished runs."""

import json
from pathlib import Path

import pytest

from ebomlc_dist.errors import InputError
from ebomlc_dist.reports.finished import find_runs, read_run
from tests.support.run_folders import make_run


def test_training_figures_are_means_over_the_steps_of_an_epoch(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "a", "ebomlc"))
    # 10 steps at 1/epoch and 4 at 0.7 more: weighted by steps, not by lines.
    assert run.series("train/lower") == pytest.approx([1 + 0.2, 1 / 2 + 0.2, 1 / 3 + 0.2])
    assert run.series("eval/accuracy") == [50, 60, 70]
    assert [epoch.seconds for epoch in run.epochs] == pytest.approx([1.4, 1.4 + 2.8, 1.4 + 2.8 + 4.2])
    assert run.epochs[1].values["train/barrier_coefficient_max"] == pytest.approx(1 / 2 + 0.7)


def test_skipped_steps_do_not_count_and_an_interval_without_a_step_has_no_mean(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", "ebomlc")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines[1] |= {"train/skipped_steps": 4, "train/lower": None}
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert read_run(folder).series("train/lower")[0] == pytest.approx(1.0)


def test_a_method_in_stages_is_read_by_its_last_one(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "a", "glc", (10, 20, 30, 40, 50, 60)))
    assert run.series("eval/accuracy") == [40, 50, 60]


def test_runs_are_found_below_a_folder_and_each_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("x/b", "x/a", "y"):
        make_run(tmp_path / name, "ce")
    unfinished = make_run(tmp_path / "x/c", "ce")
    (unfinished / "summary.json").unlink()
    found = find_runs([tmp_path, tmp_path / "y"])
    assert [run.folder.name for run in found] == ["a", "b", "y"]
    assert "x/c is not finished" in caplog.text


@pytest.mark.parametrize("what", ["missing", "empty", "damaged"])
def test_a_folder_without_runs_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    if what == "damaged":
        make_run(folder, "ce")
        (folder / "metrics.jsonl").write_text('{"step": 1, "perf/step_ms": 1}\n')
    with pytest.raises(InputError) as refused:
        find_runs([folder])
    assert what in str(refused.value)
    assert "\n" not in str(refused.value)
