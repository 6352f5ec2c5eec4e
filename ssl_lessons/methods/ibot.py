"""iBOT (Zhou et al. 2022, https://arxiv.org/abs/2111.07832)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.distillation import dino, ibot, update_center
from ssl_lessons.methods.dino import DINO
from ssl_lessons.views import Policy
from ssl_lessons.views.masks import block_mask


class IBOT(DINO):
    """DINO on whole images, and the same game patch by patch: the student names the patches it cannot see.

    The teacher sees every patch, the student sees a `mask_token` in place of the hidden ones; both use the same head
    for images and patches.  Wants a ViT without class token: an image is the mean of its patches, where the paper
    has [CLS].  mask_ratio: half of the images of a batch, drawn anew for each view, hide that share of their patches
    in blocks (the paper: a random share between 0.1 and 0.5).  mask_weight: of the patch term.
    """

    def __init__(
        self,
        encoder: nn.Module,
        prototypes: int = 256,
        mask_ratio: float = 0.3,
        mask_weight: float = 1.0,
        hidden_dim: int = 256,
        bottleneck: int = 64,
        momentum: float = 0.97,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.02,
        centering: bool = True,
        center_momentum: float = 0.9,
        batch_norm: bool = True,
    ):
        if not hasattr(encoder, "patches"):
            raise InputError(f"{type(self).__name__} masks patches and needs a ViT: build_encoder('vit')")
        super().__init__(
            encoder, prototypes, hidden_dim, bottleneck, momentum, student_temperature, teacher_temperature,
            centering, center_momentum, batch_norm=batch_norm,
        )  # fmt: skip
        self.mask_token = nn.Parameter(torch.zeros(encoder.dim))
        self.register_buffer("patch_center", torch.zeros(prototypes))
        self.mask_ratio, self.mask_weight = mask_ratio, mask_weight

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy, policy)

    def draw_mask(self, n: int, device: torch.device) -> Tensor:
        """bool [n, T]: blocks that hide mask_ratio of the patches, in a random half of the images."""
        chosen = torch.rand(n, 1) < 0.5
        return (block_mask(n, self.encoder.n_tokens, self.mask_ratio) & chosen).to(device)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        tokens, mask = self.masked_tokens(views)
        temperatures = self.student_temperature, self.teacher_temperature
        with torch.no_grad():
            teacher_tokens = [self.teacher[0].patches(v) for v in views]
            teacher = [self.teacher[1](t.mean(dim=1)) for t in teacher_tokens]
            teacher_patches = self.teacher[1](torch.cat(teacher_tokens))
        student = [self.projector(t.mean(dim=1)) for t in tokens]
        patches = self.projector(torch.cat(tokens))
        whole = dino(student, teacher, self.center, *temperatures)
        hidden = ibot(patches, teacher_patches, mask, self.patch_center, *temperatures)
        if self.centering and self.training:
            self.follow(torch.cat(teacher), teacher_patches.flatten(0, 1))
        return whole + self.mask_weight * hidden

    def follow(self, images: Tensor, patches: Tensor) -> None:
        """Both centres move towards the mean of the teacher's logits, [2N, K] of images and [2NT, K] of patches."""
        for center, logits in ((self.center, images), (self.patch_center, patches)):
            center.copy_(update_center(center, logits, self.center_momentum))

    def masked_tokens(self, views: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """What the student makes of two views with holes: [N, T, dim] for each, and where they were, [2N, T]."""
        if len(views) != 2:
            raise InputError(f"{type(self).__name__} compares two views of every image, got {len(views)}")
        masks = [self.draw_mask(len(v), v.device) for v in views]
        pairs = zip(views, masks, strict=True)
        tokens = [self.encoder.patches(v, mask=mask, mask_token=self.mask_token) for v, mask in pairs]
        return tokens, torch.cat(masks)


# Details that matter
# - bytedance/ibot, main_ibot.py, averages the patch loss within images, then over all, unmasked ones as 0.
#   Here: over all hidden patches of the batch, about twice as large at the same mask_weight.
# - main_ibot.py keeps a centre of its own for patches, and warms their teacher temperature from 0.04 to 0.07
#   by default (images: 0.04). Here: two centres, but one temperature of 0.02 throughout.
# - models/head.py separates the last layers by default, the README's command shares them (--shared_head true,
#   8,192 prototypes). Here: shared, 256; the mask embedding is zero at the start in both codes.
# - main_ibot.py scores the whole image by the student's masked view; the README's command adds 10 small
#   crops, unmasked. Here: also the masked view, and no small crops.
