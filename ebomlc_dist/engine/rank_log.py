"""A rank's log: a file in the run folder."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.files.durable import make_folder
from ebomlc_dist.files.run_folder import RunFolder

log = logging.getLogger(__name__)
_log_in_use: ContextVar[logging.Handler | None] = ContextVar("log_in_use", default=None)


@contextmanager
def rank_log(paths: RunFolder, runtime: Runtime) -> Iterator[None]:
    """Within the block this rank's log goes to a file in the folder; of several runs in a process, each has its own."""
    make_folder(paths.logs)
    handler = logging.FileHandler(paths.log(runtime.rank), delay=True)
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
