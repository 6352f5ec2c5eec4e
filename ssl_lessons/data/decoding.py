"""From an opened image file to the pixels an encoder is trained on and served.  Without torch: servers use it too."""

import numpy as np
from PIL import Image, ImageOps


def central_square(image: Image.Image, size: int) -> np.ndarray:
    """The picture as uint8 [3, size, size]: upright, RGB, central square, antialiased.

    image: opened by Pillow and not yet decoded.  Whatever Pillow raises for a damaged file is passed on.
    """
    image.draft("RGB", (2 * size, 2 * size))  # a large JPEG is decoded at a fraction of its size
    ImageOps.exif_transpose(image, in_place=True)
    image = image.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.width != image.height:  # cropped first: resize(box=...) would mix in pixels beyond the box
        image = image.crop((left, top, left + side, top + side))
    if side != size:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)
