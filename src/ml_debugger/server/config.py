"""What a server is started with."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ml_debugger.errors import ConfigError
from ml_debugger.service.arrow_bounds import Allowance
from ml_debugger.settings import expand_home, read_setting

__all__ = ["Limits", "ServerConfig"]

_MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server takes at once.

    Attributes:
        body_bytes: One request, as it is sent.
        decoded_bytes: The rows of one request, decompressed.
        rows: Rows of one request.
        pending_bytes: All requests at work; beyond, clients are asked to come again.
        job_workers: Evaluations at the same time.
    """

    body_bytes: int
    decoded_bytes: int
    rows: int
    pending_bytes: int
    job_workers: int

    @classmethod
    def read(cls) -> Limits:
        """From the environment.

        Raises:
            ConfigError: If a variable does not parse.
        """
        return cls(
            read_setting("MLD_MAX_BODY_MB") * _MEGABYTE,
            read_setting("MLD_MAX_DECODED_MB") * _MEGABYTE,
            read_setting("MLD_MAX_ROWS"),
            read_setting("MLD_PENDING_MB") * _MEGABYTE,
            read_setting("MLD_JOB_WORKERS"),
        )

    def allowance(self) -> Allowance:
        """What the rows of one request may take."""
        return Allowance(self.decoded_bytes, self.rows)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the server keeps everything, and what it allows.

    Attributes:
        location: Folder or URL of an object store.
        database_url: SQLAlchemy URL of the metadata database; None for the default of the location.
        limits: How much is taken at once.
        cors_origins: Origins whose pages may call the server from a browser; none by default.
        trusted_proxies: Addresses of proxies whose word on who the client is counts; none by default.
        secure_cookies: Whether browsers are told to send the session over TLS only.
    """

    location: str
    database_url: str | None
    limits: Limits
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    secure_cookies: bool = False

    @classmethod
    def read(
        cls,
        location: str | None = None,
        database_url: str | None = None,
        *,
        cors_origins: tuple[str, ...] = (),
        trusted_proxies: tuple[str, ...] = (),
        secure_cookies: bool = False,
    ) -> ServerConfig:
        """From arguments, else the environment.

        Raises:
            ConfigError: If an argument or variable cannot be right.
        """
        place = expand_home(read_setting("MLD_HOME", location))
        if urlsplit(place).scheme == "memory" and "://" in place:
            raise ConfigError(
                "store: memory:// would be lost at the first restart; name a folder, or an object store such as "
                "s3://bucket/prefix"
            )
        for origin in cors_origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or not parts.netloc
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ConfigError(f"cors_origin: expected an origin such as https://tools.example.com, got {origin!r}")
        return cls(
            place,
            read_setting("MLD_DATABASE_URL", database_url) or None,
            Limits.read(),
            cors_origins,
            trusted_proxies,
            secure_cookies,
        )
