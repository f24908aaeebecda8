"""The commands that the documentation tells people to type."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEREDOC = re.compile(r"<<'(\w+)'\n.*?^\1$", re.MULTILINE | re.DOTALL)
_ENDS = {"&&", "||", "|", ";", "&"}


def blocks(page: Path) -> list[str]:
    """The shell blocks of a page, in their order."""
    return _FENCE.findall(page.read_text())


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command in the page's blocks, its program first and without a path."""
    for block in blocks(page):
        text = _HEREDOC.sub("", block).replace("\\\n", " ")
        for line in text.splitlines():
            yield from _split(_words(line))


def _words(line: str) -> list[str]:
    reader = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    reader.whitespace_split = True
    reader.commenters = "#"
    return list(reader)


def _split(words: list[str]) -> Iterator[list[str]]:
    found: list[str] = []
    for word in [*words, ";"]:
        if word not in _ENDS:
            found.append(word)
        elif found:
            yield [Path(found[0]).name or found[0], *found[1:]]
            found = []
