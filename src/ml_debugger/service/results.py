"""Results at rest: JSON and Parquet tables beside the error model's safetensors, and their listing."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ml_debugger.errors import InputError, NotFoundError, StoreError
from ml_debugger.service.arguments import check_result_name
from ml_debugger.service.checksums import RESULT_TABLES, result_checksum
from ml_debugger.service.contract import ResultPayload
from ml_debugger.store.metadata import ResultRow, utc
from ml_debugger.store.workspace import Workspace

if TYPE_CHECKING:
    from ml_debugger.estimation.error_model import ErrorModel

__all__ = ["import_result", "list_table", "load_error_model", "load_result", "save_result"]

_ERROR_MODEL = "error_model.safetensors"
_METRICS = "result.json"
_NAMES = ("result_name", "model_name", "version_name", "task", "method_name")
_LATER = ("truths",)  # what results of earlier versions lack

_TIME = pa.timestamp("us", tz="UTC")
_LISTING = pa.schema(
    [
        ("result_name", pa.string()),
        ("method_name", pa.string()),
        ("n_epoch", pa.int64()),  # null: no epoch was given, or all epochs together; then options say n_epoch = "all"
        ("created_at", _TIME),
        ("completed_at", _TIME),
        ("options", pa.string()),
        ("n_samples", pa.int64()),
        ("error_rate", pa.float64()),
        ("weights_hash", pa.string()),
    ]
)


def save_result(workspace: Workspace, payload: ResultPayload, model: ErrorModel) -> None:
    """Write the artefacts of a result whose name was claimed, and then list it.

    Raises:
        StoreError: If they cannot be written; the result is not listed.
    """
    _write(workspace, payload, model.to_bytes())
    workspace.metadata.complete_result(payload.info["result_name"], payload.info)


def import_result(workspace: Workspace, payload: ResultPayload, error_model: bytes) -> None:
    """Store a result that was made elsewhere, under its own name and with its own times; again does no harm.

    Raises:
        InputError: If another result has the name, or it is not whole.
        StoreError: If it cannot be written; it is not listed.
    """
    info = _checked_info(payload.info)
    _check_error_model(error_model)
    name, checksum = info["result_name"], result_checksum(payload, error_model)
    metadata = workspace.metadata
    stored = metadata.results(result_name=name)
    if stored:
        there = load_result(workspace, stored[0])
        if result_checksum(there, load_error_model(workspace, name).to_bytes()) == checksum:
            return
        raise InputError(f"result_name: another result has the name {name!r}; names of results are given once")
    claimant = f"copy of {checksum}"
    if metadata.claimed_by(claimant) is not None:
        metadata.release_result(name)  # of an attempt that was cut short
    metadata.claim_result(name, info["model_name"], info["version_name"], unique=False, claimant=claimant)
    try:
        _write(workspace, payload, error_model)
        times = [datetime.datetime.fromisoformat(info[moment]) for moment in ("created_at", "completed_at")]
        metadata.complete_result(name, info, (times[0], times[1]))
    finally:
        metadata.release_result(name)


def _write(workspace: Workspace, payload: ResultPayload, error_model: bytes) -> None:
    name = payload.info["result_name"]
    put = workspace.artifacts.put
    put(name, _ERROR_MODEL, error_model)
    for table in RESULT_TABLES:
        put(name, f"{table}.parquet", _parquet(getattr(payload, table)))
    put(name, _METRICS, json.dumps({"info": payload.info, "metrics": payload.metrics}, allow_nan=False).encode())


def _checked_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """Info that can be listed."""
    found = dict(info)
    try:
        check_result_name(found["result_name"])
        zones = [datetime.datetime.fromisoformat(found[name]).tzinfo for name in ("created_at", "completed_at")]
        text = all(isinstance(found[name], str) for name in _NAMES)
        pa.Table.from_pylist([_listed(found)], _LISTING)
        json.dumps(found, allow_nan=False)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, pa.ArrowException) as error:
        raise InputError(f"info: expected that of a result, got one that cannot be listed: {error!r}") from None
    if not text or None in zones:
        raise InputError("info: expected names as text, and times with their zone")
    return found


def _check_error_model(content: bytes) -> None:
    from ml_debugger.estimation.error_model import ErrorModel

    try:
        ErrorModel.from_bytes(content)
    except StoreError as error:
        raise InputError(f"error_model: {error}") from None


def load_result(workspace: Workspace, row: ResultRow) -> ResultPayload:
    """A listed result with all its tables.

    Raises:
        NotFoundError: If an artefact was deleted.
        StoreError: If one cannot be read.
    """
    metrics = json.loads(workspace.artifacts.get(row.result_name, _METRICS))["metrics"]
    tables = {table: _read_table(workspace, row.result_name, table) for table in RESULT_TABLES}
    return ResultPayload(info=_info(row), metrics=metrics, **tables)


def _read_table(workspace: Workspace, result_name: str, table: str) -> pa.Table:
    try:
        return _read_parquet(workspace.artifacts.get(result_name, f"{table}.parquet"))
    except NotFoundError:
        if table in _LATER:
            return pa.table({})
        raise


def load_error_model(workspace: Workspace, result_name: str) -> ErrorModel:
    """The error model of a result.

    Raises:
        NotFoundError: If there is no such result.
        StoreError: If it is damaged or of a newer format.
    """
    from ml_debugger.estimation.error_model import ErrorModel

    if not workspace.metadata.results(result_name=result_name):
        raise NotFoundError(f"result_name: there is no result {result_name!r}")
    return ErrorModel.from_bytes(workspace.artifacts.get(result_name, _ERROR_MODEL))


def list_table(rows: Iterable[ResultRow]) -> pa.Table:
    """Results as the table of ``list_results``."""
    return pa.Table.from_pylist([_listed(_info(row)) for row in rows], _LISTING)


def _info(row: ResultRow) -> dict[str, Any]:
    """The stored info with the times as the database has them."""
    return {
        **row.info,
        "created_at": row.created_at.isoformat(),
        "completed_at": row.completed_at.isoformat(),
    }


def _listed(info: dict[str, Any]) -> dict[str, Any]:
    options = dict(info.get("options") or {})
    if info["n_epoch"] == "all":
        options["n_epoch"] = "all"
    return {
        **{name: info.get(name) for name in _LISTING.names},
        "n_epoch": None if info["n_epoch"] == "all" else info["n_epoch"],
        "options": json.dumps(options),
        **{name: utc(datetime.datetime.fromisoformat(info[name])) for name in ("created_at", "completed_at")},
    }


def _read_parquet(content: bytes) -> pa.Table:
    """The table, read by this thread alone.

    A thread of Arrow's own releases Python's bytes when it is done with them; while the interpreter ends, that aborts
    the process.
    """
    return pq.ParquetFile(pa.BufferReader(content), pre_buffer=False).read(use_threads=False)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
