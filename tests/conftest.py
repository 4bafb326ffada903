"""Every test starts from the defaults, with an empty workspace of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the developer's shell leaks in, and nothing is written to the developer's workspace."""
    for name in [name for name in os.environ if name.startswith("MLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLD_HOME", str(tmp_path / "workspace"))
