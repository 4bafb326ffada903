"""What captures of a call offer to the adapter of a torch module: of the head, and of layers that the user named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from ml_debugger.adapters.detection.boxes import ImageBoxes

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Head", "Maps"]


class Head(Protocol):
    """The part of a detector that is known: what it shows, and how it is asked for thresholds."""

    family: str

    def refuses(self) -> bool:
        """Whether the model returns no boxes as it is: in training mode."""

    def n_class(self) -> int | None:
        """C where it can be told before a call."""

    def settings(self) -> dict[str, Any]:
        """The model's own thresholds now, by our names; None where it shows none."""

    def asked(self, thinning: Mapping[str, Any]) -> AbstractContextManager[None]:
        """The model's thresholds as asked for inside the ``with`` block, and as before after it."""

    def left(self, thinning: Mapping[str, Any]) -> dict[str, Any]:
        """What it cannot be asked for."""

    def hooks(self) -> list[tuple[nn.Module, Any]]:
        """Layers and their hooks, for one call."""

    def enrich(self, images: Sequence[ImageBoxes]) -> list[ImageBoxes]:
        """Inputs with what was captured of them."""

    def feature_source(self) -> str:
        """Where features come from, in words."""

    def clear(self) -> None:
        """Forget what was captured."""


class Maps(Protocol):
    """Feature maps of layers that the user named."""

    paths: list[str]

    def hooks(self) -> list[tuple[nn.Module, Any]]:
        """Layers and their hooks, for one call."""

    def enrich(self, images: Sequence[ImageBoxes], model_input: Any) -> list[ImageBoxes]:
        """Inputs with features pooled from the maps, in place of any others."""

    def clear(self) -> None:
        """Forget what was captured."""
