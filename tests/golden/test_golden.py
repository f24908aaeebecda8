"""Every method's numbers, the same file for one process and for two."""

import json

import pytest
import torch

from ebomlc_dist.distributed.communicator import Communicator
from tests.golden.values import FOLDER, Values, values_of
from tests.methods.rows import ROWS
from tests.support.pool import RankPool

pytestmark = pytest.mark.usefixtures("one_thread")
# Float64, five steps: rounding, and other orders of summation, stay far below.
BOUND = 1e-8


def on_a_rank(communicator: Communicator, method: str) -> Values:
    return values_of(method, communicator, communicator.rank, communicator.world_size)


def differences(found: Values, method: str) -> list[str]:
    """Numbers that are not those of the golden file, relative to the largest of their vector."""
    expected: Values = json.loads((FOLDER / f"{method}.json").read_text())
    assert found.keys() == expected.keys()
    wrong = []
    for variant, numbers in expected.items():
        assert found[variant].keys() == numbers.keys()
        for name, golden in numbers.items():
            scale = max(max(abs(value) for value in golden), 1e-12)
            error = max(abs(a - b) for a, b in zip(found[variant][name], golden, strict=True)) / scale
            wrong += [f"{variant} {name}: {error:.1e}"] if not error < BOUND else []
    return wrong


@pytest.mark.parametrize("method", ROWS)
def test_one_process(method: str) -> None:
    assert differences(values_of(method, Communicator(torch.device("cpu"))), method) == []


@pytest.mark.parametrize("method", ROWS)
def test_two_processes(two_ranks: RankPool, method: str) -> None:
    for found in two_ranks.run(on_a_rank, method):
        assert differences(found, method) == []


def test_the_comparison_can_fail() -> None:
    found = values_of("l2rw", Communicator(torch.device("cpu")))
    variant = next(iter(found))
    found[variant]["main.vector"][3] *= 1 + 1e-6
    assert len(differences(found, "l2rw")) == 1
