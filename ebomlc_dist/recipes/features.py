"""Your own features: what a pretrained network says of each input, a small head on top.

    ebomlc train features --features X.npy --labels y.csv --trusted verified.csv

X is (N, D). Labels stay as they are. The head is trained by SGD along a cosine, which EBOMLC's step needs.
"""

from ebomlc_dist.config import DataConfig, ModelConfig, NoiseConfig, OptimConfig, RunConfig, TrainConfig
from ebomlc_dist.methods import config_from_mapping


def features(name: str, method: str) -> RunConfig:
    """The configuration of ``features``."""
    return RunConfig(
        recipe=name,
        method=config_from_mapping({"name": method}),
        data=DataConfig(dataset="features", augment="none", clean_size=100),
        noise=NoiseConfig(kind="none"),
        model=ModelConfig(name="mlp"),
        optim=OptimConfig(main_lr=0.02, schedule="cosine"),
        train=TrainConfig(epochs=15),
    )
