"""Refuse labels that are no classes: measurements, several labels in one cell, one class under two names."""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ebomlc_dist.data.inputs.class_names import MISSING, composed
from ebomlc_dist.data.inputs.safe_paths import listed, shown
from ebomlc_dist.errors import InputError, nearest

_MOST_LEVELS = 50
"""Classes named by fractions, such as magnifications; more of them are measurements."""
_SEPARATORS = re.compile(r"[;|]")
_NO_ANSWER = MISSING | {"none", "n/a", "na", "?"}


def check_labels(names: Sequence[str], counts: Sequence[int], origin: Path) -> list[str]:
    """Refuse labels that are no classes.

    Args:
        names: K class names.
        counts: K, the training images of each.
        origin: the file or folder they come from.

    Returns:
        a line for each kind of thing that looks like a slip.

    Raises:
        InputError: numbers with fractions, nearly all of them different, or names that join other names.
    """
    if all(_is_number(name) for name in names) and any(not float(name).is_integer() for name in names):
        rare = sum(count <= 1 for count in counts)
        if len(names) > _MOST_LEVELS or 2 * rare >= len(names):
            raise InputError(
                f"{origin} has {len(names)} different numbers such as {listed([shown(name) for name in names], 3)} as "
                "labels: measurements are no classes; give the column of the classes the name label, or round them"
            )
    if joined := _joined(names):
        raise InputError(
            f"{origin} has {len(joined)} labels that join several: {listed([shown(name) for name in joined], 5)}; an "
            "image has one class here: keep one label of each"
        )
    return [f"{origin}: {line}" for line in _slips(names, counts)]


def _slips(names: Sequence[str], counts: Sequence[int]) -> list[str]:
    lines = []
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[re.sub(r"[\s_-]+", " ", composed(name).strip().casefold())].append(shown(name))
    if groups := [" and ".join(group) for group in alike.values() if len(group) > 1]:
        lines.append(f"{len(groups)} classes have names that differ in case or blanks alone: {listed(groups, 10)}")
    if empty := [shown(name) for name in names if name.strip().lower() in _NO_ANSWER]:
        lines.append(f"a class is named like a missing value: {listed(empty, 10)}; remove its images if it is none")
    if single := [name for name, count in zip(names, counts, strict=True) if count == 1]:
        others = [name for name in names if name not in single]
        near = [f"{shown(name)}{nearest(name, others)}" for name in single[:10]]
        lines.append(f"{len(single)} classes have one training image: {listed(near)}{' …' if len(single) > 10 else ''}")
    return lines


def _joined(names: Sequence[str]) -> list[str]:
    """Return names made of others: a part of them is a class too, or a part of another such name."""
    parts = {name: [part.strip() for part in _SEPARATORS.split(name)] for name in names}
    several = {name: split for name, split in parts.items() if len(split) > 1 and all(split)}
    uses: dict[str, int] = defaultdict(int)
    for split in several.values():
        for part in set(split):
            uses[part] += 1
    plain = set(names)
    return [name for name, split in several.items() if any(part in plain or uses[part] > 1 for part in split)]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
