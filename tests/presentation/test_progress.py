"""Bars are quiet off a terminal, and MLD_PROGRESS decides otherwise."""

from __future__ import annotations

import pytest

from ml_debugger.presentation.progress import progress_bar, tracked


def test_quiet_when_not_a_terminal(capsys):
    with progress_bar("Evaluating") as bar:
        bar("fit", 0.5)
    assert list(tracked([1, 2], "Tracing")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_switched_on_it_shows_stage_and_fraction(capsys, monkeypatch):
    monkeypatch.setenv("MLD_PROGRESS", "on")
    with progress_bar("Evaluating") as bar:
        bar("fit", 0.5)
        bar("zones", 0.25)
        bar("done", 1.5)
    assert list(tracked([1, 2], "Tracing")) == [1, 2]
    shown = capsys.readouterr().err
    assert "Evaluating" in shown
    assert "Tracing" in shown
    assert "150%" not in shown


def test_fraction_never_goes_back(monkeypatch):
    class Bar:
        n = 0.0

        def set_description_str(self, text, refresh):
            self.text = text

        def update(self, step):
            self.n += step

    from ml_debugger.presentation.progress import ProgressBar

    inner = Bar()
    bar = ProgressBar("Evaluating", inner)
    seen = []
    for fraction in (0.5, 0.25, 2.0):
        bar("stage", fraction)
        seen.append(inner.n)
    assert seen == [0.5, 0.5, 1.0]
    assert inner.text == "Evaluating: stage"


@pytest.mark.parametrize("value", ["off", "auto"])
def test_off_and_auto_are_quiet_here(value, capsys, monkeypatch):
    monkeypatch.setenv("MLD_PROGRESS", value)
    assert list(tracked([1], "Tracing")) == [1]
    assert capsys.readouterr().err == ""
