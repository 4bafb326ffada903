"""The 3D detection demo: on a few streets, and whole with the command line on what it leaves."""

from __future__ import annotations

import re

import pytest
import torch
from matplotlib import pyplot
from typer.testing import CliRunner

from ml_debugger.cli import app
from ml_debugger.columns import ZONES
from ml_debugger.demo import DemoOptions, detection3d
from ml_debugger.demo.box_findings import DetectionSizes
from ml_debugger.demo.street_scenes import CLASS_NAMES

SMALL = DetectionSizes(train=16, val=16, pool=12, epochs=10)
FILES = {"examples.png", "heatmap.png", "zones.png", "reliability.png", "report.html"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The demo on a few streets: what it said, and its folder."""
    out = tmp_path_factory.mktemp("demo") / "out"
    out.mkdir()
    threads, said = torch.get_num_threads(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLD_HOME", str(out.parent / "home"))
        detection3d.run(DemoOptions(out), said.append, SMALL)
    assert torch.get_num_threads() == threads
    assert not pyplot.get_fignums()
    return "\n".join(said), out


@pytest.mark.filterwarnings("ignore::ml_debugger.errors.MLDebuggerWarning")
def test_all_it_measured_is_shown(small):
    said, _ = small
    for expected in (*ZONES, *CLASS_NAMES, "TRUE error rate", "AUROC", "1 - score", "random (expected)", "mAP of 0."):
        assert expected in said
    for title in ("Data ", "Model ", "Result ", "Zones ", "Errors ", "Missed ", "Query ", "Flags ", "Files"):
        assert f"\n{title}" in f"\n{said}"
    assert "Made for this demo" in said
    assert "returns the same frames" in " ".join(said.split())
    n_wrong = int(re.search(r"Errors +(\d+) of", said)[1])
    by_kind = re.findall(r"^DET:\w+ .+? (\d+)  ", said, re.MULTILINE)
    assert sum(map(int, by_kind)) == n_wrong > 0


def test_pictures_and_report_are_written_where_it_says(small):
    said, out = small
    assert {path.name for path in out.iterdir()} == FILES
    for name in FILES:
        assert str(out / name) in said
    assert (out / "examples.png").read_bytes().startswith(b"\x89PNG")
    report = (out / "report.html").read_text()
    assert report.count("data:image/") > 3
    assert not re.search(r"(src|href)=\"http", report)


@pytest.mark.slow
def test_the_whole_demo_finds_errors_and_leaves_a_workspace(tmp_path):
    home = str(tmp_path / "home")
    arguments = ["demo", "detection3d", "-o", str(tmp_path / "out"), "--home", home]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    rows = {line.split("  ")[0]: re.findall(r"[\d.]+", line.split("  ", 1)[-1]) for line in shown.stdout.splitlines()}
    auroc = {name: float(rows[name][0]) for name in ("error probability", "1 - score")}
    assert auroc["error probability"] > auroc["1 - score"]
    wrong = {name: int(rows[name][2]) for name in ("high_error_proba", "random (expected)")}
    boxes = {name: int(rows[name][1]) for name in wrong}
    assert (
        wrong["high_error_proba"] / boxes["high_error_proba"] > wrong["random (expected)"] / boxes["random (expected)"]
    )
    listed = CliRunner().invoke(app, ["models", "--home", home]).stdout
    assert "point_pillars" in listed
    result = CliRunner().invoke(app, ["results", "point_pillars", "v1", "--home", home]).stdout.split("\n")[-2]
    ids = CliRunner().invoke(app, ["query", result.split()[0], "-n", "5", "--home", home]).stdout.split()
    assert len(set(ids)) == 5
