"""Paired comparisons from a sweep's store: ``python benchmarks/corrector.py STORE [--baseline VARIANT]``.

A store holds one JSON file a cell, ``STORE/cells/*.json``, with the ``config`` of its run as dotted keys and its
``summary``. A variant is a method with what differs from its recipe, such as ``ebomlc-s settings=follow``; runs of two
variants are a pair where setting and seed are the same. Differences are tested by the paired t-test over seeds and,
over all settings together, by Wilcoxon's signed-rank test as well.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from scipy import stats

from ebomlc_dist.keys import plain
from ebomlc_dist.recipes.assemble import Request, resolve

SCORE = "accuracy_last"
# What makes two runs a pair, or changes nothing; whatever else differs makes them variants.
_NO_VARIANT = ("recipe", "noise.", "seeds.")
_FEWEST = 2

Pair = tuple[str, int]
Scores = dict[str, dict[Pair, float]]


def main() -> None:
    """A table a setting, and one over all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("store", type=Path)
    parser.add_argument("--baseline", default="ebomlc", help="variant that the others are compared with")
    asked = parser.parse_args()
    cells = [json.loads(path.read_text()) for path in sorted((asked.store / "cells").glob("*.json"))]
    print(report(scores_of(cells), asked.baseline))


def scores_of(cells: list[Mapping[str, Any]]) -> Scores:
    """Variant → (setting, seed) → score, of the cells that have one."""
    found: Scores = defaultdict(dict)
    for cell in cells:
        config, score = cell["config"], cell["summary"].get(SCORE)
        if score is not None:
            found[variant_of(config)][_setting(config), int(config["seeds.seed"])] = float(score)
    return dict(found)


def report(scores: Scores, baseline: str) -> str:
    """Markdown tables. Raises `SystemExit` where the baseline has no run."""
    if baseline not in scores:
        raise SystemExit(f"no run of '{baseline}'; there are: {', '.join(sorted(scores)) or 'none'}")
    settings = sorted({setting for runs in scores.values() for setting, _ in runs})
    tables = [
        _table(setting, {v: _only(runs, setting) for v, runs in scores.items()}, baseline) for setting in settings
    ]
    return "\n\n".join([*tables, _table("all settings", scores, baseline, ranks=True)])


def _table(title: str, scores: Scores, baseline: str, *, ranks: bool = False) -> str:
    lines = [
        f"### {title}\n",
        f"| variant | runs | mean | sd | pairs | minus `{baseline}` | sd | p (t) |"
        + (" p (Wilcoxon) |" if ranks else ""),
        "|---" * (9 if ranks else 8) + "|",
    ]
    reference = scores.get(baseline, {})
    for variant, runs in sorted(scores.items(), key=lambda item: -statistics.fmean(item[1].values() or [0.0])):
        if not runs:
            continue
        differences = [score - reference[pair] for pair, score in sorted(runs.items()) if pair in reference]
        own = list(runs.values())
        cells = [f"`{variant}`", str(len(own)), f"{statistics.fmean(own):.2f}", _sd(own)]
        cells += [
            str(len(differences)),
            f"{statistics.fmean(differences):+.2f}" if differences else "–",
            _sd(differences),
        ]
        cells.append(_p(_t_test, differences))
        if ranks:
            cells.append(_p(stats.wilcoxon, differences))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _t_test(differences: list[float]) -> Any:
    return stats.ttest_1samp(differences, 0.0)


def _p(test: Callable[[list[float]], Any], differences: list[float]) -> str:
    """The p value of differences around zero; none of too few, or of equal ones."""
    if len(set(differences)) < _FEWEST:
        return "–"
    return f"{float(test(differences).pvalue):.3f}"


def _sd(values: list[float]) -> str:
    return f"{statistics.stdev(values):.2f}" if len(values) > 1 else "–"


def _only(runs: dict[Pair, float], setting: str) -> dict[Pair, float]:
    return {pair: score for pair, score in runs.items() if pair[0] == setting}


def variant_of(config: Mapping[str, Any]) -> str:
    """The method's name and where it leaves its recipe: ``epochs=19`` for ``train.epochs``."""
    usual = _usual(config["recipe"], config["method.name"])
    own = {key: value for key, value in config.items() if key in usual and _text(usual[key]) != _text(value)}
    named = [f"{key.rpartition('.')[2]}={_text(own[key])}" for key in sorted(own) if not key.startswith(_NO_VARIANT)]
    return " ".join([config["method.name"], *named])


@cache
def _usual(recipe: str, method: str) -> dict[str, Any]:
    (run,) = resolve(Request(recipe=recipe, methods=(method,)))
    return plain(run.config)


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _setting(config: Mapping[str, Any]) -> str:
    return f"{config['recipe']}, {config['noise.kind']} {config['noise.rate']}"


if __name__ == "__main__":
    main()
