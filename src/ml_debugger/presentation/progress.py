"""Progress bars for long work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ml_debugger.settings import read_setting

__all__ = ["progress_bar", "tracked"]

_Item = TypeVar("_Item")


def _disabled() -> bool | None:
    """What tqdm's ``disable`` takes: None shows a bar on a terminal only."""
    return {"on": False, "off": True}.get(read_setting("MLD_PROGRESS"))


@contextmanager
def progress_bar(title: str) -> Iterator[ProgressBar]:
    """A bar that a service moves: ``bar(stage, fraction)``. ``MLD_PROGRESS`` says when it is shown."""
    from tqdm.auto import tqdm

    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=1.0, desc=title, disable=_disabled(), bar_format=layout, leave=False) as bar:
        yield ProgressBar(title, bar)


class ProgressBar:
    """Moves a bar to a fraction of the whole; never back."""

    def __init__(self, title: str, bar: Any) -> None:
        self._title = title
        self._bar = bar

    def __call__(self, stage: str, fraction: float) -> None:
        """Show the stage and the fraction done (0..1)."""
        bar = self._bar
        bar.set_description_str(f"{self._title}: {stage}", refresh=False)
        bar.update(max(0.0, min(fraction, 1.0) - bar.n))


def tracked(items: Iterable[_Item], title: str, total: int | None = None) -> Iterable[_Item]:
    """``items``, with a bar while they are gone through."""
    from tqdm.auto import tqdm

    shown: Iterable[_Item] = tqdm(items, desc=title, total=total, disable=_disabled(), leave=False)
    return shown
