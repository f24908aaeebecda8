"""How much longer a command takes beside a busy neighbour: one spinning process for each core of this machine.

    python -m benchmarks.busy_neighbour -- ebomlc train digits --method ce -o {out}

``{out}`` stands for a folder of its own for each run. The bar: at most `BAR` times the quiet time. With a neighbour on
every core a fair scheduler leaves half of each, so that 2 is the best to be had. Run it on an otherwise idle machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ebomlc_dist.launch.cores import available_cores

BAR = 3.0
# Each ends by itself, whatever becomes of this program.
SPIN = "import time\nend = time.monotonic() + {limit}\nwhile time.monotonic() < end: pass"


@contextmanager
def neighbours(number: int, limit_s: float) -> Iterator[None]:
    """So many spinning processes, for the block."""
    started = [subprocess.Popen([sys.executable, "-c", SPIN.format(limit=limit_s)]) for _ in range(number)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def seconds(command: list[str], limit_s: float) -> tuple[float, int | None]:
    """Wall time of a command, and the threads that its run says it took."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        started = time.monotonic()
        subprocess.run(
            [word.replace("{out}", str(out)) for word in command], check=True, timeout=limit_s, capture_output=True
        )
        taken = time.monotonic() - started
        stored = next(iter(sorted(out.rglob("environment.json"))), None)
        return taken, json.loads(stored.read_text())["threads"] if stored is not None else None


def main() -> None:
    """Measure quiet, then busy; exit code 1 beyond the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit-s", type=float, default=900.0, help="each run is ended after this time")
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    quiet, threads = seconds(asked.command, asked.limit_s)
    print(f"quiet: {quiet:.1f} s, {threads} thread(s)", flush=True)
    with neighbours(available_cores(), asked.limit_s):
        busy, threads = seconds(asked.command, asked.limit_s)
    print(f"beside {available_cores()} spinning process(es): {busy:.1f} s, {threads} thread(s)")
    print(f"{busy / quiet:.2f} times as long; the bar is {BAR:g}")
    sys.exit(busy / quiet > BAR)


if __name__ == "__main__":
    main()
