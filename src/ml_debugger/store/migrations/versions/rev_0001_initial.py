"""Models, runs and results."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "models",
        sa.Column("model_name", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("architecture_hash", sa.Text, nullable=False),
        sa.Column("n_features", sa.Integer),
        sa.Column("n_classes", sa.Integer),
        sa.Column("fields", sa.JSON, nullable=False),
        sa.Column("label_fields", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("model_name", sa.Text, primary_key=True),
        sa.Column("version_name", sa.Text, primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "results",
        sa.Column("result_name", sa.Text, primary_key=True),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("version_name", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.Column("info", sa.JSON, nullable=False),
    )
    op.create_index("results_of_run", "results", ["model_name", "version_name"])


def downgrade() -> None:
    """Drop everything."""
    for table in ("results", "runs", "models"):
        op.drop_table(table)
