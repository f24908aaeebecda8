"""Whether pairs of an old label and a true one are too clean to be a sample of the noise.

Trusted images that were kept because their label was right tell nothing of how many labels are wrong. Their share of
wrong labels has an exact interval (Clopper and Pearson 1934), an estimate that does not use them has one of its own.

The other way round nothing follows. A model repeats some of the labels that it was trained on, and its errors resemble
people's: both make an estimate too low, so that pairs may well show more wrong labels than it does.
"""

from torch import Tensor

from ebomlc_dist.noise.binomial import exact_interval
from ebomlc_dist.noise.posterior import COVERAGE

MARGIN = 0.05
"""What an estimate may be off beside its interval: its model of two independent observers is never quite true."""


def too_clean(pairs: Tensor, least_rate: float) -> bool:
    """Whether (K, K) counts [true, old] allow no rate of wrong labels near ``least_rate``, 0…1, or above."""
    total = int(pairs.sum())
    _, high = exact_interval(total - int(pairs.trace()), total, COVERAGE)
    return high < least_rate - MARGIN
