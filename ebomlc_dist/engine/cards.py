"""The model cards of a run: of its classifier and of its meta model."""

from collections.abc import Mapping, Sequence
from typing import Any

from ebomlc_dist.config import NoiseConfig, RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.inputs.grey_levels import FULL, Levels
from ebomlc_dist.methods import method_info
from ebomlc_dist.models.card import CLASSIFIER_USE, FEATURES_USE, OTHER_USE, model_card
from ebomlc_dist.monitoring.purity import purity_text

_META = {
    "label-corrector": "A label corrector: from the features of an image and its noisy label it gives the probability "
    "of each class. It corrected labels while the classifier beside it was trained.",
    "weight-net": "A net that weighs samples: from a sample's loss it gives a weight in 0…1. It decided how much each "
    "noisy image counted while the classifier beside it was trained.",
    "beta-weight-net": "A net that weighs samples: from a sample's loss it gives the two parameters of a Beta "
    "distribution, of which the sample's weight is drawn. It was trained beside a classifier.",
}


def classifier_card(
    config: RunConfig,
    dataset: NoisyDataset,
    summary: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    world_size: int,
) -> str:
    """Return the card of the main model. ``preprocessing``: as in its ``config.json``."""
    pictures = preprocessing["image_size"] is not None
    return model_card(
        title=f"{config.model.name} trained on noisy labels by {config.method.name}",
        summary=f"{'An image classifier' if pictures else 'A classifier of features'} of {dataset.num_classes} "
        "classes, trained on labels of which some may be wrong. "
        f"The method: {method_info(config.method.name).summary}.",
        method=config.method.name,
        dataset=config.data.dataset,
        accuracies={
            name: summary[key]
            for name, key in (
                ("last epoch", "accuracy_last"),
                ("epoch of the best validation accuracy", "accuracy_at_best_validation"),
                ("best epoch", "accuracy_best"),
            )
            if summary[key] is not None
        },
        details=_details(config, dataset, summary, world_size),
        class_names=dataset.class_names,
        preparation=_preparation(preprocessing),
        use=CLASSIFIER_USE if pictures else FEATURES_USE,
        inputs="images" if pictures else "features",
    )


def meta_card(
    config: RunConfig, dataset: NoisyDataset, summary: Mapping[str, Any], meta_model: str, world_size: int
) -> str:
    """Return the card of the meta model, which classifies nothing by itself."""
    return model_card(
        title=f"{meta_model} of {config.method.name}",
        summary=_META.get(meta_model, f"The {meta_model} that was trained beside a classifier."),
        method=config.method.name,
        dataset=config.data.dataset,
        accuracies={},
        details=_details(config, dataset, summary, world_size),
        class_names=dataset.class_names if meta_model == "label-corrector" else (),
        use=OTHER_USE,
        classifies=False,
    )


def _details(
    config: RunConfig, dataset: NoisyDataset, summary: Mapping[str, Any], world_size: int
) -> dict[str, object]:
    trusted = f"{len(dataset.clean_labels)}"
    if summary["trusted_purity"] is not None:
        trusted += f", chosen from the noisy ones, {purity_text(summary['trusted_purity'])}"
    return {
        "noisy images": len(dataset.noisy_labels),
        "wrong labels among them": _noise(config.noise, summary),
        "trusted images": trusted,
        "test images": len(dataset.test_labels),
        "epochs": config.train.epochs,
        "seed": config.seeds.seed,
        "processes": world_size,
    }


def _noise(noise: NoiseConfig, summary: Mapping[str, Any]) -> str:
    realised = summary["noise_rate_realised"]
    if realised is None:
        return "unknown: the labels are noisy as they came"
    if noise.kind == "none":
        return f"{realised:.2f} %"
    asked = "" if summary["noise_rate_nominal"] is None else f", {summary['noise_rate_nominal']:g} % asked for"
    return f"{realised:.2f} % ({noise.kind} noise was added{asked})"


def _preparation(preprocessing: Mapping[str, Any]) -> Sequence[str]:
    if preprocessing["image_size"] is None:
        return [
            "Compute the features by the network that those of the training data came from.",
            f"Subtract the mean of each of the {len(preprocessing['mean'])}, and divide by its standard deviation "
            "(both in config.json).",
        ]
    height, width = preprocessing["image_size"]
    colour = "one grey channel" if len(preprocessing["mean"]) == 1 else "red, green and blue"
    steps = [f"Read the image upright, as {colour}."]
    low, shift = preprocessing["deep_low"], preprocessing["deep_shift"]
    if Levels(low, shift) != FULL:
        steps.append(
            f"Bring a grey image of 16 bits to 8: subtract {low}, divide by {2**shift}, round down, keep within 0…255."
        )
    if preprocessing["max_side"] is not None:
        steps.append(f"Reduce its longer side to {preprocessing['max_side']} pixels at most, and cut out the centre.")
    mean, std = (", ".join(f"{value:.4f}" for value in preprocessing[key]) for key in ("mean", "std"))
    return [
        *steps,
        f"Resize it to {height}×{width} pixels, and scale its values to 0…1.",
        f"Subtract the mean {mean}, and divide by the standard deviation {std} (exact in config.json).",
    ]
