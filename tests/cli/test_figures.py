"""``ebomlc figures``: from a command line to files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ebomlc_dist.reports.figures import update
from ebomlc_dist.reports.finished import find_runs
from tests.cli.conftest import Ended
from tests.support.run_folders import make_run


def test_the_command_draws_what_is_named(tmp_path: Path, ebomlc: Callable[..., Ended]) -> None:
    for method in ("mlc", "mlc-d"):
        make_run(tmp_path / "runs" / method, method)
    # As a shell leaves `--runs runs/*`.
    ended = ebomlc(
        "figures", "1", "2", "--runs", f"{tmp_path}/runs/mlc", f"{tmp_path}/runs/mlc-d", "-o", f"{tmp_path}/o"
    )
    assert ended.code == 0
    assert len(ended.out.splitlines()) == len(list((tmp_path / "o").iterdir())) == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["10", "--runs", "."], "'10' is no figure of the paper; give numbers from 1 to 9, or all"),
        (["1"], "--runs DIR is missing"),
        (["1", "--runs", "nowhere"], "nowhere is no folder"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, ebomlc: Callable[..., Ended], arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in ebomlc("figures", *arguments).refused()


def test_a_real_run_makes_the_figure_of_its_update(tmp_path: Path, ebomlc: Callable[..., Ended]) -> None:
    small = ("--epochs", "2", "--set", "data.noisy_size=100", "-q")
    assert ebomlc("train", "figure-3:tiny", *small, "-o", f"{tmp_path}/run").code == 0
    assert ebomlc("figures", "3", "--runs", f"{tmp_path}/run", "-o", f"{tmp_path}/out").code == 0
    (run,) = find_runs([tmp_path / "run"])
    for epoch in run.epochs:
        seen = update.plane(run, epoch, "all")
        assert seen.threshold is not None
        if seen.beta > 0:
            # β came from the full vectors, the plane from norms and inner products alone.
            assert seen.along(seen.beta)[0] == pytest.approx(seen.threshold, rel=1e-4)


def test_a_report_is_one_page(tmp_path: Path, ebomlc: Callable[..., Ended]) -> None:
    for method in ("mlc", "mlc-d"):
        make_run(tmp_path / "runs" / method, method)
    ended = ebomlc("report", f"{tmp_path}/runs", "--output", f"{tmp_path}/report.html")
    assert (ended.code, ended.out) == (0, f"2 runs: {tmp_path}/report.html\n")
    assert "2 runs compared" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("output", ["report.txt", "no/such/report.html"])
def test_a_report_that_cannot_be_written_is_refused(output: str, ebomlc: Callable[..., Ended]) -> None:
    assert "give a name.html in a folder that exists" in ebomlc("report", ".", "-o", output).refused()
