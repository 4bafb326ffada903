"""Demos by name: what is missing is said, and nothing is left behind."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from ml_debugger import demo
from ml_debugger.demo import DEMOS, Demo, DemoOptions, run_demo
from ml_debugger.errors import ConfigError, InputError

SEEN: list[tuple[str, DemoOptions]] = []


def run(options, say):
    """Stands in for a demo: keeps the workspace it was given."""
    home = os.environ["MLD_HOME"]
    assert os.environ["MLD_API_ENDPOINT"] == ""
    SEEN.append((home, options))
    say(f"workspace {home}, there: {Path(home).is_dir()}")
    if options.rounds == 99:
        raise RuntimeError("stop")


@pytest.fixture(autouse=True)
def toy_demo(monkeypatch):
    SEEN.clear()
    monkeypatch.setitem(DEMOS, "toy", Demo("nothing", __name__, ("json",), "demo"))
    monkeypatch.setattr(demo.importlib, "import_module", lambda name: __import__("sys").modules[__name__])


def test_every_demo_is_one_module_with_a_run_function():
    for name, entry in DEMOS.items():
        if name != "toy":
            assert importlib.util.find_spec(entry.module) is not None
            assert entry.summary


def test_the_workspace_is_temporary_and_the_environment_comes_back(tmp_path):
    before = dict(os.environ)
    said = []
    run_demo("toy", DemoOptions(tmp_path / "out"), said.append)
    ((home, options),) = SEEN
    assert said == [f"workspace {home}, there: True"]
    assert not Path(home).exists()
    assert options.out.is_dir()
    assert dict(os.environ) == before


def test_the_environment_comes_back_after_a_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("MLD_API_ENDPOINT", "https://server.invalid")
    monkeypatch.delenv("MLD_HOME")
    with pytest.raises(RuntimeError, match="stop"):
        run_demo("toy", DemoOptions(tmp_path, rounds=99), str)
    assert os.environ["MLD_API_ENDPOINT"] == "https://server.invalid"
    assert "MLD_HOME" not in os.environ


def test_a_given_workspace_is_used(tmp_path):
    run_demo("toy", DemoOptions(tmp_path / "out"), str, str(tmp_path / "kept"))
    assert SEEN[0][0] == str(tmp_path / "kept")


def test_what_must_be_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(DEMOS, "toy", Demo("nothing", __name__, ("json", "no_such_package"), "demo"))
    with pytest.raises(ConfigError, match=r"needs no_such_package: .*pip install 'ml-debugger\[demo\]'"):
        run_demo("toy", DemoOptions(tmp_path), str)
    assert not SEEN


def test_unknown_demos_and_unusable_folders_are_refused(tmp_path):
    known = r"expected one of \['classification', 'detection', 'detection3d', 'toy'\], got 'x'"
    with pytest.raises(ConfigError, match=known):
        run_demo("x", DemoOptions(tmp_path), str)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        run_demo("toy", DemoOptions(tmp_path / "file"), str)
