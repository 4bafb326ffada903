"""Settings: one table; argument, else environment, else ``.env``, else default; read when an object is built.

``.env`` is a file in the current folder, of lines ``NAME=value``; only names of the table are read from it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ml_debugger.errors import ConfigError

__all__ = ["SETTINGS", "Setting", "read_setting"]

_DOTENV: Final = Path(".env")
_LINE: Final = re.compile(r"\s*(?:export\s+)?(?P<name>\w+)\s*=\s*(?P<value>.*?)\s*")


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable: name, default, type and what it does."""

    name: str
    default: Any
    kind: Callable[[str], Any]
    help: str


def _choice(*allowed: str) -> Callable[[str], str]:
    """A setting type that takes one of some words."""

    def one_of(raw: str) -> str:
        if raw not in allowed:
            raise ValueError(raw)
        return raw

    one_of.__name__ = " or ".join(allowed)
    return one_of


def _count(raw: str) -> int:
    """A setting type that takes whole numbers from zero."""
    value = int(raw)
    if value < 0:
        raise ValueError(raw)
    return value


_count.__name__ = "int of at least 0"


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """A setting type that takes finite numbers above zero: a buffer of nothing would never be full or never empty."""

    def positive(raw: str) -> Any:
        value = kind(raw)
        if not 0 < value < math.inf:
            raise ValueError(raw)
        return value

    positive.__name__ = f"{kind.__name__} above 0"
    return positive


SETTINGS: Final = {
    setting.name: setting
    for setting in (
        Setting(
            "MLD_HOME",
            "~/.mldebugger",
            str,
            "Workspace: a folder, or an object-store URL such as s3://bucket/prefix.",
        ),
        Setting(
            "MLD_API_ENDPOINT",
            "",
            str,
            "Endpoint of a server, such as https://mld.example.com. Empty: embedded mode, no server.",
        ),
        Setting("MLD_API_KEY", "", str, "Key for the server. Not used in embedded mode."),
        Setting(
            "MLD_API_TIMEOUT", 300.0, _positive(float), "Seconds that a client waits for the answer to one request."
        ),
        Setting("MLD_CONNECT_TIMEOUT", 5.0, _positive(float), "Seconds that a client waits for the server to accept."),
        Setting(
            "MLD_API_RETRIES",
            4,
            _count,
            "Times that a client repeats a request which can be repeated, with growing pauses in between.",
        ),
        Setting(
            "MLD_SPOOL",
            "",
            str,
            "Folder that keeps rows while the server is away. Empty: spool in MLD_HOME, or, where that is a URL, in "
            "~/.mldebugger.",
        ),
        Setting("MLD_SPOOL_MB", 2048, _positive(int), "Megabytes that the spool may hold, of all servers together."),
        Setting(
            "MLD_DATABASE_URL",
            "",
            str,
            "SQLAlchemy URL of the metadata database. Empty: SQLite inside the workspace folder.",
        ),
        Setting(
            "MLD_BUFFER_ROWS", 8192, _positive(int), "Rows that a tracer or filter collects before it writes them."
        ),
        Setting(
            "MLD_BUFFER_MB", 64, _positive(int), "Megabytes that a tracer or filter collects before it writes them."
        ),
        Setting("MLD_SYNC_SECONDS", 5.0, _positive(float), "With auto_sync, write at least this often."),
        Setting(
            "MLD_PROGRESS",
            "auto",
            _choice("auto", "on", "off"),
            "Progress bars: auto (on a terminal only), on, off.",
        ),
        Setting("MLD_MAX_BODY_MB", 256, _positive(int), "Server: megabytes of one request, as it is sent."),
        Setting(
            "MLD_MAX_DECODED_MB", 1024, _positive(int), "Server: megabytes of the rows of one request, decompressed."
        ),
        Setting("MLD_MAX_ROWS", 2_000_000, _positive(int), "Server: rows of one request."),
        Setting(
            "MLD_PENDING_MB",
            1024,
            _positive(int),
            "Server: megabytes of requests at work; beyond, clients have to wait.",
        ),
        Setting("MLD_JOB_WORKERS", 1, _positive(int), "Server: evaluations that run at the same time."),
    )
}


def read_setting(name: str, argument: Any = None) -> Any:
    """Value of a setting: the argument, else the environment variable, else the line of ``.env``, else the default.

    An empty variable or line counts as not set; an empty argument is an argument.

    Raises:
        ConfigError: If the value does not parse as the setting's type, or ``.env`` cannot be read.
    """
    setting = SETTINGS[name]
    if argument is not None:
        return argument
    raw = os.environ.get(name) or _dotenv().get(name)
    if not raw:
        return setting.default
    try:
        return setting.kind(raw)
    except ValueError:
        raise ConfigError(f"{name}: expected {setting.kind.__name__}, got {raw!r}") from None


def _dotenv() -> dict[str, str]:
    """Our names in ``.env`` of the current folder; lines of other programs are theirs to understand."""
    try:
        text = _DOTENV.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):  # virtual environments are called .env too
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{_DOTENV}: this file in {Path.cwd()} cannot be read ({type(error).__name__}); make it a readable text "
            "file, or start from another folder"
        ) from None
    lines = (_LINE.fullmatch(line) for line in text.splitlines())
    return {line["name"]: _unquoted(line["value"]) for line in lines if line and line["name"] in SETTINGS}


def _unquoted(value: str) -> str:
    """What stands between quotes, or else before a comment."""
    for quote in "\"'":
        if value.startswith(quote) and quote in value[1:]:
            return value[1 : value.index(quote, 1)]
    return value.partition(" #")[0].strip()


def expand_home(location: str | Path) -> str:
    """A workspace location with ``~`` expanded; URLs are returned unchanged."""
    text = str(location)
    return text if "://" in text else str(Path(text).expanduser().absolute())
