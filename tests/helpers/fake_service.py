"""A service that answers from one synthetic result and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ml_debugger.errors import NotFoundError
from ml_debugger.service.contract import (
    EvaluationRequest,
    Progress,
    QueryAnswer,
    QueryRequest,
    ResultPayload,
    RunKey,
    ScanRequest,
)

LISTED = ("result_name", "method_name", "n_epoch", "created_at", "completed_at", "options", "n_samples", "error_rate")


@dataclass
class FakeService:
    """Answers with ``payload``; ``calls`` are the requests in their order, by the name of the call."""

    payload: ResultPayload
    answer: QueryAnswer = field(default_factory=lambda: QueryAnswer((), (), ()))
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def evaluate(self, request: EvaluationRequest, progress: Progress | None = None) -> ResultPayload:
        self.calls.append(("evaluate", request))
        if progress is not None:
            progress("fit", 0.5)
        return self.payload

    def list_results(self, *arguments: Any) -> pa.Table:
        self.calls.append(("list_results", arguments))
        info = {**self.payload.info, "n_samples": self.payload.samples.num_rows, "error_rate": 0.2, "options": "{}"}
        row = {name: info[name] for name in LISTED}
        return pa.Table.from_pylist([{**row, "weights_hash": "abc123"}])

    def get_result(self, result_name: str | None, run: RunKey | None = None, n_epoch: Any = "latest") -> ResultPayload:
        self.calls.append(("get_result", (result_name, run)))
        if result_name != self.payload.info["result_name"]:
            raise NotFoundError(f"no result {result_name!r}")
        return self.payload

    def query(self, request: QueryRequest) -> QueryAnswer:
        self.calls.append(("query", request))
        return self.answer

    def scan(self, request: ScanRequest) -> Iterator[pa.RecordBatch]:
        self.calls.append(("scan", request))
        yield from self.payload.samples.select(list(request.columns or ())).to_batches(max_chunksize=50)


@dataclass
class FakeConnection:
    """A connection to a fake service; ``flushed`` are the runs that were flushed."""

    service: FakeService
    flushed: list[RunKey] = field(default_factory=list)
    location: str = ""

    def flush(self, run: RunKey) -> None:
        self.flushed.append(run)
        self.service.calls.append(("flush", run))
