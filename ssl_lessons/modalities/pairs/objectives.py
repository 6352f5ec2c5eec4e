"""What is asked of pictures and captions: one module per task, each a loss for `training.fit`.

A task is built from towers and scenes; its call takes a generator and returns the loss of one fresh batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.pairs import captions
from ssl_lessons.modalities.pairs.encoders import PictureNet, Towers
from ssl_lessons.modalities.pairs.world import Scenes
from ssl_lessons.views import Policy, augment

BATCH = 128
ASKED = ("clip", "convirt", "siglip")
BAGS = ("mil-nce", "one of the bag", "all of the bag")


def policy(size: int = 24) -> Policy:
    """The augmentation of all tasks between pictures: crops of at least a third of the area, mirrors, colours, gray."""
    return Policy.simclr(size, 0.5).replace(crop_scale=(0.35, 1.0), blur_p=0)


def true_to_words(size: int = 24) -> Policy:
    """The augmentation of captioned pictures: what a caption names stays true (no mirror, no other hue, no gray)."""
    return policy(size).replace(crop_scale=(0.7, 1.0), flip_p=0, hue=0, grayscale_p=0)


class Captioned(nn.Module):
    """Pictures and captions must find each other: CLIP, ConVIRT (weights 3 : 1), SigLIP.

    augmented: show a random view of every picture, of which its caption stays true.  swapped: to each picture its
    caption with the two colours exchanged is a further negative (scenes of two things; CLIP only).
    """

    def __init__(
        self, towers: Towers, scenes: Scenes, loss: str = "clip", batch: int = BATCH, augmented: bool = False,
        swapped: bool = False,
    ):  # fmt: skip
        super().__init__()
        if loss not in ASKED or (swapped and loss == "siglip"):
            raise InputError(
                f"loss must be one of {', '.join(ASKED)}, and swapped captions need clip or convirt"
            )
        self.towers, self.scenes, self.loss, self.batch = towers, scenes, loss, batch
        self.augmented, self.swapped = augmented, swapped

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, pictures (views, if augmented) and captions of one batch."""
        rows = torch.randint(len(self.scenes), (self.batch,), generator=generator)
        device = self.towers.log_scale.device
        x, ids = self.scenes.pictures[rows].to(device), self.scenes.ids[rows].to(device)
        return rows, augment(x, true_to_words(), generator) if self.augmented else x, ids

    def forward(self, generator: torch.Generator) -> Tensor:
        _, x, ids = self.draw(generator)
        u, v = self.towers.picture(x), self.towers.text(ids)
        if self.loss == "siglip":
            return losses.siglip(u, v, self.towers.scale, self.towers.bias)
        extra = self.towers.text(captions.swapped(ids)) if self.swapped else None
        return losses.clip(u, v, self.towers.scale, 0.75 if self.loss == "convirt" else 0.5, extra)


class Bags(Captioned):
    """As a narrator speaks: to every picture `size` captions, one of them its own, and nobody says which.

    loss: MIL-NCE (one good candidate is enough), or CLIP with one candidate drawn at random, or with the mean of all.
    """

    def __init__(self, towers, scenes, loss: str = "mil-nce", size: int = 4, batch: int = BATCH // 2):
        super().__init__(towers, scenes, batch=batch)
        if loss not in BAGS or not 1 <= size <= len(scenes):
            raise InputError(
                f"loss must be one of {', '.join(BAGS)}, and a bag holds 1 to {len(scenes)} captions"
            )
        self.loss, self.size = loss, size
        # The candidates of a picture are always the same: its own and those of others.
        others = torch.randint(
            1, len(scenes), (len(scenes), size - 1), generator=torch.Generator().manual_seed(0)
        )
        own = torch.arange(len(scenes))[:, None]
        self.candidates = torch.cat([own, (own + others) % len(scenes)], dim=1)

    def forward(self, generator: torch.Generator) -> Tensor:
        rows, x, _ = self.draw(generator)
        u, bags = self.towers.picture(x), self.scenes.ids[self.candidates[rows]].to(x.device)
        if self.loss == "one of the bag":
            pick = torch.randint(self.size, (len(rows),), generator=generator)
            return losses.clip(u, self.towers.text(bags[torch.arange(len(rows)), pick]), self.towers.scale)
        v = self.towers.text(bags.flatten(0, 1)).unflatten(0, bags.shape[:2])
        if self.loss == "all of the bag":
            return losses.clip(u, nn.functional.normalize(v, dim=2).mean(dim=1), self.towers.scale)
        return losses.mil_nce(u, v, self.towers.scale)


class TwoViews(nn.Module):
    """SimCLR on the same pictures: two views of a picture must find each other; captions are not read.

    augmented=False shows the same picture twice, with other noise only.
    """

    def __init__(self, eye: PictureNet, scenes: Scenes, batch: int = BATCH, augmented: bool = True):
        super().__init__()
        self.eye, self.scenes, self.batch, self.augmented = eye, scenes, batch, augmented
        self.projector = nn.Sequential(nn.Linear(eye.dim, 128), nn.ReLU(), nn.Linear(128, 32))

    def forward(self, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(self.scenes), (self.batch,), generator=generator)
        x = self.scenes.pictures[rows].to(self.eye.flat.weight.device)
        z = [self.projector(self.eye(self.view(x, generator))) for _ in range(2)]
        return losses.nt_xent(*z, temperature=0.2)

    def view(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.augmented:
            return augment(x, policy(), generator)
        return x / 127.5 - 1 + 0.05 * torch.randn(x.shape, generator=generator).to(x.device)


class Slip(nn.Module):
    """SLIP (Mu et al. 2022): the loss of CLIP plus that of SimCLR, with a head of its own, on one eye."""

    def __init__(self, towers: Towers, scenes: Scenes, batch: int = BATCH, weight: float = 1.0):
        super().__init__()
        self.towers, self.weight = towers, weight
        self.captioned = Captioned(towers, scenes, batch=batch)
        self.views = TwoViews(towers.eye, scenes, batch)

    def forward(self, generator: torch.Generator) -> Tensor:
        return self.captioned(generator) + self.weight * self.views(generator)
