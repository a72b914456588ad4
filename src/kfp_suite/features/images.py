"""The operation on images: image. A text holds the file, in Base64.

Any size is resized, by averaging with a triangle filter as wide as a source pixel's share
(the antialiased bilinear filter of Pillow and `tf.image.resize`); channels are converted:
grey to colours by repetition, colours to grey by the weights of ITU-R BT.601, and
transparency is dropped. A file that is no image, or has more than `max_pixels`, is refused.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kfp_suite.features.operation import (
    Builder,
    DomainError,
    Lane,
    Operation,
    State,
    require,
    require_between,
)
from kfp_suite.features.values import NAN, Categories, Floats, Kind, Matrix

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601)."""
MAX_SIDE = 512


@dataclass(frozen=True)
class Image(Operation):
    """A PNG, JPEG, GIF or BMP file in Base64 as `height` x `width` x `channels` numbers from
    0 to 1, row by row, the channels of a pixel together; of a GIF the first frame.

    `channels`: 1 (grey) or 3 (red, green, blue). `max_pixels`: larger images are refused.
    """

    height: int
    width: int
    channels: int = 1
    max_pixels: int = 16_777_216
    op: ClassVar[str] = "image"
    takes: ClassVar[tuple[Kind, ...]] = (Kind.CATEGORY,)

    def check(self, where: str) -> None:
        require_between(1, self.height, MAX_SIDE, where, "height")
        require_between(1, self.width, MAX_SIDE, where, "width")
        require(self.channels in (1, 3), where, "channels", self.channels, "1 or 3")
        require(self.max_pixels >= 1, where, "max_pixels", self.max_pixels, "1 or more")

    @property
    def outputs(self) -> int:
        """How many columns an image becomes."""
        return self.height * self.width * self.channels

    def learner(self) -> None:
        return None

    def bind(self, state: State) -> ImagePixels:
        return ImagePixels(self)

    def build(self, program: Builder, lanes: Sequence[Lane], where: str) -> list[Lane]:
        return [program.emit(self, lanes)]


@dataclass(frozen=True)
class ImagePixels:
    """The pixels of an image as columns."""

    spec: Image

    def names(self, name: str) -> list[str]:
        sizes = (self.spec.height, self.spec.width, self.spec.channels)
        return [f"{name}[{y},{x},{c}]" for y, x, c in np.ndindex(sizes)]

    def write(self, out: Matrix, column: Categories) -> None:
        table = np.empty((len(column.values) + 1, self.spec.outputs), np.float32)
        for i, text in enumerate(column.values):
            table[i] = self._pixels(text)
        table[-1] = NAN
        out[:] = table[column.codes]  # -1 is the last: missing

    def row(self, v: str | None) -> list[tuple[int, float]]:
        if v is None:
            return [(i, NAN) for i in range(self.spec.outputs)]
        return list(enumerate(self._pixels(v).tolist()))

    def _pixels(self, text: str) -> Any:
        image = self._decoded(text)
        found = image.shape[2]
        if self.spec.channels == 1 and found >= 3:
            image = (image[:, :, :3] * np.array(GREY_WEIGHTS)).sum(axis=2, keepdims=True)
        elif self.spec.channels == 3 and found < 3:
            image = np.repeat(image[:, :, :1], 3, axis=2)
        image = image[:, :, : self.spec.channels]
        rows = filter_weights(image.shape[0], self.spec.height)
        columns = filter_weights(image.shape[1], self.spec.width)
        resized = np.einsum("yh,hwc,xw->yxc", rows, image, columns, optimize=True)
        return (resized / 255).astype(np.float32).ravel()

    def _decoded(self, text: str) -> Floats:
        """Shape (height, width, channels) of the file, 0 to 255."""
        from PIL import Image as Pillow

        shown = f"{text[:20]}…" if len(text) > 20 else text
        expected = "a PNG, JPEG, GIF or BMP file in Base64"
        try:
            with Pillow.open(
                io.BytesIO(base64.b64decode(text, validate=True)),
                formats=("PNG", "JPEG", "GIF", "BMP"),
            ) as opened:
                image: Any = opened
                if image.width * image.height > self.spec.max_pixels:
                    raise DomainError(
                        f"{image.width} x {image.height} pixels",
                        f"at most {self.spec.max_pixels:,} pixels",
                    )
                if image.mode not in ("L", "LA", "RGB", "RGBA"):
                    alpha = "transparency" in image.info
                    image = image.convert("RGBA" if alpha else "L" if image.mode == "1" else "RGB")
                pixels = np.asarray(image, np.float64)
        except (binascii.Error, ValueError, OSError, Pillow.DecompressionBombError) as error:
            raise DomainError(shown, expected) from error
        return pixels.reshape(pixels.shape[0], pixels.shape[1], -1)


def filter_weights(source: int, target: int) -> Floats:
    """The share of each source pixel in each target pixel: shape (target, source)."""
    scale = source / target
    centers = (np.arange(target) + 0.5) * scale
    reach = max(scale, 1.0)
    distance = np.abs(np.arange(source) + 0.5 - centers[:, None]) / reach
    weights = np.maximum(0.0, 1.0 - distance)
    shares: Floats = weights / weights.sum(axis=1, keepdims=True)
    return shares
