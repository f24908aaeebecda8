"""The composition root: a configuration becomes networks, optimisers, a loader and a step."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.paired import PairedLoader, build_loader
from ebomlc_dist.data.seeds import seed_sequence
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.optimizers import FlatOptimizer, make_adam, make_sgd
from ebomlc_dist.engine.step import TrainStep
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods import method_class
from ebomlc_dist.methods.contract import Method
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.hub import load_model
from ebomlc_dist.models.label_corrector import LabelCorrector
from ebomlc_dist.models.main_model import MainModel
from ebomlc_dist.models.norm import check_norm
from ebomlc_dist.numerics.flat import FlatModule
from ebomlc_dist.numerics.loss_scale import LossScale

AUTOCAST = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Training:
    """Everything one run trains with, built alike on every rank."""

    config: RunConfig
    runtime: Runtime
    dataset: NoisyDataset
    method: Method
    networks: dict[str, FlatModule]
    optimizers: dict[str, FlatOptimizer]
    loss_scale: LossScale | None
    loader: PairedLoader
    step: TrainStep

    @property
    def total_steps(self) -> int:
        return self.config.train.epochs * self.loader.steps_per_epoch


def make_method(config: RunConfig) -> Method:
    """The method of a configuration."""
    return method_class(config.method.name)(config.method)


def build(config: RunConfig, dataset: NoisyDataset, runtime: Runtime) -> Training:
    """Build a run. The same configuration and data give the same initial bits on every rank and at every world size."""
    method = make_method(config)
    check_norm(config.model.norm, runtime.device)
    loss_scale = LossScale(runtime.device) if config.train.precision == "fp16" else None
    networks: dict[str, FlatModule] = {}
    seeds = seed_sequence(config.seeds, "initialisation").generate_state(len(method.networks) + 1)
    for name, seed in zip(method.networks, seeds, strict=False):
        torch.manual_seed(int(seed))
        module = _make_module(name, config, dataset, networks).to(runtime.device)
        module.train(name != "extractor")
        # The meta model is small and steers: it stays in full precision.
        autocast = None if name == "meta" else AUTOCAST[config.train.precision]
        networks[name] = FlatModule(module, autocast=autocast, loss_scale=loss_scale)
        runtime.communicator.broadcast(networks[name].vector.detach())
        runtime.communicator.broadcast(networks[name].statistics)
    # Dropout draws differ by rank, everything else that is random is a function of seed and step.
    torch.manual_seed(int(seeds[-1]) + runtime.rank)
    makers = {"main": make_sgd, "meta": make_adam}
    optimizers = {
        name: makers[name](networks[name], config.optim, config.train.epochs)
        for name in method.networks
        if name in makers
    }
    loader = build_loader(
        dataset,
        method.streams,
        config.data,
        config.train,
        config.seeds,
        rank=runtime.rank,
        world_size=runtime.world_size,
        device=runtime.device,
    )
    step = TrainStep(method, networks, optimizers, runtime.communicator, loss_scale)
    return Training(config, runtime, dataset, method, networks, optimizers, loss_scale, loader, step)


def _make_module(name: str, config: RunConfig, dataset: NoisyDataset, built: dict[str, FlatModule]) -> nn.Module:
    if name == "main":
        return build_main_model(
            config.model.name,
            num_classes=dataset.num_classes,
            in_channels=dataset.images.shape[1],
            norm=config.model.norm,
        )
    extractor: Path | None = getattr(config.method, "extractor", None)
    source = built["main"].module if extractor is None else _load_extractor(extractor, dataset)
    if name == "extractor":
        return source
    return LabelCorrector(
        dataset.num_classes,
        cast(MainModel, source).feature_dim,
        embedding_dim=config.meta_model.embedding_dim,
        hidden_dim=config.meta_model.hidden_dim,
        dropout=config.meta_model.dropout,
        batch_norm=config.meta_model.batch_norm,
    )


def _load_extractor(folder: Path, dataset: NoisyDataset) -> nn.Module:
    module, stored = load_model(folder)
    channels = dataset.images.shape[1]
    if stored.get("in_channels") != channels:
        raise InputError(
            f"{folder} cannot be the extractor: it is no main model for images of {channels} channel(s); "
            "give the model/ folder of a run on such images (method.extractor)"
        )
    return module
