"""The scores of every audited label: one row an image, a few bytes each, filled in blocks and in any order."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.files import durable, operations

TOP = 3


@dataclass(frozen=True)
class ScoreTable:
    """Arrays beside the noisy set, n images of K classes.

    Attributes:
        given: (n,) int32, the labels that are audited.
        predicted: (n,) int32, the main model's label; ``predicted_probability`` (n,) float32 is its probability.
        corrected: (n,) int32, the corrector's label, or the main model's where the method has no corrector.
        corrected_probability, given_probability: (n,) float32, the corrector's probability of each.
        top_labels, top_probabilities: (n, 3), the corrector's most likely classes; fewer where K < 3.
        suspicion: (n,) float32 in 0…1, high is bad; see `ebomlc_dist.engine.scores`.
        probabilities: (n, K) float32, the main model's, in a file that is mapped into memory.
    """

    given: NDArray[np.int32]
    predicted: NDArray[np.int32]
    predicted_probability: NDArray[np.float32]
    corrected: NDArray[np.int32]
    corrected_probability: NDArray[np.float32]
    given_probability: NDArray[np.float32]
    top_labels: NDArray[np.int32]
    top_probabilities: NDArray[np.float32]
    suspicion: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.given)

    @property
    def num_classes(self) -> int:
        return self.probabilities.shape[1]

    def put(
        self,
        rows: NDArray[np.int64],
        main: NDArray[np.float32],
        corrected: NDArray[np.float32],
        suspicion: NDArray[np.float32],
    ) -> None:
        """Fill the rows ``rows`` (m,) from the main model's and the corrector's probabilities, (m, K) each."""
        each, given = np.arange(len(rows)), self.given[rows]
        top = np.argsort(-corrected, axis=1, kind="stable")[:, :TOP]
        self.predicted[rows] = main.argmax(axis=1)
        self.predicted_probability[rows] = main.max(axis=1)
        self.corrected[rows] = top[:, 0]
        self.corrected_probability[rows] = corrected[each, top[:, 0]]
        self.given_probability[rows] = corrected[each, given]
        self.top_labels[rows] = top
        self.top_probabilities[rows] = np.take_along_axis(corrected, top, axis=1)
        self.suspicion[rows] = suspicion
        self.probabilities[rows] = main


@contextmanager
def score_table(given: NDArray[np.int64], num_classes: int, folder: Path) -> Iterator[ScoreTable]:
    """Yield an empty table for these labels; its large array lies in a file in ``folder`` until the block ends."""
    n, top = len(given), min(TOP, num_classes)
    scratch = folder / durable.temporary_name("probabilities.npy")
    with durable.explained(scratch, 4 * n * num_classes):
        probabilities = np.lib.format.open_memmap(scratch, "w+", dtype=np.float32, shape=(n, num_classes))
    try:
        yield ScoreTable(
            given=given.astype(np.int32),
            predicted=np.zeros(n, np.int32),
            predicted_probability=np.zeros(n, np.float32),
            corrected=np.zeros(n, np.int32),
            corrected_probability=np.zeros(n, np.float32),
            given_probability=np.zeros(n, np.float32),
            top_labels=np.zeros((n, top), np.int32),
            top_probabilities=np.zeros((n, top), np.float32),
            suspicion=np.zeros(n, np.float32),
            probabilities=probabilities,
        )
    finally:
        del probabilities
        operations.current().unlink(scratch)
