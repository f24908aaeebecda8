"""A world that is not the one that was asked for is refused."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ebomlc_dist.errors import InputError
from ebomlc_dist.launch import environment

PLACE = {
    **{"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"},
    **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLACE:
        monkeypatch.delenv(name, raising=False)


def started_by(monkeypatch: pytest.MonkeyPatch, *command: str, **place: str) -> None:
    monkeypatch.setattr(environment, "_parent_command", lambda: list(command))
    for name, value in place.items():
        monkeypatch.setenv(name, value)


ACCELERATE = ("/usr/bin/python", "/usr/bin/accelerate", "launch")


def test_one_process_that_should_be_two_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    started_by(monkeypatch, *ACCELERATE, "--cpu", "--num_processes", "2", "train.py")
    with pytest.raises(InputError, match="2 processes were asked for but the launcher started 1"):
        environment.check_place()


@pytest.mark.parametrize("flag", [("--num_processes=2",), ("--num-processes", "2")])
def test_the_flag_in_its_other_spellings(monkeypatch: pytest.MonkeyPatch, flag: tuple[str, ...]) -> None:
    started_by(monkeypatch, *ACCELERATE, *flag, "train.py")
    with pytest.raises(InputError, match="2 processes"):
        environment.check_place()


def test_the_number_in_a_config_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("num_processes: 2\n")
    started_by(monkeypatch, *ACCELERATE, "--config_file", str(config), "train.py")
    with pytest.raises(InputError, match="2 processes"):
        environment.check_place()


def test_two_that_are_two_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    started_by(monkeypatch, *ACCELERATE, "--multi_gpu", "--num_processes", "2", "train.py", **PLACE)
    environment.check_place()
    assert environment.under_launcher()
    assert environment.local_world_size() == 2


def test_another_parent_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    started_by(monkeypatch, "bash", "-c", "python train.py --num_processes 2")
    environment.check_place()


def test_a_worker_without_its_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    started_by(monkeypatch, "bash", WORLD_SIZE="2")
    with pytest.raises(InputError, match="not RANK"):
        environment.check_place()


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
@pytest.mark.parametrize("value", ["abc", "-1", "", "1.5"])
def test_a_place_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    started_by(monkeypatch, "bash", **{**PLACE, name: value})
    with pytest.raises(InputError, match=f"{name}='{value}' is no whole number"):
        environment.check_place()


@pytest.mark.parametrize("absent", ["MASTER_ADDR", "MASTER_PORT"])
def test_processes_that_do_not_know_where_to_meet_are_refused(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    started_by(monkeypatch, "bash", **PLACE)
    environment.check_place()
    monkeypatch.delenv(absent)
    with pytest.raises(InputError, match=f"2 processes but {absent} does not say where they meet"):
        environment.check_place()


BY_TORCHRUN = {**PLACE, "TORCHELASTIC_RUN_ID": "none"}
BY_ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "no", "ACCELERATE_USE_CPU": "false"}
BY_HAND = {**PLACE, "ACCELERATE_MIXED_PRECISION": "bf16"}


@pytest.mark.parametrize(
    ("parent", "number", "place", "orphan"),
    [
        ("/sbin/init", 1, BY_TORCHRUN, True),
        ("/sbin/init", 1, BY_ACCELERATE, True),
        ("/lib/systemd/systemd", 900, BY_ACCELERATE, True),
        ("/usr/bin/python3", 1, BY_TORCHRUN, False),
        ("/bin/bash", 7, BY_TORCHRUN, False),
        ("/sbin/tini", 1, BY_HAND, False),
    ],
)
def test_a_worker_that_init_adopted_ends(
    monkeypatch: pytest.MonkeyPatch, parent: str, number: int, place: dict[str, str], orphan: bool
) -> None:
    """A launcher may be the first process of a container, and is Python then; a place may be given by hand."""
    started_by(monkeypatch, parent, **place)
    monkeypatch.setattr(environment.ctypes, "CDLL", lambda *_: SimpleNamespace(prctl=lambda *_: 0))
    monkeypatch.setattr(environment.os, "getppid", lambda: number)
    if orphan:
        with pytest.raises(SystemExit):
            environment.die_with_launcher()
    else:
        environment.die_with_launcher()
