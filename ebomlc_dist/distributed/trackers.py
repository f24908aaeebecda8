"""Accelerate's trackers by their own names (``tensorboard``, ``wandb``, …), opened for one run."""

from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from ebomlc_dist.errors import InputError, nearest


def open_trackers(
    names: tuple[str, ...], folder: Path, run_name: str, config: dict[str, Any], resumed_at: int = 0
) -> list[GeneralTracker]:
    """Open the named trackers for the run in ``folder``. Raises `InputError` for an unknown or missing one.

    ``resumed_at``: steps after it are written anew; TensorBoard forgets what an earlier start wrote there.
    """
    return [_open(name, folder, run_name, config, resumed_at) for name in names]


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
    check_trackers((name,))
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
