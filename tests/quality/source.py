"""The package's source as syntax trees, for the budgets."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "ml_debugger"


@dataclass(frozen=True)
class SourceFile:
    """One module: where it is, its lines and its tree."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def n_lines(self) -> int:
        return len(self.text.splitlines())


def n_code_lines(text: str) -> int:
    """Lines that hold code: no docstring, comment or blank line."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            lines[first.lineno - 1 : first.end_lineno] = [""] * ((first.end_lineno or first.lineno) - first.lineno + 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


@dataclass(frozen=True)
class Function:
    """One function and the number of its lines that hold code: no signature, docstring, comment or blank line."""

    name: str
    n_code: int


@cache
def source_files() -> tuple[SourceFile, ...]:
    """Every module of the package but generated migrations."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if "versions" not in path.parts)
    texts = [path.read_text() for path in paths]
    return tuple(SourceFile(p, t, ast.parse(t, filename=str(p))) for p, t in zip(paths, texts, strict=True))


def functions(file: SourceFile) -> list[Function]:
    """Every function of a module, nested ones also counted in the one around them."""
    nodes = [node for node in ast.walk(file.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [Function(f"{file.name}:{node.lineno} {node.name}", _code_lines(file, node)) for node in nodes]


def _code_lines(file: SourceFile, node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body:
        return 0
    lines = file.text.splitlines()[body[0].lineno - 1 : node.end_lineno]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


@dataclass(frozen=True)
class Class:
    """One class and the names of its bases, as written, without type arguments."""

    name: str
    bases: tuple[str, ...]


@cache
def classes() -> dict[str, Class]:
    """Every class of the package by its bare name."""
    found = {}
    for file in source_files():
        for node in ast.walk(file.tree):
            if isinstance(node, ast.ClassDef):
                bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
                found[node.name] = Class(node.name, tuple(ast.unparse(base).split(".")[-1] for base in bases))
    return found
