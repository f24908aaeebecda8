"""The estimated noise against noise that is known."""

import numpy as np
import pytest

from ebomlc_dist.noise.rates import confusion, estimate_noise
from tests.audit.support import World, flip, make_world, uniform


def estimate(world: World, *, trusted: bool = True):
    size = world.probabilities.shape[1]
    given = confusion(world.given, world.probabilities.argmax(axis=1), size)
    true = confusion(world.trusted_true, world.trusted_probabilities.argmax(axis=1), size)
    return estimate_noise(given, true if trusted else np.zeros_like(true))


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("kind", [uniform, flip])
@pytest.mark.parametrize("strength", [1.4, 3.0])
def test_the_rate_is_found_whatever_the_model_s_accuracy(kind, rate: float, strength: float) -> None:
    """A weak model or a strong one: the interval holds the true rate, and the value is near."""
    world = make_world(kind(10, rate), num_images=8000, num_trusted=1000, strength=strength)
    accuracy = (world.probabilities.argmax(axis=1) == world.true).mean()
    assert accuracy < 0.55 if strength < 2 else accuracy > 0.85
    found, true = estimate(world).rate, world.wrong.mean()
    assert found.low - 0.01 <= true <= found.high + 0.01
    assert abs(found.value - true) < (0.08 if strength < 2 else 0.03)
    # Disagreement, which others count, is far off where the model errs by itself.
    assert estimate(world, trusted=False).rate.value > true + 0.04


def test_classes_and_transition_are_told_apart() -> None:
    transition = np.eye(4)
    transition[0] = [0.5, 0.5, 0, 0]
    transition[2] = [0, 0, 0.8, 0.2]
    world = make_world(transition, num_images=8000, num_trusted=800, strength=3.0)
    found = estimate(world)
    assert np.abs(found.transition - transition).max() < 0.05
    by_class = [(world.true != world.given)[world.given == k].mean() for k in range(4)]
    assert np.abs(found.by_class.value - by_class).max() < 0.05
    assert found.joint.sum() == pytest.approx(8000)
    assert found.num_errors == pytest.approx(world.wrong.sum(), rel=0.1)


def test_a_wrong_confusion_gives_a_wrong_rate() -> None:
    """What the trusted images say decides: those of another model must not do."""
    world = make_world(uniform(10, 0.3), num_images=8000, num_trusted=1000, strength=1.4)
    other = make_world(uniform(10, 0.3), num_images=10, num_trusted=1000, strength=4.0)
    mixed = World(world.given, world.true, world.probabilities, other.trusted_true, other.trusted_probabilities)
    assert abs(estimate(mixed).rate.value - world.wrong.mean()) > 0.2


def test_a_model_that_knows_nothing_gives_no_estimate() -> None:
    world = make_world(uniform(10, 0.3), num_trusted=500, strength=0.0)
    found = estimate(world)
    assert np.isnan(found.rate.value)
    assert np.isnan(found.by_class.value).all()
    assert found.num_errors == 0
    assert np.isfinite(found.transition).all()


def test_a_class_without_images_and_one_without_trusted_images() -> None:
    world = make_world(uniform(3, 0.2), strength=3.0)
    size = 4
    given = confusion(world.given, world.probabilities.argmax(axis=1), size)
    true = confusion(world.trusted_true, world.trusted_probabilities.argmax(axis=1), size)
    found = estimate_noise(given, true)
    assert np.isnan(found.by_class.value[3])
    assert abs(found.rate.value - world.wrong.mean()) < 0.06
    np.testing.assert_allclose(found.transition.sum(axis=1), 1)
