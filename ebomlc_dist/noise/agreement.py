"""Bounds on how many labels are wrong, from how often they agree with a classifier of which some errors are known.

    P(p = g) = a (1 − r) + (1 − a) r o        so that        r = (a − P(p = g)) / (a − (1 − a) o)

a is the classifier's accuracy, r the rate of wrong labels, and o how often a wrong prediction and a wrong label of one
image name the same class. It takes predictions and labels to err independently within a class, and accuracy and rate
not to vary together over classes. Nothing is assumed of where errors go, but through o, which matters little: what
leaves r open is a, known from a few held-out images.

a runs over its exact interval (Clopper and Pearson 1934), P(p = g) over its own, o over a range that is given. r is
monotone in each, so that its bounds lie where all three are at an end.
"""

from itertools import product

from ebomlc_dist.noise.binomial import exact_interval


def rate_bounds(
    agreeing: int, noisy: int, right: int, held_out: int, overlap: tuple[float, float], coverage: float
) -> tuple[float, float]:
    """The least and the largest r, in 0…1; (0, 1) where the classifier may be no better than its errors.

    Args:
        agreeing: of ``noisy`` images, those whose given label is the one predicted.
        right: of ``held_out`` images, those that are classified right.
        overlap: a range of o.
        coverage: of the intervals of a and of P(p = g), 0…1.
    """
    if not noisy or not held_out:
        return 0.0, 1.0
    agreement, accuracy = (
        exact_interval(count, total, coverage) for count, total in ((agreeing, noisy), (right, held_out))
    )
    found = []
    for p, a, o in product(agreement, accuracy, overlap):
        if a <= (1 - a) * o:
            return 0.0, 1.0
        found.append(float((a - p) / (a - (1 - a) * o)))
    return min(max(min(found), 0.0), 1.0), min(max(max(found), 0.0), 1.0)
