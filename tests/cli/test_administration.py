"""``mldebugger keys`` and ``mldebugger db``: what is shown, once, and what never."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from typer.testing import CliRunner, Result

from ml_debugger.cli import app
from ml_debugger.errors import LicenseError
from ml_debugger.store import open_store
from ml_debugger.store.keys import Keys
from ml_debugger.store.metadata import utc_now


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


def make(store: Path, *arguments: str) -> str:
    """A new key, as a script would take it from stdout."""
    made = run("keys", "create", *arguments, "--store", str(store))
    assert made.exit_code == 0, made.output
    assert re.fullmatch(r"mldbg_[0-9a-f]{12}_[A-Za-z0-9_-]{43}\n", made.stdout)
    assert made.stdout.strip() not in made.stderr
    return str(made.stdout.strip())


def keys_at(store: Path) -> Keys:
    return Keys(open_store(str(store)).metadata.engine)


def test_a_key_is_made_for_an_organisation(tmp_path: Path) -> None:
    key = make(tmp_path, "anna", "--organisation", "vision-team", "--scope", "read", "--expires", "90d")
    row = keys_at(tmp_path).verify(key)
    assert (row.name, row.organisation, row.scope) == ("anna", "vision-team", "read")
    assert row.expires_at is not None
    assert abs(row.expires_at - utc_now() - datetime.timedelta(days=90)) < datetime.timedelta(minutes=5)


def test_by_default_it_may_write_in_the_default_organisation_for_ever(tmp_path: Path) -> None:
    row = keys_at(tmp_path).verify(make(tmp_path, "anna"))
    assert (row.organisation, row.scope, row.expires_at) == ("", "write", None)


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        ("never", None),
        ("2999-01-31", datetime.datetime(2999, 1, 31, tzinfo=datetime.UTC)),
        ("2999-01-31T10:00+02:00", datetime.datetime(2999, 1, 31, 8, tzinfo=datetime.UTC)),
    ],
)
def test_it_ends_when_it_is_said_to(tmp_path: Path, expires: str, expected: datetime.datetime | None) -> None:
    assert keys_at(tmp_path).verify(make(tmp_path, "x", "--expires", expires)).expires_at == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "--expires", "soon"), "expires: expected a date such as"),
        (("x", "--expires", "99999999999y"), "expires: expected a date such as"),
        (("x", "--expires", "2001-01-01"), "expires: expected a moment to come"),
        (("x", "--scope", "everything"), "scope: expected one of"),
        (("x", "--organisation", "../other"), "organisation: expected 1 to 63 lower-case letters"),
        (("",), "name: expected 1 to 100 printable characters"),
    ],
)
def test_what_cannot_be_right_is_told(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    made = run("keys", "create", *arguments, "--store", str(tmp_path))
    assert made.exit_code == 1
    assert message in made.stderr
    assert made.stdout == ""


def test_keys_are_listed_without_what_opens_doors(tmp_path: Path) -> None:
    assert "No key yet" in run("keys", "list", "--store", str(tmp_path)).stderr
    keys = [make(tmp_path, "anna", "-o", "one"), make(tmp_path, "bert", "-o", "two", "--expires", "1y")]
    ids = [key.split("_")[1] for key in keys]
    assert run("keys", "revoke", ids[0], "--store", str(tmp_path)).stdout == f"Key {ids[0]} (anna) is revoked.\n"
    listed = run("keys", "list", "--store", str(tmp_path))
    assert all(key_id in listed.stdout for key_id in ids)
    assert re.search(rf"{ids[0]} +one +anna +write +\S+ +revoked", listed.stdout)
    assert re.search(rf"{ids[1]} +two +bert +write +\S+ +valid until", listed.stdout)
    assert not any(key in listed.output or key.split("_", 2)[2] in listed.output for key in keys)
    assert ids[0] not in run("keys", "list", "-o", "two", "--store", str(tmp_path)).stdout
    with pytest.raises(LicenseError, match="was revoked"):
        keys_at(tmp_path).verify(keys[0])


def test_an_expired_key_is_listed_as_such(tmp_path: Path) -> None:
    from ml_debugger.store.schema import keys as table

    make(tmp_path, "anna", "--expires", "1h")
    with open_store(str(tmp_path)).metadata.engine.begin() as connection:
        connection.execute(sa.update(table).values(expires_at=utc_now() - datetime.timedelta(days=1)))
    assert re.search(r"expired 2\d{3}-", run("keys", "list", "--store", str(tmp_path)).stdout)


def test_a_key_that_is_not_there_cannot_be_revoked(tmp_path: Path) -> None:
    gone = run("keys", "revoke", "000000000000", "--store", str(tmp_path))
    assert gone.exit_code == 1
    assert "there is no key '000000000000'" in gone.stderr


def test_a_workspace_in_memory_has_no_keys() -> None:
    told = run("keys", "list", "--store", "memory://")
    assert told.exit_code == 1
    assert "which keeps nothing" in told.stderr


def test_a_database_is_brought_up_to_date(tmp_path: Path) -> None:
    """From the first schema of all, with what was in it."""
    config = Config()
    config.set_main_option("script_location", "ml_debugger.store:migrations")
    url = f"sqlite:///{tmp_path}/metadata.db"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO models VALUES "
            "('m', 'classification', 'arch', 4, 3, '{\"lux\": \"float\"}', '{}', '2026-01-01 00:00:00')"
        )
        connection.exec_driver_sql("INSERT INTO runs VALUES ('m', 'v1', '2026-01-01 00:00:00')")
        connection.exec_driver_sql(
            "INSERT INTO results VALUES "
            "('r', 'm', 'v1', '2026-01-01 00:00:00', '2026-01-02 00:00:00', '{\"n_epoch\": 1}')"
        )
    engine.dispose()
    told = run("db", "upgrade", "--store", str(tmp_path))
    assert told.exit_code == 0, told.output
    assert "is at revision 0004, the newest of this version" in told.stdout
    metadata = open_store(str(tmp_path)).metadata
    model = metadata.model("m")
    assert model is not None
    assert (model.n_features, model.n_classes, model.fields) == (4, 3, {"lux": "float"})
    assert metadata.versions("m") == ["v1"]
    assert [(row.result_name, row.info) for row in metadata.results()] == [("r", {"n_epoch": 1})]
    assert metadata.of("team").model_names() == []


def test_no_password_is_shown(tmp_path: Path, postgres_url: str) -> None:
    told = run("db", "upgrade", "--store", str(tmp_path), "--database-url", postgres_url)
    assert told.exit_code == 0, told.output
    assert sa.make_url(postgres_url).password not in told.output
    assert "postgres:***@" in told.output
