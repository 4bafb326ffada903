"""Tables of the metadata database. A change here needs a migration, which a test compares with these definitions.

Everything is kept by organisation. The organisation of the embedded mode, and of everything made before there were any,
is the empty string.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

__all__ = ["METADATA", "jobs", "keys", "models", "organisations", "results", "runs", "sessions"]

METADATA: Final = sa.MetaData()


def _organisation(**options: Any) -> sa.Column[str]:
    return sa.Column("organisation", sa.Text, nullable=False, **options)


def _time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


models = sa.Table(
    "models",
    METADATA,
    _organisation(primary_key=True),
    sa.Column("model_name", sa.Text, primary_key=True),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("architecture_hash", sa.Text, nullable=False),
    sa.Column("n_features", sa.Integer),
    sa.Column("n_classes", sa.Integer),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Column("label_fields", sa.JSON, nullable=False),
    _time("created_at"),
    sa.Column("architecture", sa.Text),
)
runs = sa.Table(
    "runs",
    METADATA,
    _organisation(primary_key=True),
    sa.Column("model_name", sa.Text, primary_key=True),
    sa.Column("version_name", sa.Text, primary_key=True),
    _time("created_at"),
    sa.Column("settings", sa.JSON),  # what data filters share with the newest tracer; null: no tracer named it
)
results = sa.Table(
    "results",
    METADATA,
    _organisation(primary_key=True),
    sa.Column("result_name", sa.Text, primary_key=True),
    sa.Column("model_name", sa.Text, nullable=False),
    sa.Column("version_name", sa.Text, nullable=False),
    _time("created_at"),
    _time("completed_at", nullable=True),  # null: claimed, artefacts not all written
    sa.Column("info", sa.JSON, nullable=False),
    sa.Column("claimant", sa.Text),  # the job that makes it; null: made in process
    sa.Index("results_of_run", "organisation", "model_name", "version_name"),
    sa.Index("results_of_claimant", "claimant"),
)
organisations = sa.Table(
    "organisations",
    METADATA,
    _organisation(primary_key=True),
    _time("created_at"),
)
keys = sa.Table(
    "keys",
    METADATA,
    sa.Column("key_id", sa.Text, primary_key=True),  # the part of a key that is no secret
    _organisation(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    _time("created_at"),
    _time("expires_at", nullable=True),  # null: never
    _time("revoked_at", nullable=True),
    sa.Index("keys_of_organisation", "organisation"),
)
sessions = sa.Table(
    "sessions",
    METADATA,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False),
    _time("expires_at"),
)
jobs = sa.Table(
    "jobs",
    METADATA,
    sa.Column("job_id", sa.Text, primary_key=True),
    _organisation(),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),  # the client's; the same one again is the same job
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("fraction", sa.Float, nullable=False),
    sa.Column("result_name", sa.Text),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("warnings", sa.JSON, nullable=False),
    _time("created_at"),
    _time("completed_at", nullable=True),
    sa.Column("runner", sa.Text),  # the server that runs it, while it does
    _time("seen_at", nullable=True),  # when that server last said so
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.UniqueConstraint("organisation", "request_id", name="jobs_by_request"),
    sa.Index("jobs_by_state", "state", "created_at"),
)
