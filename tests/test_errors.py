"""Errors and warnings: what programs rely on, and that a warning points at the line of the user."""

from __future__ import annotations

import warnings

import pytest
import torch

from ml_debugger import errors
from ml_debugger.data_filter import ClassificationDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ClassificationTracer
from tests.helpers.blobs import fitted_net, make_blobs

ERRORS = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_a_code_of_its_own_and_a_status(error: type[errors.MLDebuggerError]) -> None:
    assert issubclass(error, errors.MLDebuggerError)
    assert 400 <= error.status < 600
    assert [other.__name__ for other in ERRORS if other.code == error.code] == [error.__name__]


@pytest.mark.parametrize("name", errors.__all__)
def test_the_tree_in_the_module_s_docstring_is_complete(name: str) -> None:
    assert name in errors.__doc__


def test_warnings_point_at_the_line_of_the_user() -> None:
    net = fitted_net()
    tracer = ClassificationTracer(net, "blobs", "v1")
    for seed, (tag, epoch) in enumerate((tag, epoch) for tag in ("train", "val") for epoch in (1, 2)):
        data = make_blobs(100, seed=seed)
        tracer(torch.from_numpy(data.x), data.y, [f"{tag}{i}" for i in range(100)], tag, epoch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = Evaluator("blobs", "v1").request_evaluation(n_epoch="all")
        Evaluator("blobs", "v1").request_evaluation("default", "of epoch 1", 1)
        ClassificationDataFilter(net, "blobs", "v1", "of epoch 1", 2)
        data_filter = ClassificationDataFilter(fitted_net(seed=5), "blobs", "v1", "of epoch 1")
        data_filter.query(5, "high_error_proba")
        with pytest.raises(errors.InputError):
            ClassificationDataFilter(net, "blobs", "v1", result.result_name, "newest")
    ours = [warning for warning in caught if issubclass(warning.category, errors.MLDebuggerWarning)]
    assert {warning.category for warning in ours} == {
        errors.EvaluationWarning,
        errors.EpochWarning,
        errors.WeightsWarning,
        errors.ShortResultWarning,
    }
    assert {warning.filename for warning in ours} == {__file__}
