"""Runs the code of a Markdown page: every ``python`` fence in order, in one namespace, and every ``$ mldebugger`` line.

A ``text`` fence right after a ``python`` fence is what that fence prints. Numbers may differ between machines, so they
are masked when the two are compared. ``python -m tests.docs.fences PAGE`` runs a page and pastes what it really prints.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import io
import itertools
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

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


def run_page(path: Path, text: str, names: dict[str, Any]) -> Iterator[Printed]:
    """Run the code of a page; yields what was printed wherever the page shows an output."""
    blocks = fences(text)
    for block, following in itertools.zip_longest(blocks, blocks[1:]):
        if block.language == "python":
            actual = run_python(path, block, names)
        elif block.language == "console":
            actual = "".join(run_command(line, names) for line in block.body.replace("\\\n", " ").splitlines())
        else:
            continue
        if following and following.language == "text" and following.line == block.line + block.body.count("\n") + 3:
            yield Printed(actual, following)


def run_python(path: Path, block: Fence, names: dict[str, Any]) -> str:
    """Run one fence in the page's names; returns what it printed."""
    source = "\n" * (block.line - 1) + block.body  # so that tracebacks name the page's own lines
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, str(path), "exec"), names)
    return out.getvalue()


def run_command(line: str, names: dict[str, Any]) -> str:
    """Run a ``$ mldebugger ...`` line on the page's own result; returns what it printed. Other lines are left alone."""
    words = shlex.split(line, comments=True)
    if words[:2] != ["$", "mldebugger"] or words[2:3] == ["demo"]:  # the demo takes minutes and has tests of its own
        return ""
    from ml_debugger.cli import app

    shown, real = "digits_cnn_v1_classification_v1_20261123", names["result"].result_name
    done = CliRunner().invoke(app, [real if word == shown else word for word in words[2:]])
    if done.exit_code != 0:
        raise AssertionError(f"{line}: exit code {done.exit_code}: {done.output}") from done.exception
    return done.stdout.replace(real, shown)


def masked(output: str) -> str:
    """Output without what may differ between machines: numbers, codes and zones of single rows, spacing."""
    words = re.sub(r"\bCLS\S+", "code", re.sub(r"\b(\w+_)?(hotspot|coverage)\b", "zone", output))
    words = re.sub(r"[-+]?\d+(?:\.\d+)?", "0", words)
    return re.sub(r"[\s─━=-]+", " ", words).strip()


def paste(path: Path, names: dict[str, Any]) -> None:
    """Replace the outputs that a page shows by what its code prints now."""
    text = path.read_text()
    printed = list(run_page(path, text, names))
    for output in reversed(printed):
        text = text[: output.shown.start] + output.actual.rstrip() + "\n" + text[output.shown.end :]
    path.write_text(text)


def main() -> None:
    home = tempfile.mkdtemp()
    # registered before the writers' own flush at exit, so run after it
    atexit.register(shutil.rmtree, home)
    from tests.docs.names import page_names

    os.chdir(home)
    parser = argparse.ArgumentParser(description="Paste into a page what its code prints.")
    parser.add_argument("pages", nargs="+", type=Path)
    for page in parser.parse_args().pages:
        os.environ["MLD_HOME"] = str(Path(home) / page.stem)
        paste(ROOT / page, page_names(page.name))


if __name__ == "__main__":
    main()
