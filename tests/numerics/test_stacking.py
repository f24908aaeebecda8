"""Weights by held-out likelihood: the maximum, what pseudo-counts do, and what counts for nothing."""

import pytest
import torch
from torch import Tensor

from ebomlc_dist.numerics.stacking import stacking_weights

NONE = torch.zeros(3)


def cases(count: int = 400) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).square()


def likelihood(weights: Tensor, given: Tensor, counts: Tensor) -> float:
    return float(counts @ (given @ weights).log())


def test_no_other_weights_on_the_simplex_are_likelier() -> None:
    given, counts = cases(), torch.arange(400, dtype=torch.float64)
    found = stacking_weights(given, counts, torch.full((3,), 1e-12))
    assert float(found.sum()) == pytest.approx(1)
    best = likelihood(found, given, counts)
    for source in range(3):
        for share in (0.02, 0.2):
            other = (1 - share) * found + share * torch.eye(3, dtype=torch.float64)[source]
            assert likelihood(other, given, counts) < best


def test_a_reading_that_always_gives_most_takes_all_and_one_that_gives_nothing_none() -> None:
    given = torch.tensor([[0.9, 0.3, 0.0]]).expand(50, 3)
    found = stacking_weights(given, torch.ones(50), torch.full((3,), 1e-12))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), atol=1e-3, rtol=0)


def test_on_no_evidence_the_pseudo_count_decides_and_on_little_it_still_weighs() -> None:
    alone = torch.tensor([0.0, 0.0, 1.0])
    assert torch.equal(stacking_weights(torch.zeros(0, 3), torch.zeros(0), alone), alone.double())
    given = torch.tensor([[0.9, 0.1, 0.2]])
    few, many = (float(stacking_weights(given.expand(n, 3), torch.ones(n), alone)[2]) for n in (2, 2_000))
    assert 0.2 < few < 0.8
    assert many < 0.01


def test_a_case_that_counts_for_nothing_or_that_no_reading_expects_changes_nothing() -> None:
    given, pseudo = cases(20), torch.full((3,), 0.1)
    counts = torch.ones(20)
    more = torch.cat([given, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)])
    found = stacking_weights(more, torch.cat([counts, torch.tensor([0.0, 5.0])]), pseudo)
    torch.testing.assert_close(found, stacking_weights(given, counts, pseudo))
    assert not torch.allclose(stacking_weights(more, torch.ones(22), pseudo), found)
