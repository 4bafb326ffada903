"""Budgets that no linter checks: sizes, inheritance, names, and passages that stand twice."""

from __future__ import annotations

import ast
import io
import itertools
import re
import statistics
import tokenize
from collections import defaultdict

import numpy as np
import pytest

from tests.quality.source import PACKAGE, ROOT, Class, SourceFile, classes, functions, n_code_lines, source_files

MAX_FILE = 400
MEDIAN_FILE = 120
MAX_FUNCTION = 60
P95_FUNCTION = 30
MAX_DEPTH = 2
SHARED_LINES = 10
FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}
# Bases that say nothing about our own tree.
NEUTRAL_BASES = {"Protocol", "Generic", "object"}


def test_no_file_is_long() -> None:
    too_long = {file.name: file.n_lines for file in source_files() if file.n_lines > MAX_FILE}
    assert not too_long


def test_the_median_file_is_short() -> None:
    assert statistics.median(file.n_lines for file in source_files()) <= MEDIAN_FILE


def test_functions_are_short() -> None:
    found = [function for file in source_files() for function in functions(file)]
    assert not {function.name: function.n_code for function in found if function.n_code > MAX_FUNCTION}
    longest = sorted((function.n_code, function.name) for function in found)[-15:]
    assert np.percentile([function.n_code for function in found], 95) <= P95_FUNCTION, longest


def is_exception(one: Class, known: dict[str, Class]) -> bool:
    if any(base.endswith(("Error", "Exception", "Warning")) for base in one.bases):
        return True
    return any(is_exception(known[base], known) for base in one.bases if base in known)


def depth(one: Class, known: dict[str, Class]) -> int:
    """Length of the longest chain of our own classes, this one included."""
    return 1 + max((depth(known[base], known) for base in one.bases if base in known), default=0)


def test_inheritance_is_shallow() -> None:
    known = classes()
    deep = {name: depth(one, known) for name, one in known.items() if not is_exception(one, known)}
    assert not {name: n for name, n in deep.items() if n > MAX_DEPTH}


def test_only_exceptions_have_two_bases() -> None:
    known = classes()
    several = {name: set(one.bases) - NEUTRAL_BASES for name, one in known.items() if not is_exception(one, known)}
    assert not {name: bases for name, bases in several.items() if len(bases) > 1}


def test_names_say_what_a_thing_is() -> None:
    parts = {part for file in source_files() for part in file.name.removesuffix(".py").split("/")}
    assert not parts & FORBIDDEN_NAMES


@pytest.mark.parametrize("banned", ["print", "breakpoint", "exit"])
def test_nothing_is_printed_or_stopped_by_builtins(banned: str) -> None:
    calls = [
        f"{file.name}:{node.lineno}"
        for file in source_files()
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == banned
    ]
    assert not calls


def test_nothing_is_asserted() -> None:
    found = [
        f"{f.name}:{node.lineno}" for f in source_files() for node in ast.walk(f.tree) if isinstance(node, ast.Assert)
    ]
    assert not found


def test_no_failure_is_swallowed() -> None:
    """An ``except`` whose body only passes hides what went wrong; ``contextlib.suppress`` names what may fail."""
    found = [
        f"{file.name}:{node.lineno}"
        for file in source_files()
        for node in ast.walk(file.tree)
        if isinstance(node, ast.ExceptHandler) and all(isinstance(line, ast.Pass) for line in node.body)
    ]
    assert not found


IGNORE = re.compile(r"#\s*(noqa: (?P<codes>[A-Z]+\d+(, ?[A-Z]+\d+)*)|type: ignore\[[^\]]+\])(?P<reason>.*)")


def test_every_ignore_gives_its_reason() -> None:
    """After ``# type: ignore[code]`` and ``# noqa: CODE`` come words that say why. PLR0913 explains itself."""
    bare = []
    for file in source_files():
        for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
            found = IGNORE.search(token.string) if token.type == tokenize.COMMENT else None
            if found and found["codes"] != "PLR0913" and not found["reason"].strip(" -#:"):
                bare.append(f"{file.name}:{token.start[0]} {token.string}")
    assert not bare


def code_lines(file: SourceFile) -> list[tuple[int, str]]:
    """Lines that hold code, without docstrings, comments and imports."""
    skipped: set[int] = set()
    for node in ast.walk(file.tree):
        is_text = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(file.text.splitlines(), start=1)
    return [
        (n, line.strip()) for n, line in lines if n not in skipped and line.strip() and not line.strip().startswith("#")
    ]


def test_few_passages_stand_twice() -> None:
    """At most one pair of places per thousand lines shares ten lines of code."""
    windows: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for file in source_files():
        lines = code_lines(file)
        for start in range(len(lines) - SHARED_LINES + 1):
            window = lines[start : start + SHARED_LINES]
            windows[tuple(text for _, text in window)].append(f"{file.name}:{window[0][0]}")
    # Overlapping windows of one passage count once: keep the first of each pair of files.
    pairs = {}
    for places in windows.values():
        for first, second in itertools.pairwise(places):
            pairs.setdefault((first.split(":")[0], second.split(":")[0]), (first, second))
    kloc = sum(file.n_lines for file in source_files()) / 1000
    assert len(pairs) <= kloc, sorted(pairs.values())


def test_every_package_has_its_tests() -> None:
    """Tests mirror the source folder by folder; what each file must prove is measured by coverage."""
    packages = {file.path.parent for file in source_files() if functions(file)} - {PACKAGE}
    names = {package.relative_to(PACKAGE) for package in packages if package.name != "migrations"}
    assert not {str(name) for name in names if not list((ROOT / "tests" / name).glob("test_*.py"))}


def test_there_is_a_line_of_test_for_every_line_of_source() -> None:
    """Code against code: the docstrings that every public name must have are not counted."""
    tests = sum(n_code_lines(path.read_text()) for path in (ROOT / "tests").rglob("*.py"))
    assert tests >= sum(n_code_lines(file.text) for file in source_files())
