"""The map of the package and of the loop say what is there."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import ebomlc_dist
from ebomlc_dist import engine

ROOT = Path(ebomlc_dist.__file__).parent
# One recipe, data set and verb of the same name: the folder says which.
PLAIN_BY_FOLDER = {"cifar.py", "digits.py", "features.py", "folder.py", "flags.py"}
_COLUMN = 55


def parts_on_the_map(text: str) -> set[str]:
    """The names before a colon in a list's lines, and whatever stands without one."""
    found: set[str] = set()
    for line in text.splitlines():
        if line.startswith("- "):
            for piece in line[2:].split("; "):
                found |= set(re.findall(r"``(\w+)``", piece.split(":")[0]))
    return found


def test_the_map_names_every_folder_and_nothing_else() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    files = {path.stem for path in ROOT.glob("*.py")} - {"__init__"}
    named = parts_on_the_map(ebomlc_dist.__doc__ or "")
    assert folders <= named <= folders | files


def places_of_the_loop(text: str) -> list[str]:
    """The names in the right column."""
    lines = [line[_COLUMN:].strip() for line in text.splitlines() if line.startswith("    ")]
    return [name for line in lines if line for name in line.split(", ")]


def is_there(name: str) -> bool:
    """Whether a module of the engine or of the package has it, or is it."""
    for root in (ROOT / "engine", ROOT):
        module, _, attribute = name.rpartition(".")
        if root.joinpath(*name.split(".")).with_suffix(".py").is_file():
            return True
        source = root.joinpath(*module.split(".")).with_suffix(".py")
        if module and source.is_file():
            names = {getattr(node, "name", None) for node in ast.parse(source.read_text(encoding="utf-8")).body}
            return attribute in names
    return False


def test_the_loop_names_what_is_there() -> None:
    places = places_of_the_loop(engine.__doc__ or "")
    assert len(places) >= 12
    assert [name for name in places if not is_there(name)] == []


@pytest.mark.parametrize("name", ["preflight.load_nowhere", "epoch.begin_epoch", "data.loaders.pairs"])
def test_what_is_not_there_is_seen(name: str) -> None:
    assert not is_there(name)


def test_no_file_name_occurs_twice() -> None:
    names = Counter(path.name for path in ROOT.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))
    assert {name for name, count in names.items() if count > 1} <= PLAIN_BY_FOLDER
