"""Evaluations over HTTP: jobs that say how far they are and how they ended, and that outlive the server."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ml_debugger.service.contract import AppendRequest
from ml_debugger.service.wire import decode_result, encode_append
from ml_debugger.store import open_store
from tests.helpers.labelled import LABELLED_SCHEMA, labelled_tables
from tests.helpers.rows import RUN, SCHEMA, make_tables
from tests.helpers.server import RunningServer, running_server
from tests.server.conftest import client_of
from tests.server.test_rows import error_of

EVALUATION = {"run": {"model_name": RUN.model_name, "version_name": RUN.version_name}}
FAST = {**EVALUATION, "options": {"bootstrap": 20}}
SECONDS = 120


def trace(client: httpx.Client, n: int = 60) -> None:
    for dataset_type in ("train", "val"):
        tables = labelled_tables(n, dataset_type, seed=len(dataset_type))
        request = AppendRequest(f"rows of {dataset_type}", RUN, LABELLED_SCHEMA, tables)
        assert client.post("/v1/append", content=encode_append(request)).status_code == 200


def begin(client: httpx.Client, wanted: dict[str, Any]) -> str:
    answer = client.post("/v1/evaluate", json=wanted)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['job_id']}"
    return str(answer.headers["location"])


def wait(client: httpx.Client, job: str, *states: str) -> list[dict[str, Any]]:
    """Everything that was told until the job is in one of these states."""
    told, deadline = [], time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        told.append(client.get(job).json())
        if told[-1]["state"] in states:
            return told
        time.sleep(0.1)
    raise AssertionError(told[-1])


def process_of(server: RunningServer) -> psutil.Process:
    """The process of the evaluation that runs."""
    deadline = time.monotonic() + SECONDS
    while not (found := processes_of(server)) and time.monotonic() < deadline:
        time.sleep(0.05)
    (process,) = found
    return process


def processes_of(server: RunningServer) -> list[psutil.Process]:
    """The processes that run evaluations."""
    return [fork for loaded in psutil.Process(server.process.pid).children() for fork in loaded.children()]


def test_an_evaluation_is_a_job_with_a_result(client: httpx.Client) -> None:
    trace(client)
    job = begin(client, {**FAST, "result_name": "first"})
    told = wait(client, job, "done", "failed")
    assert told[-1]["state"] == "done", told[-1]
    assert (told[-1]["result_name"], told[-1]["fraction"], told[-1]["error"]) == ("first", 1.0, None)
    fractions = [one["fraction"] for one in told]
    assert fractions == sorted(fractions)
    assert told[-1]["created_at"] < told[-1]["completed_at"]
    result = decode_result(client.get("/v1/result", params={"result_name": "first"}).content)
    assert result.info["result_name"] == "first"
    assert result.samples.num_rows == 60
    assert len(client.get("/v1/error-model", params={"result_name": "first"}).content) > 1000
    again = begin(client, {**FAST, "result_name": "first"})
    failed = wait(client, again, "done", "failed")[-1]
    assert (failed["state"], failed["error"]["code"]) == ("failed", "invalid_input")
    assert "'first' is taken" in failed["error"]["message"]


def test_what_was_warned_of_is_told(client: httpx.Client) -> None:
    tables = labelled_tables(60, "train")
    client.post("/v1/append", content=encode_append(AppendRequest("b", RUN, LABELLED_SCHEMA, tables)))
    tables = labelled_tables(60, "train", prefix="more", weights="w2", seed=3)
    client.post("/v1/append", content=encode_append(AppendRequest("c", RUN, LABELLED_SCHEMA, tables)))
    told = wait(client, begin(client, FAST), "done", "failed")[-1]
    assert told["state"] == "done", told
    assert any("were recorded with other weights" in warning["message"] for warning in told["warnings"])
    assert {warning["category"] for warning in told["warnings"]} == {"EvaluationWarning"}


def test_a_failed_one_says_why(client: httpx.Client) -> None:
    assert error_of(client.get("/v1/jobs/none"))[:2] == (404, "not_found")
    told = wait(client, begin(client, FAST), "done", "failed")[-1]
    assert (told["state"], told["error"]["code"]) == ("failed", "not_found")
    client.post("/v1/append", content=encode_append(AppendRequest("b", RUN, SCHEMA, make_tables(["a"], labels=[0]))))
    told = wait(client, begin(client, FAST), "done", "failed")[-1]
    assert told["error"]["code"] == "evaluation_failed"
    assert "too few labelled rows" in told["error"]["message"]
    told = wait(client, begin(client, {**FAST, "options": {"bootstrapp": 1}}), "done", "failed")[-1]
    assert told["error"]["code"] == "invalid_config"


def test_the_same_request_is_one_job(client: httpx.Client, server: RunningServer) -> None:
    wanted = {**FAST, "request_id": "once"}
    first = begin(client, wanted)
    assert begin(client, wanted) == first
    with client_of(server, server.new_key("elsewhere")) as other:
        assert begin(other, wanted) != first
    wait(client, first, "failed")
    assert begin(client, wanted) == first


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"run": {"model_name": "m"}},
        {**FAST, "more": 1},
        {**FAST, "n_epoch": "first"},
        {**FAST, "result_name": "a\0b"},
        {**FAST, "options": []},
    ],
)
def test_a_request_that_cannot_be_right_is_refused(client: httpx.Client, wanted: dict[str, Any]) -> None:
    assert error_of(client.post("/v1/evaluate", json=wanted))[:2] == (422, "invalid_input")


@pytest.fixture(params=[10_000])
def busy(
    request: pytest.FixtureRequest, own_server: RunningServer
) -> Iterator[tuple[RunningServer, httpx.Client, str]]:
    """A server of its own that runs a long evaluation."""
    with client_of(own_server, own_server.first_key) as client:
        trace(client)
        job = begin(client, {**EVALUATION, "options": {"bootstrap": request.param}, "result_name": "long"})
        wait(client, job, "running")
        yield own_server, client, job


def wait_for_name(server: RunningServer, job: str) -> None:
    """Until the process of an evaluation has reserved the name of its result."""
    metadata = open_store(server.location, server.database_url).metadata
    deadline = time.monotonic() + SECONDS
    while metadata.claimed_by(job.rpartition("/")[2]) is None and time.monotonic() < deadline:
        time.sleep(0.05)


def test_a_cancelled_one_ends_at_once(busy: tuple[RunningServer, httpx.Client, str]) -> None:
    server, client, job = busy
    wait_for_name(server, job)
    waiting = begin(client, FAST)
    assert client.get(waiting).json()["state"] == "queued"
    for one in (waiting, job):
        ended = client.delete(one).json()
        assert (ended["state"], ended["error"]["code"]) == ("cancelled", "evaluation_cancelled")
        assert "cancelled with the key" in ended["error"]["message"]
    deadline = time.monotonic() + 20
    while processes_of(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(server) == []
    assert client.get(job).json()["state"] == "cancelled"
    name_is_free = wait(client, begin(client, {**FAST, "result_name": "long"}), "done", "failed")[-1]
    assert name_is_free["state"] == "done", name_is_free
    assert client.delete(job).json()["state"] == "cancelled"


def test_one_whose_process_is_killed_says_so(busy: tuple[RunningServer, httpx.Client, str]) -> None:
    server, client, job = busy
    process = process_of(server)
    wait_for_name(server, job)
    process.kill()
    told = wait(client, job, "failed")[-1]
    assert "ended from outside (SIGKILL)" in told["error"]["message"]
    assert client.get("/healthz").status_code == 200
    assert wait(client, begin(client, {**FAST, "result_name": "long"}), "done", "failed")[-1]["state"] == "done"


@pytest.mark.parametrize("busy", [1_500], indirect=True)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_outlives_the_server(busy: tuple[RunningServer, httpx.Client, str], tmp_path: Path, how: int) -> None:
    server, _, job = busy
    process = process_of(server)
    os.kill(server.process.pid, how)
    assert server.process.wait(60) == (0 if how == signal.SIGTERM else -signal.SIGKILL)
    assert process.wait(20) is None or not process.is_running()
    with (
        running_server(tmp_path / "again", server.location) as again,
        client_of(again, server.first_key) as client,
    ):
        assert "mldbg_" not in again.output  # the first key is shown once
        told = wait(client, job, "done", "failed")[-1]
        assert (told["state"], told["result_name"]) == ("done", "long"), told
        listed = client.get("/results", headers={"Accept": "text/html"}).text
        assert listed.count(">long<") == 1
