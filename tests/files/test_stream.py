"""A streamed file is whole or absent, at every call that can fail."""

from pathlib import Path

import pytest

from ebomlc_dist.files.operations import using
from ebomlc_dist.files.stream import stream_file
from tests.files.conftest import Faulty


def write(path: Path, content: bytes) -> None:
    with stream_file(path) as file:
        for start in range(0, len(content), 1000):
            file.write(content[start : start + 1000])


def test_content_arrives_and_replaces(tmp_path: Path) -> None:
    path, content = tmp_path / "file", bytes(range(256)) * 20_000
    write(path, b"old")
    write(path, content)
    assert path.read_bytes() == content
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_an_exception_within_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, b"old")

    def fail() -> None:
        with stream_file(path) as file:
            file.write(b"new" * 10**6)
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail()
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", ["no_space", "io_error", "short"])
def test_every_failing_call_leaves_old_or_new(kind: str, tmp_path: Path) -> None:
    path, new = tmp_path / "file", b"new" * 10**6
    outcomes = set()
    for k in range(1, 100):
        write(path, b"old")
        faulty = Faulty(kind, k)
        try:
            with using(faulty):
                write(path, new)
            outcomes.add("done")
        except OSError:
            outcomes.add("failed")
        assert path.read_bytes() in (b"old", new)
        if len(faulty.calls) < k:
            break
    assert "done" in outcomes
    assert kind == "short" or "failed" in outcomes
    assert path.read_bytes() == new
