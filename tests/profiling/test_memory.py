"""The paper count of the main model's memory against sums done by hand."""

import pytest
from torch import nn

from ebomlc_dist.config import Strategy
from ebomlc_dist.profiling.memory import Size, main_model_bytes

SIZE = Size(parameters=1000, largest_layer=100, gathered=300)


@pytest.mark.parametrize(
    ("strategy", "vectors"),
    [
        ("replicated", 7),
        ("zero1", 2 + 6 / 4),
        ("zero2", 1.5 + 6 / 4),
        ("zero3", 8 / 4 + 0.2 + 0.5),
        ("fsdp", 7 / 4 + 0.6),
    ],
)
def test_each_strategy_divides_what_it_names(strategy: Strategy, vectors: float) -> None:
    assert main_model_bytes(strategy, 4, SIZE, 500) == pytest.approx(4 * 1000 * vectors)
    assert main_model_bytes(strategy, 1, SIZE, 500) == 4 * 1000 * 7


def test_a_bucket_holds_no_more_than_there_is() -> None:
    assert main_model_bytes("zero2", 4, SIZE, 10**9) == main_model_bytes("zero1", 4, SIZE, 10**9)


def test_a_block_is_gathered_with_what_stands_in_none() -> None:
    """Two blocks of 2·(4·4 + 4) parameters and one of 4·8 + 8, and a head of 8·3 + 3."""

    def block(*layers: nn.Module) -> nn.Module:
        return nn.ModuleDict({str(number): layer for number, layer in enumerate(layers)})

    body = nn.Sequential(*(block(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(2)), block(nn.Linear(4, 8)))
    model = nn.ModuleDict({"body": body, "head": nn.Linear(8, 3)})
    assert Size.of(model) == Size(parameters=147, largest_layer=40, gathered=40 + 27)
