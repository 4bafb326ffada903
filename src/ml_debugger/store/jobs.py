"""Evaluations that a server was asked for: kept in the database, so that they outlive the server that runs them."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from ml_debugger.errors import NotFoundError, ServerBusyError
from ml_debugger.store.database import reading
from ml_debugger.store.failures import store_errors
from ml_debugger.store.metadata import insert_new, utc, utc_now
from ml_debugger.store.schema import jobs, results

__all__ = ["ENDED", "JobRow", "Jobs"]

QUEUED: Final = "queued"
RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
ENDED: Final = (DONE, FAILED, CANCELLED)
_OPEN: Final = (QUEUED, RUNNING)

MAX_WAITING: Final = 100  # of an organisation
MAX_ATTEMPTS: Final = 5  # a job that takes its server down every time must not do so for ever
_KEPT: Final = datetime.timedelta(days=30)
_GAVE_UP: Final = {
    "code": "evaluation_failed",
    "message": f"the server was stopped {MAX_ATTEMPTS} times while it ran this evaluation; request it again, and if it "
    "happens again, look into the server's log (memory is the usual reason)",
}


@dataclass(frozen=True, slots=True)
class JobRow:
    """One evaluation. ``request`` is its JSON as it came; ``error`` has ``code`` and ``message``."""

    job_id: str
    organisation: str
    key_id: str
    request: Mapping[str, Any]
    state: str
    stage: str
    fraction: float
    result_name: str | None
    error: Mapping[str, str] | None
    warnings: Sequence[Mapping[str, str]]
    created_at: datetime.datetime
    completed_at: datetime.datetime | None
    attempts: int


class Jobs:
    """Jobs of all organisations. Several servers may share them.

    Args:
        engine: An up-to-date database, see ``open_database``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shown = engine.url.render_as_string(hide_password=True)

    def submit(self, organisation: str, key_id: str, request: Mapping[str, Any]) -> JobRow:
        """Queue an evaluation; a ``request_id`` that came before finds the job that was made then.

        Raises:
            ServerBusyError: If too many of this organisation are waiting.
            StoreError: If the database cannot be written.
        """
        request_id = request.get("request_id")
        values: dict[str, Any] = {
            "job_id": secrets.token_hex(16),
            "organisation": organisation,
            "key_id": key_id,
            "request_id": request_id,
            "request": dict(request),
            "state": QUEUED,
            "stage": "waiting",
            "fraction": 0.0,
            "warnings": [],
            "created_at": utc_now(),
            "attempts": 0,
        }
        same = (jobs.c.organisation == organisation) & (jobs.c.request_id == request_id)
        waiting = sa.select(sa.func.count()).where(jobs.c.organisation == organisation, jobs.c.state.in_(_OPEN))
        with store_errors("write jobs", self._shown), self._engine.begin() as connection:
            connection.execute(sa.delete(jobs).where(jobs.c.completed_at < utc_now() - _KEPT))
            known = None if request_id is None else connection.execute(sa.select(jobs).where(same)).one_or_none()
            if known is not None:
                return _row(known)
            if connection.execute(waiting).scalar_one() >= MAX_WAITING:
                raise ServerBusyError(f"{MAX_WAITING} evaluations of this organisation are waiting; ask again later")
            if insert_new(connection, jobs, values):
                return self._row_in(connection, jobs.c.job_id == values["job_id"])
            return self._row_in(connection, same)

    def get(self, organisation: str, job_id: str) -> JobRow:
        """A job of an organisation.

        Raises:
            NotFoundError: If it has no such job.
        """
        query = sa.select(jobs).where(jobs.c.organisation == organisation, jobs.c.job_id == job_id)
        with store_errors("read jobs", self._shown), reading(self._engine) as connection:
            found = connection.execute(query).one_or_none()
        if found is None:
            raise NotFoundError(f"job: there is no evaluation {job_id!r}; they are kept for {_KEPT.days} days")
        return _row(found)

    def cancel(self, organisation: str, job_id: str, why: Mapping[str, str]) -> JobRow:
        """Have a job end; one that has ended stays as it is. Whoever runs it finds out when it next reports.

        Raises:
            NotFoundError: If the organisation has no such job.
            StoreError: If the database cannot be written.
        """
        mine = (jobs.c.organisation == organisation) & (jobs.c.job_id == job_id)
        ended = {"state": CANCELLED, "error": dict(why), "completed_at": utc_now(), "runner": None}
        with store_errors("write jobs", self._shown), self._engine.begin() as connection:
            connection.execute(sa.update(jobs).where(mine, jobs.c.state.in_(_OPEN)).values(**ended))
        return self.get(organisation, job_id)

    def take(self, runner: str, silent: datetime.timedelta) -> JobRow | None:
        """The job that has waited longest, now run by ``runner``; None if there is none.

        A job whose runner has been silent for so long counts as waiting: its server is gone.

        Raises:
            StoreError: If the database cannot be written.
        """
        now = utc_now()
        free = (jobs.c.state == QUEUED) | ((jobs.c.state == RUNNING) & (jobs.c.seen_at < now - silent))
        query = sa.select(jobs.c.job_id).where(free).order_by(jobs.c.created_at, jobs.c.job_id).limit(1)
        taken = {"state": RUNNING, "runner": runner, "seen_at": now, "attempts": jobs.c.attempts + 1}
        given_up = {"state": FAILED, "error": _GAVE_UP, "completed_at": now, "runner": None}
        with store_errors("read jobs", self._shown), reading(self._engine) as connection:
            waiting = connection.execute(query).scalar()
        if waiting is None:
            return None
        this = jobs.c.job_id == waiting
        with store_errors("write jobs", self._shown), self._engine.begin() as connection:
            connection.execute(sa.update(jobs).where(this, free, jobs.c.attempts >= MAX_ATTEMPTS).values(**given_up))
            mine = connection.execute(sa.update(jobs).where(this, free).values(**taken)).rowcount
            return self._row_in(connection, this) if mine else None

    def report(self, runner: str, job_id: str, stage: str | None = None, fraction: float | None = None) -> bool:
        """Say that a job is still being run, and how far it is. False: it is no longer the runner's to run.

        Raises:
            StoreError: If the database cannot be written.
        """
        values: dict[str, Any] = {"seen_at": utc_now()}
        if stage is not None:
            values |= {"stage": stage, "fraction": fraction}
        return self._change(runner, job_id, values)

    def finish(
        self,
        runner: str,
        job_id: str,
        *,
        result_name: str | None,
        error: Mapping[str, str] | None,
        warnings: Sequence[Mapping[str, str]],
    ) -> bool:
        """Record how a job ended: with a result, or with an error. False: it was no longer the runner's.

        Raises:
            StoreError: If the database cannot be written.
        """
        values: dict[str, Any] = {"completed_at": utc_now(), "runner": None, "warnings": list(warnings)}
        if error is None:
            values |= {"state": DONE, "stage": "done", "fraction": 1.0, "result_name": result_name}
        else:
            values |= {"state": FAILED, "error": dict(error)}
        return self._change(runner, job_id, values)

    def put_back(self, runner: str, job_id: str) -> bool:
        """Have another server, or this one after a restart, run a job from its beginning.

        Raises:
            StoreError: If the database cannot be written.
        """
        again = {"state": QUEUED, "stage": "waiting", "fraction": 0.0, "runner": None, "seen_at": None}
        return self._change(runner, job_id, {**again, "attempts": jobs.c.attempts - 1})

    def free_names(self, ended_for: datetime.timedelta, job_id: str | None = None) -> int:
        """Give back names that jobs had reserved for their results and which ended without one; says how many.

        Args:
            ended_for: Only of jobs that ended at least so long ago: a process that runs one does not end at once.
            job_id: Only of this job.

        Raises:
            StoreError: If the database cannot be written.
        """
        ended = sa.select(jobs.c.job_id).where(jobs.c.state.in_(ENDED), jobs.c.completed_at <= utc_now() - ended_for)
        if job_id is not None:
            ended = ended.where(jobs.c.job_id == job_id)
        left = results.c.completed_at.is_(None) & results.c.claimant.in_(ended)
        with store_errors("read jobs", self._shown), reading(self._engine) as connection:
            if not connection.execute(sa.select(sa.func.count()).select_from(results).where(left)).scalar_one():
                return 0
        with store_errors("write jobs", self._shown), self._engine.begin() as connection:
            return int(connection.execute(sa.delete(results).where(left)).rowcount)

    def count(self) -> dict[str, int]:
        """How many jobs are in each state."""
        query = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
        with store_errors("read jobs", self._shown), reading(self._engine) as connection:
            found = {row[0]: row[1] for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in (*_OPEN, *ENDED)}

    def _change(self, runner: str, job_id: str, values: Mapping[str, Any]) -> bool:
        mine = (jobs.c.job_id == job_id) & (jobs.c.runner == runner) & (jobs.c.state == RUNNING)
        with store_errors("write jobs", self._shown), self._engine.begin() as connection:
            return bool(connection.execute(sa.update(jobs).where(mine).values(**values)).rowcount)

    @staticmethod
    def _row_in(connection: sa.Connection, which: sa.ColumnElement[bool]) -> JobRow:
        return _row(connection.execute(sa.select(jobs).where(which)).one())


def _row(found: sa.Row[Any]) -> JobRow:
    values = {field: getattr(found, field) for field in JobRow.__dataclass_fields__}
    for field in ("created_at", "completed_at"):
        values[field] = None if values[field] is None else utc(values[field])
    return JobRow(**values)
