"""The store: results that are published once, grids that are read back, damage that is named."""

import errno
import json
from pathlib import Path

import pytest

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable
from ebomlc_dist.files.operations import Operations, using
from ebomlc_dist.sweeps.lease import is_held
from ebomlc_dist.sweeps.status import counts, seconds_left, survey
from ebomlc_dist.sweeps.store import Listed, Store
from tests.sweeps.support import FAILURE, opened, result_of, small_cells


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path / "store")


def test_a_second_finisher_replaces_nothing(store: Store) -> None:
    cell = small_cells()[0]
    durable.make_folder(store.workplace(cell.key).root)
    assert store.publish(result_of(cell, accuracy_last=1.0)) is True
    assert store.publish(result_of(cell, accuracy_last=2.0)) is False
    assert store.result(cell.key).summary == {"accuracy_last": 1.0}
    assert [path.name for path in store.workplace(cell.key).root.iterdir()] == []


def test_a_result_is_read_back_as_it_was(store: Store) -> None:
    cell = small_cells()[0]
    durable.make_folder(store.workplace(cell.key).root)
    written = result_of(cell, accuracy_last=float("nan"), train_seconds=1.5)
    store.publish(written)
    (read,) = store.results()
    assert read.config == json.loads(json.dumps(cell.flat)) == cell.flat
    assert read.summary == {"accuracy_last": None, "train_seconds": 1.5}
    assert "data.data_dir" not in read.config, "where the data lay is nobody's business"


def test_grids_are_read_back_whole(store: Store) -> None:
    cells = [cell.listed for cell in small_cells(2)]
    store.write_grid("small", cells)
    before = (store.grids / "small.json").stat()
    store.write_grid("small", cells)
    assert (store.grids / "small.json").stat().st_mtime_ns == before.st_mtime_ns
    assert store.listed() == {"small": cells}
    store.write_grid("small", cells[:2])
    assert store.listed() == {"small": cells[:2]}


def test_the_state_of_each_cell(store: Store) -> None:
    cells = small_cells(2)
    for cell in cells:
        durable.make_folder(store.workplace(cell.key).root)
    store.publish(result_of(cells[0], 10.0))
    store.fail(cells[1].key, FAILURE)
    store.fail(cells[1].key, FAILURE)
    lease = store.lease(cells[2].key)
    assert lease.take()
    found = survey(store, [cell.listed for cell in cells])
    assert [cell.state for cell in found] == ["done", "failed", "running", "waiting", "waiting", "waiting"]
    assert counts(found) == {"done": 1, "running": 1, "failed": 1, "waiting": 3}
    assert (found[1].attempts, found[1].reason) == (2, "it broke")
    assert seconds_left(store, found) is not None
    lease.give_back()
    assert not is_held(store.workplace(cells[2].key).lease)


def test_a_store_that_may_only_be_read_has_a_state(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = small_cells()
    for cell in cells:
        durable.make_folder(store.workplace(cell.key).root)
        store.workplace(cell.key).lease.touch()
    store.workplace(cells[0].key).started.touch()

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    found = survey(store, [cell.listed for cell in cells])
    assert [cell.state for cell in found] == ["running", "waiting", "waiting"]


def test_nothing_known_gives_no_time_left(store: Store) -> None:
    assert seconds_left(store, survey(store, [cell.listed for cell in small_cells()])) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "not JSON"),
        ("{}", "damaged"),
        ("[]", "damaged"),
        ('{"schema": 99}', "schema 99"),
        ('{"schema": 1}', "damaged"),
    ],
)
def test_a_damaged_result_is_named(store: Store, text: str, line: str) -> None:
    path = store.cells / f"{'0' * 20}.json"
    path.write_text(text)
    with pytest.raises(InputError, match=line) as caught:
        store.results()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"summary": {"accuracy_last": "90"}},
        {"summary": []},
        {"seconds": None},
        {"config": {"method.name": 7}},
        {"config": {**small_cells()[0].flat, "noise.rate": "much"}},
        {"config": {**small_cells()[0].flat, "optim.main_lr": {"deep": 1}}},
        {"environment": "none"},
    ],
)
def test_a_result_of_the_wrong_kind_is_damaged(store: Store, change: dict) -> None:
    cell = small_cells()[0]
    durable.make_folder(store.workplace(cell.key).root)
    store.publish(result_of(cell, accuracy_last=1.0))
    path = store.cells / f"{cell.key}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="damaged"):
        store.results()


@pytest.mark.parametrize("change", [{"common": []}, {"cells": [{}]}, {"cells": 3}, {"common": {"noise.rate": True}}])
def test_a_grid_of_the_wrong_kind_is_damaged(store: Store, change: dict) -> None:
    store.write_grid("small", [cell.listed for cell in small_cells()])
    path = store.grids / "small.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="damaged"):
        store.listed()


def test_a_folder_of_other_things_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="not empty"):
        Store(tmp_path).open()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        Store(tmp_path / "file").open()


def test_a_file_system_without_locks_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(InputError, match="cannot be locked"):
        store.lease(small_cells()[0].key).take()


class WithoutLinks(Operations):
    def link(self, source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_file_system_without_hard_links_is_refused_before_any_cell(tmp_path: Path) -> None:
    with using(WithoutLinks()), pytest.raises(InputError, match="without hard links"):
        Store(tmp_path / "store").open()
    opened(tmp_path / "store")
    assert list((tmp_path / "store" / "grids").iterdir()) == []


def test_a_start_that_died_half_way_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "store" / "grids").mkdir(parents=True)
    opened(tmp_path / "store")


def test_names_beside_the_results_are_passed_over(store: Store) -> None:
    for name in ("README.json", ".tmp-0123-0.json", f"{'0' * 20}.json.bak"):
        (store.cells / name).write_text("{")
    assert store.done() == set()
    assert store.results() == []


def test_a_cell_with_a_matrix_is_read_back(store: Store) -> None:
    """Rows of numbers are plain values."""
    cell = small_cells()[0]
    known = Listed(cell.key, cell.name, {**cell.flat, "method.transition": [[0.9, 0.1], [0.2, 0.8]]})
    store.write_grid("matrix", [known])
    assert store.listed()["matrix"] == [known]
