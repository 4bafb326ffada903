"""Models, runs and results of a workspace: what must be unique over all processes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError

from ml_debugger.errors import InputError
from ml_debugger.store.database import models, reading, results, runs
from ml_debugger.store.failures import store_errors

__all__ = ["Metadata", "ModelRow", "ResultRow"]


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
    """Reads and writes the metadata database. Every write is one short transaction.

    Args:
        engine: An up-to-date database, see ``open_database``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shown = engine.url.render_as_string(hide_password=True)

    def model(self, model_name: str) -> ModelRow | None:
        """What a model's name is bound to, or None."""
        rows = self._read(sa.select(models).where(models.c.model_name == model_name))
        return _model_row(rows[0]) if rows else None

    def model_names(self) -> list[str]:
        """All models, by name."""
        return [row.model_name for row in self._read(sa.select(models.c.model_name).order_by(models.c.model_name))]

    def versions(self, model_name: str) -> list[str]:
        """Versions of a model, oldest first."""
        query = sa.select(runs.c.version_name).where(runs.c.model_name == model_name)
        return [row.version_name for row in self._read(query.order_by(runs.c.created_at, runs.c.version_name))]

    def bind_model(self, row: ModelRow, expected: ModelRow | None) -> bool:
        """Bind a name, or change its binding from ``expected``. False: another process was first, read again.

        Raises:
            StoreError: If the database cannot be written.
        """
        values = _columns_of(row)
        with store_errors("write metadata", self._shown), self._engine.begin() as connection:
            if expected is None:
                return _insert_new(connection, models, {**values, "created_at": _now()})
            current = connection.execute(
                sa.select(models).where(models.c.model_name == row.model_name).with_for_update()
            ).one_or_none()
            if current is None or _model_row(current) != expected:
                return False
            connection.execute(sa.update(models).where(models.c.model_name == row.model_name).values(**values))
            return True

    def add_run(self, model_name: str, version_name: str, settings: Mapping[str, Any] | None = None) -> None:
        """List a version of a model, once; None leaves its settings as they are."""
        key = {"model_name": model_name, "version_name": version_name}
        given = {} if settings is None else {"settings": dict(settings)}
        with store_errors("write metadata", self._shown), self._engine.begin() as connection:
            if _insert_new(connection, runs, {**key, **given, "created_at": _now()}) or settings is None:
                return
            if _settings_of(connection.execute(_this_run(model_name, version_name)).one()) != given["settings"]:
                mine = (runs.c.model_name == model_name) & (runs.c.version_name == version_name)
                connection.execute(sa.update(runs).where(mine).values(**given))

    def run_settings(self, model_name: str, version_name: str) -> dict[str, Any]:
        """Settings of the newest tracer of a version; nothing where there was none."""
        found = self._read(_this_run(model_name, version_name))
        return _settings_of(found[0]) if found else {}

    def claim_result(self, result_name: str, model_name: str, version_name: str, *, unique: bool) -> str:
        """Reserve a name for a result that is being made.

        Args:
            result_name: Wanted name.
            model_name: Model of the result.
            version_name: Version of the result.
            unique: Append ``_2``, ``_3``, ... to a taken name.

        Returns:
            The reserved name.

        Raises:
            InputError: If the name is taken and ``unique`` is False.
        """
        name, number = result_name, 1
        row = {"model_name": model_name, "version_name": version_name, "info": {}}
        with store_errors("write metadata", self._shown):
            while True:
                with self._engine.begin() as connection:
                    if _insert_new(connection, results, {**row, "result_name": name, "created_at": _now()}):
                        return name
                if not unique:
                    raise InputError(
                        f"result_name: {name!r} is taken; choose another, or leave it out to get a new one"
                    )
                number += 1
                name = f"{result_name}_{number}"

    def complete_result(self, result_name: str, info: Mapping[str, Any]) -> None:
        """List a claimed result, its artefacts being written."""
        change = sa.update(results).where(results.c.result_name == result_name)
        with store_errors("write metadata", self._shown), self._engine.begin() as connection:
            connection.execute(change.values(info=dict(info), completed_at=_now()))

    def release_result(self, result_name: str) -> None:
        """Give a claimed name back; a completed result stays."""
        mine = (results.c.result_name == result_name) & results.c.completed_at.is_(None)
        with store_errors("write metadata", self._shown), self._engine.begin() as connection:
            connection.execute(sa.delete(results).where(mine))

    def results(
        self, model_name: str | None = None, version_name: str | None = None, result_name: str | None = None
    ) -> list[ResultRow]:
        """Completed results, oldest first; None means any."""
        wanted = {"model_name": model_name, "version_name": version_name, "result_name": result_name}
        query = sa.select(results).where(
            results.c.completed_at.is_not(None),
            *(results.c[name] == value for name, value in wanted.items() if value is not None),
        )
        return [_result_row(row) for row in self._read(query.order_by(results.c.completed_at, results.c.result_name))]

    def _read(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        with store_errors("read metadata", self._shown), reading(self._engine) as connection:
            return list(connection.execute(query))


def _insert_new(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(table).values(**values))
    except IntegrityError:
        return False
    return True


def _this_run(model_name: str, version_name: str) -> sa.Select[Any]:
    return sa.select(runs.c.settings).where(runs.c.model_name == model_name, runs.c.version_name == version_name)


def _settings_of(row: sa.Row[Any]) -> dict[str, Any]:
    """Null in a database of before, and for versions that only a data filter named."""
    return dict(row.settings or {})


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
        row.result_name, row.model_name, row.version_name, _utc(row.created_at), _utc(row.completed_at), row.info
    )


def _utc(moment: datetime.datetime) -> datetime.datetime:
    """SQLite forgets the zone; everything is stored in UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
