"""Several processes on one workspace, and processes that end in every way there is."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ml_debugger.recording.at_exit import LOST_ROWS
from tests.contracts.conftest import Place
from tests.helpers.processes import ROOT
from tests.helpers.rows import append, ids_of, make_tables, scan

WRITERS = 8


def start(what: str, place: Place, *arguments: str, **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    if place.database_url:
        environment["MLD_DATABASE_URL"] = place.database_url
    if place.key:
        environment["MLD_API_KEY"] = place.key
    command = [sys.executable, "-m", "tests.helpers.processes", what, place.location, *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **options)


def test_eight_writers_at_once_lose_and_double_nothing(shared_place: Place) -> None:
    batches = 6
    processes = [start("write", shared_place, str(worker), str(batches)) for worker in range(1, WRITERS + 1)]
    assert [process.wait(240) for process in processes] == [0] * WRITERS
    service = shared_place.open()
    expected = sorted(f"{w}-{b}-{n}" for w in range(1, WRITERS + 1) for b in range(batches) for n in range(4))
    assert ids_of(scan(service)) == expected
    assert ids_of(scan(service, "truths")) == expected
    records = scan(service, "records", columns=("input_id", "unit"))
    assert ids_of(records) == sorted(expected * 2)
    assert records["unit"].to_pylist() == [0, 1] * len(expected)


@pytest.mark.parametrize("kills", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_writers_lose_nothing_that_was_confirmed(tmp_path: Path, kills: int) -> None:
    place = Place(str(tmp_path / "workspace"), None)
    service = place.open()
    append(service, {})
    rng = random.Random(kills)
    confirmed: dict[int, int] = {}
    for worker in range(1, kills + 1):
        process = start("confirm", place, str(worker), stdout=subprocess.PIPE)
        assert process.stdout is not None
        lines = [process.stdout.readline()]  # at least one batch
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        confirmed[worker] = int([line for line in lines if line.endswith("\n")][-1])
        found = scan(service)  # readable at any moment
        units = scan(service, "records")
        assert units.num_rows == 2 * found.num_rows == 2 * scan(service, "truths").num_rows
        stored = set(ids_of(found))
        assert len(stored) == found.num_rows
        for earlier, batches in confirmed.items():
            assert {f"{earlier}-{batch}" for batch in range(batches)} <= stored
    append(service, make_tables(["after"], n_units=2))
    assert "after" in ids_of(scan(service))


@pytest.mark.parametrize(("how", "status"), [("end", 0), ("exit", 3), ("error", 1)])
def test_the_end_of_the_interpreter_flushes(tmp_path: Path, how: str, status: int) -> None:
    place = Place(str(tmp_path / "workspace"), None)
    process = start("leave", place, how, stderr=subprocess.PIPE)
    process.communicate(timeout=120)
    assert process.returncode == status
    assert ids_of(scan(place.open(), "truths")) == ["a", "b"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_end_of_a_child_process_flushes(tmp_path: Path, method: str) -> None:
    place = Place(str(tmp_path / "workspace"), None)
    assert start("spawn", place, method).wait(120) == 0
    assert ids_of(scan(place.open())) == ["a", "b"]


def test_a_fork_doubles_nothing(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "workspace"), None)
    assert start("fork", place).wait(120) == 0
    assert ids_of(scan(place.open())) == ["child", "parent"]
    assert scan(place.open(), "records").num_rows == 2


@pytest.mark.parametrize("how", ["end", "exit", "error", "fork", "spawn"])
def test_rows_lost_at_the_end_are_told_once_and_by_the_exit_status(tmp_path: Path, how: str) -> None:
    place = Place(str(tmp_path / "workspace"), None)
    append(place.open(), make_tables(["a"]))
    tables = tmp_path / "workspace" / "tables"
    tables.rename(tmp_path / "moved")
    tables.write_text("a file in place of the folder")
    process = start("spawn" if how in ("fork", "spawn") else "leave", place, how, stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=120)
    assert errors.count("8 rows are not stored") == errors.count("StoreError") == 1
    assert "Exception ignored" not in errors
    assert process.returncode == LOST_ROWS
    assert ("on purpose" in errors) == (how == "error")
