"""The two theorems side by side: averages over the number of steps with the bound, norms over steps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ebomlc_dist.reports.figures.style import BLACK, new_figure, ordered_look, shared_legend
from tools.theory.measure import Finding

TITLE = "Convergence of EBOMLC's upper objective"
CAPTION = (
    "Left: Theorem 1, the mean of ‖∇_wF‖² over T steps with η_w = c/√T and η_α = c/T, its bound, and the slope −1/2. "
    "Right: Theorem 2, ‖∇_wF‖ under η_w ~ t^−0.75 and η_α ~ t^−1.5. Three-dimensional smooth problem of tools/theory/"
    "problem.py, one run a point. The theorems hold with ∇_wQ read as a difference and ξ < 1; they fail at ξ = 1 and "
    "with ∇_wQ read as ∇_wG (stop_gradient)."
)


def plot(findings: Sequence[Finding]) -> Figure:
    """A figure of all cases."""
    figure, (left, right) = new_figure(1, 2, height=3.2)
    for place, finding in enumerate(findings):
        look = ordered_look(place).line()
        left.plot(finding.lengths, finding.averages, label=finding.case.name, **look)
        shown = np.unique(np.geomspace(1, len(finding.norms), 200).astype(int)) - 1
        right.plot(shown + 1, finding.norms[shown], **look, markevery=20)
    holding = findings[0]
    assert holding.bound is not None
    left.plot(holding.lengths, holding.bound, color=BLACK, linewidth=1.0, label="bound of Theorem 1")
    guide = holding.averages[0] * np.sqrt(holding.lengths[0] / holding.lengths) * 0.6
    left.plot(holding.lengths, guide, color=BLACK, linestyle=":", linewidth=1.0, label="slope −1/2")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
    left.set_xlabel("steps T")
    left.set_ylabel("mean of ‖∇F‖² over T steps")
    right.set_xlabel("step t")
    right.set_ylabel("‖∇F‖ at step t")
    shared_legend(figure, left, columns=3)
    return figure
