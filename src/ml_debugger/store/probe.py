"""Whether an object store can hold tables that several processes write: a commit must never replace another.

A Delta commit is a file that is created only if it is not there yet. Stores that ignore the condition, or check it
without a lock, exist; on them two writers overwrite each other's rows and nobody is told.
"""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import obstore
import obstore.exceptions
from obstore.store import ObjectStore, from_url

from ml_debugger.errors import StoreError
from ml_debugger.store.failures import store_errors

__all__ = ["check_commits"]

_WRITERS: Final = 8


def check_commits(location: str) -> None:
    """Let several writers create the same object at once, and again: one may succeed. A folder is not asked.

    Args:
        location: Folder or object-store URL of a workspace; there a small object is made and deleted.

    Raises:
        StoreError: If the store cannot be reached or written, or if two writers succeeded.
    """
    if "://" not in location or location.startswith(("memory://", "file://")):
        return
    with store_errors("check how the object store keeps writers apart", location):
        store: ObjectStore = from_url(location)
        path = f"probes/{uuid.uuid4().hex}"
        try:
            with ThreadPoolExecutor(_WRITERS) as pool:
                created = sum(pool.map(lambda _: _create(store, path), range(_WRITERS)))
            created += _create(store, path)
        finally:
            with suppress(obstore.exceptions.BaseError, OSError):
                obstore.delete(store, path)
    if created != 1:
        raise StoreError(
            f"{location}: the object store let {created} writers create the same object, so that rows of two processes "
            "would overwrite each other; use a store that honours If-None-Match on PUT (Amazon S3, or a current "
            "release of a compatible server), or a folder"
        )


def _create(store: ObjectStore, path: str) -> bool:
    try:
        obstore.put(store, path, b"probe", mode="create")
    except obstore.exceptions.AlreadyExistsError:
        return False
    return True
