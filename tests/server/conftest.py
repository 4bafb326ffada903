"""One server for all tests; each has an organisation of its own in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers.server import RunningServer, running_server

_organisations = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that no test stops, or fills with what others would see."""
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def organisation() -> str:
    """A new organisation."""
    return f"team-{next(_organisations)}"


@pytest.fixture
def client(server: RunningServer, organisation: str) -> Iterator[httpx.Client]:
    """Calls with a key of the new organisation that may read and write."""
    with client_of(server, server.new_key(organisation)) as client:
        yield client


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server that a test may stop."""
    with running_server(tmp_path) as server:
        yield server


def client_of(server: RunningServer, key: str | None, address: str = "127.0.0.1") -> httpx.Client:
    """Calls with a key, from an address of loopback."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=server.endpoint, headers=headers, transport=transport, timeout=60)
