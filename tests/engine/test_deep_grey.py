"""Images of 16 bits with fewer in use: a trained run predicts on what it was trained on."""

from pathlib import Path

import numpy as np
from PIL import Image

from ebomlc_dist.api import load
from ebomlc_dist.audit.images import ImageFiles
from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.engine.run import train
from tests.support.runs import alone, tiny_config


def test_prediction_and_audit_see_the_levels_of_training(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        for number in range(20):
            pixels = (random.integers(0, 2000, (8, 8)) + 2000 * label).astype(np.uint16)
            Image.fromarray(pixels).save(tmp_path / "data" / "train" / name / f"{number}.png")
    config = tiny_config("ce", noise={"kind": "none"})
    data = DataConfig(dataset="folder", data_dir=tmp_path / "data", image_size=8, augment="none")
    config = config.model_copy(update={"data": data, "train": config.train.model_copy(update={"epochs": 4})})
    train(config, tmp_path / "run", quiet=True, runtime=alone())
    dataset = load_dataset(config.data, config.noise, config.seeds, needs_clean=False)
    assert dataset.levels.shift == 4
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "Bring a grey image of 16 bits to 8: subtract 0, divide by 16, round down" in card
    run = load(tmp_path / "run")
    paths = [tmp_path / "data" / name for name in dataset.ids]
    seen = np.stack([np.asarray(Image.open(path)) >> 4 for path in paths]).astype(np.uint8)
    expected = run.predict_proba(seen).max(axis=1)
    assert np.allclose([found.confidence for found in run.predict(paths)], expected, atol=1e-6)
    # Half of the images would be black, and half nearly so.
    assert not np.allclose(run.predict_proba((seen >> 4).astype(np.uint8)).max(axis=1), expected, atol=1e-3)
    assert ImageFiles(config.data, dataset).thumbnail(0) != ImageFiles(config.data, dataset).thumbnail(39)
