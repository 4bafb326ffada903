"""Object stores that would let writers overwrite each other's commits are found out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest
from obstore.store import from_url

from ml_debugger.errors import StoreError
from ml_debugger.store.probe import check_commits
from tests.helpers.object_store import BUCKET


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/probed"


class Careless(BaseHTTPRequestHandler):
    """Takes every object, whatever the request's conditions; ``answer`` is the status of a PUT."""

    answer = 200
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.answer)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.do_PUT()

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def careless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an object store that every PUT changes, or that refuses every PUT with the status given."""
    handler = type("Handler", (Careless,), {"answer": getattr(request, "param", 200)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name, value in {"ALLOW_HTTP": "true", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "x"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    yield "s3://bucket/prefix"
    server.shutdown()
    server.server_close()


def test_a_store_that_keeps_writers_apart_passes_and_is_left_clean(s3: str) -> None:
    check_commits(s3)
    assert [item for page in obstore.list(from_url(s3)) for item in page] == []


def test_a_store_that_ignores_the_condition_is_refused(careless: str) -> None:
    with pytest.raises(StoreError, match=r"let 9 writers create the same object.*If-None-Match"):
        check_commits(careless)


@pytest.mark.parametrize("careless", [403], indirect=True)
def test_a_store_that_cannot_be_written_is_told(careless: str) -> None:
    with pytest.raises(StoreError, match="could not check how the object store keeps writers apart") as caught:
        check_commits(careless)
    assert careless in str(caught.value)


def test_a_folder_is_not_asked(tmp_path: Path) -> None:
    for place in (str(tmp_path / "new"), (tmp_path / "new").as_uri(), "memory://"):
        check_commits(place)
    assert not list(tmp_path.iterdir())
