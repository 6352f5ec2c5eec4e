"""Three small encoders of clips: frame by frame and then over time, maps of places, and a space-time transformer."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.modalities.video import views


class FrameNet(nn.Module):
    """Frames of any size to vectors: two convolutions, what each channel sees most of, and where it sees it.

    Where: a softmax over all places (the "spatial softmax" that time-contrastive networks use), then the mean of cos
    and sin of both coordinates, since the picture's edges are glued.

    uint8 or float [..., channels, S, S] -> [..., dim].
    """

    def __init__(self, dim: int = 64, channels: int = 3, width: int = 32):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(channels, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, width, 3, 2, 1))
        self.flat = nn.Linear(5 * width, dim)

    def forward(self, frames: Tensor) -> Tensor:
        x = _float(frames)
        maps = self.convs(x.flatten(0, -4))
        circle = 2 * math.pi * torch.arange(maps.shape[-1], device=maps.device) / maps.shape[-1]
        down, right = torch.meshgrid(circle, circle, indexing="ij")
        waves = torch.stack([right.cos(), right.sin(), down.cos(), down.sin()], dim=-1).flatten(0, 1)
        maps = maps.flatten(2)
        where, what = maps.softmax(dim=2) @ waves, maps.amax(dim=2)
        return self.flat(torch.cat([where.flatten(1), what], dim=1)).unflatten(0, x.shape[:-3])


class ClipNet(nn.Module):
    """The encoder of all clip tasks: one FrameNet looks at frames, another at what changes, and convolutions over time.

    frames(clips [N, T, 3, S, S]) -> [N, T, dim], each from its frame alone.  forward -> [N, 2 dim]: the mean over the
    frames' vectors, beside the mean of what two convolutions over time make of the changes (each frame and its
    difference to the next, six channels).
    """

    def __init__(self, dim: int = 64):
        super().__init__()
        self.frames, self.changes = FrameNet(dim), FrameNet(dim, channels=6)
        self.over_time = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(dim, dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(dim, dim, 3, padding=1),
            nn.ReLU(),
        )
        self.dim = 2 * dim

    def forward(self, clips: Tensor) -> Tensor:
        x = _float(clips)
        pairs = torch.cat([x[:, :-1], 4 * (x[:, 1:] - x[:, :-1])], dim=2)
        moving = self.over_time(self.changes(pairs).mT).mean(dim=2)
        return torch.cat([self.frames(x).mean(dim=1), moving], dim=1)


class PlaceNet(nn.Module):
    """Gray frames to a map of features: [N, 1, S, S] -> [N, dim, S / 2, S / 2]; what points and walks needs places."""

    def __init__(self, dim: int = 32, width: int = 24):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, width, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(width, dim, 3, 1, 1),
        )  # fmt: skip

    def forward(self, gray: Tensor) -> Tensor:
        return self.convs(gray)


class CubeViT(nn.Module):
    """A space-time transformer with a light decoder, for masked cubes (VideoMAE): 4 slices of 16 cubes, 2 x 6 x 6.

    forward(clips [N, 8, 3, 24, 24]) -> [N, dim], the mean of all tokens.  reconstruct(cubes, mask) -> what stands in
    every cube; the encoder sees the cubes that `mask` leaves only, as many in every clip.
    """

    SLICES, PLACES, CUBE = 4, 16, 3 * 2 * 6 * 6

    def __init__(self, dim: int = 48, depth: int = 2, heads: int = 4, decoder: int = 1):
        super().__init__()
        tokens = self.SLICES * self.PLACES
        self.embed, self.out = nn.Linear(self.CUBE, dim), nn.Linear(dim, self.CUBE)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, dim))
        self.missing = nn.Parameter(torch.zeros(dim))
        self.blocks, self.decoder = (_blocks(dim, n, heads) for n in (depth, decoder))
        self.norm, self.dim = nn.LayerNorm(dim), dim

    def forward(self, clips: Tensor) -> Tensor:
        return self.tokens(views.patches(_float(clips))).mean(dim=1)

    def tokens(self, cubes: Tensor, seen: Tensor | None = None) -> Tensor:
        """Tokens of the cubes [N, 64, 216]; of those alone that `seen` [N, K] points to, if given."""
        x = self.embed(cubes) + self.position
        if seen is not None:
            x = x.gather(1, seen[..., None].expand(-1, -1, x.shape[2]))
        return self.norm(self.blocks(x))

    def reconstruct(self, cubes: Tensor, mask: Tensor) -> Tensor:
        left = int((~mask[0]).sum())
        seen = (~mask).long().topk(left, dim=1).indices
        x = self.tokens(cubes, seen)
        full = (self.missing + self.position).expand(len(cubes), -1, -1)
        full = full.scatter(1, seen[..., None].expand(-1, -1, x.shape[2]), x + self.position[seen])
        return self.out(self.decoder(full))


def _blocks(dim: int, depth: int, heads: int) -> nn.Sequential:
    layers = [
        nn.TransformerEncoderLayer(dim, heads, 2 * dim, 0.0, F.gelu, batch_first=True, norm_first=True)
        for _ in range(depth)
    ]
    return nn.Sequential(*layers)


def _float(clips: Tensor) -> Tensor:
    return views.to_float(clips) if clips.dtype == torch.uint8 else clips


@torch.no_grad()
def features(encoder: nn.Module, clips: Tensor, batch: int = 500) -> Tensor:
    """encoder(clips) in evaluation mode, batch by batch on the encoder's device; the answer on the CPU."""
    encoder.eval()
    device = next(encoder.parameters()).device
    return torch.cat([encoder(part.to(device)).cpu() for part in clips.split(batch)])
