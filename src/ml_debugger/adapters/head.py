"""Finding the classifier head: the layer whose output is the logits that the model returned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ml_debugger.adapters.capture import Firing, Probe

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Head", "Relation", "find_head", "head_candidates", "takes_channels_first"]

Relation = Literal["same", "softmax", "sigmoid", "width"]


@dataclass(frozen=True, slots=True)
class Head:
    """The classifier head.

    Attributes:
        path: Module path in the model without its wrappers.
        relation: How its output became the logits returned: unchanged (a view of it, equal values, or their
            log-softmax), its
            softmax, its sigmoid, or only of the same width (averaged, scaled, one of its tokens).
    """

    path: str
    relation: Relation


def head_candidates(model: nn.Module) -> dict[str, nn.Module]:
    """Layers that could be a classifier head: linear, 1x1 convolution, any other leaf with weights."""
    return {path: module for path, module in model.named_modules() if path and _is_candidate(module)}


def _is_candidate(module: nn.Module) -> bool:
    import torch

    if isinstance(module, torch.jit.ScriptModule | torch.nn.Embedding | torch.nn.EmbeddingBag):
        return False
    if any(True for _ in module.children()):
        return False
    return _is_linear(module) or any(parameter.ndim >= 2 for parameter in module.parameters(recurse=False))


def _is_linear(module: nn.Module) -> bool:
    """Linear layers, quantised ones included, and convolutions of size 1."""
    kernel = getattr(module, "kernel_size", None)
    if kernel is not None:
        return all(size == 1 for size in (kernel if isinstance(kernel, tuple) else (kernel,)))
    return "Linear" in type(module).__name__


def takes_channels_first(module: nn.Module) -> bool | None:
    """Whether a layer lays features out as (B, D, ...) (convolutions) or (B, ..., D) (linear); None if unknown."""
    if hasattr(module, "kernel_size") or hasattr(module, "output_size") or "BatchNorm" in type(module).__name__:
        return True
    return False if _is_linear(module) else None


def find_head(probe: Probe, candidates: dict[str, nn.Module], logits: Any) -> Head | None:
    """The layer that made ``logits`` (B, C), from the layers that ran; None where none did.

    The last layer wins whose output shares the logits' memory; else whose values are the logits, their softmax or
    sigmoid; else the last linear or 1x1-convolution layer of width C.
    """
    runs = list(reversed(probe.runs))
    for path, (_, output) in runs:
        if _shares_memory(output, logits):
            return Head(path, "same")
    for path, output in [*((path, firing[1]) for path, firing in runs), *_joined(probe, runs)]:
        relation = _relation(output, logits)
        if relation is not None:
            return Head(path, relation)
    for path, (_, output) in runs:
        width = output.shape[1 if takes_channels_first(candidates[path]) and output.ndim > 1 else -1]
        if _is_linear(candidates[path]) and int(width) == int(logits.shape[1]):
            return Head(path, "width")
    return None


def _shares_memory(output: Any, logits: Any) -> bool:
    if not output.numel() or not logits.numel() or output.device != logits.device:
        return False
    return bool(output.untyped_storage().data_ptr() == logits.untyped_storage().data_ptr())


def _joined(probe: Probe, runs: list[tuple[str, Firing]]) -> Iterator[tuple[str, Any]]:
    """Outputs of layers that ran several times, joined: chunks of the batch."""
    import torch

    for path in dict.fromkeys(path for path, _ in runs):
        outputs = [output for _, output in probe.firings_of(path)]
        if len(outputs) > 1 and len({(tuple(o.shape[1:]), o.device) for o in outputs}) == 1 and outputs[0].ndim:
            yield path, torch.cat(outputs)


def _relation(output: Any, logits: Any) -> Relation | None:
    """How values became logits, if by a function that keeps each row apart."""
    import torch

    if not output.numel() or output.numel() != logits.numel() or output.device != logits.device:
        return None
    wanted = logits.detach().float()
    made = output.reshape(logits.shape).float()
    tolerance = 1e-5 if torch.finfo(logits.dtype).eps < 1e-5 else 2e-2
    forms: tuple[tuple[Relation, Any], ...] = (("same", made), ("sigmoid", torch.sigmoid(made)))
    if made.shape[1] > 1:
        soft = torch.log_softmax(made, dim=1)
        forms = (*forms, ("same", soft), ("softmax", soft.exp()))
    for relation, values in forms:
        if torch.allclose(values, wanted, rtol=tolerance, atol=tolerance, equal_nan=True):
            return relation
    return None
