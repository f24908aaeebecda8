"""Plain words, as far as a machine can tell: short sentences, and no phrase that needs a second reading."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

LONGEST = 24
# Pages made by a tool are read as tables.
MADE = {"options.md", "api.md"}
# Sentences beyond the limit that a page may still have; lower it whenever a page gets better.
CEILING: dict[str, int] = {}
FORBIDDEN = (
    "as printed", "are to be had", "who asks for", "was meant for", "one and the same", "called issues", "indeed",
    "mend or remove", "meant to be typed", "nobody can tell", "to be typed", "asks the trusted images",
)  # fmt: skip
_ITEM = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )")
_END = re.compile(r"(?<=[.?!:])[*)\"]*\s+(?=[*(\[`\"A-ZΑ-Ω0-9])|:$")


def sentences(text: str) -> list[str]:
    """The sentences of a page's prose. Code in a sentence is one word; an equation or a table is no prose."""
    prose = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "CODE", _without_code(text)))
    return [part.strip() for item in _ITEM.split(prose) for part in _END.split(" ".join(item.split())) if part.strip()]


def _without_code(text: str) -> str:
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^(?: {4}|\|).*$|^#.*$", "", text, flags=re.MULTILINE)


def too_long(text: str) -> list[str]:
    """Sentences of more words than a reader in a hurry takes in at once."""
    return [sentence for sentence in sentences(text) if len(re.findall(r"\w[\w.,%’'\-–/]*", sentence)) > LONGEST]


MEASUREMENTS = sorted((ROOT / "benchmarks").glob("*.md"))
PROSE = [
    pytest.param(page, id=str(page.relative_to(ROOT))) for page in [*PAGES, *MEASUREMENTS] if page.name not in MADE
]


@pytest.mark.parametrize("page", PROSE)
def test_sentences_are_short(page: Path) -> None:
    found = too_long(page.read_text())
    assert len(found) <= CEILING.get(page.name, 0), found


@pytest.mark.parametrize("page", PROSE)
def test_no_riddles(page: Path) -> None:
    prose = " ".join(sentences(page.read_text())).lower()
    assert [phrase for phrase in FORBIDDEN if phrase in prose] == []


def test_the_readme_fits_on_two_screens() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_corrector_is_a_page_not_a_notebook() -> None:
    words = [word for word in (ROOT / "docs" / "corrector.md").read_text().split() if word.strip("|-")]
    assert len(words) <= 1200


def test_a_long_sentence_is_seen() -> None:
    words = " ".join(["word"] * 25)
    assert too_long(f"A short one. The {words}.\n\n| {words} |\n\n```\n{words}\n```\n") == [f"The {words}."]
    assert too_long(f"- `{words}` is code\n- {words}") == [f"- {words}"]
