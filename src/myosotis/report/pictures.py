"""Pictures for a page: PNG files in base64."""

import base64
import io
from typing import Any

from PIL import Image


def encoded_png(pixels: Any) -> str:
    """Return an image as a PNG file in base64.

    Args:
        pixels: An array of bytes: (height, width), or (height, width, channels) with one channel or three.

    Example:
        >>> import numpy as np
        >>> encoded_png(np.zeros((2, 2, 1), np.uint8))[:8]
        'iVBORw0K'
    """
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 and pixels.ndim == 3 else pixels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()
