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
# - tell a point, a line and a single cluster apart by three numbers that need no labels;
# - derive which directions of a linear encoder survive a given augmentation, and which die;
# - explain why a term that forbids the point may still leave you a line;
# - read a training log the way a doctor reads a chart: name, evidence, likely cause, first thing to try;
# - say where these measures are blind: whitened outputs, untrained networks, and what only labels can tell.
#
# **You need** chapters 00 and 13; chapters 14 to 17 explain the methods that are broken here.
# **Time**: 53 minutes to read, about 50 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("20")

# %% [markdown]
# ## The puzzle: which of these two is learning?
#
# Two networks play the same game: embed two views of a picture, and make the embeddings point the same way.
# The loss is minus the mean cosine between partners; $-1$ is a perfect score. Nobody pushes anything apart.
# The only difference between network A and network B is one line at the end of the projector. Here are the
# two loss curves.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, diagnostics, evaluation, exercises, plots, views, widgets
from ssl_lessons.book.exercises import ch20
from ssl_lessons.book.widgets import collapse as slider
from ssl_lessons.losses.correlation import whiten
from ssl_lessons.methods import Method
from ssl_lessons.models import projection_head
from ssl_lessons.training import Monitor, pretrain, recipes

STEPS, BATCH = 70, 128
recipe = recipes.get_recipe("quick")
unlabeled, train = data.shapes("unlabeled", n=4096, world=1), data.shapes("train", n=1000, world=1)


class Twins(Method):
    """Two views, one network, and a loss that only pulls: minus the mean cosine between partners."""

    def __init__(self, encoder: nn.Module, ending: str, out_dim: int = 16):
        super().__init__()
        self.encoder, self.ending = encoder, ending
        self.projector = projection_head(encoder.dim, encoder.dim, out_dim)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        z = super().embed(x)
        if self.ending == "standardise":  # every dimension: mean 0, variance 1 over the batch
            return F.batch_norm(z, None, None, training=True)
        return whiten(z) if self.ending == "whiten" else z  # whiten: and all correlations 0

    def forward(self, two_views, labels=None):
        z1, z2 = (self.embed(v) for v in two_views)
        return -F.cosine_similarity(z1, z2).mean()


def learn(method: Method, steps: int = STEPS, **options) -> list[dict]:
    """Train for a few seconds with the quick recipe and a monitor."""
    monitor = Monitor(train[:500], train[500:], every=10)
    settings = {"monitor": monitor, "seed": 0} | recipe.training() | {"batch_size": BATCH} | options
    return pretrain(method, unlabeled.images, method.views(recipe.policy), steps=steps, **settings)


def twins(ending: str) -> tuple[Twins, list[dict]]:
    torch.manual_seed(0)
    method = Twins(recipe.build(0).encoder, ending)
    return method, learn(method, progress=False)


runs = {ending: twins(ending) for ending in ("nothing", "whiten")}
fig, ax = plots.new_figure(6.0, 2.6)
for name, ending in (("A", "nothing"), ("B", "whiten")):
    ax.plot(
        [row["step"] for row in runs[ending][1]],
        [row["loss"] for row in runs[ending][1]],
        label=f"network {name}",
    )
ax.set(title="A is nearly perfect after a few steps; B barely moves", xlabel="step", ylabel="loss")
ax.axhline(-1, color=plots.GRAY, linestyle=":")
ax.legend()
plots.show(
    fig,
    alt="Loss over training steps: network A falls to minus one within a few steps; network B stays near zero.",
)

# %% [markdown]
# > **Predict before you go on.** (1) Which network's features tell the ten kinds of objects apart better: A
# > or B? (2) After training, how many different answers does A give to 500 different pictures? (3) Can you
# > think of a number, computed without any label, that would have told you?

# %%
plots.table(
    [
        {
            "name": f"network {name}",
            "loss": runs[ending][1][-1]["loss"],
            "before": runs[ending][1][0]["knn"],
            "after": runs[ending][1][-1]["knn"],
            "spread": runs[ending][1][-1]["spread_z"],
        }
        for name, ending in (("A", "nothing"), ("B", "whiten"))
    ],
    "The answer: the better the loss, the worse the network",
    {
        "name": "", "loss": "final loss", "before": "kNN of the features, untrained", "after": "kNN after training",
        "spread": "spread of the embeddings (0 = all the same, 1 = as wide as possible)",
    },
    {"loss": ".2f", "before": ".1%", "after": ".1%", "spread": ".2g"},
)  # fmt: skip

# %% [markdown]
# Network A says the same thing about every picture. Two views of one picture then agree perfectly, and so do
# two views of different ones. This is **collapse**, and the loss curve is proud of it. The rest of this
# chapter is about seeing it, understanding it and naming it: first three numbers, then the mechanism, then
# a ward full of patients.
#
# ## The idea: three ways to say nothing
#
# Let $z_1, \dots, z_N \in \mathbb{R}^D$ be embeddings of $N$ *different* pictures, and $u_i = z_i / \|z_i\|$.
#
# **A point** (*complete* collapse). All $u_i$ are the same. Measure the **spread**
#
# $$S = 1 - \Big\|\frac1N\sum_i u_i\Big\|^2 = 1 - \frac1{N^2}\sum_{i,j} u_i^\top u_j,$$
#
# one minus the mean cosine: 0 for a point, 1 when the directions cancel. ([SimSiam](https://arxiv.org/abs/2011.10566)
# plots a relative, the standard deviation of each coordinate of $u$; $S$ is the sum of the squares of those.)
#
# **A line, or a few directions** (*dimensional* collapse, a name from [Hua et al.,
# 2021](https://arxiv.org/abs/2105.00470)). The pictures differ, but only along a few axes. Take the singular values
# $\sigma_1 \ge \sigma_2 \ge \dots$ of the centred embeddings, and count them softly,
#
# $$\text{rank} = \exp\Big(-\sum_k p_k \log p_k\Big), \qquad p_k = \sigma_k \Big/ \sum_l \sigma_l,$$
#
# the exponential of an entropy: $r$ equal singular values give exactly $r$. (Without the centring, this is
# [RankMe](https://arxiv.org/abs/2210.02885).)
#
# **One cluster** (*cluster* collapse). Methods with prototypes (chapter 17) turn a picture into probabilities
# $p_i \in \mathbb{R}^K$ over $K$ clusters. Two entropies tell the story: $H(\bar p)$ of the mean assignment, and the
# mean $\overline{H(p)}$ of the assignments. If all pictures share one cluster, $H(\bar p) = 0$. If every picture is
# spread evenly over all clusters, $H(\bar p)$ is at its maximum $\log K$, and still nothing is said. The difference
# $H(\bar p) - \overline{H(p)}$, the information that the cluster carries about the picture, is 0 in both cases.
#
# Ten lines in all:

# %%


def my_spread(z: torch.Tensor) -> float:
    """z [N, D]"""
    return float(1 - F.normalize(z.double(), dim=1).mean(dim=0).square().sum())


def my_rank(z: torch.Tensor) -> float:
    """z [N, D]"""
    values = torch.linalg.svdvals(F.normalize(z.double(), dim=1) - F.normalize(z.double(), dim=1).mean(dim=0))
    share = values / values.sum() + 1e-7
    return float(torch.exp(-(share * share.log()).sum()))


def entropy(p: torch.Tensor) -> torch.Tensor:
    return -torch.special.xlogy(p, p).sum(dim=-1)


def my_usage_and_information(p: torch.Tensor) -> tuple[float, float]:
    """p [N, K], rows sum to 1; both as a share of log min(N, K)."""
    mean, largest = entropy(p.double().mean(dim=0)), math.log(min(p.shape))
    return float(mean) / largest, float(mean - entropy(p.double()).mean()) / largest


toy = torch.randn(300, 12, generator=torch.Generator().manual_seed(0)) + 0.5
report = diagnostics.diagnose(toy)
assert math.isclose(my_spread(toy), diagnostics.spread(toy), rel_tol=1e-9)
assert math.isclose(my_rank(toy), report.evidence["effective_rank"], rel_tol=1e-6)
chances = (3 * toy).softmax(dim=1)
usage, information = my_usage_and_information(chances)
assert math.isclose(usage, diagnostics.cluster_usage_entropy(chances), rel_tol=1e-6)
assert math.isclose(information, diagnostics.assignment_information(chances), rel_tol=1e-6)
print("The four functions above agree with the package's.")

# %% [markdown]
# ## The mechanism: the gradient of the spread
#
# Why does collapse happen at all, and so fast? Take the simplest encoder, $z = Wx$, and the pull alone:
#
# $$L_\text{pull} = \tfrac12\,\mathbb{E}\,\|W x - W x'\|^2 = \tfrac12 \operatorname{tr}\big(W A W^\top\big), \qquad A = \mathbb{E}\,(x - x')(x - x')^\top ,$$
#
# where $x, x'$ are two views of a picture, and $A$, $[D, D]$, says how much the augmentation shakes each
# direction. Gradient descent in small steps (gradient flow) gives
#
# $$\dot W = -\nabla L = -W A \quad\Longrightarrow\quad W(t) = W(0)\,e^{-At}.$$
#
# Every direction that the augmentation shakes shrinks exponentially, at the rate of its shaking. The spread of the
# embeddings, $\operatorname{tr}(W C W^\top)$ with $C$ the covariance of the pictures, has the gradient
# $\frac{d}{dt}\operatorname{tr}(W C W^\top) = -2\operatorname{tr}(W A\,C\,W^\top)$: it falls whenever $A$ and $C$ share axes. No
# direction is ever rewarded. Collapse is not an accident of optimisation. It is the descent.
#
# Now add a push, of strength $\beta$, that rewards spread: $L = L_\text{pull} - \frac\beta2\operatorname{tr}(W C W^\top)$ for as
# long as the embeddings are small. Then
#
# $$\dot W = W\,(\beta C - A),$$
#
# and everything hangs on the *sign of the eigenvalues* of $\beta C - A$. A direction in which pictures differ more
# than views do, as the push sees it, grows (until the push saturates); all others die. For the softmax loss of
# contrastive learning, [Jing et al. (2022)](https://arxiv.org/abs/2110.09348) prove this with weights that follow the
# softmax: their theorem says that an augmentation strong enough to give $\beta C - A$ a negative eigenvalue makes
# singular values of $W$ vanish. So the push forbids the *point*. It does not forbid *fewer dimensions*.
#
# They found a second cause, which needs no strong augmentation. Let the encoder be a product, $z = W_2 W_1 x$. The
# gradient of $W_1$ carries the factor $W_2^\top$ and vice versa, so a singular value grows at a rate proportional
# to *itself* (to its square root, for each factor): the large ones run away, and the small ones have not moved
# by the time the loss is satisfied. Depth, with small initial weights, prefers few directions.
#
# Both causes fit in a toy: 16-dimensional Gaussian "pictures", an augmentation that shakes only the last eight
# axes, InfoNCE on distances (as in the paper), and plain gradient descent.

# %%
AXES = 16


def distance_info_nce(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    """InfoNCE with -|z - z'|^2 / 2 as the score: z1, z2 [N, D]."""
    return F.cross_entropy(-torch.cdist(z1, z2).square() / 2, torch.arange(len(z1)))


def linear_toy(layers: int, shake: float, scale: float, steps: int = 400, lr: float = 0.1, n: int = 128):
    """Singular values [steps / 10, 16] of the product of `layers` matrices, trained from Gaussians of size `scale`."""
    g = torch.Generator().manual_seed(0)
    weights = [(scale * torch.randn(AXES, AXES, generator=g) / 4).requires_grad_() for _ in range(layers)]
    noise = torch.cat([torch.zeros(8), torch.full((8,), shake)])
    found = []
    for step in range(steps):
        x = torch.randn(n, AXES, generator=g)
        z1, z2 = x + noise * torch.randn(n, AXES, generator=g), x + noise * torch.randn(n, AXES, generator=g)
        for w in weights:
            z1, z2 = z1 @ w.T, z2 @ w.T
        gradients = torch.autograd.grad(distance_info_nce(z1, z2), weights)
        with torch.no_grad():
            for w, gradient in zip(weights, gradients):
                w -= lr * gradient
            if step % 10 == 0:
                product = torch.linalg.multi_dot([torch.eye(AXES), *[w.T for w in weights]])
                found.append(torch.linalg.svdvals(product))
    return torch.stack(found)


toys = {
    "one layer, gentle": linear_toy(1, 0.2, 0.5),
    "one layer, strong augmentation": linear_toy(1, 1.5, 0.5),
    "two layers, gentle": linear_toy(2, 0.2, 0.2),
}
fig, panels = plots.new_figure(9.4, 2.8, 1, 3, sharey=True)
for ax, (name, values) in zip(panels, toys.items()):
    ax.plot(range(0, 10 * len(values), 10), values.clamp_min(1e-4), color=plots.COLORS[0], linewidth=0.9)
    ax.set(yscale="log", ylim=(1e-4, 30), title=name.capitalize(), xlabel="step")
panels[0].set_ylabel("singular values of the encoder")
plots.show(
    fig,
    alt="Sixteen singular values over training. One layer with gentle augmentation: all sixteen stay large. Strong "
    "augmentation: eight fall away. Two layers with gentle augmentation: a few grow large and the others stay tiny.",
)


def alive(values: torch.Tensor, share: float = 0.2) -> int:
    """How many singular values exceed a share of the largest."""
    return int((values[-1] > share * values[-1].max()).sum())


plots.table(
    [
        {"name": name, "alive": alive(v), "rank": float(torch.exp(entropy(v[-1] / v[-1].sum())))}
        for name, v in toys.items()
    ],
    "Two causes of dimensional collapse in a linear encoder of 16 dimensions",
    {"name": "toy", "alive": "singular values above a fifth of the largest", "rank": "effective rank"},
    {"rank": ".1f"},
)
assert alive(toys["one layer, strong augmentation"]) == 8 < alive(toys["one layer, gentle"])
assert alive(toys["two layers, gentle"]) < 8

# %% [markdown]
# The middle picture loses exactly the eight shaken axes. The right one loses directions that nobody shook.
#
# > **And stop-gradient?** BYOL and SimSiam have no push at all. With the target held fixed, the gradient no longer
# > moves the target towards the prediction, and the predictor's own learning keeps $\dot W$ from being $-WA$: chapter
# > 15 derives when a small eigenvalue then grows instead of dying.
#
# ## The ladder: from a point to a line to a cloud
#
# Now the real network again. Network A had nothing against the point. The cheapest remedy is to *forbid the point by
# force*: standardise every dimension of $z$ over the batch (a BatchNorm without parameters). A constant can no
# longer be output. Network B did more: it **whitened** the batch, so that every dimension has variance 1 *and* no two
# are correlated. Hua and co-workers argued in 2021 that these are two different illnesses with two different cures.
# Run the middle rung.

# %%
runs["standardise"] = twins("standardise")
LADDER = {
    "nothing": "nothing",
    "standardise": "variance 1 (standardised)",
    "whiten": "variance 1, uncorrelated (whitened)",
}


@torch.no_grad()
def features(method: Method, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features h and embeddings z of images, the method in evaluation mode."""
    method.eval()
    return evaluation.extract_features(method.encoder, images), method.embed(views.normalize(images))


held_out = train.images[500:]
clouds = {ending: features(runs[ending][0], held_out) for ending in LADDER}
reports = {ending: diagnostics.diagnose(z, history=runs[ending][1]) for ending, (_, z) in clouds.items()}


def scatter(axes, found: dict) -> None:
    """The unit embeddings of each run along their two strongest directions."""
    for ax, (name, z) in zip(axes, found.items()):
        u = F.normalize(z, dim=1)
        flat = u @ torch.linalg.svd(u - u.mean(dim=0), full_matrices=False)[2][:2].T
        ax.scatter(flat[:, 0], flat[:, 1], s=5, c=[plots.COLORS[k % 7] for k in train.labels[500:].tolist()])
        ax.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), title=name, xlabel="strongest direction")
    axes[0].set_ylabel("second direction")


fig, axes = plots.new_figure(9.4, 3.1, 1, 3)
scatter(axes, {reports[e].verdict.capitalize() if e != "whiten" else "A cloud": clouds[e][1] for e in LADDER})
plots.show(
    fig, alt="Embeddings of 500 pictures on the two strongest directions: a point, a line, and a round cloud."
)
plots.table(
    [
        {"name": name, "loss": runs[e][1][-1]["loss"], "spread": reports[e].evidence["spread"],
         "rank": reports[e].evidence["effective_rank"], "knn": runs[e][1][-1]["knn"], "verdict": reports[e].verdict}
        for e, name in LADDER.items()
    ],
    "Forbid the point and you get a line; forbid the line as well and the network has to look",
    {"name": "forced on the batch", "loss": "loss", "spread": "spread of z", "rank": "rank of z (of 16)", "knn": "kNN of h",
     "verdict": "diagnose says"},
    {"loss": ".2f", "spread": ".2g", "rank": ".1f", "knn": ".1%"},
)  # fmt: skip
assert [reports[e].verdict for e in LADDER] == ["complete collapse", "dimensional collapse", "healthy"]

# %% [markdown]
# Look at the three losses: they are ordered the *wrong way round*. And look at the middle picture: the standard
# deviation of every single dimension is 1, so a plot of standard deviations alone, the usual safeguard, is content.
# All 16 dimensions say the same thing. The **spectrum** sees it. (And do not read the rank of a point: it counts the
# directions of the last remains of noise. Look at the spread first.)
#
# The doctor's letter for network A, in full:

# %%
print(reports["nothing"])

# %% [markdown]
# ## One cluster: SwAV with and without its balance
#
# The third way to say nothing. SwAV (chapter 17) asks a view to predict the cluster of the other view. The cheapest
# answer: always the same cluster. Sinkhorn-Knopp forbids it by balancing the assignments over the batch. Train it
# with and without; watch the progress bar and what it prints.

# %%
swav = recipes.get_recipe("quick", method="swav")


def run_swav(balance: bool) -> tuple[Method, list[dict]]:
    method = swav.with_(options=swav.options | {"sinkhorn": balance}).build(0)
    return method, learn(method, steps=60, **swav.training() | {"batch_size": BATCH})


runs["unbalanced"], runs["balanced"] = run_swav(False), run_swav(True)
plots.table(
    [
        {"name": name, "loss": rows[-1]["loss"], "usage": rows[-1]["usage"], "information": rows[-1]["information"],
         "knn": rows[-1]["knn"], "verdict": rows[-1]["verdict"]}
        for name, rows in (("without Sinkhorn", runs["unbalanced"][1]), ("with Sinkhorn", runs["balanced"][1]))
    ],
    "SwAV: without the balance everything goes into one cluster",
    {"name": "", "loss": "loss", "usage": "clusters used (entropy, share of the most)",
     "information": "information in the cluster", "knn": "kNN of h", "verdict": "the monitor says"},
    {"loss": ".3f", "usage": ".1%", "information": ".1%", "knn": ".1%"},
)  # fmt: skip
assert runs["unbalanced"][1][-1]["verdict"] == "cluster collapse"
assert runs["balanced"][1][-1]["verdict"] == "healthy"

# %% [markdown]
# The monitor of the training loop measured these numbers every ten steps, on 256 held-out pictures. It is what turns
# this chapter from history into a seat belt: `pretrain(..., monitor=...)` names a collapse *while it happens*.

# %%
fig, (left, right) = plots.new_figure(9.0, 2.8, 1, 2)
for i, (ending, name) in enumerate(LADDER.items()):
    measured = [row for row in runs[ending][1] if "spread_z" in row]
    steps = [row["step"] for row in measured]
    left.plot(
        steps, [row["spread_z"] for row in measured], "o-", color=plots.COLORS[i], markersize=3, label=name
    )
    right.plot(steps, [row["rank_z"] for row in measured], "o-", color=plots.COLORS[i], markersize=3)
left.set(yscale="log", title="The spread sees the point", xlabel="step", ylabel="spread of z")
right.set(title="The rank sees the line", xlabel="step", ylabel="RankMe of z", ylim=(0, 17))
left.legend(fontsize=7)
plots.show(
    fig,
    alt="Left: the spread falls by orders of magnitude for the network with nothing, and stays near one for the other two. "
    "Right: RankMe falls to between one and two for the standardised network, and stays at sixteen for the whitened.",
)

# %% [markdown]
# ## Before and after the projector
#
# Everything so far was measured on $z$, where the loss acts. What you keep is $h$, the features *before* the
# projector. Are they collapsed as well?

# %%
fig, axes = plots.new_figure(9.4, 2.9, 1, 3, sharey=True)
for ax, (ending, name) in zip(axes, LADDER.items()):
    for x, label, style in ((clouds[ending][0], "h, before", "-"), (clouds[ending][1], "z, after", "--")):
        values = diagnostics.singular_values(x)
        ax.plot(range(1, len(values) + 1), (values / values[0]).clamp_min(1e-4), style, label=label)
    ax.set(yscale="log", xscale="log", ylim=(1e-4, 1.5), title=name, xlabel="direction")
axes[0].set_ylabel("singular value / largest")
axes[0].legend()
plots.show(
    fig,
    alt="Spectra of features and embeddings for the three networks: the features keep a slowly falling spectrum in all three, "
    "while the standardised embeddings fall off after one direction and the whitened ones are flat.",
)
before_after = [
    {"name": name, "h": diagnostics.diagnose(clouds[e][0]).evidence["effective_rank"],
     "z": reports[e].evidence["effective_rank"], "verdict": diagnostics.diagnose(clouds[e][0]).verdict}
    for e, name in LADDER.items()
]  # fmt: skip
plots.table(
    before_after,
    "The projector takes the blow",
    {
        "name": "forced on the batch",
        "h": "rank of h (of 256)",
        "z": "rank of z (of 16)",
        "verdict": "diagnose(h)",
    },
    ".1f",
)

# %% [markdown]
# Even network A's features still differ from picture to picture: the *projector* has learned to be deaf, and the
# encoder only begins to follow. Two lessons. First, **diagnose z, keep h**: the alarm rings earlier on $z$. Second, a
# collapsed projector does not prove that the features are lost, and healthy-looking features do not prove that
# training is doing anything: look at the kNN column above.
#
# ## The ward: every way to break a method, and its name
#
# The record below was made by `benchmarks/clinic.py`: each patient is a method of this book with one thing broken and
# a few seconds of training. `diagnose` saw the embeddings and the history, never the name of the case. The cases were
# settled and its lines drawn on seeds 0 to 2, so for those a good table proves little. Seeds 3 to 5 were trained afterwards: they are the test.
# (One patient, SimSiam without predictor, may end on a line or in a point; the seed decides, and either name is right.)

# %%
rows, origin = book.recorded("clinic")
broken = [row for row in rows if row["kind"] == "broken"]
healthy = [row for row in rows if row["kind"] == "healthy"]
resisted = [row for row in healthy if row["case"] != row["method"]]  # sabotaged, and nothing happened


def confusion(found: list[dict]) -> list[dict]:
    """Expected name against verdict, runs counted."""
    names = [v for v in diagnostics.VERDICTS if any(v in (r["expected"], r["verdict"]) for r in found)]
    table = []
    for name in names:
        mine = [r["verdict"] for r in found if r["expected"] == name]
        if mine:
            table.append({"what it is": name} | {v: mine.count(v) or None for v in names})
    return table


for title, seeds in (("seeds 0 to 2, on which the lines were drawn", (0, 1, 2)), ("seeds 3 to 5, the test", (3, 4, 5))):
    part = [row for row in rows if row["seed"] in seeds]
    plots.table(confusion(part), f"Expected name (rows) against the verdict of diagnose (columns): {title}")


def named(row: dict) -> bool:
    return row["verdict"] in (row["expected"], row["also"] or row["expected"])


for kind, group, words in (("broken", broken, "got the right name"), ("healthy", healthy, "gave no alarm")):
    print(f"{sum(map(named, group))} of {len(group)} {kind} runs {words}.")
for row in rows:
    if not named(row):
        print(f"   seed {row['seed']}: {row['what']} was called {row['verdict']} instead of {row['expected']}")
print(origin)

# %% [markdown]
# The charts, patient by patient. Every number is a median over the recorded seeds; "cure" is the same method with
# nothing broken, in about as short a run. Read a line like a doctor: what does the *loss* say, what does the *spread* say, what the
# *rank*, what the *clusters*, and has anything been learned (kNN of the features; all start near the untrained value)?

# %%


def median(found: list[dict], name: str) -> float | None:
    values = sorted(r[name] for r in found if r.get(name) is not None)
    return values[len(values) // 2] if values else None


def of(case: str) -> list[dict]:
    return [row for row in rows if row["case"] == case]


COLUMNS = {
    "what": "patient", "loss": "loss", "chance_loss": "loss of equal embeddings", "spread_z": "spread of z",
    "effective_rank": "rank of z", "usage": "clusters used", "norm_z": "length of z", "knn_first": "kNN before", "knn": "kNN after",
    "cure": "kNN of the cure", "verdict": "verdicts",
}  # fmt: skip
FORMS = {
    "loss": ".3g",
    "chance_loss": ".3g",
    "spread_z": ".2g",
    "effective_rank": ".1f",
    "usage": ".0%",
    "norm_z": ".3g",
}
charts = []
for case in dict.fromkeys(row["case"] for row in broken + resisted):
    mine, cure = of(case), of(of(case)[0]["method"])
    line = {name: median(mine, name) for name in COLUMNS if name not in ("what", "cure", "verdict")}
    names = [row["verdict"] for row in mine]
    found = ", ".join(f"{v} ({names.count(v)})" if len(set(names)) > 1 else v for v in dict.fromkeys(names))
    charts.append(line | {"what": mine[0]["what"], "cure": median(cure, "knn"), "verdict": found})
plots.table(
    charts,
    "Broken on purpose: medians over the seeds",
    COLUMNS,
    FORMS | dict.fromkeys(("knn_first", "knn", "cure"), ".0%"),
)

# %% [markdown]
# What happened to them, and what cures it:
#
# | Patient | Mechanism | First thing to try |
# |---|---|---|
# | Twins without predictor or stop-gradient | $\dot W = -WA$: the descent itself | put the predictor and the stop-gradient back ([SimSiam](https://arxiv.org/abs/2011.10566)) |
# | A moving-average teacher alone | the teacher follows the student into the point, only later | the predictor ([BYOL](https://arxiv.org/abs/2006.07733)) |
# | SimSiam without predictor | with the symmetrised loss and no predictor the stop-gradient only halves the gradient: the twins of the first line; the BatchNorm at the end of its projector makes the point hard to reach, so mostly a line is left | as above |
# | No negatives, no variance term | no push: $\beta = 0$ | the term ([VICReg](https://arxiv.org/abs/2105.04906)) |
# | No covariance term, $\lambda = 0$ | variance is forced, correlations are not: all dimensions copy the easiest one | the term ([Barlow Twins](https://arxiv.org/abs/2103.03230)) |
# | Extreme augmentation, linear head | two crops of a few percent share nothing: every eigenvalue of $\beta C - A$ is negative | weaken it |
# | DINO without centring | one prototype wins, and winning feeds on itself | centre the teacher ([DINO](https://arxiv.org/abs/2104.14294)) |
# | DINO without sharpening | the uniform answer is always half right, and its target never commits | teacher temperature below the student's |
# | SwAV without Sinkhorn | nothing balances the clusters | the balance ([SwAV](https://arxiv.org/abs/2006.09882)) |
# | Temperature 20 | the softmax is flat: every negative pushes alike, so the push is served best along one direction, and the line is all you get | lower it (chapter 13) |
# | Temperature 0.0005 | one wrong pair costs hundreds of nats, so the network bunches everything up, to be wrong by less, and stays at chance | raise it |
# | Wrong pairs, detached encoder | there is nothing to learn, or nobody to learn it | check the pairing; check that weights change |
# | Learning rate 250 times too high | the weights leave, the lengths of $h$ and $z$ say so | a tenth of it, and a warm-up |
# | Raw queue | negatives win by their length, not their direction | normalise on the way into the queue |
# | Teacher momentum 1 | the teacher is the untrained network, for ever | a half-life well below the run |
# | No colour jitter | the histogram of colours is enough to win | jitter |
#
# The last two lines of the charts are sabotage that failed. [MSN](https://arxiv.org/abs/2204.07141) without its mean-entropy term
# still spreads over all prototypes here: the hidden patches and the sharp targets are enough for a run this short. And BatchNorm
# over four images, unshuffled, is the famous leak of [MoCo](https://arxiv.org/abs/1911.05722) (partners share statistics that the queue
# does not), but in a few seconds our network does not learn to exploit it; chapter 14 looks closer. A good alarm is silent here.
#
# > **The length of z is a symptom too.** With losses on unit vectors the gradient is orthogonal to $z$, so a step on a
# > free $z$ lengthens it, by Pythagoras, and the effective step size shrinks. The $z$ of a network is not free,
# > and its weights decay: it may shorten as well. A jump is the first sign of a learning rate that is too high.
# >
# > **What the measures cannot see.** Outputs that are whitened by construction have full rank before training, and on
# > pictures of noise. An untrained network in evaluation mode looks collapsed until its BatchNorm statistics have settled
# > (`models.settle`). And whether the differences are *useful* only labels can tell: the kNN accuracy, which the diagnoses
# > of shortcuts use, is not label-free. `print(diagnose(...))` ends with the blind spots that apply.
#
# ## Healthy, and yet: the shortcut
#
# The most treacherous patient has no collapse at all. Without colour jitter, SimCLR's loss falls beautifully, the
# spectrum is broad, and the network has learned a colour meter (chapter 13 played that game with six numbers). The
# record of chapter 22's sweep shows what a rank cannot see: rows are strengths of the colour augmentation, 0 = none.

# %%
strength, strength_origin = book.recorded("augmentation_strength")
levels = sorted({row["strength"] for row in strength})


def at(level: float, name: str) -> list[float]:
    got = [row for row in strength if row["strength"] == level]
    return [row["factors"][name] if name in row["factors"] else row[name] for row in got]


fig, (left, right) = plots.new_figure(9.2, 2.9, 1, 2)
for level in levels:
    left.plot(at(level, "rank_h"), [100 * p for p in at(level, "probe")], "o", label=f"strength {level:g}")
left.set(title="The highest rank has the worst probe", xlabel="RankMe of h", ylabel="100-label probe (%)")
left.legend(fontsize=7)
for name, label in (
    ("kind", "kind of object"),
    ("object_hue", "hue of the object"),
    ("background_hue", "hue of the background"),
    ("x", "position"),
):
    right.plot(levels, [sum(at(v, name)) / len(at(v, name)) for v in levels], "o-", label=label, markersize=3)
right.set(title="What jitter buys, and what it costs", xlabel="strength of the colour augmentation",
          ylabel="can be read from h (0 to 1)", ylim=(-0.03, 1.03))  # fmt: skip
right.legend(fontsize=7)
plots.show(
    fig,
    alt="Left: runs without colour augmentation have the highest RankMe and the lowest probe accuracy. Right: with growing "
    "strength of the colour augmentation the kind of object becomes readable and the hues vanish.",
)
print(strength_origin)

# %% [markdown]
# The right picture is the whole truth about "good" augmentations: they decide **which** invariances you buy ([Ericsson
# et al., 2021](https://arxiv.org/abs/2111.11398)). If your task is the kind of object, colour jitter is a gift. If your
# task is colour, it is arson: the hue is gone ([Bordes et al., 2023](https://arxiv.org/abs/2303.01986), found the same on
# real tasks). No measure in this chapter can know your task. What it can do is ring when the *game* is won and the
# *neighbours* have not moved: loss near zero, kNN flat.
#
# Colour is not the only shortcut. [Doersch et al. (2015)](https://arxiv.org/abs/1505.05192) caught their network reading the
# lens's colour fringes, and low-level texture is always on offer. Here is a *texture meter*: it sees only how rough a
# grey crop is, at three scales and two directions. Six numbers again.

# %%


def texture_meter(x: torch.Tensor) -> torch.Tensor:
    """[N, 3, S, S] -> [N, 6]: log mean absolute difference of neighbouring pixels, at three scales, both directions.

    Minus their mean, so that more or less contrast changes nothing.
    """
    found, x = [], x.mean(dim=1, keepdim=True)
    for _ in range(3):
        found += [x.diff(dim=d).abs().mean(dim=(1, 2, 3)).clamp_min(1e-4).log() for d in (2, 3)]
        x = F.avg_pool2d(x, 2)
    rough = torch.stack(found, dim=1)
    return rough - rough.mean(dim=1, keepdim=True)


def play(meter, policy, n: int = 256) -> float:
    """How often the meter points at the partner among 2n - 1 views."""
    pair = views.make_views(unlabeled.images[:n], (policy, policy), torch.Generator().manual_seed(0))
    z = torch.cat([meter(v) for v in pair])
    z = (z - z.mean(dim=0)) / z.std(dim=0)
    nearest = torch.cdist(z, z).fill_diagonal_(math.inf).argmin(dim=1)
    return float((nearest == torch.arange(2 * n).roll(n)).float().mean())


crops = {"as in the recipe": recipe.policy} | {
    f"crops of at least {low:.0%}": recipe.policy.replace(crop_scale=(low, 1.0)) for low in (0.7, 0.9)
}
meter_knn = evaluation.knn_accuracy(
    texture_meter(views.normalize(train.images[:500])), train.labels[:500],
    texture_meter(views.normalize(held_out)), train.labels[500:],
)  # fmt: skip
plots.table(
    [{"views": "a guess", "right": 1 / 511}]
    + [{"views": name, "right": play(texture_meter, policy)} for name, policy in crops.items()],
    "Six roughness numbers play the game of SimCLR",
    {"views": "views made by", "right": "picks the partner among 511"},
    ".1%",
)
print(f"The same six numbers tell the kinds of objects apart with {meter_knn:.0%} (kNN; a guess: 10%).")

# %% [markdown]
# Strong random crops are the cure for this one: they change the roughness of a view. The gentler the crop, the more
# often six numbers win, under the same colour jitter.
#
# ## What the projector takes, and what it gives
#
# Back to $h$ and $z$. A record of SimCLR with four heads (`benchmarks/collapse_heads.py`): none, one linear layer,
# an MLP of two and of three layers; **DirectCLR** ([Jing et al., 2022](https://arxiv.org/abs/2110.09348)), which has no projector
# and lets the loss see only the first channels of $h$, so that the others may keep what it would destroy; and an **oracle
# filter**, a supervised network that drops every pair in which it sees two different kinds, with and without a projector
# ([Balestriero et al., 2023](https://arxiv.org/abs/2304.12210) report that the filter helps only without one).

# %%
heads, heads_origin = book.recorded("collapse_heads")
HEADS = {
    "none": "no projector", "linear": "linear", "mlp": "MLP, 2 layers", "mlp3": "MLP, 3 layers", "directclr": "DirectCLR",
    "oracle_none": "no projector, oracle filter", "oracle_mlp": "MLP, oracle filter",
}  # fmt: skip


def head(name: str, key: str, factor: str | None = None) -> list[float]:
    """One value per seed."""
    return [r[key][factor] if factor else r[key] for r in heads if r["head"] == name]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


plots.table(
    [
        {
            "head": label,
            "probe_h": mean(head(name, "probe_h")),
            "range": max(head(name, "probe_h")) - min(head(name, "probe_h")),
            "probe_z": mean(head(name, "probe_z")),
            "rank_h": mean(head(name, "effective_rank_h")),
            "rank_z": mean(head(name, "effective_rank_z")),
            "hue_h": mean(head(name, "factors_h", "background_hue")),
            "hue_z": mean(head(name, "factors_z", "background_hue")),
        }
        for name, label in HEADS.items()
        if head(name, "probe_h")
    ],
    "SimCLR, one short run per head: means of the seeds",
    {
        "head": "head", "probe_h": "probe of h", "range": "its range over seeds", "probe_z": "probe of z", "rank_h": "rank of h",
        "rank_z": "rank of z", "hue_h": "background hue readable from h", "hue_z": "from z",
    },
    dict.fromkeys(("probe_h", "range", "probe_z"), ".1%") | dict.fromkeys(("rank_h", "rank_z"), ".0f")
    | dict.fromkeys(("hue_h", "hue_z"), ".2f"),
)  # fmt: skip
print(heads_origin)

# %% [markdown]
# The colour of the background is what the augmentation asks the network to forget. The embedding $z$ forgets it; the
# features $h$ one MLP earlier still know. That is what "the projector takes the blow" means in numbers: the invariance
# is paid for in $z$. Now look at the first column, and at claims C-2 and C-10 below: whether a projector makes $h$
# *better* is another question, and a run of seconds need not answer it as a run of days does.
#
# ## Play: the collapse slider
#
# A small network, trained while you wait (two hundred steps on 240 points with eight coordinates of falling strength,
# every view shaken alike). Choose the ingredient that prevents collapse, and turn it down. Left: the spectrum of $z$.
# Middle: the points on the two strongest directions, coloured by quarter. Right: the spread while it trained.
# Watch directions die one after the other, the weakest signal first, exactly as $\beta C - A$ says, until the last one goes.

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

# %% [markdown]
# > **Try.** (1) Find the amount of negatives at which the second direction dies. (2) Turn down the variance term of
# > VICReg instead: how far can you go before anything happens, and why is a hinge more forgiving than a weight? (3)
# > Turn down the covariance term: why does the spread stay high?
#
# ## Exercises
#
# Replace `return exercises.NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on your answers.
#
# ### 1 · The spread (•, 5 minutes)
#
# <details><summary>Hint 1</summary>Normalise every row first.</details>
# <details><summary>Hint 2</summary>You do not need the N x N matrix of cosines: the mean of all of them is the squared length of one vector.</details>

# %%


def spread(z: torch.Tensor) -> float:
    """z [N, D] -> 0 for a point, up to 1."""
    return exercises.NOT_ATTEMPTED


ch20.check_spread(spread)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def spread(z):
#     return 1 - F.normalize(z, dim=1).mean(dim=0).square().sum()
# ```
# </details>
#
# ### 2 · The effective rank (•, 6 minutes)
#
# Of the centred cloud, no noise floor, no normalisation of the rows.
#
# <details><summary>Hint 1</summary>`torch.linalg.svdvals` of the matrix minus its mean row.</details>
# <details><summary>Hint 2</summary>Shares that sum to 1; then the entropy; then its exponential.</details>

# %%


def effective_rank(z: torch.Tensor) -> float:
    """z [N, D] -> from 1 to min(N - 1, D)."""
    return exercises.NOT_ATTEMPTED


ch20.check_effective_rank(effective_rank)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def effective_rank(z):
#     s = torch.linalg.svdvals(z - z.mean(dim=0))
#     p = s / s.sum()
#     return torch.exp(-torch.special.xlogy(p, p).sum())
# ```
# </details>
#
# ### 3 · Clusters in use (••, 6 minutes)
#
# From assignments $p$ $[N, K]$: how many clusters are in use, counted softly?
#
# <details><summary>Hint 1</summary>Of which distribution do you take the entropy: of each picture's, or of the average?</details>
# <details><summary>Hint 2</summary>The exponential turns an entropy into a number of things.</details>

# %%


def clusters_in_use(p: torch.Tensor) -> float:
    """p [N, K], rows sum to 1 -> from 1 to K."""
    return exercises.NOT_ATTEMPTED


ch20.check_clusters_in_use(clusters_in_use)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def clusters_in_use(p):
#     mean = p.mean(dim=0)
#     return torch.exp(-torch.special.xlogy(mean, mean).sum())
# ```
# </details>
#
# ### 4 · Who survives (•••, 12 minutes)
#
# A linear encoder, trained with a pull, and a push of strength $\beta$. You are given pictures $x$ $[N, D]$, the difference between
# two views of each picture $[N, D]$, and $\beta$. How many directions grow?
#
# <details><summary>Hint 1</summary>The equation for the weights is in the section on the mechanism: whose eigenvalues matter?</details>
# <details><summary>Hint 2</summary>$A$ is a second moment (the differences have mean zero), $C$ a covariance (the pictures have not).</details>
# <details><summary>Hint 3</summary>`torch.linalg.eigvalsh` of one matrix, not of two.</details>

# %%


def surviving_directions(x: torch.Tensor, noise: torch.Tensor, push: float) -> int:
    """x [N, D], noise [N, D] (view minus view), push > 0 -> how many directions grow."""
    return exercises.NOT_ATTEMPTED


ch20.check_surviving_directions(surviving_directions)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def surviving_directions(x, noise, push):
#     c = torch.cov(x.T, correction=0)
#     a = noise.T @ noise / len(noise)
#     return (torch.linalg.eigvalsh(push * c - a) > 0).sum()
# ```
# </details>

# %% [markdown]
# ## Claims put to the test
#
# Statements from the literature, each with what this chapter or its records measured. The verdict is computed from the
# numbers, by the rule in the cell.

# %%


def verdict(holds: bool, partly: bool = False) -> str:
    return "reproduced" if holds else "mixed" if partly else "not reproduced here"


def sick(case: str) -> list[bool]:
    """Per seed: was it called a collapse of any kind?"""
    return [row["verdict"].endswith("collapse") for row in of(case)]


def names(*chosen: str) -> dict[str, str]:
    """For each case: the verdicts of its seeds, counted."""
    found = {}
    for case in chosen:
        called = [row["verdict"] for row in of(case)]
        found[of(case)[0]["what"] + ":"] = ", ".join(f"{v} ({called.count(v)})" for v in dict.fromkeys(called))
    return found


without = ("simsiam_no_predictor", "byol_no_predictor", "byol_no_predictor_no_ema")
book.claim(
    "C-42",
    "Removing the predictor collapses BYOL and SimSiam.",
    verdict(all(s for c in without for s in sick(c)), any(s for c in without for s in sick(c))),
    names(*without),
    "chen2021exploring",
)
book.claim(
    "C-43",
    "Removing the stop-gradient collapses SimSiam.",
    verdict(all(sick("simsiam_no_stop_gradient")), any(sick("simsiam_no_stop_gradient"))),
    names("simsiam_no_stop_gradient"),
    "chen2021exploring",
)
dino_cases = ("dino_no_centering", "dino_no_sharpening")
book.claim(
    "C-52",
    "Centring and sharpening are both needed in DINO; either alone collapses.",
    verdict(all(s for c in dino_cases for s in sick(c)), any(s for c in dino_cases for s in sick(c))),
    names(*dino_cases),
    "caron2021emerging",
)
terms = ("vicreg_no_variance", "vicreg_no_covariance")
book.claim(
    "C-56",
    "The variance and covariance terms are what prevents the collapse of VICReg.",
    verdict(all(s for c in terms for s in sick(c)), any(s for c in terms for s in sick(c))),
    names(*terms),
    "bardes2022vicreg",
)

# %%


def better(a: list[float], b: list[float]) -> tuple[bool, bool]:
    """Is a above b in every seed; on average?"""
    return all(x > y for x, y in zip(a, b)), mean(a) > mean(b)


def compare(
    id: str, statement: str, a: list[float], b: list[float], labels: tuple[str, str], source: str
) -> None:
    """A claim that a is larger than b: reproduced if in every seed, mixed if only on average."""
    book.claim(id, statement, verdict(*better(a, b)), dict(zip(labels, (mean(a), mean(b)))), source)


compare("C-1", "Features before the projection head probe better than after it.", head("mlp", "probe_h"), head("mlp", "probe_z"),
        ("probe of h", "probe of z"), "chen2020simple")  # fmt: skip
compare("C-2", "A projector improves the features in front of it.", head("mlp", "probe_h"), head("none", "probe_h"),
        ("probe of h, MLP", "probe of h, no projector"), "balestriero2023cookbook")  # fmt: skip
no_projector = head("none", "std_z")
book.claim(
    "C-3",
    "The projector is not what avoids complete collapse.",
    verdict(min(no_projector) > 0.3),
    {"std of the embeddings without projector (collapse: 0)": mean(no_projector)},
    "balestriero2023cookbook",
)
compare("C-4", "After the projector the dimensions collapse, before it they do not.", head("mlp", "effective_rank_h"),
        head("mlp", "effective_rank_z"), ("rank of h", "rank of z"), "balestriero2023cookbook")  # fmt: skip
compare("C-10", "A deeper head, of three layers, is better.", head("mlp3", "probe_h"), head("mlp", "probe_h"),
        ("probe of h, 3 layers", "probe of h, 2 layers"), "chen2020big")  # fmt: skip
compare("C-12", "The projector's output is more invariant, to colour for instance, than the backbone's.",
        head("mlp", "factors_h", "background_hue"), head("mlp", "factors_z", "background_hue"),
        ("background hue readable from h", "from z"), "bordes2023guillotine")  # fmt: skip
compare("C-15", "InfoNCE on a part of the features, without projector, beats a linear projector (DirectCLR).",
        head("directclr", "probe_h"), head("linear", "probe_h"), ("probe of h, DirectCLR", "linear projector"),
        "jing2022understanding")  # fmt: skip
gain_none = [a - b for a, b in zip(head("oracle_none", "probe_h"), head("none", "probe_h"))]
gain_mlp = [a - b for a, b in zip(head("oracle_mlp", "probe_h"), head("mlp", "probe_h"))]
compare("C-6", "An oracle that removes inconsistent views helps more without a projector than with one.", gain_none, gain_mlp,
        ("gain without projector", "gain with the MLP"), "balestriero2023cookbook")  # fmt: skip
rank_none, rank_best = mean(at(0.0, "rank_h")), mean(at(1.0, "rank_h"))
book.claim(
    "C-104",
    "A high RankMe is necessary but not sufficient for good features.",
    verdict(rank_none > rank_best and mean(at(0.0, "probe")) < mean(at(1.0, "probe")) - 0.2),
    {"RankMe without jitter": rank_none, "probe": mean(at(0.0, "probe")), "RankMe with jitter": rank_best,
     "probe with jitter": mean(at(1.0, "probe"))},
    "garrido2023rankme",
)  # fmt: skip

# %% [markdown]
# ## Where it comes from, where it went
#
# Collapse is as old as the first Siamese network: [Bromley et al.
# (1993)](https://proceedings.neurips.cc/paper/1993/hash/288cc0ff022877bd3df94bc9360b9c5d-Abstract.html) already needed genuine *and* forged
# pairs. For years negatives were thought to be the price. [BYOL (2020)](https://arxiv.org/abs/2006.07733) and
# [SimSiam (2021)](https://arxiv.org/abs/2011.10566) showed that asymmetry does, and the question "why does this not collapse?"
# became a field: [Tian et al. (2020)](https://arxiv.org/abs/2010.00578) on dual networks, [Hua et al. (2021)](https://arxiv.org/abs/2105.00470) on the two kinds of collapse and decorrelated BatchNorm,
# [Jing et al. (2022)](https://arxiv.org/abs/2110.09348) on the two causes and DirectCLR, [He and Ozay
# (2022)](https://proceedings.mlr.press/v162/he22c.html) on the space between collapsed and whitened, where the best features seem to
# lie. [RankMe](https://arxiv.org/abs/2210.02885), [alpha-ReQ](https://papers.nips.cc/paper_files/paper/2022/hash/70596d70542c51c8d9b4e423f4bf2736-Abstract-Conference.html) and
# [LiDAR](https://arxiv.org/abs/2312.04000) turned the symptoms into scores; chapter 21 asks how far to trust them. On the instability of
# vision transformers, sudden spikes in the largest gradient and dips of the kNN curve, see [MoCo v3
# (2021)](https://arxiv.org/abs/2104.02057).
#
# A healthy spectrum is not the end of diagnosis. [Grad-CAM](https://arxiv.org/abs/1610.02391) shows where a trained network looks. Whether
# features are fair is another question, and [Goyal et al. (2022)](https://arxiv.org/abs/2202.08360) argue that uncurated pretraining helps;
# in medicine, where labels are dear and shortcuts deadly, [Krishnan et al. (2022)](https://doi.org/10.1038/s41551-022-00914-1) review both.
#
# ### Quiz
#
# **1.** Every dimension of your embeddings has standard deviation 1. Can they be collapsed?
#
# <details><summary>Answer</summary>Yes: the middle rung of the ladder. All dimensions may be copies of one. Look at the spectrum or the correlations.</details>
#
# **2.** Your SwAV run uses all of its prototypes equally. Is it healthy?
#
# <details><summary>Answer</summary>Not necessarily: if every picture is spread evenly over all prototypes, the usage is perfect and the information zero (DINO without sharpening). Look at $H(\bar p) - \overline{H(p)}$.</details>
#
# **3.** The loss is exactly $\log(2N - 1)$ after 200 steps. Name three different illnesses, and the number that tells them apart.
#
# <details><summary>Answer</summary>All embeddings equal (spread 0: a collapse); no gradient or wrong pairs (spread as in the untrained network); a temperature so high that the loss cannot leave chance even for good embeddings (spread large, rank near 1). The spread and the rank separate the first and the last from the others; whether weights change separates the rest.</details>
