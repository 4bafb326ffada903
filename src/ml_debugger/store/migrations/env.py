"""Entry point of Alembic: migrates over the connection that ``open_database`` hands in."""

from alembic import context

from ml_debugger.store.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
