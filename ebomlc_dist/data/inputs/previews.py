"""What a person is shown of an input that is no image: the picture, or the text, that its features were made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.data.inputs.csv_table import stop_on
from ebomlc_dist.data.inputs.label_files import read_table
from ebomlc_dist.data.inputs.safe_paths import shown

_MAX_PIXELS = 64_000_000


@dataclass(frozen=True)
class Previews:
    """One preview a training input.

    Attributes:
        root: the folder that ``paths`` are below, resolved.
        paths: N paths of pictures; empty where there are none.
        texts: N texts; empty where there are none.
        max_pixels: larger pictures are not decoded.
    """

    root: Path
    paths: Sequence[str] = ()
    texts: Sequence[str] = ()
    max_pixels: int = _MAX_PIXELS

    def __len__(self) -> int:
        return max(len(self.paths), len(self.texts))

    def of(self, rows: NDArray[np.int64]) -> "Previews":
        """Return the previews of ``rows``; rows beyond the last one have none."""
        parts = ([part[row] if row < len(part) else "" for row in rows.tolist()] for part in (self.paths, self.texts))
        paths, texts = parts
        return replace(self, paths=paths if self.paths else (), texts=texts if self.texts else ())


def read_previews(path: Path, ids: Sequence[str] | None) -> tuple[Previews, list[str] | None]:
    """Read a table with a column ``path`` or ``text``, one row an input. Pictures lie in the table's folder or below.

    Args:
        path: CSV or JSON; a column ``id`` names the rows.
        ids: of the features, where their file has some: the table's rows are brought into their order.

    Returns:
        The previews, and the ids of the table's rows where ``ids`` is None and it has some.

    Raises:
        InputError: neither column, or ids without a row.
    """
    table = read_table(path)
    named, picture, text = (
        table.first_of(*names) for names in (("id", "ids"), ("path", "file_name"), ("text", "title", "sentence"))
    )
    if picture is None and text is None:
        table.column("path", "text")
    paths, texts = ([] if name is None else table.column(name) for name in (picture, text))
    found = Previews(path.resolve().parent, paths, texts)
    own = None if named is None else [cell.strip() for cell in table.column(named)]
    if ids is None or own is None:
        return found, own
    place = {name: row for row, name in enumerate(own)}
    stop_on([f"{path} has no row of id {shown(name)}" for name in ids if name not in place])
    return found.of(np.fromiter((place[name] for name in ids), np.int64, len(ids))), None
