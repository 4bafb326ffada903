"""Naming layers: ``target_layers`` paths to modules, with messages that help."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ml_debugger.errors import InputError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LOGITS_ALIAS", "named_layers", "resolve_layers"]

LOGITS_ALIAS: Final = "logits"
SHOWN: Final = 20


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Modules of an unwrapped model by path, as written in its code: compiled parts keep the path they had."""
    modules = ((clean_path(path), module) for path, module in model.named_modules(remove_duplicate=False) if path)
    return dict(modules)


def clean_path(path: str) -> str:
    """A module path without the components that ``torch.compile`` puts in."""
    return ".".join(part for part in path.split(".") if part != "_orig_mod")


def resolve_layers(model: nn.Module, target_layers: object) -> dict[str, str]:
    """``target_layers`` with checked paths. A leading ``module.`` (from a parallel wrapper) is dropped.

    Raises:
        InputError: If it is no mapping of names to names, is empty, or a path names no module; lists the closest.
    """
    if not (isinstance(target_layers, Mapping) and target_layers):
        raise InputError(
            "target_layers: expected a dict of alias to module path, such as {'features': 'avgpool'}, "
            f"got {target_layers!r}; leave it out to find the layer automatically"
        )
    known = named_layers(model)
    return {str(alias): _resolve(str(alias), path, known) for alias, path in target_layers.items()}


def _resolve(alias: str, path: object, known: Mapping[str, nn.Module]) -> str:
    text = clean_path(path) if isinstance(path, str) else ""
    for candidate in (text, text.removeprefix("module.")):
        if candidate in known:
            return candidate
    close = difflib.get_close_matches(text, known, n=5, cutoff=0.5)
    # Without a near miss, the top of the tree is the best map.
    listed = [name for name in known if "." not in name][:SHOWN]
    hint = f"did you mean one of {close}?" if close else f"its top modules are {listed}; see model.named_modules()"
    raise InputError(f"target_layers[{alias!r}]: the model has no module {path!r}; {hint}")
