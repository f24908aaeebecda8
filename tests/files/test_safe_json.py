"""JSON from strangers: what is valid comes back, what is hostile is refused in one line, at little cost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.safe_json import MAX_BYTES, MAX_DEPTH, null_for_nonfinite, parse_json, read_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@settings(max_examples=60)
@given(VALUES, st.booleans())
def test_round_trip(value: object, ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass"), "x") == value


def refusal(data: bytes) -> str | None:
    try:
        parse_json(data, "the text")
    except InputError as error:
        return str(error)
    return None


@given(st.binary(max_size=40) | st.text(alphabet='{}[]":,\\u0d18-eE. ntf', max_size=40).map(str.encode))
def test_anything_else_is_an_input_error(data: bytes) -> None:
    """No other exception ever, and a message of one line that says where."""
    message = refusal(data)
    assert message is None or (message.startswith("the text") and "\n" not in message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'[{"b": {"a": 1, "c": 2, "a": 1}}]', "'a' stands twice"),
        (b"[NaN]", "NaN is no JSON number"),
        (b"-Infinity", "Infinity"),
        (b"1e999", "'1e999' is too large"),
        (b"1" * 5000, "digits"),
        (b'"\xff"', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'"\\ud800"', "surrogate"),
        (b"", "line 1"),
        (b"{", "line 1, column 2"),
        (b"[" * (MAX_DEPTH + 1), "nested deeper than 64"),
        (b'{"a":' * 1_000_000, "nested deeper than 64"),
        (b'{"a":1}' * 2, "Extra data"),
    ],
)
def test_refusals(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_json(data, "x")


def test_brackets_in_strings_do_not_count() -> None:
    assert parse_json(json.dumps(['[{"\\' * 1000]).encode(), "x") == ['[{"\\' * 1000]
    nested = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(nested.encode(), "x")) == nested
    assert parse_json(b'"\\ud83d\\ude00"', "x") == "😀"


READER = """
import pathlib, re, sys, time
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.safe_json import read_json

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

before, started = peak(), time.process_time()
try:
    read_json(pathlib.Path(sys.argv[1]))
except InputError as error:
    assert len(str(error)) < 500, "a message repeats the file"
print(time.process_time() - started, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of the memory is read from /proc")
@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * MAX_BYTES,
        b"[" + b"[]," * (MAX_BYTES // 3 - 2) + b"1]",
        b"[" + b"{}," * (MAX_BYTES // 3 - 2) + b"1]",
        b'"' * MAX_BYTES,
        b'"\\' * (MAX_BYTES // 2),
        b'\\"' * (MAX_BYTES // 2),
        b"1" * MAX_BYTES,
    ],
    ids=["depth", "lists", "objects", "quotes", "open escapes", "escaped quotes", "digits"],
)
def test_bombs_cost_little(tmp_path: Path, bomb: bytes) -> None:
    path = tmp_path / "bomb.json"
    path.write_bytes(bomb[:MAX_BYTES])
    done = subprocess.run([sys.executable, "-c", READER, path], capture_output=True, text=True, check=True)
    seconds, kib = map(float, done.stdout.split())
    assert seconds < 1
    assert kib <= 64 * 1024


def test_size_is_limited_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "sparse.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match=r"sparse.json has 1099511627776 bytes, at most 1048576"):
        read_json(path)
    path.write_text('["1234"]')
    assert read_json(path, max_bytes=8) == ["1234"]
    with pytest.raises(InputError, match="8 bytes, at most 7"):
        read_json(path, max_bytes=7)


def test_null_for_nonfinite() -> None:
    value = {"a": float("nan"), "b": (1, float("inf"), "text"), "c": {"d": -float("inf"), "e": 0.5}, "f": None}
    assert null_for_nonfinite(value) == {"a": None, "b": [1, None, "text"], "c": {"d": None, "e": 0.5}, "f": None}
