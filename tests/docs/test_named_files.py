"""Pages and modules that are pointed to are there."""

import ast
import re
from functools import cache
from pathlib import Path

from tests.docs.pages import PAGES, ROOT

_NAMED = re.compile(r"(?<![\w/.-])((?:docs/)?[a-z_]+\.md)\b")
_MODULE = re.compile(r"(?<!`)`(ebomlc_dist(?:\.\w+)+)`(?!`)")
WRITTEN = {"tables.md", "index.md"}
"""Pages that a command writes: of tables, and the home of the site."""


def missing_pages(text: str) -> list[str]:
    """Pages named in a text that lie neither in the root nor in docs/ nor in benchmarks/."""
    places = (ROOT, ROOT / "docs", ROOT / "benchmarks")
    named = [name for name in _NAMED.findall(text) if name not in WRITTEN]
    return [name for name in named if not any((place / name).is_file() for place in places)]


def missing_modules(text: str) -> list[str]:
    """Dotted names of ours in backquotes of which no module, nor a name that it defines, is there."""
    return [name for name in _MODULE.findall(text) if not _is_there(tuple(name.split(".")))]


@cache
def _is_there(parts: tuple[str, ...]) -> bool:
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        if place.is_dir() and length == len(parts):
            return True
        source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if source.is_file():
            return length == len(parts) or parts[length] in _defined(source)
    return False


def _defined(source: Path) -> set[str]:
    names: set[str] = set()
    body = ast.parse(source.read_text()).body
    # What is imported for type checkers alone is a lazy name of the module.
    for node in [*body, *(inner for block in body if isinstance(block, ast.If) for inner in block.body)]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            names |= {name.asname or name.name for name in node.names}
    return names


def test_what_is_pointed_to_is_there() -> None:
    sources = [*PAGES, *(path for place in ("ebomlc_dist", "tools") for path in sorted((ROOT / place).rglob("*.py")))]
    assert len(sources) > 100
    found = {str(path.relative_to(ROOT)): path.read_text() for path in sources}
    missing = {name: missing_pages(text) + missing_modules(text) for name, text in found.items()}
    assert {name: names for name, names in missing.items() if names} == {}


def test_what_is_not_there_is_seen() -> None:
    assert missing_pages("see equations.md, docs/method.md and docs/riddles.md") == ["equations.md", "docs/riddles.md"]
    text = "`ebomlc_dist.numerics.network.gradients`, `ebomlc_dist.numerics.flat.gradients`, `ebomlc_dist.cli.none`"
    assert missing_modules(text) == ["ebomlc_dist.numerics.flat.gradients", "ebomlc_dist.cli.none"]


def texts(source: str) -> list[str]:
    """The strings of a module but its docstrings."""
    tree = ast.parse(source)
    documented = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [str(node.value) for node in constants if node not in documented]


_UNPACKAGED = re.compile(r"\b(launch_configs|docs|tools|tests|benchmarks)/")


def test_messages_name_no_file_that_is_not_installed() -> None:
    package = ROOT / "ebomlc_dist"
    named = {
        str(path.relative_to(ROOT)): [text for text in texts(path.read_text()) if _UNPACKAGED.search(text)]
        for path in sorted(package.rglob("*.py"))
    }
    assert {name: found for name, found in named.items() if found} == {}
    assert [
        text for text in texts('"""see docs/x"""\nraise E(f"take launch_configs/x {1}")') if _UNPACKAGED.search(text)
    ]
