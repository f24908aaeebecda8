"""From a grid to its cells: what a file may say, keys, order, and the grids with names."""

import json
from pathlib import Path

import pytest

from ebomlc_dist.config import RunConfig
from ebomlc_dist.errors import InputError
from ebomlc_dist.keys import deciding, nest
from ebomlc_dist.methods import METHODS
from ebomlc_dist.recipes import recipe
from ebomlc_dist.recipes.settings import Setting
from ebomlc_dist.sweeps.cells import cells_of, key_of
from ebomlc_dist.sweeps.grid import Grid, Part, grid_from
from ebomlc_dist.sweeps.grid_file import load_grid
from ebomlc_dist.sweeps.grids import GRIDS, find_store
from tests.sweeps.support import small_cells, small_grid

YAML = """
summary: learning rates
parts:
  - recipes: [digits]
    methods: ebomlc,ce
    seeds: [0, 1]
    set: {train.epochs: 3}
    over: {optim.main_lr: [0.02, 0.05]}
    cases:
      - {noise.kind: uniform, noise.rate: 0.2}
      - {noise.kind: flip, noise.rate: 0.4}
"""


def test_a_yaml_grid(tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text(YAML)
    grid = load_grid(str(path))
    assert grid.name == "rates"
    cells = cells_of(grid)
    assert len(cells) == len({cell.key for cell in cells}) == 2 * 2 * 2 * 2
    assert {cell.config.optim.main_lr for cell in cells} == {0.02, 0.05}
    assert {(cell.config.noise.kind, cell.config.noise.rate) for cell in cells} == {("uniform", 0.2), ("flip", 0.4)}
    assert {cell.config.train.epochs for cell in cells} == {3}
    assert cells[0].name == "ebomlc digits noise.kind=flip noise.rate=0.4 optim.main_lr=0.02 seed 0"


def test_a_python_grid_is_run_and_is_the_same(tmp_path: Path) -> None:
    yaml, python = tmp_path / "rates.yaml", tmp_path / "rates.py"
    yaml.write_text(YAML)
    python.write_text(
        "def grid():\n"
        "    part = {'recipes': ['digits'], 'methods': ['ebomlc', 'ce'], 'seeds': [0, 1], 'set': {'train.epochs': 3},\n"
        "            'over': {'optim.main_lr': [0.02, 0.05]},\n"
        "            'cases': [{'noise.kind': k, 'noise.rate': r} for k, r in (('uniform', 0.2), ('flip', 0.4))]}\n"
        "    return {'parts': [part]}\n"
        "def other():\n"
        "    return {'recipes': 'digits'}\n"
    )
    python.chmod(0o644)
    assert [cell.key for cell in cells_of(load_grid(str(python)))] == [
        cell.key for cell in cells_of(load_grid(str(yaml)))
    ]
    assert len(cells_of(load_grid(f"{python}:other"))) == len(recipe("digits").methods)


def test_a_python_grid_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grid.py"
    path.write_text("raise SystemExit('it was run')\n")
    path.chmod(0o666)
    with pytest.raises(InputError, match="others may write"):
        load_grid(str(path))


def test_a_python_grid_by_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_grids_of_test.py").write_text("def lr():\n    return {'recipes': ['digits'], 'methods': ['ce']}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert len(cells_of(load_grid("my_grids_of_test:lr"))) == 1
    with pytest.raises(InputError, match="cannot be imported"):
        load_grid("no_such_module:lr")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({}, "recipes"),
        ({"recipes": []}, "recipes"),
        ({"recipes": ["digits"], "seed": [1]}, "seed: is no key of a grid; known: recipes"),
        ({"recipes": ["digits"], "seeds": [-1]}, "seeds"),
        ({"recipes": ["digits"], "over": {"optim.main_lr": []}}, "over"),
        ({"parts": [{"recipes": ["digits"]}], "seeds": [1]}, "beside parts"),
        (["digits"], "mapping"),
    ],
)
def test_what_is_no_grid_is_said_in_one_line(value: object, line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        grid_from(value, "my.yaml", "my")
    assert str(caught.value).startswith("my.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"recipes": ["digitz"]}, "unknown recipe 'digitz'"),
        ({"methods": ["ebomlk"]}, "unknown method 'ebomlk'"),
        ({"set": {"optim.main_lrr": 1}}, "did you mean 'optim.main_lr'"),
        ({"over": {"noise.rate": ["much"]}}, "noise.rate = 'much' .grid small."),
        ({"set": {"optim.main_optimizer": "adam"}, "methods": ["ebomlc"]}, "does not go with ebomlc"),
    ],
)
def test_a_cell_that_cannot_be_run_is_refused_before_any(changes: dict, line: str) -> None:
    with pytest.raises(InputError, match=line):
        cells_of(small_grid(1, **changes))


def test_keys_follow_what_decides_the_result_alone() -> None:
    before = {cell.key for cell in small_cells()}
    elsewhere = (Setting("data.data_dir", "/elsewhere", "--data-dir"),)
    assert {cell.key for cell in cells_of(small_grid(1), elsewhere)} == before
    longer = (Setting("train.epochs", "3", "--set"),)
    assert {cell.key for cell in cells_of(small_grid(1), longer)}.isdisjoint(before)
    assert all("data.data_dir" not in cell.flat for cell in small_cells())


STORED = sorted((Path(__file__).parents[2] / "benchmarks").glob("**/cells/*.json"))


def test_every_stored_cell_is_found_again_under_its_name() -> None:
    """Its configuration, read as one of today's, has the key that it is stored under."""
    assert len(STORED) > 200
    for path in STORED:
        config = json.loads(path.read_text())["config"]
        assert key_of(deciding(RunConfig.model_validate(nest(config)))) == path.stem, path


def test_a_younger_key_that_is_set_makes_another_cell() -> None:
    config = RunConfig.model_validate(nest(json.loads(STORED[0].read_text())["config"]))
    other = config.model_copy(update={"data": config.data.model_copy(update={"pad_mode": "reflect"})})
    assert deciding(other) == deciding(config) | {"data.pad_mode": "reflect"}


def test_the_key_of_a_known_cell_stays() -> None:
    """A store outlives the program's version: other keys would make it run everything again."""
    assert key_of({"a": 1, "b": [0.1, None], "ü": "x"}) == "ccd7310aa7ee7689610d"
    assert key_of({"ü": "x", "b": [0.1, None], "a": 1}) == key_of({"a": 1, "b": [0.1, None], "ü": "x"})


def test_a_cell_stands_once_and_overrides_win() -> None:
    twice = grid_from({"parts": [{"recipes": ["digits"], "methods": ["ce"]}] * 2}, "x", "x")
    (cell,) = cells_of(twice, (Setting("train.epochs", "7", "--set"),))
    assert cell.config.train.epochs == 7


def test_the_most_telling_cells_come_first() -> None:
    cells = cells_of(GRIDS["paper"])
    assert len(cells) == 14 * (12 + 1) * 3
    first = [
        (c.config.method.name, c.config.data.dataset, c.config.noise.kind, c.config.noise.rate) for c in cells[:20]
    ]
    assert [name for name, *_ in first[:4]] == ["ebomlc", "mlc", "glc", "ce"]
    assert {rest for _, *rest_ in first for rest in [tuple(rest_)]} == {
        (dataset, kind, 0.4) for dataset in ("cifar10", "cifar100") for kind in ("uniform", "flip")
    }
    seeds = [cell.config.seeds.seed for cell in cells]
    assert seeds == sorted(seeds)
    assert {cell.config.method.name for cell in cells[: 14 * (4 + 1)]} == {"ebomlc", "mlc", "glc", "ce"}


def test_named_grids_can_be_run() -> None:
    quick = cells_of(GRIDS["paper-quick"])
    assert len(quick) == 7 * (len(METHODS) + 1) * 3
    assert len({cell.name for cell in quick}) == len(quick), "two cells of one name"
    for grid in ("paper", "paper-quick"):
        labelled = [cell for cell in cells_of(GRIDS[grid]) if cell.flat.get("method.clean_images") == "labelled"]
        assert {cell.config.method.name for cell in labelled} == {"ce"}, grid
    tiny = cells_of(GRIDS["paper-tiny"])
    assert len(tiny) == 7 * 12 * 2
    assert {cell.config.data.dataset for cell in tiny} == {"digits"}
    with pytest.raises(InputError, match="did you mean 'paper'"):
        load_grid("papr")


def test_a_grid_in_python_is_the_same_value() -> None:
    grid = Grid(name="g", parts=(Part(recipes=("digits",), methods=("ce",)),))
    assert grid_from(grid, "x", "y") is grid


def test_a_store_is_found_by_its_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps" / "rates" / "grids").mkdir(parents=True)
    for word in ("rates", "rates.yaml", "sweeps/rates", "elsewhere/rates.py"):
        assert find_store(word) == Path("sweeps/rates")
    with pytest.raises(InputError, match="no store"):
        find_store("paper")
