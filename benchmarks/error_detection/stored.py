"""Baseline scores kept between runs: they change only with the baselines' code, the pair or the val rows."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from benchmarks.error_detection.baselines import BASELINES, Geometry
from benchmarks.error_detection.scores import Scored, score_baselines
from benchmarks.error_detection.traces import Pair, Split
from ml_debugger.estimation import calibration

__all__ = ["baseline_scores", "cache_folder", "fingerprint"]

HERE = Path(__file__).parent
SOURCES = (
    *sorted((HERE / "baselines").glob("*.py")),
    *(HERE / name for name in ("scores.py", "metrics.py", "traces.py")),
    Path(calibration.__file__),
)


def cache_folder() -> Path:
    """Where pairs that were made here and baseline scores are kept: ``MLD_BENCH_CACHE``, else below ``~/.cache``."""
    return Path(os.environ.get("MLD_BENCH_CACHE") or Path.home() / ".cache" / "mldebugger-bench")


def baseline_scores(
    pair: Pair, geometry: Geometry, val: Split, names: tuple[str, ...] | None, folder: Path | None
) -> dict[str, Scored]:
    """``score_baselines``, from the folder where the same was computed before; None computes anew."""
    if folder is None:
        return score_baselines(pair, geometry, val, names)
    path = folder / f"{pair.name}-{fingerprint(pair, val, names)}.npz"
    if not path.exists():
        _save(path, score_baselines(pair, geometry, val, names))
    return _load(path, tuple(pair.reported))


def fingerprint(pair: Pair, val: Split, names: tuple[str, ...] | None) -> str:
    """Of everything that the scores depend on."""
    digest = hashlib.sha256(json.dumps(names or list(BASELINES)).encode())
    for path in SOURCES:
        digest.update(path.read_bytes())
    for split in (pair.train, val, *pair.reported.values()):
        for array in (split.features, split.logits, split.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _save(path: Path, scores: dict[str, Scored]) -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, found in scores.items():
        arrays[f"{name}/val"] = found.val
        arrays[f"{name}/note"] = np.array(found.note)
        arrays[f"{name}/val_auroc"] = np.array(found.val_auroc)
        for split, values in found.score.items():
            arrays |= {f"{name}/score/{split}": values, f"{name}/proba/{split}": found.proba[split]}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(partial, **arrays)
    partial.replace(path)


def _load(path: Path, splits: tuple[str, ...]) -> dict[str, Scored]:
    with np.load(path) as archive:
        arrays = dict(archive)
    names = list(dict.fromkeys(key.split("/")[0] for key in arrays))
    return {
        name: Scored(
            arrays[f"{name}/val"],
            {split: arrays[f"{name}/score/{split}"] for split in splits},
            {split: arrays[f"{name}/proba/{split}"] for split in splits},
            str(arrays[f"{name}/note"]),
            float(arrays[f"{name}/val_auroc"]),
        )
        for name in names
    }
