"""Trained weights in hub layout, for others to load without the run."""

from typing import Any

from torch import nn

from ebomlc_dist.data.image_files import keeps_own_size
from ebomlc_dist.engine.build import Training, fresh_module
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.models.card import model_card
from ebomlc_dist.models.hub import save_model
from ebomlc_dist.models.label_corrector import LabelCorrector
from ebomlc_dist.models.state import load_state
from ebomlc_dist.reporting.purity import purity_text


def export_models(training: Training, paths: RunFolder, summary: dict[str, Any]) -> None:
    """Write ``model/``; ``peer_model/`` where a prediction needs both; ``meta_model/`` where there is one.

    Collective; the first rank writes.
    """
    modules = {name: _whole_module(training, name) for name in training.networks}
    if not training.runtime.is_main:
        return
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
            **_trusted(summary),
            "epochs": config.train.epochs,
            "seed": config.seeds.seed,
            "processes": training.runtime.world_size,
        },
    )
    height, width = dataset.images.shape[2:]
    main_config = {
        "model_type": "ebomlc-main",
        "name": config.model.name,
        "num_classes": dataset.num_classes,
        "in_channels": dataset.images.shape[1],
        "norm": config.model.norm,
        "preprocessing": {
            "mean": dataset.mean.tolist(),
            "std": dataset.std.tolist(),
            "image_size": [height, width],
            "max_side": config.data.max_side if keeps_own_size(dataset.images) else None,
            "deep_low": dataset.levels.low,
            "deep_shift": dataset.levels.shift,
        },
        "class_names": dataset.class_names,
    }
    folders = {"main": paths.model, "peer": paths.peer_model}
    for name in training.method.ensemble:
        save_model(folders[name], modules[name], main_config, card)
    if "meta" in training.networks:
        meta = modules["meta"]
        meta_config: dict[str, Any] = {"model_type": f"ebomlc-{training.method.meta_model}"}
        if isinstance(meta, LabelCorrector):
            sizes = {"num_classes": dataset.num_classes, "feature_dim": meta.feature_dim}
            meta_config |= sizes | config.meta_model.model_dump()
        save_model(paths.meta_model, meta, meta_config, card)


def _whole_module(training: Training, name: str) -> nn.Module:
    """A network with all of its parameters, put together on the CPU where they are spread over the ranks."""
    network = training.networks[name]
    if network.whole:
        return network.module
    module = fresh_module(training, name)
    load_state(module, network.state(), "the trained network")
    return module


def _trusted(summary: dict[str, Any]) -> dict[str, str]:
    """A row for trusted images that may be wrong."""
    if summary["trusted_purity"] is None:
        return {}
    return {"trusted images": f"chosen from the noisy ones, {purity_text(summary['trusted_purity'])}"}
