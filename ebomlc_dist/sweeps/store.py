"""The results of a sweep: a folder in which every cell has one JSON file, written once by whoever finished it.

    STORE/grids/<name>.json         which cells a grid has, in order
    STORE/cells/<key>.json          a result; published by a hard link, so that a second finisher replaces nothing
    STORE/failures/<key>-<n>.json   an attempt that failed, with its one line
    STORE/work/<key>/               lease, run folder and notes of a cell that is being run
    STORE/logs/                     what workers said

Any number of processes may read and write at once. Nothing here imports torch.
"""

import re
from collections.abc import Collection
from pathlib import Path

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable, operations
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import null_for_nonfinite, read_json
from ebomlc_dist.sweeps.lease import Lease, store_lock
from ebomlc_dist.sweeps.records import (
    SCHEMA,
    Failure,
    Listed,
    Result,
    failure_from,
    grid_document,
    listed_from,
    result_from,
)

__all__ = ["Failure", "Listed", "Result", "Store", "Workplace"]

_MAX_BYTES = 64 * 1024 * 1024
_RESULT = re.compile(r"([0-9a-f]{20})\.json")
_FAILURE = re.compile(r"([0-9a-f]{20})-(\d{1,6})\.json")
_GRID = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\.json")


class Workplace:
    """Names within ``work/<key>/``: for the holder of the cell's lease, readable by all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lease = root / "lease"
        self.started = root / "started.json"
        self.run = RunFolder(root / "run")


class Store:
    """A store by its folder; nothing is made before `open`."""

    def __init__(self, root: Path) -> None:
        self.root = root = Path(root)
        self.grids = root / "grids"
        self.cells = root / "cells"
        self.failures = root / "failures"
        self.work = root / "work"
        self.logs = root / "logs"

    def open(self) -> None:
        """Create the folders.

        Raises:
            InputError: the folder is another thing, cannot be written, or its file system lacks locks or hard links.
        """
        if self.root.is_dir() and not self.grids.is_dir() and any(self.root.iterdir()):
            raise InputError(f"{self.root} is not empty and holds no sweep; choose another folder with -o")
        try:
            # The first one marks the folder as a store.
            for folder in (self.grids, self.cells, self.failures, self.work, self.logs):
                durable.make_folder(folder)
            with store_lock(self.root / "lock"):
                durable.remove_litter(self.grids)
                self._check_links()
        except InputError:
            raise
        except OSError as error:
            raise InputError(
                f"the store {self.root} cannot be written: {error.strerror or error}; choose another one with -o"
            ) from error

    def _check_links(self) -> None:
        source, target = (self.grids / durable.temporary_name(name) for name in ("source", "target"))
        durable.create_file(source, b"", durable=False)
        try:
            operations.current().link(source, target)
        except OSError as error:
            raise InputError(
                f"{self.root} is on a file system without hard links ({error.strerror or error}), by which results are "
                "published; choose another folder with -o"
            ) from error
        finally:
            source.unlink()
            target.unlink(missing_ok=True)

    def workplace(self, key: str) -> Workplace:
        """Return where a cell is run."""
        return Workplace(self.work / key)

    def lease(self, key: str) -> Lease:
        """Return the right to run a cell; not yet taken."""
        folder = self.workplace(key)
        durable.make_folder(folder.root)
        return Lease(folder.lease)

    def write_grid(self, name: str, cells: list[Listed]) -> None:
        """Say which cells the grid of that name has, in the order in which they are run; what differs is written."""
        path, data = self.grids / f"{name}.json", durable.json_bytes(grid_document(name, cells))
        with store_lock(self.root / "lock"):
            if not path.exists() or path.read_bytes() != data:
                durable.write_bytes(path, data)

    def listed(self) -> dict[str, list[Listed]]:
        """Return every stored grid with its cells. Raises `InputError` for a damaged file."""
        paths = self._files(self.grids, _GRID)
        return {path.stem: listed_from(read_json(path, _MAX_BYTES), str(path)) for path in paths}

    def done(self) -> set[str]:
        """Return the keys of the finished cells."""
        return {_RESULT.fullmatch(path.name)[1] for path in self._files(self.cells, _RESULT)}  # type: ignore[index]

    def publish(self, result: Result) -> bool:
        """Give a cell its result; False where it has one, which stays. For the holder of its lease."""
        value = {"schema": SCHEMA, **vars(result)}
        return durable.publish_bytes(
            self.cells / f"{result.key}.json",
            durable.json_bytes(null_for_nonfinite(value)),
            workplace=self.workplace(result.key).root,
        )

    def results(self) -> list[Result]:
        """Return every result, by key. Raises `InputError` for a damaged file."""
        return [self._result(path) for path in self._files(self.cells, _RESULT)]

    def result(self, key: str) -> Result:
        """Return one cell's result. Raises `InputError` where there is none."""
        return self._result(self.cells / f"{key}.json")

    def fail(self, key: str, failure: Failure) -> None:
        """Note a failed attempt. For the holder of the cell's lease."""
        count = len(self.failed().get(key, []))
        while not durable.publish_bytes(
            self.failures / f"{key}-{count}.json",
            durable.json_bytes(vars(failure)),
            workplace=self.workplace(key).root,
        ):
            count += 1

    def failed(self) -> dict[str, list[Failure]]:
        """Return failed attempts by key, in order."""
        found: dict[str, list[tuple[int, Failure]]] = {}
        for path in self._files(self.failures, _FAILURE):
            key, number = _FAILURE.fullmatch(path.name).groups()  # type: ignore[union-attr]
            found.setdefault(key, []).append((int(number), failure_from(read_json(path), str(path))))
        return {
            key: [failure for _, failure in sorted(list_, key=lambda item: item[0])] for key, list_ in found.items()
        }

    def forget_failures(self, keys: Collection[str]) -> None:
        """Give these cells their attempts back."""
        for path in self._files(self.failures, _FAILURE):
            if path.name.partition("-")[0] in keys:
                path.unlink(missing_ok=True)

    def _result(self, path: Path) -> Result:
        return result_from(read_json(path, _MAX_BYTES), str(path))

    @staticmethod
    def _files(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
        if not folder.is_dir():
            return []
        return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
