"""Is an encoder collapsing? Numbers that need no labels, and `diagnose`, which puts them into words."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError

# Where `diagnose` draws its lines. All are scale-free, about unit-length rows minus their mean.
COMPLETE = 1e-3  # spread (1 - mean cosine) below which every image gives the same output
NARROW = 0.02  # spread that is this small *and* lies in fewer than FEW directions: nearly there
RELU_COMPLETE = 1e-4  # features without a negative entry share a mean by construction: untrained networks in
#                       good order spread by 0.03 to 0.2, by 0.001 without image normalization. No NARROW.
FEW = 3.0  # directions below which too little is left to tell images apart
LOW_SHARE = 0.01  # the same as a share of those possible, min(N - 1, D). Low, not to cry wolf: young
#                       SimSiam runs with a spread of 0.8 use only 2 % of 512 projector dimensions.
FAINT = 0.02  # a direction counts if its singular value exceeds this share of the largest
SMALL_SAMPLE = 64  # below this many samples the numbers say more about the sample than the encoder


def feature_std(z: Tensor) -> float:
    """Mean over the dimensions of the std of L2-normalised z [N, D], times sqrt(D).

    1 = spread like an isotropic Gaussian (the most there can be), 0 = every row the same. The collapse
    measure of SimSiam (Chen & He 2021, section 4.1). It depends on the axes: a rotation changes it unless
    the spread is isotropic. Features that are never negative (after a ReLU) share a mean direction and
    sit well below 1 while healthy.
    """
    unit = F.normalize(_matrix(z), dim=1)
    return float(unit.std(dim=0, correction=0).mean() * math.sqrt(z.shape[1]))


def singular_values(z: Tensor) -> Tensor:
    """Singular values of z [N, D] minus its mean row, descending, min(N, D) of them, float64 on the CPU.

    Not normalised: squared and divided by N - 1 they are the eigenvalues of the covariance matrix.
    Centring takes one degree of freedom, so with N <= D the last one is zero.
    """
    z = _matrix(z)
    return torch.linalg.svdvals(z - z.mean(dim=0))


def rank_me(z: Tensor) -> float:
    """RankMe (Garrido et al. 2023, eq. 1): exp(entropy) of the singular values of z [N, D] over their sum.

    From 1 (a line through the origin) to min(N, D). As in the paper, z is neither centred nor
    normalised, and 1e-7 is added to every share. A common mean adds one large singular value, which
    pulls the number down; `diagnose` therefore judges by the centred spectrum.
    """
    return _effective_rank(torch.linalg.svdvals(_matrix(z)))


def alpha_req(z: Tensor, first: int = 2, last: int | None = None) -> float:
    """alpha-ReQ (Agrawal et al. 2022): alpha in `eigenvalue_i ~ i^-alpha` for the covariance of z [N, D].

    A straight line through (log i, log eigenvalue_i), least squares, for ranks i from `first` to `last`
    (counted from 1, inclusive). By default from 2, because the first eigenvalue often stands apart, to
    half of min(N - 1, D), because the tail of a finite sample falls too fast. Each rank counts once.
    Around 1 is the healthy region of the paper; 0 is a flat spectrum; large is a steep one. NaN if fewer
    than three eigenvalues in the range are above rounding error.
    """
    variances = singular_values(z).square()
    possible = min(z.shape[0] - 1, z.shape[1])
    ranks = torch.arange(1, len(variances) + 1, dtype=torch.float64)
    used = (ranks >= first) & (ranks <= (max(possible // 2, first + 2) if last is None else last))
    used &= (ranks <= possible) & (variances > variances[0] * 1e-14)
    if int(used.sum()) < 3:
        return math.nan
    x, y = ranks[used].log(), variances[used].log()
    x = x - x.mean()
    return float(-(x @ y) / (x @ x))


def alignment(z1: Tensor, z2: Tensor, alpha: float = 2) -> float:
    """Mean distance^alpha between the two L2-normalised views z1, z2 [N, D] of the same image.

    Wang & Isola 2020, section 4.1.1 (alpha = 2). 0 = identical views; 2 = unrelated ones.
    """
    z1, z2 = _matrix(z1), _matrix(z2)
    if z1.shape != z2.shape:
        raise InputError(
            f"The two views must have the same shape, not {tuple(z1.shape)} and "
            f"{tuple(z2.shape)}: row i of both must come from image i."
        )
    return float((F.normalize(z1, dim=1) - F.normalize(z2, dim=1)).norm(dim=1).pow(alpha).mean())


def uniformity(z: Tensor, t: float = 2) -> float:
    """log of the mean of exp(-t * squared distance) over all pairs i < j of L2-normalised z [N, D].

    Wang & Isola 2020, section 4.1.2 (t = 2). 0 = all in one point; with t = 2 a high-dimensional uniform
    sphere gives close to -4. Memory grows with N squared: a few thousand rows say enough.
    """
    squared = torch.pdist(F.normalize(_matrix(z), dim=1)).square()
    return float(torch.logsumexp(-t * squared, dim=0) - math.log(len(squared)))


@dataclass(frozen=True)
class CollapseReport:
    """What `diagnose` found: a verdict, the numbers behind it, and what to do about it."""

    verdict: str  # "healthy", "complete collapse", "dimensional collapse" or "not finite"
    evidence: dict[str, float]
    explanation: str
    causes: tuple[str, ...]  # likeliest first; empty if healthy
    try_first: str

    def __str__(self) -> str:
        causes = " Likely causes, in order: " + "; ".join(self.causes) + "." if self.causes else ""
        advice = f" Try first: {self.try_first}." if self.try_first else ""
        return f"{self.verdict.capitalize()}. {self.explanation}{causes}{advice}"

    def as_dict(self) -> dict:
        """Ready for json.dumps(allow_nan=False): numbers that do not exist become None."""
        numbers = {name: value if math.isfinite(value) else None for name, value in self.evidence.items()}
        return {
            "verdict": self.verdict,
            "evidence": numbers,
            "explanation": self.explanation,
            "causes": list(self.causes),
            "try_first": self.try_first,
        }


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
    "complete collapse": (
        (
            "nothing in the loss pushes embeddings apart: no negatives, stop-gradient or variance term",
            "the learning rate is too high, or weight decay has won",
            "the encoder gets the same or empty images",
        ),
        "check that the term or branch that prevents collapse is active, then halve the learning rate",
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
}


def diagnose(embeddings: Tensor, positive: Tensor | None = None) -> CollapseReport:
    """Name what is wrong with embeddings [N, D] of N *different* images (features or projector outputs).

    `positive` [N, D]: embeddings of a second view of the same images; adds their alignment to the evidence.
    The verdict depends on the embeddings alone, through quantities that no rescaling and no rotation changes:
    how far the unit-length rows spread around their mean (`spread`), and over how many directions, counted by
    entropy (`effective_rank`), above a noise floor (`directions`) and by variance (`participation_ratio`).
    Features without a negative entry (after a ReLU) are held to a milder line, as their mean is no symptom.
    With fewer than three directions possible there is no dimensional collapse. A few hundred samples do.
    A healthy verdict says that the embeddings tell images apart, not that they know anything useful: a
    random Gaussian matrix is in perfect health.
    Raises InputError for N < 2 or tensors that are not 2-D.
    """
    z = _matrix(embeddings, finite=False)
    if positive is not None and _matrix(positive, finite=False).shape != z.shape:
        raise InputError(
            f"The second views must have the shape of the first, {tuple(z.shape)}, "
            f"not {tuple(positive.shape)}."
        )
    n, d = z.shape
    everything = z if positive is None else torch.cat([z, _matrix(positive, finite=False)])
    broken = int((~everything.isfinite()).any(dim=1).sum())
    if broken:
        evidence = {"samples": float(n), "dimensions": float(d), "rows_not_finite": float(broken)}
        words = f"{broken} of {len(everything)} embeddings hold NaN or infinity."
        return _report("not finite", evidence, words)

    unit = F.normalize(z, dim=1)
    possible = min(n - 1, d)
    spectrum = singular_values(unit)[:possible]
    variances = spectrum.square()
    total = variances.sum().clamp_min(1e-300)
    spread = float(total / n)  # 1 - |mean|^2: 0 if all rows point the same way, 1 if they cancel out
    same = spread < 1e-13  # rounding errors have no directions worth counting
    rank = 1.0 if same else _effective_rank(spectrum)
    count = 0 if same else int((spectrum > FAINT * spectrum[0]).sum())
    participation = 1.0 if same else float(total.square() / variances.square().sum())
    evidence = {
        "samples": float(n),
        "dimensions": float(d),
        "feature_std": feature_std(z),
        "spread": spread,
        "mean_norm": float(z.norm(dim=1).mean()),
        "effective_rank": rank,
        "directions": float(count),
        "directions_possible": float(possible),
        "participation_ratio": participation,
        "largest_share": float(variances[0] / total),
        "rank_me": rank_me(z),
        "alpha_req": alpha_req(z),
        "uniformity": uniformity(z[:2000]),
    }
    if positive is not None:
        evidence["alignment"] = alignment(z, positive)
    how_far = (
        f"{100 * spread:.3g} % of the squared length of the {n} embeddings lies off their common "
        f"direction (std {evidence['feature_std']:.3f}, where 1 is the most there can be)"
    )
    how_many = (
        f"an effective {rank:.1f} directions, {count} of them above noise, of {possible} that "
        f"{n} samples in {d} dimensions could show"
    )
    if bool((z >= 0).all()):
        complete = spread < RELU_COMPLETE
    else:
        complete = spread < COMPLETE or (spread < NARROW and participation < FEW)
    if complete:
        verdict = "complete collapse"
        words = f"Whatever the image, the output is nearly the same: only {how_far}."
    elif min(rank, count) < max(min(FEW, possible / 2), LOW_SHARE * possible):
        verdict = "dimensional collapse"
        words = f"Images still differ, but along very few directions: {how_many}; {how_far}."
    else:
        verdict, words = "healthy", f"No sign of collapse: {how_many}; {how_far}."
    if n < SMALL_SAMPLE:
        words += f" With {n} samples this is a small sample: repeat it with a few hundred."
    return _report(verdict, evidence, words)


def _report(verdict: str, evidence: dict[str, float], explanation: str) -> CollapseReport:
    causes, try_first = _ADVICE[verdict]
    return CollapseReport(verdict, evidence, explanation, causes, try_first)


def _effective_rank(singular: Tensor) -> float:
    """exp(entropy) of singular values divided by their sum, 1e-7 added to each share as in RankMe."""
    shares = singular / singular.sum().clamp_min(1e-300) + 1e-7
    return float(torch.exp(-(shares * shares.log()).sum()))


def _matrix(z: Tensor, finite: bool = True) -> Tensor:
    """z as float64 on the CPU (a spectrum spans many decades), or an InputError saying what to change."""
    if not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] == 0:
        raise InputError("Embeddings must be a 2-D tensor [samples, dimensions]; flatten or squeeze them.")
    if len(z) < 2:
        raise InputError(f"At least two embeddings are needed to measure their spread, not {len(z)}.")
    z = z.detach().cpu().double()
    if finite and not bool(z.isfinite().all()):
        raise InputError("The embeddings hold NaN or infinity; diagnose(embeddings) says what to try.")
    return z
