"""Refuse links and special files in a run folder: nothing is written through them.

The folder itself may be reached by a link, which the user has named. Below it a link would send what the run writes,
and what it removes, to files of somebody else, and a pipe would hold it for ever.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable, operations

_REMEDY = "a run folder may hold no links or special files; move it away, or put a copy of its target in its place"


def refuse_links(folders: Iterable[Path], files: Iterable[Path] = ()) -> None:
    """Raise `InputError` for links and special files under the names that a run writes to. Missing ones are fine.

    Args:
        folders: folders, which are looked into one level deep.
        files: regular files.

    Raises:
        InputError: a link or a special file, a file in the place of a folder or the other way round, or a folder that
            cannot be read.
    """
    try:
        for path in files:
            if (mode := _mode(path)) is not None and not stat.S_ISREG(mode):
                raise InputError(f"{path} is {_kind(mode)} where a regular file belongs: {_REMEDY}")
        for folder in folders:
            if (mode := _mode(folder)) is None:
                continue
            if not stat.S_ISDIR(mode):
                raise InputError(f"{folder} is {_kind(mode)} where a folder belongs: {_REMEDY}")
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                        kind = _kind(entry.stat(follow_symlinks=False).st_mode)
                        raise InputError(f"{entry.path} is {kind}: {_REMEDY}")
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror or error}") from error


def open_to_append(path: Path, root: Path) -> int:
    """Return a descriptor of a regular file under ``root``, made if missing; it reads, and what is written goes to the
    end.

    Every part of the path below ``root`` is opened relative to the one before, and none may be a link.

    Raises:
        InputError: a link, a pipe, a device or a folder in the path; nothing of it is opened.
        NoSpace: there is no room for a new file.
        OSError: missing folders, or it cannot be opened or made.
    """
    calls = operations.current()
    *folders, name = path.relative_to(root).parts
    place, here = root, calls.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            place /= part
            if (mode := _mode(Path(part), here)) is not None and not stat.S_ISDIR(mode):
                raise InputError(f"{place} is {_kind(mode)} where a folder belongs: {_REMEDY}")
            above, here = here, calls.open(Path(part), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, here)
            calls.close(above)
        is_new = (mode := _mode(Path(name), here)) is None
        if mode is not None and not stat.S_ISREG(mode):
            raise InputError(f"{path} is {_kind(mode)}, not a regular file: {_REMEDY}")
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        with durable.explained(path, 0):
            descriptor = calls.open(Path(name), flags, here)
            try:
                if not stat.S_ISREG(mode := os.fstat(descriptor).st_mode):
                    raise InputError(f"{path} is {_kind(mode)}, not a regular file: {_REMEDY}")
                if is_new:
                    durable.flush_folder(here)
            except BaseException:
                calls.close(descriptor)
                raise
        return descriptor
    finally:
        calls.close(here)


def _mode(path: Path, folder: int | None = None) -> int | None:
    try:
        return os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFREG: "a file", stat.S_IFIFO: "a pipe"}
    return kinds.get(stat.S_IFMT(mode), "a special file")
