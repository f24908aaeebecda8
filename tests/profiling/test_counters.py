"""Counters of work and memory, on computations small enough to count by hand."""

import pytest
import torch

from ebomlc_dist.profiling.counters import Launches, PeakMemory, count, count_flops

CPU = torch.device("cpu")
KIB = torch.zeros(256)


def test_launches_leave_views_out() -> None:
    with Launches() as launches:
        (KIB + 1).view(16, 16).t().neg()
    assert launches.count == 2
    assert launches.waits == []


def test_launches_leave_out_what_computes_nothing() -> None:
    with Launches() as launches:
        torch.empty(4)
        torch.zeros(0).clone()
        KIB.detach().view(16, 16)[2:].unsqueeze(0)
    # The zeros of nothing, and their copy.
    assert launches.count == 0


@pytest.mark.parametrize(("images", "weights"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_convolution_copies_what_lies_otherwise(images: bool, weights: bool) -> None:
    """Both in channels-last or both not: nothing. Else one of them, forward; and on the way back to the weights."""
    formats = {True: torch.channels_last, False: torch.contiguous_format}
    pixels = torch.randn(2, 3, 8, 8).contiguous(memory_format=formats[images])
    weight = torch.randn(4, 3, 3, 3).contiguous(memory_format=formats[weights]).requires_grad_()
    with Launches() as launches:
        result = torch.nn.functional.conv2d(pixels, weight)
    assert launches.relayouts == (images != weights)
    with Launches() as launches:
        torch.autograd.grad(result, weight, torch.ones_like(result))
    # The images again, where they are the ones that lie otherwise.
    assert launches.relayouts == (weights and not images)


def test_peak_memory_counts_what_is_held_at_once() -> None:
    with PeakMemory() as memory:
        one = KIB + 1
        two = one + 1
        del one
        three = two + 1
    assert memory.peak == 2048
    assert memory.live == 2048
    del two, three
    assert memory.live == 0


def test_neither_what_was_there_before_nor_a_view_of_it_is_counted() -> None:
    with PeakMemory() as memory:
        KIB.view(16, 16)
        KIB.add_(0)
    assert memory.peak == 0


def test_memory_held_by_a_graph_is_counted() -> None:
    leaf = KIB.clone().requires_grad_()
    with PeakMemory() as memory:
        kept = leaf.exp().sin()
        assert memory.live == 2048
        kept.sum().backward()
    # One gradient beside two results, which the graph does not let go before it has been gone through.
    assert memory.peak >= 3072
    del kept


def test_counts_of_a_matrix_product() -> None:
    one, other = torch.zeros(8, 16), torch.zeros(16, 4)
    counts = count(lambda: one @ other, CPU)
    assert (counts.flops, counts.launches, counts.waits, counts.peak_bytes) == (2 * 8 * 16 * 4, 1, 0, 8 * 4 * 4)
    assert count_flops(lambda: one + 1) == 0


def test_a_wait_for_the_host_is_counted() -> None:
    assert count(lambda: float(KIB.sum()), CPU).waits == pytest.approx(1)
