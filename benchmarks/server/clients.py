"""Starting clients, hearing what they say, and checking afterwards what was stored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.server.rows import BATCH, RUN, recordings_of
from ml_debugger import columns
from ml_debugger.store.tables import RowFilter, TableKey
from ml_debugger.store.workspace import Workspace

ROOT = Path(__file__).parents[2]
KINDS = (columns.INPUTS, columns.RECORDS, columns.TRUTHS)


@dataclass
class Client:
    """One client, and what it has said."""

    worker: int
    process: subprocess.Popen[str]
    said: list[dict[str, Any]] = field(default_factory=list)
    listener: threading.Thread | None = None

    def listen(self) -> None:
        """Keep what it says, until it ends."""
        for line in self.process.stdout or ():
            self.said.append(json.loads(line))

    def end(self) -> None:
        """Kill it if it still runs, and hear its last words."""
        self.process.kill()
        self.process.wait()
        if self.listener is not None:
            self.listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def acknowledged(self) -> int:
        """Batches that a flush has acknowledged."""
        return max([line["acknowledged"] for line in self.said if "acknowledged" in line], default=0)

    @property
    def report(self) -> dict[str, Any] | None:
        """What it said at its end, where it came to it."""
        found = [line for line in self.said if "done" in line]
        return found[0] if found else None

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Errors that its calls raised."""
        return [line for line in self.said if "error" in line]


def start_clients(number: int, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> list[Client]:
    """Start clients, and let all go at once when each is ready."""
    alone = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    clients = []
    for worker in range(1, number + 1):
        own = {**os.environ, **alone, **environment, "MLD_SPOOL": str(folder / f"spool{worker}")}
        with (folder / f"client{worker}.err").open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.server.client", str(worker), *arguments],
                cwd=ROOT,
                env=own,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        client = Client(worker, process)
        client.listener = threading.Thread(target=client.listen, daemon=True)
        client.listener.start()
        clients.append(client)
    while not all(client.said or client.process.poll() is not None for client in clients):
        threading.Event().wait(0.05)
    for client in clients:
        if client.process.stdin is not None:
            client.process.stdin.write("\n")
            client.process.stdin.flush()
    return clients


def wait_for(clients: Sequence[Client], seconds: float) -> None:
    """Wait until every client has ended; kill those that do not."""
    for client in clients:
        with suppress(subprocess.TimeoutExpired):
            client.process.wait(seconds)
        client.end()


@dataclass(frozen=True)
class Check:
    """What became of the rows of clients."""

    acknowledged: int
    stored: int
    lost: int
    doubled: int
    incomplete: int

    @property
    def passed(self) -> bool:
        """Whether every acknowledged row is there once, and every input whole."""
        return self.lost == self.doubled == self.incomplete == 0

    def __str__(self) -> str:
        verdict = "ok" if self.passed else "FAILED"
        return (
            f"{self.acknowledged:,} rows acknowledged, {self.stored:,} stored; {self.lost} lost, "
            f"{self.doubled} doubled, {self.incomplete} incomplete: {verdict}"
        )


def check_rows(workspace: Workspace, clients: Sequence[Client], batch: int = BATCH) -> Check:
    """Compare the tables themselves, not what a scan makes of them, with what was acknowledged."""
    tables = workspace.tables
    found = {}
    for kind in KINDS:
        snapshot = tables.snapshot(TableKey(kind, "classification", RUN.model_name), columns.schema_of(kind))
        found[kind] = snapshot.rows(RowFilter(RUN.version_name)).select("recording_id").collect()["recording_id"]
    inputs = found[columns.INPUTS]
    wanted = [
        pl.Series(recordings_of(client.worker, number, batch))
        for client in clients
        for number in range(client.acknowledged)
    ]
    acknowledged = pl.concat(wanted) if wanted else pl.Series([], dtype=pl.Int64)
    seen = inputs.unique()
    doubled = sum(len(ids) - ids.n_unique() for ids in found.values())
    incomplete = sum((~seen.is_in(found[kind].implode())).sum() for kind in (columns.RECORDS, columns.TRUTHS))
    lost = int((~acknowledged.is_in(seen.implode())).sum())
    return Check(len(acknowledged), len(seen), lost, doubled, incomplete)
