"""The drawing of the packages: made from the source, and current."""

import re
from pathlib import Path

import pytest

from tools.architecture import DRAWING, PACKAGE, ROOT, drawing, imports, needed_lines, rows


def test_the_drawing_is_current() -> None:
    assert DRAWING.read_text() == drawing(imports(ROOT / PACKAGE)), "run `python -m tools.architecture`"


def test_the_page_names_files_that_are_there_and_every_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"^\|.*$", page, re.MULTILINE)
    names = [name for row in named for name in re.findall(r"`([\w/]+(?:\.py|/))`", row) if name != f"{PACKAGE}/"]
    assert [name for name in names if not (ROOT / PACKAGE / name).exists()] == []
    parts = {name.split("/")[0].removesuffix(".py") for name in names}
    assert imports(ROOT / PACKAGE).keys() - parts == set()


def test_imports_of_every_form_are_found(tmp_path: Path) -> None:
    source = tmp_path / "house"
    for part in ("cellar", "kitchen", "roof"):
        (source / part).mkdir(parents=True)
        (source / part / "__init__.py").touch()
    (source / "door.py").write_text("def enter():\n    from house import kitchen\n")
    (source / "kitchen" / "stove.py").write_text("import house.cellar.coal\nimport os\n")
    (source / "roof" / "__init__.py").write_text("from house.kitchen.stove import heat\nfrom house.cellar import a\n")
    assert imports(source) == {
        "cellar": set(),
        "door": {"kitchen"},
        "kitchen": {"cellar"},
        "roof": {"kitchen", "cellar"},
    }


def test_what_follows_is_left_out_and_everything_lies_above_what_it_imports() -> None:
    found = {"cellar": frozenset[str](), "kitchen": frozenset({"cellar"}), "roof": frozenset({"kitchen", "cellar"})}
    assert needed_lines(found) == [("kitchen", "cellar"), ("roof", "kitchen")]
    assert rows(found) == [["roof"], ["kitchen"], ["cellar"]]


def test_a_circle_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="circle among cellar, kitchen"):
        rows({"cellar": frozenset({"kitchen"}), "kitchen": frozenset({"cellar"})})
