"""Demos: one file per task, each a function that runs the whole flow on real data and says what it measured."""

from __future__ import annotations

import importlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ml_debugger.errors import ConfigError, InputError

__all__ = ["DEMOS", "Demo", "DemoOptions", "run_demo"]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What a demo may vary: where its files go, and how much active learning it does."""

    out: Path
    rounds: int = 5
    seeds: int = 3


class RunDemo(Protocol):
    """The function of a demo: runs it, and says what it does line by line."""

    def __call__(self, options: DemoOptions, say: Callable[[str], None]) -> None:
        """Run the demo; everything it says goes through ``say``."""


@dataclass(frozen=True, slots=True)
class Demo:
    """One demo: what it shows, the module whose ``run`` does it, and what must be installed besides ``ml-debugger``."""

    summary: str
    module: str
    needs: tuple[str, ...]
    extra: str


DEMOS: Final = {
    "classification": Demo(
        "a small CNN on scikit-learn's handwritten digits, short of labels",
        "ml_debugger.demo.classification",
        ("torch", "sklearn"),
        "demo",
    ),
    "detection": Demo(
        "a small detector on composed scenes of the same digits, short of annotated images",
        "ml_debugger.demo.detection",
        ("torch", "sklearn", "supervision", "pycocotools"),
        "demo",
    ),
    "detection3d": Demo(
        "a small PointPillars on streets scanned by a simulated LiDAR, short of annotated frames",
        "ml_debugger.demo.detection3d",
        ("torch", "sklearn"),
        "demo",
    ),
}


def run_demo(name: str, options: DemoOptions, say: Callable[[str], None], home: str | None = None) -> None:
    """Run a demo by name, in a workspace of its own that is removed afterwards, or in ``home``, which is kept.

    Raises:
        ConfigError: If there is no such demo, or a package it needs is missing; the message says what to install.
        InputError: If the output folder cannot be made.
    """
    if name not in DEMOS:
        raise ConfigError(f"demo: expected one of {sorted(DEMOS)}, got {name!r}")
    demo = DEMOS[name]
    missing = [package for package in demo.needs if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"demo {name!r} needs {' and '.join(missing)}: install with  pip install 'ml-debugger[{demo.extra}]'"
        )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: cannot make the folder {options.out} ({error.strerror}); name another") from error
    run: RunDemo = importlib.import_module(demo.module).run
    with _workspace(home):
        run(options, say)


@contextmanager
def _workspace(home: str | None) -> Iterator[None]:
    """``MLD_HOME`` set to ``home`` or to a temporary folder, and no server, for as long as the demo runs."""
    before = {name: os.environ.get(name) for name in ("MLD_HOME", "MLD_API_ENDPOINT", "MLD_DATABASE_URL")}
    with tempfile.TemporaryDirectory(prefix="mldebugger-demo-", ignore_cleanup_errors=True) as folder:
        os.environ.update(MLD_HOME=home or folder, MLD_API_ENDPOINT="", MLD_DATABASE_URL="")
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
