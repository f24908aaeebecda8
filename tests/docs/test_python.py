"""Python blocks of the documentation: every import is there, and the modules of docs/extending.md do what it says."""

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from ebomlc_dist.config import DataConfig
from tests.docs.pages import PAGES, ROOT

_FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block, id=f"{page.name}:{n}")
    for page in PAGES
    for n, block in enumerate(_FENCE.findall(page.read_text()))
]


def unknown(block: str) -> list[str]:
    """Names of ours that a block imports and that are not there. A block may be a row of a table, too."""
    try:
        tree = ast.parse(block)
    except SyntaxError:
        tree = ast.parse(f"{{{block}}}")
    missing = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ebomlc_dist"):
            module = importlib.import_module(str(node.module))
            missing += [f"{node.module}.{name.name}" for name in node.names if not hasattr(module, name.name)]
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("ebomlc_dist"):
                    importlib.import_module(name.name)
    return missing


@pytest.mark.parametrize("block", BLOCKS)
def test_what_is_imported_is_there(block: str) -> None:
    assert unknown(block) == []


def test_what_is_not_there_is_seen() -> None:
    assert unknown("from ebomlc_dist.numerics.flat import nothing_of_the_kind") == [
        "ebomlc_dist.numerics.flat.nothing_of_the_kind"
    ]


def module(page: Path, beginning: str) -> dict[str, Any]:
    """The names of the page's module that begins so."""
    (block,) = [block for block in _FENCE.findall(page.read_text()) if block.startswith(f'"""{beginning}')]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block, str(page), "exec"), names)  # noqa: S102 (our own page)
    return names


def test_the_modules_of_extending() -> None:
    page = ROOT / "docs" / "extending.md"
    names = module(page, "Soft bootstrapping")
    method = names["Bootstrap"](names["BootstrapConfig"](name="own", trust=0.5))
    logits = torch.tensor([[0.0, 0.0]])
    target = method.corrected_probabilities({}, logits, logits, torch.tensor([1]))
    assert target.tolist() == [[0.25, 0.75]]
    logits, features = module(page, "A perceptron")["perceptron"](10, 1)(torch.zeros(3, 1, 8, 8))
    assert (logits.shape, features.shape) == ((3, 10), (3, 128))
    source = module(page, "Stripes")["load"](DataConfig())
    assert (len(source.images), len(source.test_images)) == (1000, 200)
