"""What a recorder promises of its rows, and the names and epochs that it takes."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ml_debugger.connect import connect
from ml_debugger.errors import InputError
from ml_debugger.recording import recorder as recorder_module
from ml_debugger.recording.recorder import check_epoch, check_name
from ml_debugger.service.contract import AppendRequest, RunKey, ScanRequest
from ml_debugger.training import ClassificationTracer

ONES = np.ones((2, 3), np.float32)


def rows_of(tracer: ClassificationTracer) -> list[dict[str, object]]:
    """Input rows of two more inputs, as the tracer's recorder makes them."""
    recorder = tracer._recorder
    return recorder.record(recorder_module.Call(ONES, ["a", "b"], "train", None, {})).inputs.to_pylist()


def make_tracer() -> ClassificationTracer:
    return ClassificationTracer(lambda x: x, "plain", "v1")


def in_a_fork(work: Callable[[], str]) -> str:
    """What ``work`` returns in a forked child, and nothing else of it."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, from Python 3.12 on
        child = os.fork()
    if not child:
        try:
            os.write(writer, work().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def test_every_recording_has_a_number_of_its_own() -> None:
    first, second = make_tracer(), make_tracer()
    numbers = [row["recording_id"] for tracer in (first, second, first) for row in rows_of(tracer)]
    assert len(set(numbers)) == 6
    assert all(0 <= number < 2**63 for number in numbers)


def test_a_forked_process_counts_its_recordings_apart_from_its_parent() -> None:
    tracer = make_tracer()
    rows_of(tracer)
    childs = in_a_fork(lambda: ",".join(str(row["recording_id"]) for row in rows_of(tracer)))
    parents = [str(row["recording_id"]) for row in rows_of(tracer)]
    assert len(childs.split(",")) == 2
    assert not set(childs.split(",")) & set(parents)


def test_what_is_recorded_later_is_newer_even_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows_of(make_tracer())[0]["recorded_at"]
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3_600_000_000_000)
    assert rows_of(make_tracer())[0]["recorded_at"] > before, "of another tracer of this process"


@pytest.mark.parametrize("argument", ["version_name", "dataset_type"])
def test_names_that_no_folder_can_have_are_refused_before_anything_is_recorded(argument: str) -> None:
    assert check_name("model_name", "x" * 255) == "x" * 255
    assert check_name(argument, "x" * 200) == "x" * 200
    for bad in ("x" * 255, "é" * 100, "__HIVE_DEFAULT_PARTITION__"):
        with pytest.raises(InputError, match=argument):
            check_name(argument, bad)


def test_a_dataset_type_that_cannot_be_stored_costs_no_other_rows() -> None:
    tracer = make_tracer()
    tracer(ONES, [0, 1], ["a", "b"])
    with pytest.raises(InputError, match="dataset_type: too long"):
        tracer(ONES, [0, 1], ["c", "d"], "é" * 100)
    tracer.wait_for_save()
    found = connect().service.scan(ScanRequest(RunKey("plain", "v1"), "inputs"))
    assert sorted(name for batch in found for name in batch["input_id"].to_pylist()) == ["a", "b"]


def test_of_many_first_calls_at_once_one_registers_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``force_table_recreate`` a second registration would remove the rows of the first call."""
    tracer = ClassificationTracer(lambda x: x, "plain", "v1", force_table_recreate=True)
    append, registrations = tracer._recorder._append, []

    def slow(request: AppendRequest) -> None:
        registrations.append(request)
        time.sleep(0.05)
        append(request)

    monkeypatch.setattr(tracer._recorder, "_append", slow)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(tracer, ONES, [0, 1], [f"{n}a", f"{n}b"]) for n in range(4)]:
            done.result()
    tracer.wait_for_save()
    assert [request.recreate for request in registrations] == [True]
    found = connect().service.scan(ScanRequest(RunKey("plain", "v1"), "inputs"))
    assert sum(batch.num_rows for batch in found) == 8


@pytest.mark.parametrize("value", [None, 0, 7, np.int64(7), np.array(7), 2**63 - 1])
def test_epochs_come_back_as_plain_ints(value: object) -> None:
    epoch = check_epoch(value)
    assert epoch == value
    assert epoch is None or type(epoch) is int


@pytest.mark.parametrize("value", [-1, 1.0, True, "latest", 2**63, np.float32(1)], ids=repr)
def test_other_epochs_are_refused(value: object) -> None:
    with pytest.raises(InputError, match="n_epoch: expected None or an int"):
        check_epoch(value)
