"""What a tracer was given for data filters to share goes wherever its rows go, and is what embedded runs keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ml_debugger.connect import Connection, connect, place_of
from ml_debugger.errors import InputError
from ml_debugger.service import wire
from ml_debugger.service.contract import AppendRequest, RunKey
from ml_debugger.service.copies import encode_models
from ml_debugger.service.copying import Place, copy_run
from ml_debugger.service.local import LocalService
from tests.helpers.rows import RUN, SCHEMA, append, make_tables

RANGE = {"pc_range": [0.0, -40.0, -3.0, 70.4, 40.0, 1.0 / 3]}


@pytest.fixture(params=["embedded", "server"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "embedded":
        yield memory()
        return
    request.getfixturevalue("served")
    place = place_of(connect())
    yield place
    place.service.close()


def memory() -> Place:
    return place_of(Connection("memory", LocalService.open("memory://")))


def trace(place: Place, settings: dict[str, Any] | None, version: str = "v1") -> None:
    run = RunKey("model", version)
    append(place.service, make_tables([1], version=version, labels=[0]), run, schema=replace(SCHEMA, settings=settings))


def settings_at(place: Place) -> dict[str, Any]:
    (model,) = place.copies.models("model")
    assert model.schema.settings is None  # they belong to versions
    return {version: model.schema_of(version).settings for version in model.versions}


@pytest.mark.parametrize(
    "settings", [None, {}, RANGE, {"name": "é", "count": 3, "share": 1e-300, "is_on": True, "words": ["a", 1, 0.5]}]
)
def test_they_come_out_as_they_went_in(settings: dict[str, Any] | None) -> None:
    request = AppendRequest("batch", RUN, replace(SCHEMA, settings=settings), {})
    found = wire.decode_append(wire.encode_append(request))
    assert found == request
    assert repr(found.schema.settings) == repr(settings)  # 1 is not 1.0


@pytest.mark.parametrize(
    "wrong",
    ["a", [1], {"a": {"b": 1}}, {"a": [[1]]}, {"a": None}, {"a": [0.0] * 1001}, {"a" * 1025: 1},
     {f"{number}": 1 for number in range(101)}, {"a": "b" * 70_000}],
)  # fmt: skip
def test_others_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"schema\.settings"):
        wire.decode_append(wire.encode_append(AppendRequest("batch", RUN, replace(SCHEMA, settings=wrong), {})))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_a_database_cannot_keep_are_refused(number: str) -> None:
    content = wire.encode_append(AppendRequest("batch", RUN, replace(SCHEMA, settings={"a": [2.5e7]}), {}))
    assert content.count(b"25000000.0") == 1
    with pytest.raises(InputError, match=r"schema\.settings"):
        wire.decode_append(content.replace(b"25000000.0", number.ljust(10).encode()))


def test_those_of_the_newest_tracer_of_a_version_are_kept(place: Place) -> None:
    trace(place, None)
    assert settings_at(place) == {"v1": None}  # a data filter's row, if it were alone
    trace(place, RANGE)
    trace(place, None)
    trace(place, {"pc_range": [1]}, "v2")
    assert settings_at(place) == {"v1": RANGE, "v2": {"pc_range": [1]}}
    trace(place, {})
    assert settings_at(place) == {"v1": {}, "v2": {"pc_range": [1]}}


def test_a_copy_of_a_run_takes_them_with_it_and_back(place: Place) -> None:
    source, back = memory(), memory()
    trace(source, RANGE)
    trace(source, {"pc_range": [1]}, "v2")
    trace(source, None, "v3")
    for version in ("v1", "v2", "v3"):
        copy_run(source, place, RunKey("model", version))
        copy_run(place, back, RunKey("model", version))
    wanted = {"v1": RANGE, "v2": {"pc_range": [1]}, "v3": None}
    assert settings_at(place) == settings_at(back) == wanted
    assert encode_models(back.copies.models())["models"][0]["settings"] == {"v1": RANGE, "v2": {"pc_range": [1]}}
    trace(source, {"pc_range": [2]})
    copy_run(source, place, RUN)
    assert settings_at(place)["v1"] == {"pc_range": [2]}
