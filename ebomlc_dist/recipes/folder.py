"""Your own images, whose labels are noisy as they come.

    ebomlc train folder --data-dir DIR

``DIR/train/<class>/*`` holds the images under their noisy labels; ``DIR/clean/<class>/*`` the trusted ones and
``DIR/test/<class>/*`` those that are never trained on. CSV files with ``path,label`` do as well (--noisy-csv,
--clean-csv, --test-csv). For the small ResNets images become squares of 32 to 64 pixels, by the median of the shorter
sides, unless --image-size says otherwise.

    ebomlc train folder-resnet50 --data-dir DIR
    ebomlc train folder-vit-b16 --data-dir DIR

train a large model at 224×224 in bf16, with SGD, which EBOMLC's step needs. Rates and lengths are common choices for a
batch of 256; they were not tuned with noisy labels.
"""

from typing import Any

from ebomlc_dist.config import DataConfig, ModelConfig, NoiseConfig, OptimConfig, RunConfig, TrainConfig
from ebomlc_dist.methods import config_from_mapping


def folder(name: str, method: str) -> RunConfig:
    """The paper's frame on the user's own images, at their own size within the model's usual sides."""
    return RunConfig(
        recipe=name,
        method=config_from_mapping({"name": method}),
        data=DataConfig(dataset="folder", image_size="auto", clean_size=100),
        noise=NoiseConfig(kind="none"),
        model=ModelConfig(name="resnet32"),
    )


def large(name: str, method: str, *, model: str, optim: dict[str, Any]) -> RunConfig:
    """A large model of torchvision on the user's own images at 224×224; ``optim``: what differs from the paper's."""
    return RunConfig(
        recipe=name,
        method=config_from_mapping({"name": method}),
        data=DataConfig(
            dataset="folder",
            image_size=224,
            clean_size=1000,
            augment="resized-crop-flip",
            loader="dataloader",
            num_workers=8,
        ),
        noise=NoiseConfig(kind="none"),
        model=ModelConfig(name=model),
        optim=OptimConfig.model_validate(optim),
        train=TrainConfig(epochs=90, global_noisy_batch_size=256, global_clean_batch_size=256, precision="bf16"),
    )
