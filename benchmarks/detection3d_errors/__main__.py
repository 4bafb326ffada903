"""``python -m benchmarks.detection3d_errors``: learn from half of KITTI's frames, answer for the other, print tables.

With ``--choose`` the other half, the pool, is not looked at: the first half is split in two, once per seed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SCORES = (0.3, 0.1, 0.5)
TRANSFERRED = 0.3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 0 unless there is no data."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection3d_errors", description=__doc__)
    parser.add_argument("--scores", type=float, nargs="*", default=SCORES, help="score thresholds")
    parser.add_argument("--detectors", nargs="*", help="of PointPillars and Frustum-PointNet; default both")
    parser.add_argument("--choose", type=int, nargs="+", metavar="SEED", help="stay within the evaluation half")
    parser.add_argument("--output", type=Path, default=Path("out/detection3d_errors"), help="folder of the tables")
    options = parser.parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from benchmarks.detection3d_errors import report
    from benchmarks.detection3d_errors.protocol import read_world
    from benchmarks.error_detection.traces import data_folder

    folder = data_folder() / "kitti3d"
    if not folder.is_dir():
        sys.stderr.write(f"no detections at {folder}: set MLD_TEST_DATA to the folder that holds kitti3d/\n")
        return 1
    world = read_world(folder)
    detectors = options.detectors or list(world.found)
    measured = report.Measured()
    for name, known_frames, asked_frames in _splits(world.n_frames, options.choose):
        for score in options.scores:
            _measure(measured, world, detectors, (name, known_frames, asked_frames), score)
            sys.stderr.write(f"{name or 'pool half'} at score {score}: done\n")
    sys.stdout.write(report.write(measured, options.output))
    return 0


def _splits(n_frames: int, seeds: Sequence[int] | None) -> Iterator[tuple[str, Any, Any]]:
    """Name, frames to learn from, frames to answer for."""
    import numpy as np

    from benchmarks.detection3d_errors.data import halves

    evaluated, pool = halves(n_frames)
    if seeds is None:
        yield "", evaluated, pool
        return
    own = np.flatnonzero(evaluated)
    for seed in seeds:
        known, asked = (np.zeros(n_frames, dtype=bool) for _ in range(2))
        for chosen, half in zip((known, asked), halves(len(own), seed=1 + seed), strict=True):
            chosen[own[half]] = True
        yield f", split {seed}", known, asked


def _measure(measured: Any, world: Any, detectors: Sequence[str], split: tuple[str, Any, Any], score: float) -> None:
    """All detectors at one score threshold; how right a box must be is tried both ways."""
    from benchmarks.detection3d_errors.protocol import MATCHINGS, answer, learn, missed_row, part_of
    from benchmarks.detection3d_errors.report import ISOTONIC

    suffix, known_frames, asked_frames = split
    for matching in MATCHINGS:
        known, asked, found = {}, {}, {}
        for name in detectors:
            known[name] = part_of(world, name, known_frames, (matching, score))
            asked[name] = part_of(world, name, asked_frames, (matching, score))
            found[name] = learn(known[name])
            key = f"{name}, {matching}{suffix}", score
            measured.answers[key] = answer(known[name], found[name], asked[name])
            measured.missed[key] = missed_row(found[name], asked[name])
        if score == TRANSFERRED and len(detectors) == 2:
            for name, other in (detectors, detectors[::-1]):
                key = f"{name}, {matching}{suffix}", score
                measured.transferred[key] = answer(known[other], found[other], asked[name], [ISOTONIC])


if __name__ == "__main__":
    sys.exit(main())
