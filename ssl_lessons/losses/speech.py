"""Losses that learn from sound: CPC, COLA, wav2vec 2.0 with its codebook, HuBERT."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.losses.common import check_matrices, check_positive, full_precision, unit_rows


def cpc(context: Tensor, future: Tensor, maps: Tensor, negatives: str = "clips") -> Tensor:
    """Contrastive predictive coding: from c_t, find z_(t+k) among candidates, for k = 1 .. K.

        f_k = exp(z_(t+k)^T W_k c_t),   loss = -mean_(k, t) log( f_k(own z_(t+k)) / sum over candidates f_k )

    van den Oord et al. (2018), equations 3 and 4.  A log-bilinear score: no cosine, no temperature.
    context [B, T, C]; future [B, T, D]; maps [K, D, C], the W_k, K < T.
    negatives: "clips", the z_(t+k) of the other clips (B candidates); or "times", the other times of the same clip (T
    candidates), among which what does not change within a clip (its speaker, its room) tells nothing apart.
    Returns a scalar in nats: log of the number of candidates where all scores are equal.
    Raises InputError for shapes that do not fit, one candidate only, another word for negatives, values not finite.
    """
    if context.ndim != 3 or future.ndim != 3 or context.shape[:2] != future.shape[:2]:
        raise InputError(
            "cpc needs context [clips, times, C] and future [clips, times, D] of the same clips."
        )
    if maps.ndim != 3 or maps.shape[1:] != (future.shape[2], context.shape[2]):
        raise InputError(f"maps must be [steps, {future.shape[2]}, {context.shape[2]}], one matrix a step.")
    if not 1 <= len(maps) < context.shape[1]:
        raise InputError(f"{len(maps)} steps ahead do not fit into {context.shape[1]} times.")
    if negatives not in ("clips", "times"):
        raise InputError(f"negatives must be 'clips' or 'times', not {negatives!r}.")
    if context.shape[0 if negatives == "clips" else 1] < 2:
        raise InputError("At least two candidates are needed.")
    with torch.autocast(context.device.type, enabled=False):
        context, future, maps = full_precision(context, future, maps)
        b, t, _ = context.shape
        terms = []
        for k, w in enumerate(maps, start=1):
            predicted = context[:, : t - k] @ w.T  # [B, T - k, D]
            if negatives == "clips":
                logits = predicted.transpose(0, 1) @ future[:, k:].transpose(0, 1).mT  # [T - k, B, B]
                own = torch.arange(b, device=context.device).repeat(t - k)
            else:
                logits = predicted @ future.mT  # [B, T - k, T]
                own = torch.arange(k, t, device=context.device).repeat(b)
            terms.append(F.cross_entropy(logits.flatten(0, 1), own))
        return torch.stack(terms).mean()


def cola(anchor: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
    """COLA: two segments of one clip belong together, among the segments of the batch.

        s(x, y) = x^T W y,   loss = -mean_i log( exp s(a_i, p_i) / sum_j exp s(a_i, p_j) )

    Saeed et al. (2021), equations 1 and 2.  anchor, positive [N, D]: one segment each of the same N clips; weight
    [D, D].  Returns a scalar in nats, log N where all scores are equal.
    Raises InputError for shapes that do not fit, N < 2, or values that are not finite.
    """
    check_matrices(anchor, positive)
    if anchor.shape != positive.shape or len(anchor) < 2:
        raise InputError("cola needs two tensors [N, D] of one shape, N >= 2 clips.")
    if weight.shape != (anchor.shape[1],) * 2:
        raise InputError(f"weight must be [{anchor.shape[1]}, {anchor.shape[1]}], not {list(weight.shape)}.")
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, positive, weight = full_precision(anchor, positive, weight)
        return F.cross_entropy(anchor @ weight @ positive.T, torch.arange(len(anchor), device=anchor.device))


def gumbel_codes(logits: Tensor, noise: Tensor | None = None, temperature: float = 1.0) -> Tensor:
    """Straight-through Gumbel-softmax: one-hot codes forwards, the gradient of a softmax backwards.

        p_v = exp((l_v + n_v) / t) / sum_u exp((l_u + n_u) / t),   n = -log(-log u),  u uniform in (0, 1)

    Baevski et al. (2020), equation 1; Jang et al. (2017).  logits [..., V]: a codebook each; noise: Gumbel numbers of
    that shape (None: no noise, the most probable code).  Returns one-hot rows of that shape.
    Raises InputError for other shapes, values that are not finite or a temperature that is not a positive number.
    """
    check_positive(temperature=temperature)
    if logits.ndim < 1 or logits.shape[-1] < 2 or (noise is not None and noise.shape != logits.shape):
        raise InputError("gumbel_codes needs logits [..., V], V >= 2 codes, and noise of the same shape.")
    with torch.autocast(logits.device.type, enabled=False):
        (logits,) = full_precision(logits)
        soft = ((logits if noise is None else logits + noise) / temperature).softmax(-1)
        hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        return hard + soft - soft.detach()


def codebook_diversity(probabilities: Tensor, form: str = "entropy") -> Tensor:
    """Low where all codes are used, from p_g = the mean over the frames of the softmax over codebook g.

        "entropy":     1 / (G V) sum_g sum_v p_gv log p_gv        from -log(V) / V to 0 (one code)
        "perplexity":  (G V - sum_g exp(entropy of p_g)) / (G V)  from 0 to 1 - 1 / V (one code)

    The first is equation 4 of Baevski et al. (2020), the second what their code minimises (fairseq):
    its pull does not shrink so much with V.  probabilities [N, G, V], without noise or temperature.  Returns a scalar.
    Raises InputError unless the shape fits and rows are probabilities, and for another form.
    """
    if probabilities.ndim != 3 or 0 in probabilities.shape or form not in ("entropy", "perplexity"):
        raise InputError(
            "codebook_diversity needs probabilities [frames, codebooks, codes], entropy or perplexity."
        )
    with torch.autocast(probabilities.device.type, enabled=False):
        (p,) = full_precision(probabilities)
        if p.device.type == "cpu" and (p.detach().min() < 0 or (p.detach().sum(-1) - 1).abs().max() > 1e-3):
            raise InputError("The rows must be probabilities: take the softmax of the logits first.")
        entropy = torch.special.entr(p.mean(dim=0)).sum(dim=-1)
        if form == "perplexity":
            return 1 - entropy.exp().sum() / p[0].numel()
        return -entropy.sum() / p[0].numel()


def wav2vec2(context: Tensor, target: Tensor, distractors: Tensor, temperature: float = 0.1) -> Tensor:
    """The contrastive part of wav2vec 2.0: at each hidden frame, find its own target among K distractors.

        loss = -mean_m log( exp(cos(c_m, q_m) / t) / sum over q in {q_m, K distractors} exp(cos(c_m, q) / t) )

    Baevski et al. (2020), equation 3.  A distractor equal to the target (the same code) is no candidate.
    context, target [M, D]: the M hidden frames, all clips in one list; distractors [M, K]: indices into target.
    Returns a scalar in nats.  Raises InputError for shapes that do not fit, an index outside the list, values that are
    not finite, or a temperature that is not a positive number.
    """
    check_positive(temperature=temperature)
    check_matrices(context, target)
    if context.shape != target.shape or not len(target):
        raise InputError("context and target must have one shape [hidden frames, dimensions].")
    if distractors.ndim != 2 or len(distractors) != len(target) or not distractors.shape[1]:
        raise InputError(f"distractors must be indices [{len(target)}, K], K >= 1.")
    if distractors.is_floating_point() or (
        distractors.device.type == "cpu" and (distractors.min() < 0 or distractors.max() >= len(target))
    ):
        raise InputError(f"distractors must be whole numbers in 0..{len(target) - 1}.")
    with torch.autocast(context.device.type, enabled=False):
        c, q = unit_rows(context, target)
        own = (c * q).sum(-1, keepdim=True) / temperature
        others = torch.einsum("md,mkd->mk", c, q[distractors]) / temperature
        same = (target[distractors] == target[:, None]).all(-1)
        logits = torch.cat([own, others.masked_fill(same, -torch.inf)], dim=1)
        return (logits.logsumexp(1) - own[:, 0]).mean()


def hubert(context: Tensor, units: Tensor, labels: Tensor, mask: Tensor, temperature: float = 0.1) -> Tensor:
    """HuBERT: at each hidden frame, name the unit (the k-means cluster) that this frame has.

        p(u | t) = exp(cos(c_t, e_u) / 0.1) / sum_v exp(cos(c_t, e_v) / 0.1),   loss = -mean over hidden t of log p

    Hsu et al. (2021), equations 2 and 3, with the loss on hidden frames only (alpha = 1).  context [B, T, D], after
    the projection; units [V, D], an embedding per unit; labels int64 [B, T]; mask bool [B, T], True = hidden.
    Returns a scalar in nats, log V where all units score alike.  Raises InputError for shapes that do not fit, no
    hidden frame, values that are not finite, or a temperature that is not a positive number.
    """
    check_positive(temperature=temperature)
    check_matrices(units)
    if context.ndim != 3 or labels.shape != context.shape[:2] or context.shape[2] != units.shape[1]:
        raise InputError("hubert needs context [B, T, D], units [V, D] and labels [B, T].")
    if mask.shape != labels.shape or mask.dtype != torch.bool or labels.is_floating_point():
        raise InputError("mask must be a bool tensor, and labels whole numbers, of shape [B, T].")
    if mask.device.type == "cpu" and not mask.any():
        raise InputError("No frame is hidden: nothing to predict.")
    with torch.autocast(context.device.type, enabled=False):
        c, e = unit_rows(context[mask], units)
        return F.cross_entropy(c @ e.T / temperature, labels[mask])
