"""The audit of dependencies tells apart: nothing known, something known, and not looked up."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.ports import free_port
from tests.quality.source import ROOT

Answer = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def osv() -> Iterator[Callable[[Answer], str]]:
    """Starts a list of advisories on loopback, which answers each question by a function; returns its URL."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                content = json.dumps(answer(question)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1/query"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def audit(tmp_path: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    pins = tmp_path / "constraints.txt"
    pins.write_text("good-one==1.0\nbad-one==2.0\n")
    command = [sys.executable, "scripts/audit.py", "--constraints", str(pins), "--osv-url", url, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def advise(question: dict[str, Any]) -> dict[str, Any]:
    name = question["package"]["name"]
    if name != "bad-one":
        return {}
    events = [{"introduced": "0"}, {"fixed": "2.1"}]
    affected = {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    times = {"published": "2026-01-01T00:00:00Z", "modified": "2026-01-01T00:00:00Z"}
    return {"vulns": [{"id": "GHSA-xxxx", "summary": "bad", "details": "bad", "affected": [affected], **times}]}


def test_a_known_vulnerability_fails(osv: Callable[[Answer], str], tmp_path: Path) -> None:
    done = audit(tmp_path, osv(advise))
    assert done.returncode == 1
    assert "bad-one 2.0: GHSA-xxxx, fixed in: 2.1" in done.stdout
    assert "VULNERABLE: 1 of 2" in done.stdout


def test_nothing_known_passes(osv: Callable[[Answer], str], tmp_path: Path) -> None:
    done = audit(tmp_path, osv(lambda _: {}), "--require")
    assert done.returncode == 0
    assert done.stdout.strip() == "Audited: nothing known against 2 pinned packages"


@pytest.mark.parametrize(("arguments", "status"), [((), 0), (("--require",), 3)])
def test_a_list_that_cannot_be_reached_is_never_called_audited(
    tmp_path: Path, arguments: tuple[str, ...], status: int
) -> None:
    done = audit(tmp_path, f"http://127.0.0.1:{free_port()}/v1/query", *arguments)
    assert done.returncode == status
    assert "NOT AUDITED" in done.stdout
    assert "Audited:" not in done.stdout
