"""From an opened image file to the pixels an encoder is trained on and served.  Without torch: servers use it too."""

import math

import numpy as np
from PIL import Image, UnidentifiedImageError

from ssl_lessons.errors import InputError

# EXIF orientation 2..8 -> what turns the stored picture upright (1: it is)
UPRIGHT = dict(
    enumerate(
        (
            Image.Transpose.FLIP_LEFT_RIGHT,
            Image.Transpose.ROTATE_180,
            Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE,
            Image.Transpose.ROTATE_270,
            Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_90,
        ),
        start=2,
    )
)
ORIENTATION, BITS_PER_SAMPLE, PHOTOMETRIC = 0x0112, 258, 262  # tags of EXIF and TIFF


class Unsuitable(InputError):
    """A whole picture whose pixels have no meaning in 8 bits; the message is the reason."""


def central_square(image: Image.Image, size: int) -> np.ndarray:
    """The picture as uint8 [3, size, size]: upright, RGB on white, central square, antialiased.

    image: opened by Pillow and not yet decoded.  16-bit (and 12-bit) greys are scaled to 8 bits.  Whoever changes the
    pixels that come out raises cache.DECODER, so that nobody keeps the old ones.
    Raises Unsuitable for 32-bit pixels.  Whatever Pillow raises for a damaged file is passed on.
    """
    scale, width, height = _draft(image, size)
    turn = UPRIGHT.get(_orientation(image))
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    edges = (
        left / scale,
        top / scale,
        (left + side) / scale,
        (top + side) / scale,
    )  # of the square, in decoded pixels
    x, y = math.floor(edges[0]), math.floor(edges[1])
    image = _eight_bits(image)
    if width != height:  # cropped first: resize(box=...) would mix in pixels beyond the box
        image = image.crop((x, y, math.ceil(edges[2]), math.ceil(edges[3])))
    image = _on_white(image)
    if side != size:
        box = edges[0] - x, edges[1] - y, edges[2] - x, edges[3] - y
        image = image.resize((size, size), Image.Resampling.BILINEAR, box)
    if turn is not None:
        image = image.transpose(turn)
    return np.asarray(image).transpose(2, 0, 1)


def _draft(image: Image.Image, size: int) -> tuple[float, int, int]:
    """Decode the pixels; how many of the file's a decoded one spans on either axis (1, 2 or 4), and the file's extent.

    A large JPEG comes at a half or a quarter of its size, four times `size` at the least: an eighth is hardly faster,
    and sharp edges come out wrong by more than 2 grey levels.  The last decoded column and row may reach beyond the
    picture, so that the extents are those of the file, not those of `image`.
    """
    width, height = image.size
    least = max(4 * size, min(width, height) // 4)
    drafted = image.draft("RGB", (least, least))  # None unless it is a JPEG
    image.load()  # before the orientation is asked for: some formats keep it behind the pixels
    return (width / drafted[1][2], width, height) if drafted else (1, *image.size)


def reason(error: BaseException) -> str:
    """Why a picture could not be read, in a few words that are the same for every picture of that fault.

    error: what opening the file or `central_square` raised.
    """
    if isinstance(error, Unsuitable):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return f"too many pixels (over {2 * Image.MAX_IMAGE_PIXELS / 1e6:.0f} million: shrink it first)"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture this Pillow can read"
    if isinstance(error, MemoryError):
        return "does not fit into the memory"
    if isinstance(error, OSError) and error.strerror:  # from the system, not from a decoder
        return error.strerror.lower()
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return "truncated"
    return "damaged"


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - odd metadata raise nearly anything, and the pixels are whole all the same
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greys of more than 8 bits as "L", black to black and white to white; other modes as they are."""
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if image.mode in ("I", "F") and not sixteen:
        kind = "float" if image.mode == "F" else "integer"
        raise Unsuitable(f"32-bit {kind} pixels have no 8-bit meaning: convert them to 8 or 16 bit")
    if not sixteen:
        return image
    pixels = np.asarray(image).astype(np.uint32)  # Pillow itself would clip at 255
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    white = 2 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1
    grey = ((pixels * 255 + white // 2) // white).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == 0:  # white is 0
        grey = 255 - grey
    if isinstance(key := image.info.get("transparency"), int):
        grey[pixels == key] = 255
    return Image.fromarray(grey)


def _on_white(image: Image.Image) -> Image.Image:
    """RGB; what is transparent shows white, not the colour that happens to lie under it."""
    palette = image.palette.mode if image.mode == "P" and image.palette else ""
    if not (
        image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info or palette == "RGBA"
    ):
        return image.convert("RGB")
    if image.mode == "La":  # which Pillow turns into nothing but LA
        image = image.convert("LA")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
