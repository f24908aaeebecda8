"""Whether every process has images enough for networks that normalise over the batch."""

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods import method_class
from ebomlc_dist.methods.contract import MAIN_MODELS, Method
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.main_model import MainModel
from ebomlc_dist.models.meta_device import on_meta_device, trains_on_one


def check_batch_sizes(config: RunConfig, dataset: NoisyDataset, world_size: int) -> None:
    """Raise `InputError` where a process gets one image of a batch and a network cannot be trained on one.

    Batch normalisation needs two values of a channel or more. Where the map of a layer is a single pixel, which depends
    on the size of the images, these are of two images. ``sync`` takes them from all processes.
    """
    method = method_class(config.method.name)(config.method)
    key, size, parts = _smallest(config, method)
    # The smallest share; an empty one borrows an image.
    if size // parts // world_size > 1 or (config.model.norm == "sync" and world_size > 1):
        return
    few = f"{key}={size} on {world_size} process(es) leaves a process one image in a pass"
    enough = f"give {2 * parts * world_size} or more"
    main = any(name in MAIN_MODELS for name in method.networks)
    if main and not trains_on_one(main_model_shape(config, dataset), tuple(dataset.images.shape[1:])):
        raise InputError(
            f"{few}, and '{config.model.name}' with --norm {config.model.norm} normalises over the batch; {enough}, "
            "fewer processes, or --norm group"
        )
    if "meta" in method.networks and method.meta_model == "label-corrector" and config.meta_model.batch_norm:
        raise InputError(
            f"{few}, and meta_model.batch_norm normalises over the batch; {enough}, fewer processes, or "
            "--set meta_model.batch_norm=false"
        )


def _smallest(config: RunConfig, method: Method) -> tuple[str, int, int]:
    """Return the setting of the smallest batch that a network sees, its value, and how many parts it is cut into."""
    train, streams = config.train, method.streams
    sizes = [("train.global_noisy_batch_size", train.global_noisy_batch_size, 1)]
    if streams.clean or streams.lower_clean:
        sizes.append(("train.global_clean_batch_size", train.global_clean_batch_size, 2 if streams.lower_clean else 1))
    return min(sizes, key=lambda size: size[1] // size[2])


def main_model_shape(config: RunConfig, dataset: NoisyDataset) -> MainModel:
    """Return the run's main model without memory. Raises `InputError` where the configuration names none."""
    return on_meta_device(
        lambda: build_main_model(
            config.model.name,
            num_classes=dataset.num_classes,
            in_channels=dataset.images.shape[1],
            # The shapes are those of `batch`, and any device computes it.
            norm="batch" if config.model.norm == "sync" else config.model.norm,
            widths=config.model.widths,
        )
    )
