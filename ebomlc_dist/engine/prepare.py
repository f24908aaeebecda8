"""What is checked and loaded before anything is built, on every rank alike."""

import json

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.build import load_dataset
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.split_file import split_document
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.distributed.trackers import check_trackers
from ebomlc_dist.engine.build import make_method
from ebomlc_dist.methods import METHODS
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.outline import check_images, outline


def check(config: RunConfig, runtime: Runtime) -> None:
    """Raise `InputError` for what can be seen without the data."""
    runtime.check_alike("configuration", config.model_dump_json())
    check_trackers(config.train.trackers)


def needs_clean(config: RunConfig) -> bool:
    """Whether the method of ``config`` trains on trusted images."""
    return METHODS[config.method.name].needs_clean or make_method(config).streams.needs_clean


def load_everywhere(config: RunConfig, runtime: Runtime) -> NoisyDataset:
    """The same data on every rank; one process a machine goes first, so that a download happens once."""
    asks_clean = needs_clean(config)

    def load() -> NoisyDataset:
        return load_dataset(config.data, config.noise, config.seeds, needs_clean=asks_clean)

    first = runtime.on_every_rank(lambda: load() if runtime.local_rank == 0 else None)
    dataset = runtime.on_every_rank(lambda: first if first is not None else load())
    assert dataset is not None
    check_alike(dataset, runtime)
    check_model(config, dataset)
    return dataset


def check_model(config: RunConfig, dataset: NoisyDataset) -> None:
    """Raise `InputError` for a model that is not known or cannot take these images. Nothing is computed."""
    channels, height, width = dataset.images.shape[1:]
    shape = outline(
        lambda: build_main_model(
            config.model.name, num_classes=dataset.num_classes, in_channels=channels, norm=config.model.norm
        )
    )
    check_images(shape, config.model.name, channels, height, width)


def check_alike(dataset: NoisyDataset, runtime: Runtime) -> None:
    """Raise `InputError` where a rank has other data, labels or another split than rank 0."""
    runtime.check_alike("data set", dataset.fingerprint + json.dumps(split_document(dataset), sort_keys=True))
