"""The paper count of the main model's memory against sums done by hand."""

import pytest

from ebomlc_dist.config import Strategy
from ebomlc_dist.profiling.memory import main_model_bytes


@pytest.mark.parametrize(
    ("strategy", "vectors"),
    [("replicated", 7), ("zero1", 6 + 1 / 4), ("zero2", 2 + 5 / 4), ("zero3", 7 / 4 + 0.1), ("fsdp", 7 / 4 + 0.1)],
)
def test_each_strategy_divides_what_it_names(strategy: Strategy, vectors: float) -> None:
    assert main_model_bytes(strategy, 4, 1000, 100) == pytest.approx(4 * 1000 * vectors)
    assert main_model_bytes(strategy, 1, 1000, 100) == 4 * 1000 * 7
