"""Copies of runs and results: whole, repeated without harm, going on after a break, and verified."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from ml_debugger import columns
from ml_debugger.connect import Connection, connect, place_of
from ml_debugger.errors import (
    ArchitectureMismatchError,
    InputError,
    NotFoundError,
    ServiceConnectionError,
    StoreError,
    TooLargeError,
)
from ml_debugger.service import copying, wire
from ml_debugger.service.arrow_bounds import Allowance
from ml_debugger.service.checksums import COPIED_KINDS, read_kind, result_checksum, rows_checksum
from ml_debugger.service.contract import EvaluationRequest, RunKey, ScanRequest
from ml_debugger.service.copies import (
    CopiedResult,
    LocalCopies,
    decode_checksums_request,
    decode_copied_result,
    encode_models,
)
from ml_debugger.service.copying import Place, copy_result, copy_run
from ml_debugger.service.local import LocalService
from tests.helpers.labelled import LABELLED_SCHEMA, labelled_tables
from tests.helpers.rows import RUN, SCHEMA, append, make_tables, scan, with_fields
from tests.helpers.server import RunningServer

pytestmark = pytest.mark.filterwarnings("ignore::ml_debugger.errors.EvaluationWarning")


def memory() -> Place:
    return place_of(Connection("memory", LocalService.open("memory://")))


@pytest.fixture
def source() -> Place:
    return memory()


@pytest.fixture(params=["embedded", "server"])
def target(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "embedded":
        yield memory()
        return
    request.getfixturevalue("served")
    place = place_of(connect())
    yield place
    place.service.close()


@pytest.fixture(autouse=True)
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_UNITS", 7)


def fill(place: Place) -> None:
    """Rows of every kind, some of them stale, with additional columns, epochs, and an input without units."""
    schema = with_fields(("lux", "float"), ("site", "str"))
    for epoch in (None, 1):
        tables = make_tables(
            [1, "b é", "c"], n_units=2, n_epoch=epoch, labels=[0, 1, 2], fields={"lux": [0.5] * 3, "site": ["x"] * 3}
        )
        append(place.service, tables, schema=schema)
    append(place.service, make_tables(["c", "d"], n_units=3, weights=None, labels=[1, 1]))
    append(place.service, make_tables(["empty"], n_units=0, dataset_type="pool"))
    append(place.service, make_tables(["other"], version="v2"), RunKey("model", "v2"))


def whole(place: Place, run: RunKey = RUN) -> dict[str, list[dict[str, object]]]:
    """Everything of a run, in an order of its own."""
    found = {}
    for kind in COPIED_KINDS:
        rows = scan(place.service, kind, run, every_recording=True).to_pylist()
        found[kind] = sorted(rows, key=lambda row: (row["recording_id"], row.get("unit") or 0))
    return found


def test_a_copy_is_the_same_to_the_last_value(source: Place, target: Place) -> None:
    fill(source)
    done = copy_run(source, target, RUN)
    assert done.rows == {"inputs": 9, "records": 18, "truths": 8}
    assert whole(target) == whole(source)
    assert [batch.num_rows for batch in target.service.scan(ScanRequest(RUN, "inputs"))] != []
    assert target.copies.models("model")[0].versions == ("v1",)
    assert target.copies.models("model")[0].schema == source.copies.models("model")[0].schema


def test_settings_go_with_the_version_that_has_them(source: Place, target: Place) -> None:
    given = replace(SCHEMA, settings={"pc_range": (0, -40.0, -3, 70.4, 40, 1)})
    append(source.service, make_tables(["a"]), schema=given)
    append(source.service, make_tables(["a"], version="v2"), RunKey("model", "v2"))
    for version in ("v1", "v2"):
        copy_run(source, target, RunKey("model", version))
    (model,) = target.copies.models("model")
    assert model.settings.keys() == {"v1"}
    assert list(model.settings["v1"]["pc_range"]) == [0, -40.0, -3, 70.4, 40, 1]


def test_a_second_copy_sends_nothing(source: Place, target: Place) -> None:
    fill(source)
    copy_run(source, target, RUN)
    again = copy_run(source, target, RUN)
    assert again.rows == {"inputs": 0, "records": 0, "truths": 0}
    assert again.n_inputs_there == 9
    assert whole(target) == whole(source)


def test_what_was_added_since_is_sent_alone(source: Place, target: Place) -> None:
    fill(source)
    copy_run(source, target, RUN)
    append(source.service, make_tables(["new", "newer"], recording_ids=[5, 2**60], labels=[0, 1]))
    assert copy_run(source, target, RUN).rows == {"inputs": 2, "records": 2, "truths": 2}
    assert whole(target) == whole(source)


def test_a_copy_that_broke_off_goes_on(source: Place, target: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(source)
    real, sent = type(target.service).append, []

    def breaks_off(service: object, request: object) -> None:
        if len(sent) == 3:
            raise ServiceConnectionError("the plug was pulled")
        sent.append(request)
        real(service, request)

    with monkeypatch.context() as patch:
        patch.setattr(type(target.service), "append", breaks_off)
        with pytest.raises(ServiceConnectionError):
            copy_run(source, target, RUN)
    there = len(whole(target)["inputs"])
    assert 0 < there < 9
    done = copy_run(source, target, RUN)
    assert done.rows["inputs"] == 9 - there
    assert whole(target) == whole(source)


def test_rows_that_were_removed_since_are_sent_again(source: Place, target: Place) -> None:
    fill(source)
    copy_run(source, target, RUN)
    for _ in range(2):
        append(target.service, {}, schema=source.copies.models("model")[0].schema, recreate=True)
        assert whole(target)["inputs"] == []
        assert copy_run(source, target, RUN).rows["inputs"] >= 9
        assert whole(target) == whole(source)


def test_a_half_written_portion_is_completed_and_not_doubled(source: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(source)
    target = memory()
    tables = target.service.workspace.tables
    real = type(tables).append

    def fails_at_inputs(key: object, rows: object, batch: object) -> bool:
        if key.kind == columns.INPUTS:
            raise StoreError("no space")
        return real(tables, key, rows, batch)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "append", fails_at_inputs)
        with pytest.raises(StoreError, match="no space"):
            copy_run(source, target, RUN)
    copy_run(source, target, RUN)
    assert whole(target) == whole(source)


@pytest.mark.parametrize("written", [columns.RECORDS, columns.TRUTHS])
def test_a_half_written_portion_is_completed_though_the_source_has_grown(
    source: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """What is sent then is another batch than the one that was cut short."""
    append(source.service, make_tables(["a", "b"], n_units=2, recording_ids=[10, 30], labels=[0, 1]))
    target = place_of(connect("", home=tmp_path / "target"))
    tables = target.service.workspace.tables
    real = type(tables).append

    def is_killed(self: object, key: object, rows: object, batch: object) -> bool:
        found = real(self, key, rows, batch)
        if key.kind == written:
            raise StoreError("killed")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(type(tables), "append", is_killed)
        with pytest.raises(StoreError, match="killed"):
            copy_run(source, target, RUN)
    append(source.service, make_tables(["c", "d"], n_units=2, recording_ids=[20, 40], labels=[0, 1]))
    copy_run(source, target, RUN)
    assert whole(target) == whole(source)


def test_rows_that_differ_at_the_target_are_an_error(source: Place, target: Place) -> None:
    append(source.service, make_tables(["a"], recording_ids=[1], labels=[0]))
    append(target.service, make_tables(["a"], recording_ids=[1], labels=[2]))
    with pytest.raises(StoreError, match="are not the same at both places"):
        copy_run(source, target, RUN)


def test_another_model_under_the_name_is_refused_before_any_row(source: Place, target: Place) -> None:
    fill(source)
    append(target.service, {}, schema=replace(SCHEMA, architecture_hash="other"))
    with pytest.raises(ArchitectureMismatchError):
        copy_run(source, target, RUN)
    assert scan(target.service).num_rows == 0


def test_a_run_without_rows_is_copied_as_such(source: Place, target: Place) -> None:
    append(source.service, {})
    seen: list[tuple[str, float]] = []
    done = copy_run(source, target, RUN, lambda stage, fraction: seen.append((stage, fraction)))
    assert (done.rows, done.n_inputs_there) == ({"inputs": 0, "records": 0, "truths": 0}, 0)
    assert target.copies.models()[0].versions == ("v1",)
    assert seen == [("rows", 1.0)]


def test_a_progress_is_told(source: Place) -> None:
    fill(source)
    seen: list[float] = []
    copy_run(source, memory(), RUN, lambda _, fraction: seen.append(fraction))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)
    assert len(seen) > 3


def test_what_is_not_there_is_told(source: Place, target: Place) -> None:
    with pytest.raises(NotFoundError, match=r"'model'; known models: \[\]"):
        copy_run(target, source, RUN)
    append(target.service, {})
    with pytest.raises(NotFoundError, match=r"'v9'.*known versions: \['v1'\]"):
        copy_run(target, source, RunKey("model", "v9"))
    with pytest.raises(NotFoundError, match="nonsense"):
        copy_result(target, source, "nonsense")
    assert target.copies.models("nonsense") == []


def test_a_large_input_is_a_portion_of_its_own(source: Place) -> None:
    append(source.service, make_tables(["large"], n_units=50, labels=[0]))
    append(source.service, make_tables(["a", "b"], labels=[0, 1]))
    target = memory()
    copy_run(source, target, RUN)
    assert whole(target) == whole(source)


@pytest.fixture
def evaluated(source: Place) -> tuple[Place, str]:
    for seed, tag in enumerate(("train", "val", "pool")):
        append(source.service, labelled_tables(60, tag, seed=seed, labels=tag != "pool"), schema=LABELLED_SCHEMA)
    payload = source.service.evaluate(EvaluationRequest(RUN, result_name="mine é", options={"bootstrap": 20}))
    return source, payload.info["result_name"]


def test_results_are_copied_with_their_times_and_their_error_model(
    evaluated: tuple[Place, str], target: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_UNITS", 1000)
    source, name = evaluated
    copy_run(source, target, RUN)
    for _ in range(2):  # again does no harm
        copy_result(source, target, name)
    assert target.copies.result(name).checksum == source.copies.result(name).checksum
    listed = target.service.list_results(RUN, None, None, "all")
    assert listed.equals(source.service.list_results(RUN, None, None, "all"))
    narrowed = {"result_name": name, "dataset_types": ("pool",)}
    made, copied = (scan(place.service, "scores", **narrowed) for place in (source, target))
    assert made.num_rows == 60
    assert copied.equals(made), "scores are made anew, to the bit"


def test_a_name_that_another_result_has_is_refused(evaluated: tuple[Place, str]) -> None:
    source, name = evaluated
    target = memory()
    copied = source.copies.result(name)
    other = replace(copied.payload, metrics={**copied.payload.metrics, "auroc": 0.123})
    target.copies.put_result(CopiedResult(other, copied.error_model))
    with pytest.raises(InputError, match="another result has the name"):
        copy_result(source, target, name)


def test_a_result_whose_copy_was_cut_short_is_completed(
    evaluated: tuple[Place, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, name = evaluated
    target = memory()
    metadata = type(target.service.workspace.metadata)

    def fails(*_: object) -> None:
        raise StoreError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(metadata, "complete_result", fails)
        patch.setattr(metadata, "release_result", lambda *_: None)  # killed before it could
        with pytest.raises(StoreError, match="gone"):
            copy_result(source, target, name)
    assert target.service.list_results(RUN, None, None, "all").num_rows == 0
    copy_result(source, target, name)
    assert target.copies.result(name).checksum == source.copies.result(name).checksum


def test_a_result_that_arrives_differently_is_an_error(
    evaluated: tuple[Place, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, name = evaluated
    target = memory()
    real = LocalCopies.put_result

    def tampers(copies: LocalCopies, copied: CopiedResult) -> None:
        zones = copied.payload.zones.slice(1)
        real(copies, CopiedResult(replace(copied.payload, zones=zones), copied.error_model))

    monkeypatch.setattr(LocalCopies, "put_result", tampers)
    with pytest.raises(StoreError, match="arrived differently"):
        copy_result(source, target, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"result_name": None}, "names as text"),
        ({"result_name": "two\nlines"}, "result_name: expected a non-empty printable"),
        ({"created_at": "yesterday"}, "cannot be listed"),
        ({"created_at": "2026-01-01T00:00:00"}, "with their zone"),
        ({"created_at": "0001-01-01T00:00:00+23:00"}, "cannot be listed"),
        ({"n_samples": "many"}, "cannot be listed"),
        ({"n_epoch": 2**70}, "cannot be listed"),
        ({"method_name": None}, "names as text"),
        ({"model_name": 5}, "names as text"),
        ({"options": 3}, "cannot be listed"),
        ({"error_rate": float("nan")}, "cannot be listed"),
    ],
)
def test_results_that_could_not_be_listed_are_refused(
    evaluated: tuple[Place, str], change: dict[str, object], message: str
) -> None:
    source, name = evaluated
    copied = source.copies.result(name)
    payload = replace(copied.payload, info={**copied.payload.info, **change})
    target = memory()
    with pytest.raises(InputError, match=message):
        target.copies.put_result(CopiedResult(payload, copied.error_model))
    with pytest.raises(InputError, match="error_model: "):
        target.copies.put_result(CopiedResult(copied.payload, b"nonsense"))
    assert target.service.list_results(RUN, None, None, "all").num_rows == 0


def test_checksums_see_every_value_and_nothing_else(source: Place) -> None:
    fill(source)
    ids = scan(source.service, "inputs", every_recording=True)["recording_id"].combine_chunks()
    table = read_kind(source.service, RUN, "records", ids)
    names = tuple(table.column_names)
    expected = rows_checksum(table, names)
    assert rows_checksum(pa.concat_tables([table.slice(0, 5), table.slice(5)]), names) == expected
    assert rows_checksum(table.combine_chunks(), names) == expected
    assert rows_checksum(table.slice(1), names) != expected
    assert rows_checksum(table.slice(0, 0), names) == rows_checksum(table.slice(0, 0), names[:2])
    for name in names:
        at, column = names.index(name), table[name]
        swapped = pa.concat_arrays(
            [column.slice(column.length() - 1).combine_chunks(), column.slice(1).combine_chunks()]
        )
        changed = table.set_column(at, table.schema.field(name), swapped)
        assert (rows_checksum(changed, names) == expected) == changed.equals(table), name


def test_a_null_is_no_value_and_what_lies_behind_it_does_not_count() -> None:
    def checksum(values: pa.Array) -> str:
        return rows_checksum(pa.table({"a": values}), ("a",))[1]

    hidden = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(bytes([1] * 16))])
    plain = pa.array([hidden[0].as_py(), None], pa.int64())
    assert checksum(hidden) == checksum(plain)
    assert checksum(pa.array([0, None], pa.int64())) != checksum(pa.array([0, 0], pa.int64()))
    assert checksum(pa.array([["a"], []], pa.list_(pa.string()))) != checksum(
        pa.array([[], ["a"]], pa.list_(pa.string()))
    )
    assert checksum(pa.array([0, None], pa.int64())) != checksum(pa.array([None, 0], pa.int64()))
    assert checksum(pa.array(["ab", "c"])) != checksum(pa.array(["a", "bc"]))
    assert checksum(pa.array([None, True])) != checksum(pa.array([None, False]))
    assert checksum(pa.nulls(2)) != checksum(pa.nulls(3))


def test_checksums_of_results_see_every_part(evaluated: tuple[Place, str]) -> None:
    source, name = evaluated
    copied = source.copies.result(name)
    payload = copied.payload
    others = [
        replace(payload, info={**payload.info, "notes": []}),
        replace(payload, metrics={}),
        *(
            replace(payload, **{table: getattr(payload, table).slice(1)})
            for table in ("samples", "zones", "error_codes")
        ),
    ]
    sums = {result_checksum(one, copied.error_model) for one in (payload, *others)}
    assert len(sums) == 6
    assert result_checksum(payload, copied.error_model + b"x") not in sums


def test_what_is_no_place_is_refused(tmp_path: Path, served: RunningServer) -> None:
    with pytest.raises(TypeError, match="expected a service over a workspace or a server"):
        place_of(Connection("nowhere", object()))  # type: ignore[arg-type]
    assert served.endpoint in connect().location


def test_bodies_of_copies_come_out_as_they_went_in_and_odd_ones_are_refused(evaluated: tuple[Place, str]) -> None:
    copied = evaluated[0].copies.result(evaluated[1])
    header, parts = wire.result_parts(copied.payload)
    whole_body = wire.pack(header, {**parts, "error_model": copied.error_model})
    assert decode_copied_result(whole_body).checksum == copied.checksum
    with pytest.raises(TooLargeError):
        decode_copied_result(whole_body, Allowance(1000, 10**6))
    with pytest.raises(InputError, match="expected a part error_model"):
        decode_copied_result(wire.pack(header, parts))
    with pytest.raises(InputError, match="expected a result with info, metrics"):
        decode_copied_result(wire.pack({"info": {}}, {**parts, "error_model": b""}))
    with pytest.raises(InputError, match="to be objects"):
        decode_copied_result(wire.pack({"info": [], "metrics": {}}, {**parts, "error_model": b""}))
    ids = {"recording_ids": wire.encode_table(pa.table({"recording_ids": [1, 2]}))}
    asked = {"run": {"model_name": "m", "version_name": "v"}, "columns": {"inputs": ["input_id"]}}
    request = decode_checksums_request(wire.pack(asked, ids))
    assert (request.run, request.columns) == (RunKey("m", "v"), {"inputs": ("input_id",)})
    assert request.recording_ids.to_pylist() == [1, 2]
    with pytest.raises(InputError, match="expected one part"):
        decode_checksums_request(wire.pack(asked, {}))
    with pytest.raises(InputError, match="columns: Field required"):
        decode_checksums_request(wire.pack({"run": asked["run"]}, ids))
    (model,) = encode_models(evaluated[0].copies.models())["models"]
    assert (model["model_name"], model["versions"], model["schema"]["task"]) == ("model", ("v1",), "classification")
