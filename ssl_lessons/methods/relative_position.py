"""Relative patch position, "Context" (Doersch et al. 2015, https://arxiv.org/abs/1505.05192)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.methods.pretext_task import PretextTask
from ssl_lessons.models import projection_head
from ssl_lessons.views.pretext import CENTRE, NEIGHBOURS, drop_colours, project_colours, tiles

COLOURS = ("keep", "drop", "project")


class RelativePosition(PretextTask):
    """Two patches of one image: on which of eight sides of the first does the second lie?

    The image is cut into 3 x 3 cells; the centre is asked about each of its neighbours.  The encoder sees single
    patches and never their places.

    gap: share of a cell's side left free around its patch (paper: patches of 96 px, gaps of 48).  jitter: the patch
    sits anywhere in its cell (paper: up to 7 px).  colours: "keep", "drop" two of three channels, or "project" out the
    green-magenta axis, against chromatic aberration (section 3.1).  zoom: the view's side over the recipe's.
    """

    def __init__(
        self,
        encoder: nn.Module,
        gap: float = 0.25,
        jitter: bool = True,
        colours: str = "keep",
        zoom: float = 1.5,
    ):
        super().__init__()
        if colours not in COLOURS or not 0 <= gap < 1:
            raise InputError(
                f"colours must be one of {', '.join(COLOURS)}, and gap a share from 0 to below 1"
            )
        self.encoder = encoder
        self.classifier = projection_head(2 * encoder.dim, encoder.dim, len(NEIGHBOURS))
        self.gap, self.jitter, self.colours, self.zoom = gap, jitter, colours, zoom

    def patches(self, x: Tensor) -> Tensor:
        """The nine patches [N, 9, 3, s, s] of views x [N, 3, S, S], with the shortcuts blocked as asked for."""
        cell = x.shape[-1] // 3
        cut = tiles(x, 3, max(1, round((1 - self.gap) * cell)), self.jitter)
        return {"keep": lambda t: t, "drop": drop_colours, "project": project_colours}[self.colours](cut)

    def predict(self, cut: Tensor) -> Tensor:
        """Logits [N, 8, 8] for patches [N, 9, 3, s, s]: entry i, k, c scores place c for neighbour k of image i."""
        h = self.encoder(cut.flatten(0, 1)).view(len(cut), 9, -1)
        neighbours = h[:, list(NEIGHBOURS)]
        pairs = torch.cat([h[:, CENTRE : CENTRE + 1].expand_as(neighbours), neighbours], dim=2)
        return self.classifier(pairs.flatten(0, 1)).float().view(len(cut), 8, 8)

    def quiz(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.predict(self.patches(x))
        return logits.flatten(0, 1), torch.arange(8, device=logits.device).repeat(len(logits))

    def chance_loss(self, batch_size: int) -> float:
        return math.log(8)


# Details that matter
# - cdoersch/deepcontext, train.py: gap 48 and jitter 7, so patches of 96 px never come closer than 34. Here:
#   patches of 12 px anywhere in cells of 16 leave 0 to 8 px between neighbours, 4 on average.
# - There every patch loses its mean and is divided by its own deviation, lest brightness gradients give the
#   place away. Here: patches are not normalised.
# - There one colour channel of three is kept and the others become noise, always. Here: colours='keep' by
#   default; 'drop' does it.
# - There a third of the patches are shrunk to as little as 100 pixels and enlarged again. Here: no patch is.
# - There a grid over the whole image gives all neighbouring pairs in both orders, four grids per image. Here:
#   one 3 x 3 grid per image, the centre against its eight neighbours.
