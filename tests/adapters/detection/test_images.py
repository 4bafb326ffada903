"""Widths and heights from every kind of input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ml_debugger.adapters.detection.images import image_sizes

INPUTS = {
    "torch images": [torch.zeros(3, 20, 30), torch.zeros(3, 40, 50)],
    "numpy images": [np.zeros((20, 30, 3)), np.zeros((40, 50, 3))],
    "grey images": [np.zeros((20, 30)), np.zeros((40, 50))],
    "pil images": [Image.new("RGB", (30, 20)), Image.new("L", (50, 40))],
    "a mapping": {"images": (torch.zeros(1, 20, 30), torch.zeros(1, 40, 50)), "other": 3},
}


@pytest.mark.parametrize("form", INPUTS)
def test_images_of_different_sizes(form: str) -> None:
    assert image_sizes(INPUTS[form], 2).tolist() == [[30, 20], [50, 40]]


@pytest.mark.parametrize(
    "batch", [torch.zeros(2, 3, 20, 30), np.zeros((2, 20, 30, 3)), {"pixel_values": torch.zeros(2, 3, 20, 30)}]
)
def test_a_batch(batch: object) -> None:
    assert image_sizes(batch, 2).tolist() == [[30, 20], [30, 20]]


def test_one_image_alone() -> None:
    assert image_sizes(torch.zeros(3, 20, 30), 1).tolist() == [[30, 20]]
    assert image_sizes(Image.new("RGB", (30, 20)), 1).tolist() == [[30, 20]]


@pytest.mark.parametrize("unknown", ["street.jpg", {"points": 3}, np.zeros(7), [object()], np.zeros((9, 9, 9)), None])
def test_what_cannot_be_told_is_nan(unknown: object) -> None:
    assert np.isnan(image_sizes(unknown, 1)).all()


def test_two_ids_for_one_image_and_no_image() -> None:
    assert np.isnan(image_sizes(torch.zeros(3, 20, 30), 2)).all()
    assert image_sizes([], 0).shape == (0, 2)
    assert np.isnan(image_sizes([torch.zeros(3, 2, 2)], 2)[1]).all()
