"""Runs on a GPU that is played."""

from functools import cache
from types import SimpleNamespace
from typing import cast

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.engine.build import Training, build
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.stop import StopRequests
from ebomlc_dist.engine.trainer import Trainer
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.monitoring.goodput import Stopwatch
from ebomlc_dist.monitoring.record import SilentRecord
from tests.methods.rows import ROWS
from tests.support.border import DEVICE
from tests.support.runs import alone, tiny_config

SHOWN = {"glc": 4, "dividemix": 1, "coteaching-plus": 1, "ce-finetune": 3, "ebomlc-s": 1}
"""Epoch, of four, that shows all of a method's step."""
NOBODY = cast(StopRequests, SimpleNamespace(asked=lambda: False))


@cache
def digits() -> NoisyDataset:
    return load_everywhere(tiny_config(), alone())


def config_of(method: str, **changes: dict) -> RunConfig:
    """Five steps an epoch, all phases within four epochs."""
    train = {"epochs": 4, "global_noisy_batch_size": 60, "log_interval": 1000, **changes.pop("train", {})}
    config = tiny_config(method, train=train, meta_model={"dropout": 0.2}, **changes)
    own = {"name": method, **ROWS[method].short_run}
    return config.model_copy(update={"method": config_from_mapping(own)})


def make_training(config: RunConfig) -> Training:
    return build(config, digits(), alone(DEVICE.type))


def make_trainer(config: RunConfig) -> Trainer:
    """A run at the beginning of the epoch that shows all of its method's step."""
    training = make_training(config)
    trainer = Trainer(training, SilentRecord(), Stopwatch(training.runtime.synchronise))
    trainer.progress.step = SHOWN.get(config.method.name, 0) * training.loader.steps_per_epoch
    return trainer
