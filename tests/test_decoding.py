"""From any kind of picture to the same 8-bit pixels, in training and in serving."""

import errno
import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from ssl_lessons.data import decoding
from ssl_lessons.data.decoding import Unsuitable, central_square, reason
from ssl_lessons.deployment.pictures import Refused, decode

RAMP = np.linspace(0, 1, 64)[None].repeat(64, 0)  # black on the left, white on the right
GREY = np.round(RAMP * 255).astype(np.uint8)
DEEP = np.round(RAMP * 65535).astype(np.uint16)


def saved(image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def read(body: bytes, size: int = 64) -> np.ndarray:
    with Image.open(io.BytesIO(body)) as image:
        return central_square(image, size)


def pgm(high: int, magic: str = "P5") -> bytes:
    values = np.round(RAMP * high).astype(">u2")
    body = values.tobytes() if magic == "P5" else " ".join(map(str, values.ravel())).encode()
    return f"{magic} 64 64 {high}\n".encode() + body


def tiff(bits: int, photometric: int = 1) -> bytes:
    """A little-endian grey TIFF, which Pillow does not write: 12 bits packed, or 16 with white as 0."""
    values = np.round(RAMP * (2**bits - 1)).astype(np.uint16)
    if photometric == 0:
        values = 2**bits - 1 - values
    if bits == 12:
        a, b = values.reshape(-1, 2).T.astype(np.uint32)
        pixels = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], axis=1).astype(np.uint8).tobytes()
    else:
        pixels = values.tobytes()
    tags = [(256, 64), (257, 64), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 64)]
    tags.append((279, len(pixels)))
    table = b"".join(
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags
    )
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(pixels))
        + pixels
        + struct.pack("<H", len(tags))
        + table
        + bytes(4)
    )


@pytest.mark.parametrize(
    "body",
    [
        saved(GREY, "PNG"), saved(DEEP, "PNG"), saved(DEEP, "TIFF"), saved(DEEP, "PPM"), saved(DEEP, "JPEG2000"),
        saved(Image.frombytes("I;16B", (64, 64), DEEP.astype(">u2").tobytes()), "TIFF"),
        pgm(65535), pgm(4095), pgm(4095, "P2"), pgm(1000), tiff(12), tiff(16), tiff(16, 0),
    ],
    ids="8 png,16 png,16 tiff,16 pgm,16 jp2,16 big-endian,16,12 pgm,12 plain pgm,10 pgm,12 tiff,16 plain tiff,"
    "16 white is 0".split(","),
)  # fmt: skip
def test_a_ramp_stays_a_ramp_at_any_depth(body):
    assert np.abs(read(body).astype(int) - GREY).max() <= 1  # rounded twice at 10 and 12 bits


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N"])
def test_sixteen_bit_modes_in_memory(mode):
    image = Image.new(mode, (4, 4), 0x8000)
    assert (central_square(image, 4) == 128).all()


def test_sixteen_bit_colour_keeps_its_top_byte():
    import zlib

    row = b"\0" + struct.pack(">6H", 0x1000, 0x8080, 0xFFFF, 0x0100, 0x0200, 0x0300)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * 1)),
        (b"IEND", b""),
    ]
    body = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    with Image.open(io.BytesIO(body)) as image:
        assert list(image.convert("RGB").getpixel((0, 0))) == [0x10, 0x80, 0xFF]
    assert read(body, 1)[:, 0, 0].tolist() == [0x10, 0x80, 0xFF]


@pytest.mark.parametrize(
    "body", [saved(RAMP.astype(np.float32), "TIFF"), saved((RAMP * 2**30).astype(np.int32), "TIFF")]
)
def test_pixels_without_a_range_are_refused_with_the_reason(body):
    with pytest.raises(
        Unsuitable, match="32-bit (float|integer) pixels have no 8-bit meaning: convert"
    ) as caught:
        read(body)
    assert reason(caught.value) == str(caught.value)


RED, CLEAR_RED = (200, 30, 40, 255), (200, 30, 40, 0)


def palette(transparency) -> bytes:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 30, 40])
    return saved(image, "PNG", transparency=transparency)


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
        (Image.new("L", (8, 8), 77), (77, 77, 77)),
        (Image.new("LA", (8, 8), (77, 0)), (255, 255, 255)),
        (Image.new("LA", (8, 8), (77, 255)), (77, 77, 77)),
        (Image.new("La", (8, 8), (0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), RED), (200, 30, 40)),
        (Image.new("RGBA", (8, 8), CLEAR_RED), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 128)), (127, 127, 127)),
        (Image.new("RGBA", (8, 8), CLEAR_RED).convert("RGBa"), (255, 255, 255)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), (255, 0, 0)),
        (Image.new("RGB", (8, 8), (200, 30, 40)).convert("YCbCr"), (200, 30, 40)),
        (Image.new("RGB", (8, 8), (200, 30, 40)).convert("HSV"), (200, 30, 40)),
        (Image.new("RGB", (8, 8), (200, 30, 40)).convert("LAB"), (200, 30, 40)),
        (Image.new("RGB", (8, 8), (200, 30, 40)).convert("P"), (204, 51, 51)),  # the web palette's nearest
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_every_mode_becomes_rgb_on_white(image, colour):
    got = central_square(image, 8)[:, 4, 4].astype(int)
    assert np.abs(got - colour).max() <= (3 if image.mode in ("LAB", "HSV", "YCbCr") else 0)


def test_transparency_keys_are_white_and_other_colours_stay():
    assert read(palette(0), 8)[:, 0, 0].tolist() == [200, 30, 40]
    assert read(palette(1), 8)[:, 0, 0].tolist() == [255, 255, 255]
    assert read(palette(b"\xff\x80"), 8)[:, 0, 0].tolist() == [227, 142, 147]  # half clear
    grey = np.full((8, 8), 5, np.uint8)
    assert (read(saved(grey, "PNG", transparency=5), 8) == 255).all()
    assert (read(saved(grey, "PNG", transparency=6), 8) == 5).all()
    assert (read(saved(grey.astype(np.uint16) * 257, "PNG", transparency=5 * 257), 8) == 255).all()
    gif = Image.new("P", (8, 8), 3)
    gif.putpalette(list(range(30)))
    assert (read(saved(gif, "GIF", transparency=3), 8) == 255).all()


def test_a_cut_out_shows_its_outline_in_training_and_serving():
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[10:30, 10:30, 3] = 255  # what there is to see is in the alpha channel alone
    body = saved(pixels, "PNG")
    served, trained = decode(body, 40), read(body, 40)
    assert np.array_equal(served, trained)
    assert (trained[:, 10:30, 10:30] == 0).all() and (trained[:, :10] == 255).all()


# --- orientation ----------------------------------------------------------------------------------------

PHOTO = np.zeros((24, 24, 3), np.uint8)
PHOTO[:8, :8], PHOTO[:8, 16:], PHOTO[16:, :8] = (
    250,
    160,
    80,
)  # bright, middle and dark corners, the last black


def exif(orientation: int, odd: bytes = b"", extra: bytes = b"") -> bytes:
    entries = sorted([struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)] + ([odd] if odd else []))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + extra


def corners(pixels: np.ndarray) -> list[int]:
    return [int(pixels[:, y, x].mean().round(-1)) // 10 for y, x in ((3, 3), (3, 20), (20, 3), (20, 20))]


@pytest.mark.parametrize(
    ("orientation", "seen"),  # top left, top right, bottom left, bottom right
    [
        (1, [25, 16, 8, 0]), (2, [16, 25, 0, 8]), (3, [0, 8, 16, 25]), (4, [8, 0, 25, 16]), (5, [25, 8, 16, 0]),
        (6, [8, 25, 0, 16]), (7, [0, 16, 8, 25]), (8, [16, 0, 25, 8]), (9, [25, 16, 8, 0]), (0, [25, 16, 8, 0]),
    ],
)  # fmt: skip
def test_pictures_stand_upright(orientation, seen):
    for kind in ("JPEG", "PNG"):
        body = saved(PHOTO, kind, exif=exif(orientation), **({"quality": 95} if kind == "JPEG" else {}))
        assert corners(read(body, 24)) == seen
        assert np.array_equal(decode(body, 24), read(body, 24))


@pytest.mark.parametrize(
    ("odd", "extra"),
    [
        (struct.pack("<HHII", 0x011A, 10, 1, 38), struct.pack("<ii", -1, 0)),  # a resolution of -1/0
        (struct.pack("<HHI4s", 0x011A, 2, 4, b"72\0\0"), b""),  # a resolution as text
        (struct.pack("<HHIf", 0x011A, 11, 1, float("nan")), b""),
        (struct.pack("<HHIi", 0x0100, 9, 1, -1), b""),  # a width of -1
        (struct.pack("<HHII", 0x8769, 4, 1, 2**31), b""),  # details beyond the end of the file
    ],
)
def test_odd_metadata_damage_no_pixels(odd, extra):
    body = saved(PHOTO, "JPEG", quality=95, exif=exif(6, odd, extra))
    assert corners(read(body, 24)) == [8, 25, 0, 16]
    assert np.array_equal(decode(body, 24), read(body, 24))


def test_metadata_that_are_none_leave_the_picture_as_it_is():
    body = saved(PHOTO, "JPEG", quality=95, exif=b"Exif\0\0not metadata at all")
    assert corners(read(body, 24)) == [25, 16, 8, 0]


# --- large pictures -------------------------------------------------------------------------------------


HIGH, WIDE = (
    3001,
    4007,
)  # twelve megapixels; not whole blocks of 8, so that what a decoder adds at the edges would show


def drawn(height: int, width: int) -> np.ndarray:
    """Like a camera's: slow waves, squares with sharp edges, the sensor's noise."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = np.stack([np.sin(x / (90 + 40 * c)) * np.cos(y / 130) for c in range(3)], axis=-1)
    texture = np.random.default_rng(0).normal(0, 8, (height, width, 1)).astype(np.float32)
    return np.clip(108 + 60 * waves + texture + 50 * ((x // 700 + y // 700) % 2)[..., None], 0, 255).astype(
        np.uint8
    )


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def patches(height: int, width: int, side: int = 61) -> np.ndarray:
    """The hardest: squares of random colours, little more than one pixel of the small picture wide."""
    few = noise(-(-height // side), -(-width // side))
    return few.repeat(side, 0).repeat(side, 1)[:height, :width].copy()


@pytest.fixture(scope="module")
def twelve_megapixels() -> np.ndarray:
    return drawn(HIGH, WIDE)


def differences(body: bytes, sizes) -> list[np.ndarray]:
    """Per size |what is read - the whole picture decoded, turned upright, cut and resized|, in grey levels."""
    with Image.open(io.BytesIO(body)) as image:
        whole = ImageOps.exif_transpose(image).convert("RGB")
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    whole = whole.crop((left, top, left + side, top + side))
    small = [np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR)) for size in sizes]
    return [
        np.abs(read(body, s).astype(int) - w.transpose(2, 0, 1)) for s, w in zip(sizes, small, strict=True)
    ]


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_large_jpeg_decoded_at_a_fraction_is_the_same_picture(twelve_megapixels, orientation):
    body = saved(twelve_megapixels, "JPEG", quality=92, exif=exif(orientation))
    for difference in differences(body, (64, 96, 224)):
        assert difference.mean() < 0.3 and difference.max() <= 2


@pytest.mark.parametrize(("picture", "most"), [(noise, 3), (patches, 12)])
def test_pictures_that_no_camera_takes_are_nearly_the_same(picture, most):
    for difference in differences(saved(picture(HIGH, WIDE), "JPEG", quality=92), (64, 96, 224)):
        assert difference.mean() < 0.5 and np.quantile(difference, 0.99) <= 2 and difference.max() <= most


def test_a_large_jpeg_is_decoded_at_a_quarter_but_never_below_four_times_the_size():
    cases = (((HIGH, WIDE), 96, 4), ((1801, 1801), 224, 2), ((1201, 1601), 224, 1), ((60, 60), 96, 1))
    for extent, size, scale in cases:
        with Image.open(io.BytesIO(saved(np.zeros((*extent, 3), np.uint8), "JPEG"))) as image:
            found, wide, high = decoding._draft(image, size)
            assert (found, wide, high) == (scale, *extent[::-1])
            assert image.size == (-(-wide // scale), -(-high // scale))


def test_large_grey_and_cmyk_jpegs_keep_their_colours(twelve_megapixels):
    for mode in ("L", "CMYK"):
        image = Image.fromarray(twelve_megapixels[:1500, :1500]).convert(mode)
        expected = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)).transpose(
            2, 0, 1
        )
        got = read(saved(image, "JPEG", quality=95), 32)
        assert np.abs(got.astype(int) - expected).mean() < 1


# --- reasons --------------------------------------------------------------------------------------------


def failure(body: bytes) -> str:
    with pytest.raises(Exception) as caught:  # noqa: B017 - whatever Pillow raises
        read(body, 16)
    return reason(caught.value)


def test_reasons_are_short_and_the_same_for_the_same_fault(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "BMP"):
        body = saved(noise, kind)
        assert failure(body[: len(body) // 2]) in ("truncated", "damaged"), kind
    assert failure(saved(noise, "JPEG")[:2000]) == failure(saved(noise, "JPEG")[:2500]) == "truncated"
    assert failure(b"hello") == failure(b"") == "not a picture this Pillow can read"
    assert reason(FileNotFoundError(errno.ENOENT, "No such file")) == "no such file"
    assert reason(PermissionError(errno.EACCES, "Permission denied")) == "no permission to read it"
    assert reason(OSError(errno.EIO, "Input/output error")) == "input/output error"
    assert reason(UnidentifiedImageError("cannot identify image file <_io.BytesIO at 0x7f>")) == failure(b"")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert failure(saved(noise, "PNG")) == "too many pixels (over 0 million: shrink it first)"
    assert reason(ValueError("something odd")) == "damaged"


def test_a_refused_mode_is_refused_by_the_server_with_the_reason(monkeypatch):
    def refuse(image, size):
        raise Unsuitable("these pixels have no 8-bit meaning")

    monkeypatch.setattr("ssl_lessons.deployment.pictures.central_square", refuse)
    with pytest.raises(Refused, match="no 8-bit meaning") as refusal:
        decode(saved(GREY, "PNG"), 32)
    assert refusal.value.status == 400
    monkeypatch.undo()
    with pytest.raises(Refused, match="truncated") as refusal:
        decode(saved(PHOTO, "JPEG")[:-20], 32)
    assert refusal.value.status == 400
    assert (decode(saved(DEEP, "PNG"), 64) == decode(saved(GREY, "PNG"), 64)).all()
    assert decoding.UPRIGHT.keys() == set(range(2, 9))
