"""Keys over HTTP: scopes, expiry, revocation, and what happens to those who guess."""

from __future__ import annotations

import datetime

import httpx
import pytest

from ml_debugger.service.contract import AppendRequest, ScanRequest
from ml_debugger.service.wire import encode_append, encode_scan
from ml_debugger.store import open_store
from ml_debugger.store.keys import Keys
from ml_debugger.store.metadata import utc_now
from tests.helpers.rows import RUN, SCHEMA, make_tables
from tests.helpers.server import RunningServer
from tests.server.conftest import client_of
from tests.server.test_rows import append, error_of

# Each of these tests fails on purpose, from an address of its own: those who fail too often are not listened to.
ADDRESSES = (f"127.0.0.{number}" for number in range(10, 250))


def keys_of(server: RunningServer) -> Keys:
    return Keys(open_store(server.location).metadata.engine)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic YTpi",
        "Bearer mldbg_",
        "Bearer mldbg_0123456789ab_" + "x" * 43,
        "Bearer " + "x" * 5000,
        "Bearer mldbg_' OR 1=1 --",
    ],
)
def test_without_a_right_key_nothing_is_answered(server: RunningServer, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    with client_of(server, None, next(ADDRESSES)) as client:
        for method, path in (("GET", "/v1/key"), ("POST", "/v1/append"), ("GET", "/metrics"), ("GET", "/v1/keys")):
            answer = client.request(method, path, headers=headers)
            assert error_of(answer)[:2] == (401, "key_refused")
            assert answer.headers["www-authenticate"] == "Bearer"


def test_two_keys_at_once_are_none(server: RunningServer) -> None:
    key = server.new_key()
    with client_of(server, None, next(ADDRESSES)) as client:
        headers = [("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {key}")]
        assert client.get("/v1/key", headers=headers).status_code == 401
        assert client.get("/v1/key", headers=headers[:1]).status_code == 200
        assert client.get("/v1/key", params={"key": key}).status_code == 401  # nowhere else


def test_a_key_says_what_it_may_do(server: RunningServer, organisation: str) -> None:
    with client_of(server, server.new_key(organisation, "read")) as client:
        told = client.get("/v1/key").json()
    assert (told["organisation"], told["scope"], told["expires_at"]) == (organisation, "read", None)
    assert told["max_body_bytes"] == 256 * 2**20


def test_a_scope_allows_what_it_says(server: RunningServer, organisation: str) -> None:
    evaluation = {"run": {"model_name": "model", "version_name": "v1"}}
    writes = [
        ("POST", "/v1/append", {"content": encode_append(AppendRequest("b", RUN, SCHEMA, make_tables(["a"])))}),
        ("POST", "/v1/evaluate", {"json": evaluation}),
        ("DELETE", "/v1/jobs/none", {}),
    ]
    administers = [
        ("GET", "/v1/keys", {}),
        ("POST", "/v1/keys", {"json": {"name": "x"}}),
        ("DELETE", "/v1/keys/none", {}),
        ("GET", "/metrics", {}),
    ]
    with client_of(server, server.new_key(organisation, "read")) as reader:
        for method, path, content in writes + administers:
            assert error_of(reader.request(method, path, **content))[:2] == (403, "key_scope")
    with client_of(server, server.new_key(organisation, "write")) as writer:
        assert [writer.request(method, path, **rest).status_code for method, path, rest in writes] == [200, 202, 404]
        for method, path, content in administers:
            assert error_of(writer.request(method, path, **content))[:2] == (403, "key_scope")
    with client_of(server, server.new_key(organisation, "read")) as reader:
        answer = reader.post("/v1/scan", content=encode_scan(ScanRequest(RUN, "inputs")))
        assert answer.status_code == 200


def test_an_administrator_manages_the_keys_of_the_organisation(server: RunningServer, organisation: str) -> None:
    with client_of(server, server.new_key(organisation, "admin", "chief")) as chief:
        made = chief.post("/v1/keys", json={"name": "anna", "scope": "read", "expires_days": 1.5}).json()
        with client_of(server, made["key"]) as anna:
            assert anna.get("/v1/key").json()["scope"] == "read"
            listed = chief.get("/v1/keys").json()["keys"]
            assert [(key["name"], key["organisation"]) for key in listed] == [
                ("chief", organisation),
                ("anna", organisation),
            ]
            assert made["key"] not in str(listed)
            assert "hash" not in str(listed)
            gone = chief.delete(f"/v1/keys/{made['key_id']}").json()
            assert gone["revoked_at"] is not None
            assert error_of(anna.get("/v1/key"))[:2] == (401, "key_refused")
            assert "was revoked" in error_of(anna.get("/v1/key"))[2]
        for wrong in ({"name": ""}, {"name": "x", "scope": "all"}, {"name": "x", "organisation": "other"}, {}):
            assert error_of(chief.post("/v1/keys", json=wrong))[0] == 422
        assert chief.get("/metrics").status_code == 403  # of the whole server


def test_a_key_ends_when_it_expires(server: RunningServer, organisation: str) -> None:
    soon = utc_now() + datetime.timedelta(seconds=2)
    key, row = keys_of(server).create(organisation, "short", "read", soon)
    with client_of(server, key, next(ADDRESSES)) as client:
        assert client.get("/v1/key").status_code == 200
        while utc_now() <= soon:
            client.get("/healthz")
        status, code, message = error_of(client.get("/v1/key"))
    assert (status, code) == (401, "key_refused")
    assert f"the key {row.key_id} expired" in message
    assert key not in message


def test_who_guesses_is_not_listened_to(server: RunningServer, organisation: str) -> None:
    address, key = next(ADDRESSES), server.new_key(organisation)
    known, late = client_of(server, key, address), client_of(server, server.new_key(organisation), address)
    with known, late, client_of(server, "mldbg_000000000000_" + "x" * 43, address) as guesser:
        assert known.get("/v1/key").status_code == 200
        answers = [guesser.get("/v1/key") for _ in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        assert error_of(answers[-1])[1] == "key_refused"
        assert 0 < int(answers[-1].headers["retry-after"]) <= 60
        assert known.get("/v1/key").status_code == 200  # a colleague behind the same proxy
        assert late.get("/v1/key").status_code == 429  # one that could be a guess is not looked at
        assert guesser.post("/login", data={"key": "mldbg_x"}).status_code == 429
    with client_of(server, key, next(ADDRESSES)) as elsewhere:
        assert elsewhere.get("/v1/key").status_code == 200


def test_no_header_from_outside_changes_the_address(server: RunningServer) -> None:
    with client_of(server, "mldbg_000000000000_" + "y" * 43, next(ADDRESSES)) as guesser:
        answers = [guesser.get("/v1/key", headers={"X-Forwarded-For": f"10.0.0.{number}"}) for number in range(12)]
    assert answers[-1].status_code == 429


def test_rows_are_written_with_the_key_that_may(client: httpx.Client) -> None:
    assert append(client, ["a"]).status_code == 200
