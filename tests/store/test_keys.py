"""Keys and sessions, in SQLite and in PostgreSQL."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from ml_debugger.errors import InputError, LicenseError, NotFoundError
from ml_debugger.store.database import open_database
from ml_debugger.store.keys import KeyRow, Keys
from ml_debugger.store.metadata import utc_now
from ml_debugger.store.schema import keys as table

HOUR = datetime.timedelta(hours=1)


@pytest.fixture(params=["sqlite", "postgres"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keys]:
    sqlite = f"sqlite:///{tmp_path}/metadata.db"
    engine = open_database(sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    yield Keys(engine)
    engine.dispose()


def stored(keys: Keys) -> str:
    """Everything that the database has of keys and sessions."""
    with keys._engine.connect() as connection:
        tables = ("keys", "sessions", "organisations")
        return str([connection.execute(sa.text(f"SELECT * FROM {name}")).all() for name in tables])


def test_a_key_is_long_random_and_kept_as_a_hash_only(keys: Keys) -> None:
    made, row = keys.create("team", "anna", "read")
    other, _ = keys.create("team", "anna", "read")
    found = re.fullmatch(r"mldbg_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", made)
    assert found is not None
    assert found[1] == row.key_id
    assert other != made
    assert found[2] not in stored(keys)
    assert made not in stored(keys)
    assert not hasattr(row, "hash")
    assert found[2] not in repr(row)


def test_a_key_is_known_again(keys: Keys) -> None:
    made, row = keys.create("team", "anna", "write", utc_now() + HOUR)
    assert keys.verify(made) == row
    east = datetime.timezone(2 * HOUR)
    other, _ = keys.create("team", "anna", "write", datetime.datetime(2999, 1, 1, 10, tzinfo=east))
    assert keys.verify(other).expires_at == datetime.datetime(2999, 1, 1, 8, tzinfo=datetime.UTC)
    assert (row.organisation, row.scope, row.revoked_at) == ("team", "write", None)
    assert [row.allows(scope) for scope in ("read", "write", "admin")] == [True, True, False]


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
        lambda key: key + "A",
        lambda key: key[:-1],
        lambda key: key.upper(),
        lambda key: f" {key}",
        lambda key: f"{key}\n",
        lambda key: key[:19],
        lambda key: "",
        lambda key: key.replace("mldbg_", "mldbg_0", 1),
        lambda key: key[:18] + "_" + "é" * 43,
        lambda key: key[:18] + "_" + "\udc80" * 43,
    ],
)
def test_nothing_else_is(keys: Keys, change) -> None:
    made, _ = keys.create("team", "anna", "write")
    with pytest.raises(LicenseError, match="not one of this server") as caught:
        keys.verify(change(made))
    assert made[19:] not in str(caught.value)


def test_a_revoked_key_and_its_sessions_are_refused(keys: Keys) -> None:
    made, row = keys.create("team", "anna", "write")
    token = keys.open_session(row, HOUR)
    assert keys.verify_session(token) == row
    with pytest.raises(NotFoundError, match=r"no key '.*' in organisation 'other'"):
        keys.revoke(row.key_id, "other")
    assert keys.verify(made) == row
    gone = keys.revoke(row.key_id, "team")
    assert gone.revoked_at is not None
    assert keys.revoke(row.key_id).revoked_at == gone.revoked_at  # twice is once
    with pytest.raises(LicenseError, match="was revoked on"):
        keys.verify(made)
    with pytest.raises(LicenseError, match="session has ended"):
        keys.verify_session(token)
    with pytest.raises(NotFoundError):
        keys.revoke("000000000000")


def test_an_expired_key_and_its_sessions_are_refused(keys: Keys) -> None:
    made, row = keys.create("team", "anna", "write", utc_now() + HOUR)
    token = keys.open_session(row, HOUR)
    with keys._engine.begin() as connection:
        connection.execute(sa.update(table).values(expires_at=utc_now() - HOUR))
    with pytest.raises(LicenseError, match="expired on"):
        keys.verify(made)
    with pytest.raises(LicenseError, match="expired on"):
        keys.verify_session(token)


def test_a_session_ends(keys: Keys) -> None:
    _, row = keys.create("team", "anna", "read")
    ended, open_one = keys.open_session(row, -HOUR), keys.open_session(row, HOUR)
    assert ended not in stored(keys)
    assert open_one not in stored(keys)
    for wrong in (ended, "", open_one[:-1], f"{open_one}x", "' OR 1=1"):
        with pytest.raises(LicenseError, match="session has ended"):
            keys.verify_session(wrong)
    assert keys.verify_session(open_one) == row
    keys.close_session(open_one)
    with pytest.raises(LicenseError):
        keys.verify_session(open_one)


def test_the_first_key_is_made_once(keys: Keys) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [key for key in pool.map(lambda _: keys.create_first(), range(8)) if key is not None]
    assert len(made) == 1
    row = keys.verify(made[0])
    assert (row.organisation, row.scope, row.expires_at) == ("", "admin", None)
    assert keys.create_first() is None


def test_keys_are_listed_by_organisation(keys: Keys) -> None:
    rows: list[KeyRow] = [keys.create(team, name, "read")[1] for team, name in (("b", "1"), ("a", "2"), ("b", "3"))]
    assert keys.list("b") == [rows[0], rows[2]]
    assert keys.list() == [rows[1], rows[0], rows[2]]
    assert keys.list("c") == []


@pytest.mark.parametrize(
    ("name", "scope", "expires_at", "message"),
    [
        ("", "read", None, "name: expected 1 to 100 printable characters"),
        ("  ", "read", None, "name: expected"),
        ("a\nb", "read", None, "name: expected"),
        ("x" * 101, "read", None, "name: expected"),
        ("x", "all", None, "scope: expected one of"),
        ("x", "read", utc_now() - HOUR, "expires: expected a moment to come"),
        ("x", "read", datetime.datetime(2999, 1, 1), "expires: expected a moment to come, with its time zone"),
    ],
)
def test_what_cannot_be_right_is_refused(
    keys: Keys, name: str, scope: str, expires_at: datetime.datetime | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        keys.create("team", name, scope, expires_at)
    assert keys.list() == []
