"""Requests over real sockets to servers that behave oddly: what is repeated, what is not, and what people read."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Iterator

import pytest

from ml_debugger.errors import (
    ConfigError,
    InputError,
    LicenseError,
    MLDebuggerError,
    ServerBusyError,
    ServiceConnectionError,
    StoreError,
)
from ml_debugger.service.contract import ScanRequest
from ml_debugger.service.http import HttpService
from ml_debugger.service.transport import Body, Target, Transport
from ml_debugger.service.wire import encode_rows
from tests.helpers.odd_server import cuts, fails, hangs, odd_server, resets, says
from tests.helpers.rows import RUN, make_tables

KEY = "mldbg_" + "0" * 40
RECORDS = make_tables([f"id{number}" for number in range(200)], n_units=3)["records"]
ABOUT = {"organisation": "team", "scope": "write", "server_version": "9", "max_body_bytes": 1000}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_debugger.service.transport._FIRST_PAUSE", 0.01)


@pytest.fixture
def transports() -> Iterator[list[Transport]]:
    made: list[Transport] = []
    yield made
    for transport in made:
        transport.close()


def reach(endpoint: str, transports: list[Transport], **patience: float) -> Transport:
    transports.append(Transport(Target(endpoint, KEY, **patience)))
    return transports[-1]


def test_the_key_is_sent_as_a_bearer_and_nothing_else_tells_it(transports: list[Transport]) -> None:
    with odd_server(says(200, b"content")) as server:
        found = reach(server.endpoint + "/prefix/", transports).request("GET", "/v1/key", params={"a": "é &=/?#\r\n"})
    assert found == b"content"
    ((method, path, headers, content),) = server.asked
    assert (method, path, content) == ("GET", "/prefix/v1/key?a=%C3%A9+%26%3D%2F%3F%23%0D%0A", b"")
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["User-Agent"].startswith("ml-debugger/")
    assert KEY not in path
    assert KEY not in repr(Target(server.endpoint, KEY))


@pytest.mark.parametrize(
    "trouble",
    [
        resets,
        fails(503, "server_busy", "busy", Retry_After="0"),
        says(502, b"<html>Bad Gateway</html>"),
        says(504, b""),
        says(429, b"slow down", Retry_After="0"),
        says(503, b"", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    ],
    ids=["reset", "busy", "502", "504", "429", "a date"],
)
def test_what_passes_is_tried_again_with_the_same_content(trouble: object, transports: list[Transport]) -> None:
    with odd_server(trouble, trouble, says(200, b"done")) as server:
        found = reach(server.endpoint, transports).request("POST", "/v1/append", body=Body(b"rows", "a/b"))
    assert found == b"done"
    assert [asked[3] for asked in server.asked] == [b"rows"] * 3
    assert {asked[2]["Content-Type"] for asked in server.asked} == {"a/b"}


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (resets, ServiceConnectionError),
        (fails(503, "server_busy", "too much to do", Retry_After="0"), ServerBusyError),
        (says(502, b"<html>"), ServiceConnectionError),
    ],
)
def test_what_does_not_pass_is_an_error_after_the_tries_that_are_set(
    trouble: object, kind: type[MLDebuggerError], transports: list[Transport]
) -> None:
    with odd_server(trouble) as server, pytest.raises(kind) as caught:
        reach(server.endpoint, transports, retries=2).request("GET", "/v1/key")
    assert type(caught.value) is kind
    assert isinstance(caught.value, ConnectionError)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (fails(401, "key_refused", "unknown key"), LicenseError),
        (fails(429, "key_refused", "too many refused keys", Retry_After="30"), LicenseError),
        (fails(422, "invalid_input", "wrong"), InputError),
        (fails(507, "store_failed", "disk full"), StoreError),
        (fails(500, "error", "look into the log"), MLDebuggerError),
        (says(404, {"detail": "Not Found"}), ServiceConnectionError),
        (says(301, b"", Location="https://elsewhere.invalid/"), ServiceConnectionError),
    ],
)
def test_what_would_fail_again_is_not_tried_again(
    trouble: object, kind: type[MLDebuggerError], transports: list[Transport]
) -> None:
    with odd_server(trouble) as server, pytest.raises(kind) as caught:
        reach(server.endpoint, transports).request("GET", "/v1/key")
    assert type(caught.value) is kind
    assert len(server.asked) == 1


def test_a_server_that_asks_for_patience_gets_some(transports: list[Transport]) -> None:
    with odd_server(fails(503, "server_busy", "busy", Retry_After="1"), says(200, b"done")) as server:
        start = time.monotonic()
        assert reach(server.endpoint, transports).request("GET", "/x") == b"done"
    assert time.monotonic() - start >= 1


def test_a_server_that_asks_for_too_much_patience_is_told_at_once(transports: list[Transport]) -> None:
    with (
        odd_server(fails(503, "server_busy", "come tomorrow", Retry_After="86400")) as server,
        pytest.raises(ServerBusyError, match="come tomorrow"),
    ):
        reach(server.endpoint, transports).request("GET", "/x")
    assert len(server.asked) == 1


def test_an_answer_that_does_not_come_is_not_asked_for_again(transports: list[Transport]) -> None:
    with (
        odd_server(hangs(1.0)) as server,
        pytest.raises(ServiceConnectionError, match=r"did not answer within 0\.2 seconds.*MLD_API_TIMEOUT"),
    ):
        reach(server.endpoint, transports, timeout=0.2).request("GET", "/x")
    assert len(server.asked) == 1


def test_a_host_that_does_not_accept_is_told_in_time(transports: list[Transport]) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        start = time.monotonic()
        with pytest.raises(ServiceConnectionError, match="nobody answers"):
            reach(f"http://127.0.0.1:{full.getsockname()[1]}", transports, connect_timeout=0.2, retries=1).request(
                "GET", "/x"
            )
        assert time.monotonic() - start < 5
        for one in waiting:
            one.close()


@pytest.mark.parametrize(
    ("trouble", "hint"),
    [
        (says(404, b"<html>nginx</html>"), "is the endpoint that of a server of MLdebugger"),
        (
            says(301, b"", Location="https://elsewhere.invalid/"),
            r"https://elsewhere\.invalid/.*name that place instead",
        ),
        (says(403, b"<html>proxy</html>"), "such as a proxy"),
        (says(500, b'{"error": "text"}'), "no server of MLdebugger"),
        (says(400, b"["), "such as a proxy"),
    ],
)
def test_a_server_that_is_none_of_ours_is_told(trouble: object, hint: str, transports: list[Transport]) -> None:
    with odd_server(trouble) as server, pytest.raises(ServiceConnectionError, match=hint):
        reach(server.endpoint, transports).request("GET", "/v1/key")


def test_a_redirect_does_not_carry_the_key_away(transports: list[Transport]) -> None:
    with (
        odd_server(says(200, b"")) as other,
        odd_server(says(302, b"", Location=other.endpoint)) as server,
        pytest.raises(ServiceConnectionError),
    ):
        reach(server.endpoint, transports).request("GET", "/v1/key")
    assert other.asked == []


def test_no_error_shows_the_key(transports: list[Transport]) -> None:
    troubles = [resets, says(502, b""), says(404, b""), fails(401, "key_refused", "no"), hangs(0.5)]
    for trouble in troubles:
        with odd_server(trouble) as server, pytest.raises(MLDebuggerError) as caught:
            reach(server.endpoint, transports, timeout=0.2, retries=0).request("GET", "/x")
        assert KEY not in "".join(traceback.format_exception(caught.value))
        assert KEY not in repr(caught.value.__context__)


def test_nothing_is_logged_of_the_key(transports: list[Transport], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with odd_server(resets, says(200, b"")) as server:
        reach(server.endpoint, transports).request("GET", "/x")
    assert "is repeated" in caplog.text
    assert KEY not in caplog.text


def test_a_way_that_others_can_read_is_told_and_this_machine_is_none(caplog: pytest.LogCaptureFixture) -> None:
    for endpoint in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://mld.invalid"):
        Transport(Target(endpoint, KEY))
    assert caplog.text == ""
    Transport(Target("http://mld.invalid", KEY))
    assert "http://mld.invalid is not encrypted" in caplog.text


def test_no_proxy_stands_between_programs_of_one_machine(
    transports: list[Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    with odd_server(says(502, b"")) as proxy, odd_server(says(200, b"direct")) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
        monkeypatch.setenv("http_proxy", proxy.endpoint)
        assert reach(server.endpoint, transports).request("GET", "/x") == b"direct"
        with pytest.raises(ServiceConnectionError):
            reach("http://mld.invalid", transports, retries=0).request("GET", "/x")
        monkeypatch.setenv("NO_PROXY", "mld.invalid")
        with pytest.raises(ServiceConnectionError, match="nobody answers"):
            reach("http://mld.invalid", transports, retries=0).request("GET", "/x")
    assert [asked[1] for asked in proxy.asked] == ["http://mld.invalid/x"]


def test_an_answer_that_was_cut_is_an_error_and_not_asked_for_again(transports: list[Transport]) -> None:
    content = b"".join(encode_rows(RECORDS.to_batches(max_chunksize=50)))
    for after in (10, len(content) // 2, len(content) - 9):
        with odd_server(says(200, ABOUT), cuts(content, after)) as server:
            service = HttpService.open(Target(server.endpoint, KEY))
            with pytest.raises(ServiceConnectionError, match=r"was lost|was cut"):
                list(service.scan(ScanRequest(RUN, "records")))
            service.close()
        assert len(server.asked) == 2


def test_many_threads_share_a_transport(transports: list[Transport]) -> None:
    found: list[bytes] = []
    with odd_server(says(200, b"x" * 1000)) as server:
        transport = reach(server.endpoint, transports)
        threads = [threading.Thread(target=lambda: found.append(transport.request("GET", "/x"))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [b"x" * 1000] * 16


def test_a_forked_child_has_connections_of_its_own(transports: list[Transport]) -> None:
    with odd_server(says(200, b"same")) as server:
        transport = reach(server.endpoint, transports)
        assert transport.request("GET", "/x") == b"same"
        before = transport._client
        child = os.fork()
        if not child:
            good = transport.request("GET", "/x") == b"same" and transport._client is not before
            os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert transport.request("GET", "/x") == b"same"
        assert transport._client is before


def test_a_transport_may_be_used_after_it_was_closed(transports: list[Transport]) -> None:
    with odd_server(says(200, b"same")) as server:
        transport = reach(server.endpoint, transports)
        for _ in range(2):
            assert transport.request("GET", "/x") == b"same"
            transport.close()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"organisation": 5}'])
def test_a_server_that_says_something_else_of_the_key_is_told(content: bytes) -> None:
    with odd_server(says(200, content)) as server, pytest.raises(InputError, match="answer of the server"):
        HttpService.open(Target(server.endpoint, KEY))


def test_what_cannot_be_used_is_refused_before_anything_is_sent() -> None:
    with odd_server(says(200, b"")) as server:
        with pytest.raises(LicenseError):
            HttpService.open(Target(server.endpoint, ""))
        with pytest.raises(ConfigError):
            HttpService.open(Target(server.endpoint + "?key=1", KEY))
    assert server.asked == []
