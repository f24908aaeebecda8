"""The order of samples: every sample once a pass, full batches, a pure function of (seed, step)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebomlc_dist.data.loaders.index_stream import IndexStream, shard

SEED = np.random.SeedSequence(5)
PINNED = [6, 3, 8, 1, 4, 5, 9, 2, 7, 0]


@given(size=st.integers(1, 40), batch=st.integers(1, 90), passes=st.integers(1, 4))
def test_every_pass_visits_every_sample_once(size: int, batch: int, passes: int) -> None:
    stream = IndexStream(size, batch, SEED)
    batches = [stream.positions(step) for step in range(-(-size * passes // batch))]
    assert {len(positions) for positions in batches} == {batch}
    flat = np.concatenate(batches)[: size * passes].reshape(passes, size)
    assert np.array_equal(np.sort(flat, axis=1), np.tile(np.arange(size), (passes, 1)))


@given(size=st.integers(1, 40), batch=st.integers(1, 90), steps=st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_positions_depend_on_the_step_alone(size: int, batch: int, steps: list[int]) -> None:
    visited = IndexStream(size, batch, SEED)
    for step in steps:
        fresh = IndexStream(size, batch, SEED)
        assert np.array_equal(visited.positions(step), fresh.positions(step))


def test_memory_stays_bounded() -> None:
    stream = IndexStream(10, 3, SEED)
    for step in range(100):
        stream.positions(step)
    assert len(stream._orders) <= 2


def test_passes_and_seeds_have_orders_of_their_own() -> None:
    stream, other = IndexStream(30, 30, SEED), IndexStream(30, 30, np.random.SeedSequence(6))
    orders = {tuple(stream.positions(step)) for step in range(5)} | {tuple(other.positions(step)) for step in range(5)}
    assert len(orders) == 10


def test_order_is_shuffled_evenly() -> None:
    """Over 2,000 passes each sample comes first equally often: chi-square of 9 degrees stays below its 1e-6 tail."""
    stream = IndexStream(10, 10, SEED)
    first = np.bincount([stream.positions(step)[0] for step in range(2000)], minlength=10)
    assert ((first - 200) ** 2 / 200).sum() < 46


def test_order_is_pinned() -> None:
    """A changed order would break every resumed run without a word."""
    assert IndexStream(10, 10, np.random.SeedSequence(0)).positions(0).tolist() == PINNED


@pytest.mark.parametrize(("size", "batch", "steps"), [(10, 5, 2), (11, 5, 3), (3, 7, 1)])
def test_steps_per_epoch(size: int, batch: int, steps: int) -> None:
    assert IndexStream(size, batch, SEED).steps_per_epoch == steps


@given(total=st.integers(0, 50), world_size=st.integers(1, 12))
def test_shards_cover_the_batch_in_order(total: int, world_size: int) -> None:
    parts = [range(total)[shard(total, rank, world_size)] for rank in range(world_size)]
    assert [position for part in parts for position in part] == list(range(total))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("rank", [-1, 2])
def test_shard_refuses_a_rank_outside_the_world(rank: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        shard(10, rank, 2)
