"""Stores by URL scheme, and the artefacts beside the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_debugger.errors import ConfigError, NotFoundError, StoreError
from ml_debugger.store import STORES, open_store
from ml_debugger.store.artifacts import Artifacts


def test_a_file_url_is_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    workspace = open_store(folder.as_uri())
    assert workspace.location == str(folder)
    assert (folder / "metadata.db").exists()


def test_an_object_store_keeps_its_metadata_under_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    first, again = open_store("s3://bucket/prefix"), open_store("s3://bucket/prefix/")
    open_store("s3://bucket/other")
    assert first.location == again.location == "s3://bucket/prefix"
    assert len(list((tmp_path / ".mldebugger" / "workspaces").glob("*.db"))) == 2


def test_memory_workspaces_are_apart() -> None:
    first, second = open_store("memory://"), open_store("memory://")
    first.metadata.add_run("model", "v1")
    assert second.metadata.versions("model") == []


def test_an_unknown_scheme_lists_the_known() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("ftp://host")
    assert all(f"{scheme}://" in str(caught.value) for scheme in STORES if scheme)


@pytest.mark.parametrize("root", ["folder", "memory://"])
def test_artefacts_come_back_and_are_replaced_whole(tmp_path: Path, root: str) -> None:
    artifacts = Artifacts(root if "://" in root else str(tmp_path / root))
    for content in (b"first", b"", b"x" * 100_000):
        artifacts.put("a result / é", "file.bin", content)
        assert artifacts.get("a result / é", "file.bin") == content
    with pytest.raises(NotFoundError, match=r"has no other\.bin"):
        artifacts.get("a result / é", "other.bin")


def test_artefacts_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path))
    (tmp_path / "results").write_text("a file in place of the folder")
    with pytest.raises(StoreError, match=r"could not write file\.bin"):
        artifacts.put("result", "file.bin", b"")


@pytest.mark.parametrize("name", ["a?b", "a#b", "a b", "é", "it's", "a*b{c}", "a:b@c"])
def test_a_folder_may_have_characters_that_mean_something_in_a_url(tmp_path: Path, name: str) -> None:
    workspace = open_store(str(tmp_path / name))
    workspace.artifacts.put("result", "file", b"content")
    assert workspace.artifacts.get("result", "file") == b"content"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "metadata.db").exists()


@pytest.mark.parametrize("name", ["a[b", "a]b", "a\\b", "a^b", "a|b", "a\nb", "a%20b"])
def test_a_folder_that_the_table_format_cannot_use_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="MLD_HOME"):
        open_store(str(tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="MLD_HOME: expected a folder"):
        open_store(str(tmp_path / "file"))
