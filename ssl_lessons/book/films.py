"""Small moving pictures in a notebook, and as a still for whoever does not want things to move."""

import base64
import html
import io
from collections.abc import Sequence

from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.errors import InputError

LARGEST = 60_000  # bytes of a film


def show_films(
    films: Sequence[Tensor], alt: str, zoom: int = 6, milliseconds: int = 250, gap: int = 4
) -> None:
    """Films side by side, as one animated WebP; its first frames alone where the reader's system asks for less motion.

    films: uint8 [T, 3, S, S] of equal sizes.  Raises InputError for other films, without alt text, and above LARGEST
    bytes.
    """
    markup = film_html(films, alt, zoom, milliseconds, gap)
    plots.display_bundle({"text/html": markup, "text/plain": f"[Film: {' '.join(alt.split())}]"})


def film_html(films: Sequence[Tensor], alt: str, zoom: int = 6, milliseconds: int = 250, gap: int = 4) -> str:
    """The `<picture>` that `show_films` shows."""
    from PIL import Image

    if not films or any(f.ndim != 4 or f.shape != films[0].shape or f.shape[1] != 3 for f in films):
        raise InputError("films must be uint8 [T, 3, S, S], all of one shape")
    if not alt.strip():
        raise InputError("a film needs alt text that says what is to be seen")
    frames, _, height, width = films[0].shape
    sheets = []
    for t in range(frames):
        sheet = Image.new("RGB", (len(films) * (width * zoom + gap) - gap, height * zoom), "white")
        for k, film in enumerate(films):
            picture = Image.fromarray(film[t].permute(1, 2, 0).cpu().numpy())
            picture = picture.resize((width * zoom, height * zoom), Image.Resampling.NEAREST)
            sheet.paste(picture, (k * (width * zoom + gap), 0))
        sheets.append(sheet)
    moving, still = io.BytesIO(), io.BytesIO()
    sheets[0].save(
        moving,
        format="webp",
        save_all=True,
        append_images=sheets[1:],
        duration=milliseconds,
        loop=0,
        quality=60,
    )
    sheets[0].save(still, format="webp", quality=60)
    if len(moving.getvalue()) > LARGEST:
        raise InputError(
            f"the film has {len(moving.getvalue()):,} bytes, more than {LARGEST:,}: fewer or shorter films"
        )
    data = [f"data:image/webp;base64,{base64.b64encode(b.getvalue()).decode()}" for b in (moving, still)]
    text = html.escape(" ".join(alt.split()))
    return (
        f'<picture><source srcset="{data[1]}" media="(prefers-reduced-motion: reduce)">'
        f'<img src="{data[0]}" alt="{text}" width="{sheets[0].width}" style="max-width: 100%; height: auto"></picture>'
    )
