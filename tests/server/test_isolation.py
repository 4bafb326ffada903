"""No key sees, changes or finds out anything of another organisation, whatever it asks for and however."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import httpx
import pyarrow as pa
import pytest

from ml_debugger.service.contract import AppendRequest, QueryRequest, RunKey, ScanRequest
from ml_debugger.service.wire import (
    decode_results,
    decode_rows,
    encode_append,
    encode_query,
    encode_scan,
    encode_table,
    pack,
)
from tests.helpers.labelled import LABELLED_SCHEMA, labelled_tables
from tests.helpers.rows import RUN, SCHEMA, make_tables
from tests.helpers.server import RunningServer
from tests.server.conftest import client_of
from tests.server.test_evaluations import FAST, begin, trace, wait
from tests.server.test_rows import scan

SECRET = "confidential"
RESULT = f"{SECRET}-result"

# Ways to write a name so that a path, a statement, a header or a pattern might take it for something else.
TRICKS = (
    "../{victim}",
    "../../organisations/{victim}/tables/inputs/classification/model",
    "/organisations/{victim}",
    "organisations/{victim}/results/" + RESULT,
    "..%2f..%2forganisations%2f{victim}",
    "..\\{victim}",
    "{victim}/" + RESULT,
    "{victim}",
    "' OR '1'='1",
    "' OR organisation='{victim}' --",
    "'; DROP TABLE keys; --",
    "x' UNION SELECT * FROM results --",
    "%",
    "_" * len(RESULT),
    "*",
    ".*",
    "{victim}\r\nX-Organisation: {victim}",
    "a\nb",
    "\u202e" + RESULT,
    RESULT.upper(),
    RESULT + " ",
    " " + RESULT,
    RESULT + ".",
    "x" * 1024,
    "",
    ".",
    "..",
)


@dataclass
class Victim:
    """An organisation with rows, a result and a job that are nobody else's business."""

    organisation: str
    client: httpx.Client
    job: str
    key_id: str
    recordings: pa.Array


@pytest.fixture(scope="module")
def victim(server: RunningServer) -> Iterator[Victim]:
    with client_of(server, server.new_key("victim", "admin", SECRET)) as client:
        trace(client)
        pool = AppendRequest("pool", RUN, LABELLED_SCHEMA, labelled_tables(10, "pool", labels=False))
        assert client.post("/v1/append", content=encode_append(pool)).status_code == 200
        job = begin(client, {**FAST, "result_name": RESULT})
        assert wait(client, job, "done", "failed")[-1]["state"] == "done"
        (key,) = client.get("/v1/keys").json()["keys"]
        recordings = scan(client)["recording_id"].combine_chunks()
        yield Victim("victim", client, job, key["key_id"], recordings)


@pytest.fixture
def thief(server: RunningServer, organisation: str) -> Iterator[httpx.Client]:
    """All that a key of another organisation may do."""
    with client_of(server, server.new_key(organisation, "admin")) as client:
        yield client


def state_of(victim: Victim) -> tuple[Any, ...]:
    """What the victim has, to see that it stays as it is."""
    scanned = tuple(scan(victim.client, kind).sort_by("recording_id") for kind in ("inputs", "records", "truths"))
    result = victim.client.get("/v1/result", params={"result_name": RESULT}).content
    return (*scanned, result, victim.client.get(victim.job).json(), victim.client.get("/v1/keys").json())


def routes(server: RunningServer) -> set[tuple[str, str]]:
    """Every route that the server says it has."""
    paths = httpx.get(f"{server.endpoint}/openapi.json").json()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def attempts(name: str, victim: Victim) -> dict[tuple[str, str], list[tuple[str, dict[str, Any]]]]:
    """For every route the requests that use a name wherever there is room for one."""
    run = RunKey(name, name)
    query = QueryRequest(RUN, name, 5, "high_error_proba", dataset_type="pool", n_epoch="all")
    job_id = victim.job.rpartition("/")[2]
    # httpx quotes parameters; what stands in a path is quoted by hand
    quoted = httpx.URL("http://x", params={"q": name}).query.decode().partition("=")[2].replace("+", "%20")
    selectors = [
        {"result_name": name},
        {"model_name": name, "version_name": name, "n_epoch": "all"},
        {"model_name": RUN.model_name, "version_name": RUN.version_name, "n_epoch": "all"},
        {"model_name": RUN.model_name, "version_name": RUN.version_name, "result_name": name},
    ]
    return {
        ("GET", "/healthz"): [("/healthz", {})],
        ("GET", "/readyz"): [("/readyz", {})],
        ("GET", "/metrics"): [("/metrics", {})],
        ("GET", "/v1/key"): [("/v1/key", {"params": {"organisation": name}})],
        ("GET", "/v1/keys"): [("/v1/keys", {"params": {"organisation": name}})],
        ("POST", "/v1/keys"): [("/v1/keys", {"json": {"name": name, "organisation": victim.organisation}})],
        ("DELETE", "/v1/keys/{key_id}"): [(f"/v1/keys/{victim.key_id}", {}), (f"/v1/keys/{quoted}", {})],
        ("POST", "/v1/scan"): [
            ("/v1/scan", {"content": encode_scan(wanted)})
            for wanted in (
                ScanRequest(run, "inputs"),
                ScanRequest(RUN, "inputs"),
                ScanRequest(RUN, "scores", result_name=name),
                ScanRequest(RUN, "inputs", dataset_types=(name,), weights_hash=name, pass_id=name),
                ScanRequest(RUN, name, columns=(name,)),
            )
        ],
        ("GET", "/v1/models"): [("/v1/models", {"params": {"model_name": name}}), ("/v1/models", {})],
        ("POST", "/v1/checksum"): [
            ("/v1/checksum", {"content": checksum_of(one, victim.recordings)}) for one in (run, RUN)
        ],
        ("PUT", "/v1/result"): [("/v1/result", {"content": result_named(name)})],
        # each starts a process, so only a few of the names
        ("POST", "/v1/evaluate"): [
            ("/v1/evaluate", {"json": {"run": {"model_name": name, "version_name": name}, "result_name": name}}),
        ][: name in (RESULT, TRICKS[0], "x")],
        ("GET", "/v1/jobs/{job_id}"): [(victim.job, {}), (f"/v1/jobs/{quoted}", {})],
        ("DELETE", "/v1/jobs/{job_id}"): [(f"/v1/jobs/{job_id}", {}), (f"/v1/jobs/{quoted}", {})],
        ("GET", "/v1/results"): [("/v1/results", {"params": params}) for params in selectors],
        ("GET", "/v1/result"): [("/v1/result", {"params": params}) for params in selectors],
        ("GET", "/v1/error-model"): [("/v1/error-model", {"params": params}) for params in selectors],
        ("POST", "/v1/query"): [
            ("/v1/query", {"json": encode_query(wanted)}) for wanted in (query, replace(query, run=run))
        ],
        # last: from here on the name is one of the thief's own
        ("POST", "/v1/append"): [
            ("/v1/append", {"content": encode_append(AppendRequest(name or "b", run, SCHEMA))}),
        ],
    }


def checksum_of(run: RunKey, recordings: pa.Array) -> bytes:
    header = {"run": asdict(run), "columns": {"inputs": ["input_id"]}}
    return pack(header, {"recording_ids": encode_table(pa.table({"recording_ids": recordings}))})


def result_named(name: str) -> bytes:
    nothing = {table: encode_table(pa.table({})) for table in ("samples", "zones", "error_codes", "missed", "truths")}
    info = {"result_name": name, "model_name": RUN.model_name, "version_name": RUN.version_name}
    return pack({"info": info, "metrics": {}}, {**nothing, "error_model": b"nothing"})


def test_every_route_is_tried(server: RunningServer, victim: Victim) -> None:
    assert set(attempts("x", victim)) == routes(server)


@pytest.mark.parametrize("trick", [RESULT, *TRICKS])
def test_no_name_leads_into_another_organisation(
    server: RunningServer, victim: Victim, thief: httpx.Client, trick: str
) -> None:
    name = trick.replace("{victim}", victim.organisation)
    for (method, route), requests in attempts(name, victim).items():
        for path, content in requests:
            try:
                answer = thief.request(method, path, **content)
            except httpx.InvalidURL:
                continue
            assert answer.status_code < 500, (method, path, answer.text)
            own = answer.request.content + str(answer.request.url).encode()
            if SECRET.encode() not in own:
                assert SECRET not in answer.text, (method, route, path)
            assert answer.headers.get("x-organisation") is None
            if answer.status_code == 200 and route == "/v1/scan":
                assert list(decode_rows([answer.content])) == []
            elif answer.status_code == 200 and route == "/v1/results":
                assert decode_results(answer.content).num_rows == 0
            elif route == "/v1/models":
                assert answer.json() == {"models": []}
            elif (
                route in ("/v1/result", "/v1/error-model", "/v1/query", "/v1/checksum")
                or "jobs/" in route
                or "keys/" in route
            ):
                assert answer.status_code in (404, 405, 422), (method, path, answer.text)
    page = thief.get(f"/results/{RESULT}")
    assert page.status_code == 404
    assert "model" not in page.text.replace("model_name", "")


@pytest.fixture(scope="module", autouse=True)
def untouched(victim: Victim) -> Iterator[None]:
    """After everything that the tests of this file try."""
    before = state_of(victim)
    yield
    assert state_of(victim) == before


def test_what_an_organisation_does_under_the_same_names_is_its_own(victim: Victim, thief: httpx.Client) -> None:
    """The same model, batch id, recording ids and result name: nothing is shared, nothing is replaced."""
    recordings = scan(victim.client)["recording_id"].to_pylist()
    tables = make_tables([f"mine{n}" for n in range(len(recordings))], recording_ids=recordings, dataset_type="val")
    request = AppendRequest("rows of val", RUN, replace(SCHEMA, architecture_hash="mine"), tables, recreate=True)
    assert thief.post("/v1/append", content=encode_append(request)).status_code == 200
    assert {name[:4] for name in scan(thief)["input_id"].to_pylist()} == {"mine"}
    assert not {name for name in scan(victim.client)["input_id"].to_pylist() if name.startswith("mine")}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("version_name", "../../victim"),
        ("version_name", "other"),
        ("dataset_type", "../../../organisations/victim/tables/inputs"),
        ("dataset_type", "a=b/c"),
        ("dataset_type", ""),
        ("dataset_type", "__HIVE_DEFAULT_PARTITION__"),
        ("dataset_type", "x" * 300),
        ("dataset_type", "a\0b"),
        ("dataset_type", "\u202e'; --"),
        ("input_id", "../../etc"),
        ("input_id", ""),
    ],
)
def test_forged_rows_stay_where_they_belong(
    server: RunningServer, thief: httpx.Client, column: str, value: str
) -> None:
    tables = make_tables(["a"])
    forged = {
        kind: table.set_column(table.column_names.index(column), column, pa.array([value], pa.string()))
        for kind, table in tables.items()
    }
    answer = thief.post("/v1/append", content=encode_append(AppendRequest("forged", RUN, SCHEMA, forged)))
    assert answer.status_code in (200, 422), answer.text
    if answer.status_code == 200:
        assert scan(thief).num_rows == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda tables: {"inputs": tables["inputs"].drop_columns(["recording_id"])},
        lambda tables: {"inputs": tables["inputs"].append_column("organisation", pa.array(["victim"]))},
        lambda tables: {"inputs": tables["inputs"].append_column("input_id", pa.array(["twice"]))},
        lambda tables: {"records": tables["records"].set_column(9, "unit", pa.array(["not a number"]))},
        lambda tables: {"records": tables["inputs"]},
        lambda tables: {"inputs": pa.table({})},
        lambda tables: {"inputs": tables["inputs"].set_column(2, "recording_id", pa.nulls(1, pa.int64()))},
        lambda tables: {
            "inputs": tables["inputs"].set_column(0, "input_id", tables["inputs"]["input_id"].dictionary_encode())
        },
        lambda tables: {"scores": make_tables(["a"])["inputs"]},
    ],
)
def test_forged_tables_are_refused(thief: httpx.Client, change: Any) -> None:
    answer = thief.post(
        "/v1/append", content=encode_append(AppendRequest("forged", RUN, SCHEMA, change(make_tables(["a"]))))
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] == "invalid_input"


def test_a_forged_batch_does_not_break_the_server(thief: httpx.Client) -> None:
    """Every byte of a body, one at a time in turn set to another value: an answer of ours, always."""
    content = bytearray(encode_append(AppendRequest("forged", RUN, SCHEMA, make_tables(["a"], n_units=2, labels=[0]))))
    places = range(0, len(content), max(1, len(content) // 120))
    for place in places:
        broken = bytearray(content)
        broken[place] ^= 0xFF
        answer = thief.post("/v1/append", content=bytes(broken))
        assert answer.status_code in (200, 409, 413, 422), (place, answer.text)


def test_a_header_of_the_client_says_nothing_of_the_organisation(victim: Victim, thief: httpx.Client) -> None:
    headers = {
        "X-Organisation": victim.organisation,
        "Organisation": victim.organisation,
        "Host": victim.organisation,
        "X-Forwarded-Host": victim.organisation,
        "X-Original-URL": "/v1/keys",
        "X-HTTP-Method-Override": "DELETE",
        "Cookie": f"organisation={victim.organisation}; mldebugger_session=' OR 1=1",
    }
    answer = thief.get("/v1/key", headers=headers)
    assert answer.json()["organisation"] != victim.organisation
    assert thief.get("/v1/result", params={"result_name": RESULT}, headers=headers).status_code == 404


def test_nothing_is_told_of_where_files_are(server: RunningServer, thief: httpx.Client) -> None:
    texts = [
        thief.request(method, path, **content).text
        for (method, _), requests in attempts(
            "x", Victim("victim", thief, "/v1/jobs/x", "x", pa.array([], pa.int64()))
        ).items()
        for path, content in requests
    ]
    assert not [text for text in texts if server.location in text or re.search(r"sqlite|\.db\b", text)]
