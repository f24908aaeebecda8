"""A run that goes on with another number of processes, from the middle of an epoch, is still the same run.

Batches are those of one process, whatever the sizes: no sample is lost, none seen twice. Where the size stays the
same, so do the bits; where it changes, sums are formed in another order, and the weights agree in norm.
"""

import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine import trainer
from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.cuda_graph import Program, Taken
from ebomlc_dist.engine.optimizers import FlatOptimizer
from ebomlc_dist.files.durable import remove_tree
from ebomlc_dist.files.run_folder import read_status
from tests.faults.zygote import Zygote
from tests.support.commands import wait_for
from tests.support.pool import free_port
from tests.support.runs import assert_same, outcome, same_tensors, tiny_config, train_until

SEED = int(os.environ.get("EBOMLC_TEST_SEED", "20"))
TRIALS = int(os.environ.get("EBOMLC_TEST_TRIALS", "20"))
SIZES = (2, 1, 4, 2)
EPOCHS, STEPS_PER_EPOCH = 3, 7
STEPS = EPOCHS * STEPS_PER_EPOCH
# Neither is divided by 4 ranks, and a batch may span two passes.
NOISY_BATCH, CLEAN_BATCH = 42, 10
NOISY, CLEAN = 256, 20
RUN_S = 240.0
# Of the main model's tensors, each: the distance from the run of one process, of its length. Float32, 21 steps.
NORM = 1e-5


class Part(NamedTuple):
    """``size`` processes take the steps up to ``end``, where they are asked to stop."""

    size: int
    end: int


def elastic_config(*, exact: bool) -> RunConfig:
    """``exact``: nothing that depends on how a batch is cut, as running statistics and drawn masks do."""
    return tiny_config(
        train={
            "epochs": EPOCHS,
            "log_interval": 2,
            "global_noisy_batch_size": NOISY_BATCH,
            "global_clean_batch_size": CLEAN_BATCH,
            "start_timeout_s": RUN_S,
            "step_timeout_s": RUN_S,
        },
        model={"norm": "group" if exact else "batch"},
        meta_model={"dropout": 0.0 if exact else 0.2},
    )


def schedule(random: Random, sizes: Sequence[int]) -> list[Part]:
    """Random stops in the middle of epochs, two steps apart at least; the last part goes to the end."""
    inner = [step for step in range(2, STEPS - 1) if step % STEPS_PER_EPOCH]
    while True:
        stops = sorted(random.sample(inner, len(sizes) - 1))
        if all(later - earlier > 1 for earlier, later in pairwise(stops)):
            return [*map(Part, sizes, stops), Part(sizes[-1], STEPS)]


def split(random: Random, part: Part, begin: int) -> list[Part]:
    """The part in two of the same size, where it is long enough."""
    middle = [step for step in range(begin + 2, part.end - 1) if step % STEPS_PER_EPOCH]
    return [Part(part.size, random.choice(middle)), part] if middle else [part]


def train_part(config: RunConfig, folder: Path, seen: Path, rank: int, part: Part, port: int, forget: bool) -> None:
    """One of the processes of a part; notes the samples of every step. With ``forget`` the optimisers begin anew."""
    make = trainer.make_program

    def noting(training: Training) -> Program:
        program = make(training)

        def take(step: int) -> Taken:
            taken = program(step)
            noisy, clean = taken[0].noisy, taken[0].clean
            assert clean is not None
            row = [b.positions[: b.count].tolist() for b in (noisy, clean) if b.positions is not None]
            with seen.open("a") as file:
                print(json.dumps([step, rank, *row]), file=file)
            return taken

        take.close = program.close  # type: ignore[attr-defined]
        return take

    trainer.make_program = noting
    if forget:
        FlatOptimizer.load = lambda self, *state: None  # type: ignore[method-assign]
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": part.size, "LOCAL_WORLD_SIZE": part.size}
    if part.size > 1:
        os.environ |= {name: str(value) for name, value in place.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    runtime = Runtime.start(config.train, "cpu")
    try:
        # The request is noted in the step after the one that is done when it is made.
        train_until(config, folder, runtime, part.end - 1 if part.end < STEPS else None)
    finally:
        runtime.close()


def run_parts(
    zygote: Zygote, config: RunConfig, folder: Path, parts: Sequence[Part], forget: Sequence[int] = ()
) -> list[list]:
    """Train in parts; what was seen, a row for each step and rank, in the order of steps and ranks."""
    seen: list[list] = []
    for number, part in enumerate(parts):
        notes = [folder.with_name(f"{folder.name}-{number}-{rank}") for rank in range(part.size)]
        port = free_port()
        pids = [
            zygote.start(train_part, config, folder, notes[rank], rank, part, port, number in forget)
            for rank in range(part.size)
        ]
        wait_for("the end of a part", lambda pids=pids: None not in [zygote.code(pid) for pid in pids], RUN_S)  # type: ignore[misc]
        assert [zygote.code(pid) for pid in pids] == [0] * part.size
        status = read_status(folder)
        assert (status.state, status.step) == ("finished" if part.end == STEPS else "stopped", part.end)
        seen += [json.loads(line) for note in notes for line in note.read_text().splitlines()]
    return sorted(seen, key=lambda row: row[:2])


def streams(seen: Sequence[Sequence]) -> list[list[int]]:
    """The samples of both sets, as they were seen; every step once, by all of its ranks."""
    sizes: dict[int, int] = {}
    for step, rank, *_ in seen:
        assert rank == sizes.setdefault(step, 0), f"step {step} was taken twice, or by other ranks than 0, 1, …"
        sizes[step] += 1
    assert list(sizes) == list(range(STEPS))
    return [[position for row in seen for position in row[stream]] for stream in (2, 3)]


def assert_every_sample_once_a_pass(found: Sequence[int], size: int, batch: int) -> None:
    assert len(found) == STEPS * batch
    passes = np.array(found[: len(found) // size * size]).reshape(-1, size)
    assert np.array_equal(np.sort(passes, axis=1), np.tile(np.arange(size), (len(passes), 1)))


def distance(folder: Path, control: Path) -> float:
    """The largest distance of a tensor of the main model, of its length."""
    tensors, expected = outcome(folder)[0], outcome(control)[0]
    names = [name for name in expected if name.startswith("main/")]
    return max(float((tensors[name] - expected[name]).norm() / expected[name].norm()) for name in names)


def check_batches_and_norm(zygote: Zygote, tmp_path: Path, parts: Sequence[Part]) -> tuple[float, float]:
    """Distances from the run of one process: of the elastic run, and of one whose optimisers forget once."""
    config = elastic_config(exact=True)
    straight = streams(run_parts(zygote, config, tmp_path / "straight", [Part(1, STEPS)]))
    moved = streams(run_parts(zygote, config, tmp_path / "moved", parts))
    assert moved == straight
    for found, size, batch in zip(moved, (NOISY, CLEAN), (NOISY_BATCH, CLEAN_BATCH), strict=True):
        assert_every_sample_once_a_pass(found, size, batch)
    lines, expected = outcome(tmp_path / "moved")[1], outcome(tmp_path / "straight")[1]
    assert [line["step"] for line in lines] == [line["step"] for line in expected]
    run_parts(zygote, config, tmp_path / "forgetful", [parts[0], Part(parts[0].size, STEPS)], forget=[1])
    return tuple(distance(tmp_path / name, tmp_path / "straight") for name in ("moved", "forgetful"))  # type: ignore[return-value]


def test_two_one_four_and_two_processes_take_the_batches_of_one(zygote: Zygote, tmp_path: Path) -> None:
    parts = schedule(Random(SEED), SIZES)
    print(f"EBOMLC_TEST_SEED={SEED}: {parts}")
    moved, forgetful = check_batches_and_norm(zygote, tmp_path, parts)
    print(f"distance {moved:.1e}, {forgetful:.1e} where the optimisers forget")
    assert moved <= NORM < forgetful


@pytest.mark.slow
def test_random_schedules(zygote: Zygote, tmp_path: Path) -> None:
    """The same schedule, with every part cut in two of its size, has the same bits; another one has not."""
    random, changed = Random(SEED), 0
    worst, least = 0.0, float("inf")
    for trial in range(TRIALS):
        sizes = [random.choice((1, 2, 4)) for _ in range(random.randint(2, 4))]
        parts = schedule(random, sizes)
        print(f"EBOMLC_TEST_SEED={SEED}, trial {trial}: {parts}")
        folder = tmp_path / str(trial)
        folder.mkdir()
        moved, forgetful = check_batches_and_norm(zygote, folder, parts)
        worst, least = max(worst, moved), min(least, forgetful)
        assert moved <= NORM < forgetful

        begins = [0, *(part.end for part in parts)]
        cut = [piece for part, begin in zip(parts, begins, strict=False) for piece in split(random, part, begin)]
        config = elastic_config(exact=False)
        rows = [run_parts(zygote, config, folder / name, given) for name, given in (("whole", parts), ("cut", cut))]
        assert streams(rows[0]) == streams(rows[1])
        assert_same(folder / "cut", folder / "whole")
        other = [Part(3 - part.size if part.size < 3 else 2, part.end) for part in parts]
        run_parts(zygote, config, folder / "other", other)
        changed += not same_tensors(outcome(folder / "other")[0], outcome(folder / "whole")[0])
        remove_tree(folder)
    print(f"largest distance {worst:.1e}; least where the optimisers forget {least:.1e}")
    assert changed == TRIALS
