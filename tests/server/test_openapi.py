"""Whatever the description of the interface allows is sent: the answer is always one that the description names."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from ml_debugger.service.contract import AppendRequest, RunKey, ScanRequest
from ml_debugger.service.frames import FRAMES
from ml_debugger.service.wire import encode_append, encode_scan
from tests.helpers.rows import RUN, SCHEMA, make_tables
from tests.helpers.server import RunningServer

CALM: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "phases": (Phase.explicit, Phase.generate),
    "suppress_health_check": list(HealthCheck),
}
BODIES = [
    encode_append(AppendRequest("batch", RUN, SCHEMA, make_tables(["a", "b"], labels=[0, 1]))),
    encode_append(AppendRequest("other", RunKey("model", "v2"), SCHEMA)),
    encode_scan(ScanRequest(RUN, "records")),
    encode_scan(ScanRequest(RunKey("nobody", "v1"), "inputs")),
]
schemathesis.openapi.media_type(FRAMES, st.sampled_from(BODIES) | st.binary(max_size=200).map(b"MLD1".__add__))


@schemathesis.serializer(FRAMES)
def send_frames(_context: object, value: Any) -> bytes:
    """Frames as they are; what is no bytes cannot be any, and is sent as text."""
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(scope="module")
def api(server: RunningServer) -> Any:
    return schemathesis.openapi.from_url(f"{server.endpoint}/openapi.json")


@pytest.fixture(scope="module")
def key(server: RunningServer) -> str:
    """A key that may do everything, in an organisation with rows."""
    found = server.new_key("described", "admin")
    headers = {"Authorization": f"Bearer {found}", "Content-Type": FRAMES}
    httpx.post(f"{server.endpoint}/v1/append", content=BODIES[0], headers=headers).raise_for_status()
    return found


def send(api: Any, key: str, examples: int) -> int:
    """Sends to every route what its description allows, and what it forbids; the number of requests."""
    # what a description cannot say, such as that a strategy does not fit, is refused; keys that are none have tests of
    # their own, and too many of them are answered by 429; 503 asks to come again, here when evaluations queue up
    excluded = CHECKS.get_by_names(["positive_data_acceptance", "ignored_auth", "not_a_server_error"])
    sent = 0
    for operation in [found.ok() for found in api.get_all_operations()]:
        for mode in GenerationMode:

            @settings(max_examples=examples, **CALM)
            @given(operation.as_strategy(generation_mode=mode))
            def run(case: Any) -> None:
                nonlocal sent
                sent += 1
                answer = case.call_and_validate(
                    headers={"Authorization": f"Bearer {key}"}, excluded_checks=excluded, timeout=60
                )
                assert answer.status_code < 500 or answer.status_code == 503, answer.text

            with suppress(Unsatisfiable):  # nothing is forbidden where there are no parameters
                run()
    return sent


def send_and_look(api: Any, key: str, server: RunningServer, examples: int) -> int:
    """Also: the server met no error that nobody thought of."""
    before = len(server.log)
    sent = send(api, key, examples)
    logged = server.log[before:]
    assert logged.count('"message": "request"') > 0.9 * sent  # some are no HTTP, and get no further than that
    assert '"level": "error"' not in logged
    assert "Traceback" not in logged
    return sent


def test_every_answer_is_described(api: Any, key: str, server: RunningServer) -> None:
    assert send_and_look(api, key, server, 7) > 100


@pytest.mark.slow
def test_every_answer_to_many_requests_is_described(api: Any, key: str, server: RunningServer) -> None:
    assert send_and_look(api, key, server, 500) > 1000
