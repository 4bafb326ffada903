"""What a model's architecture is, in words, beside its hash."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Models known before have no words; the next tracer of the same architecture adds them."""
    op.add_column("models", sa.Column("architecture", sa.Text))


def downgrade() -> None:
    """Keep the hash alone."""
    op.drop_column("models", "architecture")
