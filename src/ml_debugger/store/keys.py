"""Keys of the server, and the sessions of browsers that showed one. Only hashes are kept.

A key is ``mldbg_<id>_<secret>``: 12 hexadecimal digits that tell which key it is, and 32 random bytes. The hash is
plain SHA-256: a slow, salted hash protects passwords, which can be guessed one by one, and nobody guesses 256 random
bits; a fast one costs a server nothing per request.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from ml_debugger.errors import InputError, LicenseError, NotFoundError
from ml_debugger.store.database import reading
from ml_debugger.store.failures import store_errors
from ml_debugger.store.metadata import insert_new, utc, utc_now
from ml_debugger.store.organisations import DEFAULT_ORGANISATION, shown_organisation
from ml_debugger.store.schema import keys, organisations, sessions

__all__ = ["SCOPES", "KeyRow", "Keys"]

SCOPES: Final = ("read", "write", "admin")
"""What a key may do, each including those before it."""

FIRST_KEY_NAME: Final = "first administrator"
_KEY: Final = re.compile(r"mldbg_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_SESSION: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_SECRET_BYTES: Final = 32
_MAX_NAME: Final = 100
_UNKNOWN: Final = "the key is not one of this server; check MLD_API_KEY and MLD_API_ENDPOINT, or ask for a new key"
_NO_HASH: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What is known of a key; nothing of it opens a door."""

    key_id: str
    organisation: str
    name: str
    scope: str
    created_at: datetime.datetime
    expires_at: datetime.datetime | None
    revoked_at: datetime.datetime | None

    def allows(self, scope: str) -> bool:
        """Whether a call that needs a scope may be made with this key."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class Keys:
    """The keys of all organisations.

    Args:
        engine: An up-to-date database, see ``open_database``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shown = engine.url.render_as_string(hide_password=True)

    def create(
        self, organisation: str, name: str, scope: str, expires_at: datetime.datetime | None = None
    ) -> tuple[str, KeyRow]:
        """A new key, and what is known of it. The key is not kept and cannot be shown again.

        Raises:
            InputError: If name, scope or expiry cannot be right.
            StoreError: If the database cannot be written.
        """
        _check(name, scope, expires_at)
        expires_at = None if expires_at is None else expires_at.astimezone(datetime.UTC)  # SQLite keeps no zone
        with store_errors("write keys", self._shown), self._engine.begin() as connection:
            insert_new(connection, organisations, {"organisation": organisation, "created_at": utc_now()})
            return _insert(connection, organisation, name, scope, expires_at)

    def create_first(self) -> str | None:
        """The administrator's key of the default organisation; None if this database has had it made before.

        Raises:
            StoreError: If the database cannot be written.
        """
        first = {"organisation": DEFAULT_ORGANISATION, "created_at": utc_now()}
        with store_errors("write keys", self._shown), self._engine.begin() as connection:
            if not insert_new(connection, organisations, first):
                return None
            return _insert(connection, DEFAULT_ORGANISATION, FIRST_KEY_NAME, "admin", None)[0]

    def list(self, organisation: str | None = None) -> list[KeyRow]:
        """Keys of an organisation, or of all, oldest first; revoked and expired ones too."""
        query = sa.select(keys).order_by(keys.c.organisation, keys.c.created_at, keys.c.key_id)
        if organisation is not None:
            query = query.where(keys.c.organisation == organisation)
        with store_errors("read keys", self._shown), reading(self._engine) as connection:
            return [_row(found) for found in connection.execute(query)]

    def revoke(self, key_id: str, organisation: str | None = None) -> KeyRow:
        """Have a key refused from now on, and its sessions with it.

        Args:
            key_id: Its id, as ``list`` shows it.
            organisation: Only if it is a key of this one.

        Raises:
            NotFoundError: If there is no such key.
            StoreError: If the database cannot be written.
        """
        mine = keys.c.key_id == key_id
        if organisation is not None:
            mine &= keys.c.organisation == organisation
        with store_errors("write keys", self._shown), self._engine.begin() as connection:
            change = sa.update(keys).where(mine, keys.c.revoked_at.is_(None)).values(revoked_at=utc_now())
            connection.execute(change)
            found = connection.execute(sa.select(keys).where(mine)).one_or_none()
            if found is None:
                where = "" if organisation is None else f" in organisation {shown_organisation(organisation)!r}"
                raise NotFoundError(
                    f"key: there is no key {key_id!r}{where}; `mldebugger keys list` shows what there is"
                )
            connection.execute(sa.delete(sessions).where(sessions.c.key_id == key_id))
            return _row(found)

    def verify(self, key: str) -> KeyRow:
        """What is known of a key that somebody shows.

        Raises:
            LicenseError: If it is unknown, expired or revoked; why is told to those alone who have the key.
            StoreError: If the database cannot be read.
        """
        parsed = _KEY.fullmatch(key)
        found = self._find(parsed[1]) if parsed else None
        # compared in any case: the time taken does not tell whether there is such a key
        same = hmac.compare_digest(found.hash if found is not None else _NO_HASH, _hash(key))
        if found is None or not same:
            raise LicenseError(_UNKNOWN)
        return _usable(_row(found))

    def open_session(self, row: KeyRow, lifetime: datetime.timedelta) -> str:
        """A token that stands for a key in a browser, for a while.

        Raises:
            StoreError: If the database cannot be written.
        """
        token, now = secrets.token_urlsafe(_SECRET_BYTES), utc_now()
        values = {"hash": _hash(token), "key_id": row.key_id, "expires_at": now + lifetime}
        with store_errors("write sessions", self._shown), self._engine.begin() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.expires_at <= now))
            connection.execute(sa.insert(sessions).values(**values))
        return token

    def verify_session(self, token: str) -> KeyRow:
        """What is known of the key that a session stands for.

        Raises:
            LicenseError: If the session has ended, or its key is expired or revoked.
            StoreError: If the database cannot be read.
        """
        query = (
            sa.select(keys)
            .join(sessions, sessions.c.key_id == keys.c.key_id)
            .where(sessions.c.hash == _hash(token), sessions.c.expires_at > utc_now())
        )
        found = None
        if _SESSION.fullmatch(token):
            with store_errors("read sessions", self._shown), reading(self._engine) as connection:
                found = connection.execute(query).one_or_none()
        if found is None:
            raise LicenseError("the session has ended; sign in again")
        return _usable(_row(found))

    def close_session(self, token: str) -> None:
        """End a session.

        Raises:
            StoreError: If the database cannot be written.
        """
        with store_errors("write sessions", self._shown), self._engine.begin() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.hash == _hash(token)))

    def _find(self, key_id: str) -> sa.Row[Any] | None:
        with store_errors("read keys", self._shown), reading(self._engine) as connection:
            return connection.execute(sa.select(keys).where(keys.c.key_id == key_id)).one_or_none()


def _insert(
    connection: sa.Connection, organisation: str, name: str, scope: str, expires_at: datetime.datetime | None
) -> tuple[str, KeyRow]:
    key_id, now = secrets.token_hex(6), utc_now()
    key = f"mldbg_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    row = KeyRow(key_id, organisation, name, scope, now, expires_at, None)
    values = {field: getattr(row, field) for field in KeyRow.__dataclass_fields__}
    connection.execute(sa.insert(keys).values(hash=_hash(key), **values))
    return key, row


def _check(name: str, scope: str, expires_at: datetime.datetime | None) -> None:
    if not name.strip() or not name.isprintable() or len(name) > _MAX_NAME:
        raise InputError(f"name: expected 1 to {_MAX_NAME} printable characters that say whose key it is, got {name!r}")
    if scope not in SCOPES:
        raise InputError(f"scope: expected one of {SCOPES}, got {scope!r}")
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= utc_now()):
        raise InputError(f"expires: expected a moment to come, with its time zone, got {expires_at.isoformat()}")


def _usable(row: KeyRow) -> KeyRow:
    if row.revoked_at is not None:
        raise LicenseError(f"the key {row.key_id} was revoked on {row.revoked_at:%Y-%m-%d}; ask for a new one")
    if row.expires_at is not None and row.expires_at <= utc_now():
        raise LicenseError(f"the key {row.key_id} expired on {row.expires_at:%Y-%m-%d}; ask for a new one")
    return row


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _row(found: sa.Row[Any]) -> KeyRow:
    values = {field: getattr(found, field) for field in KeyRow.__dataclass_fields__}
    for field in ("created_at", "expires_at", "revoked_at"):
        values[field] = None if values[field] is None else utc(values[field])
    return KeyRow(**values)
