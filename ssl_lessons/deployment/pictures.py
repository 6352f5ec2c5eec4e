"""The bytes of a request as pixels, or a refusal.  Without torch.

What the encoder was trained on is what it must be served: `data.folder` decodes with the same function.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ssl_lessons.data.decoding import Unsuitable, central_square, reason
from ssl_lessons.errors import InputError

MAX_BYTES = 16 * 2**20  # a body; a telephone's photograph has two to six MB, a camera's up to a dozen
# A picture that claims more is refused before it is decoded.  A large JPEG is never held whole, see `central_square`.
MAX_PIXELS = {"PNG": 4096 * 4096, "JPEG": 8192 * 6144}
TYPES = {"image/png": "PNG", "image/jpeg": "JPEG"}


class Refused(InputError):
    """A request that cannot be answered; `status` is the HTTP status that says whose fault it is (4xx)."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def check_type(content_type: str | None) -> None:
    """Raises Refused (415) unless the Content-Type is image/png or image/jpeg."""
    kind = (content_type or "").split(";")[0].strip().lower()
    if kind not in TYPES:
        raise Refused(415, f"send a picture as image/png or image/jpeg, not {kind or 'nothing'}")


def decode(body: bytes, size: int) -> np.ndarray:
    """A PNG or JPEG as uint8 [3, size, size].

    Raises Refused: 400 when it is empty, cannot be read or has no meaning in 8 bits, 413 when it has more than
    MAX_BYTES or claims more than MAX_PIXELS of its format (a few kilobytes of PNG can claim gigabytes of pixels).
    """
    if not body:
        raise Refused(400, "the body is empty: send the bytes of a PNG or JPEG")
    if len(body) > MAX_BYTES:
        raise Refused(413, f"the body has more than {MAX_BYTES} bytes")
    try:
        image = Image.open(io.BytesIO(body), formats=tuple(TYPES.values()))  # reads the header only
    except Image.DecompressionBombError:
        raise Refused(413, f"the picture claims more than {max(MAX_PIXELS.values()):,} pixels") from None
    except Exception:  # noqa: BLE001 - a hostile file can make a decoder raise nearly anything
        raise Refused(400, "the body is not a PNG or JPEG that can be read") from None
    with image:
        if image.width * image.height > (most := MAX_PIXELS[image.format]):
            raise Refused(
                413,
                f"the {image.format} claims {image.width} x {image.height} pixels, more than {most:,}: send it smaller",
            )
        try:
            return central_square(image, size)
        except Unsuitable as error:
            raise Refused(400, str(error)) from None
        except Exception as error:  # noqa: BLE001
            raise Refused(400, f"the picture cannot be read: {reason(error)}") from None
