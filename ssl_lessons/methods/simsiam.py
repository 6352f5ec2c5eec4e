"""SimSiam (Chen & He 2021, https://arxiv.org/abs/2011.10566)."""

from __future__ import annotations

from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.distillation import negative_cosine
from ssl_lessons.methods.base import Method
from ssl_lessons.models import projection_head


class SimSiam(Method):
    """Two branches with the same weights: one predicts the other, and only the one that predicts learns from it.

    hidden_dim, out_dim: the projector's, three layers with BatchNorm up to its output (the paper: 2048, 2048).
    bottleneck: the hidden width of the predictor (the paper: a quarter of out_dim).  predictor_lr: factor on the
    predictor's gradient, under SGD its own learning rate (the paper instead spares it the learning-rate decay).
    Broken on purpose: predictor=False, stop_gradient=False.
    """

    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int = 256,
        out_dim: int = 256,
        bottleneck: int = 64,
        predictor: bool = True,
        predictor_lr: float = 5.0,
        stop_gradient: bool = True,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim, layers=3)
        self.projector[-1].bias = None  # the BatchNorm that follows would subtract it
        self.projector.append(nn.BatchNorm1d(out_dim, affine=False))
        self.predictor = projection_head(out_dim, bottleneck, out_dim) if predictor else nn.Identity()
        for p in self.predictor.parameters():
            p.register_hook(lambda gradient: predictor_lr * gradient)
        self.predictor_lr, self.stop_gradient = predictor_lr, stop_gradient

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != 2:
            raise InputError(f"SimSiam compares two views of every image, got {len(views)}")
        z1, z2 = (self.embed(v) for v in views)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        if self.stop_gradient:
            z1, z2 = z1.detach(), z2.detach()
        return (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2


# Details that matter
# - facebookresearch/simsiam, simsiam/builder.py: the projector's last BatchNorm has no affine part, the
#   predictor's output no BatchNorm; targets are detached. Here: all the same.
# - Each view passes the network on its own, so BatchNorm sees N images, not 2N. Here: the same, unlike
#   SimCLR's `pair`.
# - main_simsiam.py: rate 0.05 B / 256, cosine by epoch, no warm-up. Here: 0.2 at 256, cosine by step, warm-up
#   over a tenth of the steps.
# - Weight decay there: 1e-4 on everything, BatchNorm and biases too. Here: 5e-4 on matrices and kernels only.
# - The published model, 68.1 % after 100 epochs (README), keeps the predictor's rate constant. Here: it is 5
#   times that of the rest and falls with it.
