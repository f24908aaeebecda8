"""scikit-learn's handwritten digits: 1,797 grey images of 8×8 pixels, bundled, so that a first run needs no network."""

import numpy as np
import torch

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import Source
from ebomlc_dist.data.datasets import Progress
from ebomlc_dist.data.inputs.read import resize_square

TEST_EVERY = 5
"""Of every class each fifth image, in the order of the file, is a test image: a fixed, stratified 20 %."""


def load(config: DataConfig, progress: Progress | None = None, model: str | None = None) -> Source:
    """Return the digits with their fixed test set; pixels 0…16 are scaled to 0…255. ``image_size`` enlarges them."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    pixels = np.rint(bundle.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bundle.target.astype(np.int64)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        test[np.flatnonzero(labels == label)[TEST_EVERY - 1 :: TEST_EVERY]] = True
    images = torch.from_numpy(pixels)
    if config.given_side is not None:
        images = resize_square(images, config.given_side)
    held_out = torch.from_numpy(test)
    targets = torch.from_numpy(labels)
    return Source(
        images=images[~held_out],
        labels=targets[~held_out],
        ids=[f"train/{index}" for index in range(int((~test).sum()))],
        test_images=images[held_out],
        test_labels=targets[held_out],
        class_names=[str(label) for label in range(10)],
    )
