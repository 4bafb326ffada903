"""Whether an object was missed, from what an input as a whole says."""

from __future__ import annotations

import numpy as np

from ml_debugger.columns import FRAME_CONTEXT
from ml_debugger.estimation import ErrorModel, FitSettings
from ml_debugger.estimation.frames import MISSED_PROBA, fit_frames, missed_probability
from ml_debugger.estimation.metrics import auroc


def frames(count: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    context = np.zeros((count, len(FRAME_CONTEXT)))
    missed = random.random(count) < 0.4
    context[:, FRAME_CONTEXT.index("n_free_10")] = random.poisson(np.where(missed, 3, 1))
    context[:, FRAME_CONTEXT.index("free_score_max")] = random.uniform(0, np.where(missed, 0.3, 0.2))
    context[:, FRAME_CONTEXT.index("n_kept")] = random.poisson(3, count)
    context[:, FRAME_CONTEXT.index("kept_score_mean")] = np.where(context[:, -2] > 0, 0.6, np.nan)
    return context.astype(np.float32), missed


def model_of(context: np.ndarray, missed: np.ndarray) -> tuple[ErrorModel, dict[str, np.ndarray]]:
    fitted = fit_frames(context, missed, np.arange(len(missed)), FitSettings())
    arrays = {f"frames/{path}": array for path, array in fitted.arrays.items()}
    return ErrorModel(arrays, {"targets": {}, "frames": fitted.targets}), fitted.out_of_fold


def test_free_candidates_tell_more_than_the_number_of_boxes() -> None:
    context, missed = frames()
    model, out_of_fold = model_of(context, missed)
    assert auroc(out_of_fold[MISSED_PROBA], missed) > 0.7
    fresh, wanted = frames(seed=1)
    found = missed_probability(model, fresh)
    assert auroc(found, wanted) > 0.7
    assert ((found > 0) & (found < 1)).all()


def test_the_same_bits_in_every_batch_and_after_saving() -> None:
    context, missed = frames()
    model, _ = model_of(context, missed)
    whole = missed_probability(model, context)
    again = ErrorModel.from_bytes(model.to_bytes())
    parts = [missed_probability(again, context[start : start + 7]) for start in range(0, len(context), 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert missed_probability(model, context[:0]).shape == (0,)


def test_without_context_only_a_rate_is_known() -> None:
    _, missed = frames()
    model, _ = model_of(np.zeros((len(missed), 0)), missed)
    found = missed_probability(model, np.zeros((3, 0)))
    np.testing.assert_allclose(found, missed.mean(), atol=0.02)


def test_a_model_that_did_not_learn_it_says_so() -> None:
    assert np.isnan(missed_probability(ErrorModel({}, {"targets": {}}), frames(4)[0])).all()
