"""A rank whose bits are no longer the others' ends the run and is named."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.replicas import bit_hash, check_replicas
from ebomlc_dist.engine.trainer import Trainer
from ebomlc_dist.errors import TrainingFault
from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.run_folder import read_status
from ebomlc_dist.methods import config_from_mapping
from tests.methods.rows import ROWS
from tests.support.pool import RankPool
from tests.support.runs import runtime_of, tiny_config, train_until

FLIPPED_AT = 7
CHECK_STEPS = 4


def run(
    communicator: Communicator, folder: Path, flipped_rank: int | None, part: str, check_steps: int, method: str
) -> str | None:
    """The fault a run ends with; None where it finishes. Five steps an epoch."""
    config = tiny_config(
        method, train={"global_noisy_batch_size": 60, "epochs": 4, "replica_check_steps": check_steps}
    ).model_copy(update={"method": config_from_mapping({"name": method, **ROWS[method].short_run})})
    original = Trainer._step

    def step(trainer: Trainer, done: int) -> None:
        original(trainer, done)
        if done + 1 == FLIPPED_AT and communicator.rank == flipped_rank:
            flip(trainer, part)

    Trainer._step = step  # type: ignore[method-assign]
    try:
        train_until(config, folder, runtime_of(communicator))
    except TrainingFault as fault:
        return str(fault)
    finally:
        Trainer._step = original  # type: ignore[method-assign]
    return None


def flip(trainer: Trainer, part: str) -> None:
    """The lowest bit of one number."""
    training = trainer.training
    tensor = {
        "network": training.networks["main"].vector.detach(),
        "optimiser": training.optimizers["main"].state()["momentum_buffer"],
    }[part]
    tensor.view(torch.int32)[11] ^= 1


@pytest.mark.parametrize("part", ["network", "optimiser"])
def test_one_flipped_bit_ends_the_run_at_the_next_check(tmp_path: Path, two_ranks: RankPool, part: str) -> None:
    faults = two_ranks.run(run, tmp_path, 1, part, CHECK_STEPS, "ebomlc")
    assert faults[0] == faults[1]
    assert "ranks 0, 1 differ" in faults[0]
    assert "at step 8;" in faults[0]
    assert read_status(tmp_path).reason == faults[0]
    checkpoint = CheckpointStore(tmp_path / "checkpoints").load()
    assert checkpoint is not None
    assert checkpoint.step == 5


def test_no_checkpoint_is_written_of_ranks_that_differ(tmp_path: Path, two_ranks: RankPool) -> None:
    """The next comparison is due after the epoch's end; the checkpoint there asks for one."""
    faults = two_ranks.run(run, tmp_path, 0, "network", 1000, "ebomlc")
    assert "at step 10;" in faults[0]
    checkpoint = CheckpointStore(tmp_path / "checkpoints").load()
    assert checkpoint is not None
    assert checkpoint.step == 5


def test_nobody_looks_where_it_is_off(tmp_path: Path, two_ranks: RankPool) -> None:
    assert two_ranks.run(run, tmp_path, 1, "network", 0, "ebomlc") == [None, None]


@pytest.mark.parametrize(
    "method", [name if name in ("ebomlc", "mlc") else pytest.param(name, marks=pytest.mark.slow) for name in ROWS]
)
def test_the_ranks_of_an_undisturbed_run_are_equal_at_every_step(
    tmp_path: Path, two_ranks: RankPool, method: str
) -> None:
    assert two_ranks.run(run, tmp_path, None, "network", 1, method) == [None, None]


class FourRows:
    """Answers for four ranks, of which ``odd`` hold other bits in their first tensor."""

    def __init__(self, odd: tuple[int, ...]) -> None:
        self.odd = odd

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        rows = own.repeat(4, 1)
        for rank in self.odd:
            rows[rank, 0] += 1 + rank
        return rows


def four(odd: tuple[int, ...]) -> Training:
    runtime = SimpleNamespace(world_size=4, communicator=FourRows(odd))
    network = SimpleNamespace(vector=torch.ones(3), whole=True)
    parts = {"networks": {"main": network}, "optimizers": {}, "method": SimpleNamespace(state={})}
    return cast(Training, SimpleNamespace(runtime=runtime, **parts))


@pytest.mark.parametrize(
    ("odd", "line"),
    [
        ((2,), r"^rank 2 differs from the 3 others: different bits in the main network at step 9;"),
        ((0, 3), r"^ranks 0, 1, 2, 3 differ and no majority"),
    ],
)
def test_the_rank_that_the_majority_contradicts_is_named(odd: tuple[int, ...], line: str) -> None:
    with pytest.raises(TrainingFault, match=line):
        check_replicas(four(odd), 9)


def test_four_equal_ranks_pass() -> None:
    check_replicas(four(()), 9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_any_bit_moves_the_hash(dtype: torch.dtype) -> None:
    tensor = torch.ones(5, dtype=dtype)
    before = bit_hash(tensor)
    assert bit_hash(tensor.clone()) == before
    data = tensor.view(torch.uint8)
    bits = 1 if dtype == torch.bool else 8
    for place in range(len(data)):
        for bit in range(bits):
            data[place] ^= 1 << bit
            assert bit_hash(tensor) != before
            data[place] ^= 1 << bit


def test_two_numbers_that_change_places_move_the_hash() -> None:
    tensor = torch.tensor([1.0, 2.0, 3.0])
    assert bit_hash(tensor) != bit_hash(tensor.flip(0))
