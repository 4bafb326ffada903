"""An S3 server for the tests of stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.object_store import s3_server


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """The environment that reaches an S3 server."""
    pytest.importorskip("moto", reason="needs moto's S3 server")
    with s3_server() as environment:
        yield environment
