"""A program of the documentation's blocks, made short: the command as it is typed, with smaller sizes after it.

A run at full size becomes a dry run, which reads and checks everything and trains nothing.
"""

import os
import sys
from pathlib import Path

from tests.docs.pages import ROOT

SMALL_RUN = ["--model", "resnet8", "--epochs", "2", "--device", "cpu"]
SMALL_SWEEP = ["--method", "ce", "--seeds", "0"]
SMALL_TOOLS = {
    "tools.profile": ["--model", "resnet8", "--rounds", "3", "--set", "train.global_noisy_batch_size=4"],
    "tools.example_folder": ["--images", "300", "--trusted", "60", "--test", "50"],
}


def shortened(arguments: list[str]) -> list[str]:
    """The arguments of ``ebomlc``, shortened."""
    verb = arguments[0]
    if verb == "sweep" and arguments[1] in ("paper", "paper-quick") and "--dry-run" not in arguments:
        return ["sweep", "paper-tiny", *arguments[2:], *SMALL_SWEEP, "-o", f"sweeps/{arguments[1]}"]
    if verb != "train":
        return arguments
    # A spread model needs several processes, which a dry run does not start.
    several = ["--num-processes", "1"] if "--num-processes" in arguments and "--strategy" not in arguments else []
    if any(word.startswith("cifar") for word in arguments):
        return [*arguments, *several, "--device", "cpu", "--dry-run"]
    tiny = any(word.endswith(":tiny") for word in arguments) or "--tiny" in arguments
    return [*arguments, *several] if tiny else [*arguments, *several, *SMALL_RUN]


def main(program: str, arguments: list[str]) -> None:
    """Become the command, or do nothing for a program that is not ours to run."""
    if program == "accelerate":
        config = ROOT / arguments[arguments.index("--config_file") + 1]
        assert config.is_file()
        program, arguments = "ebomlc", ["train", *arguments[arguments.index("train.py") + 1 :]]
    if program == "ebomlc":
        words = ["-m", "ebomlc_dist.cli", *shortened(arguments)]
    elif program == "python" and arguments[:1] == ["-m"] and arguments[1].startswith("tools."):
        words = [*arguments, *SMALL_TOOLS.get(arguments[1], [])]
    else:
        return
    os.environ["PYTHONPATH"] = str(ROOT)
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    main(Path(sys.argv[1]).name, sys.argv[2:])
