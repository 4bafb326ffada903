"""Every test starts from the defaults, in an empty workspace of its own; real servers start where they are used."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.object_store import s3_server
from tests.helpers.postgres import PostgresServer

if TYPE_CHECKING:
    from tests.helpers.server import RunningServer

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the developer's shell leaks in, and nothing is written to the developer's workspace."""
    for name in [name for name in os.environ if name.startswith("MLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLD_HOME", str(tmp_path / "workspace"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server; tests that stop or kill it start one of their own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """URL of a new, empty PostgreSQL database."""
    return postgres.new_database()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for all tests, each with an organisation of its own; those that stop or kill it start one themselves."""
    from tests.helpers.server import running_server

    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def organisation() -> str:
    """Name of a new organisation."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def served(server: RunningServer, organisation: str, monkeypatch: pytest.MonkeyPatch) -> RunningServer:
    """The server of the environment, with a key for a new organisation."""
    monkeypatch.setenv("MLD_API_ENDPOINT", server.endpoint)
    monkeypatch.setenv("MLD_API_KEY", server.new_key(organisation))
    return server


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """The environment that reaches an S3 server."""
    pytest.importorskip("moto", reason="needs moto's S3 server")
    with s3_server() as environment:
        yield environment
