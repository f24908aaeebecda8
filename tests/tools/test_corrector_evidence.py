"""The grid of EBOMLC-S's evidence, and the comparison that is made of what it leaves."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from benchmarks.corrector import report, scores_of
from ebomlc_dist.keys import plain
from ebomlc_dist.recipes import recipe
from ebomlc_dist.recipes.assemble import Request, resolve
from ebomlc_dist.recipes.config_file import read_config_file

GRIDS = sorted((Path(__file__).parents[2] / "benchmarks" / "grids").glob("corrector*.yaml"))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.name)
def test_every_cell_of_the_grid_is_a_run(path: Path) -> None:
    """With its first recipe; the others are there."""
    for part in read_config_file(path)["parts"]:
        assert all(recipe(name) for name in part["recipes"])
        over = part.get("over", {})
        combinations = [dict(zip(over, values, strict=True)) for values in product(*over.values())]
        for case, combination in product(part.get("cases", [{}]), combinations):
            values = part.get("set", {}) | case | combination
            texts = tuple(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in values.items())
            for run in resolve(Request(recipe=part["recipes"][0], methods=tuple(part["methods"]), assignments=texts)):
                for key, value in values.items():
                    found = plain(run.config).get(key)
                    assert str(found) == str(value) or float(found) == float(value)


def cell(method: str, seed: int, score: float, recipe: str = "cifar10-quick-flip40", **changes: Any) -> dict[str, Any]:
    (run,) = resolve(Request(recipe=recipe, methods=(method,)))
    config = plain(run.config) | {"seeds.seed": seed, **{f"method.{key}": value for key, value in changes.items()}}
    return {"config": config, "summary": {"accuracy_last": score}}


def test_pairs_are_runs_of_one_setting_and_seed() -> None:
    base, better = [40.0, 42.0, 41.0], [45.0, 46.0, 48.0]
    cells = [cell("ebomlc", seed, score) for seed, score in enumerate(base)]
    cells += [cell("ebomlc-s", seed, score, settings="fixed") for seed, score in enumerate(better)]
    cells += [cell("ebomlc-s", 7, 30.0)]  # no pair
    scores = scores_of(cells)
    assert set(scores) == {"ebomlc", "ebomlc-s", "ebomlc-s settings=fixed"}
    text = report(scores, "ebomlc")
    p = float(stats.ttest_rel(better, base).pvalue)
    row = next(line for line in text.splitlines() if "settings=fixed" in line)
    assert row == f"| `ebomlc-s settings=fixed` | 3 | 46.33 | 1.53 | 3 | +5.33 | 1.53 | {p:.3f} |"
    assert "| `ebomlc-s` | 1 | 30.00 | – | 0 | – | – | – |" in text
    with pytest.raises(SystemExit, match="no run of 'mlc'"):
        report(scores, "mlc")
