"""Evaluation takes training images from where the loader has them."""

import torch

from ebomlc_dist.data.loaders.backends import ResidentPixels
from ebomlc_dist.data.loaders.batches import BatchLoader
from ebomlc_dist.engine.build import build
from ebomlc_dist.engine.evaluate import evaluate_clean_set, pixels_of
from ebomlc_dist.engine.preflight import load_everywhere
from tests.support.runs import alone, tiny_config


def test_training_images_come_from_the_device_where_they_are_there() -> None:
    config = tiny_config("ebomlc")
    training = build(config, load_everywhere(config, alone()), alone())
    rows = torch.tensor([3, 0, 3])
    assert torch.equal(pixels_of(training, rows), training.dataset.images[rows])
    found = evaluate_clean_set(training)
    assert isinstance(training.loader.noisy, BatchLoader)
    pixels = training.loader.noisy.pixels
    assert isinstance(pixels, ResidentPixels)
    # Others in their place, that the data set does not have.
    pixels.images = 255 - pixels.images
    assert evaluate_clean_set(training)["loss"] != found["loss"]


def test_images_that_are_read_come_from_the_data_set() -> None:
    config = tiny_config("ce", data={"loader": "dataloader", "num_workers": 1})
    training = build(config, load_everywhere(config, alone()), alone())
    try:
        assert training.loader.resident is None
        rows = torch.tensor([5, 1])
        assert torch.equal(pixels_of(training, rows), training.dataset.images[rows])
    finally:
        training.loader.close()
