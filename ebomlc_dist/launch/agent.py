"""Accelerate's launcher, which treats repeated requests to stop as one.

The agent of torchrun takes every signal for a new request: the second breaks off its wait for the workers' checkpoint,
and the third ends it, and with it the workers. Here the first one is handed on to them and the later ones are ignored.
Its traceback, in which nothing is wrong, is left out: the worker's line says how the run ended.
"""

import os
import signal
import sys
from types import FrameType

from accelerate.commands import accelerate_cli
from torch.distributed.elastic.multiprocessing import SignalException

from ebomlc_dist.launch.signals import REQUESTS, is_ignored


def main() -> None:
    """Run ``accelerate`` with the arguments of this process."""
    # Left to the agent: a person who presses Ctrl-C again is in a hurry.
    os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGINT,SIGQUIT"
    for number in REQUESTS:
        if not is_ignored(number):
            signal.signal(number, _once)
    try:
        accelerate_cli.main()
    except (SignalException, KeyboardInterrupt):
        sys.exit(1)


def _once(number: int, frame: FrameType | None) -> None:
    for other in REQUESTS:
        signal.signal(other, signal.SIG_IGN)
    name = signal.Signals(number).name
    raise SignalException(f"the launcher was told to stop ({name})", sigval=signal.Signals(number))


if __name__ == "__main__":
    main()
