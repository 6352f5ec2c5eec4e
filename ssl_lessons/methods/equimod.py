"""EquiMod (Devillers & Lefort 2023, https://arxiv.org/abs/2211.01244)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from ssl_lessons.losses import nt_xent
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy

COLUMNS = 4 + 1 + 4 + 4 + 3  # box, flip, colour factors, their order, gray, blur and solarize


def as_numbers(drawn: dict[str, Tensor]) -> Tensor:
    """What was drawn for a view (`views.draw`) as one row per image: float32 [N, COLUMNS]."""
    single = ("flip", "brightness", "contrast", "saturation", "hue", "grayscale", "blur", "solarize")
    return torch.cat(
        [drawn["boxes"], drawn["order"], torch.stack([drawn[k] for k in single], dim=1)], dim=1
    ).float()


class EquiMod(SimCLR):
    """SimCLR, and: from the whole picture and what will be done to it, predict where the view goes.

    y = equivariant head of the features.  With y0 of the picture and the parameters t of a view, the module predicts
    y^ = u(y0, t), and loss = NT-Xent(view 1, view 2) + equivariance_weight * NT-Xent(y of the views, y^)  (section 3).

    A perfect answer that keeps nothing: y0 = y = y^, whatever t (`gain` tells).
    """

    needs_parameters = True
    several_ranks = False  # the module's BatchNorms would see one rank's parameters

    def __init__(self, encoder: nn.Module, equivariance_weight: float = 1.0, **options):
        super().__init__(encoder, **options)
        out = self.projector[-1].out_features
        self.equivariance_weight = equivariance_weight
        self.equivariant = projection_head(encoder.dim, encoder.dim, out, layers=3)
        self.standardise = nn.BatchNorm1d(COLUMNS, affine=False)
        self.read = nn.Sequential(nn.Linear(COLUMNS, out, bias=False), nn.BatchNorm1d(out))
        self.module = nn.Linear(2 * out, out, bias=False)

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (Policy.none(policy.size), policy, policy)

    def predicted(self, y0: Tensor, drawn: list[dict]) -> Tensor:
        """y^ [2N, D] of both views, from y0 [N, D] of the pictures and what was drawn for each view."""
        t = torch.cat([as_numbers(d) for d in drawn]).to(y0.device)
        return self.module(torch.cat([y0.repeat(len(drawn), 1), self.read(self.standardise(t))], dim=1))

    def forward(self, views: list[Tensor], labels: Tensor | None, drawn: list[dict]) -> Tensor:
        h = self.encoder(torch.cat(views))
        n = len(views[0])
        ignoring = nt_xent(*self.projector(h[n:]).chunk(2), self.temperature)
        y = self.equivariant(h)
        return ignoring + self.equivariance_weight * nt_xent(
            y[n:], self.predicted(y[:n], drawn[1:]), self.temperature
        )

    @torch.no_grad()
    def gain(self, views: list[Tensor], drawn: list[dict]) -> float:
        """Mean cos(y, y^) - cos(y, y0) over both views: 0 where the module's best guess is that nothing moved."""
        n = len(views[0])
        y = self.equivariant(self.encoder(torch.cat(views)))
        moved = y[n:]
        gained = cosine_similarity(moved, self.predicted(y[:n], drawn[1:]))
        return float((gained - cosine_similarity(moved, y[:n].repeat(2, 1))).mean())


# Details that matter
# - ADevillers/EquiMod, model.py: y and y^ end in BatchNorm without shift or scale, width 2,048; u is one linear
#   layer. Here: out_dim wide, without that last BatchNorm.
# - main.py standardises the parameters by means and deviations written down. Here: BatchNorm without weights.
# - loss.py: NT-Xent over all 4N vectors, y and y^ alike. Here: the same.
# - The picture itself is only resized there (dataset.py). Here: the same, `Policy.none`.
