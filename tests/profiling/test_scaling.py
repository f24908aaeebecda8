"""The scaling model against cases that can be solved by hand."""

import pytest

from ebomlc_dist.profiling.quartiles import Quartiles
from ebomlc_dist.profiling.scaling import Link, Model, scale

FREE = Link(latency_ms=0.0, bytes_per_ms=1e30)


def at(milliseconds: float) -> Quartiles:
    return Quartiles(median=milliseconds, low=milliseconds, high=milliseconds)


def test_a_link_gives_back_the_times_it_was_made_from() -> None:
    link = Link.of(4, small_ms=0.6, large_ms=2.6, large_bytes=4000)
    assert link.latency_ms == pytest.approx(0.1)
    assert link.all_reduce_ms(4, 0) == pytest.approx(0.6)
    assert link.all_reduce_ms(4, 4000) == pytest.approx(2.6)
    assert link.all_reduce_ms(1, 4000) == 0


def test_the_line_goes_through_both_batch_sizes() -> None:
    model = Model.of({50: 60.0, 100: 110.0}, 3, 300, FREE)
    assert (model.fixed_ms, model.ms_per_image, model.bytes_per_collective) == pytest.approx((10, 1, 100))
    assert model.step_ms(1, 50) == pytest.approx(60)


@pytest.mark.parametrize("small_ms", [120.0, 1.0], ids=["slower", "much faster"])
def test_noise_cannot_make_a_step_free(small_ms: float) -> None:
    model = Model.of({50: small_ms, 100: 110.0}, 0, 0, FREE)
    assert model.fixed_ms >= 0
    assert model.ms_per_image >= 0
    assert model.step_ms(1, 100) == pytest.approx(110)


def test_work_that_splits_scales_perfectly_and_fixed_time_does_not() -> None:
    measured = {("strong", 1): at(100), ("weak", 1): at(100), ("strong", 2): at(50), ("weak", 2): at(100)}
    split = scale("x", 100, Model.of({50: 50.0, 100: 100.0}, 0, 0, FREE), measured, (1, 2, 8))
    assert [point.efficiency for point in split.points] == pytest.approx([1] * 6)
    assert [point.measured_efficiency for point in split.points] == [1, 1, None] * 2
    assert [point.global_batch_size for point in split.points] == [100, 100, 100, 100, 200, 800]

    fixed = scale("x", 100, Model.of({50: 100.0, 100: 100.0}, 0, 0, FREE), measured, (1, 2))
    by_mode = {(point.mode, point.world_size): point.efficiency for point in fixed.points}
    assert by_mode["strong", 2] == pytest.approx(0.5)
    assert by_mode["weak", 2] == pytest.approx(1)


def test_reductions_cost_efficiency() -> None:
    link = Link(latency_ms=1.0, bytes_per_ms=100.0)
    model = Model.of({50: 50.0, 100: 100.0}, 3, 300, link)
    # Three reductions of 100 bytes among two: twice a hop of 1 ms, and once 100 bytes at 100 a millisecond.
    assert model.step_ms(2, 100) == pytest.approx(100 + 3 * (2 + 1))
