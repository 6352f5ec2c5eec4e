"""How much of each factor of a tune can be read after each layer of a network that predicts codes (the record)."""

from functools import cache
from statistics import fmean

from matplotlib.figure import Figure

from ssl_lessons.book import plots
from ssl_lessons.book.chapter import per_seed, recorded
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.modalities.audio import tunes

LAYERS = 6
FACTORS = tuple(tunes.FACTORS)
FLOORS = {
    "log-mel, its mean": "log-mel",
    "codes, how often each": "how often each code",
    "nothing else": None,
}
CONTROLS = {
    "factor": Choice(FACTORS, "tune", "read", live=True),
    "layer": Slider(0, LAYERS, 3, "after layer", step=1, live=True),
    "beside": Choice(tuple(FLOORS), "log-mel, its mean", "beside", live=True),
}


@cache
def rows() -> list[dict]:
    return [r for r in recorded("sound_codes")[0] if r["part"] == "probes"]


def read(arm: str, factor: str) -> float:
    """Mean accuracy over seeds of the probe of a factor, in per cent."""
    return 100 * fmean(per_seed(rows(), factor, arm=arm))


def curve(network: str, factor: str) -> list[float]:
    """Of "prior", "untrained", after layers 0 to 6."""
    return [read(f"{network}, layer {k}", factor) for k in range(LAYERS + 1)]


def render(factor: str, layer: int, beside: str) -> Figure:
    """Both curves over depth, the floor as a line, chance dotted; the chosen layer marked, its number in the title."""
    fig, ax = plots.new_figure(6.0, 2.8)
    for network, mark, color in (("prior", "o", plots.COLORS[1]), ("untrained", "s", plots.COLORS[0])):
        ax.plot(range(LAYERS + 1), curve(network, factor), mark + "-", color=color, label=network)
    if FLOORS[beside]:
        ax.axhline(read(FLOORS[beside], factor), color=plots.COLORS[2], linestyle="--", label=beside)
    ax.axhline(100 / tunes.FACTORS[factor], color="gray", linestyle=":", label="chance")
    ax.plot(layer, curve("prior", factor)[int(layer)], "D", color=plots.COLORS[3], markersize=9)
    ax.set(title=f"{factor} after layer {int(layer)}: {curve('prior', factor)[int(layer)]:.0f} %",
           xlabel="layer", ylabel="probe (%)", ylim=(0, 104))  # fmt: skip
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def describe(factor: str, layer: int, beside: str) -> str:
    """The picture of `render` in words."""
    told = "; ".join(
        f"{network} " + ", ".join(f"{v:.0f}" for v in curve(network, factor))
        for network in ("prior", "untrained")
    )
    floor = f" Beside, {beside}: {read(FLOORS[beside], factor):.0f}." if FLOORS[beside] else ""
    return (
        f"The {factor} read after layers 0 to {LAYERS}, in percent: {told}; chance "
        f"{100 / tunes.FACTORS[factor]:.0f}.{floor} Marked: layer {int(layer)}."
    )
