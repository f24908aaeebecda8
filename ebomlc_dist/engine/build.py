"""The composition root: a configuration becomes networks, optimisers, a loader and a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.loaders.augment import normalise
from ebomlc_dist.data.loaders.paired import PairedLoader, build_loader, steps_per_epoch
from ebomlc_dist.data.seeds import seed_sequence
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.arithmetic import arithmetic_of, put_in_force
from ebomlc_dist.engine.batch_sizes import check_batch_sizes
from ebomlc_dist.engine.optimizers import MAKERS, FlatOptimizer
from ebomlc_dist.engine.step import TrainStep
from ebomlc_dist.engine.strategies import agree, hold
from ebomlc_dist.engine.weight_average import WeightAverage
from ebomlc_dist.errors import InputError
from ebomlc_dist.gpu import forked_generators
from ebomlc_dist.methods import method_class
from ebomlc_dist.methods.contract import MAIN_MODELS, Method, Task
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.hub import load_model
from ebomlc_dist.models.main_model import MainModel, start_head_as_released
from ebomlc_dist.models.meta import build_meta_model
from ebomlc_dist.models.norm import check_norm
from ebomlc_dist.numerics.hypergradient import takes_channels_last
from ebomlc_dist.numerics.loss_scale import LossScale
from ebomlc_dist.numerics.network import Network

FITTED_TO = 2000
"""Training images that a model may take its first filters from."""


@dataclass(frozen=True)
class Training:
    """Everything one run trains with, built alike on every rank."""

    config: RunConfig
    runtime: Runtime
    dataset: NoisyDataset
    method: Method
    networks: dict[str, Network]
    optimizers: dict[str, FlatOptimizer]
    averages: dict[str, WeightAverage]
    loss_scale: LossScale | None
    loader: PairedLoader
    step: TrainStep

    @property
    def total_steps(self) -> int:
        return self.method.stages * self.config.train.epochs * self.loader.steps_per_epoch


def make_method(config: RunConfig) -> Method:
    """Return the method of a configuration. Raises `InputError` where optimiser or compiler cannot take its step."""
    method = method_class(config.method.name)(config.method)
    if config.optim.main_optimizer not in method.main_optimizers:
        raise InputError(
            f"optim.main_optimizer {config.optim.main_optimizer} does not go with {config.method.name}, whose step "
            f"needs {' or '.join(method.main_optimizers)}; choose that (--set optim.main_optimizer=…)"
        )
    if config.train.label_smoothing and not method.smooths:
        raise InputError(
            f"train.label_smoothing does not go with {config.method.name}, whose main model is not trained on "
            "given labels as they are; leave it out"
        )
    if config.train.compile and method.backward_twice:
        raise InputError(
            f"--compile does not go with {config.method.name}'s double_backward: a compiled backward pass has none of "
            "its own; take --set method.hypergradient=forward_mode or finite_difference, or leave --compile out"
        )
    return method


def build(config: RunConfig, dataset: NoisyDataset, runtime: Runtime, extractor: Path | None = None) -> Training:
    """Build a run. The same configuration and data give the same initial bits on every rank and at every world size.

    Args:
        config: the run.
        dataset: its data.
        runtime: the processes.
        extractor: model folder of the extractor that the run has trained for itself. Without it a fresh main model
            stands in, which a checkpoint overwrites; nothing may be trained with that.
    """
    method = make_method(config)
    if extractor is not None:
        method.config = method.config.model_copy(update={"extractor": extractor})
    check_norm(config.model.norm, runtime.device)
    check_batch_sizes(config, dataset, runtime.world_size)
    arithmetic = arithmetic_of(config.train.precision)
    put_in_force(arithmetic.float32)
    loss_scale = LossScale(runtime.device) if arithmetic.loss_scaled else None
    networks: dict[str, Network] = {}
    for name in method.networks:
        module = _fresh_module(name, config, method, dataset, networks).to(runtime.device)
        # The meta model is small and steers: it stays in full precision.
        autocast = None if name == "meta" else arithmetic.autocast
        networks[name] = hold(
            name,
            module,
            config,
            runtime,
            autocast=autocast,
            loss_scale=loss_scale,
            channels_last=takes_channels_last(method.backward_twice, runtime.device, autocast),
        )
    # Dropout draws differ by rank, everything else that is random is a function of seed and step.
    torch.manual_seed(int(_initial_seeds(config, method)[-1]) + runtime.rank)
    length = config.train.epochs
    if config.optim.schedule_unit == "step":
        length *= steps_per_epoch(dataset, config.train)
    optimizers = {
        name: MAKERS[name](networks[name], config.optim, length) for name in method.networks if name in MAKERS
    }
    old_labels = dataset.old_label_counts()
    sizes = dataset.num_classes, len(dataset.noisy_labels), len(dataset.clean_labels)
    task = Task(*sizes, old_labels, audited=config.train.epoch_scores)
    method.allocate(networks, task)
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
    decay = config.train.weight_average
    averages = {
        name: WeightAverage(networks[name], decay)
        for name in method.networks
        if name in MAIN_MODELS and decay is not None
    }
    step = TrainStep(method, networks, optimizers, runtime.communicator, loss_scale, averages)
    return Training(config, runtime, dataset, method, networks, optimizers, averages, loss_scale, loader, step)


def initialise(training: Training, name: str) -> None:
    """Put a network back to its first bits. Generators are left as they are."""
    network = training.networks[name]
    network.load(fresh_module(training, name).state_dict())
    agree(network, training.runtime)


def fresh_module(training: Training, name: str) -> nn.Module:
    """Return a network of a run as it was first, on the CPU. Generators are left as they are."""
    with forked_generators(training.runtime.device):
        return _fresh_module(name, training.config, training.method, training.dataset, training.networks)


def _initial_seeds(config: RunConfig, method: Method) -> NDArray[np.unsignedinteger]:
    return seed_sequence(config.seeds, "initialisation").generate_state(len(method.networks) + 1)


def _fresh_module(
    name: str, config: RunConfig, method: Method, dataset: NoisyDataset, built: Mapping[str, Network]
) -> nn.Module:
    """Return a network on the CPU in its mode for training, a function of configuration and data."""
    torch.manual_seed(int(_initial_seeds(config, method)[method.networks.index(name)]))
    return _make_module(name, config, method, dataset, built).train(name != "extractor")


def _make_module(
    name: str, config: RunConfig, method: Method, dataset: NoisyDataset, built: Mapping[str, Network]
) -> nn.Module:
    extractor: Path | None = getattr(method.config, "extractor", None)
    if name in MAIN_MODELS or (name == "extractor" and extractor is None):
        model = build_main_model(
            config.model.name,
            num_classes=dataset.num_classes,
            in_channels=dataset.images.shape[1],
            norm=config.model.norm,
            widths=config.model.widths,
        )
        model.fit_to(lambda: _first_images(dataset))
        if config.model.head_start == "released":
            start_head_as_released(model)
        return model
    source = built["main"].module if extractor is None else _load_extractor(extractor, dataset)
    if name == "extractor":
        return source
    feature_dim = cast(MainModel, source).feature_dim
    return build_meta_model(
        method.meta_model, num_classes=dataset.num_classes, feature_dim=feature_dim, **config.meta_model.model_dump()
    )


def _first_images(dataset: NoisyDataset) -> Tensor:
    """(n, C, H, W) normalised images, not augmented, on the CPU: the same ones on every rank."""
    return normalise(dataset.images[dataset.noisy_index[:FITTED_TO]], dataset.mean, dataset.std)


def _load_extractor(folder: Path, dataset: NoisyDataset) -> nn.Module:
    module, stored = load_model(folder)
    channels = dataset.images.shape[1]
    if stored.get("in_channels") != channels:
        raise InputError(
            f"{folder} cannot be the extractor: it is no main model for images of {channels} channel(s); "
            "give the model/ folder of a run on such images (method.extractor)"
        )
    return module
