"""``ebomlc submit``: scripts that a shell can read, that hold what was asked for, and nothing that was smuggled in."""

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended
from tests.launch.slurm_files import FOLDER, JOBS

STANDINS = {
    "scontrol": 'case "$*" in *hostnames*) echo node7;; *node*) echo "NodeName=node7 NodeAddr=10.0.0.7 Port=1";; '
    '*) echo "$@" >> requeued;; esac',
    # Each task of a step in turn; its environment is the node's.
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; SLURM_NODEID=1 "$@"',
    "ebomlc": 'printf "%s\\n" "$@" >> called; [ "$1" = status ] && exit "${ENDS:-0}"; exit 0',
}


def run_script(script: str, place: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a batch script with stand-ins for SLURM's commands and for ``ebomlc``."""
    for name, body in STANDINS.items():
        (place / name).write_text(f"#!/bin/bash\n{body}\n")
        (place / name).chmod(0o755)
    environment = {"PATH": f"{place}:{os.environ['PATH']}", "SLURM_JOB_ID": "41", "SLURM_JOB_NAME": "ebomlc"}
    environment |= {"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_GPUS_ON_NODE": "4"} | variables
    return subprocess.run(
        ["bash", "-c", script, "script", *arguments], env=environment, cwd=place, capture_output=True, text=True
    )


def called(place: Path) -> list[str]:
    return (place / "called").read_text().splitlines()


def test_a_job_trains_what_was_asked_for(ebomlc: Callable[..., Ended], place: Path) -> None:
    hostile = "a b';touch pwned;$(touch pwned)`touch pwned`"
    script = ebomlc(
        "submit", "--nodes", "2", "--gpus", "4", "train", "digits", "--data-dir", hostile, "-o", "my runs"
    ).out
    assert "#SBATCH --nodes=2\n" in script
    assert "#SBATCH --gpus-per-node=4\n" in script
    assert run_script(script, place).returncode == 0
    words = called(place)
    assert words[:5] == ["train", "--resume", "auto", "--output-dir", "my runs"]
    assert words[words.index("--num-processes") + 1] == "8"
    assert words[words.index("--machine-rank") + 1] == "1"
    assert words[words.index("--main-process-ip") + 1] == "10.0.0.7"
    assert words[words.index("digits") :] == ["digits", "--data-dir", hostile, "status", "my runs", "--exit-code"]
    assert not (place / "pwned").exists()


@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_a_job_ends_with_the_runs_code(ebomlc: Callable[..., Ended], place: Path, code: int) -> None:
    """And stays out of the queue, as nobody told it to stop."""
    script = ebomlc("submit", "train", "digits").out
    assert run_script(script, place, ENDS=str(code)).returncode == code
    assert not (place / "requeued").exists()


@pytest.mark.parametrize(
    ("variables", "requeued"),
    [
        ({}, ["requeue 41"]),
        ({"SLURM_RESTART_COUNT": "19"}, ["requeue 41"]),
        ({"SLURM_RESTART_COUNT": "20"}, []),
        ({"ENDS": "1"}, []),
        ({"SLURM_ARRAY_JOB_ID": "40", "SLURM_ARRAY_TASK_ID": "3"}, ["requeue 40_3"]),
    ],
)
def test_a_job_that_was_told_to_stop_goes_back(
    variables: dict[str, str], requeued: list[str], ebomlc: Callable[..., Ended], place: Path
) -> None:
    """The signal goes to the script, as SLURM sends it, while its step runs."""
    script = ebomlc("submit", "train", "digits").out.replace("srun --kill", "kill -USR2 $$; srun --kill")
    script = script.replace("step=$!", "step=$!; kill -USR2 $$")
    ended = run_script(script, place, **{"ENDS": "75"} | variables)
    assert ended.returncode == (0 if requeued else int(variables.get("ENDS", "75"))), ended.stderr
    found = (place / "requeued").read_text().splitlines() if (place / "requeued").exists() else []
    assert found == requeued


@pytest.mark.parametrize("name", JOBS)
def test_the_shipped_scripts_are_what_the_command_writes(name: str, place: Path) -> None:
    """``python -m tests.launch.slurm_files`` renews them."""
    text = (FOLDER / name).read_text()
    assert text == JOBS[name].script()
    assert subprocess.run(["bash", "-n", FOLDER / name], capture_output=True, check=False).stderr == b""
    command = next(line for line in text.splitlines() if line.startswith("#   sbatch"))
    words = shlex.split(command.lstrip("# "))
    arguments = words[words.index(f"launch_configs/slurm/{name}") + 1 :]
    assert run_script(text, place, *arguments, EBOMLC_OUTPUT="out").returncode == 0
    assert " ".join(arguments) in " ".join(called(place))


def test_all_shipped_scripts_are_known() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(JOBS)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nodes", "0", "train", "digits"], "--nodes 0"),
        (["--processes", "-1", "train", "digits"], "--processes -1"),
        (["train"], "needs something to run"),
        (["trian", "digits"], "did you mean 'train'?"),
        (["--nodes", "2", "sweep", "grid"], "--array"),
        (["--array", "0-3", "train", "digits"], "--array is for `sweep`"),
        (["--name", "a\n#SBATCH --x", "train", "digits"], "cannot stand in a batch script"),
        (["--sbatch", "partition", "train", "digits"], "KEY=VALUE"),
        (["train", "digts"], "unknown recipe 'digts' (did you mean 'digits'?)"),
        (["train", "digits:tny"], "unknown recipe 'digits:tny'"),
        (["train", "digits", "--method", "ce,ebmlc"], "unknown method 'ebmlc' (did you mean 'ebomlc'?)"),
        (["train", "digits", "--epoch-count", "3"], "--epoch-count"),
        (["--yes", "train", "digits"], "sbatch is not on this machine's path"),
    ],
)
def test_what_cannot_be_submitted_is_refused(
    arguments: list[str], text: str, ebomlc: Callable[..., Ended], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(place))
    assert text in ebomlc("submit", *arguments).refused()


def test_yes_hands_the_script_to_sbatch(
    ebomlc: Callable[..., Ended], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "sbatch").write_text("#!/bin/sh\ncat > seen\n")
    (place / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    printed = ebomlc("submit", "train", "digits").out
    assert ebomlc("submit", "--yes", "train", "digits").code == 0
    assert (place / "seen").read_text() == printed
