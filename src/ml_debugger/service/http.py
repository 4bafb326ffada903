"""The seven calls over HTTP: the same requests and answers as in process, and the same errors and warnings."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ml_debugger.errors import MLDebuggerWarning, ServiceConnectionError, TooLargeError, warn
from ml_debugger.service import wire
from ml_debugger.service.arguments import check_result_name, check_selector, plain_options
from ml_debugger.service.bodies import JobBody, KeyBody, QueryAnswerBody, parse_body
from ml_debugger.service.contract import (
    AppendRequest,
    EvaluationRequest,
    Progress,
    QueryAnswer,
    QueryRequest,
    ResultPayload,
    RunKey,
    ScanRequest,
)
from ml_debugger.service.transport import Body, Target, Transport, check_endpoint
from ml_debugger.types import Epoch

if TYPE_CHECKING:
    from ml_debugger.estimation.error_model import ErrorModel

__all__ = ["HttpService"]

_FIRST_LOOK, _LONGEST_LOOK = 0.05, 2.0  # pauses between looks at a job, in seconds
_GROWTH: Final = 1.5
_DONE, _LOST = "done", ("failed", "cancelled")


class HttpService:
    """Implements ``contract.Service`` over HTTP.

    Args:
        transport: Requests to the server.
        key: What the server said to the key.
    """

    def __init__(self, transport: Transport, key: KeyBody) -> None:
        self._transport = transport
        self._key = key

    @classmethod
    def open(cls, target: Target) -> HttpService:
        """Service at a server, which is asked whether it takes the key.

        Raises:
            ConfigError: If the endpoint is no URL of a server.
            LicenseError: If there is no key, or the server refuses it.
            ServiceConnectionError: If nobody answers.
        """
        check_endpoint(target.endpoint, target.key)
        transport = Transport(target)
        return cls(transport, _parse(KeyBody, transport.request("GET", wire.KEY)))

    @property
    def transport(self) -> Transport:
        """Requests to the server."""
        return self._transport

    @property
    def organisation(self) -> str:
        """Whose models the key sees."""
        return self._key.organisation

    def append(self, request: AppendRequest) -> None:
        """Store whole inputs; a repeated batch id stores nothing twice.

        More than the server takes at once is sent in parts, each whole inputs with a batch id of its own, made from
        that of the request: they too are stored once, also where the whole was sent before, to a server that took more.

        Raises:
            ArchitectureMismatchError: If the model's name belongs to another architecture, task or set of columns.
            InputError: If rows are not as the tables need them, or one input alone is more than the server takes.
            ServiceConnectionError: If nobody answers; the request can be repeated.
            StoreError: If the server could not store the rows; the request can be repeated.
        """
        content, halves = wire.encode_append(request), None
        if len(content) > self._key.max_body_bytes:
            halves = _halves(request)
        if halves is None:
            try:
                self._transport.request("POST", wire.APPEND, body=Body(content, wire.FRAMES))
            except TooLargeError:  # by its rows, or decompressed; or the server was started again with other limits
                halves = _halves(request)
                if halves is None:
                    raise
        for half in halves or ():
            self.append(half)

    def scan(self, request: ScanRequest) -> Iterator[pa.RecordBatch]:
        """Stream rows of one kind, newest recordings only; scores that are missing are made first.

        Raises:
            NotFoundError: If there is no such run, result or column.
            InputError: If the kind is unknown, or scores are asked for without a result_name.
            ServiceConnectionError: If nobody answers, or the rows broke off.
        """
        told: list[MLDebuggerWarning] = []
        request = replace(request, n_epoch=check_selector(request.n_epoch))
        body = Body(wire.encode_scan(request), wire.FRAMES)
        with self._transport.stream("POST", wire.SCAN, body=body) as pieces:
            yield from wire.decode_rows(pieces, told)
        _warn_of(told)

    def evaluate(self, request: EvaluationRequest, progress: Progress | None = None) -> ResultPayload:
        """Have a run evaluated by the server; waits for the result, and cancels the evaluation when interrupted.

        A server that goes away in between goes on with it when it is back.

        Raises:
            NotFoundError: If there is no such run.
            EvaluationError: If the labelled rows do not allow it, or somebody cancelled it.
            InputError: If the result's name is taken, or the method is unknown.
            ServiceConnectionError: If nobody answers for longer than ``MLD_API_TIMEOUT``.
        """
        request = replace(
            request,
            options=plain_options(request.options),
            n_epoch=check_selector(request.n_epoch),
            result_name=check_result_name(request.result_name),
        )
        job = self._job("POST", wire.EVALUATE, wire.encode_evaluation(request, uuid.uuid4().hex))
        try:
            job = self._wait(job, progress)
        except KeyboardInterrupt:
            self._transport.request("DELETE", f"{wire.JOBS}/{job.job_id}")
            raise
        _warn_of(wire.decode_warnings(warning.model_dump() for warning in job.warnings))
        if job.state in _LOST:
            raise wire.decode_error({"error": None if job.error is None else job.error.model_dump()})
        return self.get_result(job.result_name)

    def list_results(self, run: RunKey, result_name: str | None, method_name: str | None, n_epoch: Epoch) -> pa.Table:
        """Results of a run, oldest first; ``"latest"`` are those of the newest result's epoch."""
        params = _params(run, n_epoch, result_name=result_name, method_name=method_name)
        return wire.decode_results(self._transport.request("GET", wire.RESULTS, params=params))

    def get_result(
        self, result_name: str | None, run: RunKey | None = None, n_epoch: Epoch = "latest"
    ) -> ResultPayload:
        """A result by name, or the newest of a run and epoch.

        Raises:
            NotFoundError: If there is none.
            InputError: If neither a name nor a run is given.
        """
        params = _params(run, n_epoch, result_name=result_name)
        return wire.decode_result(self._transport.request("GET", wire.RESULT, params=params))

    def get_error_model(self, result_name: str) -> ErrorModel:
        """The error model of a result.

        Raises:
            NotFoundError: If there is no such result.
        """
        from ml_debugger.estimation.error_model import ErrorModel

        params = {"result_name": result_name}
        return ErrorModel.from_bytes(self._transport.request("GET", wire.ERROR_MODEL, params=params))

    def query(self, request: QueryRequest) -> QueryAnswer:
        """Select inputs; scores that are missing under the result are made first.

        Raises:
            NotFoundError: If there is no such run or result.
            ConfigError: If the strategy or sampling is not valid.
        """
        request = replace(request, n_epoch=check_selector(request.n_epoch))
        body = _json(wire.encode_query(request))
        answer = _parse(QueryAnswerBody, self._transport.request("POST", wire.QUERY, body=body))
        _warn_of(wire.decode_warnings(warning.model_dump() for warning in answer.warnings))
        return wire.decode_answer(answer)

    def close(self) -> None:
        """Close the connections. The service may be used again."""
        self._transport.close()

    def _job(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> JobBody:
        body = None if content is None else _json(content)
        job: JobBody = _parse(JobBody, self._transport.request(method, path, body=body))
        return job

    def _wait(self, job: JobBody, progress: Progress | None) -> JobBody:
        """The job when it has come to its end."""
        pause, seen = _FIRST_LOOK, (job.stage, -1.0)
        heard = time.monotonic()
        while True:
            if progress is not None and job.stage and (job.stage, job.fraction) != seen:
                seen = (job.stage, job.fraction)
                progress(*seen)
            if job.state == _DONE or job.state in _LOST:
                return job
            _interruptible_sleep(pause)
            pause = min(_LONGEST_LOOK, pause * _GROWTH)
            try:
                job = self._job("GET", f"{wire.JOBS}/{job.job_id}")
                heard = time.monotonic()
            except ServiceConnectionError as error:
                if time.monotonic() - heard > self._transport.target.timeout:
                    raise ServiceConnectionError(
                        f"{error}. The evaluation {job.job_id} goes on when the server is back; its result is then "
                        "among those of list_results()"
                    ) from None


def _interruptible_sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


def _halves(request: AppendRequest) -> tuple[AppendRequest, AppendRequest] | None:
    """A request as two, each with whole inputs; None where there are not two inputs to part."""
    recordings = pc.unique(pa.chunked_array([table["recording_id"] for table in request.tables.values()], pa.int64()))
    if len(recordings) < 2:
        return None
    first = recordings.slice(0, len(recordings) // 2)
    low, high = {}, {}
    for kind, table in request.tables.items():
        mask = pc.is_in(table["recording_id"], value_set=first)
        low[kind], high[kind] = table.filter(mask), table.filter(pc.invert(mask))
    return (
        replace(request, batch_id=f"{request.batch_id}.0", tables=low, completes=True),
        replace(request, batch_id=f"{request.batch_id}.1", tables=high, recreate=False, completes=True),
    )


def _params(run: RunKey | None, n_epoch: Epoch, **names: str | None) -> dict[str, str]:
    found = {name: value for name, value in names.items() if value is not None}
    if run is not None:
        found |= {"model_name": run.model_name, "version_name": run.version_name}
    return {**found, "n_epoch": wire.encode_epoch(check_selector(n_epoch))}


def _json(content: Mapping[str, Any]) -> Body:
    return Body(json.dumps(content, allow_nan=False).encode(), wire.JSON)


def _parse(model: Any, content: bytes) -> Any:
    return parse_body(model, content, "answer of the server")


def _warn_of(found: list[MLDebuggerWarning]) -> None:
    for warning in found:
        warn(str(warning), type(warning))
