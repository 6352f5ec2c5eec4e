"""What a frame difference marks, and what a network that learned from such marks answers about the still picture."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_lessons.book import plots
from ssl_lessons.book.chapter import recorded
from ssl_lessons.book.widgets.core import Choice, Slider
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.video import scenes, stills

PICTURES, FRAME, SIDE = 4, 4, 24
GAPS = (2, 4, 6)
CONTROLS = {
    "picture": Slider(1, PICTURES, 1, "film", step=1, live=True),
    "gap": Choice(GAPS, 6, "frames between the two that are compared"),
    "cut": Slider(0.1, 0.9, 0.5, "probability from which the network's answer counts", step=0.1, live=True),
}


def decode(text: str) -> np.ndarray:
    """Probabilities [PICTURES, SIDE, SIDE] from what benchmarks/motion.py writes: bytes as base64."""
    values = np.frombuffer(base64.b64decode(text), np.uint8)
    if values.size != PICTURES * SIDE**2:
        raise InputError(f"the record must hold {PICTURES} pictures of {SIDE} x {SIDE} answers")
    return values.reshape(PICTURES, SIDE, SIDE) / 255


@cache
def films() -> scenes.Scenes:
    """The first test films of the benchmark's first seed."""
    return scenes.scenes("test", 400, 0)[:PICTURES]


def answered(rows: Sequence[dict] | None = None) -> dict[int, dict]:
    """gap -> the record's row of the first seed, with `probability` [PICTURES, SIDE, SIDE] beside its numbers."""
    rows = recorded("motion")[0] if rows is None else rows
    found = {}
    for gap in GAPS:
        row = next(r for r in rows if r.get("arm") == f"difference, gap {gap}" and "answers" in r)
        found[gap] = row | {"probability": decode(row["answers"])}
    return found


def marked(picture: int, gap: int) -> Tensor:
    """The frame difference, bool [SIDE, SIDE]; where the film ends too early it compares with the frame before."""
    some = films().frames[picture - 1 : picture]
    return scenes.differs(some, _first(gap), gap)[0]


def _first(gap: int) -> int:
    """The first of the two frames that are compared: FRAME where the film is long enough."""
    return min(FRAME, films().frames.shape[1] - 1 - gap)


def measured(picture: int, gap: int, cut: float, data: dict[int, dict]) -> dict[str, float]:
    """Overlaps with the truth: the difference's and the network's on this film, and the network's on all test films."""
    at = _first(gap)
    masks = films().masks[picture - 1] > 0
    answer = torch.from_numpy(data[gap]["probability"][picture - 1] > cut)
    return {
        "difference": stills.overlap(marked(picture, gap), masks[at]),
        "network": stills.overlap(answer, masks[FRAME]),
        "all": data[gap]["iou_at"][round(10 * cut) - 1],
    }


def render(picture: int, gap: int, cut: float, data: dict[int, dict] | None = None) -> Figure:
    """Four panels: the still picture, the frame difference, the network's answer, the truth."""
    data = answered() if data is None else data
    found, at = measured(picture, gap, cut, data), _first(gap)
    fig, axes = plots.new_figure(8.0, 2.6, columns=4)
    answer = data[gap]["probability"][picture - 1] > cut
    panels = (
        (films().frames[picture - 1, FRAME].permute(1, 2, 0).numpy(), "one frame"),
        (
            marked(picture, gap).numpy(),
            f"frames {at} and {at + gap} differ\noverlap {found['difference']:.2f}",
        ),
        (answer, f"the network, one frame\noverlap {found['network']:.2f} (all films {found['all']:.2f})"),
        ((films().masks[picture - 1, FRAME] > 0).numpy(), "the truth"),
    )
    for ax, (values, title) in zip(axes, panels, strict=True):
        ax.imshow(
            values,
            cmap=None if len(values.shape) == 3 else "gray",
            vmin=0,
            vmax=1 if len(values.shape) == 2 else None,
        )
        ax.set_title(title, fontsize=9)
        ax.set(xticks=[], yticks=[])
    return fig


def describe(picture: int, gap: int, cut: float, data: dict[int, dict] | None = None) -> str:
    """The picture of `render` in words, for readers who do not see it."""
    data = answered() if data is None else data
    found = measured(picture, gap, cut, data)
    return (
        f"Film {picture}: two things before stripes. Frames {gap} apart differ; overlap with the "
        f"things in the first of them {found['difference']:.2f}. A network trained on such marks, asked about the one "
        f"frame, counts pixels from a probability of {cut:.1f}: overlap {found['network']:.2f} here, "
        f"{found['all']:.2f} over all test films."
    )


def brief(picture: int, gap: int, cut: float, data: dict[int, dict] | None = None) -> str:
    """`describe` in few words: the overlaps."""
    found = measured(picture, gap, cut, answered() if data is None else data)
    return (
        f"film {picture}, overlap with the things {found['difference']:.2f} for frames {gap} apart, "
        f"{found['network']:.2f} for the network (all test films {found['all']:.2f})."
    )
