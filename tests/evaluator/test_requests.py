"""The evaluator passes on what it is asked."""

from __future__ import annotations

import pytest

from ml_debugger.errors import NotFoundError
from ml_debugger.evaluator import Evaluator
from ml_debugger.evaluator import requests as module
from ml_debugger.service.contract import EvaluationRequest, RunKey
from tests.helpers.fake_service import LISTED, FakeConnection, FakeService
from tests.helpers.payloads import make_payload

RUN = RunKey("toy", "v1")


@pytest.fixture
def connection(monkeypatch):
    made = FakeConnection(FakeService(make_payload()))
    monkeypatch.setattr(module, "connect", lambda *arguments: made)
    return made


class TestEvaluator:
    def test_evaluation_flushes_first_and_passes_everything_on(self, connection):
        result = Evaluator("toy", "v1").request_evaluation("m", "r", 3, {"stable_risk": 0.1})
        assert connection.service.calls == [
            ("flush", RUN),
            ("evaluate", EvaluationRequest(RUN, "m", "r", 3, {"stable_risk": 0.1})),
        ]
        assert result.result_name == "toy_v1_classification_v1_20260102"

    def test_defaults_are_the_documented_ones(self, connection):
        Evaluator("toy", "v1").request_evaluation()
        assert connection.service.calls[-1] == ("evaluate", EvaluationRequest(RUN, "default", None, "latest", None))

    def test_results_are_listed_in_the_public_columns(self, connection):
        frame = Evaluator("toy", "v1").list_results()
        assert tuple(frame.columns) == LISTED
        assert frame["n_epoch"].dtype == "Int64"
        assert connection.service.calls == [("list_results", (RUN, None, None, "latest"))]

    def test_a_listed_result_can_be_had(self, connection):
        evaluator = Evaluator("toy", "v1")
        assert evaluator.get_result(evaluator.list_results()["result_name"][0]).n_epoch == 2
        assert connection.service.calls[-1][1][1] == RUN
        with pytest.raises(NotFoundError):
            evaluator.get_result("other")

    def test_names_and_service_can_be_read(self, connection):
        evaluator = Evaluator("toy", "v1")
        assert (evaluator.model_name, evaluator.version_name) == ("toy", "v1")
        assert evaluator.service_client is connection.service
        assert repr(evaluator) == "Evaluator(model_name='toy', version_name='v1')"
