"""Requests to a server: one key, time-outs, repeated where that is safe; every failure is an error of ours."""

from __future__ import annotations

import logging
import os
import random
import re
import socket
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from ml_debugger.errors import ConfigError, LicenseError, MLDebuggerError, ServerBusyError, ServiceConnectionError
from ml_debugger.service.error_bodies import decode_error

if TYPE_CHECKING:
    import httpx

__all__ = ["Body", "Target", "Transport", "check_endpoint"]

logger = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 8.0
# A server that asks for more patience than this gets its error told to the user instead.
_PATIENCE: Final = 30.0
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
# A host that vanished without a word is noticed after about half a minute, also while a long answer is awaited.
_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000))
_BUSY: Final = (429, 503)
_PASSING: Final = (*_BUSY, 502, 504)


@dataclass(frozen=True, slots=True)
class Target:
    """A server, the key to show it, and how patient to be."""

    endpoint: str
    key: str = field(repr=False)
    timeout: float = 300.0
    connect_timeout: float = 5.0
    retries: int = 4


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries."""

    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    params: Mapping[str, str] | None = None
    body: Body | None = None

    def arguments(self) -> dict[str, Any]:
        found: dict[str, Any] = {"method": self.method, "url": self.path, "params": self.params}
        if self.body is not None:
            found |= {"content": self.body.content, "headers": {"Content-Type": self.body.content_type}}
        return found


class _Again(Exception):  # noqa: N818 - says that a call may be repeated, and with what it failed; never leaves this file
    def __init__(self, error: MLDebuggerError, after: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


def check_endpoint(endpoint: str, key: str) -> None:
    """Check that an endpoint and a key can be used at all.

    Raises:
        ConfigError: If the endpoint is not a URL of a server.
        LicenseError: If there is no key, or it cannot be one. The message does not show it.
    """
    parts = _parts(endpoint)
    if parts is None:
        got = "one with an @, which is not shown since it may hold a password" if "@" in endpoint else repr(endpoint)
        raise ConfigError(
            f"api_endpoint: expected a URL such as https://mld.example.com or http://127.0.0.1:8000, got {got}; "
            "for the embedded mode unset MLD_API_ENDPOINT or pass api_endpoint=''"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            "api_endpoint: expected a URL without user, password, query and fragment; the key goes into api_key or "
            "MLD_API_KEY"
        )
    if not key:
        raise LicenseError(
            f"api_key: the server {endpoint} wants a key, and none was given; set MLD_API_KEY or pass api_key (who "
            "runs the server makes keys with `mldebugger keys create`)"
        )
    if not _PRINTABLE.fullmatch(key):
        raise LicenseError("api_key: expected a key of printable characters without spaces; it is not shown here")


class Transport:
    """One server as one key sees it. May be used by many threads, and after a fork.

    Every call can be repeated: appends and evaluations carry ids of their own, all others only read, or say what shall
    be. It is repeated when the server cannot have begun to answer, or asks for it; not when an answer was awaited in
    vain, since the server may still be at work.

    Args:
        target: The server.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._client: httpx.Client | None = None
        self._pid = os.getpid()
        if urlsplit(target.endpoint).scheme == "http" and not _is_local(target.endpoint):
            logger.warning("%s is not encrypted: the key and the rows can be read on the way", target.endpoint)

    @property
    def target(self) -> Target:
        """The server."""
        return self._target

    def request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Body | None = None
    ) -> bytes:
        """The content of the answer.

        Raises:
            ServiceConnectionError: If nobody answers, or not in time.
            MLDebuggerError: What the server raised.
        """
        with self.stream(method, path, params=params, body=body) as pieces:
            return b"".join(pieces)

    @contextmanager
    def stream(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Body | None = None
    ) -> Iterator[Iterator[bytes]]:
        """The answer, piece by piece as it comes; it is asked for again only as long as it has not begun.

        Raises:
            ServiceConnectionError: If nobody answers, or the answer was cut.
            MLDebuggerError: What the server raised.
        """
        response = self._begin(_Call(method, path, params, body))
        try:
            yield self._pieces(response)
        finally:
            response.close()

    def close(self) -> None:
        """Close the connections. The transport may be used again."""
        if self._client is not None and self._pid == os.getpid():
            self._client.close()
        self._client = None

    def _begin(self, call: _Call) -> httpx.Response:
        for attempt in range(self._target.retries + 1):
            try:
                return self._try(call)
            except _Again as again:
                if attempt == self._target.retries or again.after > _PATIENCE:
                    raise again.error from None
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1.0)
                logger.info("%s %s is repeated: %s", call.method, call.path, again.error)
                time.sleep(max(pause, again.after))
        raise RuntimeError("unreachable")  # pragma: no cover

    def _try(self, call: _Call) -> httpx.Response:
        import httpx

        client = self._open()
        try:
            response = client.send(client.build_request(**call.arguments()), stream=True)
            if response.is_success:
                return response
            try:
                content = response.read()
            finally:
                response.close()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise _Again(self._nobody(error)) from None
        except httpx.TimeoutException:
            raise self._too_slow() from None
        except httpx.TransportError as error:
            raise _Again(self._lost(error)) from None
        raise self._refusal(response, content)

    def _pieces(self, response: httpx.Response) -> Iterator[bytes]:
        import httpx

        try:
            yield from response.iter_bytes()
        except httpx.TimeoutException:
            raise self._too_slow() from None
        except httpx.TransportError as error:
            raise self._lost(error) from None

    def _refusal(self, response: httpx.Response, content: bytes) -> Exception:
        """What an answer that is no success means."""
        error = self._read_error(response, content)
        if response.status_code in _PASSING and isinstance(error, ServiceConnectionError):
            return _Again(error, _seconds(response.headers.get("Retry-After")))
        return error  # too many refused keys have a status of those too, and are a LicenseError

    def _read_error(self, response: httpx.Response, content: bytes) -> MLDebuggerError:
        import json

        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        if isinstance(body, dict) and "error" in body:
            return decode_error(body)
        status = f"{response.status_code} {response.reason_phrase}"
        if response.status_code in _BUSY:
            return ServerBusyError(f"{self._target.endpoint} is busy ({status}); try again later")
        hint = "is something between you and the server, such as a proxy?"
        if response.is_redirect:
            hint = f"it sends elsewhere ({response.headers.get('Location', 'nowhere')!r}): name that place instead"
        elif response.status_code == 404:
            hint = "is the endpoint that of a server of MLdebugger, with the right path?"
        return ServiceConnectionError(f"{self._target.endpoint} answered {status} and no error of MLdebugger; {hint}")

    def _nobody(self, error: Exception) -> ServiceConnectionError:
        return ServiceConnectionError(
            f"nobody answers at {self._target.endpoint} ({error}); check MLD_API_ENDPOINT and that the server runs "
            "(`mldebugger serve`)"
        )

    def _lost(self, error: Exception) -> ServiceConnectionError:
        return ServiceConnectionError(f"the connection to {self._target.endpoint} was lost ({error}); try again")

    def _too_slow(self) -> ServiceConnectionError:
        return ServiceConnectionError(
            f"{self._target.endpoint} did not answer within {self._target.timeout:g} seconds; it may still be at work: "
            "try again later, or allow more by MLD_API_TIMEOUT"
        )

    def _open(self) -> httpx.Client:
        import httpx

        from ml_debugger import __version__

        if self._client is None or self._pid != os.getpid():  # a forked child must not share connections
            self._pid = os.getpid()
            self._client = httpx.Client(
                base_url=self._target.endpoint.rstrip("/") + "/",
                headers={"Authorization": f"Bearer {self._target.key}", "User-Agent": f"ml-debugger/{__version__}"},
                timeout=httpx.Timeout(self._target.timeout, connect=self._target.connect_timeout),
                transport=httpx.HTTPTransport(proxy=_proxy_of(self._target.endpoint), socket_options=_socket_options()),
            )
            weakref.finalize(self, _close_in, self._pid, self._client)
        return self._client


def _parts(endpoint: str) -> SplitResult | None:
    """The parts of a URL of a server; None if it is none."""
    try:
        parts = urlsplit(endpoint)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if whole and _PRINTABLE.fullmatch(endpoint) else None


def _close_in(pid: int, client: httpx.Client) -> None:
    if pid == os.getpid():
        client.close()


def _proxy_of(endpoint: str) -> str | None:
    """The proxy that the environment names for an endpoint; none stands between programs of one machine."""
    parts = urlsplit(endpoint)
    if _is_local(endpoint) or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _socket_options() -> list[tuple[int, int, int]]:
    known = [(socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _KEEP_ALIVE if hasattr(socket, name)]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *known]


def _is_local(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _seconds(text: str | None) -> float:
    """What a Retry-After header asks for; 0 where it says nothing in seconds."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else 0.0
