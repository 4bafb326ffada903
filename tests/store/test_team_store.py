"""What a team has: metadata in PostgreSQL, rows in an object store, and several processes that write at once."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from ml_debugger.service.contract import EvaluationRequest, QueryRequest
from ml_debugger.service.local import LocalService
from tests.helpers.labelled import LABELLED_SCHEMA, labelled_tables
from tests.helpers.object_store import BUCKET
from tests.helpers.postgres import PostgresServer
from tests.helpers.processes import ROOT
from tests.helpers.rows import RUN, append, ids_of, scan


@pytest.fixture
def place(postgres: PostgresServer, s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Location and database of a new workspace."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}", postgres.new_database()


@pytest.fixture
def service(place: tuple[str, str]) -> Iterator[LocalService]:
    service = LocalService.open(*place)
    yield service
    service.workspace.metadata.engine.dispose()


@pytest.mark.parametrize("writers", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_writers_at_once_lose_and_double_nothing(
    place: tuple[str, str], service: LocalService, postgres: PostgresServer, writers: int
) -> None:
    environment = {**os.environ, "MLD_DATABASE_URL": place[1], "POLARS_MAX_THREADS": "1"}
    before = postgres.log().count("ERROR")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.processes", "write", place[0], str(worker), "6"],
            cwd=ROOT,
            env=environment,
        )
        for worker in range(1, writers + 1)
    ]
    assert [process.wait(280) for process in processes] == [0] * writers
    expected = sorted(f"{w}-{b}-{n}" for w in range(1, writers + 1) for b in range(6) for n in range(4))
    assert ids_of(scan(service)) == expected
    assert ids_of(scan(service, "truths")) == expected
    assert ids_of(scan(service, "records", columns=("input_id", "unit"))) == sorted(expected * 2)
    assert postgres.log().count("ERROR") == before


@pytest.mark.filterwarnings("ignore::ml_debugger.errors.EvaluationWarning")
def test_a_run_is_evaluated_and_queried(place: tuple[str, str], service: LocalService) -> None:
    for seed, dataset_type in enumerate(("train", "val")):
        append(service, labelled_tables(60, dataset_type, seed=seed), schema=LABELLED_SCHEMA)
    append(service, labelled_tables(40, "pool", seed=2, labels=False), schema=LABELLED_SCHEMA)
    made = service.evaluate(EvaluationRequest(RUN, options={"bootstrap": 20}))
    name = made.info["result_name"]
    again = LocalService.open(*place)
    try:
        found = again.get_result(None, RUN)
        assert found.info == made.info
        assert found.samples.equals(made.samples)
        assert again.list_results(RUN, None, None, "all")["result_name"].to_pylist() == [name]
        answer = again.query(QueryRequest(RUN, name, 5, "high_error_proba"))
        assert len(answer.input_ids) == 5
        assert answer == service.query(QueryRequest(RUN, name, 5, "high_error_proba"))
    finally:
        again.workspace.metadata.engine.dispose()
