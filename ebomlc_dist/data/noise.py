"""Label noise of a run: the labels of all training images, drawn once from the noise seed, before any split.

Because the draw runs over the whole training set in its own order, the label of an image depends neither on the split
nor on how many images are used.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ebomlc_dist.config import NoiseConfig
from ebomlc_dist.data.dataset import Source
from ebomlc_dist.data.human import human_labels
from ebomlc_dist.data.inputs.class_names import Classes
from ebomlc_dist.data.inputs.csv_table import read_matrix
from ebomlc_dist.data.seeds import child
from ebomlc_dist.errors import InputError
from ebomlc_dist.noise.matrices import (
    apply_transition,
    flip_matrix,
    nominal_rate,
    pair_matrix,
    released_pairs,
    uniform_matrix,
)

_MATRIX, _LABELS = 0, 1
log = logging.getLogger(__name__)


def draw_noise(source: Source, noise: NoiseConfig, seed: np.random.SeedSequence) -> tuple[Tensor, float | None]:
    """Return noisy labels of every training image, and the nominal noise rate.

    Args:
        source: its labels are taken as true where noise is asked for.
        noise: kind and rate.
        seed: of the stream ``noise``. The matrix and the labels are drawn from descendants of their own, so that the
            classes that ``flip`` pairs do not depend on the rate.

    Returns:
        (N,) int64, and the share of labels asked for: the rate for ``uniform`` and ``flip``, the expected one for
        ``matrix``; None for ``human``, where nothing is asked for, and for ``none`` where the truth is unknown.

    Raises:
        InputError: a matrix or human labels that are missing or do not fit.
    """
    if noise.kind == "none":
        return source.labels, 0.0 if source.labels_are_true else None
    if noise.kind == "human":
        return human_labels(source, noise), None
    num_classes = len(source.class_names)
    if noise.kind == "uniform":
        matrix, nominal = uniform_matrix(num_classes, noise.rate, noise.uniform_over), noise.rate
    elif noise.kind == "flip":
        rng = np.random.Generator(np.random.PCG64(child(seed, _MATRIX)))
        drawn = noise.flip_pairs == "drawn"
        matrix = (
            flip_matrix(num_classes, noise.rate, rng) if drawn else pair_matrix(released_pairs(num_classes), noise.rate)
        )
        nominal = noise.rate
    else:
        matrix = transition_matrix(noise.matrix, source.class_names)
        nominal = nominal_rate(source.labels, matrix)
    rng = np.random.Generator(np.random.PCG64(child(seed, _LABELS)))
    return apply_transition(source.labels, matrix, rng), nominal


def transition_matrix(path: Path | None, class_names: list[str]) -> Tensor:
    """Return the (K, K) float64 matrix of a CSV file: row = true class, column = noisy class, every row sums to 1.

    In the file classes are in label order, or, where they are named by whole numbers, in the order of these.

    Raises:
        InputError: no file, another shape, negative entries, rows that do not sum to 1 (to 1e-6).
    """
    if path is None:
        raise InputError("matrix noise needs a transition matrix; give --set noise.matrix=FILE, K rows of K numbers")
    rows, num_classes = read_matrix(path), len(class_names)
    if len(rows) != num_classes or any(len(row) != num_classes for row in rows):
        widths = ", ".join(sorted({str(len(row)) for row in rows}))
        raise InputError(
            f"{path} has {len(rows)} rows of {widths or 'no'} numbers; {num_classes} rows of {num_classes} are needed, "
            "one row for each true class, without a header"
        )
    matrix = torch.tensor(rows, dtype=torch.float64)
    for number, row in enumerate(matrix, start=1):
        if not bool((row >= 0).all()):
            raise InputError(f"{path}: row {number} has a negative entry or one that is no number; entries are in 0…1")
        if abs(float(row.sum()) - 1) > 1e-6:
            raise InputError(f"{path}: row {number} sums to {float(row.sum()):.6f}; every row must sum to 1")
    if 2 * int((matrix.argmax(dim=1) != torch.arange(num_classes)).sum()) > num_classes:
        log.warning("%s turns most classes into others; do its rows and columns follow the order of the classes?", path)
    order = Classes(class_names).by_value()
    found = torch.empty_like(matrix)
    found[torch.tensor(order)[:, None], torch.tensor(order)] = matrix
    return found
