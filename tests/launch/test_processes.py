"""Several processes from one command: what is started, which signals pass, and which exit code is true."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ebomlc_dist.files.holder import sole_command
from ebomlc_dist.files.run_folder import read_status, write_status
from ebomlc_dist.launch import processes as module
from ebomlc_dist.launch.processes import Processes, Requests, launch
from tests.cli.conftest import Ended, refuse


def child(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_launcher_is_given_every_value_it_would_warn_of() -> None:
    words = Processes(4).command(["train", "digits"])
    assert words[-4:] == ["--module", "ebomlc_dist.cli", "train", "digits"]
    for flag in ("--num_processes", "--num_machines", "--mixed_precision", "--dynamo_backend", "--main_process_port"):
        assert flag in words
    assert "--main_process_ip" not in words
    assert "--main_process_ip" in Processes(4, 2, 1, "10.0.0.1", 29500).command([])


def test_a_launchers_precision_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    words = Processes(2).command([])
    assert words[words.index("--mixed_precision") + 1] == "bf16"


def test_the_command_is_handed_on_with_the_folder(
    ebomlc: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def launch(*given: Any, **_: Any) -> int:
        seen.append(given)
        return 0

    monkeypatch.setattr(module, "launch", launch)
    assert ebomlc("train", "digits", "--tiny", "--num-processes", "2", "--device", "cpu").code == 0
    processes, arguments, device, folders = seen[0]
    assert (processes.total, device) == (2, "cpu")
    assert arguments[:2] == ["train", "--output-dir"]
    assert arguments[3:] == ["digits", "--tiny", "--num-processes", "2", "--device", "cpu"]
    assert folders == [Path(arguments[2]) / name for name in ("ebomlc-s", "ebomlc", "ce")]


def test_the_launcher_is_told_of_a_cpu(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os; open('seen', 'w').write(os.environ['ACCELERATE_USE_CPU'])"
    monkeypatch.setattr(Processes, "command", lambda *_: child(code))
    assert launch(Processes(2), [], "cpu", []) == 0
    assert (place / "seen").read_text() == "true"


@pytest.mark.parametrize(
    ("state", "code", "ended", "truth"),
    [
        ("finished", 0, 0, 0),
        ("finished", 0, 1, 0),
        ("stopped", 75, 1, 75),
        ("stopped", 130, 1, 130),
        ("failed", 2, 1, 2),
        ("failed", 1, 1, 1),
        ("running", None, 1, 1),
        (None, None, 0, 1),
    ],
)
def test_the_true_code_stands_in_the_status(
    state: Any, code: int | None, ended: int, truth: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if state:
        started = (
            f"from pathlib import Path; from ebomlc_dist.files.run_folder import write_status;"
            f"write_status(Path('.'), state={state!r}, code={code!r}); raise SystemExit({ended})"
        )
    else:
        started = f"raise SystemExit({ended})"
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(Processes, "command", lambda *_: child(started))
    assert launch(Processes(2), [], "cpu", [place]) == truth
    assert state is None or read_status(place).state == ("failed" if state == "running" else state)


@pytest.mark.parametrize(("state", "truth"), [("stopped", 1), ("failed", 1), ("finished", 0)])
def test_an_old_status_is_not_taken_for_this_starts_truth(
    state: Any, truth: int, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_status(place, state=state, code=75)
    monkeypatch.setattr(Processes, "command", lambda *_: child("raise SystemExit(1)"))
    assert launch(Processes(2), [], "cpu", [place]) == truth
    assert ("did not go on" in capsys.readouterr().err) is (truth == 1)


CLAIMS = """
import os, sys
from pathlib import Path
from ebomlc_dist.files.run_folder import claim, write_status
os.environ["EBOMLC_START"] = {start}
with claim(Path("."), "digits", resume=True):
    write_status(Path("."), state={state!r}, code=0, step=7)
    print("claimed", flush=True)
    {then}
"""


@pytest.mark.parametrize("state", ["running", "finished"])
def test_the_run_of_another_start_is_left_alone(
    state: Any, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another start has claimed the folder since this one began, and is at work or through with it."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    claims = CLAIMS.format(start="'another'", state=state, then="pass")
    monkeypatch.setattr(Processes, "command", lambda *_: child(f"{claims}\nraise SystemExit(2)"))
    assert launch(Processes(2), [], "cpu", [place]) == 2
    assert "another process is running here: digits (process " in capsys.readouterr().err
    assert (read_status(place).state, read_status(place).step) == (state, 7)


def test_a_run_that_was_there_before_is_left_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the lock, and its next heartbeat is still to come."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    claims = CLAIMS.format(start="'another'", state="running", then="sys.stdin.read()")
    with subprocess.Popen(child(claims), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"claimed\n"
        monkeypatch.setattr(Processes, "command", lambda *_: child("raise SystemExit(2)"))
        assert launch(Processes(2), [], "cpu", [place]) == 2
        assert read_status(place).state == "running"


def test_the_run_of_this_start_is_its_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    claims = CLAIMS.format(start="os.environ['EBOMLC_START']", state="running", then="raise SystemExit(1)")
    monkeypatch.setattr(Processes, "command", lambda *_: child(claims))
    assert launch(Processes(2), [], "cpu", [place]) == 1
    assert read_status(place).state == "failed"


def test_a_second_command_is_refused_before_it_starts_anything(
    ebomlc: Callable[..., Ended], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "launch", refuse)
    with sole_command(place / "out"):
        ended = ebomlc("train", "digits", "--tiny", "--num-processes", "2", "--device", "cpu", "-o", "out")
    assert "another command is running in out" in ended.refused()
    assert list((place / "out").iterdir()) == []
    with sole_command(place / "out"):
        """Nobody is in the way."""


@pytest.mark.parametrize(("number", "truth"), [(signal.SIGTERM, 75), (signal.SIGUSR2, 75), (signal.SIGINT, 130)])
@pytest.mark.parametrize("earlier", [None, "stopped"])
def test_a_request_before_the_run_began_is_no_crash(
    number: signal.Signals,
    truth: int,
    earlier: Any,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if earlier:
        write_status(place, state=earlier, code=75)
    told = f"import os, time; os.kill(os.getppid(), {int(number)}); time.sleep(10)"
    monkeypatch.setattr(Processes, "command", lambda *_: child(told))
    assert launch(Processes(2), [], "cpu", [place]) == truth
    assert f"asked to stop before ({number.name})" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_reaches_the_launcher_once(
    number: signal.Signals, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""
import signal, time
from pathlib import Path
seen = []
signal.signal({int(number)}, lambda n, f: seen.append(n))
Path("ready").touch()
end = time.monotonic() + 10
while not seen and time.monotonic() < end:
    time.sleep(0.02)
time.sleep(0.1)
Path("seen").write_text(str(seen))
"""
    monkeypatch.setattr(Processes, "command", lambda *_: child(code))

    def send() -> None:
        while not (place / "ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    before = signal.getsignal(number)
    sender.start()
    assert launch(Processes(2), [], "cpu", []) == 0
    sender.join()
    assert (place / "seen").read_text() == str([int(number)])
    assert signal.getsignal(number) is before


def test_a_request_between_two_starts_reaches_the_second(place: Path) -> None:
    told = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(7)); time.sleep(10)"
    ready = "import os, signal; os.kill(os.getppid(), signal.SIGTERM)"
    with Requests() as requests:
        requests.run(child(ready), dict(os.environ))
        assert requests.first == signal.SIGTERM
        assert requests.run(child(told), dict(os.environ)) in (7, -signal.SIGTERM)


def test_under_nohup_the_launcher_ignores_a_closed_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored = child("import signal; raise SystemExit(signal.getsignal(signal.SIGHUP) != signal.SIG_IGN)")
    monkeypatch.setattr(Processes, "command", lambda *_: ignored)
    assert launch(Processes(2), [], "cpu", []) == 1
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert launch(Processes(2), [], "cpu", []) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_launcher_is_told_when_its_parent_is_gone(place: Path) -> None:
    """``kill -9`` of the command leaves nobody behind: the launcher gets a SIGTERM, which it forwards."""
    launcher = (
        "import signal, time; from pathlib import Path;"
        "signal.signal(signal.SIGTERM, lambda *_: (Path('told').touch(), exit()));"
        "Path('ready').touch(); time.sleep(10)"
    )
    parent = (
        "import sys; from ebomlc_dist.launch.processes import Requests;"
        f"Requests().run([sys.executable, '-c', {launcher!r}], dict(__import__('os').environ))"
    )
    root = str(Path(__file__).parents[2])
    command = subprocess.Popen(child(parent), cwd=place, env=os.environ | {"PYTHONPATH": root})
    wait_for(place / "ready")
    command.kill()
    command.wait()
    wait_for(place / "told")


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} did not come"
        time.sleep(0.02)
