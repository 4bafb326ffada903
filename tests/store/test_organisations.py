"""Organisations share a place and see nothing of each other."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from ml_debugger.errors import InputError, NotFoundError
from ml_debugger.store import TableKey, Workspace, open_store
from ml_debugger.store.metadata import ModelRow
from ml_debugger.store.organisations import organisation_named, organisation_place, shown_organisation
from ml_debugger.store.tables import Batch, RowFilter

KEY = TableKey("inputs", "classification", "model")
ROWS = pa.table({"input_id": ["a"], "version_name": ["v1"], "dataset_type": ["pool"]})


@pytest.fixture(params=["folder", "memory"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    return open_store("memory://" if request.param == "memory" else str(tmp_path))


def count(workspace: Workspace) -> int:
    snapshot = workspace.tables.snapshot(KEY, ROWS.schema)
    return snapshot.rows(RowFilter("v1")).collect().height


def test_each_has_rows_names_and_artefacts_of_its_own(workspace: Workspace) -> None:
    first, second = workspace.of("first"), workspace.of("second")
    everyone = (workspace, first, second)
    for number, one in enumerate(everyone):
        assert one.tables.append(KEY, ROWS, Batch("same batch"))  # an identity in one table only
        assert one.metadata.bind_model(ModelRow("model", "classification", f"{number}", None, None, {}, {}), None)
        one.metadata.add_run("model", f"v{number}")
        for value in (-1, number):
            one.metadata.add_run("model", "same", {"number": value})
        assert one.metadata.claim_result("r", "model", f"v{number}", unique=False) == "r"
        one.artifacts.put("r", "file", str(number).encode())
        one.metadata.complete_result("r", {"number": number})
    for number, one in enumerate(everyone):
        assert count(one) == 1
        model = one.metadata.model("model")
        assert model is not None
        assert model.architecture_hash == str(number)
        assert one.metadata.versions("model") == [f"v{number}", "same"]
        assert one.metadata.run_settings("model", "same") == {"number": number}
        assert [row.info for row in one.metadata.results()] == [{"number": number}]
        assert one.artifacts.get("r", "file") == str(number).encode()
    assert count(workspace.of("first")) == 1  # found again


def test_a_stranger_sees_nothing(workspace: Workspace) -> None:
    workspace.of("first").artifacts.put("r", "file", b"")
    workspace.of("first").metadata.add_run("model", "v1", {"pc_range": [1.0]})
    for stranger in (workspace, workspace.of("second")):
        assert stranger.metadata.model_names() == []
        assert stranger.metadata.versions("model") == []
        assert stranger.metadata.run_settings("model", "v1") == {}
        with pytest.raises(NotFoundError):
            stranger.artifacts.get("r", "file")


def test_the_embedded_mode_is_an_organisation(tmp_path: Path) -> None:
    workspace = open_store(str(tmp_path))
    workspace.of("").tables.append(KEY, ROWS, Batch("x"))
    assert count(workspace) == 1
    assert (tmp_path / "tables").is_dir()
    assert (organisation_named("default"), shown_organisation("")) == ("", "default")
    assert organisation_named(shown_organisation("team")) == "team"


def test_no_two_organisations_share_a_folder() -> None:
    names = ["", "a", "a-b", "tables", "results", "organisations", "metadata", "x" * 63]
    places = [organisation_place("place", name) for name in names]
    assert len(set(places)) == len(names)
    inside = [place for place in places[1:] if not place.startswith("place/organisations/")]
    assert not inside


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "A", "a_b", "-a", "a-", "é", "a b", "a\n", "a%2f", "x" * 64, "a'--", None, 3]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="organisation: expected 1 to 63 lower-case letters"):
        organisation_named(name)
