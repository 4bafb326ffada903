"""What data filters of a version share with its tracers, such as the range of point clouds."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Runs known before have none."""
    op.add_column("runs", sa.Column("settings", sa.JSON))


def downgrade() -> None:
    """Keep the names alone."""
    op.drop_column("runs", "settings")
