"""A few labels beside many pictures: losses that use both at once.

`logits` are a classifier's scores [N, C] of N pictures for C classes; targets are distributions [N, C].
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_positive, full_precision


def pseudo_label(logits: Tensor, threshold: float = 0.0) -> Tensor:
    """Cross-entropy with the classifier's own answer (Lee 2013, eq. 14 and 15; the weight alpha(t) is the caller's).

        loss = - 1/N sum over n of [max_c p[n, c] >= threshold] log max_c p[n, c]

    No gradient passes through the choice of the answer.  threshold: least confidence of a row that counts; 0, as in
    the paper: every row does.  The sum is divided by all N rows, counted or not.  Returns a scalar, float32 or better,
    also under autocast.  Raises InputError for logits that are no matrix and a threshold outside 0..1, NotFiniteError
    for NaN or infinite values.
    """
    _check(logits, logits)
    _check_share(threshold)
    with torch.autocast(logits.device.type, enabled=False):
        best = full_precision(logits)[0].log_softmax(dim=1).amax(dim=1)
        return -(best * (best.detach().exp() >= threshold)).mean()


def sharpen(p: Tensor, temperature: float) -> Tensor:
    """p^(1/T) over its sum, row by row of p [N, C]: T < 1 decides more, T -> 0 leaves the largest entry only.

    Berthelot et al. (2019, MixMatch), eq. 7.  Raises InputError for T <= 0 or p that is no matrix.
    """
    check_positive(temperature=temperature)
    if p.ndim != 2:
        raise InputError(f"sharpen needs probabilities [N, C], not a tensor {list(p.shape)}.")
    return (p.clamp_min(torch.finfo(p.dtype).tiny).log() / temperature).softmax(dim=1)


def consistency(weak: Tensor, strong: Tensor, temperature: float = 0.4, threshold: float = 0.8) -> Tensor:
    """What is said of a picture must also be said of its distorted copy: the unlabelled loss of UDA (Xie et al. 2020).

        loss = 1/N sum over n of [max_c p[n, c] > threshold] KL(q[n] || p'[n]),   q = softmax(weak / T)

    weak: logits [N, C] of the pictures, p = softmax(weak), no gradient passes through them; strong: logits of their
    strongly augmented copies, p' = softmax(strong).  The mask reads p before it is sharpened (section 2.2, confidence
    0.8 and temperature 0.4 on CIFAR-10).  Precision and errors as for `pseudo_label`.
    """
    _check(weak, strong)
    _check_share(threshold)
    check_positive(temperature=temperature)
    with torch.autocast(weak.device.type, enabled=False):
        weak, strong = full_precision(weak.detach(), strong)
        log_q = (weak / temperature).log_softmax(dim=1)
        kl = F.kl_div(strong.log_softmax(dim=1), log_q, log_target=True, reduction="none").sum(dim=1)
        return (kl * (weak.softmax(dim=1).amax(dim=1) > threshold)).mean()


def mixmatch(
    logits: Tensor, targets: Tensor, unlabeled_logits: Tensor, guesses: Tensor, weight: float = 75.0
) -> Tensor:
    """The two terms of MixMatch (Berthelot et al. 2019, eq. 3 to 5) of a batch that was mixed before.

        loss = cross-entropy(logits, targets) + weight * mean over n and c of (guesses[n, c] - p[n, c])^2

    logits, targets [N, C]: of mixed pictures that are mostly labelled; unlabeled_logits, guesses [M, C]: of those that
    are mostly not, p their softmax, guesses the sharpened means over several views.  Squares are bounded, so a wrong
    guess costs less than in a cross-entropy.  weight: lambda_U, 75 on CIFAR-10, raised from 0 in the authors' code.
    Precision and errors as for `pseudo_label`; InputError also for shapes that do not fit.
    """
    _check(logits, targets)
    _check(unlabeled_logits, guesses)
    with torch.autocast(logits.device.type, enabled=False):
        logits, targets = full_precision(logits, targets)
        unlabeled_logits, guesses = full_precision(unlabeled_logits, guesses)
        wrong = (guesses - unlabeled_logits.softmax(dim=1)).square().mean()
        return F.cross_entropy(logits, targets) + weight * wrong


def vat(
    model: Callable[[Tensor], Tensor], x: Tensor, radius: float, generator: torch.Generator | None = None,
    step: float = 1e-2, iterations: int = 1,
) -> Tensor:  # fmt: skip
    """Virtual adversarial training: the answer must not change in the direction in which it changes most.

        loss = 1/N sum over n of KL(p(x) || p(x + r)),   r = radius * the worst direction

    Miyato et al. (2018, eq. 5 to 8 and algorithm 1): the worst direction is the first eigenvector of the Hessian of the
    divergence at r = 0, found by `iterations` of the power method with finite differences of length `step`.

    model: x [N, ...] -> logits [N, C]; x needs no labels.  radius: in the units of x, for the length of a whole row's
    perturbation.  generator: of the first, random direction, on the CPU.  The gradient reaches the model through
    p(x + r) alone.  BatchNorm sees x and x + r in turn, as the model is called 2 + iterations times.
    Raises InputError for radius or step <= 0 or no iteration, NotFiniteError for NaN or infinite logits.
    """
    check_positive(radius=radius, step=step, iterations=iterations)
    with torch.no_grad():
        log_p = full_precision(model(x))[0].log_softmax(dim=1)
    direction = _unit(torch.randn(x.shape, generator=generator).to(x))
    for _ in range(int(iterations)):
        direction.requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(_divergence(log_p, model(x + step * direction)), direction)
        direction = _unit(slope.detach())
    return _divergence(log_p, model(x + radius * direction))


def _divergence(log_p: Tensor, logits: Tensor) -> Tensor:
    log_q = full_precision(logits)[0].log_softmax(dim=1)
    return F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")


def _unit(rows: Tensor) -> Tensor:
    """Every row scaled to length 1; one that is 0 stays 0."""
    return F.normalize(rows.flatten(1), dim=1).view_as(rows)


def _check(logits: Tensor, targets: Tensor) -> None:
    if logits.ndim != 2 or logits.shape != targets.shape or not len(logits):
        raise InputError(
            f"Expected two matrices [N, C] of one shape, got {list(logits.shape)} and {list(targets.shape)}."
        )


def _check_share(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is a confidence between 0 and 1, not {threshold}.")
