"""Figures that read well, look the same in every chapter and carry alt text.

Every function that draws (`figures`, handed on from here) returns a `matplotlib.figure.Figure` made without pyplot, so
nothing is shown twice and nothing piles up in memory when a slider redraws it; `show(fig, alt)` puts it on screen, and
`table(rows, caption)` a table.
"""

import base64
import html
import io
import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ssl_lessons.book.figures import bars, factor_bars, image_grid, side_by_side, spectrum, training_panel
from ssl_lessons.book.style import COLORS, GRAY, new_figure, style
from ssl_lessons.errors import InputError

__all__ = [
    "COLORS", "GRAY", "bars", "display_bundle", "factor_bars", "image_grid", "image_html", "new_figure", "png", "show",
    "side_by_side", "spectrum", "style", "table", "training_panel", "watch", "wide_html",
]  # fmt: skip

SMALL = 50_000  # bytes of a PNG that is small enough as it is
LARGE = 150_000  # bytes of a PNG from which a JPEG of half the size is preferred
WIDE = 1.5  # how much a live figure may be enlarged


# ---- on screen ---------------------------------------------------------------------------------------------


def png(fig: Figure, dpi: float | str = "figure", compress_level: int = 9) -> bytes:
    """The figure as PNG bytes, the same bytes for the same figure (no software or date stamp inside)."""
    buffer = io.BytesIO()
    options = {"compress_level": compress_level}
    fig.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs=options)
    return buffer.getvalue()


def _fewer_colours(data: bytes) -> bytes:
    """A PNG with the 256 colours that fit it best: a third of the size, and hard to tell apart."""
    from PIL import Image  # comes with matplotlib

    image = Image.open(io.BytesIO(data)).convert("RGB")
    small = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return min(data, small.getvalue(), key=len)


def image_html(fig: Figure, alt: str, small: bool = False) -> str:
    """The figure as one `<img>` element with its alt text.

    small: keep a picture that is saved in a notebook small, at the price of having 256 colours only.
    HTML rather than a bare `image/png` output, because JupyterLab draws `image/png` without any alt attribute
    and nbconvert's default template then writes "No description has been provided".
    """
    data = png(fig)
    if small and len(data) > SMALL:
        data = _fewer_colours(data)
    width = int.from_bytes(
        data[16:20], "big"
    )  # from the PNG header, so that the page does not jump while it loads
    kind = "png"
    if len(data) > LARGE:
        jpeg = io.BytesIO()
        fig.savefig(jpeg, format="jpeg", pil_kwargs={"quality": 90})
        if len(jpeg.getvalue()) < len(data) / 2:  # photographs
            data, kind = jpeg.getvalue(), "jpeg"
    return _img(data, kind, alt, f'width="{width}" style="max-width: 100%; height: auto"')


def wide_html(fig: Figure, alt: str) -> str:
    """As `image_html` for a figure that is drawn while the reader waits: as wide as the page, up to `WIDE` times its
    size, but no higher than the window.
    """
    data = png(fig, dpi=WIDE * fig.dpi, compress_level=1)
    width, height = (round(side * fig.dpi) for side in fig.get_size_inches())
    style = f"width: 100%; max-width: {WIDE * width:.0f}px; max-height: max(85vh, {height}px); height: auto; "
    # The ratio: else the page would jump until a new picture is decoded.
    style += f"aspect-ratio: {width} / {height}; object-fit: contain; object-position: left"
    return _img(data, "png", alt, f'style="{style}"')


def _img(data: bytes, kind: str, alt: str, layout: str) -> str:
    if not isinstance(alt, str) or not alt.strip():
        raise InputError(
            "A figure needs alt text: show(fig, alt) with one or two sentences that say what is to be seen."
        )
    text = html.escape(" ".join(alt.split()))
    return f'<img src="data:image/{kind};base64,{base64.b64encode(data).decode()}" alt="{text}" {layout}>'


def show(fig: Figure, alt: str, around: Callable[[str], str] = str) -> None:
    """Display `fig` with its alt text and close it; outside a notebook, do nothing.

    around: puts more markup around the picture's.  Raises InputError when `alt` is empty.
    """
    markup = around(image_html(fig, alt, small=True))
    display_bundle({"text/html": markup, "text/plain": f"[Figure: {' '.join(alt.split())}]"})
    if (
        "matplotlib.pyplot" in sys.modules
    ):  # else the inline backend would draw it a second time, without alt text
        sys.modules["matplotlib.pyplot"].close(fig)


def display_bundle(data: Mapping[str, object], handle=None):
    """Send one output with several MIME types to the notebook, or replace the one that `handle` stands for.

    Returns its handle, or None where there is no notebook.
    """
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    if get_ipython() is None:
        return None
    if handle is None:
        return display(dict(data), raw=True, display_id=True)
    handle.update(dict(data), raw=True)
    return handle


def watch(title: str, alt: str, chance: float | None = None, chance_loss: float | None = None):
    """A callback for `pretrain(on_measure=...)`: the training panel, redrawn in place while the run goes on.

    The saved notebook keeps its last state.  Outside a notebook it does nothing.
    """
    # Its place is taken at once, so that the progress bar stays in one piece below it.
    waiting = "The curves appear with the first measurement."
    handle = display_bundle({"text/html": f"<p>{waiting}</p>", "text/plain": waiting})

    def update(history) -> None:
        if handle is not None:
            markup = image_html(training_panel(history, title, chance, chance_loss), alt)
            display_bundle({"text/html": markup, "text/plain": f"[Figure: {alt}]"}, handle)

    return update


# ---- tables ------------------------------------------------------------------------------------------------


def table(
    rows: Sequence[Mapping],
    caption: str,
    columns: Sequence[str] | Mapping[str, str] | None = None,
    floatfmt: str | Mapping[str, str] = ".3g",
) -> None:
    """Display `rows` as a table with a caption; in a terminal, print it.

    `columns` picks and orders keys, or maps key -> heading; a missing value is shown as "-". `floatfmt` is a
    format specification for floats (".1%", ".2f"), one for all columns or one per key. Raises InputError when
    there are no rows or the caption is empty.
    """
    if not rows:
        raise InputError("table() needs at least one row.")
    if not caption.strip():
        raise InputError("table() needs a caption that says what the numbers are.")
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    headings = dict(columns) if isinstance(columns, Mapping) else {key: str(key) for key in columns}

    def cell(key, value):
        if value is None:
            return "-"
        if isinstance(value, (float, np.floating)):
            return format(float(value), floatfmt if isinstance(floatfmt, str) else floatfmt.get(key, ".3g"))
        return str(value)

    grid = [[cell(key, row.get(key)) for key in headings] for row in rows]
    numeric = [
        all(isinstance(row.get(key), (int, float, np.number, type(None))) for row in rows) for key in headings
    ]
    text = _text_table(caption, list(headings.values()), grid, numeric)
    if not display_bundle(
        {"text/html": _html_table(caption, list(headings.values()), grid, numeric), "text/plain": text}
    ):
        print(text)


def _text_table(caption, headings, grid, numeric) -> str:
    widths = [max(len(line[i]) for line in [headings, *grid]) for i in range(len(headings))]

    def line(cells):
        pairs = zip(cells, widths, numeric, strict=True)
        return "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in pairs).rstrip()

    return "\n".join([caption, line(headings), "  ".join("-" * w for w in widths), *map(line, grid)])


def _html_table(caption, headings, grid, numeric) -> str:
    align = ["right" if right else "left" for right in numeric]
    head = "".join(
        f'<th scope="col" style="text-align: {a}">{html.escape(h)}</th>'
        for h, a in zip(headings, align, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="text-align: {a}">{html.escape(c)}</td>' for c, a in zip(line, align, strict=True)
        )
        + "</tr>\n"
        for line in grid
    )
    top = f"<caption>{html.escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>"
    return f"<table>\n{top}\n<tbody>\n{body}</tbody>\n</table>"
