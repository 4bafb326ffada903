"""Models, runs and results of a workspace: what must be unique over all processes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError

from ml_debugger.errors import InputError
from ml_debugger.store.database import reading
from ml_debugger.store.failures import store_errors
from ml_debugger.store.organisations import DEFAULT_ORGANISATION
from ml_debugger.store.schema import models, results, runs

__all__ = ["Metadata", "ModelRow", "ResultRow", "insert_new", "utc", "utc_now"]


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What a model's name is bound to. ``fields`` and ``label_fields`` map column name to type.

    ``architecture`` says in words what ``architecture_hash`` stands for; None where the adapter or an older version of
    this library did not tell.
    """

    model_name: str
    task: str
    architecture_hash: str
    n_features: int | None
    n_classes: int | None
    fields: Mapping[str, str]
    label_fields: Mapping[str, str]
    architecture: str | None = None


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One listed result; ``info`` is the JSON of ``ResultPayload.info``."""

    result_name: str
    model_name: str
    version_name: str
    created_at: datetime.datetime
    completed_at: datetime.datetime
    info: Mapping[str, Any]


class Metadata:
    """Reads and writes what the metadata database has of one organisation. Every write is one short transaction.

    Args:
        engine: An up-to-date database, see ``open_database``.
        organisation: Whose models, runs and results these are.
    """

    def __init__(self, engine: Engine, organisation: str = DEFAULT_ORGANISATION) -> None:
        self._engine = engine
        self._organisation = organisation
        self._shown = engine.url.render_as_string(hide_password=True)

    @property
    def engine(self) -> Engine:
        """The database."""
        return self._engine

    def of(self, organisation: str) -> Metadata:
        """The same database as another organisation sees it."""
        return Metadata(self._engine, organisation)

    def model(self, model_name: str) -> ModelRow | None:
        """What a model's name is bound to, or None."""
        rows = self._read(self._models().where(models.c.model_name == model_name))
        return _model_row(rows[0]) if rows else None

    def model_names(self) -> list[str]:
        """All models, by name."""
        return [row.model_name for row in self._read(self._models().order_by(models.c.model_name))]

    def versions(self, model_name: str) -> list[str]:
        """Versions of a model, oldest first."""
        mine = (runs.c.organisation == self._organisation) & (runs.c.model_name == model_name)
        query = sa.select(runs.c.version_name).where(mine)
        return [row.version_name for row in self._read(query.order_by(runs.c.created_at, runs.c.version_name))]

    def bind_model(self, row: ModelRow, expected: ModelRow | None) -> bool:
        """Bind a name, or change its binding from ``expected``. False: another process was first, read again.

        Raises:
            StoreError: If the database cannot be written.
        """
        values = {**_columns_of(row), "organisation": self._organisation}
        mine = (models.c.organisation == self._organisation) & (models.c.model_name == row.model_name)
        with store_errors("write metadata", self._shown), self._engine.begin() as connection:
            if expected is None:
                return insert_new(connection, models, {**values, "created_at": utc_now()})
            current = connection.execute(sa.select(models).where(mine).with_for_update()).one_or_none()
            if current is None or _model_row(current) != expected:
                return False
            connection.execute(sa.update(models).where(mine).values(**values))
            return True

    def add_run(self, model_name: str, version_name: str, settings: Mapping[str, Any] | None = None) -> None:
        """List a version of a model, once; None leaves its settings as they are."""
        key = {"organisation": self._organisation, "model_name": model_name, "version_name": version_name}
        given = {} if settings is None else {"settings": dict(settings)}
        mine = sa.and_(*(runs.c[name] == value for name, value in key.items()))
        with store_errors("write metadata", self._shown), self._engine.begin() as connection:
            if insert_new(connection, runs, {**key, **given, "created_at": utc_now()}) or settings is None:
                return
            if connection.execute(sa.select(runs.c.settings).where(mine)).scalar_one() != given["settings"]:
                connection.execute(sa.update(runs).where(mine).values(**given))

    def run_settings(self, model_name: str, version_name: str) -> dict[str, Any]:
        """Settings of the newest tracer of a version; nothing where there was none."""
        return self.settings_by_version(model_name).get(version_name, {})

    def settings_by_version(self, model_name: str) -> dict[str, dict[str, Any]]:
        """Settings of the newest tracer of each version; without those of a database of before, or of no tracer."""
        mine = (runs.c.organisation == self._organisation) & (runs.c.model_name == model_name)
        found = self._read(sa.select(runs.c.version_name, runs.c.settings).where(mine))
        return {row.version_name: dict(row.settings) for row in found if row.settings is not None}

    def claim_result(
        self, result_name: str, model_name: str, version_name: str, *, unique: bool, claimant: str | None = None
    ) -> str:
        """Reserve a name for a result that is being made.

        Args:
            result_name: Wanted name.
            model_name: Model of the result.
            version_name: Version of the result.
            unique: Append ``_2``, ``_3``, ... to a taken name.
            claimant: Who makes it, so that it can find its claim again, see ``claimed_by``.

        Returns:
            The reserved name.

        Raises:
            InputError: If the name is taken and ``unique`` is False.
        """
        name, number = result_name, 1
        run = {"organisation": self._organisation, "model_name": model_name, "version_name": version_name}
        row: dict[str, Any] = {**run, "info": {}, "claimant": claimant}
        with store_errors("write metadata", self._shown):
            while True:
                with self._engine.begin() as connection:
                    if insert_new(connection, results, {**row, "result_name": name, "created_at": utc_now()}):
                        return name
                if not unique:
                    raise InputError(
                        f"result_name: {name!r} is taken; choose another, or leave it out to get a new one"
                    )
                number += 1
                name = f"{result_name}_{number}"

    def complete_result(
        self,
        result_name: str,
        info: Mapping[str, Any],
        times: tuple[datetime.datetime, datetime.datetime] | None = None,
    ) -> None:
        """List a claimed result, its artefacts being written; ``times`` are those of a result made elsewhere."""
        change = sa.update(results).where(self._mine(result_name))
        values: dict[str, Any] = {"info": dict(info), "completed_at": utc_now()}
        if times is not None:
            values |= {"created_at": utc(times[0]), "completed_at": utc(times[1])}
        with store_errors("write metadata", self._shown), self._engine.begin() as connection:
            connection.execute(change.values(**values))

    def release_result(self, result_name: str) -> None:
        """Give a claimed name back; a completed result stays."""
        mine = self._mine(result_name) & results.c.completed_at.is_(None)
        with store_errors("write metadata", self._shown), self._engine.begin() as connection:
            connection.execute(sa.delete(results).where(mine))

    def claimed_by(self, claimant: str) -> tuple[str, bool] | None:
        """Name that a claimant has reserved, and whether its result is complete; None if it has none."""
        mine = (results.c.organisation == self._organisation) & (results.c.claimant == claimant)
        rows = self._read(sa.select(results.c.result_name, results.c.completed_at).where(mine))
        return (rows[0].result_name, rows[0].completed_at is not None) if rows else None

    def results(
        self, model_name: str | None = None, version_name: str | None = None, result_name: str | None = None
    ) -> list[ResultRow]:
        """Completed results, oldest first; None means any."""
        wanted = {"model_name": model_name, "version_name": version_name, "result_name": result_name}
        query = sa.select(results).where(
            results.c.organisation == self._organisation,
            results.c.completed_at.is_not(None),
            *(results.c[name] == value for name, value in wanted.items() if value is not None),
        )
        return [_result_row(row) for row in self._read(query.order_by(results.c.completed_at, results.c.result_name))]

    def _models(self) -> sa.Select[Any]:
        return sa.select(models).where(models.c.organisation == self._organisation)

    def _mine(self, result_name: str) -> sa.ColumnElement[bool]:
        return (results.c.organisation == self._organisation) & (results.c.result_name == result_name)

    def _read(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        with store_errors("read metadata", self._shown), reading(self._engine) as connection:
            return list(connection.execute(query))


def insert_new(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Insert a row; False if its key is taken, which the database is told to expect: its log stays free of refusals."""
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}.get(connection.dialect.name)
    if insert is not None:
        statement = insert(table).values(**values).on_conflict_do_nothing()
        done = connection.execute(statement, execution_options={"preserve_rowcount": True})
        return bool(done.rowcount)
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(table).values(**values))
    except IntegrityError:
        return False
    return True


def _columns_of(row: ModelRow) -> dict[str, Any]:
    return {
        "model_name": row.model_name,
        "task": row.task,
        "architecture_hash": row.architecture_hash,
        "n_features": row.n_features,
        "n_classes": row.n_classes,
        "fields": dict(row.fields),
        "label_fields": dict(row.label_fields),
        "architecture": row.architecture,
    }


def _model_row(row: sa.Row[Any]) -> ModelRow:
    return ModelRow(**{name: getattr(row, name) for name in ModelRow.__dataclass_fields__})


def _result_row(row: sa.Row[Any]) -> ResultRow:
    return ResultRow(
        row.result_name, row.model_name, row.version_name, utc(row.created_at), utc(row.completed_at), row.info
    )


def utc(moment: datetime.datetime) -> datetime.datetime:
    """SQLite forgets the zone, PostgreSQL tells moments in that of its own settings; everything is stored in UTC."""
    return moment.astimezone(datetime.UTC) if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def utc_now() -> datetime.datetime:
    """This moment, in UTC."""
    return datetime.datetime.now(datetime.UTC)
