"""Pages for a browser: sign in with a key, the list of results, a result's report, and what the server understands.

A browser cannot send a header by itself, and a key in an address would stand in histories and logs. So a person shows
the key once, in a form, and gets a cookie that scripts cannot read, other sites cannot use, and that stands for the key
for some hours: until then, or until the key is revoked.
"""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from ml_debugger.errors import InputError, LicenseError, MLDebuggerError
from ml_debugger.evaluator import Result
from ml_debugger.server.auth import SESSION_COOKIE, key_of, server_of, verify_key
from ml_debugger.server.bodies import received
from ml_debugger.server.names import check_text
from ml_debugger.server.state import ServerState
from ml_debugger.server.templating import DOCS, LOGIN, MESSAGE, RESULTS, render
from ml_debugger.server.threads import at_length, quickly
from ml_debugger.store.keys import KeyRow
from ml_debugger.store.organisations import shown_organisation

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_LIFETIME: Final = datetime.timedelta(hours=12)
_FORM_BYTES: Final = 4096
_KEPT_REPORTS: Final = 8
# Reports bring their styles and pictures with them; nothing is fetched and no script runs.
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
_LATEST: Final = 500


@router.get("/")
async def root() -> Response:
    """Where a browser begins."""
    return RedirectResponse("/results", 303)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """What the server understands, for people; /openapi.json is the same for programs."""
    return _page(render(DOCS, api=request.app.openapi()))


@router.get("/login")
async def login_form(request: Request) -> Response:
    """The form that takes a key."""
    return _page(render(LOGIN, next=_next_page(request.query_params.get("next", "")), error=""))


@router.post("/login")
async def login(request: Request) -> Response:
    """Take a key, give a session."""
    _check_same_site(request)
    async with received(request, _FORM_BYTES) as content:
        fields = _fields(bytes(content))
    target = _next_page(fields.get("next", [""])[0])
    server = server_of(request)
    try:
        row = await verify_key(request, fields.get("key", [""])[0].strip())
    except LicenseError as error:
        return _page(render(LOGIN, next=target, error=str(error)), error.status)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        SESSION_COOKIE,
        await quickly(request, server.keys.open_session, row, _LIFETIME),
        max_age=int(_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=server.config.secure_cookies or request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
async def logout(request: Request) -> Response:
    """End the session."""
    _check_same_site(request)
    token = request.cookies.get(SESSION_COOKIE)
    if token:
        await quickly(request, server_of(request).keys.close_session, token)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(SESSION_COOKIE)
    return answer


@router.get("/results")
async def list_of_results(request: Request) -> Response:
    """The results of the key's organisation, newest first."""
    key = await _visitor(request)
    if isinstance(key, Response):
        return key
    metadata = server_of(request).place(key.organisation).metadata
    found = (await at_length(request, metadata.results))[::-1]
    rows = [
        {
            "name": row.result_name,
            "link": f"/results/{quote(row.result_name, safe='')}",
            "model": row.model_name,
            "version": row.version_name,
            "completed": f"{row.completed_at:%Y-%m-%d %H:%M} UTC",
            "n_samples": row.info.get("n_samples"),
            "error_rate": row.info.get("error_rate"),
        }
        for row in found[:_LATEST]
    ]
    organisation = shown_organisation(key.organisation)
    return _page(render(RESULTS, rows=rows, left_out=max(0, len(found) - _LATEST), organisation=organisation, key=key))


@router.get("/results/{result_name:path}")
async def report(request: Request, result_name: str) -> Response:
    """A result's report."""
    key = await _visitor(request)
    if isinstance(key, Response):
        return key
    server = server_of(request)
    try:
        check_text(result_name)
        return _page(await at_length(request, _report, server, key.organisation, result_name))
    except MLDebuggerError as error:
        if not _is_browser(request):
            raise
        told = str(server.without_places(error))
        return _page(render(MESSAGE, title="This report cannot be shown", message=told), error.status)


def _report(server: ServerState, organisation: str, result_name: str) -> str:
    """The report as HTML. Results never change: the last few reports are kept, by organisation and name."""
    service = server.service(organisation)
    payload = service.get_result(result_name)
    of = (organisation, result_name, str(payload.info["completed_at"]))
    if of in server.reports:
        return server.reports[of]
    with server.gates.pages.through(), server.drawing:  # pictures are drawn in a theme that is the process's own
        reports = server.reports
        if of not in reports:
            with tempfile.TemporaryDirectory() as folder:
                reports[of] = Result(payload).report(Path(folder) / "report.html").read_text(encoding="utf-8")
        reports.move_to_end(of)
        while len(reports) > _KEPT_REPORTS:
            reports.popitem(last=False)
        return reports[of]


async def _visitor(request: Request) -> KeyRow | Response:
    """Who looks: by the header, as programs do, or by the session; else the way to the form.

    Raises:
        LicenseError: If neither is there or right, and it is no browser.
    """
    token = request.cookies.get(SESSION_COOKIE)
    try:
        if token is None or "authorization" in request.headers:
            return await key_of(request, "read")
        request.state.key = await quickly(request, server_of(request).keys.verify_session, token)
    except LicenseError:
        if not _is_browser(request):
            raise
        return RedirectResponse(f"/login?next={quote(request.url.path, safe='/')}", 303)
    row: KeyRow = request.state.key
    return row


def _fields(content: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(content.decode(), max_num_fields=4)
    except ValueError:
        raise InputError("body: expected the form of /login") from None


def _page(html: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(html, status, {"Content-Security-Policy": _POLICY})


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and "authorization" not in request.headers


def _next_page(wanted: str) -> str:
    """Where to go after the form: a page of results, nowhere else."""
    is_ours = wanted.startswith("/results") and "\\" not in wanted and "//" not in wanted and wanted.isprintable()
    return quote(wanted, safe="/%") if is_ours else "/results"


def _check_same_site(request: Request) -> None:
    """Forms of other sites are not taken; browsers say where a form comes from.

    Without TLS they do not say how near that is, only the origin, of which a proxy may have changed the port.

    Raises:
        LicenseError: If it comes from elsewhere.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        is_ours = site in ("same-origin", "none")
    else:
        is_ours = origin is None or _host_of(origin) == _host_of(f"//{request.headers.get('host', '')}")
    if not is_ours:
        raise LicenseError("the form comes from another site; open /login of this server")


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
