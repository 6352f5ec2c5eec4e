# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · Learning distances: what makes two pictures near, when nobody says what they show?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/04_learning_distances.ipynb)
#
# **After this chapter you can**
#
# - write the contrastive, triplet, N-pair and soft-nearest-neighbour losses in a few lines each, and say whom each
#   pushes;
# - explain by one sign why the hardest negatives make a network give up, and see it in a number;
# - turn metric learning into self-supervised learning (SSL) by changing one line, and prove that soft nearest
#   neighbours then *are* the loss of SimCLR;
# - find out what a learned distance really looks at.
#
# **You need** [chapter 00](00_start_here.ipynb) and the softmax. **Time**: 34 minutes to read, about a minute to run on
# two CPU cores. The companion [04b](04b_spectral_maps.ipynb) has the distances that came before networks.

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

device = book.setup("04")

# %% [markdown]
# ## The puzzle: which of the two is nearer?
#
# Six anchors. Beside each stand two other pictures. One shows the same kind of object, at another place, in other
# colours, on another background; the other another kind, exactly where the anchor stood, in its colours.

# %%
import math
from functools import partial
from statistics import fmean as mean

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, evaluation, losses, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch04
from ssl_lessons.book.widgets import margin as margin_widget
from ssl_lessons.diagnostics import spread
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.losses import metric
from ssl_lessons.methods import Method
from ssl_lessons.models import settle
from ssl_lessons.training import Monitor, pretrain, recipes


def judged_triples(n: int, seed: int = 7) -> list[torch.Tensor]:
    """Anchors; their kinds with all else redrawn; other kinds with all else kept."""
    anchor, redrawn = data.sample_factors(n, seed), data.sample_factors(n, seed + 1)
    other = (anchor["kind"] + 1 + redrawn["kind"] % 9) % 10
    rows = anchor, redrawn | {"kind": anchor["kind"]}, anchor | {"kind": other}
    return [data.render(factors) for factors in rows]  # three times [n, 3, 32, 32]


triples = judged_triples(1000)

# %% tags=["hide-input"]
strip, names = [], []
for t, swap in ((0, False), (1, True), (2, True), (3, False), (5, True), (6, False)):
    a, same, other = (images[t] for images in triples)
    strip += [a, other, same] if swap else [a, same, other]
    names += ["anchor", "A", "B"]
fig = plots.image_grid(
    torch.stack(strip),
    columns=9,
    titles=names,
    title="A or B: which belongs to the anchor?",
)
plots.show(
    fig,
    alt="Six triples of small pictures. In each, one picture shows the anchor's kind "
    "of object in other colours at another place, and one shows another kind in "
    "the anchor's colours at the anchor's place.",
)

# %% [markdown]
# You are hardly ever wrong. Now let the machine choose: the picture at the smaller distance wins (all scaled to unit
# length first).
#
# > **Predict before you go on.** (1) In 1,000 such triples, how often does the *pixel distance* side with you? A coin
# > does in half of them. (2) Train a network for a few seconds with *labels*: does its distance pass the coin? (3)
# > And a network that never sees a label, only two random crops of each picture, with random tints?


# %%
def triples_right(represent) -> float:
    """How often the same kind is nearer; represent: images -> [n, D]."""
    a, same, other = (F.normalize(represent(x), dim=1) for x in triples)
    return ((a - same).norm(dim=1) < (a - other).norm(dim=1)).float().mean().item()


recipe = recipes.get_recipe("quick")
unlabeled = data.shapes("unlabeled", n=4096)
labelled = data.shapes("train", n=3200, seed=100)
train, test = data.shapes("train", n=1000), data.shapes("test", n=500)
fresh = settle(recipe.build(seed=0), unlabeled.images[:1024])  # BatchNorm: chapter 20
features = evaluation.extract_features
judged = {
    "a coin": 0.5,
    "pixels": triples_right(evaluation.pixels),
    "untrained encoder": triples_right(partial(features, fresh.encoder)),
}
for who, right in judged.items():
    print(f"{who}: right in {right:.1%} of the triples")
assert max(judged["pixels"], judged["untrained encoder"]) < 0.3

# %% [markdown]
# Far below the coin: pixel distance *measures* place, colour and background, and here those point the wrong way.
#
# So somebody has to say which two things are near.
#
# ## Step 1: two copies of one network, and a pair
#
# A bank wants to check signatures. It cannot train a classifier: tomorrow's customers are not known today. [Bromley et
# al. (1993)](https://proceedings.neurips.cc/paper/1993/hash/288cc0ff022877bd3df94bc9360b9c5d-Abstract.html) trained a
# *comparison* instead: two copies of one network $f$, with shared weights, read one signature each, and the clerk says
# "same hand" or "forged". They called it a **siamese** network.
#
# Let $z = f(x)$ be the embedding of a picture $x$, a vector of $D$ numbers, and $d = \|z - z'\|$ the distance of a
# pair. The **contrastive loss** ([Chopra et al., 2005](https://doi.org/10.1109/CVPR.2005.202); in this form [Hadsell et
# al., 2006](https://doi.org/10.1109/CVPR.2006.100), equation 4) makes similar pairs springs, and lets different ones
# push only while they are nearer than a margin $m$:
#
# $$L = \tfrac12 d^2 \ \text{ if same}, \qquad \tfrac12 [m - d]_+^2\ \text{ if not}, \qquad [x]_+ = \max(x, 0).$$
#
# Why the hinge? A push without end would drive everything apart for ever. Why the margin on $d$, not on $d^2$? The
# force is the derivative by $d$: $-(m - d)$, strongest at zero. With $\tfrac12[m - d^2]_+$ it would be $-d$: nothing,
# when two different things sit on one spot. The weakness: one number $m$ must fit all classes, and "same" means *at
# distance zero*.
#
# ## Step 2: only the order matters
#
# The **triplet loss** (for images, with similarities, [Chechik et al.,
# 2010](https://jmlr.org/papers/v11/chechik10a.html); in a deep network FaceNet, [Schroff et al.,
# 2015](https://arxiv.org/abs/1503.03832)) asks less: an anchor $a$ shall be nearer to a positive $p$ than to a
# negative $n$, by a margin.
#
# $$L = [\,d_{ap}^2 - d_{an}^2 + m\,]_+$$
#
# Most of the $N^3$ triplets are soon solved, and give no gradient. So choose: **mining**. *Hardest*: for each pair $(a,
# p)$ the nearest negative of all. *Semi-hard*: the nearest one that is at least farther away than the positive.


# %%
def contrastive_loss(z1, z2, same, m):
    """z1, z2 [P, D]: pairs; same [P] bool."""
    d = (z1 - z2).norm(dim=1)
    return torch.where(same, d**2, F.relu(m - d) ** 2).mean() / 2


def triplet_loss(a, p, n, m):
    """a, p, n [T, D]."""
    near, far = (a - p).square().sum(dim=1), (a - n).square().sum(dim=1)
    return F.relu(near - far + m).mean()


def squared_distances(z):
    return (z[:, None] - z).square().sum(dim=2)  # [N, N]


@torch.no_grad()
def mine(z, y, how):
    """For every ordered pair (a, p) of one label a negative; rows [T, 3]."""
    d, same = squared_distances(z), y[:, None] == y
    a, p = (same & ~torch.eye(len(z), dtype=bool, device=z.device)).nonzero().T
    allowed = ~same[a]
    if how == "random":
        return torch.stack([a, p, allowed.double().multinomial(1)[:, 0]], dim=1)
    if how == "semi-hard":
        allowed = allowed & (d[a] > d[a, p][:, None])
    n = d[a].masked_fill(~allowed, math.inf).argmin(dim=1)
    return torch.stack([a, p, n], dim=1)[allowed.any(dim=1)]


# %% [markdown]
# Hard negatives teach most, so always take the hardest? Try it: true labels, embeddings of unit length, $m = 0.2$. A
# batch has 128 pictures of ten kinds.
#
# > **Predict.** With which of the three ways to choose does the loss end at $m = 0.2$ and stay there? (A guess is right
# > once in three.) What must the embeddings look like then?

# %%
STEPS, ROWS = 60, 128  # steps; pictures through the network per step
strong = recipe.policy
gentle = strong.replace(jitter_p=0.0, grayscale_p=0.0, crop_scale=(0.5, 1.0))
POLICIES = {"labels": (gentle,), "views": (strong, strong)}


class MetricLearner(Method):
    """Encoder, projector, and a loss(z, y): rows with the same y belong together."""

    def __init__(self, loss):
        super().__init__()
        built = recipe.build(seed=0)
        self.encoder, self.projector, self.loss = built.encoder, built.projector, loss

    def embed(self, x):
        return F.normalize(self.projector(self.encoder(x)), dim=1)

    def forward(self, views, labels=None):
        z = self.embed(torch.cat(views)).float()
        picture = torch.arange(len(views[0]), device=z.device).repeat(len(views))
        y = picture if labels is None else labels  # the one line: see step 4
        return self.loss(z, y)


def mined(how, m=0.2):
    def loss(z, y):
        rows = mine(z, y, how)
        return triplet_loss(*z[rows].unbind(dim=1), m) if len(rows) else 0 * z.sum()

    return loss


# %%
def learn(source, loss, steps=STEPS, every=10):
    """source "labels": ROWS pictures per step; "views": ROWS / 2, two views each."""
    method, policies = MetricLearner(loss), POLICIES[source]
    pictures = labelled if source == "labels" else unlabeled
    history = pretrain(
        method,
        pictures.images,
        policies,
        steps=steps,
        labels=pictures.labels if source == "labels" else None,
        monitor=Monitor(train[:300], train[300:600], every=every),
        progress=False,
        on_alarm=lambda report: None,  # you are about to see it yourself
        **recipe.training() | {"batch_size": ROWS // len(policies), "seed": 0},
    )
    return settle(method, unlabeled.images[:1024]), history


@torch.no_grad()
def embed(method, images):
    method = method.cpu().eval()
    return torch.cat([method.embed(views.normalize(x)) for x in images.split(500)])


WAYS = ("random", "semi-hard", "hardest")
mining = {how: learn("labels", mined(how)) for how in WAYS}
ended = {how: spread(embed(method, test.images)) for how, (method, _) in mining.items()}
before = settle(MetricLearner(None), unlabeled.images[:1024])

# %% tags=["hide-input"]
fig, axes = plots.new_figure(8.6, 2.9, 1, 2)
for (how, (_, history)), style in zip(mining.items(), ("-", "--", ":")):
    steps = [row["step"] for row in history]
    axes[0].plot(steps, [row["loss"] for row in history], style, label=how)
    seen = [row for row in history if "spread_z" in row]
    axes[1].plot(
        [r["step"] for r in seen], [r["spread_z"] for r in seen], "o" + style, label=how
    )
axes[0].axhline(0.2, color=plots.GRAY, linewidth=0.8)
axes[0].set(title="Hardest: the loss stops at the margin", xlabel="step", ylabel="loss")
axes[1].set(
    title="... and z is a point", xlabel="step", ylabel="spread of z (0: a point)"
)
axes[1].legend(title="negatives")
plots.show(
    fig,
    alt="Loss and spread of the embeddings over three triplet runs. With the hardest "
    "negatives the loss ends at the margin, 0.2, and the spread at zero; with "
    "semi-hard negatives the spread is large; with random ones it is small, and the "
    "loss falls below the margin.",
)
final = {how: history[-1]["loss"] for how, (_, history) in mining.items()}
print(f"untrained: spread of z {spread(embed(before, test.images)):.3f}")
for how in WAYS:
    print(f"{how}: loss {final[how]:.3f}, spread of z {ended[how]:.3f}")
assert abs(final["hardest"] - 0.2) < 0.02 and ended["hardest"] < 0.1
assert ended["semi-hard"] > 0.3 and ended["random"] > 5 * ended["hardest"]
assert max(final["random"], final["semi-hard"]) < 0.195

# %% [markdown]
# The hardest end as a point. (At step 1 BatchNorm is unsettled. Random negatives leave the point slowly: see their
# loss.) Why does it pay to give up? At the start the hardest of some 115 negatives is nearer than the positive:
# $d_{ap}^2 - d_{an}^2 > 0$, and the loss is *above* $m$. Shrink all distances by a factor $c < 1$, and the loss becomes
# $c^2(d_{ap}^2 - d_{an}^2) + m$: **smaller**. The same answer for every picture gives exactly $m$. A semi-hard negative
# is farther than the positive by definition, $d_{ap}^2 - d_{an}^2 < 0$, and now shrinking makes the loss *larger*.
# ([Hermans et al., 2017](https://arxiv.org/abs/1703.07737) train with the hardest after all, with care.) Measure this
# on $z$, where the loss acts; features $h$ in front of the projector can look healthy meanwhile.
#
# ## Step 3: all negatives at once
#
# Mining throws away what the batch has already computed: all $N^2$ distances. Three losses keep them.
#
# **Lifted structure** ([Oh Song et al., 2016](https://arxiv.org/abs/1511.06452), equation 4) replaces the hardest
# negative by a smooth maximum, $\max_k x_k \le \log\sum_k e^{x_k}$, over the negatives of both ends of a pair.
#
# **N-pair** ([Sohn, 2016](https://papers.nips.cc/paper/2016/hash/6b180037abbebea991d8b1232f8a8ca9-Abstract.html)):
# take $N$ pairs $(a_i, p_i)$, *one per class*. The negatives of $a_i$ are the other pairs' positives; compare inner
# products:
#
# $$L = \frac1N\sum_i \log\Big(1 + \sum_{j\ne i} e^{a_i^\top p_j - a_i^\top p_i}\Big) = -\frac1N\sum_i\log\frac{e^{a_i^\top p_i}}{\sum_j e^{a_i^\top p_j}}.$$
#
# The right side is a softmax that picks the partner. With ten classes it has ten candidates. The length of $z$ acts as
# a temperature that nobody has set; Sohn keeps it short by a penalty. The alternative is unit length and a temperature.
#
# **Soft nearest neighbours** ([Salakhutdinov and Hinton, 2007](https://proceedings.mlr.press/v2/salakhutdinov07a.html);
# with a temperature $T$, [Frosst et al., 2019](https://arxiv.org/abs/1902.01889)): each point picks one neighbour at
# random, near ones more likely; make it likely that it has the right label $y$.
#
# $$L = -\frac1N\sum_i\log\frac{\sum_{j\ne i,\,y_j = y_i} e^{-d_{ij}^2/T}}{\sum_{k\ne i} e^{-d_{ik}^2/T}}.$$


# %%
def n_pair_loss(a, p, T=1.0):
    """a, p [N, D]: row i of both is pair i."""
    return F.cross_entropy(a @ p.T / T, torch.arange(len(a), device=a.device))


def soft_neighbour_loss(z, y, T):
    """z [N, D], labels [N]."""
    logits = (-squared_distances(z) / T).fill_diagonal_(-math.inf)
    own = logits.masked_fill(y[:, None] != y, -math.inf)
    return (logits.logsumexp(dim=1) - own.logsumexp(dim=1)).mean()


# %%
# NBVAL_CHECK_OUTPUT
g = torch.Generator().manual_seed(0)
z1, z2 = torch.randn(2, 12, 4, generator=g, dtype=torch.float64)
z, y, alike = torch.cat([z1, z2]), torch.arange(24) % 5, torch.arange(12) < 5
a, p, n = z[mine(z, y, "semi-hard")].unbind(dim=1)
for name, here, package in (
    ("contrastive", contrastive_loss(z1, z2, alike, 1.5),
     metric.contrastive_pairs(z1, z2, alike, 1.5)),
    ("triplet", triplet_loss(a, p, n, 0.5), metric.triplet(a, p, n, 0.5)),
    ("N-pair", n_pair_loss(z1, z2, 0.5), metric.n_pair(z1, z2, temperature=0.5)),
    ("soft neighbours", soft_neighbour_loss(z, y, 0.7),
     metric.soft_nearest_neighbor(z, y, 0.7)),
):  # fmt: skip
    print(f"{name} agrees with the package: {torch.allclose(here, package)}")
assert torch.equal(mine(z, y, "semi-hard"), metric.semi_hard_triplets(z, y))
assert torch.equal(mine(z, y, "hardest"), metric.hardest_triplets(z, y))

# %% [markdown]
# ### One family: how is the push shared?
#
# [Tian (2022)](https://arxiv.org/abs/2201.12680) writes eight such losses as one, with two functions left open:
#
# $$L_{\phi,\psi} = \frac1N\sum_i \phi\Big(\sum_{j\ne i}\psi\big(\tfrac12 d_{i+}^2 - \tfrac12 d_{ij}^2\big)\Big),$$
#
# where $d_{i+}$ is the distance of picture $i$ from its positive, and $d_{ij}$ that from *anchor* $j$. With
# $\phi(x) = x$ and $\psi(x) = [x + m]_+$ this is the triplet loss with all triplets; with $\phi(x) = \tau\log(1 + x)$
# and $\psi(x) = e^{x/\tau}$ it is a softmax. Take one anchor, its positive at cosine 0.6, negatives from $-0.5$ to
# 0.9: who is pushed?

# %%
cosine = torch.linspace(-0.5, 0.9, 29, dtype=torch.float64)  # negatives to the anchor
positive_at = 0.6


def push_shares(phi, psi):
    """Each negative's share of the gradient of the loss by its cosine, [29]."""
    s = cosine.clone().requires_grad_()
    (slope,) = torch.autograd.grad(phi(psi(s - positive_at).sum()), s)
    return slope / slope.sum()


family = metric.phi_psi_table(temperature=0.1, margin=0.2)
shares = {name: push_shares(*pair) for name, pair in family.items()}

# %% tags=["hide-input"]
SHOWN = {
    "triplet": "triplet: all inside the margin alike",
    "tuplet": "temperature 1: the nearest, 4 times the farthest",
    "info_nce": "temperature 0.1: the nearest",
}
fig, ax = plots.new_figure(6.6, 2.9)
for (name, label), style in zip(SHOWN.items(), ("-", "--", "-.")):
    ax.plot(cosine, 100 * shares[name], style, label=label)
ax.axvline(positive_at, color=plots.GRAY, linewidth=0.8)
ax.text(positive_at, 30, " positive", color=plots.GRAY)
ax.set(xlabel="cosine of a negative to the anchor", ylabel="share of the push (%)")
ax.set(title="A low temperature mines by itself")
ax.legend(loc="upper left")
plots.show(
    fig,
    alt="Share of the push against the cosine of the negative. The triplet loss is a "
    "step, temperature 1 rises gently, temperature 0.1 rises steeply at the end.",
)
top = {name: shares[name][-3:].sum().item() for name in SHOWN}
print({SHOWN[n].split(":")[0]: f"nearest three get {s:.0%}" for n, s in top.items()})
assert top["info_nce"] > 0.6 > 0.3 > max(top["triplet"], top["tuplet"])
assert torch.allclose(shares["info_nce"], shares["soft_triplet"])

# %% [markdown]
# $\phi$ stands outside the sum: it decides how loudly an anchor pushes as a whole. $\psi'$ alone decides *whom*. A
# temperature of 0.1 leans on the nearest few, but without a jump.
#
# Do the rows match the losses they are named after? Compare gradients on unit vectors. Sohn's loss has the other pairs'
# *positives* as negatives; the row has the other *anchors*.

# %%
z1, z2 = (F.normalize(v, dim=1) for v in (z1, z2))
family = metric.phi_psi_table(temperature=0.2, margin=0.5)


def gradient(loss):
    leaf = z1.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


def from_family(name):
    return gradient(lambda z: metric.phi_psi(z, z2, *family[name]))


def every_triplet(z):
    i, j = (~torch.eye(len(z), dtype=bool)).nonzero().T
    return triplet_loss(z[i], z2[i], z[j], 2 * 0.5) * (len(z) - 1) / 2


def softmax_over_anchors(z, tau):
    logits = (z @ z.T).fill_diagonal_(0) + torch.diag((z * z2).sum(dim=1))
    return tau * F.cross_entropy(logits / tau, torch.arange(len(z)))


# %%
# NBVAL_CHECK_OUTPUT
n_pair = gradient(lambda z: n_pair_loss(z, z2))
over_anchors = gradient(partial(softmax_over_anchors, tau=1.0))
apart = F.cosine_similarity(n_pair.flatten(), from_family("tuplet").flatten(), dim=0)
unit = (z1 * from_family("tuplet")).sum(dim=1, keepdim=True) * z1
along = from_family("tuplet") - unit  # what moves a vector on the sphere
flat = over_anchors - (z1 * over_anchors).sum(dim=1, keepdim=True) * z1
print(
    "triplet: same gradient",
    torch.allclose(gradient(every_triplet), from_family("triplet")),
)
print("softmax over anchors: same on the sphere", torch.allclose(along, flat))
print(f"Sohn's N-pair: no, the gradients have a cosine below 0.9: {bool(apart < 0.9)}")

# %% [markdown]
# So "N-pair is a member of the family" is true of the idea (a softmax over all others), not of the formula.
#
# ## Step 4: nobody says, change one line
#
# Look at `MetricLearner.forward`. With labels, `y` is the class. Without, `y` is **which picture this view was cut
# from**. The losses stay; the clerk goes, and a random crop with a random tint says "same". Every picture is now a
# class of its own, and N-pair has as many candidates as the batch has pictures.
#
# Take the soft nearest neighbour loss above, put the rows on the unit sphere, let `y` be the picture. Every row has
# exactly *one* other row with its `y`. On the sphere $d^2 = 2 - 2\cos$, so
#
# $$-\log\frac{e^{-d_{i+}^2/T}}{\sum_{k\ne i}e^{-d_{ik}^2/T}} = -\log\frac{e^{\cos_{i+}/(T/2)}}{\sum_{k\ne i}e^{\cos_{ik}/(T/2)}},$$
#
# and that is NT-Xent, the loss of [SimCLR (2020)](https://arxiv.org/abs/2002.05709), at temperature $\tau = T/2$.

# %%
# NBVAL_CHECK_OUTPUT
z1, z2 = torch.randn(2, 40, 8, generator=g, dtype=torch.float64)
on_sphere = F.normalize(torch.cat([z1, z2]), dim=1)
picture = torch.arange(40).repeat(2)
for tau in (0.05, 0.1, 0.5):
    old = soft_neighbour_loss(on_sphere, picture, T=2 * tau)
    new = losses.nt_xent(z1, z2, tau)
    print(
        f"soft neighbours at {2 * tau} are NT-Xent at {tau}:", torch.allclose(old, new)
    )

# %% [markdown]
# ## The run: the same loss, with labels and without
#
# Same weights, same 60 steps of 128 rows. (With labels the pictures are only cropped a little. Two views of *one*
# picture need the hard crop and the tint, or their colours give the partner away.)

# %%
soft = partial(soft_neighbour_loss, T=0.2)
runs = {source: learn(source, soft) for source in POLICIES}
for source, (method, _) in runs.items():
    judged[f"trained with {source}"] = triples_right(partial(embed, method))

# %% tags=["hide-input"]
fig = plots.training_panel(
    {f"pairs from {s}": history for s, (_, history) in runs.items()},
    "One loss, two sources of pairs",
    chance=0.1,
)
plots.show(
    fig,
    alt="Training curves of the soft nearest neighbour loss with pairs from labels and "
    "with pairs from views: loss, kNN accuracy and spread.",
)
for who, right in judged.items():
    print(f"{who}: right in {right:.1%} of the triples")
labels_right, views_right = (judged[f"trained with {s}"] for s in ("labels", "views"))
assert labels_right > max(judged["pixels"], judged["untrained encoder"]) + 0.1
assert views_right < 0.3 and labels_right < 0.45

# %% [markdown]
# Neither passes the coin after sixty steps: labels have set out for it, views have hardly moved. The record has
# every loss, three seeds, 300 steps; the projector's output $z$ is not always of unit length there, and one row is no
# metric learning: a plain classifier (softmax cross-entropy) on the same labelled pictures.

# %%
record, origin = book.recorded("distances", world=2)


def arm(source, loss, key="probe"):
    """One number per seed."""
    rows = [r for r in record if (r["source"], r["loss"]) == (source, loss)]
    return [r[key] for r in sorted(rows, key=lambda r: r["seed"])]


# %% tags=["hide-input"]
def cell(source, name, key):
    values = [100 * v for v in arm(source, name, key)]
    return f"{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


KEYS = {"probe": "probe, 100 labels (%)", "knn": "kNN, 2,000 labels (%)",
        "triples": "the puzzle's triples (%)"}  # fmt: skip
ORDER = ("contrastive", "triplet, semi-hard", "triplet, hardest", "lifted structure",
         "N-pair", "N-pair, unit length", "N-pair, unit length, T",
         "soft neighbours", "classifier")  # fmt: skip
table = [{"loss": "chance", "probe": "10.0", "knn": "10.0", "triples": "50.0"}]
table += [
    {"loss": n} | {k: cell("none", n, k) for k in KEYS} for n in ("pixels", "untrained")
]
for source in POLICIES:
    for name in ORDER:
        if arm(source, name):
            line = {k: cell(source, name, k) for k in KEYS}
            line["spread"] = mean(arm(source, name, "spread_z"))
            table.append({"loss": name, "source": source} | line)
plots.table(
    table,
    "Means of three seeds (lowest to highest), 300 steps of 128 pictures; T is 0.1",
    {"loss": "loss", "source": "who says 'same'", **KEYS, "spread": "spread of z"},
    {"spread": ".2f"},
)
print(origin)


# %%
def probes(source, *names):
    return [mean(arm(source, name)) for name in names]


floor, pixels = mean(arm("none", "untrained")), mean(arm("none", "pixels", "knn"))
N_PAIRS = ("N-pair", "N-pair, unit length", "N-pair, unit length, T")
LEADERS = ("lifted structure", "soft neighbours")
FOLLOWERS = ("contrastive", "triplet, semi-hard")
semi_hard, hardest, classifier = probes(
    "labels", "triplet, semi-hard", "triplet, hardest", "classifier"
)
assert classifier > max(probes("labels", *LEADERS)) + 0.03
assert min(probes("labels", *LEADERS)) > max(probes("labels", *FOLLOWERS)) + 0.01
assert semi_hard > floor + 0.3 and hardest < floor + 0.05
assert max(probes("labels", *N_PAIRS)) < semi_hard - 0.15
assert max(arm("labels", "triplet, hardest", "spread_z")) < 0.05
assert (
    min(probes("views", "triplet, semi-hard", "contrastive", *N_PAIRS)) > floor + 0.06
)
softmax = ("lifted structure", "soft neighbours", "N-pair, unit length, T")
votes = {n: mean(arm("views", n, "knn")) for n in (*softmax, "N-pair", *FOLLOWERS)}
assert min(votes[n] for n in softmax) > pixels + 0.02
assert max(votes[n] for n in ("N-pair", *FOLLOWERS)) < pixels + 0.03
taught = {r["loss"] for r in record if r["source"] == "views"}
assert max(mean(arm("views", name, "triples")) for name in taught) < 0.4
able = (*LEADERS, *FOLLOWERS, "classifier")
assert min(mean(arm("labels", name, "triples")) for name in able) > 0.6

# %% [markdown]
# With labels the plain *classifier* beats every metric loss, on average, by all three accuracies. Among the metric
# losses lifted structure and soft neighbours, which weigh all pairs, lead by probe and kNN; N-pair, with one pair and
# nine negatives per class, gains little on average and in one seed hardly anything, and the hardest triplets are a
# point in every seed. Without labels, neighbours among *pixels* are clearly beaten by three losses only: lifted
# structure, soft neighbours, and N-pair with a temperature. The table does not say which loss is best after an hour, or
# tuned.
#
# Distances learned with labels pass the coin (all but N-pair's and the collapsed one), and **none from views comes near
# it**. The wrong picture of a triple shares everything with the anchor but its kind: it is *more* like a second view
# than the right one is. Near means what your pairs have in common.
#
# **Pairs or scale?** N-pair with labels has ten candidates, and no temperature. With views you can separate the two:
# cut the 64 pairs of a batch into groups of ten, and give the loss a scale or not.

# %% tags=["hide-input"]
GRID = {
    "inner products": ("N-pair, ten", "N-pair"),
    "unit length, T = 0.1": ("N-pair, unit length, T, ten", "N-pair, unit length, T"),
}
plots.table(
    [
        {
            "scale": scale,
            "ten": cell("views", ten, "probe"),
            "all": cell("views", full, "probe"),
        }
        for scale, (ten, full) in GRID.items()
    ],
    "N-pair with views: probe with 100 labels (%), three seeds",
    {"scale": "embeddings compared by", "ten": "10 candidates", "all": "64 candidates"},
)
print(f"untrained: {cell('none', 'untrained', 'probe')}")
inner, unit = (probes("views", *names) for names in GRID.values())
assert unit[0] > inner[0] + 0.015 and unit[1] > inner[1] + 0.03
assert unit[1] - unit[0] > 0.015 > abs(inner[1] - inner[0])
with_labels = probes("labels", "N-pair", "N-pair, unit length, T")
assert with_labels[1] < with_labels[0] + 0.02

# %% [markdown]
# With *views* the temperature gains points in both columns; six times the candidates gain too, but only together with
# it. With *labels* (the table before) the temperature gains nothing in 300 steps: there $z$ is nearly a point, and
# these tables do not say why. They do not show other temperatures either, or batches of hundreds.
#
# ## What goes wrong: the clerk's other clue
#
# Back to the bank. In miniature a signature is a closed pen stroke of five harmonics per hand; slant, size and rhythm
# vary freely, the shape a little. A forger copies the shape, not as well, and his hand trembles. The siamese network
# reads the motion of the pen; it is to answer with a cosine of 1 for the same hand, 0 for a forgery or another
# customer.

# %%
HARMONICS, MOMENTS, SURE, POOR, TREMOR = 5, 64, 0.05, 0.12, 0.015
g = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=g)


def customers(n):
    """The coefficients of n hands [n, 2, HARMONICS, 2]."""
    return normal(n, 2, HARMONICS, 2) / torch.arange(1, HARMONICS + 1)[:, None]


def sign(hands, error, tremor):
    """A signature per hand: pen positions [n, 2, MOMENTS]; error, tremor [n]."""
    n, t = len(hands), torch.linspace(0, 2 * math.pi, MOMENTS)
    shape = hands + error[:, None, None, None] * normal(*hands.shape)
    rhythm = t + 0.4 * normal(n, 1) * (t + 6 * torch.rand(n, 1, generator=g)).sin()
    phase = torch.arange(1, HARMONICS + 1)[:, None] * rhythm[:, None]
    waves = torch.stack([phase.sin(), phase.cos()], dim=-1)
    pen = torch.einsum("nchb,nhtb->nct", shape, waves)
    pen = pen + tremor[:, None, None] * normal(n, 2, MOMENTS)
    a, size = 0.35 * normal(n), (0.2 * normal(n)).exp()[:, None, None]
    slant = torch.stack([a.cos(), -a.sin(), a.sin(), a.cos()], dim=1).view(n, 2, 2)
    return size * slant @ (pen - pen.mean(dim=2, keepdim=True))


# %%
def draw(hands, n, only_forgers_tremble=True):
    """Pairs of signatures [n, 2, MOMENTS] each, and which are of one hand [n]."""
    who, kind = (torch.randint(k, (n,), generator=g) for k in (len(hands), 4))
    away = torch.randint(1, len(hands), (n,), generator=g)
    second = torch.where(kind == 3, (who + away) % len(hands), who)  # another customer
    forged = kind == 2
    shaky = torch.rand(2, n, generator=g) < 0.5
    if only_forgers_tremble:
        shaky = torch.stack([torch.zeros_like(forged), forged])
    x = sign(hands[who], torch.full((n,), SURE), TREMOR * shaky[0])
    y = sign(hands[second], torch.where(forged, POOR, SURE), TREMOR * shaky[1])
    return x, y, kind < 2


class Motion(nn.Module):
    """Position, velocity, acceleration: [n, 2, MOMENTS] -> [n, 6, MOMENTS]."""

    def forward(self, pen):
        v = 5 * pen.diff(dim=2, prepend=pen[:, :, :1])
        a = 5 * v.diff(dim=2, prepend=v[:, :, :1])
        return torch.cat([pen, v, a], dim=1)


# %%
def cosines(half, x, y):
    return F.cosine_similarity(*half(torch.cat([x, y])).flatten(1).chunk(2))


def siamese(hands, steps=300, **options):
    """One half of the network, [n, 2, MOMENTS] -> [n, 32], trained on pairs."""
    torch.manual_seed(0)
    half = nn.Sequential(
        Motion(), nn.Conv1d(6, 32, 7, 2, 3), nn.ReLU(), nn.Conv1d(32, 32, 5, 2, 2),
        nn.ReLU(), nn.AdaptiveAvgPool1d(8), nn.Flatten(), nn.Linear(256, 32),
    )  # fmt: skip
    optimizer = torch.optim.Adam(half.parameters(), lr=3e-3)
    for _ in range(steps):
        x, y, same = draw(hands, 64, **options)
        loss = (cosines(half, x, y) - same.float()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return half


def equal_error(genuine, forged):
    """The error, and the threshold, at which as many are refused as slip through."""
    t = torch.cat([genuine, forged]).sort().values[::4]
    refused = (genuine < t[:, None]).float().mean(dim=1)
    passed = (forged >= t[:, None]).float().mean(dim=1)
    best = (refused - passed).abs().argmin()
    return ((refused + passed)[best] / 2).item(), t[best].item()


# %% [markdown]
# > **Predict.** The errors of the trained network against skilled forgers and against *other customers*, who do not
# > even try: which is smaller? (A coin is wrong in 50 %.)

# %%
old, new = customers(300), customers(60)  # the new ones were never seen in training
halves = {
    "pen positions": nn.Flatten(),
    "untrained": siamese(old, steps=0),
    "siamese": siamese(old),
    "siamese, all may tremble": siamese(old, only_forgers_tremble=False),
}


def pairs(error=SURE, first=0.0, second=0.0, stranger=False, n=1000):
    who = torch.randint(len(new), (n,), generator=g)
    other = (who + torch.randint(1, len(new), (n,), generator=g)) % len(new)
    x = sign(new[who], torch.full((n,), SURE), torch.full((n,), first))
    hand = new[other if stranger else who]
    return x, sign(hand, torch.full((n,), error), torch.full((n,), second))


# %%
CASES = {
    "genuine": pairs(),
    "skilled forgery: poor shape, tremor": pairs(POOR, second=TREMOR),
    "another customer": pairs(stranger=True),
    "poor shape, no tremor": pairs(POOR),
    "genuine, with tremor": pairs(second=TREMOR),
    "two customers, both tremble": pairs(first=TREMOR, second=TREMOR, stranger=True),
}
with torch.no_grad():
    score = {
        n: {c: cosines(h, *xy) for c, xy in CASES.items()} for n, h in halves.items()
    }
GENUINE, SKILLED, STRANGER, POOR_ONLY, SHAKY, BOTH = CASES

# %% tags=["hide-input"]
errors = {
    name: [equal_error(s[GENUINE], s[c])[0] for c in (SKILLED, STRANGER)]
    for name, s in score.items()
}
plots.table(
    [{"half": "a coin", "skilled": 0.5, "stranger": 0.5}]
    + [{"half": n, "skilled": a, "stranger": b} for n, (a, b) in errors.items()],
    "Equal error rate on 60 customers never seen in training (lower is better)",
    {"half": "cosine of", "skilled": "skilled forgery", "stranger": "another customer"},
    ".1%",
)
skilled, stranger = errors["siamese"]
assert skilled < 0.05 and skilled < stranger - 0.02
assert skilled < errors["untrained"][0] - 0.2
assert stranger < errors["untrained"][1]
assert abs(stranger - errors["pen positions"][1]) < 0.03

# %% [markdown]
# On skilled forgers the network is nearly without error, also for people it has never met. On *other customers* it is
# no better than the raw pen positions. Whenever the hard case is easier than the easy one, ask what gives it away.

# %% tags=["hide-input"]
rows = []
for case in CASES:
    row = {"case": case, "should": "yes" if case in (GENUINE, SHAKY) else "no"}
    for name, key in (("siamese", "s"), ("siamese, all may tremble", "all")):
        s, limit = (
            score[name][case],
            equal_error(score[name][GENUINE], score[name][SKILLED])[1],
        )
        row |= {key: s.mean().item(), key + "_in": (s >= limit).float().mean().item()}
    rows.append(row)
plots.table(
    rows,
    "Controls: mean cosine, and how many pass at the threshold of equal error",
    {"case": "pair", "should": "should pass", "s": "siamese: cosine", "s_in": "passes",
     "all": "all may tremble: cosine", "all_in": "passes "},
    {"s": ".2f", "s_in": ".0%", "all": ".2f", "all_in": ".0%"},
)  # fmt: skip
found = {row["case"]: row for row in rows}
assert found[POOR_ONLY]["s_in"] > 0.85 and found[SHAKY]["s_in"] < 0.15
assert found[BOTH]["s_in"] > 0.7 > 0.5 > found[STRANGER]["s_in"]
assert abs(found[SHAKY]["all_in"] - found[GENUINE]["all_in"]) < 0.15
assert found[BOTH]["all_in"] < 0.2
fair = equal_error(*(score["siamese, all may tremble"][c] for c in (GENUINE, SKILLED)))[
    0
]
print(f"skilled forgeries, when a tremor means nothing: equal error {fair:.0%}")
assert 0.3 < fair < 0.48

# %% [markdown]
# It learned a tremor detector. Nothing in the loss is at fault: the *pairs* said so, in every forgery. Where everybody
# may tremble, the network must look at the shape; now the skilled forger is as hard as he looks (with 300 steps of this
# small network, hardly a better guess than a coin), and trembling strangers are kept apart. **A learned distance is the
# sum of all clues that separate your pairs.**
#
# ## Play: margin and mining
#
# Eighteen points in the plane, three classes, no network: every point follows the force it feels (arrows). Solid lines
# pull the first point, dotted lines push it. Choose a loss, then drag the step. **With the hardest triplets, what
# happens to the radius of the cloud first? And why does it not end as a point here, as it does with a network?**

# %%
PAIRS, ALL, SEMI, HARDEST = margin_widget.LOSSES
widgets.explore(
    margin_widget.render,
    margin_widget.controls(),
    static=[
        {"loss": name, "step": step}
        for name, step in (
            (PAIRS, 0),
            (PAIRS, 30),
            (SEMI, 30),
            (HARDEST, 6),
            (HARDEST, 60),
        )
    ],
    alt=margin_widget.describe,
    brief=margin_widget.brief,
    columns=1,
)

# %% tags=["hide-input"]
path = [moment.radius for moment in margin_widget.trajectory(HARDEST, 1.0)]
end = margin_widget.trajectory(HARDEST, 1.0)[-1]
print(f"radius {path[0]:.2f}, at least {min(path):.2f}, at the end {path[-1]:.2f}")
assert min(path) < 0.9 * path[0] and end.accuracy > 0.9

# %% [markdown]
# The cloud shrinks first, for the same reason; then it parts. Here every point moves alone, so the pushed ones get
# past each other. A network moves all pictures with the same weights, and "the same for everybody" is the first thing
# it can say.
#
# ## Exercises
#
# Replace a stub and run the cell. All tensors are float32 here; float64 is accepted, too. Solutions stand at the end.
#
# ### 1 · The contrastive loss from memory (•, 6 minutes)
# `z1`, `z2` are float tensors `[P, D]`, `same` a bool tensor `[P]`, `margin` a float. Return a scalar tensor: the mean
# over all pairs, with the halves of the paper.
#
# <details><summary>Hint</summary>The margin is compared with the distance, not with its square.</details>


# %%
def my_contrastive(z1, z2, same, margin):
    return NOT_ATTEMPTED


ch04.check_contrastive(my_contrastive)

# %% [markdown]
# ### 2 · Does giving up pay? (••, 8 minutes)
# A batch of triplets, as squared distances: `near` and `far` are float tensors `[T]`, `margin` is a float. Somebody
# multiplies all embeddings by $c$. Return $dL/dc$ at $c = 1$ of the mean triplet loss, a number: above 0, shrinking
# pays. (First predict its sign for hardest, semi-hard and random negatives at the start of training.)
#
# <details><summary>Hint 1</summary>What does $c$ do to a squared distance, and what is the derivative of $c^2$ at
# 1?</details>
# <details><summary>Hint 2</summary>A triplet whose hinge is closed does not feel $c$, but counts in the mean.</details>


# %%
def shrinking_pays(near, far, margin):
    return NOT_ATTEMPTED


ch04.check_shrinking_pays(shrinking_pays)

# %% [markdown]
# ### 3 · The same loss on another sphere (••, 8 minutes)
# The theorem of step 4 put the embeddings on a sphere of radius 1. Now all have length `radius`, and the soft nearest
# neighbour loss runs at `T` (floats above 0). At which temperature is NT-Xent the same loss? Then say what becomes of
# the loss when a network without normalisation lets its embeddings grow.
#
# <details><summary>Hint</summary>Write $d^2$ with the radius and the cosine; what is the same for all candidates drops
# out of a softmax.</details>


# %%
def nt_xent_temperature(T, radius):
    return NOT_ATTEMPTED


ch04.check_nt_xent_temperature(nt_xent_temperature)

# %% [markdown]
# ### 4 · Labels again, in the loss of SimCLR (•••, 15 minutes)
# With labels an anchor has many positives. Soft neighbours take the log of the *sum* of their shares: one near friend
# will do. [SupCon](https://arxiv.org/abs/2004.11362) takes the *mean of the logs*: every friend must come. `z` is a
# float tensor `[N, D]` (not normalised), `labels` an int64 tensor `[N]`, `tau` a float. Shares are softmax shares of
# cosine over `tau` among all other rows. Average $-\log$ of the share over the positives of an anchor, then over the
# anchors that have one; return a scalar tensor. Then argue: which of the two losses is never the smaller one?
#
# <details><summary>Hint 1</summary>`log_softmax` of the masked logits; a mask for the positives; a row without
# positives is left out.</details>
# <details><summary>Hint 2</summary>Minus infinity times 0 is NaN: choose with `masked_fill` or `torch.where`.</details>


# %%
def my_supcon(z, labels, tau):
    return NOT_ATTEMPTED


ch04.check_supcon(my_supcon)

# %% [markdown]
# ## Claims, tested
#
# Three recorded seeds, with labels, since the sources speak of labels.

# %%
untrained = arm("none", "untrained")


def labels_arm(loss, key="probe"):
    return arm("labels", loss, key)


raw, unit = labels_arm("N-pair"), labels_arm("N-pair, unit length")
book.claim("C-23", drawn=Runs(raw, unit, untrained))
semi = labels_arm("triplet, semi-hard")
book.claim("C-23b", drawn=Runs(raw, semi, untrained))
spreads = [
    labels_arm(f"triplet, {how}", "spread_z") for how in ("hardest", "semi-hard")
]
book.claim("C-22b", drawn=Runs(*spreads))

# %% [markdown]
# The first two say nothing about N-pair: it did not surely leave the floor, in 300 steps with ten candidates, and
# nobody tuned it. Ten classes are few for a loss that was made for thousands.
#
# ## Where it comes from, where it went
#
# Triplets came from large-margin nearest neighbours ([Weinberger and Saul,
# 2009](https://jmlr.org/papers/v10/weinberger09a.html), in 04b). Other members of Tian's family: the soft triplet
# ([Tian et al., 2020](https://arxiv.org/abs/2010.00578)), a modified triplet for voices ([Coria et al.,
# 2020](https://arxiv.org/abs/2003.14021)) and a linear form ([Ji et al., 2021](https://arxiv.org/abs/2110.02473)).
# [Musgrave et al. (2020)](https://arxiv.org/abs/2003.08505) measured a decade of such losses under equal conditions,
# and found much less progress than reported.
#
# The step to self-supervision was taken several times: [Wang and Gupta (2015)](https://arxiv.org/abs/1505.00687) let a
# tracker in a video say "same"; [Sermanet et al. (2018)](https://arxiv.org/abs/1704.06888) let two cameras say it;
# [Dosovitskiy et al. (2014)](https://arxiv.org/abs/1406.6909) and [Wu et al. (2018)](https://arxiv.org/abs/1805.01978)
# made every picture its own class. [Chapter 13](13_from_nce_to_nt_xent.ipynb) derives the loss of SimCLR from
# probability.
#
# ## A question
#
# A colleague trains with triplets. The loss falls quickly from 0.35 to exactly 0.20 and stays there; her margin is 0.2.
# What has happened, what would you look at, and what would you change?
# <details><summary>Answer</summary>All embeddings are equal, both distances are 0, and the loss is the margin. Look at
# the spread of z (not of h). Choose semi-hard or random negatives, at least at first, or a lower learning
# rate.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def my_contrastive(z1, z2, same, margin):
#     d = (z1 - z2).norm(dim=1)
#     return torch.where(same, d**2, F.relu(margin - d) ** 2).mean() / 2
#
#
# def shrinking_pays(near, far, margin):
#     # c^2 (near - far) + m has the slope 2 (near - far) at c = 1, where the hinge is open.
#     # Hardest: near > far at the start, positive; so is random, by its open hinges. Semi-hard: near < far, never
#     # positive (0 where all hinges are closed).
#     open = near - far + margin > 0
#     return (2 * (near - far) * open).mean()
#
#
# def nt_xent_temperature(T, radius):
#     # d^2 = 2 r^2 - 2 r^2 cos. Growing embeddings cool the loss, as the square of their length.
#     return T / (2 * radius**2)
#
#
# def my_supcon(z, labels, tau):
#     # The log is concave: mean(log p) <= log(mean p) <= log(sum p). So this one is never smaller.
#     z = F.normalize(z, dim=1)
#     log_p = (z @ z.T / tau).fill_diagonal_(-math.inf).log_softmax(dim=1)
#     friends = (labels[:, None] == labels).fill_diagonal_(False)
#     count = friends.sum(dim=1)
#     total = log_p.masked_fill(~friends, 0.0).sum(dim=1)
#     return -(total[count > 0] / count[count > 0]).mean()
# ```
