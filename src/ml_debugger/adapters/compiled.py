"""Running compiled models so that their hooks fire.

A forward hook added after a ``torch.compile``d model has run never fires, silently: the compiled code has no place
for it. So a model compiled as a whole (``torch.compile(model)``) is run through a compiled entry point of our own,
made by the same compiler settings around the same module; it is traced while the hooks are there, and the user's own
calls keep their own compiled code. Where only a part is compiled, or the model compiled itself (``model.compile()``),
the calls run uncompiled instead.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from ml_debugger.adapters.fingerprint import unwrap
from ml_debugger.errors import MLDebuggerWarning, warn

if TYPE_CHECKING:
    from torch import nn

__all__ = ["compiled_entry", "eager", "is_compiled", "runs_compiled"]


def is_compiled(module: nn.Module) -> bool:
    """Whether this very module is compiled, by any of the three ways there are."""
    return (
        "_orig_mod" in module._modules
        or getattr(module, "_compiled_call_impl", None) is not None
        or hasattr(getattr(module, "forward", None), "_torchdynamo_orig_callable")
    )


def compiled_entry(model: nn.Module) -> Callable[..., Any] | None:
    """An entry point into a model compiled as a whole, with compiled code of its own; None for every other model."""
    context = getattr(model, "dynamo_ctx", None)
    inner = getattr(model, "_orig_mod", None)
    if context is None or inner is None or model._forward_hooks or model._forward_pre_hooks:
        return None
    if any(is_compiled(module) for module in inner.modules()):
        return None

    def entry(*args: Any, **kwargs: Any) -> Any:
        return inner(*args, **kwargs)

    # Compiled code is kept per code object: a copy of it makes this adapter's cache its own.
    own = types.FunctionType(entry.__code__.replace(), entry.__globals__, "entry", None, entry.__closure__)
    compiled: Callable[..., Any] = context(own)
    return compiled


def runs_compiled(model: nn.Module, layers: list[str]) -> bool:
    """Whether any of these layers (paths in the unwrapped model) runs inside compiled code."""
    inner = unwrap(model)
    wrapper: nn.Module | None = model
    while wrapper is not None and wrapper is not inner:
        if is_compiled(wrapper):
            return True
        wrapper = getattr(wrapper, "_orig_mod", None) or getattr(wrapper, "module", None)
    parents = {path[:end] for path in layers for end in _ends(path)} | {""}
    return any(is_compiled(module) for path, module in inner.named_modules(remove_duplicate=False) if path in parents)


def _ends(path: str) -> list[int]:
    return [*(i for i, letter in enumerate(path) if letter == "."), len(path)]


def eager() -> AbstractContextManager[Any]:
    """A block in which compiled models run uncompiled; nothing at all where nothing can have been compiled."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    import torch

    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def warn_uncompiled(layer: str) -> None:
    """Say that a model runs uncompiled, and how it would not."""
    warn(
        f"layer {layer!r} runs inside code compiled by torch.compile, where it cannot be read: calls through this "
        "object run uncompiled. To keep the speed, compile the whole model: model = torch.compile(model), not a part "
        "of it and not model.compile()",
        MLDebuggerWarning,
    )
