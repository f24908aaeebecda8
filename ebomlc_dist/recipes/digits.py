"""The bundled default: nothing to download, nothing to configure.

    ebomlc train digits

Handwritten digits of 8×8 pixels, 40 % of the labels moved to another class, 100 trusted images. EBOMLC-S, EBOMLC and
plain cross entropy on the same noise; all three together take under a minute on two cores.
"""

from ebomlc_dist.config import DataConfig, ModelConfig, NoiseConfig, OptimConfig, RunConfig, TrainConfig
from ebomlc_dist.methods import config_from_mapping


def digits(name: str, method: str, *, epochs: int = 60) -> RunConfig:
    """The configuration of ``digits``."""
    return RunConfig(
        recipe=name,
        method=config_from_mapping({"name": method}),
        data=DataConfig(dataset="digits", clean_size=100, augment="pad-crop", pad=1),
        noise=NoiseConfig(kind="uniform", rate=0.4),
        model=ModelConfig(name="digits-cnn"),
        optim=OptimConfig(main_lr=0.05),
        train=TrainConfig(epochs=epochs, global_noisy_batch_size=100, global_clean_batch_size=100, log_interval=10),
    )
