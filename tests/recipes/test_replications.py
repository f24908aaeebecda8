"""The recipes as printed and as released run from end to end in seconds: tiny, on the bundled digits."""

import json
from pathlib import Path

import pytest

from ebomlc_dist.engine.build import build
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.run import train
from ebomlc_dist.models.hub import load_model
from ebomlc_dist.models.label_corrector import ReleasedCorrector
from ebomlc_dist.recipes.assemble import Request, resolve
from tests.support.runs import alone

DIGITS = ("data.dataset=digits", "model.name=digits-cnn", "train.trackers=[]")
# The constants of the released loader are for three channels.
ONE_CHANNEL = ("data.pixel_mean=[0.5]", "data.pixel_std=[0.25]")


@pytest.mark.parametrize("images", ["clean", "noisy"])
def test_as_printed(tmp_path: Path, images: str) -> None:
    texts = (*DIGITS, f"method.extractor_images={images}")
    (run,) = resolve(Request(recipe="cifar10-printed-uniform40", tiny=True, assignments=texts))
    summary = train(run.config, tmp_path, quiet=True, runtime=alone())
    assert summary["finished"]
    assert summary["extractor"]["images"] == images
    assert (tmp_path / "extractor" / "model" / "model.safetensors").exists()


@pytest.mark.parametrize("recipe", ["cifar10-released-flip40", "cifar100-released-uniform40"])
def test_as_released(tmp_path: Path, recipe: str) -> None:
    texts = (*DIGITS, *ONE_CHANNEL, "data.clean_size=40", "data.validation_size=40")
    (run,) = resolve(Request(recipe=recipe, tiny=True, assignments=texts))
    summary = train(run.config, tmp_path, quiet=True, runtime=alone())
    assert summary["finished"]
    assert summary["accuracy_at_best_validation"] is not None
    split = json.loads((tmp_path / "split.json").read_text())
    assert len(split["validation_index"]) == len(split["clean_index"]) == 40
    corrector, stored = load_model(tmp_path / "meta_model")
    assert isinstance(corrector, ReleasedCorrector)
    runtime = alone()
    training = build(run.config, load_everywhere(run.config, runtime), runtime)
    assert training.networks["main"].module.head.bias.detach().abs().min() > 0, "the released start of the head"
    assert (stored["architecture"], stored["dropout"], stored["batch_norm"]) == ("released", 0.3, True)
