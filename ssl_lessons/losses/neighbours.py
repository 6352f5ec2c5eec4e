"""One loss for many methods: who should be my neighbour, and whom does the embedding make my neighbour?

The framework I-Con (Alshammari et al. 2025): a supervisory distribution p(j|i), a learned one q(j|i), and the mean
Kullback-Leibler divergence between them.  A method is a choice of p and a choice of q.
"""

import math

import torch
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, full_precision

_TOLERANCE = 1e-4  # of the sum of a row, in float32


def i_con(p: Tensor, log_q: Tensor) -> Tensor:
    """I-Con: the mean over i of KL( p(.|i) || q(.|i) ) (Alshammari et al. 2025, eq. 1, which sums over i).

        loss = mean_i sum_j p(j|i) ( log p(j|i) - log q(j|i) ),   0 log 0 = 0

    p: [N, M], row i says who should be near i; M need not be N (classes, prototypes, the other modality).
    log_q: [N, M], the logarithms of the learned probabilities, as `neighbor_log_probs` returns them: exact where a
    probability is too small for its dtype, and -inf where q forbids a neighbour (itself), which p must forbid too.
    Gradients flow to both; detach a p that is fixed but was computed by a network.  For a fixed p the entropy of p is a
    constant, so that the gradient is that of the cross-entropy.  Half precision is computed in float32, also under
    autocast; float64 stays float64.
    Returns a scalar in nats, 0 only where q = p.
    Raises InputError for shapes that differ, negative p, rows of p or q that do not sum to 1, and a neighbour that p
    wants and q forbids, where the divergence is infinite.
    """
    if not (isinstance(p, Tensor) and isinstance(log_q, Tensor) and p.ndim == 2 and p.shape == log_q.shape):
        raise InputError("p and log_q must be two tensors [N, M] of one shape.")
    with torch.autocast(p.device.type, enabled=False):
        (p,) = full_precision(p)
        log_q = log_q.to(torch.promote_types(log_q.dtype, torch.float32))
        _check_rows(p, log_q)
        wanted = p > 0
        log_p = torch.where(wanted, p, 1.0).log()
        terms = p * (log_p - torch.where(wanted, log_q, 0.0))
        return terms.sum(dim=1).mean()


def neighbor_probs(weights: Tensor, itself: bool = False) -> Tensor:
    """p(j|i) [N, M] from weights [N, M]: every row divided by its sum.

    itself=False sets the diagonal of a square matrix to 0 first: nothing is its own neighbour.  A boolean matrix
    gives a uniform distribution over what is true.  Raises InputError for weights that are negative or not finite, and
    for a row without any neighbour.
    """
    if not isinstance(weights, Tensor) or weights.ndim != 2:
        raise InputError("weights must be a tensor [N, M].")
    weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
    if not bool((weights >= 0).all()) or not bool(weights.isfinite().all()):
        raise InputError("weights must be finite and not negative.")
    if not itself:
        weights = weights.masked_fill(_diagonal(weights), 0)
    total = weights.sum(dim=1, keepdim=True)
    if bool((total == 0).any()):
        raise InputError("a row has no neighbour: all its weights are 0.")
    return weights / total


def neighbor_log_probs(scores: Tensor, itself: bool = False) -> Tensor:
    """log q(j|i) [N, M] from scores [N, M]: a softmax over each row.

    Cosine / temperature gives SimCLR's q; -d^2 / (2 sigma^2) a Gaussian's; -log(1 + d^2) Student's with one degree of
    freedom.  itself=False sets the diagonal of a square matrix to -inf first.  Half precision is computed in float32.
    Raises InputError for scores that are NaN, or a row without any finite score.
    """
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        raise InputError("scores must be a tensor [N, M].")
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if not itself:
        scores = scores.masked_fill(_diagonal(scores), -math.inf)
    if bool(scores.isnan().any()) or not bool(scores.isfinite().any(dim=1).all()):
        raise InputError("scores must not be NaN, and every row needs a finite one besides the diagonal.")
    return scores.log_softmax(dim=1)


def debias(p: Tensor, alpha: float, itself: bool = False) -> Tensor:
    """(1 - alpha) p + alpha uniform: some of "the others" are neighbours too (Alshammari et al. 2025, section 3.3.2).

    p: [N, M]; alpha: from 0 to 1; the uniform part leaves out the diagonal of a square p unless itself=True, as p does.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha, the share of the uniform part, must lie in [0, 1], not {alpha!r}.")
    return (1 - alpha) * p + alpha * neighbor_probs(torch.ones_like(p), itself)


def dual_criteria(z: Tensor) -> tuple[Tensor, Tensor]:
    """(samples, dimensions): the two criteria of Garrido et al. 2023, definition 3.2, of one batch z [N, D].

        samples = sum_{i != j} (z_i . z_j)^2,   dimensions = sum_{k != l} (z_.k . z_.l)^2

    As Z Z^T and Z^T Z have one Frobenius norm, samples + sum_i |z_i|^4 = dimensions + sum_k |z_.k|^4 (theorem 3.3):
    the two differ by the lengths of rows and columns alone.  Nothing is centred or divided here.
    """
    check_matrices(z)
    with torch.autocast(z.device.type, enabled=False):
        (z,) = full_precision(z)
        gram, covariance = z @ z.T, z.T @ z
        return tuple(m.square().sum() - m.diagonal().square().sum() for m in (gram, covariance))


def _diagonal(matrix: Tensor) -> Tensor:
    n, m = matrix.shape
    return torch.eye(n, dtype=torch.bool, device=matrix.device) if n == m else torch.zeros_like(matrix).bool()


def _check_rows(p: Tensor, log_q: Tensor) -> None:
    if not len(p) or not bool((p >= 0).all()):
        raise InputError("p must not be empty or negative.")
    for name, sums in (("p", p.sum(dim=1)), ("q", log_q.logsumexp(dim=1).exp())):
        worst = float((sums - 1).detach().abs().max())
        if not worst < _TOLERANCE:
            raise InputError(f"every row of {name} must sum to 1; one is off by {worst:.2g}.")
    if bool(((p > 0) & log_q.isneginf()).any()):
        raise InputError("p wants a neighbour that q forbids (itself?): the divergence is infinite.")
