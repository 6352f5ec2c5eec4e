"""The look that every figure of the book has."""

import matplotlib
from matplotlib.figure import Figure

# Okabe & Ito (2008), "Color Universal Design": told apart with the common colour-vision deficiencies; yellow
# is left out because it vanishes on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
GRAY = "#767676"

_STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": "figure",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "figure.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "axes.prop_cycle": matplotlib.cycler(color=COLORS),
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
}


def style() -> None:
    """Set the look of every figure of the book; `book.setup` calls it once per chapter."""
    matplotlib.rcParams.update(_STYLE)


def new_figure(width: float = 6.0, height: float = 3.0, rows: int = 1, columns: int = 1, **options):
    """A figure of `width` x `height` inches (100 pixels each) and its axes, as `plt.subplots` but without
    pyplot.
    """
    fig = Figure(figsize=(width, height), dpi=100, layout="constrained")
    return fig, fig.subplots(rows, columns, **options)
