"""The loader of a run: a noisy batch and, where the method asks, clean and selected ones beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ebomlc_dist.config import DataConfig, SeedConfig, TrainConfig
from ebomlc_dist.data.dataset import NoisyDataset, are_features
from ebomlc_dist.data.inputs.lazy import ImageFiles
from ebomlc_dist.data.loaders.augment import Augmentation, AugmentStream, Unaugmented
from ebomlc_dist.data.loaders.backends import Group, ResidentPixels, open_backend
from ebomlc_dist.data.loaders.batches import BatchLoader
from ebomlc_dist.data.loaders.index_stream import IndexStream, RankSlice
from ebomlc_dist.data.loaders.resized_crop import ResizedCropStream
from ebomlc_dist.data.loaders.streams import StepInputs, StreamInputs, StreamLoader
from ebomlc_dist.data.seeds import child, seed_sequence
from ebomlc_dist.data.split import held_out
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.contract import Batch, PairedBatch, Streams

NOISY, CLEAN, SELECTED, VALIDATION = 0, 1, 2, 3
"""Keys of the streams, and of the validation images, under the order and augmentation seeds."""


class PairedLoader:
    """Streams side by side (a `Loader`). The streams are independent of each other.

    Attributes:
        noisy, clean, lower_clean: one loader a stream; None where the method did not ask for it.
        selected: name of a selection → its stream, twice.
        steps_per_epoch: steps in which the noisy set is gone through once.

    Args:
        dataset: what the streams are drawn from.
        group: begins a group of streams that are asked for the same steps, and gives the maker of their loaders.
        train: batch sizes.
        seeds: of order, augmentation and draws.
        device: where keys and labels live.
    """

    def __init__(
        self,
        dataset: NoisyDataset,
        group: "Callable[[], MakeStream]",
        train: TrainConfig,
        seeds: SeedConfig,
        device: torch.device,
    ) -> None:
        self._dataset, self._group, self._train, self._device = dataset, group, train, device
        self._draws = seed_sequence(seeds, "draws")
        self.steps_per_epoch = steps_per_epoch(dataset, train)
        self._streams: Streams | None = None
        self.noisy: StreamLoader | None = None
        self.clean: StreamLoader | None = None
        self.lower_clean: StreamLoader | None = None
        self.selected: dict[str, tuple[StreamLoader, StreamLoader]] = {}
        self._selected_from = 0

    def serve(self, streams: Streams, selections: Mapping[str, Tensor], epoch: int) -> None:
        """See `Loader.serve`.

        The noisy stream fed from the trusted set or from both sets keeps the epoch length of the noisy set, so that
        methods train equally long. ``Streams.lower_clean`` splits each global clean batch of B images: the first
        ceil(B/2) serve the upper objective, the others the lower one, each sharded on its own.

        Raises:
            InputError: true labels asked for and unknown, no trusted set, or a clean batch too small to be split.
        """
        if streams != self._streams:
            self._serve(streams)
        noisy_size = self._train.global_noisy_batch_size
        dataset = self._dataset
        self._selected_from = epoch * self.steps_per_epoch
        self._close_selected()
        self.selected = {}
        make = self._group()
        for number, (name, positions) in enumerate(selections.items()):
            index, labels = (values[positions.cpu()] for values in _union(dataset))
            order = (SELECTED, number, epoch)
            first, second = (
                _Selection(make(index, labels, noisy_size, order, (*order, view)), positions) for view in range(2)
            )
            self.selected[name] = (first, second)

    @property
    def resident(self) -> Tensor | None:
        """(N, C, H, W) uint8, all training images, where the streams have them on the device."""
        pixels = self.noisy.pixels if isinstance(self.noisy, BatchLoader) else None
        return pixels.images if isinstance(pixels, ResidentPixels) else None

    @property
    def layout(self) -> tuple[tuple[str, tuple[int, int]], ...]:
        """See `Loader.layout`."""
        return tuple((name, stream.shape) for name, stream in self._served())

    def inputs(self, step: int) -> StepInputs:
        """See `Loader.inputs`."""
        within = step - self._selected_from
        given = [stream.inputs(within if name in self.selected else step) for name, stream in self._served()]
        numbers = np.concatenate([[self._key(step)], *(one.numbers.ravel() for one in given)])
        return StepInputs(torch.from_numpy(numbers), tuple(one.frames for one in given if one.frames is not None))

    def make(self, inputs: StepInputs) -> PairedBatch:
        """See `Loader.make`."""
        served = self._served()
        key, *blocks = inputs.numbers.split([1, *(rows * size for _, (rows, size) in self.layout)])
        frames = iter(inputs.frames)
        batches: dict[str, list[Batch]] = {}
        for (name, stream), block in zip(served, blocks, strict=True):
            batch = stream.make(block.view(stream.shape), next(frames) if stream.reads else None)
            batches.setdefault(name, []).append(batch)
        return PairedBatch(
            **{name: batches[name][0] for name in ("noisy", "clean", "lower_clean") if name in batches},
            selected={name: cast(tuple[Batch, Batch], tuple(batches[name])) for name in self.selected},
            key=key[0],
        )

    def batch(self, step: int) -> PairedBatch:
        """This rank's share of every stream's global batch ``step``."""
        return self.make(self.inputs(step).to(self._device))

    def close(self) -> None:
        """See `Loader.close`."""
        for _, stream in self._served():
            stream.close()

    def _served(self) -> list[tuple[str, StreamLoader]]:
        """All streams, by name; a selection has two of its name."""
        steady = (("noisy", self.noisy), ("clean", self.clean), ("lower_clean", self.lower_clean))
        present = [(name, stream) for name, stream in steady if stream is not None]
        return present + [(name, view) for name, views in self.selected.items() for view in views]

    def _close_selected(self) -> None:
        for stream in (view for views in self.selected.values() for view in views):
            stream.close()

    def _serve(self, streams: Streams) -> None:
        clean_batch = self._train.global_clean_batch_size
        _check(self._dataset, streams, clean_batch)
        self.close()
        index, labels = _noisy_samples(self._dataset, streams)
        union_from = len(self._dataset.noisy_index) if streams.noisy_images == "union" else None
        make = self._group()
        self.noisy = make(
            index, labels, self._train.global_noisy_batch_size, (NOISY,), (NOISY,), trusted_from=union_from
        )
        upper = -(-clean_batch // 2) if streams.lower_clean else clean_batch
        rows = ~held_out(self._dataset.clean_labels, streams.held_out)
        self.clean = self._clean_loader(make, rows, (0, upper)) if streams.clean else None
        self.lower_clean = self._clean_loader(make, rows, (upper, clean_batch)) if streams.lower_clean else None
        self._streams = streams

    def _clean_loader(self, make: "MakeStream", rows: Tensor, part: tuple[int, int]) -> StreamLoader:
        index, labels, old = self._dataset.clean_index, self._dataset.clean_labels, self._dataset.clean_old_labels
        size = self._train.global_clean_batch_size
        known = None if old is None else old[rows]
        return make(index[rows], labels[rows], size, (CLEAN,), (CLEAN,), part=part, old_labels=known)

    def _key(self, step: int) -> int:
        return int(np.random.PCG64(child(self._draws, step)).random_raw(1)[0] >> np.uint64(1))


class _Selection:
    """A stream over part of both sets, whose positions are those in the whole of them."""

    def __init__(self, loader: StreamLoader, positions: Tensor) -> None:
        self._loader, self._positions = loader, positions.cpu().numpy()
        self.shape, self.reads = loader.shape, loader.reads

    def inputs(self, step: int) -> StreamInputs:
        given = self._loader.inputs(step)
        positions, *others = given.numbers
        return replace(given, numbers=np.stack([self._positions[positions], *others]))

    def make(self, numbers: Tensor, frames: Tensor | None) -> Batch:
        return self._loader.make(numbers, frames)

    def close(self) -> None:
        self._loader.close()


@dataclass(frozen=True)
class MakeStream:
    """Makes the loaders of streams that are asked for the same steps, whatever holds the images.

    Attributes:
        pixels_of: see `Group`.
        order, augmentation: seeds.
        mean, std: (C,) float32, on ``device``.
        smoothing: see `Batch`.
    """

    dataset: NoisyDataset
    data: DataConfig
    pixels_of: Group
    order: np.random.SeedSequence
    augmentation: np.random.SeedSequence
    mean: Tensor
    std: Tensor
    smoothing: float
    rank: int
    world_size: int
    device: torch.device

    def __call__(
        self,
        index: Tensor,
        labels: Tensor,
        batch_size: int,
        order_key: tuple[int, ...],
        augmentation_key: tuple[int, ...],
        *,
        part: tuple[int, int] | None = None,
        trusted_from: int | None = None,
        old_labels: Tensor | None = None,
    ) -> StreamLoader:
        stream = IndexStream(len(index), batch_size, child(self.order, *order_key))
        share = RankSlice(index, stream, rank=self.rank, world_size=self.world_size, part=part)
        augment = augmentation(self.dataset, self.data, child(self.augmentation, *augmentation_key))
        return BatchLoader(
            self.pixels_of(share),
            labels,
            share,
            augment,
            self.mean,
            self.std,
            device=self.device,
            trusted_from=trusted_from,
            old_labels=old_labels,
            smoothing=self.smoothing,
        )


def steps_per_epoch(dataset: NoisyDataset, train: TrainConfig) -> int:
    """Steps in which the noisy set is gone through once, the last batch filled from the next epoch's order."""
    return -(-len(dataset.noisy_index) // train.global_noisy_batch_size)


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
    """Return the loader from the backend that `choose_loader` chooses, serving ``streams`` from the first epoch on.

    Raises:
        InputError: as `PairedLoader.serve`, or a backend that cannot be had.
    """
    device = torch.device(device)
    mean, std = dataset.mean.to(device), dataset.std.to(device)
    order, augmentation = (seed_sequence(seeds, stream) for stream in ("order", "augmentation"))
    backend = open_backend(dataset, data, device)

    def group() -> MakeStream:
        return MakeStream(
            dataset,
            data,
            backend(),
            order,
            augmentation,
            mean,
            std,
            train.label_smoothing,
            rank=rank,
            world_size=world_size,
            device=device,
        )

    loader = PairedLoader(dataset, group, train, seeds, device)
    loader.serve(streams, {}, 0)
    return loader


def augmentation(dataset: NoisyDataset, data: DataConfig, seed: np.random.SeedSequence) -> Augmentation:
    """Return what is done to training images. Raises `InputError` for padding that they are too small for."""
    if are_features(dataset.images):
        return Unaugmented()
    side = (dataset.images.shape[2], dataset.images.shape[3])
    if data.augment != "resized-crop-flip":
        stream = AugmentStream(data.augment, data.pad, seed, data.pad_mode)
        if stream.pad_mode == "reflect" and stream.pad >= min(side):
            raise InputError(
                f"data.pad={data.pad} is too much to mirror in images of {side[0]}×{side[1]}; give less than the "
                "shorter side, or --set data.pad_mode=zero"
            )
        return stream
    if isinstance(dataset.images, ImageFiles):
        return ResizedCropStream(dataset.images.sizes, side, seed)
    return ResizedCropStream(np.broadcast_to(np.array(side), (len(dataset.images), 2)), side, seed)


def _noisy_samples(dataset: NoisyDataset, streams: Streams) -> tuple[Tensor, Tensor]:
    """Return rows of the images and the labels that the noisy stream is fed from."""
    if streams.noisy_images == "clean":
        return dataset.clean_index, dataset.clean_labels
    if streams.noisy_images == "union":
        return _union(dataset)
    if streams.noisy_labels == "noisy":
        return dataset.noisy_index, dataset.noisy_labels
    if dataset.true_labels is None:
        raise InputError(
            "this method trains on the true labels of the noisy set, which are unknown for these data; choose another "
            "--method, or add noise to known labels with --noise uniform"
        )
    return dataset.noisy_index, dataset.true_labels


def _union(dataset: NoisyDataset) -> tuple[Tensor, Tensor]:
    """Return rows and labels of the noisy set and, after it, of the clean set."""
    return (
        torch.cat([dataset.noisy_index, dataset.clean_index]),
        torch.cat([dataset.noisy_labels, dataset.clean_labels]),
    )


def _check(dataset: NoisyDataset, streams: Streams, clean_batch: int) -> None:
    if streams.needs_clean and not len(dataset.clean_index):
        raise InputError("this method needs trusted images and there are none; give DIR/clean/<class>/* or --clean-csv")
    if streams.lower_clean and clean_batch < 2:
        raise InputError(
            f"global clean batch size {clean_batch} cannot be split into an upper and a lower half; give at least 2 "
            "(--set train.global_clean_batch_size=2)"
        )
