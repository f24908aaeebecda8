"""What one rank does while the others wait is under the start-up's limit, not under a step's."""

import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from ebomlc_dist.config import TrainConfig
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.build import build
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.trainer import Trainer
from ebomlc_dist.errors import InputError
from ebomlc_dist.monitoring.goodput import Stopwatch
from ebomlc_dist.monitoring.record import SilentRecord
from tests.rehearsal.runs import NOBODY
from tests.support.pool import RankPool
from tests.support.runs import runtime_of, tiny_config

STEP_LIMIT_S = 1.0


def reading_slowly(communicator: Communicator, patient: bool) -> str:
    group = dist.new_group(timeout=timedelta(seconds=60))
    runtime = runtime_of(communicator)
    hasty = Communicator(communicator.device, rank=communicator.rank, world_size=2, group=group)
    hasty.barrier()
    # Only now: on a busy machine, meeting takes longer than the limit that is to strike.
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=STEP_LIMIT_S), group)
    runtime.communicator = hasty
    if not patient:
        runtime.patient = hasty

    def read() -> str:
        time.sleep(2 * STEP_LIMIT_S)
        return "read"

    try:
        return runtime.on_first_rank(read)
    except RuntimeError:
        return "timed out"


def test_the_first_rank_may_take_its_time_at_the_start(two_ranks: RankPool) -> None:
    assert two_ranks.run(reading_slowly, True) == ["read", "read"]


def test_the_steps_limit_would_have_ended_it() -> None:
    """In ranks of its own: a limit that strikes leaves a group broken."""
    pool = RankPool(2)
    try:
        assert "timed out" in pool.run(reading_slowly, False)
    finally:
        pool.close()


def outcomes(communicator: Communicator) -> list[str]:
    runtime = runtime_of(communicator)

    def refuse() -> None:
        raise InputError("it cannot be")

    told = []
    for work in (runtime.on_first_rank, runtime.on_every_rank):
        try:
            work(refuse)
        except InputError as error:
            told.append(str(error))
    runtime.check_alike("thing", {"key": "same"})
    try:
        runtime.check_alike("thing", {"other": 1, "key": f"of rank {communicator.rank}"})
    except InputError as error:
        told.append(str(error))
    return [*told, runtime.broadcast_text(f"rank {communicator.rank}: ü")]


def test_every_rank_hears_the_same(two_ranks: RankPool) -> None:
    first, second = two_ranks.run(outcomes)
    assert first == second
    assert first[:2] == ["it cannot be"] * 2
    assert first[2].startswith("rank 1 on ")
    assert "another thing than rank 0: key is 'of rank 1' here and 'of rank 0' there;" in first[2]
    assert first[3] == "rank 0: ü"


@pytest.mark.parametrize("deterministic", [False, True])
def test_cudnn_looks_for_its_quickest_kernels_unless_they_are_to_be_repeatable(
    deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", deterministic)
    asked: list[bool] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    for name in ("CUBLAS_WORKSPACE_CONFIG", "NCCL_NVLS_ENABLE"):
        monkeypatch.setenv(name, "")
    Runtime.start(TrainConfig(deterministic=deterministic), "cpu").close()
    assert torch.backends.cudnn.benchmark is not deterministic
    assert asked == [True] * deterministic


def limit_of(runtime: Runtime) -> float:
    """Seconds that a wait of a step has, to the nearest one."""
    with runtime.communicator.waiting():
        left = runtime.wait_counter.left_s()
    assert left is not None
    return round(left)


def test_until_a_first_step_is_done_the_limit_of_a_start_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second training of a process too, as after that of an extractor: it compiles anew."""
    config = tiny_config("ce", train={"epochs": 1, "start_timeout_s": 600.0, "step_timeout_s": 60.0})
    runtime = Runtime.start(config.train, "cpu")
    limits: list[float] = []
    step = Trainer._step

    def watched(self: Trainer, number: int) -> None:
        limits.append(limit_of(runtime))
        step(self, number)

    monkeypatch.setattr(Trainer, "_step", watched)
    try:
        assert limit_of(runtime) == 600
        for _ in range(2):
            training = build(config, load_everywhere(config, runtime), runtime)
            trainer = Trainer(training, SilentRecord(), Stopwatch(runtime.synchronise))
            list(trainer.steps(NOBODY))
        assert limits == 2 * [600, *[60] * (training.total_steps - 1)]
    finally:
        runtime.close()
