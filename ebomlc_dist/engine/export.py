"""Trained weights in hub layout, for others to load without the run."""

from typing import Any

from torch import nn

from ebomlc_dist.data.dataset import are_features
from ebomlc_dist.data.inputs.lazy import keeps_own_size
from ebomlc_dist.engine.build import Training, fresh_module
from ebomlc_dist.engine.cards import classifier_card, meta_card
from ebomlc_dist.engine.evaluate import predicting
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.models.hub import save_model
from ebomlc_dist.models.meta import CORRECTORS
from ebomlc_dist.models.state_tensors import load_state


def export_models(training: Training, paths: RunFolder, summary: dict[str, Any]) -> None:
    """Write ``model/``; ``peer_model/`` where a prediction needs both; ``meta_model/`` where there is one.

    Collective; the first rank writes.
    """
    with predicting(training):
        _export(training, paths, summary)


def _export(training: Training, paths: RunFolder, summary: dict[str, Any]) -> None:
    modules = {name: _whole_module(training, name) for name in training.networks}
    if not training.runtime.is_main:
        return
    config, dataset = training.config, training.dataset
    preprocessing = {
        "mean": dataset.mean.tolist(),
        "std": dataset.std.tolist(),
        "image_size": None if are_features(dataset.images) else list(dataset.images.shape[2:]),
        "max_side": config.data.max_side if keeps_own_size(dataset.images) else None,
        "deep_low": dataset.levels.low,
        "deep_shift": dataset.levels.shift,
    }
    main_config = {
        "model_type": "ebomlc-main",
        "name": config.model.name,
        "num_classes": dataset.num_classes,
        "in_channels": dataset.images.shape[1],
        "norm": config.model.norm,
        "widths": config.model.widths,
        "preprocessing": preprocessing,
        "class_names": dataset.class_names,
    }
    folders = {"main": paths.model, "peer": paths.peer_model}
    card = classifier_card(config, dataset, summary, preprocessing, training.runtime.world_size)
    for name in training.method.ensemble:
        save_model(folders[name], modules[name], main_config, card)
    if "meta" in training.networks:
        meta = modules["meta"]
        meta_config: dict[str, Any] = {"model_type": f"ebomlc-{training.method.meta_model}"}
        if isinstance(meta, tuple(CORRECTORS.values())):
            sizes = {"num_classes": dataset.num_classes, "feature_dim": meta.feature_dim}
            meta_config |= sizes | config.meta_model.model_dump()
        card = meta_card(config, dataset, summary, training.method.meta_model, training.runtime.world_size)
        save_model(paths.meta_model, meta, meta_config, card)


def _whole_module(training: Training, name: str) -> nn.Module:
    """Return a network with all of its parameters, put together on the CPU where they are spread over the ranks."""
    network = training.networks[name]
    if network.whole:
        return network.module
    module = fresh_module(training, name)
    load_state(module, network.state(), "the trained network")
    return module
