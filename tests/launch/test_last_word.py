"""After Ctrl-C: a worker outlives its launcher until it has stopped in order, and its line is the last one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ebomlc_dist.launch import signals
from ebomlc_dist.launch.signals import say_last

# A launcher whose wait is interrupted: it says so once its worker has ended, and goes.
WAITING = """
import subprocess, sys, time
subprocess.run([sys.executable, "-c", sys.argv[1]])
print("Traceback", file=sys.stderr, flush=True)
time.sleep(0.3)
"""
# A launcher that goes at once: its worker is still to stop.
GONE = """
import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
worker.stdout.readline()
worker.send_signal(int(sys.argv[2]))
time.sleep(0.3)
print("Traceback", file=sys.stderr, flush=True)
os._exit(1)
"""
SAYING = "from ebomlc_dist.launch.signals import say_last; say_last('stopped', interrupted=True)"
STOPPING = """
import os, pathlib, sys, time
from ebomlc_dist.launch.environment import die_with_launcher
from ebomlc_dist.launch.signals import say_last
from ebomlc_dist.launch.signals import Signals
launcher = os.getppid()
die_with_launcher()
with Signals() as signals:
    print(flush=True)
    while os.getppid() == launcher:
        time.sleep(0.01)
    assert signals.reason
    time.sleep(0.2)
    say_last("stopped", interrupted=True)
"""


def launched(launcher: str, worker: str, *more: str) -> list[str]:
    """The lines on stderr of a launcher, its worker, and whoever still holds it open after them."""
    environment = os.environ | {"LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
    command = [sys.executable, "-c", launcher, worker, *more]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return ended.stderr.splitlines()


def test_the_line_stands_below_the_launchers_traceback() -> None:
    assert launched(WAITING, SAYING) == ["Traceback", "stopped"]


def test_a_worker_stops_in_order_when_ctrl_c_has_ended_its_launcher() -> None:
    """It says so at once: init, which has adopted it, is no launcher whose end is waited for."""
    began = time.monotonic()
    assert launched(GONE, STOPPING, str(int(signal.SIGINT))) == ["Traceback", "stopped"]
    assert time.monotonic() - began < signals._WAIT_S


def test_a_worker_dies_with_a_launcher_that_ends_otherwise() -> None:
    assert launched(GONE, STOPPING, str(int(signal.SIGTERM))) == ["Traceback"]


@pytest.mark.parametrize(("launcher", "interrupted"), [("", True), ("0", False)])
def test_the_line_is_said_at_once_where_no_traceback_follows(
    launcher: str,
    interrupted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    for name in ("LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    if launcher:
        monkeypatch.setenv("LOCAL_RANK", launcher)
    say_last("stopped", interrupted=interrupted)
    assert capsys.readouterr().err == "stopped\n"
