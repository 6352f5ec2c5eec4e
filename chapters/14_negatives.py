# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 14 · Where do negatives come from, and which ones help?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/14_negatives.ipynb)
#
# **After this chapter you can**
#
# - name four ways to collect negatives, and say for each how many there are, how old, and who gets a gradient;
# - write MoCo (momentum contrast) in twenty lines, and choose its momentum by arithmetic instead of by copying 0.999;
# - measure how fast an old embedding goes stale;
# - say which negatives do the work, which of them are wrong, and what the literature does about it: debiased, hard,
#   mixed, decoupled, dual-temperature, nearest-neighbour and supervised variants, each in a few lines;
# - spot the bugs of this family: a queue without normalisation, a positive in its own queue, BatchNorm that whispers.
#
# **You need** chapter 13 (InfoNCE, NT-Xent, the temperature).
# **Time**: 86 minutes to read, about 55 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("14")

# %% [markdown]
# ## The puzzle: how long does an answer keep?
#
# A contrastive loss compares a picture with many others, and every comparison needs an embedding. Embeddings are
# expensive: a network has to run for each. So here is an obvious saving. Yesterday's embeddings are still in memory;
# why not compare with those?
#
# Let a small SimCLR train for two passes over its 8,192 pictures (64 steps). Every few steps, write down what it says
# about the same 256 pictures, always the plain picture, nothing random. Then stop the film at step 48, and compare what
# the network says then with what it said before.
#
# > **Predict before you go on.** One pass ago is 32 steps ago. (1) What is the cosine between a picture's embedding
# > at step 48 and the embedding of *the very same picture* one pass earlier: 0.95, 0.6, or 0.2? (2) Show the network a picture and
# > let it look for the most similar entry among the 256 answers of one pass ago. How often is it the same picture?

# %%
import copy
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import book, data, diagnostics, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch14
from ssl_lessons.book.widgets import staleness
from ssl_lessons.losses import contrastive, instance, metric
from ssl_lessons.methods import Method
from ssl_lessons.methods.base import momentum_copy, momentum_update
from ssl_lessons.methods.mochi import MoCHi
from ssl_lessons.models import projection_head
from ssl_lessons.training import batch_indices, default_monitor, pretrain, recipes

N, IMAGES = 256, 8192
EPOCH = IMAGES // N  # steps per pass
unlabeled = data.shapes("unlabeled", 32, IMAGES, 0, world=1)
train, test = data.shapes("train", 32, 2000, 0, world=1), data.shapes("test", 32, 2000, 0, world=1)
chance = 1 / len(train.classes)


def every_few_steps(method: Method, every: int, write) -> None:
    """Call write(method) before the first and after every `every`-th step of a training."""
    after_step, count = method.after_step, 0

    def hooked(progress: float) -> None:
        nonlocal count
        after_step(progress)
        count += 1
        if count % every == 0:
            write(method)

    method.after_step = hooked
    write(method)


def embed(method: Method, images: torch.Tensor) -> torch.Tensor:
    """Unit-length z [n, D] of plain images, in evaluation mode."""
    both = nn.Sequential(method.encoder, method.projector)
    return F.normalize(evaluation.extract_features(both, images), dim=1)


def learn(method: Method, recipe, images: torch.Tensor, steps: int, **changes) -> list[dict]:
    """A quiet training with the recipe's settings, some of them changed; returns the history."""
    settings = recipe.training() | changes
    return pretrain(method, images, method.views(recipe.policy), steps=steps, progress=False, **settings)


simclr_recipe = recipes.get_recipe("quick")
simclr, diary = simclr_recipe.build(seed=0), []
every_few_steps(simclr, 8, lambda method: diary.append(embed(method, train.images[:N])))
learn(simclr, simclr_recipe, unlabeled.images, steps=2 * EPOCH)


def compare(now: torch.Tensor, then: torch.Tensor) -> dict:
    """Embeddings [n, D] of the same pictures at two times."""
    cosine = now @ then.T
    own = cosine.diagonal()
    return {
        "cosine, same picture": own.mean().item(),
        "cosine, others": ((cosine.sum() - own.sum()) / (cosine.numel() - len(own))).item(),
        "finds itself": (cosine.argmax(dim=1) == torch.arange(len(now))).double().mean().item(),
    }


NOW = 48 // 8
plots.table(
    [{"age (steps)": 8 * i} | compare(diary[NOW], diary[NOW - i]) for i in range(NOW + 1)],
    f"The answers of step 48 against older ones ({N} pictures, one pass = {EPOCH} steps; a guess finds {1 / N:.1%})",
    floatfmt=".2f",
)

# %%
pass_ago = (diary[NOW] * diary[NOW - EPOCH // 8]).sum(dim=1)
fig = plots.image_grid(
    train.images[:16],
    columns=8,
    titles=[f"{c:.2f}" for c in pass_ago[:16].tolist()],
    title="The same picture, one pass apart: cosine of its two answers",
)
plots.show(
    fig,
    alt=f"Sixteen drawn objects. Above each the cosine between its embedding now and one pass ago; the mean over {N} "
    f"pictures is {pass_ago.mean():.2f}.",
)

# %% [markdown]
# Not a single pixel has changed; the network has. An old answer is an answer in an old language. Read the last two
# columns together: what matters is not that the cosine falls, but whether a picture's own old answer is still closer
# than the answers of others.
#
# So there is a price for old embeddings, and the history of this family is the history of getting more negatives
# without paying it. Then comes the second half of the question in the title, which turned out to be the more
# important one: *which* negatives are worth having.

# %% [markdown]
# ## Step 1: four ways to collect negatives
#
# A survey ([Jaiswal et al., 2020](https://arxiv.org/abs/2011.00362), section 3) sorts the architectures by where the
# other pictures come from:
#
# 1. **End to end**: the rest of the batch, encoded now. SimCLR; CPC; the two encoders may share their weights or not.
# 2. **Memory bank**: one stored embedding per training picture, renewed when the picture comes by ([Wu et al.,
#    2018](https://arxiv.org/abs/1805.01978); PIRL, [Misra and van der Maaten, 2020](https://arxiv.org/abs/1912.01991)).
# 3. **Momentum encoder**: a queue of recent embeddings, made by a second encoder that changes slowly (MoCo, [He et al.,
#    2020](https://arxiv.org/abs/1911.05722)).
# 4. **Clustering**: compare with prototypes instead of pictures (SwAV, [Caron et al.,
#    2020](https://arxiv.org/abs/2006.09882), chapter 17), so that two pictures of the same kind need not be pushed apart.
#
# (Sorting by *task* instead gives another map: picking the right sample out of a crowd, as all of these do; grouping
# features; comparing several codings of one scene, as in CMC ([Tian et al., 2020](https://arxiv.org/abs/1906.05849)),
# chapter 11.) Put numbers on the first three. How old is a negative when it is used? You need not train anything to
# know: the order of the batches decides.

# %%
QUEUE = 2048


def ages_in_bank(steps: int = 9 * EPOCH // 2) -> torch.Tensor:
    """Ages, in steps, of all bank entries in the middle of the fifth pass."""
    last = torch.full((IMAGES,), -1)
    for step in range(steps):
        last[batch_indices(IMAGES, N, step, seed=0)] = step
    return steps - last


ways = (
    ("the batch", 2 * N - 2, torch.zeros(1), 0),
    ("a memory bank", IMAGES - 1, ages_in_bank().double(), 128 * IMAGES),
    ("a queue", QUEUE, torch.arange(1, QUEUE // N + 1).double(), 128 * QUEUE),
)
plots.table(
    [
        {
            "from": way,
            "how many": k,
            "mean age": float(age.mean()),
            "oldest": float(age.max()),
            "numbers kept": kept,
        }
        for way, k, age, kept in ways
    ],
    f"The negatives of one query: batch of {N}, {IMAGES:,} pictures, z of 128 numbers, ages in steps",
    floatfmt=".1f",
)

# %% [markdown]
# On ImageNet, with 1.28 million pictures, the bank's ages are in thousands of steps; and the queue stays as short as
# you like. That is the point of a queue: **its length is a choice, the bank's is the size of the data.**
#
# One more difference. You may read that in contrastive learning "gradients never depend on the pixel values of the
# negatives". Ask autograd: take the loss of a single anchor, and look at the gradient that arrives at the pixels of
# *another* picture. (In evaluation mode, or BatchNorm would connect all pictures anyway.)

# %%
# NBVAL_CHECK_OUTPUT
moco_recipe = recipes.get_recipe("quick", method="moco_v2")
first, second = views.make_views(
    train.images[:8], (moco_recipe.policy,) * 2, torch.Generator().manual_seed(0)
)
for name, recipe in (("SimCLR", simclr_recipe), ("MoCo", moco_recipe)):
    method, pixels = recipe.build(seed=0).eval(), second.clone().requires_grad_()
    if name == "SimCLR":
        z = F.normalize(method.embed(torch.cat([first, pixels])), dim=1)
        loss = F.cross_entropy(z[:1] @ z[1:].T / 0.1, torch.tensor([7]))  # picture 0 looks for its partner
    else:
        loss = method([first[:1], pixels[:1]])  # its negatives wait in the queue
    loss.backward()
    reached = pixels.grad is not None and bool(pixels.grad[1].abs().max() > 0)
    print(f"{name}: a negative's pixels get a gradient: {reached}")

# %% [markdown]
# ## Step 2: the memory bank
#
# Instance discrimination ([Wu et al., 2018](https://arxiv.org/abs/1805.01978)) takes the idea of a classifier to its
# end: every picture is a class of its own. A classifier over $n$ classes needs $n$ weight vectors; with one example per
# class, why not let the example *be* the weight? That is the **non-parametric softmax** (their eq. 2)
#
# $$P(i\mid v) = \frac{\exp(m_i^\top v/\tau)}{\sum_{j=1}^n \exp(m_j^\top v/\tau)}, \qquad L = -\log P(i \mid v_i),$$
#
# $v = z/\lVert z\rVert$: the embedding of a view of picture $i$; $m_j$: the embedding that picture $j$ had last time,
# kept in the **memory bank** $[n, D]$; $\tau$: the temperature, here for the first time in this family. Only one view
# is needed per step: the other one is in the bank.
#
# The denominator runs over all pictures of the *bank*, $m_j^{(t-1)}$. (The cookbook prints a sum over $n$ of terms
# with index $i$, [Balestriero et al., 2023](https://arxiv.org/abs/2304.12210), eq. 5; read it as above.) For 1.28
# million pictures the paper estimates it with $m$ noise samples, by the noise-contrastive estimation of chapter 13:
# $P(i \mid v)$ with a constant $Z$, against noise that is uniform over the pictures.

# %%


# fmt: off
def non_parametric_softmax(z: torch.Tensor, bank: torch.Tensor, index: torch.Tensor, tau: float) -> torch.Tensor:
    """z [N, D], bank [n, D] of unit rows, index [N]: the rows of the bank that belong to z."""
    v = F.normalize(z, dim=1)
    logits = v @ bank.T / tau                       # [N, n]
    return (logits.logsumexp(dim=1) - logits.gather(1, index[:, None])[:, 0]).mean()
# fmt: on


# %%
# NBVAL_CHECK_OUTPUT
generator = torch.Generator().manual_seed(0)
z, bank = (torch.randn(n, 16, generator=generator).double() for n in (6, 40))
bank, index = F.normalize(bank, dim=1), torch.tensor([3, 8, 39, 0, 21, 7])
full = instance.instdisc(z, bank, index, temperature=0.2)
print("agrees with the package:", torch.allclose(non_parametric_softmax(z, bank, index, 0.2), full))
noise = torch.randint(40, (6, 2000), generator=generator)
exact = (F.normalize(z, dim=1) @ bank.T / 0.2).exp().sum(dim=1).mean().item()
estimate = instance.instdisc_normalizer(z, bank, noise, temperature=0.2)
print(f"Z from 12,000 noise samples, over the exact mean: {estimate / exact:.1f}")

# %% [markdown]
# Each picture's entry is renewed once per pass, so the label it provides jumps once per pass, and training wobbles.
# Wu et al. slow it down with a **proximal term** ([Parikh and Boyd,
# 2014](https://web.stanford.edu/~boyd/papers/prox_algs.html)):
#
# $$L_\text{prox} = -\log P(i\mid v_i) + \lambda\,\lVert v_i - m_i\rVert^2 .$$
#
# As training converges, $v_i \to m_i$ and the term vanishes: it changes the path, not the goal. It also says
# something that you will meet again: *pull a view towards an older embedding of the same picture*. Here are ten
# passes over 1,024 pictures with and without it; the column to watch is the jump at a renewal, $\lVert v_i-m_i\rVert^2$.

# %%


def train_bank(proximal: float, images: int = 1024, passes: int = 10) -> list[float]:
    """Mean squared jump at the renewal of a bank entry, per pass."""
    recipe = recipes.get_recipe("quick", method="instdisc")
    method = recipe.with_(options=recipe.options | {"proximal": proximal}).build(0, n_images=images)
    jumps = []

    def write(method):
        if hasattr(method, "newest"):
            index, z = (t.cpu() for t in method.newest)
            jumps.append((F.normalize(z, dim=1) - before[0][index]).square().sum(dim=1).mean().item())
        before[0] = method.bank.rows.clone().cpu()

    before = [None]
    every_few_steps(method, 1, write)
    learn(method, recipe, train.images[:images], steps=passes * images // N)
    return torch.tensor(jumps).view(passes, -1).mean(dim=1).tolist()


jumps = {proximal: train_bank(proximal) for proximal in (0.0, 5.0)}
plots.table(
    [
        {"lambda": f"{weight:g}"} | {f"pass {i + 1}": row[i] for i in (0, 1, 3, 6, 9)}
        for weight, row in jumps.items()
    ],
    "Squared jump of a bank entry when it is renewed (2 would be a right angle)",
    floatfmt=".2f",
)

# %% [markdown]
# ## Step 3: a queue, and an encoder that changes slowly
#
# MoCo ([He et al., 2020](https://arxiv.org/abs/1911.05722)) makes two moves.
#
# **The queue.** Keep the keys of the last $K/N$ batches, first in, first out. The loss is InfoNCE with the query's own
# key and $K$ negatives (their eq. 1; $q$, $k_+$: query and key, two views of one picture, unit length, $[D]$):
#
# $$L_q = -\log\frac{\exp(q^\top k_+/\tau)}{\exp(q^\top k_+/\tau) + \sum_{j=1}^K \exp(q^\top k_j/\tau)} .$$
#
# **The momentum encoder.** Keys come from a second network of the same architecture. It is not trained; it follows
# (their eq. 2): $\theta_k \leftarrow m\,\theta_k + (1-m)\,\theta_q$. The two do *not* share parameters; only at the
# start are they equal. Unroll it:
#
# $$\theta_k^{(t)} = (1-m)\sum_{s\ge 0} m^s\,\theta_q^{(t-s)} .$$
#
# The key encoder is an average over the past. Weights from $s$ steps ago count $m^s$, so their **half-life** is
# $h = \ln 2/(-\ln m)$ and their mean age $m/(1-m)$, both close to a multiple of $1/(1-m)$. Now there are three clocks:
#
# - a key waits at most $K/N$ steps in the queue. In that time the key encoder must not change much, or old and new
#   keys speak different languages: $\;K/N \lesssim 1/(1-m)$;
# - the key encoder is about $1/(1-m)$ steps behind. If that is a large part of the training, of $T$ steps, queries are
#   compared with the answers of a beginner: $\;1/(1-m) \lesssim T$, the smaller the better.
#
# $$\boxed{\;K/N\;\lesssim\;\frac{1}{1-m}\;\lesssim\;T\;}$$
#
# That is an argument, not a theorem, and it leaves a wide range. Put in the paper's numbers, and ours:

# %%
# NBVAL_CHECK_OUTPUT
STEPS = 300


def fits(m: float, wait: int, steps: int) -> str:
    lag = 1 / (1 - m)
    if lag < wait / 2:
        return "too fast for the queue"
    return "too slow for the run" if lag > steps else "fits"


settings = {
    "ImageNet, 200 epochs": (65536 // 256, 200 * 1_281_167 // 256),
    "this chapter": (QUEUE // N, STEPS),
}
for name, (wait, steps) in settings.items():
    print(f"{name}: a key waits up to {wait} steps, training lasts {steps:,}")
    for m in (0.9, 0.99, 0.999, 0.9999):
        half = math.log(2) / -math.log(m)
        print(f"    m = {m}: half-life {half:.1f}, 1/(1-m) = {1 / (1 - m):.0f}: {fits(m, wait, steps)}")

# %% [markdown]
# > **Predict.** The paper found 0.999 better than 0.99, better than 0.9, and no learning at all with $m = 0$ (its
# > section 4.1). What will be the order in a run of a few hundred steps? Use the inequality, then write down the order.
#
# ### MoCo in twenty lines

# %%


# fmt: off
class MyMoCo(Method):
    def __init__(self, encoder, K: int, m: float, tau: float, unit: bool = True):
        super().__init__()
        self.encoder, self.projector = encoder, projection_head(encoder.dim, encoder.dim, 128)
        self.key_net = copy.deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(K, 128), dim=1))     # newest first
        self.m, self.tau, self.unit = m, tau, unit

    def length(self, z):
        return F.normalize(z, dim=1) if self.unit else z

    def forward(self, views, labels=None):
        q = self.length(self.projector(self.encoder(views[0])))                    # [N, D]
        with torch.no_grad():
            self.k = self.length(self.key_net(views[1]))                           # [N, D], no gradient
        positive = (q * self.k).sum(dim=1, keepdim=True)                           # [N, 1]
        logits = torch.cat([positive, q @ self.queue.T], dim=1) / self.tau         # [N, 1 + K]
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))

    @torch.no_grad()
    def after_step(self, progress):
        query_net = nn.Sequential(self.encoder, self.projector)
        for theta_q, theta_k in zip(query_net.parameters(), self.key_net.parameters()):
            theta_k.mul_(self.m).add_(theta_q, alpha=1 - self.m)
        self.queue = torch.cat([self.k, self.queue])[: len(self.queue)]            # the oldest fall off the end
# fmt: on


# %%
# NBVAL_CHECK_OUTPUT
package = moco_recipe.build(seed=0)
mine = MyMoCo(package.encoder, len(package.queue.rows), package.momentum, package.temperature)
mine.encoder, mine.projector, mine.queue = package.encoder, package.projector, package.queue.rows.flip(0)
mine.key_net = copy.deepcopy(package.teacher)
agree = []
for step in range(12):
    pictures = unlabeled.images[32 * step : 32 * step + 32]
    batch = views.make_views(pictures, (moco_recipe.policy,) * 2, torch.Generator().manual_seed(step))
    agree.append(torch.allclose(mine(batch), package(batch), atol=1e-5))
    with torch.no_grad():  # pretend that an optimiser moved the weights
        for p in [*package.encoder.parameters(), *package.projector.parameters()]:
            p.mul_(1.01)
    mine.after_step(0.5), package.after_step(0.5)
print("loss, momentum encoder and queue agree with the package over 12 steps:", all(agree))

newest = package.keys
pointer = int(package.queue.oldest)
latest = package.queue.rows[(pointer - 32 + torch.arange(32)) % len(package.queue.rows)]
in_order = torch.allclose(latest, F.normalize(newest, dim=1), atol=1e-6)
print("the 32 rows before the pointer are the newest keys, in order:", in_order)
lengths = package.queue.rows.norm(dim=1)
print("all rows have unit length:", torch.allclose(lengths, torch.ones(QUEUE), atol=1e-5))
position = (pointer + 8) % QUEUE
row_then = package.queue.rows[position].clone()
for step in range(3):
    package.queue.push(torch.randn(8, 128, generator=generator))
    still = torch.equal(package.queue.rows[position], row_then)
    print(f"after {8 * (step + 1)} more keys, a row 8 places from the exit is still there: {still}")

# %% [markdown]
# (The package writes into a ring with a pointer instead of shifting all rows; the set of rows is the same.)
#
# **BatchNorm whispers.** In the key encoder it uses the statistics of the key batch. A query and its positive key then
# come from the same batch, the negatives from earlier ones: whatever the statistics of this batch add to all its
# embeddings is a hint at the right answer that has nothing to do with the picture. With 8 devices and 32 pictures each
# the hint is loud, and MoCo *shuffles* the keys over the devices (section 3.3 of the paper). On one device, over a
# batch of 256, it is faint, and we leave it. "What goes wrong" turns it up.
#
# **v1, v2, v3.** MoCo v2 ([Chen et al., 2020](https://arxiv.org/abs/2003.04297)) is MoCo with two things from SimCLR:
# the MLP head and stronger augmentation. MoCo v3 ([Chen et al., 2021](https://arxiv.org/abs/2104.02057)) drops the
# queue again: batches are large by then. It keeps the momentum encoder, adds a predictor on the query, and goes both
# ways; its loss is multiplied by $2\tau$.

# %% [markdown]
# ## The run: MoCo v2
#
# 300 steps, the recipe of the book's record. While it trains, a camera is running: four key encoders follow the query
# encoder with four different momenta (only the one with 0.99 is used for training), and every four steps all of them
# embed the same 128 pictures, in two fixed views. The film is what the rest of the chapter looks at.

# %%
FILMED = (0.0, 0.9, 0.99, 0.999)


def in_training(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Unit-length embeddings with the statistics of the batch, as the loss sees them; the network stays as it is."""
    with torch.no_grad():
        return F.normalize(copy.deepcopy(net).train()(x.to(device)), dim=1).cpu()


class Camera:
    """Follows a training with key encoders of several momenta, and films them."""

    def __init__(self, method: Method, images: torch.Tensor, policy, every: int = 4):
        self.views = views.make_views(images, (policy, policy), torch.Generator().manual_seed(0))
        query_net = nn.Sequential(method.encoder, method.projector).to(device)
        self.query_net, self.followers = query_net, {m: momentum_copy(query_net) for m in FILMED}
        self.queries, self.keys, self.every, self.count = [], {m: [] for m in FILMED}, every, 0
        every_few_steps(method, 1, self.look)

    def look(self, method: Method) -> None:
        for m, follower in self.followers.items():
            momentum_update(self.query_net, follower, m)
        if self.count % self.every == 0:
            self.queries.append(in_training(self.query_net, self.views[0]))
            for m, follower in self.followers.items():
                self.keys[m].append(in_training(follower, self.views[1]))
        self.count += 1

    def film(self) -> staleness.Film:
        keys = {m: torch.stack(taken) for m, taken in self.keys.items()}
        return staleness.Film(self.every, torch.stack(self.queries), keys)


moco = moco_recipe.build(seed=0, n_images=IMAGES)
camera = Camera(moco, train.images[:128], moco_recipe.policy)
watch = plots.watch(
    "MoCo v2",
    "Training curves of MoCo v2: loss, online kNN accuracy, spread and rank of the features.",
    chance=chance,
    chance_loss=moco.chance_loss(N),
)
history = pretrain(
    moco,
    unlabeled.images,
    moco.views(moco_recipe.policy),
    steps=STEPS,
    seed=0,
    monitor=default_monitor(train, STEPS),
    on_measure=watch,
    **moco_recipe.training(),
)
film = camera.film()

# %% [markdown]
# The loss *rises* at first. Nothing is wrong: the queue starts with random directions, which are easy to tell from a
# picture. After $K/N$ steps it is full of real keys, and the game becomes a game.

# %%


def features(encoder, images: torch.Tensor) -> torch.Tensor:
    return evaluation.extract_features(encoder, images)


def probe(encoder) -> float:
    """Mean test accuracy of linear probes on 10 labels per class, over five draws of the labels."""
    a, b = features(encoder, train.images), features(encoder, test.images)
    rows = evaluation.label_efficiency(a, train.labels, b, test.labels, per_class=(10,), draws=5)
    return rows[0]["mean"]


moco_probe = probe(moco.encoder)
families, _ = book.recorded("families")
(live_row,) = [row for row in families if row["method"] == "moco_v2" and row["arm"] == "live"]
TOLERANCE = 0.06
print(f"probe with 100 labels: {moco_probe:.1%} here, {live_row['probe']:.1%} in the record of the same run")
assert abs(moco_probe - live_row["probe"]) < TOLERANCE, "the live run does not agree with the book's record"
print(diagnostics.diagnose(embed(moco, test.images[:500]), history=history))

# %%
MEMBERS = "simclr simclr_v2 dcl supcon nnclr instdisc pirl moco_v1 moco_v2 moco_v3 mochi spectral directclr"
book.results_table(MEMBERS.split(), "One minute each, same encoder, same pictures")

# %% [markdown]
# Same work, not the same number of steps: a method that encodes one view per step gets more of them. `supcon` does not
# belong in the race; it was trained with 2,000 labels, on 2,000 pictures, and is there as a yardstick. `pirl` makes
# the jigsaw of chapter 6 a *view*: the tiles, shuffled, must find the memory-bank entry of the whole picture.
# `spectral` and `directclr` are taken up in chapters 19 and 20.

# %% [markdown]
# ## The film: who goes stale?
#
# Now the answer to the puzzle, with all four key encoders. Two things can go wrong with a key, and they are not the
# same. It may be *inconsistent*: the same encoder would say something else about the same view today (left, early in the
# training, where the network changes fastest). Or it may be *out of reach*: today's query does not come near it (right,
# in the middle). For the second, ask how often a query is closer to its own old key than to another picture's old key; a
# guess would be right half of the time.

# %%
ages_shown = range(0, EPOCH + 1, 4)
seen = {m: [staleness.compare(film, m, a, "early") for a in ages_shown] for m in FILMED}
reach = {m: [staleness.compare(film, m, a, "middle") for a in ages_shown] for m in FILMED}
fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2)
for m, style, color in zip(FILMED, ("-", "--", "-.", ":"), plots.COLORS):
    left.plot(ages_shown, [s.steady for s in seen[m]], style, color=color, label=f"m = {m:g}")
    right.plot(ages_shown, [100 * s.wins for s in reach[m]], style, color=color)
for ax in (left, right):
    ax.axvspan(0, QUEUE // N, color="#eeeeee", zorder=0)
    ax.set_xlabel("age of the key (steps); gray: the queue")
left.set(title="Is an old key still what a new one would be?", ylabel="cosine, old and new key")
right.set(title="Does the query find it?", ylabel="closer than another key (%)", ylim=(48, 101))
left.legend()
words = [
    f"m {m:g}: {seen[m][2].steady:.2f} at the queue's end, {seen[m][-1].steady:.2f} one pass old"
    for m in FILMED
]
plots.show(
    fig,
    alt="Left: cosine of old and new keys against age, early in the training, one curve per momentum. Right: how often a "
    f"query is closer to its own old key than to another. {'; '.join(words)}.",
)


def fresh_wins(m: float, moment: str) -> float:
    """How often another picture's fresh key is closer to the query than its key from the queue's other end."""
    fresh, old = (staleness.compare(film, m, a, moment).others for a in (0, QUEUE // N))
    return (fresh > old).double().mean().item()


plots.table(
    [
        {"momentum": f"{m:g}"} | {when: fresh_wins(m, when) for when in ("early", "middle", "late")}
        for m in FILMED
    ],
    f"Other pictures: how often is a fresh key closer than the same picture's key of {QUEUE // N} steps ago?",
    floatfmt=".0%",
)

# %% [markdown]
# The left panel is the first half of the inequality: how much a key changes while it waits. The gray strip is what a
# queue asks for; the right end, one pass, is where a memory bank has to live. The right panel, at age 0, is the second
# half: a slow encoder makes keys that agree with each other, and lag behind the queries.
#
# The table shows what staleness does to the *game*. The positive key is always fresh, the negatives have waited. Where a
# fresh key of just any picture beats the old one (half of the time would be fair), the network can tell the positive by
# its age, without looking at the picture, and it is rewarded for moving on. That is a second reason for keys that change
# slowly, and for a short queue in a short run. And note *when*: late, at a learning rate near zero, keys keep.
#
# The record holds training runs, one per momentum and seed, shorter than the one above:

# %%
record, origin = book.recorded("negatives")


def sweep(group: str, key: str = "probe") -> dict[str, list[float]]:
    """arm -> one value per seed."""
    arms: dict[str, list[float]] = {}
    for row in record:
        if row["group"] == group:
            arms.setdefault(row["arm"], []).append(row[key])
    return arms


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def spread(values: list[float]) -> dict:
    return {"mean": mean(values), "lowest seed": min(values), "highest seed": max(values)}


def show_bars(values: dict[str, list[float]], title: str) -> None:
    """Probe accuracies, a list over seeds for each name, with where they come from."""
    percent = {name: [100 * v for v in row] for name, row in values.items()}
    fig = plots.bars(percent, title, "probe accuracy, 100 labels (%)", chance=100 * chance)
    words = ", ".join(f"{name} {mean(row):.0%}" for name, row in values.items())
    plots.show(fig, alt=f"{title}. Probe: {words}.")
    print(origin)


def show_lines(curves: dict[str, dict[int, list[float]]], title: str, xlabel: str) -> None:
    """name -> x -> probe accuracies over seeds: a line through the means, a dot for each seed."""
    fig, ax = plots.new_figure(6.0, 3.0)
    for (name, row), style, color in zip(curves.items(), ("o-", "s--", "^:"), plots.COLORS):
        ax.plot(sorted(row), [100 * mean(row[x]) for x in sorted(row)], style, color=color, label=name)
        for x, values in row.items():
            ax.plot([x] * len(values), [100 * v for v in values], "o", color=color, markersize=3, mfc="white")
    ax.axhline(100 * chance, color=plots.GRAY, linestyle=":", label="chance")
    ax.set(xscale="log", ylim=(0, None), xlabel=xlabel, ylabel="probe, 100 labels (%)", title=title)
    ax.set_xticks(sorted(row), [str(x) for x in sorted(row)])
    ax.minorticks_off()
    ax.legend(loc="lower right")
    words = [f"{name} at {x}: {mean(row[x]):.0%}" for name, row in curves.items() for x in sorted(row)]
    plots.show(fig, alt=f"{title}: {'; '.join(words)}.")
    print(origin)


def grouped(group: str, name: str, x: str) -> dict:
    """Column `name` -> column `x` -> probes over seeds, for show_lines."""
    curves: dict = {}
    for row in record:
        if row["group"] == group:
            curves.setdefault(row[name], {}).setdefault(row[x], []).append(row["probe"])
    return curves


momentum = {float(arm): row for arm, row in sweep("momentum").items()}
order = sorted(momentum, key=lambda m: -mean(momentum[m]))
show_bars(
    {f"m = {m:g}": row for m, row in momentum.items()},
    f"MoCo v2, {record[0]['steps']} steps: the best momentum is {order[0]:g}",
)

# %% [markdown]
# Compare with the order you wrote down. The paper's best value is not a constant of nature; it belongs to the paper's
# queue and to the paper's $T$. If you shorten a schedule, shorten the half-life with it.

# %% [markdown]
# ## Step 4: which negatives do the work, and which are wrong?
#
# You have 2,048 negatives. From chapter 13 you know that a negative's share of the push is
# $r_j = e^{s_j/\tau}/\sum_k e^{s_k/\tau}$, $s_j$ its cosine with the query. Here is what that means after training,
# with a queue whose labels we know: 500 queries, and as negatives one view of each of the other 1,999 labelled pictures.
# Sort them by similarity. How is the push shared, and *how many of them show the same kind of object as the query*?
# Such a **false negative** is pushed away although a probe will be asked to put it in the same class.
#
# > **Predict.** Ten kinds, so a tenth of all negatives is false. What share of the *most similar hundredth*?

# %%
TAU = moco_recipe.options.get("temperature", moco.temperature)
pair = views.make_views(train.images, (moco_recipe.policy,) * 2, torch.Generator().manual_seed(1))
with torch.no_grad():
    moco.eval()
    zq, zk = (
        torch.cat([F.normalize(moco.embed(x), dim=1) for x in v.split(500)]) for v in pair
    )

queries = torch.arange(500)
cosine = zq[:500] @ zk.T
own_key = torch.arange(len(train))[None] == queries[:, None]
crowd = cosine[~own_key].view(500, -1)  # [500, 1999] negatives
same = (train.labels[None] == train.labels[queries][:, None])[~own_key].view(500, -1)
hardest_first = crowd.argsort(dim=1, descending=True)
push = (crowd / TAU).softmax(dim=1)
push_sorted, same_sorted = push.gather(1, hardest_first), same.gather(1, hardest_first).double()

parts = [
    ("most similar 1 %", 0, 20),
    ("1 to 5 %", 20, 100),
    ("5 to 10 %", 100, 200),
    ("10 to 50 %", 200, 1000),
    ("least similar half", 1000, 1999),
]
plots.table(
    [
        {
            "negatives": name,
            "mean cosine": f"{crowd.gather(1, hardest_first)[:, a:b].mean():.2f}",
            "share of the push": push_sorted[:, a:b].sum(dim=1).mean().item(),
            "if all were alike": (b - a) / 1999,
            "false negatives": same_sorted[:, a:b].mean().item(),
        }
        for name, a, b in parts
    ],
    f"Who is pushed, and who should not be (temperature {TAU:g}, 500 queries)",
    floatfmt=".1%",
)
wasted = (push * same).sum(dim=1).mean().item()
share = same.double().mean().item()
print(f"{wasted:.0%} of the push falls on the query's own kind, {share:.0%} of the negatives.")

# %%
i = int((same_sorted[:, :7].sum(dim=1) - 4).abs().argmin())  # a query with about four false ones in front
nearest = (~own_key[i]).nonzero()[:, 0][hardest_first[i, :7]]
words = ["FALSE " if false else "" for false in train.labels[nearest] == train.labels[i]]
fig = plots.image_grid(
    torch.cat([train.images[i : i + 1], train.images[nearest]]),
    columns=8,
    titles=["query"] + [f"{word}{c:.2f}" for word, c in zip(words, cosine[i, nearest])],
    title="One query and its seven hardest negatives, with their cosines",
)
plots.show(
    fig,
    alt="A query picture and the seven pictures whose keys are most similar to it; those of the same kind, "
    f"{sum(map(bool, words))} of 7, are marked FALSE.",
)

# %% [markdown]
# So the loss mines hard negatives by itself (the exponential does it, nobody has to select anything), easy negatives
# hardly count, and the hardest ones are the ones most likely to be wrong. Every method below is a way to handle that.
#
# ### What an oracle would do
#
# If you knew the labels, you could leave the false negatives out of the denominator, and *only* that: no new positives,
# no class information anywhere else. Or you could use them fully, as **SupCon** does ([Khosla et al.,
# 2020](https://arxiv.org/abs/2004.11362), eq. 2): all views of my class are positives,
#
# $$L = -\frac{1}{2N}\sum_i \frac{1}{|P(i)|}\sum_{p\in P(i)} \log\frac{\exp(z_i^\top z_p/\tau)}{\sum_{a\ne i}\exp(z_i^\top z_a/\tau)} ,$$
#
# $P(i)$: the other views with the label of $i$. It joins contrastive learning to its parent, deep metric learning
# (chapter 04), where positives always came from labels; SimCLR's come from augmentation.

# %%


# fmt: off
def sup_con(z1, z2, labels, tau):
    z, y = F.normalize(torch.cat([z1, z2]), dim=1), labels.repeat(2)
    itself = torch.eye(len(z), dtype=torch.bool)
    log_p = (z @ z.T / tau).masked_fill(itself, -math.inf).log_softmax(dim=1)
    positives = (y[:, None] == y) & ~itself
    return -(log_p.where(positives, 0.0).sum(dim=1) / positives.sum(dim=1)).mean()


def oracle_nt_xent(z1, z2, labels, tau):
    z, y = F.normalize(torch.cat([z1, z2]), dim=1), labels.repeat(2)
    partner = torch.arange(len(z)).roll(len(z1))
    left_out = y[:, None] == y                                  # myself and all of my class ...
    left_out[torch.arange(len(z)), partner] = False             # ... but not my partner
    return F.cross_entropy((z @ z.T / tau).masked_fill(left_out, -math.inf), partner)
# fmt: on


# %%
# NBVAL_CHECK_OUTPUT
z1, z2 = torch.randn(2, 12, 16, generator=generator).double()
labels, all_different = torch.arange(12) % 4, torch.arange(12)
agrees = torch.allclose(sup_con(z1, z2, labels, 0.2), contrastive.supcon(z1, z2, labels, 0.2))
print("SupCon agrees with the package:", agrees)
nt_xent = contrastive.nt_xent(z1, z2, 0.2)
for name, loss in (("SupCon", sup_con), ("the oracle", oracle_nt_xent)):
    is_nt_xent = torch.allclose(loss(z1, z2, all_different, 0.2), nt_xent)
    print(f"labels that all differ turn {name} into NT-Xent: {is_nt_xent}")

# %%
by_oracle = sweep("oracle")
names = {"all negatives": "SimCLR", "oracle": "false negatives left out", "SupCon": "SupCon, all labels"}
show_bars({names[arm]: row for arm, row in by_oracle.items()}, "What labels would buy, on 8,192 pictures")

# %% [markdown]
# The distance between the first two bars is the price of false negatives in this world. Nobody has the oracle, so two
# papers estimate what it would do.
#
# ### Debiased, and hard on purpose
#
# Let a share $\tau_+$ of the negatives be false. The density of what you draw is a mixture,
# $p(x) = \tau_+\,p_+(x) + (1-\tau_+)\,p_-(x)$, so for any function
#
# $$\mathbb{E}_{p_-}[g] = \frac{\mathbb{E}_p[g] - \tau_+\,\mathbb{E}_{p_+}[g]}{1-\tau_+}.$$
#
# Everything on the right can be sampled: the batch for $p$, and the one positive you have for $p_+$. Put $g = e^{s/\tau}$
# and you have the **debiased** loss ([Chuang et al., 2020](https://arxiv.org/abs/2007.00224), eq. 8). **HCL** ([Robinson
# et al., 2021](https://arxiv.org/abs/2010.04592), eq. 4) adds that the negatives you *want* are hard ones: draw them
# from $q_\beta(x_-) \propto e^{\beta s/\tau}p_-(x_-)$, by importance weights instead of by search. With $w_j$ of mean 1,
#
# $$w_j = \frac{e^{\beta s_j/\tau}}{\frac1K\sum_k e^{\beta s_k/\tau}}, \qquad L = -\log\frac{e^{s_+/\tau}}{e^{s_+/\tau} + K G},\qquad G = \frac{\frac1K\sum_j w_j e^{s_j/\tau} - \tau_+ e^{s_+/\tau}}{1-\tau_+},$$
#
# with $G$ kept above its smallest possible value $e^{-1/\tau}$. $\beta = 0$ is the debiased loss; $\tau_+ = 0$ as well
# is NT-Xent.

# %%


# fmt: off
def hcl(z1, z2, tau, beta, tau_plus):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    n = len(z1)
    not_a_pair = ~torch.eye(n, dtype=torch.bool).repeat(2, 2)
    s_neg = (z @ z.T)[not_a_pair].view(2 * n, 2 * n - 2) / tau
    s_pos = (z * z.roll(n, 0)).sum(dim=1) / tau
    w = (beta * s_neg).softmax(dim=1)                                     # sums to 1 instead of K
    g = ((w * s_neg.exp()).sum(dim=1) - tau_plus * s_pos.exp()) / (1 - tau_plus)
    g = g.clamp(min=math.exp(-1 / tau))
    return -(s_pos.exp() / (s_pos.exp() + (2 * n - 2) * g)).log().mean()
# fmt: on


# %%
# NBVAL_CHECK_OUTPUT
for beta, tau_plus in ((0.0, 0.0), (0.0, 0.1), (1.0, 0.1), (2.0, 0.0)):
    value = hcl(z1, z2, 0.5, beta, tau_plus)
    agrees = torch.allclose(value, contrastive.hard_negative(z1, z2, 0.5, beta, tau_plus))
    is_nt_xent = torch.allclose(value, contrastive.nt_xent(z1, z2, 0.5))
    print(f"beta {beta:g}, tau_plus {tau_plus:g}: agrees {agrees}, is NT-Xent {is_nt_xent}")

# %% [markdown]
# Look at $w_j e^{s_j/\tau} \propto e^{(1+\beta)s_j/\tau}$: with the weights held fixed, the *shares* of the
# push are those of a temperature $\tau/(1+\beta)$. So whether it helps must depend on how sharp the softmax was
# before. The authors use $\tau = 0.5$. The record tries that, and our 0.1:

# %%
hard_rows = {}
for row in record:
    if row["group"] == "hard":
        hard_rows.setdefault((row["temperature"], row["beta"], row["tau_plus"]), []).append(row["probe"])
plots.table(
    [
        {
            "temperature": f"{t:g}",
            "beta": f"{beta:g}",
            "tau+": f"{plus:g}",
            "t / (1 + beta)": f"{t / (1 + beta):g}",
        }
        | spread(row)
        for (t, beta, plus), row in sorted(hard_rows.items())
    ],
    "Debiased and hard negatives: probe with 100 labels",
    floatfmt=".1%",
)
print(origin)
t, beta, plus = max(hard_rows, key=lambda key: mean(hard_rows[key]))
print(f"best of these: temperature {t:g}, beta {beta:g}, tau+ {plus:g}")

# %% [markdown]
# ### Harder than real: MoCHi
#
# **MoCHi** ([Kalantidis et al., 2020](https://arxiv.org/abs/2010.01028)) finds that most of MoCo's queue is too easy and
# *makes* negatives. Take the hardest few of the queue; put new ones between two of them,
# $h \propto a\,n_i + (1-a)\,n_j$ with $a \sim U(0,1)$, or between the query and one of them,
# $h' \propto b\,q + (1-b)\,n_j$ with $b\sim U(0, \tfrac12)$; both are brought to unit length. How hard are they?

# %%
torch.manual_seed(0)
chi = MoCHi(recipes.get_recipe("quick").build(0).encoder, queue_size=len(train))
chi.queue.rows = zk.clone()
made_up = chi.mix(zq[:500], cosine.masked_fill(own_key, -1))
how_hard = (made_up @ zq[:500, :, None])[:, :, 0]
plots.table(
    [
        {"candidate": name, "mean cosine with the query": values.mean().item()}
        for name, values in (
            ("the positive key", cosine[own_key]),
            ("all negatives", crowd),
            (f"the {chi.hardest} hardest", crowd.topk(chi.hardest, dim=1).values),
            ("h, between two of those", how_hard[:, : chi.mixed]),
            ("h', between query and one of those", how_hard[:, chi.mixed :]),
        )
    ],
    "How hard are MoCHi's negatives?",
    floatfmt=".2f",
)

# %% [markdown]
# ### Older than all of this: choosing triplets
#
# Deep metric learning met the problem first. FaceNet ([Schroff et al., 2015](https://arxiv.org/abs/1503.03832)) uses
# triplets (anchor, positive, negative) with loss $[\lVert a-p\rVert^2 - \lVert a-n\rVert^2 + \alpha]_+$, margin
# $\alpha$. A triplet that is solved already has no gradient, and soon most random triplets are. The *hardest* negative,
# on the other hand, is often a labelling error, and drives a young network into collapse. FaceNet's compromise is
# **semi-hard**: the nearest negative that is still farther than the positive (from the current batch, "online", or
# from an old checkpoint). With labels, three short runs from the same weights:

# %%


class Triplets(Method):
    """The triplet loss on one view per picture; positives and negatives by label."""

    needs_labels = True

    def __init__(self, choose):
        super().__init__()
        built = simclr_recipe.build(seed=0)
        self.encoder, self.projector, self.choose, self.active = built.encoder, built.projector, choose, []

    def views(self, policy):
        return (policy,)

    def forward(self, views, labels=None):
        z = F.normalize(self.embed(views[0]), dim=1)
        a, p, n = self.choose(z.detach(), labels).T
        near, far = (z[a] - z[p]).square().sum(dim=1), (z[a] - z[n]).square().sum(dim=1)
        self.active.append((near - far + 0.2 > 0).double().mean().item())
        return metric.triplet(z[a], z[p], z[n], margin=0.2)


def all_pairs(labels):
    return (labels[:, None] == labels).fill_diagonal_(False).nonzero()


def random_triplets(z, labels):
    pairs = all_pairs(labels)
    other = (labels[pairs[:, 0], None] != labels).double()
    return torch.cat([pairs, torch.multinomial(other, 1)], dim=1)


def hardest_triplets(z, labels):
    pairs = all_pairs(labels)
    cosine = (z @ z.T).masked_fill(labels[:, None] == labels, -2)
    return torch.cat([pairs, cosine.argmax(dim=1)[pairs[:, 0], None]], dim=1)


rules = {"random": random_triplets, "semi-hard": metric.semi_hard_triplets, "hardest": hardest_triplets}
rows = []
for name, choose in rules.items():
    method = Triplets(choose)
    changes = {"labels": train.labels, "batch_size": 128, "lr": 2e-3}
    learn(method, simclr_recipe, train.images, steps=40, **changes)
    h, h_test = features(method.encoder, train.images), features(method.encoder, test.images)
    health = diagnostics.diagnose(embed(method, test.images[:500]))
    rows.append(
        {
            "negatives": name,
            "with a gradient, at first": mean(method.active[:5]),
            "at the end": mean(method.active[-5:]),
            "spread of z (0: collapsed)": health.evidence["spread"],
            "kNN": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
        }
    )
plots.table(rows, "Triplets with labels, 40 steps of 128 pictures, margin 0.2", floatfmt=".2f")

# %% [markdown]
# ## Step 5: does the batch have to be large?
#
# "Contrastive learning needs large batches" is in every text. Where would it come from? Look at the gradient of NT-Xent
# on the positive's cosine, from chapter 13: $-(1-p_+)/\tau$, with $p_+$ the softmax weight of the positive. The whole
# gradient of an anchor, pull and push, carries the factor $1 - p_+$. With few negatives the game is easy, $p_+$ is near
# 1, and the anchor stops learning. [Yeh et al. (2022)](https://arxiv.org/abs/2110.06848) call it the
# *negative-positive coupling*, and take the positive out of the denominator (**DCL**, their eq. 6):
#
# $$L_\text{DCL} = -\frac{s_+}{\tau} + \log\sum_{j\in\text{negatives}} e^{s_j/\tau},\qquad \frac{\partial L_\text{DCL}}{\partial s_+} = -\frac1\tau,\qquad \frac{\partial L_\text{DCL}}{\partial s_j} = \frac{r_j}{\tau}.$$
#
# (The cookbook prints DCL, like NT-Xent, without logarithm and temperature, and with $(i,k)\ne\mathcal P$ where
# $(i,k)\notin\mathcal P$ is meant.) The factor is gone. It can be measured: take the trained embeddings, cut them into batches of $B$ pictures,
# and average $1 - p_+$.

# %%


# fmt: off
def dcl(z1, z2, tau):
    z, n = F.normalize(torch.cat([z1, z2]), dim=1), len(z1)
    not_a_pair = ~torch.eye(n, dtype=torch.bool).repeat(2, 2)               # neither itself nor its partner
    negatives = (z @ z.T)[not_a_pair].view(2 * n, 2 * n - 2) / tau
    positive = (z * z.roll(n, 0)).sum(dim=1) / tau
    return (negatives.logsumexp(dim=1) - positive).mean()
# fmt: on


def coupling(z1, z2, batch: int, tau: float) -> float:
    """Mean of 1 - p+ over batches of `batch` pictures."""
    found = []
    for a, b in zip(z1.split(batch), z2.split(batch)):
        z = torch.cat([a, b])
        logits = (z @ z.T / tau).fill_diagonal_(-math.inf)
        found.append(1 - logits.softmax(dim=1)[torch.arange(len(z)), torch.arange(len(z)).roll(len(a))])
    return torch.cat(found).mean().item()


BATCHES = (4, 8, 16, 32, 64, 128, 256, 512)
factor = {b: coupling(zq[:1536], zk[:1536], b, TAU) for b in BATCHES}
fresh = simclr_recipe.build(seed=0).train()
with torch.no_grad():
    f1, f2 = (F.normalize(fresh.projector(fresh.encoder(v[:1536])), dim=1) for v in pair)
factor_fresh = {b: coupling(f1, f2, b, TAU) for b in BATCHES}
fig, ax = plots.new_figure(6.0, 2.9)
ax.plot(BATCHES, list(factor.values()), "o-", label="trained (MoCo v2)")
ax.plot(BATCHES, list(factor_fresh.values()), "s--", label="untrained")
ax.axhline(1, color=plots.GRAY, linestyle=":", label="DCL: always 1")
ax.set(
    xscale="log",
    ylim=(0, 1.08),
    xlabel="batch (pictures)",
    ylabel="mean factor 1 - p+",
    title="NT-Xent mutes the gradient of small batches",
)
ax.set_xticks(BATCHES, [str(b) for b in BATCHES])
ax.minorticks_off()
ax.legend(loc="lower right")
plots.show(
    fig,
    alt="The factor 1 - p+ on the gradient of NT-Xent against the batch size: for the trained network it rises from "
    f"{factor[4]:.2f} at 4 pictures to {factor[512]:.2f} at 512; for DCL it is always 1.",
)

# %%
# NBVAL_CHECK_OUTPUT
print("DCL agrees with the package:", torch.allclose(dcl(z1, z2, 0.2), contrastive.dcl(z1, z2, 0.2)))
s = torch.tensor([0.9, 0.2, -0.1], dtype=torch.float64, requires_grad=True)
(gradient,) = torch.autograd.grad(s[1:].div(0.1).logsumexp(dim=0) - s[0] / 0.1, s)
print("DCL's pull on a positive that is found already, times tau:", round(-0.1 * gradient[0].item(), 3))
(gradient,) = torch.autograd.grad(s.div(0.1).logsumexp(dim=0) - s[0] / 0.1, s)
print("NT-Xent's:", round(-0.1 * gradient[0].item(), 3))

# %% [markdown]
# A muted gradient is not the end of the world, though. If the factor is the same for all anchors, a larger learning
# rate undoes it, and Adam undoes it by itself. So the claim "small batches fail" must be tested at **equal pictures
# seen** and with a **tuned learning rate** ([Balestriero et al., 2023](https://arxiv.org/abs/2304.12210), section
# 3.5.1, call the usual claim misleading). The record does both: the same number of pictures in each run; learning
# rate by the square-root rule, and, for batch 32, also the unscaled one. (Equal pictures also means that a batch of 32
# takes 16 times as many optimiser steps as a batch of 512. On an idle GPU that costs time; it is not free.)

# %%
batches = grouped("batch", "arm_name", "batch")
show_lines(batches, "Equal pictures seen: batch size and DCL", "batch (pictures)")

# %% [markdown]
# ### A queue for a small batch, and two temperatures
#
# MoCo's own answer is to let the queue supply the negatives whatever the batch is. And a third answer: [Zhang et al.
# (2022)](https://arxiv.org/abs/2203.17248) split the two jobs of the temperature. Inside an anchor it shares the push
# among the negatives; between anchors it decides, through $1-p_+$, who still learns. Give each job its own: $\tau_\alpha$
# (low) for the shares, $\tau_\beta$ (high) for the weight of the anchor. With $W_\tau = 1 - p_+^{(\tau)}$ and
# $\mathrm{sg}$ for "no gradient":
#
# $$L = -\,\mathrm{sg}\!\left[\frac{W_{\tau_\beta}}{W_{\tau_\alpha}}\right]\log p_+^{(\tau_\alpha)} .$$
#
# The gradient of $-\log p_+^{(\tau_\alpha)}$ carries $W_{\tau_\alpha}$; the fraction takes it out and puts
# $W_{\tau_\beta}$ in.

# %%


def dual_temperature(positive, negatives, low: float = 0.1, high: float = 1.0):
    """positive [N, 1], negatives [N, K]: cosines."""
    scores = torch.cat([positive, negatives], dim=1)
    log_p = {t: (scores / t).log_softmax(dim=1)[:, 0] for t in (low, high)}
    w = {t: 1 - log_p[t].exp() for t in (low, high)}
    return -((w[high] / w[low].clamp(min=1e-6)).detach() * log_p[low]).mean()


# %%
# NBVAL_CHECK_OUTPUT
own, others = (
    torch.rand(5, 1, generator=generator).double(),
    torch.rand(5, 40, generator=generator).double() - 0.5,
)
plain = F.cross_entropy(torch.cat([own, others], dim=1) / 0.1, torch.zeros(5, dtype=torch.long))
print("equal temperatures give InfoNCE:", torch.allclose(dual_temperature(own, others, 0.1, 0.1), plain))
own.requires_grad_()
(gradient,) = torch.autograd.grad(dual_temperature(own, others), own)
weight = 1 - (torch.cat([own, others], dim=1) / 1.0).softmax(dim=1)[:, :1]
print(
    "the pull on each positive is W at the high temperature / low temperature:",
    torch.allclose(-5 * gradient, weight / 0.1),
)

# %%
queues = grouped("queue", "loss_name", "queue_size")
show_lines(queues, "MoCo v2 with a batch of 64: how long a queue?", "queue (keys)")

# %% [markdown]
# Before you read the right end as "many negatives hurt", count something else. The world has 8,192 pictures. In a queue
# of 4,096 keys, how often is there an *older key of the very picture that is asked for*: a false negative that no
# augmentation excuses?

# %%


def own_key_in_queue(queue: int, batch: int, steps: int = 8) -> float:
    """Share of queries whose picture has an older key in the queue, over passes 2 to `steps`."""
    per_pass, wait = IMAGES // batch, queue // batch
    found = []
    for step in range(per_pass, steps * per_pass, 5):
        queued = torch.cat(
            [batch_indices(IMAGES, batch, s, seed=0) for s in range(max(0, step - wait), step)]
        )
        found.append(torch.isin(batch_indices(IMAGES, batch, step, seed=0), queued).double().mean())
    return torch.stack(found).mean().item()


own_old = {k: own_key_in_queue(k, N, 4) for k in (256, QUEUE, 4096)}
for k, share in own_old.items():
    print(
        f"queue of {k:>4} ({k / IMAGES:.0%} of the pictures): {share:.1%} of the queries meet an old key of their own picture"
    )
print(f"MoCo on ImageNet: a queue of {65536 / 1_281_167:.0%} of the pictures")

# %% [markdown]
# ## Step 6: other answers, a few lines each
#
# **NNCLR** ([Dwibedi et al., 2021](https://arxiv.org/abs/2104.14548)) uses the queue for *positives*: replace a view by
# its nearest neighbour in the queue, $\mathrm{NN}(z_1, Q)$, and let $z_2$ find that. If the neighbour is of the same
# kind, the network learns something no augmentation could tell it. How often is it? (A guess: one in ten.)
#
# **ReLIC** ([Mitrovic et al., 2021](https://arxiv.org/abs/2010.07922), eq. 3) keeps the negatives and adds that the *whole
# distribution over the candidates* should not depend on the augmentation: a Kullback-Leibler divergence between the
# softmax of view 1 and that of view 2. (Its successor ReLICv2, [Tomasev et al.,
# 2022](https://arxiv.org/abs/2201.05119), adds multi-crop and masks out backgrounds.)

# %%


def nn_clr(z1, z2, queue, tau):
    neighbour = queue[(F.normalize(z1, dim=1) @ F.normalize(queue, dim=1).T).argmax(dim=1)]
    logits = F.normalize(neighbour, dim=1) @ F.normalize(z2, dim=1).T / tau
    return F.cross_entropy(logits, torch.arange(len(z1)))


def re_lic(z1, z2, tau, alpha):
    logits = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / tau
    log_p, log_q, right = logits.log_softmax(dim=1), logits.T.log_softmax(dim=1), torch.arange(len(z1))
    divergence = partial(F.kl_div, log_target=True, reduction="batchmean")
    kl = divergence(log_q, log_p) + divergence(log_p, log_q)
    return (F.nll_loss(log_p, right) + F.nll_loss(log_q, right)) / 2 + alpha * kl / 2


# %%
# NBVAL_CHECK_OUTPUT
support = torch.randn(30, 16, generator=generator).double()
print(
    "NNCLR agrees with the package:",
    torch.allclose(nn_clr(z1, z2, support, 0.2), contrastive.nnclr(z1, z2, support, 0.2)),
)
print(
    "ReLIC agrees with the package:",
    torch.allclose(re_lic(z1, z2, 0.2, 0.5), contrastive.relic(z1, z2, 0.2, 0.5)),
)

# %%
nearest_is_same = same_sorted[:, 0].mean().item()
light = {arm: row for arm, row in sweep("neighbours").items()}
drop = {name: mean(light[f"{name}, full"]) - mean(light[f"{name}, light"]) for name in ("SimCLR", "NNCLR")}
print(f"the nearest of 1,999 other pictures is of the same kind for {nearest_is_same:.0%} of the queries")
show_bars(light, "Crop and flip only (light) against the full policy")

# %% [markdown]
# **SSCD** ([Pizzi et al., 2022](https://arxiv.org/abs/2202.10261)) wants to find *copies*: the same photograph, cropped
# and recoloured by somebody. For that, two different boats should be far apart, so false negatives are welcome, and the
# paper pushes harder, with the Kozachenko-Leonenko estimate of the entropy of the embeddings: minus the mean log
# distance to the nearest neighbour that is not a copy. The record trains with and without it, and then looks for each
# of 1,000 test pictures among 1,000 edited ones.

# %%
columns = {
    "copy found first": "recall",
    "average precision": "copy_ap",
    "uniformity": "uniformity",
    "probe": "probe",
}
entropy = {name: sweep("entropy", key) for name, key in columns.items()}
plots.table(
    [{"weight": arm} | {name: mean(entropy[name][arm]) for name in columns} for arm in entropy["probe"]],
    "NT-Xent plus weight times the entropy term (uniformity: lower is more spread)",
    floatfmt=".3f",
)
print(origin)

# %% [markdown]
# **One encoder or two; the original as a view.** Nothing says that both views must pass the same network, nor that both
# must be distorted. Two end-to-end encoders, each seeing one of the two views, and the plain picture as the first view:

# %%
others_arms = {f"{arm} encoder{'s' * (arm == 'two')}": row for arm, row in sweep("encoders").items()} | sweep(
    "positives"
)
show_bars(others_arms, "InfoNCE in both directions, batch negatives")

# %% [markdown]
# **SimCLR v2** ([Chen et al., 2020](https://arxiv.org/abs/2006.10029)) adds a third layer to the head (and a MoCo-style
# memory, worth about a point), and a recipe for few labels: pretrain without labels, fine-tune a *large* teacher on the
# few labels you have, then let it label everything, and train a student on the teacher's soft answers,
#
# $$L = -\sum_{x}\sum_y P_T(y\mid x)\,\log P_S(y\mid x), \qquad P(y \mid x) \propto \exp(f_y(x)/T_\text{soft}).$$
#
# In miniature, with the MoCo encoder you have just trained and 40 labels: the teacher is a linear probe on it; the
# student starts from the same encoder and learns from the teacher's answers on the 8,192 unlabeled pictures.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssl_lessons.data import label_subset

FEW = 4  # labels per class


class Student(Method):
    """Learns soft labels [n, C], one row per training picture."""

    needs_index = True

    def __init__(self, encoder, soft_labels):
        super().__init__()
        self.encoder, self.projector = encoder, nn.Linear(encoder.dim, soft_labels.shape[1])
        self.register_buffer("soft_labels", soft_labels)

    def views(self, policy):
        return (policy,)

    def forward(self, views, labels, index):
        return F.cross_entropy(self.embed(views[0]), self.soft_labels[index])  # soft targets


h_train, h_test, h_all = (features(moco.encoder, x) for x in (train.images, test.images, unlabeled.images))


def distil(seed: int, steps: int = 48) -> tuple[float, float]:
    """Test accuracy of the teacher and of its student."""
    chosen = label_subset(train.labels, FEW, seed=seed)
    teacher = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    teacher.fit(h_train[chosen].numpy(), train.labels[chosen].numpy())
    soft = torch.from_numpy(teacher.predict_proba(h_all.numpy())).float()
    student = Student(copy.deepcopy(moco.encoder), soft.log().mul(2).softmax(dim=1))  # temperature 1/2: surer
    learn(student, simclr_recipe, unlabeled.images, steps, seed=seed, lr=2e-3)
    answers = features(nn.Sequential(student.encoder, student.projector), test.images).argmax(dim=1)
    right = (answers == test.labels).double().mean().item()
    return teacher.score(h_test.numpy(), test.labels.numpy()), right


distilled = [distil(seed) for seed in range(2)]
plots.table(
    [{"draw": str(i + 1), "teacher": t, "student": s} for i, (t, s) in enumerate(distilled)],
    f"Test accuracy with {FEW * len(train.classes)} labels (chance {chance:.0%}): the student saw only its teacher's answers",
    floatfmt=".1%",
)

# %% [markdown]
# Compare the two columns honestly. The paper's student gains because its teacher is large, fine-tuned, and mostly right.
# A teacher that is wrong more often than right, and a student with a second or two of training, are another matter.
#
# **No negatives at all.** The last answer to "my batch is too small" is to need none: BYOL and SimSiam replace them by
# a predictor and a stop-gradient. That is chapter 15.

# %% [markdown]
# ## What goes wrong
#
# **Bug 1: a queue without normalisation.** Forget the two `F.normalize` in MoCo and the score is a dot product: a long
# key is a strong negative, a long query has a low temperature. The network can win by making embeddings long instead
# of good. The same twenty lines, 40 steps, with and without unit length:

# %%


def short_moco(unit: bool, steps: int = 40):
    torch.manual_seed(0)
    method = MyMoCo(recipes.get_recipe("quick").build(0).encoder, QUEUE, 0.99, 0.1, unit=unit)
    rows = learn(method, moco_recipe, unlabeled.images, steps)
    h, h_test = features(method.encoder, train.images), features(method.encoder, test.images)
    lengths = method.queue.norm(dim=1)
    return {
        "first loss": rows[0]["loss"],
        "last loss": mean([row["loss"] for row in rows[-5:]]),
        "mean length in the queue": lengths.mean().item(),
        "longest / shortest": (lengths.max() / lengths.min()).item(),
        "kNN": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
    }


unit_rows = {name: short_moco(unit) for name, unit in (("unit length", True), ("any length", False))}
plots.table(
    [{"embeddings": name} | row for name, row in unit_rows.items()],
    f"MoCo, 40 steps (chance loss {math.log(QUEUE + 1):.2f})",
    floatfmt=".2f",
)

# %% [markdown]
# *How to see it*: print the lengths of the rows of the queue. They must all be 1.
#
# **Bug 2: enqueue first, then compute the loss.** The positive key is now in the queue as well: every query has its
# own right answer among its negatives. You know this one from chapter 13 as the unmasked self-pair; here it hides in
# the order of two lines. A perfect network shows it:

# %%
# NBVAL_CHECK_OUTPUT
perfect = torch.eye(64).double()  # 64 pictures whose two views agree, all orthogonal to each other
for name, negatives in (
    ("loss, then enqueue", torch.eye(128)[64:, :64].double()),
    ("enqueue, then loss", perfect),
):
    print(
        f"{name}: loss of a perfect network {contrastive.info_nce(perfect, perfect, negatives, 0.02).item():.3f}"
    )
print(f"log 2 = {math.log(2):.3f}")

# %% [markdown]
# **Bug 3: momentum 0, or one that does not fit the run.** With $m=0$ the keys of the queue come from encoders that no
# longer exist. You have seen the film, and the bars above. *How to see it*: the cosine between a fresh and an old key
# of the same picture, at the age of the queue. If a query no longer finds its own key there, the negatives are noise.
#
# **Bug 4: BatchNorm tells.** Imitate 8 devices: BatchNorm sees 32 pictures at a time, in the same groups for queries
# and keys. Then shuffle the keys over the groups, as MoCo does. If the network cheats, you see it as a *lower loss with
# a worse network*:

# %%
leak = {key: sweep("statistics", key) for key in ("loss", "probe")}
names = {"shuffle False": "same groups as the queries", "shuffle True": "shuffled over the groups"}
plots.table(
    [
        {"keys": names[arm], "loss": f"{mean(leak['loss'][arm]):.2f}"} | spread(row)
        for arm, row in leak["probe"].items()
    ],
    "MoCo v2 with the statistics of 8 groups of 32: loss, and probe with 100 labels",
    floatfmt=".1%",
)
print(origin)
gain = {key: mean(leak[key]["shuffle False"]) - mean(leak[key]["shuffle True"]) for key in leak}
cheats = gain["loss"] < -0.02 and gain["probe"] < -0.02
print("The leak shows in this record." if cheats else "The leak does not show in this record.")

# %% [markdown]
# (A batch of 32 of our pictures has much the same statistics as any other, and a run of this length is short: the paper
# saw the pretext accuracy shoot up and the features get worse on ImageNet. A leak is a reason to *check*, not a law.)
#
# ## Play: the age of a key
#
# The film of your run. Left: cosines of today's queries with keys of the same picture and of others. Right: how often
# the own key is closer than another. Three inputs: how old the keys are, how slow their encoder was, and whether you
# look early, in the middle, or late in the training. Watch three things: momentum 0 with the age of a queue (8 steps)
# and of a bank (32); momentum 0.999 at age 0; and everything *late*, when the learning rate has gone to zero.

# %%
widgets.explore(
    partial(staleness.render_keys, film=film),
    staleness.controls(film),
    static=[
        {"age": 0, "momentum": 0.0},
        {"age": 32, "momentum": 0.99},
        {"age": 32, "momentum": 0.999},
        {"age": 32, "momentum": 0.0, "moment": "early"},
        {"age": 32, "momentum": 0.99, "moment": "early"},
        {"age": 32, "momentum": 0.0, "moment": "late"},
    ],
    alt=partial(staleness.describe_keys, film=film),
    columns=2,
)

# %% [markdown]
# > **Try.** (1) Which momentum is best for keys of age 0, and which for keys that are 32 steps old? Early, and late?
# > (2) Why does staleness almost vanish late in the training, and what does that say about a memory bank with a
# > cosine schedule?

# %% [markdown]
# ## Exercises
#
# Replace `return NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on your answers.
#
# ### 1 · The queue (••, 8 minutes)
#
# A ring of $K$ rows. `pointer` is the place of the oldest. Put $N\le K$ new keys, at unit length, over the oldest.
#
# <details><summary>Hint 1</summary>Which places do the N oldest rows have? They follow the pointer.</details>
# <details><summary>Hint 2</summary>After place K - 1 comes place 0: take everything modulo K.</details>
# <details><summary>Hint 3</summary>Clone the queue; do not write into the argument.</details>

# %%


def enqueue(queue: torch.Tensor, pointer: int, keys: torch.Tensor) -> torch.Tensor:
    """queue [K, D], keys [N, D] -> the new queue [K, D]"""
    return NOT_ATTEMPTED


ch14.check_enqueue(enqueue)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def enqueue(queue, pointer, keys):
#     queue = queue.clone()
#     places = (pointer + torch.arange(len(keys))) % len(queue)
#     queue[places] = F.normalize(keys, dim=1)
#     return queue
# ```
# </details>
#
# ### 2 · A momentum for your run (•, 4 minutes)
#
# You want the influence of old weights to halve every `half_life` steps. Which momentum is that? (Do not look it up:
# solve for it.)
#
# <details><summary>Hint 1</summary>Weights of s steps ago count m to the power s.</details>
# <details><summary>Hint 2</summary>Set s to the half-life and the weight to one half.</details>

# %%


def momentum_for(half_life: float) -> float:
    return NOT_ATTEMPTED


ch14.check_momentum_for(momentum_for)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def momentum_for(half_life):
#     return 0.5 ** (1 / half_life)
# ```
#
# The common 1 - 1/h is the momentum whose weights fall to 1/e, not to a half, after about h steps.
# </details>
#
# ### 3 · Hard on purpose (••, 8 minutes)
#
# The weights of HCL: proportional to $e^{\beta s/\tau}$, mean 1 over the $K$ negatives of each anchor.
#
# <details><summary>Hint 1</summary>A softmax sums to 1. What must you multiply by, to get mean 1?</details>
# <details><summary>Hint 2</summary>With beta = 0, every weight must be exactly 1.</details>

# %%


def hard_weights(similarities: torch.Tensor, temperature: float, beta: float) -> torch.Tensor:
    """[N, K] cosines -> [N, K] weights, every row with mean 1."""
    return NOT_ATTEMPTED


ch14.check_hard_weights(hard_weights)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def hard_weights(similarities, temperature, beta):
#     return similarities.shape[1] * (beta * similarities / temperature).softmax(dim=1)
# ```
# </details>
#
# ### 4 · Be the oracle (•••, 12 minutes)
#
# The mask of the oracle: which candidates must be left out of an anchor's denominator, given the labels of the $N$
# pictures? Views are ordered as in `torch.cat([z1, z2])`.
#
# <details><summary>Hint 1</summary>Compare the labels of all 2N views with each other.</details>
# <details><summary>Hint 2</summary>The partner has the anchor's label too. It must stay: it is the positive.</details>
# <details><summary>Hint 3</summary>The anchor itself goes, as always.</details>

# %%


def left_out(labels: torch.Tensor) -> torch.Tensor:
    """labels [N] -> bool [2N, 2N], True where column j is left out of the denominator of row i."""
    return NOT_ATTEMPTED


ch14.check_false_negative_mask(left_out)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def left_out(labels):
#     y = labels.repeat(2)
#     mask = y[:, None] == y
#     views = torch.arange(len(y))
#     mask[views, views.roll(len(labels))] = False
#     return mask
# ```
# </details>

# %% [markdown]
# ## Claims put to the test
#
# Each verdict is computed by a rule you can read here. Two probes count as different if their means differ by more
# than `GAP`: with few seeds, a smaller difference is chance.

# %%
GAP = 0.03


def verdict(holds: bool, partly: bool = False) -> str:
    return "reproduced" if holds else "mixed" if partly else "not reproduced here"


def probes(values: dict) -> dict:
    return {name: mean(row) for name, row in values.items()}


nt, unscaled, decoupled = (batches[name] for name in ("NT-Xent", "NT-Xent, learning rate not scaled", "DCL"))
small, large = mean(nt[32]), mean(nt[512])
book.claim(
    "C-27",
    "Contrastive learning needs large batches.",
    verdict(large > small + GAP and mean(nt[128]) > small + GAP, large > small + GAP),
    {f"NT-Xent probe, batch {b}": mean(nt[b]) for b in sorted(nt)},
    "chen2020simple",
)
tuned = max(small, mean(unscaled[32]))
book.claim(
    "C-28",
    "That is misleading: with a tuned learning rate, small batches work.",
    verdict(tuned > max(mean(row) for row in nt.values()) - GAP, tuned > large - GAP),
    {
        "batch 32, square-root rule": small,
        "batch 32, not scaled": mean(unscaled[32]),
        "best batch": max(mean(row) for row in nt.values()),
    },
    "balestriero2023cookbook",
)
book.claim(
    "C-31",
    "Small-batch SimCLR loses little.",
    verdict(large - tuned < GAP, large - tuned < 3 * GAP),
    {"lost from batch 512 to batch 32": large - tuned},
    "balestriero2023cookbook",
)
gain = {b: mean(decoupled[b]) - mean(nt[b]) for b in sorted(nt)}
book.claim(
    "C-29",
    "DCL works with small batches (where NT-Xent suffers).",
    verdict(gain[32] > GAP and gain[32] > gain[512], gain[32] > 0),
    {f"DCL minus NT-Xent, batch {b}": g for b, g in gain.items()},
    "yeh2022decoupled",
)
book.claim(
    "C-30",
    "The positive in the denominator is the cause: it mutes the gradient of small batches.",
    verdict(factor[8] < 0.8 * factor[512] and gain[32] > GAP, factor[8] < 0.8 * factor[512]),
    {
        "factor 1 - p+ at 8": factor[8],
        "at 32": factor[32],
        "at 512": factor[512],
        "gain of DCL at 32": gain[32],
    },
    "yeh2022decoupled",
)

# %%
plain_queue, dual, dcl_queue = queues["InfoNCE"], queues["dual temperature"], queues["DCL"]
book.claim(
    "C-32",
    "A queue decouples the number of negatives from the batch.",
    verdict(max(mean(row) for k, row in plain_queue.items() if k > 64) > mean(plain_queue[64]) + GAP),
    {f"batch 64, queue {k}": mean(row) for k, row in plain_queue.items()},
    "he2020momentum",
)
book.claim(
    "C-33",
    "With DCL, MoCo needs a queue of 256 only.",
    verdict(mean(dcl_queue[256]) > max(mean(row) for row in dcl_queue.values()) - GAP),
    {f"DCL, queue {k}": mean(row) for k, row in dcl_queue.items()},
    "balestriero2023cookbook",
)


def wobble(row: dict) -> float:
    return max(map(mean, row.values())) - min(map(mean, row.values()))


book.claim(
    "C-40",
    "Two temperatures make MoCo robust to the size of its dictionary.",
    verdict(wobble(dual) < wobble(plain_queue) - GAP / 2, wobble(dual) < wobble(plain_queue)),
    {"best minus worst queue, one temperature": wobble(plain_queue), "two": wobble(dual)}
    | {f"two, queue {k}": mean(row) for k, row in dual.items()},
    "zhang2022dual",
)
bank, in_queue = 1 - seen[0.0][-1].steady, 1 - seen[0.99][QUEUE // N // 4].steady
book.claim(
    "C-34",
    "Features in a memory bank go stale; the keys of a momentum encoder do not.",
    verdict(bank > 0.1 and in_queue < bank / 3, in_queue < bank),
    {
        "bank, one pass old: 1 - cosine with a new one": bank,
        "momentum 0.99, at the queue's end": in_queue,
        "momentum 0.99, one pass old": 1 - seen[0.99][-1].steady,
    },
    "jaiswal2021survey",
)
book.claim(
    "C-41",
    "A momentum of 0.999 beats 0.9 (MoCo).",
    verdict(mean(momentum[0.999]) > mean(momentum[0.9]) + GAP, mean(momentum[0.999]) > mean(momentum[0.9])),
    {
        f"m = {m:g} (half-life {0 if not m else -math.log(2) / math.log(m):.0f} of {record[0]['steps']} steps)": mean(
            row
        )
        for m, row in momentum.items()
    },
    "he2020momentum",
)

# %%
sharp, soft = ({k: mean(row) for k, row in hard_rows.items() if k[0] == t} for t in (0.1, 0.5))
helps_soft = soft[0.5, 1, 0.1] > soft[0.5, 0, 0.1] + GAP
helps_sharp = sharp[0.1, 1, 0.1] > sharp[0.1, 0, 0.1] + GAP
by_name = {
    name: mean([r["probe"] for r in families if r["method"] == name and r["arm"] == "minute"])
    for name in ("moco_v2", "mochi")
}
helps_chi = by_name["mochi"] > by_name["moco_v2"] + GAP
book.claim(
    "C-35",
    "Hard negatives improve representations.",
    verdict(helps_soft and helps_sharp and helps_chi, helps_soft or helps_sharp or helps_chi),
    {f"HCL, temperature {t:g}, beta {beta:g}": p for (t, beta, plus), p in {**soft, **sharp}.items() if plus}
    | {"MoCo v2": by_name["moco_v2"], "MoCHi": by_name["mochi"]},
    "robinson2021contrastive",
)
tenth, half = push_sorted[:, :200].sum(dim=1).mean().item(), push_sorted[:, 1000:].sum(dim=1).mean().item()
book.claim(
    "C-36",
    "Softmax losses with a temperature focus on hard negatives by themselves.",
    verdict(tenth > 0.2),
    f"The most similar tenth of 1,999 negatives takes {tenth:.0%} of the push (all alike: 10%). Rule: over 20%.",
    "balestriero2023cookbook",
)
book.claim(
    "C-37",
    "Easy negatives contribute little.",
    verdict(half < 0.1),
    f"The less similar half takes {half:.1%} of the push (all alike: 50%). Rule: under 10%.",
    "jaiswal2021survey",
)
oracle_gain = mean(by_oracle["oracle"]) - mean(by_oracle["all negatives"])
book.claim(
    "C-38",
    "Negatives of the same class hurt.",
    verdict(oracle_gain > GAP, oracle_gain > 0),
    probes(by_oracle) | {"share of the push that falls on false negatives": wasted},
    "jaiswal2021survey",
)
book.claim(
    "C-39",
    "Neighbours as positives (NNCLR) allow lighter augmentation.",
    verdict(
        mean(light["NNCLR, light"]) > mean(light["SimCLR, light"]) + GAP and drop["NNCLR"] < drop["SimCLR"]
    ),
    probes(light) | {f"lost by {name} without colour": d for name, d in drop.items()},
    "dwibedi2021little",
)

# %% [markdown]
# Which of these rest on the live run (C-30 in part, C-34, C-36, C-37) and which on the record of short runs, you can
# tell from the cells. All of them are statements about a small world and short trainings. Where a claim inverts here,
# the interesting question is which of its conditions is missing; for the momentum, you derived it.

# %% [markdown]
# ## Where it comes from, where it went
#
# Exemplar-CNN ([Dosovitskiy et al., 2014](https://arxiv.org/abs/1406.6909)) made every picture a class, with a weight
# vector each. Instance discrimination ([Wu et al., 2018](https://arxiv.org/abs/1805.01978)) replaced the weights by a
# memory bank, PIRL ([Misra and van der Maaten, 2020](https://arxiv.org/abs/1912.01991)) fed it jigsaws, CMC ([Tian et
# al., 2020](https://arxiv.org/abs/1906.05849)) several views. MoCo ([He et al.,
# 2020](https://arxiv.org/abs/1911.05722)) exchanged the bank for a queue and a momentum encoder; SimCLR ([Chen et al.,
# 2020](https://arxiv.org/abs/2002.05709)) exchanged both for a large batch; MoCo v2
# ([2020](https://arxiv.org/abs/2003.04297)) took SimCLR's head and augmentation back to the queue, SimCLR v2
# ([2020](https://arxiv.org/abs/2006.10029)) took MoCo's memory, and MoCo v3 ([2021](https://arxiv.org/abs/2104.02057))
# kept only the momentum encoder. BYOL ([Grill et al., 2020](https://arxiv.org/abs/2006.07733)) kept the momentum
# encoder and threw out the negatives.
#
# In other fields the question "which negatives?" has its own answers: frames of the *same* video a little later (time-
# contrastive networks, [Sermanet et al., 2018](https://arxiv.org/abs/1704.06888)) or sentences of the same document are
# hard negatives for free; histopathology ([Ciga et al., 2022](https://arxiv.org/abs/2011.13971)) cares about patches of
# one slide; time series can be mixed and the mixing proportion predicted ([Wickstrøm et al.,
# 2022](https://arxiv.org/abs/2203.09270)). More than one positive view per picture ([Tian et al.,
# 2020](https://arxiv.org/abs/1906.05849)) lowers the variance of the pull.
#
# **Further reading.** [Arora et al. (2019)](https://arxiv.org/abs/1902.09229) prove that class collisions put a floor
# under what negatives can do. [Wang and Liu (2021)](https://arxiv.org/abs/2012.09740) call the conflict of step 4 the
# uniformity-tolerance dilemma. [Tian (2022)](https://arxiv.org/abs/2201.12680) reads contrastive losses as
# coordinate-wise games in which the shares $r_j$ are chosen by an adversary.
# [Garrido et al. (2023)](https://arxiv.org/abs/2206.02574) retune SimCLR's projector before comparing it, and find
# most of the distance to newer methods gone.
#
# ### Quiz
#
# **1.** A colleague trains MoCo for 20 epochs of 100 steps and copies $m=0.999$ from the paper. What do you tell them?
#
# <details><summary>Answer</summary>$1/(1-m)=1000$ steps is half of the whole training of 2,000: queries are compared
# with the answers of a much younger network. With a queue of a few dozen steps, $1/(1-m)$ of 50 to 200 steps fits, so
# $m$ from 0.98 to 0.995, with room on both sides.</details>
#
# **2.** You double the memory bank's data set. What happens to the negatives of a query?
#
# <details><summary>Answer</summary>There are twice as many, and they are twice as old: an entry is renewed once per
# pass, and a pass takes twice as many steps. In a queue neither number changes.</details>
#
# **3.** HCL with $\beta = 1$ improves your model at temperature 0.5 but hurts at 0.1. Is that a contradiction?
#
# <details><summary>Answer</summary>No. In the shares of the push, $\beta$ acts like the temperature $\tau/(1+\beta)$ on
# the negatives: 0.25 in the first case, 0.05 in the second. At 0.05 almost all of the push falls on a few nearest
# pictures, and those are the ones most likely to be of the query's own kind.</details>
