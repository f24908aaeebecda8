"""The line by which a worker says how it ended, as the last one that a person sees.

After Ctrl-C the launcher prints a traceback of its own wait, when it has seen its workers end or at once. A line of a
worker would stand above it. So a small process of its own waits until the launcher is gone, and says the line then.
"""

import os
import subprocess
import sys

from ebomlc_dist.distributed.launcher import silent_launcher, under_launcher

_WAIT_S = 30.0
_TELLER = """
import os, select, sys
try:
    select.select([os.pidfd_open(int(sys.argv[1]))], [], [], float(sys.argv[2]))
except (OSError, AttributeError):
    pass  # gone already, or no Linux
os.write(2, sys.argv[3].encode("utf-8", "surrogateescape") + b"\\n")
"""


def say_last(line: str, *, interrupted: bool) -> None:
    """Say ``line`` on stderr; after Ctrl-C (``interrupted``) once the launcher, where there is one, has ended."""
    if not interrupted or not under_launcher() or silent_launcher():
        print(line, file=sys.stderr, flush=True)
        return
    # Isolated, without site packages: it starts in hundredths of a second. Its stderr is ours.
    command = [sys.executable, "-I", "-S", "-c", _TELLER, str(os.getppid()), str(_WAIT_S), line]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
