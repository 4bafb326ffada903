"""Every store, as a service over a new workspace."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ml_debugger.service.local import LocalService
from tests.helpers.object_store import BUCKET, s3_server

STORES = ("folder", "memory", "s3")


@dataclass(frozen=True)
class Place:
    """Where a workspace is, for tests that open it again, also in other processes."""

    location: str
    database_url: str | None

    def open(self) -> LocalService:
        return LocalService.open(self.location, self.database_url)


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """The environment that reaches an S3 server."""
    pytest.importorskip("moto", reason="needs moto's S3 server")
    with s3_server() as environment:
        yield environment


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A new workspace in each kind of store."""
    return make_place(request.param, request, tmp_path, monkeypatch)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def shared_place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A new workspace in each kind of store that several processes can share."""
    return make_place(request.param, request, tmp_path, monkeypatch)


@pytest.fixture
def service(place: Place) -> LocalService:
    """A service over a new workspace."""
    return place.open()


def make_place(store: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if store == "memory":
        return Place("memory://", None)
    if store == "folder":
        return Place(str(tmp_path / "a folder é"), None)
    for name, value in request.getfixturevalue("s3_environment").items():
        monkeypatch.setenv(name, value)
    return Place(f"s3://{BUCKET}/{uuid.uuid4().hex}", f"sqlite:///{tmp_path}/metadata.db")
