"""The computed tables of docs/scaling.md: what the tools print, figure by figure."""

import re
from collections.abc import Callable

import pytest

from tests.docs.pages import ROOT
from tools.forecast import run as forecast
from tools.strategies.__main__ import run as strategies

PAGE = ROOT / "docs" / "scaling.md"
Tool = Callable[[list[str]], int]


def tables(text: str) -> list[list[list[str]]]:
    """Every Markdown table of a page: its rows of cells, headings first."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if not line.startswith("|"):
            found.append([])
        elif not line.startswith("|---"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows for rows in found if rows]


def printed(tool: Tool, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    assert tool([]) == 0
    return [re.split(" {2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("tool", [strategies, forecast], ids=["memory", "forecast"])
def test_the_page_has_what_the_tool_prints(tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(tool, capsys)
    assert len(rows) > 3
    assert rows in tables(PAGE.read_text())


def test_one_digit_makes_a_difference(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(forecast, capsys)
    changed = PAGE.read_text().replace("| 208.9 |", "| 208.8 |")
    assert changed != PAGE.read_text()
    assert rows not in tables(changed)
