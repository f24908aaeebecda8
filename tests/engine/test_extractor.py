"""A frozen extractor: the paper's text has the corrector's features from a trained model that no longer changes."""

from pathlib import Path

import pytest
import torch

from ebomlc_dist.engine.build import build
from ebomlc_dist.engine.prepare import load_everywhere
from ebomlc_dist.engine.run import train
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods import config_from_mapping
from tests.support.runs import alone, tiny_config


def with_extractor(folder: Path):
    method = config_from_mapping({"name": "ebomlc", "features": "frozen", "extractor": folder})
    return tiny_config().model_copy(update={"method": method})


def test_a_run_with_a_frozen_extractor(tmp_path: Path) -> None:
    train(tiny_config("ce"), tmp_path / "first", quiet=True, runtime=alone())
    config, runtime = with_extractor(tmp_path / "first" / "model"), alone()
    training = build(config, load_everywhere(config, runtime), runtime)
    extractor = training.networks["extractor"]
    vector, statistics = extractor.vector.detach().clone(), extractor.statistics.clone()
    for step in range(3):
        training.step(training.loader.batch(step))
    assert torch.equal(extractor.vector, vector)
    assert torch.equal(extractor.statistics, statistics)
    assert not extractor.module.training
    summary = train(config, tmp_path / "second", quiet=True, runtime=alone())
    assert summary["finished"]
    assert (tmp_path / "second" / "meta_model" / "model.safetensors").exists()


def test_a_label_corrector_is_no_extractor(tmp_path: Path) -> None:
    train(tiny_config(), tmp_path / "first", quiet=True, runtime=alone())
    config = with_extractor(tmp_path / "first" / "meta_model")
    with pytest.raises(InputError, match="cannot be the extractor"):
        train(config, tmp_path / "second", quiet=True, runtime=alone())


def test_frozen_features_need_an_extractor() -> None:
    with pytest.raises(ValueError, match="go together"):
        config_from_mapping({"name": "ebomlc", "features": "frozen"})
