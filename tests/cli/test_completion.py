"""What a shell is offered."""

import os
import subprocess
import sys

import pytest


def offered(words: str) -> list[str]:
    """What bash is offered at the end of these words, in a process as the shell's script starts it."""
    count = len(words.split(" ")) - 1
    environment = os.environ | {"_EBOMLC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    code = "import sys; from ebomlc_dist.cli import main; sys.argv = ['ebomlc']; main()"
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.stderr == ""
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ebomlc tr", ["train"]),
        ("ebomlc train cifar10-quick-f", ["cifar10-quick-flip20", "cifar10-quick-flip40"]),
        ("ebomlc train --method ebomlc-", ["ebomlc-s", "ebomlc-released"]),
        ("ebomlc train --method ce,mlc", ["ce,mlc", "ce,mlc-d"]),
        ("ebomlc train --dataset cifar", ["cifar10", "cifar100"]),
        ("ebomlc train --model d", ["digits-cnn"]),
        ("ebomlc train --noise ", ["none", "uniform", "flip", "matrix", "human"]),
        ("ebomlc train --lr-s", ["--lr-schedule"]),
        ("ebomlc train --set noise.ra", ["noise.rate="]),
        ("ebomlc train --set method.corrected_s", ["method.corrected_share="]),
        ("ebomlc sweep run paper-q", ["paper-quick"]),
        ("ebomlc sweep run paper --method glc,dividem", ["glc,dividemix"]),
        ("ebomlc list gr", ["grids"]),
    ],
)
def test_names_are_completed(words: str, found: list[str]) -> None:
    assert offered(words) == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(shell: str) -> None:
    code = "import sys; from ebomlc_dist.cli import main; sys.argv = ['ebomlc', '--show-completion']; main()"
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-c", code.replace("'--show-completion'", f"'--show-completion', '{shell}'")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0
    assert "_EBOMLC_COMPLETE" in ended.stdout
