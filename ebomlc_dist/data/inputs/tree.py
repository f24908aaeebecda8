"""Untrusted folders: what is in them by name, and a log line for whatever is skipped.

A folder that cannot be looked into is an error: what it holds would be missing from the result without a trace.
"""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ebomlc_dist.data.inputs.decode import SUFFIXES
from ebomlc_dist.data.inputs.safe_paths import REMEDY, listed, shown
from ebomlc_dist.errors import InputError


@dataclass
class Found:
    """What lies below a folder, at any depth, but for hidden files and folders. All paths are relative to one folder.

    Attributes:
        images: files that are images by their suffix, sorted folder by folder.
        others: files that are none.
        linked: links to folders, which are not entered.
    """

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)

    def passed_over(self) -> list[str]:
        """Return a line for each kind of thing that is left out, for the log."""
        lines = []
        if self.others:
            what = (
                f"skipped {len(self.others)} {'file' if len(self.others) == 1 else 'files'} without an image extension"
            )
            lines.append(f"{what}: {listed([shown(name) for name in self.others], 10)}")
        if self.linked:
            what = f"{len(self.linked)} links to folders are not followed, and what they hold is left out"
            lines.append(f"{what}: {listed([shown(name) for name in self.linked], 10)}")
        return lines


def find_images(folder: str | Path, base: str | Path, found: Found | None = None) -> Found:
    """Return what lies below ``folder``, with paths relative to ``base``, added to ``found``.

    Raises:
        InputError: folders that cannot be read, all of them by name.
    """
    found = Found() if found is None else found
    errors: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=errors.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = os.path.relpath(place, base)
        prefix = "" if prefix == "." else f"{prefix}/"
        found.linked += [f"{prefix}{name}" for name in folders if os.path.islink(f"{place}/{name}")]  # noqa: PTH114
        for file in sorted(name for name in files if not name.startswith(".")):
            is_image = os.path.splitext(file)[1].lower() in SUFFIXES  # noqa: PTH122 (a Path for each file is slow)
            (found.images if is_image else found.others).append(f"{prefix}{file}")
    if errors:
        raise InputError(_unreadable(errors))
    return found


def is_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder. Raises `InputError` where it cannot be told."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(_unreadable([error])) from None


def is_folder_or_absent(path: Path) -> bool:
    """`is_folder`, of a place that holds a folder or nothing. Raises `InputError` for anything else."""
    if is_folder(path):
        return True
    if os.path.lexists(path):
        what = "a link to nothing" if path.is_symlink() and not path.exists() else "not a folder"
        raise InputError(f"{path} is {what}; fix or delete it")
    return False


def subfolders(folder: Path) -> list[str]:
    """Return names of the folders in ``folder``, links to folders included, sorted; hidden ones are passed over.

    Raises:
        InputError: ``folder`` cannot be read, or holds a link to nothing.
    """
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    found.append(entry.name)
                elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
                    raise InputError(f"{entry.path} is a link to nothing; fix or delete it")
    except OSError as error:
        raise InputError(_unreadable([error])) from None
    return sorted(found)


def subfolders_if_readable(folder: Path) -> list[str]:
    """`subfolders` for a hint: none where the folder cannot be read, and no word on broken links."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return []


def loose_images(folder: Path) -> list[str]:
    """Return names of the images that lie in ``folder`` itself, sorted; hidden ones are passed over."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and os.path.splitext(entry.name)[1].lower() in SUFFIXES  # noqa: PTH122
            and not entry.is_dir()
        )


def check_inside(root: Path, folder: Path) -> None:
    """Raise `InputError` where ``folder`` is a link that leaves ``root``, which is a real path."""
    if not folder.resolve().is_relative_to(root):
        raise InputError(f"{folder} is a link that leaves the data folder {root}; {REMEDY}")


def _unreadable(errors: list[OSError]) -> str:
    lines = [f"{shown(os.fsdecode(error.filename or '?'))} ({error.strerror or error})" for error in errors]
    return f"{len(lines)} folder(s) cannot be read: {listed(lines, 20)}; make them readable, or take them out"
