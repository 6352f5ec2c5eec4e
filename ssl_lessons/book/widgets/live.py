"""The live half of a widget: sliders, a line about what is going on, the picture."""

import html
import math
from collections.abc import Callable, Mapping

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider

HELP = "Nothing moves? Run this cell again (it needs the cells above)."
# Hidden at first by an animation that lasts a moment: a quick redraw shows nothing.
WAIT = (
    "<style>@keyframes ssl-wait { from { visibility: hidden; } }</style>"
    '<b style="animation: ssl-wait 0.4s step-end">computing ...</b>'
)
# ipywidgets' sliders have no accessible name, and a logarithmic one announces the logarithm.  Their views appear after
# this has been run, hence the repetition.
NAMES = """<script>
(function name(again) {
  document.querySelectorAll(".ssl-live .widget-slider").forEach(slider => {
    const handle = slider.querySelector(".noUi-handle, .ui-slider-handle");
    const readout = slider.querySelector(".widget-readout");
    if (!handle || !readout || handle.hasAttribute("aria-label")) return;
    const say = () => {
      if (handle.getAttribute("aria-valuetext") !== readout.textContent)
        handle.setAttribute("aria-valuetext", readout.textContent);
    };
    handle.setAttribute("role", "slider");
    handle.setAttribute("aria-label", slider.querySelector(".widget-label").textContent);
    new MutationObserver(say).observe(readout, {childList: true, characterData: true, subtree: true});
    new MutationObserver(say).observe(handle, {attributeFilter: ["aria-valuetext"]});
    say();
  });
  if (again) setTimeout(name, 500, again - 1);
})(20);
</script>
"""


def live_panel(render: Callable, controls: Mapping[str, Slider | Choice], describe: Callable[..., str]):
    """The live widget: a `VBox` with one input per control, in order, a line of text, and last the picture (`HTML`)."""
    import ipywidgets

    inputs = {name: _input(ipywidgets, control) for name, control in controls.items()}

    def draw() -> str:
        return _draw(render, describe, {name: box.value for name, box in inputs.items()})

    # HTML, not the Image widget: Image has no alt text.
    line, picture = ipywidgets.HTML(_line()), ipywidgets.HTML(draw())

    def redraw(change):
        line.value = _line(WAIT)
        try:
            picture.value = draw()
        finally:
            line.value = _line()

    for box in inputs.values():
        box.observe(redraw, names="value")
    panel = ipywidgets.VBox([*inputs.values(), line, picture])
    panel.add_class("ssl-live")
    return panel


def folded(markup: str) -> str:
    """The static picture below the live one, with what makes the sliders speak; `files.clean` takes it out again."""
    summary = "The same without a kernel (no slider above? Run this cell.)"
    return f'{NAMES}<details class="ssl-folded"><summary>{summary}</summary>\n{markup}</details>'


def _line(doing: str = "") -> str:
    return f'{HELP} <span role="status">{doing}</span>'


def _draw(render, describe, parameters) -> str:
    """The picture for `parameters` as HTML; what went wrong, as text, when there is none."""
    try:
        return plots.wide_html(render(**parameters), describe(**parameters))
    except Exception as error:  # noqa: BLE001 - a widget callback would lose it; the reader should see it
        message = html.escape(f"{type(error).__name__}: {error}")
        return f'<p role="alert"><b>Nothing drawn.</b> {message}</p>'


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
