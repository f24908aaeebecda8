"""Throughput of the loader backends, beside the bars.

    python -m benchmarks.loaders --data-dir DATA [--rounds 31] [--threads 1] [--device cuda] [--json]

Every backend gives batches of 100 augmented, normalised CIFAR-10 images (or random images of that size, without
``--data-dir``) on the CPU, or on a GPU. Rounds are interleaved in one process; a figure is the median over rounds with
the lowest and the highest. ``torchvision`` is what people write by hand: a ``DataLoader`` with 2 workers that crops,
flips and normalises image by image with ``torchvision.transforms.v2``, and stays on the CPU; ``dataloader`` is this
program's backend, with 2 workers too. The share of loading is measured against the training step of EBOMLC with a
ResNet-32.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ebomlc_dist.config import DataConfig, NoiseConfig, RunConfig, SeedConfig, TrainConfig
from ebomlc_dist.data.dataset import NoisyDataset, digest_of
from ebomlc_dist.data.loaders.ffcv_extra import has_ffcv
from ebomlc_dist.data.loaders.paired import PairedLoader, build_loader
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.methods.contract import Streams

BATCH = 100
WORKERS = 2
Rate = Callable[[], float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of CIFAR-10; random images without it")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--steps", type=int, default=60, help="batches of a round")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print every round's figures as JSON instead")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dataset, device = data_set(given.data_dir), torch.device(given.device)
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(dataset, Path(folder), given.steps, given.rounds, device)
    step = step_seconds(dataset, device)
    if given.json:
        print(json.dumps({"images_per_second": rates, "step_seconds": step, "device": given.device}))
        return
    for name, values in rates.items():
        print(f"{name:<12}{shown(values)} images/s")
    print(f"{'step':<12}{1000 * step:.1f} ms, EBOMLC, ResNet-32, {BATCH} + {BATCH} images, fp32")
    report(rates, step)


def data_set(folder: Path | None) -> NoisyDataset:
    """CIFAR-10 with 40 % uniform noise, or as many random images."""
    if folder is not None:
        data = DataConfig(dataset="cifar10", data_dir=folder, download=False)
        return load_dataset(data, NoiseConfig(kind="uniform", rate=0.4), SeedConfig())
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50_000, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(50_000) % 10
    return NoisyDataset(
        images=images,
        ids=[f"train/{row}" for row in range(len(images))],
        noisy_index=torch.arange(1000, 50_000),
        noisy_labels=labels[1000:],
        true_labels=labels[1000:],
        clean_index=torch.arange(1000),
        clean_labels=labels[:1000],
        test_images=images[:0],
        test_labels=labels[:0],
        class_names=[str(label) for label in range(10)],
        mean=torch.full((3,), 0.5),
        std=torch.full((3,), 0.29),
        noise_rate_nominal=None,
        noise_rate_realised=None,
        fingerprint="",
    )


def measure(
    dataset: NoisyDataset, folder: Path, steps: int, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Images a second of every backend in every round, the backends in turn."""
    sources: dict[str, Callable[[int], object]] = {"torchvision": ByHand(dataset).batch}
    loaders: list[PairedLoader] = []
    for name in ("dataloader", "resident", "ffcv"):
        if name == "ffcv":
            if not has_ffcv():
                print("ffcv is not installed: left out", file=sys.stderr)
                continue
            from ebomlc_dist.data.loaders.ffcv_writer import write_pack

            assert isinstance(dataset.images, Tensor)
            write_pack(folder, dataset.images, digest_of(dataset.images, None))
        loaders.append(loader(dataset, name, folder, device))
        sources[name] = loaders[-1].batch
    at = dict.fromkeys(sources, 0)
    rates: dict[str, list[float]] = {name: [] for name in sources}
    for number in range(rounds + 1):
        for name, batch in sources.items():
            # A round begins with what was read ahead while another backend was measured: let it run off.
            for step in range(at[name], at[name] + 20):
                batch(step)
            settle(device)
            began = time.perf_counter()
            for step in range(at[name] + 20, at[name] + 20 + steps):
                batch(step)
            settle(device)
            if number:  # the first one warms up
                rates[name].append(BATCH * steps / (time.perf_counter() - began))
            at[name] += 20 + steps
    for opened in loaders:
        opened.close()
    return rates


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def loader(dataset: NoisyDataset, name: str, folder: Path, device: torch.device) -> PairedLoader:
    """One backend, as training opens it."""
    data = DataConfig.model_validate({"loader": name, "num_workers": WORKERS, "pack_dir": folder})
    train = TrainConfig(global_noisy_batch_size=BATCH, global_clean_batch_size=BATCH)
    return build_loader(dataset, Streams(), data, train, SeedConfig(), rank=0, world_size=1, device=device)


class ByHand(Dataset[tuple[Tensor, int]]):
    """The usual ``DataLoader``: everything image by image in its workers."""

    def __init__(self, dataset: NoisyDataset) -> None:
        from torchvision.transforms import v2

        self._images, self._rows, self._labels = dataset.images, dataset.noisy_index, dataset.noisy_labels
        self._transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(dataset.mean.tolist(), dataset.std.tolist()),
            ]
        )
        self._batches = self._endless()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        assert isinstance(self._images, Tensor)
        return self._transform(self._images[self._rows[place]]), int(self._labels[place])

    def batch(self, step: int) -> object:
        """The next batch."""
        return next(self._batches)

    def _endless(self) -> Iterator[object]:
        batches = DataLoader(self, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True, persistent_workers=True)
        while True:
            yield from batches


def step_seconds(dataset: NoisyDataset, device: torch.device, steps: int = 7) -> float:
    """Median seconds of a training step without its loading."""
    from ebomlc_dist.distributed.communicator import Communicator
    from ebomlc_dist.distributed.runtime import Runtime
    from ebomlc_dist.engine.build import build

    alone = Communicator(device)
    runtime = Runtime(
        communicator=alone, patient=alone, device=device, rank=0, world_size=1, local_rank=0, under_launcher=False
    )
    training = build(RunConfig(method=config_from_mapping({"name": "ebomlc"})), dataset, runtime)
    taken = []
    for step in range(steps + 2):
        batch = training.loader.batch(step)
        settle(device)
        began = time.perf_counter()
        training.step(batch)
        settle(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])


def report(rates: dict[str, list[float]], step: float) -> None:
    """The ratios round by round, beside the bars."""
    rows = []
    for name, bar in (("resident", 5.0), ("ffcv", 4.0)):
        for other in ("torchvision", "dataloader"):
            if name in rates:
                ratios = [own / slow for own, slow in zip(rates[name], rates[other], strict=True)]
                reached = statistics.median(ratios) >= bar
                rows.append((f"{name} / {other}", shown(ratios, 2), f"≥ {bar:g}", reached))
    for name in ("dataloader", "resident", "ffcv"):
        if name in rates:
            # A step takes a noisy and a clean batch.
            shares = [100 * 2 * BATCH / rate / (step + 2 * BATCH / rate) for rate in rates[name]]
            rows.append((f"loading by {name}, % of a step", shown(shares, 2), "≤ 5", statistics.median(shares) <= 5))
    print(f"\n{'what':<36}{'median (lowest … highest)':<30}{'bar':<8}")
    for what, figure, wanted, reached in rows:
        print(f"{what:<36}{figure:<30}{wanted:<8}{'reached' if reached else 'missed'}")


def shown(values: list[float], digits: int = 0) -> str:
    """Median, lowest and highest."""
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} … {high})"


if __name__ == "__main__":
    main()
