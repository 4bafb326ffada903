"""What the Dockerfile, the compose file and the systemd unit say, as Python values."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def dockerfile() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def last(instruction: str) -> str:
    """Arguments of the last instruction of a kind: the one that counts."""
    return [arguments for name, arguments in dockerfile() if name == instruction][-1]


def exec_form(arguments: str) -> list[str]:
    """The command of ``CMD``, ``ENTRYPOINT`` or ``HEALTHCHECK ... CMD``."""
    command: list[str] = json.loads(arguments[arguments.index("[") :])
    return command


def compose(variables: dict[str, str]) -> dict[str, Any]:
    """The compose file with variables put in, as Docker does it: ``${A}``, ``${A:-default}``, ``${A:?message}``."""

    def value(match: re.Match[str]) -> str:
        name, how, rest = match.groups()
        found = variables.get(name, "")
        if not found and how == "?":
            raise KeyError(f"{name}: {rest}")
        return found or (rest if how == "-" else "")

    text = (ROOT / "docker-compose.yml").read_text()
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(value, kept))
    return found


def example_env() -> dict[str, str]:
    """What ``deploy/example.env`` sets."""
    lines = (ROOT / "deploy" / "example.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def unit() -> dict[str, list[tuple[str, str]]]:
    """Settings of the systemd unit by section."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in (ROOT / "deploy" / "mldebugger.service").read_text().splitlines():
        if line.startswith("["):
            settings = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            name, value = line.split("=", 1)
            settings.append((name, value))
    return sections


def unit_command() -> list[str]:
    """The command line that systemd starts."""
    (command,) = [value for name, value in unit()["Service"] if name == "ExecStart"]
    return shlex.split(command)
