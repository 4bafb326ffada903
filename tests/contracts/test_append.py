"""Appends against every store: bindings, schema changes, and storing nothing twice."""

from __future__ import annotations

import re
from dataclasses import replace

import pyarrow as pa
import pytest

from ml_debugger.errors import ArchitectureMismatchError, InputError, StoreError
from ml_debugger.service.contract import AppendRequest, ModelSchema, RunKey
from ml_debugger.service.local import LocalService
from ml_debugger.store.tables import Batch, TableKey
from ml_debugger.types import Field
from tests.helpers.rows import RUN, SCHEMA, append, ids_of, make_tables, scan, with_fields


def test_a_repeated_batch_is_stored_once(service: LocalService) -> None:
    request = append(service, make_tables(["a"], n_units=2, labels=[0]))
    service.append(request)
    tables = service.workspace.tables
    for kind, n_rows in (("inputs", 1), ("records", 2), ("truths", 1)):
        assert scan(service, kind).num_rows == n_rows
        key = TableKey(kind, "classification", "model")
        assert not tables.append(key, request.tables[kind], Batch(request.batch_id))


def test_a_retry_completes_a_half_written_append(embedded: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    service = embedded
    tables = make_tables(["a", "b"], n_units=2, labels=[0, 1])
    request = AppendRequest("half", RUN, SCHEMA, tables)
    store = service.workspace.tables
    written: list[str] = []

    def fail_at_inputs(key: TableKey, rows: pa.Table, batch: Batch) -> bool:
        if key.kind == "inputs":
            raise StoreError("no space")
        written.append(key.kind)
        return type(store).append(store, key, rows, batch)

    with monkeypatch.context() as patch:
        patch.setattr(store, "append", fail_at_inputs)
        with pytest.raises(StoreError, match="no space"):
            service.append(request)
    assert written == ["records", "truths"]
    assert scan(service, "records").num_rows == 0
    service.append(request)
    assert scan(service, "records").num_rows == 4
    assert scan(service, "truths").num_rows == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture_hash": "other"}, "architecture 'arch'"),
        ({"task": "object_detection"}, "task 'classification'"),
        ({"n_features": 8}, "4 features"),
        ({"n_classes": 10}, "3 classes"),
    ],
)
def test_another_model_under_a_known_name_is_an_error(
    service: LocalService, change: dict[str, object], message: str
) -> None:
    append(service, make_tables(["a"]))
    with pytest.raises(ArchitectureMismatchError, match=message):
        append(service, {}, schema=replace(SCHEMA, **change))
    assert ids_of(scan(service)) == ["a"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (None, None, "architecture 'arch', got 'other';"),
        (None, "B (2)", "architecture 'arch', got 'other' = B (2);"),
        ("A (1)", None, "architecture 'arch' = A (1), got 'other';"),
        ("A (1)", "B (2)", "architecture A (1), got B (2);"),
        ("A (1)", "A (1)", "architecture 'arch', got 'other': each is A (1), but"),
    ],
)
def test_two_architectures_are_told_apart_in_words(
    service: LocalService, old: str | None, new: str | None, message: str
) -> None:
    append(service, {}, schema=SCHEMA)
    append(service, {}, schema=replace(SCHEMA, architecture=old))  # known before without words: they are added
    with pytest.raises(ArchitectureMismatchError, match=re.escape(message)):
        append(service, {}, schema=replace(SCHEMA, architecture_hash="other", architecture=new))


def test_recreate_may_change_the_architecture_of_the_only_version(service: LocalService) -> None:
    append(service, make_tables(["a"], labels=[0]))
    other = ModelSchema("classification", "other", 6, 3)
    append(service, make_tables(["b"], width=6), schema=other, recreate=True)
    assert ids_of(scan(service)) == ["b"]
    with pytest.raises(ArchitectureMismatchError, match="'other'"):
        append(service, {})


def test_recreate_with_another_architecture_spares_other_versions(service: LocalService) -> None:
    append(service, make_tables(["a"]))
    append(service, make_tables(["b"], version="v2"), RunKey("model", "v2"))
    with pytest.raises(ArchitectureMismatchError, match="'arch'"):
        append(service, {}, schema=replace(SCHEMA, architecture_hash="other"), recreate=True)
    assert ids_of(scan(service)) == ["a"]


def test_widths_that_were_not_known_are_bound_by_the_first_rows(service: LocalService) -> None:
    append(service, {}, schema=replace(SCHEMA, n_features=None, n_classes=None))
    append(service, make_tables(["a"]))
    append(service, {}, schema=replace(SCHEMA, n_features=None, n_classes=None))
    with pytest.raises(ArchitectureMismatchError, match="4 features"):
        append(service, {}, schema=replace(SCHEMA, n_features=5))


def test_rows_of_another_width_than_the_model_s_are_refused(service: LocalService) -> None:
    append(service, make_tables(["a"]))
    with pytest.raises(ArchitectureMismatchError, match="4 values in features"):
        append(service, make_tables(["b"], width=5))
    assert ids_of(scan(service)) == ["a"]


def test_columns_can_be_added_later(service: LocalService) -> None:
    append(service, make_tables(["a"]))
    schema = with_fields(("lux", "float"), ("site", "str"), label_fields=(Field("rater", "str"),))
    tables = make_tables(["b"], labels=[1], fields={"lux": [2.5], "site": ["Ulm"]})
    tables["truths"] = tables["truths"].append_column("rater", pa.array(["Eva"]))
    append(service, tables, schema=schema)
    append(service, make_tables(["c"], fields={"site": ["Bonn"]}), schema=with_fields(("site", "str")))
    found = scan(service, "records")
    assert found["lux"].to_pylist() == [None, 2.5, None]
    assert found["site"].to_pylist() == [None, "Ulm", "Bonn"]
    assert scan(service, "truths")["rater"].to_pylist() == ["Eva"]


def test_a_column_keeps_its_type(service: LocalService) -> None:
    append(service, make_tables(["a"], fields={"lux": [2.5]}), schema=with_fields(("lux", "float")))
    with pytest.raises(ArchitectureMismatchError, match="'lux' of type 'float', got type 'str'"):
        append(service, {}, schema=with_fields(("lux", "str")))
    with pytest.raises(InputError, match="type must be one of"):
        append(service, {}, schema=with_fields(("mood", "colour")))
    with pytest.raises(InputError, match="write 'lux' or choose another name"):
        append(service, {}, schema=with_fields(("LUX", "float")))


def test_recreate_removes_nothing_when_a_column_would_change_its_type(service: LocalService) -> None:
    append(service, make_tables(["a"], fields={"lux": [2.5]}), schema=with_fields(("lux", "float")))
    with pytest.raises(ArchitectureMismatchError, match="declare that type, or choose another name") as caught:
        append(service, {}, schema=with_fields(("lux", "int")), recreate=True)
    assert "force_table_recreate" not in str(caught.value), "that would not help"
    assert scan(service, "records")["lux"].to_pylist() == [2.5]


def _without(column: str) -> dict[str, pa.Table]:
    tables = make_tables(["b"])
    return {**tables, "records": tables["records"].drop_columns([column])}


def _with_null_label() -> dict[str, pa.Table]:
    tables = make_tables(["b"])
    records = tables["records"]
    at = records.column_names.index("label")
    return {**tables, "records": records.set_column(at, "label", pa.array([None], pa.int64()))}


def _with_text_label() -> dict[str, pa.Table]:
    tables = make_tables(["b"])
    records = tables["records"]
    at = records.column_names.index("label")
    return {**tables, "records": records.set_column(at, "label", pa.array(["cat"]))}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (_without("score"), r"missing, unknown or repeated \['score'\]"),
        (make_tables(["b"], fields={"undeclared": [1]}), "undeclared"),
        (_with_null_label(), "'label' has nulls"),
        (_with_text_label(), "types of the table"),
        (make_tables(["b"], version="v2"), "version_name 'v1'"),
        ({"nonsense": make_tables(["b"])["inputs"]}, "nonsense"),
    ],
)
def test_wrong_rows_are_refused_whole(service: LocalService, tables: dict[str, pa.Table], message: str) -> None:
    append(service, make_tables(["a"]))
    with pytest.raises(InputError, match=message):
        append(service, tables)
    assert ids_of(scan(service, "records")) == ["a"]
