"""Figure 3: EBOMLC's update in the plane that ∇F and ∇Q span, from the inner products of single steps of a run.

With x along ∇Q and y along the rest of ∇F,

    ∇F = (⟨∇F, ∇Q⟩/‖∇Q‖, √(‖∇F‖² − x²)),   half-space x ≥ φ/‖∇Q‖,   d = ∇F + β∇Q,   step ∇F + ξβ∇Q

so that nothing but norms and inner products is needed, and lengths and angles are those of the full space.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ebomlc_dist.errors import InputError
from ebomlc_dist.reports.figures.drawing import Drawing, refuse
from ebomlc_dist.reports.figures.series import method_number, setting_of
from ebomlc_dist.reports.figures.style import BLACK, BLUE, GREEN, GREY, VERMILLION, new_figure
from ebomlc_dist.reports.finished import Epoch, FinishedRun

_SHAPE = 0.75


@dataclass(frozen=True)
class Plane:
    """∇F and ∇Q of one step in their plane, for all parameters or a part of them.

    Attributes:
        upper: (x, y) of ∇F.
        gap: length of ∇Q, which lies along x.
        scale: ξ.
        beta: β.
        threshold: φ/‖∇Q‖, where the half-space begins; None for a part of the parameters, which has none of its own.
        plain_threshold: the same without the alignment term.
    """

    upper: tuple[float, float]
    gap: float
    scale: float
    beta: float
    threshold: float | None = None
    plain_threshold: float | None = None

    def along(self, weight: float) -> tuple[float, float]:
        """∇F + weight·∇Q."""
        return self.upper[0] + weight * self.gap, self.upper[1]


def figure_3(runs: Sequence[FinishedRun]) -> Drawing:
    """The first run of EBOMLC whose steps are known: first, middle and last epoch."""
    ours = [run for run in runs if run.method == "ebomlc"]
    if not ours:
        refuse(3, "a run of EBOMLC", [runs])
    run = min(ours, key=lambda run: (setting_of(run), run.config.seeds.seed))
    last = len(run.last_stage) - 1
    epochs = [run.last_stage[place] for place in sorted({0, last // 2, last})]
    figure, axes = new_figure(len(_PARTS), len(epochs), height=1.95)
    for (name, _), row in zip(_PARTS, range(len(_PARTS)), strict=True):
        for column, epoch in enumerate(epochs):
            place = axes[row * len(epochs) + column]
            _panel(place, plane(run, epoch, name))
            if row == 0:
                place.set_title(f"last step of epoch {epoch.number}")
            if column == 0:
                place.set_ylabel(dict(_PARTS)[name])
    figure.legend(handles=_legend(), loc="outside upper center", ncols=3)
    caption = (
        f"{setting_of(run)}, seed {run.config.seeds.seed}. The plane spanned by ∇F and ∇Q, with ∇Q to the right; "
        "lengths and angles are those of the gradients of that one step. Shaded: directions d with ⟨∇Q, d⟩ ≥ φ. The "
        "dotted line is where the half-space would begin without the alignment term of φ (eq. 10). β is one number for "
        "both parts."
    )
    return Drawing(figure, caption, (run,))


_PARTS = (("all", "all parameters"), ("main", "main model (w)"), ("meta", "meta model (α)"))


def plane(run: FinishedRun, epoch: Epoch, part: str) -> Plane:
    """The plane of the last step of an epoch; ``part``: ``all``, ``main`` or ``meta`` parameters.

    Raises:
        InputError: the run did not keep the inner products of its steps.
    """
    main = _products(run, epoch, "upper_main_norm", "upper_gap_main", "gap_main_norm")
    meta = _products(run, epoch, "upper_meta_norm", "alignment", "gap_meta_norm")
    squared, product, gap_squared = {
        "main": main,
        "meta": meta,
        "all": tuple(a + b for a, b in zip(main, meta, strict=True)),
    }[part]
    gap = math.sqrt(gap_squared)
    across = product / gap if gap else 0.0
    found = Plane(
        upper=(across, math.sqrt(max(squared - across**2, 0.0))),
        gap=gap,
        scale=method_number(run, "noisy_scale"),
        beta=_value(run, epoch, "barrier_coefficient"),
    )
    if part != "all":
        return found
    plain = method_number(run, "barrier_strength") * gap
    return Plane(found.upper, gap, found.scale, found.beta, plain + (meta[1] / gap if gap else 0.0), plain)


def _products(run: FinishedRun, epoch: Epoch, upper: str, product: str, gap: str) -> tuple[float, float, float]:
    return _value(run, epoch, upper) ** 2, _value(run, epoch, product), _value(run, epoch, gap) ** 2


def _value(run: FinishedRun, epoch: Epoch, name: str) -> float:
    value = epoch.values.get(f"step/{name}")
    if not isinstance(value, int | float):
        raise InputError(
            f"the run in {run.folder} has no step/{name} in metrics.jsonl (figure 3); train it again, for instance by: "
            "ebomlc train figure-3:tiny -o runs/figure-3"
        )
    return float(value)


_ARROWS: Mapping[str, tuple[str, str]] = {
    "upper": (BLUE, "∇F"),
    "gap": (VERMILLION, "∇Q"),
    "projection": (GREY, "∇F + β∇Q, the projection on the half-space"),
    "step": (GREEN, "∇F + ξβ∇Q, the direction taken"),
}


def _panel(axes: Axes, seen: Plane) -> None:
    tips = {
        "gap": (seen.gap, 0.0),
        "upper": seen.upper,
        "step": seen.along(seen.scale * seen.beta),
        "projection": seen.along(seen.beta),
    }
    across = [0.0, *(tip[0] for tip in tips.values()), *((seen.threshold,) if seen.threshold is not None else ())]
    up = [0.0, *(tip[1] for tip in tips.values())]
    # All panels have one shape, and one unit across is as long as one up.
    width = max(1.2 * (max(across) - min(across)), 1.3 * max(up) / _SHAPE) or 1.0
    middle = (max(across) + min(across)) / 2
    axes.set_xlim(middle - width / 2, middle + width / 2)
    axes.set_ylim(-0.1 * _SHAPE * width, 0.9 * _SHAPE * width)
    axes.set_box_aspect(_SHAPE)
    if seen.threshold is not None and seen.plain_threshold is not None:
        axes.axvspan(seen.threshold, axes.get_xlim()[1], color="#E8EEF4", zorder=0)
        axes.axvline(seen.threshold, color=BLACK, linewidth=0.9)
        axes.axvline(seen.plain_threshold, color=BLACK, linewidth=0.9, linestyle=":")
    # The first ones are the widest, so that arrows that fall together are all seen.
    for place, (name, tip) in enumerate(tips.items()):
        arrow = {"arrowstyle": "-|>", "color": _ARROWS[name][0], "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
        dashes = "--" if name == "projection" else "-"
        axes.annotate("", tip, (0.0, 0.0), arrowprops={**arrow, "linestyle": dashes, "linewidth": 2.2 - 0.4 * place})
    axes.plot(0, 0, "o", color=BLACK, markersize=2.5)
    axes.text(0.02, 0.97, f"β = {seen.beta:.3g}", transform=axes.transAxes, va="top", fontsize=7.5)
    axes.tick_params(labelsize=6.5)
    axes.locator_params(nbins=5)


def _legend() -> list[Line2D | Patch]:
    arrows: list[Line2D | Patch] = [
        Line2D([], [], color=colour, linestyle="--" if name == "projection" else "-", label=text)
        for name, (colour, text) in _ARROWS.items()
    ]
    return [
        *arrows,
        Patch(color="#E8EEF4", label="half-space ⟨∇Q, d⟩ ≥ φ"),
        Line2D([], [], color=BLACK, linestyle=":", linewidth=0.9, label="its border without alignment"),
    ]
