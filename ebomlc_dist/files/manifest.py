"""The manifest of a checkpoint: its files, their sizes and their sha256 checksums.

The safetensors format carries no digest of its own: a flipped bit of a weight loads without a word. So a manifest lists
size and sha256 of every file, and its own sha256 over the rest of it; only its exact, canonical bytes are accepted.
This finds damage. It is no signature: whoever can write the folder can write a fitting manifest.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.safe_json import parse_json

SCHEMA = 1
MANIFEST = "manifest.json"
MANIFEST_BYTES = 1024 * 1024
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.(safetensors|json)")


@dataclass(frozen=True)
class FileRecord:
    """One file: its size in bytes and its sha256 in hex."""

    size: int
    sha256: str

    @staticmethod
    def of(data: bytes) -> "FileRecord":
        """Return the record of a file with this content."""
        return FileRecord(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """The files of one checkpoint.

    Attributes:
        step: finished steps when the checkpoint was taken.
        generation: 0, or how many checkpoints of the same step came before it.
        best: the model was the best one so far.
        files: name → record, the manifest itself not among them.
    """

    step: int
    generation: int = 0
    best: bool = False
    files: Mapping[str, FileRecord] = field(default_factory=dict)

    @property
    def folder_name(self) -> str:
        """``step-00000123``, and ``step-00000123.1`` for a second checkpoint of that step."""
        return f"step-{self.step:08d}" + (f".{self.generation}" if self.generation else "")

    @property
    def total_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(record.size for record in self.files.values())

    def render(self) -> bytes:
        """Return the manifest's one canonical form."""
        body = {
            "schema": SCHEMA,
            "step": self.step,
            "generation": self.generation,
            "best": self.best,
            "files": {name: {"size": r.size, "sha256": r.sha256} for name, r in sorted(self.files.items())},
        }
        digest = hashlib.sha256(json.dumps(body).encode()).hexdigest()
        return f"{json.dumps({**body, 'digest': digest}, indent=1)}\n".encode()

    @staticmethod
    def parse(data: bytes, source: str) -> "Manifest":
        """Return the manifest in ``data``, which ``source`` names in errors.

        Raises:
            InputError: damaged, edited, or written by a newer version.
        """
        value = parse_json(data, source)
        schema = value.get("schema") if isinstance(value, dict) else None
        if type(schema) is int and schema > SCHEMA:
            raise InputError(
                f"{source} was written by a newer version (schema {schema}, this one reads up to {SCHEMA}); update"
            )
        try:
            manifest = _from_value(value)
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{source} is damaged: it is no checkpoint manifest") from None
        if manifest.render() != data:
            raise InputError(f"{source} is damaged or was edited: it does not match its own digest")
        return manifest

    def check(self, name: str, data: bytes, source: str) -> None:
        """Raise an error where a file's content does not match its record.

        Raises:
            InputError: another size, or another digest.
        """
        expected, found = self.files[name], FileRecord.of(data)
        if found.size != expected.size:
            raise InputError(f"{source}: {name} has {found.size} bytes instead of {expected.size}")
        if found.sha256 != expected.sha256:
            raise InputError(f"{source}: {name} is damaged: it does not match its sha256")


def records(files: Mapping[str, bytes]) -> dict[str, FileRecord]:
    """Return the record of each file: name → content becomes name → size and sha256."""
    return {name: FileRecord.of(data) for name, data in files.items()}


def _from_value(value: Any) -> Manifest:
    files = {}
    for name, record in value["files"].items():
        # Names become paths, so a separator or a leading dot must never get through.
        if not FILE_NAME.fullmatch(name):
            raise ValueError(name)
        files[name] = FileRecord(_count(record["size"]), str(record["sha256"]))
    return Manifest(_count(value["step"]), _count(value["generation"]), bool(value["best"]), files)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value
