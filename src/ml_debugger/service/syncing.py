"""Sends what waits in a spool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ml_debugger.errors import LicenseError, MLDebuggerError, ServerError, ServiceConnectionError, StoreError
from ml_debugger.service.contract import Service
from ml_debugger.service.spool import Spool

__all__ = ["Sent", "send"]

_PASSING = (ServiceConnectionError, StoreError, ServerError, LicenseError)


@dataclass(slots=True)
class Sent:
    """What became of a spool: rows that are stored now, and why others never will be."""

    n_rows: int = 0
    refused: list[str] = field(default_factory=list)


def send(spool: Spool, service: Service, told: Callable[[int, int], None] | None = None) -> Sent:
    """Send every append of a spool, oldest first; what the server refuses for good is put aside.

    Args:
        spool: What waits.
        service: The service at its server, for its organisation.
        told: Called with the number of appends done, and of all.

    Raises:
        ServiceConnectionError: If the server is away, or goes away; the rest waits on.
        LicenseError: If it refuses the key; the rest waits on.
        StoreError: If it cannot store rows now, or a file cannot be read; the rest waits on.
    """
    sent, entries = Sent(), spool.entries()
    for number, entry in enumerate(entries):
        if told is not None:
            told(number, len(entries))
        request = entry.load()
        if request is None:
            continue  # another program has sent it
        try:
            service.append(request)
        except _PASSING:
            raise
        except MLDebuggerError as error:
            entry.refuse(error)
            sent.refused.append(str(error))
            continue
        entry.discard()
        sent.n_rows += sum(table.num_rows for table in request.tables.values())
    return sent
