"""One checkpoint in memory: named tensors as safetensors files, everything else as JSON documents."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import json_bytes
from ebomlc_dist.files.manifest import FILE_NAME, MANIFEST, Manifest, records
from ebomlc_dist.files.safe_json import parse_json

DOCUMENT_BYTES = 64 * 1024 * 1024

_LENGTH_BYTES = 8


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint, in memory.

    Attributes:
        step: finished steps when it was taken.
        files: file name → content; ``<group>.safetensors`` and ``<document>.json``.
    """

    step: int
    files: dict[str, bytes]

    @property
    def groups(self) -> list[str]:
        """Names of the tensor groups."""
        return sorted(name.removesuffix(".safetensors") for name in self.files if name.endswith(".safetensors"))

    def tensors(self, group: str) -> dict[str, Tensor]:
        """Return the named tensors of a group: CPU, contiguous, of the shapes and dtypes that were saved.

        Raises:
            InputError: no such group, or not a valid safetensors file.
        """
        try:
            return safetensors.torch.load(self._file(f"{group}.safetensors"))
        except (SafetensorError, KeyError, ValueError) as error:
            raise InputError(f"{group}.safetensors of step {self.step} cannot be read: {error}") from error

    def document(self, name: str) -> dict[str, Any]:
        """Return one JSON document of the checkpoint.

        Raises:
            InputError: no such document, not a JSON object, or above 64 MiB.
        """
        return _parse_document(self._file(f"{name}.json"), f"{name}.json of step {self.step}")

    def _file(self, name: str) -> bytes:
        if name not in self.files:
            raise InputError(
                f"the checkpoint of step {self.step} has no {name}; it has {', '.join(sorted(self.files))}"
            )
        return self.files[name]

    def pack(self) -> bytes:
        """Return the checkpoint as one run of bytes, to be sent to other ranks.

        Eight bytes of length (little endian), the manifest, then the files in the manifest's order.
        """
        header = Manifest(self.step, files=records(self.files)).render()
        contents = (self.files[name] for name in sorted(self.files))
        return b"".join([len(header).to_bytes(_LENGTH_BYTES, "little"), header, *contents])

    @staticmethod
    def unpack(data: bytes) -> "Checkpoint":
        """Return the verified checkpoint from the bytes of `pack`.

        Raises:
            InputError: a byte has changed, is missing, or is too many.
        """
        source = "the packed checkpoint"
        start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
        if start > len(data):
            raise InputError(f"{source} is cut short")
        manifest = Manifest.parse(data[_LENGTH_BYTES:start], source)
        if start + manifest.total_bytes != len(data):
            raise InputError(f"{source} has {len(data)} bytes instead of {start + manifest.total_bytes}")
        files = {}
        for name, record in sorted(manifest.files.items()):
            files[name] = data[start : start + record.size]
            manifest.check(name, files[name], source)
            start += record.size
        return Checkpoint(manifest.step, files)


def encode(tensors: Mapping[str, Mapping[str, Tensor]], documents: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """Return the files of a checkpoint: file name → content.

    Args:
        tensors: group → name → tensor of any device and layout; one safetensors file a group.
        documents: name → JSON object; one file each.

    Raises:
        ValueError: what could be written but not loaded again: a name that is no plain file name, NaN or infinity in a
            document, keys that become equal as text, a document above 64 MiB.
    """
    files = {f"{group}.safetensors": _tensor_file(named) for group, named in tensors.items()}
    for name, document in documents.items():
        files[f"{name}.json"] = json_bytes(document)
        try:
            _parse_document(files[f"{name}.json"], f"{name}.json")
        except InputError as error:
            raise ValueError(str(error)) from None
    for name in files:
        if not FILE_NAME.fullmatch(name) or name == MANIFEST:
            raise ValueError(f"{name!r} cannot be a file of a checkpoint")
    return files


def _tensor_file(named: Mapping[str, Tensor]) -> bytes:
    # A copy of each: safetensors refuses views that share memory, and layouts other than contiguous.
    plain = {name: _plain_copy(tensor) for name, tensor in named.items()}
    return safetensors.torch.save(plain)


def _plain_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _parse_document(data: bytes, source: str) -> dict[str, Any]:
    if len(data) > DOCUMENT_BYTES:
        raise InputError(f"{source} has {len(data)} bytes, at most {DOCUMENT_BYTES} are read")
    value = parse_json(data, source)
    if not isinstance(value, dict):
        raise InputError(f"{source} is no JSON object")
    return value
