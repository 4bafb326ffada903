"""A workspace: tables, metadata and artefacts of one place."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import URL

from ml_debugger.errors import ConfigError, NotFoundError, StoreError
from ml_debugger.store.artifacts import Artifacts
from ml_debugger.store.database import database_file, open_database
from ml_debugger.store.delta import DeltaTables
from ml_debugger.store.memory import MemoryTables
from ml_debugger.store.metadata import Metadata
from ml_debugger.store.organisations import DEFAULT_ORGANISATION, organisation_place
from ml_debugger.store.tables import Tables

__all__ = ["STORES", "Workspace", "check_present", "open_store"]


Parts = Callable[[str], tuple[Tables, Artifacts]]

# delta-rs panics on these in the path of a folder, or takes them for something else.
_REFUSED: Final = frozenset("[]\\^|")


@dataclass(frozen=True, slots=True)
class Workspace:
    """Rows, metadata and artefacts of one place, and in it of one organisation.

    Attributes:
        location: Folder or URL, the same for all organisations.
        tables: Rows.
        metadata: Models, runs and results.
        artifacts: Files of results.
        parts: Tables and artefacts of an organisation.
    """

    location: str
    tables: Tables
    metadata: Metadata
    artifacts: Artifacts
    parts: Parts

    def of(self, organisation: str) -> Workspace:
        """The same place as another organisation sees it: nothing that is kept for one is reachable from another."""
        tables, artifacts = self.parts(organisation)
        return replace(self, tables=tables, metadata=self.metadata.of(organisation), artifacts=artifacts)


def open_store(location: str, database_url: str | None = None) -> Workspace:
    """Open a workspace, creating it when it is new.

    Args:
        location: Folder, or URL of an object store (``s3://bucket/prefix``; credentials and endpoint from the store's
            usual environment variables), or ``memory://``.
        database_url: SQLAlchemy URL of the metadata database. Default: SQLite in the folder; for an object store, which
            cannot hold one, SQLite under ``~/.mldebugger/workspaces``, so that machines which share a bucket share a
            database only by URL.

    Raises:
        ConfigError: If no store serves the URL's scheme.
        StoreError: If the workspace cannot be opened.
    """
    scheme = urlsplit(location).scheme if "://" in location else ""
    try:
        factory = STORES[scheme]
    except KeyError:
        known = sorted(f"{name}://" for name in STORES if name)
        raise ConfigError(f"MLD_HOME: expected a folder or a URL with one of {known}, got {location!r}") from None
    return factory(location, database_url)


def check_present(location: str, database_url: str | None = None) -> None:
    """Check that a workspace was made at a place before, and make nothing.

    An object store, or another database than SQLite, is not asked: there only what is on this machine is looked at.

    Raises:
        NotFoundError: If there is none.
    """
    scheme = urlsplit(location).scheme if "://" in location else ""
    if scheme == "memory" or scheme not in STORES:
        return  # made anew by every process, or refused by ``open_store``
    root = _root_of(location)
    if "://" not in root and Path(root).is_file():
        return  # ``open_store`` says so
    file = database_file(database_url or _database_of(root))
    there = ("://" in root or Path(root).is_dir()) and (file is None or file.is_file())
    if not there:
        lacking = "" if file is None or file.parent == Path(root) else f", or no metadata database {file}"
        other = ", and in MLD_DATABASE_URL its database if another machine made it" if "://" in root else ""
        raise NotFoundError(
            f"no workspace at {root}{lacking}: nothing was traced there from this machine; check the spelling, and "
            f"name the workspace that the tracer used with --home or in MLD_HOME{other}"
        )


def _open_folder(location: str, database_url: str | None) -> Workspace:
    root = _root_of(location)
    if unquote(root) != root:
        raise ConfigError(f"MLD_HOME: a folder whose path has a percent-encoded character cannot be used, got {root!r}")
    refused = sorted(set(root) & _REFUSED | {char for char in root if not char.isprintable()})
    if refused:
        raise ConfigError(
            f"MLD_HOME: the table format takes no folder whose path has {' '.join(map(repr, refused))}, got {root!r}; "
            "choose another folder"
        )
    if Path(root).exists() and not Path(root).is_dir():
        raise StoreError(f"MLD_HOME: expected a folder, but {root} is a file; name another place")
    return _at(root, database_url)


def _open_file_url(location: str, database_url: str | None) -> Workspace:
    return _open_folder(_root_of(location), database_url)


def _open_object_store(location: str, database_url: str | None) -> Workspace:
    return _at(_root_of(location), database_url)


def _at(root: str, database_url: str | None) -> Workspace:
    def parts(organisation: str) -> tuple[Tables, Artifacts]:
        place = organisation_place(root, organisation)
        return DeltaTables(place), Artifacts(place)

    metadata = Metadata(open_database(database_url or _database_of(root)))
    tables, artifacts = parts(DEFAULT_ORGANISATION)
    return Workspace(root, tables, metadata, artifacts, parts)


def _root_of(location: str) -> str:
    """A folder's absolute path, or the URL of an object store without a slash at its end."""
    if urlsplit(location).scheme == "file" and "://" in location:
        location = unquote(urlsplit(location).path)
    return location.rstrip("/") if "://" in location else str(Path(location).expanduser().absolute())


def _database_of(root: str) -> URL:
    """URL of the default database; its path may hold characters that mean something in a URL."""
    name = hashlib.sha256(root.encode()).hexdigest()[:16]
    of_url = f"{Path('~/.mldebugger/workspaces').expanduser()}/{name}.db"
    return URL.create("sqlite", database=of_url if "://" in root else f"{root}/metadata.db")


def _open_memory(location: str, database_url: str | None) -> Workspace:
    @functools.cache
    def parts(organisation: str) -> tuple[Tables, Artifacts]:
        del organisation  # of each its own, made once
        return MemoryTables(), Artifacts("memory://")

    metadata = Metadata(open_database(database_url or "sqlite://"))
    tables, artifacts = parts(DEFAULT_ORGANISATION)
    return Workspace(location, tables, metadata, artifacts, parts)


# By URL scheme; a plain path has none.
STORES: Final[Mapping[str, Callable[[str, str | None], Workspace]]] = {
    "": _open_folder,
    "file": _open_file_url,
    "memory": _open_memory,
    "s3": _open_object_store,
    "s3a": _open_object_store,
    "gs": _open_object_store,
    "az": _open_object_store,
    "abfs": _open_object_store,
    "abfss": _open_object_store,
}
