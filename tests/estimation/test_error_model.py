"""The error model: the same bits in every batch and after every journey."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.errors import StoreError
from ml_debugger.estimation import ErrorModel, FitSettings, fit
from ml_debugger.estimation.outliers import fit_outlier_axis
from tests.estimation.learners.test_signed_ridge import example


def fitted(
    learners: tuple[str, ...] = ("signed_ridge",), n_rows: int = 900
) -> tuple[ErrorModel, tuple[np.ndarray, ...]]:
    design, wrong = example(n_rows)
    found = fit(
        design.descriptors, {"error_proba": wrong, "det_error_proba": 1 - wrong}, np.arange(n_rows), design.baseline,
        FitSettings(learners=learners),
    )  # fmt: skip
    outlier = {f"outlier/{name}": array for name, array in fit_outlier_axis(design.descriptors[:, :2]).items()}
    model = ErrorModel({**found.arrays, **outlier}, {"targets": found.targets})
    return model, (design.descriptors, design.baseline, design.descriptors[:, :2])


MODEL, TABLE = fitted()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 899), min_size=1, max_size=100))
def test_a_row_has_the_same_bits_in_every_batch(chosen: list[int]) -> None:
    whole, some = MODEL.predict(*TABLE), MODEL.predict(*(part[chosen] for part in TABLE))
    np.testing.assert_array_equal(some.support, whole.support[chosen])
    for name in whole.error_proba:
        np.testing.assert_array_equal(some.error_proba[name], whole.error_proba[name][chosen])


@pytest.mark.parametrize("learners", [("signed_ridge",), (), ("signed_ridge", "signed_ridge")])
def test_saved_and_loaded_it_predicts_the_same_bits(learners: tuple[str, ...]) -> None:
    model, table = fitted(learners)
    again = ErrorModel.from_bytes(model.to_bytes())
    assert again.meta == model.meta
    assert again.to_bytes() == model.to_bytes()
    before, after = model.predict(*table), again.predict(*table)
    np.testing.assert_array_equal(before.support, after.support)
    for name in before.error_proba:
        np.testing.assert_array_equal(before.error_proba[name], after.error_proba[name])
        np.testing.assert_array_equal(model.predict_baseline(table[1])[name], again.predict_baseline(table[1])[name])


def test_probabilities_lie_between_zero_and_one_and_baseline_differs() -> None:
    found = MODEL.predict(*TABLE).error_proba["error_proba"]
    assert (found > 0).all()
    assert (found < 1).all()
    assert not np.array_equal(found, MODEL.predict_baseline(TABLE[1])["error_proba"])


def test_without_learners_it_is_the_baseline() -> None:
    model, table = fitted(())
    np.testing.assert_array_equal(
        model.predict(*table).error_proba["error_proba"], model.predict_baseline(table[1])["error_proba"]
    )


def test_arrays_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        next(iter(MODEL.arrays.values()))[...] = 0


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x00" * 64, MODEL.to_bytes()[:-9]])
def test_damaged_bytes_are_a_store_error(data: bytes) -> None:
    with pytest.raises(StoreError, match="error model"):
        ErrorModel.from_bytes(data)


def test_other_safetensors_are_refused() -> None:
    from safetensors.numpy import save

    with pytest.raises(StoreError, match="written by MLdebugger"):
        ErrorModel.from_bytes(save({"a": np.ones(2)}))


def test_a_newer_format_asks_for_an_upgrade() -> None:
    from safetensors.numpy import save

    header = json.dumps({"format": 99, "meta": {}})
    with pytest.raises(StoreError, match="upgrade"):
        ErrorModel.from_bytes(save({"a": np.ones(2)}, metadata={"ml_debugger": header}))


def test_no_rows() -> None:
    found = MODEL.predict(*(part[:0] for part in TABLE))
    assert found.support.shape == (0,)
    assert found.error_proba["error_proba"].shape == (0,)
