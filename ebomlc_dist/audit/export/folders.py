"""A folder of many files that is whole or absent, as every export is."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ebomlc_dist.files import durable, operations


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; at the end of the block it replaces ``folder``, an earlier one included."""
    temporary = folder.with_name(durable.temporary_name(folder.name))
    durable.make_folder(temporary)
    try:
        yield temporary
        if folder.exists():
            old = folder.with_name(durable.temporary_name(folder.name))
            operations.current().rename(folder, old)
            operations.current().rename(temporary, folder)
            durable.remove_tree(old)
        else:
            operations.current().rename(temporary, folder)
        durable.sync_folder(folder.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            durable.remove_tree(temporary)
        raise


def put(path: Path, content: bytes) -> None:
    """Write one of many files; the folder is flushed as a whole."""
    with durable.explained(path, len(content)):
        durable.create_file(path, content, durable=False)
