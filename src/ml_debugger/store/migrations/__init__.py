"""Alembic migrations of the metadata database, shipped in the package and run when a workspace is opened."""

from typing import Final

# Newest revision: a database that has it is opened without loading Alembic. A test holds it equal to the scripts.
HEAD: Final = "0004"
