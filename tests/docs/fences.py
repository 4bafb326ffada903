"""Runs the code of a Markdown page: every ``python`` fence in order, in one namespace, and every ``$ mldebugger`` line.

A ``text`` fence right after a ``python`` fence is what that fence prints. Numbers may differ between machines, so they
are masked when the two are compared. ``python -m tests.docs.fences PAGE`` runs a page and pastes what it really prints.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(?P<language>\w+)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """One fenced block: its language, its text, and where the text stands in the page."""

    language: str
    body: str
    start: int
    end: int
    line: int


def pages() -> list[Path]:
    """Every page that a user reads."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def fences(text: str) -> list[Fence]:
    """The fenced blocks of a page."""
    return [
        Fence(m["language"], m["body"], m.start("body"), m.end("body"), text.count("\n", 0, m.start()) + 2)
        for m in FENCE.finditer(text)
    ]


@dataclass(frozen=True)
class Printed:
    """What a fence printed, and the ``text`` fence that says what it prints."""

    actual: str
    shown: Fence


def run_python(path: Path, text: str, names: dict[str, Any]) -> Iterator[Printed]:
    """Run the Python of a page; yields what was printed wherever the page shows an output."""
    blocks = fences(text)
    for position, block in enumerate(blocks):
        if block.language != "python":
            continue
        source = "\n" * (block.line - 1) + block.body
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(source, str(path), "exec"), names)
        following = blocks[position + 1] if position + 1 < len(blocks) else None
        if (
            following
            and following.language == "text"
            and not text[block.end + 3 : following.start].replace("```text", "").strip()
        ):
            yield Printed(out.getvalue(), following)


def commands(text: str) -> list[list[str]]:
    """Arguments of every ``$ mldebugger ...`` line of the console fences; a trailing backslash goes on."""
    found = []
    for block in fences(text):
        if block.language == "console":
            lines = block.body.replace("\\\n", " ").splitlines()
            found += [shlex.split(line[2:], comments=True)[1:] for line in lines if line.startswith("$ mldebugger")]
    return found


def masked(output: str) -> str:
    """Output without numbers and spacing, for comparison between machines."""
    words = re.sub(r"[-+]?\d+(?:\.\d+)?", "0", output)
    return re.sub(r"[\s─━=-]+", " ", words).strip()


def paste(path: Path, names: dict[str, Any]) -> None:
    """Replace the outputs that a page shows by what its code prints now."""
    text = path.read_text()
    printed = list(run_python(path, text, names))
    for output in reversed(printed):
        text = text[: output.shown.start] + output.actual.rstrip() + "\n" + text[output.shown.end :]
    path.write_text(text)


def main() -> None:
    from tests.docs.names import page_names

    parser = argparse.ArgumentParser(description="Paste into a page what its code prints.")
    parser.add_argument("pages", nargs="+", type=Path)
    for page in parser.parse_args().pages:
        with tempfile.TemporaryDirectory() as home:
            os.environ["MLD_HOME"] = str(Path(home) / "workspace")
            os.chdir(home)
            paste(page if page.is_absolute() else ROOT / page, page_names(page.name))


if __name__ == "__main__":
    main()
