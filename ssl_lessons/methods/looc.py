"""LooC, leave-one-out contrastive learning (Xiao et al. 2021, https://arxiv.org/abs/2008.05659)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses import looc
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy, apply, denormalize, draw
from ssl_lessons.views.pretext import rotate

KINDS = ("colour", "turns")
_COLOURS = ("brightness", "contrast", "saturation", "hue", "jitter_p", "grayscale_p")


class LooC(SimCLR):
    """One space that ignores everything, and one per kind of augmentation that ignores all but this one.

    Views of a picture: the query, k_0 made anew, and for each kind in `keep` a view that shares just that with the
    query; the loss is `losses.looc`.  keep: of "colour" (jitter and gray) and "turns" (quarters; without it no view is
    turned).  space_weight: of the spaces that keep something (the paper has 1).  Features are the encoder's.
    """

    several_ranks = False

    def __init__(
        self, encoder: nn.Module, keep: tuple[str, ...] = ("colour",), space_weight: float = 1.0, **options
    ):
        super().__init__(encoder, **options)
        if not keep or set(keep) - set(KINDS) or len(set(keep)) < len(keep):
            raise InputError(
                f"keep takes each of {', '.join(KINDS)} at most once, and at least one, not {keep!r}"
            )
        self.keep, self.space_weight, out = tuple(keep), space_weight, self.projector[-1].out_features
        self.spaces = nn.ModuleList(projection_head(encoder.dim, encoder.dim, out) for _ in keep)
        self.colours: Policy | None = None  # known when `views` was asked

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        """Crops and flips; colours and turns follow in `forward`, where two views may share them."""
        self.colours = Policy.none(policy.size).replace(**{name: getattr(policy, name) for name in _COLOURS})
        plain = policy.replace(jitter_p=0.0, grayscale_p=0.0)
        return (plain,) * (len(self.keep) + 2)

    def finished(self, views: list[Tensor]) -> list[Tensor]:
        """The same views, coloured and turned; view 2 + i shares keep[i] with view 0."""
        n, size = len(views[0]), views[0].shape[2:]
        done, first = [], {}
        chance = torch.Generator()  # torch's own chance, on the CPU whatever the device
        chance.set_state(torch.get_rng_state())
        for place, view in enumerate(views):
            shared = self.keep[place - 2] if place >= 2 else ""
            drawn = {
                "colour": draw(self.colours, n, size, chance), "turns": torch.randint(4, (n,), generator=chance)
            }  # fmt: skip
            drawn = drawn | ({shared: first[shared]} if shared else {})
            first = first or drawn
            view = apply(denormalize(view), self.colours.replace(size=size[0]), drawn["colour"])
            done.append(rotate(view, drawn["turns"]) if "turns" in self.keep else view)
        torch.set_rng_state(chance.get_state())
        return done

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != len(self.keep) + 2:
            raise InputError(
                f"LooC with {len(self.keep)} kinds needs {len(self.keep) + 2} views, got {len(views)}"
            )
        if self.colours is None:
            raise InputError(
                "LooC colours its views itself: train on method.views(policy), which tells it how"
            )
        with torch.autocast(views[0].device.type, enabled=False):
            seen = torch.cat(self.finished(views))
        h = self.encoder(seen)
        spaces = [head(h).chunk(len(views)) for head in (self.projector, *self.spaces)]
        return looc([z[0] for z in spaces], [z[1:] for z in spaces], self.temperature, self.space_weight)

    def chance_loss(self, batch_size: int) -> None:
        return None


# Details that matter
# - Built on MoCo there, with a queue for each space and keys from a slow copy. Here: on SimCLR, within the batch.
# - The paper reads the encoder (LooC) or all spaces side by side (LooC++). Here: the encoder.
# - Crops, flips and blur have no space of their own there (section 4). Here: the same for crops and flips.
