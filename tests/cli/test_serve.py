"""``mldebugger serve``: what it refuses to start with. That it runs is what the tests of the server show."""

from __future__ import annotations

import importlib.util
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from ml_debugger.cli import app
from tests.helpers.server import running_server


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["serve", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--store", "memory://"), "store: memory:// would be lost at the first restart"),
        (("--store", "ftp://host"), "expected a folder or a URL with one of"),
        (("--cors-origin", "*"), "cors_origin: expected an origin such as"),
        (("--cors-origin", "https://a.example/path"), "cors_origin: expected an origin such as"),
        (("--tls-key", "key.pem"), "expected both or none"),
        (("--tls-certificate", "no.pem", "--tls-key", "no.pem"), "there is no file no.pem"),
        (("--database-url", "nonsense"), "MLD_DATABASE_URL: expected an SQLAlchemy URL"),
        (("--database-url", "sqlite:////proc/none/x.db"), "could not open"),
    ],
)
def test_what_cannot_work_is_told_before_anything_starts(arguments: tuple[str, ...], message: str) -> None:
    told = run(*arguments)
    assert told.exit_code == 1, told.output
    assert message in told.stderr
    assert "Traceback" not in told.output


def test_a_limit_that_cannot_be_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLD_MAX_ROWS", "0")
    told = run()
    assert told.exit_code == 1
    assert "MLD_MAX_ROWS: expected int above 0, got '0'" in told.stderr


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastapi" else find(name))
    told = run()
    assert told.exit_code == 1
    assert "the server needs fastapi: pip install 'ml-debugger[server]'" in told.stderr


def test_a_port_that_is_taken_ends_the_server(tmp_path: Path) -> None:
    with running_server(tmp_path / "first") as first:
        port = int(first.endpoint.rpartition(":")[2])
        with (
            pytest.raises(RuntimeError, match=r"did not start, exit status [13](.|\n)*address already in use"),
            running_server(tmp_path / "second", port=port),
        ):
            raise AssertionError("two servers on one port")


def test_a_server_speaks_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    options = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    with running_server(tmp_path, options=options) as server:
        assert server.endpoint.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=server.endpoint, verify=context) as client:
            assert client.get("/healthz").json() == {"status": "alive"}
            answer = client.post("/login", data={"key": server.first_key})
            assert "Secure" in answer.headers["set-cookie"]
        with pytest.raises(httpx.TransportError):
            httpx.get(server.endpoint.replace("https", "http"))
