"""Keras networks by name, such as `network: mlp`, for each layout of features.

Every network takes the matrix of the transform (float32, shape (rows, features)) and gives
logits, shape (rows, outputs): one for two classes or a number, else one a class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
from pydantic import ConfigDict

from kfp_suite.contracts.errors import ParameterError, did_you_mean
from kfp_suite.contracts.parameters import parse
from kfp_suite.features.categorical import SlotFlags
from kfp_suite.features.fitted_transform import FittedTransform
from kfp_suite.features.images import ImagePixels
from kfp_suite.features.loading import Transform
from kfp_suite.features.numeric import BucketFlags
from kfp_suite.features.text import FIRST_WORD, NgramColumns, TokenIds

Tensor = Any


@dataclass(frozen=True)
class Hyperparameters:
    """The shape and training of a network; each network uses those that apply to it.

    Attributes:
        epochs: Passes over the rows; 1 or more.
        batch_size: Rows a step; 1 or more.
        optimizer: adam, adamw, sgd (with momentum 0.9) or rmsprop.
        learning_rate: Above 0.
        units: Widths of the hidden layers, from the input on.
        activation: Of the hidden layers.
        dropout: The fraction dropped after each hidden layer; 0 to below 1.
        l2: The factor of the weights' squares in the loss; 0 or more.
        filters: Of cnn: filters of each convolution, each followed by a pooling.
        kernel_size: Of cnn: the side of a filter.
        embedding: Of lstm: numbers a word.
        cells: Of lstm: cells.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    epochs: int = 10
    batch_size: int = 256
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: float = 0.001
    units: tuple[int, ...] = (64, 32)
    activation: Literal["relu", "gelu", "elu", "selu", "silu", "tanh"] = "relu"
    dropout: float = 0.0
    l2: float = 0.0
    filters: tuple[int, ...] = (16, 32)
    kernel_size: int = 3
    embedding: int = 32
    cells: int = 32

    def check(self) -> None:
        """Check the ranges.

        Raises:
            ParameterError: naming the hyperparameter.
        """
        for name, fits, expected in (
            ("epochs", self.epochs >= 1, "1 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("learning_rate", 0 < self.learning_rate < float("inf"), "above 0"),
            ("units", all(n >= 1 for n in self.units), "widths of 1 or more"),
            ("dropout", 0 <= self.dropout < 1, "0 to below 1"),
            ("l2", 0 <= self.l2 < float("inf"), "0 or more"),
            ("filters", bool(self.filters) and min(self.filters) >= 1, "one or more counts"),
            ("kernel_size", self.kernel_size >= 1, "1 or more"),
            ("embedding", self.embedding >= 1, "1 or more"),
            ("cells", self.cells >= 1, "1 or more"),
        ):
            if not fits:
                raise ParameterError(
                    "out of range",
                    where=f"hyperparameters.{name}",
                    got=getattr(self, name),
                    expected=expected,
                )


def parse_hyperparameters(given: Mapping[str, Any]) -> Hyperparameters:
    """The hyperparameters of a named network, checked.

    Raises:
        ParameterError: naming the one at fault.
    """
    hyper = parse(Hyperparameters, given, "hyperparameters")
    hyper.check()
    return hyper


@dataclass(frozen=True)
class Span:
    """Columns of the matrix that belong together, in a shape (without rows)."""

    start: int
    stop: int
    shape: tuple[int, ...]
    words: int = 0


@dataclass(frozen=True)
class Layout:
    """The kinds of columns in the matrix: `flags` are those of categories, one a value."""

    features: int
    flags: tuple[int, ...] = ()
    images: tuple[Span, ...] = ()
    texts: tuple[Span, ...] = ()

    @property
    def others(self) -> list[int]:
        """The columns that are neither of an image nor of a text."""
        taken = {i for span in (*self.images, *self.texts) for i in range(span.start, span.stop)}
        return [i for i in range(self.features) if i not in taken]


def layout_of(transform: Transform) -> Layout:
    """The layout of a transform's matrix; of a user's own graph only the width is known."""
    if not isinstance(transform, FittedTransform):
        return Layout(len(transform.output_names))
    flags: list[int] = []
    images, texts = [], []
    for _, bound, start, stop in transform.program.emits:
        if isinstance(bound, ImagePixels):
            spec = bound.spec
            images.append(Span(start, stop, (spec.height, spec.width, spec.channels)))
        elif isinstance(bound, TokenIds):
            words = len(bound.vocabulary) + FIRST_WORD
            texts.append(Span(start, stop, (bound.spec.length,), words))
        elif isinstance(bound, (SlotFlags, BucketFlags, NgramColumns)):
            flags += range(start, stop)
    return Layout(len(transform.output_names), tuple(flags), tuple(images), tuple(texts))


def make_network(name: str, layout: Layout, outputs: int, hyper: Hyperparameters) -> Any:
    """A network that is not trained; its weights follow from Keras's seed.

    Raises:
        ParameterError: an unknown name, or features that the network is not for.
    """
    if name not in NETWORKS:
        raise ParameterError(
            f"unknown network '{name}'", where="network", fix=did_you_mean(name, NETWORKS)
        )
    matrix = keras.Input((layout.features,), dtype="float32", name="features")
    hidden = NETWORKS[name](matrix, layout, outputs, hyper)
    return keras.Model(matrix, hidden, name=name)


def _linear(matrix: Tensor, layout: Layout, outputs: int, hyper: Hyperparameters) -> Tensor:
    _plain("linear", layout)
    return _logits(matrix, outputs, hyper)


def _mlp(matrix: Tensor, layout: Layout, outputs: int, hyper: Hyperparameters) -> Tensor:
    _plain("mlp", layout, images=True)
    return _logits(_hidden(matrix, hyper), outputs, hyper)


def _wide_and_deep(matrix: Tensor, layout: Layout, outputs: int, hyper: Hyperparameters) -> Tensor:
    """A linear model of the categories beside a deep one of everything (Cheng et al., 2016,
    "Wide & Deep Learning for Recommender Systems")."""
    _plain("wide_and_deep", layout)
    if not layout.flags:
        raise ParameterError(
            "wide_and_deep needs categories",
            where="network",
            fix="give one_hot, hash, cross or bucketize features, or use mlp",
        )
    wide = _logits(_columns(matrix, list(layout.flags), "wide"), outputs, hyper, "wide_logits")
    return keras.layers.Add(name="sum")([_logits(_hidden(matrix, hyper), outputs, hyper), wide])


def _cnn(matrix: Tensor, layout: Layout, outputs: int, hyper: Hyperparameters) -> Tensor:
    if not layout.images:
        raise ParameterError(
            "cnn needs an image",
            where="network",
            fix="give a feature such as {column: picture, op: image, height: 32, width: 32}",
        )
    _plain("cnn", layout, images=True)
    parts = [_convolved(matrix, span, i, hyper) for i, span in enumerate(layout.images)]
    return _logits(_hidden(_with_others(parts, matrix, layout), hyper), outputs, hyper)


def _convolved(matrix: Tensor, span: Span, number: int, hyper: Hyperparameters) -> Tensor:
    name = f"image{number}"
    pixels = _columns(matrix, list(range(span.start, span.stop)), name)
    pixels = keras.layers.Reshape(span.shape, name=f"{name}_shape")(pixels)
    for i, filters in enumerate(hyper.filters):
        pixels = keras.layers.Conv2D(
            filters,
            hyper.kernel_size,
            padding="same",
            activation=hyper.activation,
            kernel_regularizer=_regularizer(hyper),
            name=f"{name}_convolution{i}",
        )(pixels)
        if min(pixels.shape[1:3]) >= 2:
            pixels = keras.layers.MaxPooling2D(2, name=f"{name}_pooling{i}")(pixels)
    return keras.layers.Flatten(name=f"{name}_flat")(pixels)


def _lstm(matrix: Tensor, layout: Layout, outputs: int, hyper: Hyperparameters) -> Tensor:
    if not layout.texts:
        raise ParameterError(
            "lstm needs a text",
            where="network",
            fix="give a feature such as {column: review, op: tokens, length: 64}",
        )
    if layout.images:
        raise ParameterError("lstm is not for images", where="network", fix="use cnn")
    parts = []
    for i, span in enumerate(layout.texts):
        ids = _columns(matrix, list(range(span.start, span.stop)), f"text{i}")
        embedding = keras.layers.Embedding(
            span.words, hyper.embedding, mask_zero=True, name=f"text{i}_embedding"
        )
        parts.append(keras.layers.LSTM(hyper.cells, name=f"text{i}_lstm")(embedding(ids)))
    return _logits(_hidden(_with_others(parts, matrix, layout), hyper), outputs, hyper)


NETWORKS: Mapping[str, Callable[[Tensor, Layout, int, Hyperparameters], Tensor]] = {
    "linear": _linear,
    "mlp": _mlp,
    "wide_and_deep": _wide_and_deep,
    "cnn": _cnn,
    "lstm": _lstm,
}


def _plain(name: str, layout: Layout, *, images: bool = False) -> None:
    """Numbers of words mean nothing to a network without an embedding."""
    if layout.texts:
        raise ParameterError(
            f"{name} is not for tokens", where="network", fix="use lstm, or ngrams features"
        )
    if layout.images and not images:
        raise ParameterError(f"{name} is not for images", where="network", fix="use cnn or mlp")


def _with_others(parts: list[Tensor], matrix: Tensor, layout: Layout) -> Tensor:
    others = layout.others
    if others:
        parts = [*parts, _columns(matrix, others, "others")]
    return parts[0] if len(parts) == 1 else keras.layers.Concatenate(name="joined")(parts)


def _columns(matrix: Tensor, places: list[int], name: str) -> Tensor:
    return Columns(places, name=name)(matrix)


def _hidden(x: Tensor, hyper: Hyperparameters) -> Tensor:
    for i, units in enumerate(hyper.units):
        x = keras.layers.Dense(
            units,
            activation=hyper.activation,
            kernel_regularizer=_regularizer(hyper),
            name=f"hidden{i}",
        )(x)
        if hyper.dropout:
            x = keras.layers.Dropout(hyper.dropout, name=f"dropout{i}")(x)
    return x


def _logits(x: Tensor, outputs: int, hyper: Hyperparameters, name: str = "logits") -> Tensor:
    return keras.layers.Dense(outputs, kernel_regularizer=_regularizer(hyper), name=name)(x)


def _regularizer(hyper: Hyperparameters) -> Any:
    return keras.regularizers.L2(hyper.l2) if hyper.l2 else None


@functools.partial(keras.saving.register_keras_serializable, "kfp_suite")()
class Columns(keras.layers.Layer):  # type: ignore[misc]
    """Some columns of a matrix."""

    def __init__(self, places: list[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.places = list(places)

    def call(self, matrix: Tensor) -> Tensor:
        """The columns, in their order."""
        return keras.ops.take(matrix, self.places, axis=1)

    def get_config(self) -> dict[str, Any]:
        """The configuration that recreates it."""
        return {**super().get_config(), "places": self.places}
