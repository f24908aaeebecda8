"""An installed plug-in package: its method, model and data set are used by name, as those of this package are."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import ebomlc_dist
from ebomlc_dist.config import RunConfig
from ebomlc_dist.files.safe_json import read_json
from tests.cli.conftest import Ended
from tests.plugins.conftest import started
from tests.support.runs import alone, assert_same, train_until

pytestmark = pytest.mark.usefixtures("installed")
SMALL = ("--set", "data.clean_size=20", "--set", "train.global_noisy_batch_size=40", "--device", "cpu")
NAMES = ("--method", "bootstrap", "--model", "perceptron", "--dataset", "stripes")


def test_they_are_listed_with_their_package(ebomlc: Callable[..., Ended]) -> None:
    # Long lines are wrapped.
    listed = {kind: " ".join(ebomlc("list", kind).out.split()) for kind in ("methods", "models", "datasets")}
    assert "a mixture of the given label and the model's own prediction (noisy-extras 1.2.3)" in listed["methods"]
    assert "One hidden layer on 8×8 images (noisy-extras 1.2.3)" in listed["models"]
    assert "Made-up images of 8×8 pixels with upright or level stripes (noisy-extras 1.2.3)" in listed["datasets"]
    assert "ce-oracle" in listed["methods"]
    row = json.loads(ebomlc("list", "methods", "--json").out)["bootstrap"]
    assert (row["needs_clean"], row["networks"], row["noisy_units"], row["capturable"]) == (False, ["main"], 3, "yes")
    assert row["paper"].startswith("Reed et al. 2015")


def test_settings_are_listed_and_validated(ebomlc: Callable[..., Ended]) -> None:
    shown = json.loads(ebomlc("list", "methods", "bootstrap", "--json").out)["bootstrap"]["settings"]
    help_text = "γ, share of the given label in the target"
    assert shown == {"method.trust": {"values": "number", "default": "0.95", "help": help_text}}
    assert "method.trust" in ebomlc("list", "methods", "bootstrap").out
    for setting, said in (
        ("method.trust=1.5", "method.trust = '1.5' (--set): must be less than or equal to 1; allowed: ≥ 0 and ≤ 1"),
        ("method.trus=0.5", "unknown key 'method.trus' (--set) for bootstrap (did you mean 'method.trust'?)"),
    ):
        assert said in ebomlc("train", *NAMES, "--set", setting).refused()


def test_a_run_is_trained_resumed_used_and_audited(ebomlc: Callable[..., Ended], fresh: Path) -> None:
    command = ("train", *NAMES, *SMALL, "--epochs", "3", "--set", "method.trust=0.8", "-q")
    assert ebomlc(*command, "-o", "whole").code == 0
    stored = read_json(fresh / "whole" / "config.json")
    assert (stored["method"], stored["model"]["name"]) == ({"name": "bootstrap", "trust": 0.8}, "perceptron")
    config = RunConfig.model_validate(stored)
    train_until(config, fresh / "cut", alone(), stop_after=7)
    assert ebomlc(*command, "-o", "cut", "--resume").code == 0
    assert_same(fresh / "cut", fresh / "whole")
    figures = json.loads(ebomlc("evaluate", "whole", "--json").out)
    assert figures["num_test"] == 100
    assert ebomlc_dist.load("whole").class_names == ["upright", "level"]
    assert ebomlc("audit", "whole", "-q").code == 0
    assert (fresh / "whole" / "audit" / "report.html").is_file()


def test_a_sweep_has_their_cells(ebomlc: Callable[..., Ended], fresh: Path) -> None:
    grid = {
        "recipes": ["digits"],
        "methods": ["bootstrap", "ce"],
        "set": {"data.dataset": "stripes", "model.name": "perceptron", "data.clean_size": 20, "train.epochs": 1},
        "over": {"method.trust": [0.5, 1.0]},
    }
    (fresh / "grid.json").write_text(json.dumps(grid))
    ended = ebomlc("sweep", "grid.json", "-o", "store", "--device", "cpu", "-q")
    assert ended.code == 0, ended.err
    results = [read_json(path) for path in (fresh / "store" / "cells").glob("*.json")]
    assert {result["config"].get("method.trust") for result in results} == {0.5, 1.0, None}
    # Full trust is cross entropy, bit for bit.
    loss = {result["config"].get("method.trust"): result["summary"]["accuracy_last"] for result in results}
    assert loss[1.0] == loss[None]
    tables = ebomlc("tables", "store")
    assert tables.code == 0, tables.err


@pytest.mark.slow
def test_two_processes_train_what_one_does(site: Path, fresh: Path) -> None:
    command = ["train", *NAMES, *SMALL, "--epochs", "2", "-q", "--norm", "group"]
    ended = started([*command, "-o", "two", "--num-processes", "2"], fresh, site)
    assert ended.returncode == 0, ended.stderr
    summary = read_json(fresh / "two" / "summary.json")
    assert (summary["world_size"], summary["method"], summary["model"]) == (2, "bootstrap", "perceptron")
