"""What to ask of somebody's walks: one class per method, each a loss for `training.fit`.

A task holds the networks and the walks; its call takes a generator and returns the loss of one fresh batch.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.agents.encoders import Critic, Dynamics, Eye
from ssl_lessons.modalities.agents.world import Walks

BATCH = 64
PAD = 2  # pixels by which the augmentation shifts a picture, at most


class Task(nn.Module):
    """An encoder, somebody's walks, and what is asked of them."""

    def __init__(self, encoder: nn.Module, walks: Walks, batch: int = BATCH):
        super().__init__()
        self.encoder, self.batch = encoder, batch
        self.walks = [walks]  # in a list: data are no buffers

    def piece(self, generator: torch.Generator, moves: int) -> tuple[Tensor, Tensor]:
        """Pieces of walks: frames [B, moves + 1, 3, S, S] and actions [B, moves, 2], on the encoder's device."""
        walks = self.walks[0]
        room = walks.actions.shape[1] - moves
        if room < 0:
            raise InputError(
                f"the walks have {walks.actions.shape[1]} moves, fewer than the {moves} asked for"
            )
        rows = torch.randint(len(walks), (self.batch, 1), generator=generator)
        steps = torch.randint(room + 1, (self.batch, 1), generator=generator) + torch.arange(moves + 1)
        device = next(self.parameters()).device
        return walks.frames[rows, steps].to(device), walks.actions[rows, steps[:, :-1]].to(device)


class WorldModel(Task):
    """LeWorldModel (Maes et al. 2026): imagine the next vectors, and keep all vectors a sample of N(0, I).

        loss = mean_k |zhat_(t+k) - z_(t+k)|^2 / D + weight sigreg(z_t)

    zhat rolls on from z_t with the true actions; nothing is detached.  weight = 0 leaves the collapse open, and is
    right for an encoder that never learns.  The paper predicts one move ahead from a history; here four are imagined
    from one picture, which shows all there is to know.
    """

    def __init__(self, encoder: Eye, walks: Walks, weight: float = 0.01, moves: int = 4, batch: int = BATCH):
        super().__init__(encoder, walks, batch)
        self.dynamics, self.weight, self.moves = Dynamics(encoder.dim), weight, moves

    def forward(self, generator: torch.Generator) -> Tensor:
        frames, actions = self.piece(generator, self.moves)
        z = self.encoder(frames)  # [B, moves + 1, D]
        wrong = (self.dynamics.roll(z[:, 0], actions) - z[:, 1:]).square().mean()
        if not self.weight:
            return wrong
        directions = losses.random_directions(z.shape[2], 64, generator).to(z.device)
        return wrong + self.weight * losses.sigreg(z[:, 0], directions)


class Spr(Task):
    """SPR (Schwarzer et al. 2021): BYOL's loss on vectors imagined K moves ahead; the target is a slow copy.

    Projector (with batch norm) and predictor as in BYOL; pictures are shifted at random, as in the augmented version.
    """

    def __init__(
        self, encoder: Eye, walks: Walks, moves: int = 4, momentum: float = 0.99, batch: int = BATCH
    ):
        super().__init__(encoder, walks, batch)
        self.dynamics, self.moves, self.momentum = Dynamics(encoder.dim), moves, momentum
        self.projector = nn.Sequential(nn.Linear(encoder.dim, 32), nn.BatchNorm1d(32))
        self.predictor = nn.Linear(32, 32)
        self.target = copy.deepcopy(nn.Sequential(encoder, self.projector)).requires_grad_(False)

    def forward(self, generator: torch.Generator) -> Tensor:
        frames, actions = self.piece(generator, self.moves)
        frames = shifted(frames, generator)
        imagined = self.dynamics.roll(self.encoder(frames[:, 0]), actions)
        guess = self.predictor(self.projector(imagined.flatten(0, 1)))
        with torch.no_grad():
            target = self.target(frames[:, 1:].flatten(0, 1))
        return losses.byol(guess, target)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """The target's moving average: `training.fit(..., after=task.follow)`."""
        online = nn.Sequential(self.encoder, self.projector)
        for slow, fast in zip(self.target.parameters(), online.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)


class Contrast(Task):
    """CURL (Laskin et al. 2020) and ATC (Stooke et al. 2021): find the positive, bilinear scores.

    gap = 0: the positive is the same picture, shifted otherwise (CURL).  gap > 0: the picture `gap` moves later (ATC).
    Both papers take the positives from a slow copy; here one encoder sees both.
    """

    def __init__(self, encoder: Eye, walks: Walks, gap: int = 0, batch: int = 2 * BATCH):
        super().__init__(encoder, walks, batch)
        self.gap = gap
        self.bilinear = nn.Parameter(torch.eye(encoder.dim))

    def forward(self, generator: torch.Generator) -> Tensor:
        frames, _ = self.piece(generator, self.gap)
        a, b = (self.encoder(shifted(x, generator)) for x in (frames[:, 0], frames[:, -1]))
        return losses.cola(a, b, self.bilinear)


class Reach(Task):
    """Contrastive RL (Eysenbach et al. 2022), its InfoNCE version: which of these is where this walk came later?

    The positive lies k moves ahead, k geometric with parameter 1 - discount, cut to the length of the walk.  InfoNCE
    leaves a constant free for each picture and action; as in the authors' code, `penalty` times the squared logsumexp
    of a row holds it down, so that scores of different actions can be compared.
    """

    def __init__(
        self,
        encoder: Critic,
        walks: Walks,
        discount: float = 0.9,
        penalty: float = 0.01,
        batch: int = 2 * BATCH,
    ):
        super().__init__(encoder, walks, batch)
        self.discount, self.penalty = discount, penalty

    def forward(self, generator: torch.Generator) -> Tensor:
        walks, device = self.walks[0], next(self.encoder.parameters()).device
        moves = walks.actions.shape[1]
        rows = torch.randint(len(walks), (self.batch,), generator=generator)
        now = torch.randint(moves, (self.batch,), generator=generator)
        later = now + ahead(self.batch, self.discount, generator)
        rows, now, later = (x[later <= moves] for x in (rows, now, later))
        here = self.encoder.here(walks.frames[rows, now].to(device), walks.actions[rows, now].to(device))
        there = self.encoder.goal(walks.frames[rows, later].to(device))
        free = (here @ there.T).logsumexp(dim=1).square().mean()
        return losses.cola(here, there, torch.eye(here.shape[1], device=device)) + self.penalty * free


def ahead(n: int, discount: float, generator: torch.Generator) -> Tensor:
    """n waiting times k = 1, 2, ..., P(k) = (1 - discount) discount^(k - 1)."""
    u = torch.rand(n, generator=generator).clamp_min(1e-12)
    return 1 + (u.log() / torch.tensor(discount).log()).floor().long()


def shifted(frames: Tensor, generator: torch.Generator, pad: int = PAD) -> Tensor:
    """Each picture [..., 3, S, S] moved by up to `pad` pixels, what is missing repeated from the edge."""
    x = frames.flatten(0, -4)
    side, n = x.shape[-1], len(x)
    moves = torch.randint(-pad, pad + 1, (2, n, 1), generator=generator)
    rows, columns = ((torch.arange(side) + m).clamp(0, side - 1).to(x.device) for m in moves)
    moved = x[torch.arange(n)[:, None, None, None], torch.arange(3)[:, None, None], rows[:, None, :, None],
              columns[:, None, None, :]]  # fmt: skip
    return moved.view_as(frames)
