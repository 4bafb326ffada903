"""The rounds, the report and the command, on settings small enough for a test."""

from __future__ import annotations

import csv
import os
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.active_learning import __main__ as command
from benchmarks.active_learning import protocol, report
from benchmarks.active_learning.learner import NETWORKS, train
from benchmarks.active_learning.product import OURS, score_pool, workspace
from benchmarks.active_learning.rivals import RIVALS
from benchmarks.active_learning.settings import SETTINGS, Setting
from tests.benchmarks.active_learning.test_summary import rows_of

TOY = Setting("toy", "digits", "toy", 30, (50, 80), 250, 120)
ARMS = ("random", "margin", "badge_reference", "diverse_error")
LABELLED = []


@pytest.fixture(autouse=True, scope="module")
def toy():
    """A setting that trains in a few milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "toy", replace(NETWORKS["mlp"], steps=40, rate=1e-2))
        patch.setitem(SETTINGS, "toy", TOY)
        yield


@pytest.fixture(scope="module")
def rows(toy):
    def spy(setting, problem, labelled, key, seed):
        LABELLED.append((problem, labelled))
        return trained(setting, problem, labelled, key, seed)

    trained = protocol._trained
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "CONTROL_DRAWS", 2)
        patch.setattr(protocol, "_trained", spy)
        return protocol.measure_setting("toy", 0, ARMS)


def test_every_arm_starts_alike_and_reaches_every_budget(rows):
    arms = {}
    for row in rows:
        arms.setdefault((row["strategy"], row["draw"]), []).append((row["n_labels"], row["accuracy"]))
    assert len(arms) == 2 + 3
    assert {tuple(n for n, _ in curve) for curve in arms.values()} == {(30, 50, 80)}
    assert len({curve[0] for curve in arms.values()}) == 1
    assert len({curve[1:][0] for curve in arms.values()}) > 1
    assert all(accuracy > 0.3 for curve in arms.values() for _, accuracy in curve)


def test_arms_label_only_pool_rows_and_each_once(rows):
    assert len(LABELLED) == 1 + 2 * (2 + 3)
    for problem, labelled in LABELLED:
        assert len(set(labelled)) == len(labelled)
        assert set(labelled) <= set(problem.start) | set(problem.pool)


@pytest.mark.parametrize("strategy", OURS)
def test_ours_go_through_the_product(strategy, scored):
    problem, data_filter = scored
    picked = data_filter.query(20, strategy, seed=3)
    assert len(set(picked)) == 20
    assert set(picked) <= set(problem.pool.tolist())


@pytest.fixture(scope="module")
def scored(toy):
    problem = TOY.problem(seed=0)
    model = train("toy", problem.inputs[problem.start], problem.labels[problem.start], 10, seed=0)
    with workspace():
        yield problem, score_pool(model, problem, problem.start, problem.pool, version="v1")


def test_a_run_is_repeated_exactly(rows):
    again = protocol.measure_setting("toy", 0, ("badge_reference",))
    first = [row["accuracy"] for row in rows if row["strategy"] == "badge_reference"]
    assert [row["accuracy"] for row in again] == first


def test_a_strategy_that_picks_too_few_is_an_error(monkeypatch):
    class Short:
        def query(self, n, strategy, seed):
            return [1] * n

    monkeypatch.setattr(protocol.product, "score_pool", lambda *args, **kwargs: Short())
    with pytest.raises(RuntimeError, match="badge picked 1 of 20"):
        protocol.measure_setting("toy", 0, ("badge",))


def test_the_workspace_is_temporary(monkeypatch):
    monkeypatch.setenv("MLD_HOME", "before")
    monkeypatch.delenv("MLD_PROGRESS", raising=False)
    with workspace():
        assert os.environ["MLD_HOME"] != "before"
        assert os.environ["MLD_PROGRESS"] == "off"
    assert os.environ["MLD_HOME"] == "before"
    assert "MLD_PROGRESS" not in os.environ


def test_the_report_shows_losses_as_it_shows_gains(tmp_path):
    curves = {
        ("a", "random"): [[0.5, 0.6, 0.7], [0.5, 0.6, 0.71]],
        ("a", "badge"): [[0.5, 0.7, 0.8], [0.5, 0.7, 0.811]],
        ("a", "margin"): [[0.5, 0.5, 0.6], [0.5, 0.5, 0.61]],
        ("a", "coverage"): [[0.5, 0.6, 0.71], [0.5, 0.6, 0.70]],
    }
    text = report.write([{**row, "seconds": 0.5} for row in rows_of(curves)], tmp_path)
    assert text == (tmp_path / "report.md").read_text()
    overall = text.split("## All settings together")[1].split("\n## ")[0].splitlines()
    lines = {line.split(" | ")[0].strip("| "): line for line in overall if line.startswith("| ")}
    assert list(lines)[2:] == ["badge*", "coverage*", "margin"]
    assert lines["badge*"].split(" | ")[1].startswith("**+8")
    assert lines["badge*"].split(" | ")[4:6] == ["1", "0"]
    assert lines["margin"].split(" | ")[4:6] == ["0", "1"]
    assert lines["coverage*"].split(" | ")[4:6] == ["0", "0"]
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    with (tmp_path / "gains.csv").open(newline="") as file:
        gains = list(csv.DictReader(file))
    assert len(gains) == 3 * 2
    assert np.sign([float(row["gain"]) for row in gains if row["strategy"] == "margin"]).tolist() == [-1, -1]


class InThisProcess:
    """The pool's calls, in this process: so that a failure shows where it happened."""

    def __init__(self, jobs):
        self.jobs = jobs

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


def test_the_command_prints_writes_and_writes_again(monkeypatch, tmp_path, capsys):
    for name in command.THREAD_SETTINGS:
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.setattr(command, "ProcessPoolExecutor", InThisProcess)
    arguments = ["--settings", "toy", "--strategies", "margin", "--seeds", "1", "--jobs", "1"]
    assert command.main([*arguments, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "| margin |" in printed.out
    assert "[1/1] toy, seed 0" in printed.err
    assert command.main(["--report", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == printed.out


def test_names_are_checked_and_missing_data_is_said(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit, match="no such \\['absent'\\]"):
        command.main(["--settings", "absent"])
    with pytest.raises(SystemExit, match="--strategies: no such"):
        command.main(["--strategies", "absent"])
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path / "absent"))
    assert command.main(["--settings", "mnist_mlp"]) == 1
    assert "MLD_TEST_DATA" in capsys.readouterr().err
    settings, strategies = command.chosen(command.parse([]))
    assert settings == ("digits_cnn", "toy")
    assert strategies == (*RIVALS, *OURS)
    assert all(SETTINGS[name].tuning for name in command.chosen(command.parse(["--settings", "tune_table"]))[0])
