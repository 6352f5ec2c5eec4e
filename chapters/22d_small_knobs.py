# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 22d · Which of eleven small knobs moves anything?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/22d_small_knobs.ipynb)
#
# **After this chapter you can**
#
# - write LayerScale, stochastic depth and layer decay, and test that "off" is really off;
# - clean a messy pool of pictures without a label, and say what the cleaning found;
# - tell a knob that helps from a base that nobody tuned.
#
# **You need** [chapter 22](22_the_knobs.ipynb) (effects with intervals) and [chapter 18](18_masked_images.ipynb) (the
# tiny transformer).
# **Time**: 21 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.
# A companion to [chapter 22](22_the_knobs.ipynb).

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

device = book.setup("22d")

# %% [markdown]
# ## The puzzle: eleven pieces of advice
#
# Papers end with a paragraph of advice. Here are eleven pieces of it:
#
# *a transformer*: (1) smaller patches; (2) BatchNorm in the projector; (3) a class token instead of the mean; (4)
# LayerScale; (5) stochastic depth; (6) layer decay. *A schedule*: (7) keys from a slowly moving projector; (8) a
# temperature that moves. *Width and data*: (9) a wider output; (10) a pool curated by retrieval; (11) a messy pool does
# no harm.
#
# Each is measured against its own base: equal steps, three seeds that share pictures and, where shapes agree, first
# weights.
#
# > **Predict before you go on.** (1) Of how many of the eleven does the 90 % interval leave out zero? If none did
# > anything, about one would by luck. (2) Name the three with the largest effect, up or down: right by luck once in
# > 165. (3) What moves more, the largest of six transformer knobs, or a sixth of the rate in its base?

# %%
import math
from functools import partial
from statistics import fmean as mean

import torch

from ssl_lessons import data, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch22d
from ssl_lessons.book.widgets import small_knobs as page
from ssl_lessons.data import curation
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.models import ScaledBlock, build_encoder
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe

policy = get_recipe("quick").policy
train, test = (data.shapes(split, n=2000) for split in ("train", "test"))

# %% [markdown]
# ## Inside a block: a scale and a coin
#
# A block of a transformer adds two branches to what it gets, attention and then an MLP. Let $f$ be a branch with its
# LayerNorm and $x$ $[T, D]$ its input. LayerScale ([Touvron et al., 2021](https://arxiv.org/abs/2103.17239)) multiplies
# what is added by $D$ learned numbers $\ell$, which start small. Stochastic depth ([Huang et al.,
# 2016](https://arxiv.org/abs/1603.09382)) tosses a coin $b \in \{0, 1\}$ with $P(b = 1) = p$ and leaves the branch out
# on 0:
#
# $$y = x + \frac{b}{p}\, \mathrm{diag}(\ell)\, f(x), \qquad \mathbb{E}[y] = x + \mathrm{diag}(\ell)\, f(x).$$
#
# The expectation is what a test uses, so nothing is left to correct there. (The paper has no $1/p$ in training and a
# $p$ in the test: the same on average.) Block $i$ of $L$ has $p_i = 1 - (i / L)\, P$: the last is left out with $P$.


# %%
def branch(x, f, scale, drop, training=True):
    """x [N, T, D]; scale [D]; drop = 1 - p, tossed once for each picture."""
    added = scale * f(x)
    if training:
        b = torch.bernoulli(torch.full((len(x), 1, 1), 1 - drop))
        added = b / (1 - drop) * added
    return x + added


torch.manual_seed(0)
x = torch.randn(1, 4, 8).expand(20_000, -1, -1)
f, scale = torch.tanh, torch.rand(8)
average = branch(x, f, scale, drop=0.25).mean(dim=0)
still = branch(x, f, scale, 0.25, training=False)[0]
print(f"average of 20,000 tosses, largest error {(average - still).abs().max():.4f}")
assert (average - still).abs().max() < 0.03

# %% [markdown]
# Now the test that every such option deserves: *off* must be the network that you had, to the last digit that matters.

# %%
vit = build_encoder("vit").eval()
off = build_encoder("vit", layer_scale=1.0, drop_path=0.2).eval()
off.load_state_dict(vit.state_dict(), strict=False)
gap = (vit(views.normalize(test.images[:8])) - off(views.normalize(test.images[:8])))
assert gap.abs().max() < 1e-4
still_there = torch.randn(2, 16, 96)
assert torch.equal(ScaledBlock(96, 3, layer_scale=0.0)(still_there), still_there)

# %% [markdown]
# The other two choices of the drawing board are older. The *patch size* decides how many tokens a picture has,
# $T = (S / \text{patch})^2$ for a side $S$: halve it, and a block's work at least quadruples. A *class token* is one
# learned vector that travels with the patch tokens, and its output is the feature; the alternative is their mean.
#
# ## Rates that fall towards the input
#
# Layer decay, as ELECTRA has it ([Clark et al., 2020](https://arxiv.org/abs/2003.10555)), is for fine-tuning. Features
# near the input are general and should move little, so layer $l$ of $L$ (0 is the patch map, $L$ the new head) learns
# at
#
# $$\eta_l = \eta\, d^{\,L - l}, \qquad 0 < d \le 1 .$$

# %%
head = torch.nn.Linear(vit.dim, 10)
for group in evaluation.layer_groups(vit, head, lr=1e-3, decay=0.75):
    count = sum(p.numel() for p in group["params"])
    print(f"{count:7,d} numbers at {group['lr']:.1e}")

# %% [markdown]
# ## What moves slowly, what moves to and fro
#
# MoCo's keys come from a slow copy of the whole network. [Pham et al. (2022)](https://arxiv.org/abs/2208.05744) ask
# which part has to be slow, and answer: the projector. With the encoder $h = f_\theta(x)$, the projector $g_\phi$, and
# $\bar\phi$ its moving average,
#
# $$q = g_\phi(h), \qquad k = \mathrm{stop}\big(g_{\bar\phi}(h)\big), \qquad \bar\phi \leftarrow m\, \bar\phi + (1 - m)\, \phi ,$$
#
# and the loss is InfoNCE of $q$ of one view with $k$ of the other. One pass through the encoder does; a slow encoder
# needs two. Base: $\bar\phi = \phi$, also stopped.
#
# [Kukleva et al. (2023)](https://arxiv.org/abs/2303.13664) let the temperature of SimCLR swing, on data where some
# classes are rare:
#
# $$\tau(t) = \tau_- + (\tau_+ - \tau_-)\, \frac{1 + \cos(2 \pi t / T)}{2} .$$
#
# They find that a large $\tau$ tells groups apart, a small one single pictures. Here: two swings in a run, or one fall
# (*annealing*), on a pool in which the commonest kind comes a hundred times as often as the rarest.
# `benchmarks/small_knobs.py` has both methods.
#
# ## What is in the pool
#
# Here is a messy pool: three tenths pictures of objects, four tenths bare grounds, and the rest about sixteen noisy
# copies of each of a few pictures. DINOv2 ([Oquab et al., 2023](https://arxiv.org/abs/2304.07193)) cleans without
# labels: drop copies (of pictures linked by a cosine above a threshold, one stays), then keep what is among the $k$
# nearest of a small trusted set. Here the features come from SimCLR trained on the messy pool itself.

# %%
N, STEPS = 4096, 120
messy, shows = curation.messy_pool(N)
trusted = data.shapes("unlabeled", n=N + 256).images[N:]


def simclr(images, steps=STEPS):
    torch.manual_seed(0)
    method = SimCLR(build_encoder("convnet", width=16), 0.1)
    pretrain(method, images, (policy,) * 2, steps=steps, batch_size=128, lr=4e-3)
    return method.encoder.eval()


first = simclr(messy)

# %%
def curate(encoder, k=8):
    """Rows of the messy pool that stay: copies out, then neighbours of the trusted."""
    h = evaluation.extract_features(encoder, messy)
    centre = h.mean(dim=0)
    rows = curation.without_copies(h - centre, threshold=0.98)
    ask = evaluation.extract_features(encoder, trusted) - centre
    return rows, rows[curation.retrieved(ask, h[rows] - centre, k)]


single, chosen = curate(first)
second = simclr(messy[chosen])
share = {
    "the pool": shows,
    "without copies": shows[single],
    "curated": shows[chosen],
}
for name, found in share.items():
    print(f"{name}: {len(found)} pictures, {found.float().mean():.0%} show an object")

left = int((single >= N * 0.7).sum())  # the last three tenths of the pool are copies
print(f"copies that stay: {left} of {int(N * 0.3)}")
assert share["curated"].float().mean() > 0.95 > shows.float().mean() + 0.3
assert left < 0.1 * 0.3 * N

# %% tags=["hide-input"]
chance = torch.Generator().manual_seed(1)
some = [
    rows[torch.randperm(len(rows), generator=chance)[:10]]
    for rows in (torch.arange(N), single, chosen)
]
plots.show(
    plots.image_grid(
        messy[torch.cat(some)], columns=10,
        title="Ten at random, row by row: the pool; without copies; curated",
    ),
    alt="Three rows of ten pictures: from the messy pool, from the pool without "
    "copies, from the curated pool.",
)  # fmt: skip


def knn(encoder):
    h, h_test = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    return evaluation.knn_accuracy(h, train.labels, h_test, test.labels)


live = {"trained on the messy pool": knn(first), "trained on the curated": knn(second)}
for name, found in live.items():
    print(f"{name}: kNN {found:.1%}")

# %% [markdown]
# No label had a part in this, and hardly a bare ground is left: in SimCLR's features grounds lie among grounds. Of
# sixteen copies about one stays. Whether the features get better from it is another question. At equal steps the small
# pool is seen several times as often as the large one, the last two lines are one run each, and a pool of the same size
# drawn by lot is missing. The record has three seeds and that pool.
#
# ## The page: each knob against its base
#
# The *score* is kNN accuracy of frozen features (2,000 labels) where training saw no labels, and the accuracy of the
# whole network on new pictures where it did: LayerScale, stochastic depth, class token (six blocks, patches of 16 px,
# from scratch on 2,000 labels, pictures as they are) and layer decay (fine-tuned from SimCLR, patches of 16 px, 25
# labels a class). Each arm has the better of two rates in one run on another world, fixed and swing the better of two
# temperatures; pools and the tail share SimCLR's rate. What counts as advice was fixed before the runs.

# %%
record, origin = book.recorded("small_knobs")
effects = page.effects(record)


def floor(arm):
    return 100 * mean(book.per_seed(record, "score", part="floor", arm=arm))


lines = []
for knob, (d, low, high) in effects.items():
    group, base, advice = page.PAGE[knob]
    lines.append({
        "knob": knob, "base": f"{base} ({page.scores(record, group, base).mean():.1f})",
        "advice": f"{advice} ({page.scores(record, group, advice).mean():.1f})",
        "d": f"{d:+.1f} ({low:+.1f} to {high:+.1f})",
    })  # fmt: skip

# %% tags=["hide-input"]
plots.table(
    lines, "Score, points: advice against base, three seeds",
    {"knob": "knob", "base": "base (score)", "advice": "advice (score)",
     "d": "difference, 90 %"},
)  # fmt: skip
plots.table(
    [{"floor": "chance", "score": 10.0}]
    + [{"floor": name, "score": floor(arm)} for name, arm in {
        "raw pixels, kNN": "pixels", "edges, kNN": "edges",
        "conv net untrained, 256 wide": "256", "conv net untrained, 1024 wide": "1024",
        "transformer untrained, patch 8": "patch 8",
        "transformer untrained, patch 4": "patch 4",
        "transformer untrained, patch 16": "patch 16"}.items()],
    "What no training gives (%)", {"floor": "floor", "score": "kNN"}, {"score": ".1f"},
)  # fmt: skip
print(origin)

# %%
untrained = {"vit": "patch 8", "vit labels": "patch 16", "decay": "patch 16"}
near = set()  # arms that are not two points above their untrained network
for group, base, advice in page.PAGE.values():
    for arm in (base, advice):
        low = floor(arm if arm in ("patch 4", "1024") else untrained.get(group, "256"))
        if group == "decay":  # the same fine-tuning from untrained weights
            low = page.scores(record, "decay", "scratch").mean()
        if page.scores(record, group, arm).mean() < low + 2:
            near.add(f"{arm} ({group})")
        assert floor("edges") > page.scores(record, group, arm).max()
print("not two points above its floor:", ", ".join(sorted(near)) or "none")
assert not near
sure = [knob for knob, (d, low, high) in effects.items() if low > 0 or high < 0]
print(f"(1) {len(sure)} of {len(effects)} leave out zero:", ", ".join(sure))
print("(2) the three largest:", ", ".join(list(effects)[:3]))
assert effects["messy pool"][0] > 2 and effects["LayerScale"][2] < 0
assert effects["curated pool"][0] < -2
for k in ("class token", "moving projector", "curated pool"):
    assert effects[k][1] < 0 < effects[k][2]
pixels = {k for k, (g, *arms) in page.PAGE.items() for a in arms
          if page.scores(record, g, a).mean() > floor("pixels")}
assert len(set(page.PAGE) - pixels) == 6
main = [r for r in record if r["part"] == "main"]
rates_of = [r["lr"] for r in main if r["group"] == "vit labels"]
assert set(rates_of) == {max(rates_of)}  # every arm takes the largest rate of its list

# %% tags=["hide-input"]
fig, ax = plots.new_figure(7.0, 4.0)
for y, (knob, (d, low, high)) in enumerate(reversed(effects.items())):
    each = page.difference(record, knob)
    ax.plot([low, high], [y, y], color=plots.GRAY)
    ax.plot(each, [y] * len(each), "o", color=plots.COLORS[0], alpha=0.6)
    ax.plot(d, y, "D", color=plots.COLORS[1])
ax.axvline(0, color=plots.GRAY, linestyle=":")
ax.set_yticks(range(len(effects)), list(effects)[::-1])
ax.set(title="Advice minus base: seeds, mean (diamond), 90 % interval", xlabel="points")
plots.show(
    fig,
    alt="Advice minus base in points, mean and 90 % interval. "
    + "; ".join(f"{k} {d:+.1f} ({low:+.1f} to {high:+.1f})"
                for k, (d, low, high) in effects.items()) + ".",
)  # fmt: skip

# %% [markdown]
# Edges stand above every row, and raw pixels above both arms of six knobs, without training: the label here is a shape.
# The question is what a knob moves, not the score. The line above would name arms less than two points above an
# untrained net (not always of their size): there is none.
#
# Where an interval leaves out zero, the seeds agree on a direction. Where it does not, three seeds cannot tell, which
# is not *no effect*: look how wide it is. Of eleven idle knobs about one would leave out zero by luck ($11 \cdot 0.1$),
# so a small lonely effect proves little.
#
# LayerScale loses here; class token and moving projector leave zero inside. (Keys of a moving *whole* network do worse
# than both.) Why is open: from 1e-4 LayerScale ends about where it does from 0.1. And every arm trained on labels takes
# the larger of its two rates, so a still larger one might suit it. The pools come out the wrong way round: the messy
# pool trains *better* than the clean one, and curation, which makes it clean again, in the mean undoes the gain (one
# finding, not two: both rows rest on the same messy runs). A guess, not tested: among bare grounds and copies SimCLR
# cannot tell a picture by its ground alone. What a pool is worth is measured by training on it, not by how clean it
# looks.

# %% tags=["hide-input"]
SETTINGS = {
    "patches": ("vit", ("patch 16", "patch 8", "patch 4")),
    "LayerScale, start": ("vit labels", ("base", "scale 0.1", "scale 1e-4")),
    "layer decay": ("decay", ("1", "0.75", "0.5")),
    "width, no labels": ("width", ("64", "256", "1024")),
    "width, labels": ("width labels", ("64", "256", "1024")),
    "keys": ("keys", ("own", "projector", "whole")),
    "temperature, long tail": ("tail", ("fixed", "wave", "fall")),
    "pool": ("pool", ("clean", "messy", "random", "curated")),
}
told = [
    {"knob": name, "settings": "; ".join(
        f"{arm} {v.mean():.1f} ({v.min():.1f} to {v.max():.1f})"
        for arm in arms for v in [page.scores(record, group, arm)])}
    for name, (group, arms) in SETTINGS.items()
]  # fmt: skip
plots.table(
    told, "All settings: mean score and range", {"knob": "knob", "settings": "settings"}
)
seconds = {
    arm: mean(book.per_seed(record, "seconds", part="main", group="vit", arm=arm))
    for arm in ("patch 16", "patch 8", "patch 4")
}
print("seconds a run:", ", ".join(f"{arm} {s:.0f}" for arm, s in seconds.items()))

# %% [markdown]
# The table holds what the page leaves out. The advice is one setting of each knob, fixed before the runs; the others
# show whether it was a lucky one. *Width, labels* is the other half of the advice on width: the output of the same net,
# trained on labels, is said to decline as it grows ([Balestriero et al., 2023](https://arxiv.org/abs/2304.12210),
# figure 12, after Bordes et al.). *Random* is the control for *curated*: as many pictures of the messy pool, by lot.
# At equal steps small patches cost time.

# %%
pairs = {
    "wider, no labels": ("width", "1024", "256"),
    "wider, labels": ("width labels", "1024", "256"),
    "curated over random": ("pool", "curated", "random"),
    "whole network over projector, moving": ("keys", "whole", "projector"),
    "one fall (untuned) over fixed": ("tail", "fall", "fixed"),
}
for name, (group, arm, other) in pairs.items():
    d = page.scores(record, group, arm) - page.scores(record, group, other)
    print("{}: {:+.1f} points ({:+.1f} to {:+.1f})".format(name, *evidence.interval(d)))
assert seconds["patch 4"] > 2 * seconds["patch 8"]

# %% [markdown]
# ## What goes wrong: only one arm was tuned
#
# An easy way for a knob to seem to help: its arm is tuned, the base has the rate that the last paper had. Here are two
# arms, base and LayerScale, at both rates, all seeds. First a test that you can run on any table of this kind: what
# does the advice win if only its arm may choose?

# %%
def at_rates(arm):
    """rate -> scores, one per seed, in points; the tuned rate stands in part "main"."""
    rows = [r for r in record if (r["group"], r["arm"]) == ("vit labels", arm)]
    rows = [r for r in rows if r["part"] in ("main", "rates")]
    return {
        lr: 100 * torch.tensor(book.per_seed(rows, "score", lr=lr))
        for lr in sorted({r["lr"] for r in rows})
    }


base, scaled = at_rates("base"), at_rates("scale 0.1")
own = {arm: page.scores(record, "vit labels", arm) for arm in ("base", "scale 0.1")}
for lr in base:
    alone = evidence.interval(own["scale 0.1"] - base[lr].numpy())
    print("base at {:g}: {:.1f}; LayerScale, tuned, wins {:+.1f} ({:+.1f} to {:+.1f})"
          .format(lr, base[lr].mean(), *alone))  # fmt: skip
fair = evidence.interval(own["scale 0.1"] - own["base"])
print("both tuned: {:+.1f} ({:+.1f} to {:+.1f})".format(*fair))

# %% tags=["hide-input"]
fig, ax = plots.new_figure(5.6, 3.0)
both = {"base": base, "LayerScale": scaled}
for (name, found), color in zip(both.items(), plots.COLORS):
    means = [v.mean() for v in found.values()]
    ax.plot(list(found), means, "o-", color=color, label=name)
    for lr, v in found.items():
        ax.plot([lr] * len(v), v, ".", color=color, alpha=0.5)
ax.set(xscale="log", xlabel="learning rate", ylabel="accuracy (%)",
       title="Two arms at both rates: mean and seeds")  # fmt: skip
ax.legend()
plots.show(
    fig,
    alt="Accuracy by rate. " + " ".join(
        f"{name}: "
        + ", ".join(f"{lr:g} {v.mean():.1f}" for lr, v in found.items()) + "."
        for name, found in both.items()
    ),
)  # fmt: skip
worst = max(base, key=lambda lr: own["scale 0.1"].mean() - base[lr].mean())
unfair = evidence.interval(own["scale 0.1"] - base[worst].numpy())
rate_moves = float(base[worst].mean() - own["base"].mean())

# %% [markdown]
# Same knob, same runs. The lines above differ only in who was tuned, and what LayerScale *wins* is there what the base
# was denied. The cell below compares the two tuned arms, the tuned arm with the neglected base, and what the rate alone
# does to the base.

# %%
print("only LayerScale tuned: {:+.1f} ({:+.1f} to {:+.1f}) points".format(*unfair))
print("both tuned: {:+.1f} ({:+.1f} to {:+.1f})".format(*fair))
shapes_of = ("vit", "vit labels", "decay")
six = {k: effects[k] for k in effects if page.PAGE[k][0] in shapes_of}
largest = max(six, key=lambda k: abs(six[k][0]))
print(f"(3) the rate moves the base by {rate_moves:+.1f} points; of the six knobs")
print(f"    of a transformer {largest} moves most, by {six[largest][0]:+.1f}")
assert unfair[0] > fair[0] and len(six) == 6

# %% [markdown]
# Ask of every table: how many rates did the *base* get?
#
# ## Play: guess, then look
#
# **Say of each knob which way its three lines go before you pick it. In which do they not even agree on the
# direction?**
#
# <details><summary>Answer</summary>The cell prints them; these are the knobs that one seed alone could have sold you.</details>

# %%
signs = {knob: page.difference(record, knob) for knob in page.PAGE}
split = [knob for knob, d in signs.items() if d.min() < 0 < d.max()]
print("seeds disagree on the direction:", ", ".join(split) or "none")
widgets.explore(
    partial(page.render, rows=record),
    page.CONTROLS,
    static=[{"knob": knob} for knob in list(effects)[:2] + list(effects)[-2:]],
    captions=list(effects)[:2] + list(effects)[-2:],
    alt=partial(page.describe, rows=record),
    columns=2,
)

# %% [markdown]
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · Find the printed bug (••, 7 minutes)
# Return the rates of a transformer with `blocks` blocks (an int), peak rate `lr` and factor `decay` (floats) as a
# tensor [blocks + 2]: patch map, the blocks from the input on, head. `rates_with_a_bug` counts as [ELECTRA's
# code](https://github.com/google-research/electra/issues/51) does, whose author calls it a bug and leaves it as it is.
#
# <details><summary>Hint</summary>What is the rate of the last block? How many layers lie between it and the
# head?</details>


# %%
def rates_with_a_bug(lr: float, decay: float, blocks: int) -> torch.Tensor:
    depths = [*range(blocks + 1), blocks + 2]
    return torch.tensor([lr * decay ** (blocks + 2 - depth) for depth in depths])


def rates(lr: float, decay: float, blocks: int) -> torch.Tensor:
    return NOT_ATTEMPTED


ch22d.check_rates(rates)

# %% [markdown]
# ### 2 · How much of the network is there? (••, 8 minutes)
# `depth` blocks (an int) of two branches each, every branch tossed on its own, block $i$ of 1 .. `depth` dropped with
# probability `drop` $i$ / `depth` (a float). Return two numbers: how many branches stay on average, and which share of
# pictures goes through all of them.
#
# <details><summary>Hint</summary>Expectations add, probabilities of independent tosses multiply.</details>


# %%
def whole(depth: int, drop: float) -> tuple[float, float]:
    return NOT_ATTEMPTED


ch22d.check_whole(whole)

# %% [markdown]
# ### 3 · Two arms, tuned alike (•••, 10 minutes)
# `scores` [2, R, n] (float64): two arms, R rates, n seeds. For every seed, give each arm the rate with the best mean
# over the *other* seeds, and return arm 1 minus arm 0 at that seed, a tensor [n].
#
# <details><summary>Hint</summary>`scores.sum(dim=2, keepdim=True) - scores` holds the sums over the other
# seeds.</details>


# %%
def fair_difference(scores: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch22d.check_fair(fair_difference)

# %% [markdown]
# ### 4 · Predict, then run (•, 5 minutes on paper)
# Retrieval needs features. Those of an *untrained* encoder choose pictures, too. By how many points is the share of
# pictures with an object lower (-) or higher (+) in what they choose than in what the trained features chose above? Put
# a number in place of the stub *before* the run. Within two points is near.
#
# <details><summary>Hint</summary>What does a random network see of a ground without object? And are copies still
# copies?</details>


# %%
def with_untrained() -> float:
    torch.manual_seed(1)
    _, rows = curate(build_encoder("convnet", width=16).eval())
    return 100 * float(shows[rows].float().mean() - shows[chosen].float().mean())


forecast = NOT_ATTEMPTED
ch22d.judge_forecast(forecast, with_untrained)

# %% [markdown]
# ## Claims, tested
#
# Statements and rules stand in
# [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv).


# %%
def runs(group, treatment, control, floor_arm):
    """Runs of two arms and what no training gives."""
    found = [page.scores(record, group, arm) / 100 for arm in (treatment, control)]
    low = book.per_seed(record, "score", part="floor", arm=floor_arm)
    return Runs(*found, low)


book.claim("C-387", drawn=runs("vit", "patch 4", "patch 8", "patch 4"))
book.claim("C-388", drawn=runs("vit labels", "scale 0.1", "base", "patch 16"))
book.claim("C-389", drawn=runs("vit labels", "drop 0.2", "base", "patch 16"))
book.claim("C-390", drawn=runs("width", "1024", "256", "1024"))
book.claim("C-391", drawn=runs("keys", "projector", "whole", "256"))
book.claim("C-392", drawn=runs("tail", "wave", "fixed", "256"))
book.claim("C-393", drawn=runs("pool", "curated", "messy", "256"))

# %% [markdown]
# Each of these is a small world's answer at a short budget: LayerScale and stochastic depth were made for dozens of
# blocks (the cookbook, section 3.5.4, even says that dropping usually hurts smaller models), the swing of the
# temperature for hundreds of epochs, curation for a billion pictures.
#
# ## Where it comes from, where it went
#
# Small patches: DINO ([Caron et al., 2021](https://arxiv.org/abs/2104.14294)). BatchNorm in the projector of a
# transformer: MoCo v3 ([Chen et al., 2021](https://arxiv.org/abs/2104.02057)). Against a class token: [Zhai et
# al. (2022)](https://arxiv.org/abs/2106.04560). Width of the output, also with labels and other tasks: [Bordes et al.
# (2023)](https://arxiv.org/abs/2304.05369). Pools that nobody curated: SEER ([Goyal et al.,
# 2021](https://arxiv.org/abs/2103.01988)), on a billion random pictures. The section of the [cookbook
# (2023)](https://arxiv.org/abs/2304.12210) on transformers lists most of the six in a page; of stochastic depth it says
# that it came from language, while the paper itself drops layers of residual networks for images.
#
# ## Two questions
#
# **1.** A paper adds LayerScale, warms up longer and wins a point. What do you ask for?
# <details><summary>Answer</summary>The base with the longer warm-up; the same number of tried rates for both; and the
# spread over seeds, since a point is about what seeds differ by here.</details>
#
# **2.** Your curated pool is a quarter of the messy one and trains better at equal steps. May you say that less data is
# better?
# <details><summary>Answer</summary>No. A random quarter of the messy pool is the control for size; what differs then is
# what is in it. And at equal steps a small pool is seen more often.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# forecast = ...  # your own number, before the run
#
#
# def rates(lr, decay, blocks):
#     return torch.tensor([lr * decay ** (blocks + 1 - layer) for layer in range(blocks + 2)])
#
#
# def whole(depth, drop):
#     stay = [1 - drop * i / depth for i in range(1, depth + 1)]
#     return 2 * sum(stay), math.prod(stay) ** 2
#
#
# def fair_difference(scores):
#     others = scores.sum(dim=2, keepdim=True) - scores
#     best = others.argmax(dim=1)  # [2, n]
#     at = scores.gather(1, best[:, None])[:, 0]
#     return at[1] - at[0]
# ```
