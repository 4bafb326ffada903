"""The benchmark of pools without labels: from a toy pair to its tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.error_detection import pool as benchmark
from benchmarks.error_detection.traces import save_pair
from tests.benchmarks.error_detection.conftest import make_pair


@pytest.fixture(scope="module")
def measured():
    return benchmark.measure_pair(replace(make_pair(n=600), name="mnist_cnn"))


def test_each_pool_is_measured_against_its_labels(measured):
    pair, (rows, _) = make_pair(n=600), measured
    assert [row["pool"] for row in rows] == ["test", "shift", benchmark.MIXTURE]
    for row in rows[:2]:
        assert row["true"] == pytest.approx(pair.reported[row["pool"]].errors.mean())
    for row in rows:
        assert row["low"] <= row["estimate"] <= row["high"]
        assert row["covered"] == (row["low"] <= row["true"] <= row["high"])


def test_only_the_shifted_pools_are_changed_and_warned_of(measured):
    test, shift, mixture = measured[0]
    assert not test["warned"]
    assert test["ece_pool"] == test["ece_static"]
    assert shift["warned"] and mixture["warned"]  # noqa: PT018  # one statement about two pools
    assert shift["drift"] > mixture["drift"] > test["drift"]
    assert shift["high"] - shift["low"] > test["high"] - test["low"]


def test_smaller_pools_are_drawn_from_each(measured):
    _, drawn = measured
    assert len(drawn) == 3 * len(benchmark.SIZES) * benchmark.DRAWS
    small = [row for row in drawn if row["pool"] == "test" and row["size"] == 100]
    assert len({row["true"] for row in small}) > 5
    assert np.mean([row["covered"] for row in small]) > 0.7


def test_the_tables_hold_every_pair_and_both_halves(measured):
    rows, drawn = measured
    others = [{**row, "pair": "another"} for row in rows]
    text = benchmark.render([*rows, *others], drawn)
    assert text.count("| mnist_cnn |") == text.count("| another |") == 3
    assert "| shift | all | 2 |" in text
    assert "| test | chosen on | 1 |" in text
    only = benchmark.render(others, drawn)
    assert "chosen on" not in only


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path))
    (tmp_path / "error_pairs").mkdir()
    assert benchmark.main([]) == 1
    pair = make_pair()
    splits = {"train": pair.train, "val": pair.val, "test": pair.reported["test"]}
    save_pair(tmp_path / "error_pairs" / "toy.npz", splits, "toy")
    assert benchmark.main(["--pairs", "unknown"]) == 1
    assert "expected some of ['toy'], got ['unknown']" in capsys.readouterr().err
    assert benchmark.main(["--jobs", "1"]) == 0
    shown = capsys.readouterr().out
    assert "## Pool: test" in shown
    assert "## Pool: shift" not in shown


def test_without_data_the_command_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path / "nowhere"))
    assert benchmark.main([]) == 1
    assert "MLD_TEST_DATA" in capsys.readouterr().err
