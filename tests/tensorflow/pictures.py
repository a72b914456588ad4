"""Pictures of noise, as a request holds them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image


def picture(mode: str, size: tuple[int, int], kind: str = "PNG", seed: int = 0) -> str:
    """A file of noise, in Base64."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], bands) if bands > 1 else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()
