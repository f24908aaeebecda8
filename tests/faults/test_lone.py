"""What one rank alone runs into ends the run with that rank's reason, whichever rank it is."""

import socket
import time
from pathlib import Path

import pytest

from ebomlc_dist.engine.trainer import Trainer
from ebomlc_dist.errors import InputError, TrainingFault
from ebomlc_dist.files.run_folder import read_status
from tests.data.support import write_tree
from tests.faults.campaign import END_S, RUN_S, small_config, train_as_rank
from tests.faults.zygote import Zygote
from tests.support.commands import EBOMLC, command, is_training, wait_for
from tests.support.pool import free_port

FAILS_AT = 4
# The survivor does not wait for the limit of a collective.
PROMPT_S = 20.0
LIMIT_S = 60.0
LATE_S = 0.2


def fail_in_step(folder: Path, error: Exception, failing: tuple[int, ...], rank: int, port: int) -> None:
    """One of two ranks; those of ``failing`` raise ``error`` in their fifth step."""
    original = Trainer._step

    def step(self: Trainer, number: int) -> None:
        if number == FAILS_AT and rank in failing:
            # Where both fail, the first one is late.
            time.sleep(LATE_S if rank < len(failing) - 1 else 0.0)
            raise error
        original(self, number)

    Trainer._step = step  # type: ignore[method-assign]
    config = small_config()
    limits = config.train.model_copy(update={"step_timeout_s": LIMIT_S, "start_timeout_s": LIMIT_S})
    train_as_rank(config.model_copy(update={"train": limits}), folder, rank, 2, port)


def ended_with(zygote: Zygote, folder: Path, error: Exception, failing: tuple[int, ...]) -> float:
    """Train on two ranks until both have ended; seconds from the first end to the last."""
    port = free_port()
    pids = [zygote.start(fail_in_step, folder, error, failing, rank, port) for rank in (0, 1)]
    wait_for("an end", lambda: any(zygote.code(pid) is not None for pid in pids), RUN_S)
    began = time.monotonic()
    wait_for("the end of both", lambda: all(zygote.code(pid) is not None for pid in pids), END_S)
    assert [zygote.code(pid) for pid in pids] == [1, 1]
    return time.monotonic() - began


@pytest.mark.parametrize(("error", "code"), [(InputError("cat.png is damaged"), 2), (TrainingFault("no heat"), 1)])
@pytest.mark.parametrize("rank", [0, 1])
def test_the_reason_of_one_rank_alone_is_kept(
    zygote: Zygote, tmp_path: Path, rank: int, error: Exception, code: int
) -> None:
    assert ended_with(zygote, tmp_path, error, (rank,)) < PROMPT_S
    status = read_status(tmp_path)
    assert (status.state, status.code, status.rank) == ("failed", code, rank)
    assert status.reason == (str(error) if rank == 0 else f"rank 1 on {socket.gethostname()}: {error}")


def test_what_both_ranks_meet_alike_is_told_by_the_first(zygote: Zygote, tmp_path: Path) -> None:
    ended_with(zygote, tmp_path, InputError("no such thing"), (0, 1))
    status = read_status(tmp_path)
    assert (status.code, status.rank, status.reason) == (2, 0, "no such thing")


@pytest.mark.slow
def test_an_image_that_breaks_while_training_is_named_with_code_2(tmp_path: Path) -> None:
    """Ours is the process: the launcher's own code is lost, `ebomlc train` has the true one."""
    write_tree(tmp_path / "images", per_class=20)
    sizes = ["--global-noisy-batch-size", "8", "--global-clean-batch-size", "4", "--epochs", "100000"]
    data = ["--data-dir", "images", "--image-size", "8", "--loader", "dataloader", "--num-workers", "0"]
    words = ["train", "folder", *data, *sizes, "--method", "ce", "-q", "-o", "out", "--num-processes", "2"]
    with command([*EBOMLC, *words, "--device", "cpu"], tmp_path) as started:
        wait_for("the first step", lambda: is_training(tmp_path / "out") or started.process.poll() is not None)
        (tmp_path / "images" / "train" / "bee" / "7.png").write_bytes(b"no image any more")
        code, _, err = started.wait()
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("ebomlc: ")]
    assert len(lines) == 1, err
    assert "bee/7.png" in lines[0]
    assert lines[0].endswith(str(read_status(tmp_path / "out").reason))
