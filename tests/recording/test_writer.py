"""The writer against an append that fails, blocks and refuses as told."""

from __future__ import annotations

import contextlib
import gc
import io
import sys
import threading
import time
from collections.abc import Callable

import pyarrow as pa
import pytest

from ml_debugger.errors import ArchitectureMismatchError, ServiceConnectionError, StoreError
from ml_debugger.recording import at_exit
from ml_debugger.recording import writer as writer_module
from ml_debugger.recording.at_exit import flush_all
from ml_debugger.recording.writer import Writer
from ml_debugger.service.contract import AppendRequest
from tests.helpers.rows import RUN, SCHEMA, make_tables, with_fields


class Sink:
    """Keeps what is appended, once per batch id; raises what it is told to."""

    def __init__(self) -> None:
        self.stored: dict[str, AppendRequest] = {}
        self.calls: list[str] = []
        self.failure: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def append(self, request: AppendRequest) -> None:
        self.gate.wait(30)
        self.calls.append(request.batch_id)
        if self.failure is not None:
            raise self.failure
        self.stored[request.batch_id] = request

    @property
    def ids(self) -> list[str]:
        tables = [request.tables["inputs"] for request in self.stored.values()]
        return pa.concat_tables(tables)["input_id"].to_pylist() if tables else []


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """No writer of an earlier test waits to be flushed at the end."""
    at_exit._unsaved.clear()
    yield
    at_exit._unsaved.clear()


def make_writer(sink: Sink, **options: object) -> Writer:
    return Writer(sink.append, RUN, **options)


def put(writer: Writer, *ids: str, **options: object) -> None:
    writer.put(SCHEMA, make_tables(ids, **options))


def wait_until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_nothing_is_stored_before_the_buffer_is_full(sink: Sink) -> None:
    writer = make_writer(sink, buffer_rows=3)
    put(writer, "a")
    put(writer, "b")
    assert sink.calls == []
    assert writer.unsaved_rows == 4
    put(writer, "c")
    wait_until(lambda: sink.ids == ["a", "b", "c"])
    wait_until(lambda: writer.unsaved_rows == 0)


def test_units_count_for_the_buffer(sink: Sink) -> None:
    writer = make_writer(sink, buffer_rows=10)
    put(writer, "a", n_units=10)
    wait_until(lambda: sink.ids == ["a"])


def test_bytes_count_for_the_buffer(sink: Sink) -> None:
    writer = make_writer(sink, buffer_bytes=1)
    put(writer, "a")
    wait_until(lambda: sink.ids == ["a"])


def test_flush_stores_everything_in_order_and_in_one_append(sink: Sink) -> None:
    writer = make_writer(sink)
    for name in "abc":
        put(writer, name)
    writer.close()
    assert sink.ids == ["a", "b", "c"]
    assert len(sink.calls) == 1
    writer.flush()  # nothing more to do
    assert len(sink.calls) == 1


def test_batches_of_another_schema_are_appends_of_their_own(sink: Sink) -> None:
    writer = make_writer(sink)
    put(writer, "a")
    writer.put(with_fields(("lux", "float")), make_tables(["b"], fields={"lux": [1.0]}))
    put(writer, "c")
    writer.flush()
    assert sink.ids == ["a", "b", "c"]
    assert [len(request.schema.fields) for request in sink.stored.values()] == [0, 1, 0]


@pytest.mark.parametrize("error", [StoreError("disk full"), ServiceConnectionError("away")])
def test_a_failed_append_is_told_at_the_next_call_and_dropped_nowhere(sink: Sink, error: Exception) -> None:
    sink.failure = error
    writer = make_writer(sink, buffer_rows=1)
    put(writer, "a")
    wait_until(lambda: len(sink.calls) == 1)
    wait_until(lambda: writer._error is not None)
    with pytest.raises(type(error)):
        put(writer, "b")
    with pytest.raises(type(error)):
        writer.flush()
    assert sink.ids == []
    sink.failure = None
    writer.flush()
    assert sink.ids == ["a", "b"]
    assert len(set(sink.calls)) == 2  # every try under the same batch id
    put(writer, "c")  # what failed is stored: nothing to tell any more
    writer.flush()


def test_the_thread_tries_again_by_itself(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_FIRST_PAUSE", 0.01)
    sink.failure = StoreError("disk full")
    writer = make_writer(sink, buffer_rows=1)
    put(writer, "a")
    wait_until(lambda: len(sink.calls) >= 2)
    sink.failure = None
    wait_until(lambda: sink.ids == ["a"])
    put(writer, "b")
    writer.flush()
    assert sink.ids == ["a", "b"]


def test_rows_that_the_service_refuses_are_told_and_do_not_block(sink: Sink) -> None:
    sink.failure = ArchitectureMismatchError("another model")
    writer = make_writer(sink)
    put(writer, "a")
    with pytest.raises(ArchitectureMismatchError):
        writer.flush()
    sink.failure = None
    put(writer, "b")
    writer.flush()
    assert sink.ids == ["b"]


def test_rows_that_are_refused_in_the_background_are_told_at_the_next_call(sink: Sink) -> None:
    sink.failure = ArchitectureMismatchError("another model")
    writer = make_writer(sink, buffer_rows=1)
    put(writer, "a")
    wait_until(lambda: writer._error is not None)
    with pytest.raises(ArchitectureMismatchError):
        writer.flush()


def test_a_full_buffer_waits_for_room(sink: Sink) -> None:
    sink.gate.clear()
    writer = make_writer(sink, buffer_rows=1)
    finished = threading.Event()

    def put_many() -> None:
        for number in range(8):
            put(writer, str(number))
        finished.set()

    thread = threading.Thread(target=put_many)
    thread.start()
    assert not finished.wait(0.3)
    assert writer.unsaved_rows <= 2 * (writer_module._WAITING + 1)
    sink.gate.set()
    assert finished.wait(20)
    thread.join()
    writer.flush()
    assert sink.ids == [str(number) for number in range(8)]


def test_with_a_lasting_failure_a_full_buffer_refuses_rows_and_says_so(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_debugger.recording.writer._FIRST_PAUSE", 0.05)
    monkeypatch.setattr("ml_debugger.recording.writer._LONGEST_PAUSE", 0.05)
    sink.failure = StoreError("disk full")
    writer = make_writer(sink, buffer_rows=1)
    taken, refused = [], []
    for number in range(8):
        try:
            put(writer, str(number))
        except StoreError as error:
            (refused if "not recorded" in str(error) else taken).append(str(number))
        else:
            taken.append(str(number))
    assert refused
    sink.failure = None
    writer.flush()
    assert sink.ids == taken


def test_auto_sync_stores_without_a_further_call(sink: Sink) -> None:
    writer = make_writer(sink, auto_sync=True, sync_seconds=0.05)
    put(writer, "a")
    put(writer, "b")
    wait_until(lambda: sink.ids == ["a", "b"])
    put(writer, "c")
    wait_until(lambda: sink.ids == ["a", "b", "c"])


def test_flush_does_not_wait_for_auto_sync(sink: Sink) -> None:
    writer = make_writer(sink, auto_sync=True, sync_seconds=3600)
    put(writer, "a")
    writer.flush()
    assert sink.ids == ["a"]


def test_the_thread_ends_when_there_is_nothing_to_do(sink: Sink) -> None:
    writer = make_writer(sink, buffer_rows=1)
    put(writer, "a")
    writer.flush()
    wait_until(lambda: writer._thread is None or not writer._thread.is_alive())


def test_writers_with_unsaved_rows_are_flushed_at_the_end_whoever_has_forgotten_them(sink: Sink) -> None:
    put(make_writer(sink), "a")
    put(make_writer(sink), "b")
    gc.collect()
    flush_all()
    assert sorted(sink.ids) == ["a", "b"]
    assert not at_exit._unsaved


def test_the_end_tries_every_writer_and_tells_what_is_lost(sink: Sink) -> None:
    broken = Sink()
    broken.failure = StoreError("disk full")
    put(make_writer(broken), "a", n_units=3)
    put(make_writer(sink), "b")
    with pytest.raises(StoreError, match="4 rows are not stored: disk full"):
        flush_all()
    assert sink.ids == ["b"]


@pytest.mark.parametrize("stream", [io.StringIO, lambda: None])
@pytest.mark.parametrize("failure", [StoreError("disk full"), KeyError("a bug")])
def test_the_end_of_the_interpreter_tells_once(
    stream: Callable[[], io.StringIO | None], failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Sink()
    broken.failure = failure
    put(make_writer(broken), "a")
    monkeypatch.setattr(sys, "stderr", shown := stream())
    monkeypatch.setattr(at_exit, "_lost_rows", False)
    told = shown is not None and isinstance(failure, StoreError)
    with contextlib.nullcontext() if told else pytest.raises(type(failure)):  # else Python prints it
        at_exit._end()
    at_exit._end()  # multiprocessing and atexit both call it
    if shown is not None:
        assert shown.getvalue().count("rows are lost: 2 rows are not stored: disk full") == told
        assert sys.stderr.getvalue() == shown.getvalue()
        sys.stderr.flush()  # fails for the interpreter alone
    assert at_exit._lost_rows
    monkeypatch.setattr(at_exit.multiprocessing, "parent_process", object)
    with pytest.raises(SystemExit, match="120"):
        at_exit._end_child()


def test_the_end_tries_every_writer_even_after_a_bug_in_one(sink: Sink) -> None:
    broken = [Sink(), Sink(), Sink()]
    for one, failure in zip(
        broken, (ZeroDivisionError("a bug"), StoreError("disk full"), KeyError("a bug")), strict=True
    ):
        one.failure = failure
        put(make_writer(one), "a")
    put(make_writer(sink), "b")
    with pytest.raises(StoreError, match="disk full"):
        flush_all()
    assert sink.ids == ["b"]
    assert all(one.calls for one in broken)


def test_many_threads_lose_nothing(sink: Sink) -> None:
    writer = make_writer(sink, buffer_rows=7)

    def put_many(name: str) -> None:
        for number in range(50):
            put(writer, f"{name}{number}")
            if number % 20 == 0:
                writer.flush()

    threads = [threading.Thread(target=put_many, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()
    assert sorted(sink.ids) == sorted(f"{name}{number}" for name in "abcd" for number in range(50))
    assert len(sink.calls) == len(set(sink.calls))


def test_an_error_of_the_program_is_not_hidden(sink: Sink) -> None:
    sink.failure = ZeroDivisionError("a bug")
    writer = make_writer(sink)
    put(writer, "a")
    with pytest.raises(ZeroDivisionError):
        writer.flush()
    sink.failure = None
    writer.flush()
    assert sink.ids == ["a"]


def test_an_error_of_the_program_in_the_background_is_told(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    sink.failure = ZeroDivisionError("a bug")
    writer = make_writer(sink, buffer_rows=1)
    put(writer, "a")
    wait_until(lambda: writer._error is not None and len(printed) == 1)
    sink.failure = None
    with pytest.raises(StoreError, match="unexpected error"):
        put(writer, "b")
    writer.flush()
    assert sink.ids == ["a", "b"]
    assert printed[0].exc_type is ZeroDivisionError
