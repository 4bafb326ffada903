"""The metadata database: made once, kept up to date, safe between processes."""

from __future__ import annotations

import datetime
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import ml_debugger.store.migrations as migrations
from ml_debugger.errors import ConfigError, InputError, StoreError
from ml_debugger.store.database import open_database
from ml_debugger.store.metadata import Metadata, ModelRow
from ml_debugger.store.schema import METADATA

ROW = ModelRow("model", "classification", "arch", None, None, {}, {})


@pytest.fixture(params=["file", "memory"])
def metadata(request: pytest.FixtureRequest, tmp_path: Path) -> Metadata:
    return Metadata(open_database("sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path}/metadata.db"))


def test_the_scripts_lead_to_the_tables(tmp_path: Path) -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == migrations.HEAD
    with open_database(f"sqlite:///{tmp_path}/metadata.db").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"


def test_the_scripts_lead_back(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    engine = open_database(f"sqlite:///{tmp_path}/metadata.db")
    config = Config()
    config.set_main_option("script_location", "ml_debugger.store:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert sa.inspect(engine).get_table_names() == ["alembic_version"]


def test_a_database_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    url = f"sqlite:///{tmp_path}/metadata.db"
    config = Config()
    config.set_main_option("script_location", "ml_debugger.store:migrations")
    with open_database(url).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        row = "('model', 'classification', 'arch', NULL, NULL, '{}', '{}', '2026-01-01 00:00:00')"
        connection.exec_driver_sql(f"INSERT INTO models VALUES {row}")
        connection.exec_driver_sql("INSERT INTO runs VALUES ('model', 'v1', '2026-01-01 00:00:00')")
    metadata = Metadata(open_database(url))
    assert metadata.run_settings("model", "v1") == {}
    metadata.add_run("model", "v1", {"pc_range": [0.0, 1.0]})
    assert metadata.run_settings("model", "v1") == {"pc_range": [0.0, 1.0]}
    assert metadata.model("model") == ROW
    described = replace(ROW, architecture="Net (3 parameters)")
    assert metadata.bind_model(described, ROW)
    assert metadata.model("model") == described
    assert metadata.of("another").model("model") is None


def test_a_claimant_finds_its_claim_again(metadata: Metadata) -> None:
    assert metadata.claimed_by("job") is None
    assert metadata.claim_result("r", "model", "v1", unique=True, claimant="job") == "r"
    assert metadata.claimed_by("job") == ("r", False)
    assert metadata.of("another").claimed_by("job") is None
    metadata.complete_result("r", {})
    assert metadata.claimed_by("job") == ("r", True)


def test_eight_processes_make_it_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from ml_debugger.store.database import open_database; "
        "from ml_debugger.store.metadata import Metadata; "
        "Metadata(open_database(sys.argv[1])).add_run('model', sys.argv[2])"
    )
    url = f"sqlite:///{tmp_path}/metadata.db"
    processes = [subprocess.Popen([sys.executable, "-c", code, url, f"v{number}"]) for number in range(8)]
    assert [process.wait(120) for process in processes] == [0] * 8
    assert sorted(Metadata(open_database(url)).versions("model")) == [f"v{number}" for number in range(8)]


def test_a_database_of_a_newer_version_is_told(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/metadata.db")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer version of ml-debugger"):
        open_database(f"sqlite:///{tmp_path}/metadata.db")


def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_text("not a database, but long enough to be read as one" * 40)
    with pytest.raises(StoreError, match="not a database"):
        open_database(f"sqlite:///{tmp_path}/metadata.db")


def test_a_name_is_bound_once(metadata: Metadata) -> None:
    assert metadata.model("model") is None
    assert metadata.bind_model(ROW, None)
    assert not metadata.bind_model(ModelRow("model", "other", "other", 1, 1, {}, {}), None)
    wider = ModelRow("model", "classification", "arch", 4, 3, {"lux": "float"}, {})
    assert metadata.bind_model(wider, ROW)
    assert not metadata.bind_model(ROW, ROW)  # no longer what it was
    assert metadata.model("model") == wider
    assert metadata.model_names() == ["model"]


def test_settings_of_a_version_are_those_of_its_newest_tracer(metadata: Metadata) -> None:
    assert metadata.run_settings("model", "v1") == {}
    metadata.add_run("model", "v1")
    metadata.add_run("model", "v2", {"pc_range": [1.5]})
    assert (metadata.run_settings("model", "v1"), metadata.run_settings("model", "v2")) == ({}, {"pc_range": [1.5]})
    metadata.add_run("model", "v2")
    assert metadata.run_settings("model", "v2") == {"pc_range": [1.5]}
    metadata.add_run("model", "v2", {"pc_range": [2.5]})
    assert metadata.run_settings("model", "v2") == {"pc_range": [2.5]}
    metadata.add_run("model", "v2", {})
    assert metadata.run_settings("model", "v2") == {}
    assert metadata.versions("model") == ["v1", "v2"]


def test_results_are_listed_when_they_are_complete(metadata: Metadata) -> None:
    assert metadata.claim_result("r", "model", "v1", unique=True) == "r"
    assert metadata.claim_result("r", "model", "v1", unique=True) == "r_2"
    assert metadata.results() == []
    metadata.complete_result("r_2", {"n_epoch": 1})
    metadata.release_result("r")
    metadata.release_result("r_2")  # complete: stays
    (row,) = metadata.results("model", "v1")
    assert (row.result_name, row.info) == ("r_2", {"n_epoch": 1})
    assert row.created_at.tzinfo is not None
    assert row.created_at <= row.completed_at
    assert metadata.results("other") == []
    with pytest.raises(InputError, match="'r_2' is taken"):
        metadata.claim_result("r_2", "model", "v1", unique=False)


def test_times_of_other_zones_are_the_same_moments(metadata: Metadata) -> None:
    """SQLite keeps what a clock shows, not where it hangs."""
    metadata.claim_result("r", "model", "v1", unique=True)
    east = datetime.timezone(datetime.timedelta(hours=9))
    made, done = datetime.datetime(2026, 1, 1, 8, tzinfo=east), datetime.datetime(2026, 1, 1, 9, tzinfo=east)
    metadata.complete_result("r", {}, (made, done))
    (row,) = metadata.results()
    assert (row.created_at, row.completed_at) == (made, done)


def test_claims_of_many_threads_are_all_different(metadata: Metadata) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: metadata.claim_result("r", "model", "v1", unique=True), range(16)))
    assert len(set(names)) == 16


@pytest.mark.parametrize(
    "url", ["somewhere", "postgres//user:secret@host/db", "postgresql://user:se@cret@host:port/db"]
)
def test_a_url_that_cannot_be_read_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="MLD_DATABASE_URL: expected an SQLAlchemy URL") as caught:
        open_database(url)
    assert "cret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_driver_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match=r"driver 'pg8000' of 'postgresql\+pg8000' is not installed"):
        open_database("postgresql+pg8000://user:secret@localhost/db")


def test_a_damaged_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(StoreError, match="file is not a database; the file is damaged") as caught:
        open_database(f"sqlite:///{tmp_path}/metadata.db")
    assert "sqlalche.me" not in str(caught.value)
