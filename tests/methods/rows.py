"""One row a method: what the shared contract must know of it. A registered method without a row fails collection."""

from dataclasses import dataclass, field
from pathlib import Path

from ebomlc_dist.methods import METHODS
from ebomlc_dist.testing.problem import EPOCHS


@dataclass(frozen=True)
class Row:
    """Attributes:
    variants: settings under which the contract is checked, ``epoch`` among them; the first one is the default.
    collectives: what one step starts under the first variant.
    more_because: why a step needs more than three collectives.
    forward_units: cost of one step in forwards of one batch, backward = 2 (noisy and clean batch of equal size).
    epoch: the epoch whose steps are looked at.
    short_run: settings that let every phase of the method take place within four epochs.
    learning_epochs: passes over the digits within which it gets beyond 50 %.
    """

    collectives: int
    forward_units: float
    variants: tuple[dict, ...] = field(default=({},))
    more_because: str = ""
    epoch: int = 0
    short_run: dict = field(default_factory=dict)
    learning_epochs: int = 12


ROWS = {
    "ebomlc": Row(
        collectives=3,
        forward_units=7,
        variants=(
            {},
            {"value_gradient": "difference", "mixture_kind": "logit"},
            {"inner_steps": 2, "lower_objective": "with_clean"},
        ),
    ),
    "ebomlc-s": Row(
        collectives=3,
        forward_units=7,
        epoch=1,
        # Half of the few trusted images is held out, so that something is measured.
        short_run={"noise_process": "estimated", "held_out": 0.5},
        variants=(
            {},
            {"settings": "informed"},
            {"epoch": 0, "value_gradient": "difference"},
            {"settings": "fixed", "mixture_kind": "probability"},
            {"noise_process": "observed", "settings": "corrected"},
            {"noise_process": "counted", "followed": ["noisy_scale"], "mixture_kind": "logit"},
            {"estimate": "mean_softmax", "settings": "fixed"},
            {"noise_process": "known", "transition": [[0.7 if i == j else 0.1 for j in range(4)] for i in range(4)]},
        ),
    ),
    "ebomlc-released": Row(
        collectives=3, forward_units=10.5, variants=({}, {"gap_as_step": True}, {"look_ahead_statistics": "moved"})
    ),
    "mlc": Row(
        collectives=3,
        forward_units=9,
        short_run={"look_ahead_steps": 3},
        variants=(
            {},
            {"lower_objective": "noisy", "look_ahead": "plain"},
            {"hypergradient": "double_backward", "look_ahead": "plain"},
            {"hypergradient": "finite_difference", "lower_objective": "noisy"},
            {"look_ahead_steps": 3},
        ),
    ),
    "mlc-d": Row(
        collectives=7,
        forward_units=19,
        variants=({}, {"value_gradient": "difference", "inner_steps": 2}, {"lower_objective": "with_clean"}),
    ),
    "glc": Row(collectives=1, forward_units=3, epoch=EPOCHS, variants=({}, {"epoch": 0})),
    "l2rw": Row(
        collectives=2,
        forward_units=9,
        variants=({}, {"hypergradient": "double_backward"}, {"hypergradient": "finite_difference"}),
    ),
    "mw-net": Row(
        collectives=4,
        forward_units=11,
        more_because="the weights of the main step are those after the weight net's own step",
        variants=(
            {},
            {"hypergradient": "double_backward", "look_ahead": "sgd"},
            {"hypergradient": "finite_difference", "weights": "current"},
        ),
    ),
    "pmw-net": Row(
        collectives=4,
        forward_units=11,
        more_because="as mw-net",
        variants=({}, {"hypergradient": "double_backward", "prior_weight": 10.0}, {"weights": "current"}),
    ),
    "dividemix": Row(
        collectives=4,
        forward_units=36,
        more_because="mixing partners come from the whole batch: images and targets are put together first",
        epoch=18,
        short_run={"warm_up_epochs": 1, "ramp_epochs": 2, "loss_epochs": 2},
        variants=(
            {},
            {"epoch": 2, "warm_up_penalty": "negative_entropy"},
            {"clean_images": "labelled", "mixup_shape": 0.5},
        ),
    ),
    "coteaching-plus": Row(
        collectives=2,
        forward_units=6,
        epoch=25,
        short_run={"init_epochs": 1, "forget_epochs": 2},
        variants=({}, {"epoch": 5, "forget_rate": 0.6}, {"clean_images": "labelled"}),
    ),
    "ce": Row(collectives=1, forward_units=3, variants=({}, {"clean_images": "labelled"})),
    "ce-clean": Row(collectives=1, forward_units=3),
    "ce-weighted": Row(collectives=2, forward_units=6, variants=({}, {"clean_weight": 0.2})),
    "ce-finetune": Row(
        collectives=1,
        forward_units=3,
        epoch=EPOCHS - 1,
        variants=({}, {"epoch": 0}, {"epoch": EPOCHS - 2, "finetune_share": 0.5}),
    ),
    "ce-oracle": Row(collectives=1, forward_units=3),
}

missing = sorted(set(METHODS) - set(ROWS))
assert not missing, f"methods without a row in tests/methods/rows.py: {missing}"
golden = Path(__file__).parent.parent / "golden"
missing = sorted(name for name in ROWS if not (golden / f"{name}.json").exists())
assert not missing, f"methods without a golden file (python -m tests.golden.renew NAME): {missing}"

CASES = [(name, {"epoch": row.epoch, **variant}) for name, row in ROWS.items() for variant in row.variants]
