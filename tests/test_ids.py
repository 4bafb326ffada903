"""Ids go in as any list of str or int and come back as they were given."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ml_debugger.errors import InputError
from ml_debugger.ids import parse_ids, restore_ids


@pytest.mark.parametrize(
    "given_ids",
    [
        [3, 1, 2],
        (3, 1, 2),
        np.array([3, 1, 2]),
        torch.tensor([3, 1, 2]),
        [np.int64(3), np.int32(1), np.uint8(2)],
        [torch.tensor(3), torch.tensor(1), torch.tensor(2)],
    ],
    ids=["list", "tuple", "array", "tensor", "numpy scalars", "scalar tensors"],
)
def test_ints_of_any_container_come_back_as_python_ints(given_ids):
    ids = parse_ids(given_ids)
    assert ids.text == ("3", "1", "2")
    restored = restore_ids(ids.text, ids.kinds)
    assert restored == [3, 1, 2]
    assert all(type(value) is int for value in restored)


def test_strings_come_back_as_plain_strings_even_when_they_look_like_numbers():
    ids = parse_ids(np.array(["7", "img/1.png"]))
    assert restore_ids(ids.text, ids.kinds) == ["7", "img/1.png"]
    assert all(type(value) is str for value in ids.text)


@given(st.lists(st.integers(-(2**62), 2**62) | st.text(min_size=1)))
def test_round_trip_keeps_every_id_and_its_type(values):
    ids = parse_ids(values)
    restored = restore_ids(ids.text, ids.kinds)
    assert restored == values
    assert [type(value) for value in restored] == [type(value) for value in values]


def test_type_cast_overrides_the_kind():
    assert restore_ids(("1", "2"), ("str", "str"), int) == [1, 2]
    assert restore_ids(("1", "2"), ("int", "int"), str) == ["1", "2"]


def test_type_cast_that_fails_names_the_id():
    with pytest.raises(InputError, match=r"cannot convert the id 'a\.png'"):
        restore_ids(("a.png",), ("str",), int)


@pytest.mark.parametrize("bad", ["abc", b"abc", 7, None, torch.tensor(7)], ids=repr)
def test_a_single_value_is_not_a_list_of_ids(bad):
    with pytest.raises(InputError, match="expected one id per input"):
        parse_ids(bad)


@pytest.mark.parametrize("bad", [1.5, True, None, "", b"x", (1,), "\udcff.png"], ids=repr)
def test_an_element_that_is_no_id_is_named_with_its_position(bad):
    with pytest.raises(InputError, match=r"input_ids\[1\].*expected a non-empty str of valid Unicode or an int"):
        parse_ids([1, bad])


def test_no_ids_are_fine():
    assert parse_ids([]).text == ()
    assert restore_ids((), ()) == []


@pytest.mark.parametrize(
    "bad", [{3, 1}, frozenset("ab"), {"a": 1}, {"a": 1}.keys()], ids=lambda bad: type(bad).__name__
)
def test_what_has_no_order_cannot_name_the_inputs_of_a_batch(bad):
    with pytest.raises(InputError, match="in the order of the inputs"):
        parse_ids(bad)
    assert len(parse_ids(bad, "exclude", ordered=False)) == len(bad)
