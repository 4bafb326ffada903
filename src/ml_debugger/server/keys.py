"""Routes of keys: an organisation's administrators manage its keys, and no others."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from ml_debugger.server.auth import Administrator, server_of
from ml_debugger.server.bodies import SMALL, received
from ml_debugger.server.description import answers, json_answer, json_body
from ml_debugger.server.names import check_text
from ml_debugger.server.threads import quickly
from ml_debugger.service.bodies import parse_body
from ml_debugger.store.keys import KeyRow
from ml_debugger.store.metadata import utc_now
from ml_debugger.store.organisations import shown_organisation

__all__ = ["router"]

router = APIRouter(tags=["keys"])


class NewKey(BaseModel):
    """A key that is wanted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1, max_length=100)]
    scope: Literal["read", "write", "admin"] = "write"
    expires_days: Annotated[float, Field(gt=0, le=36500)] | None = None


class KeyAnswer(BaseModel):
    """What is known of a key."""

    key_id: str
    organisation: str
    name: str
    scope: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class CreatedKey(KeyAnswer):
    """A new key, this once."""

    key: str


class KeyList(BaseModel):
    """Keys of the organisation, oldest first."""

    keys: list[KeyAnswer]


@router.get("/v1/keys", responses=answers(json_answer(KeyList, "The keys, without what opens doors.")))
async def list_keys(request: Request, key: Administrator) -> JSONResponse:
    """List the keys of the organisation."""
    rows = await quickly(request, server_of(request).keys.list, key.organisation)
    return JSONResponse({"keys": [_answer(row) for row in rows]})


@router.post(
    "/v1/keys",
    status_code=201,
    responses=answers(json_answer(CreatedKey, "The key, this once."), 201),
    openapi_extra=json_body(NewKey),
)
async def create_key(request: Request, key: Administrator) -> JSONResponse:
    """Make a key of the same organisation. It is shown in this answer and never again."""
    server = server_of(request)
    async with received(request, SMALL) as content:
        wanted = parse_body(NewKey, bytes(content))
    check_text(wanted.name)
    days = wanted.expires_days
    expires_at = None if days is None else utc_now() + datetime.timedelta(days=days)
    made, row = await quickly(request, server.keys.create, key.organisation, wanted.name, wanted.scope, expires_at)
    return JSONResponse({**_answer(row), "key": made}, 201)


@router.delete("/v1/keys/{key_id}", responses=answers(json_answer(KeyAnswer, "The key, revoked.")))
async def revoke_key(request: Request, key: Administrator, key_id: str) -> JSONResponse:
    """Have a key of the organisation refused from now on."""
    check_text(key_id)
    row = await quickly(request, server_of(request).keys.revoke, key_id, key.organisation)
    return JSONResponse(_answer(row))


def _answer(row: KeyRow) -> dict[str, Any]:
    def moment(value: datetime.datetime | None) -> str | None:
        return None if value is None else value.isoformat()

    return {
        "key_id": row.key_id,
        "organisation": shown_organisation(row.organisation),
        "name": row.name,
        "scope": row.scope,
        "created_at": moment(row.created_at),
        "expires_at": moment(row.expires_at),
        "revoked_at": moment(row.revoked_at),
    }
