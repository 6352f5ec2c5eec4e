"""VICRegL (Bardes et al. 2022, https://arxiv.org/abs/2210.01571)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.correlation import vicreg
from ssl_lessons.losses.dense import vicregl_local
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head
from ssl_lessons.views import places


class VICRegL(Method):
    """VICReg of whole views, and of places of two views that lie near each other in the picture, or look alike.

    alpha: the share of the global loss; 1 is VICReg.  matches: how many pairs matched by location count.
    flip_places=False leaves the coordinates of a mirrored view as if it had not been mirrored: a mistake, on purpose.
    Wants an encoder with square `maps`, and views that are not rotated.
    """

    needs_parameters = True

    def __init__(
        self,
        encoder: nn.Module,
        alpha: float = 0.75,
        matches: int = 20,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        hidden_dim: int = 512,
        out_dim: int = 512,
        maps_dim: int = 64,
        flip_places: bool = True,
    ):
        super().__init__()
        if not hasattr(encoder, "maps"):
            raise InputError("VICRegL compares places and needs an encoder with maps, such as convnet")
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha is a share from 0 to 1, not {alpha!r}")
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim)
        self.maps_projector = projection_head(encoder.dim, maps_dim, maps_dim, batch_norm=False)
        self.alpha, self.matches, self.flip_places = alpha, matches, flip_places
        self.invariance_weight, self.variance_weight = invariance_weight, variance_weight
        self.covariance_weight = covariance_weight

    def where(self, parameters: dict[str, Tensor], side: int) -> Tensor:
        """[N, side^2, 2]: where the places of the views drawn with `parameters` lie, in pixels of their pictures."""
        if not self.flip_places:
            parameters = parameters | {"flip": torch.zeros_like(parameters["flip"])}
        return places(parameters, side).flatten(1, 2)

    def forward(self, views: list[Tensor], labels: Tensor | None = None, parameters=None) -> Tensor:
        if len(views) != 2 or parameters is None or len(parameters) != 2:
            raise InputError("VICRegL compares two views of every image, and needs what was drawn for both")
        maps = self.encoder.maps(torch.cat(views)).flatten(2).mT  # [2N, P, D]
        side = math.isqrt(maps.shape[1])
        weights = {n: getattr(self, n) for n in ("invariance_weight", "variance_weight", "covariance_weight")}
        whole = vicreg(*self.projector(maps.mean(dim=1)).chunk(2), **weights)
        where = [self.where(p, side).to(maps.device) for p in parameters]
        matches = min(self.matches, maps.shape[1])
        local = vicregl_local(*self.maps_projector(maps).chunk(2), *where, matches, **weights)
        return self.alpha * whole + (1 - self.alpha) * local


# Details that matter
# - facebookresearch/VICRegL, main_vicregl.py: --no-flip-grid is 1 by default, and no command of the README
#   changes it: the coordinates of a mirrored crop are those of the crop before mirroring. Here: they are mirrored,
#   unless flip_places=False.
# - By features all places are matched (--l2_all_matches 1), by location the 20 nearest of 7 x 7 in one direction and 4
#   in the other (which is meant for small crops of 3 x 3). Here: 20 of our 8 x 8 both ways, and no small crops.
# - local_loss assigns the three terms of each pair of views to the same names and divides by the number of pairs
#   at the end: of several pairs, only the last counts, so that two crops halve the local loss. Here: not halved.
# - Global loss there: the covariance terms of the views are averaged. Here: added, as in our VICReg (and its code).
# - Expander 8192-8192-8192, of the maps 512-512-512, with normalisation. Here: 512-512 and 64-64, the latter
#   without BatchNorm.
