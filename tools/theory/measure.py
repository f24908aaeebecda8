"""Every case measured, in numbers that a table, a plot and a file share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.theory.theorems import CASES, MAIN, MAIN_POWER, META, META_POWER, Case, averages, bound, norms, slope

_POINTS = 7


@dataclass(frozen=True)
class Finding:
    """One case.

    Attributes:
        lengths: numbers of steps T of Theorem 1.
        averages: (1/T) Σ ‖∇_wF‖² for each.
        bound: Theorem 1's right side for each; None where it says nothing.
        norms: ‖∇_wF‖ at every step, under the rates of Theorem 2.
    """

    case: Case
    lengths: NDArray[np.int64]
    averages: NDArray[np.float64]
    bound: NDArray[np.float64] | None
    norms: NDArray[np.float64]

    @property
    def power(self) -> float:
        """The power of T that the averages follow, over the longer half of the lengths."""
        half = len(self.lengths) // 2
        return slope(self.lengths[half:], self.averages[half:])

    def row(self) -> list[str]:
        """Cells of the printed table."""
        share = "–" if self.bound is None else f"{float((self.averages / self.bound).max()):.2f}"
        return [
            self.case.name,
            f"{self.power:.3f}",
            share,
            f"{self.norms[len(self.norms) // 10 - 1]:.2e}",
            f"{self.norms[-1]:.2e}",
        ]

    def document(self) -> dict[str, Any]:
        """Plain values for a file."""
        rule = self.case.rule
        return {
            "name": self.case.name,
            "theorems_hold": self.case.holds,
            "rule": {"reading": rule.reading, "xi": rule.noisy_scale, "delta": rule.strength, "say": rule.say},
            "rates": {"c_w": MAIN, "c_alpha": META, "theorem_2_powers": [MAIN_POWER, META_POWER]},
            "lengths": self.lengths.tolist(),
            "averages": self.averages.tolist(),
            "bound": None if self.bound is None else self.bound.tolist(),
            "power": self.power,
            "final_norm": float(self.norms[-1]),
        }


def measure(steps: int) -> list[Finding]:
    """All cases, with iterations of up to ``steps`` steps."""
    lengths = np.unique(np.geomspace(100, steps, _POINTS).astype(np.int64))
    return [
        Finding(
            case,
            lengths,
            averages(case.rule, lengths),
            bound(case.rule, lengths) if case.holds else None,
            norms(case.rule, steps),
        )
        for case in CASES
    ]
