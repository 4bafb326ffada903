"""The short forms."""

from __future__ import annotations

from ml_debugger.presentation.summary import summary_html, summary_text
from tests.helpers.payloads import make_payload


def test_text_holds_zones_metrics_promise_and_notes():
    payload = make_payload()
    text = summary_text(payload.info, payload.metrics, payload.zones.to_pylist())
    assert text.startswith("toy_v1_classification_v1_20260102 (epoch 2)")
    assert "note: 12 rows of older weights were left out" in text
    assert "stable_coverage: at most 8.0 % wrong" in text
    assert "AUROC" in text
    assert "0.890 to 0.910" in text


def test_long_sentences_are_wrapped():
    note = " ".join(["word"] * 60)
    payload = make_payload(notes=[note])
    text = summary_text(payload.info, payload.metrics, payload.zones.to_pylist())
    assert max(map(len, text.splitlines())) <= 100
    assert f"note: {note}" in " ".join(text.split())


def test_an_epoch_without_a_number_is_named_so():
    payload = make_payload(n_epoch=None, notes=[])
    text = summary_text(payload.info, payload.metrics, payload.zones.to_pylist())
    assert "(epoch not numbered)" in text
    assert "note:" not in text


def test_html_escapes_what_users_name():
    payload = make_payload(result_name="<i>", notes=["a < b"])
    html = summary_html(payload.info, payload.metrics, payload.zones.to_pylist())
    assert "<i>" not in html
    assert "a &lt; b" in html
    assert html.count("<table>") == 2
    assert "<ul>" not in summary_html({**payload.info, "notes": None}, payload.metrics, [])
