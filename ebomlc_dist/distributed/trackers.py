"""Accelerate's trackers by their own names (``tensorboard``, ``wandb``, …), opened for a run, which they never end."""

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from ebomlc_dist.errors import InputError, nearest

log = logging.getLogger(__name__)
_THREADS_OF = "tensorboard."


class GuardedTracker:
    """A tracker that is left out from its first error on: a full disk, or a server that does not answer.

    Args:
        name: of the tracker, for the one warning.
        opened: opens and starts it.
    """

    def __init__(self, name: str, opened: Callable[[], GeneralTracker]) -> None:
        self._name = name
        self._tracker: GeneralTracker | None = None
        self._tracker = self._attempt(opened)

    def log(self, values: dict[str, Any], step: int | None) -> None:
        """Hand values of a step on."""
        if (tracker := self._tracker) is not None:
            self._attempt(lambda: tracker.log(values, step=step))

    def finish(self) -> None:
        """Flush and close it."""
        if (tracker := self._tracker) is not None:
            self._attempt(tracker.finish)

    def _attempt(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            # Whatever its package raises: many have error classes of their own.
            self._tracker = None
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            log.warning("tracker '%s' is left out from here on, metrics.jsonl has all figures (%s)", self._name, reason)
            return None


def open_trackers(
    names: tuple[str, ...], folder: Path, run_name: str, config: dict[str, Any], resumed_at: int = 0
) -> list[GuardedTracker]:
    """Open the named trackers for the run in ``folder``. Raises `InputError` for an unknown or missing one.

    ``resumed_at``: steps after it are written anew; TensorBoard forgets what an earlier start wrote there.
    """
    check_trackers(names)
    _mute_writer_threads()
    return [GuardedTracker(name, partial(_open, name, folder, run_name, config, resumed_at)) for name in names]


def check_trackers(names: tuple[str, ...]) -> None:
    """Raise `InputError` for a tracker that is not known, or whose package is not installed."""
    installed = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = sorted(LOGGER_TYPE_TO_CLASS)
            raise InputError(f"unknown tracker '{name}'{nearest(name, known)}; known: {', '.join(known)}")
        if name not in installed:
            raise InputError(f"tracker '{name}' is known but its package is not installed; `pip install {name}`")


def _open(name: str, folder: Path, run_name: str, config: dict[str, Any], resumed_at: int) -> GeneralTracker:
    tracker_class = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":
        tracker = tracker_class(name, folder, purge_step=resumed_at + 1 if resumed_at else None)
    elif tracker_class.requires_logging_directory:
        tracker = tracker_class(run_name, folder)
    else:
        tracker = tracker_class(run_name)
    tracker.start()
    if name != "tensorboard":
        # TensorBoard takes flat numbers only; the configuration lies beside it in config.json.
        tracker.store_init_configuration(config)
    return tracker


def _mute_writer_threads() -> None:
    """TensorBoard's writer thread prints its traceback, and hands the same error to the next call: once is enough."""
    shown = threading.excepthook
    if getattr(shown, "mutes_writer_threads", False):
        return

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not type(failed.thread).__module__.startswith(_THREADS_OF):
            shown(failed)

    hook.mutes_writer_threads = True  # type: ignore[attr-defined]
    threading.excepthook = hook
