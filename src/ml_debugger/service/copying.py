"""Copies of a run and of its results from one place to another: repeated without harm, verified by checksums.

A run is copied in portions of whole inputs, stale recordings too. What is there already is found by its checksum and
left alone, so that a copy which was cut short goes on where it was. Scores are not copied: they are made anew from the
rows, to the bit, where they are asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_debugger.errors import NotFoundError, StoreError
from ml_debugger.service.checksums import COPIED_KINDS, read_kind, rows_checksum
from ml_debugger.service.contract import AppendRequest, ModelSchema, Progress, RunKey, ScanRequest, Service
from ml_debugger.service.copies import ChecksumRequest, Copies

__all__ = ["Copied", "Place", "copy_result", "copy_run"]

# A portion is at most so many inputs, and about so many units.
_INPUTS: Final = 5_000
_UNITS: Final = 20_000
# A batch id is used once for good, also when its rows were removed since: then another one is tried.
_ATTEMPTS: Final = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where to copy from or to."""

    service: Service
    copies: Copies


@dataclass(slots=True)
class Copied:
    """What a copy did: rows of each kind that were sent, and inputs that were there already."""

    rows: dict[str, int]
    n_inputs_there: int = 0


def copy_run(source: Place, target: Place, run: RunKey, progress: Progress | None = None) -> Copied:
    """Copy the rows of a run; those that are there already are left alone.

    Raises:
        NotFoundError: If there is no such run at the source.
        ArchitectureMismatchError: If the model's name belongs to another architecture at the target.
        StoreError: If what arrived is not what was sent.
    """
    schema = _schema(source.copies, run)
    _register(target.service, run, schema)
    columns = {kind: _columns(source.service, run, kind) for kind in COPIED_KINDS}
    recordings = _recordings(source.service, run)
    done = Copied(dict.fromkeys(COPIED_KINDS, 0))
    for start, portion in _portions(recordings):
        if progress is not None:
            progress("rows", start / max(1, recordings.num_rows))
        _Portion(source, target, run, schema, columns, portion).copy(done)
    if progress is not None:
        progress("rows", 1.0)
    return done


def copy_result(source: Place, target: Place, result_name: str) -> None:
    """Copy a result with its error model, under the same name; one that is there already is left alone.

    Raises:
        NotFoundError: If there is no such result at the source.
        InputError: If another result has the name at the target.
        StoreError: If what arrived is not what was sent.
    """
    copied = source.copies.result(result_name)
    target.copies.put_result(copied)
    if target.copies.result(result_name).checksum != copied.checksum:
        raise StoreError(f"result {result_name!r} arrived differently than it was sent; copy it again")


@dataclass(frozen=True, slots=True)
class _Portion:
    """Some recordings of a run on their way."""

    source: Place
    target: Place
    run: RunKey
    schema: ModelSchema
    columns: dict[str, tuple[str, ...]]
    recordings: pa.Array

    def copy(self, done: Copied) -> None:
        tables = {
            kind: read_kind(self.source.service, self.run, kind, self.recordings, names)
            for kind, names in self.columns.items()
        }
        wanted = {kind: rows_checksum(table, self.columns[kind]) for kind, table in tables.items()}
        request = ChecksumRequest(self.run, self.columns, self.recordings)
        for attempt in range(_ATTEMPTS):
            if _same(self.target.copies.checksums(request), wanted):
                done.n_inputs_there += len(self.recordings) if not attempt else 0
                return
            missing = self._missing()
            if not len(missing):
                break
            self._send(tables, missing, attempt, done)
        if not _same(self.target.copies.checksums(request), wanted):
            raise StoreError(
                f"{len(self.recordings)} inputs of model {self.run.model_name!r}, version {self.run.version_name!r} "
                "are not the same at both places after they were copied; copy again, and if that does not help, copy "
                "to a version that is empty there"
            )

    def _missing(self) -> pa.Array:
        request = ScanRequest(
            self.run, "inputs", ("recording_id",), recording_ids=self.recordings, every_recording=True
        )
        there = [batch["recording_id"] for batch in self.target.service.scan(request)]
        known = pa.concat_arrays([pa.array([], pa.int64()), *there])
        return self.recordings.filter(pc.invert(pc.is_in(self.recordings, value_set=known)))

    def _send(self, tables: dict[str, pa.Table], missing: pa.Array, attempt: int, done: Copied) -> None:
        chosen = {
            kind: table.filter(pc.is_in(table["recording_id"], value_set=missing))
            for kind, table in tables.items()
            if table.num_rows
        }
        sums = {kind: rows_checksum(table, self.columns[kind]) for kind, table in chosen.items()}
        digest = hashlib.sha256(json.dumps([sums, attempt]).encode()).hexdigest()
        # the source may have grown since a copy was cut short: what was sent then is not what is sent now
        request = AppendRequest(f"copy-{digest}", self.run, self.schema, chosen, completes=True)
        self.target.service.append(request)
        for kind, table in chosen.items():
            done.rows[kind] += table.num_rows


def _same(found: object, wanted: dict[str, tuple[int, str]]) -> bool:
    return isinstance(found, dict) and {kind: tuple(value) for kind, value in found.items()} == wanted


def _schema(copies: Copies, run: RunKey) -> ModelSchema:
    models = copies.models(run.model_name)
    if not models:
        known = [model.model_name for model in copies.models()]
        raise NotFoundError(f"model_name: nothing was recorded for {run.model_name!r}; known models: {known}")
    if run.version_name not in models[0].versions:
        raise NotFoundError(
            f"version_name: nothing was recorded for {run.version_name!r} of model {run.model_name!r}; known "
            f"versions: {list(models[0].versions)}"
        )
    return models[0].schema_of(run.version_name)


def _register(service: Service, run: RunKey, schema: ModelSchema) -> None:
    digest = hashlib.sha256(repr((run, schema)).encode()).hexdigest()
    service.append(AppendRequest(f"copy-{digest}", run, schema))


def _columns(service: Service, run: RunKey, kind: str) -> tuple[str, ...]:
    """Names of the columns that rows of the source have; without rows, none count."""
    for batch in service.scan(ScanRequest(run, kind, every_recording=True)):
        return tuple(batch.schema.names)
    return ()


def _recordings(service: Service, run: RunKey) -> pa.Table:
    """``recording_id`` and ``n_units`` of all recordings, in the order of their numbers."""
    request = ScanRequest(run, "inputs", ("recording_id", "n_units"), every_recording=True)
    batches = list(service.scan(request))
    empty = pa.schema([("recording_id", pa.int64()), ("n_units", pa.int64())])
    table = pa.Table.from_batches(batches) if batches else empty.empty_table()
    return table.sort_by("recording_id")


def _portions(recordings: pa.Table) -> Iterator[tuple[int, pa.Array]]:
    """Where a portion starts, and its recordings."""
    numbers = recordings["recording_id"].combine_chunks()
    units = np.cumsum(np.maximum(recordings["n_units"].to_numpy(), 1))
    start = 0
    while start < len(units):
        before = units[start - 1] if start else 0
        end = int(np.searchsorted(units, before + _UNITS, side="right"))
        end = min(max(end, start + 1), start + _INPUTS)
        yield start, numbers.slice(start, end - start)
        start = end
