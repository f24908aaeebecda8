"""The signals by which a process is asked to stop. A person's Ctrl-C is not among them: a second one is in a hurry."""

import signal

REQUESTS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def is_ignored(number: signal.Signals) -> bool:
    """Whether the process was told to ignore it: under ``nohup`` a run goes on when its terminal closes."""
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN
