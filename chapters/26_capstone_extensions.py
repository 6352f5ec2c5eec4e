# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 26 · You have an encoder. What would you change next, and how would you know that it helped?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/26_capstone_extensions.ipynb)
#
# **After this chapter you can**
#
# - halve the batch of the capstone with momentum keys and a queue, watch it with an online probe that never sees the test
#   split, and compare two methods on an equal budget, whichever of the two budgets you mean;
# - say what the temperature does to clusters, and why "tighter" is not one number;
# - turn a trained encoder into eight-bit integers, put it behind an HTTP address, and measure what that costs;
# - write an augmentation policy for a domain, and test a hypothesis so that it can fail.
#
# **You need** [chapter 25](25_capstone_stl10_simclr.ipynb); [chapter 13](13_from_nce_to_nt_xent.ipynb) for the loss and
# [chapter 14](14_negatives.ipynb) for the queue. The four parts do not depend on each other.
# **Time**: 86 minutes to read, about 55 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("26")

# %% [markdown]
# ## The puzzle: turn the pictures?
#
# Two worlds, the same ten kinds of things. In the first, a camera stands on the ground: houses have their roofs on top. In
# the second it flies: the same things, turned by any angle, and their angle means nothing.

# %%
import copy
import math
from collections import Counter
from functools import partial
from statistics import mean, stdev

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, diagnostics, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch26
from ssl_lessons.book.widgets import falsification
from ssl_lessons.methods import Method, SimCLR
from ssl_lessons.models import projection_head
from ssl_lessons.training import Monitor, pretrain, recipes
from ssl_lessons.views import pretext

SEED = 0
WORLDS = {"upright": {}, "from above": {"oriented": False}}
unlabeled = {
    "upright": data.shapes("unlabeled", 32, 8192, SEED, world=1),
    "from above": data.shapes("unlabeled", 32, 4096, SEED, oriented=False, world=1),
}
train = {name: data.shapes("train", 32, 2000, SEED, **options, world=1) for name, options in WORLDS.items()}
plots.show(
    plots.image_grid(
        torch.cat([train[name].images[:10] for name in WORLDS]),
        columns=10,
        title="Upright (top) and from above (bottom): the same kinds, but below, the angle is noise",
    ),
    alt="Ten drawn objects standing upright, and ten of the same kinds turned by arbitrary angles.",
)

# %% [markdown]
# SimCLR learns to ignore whatever its augmentation changes. So here is a policy made for the second world: the standard
# one, and every view is turned by 0, 90, 180 or 270 degrees besides. A quarter turn moves pixels without blurring them.
# It is what the source page of this build proposes for satellite pictures.
#
# > **Predict before you go on.** Four encoders, equal training: with and without quarter turns, in each world. A linear
# > probe names the kind from 100 labels. (1) In which world do the turns help? (2) By how many points? (3) Would you have
# > run the experiment, had nobody asked?
#
# The answer is in the last of four parts, because it takes a control to read it. Each part changes one thing of the
# capstone of chapter 25, and each begins with the same question: *compared with what?*

# %% [markdown]
# ## How to compare
#
# Three rules for this chapter.
#
# **A budget has a unit.** Two methods that see as many *images* do not take as many *seconds*, and the other way round.
# Say which one you hold fixed; where they differ, show both.
#
# **Differences, not values.** Let $a_s$ and $b_s$ be the scores of two methods with seed $s$, which fixes the pictures,
# the initial weights and the labels of the probe. The seed moves both scores together, so look at $d_s = a_s - b_s$ for
# $S$ seeds, their mean $\bar d$ and its standard error,
#
# $$\operatorname{se} = \sqrt{\frac{1}{S(S-1)}\sum_{s=1}^{S} (d_s - \bar d)^2} .$$
#
# With three seeds the 95 % interval is $\bar d \pm 4.3\operatorname{se}$ (Student's $t$ with two degrees of freedom),
# more than twice as wide as the $\pm 2\operatorname{se}$ one is used to. Three seeds tell large effects only.
#
# **Nothing is chosen on the test split.** Learning rates were chosen on held-out pictures of the *train* split, for each
# contestant from the same list, in a world with another seed.

# %%
from scipy.stats import t as student

record, origin = book.recorded("extensions")


def scores(part: str, arm: str, world: str = "upright", key: str = "probe") -> dict[int, float]:
    """seed -> score of one arm of the record."""
    wanted = (part, arm, world)
    return {r["seed"]: r[key] for r in record if (r["part"], r["arm"], r["data"]) == wanted}


def difference(a: dict[int, float], b: dict[int, float]) -> tuple[float, float]:
    """Mean of a - b over the seeds that both have, and half the width of its 95 % interval (inf with one seed)."""
    d = [a[seed] - b[seed] for seed in a if seed in b]
    if len(d) < 2:
        return (d[0] if d else math.nan), math.inf
    return mean(d), float(student.ppf(0.975, len(d) - 1)) * stdev(d) / math.sqrt(len(d))


def points(d: tuple[float, float]) -> str:
    """A difference of accuracies in points, with its 95 % interval."""
    return f"{100 * d[0]:+.1f} ± {100 * d[1]:.1f}" if math.isfinite(d[1]) else f"{100 * d[0]:+.1f} (one seed)"


# %% [markdown]
# ## Part 1 · The CS student: half the batch, with momentum keys
#
# The task: batch 128 instead of 256, MoCo-style momentum updates for the key encoder, and a validation probe that runs
# along. The reason one expects a loss at all: in SimCLR the negatives are the rest of the batch, so half the batch is half
# the negatives. MoCo ([He et al., 2020](https://arxiv.org/abs/1911.05722)) takes its negatives from a queue instead, whose
# length does not care about the batch.
#
# **Symbols.** $q = f_q(x)$, $k = f_k(x')$: unit-length embeddings of two views of one picture, $[N, D]$, by the query
# network and the key network; $Q$: the queue, $[K, D]$, the keys of the last $K/N$ batches; $\tau$: temperature;
# $m$: momentum. After each step of the optimiser (their equations 1 and 2):
#
# $$L = -\frac1N\sum_i \log\frac{\exp(q_i^\top k_i/\tau)}{\exp(q_i^\top k_i/\tau)+\sum_{j=1}^{K}\exp(q_i^\top Q_j/\tau)},
# \qquad \theta_k \leftarrow m\,\theta_k + (1-m)\,\theta_q, \qquad Q \leftarrow [\,k,\; Q\,]_{1..K}.$$
#
# **Why the keys are shuffled.** BatchNorm mixes the pictures of a batch: each embedding depends a little on its
# neighbours. A query and its key share their neighbours, the negatives had others. That is a hint at the answer which has
# nothing to do with the picture. On several devices, each with its own statistics over few pictures, the hint is loud, and
# MoCo sends the keys to the devices in another order than the queries, and back afterwards (their section 3.3). On one
# device there is nothing to shuffle: one batch, one set of statistics. `groups` below imitates the devices.

# %%


# fmt: off
class MyMoCo(Method):
    """MoCo v2: momentum keys, a queue, keys shuffled over `groups` of BatchNorm."""

    def __init__(self, encoder, K: int = 2048, m: float = 0.99, tau: float = 0.1, groups: int = 1, shuffle: bool = True):
        super().__init__()
        self.encoder, self.projector = encoder, projection_head(encoder.dim, encoder.dim, 128)
        self.key_net = copy.deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(K, 128), dim=1))      # newest first
        self.m, self.tau, self.groups, self.shuffle = m, tau, groups, shuffle

    @torch.no_grad()
    def make_keys(self, x):
        order = torch.randperm(len(x)) if self.groups > 1 and self.shuffle else torch.arange(len(x))
        k = torch.cat([self.key_net(part) for part in x[order].chunk(self.groups)])  # row i: picture order[i]
        return F.normalize(k, dim=1)[order.argsort()]                                # and back in order

    def forward(self, views, labels=None):
        q = torch.cat([self.embed(part) for part in views[0].chunk(self.groups)])
        q, self.k = F.normalize(q, dim=1), self.make_keys(views[1])                  # [N, D] each
        positive = (q * self.k).sum(dim=1, keepdim=True)                             # [N, 1]
        logits = torch.cat([positive, q @ self.queue.T], dim=1) / self.tau           # [N, 1 + K]
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))

    @torch.no_grad()
    def after_step(self, progress):
        for theta_q, theta_k in zip(nn.Sequential(self.encoder, self.projector).parameters(), self.key_net.parameters()):
            theta_k.mul_(self.m).add_(theta_q, alpha=1 - self.m)
        for b_q, b_k in zip(nn.Sequential(self.encoder, self.projector).buffers(), self.key_net.buffers()):
            b_k.copy_(b_q)                                                           # running statistics: evaluation only
        self.queue = torch.cat([self.k, self.queue])[: len(self.queue)]              # the oldest fall off the end
# fmt: on


# %% [markdown]
# Does it agree with the package's `methods/moco.py`? Same weights, same views, in double precision, over several steps; and
# with four groups, does the shuffle do what it says? Change one *other* picture of a group and see whose key moves.

# %%
# NBVAL_CHECK_OUTPUT
moco_recipe = recipes.get_recipe("quick", method="moco_v2")


def agrees(groups: int, steps: int = 6) -> bool:
    package = moco_recipe.with_(options={"queue_size": 256, "groups": groups}).build(SEED).double()
    mine = MyMoCo(package.encoder, 256, package.momentum, package.temperature, groups).double()
    mine.projector, mine.key_net = package.projector, copy.deepcopy(package.teacher)
    mine.queue = package.queue.rows.flip(0)
    for step in range(steps):
        pictures = unlabeled["upright"].images[64 * step : 64 * step + 64]
        pair = views.make_views(pictures, (moco_recipe.policy,) * 2, torch.Generator().manual_seed(step))
        losses = []
        for method in (mine, package):
            torch.manual_seed(step)  # the same shuffle
            losses.append(method([v.double() for v in pair]))
        if not torch.allclose(*losses, rtol=1e-10):
            return False
        with torch.no_grad():  # pretend that an optimiser moved the weights
            for p in [*package.encoder.parameters(), *package.projector.parameters()]:
                p.mul_(1.01)
        mine.after_step(0.5), package.after_step(0.5)
    return True


def moved_keys(shuffle: bool, groups: int = 4) -> set[int]:
    """Which of 32 keys change when picture 1 does; picture 0 stands in its group of the queries."""
    method = MyMoCo(moco_recipe.build(SEED).encoder, groups=groups, shuffle=shuffle)
    pictures = unlabeled["upright"].images[:33]
    before, after = pictures[:32].clone(), pictures[:32].clone()
    after[1] = pictures[32]
    keys = []
    for batch in (before, after):
        torch.manual_seed(4)
        keys.append(method.make_keys(views.normalize(batch)))
    return set((keys[0] - keys[1]).abs().amax(dim=1).gt(1e-6).nonzero().flatten().tolist())


print("agrees with the package, one group and four:", agrees(1), agrees(4))
print(
    "without shuffle, changing picture 1 moves the keys of its own group:", moved_keys(False) == set(range(8))
)
shuffled = moved_keys(True)
print(
    "with shuffle, those of as many pictures, but another group:",
    len(shuffled) == 8 and shuffled != set(range(8)),
)

# %% [markdown]
# (The queue, the clocks of momentum, and what a leak does to a loss are the subject of chapter 14.)
#
# **The online probe.** A loss says little about an encoder; with a queue it may even rise while the features improve. So
# look at the features while the run goes on, on pictures that decide nothing later: the *train* split, one half to fit,
# the other to score. Logistic regression would do; least squares has a closed form and takes milliseconds. With features
# $H$ $[n, d]$ (standardised), one-hot labels $Y$ $[n, C]$ and a ridge $\lambda$,
#
# $$W = (H^\top H + \lambda I)^{-1} H^\top Y, \qquad \hat y(h) = \arg\max_c\,(h W)_c .$$

# %%


class OnlineProbe:
    """Called with the history at every measurement: accuracy of a ridge probe on held-out train pictures."""

    def __init__(self, method: Method, fit: data.ImageSet, score: data.ImageSet, ridge: float = 100.0):
        self.method, self.fit, self.score, self.ridge, self.curve = method, fit, score, ridge, []

    def __call__(self, history: list[dict]) -> None:
        H, H_score = (
            evaluation.extract_features(self.method.encoder, s.images) for s in (self.fit, self.score)
        )
        center, scale = H.mean(dim=0), H.std(dim=0) + 1e-6
        H, H_score = (H - center) / scale, (H_score - center) / scale
        Y = F.one_hot(self.fit.labels).float() - 1 / len(self.fit.classes)
        W = torch.linalg.solve(H.T @ H + self.ridge * torch.eye(H.shape[1]), H.T @ Y)
        accuracy = ((H_score @ W).argmax(dim=1) == self.score.labels).float().mean().item()
        self.curve.append((history[-1]["step"], accuracy))


def best_settings(contestant: str) -> dict:
    """What the tuning of the record chose for a contestant, on held-out train pictures of another world."""
    runs = [r for r in record if r["part"] == "tuning" and r["contestant"] == contestant]
    return max(runs, key=lambda r: r["held_out"])


PAIRS = 90 * 256  # pairs of views that each of the two live runs sees
fit, score = train["upright"][:1000], train["upright"][1000:]


def live(method: Method, batch: int, lr: float) -> tuple[list[dict], OnlineProbe]:
    steps, probe = PAIRS // batch, OnlineProbe(method, fit, score)
    history = pretrain(
        method, unlabeled["upright"].images, (moco_recipe.policy,) * 2, steps=steps, batch_size=batch, lr=lr, seed=SEED,
        monitor=Monitor(fit[:500], score[:500], every=steps // 5), on_measure=probe,
    )  # fmt: skip
    return history, probe


def simclr(temperature: float = 0.1) -> SimCLR:
    recipe = recipes.get_recipe("quick")
    return recipe.with_(options={"temperature": temperature}).build(SEED)


torch.manual_seed(SEED)
chosen = {name: best_settings(name) for name in ("simclr 256", "moco 128")}
moco = MyMoCo(simclr().encoder, K=chosen["moco 128"].get("queue") or 2048, m=chosen["moco 128"]["momentum"])
simclr_256 = simclr()
runs = {
    "SimCLR, batch 256": live(simclr_256, 256, chosen["simclr 256"]["lr"]),
    "MoCo, batch 128": live(moco, 128, chosen["moco 128"]["lr"]),
}

# %%
fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2)
for (name, (history, probe)), batch, color in zip(runs.items(), (256, 128), plots.COLORS):
    left.plot([r["step"] * batch for r in history], [r["loss"] for r in history], color=color, label=name)
    right.plot(
        [s * batch for s, _ in probe.curve], [100 * a for _, a in probe.curve], "o-", color=color, label=name
    )
for ax, negatives, color in zip((left, left), (2 * 256 - 1, len(moco.queue) + 1), plots.COLORS):
    ax.axhline(math.log(negatives), color=color, linestyle=":")
right.axhline(10, color=plots.GRAY, linestyle=":", label="chance")
left.set(
    title="Two losses that cannot be compared (dotted: knows nothing)",
    xlabel="pairs of views seen",
    ylabel="loss",
)
right.set(
    title="The online probe can",
    xlabel="pairs of views seen",
    ylabel="held-out train pictures (%)",
    ylim=(0, 100),
)
right.legend()
finals = {name: probe.curve[-1][1] for name, (_, probe) in runs.items()}
plots.show(
    fig,
    alt="Left: the losses of SimCLR and MoCo against pairs of views, each below the loss of a network that knows nothing. "
    "Right: the online probe on held-out train pictures; at the end "
    + ", ".join(f"{name} {100 * v:.0f} percent" for name, v in finals.items())
    + ".",
)
assert all(probe.curve[-1][1] > probe.curve[0][1] + 0.05 for _, probe in runs.values())

# %% [markdown]
# Ninety steps decide nothing. The record has 400 steps at batch 256 and as many pairs of views at batch 128, several seeds, every
# contestant with the learning rate (MoCo: also momentum and queue) that was best on held-out pictures. MoCo encodes the keys without a
# gradient, so it needs less time per pair; the third row gives it the *seconds* that SimCLR takes. The last row is the
# control that is easy to forget: batch 128, and nothing else changed.

# %%
ARMS = [a for a in ("simclr 256", "moco 128", "moco 128, same seconds", "simclr 128") if scores("moco", a)]
table = []
for arm in ARMS:
    found = scores("moco", arm)
    some = next(r for r in record if r["part"] == "moco" and r["arm"] == arm)
    versus = difference(found, scores("moco", "simclr 256"))
    table.append(
        {
            "arm": arm,
            "pairs": f"{some['pairs']:,}",
            "lr": f"{some['lr']:g}"
            + (f", m {some['momentum']:g}, K {some['queue']}" if some["momentum"] else ""),
            "probe": mean(found.values()),
            "seeds": " ".join(f"{100 * v:.0f}" for v in found.values()),
            "versus": "" if arm == "simclr 256" else points(versus),
            "knn": mean(scores("moco", arm, key="knn").values()),
        }
    )
speed = next(r for r in record if r["part"] == "moco" and r["arm"] == "speed")
plots.table(
    table,
    "Batch 256 against batch 128: probe with 100 labels on the test split, scored once per run",
    {"arm": "method and batch", "pairs": "pairs of views", "lr": "chosen", "probe": "probe", "seeds": "per seed (%)",
     "versus": "points against the first row, 95 %", "knn": "kNN"},
    {"probe": ".1%", "knn": ".1%"},
)  # fmt: skip
print(f"One pair costs SimCLR at 256 {speed['ratio']:.2f} times the seconds that it costs MoCo at 128.")
print(origin)

# %%
fig, ax = plots.new_figure(6.4, 3.0)
for arm, color, line in zip(ARMS, plots.COLORS, ("-", "--", "-.", ":")):
    curves = [dict(map(tuple, r["online"])) for r in record if r["part"] == "moco" and r["arm"] == arm]
    shared = sorted(set.intersection(*(set(c) for c in curves)))
    ax.plot(shared, [100 * mean(c[x] for c in curves) for x in shared], line, color=color, label=arm)
ax.axhline(10, color=plots.GRAY, linestyle=":")
ax.set(
    title="The same four, watched on held-out train pictures (mean of the seeds)",
    xlabel="pairs of views seen",
    ylabel="online kNN (%)",
    ylim=(0, 100),
)
ax.legend()
plots.show(
    fig,
    alt="Online kNN accuracy on held-out train pictures against pairs of views for the four arms; final probes: "
    + ", ".join(f"{row['arm']} {row['probe']:.0%}" for row in table)
    + ".",
)
moco_gap = difference(scores("moco", "moco 128"), scores("moco", "simclr 256"))
control_gap = difference(scores("moco", "simclr 128"), scores("moco", "simclr 256"))
families, families_origin = book.recorded("families")
minute = {m: [r for r in families if (r["method"], r["arm"]) == (m, "minute")] for m in ("simclr", "moco_v2")}
told = [
    f"{m} after {runs_[0]['steps']:,} steps {mean(r['probe'] for r in runs_):.1%}"
    for m, runs_ in minute.items()
]
print(f"Longer runs, both at batch 256 (the record of chapter 14): {', '.join(told)}.")

# %% [markdown]
# Read the table from the bottom. If SimCLR at 128 does not lose against SimCLR at 256, there was no loss for MoCo to repair,
# and MoCo is then to be judged against *that* row. Half the batch at as many pictures is twice as many steps, and in a
# short run steps are scarce. (A queue starts with random directions, and its keys come from an encoder that lags behind: a
# short run is the hardest case for MoCo. The last line above gives longer ones.) What the queue is for shows where memory,
# not the number of steps, is the limit: with a ResNet-50 at 224 pixels a batch of 4,096 does not fit a small card at all.

# %% [markdown]
# ## Part 2 · The applied researcher: does a low temperature tighten clusters until they collapse?
#
# That is the hypothesis as the source page states it, with the sweep {0.05, 0.1, 0.2}. Chapter 13 has the first record; this
# part asks three things that it left open. What *is* tight? What happens further down? And does it change with longer
# training?
#
# **Tightness has two numbers.** For unit-length embeddings, let $c_\text{in}$ be the mean cosine of two different pictures
# of one class (Wang and Liu's *tolerance*, [2021](https://arxiv.org/abs/2012.09740)) and $c_\text{out}$ that of two
# pictures of different classes. A squared distance is $2 - 2\cos$, so the relative tightness is
#
# $$\rho = \frac{\text{mean squared distance within classes}}{\text{mean squared distance between classes}} = \frac{1 - c_\text{in}}{1 - c_\text{out}} .$$
#
# $\rho = 1$: the classes do not show. A cloud that shrinks as a whole raises $c_\text{in}$, and does nothing to $\rho$.
# **Uniformity** is $\log \mathbb{E}\, e^{-2\lVert z - z'\rVert^2}$ over pairs ([Wang and Isola,
# 2020](https://arxiv.org/abs/2005.10242)): near $-4$ on a sphere well used, 0 in a point. A **collapse** is what
# `diagnose` calls one.
#
# First live: your SimCLR from part 1 had $\tau = 0.1$. Here is one more, at 0.01.

# %%
torch.manual_seed(SEED)
cold = simclr(temperature=0.01)
pretrain(
    cold, unlabeled["upright"].images, (moco_recipe.policy,) * 2, steps=PAIRS // 256, lr=chosen["simclr 256"]["lr"],
    seed=SEED, progress=False,
)  # fmt: skip


def geometry(z: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Cosines within and between classes, relative tightness, uniformity and diagnosis of embeddings [N, D]."""
    z = F.normalize(z, dim=1)
    cosine, same = z @ z.T, labels[:, None] == labels
    within = cosine[same & ~torch.eye(len(z), dtype=torch.bool)].mean().item()
    between = cosine[~same].mean().item()
    return {
        "within": within,
        "between": between,
        "tightness": (1 - within) / (1 - between),
        "uniformity": diagnostics.uniformity(z),
        "verdict": diagnostics.diagnose(z).verdict,
    }


with torch.no_grad():
    shapes_of = {
        "0.1": geometry(simclr_256.cpu().eval().embed(views.normalize(score.images)), score.labels),
        "0.01": geometry(cold.cpu().eval().embed(views.normalize(score.images)), score.labels),
    }
plots.table(
    [{"tau": tau, **values} for tau, values in shapes_of.items()],
    "Embeddings z of the same 1,000 held-out pictures after 90 steps, two temperatures",
    {"tau": "temperature", "within": "cosine within classes", "between": "between classes", "tightness": "distance within / between",
     "uniformity": "uniformity", "verdict": "diagnosis"},
    ".2f",
)  # fmt: skip
assert shapes_of["0.01"]["between"] > shapes_of["0.1"]["between"] + 0.2

# %% [markdown]
# The cosines within classes are far higher at 0.01: "tight". But so are the cosines between classes. The whole cloud has
# drawn together, and the last two columns ask whether that is a collapse. Now the record: eight temperatures, and for the middle ones
# runs of three times the length.

# %%
first, first_origin = book.recorded("temperature")
LONG = max((r["steps"] for r in record if r["part"] == "temperature"), default=400)
short = [dict(r, steps=400) for r in first] + [
    r for r in record if r["part"] == "temperature" and r["steps"] == 400
]
long = [r for r in record if r["part"] == "temperature" and r["steps"] > 400]
for row in short + long:
    row["tightness"] = (1 - row["within"]) / (1 - row["between"])


def over_seeds(rows: list[dict], key: str) -> dict[float, list[float]]:
    taus = sorted({r["temperature"] for r in rows})
    return {tau: [r[key] for r in rows if r["temperature"] == tau] for tau in taus}


fig, axes = plots.new_figure(9.2, 5.2, 2, 2)
PANELS = (
    ("probe", "Probe: an inverted U", "accuracy, 100 labels (%)", 100),
    ("within", "Cosines climb, between classes too", "mean cosine of z", 1),
    ("tightness", "Relative tightness", "distance within / between", 1),
    ("uniformity", "The sphere is used worst at the ends", "uniformity (lower: more spread)", 1),
)
for ax, (key, title, label, unit) in zip(axes.flat, PANELS):
    curves = [(short, key, "-", "o", "400 steps"), (long, key, "--", "s", f"{LONG:,} steps")]
    if key == "within":
        curves = [(short, "within", "-", "o", "same class"), (short, "between", ":", "s", "other class")]
    for (rows, name, line, marker, words), color in zip(curves, plots.COLORS):
        found = over_seeds(rows, name)
        ax.plot(list(found), [unit * mean(v) for v in found.values()], line, color=color, label=words)
        for tau, values in found.items():
            ax.plot([tau] * len(values), [unit * v for v in values], marker, color=color, markersize=3)
    ax.set(title=title, xlabel="temperature", ylabel=label, xscale="log")
    ax.legend()
axes[0, 0].axhline(10, color=plots.GRAY, linestyle=":")
probes = {tau: mean(v) for tau, v in over_seeds(short, "probe").items()}
tight = {tau: mean(v) for tau, v in over_seeds(short, "tightness").items()}
plots.show(
    fig,
    alt="Four panels against temperature from 0.005 to 1. Probe: "
    + ", ".join(f"{100 * v:.0f} percent at {tau:g}" for tau, v in probes.items())
    + ". Cosines within and between classes rise together as the temperature falls. Relative tightness: "
    + ", ".join(f"{v:.2f} at {tau:g}" for tau, v in tight.items())
    + ". Uniformity is lowest near 0.2.",
)

# %%
SWEEP = (0.05, 0.1, 0.2)


def spread_text(values: list[float]) -> str:
    return (
        f"{100 * mean(values):.1f} ± {100 * stdev(values):.1f}"
        if len(values) > 1
        else f"{100 * values[0]:.1f}"
    )


extra = {
    tau: [r.get("verdict") for r in short if r["temperature"] == tau and r.get("verdict")] for tau in probes
}
rows_ = []
for tau in probes:
    mine = [r for r in short if r["temperature"] == tau]
    longer = [r["probe"] for r in long if r["temperature"] == tau]
    rows_.append(
        {
            "tau": f"{tau:g}",
            "probe": spread_text([r["probe"] for r in mine]),
            "long": spread_text(longer) if longer else None,
            "within": mean(r["within"] for r in mine),
            "between": mean(r["between"] for r in mine),
            "tightness": tight[tau],
            "uniformity": mean(r["uniformity"] for r in mine),
            "rank": mean(r["rank_z"] for r in mine),
            "verdict": ", ".join(sorted(set(extra[tau]))) or None,
        }
    )
plots.table(
    rows_,
    "The temperature: probe (mean ± standard deviation over seeds), geometry of z, diagnosis",
    {"tau": "temperature", "probe": "probe (%)", "long": f"after {LONG:,} steps", "within": "cosine within", "between": "between",
     "tightness": "tightness", "uniformity": "uniformity", "rank": "RankMe of z", "verdict": "diagnosis of z"},
    {"rank": ".0f", "within": ".2f", "between": ".2f", "tightness": ".2f", "uniformity": ".2f"},
)  # fmt: skip
by_tau = {tau: {r["seed"]: r["probe"] for r in short if r["temperature"] == tau} for tau in probes}
for a, b in ((0.1, 0.05), (0.1, 0.2)):
    print(
        f"probe at {a} minus probe at {b}: {points(difference(by_tau[a], by_tau[b]))} points (95 %, paired by seed)"
    )
print(first_origin)
print(origin)

# %% [markdown]
# Three answers. *What is tight?* Towards low temperatures both cosines climb: the whole cloud shrinks, classes and strangers together.
# Relative tightness has its best values in the middle. *Further down?* The probe sinks, steadily and without a cliff, and at the lowest
# temperature the embeddings still are no collapse: nearly one direction, but not quite, and what is left of the spread still tells
# pictures apart. *Longer training?* The best temperature moves up, and at low temperatures the classes become *less* tight while the probe
# improves: telling every picture from every other goes on, also within a class. Tightness is not quality. (Neighbouring temperatures
# differ by little more than the seeds do, and the long runs have two seeds.)

# %% [markdown]
# ## Part 3 · The applied engineer: eight bits and a port
#
# The task: turn encoder and probe into int8, put them behind HTTP with TorchServe, and keep the median answer under 20 ms.
#
# ### A small puzzle first: how many bits does a weight need?
#
# A weight of your encoder is a float32: 32 bits, of which 24 hold its digits. With 8 bits it is one of 255 values; with 4
# bits, one of 15; with 2 bits, it is $-1$, $0$ or $1$ times a constant.
#
# > **Predict before you go on.** The probe is right about so and so many test pictures with float32 weights. How many
# > points does it lose with 8 bits? With 6, 4, 3, 2? At which step does it break?
#
# ### BatchNorm costs nothing
#
# First a layer to remove. In evaluation mode BatchNorm is an affine map with fixed numbers, and it follows a convolution,
# which is linear. For output channel $c$ with weights $W_c$, bias $b_c$ (zero where there is none), running mean $\mu_c$,
# running variance $\sigma_c^2$, scale $\gamma_c$ and shift $\beta_c$,
#
# $$\gamma_c\,\frac{W_c * x + b_c - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta_c
# = \underbrace{s_c W_c}_{W'_c} * x + \underbrace{s_c\,(b_c - \mu_c) + \beta_c}_{b'_c},
# \qquad s_c = \frac{\gamma_c}{\sqrt{\sigma_c^2 + \epsilon}} .$$
#
# So one convolution does the work of both ([Jacob et al., 2018](https://arxiv.org/abs/1712.05877), section 3.2). It must be
# folded *before* quantisation: the numbers that will be stored in eight bits are those of $W'$.

# %%
from dataclasses import replace

from ssl_lessons.deployment import quantization
from ssl_lessons.deployment.export import linear_layer

encoder = copy.deepcopy(simclr_256.encoder).eval()


def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """The folded weights [C_out, C_in, 3, 3] and bias [C_out]."""
    s = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    b = torch.zeros_like(norm.running_mean) if conv.bias is None else conv.bias
    return s[:, None, None, None] * conv.weight, s * (b - norm.running_mean) + norm.bias


with torch.no_grad():
    conv, norm = (copy.deepcopy(encoder.layers[i]).double() for i in (3, 4))
    x = torch.randn(8, conv.in_channels, 16, 16, dtype=torch.float64)
    W, b = fold_batch_norm(conv, norm)
    assert torch.allclose(F.conv2d(x, W, b, conv.stride, conv.padding), norm(conv(x)), rtol=0, atol=1e-10)

    folded = quantization.fold(encoder)  # the package's: the whole encoder
    pixels = views.normalize(train["upright"].images[:64])
    assert torch.allclose(folded(pixels), encoder(pixels), rtol=1e-3, atol=1e-4)
    theirs = dict(folded.named_modules())["layers.3"]
    assert torch.allclose(theirs.weight.double(), W, atol=1e-5) and torch.allclose(
        theirs.bias.double(), b, atol=1e-5
    )

kinds = [sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) for net in (encoder, folded)]
print(f"BatchNorm layers: {kinds[0]} before folding, {kinds[1]} after; the features are the same.")

# %% [markdown]
# ### A scale and a zero point
#
# A real number $x$ is stored as an integer $q$ and read back as $\hat x$:
#
# $$q = \operatorname{clip}\!\Big(\operatorname{round}\!\big(\tfrac{x}{s}\big) + z,\; q_{\min},\; q_{\max}\Big), \qquad
# \hat x = s\,(q - z), \qquad |x - \hat x| \le \tfrac{s}{2} \text{ unless clipped.}$$
#
# $s > 0$ is the *scale*, the distance of neighbouring values, and the whole number $z$ is the *zero point*, the integer that
# stands for 0. Zero must be stored without error, because padding and ReLU are full of zeros.
#
# - **Weights** are spread on both sides of 0: $z = 0$, $q$ from $-127$ to $127$, $s = \max|W| / 127$.
# - **Activations** after a ReLU have one sign: $q$ from 0 to 255, $s = (\max - \min)/255$, $z = \operatorname{round}(-\min/s)$.
#   Their range is not known from the weights. It is watched while a few hundred *unlabeled* pictures pass: this is the
#   **calibration**, and all the data that post-training quantisation needs.
#
# With both in integers, a product of a layer is a sum of integer products, and the real numbers are multiplied once at the end:
#
# $$\sum_i \hat w_i \hat x_i = s_w s_x \Big(\sum_i q_{w,i}\, q_{x,i} - z_x \sum_i q_{w,i}\Big).$$

# %%


def largest(w: torch.Tensor, per_channel: bool) -> torch.Tensor:
    """max |W| of each output channel [C_out, 1, 1, 1], or of the whole tensor."""
    return w.abs().amax(dim=(1, 2, 3), keepdim=True) if per_channel else w.abs().amax()


def there_and_back(w: torch.Tensor, bits: int, per_channel: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights as they come back, and the scale."""
    highest = 2 ** (bits - 1) - 1
    scale = largest(w, per_channel) / highest
    return scale * torch.round(w / scale).clamp(-highest, highest), scale


rows = []
with torch.no_grad():
    for per_channel in (False, True):
        for bits in (8, 4):
            w_hat, scale = there_and_back(W, bits, per_channel)
            grid = quantization.weight_grid(W, bits, per_channel)
            assert torch.equal(w_hat, quantization.fake_quantize(W, grid))  # the package agrees
            assert bool(((w_hat - W).abs() <= scale / 2 + 1e-12).all())
            y, y_hat = (F.conv2d(x, w, b, conv.stride, conv.padding) for w in (W, w_hat))
            rows.append(
                {
                    "scales": "one per output channel" if per_channel else "one for the layer",
                    "bits": bits,
                    "bound": float(scale.mean()) / 2,
                    "worst": float((w_hat - W).abs().max()),
                    "lost": int((w_hat == 0).flatten(1).all(dim=1).sum()),
                    "error": float((y_hat - y).norm() / (y - b[:, None, None]).norm()),
                }
            )
plots.table(
    rows,
    "One folded convolution: half a step, the worst error of a weight, and what it does to the output",
    {"scales": "scales", "bits": "bits", "bound": "half a step (mean)", "worst": "worst error of a weight",
     "lost": "channels rounded to 0", "error": "relative error of the output"},
    {"bound": ".2g", "worst": ".2g", "error": ".2%"},
)  # fmt: skip

q_w, q_x = (torch.randint(-127, 128, (500,)), torch.randint(0, 256, (500,)))
s_w, s_x, z_x = 0.013, 0.031, 47
integers = s_w * s_x * int((q_w * q_x).sum() - z_x * q_w.sum())
assert math.isclose(integers, float((s_w * q_w.double() * (s_x * (q_x.double() - z_x))).sum()), rel_tol=1e-9)

# %% [markdown]
# Folding gave each output channel a factor $s_c$ of its own, so the channels differ in size. One scale for all of them has to
# serve the largest, and the small ones live on few of the steps. A scale per channel costs one number per channel, and no time:
# it can be multiplied in at the end like $s_w$ above. (The same cannot be done for the input channels. Why?)
#
# Now the puzzle. `quantization.simulate` puts the weights of every layer on such a grid, and their inputs on one of 8 bits;
# everything is computed in float, so this says what is lost, not how fast it is.

# %%
few = train["upright"][:500]  # labels for the probe
test = data.shapes("test", 32, 1000, SEED, world=1)
ranges = quantization.input_ranges(folded, unlabeled["upright"].images[:512])  # calibration: no labels
probe = linear_layer(evaluation.extract_features(encoder, few.images), few.labels)  # one linear layer


def accuracy(network: nn.Module, pictures: data.ImageSet) -> float:
    """Test accuracy of a network under the probe that was fitted to the float encoder."""
    h = evaluation.extract_features(network, pictures.images)
    return float((probe(h).argmax(1) == pictures.labels).float().mean())


float_accuracy = accuracy(encoder, test)
BITS = (8, 6, 4, 3, 2)
sweep = {
    per_channel: [
        accuracy(quantization.simulate(folded, ranges, bits, 8, per_channel), test) for bits in BITS
    ]
    for per_channel in (True, False)
}

# %%
fig, ax = plots.new_figure(6.4, 3.0)
for (per_channel, values), marker, color in zip(sweep.items(), "os", plots.COLORS):
    name = "one scale per output channel" if per_channel else "one scale per layer"
    ax.plot(BITS, [100 * v for v in values], marker + "-", color=color, label=name)
ax.axhline(100 * float_accuracy, color=plots.GRAY, linestyle="--", label="float32")
ax.axhline(10, color=plots.GRAY, linestyle=":", label="chance")
ax.invert_xaxis()
ax.set(
    title="Eight bits are free, three are not; where it breaks depends on the scales",
    xlabel="bits per weight (activations: 8)",
    ylabel="probe on the test split (%)",
    ylim=(0, 100),
    xticks=BITS,
)
ax.legend()
plots.show(
    fig,
    alt=f"Probe accuracy against bits per weight; float32 {100 * float_accuracy:.0f} percent. One scale per channel: "
    + ", ".join(f"{b} bits {100 * v:.0f} percent" for b, v in zip(BITS, sweep[True]))
    + ". One scale per layer: "
    + ", ".join(f"{b} bits {100 * v:.0f} percent" for b, v in zip(BITS, sweep[False]))
    + ".",
)
assert sweep[True][0] > float_accuracy - 0.02 and sweep[True][-1] < float_accuracy - 0.1
assert sweep[True][3] >= sweep[False][3] - 0.02

# %% [markdown]
# Rounding errors are small, many, and of either sign, so most of them cancel in a sum; a probe asks only which of ten sums is
# largest. That is why so few bits do. It is also why an *average* accuracy can hide what changed: look at how many answers
# differ, not only at how many are right. Below four bits one retrains with the rounding inside (quantisation-aware training), which
# is another chapter. [Krishnamoorthi (2018)](https://arxiv.org/abs/1806.08342) is the guide to both.
#
# ### The real thing: int8
#
# A simulation is not a file. The source says `torch.quantization`; by the time you read this, do not.
# [PyTorch's documentation](https://docs.pytorch.org/docs/stable/quantization.html) announces that `torch.ao.quantization` will be
# deleted, and points to torchao, whose int8 convolutions on a CPU are compiled where they run. We export to ONNX instead, an open format, and quantise
# with [onnxruntime](https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html): the file holds operations and numbers and
# no Python, and whoever serves it needs neither torch nor this package. (Neither route runs int8 on an NVIDIA T4, as
# the source wants; there it takes TensorRT.)
#
# ```
# uv run --group serve ssl-lessons export runs/first --out runs/bundle
# ```
#
# (`runs/first` is the folder of a run of `ssl-lessons pretrain`.) It takes packages that the chapters do without, so here is a record.

# %%
served, served_origin = book.recorded("serving")
quantized = [r for r in served if r["part"] == "quantize"]


def recorded_rows(model: str, precision: str, batch: int | None = None) -> list[dict]:
    wanted = (model, precision, batch)
    return [r for r in quantized if (r["model"], r["precision"], r.get("batch")) == wanted]


rows = []
models = list(dict.fromkeys(r["model"] for r in quantized))
for model in models:
    for precision in dict.fromkeys(
        r["precision"] for r in quantized if r["model"] == model and r.get("batch")
    ):
        one = recorded_rows(model, precision, 1)
        many = max(r["batch"] for r in quantized if r["model"] == model and r.get("batch"))
        batch = recorded_rows(model, precision, many)
        scores_ = [r["accuracy"] for r in one if "accuracy" in r]
        rows.append(
            {
                "model": model,
                "precision": precision,
                "accuracy": " ".join(f"{100 * a:.1f}" for a in scores_) or None,
                "changed": 1 - mean(r["agreement"] for r in one) if scores_ else None,
                "kb": one[0]["bytes"] / 1000,
                "one": mean(r["p50_ms"] for r in one),
                "many": mean(r["p50_ms"] / many for r in batch),
            }
        )
plots.table(
    rows,
    "float32 and int8 in onnxruntime, one thread: test accuracy per seed, answers that changed, size, milliseconds",
    {"model": "model", "precision": "precision", "accuracy": "probe, per seed (%)", "changed": "answers changed",
     "kb": "file (kB)", "one": "one picture (ms)", "many": "per picture in a batch (ms)"},
    {"changed": ".1%", "kb": ",.0f", "one": ".3f", "many": ".3f"},
)  # fmt: skip
for model in models:
    plain, small = (
        next(r for r in rows if (r["model"], r["precision"]) == (model, p)) for p in ("float32", "int8")
    )
    print(
        f"{model}: int8 is {plain['kb'] / small['kb']:.1f} times smaller; one picture takes "
        f"{small['one'] / plain['one']:.2f} of the float32 time, a picture in a batch {small['many'] / plain['many']:.2f}."
    )
print(served_origin)

# %% [markdown]
# Four times fewer bits are not four times fewer bytes, because a small file also holds the graph and the scales. Nor are they a fixed
# speed-up: the processor needs instructions for sums of 8-bit products (VNNI on x86), the network must be large enough for
# arithmetic to be what takes the time, and every step back to float costs. On a machine without them int8 can be *slower*.
#
# ### Behind a port, twice
#
# `ssl-lessons export` writes one folder: the model with normalisation and probe inside, class names and image size, and
# `SHA256SUMS`, which `sha256sum --check` understands. A server refuses a folder whose sums do not match.
#
# **TorchServe**, because the source asks for it and because you will meet it. Know its state: the
# [repository](https://github.com/pytorch/serve) was archived on 7 August 2025, and its own page announces no further fixes and no
# security patches. Here it listens on the loopback only, wants a token with every request, has its model control
# switched off, and loads nothing from elsewhere. It needs Java.
#
# ```
# uv run --group serve --group torchserve python -m ssl_lessons.deployment.torchserve runs/bundle --port 8080
# ```
#
# **[Starlette](https://starlette.dev) and uvicorn**, as the one to keep: maintained, small, and what the well-known alternatives
# (FastAPI, LitServe) are built on. What those add is typed JSON, and batching across requests for a GPU; a picture is no JSON, and a CPU gains
# little from such batches. The whole server is one file, `ssl_lessons/deployment/server.py`.
#
# ```
# uv run --group serve ssl-lessons serve runs/bundle --port 8000
# curl --data-binary @picture.png -H "Content-Type: image/png" 127.0.0.1:8000/predict
# ```
#
# Most of a server is what it says to the wrong request. Both answer 4xx, and go on, when the body is empty, cut off, of another
# type, or too long, and when a PNG of a few hundred bytes *claims* to be 50,000 by 50,000 pixels: its header is read and refused before seven
# gigabytes are unpacked. `tests/test_serving.py` starts both and sends them all of this.

# %%
calls = [r for r in served if r["part"] == "serve"]
plots.table(
    [
        r
        | {
            "precision": r["precision"],
            "load": f"{r['batch']} client{'s' if r['batch'] > 1 else ''}, {r['requests']} requests",
        }
        for r in calls
    ],
    "HTTP on the loopback, PNG in, JSON out; the clients share the machine with the server",
    {"server": "server", "model": "model", "precision": "precision", "load": "load", "p50_ms": "p50 (ms)",
     "p95_ms": "p95 (ms)", "requests_per_second": "requests/s", "failed": "failed"},
    {"p50_ms": ".1f", "p95_ms": ".1f", "requests_per_second": ",.0f"},
)  # fmt: skip
print(served_origin)

# %% [markdown]
# Compare a row with the table before it: for the small network nearly all of the time is HTTP, the decoding of a PNG, and the handing over
# between threads or processes. There, eight bits cannot help.
#
# ### What goes wrong: the server that sees other pictures
#
# The most frequent bug of served models makes no noise. Training prepares pictures in one program, the server in
# another, and they differ in a detail: how a picture is made smaller, what is subtracted, which colour comes first. No
# exception, plausible probabilities, answers every time. Below, pictures of 96 px arrive and are made 32 px in several ways; the encoder
# and the probe stay the same.

# %%
large = data.shapes("test", 96, 1000, SEED, world=1)


def resized(mode: str, **options) -> data.ImageSet:
    small = F.interpolate(large.images.float(), (32, 32), mode=mode, **options)
    return replace(large, images=small.round().clamp(0, 255).to(torch.uint8))


class Prepared(nn.Module):
    """The encoder behind a server that prepares its input in its own way.  Gets what the right way makes of a picture."""

    def __init__(self, prepare):
        super().__init__()
        self.encoder, self.prepare = encoder, prepare

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(self.prepare(views.denormalize(x)))


imagenet = [torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
good = resized("bilinear", antialias=True)
SERVERS = {
    "as in training": (encoder, good),
    "resized without antialiasing": (encoder, resized("bilinear")),
    "every third pixel": (encoder, resized("nearest")),
    "not resized at all": (encoder, large),
    "ImageNet's mean and deviation": (Prepared(lambda v: (v - imagenet[0].to(v)) / imagenet[1].to(v)), good),
    "divided by 255 and no more": (Prepared(lambda v: v), good),
    "not divided by 255": (Prepared(lambda v: 255 * v), good),
    "blue first (BGR)": (Prepared(lambda v: (v.flip(1) - 0.5) / 0.25), good),
}
skew = [
    {"server": name, "accuracy": accuracy(network, pictures)} for name, (network, pictures) in SERVERS.items()
]
reference = skew[0]["accuracy"]
for row in skew:
    row["points"] = 100 * (row["accuracy"] - reference)
plots.table(
    skew,
    f"One encoder, one probe, eight servers: what each makes of the same {len(large):,} pictures (chance 10 %)",
    {"server": "the server's picture is", "accuracy": "accuracy", "points": "points"},
    {"accuracy": ".1%", "points": "+.1f"},
)
assert min(row["points"] for row in skew) < -20

# %% [markdown]
# The loud ones you would find within a day. The dangerous rows are those that cost a few points: no monitor of errors or latency sees them. Two
# habits help. Put the normalisation *inside* the exported model, as the bundle does, so that nobody can repeat it wrongly. And keep a
# test that sends one picture through the training reader and through the server and compares every pixel, as
# `tests/test_deployment.py` does.

# %% [markdown]
# ## Part 4 · The frontier researcher: a policy for a domain, and a hypothesis that may fail
#
# ### Do the turns help?
#
# Back to the puzzle. Written out, the domain's policy is one line in front of SimCLR. And because this part wants to know
# about gradients, the method also keeps a diary of their length: after the step, `p.grad` still holds the gradient that
# made it.

# %%


class WatchedSimCLR(SimCLR):
    """SimCLR whose views may be turned by quarters, and which notes |gradient| at every step."""

    def __init__(self, encoder, quarters: bool = False, **options):
        super().__init__(encoder, **options)
        self.quarters, self.norms = quarters, []

    def forward(self, pair, labels=None):
        if self.quarters:
            pair = [pretext.rotate(v, torch.randint(4, (len(v),), device=v.device)) for v in pair]
        return super().forward(pair, labels)

    def after_step(self, progress):
        squares = [p.grad.square().sum() for p in self.parameters() if p.grad is not None]
        self.norms.append(torch.stack(squares).sum().sqrt().item())


STEPS, diaries = 80, {}
for name, quarters in (("standard", False), ("quarter turns", True)):
    torch.manual_seed(SEED)
    watched = WatchedSimCLR(simclr().encoder, quarters, temperature=0.1)
    pretrain(
        watched, unlabeled["from above"].images, (moco_recipe.policy,) * 2, steps=STEPS, batch_size=128, lr=3e-3,
        seed=SEED, progress=False,
    )  # fmt: skip
    sets = train["from above"][:1000], train["from above"][1000:]
    h, h_score = (evaluation.extract_features(watched.encoder, s.images) for s in sets)
    accuracy = evaluation.knn_accuracy(h, sets[0].labels, h_score, sets[1].labels)
    diaries[name] = (watched.norms, accuracy)

fig, ax = plots.new_figure(6.4, 2.8)
for (name, (norms, accuracy)), line in zip(diaries.items(), ("-", "--")):
    ax.plot(range(1, STEPS + 1), norms, line, label=f"{name} (kNN at the end {accuracy:.0%})")
ax.set(
    title="Seen from above: the gradient norm, step by step",
    xlabel="step",
    ylabel="gradient norm",
    ylim=(0, None),
)
ax.legend()
late = {name: mean(norms[-20:]) for name, (norms, _) in diaries.items()}
plots.show(
    fig,
    alt="Gradient norms over 80 steps for the standard policy and for quarter turns; means over the last 20 steps: "
    + ", ".join(f"{name} {v:.2f}" for name, v in late.items())
    + ".",
)

# %% [markdown]
# Eighty steps, one seed; now the record. Three policies, two worlds, short runs and long ones. The second
# number is the control: can one read from the features *by how many quarters* a picture was turned (100 pictures in all
# four turns, chance 25 %)? In the upright world that is worth knowing; from above it is noise.

# %%
TURNING = ("standard", "quarter turns", "any turn")
LENGTHS = {"policies": "short", "long": "long"}
steps_of = {
    part: next(r["steps"] for r in record if r["part"] == part and r["arm"] == "standard") for part in LENGTHS
}
table = []
for world in WORLDS:
    for part in LENGTHS:
        base = scores(part, "standard", world)
        for arm in TURNING:
            found = scores(part, arm, world)
            if not found:
                continue
            table.append(
                {
                    "world": world,
                    "steps": steps_of[part],
                    "policy": arm,
                    "probe": mean(found.values()),
                    "seeds": len(found),
                    "versus": None if arm == "standard" else points(difference(found, base)),
                    "upright": mean(scores(part, arm, world, "upright").values()),
                }
            )
plots.table(
    table,
    "Turning the views: probe with 100 labels (chance 10 %) and which quarter (chance 25 %)",
    {"world": "world", "steps": "steps", "policy": "policy", "probe": "probe", "seeds": "seeds",
     "versus": "points against standard, 95 %", "upright": "which quarter?"},
    {"probe": ".1%", "upright": ".1%"},
)  # fmt: skip
print(origin)

# %%
fig, axes = plots.new_figure(9.0, 3.0, 1, 2, sharey=True)
for ax, world in zip(axes, WORLDS):
    for arm, color, line in zip(TURNING, plots.COLORS, ("-", "--", ":")):
        curves = [
            dict(map(tuple, r["online"]))
            for r in record
            if (r["part"], r["arm"], r["data"]) == ("long", arm, world)
        ]
        if curves:
            xs = sorted(set.intersection(*(set(c) for c in curves)))
            ax.plot(xs, [100 * mean(c[x] for c in curves) for x in xs], line, color=color, label=arm)
    ax.axhline(10, color=plots.GRAY, linestyle=":")
    ax.set(title=f"World: {world}", xlabel="step", ylabel="online kNN, held-out train (%)", ylim=(0, 100))
axes[0].legend()
fig.suptitle("Quality over the long runs, by policy")
turn_gap = {
    (world, arm, part): difference(scores(part, arm, world), scores(part, "standard", world))
    for world in WORLDS for arm in TURNING[1:] for part in LENGTHS if scores(part, arm, world)
}  # fmt: skip
plots.show(
    fig,
    alt="Online kNN over the long runs with the standard policy, quarter turns and turns by any angle, in both worlds. "
    + " ".join(
        f"{arm}, {world}, {LENGTHS[part]} runs: {points(d)} points."
        for (world, arm, part), d in turn_gap.items()
    ),
)

# %% [markdown]
# ### Does the gradient tell in advance?
#
# The page asks whether transfer "aligns with the InfoNCE gradient norms". That would be useful: gradients need no labels, so
# one could choose a policy before paying for a single annotation. There is even a story for it: a task that is too easy
# (the colour shortcut) is solved, its softmax saturates, its gradient dies, and nothing more is learned. But there is a
# story for the opposite as well: a large gradient in the middle of a run may say that views do not fit together. A
# question with two good stories needs a test that can fail.
#
# **Written down before the runs** (it stands in `benchmarks/extensions.py`):
#
# - *Hypothesis.* At a fixed temperature, batch, encoder and schedule, the gradient norm, averaged over the whole run, is
#   aligned over augmentation policies with the probe.
# - *Measurement.* Thirteen policies, two worlds, the same seeds for all. Spearman's rank correlation over the policies (means
#   over the seeds), separately in each world, with a 95 % interval by the bootstrap over policies.
# - *Supported* if both intervals leave out zero on the same side. *Refuted* if they leave it out on different sides, or
#   one of them lies inside −0.5 to 0.5. *Undecided* otherwise.
#
# (In the open: the rule is older than the runs, but the groups that the board below lets you leave out were chosen with
# the first rows in view, and an earlier record had shown that turns do not help in short runs.)
#
# Ranks, because nothing says that the relation is a straight line: replace each value by its place in the order, and
# correlate the places. The temperature is held fixed because the gradient carries a factor $1/\tau$; the encoder, because
# BatchNorm makes a layer indifferent to the length of its weights, and the gradient shrinks as they grow.

# %%
policies = [r for r in record if r["part"] == "policies"]
per_seed = Counter(r["seed"] for r in policies)
policies = [
    r for r in policies if per_seed[r["seed"]] == max(per_seed.values())
]  # seeds that all policies have
intervals = {}
fig, axes = plots.new_figure(9.2, 3.6, 1, 2, sharey=True)
for ax, world in zip(axes, WORLDS):
    found = falsification.points(policies, world)
    norms, probes_ = zip(*found.values())
    intervals[world] = falsification.rank_correlation(norms, probes_)
    falsification.draw(ax, found, falsification.names(policies), key=world == "from above")
    base = mean(scores("policies", "untrained", world).values())
    ax.axhline(100 * base, color=plots.GRAY, linestyle="-.", label="untrained encoder")
    ax.axhline(10, color=plots.GRAY, linestyle=":", label="chance")
    rho, low, high = intervals[world]
    ax.set(
        title=f"{world}: rho {rho:+.2f} ({low:+.2f} to {high:+.2f})",
        xlabel="gradient norm, mean of the run",
        ylim=(0, None),
    )
axes[0].set_ylabel("probe, 100 labels (%)")
axes[0].legend(loc="lower right")
fig.suptitle("Thirteen policies: gradient norm against probe, as announced")
ruling = falsification.ruling(list(intervals.values()))
plots.show(
    fig,
    alt="Probe accuracy against mean gradient norm, one point per policy, in the two worlds. "
    + " ".join(
        f"{w}: rank correlation {i.rho:+.2f}, from {i.low:+.2f} to {i.high:+.2f}."
        for w, i in intervals.items()
    ),
)
per_policy = len({r["seed"] for r in policies if r["arm"] == "standard"})
print(f"The rule says: {ruling} ({len(found)} policies, {per_policy} seeds each).")
print(origin)

# %% [markdown]
# Whatever the ruling, ask what such a proxy would *cost* if you used it. Take the policy it recommends (largest norm,
# smallest norm), or the one with the lowest final loss, and subtract its probe from that of the best policy. This
# *regret* is what a user feels; a correlation is not.

# %%
regrets = []
for world in WORLDS:
    found = falsification.points(policies, world)
    final_loss = {
        arm: mean(r["losses"][-1] for r in policies if (r["arm"], r["data"]) == (arm, world)) for arm in found
    }
    best = max(found, key=lambda arm: found[arm][1])
    picks = {
        "largest gradient": max(found, key=lambda arm: found[arm][0]),
        "smallest gradient": min(found, key=lambda arm: found[arm][0]),
        "lowest loss": min(final_loss, key=final_loss.get),
        "highest loss": max(final_loss, key=final_loss.get),
        "no thinking: standard": "standard",
    }
    for rule, arm in picks.items():
        regrets.append(
            {
                "world": world,
                "rule": rule,
                "picks": arm,
                "probe": found[arm][1],
                "regret": found[best][1] - found[arm][1],
            }
        )
    regrets.append(
        {
            "world": world,
            "rule": "the best, by its labels",
            "picks": best,
            "probe": found[best][1],
            "regret": 0.0,
        }
    )
plots.table(regrets, "What it costs to choose a policy without labels", floatfmt=".1%")

# %% [markdown]
# ## What goes wrong: the garden of forking paths
#
# The rule above fixed one number per world. Suppose it had not. One may find good reasons to look at the first tenth of the
# run only ("before the schedule cools it down"), or at the last ("when it has converged"); to leave out the policies without
# colour ("they are degenerate"), or those with turns ("another kind of augmentation"). Each choice alone is reasonable. Here
# are all of them.

# %%
everything = falsification.every_choice(policies, tuple(WORLDS))
fig, ax = plots.new_figure(6.4, 2.8)
bins = [i / 10 for i in range(-10, 11)]
for world, color, hatch in zip(WORLDS, plots.COLORS, ("", "//")):
    ax.hist(
        [f["rho"] for f in everything if f["world"] == world],
        bins,
        alpha=0.6,
        color=color,
        hatch=hatch,
        label=world,
    )
    ax.axvline(intervals[world].rho, color=color, linestyle="--")
extremes = [pick(everything, key=lambda f: f["rho"]) for pick in (min, max)]
ax.set(
    title=f"{len(everything)} ways to ask, from {extremes[0]['rho']:+.2f} to {extremes[1]['rho']:+.2f} (dashed: as announced)",
    xlabel="rank correlation of gradient norm and probe",
    ylabel="number of ways",
)
ax.legend()
plots.show(
    fig,
    alt=f"Histogram of {len(everything)} rank correlations in the two worlds, over all stretches of the run and all groups left "
    f"out; they range from {extremes[0]['rho']:+.2f} to {extremes[1]['rho']:+.2f}.",
)
for f in extremes:
    print(f"{f['rho']:+.2f}: world {f['world']}, tenths {f['first']} to {f['last']}, without {f['without']}")

# %% [markdown]
# Somebody who may choose afterwards can publish nearly any sentence in that range, and be sincere. The cure costs nothing:
# write the rule down first, and report every deviation from it as a *new* hypothesis, to be tested on new runs.

# %% [markdown]
# ## Play: the falsification board
#
# The same runs. Choose a world, the stretch of the run that counts, and what to leave out, and watch the number and its
# interval. Try to make the hypothesis come true, then try to make its opposite come true. How many moves did you need?

# %%
widgets.explore(
    partial(falsification.render, rows=policies),
    falsification.controls(tuple(WORLDS)),
    static=[
        {"world": "upright"},
        {"world": "from above"},
        {k: extremes[0][k] for k in ("world", "first", "last", "without")},
        {k: extremes[1][k] for k in ("world", "first", "last", "without")},
    ],
    captions=[
        "upright, as announced",
        "from above, as announced",
        "the lowest that a search finds",
        "the highest that a search finds",
    ],
    alt=partial(falsification.describe, rows=policies),
    columns=2,
)

# %% [markdown]
# ## The recipe, one change at a time
#
# Chapter 25 has two recipes, *published* and *recommended*, and says "none of this is law". The record below takes the
# recommended one and puts one choice at a time back to the published one (or to an alternative). Small budgets: a small
# conv net in place of the ResNet-18, a few hundred steps, pictures of 64 pixels, and two seeds, with which a 95 % interval is 12.7
# standard errors wide to either side: hardly any row leaves out zero. Scores are
# of held-out pictures of the *train* split: this is tuning. A short run favours what learns fast. Read a row as "worth a
# longer run", no more.

# %%
claims, claims_origin = book.recorded("recipe_claims")
main_rows = [r for r in claims if r["encoder"] == "convnet"]
datasets = sorted({r["data"] for r in main_rows})


def recipe_score(arm: str, dataset: str, key: str = "probe", encoder: str = "convnet") -> dict[int, float]:
    return {
        r["seed"]: r[key] for r in claims if (r["arm"], r["data"], r["encoder"]) == (arm, dataset, encoder)
    }


table = []
for arm in dict.fromkeys(r["arm"] for r in main_rows):
    row = {"arm": arm}
    for dataset in datasets:
        found, base = recipe_score(arm, dataset), recipe_score("recommended", dataset)
        if found:
            knn = difference(recipe_score(arm, dataset, "knn"), recipe_score("recommended", dataset, "knn"))
            row |= {
                dataset: mean(found.values()),
                f"{dataset} versus": None
                if arm == "recommended"
                else points(difference(found, base)).replace(" (one seed)", ""),
                f"{dataset} kNN": None if arm == "recommended" else points(knn).replace(" (one seed)", ""),
            }
    table.append(row)
headings = {"arm": "changed"}
for dataset in datasets:
    seeds_ = len(recipe_score("recommended", dataset))
    headings |= {
        dataset: f"{dataset}: probe ({seeds_} seed{'s' * (seeds_ > 1)})",
        f"{dataset} versus": "points",
        f"{dataset} kNN": "kNN, points",
    }
settings = main_rows[0]
plots.table(
    table,
    f"One change from the recommended recipe: conv net, batch {settings['batch']}, {settings['steps']} steps, held-out train pictures",
    headings,
    ".1%",
)
signs = {}
for arm in dict.fromkeys(
    r["arm"] for r in main_rows if r["arm"] not in ("untrained", "recommended", "published")
):
    gaps = [difference(recipe_score(arm, d), recipe_score("recommended", d))[0] for d in datasets]
    kind = (
        "better on both"
        if min(gaps) > 0
        else "worse on both"
        if max(gaps) < 0
        else "better on one, worse on the other"
    )
    signs.setdefault(kind if not any(map(math.isnan, gaps)) else "not complete", []).append(arm)
for kind, arms in signs.items():
    print(f"{kind} than the recommended recipe: {', '.join(arms)}")
print(claims_origin)

# %%
stems = {
    name: {
        d: mean(recipe_score(name, d, encoder="thin").values())
        for d in datasets
        if recipe_score(name, d, encoder="thin")
    }
    for name in ("recommended", "stem 7x7")
}
whitening = [
    {
        "data": dataset,
        "score": title,
        "plain": mean(
            mean(recipe_score(arm, dataset, plain).values()) for arm in ("recommended", "published")
        ),
        "whitened": mean(
            mean(recipe_score(arm, dataset, white).values()) for arm in ("recommended", "published")
        ),
    }
    for dataset in datasets
    for title, plain, white in (
        ("probe, 100 labels", "probe", "whitened"),
        ("kNN, all labels", "knn", "knn_whitened"),
    )
]
plots.table(
    whitening,
    "Whitening the frozen features before they are judged (mean of the recommended and the published recipe)",
    floatfmt=".1%",
)
stem_rows = [
    {"data": d, "3x3, with max-pool": stems["recommended"][d], "7x7, stride 2": stems["stem 7x7"].get(d)}
    for d in stems["recommended"]
]
if stem_rows:
    plots.table(
        stem_rows, "The stem of a thin ResNet-18, same number of steps: probe with 100 labels", floatfmt=".1%"
    )

# %% [markdown]
# Whitening turns the covariance of the features into the identity, with statistics of the unlabelled pictures. It gives
# directions of small variance the same say as the large ones: good where the large ones are about something else than the
# kind, bad where the small ones are noise. The linear probe standardises its inputs and may choose its weights, so it has
# less to gain than a vote of neighbours.
#
# One row deserves a second look: the colours. How strong a jitter is right depends on what colour means in the data. In the
# embedded world it means nothing at all, and a recipe made for photographs leaves the colour shortcut half open (look at the
# vote of neighbours, below that of the untrained encoder); on photographs the same jitter may already be too much. That is part 4
# again: a policy is a statement about a domain.

# %% [markdown]
# ## Exercises
#
# Replace `return NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on your answers.
#
# ### 1 · CS student: the same memory at half the batch (•, 5 minutes)
#
# The key network forgets by a factor $m$ per *step*. You change the batch from `batch` to `new_batch` and want it to forget
# as much per *picture* as before. Which momentum?
#
# <details><summary>Hint 1</summary>After `batch` pictures the old network has kept a share m. How many of the new steps are
# that many pictures?</details>
# <details><summary>Hint 2</summary>After s steps of momentum m', a share m' to the power s is left.</details>

# %%


def my_momentum_for_batch(m: float, batch: int, new_batch: int) -> float:
    return NOT_ATTEMPTED


ch26.check_momentum_for_batch(my_momentum_for_batch)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_momentum_for_batch(m, batch, new_batch):
#     return m ** (new_batch / batch)
# ```
# </details>
#
# ### 2 · CS student: bring the keys back (••, 6 minutes)
#
# Row `i` of `shuffled_keys` is the key of picture `order[i]`. Return them so that row `i` is the key of picture `i`.
#
# <details><summary>Hint 1</summary>`x[order]` takes from place `order[i]`. You want the inverse permutation.</details>
# <details><summary>Hint 2</summary>Either assign *into* places, or ask which `i` has `order[i] == 0`, then 1, then 2: that is a
# sort.</details>

# %%


def my_back_in_order(shuffled_keys: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """shuffled_keys [N, D], order [N] -> [N, D]"""
    return NOT_ATTEMPTED


ch26.check_back_in_order(my_back_in_order)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_back_in_order(shuffled_keys, order):
#     return shuffled_keys[order.argsort()]
# ```
# </details>
#
# ### 3 · Applied researcher: how tight is tight? (••, 10 minutes)
#
# The relative tightness: mean squared distance within classes over that between classes, for rows of unit length, pairs of
# different rows only.
#
# <details><summary>Hint 1</summary>For unit vectors the squared distance is 2 - 2 cosine, and all cosines are one product.</details>
# <details><summary>Hint 2</summary>`labels[:, None] == labels` is the mask of equal classes. What stands on its diagonal, and does it
# belong there?</details>
# <details><summary>Hint 3</summary>`torch.eye(len(z), dtype=torch.bool)` is the mask of a row with itself; `&` and `~` combine
# masks.</details>

# %%


def my_tightness(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """z [N, D], labels [N] -> a scalar"""
    return NOT_ATTEMPTED


ch26.check_tightness(my_tightness)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_tightness(z, labels):
#     z = F.normalize(z, dim=1)
#     distance, same = 2 - 2 * z @ z.T, labels[:, None] == labels
#     itself = torch.eye(len(z), dtype=torch.bool)
#     return distance[same & ~itself].mean() / distance[~same].mean()
# ```
# </details>
#
# ### 4 · Frontier researcher: Spearman's rank correlation (••, 8 minutes)
#
# The correlation of the ranks. No two values of a list are equal.
#
# <details><summary>Hint 1</summary>`x.argsort()` says *where* the smallest value is, not *which place* each value has. Apply it to itself.</details>
# <details><summary>Hint 2</summary>`torch.corrcoef(torch.stack([a, b]))[0, 1]` on floating-point ranks.</details>

# %%


def my_rank_correlation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """x [N], y [N] -> a scalar"""
    return NOT_ATTEMPTED


ch26.check_rank_correlation(my_rank_correlation)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_rank_correlation(x, y):
#     ranks = [v.argsort().argsort().double() for v in (x, y)]
#     return torch.corrcoef(torch.stack(ranks))[0, 1]
# ```
# </details>
#
# ### 5 · Applied engineer: the grid of an activation (•, 5 minutes)
#
# Scale and zero point for values between `low` and `high` in `bits` bits, stored as $0, \dots, 2^{\text{bits}} - 1$.
#
# <details><summary>Hint 1</summary>Which of the values must be stored exactly, even if the range does not contain it?</details>
# <details><summary>Hint 2</summary>How many steps lie between 256 values?</details>

# %%


def my_affine_grid(low: float, high: float, bits: int) -> tuple[float, float]:
    """-> (scale, zero_point)"""
    return NOT_ATTEMPTED


ch26.check_affine_grid(my_affine_grid)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_affine_grid(low, high, bits):
#     low, high = min(low, 0.0), max(high, 0.0)
#     scale = (high - low) / (2**bits - 1)
#     return scale, round(-low / scale)
# ```
# </details>
#
# ### 6 · Applied engineer: weights, there and back (••, 8 minutes)
#
# Every row of `w` is an output channel. Round it to its own symmetric grid of `bits` bits and return what is read back.
#
# <details><summary>Hint 1</summary>With 8 bits the integers run from -127 to 127.</details>
# <details><summary>Hint 2</summary><code>amax(dim=1, keepdim=True)</code> keeps a column that divides row by row.</details>

# %%


def my_fake_quantize(w: torch.Tensor, bits: int) -> torch.Tensor:
    """w [C, K] -> [C, K]"""
    return NOT_ATTEMPTED


ch26.check_fake_quantize(my_fake_quantize)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_fake_quantize(w, bits):
#     scale = w.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
#     return scale * torch.round(w / scale)
# ```
# </details>
#
# ### 7 · Applied engineer: BatchNorm, folded (••, 8 minutes)
#
# For a linear layer `w` without a bias: the folded weights, with the folded bias as one more column.
#
# <details><summary>Hint 1</summary>Write down what the two layers make of $x = 0$. That is the bias.</details>
# <details><summary>Hint 2</summary>Everything before $\beta$ is multiplied by $s$: also the mean.</details>

# %%


def my_fold(w, gamma, beta, mean, var, eps) -> torch.Tensor:
    """w [C, K]; gamma, beta, mean, var [C] -> [C, K + 1]"""
    return NOT_ATTEMPTED


ch26.check_fold(my_fold)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_fold(w, gamma, beta, mean, var, eps):
#     s = gamma / torch.sqrt(var + eps)
#     return torch.cat([s[:, None] * w, (beta - s * mean)[:, None]], dim=1)
# ```
# </details>

# %% [markdown]
# ## Claims put to the test
#
# Each verdict is computed by the rule that stands in the cell. Intervals are 95 %, paired by seed.

# %%


def verdict(holds: bool, partly: bool = False) -> str:
    return "reproduced" if holds else "mixed" if partly else "not reproduced here"


book.claim(
    "C-165",
    "With momentum keys a batch of 128 comes within two points of SimCLR at 256 (the source: 68 % against 70 %).",
    verdict(moco_gap[0] - moco_gap[1] > -0.02, moco_gap[0] + moco_gap[1] > -0.02),
    f"MoCo at 128 minus SimCLR at 256, same pictures seen: {points(moco_gap)} points; same seconds: "
    f"{points(difference(scores('moco', 'moco 128, same seconds'), scores('moco', 'simclr 256')))}; the control, SimCLR at 128: "
    f"{points(control_gap)}. Rule: the whole interval above -2 points (mixed: part of it). On the embedded world, not STL-10.",
    "https://arxiv.org/abs/1911.05722",
)
shrinks = mean(r["between"] for r in short if r["temperature"] == min(probes)) > 0.5
tighter = tight[min(tight)] < 0.9 * tight[0.1]
fell = max(probes.values()) - probes[min(probes)] > 0.05
collapsed = [tau for tau, found in extra.items() if any("collapse" in v for v in found)]
book.claim(
    "C-17",
    "A lower temperature tightens clusters but eventually collapses.",
    verdict(tighter and bool(collapsed), tighter or fell or bool(collapsed)),
    f"Cosine within classes {mean(r['within'] for r in short if r['temperature'] == 0.1):.2f} at 0.1 and "
    f"{mean(r['within'] for r in short if r['temperature'] == min(probes)):.2f} at {min(probes):g}, between classes "
    f"{mean(r['between'] for r in short if r['temperature'] == 0.1):.2f} and "
    f"{mean(r['between'] for r in short if r['temperature'] == min(probes)):.2f}; relative tightness {tight[0.1]:.2f} and "
    f"{tight[min(tight)]:.2f}; probe {probes[0.1]:.1%} and {probes[min(probes)]:.1%}; diagnosed as a collapse at: "
    f"{', '.join(f'{tau:g}' for tau in collapsed) or 'no temperature'}. Rule: tightness a tenth lower, and a collapse.",
    "https://arxiv.org/abs/2012.09740",
)
apart = {(a, b): difference(by_tau[a], by_tau[b]) for a, b in ((0.05, 0.1), (0.1, 0.2), (0.05, 0.2))}
told_apart = [pair for pair, (d, half) in apart.items() if abs(d) > half]
book.claim(
    "C-18",
    "Within {0.05, 0.1, 0.2} the choice of the temperature changes the probe.",
    verdict(len(told_apart) == 3, bool(told_apart)),
    "; ".join(f"{a:g} minus {b:g}: {points(d)}" for (a, b), d in apart.items()) + " points.",
)

# %%
above, ground = (
    {
        part: difference(scores(part, "quarter turns", w), scores(part, "standard", w))
        for part in LENGTHS
        if scores(part, "quarter turns", w)
    }
    for w in ("from above", "upright")
)
helps = any(d - half > 0 for d, half in above.values())
hurts = all(d + half < 0 for d, half in ground.values())
book.claim(
    "C-77",
    "Turning the views helps where orientation means nothing and hurts where it does.",
    verdict(helps and hurts, helps or hurts),
    "Quarter turns minus standard, from above: " + ", ".join(f"{LENGTHS[p]} runs {points(d)}" for p, d in above.items())
    + "; upright: " + ", ".join(f"{LENGTHS[p]} runs {points(d)}" for p, d in ground.items()) + " points of the probe.",
    "https://arxiv.org/abs/2011.00362",
)  # fmt: skip
book.claim(
    "C-88",
    "The norm of the InfoNCE gradient aligns with how well a policy transfers.",
    {"supported": "reproduced", "refuted": "not reproduced here", "undecided": "mixed"}[ruling],
    "; ".join(
        f"{w}: rank correlation {i.rho:+.2f} ({i.low:+.2f} to {i.high:+.2f})" for w, i in intervals.items()
    )
    + f". By the rule announced before the runs: {ruling}.",
)
untrained_probe = {w: mean(scores("policies", "untrained", w).values()) for w in WORLDS}
useless = {
    w: [arm for arm, (_, p) in falsification.points(policies, w).items() if p < untrained_probe[w] + 0.03]
    for w in WORLDS
}
book.claim(
    "C-89",
    "Any augmentation leads to features that transfer.",
    verdict(not any(useless.values())),
    "; ".join(
        f"{w}: no better than the untrained encoder ({untrained_probe[w]:.1%}) by 3 points: {', '.join(arms) or 'none'}"
        for w, arms in useless.items()
    )
    + ".",
)

# %%
small = {
    (r["server"], r["model"]): r["p50_ms"] for r in calls if r["precision"] == "int8" and r["batch"] == 1
}
lost = [
    recorded_rows("convnet", "float32", 1)[i]["accuracy"] - r["accuracy"]
    for i, r in enumerate(recorded_rows("convnet", "int8", 1))
]
within = [p50 < 20 for p50 in small.values()]
book.claim(
    "C-139",
    "The int8 encoder with its probe, served over HTTP, answers with a median under 20 ms (the source: on an NVIDIA T4).",
    verdict(False, any(within)),  # the T4 was not measured: the claim as it stands cannot be reproduced here
    "; ".join(f"{server}, {model}: p50 {p50:.1f} ms" for (server, model), p50 in small.items())
    + f"; int8 loses {100 * max(lost):.1f} points at most over {len(lost)} seeds. On a CPU, over the loopback, one client. Rule: at "
    "most mixed, since this int8 does not run on a T4.",
    "https://arxiv.org/abs/1712.05877",
)

# %% [markdown]
# All of it on a small drawn world, with small encoders and short runs. "Not reproduced here" says exactly that.

# %% [markdown]
# ## Where it comes from, where it went
#
# MoCo ([He et al., 2020](https://arxiv.org/abs/1911.05722)) answered SimCLR's hunger for batches before SimCLR was published;
# [version 2](https://arxiv.org/abs/2003.04297) took SimCLR's head and augmentation, [version
# 3](https://arxiv.org/abs/2104.02057) gave the queue up again. That small batches need no queue when the loss is decoupled is
# the finding of [Yeh et al. (2022)](https://arxiv.org/abs/2110.06848). What the temperature does was taken apart by [Wang and Liu
# (2021)](https://arxiv.org/abs/2012.09740), who see a trade between uniformity and tolerance of similar pictures, and by [Wang and
# Isola (2020)](https://arxiv.org/abs/2005.10242). That views should share what the task needs and nothing else is the principle
# of [Tian et al. (2020)](https://arxiv.org/abs/2005.10243); that each domain has its own such views, and that an invariance may
# hurt the next task, was shown by [Xiao et al. (2021)](https://arxiv.org/abs/2008.05659). For choosing among encoders without
# labels there are better candidates than the gradient; chapter 21 puts them to the same kind of test.
#
# Integer-only inference with scale and zero point is [Jacob et al.
# (2018)](https://arxiv.org/abs/1712.05877); what can be done without any training is surveyed by [Nagel et al.
# (2021)](https://arxiv.org/abs/2106.08295).
#
# **Further reading.** [Ericsson et al. (2021)](https://arxiv.org/abs/2111.11398) on which invariances help which task;
# [Garrido et al. (2023)](https://arxiv.org/abs/2210.02885) on a label-free choice that was announced and then tested.
#
# ### Quiz
#
# **1.** Your MoCo at batch 128 beats SimCLR at 256 on the same number of pictures. Your colleague says: "of course, the queue has
# more negatives". What else changed, and which row of the table would you show?
#
# <details><summary>Answer</summary>Half the batch at as many pictures is twice as many updates, at another learning rate. The control is SimCLR at batch 128 with its own learning rate: it has the updates and not the queue.</details>
#
# **2.** At temperature 0.01 the mean cosine within classes is 0.9. Are the clusters tight?
#
# <details><summary>Answer</summary>One number cannot say. If the mean cosine between classes is nearly as high, the whole cloud has drawn together. Compare distances within and between classes, which no common direction changes.</details>
#
# **3.** You announce: "supported if the interval leaves out zero". It does not; then you notice that it does if the policies
# without colour jitter are left out, for a good reason. What may you write?
#
# <details><summary>Answer</summary>"Undecided by the rule announced. A new hypothesis, suggested by these data: ... To be tested on new runs." The reason may be good; the same data cannot both suggest it and confirm it.</details>
#
# **4.** Your int8 model has the float model's accuracy to a tenth of a point, on 2,000 pictures. May you say that it gives the same answers?
#
# <details><summary>Answer</summary>No. As many answers may have turned from wrong to right as from right to wrong. Count the answers that differ; where a single answer matters, look at those pictures.</details>
