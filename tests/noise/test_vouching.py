"""Proposed labels are taken where trusted images vouch for them, and labels never get worse."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ebomlc_dist.audit.conclusion import conclusion, relabelling
from ebomlc_dist.audit.findings import Findings
from ebomlc_dist.audit.rank_labels import rank_labels
from tests.audit.support import World, evidence_of, findings_of, flip, make_subject, make_world, uniform


def among_groups(size: int, rate: float, members: int) -> np.ndarray:
    """P(given | true) where a wrong label is one of the class's own group."""
    matrix = np.zeros((size, size))
    for true in range(size):
        group = [k for k in range(true // members * members, (true // members + 1) * members) if k != true]
        matrix[true, group] = rate / len(group)
        matrix[true, true] = 1 - rate
    return matrix


def surer(world: World, power: float) -> World:
    """The same predictions with probabilities that are too high."""

    def made(probabilities: np.ndarray) -> np.ndarray:
        raised = probabilities.astype(np.float64) ** power
        return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)

    return replace(
        world, probabilities=made(world.probabilities), trusted_probabilities=made(world.trusted_probabilities)
    )


def wrong(labels: np.ndarray, world: World) -> float:
    return float((labels != world.true).mean())


def at_eight_tenths(found: Findings) -> np.ndarray:
    return np.where(found.proposed_probability >= 0.8, found.proposed, found.table.given)


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
WORLDS = {
    "strong": (uniform(5, 0.3), 200, 2.5, 1.0),
    "few wrong": (uniform(10, 0.05), 1000, 3.0, 1.0),
    "few trusted": (uniform(10, 0.4), 50, 3.0, 1.0),
    "too sure": (among_groups(10, 0.4, 5), 200, 2.0, 3.0),
    "flips": (flip(6, 0.4), 120, 2.5, 1.0),
    "nothing wrong": (uniform(10, 0.0), 200, 2.0, 2.0),
    "weak": (among_groups(20, 0.307, 4), 200, 1.4, 3.0),
    "at chance": (uniform(10, 0.3), 200, 0.0, 1.0),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", WORLDS)
def test_no_label_set_gets_worse_and_the_stated_precision_holds(name: str, seed: int, tmp_path: Path) -> None:
    transition, trusted, strength, power = WORLDS[name]
    made = make_world(transition, num_images=4000, num_trusted=trusted, strength=strength, seed=seed)
    world = surer(made, power)
    with findings_of(world, tmp_path, confidence=None) as found:
        final = found.final_labels()
        assert wrong(final, world) <= wrong(world.given, world)
        changed = final != world.given
        if found.vouched is None:
            assert not changed.any()
            assert relabelling(found).startswith("No label is replaced")
        else:
            right = (final == world.true)[changed].mean()
            assert found.vouched.precision.low <= right <= found.vouched.precision.high
            assert relabelling(found).startswith(f"{changed.sum():,} labels are replaced")
    if name in ("strong", "few wrong", "few trusted", "too sure", "flips"):
        assert wrong(final, world) < 0.85 * wrong(world.given, world)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_weak_model_that_is_too_sure_is_not_obeyed(seed: int, tmp_path: Path) -> None:
    """30.7 % wrong, 20 classes alike in fours, ten trusted a class, a third predicted right: nothing is replaced."""
    world = surer(make_world(WORLDS["weak"][0], num_images=4000, num_trusted=200, strength=1.4, seed=seed), 3.0)
    assert (world.probabilities.argmax(axis=1) == world.true).mean() < 0.4
    with findings_of(world, tmp_path, confidence=None) as found:
        rate, share = found.noise.rate, world.wrong.mean()
        assert rate.low <= share <= rate.high
        assert not found.noise.is_told
        assert "200 trusted images cannot tell more" in conclusion(found)
        assert found.vouched is None
        # The control: a fixed probability makes them worse.
        assert wrong(at_eight_tenths(found), world) > share


def test_images_that_were_learnt_by_heart_vouch_for_nothing(tmp_path: Path) -> None:
    world = make_world(uniform(5, 0.3), num_images=4000, num_trusted=200, strength=2.5)
    with evidence_of(world, tmp_path) as evidence:
        subject = make_subject(world, confidence=None)
        assert rank_labels(subject, evidence).vouched is not None
        found = rank_labels(subject, replace(evidence, learnt=True))
        assert found.vouched is None
        assert "--cross-fit 5" in relabelling(found)
        # Those that were held out do.
        unseen = np.arange(200) % 4 == 0
        assert rank_labels(subject, replace(evidence, learnt=True, unseen=unseen)).vouched is not None
        # What a person asks for is done.
        asked = rank_labels(make_subject(world, confidence=0.8), replace(evidence, learnt=True))
        assert (asked.final_labels() == at_eight_tenths(asked)).all()
        assert "as asked" in relabelling(asked)


def test_without_trusted_images_none_is_replaced_and_the_number_is_a_bound(tmp_path: Path) -> None:
    world = make_world(uniform(5, 0.3), num_images=4000, num_trusted=0, strength=2.5)
    with findings_of(world, tmp_path, confidence=None) as found:
        assert (found.final_labels() == world.given).all()
        assert conclusion(found).startswith("At most ")
        assert "no trusted image vouches" in relabelling(found)
        assert found.noise.rate.low == 0
        assert found.noise.rate.high >= world.wrong.mean()


def test_words_of_what_is_found(tmp_path: Path) -> None:
    world = make_world(uniform(5, 0.3), num_images=4000, num_trusted=200, strength=2.5)
    with findings_of(world, tmp_path, confidence=None) as found:
        rate = found.noise.rate
        assert conclusion(found) == (
            f"About {round(4000 * float(rate.value)):,} of 4,000 labels look wrong "
            f"({round(4000 * float(rate.low)):,} to {round(4000 * float(rate.high)):,}). "
            "Start with the first ones of the list."
        )
    none = make_world(uniform(5, 0.3), num_trusted=200, strength=0.0)
    with findings_of(none, tmp_path, confidence=None) as found:
        assert "cannot be told" in conclusion(found)
