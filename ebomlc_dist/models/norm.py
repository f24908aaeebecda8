"""Normalisation of a whole network: ``batch``, ``sync`` or ``group``.

- ``batch``: each rank normalises with its own share of the batch, and keeps running statistics for evaluation.
- ``sync``: torch's SyncBatchNorm, statistics over the global batch; a collective in every layer of every pass, on
  accelerators only.
- ``group``: GroupNorm (Wu & He 2018). Samples do not see each other, so that the world size changes nothing.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ebomlc_dist.errors import InputError, nearest

NORMS = ("batch", "sync", "group")
MAX_GROUPS = 32
MIN_CHANNELS_PER_GROUP = 8


def check_norm(norm: str, device: torch.device) -> None:
    """Refuse a norm that is unknown, or that ``device`` cannot compute: call it before a model is built.

    Raises:
        InputError: an unknown norm, or ``sync`` on a CPU, whose tensors SyncBatchNorm does not take.
    """
    if norm not in NORMS:
        raise InputError(f"unknown norm '{norm}'{nearest(norm, list(NORMS))}; known: {', '.join(NORMS)} (--norm)")
    if norm == "sync" and device.type == "cpu":
        raise InputError(
            "norm 'sync' needs an accelerator, SyncBatchNorm refuses CPU tensors; "
            "take --norm group (alike at every world size) or --norm batch"
        )


def apply_norm(model: nn.Module, norm: str) -> None:
    """Give every BatchNorm2d inside ``model`` the asked-for kind, in place, with its scale, shift and epsilon.

    Running statistics of ``batch`` move as torch's do, but the count of batches that torch keeps beside them is
    dropped: with a fixed momentum nothing reads it, and it costs one launch a layer in every pass. SyncBatchNorm
    insists on its count.

    Raises:
        InputError: an unknown norm.
    """
    check_norm(norm, torch.device("meta"))
    if norm == "group":
        _replace_by_groups(model)
    elif norm == "sync":
        for name, child in model.named_children():
            setattr(model, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
    else:
        drop_batch_counters(model)


def drop_batch_counters(model: nn.Module) -> None:
    """Drop ``num_batches_tracked`` from every batch normalisation with a fixed momentum, in place."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.momentum is not None:
            module.num_batches_tracked = None


def num_groups(channels: int) -> int:
    """Return the largest divisor of ``channels`` up to 32 that leaves 8 channels a group, where there is one.

    Groups of one channel would wipe out a layer whose map is a single pixel, as the last layers of a deep network
    on small images are.
    """
    wanted = max(1, min(MAX_GROUPS, channels // MIN_CHANNELS_PER_GROUP))
    return max(divisor for divisor in range(1, wanted + 1) if channels % divisor == 0)


def _replace_by_groups(model: nn.Module) -> None:
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(model, name, _group_norm(child))
        else:
            _replace_by_groups(child)


def _group_norm(batch_norm: nn.BatchNorm2d) -> nn.GroupNorm:
    channels = batch_norm.num_features
    group_norm = nn.GroupNorm(num_groups(channels), channels, eps=batch_norm.eps, affine=batch_norm.affine)
    if batch_norm.affine:
        group_norm.weight, group_norm.bias = batch_norm.weight, batch_norm.bias
    return group_norm
