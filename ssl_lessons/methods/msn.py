"""MSN, Masked Siamese Networks (Assran et al. 2022, https://arxiv.org/abs/2204.07141), and PMSN (2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssl_lessons.errors import InputError
from ssl_lessons.losses.clustering import msn, power_law_prior
from ssl_lessons.methods.base import Method, momentum_copy, momentum_update
from ssl_lessons.models import projection_head
from ssl_lessons.views import Policy


class MSN(Method):
    """Masked views predict which prototypes the momentum encoder gives an unmasked view of the same image.

    prototypes: how many (paper: 1,024).  anchors: masked views per image (paper: 1 and 10 small ones).  mask_ratio:
    share of hidden patches (paper: .15 to .7 by model size); a ViT drops those tokens, other encoders see them grey.
    patch: their side in pixels, for other encoders.  temperature, target_temperature, entropy_weight, momentum: the
    paper's are .1, .025, 1 and .996 rising to 1.  sinkhorn=False takes the targets of a batch unbalanced, as equation
    1 is printed; the authors' code can balance them, and a small model needs it.  prior_exponent: the prior on the
    prototypes falls like rank^-exponent instead of being uniform (0): PMSN (https://arxiv.org/abs/2210.07277).
    """

    def __init__(
        self,
        encoder: nn.Module,
        prototypes: int = 64,
        anchors: int = 2,
        mask_ratio: float = 0.15,
        patch: int = 4,
        temperature: float = 0.2,
        target_temperature: float = 0.03,
        entropy_weight: float = 1.0,
        sinkhorn: bool = True,
        prior_exponent: float = 0.0,
        momentum: float = 0.97,
        hidden_dim: int | None = None,
        out_dim: int = 128,
    ):
        super().__init__()
        if not 0 <= mask_ratio < 1:
            raise InputError(f"mask_ratio must be a share from 0 to below 1, not {mask_ratio!r}")
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim or encoder.dim, out_dim)
        self.teacher = momentum_copy(nn.Sequential(self.encoder, self.projector))
        self.prototypes = nn.Linear(out_dim, prototypes, bias=False)
        self.anchors, self.mask_ratio, self.patch, self.momentum = anchors, mask_ratio, patch, momentum
        self.temperature, self.target_temperature = temperature, target_temperature
        self.entropy_weight, self.prior_exponent = entropy_weight, prior_exponent
        self.iterations = 3 if sinkhorn else 0

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy,) * (1 + self.anchors)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != 1 + self.anchors:
            raise InputError(f"MSN was built for {1 + self.anchors} views of every image, got {len(views)}")
        target, *anchors = views
        z = self.projector(self.masked_features(torch.cat(anchors)))
        with torch.no_grad():
            target_scores = self.scores(self.teacher(target))
        k = self.prototypes.out_features
        prior = power_law_prior(k, self.prior_exponent) if self.prior_exponent else None
        return msn(
            self.scores(z).chunk(len(anchors)), target_scores,
            self.temperature, self.target_temperature, self.entropy_weight, prior, self.iterations,
        )  # fmt: skip

    def masked_features(self, x: Tensor) -> Tensor:
        """Features of images with a random share of their patches hidden, another one for every image."""
        patch = getattr(self.encoder, "patch", self.patch)
        if x.shape[2] % patch:
            raise InputError(f"MSN hides patches of {patch} px: the views' side must be a multiple, not {x.shape[2]}")
        side = x.shape[2] // patch
        order = torch.rand(len(x), side * side, device=x.device).argsort(dim=1)
        kept = max(1, round((1 - self.mask_ratio) * side * side))
        if hasattr(self.encoder, "patches"):
            return self.encoder.patches(x, keep=order[:, :kept]).mean(dim=1)
        visible = (order < kept).view(-1, 1, side, side).to(x)
        return self.encoder(x * visible.repeat_interleave(patch, 2).repeat_interleave(patch, 3))

    def scores(self, z: Tensor) -> Tensor:
        """Cosine similarities [N, K] of embeddings z with the prototypes."""
        return normalize(z, dim=1) @ normalize(self.prototypes.weight, dim=1).T

    def assign(self, x: Tensor) -> Tensor:
        return (self.scores(self.embed(x)) / self.temperature).softmax(dim=1)

    def after_step(self, progress: float) -> None:
        momentum_update(nn.Sequential(self.encoder, self.projector), self.teacher, self.momentum)

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(nn.Sequential(self.encoder, self.projector), self.teacher)]

    def chance_loss(self, batch_size: int) -> float:
        """Every image spread evenly: cross-entropy log K, mean entropy log K."""
        k = self.prototypes.out_features
        return math.log(k) * (1 - (self.entropy_weight if not self.prior_exponent else 0))


# Details that matter
# - facebookresearch/msn, src/deit.py: one random set of patches per batch is dropped from the large view,
#   none from the ten small ones. Here: another set for every image, and all anchors are masked.
# - configs/pretrain/msn_vits16.yaml has Sinkhorn (3 iterations) and the entropy term, weight 1, both on.
#   Here: the same by default; the targets are exp(cosine / 0.03) where theirs are sharpened softmaxes.
# - Head (src/msn_train.py): three layers 2048-2048-256 with BatchNorm and GELU on the class token. Here: two
#   layers with BatchNorm and ReLU, out 128, on the encoder's mean.
# - Prototypes: AdamW without decay there; the encoder's decay rises from 0.04 towards 0.4, its gradients are
#   clipped at 3. Here: SGD 0.2, decay 5e-4 on both (a cosine ignores length), no clipping.
# - Teacher: momentum rises linearly from 0.996, and only parameters move. Here: 0.97 throughout, BatchNorm's
#   running statistics are copied; the prototypes have no teacher, as there.
