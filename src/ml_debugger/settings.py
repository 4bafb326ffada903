"""Settings from the environment: one table, read when an object is built, never at import."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ml_debugger.errors import ConfigError

__all__ = ["SETTINGS", "Setting", "read_setting"]


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
        Setting("MLD_API_ENDPOINT", "", str, "Endpoint of a server. Empty: embedded mode, no server."),
        Setting("MLD_API_KEY", "", str, "Key for the server. Not used in embedded mode."),
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
    )
}


def read_setting(name: str, argument: Any = None) -> Any:
    """Value of a setting: the argument, else the environment variable, else the default.

    Raises:
        ConfigError: If the environment variable does not parse as the setting's type.
    """
    setting = SETTINGS[name]
    if argument is not None:
        return argument
    raw = os.environ.get(name)
    if raw is None or raw == "":
        return setting.default
    try:
        return setting.kind(raw)
    except ValueError:
        raise ConfigError(f"{name}: expected {setting.kind.__name__}, got {raw!r}") from None


def expand_home(location: str | Path) -> str:
    """A workspace location with ``~`` expanded; URLs are returned unchanged."""
    text = str(location)
    return text if "://" in text else str(Path(text).expanduser().absolute())
