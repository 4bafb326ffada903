"""Routes of evaluations, which are jobs."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from ml_debugger.errors import EvaluationCancelledError
from ml_debugger.server.auth import Reader, Writer, server_of
from ml_debugger.server.bodies import SMALL, received
from ml_debugger.server.description import answers, json_answer, json_body
from ml_debugger.server.names import check_text
from ml_debugger.server.threads import quickly
from ml_debugger.service import wire
from ml_debugger.service.bodies import EvaluationBody, JobBody, parse_body
from ml_debugger.service.error_bodies import encode_error
from ml_debugger.store.jobs import JobRow

__all__ = ["router"]

router = APIRouter(tags=["evaluations"])


@router.post(
    wire.EVALUATE,
    status_code=202,
    responses=answers(json_answer(JobBody, "The job that will do it."), 202),
    openapi_extra=json_body(EvaluationBody),
)
async def evaluate(request: Request, key: Writer) -> JSONResponse:
    """Have a run's labelled rows evaluated. The same ``request_id`` again is answered by the same job."""
    server = server_of(request)
    async with received(request, SMALL) as content:
        body = parse_body(EvaluationBody, bytes(content))
    wanted = json.loads(body.model_dump_json())
    check_text(wanted)
    job = await quickly(request, server.jobs.submit, key.organisation, key.key_id, wanted)
    request.app.state.runner.wake()
    return JSONResponse(_body(job), 202, {"Location": f"{wire.JOBS}/{job.job_id}"})


@router.get(wire.JOBS + "/{job_id}", responses=answers(json_answer(JobBody, "The job as it is.")))
async def get_job(request: Request, key: Reader, job_id: str) -> JSONResponse:
    """How far an evaluation is, and how it ended."""
    job = await quickly(request, server_of(request).jobs.get, key.organisation, _checked(job_id))
    return JSONResponse(_body(job))


@router.delete(wire.JOBS + "/{job_id}", responses=answers(json_answer(JobBody, "The job, ended.")))
async def cancel_job(request: Request, key: Writer, job_id: str) -> JSONResponse:
    """Have an evaluation end. One that has ended stays as it is."""
    why = EvaluationCancelledError(f"cancelled with the key {key.key_id} ({key.name})")
    told = encode_error(why)["error"]
    job = await quickly(request, server_of(request).jobs.cancel, key.organisation, _checked(job_id), told)
    request.app.state.runner.wake()
    return JSONResponse(_body(job))


def _checked(job_id: str) -> str:
    check_text(job_id)
    return job_id


def _body(job: JobRow) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "state": job.state,
        "stage": job.stage,
        "fraction": job.fraction,
        "result_name": job.result_name,
        "error": job.error,
        "warnings": list(job.warnings),
        "created_at": job.created_at.isoformat(),
        "completed_at": None if job.completed_at is None else job.completed_at.isoformat(),
    }
