# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 14 · Where do negatives come from, and how old may they be?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/14_negatives.ipynb)
#
# **After this chapter you can**
#
# - name the ways to collect negatives, and say for each how many there are, how old, and who gets a gradient;
# - write MoCo (momentum contrast) in twenty lines, and say what arithmetic tells about its momentum, and what it does
#   not;
# - measure how fast an old embedding goes stale, and whether its age gives it away.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb) (InfoNCE, NT-Xent, the temperature).
# **Time**: 35 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("14")

# %% [markdown]
# ## The puzzle: how long does an answer keep?
#
# A contrastive loss compares a picture with many others, and for every comparison a network has to run. Here is an
# obvious saving: yesterday's embeddings are still in memory, so compare with those.
#
# Let a small SimCLR train for two passes over its 8,192 pictures (64 steps). Every eight steps, write down what it says
# about the same 256 pictures, always the plain picture, nothing random. Then look at step 48, and compare what the
# network says there with what it said before.
#
# > **Predict before you go on.** One pass ago is 32 steps ago. (1) What is the cosine between a picture's embedding
# > now and the embedding of *the very same picture* one pass ago (two random directions: about 0)? (2) Let each
# > picture look for the most similar entry among the 256 answers of one pass ago. How often is it the same picture (a
# > guess: 0.4 %)?

# %%
import copy
import math
from functools import partial
from statistics import fmean as mean

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch14
from ssl_lessons.book.widgets import staleness
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.losses import contrastive, instance
from ssl_lessons.methods import Method
from ssl_lessons.models import projection_head
from ssl_lessons.training import batch_indices, default_monitor, pretrain, recipes

N, IMAGES = 256, 8192
EPOCH = IMAGES // N  # steps per pass
unlabeled = data.shapes("unlabeled", n=IMAGES)
train, test = data.shapes("train", n=2000), data.shapes("test", n=2000)
chance = 1 / len(train.classes)


# %%
def embed(method: Method, images: torch.Tensor) -> torch.Tensor:
    """Unit-length z [n, D] of plain images, in evaluation mode."""
    both = nn.Sequential(method.encoder, method.projector)
    return F.normalize(evaluation.extract_features(both, images), dim=1)


def learn(method: Method, recipe, steps: int, images=unlabeled.images) -> list[dict]:
    """A quiet training with the recipe's settings; returns the history."""
    policies = method.views(recipe.policy)
    return pretrain(
        method, images, policies, steps=steps, progress=False, **recipe.training()
    )


# %%
simclr_recipe = recipes.get_recipe("quick")
simclr, diary = simclr_recipe.build(seed=0), []
staleness.every_few_steps(
    simclr, 8, lambda method: diary.append(embed(method, train.images[:N]))
)
learn(simclr, simclr_recipe, steps=2 * EPOCH)


def compare(now: torch.Tensor, then: torch.Tensor) -> dict:
    """Embeddings [n, D] of the same pictures at two times."""
    cosine = now @ then.T
    own, n = cosine.diagonal(), len(now)
    found = (cosine.argmax(dim=1) == torch.arange(n)).float().mean().item()
    others = ((cosine.sum() - own.sum()) / (n * (n - 1))).item()
    return {"same": own.mean().item(), "others": others, "finds itself": found}


# %% tags=["hide-input"]
NOW = 48 // 8
aged = {8 * i: compare(diary[NOW], diary[NOW - i]) for i in range(NOW)}
plots.table(
    [{"age (steps)": age} | row for age, row in aged.items()],
    f"Step 48 against older answers ({N} pictures; one pass: {EPOCH} steps)",
    {
        "age (steps)": "age (steps)",
        "same": "cosine, same picture",
        "others": "cosine, others",
        "finds itself": "finds itself",
    },
    {"same": ".2f", "others": ".2f", "finds itself": ".0%"},
)
pass_ago = (diary[NOW] * diary[NOW - EPOCH // 8]).sum(dim=1)
plots.show(
    plots.image_grid(
        train.images[:8],
        columns=8,
        titles=[f"{c:.2f}" for c in pass_ago[:8].tolist()],
        title="The same picture, one pass apart: cosine of its two answers",
    ),
    alt="Eight drawings. Above each the cosine between its embedding now and one pass "
    f"ago; the mean over {N} pictures is {pass_ago.mean():.2f}.",
)
print(
    f"one pass ago: {aged[EPOCH]['same']:.2f}, found {aged[EPOCH]['finds itself']:.0%}"
)

# %% [markdown]
# Not a single pixel has changed; the network has. The cosine has hardly fallen. Yet most pictures no longer find
# themselves: different pictures lie close together this early, so a small move carries a picture past its neighbours.
# **What matters is not how far an embedding has moved, but whether it is still closer than the others**; a cosine
# alone cannot tell you that.
#
# So old embeddings have a price, and the history of this family is the history of getting more negatives without
# paying it.

# %%
assert aged[0]["finds itself"] == 1 and aged[0]["same"] > 0.999
assert aged[EPOCH]["same"] > 0.8 and aged[EPOCH]["others"] > 0.5
assert 2 / N < aged[EPOCH]["finds itself"] < 0.5

# %% [markdown]
# ## Step 1: where the others come from
#
# A survey ([Jaiswal et al., 2020](https://arxiv.org/abs/2011.00362), section 3) sorts the architectures by where the
# other pictures come from. Three of its four ways need negatives:
#
# 1. **End to end**: the rest of the batch, encoded now (SimCLR).
# 2. **Memory bank**: one stored embedding per training picture, renewed when the picture comes by ([Wu et al.,
#    2018](https://arxiv.org/abs/1805.01978); PIRL, [Misra and van der Maaten, 2020](https://arxiv.org/abs/1912.01991)).
# 3. **Momentum encoder**: a queue of recent embeddings, made by a second encoder that changes slowly (MoCo, [He et al.,
#    2020](https://arxiv.org/abs/1911.05722)).
#
# (The fourth compares with cluster centres: [chapter 17](17_clustering.ipynb).) How old is a negative
# when it is used? You need not train anything to know: the order of the batches decides.

# %%
QUEUE, WIDTH = 2048, 128  # keys in MoCo's queue; numbers in one z


def ages_in_bank(steps: int = 9 * EPOCH // 2) -> torch.Tensor:
    """Ages, in steps, of all bank entries in the middle of the fifth pass."""
    last = torch.full((IMAGES,), -1)
    for step in range(steps):
        last[batch_indices(IMAGES, N, step, seed=0)] = step
    return (steps - last).double()


ways = {  # negatives of one query, their ages, numbers kept in memory
    "the batch": (2 * N - 2, torch.zeros(1), 0),
    "a memory bank": (IMAGES - 1, ages_in_bank(), WIDTH * IMAGES),
    "a queue": (QUEUE, torch.arange(1.0, QUEUE // N + 1), WIDTH * QUEUE),
}

# %% tags=["hide-input"]
plots.table(
    [
        {
            "from": way,
            "k": k,
            "mean": age.mean().item(),
            "max": age.max().item(),
            "kept": kept,
        }
        for way, (k, age, kept) in ways.items()
    ],
    f"The negatives of one query: batch of {N}, {IMAGES:,} pictures, ages in steps",
    {
        "from": "negatives from",
        "k": "how many",
        "mean": "mean age",
        "max": "oldest",
        "kept": "numbers kept",
    },
    {"mean": ".1f", "max": ".0f", "k": ",", "kept": ","},
)
assert ways["a memory bank"][1].max() > 4 * ways["a queue"][1].max()

# %% [markdown]
# An entry of the bank is renewed after one pass on average and nearly two at worst, so on average it is more than half
# a pass old. On ImageNet, with 1.28 million pictures, that is thousands of steps; a queue stays as short as you like.
# **A queue's length is a choice, a bank's is the size of the data.**
#
# Who is moved? Ask autograd: take the loss of a single anchor, and look at the gradient that arrives at the pixels of
# *another* picture. (In evaluation mode, or BatchNorm would connect all pictures anyway.) In MoCo the others have come
# by a step earlier and wait in the queue.

# %%
moco_recipe = recipes.get_recipe("quick", method="moco_v2")
first, second = views.make_views(
    train.images[:8], (moco_recipe.policy,) * 2, torch.Generator().manual_seed(0)
)
reached = {}
for name, recipe in (("SimCLR", simclr_recipe), ("MoCo", moco_recipe)):
    method, pixels = recipe.build(seed=0).eval(), second.clone().requires_grad_()
    if name == "SimCLR":
        z = F.normalize(method.embed(torch.cat([first, pixels])), dim=1)
        loss = F.cross_entropy(z[:1] @ z[1:].T / 0.1, torch.tensor([7]))
    else:
        method.queue.push(method.teacher(pixels))  # eight keys, a step earlier
        loss = method([first[:1], pixels[:1]])
    loss.backward()
    reached[name] = pixels.grad is not None and bool(pixels.grad[1].abs().max() > 0)
    print(f"{name}: a negative's pixels get a gradient: {reached[name]}")
assert reached == {"SimCLR": True, "MoCo": False}

# %% [markdown]
# In the batch both ends of every push move; from a queue, or a bank, only the query does.
#
# ## Step 2: the memory bank
#
# Instance discrimination ([Wu et al., 2018](https://arxiv.org/abs/1805.01978)) takes the idea of a classifier to its
# end: every picture is a class of its own. A classifier over $n$ classes needs $n$ weight vectors; with one example per
# class, let the example *be* the weight. That is the **non-parametric softmax** (their equation 2)
#
# $$P(i\mid v) = \frac{\exp(b_i^\top v/\tau)}{\sum_{j=1}^n \exp(b_j^\top v/\tau)}, \qquad L = -\log P(i \mid v_i),$$
#
# $v_i = z_i/\lVert z_i\rVert$: the embedding of one view of picture $i$; $b_j$: the embedding that picture $j$ had last
# time, a row of the **memory bank** $[n, D]$; $\tau$: the temperature. Only one view is needed per step: the other one
# is in the bank. For 1.28 million pictures the paper estimates the denominator by the noise-contrastive estimation of
# [chapter 13](13_from_nce_to_nt_xent.ipynb); for 8,192 you can afford it.


# %%
def non_parametric_softmax(z, bank, index, tau):
    """z [N, D], bank [n, D] of unit rows, index [N]: the rows of the bank of z."""
    v = F.normalize(z, dim=1)
    logits = v @ bank.T / tau  # [N, n]
    return (logits.logsumexp(dim=1) - logits.gather(1, index[:, None])[:, 0]).mean()


generator = torch.Generator().manual_seed(0)
z, bank = (torch.randn(n, 16, generator=generator).double() for n in (6, 40))
bank, index = F.normalize(bank, dim=1), torch.tensor([3, 8, 39, 0, 21, 7])
ours = non_parametric_softmax(z, bank, index, 0.2)
assert torch.allclose(ours, instance.instdisc(z, bank, index, temperature=0.2))

# %% [markdown]
# A picture's row is renewed once per pass, so its label jumps once per pass. Two things soften the jump. The paper
# adds a **proximal term** $\lambda\lVert v_i - b_i\rVert^2$ ([Parikh and Boyd,
# 2014](https://web.stanford.edu/~boyd/papers/prox_algs.html)), and its authors' code mixes: the new row is half the
# old one, half the new embedding, brought to unit length. Eight passes over 1,024 pictures, with and without the
# proximal term:


# %%
def train_bank(proximal: float, images: int = 1024, passes: int = 8) -> dict:
    recipe = recipes.get_recipe("quick", method="instdisc")
    recipe = recipe.with_(options=recipe.options | {"proximal": proximal})
    method, rows, moves = recipe.build(0, n_images=images), [], []

    def write(method):  # how far the rows of this step moved
        if rows:
            moved = (method.bank.rows.cpu() - rows.pop()).square().sum(dim=1)
            moves.append(moved[moved > 0].mean().item())
        rows.append(method.bank.rows.clone().cpu())

    staleness.every_few_steps(method, 1, write)
    few = unlabeled.images[:images]
    history = learn(method, recipe, passes * images // N, few)
    per_pass = images // N
    return {
        "first": sum(moves[:per_pass]) / per_pass,
        "last": sum(moves[-per_pass:]) / per_pass,
        "loss": history[-1]["loss"] if not proximal else None,
        "others": compare(*[embed(method, test.images[:500])] * 2)["others"],
    }


banks = {proximal: train_bank(proximal) for proximal in (0.0, 5.0)}

# %% tags=["hide-input"]
plots.table(
    [{"lambda": f"{p:g}"} | row for p, row in banks.items()],
    f"Eight passes with a bank of 1,024 rows (chance: a loss of {math.log(1024):.2f})",
    {
        "lambda": "lambda",
        "first": "squared jump of a row, pass 1",
        "last": "pass 8",
        "loss": "loss at the end",
        "others": "cosine of different pictures",
    },
    {"first": ".2f", "last": ".2f", "loss": ".2f", "others": ".2f"},
)

# %%
record, origin = book.recorded("negatives", world=2)


def recorded(group: str, arm: str, key: str = "probe") -> list[float]:
    """One value per seed."""
    return book.per_seed(record, key, group=group, arm=arm)


LONG, UNTRAINED = 40 * EPOCH, "untrained"
floor = recorded("floor", UNTRAINED)
learned_bank = {k: recorded("long", "memory bank", k) for k in ("loss", "probe")}
print(
    f"recorded: {LONG:,} steps, 40 passes over 8,192 pictures: loss "
    + ", ".join(f"{x:.2f}" for x in learned_bank["loss"])
    + f" (chance {math.log(IMAGES):.2f}), probe "
    + ", ".join(f"{x:.0%}" for x in learned_bank["probe"])
    + f" (untrained {mean(floor):.0%})"
)
for row in banks.values():
    assert row["others"] > 0.9 and row["last"] < row["first"] / 5
assert abs(banks[0.0]["loss"] - math.log(1024)) < 0.15
assert max(learned_bank["loss"]) < math.log(IMAGES) - 0.5
assert min(learned_bank["probe"]) > mean(floor) + 0.05

# %% [markdown]
# The jumps all but vanish, and it would be easy to write that the bank has settled. It has not: the loss (printed
# without the term) is at chance and different pictures have nearly the same embedding. **Nothing jumps where everything
# stands on one spot**, with the proximal term and without. Thirty-two steps are little; the 1,280 steps of the record
# do teach something. Never read stability alone; put the spread beside it.
#
# ## Step 3: a queue, and an encoder that changes slowly
#
# MoCo ([He et al., 2020](https://arxiv.org/abs/1911.05722)) makes two moves.
#
# **The queue.** Keep the keys of the last $K/N$ batches, first in, first out. The loss is InfoNCE with the query's own
# key and $K$ negatives (their equation 1; $q$, $k_+$: query and key, two views of one picture, unit length, $[D]$):
#
# $$L_q = -\log\frac{\exp(q^\top k_+/\tau)}{\exp(q^\top k_+/\tau) + \sum_{j=1}^K \exp(q^\top k_j/\tau)} .$$
#
# **The momentum encoder.** Keys come from a second network of the same architecture. No gradient reaches it; it follows
# (their equation 2) $\theta_k \leftarrow m\,\theta_k + (1-m)\,\theta_q$, with the momentum $m$. Unroll it:
#
# $$\theta_k^{(t)} = (1-m)\sum_{s\ge 0} m^s\,\theta_q^{(t-s)} ,$$
#
# where $\theta_q$ before step 0 means the first weights. The key encoder is an average over the past. Weights from $s$
# steps ago count $m^s$, so their **half-life** is $\ln 2/(-\ln m)$ and their mean age $m/(1-m)$, both close to a
# multiple of $1/(1-m)$. There are two clocks, and the length of the run:
#
# - a key waits at most $K/N$ steps in the queue. In that time the key encoder should not change much, or old and new
#   keys speak different languages: $\;K/N \lesssim 1/(1-m)$;
# - the key encoder is about $1/(1-m)$ steps behind. If that is a large part of the training, of $T$ steps, queries are
#   compared with the answers of a beginner: $\;1/(1-m) \lesssim T$, the smaller the better.
#
# $$\boxed{\;K/N\;\lesssim\;\frac{1}{1-m}\;\lesssim\;T\;}$$
#
# That is an argument, not a theorem, and it leaves a wide range. Put in the paper's numbers, and ours:

# %%
STEPS = 240


def fits(m: float, wait: float, steps: float) -> str:
    lag = 1 / (1 - m)
    if lag < wait:
        return "too fast for the queue"
    return "too slow for the run" if lag > steps else "fits"


RUNS = {  # K / N, T
    "ImageNet, 200 epochs": (65536 // 256, 200 * 1_281_167 // 256),
    "this chapter": (QUEUE // N, STEPS),
}
for name, (wait, steps) in RUNS.items():
    print(f"{name}: a key waits up to {wait} steps, training lasts {steps:,}")
    for m in (0.0, 0.9, 0.99, 0.999, 0.9999):
        half = math.log(2) / -math.log(m) if m else 0
        print(f"    m = {m:<6} half-life {half:6.1f} steps: {fits(m, wait, steps)}")

# %% [markdown]
# > **Predict.** With a queue of 4,096 (keys wait 16 steps) the paper found 0.999 better than 0.99, better than 0.9, and
# > no learning at all with $m = 0$ (section 4.1). Which of 0, 0.9, 0.99, 0.999 is best in a run of 240 steps (a guess:
# > one in four)? And is $m = 0$ hopeless?
#
# ### MoCo in twenty lines


# %%
class MyMoCo(Method):
    def __init__(self, encoder, size: int, m: float, tau: float):
        super().__init__()
        self.encoder, self.m, self.tau = encoder, m, tau
        self.projector = projection_head(encoder.dim, encoder.dim, WIDTH)
        query_net = nn.Sequential(self.encoder, self.projector)
        self.key_net = copy.deepcopy(query_net).requires_grad_(False)
        queue = F.normalize(torch.randn(size, WIDTH), dim=1)  # newest first
        self.register_buffer("queue", queue)

    def forward(self, views, labels=None):
        q = F.normalize(self.projector(self.encoder(views[0])), dim=1)  # [N, D]
        with torch.no_grad():
            self.k = F.normalize(self.key_net(views[1]), dim=1)  # [N, D]
        positive = (q * self.k).sum(dim=1, keepdim=True)  # [N, 1]
        logits = torch.cat([positive, q @ self.queue.T], dim=1) / self.tau
        return F.cross_entropy(logits, logits.new_zeros(len(q), dtype=torch.long))

    @torch.no_grad()
    def after_step(self, progress):
        query_net = nn.Sequential(self.encoder, self.projector)
        pairs = zip(query_net.parameters(), self.key_net.parameters(), strict=True)
        for theta_q, theta_k in pairs:
            theta_k.mul_(self.m).add_(theta_q, alpha=1 - self.m)
        self.queue = torch.cat([self.k, self.queue])[: len(self.queue)]


# %% tags=["hide-input"]
package = moco_recipe.build(seed=0)
mine = MyMoCo(package.encoder, QUEUE, package.momentum, package.temperature)
mine.encoder, mine.projector = package.encoder, package.projector
mine.queue, mine.key_net = package.queue.rows.flip(0), copy.deepcopy(package.teacher)
for step in range(12):
    pictures = unlabeled.images[32 * step : 32 * step + 32]
    policies = (moco_recipe.policy,) * 2
    batch = views.make_views(pictures, policies, torch.Generator().manual_seed(step))
    assert torch.allclose(mine(batch), package(batch), atol=1e-5)
    with torch.no_grad():  # pretend that an optimiser moved the weights
        for p in [*package.encoder.parameters(), *package.projector.parameters()]:
            p.mul_(1.01)
    mine.after_step(0.5), package.after_step(0.5)
print("12 steps: the same losses as the package, which writes into a ring instead")

# %% [markdown]
# **BatchNorm whispers.** In the key encoder it uses the statistics of the key batch. A query and its positive key then
# come from the same batch, the negatives from earlier ones: a hint at the right answer that has nothing to do with the
# picture. With 8 devices and 32 pictures each the hint is loud, and MoCo *shuffles* the keys over the devices (section
# 3.3 of the paper). Over one batch of 256 it should be fainter; this run leaves it.
#
# **v1, v2, v3.** MoCo v2 ([Chen et al., 2020](https://arxiv.org/abs/2003.04297)) is MoCo with two things from SimCLR:
# the MLP head and stronger augmentation. MoCo v3 ([Chen et al., 2021](https://arxiv.org/abs/2104.02057)) drops the
# queue again, for large batches, and keeps the momentum encoder.
#
# ## The run: MoCo v2
#
# 240 steps, $K$ = 2,048. While it trains, a camera runs: four key encoders follow the query encoder with four momenta
# (only the one with 0.99 is used for training), and every eight steps all of them embed the same 96 pictures, in two
# fixed views.

# %%
FILMED = (0.0, 0.9, 0.99, 0.999)
moco = moco_recipe.build(seed=0)
camera = staleness.Camera(moco, train.images[:96], moco_recipe.policy, FILMED, every=8)
history = pretrain(
    moco,
    unlabeled.images,
    moco.views(moco_recipe.policy),
    steps=STEPS,
    seed=0,
    monitor=default_monitor(train, STEPS),
    on_measure=plots.watch(
        "MoCo v2",
        "Training curves of MoCo v2: loss, kNN accuracy, spread and rank.",
        chance=chance,
        chance_loss=moco.chance_loss(N),
    ),
    **moco_recipe.training(),
)
film = camera.film()

# %% tags=["hide-input"]
SHOWN = {
    "raw pixels": ("floor", "pixels"),
    "the same encoder, untrained": ("floor", UNTRAINED),
    "MoCo v2, 0": ("momentum", "0"),
    "MoCo v2, 0.9": ("momentum", "0.9"),
    "MoCo v2, 0.99": ("momentum", "0.99"),
    "MoCo v2, 0.999": ("momentum", "0.999"),
    "SimCLR (the batch), same steps": ("plain", "NT-Xent"),
}
table = [{"run": "chance", "probe": chance, "spread": "", "knn": chance}] + [
    {
        "run": name,
        "probe": mean(recorded(*where)),
        "spread": f"{min(recorded(*where)):.1%} to {max(recorded(*where)):.1%}",
        "knn": mean(recorded(*where, "knn")),
    }
    for name, where in SHOWN.items()
]
plots.table(
    table,
    f"{STEPS} steps of {N}, {len(floor)} seeds: momentum and its rivals",
    {
        "run": "run",
        "probe": "probe, 100 labels",
        "spread": "over seeds",
        "knn": "kNN, 2,000 labels",
    },
    {"probe": ".1%", "knn": ".1%"},
)
print(origin)
long = {m: recorded("long", m) for m in ("0.99", "0")}
print(
    f"five times as long, {LONG:,} steps: momentum 0.99 {mean(long['0.99']):.1%}, "
    f"momentum 0 {mean(long['0']):.1%} (seeds: {len(long['0'])})"
)
moved = {m: mean([x[0] for x in recorded("long", m, "aged_momentum_32")]) for m in long}
print(
    "moved in 32 steps:",
    ", ".join(f"{m}: {x:.3f}" for m, x in moved.items()),
)

# %%
MOMENTA = ("0", "0.9", "0.99", "0.999")
assert all(mean(recorded("momentum", m)) > mean(floor) + 0.03 for m in MOMENTA)
ranked = {m: mean(recorded("momentum", m)) for m in MOMENTA}
assert min(ranked["0.999"], ranked["0.99"]) > max(ranked["0.9"], ranked["0"]) + 0.005
assert abs(ranked["0.999"] - ranked["0.99"]) < 0.03
assert ranked["0.9"] < ranked["0"] + 0.01 and abs(0.999**STEPS - 0.79) < 0.005
assert all(
    mean(recorded("momentum", m, "knn")) < mean(recorded("floor", "pixels", "knn"))
    for m in MOMENTA
)
assert min(recorded("plain", "NT-Xent")) > mean(recorded("momentum", "0.99")) + 0.05
assert mean(long["0.99"]) > ranked["0.99"] + 0.1
assert max(long["0"]) < ranked["0"] + 0.1
assert moved["0"] > 3 * moved["0.99"]
assert max(long["0"]) < min(long["0.99"]) - 0.1

# %% [markdown]
# Raw pixels win the last column against every one of the four queues, and SimCLR with its fresh negatives wins both
# columns at the same number of steps (with SimCLR's learning rate: no other was chosen for MoCo). MoCo has learned
# something here, not much.
#
# Among the momenta, 0.999 and 0.99 are close together and lead 0.9 and 0. **The box did not foresee that.** It called
# 0.999 too slow for this run, since at the end the first weights still make up 79 % of its key encoder: nearly a fixed
# random target, and no worse for it. And 0.9, which fits, probes no better than 0. So take the box as a warning, not as
# a choice.
#
# Is $m = 0$ hopeless? After 240 steps you could not tell. Given 1,280 steps you can: momentum 0.99 goes on learning,
# and momentum 0 stays about where it was. Its keys are less steady, which fits the first clock: within 32 steps they
# turn away much further (`moved`: 1 minus the cosine of a key and its fresh version, from step 72 on).
#
# ## The film: who goes stale, and who gives its age away?
#
# Three things can go wrong with a key. Take them from the film of your run, 72 steps in.
#
# - **Inconsistent**: the encoder that made it would say something else about the same view today.
# - **Out of reach**: today's query is not closer to it than to other pictures' keys.
# - **Dated**: the positive key is always fresh and the negatives have waited. If a fresh key of *any* picture is
#   closer to a query than an old key of any other, the network can tell the positive by its age, without looking at
#   the picture. Count over all pairs, a fresh and an old key of other pictures: 50 % is no clue at all.

# %%
WAIT = QUEUE // N
ages = range(0, EPOCH + 1, 8)
early = {m: {a: staleness.compare(film, m, a, "early") for a in ages} for m in FILMED}
clue = {
    (m, moment): staleness.age_clue(film, m, WAIT, moment)
    for m in FILMED
    for moment in ("early", "late")
}

# %% tags=["hide-input"]
fig, axes = plots.new_figure(9.0, 3.0, 1, 2)
for m, style, color in zip(FILMED, ("-", "--", "-.", ":"), plots.COLORS, strict=False):
    seen = early[m].values()
    axes[0].plot(ages, [s.steady for s in seen], style, color=color, label=f"m = {m:g}")
    axes[1].plot(ages, [100 * s.wins for s in seen], style, color=color)
for ax in axes:
    ax.axvspan(0, WAIT, color="#888888", alpha=0.2, zorder=0)
    ax.set_xlabel("age of the key (steps); grey: the queue")
axes[0].set(
    title="For a whole pass only the slowest keeps", ylabel="cosine of old and new key"
)
axes[1].set(title="The slowest is found least, at any age", ylabel="own key closer (%)")
axes[1].axhline(50, color=plots.GRAY, linestyle=":")
axes[0].legend()
plots.show(
    fig,
    alt="Left: cosine of old and new keys against age at step 72, one curve per "
    "momentum. Right: how often a query is closer to its own old key than to another. "
    + "; ".join(
        f"m {m:g}: {early[m][WAIT].steady:.2f} at the queue's end, "
        f"{early[m][EPOCH].steady:.2f} one pass old, own key closer "
        f"{early[m][WAIT].wins:.0%}"
        for m in FILMED
    ),
)
plots.table(
    [
        {"momentum": f"{m:g}", "early": clue[m, "early"], "late": clue[m, "late"]}
        for m in FILMED
    ],
    f"A fresh key is closer than one of {WAIT} steps ago (50 %: no clue)",
    {"momentum": "momentum", "early": "early (step 72)", "late": "late (step 240)"},
    {"early": ".0%", "late": ".0%"},
)

# %%
steady = {age: [early[m][age].steady for m in FILMED] for age in (WAIT, EPOCH)}
assert max(steady[WAIT]) - min(steady[WAIT]) < 0.05 and min(steady[WAIT]) > 0.9
assert steady[EPOCH][3] > max(steady[EPOCH][:3]) + 0.05
assert steady[EPOCH][1] < steady[EPOCH][0] + 0.1
ends = [mean([row["loss"] for row in history[a:b]]) for a, b in ((80, 140), (220, 240))]
assert ends[1] > ends[0] + 0.05
others = {age: min(early[m][age].wins for m in FILMED[:3]) for age in ages}
assert all(early[0.999][age].wins < least for age, least in others.items())
assert early[0.999][0].wins < early[0.0][0].wins - 0.05
assert clue[0.99, "early"] > clue[0.0, "early"] + 0.05
assert all(abs(clue[m, "late"] - 0.5) < 0.05 for m in FILMED[:3])
assert all(abs(early[m][WAIT].wins - early[m][0].wins) < 0.06 for m in (0.0, 0.9, 0.99))

# %% [markdown]
# Left: in the queue's eight steps all four are steady. Over a whole pass, where a memory bank has to live, only 0.999
# keeps; the others are much less steady, even 0.99, whose lag of 100 steps the first clock calls enough. Right: being
# slow costs reach, as the second clock says; the price is paid at age 0 already, and inside the queue age adds little.
#
# The table is the surprise: **slowness does not hide age.** The keys of a slow encoder drift little, but all in one
# direction, towards where the queries are now; so the fresh one is closer more often than not. Late, at a learning rate
# near zero, the clue is gone for all but 0.999 (still catching up). That fits the loss of the run, which *rises*
# towards the end: the game has lost its easy part. (It fits; one run does not prove it.) A low contrastive loss in the
# middle of a MoCo run may partly be a clock reading.
#
# ## How long a queue?
#
# The first clock asks for a short queue, and there is a second reason. The world has 8,192 pictures. In a queue
# of 2,048 keys there may be an *older key of the very picture that is asked for*: a false negative that no augmentation
# excuses. Count them.


# %%
def own_key_in_queue(queue: int, passes: int = 8) -> float:
    """Share of queries whose picture has an older key in the queue, after pass 1."""
    wait, found = queue // N, []
    for step in range(EPOCH, passes * EPOCH):
        queued = torch.cat(
            [batch_indices(IMAGES, N, s, seed=0) for s in range(step - wait, step)]
        )
        now = batch_indices(IMAGES, N, step, seed=0)
        found.append(torch.isin(now, queued).float().mean().item())
    return mean(found)


meets_itself = {k: own_key_in_queue(k) for k in (256, QUEUE, 4096)}
for k, share in meets_itself.items():
    print(
        f"queue {k:>5}, {k / IMAGES:3.0%} of all pictures: {share:.1%} meet themselves"
    )
print(f"MoCo on ImageNet: a queue of {65536 / 1_281_167:.0%} of the pictures")
assert (
    meets_itself[256] < 0.005 < meets_itself[QUEUE] < 0.06 < meets_itself[4096] < 0.25
)

# %% [markdown]
# Far fewer than the queue's share of the pictures, since within a pass no picture comes twice (exercise 4 derives the
# number). On ImageNet the effect is negligible; in a small world a long queue is not free.
#
# ## What goes wrong
#
# **Enqueue first, then compute the loss.** The positive key is now in the queue as well: every query has its own right
# answer among its negatives. **Forget a normalisation**, and a long key is a strong negative. **Let the key encoder
# learn**, or let it stand still. None of these crashes.


# %%
def slips(method: Method, two: list[torch.Tensor]) -> list[str]:
    """What is wrong with a MoCo, from one forward and one step with two views."""
    before, n = method.queue.clone(), len(two[0])
    loss, theta = method(two), next(method.key_net.parameters()).clone()
    loss.backward()
    learns = any(p.grad is not None for p in method.key_net.parameters())
    met = bool((method.queue[:n] != before[:n]).any())
    with torch.no_grad():
        for p in method.encoder.parameters():
            p.add_(0.01)
    method.after_step(0.5)
    length, fresh = method.queue.norm(dim=1), F.normalize(method.k, dim=1)
    moved = (next(method.key_net.parameters()) - theta).abs().max().item()
    questions = {
        "a gradient reaches the keys": learns,
        "the keys are in the queue before the loss": met,
        "rows without unit length": bool((length - 1).abs().max() > 1e-4),
        "the newest keys are not in front": not torch.allclose(
            F.normalize(method.queue[:n], dim=1), fresh, atol=1e-4
        ),
        "the key encoder stands still": moved == 0,
        "the key encoder jumps": moved > 0.009,
    }
    return [words for words, wrong in questions.items() if wrong]


# %%
class EnqueueFirst(MyMoCo):
    def forward(self, views, labels=None):
        with torch.no_grad():
            k = F.normalize(self.key_net(views[1]), dim=1)
        self.queue = torch.cat([k, self.queue])[: len(self.queue)]
        return super().forward(views)


class LongKeys(MyMoCo):
    def after_step(self, progress):
        self.k = 3 * self.k  # as if the keys were stored without normalisation
        super().after_step(progress)


def built(kind, m: float = 0.99) -> Method:
    torch.manual_seed(0)
    return kind(recipes.get_recipe("quick").build(0).encoder, 256, m, 0.1)


# %%
policies = (moco_recipe.policy,) * 2
pictures = views.make_views(
    unlabeled.images[:32], policies, torch.Generator().manual_seed(0)
)
for kind, m in ((MyMoCo, 0.99), (EnqueueFirst, 0.99), (LongKeys, 0.99), (MyMoCo, 0.0)):
    found = slips(built(kind, m), pictures)
    print(f"{kind.__name__}, momentum {m:g}: {'; '.join(found) or 'nothing found'}")
assert not slips(built(MyMoCo), pictures) and slips(built(MyMoCo, 0.0), pictures)
assert "the keys are in the queue before the loss" in slips(
    built(EnqueueFirst), pictures
)
assert "rows without unit length" in slips(built(LongKeys), pictures)
apart = torch.eye(
    64
).double()  # a perfect network: 64 pictures, orthogonal, views agree
floor_loss = contrastive.info_nce(apart, apart, apart, 0.02).item()
assert abs(floor_loss - math.log(2)) < 1e-3
print(f"enqueued first, a perfect network has a loss of {floor_loss:.3f} = log 2")

# %% [markdown]
# A momentum of 0 is found (the key encoder jumps); one that is badly chosen is no slip of code, and no test of one step
# finds it. Measure it as the film
# does: the cosine of an old and a fresh key of the same view at the queue's age.
#
# ## Play: the age of a key
#
# The film of your run. Left: cosines of today's queries with keys of the same picture and of others. Right: how often
# the own key is closer than another. **Set the age to 0, the moment to "early", and go through the four momenta: whose
# fresh keys do the queries find worst? Then go to "late": has it caught up?**

# %%
widgets.explore(
    partial(staleness.render_keys, film=film),
    staleness.controls(film, age=0),
    static=[
        {"age": 0, "momentum": 0.999, "moment": "early"},
        {"age": 0, "momentum": 0.99, "moment": "early"},
        {"age": 32, "momentum": 0.0, "moment": "early"},
        {"age": 0, "momentum": 0.999, "moment": "late"},
    ],
    alt=partial(staleness.describe_keys, film=film),
    brief=partial(staleness.brief_keys, film=film),
    columns=2,
)

# %%
fresh = {m: staleness.compare(film, m, 0, "early").wins for m in FILMED}
caught_up = staleness.compare(film, 0.999, 0, "late").wins
print(f"early: {', '.join(f'{m:g}: {w:.0%}' for m, w in fresh.items())}")
print(f"late, 0.999: {caught_up:.0%}")
assert min(fresh, key=fresh.get) == 0.999 and caught_up > fresh[0.999] + 0.05

# %% [markdown]
# The slowest encoder's, by far: 72 steps in it is still mostly the untrained network. Late it is about where the others
# were early.
#
# ## Exercises
#
# Replace a stub and run the cell. Solutions stand at the end.
#
# ### 1 · The queue as a ring (••, 8 minutes)
# Shifting all rows at every step is wasteful. Keep a ring: `queue` is a float tensor `[K, D]`, `pointer` (an int) the
# place of the oldest row, `keys` a float tensor `[N, D]` with $N\le K$. Return the new queue `[K, D]`, the keys at unit
# length over the oldest rows, in order. Do not write into the argument.
#
# <details><summary>Hint</summary>The oldest rows follow the pointer, and after place K - 1 comes place 0.</details>


# %%
def enqueue(queue: torch.Tensor, pointer: int, keys: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch14.check_enqueue(enqueue)

# %% [markdown]
# ### 2 · Momenta that fit (•, 5 minutes)
# Read the boxed inequality as a rule for choosing. `queue`, `batch` and `steps` are ints; return the lowest and the
# highest momentum it allows, two floats. Then put in the paper's batch of 256 and its queues of 4,096 (where it
# compared momenta) and 65,536: does 0.99 satisfy it?
#
# <details><summary>Hint</summary>Solve each half for m.</details>


# %%
def momentum_range(queue: int, batch: int, steps: int) -> tuple[float, float]:
    return NOT_ATTEMPTED


ch14.check_momentum_range(momentum_range)

# %% [markdown]
# ### 3 · A momentum by its half-life (•, 4 minutes)
# You want the influence of old weights to halve every `half_life` steps (a float above 0). Which momentum does it?
#
# <details><summary>Hint</summary>Weights of s steps ago count m to the power s.</details>


# %%
def momentum_for(half_life: float) -> float:
    return NOT_ATTEMPTED


ch14.check_momentum_for(momentum_for)

# %% [markdown]
# ### 4 · How often does a query meet itself? (•••, 15 minutes)
# Derive what the loop above counted. Every pass goes through all `images` in a new random order, in steps of `batch`;
# the queue holds the last `queue` keys (ints; `batch` divides both, `queue` is at most `images`). After the first
# pass: what share of the queries has an older key of its own picture in the queue? Return a float. Predict first: is
# it more or less than `queue / images`?
#
# <details><summary>Hint 1</summary>Let the picture's place be p in this pass and q in the last one, both from 0 to P -
# 1, P = images / batch. How old is the old key?</details>
# <details><summary>Hint 2</summary>It is p + P - q steps old. Count the pairs with an age of at most queue /
# batch.</details>


# %%
def meets_itself_share(images: int, queue: int, batch: int) -> float:
    return NOT_ATTEMPTED


ch14.check_meets_itself(meets_itself_share)

# %% [markdown]
# ## Claims, tested
#
# Recorded seeds, compared pair by pair. For ageing, keys of the same 128 views are made at steps 72 and 144 of MoCo's
# run by both of its encoders, the one that learns and the one that follows, and made again 32 steps later.

# %%
book.claim(
    "C-34",
    drawn=Runs(
        *(
            [mean(x) for x in recorded("momentum", "0.99", f"aged_{who}_32")]
            for who in ("momentum", "trained")
        )
    ),
)
book.claim(
    "C-41",
    drawn=Runs(recorded("momentum", "0.999"), recorded("momentum", "0.9"), floor),
    photographs=book.on_photographs(("momentum", "0.999"), ("momentum", "0.9")),
)
book.claim(
    "C-32",
    drawn=Runs(recorded("momentum", "0.99"), recorded("queue", "InfoNCE, 256"), floor),
)

# %% [markdown]
# Read C-41 with its half-life: 0.999 forgets half in 693 steps, nearly three times this run and a third of the one on
# photographs; it leads 0.9 in both. C-32 sets a queue of 2,048 against one of 256, early in training. C-34 compares at
# *equal* age.
#
# ## Where it comes from, where it went
#
# Exemplar-CNN ([Dosovitskiy et al., 2014](https://arxiv.org/abs/1406.6909)) made every picture a class. Instance
# discrimination replaced the weights by a memory bank, PIRL fed it jigsaws, CMC ([Tian et al.,
# 2020](https://arxiv.org/abs/1906.05849)) several views of a scene. MoCo exchanged the bank for a queue and a momentum
# encoder; SimCLR ([Chen et al., 2020](https://arxiv.org/abs/2002.05709)) exchanged both for a large batch. BYOL ([Grill
# et al., 2020](https://arxiv.org/abs/2006.07733)) kept the momentum encoder and threw out the negatives: [chapter
# 15](15_self_distillation.ipynb).
#
# **Next**: [chapter 14b](14b_which_negatives_help.ipynb).
#
# ## A question
#
# A colleague's MoCo has a beautifully low loss in the middle of training, and it rises when the learning rate decays.
# Is the schedule broken?
# <details><summary>Answer</summary>Not necessarily. While the encoders move, the fresh positive can be told from the
# old negatives by its age; when they stop, that clue is gone and the game gets harder. Look at a probe, and at how
# often a fresh key of any picture beats an old one.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def enqueue(queue, pointer, keys):
#     queue = queue.clone()
#     places = (pointer + torch.arange(len(keys))) % len(queue)
#     queue[places] = F.normalize(keys, dim=1)
#     return queue
#
#
# def momentum_range(queue, batch, steps):
#     # 0.99 does with a queue of 4,096 (at least 0.9375), not with 65,536 (at least 0.996).
#     return 1 - batch / queue, 1 - 1 / steps
#
#
# def momentum_for(half_life):
#     # 1 - 1/h is the momentum whose weights fall to 1/e, not to a half, in about h.
#     return 0.5 ** (1 / half_life)
#
#
# def meets_itself_share(images, queue, batch):
#     # Ages W = queue / batch, W - 1, ..., 1 leave 1, 2, ..., W pairs of places (p, q)
#     # of P squared. About half the square of queue / images, so less than that share.
#     wait, per_pass = queue // batch, images // batch
#     return wait * (wait + 1) / 2 / per_pass**2
# ```
