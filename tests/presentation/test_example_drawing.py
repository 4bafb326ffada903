"""Examples as pictures: boxes in the right place, texts within the picture, wrong images refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ml_debugger.errors import InputError
from ml_debugger.presentation.example_drawing import draw_example
from ml_debugger.presentation.example_style import CANVAS, TRUTH, find_colour
from ml_debugger.presentation.examples import Neighbour
from tests.helpers.examples import EXAMPLE, GREY, MISSED

pytest.importorskip("supervision")


def share_of(picture: np.ndarray, colour: str) -> float:
    return float((np.abs(picture.astype(int) - np.round(np.array(to_rgb(colour)) * 255)).max(axis=2) < 12).mean())


def test_the_box_has_the_colour_of_its_zone_and_annotations_are_green():
    picture = draw_example(GREY, EXAMPLE)
    assert picture.dtype == np.uint8
    assert picture.shape == (CANVAS[1], CANVAS[0], 3)
    assert share_of(picture, find_colour(EXAMPLE)) > 0.01
    assert share_of(picture, TRUTH) > 0.01
    assert share_of(draw_example(GREY, replace(EXAMPLE, truths=())), TRUTH) == 0
    missed = draw_example(GREY, MISSED)
    assert find_colour(MISSED) == TRUTH
    assert share_of(missed, TRUTH) > 0.01
    assert share_of(missed, find_colour(EXAMPLE)) == 0


def test_a_box_is_where_it_is_in_the_image():
    image = GREY.copy()
    image[80:160, 100:180] = (250, 20, 20)
    picture = draw_example(image, replace(EXAMPLE, truths=(), others=()))
    below_the_label = slice(100, None)
    part = picture[below_the_label]
    red = np.argwhere((part[..., 0] > 230) & (part[..., 1] < 40))
    colour = np.round(np.array(to_rgb(find_colour(EXAMPLE))) * 255)
    frame = np.argwhere(np.abs(part.astype(int) - colour).max(axis=2) < 12)
    assert np.abs(red.max(axis=0) - frame.max(axis=0)).max() <= 6
    assert abs(red[:, 1].min() - frame[:, 1].min()) <= 6


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((300, 400), (0.0, 0.0, 400.0, 300.0)),
        ((300, 400), (-20.0, -10.0, 30.0, 20.0)),
        ((300, 400), (398.0, 298.0, 420.0, 310.0)),
        ((300, 400), (200.0, 150.0, 201.0, 151.0)),
        ((900, 40), (5.0, 400.0, 30.0, 800.0)),
        ((30, 900), (5.0, 5.0, 30.0, 25.0)),
        ((12, 12), (2.0, 2.0, 9.0, 9.0)),
    ],
)
def test_boxes_at_borders_and_images_of_any_form_are_drawn(shape, box):
    example = replace(EXAMPLE, box=box, truths=(), size=shape[::-1])
    picture = draw_example(np.full((*shape, 3), 120, np.uint8), example)
    assert 0 < picture.shape[0] <= CANVAS[1]
    assert 0 < picture.shape[1] <= CANVAS[0]
    assert share_of(picture, find_colour(example)) > 0


def test_texts_do_not_cover_each_other():
    several = tuple(
        Neighbour((100.0, 80.0, 180.0, 160.0 + shift), label) for shift, label in ((0, 1), (1, 123), (2, 3))
    )
    texts = []
    import supervision

    class Spy(supervision.RichLabelAnnotator):
        def _draw_labels(self, draw, labels, label_properties, detections, custom_color_lookup):
            texts.append((labels[0], *label_properties[0][:4]))
            super()._draw_labels(draw, labels, label_properties, detections, custom_color_lookup)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervision, "RichLabelAnnotator", Spy)
        draw_example(GREY, replace(EXAMPLE, truths=several))
    said = [text for text, *_ in texts]
    assert said[-1] == "DET:SG*:CLS123->456  91%"  # on top
    assert "true 123" in said  # what it belongs to is never left out
    assert len(said) >= 3
    for at, (_, *one) in enumerate(texts):
        assert 0 <= one[0] < one[2] <= CANVAS[0]
        assert 0 <= one[1] < one[3] <= CANVAS[1]
        for _, *other in texts[:at]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart


def test_an_image_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"'street.jpg' has 200 x 100 pixels, but its boxes are of one with 400 x 300"):
        draw_example(np.zeros((100, 200, 3), np.uint8), EXAMPLE)
    unknown = replace(EXAMPLE, size=None)
    assert draw_example(GREY, unknown).size
    with pytest.raises(InputError, match="boxes that reach to 198, 168; give it as the model got it"):
        draw_example(np.zeros((100, 150, 3), np.uint8), unknown)
