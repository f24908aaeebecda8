"""Checkpoints that are whole or absent: safetensors and JSON under a manifest, verified before anything is used.

A save writes a temporary folder, flushes every file, the manifest last, renames the folder, flushes the parent, reads
all of it back, moves ``latest`` and only then removes what is no longer needed. Order is by step and generation, never
by a clock. ``latest`` is for people and their scripts; loading looks at the folders themselves.
"""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable, operations
from ebomlc_dist.files.checkpoint import Checkpoint, encode
from ebomlc_dist.files.manifest import MANIFEST, MANIFEST_BYTES, Manifest, records
from ebomlc_dist.files.reading import read_bytes

__all__ = ["Checkpoint", "CheckpointStore"]

LATEST = "latest"
KEEP_NEWEST = 2

_FOLDER = re.compile(r"step-(\d{8,18})(?:\.(\d{1,9}))?")


class CheckpointStore:
    """The checkpoints of one run. Only one process may save; any may load.

    Args:
        folder: ``checkpoints/`` of the run; made by the first save.

    Attributes:
        refused: one line for each checkpoint that the last `load` passed over, and why.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.refused: list[str] = []
        self._verified: dict[str, Manifest] = {}

    def save(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        documents: Mapping[str, dict[str, Any]],
        *,
        best: bool = False,
    ) -> Path:
        """Write the checkpoint of ``step`` and remove those that it makes needless.

        The newest two good ones, the newest one marked best, and this one stay; so does what cannot be verified.

        Args:
            step: finished steps, ≥ 0. A step may be saved again; the newer one counts.
            tensors: group → name → tensor of any device and layout; one safetensors file a group.
            documents: name → JSON object; one file each.
            best: this is the best model so far.

        Returns:
            The checkpoint's folder.

        Raises:
            NoSpace: less room than twice the checkpoint's size, or the disk ran full. Earlier checkpoints stay.
            OSError: another failure of the disk. Earlier checkpoints stay.
            ValueError: something that could not be loaded again, see `checkpoint.encode`.
        """
        files = encode(tensors, documents)
        durable.make_folder(self.folder)
        durable.remove_litter(self.folder)
        generation = 1 + max((found[1] for found in self._folders() if found[0] == step), default=-1)
        manifest = Manifest(step, generation, best, records(files))
        self._check_space(2 * manifest.total_bytes)
        path = self._publish(manifest, files)
        durable.write_bytes(self.folder / LATEST, f"{path.name}\n".encode())
        self._purge(path.name)
        return path

    def load(self, *, best: bool = False) -> Checkpoint | None:
        """Return the newest checkpoint of which every file matches the manifest; None where none was ever finished.

        Nothing is removed or written, so a live run's folder may be read.

        Args:
            best: the newest one that was saved as best, instead of the newest.

        Raises:
            InputError: there are checkpoints, but no good one; all are listed.
        """
        self.refused = [
            f"skipped {self.folder / name}: the save was not finished"
            for name in self._names()
            if durable.is_litter(name)
        ]
        damaged = []
        for _, _, name in self._folders():
            try:
                manifest, files = _read_verified(self.folder / name)
            except InputError as error:
                damaged.append(f"refused {error}")
                continue
            if manifest.best or not best:
                self._verified[name] = manifest
                self.refused += damaged
                return Checkpoint(manifest.step, files)
        self.refused += damaged
        if damaged:
            raise InputError(
                f"{self.folder} holds no checkpoint that can be used: {'; '.join(damaged)}; "
                "start anew with another -o, or put a good copy back"
            )
        return None

    def _publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
        path = self.folder / manifest.folder_name
        temporary = self.folder / durable.temporary_name(path.name)
        with durable.explained(path, manifest.total_bytes):
            try:
                operations.current().mkdir(temporary)
                for name, data in files.items():
                    durable.create_file(temporary / name, data)
                durable.create_file(temporary / MANIFEST, manifest.render())
                durable.sync_folder(temporary)
                operations.current().rename(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    durable.remove_tree(temporary)
                raise
            durable.sync_folder(self.folder)
        try:
            found, _ = _read_verified(path)
        except InputError as error:
            self._remove(path.name)
            raise OSError(f"a checkpoint did not read back as it was written: {error}") from error
        self._verified[path.name] = found
        return path

    def _purge(self, saved: str) -> None:
        # What does not verify is left alone: it may be a passing fault of the disk, or a newer version's work.
        good = [(step, name) for step, _, name in self._folders() if self._is_good(name)]
        best = next((name for _, name in good if self._verified[name].best), None)
        newest = dict(reversed(good))  # step → its newest generation
        kept = {saved, best, *(newest[step] for step in sorted(newest)[-KEEP_NEWEST:])}
        for _, name in good:
            if name not in kept:
                self._remove(name)

    def _remove(self, name: str) -> None:
        # Renamed first: a death halfway leaves a name that says so, not half a checkpoint under a good one.
        temporary = self.folder / durable.temporary_name(name)
        operations.current().rename(self.folder / name, temporary)
        durable.remove_tree(temporary)
        self._verified.pop(name, None)

    def _is_good(self, name: str) -> bool:
        """Return whether a checkpoint is known to be good; what this process has verified once is not read again."""
        if name not in self._verified:
            with contextlib.suppress(InputError):
                self._verified[name], _ = _read_verified(self.folder / name)
        return name in self._verified

    def _check_space(self, needed: int) -> None:
        free = operations.current().free_bytes(self.folder)
        if free < needed:
            raise durable.NoSpace(
                f"{self.folder} has {free} bytes free, a checkpoint needs {needed} (twice its size); "
                "free some, or choose another folder with -o"
            )

    def _names(self) -> list[str]:
        try:
            return sorted(path.name for path in self.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{self.folder} cannot be read: {error.strerror}") from error

    def _folders(self) -> list[tuple[int, int, str]]:
        """(step, generation, name) of all checkpoints, the newest first."""
        matches = [match for name in self._names() if (match := _FOLDER.fullmatch(name))]
        return sorted(((int(m[1]), int(m[2] or 0), m[0]) for m in matches), reverse=True)


def _read_verified(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    """Return the manifest and all files of a checkpoint folder, all of them verified."""
    try:
        if path.is_symlink() or not path.is_dir():
            raise InputError(f"{path} is not a folder")
        present = {found.name for found in path.iterdir()}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    manifest = Manifest.parse(read_bytes(path / MANIFEST, MANIFEST_BYTES, follow_links=False), str(path / MANIFEST))
    if manifest.folder_name != path.name:
        raise InputError(f"{path} holds the checkpoint {manifest.folder_name}, not the one its name says")
    if differing := present ^ (set(manifest.files) | {MANIFEST}):
        raise InputError(f"{path} has missing or extra files: {', '.join(sorted(differing))}")
    files = {}
    for name, record in manifest.files.items():
        files[name] = read_bytes(path / name, record.size, follow_links=False)
        manifest.check(name, files[name], str(path))
    return manifest, files
