"""Tables as Markdown, LaTeX, CSV and HTML, each with an escaper of its own: names in a store may be a stranger's."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import Environment

from ebomlc_dist.pages.templating import templates_of
from ebomlc_dist.reports.paper_tables.values import Entry, Line, Table

Format = Literal["markdown", "latex", "csv", "html"]
ENDINGS: dict[Format, str] = {"markdown": "md", "latex": "tex", "csv": "csv", "html": "html"}
MISSING = "missing"
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
}
# An underscore within a word is no markup.
_MARKDOWN = re.compile(r"([\\`*{}\[\]<>|#&~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


@dataclass(frozen=True)
class TextRow:
    """A row as text: ``kind`` is ``ours``, ``paper`` or ``difference``."""

    kind: str
    label: str
    cells: tuple[str, ...]
    rank: str
    time: str


def render(tables: Sequence[Table], kind: Format) -> str:
    """All tables as one text."""
    return _WRITERS[kind](tables)


def text_rows(table: Table) -> list[TextRow]:
    """The rows as text: ours, and where the paper has the method, its figures and the differences below."""
    rows = []
    for line in table.lines:
        rows.append(
            TextRow(
                "ours",
                line.row.label,
                tuple(_ours(entry) for entry in line.entries),
                _number(line.rank, MISSING if _is_ranked(table, line) else "–"),
                f"{line.time.ratio:.2f}" if line.time is not None else MISSING,
            )
        )
        if any(entry.paper is not None for entry in line.entries):
            theirs = tuple(_number(entry.paper, "–") for entry in line.entries)
            rows.append(TextRow("paper", "paper", theirs, _number(line.paper_rank, "–"), "–"))
            differences = tuple(_signed(entry.difference) for entry in line.entries)
            rows.append(TextRow("difference", "difference", differences, "", ""))
    return rows


def rank_heading(table: Table) -> str:
    """Says over how many columns the ranks are."""
    columns, methods = table.ranked
    return f"avg. rank of {methods} over {columns} of {len(table.columns)}" if columns else "avg. rank"


def latex_text(value: Any) -> str:
    """A text that LaTeX prints as it stands, whatever it holds."""
    return "".join(_LATEX.get(c, c if c.isprintable() else "?") for c in str(value))


def markdown_text(value: Any) -> str:
    """A text that Markdown shows as it stands, in a table too."""
    return _MARKDOWN.sub(r"\\\1", "".join(c if c.isprintable() else " " for c in str(value)))


def _ours(entry: Entry) -> str:
    if entry.mean is None:
        return MISSING
    spread = "" if entry.deviation is None else f" ± {entry.deviation:.2f}"
    part = f" ({len(entry.scores)} of {entry.expected} seeds)" if len(entry.scores) < entry.expected else ""
    return f"{entry.mean:.2f}{spread}{part}"


def _is_ranked(table: Table, line: Line) -> bool:
    return not table.has_paper or line.paper_rank is not None


def _number(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def _markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        headings = ["method", *(column.label for column in table.columns), rank_heading(table), "time / ce"]
        lines = [f"### {markdown_text(table.title)}", ""]
        lines += ["| " + " | ".join(map(markdown_text, headings)) + " |", "|---" * len(headings) + "|"]
        for row in text_rows(table):
            label = f"`{row.label}`" if row.kind == "ours" and _is_plain(row.label) else markdown_text(row.label)
            lines.append("| " + " | ".join([label, *map(markdown_text, (*row.cells, row.rank, row.time))]) + " |")
        parts.append("\n".join([*lines, "", *(f"- {markdown_text(note)}" for note in table.notes), ""]))
    return "\n".join(parts)


def _is_plain(label: str) -> bool:
    return re.fullmatch(r"[a-z0-9-]+", label) is not None


def _csv(tables: Sequence[Table]) -> str:
    """One row an entry, for programs: names as they are, numbers in full."""
    records = [record for table in tables for record in _records(table)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _records(table: Table) -> Iterator[dict[str, Any]]:
    for line in table.lines:
        for column, entry in zip(table.columns, line.entries, strict=True):
            yield {
                "table": table.title,
                "method": line.row.label,
                "setting": column.label,
                "mean": _exact(entry.mean),
                "standard_deviation": _exact(entry.deviation),
                "num_seeds": len(entry.scores),
                "expected_seeds": entry.expected,
                "seeds": " ".join(str(seed) for seed, _ in entry.scores),
                "paper": _exact(entry.paper),
                "difference": _exact(entry.difference),
                "average_rank": _exact(line.rank),
                "paper_average_rank": _exact(line.paper_rank),
                "time_over_ce": _exact(line.time.ratio if line.time else None),
                "device": line.time.device if line.time else "",
                "settings_differ_from_paper": str(table.differs).lower() if table.has_paper else "",
            }


def _exact(value: float | None) -> str:
    return "" if value is None else repr(round(value, 6))


def _latex(tables: Sequence[Table]) -> str:
    environment = templates_of(
        __package__,
        variable_start_string="((",
        variable_end_string="))",
        block_start_string="((*",
        block_end_string="*))",
        comment_start_string="((#",
        comment_end_string="#))",
        finalize=latex_text,
    )
    return _filled(environment, "tables.tex.j2", tables)


def _html(tables: Sequence[Table]) -> str:
    return _filled(templates_of(__package__, autoescape=True), "tables.html.j2", tables)


def _filled(environment: Environment, template: str, tables: Sequence[Table]) -> str:
    rows: Callable[[Table], list[TextRow]] = text_rows
    return environment.get_template(template).render(tables=tables, rows=rows, rank_heading=rank_heading)


_WRITERS: dict[Format, Callable[[Sequence[Table]], str]] = {
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "html": _html,
}
