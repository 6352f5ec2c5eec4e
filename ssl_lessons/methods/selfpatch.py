"""SelfPatch (Yun et al. 2022, https://arxiv.org/abs/2206.07990)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.dense import pick, similar_neighbours
from ssl_lessons.losses.distillation import dino, ibot, update_center
from ssl_lessons.methods.base import Method, cosine_momentum, momentum_copy, momentum_update
from ssl_lessons.methods.dino import PrototypeHead


class Aggregate(nn.Module):
    """A learned token looks at a set of tokens and carries away one vector: [M, K, dim] -> [M, dim]."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(dim))
        self.before, self.middle, self.after = (nn.LayerNorm(dim) for _ in range(3))
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def look(self, x: Tensor, absent: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the token gathers [M, 1, dim], and how each head shares out its attention over the set [M, heads, K]."""
        own = self.token.expand(len(x), 1, -1)
        seen = self.before(torch.cat([own, x], dim=1))
        if absent is not None:
            absent = torch.cat([torch.zeros_like(absent[:, :1]), absent], dim=1)
        found, weights = self.attention(seen[:, :1], seen, seen, absent, average_attn_weights=False)
        return own + found, weights[:, :, 0, 1:]

    def forward(self, x: Tensor, absent: Tensor | None = None) -> Tensor:
        """absent: bool [M, K], members of the set that are not there."""
        token = self.look(x, absent)[0]
        return self.after(token + self.mlp(self.middle(token)))[:, 0]


class SelfPatch(Method):
    """DINO for images, and patch by patch: name what the teacher says of the neighbours that look most alike.

    Both from a token that gathers: all patches for an image, the k most similar of eight neighbours for a patch.
    Student and teacher see the same view in the patch loss.  patch_weight: of that loss (0: DINO with such a token).
    Wants a ViT without class token.
    """

    def __init__(
        self,
        encoder: nn.Module,
        k: int = 4,
        patch_weight: float = 0.1,
        prototypes: int = 256,
        hidden_dim: int = 256,
        bottleneck: int = 64,
        momentum: float = 0.97,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.02,
        center_momentum: float = 0.9,
        heads: int = 3,
    ):
        super().__init__()
        if not hasattr(encoder, "patches"):
            raise InputError("SelfPatch compares patches and needs a ViT: build_encoder('vit')")
        self.encoder, self.aggregate = encoder, Aggregate(encoder.dim, heads)
        self.projector, self.patch_projector = (
            PrototypeHead(encoder.dim, hidden_dim, bottleneck, prototypes, batch_norm=b)
            for b in (True, False)
        )
        self.teacher = momentum_copy(nn.ModuleList(self.students()))
        self.register_buffer("center", torch.zeros(prototypes))
        self.register_buffer("patch_center", torch.zeros(prototypes))
        self.k, self.patch_weight, self.momentum, self.center_momentum = (
            k,
            patch_weight,
            momentum,
            center_momentum,
        )
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature

    def students(self) -> list[nn.Module]:
        return [self.encoder, self.aggregate, self.projector, self.patch_projector]

    @torch.no_grad()
    def teach(self, views: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """The teacher's logits: of every view [N, K], and of the neighbours of every patch [V N, T, K]."""
        encoder, aggregate, projector, patch_projector = self.teacher
        tokens = encoder.patches(torch.cat(views))  # [V N, T, D]
        whole = projector(aggregate(tokens)).chunk(len(views))
        index, there = similar_neighbours(tokens, encoder.side, self.k)
        near = pick(tokens, index.flatten(1)).unflatten(1, index.shape[1:])  # [V N, T, k, D]
        gathered = aggregate(near.flatten(0, 1), ~there.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return list(whole), patch_projector(gathered)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != 2:
            raise InputError(f"SelfPatch compares two views of every image, got {len(views)}")
        temperatures = self.student_temperature, self.teacher_temperature
        teacher, teacher_patches = self.teach(views)
        tokens = self.encoder.patches(torch.cat(views))
        student = list(self.projector(self.aggregate(tokens)).chunk(2))
        loss = dino(student, teacher, self.center, *temperatures)
        patches = self.patch_projector(tokens)
        everywhere = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        loss = loss + self.patch_weight * ibot(
            patches, teacher_patches, everywhere, self.patch_center, *temperatures
        )
        if self.training:
            m = self.center_momentum
            self.center.copy_(update_center(self.center, torch.cat(teacher), m))
            self.patch_center.copy_(update_center(self.patch_center, teacher_patches.flatten(0, 1), m))
        return loss

    def embed(self, x: Tensor) -> Tensor:
        """The bottleneck of the whole image: what the prototypes are compared with."""
        return self.projector.mlp(self.aggregate(self.encoder.patches(x)))

    def after_step(self, progress: float) -> None:
        for student, teacher in self.momentum_pairs():
            momentum_update(student, teacher, cosine_momentum(self.momentum, progress))

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return list(zip(self.students(), self.teacher, strict=True))


# Details that matter
# - alinlab/SelfPatch, selfpatch_vision_transformer.py: the token passes two blocks of class attention. Here: one.
# - get_local_index counts neighbours modulo the side: the left edge is next to the right one. Here: the picture
#   ends at its edge, and a corner has three neighbours.
# - main_selfpatch.py: the patch loss compares student and teacher of the same crop, its weight is 0.1, k = 4; its
#   head has 4,096 prototypes and a centre of its own. Here: the same but for 256 prototypes.
# - Eight small crops there, AdamW, 65,536 prototypes for images. Here: two views, 256.
