"""Which images hold an object that no box covers: ``missed_proba`` against the number and scores of boxes."""

from __future__ import annotations

import numpy as np

from benchmarks.detection_errors.data import TASK, Detector
from benchmarks.detection_errors.runs import Run
from ml_debugger import columns
from ml_debugger.estimation import FitSettings
from ml_debugger.estimation.frames import MISSED_PROBA, fit_frames
from ml_debugger.estimation.metrics import auroc, brier

__all__ = ["missed_table"]


def missed_table(detector: Detector, score_thresh: float, repeats: int) -> dict[str, float]:
    """Share of images with a missed object, AUROC of each score, Brier of the probabilities; all out-of-fold."""
    output, images = detector.read(score_thresh), detector.images
    run = Run(TASK, output, images.ids, images.annotations)
    found = TASK.diagnose(run.tables[columns.RECORDS], run.tables[columns.TRUTHS]).missed
    missed = np.isin(images.ids.astype(str), found["input_id"].to_pylist())
    context = np.asarray(output.frame_context)
    count, mean = (
        np.nan_to_num(context[:, columns.FRAME_CONTEXT.index(name)]) for name in ("n_kept", "kept_score_mean")
    )
    fits = [fit_frames(context, missed, images.ids, FitSettings(seed=seed)) for seed in range(repeats)]
    ours = [fit.out_of_fold[MISSED_PROBA] for fit in fits]
    return {
        "images": float(len(missed)),
        "with a missed object": float(missed.mean()),
        "AUROC missed_proba": float(np.mean([auroc(one, missed) for one in ours])),
        "AUROC number of boxes": auroc(count, missed),
        "AUROC 1 - mean score": auroc(1.0 - mean, missed),
        "Brier missed_proba": float(np.mean([brier(one, missed) for one in ours])),
        "Brier of the share": float(missed.mean() * (1.0 - missed.mean())),
    }
