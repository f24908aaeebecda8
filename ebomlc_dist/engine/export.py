"""Trained weights in hub layout, for others to load without the run."""

from typing import Any

from ebomlc_dist.engine.build import Training
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.models.card import model_card
from ebomlc_dist.models.hub import save_model


def export_models(training: Training, paths: RunFolder, summary: dict[str, Any]) -> None:
    """Write ``model/`` and, where there is a corrector, ``meta_model/``."""
    config, dataset = training.config, training.dataset
    card = model_card(
        title=f"{config.model.name} trained on noisy labels by {config.method.name}",
        summary=f"An image classifier of {dataset.num_classes} classes, trained on {config.data.dataset} with "
        f"{config.noise.kind} label noise.",
        method=config.method.name,
        dataset=config.data.dataset,
        accuracies={
            name: summary[key]
            for name, key in (("last epoch", "accuracy_last"), ("best epoch", "accuracy_best"))
            if summary[key] is not None
        },
        details={
            "noise": f"{config.noise.kind}, nominal {summary['noise_rate_nominal']} %, "
            f"realised {summary['noise_rate_realised']} %",
            "epochs": config.train.epochs,
            "seed": config.seeds.seed,
            "processes": training.runtime.world_size,
        },
    )
    height, width = dataset.images.shape[2:]
    save_model(
        paths.model,
        training.networks["main"].module,
        {
            "model_type": "ebomlc-main",
            "name": config.model.name,
            "num_classes": dataset.num_classes,
            "in_channels": dataset.images.shape[1],
            "norm": config.model.norm,
            "preprocessing": {
                "mean": dataset.mean.tolist(),
                "std": dataset.std.tolist(),
                "image_size": [height, width],
            },
            "class_names": dataset.class_names,
        },
        card,
    )
    if "meta" in training.networks:
        corrector = training.networks["meta"].module
        save_model(
            paths.meta_model,
            corrector,
            {
                "model_type": "ebomlc-label-corrector",
                "num_classes": dataset.num_classes,
                "feature_dim": corrector.feature_dim,
                **config.meta_model.model_dump(),
            },
            card,
        )
