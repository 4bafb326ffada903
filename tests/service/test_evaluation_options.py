"""Options are checked, and a mistake lists what is allowed."""

from __future__ import annotations

import pytest

from ml_debugger.errors import ConfigError
from ml_debugger.service.evaluation_options import EvaluationOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stabel_risk": 0.1}, "stabel_risk"),
        ({"stable_risk": 0}, "stable_risk"),
        ({"stable_risk": "low"}, "stable_risk"),
        ({"fit_on": []}, "at least one dataset_type"),
        ({"fit_on": "val"}, "fit_on"),
        ({"learners": ["forest"]}, "no such learner: forest; available: signed_ridge, boosted_ridge"),
        ({"t_lo": 0.5, "t_hi": 0.3}, "t_lo 0.5 is above t_hi 0.3"),
        ({"c_lo_percentile": 90}, "c_lo_percentile 90.0 is above"),
        ({"certification_share": 1.0}, "certification_share"),
        ({"n_folds": 1}, "n_folds"),
        ({"max_fit_rows": 3}, "max_fit_rows"),
        ({"seed": -1}, "seed"),
        ({"matching": {"iou": 0.5}}, "matching: expected a dict with some of foreground_iou"),
        ({"matching": {"foreground_iou": 2}}, "foreground_iou: expected more than 0 and at most 1"),
        ("fast", "options: expected"),
    ],
)
def test_mistakes(options, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        EvaluationOptions.read(options, "options")
    assert "Allowed options: fit_on, bank_from, learners, stable_risk" in str(caught.value)


def test_good_options() -> None:
    chosen = EvaluationOptions.read({"fit_on": ["val", "test"], "stable_risk": 0.02, "learners": []}, "options")
    assert chosen.fit_on == ("val", "test")
    assert chosen.learners == ()
    assert chosen.n_folds == 5
