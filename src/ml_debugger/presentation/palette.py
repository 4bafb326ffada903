"""Colours and type of every picture and page, in one place: two themes, colour-blind safe.

The zones take Okabe and Ito's palette ("Color Universal Design", 2008): blues for coverage, warm colours for hotspots,
grey for inputs that the traced data does not support. Error rates take a ramp whose lightness changes one way only, so
that it reads without hue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import InputError

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

__all__ = ["THEMES", "Theme", "find_theme", "ink_on"]

# Black and white have the same contrast to a colour of this luminance.
_MID_LUMINANCE: Final = 0.179


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one theme.

    Attributes:
        name: ``"light"`` or ``"dark"``.
        paper: Background of pictures and pages.
        ink: Text and axes.
        muted: Secondary text.
        line: Grid lines and borders.
        accent: The error model, or the strategy under test.
        contrast: What it is compared with.
        zones: Colour of each zone, by zone name.
        ramp: Colours of error rates, from 0 upwards.
    """

    name: str
    paper: str
    ink: str
    muted: str
    line: str
    accent: str
    contrast: str
    zones: Mapping[str, str]
    ramp: tuple[str, ...]

    def colormap(self) -> Colormap:
        """The ramp of error rates as a matplotlib colormap."""
        from matplotlib.colors import LinearSegmentedColormap

        return LinearSegmentedColormap.from_list(f"error_rate_{self.name}", list(self.ramp))

    def rc(self) -> Any:
        """Matplotlib settings of this theme."""
        return {
            "figure.facecolor": self.paper,
            "axes.facecolor": self.paper,
            "savefig.facecolor": self.paper,
            "text.color": self.ink,
            "axes.labelcolor": self.ink,
            "axes.edgecolor": self.muted,
            "axes.titlecolor": self.ink,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.titlesize": 12,
            "axes.labelsize": 10.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "xtick.color": self.muted,
            "ytick.color": self.muted,
            "xtick.labelcolor": self.ink,
            "ytick.labelcolor": self.ink,
            "grid.color": self.line,
            "grid.linewidth": 0.8,
            "legend.frameon": False,
            "legend.fontsize": 9.5,
            "font.size": 10,
            "svg.fonttype": "path",
            "svg.hashsalt": "ml-debugger",
        }

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make new figures and axes in this theme, and leave the caller's matplotlib settings as they were."""
        import matplotlib as mpl

        with mpl.rc_context(self.rc()):
            yield


THEMES: Final = {
    theme.name: theme
    for theme in (
        Theme(
            name="light",
            paper="#ffffff",
            ink="#1d2330",
            muted="#667085",
            line="#e4e7ec",
            accent="#0072b2",
            contrast="#d55e00",
            zones={
                "stable_coverage": "#0072b2",
                "operational_coverage": "#56b4e9",
                "hotspot": "#e69f00",
                "recessive_hotspot": "#cc79a7",
                "critical_hotspot": "#d55e00",
                "aleatoric_hotspot": "#5f6672",
            },
            ramp=("#fafafa", "#f6d48f", "#e69f00", "#d55e00", "#7a2600"),
        ),
        Theme(
            name="dark",
            paper="#161a22",
            ink="#e6e9ef",
            muted="#98a2b3",
            line="#2c3340",
            accent="#56b4e9",
            contrast="#f0893c",
            zones={
                "stable_coverage": "#2b8fd0",
                "operational_coverage": "#8fd0f7",
                "hotspot": "#e69f00",
                "recessive_hotspot": "#d893b8",
                "critical_hotspot": "#e4682b",
                "aleatoric_hotspot": "#6f7786",
            },
            ramp=("#10131a", "#7a4a1a", "#d0730b", "#f3ac3d", "#ffe9c2"),
        ),
    )
}


def find_theme(name: str) -> Theme:
    """Theme by name.

    Raises:
        InputError: If there is no such theme.
    """
    try:
        return THEMES[name]
    except KeyError:
        raise InputError(f"theme: expected one of {sorted(THEMES)}, got {name!r}") from None


def ink_on(fill: NDArray[np.float64]) -> str:
    """Black or white, whichever reads better on a colour given as ``(4,)`` RGBA."""
    luminance = float(np.dot(fill[:3] ** 2.2, (0.2126, 0.7152, 0.0722)))
    return "#000000" if luminance > _MID_LUMINANCE else "#ffffff"
