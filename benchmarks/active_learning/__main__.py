"""``python -m benchmarks.active_learning``: measure, print the tables, write them to a folder."""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
QUICK_SETTINGS = ("digits_cnn", "cifar_frozen")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 0 unless there is nothing to measure."""
    options = parse(arguments)
    # Before NumPy is loaded, here and in the workers: one thread each, as many workers as asked for.
    for name in THREAD_SETTINGS:
        os.environ.setdefault(name, "1")
    from benchmarks.active_learning import report

    if options.report:
        sys.stdout.write(report.write(read_rows(options.output / "accuracy.csv"), options.output))
        return 0
    settings, strategies = chosen(options)
    if not settings:
        sys.stderr.write("no data: set MLD_TEST_DATA to the folder that holds mnist/, cifar10/ and error_pairs/\n")
        return 1
    jobs = [(name, seed) for seed in range(options.seeds) for name in settings]
    started, parts = time.perf_counter(), {}
    with ProcessPoolExecutor(options.jobs) as workers:
        waiting = {workers.submit(measure, *job, strategies): job for job in jobs}
        for done in as_completed(waiting):
            name, seed = waiting[done]
            parts[name, seed] = done.result()
            report.save(collect(parts, settings, options.seeds), options.output)
            seconds = time.perf_counter() - started
            sys.stderr.write(f"[{len(parts)}/{len(jobs)}] {name}, seed {seed}, {seconds:.0f} s\n")
    sys.stdout.write(report.write(collect(parts, settings, options.seeds), options.output))
    sys.stderr.write(f"Tables, CSV files and curves are in {options.output}\n")
    return 0


def collect(parts: Mapping[tuple[str, int], Sequence[Any]], settings: Sequence[str], seeds: int) -> list[Any]:
    """Rows of the parts that are there, in the order of settings and seeds."""
    return [row for name in settings for seed in range(seeds) for row in parts.get((name, seed), ())]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.active_learning", description=__doc__)
    parser.add_argument("--settings", nargs="*", default=None, help="names of settings; default all but tuning ones")
    parser.add_argument("--tuning", action="store_true", help="the settings that constants were chosen on, instead")
    parser.add_argument("--strategies", nargs="*", default=None, help="strategies besides random; default all")
    parser.add_argument("--seeds", type=int, default=None, help="how many; default 5")
    parser.add_argument("--quick", action="store_true", help="two settings, two seeds: under a minute")
    parser.add_argument("--output", type=Path, default=Path("out/active_learning"), help="folder of the tables")
    parser.add_argument("--report", action="store_true", help="only write the tables again, from accuracy.csv")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worker processes")
    options = parser.parse_args(arguments)
    if options.seeds is None:
        options.seeds = 2 if options.quick else 5
    return options


def chosen(options: argparse.Namespace) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Settings whose data is there, and strategies, the control first."""
    from benchmarks.active_learning.product import OURS
    from benchmarks.active_learning.rivals import CONTROL, RIVALS
    from benchmarks.active_learning.settings import SETTINGS
    from benchmarks.error_detection.traces import data_folder

    default = [name for name, setting in SETTINGS.items() if setting.tuning == options.tuning]
    wanted = options.settings or (QUICK_SETTINGS if options.quick else default)
    strategies = options.strategies or (*RIVALS, *OURS)
    for argument, names, there in (("settings", wanted, SETTINGS), ("strategies", strategies, (*RIVALS, *OURS))):
        if unknown := sorted(set(names) - set(there)):
            raise SystemExit(f"--{argument}: no such {unknown}; there are {sorted(there)}")
    try:
        data_folder()
    except FileNotFoundError:
        wanted = [name for name in wanted if SETTINGS[name].source == "digits"]
        sys.stderr.write("MLD_TEST_DATA names no folder: only the settings on scikit-learn's digits are run\n")
    return tuple(wanted), tuple(dict.fromkeys((CONTROL, *strategies)))


def measure(name: str, seed: int, strategies: tuple[str, ...]) -> list[dict[str, Any]]:
    """All arms of one setting and seed; runs in a worker."""
    import torch

    from benchmarks.active_learning.protocol import measure_setting

    torch.set_num_threads(1)
    return measure_setting(name, seed, strategies)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The measurements of an earlier run."""
    whole, fractional = ("seed", "draw", "n_labels"), ("accuracy", "seconds")
    with path.open(newline="") as file:
        return [
            {**row, **{key: int(row[key]) for key in whole}, **{key: float(row[key]) for key in fractional}}
            for row in csv.DictReader(file)
        ]


if __name__ == "__main__":
    sys.exit(main())
