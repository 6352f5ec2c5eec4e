"""BYOL (Grill et al. 2020, https://arxiv.org/abs/2006.07733)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.losses.distillation import byol
from ssl_lessons.methods.base import Method, cosine_momentum, momentum_copy, momentum_update
from ssl_lessons.models import projection_head


class BYOL(Method):
    """A predictor on top of the student guesses what the teacher, its moving average, makes of the other view.

    hidden_dim: of projector and predictor; the paper's are 4096 -> 256.  momentum: the teacher's at the start (the
    paper: 0.996, in 300,000 steps); rising: from there to 1 along half a cosine, as in the paper.  momentum=0,
    rising=False: no moving average, the teacher is the student as the last step left it.  predictor_lr: factor on
    the predictor's gradient, under SGD its own learning rate.  Broken on purpose: predictor=False;
    stop_gradient=False, where the target is the student itself and the gradient flows into it.
    """

    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int = 512,
        out_dim: int = 128,
        momentum: float = 0.97,
        rising: bool = True,
        predictor: bool = True,
        predictor_lr: float = 4.0,
        stop_gradient: bool = True,
        batch_norm: bool = True,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projection_head(encoder.dim, hidden_dim, out_dim, batch_norm=batch_norm)
        self.predictor = nn.Identity()
        if predictor:
            self.predictor = projection_head(out_dim, hidden_dim, out_dim, batch_norm=batch_norm)
        for p in self.predictor.parameters():
            p.register_hook(lambda gradient: predictor_lr * gradient)
        self.teacher = momentum_copy(nn.Sequential(encoder, self.projector))
        self.momentum, self.rising = momentum, rising
        self.predictor_lr, self.stop_gradient = predictor_lr, stop_gradient

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if len(views) != 2:
            raise InputError(f"BYOL compares two views of every image, got {len(views)}")
        z1, z2 = (self.embed(v) for v in views)
        target1, target2 = z1, z2
        if self.stop_gradient:
            with torch.no_grad():
                target1, target2 = (self.teacher(v) for v in views)
        # Both directions are summed, as in the paper: SGD sees twice the gradient of their mean.
        return byol(self.predictor(z1), target2) + byol(self.predictor(z2), target1)

    def after_step(self, progress: float) -> None:
        momentum = cosine_momentum(self.momentum, progress) if self.rising else self.momentum
        for student, teacher in self.momentum_pairs():
            momentum_update(student, teacher, momentum)

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.encoder, self.teacher[0]), (self.projector, self.teacher[1])]


# Details that matter
# - google-deepmind/deepmind-research, byol/configs/byol.py: momentum from 0.97 for 40 epochs, 0.99 for 100
#   and 300, 0.996 for 1000. Here: 0.97 for the quick recipe's 25: a short run needs a fast teacher.
# - networks.py: BatchNorm and ReLU behind the hidden layer of both heads, nothing behind the output. Here:
#   the same (MoCo v3's code puts a BatchNorm behind the projector too).
# - byol_experiment.py runs the views one by one and the target in training mode, each with its own batch
#   statistics. Here: the same, but the target's running averages are copied from the student.
# - byol_experiment.py has one learning rate; the paper makes the predictor's 10 times larger where it takes
#   the moving average away (section 5). Here: 4 times by default; predictor_lr=1 is what the code does.
# - optimizers.py spares biases and BatchNorm the weight decay (1e-6, or 1.5e-6 in the longest run) and LARS's
#   scaling. Here: they are spared the decay, which is 5e-4 on the rest, under SGD.
