"""``python -m benchmarks.error_detection``: measure, print the tables, write them to a folder."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
QUICK_PAIRS = ("cifar10_resnet20", "fashion_cnn_lsmix", "glyph_cnn_lsmix", "mnist9_cnn", "mnist_mlp", "tab_mlp_overfit")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 0 unless there is nothing to measure."""
    options = parse(arguments)
    # Before NumPy is loaded, here and in the workers: one thread each, as many workers as asked for.
    for name in THREAD_SETTINGS:
        os.environ.setdefault(name, "1")
    from benchmarks.error_detection import report
    from benchmarks.error_detection.protocol import Measured

    if options.report:
        sys.stdout.write(report.write(report.read(options.output), options.output))
        return 0
    try:
        paths = find_pairs(options)
    except FileNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not paths:
        sys.stderr.write(
            "no pairs found: set MLD_TEST_DATA to the folder that holds error_pairs/, or run with --make\n"
        )
        return 1
    measured, started = Measured(), time.perf_counter()
    with ProcessPoolExecutor(options.jobs) as pool:
        waiting = {pool.submit(measure_path, path, options): name for name, path in paths.items()}
        parts = {}
        for done in as_completed(waiting):
            parts[waiting[done]] = done.result()
            seconds = time.perf_counter() - started
            sys.stderr.write(f"[{len(parts)}/{len(paths)}] {waiting[done]}, {seconds:.0f} s\n")
    for name in paths:
        measured.extend(parts[name])
    sys.stdout.write(report.write(measured, options.output))
    sys.stderr.write(f"Tables and CSV files are in {options.output}\n")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_detection", description=__doc__)
    parser.add_argument("--pairs", nargs="*", default=None, help="names of pairs; default all there are")
    parser.add_argument("--quick", action="store_true", help="six pairs, all val rows only, fewer resamples")
    parser.add_argument("--methods", nargs="*", default=None, help="baselines to run besides msp; default all")
    parser.add_argument("--output", type=Path, default=Path("out/error_detection"), help="folder of the tables")
    parser.add_argument("--make", action="store_true", help="first make the further pairs through our own tracer")
    parser.add_argument("--fresh", action="store_true", help="compute baseline scores anew, not from the cache")
    parser.add_argument("--report", action="store_true", help="only write the tables again, from the CSV files")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worker processes")
    return parser.parse_args(arguments)


def find_pairs(options: argparse.Namespace) -> dict[str, Path]:
    """Pair files by name: the development pairs, then those made here."""
    from benchmarks.error_detection import stored, traces

    made = stored.cache_folder() / "pairs"
    if options.make:
        from benchmarks.error_detection.makers import make_pairs

        make_pairs(made, traces.data_folder())
    found = {**traces.list_pairs(traces.data_folder() / "error_pairs"), **traces.list_pairs(made)}
    wanted = options.pairs or (QUICK_PAIRS if options.quick else tuple(found))
    unknown = sorted(set(wanted) - set(found))
    if unknown and options.pairs:
        raise SystemExit(f"--pairs: no such pair {unknown}; there are {sorted(found)}")
    return {name: found[name] for name in wanted if name in found}


def measure_path(path: Path, options: argparse.Namespace) -> object:
    """Every table of the pair at a path; runs in a worker."""
    from benchmarks.error_detection import stored
    from benchmarks.error_detection.protocol import Plan, measure_pair
    from benchmarks.error_detection.traces import load_pair

    cache = None if options.fresh else stored.cache_folder() / "scores"
    methods = None if options.methods is None else tuple(dict.fromkeys(("msp", *options.methods)))
    plan = Plan(methods=methods, cache=cache)
    if options.quick:
        plan = Plan(sizes=((None, 1),), resamples=300, methods=methods, cache=cache)
    return measure_pair(load_pair(path), plan)


if __name__ == "__main__":
    sys.exit(main())
