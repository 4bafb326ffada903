"""Entry points for tests that need real processes: run with ``python -m tests.helpers.processes WHAT LOCATION ...``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ml_debugger.recording.writer import Writer
from ml_debugger.service.contract import Service
from ml_debugger.service.http import HttpService
from ml_debugger.service.local import LocalService
from ml_debugger.service.transport import Target
from tests.helpers.rows import RUN, SCHEMA, make_tables

ROOT = Path(__file__).parents[2]


def open_service(location: str) -> Service:
    if location.startswith("http"):
        return HttpService.open(Target(location, os.environ["MLD_API_KEY"]))
    return LocalService.open(location, os.environ.get("MLD_DATABASE_URL"))


def write(location: str, worker: str, batches: str) -> None:
    """Put batches of 4 inputs with 2 units each through a writer with a small buffer."""
    service = open_service(location)
    writer = Writer(service.append, RUN, buffer_rows=40)
    for batch in range(int(batches)):
        ids = [f"{worker}-{batch}-{number}" for number in range(4)]
        base = (int(worker) << 40) + batch * 4
        recording_ids = [base + number for number in range(4)]
        tables = make_tables(ids, n_units=2, labels=[0, 1, 2, 0], recording_ids=recording_ids)
        writer.put(SCHEMA, tables)
    writer.flush()


def confirm(location: str, worker: str) -> None:
    """Write for ever; print the number of each batch that a flush has confirmed."""
    service = open_service(location)
    writer = Writer(service.append, RUN, buffer_rows=30)
    batch = 0
    while True:
        for _ in range(3):
            base = (int(worker) << 40) + batch
            tables = make_tables([f"{worker}-{batch}"], n_units=2, labels=[1], recording_ids=[base])
            writer.put(SCHEMA, tables)
            batch += 1
        writer.flush()
        sys.stdout.write(f"{batch}\n")
        sys.stdout.flush()


def leave(location: str, how: str) -> None:
    """Put rows and end without a flush: by running off the end, by an exception or by ``sys.exit``."""
    writer = Writer(open_service(location).append, RUN)
    writer.put(SCHEMA, make_tables(["a", "b"], n_units=2, labels=[0, 1]))
    del writer  # the tracer is gone, its rows are not
    if how == "error":
        raise RuntimeError("on purpose")
    if how == "exit":
        sys.exit(3)


def spawn(location: str, method: str) -> None:
    """Put rows in a child of multiprocessing that ends without a flush."""
    import multiprocessing

    child = multiprocessing.get_context(method).Process(target=leave, args=(location, "end"))
    child.start()
    child.join()
    sys.exit(child.exitcode)


def fork(location: str) -> None:
    """Fork with rows in the buffer: they are the parent's, the child's own are the child's."""
    writer = Writer(lambda request: open_service(location).append(request), RUN)
    writer.put(SCHEMA, make_tables(["parent"], recording_ids=[1]))
    child = os.fork()
    if not child:
        writer.put(SCHEMA, make_tables(["child"], recording_ids=[2]))
        writer.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
