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
# - compute RankMe, $\alpha$-ReQ, LiDAR, uniformity, alignment and a rotation probe from unlabeled images;
# - say how well such a number ranks runs, with Kendall's $\tau$ and an honest interval around it;
# - choose a hyper-parameter without labels and state what that choice costs (the regret);
# - build a representation that knows nothing and gets a perfect score, for each measure;
# - tell the comparisons a measure was made for from those in which it misleads.
#
# **You need** chapters 00 and 13, the singular value decomposition, and a feeling for chapter 20's collapse.
# **Time**: 56 minutes to read, about 50 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("21")

# %% [markdown]
# ## The puzzle: five runs, no labels
#
# You have trained five encoders on the same pictures and may keep one. There are no labels: not ten, not one.
# Here is all you can measure. The loss is the training loss of the last steps. *Alignment* says how far two
# views of a picture lie apart (smaller looks better), *uniformity* how evenly the pictures spread (lower
# means more evenly), and *RankMe* over how many directions.

# %%
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons import data, diagnostics, evaluation, exercises, plots, views, widgets
from ssl_lessons.book.exercises import ch21
from ssl_lessons.book.widgets import quality
from ssl_lessons.data.image_set import Factor
from ssl_lessons.training import pretrain, recipes

runs, origin = book.recorded("quality")
by_name = {(row["slice"], row["setting"], row["seed"]): row for row in runs}
PUZZLE = {
    "A": ("temperature", "0.5", 0),
    "B": ("length", "40 steps", 0),
    "C": ("augmentation", "no colour change", 0),
    "D": ("base", "SimCLR", 0),
    "E": ("projector", "output 4", 0),
}
SHOWN = {
    "loss": "loss",
    "alignment_own_z": "alignment of z",
    "uniformity_z": "uniformity of z",
    "rank_h": "RankMe of h",
}
plots.table(
    [{"run": letter} | {key: by_name[name][key] for key in SHOWN} for letter, name in PUZZLE.items()],
    "Five runs, seen without labels (h: features of the encoder, z: embeddings the loss compares)",
    {"run": "run"} | SHOWN,
    {"loss": ".2f", "alignment_own_z": ".2f", "uniformity_z": ".2f", "rank_h": ".0f"},
)
print(origin)

# %% [markdown]
# > **Predict before you go on.** Rank the five. Which would you keep? Which number did you trust, and would you
# > bet on it? Which of the five, do you think, learned next to nothing?

# %%
plots.table(
    [
        {
            "run": letter,
            "what": " · ".join(map(str, name[:2])),
            "probe": by_name[name]["probe"],
            "knn": by_name[name]["knn"],
        }
        for letter, name in PUZZLE.items()
    ],
    "The same five with labels: a linear probe on 100 of them, and a vote of the 20 nearest of 2,000 (kNN)",
    {"run": "run", "what": "slice of the sweep · setting", "probe": "probe", "knn": "kNN"},
    ".1%",
)
picks = {
    "lowest loss": ("loss", min),
    "best alignment": ("alignment_own_z", min),
    "best uniformity": ("uniformity_z", min),
    "highest RankMe": ("rank_h", max),
}
for words, (key, best) in picks.items():
    letter = best(PUZZLE, key=lambda name: by_name[PUZZLE[name]][key])
    print(f"{words}: you keep {letter}, probe {by_name[PUZZLE[letter]]['probe']:.1%}")
print(f"with labels: you keep {max(PUZZLE, key=lambda name: by_name[PUZZLE[name]]['probe'])}")

# %% [markdown]
# Do the rules agree with each other? With the labels? This chapter takes the measures apart one by one, puts
# each to the test on a sweep of runs, and then builds, for each, the representation that fools it.

# %% [markdown]
# ## The idea, step 1: count the directions
#
# Let $Z$ be the matrix of $N$ feature vectors, $[N, D]$, with singular values $\sigma_1\ge\dots\ge\sigma_r$,
# $r=\min(N, D)$. If a network has collapsed along most directions, few of them are large. The *classical rank*
# counts those above a threshold; it depends on the threshold. [Roy and Vetterli
# (2007)](https://ieeexplore.ieee.org/document/7098875) turn the values into shares and count by entropy. With
# a guard against $\log 0$ this is **RankMe** ([Garrido et al., 2023](https://arxiv.org/abs/2210.02885), eq. 1):
#
# $$p_k = \frac{\sigma_k}{\sum_j \sigma_j} + 10^{-7}, \qquad \text{RankMe}(Z) = \exp\Big(-\sum_k p_k\log p_k\Big).$$
#
# It runs from 1 (a line) to $r$ (all directions alike). Note the $\exp$: the entropy itself is measured in
# nats, not in directions.
#
# **$\alpha$-ReQ** ([Agrawal et al., 2022](https://papers.nips.cc/paper_files/paper/2022/hash/70596d70542c51c8d9b4e423f4bf2736-Abstract-Conference.html))
# looks at how the spectrum falls. Deep features, like the visual cortex ([Stringer et al.,
# 2019](https://doi.org/10.1038/s41586-019-1346-5)), have covariance eigenvalues near a power law, $\lambda_k
# \sim k^{-\alpha}$; the slope in log-log axes is the measure, and a value near 1 is called healthy ([Ghosh et
# al., 2022](https://arxiv.org/abs/2202.05808) fit the same law to deep representations). [Li et al. (2022)](https://arxiv.org/abs/2209.15007)
# take the **area under the cumulative spectrum**: 1/2 if all directions are alike, 1 if one has it all.

# %%


def rank_me(z: Tensor) -> float:
    """z [N, D] -> from 1 to min(N, D)"""
    sigma = torch.linalg.svdvals(z.double())
    p = sigma / sigma.sum() + 1e-7
    return float((-(p * p.log()).sum()).exp())


def alpha_req(z: Tensor) -> float:
    """z [N, D] -> the exponent alpha of eigenvalue_k ~ k^-alpha, from rank 2 to half the spectrum"""
    eigenvalues = torch.linalg.svdvals((z - z.mean(dim=0)).double()).square()
    k = torch.arange(1, len(eigenvalues) + 1).double()
    part = slice(1, min(len(z) - 1, z.shape[1]) // 2)
    x, y = k[part].log(), eigenvalues[part].log()
    return float(-torch.corrcoef(torch.stack([x, y]))[0, 1] * y.std() / x.std())


def spectrum_auc(z: Tensor) -> float:
    sigma = torch.linalg.svdvals((z - z.mean(dim=0)).double())
    return float((sigma.cumsum(0) / sigma.sum()).mean())


def classical_rank(z: Tensor, tolerance: float) -> int:
    sigma = torch.linalg.svdvals(z.double())
    return int((sigma > tolerance * sigma[0]).sum())


generator = torch.Generator().manual_seed(0)
k = torch.arange(1, 65).double()
clouds = {
    f"eigenvalues ~ k^-{a:g}": torch.randn(2000, 64, generator=generator).double() * k ** (-a / 2)
    for a in (0.0, 1.0, 3.0)
}
plots.table(
    [
        {
            "cloud": name,
            "rank": rank_me(z),
            "loose": classical_rank(z, 0.1),
            "tight": classical_rank(z, 1e-3),
            "alpha": alpha_req(z),
            "auc": spectrum_auc(z),
        }
        for name, z in clouds.items()
    ],
    "Three Gaussian clouds of 2,000 points in 64 dimensions",
    {
        "cloud": "cloud",
        "rank": "RankMe",
        "loose": "rank, tolerance 0.1",
        "tight": "rank, tolerance 0.001",
        "alpha": "alpha",
        "auc": "spectrum AUC",
    },
    ".2f",
)
for z in clouds.values():
    assert math.isclose(rank_me(z), diagnostics.rank_me(z)) and math.isclose(
        alpha_req(z), diagnostics.alpha_req(z), rel_tol=1e-6
    )

# %% [markdown]
# The classical rank calls all three clouds 64-dimensional if you let it. The other three are smooth, and see
# much the same thing in the spectrum.
#
# ### Why should more directions mean better features?
#
# The argument goes back to [Cover (1965)](https://doi.org/10.1109/PGEC.1965.264137): a linear classifier on
# $r$-dimensional features can realise more and more labelings as $r$ grows. With low rank, a linear probe
# *cannot* fit whatever you ask of it; rank is **necessary**. Is it sufficient? Take 100 points at random,
# label them at random, and fit the best linear classifier.

# %%


def fit_random_labels(dimensions: int, points: int = 100, repetitions: int = 20) -> tuple[float, float]:
    """Accuracy of least squares on random +-1 labels: on the points it was fitted to, and on new ones."""
    g = torch.Generator().manual_seed(dimensions)
    x = torch.randn(repetitions, 2 * points, dimensions, generator=g)
    y = torch.randint(2, (repetitions, 2 * points, 1), generator=g) * 2.0 - 1
    w = torch.linalg.pinv(x[:, :points]) @ y[:, :points]
    right = ((x @ w).sign() == y).float().mean(dim=(0, 2))
    return right[:points].mean().item(), right[points:].mean().item()


sizes = (2, 5, 10, 20, 40, 60, 80, 100, 140)
fitted = torch.tensor([fit_random_labels(d) for d in sizes])
fig, ax = plots.new_figure(5.6, 2.8)
ax.plot(sizes, 100 * fitted[:, 0], "o-", color=plots.COLORS[0], label="the 100 points it was fitted to")
ax.plot(sizes, 100 * fitted[:, 1], "s--", color=plots.COLORS[1], label="100 new points")
ax.axhline(50, color=plots.GRAY, linestyle=":")
ax.set(
    title="Rank lets you fit anything, and tells you nothing about new points",
    xlabel="dimensions of a random Gaussian cloud",
    ylabel="accuracy (%)",
    ylim=(40, 104),
)
ax.legend()
plots.show(
    fig,
    alt=f"Accuracy of a linear classifier on random labels: on its own points it rises from {fitted[0, 0]:.0%} to {fitted[-1, 0]:.0%} with the number of dimensions, on new points it stays at one half.",
)

# %% [markdown]
# The upper curve is why a low rank is bad news. The lower one is why a high rank is no good news: *which*
# directions, nobody asked. Keep the two apart and you have half of this chapter.
#
# ## Step 2: count only directions that survive the augmentation
#
# Two views of one picture show the same object. A direction in which they differ as much as any two pictures
# do is noise, however much variance it has. **LiDAR** ([Thilak et al., 2024](https://arxiv.org/abs/2312.04000))
# weighs each direction by the ratio that linear discriminant analysis (LDA) uses, with "picture" in the role
# of the class. With $z_{ij}$ the embedding of view $j$ of picture $i$, $\mu_i$ the mean view and $\mu$ the
# mean of all,
#
# $$\Sigma_b = \tfrac1n\sum_i(\mu_i-\mu)(\mu_i-\mu)^\top,\qquad \Sigma_w = \tfrac1{nq}\sum_{i,j}(z_{ij}-\mu_i)(z_{ij}-\mu_i)^\top + \delta I,$$
#
# $$\text{LiDAR} = \exp H(\lambda), \qquad \lambda = \text{eigenvalues of } \Sigma_w^{-1/2}\,\Sigma_b\,\Sigma_w^{-1/2}\ \text{as shares}.$$
#
# ($n$ pictures, $q$ views each; $\delta$ a small number.) Shares again, entropy again: only the matrix has
# changed.

# %%


def lidar(z: Tensor, delta: float = 1e-4) -> float:
    """z [n pictures, q views, D] -> from 1 to min(n - 1, D)"""
    z = z.double()
    means = z.mean(dim=1)  # [n, D]
    between = means - means.mean(dim=0)
    within = (z - means[:, None]).flatten(0, 1)
    noise = within.T @ within / len(within) + delta * torch.eye(z.shape[2])
    values, vectors = torch.linalg.eigh(noise)
    half = vectors / values.sqrt() @ vectors.T  # noise^(-1/2)
    share = torch.linalg.eigvalsh(half @ (between.T @ between / len(z)) @ half).clamp_min(0)
    share = share.flip(0)[: min(len(z) - 1, z.shape[2])]
    p = share / share.sum() + 1e-7
    return float((-(p * p.log()).sum()).exp())


def toy_views(signal: int, wobble: int, dimensions: int = 40, n: int = 300, q: int = 10) -> Tensor:
    """Pictures differ along `signal` directions, views of one picture along `wobble` others: [n, q, D]"""
    g = torch.Generator().manual_seed(1)
    z = 0.01 * torch.randn(n, q, dimensions, generator=g)
    z[:, :, :signal] += torch.randn(n, 1, signal, generator=g)
    z[:, :, signal : signal + wobble] += torch.randn(n, q, wobble, generator=g)
    return z


toys = {
    "10 signal": toy_views(10, 0),
    "10 signal, 20 noise": toy_views(10, 20),
    "2 signal, 28 noise": toy_views(2, 28),
    "nothing but noise": toy_views(0, 40),
}
plots.table(
    [{"cloud": name, "rank": rank_me(z[:, 0]), "lidar": lidar(z)} for name, z in toys.items()],
    "RankMe sees one view per picture, LiDAR ten (300 pictures in 40 dimensions)",
    {"cloud": "large directions", "rank": "RankMe", "lidar": "LiDAR"},
    ".1f",
)
for z in toys.values():
    assert math.isclose(lidar(z), diagnostics.lidar(z), rel_tol=1e-6)

# %% [markdown]
# The middle rows are LiDAR's point: RankMe cannot tell ten directions of signal with twenty of noise from
# thirty of signal, LiDAR can. Now read the last row. If *all* directions are noise, they are all equally bad,
# their shares are equal, and LiDAR reports full rank. It compares directions with each other and not with
# zero.
#
# ## Step 3: alignment, uniformity, and a question about angles
#
# [Wang and Isola (2020)](https://arxiv.org/abs/2005.10242) split what a contrastive loss wants in two: views
# of a picture together (**alignment**, the mean squared distance of unit-length pairs), pictures spread over
# the sphere (**uniformity**, the log of the mean of $e^{-2\|z_i-z_j\|^2}$ over pairs). Either alone is easy
# to fool: a constant is perfectly aligned, noise perfectly uniform.
#
# **The rotation probe** asks for a skill instead. Turn pictures by 0, 90, 180 or 270 degrees and let a linear
# classifier read the angle from the frozen features. The angle is known without labels, and telling up from
# down takes some idea of the object. [Reed et al. (2021)](https://arxiv.org/abs/2009.07724) found that it
# ranks augmentation policies much as labels do, and let it choose them (SelfAugment).

# %%


def rotation_probe(features, images: Tensor) -> float:
    """features: uint8 images -> [N, D]. 0 = chance, 1 = always right, on the pictures not fitted."""
    turned = torch.cat([torch.rot90(images, k, (2, 3)) for k in range(4)])
    h, angle = features(turned), torch.arange(4).repeat_interleave(len(images))
    first = (torch.arange(len(images)) < len(images) // 2).repeat(4)
    train, test = ({"angle": Factor(angle[part], "categorical")} for part in (first, ~first))
    return evaluation.factor_probe(h[first], train, h[~first], test)["angle"]


# %% [markdown]
# ## Step 4: how to compare two rankings
#
# A measure is useful if, of two runs, it prefers the better one. So count pairs. With $n$ runs, measure $x$
# and probe $y$, **Kendall's tau** ([Kendall, 1938](https://doi.org/10.1093/biomet/30.1-2.81)) is
#
# $$\tau = \frac{\#\{\text{pairs ordered alike}\} - \#\{\text{pairs ordered oppositely}\}}{n(n-1)/2},$$
#
# and $(1+\tau)/2$ is the chance that the measure picks the better of two runs drawn at random. (With ties the
# denominator counts untied pairs, $\tau_b$.) It needs no assumption about the shape of the relation: only the
# order counts. A coefficient from a handful of runs is uncertain, and the honest thing is to say how much:
# draw the $n$ runs again *with replacement*, compute $\tau$, repeat 2,000 times, and report the middle 90 %
# (the bootstrap).

# %%


def tau(x: list[float], y: list[float]) -> float:
    x, y = torch.tensor(x), torch.tensor(y)
    agree = (x[:, None] - x).sign() * (y[:, None] - y).sign()  # [n, n]: +1, -1, 0
    return float(agree.sum()) / (len(x) * (len(x) - 1))


g = torch.Generator().manual_seed(2)
x = torch.randn(400, generator=g)
y = 0.8 * x + 0.6 * torch.randn(400, generator=g)
table = []
for n in (5, 10, 40, 400):
    found = quality.tau_interval(x[:n].tolist(), y[:n].tolist())
    assert math.isclose(found.tau, tau(x[:n].tolist(), y[:n].tolist()), abs_tol=1e-9)
    table.append(
        {
            "n": n,
            "tau": found.tau,
            "interval": f"{found.low:+.2f} to {found.high:+.2f}",
            "truth": 2 * math.asin(0.8) / math.pi,
        }
    )
plots.table(
    table,
    "Kendall's tau of simulated runs whose true value is known",
    {"n": "runs", "tau": "tau", "interval": "90 % bootstrap interval", "truth": "truth"},
    ".2f",
)

# %% [markdown]
# With five runs the interval covers almost everything. Remember that when a paper reports a correlation over
# a sweep of six.

# %% [markdown]
# ## The run: two members of the sweep, live
#
# Everything so far works on any features. Now train two of the recorded runs in front of you: SimCLR with the
# quick recipe, and the same without any change of colour. You know from chapter 13 what the second one does.

# %%
recipe = recipes.get_recipe("quick")
unlabeled = data.shapes("unlabeled", n=8192, world=1)
train, test = data.shapes("train", n=2000, world=1), data.shapes("test", n=2000, world=1)
STEPS = by_name["base", "SimCLR", 0]["steps"]
policies = {"SimCLR": recipe.policy, "no colour change": recipe.policy.replace(jitter_p=0.0, grayscale_p=0.0)}
methods, histories = {}, {}
for name, policy in policies.items():
    methods[name] = recipe.build(seed=0)
    histories[name] = pretrain(
        methods[name], unlabeled.images, (policy, policy), steps=STEPS, seed=0, **recipe.training()
    )
    methods[name].eval()


# %%
def features_of(method, images: Tensor) -> Tensor:
    return evaluation.extract_features(method.encoder, images)


@torch.no_grad()
def embeddings_of(method, x: Tensor) -> Tensor:
    return torch.cat([method.embed(batch) for batch in x.split(500)])


def many_views(embed, policy, pictures: int = 200, q: int = 8) -> Tensor:
    """[pictures, q, D]: q views of each picture, through `embed` (normalized images -> [N, D])"""
    g = torch.Generator().manual_seed(0)
    return torch.stack(
        [embed(v) for v in views.make_views(unlabeled.images[:pictures], [policy] * q, g)], dim=1
    )


def pair_distance(z: Tensor) -> float:
    """Alignment over the pairs of views 1-2, 3-4, ... of z [n, q, D]."""
    pairs = zip(z[:, ::2].unbind(1), z[:, 1::2].unbind(1))
    return sum(diagnostics.alignment(a, b) for a, b in pairs) / (z.shape[1] // 2)


def probe(h: Tensor, h_test: Tensor, draws: int = 3) -> float:
    return evaluation.label_efficiency(h, train.labels, h_test, test.labels, per_class=(10,), draws=draws)[0][
        "mean"
    ]


def measure(method, policy) -> dict:
    h = features_of(method, unlabeled.images[:1500])
    z = embeddings_of(method, views.normalize(unlabeled.images[:1500]))
    seen = many_views(partial(embeddings_of, method), policy)
    return {
        "rank_h": rank_me(h),
        "rank_z": rank_me(z),
        "alpha_h": alpha_req(h),
        "auc_h": spectrum_auc(h),
        "uniformity_z": diagnostics.uniformity(z),
        "lidar_own_z": lidar(seen),
        "alignment_own_z": pair_distance(seen),
        "rotation": rotation_probe(partial(features_of, method), unlabeled.images[:600]),
        "probe": probe(features_of(method, train.images), features_of(method, test.images)),
    }


live = {name: measure(methods[name], policies[name]) for name in methods}
recorded = {
    "SimCLR": by_name["base", "SimCLR", 0],
    "no colour change": by_name["augmentation", "no colour change", 0],
}
plots.table(
    [
        {"run": f"{name}, {kind}"} | {key: source[name][key] for key in live[name]}
        for name in live
        for kind, source in (("live", live), ("recorded", recorded))
    ],
    f"Two runs of {STEPS} steps, trained just now and from the record",
    {
        "run": "run",
        "rank_h": "RankMe h",
        "rank_z": "RankMe z",
        "alpha_h": "alpha h",
        "auc_h": "AUC h",
        "uniformity_z": "uniformity z",
        "lidar_own_z": "LiDAR z",
        "alignment_own_z": "alignment z",
        "rotation": "rotation",
        "probe": "probe",
    },
    {"rank_h": ".0f", "rank_z": ".0f", "lidar_own_z": ".0f", "probe": ".1%"}
    | dict.fromkeys(("alpha_h", "auc_h", "uniformity_z", "alignment_own_z", "rotation"), ".2f"),
)
for name in live:
    assert abs(live[name]["probe"] - recorded[name]["probe"]) < 0.08, f"{name}: the record no longer holds"
    assert abs(live[name]["rank_h"] / recorded[name]["rank_h"] - 1) < 0.25

# %% [markdown]
# The live rows agree with the record as far as short runs on different machines do (the cell checks it). So
# the rest of the sweep can come from the record.

# %%
fig, ax = plots.new_figure(5.6, 2.6)
for i, (name, history) in enumerate(histories.items()):
    ax.plot(
        [row["step"] for row in history], [row["loss"] for row in history], color=plots.COLORS[i], label=name
    )
ax.axhline(math.log(511), color=plots.GRAY, linestyle=":", label="knows nothing, log 511")
ax.set(title="The lower loss is not the better network", xlabel="step", ylabel="loss (nats)", ylim=(0, None))
ax.legend()
plots.show(
    fig,
    alt="Training loss over the steps: the run without colour change ends far below the one with it.",
)

# %% [markdown]
# And here are the spectra behind the numbers.

# %%
fresh = recipe.build(seed=0)
fresh.eval()
spectra = {
    name: diagnostics.singular_values(features_of(m, unlabeled.images[:1500]))
    for name, m in {**methods, "untrained": fresh}.items()
}
plots.show(
    plots.spectrum(spectra, "Features h of two trained networks and an untrained one"),
    alt="Singular values of the features, on a log axis, for SimCLR, SimCLR without colour change and an untrained network.",
)

# %% [markdown]
# ## The sweep: do the measures rank as labels do?
#
# The record holds short SimCLR runs that differ in one choice each (temperature, augmentation, projector,
# training length, learning rate), some repeats with another seed, and other methods. For every slice: the
# $\tau$ between a measure and the 100-label probe. Signs are turned so that $+1$ always means "ranks as labels
# do": $-\text{loss}$, $-\text{alignment}$, $-\text{uniformity}$, $-\text{AUC}$, and $-|\alpha - 1|$ for $\alpha$-ReQ.

# %%
parts = quality.slices(runs)
taus = {
    (name, part): quality.agreement(name, rows) for name in quality.MEASURES for part, rows in parts.items()
}
plots.table(
    [{"measure": name} | {part: taus[name, part].tau for part in parts} for name in quality.MEASURES],
    "Kendall's tau between each measure and the 100-label probe",
    {"measure": "measure"} | {part: f"{part} ({len(rows)})" for part, rows in parts.items()},
    "+.2f",
)
print(origin)

# %%
fig, ax = plots.new_figure(7.2, 4.0)
names = list(quality.MEASURES)
for i, (part, marker) in enumerate([(quality.EVERYTHING, "o"), (quality.METHODS, "s")]):
    found = [taus[name, part] for name in names]
    place = [k + 0.18 * (2 * i - 1) for k in range(len(names))]
    error = torch.tensor([[f.tau - f.low, f.high - f.tau] for f in found]).T.clamp_min(0)
    ax.errorbar(
        [f.tau for f in found],
        place,
        xerr=error,
        fmt=marker,
        color=plots.COLORS[i],
        capsize=3,
        label=f"{part} ({found[0].runs} runs)",
    )
ax.axvline(0, color=plots.GRAY, linestyle=":")
ax.set_yticks(range(len(names)), names)
ax.invert_yaxis()
ax.set(
    xlim=(-1, 1),
    xlabel="Kendall's tau with the probe (bars: 90 % bootstrap interval)",
    title="How well each measure ranks runs: +1 as labels do, 0 at random, -1 backwards",
)
fig.legend(loc="outside lower center", ncols=2)
plots.show(
    fig,
    alt="Kendall's tau with its interval for each measure. "
    + " ".join(
        f"{name}: {taus[name, quality.EVERYTHING].tau:+.2f} within SimCLR, {taus[name, quality.METHODS].tau:+.2f} over all methods."
        for name in names
    ),
)

# %%
sure = [name for name in names if taus[name, quality.METHODS].low > 0]
wrong = [f"{name} ({part})" for (name, part), t in taus.items() if t.tau < -0.3]
print("Interval above zero over all methods:", ", ".join(sure) or "none")
print("Ranks backwards (tau below -0.3):", "; ".join(wrong) or "nowhere")
repeats = [row["probe"] for row in runs if row["slice"] == "base"]
if len(repeats) > 1:
    print(
        f"Chance: the base run with {len(repeats)} seeds has probes from {min(repeats):.1%} to {max(repeats):.1%}."
    )

# %% [markdown]
# Read the table by rows and count the changes of sign: **a measure is not good or bad, it is good for a
# slice.** Then look at three places.
#
# *Augmentation* is the hard column for everything that counts directions. There the choice decides *what* is
# learned, and a count of directions does not know what they are about. *All methods* asks the measures for
# something their authors do not promise: the RankMe paper compares runs of one method only, and the rank that
# VICReg writes into its loss is no evidence of anything. And in the column *length*, the spectra of h do
# something you may not expect. It deserves a picture of its own.
#
# The loss is a measure too. Where the task stays the same (length, learning rate), lower means further along.
# Change the views and it turns round: a stronger colour change makes a harder task, a higher loss and better
# features. Across temperatures and methods the losses are numbers on different scales; where they rank well
# all the same, that is a fact about this sweep and no rule.
#
# ### Rank along the way
#
# The same recipe, trained longer and longer, each run with its own schedule. The last two points are longer
# runs from the records of other chapters.

# %%
longer = [
    row
    for name in ("temperature", "families")
    for row in book.recorded(name)[0]
    if row["seed"] == 0
    and (row.get("temperature") == 0.1 or (row.get("method"), row.get("arm")) == ("simclr", "minute"))
]
along = sorted(parts["length"] + longer, key=lambda row: row["steps"])
steps = [row["steps"] for row in along]
fig, (left, right) = plots.new_figure(8.0, 2.7, 1, 2)
left.plot(steps, [row["rank_h"] for row in along], "o-", color=plots.COLORS[0], label="features h")
left.plot(steps, [row["rank_z"] for row in along], "s--", color=plots.COLORS[1], label="embeddings z")
left.set(
    xscale="log",
    title="Effective rank",
    xlabel="training steps",
    ylabel="RankMe (dimensions)",
    ylim=(0, None),
)
left.legend()
right.plot(steps, [100 * row["probe"] for row in along], "o-", color=plots.COLORS[2])
right.axhline(10, color=plots.GRAY, linestyle=":")
right.set(
    xscale="log", title="Probe", xlabel="training steps", ylabel="accuracy, 100 labels (%)", ylim=(0, 100)
)
fig.suptitle("What training does to the rank, and to what the rank should predict")
trace = "; ".join(
    f"{r['steps']} steps: rank of h {r['rank_h']:.0f}, of z {r['rank_z']:.0f}, probe {r['probe']:.0%}"
    for r in along
)
plots.show(fig, alt=f"Effective rank and probe against training steps. {trace}.")

# %% [markdown]
# An untrained ConvNet spreads its features over many directions: random filters, all about equally important,
# none of them useful. Training begins by stretching the few directions that help, and the rank of h *falls*
# while the probe climbs; only when those are learned do more directions follow. So among short runs RankMe
# prefers whatever has learned least: few steps, a low learning rate. LiDAR and $\alpha$-ReQ of h reward flat
# spectra too, and share the trouble. The papers measured networks trained for hundreds of epochs, where
# collapse is the danger and more directions are good news. Both are right, and a learner with a laptop is more
# often in the first situation.
#
# ### An independent check: the longer runs of other chapters
#
# Other chapters have recorded sweeps of their own, with more steps and three seeds: the temperatures of
# chapter 13, a sweep of the strength of the colour change, and the book's running table, in which every
# method trains for a minute. They hold fewer measures, but nobody made them with this question in mind.

# %%
minute = [row for row in book.recorded("families")[0] if row["arm"] == "minute" and row["steps"]]
leaders = [
    m for m in ("simclr", "moco_v2", "byol", "vicreg", "swav", "mae") if m in {r["method"] for r in minute}
]
book.results_table(
    leaders,
    "One minute of training each: baselines and the families' leading members",
)

# %%
elsewhere = {
    "temperature, 400 steps": book.recorded("temperature")[0],
    "colour strength, 400 steps": book.recorded("augmentation_strength")[0],
    "methods, ConvNet, a minute": [row for row in minute if row.get("encoder") == "convnet"],
    "methods, transformer, a minute": [row for row in minute if row.get("encoder") == "vit"],
}
KEYS = {"rank_h": ("RankMe of h", 1), "rank_z": ("RankMe of z", 1), "uniformity": ("uniformity of z", -1)}
KEYS |= {"alignment": ("alignment of z", -1), "loss": ("loss", -1)}
table, longer_tau = [], {}
for title, rows in elsewhere.items():
    line = {"sweep": title, "n": len(rows)}
    for key, (label, sign) in KEYS.items():
        if len(rows) > 5 and all(key in row for row in rows):
            t = quality.tau_interval([sign * row[key] for row in rows], [row["probe"] for row in rows])
            longer_tau[title, label] = t
            line[label] = f"{t.tau:+.2f} ({t.low:+.2f} to {t.high:+.2f})"
    table.append(line)
plots.table(
    table,
    "Kendall's tau with the probe in the records of other chapters (90 % interval)",
    {"sweep": "sweep", "n": "runs"} | {label: label for label, _ in KEYS.values()},
)

# %% [markdown]
# (The seeds of one setting are not independent choices, so these intervals are a little too narrow.) Compare
# the first two lines with the slices *temperature* and *augmentation* above. Where short and long runs agree
# on the sign, believe it; where they do not, you have learned how far a $\tau$ from one sweep carries.

# %% [markdown]
# ## Choosing without labels: the regret
#
# A ranking is a means. What you want is one good run. **Regret** is what the choice costs: the probe of the
# best run of the slice minus the probe of the run the measure picks. A pick at random has a regret, too: the
# best minus the mean. A measure that does not beat that row is not worth its computation.

# %%


def regret(name: str, rows: list[dict]) -> float:
    score = quality.goodness(name, rows)
    return max(row["probe"] for row in rows) - rows[score.index(max(score))]["probe"]


def regret_at_random(rows: list[dict]) -> float:
    return max(row["probe"] for row in rows) - sum(row["probe"] for row in rows) / len(rows)


lost = {name: {part: regret(name, rows) for part, rows in parts.items()} for name in names}
lost["(a run at random)"] = {part: regret_at_random(rows) for part, rows in parts.items()}
plots.table(
    [{"measure": name} | {part: 100 * value for part, value in row.items()} for name, row in lost.items()],
    "Regret in points of probe accuracy: 0 = the measure found the best run of the slice",
    {"measure": "picked by"} | {part: part for part in parts},
    ".1f",
)
average = {name: sum(row[part] for part in list(parts)[:-2]) / (len(parts) - 2) for name, row in lost.items()}
fig = plots.bars(
    {name: 100 * value for name, value in sorted(average.items(), key=lambda item: item[1])},
    "What choosing without labels costs, mean over the slices",
    xlabel="regret (points of probe accuracy)",
)
plots.show(
    fig,
    alt="Mean regret per measure: "
    + ", ".join(f"{name} {100 * value:.1f}" for name, value in average.items())
    + " points.",
)

# %% [markdown]
# ## What goes wrong: a perfect score for knowing nothing
#
# Every measure has its impostors. Six representations, from honest to absurd, each given as a function of
# (normalized) images; the last column is the only one that looks at labels.
#
# - **noise**: a fresh Gaussian vector for every view, without looking;
# - **constant**: the same vector for all, plus a trace of noise;
# - **whitened pixels**: the 64 leading principal components of the pixels, scaled to equal variance;
# - **untrained**: the encoder before training; **no colour change** and **SimCLR**: your two runs.

# %%
flat = views.normalize(unlabeled.images[:1500]).flatten(1)
center = flat.mean(dim=0)
_, sigma, directions = torch.svd_lowrank(flat - center, q=64, niter=4)
whitener = directions / sigma * math.sqrt(len(flat))  # [3 H W, 64]


def noise(x: Tensor) -> Tensor:
    return torch.randn(len(x), 256, generator=torch.Generator().manual_seed(int(1e4 * x.abs().mean())))


@torch.no_grad()
def encode(encoder, x: Tensor) -> Tensor:
    return torch.cat([encoder(batch) for batch in x.split(500)])


impostors = {
    "noise": noise,
    "constant": lambda x: 1 + 1e-3 * noise(x),
    "whitened pixels": lambda x: (x.flatten(1) - center) @ whitener,
    "untrained": partial(encode, fresh.encoder),
    "no colour change": partial(encode, methods["no colour change"].encoder),
    "SimCLR": partial(encode, methods["SimCLR"].encoder),
}


def judge(f, known_probe: float | None = None) -> dict:
    clean, seen = f(views.normalize(unlabeled.images[:1500])), many_views(f, recipe.policy)
    if known_probe is None:
        known_probe = probe(*(f(views.normalize(s.images)) for s in (train, test)), draws=1)
    return {
        "D": clean.shape[1],
        "rank": rank_me(clean) / clean.shape[1],
        "alpha": alpha_req(clean),
        "uniformity": diagnostics.uniformity(clean),
        "lidar": lidar(seen) / min(seen.shape[2], len(seen) - 1),
        "alignment": pair_distance(seen),
        "rotation": rotation_probe(lambda images: f(views.normalize(images)), unlabeled.images[:600]),
        "probe": known_probe,
    }


judged = {name: judge(f, live.get(name, {}).get("probe")) for name, f in impostors.items()}
plots.table(
    [{"representation": name} | row for name, row in judged.items()],
    "Six representations, all measures on the features (chance of the probe: 10 %)",
    {
        "representation": "representation",
        "D": "D",
        "rank": "RankMe / D",
        "alpha": "alpha",
        "uniformity": "uniformity",
        "lidar": "LiDAR / possible",
        "alignment": "alignment",
        "rotation": "rotation",
        "probe": "probe",
    },
    {
        "rank": ".0%",
        "lidar": ".0%",
        "probe": ".1%",
        "alpha": ".2f",
        "uniformity": ".2f",
        "alignment": ".2f",
        "rotation": ".2f",
    },
)
assert judged["noise"]["rank"] > 0.9 and judged["noise"]["probe"] < 0.2

# %% [markdown]
# Read it by columns. *RankMe* gives noise and whitened pixels full marks: whitening is exactly the operation
# that makes the spectrum flat, and it adds no knowledge. *Uniformity* is at its best for noise. *LiDAR* rates
# noise above the trained networks, for the reason of step 2: all its directions are equally bad. *Alignment*
# is perfect for a constant. The *rotation probe* gives nothing to noise and constants, since it asks for a
# skill; but the skill is its own, not yours. And an $\alpha$ near 1 is what you find in a random network.
#
# So no column can be read alone, and none can be read across families of features. Two that fail in opposite
# directions protect each other: noise has perfect uniformity *and* hopeless alignment, a constant the reverse.
#
# ### The yardstick moves
#
# One more trap, easy to fall into. LiDAR and alignment need views, and one usually takes the views the run was
# trained with. In a sweep over *augmentations* every run then brings its own ruler: a run whose views hardly
# differ finds them easy to align. The record measured both, with each run's own views and with one policy for
# all.

# %%
policies_swept = parts["augmentation"]
y = [row["probe"] for row in policies_swept]
rulers = []
for title, key, sign in (
    ("alignment of z", "alignment_{}_z", -1),
    ("LiDAR of z", "lidar_{}_z", 1),
    ("LiDAR of h", "lidar_{}_h", 1),
):
    both = {
        which: quality.tau_interval([sign * row[key.format(which)] for row in policies_swept], y)
        for which in ("own", "common")
    }
    rulers.append(
        {"measure": title}
        | {which: f"{t.tau:+.2f} ({t.low:+.2f} to {t.high:+.2f})" for which, t in both.items()}
    )
plots.table(
    rulers,
    f"Tau with the probe over {len(y)} augmentation policies, by the views used to measure",
    {"measure": "measure", "own": "each run's own views", "common": "the same views for all"},
)

# %% [markdown]
# ### And where the question has no answer
#
# The rotation probe needs a world in which up is up. Draw the same objects turned by any angle (seen from
# above, as in satellite or microscope pictures), and ask your good encoder again.

# %%
overhead = data.shapes("unlabeled", n=600, oriented=False, world=1)
upright = rotation_probe(partial(features_of, methods["SimCLR"]), unlabeled.images[:600])
turned = rotation_probe(partial(features_of, methods["SimCLR"]), overhead.images)
print(
    f"Rotation read from the same SimCLR features: {upright:.2f} in the upright world, {turned:.2f} where orientation means nothing (0 = chance)."
)

# %% [markdown]
# The features are the same; the question has lost its answer. A label-free measure that ranks your runs on
# photographs may rank nothing on your microscope slides.

# %% [markdown]
# ## Play: choose a measure and a slice
#
# Each dot is one recorded run. Pick a measure and a group of runs, look at the cloud before you read the
# $\tau$ in the title, and find the run the measure would keep.

# %%
widgets.explore(
    partial(quality.render, rows=runs),
    quality.controls(runs),
    static=[
        {"measure": "RankMe of h", "part": quality.METHODS},
        {"measure": "rotation probe", "part": quality.METHODS},
        {"measure": "RankMe of z", "part": "augmentation"},
        {"measure": "LiDAR of z", "part": quality.EVERYTHING},
    ],
    alt=partial(quality.describe, rows=runs),
    columns=2,
)

# %% [markdown]
# > **Try.** (1) Find the measure whose scatter over *all methods* is closest to a rising line. Does it also
# > win in each slice? (2) Find a slice where the loss beats every other measure. Why there? (3) Which single
# > run, if you removed it, would change the $\tau$ of RankMe over the augmentations most? The bootstrap's
# > interval knows.

# %% [markdown]
# ## Exercises
#
# Replace `return exercises.NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on
# your answers.
#
# ### 1 · Effective rank (•, 8 minutes)
#
# <details><summary>Hint 1</summary>`torch.linalg.svdvals(z)`; z is neither centred nor normalised.</details>
# <details><summary>Hint 2</summary>Shares sum to 1; their entropy is at most the log of their number.</details>
# <details><summary>Hint 3</summary>You want a number of directions, so undo the logarithm.</details>

# %%


def my_effective_rank(z: Tensor) -> float:
    """z [N, D] -> exp of the entropy of the singular values as shares"""
    return exercises.NOT_ATTEMPTED


ch21.check_effective_rank(my_effective_rank)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_effective_rank(z):
#     p = torch.linalg.svdvals(z)
#     p = p / p.sum()
#     return float((-(p * p.log()).sum()).exp())
# ```
# </details>
#
# ### 2 · Kendall's tau (•, 8 minutes)
#
# <details><summary>Hint 1</summary>A pair is ordered alike if the differences in x and in y have the same sign.</details>
# <details><summary>Hint 2</summary>`x[:, None] - x` holds all differences at once, each twice.</details>

# %%


def my_kendall_tau(x: Tensor, y: Tensor) -> float:
    """x, y [n], no ties -> from -1 to 1"""
    return exercises.NOT_ATTEMPTED


ch21.check_kendall_tau(my_kendall_tau)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_kendall_tau(x, y):
#     agree = (x[:, None] - x).sign() * (y[:, None] - y).sign()
#     return float(agree.sum() / (len(x) * (len(x) - 1)))
# ```
# </details>
#
# ### 3 · Regret (•, 5 minutes)
#
# <details><summary>Hint 1</summary>The measure picks a run; the price is read off the probes.</details>

# %%


def my_regret(measure: Tensor, probe: Tensor) -> float:
    """measure, probe [n] -> probe of the best run minus probe of the run with the largest measure"""
    return exercises.NOT_ATTEMPTED


ch21.check_regret(my_regret)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_regret(measure, probe):
#     return float(probe.max() - probe[measure.argmax()])
# ```
# </details>
#
# ### 4 · Fool RankMe (••, 10 minutes)
#
# Write features that get at least 90 % of the possible RankMe *without ever looking at the images*. Then a
# second version, without randomness.
#
# <details><summary>Hint 1</summary>Which cloud has all its singular values alike?</details>
# <details><summary>Hint 2</summary>You may use `len(images)`.</details>
# <details><summary>Hint 3</summary>Without randomness: what are the singular values of stacked identity matrices?</details>

# %%


def my_impostor(images: Tensor, dim: int) -> Tensor:
    """uint8 images [N, 3, H, W] -> features [N, dim]"""
    return exercises.NOT_ATTEMPTED


ch21.check_fool_rank_me(my_impostor)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_impostor(images, dim):
#     return torch.randn(len(images), dim)
#
#
# def my_impostor(images, dim):
#     return torch.eye(dim).repeat(len(images) // dim + 1, 1)[: len(images)]
# ```
#
# Add the image's mean colour as one more feature, and you have a measure that grows while the probe does not.
# </details>

# %% [markdown]
# ## Claims put to the test
#
# Statements from the literature, each with what this chapter measured. The verdict is computed from the
# numbers, by a rule you can read in the cell.

# %%


def verdict(holds: bool, partly: bool = False) -> str:
    return "reproduced" if holds else "mixed" if partly else "not reproduced here"


def words(t) -> str:
    return f"{t.tau:+.2f} ({t.low:+.2f} to {t.high:+.2f}, {t.runs} runs)"


within = taus["RankMe of h", quality.EVERYTHING]
cost, blind = regret("RankMe of h", parts[quality.EVERYTHING]), regret_at_random(parts[quality.EVERYTHING])
longer = {title: t for (title, label), t in longer_tau.items() if label == "RankMe of h"}
book.claim(
    "C-103",
    "RankMe ranks runs as the probe does and can choose hyper-parameters.",
    verdict(
        within.low > 0.3 and cost < blind, cost < blind or any(t.low > 0 for t in [within, *longer.values()])
    ),
    f"Kendall's tau over the short SimCLR runs {words(within)}; the run it picks loses {100 * cost:.1f} points to the best, "
    f"a random one {100 * blind:.1f}. Longer runs: "
    + ", ".join(f"{title} {words(t)}" for title, t in longer.items())
    + ". Rule: over the short runs, the interval above 0.3 and a pick better than a random one; "
    "the pick alone, or any interval above 0, mixed.",
    "garrido2023rankme",
)
best = max(row["rank_h"] for row in runs)
full = judged["noise"]["rank"] * judged["noise"]["D"]
book.claim(
    "C-104",
    "A high rank is necessary, not sufficient: random features have full rank.",
    verdict(full > best and judged["noise"]["probe"] < 0.15),
    {
        "RankMe of noise": full,
        "highest RankMe of the sweep": best,
        "probe on noise": judged["noise"]["probe"],
        "best probe of the sweep": max(row["probe"] for row in runs),
    },
    "garrido2023rankme",
)
alpha, rank = (taus[name, quality.EVERYTHING] for name in ("alpha-ReQ of h", "RankMe of h"))
alpha_all, rank_all = (taus[name, quality.METHODS] for name in ("alpha-ReQ of h", "RankMe of h"))
book.claim(
    "C-105",
    "alpha-ReQ tracks the probe less well than RankMe does.",
    verdict(
        alpha.high < rank.tau and alpha_all.tau < rank_all.tau,
        alpha.tau < rank.tau or alpha_all.tau < rank_all.tau,
    ),
    f"Within SimCLR: alpha-ReQ {words(alpha)}, RankMe {words(rank)}. All methods: {words(alpha_all)} and {words(rank_all)}. "
    "Rule: lower in both groups, and within SimCLR by more than its interval; lower in one, mixed.",
    "balestriero2023cookbook",
)

# %%
ordered = sorted(runs, key=lambda row: row["rank_z"])
third = len(ordered) // 3
low, middle, high = (
    sum(row["probe"] for row in group) / len(group)
    for group in (ordered[:third], ordered[third:-third], ordered[-third:])
)
collapse = taus["RankMe of z", quality.METHODS]
book.claim(
    "C-106",
    "How much the embeddings have collapsed is a proxy for performance.",
    verdict(collapse.low > 0 and low < middle < high, low < min(middle, high)),
    f"Rank of z against the probe over all runs: tau {words(collapse)}. Mean probe of the lowest, middle and highest third: "
    f"{low:.1%}, {middle:.1%}, {high:.1%}. Rule: the interval above 0 and each third better than the one below; only the lowest third worst, mixed.",
    "li2022understanding",
)
rotation = taus["rotation probe", "augmentation"]
book.claim(
    "C-111",
    "The accuracy of predicting rotations ranks augmentation policies without labels.",
    verdict(rotation.low > 0.3, rotation.low > 0),
    f"Kendall's tau over the augmentation policies {words(rotation)}; the policy it picks loses {100 * regret('rotation probe', parts['augmentation']):.1f} points to the best. "
    "Rule: the interval above 0.3; above 0, mixed.",
    "reed2021selfaugment",
)
cloud = torch.randn(5000, 64, generator=torch.Generator().manual_seed(0)).double()
shares = torch.linalg.svdvals(cloud) / torch.linalg.svdvals(cloud).sum()
entropy = float(-(shares * shares.log()).sum())
book.claim(
    "E-003-38",
    "RankMe is the entropy of the normalised singular values.",
    verdict(entropy > 32),
    {
        "entropy of a 64-dimensional Gaussian (nats)": entropy,
        "its exponential": math.exp(entropy),
        "dimensions": 64,
    },
    "balestriero2023cookbook",
)

# %% [markdown]
# The claims about the sweep rest on the record (short runs in our small world, a few dozen of them, not
# hundreds on ImageNet); the others on what ran in front of you. "Not reproduced here" says exactly that.

# %% [markdown]
# ## Where it comes from, where it went
#
# The effective rank is an old idea of signal processing ([Roy and Vetterli,
# 2007](https://ieeexplore.ieee.org/document/7098875)). It came to self-supervised learning with the discovery
# of dimensional collapse ([Jing et al., 2022](https://arxiv.org/abs/2110.09348), who counted singular values
# above a threshold) and became a forecast of quality in [Li et al. (2022)](https://arxiv.org/abs/2209.15007),
# $\alpha$-ReQ ([Agrawal et al., 2022](https://papers.nips.cc/paper_files/paper/2022/hash/70596d70542c51c8d9b4e423f4bf2736-Abstract-Conference.html))
# and RankMe ([Garrido et al., 2023](https://arxiv.org/abs/2210.02885)). LiDAR ([Thilak et al.,
# 2024](https://arxiv.org/abs/2312.04000)) answered the first objection, that variance is not information.
# The other line asks a pretext question of frozen features: rotation, in SelfAugment ([Reed et al.,
# 2021](https://arxiv.org/abs/2009.07724)). Alignment and uniformity ([Wang and Isola,
# 2020](https://arxiv.org/abs/2005.10242)) were meant to explain the contrastive loss and are used as a
# dashboard ever since.
#
# **What to do in practice.** Label a hundred pictures. This chapter's probes need no more, and nothing here is as
# reliable. If you cannot: compare runs of *one* method, *one* set of views and *one* length; use a spectrum
# measure to throw out what has collapsed, not to rank runs that have hardly begun; use a pretext probe
# whose answer exists in your data; and look at neighbours with your own eyes.
#
# ### Quiz
#
# **1.** Two runs of the same method have RankMe 40 and 90 of 256. A colleague adds a layer that whitens the
# features; both now have 250. What has improved?
#
# <details><summary>Answer</summary>Nothing a linear probe could not do itself: whitening is an invertible linear map. It has only removed the information that RankMe used. (The scale of directions matters to a regularised probe, so its accuracy may move a little.)</details>
#
# **2.** You sweep six temperatures and find $\tau = 0.6$ between RankMe and the probe. Is that good news?
#
# <details><summary>Answer</summary>It is weak news: six runs are fifteen pairs, twelve ordered alike and three not. The bootstrap interval of so small a sweep is wide; look at it before you let RankMe choose.</details>
#
# **3.** Why can the loss rank runs of different lengths, but not runs with different views?
#
# <details><summary>Answer</summary>Two lengths of training minimise the same function, so lower means further along. Other views make another task: without colour change it is easy to recognise the partner by its colours, the loss is low, and the network has learned to read colours. A harder task has a higher loss and may teach more.</details>
