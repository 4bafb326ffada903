"""A server on loopback that answers as it is told: late, cut, busy, or as no server of ours would."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler], None]


class OddServer(ThreadingHTTPServer):
    """Behaves once as each of ``behaviours`` says, then always as the last one; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviours: list[Behaviour] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OddServer

    def answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, dict(self.headers), content))
        behaviours = self.server.behaviours
        (behaviours.pop(0) if len(behaviours) > 1 else behaviours[0])(self)

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


for _method in ("GET", "POST", "PUT", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler.answer)


@contextmanager
def odd_server(*behaviours: Behaviour) -> Iterator[OddServer]:
    """A server with these behaviours, until the block ends."""
    server = OddServer()
    server.behaviours = list(behaviours)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def says(status: int, content: Any = b"", **headers: str) -> Behaviour:
    """An answer; what is not bytes is sent as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def fails(status: int, code: str, message: str, **headers: str) -> Behaviour:
    """An error as our servers say it."""
    return says(status, {"error": {"code": code, "message": message}}, **headers)


def resets(handler: BaseHTTPRequestHandler) -> None:
    """The connection is reset before any answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def hangs(seconds: float) -> Behaviour:
    """No answer for a while."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        threading.Event().wait(seconds)
        resets(handler)

    return behave


def cuts(content: bytes, after: int) -> Behaviour:
    """An answer of which only the beginning arrives."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:after])
        handler.wfile.flush()
        resets(handler)

    return behave
