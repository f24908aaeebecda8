"""Methods on frozen features: ``python benchmarks/features.py FEATURES.npz DATA STORE [--methods …] [--settings …]``.

FEATURES comes from ``python benchmarks/lite0.py``. Of CIFAR-10's first training images it takes trusted ones by class
and 7,000 noisy ones; further ones, with their true labels, are the **development** part, on which rules may be chosen.
The test part is scored and stored beside it, and nothing is chosen by it. A head of 256 units after LayerNorm is
trained for 15 epochs, batches of 100 + 100, SGD 0.02 along a cosine, by the very classes that ``ebomlc train`` uses.
STORE gets one JSON file a cell; a cell that is there is not run again. ``--table`` prints what is there.
"""

import argparse
import json
import statistics
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.datasets import CIFAR10

from ebomlc_dist.config import OptimConfig
from ebomlc_dist.data.split import held_out
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.optimizers import MAKERS
from ebomlc_dist.engine.step import TrainStep
from ebomlc_dist.methods import config_from_mapping, method_class
from ebomlc_dist.methods.contract import Batch, Method, PairedBatch, Task
from ebomlc_dist.models.main_model import MainModel
from ebomlc_dist.models.meta import build_meta_model
from ebomlc_dist.noise.matrices import apply_transition, flip_matrix, realised_rate, uniform_matrix
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.numerics.network import Network

CLASSES, WIDTH = 10, 256
NOISY, EPOCHS, BATCH, RATE = 7_000, 15, 100, 0.02
SETTINGS = ("uniform0", "uniform20", "uniform40", "uniform60", "uniform80", "flip20", "flip40", "worst")
METHODS = ("ebomlc-s", "ebomlc", "glc", "mlc", "ce", "ce-clean", "ce-weighted")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Data:
    """Rows of features and labels of one cell."""

    features: Tensor
    noisy: Tensor
    noisy_labels: Tensor
    true_labels: Tensor
    clean: Tensor
    clean_labels: Tensor
    clean_old_labels: Tensor
    development: Tensor
    development_labels: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("features", type=Path)
    parser.add_argument("data", type=Path, help="folder with CIFAR-10 and cifar10n_labels.csv")
    parser.add_argument("store", type=Path)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--trusted", default="100,20,5", help="images a class")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="a setting of the method")
    parser.add_argument("--table", action="store_true", help="print the store and run nothing")
    asked = parser.parse_args()
    if not asked.table:
        torch.set_num_threads(1)
        rows = np.load(asked.features)
        more = {key: json.loads(value) for key, value in (item.split("=", 1) for item in asked.set)}
        for cell in cells(asked):
            path = asked.store / (name_of(*cell, more) + ".json")
            if path.exists():
                continue
            found = run(rows, asked.data, *cell, more)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found, indent=1) + "\n")
            print(path.stem, found["accuracy_development"], found["accuracy_test"], flush=True)
    print(table(asked.store))


def cells(asked: argparse.Namespace) -> Iterator[tuple[str, str, int, int]]:
    """Method, setting, trusted images a class, seed."""
    for seed in map(int, asked.seeds.split(",")):
        for trusted in map(int, asked.trusted.split(",")):
            for setting in asked.settings.split(","):
                for method in asked.methods.split(","):
                    yield method, setting, trusted, seed


def name_of(method: str, setting: str, trusted: int, seed: int, more: dict[str, Any]) -> str:
    variant = "".join(f"-{key}={value}" for key, value in sorted(more.items()))
    return f"{method}{variant}-{setting}-trusted{trusted}-seed{seed}"


def noisy_labels(labels: Tensor, setting: str, seed: int, folder: Path) -> Tensor:
    """(N,) noisy labels of all training images."""
    if setting == "worst":
        lines = (folder / "cifar10n_labels.csv").read_text().splitlines()
        column = lines[0].split(",").index("worse_label")
        return torch.tensor([int(line.split(",")[column]) for line in lines[1:]])
    kind = setting.rstrip("0123456789")
    rate = int(setting.removeprefix(kind)) / 100
    if kind == "uniform":
        matrix = uniform_matrix(CLASSES, rate)
    else:
        matrix = flip_matrix(CLASSES, rate, np.random.default_rng([seed, 1]))
    return apply_transition(labels, matrix, np.random.default_rng([seed, 2]))


def data_of(rows: Any, folder: Path, setting: str, trusted: int, seed: int) -> Data:
    features = torch.from_numpy(rows["train"]).float()
    labels = torch.tensor(CIFAR10(folder, train=True).targets)
    given = noisy_labels(labels, setting, seed, folder)[: len(features)]
    labels = labels[: len(features)]
    order = torch.from_numpy(np.random.default_rng([seed, 0]).permutation(len(features)))
    clean = torch.cat([order[labels[order] == label][:trusted] for label in range(CLASSES)])
    rest = order[~torch.isin(order, clean)]
    noisy, development = rest[:NOISY], rest[NOISY:]
    return Data(
        features, noisy, given[noisy], labels[noisy], clean, labels[clean], given[clean], development,
        labels[development],
    )  # fmt: skip


def run(
    rows: Any, folder: Path, method_name: str, setting: str, trusted: int, seed: int, more: dict[str, Any]
) -> dict[str, Any]:
    """Train one cell and score it."""
    data = data_of(rows, folder, setting, trusted, seed)
    method = method_class(method_name)(config_from_mapping({"name": method_name, **more}))
    networks = networks_of(method, data.features.shape[1], seed)
    optim = OptimConfig(main_lr=RATE, schedule="cosine")
    optimizers = {name: MAKERS[name](networks[name], optim, EPOCHS) for name in method.networks if name in MAKERS}
    pairs = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    pairs.index_put_((data.clean_labels, data.clean_old_labels), torch.tensor(1), accumulate=True)
    method.allocate(networks, Task(CLASSES, len(data.noisy), len(data.clean), pairs))
    step = TrainStep(method, networks, optimizers, Communicator(CPU), None)
    interlude = DatasetReducer(data, method, networks, optimizers, seed)
    draws = torch.Generator().manual_seed(seed)
    for epoch in range(method.stages * EPOCHS):
        method.enter_epoch(epoch, EPOCHS)
        method.begin_epoch(networks, interlude)
        for batch in batches(data, method, draws):
            step(batch)
        for optimizer in optimizers.values():
            optimizer.end("epoch")
    test = torch.from_numpy(rows["test"]).float()
    test_labels = torch.tensor(CIFAR10(folder, train=False).targets)[: len(test)]
    return {
        "method": method_name, "settings": more, "setting": setting, "trusted_a_class": trusted, "seed": seed,
        "noise_rate_realised": 100 * realised_rate(data.true_labels, data.noisy_labels),
        "accuracy_development": accuracy(method, networks, data.features[data.development], data.development_labels),
        "accuracy_test": accuracy(method, networks, test, test_labels),
        "method_report": dict(method.report()),
    }  # fmt: skip


def networks_of(method: Method, width: int, seed: int) -> dict[str, Network]:
    found: dict[str, Network] = {}
    for name in method.networks:
        torch.manual_seed(zlib.crc32(f"{name} {seed}".encode()))
        if name in ("main", "peer"):
            body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, WIDTH), nn.ReLU())
            module: nn.Module = MainModel(body, nn.Linear(WIDTH, CLASSES))
        else:
            module = build_meta_model(method.meta_model, num_classes=CLASSES, feature_dim=WIDTH)
        found[name] = FlatNetwork(module)
    return found


def batches(data: Data, method: Method, draws: torch.Generator) -> Iterator[PairedBatch]:
    """One epoch of what the method asks for."""
    streams = method.streams
    kept = (~held_out(data.clean_labels, streams.held_out)).nonzero().flatten()
    labels = data.true_labels if streams.noisy_labels == "true" else data.noisy_labels
    rows, given = torch.cat([data.noisy, data.clean]), torch.cat([labels, data.clean_labels])
    trusted = torch.arange(len(rows)) >= len(data.noisy)
    pool = {
        "noisy": torch.arange(len(data.noisy)),
        "clean": len(data.noisy) + kept,
        "union": torch.cat([torch.arange(len(data.noisy)), len(data.noisy) + kept]),
    }[streams.noisy_images]
    steps = len(data.noisy) // BATCH
    drawn, drawn_clean = endless(pool, steps * BATCH, draws), endless(kept, steps * BATCH, draws)
    for number in range(steps):
        places = slice(number * BATCH, (number + 1) * BATCH)
        chosen, chosen_clean = drawn[places], drawn_clean[places]
        noisy = Batch(data.features[rows[chosen]], given[chosen], BATCH)
        if streams.noisy_images == "union":
            noisy = replace(noisy, trusted=trusted[chosen])
        halves = (
            (chosen_clean[: BATCH // 2], chosen_clean[BATCH // 2 :]) if streams.lower_clean else (chosen_clean, None)
        )
        clean, lower = (
            None
            if half is None
            else Batch(
                data.features[data.clean[half]],
                data.clean_labels[half],
                len(half),
                old_labels=data.clean_old_labels[half],
            )
            for half in halves
        )
        key = torch.randint(2**62, (), generator=draws)
        yield PairedBatch(noisy, clean if streams.clean else None, lower, key=key)


def endless(pool: Tensor, count: int, draws: torch.Generator) -> Tensor:
    """(count,) of ``pool`` in drawn orders, one after another."""
    turns = -(-count // len(pool))
    return torch.cat([pool[torch.randperm(len(pool), generator=draws)] for _ in range(turns)])[:count]


class DatasetReducer:
    """What a method may ask for between two epochs, of rows of features."""

    def __init__(self, data: Data, method: Method, networks: dict[str, Network], optimizers: Any, seed: int) -> None:
        self._data, self._method, self._networks, self._optimizers = data, method, networks, optimizers
        self._seed = seed

    def gather_noisy(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return self._values(values, self._data.noisy, self._data.noisy_labels)

    def sum_noisy(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return self.gather_noisy(values).sum(dim=0)

    def sum_clean(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return self._values(values, self._data.clean, self._data.clean_labels).sum(dim=0)

    def gather_held_out(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        rows = held_out(self._data.clean_labels, self._method.streams.held_out)
        return self._values(values, self._data.clean[rows], self._data.clean_labels[rows])

    def sum_held_out(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return self.gather_held_out(values).sum(dim=0)

    def from_first_rank(self, work: Callable[[], Tensor], like: Tensor) -> Tensor:
        return like.copy_(work())

    def restart(self, name: str) -> None:
        fresh = networks_of(self._method, self._data.features.shape[1], self._seed)[name]
        self._networks[name].load(fresh.module.state_dict())
        self._optimizers[name].restart()

    @torch.no_grad()
    def _values(self, values: Callable[[Tensor, Tensor], Tensor], rows: Tensor, labels: Tensor) -> Tensor:
        for network in self._networks.values():
            network.module.eval()
        found = values(self._data.features[rows], labels)
        for network in self._networks.values():
            network.module.train()
        return found


@torch.no_grad()
def accuracy(method: Method, networks: dict[str, Network], features: Tensor, labels: Tensor) -> float:
    for network in networks.values():
        network.module.eval()
    logits = torch.stack([networks[name](features)[0] for name in method.ensemble]).sum(dim=0)
    return round(100 * float((logits.argmax(dim=1) == labels).double().mean()), 2)


def table(store: Path) -> str:
    """Markdown: a table for each number of trusted images, methods in rows, settings in columns, development / test."""
    found: dict[int, dict[str, dict[str, list[tuple[float, float]]]]] = {}
    for path in sorted(store.glob("*.json")):
        cell = json.loads(path.read_text())
        variant = " ".join([cell["method"], *(f"{k}={v}" for k, v in sorted(cell["settings"].items()))])
        row = found.setdefault(cell["trusted_a_class"], {}).setdefault(variant, {})
        row.setdefault(cell["setting"], []).append((cell["accuracy_development"], cell["accuracy_test"]))
    lines = []
    for trusted, variants in sorted(found.items(), reverse=True):
        lines += [f"\n### {trusted} trusted images a class\n", "| | " + " | ".join(SETTINGS) + " | mean |"]
        lines.append("|---" * (len(SETTINGS) + 2) + "|")
        for variant, row in sorted(variants.items()):
            figures = [
                " / ".join(f"{statistics.fmean(side):.1f}" for side in zip(*row[s], strict=True)) if s in row else "–"
                for s in SETTINGS
            ]
            whole = [score for s in SETTINGS if s in row for score in [statistics.fmean(c[0] for c in row[s])]]
            mean = f"{statistics.fmean(whole):.1f}" if len(whole) == len(SETTINGS) else "–"
            lines.append(f"| `{variant}` | " + " | ".join([*figures, mean]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
