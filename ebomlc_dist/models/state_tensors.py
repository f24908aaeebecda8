"""A network's tensors by name, taken out and put back exactly."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ebomlc_dist.errors import InputError

MAX_NAMED = 5


def state_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all persistent tensors, on the CPU, contiguous and each with memory of its own.

    safetensors takes neither channels_last memory nor views of one vector; a copy is neither.
    """
    return {
        name: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        for name, tensor in module.state_dict().items()
    }


def load_state(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy ``tensors`` into the module's own, whose device and memory format stay.

    ``nn.Module.load_state_dict`` is not used: it invents a count of batches for plain mappings, changes dtypes in
    silence, and has half loaded by the time it finds a fault.

    Args:
        module: the network.
        tensors: name → tensor, exactly the names, shapes and dtypes of ``module.state_dict()``.
        source: names the file in the message.

    Raises:
        InputError: a name, shape or dtype differs; one line lists what, and the module is untouched.
    """
    own = module.state_dict()
    check_state(own, tensors, source)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def check_state(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise `InputError` unless both mappings have the same names, shapes and dtypes."""
    faults = [f"'{name}' is missing" for name in expected if name not in tensors]
    faults += [f"{name!r:.100} is unknown" for name in sorted(set(tensors) - set(expected))]
    for name, wanted in expected.items():
        found = tensors.get(name)
        if found is not None and (found.shape != wanted.shape or found.dtype != wanted.dtype):
            faults.append(f"'{name}' is {_kind(found)} instead of {_kind(wanted)}")
    if faults:
        more = f"; and {len(faults) - MAX_NAMED} more" if len(faults) > MAX_NAMED else ""
        raise InputError(f"{source} does not fit the model: {'; '.join(faults[:MAX_NAMED])}{more}")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
