"""The metadata database in a real PostgreSQL: migrations, many processes, and a server that goes away."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ml_debugger.errors import StoreError
from ml_debugger.store import database
from ml_debugger.store.database import open_database
from ml_debugger.store.metadata import Metadata, ModelRow
from ml_debugger.store.schema import METADATA
from tests.helpers.postgres import PostgresServer

ROW = ModelRow("model", "classification", "arch", None, None, {}, {})


@contextmanager
def opened(url: str | sa.URL) -> Iterator[sa.Engine]:
    engine = open_database(url)
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    with opened(postgres_url) as engine:
        yield engine


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may kill."""
    with PostgresServer() as server:
        yield server


def downgrade(engine: sa.Engine, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "ml_debugger.store:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_the_scripts_lead_to_the_tables_and_back(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    downgrade(engine, "base")
    assert sa.inspect(engine).get_table_names() == ["alembic_version"]


def test_a_database_of_the_first_version_is_brought_up_to_date_with_its_rows(engine: sa.Engine) -> None:
    downgrade(engine, "0001")
    moment = "'2026-01-01 00:00:00+00'"
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO models VALUES ('model', 'classification', 'arch', NULL, NULL, '{{}}', '{{}}', {moment})"
        )
        connection.exec_driver_sql(f"INSERT INTO runs VALUES ('model', 'v1', {moment})")
        info = """'{"n_epoch": 3}'"""
        connection.exec_driver_sql(f"INSERT INTO results VALUES ('r', 'model', 'v1', {moment}, {moment}, {info})")
    with opened(engine.url) as again:
        metadata = Metadata(again)
        assert metadata.model("model") == ROW
        assert metadata.versions("model") == ["v1"]
        assert [row.info for row in metadata.results("model")] == [{"n_epoch": 3}]
        with again.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_three_processes_make_it_at_once(postgres_url: str) -> None:
    code = (
        "import sys; from ml_debugger.store.database import open_database; "
        "from ml_debugger.store.metadata import Metadata; "
        "Metadata(open_database(sys.argv[1])).add_run('model', sys.argv[2])"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, postgres_url, f"v{number}"]) for number in range(3)]
    assert [process.wait(120) for process in processes] == [0] * 3
    with opened(postgres_url) as engine:
        assert sorted(Metadata(engine).versions("model")) == [f"v{number}" for number in range(3)]


def test_moments_are_told_in_utc_whatever_the_zone_of_the_server(postgres_url: str) -> None:
    """Else the same result would read differently at two places, and a copy of it not be the same."""
    url = sa.make_url(postgres_url).update_query_dict({"options": "-c timezone=Asia/Tokyo"})
    with opened(url) as engine:
        metadata = Metadata(engine)
        metadata.claim_result("r", "model", "v1", unique=True)
        metadata.complete_result("r", {})
        (row,) = metadata.results()
    assert row.completed_at.isoformat().endswith("+00:00")


def test_a_name_is_bound_by_one_of_many_threads(engine: sa.Engine) -> None:
    metadata = Metadata(engine)
    rows = [replace(ROW, architecture_hash=f"arch{number}") for number in range(24)]
    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(lambda row: metadata.bind_model(row, None), rows))
    assert sum(won) == 1
    bound = metadata.model("model")
    assert bound == rows[won.index(True)]
    widths = [replace(bound, n_features=number) for number in range(1, 13)]
    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(lambda row: metadata.bind_model(row, bound), widths))
    assert sum(won) == 1
    assert metadata.model("model") == widths[won.index(True)]


def test_claims_of_many_threads_are_all_different(engine: sa.Engine) -> None:
    metadata = Metadata(engine)
    with ThreadPoolExecutor(12) as pool:
        names = list(pool.map(lambda _: metadata.claim_result("r", "model", "v1", unique=True), range(24)))
    assert len(set(names)) == 24


def test_more_threads_than_connections_wait_for_one(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_POOL", {"pool_size": 1, "max_overflow": 1, "pool_timeout": 60})
    with opened(postgres_url) as engine, ThreadPoolExecutor(16) as pool:
        metadata = Metadata(engine)
        list(pool.map(lambda number: metadata.add_run("model", f"v{number}"), range(64)))
        assert len(metadata.versions("model")) == 64


def test_what_is_there_already_is_no_error_in_the_server_s_log(engine: sa.Engine, postgres: PostgresServer) -> None:
    metadata = Metadata(engine)
    before = postgres.log().count("ERROR")
    for _ in range(3):
        metadata.add_run("model", "v1")
        metadata.claim_result("r", "model", "v1", unique=True)
        metadata.bind_model(ROW, None)
    assert postgres.log().count("ERROR") == before


def test_sessions_that_the_server_ends_are_replaced(engine: sa.Engine, postgres: PostgresServer) -> None:
    metadata = Metadata(engine)
    metadata.add_run("model", "v1")
    ended = postgres.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{engine.url.database}'"
    )
    assert ended
    metadata.add_run("model", "v2")
    assert metadata.versions("model") == ["v1", "v2"]


def test_a_server_that_is_killed_is_an_error_and_then_goes_on(own_server: PostgresServer) -> None:
    with opened(own_server.new_database()) as engine:
        metadata = Metadata(engine)
        metadata.add_run("model", "v1")
        own_server.kill()
        with pytest.raises(StoreError, match="could not write metadata") as caught:
            metadata.add_run("model", "v2")
        assert str(engine.url.password) not in f"{caught.value!r} {caught.value.__cause__!r}"
        own_server.start()
        metadata.add_run("model", "v2")
        assert metadata.versions("model") == ["v1", "v2"]


def test_a_wrong_password_is_told_without_it(postgres: PostgresServer) -> None:
    url = sa.make_url(postgres.url()).set(password="not the secret one")
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        open_database(url)
    assert "not the secret one" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_server_that_never_answers_is_an_error_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        accepted: list[socket.socket] = []
        threading.Thread(target=lambda: accepted.append(silent.accept()[0]), daemon=True).start()
        url = f"postgresql+psycopg://user:secret@127.0.0.1:{silent.getsockname()[1]}/db?connect_timeout=2"
        with pytest.raises(StoreError, match="timeout") as caught:
            open_database(url)
        assert "secret" not in str(caught.value)
        for connection in accepted:
            connection.close()
