"""Stores with results that a test made up, so that what a table says of them is known."""

from pathlib import Path
from typing import Any

from ebomlc_dist.files import durable
from ebomlc_dist.sweeps.store import Listed, Result, Store

FRAME = {
    "recipe": "r",
    "data.dataset": "cifar10",
    "data.noisy_size": None,
    "data.clean_size": 1000,
    "data.split_kind": "disjoint",
    "data.augment": "none",
    "noise.kind": "uniform",
    "noise.rate": 0.4,
    "noise.uniform_over": "other",
    "model.name": "resnet32",
    "model.norm": "batch",
    "optim.main_optimizer": "sgd",
    "optim.main_lr": 0.1,
    "optim.momentum": 0.9,
    "optim.decay": 0.1,
    "train.epochs": 120,
    "train.precision": "no",
    "train.global_noisy_batch_size": 100,
    "train.global_clean_batch_size": 100,
    "seeds.seed": 0,
}
GPU = {"devices": ["Some GPU"], "packages": {"torch": "2.15.0"}}


class MadeUp:
    """A store to fill run by run."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.store.open()
        self.listed: list[Listed] = []

    def add(
        self,
        method: str,
        accuracy: float | None = None,
        *,
        seconds: float = 100.0,
        environment: dict[str, Any] = GPU,
        neighbours: int = 1,
        **config: Any,
    ) -> str:
        """A run by ``section__key=value``; one without accuracy is only listed."""
        key = f"{len(self.listed):020x}"
        whole = FRAME | {"method.name": method} | {name.replace("__", "."): value for name, value in config.items()}
        self.listed.append(Listed(key, f"{method} {key}", whole))
        self.store.write_grid("made-up", self.listed)
        if accuracy is not None:
            durable.make_folder(self.store.workplace(key).root)
            summary = {
                "accuracy_last": accuracy,
                "accuracy_best": accuracy + 1,
                "accuracy_at_best_validation": accuracy + 0.5,
                "accuracy_last10_mean": accuracy - 1,
                "train_seconds": seconds,
                "num_noisy": 49000,
                "num_clean": 1000,
                "num_test": 10000,
                "world_size": 1,
                "precision": "no",
            }
            self.store.publish(Result(key, "a run", whole, summary, environment, seconds, neighbours))
        return key
