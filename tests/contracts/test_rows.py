"""What a stored row means, held against every store: one test for each line of the design's list."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ml_debugger import columns
from ml_debugger.errors import InputError, NotFoundError
from ml_debugger.service.contract import RunKey
from ml_debugger.service.local import LocalService
from ml_debugger.service.rows import Narrowing, RunRows
from tests.helpers.rows import RUN, append, ids_of, make_tables, scan


def test_what_was_stored_comes_back(service: LocalService) -> None:
    tables = make_tables(["a", "b"], n_units=3, labels=[0, 1])
    append(service, tables)
    for kind, rows in tables.items():
        found = scan(service, kind)
        assert found.schema.equals(columns.schema_of(kind))
        assert found.combine_chunks().equals(rows.combine_chunks())


@pytest.mark.parametrize(("first", "then"), [(10, 4), (10, 0), (0, 4), (4, 10)])
def test_the_newest_recording_wins_whole(service: LocalService, first: int, then: int) -> None:
    append(service, make_tables(["a", "b"], n_units=first, labels=[0, 1]))
    append(service, make_tables(["a"], n_units=then, labels=[2]))
    records = scan(service, "records")
    assert ids_of(records).count("a") == then
    assert ids_of(records).count("b") == first
    assert scan(service, "truths")["truth"].to_pylist() == [2, 1]
    assert scan(service)["n_units"].to_pylist() == [then, first]


def test_an_older_recording_that_arrives_later_does_not_win(service: LocalService) -> None:
    append(service, make_tables(["a"], n_units=2, recorded_at=2000))
    append(service, make_tables(["a"], n_units=5, recorded_at=1000))
    assert scan(service, "records").num_rows == 2


def test_an_input_twice_in_a_batch_is_the_later_one(service: LocalService) -> None:
    append(service, make_tables(["a", "a"], recording_ids=[8, 7], labels=[0, 1], recorded_at=5))
    assert scan(service, "truths")["truth"].to_pylist() == [0]


def test_recordings_of_other_dataset_types_and_epochs_stand_beside_each_other(service: LocalService) -> None:
    append(service, make_tables(["a"], dataset_type="train"))
    append(service, make_tables(["a"], dataset_type="val"))
    append(service, make_tables(["a"], n_epoch=1))
    append(service, make_tables(["a"], n_epoch=None))
    assert scan(service).num_rows == 4
    assert scan(service, dataset_types=("val",)).num_rows == 1
    assert scan(service, dataset_types=("val", "train")).num_rows == 4
    assert scan(service, dataset_types=()).num_rows == 0


def test_no_epoch_is_an_epoch_of_its_own(service: LocalService) -> None:
    append(service, make_tables(["a", "b"], n_epoch=None))
    append(service, make_tables(["a"], n_epoch=3))
    append(service, make_tables(["a"], n_epoch=None))
    assert ids_of(scan(service, n_epoch=None)) == ["a", "b"]
    assert ids_of(scan(service, n_epoch=3)) == ["a"]
    assert scan(service, n_epoch="all").num_rows == 3


def test_narrowing_by_weights_comes_before_the_newest_wins(service: LocalService) -> None:
    append(service, make_tables(["a", "b"], n_units=2, weights="old"))
    append(service, make_tables(["a"], n_units=3, weights="new"))
    assert scan(service, "records", weights_hash="old").num_rows == 4
    assert scan(service, "records", weights_hash="new").num_rows == 3
    assert scan(service, "records").num_rows == 5


def test_narrowing_by_pass_comes_before_the_newest_wins(service: LocalService) -> None:
    append(service, make_tables(["a", "b"], weights=None, pass_id="first"))
    append(service, make_tables(["b", "c"], weights=None, pass_id="second"))
    assert ids_of(scan(service, pass_id="first")) == ["a", "b"]
    assert ids_of(scan(service, pass_id="second")) == ["b", "c"]
    assert ids_of(scan(service)) == ["a", "b", "c"]


def test_the_latest_epoch_is_by_time_not_by_number(service: LocalService) -> None:
    for epoch in (*range(10), *range(5)):
        append(service, make_tables(["a"], n_epoch=epoch, labels=[0]))
    append(service, make_tables(["pool"], n_epoch=9, dataset_type="pool"))  # no labels: does not count
    found = scan(service, n_epoch="latest")
    assert found["n_epoch"].to_pylist() == [4]


def test_ids_keep_their_kind(service: LocalService) -> None:
    append(service, make_tables([7, "7x", "é/=% 'q", ""]))
    found = scan(service)
    kinds = dict(zip(ids_of(found), found["id_kind"].to_pylist(), strict=True))
    assert kinds == {"7": "int", "7x": "str", "é/=% 'q": "str", "": "str"}


@pytest.mark.parametrize(
    "name", ["a/b", "x=y", "100%", "%2F", "日本 ü", " lead", "..", "1", "it's", 'q"', "a:b?#&*|<>\\", "null", "x" * 150]
)
def test_any_name_can_be_a_version_or_a_dataset_type(service: LocalService, name: str) -> None:
    run = RunKey(f"model {name}", name)
    append(service, make_tables(["a"], version=name, dataset_type=name), run)
    append(service, make_tables(["b"], version="other", dataset_type=name), RunKey(run.model_name, "other"))
    assert ids_of(scan(service, run=run, dataset_types=(name,))) == ["a"]
    assert scan(service, run=run)["dataset_type"].to_pylist() == [name]
    append(service, {}, run, recreate=True)
    assert scan(service, run=run).num_rows == 0
    assert ids_of(scan(service, run=RunKey(run.model_name, "other"))) == ["b"]


@pytest.mark.parametrize("name", ["", "__HIVE_DEFAULT_PARTITION__", "é" * 100])
def test_names_that_no_folder_can_have_are_refused(service: LocalService, name: str) -> None:
    with pytest.raises(InputError, match="dataset_type"):
        append(service, make_tables(["a"], dataset_type=name))


def test_models_whose_names_look_alike_are_apart(service: LocalService) -> None:
    names = ["a/b", "a_b", "A_b", "a~2fb", "../a", "x" * 300, "x" * 301]
    for name in names:
        append(service, make_tables([name]), RunKey(name, "v1"))
    for name in names:
        assert ids_of(scan(service, run=RunKey(name, "v1"))) == [name]


def test_recreate_removes_this_model_and_version_only(service: LocalService) -> None:
    neighbours = {"model": "v2", "other": "v1"}
    append(service, make_tables(["a"], labels=[1]))
    for model, version in neighbours.items():
        append(service, make_tables(["n"], version=version, labels=[1]), RunKey(model, version))
    append(service, make_tables(["b"], labels=[2]), recreate=True)
    assert ids_of(scan(service)) == ["b"]
    assert ids_of(scan(service, "records")) == ids_of(scan(service, "truths")) == ["b"]
    for model, version in neighbours.items():
        assert ids_of(scan(service, "truths", RunKey(model, version))) == ["n"]


def test_a_repeated_recreate_removes_nothing_more(service: LocalService) -> None:
    append(service, make_tables(["a"]))
    append(service, {}, recreate=True, batch_id="again")
    append(service, make_tables(["b"]))
    append(service, {}, recreate=True, batch_id="again")
    assert ids_of(scan(service)) == ["b"]


@pytest.mark.parametrize("there", [None, "v1", "v2"])
def test_a_recreate_that_comes_again_removes_nothing_that_was_stored_since(
    service: LocalService, there: str | None
) -> None:
    """Also where it had nothing to remove: no model yet, or none of this version's rows in some of the tables."""
    if there is not None:
        append(service, make_tables(["before"], version=there), RunKey("model", there))
    with_rows = make_tables(["first"], labels=[0])
    append(service, {}, recreate=True, batch_id="registration")
    append(service, with_rows, recreate=True, batch_id="with rows")
    append(service, make_tables(["since"], labels=[1]))
    append(service, with_rows, recreate=True, batch_id="with rows")
    append(service, {}, recreate=True, batch_id="registration")
    for kind in ("inputs", "records", "truths"):
        assert ids_of(scan(service, kind)) == ["first", "since"]


def test_rows_without_their_input_do_not_show(service: LocalService) -> None:
    tables = make_tables(["half"], labels=[1])
    append(service, make_tables(["a"], labels=[0]))
    append(
        service, {kind: rows for kind, rows in tables.items() if kind != "inputs"}
    )  # as a crash in between leaves it
    assert ids_of(scan(service, "records")) == ids_of(scan(service, "truths")) == ["a"]
    assert scan(service, n_epoch="latest").num_rows == 1


def test_scans_select_columns_and_recordings(service: LocalService) -> None:
    tables = make_tables(["a", "b", "c"], n_units=2)
    append(service, tables)
    chosen = tables["inputs"]["recording_id"].combine_chunks().take(pa.array([0, 2]))
    found = scan(service, "records", columns=("input_id", "unit"), recording_ids=chosen)
    assert found.column_names == ["input_id", "unit"]
    assert ids_of(found) == ["a", "a", "c", "c"]


def test_unknown_names_are_listed(service: LocalService) -> None:
    with pytest.raises(NotFoundError, match=r"known models: \[\]"):
        scan(service)
    append(service, make_tables(["a"]))
    with pytest.raises(NotFoundError, match=r"known versions: \['v1'\]"):
        scan(service, run=RunKey("model", "v9"))
    with pytest.raises(NotFoundError, match="inputs has no"):
        scan(service, columns=("nonsense",))
    with pytest.raises(InputError, match="kind"):
        scan(service, "nonsense")
    with pytest.raises(InputError, match="result_name"):
        scan(service, "scores")


def test_a_registered_run_without_rows_is_empty(service: LocalService) -> None:
    append(service, {})
    for kind in columns.KINDS[:3]:
        assert scan(service, kind).num_rows == 0


def test_winners_equal_a_slow_reference(service: LocalService) -> None:
    rng = np.random.default_rng(0)
    expected: dict[tuple[str, str, int | None], tuple[int, int]] = {}
    for _ in range(12):
        ids = [f"id{number}" for number in rng.integers(0, 25, 20)]
        dataset_type = str(rng.choice(["train", "val"]))
        epoch = [None, 0, 1][rng.integers(3)]
        moment = int(rng.integers(1, 6))
        tables = make_tables(ids, dataset_type=dataset_type, n_epoch=epoch, recorded_at=moment)
        append(service, tables)
        for input_id, recording in zip(ids, tables["inputs"]["recording_id"].to_pylist(), strict=True):
            key = (input_id, dataset_type, epoch)
            expected[key] = max(expected.get(key, (0, 0)), (moment, recording))
    model = service.workspace.metadata.model("model")
    assert model is not None
    rows = RunRows(service.workspace, model, RUN)
    newest = sorted(recording for _, recording in expected.values())
    assert rows.winners(Narrowing()).tolist() == newest
    assert sorted(rows.newest(Narrowing()).collect()["recording_id"]) == newest
    current = rows.current(Narrowing(), rows.newest(Narrowing()).collect()["input_id"].unique())
    assert sorted(current["recording_id"]) == newest
