"""Links of the documentation: every page, heading and file that one leads to is there. No network."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

LINKED = [*PAGES, *sorted((ROOT / "benchmarks").glob("*.md")), ROOT / "CHANGELOG.md"]
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE):
        plain = _LINK.sub("]", heading).replace("[", "").replace("]", "")
        anchor = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        same = sum(other == anchor or other.startswith(f"{anchor}~") for other in found)
        found.add(anchor if not same else f"{anchor}-{same}")
    return found


def broken(page: Path, text: str) -> list[str]:
    """The links of a page's text that lead nowhere."""
    found = []
    for link in _LINK.findall(_FENCE.sub("", text)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (anchor and anchor not in anchors(text if target == page else target.read_text())):
            found.append(link)
    return found


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in LINKED])
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page, page.read_text()) == []


def test_a_link_that_leads_nowhere_is_seen() -> None:
    page = ROOT / "docs" / "guide.md"
    text = "# A title\n[a](#a-title) [b](#no-such-title) [c](no_page.md) [d](audit.md#no-such-title) [e](audit.md)"
    assert broken(page, text) == ["#no-such-title", "no_page.md", "audit.md#no-such-title"]
