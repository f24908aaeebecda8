"""Weak scaling of a replicated EBOMLC step over machines of several GPUs, by a model that says what it is.

    T(N) = t + Σ_s A(N, s),   efficiency = t / T(N)

t: milliseconds of a step on one GPU. A: all-reduce of s bytes in two levels, reduce-scatter in each machine of g GPUs,
an all-reduce of s/g among the machines for each of the g shares, all-gather in each machine; both levels as rings
(`scaling.Link`). No reduction hides behind a pass and no rank is late, so that the first makes it too low and the
second too high.
"""

from collections.abc import Sequence

from ebomlc_dist.profiling.scaling import Link

VALUE_BYTES = 4


def message_bytes(main: int, meta: int) -> tuple[int, int, int]:
    """Bytes of a step's three reductions, of [∇_wG], [∇_wF | ∇_αF] and [∇_αQ]; sums and counts are left out."""
    return VALUE_BYTES * main, VALUE_BYTES * (main + meta), VALUE_BYTES * meta


def all_reduce_ms(gpus: int, num_bytes: float, inner: Link, outer: Link, gpus_a_machine: int) -> float:
    """Milliseconds of one two-level all-reduce; ``gpus``: a multiple of a machine's, or fewer."""
    local = min(gpus, gpus_a_machine)
    return inner.all_reduce_ms(local, num_bytes) + outer.all_reduce_ms(gpus // local, num_bytes / local)


def efficiency(
    gpus: int, step_ms: float, messages: Sequence[int], inner: Link, outer: Link, gpus_a_machine: int = 8
) -> float:
    """t / T(N)."""
    reducing = sum(all_reduce_ms(gpus, size, inner, outer, gpus_a_machine) for size in messages)
    return step_ms / (step_ms + reducing)
