"""The paper's fourteen settings: in the field's common frame, in two sizes for CPUs, as printed, and as released.

    ebomlc train cifar10-uniform40 --data-dir data --num-processes 8
    ebomlc train cifar10-quick-uniform40 --data-dir data --method ebomlc,ce,ce-oracle
    ebomlc train cifar10-fast-uniform40 --data-dir data --method ebomlc-s,ce
    ebomlc train cifar10-own-uniform40 --data-dir data --method glc,coteaching-plus
    ebomlc train cifar10-printed-uniform40 --data-dir data
    ebomlc train cifar10-released-uniform40 --data-dir data

The common frame is the default of every section of the configuration: ResNet-32, 1,000 trusted images, 120 epochs of
100 noisy and 100 trusted images a step, SGD 0.1 with ×0.1 after 80 and 100 epochs, Adam 3e-4 for the label corrector.
"""

from typing import Any

from ebomlc_dist.config import (
    DataConfig,
    MetaModelConfig,
    ModelConfig,
    NoiseConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)
from ebomlc_dist.methods import config_from_mapping

PRINTED = {"features": "frozen", "extractor_images": "clean", "value_gradient": "difference"}
"""What the paper's text says of its own methods."""


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


def fast(name: str, method: str, *, dataset: str, noise: dict[str, Any]) -> RunConfig:
    """All of ``dataset`` in an hour of two CPU cores: a wide, shallow network in bf16, few epochs, a rate that ends at
    zero, and a clean batch of an eighth of the noisy one.

    Args:
        name: of the recipe.
        method: of the run.
        dataset: ``cifar10`` or ``cifar100``.
        noise: fields of `NoiseConfig`.
    """
    return RunConfig(
        recipe=name,
        method=config_from_mapping({"name": method}),
        data=DataConfig(dataset=dataset, pad=2, pad_mode="reflect"),
        noise=NoiseConfig.model_validate(noise),
        model=ModelConfig(name="fast-cnn"),
        optim=OptimConfig(
            main_lr=0.05,
            nesterov=True,
            schedule="linear",
            schedule_unit="step",
            milestones=(),
            warmup=0.2,
            meta_schedule="main",
        ),
        train=TrainConfig(
            epochs=16,
            global_noisy_batch_size=256,
            global_clean_batch_size=32,
            precision="bf16",
            evaluation_views="flip",
            log_interval=20,
        ),
    )


def printed(name: str, method: str, *, dataset: str, kind: str, percent: int) -> RunConfig:
    """A setting of the paper as its text has it, where the common frame follows the code of the field.

    Images are not augmented. The corrector sees features of a frozen ResNet-32, which is trained first. ∇_wQ is a
    difference, for which the convergence theorems hold. The corrector's rate decays with the main model's.

    The text does not say what the frozen network was trained on: here on the trusted images, with
    ``method.extractor_images=noisy`` on the noisy ones, with ``method.extractor=RUN/model`` on whatever that run was.
    """
    config = paper(name, method, dataset=dataset, kind=kind, percent=percent)
    return config.model_copy(
        update={
            "method": config_from_mapping({"name": method, **PRINTED}),
            "data": DataConfig(dataset=dataset, augment="none"),
            "optim": OptimConfig(meta_schedule="main"),
        }
    )


def released(name: str, method: str, *, dataset: str, kind: str, percent: int) -> RunConfig:
    """A setting of the paper as the released research code trains it, held to a trace of that code by a test.

    - Trusted images are in the noisy set too (``leaky``), and a third draw of as many chooses the epoch, see
      `ebomlc_dist.data.split`; its images are augmented like those that are trained on.
    - Uniform noise may draw the true label again (``any``); classes flip in fixed pairs.
    - Images are padded by reflection, and normalised by CIFAR-10's constants on CIFAR-100 too.
    - The main model's head starts from N(0, 2/64) and torch's biases.
    - The label corrector has layers and first weights of its own, and AMSGrad.
    - η of look-aheads is decayed twice in epochs 80 and 100, and their passes move running statistics.

    The score of that code is ``accuracy_at_best_validation``.
    """
    config = paper(name, method, dataset=dataset, kind=kind, percent=percent)
    return config.model_copy(
        update={
            "method": config_from_mapping(
                {"name": method, "gap_as_step": dataset != "cifar10", "look_ahead_statistics": "moved"}
            ),
            "data": DataConfig(
                dataset=dataset,
                split_kind="leaky",
                validation_size=1000,
                validation_augment=True,
                pad_mode="reflect",
                pixel_mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
                pixel_std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
            ),
            "noise": config.noise.model_copy(update={"uniform_over": "any", "flip_pairs": "released"}),
            "model": config.model.model_copy(update={"head_start": "released"}),
            "meta_model": MetaModelConfig(architecture="released", dropout=0.3, batch_norm=True),
            "optim": OptimConfig(meta_amsgrad=True, look_ahead_rate="get_lr"),
        }
    )
