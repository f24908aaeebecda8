"""A million rows of features, trained on and audited: ``python benchmarks/feature_rows.py FOLDER [--rows N]``.

Rows of K clusters are made in blocks (float16), 30 % of the labels are moved to another class, 1,000 rows are trusted.
``ebomlc train features --audit`` runs in a process of its own. It prints seconds for each part, and the peak of
resident memory; that of a mapped file counts pages that the system may take back at any time (``file``) apart from what
the program holds (``own``).
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

BLOCK = 100_000
CLASSES, TRUSTED, RATE = 20, 1_000, 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--method", default="ebomlc-s")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    make(asked.folder, asked.rows, asked.width)
    command = [
        *(sys.executable, "-m", "ebomlc_dist.cli", "train", "features"),
        *("--features", "x.npy", "--labels", "y.npy", "--trusted", "trusted.csv", "--method", asked.method),
        *("--epochs", str(asked.epochs), "--batch-size", str(asked.batch_size), "--clean-batch-size", "100"),
        *("--lr", "0.1", "--audit", "-q", "-o", "run"),
    ]
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=asked.folder)
    peaks: dict[str, int] = {}
    watcher = threading.Thread(target=watch, args=(process, peaks))
    watcher.start()
    if process.wait():
        raise SystemExit(process.returncode)
    seconds = time.monotonic() - begun
    watcher.join()
    summary = json.loads((asked.folder / "run" / "summary.json").read_text())
    audit = json.loads((asked.folder / "run" / "audit" / "summary.json").read_text())
    print(f"{asked.rows:,} rows of {asked.width}, {asked.epochs} epochs, batches of {asked.batch_size} + 100")
    print(f"seconds: {seconds:.0f} in all, of which steps {summary['train_seconds']:.0f}")
    print("peak GiB:", {name: round(kib / 2**20, 2) for name, kib in peaks.items()})
    print(f"flagged {audit['num_flagged']:,} of {audit['num_images']:,}, estimated wrong {audit['noise_rate']}")


def make(folder: Path, rows: int, width: int) -> None:
    """Write ``x.npy``, ``y.npy`` and ``trusted.csv``, a function of the arguments."""
    draws = np.random.default_rng(0)
    centres = draws.normal(scale=0.25, size=(CLASSES, width)).astype(np.float32)
    true = draws.integers(0, CLASSES, rows)
    features = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float16, (rows, width))
    for begin in range(0, rows, BLOCK):
        own = true[begin : begin + BLOCK]
        features[begin : begin + BLOCK] = centres[own] + draws.standard_normal((len(own), width), np.float32)
    features.flush()
    wrong = draws.random(rows) < RATE
    np.save(folder / "y.npy", np.where(wrong, (true + draws.integers(1, CLASSES, rows)) % CLASSES, true))
    chosen = draws.choice(rows, TRUSTED, replace=False)
    (folder / "trusted.csv").write_text("id,label\n" + "".join(f"{row},{true[row]}\n" for row in chosen))


def watch(process: subprocess.Popen, peaks: dict[str, int]) -> None:
    """Keep the largest of what the system says of a process's resident memory, in KiB."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            return
        for name, key in (("own", "RssAnon"), ("file", "RssFile"), ("all", "VmRSS")):
            if key in lines:
                peaks[name] = max(peaks.get(name, 0), int(lines[key].split()[0]))
        time.sleep(0.2)


if __name__ == "__main__":
    main()
