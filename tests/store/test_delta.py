"""Delta tables: merging of small files, conflicts, and what is on disk."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from ml_debugger import columns
from ml_debugger.errors import StoreError
from ml_debugger.store import TableKey, delta, merging
from ml_debugger.store.delta import DeltaTables
from ml_debugger.store.tables import Batch, RowFilter
from tests.helpers.object_store import BUCKET
from tests.helpers.rows import make_tables

KEY = TableKey("inputs", "classification", "model")
SCHEMA = columns.schema_of("inputs")


def append(tables: DeltaTables, name: str, **options: object) -> bool:
    return tables.append(KEY, make_tables([name], **options)["inputs"], Batch(name))


def table_of(root: Path) -> DeltaTable:
    return DeltaTable(str(root / "tables" / "inputs" / "classification" / "model"))


def ids(tables: DeltaTables) -> list[str]:
    frame = tables.snapshot(KEY, SCHEMA).rows(RowFilter("v1"))
    return sorted(frame.collect()["input_id"].to_list())


@pytest.fixture
def small_piles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "PILE", 6)
    monkeypatch.setattr(delta, "_CHECK_EVERY", 3)


@pytest.mark.usefixtures("small_piles")
def test_small_files_are_merged_as_they_pile_up(tmp_path: Path) -> None:
    tables = DeltaTables(str(tmp_path))
    for number in range(20):
        append(tables, f"{number:02}")
    assert len(table_of(tmp_path).file_uris()) <= 8
    assert ids(tables) == [f"{number:02}" for number in range(20)]
    assert not append(tables, "03")  # batches are remembered through a merge
    assert any(entry["operation"] == "OPTIMIZE" for entry in table_of(tmp_path).history())


@pytest.mark.usefixtures("small_piles")
def test_piles_are_of_one_partition(tmp_path: Path) -> None:
    tables = DeltaTables(str(tmp_path))
    for number in range(10):
        append(tables, f"{number}", dataset_type=f"type {number}")
    tables.tidy(KEY)
    assert len(table_of(tmp_path).file_uris()) == 10


@pytest.mark.usefixtures("small_piles")
@pytest.mark.parametrize("store", ["folder", pytest.param("s3", marks=pytest.mark.slow)])
def test_merging_beside_writers_and_other_mergers_loses_and_doubles_nothing(
    tmp_path: Path, store: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path)
    if store == "s3":
        for name, value in request.getfixturevalue("s3_environment").items():
            monkeypatch.setenv(name, value)
        root = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    workers = [DeltaTables(root) for _ in range(4)]

    def work(tables: DeltaTables, name: str) -> None:
        for number in range(15):
            append(tables, f"{name}{number:02}")

    threads = [threading.Thread(target=work, args=(tables, f"w{at}-")) for at, tables in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids(workers[0]) == [f"w{at}-{number:02}" for at in range(4) for number in range(15)]
    table = DeltaTable(f"{root}/tables/inputs/classification/model")
    assert len(table.file_uris()) < 60
    assert any(entry["operation"] == "OPTIMIZE" for entry in table.history())


def test_one_of_several_gets_the_lease_and_it_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(DeltaTables(str(tmp_path)), "a")
    first, second = table_of(tmp_path), table_of(tmp_path)
    assert merging._write_lease(first, 100)
    assert not merging._write_lease(second, 100)  # from the same state of the table
    assert not merging._write_lease(table_of(tmp_path), 100)
    now = merging.time.time()
    monkeypatch.setattr(merging.time, "time", lambda: now + 101)
    assert merging._write_lease(table_of(tmp_path), 100)
    assert ids(DeltaTables(str(tmp_path))) == ["a"]


@pytest.mark.usefixtures("small_piles")
def test_a_snapshot_outlives_a_merge(tmp_path: Path) -> None:
    tables = DeltaTables(str(tmp_path))
    for number in range(8):
        append(tables, str(number))
    before = tables.snapshot(KEY, SCHEMA).rows(RowFilter("v1"))
    for number in range(8, 20):
        append(tables, str(number))
    assert before.collect().height == 8


def test_tidying_what_is_not_there_does_nothing(tmp_path: Path) -> None:
    DeltaTables(str(tmp_path)).tidy(KEY)
    assert not DeltaTables(str(tmp_path)).remove(KEY, "v1", Batch("x"))
    assert tables_version(tmp_path) == -1


def tables_version(root: Path) -> int:
    return DeltaTables(str(root)).snapshot(KEY, SCHEMA).version


def test_versions_grow_with_every_change(tmp_path: Path) -> None:
    tables = DeltaTables(str(tmp_path))
    seen = [tables_version(tmp_path)]
    for name in "ab":
        append(tables, name)
        seen.append(tables_version(tmp_path))
    tables.remove(KEY, "v1", Batch("remove"))
    seen.append(tables_version(tmp_path))
    assert seen == sorted(set(seen))


def test_conflicts_are_tried_again_and_then_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "_LONGEST_PAUSE", 0.0)
    failures = iter([CommitFailedError("conflict")] * 3)

    def attempt() -> str:
        for failure in failures:
            raise failure
        return "done"

    assert delta._retry(attempt) == "done"

    def never() -> str:
        raise CommitFailedError("conflict")

    with pytest.raises(StoreError, match="gave up after 30 commit conflicts"):
        delta._retry(never)


def test_other_tools_read_the_tables(tmp_path: Path) -> None:
    tables = DeltaTables(str(tmp_path))
    append(tables, "a", dataset_type="x/y=%")
    frame = pl.scan_delta(str(tmp_path / "tables" / "inputs" / "classification" / "model")).collect()
    assert frame.select("input_id", "dataset_type").rows() == [("a", "x/y=%")]


def test_damaged_tables_are_a_store_error(tmp_path: Path) -> None:
    tables = DeltaTables(str(tmp_path))
    append(tables, "a")
    for path in tmp_path.rglob("*.json"):
        path.write_text("not a commit")
    with pytest.raises(StoreError, match="could not read inputs"):
        DeltaTables(str(tmp_path)).snapshot(KEY, SCHEMA)
