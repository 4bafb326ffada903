from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_debugger.errors import ConfigError
from ml_debugger.selection.conditions import OPERATORS, Condition, format_condition, parse_condition


@given(
    column=st.text(min_size=1),
    sign=st.sampled_from(list(OPERATORS)),
    value=st.floats(allow_nan=False, allow_infinity=False),
)
def test_parse_reads_back_what_format_writes(column, sign, value):
    condition = Condition(column, sign, value)
    assert parse_condition(column, format_condition(condition)) == condition


@given(sign=st.sampled_from(list(OPERATORS)), value=st.integers(-9, 9), left=st.text(" \t"), right=st.text(" \t"))
def test_spaces_do_not_matter(sign, value, left, right):
    assert parse_condition("score", f"{left}{sign}{right}{value}{left}") == Condition("score", sign, value)


@pytest.mark.parametrize("number", ["0.5", ".5", "5e-1", "+0.5", "0.50", "5.E-1"])
def test_usual_ways_to_write_a_number(number):
    assert parse_condition("score", ">" + number).value == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        ">=",
        "0.5",
        "=0.5",
        "=>0.5",
        "<>1",
        ">=nan",
        ">=inf",
        ">=1e999",
        ">=a",
        ">= 1 2",
        ">=1,5",
        "!1",
        ">=٣",
        ">=0x1",
    ],
)
def test_anything_else_is_refused_with_the_operators(text):
    with pytest.raises(ConfigError, match=r"condition on 'score': expected an operator \(>=, >, <=, <, ==, !=\)"):
        parse_condition("score", text)
