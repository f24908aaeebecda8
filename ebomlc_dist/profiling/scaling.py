"""How a step's time grows with the number of processes, measured here and extrapolated by a model that says what it is.

    T(N, b) = f + k·b + c·(2(N−1)·λ + 2(N−1)/N · s/w)

f, k: fixed time of a step and time an image, the line through one process at two batch sizes; b: noisy images a
process; c: reductions a step, of s bytes each; λ, w: latency and bandwidth of a link in a ring all-reduce (Hockney's
model, and Thakur, Rabenseifner & Gropp 2005), from reductions of two sizes among the most processes that were measured
with a core each.

Strong scaling holds the global batch (b = B/N), weak scaling the share of a process (b = B). The model takes every
further process to bring its own cores, GPU and link of the kind measured, lets no reduction hide behind a pass, and
knows no stragglers. N processes measured on C < N cores cannot pass C/N of their efficiency, and say so.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ebomlc_dist.profiling.quartiles import Quartiles

Mode = Literal["strong", "weak"]
MODES: tuple[Mode, ...] = ("strong", "weak")
EXTRAPOLATED = (1, 2, 4, 8, 16, 32, 64)


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Link(_Value):
    """A ring's link: latency in milliseconds a hop, bandwidth in bytes a millisecond."""

    latency_ms: float
    bytes_per_ms: float

    @classmethod
    def of(cls, world_size: int, small_ms: float, large_ms: float, large_bytes: int) -> "Link":
        """From an all-reduce of next to nothing and one of ``large_bytes`` among ``world_size`` ≥ 2 processes."""
        hops = 2 * (world_size - 1)
        carrying_ms = max(large_ms - small_ms, 1e-6)
        return cls(latency_ms=small_ms / hops, bytes_per_ms=hops / world_size * large_bytes / carrying_ms)

    def all_reduce_ms(self, world_size: int, num_bytes: float) -> float:
        """Milliseconds of one all-reduce of ``num_bytes``; nothing for one process."""
        hops = 2 * (world_size - 1)
        return hops * self.latency_ms + hops / world_size * num_bytes / self.bytes_per_ms


class Model(_Value):
    """T(N, b) of one method; see the module's equation."""

    fixed_ms: float
    ms_per_image: float
    collectives: int
    bytes_per_collective: float
    link: Link

    @classmethod
    def of(cls, one_process: Mapping[int, float], collectives: int, num_bytes: int, link: Link) -> "Model":
        """From a step's milliseconds on one process at two batch sizes, and what a step reduces."""
        (small, small_ms), (large, large_ms) = sorted(one_process.items())
        slope = (large_ms - small_ms) / (large - small)
        # Noise can tilt the line; neither a step nor an image takes less than no time.
        slope = min(max(slope, 0.0), large_ms / large)
        return cls(
            fixed_ms=max(large_ms - slope * large, 0.0),
            ms_per_image=slope,
            collectives=collectives,
            bytes_per_collective=num_bytes / max(collectives, 1),
            link=link,
        )

    def step_ms(self, world_size: int, images: float) -> float:
        """T(world_size, images)."""
        reduction = self.link.all_reduce_ms(world_size, self.bytes_per_collective)
        return self.fixed_ms + self.ms_per_image * images + self.collectives * reduction


class Point(_Value):
    """One number of processes: what the model says, and what was measured there, if anything.

    Attributes:
        global_batch_size: noisy images a step, all processes together.
        efficiency: T(1)/(N·T(N)) in strong scaling, T(1)/T(N) in weak scaling, of the model's times.
        measured_efficiency: the same of the medians measured.
    """

    mode: Mode
    world_size: int
    global_batch_size: int
    model_ms: float
    efficiency: float
    measured_ms: Quartiles | None = None
    measured_efficiency: float | None = None


class RowScaling(_Value):
    """One method's model and its points in both modes."""

    name: str
    model: Model
    points: tuple[Point, ...]


class Scaling(_Value):
    """What ``--scaling`` found.

    Attributes:
        threads: of each process, in every measurement.
        cores: that all processes shared; None on GPUs, of which each process has its own.
    """

    world_sizes: tuple[int, ...]
    threads: int
    rows: tuple[RowScaling, ...]
    cores: int | None = None

    def shares_cores(self, point: Point) -> bool:
        """Whether a point was measured with more processes than cores."""
        return point.measured_ms is not None and self.cores is not None and point.world_size > self.cores


Measured = Mapping[tuple[Mode, int], Quartiles]


def scale(name: str, batch_size: int, model: Model, measured: Measured, world_sizes: Sequence[int]) -> RowScaling:
    """The points of one method at ``batch_size`` noisy images a step on one process.

    Args:
        measured: (mode, world size) → the step's milliseconds; holds both modes of world size 1.
        world_sizes: where the model is asked, beside the measured ones.
    """
    points = []
    for mode in MODES:
        base_ms = model.step_ms(1, batch_size)
        for size in sorted({*world_sizes, *(world for kind, world in measured if kind == mode)}):
            share = batch_size / size if mode == "strong" else batch_size
            model_ms, found = model.step_ms(size, share), measured.get((mode, size))
            work = size if mode == "strong" else 1
            points.append(
                Point(
                    mode=mode,
                    world_size=size,
                    global_batch_size=batch_size if mode == "strong" else batch_size * size,
                    model_ms=model_ms,
                    efficiency=base_ms / (work * model_ms),
                    measured_ms=found,
                    measured_efficiency=None if found is None else measured[mode, 1].median / (work * found.median),
                )
            )
    return RowScaling(name=name, model=model, points=tuple(points))
