"""Masked image modelling: say what was behind the mask, in pixels, in codes or in features.

`mask` is a bool tensor [N, T], True = hidden; the losses average over hidden patches only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.clustering import sinkhorn_knopp
from ssl_lessons.losses.common import check_positive, full_precision


def normalized_patches(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """Every patch [..., P] minus its mean, divided by its standard deviation (He et al. 2022, section 3)."""
    mean, var = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (var + eps).sqrt()


def mae(prediction: Tensor, patches: Tensor, mask: Tensor, norm_targets: bool = True) -> Tensor:
    """The loss of MAE (He et al. 2022, section 3): mean squared error of the pixels of hidden patches.

        loss = mean over hidden patches and their pixels of (prediction - target)^2

    prediction, patches: [N, T, P]; mask: bool [N, T].  norm_targets: the target is the patch normalised by its own
    mean and standard deviation (n - 1 in the variance, as in the published code), so that predicting 0 costs about 1.
    Returns a scalar, float32 or better, also under autocast.  Raises InputError for shapes that do not fit, a mask
    that is not bool or hides nothing, NotFiniteError for NaN or infinite values.
    """
    _check(prediction, patches, mask)
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, patches = full_precision(prediction, patches)
        target = normalized_patches(patches) if norm_targets else patches
        return (prediction - target)[mask].square().mean()


def simmim(prediction: Tensor, patches: Tensor, mask: Tensor) -> Tensor:
    """The loss of SimMIM (Xie et al. 2022, eq. 1): mean absolute error of the pixels of hidden patches.

    Shapes, precision and errors as for `mae`.
    """
    _check(prediction, patches, mask)
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, patches = full_precision(prediction, patches)
        return (prediction - patches)[mask].abs().mean()


def beit(logits: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
    """The loss of BEiT (Bao et al. 2022, eq. 1): -log p(code of a hidden patch | the masked image), averaged.

    logits: [N, T, V] over V codes; codes: integers [N, T] in 0..V-1; mask: bool [N, T].  A classification, not a
    regression: log V when all codes are equally likely.  Precision and errors as for `mae`.
    """
    if codes.shape != logits.shape[:2] or codes.is_floating_point():
        raise InputError("codes must be whole numbers [N, T], one per patch of the logits [N, T, V].")
    _check(logits, logits, mask)
    if int(codes.min()) < 0 or int(codes.max()) >= logits.shape[2]:
        raise InputError(f"codes must lie in 0..{logits.shape[2] - 1}, one class of the logits each.")
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(full_precision(logits)[0][mask], codes[mask])


def data2vec_targets(layers: list[Tensor], top_k: int) -> Tensor:
    """What data2vec predicts (Baevski et al. 2022, section 3.3): the mean of the last top_k layers [N, T, D].

    Each layer's tokens are first normalised to mean 0 and variance 1 over D (a layer norm without parameters), so
    that no layer drowns the others and a constant target is worth nothing.
    """
    if not 1 <= top_k <= len(layers):
        raise InputError(f"top_k must lie in 1..{len(layers)}, the number of layers, got {top_k}")
    with torch.autocast(layers[0].device.type, enabled=False):
        layers = full_precision(*layers[-top_k:])
        return torch.stack([F.layer_norm(x, x.shape[-1:]) for x in layers]).mean(dim=0)


def data2vec(prediction: Tensor, target: Tensor, mask: Tensor, beta: float = 1.0) -> Tensor:
    """The loss of data2vec (Baevski et al. 2022, section 3.4): smooth L1 between features at hidden patches, averaged.

        d = target - prediction;  d^2 / (2 beta) where |d| <= beta, else |d| - beta / 2

    prediction, target: [N, T, D], the target from `data2vec_targets` of a momentum encoder (detach it); mask: bool
    [N, T].  Precision and errors as for `mae`; InputError also for beta <= 0.
    """
    check_positive(beta=beta)
    _check(prediction, target, mask)
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, target = full_precision(prediction, target)
        return F.smooth_l1_loss(prediction[mask], target[mask], beta=beta)


def ijepa(prediction: Tensor, target: Tensor) -> Tensor:
    """The loss of I-JEPA (Assran et al. 2023, section 3): squared L2 distance of predicted and target features.

    prediction, target: [N, M, B, D], B patches in each of M target blocks; the target comes from the momentum
    encoder (detach it).  The paper sums over the patches of a block, here as in the published code it is the mean over
    patches and dimensions.  Precision as for `mae`.  Raises InputError unless the shapes agree.
    """
    if prediction.ndim != 4 or prediction.shape != target.shape or not prediction.numel():
        raise InputError(
            f"prediction and target must be [N, M, B, D] alike, not {list(prediction.shape)} and {list(target.shape)}"
        )
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, target = full_precision(prediction, target)
        return (prediction - target).square().mean()


def salt(prediction: Tensor, target: Tensor) -> Tensor:
    """The student's loss of SALT (Li et al. 2025): mean absolute difference of predicted and the teacher's features.

    prediction, target: [N, M, B, D], B patches in each of M target blocks; the target comes from a frozen teacher.
    The mean is over patches and dimensions.  Precision as for `mae`.  Raises InputError for shapes that do not fit,
    NotFiniteError for NaN or infinite values.
    """
    if prediction.ndim != 4 or prediction.shape != target.shape or not prediction.numel():
        raise InputError(
            f"prediction and target must be [N, M, B, D] alike, not {list(prediction.shape)} and {list(target.shape)}"
        )
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, target = full_precision(prediction, target)
        return (prediction - target).abs().mean()


@torch.no_grad()
def capi_targets(scores: Tensor, temperature: float = 0.06, iterations: int = 3) -> Tensor:
    """What CAPI predicts (Darcet et al. 2025, eq. 4): the teacher's clusters of patches, balanced place by place.

        Q_t = sinkhorn(scores at place t / temperature), for each t: rows sum to 1, all clusters are used alike there

    scores: [N, T, K] of N pictures, T places and K clusters.  Balanced over all places at once, clusters that say
    nothing but the place would do; balanced at each place they cannot.  Returns [N, T, K] without gradient, float32 or
    better.  Raises InputError for shapes that do not fit and settings that are not positive.
    """
    if scores.ndim != 3 or not scores.numel():
        raise InputError(
            f"scores must be [N, T, K], pictures by places by clusters, not {list(scores.shape)}"
        )
    places = [sinkhorn_knopp(at_one, temperature, iterations) for at_one in scores.unbind(dim=1)]
    return torch.stack(places, dim=1)


def capi(logits: Tensor, targets: Tensor, mask: Tensor, temperature: float = 0.12) -> Tensor:
    """The student's loss of CAPI (Darcet et al. 2025): which cluster does the teacher give a hidden patch?

        loss = - mean over hidden patches of sum_k targets_k log softmax_k(logits / temperature)

    logits, targets: [N, T, K], targets of `capi_targets`; mask: bool [N, T].  The teacher's head, which makes the
    clusters, learns by the same formula from its own targets, with every patch in the mask.
    Precision and errors as for `mae`; InputError for a temperature that is not positive, too.
    """
    _check(logits, targets, mask)
    check_positive(temperature=temperature)
    with torch.autocast(logits.device.type, enabled=False):
        logits, targets = full_precision(logits, targets)
        return F.cross_entropy(logits[mask] / temperature, targets[mask])


def _check(prediction: Tensor, target: Tensor, mask: Tensor) -> None:
    if prediction.ndim != 3 or prediction.shape != target.shape:
        raise InputError(
            f"prediction and target must be [N, T, D] alike, not {list(prediction.shape)} and {list(target.shape)}"
        )
    if mask.shape != prediction.shape[:2] or mask.dtype != torch.bool:
        raise InputError(
            f"the mask must be bool {list(prediction.shape[:2])}, True = hidden, not {mask.dtype} {list(mask.shape)}"
        )
    if not mask.any():
        raise InputError("the mask hides no patch: nothing is left to predict; raise the mask ratio")
