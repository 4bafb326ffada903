"""What else could tell wrong boxes: each learns from labelled boxes and answers for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BOOSTING", "RIVALS", "Boxes", "joined", "metadetect"]

Float64 = NDArray[np.float64]
FEW: Final = 10  # a class with fewer errors, or fewer right boxes, gets the calibration of all classes


@dataclass(frozen=True)
class Boxes:
    """N boxes: ``score``, ``label``, ``features (N, F)``, and what is known of labelled ones: ``wrong``, ``iou``."""

    score: Float64
    label: NDArray[np.int64]
    features: Float64
    wrong: NDArray[np.bool_]
    iou: Float64

    def rows(self, chosen: NDArray[Any]) -> Boxes:
        """Some of them."""
        return Boxes(
            self.score[chosen], self.label[chosen], self.features[chosen], self.wrong[chosen], self.iou[chosen]
        )


def joined(one: Boxes, other: Boxes) -> Boxes:
    """First those, then these."""
    return Boxes(**{name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in vars(one)})


def _log_odds(score: Float64) -> Float64:
    inside = np.clip(score, 1e-4, 1 - 1e-4)
    return (np.log1p(-inside) - np.log(inside))[:, None]


def raw(known: Boxes, asked: Boxes) -> Float64:
    """One minus the score."""
    return 1.0 - asked.score


def platt(known: Boxes, asked: Boxes) -> Float64:
    """Platt scaling of the score's log-odds."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=100.0).fit(_log_odds(known.score), known.wrong)
    return model.predict_proba(_log_odds(asked.score))[:, 1]


def isotonic(known: Boxes, asked: Boxes) -> Float64:
    """Isotonic regression of the score."""
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(1.0 - known.score, known.wrong)
    return model.predict(1.0 - asked.score)


def per_class(known: Boxes, asked: Boxes) -> Float64:
    """Platt scaling of each predicted class that has enough errors, of all together for the others."""
    found = platt(known, asked)
    for label in np.unique(asked.label):
        mine = known.label == label
        errors = int(known.wrong[mine].sum())
        if min(errors, int(mine.sum()) - errors) >= FEW:
            rows = asked.label == label
            found[rows] = platt(known.rows(mine), asked.rows(rows))
    return found


def metadetect(known: Boxes, asked: Boxes) -> Float64:
    """Gradient boosting on MetaDetect's features."""
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(
        n_estimators=150, learning_rate=0.05, max_depth=3, subsample=0.7, min_samples_leaf=20, random_state=0
    )
    return model.fit(known.features, known.wrong).predict_proba(asked.features)[:, 1]


def metadetect_linear(known: Boxes, asked: Boxes) -> Float64:
    """The same features in a ridge logistic regression, its strength chosen by inner folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    line = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model = GridSearchCV(line, {"logisticregression__C": [0.001, 0.01, 0.1]}, scoring="neg_log_loss")
    return model.fit(known.features, known.wrong).predict_proba(asked.features)[:, 1]


BOOSTING: Final = "MetaDetect, boosting"
RIVALS: Final[dict[str, Callable[[Boxes, Boxes], Float64]]] = {
    "score": raw,
    "score + Platt": platt,
    "score + isotonic": isotonic,
    "score + per class": per_class,
    BOOSTING: metadetect,
    "MetaDetect, linear": metadetect_linear,
}
