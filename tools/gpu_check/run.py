"""Part after part, each in a process of its own, and a result and a page that are written after each."""

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
from tools.gpu_check.parts import PARTS, Part
from tools.gpu_check.place import Place, Row, RowFile
from tools.gpu_check.runs import STOPPED

ROOT = Path(__file__).parents[2]
_CODE = ("ebomlc_dist", "tools", "benchmarks", "tests")
_END_S = 10.0
_LEAST_S = 8.0
_MOST_BYTES = 16 * 2**20


class Outcome(BaseModel):
    """Of one part. ``reason``: why it is not done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["done", "failed", "unfinished"]
    seconds: float
    rows: dict[str, Row] = {}
    reason: str = ""


class Result(BaseModel):
    """The document that a check leaves.

    Attributes:
        code: sha256 over the source files that it ran.
        environment: versions and devices.
        rehearsal: whether it ran on a CPU, in small: its figures say nothing.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[2] = 2
    code: str
    environment: dict[str, Any]
    rehearsal: bool
    parts: dict[str, Outcome] = {}
    bars: tuple[Bar, ...] = ()

    @property
    def good(self) -> bool:
        """Whether all that was asked for is done, no row failed, and no bar that was measured is missed."""
        rows = [row for part in self.parts.values() for row in part.rows.values()]
        done = all(part.state == "done" for part in self.parts.values())
        return (
            done and all(row.state != "failed" for row in rows) and all(bar.reached is not False for bar in self.bars)
        )


def run_parts(place: Place, names: list[str] | None, seconds: float) -> Result:
    """Run the parts that are not done yet, or those named from their beginning, within ``seconds``."""
    from tools.gpu_check.page import write_page

    ends = time.monotonic() + seconds
    result = _begin(place)
    for name, part in PARTS.items():
        earlier = result.parts.get(name)
        if name not in names if names is not None else earlier is not None and earlier.state != "unfinished":
            continue
        if names is not None:
            _set_aside(place.folder(name))
            earlier = None
        left = ends - time.monotonic()
        if left < _LEAST_S:
            if earlier is None:
                result.parts[name] = Outcome(state="unfinished", seconds=0.0, reason="no time was left")
        else:
            limit = min(left, part.limit_s * place.patience)
            with Console(stderr=True).status(f"{name}: at most {limit:.0f} s"):
                found = _carry_out(name, part, place, limit)
            spent = found.seconds + (0.0 if earlier is None else earlier.seconds)
            result.parts[name] = found.model_copy(update={"seconds": spent})
        result.parts = {known: result.parts[known] for known in PARTS if known in result.parts}
        if not place.rehearsal:
            result.bars = bars({key: outcome.rows for key, outcome in result.parts.items()})
        write_json(place.output, result.model_dump(mode="json"))
        write_page(result, place.output.with_suffix(".html"))
    return result


def show(result: Result) -> None:
    """Print what was found."""
    for name, outcome in result.parts.items():
        good = sum(row.state == "done" for row in outcome.rows.values())
        print(f"{name:<12}{outcome.state:<11}{outcome.seconds:5.0f} s  {good} of {len(outcome.rows)}  {outcome.reason}")
        for row, found in outcome.rows.items():
            if found.state != "done":
                print(f"    {found.state}: {row}: {' '.join(found.reason.split())[:300]}")
    for bar in result.bars:
        verdict = {True: "reached", False: "missed", None: "not measured"}[bar.reached]
        print(f"{bar.name:<56}{bar.text:>10}  {bar.limit_text:<8}{verdict}")
    if result.rehearsal:
        print("a rehearsal on a CPU: these figures say nothing about a GPU")


def _begin(place: Place) -> Result:
    """The result to go on with. One of other code or of another machine is set aside, and its rows with it."""
    fresh = Result(code=_code(), environment=environment(), rehearsal=place.rehearsal)
    found: Result | None = None
    if place.output.exists():
        found = Result.model_validate(read_json(place.output, _MOST_BYTES))
        same = (found.code, found.rehearsal) == (fresh.code, fresh.rehearsal)
        if not same or found.environment.get("devices") != fresh.environment.get("devices"):
            found = None
    if found is None:
        for path in (place.output, place.output.with_suffix(".html"), place.work):
            _set_aside(path)
    make_folder(place.work)
    result = found or fresh
    # So that rows are never without the document that they belong to.
    write_json(place.output, result.model_dump(mode="json"))
    return result


def _set_aside(path: Path) -> None:
    """Give an earlier result a further name, if there is one."""
    number = 1
    while (other := path.with_name(f"{path.stem}.before-{number}{path.suffix}")).exists():
        number += 1
    if path.exists():
        path.rename(other)


def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for part in _CODE for path in (ROOT / part).rglob("*.py")):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _carry_out(name: str, part: Part, place: Place, limit: float) -> Outcome:
    """Start the part's process until all rows are there. The row in which one dies has failed."""
    began = time.monotonic()
    file = RowFile(part.file(name, place))
    make_folder(file.path.parent)

    def outcome(state: Literal["done", "failed", "unfinished"], reason: str = "") -> Outcome:
        return Outcome(state=state, seconds=time.monotonic() - began, rows=file.read()[0], reason=reason)

    late = f"not done within {limit:.0f} s"
    while (left := limit - (time.monotonic() - began)) >= _LEAST_S / 2:
        before = len(file.read()[0])
        code = _process(part, part.command(name, place, list(file.read()[0])), file.path.parent, left)
        rows, last, times = file.read()
        if code is None:
            # One that fills the limit twice would keep the rows after it away for ever.
            if last is not None and times > 1:
                file.end(last, Row(state="failed", reason=f"{late}, twice"))
            break
        if code in part.codes and last is None:
            return outcome("done")
        if code == STOPPED:
            return outcome("unfinished", "it was asked to stop; a further call goes on")
        if last is not None:
            file.end(last, Row(state="failed", reason=f"the process ended in it, exit code {code}: {_last_line(file)}"))
        elif len(rows) == before:
            return outcome("failed", f"exit code {code}: {_last_line(file)}")
    return outcome("unfinished", f"{late}; a further call goes on")


def _last_line(file: RowFile) -> str:
    """What the process said last."""
    lines = (file.path.parent / "errors.txt").read_text(errors="replace").strip().splitlines()
    lines = lines or (file.path.parent / "output.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


def _process(part: Part, command: list[str], folder: Path, limit: float) -> int | None:
    """Run a process, its output kept in ``folder`` as it comes: its exit code, None where the limit ended it."""
    with (folder / "output.txt").open("a") as output, (folder / "errors.txt").open("a") as errors:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | part.environment | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            return child.wait(timeout=max(1.0, limit - _END_S / 2))
        except subprocess.TimeoutExpired:
            _end(child)
            return None
        except BaseException:
            _end(child)
            raise


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, so that a run writes its checkpoint; end it with all it started where it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=_END_S / 2)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
