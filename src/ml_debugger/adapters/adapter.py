"""What a framework adapter is: a model, and the way to run it and read what it said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ml_debugger.types import ModelOutput

__all__ = ["Adapter", "AdapterEntry"]


class Adapter(Protocol):
    """A model made readable. Built by `find_adapter`, one per tracer or filter."""

    name: str

    @property
    def architecture_hash(self) -> str | None:
        """Identity of the architecture, the same for wrapped, compiled and half-precision forms of one model.

        None while unknown: before the first call of a bare callable, or of a model with lazy layers.
        """

    def weights_hash(self) -> str | None:
        """Identity of the weights from strided samples of the parameters; None where the model shows none."""

    def run(self, model_input: Any, n_inputs: int) -> tuple[Any, ModelOutput]:
        """Run the model on B = ``n_inputs`` inputs: its own output, untouched, and what was read from it.

        Raises:
            InputError: If the output has not B rows, or is not that of the adapter's task.
            CaptureError: If logits or features could not be read.
        """

    def describe(self) -> dict[str, Any]:
        """What was found: feature layer, widths, how the output was read; as ``architecture``, the model in words."""


@dataclass(frozen=True, slots=True)
class AdapterEntry:
    """One registered adapter.

    Attributes:
        task: The task whose output it reads.
        library: Module that must already be imported for the adapter to apply, or None. A model object proves that
            its
            framework is imported, so looking for an adapter never imports one.
        accepts: Whether the adapter takes this model.
        build: Makes the adapter from a model, its ``target_layers`` and the settings of its task, by keyword.
    """

    task: str
    library: str | None
    accepts: Callable[[Any], bool]
    build: Callable[..., Adapter]
