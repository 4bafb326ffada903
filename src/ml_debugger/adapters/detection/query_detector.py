"""transformers' detectors with queries (DETR, Conditional and Deformable DETR, RT-DETR, D-FINE, YOLOS): raw outputs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.arrays import describe_shape, shape_of, to_float32
from ml_debugger.adapters.detection.boxes import LOWEST_CANDIDATE, Candidates, ImageBoxes
from ml_debugger.adapters.detection.images import image_sizes
from ml_debugger.adapters.detection.output import OutputBuilder
from ml_debugger.adapters.detection.settings import DetectionSettings
from ml_debugger.adapters.fingerprint import WeightsHash, module_architecture, module_summary, unwrap
from ml_debugger.adapters.inputs import call_rule
from ml_debugger.errors import CaptureError, InputError
from ml_debugger.types import ModelOutput

if TYPE_CHECKING:
    from torch import nn

__all__ = ["QueryDetector", "is_query_detector"]

Float32 = NDArray[np.float32]

# The default of the image processors' ``post_process_object_detection``; the models know no threshold of their own.
SCORE_THRESH: Final = 0.5


def is_query_detector(model: Any) -> bool:
    """Whether a model is a detector of transformers that gives logits per class and boxes for a set of queries."""
    transformers = sys.modules["transformers"]
    if not isinstance(model, sys.modules["torch"].nn.Module):
        return False
    inner = unwrap(model)
    name = type(inner).__name__
    # Grounding DINO's logits are per word of a text, not per class.
    return (
        isinstance(inner, transformers.PreTrainedModel)
        and name.endswith("ForObjectDetection")
        and "Grounding" not in name
    )


class QueryDetector:
    """A detector whose output holds ``logits (B, Q, C)`` and ``pred_boxes (B, Q, 4)``, one row per query.

    Recorded are the queries that score at least ``score_thresh`` (default .5, as ``post_process_object_detection``);
    ``unit`` is the query. Boxes are in pixels of the images as the model sees them: ``pixel_values``, without the
    padding that ``pixel_mask`` marks. Features are the query embeddings, candidates all queries with all classes. To
    work on post-processed boxes in the pixels of the original images, pass a function that returns them.

    Args:
        model: A transformers model, wrapped or compiled too.
        target_layers: Must be None: the features are the query embeddings.
        **settings: Fields of `DetectionSettings`.

    Raises:
        InputError: If layers were given, or a setting cannot be right or is not the model's.
    """

    name = "query_detector"

    def __init__(self, model: nn.Module, target_layers: Mapping[str, str] | None = None, **settings: Any) -> None:
        if target_layers is not None:
            raise InputError("target_layers: the features of this model are its query embeddings; leave it out")
        self._model = model
        self._inner: Any = unwrap(model)
        self._rule = call_rule(self._inner.forward)
        self._weights = WeightsHash(model)
        self._architecture = module_architecture(model)
        self._summary = module_summary(model)
        config: Any = self._inner.config
        self._n_labels = int(config.num_labels)
        chosen = DetectionSettings(**settings)
        if chosen.n_class not in (None, self._n_labels):
            raise InputError(f"n_class: the model has {self._n_labels} classes, got {chosen.n_class}; leave it out")
        self._builder = OutputBuilder(self._n_labels, thinning={"score_thresh": SCORE_THRESH, **chosen.thinning()})

    @property
    def architecture_hash(self) -> str | None:
        """Hash of the module tree, without wrappers."""
        return self._architecture

    def weights_hash(self) -> str | None:
        """Hash of samples of the parameters now."""
        return self._weights()

    def run(self, model_input: Any, n_inputs: int) -> tuple[Any, ModelOutput]:
        """Run the model; see `Adapter.run`."""
        output = self._rule.call(self._model, model_input)
        logits, boxes = (_part(output, name, n_inputs) for name in ("logits", "pred_boxes"))
        embeddings = _embeddings(output, logits.shape[:2])
        sizes = _sizes(model_input, n_inputs)
        scores = self._scores(logits)
        images = []
        for image in range(n_inputs):
            features = None if embeddings is None else embeddings[image]
            images.append(_read(boxes[image], scores[image], logits[image], features, sizes[image]))
        return output, self._builder.build(images, sizes)

    def _scores(self, logits: Float32) -> Float32:
        """``(B, Q, C)``: softmax without "no object", where the logits hold it after the classes, else sigmoid."""
        wide = logits.astype(np.float64)
        if logits.shape[2] == self._n_labels + 1:
            powers = np.exp(wide - wide.max(axis=2, keepdims=True))
            shares = powers / powers.sum(axis=2, keepdims=True)
            return np.asarray(shares[:, :, :-1], dtype=np.float32)
        return np.asarray(0.5 * (1 + np.tanh(0.5 * wide)), dtype=np.float32)  # the sigmoid, without overflow

    def describe(self) -> dict[str, Any]:
        """Adapter, model class, widths and thresholds in force; None where not known yet."""
        return {
            "adapter": self.name,
            "model": type(self._inner).__name__,
            "architecture": self._summary,
            "feature_layers": ["last_hidden_state"],
            **self._builder.describe(),
        }


def _part(output: Any, name: str, n_inputs: int) -> Float32:
    """``(B, Q, *)`` of the output.

    Raises:
        CaptureError: If the output has no such part.
        InputError: If it has not B rows.
    """
    value = getattr(output, name, None)
    if value is None:
        raise CaptureError(
            f"model output: expected {name} (B, Q, *) by name, got {describe_shape(output)}; call the model with "
            "return_dict=True, its default"
        )
    if len(shape_of(value)) != 3 or shape_of(value)[0] != n_inputs:
        raise InputError(
            f"input_ids: {n_inputs} ids were given, but the model returned {name} {shape_of(value)}; give one id per "
            "image of the batch"
        )
    return to_float32(value)


def _embeddings(output: Any, shape: tuple[int, ...]) -> Float32 | None:
    """``(B, Q, D)`` of the queries, the last Q tokens of the last hidden state; None where there are none."""
    hidden = getattr(output, "last_hidden_state", None)
    if hidden is None or len(shape_of(hidden)) != 3:
        return None
    return to_float32(hidden[:, -shape[1] :])


def _sizes(model_input: Any, n_inputs: int) -> Float32:
    """``(B, 2)`` width and height of the images as the model sees them, without padding.

    Raises:
        InputError: If they cannot be told.
    """
    mask = model_input.get("pixel_mask") if isinstance(model_input, Mapping) else None
    if mask is not None:
        seen = to_float32(mask)
        return np.stack([seen.any(axis=1).sum(axis=1), seen.any(axis=2).sum(axis=1)], axis=1).astype(np.float32)
    sizes = image_sizes(model_input, n_inputs)
    if np.isnan(sizes).any():
        raise InputError(
            "model_input: the sizes of the images are needed to turn boxes into pixels; expected pixel_values (B, 3, "
            f"H, W), alone or in a mapping, got {describe_shape(model_input)}"
        )
    return sizes


def _read(centred: Float32, scores: Float32, logits: Float32, features: Float32 | None, size: Float32) -> ImageBoxes:
    """One image: queries as boxes with their best class, all of them with all classes as candidates."""
    half = centred[:, 2:] / 2
    boxes = np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1) * np.tile(size, 2)
    broken = ~(np.isfinite(boxes).all(axis=1) & np.isfinite(scores).all(axis=1))
    scores = np.where(broken[:, None], 0, scores)
    labels, best = scores.argmax(axis=1), scores.max(axis=1).astype(np.float64)
    boxes[broken], labels[broken] = np.nan, -1
    query, label = np.nonzero(scores >= LOWEST_CANDIDATE)
    candidates = Candidates(boxes[query], label, scores[query, label]).best()
    return ImageBoxes(boxes, labels, best, features, logits, candidates)
