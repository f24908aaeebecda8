"""The figures: what is drawn is what runs made, and what is lacking is named."""

import json
import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from ebomlc_dist.errors import InputError
from ebomlc_dist.recipes import RECIPES
from ebomlc_dist.reports.figures import FIGURES, curves, heat, points, update
from ebomlc_dist.reports.figures.draw import draw
from ebomlc_dist.reports.finished import FinishedRun, find_runs
from tests.support.run_folders import make_run

NINE = ("ebomlc", "mlc", "mlc-d", "glc", "dividemix", "pmw-net", "mw-net", "l2rw", "coteaching-plus")


@pytest.fixture
def every_run(tmp_path: Path) -> list[FinishedRun]:
    """Runs for all nine figures: nine methods, three values of T and ξ, two of ρ under two noises."""
    folder = tmp_path / "runs"
    for place, method in enumerate(NINE):
        make_run(folder / method, method, (40 + place, 50 + place, 60 + place), recipe="figure-4")
    for number, methods in ((1, NINE[1:3]), (2, NINE[1:3]), (3, NINE[:1]), (5, ("ebomlc", "mlc-d")), (6, NINE[:2])):
        for method in methods:
            make_run(folder / f"{number}" / method, method, recipe=f"figure-{number}:tiny")
    for steps in (1, 3):
        for rate in (0.2, 0.8):
            settings = {"method__inner_steps": steps, "noise__rate": rate}
            make_run(folder / f"7/T{steps}-{rate}", "ebomlc", recipe="figure-7", **settings)
    for mixture in (0.2, 1.0):
        make_run(folder / f"8/{mixture}", "ebomlc", (1, 2, 50 * mixture), recipe="figure-8", method__mixture=mixture)
    for scale in (0.1, 1.0):
        make_run(folder / f"9/{scale}", "ebomlc", recipe="figure-9", method__noisy_scale=scale)
    return find_runs([folder])


def lines_of(figure: Figure) -> list[Line2D]:
    return [line for axes in figure.axes for line in axes.get_lines()]


def test_every_figure_has_a_recipe_of_its_name() -> None:
    assert {f"figure-{number}" for number in FIGURES} == {name for name in RECIPES if name.startswith("figure-")}


def test_all_figures_are_written_with_text_that_is_text_and_their_origin(
    tmp_path: Path, every_run: list[FinishedRun]
) -> None:
    out = tmp_path / "figures"
    written = draw(list(FIGURES), every_run, out)
    assert sorted(written) == sorted(out.iterdir())
    assert {path.name for path in written} == {
        f"figure-{number}.{kind}" for number in FIGURES for kind in ("png", "svg", "json")
    }
    for number, info in FIGURES.items():
        document = json.loads((out / f"figure-{number}.json").read_text())
        assert document["title"] == info.title
        assert "Digits, " in document["caption"]
        assert "digits-cnn, 1342 noisy and 100 trusted images, 3 epochs, seed 0" in document["caption"]
        recipes = {run["recipe"].removesuffix(":tiny") for run in document["runs"]}
        assert recipes == {f"figure-{number}"}
        assert all(Path(run["folder"]).is_dir() and run["seed"] == 0 for run in document["runs"])
        svg = (out / f"figure-{number}.svg").read_text()
        assert "<text" in svg
        with Image.open(out / f"figure-{number}.png") as image:
            assert min(image.size) > 400


def test_the_files_repeat_byte_for_byte(tmp_path: Path, every_run: list[FinishedRun]) -> None:
    for name in ("a", "b"):
        draw([1, 6], every_run, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_curve_is_what_the_run_measured_epoch_by_epoch(tmp_path: Path) -> None:
    for method, accuracies in (("mlc", (10, 30, 20)), ("mlc-d", (40, 45, 41))):
        make_run(tmp_path / method, method, accuracies)
    drawing = curves.figure_1(find_runs([tmp_path]))
    _, accuracy = drawing.figure.axes
    found = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in accuracy.get_lines()}
    assert found == {"MLC": ([1, 2, 3], [10, 30, 20]), "MLC-D": ([1, 2, 3], [40, 45, 41])}


def test_seeds_are_lines_of_their_own_below_their_mean(tmp_path: Path) -> None:
    for method in ("mlc", "mlc-d"):
        for seed in (0, 1):
            make_run(tmp_path / f"{method}-{seed}", method, (10, 20, 30 + 4 * seed), seeds__seed=seed)
    drawing = curves.figure_1(find_runs([tmp_path]))
    accuracy = drawing.figure.axes[1]
    last = [line.get_ydata()[-1] for line in accuracy.get_lines()][:3]
    assert last == [30, 34, 32]
    assert len(drawing.runs) == 4


def test_the_same_run_twice_counts_once(tmp_path: Path) -> None:
    for name in ("mlc", "mlc-d", "again/mlc"):
        make_run(tmp_path / name, Path(name).name)
    assert len(curves.figure_1(find_runs([tmp_path])).runs) == 2


def test_time_is_that_of_training(tmp_path: Path) -> None:
    for method in ("ebomlc", "mlc-d"):
        make_run(tmp_path / method, method)
    over_time = curves.figure_5(find_runs([tmp_path])).figure.axes[2]
    assert list(over_time.get_lines()[0].get_xdata()) == pytest.approx([1.4, 4.2, 8.4])


def test_the_correction_of_a_class_sums_to_a_hundred(tmp_path: Path) -> None:
    for method in ("mlc", "ebomlc"):
        make_run(tmp_path / method, method)
    drawing = heat.figure_6(find_runs([tmp_path]))
    by_true, _, by_given, *_ = (axes.get_images()[0].get_array() for axes in drawing.figure.axes[:4])
    assert by_given[0, 9] == pytest.approx(50)
    shown = by_true
    assert shown.shape == (10, 10)
    assert list(shown.sum(axis=1)) == pytest.approx([100] * 10)
    assert shown[0, 0] == pytest.approx(50)


@pytest.mark.parametrize("part", ["all", "main", "meta"])
def test_the_update_is_drawn_at_the_lengths_and_angles_of_the_run(tmp_path: Path, part: str) -> None:
    (run,) = find_runs([make_run(tmp_path / "a", "ebomlc")])
    seen = update.plane(run, run.epochs[0], part)
    squared, product, gap = {"all": (5, -2.5, 10), "main": (4, -3, 9), "meta": (1, 0.5, 1)}[part]
    assert seen.upper[0] ** 2 + seen.upper[1] ** 2 == pytest.approx(squared)
    assert seen.upper[0] * seen.gap == pytest.approx(product)
    assert seen.gap == pytest.approx(math.sqrt(gap))
    if part == "all":
        # The projection lies on the border of the half-space ⟨∇Q, d⟩ ≥ δ‖∇Q‖² + ⟨∇_αF, ∇_αQ⟩.
        assert seen.threshold == pytest.approx((0.25 * 10 + 0.5) / math.sqrt(10))
        assert seen.along(seen.beta)[0] == pytest.approx(seen.threshold)
        assert seen.plain_threshold == pytest.approx(0.25 * math.sqrt(10))


def test_the_points_are_the_runs_own(tmp_path: Path, every_run: list[FinishedRun]) -> None:
    runs = [run for run in every_run if run.config.recipe == "figure-8"]
    drawing = points.figure_8(runs)
    (line,) = lines_of(drawing.figure)
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0.2, 1.0], [10, 50])
    inner = points.figure_7([run for run in every_run if run.config.recipe == "figure-7"])
    seconds = inner.figure.axes[-1].get_lines()[0]
    assert list(seconds.get_ydata()) == pytest.approx([200, 200])


def test_what_belongs_into_figure_4_and_has_no_run_is_named(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "ebomlc")
    assert "MLC-D on Digits, 40 % uniform" in curves.figure_4(find_runs([tmp_path])).missing


LACKING: list[tuple[int, list[tuple[str, dict]], str]] = [
    (1, [("mlc", {})], "figure 1 needs runs of MLC and MLC-D on the same data and noise; there are mlc (Digits"),
    (2, [("ce", {})], "figure 2 needs runs of MLC-D and MLC on the same data and noise; there is none"),
    (3, [("ce", {})], "figure 3 needs a run of EBOMLC; there are ce"),
    (4, [("ce", {})], "figure 4 needs runs of the paper's methods"),
    (5, [("ebomlc", {}), ("mlc-d", {"noise__rate": 0.2})], "figure 5 needs"),
    (7, [("ebomlc", {})], "at least two values of method.inner_steps"),
    (8, [("ebomlc", {})], "at least two values of method.mixture"),
    (9, [("ebomlc", {})], "at least two values of method.noisy_scale"),
]


@pytest.mark.parametrize(("number", "runs", "said"), LACKING, ids=[str(row[0]) for row in LACKING])
def test_lacking_runs_are_named_with_the_command_that_makes_them(
    tmp_path: Path, number: int, runs: list[tuple[str, dict]], said: str
) -> None:
    for place, (method, settings) in enumerate(runs):
        make_run(tmp_path / str(place), method, **settings)
    with pytest.raises(InputError) as refused:
        draw([number], find_runs([tmp_path]), tmp_path / "out")
    assert said in str(refused.value)
    assert f"ebomlc train figure-{number} -o runs/figure-{number}" in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("number", "lost"), [(1, "eval/clean_loss"), (3, "step/upper_gap_main")])
def test_a_run_without_a_quantity_is_named(tmp_path: Path, number: int, lost: str) -> None:
    for method in ("mlc", "mlc-d", "ebomlc"):
        make_run(tmp_path / method, method, drop=[lost])
    with pytest.raises(InputError, match=f"no {lost}"):
        draw([number], find_runs([tmp_path]), tmp_path / "out")


def test_runs_that_do_not_compare_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "mlc")
    make_run(tmp_path / "b", "mlc-d", data__clean_size=50)
    with pytest.raises(
        InputError, match=r"are of the same data and noise, but differ in data\.clean_size \(20 and 50\)"
    ):
        curves.figure_1(find_runs([tmp_path]))
    make_run(tmp_path / "c", "mlc-d", method__inner_steps=2, seeds__seed=1)
    make_run(tmp_path / "d", "mlc-d", seeds__seed=2)
    with pytest.raises(InputError, match=r"would be one series, but differ in method\.inner_steps"):
        curves.figure_1([run for run in find_runs([tmp_path]) if run.folder.name != "b"])
