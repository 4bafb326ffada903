"""The demo's own sums, and the demo itself, small, with the command line on what it leaves."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from typer.testing import CliRunner

from ml_debugger.cli import app
from ml_debugger.columns import ZONES
from ml_debugger.demo import classification
from ml_debugger.demo.classification import CONTROL, LEARNERS, N_QUERY, STRATEGIES
from ml_debugger.demo.digits import N_TRAIN
from ml_debugger.selection.strategies import STRATEGIES as REGISTERED


@pytest.fixture
def curves():
    rows = [
        {"strategy": name, "seed": seed, "n_labels": 80 + 50 * step, "accuracy": start + 0.03 * step + 0.01 * seed}
        for name, start in zip((*LEARNERS, CONTROL), (0.80, 0.71, 0.74), strict=True)
        for seed in range(2)
        for step in range(3)
    ]
    return pd.DataFrame(rows)


def test_every_strategy_shown_exists():
    assert {*STRATEGIES, *LEARNERS} <= set(REGISTERED)


def test_curves_are_reported_as_measured(curves):
    report = classification._curve_report(curves)
    assert "mean of 2 seeds" in report
    row = next(line for line in report.splitlines() if line.strip().startswith("130"))
    assert row.split() == ["130", "83.5%", "74.5%", "77.5%"]
    assert "high_error_proba is +6.0 points from random (by seed: +6.0, +6.0)" in report
    assert "with 80 labels it has the 80.5% that random has with 180" in report
    assert "diverse_error is -3.0 points" in report
    assert "it did not reach the 80.5% that random has with 180 labels" in report


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The demo with one round and one seed: what was printed, its folder, its workspace."""
    folder = tmp_path_factory.mktemp("demo")
    threads = torch.get_num_threads()
    arguments = ["demo", "-o", str(folder / "out"), "--home", str(folder / "home"), "--rounds", "1", "--seeds", "1"]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    assert torch.get_num_threads() == threads
    assert not pyplot.get_fignums()
    return shown.stdout, folder / "out", str(folder / "home")


@pytest.mark.slow
class TestDemo:
    def test_what_it_measured_is_shown(self, finished):
        said, _, _ = finished
        for expected in (*ZONES, *STRATEGIES, "TRUE error rate", "lowest confidence", "AUROC", f"{N_TRAIN + N_QUERY}"):
            assert expected in said

    def test_pictures_and_report_are_written_where_it_says(self, finished):
        said, out, _ = finished
        names = {"learning_curves.png", "heatmap.png", "zones.png", "reliability.png", "report.html"}
        assert {path.name for path in out.iterdir()} == names
        for name in names:
            assert str(out / name) in said
        assert (out / "heatmap.png").read_bytes().startswith(b"\x89PNG")

    def test_the_command_line_works_on_what_it_leaves(self, finished):
        _, out, home = finished

        def run(*arguments):
            shown = CliRunner().invoke(app, [*arguments, "--home", home], catch_exceptions=False)
            assert shown.exit_code == 0, shown.output
            return shown.stdout

        assert "digits_cnn" in run("models")
        result = run("results", "digits_cnn", "close-up").splitlines()[-1].split()[0]
        assert "stable_coverage" in run("show", result)
        ids = run("query", result, "-n", "5").split()
        assert len(set(ids)) == 5
        run("export", result, "-n", "5", "-o", str(out / "chosen.jsonl"))
        rows = [json.loads(line) for line in (out / "chosen.jsonl").read_text().splitlines()]
        (out / "chosen.jsonl").unlink()
        assert [row["input_id"] for row in rows] == [int(name) for name in ids]
        assert [row["rank_value"] for row in rows] == sorted((row["error_proba"] for row in rows), reverse=True)
        filtered = run("query", result, "--where", "error_proba>=0.5,score<0.9", "-n", "1000").split()
        assert 0 < len(filtered) < 1000
