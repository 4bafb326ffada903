"""The writer with a spool: what a server that is away does to memory, disk, warnings and the end of the process."""

from __future__ import annotations

import io
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_debugger.errors import (
    InputError,
    LicenseError,
    MLDebuggerError,
    ServerError,
    ServiceConnectionError,
    SpoolWarning,
    StoreError,
)
from ml_debugger.recording import at_exit
from ml_debugger.recording.writer import Writer
from ml_debugger.service.spool import Spool, list_spools, open_spool
from tests.helpers.rows import RUN, SCHEMA, make_tables
from tests.recording.test_writer import Sink, put, wait_until

PASSING = [ServiceConnectionError("away"), LicenseError("expired"), ServerError("bug"), StoreError("its disk is full")]


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture(autouse=True)
def nothing_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("ml_debugger.recording.writer._FIRST_PAUSE", 0.05)
    monkeypatch.setattr("ml_debugger.recording.writer._LONGEST_PAUSE", 0.05)
    at_exit._unsaved.clear()
    yield
    at_exit._unsaved.clear()


@pytest.fixture
def spool() -> Spool:
    return open_spool("https://mld.invalid", "team")


def make_writer(sink: Sink, spool: Spool, **options: object) -> Writer:
    return Writer(sink.append, RUN, spool=spool, **options)


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_a_flush_that_fails_leaves_the_rows_on_disk_and_says_where(
    sink: Sink, spool: Spool, error: MLDebuggerError
) -> None:
    writer = make_writer(sink, spool)
    put(writer, "a", "b")
    sink.failure = error
    for _ in range(2):
        with pytest.raises(type(error), match=f"{error}; 4 rows wait in {spool.folder} and are sent") as caught:
            writer.flush()
        assert type(caught.value) is type(error)
    assert (writer.unsaved_rows, writer.rows_on_disk) == (4, 4)
    assert len(spool.entries()) == 1
    sink.failure = None
    writer.flush()
    assert sink.ids == ["a", "b"]
    assert (writer.unsaved_rows, spool.entries()) == (0, [])


def test_work_goes_on_while_the_server_is_away_in_bounded_memory(sink: Sink, spool: Spool) -> None:
    writer = make_writer(sink, spool, buffer_rows=1)
    sink.failure = ServiceConnectionError("away")
    names = [f"id{number}" for number in range(30)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in names:
            put(writer, name)
            assert writer.unsaved_rows - writer.rows_on_disk <= 2 * 4
    wait_until(lambda: writer.rows_on_disk >= 2 * 29)
    told = [warning for warning in caught if warning.category is SpoolWarning]
    assert len(told) == 1, "once for each time that the server is away"
    assert str(spool.folder) in str(told[0].message)
    assert told[0].filename == __file__.replace("test_spool", "test_writer"), "the line that put the rows"
    sink.failure = None
    writer.flush()
    assert sink.ids == names, "in order, each once"
    assert spool.entries() == []


def test_nobody_waits_for_the_next_try_to_have_room(sink: Sink, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_debugger.recording.writer._FIRST_PAUSE", 60.0)
    monkeypatch.setattr("ml_debugger.recording.writer._LONGEST_PAUSE", 60.0)
    writer = make_writer(sink, spool, buffer_rows=1)
    sink.failure = ServiceConnectionError("away")
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpoolWarning)
        for number in range(12):
            put(writer, f"id{number}")
    assert time.monotonic() - start < 30
    sink.failure = None
    writer.flush()
    assert len(sink.ids) == 12


def test_the_background_sends_what_waits_when_the_server_is_back(sink: Sink, spool: Spool) -> None:
    writer = make_writer(sink, spool, auto_sync=True, sync_seconds=0.01)
    sink.failure = ServiceConnectionError("away")
    put(writer, "a")
    wait_until(lambda: writer.rows_on_disk == 2)
    sink.failure = None
    wait_until(lambda: writer.unsaved_rows == 0)
    assert sink.ids == ["a"]
    assert spool.entries() == []
    sink.failure = ServiceConnectionError("away again")
    put(writer, "b")
    wait_until(lambda: writer.rows_on_disk == 2)
    with pytest.warns(SpoolWarning, match="away again"):
        put(writer, "c")
    sink.failure = None
    writer.flush()


def test_a_full_spool_is_an_error_and_nothing_in_memory_is_dropped(sink: Sink, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool" / "one", "https://mld.invalid", "team", limit=1000)
    writer = make_writer(sink, spool, buffer_rows=1)
    sink.failure = ServiceConnectionError("away")
    taken, told = [], ""
    for number in range(100):
        try:
            put(writer, f"id{number}")
        except ServiceConnectionError as error:
            told = str(error)
            if "not recorded" in told:
                break
        taken.append(f"id{number}")
    assert f"away; the spool {tmp_path}/spool is full" in told
    assert "MLD_SPOOL_MB" in told
    assert len(taken) < 10
    assert spool.entries() == []
    sink.failure = None
    writer.flush()
    assert sink.ids == taken
    assert writer.unsaved_rows == 0


def test_a_disk_that_cannot_be_written_is_told(sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writer = make_writer(sink, Spool(tmp_path / "file" / "one", "https://mld.invalid", "team", limit=10**9))
    put(writer, "a")
    sink.failure = ServiceConnectionError("away")
    with pytest.raises(ServiceConnectionError, match="away; could not write to the spool"):
        writer.flush()
    assert (writer.unsaved_rows, writer.rows_on_disk) == (2, 0)
    sink.failure = None
    writer.flush()


def test_rows_that_are_refused_for_good_are_put_aside_with_the_reason(sink: Sink, spool: Spool) -> None:
    writer = make_writer(sink, spool)
    put(writer, "a")
    sink.failure = ServiceConnectionError("away")
    with pytest.raises(ServiceConnectionError):
        writer.flush()
    sink.failure = InputError("not like this")
    with pytest.raises(InputError, match="not like this"):
        writer.flush()
    sink.failure = None
    put(writer, "b")
    writer.flush()
    assert sink.ids == ["b"]
    (aside,) = spool.waiting()
    assert aside.refused == "not like this"
    assert (aside.model_name, aside.version_name, aside.n_rows) == ("model", "v1", 2)


def test_what_another_program_has_sent_is_done(sink: Sink, spool: Spool) -> None:
    writer = make_writer(sink, spool)
    put(writer, "a")
    sink.failure = ServiceConnectionError("away")
    with pytest.raises(ServiceConnectionError):
        writer.flush()
    sink.failure = None
    (entry,) = spool.entries()
    entry.discard()
    writer.flush()
    assert sink.ids == []
    assert writer.unsaved_rows == 0


def test_what_another_program_saw_refused_is_an_error_of_the_flush(sink: Sink, spool: Spool) -> None:
    writer = make_writer(sink, spool)
    put(writer, "a")
    sink.failure = ServiceConnectionError("away")
    with pytest.raises(ServiceConnectionError):
        writer.flush()
    (entry,) = spool.entries()
    entry.refuse(InputError("no such column"))
    sink.failure = None
    with pytest.raises(InputError, match="no such column"):
        writer.flush()


def test_a_damaged_file_is_told_and_blocks_until_it_is_looked_at(sink: Sink, spool: Spool) -> None:
    writer = make_writer(sink, spool)
    put(writer, "a")
    sink.failure = ServiceConnectionError("away")
    with pytest.raises(ServiceConnectionError):
        writer.flush()
    sink.failure = None
    (entry,) = spool.entries()
    content = entry.path.read_bytes()
    entry.path.write_bytes(content[:-10])
    with pytest.raises(StoreError, match=f"could not read {entry.path}"):
        writer.flush()
    with pytest.raises(StoreError, match="could not read"):
        list(spool.waiting())
    entry.path.write_bytes(content)
    writer.flush()
    assert sink.ids == ["a"]


def test_the_files_are_private_and_say_whose_they_are(sink: Sink, spool: Spool) -> None:
    entry = spool.put(_request("a"))
    assert entry.path.stat().st_mode & 0o077 == 0
    assert spool.folder.stat().st_mode & 0o077 == 0
    assert json.loads((spool.folder / "about.json").read_text()) == {
        "endpoint": "https://mld.invalid",
        "organisation": "team",
    }
    assert entry.load() == _request("a")
    assert sorted(path.name for path in spool.folder.iterdir() if path.name.startswith(".")) == []


def test_every_server_and_organisation_has_a_spool_of_its_own(spool: Spool) -> None:
    assert list_spools() == []
    others = [open_spool("https://mld.invalid", "other"), open_spool("https://two.invalid", "team")]
    for one in (spool, *others):
        one.put(_request("a"))
    assert sorted((one.endpoint, one.organisation, len(one.entries())) for one in list_spools()) == [
        ("https://mld.invalid", "other", 1),
        ("https://mld.invalid", "team", 1),
        ("https://two.invalid", "team", 1),
    ]
    (spool.folder / "about.json").write_text("{")
    with pytest.raises(StoreError, match=r"about\.json"):
        list_spools()


def test_the_bound_holds_for_all_spools_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLD_SPOOL_MB", "1")
    first, second = open_spool("https://one.invalid", ""), open_spool("https://two.invalid", "")
    entry = first.put(_request("a"))
    with entry.path.open("ab") as file:
        file.truncate(2**20)
    with pytest.raises(StoreError, match=r"it holds 1 MB of at most 1 \(MLD_SPOOL_MB\)"):
        second.put(_request("b"))


def test_the_folder_is_chosen_by_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert open_spool("e", "o").folder.parent == Path(os.environ["MLD_HOME"]) / "spool"
    monkeypatch.setenv("MLD_HOME", "s3://bucket/prefix")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_spool("e", "o").folder.parent == tmp_path / ".mldebugger" / "spool"
    monkeypatch.setenv("MLD_SPOOL", str(tmp_path / "elsewhere"))
    assert open_spool("e", "o").folder.parent == tmp_path / "elsewhere"


def test_the_end_of_the_process_tells_where_rows_wait_and_loses_none(
    sink: Sink, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_exit, "_lost_rows", False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    writer = make_writer(sink, spool)
    put(writer, "a")
    sink.failure = ServiceConnectionError("away")
    at_exit._end()
    said = sys.stderr.getvalue()
    assert f"2 rows wait in {spool.folder}" in said
    assert "mldebugger sync" in said
    assert not at_exit._lost_rows
    at_exit._end()  # told once
    assert sys.stderr.getvalue() == said
    assert len(spool.entries()) == 1


def _request(*ids: str):
    from ml_debugger.service.contract import AppendRequest

    return AppendRequest("batch", RUN, SCHEMA, make_tables(ids, recording_ids=list(range(len(ids))), recorded_at=1))
