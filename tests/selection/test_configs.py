from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from ml_debugger.columns import ZONES
from ml_debugger.errors import ConfigError
from ml_debugger.selection import FilterConfig, SamplingConfig


def test_a_filter_from_the_guide():
    config = FilterConfig(target_zones=["hotspot"], conditions=[{"error_proba": ">=0.5", "score": "<0.7"}])
    assert [(one.column, one.operator, one.value) for one in config.parsed[0]] == [
        ("error_proba", ">=", 0.5),
        ("score", "<", 0.7),
    ]
    assert FilterConfig.read(config, "x") is config
    assert FilterConfig(**config.model_dump(mode="json", exclude_none=True)) == config


def test_configs_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        FilterConfig(target_zones=["hotspot"]).target_zones = ("hotspot",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "nothing to select by"),
        ({"target_zones": []}, "nothing to select by"),
        ({"target_zones": "hotspot"}, "target_zones: .*got 'hotspot'"),
        ({"target_zones": ["hotspot", "warm", 3]}, r"target_zones\[2\]"),
        ({"target_zones": ["warm", "cold"]}, "no such zone: 'cold', 'warm'"),
        ({"conditions": {"score": ">1"}}, "conditions: "),
        ({"conditions": [{}]}, "a condition dict is empty"),
        ({"conditions": [{"score": True}]}, r"conditions\[0\].score: .*got True"),
        ({"conditions": [{"score": ">1"}, {"age": "~1"}]}, "condition on 'age': expected an operator"),
        ({"zone": ["hotspot"]}, "zone: .*not permitted"),
    ],
)
def test_a_wrong_filter_says_what_is_allowed(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        FilterConfig(**values)
    assert all(zone in str(caught.value) for zone in ZONES)


@pytest.mark.parametrize("value", [None, 3, "hotspot", ["hotspot"], {1: 2}])
def test_read_takes_a_config_or_a_dict(value):
    with pytest.raises(ConfigError, match="filter_config: expected a FilterConfig or a dict, got"):
        FilterConfig.read(value, "filter_config")


@pytest.mark.parametrize("config", [FilterConfig, SamplingConfig])
def test_validate_dict_answers_and_never_raises(config):
    good = {"target_zones": ["hotspot"]} if config is FilterConfig else {"method": "class_balanced"}
    check = config.validate_dict(good)
    assert (check.is_valid, check.config) == (True, config(**good))
    assert check.message.startswith(f"valid {config.__name__}")
    for bad in ({**good, "metod": 1}, None, []):
        check = config.validate_dict(bad)
        assert (check.is_valid, check.config) == (False, None)
        assert "Allowed keys" in check.message


def test_a_config_within_another_is_explained_too():
    class Outer(BaseModel):
        inner: FilterConfig

    assert Outer(inner={"target_zones": ["hotspot"]}).inner.target_zones == ("hotspot",)
    with pytest.raises(ValidationError, match="no such zone: 'warm'"):
        Outer(inner={"target_zones": ["warm"]})


def test_sampling_takes_numpy_numbers():
    config = SamplingConfig(method="random", min_value=np.float32(0.5), max_value=np.int64(1), seed=np.int64(7))
    assert (config.min_value, config.max_value, config.seed) == (0.5, 1.0, 7)
    assert SamplingConfig(method="class_balanced", min_per_class=3, max_value=0.5).min_per_class == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "method: Field required"),
        ({"method": "best"}, "method: .*'random' or 'class_balanced'"),
        ({"method": "random"}, "needs min_value, max_value or both"),
        ({"method": "random", "min_value": "0.5"}, "min_value: .*got '0.5'"),
        ({"method": "random", "min_value": True}, "min_value: .*got True"),
        ({"method": "random", "max_value": math.nan}, "max_value: .*finite"),
        ({"method": "random", "max_value": math.inf}, "max_value: .*finite"),
        ({"method": "random", "min_value": 0.7, "max_value": 0.3}, "min_value 0.7 is above max_value 0.3"),
        ({"method": "random", "min_value": 0.1, "min_per_class": 3}, "belongs to method"),
        ({"method": "random", "min_value": 0.1, "seed": -1}, "seed: "),
        ({"method": "random", "min_value": 0.1, "seed": 1.0}, "seed: "),
        ({"method": "class_balanced", "min_per_class": 0}, "min_per_class: "),
        ({"method": "class_balanced", "min_per_class": True}, "min_per_class: "),
        ({"method": "class_balanced", "n": 3}, "n: .*not permitted"),
    ],
)
def test_a_wrong_sampling_says_what_is_allowed(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        SamplingConfig(**values)
    assert "Allowed keys: method" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target_zones": "hotspot"}, "target_zones: expected a list, got 'hotspot'"),
        ({"conditions": [{"score": 0.5}]}, "score: expected a str, got 0.5"),
    ],
)
def test_mistakes_are_told_in_the_words_of_python(given, words):
    assert words in FilterConfig.validate_dict(given).message
