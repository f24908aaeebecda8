"""The loader of a run: a noisy batch and, where the method asks, a clean one beside it."""

import torch
from torch import Tensor

from ebomlc_dist.config import DataConfig, SeedConfig, TrainConfig
from ebomlc_dist.data.augment import AugmentStream
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.index_stream import IndexStream
from ebomlc_dist.data.loader import StreamLoader
from ebomlc_dist.data.resident import ResidentLoader
from ebomlc_dist.data.seeds import child, seed_sequence
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.contract import PairedBatch, Streams

NOISY, CLEAN = 0, 1
"""Keys of the two streams under the order and augmentation seeds."""


class PairedLoader:
    """Streams side by side (a `Loader`). The streams are independent of each other.

    Attributes:
        noisy, clean, lower_clean: one loader a stream; None where the method did not ask for it.
        steps_per_epoch: steps in which the noisy set is gone through once.
    """

    def __init__(
        self,
        noisy: StreamLoader,
        clean: StreamLoader | None,
        lower_clean: StreamLoader | None,
        *,
        steps_per_epoch: int,
    ) -> None:
        self.noisy = noisy
        self.clean = clean
        self.lower_clean = lower_clean
        self.steps_per_epoch = steps_per_epoch

    def batch(self, step: int) -> PairedBatch:
        """This rank's share of every stream's global batch ``step``."""
        return PairedBatch(
            noisy=self.noisy.batch(step),
            clean=self.clean.batch(step) if self.clean else None,
            lower_clean=self.lower_clean.batch(step) if self.lower_clean else None,
        )

    def positions(self, step: int) -> Tensor:
        """(n,) int64: where the samples of ``batch(step).noisy`` stand in the set they are drawn from."""
        return self.noisy.positions(step)


def build_loader(
    dataset: NoisyDataset,
    streams: Streams,
    data: DataConfig,
    train: TrainConfig,
    seeds: SeedConfig,
    *,
    rank: int,
    world_size: int,
    device: torch.device | str,
) -> PairedLoader:
    """The resident loader that serves ``streams``, with one copy of the images on ``device``.

    The noisy stream fed from the trusted set (``Streams.noisy_images``) keeps the epoch length of the noisy set, so
    that references train equally long. ``Streams.lower_clean`` splits each global clean batch of B images: the first
    ceil(B/2) serve the upper objective, the others the lower one, each sharded on its own.

    Raises:
        InputError: true labels asked for and unknown, no trusted set, or a clean batch too small to be split.
    """
    images, mean, std = (tensor.to(device) for tensor in (dataset.images, dataset.mean, dataset.std))
    order, augmentation = (seed_sequence(seeds, stream) for stream in ("order", "augmentation"))
    clean_batch = train.global_clean_batch_size

    def loader(
        index: Tensor, labels: Tensor, batch_size: int, key: int, part: tuple[int, int] | None = None
    ) -> ResidentLoader:
        return ResidentLoader(
            images,
            labels,
            index,
            IndexStream(len(index), batch_size, child(order, key)),
            AugmentStream(data.augment, data.pad, child(augmentation, key)),
            mean,
            std,
            rank=rank,
            world_size=world_size,
            device=device,
            part=part,
        )

    def clean_loader(part: tuple[int, int]) -> ResidentLoader:
        return loader(dataset.clean_index, dataset.clean_labels, clean_batch, CLEAN, part)

    _check(dataset, streams, clean_batch)
    index, labels = _noisy_samples(dataset, streams)
    upper = -(-clean_batch // 2) if streams.lower_clean else clean_batch
    return PairedLoader(
        loader(index, labels, train.global_noisy_batch_size, NOISY),
        clean_loader((0, upper)) if streams.clean else None,
        clean_loader((upper, clean_batch)) if streams.lower_clean else None,
        steps_per_epoch=-(-len(dataset.noisy_index) // train.global_noisy_batch_size),
    )


def _noisy_samples(dataset: NoisyDataset, streams: Streams) -> tuple[Tensor, Tensor]:
    """Rows of the images and the labels that the noisy stream is fed from."""
    if streams.noisy_images == "clean":
        return dataset.clean_index, dataset.clean_labels
    if streams.noisy_labels == "noisy":
        return dataset.noisy_index, dataset.noisy_labels
    if dataset.true_labels is None:
        raise InputError(
            "this method trains on the true labels of the noisy set, which are unknown for these data; choose another "
            "--method, or add noise to known labels with --noise uniform"
        )
    return dataset.noisy_index, dataset.true_labels


def _check(dataset: NoisyDataset, streams: Streams, clean_batch: int) -> None:
    wants_clean = streams.clean or streams.lower_clean or streams.noisy_images == "clean"
    if wants_clean and not len(dataset.clean_index):
        raise InputError("this method needs trusted images and there are none; give DIR/clean/<class>/* or --clean-csv")
    if streams.lower_clean and clean_batch < 2:
        raise InputError(
            f"global clean batch size {clean_batch} cannot be split into an upper and a lower half; give at least 2 "
            "(--set train.global_clean_batch_size=2)"
        )
