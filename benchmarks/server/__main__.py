"""``python -m benchmarks.server [ingest] [memory] [faults] [latency] [--minutes 10]``; without a name, all."""

from __future__ import annotations

import argparse
import sys

from benchmarks.server.faults import faults
from benchmarks.server.ingest import ingest, memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="ingest, memory, faults, latency; default: all")
    parser.add_argument("--rows", type=int, default=200_000, help="rows of one ingest run")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of ingest runs")
    parser.add_argument("--minutes", type=float, default=10, help="of the memory run; each fault takes half of it")
    arguments = parser.parse_args()
    runs = {
        "ingest": lambda: ingest(arguments.rows, arguments.rounds),
        "memory": lambda: memory(arguments.minutes),
        "faults": lambda: faults(arguments.minutes / 2),
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
