"""Append and scan over HTTP: idempotent, bounded, and precise about what is wrong."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pyarrow as pa
import pytest

from ml_debugger.service.contract import AppendRequest, ScanRequest
from ml_debugger.service.wire import decode_rows, encode_append, encode_scan, pack
from tests.helpers.rows import RUN, SCHEMA, make_tables
from tests.helpers.server import RunningServer, running_server
from tests.server.conftest import client_of


def append(client: httpx.Client, ids: list[str], batch_id: str = "batch") -> httpx.Response:
    request = AppendRequest(batch_id, RUN, SCHEMA, make_tables(ids, n_units=2, labels=[0] * len(ids)))
    return client.post("/v1/append", content=encode_append(request))


def scan(client: httpx.Client, kind: str = "inputs") -> pa.Table:
    answer = client.post("/v1/scan", content=encode_scan(ScanRequest(RUN, kind)))
    assert answer.status_code == 200, answer.text
    return pa.Table.from_batches(decode_rows([answer.content]))


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    found = answer.json()
    assert set(found) == {"error"}
    assert set(found["error"]) == {"code", "message"}
    return answer.status_code, found["error"]["code"], found["error"]["message"]


def test_rows_come_back_as_they_were_sent(client: httpx.Client) -> None:
    answer = append(client, ["a", "b"])
    assert answer.json() == {"batch_id": "batch", "rows": {"inputs": 2, "records": 4, "truths": 2}}
    assert sorted(scan(client)["input_id"].to_pylist()) == ["a", "b"]
    assert scan(client, "records").num_rows == 4


def test_a_batch_that_comes_twice_is_stored_once(client: httpx.Client) -> None:
    request = encode_append(AppendRequest("twice", RUN, SCHEMA, make_tables(["a"])))
    assert [client.post("/v1/append", content=request).status_code for _ in range(3)] == [200] * 3
    assert scan(client, "records").num_rows == 1


def test_nothing_to_store_is_fine(client: httpx.Client) -> None:
    answer = client.post("/v1/append", content=encode_append(AppendRequest("none", RUN, SCHEMA)))
    assert (answer.status_code, answer.json()["rows"]) == (200, {})
    answer = client.post("/v1/scan", content=encode_scan(ScanRequest(RUN, "inputs")))
    assert list(decode_rows([answer.content])) == []


def test_what_cannot_be_right_is_named(client: httpx.Client) -> None:
    append(client, ["a"])
    unknown = client.post("/v1/scan", content=encode_scan(ScanRequest(RUN, "pictures")))
    assert error_of(unknown)[:2] == (422, "invalid_input")
    assert "kind: expected one of" in error_of(unknown)[2]
    column = client.post("/v1/scan", content=encode_scan(ScanRequest(RUN, "inputs", columns=("nothing",))))
    assert error_of(column)[:2] == (404, "not_found")
    other = AppendRequest("other", RUN, SCHEMA.__class__("classification", "another", 4, 3))
    assert error_of(client.post("/v1/append", content=encode_append(other)))[:2] == (409, "architecture_mismatch")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MLD1",
        b"{}",
        b"MLD1\xff\xff\xff\xff",
        pack({"batch_id": "x"}, {}),
        pack({"batch_id": "x", "run": {}, "schema": {}, "more": 1}, {}),
        pack(
            {"batch_id": "x\0", "run": {"model_name": "m", "version_name": "v"}, "schema": {}},
            {},
        ),
        pack({"a": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}, {}),
    ],
)
def test_a_body_that_is_none_is_refused(client: httpx.Client, content: bytes) -> None:
    for path in ("/v1/append", "/v1/scan"):
        status, code, message = error_of(client.post(path, content=content))
        assert (status, code) == (422, "invalid_input")
        assert message.startswith("body")


def test_a_table_that_no_store_knows_is_refused(client: httpx.Client) -> None:
    tables = make_tables(["a"])
    request = AppendRequest("x", RUN, SCHEMA, {"../inputs": tables["inputs"]})
    assert error_of(client.post("/v1/append", content=encode_append(request)))[:2] == (422, "invalid_input")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    limits = {"MLD_MAX_BODY_MB": "1", "MLD_MAX_ROWS": "1000", "MLD_MAX_DECODED_MB": "2", "MLD_PENDING_MB": "1"}
    with running_server(tmp_path_factory.mktemp("small"), environment=limits) as server:
        yield server


def test_a_long_body_is_refused_before_it_is_read(small: RunningServer) -> None:
    with client_of(small, small.first_key) as client:
        answer = client.post("/v1/append", content=b"x" * (2**20 + 1))
        assert error_of(answer)[:2] == (413, "too_large")
        assert "more than 1 MB" in error_of(answer)[2]


def test_nor_is_one_that_does_not_say_how_long_it_is(small: RunningServer) -> None:
    with client_of(small, small.first_key) as client:
        pieces = (b"x" * 65_536 for _ in range(64))
        assert error_of(client.post("/v1/append", content=pieces))[:2] == (413, "too_large")
        few = (piece for piece in (encode_append(AppendRequest("few", RUN, SCHEMA)),))
        assert client.post("/v1/append", content=few).status_code == 200


def test_many_rows_are_refused(small: RunningServer) -> None:
    tables = {"inputs": make_tables([str(number) for number in range(1001)])["inputs"]}
    with client_of(small, small.first_key) as client:
        answer = client.post("/v1/append", content=encode_append(AppendRequest("x", RUN, SCHEMA, tables)))
        assert error_of(answer)[:2] == (413, "too_large")


def test_a_few_bytes_that_stand_for_many_are_refused(small: RunningServer) -> None:
    bomb = {"inputs": pa.table({"input_id": pa.array(["\0" * 2**22])})}
    content = encode_append(AppendRequest("x", RUN, SCHEMA, bomb))
    assert len(content) < 10_000
    with client_of(small, small.first_key) as client:
        assert error_of(client.post("/v1/append", content=content))[:2] == (413, "too_large")


def test_more_than_is_taken_at_once_is_asked_to_come_again(small: RunningServer) -> None:
    """A client that announces much and sends nothing holds its share; the next one is told to wait."""
    where = urlsplit(small.endpoint)
    head = (
        f"POST /v1/append HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {small.first_key}\r\n"
        f"Content-Length: {2**20}\r\n\r\n"
    )
    content = encode_append(AppendRequest("again", RUN, SCHEMA))
    with socket.create_connection((where.hostname or "", where.port or 0)) as slow:
        slow.sendall(head.encode())
        with client_of(small, small.first_key) as client:
            answer = wait_for(client, content, 503)
            assert error_of(answer)[:2] == (503, "server_busy")
            assert int(answer.headers["retry-after"]) >= 1
    with client_of(small, small.first_key) as client:
        wait_for(client, content, 200)


def test_bodies_that_do_not_say_how_long_they_are_count_as_they_come(small: RunningServer) -> None:
    """Else any number of clients could fill the memory beside each other."""
    where = urlsplit(small.endpoint)
    head = (
        f"POST /v1/append HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {small.first_key}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    piece = 2**20 - 10_000
    content = encode_append(AppendRequest("beside", RUN, SCHEMA)) + b" " * 20_000
    with socket.create_connection((where.hostname or "", where.port or 0)) as slow:
        slow.sendall(head.encode() + f"{piece:x}\r\n".encode() + b"x" * piece + b"\r\n")
        with client_of(small, small.first_key) as client:
            assert error_of(wait_for(client, content, 503))[:2] == (503, "server_busy")
    with client_of(small, small.first_key) as client:
        wait_for(client, content, 422)


def wait_for(client: httpx.Client, content: bytes, status: int) -> httpx.Response:
    """Sends until the answer has a status: the server learns of another connection in its own time."""
    for _ in range(100):
        answer = client.post("/v1/append", content=content)
        if answer.status_code == status:
            return answer
        threading.Event().wait(0.1)
    raise AssertionError(answer.text)


def test_an_error_in_the_middle_of_rows_is_told_at_their_end(tmp_path: Path) -> None:
    from ml_debugger.errors import StoreError

    with running_server(tmp_path) as server, client_of(server, server.first_key) as client:
        for part in range(3):
            ids = [f"{part}-{number}" for number in range(3000)]
            tables = make_tables(ids, n_units=2)
            answer = client.post("/v1/append", content=encode_append(AppendRequest(f"{part}", RUN, SCHEMA, tables)))
            assert answer.status_code == 200
        files = sorted((tmp_path / "workspace" / "tables" / "records").rglob("*.parquet"))
        files[-1].write_bytes(b"damaged")
        answer = client.post("/v1/scan", content=encode_scan(ScanRequest(RUN, "records")))
        if answer.status_code == 200:
            with pytest.raises(StoreError) as caught:
                list(decode_rows([answer.content]))
            message = str(caught.value)
        else:
            status, code, message = error_of(answer)
            assert (status, code) == (507, "store_failed")
        assert str(tmp_path) not in message
        assert "the server's store" in message
        assert client.get("/healthz").status_code == 200
        logged = [json.loads(line) for line in server.log.splitlines()]
        assert any("damaged" in line["message"] or "could not read" in line["message"] for line in logged)


def test_a_client_that_leaves_lets_go_of_its_share(server: RunningServer, client: httpx.Client) -> None:
    append(client, [str(number) for number in range(200)])
    body = encode_scan(ScanRequest(RUN, "records"))
    for _ in range(40):  # more than may stream at the same time
        with client.stream("POST", "/v1/scan", content=body) as answer:
            assert answer.status_code == 200
    assert scan(client).num_rows == 200
