"""The detection demo: its own sums, the demo on a few scenes, and whole with the command line on what it leaves."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from typer.testing import CliRunner

from ml_debugger.cli import app
from ml_debugger.columns import ZONES
from ml_debugger.demo import DemoOptions, detection
from ml_debugger.demo.detection import STRATEGIES, DetectionSizes
from ml_debugger.demo.digit_scenes import Scenes
from ml_debugger.selection import BBoxStrategy
from ml_debugger.selection.strategies import STRATEGIES as REGISTERED

SMALL = DetectionSizes(train=100, val=60, pool=60, epochs=14)
FILES = {"examples.png", "heatmap.png", "zones.png", "reliability.png", "report.html"}


def test_every_strategy_shown_is_valid():
    for strategy in STRATEGIES:
        assert strategy in REGISTERED if isinstance(strategy, str) else BBoxStrategy(**strategy)


def target(*boxes):
    return {
        "boxes": np.array([box[:4] for box in boxes], np.float32).reshape(-1, 4),
        "labels": np.array([box[4] for box in boxes], np.int64),
    }


class Said:
    """Stands in for a data filter over three images, of which the last has no boxes."""

    def scores(self):
        rows = [
            (12, 0, 3, 0.9, 10, 10, 30, 30),  # right
            (12, 1, 4, 0.5, 60, 60, 80, 80),  # on nothing
            (10, 0, 5, 0.8, 10, 10, 30, 30),  # of the wrong class
        ]
        return pd.DataFrame(rows, columns=["input_id", "unit", "label", "score", "x1", "y1", "x2", "y2"])

    def missed_proba(self):
        return pd.DataFrame({"input_id": [12, 10, 11], "n_units": [2, 1, 0], "missed_proba": [0.2, 0.1, 0.9]})


@pytest.fixture
def pool():
    targets = [target()] * 10 + [target((10, 10, 30, 30, 6)), target((0, 0, 9, 9, 1)), target((10, 10, 30, 32, 3))]
    return detection._Pool.read(Said(), Scenes(np.zeros((13, 3, 4, 4), np.float32), targets, {"pool": [10, 11, 12]}))


def test_the_truth_of_the_pool_is_that_of_its_annotations(pool):
    assert pool.boxes["is_error"].tolist() == [False, True, True]
    assert pool.images.index.tolist() == [10, 11, 12]
    assert pool.images["n_boxes"].tolist() == [1, 0, 2]
    assert pool.images["n_wrong"].tolist() == [1, 0, 1]
    assert pool.images["n_objects"].tolist() == [1, 1, 1]
    assert pool.images["n_missed"].tolist() == [0, 1, 0]
    assert pool.images["score"].tolist()[::2] == [0.8, 0.7]
    assert detection._errs(pool.images).tolist() == [True, True, True]


def test_a_row_of_the_query_table_counts_what_the_images_hold(pool):
    assert detection._query_row("some", pool.images.loc[[12, 11]]) == ("some", "2", "2", "1", "50.0%", "2", "1")
    assert detection._query_row("none", pool.images.loc[[]]) == ("none", "0", "0", "0", "-", "0", "0")


def test_flags_are_reported_with_what_the_images_hold(pool):
    flags = {10: True, 11: False, 12: False}
    said = " ".join(detection._flag_text(flags, pool, [10]).split())
    assert "1 of 3 pool images were flagged" in said
    assert "of their boxes 100.0% are wrong, of the boxes of the others 50.0%" in said
    assert "a query for the same returns the same images" in said
    assert "returns OTHER images" in " ".join(detection._flag_text(flags, pool, [10, 12]).split())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The demo on a few scenes: what it said, and its folder."""
    out = tmp_path_factory.mktemp("demo") / "out"
    out.mkdir()
    threads, said = torch.get_num_threads(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLD_HOME", str(out.parent / "home"))
        detection.run(DemoOptions(out), said.append, SMALL)
    assert torch.get_num_threads() == threads
    assert not pyplot.get_fignums()
    return "\n".join(said), out


@pytest.mark.filterwarnings("ignore::ml_debugger.errors.MLDebuggerWarning")
def test_all_it_measured_is_shown(small):
    said, _ = small
    for expected in (*ZONES, "TRUE error rate", "AUROC", "1 - score", "lowest mean score", "random (expected)"):
        assert expected in said
    for title in ("Data ", "Model ", "Result ", "Zones ", "Errors ", "Missed ", "Query ", "Flags ", "Files"):
        assert f"\n{title}" in f"\n{said}"
    assert "Composed for this demo" in said
    assert "returns the same images" in " ".join(said.split())
    n_wrong = int(re.search(r"Errors +(\d+) of", said)[1])
    by_kind = re.findall(r"^DET:\w+ .+? (\d+)  ", said, re.MULTILINE)
    assert sum(map(int, by_kind)) == n_wrong > 0
    assert len(by_kind) > 2


def test_pictures_and_report_are_written_where_it_says(small):
    said, out = small
    assert {path.name for path in out.iterdir()} == FILES
    for name in FILES:
        assert str(out / name) in said
    assert (out / "examples.png").read_bytes().startswith(b"\x89PNG")
    report = (out / "report.html").read_text()
    assert report.count("data:image/") > 6
    assert not re.search(r"(src|href)=\"http", report)


@pytest.mark.slow
def test_the_whole_demo_finds_errors_and_leaves_a_workspace(tmp_path):
    home = str(tmp_path / "home")
    arguments = ["demo", "detection", "-o", str(tmp_path / "out"), "--home", home]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    rows = {line.split("  ")[0]: re.findall(r"[\d.]+", line.split("  ", 1)[-1]) for line in shown.stdout.splitlines()}
    auroc = {name: float(rows[name][0]) for name in ("error probability", "1 - score")}
    assert auroc["error probability"] > auroc["1 - score"]
    wrong = {name: int(rows[name][2]) for name in ("high_error_proba", "random (expected)")}
    assert wrong["high_error_proba"] > wrong["random (expected)"]
    listed = CliRunner().invoke(app, ["models", "--home", home]).stdout
    assert "digit_detector" in listed
    result = CliRunner().invoke(app, ["results", "digit_detector", "v1", "--home", home]).stdout.split("\n")[-2]
    ids = CliRunner().invoke(app, ["query", result.split()[0], "-n", "5", "--home", home]).stdout.split()
    assert len(set(ids)) == 5
