"""How often an address has shown keys that were refused."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Attempts"]

MAX_FAILURES: Final = 10
PER_SECONDS: Final = 60.0
_MAX_ADDRESSES: Final = 10_000


@dataclass(slots=True)
class _Address:
    """Moments of the last failures, and the keys that were accepted."""

    failures: list[float] = field(default_factory=list)
    accepted: OrderedDict[str, None] = field(default_factory=OrderedDict)


class Attempts:
    """Limits failed attempts by address: ten a minute.

    An address that is over the limit is not listened to any more, but for keys that it has used before: colleagues
    behind one proxy cannot lock each other out, and nobody can go on guessing.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, address: str, key_id: str) -> float:
        """Seconds that a caller has to wait before its key is looked at; 0 if it need not."""
        with self._lock:
            found = self._addresses.get(_network(address))
            if found is None or key_id in found.accepted:
                return 0.0
            self._forget(found)
            if len(found.failures) < MAX_FAILURES:
                return 0.0
            return found.failures[-MAX_FAILURES] + PER_SECONDS - self._clock()

    def failed(self, address: str) -> None:
        """A key of this address was refused."""
        with self._lock:
            found = self._touch(address)
            self._forget(found)
            found.failures.append(self._clock())

    def accepted(self, address: str, key_id: str) -> None:
        """A key of this address was accepted."""
        with self._lock:
            accepted = self._touch(address).accepted
            accepted[key_id] = None
            accepted.move_to_end(key_id)
            while len(accepted) > _MAX_ADDRESSES // 10:
                accepted.popitem(last=False)

    def _touch(self, address: str) -> _Address:
        network = _network(address)
        found = self._addresses.setdefault(network, _Address())
        self._addresses.move_to_end(network)
        while len(self._addresses) > _MAX_ADDRESSES:
            self._addresses.popitem(last=False)
        return found

    def _forget(self, found: _Address) -> None:
        now = self._clock()
        found.failures = [moment for moment in found.failures if moment > now - PER_SECONDS][-MAX_FAILURES:]


def _network(address: str) -> str:
    """An address, or the network that one customer has of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
    return str(parsed)
