"""The paper's fourteen settings, the same in a size for a CPU, and the same as the released research code ran them.

    ebomlc train cifar10-uniform40 --data-dir data --num-processes 8
    ebomlc train cifar10-quick-uniform40 --data-dir data --method ebomlc,ce,ce-oracle
    ebomlc train cifar10-own-uniform40 --data-dir data --method glc,coteaching-plus
    ebomlc train cifar10-released-uniform40 --data-dir data

The paper's frame is the default of every section of the configuration: ResNet-32, 1,000 trusted images, 120 epochs of
100 noisy and 100 trusted images a step, SGD 0.1 with ×0.1 after 80 and 100 epochs, Adam 3e-4 for the label corrector.
"""

from ebomlc_dist.config import DataConfig, MetaModelConfig, ModelConfig, NoiseConfig, RunConfig, TrainConfig
from ebomlc_dist.methods import config_from_mapping


def paper(name: str, method: str, *, dataset: str, kind: str, percent: int) -> RunConfig:
    """One setting of the paper's tables: ``percent`` per cent of ``kind`` noise on ``dataset``."""
    return RunConfig(
        recipe=name,
        method=config_from_mapping({"name": method}),
        data=DataConfig(dataset=dataset),
        noise=NoiseConfig.model_validate({"kind": kind, "rate": percent / 100}),
        model=ModelConfig(name="resnet32"),
    )


def quick(name: str, method: str, *, dataset: str, kind: str, percent: int) -> RunConfig:
    """A setting of the paper with a ResNet-8, 10,000 noisy images and 8 epochs."""
    config = paper(name, method, dataset=dataset, kind=kind, percent=percent)
    return config.model_copy(
        update={
            "data": DataConfig(dataset=dataset, noisy_size=10_000),
            "model": ModelConfig(name="resnet8"),
            "train": TrainConfig(epochs=8, log_interval=20),
        }
    )


def released(name: str, method: str, *, dataset: str, kind: str, percent: int) -> RunConfig:
    """A setting of the paper with what came along with the released step.

    The trusted images are in the noisy set as well (``leaky``), uniform noise may draw the true label again (``any``),
    the label corrector has dropout and BatchNorm. Compare its best epoch, which is the score that code quotes.
    """
    config = paper(name, method, dataset=dataset, kind=kind, percent=percent)
    return config.model_copy(
        update={
            "method": config_from_mapping({"name": method, "gap_as_step": dataset != "cifar10"}),
            "data": DataConfig(dataset=dataset, split_kind="leaky"),
            "noise": config.noise.model_copy(update={"uniform_over": "any"}),
            "meta_model": MetaModelConfig(dropout=0.3, batch_norm=True),
        }
    )
