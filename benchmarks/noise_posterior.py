"""How well the noise is found from a classifier: ``python benchmarks/noise_posterior.py [--classes 2,10]``.

10,000 noisy images, some held-out ones a class, a classifier of known confusion: errors spread evenly (``flat``), to
one other class (``one way``), or within groups of classes (``blocks``). The table has the estimated rate of wrong
labels, mean ± standard deviation over repeats, how often its 95 % interval holds the realised rate, and its mean
width. Per cent.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from ebomlc_dist.noise.posterior import noise_posterior

NOISY = 10_000
HELD_OUT = {2: 50, 10: 20, 100: 2}
GROUP = {2: 2, 10: 5, 100: 10}
Matrix = NDArray[np.floating]


def confusion(kind: str, size: int, accuracy: float) -> Matrix:
    others = np.ones((size, size))
    if kind == "one way":
        others = np.roll(np.eye(size), 1, axis=1)
    elif kind == "blocks":
        others = np.kron(np.eye(size // GROUP[size]), np.ones((GROUP[size], GROUP[size])))
    return _with_diagonal(others, accuracy)


def noise(kind: str, size: int, rate: float) -> Matrix:
    others = np.roll(np.eye(size), min(2, size - 1), axis=1) if kind == "flip" else np.ones((size, size))
    return _with_diagonal(others, 1 - rate)


def _with_diagonal(others: Matrix, kept: float) -> Matrix:
    others = others * (1 - np.eye(len(others)))
    return np.diag(np.full(len(others), kept)) + (1 - kept) * others / others.sum(axis=1, keepdims=True)


def rows_of(size: int, repeats: int) -> Iterator[list[str]]:
    """One row of the table at a time."""
    for kind in ("flat",) if size == 2 else ("flat", "one way", "blocks"):
        for accuracy in (0.75, 0.9) if size == 2 else (0.5, 0.8):
            for noise_kind, rate in (
                ("uniform", 0.0),
                ("uniform", 0.2),
                ("uniform", 0.4),
                ("flip", 0.2),
                ("flip", 0.4),
            ):
                if size == 2 and noise_kind == "flip":
                    continue
                found, held, widths, began = [], 0, [], time.perf_counter()
                for seed in range(repeats):
                    rng = np.random.default_rng(seed)
                    classifier, labels = confusion(kind, size, accuracy), noise(noise_kind, size, rate)
                    true = rng.integers(size, size=NOISY)
                    predicted, given = (_drawn(rng, matrix[true]) for matrix in (classifier, labels))
                    joint = np.zeros((size, size), dtype=np.int64)
                    np.add.at(joint, (predicted, given), 1)
                    trusted = np.stack([rng.multinomial(HELD_OUT[size], row) for row in classifier])
                    posterior = noise_posterior(torch.from_numpy(joint), torch.from_numpy(trusted))
                    low, high = posterior.interval
                    found.append(100 * posterior.rate)
                    widths.append(100 * (high - low))
                    held += low <= (given != true).mean() <= high
                seconds = (time.perf_counter() - began) / repeats
                yield [
                    str(size), kind, f"{100 * accuracy:.0f}", f"{noise_kind} {100 * rate:.0f}",
                    f"{np.mean(found):.1f} ± {np.std(found):.1f}", f"{held} of {repeats}", f"{np.mean(widths):.1f}",
                    f"{seconds:.1f}",
                ]  # fmt: skip


def _drawn(rng: np.random.Generator, rows: Matrix) -> NDArray[np.int64]:
    return (rows.cumsum(axis=1) < rng.random(len(rows))[:, None]).sum(axis=1).clip(max=rows.shape[1] - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--classes", default="2,10,100")
    parser.add_argument("--repeats", type=int, default=8)
    asked = parser.parse_args()
    print("| classes | confusion | accuracy | noise | estimated | interval holds it | width | s |")
    print("|---" * 8 + "|")
    for size in map(int, asked.classes.split(",")):
        for row in rows_of(size, asked.repeats):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
