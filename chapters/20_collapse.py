# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 20 · Collapse: how does a network win the game without looking, and how do you catch it?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/20_collapse.ipynb)
#
# **After this chapter you can**
#
# - tell a point, a few directions and a single cluster apart by numbers that need no labels;
# - derive which directions of a linear encoder survive a given augmentation, and which die;
# - say where each of these numbers is blind, and which number you have to look at instead;
# - read the log of a run, and name what is wrong with it.
#
# **You need** [chapter 00](00_start_here.ipynb) and [chapter 13](13_from_nce_to_nt_xent.ipynb); chapters 14 to 17
# explain the methods that are broken here. **Time**: 32 minutes to read, about a minute to run on two CPU cores.
# The companion [20b](20b_projector.ipynb) asks what the projector has to do with it.

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

device = book.setup("20")

# %% [markdown]
# ## The puzzle: which of these two is learning?
#
# Two networks play the same game: embed two views of a picture, and make the embeddings point the same way. The loss
# is minus the mean cosine between partners; $-1$ is a perfect score. Nobody pushes anything apart. The only difference
# between network A and network B is one line at the end of the projector. Here are the two loss curves.

# %%
import math
from statistics import fmean as mean

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, diagnostics, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch20
from ssl_lessons.book.widgets import collapse as slider
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.losses.correlation import whiten
from ssl_lessons.methods import Method
from ssl_lessons.models import projection_head, settle
from ssl_lessons.training import Monitor, pretrain, recipes

STEPS, SETTINGS = 100, {"batch_size": 128, "seed": 0, "progress": False}
recipe = recipes.get_recipe("quick")
unlabeled, train = data.shapes("unlabeled", n=4096), data.shapes("train", n=2000)
bank, query = train[:1000], train[1000:]


# %%
class Twins(Method):
    """Two views, one network, and a loss that only pulls."""

    def __init__(self, ending: str, out_dim: int = 16):
        super().__init__()
        self.encoder, self.ending = recipe.build(0).encoder, ending
        torch.manual_seed(0)
        dim = self.encoder.dim
        self.projector = projection_head(dim, dim, out_dim)

    def embed(self, x):
        z = super().embed(x)  # projector(encoder(x)), [N, 16]
        if self.ending == "standardise":  # over the batch: mean 0, variance 1
            return F.batch_norm(z, None, None, training=True)
        return whiten(z) if self.ending == "whiten" else z  # and correlations 0

    def forward(self, two_views, labels=None):
        z1, z2 = (self.embed(v) for v in two_views)
        return -F.cosine_similarity(z1, z2).mean()


# %%
def learn(method, steps=STEPS, **changes):
    """Train with the quick recipe: the history, and what was measured on z."""
    monitor, seen = Monitor(bank[:400], query[:400], every=20), []
    history = pretrain(
        method,
        unlabeled.images,
        method.views(recipe.policy),
        steps=steps,
        monitor=monitor,
        on_measure=lambda rows: seen.append(rows[-1] | monitor.report.evidence),
        **recipe.training() | SETTINGS | changes,
    )
    return history, seen


networks = {ending: Twins(ending) for ending in ("nothing", "whiten")}
runs = {ending: learn(method) for ending, method in networks.items()}

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.0, 2.6)
for (name, ending), style in zip({"A": "nothing", "B": "whiten"}.items(), ("-", "--")):
    history = runs[ending][0]
    x = [row["step"] for row in history]
    ax.plot(x, [row["loss"] for row in history], style, label=f"network {name}")
last = {name: rows[-1]["loss"] for name, (rows, _) in runs.items()}
assert last["nothing"] < -0.99 and last["whiten"] > -0.6
ax.set(title="A is nearly perfect; B is far from it", xlabel="step", ylabel="loss")
ax.axhline(-1, color=plots.GRAY, linestyle=":")
ax.legend()
plots.show(
    fig,
    alt="Loss over training steps: network A falls to minus one within a few steps; "
    f"network B ends at {last['whiten']:.2f}.",
)

# %% [markdown]
# **Predict before you go on.** (1) Whose features tell the ten kinds of objects apart better, A's or B's? A coin gets
# this right half of the time. (2) Is either of them better than the network before training? (3) Which number,
# computed without any label, would have told you?

# %%
features, pixels = evaluation.extract_features, evaluation.pixels(train.images)
fresh = Twins("nothing")
settle(fresh, unlabeled.images[:1024])  # fills BatchNorm's averages; why: below


def knn(encoder=None) -> float:
    """Vote of the neighbours: 1,000 labelled pictures for 1,000 others."""
    h = pixels if encoder is None else features(encoder, train.images)
    return evaluation.knn_accuracy(h[:1000], bank.labels, h[1000:], query.labels)


votes = {"raw pixels": knn(), "untrained": knn(fresh.encoder)}
votes |= {name: knn(method.encoder) for name, method in networks.items()}
print(f"chance 10%, raw pixels {votes['raw pixels']:.0%}")
print(f"untrained encoder {votes['untrained']:.0%}")
print(f"A {votes['nothing']:.0%}, B {votes['whiten']:.0%}")
assert votes["nothing"] < votes["whiten"] - 0.06
assert votes["nothing"] < votes["untrained"] + 0.02 < votes["whiten"]
assert votes["whiten"] < votes["raw pixels"]

# %% [markdown]
# B has learned something (less than pixels give for free: these runs are short), and A, with the perfect loss, nothing:
# its neighbours are no better than the untrained network's. Here **the better loss belongs to the worse network**. A says
# the same about every picture. Two views of one picture then agree perfectly, and so do views of different ones. This is
# **collapse**.
#
# ## The idea: three ways to say nothing
#
# Let $z_1, \dots, z_N \in \mathbb{R}^D$ be embeddings of $N$ *different* pictures, $u_i = z_i / \|z_i\|$ and
# $\bar u = \frac1N \sum_i u_i$.
#
# **A point** (*complete* collapse). All $u_i$ are the same. Measure the **spread**
#
# $$S = 1 - \|\bar u\|^2 = 1 - \frac1{N^2}\sum_{i,j} u_i^\top u_j,$$
#
# one minus the mean cosine: 0 for a point, 1 when the directions cancel.
#
# **A few directions** (*dimensional* collapse, [Hua et al. 2021](https://arxiv.org/abs/2105.00470)). The pictures
# differ, but only along a few axes. Take the singular values $\sigma_1 \ge \sigma_2 \ge \dots$ of the matrix with rows
# $u_i - \bar u$ (length 1 first, then centred), and count them softly:
#
# $$\text{effective rank} = \exp\Big(-\sum_k q_k \log q_k\Big), \qquad q_k = \sigma_k \Big/ \sum_l \sigma_l .$$
#
# $r$ equal singular values give exactly $r$. Its relative [RankMe](https://arxiv.org/abs/2210.02885) neither normalises
# nor centres the rows, so do not compare the two.
#
# **One cluster** (*cluster* collapse). Methods with prototypes ([chapter 17](17_clustering.ipynb)) turn picture $i$
# into probabilities $p_i \in \mathbb{R}^K$. With $H$ the entropy and $\bar p$ the mean of the $p_i$, look at two
# numbers: the **usage** $H(\bar p)$, and the **information** $H(\bar p) - \frac1N\sum_i H(p_i)$, both divided by the
# most they can be. If all pictures share one cluster, the usage is 0. If every picture is spread evenly over all
# clusters, the usage is perfect and the information is 0.


# %%
def my_spread(z):
    """z [N, D]"""
    return float(1 - F.normalize(z.double(), dim=1).mean(dim=0).square().sum())


def entropy(p):
    """p [..., K], rows sum to 1"""
    return -torch.special.xlogy(p, p).sum(dim=-1)


def my_rank(z):
    """z [N, D]"""
    u = F.normalize(z.double(), dim=1)
    values = torch.linalg.svdvals(u - u.mean(dim=0))
    return float(entropy(values / values.sum()).exp())


def my_usage_and_information(p):
    """p [N, K]; both as a share of log min(N, K)"""
    p, most = p.double(), math.log(min(p.shape))
    usage = entropy(p.mean(dim=0))
    return float(usage) / most, float(usage - entropy(p).mean()) / most


# %%
toy = torch.randn(300, 12, generator=torch.Generator().manual_seed(0)) + 0.5
found = diagnostics.diagnose(toy).evidence
assert math.isclose(my_spread(toy), found["spread"], rel_tol=1e-9)
assert math.isclose(my_rank(toy), found["effective_rank"], rel_tol=1e-4)
soft = (3 * toy).softmax(dim=1)
usage, information = my_usage_and_information(soft)
assert math.isclose(usage, diagnostics.cluster_usage_entropy(soft), rel_tol=1e-6)
assert math.isclose(information, diagnostics.assignment_information(soft), rel_tol=1e-6)
print("All four functions agree with those of the package.")

# %% [markdown]
# ## The mechanism: collapse is the descent
#
# Take the simplest encoder, $z = Wx$, and the pull alone, with $x, x'$ two views of a picture:
#
# $$L_\text{pull} = \tfrac12\,\mathbb{E}\,\|W x - W x'\|^2 = \tfrac12 \operatorname{tr}\big(W V W^\top\big), \qquad V = \mathbb{E}\,(x - x')(x - x')^\top .$$
#
# $V$ says how much the augmentation shakes each direction of $x$. Gradient descent in small steps gives
#
# $$\dot W = -\nabla L_\text{pull} = -W V \quad\Longrightarrow\quad W(t) = W(0)\,e^{-Vt}.$$
#
# Every shaken direction shrinks exponentially, at the rate of its shaking. No direction is ever rewarded. Collapse is
# not an accident of optimisation; it is the descent.
#
# Now add a **push** of strength $\beta$ that rewards the spread of the embeddings, with $C$ the covariance of the
# pictures, and let it saturate when the embeddings are large enough:
#
# $$L = L_\text{pull} - \tfrac{\beta}{2}\operatorname{tr}(W C W^\top) + \tfrac14 \|W^\top W\|^2 \quad\Longrightarrow\quad \dot W = W\,(\beta C - V - W^\top W).$$
#
# Everything hangs on the *sign of the eigenvalues* of $\beta C - V$. A direction in which pictures differ more than
# views do, as the push sees it, grows until its squared singular value equals its eigenvalue. All others die. So a push
# strong enough for one direction forbids the *point*; it does not forbid *fewer dimensions*.
#
# There is a second cause, which needs no strong augmentation. Let the encoder be a product, $z = W_2 W_1 x$, with both
# factors alike, and let $s = \sigma^2$ be a singular value of the product while the push has not saturated. One layer
# grows by $\dot s \propto s$: two directions keep their ratio. In the product each factor is driven through the other,
# $\dot\sigma \propto \sigma \cdot s$, and so $\dot s \propto s^2$: the large ones run away, and the small ones have not
# moved by the time the loss is content. [Jing et al. (2022)](https://arxiv.org/abs/2110.09348) found both causes
# for contrastive losses: strong augmentation, and depth.
#
# Check both. First the equation itself, in 16 dimensions with $C = I$ and $\beta = 1$; only the last eight axes are
# shaken.

# %%
AXES, SHAKEN = 16, 8


def matrix(scale, seed):
    draw = torch.Generator().manual_seed(seed)
    return scale * torch.randn(AXES, AXES, generator=draw) / 4


def flow(shake, push=1.0, steps=400, lr=0.1):
    """Singular values of W at every step of gradient descent on L: [steps, 16]."""
    noise = torch.cat([torch.zeros(AXES - SHAKEN), torch.full((SHAKEN,), shake)])
    v = 2 * noise.square().diag()  # two views differ by two shakes
    w, found = matrix(0.5, 0), []
    for _ in range(steps):
        w = w + lr * w @ (push * torch.eye(AXES) - v - w.T @ w)
        found.append(torch.linalg.svdvals(w))
    return torch.stack(found)


# %% [markdown]
# Then InfoNCE on distances, as in the paper, on samples, with one matrix and with two.


# %%
def info_nce(z1, z2):
    """InfoNCE with -|z - z'|^2 / 2 as the score: z1, z2 [N, D]."""
    return F.cross_entropy(-torch.cdist(z1, z2).square() / 2, torch.arange(len(z1)))


def contrast(layers, shake, steps=400, lr=0.1, n=128):
    """Singular values of the product of `layers` matrices: [steps, 16]."""
    draw, found = torch.Generator().manual_seed(0), []
    weights = [matrix(0.2, k).requires_grad_() for k in range(layers)]
    noise = torch.cat([torch.zeros(AXES - SHAKEN), torch.full((SHAKEN,), shake)])
    for _ in range(steps):
        x = torch.randn(n, AXES, generator=draw)
        pair = [x + noise * torch.randn(n, AXES, generator=draw) for _ in range(2)]
        for w in weights:
            pair = [z @ w.T for z in pair]
        gradients = torch.autograd.grad(info_nce(*pair), weights)
        with torch.no_grad():
            for w, gradient in zip(weights, gradients):
                w -= lr * gradient
            product = torch.eye(AXES)
            for w in weights:
                product = w @ product
            found.append(torch.linalg.svdvals(product))
    return torch.stack(found)


# %%
toys = {
    "equation, gentle": flow(0.2),
    "equation, strong": flow(1.0),
    "InfoNCE, 1 layer, gentle": contrast(1, 0.2),
    "InfoNCE, 2 layers, gentle": contrast(2, 0.2),
    "InfoNCE, 1 layer, strong": contrast(1, 3.0),
}


def alive(values, share=0.2):
    """How many singular values end above a share of the largest."""
    return int((values[-1] > share * values[-1, 0]).sum())


# %% tags=["hide-input"]
fig, panels = plots.new_figure(9.4, 2.9, 1, 4, sharey=True)
shown = list(toys.items())[:4]
for ax, (name, values) in zip(panels, shown):
    ax.plot(values.clamp_min(1e-6), color=plots.COLORS[0], linewidth=0.9)
    ax.set(yscale="log", ylim=(1e-5, 30), xlabel="step")
    ax.set_title(f"{name}:\n{alive(values)} of 16 left", fontsize=9)
panels[0].set_ylabel("singular values of W")
plots.show(
    fig,
    alt="Sixteen singular values over training, four panels. "
    + " ".join(f"{name}: {alive(values)} of 16 stay large." for name, values in shown),
)
plots.table(
    [
        {
            "toy": name,
            "alive": alive(v),
            "smallest": float(v[-1, -1] / v[-1, 0]),
            "rank": float(entropy(v[-1] / v[-1].sum()).exp()),
        }
        for name, v in toys.items()
    ],
    "Two causes of dimensional collapse in a linear encoder of 16 dimensions",
    {
        "toy": "toy",
        "alive": "singular values above a fifth of the largest",
        "smallest": "smallest / largest",
        "rank": "effective rank of W",
    },
    {"smallest": ".2g", "rank": ".1f"},
)

# %%
kept, dead = toys["equation, strong"][-1].split(8)
assert torch.allclose(kept, torch.ones(8), atol=1e-3) and dead.max() < 1e-5
assert alive(toys["equation, gentle"]) == 16
assert alive(toys["InfoNCE, 2 layers, gentle"]) < 8
assert alive(toys["InfoNCE, 1 layer, gentle"]) > 11
last = toys["InfoNCE, 1 layer, strong"][-1]
shaken = last[8:] / last[0]
print(f"InfoNCE, strong: the eight shaken axes end at {shaken.max():.1%} or less")
assert 0.01 < shaken.max() < 0.1

# %% [markdown]
# In the equation the eight shaken axes die, the others settle at 1. Two layers keep fewer than eight, though nothing
# was shaken hard. The last row is a warning: under InfoNCE the strongest shaken axis stays at a few percent of the
# largest and does *not* die. Negatives are shaken too: along a shaken axis strangers differ even more than partners, so
# that near 0 the push wins. The paper's first cause does not show in this toy.
#
# ## The ladder: a point, a few directions, a cloud
#
# Back to the network. A had nothing against the point. The cheapest remedy is to *forbid the point by force*:
# standardise every dimension of $z$ over the batch (a BatchNorm without parameters). B did more: it **whitened** the
# batch, so that every dimension has variance 1 *and* no two are correlated.

# %%
networks["standardise"] = Twins("standardise")
runs["standardise"] = learn(networks["standardise"])
LADDER = {
    "nothing": "A: nothing",
    "standardise": "standardised",
    "whiten": "B: whitened",
}


@torch.no_grad()
def embed(method, images=query.images):
    """Embeddings of images, in evaluation mode."""
    return method.eval().embed(views.normalize(images))


clouds = {ending: embed(networks[ending]) for ending in LADDER}
some = unlabeled.images[:1024]
before = {ending: embed(settle(Twins(ending), some)) for ending in LADDER}
reports = {e: diagnostics.diagnose(z, history=runs[e][0]) for e, z in clouds.items()}
votes["standardise"] = knn(networks["standardise"].encoder)

# %% tags=["hide-input"]
SHOWN = ("boat", "cat", "house", "rocket")
fig, axes = plots.new_figure(9.4, 3.2, 1, 3)
for ax, ending in zip(axes, LADDER):
    u = F.normalize(clouds[ending], dim=1)
    flat = u @ torch.linalg.svd(u - u.mean(dim=0), full_matrices=False)[2][:2].T
    for kind, color, mark in zip(SHOWN, plots.COLORS, "osD^"):
        mine = flat[query.labels == train.classes.index(kind)]
        ax.scatter(*mine.T, s=12, color=color, marker=mark, label=kind, alpha=0.7)
    e = reports[ending].evidence
    ax.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xlabel="strongest direction")
    found = f"spread {e['spread']:.2g}, effective rank {e['effective_rank']:.1f}"
    ax.set_title(f"{LADDER[ending]}\n{found}", fontsize=9)
axes[0].set_ylabel("second direction")
axes[0].legend(fontsize=8)
plots.show(
    fig,
    alt="Unit embeddings of pictures of four kinds on their two strongest directions. "
    + " ".join(f"{LADDER[e]}: {reports[e].verdict}." for e in LADDER),
)
baselines = [
    {"name": "chance", "knn": 0.1},
    {"name": "raw pixels", "knn": votes["raw pixels"]},
]
lines = []
for e, name in LADDER.items():
    old = diagnostics.diagnose(before[e]).evidence
    new = reports[e].evidence
    lines.append(
        {
            "name": f"{name}, untrained",
            "spread": old["spread"],
            "rank": old["effective_rank"],
            "knn": votes["untrained"],
        }
    )
    lines.append(
        {
            "name": name,
            "loss": runs[e][0][-1]["loss"],
            "spread": new["spread"],
            "rank": new["effective_rank"],
            "knn": votes[e],
            "verdict": reports[e].verdict,
        }
    )
plots.table(
    baselines + lines,
    f"One seed, {STEPS} steps, 1,000 pictures; untrained: the same weights, settled",
    {
        "name": "forced on the batch",
        "loss": "loss",
        "spread": "spread of z",
        "rank": "effective rank of z (of 16)",
        "knn": "kNN of h",
        "verdict": "diagnose says",
    },
    {"loss": ".2f", "spread": ".2g", "rank": ".1f", "knn": ".1%"},
)

# %%
names = [reports[e].verdict for e in LADDER]
assert names == ["complete collapse", "dimensional collapse", "healthy"]
losses = [runs[e][0][-1]["loss"] for e in LADDER]
assert losses == sorted(losses)  # the best loss first
deviations = clouds["standardise"].std(dim=0)
assert torch.allclose(deviations, torch.ones(16), atol=0.02)

# %% [markdown]
# Pixels win the last column: these runs are short. The sicker the network, the better its loss. In the middle the
# pictures differ along about two directions, and yet the standard deviation of every single dimension is 1: the usual
# safeguard, a plot of deviations, is content. The spectrum is not. (Do not read the rank of a point: A's counts the
# last remains of noise. Spread first.)
#
# Not shown: that a collapsed $z$ means useless $h$, which is what you keep; and one seed says nothing about the order of
# the last two rungs. The doctor's letter for the middle one:

# %%
print(reports["standardise"])

# %% [markdown]
# **A famous patient is this very rung.** SimSiam ends its projector with a BatchNorm without parameters, and its loss
# is symmetric. Take the predictor away and keep the stop-gradient: half of the gradient of each of the two equal terms
# is stopped, and what is left points exactly where it pointed without the stop-gradient, half as long (section 4.2 of
# the [paper](https://arxiv.org/abs/2011.10566)). The stop-gradient alone protects nothing.

# %%
options = {"predictor": False}
simsiam = recipes.get_recipe("quick", "simsiam").with_(options=options).build(0)
simsiam = simsiam.double()
draw = torch.Generator().manual_seed(0)
pair = views.make_views(unlabeled.images[:64], (recipe.policy,) * 2, draw)
gradients = []
for simsiam.stop_gradient in (True, False):
    loss = simsiam([v.double() for v in pair])
    parts = torch.autograd.grad(loss, list(simsiam.parameters()))
    gradients.append(torch.cat([g.flatten() for g in parts]))
stopped, full = gradients
assert torch.allclose(stopped, full / 2, atol=1e-9) and full.norm() > 0.01
print("Without a predictor the stop-gradient halves the gradient, and that is all.")

# %% [markdown]
# With the predictor the two sides differ, and [chapter 15](15_self_distillation.ipynb) derives when small eigenvalues
# then grow instead of dying.
#
# `pretrain(..., monitor=...)` measures all this on the way, and names a collapse *while it happens*.

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.0, 2.8, 1, 2)
for (ending, name), color, mark in zip(LADDER.items(), plots.COLORS, "osD"):
    start = diagnostics.diagnose(before[ending]).evidence
    seen = [row for row in runs[ending][1] if row["step"] > 1]
    x = [0] + [row["step"] for row in seen]
    for ax, key in ((left, "spread"), (right, "effective_rank")):
        y = [start[key]] + [row[key] for row in seen]
        ax.plot(x, y, mark + "-", color=color, markersize=3, label=name)
left.set(
    yscale="log", title="The spread sees the point", xlabel="step", ylabel="spread of z"
)
right.set(title="The rank sees the few directions", xlabel="step", ylim=(0, 17))
right.set_ylabel("effective rank of z")
left.legend(fontsize=8)
ends = {e: rows[-1] for e, (_, rows) in runs.items()}
assert ends["nothing"]["spread"] < 1e-3 < 0.5 < ends["standardise"]["spread"]
assert ends["standardise"]["effective_rank"] < 6 < 12 < ends["whiten"]["effective_rank"]
plots.show(
    fig,
    alt="Left: the spread falls by orders of magnitude for the network with nothing, "
    "and stays above a half for the standardised one. Right: the effective rank falls "
    "from sixteen to a few for the standardised network and stays high for the "
    "whitened one; that of the point means nothing.",
)

# %% [markdown]
# ## Where the numbers are blind
#
# **Whitened outputs.** B's curves begin at the top and hardly leave it. No merit: `whiten` works on whatever batch it is
# shown, so B's health is *built in*. Take the whitened network before training, and show it noise instead of
# pictures.

# %%
noise = torch.randint(
    256, (500, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
nobody = diagnostics.diagnose(embed(Twins("whiten"), noise))
print(f"spread {nobody.evidence['spread']:.3f},", end=" ")
print(f"effective rank {nobody.evidence['effective_rank']:.2f}: {nobody.verdict}")
print("Blind:", nobody.blind[0])
assert nobody.verdict == "healthy" and "whitened" in nobody.blind[0]
assert nobody.evidence["spread"] > 0.99 and nobody.evidence["effective_rank"] > 15.9

# %% [markdown]
# A network that was never trained, looking at snow, is in perfect health. So the third question of the puzzle has half
# an answer: the spread catches A, and of B only a vote or a probe, with labels, says anything.
#
# **Evaluation mode.** BatchNorm divides by the statistics of the *batch* while it trains, and by *running averages*
# afterwards. In an untrained network the averages have seen nothing.


# %%
@torch.no_grad()
def three_ways(make):
    """diagnose z of an untrained method: evaluation mode, training mode, settled."""
    x = views.normalize(query.images[:500])
    raw = make().eval().embed(x)
    in_batch = make().train().embed(x)
    settled = settle(make(), unlabeled.images[:1024]).eval().embed(x)
    return [diagnostics.diagnose(z) for z in (raw, in_batch, settled)]


untrained = {"network A": three_ways(lambda: Twins("nothing"))}
for name in ("byol", "dino", "vicreg"):
    untrained[name] = three_ways(recipes.get_recipe("quick", name).build)

# %% tags=["hide-input"]
MODES = ("evaluation mode", "training mode", "evaluation mode, settled")
plots.table(
    [
        {"name": name}
        | {m: r.evidence["spread"] for m, r in zip(MODES, found)}
        | {"verdict": found[0].verdict}
        for name, found in untrained.items()
    ],
    "Spread of z before training, the same pictures read in three ways",
    {"name": "untrained"}
    | {m: m for m in MODES}
    | {"verdict": "diagnose, evaluation mode"},
    ".2g",
)

# %%
for raw, in_batch, settled in untrained.values():
    spreads = [r.evidence["spread"] for r in (raw, in_batch, settled)]
    assert spreads[0] < 0.05 and min(spreads[1:]) > 0.4
assert untrained["dino"][0].verdict == "complete collapse"
assert untrained["dino"][2].verdict == "healthy"

# %% [markdown]
# Nothing is wrong with any of them, yet in evaluation mode all have a spread near 0, and A and DINO are *called*
# collapsed. So the first point of a monitor's curve is worthless; compare with the settled network, as the figure above
# does.
#
# **Uselessness.** Spread, rank, usage and information use no label, and so cannot know whether the differences between
# pictures are *useful*: [chapter 13](13_from_nce_to_nt_xent.ipynb) shows a network without tint that wins by colours
# alone, uncollapsed. Two findings of `diagnose`, *shortcut* and *loss at chance*, and one sign of a collapse in
# progress therefore use the kNN accuracy of the log, which needs labels.
#
# ## One cluster: a patient in full
#
# SwAV ([chapter 17](17_clustering.ipynb)) asks a view to predict the cluster of the other view. The cheapest answer:
# always the same cluster. Sinkhorn-Knopp forbids it by balancing the assignments over the batch. Train it with and
# without.

# %%
swav = recipes.get_recipe("quick", "swav")


def run_swav(balance):
    method = swav.with_(options=swav.options | {"sinkhorn": balance}).build(0)
    changes = swav.training() | {"batch_size": 128, "progress": True}
    return learn(method, steps=60, **changes)[0][-1]


sick, cure = run_swav(False), run_swav(True)
CHART = ("loss", "chance_loss", "spread_z", "usage", "information", "norm_z", "knn")
for key in CHART:
    if key in sick:
        print(f"{key:12} {sick[key]:8.3g}   (cure {cure[key]:.3g})")
print(f"the monitor says: {sick['verdict']} (cure: {cure['verdict']})")
assert sick["verdict"] == "cluster collapse" and cure["verdict"] == "healthy"
assert sick["usage"] < 0.2 < 0.8 < cure["usage"] and sick["loss"] < cure["loss"] / 2

# %% [markdown]
# Read it like a doctor. *Loss*: lower than the cure's; that proves nothing. *Usage*: nearly all pictures share one
# prototype. *Information*: the cluster says next to nothing about the picture. These two fix the name; and by its
# spread $z$ is nearly a point.
#
# The length needs care. With a loss on unit vectors the gradient is orthogonal to $z$, so a step on a free $z$ lengthens
# it, by Pythagoras. But the $z$ of a network is not free: its weights serve all pictures, and decay. It may well get
# shorter:

# %%
first_world, first_origin = book.recorded("clinic")
lengths = {}
for row in first_world:
    if row["kind"] == "healthy" and row["method"] in ("simclr", "pirl", "instdisc"):
        course = [float(v) for v in row["chart"]["norm_z"].split()]
        lengths.setdefault(row["case"], []).append((max(course), course[-1]))
for case, pairs in lengths.items():
    peak, end = (sum(p) / len(p) for p in zip(*pairs))
    print(f"{case}: length of z {peak:.1f} at its peak, {end:.1f} at the end")
    assert end < 0.9 * peak

# %% [markdown]
# (Healthy runs, means over seeds.) A *jump* of the length is a first sign of too high a learning rate.
#
# ## The ward: does the diagnosis hold for patients it has not seen?
#
# [`benchmarks/clinic.py`](https://github.com/ssl-lessons/ssl-lessons/blob/main/benchmarks/clinic.py) breaks the methods of this book in many ways, a few seconds of training each; `diagnose` sees
# embeddings and history, never the name of the case. Its lines were drawn on some of these cases, and those prove
# nothing. The **test** has other cases, settings, seeds and the harder drawn world, written down before any was run.

# %%
rows, origin = book.recorded("clinic", world=2)
test = [row for row in rows if row["split"] == "test"]
seeds = sorted({row["seed"] for row in test})
cases = {row["case"] for row in test}
print(f"{len(test)} runs of the test, {len(cases)} cases, seeds {seeds}")


def named(row):
    """Did the run get its name, or the other one that is right?"""
    return row["verdict"] in (row["expected"], row["also"] or row["expected"])


assert {row["kind"] for row in test} == {"broken", "healthy"}
for kind, said in (("broken", "got the right name"), ("healthy", "gave no alarm")):
    group = [row for row in test if row["kind"] == kind]
    print(f"{sum(map(named, group))} of {len(group)} {kind} runs {said}.")

# %% tags=["hide-input"]
matrix_rows, wrong = [], {}
seen = {r[key] for r in test for key in ("expected", "verdict")}
verdict_names = [v for v in diagnostics.VERDICTS if v in seen]
for name in verdict_names:
    mine = [r["verdict"] for r in test if r["expected"] == name]
    if mine:
        counts = {v: mine.count(v) or None for v in verdict_names}
        matrix_rows.append({"what it is": name} | counts)
for row in test:
    if not named(row):
        wrong.setdefault((row["what"], row["expected"]), []).append(row["verdict"])
if matrix_rows:
    title = "The test: what was broken (rows) against the verdict (columns), runs"
    plots.table(matrix_rows, title)
if wrong:
    plots.table(
        [
            {"patient": what, "expected": e, "verdicts": ", ".join(v)}
            for (what, e), v in wrong.items()
        ],
        "Runs of the test that got another name",
    )
print(origin)

# %% [markdown]
# The diagonal counts the right names; a number off it is a mistake of the diagnosis, or sabotage that did less harm
# than its name promises. Behind the names:
#
# | Patient | Mechanism | First thing to try |
# |---|---|---|
# | twins without predictor or stop-gradient | $\dot W = -WV$: the descent itself | put them back |
# | no negatives, no variance term | no push: $\beta = 0$ | the term ([VICReg](https://arxiv.org/abs/2105.04906)) |
# | no covariance term | the middle rung: variance is forced, correlation is not | the term |
# | DINO without centring | one prototype wins, and winning feeds on itself | centre the teacher ([DINO](https://arxiv.org/abs/2104.14294)) |
# | a teacher softer than its student | the target never commits | a lower teacher temperature |
#
# ## One part less: what really holds a method up
#
# What is a part worth? The record below takes three methods whole, and each with one part less, for 300 steps of their
# quick recipe. **Predict**: five parts are removed. How many of the five runs end with *features* that probe no better
# than those of the untrained network? (A guess among 0 to 5 is right once in six times.)

# %%
record, ablation_origin = book.recorded("collapse_ablations", world=2)
drawn, _ = book.recorded("embedded_world", world=2)


def arm(name, key="probe"):
    """One number per seed."""
    return book.per_seed(record, key, arm=name)


WHOLE = {
    "simsiam": ("no_predictor", "no_stop_gradient"),
    "byol": ("no_predictor",),
    "vicreg": ("no_variance", "no_covariance"),
}
floor = arm("untrained")
assert len(floor) >= 3 and mean(arm("vicreg")) > mean(floor) + 0.05
lost = [
    f"{method}_{part}"
    for method, parts in WHOLE.items()
    for part in parts
    if mean(arm(f"{method}_{part}")) < mean(floor) + 0.02
]
print(f"{len(lost)} of 5 end at the floor (less than 2 points above it):", *lost)


# %% tags=["hide-input"]
def pm(values, form=".1%"):
    return f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


table = [{"arm": "chance", "probe": "10.0%", "knn": "10.0%"}]
baseline = [r for r in drawn if r["arm"] == "pixels"]
found = {k: pm([r[k] for r in baseline]) for k in ("probe", "knn")}
table.append({"arm": "raw pixels"} | found)
for method, parts in WHOLE.items():
    before_name = "untrained" if method == "simsiam" else f"untrained_{method}"
    for name in (before_name, method, *(f"{method}_{part}" for part in parts)):
        label = (
            f"{method}, untrained" if name == before_name else name.replace("_", " ")
        )
        line = {"arm": label, "probe": pm(arm(name)), "knn": pm(arm(name, "knn"))}
        line |= {
            "spread": pm(arm(name, "spread_z"), ".2g"),
            "batch": mean(arm(name, "spread_z_batch")),
            "std": mean(arm(name, "std_z")),
        }
        line["rank"] = (
            f"{mean(arm(name, 'effective_rank_z')):.0f} / {arm(name, 'width_z')[0]}"
        )
        table.append(line)
plots.table(
    table,
    "Means of three seeds (lowest to highest), 300 steps; untrained: settled",
    {
        "arm": "method",
        "probe": "probe, 100 labels",
        "knn": "kNN",
        "spread": "spread of z",
        "batch": "in training mode",
        "std": "std of z",
        "rank": "effective rank of z / width",
    },
    ".2g",
)
print(ablation_origin)

# %% [markdown]
# A part matters if the run without it probes clearly below the whole; it holds *everything* up only if that run falls
# to the floor. Where probe (what you keep) and spread (where the loss acts) disagree, a collapsed $z$ has not taken $h$
# with it. A trap: BYOL without predictor still varies in every dimension, but far from the origin, so that all
# directions agree.
#
# ## Play: the collapse slider
#
# A small network, trained on points with eight coordinates of falling strength, every view shaken alike. Choose what
# prevents collapse, and turn it down. Left: the spectrum of $z$. Middle: the points on the two strongest directions.
# Right: the spread while it trained. Find the amount of negatives at which the second direction dies; then try the
# variance term. Which of the two is more forgiving, and why?

# %%
widgets.explore(
    slider.render,
    slider.controls(),
    static=[
        {"ingredient": "negatives", "amount": 1.0},
        {"ingredient": "negatives", "amount": 0.2},
        {"ingredient": "negatives", "amount": 0.01},
        {"ingredient": "covariance term", "amount": 0.01},
    ],
    alt=slider.describe,
    columns=1,
)

# %% tags=["hide-input"]
toys = [slider.train("negatives", a).report for a in (0.1, 0.2, 0.4, 1.0)]
ranks = [report.evidence["effective_rank"] for report in toys]
assert ranks == sorted(ranks)
assert slider.train("covariance term", 0.01).report.evidence["spread"] > 0.5
left = {n: slider.train(n, 0.05).report for n in ("negatives", "variance term")}
left = {name: report.evidence["spread"] for name, report in left.items()}
assert left["negatives"] < 0.05 < 0.2 < left["variance term"]

# %% [markdown]
# With fewer negatives the directions die one after the other, the weakest signal first, as the signs of $\beta C - V$
# say. At a twentieth of the negatives the toy is a point; at a twentieth of the variance term its spread is still
# large: near 0 the hinge pushes with constant force, while the pull fades. And without the covariance term the spread
# stays high while the rank falls: the middle rung.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end.
#
# ### 1 · Clusters in use (•, 5 minutes)
# From assignments `p` (float tensor `[N, K]`, rows sum to 1): how many clusters are in use, counted softly? Return one
# number from 1 to K. Some clusters may get nothing at all.
#
# <details><summary>Hint 1</summary>Of which distribution do you take the entropy: of each picture's, or of the
# average?</details>
# <details><summary>Hint 2</summary>What is $0 \log 0$ in floating point? `torch.special.xlogy` knows better.</details>


# %%
def clusters_in_use(p):
    return NOT_ATTEMPTED


ch20.check_clusters_in_use(clusters_in_use)

# %% [markdown]
# ### 2 · The alarm that never rings (••, 10 minutes)
# A colleague logs the spread of her embeddings `z` `[N, D]` like this, and it never falls below 0.9:
#
# ```python
# u = z / z.norm(dim=0)
# return 1 - u.mean(dim=0).square().sum()
# ```
#
# Find the bug. Then show that her number proves nothing: what is the **lowest value** it can take for any `z` with `n`
# rows and `d` columns (ints)? Return a float.
#
# <details><summary>Hint 1</summary>Along which axis does she normalise?</details>
# <details><summary>Hint 2</summary>For one column of length 1: how large can the square of its mean be, and for which
# column?</details>


# %%
def lowest_alarm(n, d):
    return NOT_ATTEMPTED


ch20.check_lowest_alarm(lowest_alarm)

# %% [markdown]
# ### 3 · Fool the safeguards (••, 10 minutes)
# Build a float tensor `z` `[n, d]` that two safeguards call healthy: every dimension has standard deviation 1 (to one
# percent) and the spread is above 0.9. And yet its effective rank is below 1.5. `n` and `d` are even, and at least 64
# and 8.
#
# <details><summary>Hint 1</summary>Which rung of the ladder has deviations of 1 and one direction?</details>
# <details><summary>Hint 2</summary>The spread needs rows that cancel out, so that their mean is 0.</details>


# %%
def fool(n, d):
    return NOT_ATTEMPTED


ch20.check_fool(fool)

# %% [markdown]
# ### 4 · Who survives (•••, 12 minutes)
# A linear encoder is trained with a pull and a push of strength `push`, not yet saturated. You get pictures `x` `[N, D]`
# and the difference between two views of each, `noise` `[N, D]` (float tensors). How many directions grow? Return an int.
#
# <details><summary>Hint 1</summary>Whose eigenvalues matter in the equation for $\dot W$?</details>
# <details><summary>Hint 2</summary>$V$ is a second moment (the differences have mean zero), $C$ a covariance (the
# pictures have not).</details>
# <details><summary>Hint 3</summary>`torch.linalg.eigvalsh` of one matrix, not of two.</details>


# %%
def surviving_directions(x, noise, push):
    return NOT_ATTEMPTED


ch20.check_surviving_directions(surviving_directions)

# %% [markdown]
# ## Claims, tested
#
# The runs are the three seeds of the record above. Where the quantity is no accuracy, the whole method must have
# learned, or nothing was tested. (C-56a asked for the deviation of each dimension first; whole VICReg has too little of
# it after so short a run for any answer, and the measure was changed when that was seen.)


# %%
def less(method, part, key):
    """The method with one part less against the whole; the probes say who learned."""
    broken, whole = f"{method}_{part}", method
    learned = (arm(broken), arm(whole))
    return Runs(arm(broken, key), arm(whole, key), floor, learned=learned)


book.claim("C-42a", drawn=less("byol", "no_predictor", "spread_z"))
book.claim("C-42b", drawn=less("simsiam", "no_predictor", "spread_z"))
probes = Runs(arm("simsiam_no_predictor"), arm("simsiam"), floor)
book.claim("C-42c", drawn=probes)
book.claim("C-43", drawn=less("simsiam", "no_stop_gradient", "spread_z"))
book.claim("C-56a", drawn=less("vicreg", "no_variance", "spread_z"))
terms = Runs(arm("vicreg"), arm("vicreg_no_covariance"), floor)
book.claim("C-56b", drawn=terms)

# %% [markdown]
# SimSiam ends in a BatchNorm, which keeps a batch from being one point; in evaluation mode, with running averages, the point
# can return. The claim about its predictor asks for a point, and gets the middle rung instead: see the rank. And a
# collapse takes time: a short run that has none does not refute a paper in which a long one has.
#
# ## Where it comes from, where it went
#
# Collapse is as old as the first Siamese network: [Bromley et al.
# (1993)](https://proceedings.neurips.cc/paper/1993/hash/288cc0ff022877bd3df94bc9360b9c5d-Abstract.html) trained on
# genuine *and* forged pairs. [BYOL (2020)](https://arxiv.org/abs/2006.07733) and [SimSiam
# (2021)](https://arxiv.org/abs/2011.10566) showed that an asymmetry can stand in for negatives.
# [RankMe](https://arxiv.org/abs/2210.02885) and [LiDAR](https://arxiv.org/abs/2312.04000) turned the symptoms into
# scores; [chapter 21](21_quality_without_labels.ipynb) asks how far to trust them.
#
# ### Quiz
#
# **1.** Every dimension of your embeddings has standard deviation 1. Can they be collapsed?
#
# <details><summary>Answer</summary>Yes: the middle rung of the ladder. All dimensions may be copies of one or two. Look
# at the effective rank.</details>
#
# **2.** A checkpoint, measured right after the first step, has a spread of 0.002. Do you stop the run?
#
# <details><summary>Answer</summary>No. In evaluation mode BatchNorm's running statistics have hardly seen anything, and
# untrained networks look like that. Settle the statistics, or wait for the next measurement.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def clusters_in_use(p):
#     mean = p.mean(dim=0)
#     return torch.exp(-torch.special.xlogy(mean, mean).sum())
#
#
# def lowest_alarm(n, d):
#     # She normalises the columns. A column of length 1 has a mean of at most 1 / sqrt(n) (Cauchy-Schwarz), reached
#     # when all its entries are equal: by the collapsed z, of all. So d columns take away d / n at most.
#     return 1 - d / n
#
#
# def fool(n, d):
#     sign = torch.ones(n)
#     sign[: n // 2] = -1  # half of the pictures on one side
#     return sign[:, None].repeat(1, d)  # all dimensions copies of one
#
#
# def surviving_directions(x, noise, push):
#     c = torch.cov(x.T, correction=0)
#     v = noise.T @ noise / len(noise)
#     return int((torch.linalg.eigvalsh(push * c - v) > 0).sum())
# ```
