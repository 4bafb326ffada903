"""The repository holds nothing of the machine it was made on, and its metadata agrees with itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.quality.source import ROOT, source_files

# Folders of the machines that this is built on, and package indexes other than by their ordinary names.
MACHINE_PATHS = re.compile(r"(?<![\w.~-])/(?:root|work)/[\w.-]+")
REGISTRIES = re.compile(r"(?:extra-)?index-url|--find-links|trusted-host|/simple/?\b(?=.*pypi)", re.IGNORECASE)
TEXT = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".cfg", ".ini", ".html", ".css", ".j2", ".mako", ""}


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix in TEXT and path != Path(__file__)]


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, REGISTRIES], ids=["path", "registry"])
def test_nothing_names_a_machine(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{n} {line.strip()[:120]}"
        for path in tracked_files()
        for n, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found


@pytest.mark.parametrize("line", ["see /root/notes.md", "at /root/a/b"])
def test_the_search_finds_a_machine_path(line: str) -> None:
    assert MACHINE_PATHS.search(line)


def test_every_library_that_is_imported_is_required() -> None:
    """Nothing that only our own checks install is imported by the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *extras["torch"], *extras["demo"], *extras["detection"], *extras["server"]]
    names = {re.split(r"[\[<>=!~; ]", line)[0].lower().replace("-", "_") for line in required}
    modules = {
        alias.name
        for file in source_files()
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    modules |= {
        node.module or "" for file in source_files() for node in ast.walk(file.tree) if isinstance(node, ast.ImportFrom)
    }
    imported = {module.split(".")[0] for module in modules} - sys.stdlib_module_names - {"ml_debugger"}
    renamed = {"sklearn": "scikit_learn", "PIL": "pillow"}
    assert {renamed.get(name, name) for name in imported} <= names


def test_every_requirement_of_ours_is_pinned_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {re.split(r"[\[<>=!~; ]", line)[0].lower() for group in groups for line in group} - {"ml-debugger"}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pinned = [re.sub(r"_", "-", line.split("==")[0]).lower() for line in lines]
    assert wanted <= set(pinned)
    assert len(pinned) == len(set(pinned))
    assert all("==" in line for line in lines)
