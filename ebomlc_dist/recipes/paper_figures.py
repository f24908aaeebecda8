"""The runs behind each of the paper's figures, which ``ebomlc figures`` draws.

    ebomlc train figure-7 --data-dir data -o runs/figure-7
    ebomlc figures 7 --runs runs/figure-7 --output figures

Figures 1 to 6 and 9 are of 40 % uniform noise, 7 and 8 of 20, 40 and 80 %; all of CIFAR-10, 4 and 8 of CIFAR-100 too.
The small variants (``figure-7:tiny``) are of the bundled digits, so that a whole figure takes minutes on a CPU; in the
place of a second data set, figure 4 has flips beside uniform noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

TINY_EPOCHS = 20
NINE_METHODS = ("ebomlc", "mlc", "mlc-d", "glc", "dividemix", "pmw-net", "mw-net", "l2rw", "coteaching-plus")
INNER_STEPS = (1, 3, 5)
MIXTURES = (0.2, 0.4, 0.6, 0.8, 1.0)
NOISY_SCALES = (0.1, 0.25, 0.5, 1.0)
PERCENTS = (20, 40, 80)
CIFAR = ("cifar10", "cifar100")


@dataclass(frozen=True)
class Variant:
    """One of several runs of a recipe: a name for its folder, and the dotted keys that set it apart."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class FigureRuns:
    """What one figure is drawn from. ``tiny_variants``: on the digits, which have no second data set beside them."""

    shows: str
    methods: tuple[str, ...]
    variants: tuple[Variant, ...] = ()
    tiny_variants: tuple[Variant, ...] = ()


def _uniform(percent: int) -> dict[str, Any]:
    return {"noise.rate": percent / 100}


_INNER = tuple(
    Variant(f"T{steps}-uniform{percent}", {"method.inner_steps": steps, **_uniform(percent)})
    for steps, percent in product(INNER_STEPS, PERCENTS)
)
_MIXTURE = tuple(
    Variant(f"rho{mixture:g}-uniform{percent}", {"method.mixture": mixture, **_uniform(percent)})
    for mixture, percent in product(MIXTURES, PERCENTS)
)
_SCALES = tuple(Variant(f"xi{scale:g}", {"method.noisy_scale": scale}) for scale in NOISY_SCALES)

FIGURE_RUNS = {
    1: FigureRuns("loss and accuracy of MLC and MLC-D over epochs", ("mlc", "mlc-d")),
    2: FigureRuns("label correction of MLC-D and MLC", ("mlc-d", "mlc")),
    3: FigureRuns("EBOMLC's update, from real gradients", ("ebomlc",)),
    4: FigureRuns(
        "upper loss and test accuracy of all nine methods",
        NINE_METHODS,
        tuple(Variant(dataset, {"data.dataset": dataset}) for dataset in CIFAR),
        tuple(Variant(f"{kind}40", {"noise.kind": kind}) for kind in ("uniform", "flip")),
    ),
    5: FigureRuns("upper and lower loss of EBOMLC and MLC-D, over epochs and time", ("ebomlc", "mlc-d")),
    6: FigureRuns("label correction of MLC and EBOMLC", ("mlc", "ebomlc")),
    7: FigureRuns("EBOMLC by inner steps: accuracy and time", ("ebomlc",), _INNER, _INNER),
    8: FigureRuns(
        "EBOMLC by mixture weight and noise",
        ("ebomlc",),
        tuple(
            Variant(f"{dataset}-{one.name}", {"data.dataset": dataset, **one.settings})
            for dataset, one in product(CIFAR, _MIXTURE)
        ),
        _MIXTURE,
    ),
    9: FigureRuns("EBOMLC by noisy scale: losses, gradient norms, accuracy", ("ebomlc",), _SCALES, _SCALES),
}
