"""The page that compares runs: what it holds, that nothing in it runs or loads, and what a browser makes of it."""

import json
import re
from pathlib import Path

import pytest

from ebomlc_dist.reports.comparison.comparison_page import line_charts, page
from ebomlc_dist.reports.comparison.sections import cost, heats, named, scores, settings_that_differ, warnings
from ebomlc_dist.reports.finished import FinishedRun, find_runs
from tests.audit.conftest import Browser
from tests.support.run_folders import make_run

HOSTILE = '<img src=x onerror="alert(1)">&\u202e'


@pytest.fixture
def runs(tmp_path: Path) -> list[FinishedRun]:
    make_run(tmp_path / "runs/a", "ebomlc", (50, 60, 70))
    make_run(tmp_path / "runs/b", "mlc-d", (80, 85, 82), summary={"accuracy_at_best_validation": 80.0})
    return find_runs([tmp_path / "runs"])


def test_scores_are_those_of_the_summaries(runs: list[FinishedRun]) -> None:
    table = scores(named(runs))
    assert [row[:7] for row in table.rows] == [
        ("EBOMLC", "Digits, 40 % uniform", "0", "70.00", "60.00", "–", "70.00"),
        ("MLC-D", "Digits, 40 % uniform", "0", "82.00", "82.33", "80.00", "85.00"),
    ]


def test_what_a_summary_lacks_is_a_dash(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "ce", summary={"accuracy_last": None, "train_seconds": None, "correction_matrix": None})
    runs = named(find_runs([tmp_path]))
    assert scores(runs).rows[0][3] == "–"
    assert cost(runs).rows[0][1] == cost(runs).rows[0][3] == "–"
    assert heats(runs) == []
    assert "Label correction" not in page(list(runs.values()))


def test_only_settings_that_differ_are_listed(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "ebomlc", method__mixture=0.2, data__data_dir="one")
    make_run(tmp_path / "b", "ebomlc", method__mixture=0.4, data__data_dir="two", seeds__seed=3)
    table = settings_that_differ(named(find_runs([tmp_path])))
    assert table.headings == ("key", "a", "b")
    assert table.rows == (("method.mixture", "0.2", "0.4"), ("seeds.seed", "0", "3"))


def test_names_tell_runs_apart(tmp_path: Path) -> None:
    for name in ("x/a", "y/a"):
        make_run(tmp_path / name, "ce")
    assert list(named(find_runs([tmp_path]))) == [str(tmp_path / "x/a"), str(tmp_path / "y/a")]


def test_a_line_has_a_point_for_every_epoch_and_stays_in_its_frame(runs: list[FinishedRun]) -> None:
    charts = {chart.title: chart for chart in line_charts(named(runs))}
    assert "Wrong labels corrected over epochs" not in charts
    accuracy = charts["Test accuracy over epochs"]
    assert [len(line.points) for line in accuracy.lines] == [3, 3]
    places = [place for line in accuracy.lines for place in line.points]
    assert all(0 <= across <= 100 and 0 <= up <= 100 for across, up in places)
    ups = [up for line in accuracy.lines for _, up in line.points]
    # 50, 60, 70 and 80, 85, 82 per cent on one linear scale.
    assert (ups[1] - ups[0]) / (ups[4] - ups[3]) == pytest.approx(2)
    assert [name for _, name in accuracy.places] == ["1", "2", "3"]
    assert "82 at the end" in accuracy.lines[1].name


def test_rows_of_a_heat_map_sum_to_a_hundred(runs: list[FinishedRun]) -> None:
    for heat in heats(named(runs)):
        for row in heat.rows:
            assert sum(int(share) for share, _ in row) == pytest.approx(100, abs=5)
            assert all(0 <= shade <= 9 for _, shade in row)


def test_runs_that_do_not_compare_are_said_to(tmp_path: Path, runs: list[FinishedRun]) -> None:
    assert warnings(named(runs)) == []
    other = make_run(tmp_path / "c", "ce", noise__rate=0.2, summary={"num_test": 7})
    (other / "environment.json").write_text(json.dumps({"processor": "another", "devices": ["cpu"]}))
    found = " ".join(warnings(named([*runs, *find_runs([other])])))
    assert "different data or noise" in found
    assert "different numbers of test images" in found
    assert "different machines" in found


def test_nothing_in_the_page_runs_or_loads(tmp_path: Path) -> None:
    folder = make_run(tmp_path / f"{HOSTILE.replace('/', '')}", "ebomlc", data__dataset="digits")
    (folder / "classes.json").write_text(json.dumps([HOSTILE] * 10))
    make_run(tmp_path / "b", "ebomlc", seeds__seed=1)
    text = page(find_runs([tmp_path]))
    assert "<img" not in text
    assert "&lt;img src=x" in text
    assert "\u202e" not in text
    assert "<script" not in text.lower()
    assert not re.search(r"(?:src|href)=[\"'](?!#)", text)
    assert "default-src 'none'" in text


def test_a_browser_shows_it_on_a_small_screen_without_a_request(
    tmp_path: Path, runs: list[FinishedRun], browser: Browser
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(runs), encoding="utf-8")
    browser.open(path)
    noted = browser.noted()
    assert [url for url in noted["requests"] if not url.startswith("chrome://")] == noted["console"] == []
    assert len(browser.find("polyline")) == sum(len(chart.lines) for chart in line_charts(named(runs)))
    for width in (1100, 420):
        browser.driver.set_window_size(width, 900)
        inner, whole = browser.driver.execute_script("return [window.innerWidth, document.documentElement.scrollWidth]")
        assert whole <= inner
    browser.driver.set_window_size(1200, 900)
    # By keyboard: the tables that may be wider than the screen can be reached and moved.
    for _ in range(8):
        browser.press("\ue004")
        if browser.driver.switch_to.active_element.get_attribute("class") == "scroll":
            return
    pytest.fail("no scrolling table takes the focus")
