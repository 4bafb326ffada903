"""One client: a process that traces rows and says what was acknowledged.

Run by the benchmarks as ``python -m benchmarks.server.client ...``. It uses the writer and the connection of a tracer;
the model costs nothing. Lines of JSON on stdout: ``{"acknowledged": batches}`` whenever a flush (``wait_for_save``)
has returned, ``{"error": class, "message": ...}`` when a call raised, and at the end ``{"done": ...}``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.server.rows import RUN, batches, schema_of
from ml_debugger.connect import connect
from ml_debugger.errors import MLDebuggerError, ServerError, ServiceConnectionError, StoreError
from ml_debugger.recording.writer import Writer

# After these an unsaved row may still be saved by calling again, as the message says.
PASSING = (ServiceConnectionError, StoreError, ServerError)


def main() -> None:
    """Trace ``--rows`` rows, or until the file ``--until`` is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worker", type=int)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--until", type=Path)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--flush-every", type=int, default=0, help="batches between two flushes; 0: only at the end")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two batches")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds to call a failing flush again")
    arguments = parser.parse_args()
    writer = open_writer()
    tell(ready=os.getpid())
    sys.stdin.readline()
    start, cpu = time.perf_counter(), time.process_time()
    done = 0
    for tables in rows_of(arguments):
        put(writer, schema_of(arguments.width), tables, arguments.patience)
        done += 1
        if arguments.flush_every and done % arguments.flush_every == 0:
            flush(writer, done, arguments.patience)
        time.sleep(arguments.pause)
    flush(writer, done, arguments.patience)
    tell(
        done=done,
        seconds=time.perf_counter() - start,
        cpu=time.process_time() - cpu,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def open_writer() -> Writer:
    """The writer of a tracer: in the environment are the server and a key, or the workspace of the embedded mode."""
    connection = connect()
    return Writer(connection.service.append, RUN, spool=connection.spool)


def rows_of(arguments: argparse.Namespace) -> Iterator[dict]:
    """Batches up to the number of rows, or until the file is there."""
    left = arguments.rows
    for tables in batches(arguments.worker, arguments.width):
        if arguments.until is not None and arguments.until.exists():
            return
        if arguments.until is None and left <= 0:
            return
        left -= tables["inputs"].num_rows
        yield tables


def put(writer: Writer, schema: object, tables: dict, patience: float) -> None:
    """Put rows; where there is no room for them, again as long as patience lasts. Other errors tell of earlier rows."""
    deadline = time.monotonic() + patience
    while True:
        try:
            writer.put(schema, tables)
        except PASSING as error:
            tell(error=type(error).__name__, message=str(error))
            if "not recorded" not in str(error):
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def flush(writer: Writer, batches_put: int, patience: float) -> None:
    """Flush; again as long as patience lasts, as the message says that one may."""
    deadline = time.monotonic() + patience
    while True:
        try:
            writer.flush()
        except PASSING as error:
            tell(error=type(error).__name__, message=str(error))
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            tell(acknowledged=batches_put)
            return


def tell(**values: object) -> None:
    """One line for the benchmark."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except MLDebuggerError as error:
        tell(error=type(error).__name__, message=str(error), final=True)
        sys.exit(1)
