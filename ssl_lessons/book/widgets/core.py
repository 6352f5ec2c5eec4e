"""Sliders that explain: a pure `render(**parameters) -> Figure`, a static version for the page, a live one
for the kernel.
"""

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ssl_lessons.book import plots
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
) -> None:
    """Show `render` at the parameter sets `static`, then a live version with one slider per control.

    The static picture stays in the saved notebook, for a reader without a kernel; the live one needs
    ipywidgets (7.7 or newer) and a running kernel, and is left out where they are missing. `static` sets may
    be partial; the other parameters keep their start values. `captions` stand over the static pictures (default: the
    parameters given). `alt` is the alt text, or a function of the
    parameters that returns it. An exception inside `render` is shown in the live widget as text.
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
        ", ".join(f"{controls[name].label} = {_text(value)}" for name, value in chosen.items())
        for chosen in static
    ]
    if len(captions) != len(static):
        raise InputError(
            f"explore(): {len(static)} static pictures need as many captions, not {len(captions)}."
        )
    figures = [render(**{**start, **chosen}) for chosen in static]
    describe = alt if callable(alt) else lambda **parameters: alt
    page_alt = (
        alt
        if isinstance(alt, str)
        else " ".join(
            f"{caption}: {describe(**{**start, **chosen})}"
            for caption, chosen in zip(captions, static, strict=True)
        )
    )
    plots.show(plots.side_by_side(figures, captions if any(captions) else None, columns), page_alt)

    if _has_kernel():
        from IPython.display import display

        display(live_panel(render, controls, describe))


def _text(value) -> str:
    return format(value, ".3g") if isinstance(value, float) else str(value)


def _draw(render, describe, parameters) -> str:
    """The picture for `parameters` as HTML; what went wrong, as text, when there is none."""
    try:
        return plots.image_html(render(**parameters), describe(**parameters))
    except Exception as error:  # noqa: BLE001 - a widget callback would lose it; the reader should see it
        message = html.escape(f"{type(error).__name__}: {error}")
        return f'<p role="alert"><b>Nothing drawn.</b> {message}</p>'


def _has_kernel() -> bool:
    """Whether this runs in a notebook kernel that has ipywidgets."""
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


def live_panel(render: Callable, controls: Mapping[str, Slider | Choice], describe: Callable[..., str]):
    """The live widget: a `VBox` with one input per control, in order, and the picture (an `HTML`) last."""
    import ipywidgets

    inputs = {name: _input(ipywidgets, control) for name, control in controls.items()}
    # HTML, not the Image widget: Image has no alt text.
    picture = ipywidgets.HTML(_draw(render, describe, {name: box.value for name, box in inputs.items()}))

    def redraw(change):
        picture.value = _draw(render, describe, {name: box.value for name, box in inputs.items()})

    for box in inputs.values():
        box.observe(redraw, names="value")
    return ipywidgets.VBox([*inputs.values(), picture])


def _input(ipywidgets, control):
    options = {
        "description": control.label,
        "style": {"description_width": "initial"},
        "layout": ipywidgets.Layout(width="28em", max_width="100%"),
    }
    if isinstance(control, Choice):
        return ipywidgets.Dropdown(options=list(control.options), value=control.value, **options)
    options["continuous_update"] = control.live
    if control.log:
        low, high = math.log10(control.low), math.log10(control.high)
        return ipywidgets.FloatLogSlider(
            value=control.value,
            min=low,
            max=high,
            base=10,
            step=control.step or (high - low) / 50,
            readout_format=".3g",
            **options,
        )
    if control.whole:
        return ipywidgets.IntSlider(
            value=control.value, min=control.low, max=control.high, step=control.step or 1, **options
        )
    return ipywidgets.FloatSlider(
        value=control.value,
        min=control.low,
        max=control.high,
        step=control.step or (control.high - control.low) / 50,
        readout_format=".3g",
        **options,
    )
