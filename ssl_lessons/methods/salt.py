"""SALT (Li et al. 2025, https://arxiv.org/abs/2509.24317)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from ssl_lessons.errors import InputError
from ssl_lessons.losses.masked import salt
from ssl_lessons.methods.base import momentum_copy
from ssl_lessons.methods.ijepa import IJEPA
from ssl_lessons.methods.mae import MAE
from ssl_lessons.methods.masked import MaskedMethod
from ssl_lessons.models import ViT, take
from ssl_lessons.views.masks import context_and_targets


class SALT(IJEPA):
    """A teacher learns to paint hidden pixels, is frozen, and a new student predicts its features at hidden places.

    teacher: a trained ViT with the encoder's grid of patches (its width may differ); the method keeps a frozen copy.
    None: the first `teacher_share` of the steps train one with MAE, the rest train the student.  The encoder is the
    student's.  targets, predictor_dim, predictor_depth: as in I-JEPA.
    """

    def __init__(
        self,
        encoder: nn.Module,
        teacher: nn.Module | None = None,
        teacher_share: float = 0.5,
        targets: int = 2,
        predictor_dim: int = 48,
        predictor_depth: int = 2,
    ):
        super().__init__(encoder, targets, predictor_dim=predictor_dim, predictor_depth=predictor_depth)
        del self.teacher  # I-JEPA's, which would follow the student
        if teacher is None and not 0 < teacher_share < 1:
            raise InputError(
                f"teacher_share must lie between 0 and 1 when no teacher is given, got {teacher_share}"
            )
        if teacher is not None and (not isinstance(teacher, ViT) or teacher.side != encoder.side):
            raise InputError(
                f"the teacher must be a ViT with {encoder.side} x {encoder.side} patches, as the student"
            )
        self.teacher_share = 0.0 if teacher is not None else teacher_share
        self.painter = MAE(another(encoder)) if teacher is None else None
        self.frozen = None if teacher is None else momentum_copy(teacher).eval()
        self.widen[1] = nn.Linear(predictor_dim, (encoder if teacher is None else teacher).dim)
        self.register_buffer("teacher_is_ready", torch.tensor(teacher is not None))

    def targets_of(self, x: Tensor, blocks: Tensor) -> Tensor:
        """The teacher's normalised features [N, M, B, dim of the teacher] at the places [N, M, B] of whole images x."""
        teacher = self.frozen if self.painter is None else self.painter.encoder
        with torch.no_grad():
            features = teacher.patches(x)
            features = layer_norm(features, features.shape[-1:])
            return take(features, blocks.flatten(1)).view(*blocks.shape, -1)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        if not self.teacher_is_ready:
            return self.painter(views)
        x = views[0]
        context, blocks = context_and_targets(len(x), self.encoder.n_tokens, self.n_targets)
        context, blocks = context.to(x.device), blocks.to(x.device)
        prediction = self.predict(self.encoder.patches(x, context), context, blocks)
        return salt(prediction, self.targets_of(x, blocks))

    def after_step(self, progress: float) -> None:
        self.teacher_is_ready.fill_(progress >= self.teacher_share)

    momentum_pairs = MaskedMethod.momentum_pairs  # nobody follows anybody


def another(encoder: ViT) -> ViT:
    """A new ViT of the same shape with a random start of its own."""
    heads = encoder.blocks[0].self_attn.num_heads
    return ViT(encoder.size, encoder.patch, encoder.dim, len(encoder.blocks), heads)


# Details that matter
# - The paper is about video: both stages hide V-JEPA's blocks, long in time. Here: single images, the teacher
#   under MAE's random mask of 75 %, the student under I-JEPA's blocks.
# - In the paper a teacher is trained once, may be small, and serves many students, which do well with poor
#   teachers too. Here: pass one as `teacher`, or let half of the steps make one.
# - Absolute error, as in V-JEPA. With a frozen teacher no answer is cheap for everybody: a constant
#   prediction cannot pull the target towards itself.
# - Targets are normalised over their features without parameters, as in the JEPA codes.
# - With `teacher` left out, both stages share one schedule of the learning rate: the student starts without
#   a warm-up of its own. The paper trains it in a run of its own.
