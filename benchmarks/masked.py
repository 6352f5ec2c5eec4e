"""The record of chapter 18: masking ratios, targets, tricks and breakages around masked image modelling.

    uv run python benchmarks/masked.py                       # all arms that the record does not have yet
    uv run python benchmarks/masked.py --arms "ratio 0.75" --seeds 0

Every arm trains the small vision transformer for a fixed number of steps with its own loss and is probed like the loss
families.  An arm in the record is not run again; one killed on the way goes on from its last checkpoint.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from _record import RESULTS, merge
from _world import measure, splits
from torch import nn
from torch.nn import functional as F

from ssl_lessons import diagnostics, evaluation
from ssl_lessons.encoders import build_encoder, patchify, take, unpatchify
from ssl_lessons.losses.masked import data2vec_loss
from ssl_lessons.masks import block_mask, random_mask, uniform_mask, visible
from ssl_lessons.methods import SimCLR, Supervised
from ssl_lessons.methods.base import momentum_copy
from ssl_lessons.methods.beit import BEiT
from ssl_lessons.methods.data2vec import Data2Vec
from ssl_lessons.methods.ijepa import IJEPA
from ssl_lessons.methods.mae import MAE
from ssl_lessons.methods.masked import MaskedMethod
from ssl_lessons.methods.simmim import SimMIM
from ssl_lessons.pretraining import pretrain
from ssl_lessons.recipes import get_recipe
from ssl_lessons.views import normalize

VIT = {"patch": 4, "dim": 64, "depth": 4, "heads": 4}
STEPS = 200
KEY = ("arm", "seed")
WORK = Path(tempfile.gettempdir()) / "ssl_lessons_masked"  # checkpoints of the arm under way
TRAINING = {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.05, "warmup": 0.1, "batch_size": 256}


# ---- variants ----------------------------------------------------------------------------------------------


class Autoencoder(MaskedMethod):
    """No mask: give back all pixels, from the image itself or from a noisy copy (a denoising autoencoder)."""

    def __init__(self, encoder, noise: float = 0.0):
        super().__init__(encoder)
        self.noise = noise
        self.paint = nn.Linear(encoder.dim, 3 * encoder.patch**2)

    def forward(self, views, labels=None):
        x = views[0]
        noisy = x + self.noise * torch.randn_like(x)
        return F.mse_loss(self.paint(self.encoder.patches(noisy)), patchify(x, self.encoder.patch))


class UniformMAE(MAE):
    """One visible patch per 2 x 2 cell (Li et al. 2022, UM-MAE, without its secondary masking)."""

    def draw_mask(self, n):
        return uniform_mask(n, self.encoder.n_tokens)


class BlockMAE(MAE):
    def draw_mask(self, n):
        return block_mask(n, self.encoder.n_tokens, self.mask_ratio)


class BEiTv2(BEiT):
    """Codes of a trained teacher's features instead of pixels (Peng et al. 2022; k-means for their VQ-KD)."""

    def __init__(self, encoder, teacher, **options):
        super().__init__(encoder, **options)
        self.teacher = momentum_copy(teacher)
        self.register_buffer("codebook", torch.zeros(len(self.codebook), teacher.dim))

    def describe(self, x):
        return self.teacher.patches(x)


class MeanColour(BEiT):
    """The mean colour of a hidden patch, 3 bits a channel, 512 classes (Dosovitskiy et al. 2021, appendix B.1.2)."""

    refresh_every = 0

    def __init__(self, encoder):
        super().__init__(encoder, codes=512, mask_ratio=0.5)

    def draw_mask(self, n):
        return random_mask(n, self.encoder.n_tokens, self.mask_ratio)

    def tokenize(self, x):
        colour = patchify(x, self.encoder.patch).unflatten(2, (3, -1)).mean(dim=3)  # [N, T, 3], -2 to 2
        level = ((colour + 2) * 2).long().clamp(0, 7)
        return (level * torch.tensor([64, 8, 1], device=x.device)).sum(dim=2)


class Selfie(MAE):
    """Which of the hidden patches belongs in this hole? (Trinh et al. 2019)"""

    def __init__(self, encoder, **options):
        super().__init__(encoder, **options)
        width = 3 * encoder.patch**2
        self.describe = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def scores(self, x):
        """[N, K, K]: hole against candidate, the right ones on the diagonal."""
        mask = self.draw_mask(len(x)).to(x.device)
        holes = visible(~mask)
        asked = take(self.reconstruct(x, mask), holes)
        candidates = self.describe(take(patchify(x, self.encoder.patch), holes))
        return asked @ candidates.mT / asked.shape[2] ** 0.5

    def forward(self, views, labels=None):
        scores = self.scores(views[0])
        target = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape[:2])
        return F.cross_entropy(scores.flatten(0, 1), target.flatten())


class Data2Vec2(Data2Vec):
    """data2vec 2.0 (Baevski et al. 2023): visible tokens only, a convolutional decoder, several masks per target."""

    def __init__(self, encoder, masks: int = 2, **options):
        super().__init__(encoder, **options)
        self.masks = masks
        self.decoder = nn.Sequential(
            nn.Conv2d(encoder.dim, encoder.dim, 3, padding=1, groups=4), nn.GELU(),
            nn.Conv2d(encoder.dim, encoder.dim, 3, padding=1, groups=4), nn.GELU(),
        )  # fmt: skip

    def forward(self, views, labels=None):
        x, total = views[0], 0.0
        target = self.targets(x)  # once for all masks
        for _ in range(self.masks):
            mask = self.draw_mask(len(x)).to(x.device)
            keep = visible(mask)
            seen = self.encoder.patches(x, keep)
            grid = self.mask_token.expand(*mask.shape, -1).scatter(1, keep[:, :, None].expand_as(seen), seen)
            grid = grid.mT.unflatten(2, (self.encoder.side, -1))
            prediction = self.predictor((grid + self.decoder(grid)).flatten(2).mT)
            total = total + data2vec_loss(prediction, target, mask, self.beta) / self.masks
        return total


# ---- arms --------------------------------------------------------------------------------------------------


def vit(**options):
    return build_encoder("vit", **VIT | options)


def trained_simclr() -> nn.Module:
    """The encoder that an arm "simclr" left behind: the teacher of BEiT v2."""
    encoder = vit()
    encoder.load_state_dict(torch.load(WORK / "simclr 0.pt", weights_only=True))
    return encoder


def dbot(stage: int) -> Data2Vec:
    """dBOT (Liu et al. 2022): a fixed teacher; from stage 2 on it is the student of the stage before."""
    method = Data2Vec(vit(), momentum=1.0)
    if stage > 1:
        method.teacher.load_state_dict(torch.load(WORK / f"dbot {stage - 1} 0.pt", weights_only=True))
    return method


MAE_OPTIONS = {"decoder_dim": 48}
ARMS = {
    "mae": lambda: MAE(vit(), **MAE_OPTIONS),
    **{f"ratio {r}": (lambda r=r: MAE(vit(), mask_ratio=r, **MAE_OPTIONS)) for r in (0.1, 0.25, 0.5, 0.9)},
    "pixels": lambda: MAE(vit(), norm_targets=False, **MAE_OPTIONS),
    "all patches": lambda: MAE(vit(), masked_only=False, **MAE_OPTIONS),
    "blocks": lambda: BlockMAE(vit(), **MAE_OPTIONS),
    "uniform": lambda: UniformMAE(vit(), **MAE_OPTIONS),
    "frozen patches": lambda: MAE(vit(freeze_patches=True), **MAE_OPTIONS),
    "simclr": lambda: SimCLR(vit(), temperature=0.1),
    "simmim": lambda: SimMIM(vit()),
    "autoencoder": lambda: Autoencoder(vit()),
    "denoising": lambda: Autoencoder(vit(), noise=1.0),
    "beit": lambda: BEiT(vit()),
    "beit_v2": lambda: BEiTv2(vit(), trained_simclr()),
    "mean colour": lambda: MeanColour(vit()),
    "selfie": lambda: Selfie(vit(), **MAE_OPTIONS),
    "data2vec": lambda: Data2Vec(vit()),
    "data2vec 2": lambda: Data2Vec2(vit()),
    "dbot 1": lambda: dbot(1),
    "dbot 2": lambda: dbot(2),
    "ijepa": lambda: IJEPA(vit()),
    "ijepa, gradient": lambda: IJEPA(vit(), stop_gradient=False),
}
