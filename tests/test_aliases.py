"""What earlier versions wrote is read as what it is called today."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ebomlc_dist import aliases
from ebomlc_dist.config import RunConfig
from ebomlc_dist.engine.resume import check_same_run
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.keys import deciding, plain
from ebomlc_dist.recipes.assemble import Request, resolve
from ebomlc_dist.reports.finished import read_run
from ebomlc_dist.sweeps.cells import key_of
from ebomlc_dist.sweeps.records import listed_from
from tests.support.run_folders import make_config, make_run

RENAMED = {"optim.lr_main": "optim.main_lr", "data.root": lambda value: {"data.data_dir": f"{value}/images"}}


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if two keys had been called otherwise."""
    monkeypatch.setattr(aliases, "ALIASES", {**aliases.ALIASES, **RENAMED})


def old_document(config: RunConfig) -> dict[str, Any]:
    """A run's ``config.json`` of before the names changed and the younger keys came."""
    document = json.loads(config.model_dump_json())
    document["optim"]["lr_main"] = document["optim"].pop("main_lr")
    document["data"]["root"] = str(document["data"].pop("data_dir")).removesuffix("/images")
    document["method"]["settings"] = "follow"
    del document["data"]["pad_mode"]
    return document


def an_old_run() -> RunConfig:
    return make_config("ebomlc-s", method__settings="corrected", data__data_dir="there/images", optim__main_lr=0.07)


@pytest.mark.usefixtures("renamed")
def test_an_old_run_folder_is_read_and_goes_on(tmp_path: Path) -> None:
    config, folder = an_old_run(), make_run(tmp_path / "run", "ebomlc-s")
    (folder / "config.json").write_text(json.dumps(old_document(config)))
    assert read_run(folder).config == config
    check_same_run(RunFolder(folder), config)
    other = config.model_copy(update={"optim": config.optim.model_copy(update={"main_lr": 0.01})})
    with pytest.raises(InputError, match=r"optim\.main_lr was 0\.07 and is now 0\.01"):
        check_same_run(RunFolder(folder), other)


@pytest.mark.usefixtures("renamed")
def test_old_words_are_taken_wherever_settings_are_given(tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    file.write_text(json.dumps(old_document(an_old_run())))
    assert resolve(Request(config_file=file))[0].config == an_old_run()
    words = ("optim.lr_main=0.07", "data.root=there", "method.settings=follow")
    found = plain(resolve(Request(recipe="digits", methods=("ebomlc-s",), assignments=words))[0].config)
    assert [found[key] for key in ("optim.main_lr", "data.data_dir", "method.settings")] == [
        *(0.07, "there/images", "corrected")
    ]


def test_a_cell_keeps_its_name_when_a_key_is_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config("ce")
    stored = {("optim.lr_main" if key == "optim.main_lr" else key): value for key, value in deciding(config).items()}
    name = key_of(stored)
    assert name != key_of(deciding(config))
    monkeypatch.setattr(aliases, "ALIASES", {**aliases.ALIASES, **RENAMED})
    assert key_of(deciding(config)) == key_of(stored) == name
    grid = {"schema": 1, "grid": "old", "common": stored, "cells": [{"key": name, "name": "ce", "config": {}}]}
    assert listed_from(grid, "old.json")[0].config == deciding(config)


@pytest.mark.usefixtures("renamed")
def test_a_key_under_two_names_is_refused() -> None:
    document = json.loads(make_config("ce").model_dump_json())
    document["optim"]["lr_main"] = 0.3
    with pytest.raises(ValidationError, match=r"optim\.main_lr is given twice, once by its old name"):
        RunConfig.model_validate(document)


def test_every_alias_leads_to_a_key_that_exists() -> None:
    from ebomlc_dist.keys import keys_of
    from ebomlc_dist.methods import METHODS

    known = {key for method in METHODS for key in keys_of(method)}
    for old in aliases.ALIASES:
        assert set(aliases.translated({old: "follow"})) <= known
