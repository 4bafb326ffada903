"""``python -m benchmarks.detection_errors``: measure, print the tables, write them to a folder."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

THRESHOLDS = (0.2, 0.3, 0.5)
CELLS = "Faster R-CNN (cells)"
DETECTORS = ("YOLOX-nano", "NanoDet-m", CELLS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 0 unless there is no data."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection_errors", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of the five folds")
    parser.add_argument("--thresholds", type=float, nargs="*", default=THRESHOLDS)
    parser.add_argument("--detectors", nargs="*", default=DETECTORS, choices=DETECTORS)
    parser.add_argument("--output", type=Path, default=Path("out/detection_errors"), help="folder of the tables")
    options = parser.parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from benchmarks.detection_errors import report
    from benchmarks.detection_errors.missed import missed_table
    from benchmarks.detection_errors.protocol import answer
    from benchmarks.error_detection.stored import cache_folder
    from benchmarks.error_detection.traces import data_folder

    folder = data_folder()
    if not (folder / "coco355").is_dir():
        sys.stderr.write(f"no images at {folder / 'coco355'}: set MLD_TEST_DATA to the folder that holds coco355/\n")
        return 1
    detectors = {name: found for name in options.detectors if (found := _detector(name, folder)) is not None}
    measured, missed = {}, {}
    for name, detector in detectors.items():
        for threshold in options.thresholds:
            measured[name, threshold] = answer(detector, threshold, options.repeats, cache_folder() / "scores")
            missed[name, threshold] = missed_table(detector, threshold, options.repeats)
            sys.stderr.write(f"{name} at score {threshold}: done\n")
    sys.stdout.write(report.write(measured, missed, options.output))
    return 0


def _detector(name: str, folder: Path) -> Any:
    """A detector by its name; None, saying so, where its weights are missing."""
    from benchmarks.detection_errors.data import load_images, ready_proposals, suppressed_at, yolox_proposals
    from benchmarks.error_detection.stored import cache_folder

    cache = cache_folder()
    if name == CELLS:
        from benchmarks.detection_errors.cells import cell_detector, load_cells
        from benchmarks.detection_errors.train_bccd import WEIGHTS

        if not (cache / WEIGHTS).exists():
            sys.stderr.write(f"{name} left out: train it with python -m benchmarks.detection_errors.train_bccd\n")
            return None
        return cell_detector(cache / WEIGHTS, load_cells(folder / "bccd" / "BCCD"), cache)
    images = load_images(folder / "coco355")
    if name == "NanoDet-m":
        return suppressed_at(ready_proposals(folder / "coco355/dets_nanodet_m320.json", images), images)
    return suppressed_at(
        yolox_proposals(folder / "models/yolox_nano.onnx", images, cache / "yolox_coco355_heads.npz"), images
    )


if __name__ == "__main__":
    sys.exit(main())
