"""The paper's figures as they are stored: typed in right, by what the paper itself makes of them."""

import pytest

from ebomlc_dist.recipes import PAPER_SETTINGS
from ebomlc_dist.reports.paper_tables.paper import paper
from ebomlc_dist.sweeps.grids import PAPER_METHODS


def average_ranks(dataset: str) -> dict[str, float]:
    table = paper().tables[dataset].accuracy
    totals = dict.fromkeys(table, 0.0)
    for setting in paper().settings:
        for method in table:
            totals[method] += 1 + sum(table[other][setting] > table[method][setting] for other in table)
    return {method: total / len(paper().settings) for method, total in totals.items()}


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_the_printed_ranks_follow_from_the_printed_accuracies(dataset: str) -> None:
    """A wrong digit that changes an order would show."""
    printed = paper().tables[dataset].average_rank
    assert {method: round(rank, 2) for method, rank in average_ranks(dataset).items()} == printed


def test_a_wrong_digit_changes_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    table = paper().tables["cifar10"]
    monkeypatch.setitem(table.accuracy["glc"], ("uniform", 0.6), 84.27)
    assert {method: round(rank, 2) for method, rank in average_ranks("cifar10").items()} != table.average_rank


def test_figures_that_the_text_quotes() -> None:
    first, second = paper().tables["cifar10"].accuracy, paper().tables["cifar100"].accuracy
    assert first["ebomlc"][("uniform", 0.4)] == 89.58
    assert first["dividemix"][("uniform", 0.8)] == 77.69
    assert second["mlc"][("uniform", 0.2)] == 48.73
    assert second["ebomlc"][("flip", 0.4)] == 58.11


def test_settings_and_methods_are_the_grids() -> None:
    settings = {(kind, percent / 100) for _, kind, percent in PAPER_SETTINGS}
    assert set(paper().settings) == settings
    assert {*paper().methods, "ce", "ce-weighted", "ce-finetune"} == set(PAPER_METHODS)
    assert all(set(table.accuracy) == set(paper().methods) for table in paper().tables.values())
