"""One run a folder, one process a run, and a status that tells the truth."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable
from ebomlc_dist.files.operations import Operations, using
from ebomlc_dist.files.run_folder import RunFolder, Status, claim, read_status, write_status


def test_a_new_folder_and_its_names(tmp_path: Path) -> None:
    with claim(tmp_path / "runs" / "a", "digits-ebomlc") as claimed:
        run = claimed.folder
        assert run.root == tmp_path / "runs" / "a"
        assert claimed.warnings == []
    names = [run.config, run.overrides, run.environment, run.split, run.classes, run.metrics, run.summary, run.status]
    assert [path.name for path in names] == [
        "config.json",
        "overrides.txt",
        "environment.json",
        "split.json",
        "classes.json",
        "metrics.jsonl",
        "summary.json",
        "status.json",
    ]
    folders = [run.logs, run.tensorboard, run.checkpoints, run.model, run.peer_model, run.meta_model]
    assert [path.name for path in folders] == [
        "logs",
        "tensorboard",
        "checkpoints",
        "model",
        "peer_model",
        "meta_model",
    ]
    assert run.log(3) == run.root / "logs" / "rank-3.log"
    assert [p.name for p in run.root.iterdir()] == ["run.lock"]


def test_an_existing_run_is_refused_with_the_two_commands_that_help(tmp_path: Path) -> None:
    folder = tmp_path / "my run"
    with claim(folder, "digits-ce"):
        write_status(folder, state="finished")
    with pytest.raises(InputError) as error:
        claim(folder, "digits-ebomlc")
    message = str(error.value)
    assert "\n" not in message
    assert "holds the run digits-ce;" in message, "its process has ended and is not named"
    assert f"--resume auto -o '{folder}'" in message
    assert "-o FOLDER" in message


def test_resume(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with claim(folder, "a", resume=True):
        write_status(folder, state="stopped", step=3)
        (folder / durable.temporary_name("status.json")).write_text("")
        (folder / "model").mkdir()
        (folder / "model" / durable.temporary_name("model.safetensors")).write_text("")
    with claim(folder, "a", resume=True):
        assert sorted(p.name for p in folder.rglob("*")) == ["model", "run.lock", "status.json"]


@pytest.mark.parametrize("resume", [False, True])
def test_other_peoples_files_are_left_alone(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        claim(tmp_path, "a", resume=resume)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_death_before_the_first_file_is_no_run(tmp_path: Path) -> None:
    claim(tmp_path / "run", "a").release()
    claim(tmp_path / "run", "b").release()


@pytest.mark.parametrize("resume", [False, True])
def test_two_live_runs_in_one_folder(tmp_path: Path, resume: bool) -> None:
    message = rf"another process is running in .*first \(process {os.getpid()} on "
    with claim(tmp_path, "first"), pytest.raises(InputError, match=message):
        claim(tmp_path, "second", resume=resume)
    claim(tmp_path, "second", resume=resume).release()


HOLDER = """
import sys, time
from pathlib import Path
from ebomlc_dist.files.run_folder import claim
held = claim(Path(sys.argv[1]), "held")
print("held", flush=True)
time.sleep(60)
"""


def test_a_run_that_came_and_went_meanwhile_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first look and the lock, another process has run to its end."""
    monkeypatch.setattr("fcntl.flock", lambda *_: write_status(tmp_path, state="finished"))
    with pytest.raises(InputError, match="already holds the run"):
        claim(tmp_path, "second")


def test_a_killed_run_lets_go(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {holder.pid} on"):
            claim(tmp_path, "second")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    claim(tmp_path, "second").release()


def test_a_forked_worker_does_not_keep_the_lock(tmp_path: Path) -> None:
    claimed = claim(tmp_path, "first")
    worker_is_up, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        claimed.release()
        os.write(tell, b"1")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(worker_is_up, 1)
        with pytest.raises(InputError, match="another process is running"):
            claim(tmp_path, "second")
        claimed.release()
        claim(tmp_path, "second").release()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(worker_is_up)
        os.close(tell)


def test_a_strangers_folder_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with claim(tmp_path, "a"):
        write_status(tmp_path, state="stopped")
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(InputError, match=r"belongs to another user .*not resumed"):
        claim(tmp_path, "a", resume=True)


def test_a_planted_lock_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.lock").symlink_to(target)
    with pytest.raises(InputError, match=r"run\.lock is a link where a regular file belongs"):
        claim(tmp_path / "run", "a")
    assert target.read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(InputError, match=r"cannot be written: .*another one with -o"):
            claim(folder, "a")


def test_no_space_for_a_run(tmp_path: Path) -> None:
    class Full(Operations):
        def mkdir(self, path: Path) -> None:
            raise OSError(28, "No space left on device")

    with using(Full()), pytest.raises(durable.NoSpace, match="no space left"):
        claim(tmp_path / "run", "a")


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with claim(tmp_path, "a") as claimed:
        assert len(claimed.warnings) == 1
        assert "without locks" in claimed.warnings[0]


def test_status_round_trip(tmp_path: Path) -> None:
    before = time.time()
    write_status(tmp_path, state="failed", reason="out of memory", code=1, rank=3, step=12)
    status = read_status(tmp_path)
    assert before <= status.heartbeat <= time.time()
    assert status == Status("failed", "out of memory", 1, 3, 12, status.heartbeat)
    write_status(tmp_path, state="running")
    assert read_status(tmp_path).reason is None


def test_only_heartbeats_skip_the_flush(tmp_path: Path, intercepted: type) -> None:
    for state, flushed in [("running", False), ("stopped", True), ("finished", True), ("failed", True)]:
        with using(recorded := intercepted()):
            write_status(tmp_path, state=state)
        assert ("fsync" in [name for name, _ in recorded.calls]) == flushed


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"state": "flying", "heartbeat": 1}',
        '{"state": "failed"}',
        '{"state": "failed", "heartbeat": 1, "code": "1"}',
        '{"state": "failed", "heartbeat": 1, "reason": []}',
        '{"state": "failed", "heartbeat": 1, "more": 1}',
        '{"state": ["failed"], "heartbeat": 1}',
    ],
)
def test_a_damaged_status_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(InputError, match=r"status.json is damaged"):
        read_status(tmp_path)


def test_no_status_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        read_status(tmp_path)


def test_reading_a_status_loads_no_torch() -> None:
    code = (
        "import sys; import ebomlc_dist.files.run_folder, ebomlc_dist.files.journal; "
        "print([name for name in ('torch', 'numpy', 'safetensors', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert RunFolder(Path("x")).status == Path("x/status.json")
