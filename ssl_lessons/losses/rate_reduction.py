"""SimDINO and EMP-SSL: keep the embeddings apart by the number of bits that it takes to tell them.

The coding rate of z [N, D] is about the number of nats needed to write down a row up to an error of size sqrt(eps).  It
is high if the rows point in many directions, and log(1 + D / eps) / 2 for unit-length rows that all point in one.
"""

from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_positive, check_views, full_precision, unit_rows


def coding_rate(z: Tensor, eps: float = 0.5) -> Tensor:
    """R(z) = 1/2 log det(I + D / (N eps) z^T z), in nats (Yu et al. 2020,
    https://arxiv.org/abs/2006.08558, where eps is a length and enters as its square).

    z: [N, D], usually of unit length, neither normalised nor centred here.  Returns a scalar >= 0; with unit-length
    rows at most D / 2 log(1 + 1 / eps), if they fill all directions alike.  Half precision is computed in float32,
    also under autocast; float64 stays float64.
    Raises InputError for other shapes, an empty batch, values that are not finite or eps that is not positive.
    """
    check_matrices(z)
    check_positive(eps=eps)
    if not len(z):
        raise InputError("At least one example is needed.")
    with torch.autocast(z.device.type, enabled=False):
        (z,) = full_precision(z)
        n, d = z.shape
        gram = z.T @ z if d <= n else z @ z.T  # both have the same determinant here (Sylvester)
        identity = torch.eye(len(gram), dtype=z.dtype, device=z.device)
        factor = torch.linalg.cholesky_ex(identity + d / (n * eps) * gram)[0]
        return factor.diagonal().log().sum()  # half the log of the determinant


def simdino(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    eps: float = 0.5,
    invariance_weight: float = 1.0,
    smooth: bool = False,
) -> Tensor:
    """SimDINO: the student's views point where the teacher's do, and the student's large views fill all directions.

        loss = - invariance_weight mean over teacher views t, student views s != t, images of cos(z_s, z_t)
               - gamma mean over the teacher's views v of R(z_v),      gamma = (D + N) / (D N),  z of unit length

    Wu et al. 2025 (https://arxiv.org/abs/2502.10385), as MCRLoss in simdino/main_dino.py of the authors' code, which
    calls gamma a heuristic and writes eps where the coding rate has its square.  There is neither a centre nor a
    temperature nor prototypes: nothing else than R stands against collapse.

    student: [N, D] of V views, not normalised; teacher: [N, D] of the first of these views, in the same order; detach
    them.  smooth: R of the means of student and teacher (expa_type=1 of the code, what its script does) instead of the
    student's.  Returns a scalar.  Precision as in `coding_rate`.
    Raises InputError for shapes that do not fit, fewer than two student views, more teacher than student views, values
    that are not finite, eps that is not positive or a negative weight.
    """
    check_views(student, images=1)
    check_views(teacher, least=1, images=1)
    if len(teacher) > len(student) or student[0].shape != teacher[0].shape:
        raise InputError(
            "The teacher must see the first of the student's views, and give embeddings of one shape."
        )
    _check_weight(invariance_weight)
    with torch.autocast(student[0].device.type, enabled=False):
        z = torch.stack(unit_rows(*student, *teacher))
        s, t = z[: len(student)], z[len(student) :]  # [V, N, D], [T, N, D]
        cosine = torch.einsum("tnd,snd->ts", t, s) / s.shape[1]
        other = ~torch.eye(len(t), len(s), dtype=torch.bool, device=z.device)
        large = (s[: len(t)] + t) / 2 if smooth else s[: len(t)]
        n, d = s.shape[1:]
        rate = sum(coding_rate(view, eps) for view in large) / len(t)
        return -invariance_weight * cosine[other].mean() - (d + n) / (d * n) * rate


def emp_ssl(views: Sequence[Tensor], eps: float = 0.2, invariance_weight: float = 200.0) -> Tensor:
    """EMP-SSL: many patches of an image agree with their mean, and every patch's batch has a high coding rate.

        loss = - mean_v R(z_v) - invariance_weight mean_v,n cos(z_vn, mean_v z_vn),   z of unit length

    Tong et al. 2023 (https://arxiv.org/abs/2304.03977): the paper maximises the rate, and so does TotalCodingRate in
    loss.py of the authors' code (tsb0601/EMP-SSL), which has eps where the paper has its square.  lightly 1.6.0
    (lightly/loss/emp_ssl_loss.py) *adds* the rate: both its terms are then smallest where everything has collapsed.

    views: V >= 2 tensors [N, D], not normalised.  Returns a scalar.  Precision as in `coding_rate`.
    Raises InputError for shapes that do not fit, values that are not finite, eps that is not positive or a negative
    weight.
    """
    check_views(views)
    _check_weight(invariance_weight)
    with torch.autocast(views[0].device.type, enabled=False):
        z = torch.stack(unit_rows(*views))  # [V, N, D]
        (mean,) = unit_rows(z.mean(dim=0))
        rate = sum(coding_rate(view, eps) for view in z) / len(z)
        return -rate - invariance_weight * (z * mean).sum(dim=2).mean()


def _check_weight(weight: float) -> None:
    if not isinstance(weight, Real) or not 0 <= weight < float("inf"):
        raise InputError(f"The invariance_weight must be 0 or a positive number, not {weight!r}.")
