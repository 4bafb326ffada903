"""What copying between two places needs beside the seven calls, in process and over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Protocol

import pyarrow as pa

from ml_debugger.errors import InputError
from ml_debugger.service import results, wire
from ml_debugger.service.arrow_bounds import Allowance
from ml_debugger.service.bodies import ChecksumBody, ChecksumsBody, ModelsBody, parse_body
from ml_debugger.service.checksums import read_kind, result_checksum, rows_checksum
from ml_debugger.service.contract import ModelSchema, ResultPayload, RunKey
from ml_debugger.service.frames import encode_table, pack, unpack
from ml_debugger.service.http import HttpService
from ml_debugger.service.local import LocalService
from ml_debugger.service.transport import Body
from ml_debugger.store.metadata import Metadata, ModelRow
from ml_debugger.types import Field

__all__ = [
    "ChecksumRequest",
    "CopiedResult",
    "Copies",
    "HttpCopies",
    "KnownModel",
    "LocalCopies",
    "decode_checksums_request",
    "decode_copied_result",
    "encode_models",
]

_RECORDINGS: Final = "recording_ids"
_ERROR_MODEL: Final = "error_model"
Checksums = Mapping[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """What a model's name is bound to, and its versions, oldest first.

    ``schema`` is without settings, which are those of a version; versions that no tracer named have none.
    """

    model_name: str
    schema: ModelSchema
    versions: tuple[str, ...]
    settings: Mapping[str, Mapping[str, Any]]

    def schema_of(self, version_name: str) -> ModelSchema:
        """What a tracer of this version would say of the model."""
        return replace(self.schema, settings=self.settings.get(version_name))


@dataclass(frozen=True, slots=True)
class ChecksumRequest:
    """Recordings of a run, and the columns of each kind of their rows that count."""

    run: RunKey
    columns: Mapping[str, tuple[str, ...]]
    recording_ids: pa.Array


@dataclass(frozen=True, slots=True)
class CopiedResult:
    """A result that was made elsewhere, with its error model as it is stored."""

    payload: ResultPayload
    error_model: bytes

    @property
    def checksum(self) -> str:
        """SHA-256 over all of it."""
        return result_checksum(self.payload, self.error_model)


class Copies(Protocol):
    """What copying needs of a place."""

    def models(self, model_name: str | None = None) -> list[KnownModel]:
        """All models, or the one of a name if there is one."""

    def checksums(self, request: ChecksumRequest) -> Checksums:
        """Rows and SHA-256 by kind, of these recordings as they are stored."""

    def result(self, result_name: str) -> CopiedResult:
        """A result, whole."""

    def put_result(self, copied: CopiedResult) -> None:
        """Store a result under its own name; again does no harm.

        Raises:
            InputError: If another result has the name.
        """


class LocalCopies:
    """Implements ``Copies`` in this process.

    Args:
        service: The service whose workspace it is.
    """

    def __init__(self, service: LocalService) -> None:
        self._service = service
        self._workspace = service.workspace

    def models(self, model_name: str | None = None) -> list[KnownModel]:
        """All models, or the one of a name if there is one."""
        metadata = self._workspace.metadata
        names = metadata.model_names() if model_name is None else [model_name]
        found = [row for row in map(metadata.model, names) if row is not None]
        return [_known(metadata, row) for row in found]

    def checksums(self, request: ChecksumRequest) -> Checksums:
        """Rows and SHA-256 by kind, of these recordings as they are stored.

        Raises:
            NotFoundError: If there is no such run or column.
        """
        return {
            kind: rows_checksum(read_kind(self._service, request.run, kind, request.recording_ids, names), names)
            for kind, names in request.columns.items()
        }

    def result(self, result_name: str) -> CopiedResult:
        """A result, whole.

        Raises:
            NotFoundError: If there is none.
        """
        payload = self._service.get_result(result_name)
        return CopiedResult(payload, results.load_error_model(self._workspace, result_name).to_bytes())

    def put_result(self, copied: CopiedResult) -> None:
        """Store a result under its own name; again does no harm.

        Raises:
            InputError: If another result has the name, or it is not whole.
        """
        results.import_result(self._workspace, copied.payload, copied.error_model)


class HttpCopies:
    """Implements ``Copies`` over HTTP.

    Args:
        service: The service at the server.
    """

    def __init__(self, service: HttpService) -> None:
        self._service = service
        self._transport = service.transport

    def models(self, model_name: str | None = None) -> list[KnownModel]:
        """All models, or the one of a name if there is one."""
        params = None if model_name is None else {"model_name": model_name}
        body = parse_body(ModelsBody, self._transport.request("GET", wire.MODELS, params=params), "answer")
        return [
            KnownModel(model.model_name, wire.decode_schema(model.schema_), model.versions, model.settings)
            for model in body.models
        ]

    def checksums(self, request: ChecksumRequest) -> Checksums:
        """Rows and SHA-256 by kind, of these recordings as they are stored.

        Raises:
            NotFoundError: If there is no such run or column.
        """
        header = {"run": asdict(request.run), "columns": request.columns}
        content = pack(header, {_RECORDINGS: encode_table(pa.table({_RECORDINGS: request.recording_ids}))})
        answer = self._transport.request("POST", wire.CHECKSUM, body=Body(content, wire.FRAMES))
        return parse_body(ChecksumsBody, answer, "answer").checksums

    def result(self, result_name: str) -> CopiedResult:
        """A result, whole.

        Raises:
            NotFoundError: If there is none.
        """
        error_model = self._transport.request("GET", wire.ERROR_MODEL, params={"result_name": result_name})
        return CopiedResult(self._service.get_result(result_name), error_model)

    def put_result(self, copied: CopiedResult) -> None:
        """Store a result under its own name; again does no harm.

        Raises:
            InputError: If another result has the name.
            TooLargeError: If it is more than the server takes at once.
        """
        header, parts = wire.result_parts(copied.payload)
        content = pack(header, {**parts, _ERROR_MODEL: pa.py_buffer(copied.error_model)})
        self._transport.request("PUT", wire.RESULT, body=Body(content, wire.FRAMES))


def encode_models(found: list[KnownModel]) -> dict[str, Any]:
    """Models as JSON."""
    return {
        "models": [
            {
                "model_name": model.model_name,
                "schema": wire.encode_schema(model.schema),
                "versions": model.versions,
                "settings": model.settings,
            }
            for model in found
        ]
    }


def decode_checksums_request(content: bytes | memoryview, allowance: Allowance | None = None) -> ChecksumRequest:
    """The request of a body.

    Raises:
        InputError: If the body cannot be right.
        TooLargeError: If it names more recordings than is allowed.
    """
    header, parts = unpack(content)
    body = parse_body(ChecksumBody, header)
    if set(parts) != {_RECORDINGS}:
        raise InputError(f"body: expected one part, {_RECORDINGS}, got {sorted(parts)}")
    recordings = wire.decode_recordings(parts[_RECORDINGS], allowance)
    return ChecksumRequest(RunKey(body.run.model_name, body.run.version_name), body.columns, recordings)


def decode_copied_result(content: bytes | memoryview, allowance: Allowance | None = None) -> CopiedResult:
    """The result of a body.

    Raises:
        InputError: If the body cannot be right.
        TooLargeError: If its tables take more than is allowed.
    """
    header, parts = unpack(content)
    error_model = parts.pop(_ERROR_MODEL, None)
    if error_model is None:
        raise InputError(f"body: expected a part {_ERROR_MODEL}, got {sorted(parts)}")
    return CopiedResult(wire.result_of(header, parts, allowance), bytes(error_model))


def _known(metadata: Metadata, row: ModelRow) -> KnownModel:
    name = row.model_name
    return KnownModel(name, _schema(row), tuple(metadata.versions(name)), metadata.settings_by_version(name))


def _schema(row: ModelRow) -> ModelSchema:
    def fields(found: Mapping[str, str]) -> tuple[Field, ...]:
        return tuple(Field(name, kind) for name, kind in found.items())

    return ModelSchema(
        row.task,
        row.architecture_hash,
        row.n_features,
        row.n_classes,
        fields(row.fields),
        fields(row.label_fields),
        row.architecture,
    )
