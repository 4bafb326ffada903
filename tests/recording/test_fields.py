"""Additional fields: declared once, filled per call."""

import numpy as np
import pytest
import torch

from ml_debugger.errors import InputError
from ml_debugger.recording.fields import field_columns, parse_fields
from ml_debugger.types import Field


def test_types_may_be_names_or_python_types():
    declared = [{"name": "site", "type": "str"}, {"name": "age", "type": int}]
    assert parse_fields(declared, "additional_fields") == (Field("site", "str"), Field("age", "int"))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ([{"name": "x"}], r'additional_fields\[0\]: expected {"name"'),
        (["x"], r'additional_fields\[0\]: expected {"name"'),
        ([{"name": "two words", "type": "int"}], "Python identifier"),
        ([{"name": 3, "type": "int"}], "Python identifier"),
        ([{"name": "score", "type": "int"}], "column or an argument of MLdebugger's own"),
        ([{"name": "Score", "type": "int"}], "column or an argument"),
        ([{"name": "ground_truth", "type": "int"}], "column or an argument"),
        ([{"name": "input_ids", "type": "int"}], "column or an argument"),
        ([{"name": "x", "type": "decimal"}], "type must be one of"),
        ([{"name": "x", "type": "int"}, {"name": "x", "type": "int"}], "comes twice"),
        ([{"name": "x", "type": "int"}, {"name": "X", "type": "int"}], "comes twice"),
    ],
)
def test_a_declaration_that_cannot_be_right_says_why(declared, message):
    with pytest.raises(InputError, match=message):
        parse_fields(declared, "additional_fields")


@pytest.mark.parametrize("name", ["x", "dz", "yaw"])
def test_what_names_a_column_depends_on_the_task(name):
    declared = [{"name": name, "type": "float"}]
    for task in (None, "classification", "object_detection"):
        assert parse_fields(declared, "additional_fields", task) == (Field(name, "float"),)
    for variant in (name, name.upper()):
        with pytest.raises(InputError, match="column or an argument"):
            parse_fields([{"name": variant, "type": "float"}], "additional_fields", "object_detection_3d")


FIELDS = (Field("n", "int"), Field("x", "float"), Field("s", "str"), Field("b", "bool"))


def test_values_come_from_lists_arrays_tensors_and_scalars():
    filled = field_columns(
        FIELDS, {"n": torch.tensor([1, 2]), "x": np.array([0.5, 1.5]), "s": "all", "b": [True, None]}, 2
    )
    assert filled["n"].to_pylist() == [1, 2]
    assert filled["x"].to_pylist() == [0.5, 1.5]
    assert filled["s"].to_pylist() == ["all", "all"]
    assert filled["b"].to_pylist() == [True, None]


def test_a_field_without_a_value_is_null():
    assert field_columns(FIELDS, {}, 2)["n"].to_pylist() == [None, None]


def test_a_list_of_scalar_tensors_is_unpacked():
    assert field_columns(FIELDS[:1], {"n": [torch.tensor(4), np.int64(5)]}, 2)["n"].to_pylist() == [4, 5]


@pytest.mark.parametrize("value", [[1, 2, 3], np.zeros(3), object()], ids=["list", "array", "object"])
def test_a_wrong_length_names_the_field(value):
    with pytest.raises(InputError, match="n: expected 2 values, one per input"):
        field_columns(FIELDS, {"n": value}, 2)


def test_a_wrong_type_names_the_field():
    with pytest.raises(InputError, match="n: expected values of type int"):
        field_columns(FIELDS, {"n": ["a", "b"]}, 2)
