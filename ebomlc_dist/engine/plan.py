"""What a run is going to do, in rows a person reads before it starts."""

from collections.abc import Mapping
from pathlib import Path

import torch

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.methods import METHODS


def describe(
    config: RunConfig, folder: Path, dataset: NoisyDataset, runtime: Runtime, sources: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Rows (name, value) of the start panel. ``sources``: key of the configuration → where its value came from."""
    train = config.train
    per_rank = -(-train.global_noisy_batch_size // runtime.world_size)
    clean_per_rank = -(-train.global_clean_batch_size // runtime.world_size)
    steps = -(-len(dataset.noisy_labels) // train.global_noisy_batch_size)
    noise = config.noise.kind
    if dataset.noise_rate_realised is not None:
        nominal = dataset.noise_rate_nominal
        asked = "" if nominal is None else f"{100 * nominal:g} % asked, "
        noise += f", {asked}{100 * dataset.noise_rate_realised:.2f} % realised"
    channels, height, width = dataset.images.shape[1:]
    return [
        ("method", f"{config.method.name}: {METHODS[config.method.name].summary}"),
        (
            "data",
            f"{config.data.dataset}: {len(dataset.noisy_labels)} noisy, {len(dataset.clean_labels)} trusted, "
            f"{len(dataset.test_labels)} test images of {height}×{width}×{channels}, {dataset.num_classes} classes",
        ),
        ("noise", noise),
        ("model", f"{config.model.name}, norm {config.model.norm}"),
        (
            "batch",
            f"{train.global_noisy_batch_size} noisy + {train.global_clean_batch_size} clean, "
            f"at most {per_rank} + {clean_per_rank} on each of {runtime.world_size} process(es)",
        ),
        ("length", f"{train.epochs} epochs of {steps} steps"),
        ("device", f"{_device_name(runtime)}, {torch.get_num_threads()} thread(s) each"),
        ("precision", f"{train.precision} (from {sources.get('train.precision', 'the configuration')})"),
        ("seed", str(config.seeds.seed)),
        ("folder", str(folder)),
    ]


def _device_name(runtime: Runtime) -> str:
    return torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else "cpu"
