"""Servers that are killed and started again: ours, PostgreSQL, and an S3 server that remembers."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from base64 import b64decode
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.helpers.object_store import BUCKET
from tests.helpers.ports import free_port
from tests.helpers.proxy import Proxy
from tests.helpers.server import RunningServer, running_server

_CHANGES = ("PUT", "POST", "DELETE")


class Restarted:
    """Our server, at the same address whenever it runs."""

    def __init__(
        self, folder: Path, location: str | None, database_url: str | None, environment: dict[str, str]
    ) -> None:
        self._arguments = {"location": location, "database_url": database_url, "environment": environment}
        self._folder = folder
        self._stack = ExitStack()
        self.port = free_port()
        self.starts = 0
        self.server: RunningServer | None = None
        self.key = ""

    def start(self) -> None:
        """Run, and wait until it answers."""
        folder = self._folder / f"start{self.starts}"
        self.server = self._stack.enter_context(running_server(folder, port=self.port, **self._arguments))
        self.key = self.key or self.server.first_key
        self.starts += 1

    def kill(self) -> None:
        """SIGKILL, without a word to anybody."""
        self._stack.close()

    @property
    def running(self) -> RunningServer:
        """The server of the last start."""
        assert self.server is not None
        return self.server

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


class RememberingS3:
    """moto's S3 server, whose memory is lost with it, and which writes what it is asked to a file (its recorder).

    After a kill the next one is asked the same again, by the file, before anybody else reaches it: all go through a
    proxy, which refuses them until then. What was asked for and perhaps not done before the kill is done then, as a
    store may do that answers too late.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()
        self.proxy = self._stack.enter_context(Proxy(0))
        self.starts = 0

    def __enter__(self) -> RememberingS3:
        self.start()
        self._ask("PUT", f"/{BUCKET}", b"", {})
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """What reaches it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.proxy.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def kill(self) -> None:
        """SIGKILL; connections end, and nobody answers."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.proxy.close()

    def start(self) -> None:
        """Run, with what the last one was asked, and wait until it answers."""
        earlier = self._folder / f"recording{self.starts - 1}"
        recording = self._folder / f"recording{self.starts}"
        self.starts += 1
        self.proxy.target = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server.recording_s3", "-H", "127.0.0.1", "-p", str(self.proxy.target)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "MOTO_ENABLE_RECORDING": "1", "MOTO_RECORDER_FILEPATH": str(recording)},
        )
        self._wait()
        if earlier.exists():
            self._replay(earlier)
            earlier.unlink()
        self.proxy.open()

    def _wait(self) -> None:
        for _ in range(600):
            try:
                self._ask("GET", "/moto-api/", b"", {})
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError("moto's server did not start")

    def _replay(self, recording: Path) -> None:
        *lines, last = recording.read_text().split("\n")
        if last:
            with suppress(ValueError):  # cut by the kill
                json.loads(last)
                lines.append(last)
        for line in filter(None, lines):
            entry = json.loads(line)
            if entry["method"] in _CHANGES:
                body = b64decode(entry["body"]) if entry["body_encoded"] else entry["body"].encode()
                url = urlsplit(entry["url"])
                path = f"{url.path}?{url.query}" if url.query else url.path
                self._ask(entry["method"], path, body, entry["headers"])

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
        kept = {
            name: value for name, value in headers.items() if name.lower() not in ("transfer-encoding", "connection")
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.target, timeout=30)
        try:
            connection.request(method, path, body or None, kept)
            connection.getresponse().read()
        finally:
            connection.close()
