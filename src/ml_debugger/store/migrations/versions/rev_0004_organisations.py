"""Organisations, keys, sessions and jobs; what was there before belongs to the default organisation."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TIME = sa.DateTime(timezone=True)
_MODELS = (
    ("model_name", sa.Text, False),
    ("task", sa.Text, False),
    ("architecture_hash", sa.Text, False),
    ("n_features", sa.Integer, True),
    ("n_classes", sa.Integer, True),
    ("fields", sa.JSON, False),
    ("label_fields", sa.JSON, False),
    ("created_at", _TIME, False),
    ("architecture", sa.Text, True),
)
_RUNS = (
    ("model_name", sa.Text, False),
    ("version_name", sa.Text, False),
    ("created_at", _TIME, False),
    ("settings", sa.JSON, True),
)
_RESULTS = (
    ("result_name", sa.Text, False),
    ("model_name", sa.Text, False),
    ("version_name", sa.Text, False),
    ("created_at", _TIME, False),
    ("completed_at", _TIME, True),
    ("info", sa.JSON, False),
)
_OLD = {
    "models": (_MODELS, ("model_name",)),
    "runs": (_RUNS, ("model_name", "version_name")),
    "results": (_RESULTS, ("result_name",)),
}


def upgrade() -> None:
    """Copy every table into one with an organisation in its key, which no database can add in place."""
    op.drop_index("results_of_run", table_name="results")
    for table, (columns, key) in _OLD.items():
        added = [sa.Column("claimant", sa.Text)] if table == "results" else []
        new = [sa.Column("organisation", sa.Text, nullable=False), *_columns(columns), *added]
        names = ", ".join(name for name, _, _ in columns)
        _replace(table, new, ("organisation", *key), f"organisation, {names}", f"'', {names}")
    op.create_index("results_of_run", "results", ["organisation", "model_name", "version_name"])
    op.create_index("results_of_claimant", "results", ["claimant"])
    _create_organisations_and_keys()
    _create_jobs()


def downgrade() -> None:
    """Keep the default organisation alone."""
    for table in ("jobs", "sessions", "keys", "organisations"):
        op.drop_table(table)
    op.drop_index("results_of_claimant", table_name="results")
    op.drop_index("results_of_run", table_name="results")
    for table, (columns, key) in _OLD.items():
        names = ", ".join(name for name, _, _ in columns)
        _replace(table, _columns(columns), key, names, names, "WHERE organisation = ''")
    op.create_index("results_of_run", "results", ["model_name", "version_name"])


def _columns(columns: tuple[tuple[str, Any, bool], ...]) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=nullable) for name, kind, nullable in columns]


def _replace(
    table: str, new: list[sa.Column[Any]], key: tuple[str, ...], into: str, values: str, where: str = ""
) -> None:
    # the key's name is a table's own in PostgreSQL, also after the old table is gone and the new one renamed
    name = f"{table}_by_{'_and_'.join(key)}"
    op.create_table(f"{table}_new", *new, sa.PrimaryKeyConstraint(*key, name=name))
    op.execute(f"INSERT INTO {table}_new ({into}) SELECT {values} FROM {table} {where}")
    op.drop_table(table)
    op.rename_table(f"{table}_new", table)


def _create_organisations_and_keys() -> None:
    op.create_table(
        "organisations",
        sa.Column("organisation", sa.Text, primary_key=True),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
    )
    op.create_index("keys_of_organisation", "keys", ["organisation"])
    op.create_table(
        "sessions",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("fraction", sa.Float, nullable=False),
        sa.Column("result_name", sa.Text),
        sa.Column("error", sa.JSON),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("completed_at", _TIME),
        sa.Column("runner", sa.Text),
        sa.Column("seen_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.UniqueConstraint("organisation", "request_id", name="jobs_by_request"),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "created_at"])
