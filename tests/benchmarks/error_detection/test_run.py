"""The protocol and the report, from a toy pair to the tables."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from benchmarks.error_detection import __main__ as command
from benchmarks.error_detection import bars, report, stored
from benchmarks.error_detection.baselines import BASELINES, REFERENCE_POOL, Geometry
from benchmarks.error_detection.protocol import PRODUCT, Plan, make_draws, measure_pair
from benchmarks.error_detection.reference import REFERENCE
from benchmarks.error_detection.traces import save_pair
from tests.benchmarks.error_detection.conftest import make_pair

METHODS = ("msp", "entropy", "centroid_trust", "rel_u")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    plan = Plan(((None, 1), (200, 2)), resamples=50, methods=METHODS, cache=tmp_path_factory.mktemp("scores"))
    first = measure_pair(replace(make_pair(n=600), name="mnist_cnn"), plan)
    first.extend(measure_pair(make_pair(seed=4, n=600), replace(plan, controls=False)))
    return first


def test_every_method_is_measured_at_every_size_and_split(measured):
    figures = pl.DataFrame(measured.figures)
    assert figures.height == 2 * 2 * 3 * (len(METHODS) + 1)
    assert figures.group_by("pair", "split", "val", "draw").len()["len"].unique().to_list() == [len(METHODS) + 1]
    assert figures["auroc"].is_between(0.4, 1).all()


def test_comparisons_are_paired_with_msp_and_the_two_best(measured):
    for row in measured.comparisons:
        assert row["value"] == pytest.approx(row["ours"] - row["theirs"])
        assert row["low"] <= row["value"] <= row["high"]
        if row["against"].endswith(row["split"]):
            rivals = [
                r["auroc"]
                for r in measured.figures
                if all(r[k] == row[k] for k in ("pair", "split", "val", "draw")) and r["method"] != PRODUCT
            ]
            if row["figure"] == "auroc":
                assert row["theirs"] == max(rivals)


def test_the_tables_can_be_written_again_from_the_files(measured, tmp_path):
    text = report.write(measured, tmp_path)
    assert "| E-AURC x 1000 |" in text
    assert report.render(report.read(tmp_path)) == text


def test_draws_keep_the_share_of_errors(pair):
    draws = list(make_draws(pair.val, Plan(((None, 1), (100, 3), (400, 2)))))
    assert [draw.label for draw in draws] == ["all", "100", "100", "100"]
    rate = pair.val.errors.mean()
    for draw in draws[1:]:
        assert len(np.unique(draw.rows)) == len(draw.rows) == 100
        assert pair.val.errors[draw.rows].mean() == pytest.approx(rate, abs=0.02)
    assert not np.array_equal(draws[1].rows, draws[2].rows)


def test_scores_of_an_earlier_run_are_the_same_scores(pair, tmp_path):
    geometry = Geometry(pair.train, pair.weight, pair.bias)
    new = stored.baseline_scores(pair, geometry, pair.val, METHODS, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    old = stored.baseline_scores(pair, geometry, pair.val, METHODS, tmp_path)
    fresh = stored.baseline_scores(pair, geometry, pair.val, METHODS, None)
    for name in METHODS:
        for split in ("test", "shift"):
            assert np.array_equal(new[name].score[split], old[name].score[split])
            assert np.array_equal(fresh[name].proba[split], old[name].proba[split])
        assert old[name].note == new[name].note
        assert old[name].val_auroc == new[name].val_auroc


def test_other_rows_have_another_fingerprint(pair):
    whole = stored.fingerprint(pair, pair.val, METHODS)
    assert whole == stored.fingerprint(pair, pair.val, METHODS)
    assert whole != stored.fingerprint(pair, pair.val.take(np.arange(100)), METHODS)
    assert whole != stored.fingerprint(pair, pair.val, METHODS[:2])


def test_the_report_holds_every_pair_and_writes_each_table(measured, tmp_path):
    text = report.write(measured, tmp_path)
    assert text == (tmp_path / "report.md").read_text()
    for table in ("AUROC of error detection, test", "Calibration, shift", "Zones, test", "Negative controls"):
        section = text.split(f"## {table}")[1].split("\n## ")[0]
        assert "| mnist_cnn |" in section, table
    assert "toy" in text
    for name in ("figures", "comparisons", "zones", "promises", "controls", "reference"):
        assert pl.read_csv(tmp_path / f"{name}.csv").height == len(getattr(measured, name))


def test_bars_are_not_called_met_unless_all_pairs_are_there(measured):
    found = bars.check(measured)
    assert len(found) == 10
    assert {met for _, _, met in found} == {None}


def test_bars_tell_a_win_from_a_loss():
    figures, gaps, controls = [], [], []
    for pair, reference in REFERENCE.items():
        for position, split in enumerate(("test", "shift")):
            key = {"pair": pair, "split": split, "val": "all", "draw": 0}
            ours = reference.trial[position] + 0.02
            figures.append({**key, "method": PRODUCT, "auroc": ours, "ece": 0.01, "ece_null95": 0.01})
            for role in ("msp", "best on val"):
                gaps += [
                    {**key, "against": role, "figure": f, "value": 0.02, "low": 0.01, "high": 0.03, "verdict": 1}
                    for f in ("auroc", "brier")
                ]
        controls.append({"pair": pair, "control": "shuffled errors", "fell_back": True, "test_auroc": 0.5})
    from benchmarks.error_detection.protocol import Measured

    good = Measured(figures, gaps, controls=controls)
    assert [met for _, _, met in bars.check(good)] == [True] * 10
    bad = Measured(
        [{**row, "auroc": row["auroc"] - 0.02, "ece": 0.03} for row in figures],
        [{**row, "value": -0.02, "low": -0.03, "high": -0.01, "verdict": -1} for row in gaps],
        controls=[{**row, "fell_back": False} for row in controls],
    )
    assert [met for _, _, met in bars.check(bad)] == [False] * 10


def test_tables_show_numbers_and_gaps():
    assert report.markdown(("a", "b"), [(1, 0.5), (None, float("nan")), (True, "x")]).splitlines()[2:] == [
        "| 1 | 0.5000 |",
        "| - | - |",
        "| yes | x |",
    ]
    assert report.markdown(("a",), []) == ""


def test_every_baseline_has_a_source():
    assert all(method.source for method in BASELINES.values())
    assert set(REFERENCE_POOL) <= set(BASELINES)


def test_the_command_prints_and_writes(monkeypatch, tmp_path, capsys):
    toy = make_pair()
    save_pair(tmp_path / "data" / "error_pairs" / "toy.npz", {"train": toy.train, "val": toy.val, **toy.reported}, "x")
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MLD_BENCH_CACHE", str(tmp_path / "cache"))
    for name in command.THREAD_SETTINGS:
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.setattr(command, "ProcessPoolExecutor", InThisProcess)
    arguments = ["--quick", "--pairs", "toy", "--methods", "gini", "--output", str(tmp_path / "out"), "--jobs", "1"]
    assert command.main(arguments) == 0
    printed = capsys.readouterr()
    assert "| gini |" in printed.out
    assert "[1/1] toy" in printed.err
    assert (tmp_path / "out" / "figures.csv").exists()
    with pytest.raises(SystemExit, match="no such pair"):
        command.main(["--pairs", "absent"])
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path / "absent"))
    assert command.main(["--quick"]) == 1
    assert "MLD_TEST_DATA" in capsys.readouterr().err


class InThisProcess:
    """The pool's calls, in this process: so that a failure shows where it happened."""

    def __init__(self, jobs):
        self.jobs = jobs

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def submit(self, function, *arguments):
        from concurrent.futures import Future

        future = Future()
        future.set_result(function(*arguments))
        return future
