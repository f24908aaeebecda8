"""How a run ended: written to ``status.json`` and returned as the exit code."""

import faulthandler
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.rank_log import open_log
from ebomlc_dist.errors import InputError, TrainingFault
from ebomlc_dist.files.run_folder import RunFolder, read_status, write_status
from ebomlc_dist.launch.watchdog import Verdict

log = logging.getLogger(__name__)
STOPPED_CODE = 75
INTERRUPTED_CODE = 130
# What all ranks meet alike reaches the first one, and its file the others, within this time.
_ALIKE_S = 1.0


class Stopped(Exception):
    """The run was asked to stop and has written its checkpoint.

    Attributes:
        code: the exit code where we own the process: 75, or 130 after Ctrl-C.
    """

    def __init__(self, folder: Path, step: int, reason: str) -> None:
        super().__init__(f"stopped at step {step} ({reason}); continue with `--resume auto -o {folder}`")
        self.folder = folder
        self.step = step
        self.reason = reason
        self.code = INTERRUPTED_CODE if reason == "SIGINT" else STOPPED_CODE


@contextmanager
def truth_in_status(paths: RunFolder, runtime: Runtime) -> Iterator[None]:
    """Write how the run ended to ``status.json``, with the first rank that failed. Launchers lose exit codes."""

    def note(state: Any, reason: str, code: int, step: int | None = None, rank: int | None = runtime.rank) -> None:
        log.info("%s: %s", state, reason)
        try:
            if state == "failed" and paths.status.exists() and read_status(paths.root).state != "running":
                return
            write_status(paths.root, state=state, reason=reason, code=code, rank=rank, step=step)
        except (OSError, InputError) as error:
            log.warning("status not written: %s", error)

    # A run within another one's time is that one's fate too.
    outer = None if runtime.watchdog is None else runtime.watchdog.listener

    def tell(verdict: Verdict, found: bool) -> None:
        with suppress(OSError, InputError), open_log(paths, runtime.rank) as file:
            print(f"{verdict.reason}; the stacks of this rank:", file=file, flush=True)
            faulthandler.dump_traceback(file)
        if found:
            note("failed", verdict.reason, 1, verdict.step, verdict.rank)
        if outer is not None:
            outer(verdict, found)

    if runtime.is_main:
        write_status(paths.root, state="running", reason="starting")
    if runtime.watchdog is not None:
        runtime.watchdog.listener = tell
    try:
        yield
    except Stopped as stop:
        if runtime.is_main:
            note("stopped", stop.reason, stop.code, stop.step)
        # A launcher ends all once one has ended: none may while the first rank writes.
        runtime.patient.barrier()
        raise
    except (InputError, TrainingFault) as error:
        code = 2 if isinstance(error, InputError) else 1
        if runtime.is_main:
            note("failed", str(error), code)
        elif not _told_by_first_rank(paths):
            reason = f"rank {runtime.rank} on {socket.gethostname()}: {error}"
            note("failed", reason, code)
            if runtime.watchdog is not None:
                runtime.watchdog.tell(reason)
        raise
    except KeyboardInterrupt:
        note("failed", "interrupted", INTERRUPTED_CODE)
        raise
    except BaseException as error:
        log.exception("failed")
        if runtime.watchdog is not None and isinstance(error, RuntimeError):
            runtime.watchdog.suspect()
        note("failed", reason_of(error), 1)
        raise
    finally:
        if runtime.watchdog is not None:
            runtime.watchdog.listener = outer


def reason_of(error: BaseException) -> str:
    """Return one line of what went wrong. An error that another process passed on as text keeps its last line."""
    first, *others = [line.strip() for line in f"{type(error).__name__}: {error}".splitlines() if line.strip()]
    handed_on = others and any(line.startswith(("Original Traceback", "Traceback (most recent")) for line in others)
    return f"{first} {others[-1]}" if handed_on else first


def _told_by_first_rank(paths: RunFolder) -> bool:
    """Return whether rank 0 meets, and reports, the same error as this rank.

    An error that this rank alone meets is reported by this rank.
    """
    end = time.monotonic() + _ALIKE_S
    with suppress(OSError, InputError):
        while (running := read_status(paths.root).state == "running") and time.monotonic() < end:
            time.sleep(0.02)
        return not running
    return False
