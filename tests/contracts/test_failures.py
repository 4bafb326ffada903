"""A full disk and a folder that cannot be written: a clear error at the next call, and nothing dropped."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_debugger.errors import ConfigError, StoreError
from ml_debugger.recording import at_exit
from ml_debugger.recording.writer import Writer
from ml_debugger.service.local import LocalService
from tests.contracts.conftest import Place
from tests.helpers.rows import RUN, SCHEMA, ids_of, make_tables, scan

DISK_MIB = 8


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """A test that fails leaves no writer for the end of the interpreter."""
    yield
    at_exit._unsaved.clear()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs"):
        yield folder


@contextlib.contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[None]:
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def check_recovery(service: LocalService, writer: Writer, n_stored: int) -> None:
    """After the cause is gone a flush stores every row that was put, once."""
    writer.put(SCHEMA, make_tables(["last"], n_units=2, labels=[0]))
    writer.flush()
    assert scan(service).num_rows == n_stored + 1
    assert scan(service, "records").num_rows == 2 * (n_stored + 1)
    assert scan(service, "truths").num_rows == n_stored + 1
    assert writer.unsaved_rows == 0


def test_a_full_disk(small_disk: Path) -> None:
    service = LocalService.open(str(small_disk / "workspace"))
    writer = Writer(service.append, RUN)
    writer.put(SCHEMA, make_tables(["first"], n_units=2, labels=[0]))
    writer.flush()
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        fill(filler)
    writer.put(SCHEMA, make_tables(["second"], n_units=2, labels=[0]))
    for _ in range(2):
        with pytest.raises(StoreError, match="No space left on device"):
            writer.flush()
    assert ids_of(scan(service)) == ["first"]  # readable all the time
    filler.unlink()
    check_recovery(service, writer, 2)


def test_a_disk_that_fills_up_while_tracing(small_disk: Path) -> None:
    service = LocalService.open(str(small_disk / "workspace"))
    writer = Writer(service.append, RUN, buffer_bytes=2**20)
    taken, told = 0, ""
    while not told:
        taken += 1
        try:
            writer.put(SCHEMA, make_tables([f"{taken}-{number}" for number in range(1000)], labels=[0] * 1000))
        except StoreError as error:
            told = str(error)
    assert "No space left on device" in told
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
    writer.flush()
    assert scan(service).num_rows == scan(service, "records").num_rows == scan(service, "truths").num_rows
    assert scan(service).num_rows == 1000 * (taken - ("not recorded" in told))


def test_a_folder_that_became_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "tmpfs"):
        # the database stays elsewhere: a file system with files open for writing cannot become read-only
        service = LocalService.open(str(folder), f"sqlite:///{tmp_path}/metadata.db")
        writer = Writer(service.append, RUN)
        writer.put(SCHEMA, make_tables(["first"], n_units=2, labels=[0]))
        writer.flush()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        writer.put(SCHEMA, make_tables(["second"], n_units=2, labels=[0]))
        with pytest.raises(StoreError, match="Read-only file system"):
            writer.flush()
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        check_recovery(service, writer, 2)


def test_a_folder_that_is_read_only_from_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    with (
        mounted(folder, "-t", "tmpfs", "-o", "ro", "tmpfs"),
        pytest.raises(StoreError, match=r"could not open.*metadata"),
    ):
        LocalService.open(str(folder))


def test_a_folder_without_permission(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="could not open"):
        LocalService.open(str(tmp_path / "workspace"))
    tmp_path.chmod(0o700)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "workspace").write_text("")
    with pytest.raises(StoreError, match=r"expected a folder, but .* is a file"):
        LocalService.open(str(tmp_path / "workspace"))


def test_a_table_that_cannot_be_written(tmp_path: Path) -> None:
    service = LocalService.open(str(tmp_path / "workspace"))
    writer = Writer(service.append, RUN)
    writer.put(SCHEMA, make_tables(["first"], n_units=2, labels=[0]))
    writer.flush()
    truths = tmp_path / "workspace" / "tables" / "truths"
    truths.rename(tmp_path / "moved")
    truths.write_text("a file in place of the folder")
    writer.put(SCHEMA, make_tables(["second"], n_units=2, labels=[0]))
    for _ in range(2):
        with pytest.raises(StoreError, match="could not write 1 rows of truths"):
            writer.flush()
    assert ids_of(scan(service, "records")) == ["first", "first"]  # the half-written input does not show
    truths.unlink()
    (tmp_path / "moved").rename(truths)
    check_recovery(service, writer, 2)


def test_a_file_size_limit(tmp_path: Path) -> None:
    """Needs no right to mount: writes beyond a limit of the process fail like those on a full disk."""
    service = LocalService.open(str(tmp_path / "workspace"))
    writer = Writer(service.append, RUN)
    writer.put(SCHEMA, make_tables(["first"], n_units=2, labels=[0]))
    writer.flush()
    writer.put(SCHEMA, make_tables(["second"], n_units=2, labels=[0]))
    ignored = 1
    ctypes.CDLL(None).signal(25, ctypes.c_void_p(ignored))  # SIGXFSZ
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(StoreError, match="File too large"):
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    check_recovery(service, writer, 2)


def test_an_object_store_that_goes_away_and_comes_back(
    s3_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint is read when a table is opened; a wrong one is what an outage looks like."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    place = Place("s3://no-such-bucket/prefix", f"sqlite:///{tmp_path}/metadata.db")
    service = place.open()
    writer = Writer(service.append, RUN)
    writer.put(SCHEMA, make_tables(["a"]))
    with pytest.raises(StoreError, match="could not write"):
        writer.flush()
    assert writer.unsaved_rows == 2


@pytest.mark.parametrize("location", ["ftp://host/folder", "nonsense://x"])
def test_a_scheme_that_no_store_serves(location: str) -> None:
    with pytest.raises(ConfigError, match=r"s3://"):
        LocalService.open(location)


def test_a_percent_encoded_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="percent"):
        LocalService.open(str(tmp_path / "a%20b"))
