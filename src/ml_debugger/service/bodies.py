"""The JSON of requests and answers over HTTP: strict models, which refuse unknown keys and name what is wrong.

One model per dataclass of ``service.contract``; a test holds their fields equal. Rows are not JSON: see
``service.wire``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_debugger.errors import InputError

__all__ = [
    "AppendHeader",
    "ChecksumBody",
    "ChecksumsBody",
    "EndBody",
    "EvaluationBody",
    "JobBody",
    "KeyBody",
    "ModelBody",
    "ModelsBody",
    "QueryAnswerBody",
    "QueryBody",
    "RunBody",
    "ScanBody",
    "SchemaBody",
    "SelectorBody",
    "WarningBody",
    "parse_body",
]

Name = Annotated[str, Field(max_length=1024)]
Text = Annotated[str, Field(max_length=65_536)]
Epoch = int | Literal["latest", "all"] | None
Value = bool | int | float | Text
Settings = Annotated[dict[Name, Value | Annotated[list[Value], Field(max_length=1000)]], Field(max_length=100)]
Body = TypeVar("Body", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class RunBody(_Strict):
    """Names of a run."""

    model_name: Name
    version_name: Name


class FieldBody(_Strict):
    """One additional column."""

    name: Name
    type: Name


class SchemaBody(_Strict):
    """What a model is."""

    task: Name
    architecture_hash: Name
    n_features: int | None = None
    n_classes: int | None = None
    fields: Annotated[tuple[FieldBody, ...], Field(max_length=1000)] = ()
    label_fields: Annotated[tuple[FieldBody, ...], Field(max_length=1000)] | None = None
    architecture: Text | None = None
    settings: Settings | None = None


class AppendHeader(_Strict):
    """An append, but for its tables."""

    batch_id: Annotated[str, Field(min_length=1, max_length=256)]
    run: RunBody
    schema_: SchemaBody = Field(alias="schema")
    recreate: bool = False
    completes: bool = False


class ScanBody(_Strict):
    """A scan, but for the recordings that it is narrowed to."""

    run: RunBody
    kind: Name
    columns: Annotated[tuple[Name, ...], Field(max_length=4096)] | None = None
    dataset_types: Annotated[tuple[Name, ...], Field(max_length=4096)] | None = None
    n_epoch: Epoch = "all"
    weights_hash: Name | None = None
    pass_id: Name | None = None
    result_name: Name | None = None
    pool_adaptive: bool = False
    every_recording: bool = False


class EvaluationBody(_Strict):
    """An evaluation; ``request_id`` is the client's: the same one again is answered by the same job."""

    run: RunBody
    method_name: Name = "default"
    result_name: Name | None = None
    n_epoch: Epoch = "latest"
    options: dict[str, Any] | None = None
    request_id: Annotated[str, Field(min_length=1, max_length=256)] | None = None


class QueryBody(_Strict):
    """A query."""

    run: RunBody
    result_name: Name
    n_data: int
    strategy: Name | dict[str, Any]
    sampling: dict[str, Any] | None = None
    dataset_type: Name = "pool"
    n_epoch: Epoch = "all"
    weights_hash: Name | None = None
    pass_id: Name | None = None
    exclude: tuple[str, ...] = ()
    seed: int = 0
    pool_adaptive: bool = False
    include_empty: bool = False
    box_budget: int | None = None


class SelectorBody(_Strict):
    """Which results: the parameters of the calls that list them and give one."""

    model_name: Name | None = None
    version_name: Name | None = None
    result_name: Name | None = None
    method_name: Name | None = None
    n_epoch: Epoch = "latest"


class WarningBody(_Strict):
    """A warning that the service gave: the name of its class, and what it says."""

    category: str
    message: str


class QueryAnswerBody(_Strict):
    """What a query selected."""

    input_ids: tuple[str, ...]
    id_kinds: tuple[str, ...]
    rank_values: tuple[float | None, ...]
    shortfall: str | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[WarningBody, ...] = ()


class ErrorBody(_Strict):
    """An error: a stable short name, and what to do."""

    code: str
    message: str


class JobBody(_Strict):
    """An evaluation in progress. ``result_name`` is set when it is done, ``error`` when it failed or was cancelled."""

    job_id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    stage: str = ""
    fraction: float = 0.0
    result_name: str | None = None
    error: ErrorBody | None = None
    warnings: tuple[WarningBody, ...] = ()
    created_at: str | None = None
    completed_at: str | None = None


class KeyBody(_Strict):
    """What a server says to a key: whose it is, what it may do, and how much it takes at once."""

    organisation: str
    scope: Literal["read", "write", "admin"]
    expires_at: str | None = None
    server_version: str
    max_body_bytes: int


class ModelBody(_Strict):
    """What a model's name is bound to, its versions, oldest first, and settings by version where a tracer had any."""

    model_name: str
    schema_: SchemaBody = Field(alias="schema")
    versions: tuple[str, ...]
    settings: dict[str, Settings] = {}


class ModelsBody(_Strict):
    """Models by name."""

    models: tuple[ModelBody, ...]


class EndBody(_Strict):
    """How rows ended: complete, after so many, or early with an error."""

    rows: int
    warnings: tuple[WarningBody, ...] = ()
    error: ErrorBody | None = None


class ChecksumBody(_Strict):
    """Columns by kind of rows, over which to make checksums; the recordings are beside it."""

    run: RunBody
    columns: dict[Name, Annotated[tuple[Name, ...], Field(max_length=4096)]]


class ChecksumsBody(_Strict):
    """Rows and checksum (SHA-256) by kind."""

    checksums: dict[str, tuple[int, str]]


def parse_body(model: type[Body], content: bytes | str | dict[str, Any], what: str = "body") -> Body:
    """JSON, or what was made of it, as a model.

    Raises:
        InputError: If it is not JSON, or a key is unknown, missing or of another type; the message names the key.
    """
    try:
        if isinstance(content, dict):
            # through JSON: lists are tuples there, and nowhere else
            import json

            content = json.dumps(content)
        return model.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"{what}: {_told(error)}") from None


def _told(error: ValidationError) -> str:
    """The first few things that are wrong, without the values that came: they may be long, or secret."""
    told = [
        f"{'.'.join(str(part) for part in found['loc']) or 'content'}: {found['msg']}"
        for found in error.errors(include_url=False, include_input=False)[:5]
    ]
    return "; ".join(told)
