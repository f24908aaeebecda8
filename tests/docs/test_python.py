"""Python blocks of the documentation run: a page's blocks in their order, as one session in one folder.

A block after ``<!-- file: NAME -->`` is a file that the reader saves. Names that a page leaves to the reader, such as
his images, are given here.
"""

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import ebomlc_dist
from ebomlc_dist import plugins
from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.datasets import DATASETS, load_source
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.methods import METHODS
from ebomlc_dist.models import MODELS, build_main_model
from ebomlc_dist.recipes import suited
from ebomlc_dist.testing import check_method
from tests.docs.pages import PAGES, ROOT
from tests.support.runs import alone, tiny_config

_FENCE = re.compile(r"(?:^<!-- file: (\S+) -->\n)?^```(?:python|py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Made by a tool: its blocks are signatures.
MADE = {"api.md"}
EXTENDING = ROOT / "docs" / "extending.md"


class Block(NamedTuple):
    """The text of a block, and the file that it is, if any."""

    file: str
    text: str


def blocks(text: str) -> list[Block]:
    """The Python blocks of a page, in their order."""
    return [Block(*found) for found in _FENCE.findall(text)]


def images_and_labels(folder: Path) -> dict[str, Any]:
    """Sixty digits under their labels, a third of them trusted, and the run that a page opens."""
    found = load_digits()
    images, labels = (found.images * 255 / 16).astype(np.uint8)[:60], found.target[:60]
    trusted = np.arange(20)
    ebomlc_dist.fit(images, labels, trusted, method="ce", epochs=1, output_dir=folder / "runs" / "mine", quiet=True)
    return {
        "images": images,
        "labels": labels,
        "trusted": trusted,
        "new_images": images[:3],
        "test_images": images,
        "test_labels": labels,
    }


def a_training(folder: Path) -> dict[str, Any]:
    config = tiny_config("ce")
    return {"config": config, "dataset": load_everywhere(config, alone()), "runtime": alone()}


def a_store(folder: Path) -> dict[str, Any]:
    shutil.copytree(ROOT / "benchmarks" / "paper-quick", folder / "sweeps" / "paper-tiny")
    return {}


GIVEN: dict[str, Callable[[Path], dict[str, Any]]] = {
    "README.md": images_and_labels,
    "guide.md": images_and_labels,
    "extending.md": images_and_labels,
    "step.md": a_training,
    "sweeps.md": a_store,
}
"""What a page leaves to the reader."""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], dict[str, Any]]]:
    """Run a page's blocks in an empty folder, and return the names that they leave."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    # As short as `fit` allows: what is told is what a long run tells.
    monkeypatch.setattr(suited, "_EPOCHS", (1, 2))
    known = set(sys.modules)

    def run(page: Path) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "__main__", **GIVEN.get(page.name, lambda folder: {})(tmp_path)}
        for file, text in blocks(page.read_text()):
            if file:
                (tmp_path / file).write_text(text)
            else:
                exec(compile(text, f"{page.name}: {text.splitlines()[0]}", "exec"), names)  # noqa: S102 (our own page)
        return names

    yield run
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


WITH_BLOCKS = [page for page in PAGES if page.name not in MADE and blocks(page.read_text())]


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in WITH_BLOCKS if page != EXTENDING])
def test_blocks_run(page: Path, session: Callable[[Path], dict[str, Any]]) -> None:
    names = session(page)
    if page.name == "guide.md":
        assert isinstance(names["run"], ebomlc_dist.TrainedRun)
        assert names["run"].folder == Path("runs/notebook")


def test_what_extending_adds_works(
    session: Callable[[Path], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a plug-in's names, and as rows of the registries."""
    names = session(EXTENDING)
    assert names["run"].summary["method"] == "bootstrap:Bootstrap"
    method = names["Bootstrap"](names["Bootstrap"].Config(name="own", trust=0.5))
    logits = torch.tensor([[0.0, 0.0]])
    assert method.corrected_probabilities({}, logits, logits, torch.tensor([1])).tolist() == [[0.25, 0.75]]
    plugins.named_by_a_person("stripes:load", "perceptron:perceptron")
    source = load_source(DataConfig(dataset="stripes:load"))
    assert (len(source.images), len(source.test_images)) == (1000, 200)
    as_plug_in = build_main_model("perceptron:perceptron", num_classes=10, in_channels=1, norm="batch")

    # A contribution is the same file in the package, with the line that the page names.
    line = 'name: Literal["bootstrap"] = "bootstrap"'
    assert f"`{line}`" in EXTENDING.read_text()
    text = (tmp_path / "bootstrap.py").read_text().replace("    trust: float", f"    {line}\n    trust: float")
    (tmp_path / "bootstrap.py").write_text(text.replace("import ClassVar", "import ClassVar, Literal"))
    for place, registry in (("methods", METHODS), ("models", MODELS), ("data.datasets", DATASETS)):
        rows = names[place.rpartition(".")[2].upper()]
        for name, row in rows.items():
            monkeypatch.setitem(registry, name, row)
            sys.modules.pop(name, None)
            monkeypatch.setitem(sys.modules, f"ebomlc_dist.{place}.{name}", __import__(name))
    check_method("bootstrap", trust=0.5)
    row = names["ROWS"]["perceptron"]
    model = build_main_model("perceptron", num_classes=10, in_channels=row.images[0], norm="batch")
    assert model(torch.zeros(3, *row.images))[1].shape == (3, row.feature_dim)
    assert sum(value.numel() for value in model.parameters()) == row.parameters
    assert [value.shape for value in as_plug_in.parameters()] == [value.shape for value in model.parameters()]


def test_what_a_method_may_ask_for_is_there() -> None:
    """The table names attributes of the contract."""
    from ebomlc_dist.methods import contract

    named = re.findall(r"^\| `(\w+)\.(\w+)` \|", EXTENDING.read_text(), re.MULTILINE)
    assert len(named) >= 9
    assert [f"{owner}.{name}" for owner, name in named if not hasattr(getattr(contract, owner), name)] == []


def test_a_block_that_fails_is_seen(session: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- file: mine.py -->\n```python\nX = 1\n```\n\n```python\nimport mine\nassert mine.X == 2\n```\n"
    )
    assert blocks(page.read_text()) == [("mine.py", "X = 1\n"), ("", "import mine\nassert mine.X == 2\n")]
    with pytest.raises(AssertionError):
        session(page)
