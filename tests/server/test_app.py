"""What every answer has, what is open to all, and how a server begins and ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from ml_debugger.service.contract import AppendRequest
from ml_debugger.service.wire import encode_append
from tests.helpers.postgres import PostgresServer
from tests.helpers.rows import RUN, SCHEMA, make_tables
from tests.helpers.server import RunningServer, running_server
from tests.server.conftest import client_of
from tests.server.test_rows import error_of, scan


def test_every_answer_is_marked_and_keeps_browsers_from_guessing(server: RunningServer) -> None:
    for path in ("/healthz", "/v1/key", "/nothing", "/login", "/openapi.json"):
        answer = httpx.get(f"{server.endpoint}{path}")
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def test_probes_answer_without_a_key(server: RunningServer) -> None:
    assert httpx.get(f"{server.endpoint}/healthz").json() == {"status": "alive"}
    assert httpx.get(f"{server.endpoint}/readyz").json() == {"status": "ready"}


def test_readiness_sees_that_the_store_is_gone(own_server: RunningServer) -> None:
    shutil.rmtree(own_server.location)
    Path(own_server.location).write_text("a file in place of the folder")
    answer = httpx.get(f"{own_server.endpoint}/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})
    assert httpx.get(f"{own_server.endpoint}/healthz").status_code == 200
    assert "not ready" in own_server.log


def test_readiness_sees_that_the_database_is_gone_and_back(tmp_path: Path) -> None:
    with PostgresServer() as postgres, running_server(tmp_path, database_url=postgres.new_database()) as server:
        key = server.first_key
        assert httpx.get(f"{server.endpoint}/readyz").status_code == 200
        postgres.kill()
        assert httpx.get(f"{server.endpoint}/readyz", timeout=60).status_code == 503
        with client_of(server, key) as client:
            status, code, message = error_of(client.get("/v1/key"))
            assert (status, code) == (507, "store_failed")
            assert str(postgres.port) not in message
        postgres.start()
        with client_of(server, key) as client:
            assert client.get("/v1/key").status_code == 200
        assert httpx.get(f"{server.endpoint}/readyz").status_code == 200


def test_what_is_not_there_is_an_error_of_ours(server: RunningServer) -> None:
    assert error_of(httpx.get(f"{server.endpoint}/nothing"))[:2] == (404, "not_found")
    assert error_of(httpx.get(f"{server.endpoint}/v1/append/"))[:2] == (404, "not_found")
    answer = httpx.put(f"{server.endpoint}/v1/append")
    assert error_of(answer)[:2] == (405, "invalid_input")
    assert answer.headers["allow"] == "POST"
    assert error_of(httpx.request("BREW", f"{server.endpoint}/v1/key"))[0] == 405


def test_the_description_names_every_call(server: RunningServer) -> None:
    api = httpx.get(f"{server.endpoint}/openapi.json").json()
    calls = {"append", "scan", "evaluate", "results", "result", "error-model", "query"}
    assert {f"/v1/{call}" for call in calls} <= set(api["paths"])
    for path, methods in api["paths"].items():
        for call in methods.values():
            assert call["summary"]
            assert bool(call.get("security")) == path.startswith(("/v1", "/metrics")), path
    page = httpx.get(f"{server.endpoint}/docs")
    assert page.status_code == 200
    assert all(path in page.text for path in api["paths"])
    assert "<script" not in page.text
    assert "http" not in re.sub(r"HTTP|https?://[\w.]*example", "", page.text.replace("http-equiv", "")).lower()


def test_figures_are_counted_without_names(server: RunningServer, organisation: str) -> None:
    def figures() -> dict[str, float]:
        with client_of(server, server.first_key) as operator:
            text = operator.get("/metrics").text
        assert organisation not in text
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    before = figures()
    with client_of(server, server.new_key(organisation)) as client:
        content = encode_append(AppendRequest("b", RUN, SCHEMA, make_tables(["a", "b"])))
        client.post("/v1/append", content=content)
        client.request("BREW", f"/v1/{organisation}")
    after = figures()
    requests = 'mldebugger_requests_total{method="POST",route="/v1/append",status="200"}'
    assert after[requests] == before.get(requests, 0) + 1
    rows = 'mldebugger_appended_rows_total{kind="inputs"}'
    assert after[rows] == before.get(rows, 0) + 2
    assert after["mldebugger_received_bytes_total"] == before["mldebugger_received_bytes_total"] + len(content)
    assert after['mldebugger_requests_total{method="other",route="none",status="404"}'] >= 1
    assert after["mldebugger_pending_bytes"] == 0
    assert after["process_resident_memory_bytes"] > 0
    assert 'mldebugger_jobs{state="queued"}' in after


def test_other_sites_are_not_allowed_unless_named(server: RunningServer, tmp_path: Path) -> None:
    asked = {"Origin": "https://tools.example.com", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{server.endpoint}/v1/query", headers=asked)
    assert "access-control-allow-origin" not in answer.headers
    options = ["--cors-origin", "https://tools.example.com"]
    with running_server(tmp_path, options=options) as allowing:
        answer = httpx.options(f"{allowing.endpoint}/v1/query", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://tools.example.com"
        other = httpx.options(f"{allowing.endpoint}/v1/query", headers={**asked, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        assert "access-control-allow-credentials" not in answer.headers


def test_a_proxy_is_believed_only_if_it_is_named(tmp_path: Path) -> None:
    with running_server(tmp_path, options=["--trusted-proxy", "127.0.0.1", "--secure-cookies"]) as server:
        wrong = {"Authorization": "Bearer mldbg_000000000000_" + "x" * 43}
        statuses = [
            httpx.get(f"{server.endpoint}/v1/key", headers={**wrong, "X-Forwarded-For": f"10.0.0.{number // 11}"})
            for number in range(22)
        ]
        assert [answer.status_code for answer in statuses] == ([401] * 10 + [429]) * 2
        answer = httpx.post(f"{server.endpoint}/login", data={"key": server.first_key})
        assert "Secure" in answer.headers["set-cookie"]
        assert '"client": "10.0.0.1"' in server.log


def test_the_first_key_is_shown_once_and_works(own_server: RunningServer, tmp_path: Path) -> None:
    key = own_server.first_key
    assert own_server.output.count("mldbg_") == 1
    with client_of(own_server, key) as client:
        assert client.get("/v1/key").json()["scope"] == "admin"
    assert own_server.stop() == 0
    assert "server stopped" in own_server.log
    with running_server(tmp_path / "again", own_server.location) as again:
        assert "mldbg_" not in again.output
        with client_of(again, key) as client:
            assert client.get("/v1/key").json()["scope"] == "admin"
    assert json.loads(again.log.splitlines()[0])["message"] == "server starts"


def test_a_request_at_work_is_finished_when_the_server_stops(own_server: RunningServer) -> None:
    """The body comes slowly; the signal comes in its middle; the rows are stored, and the server ends well."""
    where = urlsplit(own_server.endpoint)
    content = encode_append(AppendRequest("slow", RUN, SCHEMA, make_tables(["a", "b"])))
    head = (
        f"POST /v1/append HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {own_server.first_key}\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((where.hostname or "", where.port or 0)) as slow:
        slow.sendall(head.encode() + content[:100])
        time.sleep(0.5)
        os.kill(own_server.process.pid, signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{own_server.endpoint}/healthz")
        slow.sendall(content[100:])
        answer = b""
        while piece := slow.recv(65_536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200")
    assert own_server.process.wait(30) == 0
    from ml_debugger.service.local import LocalService
    from tests.helpers import rows

    assert rows.scan(LocalService.open(own_server.location)).num_rows == 2


def test_clients_at_once_are_all_served(server: RunningServer, organisation: str) -> None:
    key = server.new_key(organisation)
    failures: list[object] = []

    def write(number: int) -> None:
        with client_of(server, key) as client:
            for part in range(3):
                tables = make_tables([f"{number}-{part}-{n}" for n in range(5)])
                request = AppendRequest(f"{number}-{part}", RUN, SCHEMA, tables)
                answer = client.post("/v1/append", content=encode_append(request))
                if answer.status_code != 200:
                    failures.append(answer.text)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with client_of(server, key) as client:
        assert len(set(scan(client)["input_id"].to_pylist())) == scan(client).num_rows == 8 * 3 * 5
