"""Themes cover every zone, and their colours stay apart for colour-blind readers."""

from __future__ import annotations

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ml_debugger.columns import ZONES
from ml_debugger.errors import InputError
from ml_debugger.presentation.palette import THEMES, find_theme

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def lab(colour: str, blindness: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(BLINDNESS[blindness] @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    ratio = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_every_zone_has_a_colour(theme):
    assert list(theme.zones) == list(ZONES)


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_zone_colours_stay_apart_and_off_the_paper(theme, blindness):
    colours = {**theme.zones, "paper": theme.paper}
    apart = {
        (one, other): np.linalg.norm(lab(colours[one], blindness) - lab(colours[other], blindness))
        for one, other in combinations(colours, 2)
    }
    closest = min(apart, key=apart.__getitem__)
    assert apart[closest] > 10, (closest, apart[closest])


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_lightness_of_the_ramp_goes_one_way(theme, blindness):
    colours = [mpl.colors.to_hex(theme.colormap()(value)) for value in np.linspace(0, 1, 12)]
    steps = np.diff([lab(colour, blindness)[0] for colour in colours])
    assert (steps < 0).all() or (steps > 0).all()


def test_settings_of_the_caller_come_back():
    before = mpl.rcParams["axes.facecolor"]
    with THEMES["dark"].applied():
        assert mpl.rcParams["axes.facecolor"] == THEMES["dark"].paper
    assert mpl.rcParams["axes.facecolor"] == before


def test_an_unknown_theme_lists_those_there_are():
    with pytest.raises(InputError, match=r"\['dark', 'light'\], got 'sepia'"):
        find_theme("sepia")
