"""Eight clients trace into one server with PostgreSQL, and into a folder without one: rows a second, CPU, memory."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.server.clients import Client, check_rows, start_clients, wait_for
from ml_debugger.store.workspace import open_store
from tests.helpers.postgres import PostgresServer
from tests.helpers.server import RunningServer, running_server

CLIENTS = 8
MIB = 2**20


def ingest(rows: int, rounds: int) -> bool:
    """Both ways in turn, ``rounds`` times; True if no row was lost or doubled."""
    results: dict[str, list[tuple[float, float]]] = {"server": [], "embedded": []}
    passed = True
    print(f"{'way':9} {'rows/s':>8} {'CPU s per 1 M rows':>19}  rows")
    for number in range(rounds):
        for way in ("server", "embedded") if number % 2 == 0 else ("embedded", "server"):
            with tempfile.TemporaryDirectory(prefix="ingest") as folder:
                speed, cpu, check = (through_server if way == "server" else embedded)(Path(folder), rows)
            results[way].append((speed, cpu))
            passed = passed and check.passed and check.acknowledged >= rows
            print(f"{way:9} {speed:>8,.0f} {cpu / rows * 1e6:>19,.0f}  {check}", flush=True)
    speeds = [a[0] / b[0] for a, b in zip(results["server"], results["embedded"], strict=True)]
    cpus = [a[1] / b[1] for a, b in zip(results["server"], results["embedded"], strict=True)]
    print(
        f"server / embedded: rows/s {statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f}), ", end=""
    )
    print(f"CPU {statistics.median(cpus):.2f} ({min(cpus):.2f} to {max(cpus):.2f}), {rounds} pairs")
    return passed


def through_server(folder: Path, rows: int) -> tuple[float, float, object]:
    """Rows a second, CPU seconds of clients, server and database, and the check."""
    with serving(folder) as (server, environment, postgres):
        watched = [psutil.Process(server.process.pid), psutil.Process(postgres.process.pid)]
        before = sum(map(cpu_of, watched))
        clients, seconds = trace(folder, rows, environment)
        cpu = sum(map(cpu_of, watched)) - before + sum(client.report["cpu"] for client in clients if client.report)
        workspace = open_store(server.location, server.database_url)
        check = check_rows(workspace, clients)
        workspace.metadata.engine.dispose()
    return rows / seconds, cpu, check


def embedded(folder: Path, rows: int) -> tuple[float, float, object]:
    """The same without a server."""
    home = str(folder / "workspace")
    clients, seconds = trace(folder, rows, {"MLD_HOME": home, "MLD_API_ENDPOINT": ""})
    cpu = sum(client.report["cpu"] for client in clients if client.report)
    return rows / seconds, cpu, check_rows(open_store(home), clients)


def trace(folder: Path, rows: int, environment: Mapping[str, str]) -> tuple[list[Client], float]:
    """All clients, from the first row to the last acknowledgement."""
    arguments = ["--rows", str(rows // CLIENTS)]
    clients = start_clients(CLIENTS, arguments, environment, folder)
    start = time.perf_counter()
    wait_for(clients, 3600)
    failed = [client for client in clients if client.report is None]
    if failed:
        raise SystemExit(f"a client failed: {failed[0].said[-3:]} {(folder / 'client1.err').read_text()[-2000:]}")
    return clients, time.perf_counter() - start


@contextmanager
def serving(folder: Path, **options: object) -> Iterator[tuple[RunningServer, dict[str, str], PostgresServer]]:
    """A server with a folder and a PostgreSQL that forces commits to the disk; and the environment of its clients."""
    with PostgresServer(durable=True) as postgres:
        url = postgres.new_database()
        with running_server(folder / "server", database_url=url, **options) as server:
            yield server, {"MLD_API_ENDPOINT": server.endpoint, "MLD_API_KEY": server.first_key}, postgres


def memory(minutes: float) -> bool:
    """Resident memory of the server while eight clients trace for some minutes; True if it is flat."""
    with tempfile.TemporaryDirectory(prefix="memory") as name, serving(Path(name)) as (server, environment, _):
        folder = Path(name)
        stop = folder / "stop"
        process = psutil.Process(server.process.pid)
        clients = start_clients(CLIENTS, ["--until", str(stop), "--flush-every", "80"], environment, folder)
        samples, start = [], time.monotonic()
        while time.monotonic() - start < 60 * minutes:
            threading.Event().wait(1)
            samples.append(process.memory_info().rss / MIB)
        stop.touch()
        wait_for(clients, 600)
        workspace = open_store(server.location, server.database_url)
        check = check_rows(workspace, clients)
        workspace.metadata.engine.dispose()
    parts = [samples[len(samples) * part // 10 : len(samples) * (part + 1) // 10] for part in range(10)]
    medians = [statistics.median(part) for part in parts]
    flat = statistics.median(medians[7:]) <= 1.15 * statistics.median(medians[2:5])
    print(f"memory of the server over {minutes:g} minutes, median MiB of each tenth: ", end="")
    print(" ".join(f"{median:.0f}" for median in medians), f"peak {max(samples):.0f}:", "flat" if flat else "GROWS")
    print(check)
    return flat and check.passed


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process and those that it started."""
    family = [process, *process.children(recursive=True)]
    times = [member.cpu_times() for member in family if member.is_running()]
    return sum(time.user + time.system + time.children_user + time.children_system for time in times)
