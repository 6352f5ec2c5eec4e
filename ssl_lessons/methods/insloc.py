"""Instance Localization, InsLoc (Yang et al. 2021, https://arxiv.org/abs/2102.08318)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses import nt_xent
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy


def paste(foreground: Tensor, background: Tensor, boxes: Tensor) -> Tensor:
    """Every foreground [N, 3, s, s], resized to its box, on its background [N, 3, S, S].

    boxes: [N, 4], top, left, height, width in shares of the side.  Pixels whose middle lies in the box are replaced.
    """
    grid = _grid(boxes, background.shape[-1])
    inside = (grid.abs() <= 1).all(dim=3)[:, None]
    return torch.where(
        inside, F.grid_sample(foreground, grid, padding_mode="border", align_corners=False), background
    )


def region(maps: Tensor, boxes: Tensor, points: int = 4) -> Tensor:
    """The mean of maps [N, D, h, w] over each box, read bilinearly at points x points places in it: [N, D]."""
    steps = (torch.arange(points, device=maps.device) + 0.5) / points
    top, left, height, width = boxes[:, :, None].unbind(1)
    y, x = 2 * (top + height * steps) - 1, 2 * (left + width * steps) - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False).mean(dim=(2, 3))


def _grid(boxes: Tensor, size: int) -> Tensor:
    """Where every pixel of the canvas lies in the box, from -1 to 1 inside: [N, size, size, 2] (x, y)."""
    middle = (torch.arange(size, device=boxes.device) + 0.5) / size
    top, left, height, width = boxes[:, :, None].unbind(1)
    y, x = 2 * (middle - top) / height - 1, 2 * (middle - left) / width - 1
    return torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)


class InsLoc(Method):
    """SimCLR on what was pasted: two views of a picture, on two other pictures, compared within their boxes.

    share: smallest and largest side of a box, as a share of the canvas.  Wants an encoder with `maps`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        temperature: float = 0.2,
        hidden_dim: int | None = None,
        out_dim: int = 128,
        share: tuple[float, float] = (0.4, 0.8),
    ):
        super().__init__()
        if not hasattr(encoder, "maps"):
            raise InputError("InsLoc reads boxes of a map and needs an encoder with maps, such as convnet")
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim or encoder.dim, out_dim)
        self.temperature, self.smallest, self.largest = temperature, *share

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        """Two views to paste, and two to paste on."""
        return (policy,) * 4

    def draw_boxes(self, n: int) -> Tensor:
        """[n, 4]: random sides, anywhere on the canvas."""
        sides = self.smallest + (self.largest - self.smallest) * torch.rand(n, 2)
        return torch.cat([torch.rand(n, 2) * (1 - sides), sides], dim=1)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != 4 or len(views[0]) < 2:
            raise InputError(
                "InsLoc needs four views of at least two images: two to paste and two to paste on"
            )
        # row i is pasted on another picture: i - 1 in one view, i - 2 in the other
        boxes = self.draw_boxes(2 * len(views[0])).to(views[0].device)
        background = torch.cat([views[2].roll(1, dims=0), views[3].roll(2, dims=0)])
        pasted = paste(torch.cat(views[:2]), background, boxes)
        z1, z2 = self.projector(region(self.encoder.maps(pasted), boxes)).chunk(2)
        return nt_xent(z1, z2, self.temperature)


# Details that matter
# - limbo0000/InstanceLoc builds on MoCo v2 (queue, momentum encoder), with RoIAlign. Here: SimCLR, and 4 x 4
#   bilinear readings of the box.
# - The paper also shifts the boxes that are read, so that they fit the pasted picture only loosely. Here: exact boxes.
# - Backgrounds there are other pictures, as here; two pictures of the batch may get the same one.
