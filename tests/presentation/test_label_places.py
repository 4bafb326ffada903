"""Texts stand off each other, within the picture."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.presentation.box_shapes import overlap
from ml_debugger.presentation.label_places import LabelPlaces

BOX = np.array([100.0, 100.0, 200.0, 150.0])


def test_the_first_free_corner_is_taken():
    places = LabelPlaces((400, 300))
    for text in ("one", "two", "three"):
        places.add(BOX, text, "#ffffff", ("TOP_LEFT", "BOTTOM_LEFT"))
    assert [(label.text, label.corner) for label in places.labels] == [("two", "BOTTOM_LEFT"), ("one", "TOP_LEFT")]
    top, bottom = places.labels[1].place, places.labels[0].place
    assert top[:2] == (100.0, 73.0)
    assert top[3] == 100.0
    assert bottom[:2] == (100.0, 150.0)


def test_the_first_text_is_never_left_out():
    everywhere = (0.0, 0.0, 400.0, 300.0)
    places = LabelPlaces((400, 300), [everywhere])
    assert not places.is_free((1.0, 1.0, 2.0, 2.0))
    for text in ("one", "two"):
        places.add(BOX, text, "#ffffff")
    assert [label.text for label in places.labels] == ["one"]


def test_what_is_taken_stays_free_of_texts():
    places = LabelPlaces((400, 300))
    places.take((0.0, 0.0, 400.0, 100.0))
    places.add(BOX, "one", "#ffffff", ("TOP_LEFT", "BOTTOM_LEFT"))
    assert places.labels[0].corner == "BOTTOM_LEFT"


@pytest.mark.parametrize("box", [(-50, -50, -40, -40), (390, 290, 900, 900), (0, 0, 400, 300)])
def test_texts_stay_within_the_picture(box):
    places = LabelPlaces((400, 300))
    places.add(np.array(box, float), "some words", "#ffffff")
    place = places.labels[0].place
    assert overlap(place, (0.0, 0.0, 400.0, 300.0)) == pytest.approx((place[2] - place[0]) * (place[3] - place[1]))
