"""Jobs, in SQLite and in PostgreSQL: each is run by one server at a time, and by another when that one is gone."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from ml_debugger.errors import InputError, NotFoundError, ServerBusyError
from ml_debugger.store import jobs as module
from ml_debugger.store.database import open_database
from ml_debugger.store.jobs import MAX_ATTEMPTS, Jobs
from ml_debugger.store.metadata import Metadata, utc_now
from ml_debugger.store.schema import jobs as table

REQUEST = {"run": {"model_name": "m", "version_name": "v"}}
LONG = datetime.timedelta(hours=1)
NOW = datetime.timedelta(seconds=-1)
WHY = {"code": "evaluation_cancelled", "message": "by a test"}


@pytest.fixture(params=["sqlite", "postgres"])
def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Jobs]:
    sqlite = f"sqlite:///{tmp_path}/metadata.db"
    engine = open_database(sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    yield Jobs(engine)
    engine.dispose()


def submit(jobs: Jobs, organisation: str = "team", **request: object) -> str:
    return jobs.submit(organisation, "key", {**REQUEST, **request}).job_id


def test_a_job_goes_its_way(jobs: Jobs) -> None:
    job_id = submit(jobs, options={"bootstrap": 20})
    waiting = jobs.get("team", job_id)
    assert (waiting.state, waiting.fraction, waiting.completed_at) == ("queued", 0.0, None)
    taken = jobs.take("one", LONG)
    assert taken is not None
    assert (taken.job_id, taken.state, taken.attempts) == (job_id, "running", 1)
    assert taken.request == {**REQUEST, "options": {"bootstrap": 20}}
    assert jobs.take("two", LONG) is None
    assert jobs.report("one", job_id, "learning", 0.3)
    assert not jobs.report("two", job_id, "learning", 0.9)
    assert (jobs.get("team", job_id).stage, jobs.get("team", job_id).fraction) == ("learning", 0.3)
    assert jobs.report("one", job_id)  # a heartbeat changes nothing else
    assert jobs.get("team", job_id).fraction == 0.3
    warnings = [{"category": "EvaluationWarning", "message": "few rows"}]
    assert jobs.finish("one", job_id, result_name="r", error=None, warnings=warnings)
    done = jobs.get("team", job_id)
    assert (done.state, done.result_name, done.error, done.fraction) == ("done", "r", None, 1.0)
    assert list(done.warnings) == warnings
    assert done.completed_at is not None
    assert done.completed_at.tzinfo is not None
    assert not jobs.finish("one", job_id, result_name="other", error=None, warnings=[])
    assert jobs.count() == {"queued": 0, "running": 0, "done": 1, "failed": 0, "cancelled": 0}


def test_a_failed_job_says_why(jobs: Jobs) -> None:
    job_id = submit(jobs)
    jobs.take("one", LONG)
    error = {"code": "evaluation_failed", "message": "too few rows"}
    assert jobs.finish("one", job_id, result_name=None, error=error, warnings=[])
    found = jobs.get("team", job_id)
    assert (found.state, found.error) == ("failed", error)


def test_a_request_that_comes_again_is_the_same_job(jobs: Jobs) -> None:
    first = submit(jobs, request_id="mine")
    assert submit(jobs, request_id="mine") == first
    assert submit(jobs, "other", request_id="mine") != first
    assert submit(jobs) != submit(jobs)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: submit(jobs, request_id="at once"), range(8)))
    assert len(found) == 1


def test_no_job_is_run_twice_at_the_same_time(jobs: Jobs) -> None:
    submitted = {submit(jobs) for _ in range(12)}
    with ThreadPoolExecutor(8) as pool:
        taken = [job.job_id for job in pool.map(lambda n: jobs.take(f"{n}", LONG), range(24)) if job is not None]
    assert len(taken) == len(set(taken))
    while (job := jobs.take("late", LONG)) is not None:
        taken.append(job.job_id)
    assert sorted(taken) == sorted(submitted)


def test_the_oldest_goes_first(jobs: Jobs) -> None:
    submitted = [submit(jobs, f"team-{number % 2}") for number in range(4)]
    taken = [jobs.take("one", LONG) for _ in range(4)]
    assert [job.job_id for job in taken if job is not None] == submitted


def test_what_a_server_left_is_run_by_the_next(jobs: Jobs) -> None:
    job_id = submit(jobs)
    jobs.take("gone", LONG)
    assert jobs.take("next", LONG) is None
    again = jobs.take("next", NOW)
    assert again is not None
    assert (again.job_id, again.attempts) == (job_id, 2)
    assert not jobs.report("gone", job_id)
    assert not jobs.finish("gone", job_id, result_name="r", error=None, warnings=[])
    assert jobs.report("next", job_id)


def test_a_job_that_ends_every_server_is_given_up(jobs: Jobs) -> None:
    job_id = submit(jobs)
    for attempt in range(MAX_ATTEMPTS):
        taken = jobs.take(f"server {attempt}", NOW)
        assert taken is not None
    assert jobs.take("careful", NOW) is None
    found = jobs.get("team", job_id)
    assert found.state == "failed"
    assert found.error is not None
    assert f"stopped {MAX_ATTEMPTS} times" in found.error["message"]


def test_what_is_put_back_waits_again(jobs: Jobs) -> None:
    job_id = submit(jobs)
    for _ in range(MAX_ATTEMPTS + 2):  # a server that is stopped as it should be counts for nothing
        taken = jobs.take("one", LONG)
        assert taken is not None
        assert taken.attempts == 1
        assert jobs.put_back("one", job_id)
    found = jobs.get("team", job_id)
    assert (found.state, found.stage) == ("queued", "waiting")
    assert not jobs.put_back("one", job_id)


def test_a_cancelled_job_ends_wherever_it_is(jobs: Jobs) -> None:
    waiting, running, done = (submit(jobs) for _ in range(3))
    jobs.cancel("team", waiting, WHY)
    taken = jobs.take("one", LONG)
    assert taken is not None
    assert taken.job_id == running
    ended = jobs.cancel("team", running, WHY)
    assert (ended.state, ended.error) == ("cancelled", WHY)
    assert not jobs.report("one", running)
    jobs.take("one", LONG)
    jobs.finish("one", done, result_name="r", error=None, warnings=[])
    assert jobs.cancel("team", done, WHY).state == "done"
    assert jobs.take("one", NOW) is None


def test_names_are_given_back_by_jobs_that_ended_without_a_result(jobs: Jobs) -> None:
    metadata = Metadata(jobs._engine, "team")
    cancelled, running, done = (submit(jobs) for _ in range(3))
    for job_id in (cancelled, running, done):
        metadata.claim_result(job_id, "m", "v", unique=False, claimant=job_id)
    metadata.claim_result("mine", "m", "v", unique=False)
    metadata.complete_result(done, {})
    jobs.cancel("team", cancelled, WHY)
    for job_id in (running, done):
        assert jobs.take(f"runner of {job_id}", LONG) is not None
    jobs.finish(f"runner of {done}", done, result_name=done, error=None, warnings=[])
    assert jobs.free_names(LONG) == 0, "its process may not have ended yet"
    assert jobs.free_names(datetime.timedelta(), running) == 0, "it is still made"
    assert jobs.free_names(datetime.timedelta()) == 1
    assert metadata.claimed_by(cancelled) is None
    assert metadata.claimed_by(running) == (running, False)
    assert metadata.claimed_by(done) == (done, True)
    with pytest.raises(InputError, match="'mine' is taken"):
        metadata.claim_result("mine", "m", "v", unique=False)


def test_another_organisation_has_no_such_job(jobs: Jobs) -> None:
    job_id = submit(jobs)
    for call in (lambda: jobs.get("other", job_id), lambda: jobs.cancel("other", job_id, WHY)):
        with pytest.raises(NotFoundError, match="there is no evaluation"):
            call()
    assert jobs.get("team", job_id).state == "queued"


def test_only_so_many_wait(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    known = [submit(jobs, request_id=f"{number}") for number in range(3)]
    with pytest.raises(ServerBusyError, match="3 evaluations"):
        submit(jobs)
    assert submit(jobs, request_id="1") == known[1]
    submit(jobs, "other")


def test_what_ended_long_ago_is_forgotten(jobs: Jobs) -> None:
    job_id = submit(jobs)
    jobs.cancel("team", job_id, WHY)
    with jobs._engine.begin() as connection:
        connection.execute(sa.update(table).values(completed_at=utc_now() - datetime.timedelta(days=31)))
    waiting = submit(jobs)
    with pytest.raises(NotFoundError):
        jobs.get("team", job_id)
    assert jobs.get("team", waiting).state == "queued"
