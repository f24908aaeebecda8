"""The four forms of a table: what they show, and that a stranger's names stay text."""

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ebomlc_dist.reports.paper_tables import render as module
from ebomlc_dist.reports.paper_tables.render import ENDINGS, latex_text, markdown_text, render
from ebomlc_dist.reports.paper_tables.values import build_tables
from tests.reports.paper_tables.support import MadeUp

HOSTILE = r"<img src=x onerror=alert(1)> | \input{/etc/passwd} $x$ & 50 % `a` [b](javascript:c) </td>"


@pytest.fixture
def made(tmp_path: Path) -> MadeUp:
    store = MadeUp(tmp_path / "store")
    for seed, accuracy in enumerate((89.0, 90.0, 92.0)):
        store.add("ebomlc", accuracy, seeds__seed=seed)
    store.add("ce", 70.0)
    return store


def test_markdown_has_ours_the_papers_and_the_difference(made: MadeUp) -> None:
    text = render(build_tables(made.store), "markdown")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    heading, start = rows[0], [row[0] for row in rows].index("`ebomlc`")
    assert {len(row) for row in rows} == {len(heading)}
    column = heading.index("uniform 40 %")
    assert [row[column] for row in rows[start : start + 3]] == ["90.33 ± 1.53", "89.58", "+0.75"]
    assert rows[start][heading.index("flip 20 %")] == "missing"
    assert rows[start + 2][heading.index("flip 20 %")] == "–"


def test_csv_holds_every_figure_in_full(made: MadeUp) -> None:
    records = list(csv.DictReader(io.StringIO(render(build_tables(made.store), "csv"))))
    found = next(r for r in records if r["method"] == "ebomlc" and r["setting"] == "uniform 40 %")
    assert float(found["mean"]) == pytest.approx(271 / 3, abs=1e-6)
    assert (found["num_seeds"], found["seeds"], found["paper"]) == ("3", "0 1 2", "89.58")
    missing = next(r for r in records if r["method"] == "mlc" and r["setting"] == "uniform 0 %")
    assert (missing["mean"], missing["num_seeds"], missing["paper"]) == ("", "0", "92.76")
    assert len(records) == 10 * 7


class Cells(HTMLParser):
    """Rows of a page's table, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_html_shows_the_same_figures(made: MadeUp) -> None:
    page = Cells()
    page.feed(render(build_tables(made.store), "html"))
    heading, *rows = page.rows
    start = [row[0] for row in rows].index("ebomlc")
    column = heading.index("uniform 40 %")
    assert [row[column] for row in rows[start : start + 3]] == ["90.33 ± 1.53", "89.58", "+0.75"]
    assert "script" not in page.tags


def test_latex_has_a_column_for_every_heading(made: MadeUp) -> None:
    text = render(build_tables(made.store), "latex")
    columns = re.search(r"\\begin\{tabular\}\{(l r*)\}".replace(" ", ""), text)[1]
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") - line.count(r"\&") for line in rows} == {len(columns) - 1}
    assert r"90.33 $\pm$ 1.53" in text
    assert r"uniform 40 \%" in text


@pytest.mark.parametrize("kind", ENDINGS)
def test_hostile_names_stay_text(tmp_path: Path, kind: str) -> None:
    made = MadeUp(tmp_path / "store")
    made.add("ebomlc", 80.0, data__dataset=HOSTILE, model__name=HOSTILE, environment={"devices": [HOSTILE]})
    made.add(HOSTILE, 80.0, data__dataset=HOSTILE, model__name=HOSTILE)
    text = render(build_tables(made.store), kind)
    if kind == "html":
        page = Cells()
        page.feed(text)
        assert "img" not in page.tags
        assert any(HOSTILE in cell for row in page.rows for cell in row)
    elif kind == "latex":
        assert r"\input" not in text
        assert "$x$" not in text
    elif kind == "markdown":
        assert not re.search(r"(?<!\\)<img", text)
        assert not re.search(r"(?<!\\)\]\(", text)
        headings = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
        assert len(headings) == 1
    else:
        assert {record["method"] for record in csv.DictReader(io.StringIO(text))} == {"ebomlc", HOSTILE}


def test_without_escaping_they_would_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above."""
    made = MadeUp(tmp_path / "store")
    made.add(HOSTILE, 80.0, data__dataset="digits")
    monkeypatch.setattr(module, "latex_text", str)
    assert r"\input" in render(build_tables(made.store), "latex")
    original = module.templates_of
    monkeypatch.setattr(module, "templates_of", lambda *names, **o: original(*names, **(o | {"autoescape": False})))
    page = Cells()
    page.feed(render(build_tables(made.store), "html"))
    assert "img" in page.tags


def test_escapers() -> None:
    assert latex_text("a_b & 5 % \\x\n") == r"a\_b \& 5 \% \textbackslash{}x?"
    assert markdown_text("a|b_c _d_\ne") == r"a\|b_c \_d\_ e"
