"""Losses between two senses: which caption belongs to which picture?  A softmax, a sigmoid, and a bag of candidates.

All vectors are divided by their length here.  `scale` multiplies the cosines; it is 1 / temperature, a number or a
learned tensor without dimensions, and gets a gradient.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_pair, check_positive, full_precision, unit_rows


def clip(
    image: Tensor,
    text: Tensor,
    scale: float | Tensor = 10.0,
    weight: float = 0.5,
    extra: Tensor | None = None,
) -> Tensor:
    """The symmetric cross-entropy of CLIP (Radford et al. 2021, figure 3) and, weighted, of ConVIRT.

        s_ij = scale u_i.v_j,   u, v of unit length
        loss = -weight mean_i log softmax_j(s_ij)[i] - (1 - weight) mean_j log softmax_i(s_ij)[j]

    The first term: every picture looks for its text among all texts; the second: every text for its picture.  CLIP
    weights them equally; ConVIRT (Zhang et al. 2022) takes 0.75 for the first.  extra: [M, D], more texts that
    belong to no picture, negatives of the first term only (as the swapped captions of Yuksekgonul et al. 2023).

    image, text: [N, D], pair by pair.  Returns a scalar in nats, float32 or better: log N if all vectors are equal and
    there is nothing extra.  Raises InputError for shapes that do not fit, N < 2, a scale that is not positive, or a
    weight outside [0, 1].
    """
    check_pair(image, text)
    scale = _scale(scale)
    if not 0 <= weight <= 1:
        raise InputError(f"the weight must lie between 0 (texts look) and 1 (pictures look), not {weight}")
    if extra is not None:
        check_matrices(image, extra)
        if extra.shape[1] != image.shape[1]:
            raise InputError(f"the extra texts need {image.shape[1]} dimensions, not {extra.shape[1]}")
    with torch.autocast(image.device.type, enabled=False):
        u, v, *more = unit_rows(*(z for z in (image, text, extra) if z is not None))
        (scale,) = full_precision(torch.as_tensor(scale, device=u.device))
        score = scale * u @ v.T
        wide = torch.cat([score, *(scale * u @ m.T for m in more)], dim=1)
        own = torch.arange(len(u), device=u.device)
        return weight * F.cross_entropy(wide, own) + (1 - weight) * F.cross_entropy(score.T, own)


def siglip(image: Tensor, text: Tensor, scale: float | Tensor = 10.0, bias: float | Tensor = -10.0) -> Tensor:
    """The sigmoid loss of SigLIP (Zhai et al. 2023, section 3.2): is this a pair?  Asked of each of the N x N.

        loss = -1/N sum_ij log sigmoid( y_ij (scale u_i.v_j + bias) ),   y_ii = 1, all others -1

    No term needs the others, so there is no softmax over the batch.  Among N^2 questions N have the answer yes: the
    bias starts low, so that "no" to all costs little.  It is learned, and so is the scale; the paper begins with
    scale 10 and bias -10.

    image, text: [N, D].  Returns a scalar in nats, per pair (not per question).  Raises InputError for shapes that do
    not fit, N < 2, or a scale that is not positive.
    """
    check_pair(image, text)
    scale = _scale(scale)
    with torch.autocast(image.device.type, enabled=False):
        u, v = unit_rows(image, text)
        scale, bias = full_precision(*(torch.as_tensor(x, device=u.device) for x in (scale, bias)))
        yes = 2 * torch.eye(len(u), dtype=u.dtype, device=u.device) - 1
        return -F.logsigmoid(yes * (scale * u @ v.T + bias)).sum() / len(u)


def mil_nce(image: Tensor, bags: Tensor, scale: float | Tensor = 10.0) -> Tensor:
    """MIL-NCE (Miech et al. 2020, section 3.2): somewhere in the bag of texts is one that belongs to the picture.

        P_i = sum_k exp(s(u_i, v_ik)),   loss = -mean_i log( P_i / (P_i + sum of exp(s) over the negatives of i) )

    The negatives of i are all (u_i, v_jk) and (u_j, v_ik) with j != i.  The sum over the bag stands inside the
    logarithm: one good candidate is enough, and those that do not fit need not be drawn near.  With one text per bag
    this is a softmax over both directions at once.

    image: [N, D]; bags: [N, K, D].  Returns a scalar in nats: log(2N - 1) if all vectors are equal.  Raises InputError
    for shapes that do not fit, N < 2, or a scale that is not positive.
    """
    check_matrices(image)
    if bags.ndim != 3 or len(bags) != len(image) or bags.shape[2] != image.shape[1] or not bags.shape[1]:
        raise InputError(
            f"bags must be [{len(image)}, candidates, {image.shape[1]}], one bag per picture, not {list(bags.shape)}"
        )
    check_pair(image, bags[:, 0])
    scale = _scale(scale)
    with torch.autocast(image.device.type, enabled=False):
        u, v = unit_rows(image, bags)
        (scale,) = full_precision(torch.as_tensor(scale, device=u.device))
        score = (scale * torch.einsum("id,jkd->ijk", u, v)).logsumexp(dim=2)  # [picture, bag]
        own = score.diagonal()
        other = score.masked_fill(torch.eye(len(u), dtype=torch.bool, device=u.device), -torch.inf)
        every = torch.cat([own[:, None], other, other.T], dim=1)
        return (every.logsumexp(dim=1) - own).mean()


def _scale(scale: float | Tensor) -> float | Tensor:
    if isinstance(scale, Tensor):
        if scale.ndim:
            raise InputError(f"the scale must be one number, not a tensor of shape {list(scale.shape)}")
        return scale
    check_positive(scale=scale)
    return scale
