"""The command line: what goes to which stream, with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import pytest
from typer.testing import CliRunner

from ml_debugger import __version__
from ml_debugger import connect as connect_module
from ml_debugger.cli import app
from ml_debugger.errors import ShortResultWarning
from ml_debugger.selection.strategies import STRATEGIES
from ml_debugger.service.contract import QueryAnswer, RunKey
from ml_debugger.store import open_store
from tests.helpers.fake_service import FakeConnection, FakeService
from tests.helpers.payloads import make_payload

RESULT = "toy_v1_classification_v1_20260102"
COMMANDS = ("demo", "models", "results", "show", "report", "query", "export")


@pytest.fixture
def service(monkeypatch):
    made = FakeService(make_payload(), QueryAnswer(("7", "3", "11"), ("int", "int", "int"), (0.9, 0.8, 0.7)))
    homes = []

    def connect(home=None, create=True):
        assert not create
        homes.append(home)
        return FakeConnection(made)

    monkeypatch.setattr(connect_module, "connect", connect)
    made.homes = homes
    return made


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})


def request_of(service, call="query"):
    return next(request for name, request in service.calls if name == call)


class TestHelp:
    def test_names_every_command_and_exit_code(self):
        shown = run("--help")
        assert shown.exit_code == 0
        for command in COMMANDS:
            assert command in shown.output
        for meaning in ("0 done", "1 it could not be done", "2 the command line is wrong"):
            assert meaning in shown.output

    @pytest.mark.parametrize("command", COMMANDS)
    def test_each_command_has_its_own(self, command):
        shown = run(command, "--help")
        assert shown.exit_code == 0
        assert "--home" in shown.output

    def test_the_demo_names_its_extra(self):
        assert "ml-debugger[demo]" in run("demo", "--help").output

    def test_lists_the_strategies_there_are(self):
        shown = " ".join(run("query", "--help").output.split())
        assert [name for name in STRATEGIES if name not in shown] == []

    def test_no_command_shows_help(self):
        assert "Commands" in run().output

    def test_version(self):
        assert run("--version").output.strip() == __version__


class TestLooking:
    def test_results_are_a_table_on_stdout(self, service):
        shown = run("results", "toy", "v1", "--home", "here")
        assert shown.exit_code == 0
        lines = shown.stdout.splitlines()
        assert lines[0].split() == ["result", "method", "epoch", "completed", "rows", "error", "rate"]
        assert lines[2].split()[0] == RESULT
        assert service.homes == ["here"]
        assert request_of(service, "list_results") == (RunKey("toy", "v1"), None, None, "all")

    def test_no_results_is_said_on_stderr(self, service, monkeypatch):
        empty = service.list_results().slice(0, 0)
        monkeypatch.setattr(service, "list_results", lambda *_: empty)
        shown = run("results", "toy", "v1")
        assert (shown.exit_code, shown.stdout) == (0, "")
        assert "request an evaluation first" in shown.stderr
        assert "`mldebugger models` for the names" in shown.stderr

    def test_show_prints_the_summary(self, service):
        assert "AUROC" in run("show", RESULT).stdout

    def test_report_prints_the_path(self, service, tmp_path):
        shown = run("report", RESULT, "-o", str(tmp_path / "r.html"))
        assert shown.stdout.strip() == str(tmp_path / "r.html")
        assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


class TestQuery:
    def test_ids_on_stdout_notes_on_stderr(self, service):
        service.answer = QueryAnswer(("7", "b"), ("int", "str"), (0.9, 0.8), "only 2 left", ("one note",))
        shown = run("query", RESULT)
        assert shown.stdout == "7\nb\n"
        assert shown.stderr == "note: one note\nnote: only 2 left\n"

    def test_defaults(self, service):
        run("query", RESULT)
        request = request_of(service)
        assert (request.run, request.result_name, request.n_data) == (RunKey("toy", "v1"), RESULT, 50)
        assert (request.strategy, request.dataset_type, request.seed) == ("high_error_proba", "pool", 0)
        assert (request.n_epoch, request.weights_hash, request.pass_id) == (2, "abc123", None)

    def test_strategy_tag_count_and_seed(self, service):
        run("query", RESULT, "-n", "7", "--strategy", "badge", "--dataset-type", "new", "--seed", "3")
        request = request_of(service)
        assert (request.n_data, request.strategy, request.dataset_type, request.seed) == (7, "badge", "new", 3)

    def test_pool_adaptive_is_off_unless_asked_for(self, service):
        run("query", RESULT)
        run("query", RESULT, "--pool-adaptive")
        asked = [request.pool_adaptive for name, request in service.calls if name == "query"]
        assert asked == [False, True]

    def test_filters(self, service):
        run(
            "query", RESULT, "--zone", "hotspot", "--zone", "critical_hotspot",
            "--where", "error_proba>=0.5, score < 0.7", "--where", "error_proba>0.9",
        )  # fmt: skip
        assert request_of(service).strategy == {
            "target_zones": ["hotspot", "critical_hotspot"],
            "conditions": [{"error_proba": ">=0.5", "score": "< 0.7"}, {"error_proba": ">0.9"}],
        }

    @pytest.mark.parametrize("extra", [["--zone", "hotspot"], ["--where", "score<0.5"]])
    def test_a_filter_and_a_strategy_are_too_much(self, service, extra):
        shown = run("query", RESULT, "--strategy", "badge", *extra)
        assert shown.exit_code == 2
        assert "cannot be combined" in shown.output

    @pytest.mark.parametrize("text", ["score", "", ">=0.5", "score<0.5,,error_proba>1"])
    def test_a_condition_that_does_not_parse_is_a_usage_error(self, service, text):
        shown = run("query", RESULT, "--where", text)
        assert shown.exit_code == 2
        assert "error_proba>=0.5,score<0.7" in shown.output

    def test_no_count_below_one(self, service):
        assert run("query", RESULT, "-n", "0").exit_code == 2


class TestExport:
    def test_json_lines_hold_ranked_ids_with_their_scores(self, service, tmp_path):
        shown = run("export", RESULT, "-o", str(tmp_path / "x.jsonl"), "-n", "3")
        assert shown.exit_code == 0
        rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
        assert [(row["input_id"], row["rank_value"]) for row in rows] == [(7, 0.9), (3, 0.8), (11, 0.7)]
        samples = service.payload.samples.to_pandas().set_index("input_id")
        for row in rows:
            assert row["error_proba"] == pytest.approx(samples.loc[str(row["input_id"]), "error_proba"], abs=1e-9)
            assert row["zone"] == samples.loc[str(row["input_id"]), "zone"]
        scan = request_of(service, "scan")
        assert (scan.kind, scan.result_name, scan.dataset_types) == ("scores", RESULT, ("pool",))

    def test_csv(self, service, tmp_path):
        run("export", RESULT, "-o", str(tmp_path / "x.csv"))
        lines = (tmp_path / "x.csv").read_text().splitlines()
        assert lines[0] == "input_id,rank_value,unit,label,score,error_proba,zone,support"
        assert [line.split(",")[0] for line in lines[1:]] == ["7", "3", "11"]

    def test_nothing_chosen_gives_an_empty_table(self, service, tmp_path, monkeypatch):
        service.answer = QueryAnswer((), (), ())
        monkeypatch.setattr(service, "scan", lambda request: iter(()))
        assert run("export", RESULT, "-o", str(tmp_path / "x.csv")).exit_code == 0
        assert (tmp_path / "x.csv").read_text() == "input_id,rank_value\n"

    def test_other_formats_are_refused_before_any_work(self, service, tmp_path):
        shown = run("export", RESULT, "-o", str(tmp_path / "x.xlsx"))
        assert shown.exit_code == 1
        assert "error: output: expected a name that ends in one of" in shown.stderr
        assert service.calls == []


class TestTrouble:
    def test_our_errors_are_one_line_and_exit_code_1(self, service):
        shown = run("show", "other")
        assert shown.exit_code == 1
        assert shown.stderr == "error: no result 'other'\n"
        assert shown.stdout == ""

    def test_our_warnings_are_one_line_others_stay_as_they_are(self, service, monkeypatch):
        answer = service.answer

        def query(request):
            warnings.warn("only 3 left", ShortResultWarning, stacklevel=1)
            return answer

        monkeypatch.setattr(service, "query", query)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            shown = run("query", RESULT)
        assert shown.stderr == "warning: only 3 left\n"

    def test_unexpected_errors_are_not_hidden(self, service, monkeypatch):
        def fail(request):
            raise ZeroDivisionError

        monkeypatch.setattr(service, "query", fail)
        assert isinstance(run("query", RESULT).exception, ZeroDivisionError)

    def test_usage_errors_are_exit_code_2(self):
        assert run("show").exit_code == 2
        assert run("nonsense").exit_code == 2

    def test_an_endpoint_is_a_clear_error(self, monkeypatch):
        monkeypatch.setenv("MLD_API_ENDPOINT", "http://127.0.0.1:1")
        monkeypatch.setenv("MLD_API_RETRIES", "0")
        shown = run("models")
        assert shown.exit_code == 1
        assert "set MLD_API_KEY" in shown.stderr
        monkeypatch.setenv("MLD_API_KEY", "mldbg_secret")
        shown = run("models")
        assert shown.exit_code == 1
        assert "error: nobody answers at http://127.0.0.1:1" in shown.stderr
        assert "mldbg_secret" not in shown.stderr


class TestModels:
    def test_an_empty_workspace_says_so(self, tmp_path):
        open_store(str(tmp_path))
        shown = run("models", "--home", str(tmp_path))
        assert (shown.exit_code, shown.stdout) == (0, "")
        assert f"No model was traced in the workspace {tmp_path} yet" in shown.stderr


class TestAMisspeltPlace:
    @pytest.mark.parametrize(
        "command",
        [
            ["models"],
            ["results", "m", "v"],
            ["show", "r"],
            ["query", "r"],
            ["report", "r"],
            ["export", "r", "-o", "x.csv"],
        ],
    )
    @pytest.mark.parametrize("exists", [True, False])
    def test_is_an_error_and_stays_empty(self, tmp_path, command, exists):
        home = tmp_path / "typo"
        if exists:
            home.mkdir()
        shown = run(*command, "--home", str(home))
        assert (shown.exit_code, shown.stdout) == (1, "")
        assert shown.stderr.startswith(f"error: no workspace at {home}: ")
        assert "--home or in MLD_HOME" in shown.stderr
        assert list(tmp_path.rglob("*")) == [home] * exists

    @pytest.mark.parametrize("database_url", ["", "sqlite:///{}/other.db"])
    def test_in_an_object_store_or_database_makes_no_database(self, tmp_path, monkeypatch, database_url):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("MLD_DATABASE_URL", database_url.format(tmp_path))
        shown = run("models", "--home", "s3://no-such-bucket/typo")
        assert shown.exit_code == 1
        assert "error: no workspace at s3://no-such-bucket/typo, or no metadata database" in shown.stderr
        assert "MLD_DATABASE_URL its database if another machine made it" in shown.stderr
        assert list(tmp_path.iterdir()) == []


class TestDemo:
    def test_options_are_passed_on(self, monkeypatch, tmp_path):
        seen = []
        monkeypatch.setattr("ml_debugger.demo.run_demo", lambda *arguments: seen.append(arguments))
        assert run("demo", "-o", str(tmp_path), "--rounds", "2", "--seeds", "1", "--home", "h").exit_code == 0
        ((name, options, _, home),) = seen
        assert (name, options.out, options.rounds, options.seeds, home) == ("classification", tmp_path, 2, 1, "h")

    def test_an_unknown_demo_lists_those_there_are(self):
        shown = run("demo", "speech")
        assert shown.exit_code == 1
        assert "expected one of ['classification', 'detection', 'detection3d'], got 'speech'" in shown.stderr


def test_importing_the_command_line_loads_nothing_heavy():
    heavy = ("torch", "pandas", "polars", "matplotlib", "pyarrow", "numpy", "sqlalchemy", "deltalake", "jinja2")
    code = f"import sys, ml_debugger.cli; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_installed_command_exits_with_the_code(tmp_path):
    open_store(str(tmp_path))
    shown = subprocess.run(
        [sys.executable, "-c", "from ml_debugger.cli import main; main()", "show", "x", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 1
    assert shown.stderr.startswith("error: no result 'x'")
    assert "Traceback" not in shown.stderr
