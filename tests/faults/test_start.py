"""Mistakes at the start, made for real by processes on the loopback interface: each is named, in time, by one line."""

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.run import train
from ebomlc_dist.errors import InputError, LoneError
from ebomlc_dist.launch import rendezvous
from ebomlc_dist.launch.rendezvous import RankInfo, meet_machines, problem
from tests.data.support import write_image, write_tree
from tests.faults.zygote import Zygote
from tests.support.pool import free_port
from tests.support.runs import tiny_config

LIMIT_S = 1.0
# Work and answers beside the limit, on a busy machine.
SLACK_S = 10.0
PATIENCE_S = 30.0


def config(**changes: dict[str, Any]) -> RunConfig:
    limits = {"rendezvous_timeout_s": PATIENCE_S, "start_timeout_s": PATIENCE_S, "epochs": 1}
    return tiny_config("ce", train={**limits, **changes.pop("train", {})}, **changes)


HASTY = config(train={"rendezvous_timeout_s": LIMIT_S})


def join(answer: Path, rank: int, port: int, config: RunConfig, place: Path, sources: Path | None = None) -> None:
    """Train as one of two ranks, in a folder of its own; leave what is refused in ``answer``."""
    os.chdir(place)
    if sources is not None:
        rendezvous.SOURCES = sources
    values = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 1, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in values.items()} | {"MASTER_ADDR": "127.0.0.1"}
    try:
        runtime = Runtime.start(config.train, "cpu")
        try:
            train(config, Path("out"), quiet=True, runtime=runtime)
        finally:
            runtime.close()
        answer.write_text("trained")
    except LoneError as error:
        answer.write_text(f"alone: {error}")
    except InputError as error:
        answer.write_text(str(error))


def meet(answer: Path, port: int, machine_rank: int, total: int, limit_s: float) -> None:
    try:
        meet_machines("127.0.0.1", port, 2, machine_rank, total, limit_s)
        answer.write_text("met")
    except InputError as error:
        answer.write_text(str(error))


class Starts:
    """Processes that are started together, and what each of them said."""

    def __init__(self, zygote: Zygote, folder: Path) -> None:
        self.zygote, self.folder = zygote, folder
        self.port = free_port()
        self.pids: dict[Path, int] = {}

    def start(self, work: Callable[..., None], *arguments: Any) -> None:
        answer = self.folder / f"answer-{len(self.pids)}"
        self.pids[answer] = self.zygote.start(work, answer, *arguments)

    def place(self, name: str) -> Path:
        """A machine's own folder."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def answers(self, seconds: float = PATIENCE_S) -> list[str]:
        end = time.monotonic() + seconds
        while None in [self.zygote.code(pid) for pid in self.pids.values()]:
            assert time.monotonic() < end, f"not done within {seconds} s"
            time.sleep(0.01)
        return [answer.read_text() for answer in self.pids]


@pytest.fixture
def starts(zygote: Zygote, tmp_path: Path) -> Starts:
    return Starts(zygote, tmp_path)


def test_without_a_mistake_they_train(starts: Starts) -> None:
    """Negative control of everything below."""
    for rank in (0, 1):
        starts.start(join, rank, starts.port, config(), starts.place("both"))
    assert starts.answers() == ["trained", "trained"]


def test_a_rank_that_does_not_come_is_named(starts: Starts) -> None:
    starts.start(join, 0, starts.port, HASTY, starts.place("first"))
    (line,) = starts.answers(LIMIT_S + SLACK_S)
    assert line.startswith(f"rank 1 of 2 did not come within {LIMIT_S:g} s")


def test_a_place_that_cannot_be_reached_is_named(starts: Starts) -> None:
    starts.start(join, 1, starts.port, HASTY, starts.place("second"))
    (line,) = starts.answers(LIMIT_S + SLACK_S)
    assert line.startswith(f"alone: rank 1 on {socket.gethostname()} cannot reach the first process")
    assert f"127.0.0.1:{starts.port} within {LIMIT_S:g} s" in line


def test_a_port_that_is_taken_is_named(starts: Starts) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        starts.start(join, 0, other.getsockname()[1], HASTY, starts.place("first"))
        starts.start(meet, other.getsockname()[1], 0, 2, LIMIT_S)
        lines = starts.answers()
    assert all("is taken" in line for line in lines), lines


def test_other_code_is_named(starts: Starts) -> None:
    """One comment in one file of one machine's copy."""
    sources = shutil.copytree(rendezvous.SOURCES, starts.folder / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    same = rendezvous.source_digest(sources)
    assert same == rendezvous.source_digest(rendezvous.SOURCES)
    with (sources / "numerics" / "barrier.py").open("a") as file:
        file.write("# A local change.\n")
    starts.start(join, 0, starts.port, config(), starts.place("both"))
    starts.start(join, 1, starts.port, config(), starts.place("both"), sources)
    first, second = starts.answers()
    assert first == second
    assert "rank 1 on " in first
    assert f"ebomlc_dist {rendezvous.source_digest(sources)} there, {same} here" in first


def test_other_configurations_are_named(starts: Starts) -> None:
    other = config(optim={"main_lr": 0.7})
    starts.start(join, 0, starts.port, config(), starts.place("both"))
    starts.start(join, 1, starts.port, other, starts.place("both"))
    first, second = starts.answers()
    assert first == second
    assert "another configuration than rank 0: optim.main_lr is 0.7 here" in first


def test_a_run_folder_of_one_machine_is_named(starts: Starts) -> None:
    for rank in (0, 1):
        starts.start(join, rank, starts.port, config(), starts.place(f"machine-{rank}"))
    first, second = starts.answers()
    assert first == second
    assert "the run folder out is not the one that rank 0 made" in first


def two_machines(starts: Starts) -> list[Path]:
    """Two machines with a shared run folder and images of their own."""
    shared, places = starts.place("shared"), [starts.place(f"machine-{rank}") for rank in (0, 1)]
    for place in places:
        (place / "out").symlink_to(shared)
        write_tree(place / "images")
    return places


def images_config() -> RunConfig:
    data = {"dataset": "folder", "data_dir": Path("images"), "image_size": 8, "noisy_size": None, "clean_size": None}
    return config(data=data, noise={"kind": "none", "rate": 0.0})


def test_data_of_one_machine_are_named(starts: Starts) -> None:
    places = two_machines(starts)
    shutil.rmtree(places[1] / "images")
    for rank, place in enumerate(places):
        starts.start(join, rank, starts.port, images_config(), place)
    first, second = starts.answers()
    assert first == second
    assert f"rank 1 on {socket.gethostname()}: images is not a folder" in first
    assert "rank 0 does not have this problem" in first


def test_other_data_are_named(starts: Starts) -> None:
    """One image of one machine was retouched."""
    places = two_machines(starts)
    write_image(next((places[1] / "images" / "train").rglob("*.png")), seed=99)
    for rank, place in enumerate(places):
        starts.start(join, rank, starts.port, images_config(), place)
    first, second = starts.answers()
    assert first == second
    assert "rank 1 on " in first
    assert "another data set than rank 0: fingerprint is " in first


def test_machines_meet_and_leave_the_port(starts: Starts) -> None:
    for machine_rank in (0, 1):
        starts.start(meet, starts.port, machine_rank, 4, PATIENCE_S)
    assert starts.answers() == ["met", "met"]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", starts.port))


@pytest.mark.parametrize(
    ("came", "text"), [(0, "machine 1 of 2 did not come to 127.0.0.1"), (1, "machine 0 cannot be reached at 127.0.0.1")]
)
def test_a_machine_that_does_not_come_is_named(starts: Starts, came: int, text: str) -> None:
    starts.start(meet, starts.port, came, 4, LIMIT_S)
    (line,) = starts.answers(LIMIT_S + SLACK_S)
    assert line.startswith(text)


def test_machines_that_were_told_differently_are_named(starts: Starts) -> None:
    starts.start(meet, starts.port, 0, 4, PATIENCE_S)
    starts.start(meet, starts.port, 1, 8, PATIENCE_S)
    assert all("was told of " in line and "processes on 2 machines" in line for line in starts.answers())


def info(rank: int, **values: Any) -> RankInfo:
    return RankInfo(
        **{"rank": rank, "host": "a", "pid": rank, "device": f"GPU-{rank}", "code": {"torch": "2"}} | values
    )


@pytest.mark.parametrize(
    ("second", "text"),
    [
        (info(1), None),
        (info(1, device="GPU-0"), "ranks 0 and 1 share one GPU of a (GPU-0)"),
        (info(1, device="GPU-0", host="b"), None),
        (info(1, code={"torch": "3"}), "torch 3 there, 2 here"),
    ],
)
def test_what_cards_tell(second: RankInfo, text: str | None) -> None:
    found = problem([info(0), second])
    assert found is None if text is None else text in str(found)
    assert problem([info(0, device=""), info(1, device="")]) is None


@pytest.mark.gpu
def test_two_ranks_on_one_gpu_are_named(tmp_path: Path) -> None:
    """Two commands whose local rank is 0 both take the first GPU."""
    from tests.support.commands import EBOMLC, command

    values = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    values |= {"MASTER_PORT": str(free_port()), "CUDA_VISIBLE_DEVICES": "0"}
    words = [*EBOMLC, "train", "digits:tiny", "--method", "ce", "-o", "out"]
    given = ["env", *(f"{name}={value}" for name, value in values.items())]
    with (
        command([*given, "RANK=1", *words], tmp_path) as second,
        command([*given, "RANK=0", *words], tmp_path) as first,
    ):
        code, _, err = first.wait()
        assert second.wait()[0] == code == 2
    assert "ranks 0 and 1 share one GPU" in err
