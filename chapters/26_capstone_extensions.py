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
# - write an augmentation policy for a domain, and test a hypothesis so that it can fail.
#
# **You need** [chapter 25](25_capstone_stl10_simclr.ipynb); [chapter 13](13_from_nce_to_nt_xent.ipynb) for the loss and
# [chapter 14](14_negatives.ipynb) for the queue. The two parts do not depend on each other.
# Two companions ask what a low temperature does to clusters ([26b](26b_temperature.ipynb)) and what eight bits and a port
# change ([26c](26c_int8_and_serving.ipynb)).
# **Time**: 53 minutes to read, about 55 seconds to run on two CPU cores. Nothing is downloaded.

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
# The answer is in the second of two parts, because it takes a control to read it. Each part changes one thing of the
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
# ## Part 2 · The frontier researcher: a policy for a domain, and a hypothesis that may fail
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
# vote of neighbours, below that of the untrained encoder); on photographs the same jitter may already be too much. That is part 2
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
# ### 3 · Frontier researcher: Spearman's rank correlation (••, 8 minutes)
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

# %% [markdown]
# All of it on a small drawn world, with small encoders and short runs. "Not reproduced here" says exactly that.

# %% [markdown]
# ## Where it comes from, where it went
#
# MoCo ([He et al., 2020](https://arxiv.org/abs/1911.05722)) answered SimCLR's hunger for batches before SimCLR was published;
# [version 2](https://arxiv.org/abs/2003.04297) took SimCLR's head and augmentation, [version
# 3](https://arxiv.org/abs/2104.02057) gave the queue up again. That small batches need no queue when the loss is decoupled is
# the finding of [Yeh et al. (2022)](https://arxiv.org/abs/2110.06848). That views should share what the task needs and nothing else is the principle
# of [Tian et al. (2020)](https://arxiv.org/abs/2005.10243); that each domain has its own such views, and that an invariance may
# hurt the next task, was shown by [Xiao et al. (2021)](https://arxiv.org/abs/2008.05659). For choosing among encoders without
# labels there are better candidates than the gradient; chapter 21 puts them to the same kind of test.
#
# Two more extensions have notebooks of their own: what a low temperature does to clusters
# ([26b](26b_temperature.ipynb)), and what eight bits and a port change ([26c](26c_int8_and_serving.ipynb)).
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
# **2.** You announce: "supported if the interval leaves out zero". It does not; then you notice that it does if the policies
# without colour jitter are left out, for a good reason. What may you write?
#
# <details><summary>Answer</summary>"Undecided by the rule announced. A new hypothesis, suggested by these data: ... To be tested on new runs." The reason may be good; the same data cannot both suggest it and confirm it.</details>
