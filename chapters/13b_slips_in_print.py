# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13b · Slips in print and in code: which errors in a contrastive loss does training forgive?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/13b_slips_in_print.ipynb)
#
# **After this chapter you can** test a formula or a loss function by what it must give where you know the answer, tell
# slips that stop a network from slips that only change it, and choose knowingly between three variants of NT-Xent.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb), of which this is an optional companion.
# **Time**: 19 minutes to read, half a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("13b")

# %% [markdown]
# ## The puzzle: four losses, one of them right
#
# All four are meant to be NT-Xent, and each is easily written. The second is normalised over the wrong axis. The third
# keeps every view among its own candidates. The fourth is an entry of figure 3 of [Balestriero et al.
# (2023)](https://arxiv.org/abs/2304.12210): minus the ratio itself, without logarithm and without temperature (a sum
# there; here a mean over the views, as all four).

# %%
import copy
import math
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import data, evaluation, plots, views
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch13
from ssl_lessons.losses import info_nce, kmeans, nt_xent
from ssl_lessons.methods import Method
from ssl_lessons.models import settle
from ssl_lessons.training import pretrain, recipes

N = 256  # pictures in a batch
recipe = recipes.get_recipe("quick")
unlabeled = data.shapes("unlabeled", n=8192)
train, test = data.shapes("train", n=2000), data.shapes("test", n=2000)


def partners(z: torch.Tensor) -> torch.Tensor:
    """Row i of 2N stacked views belongs with row i + N."""
    return torch.arange(len(z), device=z.device).roll(len(z) // 2)


# %%
def wrong_axis(z1, z2, tau):
    z = F.normalize(torch.cat([z1, z2]), dim=0)
    return F.cross_entropy((z @ z.T / tau).fill_diagonal_(-math.inf), partners(z))


def self_pair_kept(z1, z2, tau):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    return F.cross_entropy(z @ z.T / tau, partners(z))


def as_printed(z1, z2, tau):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    p = (z @ z.T).fill_diagonal_(-math.inf).softmax(dim=1)
    return -p.gather(1, partners(z)[:, None]).mean()  # no logarithm, no temperature


# %% [markdown]
# > **Predict.** Each of the four trains the same network from the same weights for 60 steps. Which of the three slips
# > keep it from learning, and which go unnoticed? (Three coins get all right in one case of eight.)
#
# The last one has a twist. How strongly does it pull on the partner at the start, when all cosines are alike?

# %%
# NBVAL_CHECK_OUTPUT
candidates = 2 * N - 1


def pull(loss) -> float:
    """|d loss / d cosine of the partner| when all candidates have the same cosine."""
    s = torch.zeros(candidates, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss(s), s)[0][0].abs().item()


right = pull(lambda s: (s / 0.1).logsumexp(0) - s[0] / 0.1)
printed = pull(lambda s: -s.softmax(0)[0])
print(f"the printed form pulls {right / printed:,.0f} times more weakly")

# %% [markdown]
# A gradient thousands of times too weak sounds fatal. Whether it is depends on a part of your program that has nothing
# to do with the loss: SGD (stochastic gradient descent) takes steps proportional to the gradient; Adam divides the
# gradient by a running measure of its own size. So the printed form gets both.

# %%
STEPS = 60
sgd = {"optimizer": "sgd", "lr": 0.06, "weight_decay": 5e-4}


class Contrastive(Method):
    """Encoder and projector of the quick recipe with any loss(z1, z2, tau)."""

    def __init__(self, loss):
        super().__init__()
        built = recipe.build(seed=0)
        self.encoder, self.projector, self.loss = built.encoder, built.projector, loss

    def forward(self, views, labels=None):
        return self.loss(*self.projector(self.encoder(torch.cat(views))).chunk(2), 0.1)


def learn(loss, **changes) -> Contrastive:
    method, policies = Contrastive(loss), (recipe.policy, recipe.policy)
    options = (
        {"steps": STEPS, "seed": 0, "progress": False} | recipe.training() | changes
    )
    pretrain(method, unlabeled.images, policies, **options)
    return method


arms = {"right, AdamW": learn(nt_xent)}
arms["right, SGD"] = learn(nt_xent, **sgd)
arms["wrong axis, AdamW"] = learn(wrong_axis)
arms["self-pair kept, AdamW"] = learn(self_pair_kept)
arms["printed, AdamW"] = learn(as_printed)
arms["printed, SGD"] = learn(as_printed, **sgd)


# %%
def read(encoder) -> dict:
    """Accuracies of a probe with 100 labels (three draws) and of kNN."""
    x, x_test = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    sets = (x, train.labels, x_test, test.labels)
    probe = evaluation.label_efficiency(*sets, per_class=(10,), draws=3)[0]
    knn = evaluation.knn_accuracy(*sets)
    return {"probe": probe["mean"], "std": probe["std"], "knn": knn}


fresh = settle(recipe.build(seed=0).encoder, unlabeled.images[:2048])
found = {"untrained": read(fresh)} | {name: read(m.encoder) for name, m in arms.items()}

# %% tags=["hide-input"]
plots.table(
    [{"name": "chance", "probe": 0.1, "knn": 0.1}]
    + [{"name": name} | row for name, row in found.items()],
    f"After {STEPS} steps from the same weights, one seed",
    {"name": "loss and optimiser", "probe": "probe, 100 labels",
     "std": "spread over 3 draws", "knn": "kNN, 2,000 labels"},
    {"probe": ".1%", "std": ".1%", "knn": ".1%"},
)  # fmt: skip

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 2.8)
names = list(found)[1:]
probes = [100 * found[name]["probe"] for name in names]
ax.barh(names, probes, color=[plots.COLORS["SGD" in name] for name in names])
ax.axvline(100 * found["untrained"]["probe"], color=plots.GRAY, linestyle=":")
ax.invert_yaxis()
ax.set(xlabel="probe with 100 labels (%); dotted: untrained")
ax.set_title("One of the six stands still: the printed form under SGD")
plots.show(
    fig,
    alt="Bars of probe accuracy. "
    + " ".join(f"{n}: {p:.0f} percent." for n, p in zip(names, probes, strict=True)),
)

# %%
still = found["printed, SGD"]["probe"] - found["untrained"]["probe"]
assert abs(still) < 0.05
names = ("untrained", "printed, SGD")
learned = [row["probe"] for name, row in found.items() if name not in names]
assert min(learned) > found["untrained"]["probe"] + 0.04

# %% [markdown]
# Under SGD the printed form stands still. Everything else trains: with AdamW all three slips are forgiven, and one seed
# of 60 steps cannot even say which of them costs something. As what does the printed form train? With $p_+$ the share
# of the partner at temperature 1, $\partial(-p_+)/\partial s = p_+\,\partial(-\log p_+)/\partial s$. At the start $p_+$
# is nearly the same small number for all anchors, so Adam scales it away, and what is left is NT-Xent at $\tau = 1$. A
# wrong formula that still trains is the worst kind: nothing tells you.
#
# ## Four printed slips and a trap
#
# Small slips are copied along. From texts that are otherwise worth your time: the survey of [Jaiswal et al.
# (2020)](https://arxiv.org/abs/2011.00362), the cookbook of [Balestriero et al.
# (2023)](https://arxiv.org/abs/2304.12210), and a sentence that is easily said. Each gets a test: what does the formula
# give where you know the answer? Set the partner's cosine to 1 and all others to $-1$: a right loss at $\tau = 0.07$ is
# then 0 to many digits. (No 256 pictures can do that at once; it is a test of the formula.)


# %%
def crowd_loss(cosines: torch.Tensor, tau: float) -> float:
    """-log softmax of the first of the listed cosines."""
    return float((cosines / tau).logsumexp(0) - cosines[0] / tau)


perfect = torch.cat([torch.ones(1), -torch.ones(candidates - 1)]).double()
one = perfect[:1]
floor_right = crowd_loss(perfect, 0.07)
floor_twice = crowd_loss(torch.cat([perfect, one]), 0.07)  # the positive counted again
floor_self = crowd_loss(torch.cat([perfect, one]), 0.07)  # the anchor itself, cosine 1
score = torch.tensor([0.5, 0.2], dtype=torch.float64)  # a positive and a negative
softmax_moves = crowd_loss(score + 1, 1.0) - crowd_loss(score, 1.0)
nce = [F.softplus(-s[0]) + F.softplus(s[1]) for s in (score, score + 1)]
nce_moves = float(nce[1] - nce[0])
assert abs(floor_right) < 1e-9 and abs(floor_twice - math.log(2)) < 1e-6
assert abs(softmax_moves) < 1e-9 and abs(nce_moves) > 0.1

# %% tags=["hide-input"]
# the best critic on K = 16 candidates that carry 0.5 nats
least = math.log(16) - 0.5
plots.table(
    [
        {
            "text": "easily said",
            "slip": "the InfoNCE loss is a lower bound on the mutual information",
            "test": "I = 0.5 nats, K = 16",
            "found": f"loss at least {least:.2f} > 0.5",
            "right": "log K - loss is the bound",
        },
        {
            "text": "survey, eq. 3",
            "slip": "a softmax over one positive and one negative is called NCE",
            "test": "add 1 to both scores: softmax, NCE",
            "found": f"{softmax_moves:+.2f}, {nce_moves:+.2f}",
            "right": "InfoNCE with K = 2; NCE would notice",
        },
        {
            "text": "survey, eq. 4",
            "slip": "the trap: adds the positive to a sum over k_i, i from 0 to K",
            "test": "perfect; copied with a positive among the k_i",
            "found": f"{floor_twice:.3f} instead of {floor_right:.0e}",
            "right": "count it once: floor 0, not log 2",
        },
        {
            "text": "cookbook, eq. 6",
            "slip": "InfoNCE whose sum includes the anchor itself (k = i)",
            "test": "perfect",
            "found": f"{floor_self:.3f} instead of {floor_right:.0e}",
            "right": "leave out k = i: floor 0, not log 2",
        },
        {
            "text": "cookbook, NT-Xent",
            "slip": "no logarithm and no temperature",
            "test": "pull on the partner at chance",
            "found": f"{right / printed:,.0f} times too weak",
            "right": "-log of the share, cosines over tau",
        },
    ],
    "Printed and right",
    {"text": "text", "slip": "what is printed", "test": "test", "found": "found",
     "right": "right form"},
)  # fmt: skip

# %% [markdown]
# The survey's name matters most for understanding: its two-way softmax contains no noise density, so it cannot learn a
# normaliser. Its equation 4 is right as printed, where all $k_0,\dots,k_K$ are negatives; it goes wrong when you fill
# in [MoCo's](https://arxiv.org/abs/1911.05722) sum, which runs over one positive and $K$ negatives. And the cookbook
# says elsewhere, rightly, that SimCLR leaves the anchor out of its denominator.
#
# ## Three sources of candidates, and a slip in their names
#
# The tutorial of [Weng and Kim (2021)](https://neurips.cc/Conferences/2021/Schedule?showEvent=21895) sorts contrastive
# learning into **inter-sample classification** (which of these samples is mine?), **feature clustering** (which cluster
# is mine?) and **multiview coding** (the first, over several views or senses). In code all three are one cross-entropy;
# what differs is where the candidates come from.


# %%
def choose(queries, candidates, right, tau=0.1):
    """Which of the candidates [M, D] belongs to each query [N, D]? right int64 [N]."""
    queries, candidates = F.normalize(queries, dim=1), F.normalize(candidates, dim=1)
    return F.cross_entropy(queries @ candidates.T / tau, right)


g = torch.Generator().manual_seed(0)
kind, own = torch.arange(64) % 4, torch.arange(64)  # four kinds of things
thing = torch.randn(4, 16, generator=g)[kind] + torch.randn(64, 16, generator=g)
a, b, c = (thing + 0.3 * torch.randn(64, 16, generator=g) for _ in range(3))  # views
labels, centres = kmeans(F.normalize(b, dim=1), k=4)
framed = {
    "inter-sample classification": lambda a: choose(a, b, own),
    "feature clustering": lambda a: choose(a, centres, labels),
    "multiview coding": lambda a: (choose(a, b, own) + choose(a, c, own)) / 2,
}


# %%
def together(z) -> float:
    """Mean cosine of different things of one kind, minus that of two kinds."""
    s, same = F.normalize(z, dim=1) @ F.normalize(z, dim=1).T, kind[:, None] == kind
    return float(s[same & ~torch.eye(64, dtype=torch.bool)].mean() - s[~same].mean())


moved = {}
for name, loss in framed.items():
    x = a.clone().requires_grad_()
    for _ in range(20):
        (slope,) = torch.autograd.grad(loss(x), x)
        x = (x - 20 * slope).detach().requires_grad_()
    moved[name] = together(x.detach()) - together(a)
    before, after = together(a), together(x.detach())
    print(f"{name}: kinds stand apart by {before:.3f} -> {after:.3f}")
inter, clusters, views_too = moved.values()
inter_sample = framed["inter-sample classification"](a)
assert torch.allclose(inter_sample, info_nce(a, b, temperature=0.1))
assert clusters > 0 > max(inter, views_too)

# %% [markdown]
# Twenty steps each, from the same vectors. Where the candidates are other samples, two things of one kind are pushed
# apart, for nobody says that they are of one kind; where they are clusters, they are not. (Here $k$-means was
# told how many kinds there are. Multiview coding has more views to agree on, and the same negatives.)
#
# The slip: a slide says that pseudo-labels allow *intra*-sample contrastive learning. The same deck calls prediction
# inside one sample intra-sample, and comparison between samples inter-sample; clusters compare samples, so it should
# say *inter*. It also files Barlow Twins, which has no candidates to classify, under inter-sample classification: its
# loss compares *dimensions* ([chapter 16](16_correlation.ipynb)).
#
# ## Half precision
#
# The largest number in float16 is 65,504, so `exp(1 / tau)` overflows as soon as $\tau < 1/\log 65504 \approx 0.09$. A
# formula typed in as it stands (exponentiate, sum, divide, logarithm) breaks exactly at the popular temperature 0.07.

# %%
# NBVAL_CHECK_OUTPUT
cosines = torch.tensor([1.0, 0.3, -0.2])
for tau in (0.2, 0.1, 0.07):
    scaled = (cosines / tau).half()
    naive = -(scaled.exp()[0] / scaled.exp().sum()).log()
    safe = scaled.float().logsumexp(0) - scaled.float()[0]
    print(f"tau {tau}: naive {bool(naive.isfinite())}, safe {bool(safe.isfinite())}")

# %% [markdown]
# *How to see it*: the loss is NaN or infinite at a low temperature once embeddings are made half precision by hand
# (`.half()`), and fine in float32. Under `torch.autocast` on a GPU, exp, log and sum run in float32, and the slip stays
# hidden. `losses.nt_xent` computes half precision in float32. Exercise 1 is about the way out.
#
# ## Three choices that are not slips
#
# **Length.** Without normalisation the critic is a dot product, and a long embedding has in effect its own low
# temperature: length becomes a knob that the network can turn instead of learning.

# %%
generator = torch.Generator().manual_seed(0)
z1, noise = torch.randn(2, 64, 32, generator=generator, dtype=torch.float64)
z2 = z1 + noise  # partners resemble each other


def dot_products(z1, z2, tau):
    z = torch.cat([z1, z2])
    return F.cross_entropy((z @ z.T / tau).fill_diagonal_(-math.inf), partners(z))


lengths = []
for scale in (0.3, 1.0, 3.0):
    row = {"embeddings": f"z times {scale:g}"}
    for name, loss in (("cosine", nt_xent), ("dot", dot_products)):
        a = (scale * z1).requires_grad_()
        value = loss(a, scale * z2, 1.0)
        (g,) = torch.autograd.grad(value, a)
        row |= {name: value.item()}
        row[f"{name} along"] = F.cosine_similarity(g, a, dim=1).abs().mean().item()
    lengths.append(row)
assert max(row["cosine along"] for row in lengths) < 1e-6 < lengths[0]["dot along"]
assert lengths[1]["dot"] < min(lengths[0]["dot"], lengths[2]["dot"])

# %% tags=["hide-input"]
plots.table(
    lengths,
    "The same embeddings, shorter and longer (temperature 1)",
    {"embeddings": "embeddings", "cosine": "loss of cosines",
     "dot": "loss of dot products", "cosine along": "|cos(gradient, z)|, cosines",
     "dot along": "|cos(gradient, z)|, dot products"},
    ".3f",
)  # fmt: skip

# %% [markdown]
# With cosines the loss does not depend on length; its gradient is orthogonal to $z$, and shorter for longer $z$. With
# dot products the loss first falls with the length, since the partner's lead is multiplied, then rises: some anchor has
# a long stranger nearer than its partner, and that mistake is multiplied as well.
#
# **One batch or two.** BatchNorm subtracts the mean of whatever batch it gets. Push both sets of views through
# together, and a systematic difference between them is visible to the network; push them through one after the other,
# and BatchNorm removes it. Provoke it: the second views are the first ones, all a good deal darker.


# %%
@torch.no_grad()
def embed(*batches: torch.Tensor) -> torch.Tensor:
    """Features of an untrained encoder in training mode, batch by batch."""
    encoder = copy.deepcopy(fresh).cpu().train()
    return torch.cat([encoder(batch) for batch in batches])


bright = views.make_views(unlabeled.images[:N], (recipe.policy,), generator)[0]
dark = bright - 1.5
batching = []
for name, h in (
    ("together: f(cat(v1, v2))", embed(torch.cat([bright, dark]))),
    ("apart: f(v1), f(v2)", embed(bright, dark)),
):
    h1, h2 = (h - h.mean(0)).chunk(2)
    cosine = F.cosine_similarity(h1, h2).mean().item()
    batching.append(
        {"name": name, "cosine": cosine, "loss": nt_xent(h1, h2, 0.1).item()}
    )
assert batching[1]["loss"] < 0.5 * batching[0]["loss"]

# %% tags=["hide-input"]
plots.table(
    batching,
    f"An untrained encoder sees v and a darker v (chance {math.log(candidates):.2f})",
    {"name": "batching", "cosine": "mean cosine of partners", "loss": "NT-Xent at 0.1"},
    ".2f",
)

# %% [markdown]
# Neither is wrong, but they are different losses. SimCLR batches together; methods whose two branches differ (a
# momentum encoder, a student and a teacher) batch apart.
#
# **One side or both.** Take the cross-entropy of `z1 @ z2.T / tau` and call it SimCLR: does then only one branch learn?
# Count: which pairs of views are compared, and does the second view get a gradient?


# %%
def one_sided(z1, z2, tau):
    scores = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / tau
    return F.cross_entropy(scores, torch.arange(len(z1)))


def gradient_of(loss, z1, z2) -> torch.Tensor:
    """d loss / d embeddings, [2N, D]"""
    a = torch.cat([z1, z2]).double().requires_grad_()
    return torch.autograd.grad(loss(*a.chunk(2), 0.1), a)[0]


trained = arms["right, AdamW"].eval().cpu()
pair = views.make_views(train.images[:N], (recipe.policy,) * 2, generator)
with torch.no_grad():
    z1, z2 = (trained.projector(trained.encoder(v)) for v in pair)
variants = {
    "NT-Xent": nt_xent,
    "both directions": lambda a, b, t: (one_sided(a, b, t) + one_sided(b, a, t)) / 2,
    "z1 searches z2": one_sided,
    "the same, z2 detached": lambda a, b, t: one_sided(a, b.detach(), t),
}
full = gradient_of(nt_xent, z1, z2)
sides = {name: gradient_of(loss, z1, z2) for name, loss in variants.items()}
assert (
    sides["z1 searches z2"][N:].norm() > 0 == sides["the same, z2 detached"][N:].norm()
)
alike = F.cosine_similarity(sides["z1 searches z2"].flatten(), full.flatten(), dim=0)
assert alike > 0.95

# %% tags=["hide-input"]
all_pairs = N * (2 * N - 1)
plots.table(
    [
        {
            "name": name, "value": variants[name](z1, z2, 0.1).item(),
            "z1": g[:N].norm().item(), "z2": g[N:].norm().item(),
            "pairs": 1.0 if name == "NT-Xent" else N * N / all_pairs,
            "cosine": F.cosine_similarity(g.flatten(), full.flatten(), dim=0).item(),
        }
        for name, g in sides.items()
    ],
    "Embeddings of 256 pictures after the short run, temperature 0.1",
    {"name": "loss", "value": "value", "z1": "gradient norm, z1",
     "z2": "gradient norm, z2", "pairs": "pairs compared",
     "cosine": "cosine with NT-Xent's gradient"},
    {"value": ".2f", "z1": ".3f", "z2": ".3f", "pairs": ".0%", "cosine": ".2f"},
)  # fmt: skip

# %% [markdown]
# Both views get a gradient in the one-sided loss, and here it points nearly the same way. What changes: views are
# compared with the *other* set only, so half of the pairs are never compared, and chance is $\log N$ instead of
# $\log(2N-1)$. Only a `detach` leaves the second branch without a gradient, as in MoCo, whose negatives come from a
# queue. *How to see it*: the value in the first steps, when all is still chance.
#
# ## Exercises
#
# ### 1 · A cross-entropy that survives (••, 10 minutes)
# Mean cross-entropy of `logits` `[N, K]` (float tensor) with `target` `[N]` (int64 indices), finite for logits up to
# ten thousand, built from `exp`, `log`, `sum` and `max` alone: no `cross_entropy`, `nll_loss`, `softmax`, `log_softmax`
# or `logsumexp` (the checker looks). Return a scalar tensor.
#
# <details><summary>Hint 1</summary>Adding the same number to all logits of a row changes nothing. Which number keeps
# `exp` in range?</details>
# <details><summary>Hint 2</summary>Stay in logarithms to the end: a probability that underflows to 0 has no
# logarithm.</details>


# %%
def stable_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch13.check_stable_cross_entropy(stable_cross_entropy)

# %% [markdown]
# ### 2 · The judge (•••, 20 minutes)
# Write the test that you would put before every training run: `judge(loss)` gets a function `loss(z1, z2, temperature)`
# (`z1`, `z2` float tensors `[N, D]`) and returns True if it is NT-Xent, False if it is not. The checker hands it two
# right losses, written differently, and fourteen slips: those of this chapter and others. You may call `loss` as often
# as you like. Do not compare it with a copy of NT-Xent (the checker cannot see it, but then you would have to trust the
# copy). Use what *must* be true.
#
# <details><summary>Hint 1</summary>The five properties of chapter 13 let two of the slips pass. One agrees with NT-Xent
# wherever all cosines are 0 or 1; the other has the right value and the wrong gradient.</details>
# <details><summary>Hint 2</summary>Two pictures with opposite embeddings give you a value that you can compute by
# hand, for every $\tau$.</details>


# %%
def judge(loss) -> bool:
    return NOT_ATTEMPTED


ch13.check_judge(judge)

# %% [markdown]
# ## Three questions
#
# **1.** A loss is wrong and the network trains. Why is that the worst case?
# <details><summary>Answer</summary>Nothing tells you. A crash or a flat curve makes you look; a slightly worse encoder
# is put down to bad luck or to the data.</details>
#
# **2.** Your loss refuses to fall below 0.693. Name two slips with that floor.
# <details><summary>Answer</summary>The anchor is among its own candidates, or the positive is counted twice: in both
# cases two candidates share the softmax when all is perfect, and $\log 2 = 0.693$.</details>
#
# **3.** You change the optimiser from Adam to SGD, and a run that worked stands still. What does that say about the
# loss?
# <details><summary>Answer</summary>Perhaps that its scale is off: Adam hides a constant factor in the gradient, SGD does
# not. Compare the size of the gradient at the start with the one that you can derive.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def stable_cross_entropy(logits, target):
#     shifted = logits - logits.max(dim=1, keepdim=True).values
#     log_sum = shifted.exp().sum(dim=1).log()
#     return (log_sum - shifted.gather(1, target[:, None])[:, 0]).mean()
#
#
# def judge(loss):
#     # Two opposite pictures, partners equal: for each view one candidate at cosine 1 and two at -1.
#     z, same, tau = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.ones(4, 3), 0.5
#     expected = math.log(math.exp(1 / tau) + 2 * math.exp(-1 / tau)) - 1 / tau
#     a, b = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
#     slope = torch.autograd.grad(loss(a, b, tau), (a, b), allow_unused=True)
#     lengths = torch.arange(1.0, 7.0)[:, None]
#     return (
#         abs(float(loss(z, z, tau)) - expected) < 1e-4
#         and abs(float(loss(same, same, tau)) - math.log(7)) < 1e-4
#         and abs(float((loss(lengths * a, b, tau) - loss(a, b, tau)).detach())) < 1e-4
#         and all(g is not None for g in slope)
#     )
# ```
