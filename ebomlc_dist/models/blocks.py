"""The repeated blocks of a network: the units that sharding gathers and frees."""

from torch import nn


def blocks(module: nn.Module) -> list[nn.Module]:
    """Return the innermost composite modules that stand in a sequence, such as residual blocks or transformer layers.

    A network without any gives an empty list: it is one block.
    """
    found: list[nn.Module] = []
    for child in module.children():
        inner = blocks(child)
        in_sequence = isinstance(module, nn.Sequential | nn.ModuleList)
        composite = any(True for _ in child.children()) and not isinstance(child, nn.Sequential | nn.ModuleList)
        if inner:
            found += inner
        elif in_sequence and composite and any(p.requires_grad for p in child.parameters()):
            found.append(child)
    return found
