"""Whole runs on a disk that is full, has no inodes left or takes no writes: one line, and the last checkpoint stays."""

import contextlib
import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ebomlc_dist.cli import run
from ebomlc_dist.files import operations
from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.durable import is_litter
from ebomlc_dist.files.operations import Operations
from ebomlc_dist.files.run_folder import read_status
from ebomlc_dist.monitoring.record import RunRecord
from tests.faults.zygote import Zygote
from tests.support.commands import wait_for

FAULT_AT = 6
RUN_S = 120.0
WORDS = ["train", "digits:tiny", "--method", "ebomlc", "--epochs", "5", "--quiet"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 24 MB and 200 inodes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,nr_inodes=200", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> None:
    """Take all blocks."""
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0


def take_inodes(disk: Path) -> None:
    """Take all inodes."""
    (disk / "files").mkdir()
    with contextlib.suppress(OSError):
        for number in itertools.count():
            (disk / "files" / str(number)).touch()
    assert os.statvfs(disk).f_favail == 0


class ReadOnly(Operations):
    """What a disk answers that the system has turned read-only after an error; only the system can, files are open."""

    def _refuse(self, *_: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    write = truncate = rename = link = unlink = mkdir = rmdir = _refuse

    def open(self, path: Path, flags: int, folder: int | None = None) -> int:
        return self._refuse() if flags & (os.O_WRONLY | os.O_RDWR) else super().open(path, flags, folder)


def turn_read_only(disk: Path) -> None:
    """From now on nothing can be written."""
    operations._current = ReadOnly()


def command(fault: Callable[[Path], None] | None, disk: Path, words: list[str], said: Path) -> None:
    """`ebomlc` with these words, its stderr into a file; once six steps are done, the disk has a ``fault``."""
    original = RunRecord.step

    def step(self: RunRecord, done: int) -> None:
        original(self, done)
        if done == FAULT_AT and fault is not None:
            fault(disk)

    RunRecord.step = step  # type: ignore[method-assign]
    os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), sys.stderr.fileno())
    os._exit(run(words))


def ended(zygote: Zygote, *arguments: Any) -> int:
    pid = zygote.start(command, *arguments)
    wait_for("the end", lambda: zygote.code(pid) is not None, RUN_S)
    code = zygote.code(pid)
    assert code is not None
    return code


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        (fill, 2, "free some, or choose another folder"),
        (take_inodes, 2, "free some, or choose another folder"),
        (turn_read_only, 1, "Read-only file system"),
    ],
)
def test_a_disk_that_fails_in_training(
    fault: Callable[[Path], None], code: int, reason: str, zygote: Zygote, disk: Path, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    assert ended(zygote, fault, disk, [*WORDS, "-o", str(disk / "out")], said) == code, said.read_text()
    lines = said.read_text().splitlines()
    assert all(line.startswith("ebomlc: ") for line in lines), said.read_text()
    assert reason in lines[-1]
    if fault is not turn_read_only:
        status = read_status(disk / "out")
        assert (status.state, status.code, status.reason) == ("failed", code, lines[-1].removeprefix("ebomlc: "))
    checkpoints = disk / "out" / "checkpoints"
    checkpoint = CheckpointStore(checkpoints).load()
    assert checkpoint is not None
    assert 0 < checkpoint.step <= FAULT_AT
    assert not [path for path in (disk / "out").rglob("*") if is_litter(path.name)]

    for taken in [disk / "filler", *disk.glob("files/*")]:
        taken.unlink(missing_ok=True)
    assert ended(zygote, None, disk, [*WORDS, "--resume", "auto", "-o", str(disk / "out")], said) == 0
    finished = CheckpointStore(checkpoints).load()
    assert finished is not None
    assert finished.step > FAULT_AT


@pytest.mark.parametrize("resume", [[], ["--resume", "auto"]])
def test_a_read_only_disk_is_refused_at_once(resume: list[str], zygote: Zygote, disk: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert ended(zygote, None, disk, [*WORDS, *resume, "-o", str(disk / "out")], said) == 2
    (line,) = said.read_text().splitlines()
    assert "Read-only file system; choose another one with -o" in line
