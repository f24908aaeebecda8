"""Streams that mix both sets, and selections of them."""

import torch

from ebomlc_dist.config import DataConfig, SeedConfig, TrainConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.loaders.paired import PairedLoader, build_loader
from ebomlc_dist.methods.contract import Batch, Streams
from tests.data.support import make_dataset

SELECTIONS = {"some": torch.tensor([1, 4, 5, 20]), "trusted too": torch.tensor([2, 24, 30])}


def build(dataset: NoisyDataset, streams: Streams, rank: int = 0, world_size: int = 1) -> PairedLoader:
    train = TrainConfig(global_noisy_batch_size=7, global_clean_batch_size=5)
    return build_loader(
        dataset, streams, DataConfig(), train, SeedConfig(), rank=rank, world_size=world_size, device="cpu"
    )


def joined(batches: list[Batch]) -> tuple[torch.Tensor, ...]:
    """What counts on all ranks."""
    fields = ("images", "labels", "positions")
    return tuple(torch.cat([getattr(batch, name)[: batch.count] for batch in batches]) for name in fields)


def test_a_union_holds_noisy_labels_of_noisy_images_and_trusted_ones_of_the_others() -> None:
    dataset = make_dataset()
    loader = build(dataset, Streams(noisy_images="union"))
    seen = [loader.batch(step).noisy for step in range(32)]
    positions = torch.cat([batch.positions for batch in seen])
    trusted = torch.cat([batch.trusted for batch in seen])
    labels = torch.cat([batch.labels for batch in seen])
    assert torch.equal(trusted, positions >= 23)
    assert torch.equal(labels, torch.cat([dataset.noisy_labels, dataset.clean_labels])[positions])
    # 7 · 32 samples are seven passes over 23 + 9.
    assert torch.equal(positions.bincount(), torch.full((32,), 7))
    assert build(dataset, Streams()).batch(0).noisy.trusted is None


def test_places_of_shards_and_selections_are_the_same_at_every_world_size() -> None:
    dataset = make_dataset()
    alone = build(dataset, Streams(noisy_images="union"))
    ranks = [build(dataset, Streams(noisy_images="union"), rank, 3) for rank in range(3)]
    for loader in (alone, *ranks):
        loader.serve(Streams(noisy_images="union"), SELECTIONS, 2)
    for step in range(2 * alone.steps_per_epoch, 2 * alone.steps_per_epoch + 3):
        whole, shares = alone.batch(step), [loader.batch(step) for loader in ranks]
        assert all(torch.equal(whole.key, share.key) for share in shares)
        pairs = [(whole.noisy, [share.noisy for share in shares])]
        for name in SELECTIONS:
            for view in range(2):
                pairs.append((whole.selected[name][view], [share.selected[name][view] for share in shares]))
        for expected, parts in pairs:
            assert all(torch.equal(a, b) for a, b in zip(joined([expected]), joined(parts), strict=True))
            assert [part.offset for part in parts] == [0, 2, 4]
            assert {part.global_size for part in parts} == {7}
        assert set(whole.selected["trusted too"][0].positions.tolist()) <= {2, 24, 30}


def test_selections_last_until_the_next_epoch_and_are_ordered_anew() -> None:
    loader = build(make_dataset(), Streams())
    assert loader.batch(0).selected == {}
    found = []
    for epoch in (1, 2):
        loader.serve(Streams(), {"some": torch.arange(20)}, epoch)
        found.append(loader.batch(epoch * loader.steps_per_epoch).selected["some"][0].positions)
    assert not torch.equal(*found)
    loader.serve(Streams(), {}, 3)
    assert loader.batch(12).selected == {}
