"""Failures of the libraries below, as the user sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars.exceptions
import pytest

from ml_debugger.errors import InputError, StoreError
from ml_debugger.store.failures import store_errors

FORK = """
import os, sys
from ml_debugger.errors import StoreError
from ml_debugger.service.local import LocalService
from tests.helpers.rows import append, make_tables, scan

service = LocalService.open(sys.argv[1])
if sys.argv[2] == "after":
    append(service, make_tables(["parent"]))
child = os.fork()
if not child:
    try:
        append(LocalService.open(sys.argv[1]), make_tables(["child"], recorded_at=1, recording_ids=[1]))
    except StoreError as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.waitpid(child, 0)
print(sorted(scan(service)["input_id"].to_pylist()))
"""


def fork(folder: Path, when: str) -> str:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, str(folder), when]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_a_process_forked_after_the_first_use_is_told_what_to_do_instead(tmp_path: Path) -> None:
    printed = fork(tmp_path, "after")
    assert "multiprocessing.get_context('spawn')" in printed
    assert "['parent']" in printed


def test_a_process_forked_before_the_first_use_may_store_rows(tmp_path: Path) -> None:
    assert fork(tmp_path, "before") == "['child']\n"


@pytest.mark.parametrize("error", [OSError(28, "No space left"), polars.exceptions.ComputeError("No space left")])
def test_an_error_of_a_library_says_what_was_tried_where_and_what_to_check(error: Exception) -> None:
    with pytest.raises(StoreError, match="No space left; check free space") as caught, store_errors("write", "/place"):
        raise error
    assert str(caught.value).startswith("could not write in /place: ")
    assert caught.value.__cause__ is error


def test_a_long_message_is_cut_and_in_one_line() -> None:
    with pytest.raises(StoreError) as caught, store_errors("read", "/place"):
        raise OSError("line\n" * 1000)
    assert len(str(caught.value)) < 900
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [InputError("ours"), ZeroDivisionError("a bug")])
def test_our_own_errors_and_bugs_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, store_errors("read", "/place"):
        raise error
    assert caught.value is error
