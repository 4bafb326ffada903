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


@pytest.fixture
def dotenv(tmp_path, monkeypatch):
    """Writes the ``.env`` of the current folder."""
    monkeypatch.chdir(tmp_path)
    return (tmp_path / ".env").write_text


def test_environment_beats_dotenv_beats_default(dotenv, monkeypatch):
    dotenv("MLD_API_RETRIES=7\n")
    assert read_setting("MLD_API_RETRIES") == 7
    monkeypatch.setenv("MLD_API_RETRIES", "2")
    assert read_setting("MLD_API_RETRIES") == 2
    assert read_setting("MLD_API_RETRIES", 0) == 0


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("MLD_API_KEY=mldbg_a", "mldbg_a"),
        ("export MLD_API_KEY = 'mldbg_a'  # the key of Eva", "mldbg_a"),
        ('MLD_API_KEY="mldbg_a # b"', "mldbg_a # b"),
        ("  MLD_API_KEY=mldbg_a   # mine", "mldbg_a"),
        ("MLD_API_KEY=mldbg_#a", "mldbg_#a"),
        ("MLD_API_KEY='half", "'half"),
        ("MLD_API_KEY=a=b", "a=b"),
        ("# MLD_API_KEY=mldbg_a", ""),
        ("MLD_API_KEY=", ""),
        ("MLD_API_KEY", ""),
        ("OTHER=1\n\nMLD_API_KEY=x\nMLD_API_KEY=y", "y"),
    ],
)
def test_lines_of_dotenv(dotenv, line, value):
    dotenv(line)
    assert read_setting("MLD_API_KEY") == value


def test_a_dotenv_value_that_does_not_parse_is_named(dotenv):
    dotenv("MLD_API_RETRIES=-1")
    with pytest.raises(ConfigError, match="MLD_API_RETRIES: expected int of at least 0, got '-1'"):
        read_setting("MLD_API_RETRIES")


def test_a_dotenv_that_cannot_be_read_is_an_error_without_its_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"MLD_API_KEY=secret\xff\xfe")
    with pytest.raises(ConfigError, match=r"\.env.*cannot be read") as caught:
        read_setting("MLD_API_KEY")
    assert "secret" not in str(caught.value)


def test_a_virtual_environment_called_dotenv_is_none_of_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").mkdir()
    assert read_setting("MLD_API_KEY") == ""
