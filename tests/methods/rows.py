"""One row a method: what the shared contract must know of it. A registered method without a row fails collection."""

from dataclasses import dataclass, field

from ebomlc_dist.methods import METHODS


@dataclass(frozen=True)
class Row:
    """Attributes:
    variants: settings under which the contract is checked; the first one is the default.
    collectives: reductions of one step under the first variant.
    forward_units: cost of one step in forwards of one batch, backward = 2 (noisy and clean batch of equal size).
    learning_epochs: passes over the digits within which it gets beyond 50 %.
    """

    collectives: int
    forward_units: float
    variants: tuple[dict, ...] = field(default=({},))
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
    "ebomlc-released": Row(collectives=3, forward_units=9, variants=({}, {"gap_as_step": True})),
    "mlc": Row(
        collectives=3,
        forward_units=9,
        # The main model learns from nothing but the corrector, which starts from random labels.
        learning_epochs=60,
        variants=(
            {},
            {"hypergradient": "double_backward", "lower_objective": "with_clean"},
            {"hypergradient": "finite_difference", "look_ahead": "sgd"},
            {"look_ahead_steps": 3},
        ),
    ),
    "mlc-d": Row(
        collectives=7,
        forward_units=19,
        variants=({}, {"value_gradient": "difference", "inner_steps": 2}, {"lower_objective": "with_clean"}),
    ),
    "ce": Row(collectives=1, forward_units=3),
    "ce-clean": Row(collectives=1, forward_units=3),
    "ce-oracle": Row(collectives=1, forward_units=3),
}

missing = sorted(set(METHODS) - set(ROWS))
assert not missing, f"methods without a row in tests/methods/rows.py: {missing}"

CASES = [(name, variant) for name, row in ROWS.items() for variant in row.variants]
