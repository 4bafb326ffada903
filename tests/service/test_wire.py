"""The wire: what goes in comes out, what is odd is refused by name, and errors keep their class."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_debugger import errors
from ml_debugger.errors import (
    EvaluationWarning,
    InputError,
    MLDebuggerError,
    MLDebuggerWarning,
    NonFiniteWarning,
    ServiceConnectionError,
    StoreError,
    TooLargeError,
)
from ml_debugger.service import bodies, contract, wire
from ml_debugger.service.arrow_bounds import Allowance
from ml_debugger.service.bodies import EvaluationBody, QueryAnswerBody, QueryBody, parse_body
from ml_debugger.service.contract import (
    AppendRequest,
    EvaluationRequest,
    ModelSchema,
    QueryAnswer,
    QueryRequest,
    ResultPayload,
    ScanRequest,
)
from ml_debugger.service.error_bodies import ERRORS
from tests.helpers.rows import RUN, make_tables, with_fields

KINDS = [getattr(errors, name) for name in errors.__all__]
OUR_ERRORS = [kind for kind in KINDS if issubclass(kind, MLDebuggerError)]
OUR_WARNINGS = [kind for kind in KINDS if issubclass(kind, MLDebuggerWarning)]


@pytest.mark.parametrize(
    ("body", "value", "beside"),
    [
        (bodies.RunBody, contract.RunKey, set()),
        (bodies.SchemaBody, contract.ModelSchema, set()),
        (bodies.AppendHeader, contract.AppendRequest, {"tables"}),
        (bodies.ScanBody, contract.ScanRequest, {"recording_ids"}),
        (bodies.EvaluationBody, contract.EvaluationRequest, set()),
        (bodies.QueryBody, contract.QueryRequest, set()),
        (bodies.QueryAnswerBody, contract.QueryAnswer, set()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bodies_have_the_fields_and_defaults_of_the_contract(body: Any, value: Any, beside: set[str]) -> None:
    there = {field.name: field for field in dataclasses.fields(value)}
    here = {(found.alias or name): found for name, found in body.model_fields.items()}
    assert set(there) - beside == set(here) - {"request_id", "warnings"}
    for name in set(there) & set(here):
        default = there[name].default
        assert here[name].is_required() == (default is dataclasses.MISSING), name
        if default is not dataclasses.MISSING:
            assert here[name].default == default, name


REQUESTS = [
    AppendRequest("batch", RUN, with_fields(("lux", "float")), make_tables(["a", "é"], n_units=2, labels=[0, 1])),
    AppendRequest("batch", RUN, ModelSchema("t", "h", label_fields=(), architecture="A (1)"), {}, recreate=True),
    AppendRequest("batch", RUN, ModelSchema("t", "h", settings={"range": [0, -1.5], "on": True, "name": "é"}), {}),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_appends_come_out_as_they_went_in(request_: AppendRequest) -> None:
    assert wire.decode_append(wire.encode_append(request_)) == request_


@pytest.mark.parametrize(
    "request_",
    [
        ScanRequest(RUN, "inputs"),
        ScanRequest(RUN, "records", ("a",), ("train", "é"), None, "w", "p", None, pa.array([1, 2**62]), False, True),
        ScanRequest(
            RUN, "scores", (), (), 3, result_name="r", pool_adaptive=True, recording_ids=pa.array([], pa.int64())
        ),
    ],
)
def test_scans_come_out_as_they_went_in(request_: ScanRequest) -> None:
    assert wire.decode_scan(wire.encode_scan(request_)) == request_


def test_evaluations_and_queries_come_out_as_they_went_in() -> None:
    evaluation = EvaluationRequest(RUN, "m", "r", None, {"a": [1, 0.1], "b": {"c": "d"}})
    sent = json.dumps(wire.encode_evaluation(evaluation, "id"))
    assert wire.decode_evaluation(parse_body(EvaluationBody, sent)) == evaluation
    for strategy in ("high_error_proba", {"target_zones": ["hotspot"]}):
        query = QueryRequest(RUN, "r", 5, strategy, {"method": "random"}, exclude=("a", ""), box_budget=3)
        assert wire.decode_query(parse_body(QueryBody, json.dumps(wire.encode_query(query)))) == query


def test_answers_keep_every_bit_of_their_numbers() -> None:
    answer = QueryAnswer(("a", "b"), ("str", "int"), (0.1 + 0.2, None), "fewer", ("note",))  # type: ignore[arg-type]
    sent = json.dumps(wire.encode_answer(answer, [EvaluationWarning("look")]))
    body = parse_body(QueryAnswerBody, sent)
    assert wire.decode_answer(body) == answer
    assert [(item.category, item.message) for item in body.warnings] == [("EvaluationWarning", "look")]


def test_results_come_out_as_they_went_in() -> None:
    table = pa.table({"a": pa.array([1.5, None]), "b": pa.array([["x"], None], pa.list_(pa.string()))})
    payload = ResultPayload({"result_name": "é"}, {"auroc": 0.1}, table, table, table.slice(0, 0), table)
    assert wire.decode_result(wire.encode_result(payload)) == payload
    listing = table.slice(0, 0)
    assert wire.decode_results(wire.encode_results(listing)).equals(listing)


@pytest.mark.parametrize("epoch", ["latest", "all", None, 0, 7, -1])
def test_epochs_as_parameters(epoch: Any) -> None:
    assert wire.decode_epoch(wire.encode_epoch(epoch)) == epoch


@pytest.mark.parametrize("text", ["", "newest", "1.5", "--1", "None", "٣", "9" * 30])
def test_parameters_that_are_no_epoch_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="n_epoch: expected"):
        wire.decode_epoch(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": 1}, "z: Extra inputs"),
        ({"run": {"model_name": "m", "version_name": "v", "extra": 1}}, r"run\.extra: Extra inputs"),
        ({"n_data": "5"}, "n_data: Input should be a valid integer"),
        ({"n_data": True}, "n_data"),
        ({"n_epoch": "newest"}, "n_epoch"),
        ({"n_epoch": 0.5}, "n_epoch"),
        ({"result_name": None}, "result_name"),
        ({"result_name": "x" * 2000}, "result_name: String should have at most 1024"),
        ({"exclude": "abc"}, "exclude"),
    ],
)
def test_bodies_that_cannot_be_right_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    body = {**wire.encode_query(QueryRequest(RUN, "r", 5, "s")), **change}
    with pytest.raises(InputError, match=message):
        parse_body(QueryBody, json.dumps(body))


def test_what_came_is_not_repeated_in_messages() -> None:
    with pytest.raises(InputError) as caught:
        parse_body(QueryBody, json.dumps({"secret_of_somebody": 1, "n_data": "mldbg_secret"}))
    assert "mldbg_secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"run": NaN}', "[" * 100_000])
def test_bodies_that_are_no_json_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="body: "):
        parse_body(QueryBody, text)


def framed(head: Any, *parts: bytes) -> bytes:
    header = head if isinstance(head, bytes) else json.dumps(head).encode()
    return b"MLD1" + struct.pack("<I", len(header)) + header + b"".join(parts)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MLD1",
        b"MLD2" + framed({"header": {}, "parts": []})[4:],
        b"MLD1\xff\xff\xff\xff{}",
        framed(b"{"),
        framed(b"\xff\xfe"),
        framed(b"[" * 100_000),
        framed([]),
        framed({"header": {}}),
        framed({"header": [], "parts": []}),
        framed({"header": {}, "parts": [], "more": 1}),
        framed({"header": {}, "parts": [["a"]]}),
        framed({"header": {}, "parts": [["a", -1]]}),
        framed({"header": {}, "parts": [["a", 1.5]]}, b"x"),
        framed({"header": {}, "parts": [["a", True]]}, b"x"),
        framed({"header": {}, "parts": [[1, 1]]}, b"x"),
        framed({"header": {}, "parts": [["a", 2]]}, b"x"),
        framed({"header": {}, "parts": [["a", 10**30]]}, b"x"),
        framed({"header": {}, "parts": [["a", 1]]}, b"xy"),
        framed({"header": {}, "parts": [["a", 1], ["a", 1]]}, b"xy"),
    ],
)
def test_frames_that_do_not_fit_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="body: "):
        wire.unpack(content)


@given(st.dictionaries(st.text(max_size=5), st.binary(max_size=50), max_size=5), st.text(max_size=20))
def test_frames_come_out_as_they_went_in(parts: dict[str, bytes], text: str) -> None:
    header, found = wire.unpack(wire.pack({"text": text}, parts))
    assert header == {"text": text}
    assert {name: bytes(part) for name, part in found.items()} == parts


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("other", pa.table({"recording_ids": [1]}), "no parts"),
        ("recording_ids", pa.table({"ids": [1]}), "one column of int64"),
        ("recording_ids", pa.table({"recording_ids": ["1"]}), "one column of int64"),
        ("recording_ids", pa.table({"recording_ids": [1, None]}), "without nulls"),
    ],
)
def test_recordings_that_are_none_are_refused(name: str, table: pa.Table, message: str) -> None:
    header, _ = wire.unpack(wire.encode_scan(ScanRequest(RUN, "inputs")))
    with pytest.raises(InputError, match=message):
        wire.decode_scan(wire.pack(header, {name: wire.encode_table(table)}))


def test_an_allowance_is_for_all_tables_of_a_request_together() -> None:
    content = wire.encode_append(REQUESTS[0])
    rows = sum(table.num_rows for table in REQUESTS[0].tables.values())
    assert wire.decode_append(content, Allowance(10**6, rows)) == REQUESTS[0]
    with pytest.raises(TooLargeError, match="lower MLD_BUFFER_MB"):
        wire.decode_append(content, Allowance(10**6, rows - 1))
    with pytest.raises(TooLargeError):
        wire.decode_append(content, Allowance(100, rows))


RECORDS = make_tables(["a", "b", "c"])["records"]


def batches() -> list[pa.RecordBatch]:
    return RECORDS.to_batches(max_chunksize=1)


def test_rows_come_out_as_they_went_in_however_they_are_cut() -> None:
    told: list[MLDebuggerWarning] = []
    content = b"".join(wire.encode_rows(batches(), [NonFiniteWarning("NaN")]))
    for size in (1, 7, 100, len(content)):
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        told.clear()
        assert list(wire.decode_rows(pieces, told)) == batches()
        assert [(type(item), str(item)) for item in told] == [(NonFiniteWarning, "NaN")]


def test_no_rows_are_no_rows() -> None:
    assert list(wire.decode_rows(wire.encode_rows([]))) == []


def test_rows_that_were_cut_are_an_error_wherever_the_cut_is() -> None:
    content = b"".join(wire.encode_rows(batches()))
    for end in range(0, len(content) - 9, 41):  # the last 8 bytes only say that nothing follows
        with pytest.raises(ServiceConnectionError, match="was cut"):
            list(wire.decode_rows([content[:end]]))


def test_an_error_after_the_first_rows_arrives_with_its_class() -> None:
    def rows() -> Iterator[pa.RecordBatch]:
        yield from batches()
        raise StoreError("the disk went away")

    pieces: list[bytes] = []
    stream = wire.encode_rows(rows())
    with pytest.raises(StoreError):
        pieces.extend(iter(lambda: next(stream), None))
    found: list[pa.RecordBatch] = []
    with pytest.raises(StoreError, match="the disk went away"):
        found.extend(wire.decode_rows(pieces))
    assert found == batches()


def test_rows_that_got_lost_in_the_middle_are_an_error() -> None:
    content = list(wire.encode_rows(batches()))
    with pytest.raises(ServiceConnectionError, match="got 2 of 3 rows"):
        list(wire.decode_rows([content[0], *content[2:]]))


def plain_stream(batch: pa.RecordBatch, end: bytes) -> bytes:
    """Rows as a server that is none of ours may send them: not compressed."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch.slice(0, 0), custom_metadata={b"mldebugger.end": end})
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "end",
    [b"[1]", b"{}", b"no JSON", b"\xff", b'{"rows": "1"}', b'{"rows": 1, "warnings": [{}]}', b'{"rows": 1, "x": 2}'],
)
def test_rows_that_end_oddly_are_an_error_of_ours(end: bytes) -> None:
    with pytest.raises(ServiceConnectionError, match="end as none of MLdebugger do"):
        list(wire.decode_rows([plain_stream(pa.record_batch({"a": [1]}), end)], []))


def test_rows_that_point_outside_of_themselves_are_an_error_of_ours() -> None:
    content = plain_stream(pa.record_batch({"a": ["abc", "defg"]}), b'{"rows": 2}')
    offsets, wrong = struct.pack("<3i", 0, 3, 7), struct.pack("<3i", 0, 3, 2**20)
    assert offsets in content
    assert [batch.num_rows for batch in wire.decode_rows([content])] == [2]
    with pytest.raises(ServiceConnectionError, match="was cut after 0 rows"):
        list(wire.decode_rows([content.replace(offsets, wrong, 1)]))


@pytest.mark.parametrize("kind", OUR_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_arrives_with_its_class_and_message(kind: type[MLDebuggerError]) -> None:
    found = wire.decode_error(json.loads(json.dumps(wire.encode_error(kind("what: é")))))
    assert type(found) is kind
    assert str(found) == "what: é"


def test_every_error_is_in_the_table() -> None:
    assert set(ERRORS.values()) == set(OUR_ERRORS)


@pytest.mark.parametrize("kind", OUR_WARNINGS, ids=lambda kind: kind.__name__)
def test_every_warning_arrives_with_its_class(kind: type[MLDebuggerWarning]) -> None:
    (found,) = wire.decode_warnings(wire.encode_warnings([kind("look")]))
    assert (type(found), str(found)) == (kind, "look")


@pytest.mark.parametrize(
    "body", [None, [], "text", {}, {"error": None}, {"error": {"code": "x"}}, {"error": {"code": 1, "message": 2}}]
)
def test_errors_of_others_are_no_errors_of_ours(body: Any) -> None:
    assert type(wire.decode_error(body)) is ServiceConnectionError


def test_errors_and_warnings_of_later_versions_have_the_base_class() -> None:
    assert type(wire.decode_error({"error": {"code": "new", "message": "m"}})) is MLDebuggerError
    assert type(wire.decode_warnings([{"category": "New", "message": "m"}])[0]) is MLDebuggerWarning
