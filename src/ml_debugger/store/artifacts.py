"""Artefacts of results: small files next to the tables, in a folder, an object store or memory."""

from __future__ import annotations

import obstore
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from ml_debugger.errors import NotFoundError
from ml_debugger.store.failures import store_errors
from ml_debugger.store.naming import quote_name

__all__ = ["Artifacts"]


class Artifacts:
    """Files by result: ``results/<result_name>/<file>``. A file is replaced whole or not at all.

    Args:
        root: Folder, object-store URL, or ``memory://``.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._store = _open(root)

    def put(self, result_name: str, file: str, content: bytes) -> None:
        """Write one file.

        Raises:
            StoreError: If it cannot be written.
        """
        with store_errors(f"write {file} of result {result_name!r}", self._root):
            obstore.put(self._store, _path(result_name, file), content)

    def get(self, result_name: str, file: str) -> bytes:
        """Read one file.

        Raises:
            NotFoundError: If there is none.
            StoreError: If it cannot be read.
        """
        with store_errors(f"read {file} of result {result_name!r}", self._root):
            try:
                return bytes(obstore.get(self._store, _path(result_name, file)).bytes())
            except FileNotFoundError:
                raise NotFoundError(
                    f"result {result_name!r} has no {file} in {self._root}: its files were deleted; evaluate again"
                ) from None


def _open(root: str) -> ObjectStore:
    if root.startswith("memory://"):
        return MemoryStore()
    with store_errors("open the workspace", root):
        return from_url(root) if "://" in root else LocalStore(root, mkdir=True)


def _path(result_name: str, file: str) -> str:
    return f"results/{quote_name(result_name)}/{file}"
