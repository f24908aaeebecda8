"""Made-up scores with known truth, and findings from them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.audit.findings import Findings, Subject
from ebomlc_dist.audit.rank_labels import Evidence, rank_labels
from ebomlc_dist.audit.table import score_table
from ebomlc_dist.noise.precision import Cases

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "\" onmouseover='alert(3)'",
    "javascript:alert(4)",
    "]]>--><svg onload=alert(5)>",
    "a\u202egnp.exe",
    "line\nbreak\r\u2028\u2029",
    "\x1b[31mred\x1b]0;title\x07[red]",
    "=1+1",
    "{{ 7*7 }}{% raw %}",
]
"""Ten class names that try to be markup, formulas, escapes or templates."""


@dataclass(frozen=True)
class World:
    """What is known of made-up images: given and true labels, main-model probabilities, and those of trusted images."""

    given: NDArray[np.int64]
    true: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    trusted_true: NDArray[np.int64]
    trusted_probabilities: NDArray[np.float32]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        return self.given != self.true


def uniform(num_classes: int, rate: float) -> NDArray[np.float64]:
    """P(given | true) of uniform noise."""
    matrix = np.full((num_classes, num_classes), rate / (num_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def flip(num_classes: int, rate: float) -> NDArray[np.float64]:
    """P(given | true) where each class moves to the next one."""
    return (1 - rate) * np.eye(num_classes) + rate * np.roll(np.eye(num_classes), 1, axis=1)


def make_world(
    transition: NDArray[np.float64],
    *,
    num_images: int = 2000,
    num_trusted: int = 200,
    strength: float = 2.0,
    learns_noise: bool = False,
    seed: int = 0,
) -> World:
    """A model whose logits are normal, ``strength`` higher for the true class; or, where it ``learns_noise``, one that
    says how often each label is given."""
    size, rng = len(transition), np.random.default_rng(seed)

    def said(true: NDArray[np.int64]) -> NDArray[np.float32]:
        logits = rng.normal(size=(len(true), size)) + strength * np.eye(size)[true]
        found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return (found @ transition if learns_noise else found).astype(np.float32)

    true = rng.integers(0, size, num_images)
    drawn = rng.random(num_images)[:, None] > transition.cumsum(axis=1)[true]
    trusted = np.arange(num_trusted) % size
    return World(np.minimum(drawn.sum(axis=1), size - 1), true, said(true), trusted, said(trusted))


def make_cases(world: World) -> Cases:
    """Every trusted image under every label, its own first; there is no corrector."""
    size, count = world.probabilities.shape[1], len(world.trusted_true)
    image, shift = (grid.ravel() for grid in np.meshgrid(np.arange(count), np.arange(size), indexing="ij"))
    truth = world.trusted_true[image]
    label = (truth + shift) % size
    predicted = world.trusted_probabilities.argmax(axis=1)[image]
    doubt = 1 - world.trusted_probabilities[image, label]
    sure = world.trusted_probabilities.max(axis=1)[image]
    return Cases(image, truth, label, np.ones(len(image)), doubt, predicted, predicted, sure, sure)


@contextmanager
def evidence_of(world: World, folder: Path) -> Iterator[Evidence]:
    """The evidence of a model without a corrector."""
    rows = np.arange(len(world.given))
    with score_table(world.given, world.probabilities.shape[1], folder) as table:
        doubt = 1 - world.probabilities[rows, world.given]
        table.put(rows, world.probabilities, world.probabilities, doubt)
        yield Evidence(table, make_cases(world), world.trusted_probabilities)


def make_subject(world: World, **changes: Any) -> Subject:
    size = world.probabilities.shape[1]
    values: dict[str, Any] = {
        "ids": [f"train/{row}.png" for row in range(len(world.given))],
        "key": "path",
        "class_names": [f"class {k}" for k in range(size)],
        "title": "made-up images",
        "folds": None,
        "in_sample": True,
        "confidence": 0.8,
        "true": world.true,
    }
    return Subject(**(values | changes))


@contextmanager
def findings_of(world: World, folder: Path, **changes: Any) -> Iterator[Findings]:
    """Findings by the choice of the trusted images."""
    with evidence_of(world, folder) as evidence:
        yield rank_labels(make_subject(world, **changes), evidence)
