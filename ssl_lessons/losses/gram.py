"""Gram anchoring: the patches of an image shall stay as similar to each other as an earlier teacher saw them."""

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import unit_rows


def gram_anchoring(student: Tensor, teacher: Tensor, clip_negative: bool = False) -> Tensor:
    """Mean squared difference of two matrices of cosines between the patches of an image.

        loss = mean over images, patch pairs i, j of ((X X^T)_ij - (G G^T)_ij)^2,   unit-length patches X, G

    DINOv3 (Siméoni et al. 2025, https://arxiv.org/abs/2508.10104), as GramLoss in dinov3/loss/gram_loss.py of the
    authors' code: a mean over the pairs.  Where patches lie may turn freely, what is similar to what may not.
    clip_negative sets negative cosines of both to 0: the default of that class (remove_neg), but switched off in the
    recipe that was trained (dinov3/configs/train/dinov3_vit7b16_gram_anchor.yaml, weight up to 2).

    student: [N, T, D], the patches of N images; teacher: [N, T, E], the same patches seen by the earlier teacher
    (detach them; E may differ from D).  Returns a scalar from 0 to 4.  Half precision is computed in float32, also
    under autocast; float64 stays float64.
    Raises InputError for shapes that do not fit, an empty batch or values that are not finite.
    """
    for patches in (student, teacher):
        if not isinstance(patches, Tensor) or patches.ndim != 3 or not patches.numel():
            raise InputError(
                "student and teacher must be tensors [images, patches, dimensions], none of them 0."
            )
    if student.shape[:2] != teacher.shape[:2]:
        raise InputError(
            f"student and teacher must hold the same patches of the same images, "
            f"not {tuple(student.shape[:2])} and {tuple(teacher.shape[:2])}."
        )
    with torch.autocast(student.device.type, enabled=False):
        x, g = unit_rows(student, teacher)
        seen, wanted = x @ x.mT, g @ g.mT  # [N, T, T]
        if clip_negative:
            seen, wanted = seen.clamp_min(0), wanted.clamp_min(0)
        return (seen - wanted).square().mean()
