"""What breaks while clients trace, and whether every acknowledged row is there once afterwards."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.server.clients import Check, Client, check_rows, start_clients, wait_for
from benchmarks.server.servers import RememberingS3, Restarted
from ml_debugger.store.workspace import open_store
from tests.helpers.object_store import BUCKET
from tests.helpers.postgres import PostgresServer
from tests.helpers.proxy import Proxy

CLIENTS = 4
WIDTH = 32
PATIENCE = 240.0
MIB = 2**20


@dataclass(frozen=True)
class Outcome:
    """What came of one kind of fault."""

    check: Check
    faults: int
    seconds: float
    finished: int
    refused: int
    unclear: tuple[str, ...]
    errors: int

    @property
    def passed(self) -> bool:
        """Nothing lost, and every client finished or said why not."""
        return self.check.passed and self.check.acknowledged > 0 and self.faults > 0 and not self.unclear

    def __str__(self) -> str:
        told = f"; ended without an error of ours: {self.unclear}" if self.unclear else ""
        return (
            f"{self.faults} faults in {self.seconds:.0f} s; {self.check}; {self.finished} clients finished, "
            f"{self.refused} ended with a clear error, {self.errors} errors told on the way{told}"
        )


def kill_server(seconds: float, folder: Path) -> Outcome:
    """SIGKILL to our server, a few seconds after it is up, again and again. Metadata in PostgreSQL."""
    with PostgresServer(durable=True) as postgres:
        server = Restarted(folder, str(folder / "workspace"), postgres.new_database(), {})
        server.start()
        with tracing(server, folder) as clients:

            def fault(pause: float) -> None:
                server.kill()
                time.sleep(pause)
                server.start()

            return _run(clients, server, folder, seconds, fault)


def kill_postgres(seconds: float, folder: Path) -> Outcome:
    """SIGKILL to every process of PostgreSQL, again and again."""
    with PostgresServer(durable=True) as postgres:
        server = Restarted(folder, str(folder / "workspace"), postgres.new_database(), {})
        server.start()
        with tracing(server, folder) as clients:

            def fault(pause: float) -> None:
                postgres.kill()
                time.sleep(pause)
                postgres.start()

            return _run(clients, server, folder, seconds, fault)


def kill_s3(seconds: float, folder: Path) -> Outcome:
    """SIGKILL to the S3 server, again and again. Metadata in PostgreSQL."""
    with PostgresServer(durable=True) as postgres, RememberingS3(folder) as s3, _environment(s3.environment):
        server = Restarted(folder, f"s3://{BUCKET}/workspace", postgres.new_database(), s3.environment)
        server.start()
        with tracing(server, folder) as clients:

            def fault(pause: float) -> None:
                s3.kill()
                time.sleep(pause)
                s3.start()

            return _run(clients, server, folder, seconds, fault)


def full_disk(seconds: float, folder: Path) -> Outcome:
    """The disk of the server fills up, and is given more room, again and again. Needs the right to mount."""
    disk = folder / "disk"
    disk.mkdir()
    size = 16
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(disk)], check=True)
    try:
        server = Restarted(folder, str(disk / "workspace"), None, {})
        server.start()
        with tracing(server, folder) as clients:

            def fault(_pause: float) -> None:
                nonlocal size
                while _free(disk) > MIB // 2 and any(client.process.poll() is None for client in clients):
                    time.sleep(0.2)
                time.sleep(4)  # full: whoever writes is told so
                size += 16
                subprocess.run(["mount", "-o", f"remount,size={size}m", str(disk)], check=True)

            return _run(clients, server, folder, seconds, fault, at_the_end=lambda: _grow(disk))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def slow_network(seconds: float, folder: Path) -> Outcome:
    """50 ms each way, 2 MB/s a connection, and connections that are cut without a word."""
    server = Restarted(folder, str(folder / "workspace"), None, {})
    server.start()
    with Proxy(server.port, delay=0.05, rate=2e6, cut_after=1.5e6) as proxy:
        endpoint = f"http://127.0.0.1:{proxy.port}"
        with tracing(server, folder, endpoint) as clients:

            def fault(pause: float) -> None:
                proxy.close()  # gone for a moment, too
                time.sleep(pause)
                proxy.open()

            outcome = _run(clients, server, folder, seconds, fault, every=(8.0, 12.0))
        print(f"   {proxy.cuts} connections cut", flush=True)
        return outcome


FAULTS: Mapping[str, Callable[[float, Path], Outcome]] = {
    "kill -9 of the server": kill_server,
    "kill -9 of PostgreSQL": kill_postgres,
    "kill -9 of the S3 server": kill_s3,
    "full disk": full_disk,
    "slow network": slow_network,
}


def faults(minutes: float) -> bool:
    """Every kind of fault for some minutes; True if all came to a good end."""
    passed = True
    for name, run in FAULTS.items():
        with tempfile.TemporaryDirectory(prefix="faults") as folder:
            outcome = run(60 * minutes, Path(folder))
        passed = passed and outcome.passed
        print(f"{name}: {outcome}", flush=True)
    return passed


@contextmanager
def tracing(server: Restarted, folder: Path, endpoint: str | None = None) -> Iterator[list[Client]]:
    """Clients that trace until the file ``stop`` is there."""
    environment = {
        "MLD_API_ENDPOINT": endpoint or server.endpoint,
        "MLD_API_KEY": server.key,
        "MLD_API_TIMEOUT": "30",
        "MLD_BUFFER_ROWS": "1024",
    }
    arguments = ["--until", str(folder / "stop"), "--width", str(WIDTH), "--flush-every", "8", "--pause", "0.05"]
    clients = start_clients(CLIENTS, [*arguments, "--patience", str(PATIENCE)], environment, folder)
    try:
        yield clients
    finally:
        for client in clients:
            client.end()
        server.kill()


def _run(
    clients: Sequence[Client],
    server: Restarted,
    folder: Path,
    seconds: float,
    fault: Callable[[float], None],
    *,
    every: tuple[float, float] = (1.0, 5.0),
    at_the_end: Callable[[], None] = lambda: None,
) -> Outcome:
    """Faults at random moments; then all is well again, and clients come to their end."""
    rng = random.Random(0)
    start, number = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        time.sleep(rng.uniform(*every))
        fault(rng.uniform(0.0, 2.0))
        number += 1
    at_the_end()
    elapsed = time.monotonic() - start
    (folder / "stop").touch()
    wait_for(clients, PATIENCE + 120)
    workspace = open_store(server.running.location, server.running.database_url)
    check = check_rows(workspace, clients)
    workspace.metadata.engine.dispose()
    unclear = []
    for client in clients:
        final = bool(client.said) and client.said[-1].get("final", False)
        if client.report is None and not final:
            text = (folder / f"client{client.worker}.err").read_text()
            unclear.append(f"client {client.worker}, status {client.process.returncode}: {text[-600:]}")
    finished = sum(client.report is not None for client in clients)
    told = sum(len(client.errors) for client in clients)
    return Outcome(check, number, elapsed, finished, len(clients) - finished - len(unclear), tuple(unclear), told)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """For the check, which reads the object store from this process."""
    with ExitStack() as stack:
        for name, value in values.items():
            before = os.environ.get(name)
            os.environ[name] = value
            stack.callback(_restore, name, before)
        yield


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _grow(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=2g", str(disk)], check=True)
    threading.Event().wait(0.1)
