"""Self-distillation: a student predicts what a teacher, a slower copy of itself, says about another view.

Nothing here stops a gradient: detach what the teacher says (or compute it under `torch.no_grad()`).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_pair, check_positive, full_precision, unit_rows

_CLOSEST = 1e-8  # distances below this count as this: the logarithm of zero is no loss


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Minus the mean cosine of rows that belong together (SimSiam, Chen & He 2021, eq. 1).

    prediction, target: [N, D], N >= 1. Returns a scalar from -1 (same directions) to 1. Half precision is
    computed in float32, also under autocast; float64 stays float64. An all-zero row has cosine 0 with
    everything and gets no gradient. Raises InputError for shapes that differ, an empty batch or values
    that are not finite.
    """
    check_pair(prediction, target, least=1)
    with torch.autocast(prediction.device.type, enabled=False):
        p, z = unit_rows(prediction, target)
        return -(p * z).sum(dim=1).mean()


def byol(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of unit-length rows, 2 - 2 cos (BYOL, Grill et al. 2020, eq. 2).

    Arguments and errors as in `negative_cosine`. Returns a scalar from 0 (same directions) to 4.
    """
    return 2 + 2 * negative_cosine(prediction, target)


def dino(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    center: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """Cross-entropy between the teacher's and the student's softmax, over pairs of different views.

        loss = mean over teacher views t, student views s != t, images of -sum_k P_t[k] log P_s[k],
        P_t = softmax((g_t - center) / teacher_temperature),  P_s = softmax(g_s / student_temperature)

    DINO (Caron et al. 2021, eq. 1 and 3; the mean over the pairs instead of their sum, as in its code). The
    teacher alone is centred, and a teacher temperature below the student's sharpens it.

    student: logits [N, K] of V views; teacher: logits [N, K] of the first of these views (the large crops),
    in the same order; center: [K]. Returns a scalar in nats: log K if all logits are equal. Precision as in
    `negative_cosine`. Raises InputError for shapes that do not fit, fewer than two student views, more
    teacher than student views, values that are not finite or temperatures that are not positive.
    """
    check_positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    if isinstance(student, Tensor) or isinstance(teacher, Tensor):
        raise InputError("student and teacher must be lists with one tensor of logits per view.")
    if len(student) < 2 or not 1 <= len(teacher) <= len(student):
        raise InputError(
            f"At least two student views are needed and one teacher view, not {len(student)} and {len(teacher)}; "
            "the teacher sees the first of the student's views."
        )
    check_matrices(*student, *teacher)
    if len({z.shape for z in (*student, *teacher)}) > 1 or not len(student[0]):
        raise InputError("All views must have logits of one shape [images, prototypes], at least one image.")
    _check_center(center, student[0].shape[1])
    with torch.autocast(student[0].device.type, enabled=False):
        *logits, center = full_precision(*student, *teacher, center)
        log_p = torch.stack(logits[: len(student)]).div(student_temperature).log_softmax(dim=-1)  # [V, N, K]
        p = ((torch.stack(logits[len(student) :]) - center) / teacher_temperature).softmax(
            dim=-1
        )  # [T, N, K]
        pairs = -torch.einsum("tnk,snk->ts", p, log_p) / len(student[0])
        other = ~torch.eye(len(p), len(log_p), dtype=torch.bool, device=p.device)
        return pairs[other].mean()


def update_center(center: Tensor, teacher: Tensor, momentum: float = 0.9) -> Tensor:
    """The next centre, m c + (1 - m) mean of the teacher's logits (DINO, Caron et al. 2021, eq. 4).

    center: [K]; teacher: logits [M, K] of all the views the teacher saw. Returns a new tensor [K].
    Raises InputError for shapes that do not fit or a momentum outside 0..1.
    """
    check_matrices(teacher)
    _check_center(center, teacher.shape[1])
    if not 0 <= momentum <= 1:
        raise InputError(f"The momentum must be between 0 and 1, not {momentum!r}.")
    return momentum * center + (1 - momentum) * teacher.to(center.dtype).mean(dim=0)


def ibot(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor,
    center: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """Masked patch distillation: at every hidden patch, name what the teacher, who sees it, says it is.

        loss = mean over masked patches of -sum_k P_t[k] log P_s[k],  P_t and P_s as in `dino`

    iBOT (Zhou et al. 2022, L_MIM, whose sum over the masked patches is a mean here). Patches that are not
    masked do not count.

    student, teacher: logits [N, T, K] of the T patches of the same views, the student's computed from the
    masked image; mask: bool [N, T], True where a patch was hidden; center: [K]. Returns a scalar in nats;
    0 without any masked patch. Precision as in `negative_cosine`. Raises InputError for shapes that do not
    fit, values that are not finite or temperatures that are not positive.
    """
    check_positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    if student.ndim != 3 or student.shape != teacher.shape:
        raise InputError(
            f"student and teacher must both have the shape [images, patches, prototypes], "
            f"not {tuple(student.shape)} and {tuple(teacher.shape)}."
        )
    if mask.shape != student.shape[:2] or mask.dtype != torch.bool:
        raise InputError(f"mask must be a bool tensor {tuple(student.shape[:2])}, True where hidden.")
    _check_center(center, student.shape[2])
    with torch.autocast(student.device.type, enabled=False):
        student, teacher, center = full_precision(student[mask], teacher[mask], center)  # [masked, K]
        log_p = (student / student_temperature).log_softmax(dim=1)
        p = ((teacher - center) / teacher_temperature).softmax(dim=1)
        return -(p * log_p).sum() / max(1, len(p))


def koleo(z: Tensor) -> Tensor:
    """KoLeo: minus the mean log distance to the nearest other row (Sablayrolles et al. 2019).

        loss = -mean_i log min_{j != i} |z_i - z_j|,  unit-length z

    The Kozachenko-Leonenko estimate of the differential entropy, up to constants: it pushes every row away
    from its nearest neighbour only, the harder the closer that is.

    z: [N, D], N >= 2, of different images. Distances below 1e-8 count as 1e-8 (and give no gradient).
    Returns a scalar; low = spread out. Precision as in `negative_cosine`. Raises InputError for other
    shapes, N < 2 or values that are not finite.
    """
    check_pair(z, z)
    with torch.autocast(z.device.type, enabled=False):
        (z,) = unit_rows(z)
        nearest = (z.detach() @ z.detach().T).fill_diagonal_(-2).argmax(dim=1)
        return -(z - z[nearest]).norm(dim=1).clamp_min(_CLOSEST).log().mean()


def msf(query: Tensor, target: Tensor, queue: Tensor, k: int = 5) -> Tensor:
    """Mean shift: pull the query towards the k nearest neighbours of its target.

        loss = mean_i mean_{z in the k candidates nearest to t_i} (2 - 2 q_i.z),  unit-length vectors

    The candidates are the targets of the batch and the queue, so the target is its own first neighbour, and
    k = 1 is `byol` (MSF, Koohpayegani et al. 2021, whose batch enters the memory bank before the search).

    query: [N, D], the student's predictions; target: [N, D], the teacher's embeddings of the other view;
    queue: [M, D], earlier targets (M may be 0). Returns a scalar from 0 to 4. Precision as in
    `negative_cosine`. Raises InputError for shapes that do not fit, values that are not finite or k outside
    1..N + M.
    """
    check_pair(query, target, least=1)
    _check_crowd(queue, query.shape[1], "queue")
    if not 1 <= k <= len(target) + len(queue):
        raise InputError(f"k must be between 1 and the {len(target) + len(queue)} candidates, not {k!r}.")
    with torch.autocast(query.device.type, enabled=False):
        q, t, queue = unit_rows(query, target, queue)
        candidates = torch.cat([t, queue])  # [N + M, D]
        similarity = t.detach() @ candidates.detach().T
        similarity.fill_diagonal_(2)  # itself first, whatever rounding or a duplicate says
        neighbours = candidates[similarity.topk(k, dim=1).indices]  # [N, k, D]
        return 2 - 2 * (q[:, None] * neighbours).sum(dim=2).mean()


def isd(query: Tensor, target: Tensor, anchors: Tensor, temperature: float = 0.02) -> Tensor:
    """Iterative similarity distillation: student and teacher shall find the same anchors similar.

        loss = mean_i KL(P_i || Q_i),  P_i = softmax_j(t_i.a_j / temperature),  Q_i = softmax_j(q_i.a_j / temperature)

    ISD (Tejankar et al. 2021). A contrastive loss with soft instead of one-hot answers.

    query: [N, D], the student's; target: [N, D], the teacher's embeddings of the other view; anchors: [M, D],
    the teacher's embeddings of other images, M >= 2. Returns a scalar in nats, 0 where both agree. Precision
    as in `negative_cosine`. Raises InputError for shapes that do not fit, values that are not finite or a
    temperature that is not positive.
    """
    check_positive(temperature=temperature)
    check_pair(query, target, least=1)
    _check_crowd(anchors, query.shape[1], "anchors", least=2)
    with torch.autocast(query.device.type, enabled=False):
        q, t, a = unit_rows(query, target, anchors)
        log_q = (q @ a.T / temperature).log_softmax(dim=1)
        log_p = (t @ a.T / temperature).log_softmax(dim=1)
        return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def _check_center(center: Tensor, k: int) -> None:
    if not isinstance(center, Tensor) or center.shape != (k,):
        raise InputError(f"center must be a tensor of {k} numbers, one per prototype.")


def _check_crowd(crowd: Tensor, d: int, name: str, least: int = 0) -> None:
    check_matrices(crowd)
    if crowd.shape[1] != d or len(crowd) < least:
        raise InputError(f"{name} must be [rows, {d}], at least {least} rows, not {tuple(crowd.shape)}.")
