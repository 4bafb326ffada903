"""Structured logs: one JSON object a line, without secrets."""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys
from typing import Any, Final

__all__ = ["LOGGER", "JsonLines", "configure_logging", "redact"]

LOGGER: Final = logging.getLogger("ml_debugger.server")

_SECRETS: Final = (
    (re.compile(r"mldbg_([0-9a-f]{12})_[A-Za-z0-9_-]+"), r"mldbg_\1_***"),
    (re.compile(r"mldbg_(?![0-9a-f]{12}_\*)[^\s\"',}]+"), "mldbg_***"),
    (re.compile(r"(://[^:/\s@]*):[^@/\s]+@"), r"\1:***@"),
    (re.compile(r"(?i)(authorization[\\\"':=\s]+)(bearer\s+)?[^\s\\\"',}]+"), r"\1***"),
)


def redact(text: str) -> str:
    """A text without keys and passwords, wherever it comes from."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class JsonLines(logging.Formatter):
    """A record as one line of JSON; what was given as ``extra={"fields": {...}}`` stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds: line breaks are escaped."""
        line: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str))


def configure_logging(level: str = "info") -> None:
    """Send the server's and its libraries' logs to stderr as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
    logging.getLogger("alembic").setLevel(logging.WARNING)
