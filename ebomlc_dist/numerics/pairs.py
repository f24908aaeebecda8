"""Whether pairs of an old label and a true one are a sample of the noise, by an estimate that does not use them.

Trusted images that were kept because their label was right, or looked at because it seemed wrong, tell nothing of how
many labels are wrong. Their share of wrong labels has an exact interval (Clopper and Pearson 1934), the estimate one of
its own; where the two do not meet, the pairs were picked, or the estimate is off.

Only pairs that are too clean are refused. Where they say more than the estimate, both can be the reason: people's
errors resemble a model's, which makes the estimate too low.
"""

from scipy.stats import binomtest
from torch import Tensor

from ebomlc_dist.numerics.transition_posterior import COVERAGE


def against_estimate(pairs: Tensor, interval: tuple[float, float]) -> tuple[bool, str | None]:
    """Whether (K, K) counts [true, old] are too clean for an estimated rate of wrong labels in ``interval``, 0…1.

    Returns:
        the verdict, and a sentence for the user where counts and estimate do not agree.
    """
    total, wrong = int(pairs.sum()), int(pairs.sum() - pairs.trace())
    counted = binomtest(wrong, total).proportion_ci(COVERAGE, method="exact")
    said = f"{wrong} of {total} trusted images had a wrong label before"
    if counted.high < interval[0]:
        return True, (
            f"{said}, but the model finds at least {100 * interval[0]:.0f} % wrong labels. These images are no random "
            "sample of the noisy ones. The noise is estimated from the model instead"
        )
    if counted.low > interval[1]:
        return False, (
            f"{said}, but the model finds at most {100 * interval[1]:.0f} % wrong labels. If these images were checked "
            "because their labels looked wrong, set method.noise_process=estimated"
        )
    return False, None
