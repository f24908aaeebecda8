"""Your own images, whose labels are noisy as they come.

    ebomlc train folder --data-dir DIR --image-size 64

``DIR/train/<class>/*`` holds the images under their noisy labels; ``DIR/clean/<class>/*`` the trusted ones and
``DIR/test/<class>/*`` those that are never trained on. CSV files with ``path,label`` do as well (--noisy-csv,
--clean-csv, --test-csv).
"""

from ebomlc_dist.config import DataConfig, ModelConfig, NoiseConfig, RunConfig
from ebomlc_dist.methods import config_from_mapping


def folder(name: str, method: str) -> RunConfig:
    """The paper's frame on the user's own images, at 32×32 unless another size is asked for."""
    return RunConfig(
        recipe=name,
        method=config_from_mapping({"name": method}),
        data=DataConfig(dataset="folder", image_size=32, clean_size=100),
        noise=NoiseConfig(kind="none"),
        model=ModelConfig(name="resnet32"),
    )
