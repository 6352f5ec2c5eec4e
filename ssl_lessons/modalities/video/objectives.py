"""What to ask of a film: one function per task, each a loss for `training.fit`.

A task is built from the training clips, uint8 [N, T, 3, S, S]; it is a module with the encoder inside, and its call
takes a generator and returns the loss of one fresh batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons import losses
from ssl_lessons.modalities.video import views
from ssl_lessons.modalities.video.encoders import ClipNet, CubeViT

BATCH = 32


class Task(nn.Module):
    """An encoder, its training clips, and what is asked of it."""

    def __init__(self, encoder: nn.Module, clips: Tensor, other: Tensor | None = None, batch: int = BATCH):
        super().__init__()
        self.encoder, self.batch = encoder, batch
        self.clips, self.other = [clips], [other]  # in lists: data are no buffers

    def rows(self, generator: torch.Generator) -> Tensor:
        return torch.randint(len(self.clips[0]), (self.batch,), generator=generator)

    def draw(self, generator: torch.Generator, rows: Tensor | None = None, other: bool = False) -> Tensor:
        """A batch of clips as floats, on the encoder's device."""
        rows = self.rows(generator) if rows is None else rows
        device = next(self.encoder.parameters()).device
        return views.to_float((self.other if other else self.clips)[0][rows].to(device))


class Labelled(Task):
    """Spoil clips so that the spoiling is the label: order, arrow, pace, permutations, ego-motion."""

    def __init__(self, encoder, clips, make: Callable, classes: int, batch: int = BATCH):
        super().__init__(encoder, clips, batch=batch)
        self.make, self.head = make, nn.Linear(encoder.dim, classes)

    def forward(self, generator: torch.Generator) -> Tensor:
        x, label = self.make(self.draw(generator), generator)
        return F.cross_entropy(self.head(self.encoder(x)), label)

    @torch.no_grad()
    def accuracy(self, clips: Tensor, generator: torch.Generator) -> float:
        """How often the task is solved, on other clips."""
        self.eval()
        right = 0
        for part in clips.split(500):
            device = next(self.encoder.parameters()).device
            x, label = self.make(views.to_float(part.to(device)), generator)
            right += int((self.head(self.encoder(x)).argmax(dim=1) == label).sum())
        return right / len(clips)


class OddOne(Task):
    """Which of three cuts is shuffled (O3N)?  The head sees each cut minus the others, summed."""

    def __init__(self, encoder, clips, batch: int = BATCH):
        super().__init__(encoder, clips, batch=batch // 2)
        self.head = nn.Linear(3 * encoder.dim, 3)

    def forward(self, generator: torch.Generator) -> Tensor:
        x, odd = views.odd_one(self.draw(generator), generator)
        h = self.encoder(x.flatten(0, 1)).view(len(x), 3, -1)
        away = 2 * h - h.roll(1, dims=1) - h.roll(2, dims=1)
        return F.cross_entropy(self.head(away.flatten(1)), odd)


class Predict(Task):
    """The next frame, pixel by pixel, from the six before it (mean squared error)."""

    def __init__(self, encoder, clips, batch: int = BATCH):
        super().__init__(encoder, clips, batch=batch)
        self.head = nn.Sequential(nn.Linear(encoder.dim, 256), nn.ReLU(), nn.Linear(256, 3 * 24 * 24))

    def forward(self, generator: torch.Generator) -> Tensor:
        x = self.draw(generator)
        guess = self.head(self.encoder(x[:, :-1])).view_as(x[:, -1])
        return F.mse_loss(guess, x[:, -1])


class Ahead(Task):
    """DPC (Han et al. 2019): from the first half of a film, which frame's features come at each later time?

    The guess is compared with the features of every frame of every film in the batch, and the softmax asks for the
    right one; same_film: with the frames of the film alone, so that what does not change in it cannot help.
    """

    def __init__(self, encoder, clips, same_film: bool = False, batch: int = BATCH):
        super().__init__(encoder, clips, batch=batch)
        frames, self.same_film = clips.shape[1] - clips.shape[1] // 2, same_film
        wide = frames * encoder.dim // 2
        self.ahead = nn.Sequential(nn.Linear(encoder.dim, 128), nn.ReLU(), nn.Linear(128, wide))

    def forward(self, generator: torch.Generator) -> Tensor:
        x = self.draw(generator)
        z, seen = self.encoder.frames(x), x.shape[1] // 2  # [N, T, D]
        guess = self.ahead(self.encoder(x[:, :seen])).view_as(z[:, seen:])
        right = torch.arange(seen, x.shape[1], device=x.device).expand(len(x), -1)
        if self.same_film:
            return F.cross_entropy((guess @ z.mT).flatten(0, 1), right.flatten())
        right = right + x.shape[1] * torch.arange(len(x), device=x.device)[:, None]
        return F.cross_entropy(guess.flatten(0, 1) @ z.flatten(0, 1).T, right.flatten())


class Contrast(Task):
    """CVRL and IIC: two augmented cuts of a clip among all clips, and among its own spoiled selves.

    consistent: one augmentation per clip, not one per frame.  shuffled: "ignored", or used as further "negatives"
    (IIC), or as the "positive".
    """

    def __init__(
        self, encoder, clips, consistent: bool = True, shuffled: str = "ignored", batch: int = BATCH
    ):
        super().__init__(encoder, clips, batch=batch)
        self.consistent, self.shuffled = consistent, shuffled
        self.projector = nn.Sequential(nn.Linear(encoder.dim, 64), nn.ReLU(), nn.Linear(64, 32))

    def embed(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder(x))

    def forward(self, generator: torch.Generator) -> Tensor:
        x = self.draw(generator)
        first, second = (views.augment(x, generator, self.consistent) for _ in range(2))
        mixed = views.reorder(second, views.shuffled(second, generator))
        if self.shuffled == "positive":
            return losses.info_nce(self.embed(first), self.embed(mixed))
        if self.shuffled == "negatives":
            still = second[:, :1].expand_as(second)
            spoiled = torch.stack([self.embed(mixed), self.embed(still)], dim=1)
            return losses.intra_negatives(self.embed(first), self.embed(second), spoiled)
        return losses.info_nce(self.embed(first), self.embed(second))


class TimeContrast(Task):
    """TCN: the same moment by two cameras is near, another moment of the same film far.

    frames: how many successive ones make a moment.  n_pairs: the softmax over all moments of the clip instead of
    triplets (mf-TCN uses n-pairs).
    """

    def __init__(
        self, encoder, clips, other, n_pairs: bool = False, frames: int = 1, batch: int = BATCH // 2
    ):
        super().__init__(encoder, clips, other, batch)
        self.n_pairs, self.together = n_pairs, frames

    def forward(self, generator: torch.Generator) -> Tensor:
        rows = self.rows(generator)
        z1, z2 = (moments(self.encoder, self.draw(generator, rows, o), self.together) for o in (False, True))
        if not self.n_pairs:
            return losses.time_contrast(z1, z2)
        pairs = [losses.n_pair(a, b, l2=0.002, temperature=0.1) for a, b in zip(z1, z2, strict=True)]
        return torch.stack(pairs).mean()


def moments(encoder: nn.Module, x: Tensor, together: int = 1) -> Tensor:
    """Unit vectors [N, T', D] of the moments: each the mean of `together` successive frames."""
    z = encoder.frames(x).unfold(1, together, 1).mean(dim=3)
    return F.normalize(z, dim=2)


class Slow(Task):
    """Slow features: as little change from frame to frame as whitened features allow."""

    def forward(self, generator: torch.Generator) -> Tensor:
        return losses.slowness(self.encoder.frames(self.draw(generator)))


class Cubes(Task):
    """VideoMAE: the pixels of hidden cubes, mean squared error on normalised cubes."""

    def __init__(
        self,
        encoder,
        clips,
        ratio: float = 0.9,
        tubes: bool = True,
        normalised: bool = True,
        batch: int = BATCH,
    ):
        super().__init__(encoder, clips, batch=batch)
        self.ratio, self.tubes, self.normalised = ratio, tubes, normalised

    def mask(self, n: int, generator: torch.Generator) -> Tensor:
        return views.masks(n, CubeViT.SLICES, CubeViT.PLACES, self.ratio, generator, self.tubes)

    def forward(self, generator: torch.Generator) -> Tensor:
        cubes = views.patches(self.draw(generator))
        mask = self.mask(len(cubes), generator).to(cubes.device)
        return losses.mae(self.encoder.reconstruct(cubes, mask), cubes, mask, self.normalised)


class CubeFeatures(Cubes):
    """The same with features for pixels (V-JEPA): a slow copy of the encoder sees everything and is the target."""

    def __init__(
        self,
        encoder,
        clips,
        ratio: float = 0.9,
        tubes: bool = True,
        momentum: float = 0.99,
        batch: int = BATCH,
    ):
        super().__init__(encoder, clips, ratio, tubes, batch=batch)
        self.teacher, self.momentum = copy.deepcopy(encoder).requires_grad_(False), momentum
        encoder.out = nn.Linear(encoder.dim, encoder.dim)

    def forward(self, generator: torch.Generator) -> Tensor:
        cubes = views.patches(self.draw(generator))
        mask = self.mask(len(cubes), generator).to(cubes.device)
        with torch.no_grad():
            target = F.layer_norm(self.teacher.tokens(cubes), (self.encoder.dim,))
        guess = self.encoder.reconstruct(cubes, mask)
        return losses.ijepa(guess[mask][None, None], target[mask][None, None])

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """The teacher's moving average: `training.fit(..., after=task.follow)`."""
        teacher = dict(self.teacher.named_parameters())
        for name, value in self.encoder.named_parameters():
            if not name.startswith("out."):
                teacher[name].lerp_(value, 1 - self.momentum)


class Points(Task):
    """Colours copied by pointing (Vondrick et al. 2018): gray frames in, colour bins copied from the first frame."""

    def __init__(self, encoder, clips, temperature: float = 0.1, gap: int = 3, batch: int = BATCH // 4):
        super().__init__(encoder, clips, batch=batch)
        self.temperature, self.gap = temperature, gap

    def forward(self, generator: torch.Generator) -> Tensor:
        x = self.draw(generator)
        first = int(torch.randint(x.shape[1] - self.gap, (1,), generator=generator))
        a, b = x[:, first], x[:, first + 1 + int(torch.randint(self.gap, (1,), generator=generator))]
        codes = [colour_codes(frame).flatten(1) for frame in (a, b)]
        z = [F.normalize(self.encoder(gray(frame)).flatten(2).mT, dim=2) for frame in (a, b)]
        return losses.copy_colours(z[1], z[0], codes[1], codes[0], self.temperature)


class Walks(Task):
    """Cycle consistency in time (Jabri et al. 2020): walk from place to place through four frames and back."""

    def __init__(self, encoder, clips, batch: int = BATCH // 8):
        super().__init__(encoder, clips, batch=batch)

    def forward(self, generator: torch.Generator) -> Tensor:
        x = self.draw(generator)[:, :4]
        z = F.avg_pool2d(self.encoder(gray(x.flatten(0, 1))), 2).flatten(2).mT  # [N T, places, D]
        return losses.cycle_walk(z.unflatten(0, x.shape[:2]))


def gray(frames: Tensor) -> Tensor:
    """Float frames [N, 3, S, S] to brightness [N, 1, S, S], normalised in each frame."""
    x = (frames * torch.tensor([0.299, 0.587, 0.114], device=frames.device)[:, None, None]).sum(
        1, keepdim=True
    )
    return (x - x.mean(dim=(2, 3), keepdim=True)) / (x.std(dim=(2, 3), keepdim=True) + 1e-3)


def colour_codes(frames: Tensor, levels: int = 3) -> Tensor:
    """A bin [N, S/2, S/2] of each 2 x 2 block of float frames [N, 3, S, S]: `levels` steps on each of two axes."""
    x = F.avg_pool2d(frames, 2)
    chroma = torch.stack([x[:, 0] - x[:, 1], x[:, 2] - (x[:, 0] + x[:, 1]) / 2], dim=1)  # [N, 2, S/2, S/2]
    steps = ((chroma + 1) / 2 * levels).long().clamp(0, levels - 1)
    return steps[:, 0] * levels + steps[:, 1]


def tasks(encoder: Callable[[], ClipNet], clips: Tensor, other: Tensor) -> dict[str, Callable[[], Task]]:
    """name -> a fresh task with a fresh encoder: the arms of "which task keeps which factor"."""
    return {
        "shuffle and learn": lambda: Labelled(encoder(), clips, views.in_order, 2),
        "odd one out": lambda: OddOne(encoder(), clips),
        "which order": lambda: Labelled(encoder(), clips, views.permuted, 12),
        "arrow of time": lambda: Labelled(encoder(), clips, views.arrow, 2),
        "pace": lambda: Labelled(encoder(), clips, views.paced, 2),
        "ego-motion": lambda: Labelled(encoder(), clips, views.ego_motion, 49),
        "next frame": lambda: Predict(encoder(), clips),
        "moments ahead": lambda: Ahead(encoder(), clips),
        "moments ahead, same film": lambda: Ahead(encoder(), clips, same_film=True),
        "slow features": lambda: Slow(encoder(), clips),
        "time contrast": lambda: TimeContrast(encoder(), clips, other),
        "CVRL": lambda: Contrast(encoder(), clips),
        "CVRL, per frame": lambda: Contrast(encoder(), clips, consistent=False),
        "shuffled as negative": lambda: Contrast(encoder(), clips, shuffled="negatives"),
        "shuffled as positive": lambda: Contrast(encoder(), clips, shuffled="positive"),
    }
