"""Databases of every earlier version are brought up to date with all that they held, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import ml_debugger.store.migrations as migrations
from ml_debugger.store.database import open_database, revision
from ml_debugger.store.keys import Keys
from ml_debugger.store.metadata import Metadata, ModelRow
from ml_debugger.store.schema import METADATA

REVISIONS: Final = sorted(
    script.revision for script in ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()
)
MOMENT: Final = "2026-01-02 03:04:05"
RANGE: Final = [0.0, -40.0, -3.0, 70.4, 40.0, 1.0]
ROWS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("models", {
        "model_name": "model", "task": "object_detection_3d", "architecture_hash": "arch", "n_features": 4,
        "n_classes": 3, "fields": '{"lux": "float"}', "label_fields": '{"who": "str"}', "created_at": MOMENT,
    }),
    ("models", {
        "model_name": "plain", "task": "classification", "architecture_hash": "other", "n_features": None,
        "n_classes": None, "fields": "{}", "label_fields": "{}", "created_at": MOMENT,
    }),
    ("runs", {"model_name": "model", "version_name": "v1", "created_at": MOMENT}),
    ("runs", {"model_name": "model", "version_name": "v2", "created_at": "2026-01-03 00:00:00"}),
    ("results", {
        "result_name": "done", "model_name": "model", "version_name": "v1", "created_at": MOMENT,
        "completed_at": "2026-01-03 00:00:00", "info": '{"n_epoch": 3}',
    }),
    ("results", {
        "result_name": "claimed", "model_name": "model", "version_name": "v1", "created_at": MOMENT,
        "completed_at": None, "info": "{}",
    }),
)  # fmt: skip
# What a revision added to the rows: those of before have none of it.
ADDED: Final = {
    "0002": "UPDATE models SET architecture = 'Net (3 parameters)' WHERE model_name = 'model'",
    "0003": f"""UPDATE runs SET settings = '{{"pc_range": {RANGE}}}' WHERE version_name = 'v1'""",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """A new, empty database that no version has seen."""
    if request.param == "sqlite":
        found = sa.create_engine(f"sqlite:///{tmp_path}/metadata.db")
    else:
        found = sa.create_engine(request.getfixturevalue("postgres_url"))
    yield found
    found.dispose()


def move(engine: sa.Engine, target: str) -> None:
    """To another revision, up or down."""
    config = Config()
    config.set_main_option("script_location", "ml_debugger.store:migrations")
    steps = command.downgrade if (revision(engine) or "") > target else command.upgrade
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        steps(config, target)


def fill_first(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for table, row in ROWS:
            names = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)


def add(engine: sa.Engine, number: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(ADDED[number])


def check(metadata: Metadata, *, has_words: bool, has_settings: bool) -> None:
    """Everything is there, and belongs to the default organisation."""
    words = "Net (3 parameters)" if has_words else None
    model = ModelRow("model", "object_detection_3d", "arch", 4, 3, {"lux": "float"}, {"who": "str"}, words)
    assert metadata.model("model") == model
    assert metadata.model("plain") == ModelRow("plain", "classification", "other", None, None, {}, {})
    assert metadata.versions("model") == ["v1", "v2"]
    assert metadata.settings_by_version("model") == ({"v1": {"pc_range": RANGE}} if has_settings else {})
    assert [(row.result_name, row.info) for row in metadata.results("model")] == [("done", {"n_epoch": 3})]
    assert f"{metadata.results()[0].created_at:%Y-%m-%d %H:%M:%S %Z}" == f"{MOMENT} UTC"
    assert metadata.claim_result("claimed", "model", "v1", unique=True) == "claimed_2"  # the claim is still one
    metadata.release_result("claimed_2")
    another = metadata.of("another")
    assert (another.model_names(), another.versions("model"), another.results()) == ([], [], [])


def test_every_revision_has_a_test() -> None:
    assert REVISIONS == ["0001", "0002", "0003", "0004"]
    assert REVISIONS[-1] == migrations.HEAD


@pytest.mark.parametrize("first", REVISIONS)
def test_a_database_of_an_earlier_version_keeps_its_rows(engine: sa.Engine, first: str) -> None:
    move(engine, "0001")
    fill_first(engine)
    for number in REVISIONS[1:]:
        if number <= first:
            move(engine, number)
            if number in ADDED:
                add(engine, number)
    assert revision(engine) == first
    opened = open_database(engine.url)
    try:
        assert revision(opened) == migrations.HEAD
        with opened.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        check(Metadata(opened), has_words=first >= "0002", has_settings=first >= "0003")
    finally:
        opened.dispose()


def test_the_way_back_and_up_again_keeps_what_each_version_knows(engine: sa.Engine) -> None:
    move(engine, "0001")
    fill_first(engine)
    for number in REVISIONS[1:]:
        move(engine, number)
        if number in ADDED:
            add(engine, number)
    metadata = Metadata(engine)
    metadata.of("another").add_run("model", "theirs", {"pc_range": RANGE[::-1]})
    Keys(engine).create("another", "test", "write")
    move(engine, "0003")
    assert not {"keys", "jobs", "sessions", "organisations"} & set(sa.inspect(engine).get_table_names())
    with engine.connect() as connection:
        runs = connection.exec_driver_sql("SELECT version_name, settings FROM runs ORDER BY 1").all()
    assert [row.version_name for row in runs] == ["v1", "v2"]  # those of other organisations are gone
    move(engine, migrations.HEAD)
    check(metadata, has_words=True, has_settings=True)
    move(engine, "0001")
    move(engine, migrations.HEAD)
    check(metadata, has_words=False, has_settings=False)
