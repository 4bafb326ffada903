"""Everything that can be named by a user is documented, in the words of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ml_debugger import columns, errors
from ml_debugger.adapters import ADAPTERS
from ml_debugger.estimation.learners import LEARNERS
from ml_debugger.selection import STRATEGIES
from ml_debugger.selection.conditions import OPERATORS
from ml_debugger.settings import SETTINGS
from ml_debugger.store import STORES
from ml_debugger.tasks import TASKS
from tests.quality.source import ROOT

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#([^)]+))?\)")


def page(name: str) -> str:
    return (DOCS / name).read_text()


def described(table: str) -> set[str]:
    """Names in backticks in the first cells of a page's tables."""
    first_cells = re.findall(r"^\| ([^|]*)\|", table, re.MULTILINE)
    return {name for cell in first_cells for name in re.findall(r"`\"?([^`\"]+)\"?`", cell)}


@pytest.mark.parametrize("zone", columns.ZONES.values(), ids=lambda zone: zone.name)
def test_every_zone_is_explained(zone: columns.Zone) -> None:
    assert f"| `{zone.name}` | {zone.category} | {zone.description} |" in page("concepts/zones.md")


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_every_setting_is_in_the_table(setting: object) -> None:
    default = f"`{setting.default}`" if setting.default != "" else "empty"
    assert f"| `{setting.name}` | {default} | {setting.help} |" in page("reference/settings.md")


def test_no_setting_is_made_up() -> None:
    assert described(page("reference/settings.md")) == set(SETTINGS)
    named = {name for path in PAGES for name in re.findall(r"\bMLD_[A-Z_]+", path.read_text())}
    assert named <= set(SETTINGS)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_in_the_table(name: str) -> None:
    kind = getattr(errors, name)
    summary = kind.__doc__.splitlines()[0]
    code = f"`{kind.code}` | " if issubclass(kind, errors.MLDebuggerError) else ""
    assert f"| `{name}` | {code}{summary} |" in page("reference/errors.md")


def test_every_error_is_drawn_in_its_module() -> None:
    assert all(name in (errors.__doc__ or "") for name in errors.__all__)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_is_in_the_table(name: str) -> None:
    assert name in described(page("guides/query.md"))
    assert STRATEGIES[name].pick.__doc__


def test_every_operator_and_column_is_named() -> None:
    text = page("guides/query.md")
    assert all(f"`{operator}`" in text for operator in OPERATORS)
    assert {"score", "error_proba"} <= set(re.findall(r"`(\w+)`", text))


@pytest.mark.parametrize("scheme", STORES)
def test_every_store_is_documented(scheme: str) -> None:
    text = page("guides/object-store.md")
    assert f"{scheme}://" in text or (scheme == "" and "a path" in text)


@pytest.mark.parametrize("name", [*TASKS, *LEARNERS])
def test_every_task_and_learner_has_a_docstring_that_names_it(name: str) -> None:
    package = ROOT / "src" / "ml_debugger"
    files = [package / "tasks" / f"{name}.py", package / "estimation" / "learners" / f"{name}.py"]
    assert any(path.exists() and path.read_text().startswith('"""') for path in files)


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_is_documented(name: str) -> None:
    assert f"`{name}`" in page("extending/adapter.md")


@pytest.mark.parametrize("kind", columns.KINDS)
def test_every_kind_of_table_is_named(kind: str) -> None:
    assert f"`{kind}`" in page("guides/object-store.md")


def test_every_command_is_documented() -> None:
    from typer.main import get_command

    from ml_debugger.cli import app

    names = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert {text.split()[1] for text in described(page("guides/cli.md")) if text.startswith("mldebugger")} == names


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    broken = [target for target, _ in LINK.findall(path.read_text()) if not (path.parent / target).exists()]
    assert not broken


def test_every_page_is_in_the_navigation() -> None:
    def leaves(node: object) -> set[str]:
        if isinstance(node, str):
            return {node}
        children = node.values() if isinstance(node, dict) else node
        return {leaf for child in children for leaf in leaves(child)}

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages - {name for name in pages if re.match(r"decisions/\d", name)} == leaves(navigation)


def test_every_decision_is_listed() -> None:
    listed = set(re.findall(r"\((\d{4}-[\w-]+\.md)\)", page("decisions/index.md")))
    assert listed == {path.name for path in (DOCS / "decisions").glob("[0-9]*.md")}
