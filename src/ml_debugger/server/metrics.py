"""Figures of one server process in the format of Prometheus. No names of organisations, models or keys are in them."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from ml_debugger import __version__

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Counters of requests, rows, refusals and jobs."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "mldebugger_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "mldebugger_request_seconds", "Seconds to an answer.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.received = Counter("mldebugger_received_bytes", "Bytes of requests.", registry=self.registry)
        self.rows = Counter(
            "mldebugger_appended_rows", "Rows of appends that were answered.", ["kind"], registry=self.registry
        )
        self.refused = Counter("mldebugger_refused_keys", "Keys that were refused.", registry=self.registry)
        self.busy = Counter("mldebugger_busy", "Requests that were asked to come again.", registry=self.registry)
        self.pending = Gauge("mldebugger_pending_bytes", "Bytes of requests at work.", registry=self.registry)
        self.jobs = Gauge("mldebugger_jobs", "Evaluations by state.", ["state"], registry=self.registry)
        info = Gauge("mldebugger_info", "Version of the server.", ["version"], registry=self.registry)
        info.labels(__version__).set(1)

    def render(self) -> bytes:
        """All figures as Prometheus reads them."""
        return generate_latest(self.registry)
