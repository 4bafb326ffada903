"""The client against a real server: everything that the contract suites do not ask for."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ml_debugger.connect import connect
from ml_debugger.errors import (
    EvaluationCancelledError,
    EvaluationError,
    EvaluationWarning,
    InputError,
    LicenseError,
    ScopeError,
    ServiceConnectionError,
    SpoolWarning,
    StoreError,
    TooLargeError,
)
from ml_debugger.evaluator import Evaluator
from ml_debugger.service import http as http_module
from ml_debugger.service.bodies import JobBody
from ml_debugger.service.contract import AppendRequest, EvaluationRequest, RunKey, ScanRequest
from ml_debugger.service.http import HttpService
from ml_debugger.service.spool import list_spools
from ml_debugger.service.transport import Target
from ml_debugger.store import open_store
from ml_debugger.store.keys import Keys
from ml_debugger.store.organisations import organisation_place
from ml_debugger.training import ClassificationTracer
from tests.helpers.labelled import LABELLED_SCHEMA, labelled_tables
from tests.helpers.ports import free_port
from tests.helpers.rows import RUN, SCHEMA, append, ids_of, make_tables, scan
from tests.helpers.server import RunningServer, running_server

ONES = np.ones((2, 3), np.float32)


@pytest.fixture
def service(served: RunningServer) -> Iterator[HttpService]:
    service = connect().service
    assert isinstance(service, HttpService)
    yield service
    service.close()


def tracer_of(version: str = "v1") -> ClassificationTracer:
    return ClassificationTracer(lambda x: x, "plain", version)


def stored_ids() -> list[str]:
    return sorted(ids_of(scan(connect().service, run=RunKey("plain", "v1"))))


def test_what_is_too_much_at_once_is_sent_in_parts_of_whole_inputs(service: HttpService) -> None:
    service._key = service._key.model_copy(update={"max_body_bytes": 12_000})
    tables = make_tables([f"id{number}" for number in range(40)], n_units=3, labels=[0] * 40)
    request = AppendRequest("large", RUN, SCHEMA, tables)
    for _ in range(2):  # parts are stored once too
        service.append(request)
    for kind, rows in (("inputs", 40), ("records", 120), ("truths", 40)):
        assert scan(service, kind).num_rows == rows
    assert scan(service, "records").equals(
        tables["records"].sort_by([("input_id", "ascending"), ("unit", "ascending")])
    )
    again = replace(request, batch_id="again", recreate=True)
    service.append(again)
    assert scan(service, "records").num_rows == 120, "only the first part removes what was there"


def test_a_server_that_takes_less_than_before_gets_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows that it has in part, as of a whole append whose answer was lost, only the rest is stored."""
    tables = make_tables([f"id{number}" for number in range(40)], n_units=3, labels=[0] * 40)
    request = AppendRequest("large", RUN, SCHEMA, tables)
    few = {"MLD_MAX_ROWS": "50"}
    monkeypatch.setenv("MLD_API_RETRIES", "0")
    with running_server(tmp_path / "first") as server:
        first_key = server.first_key
        service = connect(server.endpoint, first_key).service
        service.append(replace(request, tables={kind: tables[kind] for kind in ("records", "truths")}))
        service.close()
    with running_server(tmp_path / "then", server.location, environment=few) as server:
        service = connect(server.endpoint, first_key).service
        service.append(request)
        for kind, rows in (("inputs", 40), ("records", 120), ("truths", 40)):
            assert scan(service, kind).num_rows == rows
        with pytest.raises(TooLargeError, match="rows of"):
            service.append(AppendRequest("one", RUN, SCHEMA, make_tables(["one"], n_units=60)))
        service.close()


@pytest.mark.slow
def test_one_input_that_is_too_much_is_refused(service: HttpService) -> None:
    limit = service._key.max_body_bytes
    wide = np.random.default_rng(0).integers(0, 2**31, limit // 4 + 10_000, np.int32)
    tables = make_tables(["a"], width=4)
    at = tables["records"].column_names.index("features")
    features = pa.array([wide.view(np.float32)], pa.list_(pa.float32()))
    tables["records"] = tables["records"].set_column(at, tables["records"].schema.field("features"), features)
    with pytest.raises(TooLargeError, match="MLD_MAX_BODY_MB"):
        service.append(AppendRequest("wide", RUN, SCHEMA, tables))


def test_a_half_written_append_is_completed_when_it_is_repeated(service: HttpService, served: RunningServer) -> None:
    append(service, make_tables(["first"], labels=[0]))
    root = Path(organisation_place(served.location, service.organisation)) / "tables"
    inputs = root / "inputs"
    inputs.rename(root / "moved")
    inputs.write_text("a file in place of the folder")
    request = AppendRequest("half", RUN, SCHEMA, make_tables(["a", "b"], n_units=2, labels=[0, 1]))
    with pytest.raises(StoreError, match="could not write"):
        service.append(request)
    inputs.unlink()
    (root / "moved").rename(inputs)
    assert ids_of(scan(service, "records")) == ["first"], "what is half-written does not show"
    service.append(request)
    assert scan(service, "records").num_rows == 5
    assert scan(service, "truths").num_rows == 3


def test_a_key_that_may_only_read_is_told_what_it_lacks(served: RunningServer, organisation: str) -> None:
    append(connect().service, make_tables(["a"]))
    reader = HttpService.open(Target(served.endpoint, served.new_key(organisation, "read")))
    assert ids_of(scan(reader)) == ["a"]
    with pytest.raises(ScopeError, match="write") as caught:
        append(reader, make_tables(["b"]))
    assert isinstance(caught.value, PermissionError)
    reader.close()


def test_a_key_that_is_revoked_meanwhile_keeps_the_rows(
    served: RunningServer, organisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = served.new_key(organisation)
    monkeypatch.setenv("MLD_API_KEY", key)
    tracer = tracer_of()
    tracer(ONES, [0, 1], ["a", "b"])
    tracer.wait_for_save()
    keys = Keys(open_store(served.location, served.database_url).metadata.engine)
    keys.revoke(key.removeprefix("mldbg_").partition("_")[0])
    tracer(ONES, [0, 1], ["c", "d"])
    with pytest.raises(LicenseError, match="6 rows wait in") as caught:
        tracer.wait_for_save()
    assert key not in str(caught.value)
    with pytest.raises(LicenseError):
        tracer_of()
    monkeypatch.setenv("MLD_API_KEY", served.new_key(organisation))
    assert stored_ids() == ["a", "b"]
    (spool,) = list_spools()
    (waiting,) = spool.waiting()
    assert (waiting.model_name, waiting.version_name, waiting.n_rows) == ("plain", "v1", 6)
    tracer._recorder.writer._start_empty()


@pytest.fixture
def labelled(service: HttpService) -> HttpService:
    for seed, tag in enumerate(("train", "val")):
        append(service, labelled_tables(60, tag, seed=seed), schema=LABELLED_SCHEMA)
    return service


def test_an_evaluation_shows_its_progress_and_gives_its_warnings(labelled: HttpService) -> None:
    append(labelled, labelled_tables(30, "train", seed=5, weights="w2", prefix="x"), schema=LABELLED_SCHEMA)
    seen: list[tuple[str, float]] = []
    with pytest.warns(EvaluationWarning, match="left out|were recorded with other weights|labelled inputs") as caught:
        result = Evaluator("model", "v1").service_client.evaluate(
            EvaluationRequest(RUN, options={"bootstrap": 20}), lambda stage, done: seen.append((stage, done))
        )
    assert seen[-1][1] == 1.0
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert len({stage for stage, _ in seen}) >= 2
    assert {str(warning.message) for warning in caught} <= set(result.info["notes"])
    assert caught[0].filename == __file__


def test_an_interrupted_evaluation_is_cancelled(labelled: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[str] = []

    def interrupts(_: float) -> None:
        raise KeyboardInterrupt

    real = HttpService._wait

    def waits(service: HttpService, job: object, progress: object) -> object:
        jobs.append(job.job_id)
        return real(service, job, progress)

    monkeypatch.setattr(HttpService, "_wait", waits)
    monkeypatch.setattr(http_module, "_interruptible_sleep", interrupts)
    with pytest.raises(KeyboardInterrupt):
        labelled.evaluate(EvaluationRequest(RUN, result_name="mine", options={"bootstrap": 500}))
    deadline = time.monotonic() + 30
    while (job := labelled._job("GET", f"/v1/jobs/{jobs[0]}")).state in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert job.state == "cancelled"
    assert labelled.list_results(RUN, None, None, "all").num_rows == 0


def test_an_evaluation_that_somebody_else_cancels_says_so(
    labelled: HttpService, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = HttpService._job

    def cancels(service: HttpService, method: str, path: str, content: object = None) -> object:
        if method == "GET":
            real(service, "DELETE", path)
        return real(service, method, path, content)

    monkeypatch.setattr(HttpService, "_job", cancels)
    with pytest.raises(EvaluationCancelledError):
        labelled.evaluate(EvaluationRequest(RUN, options={"bootstrap": 500}))


def test_a_failed_evaluation_keeps_its_class(service: HttpService) -> None:
    append(service, labelled_tables(20, "pool", labels=False), schema=LABELLED_SCHEMA)
    with pytest.raises(EvaluationError, match="no labelled rows"):
        service.evaluate(EvaluationRequest(RUN))
    with pytest.raises(InputError, match="method_name"):
        service.evaluate(EvaluationRequest(RUN, "other_v1"))


def test_an_iterator_of_rows_that_is_left_does_not_hold_the_connection(service: HttpService) -> None:
    append(service, make_tables([f"id{number}" for number in range(30_000)]))
    for _ in range(30):
        next(iter(service.scan(ScanRequest(RUN, "records"))))
    assert scan(service).num_rows == 30_000


def test_many_clients_in_threads_lose_and_double_nothing(service: HttpService) -> None:
    def work(worker: int) -> None:
        for batch in range(4):
            append(service, make_tables([f"{worker}-{batch}-{n}" for n in range(5)], labels=[0] * 5))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sorted(f"{worker}-{batch}-{n}" for worker in range(6) for batch in range(4) for n in range(5))
    assert ids_of(scan(service)) == ids_of(scan(service, "truths")) == expected


@pytest.fixture
def port(tmp_path: Path) -> int:
    return free_port()


def trace_slowly(tracer: ClassificationTracer) -> None:
    for number in range(60):
        tracer(ONES, [0, 1], [f"{number}-0", f"{number}-1"])
        time.sleep(0.05)


def test_the_plug_is_pulled_and_put_back(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows traced while the server is away wait on disk, and are there once when it is back."""
    monkeypatch.setenv("MLD_API_RETRIES", "1")
    folder = tmp_path / "server"
    with running_server(folder, port=port) as server:
        monkeypatch.setenv("MLD_API_ENDPOINT", server.endpoint)
        monkeypatch.setenv("MLD_API_KEY", server.first_key)
        monkeypatch.setenv("MLD_BUFFER_ROWS", "4")
        tracer = tracer_of()
        tracer(ONES, [0, 1], ["a", "b"])
        tracer.wait_for_save()
        server.kill()
        with pytest.warns(SpoolWarning, match=r"nobody answers|was lost"):
            trace_slowly(tracer)
        with pytest.raises(ServiceConnectionError, match=r"360 rows wait in .*mldebugger sync"):
            tracer.wait_for_save()
        (spool,) = list_spools()
        assert spool.entries()
    with running_server(folder, port=port):
        tracer.wait_for_save()
        assert spool.entries() == []
        assert stored_ids() == sorted(["a", "b", *(f"{number}-{at}" for number in range(60) for at in (0, 1))])


@pytest.mark.filterwarnings("ignore::ml_debugger.errors.EvaluationWarning")
def test_an_evaluation_survives_that_its_server_is_killed(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client waits on, and gets the result of the server that came back."""
    monkeypatch.setenv("MLD_API_RETRIES", "0")
    found: list[str] = []
    with running_server(tmp_path / "server", port=port) as server:
        monkeypatch.setenv("MLD_API_ENDPOINT", server.endpoint)
        monkeypatch.setenv("MLD_API_KEY", server.first_key)
        service = connect().service
        for seed, tag in enumerate(("train", "val")):
            append(service, labelled_tables(60, tag, seed=seed), schema=LABELLED_SCHEMA)
        began = threading.Event()
        real = HttpService._wait

        def waits(service: HttpService, job: JobBody, progress: object) -> JobBody:
            began.set()
            return real(service, job, progress)

        monkeypatch.setattr(HttpService, "_wait", waits)
        request = EvaluationRequest(RUN, result_name="mine", options={"bootstrap": 2000})
        thread = threading.Thread(target=lambda: found.append(service.evaluate(request).info["result_name"]))
        thread.start()
        assert began.wait(60)
        server.kill()
    with running_server(tmp_path / "server", port=port):
        thread.join(120)
        assert found == ["mine"]
        assert service.list_results(RUN, None, None, "all").num_rows == 1


def test_a_server_that_stays_away_ends_the_wait_and_names_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLD_API_RETRIES", "0")
    monkeypatch.setenv("MLD_API_TIMEOUT", "2")
    with running_server(tmp_path / "server") as server:
        service = HttpService.open(Target(server.endpoint, server.first_key, timeout=2, retries=0))
        append(service, labelled_tables(60, "val"), schema=LABELLED_SCHEMA)
        real = HttpService._wait

        def kills_first(service: HttpService, job: JobBody, progress: object) -> JobBody:
            server.kill()
            return real(service, job, progress)

        monkeypatch.setattr(HttpService, "_wait", kills_first)
        with pytest.raises(ServiceConnectionError, match=r"nobody answers.*The evaluation \S+ goes on when"):
            service.evaluate(EvaluationRequest(RUN, options={"bootstrap": 2000}))
    service.close()


PROGRAM = """
import numpy as np
from ml_debugger.training import ClassificationTracer
tracer = ClassificationTracer(lambda x: x, "plain", "v1")
tracer(np.ones((1, 3), np.float32), [0], ["first"])
tracer.wait_for_save()
print("ready", flush=True)
input()
tracer(np.ones((2, 3), np.float32), [0, 1], ["a", "b"])
input()
"""


@contextmanager
def running_program() -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("end", ["normal", "killed"])
def test_a_program_that_ends_while_the_server_is_away(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """A normal end keeps the rows on disk and says where; what was on disk survives a kill too."""
    monkeypatch.setenv("MLD_API_RETRIES", "0")
    monkeypatch.setenv("MLD_BUFFER_ROWS", "1")
    with running_server(tmp_path / "server", port=port) as server:
        monkeypatch.setenv("MLD_API_ENDPOINT", server.endpoint)
        monkeypatch.setenv("MLD_API_KEY", server.first_key)
        with running_program() as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            server.kill()
            process.stdin.write("\n")
            process.stdin.flush()
            deadline = time.monotonic() + 60
            while not (list_spools() and list_spools()[0].entries()):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            if end == "killed":
                process.send_signal(signal.SIGKILL)
            _, said = process.communicate("\n" if end == "normal" else None, timeout=60)
    if end == "normal":
        assert process.returncode == 0
        assert "6 rows wait in" in said
        assert "`mldebugger sync`" in said
        assert server.first_key not in said
    (waiting,) = list_spools()[0].waiting()
    assert waiting.n_rows == 6
