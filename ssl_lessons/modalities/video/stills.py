"""From motion to still pictures: a network that marks things in one frame, and what trains it or its features.

Its teachers are masks from motion (Pathak et al. 2017) or pairs of patches that a tracker connects (Wang and Gupta
2015).  None of them needs a label; the network never sees two frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.video import scenes, views

BATCH = 32


class ThingNet(nn.Module):
    """A small convolutional network that answers for each pixel of one picture; its edges are glued, as the world's.

    maps(x [N, 3, S, S]) -> [N, width, S / 2, S / 2].  features(x) -> [N, 2 width]: the mean and the maximum over the
    places, which is what a readout reads.  forward(x, point) -> logits [N, S, S]; point: [N, S, S], one at the pixel
    that is asked about, or None.
    """

    def __init__(self, width: int = 24):
        super().__init__()
        glued = {"padding_mode": "circular"}
        self.first = nn.Conv2d(4, 8, 3, padding=1, **glued)
        layers = [nn.Conv2d(8, width, 3, stride=2, padding=1, **glued)]
        layers += [nn.Conv2d(width, width, 3, padding=d, dilation=d, **glued) for d in (1, 2, 3)]
        self.layers = nn.ModuleList(layers)
        self.spread = nn.Sequential(
            nn.Conv2d(width, 32, 1), nn.PixelShuffle(2)
        )  # to 8 channels, twice the side
        self.last = nn.Sequential(
            nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1, **glued), nn.ReLU(), nn.Conv2d(8, 1, 1)
        )
        self.dim = 2 * width

    def forward(self, x: Tensor, point: Tensor | None = None) -> Tensor:
        fine, coarse = self._both(x, point)
        return self.last(torch.cat([fine, self.spread(coarse)], dim=1))[:, 0]

    def maps(self, x: Tensor) -> Tensor:
        return self._both(x, None)[1]

    def features(self, x: Tensor) -> Tensor:
        maps = self.maps(x)
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)

    def _both(self, x: Tensor, point: Tensor | None) -> tuple[Tensor, Tensor]:
        x = views.to_float(x) if x.dtype == torch.uint8 else x
        point = torch.zeros_like(x[:, :1]) if point is None else point[:, None].to(x)
        fine = F.relu(self.first(torch.cat([x, 4 * point], dim=1)))
        coarse = fine
        for k, layer in enumerate(self.layers):
            new = F.relu(layer(coarse))
            coarse = new if k == 0 else coarse + new
        return fine, coarse


class WhatMoves(nn.Module):
    """Segment what moves, from one frame (Pathak et al. 2017, section 4): the cross-entropy of each pixel with a mask.

    frames: uint8 [N, T, 3, S, S]; masks: bool [N, K, S, S], from motion, of the frames at `times` (K whole numbers).
    A call takes a generator and returns the loss of a fresh batch.  Raises InputError where masks and times differ.
    """

    def __init__(
        self, net: ThingNet, frames: Tensor, masks: Tensor, times: tuple[int, ...], batch: int = BATCH
    ):
        super().__init__()
        if masks.shape[:2] != (len(frames), len(times)):
            raise InputError(
                f"{len(frames)} films at {len(times)} moments need masks [{len(frames)}, {len(times)}, S, S]"
            )
        self.net, self.times, self.batch = net, times, batch
        self.data = [frames, masks]  # in a list: data are no buffers

    def forward(self, generator: torch.Generator) -> Tensor:
        frames, masks = self.data
        device = next(self.net.parameters()).device
        rows = torch.randint(len(frames), (self.batch,), generator=generator)
        k = torch.randint(len(self.times), (self.batch,), generator=generator)
        x = frames[rows, torch.tensor(self.times)[k]].to(device)
        target = masks[rows, k].float().to(device)
        return F.binary_cross_entropy_with_logits(self.net(x), target)


class WhatMovesWith(nn.Module):
    """The same, asked about a point: which pixels move as this one does?  Motion by the known flow, middle frame."""

    def __init__(self, net: ThingNet, films: scenes.Scenes, batch: int = BATCH):
        super().__init__()
        self.net, self.batch, self.data = net, batch, [films]

    def forward(self, generator: torch.Generator) -> Tensor:
        device = next(self.net.parameters()).device
        films = self.data[0]
        films = films[torch.randint(len(films), (self.batch,), generator=generator)]
        t = films.frames.shape[1] // 2
        point, target, seen = scenes.ask(
            films, t, torch.randint(2, (self.batch,), generator=generator), generator
        )
        logits = self.net(films.frames[:, t].to(device), point.to(device))[seen.to(device)]
        return F.binary_cross_entropy_with_logits(logits, target[seen].float().to(device))


class Tracks(nn.Module):
    """A patch and where it went (Wang and Gupta 2015, section 4): nearer to each other than to patches of other films.

        loss = mean of max(0, D(x, x+) - D(x, x-) + margin),   D = 1 - cosine

    negatives: "random", one other film of the batch each, or "hard", the `hardest` four of the batch.  tracked: the
    second patch is the thing at a later moment; False: the same moment again, with a tracker's error only.
    A call takes a generator and returns the loss of a fresh batch.
    """

    def __init__(
        self, net: ThingNet, films: scenes.Scenes, negatives: str = "random", tracked: bool = True, margin: float = 0.5,
        batch: int = 2 * BATCH,
    ):  # fmt: skip
        super().__init__()
        if negatives not in ("random", "hard"):
            raise InputError(f"negatives are random or hard, not {negatives!r}")
        self.net, self.batch, self.data = net, batch, [films]
        self.negatives, self.tracked, self.margin = negatives, tracked, margin
        self.projector = nn.Linear(net.dim, 32)

    def forward(self, generator: torch.Generator) -> Tensor:
        films, last = self.data[0], self.data[0].frames.shape[1] - 1
        films = films[torch.randint(len(films), (self.batch,), generator=generator)]
        start = torch.zeros(self.batch, dtype=torch.long)
        moments = (start, start + last if self.tracked else start)
        device = next(self.net.parameters()).device
        x = [scenes.patches(films, t, generator).to(device) for t in moments]
        a, b = (F.normalize(self.projector(self.net.features(p)), dim=1) for p in x)
        if self.negatives == "hard":
            rows, k = hardest(a, b), 4
        else:
            step = torch.randint(1, self.batch, (1,), generator=generator)
            rows, k = ((torch.arange(self.batch) + step) % self.batch)[:, None].to(device), 1
        anchor, positive = (z.repeat_interleave(k, dim=0) for z in (a, b))
        # |u - v|^2 = 2 (1 - cosine) for unit vectors, so half of this triplet loss is the one above.
        return losses.triplet(anchor, positive, b[rows.flatten()], 2 * self.margin) / 2


@torch.no_grad()
def hardest(anchor: Tensor, other: Tensor, k: int = 4) -> Tensor:
    """The rows [N, k] of `other` nearest to each anchor by cosine, its own row left out: the hardest of a batch."""
    if not 1 <= k < len(anchor):
        raise InputError(f"a batch of {len(anchor)} has 1 to {len(anchor) - 1} negatives, not {k}")
    score = F.normalize(anchor, dim=1) @ F.normalize(other, dim=1).T
    return score.fill_diagonal_(-torch.inf).topk(k, dim=1).indices


@torch.no_grad()
def answers(net: ThingNet, pictures: Tensor, points: Tensor | None = None, batch: int = 500) -> Tensor:
    """The network's probabilities [N, S, S] for still pictures uint8 [N, 3, S, S], on the CPU."""
    net.eval()
    device = next(net.parameters()).device
    parts = [pictures.split(batch), [None] * len(pictures) if points is None else points.split(batch)]
    return torch.cat(
        [
            net(x.to(device), p if p is None else p.to(device)).sigmoid().cpu()
            for x, p in zip(*parts, strict=False)
        ]
    )


def overlap(guess: Tensor, truth: Tensor) -> float:
    """Intersection over union of two sets of pixels, bool [N, S, S], all pictures together."""
    union = (guess | truth).sum()
    return float((guess & truth).sum() / union) if union else 1.0


def salience(rule: str, pictures: Tensor) -> Tensor:
    """What says "thing" in one picture without learning: a score [N, S, S] for uint8 pictures [N, 3, S, S].

    rule: "edges" (differences of neighbours), "saturation", or "far from the median colour" of the picture.
    """
    x = pictures.float() / 255
    if rule == "edges":
        return sum((x - x.roll(1, d)).abs().mean(dim=1) for d in (2, 3))
    if rule == "saturation":
        return x.amax(dim=1) - x.amin(dim=1)
    if rule != "far from the median colour":
        raise InputError(f"rules are edges, saturation, far from the median colour, not {rule!r}")
    return (x - x.flatten(2).median(dim=2).values[..., None, None]).abs().mean(dim=1)
