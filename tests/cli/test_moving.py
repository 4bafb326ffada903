"""``push``, ``pull`` and ``sync`` against a real server, as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ml_debugger.cli import app
from ml_debugger.connect import connect
from ml_debugger.errors import InputError
from ml_debugger.service.contract import AppendRequest, EvaluationRequest
from ml_debugger.service.spool import open_spool
from tests.helpers.labelled import LABELLED_SCHEMA, labelled_tables
from tests.helpers.rows import RUN, SCHEMA, append, ids_of, make_tables, scan
from tests.helpers.server import RunningServer

pytestmark = pytest.mark.filterwarnings("ignore::ml_debugger.errors.EvaluationWarning")


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_a_run_goes_to_a_server_and_comes_back_elsewhere(served: RunningServer, tmp_path: Path) -> None:
    here, elsewhere = str(tmp_path / "here"), str(tmp_path / "elsewhere")
    service = connect("", home=here).service
    for seed, tag in enumerate(("train", "val")):
        append(service, labelled_tables(60, tag, seed=seed), schema=LABELLED_SCHEMA)
    service.evaluate(EvaluationRequest(RUN, result_name="mine", options={"bootstrap": 20}))
    pushed = run("push", "model", "v1", "--home", here)
    assert (pushed.exit_code, pushed.stdout) == (0, "")
    assert "120 rows of inputs, 120 rows of records, 120 rows of truths copied to" in pushed.stderr
    assert f"result mine is at {served.endpoint}" in pushed.stderr
    again = run("push", "model", "v1", "--home", here)
    assert "0 rows of inputs" in again.stderr
    assert "120 inputs were there already" in again.stderr
    models = run("models")
    assert [line.split() for line in models.stdout.splitlines()][2] == ["model", "classification", "v1", "1", "mine"]
    pulled = run("pull", "model", "v1", "--home", elsewhere, "--endpoint", served.endpoint)
    assert pulled.exit_code == 0, pulled.stderr
    there = connect("", home=elsewhere).service
    for kind in ("inputs", "records", "truths"):
        assert scan(there, kind).equals(scan(service, kind))
    assert run("show", "mine", "--home", elsewhere).stdout == run("show", "mine").stdout
    assert run("show", "mine", "--home", here).stdout == run("show", "mine").stdout


def test_a_result_alone(served: RunningServer, tmp_path: Path) -> None:
    here = str(tmp_path / "here")
    service = connect("", home=here).service
    append(service, labelled_tables(60, "val"), schema=LABELLED_SCHEMA)
    service.evaluate(EvaluationRequest(RUN, result_name="mine", options={"bootstrap": 20}))
    assert run("push", "model", "v1", "--result", "mine", "--home", here).exit_code == 0
    assert run("show", "mine").exit_code == 0
    assert "No model was traced" in run("models").stderr


def test_trouble_is_told(served: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = run("push", "model", "v1", "--home", str(tmp_path / "nowhere"))
    assert (nothing.exit_code, "no workspace at" in nothing.stderr) == (1, True)
    unknown = run("pull", "model", "v1", "--home", str(tmp_path / "here"))
    assert (unknown.exit_code, "nothing was recorded for 'model'" in unknown.stderr) == (1, True)
    monkeypatch.delenv("MLD_API_ENDPOINT")
    unnamed = run("pull", "model", "v1", "--home", str(tmp_path / "here"))
    assert (unnamed.exit_code, "--endpoint or in MLD_API_ENDPOINT" in unnamed.stderr) == (1, True)


def spool_of(endpoint: str, organisation: str, *ids: str, version: str = "v1") -> None:
    tables = make_tables(ids, labels=[0] * len(ids), version=version)
    open_spool(endpoint, organisation).put(AppendRequest(f"batch-{ids[0]}", RUN, SCHEMA, tables))


def test_what_waits_is_shown_and_sent(served: RunningServer, organisation: str) -> None:
    assert run("sync").stderr == run("sync", "--list").stderr == "Nothing waits.\n"
    append(connect().service, make_tables(["there"], labels=[0]))
    spool_of(served.endpoint, organisation, "a", "b")
    spool_of(served.endpoint, organisation, "c")
    shown = run("sync", "--list")
    assert [line.split()[:5] for line in shown.stdout.splitlines()[2:]] == [
        [served.endpoint, organisation, "model", "v1", "6"],
        [served.endpoint, organisation, "model", "v1", "3"],
    ]
    sent = run("sync")
    assert (sent.exit_code, "9 rows are stored" in sent.stderr) == (0, True)
    assert ids_of(scan(connect().service)) == ["a", "b", "c", "there"]
    assert run("sync").stderr == "Nothing waits.\n"


def test_what_is_refused_for_good_is_put_aside_and_the_rest_is_sent(served: RunningServer, organisation: str) -> None:
    spool_of(served.endpoint, organisation, "wrong", version="v2")
    spool_of(served.endpoint, organisation, "right")
    sent = run("sync")
    assert sent.exit_code == 1
    assert "3 rows are stored" in sent.stderr
    assert "refused for good, put aside in" in sent.stderr
    shown = run("sync", "--list").stdout
    assert "version_name 'v1' of its run" in shown
    assert ids_of(scan(connect().service)) == ["right"]


def test_rows_of_another_organisation_are_not_sent_with_this_key(served: RunningServer, organisation: str) -> None:
    append(connect().service, make_tables(["there"]))
    spool_of(served.endpoint, "another-team", "secret")
    spool_of(served.endpoint, organisation, "mine")
    sent = run("sync")
    assert sent.exit_code == 1
    assert "the key in MLD_API_KEY is of another organisation" in sent.stderr
    assert "3 rows are stored" in sent.stderr, "one that cannot be sent keeps nobody else from it"
    assert ids_of(scan(connect().service)) == ["mine", "there"]
    assert len(open_spool(served.endpoint, "another-team").entries()) == 1


def test_a_server_that_is_still_away_is_told_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLD_API_RETRIES", "0")
    monkeypatch.setenv("MLD_API_KEY", "mldbg_x")
    spool_of("http://127.0.0.1:1", "team", "a")
    sent = run("sync")
    assert sent.exit_code == 1
    assert "nobody answers at http://127.0.0.1:1" in sent.stderr
    assert "1 files wait in" in sent.stderr
    assert len(open_spool("http://127.0.0.1:1", "team").entries()) == 1


def test_what_another_program_sends_meanwhile_is_no_trouble(served: RunningServer, organisation: str) -> None:
    from ml_debugger.service.syncing import send

    spool = open_spool(served.endpoint, organisation)
    spool_of(served.endpoint, organisation, "a")
    spool_of(served.endpoint, organisation, "b")
    service = connect().service
    sent = send(spool, service, lambda done, total: spool.entries()[-1].discard() if not done else None)
    assert (sent.n_rows, sent.refused) == (3, [])
    spool_of(served.endpoint, organisation, "c")
    (entry,) = spool.entries()
    entry.refuse(InputError("no"))
    with pytest.raises(InputError, match="refused"):
        entry.load()
