"""Images to step on: those of a data set, or random ones where none is named. The cost of a step is the same."""

import torch

from ebomlc_dist.cli.profiler.profiled_rows import Row, needs_clean
from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset, Source
from ebomlc_dist.data.run_data import from_source
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.recipes.assemble import Request

RANDOM = "random images"
DEFAULT_SIDE = 32


def names_data(request: Request) -> bool:
    """Whether the person asked for data of their own."""
    flags = {flag.key for flag in request.flags}
    return request.recipe is not None or request.config_file is not None or "data.dataset" in flags


def load(rows: list[Row], runtime: Runtime) -> NoisyDataset:
    """The data set of the rows' configuration, with a trusted set where some row needs one."""
    asking = needs_clean(rows)
    (first, *_) = [row for row in rows if needs_clean([row]) or not asking]
    return load_everywhere(first.config, runtime)


def random_images(config: RunConfig, num_classes: int) -> NoisyDataset:
    """Noise in four noisy batches and two clean ones, classes in equal parts, the same on every rank.

    There are more where it takes them to have one noisy and two clean images of each class.
    """
    clean = max(2 * config.train.global_clean_batch_size, 2 * num_classes)
    number = max(4 * config.train.global_noisy_batch_size, num_classes) + clean
    side = config.data.given_side or DEFAULT_SIDE
    generator = torch.Generator().manual_seed(config.seeds.seed)
    images = torch.randint(256, (number, 3, side, side), generator=generator, dtype=torch.uint8)
    source = Source(
        images=images,
        labels=torch.arange(number) % num_classes,
        ids=[f"train/{place}" for place in range(number)],
        test_images=images[:0],
        test_labels=torch.zeros(0, dtype=torch.int64),
        class_names=[str(label) for label in range(num_classes)],
    )
    data = config.data.model_copy(update={"dataset": RANDOM, "clean_size": clean, "noisy_size": None, "split": None})
    return from_source(source, data, config.noise, config.seeds)
