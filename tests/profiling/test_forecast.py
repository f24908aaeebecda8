"""The forecast against cases that can be solved by hand."""

import pytest

from ebomlc_dist.profiling.forecast import all_reduce_ms, efficiency, message_bytes
from ebomlc_dist.profiling.scaling import Link

INNER = Link(latency_ms=0.1, bytes_per_ms=100.0)
OUTER = Link(latency_ms=1.0, bytes_per_ms=10.0)


def test_a_step_reduces_both_gradients_of_the_main_model_and_of_the_meta_model() -> None:
    assert message_bytes(100, 10) == (400, 440, 40)


def test_one_machine_uses_its_own_link_alone() -> None:
    assert all_reduce_ms(4, 400, INNER, OUTER, 4) == pytest.approx(6 * 0.1 + 6 / 4 * 4)
    assert all_reduce_ms(1, 400, INNER, OUTER, 4) == 0


def test_each_share_of_a_machine_crosses_the_network_once() -> None:
    assert all_reduce_ms(8, 400, INNER, OUTER, 4) == pytest.approx(6.6 + 2 * 1.0 + 100 / 10)


def test_efficiency_is_what_reductions_leave() -> None:
    assert efficiency(8, 18.6, [400], INNER, OUTER, 4) == pytest.approx(0.5)
    assert efficiency(1, 18.6, [400], INNER, OUTER, 4) == 1
