"""Calling a model: ``model_input`` goes through untouched, and a dict of its parameters becomes keywords."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CallRule", "call_rule"]

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class CallRule:
    """The parameters that a model takes by name."""

    names: frozenset[str]
    any_keyword: bool

    def by_keyword(self, model_input: Any) -> bool:
        """Whether ``model_input`` is handed over as ``model(**model_input)``.

        It is when it is a mapping (a dict, a tokenizer's ``BatchEncoding``) and every key is a parameter of the
        model's ``forward`` (of the callable itself otherwise). If that takes ``**kwargs``, one such key is enough.
        Everything else, a dict meant as one argument included, goes in as it is: ``model(model_input)``.
        """
        if not isinstance(model_input, Mapping) or not model_input:
            return False
        keys = list(model_input)
        if not all(isinstance(key, str) for key in keys):
            return False
        known = [key in self.names for key in keys]
        return any(known) if self.any_keyword else all(known)

    def call(self, model: Callable[..., Any], model_input: Any) -> Any:
        """The model's own output for ``model_input``."""
        return model(**model_input) if self.by_keyword(model_input) else model(model_input)


def call_rule(function: Callable[..., Any]) -> CallRule:
    """The rule of a function; one without a readable signature takes everything positionally."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return CallRule(frozenset(), any_keyword=False)
    names = frozenset(parameter.name for parameter in parameters if parameter.kind in _NAMED)
    return CallRule(names, any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters))
