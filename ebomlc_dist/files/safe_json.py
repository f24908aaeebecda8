"""Read untrusted JSON: limits on size and depth, no duplicate keys, no NaN or infinity."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.reading import read_bytes

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64

# A string, closed or not: an open one is taken to the end, so that the scan stays linear in the size.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_LEVEL = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - set(_LEVEL))
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json(path: Path, max_bytes: int = MAX_BYTES, *, follow_links: bool = True) -> Any:
    """Return the value in a JSON file.

    Args:
        path: the file, UTF-8.
        max_bytes: a larger file is refused unread. A value can take some 30 times its text in memory.
        follow_links: False refuses a symbolic link.

    Raises:
        InputError: one line with the path and what is wrong.
    """
    return parse_json(read_bytes(path, max_bytes, follow_links=follow_links), str(path))


def parse_json(data: bytes, source: str) -> Any:
    """Return the value of a JSON text in UTF-8; ``source`` names it in errors.

    Raises:
        InputError: not UTF-8, not JSON, nested deeper than 64, a key twice in one object, NaN, infinity or a number
            beyond float's range, or half a surrogate pair.
    """
    _check_depth(data, source)
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
        if _SURROGATE_ESCAPE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not UTF-8 text (byte {error.start})") from None
    except UnicodeEncodeError:
        raise InputError(f"{source} holds half a surrogate pair, which is no character") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{source} is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except ValueError as error:
        raise InputError(f"{source} is not accepted: {error}") from None
    return value


def null_for_nonfinite(value: Any) -> Any:
    """Return a copy of ``value`` in which every NaN and infinity is None, as JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: null_for_nonfinite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [null_for_nonfinite(item) for item in value]
    return value


def _check_depth(data: bytes, source: str) -> None:
    # Before parsing, as the parser's own limit depends on how deep its caller stands.
    brackets = _STRING.sub(b"", data).translate(None, delete=_NO_BRACKETS)
    if max(accumulate(map(_LEVEL.__getitem__, brackets)), default=0) > MAX_DEPTH:
        raise InputError(f"{source} is nested deeper than {MAX_DEPTH} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {_short(twice)} stands twice in one object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {_short(text)} is too large")
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
