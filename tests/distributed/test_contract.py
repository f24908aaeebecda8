"""Every method on two gloo ranks: the same bits as one process going over the shards, and near the whole batch."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.methods import method_class
from ebomlc_dist.methods.contract import Batch
from ebomlc_dist.testing.lockstep import over_shards
from ebomlc_dist.testing.method_contract import SIZES, STEPS, State, equal, on_a_shard, relative, spoilt
from ebomlc_dist.testing.problem import Sizes, SmallHead, SmallNet, local_batch, make_learner, run_steps
from tests.methods.rows import CASES, ROWS
from tests.support.pool import RankPool

CPU = torch.device("cpu")
UNEQUAL = SIZES["unequal"]
ALL_SIZES = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)

pytestmark = pytest.mark.usefixtures("one_thread")


def on_a_rank(
    communicator: Communicator, method: str, settings: dict, sizes: Sizes, batch_norm: bool, main_model: type = SmallNet
) -> State:
    learner = make_learner(method, communicator, batch_norm=batch_norm, main_model=main_model, **settings)
    run_steps(learner, STEPS, communicator.rank, communicator.world_size, sizes)
    return learner.state()


_left: dict[str, list[State]] = {}


def on_both(ranks: RankPool, method: str, settings: dict, sizes: Sizes, batch_norm: bool) -> list[State]:
    """What `on_a_rank` leaves on each rank. Several tests look at a run, which is taken once."""
    run = (method, settings, sizes, batch_norm)
    if repr(run) not in _left:
        _left[repr(run)] = ranks.run(on_a_rank, *run)
    return _left[repr(run)]


@ALL_SIZES
@pytest.mark.parametrize(("method", "settings"), CASES, ids=str)
def test_two_ranks_equal_one_process_over_the_shards_bit_for_bit(
    two_ranks: RankPool, method: str, settings: dict, sizes: Sizes
) -> None:
    ranks = on_both(two_ranks, method, settings, sizes, True)
    make = partial(make_learner, method, **settings)
    shards = over_shards(2, lambda rank, reducer: on_a_shard(rank, reducer, make, sizes))
    for state, control in zip(ranks, shards, strict=True):
        assert equal(state, control)


@pytest.mark.parametrize(("method", "settings"), CASES, ids=str)
def test_two_ranks_on_features_equal_one_process_over_the_shards_bit_for_bit(
    two_ranks: RankPool, method: str, settings: dict
) -> None:
    ranks = two_ranks.run(on_a_rank, method, settings, UNEQUAL, True, SmallHead)
    make = partial(make_learner, method, main_model=SmallHead, **settings)
    shards = over_shards(2, lambda rank, reducer: on_a_shard(rank, reducer, make, UNEQUAL))
    for state, control in zip(ranks, shards, strict=True):
        assert equal(state, control)
    whole = make_learner(method, Communicator(CPU), main_model=SmallHead, batch_norm=False, **settings)
    run_steps(whole, STEPS, sizes=UNEQUAL)
    alike = two_ranks.run(on_a_rank, method, settings, UNEQUAL, False, SmallHead)[0]
    for name, expected in whole.state().items():
        if expected.numel() and name.endswith("vector"):
            assert relative(alike[name], expected) < 1e-10, name


@pytest.mark.parametrize(("method", "settings"), CASES, ids=str)
def test_ranks_hold_the_same_parameters_but_their_own_statistics(
    two_ranks: RankPool, method: str, settings: dict
) -> None:
    first, second = on_both(two_ranks, method, settings, UNEQUAL, True)
    assert all(torch.equal(first[name], second[name]) for name in first if not name.endswith("statistics"))
    assert not torch.equal(first["main.statistics"], second["main.statistics"])


@ALL_SIZES
@pytest.mark.parametrize(("method", "settings"), CASES, ids=str)
def test_two_ranks_agree_with_the_whole_batch(two_ranks: RankPool, method: str, settings: dict, sizes: Sizes) -> None:
    """Without batch statistics the world size is a matter of rounding."""
    state = on_both(two_ranks, method, settings, sizes, False)[0]
    whole = make_learner(method, Communicator(CPU), batch_norm=False, **settings)
    run_steps(whole, STEPS, sizes=sizes)
    for name, expected in whole.state().items():
        if expected.numel() and name.endswith("vector"):
            assert relative(state[name], expected) < 1e-10, name


class ReducesLast:
    """Negative control: every rank forms its own means; `averaged` reduces the directions they lead to."""

    def mean_of_sums(self, sums: list[Tensor], count: int) -> "ReducesLast":
        self._means = [s / max(count, 1) for s in sums]
        return self._copy()

    def _copy(self) -> "ReducesLast":
        copy = ReducesLast()
        copy._means = self._means
        return copy

    def wait(self) -> list[Tensor]:
        return self._means


@pytest.mark.parametrize("method", ["ebomlc", "ebomlc-released"])
def test_averaging_what_each_rank_would_do_is_not_the_same(method: str) -> None:
    """Averages of per-rank directions, each with its own β, are another algorithm."""
    whole = make_learner(method, Communicator(CPU), batch_norm=False)
    run_steps(whole, 1, sizes=UNEQUAL)
    separate = []
    for rank in range(2):
        learner = make_learner(method, ReducesLast(), batch_norm=False)
        run_steps(learner, 1, rank, 2, UNEQUAL)
        separate.append(learner.networks["main"].vector.detach())
    start = make_learner(method, Communicator(CPU), batch_norm=False).networks["main"].vector.detach()
    moved, expected = sum(separate) / 2 - start, whole.networks["main"].vector.detach() - start
    assert relative(moved, expected) > 1e-3


class SkipsOne:
    """Negative control: one reduction of each step stays on the rank."""

    def __init__(self, communicator: Communicator, skipped: int, calls: int) -> None:
        self._communicator, self._skipped, self._calls, self._call = communicator, skipped, calls, 0

    def mean_of_sums(self, sums: list[Tensor], count: int):
        return self._next().mean_of_sums(sums, count)

    def assemble(self, values: Tensor, batch: Batch):
        return self._next().assemble(values, batch)

    def _next(self) -> Communicator:
        call, self._call = self._call % self._calls, self._call + 1
        return Communicator(CPU) if call == self._skipped else self._communicator


def with_a_reduction_skipped(communicator: Communicator, method: str, skipped: int) -> State:
    reducer = SkipsOne(communicator, skipped, ROWS[method].collectives)
    learner = make_learner(method, reducer, batch_norm=False, epoch=ROWS[method].epoch)
    run_steps(learner, STEPS, communicator.rank, 2, UNEQUAL)
    return learner.state()


@pytest.mark.parametrize(
    ("method", "skipped"), [(name, call) for name, row in ROWS.items() for call in range(row.collectives)]
)
def test_every_reduction_is_needed(two_ranks: RankPool, method: str, skipped: int) -> None:
    state = two_ranks.run(with_a_reduction_skipped, method, skipped)[0]
    right = on_both(two_ranks, method, {"epoch": ROWS[method].epoch}, UNEQUAL, False)[0]
    assert max(relative(state[n], right[n]) for n in state if n.endswith("vector")) > 1e-9


def count_collectives(communicator: Communicator, method: str) -> int:
    learner = make_learner(method, communicator, epoch=ROWS[method].epoch)
    run_steps(learner, 1, communicator.rank, 2)
    before = communicator.num_collectives
    run_steps(learner, 1, communicator.rank, 2, first=1)
    return communicator.num_collectives - before


@pytest.mark.parametrize("method", ROWS)
def test_collectives_of_a_step(two_ranks: RankPool, method: str) -> None:
    """At most three, and one for each inner step beyond the first; more only where the row says why."""
    assert two_ranks.run(count_collectives, method) == [ROWS[method].collectives] * 2
    inner_steps = getattr(method_class(method).Config(), "inner_steps", 1)
    assert (ROWS[method].collectives > 2 + inner_steps) == bool(ROWS[method].more_because)


def with_a_bad_image_on_rank_one(
    communicator: Communicator, method: str, steps: list[int], bad_step: int | None
) -> tuple[State, list[bool]]:
    learner = make_learner(method, communicator, epoch=ROWS[method].epoch)
    skipped = []
    for step in steps:
        batch = local_batch(learner.method, step, communicator.rank, 2)
        bad = step == bad_step and communicator.rank == 1
        skipped.append(bool(learner.step(spoilt(batch, bad)).skipped))
    return learner.state(), skipped


@pytest.mark.parametrize("method", ROWS)
def test_a_fault_on_one_rank_skips_the_step_on_all(two_ranks: RankPool, method: str) -> None:
    """A NaN image on rank 1 at step 2: both ranks end as if that step had not been, statistics included."""
    faulty = two_ranks.run(with_a_bad_image_on_rank_one, method, [0, 1, 2, 3], 2)
    without = two_ranks.run(with_a_bad_image_on_rank_one, method, [0, 1, 3], None)
    undisturbed = two_ranks.run(with_a_bad_image_on_rank_one, method, [0, 1, 2, 3], None)
    for (state, skipped), (expected, _), (other, _) in zip(faulty, without, undisturbed, strict=True):
        assert skipped == [False, False, True, False]
        assert equal(state, expected)
        assert not equal(state, other)
