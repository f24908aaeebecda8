"""Pages of the documentation's site that lie outside ``docs/``: the README as its home, and the measurements.

Links in Markdown are written for a reader of the repository. On the site they lead to the same pages; a link to a file
that is no page, such as a script, becomes text.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside ``docs/``."""
    for path in outside():
        files.append(File.generated(config, site_path(path), content=(ROOT / path).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Return a page with the links of the site."""
    shown = page.file.src_uri
    source = next((path for path in outside() if site_path(path) == shown), f"docs/{shown}")

    def moved(match: re.Match[str]) -> str:
        text, link = match.groups()
        path, mark, anchor = link.partition("#")
        if not path or "://" in link:
            return match.group()
        target = site_path(posixpath.normpath(posixpath.join(posixpath.dirname(source), path)))
        if files.get_file_from_path(target) is None:
            return text if (ROOT / posixpath.dirname(source) / path).exists() else match.group()
        begin = "!" if match.group().startswith("!") else ""
        return f"{begin}[{text}]({posixpath.relpath(target, posixpath.dirname(shown) or '.')}{mark}{anchor})"

    return _IMAGE.sub(moved, _LINK.sub(moved, markdown))


def outside() -> list[str]:
    """Return the pages outside ``docs/``, by their paths in the repository."""
    return ["README.md", *sorted(f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.md"))]


def site_path(path: str) -> str:
    """Return where a file of the repository lies on the site."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")
