"""`diagnose`: what is wrong with embeddings and with the run that made them, in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.diagnostics.findings import (
    FINDINGS,
    YOUNG,
    Trace,
    blind_spots,
    how_far,
    how_many,
    may_be_unsettled,
)
from ssl_lessons.diagnostics.measures import (
    _effective_rank,
    _matrix,
    alignment,
    alpha_req,
    assignment_information,
    cluster_usage_entropy,
    feature_correlation,
    feature_std,
    norm_statistics,
    rank_me,
    singular_values,
    uniformity,
)
from ssl_lessons.errors import InputError

FAINT = 0.02  # a direction counts if its singular value exceeds this share of the largest
SMALL_SAMPLE = 64  # below this many samples the numbers say more about the sample than the encoder


@dataclass(frozen=True)
class CollapseReport:
    """What `diagnose` found: a verdict, the numbers behind it, and what to do about it."""

    verdict: str  # one of VERDICTS
    evidence: dict[str, float]
    explanation: str
    causes: tuple[str, ...]  # likeliest first; empty if healthy
    try_first: str
    blind: tuple[str, ...] = ()  # what this diagnosis cannot see, in sentences

    def __str__(self) -> str:
        causes = " Likely causes, in order: " + "; ".join(self.causes) + "." if self.causes else ""
        advice = f" Try first: {self.try_first}." if self.try_first else ""
        blind = f" Blind spots: {' '.join(self.blind)}" if self.blind else ""
        return f"{self.verdict.capitalize()}. {self.explanation}{causes}{advice}{blind}"

    def as_dict(self) -> dict:
        """Ready for json.dumps(allow_nan=False): numbers that do not exist become None."""
        numbers = {name: value if math.isfinite(value) else None for name, value in self.evidence.items()}
        return {
            "verdict": self.verdict,
            "evidence": numbers,
            "explanation": self.explanation,
            "causes": list(self.causes),
            "try_first": self.try_first,
            "blind": list(self.blind),
        }


NECESSARY = "Health is necessary, not sufficient: only a probe tells what the embeddings know."
UNSETTLED = (
    "the BatchNorm statistics are not settled: in evaluation mode an untrained network looks like this"
)
SETTLE = "if the network is hardly trained, settle its statistics (models.settle) and measure again"
_ADVICE = {
    "healthy": ((), ""),
    "not finite": (
        (
            "the learning rate is too high or has no warm-up",
            "half precision overflowed in the loss",
            "NaN or infinity in the input images",
        ),
        "go back to the last good checkpoint and train on with a tenth of the learning rate",
    ),
    "divergence": (
        (
            "the learning rate is too high or has no warm-up",
            "the temperature is so low that one wrong pair dominates the gradient",
            "nothing limits the weights: no normalisation layer and no weight decay",
        ),
        "start again with a tenth of the learning rate and a warm-up",
    ),
    "complete collapse": (
        (
            "nothing in the loss pushes embeddings apart: no negatives, no variance term, or a Siamese pair without "
            "predictor or stop-gradient",
            "the learning rate is too high, weight decay has won, or the temperature is far too low",
            "the encoder gets the same or empty images",
        ),
        "check that the term or branch that prevents collapse is active, then halve the learning rate",
    ),
    "cluster collapse": (
        (
            "nothing balances the clusters: no Sinkhorn step, no centring, no mean-entropy term",
            "nothing sharpens the targets: the teacher's temperature is not below the student's",
            "the prototypes got no gradient, or far too large a learning rate",
        ),
        "switch the balancing step on (Sinkhorn, centring or mean entropy), then check the target temperature",
    ),
    "dimensional collapse": (
        (
            "nothing in the loss keeps the dimensions from repeating each other, or its weight is too small",
            "the augmentation is so strong that only a few properties of the image survive it",
            "the temperature is far too high or too low",
            "these are projector outputs: compare them with the features before the projector",
        ),
        "diagnose the features before the projector; if they are collapsed as well, weaken the augmentation",
    ),
    "teacher-student drift": (
        (
            "the teacher's momentum is so close to 1 that its half-life is longer than the run",
            "the teacher is not updated: after_step is not called, or it copies the wrong network",
            "the learning rate is too high for the teacher to follow",
        ),
        "choose a momentum m with 1 / (1 - m) well below the number of steps, such as 0.99 for a thousand",
    ),
    "loss at chance": (
        (
            "no gradient reaches the encoder: a detach, a frozen layer or a learning rate of zero",
            "the temperature is so high that all pairs look alike",
            "the two views have nothing in common: the pairing is broken, or the augmentation leaves nothing",
        ),
        "check that the encoder's weights change from step to step, then lower the temperature",
    ),
    "shortcut": (
        (
            "the views share something easy that no augmentation changes, such as their colours: jitter too weak",
            "batch statistics tell which images were in one batch: BatchNorm leaks the positive",
            "the positive looks different from the negatives for another reason: a queue that is not normalised",
        ),
        "strengthen the colour jitter, then shuffle the batch between the encoders or drop BatchNorm in the key",
    ),
}
VERDICTS = tuple(_ADVICE)


def diagnose(
    embeddings: Tensor | None = None,
    positive: Tensor | None = None,
    history: Sequence[Mapping] | None = None,
    assignments: Tensor | None = None,
) -> CollapseReport:
    """Name what is wrong with embeddings [N, D] of N *different* images and with the run that made them.

    embeddings: features or projector outputs; a few hundred do.  positive [N, D]: embeddings of a second view of the
    same images; adds their alignment to the evidence.  history: the rows of `pretrain`, with a loss on each and, where
    its monitor measured, knn, spread_z, norm_h, norm_z, usage, information, teacher_distance and chance_loss;
    whatever is missing is not judged.  assignments [N, K]: cluster probabilities of the images.

    The worst finding gives the verdict, in this order: not finite, divergence, cluster collapse, complete collapse,
    dimensional collapse, teacher-student drift, loss at chance, shortcut, healthy.

    The embeddings are judged by quantities that no rescaling and no rotation changes: how far the unit-length rows
    spread around their mean (`spread`), and over how many directions, counted by entropy (`effective_rank`), above a
    noise floor (`directions`) and by variance (`participation_ratio`).  Features without a negative entry (after a
    ReLU) are held to a milder line, as their mean is no symptom.  With fewer than three directions possible there is
    no dimensional collapse.  The history is judged against itself and against chance, never by the size of the loss,
    which differs by orders of magnitude between methods.  A run of fewer than 20 steps is only checked for NaN.

    A healthy verdict says that the embeddings tell images apart, not that they know anything useful: a random
    Gaussian matrix is in perfect health, and so is an untrained network with settled BatchNorm statistics.  One without
    looks collapsed in evaluation mode; without a history the report says so.  What else it cannot see is in `blind`.
    Labels enter by the kNN accuracy of the history alone: it decides on shortcuts, is heard on a loss at chance, and on
    a collapse in progress.
    Raises InputError without embeddings and history, for N < 2, tensors that are not 2-D, or rows without a loss.
    """
    if embeddings is None and not history:
        raise InputError("diagnose needs embeddings [images, dimensions], a training history, or both.")
    evidence: dict[str, float] = {}
    if embeddings is not None:
        z = _matrix(embeddings, finite=False)
        if positive is not None and _matrix(positive, finite=False).shape != z.shape:
            raise InputError(
                f"The second views must have the shape of the first, {tuple(z.shape)}, "
                f"not {tuple(positive.shape)}."
            )
        everything = z if positive is None else torch.cat([z, _matrix(positive, finite=False)])
        broken = int((~everything.isfinite()).any(dim=1).sum())
        if broken:
            evidence = {
                "samples": float(len(z)),
                "dimensions": float(z.shape[1]),
                "rows_not_finite": float(broken),
            }
            return _report(
                "not finite", evidence, f"{broken} of {len(everything)} embeddings hold NaN or infinity."
            )
        evidence |= _measure(z, positive)
    if assignments is not None:
        evidence |= {
            "usage": cluster_usage_entropy(assignments),
            "information": assignment_information(assignments),
            "clusters": float(assignments.shape[1]),
        }
    return judge(evidence, history or ())


def judge(evidence: Mapping[str, float], history: Sequence[Mapping]) -> CollapseReport:
    """The verdict on what was measured on embeddings (the evidence of an earlier report) and on a history.

    `diagnose` measures and then judges; this judges alone, for a record of which the embeddings are gone.
    """
    trace = Trace(history)
    evidence = dict(evidence) | trace.evidence(evidence)
    for verdict, finding in FINDINGS.items():
        if 0 < evidence.get("steps", 0) < YOUNG and verdict != "not finite":
            words = (
                f"Too early to tell after {evidence['steps']:.0f} steps: in evaluation mode, BatchNorm statistics "
                "are not settled by then."
            )
            return _report("healthy", evidence, words)
        if words := finding(evidence, trace):
            return _report(verdict, evidence, words + _caveat(evidence))
    return _report("healthy", evidence, _healthy(evidence) + _caveat(evidence))


def _measure(z: Tensor, positive: Tensor | None) -> dict[str, float]:
    n, d = z.shape
    possible = min(n - 1, d)
    spectrum = singular_values(F.normalize(z, dim=1))[:possible]
    variances = spectrum.square()
    total = variances.sum().clamp_min(1e-300)
    spread = float(total / n)  # 1 - |mean|^2: 0 if all rows point the same way, 1 if they cancel out
    same = spread < 1e-13  # rounding errors have no directions worth counting
    evidence = {
        "samples": float(n),
        "dimensions": float(d),
        "feature_std": feature_std(z),
        "spread": spread,
        "mean_norm": norm_statistics(z)["mean"],
        "effective_rank": 1.0 if same else _effective_rank(spectrum),
        "directions": 0.0 if same else float((spectrum > FAINT * spectrum[0]).sum()),
        "directions_possible": float(possible),
        "participation_ratio": 1.0 if same else float(total.square() / variances.square().sum()),
        "largest_share": float(variances[0] / total),
        "feature_correlation": feature_correlation(z),
        "rank_me": rank_me(z),
        "alpha_req": alpha_req(z),
        "unevenness": math.nan if same else _unevenness(z),
        "uniformity": uniformity(z[:2000]),
        "never_negative": float(bool((z >= 0).all())),
    }
    return evidence if positive is None else evidence | {"alignment": alignment(z, positive)}


def _unevenness(z: Tensor) -> float:
    """Squared variation of the variances of z [N, D] along its principal directions, over that of Gaussian samples.

    1 on average for N rows of an isotropic Gaussian, whatever N and D; 0 if whitened.  NaN with fewer than three
    directions possible, where samples may be even by chance.
    """
    few, many = sorted((len(z) - 1, z.shape[1]))
    if few < 3:
        return math.nan
    variances = singular_values(z)[:few].square()
    # For a Wishart matrix W of p dimensions and q degrees of freedom, E tr(W^2) = pq (p + q + 1).
    expected = (few - 1) * (few + 2) / (few * many + 2)
    return float((variances / variances.mean() - 1).square().mean()) / expected


def _healthy(e: Mapping) -> str:
    found = [f"{how_many(e)}; {how_far(e)}"] if "effective_rank" in e else []
    if "loss" in e:
        found.append(f"the loss went from {e['loss_first']:.3g} to {e['loss']:.3g} in {e['steps']:.0f} steps")
    return f"No sign of collapse: {'; '.join(found)}. {NECESSARY}"


def _caveat(e: Mapping) -> str:
    if e.get("samples", math.inf) < SMALL_SAMPLE:
        return f" With {e['samples']:.0f} samples this is a small sample: repeat it with a few hundred."
    return ""


def _report(verdict: str, evidence: dict[str, float], explanation: str) -> CollapseReport:
    causes, try_first = _ADVICE[verdict]
    if verdict == "complete collapse" and may_be_unsettled(evidence):
        causes, try_first = (UNSETTLED, *causes), f"{SETTLE}; if not, {try_first}"
    return CollapseReport(verdict, evidence, explanation, causes, try_first, blind_spots(evidence))
