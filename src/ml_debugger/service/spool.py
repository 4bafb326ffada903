"""Rows on disk while a server is away: one file per append, as it will be sent.

    <spool>/<digest of server and organisation>/
        about.json                  {"endpoint": ..., "organisation": ...}; never a key
        <time>-<pid>-<number>.append    the framed body of ``POST /v1/append``
        refused/                    what the server refused for good, each with a .txt that says why

A file appears whole or not at all, survives a crash, and is removed when the server has stored its rows. Appends carry
ids, so that it does no harm when two programs send the same file.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ml_debugger.errors import InputError, MLDebuggerError, StoreError
from ml_debugger.service import wire
from ml_debugger.service.arrow_bounds import measure
from ml_debugger.service.contract import AppendRequest
from ml_debugger.settings import expand_home, read_setting

__all__ = ["Spool", "SpoolEntry", "Waiting", "list_spools", "open_spool"]

_ABOUT: Final = "about.json"
_SUFFIX: Final = ".append"
_REFUSED: Final = "refused"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a file of the spool holds, for people."""

    path: Path
    model_name: str
    version_name: str
    n_rows: int
    n_bytes: int
    since: float
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """One append on disk."""

    path: Path

    def load(self) -> AppendRequest | None:
        """The append; None where another program has sent it.

        Raises:
            InputError: If another program tried to, and the server refused it for good.
            StoreError: If the file cannot be read.
        """
        try:
            return wire.decode_append(self.path.read_bytes())
        except FileNotFoundError:
            self._raise_refusal()
            return None
        except (InputError, OSError) as error:
            raise StoreError(f"could not read {self.path}, rows that wait for the server: {error}") from None

    def discard(self) -> None:
        """Remove the file, the server having stored its rows."""
        self.path.unlink(missing_ok=True)

    def refuse(self, error: MLDebuggerError) -> None:
        """Put the file aside, the server having refused its rows for good."""
        aside = self.path.parent / _REFUSED
        aside.mkdir(mode=0o700, exist_ok=True)
        (aside / self.path.name).with_suffix(".txt").write_text(str(error), "utf-8")
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(aside / self.path.name)

    def describe(self, refused: str | None = None) -> Waiting:
        """What the file holds.

        Raises:
            StoreError: If it cannot be read.
        """
        try:
            content = self.path.read_bytes()
            header, parts = wire.unpack(content)
            n_rows = sum(measure(part, kind)[1] for kind, part in parts.items())
            run = header["run"]
            model_name, version_name = str(run["model_name"]), str(run["version_name"])
        except (InputError, OSError, KeyError, TypeError) as error:
            raise StoreError(f"could not read {self.path}, rows that wait for the server: {error}") from None
        since = self.path.stat().st_mtime
        return Waiting(self.path, model_name, version_name, n_rows, len(content), since, refused)

    def _raise_refusal(self) -> None:
        reason = (self.path.parent / _REFUSED / self.path.name).with_suffix(".txt")
        if reason.exists():
            raise InputError(f"the server refused rows of this run, which are in {reason.parent}: {reason.read_text()}")


class Spool:
    """The appends that wait for one server and organisation.

    Args:
        folder: Where they are; made when there is the first.
        endpoint: The server.
        organisation: Whose rows they are: no key of another may send them.
        limit: Bytes that the spools of all servers together may hold.
    """

    def __init__(self, folder: Path, endpoint: str, organisation: str, limit: int) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.organisation = organisation
        self._limit = limit

    def put(self, request: AppendRequest) -> SpoolEntry:
        """Keep an append.

        Raises:
            StoreError: If the spool is full, or the disk.
        """
        content = wire.encode_append(request)
        held = _size(self.folder.parent)
        if held + len(content) > self._limit:
            raise StoreError(
                f"the spool {self.folder.parent} is full: it holds {held / 2**20:.0f} MB of at most "
                f"{self._limit / 2**20:.0f} (MLD_SPOOL_MB); see `mldebugger sync --list`"
            )
        try:
            self._make_folder()
            name = f"{time.time_ns():020d}-{os.getpid()}-{next(_numbers):06d}{_SUFFIX}"
            _write_whole(self.folder / name, content)
        except OSError as error:
            raise StoreError(f"could not write to the spool {self.folder}: {error}") from None
        return SpoolEntry(self.folder / name)

    def entries(self) -> list[SpoolEntry]:
        """What waits, oldest first."""
        return [SpoolEntry(path) for path in sorted(self.folder.glob(f"*{_SUFFIX}"))]

    def waiting(self) -> Iterator[Waiting]:
        """What waits and what was refused, for people.

        Raises:
            StoreError: If a file cannot be read.
        """
        for entry in self.entries():
            yield entry.describe()
        for path in sorted((self.folder / _REFUSED).glob(f"*{_SUFFIX}")):
            yield SpoolEntry(path).describe(path.with_suffix(".txt").read_text("utf-8"))

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = self.folder / _ABOUT
        if not about.exists():
            _write_whole(about, json.dumps({"endpoint": self.endpoint, "organisation": self.organisation}).encode())


def open_spool(endpoint: str, organisation: str) -> Spool:
    """The spool of a server and organisation, where the settings put it."""
    return Spool(_root() / _folder_name(endpoint, organisation), endpoint, organisation, _limit())


def list_spools() -> list[Spool]:
    """The spools of all servers.

    Raises:
        StoreError: If one does not say whose it is.
    """
    return [Spool(path.parent, *_about(path), _limit()) for path in sorted(_root().glob(f"*/{_ABOUT}"))]


def _about(path: Path) -> tuple[str, str]:
    try:
        about = json.loads(path.read_text("utf-8"))
        return str(about["endpoint"]), str(about["organisation"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"could not read {path}, which says what server the rows beside it are for: {error}") from None


def _root() -> Path:
    chosen = read_setting("MLD_SPOOL")
    if not chosen:
        home = expand_home(read_setting("MLD_HOME"))
        chosen = f"{'~/.mldebugger' if '://' in home else home}/spool"
    return Path(expand_home(chosen))


def _limit() -> int:
    return int(read_setting("MLD_SPOOL_MB")) * 2**20


def _folder_name(endpoint: str, organisation: str) -> str:
    return hashlib.sha256(json.dumps([endpoint, organisation]).encode()).hexdigest()[:16]


def _size(root: Path) -> int:
    found = 0
    for path in root.glob(f"**/*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # sent in between
            found += path.stat().st_size
    return found


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole, or not at all, also after a power cut."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
