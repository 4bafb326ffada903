"""Files for people and other programs."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from ml_debugger.errors import InputError
from ml_debugger.presentation.files import find_format, write_text


@pytest.fixture
def frame():
    return pd.DataFrame({"input_id": pd.Series([3, 'a"é'], dtype=object), "score": [0.5, None]})


def test_csv_round_trip(frame, tmp_path):
    path = write_text(tmp_path / "deep" / "x.CSV", find_format(tmp_path / "x.CSV")(frame))
    back = pd.read_csv(path)
    assert back["input_id"].tolist() == ["3", 'a"é']


def test_json_lines_keep_integers(frame, tmp_path):
    lines = find_format(tmp_path / "x.jsonl")(frame).splitlines()
    assert [json.loads(line)["input_id"] for line in lines] == [3, 'a"é']
    assert json.loads(lines[1])["score"] is None


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"one of \['.csv', '.jsonl'\], got 'x.xlsx'"):
        find_format(tmp_path / "x.xlsx")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="name another place"):
        write_text(tmp_path / "file" / "x.csv", "")
