"""``python -m benchmarks.server [ingest] [memory] [faults] [latency] [--minutes 10]``; without a name, all."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.server.faults import faults
from benchmarks.server.ingest import ingest, memory
from benchmarks.server.latency import latency


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="ingest, memory, faults, latency; default: all")
    parser.add_argument("--rows", type=int, default=200_000, help="rows of one ingest run")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of ingest runs")
    parser.add_argument("--minutes", type=float, default=10, help="of the memory run; each fault takes half of it")
    parser.add_argument("--pool-rows", type=int, default=1_000_000, help="scored inputs that queries select from")
    parser.add_argument("--times", type=int, default=200, help="queries of each kind")
    parser.add_argument("--folder", type=Path, help="where the pool of the queries is made, and kept for the next run")
    arguments = parser.parse_args()
    runs = {
        "ingest": lambda: ingest(arguments.rows, arguments.rounds),
        "memory": lambda: memory(arguments.minutes),
        "faults": lambda: faults(arguments.minutes / 2),
        "latency": lambda: latency(arguments.pool_rows, arguments.times, arguments.folder),
    }
    unknown = set(arguments.what) - set(runs)
    if unknown:
        parser.error(f"expected some of {', '.join(runs)}, got {', '.join(sorted(unknown))}")
    failed = []
    for name in arguments.what or runs:
        print(f"-- {name}", flush=True)
        if not runs[name]():
            failed.append(name)
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
