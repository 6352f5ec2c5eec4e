"""Which earlier pixels a PixelCNN sees, by depth and kernel; and the corner that one stack never sees."""

import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.autoregressive import GatedPixelCNN, PixelCNN, receptive_field

SIDE, ROW, COLUMN = 13, 9, 6
STACKS = {"one stack": PixelCNN, "two stacks": GatedPixelCNN}
KINDS = ("seen", "not yet seen", "blind spot", "the pixel and later ones")
_COLORS = (plots.COLORS[0], "#D9D9D9", plots.COLORS[1], "white")


def controls() -> dict[str, Slider | Choice]:
    """The widget's inputs: 1 to 10 layers, a kernel of 3 or 5, one stack of masked convolutions or two."""
    return {
        "depth": Slider(1, 10, 3, "layers", step=1, live=True),
        "kernel": Choice((3, 5), 3, "kernel", live=True),
        "stacks": Choice(tuple(STACKS), "one stack", "network", live=True),
    }


def regions(depth: int, kernel: int, stacks: str) -> Tensor:
    """For every pixel of a 13 x 13 image its kind, an index into KINDS, as seen from the pixel in row 9, column 6.

    Seen: the gradient of a real network with random weights is not zero there.  Blind spot: no depth helps, because a
    path of masked convolutions goes right by at most kernel // 2 pixels for each row that it goes up.
    """
    if stacks not in STACKS:
        raise InputError(f"There is no network {stacks!r}; there are {', '.join(STACKS)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        seen = receptive_field(STACKS[stacks](width=4, depth=depth, kernel=kernel), SIDE, ROW, COLUMN)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    earlier = (rows < ROW) | ((rows == ROW) & (columns < COLUMN))
    result = torch.where(earlier, 1, 3)
    if stacks == "one stack":
        result[earlier & (columns - COLUMN > (kernel // 2) * (ROW - rows))] = 2
    result[seen] = 0
    return result


def render(depth: int, kernel: int, stacks: str) -> Figure:
    """The image as a map: what the network sees, does not see yet, and never will."""
    kind = regions(depth, kernel, stacks)
    seen, earlier = int((kind == 0).sum()), int((kind != 3).sum())
    fig, ax = plots.new_figure(4.9, 3.3)
    ax.imshow(kind.numpy(), cmap=ListedColormap(_COLORS), vmin=0, vmax=3)
    ax.plot(COLUMN, ROW, "*", color="black", markersize=10)
    ax.set_xticks(torch.arange(SIDE + 1).numpy() - 0.5, [], minor=False)
    ax.set_yticks(torch.arange(SIDE + 1).numpy() - 0.5, [], minor=False)
    ax.grid(color="white", linewidth=0.8)
    ax.set(
        xlabel="column (pixels)",
        ylabel="row (pixels)",
        title=f"{stacks}: {seen} of {earlier} earlier pixels seen",
    )
    handles = [Patch(color=c, label=k) for c, k in zip(_COLORS[:3], KINDS[:3], strict=True)]
    fig.legend(handles=handles, loc="outside right center", fontsize=8)
    return fig


def describe(depth: int, kernel: int, stacks: str) -> str:
    """The picture of `render` in words."""
    counts = torch.bincount(regions(depth, kernel, stacks).flatten(), minlength=4).tolist()
    return (
        f"A network with {stacks}, {depth} layers and a {kernel} by {kernel} kernel sees {counts[0]} of the "
        f"{sum(counts[:3])} pixels before the starred one; {counts[1]} are out of reach at this depth and "
        f"{counts[2]} lie in the blind spot."
    )
