"""All code in README and docs runs, and prints what the pages show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import ml_debugger
from tests.docs.fences import ROOT, fences, masked, pages, run_page
from tests.docs.names import page_names

WITH_CODE = [path for path in pages() if any(f.language in ("python", "console") for f in fences(path.read_text()))]


@pytest.mark.filterwarnings("ignore::ml_debugger.errors.MLDebuggerWarning")
@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for printed in run_page(path, path.read_text(), page_names(path.name)):
        assert masked(printed.actual) == masked(printed.shown.body)


def modules() -> list[str]:
    found = pkgutil.walk_packages(ml_debugger.__path__, "ml_debugger.")
    return [module.name for module in found if ".migrations" not in module.name]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_run(name: str) -> None:
    failed, _ = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert failed == 0


def test_masking_keeps_the_words() -> None:
    assert masked("error rate  0.123 (n=5)") == masked("error rate 12 (n=77)")
    assert masked("error rate 0.1") != masked("error share 0.1")
