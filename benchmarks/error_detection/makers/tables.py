"""scikit-learn classifiers, traced as plain callables: an MLP on digits and one on sentences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neural_network import MLPClassifier

from benchmarks.error_detection.makers.images import corrupt
from benchmarks.error_detection.makers.tracing import trace
from benchmarks.error_detection.traces import Split

__all__ = ["drop_words", "make_digits_mlp", "make_text_mlp", "show_hidden"]

HIDDEN = 48


def show_hidden(model: MLPClassifier) -> Callable[[Any], tuple[NDArray, NDArray]]:
    """The fitted MLP as a function of inputs ``(B, K)`` to ``(logits (B, C), hidden activations (B, H))``.

    A two-class MLP has one output z, the log-odds of the second class: its logits are ``(-z / 2, z / 2)``.
    """

    def call(inputs: Any) -> tuple[NDArray, NDArray]:
        hidden = np.maximum(inputs @ model.coefs_[0] + model.intercepts_[0], 0)
        logits = hidden @ model.coefs_[1] + model.intercepts_[1]
        if logits.shape[1] == 1:
            logits = np.concatenate([-logits / 2, logits / 2], axis=1)
        return logits.astype(np.float32), hidden.astype(np.float32)

    return call


def make_digits_mlp(data: Path) -> dict[str, Split]:
    """An MLP on the pixels of scikit-learn's digits, trained on 400; needs no data folder."""
    digits = load_digits()
    order = np.random.default_rng(1).permutation(len(digits.target))
    images, labels = (digits.images[order] / 16).astype(np.float32), digits.target[order].astype(np.int64)
    rows = {"train": slice(0, 400), "val": slice(400, 1100), "test": slice(1100, None)}
    parts = {name: (images[part].reshape(-1, 64), labels[part]) for name, part in rows.items()}
    shifted = corrupt(images[rows["test"]], seed=1)
    parts["shift"] = shifted.reshape(-1, 64), labels[rows["test"]]
    return _fit_and_trace(parts, max_iter=60)


def make_text_mlp(data: Path) -> dict[str, Split]:
    """An MLP on TF-IDF weights of movie review sentences; under shift half of the words are missing."""
    texts, labels = _read_sentences(data / "rt_polarity")
    rows = {"train": slice(0, 4000), "val": slice(4000, 7000), "test": slice(7000, None)}
    vectorizer = TfidfVectorizer(min_df=3, max_features=4000).fit(texts[rows["train"]])
    parts = {name: (_weights(vectorizer, texts[part]), labels[part]) for name, part in rows.items()}
    parts["shift"] = _weights(vectorizer, drop_words(texts[rows["test"]], seed=1)), labels[rows["test"]]
    return _fit_and_trace(parts, max_iter=8)


def drop_words(texts: list[str], seed: int) -> list[str]:
    """Each text without a random half of its words."""
    rng = np.random.default_rng(seed)
    return [" ".join(word for word in text.split() if rng.random() < 0.5) for text in texts]


def _weights(vectorizer: TfidfVectorizer, texts: list[str]) -> NDArray[np.float32]:
    return vectorizer.transform(texts).toarray().astype(np.float32)


def _read_sentences(folder: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Both classes, shuffled."""
    lines = {
        label: (folder / f"rt-polarity.{end}").read_text("latin-1").splitlines()
        for label, end in enumerate(("neg", "pos"))
    }
    texts = [line for own in lines.values() for line in own]
    labels = np.repeat(list(lines), [len(own) for own in lines.values()])
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[i] for i in order], labels[order].astype(np.int64)


def _fit_and_trace(parts: dict[str, tuple[NDArray, NDArray]], max_iter: int) -> dict[str, Split]:
    model = MLPClassifier((HIDDEN,), max_iter=max_iter, random_state=0, n_iter_no_change=max_iter)
    # One pass at a time: stopping at a number of passes is what is wanted, not a warning about it.
    classes = np.unique(parts["train"][1])
    for _ in range(max_iter):
        model.partial_fit(*parts["train"], classes=classes)
    return trace(show_hidden(model), parts)
