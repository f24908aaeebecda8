"""The frozen surface of the command line: a flag that comes, goes or changes its name must change this file."""

import re
from collections.abc import Callable

import pytest

from ebomlc_dist.recipes.flags import FLAGS
from tests.cli.conftest import Ended, FakeEngine
from tools.profile.__main__ import run

RUN = {
    *("--method", "--dataset", "--data-dir", "--image-size", "--noisy-csv", "--clean-csv", "--trusted", "--test-csv"),
    *(
        "--clean-size",
        "--split",
        "--loader",
        "--num-workers",
        "--pack-dir",
        "--noise",
        "--noise-rate",
        "--model",
        "--norm",
        "--epochs",
    ),
    *("--features", "--labels", "--trusted-features", "--trusted-labels", "--test-features", "--test-labels"),
    *("--inputs-csv", "--precision"),
    *("--seed", "--split-seed", "--noise-seed", "--order-seed", "--augmentation-seed", "--initialisation-seed"),
    *("--skip-unreadable", "--clean-from-noisy", "--tiny"),
    *("--compile", "--cuda-graph", "--activation-checkpointing", "--strategy"),
    *("--config", "--set"),
    *("--learning-rate", "--lr", "--meta-learning-rate", "--weight-decay", "--momentum", "--optimizer"),
    *("--lr-schedule", "--batch-size", "--clean-batch-size", "--deterministic", "--augment"),
    *("--validation-size", "--noisy-size", "--noise-matrix", "--human-file", "--human-column"),
}
ACCEPTED = {"--global-noisy-batch-size", "--global-clean-batch-size", "--mixed-precision", "--meta-lr"}
"""Further names, which ``--help`` does not show."""
HELP = {"--help", "-h"}
PROFILE = {
    *("--rounds", "--seconds", "--at-epoch", "--num-classes", "--device", "--num-processes"),
    *("--scaling", "--oversubscribe"),
    *("--json", "--output", "-o", "--trace", "--quiet", "-q"),
}
COMMANDS = {
    "train": RUN
    | HELP
    | {
        "--output-dir",
        "--output",
        "-o",
        "--resume",
        "--device",
        "--quiet",
        "-q",
        "--json",
        "--dry-run",
        "--time-steps",
        "--audit",
    }
    | {"--packed"}
    | {"--num-processes", "--num-machines", "--machine-rank", "--main-process-ip", "--main-process-port", "--restart"},
    "pack": RUN | HELP | {"--quiet", "-q"},
    "show-config": RUN | HELP | {"--sources"},
    "list": HELP | {"--json"},
    "evaluate": HELP | {"--json"},
    "audit": HELP
    | {"--cross-fit", "--scores", "--relabel", "--confidence", "--gallery", "--export", "--device", "--num-processes"}
    | {"--pred-probs", "--labels", "--trusted", "--features", "--inputs-csv", "--in-sample", "--output-dir", "-o"}
    | {"--quiet", "-q", "--json"},
    "figures": HELP | {"--runs", "--output", "--output-dir", "-o"},
    "report": HELP | {"--output", "-o"},
    "sweep": HELP,
    "sweep run": HELP
    | {
        "--output-dir",
        "--output",
        "-o",
        "--workers",
        "--packed",
        "--budget",
        "--method",
        "--seeds",
        "--set",
        "--data-dir",
    }
    | {"--retries", "--retry-failed", "--keep", "--device", "--quiet", "-q", "--json", "--dry-run"},
    "sweep status": HELP | {"--json"},
    "tables": HELP | {"--score", "--format", "--output-dir", "--output", "-o", "--json"},
    "predict": HELP | {"--images", "--features", "--output", "--output-dir", "-o", "--top-k", "--probabilities"},
    "status": HELP | {"--json", "--exit-code"},
    "logs": HELP | {"--rank", "--lines", "-n"},
    "submit": HELP
    | {"--nodes", "--gpus", "--cpus", "--processes", "--time", "--name", "--array", "--requeues", "--sbatch", "--yes"},
    "profile": RUN | HELP | PROFILE,
    "doctor": HELP | {"--dir", "--json"},
    "env": HELP | {"--json"},
}
FLAG = re.compile(r"(?<![\w-])-{1,2}[a-z][a-z-]*")


def flags_of(text: str) -> set[str]:
    """Flags in the left column of a help text."""
    options = text[text.index("Options:") :].splitlines()
    return {
        flag
        for line in options
        if line.startswith("  -")
        for flag in FLAG.findall(re.split(r"\s{2,}", line.strip())[0])
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_the_flags_of_a_command_are_frozen(command: str, ebomlc: Callable[..., Ended]) -> None:
    ended = ebomlc(*command.split(), "-h")
    assert ended.code == 0
    assert flags_of(ended.out) == COMMANDS[command]


def test_the_commands_are_frozen(ebomlc: Callable[..., Ended]) -> None:
    listed = ebomlc("--help").out.partition("Commands:")[2].splitlines()
    assert {line.split()[0] for line in listed if re.match(r"  \w", line)} == {
        command for command in COMMANDS if " " not in command
    }
    assert ebomlc().out == ebomlc("--help").out


def test_the_profile_of_a_checkout_is_the_verb(
    capsys: pytest.CaptureFixture[str], ebomlc: Callable[..., Ended]
) -> None:
    assert run(["-h"]) == 0
    assert capsys.readouterr().out == ebomlc("profile", "-h").out


def test_further_names_of_flags_are_frozen_too() -> None:
    assert {name for flag in FLAGS for name in flag.names if name not in flag.shown} == ACCEPTED


def test_help_is_grouped(ebomlc: Callable[..., Ended]) -> None:
    out = ebomlc("train", "-h").out
    panels = re.split(r"^(\w+):$", out, flags=re.MULTILINE)[1:]
    assert panels[::2] == ["Arguments", "Options", "Data", "Noise", "Model", "Training", "Output", "Processes"]
    found = dict(zip(panels[::2], panels[1::2], strict=True))
    assert flags_of(f"Options:{found['Options']}") == {"--tiny", "--config", "--set", *HELP}
    for flag, panel in (("--trusted", "Data"), ("--noise-seed", "Noise"), ("--model", "Model"), ("--lr", "Training")):
        assert flag in flags_of(f"Options:{found[panel]}")
    for flag, panel in (("--resume", "Output"), ("--num-processes", "Processes"), ("--strategy", "Processes")):
        assert flag in flags_of(f"Options:{found[panel]}")


def test_every_flag_reaches_its_key(ebomlc: Callable[..., Ended], engine: FakeEngine) -> None:
    """A wrong row in the table would send a value to another key."""
    shares = {"noise.rate": "0.25", "optim.momentum": "0.25"}
    for flag in FLAGS:
        value = flag.words[-1] if flag.words else shares.get(flag.key, "17") if flag.metavar else "true"
        for name in flag.names:
            engine.calls.clear()
            words = [name, value] if flag.metavar else [name]
            assert ebomlc("train", "--method", "ce", "-o", "out", *words).code == 0, name
            section, key = flag.key.split(".")
            found = str(getattr(getattr(engine.calls[0]["config"], section), key)).removesuffix(".0")
            assert found == (value if flag.metavar else "True")
            assert engine.calls[0]["sources"][flag.key] == flag.names[0]
            assert engine.calls[0]["overrides"] == [f"{flag.key}={value}"]


def test_underscores_are_accepted(ebomlc: Callable[..., Ended], engine: FakeEngine) -> None:
    assert ebomlc("train", "--noise_rate=0.3", "--data_dir", "my_data", "--method", "ce", "-o", "out").code == 0
    config = engine.calls[0]["config"]
    assert (config.noise.rate, str(config.data.data_dir)) == (0.3, "my_data")
