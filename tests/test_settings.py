"""Settings: argument, then environment, then default; read when asked, never at import."""

import pytest

from ml_debugger.errors import ConfigError
from ml_debugger.settings import SETTINGS, expand_home, read_setting


def test_argument_beats_environment_beats_default(monkeypatch):
    monkeypatch.delenv("MLD_HOME")
    assert read_setting("MLD_HOME") == SETTINGS["MLD_HOME"].default
    monkeypatch.setenv("MLD_HOME", "/from/environment")
    assert read_setting("MLD_HOME") == "/from/environment"
    assert read_setting("MLD_HOME", "/from/argument") == "/from/argument"


def test_an_empty_argument_is_an_argument(monkeypatch):
    monkeypatch.setenv("MLD_API_ENDPOINT", "https://example.invalid")
    assert read_setting("MLD_API_ENDPOINT", "") == ""


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("MLD_BUFFER_ROWS", "")
    assert read_setting("MLD_BUFFER_ROWS") == SETTINGS["MLD_BUFFER_ROWS"].default


def test_a_variable_that_does_not_parse_is_named(monkeypatch):
    monkeypatch.setenv("MLD_BUFFER_ROWS", "many")
    with pytest.raises(ConfigError, match="MLD_BUFFER_ROWS: expected int above 0, got 'many'"):
        read_setting("MLD_BUFFER_ROWS")


def test_home_is_expanded_and_urls_are_left_alone(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert expand_home("~/x") == "/home/someone/x"
    assert expand_home("s3://bucket/~x") == "s3://bucket/~x"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLD_BUFFER_ROWS", "0"),
        ("MLD_BUFFER_ROWS", "-5"),
        ("MLD_BUFFER_MB", "0"),
        ("MLD_SYNC_SECONDS", "0"),
        ("MLD_SYNC_SECONDS", "nan"),
        ("MLD_SYNC_SECONDS", "inf"),
    ],
)
def test_sizes_that_would_make_a_writer_wait_for_ever_are_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name}: expected (int|float) above 0, got '{value}'"):
        read_setting(name)
