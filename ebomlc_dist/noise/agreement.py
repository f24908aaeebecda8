"""Bounds on how many labels are wrong, from how often they agree with a classifier of which some errors are known.

    P(p = g) = a − r d        so that        r = (a − P(p = g)) / d
    d = P(p = true | g wrong) − P(p = g | g wrong)

a is the classifier's accuracy and r the rate of wrong labels. Where predictions and labels err independently within a
class, and accuracy and rate do not vary together over classes,

    d = a − (1 − a) o

with o how often a wrong prediction and a wrong label of one image name the same class. But people err on images that a
model errs on too, and in its way: on CIFAR-10N, d is 0.5 to 0.8 of that (`benchmarks/audit_coverage.md`). So d runs
down to `TOGETHER` of it, which moves the upper bound alone. A model that has learnt the very noise, as from labels that
depend on the image, is beyond that: its predictions do not tell the rate.

a runs over its exact interval (Clopper and Pearson 1934), P(p = g) over its own, o over a range that is given. r is
monotone in each, so that its bounds lie where all are at an end.
"""

from itertools import product

from ebomlc_dist.noise.binomial import exact_interval

TOGETHER = 0.8
"""How much of d is left, at the least, where labels and predictions err together."""


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
    for p, a, o, share in product(agreement, accuracy, overlap, (TOGETHER, 1.0)):
        if a <= (1 - a) * o:
            return 0.0, 1.0
        found.append(float((a - p) / (a - (1 - a) * o) / share))
    return min(max(min(found), 0.0), 1.0), min(max(max(found), 0.0), 1.0)
