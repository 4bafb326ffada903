"""What the benchmark of faults does for minutes, for seconds: every acknowledged row is there once afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.server import faults

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", faults.FAULTS)
def test_no_acknowledged_row_is_lost_or_doubled(name: str, tmp_path: Path) -> None:
    if name == "full disk" and not may_mount(tmp_path):
        pytest.skip("needs the right to mount a file system")
    outcome = faults.FAULTS[name](15, tmp_path)
    assert outcome.passed, str(outcome)
    assert outcome.finished == faults.CLIENTS, str(outcome)


def may_mount(folder: Path) -> bool:
    place = folder / "mounted"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True).returncode:
        return False
    subprocess.run(["umount", place], check=True)
    return True


def test_the_check_finds_lost_rows(tmp_path: Path) -> None:
    """A server that forgets what it acknowledged fails: the folder of rows is emptied in between."""

    def forgetful(seconds: float, folder: Path) -> faults.Outcome:
        server = faults.Restarted(folder, str(folder / "workspace"), None, {})
        server.start()
        with faults.tracing(server, folder) as clients:

            def fault(_pause: float) -> None:
                while not any(client.acknowledged for client in clients):
                    time.sleep(0.1)
                server.kill()
                shutil.rmtree(folder / "workspace" / "tables", ignore_errors=True)
                server.start()

            return faults._run(clients, server, folder, seconds, fault)

    outcome = forgetful(8, tmp_path)
    assert outcome.check.lost > 0
    assert not outcome.passed
