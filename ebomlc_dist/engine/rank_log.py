"""A rank's log: a file in the run folder."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import make_folder
from ebomlc_dist.files.inside import open_to_append
from ebomlc_dist.files.run_folder import RunFolder

log = logging.getLogger(__name__)
_log_in_use: ContextVar[logging.Handler | None] = ContextVar("log_in_use", default=None)


def open_log(paths: RunFolder, rank: int) -> io.TextIOWrapper:
    """Return the log of a rank, to write to its end.

    Raises `InputError` for a link or a special file, and `OSError`.
    """
    make_folder(paths.logs)
    descriptor = open_to_append(paths.log(rank), paths.root)
    return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


class _LogFile(logging.FileHandler):
    """The log of a rank, opened at its first line. A full disk loses lines and does not end the run."""

    def __init__(self, paths: RunFolder, rank: int) -> None:
        super().__init__(paths.log(rank), delay=True)
        self._paths, self._rank = paths, rank

    def _open(self) -> io.TextIOWrapper:
        return open_log(self._paths, self._rank)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, InputError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def rank_log(paths: RunFolder, runtime: Runtime) -> Iterator[None]:
    """Within the block this rank's log goes to a file in the folder; of several runs in a process, each has its own."""
    handler = _LogFile(paths, runtime.rank)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # Helper threads have no context, and speak of whatever run there is.
    handler.addFilter(lambda record: _log_in_use.get() in (None, handler))
    token = _log_in_use.set(handler)
    logger = logging.getLogger("ebomlc_dist")
    logger.addHandler(handler)
    try:
        with logged_in_files():
            log.info("rank %d of %d on %s", runtime.rank, runtime.world_size, runtime.device)
            yield
    finally:
        _log_in_use.reset(token)
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def logged_in_files() -> Iterator[None]:
    """Within the block the package's log is for files: a person gets one line, and the traceback is there."""
    logger = logging.getLogger("ebomlc_dist")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
