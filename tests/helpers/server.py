"""A real server in a process of its own, on loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ml_debugger.store import open_store
from ml_debugger.store.keys import Keys
from ml_debugger.store.organisations import organisation_named

START_SECONDS = 90
STOP_SECONDS = 20
ROOT = Path(__file__).parents[2]
_KEY = re.compile(r"mldbg_\S+")
_ADDRESS = re.compile(r"Listening on (\S+)")


@dataclass
class RunningServer:
    """A server that answers. ``output`` is what it told the person who started it, ``log`` what it logged."""

    endpoint: str
    location: str
    database_url: str | None
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def first_key(self) -> str:
        """The administrator's key, where this was the first start."""
        found = _KEY.search(self.output)
        assert found is not None, self.output
        return found[0]

    def new_key(self, organisation: str = "default", scope: str = "write", name: str = "test") -> str:
        """A key, made as ``mldebugger keys create`` does, while the server runs."""
        keys = Keys(open_store(self.location, self.database_url).metadata.engine)
        return keys.create(organisation_named(organisation), name, scope)[0]

    def kill(self) -> None:
        """As when the machine loses power, but for the disk."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As an administrator does; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def running_server(
    folder: Path,
    location: str | None = None,
    database_url: str | None = None,
    *,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    port: int = 0,
) -> Iterator[RunningServer]:
    """Runs ``mldebugger serve`` until the block ends.

    Args:
        folder: For what the server writes to its outputs; also of the workspace where no location is given.
        location: Folder or URL of the workspace.
        database_url: Of the metadata database.
        options: More of the command line.
        environment: Beside this process's own.
        port: To listen on; 0 takes a free one.
    """
    location = location or str(folder / "workspace")
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", "from ml_debugger.cli import main; main()", "serve", "--port", str(port)]
    command += ["--store", location, *options]
    if database_url is not None:
        command += ["--database-url", database_url]
    with (folder / "output").open("wb") as output, (folder / "log").open("wb") as log:
        own = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        process = subprocess.Popen(command, stdout=output, stderr=log, env={**own, **_measuring(own)})
    server = RunningServer("", location, database_url, process, folder)
    try:
        server.endpoint = _wait_for_address(server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _measuring(environment: Mapping[str, str]) -> dict[str, str]:
    """What has a process measure its coverage, where this one does."""
    coverage = sys.modules.get("coverage")
    if coverage is None or coverage.Coverage.current() is None:
        return {}
    path = [str(ROOT / "tests" / "helpers" / "covered"), *filter(None, [environment.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(path),
        "MEASURED_DATA": str(ROOT / ".coverage"),
        "MEASURED_CONFIG": str(ROOT / "pyproject.toml"),
    }


def _wait_for_address(server: RunningServer) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        found = _ADDRESS.search(server.output)
        if found is not None:
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start, exit status {server.process.poll()}:\n{server.output}\n{server.log}")
