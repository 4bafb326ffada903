"""The page on detection codes shows every code, and its pictures are what the package says today."""

from __future__ import annotations

import pytest

from ml_debugger.analysis.detection_codes import CODE_MEANINGS
from tests.docs.detection_pictures import FOLDER, SCENES, draw

PAGE = (FOLDER.parent / "detection-codes.md").read_text()

EXPECTED = {
    "a": ["DET:A:CLS3->3"],
    "a-class": ["DET:A:CLS3->5"],
    "a-star": ["DET:A*:CLS3->3"],
    "m": ["DET:M:CLS3->3"],
    "sp": ["DET:SP:CLS3->3", "DET:SP:CLS3->3"],
    "sg": ["DET:SG:CLS3->3"],
    "d": ["DET:A:CLS3->3", "DET:D:CLS3->3"],
    "on": ["DET:A:CLS3->3", "DET:ON:CLS->5"],
    "n": ["DET:A:CLS3->3", "DET:N:CLS->5"],
    "u": ["DET:U:CLS->3"],
    "np": ["DET:A:CLS3->3", "DET:NP:CLS5->"],
}


@pytest.mark.parametrize("name", SCENES)
def test_a_picture_shows_its_code(name: str) -> None:
    assert SCENES[name].codes() == EXPECTED[name]
    assert (FOLDER / f"det-{name}.svg").read_text() == draw(SCENES[name])
    assert f"![{SCENES[name].shows}](pictures/det-{name}.svg)" in PAGE


def test_every_code_is_in_the_table_in_the_order_of_the_rules() -> None:
    places = [PAGE.index(f"| `{code}` | {name} | ") for code, (name, _) in CODE_MEANINGS.items()]
    assert places == sorted(places)
    assert {code.split(":")[1].rstrip("*") for codes in EXPECTED.values() for code in codes} == set(CODE_MEANINGS)


def test_no_picture_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"det-{name}.svg" for name in SCENES}
