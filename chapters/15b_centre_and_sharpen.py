# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15b · Centre and sharpen: which of the two stops which collapse?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/15b_centre_and_sharpen.ipynb)
#
# **After this chapter you can** write DINO's loss, derive how cold its teacher must be, detect both its collapses with
# one number, replace both devices by a coding rate (SimDINO), and say what Gram anchoring protects.
#
# **You need** [chapter 15](15_self_distillation.ipynb), of which this is an optional companion, and entropy.
# **Time**: 27 minutes to read, half a minute to run on two CPU cores. Nothing is downloaded.

# %% tags=["hide-input"]
try:
    import ssl_lessons
except ImportError:  # on Colab
    import re
    import subprocess
    import sys

    print("Installing, about half a minute")
    place = "git+https://github.com/ssl-lessons/ssl-lessons"
    pip = [sys.executable, "-m", "pip", "install", "-q", place]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        found = re.search("fatal: .*|ERROR: .*|Error: .*", done.stderr)
        reason = found[0] if found else done.stderr.strip()
        causes = {
            "unable to access": "there is no network, or it is blocked",
            "fatal: ": "the address does not exist, or needs a login",
            "": "pip failed",
        }
        cause = next(cause for sign, cause in causes.items() if sign in reason)
        message = f"{place} could not be installed: {cause} ({reason})"
        raise RuntimeError(message) from None
from ssl_lessons import book

device = book.setup("15b")

# %% [markdown]
# ## The puzzle: a teacher who sorts
#
# DINO ([Caron et al., 2021](https://arxiv.org/abs/2104.14294)) takes the predictor out of BYOL and changes what student
# and teacher exchange: not a direction, but an answer to *which of K drawers does this picture belong in?* Nobody says
# what the drawers are for. With logits $g_t, g_s$ $[N, K]$ of teacher and student for *different* views,
#
# $$P_t = \mathrm{softmax}\big((g_t - c)/\tau_t\big), \qquad P_s = \mathrm{softmax}(g_s/\tau_s), \qquad
# L = -\sum_k P_t[k]\log P_s[k] .$$
#
# Two devices stand where the predictor stood. **Centring**: $c$ $[K]$ is a running mean of the teacher's logits, taken
# off the *teacher's* side (equation 4). **Sharpening**: $\tau_t < \tau_s$. There are two ways to agree without looking:
# *one drawer takes all*, or *every picture gets a shrug*, $1/K$ for each drawer.
#
# > **Predict before you go on.** Four teachers: with both devices, with sharpening only, with centring only, with
# > neither. For each one say how it ends: one drawer, shrug, or healthy. (A guess gets all four right once in 81
# > times.)
#
# Here is DINO for matrices: pictures are 8-dimensional Gaussian vectors, a view adds noise, and the whole network is
# $g = Wx + b$ with 16 drawers. The teacher is the student of this moment.

# %%
import math
import statistics

import torch
import torch.nn.functional as F

from ssl_lessons import data, evaluation, plots
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch15
from ssl_lessons.diagnostics import uniformity
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.losses import clustering, distillation, rate_reduction
from ssl_lessons.losses.gram import gram_anchoring
from ssl_lessons.methods.dinov2 import DINOv2
from ssl_lessons.models import build_encoder
from ssl_lessons.training import pretrain, recipes

K, D, NOISE, BATCH, RATE = 16, 8, 0.5, 256, 0.01
STUDENT = 0.1  # temperature


# %%
def entropy(p: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(p).sum(dim=-1)


def sort(teacher=0.04, centre=True, size=0.01, steps=600):
    """Per step: |W|, |b| (centred over drawers), H of an answer, H of the mean, KL."""
    draw = torch.Generator().manual_seed(0)
    W = size * torch.randn(K, D, generator=draw)
    b, c, seen = size * torch.randn(K, generator=draw), torch.zeros(K), []
    for _ in range(steps):
        x = torch.randn(BATCH, D, generator=draw)
        x1, x2 = x + NOISE**0.5 * torch.randn(2, BATCH, D, generator=draw)
        g_s, g_t = x1 @ W.T + b, x2 @ W.T + b
        P = ((g_t - c) / teacher).softmax(dim=1)
        log_q = (g_s / STUDENT).log_softmax(dim=1)
        slope = (log_q.exp() - P) / STUDENT / BATCH  # of the loss, by the logits
        W, b = W - RATE * slope.T @ x1, b - RATE * slope.sum(dim=0)
        if centre:
            c = 0.9 * c + 0.1 * g_t.mean(dim=0)
        H = entropy(P).mean()
        kl = -(P * log_q).sum(dim=1).mean() - H
        sizes = (W - W.mean(dim=0)).norm(), (b - b.mean()).norm()
        parts = (*sizes, H, entropy(P.mean(dim=0)), kl)
        seen.append([float(v) for v in parts])
    return torch.tensor(seen)


# %%
TEACHERS = {
    "both": {},
    "sharpening only": {"centre": False},
    "centring only": {"teacher": STUDENT},
    "neither": {"teacher": STUDENT, "centre": False},
}
toy = {name: sort(**options) for name, options in TEACHERS.items()}

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2)
STYLES = dict(zip(TEACHERS, ("-", "--", "-.", ":"), strict=True))
for (name, seen), color in zip(toy.items(), plots.COLORS, strict=False):
    left.plot(seen[:, 2], STYLES[name], color=color, label=name)
    right.plot(seen[:, 4], STYLES[name], color=color)
left.axhline(math.log(K), color=plots.GRAY, linewidth=0.8)
left.set(title="Entropy of single answers (line: log K)", xlabel="step")
left.set(ylabel="nats", ylim=(-0.1, 4.3))
right.set(title="KL to the student: zero where nobody looks", xlabel="step")
right.set_ylabel("nats")
left.legend(fontsize=8, loc="upper right", ncols=2)
end = {name: seen[-50:].mean(dim=0) for name, seen in toy.items()}
log_k = math.log(K)
assert end["sharpening only"][3] < 0.05  # one drawer
for name in ("centring only", "neither"):
    assert end[name][2] > 0.99 * log_k and end[name][4] < 0.01  # shrug
assert end["both"][4] > 0.2 and 0.1 < end["both"][2] < end["both"][3] - 0.2
plots.show(
    fig,
    alt="Left: entropy of single answers; it falls to zero with sharpening only, "
    "rises to log K with centring only and with neither, and stays between with both. "
    "Right: the KL divergence of teacher and student goes to zero for all but both.",
)
for name, row in end.items():
    print(f"{name:16} H {row[2]:.2f}, H of the mean {row[3]:.2f}, KL {row[4]:.3f}")

# %% [markdown]
# Sharpening only: one drawer. Centring only and *neither*: a shrug. Only both together still tell pictures apart. The
# gradient of the loss by the student's logits is $(P_s - P_t)/\tau_s$; expand both softmaxes for small logits, and the
# derivation of chapter 15 comes back. Split $g = Wx + b$ into what depends on the picture and what does not:
#
# $$\dot W = \frac{1}{K\tau_s}\Big[\frac1{\tau_t} - \frac{1+\sigma^2}{\tau_s}\Big] W, \qquad
# \dot b = \frac{1}{K\tau_s}\Big[\frac{\text{0 with, 1 without centring}}{\tau_t} - \frac1{\tau_s}\Big] b .$$
#
# (The teacher sees view 2, so of $x_1$ only $x$ correlates with it; the student pays for its own noise.) Everything is
# in these two brackets:
#
# - **No centring**: the bracket of $b$ is larger than that of $W$, since a constant has no view noise. Sharpening feeds both, the
#   favourite grows faster than the pictures, and takes all.
# - **Centring** turns the bracket of $b$ negative, whatever the temperatures.
# - **No sharpening**, $\tau_t = \tau_s$: the bracket of $W$ is $-\sigma^2/\tau_s$. The pictures fade. Without centring $b$ stays
#   where it was: a shrug, or whatever constant you started with.
# - **Sharp enough** is a number: $\tau_t < \tau_s/(1+\sigma^2)$. The bracket falls short, or not, of view noise, as $\tau - (1 +
#   \sigma^2)p$ did for the predictor.

# %%
rates = {}
for name, options in TEACHERS.items():
    seen = sort(**options, size=1e-4, steps=30)
    cold = 1 / options.get("teacher", 0.04)
    grow_w = (cold - (1 + NOISE) / STUDENT) / (K * STUDENT)
    measured = (seen[25, 0] / seen[5, 0]).log().item() / (20 * RATE)
    grow_b = ((0 if options.get("centre", True) else cold) - 1 / STUDENT) / K / STUDENT
    fixed = (seen[25, 1] / seen[5, 1]).log().item() / (20 * RATE)
    rates[name] = (measured, grow_w, fixed, grow_b)
    print(f"{name:16} W {measured:+.2f} (theory {grow_w:+.2f})", end=", ")
    print(f"b {fixed:+.2f} (theory {grow_b:+.2f})")
    assert abs(measured - grow_w) < 0.1 * abs(grow_w)
    assert fixed * grow_b > 0 if grow_b else abs(fixed) < 0.3

# %%
colder, warmer = (0.06, 0.065), (0.07, 0.08)
warm = {t: sort(teacher=t, steps=1200)[-1, 4].item() for t in colder + warmer}
critical = STUDENT / (1 + NOISE)
print(f"teacher must be colder than {critical:.4f}; KL at the end:", end=" ")
print(", ".join(f"{t}: {kl:.3f}" for t, kl in warm.items()))
assert min(warm[0.06], warm[0.065]) > 0.02 > 0.005 > max(warm[0.07], warm[0.08])

# %% [markdown]
# The rates of $W$ fit; those of $b$ have the right sign (or hardly move, where theory says 0), and are up to 40 % off
# where there is a centre (a running mean; the formula has it at once). And the critical temperature is where theory
# puts it: healthy at 0.065, dead at 0.07. The paper reports collapse above a teacher temperature of 0.06 (appendix D),
# and the help text of its code, `main_dino.py`, calls anything above 0.07 unstable for most experiments, with the
# student at 0.1. Read with this formula, that would be views with a noise of two fifths to two thirds of their content.
# (A reading: their network is not a matrix, nor its views Gaussian.)
#
# ## DINO, written out
#
# The student also sees small crops; the teacher only the large ones. No view is compared with itself.


# %%
def my_dino_loss(student, teacher, center, tau_s=0.1, tau_t=0.04):
    """Lists of logits [N, K]; the teacher's are of the first of the student's views."""
    terms = []
    for i, g_t in enumerate(teacher):
        p = ((g_t - center) / tau_t).softmax(dim=1)
        for j, g_s in enumerate(student):
            if i != j:
                cross = -(p * (g_s / tau_s).log_softmax(dim=1)).sum(dim=1)
                terms.append(cross.mean())
    return sum(terms) / len(terms)


# %%
draw = torch.Generator().manual_seed(0)
logits, center = torch.randn(8, 5, K, generator=draw), torch.randn(K, generator=draw)
mine, theirs = (
    loss(list(logits), list(logits[:2]), center)
    for loss in (my_dino_loss, distillation.dino)
)
assert torch.allclose(mine, theirs)

# %% [markdown]
# Now real networks: the encoder of chapter 15, 250 batches of 128, 256 drawers, three seeds, AdamW; teachers at a
# temperature of 0.02, momentum 0.97 rising to 1. The vote of neighbours is taken at three heights: the features $h$,
# the bottleneck $z$ below the drawers, and the teacher's answers.

# %%
record, origin = book.recorded("self_distillation", world=2)


def of(arm: str, key: str = "probe", group: str = "dino") -> list:
    """One number per seed; none where the arm has no such number."""
    return book.per_seed(record, key, group=group, arm=arm)


def mean(arm: str, key: str = "probe", group: str = "dino"):
    values = of(arm, key, group)
    return statistics.fmean(values) if values else None


# %% tags=["hide-input"]
ARMS = {
    "dino": "DINO: both",
    "no centring": "sharpening only",
    "no sharpening": "centring only",
    "neither": "neither",
    "simdino": "SimDINO",
    "simdino, no rate": "SimDINO without the coding rate",
}
rows = [{"name": "chance", "probe": 0.1, "knn": 0.1}]
for arm, name in {
    "pixels": "raw pixels",
    "edges": "edges, no network",
    "untrained": "untrained, settled",
}.items():
    values = of(arm, group="floor")
    rows.append({"name": name, "probe": mean(arm, "probe", "floor"), "n": len(values)})
    rows[-1] |= {"spread": f"{min(values):.1%} to {max(values):.1%}"}
    rows[-1]["knn"] = mean(arm, "knn", "floor")
for arm, name in ARMS.items():
    values = of(arm)
    row = {"name": name, "n": len(values)}
    row |= {"spread": f"{min(values):.1%} to {max(values):.1%}"}
    keys = ("probe", "knn", "knn_z", "knn_answers", "mean_entropy", "entropy_of_mean")
    row |= {"verdict": ", ".join(sorted(set(of(arm, "verdict"))))}
    rows.append(row | {key: mean(arm, key) for key in (*keys, "kl", "spread_z")})
plots.table(
    rows,
    "After 250 steps (entropies: shares of log K, of the teacher's answers)",
    {"name": "teacher", "probe": "probe of h", "spread": "over seeds", "knn": "kNN, h",
     "knn_z": "kNN, z", "knn_answers": "kNN, answers", "mean_entropy": "single answers",
     "entropy_of_mean": "mean answer", "kl": "KL", "spread_z": "spread of z",
     "verdict": "diagnosis", "n": "seeds"},
    {"mean_entropy": ".2f", "entropy_of_mean": ".2f", "kl": ".3f", "spread_z": ".3f"}
    | {k: ".1%" for k in ("probe", "knn", "knn_z", "knn_answers")},
)  # fmt: skip
print(origin)

# %% tags=["hide-input"]
fig, axes = plots.new_figure(9.0, 3.0, 1, 3)
for arm, color, style in zip(
    list(ARMS)[:4], plots.COLORS, ("-", "--", "-.", ":"), strict=False
):
    trace = {k: [float(v) for v in t.split()] for k, t in of(arm, "trace")[0].items()}
    for ax, key in zip(axes, ("entropy", "kl", "knn"), strict=True):
        values = [100 * v if key == "knn" else v for v in trace[key]]
        ax.plot(trace["step"][1:], values[1:], style, color=color, label=ARMS[arm])
axes[0].set(title="Entropy of single answers", ylabel="nats")
axes[1].set(title="KL to the student", ylabel="nats")
axes[2].set(title="kNN on features h", ylabel="accuracy (%)")
for ax in axes:
    ax.set_xlabel("step")
axes[0].legend(fontsize=8)
plots.show(
    fig,
    alt="Entropy of the teacher's answers, KL divergence to the student, and kNN "
    "accuracy of the features over training, for DINO with both devices, sharpening "
    "only, centring only and neither; seed 0.",
)

# %%
gains = {}
for arm in ARMS:
    pairs = zip(of(arm), of("untrained", group="floor"), strict=True)
    gains[arm] = [a - b for a, b in pairs]
    print(f"{ARMS[arm]:32} probe minus untrained:", *(f"{g:+.1%}" for g in gains[arm]))
for arm, least in (("no sharpening", 0.97), ("neither", 0.75)):
    assert min(of(arm, "mean_entropy")) > least and max(of(arm, "kl")) < 0.05
assert mean("neither", "mean_entropy") < mean("no sharpening", "mean_entropy") - 0.01
assert mean("dino", "mean_entropy") < mean("neither", "mean_entropy") - 0.1
assert (
    max(of("simdino, no rate", "spread_z"))
    < 0.05
    < 0.5
    < min(of("simdino", "spread_z"))
)
assert min(gains["dino"]) > 0.03 and statistics.fmean(gains["simdino"]) < 0.03
certain, mean_answer = (
    of("no centring", k) for k in ("mean_entropy", "entropy_of_mean")
)
assert max(certain) < 0.02 and max(mean_answer) < 0.2 and sorted(mean_answer)[1] < 0.01
assert max(of("no centring", "knn_answers")) < 0.12
from_start = zip(of("no centring", "knn"), of("untrained", "knn", "floor"), strict=True)
gained = sorted(a - b for a, b in from_start)
assert abs(gained[0]) < 0.03 and gained[1] < 0.04 < 0.06 < gained[2]
assert mean("no sharpening", "knn_answers") > mean("dino", "knn_answers")

# %% [markdown]
# Read the floors first. DINO is clearly above the untrained encoder in every seed; SimDINO is not, so after 250 steps
# nothing can be said of its features. Edges win both columns in which they stand; raw pixels, too, beat DINO in the
# vote. Then the prediction. *Sharpening only*: certain answers, one drawer in two seeds, two drawers in the other (the
# one of the figure: its KL does not go to 0). *Centring only*: the shrug. *Neither*: a constant that is not quite flat,
# as the brackets would have it (the network's own $b$ was not measured). With one drawer the answers vote at chance,
# and the features are about as good as before training; only the seed with two drawers has learned more. The vote of
# the answers does not sort the rows: the shrug's is above DINO's.
#
# ### More time
#
# DINO's paper trains for hundreds of epochs. Here are runs of 3,000 batches; SimDINO, which the next section explains,
# in the same frame and with the same optimiser.

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.0, 2.9, 1, 2)
LONGER, lines, traces = {"dino": "DINO", "simdino": "SimDINO"}, [], {}
for (arm, name), style, color in zip(
    LONGER.items(), ("o-", "s--"), plots.COLORS, strict=False
):
    for seed, trace in enumerate(of(arm, "trace", "long")):
        seen = {k: [float(v) for v in text.split()] for k, text in trace.items()}
        traces.setdefault(name, seen)
        label = name if seed == 0 else None
        percent = [100 * v for v in seen["held_out"][1:]]
        left.plot(seen["step"][1:], percent, style, color=color, label=label, ms=4)
        right.plot(seen["step"][1:], seen["rank_z"][1:], style, color=color, ms=4)
    found = {k: of(arm, k, "long") for k in ("probe", "knn")}
    lines.append({"name": name, "n": len(found["probe"])})
    lines[-1] |= {
        k: " ".join(f"{v:.1%}" for v in values) for k, values in found.items()
    }
left.set(title="A probe on held-out pictures", xlabel="step", ylabel="accuracy (%)")
left.set_ylim(0, None)
right.set(
    title="Directions in use", xlabel="step", ylabel="RankMe of z", ylim=(0, None)
)
left.legend()
a, b = (traces[name]["held_out"][-1] for name in ("DINO", "SimDINO"))
plots.show(
    fig,
    alt="Left: the held-out probe along runs of 3,000 steps; DINO levels off at about "
    f"{a:.0%}, SimDINO's first run climbs to {b:.0%}. Right: RankMe of z, "
    f"{traces['DINO']['rank_z'][-1]:.0f} for DINO and "
    f"{traces['SimDINO']['rank_z'][-1]:.0f} for SimDINO.",
)
plots.table(
    lines,
    "On the test images after 3,000 steps, by seed (floors: see above)",
    {"name": "method", "n": "seeds", "probe": "probe", "knn": "kNN"},
)

# %%
late = {arm: of(arm, group="long") for arm in LONGER}
dino, rate = traces["DINO"], traces["SimDINO"]
assert min(late["simdino"]) > max(late["dino"]) + 0.1
assert abs(dino["held_out"][-1] - dino["held_out"][4]) < 0.04 and dino["rank_z"][-1] < 5
assert rate["held_out"][4] > rate["held_out"][1] + 0.1 and rate["rank_z"][-1] > 40
assert rate["held_out"][-1] > rate["held_out"][4] + 0.05
assert min(late["simdino"]) > max(of("edges", group="floor"))

# %% [markdown]
# So 250 steps were too short for SimDINO. DINO's one run stands still after a third, with three directions in use, as
# BYOL's does in chapter 15. SimDINO keeps some fifty (it had them at step 250, with nothing learned), climbs ever more
# slowly, and ends above the edges in the probe, not in the vote. (Settings of one short look, not tuned for long runs;
# a tuned DINO may do better.)
#
# ### Is the teacher better than its student?
#
# The paper finds the teacher's features ahead throughout training. Both networks are measured here with BatchNorm
# statistics of their own: those in a teacher are copied from the student, and wrong for its weights.

# %%
ahead, middle, begin = [], {"student": [], "teacher": []}, []
for trace in of("dino", "trace"):
    t = {k: [float(v) for v in text.split()] for k, text in trace.items()}
    inside = [i for i, step in enumerate(t["step"]) if 25 <= step <= 225]
    for who, values in middle.items():
        accuracies = t[f"knn_{who}"]
        values.append(sum(accuracies[i] for i in inside) / len(inside))
    ahead.append(middle["teacher"][-1] - middle["student"][-1])
    begin.append(t["knn_student"][0])  # after one step, by the same votes
print("teacher minus student, kNN, mean of the middle:", *(f"{d:+.1%}" for d in ahead))
assert min(ahead) < 0 and max(ahead) < 0.02

# %% [markdown]
# Not here: no seed has its teacher clearly ahead, and in two of three it lags. (250 steps; the paper's runs are a
# thousand times longer.)

# %% [markdown]
# ## SimDINO: one honest term instead of two devices
#
# [Wu et al. (2025)](https://arxiv.org/abs/2502.10385) ask what prototypes, centre and temperatures are for, and replace
# all of them. Student and teacher agree by cosine, and the embeddings of a batch, unit rows $Z$ $[N, D]$, shall have a
# high **coding rate**, about the nats you need to write a row down up to an error of size $\sqrt\varepsilon$:
#
# $$L = -\cos(z_s, z_t) - \gamma R(Z), \qquad R(Z) = \tfrac12\log\det\Big(I + \frac{D}{N\varepsilon}Z^\top Z\Big) = \tfrac12\sum_k\log\Big(1 + \frac{D}{N\varepsilon}\lambda_k\Big).$$
#
# $\lambda_k$ are the eigenvalues of $Z^\top Z$; unit rows fix their sum at $N$. So $R$ asks how evenly a fixed sum is
# shared out. Follow its gradient by $Z$: with $a = D/N\varepsilon$, a direction grows at the *relative* rate
# $\dot\lambda_k/\lambda_k = 2a/(1 + a\lambda_k)$, which is largest for the weakest one. Compare BYOL on its parabola:
# $\dot s/s = 2p\,[\dots]$ with $p = \sqrt s$ starts out smallest for the weakest.

# %%
N, EPS = 256, 0.05
point = F.normalize(torch.ones(N, D, dtype=torch.float64), dim=1)
even = torch.eye(D, dtype=torch.float64).repeat(N // D, 1)
clouds = {"a point": point, "every direction alike": even}
half_of = torch.cat([even[: N // 2], point[: N // 2]])
for name, z in (clouds | {"half of each": half_of}).items():
    eigenvalues = torch.linalg.eigvalsh(z.T @ z)
    mine = (1 + D / (N * EPS) * eigenvalues).log().sum() / 2
    assert torch.allclose(mine, rate_reduction.coding_rate(z, EPS))
    print(f"{name}: {mine:.2f} nats")
rate = rate_reduction.coding_rate
assert abs(rate(point, EPS) - math.log(1 + D / EPS) / 2) < 1e-9
assert abs(rate(even, EPS) - D / 2 * math.log(1 + 1 / EPS)) < 1e-9

# %% [markdown]
# A point has the lowest rate, $\tfrac12\log(1 + D/\varepsilon)$, an even cloud the highest,
# $\tfrac D2\log(1 + 1/\varepsilon)$. With the rate in the loss collapse costs something. With a ten-thousandth of its
# weight (the last row of the table) the spread of $z$ is next to nothing; the probes after 250 steps do not differ.
# [Chapter 16b](16b_one_number_for_a_cloud.ipynb) compares such numbers for a cloud.
#
# ## What became of DINO
#
# - **iBOT** ([Zhou et al., 2022](https://arxiv.org/abs/2111.07832)) plays the game for every *hidden patch* as well: the student sees
#   a blank, the teacher the patch, and the student names its drawer.
# - **DINOv2** ([Oquab et al., 2024](https://arxiv.org/abs/2304.07193)): both losses, Sinkhorn ([chapter
#   17](17_clustering.ipynb)) for the centring, 142 million curated pictures, and **KoLeo** ([Sablayrolles et al.,
#   2019](https://arxiv.org/abs/1806.03198)), $-\frac1n\sum_i\log\min_{j\ne i}\lVert z_i - z_j\rVert$: away from your
#   nearest neighbour.
# - **Registers** ([Darcet et al., 2024](https://arxiv.org/abs/2309.16588)): extra tokens, so that a large transformer
#   need not misuse patches of the background as memory. Not tested: the flaw appears in large models only. (DINO's
#   famous attention map, on a small scale: [chapter 23b](23b_what_a_place_knows.ipynb).)
# - **DINOv3** ([Siméoni et al., 2025](https://arxiv.org/abs/2508.10104)): in long training the loss for whole pictures
#   keeps improving while *patch* features get worse. **Gram anchoring** holds them: the cosines between patches,
#   $XX^\top$ for unit rows $X$ $[T, D]$, shall stay what they were for an earlier teacher, $GG^\top$; the patches may
#   turn as they like.

# %%
kind = torch.arange(16) // 8  # two kinds of patches
draw = torch.Generator().manual_seed(0)
flat = torch.eye(2, 32, dtype=torch.float64)[kind].repeat(20, 1, 1)
noise = torch.randn(20, 16, 32, generator=draw, dtype=torch.float64)
G = F.normalize(flat + 0.3 * noise, dim=2)  # [pictures, patches, D]
square = torch.randn(32, 32, generator=draw, dtype=torch.float64)
changed = {
    "all turned alike": G @ torch.linalg.qr(square).Q,
    "smeared over the picture": F.normalize(G + 1.5 * G.mean(1, keepdim=True), dim=2),
}
distance = {}
for name, X in changed.items():
    anchor = (X @ X.mT - G @ G.mT).square().mean()
    assert torch.isclose(anchor, gram_anchoring(X, G), atol=1e-12)
    moved = (X - G).square().sum(dim=2).mean()
    print(f"{name}: patches moved by {moved:.2f}, Gram loss {anchor:.3f}")
    distance[name] = moved.item()
assert distance["all turned alike"] > 5 * distance["smeared over the picture"]
turned, smeared = (gram_anchoring(X, G).item() for X in changed.values())
assert turned < 1e-12 < 0.1 < smeared

# %%
draw = torch.Generator().manual_seed(0)
bunch = torch.tensor([1.0, 0.0]) + 0.25 * torch.randn(40, 2, generator=draw)
before = uniformity(bunch)
bunch.requires_grad_()
for _ in range(300):
    (slope,) = torch.autograd.grad(distillation.koleo(bunch), bunch)
    bunch.data -= 0.1 * slope
print(f"KoLeo on a circle: uniformity {before:.2f} -> {uniformity(bunch.detach()):.2f}")
assert uniformity(bunch.detach()) < before - 0.5

# %% [markdown]
# KoLeo evens out a bunch (lower uniformity is more even). Turning moves every patch far and costs nothing; smearing
# moves them little, and is what the anchor sees. (These are numbers about a loss; training with the anchor is not
# tested here.)
#
# ### DINOv2, put together
#
# Its objective is a sum of parts that you have. With $h^v$ $[N, D]$ the student's vectors of the images in view $v$,
#
# $$L = L_{\mathrm{DINO}} + L_{\mathrm{iBOT}} + 0.1 \sum_{v=1}^{2} \mathrm{KoLeo}(h^v),$$
#
# with a head for images and one for patches. And Sinkhorn is a centring. Its plan is $\mathrm{diag}(u)\,
# e^{g_t/\tau_t}\,\mathrm{diag}(v)$; $u$ makes rows sum to 1, as a softmax does, so
#
# $$P_t = \mathrm{softmax}\big((g_t - c)/\tau_t\big), \qquad c = -\tau_t \log v :$$
#
# DINO's formula, with a centre that is not followed but *solved for*, in each batch. What is the difference? A mean
# taken off makes the logits even; the answers need not be. Even would be a sixteenth for each drawer.

# %%
liked = torch.linspace(-0.3, 0.3, K)  # some drawers are liked better,
eager = torch.linspace(0.02, 0.3, K)  # and about some the teacher is more outspoken
g_t = liked + eager * torch.randn(256, K, generator=draw)
centres = {
    "no centre": torch.zeros(K),
    "the mean": g_t.mean(dim=0),
    "Sinkhorn, 3 rounds": clustering.balancing_center(g_t, 0.04),
    "Sinkhorn, 50 rounds": clustering.balancing_center(g_t, 0.04, 50),
}
fullest = {}
for name, c in centres.items():
    P = ((g_t - c) / 0.04).softmax(dim=1)
    fullest[name] = P.mean(dim=0).max().item()
    print(f"{name}: {fullest[name]:.1%} of all answers in the fullest drawer")
assert torch.allclose(P, clustering.sinkhorn_knopp(g_t, 0.04, 50), atol=1e-5)
assert list(fullest.values()) == sorted(fullest.values(), reverse=True)
assert fullest["the mean"] > 2 / K
assert abs(fullest["Sinkhorn, 50 rounds"] - 1 / K) < 1e-3

# %% [markdown]
# The authors stop after three rounds: more even than the mean makes it, and not even. Does KoLeo's tenth change
# anything? Two runs from one start, with a transformer so small, and steps so few, that we ask no more than how far a
# picture is from its nearest neighbour among 512.

# %%
pictures = data.shapes("unlabeled", 16, 1024).images
policy = recipes.get_recipe("quick").policy.replace(size=16)
VIT = {"size": 16, "patch": 4, "dim": 48, "depth": 2, "heads": 2}
ADAM = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4, "batch_size": 64}


def nearest(encoder) -> float:
    h = F.normalize(evaluation.extract_features(encoder, pictures[:512]), dim=1)
    return torch.cdist(h, h).fill_diagonal_(9).amin(dim=1).mean().item()


gaps = {"start": [], "without KoLeo": [], "with KoLeo": []}
for seed in range(3):
    for name, weight in (("without KoLeo", 0.0), ("with KoLeo", 0.1)):
        torch.manual_seed(seed)
        method = DINOv2(build_encoder("vit", **VIT), koleo_weight=weight)
        if not weight:
            gaps["start"].append(nearest(method.encoder))
        settings = ADAM | {"steps": 40, "seed": seed, "progress": False}
        pretrain(method, pictures, method.views(policy), **settings)
        gaps[name].append(nearest(method.encoder.eval()))

# %%
for name, values in gaps.items():
    print(f"{name:14}", *(f"{v:.3f}" for v in values))
rows = list(zip(*gaps.values(), strict=True))
assert all(with_it > max(start, without) for start, without, with_it in rows)

# %% [markdown]
# With it, nearest pictures are farther apart than at the start and than without it, in all three seeds. That says what
# the term does, not whether the features are better: the comparison needs runs of hundreds of steps at least, and is
# **not tested** here. Curated pictures: [22d](22d_small_knobs.ipynb). The method is
# [`methods/dinov2.py`](https://github.com/ssl-lessons/ssl-lessons/blob/main/ssl_lessons/methods/dinov2.py), with a list
# of what the authors' code does otherwise.
#
# ## Two relatives: neighbours as targets, and teachers with labels
#
# **MSF** ([Koohpayegani et al., 2021](https://arxiv.org/abs/2105.07269)) lets BYOL's student predict the *neighbours*
# of its target too, in a queue of earlier targets. **ISD** ([Tejankar et al., 2021](https://arxiv.org/abs/2012.09259))
# asks student and teacher to find the same queue entries similar: contrast with soft answers. Same frame (one
# direction, constant momentum), three losses:

# %% tags=["hide-input"]
FRAME = {
    "itself": "the target itself (one-sided BYOL)",
    "5 neighbours": "its 5 neighbours (MSF)",
    "similarities": "its similarities to the queue (ISD)",
}
plots.table(
    [
        {
            "name": name,
            "probe": mean(arm, "probe", "neighbours"),
            "spread": " ".join(f"{v:.1%}" for v in of(arm, "probe", "neighbours")),
            "knn": mean(arm, "knn", "neighbours"),
            "rank": mean(arm, "effective_rank_z", "neighbours"),
        }
        for arm, name in FRAME.items()
    ]
    + [{"name": "untrained, settled", "probe": mean("untrained", "probe", "floor"),
        "knn": mean("untrained", "knn", "floor")}],
    "What the student predicts, 250 steps (chance 10 %; pixels and edges: see above)",
    {"name": "target", "probe": "probe", "spread": "by seed", "knn": "kNN",
     "rank": "effective rank of z"},
    {"probe": ".1%", "knn": ".1%", "rank": ".1f"},
)  # fmt: skip


# %%
def ahead_of(one: tuple[str, str], other: tuple[str, str], group: str) -> list[float]:
    """(arm, number) against (arm, number), seed by seed."""
    pairs = zip(of(*one, group), of(*other, group), strict=True)
    return [a - b for a, b in pairs]


itself = ("itself", "probe")
soft = ahead_of(("similarities", "probe"), itself, "neighbours")
near = ahead_of(("5 neighbours", "probe"), itself, "neighbours")
print("minus the target itself: similarities", *(f"{v:+.1%}" for v in soft), end="; ")
print("neighbours", *(f"{v:+.1%}" for v in near))
assert min(soft) > 0 and sorted(near)[1] > 0 and statistics.fmean(near) > 0.01

# %% [markdown]
# Similarities are ahead of the target itself in every seed, neighbours in two of three and on average. (One setting,
# 250 steps; for edges and pixels see above.)
#
# The word *teacher* comes from **knowledge distillation** ([Hinton et al., 2015](https://arxiv.org/abs/1503.02531)): a
# small student learns a large network's probabilities instead of labels. With a student of the teacher's size you have
# **born-again networks** ([Furlanello et al., 2018](https://arxiv.org/abs/1805.04770)). **Mean Teacher** ([Tarvainen
# and Valpola, 2017](https://arxiv.org/abs/1703.01780)) put the moving average in the chair: few labels, and agreement
# on pictures without any. Take away the last labels, and you stand before the puzzle of chapter 15.

# %% tags=["hide-input"]
LESSONS = {
    ("distillation", "teacher"): "a wide network, 2,000 labels (the teacher)",
    ("distillation", "labels"): "a small student, the same labels",
    ("distillation", "T=1"): "a small student, the teacher's answers",
    ("distillation", "T=4"): "a small student, softened answers (temperature 4)",
    ("distillation", "born_again"): "a wide student of the wide teacher",
    ("mean teacher", "labels only"): "40 labels only",
    ("mean teacher", "mean teacher"): "40 labels, agreement with the mean teacher",
    ("mean teacher", "mean teacher, average"): "the mean teacher itself",
}
plots.table(
    [
        {
            "name": name,
            "accuracy": mean(arm, key, "labelled"),
            "spread": " ".join(f"{v:.1%}" for v in of(arm, key, "labelled")),
        }
        for (arm, key), name in LESSONS.items()
    ],
    "With labels: test accuracy after 300 steps (chance 10 %)",
    {"name": "trained on", "accuracy": "mean", "spread": "by seed"},
    ".1%",
)
print(origin)

# %%
LED = {
    "answers minus labels": ("distillation", "T=1", "labels"),
    "softened answers minus labels": ("distillation", "T=4", "labels"),
    "born again minus its teacher": ("distillation", "born_again", "teacher"),
    "agreement minus 40 labels alone": ("mean teacher", "mean teacher", "labels only"),
}
led = {
    words: ahead_of((arm, a), (arm, b), "labelled")
    for words, (arm, a, b) in LED.items()
}
for words, values in led.items():
    print(f"{words}:", *(f"{v:+.1%}" for v in values))
plain, soft, again, agree = led.values()
assert (
    min(*plain, *soft) > 0.02 and max(again) < 0 and abs(statistics.fmean(agree)) < 0.02
)

# %% [markdown]
# The wide teacher's answers, softened or not, teach the small student more than the labels themselves, in every seed. A
# student of the teacher's own size stays below it after 300 steps. With 40 labels and 300 steps the mean teacher's
# agreement adds next to nothing. Whole networks trained *with* labels: do not compare these numbers with the probes
# above.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end.
#
# ### 1 · One number for both collapses (••, 8 minutes)
# `p` `[N, K]`, float, holds a teacher's answers, rows sum to 1 and may contain exact zeros. Return a number in nats, a
# float or scalar, that is 0 for *one drawer* and 0 for the *shrug* (indeed whenever all pictures get the same answer),
# and largest when every picture is sure of its drawer and the drawers are filled evenly.
#
# <details><summary>Hint 1</summary>Two entropies stand in the first figure and its printed lines. What is their difference in each collapse?</details>
# <details><summary>Hint 2</summary>Zero times log zero is zero: `torch.special.entr`.</details>


# %%
def answers_tell(p: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch15.check_answers_tell(answers_tell)

# %% [markdown]
# ### 2 · The highest rate that a small batch can have (••, 10 minutes)
# The even cloud above needs at least as many pictures as dimensions. What is the highest coding rate of `n` unit rows
# in `d` dimensions, for any `n` and `d` (ints), with `eps` a float? Return a float. What does the answer say about
# SimDINO with 64 pictures and 256 outputs?
#
# <details><summary>Hint 1</summary>How many eigenvalues can differ from zero, and what is their sum?</details>
# <details><summary>Hint 2</summary>The logarithm is concave.</details>


# %%
def highest_rate(n: int, d: int, eps: float) -> float:
    return NOT_ATTEMPTED


ch15.check_highest_rate(highest_rate)

# %% [markdown]
# ### 3 · Choose, and defend it with a number (•••, 8 minutes, on paper)
# Your views are noisy, $\sigma^2 = 1.5$, your student's temperature is 0.1. A colleague proposes a teacher at 0.05,
# "half of the student's, that is sharp enough"; another wants a student at 0.2 and the same teacher. Whom do you
# follow? Which of the two brackets decides, and what would you plot in the first hundred steps?
#
# ## Claims, tested
#
# Statement, source and rule stand in
# [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv). The quantities of the first
# two are no accuracies, so DINO itself must have learned.

# %%
floor = of("untrained", group="floor")


def against_dino(arm: str, key: str) -> Runs:
    return Runs(of(arm, key), of("dino", key), floor, learned=(of(arm), of("dino")))


book.claim("C-52a", drawn=against_dino("no centring", "entropy_of_mean"))
book.claim("C-52b", drawn=against_dino("no sharpening", "mean_entropy"))
book.claim("C-53", drawn=Runs(middle["teacher"], middle["student"], begin))

# %% [markdown]
# ## Further reading and a question
#
# [SwAV](https://arxiv.org/abs/2006.09882) balances its drawers by Sinkhorn, batch by batch, where DINO takes off a
# running mean: [chapter 17](17_clustering.ipynb). [Mugs](https://arxiv.org/abs/2203.14415) joins losses for pictures,
# neighbourhoods and groups.
#
# **Q.** DINO runs with a teacher at 0.09 and a student at 0.1. The entropy of single answers goes to $\log K$. A
# colleague adds "more centring". Will it help?
# <details><summary>Answer</summary>No. Centring stops the other collapse, and its target, a flat average, is already reached. Make the
# teacher colder: it must be below $\tau_s/(1+\sigma^2)$.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def answers_tell(p):
#     # What the drawer says about the picture: the mutual information of picture and drawer.
#     return entropy(p.mean(dim=0)) - entropy(p).mean()
#
#
# def highest_rate(n, d, eps):
#     r = min(n, d)  # that many directions, n / r in each
#     return r / 2 * math.log(1 + d / (r * eps))
#     # 64 pictures in 256 dimensions: a quarter of the directions at most. The rate is content; the other 192 are open to
#     # anything from batch to batch, which is no collapse, but the number cannot reach its maximum.
# ```
#
# 3: the critical temperature of the first is 0.1 / 2.5 = 0.04, so 0.05 shrugs. For a student at 0.2 it is 0.08, and
# 0.05 is cold enough. The bracket of $W$ decides. Plot the KL divergence of teacher and student beside the entropy: in
# the shrug it goes to 0.
