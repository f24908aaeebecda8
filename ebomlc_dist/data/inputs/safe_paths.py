"""Untrusted paths and names: kept under a root, opened only where regular, escaped where shown."""

import os
import stat
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

_SHOWN = 50
REMEDY = "put what it points to into the data folder, or give a data folder that holds both"
"""For a link that leaves the data folder."""


class RefusedPathError(ValueError):
    """A path that is not opened; the text says why, without the path."""


class MissingFileError(RefusedPathError):
    """There is nothing at the path."""


class LeavingPathError(RefusedPathError):
    """The path leads out of the folder that it is read in."""


def resolve_under(root: Path, text: str | Path) -> Path:
    """Return the real path of ``text``, absolute or relative to ``root``, which must lie under ``root``.

    Opens nothing.

    Args:
        root: a real path (``Path.resolve``).
        text: as it stands in a table or a folder. ``~`` and variables are not expanded.

    Raises:
        RefusedPathError: it leaves ``root`` by ``..``, an absolute path or a link, does not exist, is no regular file,
            or cannot be followed.
    """
    try:
        if not Path(os.path.normpath(root / text)).is_relative_to(root):
            raise LeavingPathError("leaves the data folder")
        real = (root / text).resolve(strict=True)
        if not real.is_relative_to(root):
            raise LeavingPathError(f"is a link that leaves the data folder; {REMEDY}")
        if not stat.S_ISREG(real.stat().st_mode):
            raise RefusedPathError("is not a regular file")
    except FileNotFoundError:
        raise MissingFileError("does not exist") from None
    except OSError as error:
        raise RefusedPathError(f"cannot be followed ({error.strerror or error})") from None
    except RefusedPathError:
        raise
    except (ValueError, RuntimeError):  # a NUL in the path; a loop of links
        raise RefusedPathError("is not a usable path") from None
    return real


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading, if it is a regular one; ``path`` is a real path, so a link in its place is refused.

    Raises:
        RefusedPathError: not a regular file. It is looked at before it is opened, and again once it is open.
        OSError: not readable.
    """
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise RefusedPathError("is not a regular file")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RefusedPathError("is not a regular file")
    return os.fdopen(descriptor, "rb")


def shown(name: str | Path) -> str:
    """Return a name in quotes, with control characters, direction marks and undecodable bytes escaped, cut at 200."""
    text = str(name)
    return repr(text if len(text) <= 200 else f"{text[:200]}…")


def listed(items: Sequence[str], limit: int = _SHOWN) -> str:
    """``items`` in one line, the first ``limit`` of them and the number of the others."""
    more = f"; and {len(items) - limit} more" if len(items) > limit else ""
    return "; ".join(items[:limit]) + more
