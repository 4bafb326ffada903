"""The commands ``mldebugger keys`` and ``mldebugger db``, for those who run a server, on its machine."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ml_debugger.cli.serve import DatabaseUrl, Store
from ml_debugger.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from ml_debugger.store.keys import KeyRow

__all__ = ["db", "keys"]

keys = typer.Typer(help="Make, list and revoke the keys of a server, on its machine.", no_args_is_help=True)
db = typer.Typer(help="Look after the metadata database.", no_args_is_help=True)

Organisation = Annotated[
    str, typer.Option("--organisation", "-o", help="Organisation; made with its first key. Keys see nothing of others.")
]
_SPAN: Final = re.compile(r"(\d+)([hdwy])")
_HOURS: Final = {"h": 1, "d": 24, "w": 24 * 7, "y": 24 * 365}


@keys.command("create")
def create_key(  # an argument for each option of the command line
    name: Annotated[str, typer.Argument(help="Whose key it is, or for what, such as 'anna' or 'nightly training'.")],
    organisation: Organisation = "default",
    scope: Annotated[str, typer.Option(help="What it may do: read, write, or admin; each includes those before.")] = (
        "write"
    ),
    expires: Annotated[
        str, typer.Option(help="When it ends: a date such as 2027-01-31, a span such as 90d or 1y, or never.")
    ] = "never",
    store: Store = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make a key. It is written to stdout, this once: it is not kept, and cannot be shown again."""
    from ml_debugger.store.keys import Keys
    from ml_debugger.store.organisations import organisation_named, shown_organisation

    with _database(store, database_url) as engine:
        key, row = Keys(engine).create(organisation_named(organisation), name, scope, _moment(expires))
    until = "does not expire" if row.expires_at is None else f"expires {row.expires_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(
        f"Key {row.key_id} of organisation {shown_organisation(row.organisation)}: {row.scope}, {until}. "
        "It is shown only now:",
        err=True,
    )
    typer.echo(key)


@keys.command("list")
def list_keys(
    organisation: Annotated[
        str | None, typer.Option("--organisation", "-o", help="Only this organisation.", show_default=False)
    ] = None,
    store: Store = None,
    database_url: DatabaseUrl = None,
) -> None:
    """List keys, without what opens doors."""
    from ml_debugger.presentation.tables import text_table
    from ml_debugger.store.keys import Keys
    from ml_debugger.store.organisations import organisation_named, shown_organisation

    wanted = None if organisation is None else organisation_named(organisation)
    with _database(store, database_url) as engine:
        rows = Keys(engine).list(wanted)
    if not rows:
        typer.echo("No key yet: `mldebugger serve` makes the first, `mldebugger keys create` others.", err=True)
        return
    table = [
        (
            row.key_id,
            shown_organisation(row.organisation),
            row.name,
            row.scope,
            f"{row.created_at:%Y-%m-%d}",
            _state(row),
        )
        for row in rows
    ]
    typer.echo(text_table(("key", "organisation", "name", "scope", "created", "state"), table))


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `mldebugger keys list` shows it.")],
    store: Store = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Have a key refused from now on, by running servers too."""
    from ml_debugger.store.keys import Keys

    with _database(store, database_url) as engine:
        row = Keys(engine).revoke(key_id)
    typer.echo(f"Key {row.key_id} ({row.name}) is revoked.")


@db.command("upgrade")
def upgrade(store: Store = None, database_url: DatabaseUrl = None) -> None:
    """Bring the metadata database up to date; `serve` does it by itself when it starts."""
    from ml_debugger.store.database import revision
    from ml_debugger.store.migrations import HEAD

    with _database(store, database_url) as engine:
        shown = engine.url.render_as_string(hide_password=True)
        typer.echo(f"The database {shown} is at revision {revision(engine)}, the newest of this version ({HEAD}).")


@contextmanager
def _database(store: str | None, database_url: str | None) -> Iterator[Engine]:
    """The metadata database of a workspace, which is opened, and brought up to date."""
    from ml_debugger.settings import expand_home, read_setting
    from ml_debugger.store import open_store

    location = expand_home(read_setting("MLD_HOME", store))
    if location.startswith("memory:"):
        raise InputError("store: expected the folder or object store of a server, got memory://, which keeps nothing")
    engine = open_store(location, read_setting("MLD_DATABASE_URL", database_url) or None).metadata.engine
    try:
        yield engine
    finally:
        engine.dispose()


def _state(row: KeyRow) -> str:
    from ml_debugger.store.metadata import utc_now

    if row.revoked_at is not None:
        return f"revoked {row.revoked_at:%Y-%m-%d}"
    if row.expires_at is None:
        return "valid"
    return f"{'expired' if row.expires_at <= utc_now() else 'valid until'} {row.expires_at:%Y-%m-%d}"


def _moment(text: str) -> datetime.datetime | None:
    """When a key ends.

    Raises:
        InputError: If the text says nothing of the kind.
    """
    if text == "never":
        return None
    span = _SPAN.fullmatch(text)
    now = datetime.datetime.now(datetime.UTC)
    try:
        if span:
            return now + datetime.timedelta(hours=int(span[1]) * _HOURS[span[2]])
        found = datetime.datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InputError(
            f"expires: expected a date such as 2027-01-31, a span such as 12h, 90d, 8w or 1y, or never, got {text!r}"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)
