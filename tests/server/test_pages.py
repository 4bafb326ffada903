"""Pages for a browser: the key is shown once, in a form, and stays out of addresses, pages and logs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from ml_debugger.service.contract import RunKey
from ml_debugger.service.local import LocalService
from ml_debugger.store import open_store
from tests.helpers.labelled import LABELLED_SCHEMA, labelled_tables
from tests.helpers.rows import RUN, append
from tests.helpers.server import RunningServer
from tests.server.conftest import client_of
from tests.server.test_rows import error_of

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
ODD = "odd <script>alert(1)</script> / ../é"


@pytest.fixture(scope="module")
def shown(server: RunningServer) -> str:
    """An organisation with two results, made in process in the same workspace."""
    from ml_debugger.service.contract import EvaluationRequest

    server.new_key("shown")
    service = LocalService(open_store(server.location).of("shown"))
    for dataset_type, seed in (("train", 0), ("val", 1)):
        append(service, labelled_tables(60, dataset_type, seed=seed), schema=LABELLED_SCHEMA)
    for name in ("plain", ODD):
        service.evaluate(EvaluationRequest(RUN, result_name=name, options={"bootstrap": 20}))
    return "shown"


@pytest.fixture
def browser(server: RunningServer, shown: str) -> Iterator[httpx.Client]:
    """Signed in."""
    with httpx.Client(base_url=server.endpoint, headers=BROWSER, timeout=60) as browser:
        answer = browser.post("/login", data={"key": server.new_key(shown, "read"), "next": "/results/plain"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/results/plain")
        yield browser


def test_who_has_not_signed_in_is_led_to_the_form(server: RunningServer) -> None:
    with httpx.Client(base_url=server.endpoint, headers=BROWSER) as stranger:
        assert stranger.get("/").headers["location"] == "/results"
        answer = stranger.get("/results/plain")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/results/plain")
        form = stranger.get(answer.headers["location"])
        assert 'name="next" value="/results/plain"' in form.text
        assert 'type="password"' in form.text
        assert "mldebugger_session" not in form.headers.get("set-cookie", "")


def test_the_cookie_is_no_key_and_stays_with_the_browser(server: RunningServer) -> None:
    key = server.new_key("cookies", "read")
    with httpx.Client(base_url=server.endpoint, headers=BROWSER) as browser:
        cookie = browser.post("/login", data={"key": f" {key} "}).headers["set-cookie"]
    assert key not in cookie
    assert key.rpartition("_")[2] not in cookie
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie.split("; ")  # this server speaks plain HTTP


def test_a_report_is_shown(browser: httpx.Client) -> None:
    page = browser.get("/results/plain")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "plain" in page.text
    assert "stable_coverage" in page.text
    assert page.text.count("data:image/svg+xml") >= 3
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert browser.get("/results/plain").text == page.text


def test_results_are_listed_whatever_they_are_called(browser: httpx.Client) -> None:
    page = browser.get("/results").text
    assert "<script>" not in page
    links = re.findall(r'href="(/results/[^"]+)"', page)
    assert len(links) == 2
    for link in links:
        answer = browser.get(link)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text


def test_what_is_not_there_is_a_page_too(browser: httpx.Client, server: RunningServer) -> None:
    for name in ("nothing", "../plain", "%2e%2e/metadata.db", "plain/", "a%00b", "%0d%0aSet-Cookie:x"):
        page = browser.get(f"/results/{name}")
        assert page.status_code in (404, 422), name
        assert "This report cannot be shown" in page.text or page.json()["error"]["code"] == "not_found"
        assert server.location not in page.text
        assert page.headers.get("set-cookie") is None


def test_programs_use_their_header(server: RunningServer, shown: str) -> None:
    with client_of(server, server.new_key(shown, "read")) as program:
        assert program.get("/results/plain").status_code == 200
        assert error_of(program.get("/results/nothing"))[:2] == (404, "not_found")
    with client_of(server, None, "127.0.0.5") as stranger:
        assert error_of(stranger.get("/results/plain"))[:2] == (401, "key_refused")


def test_a_session_is_for_pages_alone(browser: httpx.Client) -> None:
    """What a cookie allows, other sites might ask a browser to do."""
    assert browser.get("/v1/key").status_code == 401
    assert browser.post("/v1/append", content=b"").status_code == 401


def test_signing_out_ends_the_session(browser: httpx.Client) -> None:
    token = browser.cookies["mldebugger_session"]
    assert browser.post("/logout").headers["location"] == "/login"
    browser.cookies.set("mldebugger_session", token)
    assert browser.get("/results").status_code == 303
    browser.cookies.clear()
    assert browser.post("/logout").status_code == 303  # twice does no harm


def test_a_session_ends_with_its_key(server: RunningServer, organisation: str) -> None:
    with (
        client_of(server, server.new_key(organisation, "admin")) as chief,
        httpx.Client(base_url=server.endpoint, headers=BROWSER) as browser,
    ):
        made = chief.post("/v1/keys", json={"name": "anna"}).json()
        browser.post("/login", data={"key": made["key"]})
        assert "No result yet" in browser.get("/results").text
        chief.delete(f"/v1/keys/{made['key_id']}")
        assert browser.get("/results").status_code == 303


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_forms_of_other_sites_are_not_taken(server: RunningServer, site: str) -> None:
    key = server.new_key("forms", "read")
    for path in ("/login", "/logout"):
        answer = httpx.post(f"{server.endpoint}{path}", data={"key": key}, headers={"Sec-Fetch-Site": site})
        assert error_of(answer)[:2] == (401, "key_refused")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 401),
        ("null", 401),
        ("http://[", 401),
        ("http://127.0.0.1.evil.example", 401),
        ("http://127.0.0.1", 303),
        ("https://127.0.0.1:8443", 303),
        (None, 303),
    ],
)
def test_without_tls_the_origin_of_a_form_counts(server: RunningServer, origin: str | None, status: int) -> None:
    """Browsers send nothing else there."""
    key = server.new_key("origins", "read")
    headers = {} if origin is None else {"Origin": origin}
    assert httpx.post(f"{server.endpoint}/login", data={"key": key}, headers=headers).status_code == status
    near = {**headers, "Sec-Fetch-Site": "same-origin"}
    assert httpx.post(f"{server.endpoint}/login", data={"key": key}, headers=near).status_code == 303


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example",
        "//evil.example",
        "/results//evil.example",
        "/results\\evil.example",
        "javascript:alert(1)",
        "/v1/keys",
        "/results\r\nX: y",
        '/results"><script>',
    ],
)
def test_the_form_leads_nowhere_else(server: RunningServer, wanted: str) -> None:
    key = server.new_key("leads", "read")
    with httpx.Client(base_url=server.endpoint) as browser:
        form = browser.get("/login", params={"next": wanted})
        assert "<script>" not in form.text
        assert "evil" not in form.text
        answer = browser.post("/login", data={"key": key, "next": wanted})
        assert answer.headers["location"].startswith("/results")
        assert "evil" not in answer.headers["location"]
        assert "x" not in answer.headers


def test_a_refused_key_is_told_in_the_form(server: RunningServer) -> None:
    transport = httpx.HTTPTransport(local_address="127.0.0.6")
    with httpx.Client(base_url=server.endpoint, transport=transport) as browser:
        answer = browser.post("/login", data={"key": "<b>mldbg_no</b>"})
        assert answer.status_code == 401
        assert "not one of this server" in answer.text
        assert "<b>mldbg_no" not in answer.text
        assert browser.post("/login", content=b"key=" + b"x" * 5000).status_code == 413
        assert browser.post("/login", content=b"\xff\xfe&&&&&&&&&").status_code in (401, 422)


def test_two_people_who_draw_at_once_both_see_their_report(server: RunningServer, shown: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from ml_debugger.service.contract import EvaluationRequest

    service = LocalService(open_store(server.location).of(shown))
    names = [
        service.evaluate(EvaluationRequest(RunKey("model", "v1"), options={"bootstrap": 20})).info["result_name"]
        for _ in range(2)
    ]
    with client_of(server, server.new_key(shown, "read")) as program, ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: program.get(f"/results/{name}"), names))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(name in answer.text for name, answer in zip(names, answers, strict=True))
