"""The resident loader: one global stream at every world size, independent streams, true labels out of reach."""

from dataclasses import replace

import pytest
import torch

from ebomlc_dist.config import DataConfig, SeedConfig, TrainConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.loaders.paired import PairedLoader, build_loader
from ebomlc_dist.data.loaders.streams import Loader
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.contract import Batch, Streams
from tests.data.support import make_dataset

BOTH = Streams(clean=True, lower_clean=True)
STREAM_NAMES = ("noisy", "clean", "lower_clean")


def build(
    dataset: NoisyDataset | None = None,
    streams: Streams = BOTH,
    *,
    rank: int = 0,
    world_size: int = 1,
    noisy: int = 7,
    clean: int = 5,
    seeds: SeedConfig | None = None,
) -> PairedLoader:
    return build_loader(
        dataset or make_dataset(),
        streams,
        DataConfig(pad=2),
        TrainConfig(global_noisy_batch_size=noisy, global_clean_batch_size=clean),
        seeds or SeedConfig(),
        rank=rank,
        world_size=world_size,
        device="cpu",
    )


def part(loader: PairedLoader, name: str, step: int) -> tuple[Batch, torch.Tensor]:
    batch = getattr(loader.batch(step), name)
    return batch, batch.positions


def counted(parts: list[tuple[Batch, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, labels and positions of what counts on all ranks, in rank order."""
    return (
        torch.cat([batch.images[: batch.count] for batch, _ in parts]),
        torch.cat([batch.labels[: batch.count] for batch, _ in parts]),
        torch.cat([positions[: batch.count] for batch, positions in parts]),
    )


@pytest.mark.parametrize("name", STREAM_NAMES)
@pytest.mark.parametrize("world_size", [2, 4, 9])
def test_same_global_batches_at_every_world_size(name: str, world_size: int) -> None:
    alone = build()
    ranks = [build(rank=rank, world_size=world_size) for rank in range(world_size)]
    for step in range(12):
        expected = counted([part(alone, name, step)])
        found = counted([part(rank, name, step) for rank in ranks])
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("name", STREAM_NAMES)
def test_global_batches_change_with_the_step_and_the_seed(name: str) -> None:
    """Negative control of the test above."""
    one, other = build(), build(seeds=SeedConfig(seed=1))
    assert not torch.equal(part(one, name, 0)[0].images, part(one, name, 1)[0].images)
    assert not torch.equal(part(one, name, 0)[0].images, part(other, name, 0)[0].images)


def test_an_empty_share_borrows_one_image() -> None:
    for rank in range(9):
        batch, positions = part(build(rank=rank, world_size=9), "noisy", 0)
        assert len(batch.images) == len(batch.labels) == len(positions) == max(batch.count, 1)
    counts = [part(build(rank=rank, world_size=9), "noisy", 0)[0].count for rank in range(9)]
    assert sum(counts) == 7
    assert counts.count(0) == 2


def test_positions_lead_to_labels_and_pixels() -> None:
    dataset = make_dataset()
    loader = build_loader(
        dataset, BOTH, DataConfig(augment="none"), TrainConfig(), SeedConfig(), rank=0, world_size=1, device="cpu"
    )
    rows = {"noisy": (dataset.noisy_index, dataset.noisy_labels), "clean": (dataset.clean_index, dataset.clean_labels)}
    rows["lower_clean"] = rows["clean"]
    for name, (index, labels) in rows.items():
        batch, positions = part(loader, name, 1)
        assert torch.equal(batch.labels, labels[positions])
        pixels = (dataset.images[index[positions]] / 255 - dataset.mean.view(-1, 1, 1)) / dataset.std.view(-1, 1, 1)
        assert torch.equal(batch.images, pixels)


@pytest.mark.parametrize("name", ["noisy", "clean"])
def test_every_image_once_per_pass(name: str) -> None:
    dataset = make_dataset(num_noisy=21, num_clean=15)
    loader = build(dataset, Streams(clean=True))
    steps = 3
    seen = torch.cat([part(loader, name, step)[1] for step in range(steps)])
    assert torch.equal(seen.sort().values, torch.arange(21 if name == "noisy" else 15))


def test_clean_batch_is_split_in_halves_that_do_not_meet() -> None:
    whole = build(streams=Streams(clean=True))
    halves = build()
    for step in range(4):
        upper, lower = part(halves, "clean", step), part(halves, "lower_clean", step)
        assert (upper[0].count, lower[0].count) == (3, 2)
        assert torch.equal(torch.cat([upper[1], lower[1]]), part(whole, "clean", step)[1])


def test_streams_are_independent() -> None:
    """Sets of one size and batches of one size: neither the order nor the augmentation is shared."""
    loader = build(make_dataset(num_noisy=16, num_clean=16), Streams(clean=True), noisy=8, clean=8)
    assert not torch.equal(part(loader, "noisy", 0)[1], part(loader, "clean", 0)[1])
    assert not (loader.noisy.augment.draws(0, 8) == loader.clean.augment.draws(0, 8)).all()


def test_order_and_augmentation_have_seeds_of_their_own() -> None:
    base, order, pixels = build(), build(seeds=SeedConfig(order=1)), build(seeds=SeedConfig(augmentation=1))
    assert not torch.equal(base.batch(0).noisy.positions, order.batch(0).noisy.positions)
    assert torch.equal(base.batch(0).noisy.positions, pixels.batch(0).noisy.positions)
    assert not torch.equal(base.batch(0).noisy.images, pixels.batch(0).noisy.images)


@pytest.mark.parametrize("streams", [BOTH, Streams(), Streams(noisy_images="clean")])
def test_true_labels_reach_no_batch(streams: Streams) -> None:
    dataset = make_dataset()
    assert dataset.true_labels is not None
    garbage = replace(dataset, true_labels=torch.full_like(dataset.true_labels, -(10**9)))
    for step in range(5):
        honest, blind = build(dataset, streams).batch(step), build(garbage, streams).batch(step)
        for name in STREAM_NAMES:
            if (batch := getattr(honest, name)) is not None:
                assert torch.equal(batch.images, getattr(blind, name).images)
                assert torch.equal(batch.labels, getattr(blind, name).labels)


def test_true_labels_reach_the_oracle() -> None:
    """Negative control: the one stream that asks for them does see them."""
    dataset = make_dataset()
    loader = build(dataset, Streams(noisy_labels="true"))
    assert dataset.true_labels is not None
    assert torch.equal(loader.batch(0).noisy.labels, dataset.true_labels[loader.batch(0).noisy.positions])


def test_oracle_needs_true_labels() -> None:
    with pytest.raises(InputError, match="true labels of the noisy set, which are unknown"):
        build(replace(make_dataset(), true_labels=None), Streams(noisy_labels="true"))


def test_noisy_stream_fed_from_the_trusted_set_keeps_the_epoch_length() -> None:
    dataset = make_dataset()
    loader, usual = build(dataset, Streams(noisy_images="clean"), noisy=12), build(dataset, Streams(), noisy=12)
    assert loader.steps_per_epoch == usual.steps_per_epoch == 2
    assert torch.equal(loader.batch(0).noisy.labels, dataset.clean_labels[loader.batch(0).noisy.positions])
    assert loader.batch(0).noisy.count == 12


def test_streams_not_asked_for_are_absent() -> None:
    batch = build(streams=Streams()).batch(0)
    assert batch.clean is None
    assert batch.lower_clean is None


def test_images_lie_on_the_device_once() -> None:
    dataset = make_dataset()
    loader = build(dataset)
    pointers = {getattr(loader, name).pixels.images.data_ptr() for name in STREAM_NAMES}
    assert pointers == {dataset.images.data_ptr()}


def test_meets_the_protocol() -> None:
    loader: Loader = build()
    assert loader.steps_per_epoch == 4


def test_missing_trusted_set() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(InputError, match="needs trusted images and there are none"):
        build(replace(make_dataset(), clean_index=empty, clean_labels=empty), Streams(clean=True))


def test_clean_batch_too_small_to_split() -> None:
    with pytest.raises(InputError, match="cannot be split"):
        build(clean=1)
