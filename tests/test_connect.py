"""Connections: one service per workspace and process, and the writers that an evaluation flushes."""

from __future__ import annotations

import gc
import shutil
import traceback
from pathlib import Path

import numpy as np
import pytest

from ml_debugger.connect import connect
from ml_debugger.errors import ConfigError, LicenseError, ServiceConnectionError, StoreError
from ml_debugger.service.contract import RunKey, ScanRequest
from ml_debugger.training import ClassificationTracer

RUN = RunKey("plain", "v1")
ONES = np.ones((2, 3), np.float32)


def traced(*ids: str) -> ClassificationTracer:
    tracer = ClassificationTracer(lambda x: x, *(RUN.model_name, RUN.version_name))
    tracer(ONES, [0, 1], list(ids))
    return tracer


def stored_ids() -> list[str]:
    batches = connect().service.scan(ScanRequest(RUN, "inputs"))
    return sorted(name for batch in batches for name in batch["input_id"].to_pylist())


class Flushed:
    """Counts its flushes, as a writer would be flushed."""

    def __init__(self) -> None:
        self.n = 0

    def flush(self) -> None:
        self.n += 1


def test_a_workspace_has_one_service(tmp_path: Path) -> None:
    assert connect().service is connect().service
    assert connect(home=tmp_path / "other").service is not connect().service
    assert connect(home=tmp_path / "other").location == str(tmp_path / "other")


def test_a_workspace_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    traced("a", "b").wait_for_save()
    shutil.rmtree(connect().location)
    traced("c", "d").wait_for_save()
    assert stored_ids() == ["c", "d"]


def test_a_workspace_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    home = Path(connect().location)
    traced("a", "b").wait_for_save()
    home.rename(tmp_path / "moved")
    traced("c", "d").wait_for_save()
    shutil.rmtree(home)
    (tmp_path / "moved").rename(home)
    assert stored_ids() == ["a", "b"]


def test_a_tracer_of_a_deleted_workspace_fails_aloud_and_keeps_its_rows() -> None:
    tracer = traced("a", "b")
    tracer.wait_for_save()
    tracer(ONES, [0, 1], ["c", "d"])
    shutil.rmtree(connect().location)
    with pytest.raises(StoreError, match="MLD_HOME"):
        tracer.wait_for_save()
    assert tracer._recorder.writer.unsaved_rows == 6
    tracer._recorder.writer._start_empty()


def test_a_flush_reaches_every_writer_of_its_run_and_no_other() -> None:
    mine, other = Flushed(), Flushed()
    connect().register(RUN, mine.flush)
    connect().register(RunKey("plain", "v2"), other.flush)
    connect().flush(RUN)
    connect().flush(RUN)
    assert (mine.n, other.n) == (2, 0)


def test_writers_are_not_kept_alive_by_their_registration() -> None:
    gone = Flushed()
    connect().register(RUN, gone.flush)
    del gone
    gc.collect()
    connect().flush(RUN)


def test_an_endpoint_without_a_server_is_an_error_and_the_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLD_API_RETRIES", "0")
    key = "mldbg_" + "secret"
    with pytest.raises(ConnectionError, match="nobody answers") as caught:
        connect("http://127.0.0.1:1", key)
    assert isinstance(caught.value, ServiceConnectionError)
    assert key not in "".join(traceback.format_exception(caught.value))
    assert key not in repr(connect("", key))


def test_a_home_that_is_given_wins_over_an_endpoint_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLD_API_ENDPOINT", "http://127.0.0.1:1")
    assert connect(home=tmp_path / "here").location == str(tmp_path / "here")


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("ftp://host", "expected a URL such as"),
        ("mld.example.com", "expected a URL such as"),
        ("http://", "expected a URL such as"),
        ("http://host:port", "expected a URL such as"),
        ("http://[::1", "expected a URL such as"),
        ("http://host/a b", "expected a URL such as"),
        ("http://host\r\nX-Injected: 1", "expected a URL such as"),
        ("https://user:secret@host", "without user, password"),
        ("https://host/?key=secret", "without user, password"),
        ("https://user:secret word@host", "got one with an @"),
    ],
)
def test_endpoints_that_are_none_are_refused(endpoint: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"api_endpoint: .*{expected}"):
        connect(endpoint, "mldbg_key")


@pytest.mark.parametrize("key", ["mldbg_secret\r\nX-Injected: 1", "mldbg_sécret", "mldbg secret", "mldbg_secret\x00"])
def test_keys_that_cannot_be_are_refused_and_not_shown(key: str) -> None:
    with pytest.raises(LicenseError, match="api_key: expected a key of printable characters") as caught:
        connect("http://127.0.0.1:1", key)
    assert key not in "".join(traceback.format_exception(caught.value))


def test_no_key_is_told() -> None:
    with pytest.raises(LicenseError, match="set MLD_API_KEY or pass api_key"):
        connect("http://127.0.0.1:1")
