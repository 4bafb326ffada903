"""What the pages on the server and on security name is there: commands, options, settings, tests."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer.main

from ml_debugger.cli import app
from ml_debugger.settings import SETTINGS
from tests.deploy.files import ROOT

PAGES = [ROOT / "docs" / "guides" / "server.md", ROOT / "docs" / "guides" / "teams.md", ROOT / "docs" / "security.md"]
COMMAND = re.compile(r"(?:^|[\s`(/])(mldebugger [a-z][^`\n#|&(]*)")


def commands() -> list[str]:
    """Command lines in blocks and in the text."""
    text = "\n".join(path.read_text() for path in PAGES)
    joined = re.sub(r"(?<=--scope)\n", " ", text)
    return sorted({found.strip() for found in COMMAND.findall(joined) if " is " not in found})


@pytest.mark.parametrize("line", commands())
def test_a_command_line_is_one_of_ours(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), line
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_the_page_has_command_lines() -> None:
    assert len(commands()) > 8


def test_limits_have_the_defaults_of_the_settings() -> None:
    rows = re.findall(r"^\| (`MLD_[^|]*) \| ([\d, ]+) \|", PAGES[0].read_text(), re.MULTILINE)
    assert rows
    for names, values in rows:
        numbers = [int(value.replace(",", "")) for value in values.split(", ")]
        assert [SETTINGS[name].default for name in re.findall(r"`(MLD_\w+)`", names)] == numbers


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:tests/[\w/]+/)?test_\w+\.py)`", PAGES[2].read_text()))))
def test_a_test_that_is_named_is_there(name: str) -> None:
    assert list(ROOT.glob(name if "/" in name else f"tests/*/{name}"))
