"""The report is one file that needs nothing else, and holds every number."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from ml_debugger.columns import ZONES
from ml_debugger.presentation.palette import THEMES
from ml_debugger.presentation.report import ReportParts, render_report
from tests.helpers.payloads import LIMITS, make_payload

VOID = {"meta", "img", "source", "br", "link", "input"}


class Reader(HTMLParser):
    """Collects text and links, and fails on tags that do not close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "srcset", "href", "data", "action")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def parts():
    payload = make_payload()
    cells = payload.samples.to_pandas().assign(
        score_low=0.0, score_high=0.1, error_proba_low=0.0, error_proba_high=0.1, count=1, error_rate=0.0
    )[:3]
    return ReportParts(payload.info, payload.metrics, payload.zones, payload.error_codes, cells, payload.samples)


@pytest.fixture(scope="module")
def page(parts):
    return render_report(parts)


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_nothing_outside_is_referred_to(page):
    assert not re.findall(r"https?:|//cdn|@import|url\(|<script|<link", page)
    reader = read(page)
    assert len(reader.links) == 3 * len(THEMES)
    for link in reader.links:
        head, data = link.split(",", 1)
        assert head == "data:image/svg+xml;base64"
        assert b"<svg" in base64.b64decode(data)


def test_every_number_zone_and_note_is_there(parts, page):
    text = " ".join(read(page).text)
    for note in parts.info["notes"]:
        assert note in text
    for zone in ZONES.values():
        assert zone.name in text
        assert zone.description in text
        assert f"rule of {zone.name}" in text
    for name, value in LIMITS.items():
        assert name in text
        assert str(value) in text
    assert "at most 8.0 % wrong, with 95 % confidence, backed by 80 rows" in text
    assert "0.890 to 0.910" in text
    assert text.index(parts.info["notes"][0]) < text.index("Zones")


def test_error_codes_are_listed_most_frequent_first_and_cut(parts, page):
    text = " ".join(read(page).text)
    codes = parts.error_codes.to_pandas()
    codes = codes[[code[3] != code[6] for code in codes["error_code"]]].reset_index()
    assert codes["error_code"][0] in text
    assert "CLS0->0" not in text
    assert f"25 most frequent of {len(codes)} codes" in text


def test_no_errors_and_no_notes(parts):
    bare = ReportParts(
        {**parts.info, "notes": [], "n_epoch": None},
        parts.metrics,
        parts.zones,
        parts.error_codes.slice(0, 0),
        parts.cells[:0],
        parts.samples,
    )
    text = " ".join(read(render_report(bare)).text)
    assert "The model was right on every labelled row." in text
    assert "Read this first" not in text
    assert "not numbered" in text


def test_names_cannot_inject_markup(parts):
    evil = ReportParts(
        {**parts.info, "model_name": "<script>x</script>", "notes": ["<b>bold</b>"]},
        parts.metrics,
        parts.zones,
        parts.error_codes,
        parts.cells,
        parts.samples,
    )
    harmless = render_report(evil)
    assert "<script>" not in harmless
    assert "&lt;b&gt;bold" in harmless


def test_the_same_result_gives_the_same_file(parts, page):
    assert render_report(parts) == page
