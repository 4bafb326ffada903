"""The metadata database: how it is opened and brought up to date."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from ml_debugger.errors import ConfigError, StoreError
from ml_debugger.store.failures import store_errors
from ml_debugger.store.migrations import HEAD

__all__ = ["database_file", "open_database", "reading", "revision"]

_READING: Final = "ml_debugger_reading"
# How long a process waits for another one's transaction.
_BUSY_SECONDS: Final = 60
_MIGRATION_LOCK: Final = 0x6D6C6462  # key of PostgreSQL's advisory lock
# Connections of one process to a database server; a thread that finds none free waits.
_POOL: Final = {"pool_size": 10, "max_overflow": 20, "pool_timeout": _BUSY_SECONDS, "pool_recycle": 1800}
# To PostgreSQL, in seconds unless named otherwise: where the server is gone, an error instead of a hang.
_POSTGRES_ARGUMENTS: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}


def open_database(url: str | URL) -> Engine:
    """An engine for an up-to-date database; creates or migrates it, once even if many processes open it at once.

    Args:
        url: SQLAlchemy URL; ``sqlite://`` is a database in memory.

    Raises:
        ConfigError: If it is no such URL, or its driver is not installed.
        StoreError: If it cannot be opened or belongs to a newer version of this library.
    """
    parsed = _parse_url(url)
    shown = parsed.render_as_string(hide_password=True)
    with store_errors("open the metadata database", shown):
        engine = _engine(parsed)
        try:
            if revision(engine) != HEAD:
                with _migration_lock(engine) as connection:
                    _upgrade(connection)
        except BaseException:
            engine.dispose()
            raise
        return engine


def database_file(url: str | URL) -> Path | None:
    """The file that an SQLite database is kept in; None for other databases.

    Raises:
        ConfigError: If it is no SQLAlchemy URL.
    """
    parsed = _parse_url(url)
    kept = parsed.get_backend_name() == "sqlite" and parsed.database and "uri" not in parsed.query
    return Path(str(parsed.database)) if kept else None


@contextmanager
def reading(engine: Engine) -> Iterator[sa.Connection]:
    """A connection for reading: takes no lock that writers wait for."""
    with engine.connect() as connection:
        yield connection.execution_options(**{_READING: True})


def _parse_url(url: str | URL) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # their texts, and the URL, may hold a password
        raise ConfigError(
            "MLD_DATABASE_URL: expected an SQLAlchemy URL such as sqlite:////folder/metadata.db or "
            "postgresql://user:password@host/database, got something else (not shown: it may hold a password); "
            "percent-encode special characters of the password"
        ) from None


def _engine(parsed: URL) -> Engine:
    if parsed.get_backend_name() != "sqlite":
        try:
            return sa.create_engine(parsed, pool_pre_ping=True, connect_args=_arguments(parsed), **_POOL)
        except ImportError as error:
            raise ConfigError(
                f"MLD_DATABASE_URL: the driver {error.name!r} of {parsed.drivername!r} is not installed; install it, "
                "or name one that is, as in postgresql+psycopg://"
            ) from error
    if not parsed.database:
        # one connection, lent to one thread at a time: the database lives in it
        alone = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
        engine = sa.create_engine(parsed, connect_args={"check_same_thread": False}, **alone)
    else:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS})
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_immediate)
    return engine


def _arguments(parsed: URL) -> dict[str, int]:
    """What a driver is given besides the URL; the URL's own parameters win."""
    if parsed.get_backend_name() != "postgresql" or parsed.get_driver_name() not in ("psycopg", "psycopg2"):
        return {}
    return {name: value for name, value in _POSTGRES_ARGUMENTS.items() if name not in parsed.query}


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # Python's driver must not begin transactions of its own
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    """Take the write lock at once: a transaction that read first could not wait for it."""
    if not connection.get_execution_options().get(_READING):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def revision(engine: Engine) -> str | None:
    """Where a database is in the sequence of migrations; None where nothing was made yet."""
    with reading(engine) as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        return found


@contextmanager
def _migration_lock(engine: Engine) -> Iterator[sa.Connection]:
    """One process migrates, the others wait; a file lock for SQLite files, an advisory lock for PostgreSQL."""
    if engine.url.get_backend_name() == "sqlite" and engine.url.database:
        with Path(f"{engine.url.database}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed, also by a kill
            with reading(engine) as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")  # stays in the file
            with engine.begin() as connection:
                yield connection
    else:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            yield connection


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script.revision import ResolutionError
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "ml_debugger.store:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except (CommandError, ResolutionError) as error:
        raise StoreError(
            f"the metadata database was made by a newer version of ml-debugger ({error}): upgrade ml-debugger"
        ) from error
