"""Part after part, each in a process of its own, and a result that is written after each."""

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from ebomlc_dist.files.durable import make_folder, write_json
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.monitoring.versions import environment
from tools.gpu_check.bars import Bar, bars
from tools.gpu_check.parts import PARTS, Part, Place, python

ROOT = Path(__file__).parents[2]
_CODE = ("ebomlc_dist", "tools", "benchmarks", "tests")
_END_S = 20.0
_LEAST_S = 10.0


class Outcome(BaseModel):
    """Of one part. ``reason``: why it is not done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["done", "failed", "unfinished"]
    seconds: float
    result: dict[str, Any] = {}
    reason: str = ""


class Result(BaseModel):
    """The document that a check leaves.

    Attributes:
        code: sha256 over the source files that it ran.
        environment: versions and devices.
        rehearsal: whether it ran on a CPU, in small: its figures say nothing.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    code: str
    environment: dict[str, Any]
    rehearsal: bool
    parts: dict[str, Outcome] = {}
    bars: tuple[Bar, ...] = ()

    @property
    def good(self) -> bool:
        """Whether all that was asked for is done, no test is bad, and no bar that was measured is missed."""
        done = all(part.state == "done" and not part.result.get("bad") for part in self.parts.values())
        return done and all(bar.reached is not False for bar in self.bars)


def run_parts(place: Place, names: list[str] | None, seconds: float) -> Result:
    """Run the parts that are not done yet, or those named, within ``seconds``."""
    ends = time.monotonic() + seconds
    make_folder(place.work)
    result = _begin(place)
    for name, part in PARTS.items():
        done = name in result.parts and result.parts[name].state == "done"
        if name not in names if names is not None else done:
            continue
        left = ends - time.monotonic() - _END_S
        if left < _LEAST_S:
            result.parts[name] = Outcome(state="unfinished", seconds=0.0, reason="no time was left")
        else:
            with Console(stderr=True).status(f"{name}: at most {min(left, part.limit_s):.0f} s"):
                result.parts[name] = _run(part, place, min(left, part.limit_s))
        if not place.rehearsal:
            result.bars = bars({key: outcome.result for key, outcome in result.parts.items() if outcome.result})
        write_json(place.output, result.model_dump(mode="json"))
    return result


def show(result: Result) -> None:
    """Print what was found."""
    for name, outcome in result.parts.items():
        print(f"{name:<10}{outcome.state:<12}{outcome.seconds:6.0f} s  {outcome.reason}")
        for test, message in outcome.result.get("bad", {}).items():
            print(f"          {test}: {' '.join(message)}")
    for bar in result.bars:
        verdict = {True: "reached", False: "missed", None: "not measured"}[bar.reached]
        print(f"{bar.name:<48}{bar.text:>12}  {bar.limit_text:<8}{verdict}")
    if result.rehearsal:
        print("a rehearsal on a CPU: these figures say nothing about a GPU")


def _begin(place: Place) -> Result:
    fresh = Result(code=_code(), environment=environment(), rehearsal=place.rehearsal)
    if not place.output.exists():
        return fresh
    found = Result.model_validate(read_json(place.output))
    same = (found.code, found.rehearsal) == (fresh.code, fresh.rehearsal)
    return found if same and found.environment.get("devices") == fresh.environment.get("devices") else fresh


def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for part in _CODE for path in (ROOT / part).rglob("*.py")):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _run(part: Part, place: Place, limit: float) -> Outcome:
    began = time.monotonic()

    def outcome(state: Literal["done", "failed", "unfinished"], reason: str = "", result: Any = None) -> Outcome:
        return Outcome(state=state, seconds=time.monotonic() - began, reason=reason, result=result or {})

    child = subprocess.Popen(
        python(part.command(place)),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, errors = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        _end(child)
        return outcome("unfinished", f"not done within {limit:.0f} s; a further call goes on")
    except BaseException:
        _end(child)
        raise
    if child.returncode not in part.codes:
        last = (errors.strip() or printed.strip() or "no output").splitlines()[-1]
        return outcome("failed", f"exit code {child.returncode}: {last}")
    try:
        return outcome("done", result=part.read(place, printed))
    except (OSError, ValueError, KeyError, SyntaxError) as error:
        return outcome("failed", f"its output cannot be read: {error}")


def _end(child: subprocess.Popen[str]) -> None:
    """Ask the process to end, so that a run writes its checkpoint; end it with all it started where it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=_END_S)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
