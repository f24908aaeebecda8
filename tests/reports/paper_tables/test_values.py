"""Tables as values: means, what is missing, ranks, times, and when the paper's figures stand beside ours."""

import statistics
from pathlib import Path

import pytest

from ebomlc_dist.errors import InputError
from ebomlc_dist.reports.paper_tables.layout import Column
from ebomlc_dist.reports.paper_tables.paper import paper
from ebomlc_dist.reports.paper_tables.values import Line, Table, build_tables
from ebomlc_dist.sweeps.cells import cells_of
from ebomlc_dist.sweeps.grids import GRIDS
from ebomlc_dist.sweeps.store import Store
from tests.reports.paper_tables.support import GPU, MadeUp


@pytest.fixture
def made(tmp_path: Path) -> MadeUp:
    return MadeUp(tmp_path / "store")


def only(made: MadeUp, **options) -> Table:
    (table,) = build_tables(made.store, **options)
    return table


def line(table: Table, label: str) -> Line:
    return next(line for line in table.lines if line.row.label == label)


def entry(table: Table, label: str, column: str):
    names = [column.label for column in table.columns]
    return line(table, label).entries[names.index(column)]


def test_mean_deviation_and_difference(made: MadeUp) -> None:
    for seed, accuracy in enumerate((89.0, 90.0, 92.0)):
        made.add("ebomlc", accuracy, seeds__seed=seed)
    found = entry(only(made), "ebomlc", "uniform 40 %")
    assert found.mean == pytest.approx(271 / 3)
    assert found.deviation == pytest.approx(statistics.stdev([89, 90, 92]))
    assert found.paper == 89.58
    assert found.difference == pytest.approx(271 / 3 - 89.58)
    assert [seed for seed, _ in found.scores] == [0, 1, 2]


@pytest.mark.parametrize(
    ("score", "mean"), [("last", 80.0), ("best", 81.0), ("last-10", 79.0), ("best-validation", 80.5)]
)
def test_the_quoted_score(made: MadeUp, score: str, mean: float) -> None:
    made.add("ebomlc", 80.0)
    table = only(made, score=score)
    assert entry(table, "ebomlc", "uniform 40 %").mean == mean
    words = {"last": "last epoch", "best": "selected on", "last-10": "last ten", "best-validation": "held-out"}
    assert any(words[score] in note for note in table.notes)


def test_a_paper_table_is_whole_and_what_no_run_made_is_missing(made: MadeUp) -> None:
    made.add("ebomlc", 80.0)
    table = only(made)
    assert table.title == "Table I: cifar10"
    assert [column.noise for column in table.columns] == list(paper().settings)
    assert [row.row.method for row in table.lines] == list(paper().methods)
    measured = [e for row in table.lines for e in row.entries if e.mean is not None]
    assert len(measured) == 1
    assert all(e.paper is not None for row in table.lines for e in row.entries)
    assert entry(table, "mlc", "flip 20 %").scores == ()


def test_seeds_that_are_still_missing_show(made: MadeUp) -> None:
    made.add("ebomlc", 80.0, seeds__seed=0)
    made.add("ebomlc", seeds__seed=1)
    found = entry(only(made), "ebomlc", "uniform 40 %")
    assert (len(found.scores), found.expected, found.deviation) == (1, 2, None)


def test_no_digits_figure_of_the_paper(made: MadeUp) -> None:
    made.add("ebomlc", 90.0, data__dataset="digits")
    made.add("ce", 91.0, data__dataset="digits")
    table = only(made)
    assert not table.has_paper
    assert [row.row.method for row in table.lines] == ["ebomlc", "ce"]
    assert all(e.paper is None for row in table.lines for e in row.entries)


def test_settings_that_differ_from_the_papers_are_said_first(made: MadeUp) -> None:
    made.add("ebomlc", 46.0, model__name="resnet8", train__epochs=8, data__noisy_size=10000)
    table = only(made)
    assert table.differs
    assert table.notes[0].startswith("Settings differ from the paper's")
    for words in ("model.name resnet8 (paper: resnet32)", "train.epochs 8 (paper: 120)", "10,000 (paper: all)"):
        assert words in table.notes[0]


@pytest.mark.parametrize("augment", ["none", "pad-crop-flip"])
def test_the_papers_own_settings_do_not_differ(made: MadeUp, augment: str) -> None:
    made.add("ebomlc", 90.0, data__augment=augment)
    table = only(made)
    assert not table.differs
    assert not any("differ" in note for note in table.notes)


def test_the_full_size_grid_is_in_the_papers_frame() -> None:
    assert [cell.name for cell in cells_of(GRIDS["paper"]) if paper().differences(cell.flat)] == []
    assert all(paper().differences(cell.flat) for cell in cells_of(GRIDS["paper-quick"]))


def test_a_key_that_older_cells_lack_parts_the_tables(made: MadeUp) -> None:
    made.add("ebomlc", 46.0)
    made.add("ebomlc", 47.0, data__pad_mode="reflect")
    tables = build_tables(made.store)
    assert len(tables) == 2
    assert all("pad_mode" in table.title for table in tables)


def test_average_rank_over_the_columns_that_are_complete(made: MadeUp) -> None:
    methods = list(paper().methods)
    for rank, method in enumerate(methods):
        made.add(method, 90.0 - rank)
        made.add(method, 50.0 + rank, noise__kind="flip")
    made.add("ce", 99.0)
    made.add("ebomlc", 70.0, noise__rate=0.2)
    table = only(made)
    assert table.ranked == (2, 9)
    assert [row.rank for row in table.lines if row.row.method in methods] == [5.0] * 9
    assert line(table, "ce").rank is None, "the paper ranks its own nine"
    assert line(table, "ebomlc").paper_rank == 1.29


def test_no_rank_where_no_column_is_complete(made: MadeUp) -> None:
    made.add("ebomlc", 70.0)
    assert {row.rank for row in only(made).lines} == {None}


def test_ties_share_their_rank(made: MadeUp) -> None:
    for method, accuracy in (("ebomlc", 80.0), ("mlc", 80.0), ("ce", 70.0)):
        made.add(method, accuracy, data__dataset="digits")
    assert {row.row.method: row.rank for row in only(made).lines} == {"ebomlc": 1.5, "mlc": 1.5, "ce": 3.0}


def test_time_over_ce_compares_the_same_device_setting_and_seed(made: MadeUp) -> None:
    slow = GPU | {"devices": ["Slow GPU"]}
    made.add("ce", 60.0, seconds=100.0)
    made.add("ce", 60.0, seconds=50.0, seeds__seed=1)
    made.add("ebomlc", 70.0, seconds=250.0)
    made.add("ebomlc", 70.0, seconds=150.0, seeds__seed=1)
    made.add("mlc", 70.0, seconds=9999.0, environment=slow)
    made.add("glc", 70.0, seconds=300.0, neighbours=4)
    made.add("l2rw", 70.0, seconds=300.0, environment=GPU | {"cuda_graph": True})
    table = only(made)
    time = line(table, "ebomlc").time
    assert time is not None
    assert (time.ratio, time.pairs, time.device) == (2.75, 2, "Some GPU")
    assert line(table, "mlc").time is None
    assert line(table, "glc").time is None
    assert line(table, "l2rw").time is None
    assert line(table, "ce").time.ratio == 1.0


def test_data_sets_and_frames_have_tables_of_their_own(made: MadeUp) -> None:
    made.add("ebomlc", 80.0)
    made.add("ebomlc", 40.0, train__epochs=8)
    made.add("ebomlc", 50.0, data__dataset="cifar100")
    titles = {table.title: table for table in build_tables(made.store)}
    assert len(titles) == 3
    assert any(title.startswith("Table II: cifar100") for title in titles)
    assert any("train.epochs=8" in title for title in titles)


def test_other_settings_are_columns_and_method_keys_rows(made: MadeUp) -> None:
    for rate, forget in ((0.2, 0.2), (0.4, 0.4)):
        made.add("coteaching-plus", 70.0, data__dataset="digits", noise__rate=rate, method__forget_rate=forget)
    for lr in (0.1, 0.05):
        made.add("ce", 60.0, data__dataset="digits", optim__main_lr=lr)
    for gradient in ("difference", "stop_gradient"):
        made.add("ebomlc", 65.0, data__dataset="digits", method__value_gradient=gradient)
    table = only(made)
    assert [column.label for column in table.columns] == [
        "uniform 20 %, optim.main_lr=0.1",
        "uniform 40 %, optim.main_lr=0.05",
        "uniform 40 %, optim.main_lr=0.1",
    ]
    assert [row.row.label for row in table.lines] == [
        "coteaching-plus",
        "ebomlc",
        "ebomlc (value_gradient=difference)",
        "ce",
    ]
    assert not any(row.row.variant for row in table.lines if row.row.method == "coteaching-plus")


def test_the_row_with_a_methods_defaults_bears_its_name_and_the_papers_figures(made: MadeUp) -> None:
    """A stored run with a setting that was once the default is the variant that it is."""
    bare = {"method__lower_objective": "noisy", "method__look_ahead": "plain"}
    made.add("mlc", 20.0, **bare)
    made.add("mlc", 45.0, method__lower_objective="with_clean", method__look_ahead="sgd")
    for clean_images in ("labelled", "unused"):
        made.add("ce", 40.0, method__clean_images=clean_images)
    table = only(made)
    variant = "mlc (lower_objective=noisy, look_ahead=plain)"
    assert [row.row.label for row in table.lines if row.row.method in ("mlc", "ce")] == [
        "mlc",
        variant,
        "ce",
        "ce (clean_images=labelled)",
    ]
    assert (entry(table, "mlc", "uniform 40 %").mean, entry(table, "mlc", "uniform 40 %").paper) == (45.0, 86.08)
    assert (entry(table, variant, "uniform 40 %").mean, entry(table, variant, "uniform 40 %").paper) == (20.0, None)
    assert f"Not in the paper: {variant}, ce, ce (clean_images=labelled)." in table.notes


def test_a_store_of_variants_alone_says_so(made: MadeUp) -> None:
    """Nothing varies in it; the bare name would stand beside the paper's figures."""
    for rate in (0.2, 0.4):
        made.add("mlc", 20.0, noise__rate=rate, method__lower_objective="noisy", method__look_ahead="plain")
        made.add("coteaching-plus", 30.0, noise__rate=rate, method__forget_rate=rate, recipe="cifar10-uniform40")
    table = only(made)
    assert {row.row.label for row in table.lines if row.entries[2].scores} == {
        "mlc (lower_objective=noisy, look_ahead=plain)",
        "coteaching-plus",
    }
    assert entry(table, "mlc", "uniform 40 %").scores == ()


def test_methods_in_different_frames_are_said_to_be(made: MadeUp) -> None:
    made.add("ce", 60.0, train__epochs=8)
    made.add("ebomlc", 60.0)
    assert any("differ in more than the method: train.epochs 120, 8" in note for note in only(made).notes)


def test_a_result_without_a_grid_counts(made: MadeUp) -> None:
    made.add("ebomlc", 80.0)
    (made.store.grids / "made-up.json").unlink()
    assert entry(only(made), "ebomlc", "uniform 40 %").mean == 80.0


def test_an_empty_store_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    with pytest.raises(InputError, match="holds no cells"):
        build_tables(store)


def test_columns_are_ordered_by_noise() -> None:
    column = Column((("noise.kind", "flip"), ("noise.rate", 0.2)))
    assert column.noise == ("flip", 0.2)
    assert column.label == "flip 20 %"
