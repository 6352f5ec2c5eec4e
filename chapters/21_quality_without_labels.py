# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 21 · Quality without labels: which run would you keep if nobody gave you a single label?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/21_quality_without_labels.ipynb)
#
# **After this chapter you can**
#
# - compute RankMe, LiDAR and a rotation probe from unlabeled pictures, and say what each of them assumes;
# - say how well such a number orders runs, with Kendall's $\tau$, its interval, and what labels of another seed reach;
# - state what a choice without labels costs (the regret), beside a choice by lot and a choice with labels;
# - build, for nearly every measure, a representation that knows next to nothing and gets a top score.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb), the singular value decomposition, and the collapse of
# [chapter 20](20_collapse.ipynb).
# **Time**: 35 minutes to read, about 45 seconds to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("21")

# %% [markdown]
# ## The puzzle: five settings, no labels
#
# You have trained SimCLR with five settings, three times each, may keep one, and have no labels. You can measure the
# **features** $h = f(x)$, $[N, 256]$, which you will use later, or the **embeddings** $z = g(h)$, $[N, 128]$, which the
# loss compares. (T's projector $g$ ends in four numbers.) *Alignment*: how far two views of a picture lie apart
# (smaller looks better). *Uniformity*: how evenly the pictures spread (lower looks better). *RankMe*: over how many
# directions (more looks better).

# %%
import math
import statistics
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import data, diagnostics, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch21
from ssl_lessons.book.widgets import quality
from ssl_lessons.data.image_set import Factor
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.models import settle
from ssl_lessons.training import pretrain, recipes

# %%
record, origin = book.recorded("quality", world=2)
PUZZLE = {
    "P": ("temperature", "0.5"),
    "Q": ("length", "30 steps"),
    "R": ("augmentation", "no colour change"),
    "S": ("base", "SimCLR"),
    "T": ("projector", "output 4"),
}


def of(setting: tuple[str, str], key: str = "probe") -> list[float]:
    """One number per seed."""
    return book.per_seed(record, key, slice=setting[0], setting=setting[1])


def mean(setting: tuple[str, str], key: str = "probe") -> float:
    return statistics.fmean(of(setting, key))


# %% tags=["hide-input"]
SHOWN = {"loss": "loss", "alignment_own_z": "alignment of z"}
SHOWN |= {"uniformity_z": "uniformity of z", "rank_z": "RankMe of z"}
plots.table(
    [
        {"run": letter} | {key: mean(setting, key) for key in SHOWN}
        for letter, setting in PUZZLE.items()
    ],
    "Five settings seen without labels, mean of three seeds",
    {"run": "setting"} | SHOWN,
    {"loss": ".2f", "alignment_own_z": ".2f", "uniformity_z": ".2f", "rank_z": ".1f"},
)
print(origin)

# %% [markdown]
# > **Predict before you go on.** Which one do you keep (a guess is right once in five)? Which one learned nothing? Which
# > number did you trust?

# %% tags=["hide-input"]
FLOORS = {"raw pixels": ("floor", "pixels")}
FLOORS |= {"the encoder before training, settled": ("floor", "untrained")}


def spread(setting) -> str:
    low, high = 100 * min(of(setting)), 100 * max(of(setting))
    return f"{100 * mean(setting):.1f} ({low:.1f} to {high:.1f})"


plots.table(
    [{"run": "", "what": "chance", "probe": "10.0", "knn": 0.1}]
    + [
        {"run": k if k in PUZZLE else "", "what": k if k in FLOORS else " · ".join(s)}
        | {"probe": spread(s), "knn": mean(s, "knn")}
        for k, s in (FLOORS | PUZZLE).items()
    ],
    "With labels: a linear probe of h on 100 of them (mean and range over seeds), "
    "and the vote of neighbours among 2,000 (kNN)",
    {"run": "setting", "what": "what it was", "probe": "probe (%)", "knn": "kNN"},
    {"knn": ".0%"},
)

# %%
best = {"loss": min, "alignment_own_z": min, "uniformity_z": min, "rank_z": max}
kept = {
    key: choose(PUZZLE, key=lambda letter: mean(PUZZLE[letter], key))
    for key, choose in best.items()
}
print("kept by", kept)
colourless, base = PUZZLE["R"], PUZZLE["S"]
untrained = FLOORS["the encoder before training, settled"]
assert kept == dict.fromkeys(best, "R") | {"alignment_own_z": "T"}
assert max(of(colourless)) < min(of(untrained)) and mean(colourless) < 0.12
order = sorted(PUZZLE, key=lambda letter: -mean(PUZZLE[letter]))
assert order == ["P", "S", "Q", "T", "R"] and max(of(base)) > min(of(PUZZLE["P"]))
pixels = FLOORS["raw pixels"]
assert mean(pixels, "knn") > max(mean(s, "knn") for s in PUZZLE.values())
floors = max(of(pixels) + of(untrained))
assert [k for k, s in PUZZLE.items() if min(of(s)) > floors] == ["P", "Q", "S", "T"]

# %% [markdown]
# By the vote of neighbours raw pixels beat all five settings; these are short runs. By the probe four of five beat both
# floors. P and S tie (their ranges overlap). Loss, uniformity and RankMe keep **R, the one that learned nothing the
# labels ask for**: below its own encoder before training, and a point above chance. Alignment keeps T, the second worst
# in the mean. Without colour changes the views of a picture share their colours and the task is easy (the lowest loss);
# presumably colours spread pictures over many directions.
#
# ## Idea 1: count the directions
#
# Let $Z$, $[N, D]$, hold the embeddings of $N$ pictures, with singular values $\sigma_1\ge\dots\ge\sigma_r$,
# $r=\min(N, D)$. The *classical rank* counts those above a threshold, and depends on the threshold. [Roy and Vetterli
# (2007)](https://ieeexplore.ieee.org/document/7098875) count by entropy; with a guard against $\log 0$ that is
# **RankMe** ([Garrido et al., 2023](https://arxiv.org/abs/2210.02885), equation 1, where $Z$ are the embeddings of the
# training pictures):
#
# $$p_k = \frac{\sigma_k}{\sum_j \sigma_j} + 10^{-7}, \qquad \text{RankMe}(Z) = \exp\Big(-\sum_k p_k\log p_k\Big).$$
#
# It runs from 1 (all points on one line through the origin; nothing is centred) to $r$ (all alike): T can have at most
# 4. The authors restrict it to runs of one method. Two relatives look at the features: **$\alpha$-ReQ** ([Agrawal et
# al.,
# 2022](https://papers.nips.cc/paper_files/paper/2022/hash/70596d70542c51c8d9b4e423f4bf2736-Abstract-Conference.html))
# fits eigenvalues of the covariance by $\lambda_k \sim k^{-\alpha}$ and likes $\alpha$ near 1; [Li et al.
# (2022)](https://arxiv.org/abs/2209.15007) take the **area under the cumulative spectrum**, near 1/2 for directions
# that are all alike and 1 if one has everything.


# %%
def rank_me(z: torch.Tensor) -> float:
    """z [N, D] -> from 1 to min(N, D)"""
    sigma = torch.linalg.svdvals(z.double())
    p = sigma / sigma.sum() + 1e-7
    return float((-(p * p.log()).sum()).exp())


def above(z: torch.Tensor, threshold: float) -> int:
    sigma = torch.linalg.svdvals(z.double())
    return int((sigma > threshold * sigma[0]).sum())


draw = torch.Generator().manual_seed(0)
k = torch.arange(1, 65, dtype=torch.float64)
clouds = {
    a: torch.randn(2000, 64, generator=draw, dtype=torch.float64) * k ** (-a / 2)
    for a in (0.0, 1.0, 3.0)
}
for z in clouds.values():
    assert math.isclose(rank_me(z), diagnostics.rank_me(z))
entropies = {a: math.log(rank_me(z)) for a, z in clouds.items()}
assert max(entropies.values()) < 4.2 < 60 < rank_me(clouds[0.0])  # mind the exp

# %% tags=["hide-input"]
plots.table(
    [
        {"cloud": f"{a:g}", "rank": rank_me(z), "loose": above(z, 0.1),
         "tight": above(z, 1e-3), "alpha": diagnostics.alpha_req(z),
         "area": diagnostics.spectrum_area(z)}
        for a, z in clouds.items()
    ],
    "Gaussian clouds of 2,000 points in 64 dimensions, eigenvalue k ~ k^-a",
    {"cloud": "a", "rank": "RankMe", "loose": "above 0.1 of the largest",
     "tight": "above 0.001", "alpha": "alpha", "area": "area"},
    ".2f",
)  # fmt: skip
assert all(above(z, 1e-3) == 64 for z in clouds.values())

# %% [markdown]
# **Why should more directions be better?** With few directions a linear probe *cannot* fit most labelings ([Cover,
# 1965](https://doi.org/10.1109/PGEC.1965.264137)): rank is necessary for answering many questions. Is it sufficient?
# Let the label depend on five directions, $y = \mathrm{sign}(x_1 + \dots + x_5)$, give a linear classifier 100 points,
# and add directions that have nothing to do with it.


# %%
def with_irrelevant(D: int, points: int = 100, repeats: int = 40) -> float:
    """Accuracy on new points of least squares on D directions, five relevant."""
    g = torch.Generator().manual_seed(D)
    x = torch.randn(repeats, 2 * points, D, generator=g)
    y = x[:, :, :5].sum(dim=2, keepdim=True).sign()
    w = torch.linalg.pinv(x[:, :points]) @ y[:, :points]
    right = (x[:, points:] @ w).sign() == y[:, points:]
    return right.float().mean().item()


sizes = (5, 10, 20, 40, 60, 80, 100, 140)
new = {D: with_irrelevant(D) for D in sizes}
assert new[5] > 0.9 > new[60] and min(new, key=new.get) == 100
assert abs(new[100] - 0.53) < 0.02 and 0.62 < new[140] < new[20]

# %% tags=["hide-input"]
fig, ax = plots.new_figure(5.6, 2.6)
ax.plot(sizes, [100 * v for v in new.values()], "o-", color=plots.COLORS[0])
ax.axhline(50, color=plots.GRAY, linestyle=":")
ax.set(title="For plain least squares, idle directions cost accuracy", ylim=(45, 100))
ax.set(xlabel="directions, five of them relevant", ylabel="accuracy, new points (%)")
plots.show(
    fig,
    alt="Accuracy on new points against the number of directions: "
    + ", ".join(f"{D}: {v:.0%}" for D, v in new.items())
    + ".",
)

# %% [markdown]
# Every cloud has full rank, and idle directions cost accuracy, most of all where directions equal points. **High rank
# is not enough: it matters which directions.**
#
# ## Idea 2: ask for more than variance
#
# **Survive the augmentation.** A direction in which two views of *one* picture differ as much as two pictures is noise.
# **LiDAR** ([Thilak et al., 2024](https://arxiv.org/abs/2312.04000)) weighs directions as linear discriminant analysis
# does, with "picture" as the class. With $z_{ij}$ view $j$ of picture $i$, $n$ pictures of $q$ views, $\mu_i$ the mean
# over the views, $\mu$ the mean of all, $\delta$ small:
#
# $$\Sigma_b = \tfrac1n\sum_i(\mu_i-\mu)(\mu_i-\mu)^\top,\qquad \Sigma_w = \tfrac1{nq}\sum_{i,j}(z_{ij}-\mu_i)(z_{ij}-\mu_i)^\top + \delta I,$$
#
# and LiDAR is the exponential of the entropy of the eigenvalues of $\Sigma_w^{-1/2}\,\Sigma_b\,\Sigma_w^{-1/2}$, as
# shares.


# %%
def lidar(z: torch.Tensor, delta: float = 1e-4) -> float:
    """z [n pictures, q views, D] -> from 1 to min(n - 1, D)"""
    z = z.double()
    means = z.mean(dim=1)
    between = means - means.mean(dim=0)
    within = (z - means[:, None]).flatten(0, 1)
    noise = within.T @ within / len(within) + delta * torch.eye(z.shape[2])
    values, vectors = torch.linalg.eigh(noise)
    half = vectors / values.sqrt() @ vectors.T  # noise^(-1/2)
    share = torch.linalg.eigvalsh(half @ (between.T @ between / len(z)) @ half)
    share = share.clamp_min(0).flip(0)[: min(len(z) - 1, z.shape[2])]
    p = share / share.sum() + 1e-7
    return float((-(p * p.log()).sum()).exp())


# %%
def toy(signal: int, wobble: int, D: int = 40, n: int = 300, q: int = 10):
    """Pictures differ along `signal` directions, views along `wobble` others."""
    g = torch.Generator().manual_seed(1)
    z = 0.01 * torch.randn(n, q, D, generator=g)
    z[:, :, :signal] += torch.randn(n, 1, signal, generator=g)
    z[:, :, signal : signal + wobble] += torch.randn(n, q, wobble, generator=g)
    return z


toys = {
    "10 signal": toy(10, 0),
    "10 signal, 20 wobble": toy(10, 20),
    "nothing but wobble": toy(0, 40),
}
for z in toys.values():
    assert math.isclose(lidar(z), diagnostics.lidar(z), rel_tol=1e-6)

# %% tags=["hide-input"]
plots.table(
    [{"c": c, "r": rank_me(z[:, 0]), "l": lidar(z)} for c, z in toys.items()],
    "Three clouds in 40 dimensions",
    {"c": "large directions", "r": "RankMe", "l": "LiDAR"},
    ".1f",
)
middle, last = (toys[c] for c in ("10 signal, 20 wobble", "nothing but wobble"))
assert rank_me(middle[:, 0]) > 20 and lidar(middle) < 11 and lidar(last) > 36

# %% [markdown]
# To LiDAR ten directions of signal and twenty of wobble are ten. But if *all* directions wobble, LiDAR reports nearly
# full rank: it compares directions with each other, never with zero (exercise 3).
#
# **Together, and spread.** [Wang and Isola (2020)](https://arxiv.org/abs/2005.10242) split a contrastive loss in
# two: **alignment**, the mean squared distance of unit-length pairs, and **uniformity**, the log of the mean of
# $e^{-2\|z_i-z_j\|^2}$. A constant is perfectly aligned, noise perfectly uniform.
#
# **A question with free answers.** Turn pictures by 0 to 3 quarters and let a linear classifier read the angle from
# frozen $h$. [Reed et al. (2021)](https://arxiv.org/abs/2009.07724) report a rank correlation above 0.94 with labels
# over hundreds of policies and settings. It assumes that pictures have an up.
#
# **Shape.** How many dimensions has the cloud *locally*? CLID ([Lu et al., 2023](https://arxiv.org/abs/2206.01251))
# calls a high dimension expressive, and adds how easily neighbours tell the clusters of k-means (CL). IdEst ([Mordacq
# et al., 2026](https://arxiv.org/abs/2606.03338)) measures the dimension by minimum spanning trees, and there a *low*
# one goes with good probes. Opposite signs. (Both on $h$; CLID here is the mean of a setting's places by CL and by the
# TwoNN dimension, our combination.) Last, **SIGReg** ([Balestriero and LeCun, 2025](https://arxiv.org/abs/2511.08544)):
# how far $z$, centred and divided by one number, is from a round Gaussian.


# %%
def rotation_probe(features, images: torch.Tensor) -> float:
    """features: uint8 images -> [N, D].  0 = chance, 1 = right on all new pictures."""
    turned = torch.cat([torch.rot90(images, k, (2, 3)) for k in range(4)])
    h, angle = features(turned), torch.arange(4).repeat_interleave(len(images))
    first = (torch.arange(len(images)) < len(images) // 2).repeat(4)
    old, new = ({"angle": Factor(angle[w], "categorical")} for w in (first, ~first))
    return evaluation.factor_probe(h[first], old, h[~first], new)["angle"]


# %% [markdown]
# ## Idea 3: compare two orders, and know what noise allows
#
# With $n$ settings, **Kendall's tau** ([Kendall, 1938](https://doi.org/10.1093/biomet/30.1-2.81)) is
#
# $$\tau = \frac{\#\{\text{pairs ordered alike}\} - \#\{\text{pairs ordered oppositely}\}}{n(n-1)/2},$$
#
# and $(1+\tau)/2$ is the chance that it picks the better of two. Its uncertainty: draw the $n$ settings again *with
# replacement*, 2,000 times, and keep the middle 90 % (the bootstrap).


# %%
def tau(x, y) -> float:
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    agree = (x[:, None] - x).sign() * (y[:, None] - y).sign()  # [n, n]: +1, -1, 0
    return float(agree.sum()) / (len(x) * (len(x) - 1))


g = torch.Generator().manual_seed(2)
x_toy = torch.randn(400, generator=g)
y_toy = 0.8 * x_toy + 0.6 * torch.randn(400, generator=g)
simulated = {
    n: quality.tau_interval(list(x_toy[:n]), list(y_toy[:n])) for n in (5, 22, 400)
}
exact = 2 * math.asin(0.8) / math.pi
for n, found in simulated.items():
    assert math.isclose(found.tau, tau(x_toy[:n], y_toy[:n]), abs_tol=1e-9)
    print(f"{n:>3} settings: tau {found}, truth {exact:+.2f}")
width = {n: found.high - found.low for n, found in simulated.items()}
assert width[5] > 0.7 > 0.2 > width[400] and width[22] > 0.25

# %% [markdown]
# Five settings tell next to nothing; twenty-two leave a wide interval. Nor are the settings below independent draws
# (they share a recipe, seeds and test pictures), so true intervals are wider.
#
# The probe has noise too. Order the settings by the probe of one seed and compare with the probe of *another* seed:
# that $\tau$, the **ceiling**, is what a measure as noisy as the labels themselves would reach (exercise 4).

# %%
groups = quality.parts(record)
EVERYTHING, FIXED, POLICIES = quality.EVERYTHING, quality.FIXED, quality.POLICIES


def probes(part: str, key: str = "probe") -> torch.Tensor:
    """[settings, seeds]"""
    return quality.column(record, groups[part], key)


ceiling = {part: quality.to_another_seed(probes(part), probes(part)) for part in groups}
for part in (EVERYTHING, FIXED, POLICIES, quality.METHODS):
    print(f"{part}, {len(groups[part])} settings: ceiling {ceiling[part]:+.2f}")
assert 0.65 < ceiling[EVERYTHING] < 0.85

# %% [markdown]
# ## The run: two settings, live
#
# Two members of the sweep, 60 steps each: S, and R, which changes no colours.

# %%
recipe = recipes.get_recipe("quick")
unlabeled = data.shapes("unlabeled", n=8192)
train, test = data.shapes("train", n=2000), data.shapes("test", n=2000)
policies = {
    "SimCLR": recipe.policy,
    "no colour change": recipe.policy.replace(jitter_p=0.0, grayscale_p=0.0),
}
methods, losses = {}, {}
for name, policy in policies.items():
    methods[name] = recipe.build(seed=0)
    history = pretrain(
        methods[name], unlabeled.images, (policy, policy), steps=60, seed=0,
        **recipe.training(),
    )  # fmt: skip
    losses[name] = statistics.fmean(row["loss"] for row in history[-20:])
    methods[name].eval()


# %%
@torch.no_grad()
def through(network, x: torch.Tensor) -> torch.Tensor:
    """Normalized pictures, in batches, through h or z."""
    return torch.cat([network(batch) for batch in x.split(500)])


def probe_of(features) -> float:
    h, h_test = features(train.images), features(test.images)
    rows = evaluation.label_efficiency(
        h, train.labels, h_test, test.labels, per_class=(10,), draws=3
    )
    return rows[0]["mean"]


# %%
def look_at(name: str) -> dict:
    method, x = methods[name], views.normalize(unlabeled.images[:1000])
    draw = torch.Generator().manual_seed(0)
    seen = views.make_views(unlabeled.images[:150], [policies[name]] * 6, draw)
    z = torch.stack([through(method.embed, v) for v in seen], dim=1)
    features = partial(evaluation.extract_features, method.encoder)
    return {
        "loss": losses[name],
        "rank": rank_me(through(method.embed, x)),
        "lidar": lidar(z),
        "low": diagnostics.mst_dimension(through(method.encoder, x)),
        "rotation": rotation_probe(features, unlabeled.images[:1200]),
        "probe": probe_of(features),
    }


live = {name: look_at(name) for name in methods}

# %% tags=["hide-input"]
plots.table(
    [{"run": name} | row for name, row in live.items()],
    "Two settings after 60 steps, one seed",
    {"run": "setting", "loss": "loss", "rank": "RankMe of z", "lidar": "LiDAR of z",
     "low": "tree dimension of h", "rotation": "rotation", "probe": "probe"},
    {"rank": ".0f", "lidar": ".0f", "probe": ".1%", "loss": ".2f", "rotation": ".2f",
     "low": ".1f"},
)  # fmt: skip
good, bad = live["SimCLR"], live["no colour change"]
assert good["probe"] > bad["probe"] + 0.04
assert good["rotation"] > bad["rotation"] + 0.01
assert good["loss"] > bad["loss"] and good["rank"] < bad["rank"]
assert good["low"] > bad["low"]
assert abs(good["probe"] - of(("length", "60 steps"))[0]) < 0.06
assert min(of(colourless, "lidar_own_z")) > max(of(base, "lidar_own_z"))

# %% [markdown]
# Loss, RankMe and dimension (a *low* one being good) prefer the setting that learned nothing the labels ask for. LiDAR
# prefers SimCLR here (one seed), and the other one once both have run the recipe's 120 steps (record).
#
# ## The sweep
#
# The record: 22 SimCLR settings, each the quick recipe (120 steps) with one choice changed: temperature, policy,
# projector, length, learning rate; and 8 other methods. Three seeds each, the same for all. Measures are turned so that
# more should be better. $\tau$ is of the settings' means over the seeds. **One to another**: the measure in one seed,
# the probe in another, mean of the six ordered pairs. **Regret**: in each of the six slices (one choice changed) and
# each seed, the probe of the best setting minus that of the pick, in points; then the mean of all. **Held-out labels**:
# the probe fitted on 100 labels of one half of the train pictures, scored on the other thousand.

# %%
names = (*quality.MEASURES, *quality.COMBINED)
score = {(n, p): quality.goodness(n, record, groups[p]) for n in names for p in groups}
held = "probe on held-out labels"
score |= {(held, part): probes(part, "held_out") for part in groups}
slices = [part for part in groups if part not in (EVERYTHING, FIXED)]
taus = {key: quality.agreement(s, probes(key[1])) for key, s in score.items()}
lost = {
    (name, part): 100 * statistics.fmean(quality.regrets(s, probes(part)))
    for (name, part), s in score.items()
}
regret = {n: statistics.fmean(lost[n, part] for part in slices) for n in (held, *names)}
top = {part: probes(part).max(dim=0).values.mean() for part in slices}
by_lot = statistics.fmean(100 * float(top[p] - probes(p).mean()) for p in slices)
default = statistics.fmean(100 * float(top[p] - probes(p)[0].mean()) for p in slices)

# %% tags=["hide-input"]
single = [n for n in names if n != "rotation and RankMe"]
METHODS = quality.METHODS


def line(n: str) -> dict:
    row = {"name": n, "all": str(taus[n, EVERYTHING]), "regret": regret[n]}
    row["other"] = quality.to_another_seed(score[n, EVERYTHING], probes(EVERYTHING))
    return row | {"methods": str(taus[n, METHODS])}


plots.table(
    [
        {"name": "the probe itself, of another seed", "other": ceiling[EVERYTHING]},
        *map(line, (held, *sorted(single, key=lambda n: -taus[n, EVERYTHING].tau))),
        {"name": "a setting by lot", "regret": by_lot},
        {"name": "always the recipe", "regret": default},
    ],
    "Does it order settings as the probe does, and what does its pick cost?",
    {"name": "measure", "all": f"tau, {len(groups[EVERYTHING])} SimCLR settings",
     "other": "one to another", "methods": f"tau, {len(groups[METHODS])} methods",
     "regret": "regret"},
    {"other": "+.2f", "regret": ".1f"},
)  # fmt: skip
print(origin)

# %%
rotation, common = "rotation probe", "alignment of h, common views"
ranked = sorted(single, key=lambda n: -taus[n, EVERYTHING].tau)
assert ranked[:2] == [rotation, common]
assert taus[rotation, EVERYTHING].low > max(taus[n, EVERYTHING].tau for n in ranked[1:])
assert regret[held] < 0.3 < 1.3 < regret[rotation] < regret[common] < 2
assert max(single, key=lambda n: taus[n, METHODS].tau) == rotation
assert taus[rotation, METHODS].low < taus["RankMe of z", METHODS].tau
wrong = quality.regrets(score[rotation, POLICIES], probes(POLICIES))
assert sorted(wrong)[:2] == [0, 0] and abs(max(wrong) - 0.117) < 0.001
assert lost[held, POLICIES] == lost[common, POLICIES] == 0
spectral = [n for n in single if n.startswith(("RankMe", "alpha", "spectrum", "LiDAR"))]
assert all(taus[n, EVERYTHING].low <= 0.01 for n in spectral)
worse = [n for n in single if regret[n] > by_lot]
print(f"{len(worse)} of {len(single)} choose worse than a lot:", *worse, sep="\n  ")
assert len(worse) == 7 and regret["RankMe of h"] < by_lot + 1
assert all(9 < regret[n] < 12 for n in worse if n != "RankMe of h")
assert max(single, key=lambda n: line(n)["other"]) == rotation
wide = [s for s in groups[EVERYTHING] if s[0] != "projector"]
without = [quality.column(record, wide, key) for key in ("rank_z", "probe")]
without = quality.agreement(*without)
print("RankMe of z without the narrow projectors (4, 16, hidden 16):", without)
assert without.low < 0 and abs(without.tau - 0.19) < 0.01

# %% [markdown]
# **Among the measures without labels the rotation probe comes first in every column**, and clearly so for $\tau$ over
# the 22: its interval lies above every other estimate. Over methods, and in regret (beside alignment of $h$), the lead
# is within noise. Among policies, where its authors use it, one seed of three takes a wrong one, far below the best.
# **Over the 22, no measure of the spectrum has an interval clearly above zero, RankMe of $z$ included.** (Three
# settings cannot have a RankMe above 4, 16 and 17; without them it does no better. Losses of different methods are
# different functions: their order means nothing.)

# %% tags=["hide-input"]
chosen = (held, rotation, common, "RankMe of z", "low tree dimension of h", "loss")
plots.table(
    [{"n": n} | {part: lost[n, part] for part in slices} for n in chosen]
    + [
        {"n": "a setting by lot"}
        | {part: 100 * float(top[part] - probes(part).mean()) for part in slices}
    ],
    "Regret by slice, points of probe accuracy, mean of three seeds",
    {"n": "picked by"} | {part: f"{part} ({len(groups[part])})" for part in slices},
    ".1f",
)
# what the questions under "Play" ask for
assert abs(taus["RankMe of z", "temperature"].tau - 0.6) < 0.01
assert [p for p in slices if taus["loss", p].tau == 1] == ["length", "projector"]
assert taus["SIGReg of z", FIXED].tau < 0.1 and lost["SIGReg of z", FIXED] == 0

# %%
spot_on = [part for part in slices if lost["RankMe of z", part] == 0]
print("RankMe of z finds the best setting in every seed of:", *spot_on)
assert set(spot_on) == {"temperature", "length", "projector", METHODS}
assert {n for n in chosen if lost[n, "length"] > 0} == {common}
assert max(groups[METHODS], key=lambda s: mean(s, "rank_z")) == ("method", "vicreg")
slow = groups["learning rate"].index(("learning rate", "0.001"))
assert (score["RankMe of z", "learning rate"].argmax(dim=0) == slow).all()
assert max(groups[POLICIES], key=lambda s: mean(s, "rank_z")) == colourless
assert lost["RankMe of z", POLICIES] > 15 and lost["RankMe of z", FIXED] > 27
young = mean(untrained, "rank_z")
assert young > max(mean(s, "rank_z") for part in groups for s in groups[part]) + 5
by_h = sorted((mean(s, "rank_h") for s in groups[EVERYTHING]), reverse=True)
assert mean(untrained, "rank_h") > 170 > by_h[0] > 138 and by_h[1] < 112
assert by_h[0] == mean(("learning rate", "0.001"), "rank_h")

# %% [markdown]
# In temperature, length and projector RankMe finds the best setting in every seed. (In projector the three rivals are
# too narrow.) It also picks the best of nine methods (VICReg, whose loss asks for spread), a use its authors rule out.
# Among policies it takes R, in two seeds. Among learning rates, and among all 15 settings of one policy, it takes the
# smallest rate.

# %%
length = {int(mean(s, "steps")): s for s in (untrained, *groups["length"])}
length = dict(sorted(length.items()))
ranks = {step: mean(s, "rank_z") for step, s in length.items()}
print("RankMe of z by steps:", {step: round(r, 1) for step, r in ranks.items()})
assert ranks[0] > 95 and ranks[30] < 10.5
assert [*ranks.values()][1:] == sorted([*ranks.values()][1:])

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(8.4, 2.7, 1, 2)
for ax, key, scale in ((left, "rank_z", 1), (right, "probe", 100)):
    for i in range(3):
        ax.plot(
            [max(10, step) for step in length],
            [scale * of(s, key)[i] for s in length.values()],
            "o-", color=plots.COLORS[0], alpha=0.6, markersize=4,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks([10, 30, 60, 120, 240, 480], ["0", "30", "60", "120", "240", "480"])
    ax.minorticks_off()
    ax.set(xlabel="training steps (0 not to scale)", ylim=(0, None))
left.set(title="The rank falls, then rises", ylabel="RankMe of z (dimensions)")
right.set(title="The probe rises in the mean", ylabel="probe, 100 labels (%)")
right.axhline(10, color=plots.GRAY, linestyle=":")
means = [mean(s) for s in length.values()]
assert means == sorted(means)
plots.show(
    fig,
    alt="Three seeds of SimCLR against training steps. RankMe of z: "
    + ", ".join(f"{step}: {r:.0f}" for step, r in ranks.items())
    + " dimensions. The probe rises from "
    f"{mean(untrained):.0%} to {mean(length[480]):.0%}.",
)

# %% [markdown]
# **The highest RankMe of the whole sweep belongs to the network before training.** In these runs the rank first
# crashes, within 30 steps, while the probe rises; from there both rise in the mean. Where a sweep mixes the two
# branches, a high rank can mean *far along* or *hardly begun*. Long runs, as in the papers, should all be on the
# second.
#
# The figure splits the SimCLR settings by what their views have in common: 15 with the recipe's policy, 8 policies
# (with the recipe itself in both).

# %% tags=["hide-input"]
SEEN = (rotation, common, "low tree dimension of h", "uniformity of z", "loss")
SEEN += ("RankMe of z", "LiDAR of z", "alpha-ReQ of h")
fig, ax = plots.new_figure(7.0, 3.4)
for shift, part, mark, color in ((-0.15, FIXED, "o", 0), (0.15, POLICIES, "s", 1)):
    for i, name in enumerate(SEEN):
        t = taus[name, part]
        label = f"{part} ({t.n})" if not i else None
        ax.plot(t.tau, i + shift, mark, color=plots.COLORS[color], label=label)
        ax.plot([t.low, t.high], [i + shift] * 2, color=plots.COLORS[color])
    ax.axvline(taus[held, part].tau, color=plots.COLORS[color], linestyle=":")
ax.axvline(0, color=plots.GRAY)
ax.set_yticks(range(len(SEEN)), SEEN)
ax.set_ylim(len(SEEN) + 1.2, -0.6)  # downwards, with room for the legend
ax.set(xlim=(-1, 1), xlabel="Kendall's tau with the probe; dotted: held-out labels")
ax.set_title("Across policies only two of eight stay clear of zero")
ax.legend(fontsize=8, loc="lower left")
plots.show(
    fig,
    alt="Tau with 90 percent interval by measure. "
    + " ".join(
        f"{n}: one policy {taus[n, FIXED]}, policies {taus[n, POLICIES]}." for n in SEEN
    ),
)

# %% tags=["hide-input"]
low, high = "low tree dimension of h", "TwoNN dimension of h"
assert taus[low, FIXED].low > 0.4 and taus[high, FIXED].high < -0.4
by_low = quality.to_another_seed(score[low, FIXED], probes(FIXED))
print(f"seed to seed: low dimension {by_low:+.2f}, labels {ceiling[FIXED]:+.2f}")
assert 0.6 < by_low < ceiling[FIXED] < by_low + 0.15 and lost[low, FIXED] > 13
assert [n for n in single if taus[n, POLICIES].low > 0] == [rotation, common]
assert taus[low, POLICIES].low < -0.7 and taus[low, POLICIES].high > 0.7
assert min(groups[EVERYTHING], key=lambda s: mean(s, "tree_h")) == colourless

# %% [markdown]
# With one policy a *low* dimension, as in IdEst, orders settings nearly as well as labels do (one seed to another), and
# a high one (TwoNN) orders them backwards. The low one's pick of fifteen is bad in two seeds. Across policies
# eight settings cannot tell; its pick there is R, with the lowest dimension of all. There only two measures of fifteen
# have an interval above zero: rotation, and alignment of $h$ by a common ruler.
#
# ### The yardstick moves
#
# LiDAR and alignment take the views of the run. In a sweep over policies every run then brings its own ruler.

# %% tags=["hide-input"]
rulers = {}
for space in "hz":
    for name, sign in (("alignment", -1), ("lidar", 1)):
        for views_of in ("own", "common"):
            values = sign * probes(POLICIES, f"{name}_{views_of}_{space}")
            found = quality.agreement(values, probes(POLICIES))
            rulers[name, space, views_of] = found
plots.table(
    [
        {"m": f"{n} of {p}"} | {v: str(rulers[n, p, v]) for v in ("own", "common")}
        for n in ("alignment", "lidar")
        for p in "hz"
    ],
    f"Tau with the probe over {len(values)} policies, by the views one measures with",
    {"m": "measure", "own": "each run's own views", "common": "the recipe's for all"},
)  # fmt: skip
before, after = (rulers["alignment", "h", v] for v in ("own", "common"))
assert after.low > 0.3 > before.tau
for name, space in (("alignment", "z"), ("lidar", "h"), ("lidar", "z")):
    assert rulers[name, space, "common"].tau < 0

# %% [markdown]
# A common ruler lifts alignment of $h$ (the intervals overlap), and is no visible help to alignment of $z$ and LiDAR.
#
# ### And photographs?
#
# Thirteen settings of SimCLR on Tiny ImageNet: jitter, temperature, batch. There LiDAR and alignment use the base's
# views; *drawn*, each run's own.

# %% tags=["hide-input"]
THERE = [("jitter", arm) for arm in ("1", "0", "0.25", "0.5", "2", "3")]
THERE += [("temperature", arm) for arm in ("0.02", "0.05", "0.2", "0.5", "1")]
THERE += [("batch", arm) for arm in ("64", "1024")]
KEYS = {
    "LiDAR of z": "lidar", "loss": "loss", "RankMe of z": "rank_z",
    "RankMe of h": "rank_h", "alpha-ReQ of h": "alpha_h", "alignment of z": "alignment",
    "uniformity of z": "uniformity",
}  # fmt: skip
photos, photo_origin = book.recorded("photographs")


def there(key: str, group: str = "") -> torch.Tensor:
    """[settings, seeds]; of a group: the base, then its settings."""
    some = [s for s in THERE if not group or s in (THERE[0], (group, s[1]))]
    rows = (book.per_seed(photos, key, group=g, arm=arm) for g, arm in some)
    return torch.tensor(list(rows))


# %% tags=["hide-input"]
TEN, lines, abroad = "accuracy_10", [], {}
for n, key in KEYS.items():
    better = quality.MEASURES[n].goodness
    abroad[n] = quality.agreement(there(key).apply_(better), there(TEN))
    lines.append({"n": n, "drawn": str(taus[n, EVERYTHING]), "there": str(abroad[n])})
    for group in ("jitter", "temperature", "batch"):
        found = quality.regrets(there(key, group).apply_(better), there(TEN, group))
        lines[-1][group] = 100 * statistics.fmean(found)
lines.append({"n": "a setting by lot"})
for group in ("jitter", "temperature", "batch"):
    probed = there(TEN, group)
    lines[-1][group] = 100 * float((probed.max(dim=0).values - probed.mean()).mean())
plots.table(
    lines,
    "Tau with the probe in both worlds, and regret on photographs (points)",
    {"n": "measure", "drawn": "tau, drawn", "there": "tau, photographs",
     "jitter": "jitter", "temperature": "temperature", "batch": "batch"},
    ".1f",
)  # fmt: skip
print(photo_origin)

# %%
picks = there("rank_z", "jitter").argmax(dim=0), there("loss", "jitter").argmin(dim=0)
assert all((pick == 1).all() for pick in picks)  # without jitter
assert max(abroad.values(), key=lambda t: t.tau) == abroad["LiDAR of z"]
sure = {n for n, t in abroad.items() if t.low > 0}
assert len(sure) == 5 and {"LiDAR of z", "RankMe of z"} < sure

# %% [markdown]
# LiDAR has the highest $\tau$ there (intervals overlap); four others are above zero too. RankMe of $z$ and the loss
# take the run without jitter, in every seed. (The rotation probe was not recorded.)
#
# ## What goes wrong: a perfect score for knowing nothing
#
# **Noise**: a fresh Gaussian vector for each view. **Constant**: the same vector for all, and a trace of noise.
# **Brightness**: one number, as an angle on a circle. **Whitened pixels**: the 64 leading principal components, scaled
# to equal variance.

# %%
flat = views.normalize(unlabeled.images[:1000]).flatten(1)
center = flat.mean(dim=0)
_, sigma, directions = torch.svd_lowrank(flat - center, q=64, niter=4)
whitener = directions / sigma * math.sqrt(len(flat))  # [3 H W, 64]
fresh = recipe.build(seed=0)
settle(fresh, unlabeled.images[:2048])


def noise(x: torch.Tensor) -> torch.Tensor:
    seed = int(1e4 * x.abs().mean())
    return torch.randn(len(x), 256, generator=torch.Generator().manual_seed(seed))


def brightness(x: torch.Tensor) -> torch.Tensor:
    light = x.mean(dim=(1, 2, 3))
    return torch.stack([light.cos(), light.sin()], dim=1)


impostors = {
    "noise": noise,
    "constant": lambda x: 1 + 1e-3 * noise(x),
    "brightness": brightness,
    "whitened pixels": lambda x: (x.flatten(1) - center) @ whitener,
    "before training": partial(through, fresh.encoder.eval()),
} | {name: partial(through, m.encoder) for name, m in methods.items()}


# %%
def judge(network) -> dict:
    def features(images):
        return network(views.normalize(images))

    h = features(unlabeled.images[:600])
    draw = torch.Generator().manual_seed(0)
    seen = views.make_views(unlabeled.images[:300], [recipe.policy] * 4, draw)
    z = torch.stack([network(v) for v in seen], dim=1)  # [300, 4, D]
    return {
        "rank": rank_me(h),
        "uniformity": diagnostics.uniformity(h),
        "lidar": lidar(z),
        "width": h.shape[1],
        "alignment": diagnostics.alignment(z[:, 0], z[:, 1]),
        "clusters": diagnostics.cluster_learnability(h),
        "low": diagnostics.mst_dimension(h),
        "rotation": rotation_probe(features, unlabeled.images[:800]),
        "probe": probe_of(features),
    }


judged = {name: judge(network) for name, network in impostors.items()}


# %% tags=["hide-input"]
def in_words(row: dict) -> dict:
    return {key: f"{row[key]:.0f} of {row['width']}" for key in ("rank", "lidar")}


plots.table(
    [{"r": name} | row | in_words(row) for name, row in judged.items()],
    "Seven representations, all measures on the features (chance of the probe: 10 %)",
    {"r": "representation", "rank": "RankMe", "uniformity": "uniformity",
     "lidar": "LiDAR", "alignment": "alignment", "clusters": "CL",
     "low": "tree dimension", "rotation": "rotation", "probe": "probe"},
    {"probe": ".1%", "low": ".1f"}
    | dict.fromkeys(("uniformity", "alignment", "clusters", "rotation"), ".2f"),
)  # fmt: skip

# %%
column = {key: {n: row[key] for n, row in judged.items()} for key in judged["noise"]}
empty, SimCLR = ("noise", "constant", "brightness"), judged["SimCLR"]
by_rank_me = sorted(column["rank"], key=column["rank"].get)
assert by_rank_me[-2:] == ["before training", "noise"]
full = {n for n, row in judged.items() if row["rank"] > 0.9 * row["width"]}
assert full == {"noise", "brightness", "whitened pixels"}
assert max(column["rank"][n] for n in full - {"noise"}) < SimCLR["rank"]
assert min(column["uniformity"], key=column["uniformity"].get) == "noise"
assert min(column["lidar"][n] for n in ("noise", "constant")) > SimCLR["lidar"] + 8
assert min(column["alignment"], key=column["alignment"].get) == "constant"
assert max(column["clusters"], key=column["clusters"].get) == "brightness"
assert min(column["low"], key=column["low"].get) == "brightness"
assert max(column["rotation"][n] for n in empty) < 0.015 < SimCLR["rotation"]
assert max(column["probe"][n] for n in empty) < 0.16 < SimCLR["probe"] - 0.02

# %% [markdown]
# Noise wins RankMe and uniformity, the constant alignment, and brightness, a single number, both columns of shape;
# LiDAR puts SimCLR last of the five rows of width 256. Only the rotation probe gives nothing to the three that know
# nothing or, brightness, a little: it asks for a skill. Its own, not yours: [chapter
# 26d](26d_a_policy_for_your_domain.ipynb) draws the same kinds from above, where no encoder can tell a quarter turn.
#
# ## Play: choose a measure and a group
#
# Gray dots are runs, blue ones settings, the square is the pick.

# %%
widgets.explore(
    partial(quality.render, rows=record),
    quality.controls(record),
    static=[
        {"measure": rotation, "part": EVERYTHING},
        {"measure": "RankMe of z", "part": EVERYTHING},
        {"measure": "RankMe of z", "part": "temperature"},
        {"measure": low, "part": POLICIES},
    ],
    alt=partial(quality.describe, rows=record),
    brief=partial(quality.brief, rows=record),
    columns=2,
)

# %% [markdown]
# > **Try.** (1) RankMe of $z$, temperature: is the cloud a rising line? What does the regret say all the same? (2) In
# > which two groups has the loss $\tau = 1$, and why there? (3) *one policy*: find a measure with no regret whose $\tau$
# > is near zero. Would you call it good?
# > (Answers: with the solutions.)

# %% [markdown]
# ## Exercises
#
# Solutions are at the end.
#
# ### 1 · Which one is RankMe? (•, 10 minutes)
#
# A colleague hands you a function `measure(z)` (`z` float64 `[N, D]`) and says it is RankMe. Among those that will
# come, one forgets the exponential, one centres, one squares. Do not call `rank_me`: choose clouds whose RankMe you
# know **by hand**, and return `True` or `False`.
#
# <details><summary>Hint 1</summary>The identity matrix tells few of them apart: all shares are equal. Take unequal singular values.</details>
# <details><summary>Hint 2</summary>A diagonal matrix shows its singular values, and its rows have unlike length. Two equal
# rows and one orthogonal to them are a second cloud whose values you can write down.</details>


# %%
def is_rank_me(measure) -> bool:
    return NOT_ATTEMPTED


ch21.check_is_rank_me(is_rank_me)

# %% [markdown]
# ### 2 · Two clouds (••, 15 minutes)
#
# Pictures (`uint8 [N, 3, 8, 8]`) are of two kinds: the left half brighter, or the right half. Return two clouds, float
# `[N, 16]`, in which each row is a **deterministic** function of its own picture. `empty`: RankMe at least 14.4 of 16,
# and a linear probe finds nothing about the kind. `thin`: RankMe at most 1.5, and the probe is right for 95 %.
#
# <details><summary>Hint 1</summary>Thin: one number per picture, and fifteen zeros.</details>
# <details><summary>Hint 2</summary>Empty: a hash. Sums of pixels are whole numbers; what do sines of large multiples of one look like?</details>


# %%
def two_clouds(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return NOT_ATTEMPTED


ch21.check_two_clouds(two_clouds)

# %% [markdown]
# ### 3 · LiDAR by hand (••, 10 minutes)
#
# Infinitely many pictures, $q$ views each. Along axis $k$ pictures differ with variance `signal[k]`, and views wobble
# about their picture, independently, with variance `wobble[k]` (both float64 `[D]`). What is LiDAR, with $\delta$ =
# `delta`? (Forget the $10^{-7}$.)
#
# <details><summary>Hint 1</summary>All matrices are diagonal: find one eigenvalue per axis.</details>
# <details><summary>Hint 2</summary>The mean of $q$ views wobbles too. And how far are $q$ numbers from their own mean, on average?</details>


# %%
def planted_lidar(signal, wobble, q: int, delta: float) -> float:
    return NOT_ATTEMPTED


ch21.check_planted_lidar(planted_lidar)

# %% [markdown]
# ### 4 · Can a measure pass the ceiling? (•••, 10 minutes)
#
# Let the settings' true accuracies be Gaussian with standard deviation `spread`, and let a seed add independent
# Gaussian noise with standard deviation `noise`. Return a tuple of two $\tau$: of one seed's probe with another's, and
# of the *true* order with one seed's probe. (Of two Gaussians with correlation $r$, $\tau = \frac2\pi\arcsin r$.)
# Predict first: which is larger?
#
# <details><summary>Hint</summary>Correlation is covariance over the product of standard deviations. What do two seeds have in common?</details>


# %%
def two_taus(spread: float, noise: float) -> tuple[float, float]:
    return NOT_ATTEMPTED


ch21.check_two_taus(two_taus)

# %% [markdown]
# ## Claims, tested
#
# Picks are made seed by seed; "chosen with labels" looks at held-out train pictures and is judged on test.


# %%
def picked(part: str, by: str) -> torch.Tensor:
    """Test probe of the pick, by seed: [seeds]"""
    choice = score[by, part].argmax(dim=0, keepdim=True)
    return probes(part).gather(0, choice)[0]


tuned = [part for part in slices if part != METHODS]
unsupervised, supervised = (
    torch.stack([picked(part, by) for part in tuned]).mean(dim=0).tolist()
    for by in ("RankMe of z", held)
)
by_rank = score["RankMe of z", EVERYTHING].mean(dim=1).argsort()
halves = []
for half in (by_rank[11:], by_rank[:11]):
    winner = score[held, EVERYTHING][half].argmax(dim=0, keepdim=True)
    halves.append(probes(EVERYTHING)[half].gather(0, winner)[0].tolist())


# %%
def picked_there(name: str) -> list[float]:
    scores = there(KEYS[name], "temperature").apply_(quality.MEASURES[name].goodness)
    return there(TEN, "temperature").gather(0, scores.argmax(dim=0)[None])[0].tolist()


RULES = "RankMe of z", "alpha-ReQ of h"
warm = [picked("temperature", n).tolist() for n in RULES]
shares = [[r / 128 for r in of(s, "rank_z")] for s in (colourless, base)]
floor = of(untrained)

# %%
book.claim(
    "C-103a",
    drawn=Runs(score["RankMe of z", EVERYTHING].tolist(), probes(EVERYTHING).tolist()),
    photographs=Runs(there("rank_z").tolist(), there(TEN).tolist()),
)
book.claim("C-103b", drawn=Runs(unsupervised, supervised, floor))
book.claim("C-104a", drawn=Runs(*halves, floor))
ranks = book.on_photographs(("jitter", "0"), ("jitter", "1"), "rank_z")
arms = ([r / 128 for r in arm] for arm in (ranks.treatment, ranks.control))
there_too = Runs(*arms, ranks.floor, ranks.learned)
drawn = Runs(*shares, floor, (of(colourless), of(base)))
book.claim("C-104b", drawn=drawn, photographs=there_too)
warm_there = Runs(*map(picked_there, RULES), ranks.floor)
book.claim("C-105", drawn=Runs(*warm, floor), photographs=warm_there)
book.claim("C-106", drawn=None)
assert max(of(colourless, "rank_h")) < min(of(base, "rank_h"))
upper = [groups[EVERYTHING][i] for i in by_rank[11:]]
assert {("length", "480 steps"), ("length", "240 steps")} <= set(upper)

# %% [markdown]
# C-103a is Spearman's rank correlation; photographs just reach its margin. C-103b is the mean over the five slices of
# SimCLR. Policies decide it: without them RankMe loses less than the margin more than labels (no interval computed).
# C-104a is carried by the longest runs, which stand in the upper half. C-104b is about $z$, what RankMe is defined on;
# of *features* R has the lower rank. C-105 holds in one drawn slice of six temperatures, and compares two spaces:
# RankMe looks at $z$, $\alpha$-ReQ at $h$. C-106 waits for runs: it speaks of SimSiam trained at several sizes and
# lengths, by a measure that uses its loss as well; the sweep has SimSiam once. That rotations rank policies (C-111) is
# judged in [26d](26d_a_policy_for_your_domain.ipynb).
#
# ## Where it comes from, where it went
#
# [Ghosh et al. (2022)](https://arxiv.org/abs/2202.05808) fitted the power law behind $\alpha$-ReQ to deep features.
#
# **What to do in practice.** First find out what labels would cost. The row *held-out labels* takes 1,100 and removes
# nearly all regret. If you cannot: compare settings of one method, one policy, one length, one learning rate, and keep
# an untrained network in the table. Use a question with free answers *that exist in your data*. Use the spectrum as an
# alarm for collapse, and for one choice at a time.
#
# ### Quiz
#
# **1.** Two runs have RankMe 40 and 90 of 256. A colleague adds a layer that whitens; both now have 250. What has
# improved?
#
# <details><summary>Answer</summary>Nothing that a linear probe could not do itself: whitening is an invertible linear map. It
# removed what RankMe looked at. (A regularised probe cares about scale, so its accuracy may move.)</details>
#
# **2.** Why may the loss order runs of different length, but hardly runs with different views?
#
# <details><summary>Answer</summary>Two lengths minimise the same function, so lower means further along *that
# function*; whether the features follow is another matter. Other views make another task.</details>
#
# **3.** A measure has $\tau = 0.75$ on twenty settings, with an interval from 0.5 to 0.9. The ceiling is 0.7. Is it
# better than labels?
#
# <details><summary>Answer</summary>Not shown. The interval contains the ceiling; and the ceiling is what *one noisy seed* says
# about another, so a measure with less noise, or a mean over seeds, can pass it (exercise 4).</details>

# %% [markdown]
# ## Solutions
#
# **Try.** (1) The cloud rises on the whole, but it is no line: temperature 1 has the lowest rank and a
# middling probe. The regret is zero: the maximum is right. (2) Length and projector. In length all runs minimise the
# same function, and a lower loss is further along. That is no guarantee: learning rates share the function too, and
# there the loss costs more than a lot. (3) SIGReg of $z$: a $\tau$ near zero, no regret. It finds the longest run
# and orders nothing; one right pick is no evidence of more.
#
# ```python
# def is_rank_me(measure):
#     z = torch.zeros(4, 3, dtype=torch.float64)
#     z[0, 0], z[1, 1] = 2.0, 1.0  # shares 2/3 and 1/3
#     value = math.exp(2 / 3 * math.log(3 / 2) + 1 / 3 * math.log(3))
#     far = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
#     a, b = 3 * math.sqrt(2), 1.0
#     p = a / (a + b)
#     far_value = math.exp(-p * math.log(p) - (1 - p) * math.log(1 - p))
#     close = [abs(float(measure(x)) / v - 1) < 1e-3 for x, v in ((z, value), (far, far_value))]
#     return all(close)
#
#
# def two_clouds(images):
#     code = (images.flatten(1).long() * (torch.arange(192) ** 2 % 211)).sum(1).double()
#     empty = torch.sin(code[:, None] * torch.arange(1, 17) * 1.2345)
#     thin = torch.zeros(len(images), 16)
#     thin[:, 0] = images[..., :4].float().mean((1, 2, 3)) - images[..., 4:].float().mean((1, 2, 3))
#     return empty, thin
#
#
# def planted_lidar(signal, wobble, q, delta):
#     ratio = (signal + wobble / q) / ((1 - 1 / q) * wobble + delta)
#     p = ratio / ratio.sum()
#     return float((-(p * p.log()).sum()).exp())
#
#
# def two_taus(spread, noise):
#     r = spread**2 / (spread**2 + noise**2)  # of two probes; the truth: its root
#     return 2 / math.pi * math.asin(r), 2 / math.pi * math.asin(math.sqrt(r))
# ```
