"""Confirmed images are told from a sample of the noise."""

import pytest
import torch

from ebomlc_dist.noise.pairs import MARGIN, too_clean


@pytest.mark.parametrize(
    ("right", "wrong", "least_rate", "expected"),
    [
        # 78 images that were kept because they were right, where 40 % are wrong.
        (78, 0, 0.35, True),
        # A sample of that noise, and one from labels that are all right, with an estimate a little off.
        (50, 28, 0.35, False),
        (1000, 0, 0.01, False),
        # Too few to tell.
        (4, 0, 0.35, False),
        # More wrong labels than estimated are no contradiction.
        (50, 28, 0.05, False),
    ],
)
def test_pairs_are_too_clean_where_chance_does_not_explain_them(
    right: int, wrong: int, least_rate: float, expected: bool
) -> None:
    assert too_clean(torch.tensor([[right, wrong], [0, 0]]), least_rate) is expected


def test_the_verdict_turns_where_the_exact_interval_ends() -> None:
    pairs = torch.tensor([[78, 0], [0, 0]])
    highest = 1 - 0.025 ** (1 / 78)
    assert not too_clean(pairs, highest + MARGIN - 1e-6)
    assert too_clean(pairs, highest + MARGIN + 1e-6)
