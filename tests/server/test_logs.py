"""Logs are lines of JSON, and hold no secret."""

from __future__ import annotations

import json
import logging

import pytest

from ml_debugger.server.logs import JsonLines, redact
from tests.helpers.rows import RUN
from tests.helpers.server import RunningServer
from tests.server.conftest import client_of

KEY = "mldbg_0123456789ab_" + "Secret-_" * 5 + "abc"


def line(message: str, *args: object, **extra: object) -> str:
    record = logging.LogRecord("name", logging.INFO, "file", 1, message, args, None)
    record.__dict__.update(extra)
    return JsonLines().format(record)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"the key {KEY} is", "the key mldbg_0123456789ab_*** is"),
        ("mldbg_whatever-this-is", "mldbg_***"),
        ("postgresql+psycopg://user:pass%40word@host/db", "postgresql+psycopg://user:***@host/db"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("{'authorization': 'Bearer abc'}", "{'authorization': '***'}"),
        ("nothing to hide: a:b@c", "nothing to hide: a:b@c"),
    ],
)
def test_secrets_are_taken_out(text: str, left: str) -> None:
    assert redact(text) == left
    assert json.loads(line(text))["message"] == left


def test_one_record_is_one_line_whatever_it_holds() -> None:
    text = line("a\nb\r\n%s", '"}\n{"forged": 1', fields={"name": "x\ny", "list": [KEY]})
    assert "\n" not in text
    found = json.loads(text)
    assert found["message"] == 'a\nb\r\n"}\n{"forged": 1'
    assert found["name"] == "x\ny"
    assert "Secret" not in text


def test_a_failure_is_logged_without_the_secret_in_it() -> None:
    try:
        raise ValueError(f"postgresql://user:password@host and {KEY}")
    except ValueError as error:
        text = line("failed", exc_info=(type(error), error, error.__traceback__))
    assert "Secret" not in text
    assert "password" not in text
    assert "ValueError" in json.loads(text)["exception"]


def test_neither_keys_nor_names_of_requests_are_in_the_log(server: RunningServer, organisation: str) -> None:
    key = server.new_key(organisation)
    with client_of(server, key) as client:
        client.get("/v1/key", headers={"X-Something": "in a header"})
        client.get("/v1/result", params={"result_name": "forged\nname", "model_name": RUN.model_name})
        client.get(f"/v1/jobs/{key}")
        client.post("/login", data={"key": key})
        client.get("/nothing/%0d%0a{forged}")
    log = server.log
    assert key not in log
    assert key[19:] not in log
    assert server.first_key not in log
    assert "in a header" not in log
    lines = [json.loads(text) for text in log.splitlines()]
    mine = [found for found in lines if found.get("organisation") == organisation]
    assert {"request_id", "method", "route", "status", "seconds", "client", "key"} <= set(mine[0])
    assert all(found["level"] in ("info", "warning", "error") for found in lines)
