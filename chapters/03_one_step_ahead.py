# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · One step ahead: does a model that predicts its data well also understand it?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/03_one_step_ahead.ipynb)
#
# **After this chapter you can**
#
# - write any distribution as a product of one-step predictions, and train that product by counting, with masked
#   convolutions, and with a causal transformer;
# - derive the mask of PixelCNN, see its blind spot, and repair it;
# - check by enumeration that a model is normalised, and by flipping pixels that it does not look ahead;
# - say what knowing the class can save in bits at most, and find where a model keeps what it knows.
#
# **You need** probability (Bayes' rule, the chain rule), convolutions, and the idea of attention.
# **Time**: 31 minutes to read, about a minute to run on two CPU cores. The companion
# [03b](03b_two_drawers.ipynb) does the same with letters, and has hidden states and EM.

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

device = book.setup("03")

# %% [markdown]
# ## The puzzle: a table against a network
#
# Here are handwritten digits of 8 x 8 pixels, each black or white. Read one row by row, left to right. Two machines
# guess every pixel from those before it, with a probability. The *table* looks at four neighbours (left, above, above
# to the left, above to the right) and at the place, and counts what came next. The *network* is a PixelCNN, whose
# output depends on many of the earlier pixels at once. Both learn from the same 1,097 pictures.

# %%
import itertools
import math
from statistics import fmean as mean

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, diagnostics, evaluation, plots, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch03
from ssl_lessons.book.widgets import receptive_field as field_widget
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.modalities.words import corpora
from ssl_lessons.models.generative import autoregressive as ar
from ssl_lessons.models.generative import autoregressive_pixels as pixels

train, test = data.digits("train"), data.digits("test")
ink, ink_test = ((part.images[:, 0] > 127).long() for part in (train, test))
fitted, held_out = (
    ink[:-200],
    ink[-200:],
)  # [1097, 8, 8] and [200, 8, 8], zeros and ones

# %% [markdown]
# > **Predict before you go on.** (1) Which of the two needs fewer bits per pixel on new digits? (2) The network's
# > features go to a linear probe with 100 labels. Do they tell digits apart better than the 64 raw pixels do? Two coins
# > get both right once in four times.


# %%
def contexts(x):
    """x [N, H, W] of zeros and ones -> 0..15: left, above, above left, above right."""
    wide = F.pad(x, (1, 1, 1, 0))  # one white column on either side, one row on top
    above, own = wide[:, :-1], wide[:, 1:]
    four = (own[..., :-2], above[..., 1:-1], above[..., :-2], above[..., 2:])
    return sum(bit * 2**i for i, bit in enumerate(four))


def count(x, m):
    """p(1 | place, context) [8, 8, 16]: counts, and m pictures' worth of all places."""
    hot = F.one_hot(contexts(x), 16).float()  # [N, 8, 8, 16]
    seen, black = hot.sum(dim=0), (hot * x[..., None]).sum(dim=0)
    anywhere = (black.sum(dim=(0, 1)) + 1) / (seen.sum(dim=(0, 1)) + 2)
    return (black + m * anywhere) / (seen + m)


def table_bits(p, x):
    """Mean of -log2 p(pixel) over pictures x."""
    one = p.expand(len(x), -1, -1, -1).gather(3, contexts(x)[..., None])[..., 0]
    return float(-torch.where(x > 0, one, 1 - one).log2().mean())


m = min((1, 2, 4, 8, 16), key=lambda m: table_bits(count(fitted, m), held_out))
table = count(fitted, m)


# %%
def fit(model, loss, draw, steps, lr):
    """Adam with a falling rate on loss(model, batch); draw(generator): a batch."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    for _ in range(steps):
        value = loss(model, draw(generator))
        optimizer.zero_grad()
        value.backward()
        optimizer.step(), schedule.step()
    return model


# %%
def nats(model, x):
    return F.cross_entropy(model(x), x)  # logits [N, 2, 8, 8]


def batches(x, n=48):
    return lambda generator: x[torch.randint(len(x), (n,), generator=generator)]


def seeded(build):
    torch.manual_seed(0)
    return build()


STEPS = 100
net = fit(seeded(ar.PixelCNN), nats, batches(fitted), STEPS, lr=4e-3)
live = {
    "table": table_bits(table, ink_test),
    "PixelCNN": ar.bits_per_symbol(net, ink_test),
}
parameters = sum(p.numel() for p in net.parameters())
print(f"table (m = {m}): {live['table']:.3f} bits per pixel")
print(f"PixelCNN, {parameters:,} weights, {STEPS} steps: {live['PixelCNN']:.3f}")
assert live["table"] < live["PixelCNN"] - 0.01
package = pixels.CountTable(fitted, 2, m)
assert abs(ar.bits_per_symbol(package, ink_test) - live["table"]) < 1e-4

# %% [markdown]
# **The table wins, so far.** It was made in a moment, and it has no inside: there is no vector in it that you could
# hand to a probe. Does a network that trains longer pass it? And what is *in* the network?
#
# ## The idea: everything is one step ahead
#
# For any distribution over sequences $x_1, \dots, x_T$, without any assumption,
#
# $$p(x_1,\dots,x_T) = \prod_{t=1}^{T}p(x_t\mid x_1,\dots,x_{t-1}).$$
#
# A model that has a formula for each factor is called **autoregressive**. Two things come for free. It is normalised
# if each factor is (a softmax is), so its likelihood is exact, without the partition function of [chapter
# 01](01_energy_and_reconstruction.ipynb). And it trains by ordinary classification: the label of every place is the
# symbol that stands there. The loss in bits per symbol, $-\frac1T\sum_t\log_2p(x_t\mid x_{<t})$, is what a compressor
# with this model needs.
#
# Everything else is how the past $x_{<t}$ gets into the formula. **Counting** keeps four neighbours. **Networks** keep
# more, in three ways.
#
# ### A sum that grows: NADE
#
# The neural autoregressive distribution estimator ([Larochelle and Murray,
# 2011](https://proceedings.mlr.press/v15/larochelle11a.html)) has, for binary pixels $x_1 \dots x_D$,
#
# $$h_d = \sigma\Big(c + \sum_{k<d}x_kW_k\Big),\qquad p(x_d = 1\mid x_{<d}) = \sigma(b_d + V_d\cdot h_d),$$
#
# with $W, V$ [D, H], $b$ [D], $c$ [H]. All $D$ little networks share $W$: the sum for $d+1$ is the sum for $d$ plus
# one term. The order is fixed and arbitrary; ours is raster order.
#
# ### A convolution that cannot look ahead
#
# **PixelCNN** ([van den Oord et al., 2016a](https://arxiv.org/abs/1601.06759)) computes all conditionals at once, with
# the same weights everywhere. Its output at a pixel must not depend on the pixel itself or on later ones. Output
# $(r, s)$ of a $k\times k$ convolution is $\sum_{i,j}w_{ij}\,x_{r+i,\,s+j}$ with $i, j$ from $-\lfloor k/2\rfloor$ to
# $\lfloor k/2\rfloor$. Pixel $(r+i, s+j)$ comes before $(r, s)$ if $i < 0$, or if $i = 0$ and $j < 0$. So
#
# $$w_{ij} = 0\quad\text{unless}\quad i < 0\ \text{ or }\ (i = 0\ \text{and}\ j < 0)\qquad\text{(mask A).}$$
#
# In the second layer the value at the centre is already a function of *earlier* pixels only. It may be used: **mask B**
# also lets $i = j = 0$ through. By induction over the layers the output depends on earlier pixels alone.


# %%
def raster_mask(kernel: int, kind: str) -> torch.Tensor:
    """[kernel, kernel]: 1 where the weight may be used."""
    i = torch.arange(kernel)[:, None] - kernel // 2
    j = torch.arange(kernel)[None] - kernel // 2
    earlier = (i < 0) | ((i == 0) & (j < 0))
    return (earlier | ((i == 0) & (j == 0) & (kind == "B"))).float()


for k, kind in itertools.product((3, 5), "AB"):
    assert torch.equal(raster_mask(k, kind), ar.MaskedConv2d(1, 1, k, kind).mask)
print(raster_mask(3, "A").int().tolist(), raster_mask(3, "B").int().tolist())

# %% [markdown]
# ### Attention that looks back
#
# A **causal transformer** (GPT, [Radford et al.,
# 2018](https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)) looks at all
# earlier places and decides, by attention, which to use:
#
# $$\mathrm{out}_t = \sum_{s\le t}a_{ts}\,v_s,\qquad a_{ts} = \frac{e^{q_t^\top k_s/\sqrt d}}{\sum_{r\le t}e^{q_t^\top k_r/\sqrt d}},$$
#
# with queries, keys and values $q, k, v$ [T, d] linear in the layer's input. The difference to an ordinary transformer
# is the range of the sum, $s\le t$: minus infinity where $s > t$, before the softmax. The *input* is shifted by one
# place, so row $t$ has seen $x_{<t}$ only.


# %%
def causal_attention(q, k, v):
    """q, k, v [T, d] -> [T, d]; row t is a mean of v_1 .. v_t."""
    later = torch.ones(len(q), len(q), dtype=torch.bool).triu(1)
    scores = (q @ k.T / math.sqrt(q.shape[1])).masked_fill(later, -math.inf)
    return scores.softmax(dim=1) @ v


q, k, v = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))
theirs = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
assert torch.allclose(causal_attention(q, k, v), theirs, atol=1e-6)
print("agrees with PyTorch's causal attention")

# %% [markdown]
# ### The blind spot
#
# PixelCNN cannot look ahead. Does it see everything *behind*? At which input pixels is the gradient of one output not
# zero? **Predict**: with twelve layers of masked $3\times 3$ convolutions, is it all earlier pixels?

# %%
SIDE, ROW, COLUMN = 13, 9, 6
networks = {
    "one stack": lambda: ar.PixelCNN(width=4, depth=12),
    "two stacks": lambda: ar.GatedPixelCNN(width=4, depth=12),
    "row LSTM": lambda: ar.RowLSTM(width=4, depth=2),
}
fields = {
    name: ar.receptive_field(seeded(build), SIDE, ROW, COLUMN)
    for name, build in networks.items()
}
earlier = ROW * SIDE + COLUMN

# %% tags=["hide-input"]
fig, axes = plots.new_figure(8.0, 3.0, 1, 3)
for ax, (name, seen) in zip(axes, fields.items()):
    ax.imshow(seen.float(), cmap="Blues", vmin=0, vmax=1.6)
    ax.plot(COLUMN, ROW, "*", color=plots.COLORS[1], markersize=11)
    ax.set_xticks(range(0, SIDE, 4))
    ax.set_yticks(range(0, SIDE, 4))
    ax.set_title(f"{name}: {int(seen.sum())} of {earlier}", fontsize=10)
    ax.set_xlabel("column")
axes[0].set_ylabel("row")
plots.show(
    fig,
    alt="Three maps of which pixels influence the starred one. One stack: a wedge to "
    "the upper right is missing. Two stacks: all earlier pixels. Row LSTM: a triangle "
    "that widens upwards.",
)
assert int(fields["two stacks"].sum()) == earlier
assert earlier - int(fields["one stack"].sum()) > 10
assert earlier - int(fields["row LSTM"].sum()) > 10

# %% [markdown]
# No depth helps. A path through the layers is a chain of allowed offsets, and an allowed offset goes right only when
# it also goes up: at most one pixel per row. So $(r - a, s + b)$ is out of reach for ever when $b > a$ (with kernel 3;
# in general when $b > a\lfloor k/2\rfloor$).
#
# **Two stacks** repair it ([van den Oord et al., 2016b](https://arxiv.org/abs/1606.05328)): a *vertical* one reads all
# rows above, left and right, with unmasked kernels shifted up; a *horizontal* one reads its own row to the left and is
# fed by the vertical one, never the other way round. The same paper has a gate, $\tanh(a)\odot\sigma(b)$. **PixelRNN**
# (2016a) had two variants; ours, the *row LSTM*, takes a whole row as one step, and its context is a triangle.
#
# ## The run: five networks, three seeds, and what they are worth
#
# Same pictures for all, 300 steps, one untuned learning rate each, and of each the best of five checked steps by the
# cost of the 200 held-out pictures. All *networks* are read alike: the last layer's activations at all pixels,
# averaged over each quarter of the picture. The raw pixels keep their places, and stand once more averaged like the
# networks. The *untrained twin* has the weights of the start; *RankMe* counts dimensions softly ([chapter
# 20](20_collapse.ipynb)).

# %%
record, origin = book.recorded("sequence", world="digits")
NETWORKS = ("NADE", "PixelCNN", "gated PixelCNN", "row LSTM", "GPT")


def arm(name, key="probe"):
    """One number per seed."""
    return book.per_seed(record, key, arm=name)


gains = {
    name: [a - b for a, b in zip(arm(name), arm(f"{name}, untrained"), strict=True)]
    for name in NETWORKS
}


# %% tags=["hide-input"]
def spread(values, form=".1%"):
    return f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


lines = [
    {"name": "chance", "bits": "1.000", "probe": "10.0%", "knn": "10.0%"},
    {
        "name": "raw pixels (each on its own)",
        "bits": f"{mean(arm('pixels', 'bits')):.3f}",
        "probe": spread(arm("pixels")),
        "knn": spread(arm("pixels", "knn")),
    },
    {"name": "count table", "bits": f"{mean(arm('count table', 'bits')):.3f}"},
]
quarters = [F.avg_pool2d(x.float(), 4).flatten(1) for x in (ink, ink_test)]
coarse = evaluation.label_efficiency(
    quarters[0], train.labels, quarters[1], test.labels, per_class=(10,), draws=5
)[0]["mean"]
votes = evaluation.knn_accuracy(quarters[0], train.labels, quarters[1], test.labels)
lines.insert(
    2, {"name": "pixels, by quarters", "probe": f"{coarse:.1%}", "knn": f"{votes:.1%}"}
)
assert coarse < min(mean(arm(f"{n}, untrained")) for n in NETWORKS)
for name in NETWORKS:
    for label in (f"{name}, untrained", name):
        line = {"name": label, "bits": spread(arm(label, "bits"), ".3f")}
        line |= {"probe": spread(arm(label)), "knn": spread(arm(label, "knn"))}
        line["rank"] = f"{mean(arm(label, 'rank')):.1f}"
        if label == name:
            line["gain"] = f"{100 * mean(gains[name]):+.1f}"
        lines.append(line)
plots.table(
    lines,
    "Digits: mean of three seeds (lowest to highest); five draws of 100 labels each",
    {
        "name": "model",
        "bits": "bits per pixel (test)",
        "probe": "probe, 100 labels",
        "gain": "points gained by training",
        "knn": "kNN, all labels",
        "rank": "RankMe",
    },
)
print(origin)

# %% tags=["hide-input"]
fig, ax = plots.new_figure(7.0, 3.4)
for name, color, mark in zip(NETWORKS, plots.COLORS, "osD^v"):
    bits, votes = (
        torch.tensor([[float(v) for v in t.split()] for t in arm(name, f"trace_{key}")])
        for key in ("bits", "knn")
    )
    x = [mean(arm(f"{name}, untrained", "bits")), *bits.mean(0).tolist()]
    y = [mean(arm(f"{name}, untrained", "knn")), *votes.mean(0).tolist()]
    ax.plot(x, [100 * v for v in y], mark + "-", color=color, markersize=4, label=name)
pixel_vote = 100 * mean(arm("pixels", "knn"))
ax.axhline(pixel_vote, color=plots.GRAY, linestyle="--", label="raw pixels")
ax.axvline(mean(arm("count table", "bits")), color=plots.GRAY, label="count table")
ax.set(
    xlabel="bits per pixel on test digits (better: right)",
    ylabel="kNN on features (%)",
    title="Bits fall during training; the features stay below raw pixels",
)
ax.invert_xaxis()
ax.legend(fontsize=8, ncols=2)
plots.show(
    fig,
    alt="Five curves from the untrained network to step 300: bits per pixel fall from "
    "about one; kNN accuracy stays below the dashed line of raw pixels.",
)

# %%
table_cost, by_pixels = mean(arm("count table", "bits")), arm("pixels")
better = [n for n in NETWORKS if mean(arm(n, "bits")) < table_cost - 0.005]
print(
    "cheaper than the count table by 0.005 bits or more:", ", ".join(better) or "none"
)
probed = [n for n in NETWORKS if mean(arm(n)) > mean(by_pixels) + 0.02]
print("probe above raw pixels by 2 points or more:", ", ".join(probed) or "none")
taught = [n for n in NETWORKS if min(gains[n]) > 0 and mean(gains[n]) > 0.02]
print("training gained 2 points or more, in every seed:", ", ".join(taught) or "none")
by_bits = sorted(NETWORKS, key=lambda n: mean(arm(n, "bits")))
print("best likelihood first:", ", ".join(by_bits))
by_probe = sorted(NETWORKS, key=lambda n: -mean(arm(n)))
print("best probe first:     ", ", ".join(by_probe))
assert max(mean(arm(n, "knn")) for n in NETWORKS) < mean(arm("pixels", "knn")) - 0.03
assert not probed and "row LSTM" in taught and "PixelCNN" not in better
assert {"NADE", "row LSTM", "gated PixelCNN"} <= set(better)
assert max(mean(arm(n, "bits")) for n in ("NADE", "row LSTM")) < table_cost - 0.015
assert by_probe[0] not in by_bits[:2]

# %% [markdown]
# **Raw pixels win** the columns about digits: nobody's probe is clearly above theirs, and with all labels neighbours
# among 64 pixels beat neighbours among any features by far. So the second guess of the puzzle is *no*, and the first
# stands: even after 300 steps the PixelCNN of the puzzle has not passed the table; NADE, the row LSTM and the gated
# PixelCNN have. But be fair to the networks: averaged over quarters as they are, pixels are far below all of them,
# untrained ones included. Pixels win because they keep their places.
#
# Against the twin, training adds some points for most networks. After an early dip (both PixelCNNs) bits and features
# improve together (NADE: flat). **Between networks the order differs**: the one with the best probe is not among the
# two best predictors. Not shown: larger networks, longer training, and other ways to read them.
#
# ## Why: what is the digit worth?
#
# Suppose an oracle told a perfect model which digit $y$ it is about to see. The bits that this saves are the mutual
# information of picture and digit, and they have a ceiling:
#
# $$\mathbb{E}\Big[\log_2\frac{p(x\mid y)}{p(x)}\Big] = I(x; y) \le H(y) \le \log_2 10 = 3.32\ \text{bits per picture}.$$
#
# How much is that? Build the oracle by counting: a table of counts for each digit, and their mixture
# $p(x) = \sum_y \pi_y\,p(x\mid y)$ for a machine that is not told, with $\pi_y$ the share of digit $y$.


# %%
def mixture(labels):
    """log p(x | y) and log pi_y p(x | y) of test pictures, nats: [500, 10] each."""
    tables = [pixels.CountTable(fitted[labels == y], 2, m) for y in range(10)]
    log_p = torch.stack([ar.log_prob(t, ink_test) for t in tables], dim=1)
    return log_p, log_p + (torch.bincount(labels).float() / len(labels)).log()


labels = train.labels[:-200]
log_p, joint = mixture(labels)
mixed = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
by_chance = -mixture(mixed)[1].logsumexp(dim=1).mean() / math.log(2)
told = log_p.gather(1, test.labels[:, None])[:, 0] / math.log(2)
untold = joint.logsumexp(dim=1) / math.log(2)
saved, by_bayes = told - untold, (joint.argmax(1) == test.labels).float().mean().item()
print(f"one table: {64 * live['table']:.1f} bits per picture")
print(f"mixture of ten: {-untold.mean():.1f}; told the digit: {-told.mean():.1f}")
print(f"mixture of ten random parts: {by_chance:.1f}")
print(
    f"the digit is worth {saved.mean():.2f} bits, {saved.mean() / -untold.mean():.0%}"
)
print(f"Bayes' rule on the mixture names {by_bayes:.1%} of the digits")
assert by_chance > 64 * live["table"] - 0.5
assert 2.5 < saved.mean() < 3.33 and -untold.mean() < 64 * live["table"] - 3
assert by_bayes > 0.9 and saved.mean() / -untold.mean() < 0.2

# %% [markdown]
# All that there is to know about the digit is worth three bits of some twenty-five. The rest pays for strokes. That is
# a ceiling for a model that already knows all it can. For a table that does not know the digit, *guessing* it saves as
# much again, and splitting the pictures into ten random parts saves nothing: so the loss does pay for the class, only
# far less than for strokes. [Theis et al. (2016)](https://arxiv.org/abs/1511.01844) show how far likelihood, samples
# and usefulness can come apart.
#
# The tables of the mixture were given all labels, as kNN was above. Bayes' rule with it names more than nine
# digits in ten: **a likelihood can know the class without any layer that holds it.**
#
# ## Where a model keeps what it knows
#
# The little language of [chapter 02](02_words_from_neighbours.ipynb) has sentences whose second word, a person, is
# revealed only later. Twenty persons; chance is 5 %.

# %%
people = [s for s in corpora.little_language(9000) if s[-1] in ("himself", "herself")]
vocabulary = sorted({word for sentence in people for word in sentence})
coded = torch.tensor([[vocabulary.index(w) for w in s] for s in people])
known, asked = coded[:-400], coded[-400:]
persons = [vocabulary.index(name) for pair in corpora.PEOPLE for name in pair]
persons, LENGTH = torch.tensor(persons), coded.shape[1]
print("the _____ " + " ".join(people[-1][2:]), f"({len(people):,} sentences)")


def build_gpt():
    return ar.GPT(len(vocabulary), LENGTH, dim=48, depth=2)


def build_any():
    return ar.AnyOrderLM(len(vocabulary), LENGTH, dim=48, depth=2)


reader = fit(seeded(build_gpt), nats, batches(known, 96), 130, lr=5e-3)

# %% [markdown]
# Left to right, the feature of a word has not seen what follows. BERT looks at both sides, but gives up the product of
# conditionals. **XLNet** ([Yang et al., 2019](https://arxiv.org/abs/1906.08237)) keeps the product and gives up the
# *order*: for every permutation $\rho$, $\log p(x) = \sum_t\log p(x_{\rho_t}\mid x_{\rho_1},\dots,x_{\rho_{t-1}})$,
# and one network learns random permutations. To predict $x_{\rho_t}$ the network must know *which place* it predicts
# but not the word there, hence two streams: *content* has seen its own word, *query* knows only its place and looks at
# the content of words earlier in the order. NADE had an order-free version before ([Uria et al.,
# 2014](https://arxiv.org/abs/1310.1757)).


# %%
def any_order_nats(model, x):
    return F.cross_entropy(model(x, torch.randperm(LENGTH)), x)


scribe = fit(seeded(build_any), any_order_nats, batches(known, 96), 230, lr=4e-3)
gap_last = torch.tensor([i for i in range(LENGTH) if i != 1] + [1])


def right(scores):
    """scores [400, 20], one for each person."""
    return float((persons[scores.argmax(dim=1)] == asked[:, 1]).float().mean())


@torch.no_grad()
def bayes(model):
    """Put each of the twenty into the gap, and compare whole sentences."""
    sentences = asked[:, None].repeat(1, len(persons), 1)
    sentences[:, :, 1] = persons
    return right(ar.log_prob(model, sentences.flatten(0, 1)).view(len(asked), -1))


@torch.no_grad()
def last_place(model, x, seed):
    """What the model holds at the last place, after block 1. A RANDOM person fills the
    gap: the answer must come from the other words, and cannot simply be read."""
    x, draw = x.clone(), torch.Generator().manual_seed(seed)
    x[:, 1] = persons[torch.randint(len(persons), (len(x),), generator=draw)]
    return model.hidden(x)[1][:, -1]


# %%
def who(x):
    return (x[:, 1:2] == persons).int().argmax(dim=1)


def probe_last(model):
    a, b = last_place(model, known[:1200], 0), last_place(model, asked, 1)
    return evaluation.linear_probe(a, who(known[:1200]), b, who(asked)).accuracy


def words_after(x):  # how often each word stands behind the gap
    return F.one_hot(x[:, 2:], len(vocabulary)).sum(dim=1).float()


counts = torch.ones(len(persons), len(vocabulary))
counts.index_add_(0, who(known), words_after(known))
log_share = (counts / counts.sum(dim=1, keepdim=True)).log()
with torch.no_grad():
    gap = {
        "chance": 1 / len(persons),
        "counting words after the gap (naive Bayes)": right(
            words_after(asked) @ log_share.T
        ),
        "left to right, read at the gap": right(reader(asked)[:, persons, 1]),
        "left to right, Bayes' rule (20 readings)": bayes(reader),
        "any order, the gap last": right(scribe(asked, gap_last)[:, persons, 1]),
    }
gap["left to right, probe at the last place"] = probe_last(reader)
gap["the same, untrained twin"] = probe_last(seeded(build_gpt))

# %% tags=["hide-input"]
plots.table(
    [{"name": name, "accuracy": value} for name, value in gap.items()],
    "Who stands in the gap? One of twenty persons; one seed",
    {"name": "read how", "accuracy": "right"},
    ".1%",
)
assert gap["left to right, read at the gap"] < 0.12
assert gap["left to right, Bayes' rule (20 readings)"] > 0.7
assert gap["any order, the gap last"] > 0.3
assert gap["left to right, probe at the last place"] > 0.6
counting = gap["counting words after the gap (naive Bayes)"]
assert counting > max(v for k, v in gap.items() if "probe" not in k) - 0.06
assert gap["the same, untrained twin"] > 0.55

# %% [markdown]
# *At the gap* the left-to-right model knows nothing, as it must. By Bayes' rule the same model names the person: fill
# in each of the twenty and compare. The answer is in a vector, too, but not at the gap: at the *last* place, after all
# words but the last. And most of that is no merit of training: the untrained twin, random weights, remembers which
# words it has seen well enough for a probe. The any-order model has the answer in one reading, at the gap, without a
# probe. One seed each: the table says *where* the answer is, not which of two close rows is better.
#
# **First rule**: before you say that a model does not know, read it at the right place; before you say that training
# taught it, read its untrained twin at the same place.
#
# ## Longer, larger: image GPT
#
# **Image GPT** ([Chen et al., 2020](https://proceedings.mlr.press/v119/chen20s.html)) feeds a GPT the pixels of a
# small palette in raster order and probes it *layer by layer*. On ImageNet and a large cluster the features became
# strong, and the best lay in the middle: the last blocks have to say the next pixel. Our miniature: 16 x 16 pictures
# of the drawn world in four levels of grey, six blocks. The same run has a newer relative,
#
# $$L = -\frac1{T-1}\sum_{t=1}^{T-1}\cos\big(h_t,\ \mathrm{sg}[e_{t+1}]\big),$$
#
# **NEPA** ([Xu et al., 2025](https://arxiv.org/abs/2512.16922)): $e_t$ is the embedding of patch $t$, $h_t$ what a
# causal transformer says after patches $1..t$, $\mathrm{sg}$ a stop-gradient. No pixel is predicted, so no bits are
# paid for strokes. But the target is now *made by the network*: if every patch gets the same embedding, the loss is
# perfect.


# %%
def nepa_loss(h, e):
    """h, e [N, T, D]"""
    return -F.cosine_similarity(h[:, :-1], e[:, 1:].detach(), dim=2).mean()


same = torch.ones(4, 16, 8)
assert nepa_loss(same, same) < -0.9999
h, e = torch.randn(2, 4, 16, 8, generator=torch.Generator().manual_seed(0))
assert torch.allclose(nepa_loss(h, e), pixels.nepa_loss(h, e))
print(f"one embedding for every patch: loss {nepa_loss(same, same):.2f}: the best")

# %% [markdown]
# A likelihood cannot be won like that: the pixels are given, and their entropy has to be paid. Does the stop-gradient
# prevent it? Train both ways on the digits, patches of 2 x 2, and watch the *spread* of $e$: one minus the squared
# length of the mean of the unit vectors, 0 for a point ([chapter 20](20_collapse.ipynb)).

# %%
grey, grey_test = (2.0 * x[:, None] - 1 for x in (fitted, ink_test))
spreads = {}
for stop in (True, False):
    nepa = seeded(lambda: pixels.NEPA(1, 8, 2, dim=32, depth=2))
    nepa.stop_gradient = stop
    before = float(diagnostics.spread(nepa.embedded(grey_test).flatten(0, 1)))
    fit(nepa, lambda model, x: model(x), batches(grey), 80, lr=3e-3)
    e = nepa.embedded(grey_test).detach().flatten(0, 1)
    spreads[stop] = float(diagnostics.spread(e))
    print(f"stop-gradient {stop}: loss {nepa(grey_test):.2f},", end=" ")
    print(f"spread of e {before:.2f} -> {spreads[stop]:.2f}")
assert spreads[True] > spreads[False] + 0.1

# %% [markdown]
# Without the stop-gradient the loss is better and the embeddings draw together; with it they stay apart, at least this
# long. [Chapter 15](15_self_distillation.ipynb) asks why that can work.

# %%
long, long_origin = book.recorded("sequence", world=2)


def long_arm(name, key):
    """One entry per seed."""
    mine = sorted((r for r in long if r["arm"] == name), key=lambda r: r["seed"])
    return [row[key] for row in mine]


def curves(name):
    return torch.tensor(
        [[float(v) for v in t.split()] for t in long_arm(name, "layers")]
    )


# %% tags=["hide-input"]
LONG = [name for name in ("gpt", "nepa") if long_arm(name, "layers")]
NAMES = {"gpt": "image GPT", "nepa": "NEPA"}
for name in LONG:
    seeds = len(long_arm(name, "layers"))
    if name == "gpt":
        print(
            f"image GPT {mean(long_arm(name, 'bits')):.3f} bits per pixel, count table "
            f"{mean(long_arm(name, 'count_bits')):.3f}, uniform 2; seeds: {seeds}"
        )
    else:
        print(f"NEPA: spread of e {mean(long_arm(name, 'spread')):.2f}; seeds: {seeds}")
if LONG:
    fig, panels = plots.new_figure(4.4 * len(LONG), 3.0, 1, len(LONG), squeeze=False)
    told_by = []
    for ax, name in zip(panels.flat, LONG):
        for label, style in ((name, "o-"), (f"{name}, untrained", "s--")):
            y = 100 * curves(label)
            shown = NAMES[name] if label == name else "untrained twin"
            ax.plot(range(y.shape[1]), y.mean(0), style, label=shown)
            told_by.append(f"{shown}: {', '.join(f'{v:.0f}' for v in y.mean(0))}")
        ax.axhline(
            100 * mean(long_arm(f"{name}, pixels", "probe")),
            color=plots.GRAY, linestyle="--", label="its pixels",
        )  # fmt: skip
        ax.axhline(10, color=plots.GRAY, linestyle=":", label="chance")
        ax.set(title=NAMES[name], xlabel="after block (0: input)", ylim=(0, None))
        ax.legend(fontsize=8)
    panels.flat[0].set_ylabel("probe, 100 labels (%)")
    plots.show(fig, alt="Probe accuracy by block, percent. " + ". ".join(told_by))
    print(long_origin)
else:
    print("The long run is not in the record: no result here yet. Make it with")
    print("uv run python benchmarks/sequence.py --arms gpt nepa")

# %% [markdown]
# Read a figure of layers in this order. Do the bits beat the count table clearly? If not, the claim below is not
# tested: the network has learned what four neighbours tell, and its layers say nothing about the method. Does *any*
# layer beat its untrained twin, and the pixels? Only then ask which layer is best.
#
# ## What goes wrong: a loss too good to be true
#
# A classic bug of the family is one character long: mask B in the first layer. The model may then see the pixel that
# it predicts.

# %%
leaky = seeded(ar.PixelCNN)
leaky.first.mask.copy_(raster_mask(3, "B"))
fit(leaky, nats, batches(fitted), 50, lr=4e-3)
sixteen = torch.tensor(list(itertools.product((0, 1), repeat=4))).view(16, 2, 2)


@torch.no_grad()
def total(model):
    """The probabilities of all 16 pictures of 2 x 2 pixels, added up."""
    return float(ar.log_prob(model, sixteen).double().exp().sum())


@torch.no_grad()
def sees_itself(model):
    """Flip one pixel at a time: does any output at or before it change?"""
    x = ink_test[:50]
    before = model(x).flatten(2)
    for t in range(64):
        changed = x.flatten(1).clone()
        changed[:, t] = 1 - changed[:, t]
        after = model(changed.view_as(x)).flatten(2)
        if not torch.allclose(before[..., : t + 1], after[..., : t + 1], atol=1e-5):
            return True
    return False


# %% tags=["hide-input"]
checked = []
for name, model in (("mask A", net), ("mask B", leaky), ("count table", package)):
    if name == "count table":  # made for 8 x 8; its flip test needs no smaller pictures
        small = pixels.CountTable(fitted[:, 3:5, 3:5], 2, m)
    picture = ar.sample_images(model, 40, 8, torch.Generator().manual_seed(0))
    checked.append(
        {
            "name": name,
            "bits": ar.bits_per_symbol(model, ink_test),
            "leak": sees_itself(model),
            "sum": total(small if name == "count table" else model),
            "ink": float(picture.float().mean()),
        }
    )
plots.table(
    checked,
    f"One wrong mask (real digits have {float(ink_test.float().mean()):.2f} ink)",
    {
        "name": "model",
        "bits": "bits per pixel (test)",
        "leak": "sees itself",
        "sum": "sum of p over all 2 x 2 pictures",
        "ink": "ink in its drawings",
    },
    ".3f",
)
honest, broken, counted = checked
assert broken["leak"] and not honest["leak"] and not counted["leak"]
assert abs(honest["sum"] - 1) < 1e-4 and abs(counted["sum"] - 1) < 1e-4
assert abs(broken["sum"] - 1) > 0.05 and broken["bits"] < 0.3 < counted["bits"]
assert broken["ink"] < 0.1 < honest["ink"]

# %% [markdown]
# Its bits beat every honest model within seconds. Asked for a pixel it looks at that pixel, finds the zero that stands
# there before anything is drawn, and copies it: white paper. Two checks catch the bug. *Flip a pixel*: no output at or
# before it may change. *Enumerate*: on 2 x 2 pictures the probabilities must sum to one. Those of the leaky model do
# not, so its "bits" are no code length at all.
#
# ## Play: what does this pixel see?
#
# Add layers one at a time, with a kernel of 3 or 5, for one stack and for two. **When does the last grey pixel vanish,
# and what happens to the orange ones? With the kernel 5, is the blind spot smaller?**

# %%
widgets.explore(
    field_widget.render,
    field_widget.controls(),
    static=[
        {"depth": 1, "kernel": 3},
        {"depth": 10, "kernel": 3},
        {"depth": 10, "kernel": 5},
    ],
    alt=field_widget.describe,
    columns=2,
)


# %% tags=["hide-input"]
def blind(kernel, stacks="one stack"):
    return int((field_widget.regions(10, kernel, stacks) == 2).sum())


assert blind(3) > blind(5) > 0 == blind(3, "two stacks")
assert (field_widget.regions(10, 3, "one stack") == 1).sum() == 0

# %% [markdown]
# The grey goes when the layers reach the top row; the orange stays at any depth. A larger kernel allows a flatter path,
# two pixels right per row up, so the blind spot shrinks but does not vanish.
#
# ## Exercises
#
# Replace a stub and run the cell. Solutions stand at the end.
#
# ### 1 · How far does it see? (••, 12 minutes)
# On a picture without borders, on how many pixels does one output of a PixelCNN depend? `kernel` is an odd int,
# `depth` an int of at least 1: the first layer has mask A, the others mask B. Return an int. Predict first: three
# layers, kernel 3, more or fewer than 20?
#
# <details><summary>Hint 1</summary>Call $r$ half the kernel, rounded down. How many rows up does it get, and how far to
# the left?</details>
# <details><summary>Hint 2</summary>In row $-a$: how far to the right? A layer that goes right must also go up by at
# least one row, and there are only `depth` layers.</details>


# %%
def pixels_seen(kernel: int, depth: int) -> int:
    return NOT_ATTEMPTED


ch03.check_pixels_seen(pixels_seen)

# %% [markdown]
# ### 2 · NADE without a loop (••, 10 minutes)
# All conditionals of one binary vector at once: `x` [D] of zeros and ones, `W` and `V` [D, H], `b` [D], `c` [H], float
# tensors. Return $p(x_d = 1\mid x_{<d})$, a tensor [D].
#
# <details><summary>Hint 1</summary>`cumsum` adds up x_k W_k from the first dimension on.</details>
# <details><summary>Hint 2</summary>The sum for x_d must stop before d: subtract the last term again, or shift by one
# row.</details>


# %%
def my_nade(x, W, V, b, c):
    return NOT_ATTEMPTED


ch03.check_nade(my_nade)

# %% [markdown]
# ### 3 · What is a label worth? (••, 10 minutes)
# `log_p` is a float tensor [N, C] with $\log p(x_n\mid y = c)$ in nats, `prior` [C] the class probabilities, `y` [N]
# the true classes (int64). Return the mean over $n$ of $\log_2 p(x_n\mid y_n) - \log_2 p(x_n)$, one number. Then
# decide: can it be *negative* for a real model on real pictures, although mutual information cannot?
#
# <details><summary>Hint</summary>$p(x) = \sum_c \pi_c\,p(x\mid c)$: `logsumexp` over the classes of
# `log_p + prior.log()`.</details>


# %%
def label_worth(log_p, prior, y):
    return NOT_ATTEMPTED


ch03.check_label_worth(label_worth)

# %% [markdown]
# ### 4 · The inspector (•••, 15 minutes)
# Somebody hands you `model`, a function from int64 pictures [N, 6, 6] of zeros and ones to logits [N, 2, 6, 6]. Return
# the *worst* look ahead as an int: the largest $s - t$ (places in raster order) such that the output at place $t$
# depends on the pixel at place $s$, or $-1$ if $s < t$ always. (0: it sees itself; 1: the next pixel.) Some of the
# models that the checker hands you look ahead only where a certain pixel is black, so one picture is not enough.
#
# <details><summary>Hint 1</summary>Flip pixel $s$ in a few hundred random pictures at once.</details>
# <details><summary>Hint 2</summary>Which outputs differ in any picture? Of those, the earliest place counts.</details>


# %%
def worst_look_ahead(model) -> int:
    return NOT_ATTEMPTED


ch03.check_worst_look_ahead(worst_look_ahead)

# %% [markdown]
# ## Claims, tested
#
# Both ask for the long run.


# %%
def layers_of_gpt(one, other):
    """Probes at two places of the trained image GPT, or None where nobody ran it."""
    if "gpt" not in LONG:
        return None
    if mean(long_arm("gpt", "bits")) > mean(long_arm("gpt", "count_bits")) - 0.005:
        return None  # it has learned what four neighbours tell
    arms = (long_arm("gpt", f"probe_{place}") for place in (one, other))
    return Runs(*arms, long_arm("gpt, untrained", f"probe_{one}"))


book.claim("C-110b", drawn=layers_of_gpt("middle", "last"))
book.claim("C-110c", drawn=layers_of_gpt("middle", "first"))

# %% [markdown]
# ## Where it comes from, where it went
#
# [Shannon (1951)](https://doi.org/10.1002/j.1538-7305.1951.tb01366.x) made the bits of the next letter a measure of
# language. MADE ([Germain et al., 2015](https://arxiv.org/abs/1502.03509)) got what NADE has from masked weights in an
# autoencoder. [Salimans et al. (2017)](https://arxiv.org/abs/1701.05517) improved PixelCNN. Then came the transformer
# ([2017](https://arxiv.org/abs/1706.03762)), GPT-2
# ([2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)) and
# GPT-3 ([2020](https://arxiv.org/abs/2005.14165)). On images the raw
# pixel gave way to tokens: VQ-VAE ([chapter 07](07_generate_to_understand.ipynb)), and Parti ([Yu et al.,
# 2022](https://arxiv.org/abs/2206.10789)). Masked models ([chapter 18](18_masked_images.ipynb)) freed the order.
#
# **Further reading.** [Uria et al. (2016)](https://arxiv.org/abs/1605.02226) on all of NADE.
#
# ### Quiz
#
# **1.** You replace mask B by mask A in all layers of PixelCNN. Is the model still correct? What does it lose?
#
# <details><summary>Answer</summary>It is correct: fewer weights are used and no later pixel is seen. It loses context:
# without the centre (and without skip connections) every layer must move at least one pixel back, so with two layers
# the nearest pixel to the left, one step away, can no longer be reached at all.</details>
#
# **2.** Two models of the same images cost 0.42 and 0.40 bits per pixel. Which has the better representation?
#
# <details><summary>Answer</summary>You cannot tell. The difference can lie in edges and textures that matter for no
# label. Probe both, beside raw pixels and an untrained twin.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def pixels_seen(kernel, depth):
#     # 3 layers, kernel 3: 3 + 5 + 6 + 7 = 21.
#     r = kernel // 2
#     rows = range(1, r * depth + 1)
#     return r * depth + sum(r * depth + 1 + r * min(a, depth) for a in rows)
#
#
# def my_nade(x, W, V, b, c):
#     terms = x[:, None] * W
#     h = torch.sigmoid(c + terms.cumsum(dim=0) - terms)
#     return torch.sigmoid(b + (V * h).sum(dim=1))
#
#
# def label_worth(log_p, prior, y):
#     # Negative where the model gives the true class, on (logarithmic) average, less than
#     # its prior: p(y | x) < prior. The ceiling holds for any model, since
#     # p(x) >= prior_y p(x | y); the floor 0 only when data come from the model.
#     told = log_p.gather(1, y[:, None])[:, 0]
#     return (told - (log_p + prior.log()).logsumexp(dim=1)).mean() / math.log(2)
#
#
# def worst_look_ahead(model):
#     x, worst = torch.randint(2, (300, 6, 6)), -1
#     before = model(x).flatten(2)
#     for s in range(36):
#         changed = x.flatten(1).clone()
#         changed[:, s] = 1 - changed[:, s]
#         moved = (model(changed.view_as(x)).flatten(2) - before).abs() > 1e-6
#         places = moved.any(dim=1).any(dim=0).nonzero()
#         if len(places):
#             worst = max(worst, s - int(places.min()))
#     return worst
# ```
