"""What lies under ``benchmarks/``: cells under the key of their configuration, and read as the runs that they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.corrector import variant_of
from benchmarks.table import runs_of
from ebomlc_dist.reports.paper_tables.values import build_tables
from ebomlc_dist.sweeps.cells import cells_of, key_of
from ebomlc_dist.sweeps.grid_file import load_grid
from ebomlc_dist.sweeps.store import Store

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STORES = ("paper-quick", "corrector-quick", "corrector-measured", "baselines")
BARE = "mlc look_ahead=plain lower_objective=noisy"


def cells(store: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((BENCHMARKS / store / "cells").glob("*.json"))]


@pytest.mark.parametrize("store", STORES)
def test_every_cell_lies_under_the_key_of_its_configuration(store: str) -> None:
    found = list((BENCHMARKS / store / "cells").glob("*.json"))
    assert found
    for path in found:
        config = json.loads(path.read_text())["config"]
        assert key_of(config) == path.stem
    assert key_of(config | {"seeds.seed": 99}) != path.stem
    for listed in Store(BENCHMARKS / store).listed().values():
        assert all(key_of(cell.config) == cell.key for cell in listed)


@pytest.mark.parametrize("store", STORES)
def test_a_run_of_mlc_is_bare_where_its_configuration_says_so(store: str) -> None:
    """What was the default when it was run is a variant."""
    for cell in cells(store):
        config = cell["config"]
        if config["method.name"] == "mlc" and config["train.epochs"] == 8:
            bare = config["method.lower_objective"] == "noisy"
            assert variant_of(config) == (BARE if bare else "mlc")


def test_tables_keep_bare_mlc_apart() -> None:
    for table in build_tables(Store(BENCHMARKS / "paper-quick")):
        scores = {line.row.label: {e.mean for e in line.entries} - {None} for line in table.lines}
        bare = scores["mlc (look_ahead=plain, lower_objective=noisy)"]
        assert bare == {24.26, 17.04, 26.1}
        assert not bare & scores["mlc"]


def test_the_grid_of_baselines_is_done() -> None:
    listed = {cell.key for cell in cells_of(load_grid(str(BENCHMARKS / "grids" / "baselines.yaml")))}
    assert Store(BENCHMARKS / "baselines").done() == listed


def test_a_table_takes_rows_from_files_and_from_a_store() -> None:
    alone = runs_of(BENCHMARKS / "methods" / "digits")
    both = runs_of(BENCHMARKS / "methods" / "digits", BENCHMARKS / "baselines", BENCHMARKS / "paper-quick")
    assert set(both) - set(alone) == {"mlc", "ce-weighted", "ce-finetune", "ce clean_images=labelled"}
    assert [summary["seed"] for summary in both["mlc"]] == [0, 1, 2]
    assert {summary["recipe"] for runs in both.values() for summary in runs} == {"digits"}
    assert both["mlc-bare"] == alone["mlc-bare"]
