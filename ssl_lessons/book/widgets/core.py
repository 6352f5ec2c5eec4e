"""Sliders that explain: a pure `render(**parameters) -> Figure`, a static version for the page, a live one
for the kernel.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ssl_lessons.book import files, frames, plots
from ssl_lessons.errors import InputError


@dataclass(frozen=True)
class Slider:
    """A number from `low` to `high`. `log` spaces it by factors; `live` redraws while dragging (for cheap
    renders).
    """

    low: float
    high: float
    value: float
    label: str
    step: float | None = None
    log: bool = False
    live: bool = False

    def __post_init__(self):
        if (
            not self.low < self.high
            or not self.low <= self.value <= self.high
            or (self.log and self.low <= 0)
        ):
            raise InputError(
                f"Slider {self.label!r}: needs low < high, low <= value <= high, and low > 0 when log."
            )

    @property
    def whole(self) -> bool:
        """Whether the values are integers."""
        return not self.log and all(
            isinstance(v, int) for v in (self.low, self.high, self.value, self.step or 1)
        )

    def points(self, n: int = 5) -> list[float]:
        """`n` values over the whole range, both ends included."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            inner = [math.exp(low + (high - low) * i / (n - 1)) for i in range(1, n - 1)]
        else:
            inner = [self.low + (self.high - self.low) * i / (n - 1) for i in range(1, n - 1)]
        values = [self.low, *inner, self.high]
        return sorted({round(v) for v in values}) if self.whole else values

    def stops(self, n: int) -> list[float]:
        """`points(n)` on the slider's steps (without steps: of three digits), the start value among them."""
        inner = [self._rounded(v) for v in self.points(n)[1:-1]]
        if self.value not in (self.low, self.high, *inner):
            nearest = min(
                inner,
                key=lambda v: abs(math.log(v / self.value) if self.log else v - self.value),
                default=None,
            )
            inner = [v for v in inner if v != nearest] + [self.value]
        return sorted({self.low, *inner, self.high})

    def _rounded(self, value: float) -> float:
        if self.log or not self.step:
            return value if self.whole else float(format(value, ".3g"))
        value = self.low + self.step * round((value - self.low) / self.step)
        return value if self.whole else round(value, 10)


@dataclass(frozen=True)
class Choice:
    """One of `options`."""

    options: tuple
    value: object
    label: str
    live: bool = False

    def __post_init__(self):
        object.__setattr__(self, "options", tuple(self.options))
        if self.value not in self.options:
            raise InputError(
                f"Choice {self.label!r}: the value {self.value!r} is not one of {list(self.options)}."
            )

    def points(self, n: int = 5) -> list:
        """All options (`n` is ignored: a render must work for each of them)."""
        return list(self.options)

    stops = points


def sweep(controls: Mapping[str, Slider | Choice], n: int = 5) -> Iterator[dict]:
    """Parameter sets that cover every control's whole range, the other controls at their start value (for
    tests).
    """
    start = {name: control.value for name, control in controls.items()}
    yield dict(start)
    for name, control in controls.items():
        for value in control.points(n):
            yield {**start, name: value}


def explore(
    render: Callable,
    controls: Mapping[str, Slider | Choice],
    static: Sequence[Mapping],
    alt: str | Callable[..., str],
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    brief: Callable[..., str] | None = None,
) -> None:
    """Show `render` with one slider per control, and at the parameter sets `static` for readers without a kernel.

    With a running kernel and ipywidgets (7.7 or newer) the live version comes first, and the static picture is folded
    below it; in a saved notebook the static picture stands alone.  `static` sets may be partial; the other parameters
    keep their start values. `captions` stand over the static pictures (default: the parameters given). `alt` is the alt
    text, or a function of the parameters that returns it; `brief` is such a function that says less, for the pictures
    of a sheet of many, after the first line of `render`'s docstring, which says what is drawn. An exception inside
    `render` is shown in the live widget as text.  Where frames are wanted (`book.frames`), they are one output more.
    """
    if not controls:
        raise InputError("explore() needs at least one control.")
    if not static:
        raise InputError("explore() needs at least one static parameter set, for readers without a kernel.")
    start = {name: control.value for name, control in controls.items()}
    for chosen in static:
        unknown = [name for name in chosen if name not in controls]
        if unknown:
            raise InputError(
                f"explore(): no control is named {unknown[0]!r}; there are {', '.join(controls)}."
            )

    captions = list(captions or ()) or [
        ", ".join(f"{controls[name].label} = {frames.text(value)}" for name, value in chosen.items())
        for chosen in static
    ]
    if len(captions) != len(static):
        raise InputError(
            f"explore(): {len(static)} static pictures need as many captions, not {len(captions)}."
        )
    figures = [render(**{**start, **chosen}) for chosen in static]
    describe = alt if callable(alt) else lambda **parameters: alt
    said = [
        f"{caption}: {(brief or describe)(**{**start, **chosen})}"
        for caption, chosen in zip(captions, static, strict=True)
    ]
    page_alt = alt if isinstance(alt, str) else " ".join([_drawn(render), *said] if brief else said)
    sheet = plots.side_by_side(figures, captions if any(captions) else None, columns)
    place = f'<div class="ssl-frames" data-widget="{frames.next_number()}"></div>\n'
    if _has_kernel():
        from IPython.display import display

        from ssl_lessons.book.widgets import live

        display(live.live_panel(render, controls, describe))
        plots.show(sheet, page_alt, lambda picture: live.folded(place + picture))
    else:
        plots.show(sheet, page_alt, lambda picture: place + picture)
    if limit := frames.limit():
        drawn = frames.draw(render, controls, describe, limit)
        plots.display_bundle({files.FRAMES_MIME: drawn, "text/plain": "[frames]"})


def _drawn(render: Callable) -> str:
    """What `render` draws: the first line of its docstring."""
    return (getattr(render, "func", render).__doc__ or "").partition("\n")[0].strip()


def _has_kernel() -> bool:
    """Whether this runs in a notebook kernel that has ipywidgets."""
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None
