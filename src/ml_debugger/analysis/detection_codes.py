"""Error codes of predicted boxes and of missed annotations, in the words of the guide."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CODE_MEANINGS", "NO_PREDICTION", "detection_codes", "is_certain", "missed_codes"]

NO_PREDICTION: Final = "NP"
"""In place of the code of a prediction, for annotations that no prediction belongs to."""

CODE_MEANINGS: Final = {
    "U": ("Undefined", "the match cannot be determined"),
    "A": ("Aligned", "in the right place"),
    "D": ("Duplicate", "in the place of an annotation that another prediction already has"),
    "SG": ("Separated GTs", "one prediction over several annotations"),
    "SP": ("Separated Preds", "one of several predictions that share an annotation"),
    "M": ("Matched", "belongs to an annotation, badly placed"),
    "ON": ("Overlap No Pair", "belongs to no annotation, overlaps another prediction"),
    "N": ("No Pair", "belongs to no annotation"),
    NO_PREDICTION: ("No Pred Pair", "an annotation that no prediction belongs to"),
}
"""Name and meaning of each code, in the order in which their rules are tried."""

ERROR_PROBA_THRESH: Final = 0.8

Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]


def detection_codes(code: NDArray[np.object_], truth: Int64, label: Int64, certain: Bool) -> list[str]:
    """Error code of each of U predicted boxes: ``DET:{code}:CLS{annotated}->{predicted}``.

    ``DET:A:CLS3->3`` is right, ``DET:A:CLS3->5`` in the right place with the wrong class, ``DET:M:CLS3->3`` badly
    placed; ``DET:N:CLS->3`` belongs to no annotation. ``*`` after the code (``DET:M*:CLS3->3``): it is not certain.

    Args:
        code: ``(U,)`` from `Match.code`.
        truth: ``(U,)`` class of the annotated box that each belongs to; -1 where there is none.
        label: ``(U,)`` predicted classes.
        certain: ``(U,)`` whether to show the code without ``*``.
    """
    annotated = np.where(truth >= 0, truth.astype(object), "")
    rows = zip(code.tolist(), certain.tolist(), annotated.tolist(), label.tolist(), strict=True)
    return [f"DET:{name}{'' if is_sure else '*'}:CLS{t}->{y}" for name, is_sure, t, y in rows]


def missed_codes(truth_label: Int64) -> list[str]:
    """``DET:NP:CLS{annotated}->`` for each class of a missed annotation."""
    return [f"DET:{NO_PREDICTION}:CLS{label}->" for label in truth_label.tolist()]


def is_certain(
    certain: Bool,
    det_error: Bool,
    det_error_proba: NDArray[np.floating[Any]],
    error_proba_thresh: float = ERROR_PROBA_THRESH,
) -> Bool:
    """``(U,)`` whether a code stands without ``*``: the thresholds do not decide it, nor does the error model doubt it.

    The model doubts a box in the wrong place that it finds likely to be in the right one: ``det_error_proba`` less than
    ``1 - error_proba_thresh``. Then the annotation deserves a look.

    Args:
        certain: ``(U,)`` from `Match.certain`.
        det_error: ``(U,)`` from `Match.det_error`.
        det_error_proba: ``(U,)``; NaN doubts nothing.
        error_proba_thresh: 0..1.
    """
    return certain & ~(det_error & (det_error_proba < 1.0 - error_proba_thresh))
