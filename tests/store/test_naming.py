"""Any name becomes one folder of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_debugger.errors import InputError
from ml_debugger.store.naming import check_partition, quote_name


@given(st.lists(st.text(), min_size=2, max_size=30, unique=True))
def test_names_stay_apart_and_inside(names: list[str]) -> None:
    quoted = [quote_name(name) for name in names if name]
    assert len({name.lower() for name in quoted}) == len(quoted)
    for name in quoted:
        assert len(name.encode()) <= 120
        assert name.isascii()
        assert not set(name) & set('/\\%:*?"<>| ')
        assert name not in (".", "..")
        assert not name.startswith(".")


@pytest.mark.parametrize(
    ("name", "quoted"), [("resnet18_v1.2", "resnet18_v1.2"), ("../a", "~2e.~2fa"), ("A b", "~41~20b"), ("é", "~c3~a9")]
)
def test_plain_names_stay_readable(name: str, quoted: str) -> None:
    assert quote_name(name) == quoted


def test_long_names_are_cut_and_stay_apart() -> None:
    assert quote_name("x" * 500) != quote_name("x" * 501)
    assert len(quote_name("é" * 500)) == 120


@pytest.mark.parametrize("value", ["", "__HIVE_DEFAULT_PARTITION__", "日" * 40])
def test_values_that_no_partition_can_have(value: str) -> None:
    with pytest.raises(InputError, match="dataset_type"):
        check_partition("dataset_type", value)
    assert check_partition("dataset_type", "日" * 10) == "日" * 10
