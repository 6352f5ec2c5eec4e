"""The findings of `diagnose`: where the lines are drawn, and one function for everything that can be wrong."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

from ssl_lessons.errors import InputError

# Lines drawn on embeddings.  All are scale-free, about unit-length rows minus their mean.
COMPLETE = 1e-3  # spread (1 - mean cosine) below which every image gives the same output
NARROW = 0.02  # spread that is this small *and* lies in fewer than FEW directions: nearly there
RELU_COMPLETE = 1e-4  # features without a negative entry share a mean by construction: untrained networks in
#                       good order spread by 0.03 to 0.2, by 0.001 without image normalization. No NARROW.
FEW = 3.0  # directions below which too little is left to tell images apart
LOW_SHARE = 0.01  # the same as a share of those possible, min(N - 1, D). Low, not to cry wolf: young
#                       SimSiam runs with a spread of 0.8 use only 2 % of 512 projector dimensions.
ONE_CLUSTER = 0.1  # share of the possible entropy (usage) or information left in the assignments
WHITENED = 0.01  # unevenness: 1 in samples of an isotropic Gaussian, 1e-5 if whitened, in bfloat16

# Lines drawn on the history of a run.
YOUNG = 20  # steps before which it is not judged: BatchNorm's running statistics still lag behind its weights
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


class Trace:
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


# ---- one function per finding: the words if it holds, else None ----------------------------------------------


def _not_finite(e: Mapping, trace: Trace) -> str | None:
    if e.get("losses_not_finite"):
        return f"{e['losses_not_finite']:.0f} of {e['steps']:.0f} losses are NaN or infinite."
    return None


def _divergence(e: Mapping, trace: Trace) -> str | None:
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


def _complete_collapse(e: Mapping, trace: Trace) -> str | None:
    if "spread" not in e:
        return None
    spread = e["spread"]
    line = RELU_COMPLETE if e.get("never_negative") else COMPLETE
    narrow = not e.get("never_negative") and spread < NARROW and e.get("participation_ratio", math.inf) < FEW
    if spread < line or narrow:
        return f"Whatever the image, the output is nearly the same: only {how_far(e)}."
    highest = e.get("spread_highest", 0.0)
    if spread < min(SMALL, FALLEN * highest):
        return f"Collapse in progress: the spread fell from {highest:.3g} to {spread:.3g}; {how_far(e)}."
    if spread < HALF * highest and "knn" in e and e["knn"] < WORSE * e["knn_first"]:
        return (
            f"Collapse in progress: the spread fell from {highest:.3g} to {spread:.3g}, and the neighbours are worse "
            f"than those of the untrained network (kNN {e['knn_first']:.1%}, now {e['knn']:.1%})."
        )
    return None


def _cluster_collapse(e: Mapping, trace: Trace) -> str | None:
    usage, information = e.get("usage"), e.get("information")
    if usage is not None and usage < ONE_CLUSTER:
        return f"Nearly all images are assigned to one cluster: {usage:.1%} of the possible entropy is used."
    if information is not None and information < ONE_CLUSTER / 10:
        return (
            "Every image is spread over the clusters in the same way: the assignment carries "
            f"{information:.2%} of the information it could."
        )
    return None


def _dimensional_collapse(e: Mapping, trace: Trace) -> str | None:
    if "effective_rank" not in e:
        return None
    possible = e["directions_possible"]
    if min(e["effective_rank"], e["directions"]) < max(min(FEW, possible / 2), LOW_SHARE * possible):
        return f"Images still differ, but along very few directions: {how_many(e)}; {how_far(e)}."
    return None


def _drift(e: Mapping, trace: Trace) -> str | None:
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


def _at_chance(e: Mapping, trace: Trace) -> str | None:
    chance = e.get("chance_loss")
    if not chance or e.get("steps", 0) < FEW_STEPS or "loss" not in e or _knn_gain(e) > FLAT:
        return None
    if e["loss_lowest"] > (1 - AT_CHANCE) * chance:
        return (
            f"After {e['steps']:.0f} steps the loss is {e['loss']:.3f}, and equal embeddings would give "
            f"{chance:.3f}: nothing has been learned."
        )
    return None


def _shortcut(e: Mapping, trace: Trace) -> str | None:
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


FINDINGS = {
    "not finite": _not_finite,
    "divergence": _divergence,
    "cluster collapse": _cluster_collapse,
    "complete collapse": _complete_collapse,
    "dimensional collapse": _dimensional_collapse,
    "teacher-student drift": _drift,
    "loss at chance": _at_chance,
    "shortcut": _shortcut,
}


def may_be_unsettled(e: Mapping) -> bool:
    """Nothing says that the network was trained, and its outputs are alike along many directions.

    So are those of an untrained network in evaluation mode whose BatchNorms have seen nothing: with three layers in
    the projector the spread is 2e-4 to 4e-4, along 5 directions and more by variance (settled: 0.6 and more).  A
    collapsed one may be like that as well: only settled statistics can tell.
    """
    return "steps" not in e and e.get("participation_ratio", 0.0) >= FEW


def blind_spots(e: Mapping) -> tuple[str, ...]:
    """What a diagnosis from this evidence cannot see, in sentences."""
    spots = []
    if e.get("unevenness", math.inf) < WHITENED:
        spots.append(
            "The embeddings are whitened: spread and rank are what they are by construction, also for noise and before "
            "training; only a probe can tell."
        )
    if "spread" in e and "steps" not in e:
        spots.append(
            "The mode was not told: in evaluation mode, BatchNorm statistics that are not settled make outputs alike."
        )
    if "knn" in e:
        spots.append("The kNN accuracy, and it alone, used labels: without it no shortcut is seen.")
    elif "steps" in e:
        spots.append("No labels were used: a shortcut is not seen.")
    elif "spread" in e:
        spots.append("No labels were used: useful and useless differences look the same.")
    return tuple(spots)


def _knn_gain(e: Mapping) -> float:
    return e["knn"] - e["knn_first"] if "knn" in e else -math.inf


def how_far(e: Mapping) -> str:
    """The spread of the embeddings in words."""
    std = f" (std {e['feature_std']:.3f}, where 1 is the most there can be)" if "feature_std" in e else ""
    return f"{100 * e['spread']:.3g} % of the squared length of the embeddings lies off their common direction{std}"


def how_many(e: Mapping) -> str:
    """Over how many directions they spread, in words."""
    return (
        f"an effective {e['effective_rank']:.1f} directions, {e['directions']:.0f} of them above noise, of "
        f"{e['directions_possible']:.0f} that {e['samples']:.0f} samples in {e['dimensions']:.0f} dimensions could show"
    )
