"""Lines are whole or absent; a resumed run winds back to its checkpoint; a torn end harms nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable
from ebomlc_dist.files.journal import Journal, read_records
from ebomlc_dist.files.operations import using

RECORDS = st.lists(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3, alphabet="aé\n\x00\x85"),
        max_size=3,
    ),
    max_size=6,
)
on_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def write(path: Path, records: list[dict]) -> list[int]:
    """The offset before each record, and after the last."""
    path.unlink(missing_ok=True)
    with Journal(path) as journal:
        offsets = [journal.offset]
        for record in records:
            journal.append(record)
            offsets.append(journal.offset)
    return offsets


@on_one_folder
@given(RECORDS)
def test_round_trip(memory_folder: Path, records: list[dict]) -> None:
    path = memory_folder / "metrics.jsonl"
    offsets = write(path, records)
    assert offsets[-1] == path.stat().st_size
    assert read_records(path) == records
    assert path.read_bytes().count(b"\n") == len(records)


@on_one_folder
@given(RECORDS, st.data())
def test_a_torn_end_is_cut_off(memory_folder: Path, records: list[dict], data: st.DataObject) -> None:
    """A file cut anywhere holds the lines before the cut, and takes new ones after them."""
    path = memory_folder / "metrics.jsonl"
    offsets = write(path, records)
    size = data.draw(st.integers(0, offsets[-1]))
    path.write_bytes(path.read_bytes()[:size])
    whole = sum(offset <= size for offset in offsets[1:])
    assert read_records(path) == records[:whole]
    with Journal(path) as journal:
        assert journal.offset == offsets[whole]
        journal.append({"new": 1})
    assert read_records(path) == [*records[:whole], {"new": 1}]


@on_one_folder
@given(RECORDS, st.data())
def test_winding_back(memory_folder: Path, records: list[dict], data: st.DataObject) -> None:
    """Steps done again leave no line lost, doubled or torn."""
    path = memory_folder / "metrics.jsonl"
    offsets = write(path, records)
    kept = data.draw(st.integers(0, len(records)))
    whole = path.read_bytes()
    path.write_bytes(whole + data.draw(st.binary(max_size=20).filter(lambda end: b"\n" not in end)))
    with Journal(path) as journal:
        journal.truncate(offsets[kept])
        for record in records[kept:]:
            journal.append(record)
        assert journal.offset == offsets[-1]
    assert path.read_bytes() == whole


def test_long_torn_ends(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for torn in (b"x" * 65_535, b"x" * 65_536, b"\0" * 200_000):
        path.write_bytes(b'{"a": 1}\n' + torn)
        with Journal(path) as journal:
            assert journal.offset == 9
        assert path.read_bytes() == b'{"a": 1}\n'
        path.write_bytes(torn)
        with Journal(path) as journal:
            assert journal.offset == 0


@pytest.mark.parametrize("offset", [-1, 3, 10, 999])
def test_an_offset_that_does_not_fit_is_refused(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\n')
    with Journal(path) as journal, pytest.raises(InputError, match="does not fit the checkpoint"):
        journal.truncate(offset)
    assert path.read_bytes() == b'{"a": 1}\n'


@pytest.mark.parametrize("kind", ["die", "die_short", "no_space", "io_error", "short", "full", "broken"])
def test_every_call_of_an_append_may_fail(memory_folder: Path, faulty: type, run_in_child: Callable, kind: str) -> None:
    path = memory_folder / "metrics.jsonl"
    first, second, third = {"step": 1}, {"step": 2, "loss": 0.5}, {"step": 3}
    failures = 0
    for k in range(1, 5):
        write(path, [first])
        with Journal(path) as journal:
            if kind.startswith("die"):
                failed = run_in_child(lambda: _append_and_sync(journal, second), faulty(kind, k)) != 0
            else:
                try:
                    with using(faulty(kind, k)):
                        _append_and_sync(journal, second)
                    failed = False
                except OSError:
                    failed = True
            failures += failed
            if not kind.startswith("die"):
                journal.append(third)
        found = read_records(path)
        if kind.startswith("die"):
            assert found in ([first], [first, second])
        else:
            assert found in ([first, third], [first, second, third])
            assert path.read_bytes().count(b"\n") == len(found)
        if not failed:
            assert second in found
    assert failures > 0 or kind == "short"


def _append_and_sync(journal: Journal, record: dict) -> None:
    journal.append(record)
    journal.sync()


def test_a_half_written_line_is_taken_back(tmp_path: Path, intercepted: type) -> None:
    """A write that fails halfway leaves nothing behind once writing works again."""

    class HalfThenNothing(intercepted):
        def at(self, count: int, name: str, act: Callable, args: tuple) -> object:
            if name == "write" and count == 1:
                return super(intercepted, self).write(args[0], args[1][:10])
            raise OSError(28, "no space")

    path = tmp_path / "metrics.jsonl"
    with Journal(path) as journal:
        journal.append({"step": 1})
        with using(HalfThenNothing()), pytest.raises(durable.NoSpace, match=r"metrics.jsonl"):
            journal.append({"step": 2, "text": "x" * 50})
        assert path.stat().st_size == journal.offset + 10, "control: half a line is there"
        assert read_records(path) == [{"step": 1}]
        journal.append({"step": 3})
    assert read_records(path) == [{"step": 1}, {"step": 3}]


def test_nan_becomes_null(tmp_path: Path) -> None:
    with Journal(tmp_path / "metrics.jsonl") as journal:
        journal.append({"loss": float("nan"), "rates": [float("inf"), 1.0]})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"loss": None, "rates": [None, 1.0]}


def test_only_a_regular_file_will_do(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("link", ""):
        with pytest.raises(InputError, match="not a regular file"):
            Journal(tmp_path / name)
    assert not (tmp_path / "target").exists()


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\n[1]\n')
    with pytest.raises(InputError, match=r"metrics.jsonl, line 2, is no JSON object"):
        read_records(path)
    path.write_bytes(b'{"a": 1}\n{"a": NaN}\n')
    with pytest.raises(InputError, match=r"metrics.jsonl, line 2, is not accepted: NaN"):
        read_records(path)


def test_sync_flushes(tmp_path: Path, intercepted: type) -> None:
    with Journal(tmp_path / "metrics.jsonl") as journal, using(recorded := intercepted()):
        journal.append({})
        assert [name for name, _ in recorded.calls] == ["write"]
        journal.sync()
        assert [name for name, _ in recorded.calls] == ["write", "fsync"]
