"""Check that all ranks hold the same bits of whatever is replicated."""

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from ebomlc_dist.engine.build import Training
from ebomlc_dist.errors import TrainingFault


def check_replicas(training: Training, step: int) -> None:
    """Compare the ranks' networks, optimisers and memories by hash. Collective; the device is waited for.

    Running statistics are left out: each rank has its own between evaluations.

    Raises:
        TrainingFault: some differ, on every rank alike, with the ranks and what differs named.
    """
    if training.runtime.world_size == 1:
        return
    replicated = dict(_replicated(training))
    own = torch.stack([bit_hash(tensor) for tensor in replicated.values()])
    rows = [tuple(row) for row in training.runtime.communicator.gather(own).tolist()]
    counts = Counter(rows)
    if len(counts) == 1:
        return
    names = [name for name, column in zip(replicated, zip(*rows, strict=True), strict=True) if len(set(column)) > 1]
    raise TrainingFault(
        f"{_who(rows, counts)}: different bits in {', '.join(names)} at step {step}; memory or a link is faulty. "
        "No checkpoint was written of it. Continue from the last one with `--resume auto`, "
        "without that machine if it happens again"
    )


def bit_hash(tensor: Tensor) -> Tensor:
    """Return 0-dim int64: the sum of the bits' words, each times an odd number of its place, modulo 2⁶⁴.

    One flipped bit moves the sum by a power of two below 2³² times an odd number, which is never 0.
    """
    flat = tensor.detach().contiguous().view(-1)
    words = flat.view(torch.int32 if flat.element_size() % 4 == 0 else torch.uint8)
    places = torch.arange(1, 2 * words.numel(), 2, device=tensor.device)
    return (words * places).sum()


def _replicated(training: Training) -> Iterator[tuple[str, Tensor]]:
    alike = {name: network for name, network in training.networks.items() if network.whole}
    for name, network in alike.items():
        yield f"the {name} network", network.vector
    for name, optimizer in training.optimizers.items():
        for key, tensor in optimizer.state().items() if name in alike else ():
            yield f"the {name} optimiser's {key}", tensor
    for name, tensor in training.method.state.items():
        yield f"the method's {name}", tensor


def _who(rows: list[tuple[int, ...]], counts: Counter[tuple[int, ...]]) -> str:
    (usual, votes), *_ = counts.most_common()
    if 2 * votes <= len(rows):
        return f"ranks {', '.join(map(str, range(len(rows))))} differ and no majority says which is right"
    odd = [rank for rank, row in enumerate(rows) if row != usual]
    if len(odd) == 1:
        return f"rank {odd[0]} differs from the {votes} others"
    return f"ranks {', '.join(map(str, odd))} differ from the {votes} others"
