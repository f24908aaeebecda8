"""Tables as values: what was measured, what is missing, and what the paper says."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ebomlc_dist.errors import InputError
from ebomlc_dist.reports.paper_tables.layout import (
    NOISE_KEYS,
    Column,
    Placed,
    Row,
    ordered_columns,
    ordered_rows,
    place,
    shown,
)
from ebomlc_dist.reports.paper_tables.notes import notes_of
from ebomlc_dist.reports.paper_tables.paper import PaperTable, paper
from ebomlc_dist.reports.paper_tables.times import Time, times_of
from ebomlc_dist.sweeps.store import Store

Score = Literal["last", "last-10", "best-validation", "best"]
_KEYS: dict[Score, str] = {
    "last": "accuracy_last",
    "last-10": "accuracy_last10_mean",
    "best-validation": "accuracy_at_best_validation",
    "best": "accuracy_best",
}


@dataclass(frozen=True)
class Entry:
    """One cell of a table, in per cent.

    Attributes:
        scores: of each seed that has one, by seed.
        expected: seeds that a grid asks for here, or that are there.
        paper: the paper's figure.
    """

    scores: tuple[tuple[int, float], ...] = ()
    expected: int = 0
    paper: float | None = None

    @property
    def mean(self) -> float | None:
        """Over the seeds; None where there is none."""
        return statistics.fmean(score for _, score in self.scores) if self.scores else None

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation over the seeds; None below two."""
        return statistics.stdev(score for _, score in self.scores) if len(self.scores) > 1 else None

    @property
    def difference(self) -> float | None:
        """The mean less the paper's figure."""
        return None if self.mean is None or self.paper is None else self.mean - self.paper


@dataclass(frozen=True)
class Line:
    """One row: an entry a column, the average rank with the paper's, and the training time relative to ``ce``."""

    row: Row
    entries: tuple[Entry, ...]
    rank: float | None
    paper_rank: float | None
    time: Time | None


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: data set and what else tells it from the other tables.
        has_paper: whether the paper's figures stand in it.
        differs: whether its settings are not the paper's.
        columns: settings.
        lines: methods.
        ranked: how many columns the ranks are over, and how many methods take part.
        notes: what a reader has to know, sentence by sentence.
    """

    title: str
    has_paper: bool
    differs: bool
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    ranked: tuple[int, int]
    notes: tuple[str, ...]


def build_tables(store: Store, score: Score = "last") -> list[Table]:
    """A table for each data set and frame in the store.

    Args:
        store: its grids say what is missing, its results what is there.
        score: which test accuracy of a run is quoted.

    Raises:
        InputError: the store has no cells, or a damaged file.
    """
    listed = [cell for cells in store.listed().values() for cell in cells]
    placed = place(listed, store.results())
    if not placed:
        raise InputError(f"{store.root} holds no cells; fill it by `ebomlc sweep GRID -o {store.root}`")
    keys = dict.fromkeys(cell.table for cell in placed)
    every = sorted(keys, key=lambda values: str([str(value) for _, value in values]))
    return [_table([cell for cell in placed if cell.table == values], score) for values in every]


def _table(cells: Sequence[Placed], score: Score) -> Table:
    theirs = _paper_table(cells)
    rows, columns = {cell.row for cell in cells}, {cell.column for cell in cells}
    if theirs is not None:
        rows |= {Row(method) for method in paper().methods}
        columns |= {Column(tuple(zip(NOISE_KEYS, setting, strict=True))) for setting in paper().settings}
    ordered, settings = ordered_rows(rows), ordered_columns(columns)
    entries = {row: tuple(_entry(cells, row, column, score, theirs) for column in settings) for row in ordered}
    # The paper ranks its own nine; references beside them would shift the ranks.
    rivals = [row for row in ordered if theirs is None or row.method in paper().methods]
    ranks, ranked = _average_ranks({row: entries[row] for row in rivals})
    times = times_of(cells, ordered)
    lines = tuple(
        Line(
            row,
            entries[row],
            ranks.get(row),
            theirs.average_rank.get(row.method) if theirs is not None and not row.variant else None,
            times.get(row),
        )
        for row in ordered
    )
    return Table(
        title=_title(cells, theirs),
        has_paper=theirs is not None,
        differs=theirs is not None and any(paper().differences(cell.config) for cell in cells),
        columns=tuple(settings),
        lines=lines,
        ranked=(ranked, len(rivals)),
        notes=tuple(notes_of(cells, score, theirs is not None)),
    )


def _paper_table(cells: Sequence[Placed]) -> PaperTable | None:
    """The paper's table of this data set, where nothing but noise varies from column to column."""
    only_noise = all(len(cell.column.values) == len(NOISE_KEYS) for cell in cells)
    return paper().tables.get(str(cells[0].config["data.dataset"])) if only_noise else None


def _title(cells: Sequence[Placed], theirs: PaperTable | None) -> str:
    dataset, *rest = cells[0].table
    number = f"Table {theirs.number}: " if theirs is not None else ""
    return number + str(dataset[1]) + (f", {shown(tuple(rest))}" if rest else "")


def _entry(cells: Sequence[Placed], row: Row, column: Column, score: Score, theirs: PaperTable | None) -> Entry:
    here = sorted((cell for cell in cells if cell.row == row and cell.column == column), key=lambda cell: cell.seed)
    found = [
        (cell.seed, cell.result.summary[_KEYS[score]])
        for cell in here
        if cell.result is not None and cell.result.summary.get(_KEYS[score]) is not None
    ]
    figure = theirs.accuracy.get(row.method, {}).get(column.noise) if theirs is not None and not row.variant else None
    return Entry(tuple(found), len(here), figure)


def _average_ranks(entries: dict[Row, tuple[Entry, ...]]) -> tuple[dict[Row, float], int]:
    """Mean rank by mean score, ties shared, over the columns in which every row has a figure; and their number."""
    complete = [
        means for column in zip(*entries.values(), strict=True) if None not in (means := [e.mean for e in column])
    ]
    if not complete or len(entries) < 2:
        return {}, 0
    ranks = [[_rank(value, means) for value in means] for means in complete]
    averages = [statistics.fmean(ranks_of_row) for ranks_of_row in zip(*ranks, strict=True)]
    return dict(zip(entries, averages, strict=True)), len(complete)


def _rank(value: float | None, values: Iterable[float | None]) -> float:
    others = [other for other in values if other is not None]
    assert value is not None
    return 1 + sum(other > value for other in others) + (sum(other == value for other in others) - 1) / 2
