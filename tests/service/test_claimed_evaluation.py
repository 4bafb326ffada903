"""An evaluation that is begun again by the same claimant, as by a server after a crash, is made once."""

from __future__ import annotations

import pytest

from ml_debugger.errors import InputError
from ml_debugger.service.contract import EvaluationRequest
from ml_debugger.service.local import LocalService
from tests.helpers.labelled import LABELLED_SCHEMA, labelled_tables
from tests.helpers.rows import RUN, append

REQUEST = EvaluationRequest(RUN, result_name="named", options={"bootstrap": 20})


class CrashError(BaseException):
    """The process is gone: nothing is given back."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> LocalService:
    service = LocalService.open("memory://")
    append(service, labelled_tables(60, "val"), schema=LABELLED_SCHEMA)
    return service


def test_what_was_completed_is_found_again(service: LocalService) -> None:
    made = service.evaluate(REQUEST, claimant="job")
    again = service.evaluate(REQUEST, claimant="job")
    assert again.info == made.info
    assert len(service.workspace.metadata.results()) == 1
    with pytest.raises(InputError, match="'named' is taken"):
        service.evaluate(REQUEST, claimant="another")
    with pytest.raises(InputError, match="'named' is taken"):
        service.evaluate(REQUEST)


def test_a_name_that_was_left_reserved_is_taken_again(service: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(stage: str, done: float) -> None:
        if done > 0:
            raise CrashError

    metadata = service.workspace.metadata
    with monkeypatch.context() as patch:
        patch.setattr(type(metadata), "release_result", lambda *_: None)  # as after a kill
        with pytest.raises(CrashError):
            service.evaluate(REQUEST, crash, claimant="job")
    assert metadata.claimed_by("job") == ("named", False)
    assert service.evaluate(REQUEST, claimant="job").info["result_name"] == "named"
    assert len(metadata.results()) == 1
