"""The parts of the check: each a command of this project, and what is read of its outcome."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ebomlc_dist.methods import METHODS

FAST = "train.cuda_graph=true"
STEP = (
    *("ebomlc", "ce", "mlc:double_backward", "mlc:forward_mode", "mlc:finite_difference", "mlc-d"),
    *(f"{name}:{FAST}" for name in ("ebomlc", "ce", "mlc:finite_difference", "mlc-d")),
    *(f"{name}:train.compile=true" for name in ("ebomlc", "ce")),
    *(f"{name}:{FAST}:train.compile=true" for name in ("ebomlc", "ce")),
)
PACKED = 3


@dataclass(frozen=True)
class Place:
    """Where the check runs.

    Attributes:
        output: its result; work files lie beside it, under its name with ``.work``.
        data: folder of CIFAR-10, or None.
        device: ``cuda``, or ``cpu`` for a rehearsal.
    """

    output: Path
    data: Path | None
    device: str

    @property
    def work(self) -> Path:
        return self.output.with_suffix(".work")

    @property
    def rehearsal(self) -> bool:
        return self.device == "cpu"


@dataclass(frozen=True)
class Part:
    """One command.

    Attributes:
        limit_s: it is asked to end, and ended, after so long.
        command: its words after ``python``.
        read: the figures, from what it printed and wrote.
        codes: exit codes of an outcome that can be read.
    """

    limit_s: float
    command: Callable[[Place], list[str]]
    read: Callable[[Place, str], dict[str, Any]]
    codes: tuple[int, ...] = (0,)


def python(words: list[str]) -> list[str]:
    """A command of this interpreter."""
    return [sys.executable, *words]


def _tests(place: Place) -> list[str]:
    # A rehearsal has no GPU for them: one that needs none stands for the others.
    chosen = ["tests/engine/test_precision.py", "-k", "overflow"] if place.rehearsal else ["-m", "gpu", "tests"]
    return [
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", *chosen),
        *("--junit-xml", str(place.work / "tests.xml")),
    ]


def _read_tests(place: Place, printed: str) -> dict[str, Any]:
    # Written by the command above.
    (suite,) = ElementTree.parse(place.work / "tests.xml").getroot().iter("testsuite")
    bad = {
        f"{case.get('classname')}::{case.get('name')}": (found.get("message") or "").splitlines()[:1]
        for case in suite.iter("testcase")
        for found in case
        if found.tag in ("failure", "error")
    }
    return {"tests": int(suite.get("tests", 0)), "skipped": int(suite.get("skipped", 0)), "bad": bad}


def _profile(rows: tuple[str, ...], seconds: int) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        own = [row for row in rows if FAST not in row and "compile" not in row][:2] if place.rehearsal else rows
        small = ["--model", "resnet8", "--rounds", "3", "--set", "train.global_noisy_batch_size=8"]
        length = small if place.rehearsal else ["--seconds", str(seconds)]
        return ["-m", "tools.profile", "--json", "-q", "--device", place.device, "--method", ",".join(own), *length]

    return command


def _methods() -> tuple[str, ...]:
    names = [name for name in METHODS if name != "ce-oracle"]
    return (*names, *(f"{name}:{FAST}" for name in names))


def _read_json(place: Place, printed: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed)
    return found


def _loaders(place: Place) -> list[str]:
    small = ["--rounds", "2", "--steps", "5"] if place.rehearsal else ["--rounds", "11"]
    data = [] if place.data is None else ["--data-dir", str(place.data)]
    return ["-m", "benchmarks.loaders", "--json", "--device", place.device, *small, *data]


def _train(place: Place, folder: str, recipes: list[str], *words: str) -> list[str]:
    data = ["--data-dir", str(place.data)] if place.data is not None and not place.rehearsal else []
    fast = [] if place.rehearsal else ["--precision", "bf16", "--cuda-graph"]
    return [
        *("-m", "ebomlc_dist.cli", "train", *recipes, "-q", "--json", "--device", place.device, *fast, *data),
        *("--resume", "auto", "-o", str(place.work / folder), *words),
    ]


def _recipe(place: Place, noise: int) -> str:
    if place.rehearsal:
        return "digits:tiny"
    return "digits" if place.data is None else f"cifar10-uniform{noise}"


def _training(place: Place) -> list[str]:
    return _train(place, "training", [_recipe(place, 40)], "--method", "ebomlc,ce")


def _alone(place: Place) -> list[str]:
    return _train(place, "alone", [_recipe(place, 40)], "--method", "ebomlc", "--epochs", "3")


def _packed(place: Place) -> list[str]:
    words = ("--method", "ebomlc", "--epochs", "3", "--packed", "--seed", ",".join(map(str, range(PACKED))))
    return _train(place, "packed", [_recipe(place, 40)], *words)


def _read_summaries(place: Place, printed: str) -> dict[str, Any]:
    found = json.loads(printed)
    runs = found if isinstance(found, list) else [found]
    return {"runs": [{key: value for key, value in run.items() if key != "run"} for run in runs]}


PARTS: dict[str, Part] = {
    "tests": Part(150.0, _tests, _read_tests, codes=(0, 1)),
    "step": Part(120.0, _profile(STEP, 50), _read_json),
    "alone": Part(45.0, _alone, _read_summaries),
    "packed": Part(60.0, _packed, _read_summaries),
    "training": Part(240.0, _training, _read_summaries),
    "loaders": Part(60.0, _loaders, _read_json),
    "methods": Part(150.0, _profile(_methods(), 60), _read_json),
}
"""In the order of their weight: what does not fit into the time is done by the next call."""
