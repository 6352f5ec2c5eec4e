"""`diagnose`: what is wrong with embeddings and with the run that made them, in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

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

# Lines drawn on embeddings.  All are scale-free, about unit-length rows minus their mean.
COMPLETE = 1e-3  # spread (1 - mean cosine) below which every image gives the same output
NARROW = 0.02  # spread that is this small *and* lies in fewer than FEW directions: nearly there
RELU_COMPLETE = 1e-4  # features without a negative entry share a mean by construction: untrained networks in
#                       good order spread by 0.03 to 0.2, by 0.001 without image normalization. No NARROW.
FEW = 3.0  # directions below which too little is left to tell images apart
LOW_SHARE = 0.01  # the same as a share of those possible, min(N - 1, D). Low, not to cry wolf: young
#                       SimSiam runs with a spread of 0.8 use only 2 % of 512 projector dimensions.
FAINT = 0.02  # a direction counts if its singular value exceeds this share of the largest
SMALL_SAMPLE = 64  # below this many samples the numbers say more about the sample than the encoder
ONE_CLUSTER = 0.1  # share of the possible entropy (usage) or information left in the assignments

# Lines drawn on the history of a run.
YOUNG = (
    20  # steps before which a run is not judged: BatchNorm's running statistics still lag behind its weights
)
FALLEN = 0.2  # spread below this share of its own maximum so far, and below SMALL: collapse in progress
SMALL = 0.1
HALF, WORSE = 0.5, 0.75  # spread over its maximum, and kNN over its first value, that together say the same
EXPLODED = 30.0  # growth of the mean length of h or z over the run
FEW_STEPS = 50  # before that many steps nothing is said about the loss
AT_CHANCE = 0.05  # share of the chance loss by which it has to have fallen to count as better than chance
FLAT = 0.05  # gain in kNN accuracy since the first measurement that counts as none
SOLVED = 0.2  # share of the chance loss below which the task counts as solved
SLOW = 100  # steps before which a teacher may lag behind: the time constant of a momentum of 0.99
NOT_CAUGHT_UP = 0.97  # teacher distance over its maximum so far


@dataclass(frozen=True)
class CollapseReport:
    """What `diagnose` found: a verdict, the numbers behind it, and what to do about it."""

    verdict: str  # one of VERDICTS
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
    Gaussian matrix is in perfect health.
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
    trace = _Trace(history)
    evidence = dict(evidence) | trace.evidence(evidence)
    for verdict, finding in _FINDINGS.items():
        if 0 < evidence.get("steps", 0) < YOUNG and verdict != "not finite":
            words = f"Too early to tell after {evidence['steps']:.0f} steps."
            return _report("healthy", evidence, words)
        if words := finding(evidence, trace):
            return _report(verdict, evidence, words + _caveat(evidence))
    return _report("healthy", evidence, _healthy(evidence) + _caveat(evidence))


class _Trace:
    """The rows of a run, seen as one series per name."""

    def __init__(self, rows: Sequence[Mapping]):
        if any("loss" not in row for row in rows):
            raise InputError("Every row of the history needs a loss: pass what pretrain returned.")
        self.rows = rows
        self.losses = [float(row["loss"]) for row in rows]

    def series(self, name: str, after: int = 0) -> list[float]:
        """The finite values of `name` after that many steps, in order; empty when it was never measured."""
        values = (row[name] for row in self.rows[after:] if row.get(name) is not None)
        return [float(v) for v in values if math.isfinite(v)]

    def smooth_losses(self) -> list[float]:
        """Medians over blocks of a tenth of the run, at least three steps: one odd batch is no trend."""
        width = max(3, len(self.losses) // 10)
        blocks = [self.losses[i : i + width] for i in range(0, len(self.losses), width)]
        return [median(b) for b in blocks if len(b) > width // 2 or len(blocks) == 1]

    def evidence(self, known: Mapping) -> dict[str, float]:
        """The last and where it helps the first, lowest or highest value of each series."""
        found = {}
        if self.losses:
            finite = [x for x in self.losses if math.isfinite(x)]
            found |= {
                "steps": float(len(self.losses)),
                "losses_not_finite": float(len(self.losses) - len(finite)),
            }
            if len(finite) == len(self.losses):
                smooth = self.smooth_losses()
                found |= {"loss_first": smooth[0], "loss_lowest": min(smooth), "loss": smooth[-1]}
        for name in ("knn", "teacher_distance"):
            if values := self.series(name):
                found |= {f"{name}_first": values[0], name: values[-1]}
        for name in ("norm_h", "norm_z"):
            if values := self.series(name, after=YOUNG - 1):
                found |= {f"{name}_first": values[0], name: values[-1]}
        if values := self.series("spread_z", after=YOUNG - 1):
            found |= {"spread_highest": max(values)} | ({} if "spread" in known else {"spread": values[-1]})
        for name in ("usage", "information", "chance_loss"):
            if name not in known and (values := self.series(name)):
                found[name] = values[-1]
        return found


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
        "uniformity": uniformity(z[:2000]),
        "never_negative": float(bool((z >= 0).all())),
    }
    return evidence if positive is None else evidence | {"alignment": alignment(z, positive)}


# ---- one function per finding: the words if it holds, else None ----------------------------------------------


def _not_finite(e: Mapping, trace: _Trace) -> str | None:
    if e.get("losses_not_finite"):
        return f"{e['losses_not_finite']:.0f} of {e['steps']:.0f} losses are NaN or infinite."
    return None


def _divergence(e: Mapping, trace: _Trace) -> str | None:
    for name in ("norm_h", "norm_z"):
        values = trace.series(name, after=YOUNG - 1)
        if len(values) > 1 and values[-1] > EXPLODED * max(min(values), 1e-12):
            what = "features" if name == "norm_h" else "embeddings"
            return f"The {what} grew from a mean length of {min(values):.3g} to {values[-1]:.3g}."
    if "loss" not in e:
        return None
    first, lowest, last = trace.losses[0], e["loss_lowest"], e["loss"]
    # Losses of bootstrapping and queue methods may rise for good reasons, but not to twice where they began.
    above = last > first + max(abs(first), first - lowest)
    if above and last > 1.2 * e.get("chance_loss", -math.inf):
        return f"The loss rose from {first:.3g} at the start to {last:.3g} (lowest {lowest:.3g})."
    return None


def _complete_collapse(e: Mapping, trace: _Trace) -> str | None:
    if "spread" not in e:
        return None
    spread = e["spread"]
    line = RELU_COMPLETE if e.get("never_negative") else COMPLETE
    narrow = not e.get("never_negative") and spread < NARROW and e.get("participation_ratio", math.inf) < FEW
    if spread < line or narrow:
        return f"Whatever the image, the output is nearly the same: only {_how_far(e)}."
    highest = e.get("spread_highest", 0.0)
    if spread < min(SMALL, FALLEN * highest):
        return f"Collapse in progress: the spread fell from {highest:.3g} to {spread:.3g}; {_how_far(e)}."
    if spread < HALF * highest and "knn" in e and e["knn"] < WORSE * e["knn_first"]:
        return (
            f"Collapse in progress: the spread fell from {highest:.3g} to {spread:.3g}, and the neighbours are worse "
            f"than those of the untrained network (kNN {e['knn_first']:.1%}, now {e['knn']:.1%})."
        )
    return None


def _cluster_collapse(e: Mapping, trace: _Trace) -> str | None:
    usage, information = e.get("usage"), e.get("information")
    if usage is not None and usage < ONE_CLUSTER:
        return f"Nearly all images are assigned to one cluster: {usage:.1%} of the possible entropy is used."
    if information is not None and information < ONE_CLUSTER / 10:
        return (
            "Every image is spread over the clusters in the same way: the assignment carries "
            f"{information:.2%} of the information it could."
        )
    return None


def _dimensional_collapse(e: Mapping, trace: _Trace) -> str | None:
    if "effective_rank" not in e:
        return None
    possible = e["directions_possible"]
    if min(e["effective_rank"], e["directions"]) < max(min(FEW, possible / 2), LOW_SHARE * possible):
        return f"Images still differ, but along very few directions: {_how_many(e)}; {_how_far(e)}."
    return None


def _drift(e: Mapping, trace: _Trace) -> str | None:
    # The size of the distance says little (most of a network's length never moves); its course does: behind a
    # learning rate that decays, an average catches up.
    values = trace.series("teacher_distance", after=YOUNG - 1)
    if e.get("steps", 0) < SLOW or len(values) < 5:
        return None
    if values[-1] > NOT_CAUGHT_UP * max(values):
        return (
            f"The teacher has not come closer to the student at any time: its parameters are {values[-1]:.1%} of the "
            f"student's length away, and were {values[0]:.1%} away at first."
        )
    return None


def _at_chance(e: Mapping, trace: _Trace) -> str | None:
    chance = e.get("chance_loss")
    if not chance or e.get("steps", 0) < FEW_STEPS or "loss" not in e or _knn_gain(e) > FLAT:
        return None
    if e["loss_lowest"] > (1 - AT_CHANCE) * chance:
        return (
            f"After {e['steps']:.0f} steps the loss is {e['loss']:.3f}, and equal embeddings would give "
            f"{chance:.3f}: nothing has been learned."
        )
    return None


def _shortcut(e: Mapping, trace: _Trace) -> str | None:
    chance = e.get("chance_loss")
    if not chance or "knn" not in e or "loss" not in e or e["steps"] < FEW_STEPS or _knn_gain(e) > FLAT:
        return None
    if e["loss"] < SOLVED * chance:
        return (
            f"The task is nearly solved (loss {e['loss']:.3g}, chance {chance:.3g}), but the neighbours are no better "
            f"than at the first measurement (kNN {e['knn_first']:.1%}, now {e['knn']:.1%}): something easier "
            "than the content of the images tells the pairs."
        )
    return None


_FINDINGS = {
    "not finite": _not_finite,
    "divergence": _divergence,
    "cluster collapse": _cluster_collapse,
    "complete collapse": _complete_collapse,
    "dimensional collapse": _dimensional_collapse,
    "teacher-student drift": _drift,
    "loss at chance": _at_chance,
    "shortcut": _shortcut,
}


def _knn_gain(e: Mapping) -> float:
    return e["knn"] - e["knn_first"] if "knn" in e else -math.inf


def _how_far(e: Mapping) -> str:
    std = f" (std {e['feature_std']:.3f}, where 1 is the most there can be)" if "feature_std" in e else ""
    return f"{100 * e['spread']:.3g} % of the squared length of the embeddings lies off their common direction{std}"


def _how_many(e: Mapping) -> str:
    return (
        f"an effective {e['effective_rank']:.1f} directions, {e['directions']:.0f} of them above noise, of "
        f"{e['directions_possible']:.0f} that {e['samples']:.0f} samples in {e['dimensions']:.0f} dimensions could show"
    )


def _healthy(e: Mapping) -> str:
    found = [f"{_how_many(e)}; {_how_far(e)}"] if "effective_rank" in e else []
    if "loss" in e:
        found.append(f"the loss went from {e['loss_first']:.3g} to {e['loss']:.3g} in {e['steps']:.0f} steps")
    return f"No sign of collapse: {'; '.join(found)}."


def _caveat(e: Mapping) -> str:
    if e.get("samples", math.inf) < SMALL_SAMPLE:
        return f" With {e['samples']:.0f} samples this is a small sample: repeat it with a few hundred."
    return ""


def _report(verdict: str, evidence: dict[str, float], explanation: str) -> CollapseReport:
    causes, try_first = _ADVICE[verdict]
    return CollapseReport(verdict, evidence, explanation, causes, try_first)
