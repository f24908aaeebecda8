"""Files that a user names, whatever they are."""

import os
from pathlib import Path

import pytest

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.named import check_named, is_replaced, write_named


def test_an_open_file_goes_on_where_it_stands(tmp_path: Path) -> None:
    """As ``-o /dev/stdout >> all.csv`` means it."""
    descriptor = os.open(tmp_path / "all.csv", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"before\n")
    path = Path(f"/dev/fd/{descriptor}")
    assert not is_replaced(path)
    write_named(path, [b"one\n", b"two\n"])
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert (tmp_path / "all.csv").read_text() == "before\none\ntwo\nafter\n"


def test_an_error_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("old")

    def blocks():  # type: ignore[no-untyped-def]
        yield b"new"
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        write_named(tmp_path / "p.csv", blocks())
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]
    assert (tmp_path / "p.csv").read_text() == "old"


def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "gone" / "p.csv"):
        with pytest.raises(InputError, match=r"--output .* cannot be a file there"):
            check_named(path, "--output")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="no permission for"):
        check_named(tmp_path / "p.csv", "--output")
