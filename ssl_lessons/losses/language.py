"""Repairing sentences: say which word was hidden, which comes next, which was replaced.

`tokens` are ids [B, T] of B sentences, `logits` scores [B, T, V] of all V words at every place; a bool tensor [B, T]
says which places count.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import full_precision


def masked_lm(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Masked language modelling (Devlin et al. 2019, section 3.1): -log p(hidden word | corrupted sentence), averaged.

        loss = - 1/|M| sum over (b, t) in M of log softmax(logits[b, t])[tokens[b, t]]

    mask: the chosen places M, which need not show [MASK] (80 of 100 do).  In nats; log V when all words are equally
    likely.  Returns a scalar, float32 or better, also under autocast.  Raises InputError for shapes or types that do
    not fit, ids outside the logits and an empty mask, NotFiniteError for NaN or infinite logits.
    """
    _check(logits, tokens, mask)
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(full_precision(logits)[0][mask], tokens[mask])


def causal_lm(logits: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
    """The next word from those before it (Bengio et al. 2003; Radford et al. 2018), averaged over real words.

        loss = - 1/|R| sum over (b, t) in R, t > 1, of log softmax(logits[b, t - 1])[tokens[b, t]]

    real: the places that are no padding.  The first word is given.  Units, precision and errors as for `masked_lm`.
    """
    if logits.ndim != 3 or logits.shape[1] < 2:
        raise InputError("causal_lm needs logits [B, T, V] of at least two places.")
    _check(logits, tokens, real)
    return masked_lm(logits[:, :-1], tokens[:, 1:], real[:, 1:])


def replaced_token(logits: Tensor, replaced: Tensor, real: Tensor) -> Tensor:
    """Replaced token detection (Clark et al. 2020, section 2): is this word the original?  Averaged over real words.

        loss = - 1/|R| sum over (b, t) in R of  r log D + (1 - r) log(1 - D),   D = sigmoid(logits[b, t]),  r = replaced

    logits [B, T]: of "replaced"; replaced, real: bool [B, T].  A word that the generator happened to guess is original,
    not replaced.  The paper sums over words and weighs by 50 beside the generator's loss; this is the mean.
    log 2 for a coin.  Precision and errors as for `masked_lm`.
    """
    if logits.ndim != 2 or any(m.shape != logits.shape or m.dtype != torch.bool for m in (replaced, real)):
        raise InputError("replaced_token needs logits [B, T] and bool tensors of the same shape.")
    if not real.any():
        raise InputError("No place counts: `real` is False everywhere.")
    with torch.autocast(logits.device.type, enabled=False):
        logits, target = full_precision(logits)[0], replaced
        return F.binary_cross_entropy_with_logits(logits[real], target[real].to(logits.dtype))


def masked_diffusion(logits: Tensor, tokens: Tensor, mask: Tensor, t: Tensor, real: Tensor) -> Tensor:
    """Masked diffusion (Sahoo et al. 2024, with alpha = 1 - t; Nie et al. 2025): nats per word.

        loss = 1/B sum over b of  1/(t[b] L[b]) sum over i in M[b] of - log softmax(logits[b, i])[tokens[b, i]]

    t [B]: drawn evenly from (0, 1], and each real word hidden with probability t; mask: the hidden places M, each of
    which shows [MASK]; real: the words that are no padding, L[b] of them.  Its mean over t and M is at least
    -log p(sentence) / L for the distribution that unmasks one word at a time in random order.  It may be 0: nothing was
    hidden.  Precision and errors as for `masked_lm`; InputError also for t outside (0, 1] and hidden padding.
    """
    _check(logits, tokens, mask, empty=True)
    if (
        real.shape != mask.shape
        or real.dtype != torch.bool
        or (mask & ~real).any()
        or not real.any(dim=1).all()
    ):
        raise InputError(
            "real must be bool [B, T], with a word in every sentence, and padding is never hidden."
        )
    if t.shape != logits.shape[:1] or not bool(((t > 0) & (t <= 1)).all()):
        raise InputError("t must hold one number in (0, 1] per sentence.")
    with torch.autocast(logits.device.type, enabled=False):
        log_p = full_precision(logits)[0].log_softmax(dim=2).gather(2, tokens[..., None])[..., 0]
        return (-(log_p * mask).sum(dim=1) / (t.to(log_p.dtype) * real.sum(dim=1))).mean()


def _check(logits: Tensor, tokens: Tensor, mask: Tensor, empty: bool = False) -> None:
    if (
        logits.ndim != 3
        or tokens.shape != logits.shape[:2]
        or mask.shape != tokens.shape
        or not tokens.numel()
    ):
        raise InputError(
            f"Expected logits [B, T, V], tokens [B, T] and a mask [B, T], got {list(logits.shape)}, "
            f"{list(tokens.shape)}, {list(mask.shape)}."
        )
    if tokens.is_floating_point() or mask.dtype != torch.bool:
        raise InputError("tokens must be whole numbers, and the mask bool.")
    if int(tokens.min()) < 0 or int(tokens.max()) >= logits.shape[2]:
        raise InputError(f"tokens must lie in 0..{logits.shape[2] - 1}, one score of the logits each.")
    if not empty and not mask.any():
        raise InputError("The mask hides nothing: there is no word to predict.")
