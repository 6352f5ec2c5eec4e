# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Energy and reconstruction: what did unlabelled data teach a network before 2013?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/01_energy_and_reconstruction.ipynb)
#
# **After this chapter you can**
#
# - train a restricted Boltzmann machine (RBM) with contrastive divergence (CD), and say exactly what CD gets wrong;
# - stack machines greedily, and explain why that once made deep networks trainable and why nobody does it today;
# - prove that a linear autoencoder is principal component analysis (PCA), and name the ways to stop a non-linear one from
#   copying: a narrow code, noise, sparsity, a prior;
# - read a denoiser as the slope of a log density, the idea that diffusion models are built on;
# - derive the evidence lower bound (ELBO) of the variational autoencoder (VAE), and measure how loose it is;
# - test whether unlabelled data of *another* kind helps (self-taught learning).
#
# **You need** chapter 00, the chain rule, Bayes' rule, and eigenvectors for one section.
# **Time**: 81 minutes to read, about 60 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("01")

# %% [markdown]
# ## The puzzle: four copying machines
#
# Four machines look at a picture, write down some numbers, and rebuild the picture from the numbers. Machine A keeps
# all 3,072 pixel values: a perfect copy. B keeps 256 numbers, the principal components. C keeps the first 16 of them. D
# is a convolutional network that was never trained: its 256 numbers come from random filters, and the best linear map
# turns them back into a picture. Here is what they make of four pictures.

# %%
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch01
from ssl_lessons.book.widgets import denoising
from ssl_lessons.data import label_subset
from ssl_lessons.methods import Method
from ssl_lessons.models import encoders
from ssl_lessons.models.generative import autoencoders, rbm
from ssl_lessons.training import Monitor, pretrain

unlabeled = data.shapes("unlabeled", n=4096, world=1)
train, test = data.shapes("train", n=1000, world=1), data.shapes("test", n=1000, world=1)
chance = 1 / len(train.classes)


def probe(train_x: torch.Tensor, test_x: torch.Tensor, draws: int = 5) -> dict:
    """A linear probe on frozen features with 100 labels: mean accuracy and spread over draws of the labels."""
    row = evaluation.label_efficiency(
        train_x, train.labels, test_x, test.labels, per_class=(10,), draws=draws
    )
    return {"probe": row[0]["mean"], "spread": row[0]["std"]}


def probe_encoder(encoder: nn.Module, draws: int = 5) -> dict:
    return probe(*(evaluation.extract_features(encoder, s.images) for s in (train, test)), draws)


def new_encoder(seed: int = 0) -> nn.Module:
    return encoders.untrained(encoders.build_encoder("convnet", width=16, dim=256), seed)


pixels = {
    name: evaluation.pixels(s.images)
    for name, s in (("fit", unlabeled[:2048]), ("train", train), ("test", test))
}
mean_image = pixels["fit"].mean(dim=0)
_, _, axes_of_pixels = torch.svd_lowrank(pixels["fit"] - mean_image, q=260, niter=2)  # [3072, 260]
random_net = new_encoder()


def components(x: torch.Tensor, k: int) -> torch.Tensor:
    return (x - mean_image) @ axes_of_pixels[:, :k]


def rebuild_linearly(codes: torch.Tensor, targets: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """The best linear picture from a code, learned on (codes, targets), for new codes."""
    ones = [torch.cat([c, torch.ones(len(c), 1)], dim=1) for c in (codes, new)]
    gram = ones[0].T @ ones[0] + 1e-3 * torch.eye(ones[0].shape[1])
    return ones[1] @ torch.linalg.solve(gram, ones[0].T @ targets)


random_codes = {
    name: evaluation.extract_features(random_net, s.images)
    for name, s in (("fit", unlabeled[:2048]), ("train", train), ("test", test))
}
machines = {
    "A: all pixels": ({k: v for k, v in pixels.items()}, pixels["test"]),
    **{
        f"{letter}: {k} components": (
            {name: components(x, k) for name, x in pixels.items()},
            components(pixels["test"], k) @ axes_of_pixels[:, :k].T + mean_image,
        )
        for letter, k in (("B", 256), ("C", 16))
    },
    "D: random network": (
        random_codes,
        rebuild_linearly(random_codes["fit"], pixels["fit"], random_codes["test"]),
    ),
}
fig = plots.image_grid(
    torch.cat([rebuilt[:4].unflatten(1, (3, 32, 32)) for _, rebuilt in machines.values()]),
    columns=8,
    titles=[name[:1] for name in machines for _ in range(4)],
    title="Four copying machines, the same four pictures each",
)
plots.show(
    fig,
    alt="Four pictures rebuilt by four machines. Machine A copies them exactly, B nearly, C leaves coloured clouds, D "
    "leaves blurred shapes.",
)

# %% [markdown]
# Then somebody gives each machine 100 labelled pictures, ten of each kind, and asks for the kind of the others. The
# machine may use only its numbers, through a linear classifier (the *probe* of chapter 00).
#
# > **Predict before you go on.** Rank the four by how well they copy. Rank them by how well they recognise. Is it the
# > same order? How good is the perfect copy at recognising: 20 %, 50 %, 80 %? (A guess is right one time in ten.)

# %%
copying = {
    name: {
        "numbers": codes["test"].shape[1],
        "error": (rebuilt - pixels["test"]).square().mean().item() / pixels["test"].var(dim=0).mean().item(),
        **probe(codes["train"], codes["test"]),
    }
    for name, (codes, rebuilt) in machines.items()
}
plots.table(
    [{"machine": name, **row} for name, row in copying.items()],
    f"Copying and recognising (chance {chance:.0%})",
    {
        "machine": "machine",
        "numbers": "numbers kept",
        "error": "unexplained variance of the pixels",
        "probe": "probe, 100 labels",
        "spread": "spread over draws",
    },
    {"error": ".1%", "probe": ".1%", "spread": ".1%"},
)
assert copying["A: all pixels"]["error"] < 1e-6 and copying["A: all pixels"]["probe"] < 0.3
worst_copy = max(copying, key=lambda name: copying[name]["error"])
assert copying[worst_copy]["probe"] > min(row["probe"] for row in copying.values())

# %% [markdown]
# The perfect copy is perfect at one thing. Read the two columns against each other: faithful copying does not buy
# recognition, and the machine that copies worst is not the worst student. A copy keeps everything and *understands
# nothing*: it would copy noise just as well.
#
# Then what should we ask of a network that has no labels? Thirty years of answers fit in one sentence: **a model of the
# data must also say what is not data**. An RBM pays for every probability it gives away. An autoencoder must be
# hindered: by a narrow code, by noise, by a prior. This chapter builds each of them, and measures them with one probe.

# %% [markdown]
# ## Step 1: energy
#
# Give every picture $v \in \{0,1\}^V$ an **energy**, low for what is likely, and let $p(v) \propto e^{-\text{energy}}$.
# To make the energy flexible, add *hidden* units $h \in \{0,1\}^H$ that nobody sees. [Smolensky
# (1986)](https://stanford.edu/~jlmcc/papers/PDP/Volume%201/Chap6_PDP86.pdf) allowed connections only *between* the
# layers and called it a harmonium; today it is the **restricted Boltzmann machine**:
#
# $$E(v, h) = -a^\top v - b^\top h - v^\top W h, \qquad p(v, h) = \frac{e^{-E(v, h)}}{Z}, \qquad Z = \sum_{v, h} e^{-E(v, h)}.$$
#
# ($a \in \mathbb{R}^V$ and $b \in \mathbb{R}^H$: biases; $W \in \mathbb{R}^{V\times H}$: weights; $Z$: the **partition
# function**, the sum that makes it a probability.) Two things are easy and one is hard.
#
# *Easy: conditionals.* Given $v$, the energy is a sum of one term per hidden unit. So the hidden units are
# independent, and with $\sigma(x) = 1/(1+e^{-x})$
#
# $$p(h_j = 1\mid v) = \sigma(b_j + v^\top W_{\cdot j}), \qquad p(v_i = 1\mid h) = \sigma(a_i + W_{i\cdot} h).$$
#
# *Easy: summing out $h$.* The sum over $2^H$ states factorises into $H$ sums over two:
#
# $$p(v) = \frac{e^{-F(v)}}{Z}, \qquad F(v) = -a^\top v - \sum_j \log\big(1 + e^{\,b_j + v^\top W_{\cdot j}}\big).$$
#
# $F$ is the **free energy**; $\log(1 + e^x)$ is `softplus`.
#
# *Hard: $Z$.* Its sum runs over $2^V$ pictures. That does not stop us from *comparing* two pictures ($Z$ cancels), but
# it is in the gradient of the log-likelihood:
#
# $$-\frac{\partial \log p(v)}{\partial \theta} = \frac{\partial F(v)}{\partial\theta} - \sum_{v'} p(v')\frac{\partial F(v')}{\partial\theta},
# \qquad\text{so}\qquad \frac{\partial \log p}{\partial W_{ij}} = \langle v_i h_j\rangle_\text{data} - \langle v_i h_j\rangle_\text{model}.$$
#
# (Differentiate $\log Z = \log\sum_{v'} e^{-F(v')}$.) The first average wants data to have *low* energy. The second
# wants everything the model believes in to have *high* energy. Learning stops when the model's fantasies are
# statistically like the data: this is the sentence "say what is not data" as a formula.
#
# ### A world so small that nothing is hard
#
# Pictures of 3×3 pixels, and only 14 of the 512 are data: whole rows on, or whole columns on. With eight hidden units
# we can list every state, so the exact gradient is available to compare with.

# %%
states = rbm.all_states(9)  # [512, 9]: every 3x3 picture
rows_and_columns = torch.cat(
    [rbm.all_states(3).repeat_interleave(3, dim=1), rbm.all_states(3).repeat(1, 3)]
).unique(dim=0)
assert len(rows_and_columns) == 14
is_data = (states[:, None] == rows_and_columns).all(dim=2).any(dim=1)  # [512]
fig = plots.image_grid(
    F.pad(rows_and_columns.view(-1, 1, 3, 3), (1, 1, 1, 1), value=0.5),  # a grey frame
    columns=14,
    title="The whole data set: bars and stripes",
)
plots.show(fig, alt="Fourteen 3 by 3 pictures made of full rows or full columns, black and white, in grey frames.")


def free_energy(v, W, a, b):
    """v [N, V] -> [N]"""
    return -v @ a - F.softplus(b + v @ W).sum(dim=1)


def hidden(v, W, b):
    """p(h = 1 | v): v [N, V] -> [N, H]"""
    return torch.sigmoid(b + v @ W)


def gibbs(v, k, W, a, b, generator):
    """k times: draw h given v, then v given h."""
    for _ in range(k):
        h = torch.bernoulli(hidden(v, W, b), generator=generator)
        v = torch.bernoulli(torch.sigmoid(a + h @ W.T), generator=generator)
    return v


# %%
# NBVAL_CHECK_OUTPUT
generator = torch.Generator().manual_seed(0)
W, a, b = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((9, 4), (9,), (4,)))
by_sum = torch.stack(
    [states.double() @ a + states.double() @ W @ h + b @ h for h in rbm.all_states(4).double()]
).logsumexp(dim=0)
print("free energy = sum over hidden states:", torch.allclose(free_energy(states.double(), W, a, b), -by_sum))
machine = rbm.RBM(9, 4).double()
with torch.no_grad():
    machine.W.copy_(W), machine.a.copy_(a), machine.b.copy_(b)
print("the package agrees:", torch.allclose(machine.free_energy(states.double()), -by_sum))
print("probabilities sum to one:", abs(machine.log_likelihood(states.double()).exp().sum().item() - 1) < 1e-9)

# %% [markdown]
# ### Contrastive divergence: fantasies that never went far
#
# For the second average we need samples from the model. Block Gibbs sampling (all $h$ given $v$, all $v$ given $h$, and
# again) gets there *eventually*. [Hinton (2002)](https://doi.org/10.1162/089976602760128018) proposed not to wait:
# start the chain **at the data**, take $k$ steps, often just one, and use where you end:
#
# $$\Delta W \propto \langle v\, h^\top\rangle_\text{data} - \langle v\, h^\top\rangle_{k\text{ steps from the data}} \qquad\text{(CD-}k\text{)}.$$
#
# The model then learns from what it does to the data in $k$ steps: if it walks away, the way out is made costly. What
# it never hears about is a fantasy *far away* that no short walk from the data reaches. [Tieleman
# (2008)](https://doi.org/10.1145/1390156.1390290) changed one line: keep the chains from one update to the next instead
# of restarting them. Since the weights move slowly, the chains stay near the model, and travel. That is **persistent**
# CD (PCD).
#
# > **Predict.** Four learners, the same data: the exact gradient, CD-1, CD-10, PCD. The best possible log-likelihood is
# > $-\log 14 \approx -2.6$ nats per picture. Who gets close? And can you tell from the reconstruction error?


# %%
def learn(negative: str, steps: int = 3000, lr: float = 0.2, every: int = 50, seed: int = 0):
    """negative: "exact", "CD-1", "CD-10" or "PCD".  Returns the parameters and a trace."""
    generator = torch.Generator().manual_seed(seed)
    W, a, b = 0.1 * torch.randn(9, 8, generator=generator), torch.zeros(9), torch.zeros(8)
    v0 = rows_and_columns.repeat(8, 1)  # eight chains per picture: less noise in the second average
    chain, trace = v0.clone(), []
    for step in range(steps):
        if negative == "exact":
            v, p = states, torch.softmax(-free_energy(states, W, a, b), dim=0)
        else:
            start, k = (chain, 1) if negative == "PCD" else (v0, int(negative[3:]))
            v = chain = gibbs(start, k, W, a, b, generator)
            p = torch.full((len(v),), 1 / len(v))
        h0, h = hidden(v0, W, b), hidden(v, W, b)
        W = W + lr * (v0.T @ h0 / len(v0) - (p[:, None] * v).T @ h)
        a = a + lr * (v0.mean(dim=0) - p @ v)
        b = b + lr * (h0.mean(dim=0) - p @ h)
        if step % every == every - 1:
            log_p = torch.log_softmax(-free_energy(states, W, a, b), dim=0)
            copy = torch.sigmoid(a + hidden(rows_and_columns, W, b) @ W.T)
            trace.append(
                {
                    "step": step + 1,
                    "log p": log_p[is_data].mean().item(),
                    "mass": log_p[is_data].exp().sum().item(),
                    "copy": (copy - rows_and_columns).square().mean().item(),
                    "W": W,
                    "a": a,
                    "b": b,
                }
            )
    return trace


learners = {name: learn(name) for name in ("exact", "CD-1", "CD-10", "PCD")}
fig, (left, right) = plots.new_figure(9.2, 3.0, 1, 2)
for (name, trace), dash in zip(learners.items(), ("-", "--", "-.", ":")):
    steps = [row["step"] for row in trace]
    left.plot(steps, [row["log p"] for row in trace], dash, label=name)
    right.plot(steps, [row["copy"] for row in trace], dash, label=name)
left.axhline(-math.log(14), color=plots.GRAY, linestyle=":")
left.annotate("best possible", (0, -math.log(14)), va="bottom", fontsize=8, color=plots.GRAY)
left.set_ylim(top=-2.2)
left.set(title="What we want: log-likelihood", xlabel="update", ylabel="mean log p(v) of the data (nats)")
right.set(
    title="What one can see: reconstruction error", xlabel="update", ylabel="mean squared error", yscale="log"
)
left.legend()
plots.show(
    fig,
    alt="Left: exact log-likelihood of the data during training with the exact gradient, CD-1, CD-10 and persistent CD. "
    "Right: the reconstruction error of the same runs falls for all of them.",
)
plots.table(
    [
        {
            "learner": name,
            "best": max(row["log p"] for row in trace),
            "end": trace[-1]["log p"],
            "mass": trace[-1]["mass"],
            "copy": trace[-1]["copy"],
        }
        for name, trace in learners.items()
    ],
    f"Bars and stripes (the best possible log-likelihood is {-math.log(14):.2f})",
    {
        "learner": "learner",
        "best": "best log p on the way",
        "end": "log p at the end",
        "mass": "probability of the 14 at the end",
        "copy": "reconstruction error at the end",
    },
    {"best": ".2f", "end": ".2f", "mass": ".0%", "copy": ".4f"},
)
assert -3.5 < learners["CD-1"][-1]["log p"] + 0.1 < learners["exact"][-1]["log p"] < -2.6
assert max(trace[-1]["copy"] for trace in learners.values()) < 1e-3

# %% [markdown]
# In the end all four copy equally well, and they do *not* model equally well: CD-1 stops short of what the same machine can
# reach, and nothing in the right panel says so. CD's update is not the gradient of the likelihood (nor of anything else that
# you can watch), so nothing obliges the likelihood to keep rising either. On pictures like ours, with other settings, [Fischer
# and Igel (2010)](https://doi.org/10.1007/978-3-642-15825-4_26) saw it rise and then *fall*, again without a sign in the
# reconstruction error. PCD's curve is restless for another reason: its chains lag behind when the weights move fast.
#
# How wrong is CD-$k$? The chain has 512 states, so the distribution after $k$ Gibbs steps is a row vector times the
# $k$-th power of a matrix, and the *expected* CD-$k$ update can be written down without any sampling.


# %%
def transition(W, a, b):
    """T [512, 512]: from picture v to picture v' in one Gibbs round, summed over the 2^8 hidden states."""
    h = rbm.all_states(8).double()
    up, down = hidden(states.double(), W, b)[:, None], torch.sigmoid(a + h @ W.T)[:, None]
    to_h = torch.where(h[None] == 1, up, 1 - up).prod(dim=2)  # [512, 256]
    to_v = torch.where(states[None] == 1, down, 1 - down).prod(dim=2)  # [256, 512]
    return to_h @ to_v


K = (1, 2, 5, 10, 20, 50, 100, 200)
start = is_data.double() / 14
bias = {}
for row in (learners["exact"][i] for i in (3, 19, -1)):
    W, a, b = (row[name].double() for name in "Wab")
    p = torch.softmax(-free_energy(states.double(), W, a, b), dim=0)
    products = (
        states.double()[:, :, None] * hidden(states.double(), W, b)[:, None]
    )  # v_i p(h_j | v): [512, 9, 8]
    T = transition(W, a, b)
    after = {k: start @ torch.linalg.matrix_power(T, k) for k in K}
    bias[row["step"]] = [torch.einsum("s,svh->vh", q - p, products).norm().item() for q in after.values()]
fig, ax = plots.new_figure(6.0, 2.8)
for (step, values), dash, marker in zip(bias.items(), ("-", "--", ":"), "os^"):
    ax.plot(K, values, dash, marker=marker, markersize=4, label=f"after {step} updates")
ax.set(
    xscale="log",
    yscale="log",
    title="The longer the chain, the smaller the error; old machines need more",
    xlabel="Gibbs steps k",
    ylabel="error of the expected update",
)
ax.legend()
plots.show(
    fig,
    alt="Error of the expected CD-k update against k on logarithmic axes, for machines after few, more and many updates. "
    "All fall with k; the machine trained longest falls slowest.",
)
assert all(values[-1] < values[0] for values in bias.values())

# %% [markdown]
# The error goes to zero with $k$, as it must. How fast depends on the weights: with large weights the chain sits in one
# mode for long. **CD is a good approximation while you need it least.**
#
# ## Step 2: an RBM looks at digits
#
# Real images now: scikit-learn's handwritten digits, 8×8, black and white. $2^{64}$ pictures, so no more enumeration. In
# code, CD has a neat form: take the *loss* $F(v_0) - F(v_k)$ with the chain's end $v_k$ held fixed. Its gradient is the CD
# update (with $p(h\mid v)$ in place of samples of $h$, which lowers the noise).

# %%
digits = {split: data.digits(split) for split in ("train", "test")}
x_train, x_test = ((digits[s].images[:, 0].flatten(1) > 127).float() for s in ("train", "test"))


def contrastive_divergence(machine, v0, k, generator):
    vk = machine.gibbs(v0, k, generator)  # no gradient flows through the sampling
    return machine.free_energy(v0).mean() - machine.free_energy(vk).mean()


# %%
# NBVAL_CHECK_OUTPUT
small = rbm.RBM(64, 10, torch.Generator().manual_seed(1))
vk = small.gibbs(x_train[:50], 1, torch.Generator().manual_seed(2))
contrastive_divergence(small, x_train[:50], 1, torch.Generator().manual_seed(2)).backward()
update = x_train[:50].T @ small.hidden(x_train[:50]) / 50 - vk.T @ small.hidden(vk) / 50
print("minus the gradient is the CD update:", torch.allclose(-small.W.grad, update, atol=1e-6))
theirs, _ = rbm.contrastive_divergence(small, x_train[:50], 1, generator=torch.Generator().manual_seed(2))
mine = contrastive_divergence(small, x_train[:50], 1, torch.Generator().manual_seed(2))
print("the package agrees:", torch.equal(mine, theirs))

# %%
HIDDEN = 100
digit_rbm = {
    "CD-1": rbm.train_rbm(x_train, HIDDEN, steps=1500, lr=0.05),
    "PCD": rbm.train_rbm(x_train, HIDDEN, steps=3000, lr=0.01, persistent=True),
}
generator = torch.Generator().manual_seed(0)
shuffled = torch.stack([row[torch.randperm(64, generator=generator)] for row in x_test])
marginal = torch.bernoulli(x_train.mean(dim=0).expand(500, 64), generator=generator)
sets = {
    "digits it was trained on": x_train[:500],
    "new digits": x_test,
    "each pixel as often on as in digits": marginal,
    "digits with shuffled pixels": shuffled,
}
plots.table(
    [
        {"pictures": name}
        | {kind: m.free_energy(v).mean().item() for kind, m in digit_rbm.items()}
        | {
            "below": (digit_rbm["PCD"].free_energy(v) < digit_rbm["PCD"].free_energy(x_test).median())
            .float()
            .mean()
            .item()
        }
        for name, v in sets.items()
    ],
    "Free energy: low means 'I believe this' (a copying machine has error 0 on all four sets)",
    {
        "pictures": "pictures",
        "CD-1": "mean free energy, CD-1",
        "PCD": "mean free energy, PCD",
        "below": "share below the median new digit (PCD)",
    },
    {"CD-1": ".1f", "PCD": ".1f", "below": ".0%"},
)
gap = {
    k: (m.free_energy(marginal).mean() - m.free_energy(x_test).mean()).item() for k, m in digit_rbm.items()
}
assert min(gap.values()) > 2, gap

# %% [markdown]
# The machine tells digits from pictures that have the right number of pixels on in the right places. That is more than
# any copying machine of the puzzle can do. Compare the first two rows as well: when the training digits sink below the
# new ones, the machine has begun to learn them by heart. (This comparison is how one watches an RBM for overfitting,
# since $Z$ cancels.)
#
# Now let them dream. Below: fantasies after 1,000 Gibbs rounds from noise; then a harder task, the lower half of new
# digits, hidden, drawn by Gibbs sampling while the upper half is held fixed.


# %%
def fill_in(machine, v, rounds: int, generator) -> torch.Tensor:
    """Draw the lower half given the upper half; the last round shows probabilities."""
    known = v.clone()
    v = torch.cat([known[:, :32], torch.bernoulli(torch.full((len(v), 32), 0.2), generator=generator)], dim=1)
    for _ in range(rounds):
        v = machine.gibbs(v, 1, generator)
        v[:, :32] = known[:, :32]
    p = machine.visible(machine.hidden(v))
    return torch.cat([known[:, :32], p[:, 32:]], dim=1)


generator = torch.Generator().manual_seed(0)
with torch.no_grad():
    fantasies = {
        kind: m.visible(
            m.hidden(
                m.gibbs(torch.bernoulli(torch.full((16, 64), 0.5), generator=generator), 1000, generator)
            )
        )
        for kind, m in digit_rbm.items()
    }
    filled = fill_in(digit_rbm["PCD"], x_test[:16], 200, generator)
half = torch.cat([x_test[:16, :32], torch.full((16, 32), 0.5)], dim=1)
strips = torch.cat([fantasies["CD-1"], fantasies["PCD"], x_test[:16], half, filled])
fig = plots.image_grid(
    strips.view(-1, 1, 8, 8),
    columns=16,
    title="Rows: fantasies of CD-1; of PCD; new digits; their upper halves; what PCD draws below",
)
plots.show(
    fig,
    alt="Five rows of sixteen 8 by 8 pictures: fantasies of the CD-1 machine, fantasies of the PCD machine, true digits, "
    "digits with the lower half hidden, and the lower halves filled in by the PCD machine.",
)
wrong_half = (filled[:, 32:] - x_test[:16, 32:]).abs().mean().item()
mean_half = (x_train.mean(dim=0)[32:] - x_test[:16, 32:]).abs().mean().item()
print(
    f"Mean error per hidden pixel: {wrong_half:.2f} filled in by the RBM, {mean_half:.2f} by the average digit."
)

# %% [markdown]
# CD-1's chains started at the data in every update, so its distant fantasies were never corrected; judge for yourself
# which row you would rather have drawn. To fill in a hidden half is, by the way, the *masked modelling* of chapter 18,
# with the right answer to "which half?" for free: an RBM models all pixels jointly, so any part can be the question.

# %% [markdown]
# ## Step 3: stack them, and deep networks become trainable
#
# The hidden units of an RBM are themselves binary data. So train a second RBM on them, a third on those of the second:
# greedily, one layer at a time, no labels. [Hinton, Osindero and Teh
# (2006)](https://doi.org/10.1162/neco.2006.18.7.1527) proved that training the added layer, started right, raises a lower
# bound of the log-likelihood, and called the result a **deep belief net** (DBN): an undirected RBM on top, directed layers
# below. To sample, run Gibbs in the top machine, then go down once.
#
# What made the field take notice was the second use ([Hinton and Salakhutdinov,
# 2006](https://doi.org/10.1126/science.1127647); [Bengio et al.,
# 2007](https://papers.nips.cc/paper/2006/hash/5da713a690c067105aeb2fae32403405-Abstract.html)): throw the probabilities
# away, keep the weights, put a classifier on top and fine-tune with labels. Bengio et al. showed that plain
# autoencoders, stacked the same way, do nearly as well. In 2006 a deep sigmoid network trained from random weights
# simply did not learn. Let us go back there: four hidden layers of 64 sigmoid units, 100 labelled digits.

# %%
WIDTHS = (64, 64, 64, 64)
stack = rbm.train_stack(x_train, WIDTHS, steps=600, lr=0.1)


def autoencoder_stack(x: torch.Tensor, widths, steps: int = 300) -> list[nn.Linear]:
    """Greedy layers of sigmoid autoencoders: each learns to rebuild the output of the one below."""
    layers = []
    for width in widths:
        encode, decode = nn.Linear(x.shape[1], width), nn.Linear(width, x.shape[1])
        optimizer = torch.optim.Adam([*encode.parameters(), *decode.parameters()], lr=1e-2)
        for _ in range(steps):
            batch = x[torch.randint(len(x), (100,))]
            loss = F.binary_cross_entropy_with_logits(decode(torch.sigmoid(encode(batch))), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        layers.append(encode)
        x = torch.sigmoid(encode(x)).detach()
    return layers


torch.manual_seed(0)
coder = autoencoder_stack(x_train, WIDTHS)


def deep_net(start: str, seed: int) -> nn.Sequential:
    """64 pixels, four layers of 64 units, ten classes; `start` says where the weights come from."""
    torch.manual_seed(seed)
    sizes, layers = (64, *WIDTHS), []
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
        layer = nn.Linear(n_in, n_out)
        with torch.no_grad():
            if start == "RBMs":
                layer.weight.copy_(stack[i].W.T), layer.bias.copy_(stack[i].b)
            elif start == "autoencoders":
                layer.load_state_dict(coder[i].state_dict())
            elif start == "scratch, ReLU":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU() if "ReLU" in start else nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(WIDTHS[-1], 10))


def fine_tune(net: nn.Sequential, labels: torch.Tensor, adam: bool, steps: int = 150) -> list[float]:
    """Full-batch steps on the chosen training digits, by gradient descent with momentum or by Adam; all losses."""
    lr, losses = (
        0.01 if isinstance(net[1], nn.ReLU) else 0.1,
        [],
    )  # ReLUs pass larger gradients: smaller steps
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    if adam:
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = F.cross_entropy(net(x_train[labels]), digits["train"].labels[labels])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


STARTS = ("scratch", "RBMs", "autoencoders", "scratch, ReLU", "scratch, Adam")
curves, accuracy, first_gradients = {}, {}, {}
for start in STARTS:
    curves[start], accuracy[start] = [], []
    for draw in range(3):
        chosen = label_subset(digits["train"].labels, 10, seed=draw)
        net = deep_net(start, seed=draw)
        if draw == 0:
            F.cross_entropy(net(x_train[chosen]), digits["train"].labels[chosen]).backward()
            first_gradients[start] = [m.weight.grad.norm().item() for m in net if isinstance(m, nn.Linear)]
            net.zero_grad()
        curves[start].append(fine_tune(net, chosen, adam="Adam" in start))
        with torch.no_grad():
            right = net(x_test).argmax(dim=1) == digits["test"].labels
        accuracy[start].append(right.float().mean().item())

# %%
fig, (left, right) = plots.new_figure(9.2, 3.0, 1, 2)
for i, start in enumerate(STARTS):
    dash = ("-", "--", "-.", ":", (0, (1, 3)))[i]
    left.plot(torch.tensor(curves[start]).mean(dim=0), linestyle=dash, label=start)
    right.plot(range(1, 6), first_gradients[start], linestyle=dash, marker="o", markersize=4)
left.axhline(math.log(10), color=plots.GRAY, linestyle=":")
left.set(title="Fine-tuning with 100 labels (mean of 3 draws)", xlabel="step", ylabel="training loss (nats)")
left.legend()
right.set(
    yscale="log",
    title="Why: the gradient of the first step, layer by layer",
    xlabel="layer (1 = nearest to the pixels)",
    ylabel="norm of the gradient",
)
right.set_xticks(range(1, 6))
plots.show(
    fig,
    alt="Left: training loss against steps for a deep sigmoid network from scratch, from stacked RBMs, from stacked "
    "autoencoders, and for a ReLU network from scratch; the sigmoid network from scratch stays on the plateau longest. "
    "Right: the gradient norms of the first step by layer; from scratch with sigmoids they shrink towards the pixels.",
)
plots.table(
    [
        {
            "start": start,
            "test": sum(accuracy[start]) / 3,
            "low": min(accuracy[start]),
            "high": max(accuracy[start]),
            "ratio": first_gradients[start][0] / first_gradients[start][-1],
        }
        for start in STARTS
    ],
    "Four hidden layers, 100 labelled digits, 150 steps (chance 10%)",
    {
        "start": "weights from",
        "test": "test accuracy (mean of 3 draws)",
        "low": "lowest",
        "high": "highest",
        "ratio": "gradient, first layer / last layer",
    },
    {"test": ".1%", "low": ".1%", "high": ".1%", "ratio": ".2g"},
)
assert first_gradients["scratch"][0] < 0.1 * first_gradients["scratch"][-1]
assert min(accuracy["RBMs"]) > max(accuracy["scratch"]), accuracy

# %% [markdown]
# The right panel is the answer to the riddle of 2006. A sigmoid's slope is at most 1/4, and the small random weights of
# the time shrink the signal further, so the gradient fades from layer to layer ([Glorot and Bengio,
# 2010](https://proceedings.mlr.press/v9/glorot10a.html)). Pretrained layers pass it on. But so do rectified linear units
# (ReLU) with weights of the right size, without any pretraining ([Glorot et al.,
# 2011](https://proceedings.mlr.press/v15/glorot11a.html)); and an optimiser that rescales every gradient (Adam, of 2014) gets
# the sigmoid network off its plateau: compare the last two rows. Unsupervised pretraining turned out to be two things at once, a cure for optimisation, for which simpler cures were found, and a prior learned from unlabelled
# data ([Erhan et al., 2010](https://jmlr.org/papers/v11/erhan10a.html)), which is what the rest of this book is about.
# ([Dropout](https://arxiv.org/abs/1207.0580) was a third piece of that time: silence random units so that none can rely on
# the others. Hiding parts of a *network* in order to learn robust features is close kin to hiding parts of the *input*,
# which comes next.)
#
# And the dreams of the stack, through four layers:

# %%
with torch.no_grad():
    seeds = x_train[:16]
    for machine in stack[:-1]:
        seeds = machine.hidden(seeds)
    dreams = rbm.sample_dbn(stack, torch.bernoulli(seeds, generator=generator), 100, generator)
fig = plots.image_grid(
    torch.cat([x_train[:16], dreams]).view(-1, 1, 8, 8),
    columns=16,
    title="Top: digits where the chain starts. Bottom: the deep belief net, 100 rounds later",
)
plots.show(
    fig,
    alt="Two rows of sixteen 8 by 8 pictures: true digits, and samples that the deep belief net draws after 100 rounds in "
    "its top layer.",
)

# %% [markdown]
# ## Step 4: reconstruction
#
# The other road needs no probabilities: encode, decode, compare.
#
# $$z = f(x), \qquad \hat x = g(z), \qquad L_\text{AE} = \lVert x - g(f(x))\rVert^2 .$$
#
# ($x \in \mathbb{R}^P$, code $z \in \mathbb{R}^D$; both maps are trained by backpropagation, [Rumelhart, Hinton and
# Williams, 1986](https://doi.org/10.1038/323533a0).) What does the smallest one learn?
#
# ### A linear autoencoder is PCA
#
# Let $f(x) = Ax$ and $g(z) = Bz$ with $D < P$ and centred data $X$ (rows are examples). The output $BA x$ has rank at
# most $D$ whatever $A$ and $B$ are, and the matrix of rank $D$ closest to $X$ is known ([Eckart and Young,
# 1936](https://doi.org/10.1007/BF02288367)): keep the $D$ largest singular values. So the best error is the sum of the
# variances left out, and $BA$ must be the projection onto the first $D$ principal directions. Nothing fixes $B$ itself:
# $(BR^{-1})(RA)$ is the same map for every invertible $R$. The *subspace* is PCA's, the axes are arbitrary ([Bourlard and
# Kamp, 1988](https://doi.org/10.1007/BF00332918)). And gradient descent finds it: the error has saddle points but no bad
# local minima ([Baldi and Hornik, 1989](https://doi.org/10.1016/0893-6080%2889%2990014-2)).

# %%
grey = digits["train"].images[:, 0].flatten(1).double() / 255
grey = grey - grey.mean(dim=0)
D = 8
torch.manual_seed(0)
A, B = nn.Linear(64, D, bias=False).double(), nn.Linear(D, 64, bias=False).double()
optimizer = torch.optim.LBFGS(
    [*A.parameters(), *B.parameters()],
    max_iter=600,
    history_size=20,
    tolerance_change=1e-12,
    line_search_fn="strong_wolfe",
)


def linear_error() -> torch.Tensor:
    optimizer.zero_grad()
    error = (grey - B(A(grey))).square().sum(dim=1).mean()
    error.backward()
    return error


optimizer.step(linear_error)
_, s, Vt = torch.linalg.svd(grey, full_matrices=False)
left_out = (s[D:].square().sum() / len(grey)).item()
directions = torch.linalg.qr(B.weight.detach())[0]
cosines = torch.linalg.svdvals(Vt[:D] @ directions)  # cosines of the angles between the two subspaces
one_by_one = (F.normalize(B.weight.detach(), dim=0).T @ Vt[:D].T).abs().max(dim=1).values
print(f"error of the autoencoder {linear_error().item():.4f}, variance that PCA leaves out {left_out:.4f}")
print(f"smallest cosine between the subspaces {cosines.min():.4f}")
print(
    f"cosine of each decoder column with its nearest component: {one_by_one.min():.2f} to {one_by_one.max():.2f}"
)
assert linear_error().item() < 1.01 * left_out and cosines.min() > 0.95

# %% [markdown]
# So "reconstruct through a narrow code" *is* machine B of the puzzle, until you bend it. And when the code is wide
# ($D \ge P$), a network that can bend learns to copy and is machine A. Everything that follows is a way to let the code
# be rich and still forbid copying:
#
# - **narrow**: fewer numbers than pixels (above);
# - **sparse**: a wide code, of which few entries may be on ([Olshausen and Field,
#   1996](https://doi.org/10.1038/381607a0), and step 6);
# - **contractive**: a code that hardly moves when the input does, $\lVert\partial f/\partial x\rVert_F^2$ small ([Rifai et
#   al., 2011](https://icml.cc/2011/papers/455_icmlpaper.pdf));
# - **noisy input**: rebuild $x$ from a damaged $\tilde x$;
# - **noisy code**: step 5.
#
# ### The denoising autoencoder
#
# [Vincent et al. (2008)](https://doi.org/10.1145/1390156.1390294) corrupt the input and ask for the clean one:
#
# $$L_\text{DAE} = \mathbb{E}_{x}\,\mathbb{E}_{\tilde x\sim q(\tilde x\mid x)}\,\lVert x - r(\tilde x)\rVert^2, \qquad r = g\circ f.$$
#
# The identity is now a bad answer: it passes the noise on. What is the best answer? The minimiser of a squared error is
# the conditional mean, $r^*(\tilde x) = \mathbb{E}[x\mid\tilde x]$: of all the clean pictures that could have led here, the
# average. And for Gaussian noise, $\tilde x = x + \sigma\epsilon$, that average is a *slope*. Let $p_\sigma(\tilde x) =
# \int p(x)\,\mathcal N(\tilde x; x, \sigma^2 I)\,dx$ be the density of noisy points. Differentiate under the integral, using
# $\nabla_{\tilde x}\mathcal N = \mathcal N\,(x - \tilde x)/\sigma^2$, and divide by $p_\sigma$:
#
# $$\nabla \log p_\sigma(\tilde x) = \frac{\mathbb{E}[x\mid\tilde x] - \tilde x}{\sigma^2} = \frac{r^*(\tilde x) - \tilde x}{\sigma^2}.$$
#
# A denoiser knows which way is uphill in log density. [Vincent (2011)](https://doi.org/10.1162/NECO_a_00142) proved that
# training it *is* matching the slope (the *score*), [Alain and Bengio (2014)](https://arxiv.org/abs/1211.4246) worked out
# what it means for autoencoders, and chapter 07 builds a generator on it. In energy language: the score is minus the
# gradient of the energy, and $Z$ is gone, since it does not depend on $\tilde x$.
#
# On points in the plane you can see it, and check it: for a data set of points $x_1..x_n$, $\mathbb{E}[x\mid\tilde x]$ is a
# weighted mean of the points, weights $\propto e^{-\lVert\tilde x - x_i\rVert^2/2\sigma^2}$.

# %%
SIGMA = 0.25
generator = torch.Generator().manual_seed(0)
angle = 5.2 * torch.rand(400, generator=generator)
points = torch.stack([angle.cos(), angle.sin()], dim=1) * (0.6 + 0.15 * angle[:, None])


def exact_denoiser(noisy: torch.Tensor) -> torch.Tensor:
    """E[x | noisy] when x is one of `points`, all equally likely: [N, 2] -> [N, 2]"""
    weights = torch.softmax(-torch.cdist(noisy, points).square() / (2 * SIGMA**2), dim=1)
    return weights @ points


torch.manual_seed(0)
denoiser = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
optimizer = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
for _ in range(800):
    clean = points[torch.randint(400, (256,))]
    loss = (denoiser(autoencoders.add_gaussian(clean, SIGMA)) - clean).square().sum(dim=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

ticks = torch.linspace(-1.7, 1.7, 12)
grid = torch.cartesian_prod(ticks, ticks)
with torch.no_grad():
    arrows = {"the network": denoiser(grid) - grid, "the exact conditional mean": exact_denoiser(grid) - grid}
    noisy = autoencoders.add_gaussian(points, SIGMA, generator)
    learned, exact = denoiser(noisy) - noisy, exact_denoiser(noisy) - noisy
agreement = F.cosine_similarity(learned, exact).median().item()
fig, axes = plots.new_figure(7.4, 3.5, 1, 2, sharex=True, sharey=True)
for ax, (name, field) in zip(axes, arrows.items()):
    ax.plot(points[:, 0], points[:, 1], ".", color=plots.GRAY, markersize=2)
    ax.quiver(*grid.T.numpy(), *field.T.numpy(), color=plots.COLORS[0], angles="xy", scale=12)
    ax.set(title=f"{name}: r(x) - x", xlabel="first coordinate", ylabel="second coordinate", aspect="equal")
plots.show(
    fig,
    alt="Two fields of arrows around a spiral of points, one from a trained denoiser, one from the exact conditional mean. "
    "In both, arrows point towards the spiral and are longer further away.",
)
print(f"Median cosine between learned and exact slope at noisy points: {agreement:.2f}")
assert agreement > 0.8

# %% [markdown]
# ## The run: four ways to rebuild a picture
#
# Now the world of the puzzle, and one conv net for all (the one from chapter 00), with a small decoder that doubles the
# resolution three times. Same images, same steps, same learning rate; only the input and the code differ:
#
# - **autoencoder**: sees the picture, 256 numbers, rebuilds it;
# - **denoising**: sees it under Gaussian noise as strong as the picture's own contrast;
# - **inpainting**: sees it with half of its 8×8 squares hidden, rebuilds all of it (Vincent's masking noise, in squares;
#   chapter 05 takes this further);
# - **variational**: the picture, a noisy code, and a price for information (step 5 derives it).


# %%
class Autoencoder(Method):
    """Rebuilds x from a corrupted x; `corrupt` maps [N, 3, S, S] to the same."""

    def __init__(self, encoder: nn.Module, corrupt=lambda x: x):
        super().__init__()
        self.encoder, self.decoder = encoder, autoencoders.ConvDecoder(encoder.dim)
        self.corrupt = corrupt

    def views(self, policy):
        return (policy,)  # one picture, not two views of it

    def embed(self, x):
        return self.encoder(x)

    def rebuild(self, x):
        return self.decoder(self.encoder(x))

    def forward(self, views, labels=None):
        x = views[0]
        return F.mse_loss(self.rebuild(self.corrupt(x)), x)


class VariationalAutoencoder(Autoencoder):
    """The code is drawn from N(mu(h), sigma(h)); the price is its divergence from N(0, I)."""

    def __init__(self, encoder: nn.Module, latent: int = 64, pixel_sigma: float = 0.5):
        super().__init__(encoder)
        self.heads = nn.Linear(encoder.dim, 2 * latent)
        self.decoder = autoencoders.ConvDecoder(latent)
        self.pixel_sigma = pixel_sigma

    def rebuild(self, x):
        return self.decoder(self.heads(self.encoder(x)).chunk(2, dim=1)[0])

    def forward(self, views, labels=None):
        x = views[0]
        mu, log_var = self.heads(self.encoder(x)).chunk(2, dim=1)
        rebuilt = self.decoder(autoencoders.reparameterize(mu, log_var))
        cost = (x - rebuilt).square().sum(dim=(1, 2, 3)) / (2 * self.pixel_sigma**2)
        return (cost + autoencoders.kl_to_standard_normal(mu, log_var)).mean() / x[0].numel()


STEPS, BATCH, NOISE, HIDE = 90, 64, 1.0, 0.5
as_it_is = views.Policy(32, crop_p=0.0, flip_p=0.0, jitter_p=0.0)
torch.manual_seed(0)
models = {
    "autoencoder": Autoencoder(new_encoder()),
    "denoising": Autoencoder(new_encoder(), partial(autoencoders.add_gaussian, sigma=NOISE)),
    "inpainting": Autoencoder(new_encoder(), partial(autoencoders.mask_patches, share=HIDE)),
    "variational": VariationalAutoencoder(new_encoder()),
}
histories = {}
for name, model in models.items():
    monitor = Monitor(train[:500], train[500:], every=STEPS // 4)
    histories[name] = pretrain(
        model, unlabeled.images, (as_it_is,), steps=STEPS, batch_size=BATCH, lr=4e-3, monitor=monitor,
        on_alarm=lambda report: None,
    )  # fmt: skip
fig = plots.training_panel(
    histories, "Rebuilding pictures: the loss falls, does the quality rise?", chance=chance
)
plots.show(
    fig,
    alt="Training loss, online k-nearest-neighbour accuracy, and feature spread and rank of four autoencoders against "
    "steps. All losses fall.",
)

# %%
test_x = views.normalize(test.images)
generator = torch.Generator().manual_seed(1)
for model in models.values():
    model.requires_grad_(False)  # trained: from here on they are only looked at
damaged = {
    "denoising": autoencoders.add_gaussian(test_x[:6], NOISE, generator),
    "inpainting": autoencoders.mask_patches(test_x[:6], HIDE, generator=generator),
}
strips = {"the pictures": test_x[:6]}
for name, model in models.items():
    if name in damaged:
        strips[f"{name}: input"] = damaged[name]
    strips[f"{name}: output"] = model.rebuild(damaged.get(name, test_x[:6]))
fig = plots.image_grid(
    views.denormalize(torch.cat(list(strips.values()))), columns=6, title="Rows: " + "; ".join(strips)
)
plots.show(
    fig,
    alt="Seven rows of six pictures: the originals, and what the plain, denoising, inpainting and variational autoencoder "
    "rebuilt; for the denoising and the inpainting one also the damaged input. All rebuilt pictures are blurred.",
)

# %%
results = {
    "raw pixels": copying["A: all pixels"],
    "PCA, 256 components": copying["B: 256 components"],
    "untrained network": copying["D: random network"],
} | {name: probe_encoder(model.encoder) for name, model in models.items()}
for name, model in models.items():
    rebuilt = torch.cat([model.rebuild(x) for x in test_x.split(500)])
    results[name]["error"] = ((rebuilt - test_x).square().mean() / test_x.var(dim=0).mean()).item()


def show_results(caption: str) -> None:
    plots.table(
        [{"features": "a guess", "probe": chance}]
        + [{"features": name, **row} for name, row in results.items()],
        caption,
        {
            "features": "features",
            "probe": "probe, 100 labels",
            "spread": "spread over draws",
            "error": "unexplained variance of clean pictures",
        },
        ".1%",
    )


show_results(f"{STEPS} steps of {BATCH} pictures each")
trained = {name: results[name] for name in models}
assert min(row["probe"] for row in trained.values()) > results["untrained network"]["probe"] + 0.05
assert min(trained, key=lambda n: trained[n]["error"]) != max(trained, key=lambda n: trained[n]["probe"])

# %% [markdown]
# Look at the rebuilt pictures, then at the two columns. All four learned something that pixels and random filters do not
# give: with 100 labels they are far ahead of both, and the best copier is not the best student. What takes most of the squared
# error? Large areas: the colour of the ground, the silhouette of the object. Wheels, windows and patterns are cheap to get
# wrong, and they are gone. The loss has told the encoder what matters, and it believed the loss.
#
# The world knows its own factors, so you can look at *what* each code holds (read linearly, with all 1,000 labels).

# %%
shown = ("kind", "x", "y", "object_hue", "background_hue", "background_texture", "polarity", "light_angle")


def factors_kept(encoder: nn.Module) -> dict[str, float]:
    h = [evaluation.extract_features(encoder, s.images) for s in (train, test)]
    tables = [{f: s.factors[f] for f in shown} for s in (train, test)]
    return evaluation.factor_probe(h[0], tables[0], h[1], tables[1])


kept = {
    name: factors_kept(m.encoder)
    for name, m in models.items()
    if name in ("autoencoder", "denoising", "inpainting")
}
kept = {"untrained": factors_kept(random_net)} | kept
fig = plots.factor_bars(kept, "What each code holds: silhouettes and colours, no patterns")
plots.show(
    fig,
    alt="Grouped bars: how well kind, position, hues, texture, polarity and light can be read from the untrained network and "
    "from three autoencoders. Polarity scores highest, the pattern of the ground is in none of them.",
)
assert all(row["background_texture"] < 0.3 < row["polarity"] for row in kept.values())
assert (
    min(kept[name]["kind"] for name in ("autoencoder", "denoising", "inpainting"))
    > kept["untrained"]["kind"] + 0.1
)

# %% [markdown]
# Compare the plain and the denoising code bar by bar. Under noise, a single pixel's colour is worth little and a large shape
# a lot: which facts does the denoiser hold on to, and which does it let go? A probe with few labels has to find the kind
# among everything else that a code holds, so it matters what is *not* there.

# %% [markdown]
# ## Play: the noise slider
#
# Drag the noise that goes *in*. Two models look at it: the plain autoencoder, which never saw noise, and the denoising one,
# which was trained at level 1. The bars measure the distance from the clean picture. (1) There is a level below which either
# model does more harm than good. Why must there be one? (2) The plain model removes noise too, and not badly. Which of the
# five obstacles of step 4 does that? (3) From which level on does training under noise pay? (4) Switch to hidden patches,
# which neither has seen.

# %%
scene = {
    "images": test_x[:4],
    "models": {"plain": models["autoencoder"].rebuild, "denoising": models["denoising"].rebuild},
    "display": views.denormalize,
}
widgets.explore(
    partial(denoising.render, **scene),
    denoising.controls(),
    static=[{"level": 1.5}, {"level": 1.5, "kind": "hidden patches"}],
    alt=partial(denoising.describe, **scene),
    columns=2,
)

# %% [markdown]
# ## Step 5: a prior on the code, the variational autoencoder
#
# [Kingma and Welling (2014)](https://arxiv.org/abs/1312.6114) and [Rezende et al.
# (2014)](https://arxiv.org/abs/1401.4082) joined the two roads: a decoder that *is* a probability, $p(x\mid z)$, with
# codes $z \sim p(z) = \mathcal N(0, I)$. Then $p(x) = \int p(x\mid z)\,p(z)\,dz$ says what is data and what is not, and the
# integral is as intractable as $Z$ was. Take any density $q(z\mid x)$, and three lines:
#
# $$\log p(x) = \mathbb{E}_q \log\frac{p(x, z)}{p(z\mid x)} = \mathbb{E}_q\log\frac{p(x, z)}{q(z\mid x)} + \mathbb{E}_q\log\frac{q(z\mid x)}{p(z\mid x)}$$
#
# (the first step is Bayes' rule, true for every $z$; the second multiplies and divides by $q$). The last term is a
# Kullback-Leibler divergence (KL), never negative, so
#
# $$\boxed{\;\log p(x) \;\ge\; \mathbb{E}_q\big[\log p(x\mid z)\big] - \mathrm{KL}\big(q(z\mid x)\,\Vert\,p(z)\big) = \text{ELBO}, \qquad\text{gap} = \mathrm{KL}\big(q(z\mid x)\,\Vert\,p(z\mid x)\big)\;}$$
#
# Read it as an autoencoder: $q$ encodes (a network gives mean $\mu(x)$ and deviation $\sigma(x)$), $p(x\mid z)$ decodes,
# the first term is the reconstruction, the second the price of information in the code:
#
# $$\mathrm{KL} = \tfrac12\sum_d \big(\mu_d^2 + \sigma_d^2 - \log\sigma_d^2 - 1\big).$$
#
# One trick makes it trainable: draw $\epsilon\sim\mathcal N(0, I)$ and set $z = \mu + \sigma\epsilon$. The randomness is an
# input, and the gradient flows through $\mu$ and $\sigma$. With two latent dimensions you can see everything.


# %%
def kl_price(mu, log_var):
    """mu, log_var [N, D] -> [N] nats"""
    return 0.5 * (mu.square() + log_var.exp() - log_var - 1).sum(dim=1)


def elbo(model, x, beta=1.0):
    """x [N, V] binary -> [N] nats; beta scales the price"""
    mu, log_var = model.encode(x)
    z = mu + (log_var / 2).exp() * torch.randn_like(mu)
    log_p = -F.binary_cross_entropy_with_logits(model.decode(z), x, reduction="none").sum(dim=1)
    return log_p - beta * kl_price(mu, log_var)


def train_vae(beta: float, steps: int = 800) -> autoencoders.VAE:
    torch.manual_seed(0)
    model = autoencoders.VAE(64, 2, hidden=128)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = -elbo(model, x_train[torch.randint(len(x_train), (128,))], beta).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


BETAS = (0.0, 1.0, 20.0)
vaes = {beta: train_vae(beta) for beta in BETAS}
vae = vaes[1.0]

# %%
# NBVAL_CHECK_OUTPUT
mu, log_var = vae.encode(x_test)
print(
    "kl_price agrees with the package:",
    torch.allclose(kl_price(mu, log_var), autoencoders.kl_to_standard_normal(mu, log_var)),
)
torch.manual_seed(3)
mine = elbo(vae, x_test)
torch.manual_seed(3)
print("elbo agrees with the package:", torch.allclose(mine, vae.elbo(x_test), atol=1e-4))

# %%
fig, (left, right) = plots.new_figure(9.4, 4.2, 1, 2)
for (u, v), label in zip(mu[:300].tolist(), digits["test"].labels[:300].tolist()):
    left.text(u, v, str(label), fontsize=7, color=plots.COLORS[label % 7], ha="center", va="center")
left.set(
    xlim=(-3.2, 3.2),
    ylim=(-3.2, 3.2),
    aspect="equal",
    title="Where 300 new digits land",
    xlabel="z1",
    ylabel="z2",
)
side = torch.linspace(-2.4, 2.4, 13)
sheet = torch.sigmoid(vae.decode(torch.cartesian_prod(side.flip(0), side).flip(1)))  # rows: z2 downwards
picture = F.pad(sheet.view(13, 13, 8, 8), (1, 1, 1, 1)).permute(0, 2, 1, 3).reshape(130, 130)
right.imshow(picture, cmap="gray", extent=(-2.6, 2.6, -2.6, 2.6))
right.set(title="What the decoder draws there", xlabel="z1", ylabel="z2")
plots.show(
    fig,
    alt="Left: numerals placed at the two-dimensional codes of test digits; the same numerals gather. Right: a sheet of "
    "decoded digits over the same plane that changes smoothly from one digit to the next.",
)

# %% [markdown]
# ### How loose is the bound?
#
# In two dimensions the integral over $z$ can be done on a fine grid, so $\log p(x)$ is known. Between it and the ELBO
# lies a ladder: average $K$ weights *inside* the logarithm ([Burda et al., 2016](https://arxiv.org/abs/1509.00519)),
#
# $$L_K = \mathbb{E}\,\log\frac1K\sum_{k=1}^K \frac{p(x, z_k)}{q(z_k\mid x)}, \qquad \text{ELBO} = L_1 \le L_K \to \log p(x).$$

# %%
ticks = torch.linspace(-5, 5, 121)
grid = torch.cartesian_prod(ticks, ticks)  # [14641, 2]
cell = float(ticks[1] - ticks[0]) ** 2
log_prior = autoencoders.normal_log_density(grid, torch.zeros(2), torch.zeros(2))
log_pixels = (
    F.logsigmoid(vae.decode(grid)),
    F.logsigmoid(-vae.decode(grid)),
)  # log p(on), log p(off): [14641, 64]
some = x_test[:200]
log_p_given_z = some @ log_pixels[0].T + (1 - some) @ log_pixels[1].T  # [200, 14641]
exact_log_p = (log_p_given_z + log_prior).logsumexp(dim=1) + math.log(cell)
torch.manual_seed(0)
bound_elbo = torch.stack([vae.elbo(some) for _ in range(200)]).mean(dim=0)
ladder = {k: vae.importance_bound(some, k).mean().item() for k in (1, 3, 10, 30, 100, 300, 1000)}
fig, ax = plots.new_figure(6.0, 2.8)
ax.plot(list(ladder), list(ladder.values()), "o-", label="importance bound")
ax.axhline(exact_log_p.mean().item(), color="black", label="log p(x), on a grid")
ax.axhline(bound_elbo.mean().item(), color=plots.COLORS[1], linestyle="--", label="ELBO")
ax.set(
    xscale="log",
    title="From the ELBO up to the truth",
    xlabel="draws K",
    ylabel="mean over 200 digits (nats)",
)
ax.legend()
plots.show(
    fig,
    alt="The importance-weighted bound against the number of draws: it starts at the ELBO and climbs to the exact "
    "log-likelihood, drawn as a horizontal line.",
)
print(f"ELBO below log p(x) for {(bound_elbo < exact_log_p).float().mean():.0%} of the digits; "
      f"mean gap {(exact_log_p - bound_elbo).mean():.2f} nats")  # fmt: skip
assert (bound_elbo < exact_log_p + 0.3).float().mean() > 0.95  # an average of 200 draws is not exact
assert abs(ladder[1000] - exact_log_p.mean().item()) < 0.3

# %% [markdown]
# ## What goes wrong
#
# **Too cheap and too dear.** Put a factor $\beta$ before the price ([Higgins et al.,
# 2017](https://openreview.net/forum?id=Sy2fzU9gl), use $\beta > 1$ to get tidier codes). At $\beta = 0$ nothing keeps
# the codes near the prior: the model is a plain autoencoder, and $z\sim\mathcal N(0, I)$ falls where no code ever was. At
# large $\beta$ the cheapest code is *no* code: $q(z\mid x) = p(z)$ for every picture, price zero, and the decoder draws the
# average of everything. That is **posterior collapse** ([Bowman et al., 2016](https://arxiv.org/abs/1511.06349), met it in
# sentences), the collapse of this family: chapter 20 will meet its cousins. *How to see it*: the KL in nats, per image.

# %%
generator = torch.Generator().manual_seed(0)
z = torch.randn(14, 2, generator=generator)
fig = plots.image_grid(
    torch.cat([torch.sigmoid(vaes[beta].decode(z)) for beta in BETAS]).view(-1, 1, 8, 8),
    columns=14,
    title="Drawn from the prior. Rows: " + ", ".join(f"beta = {beta:g}" for beta in BETAS),
)
plots.show(
    fig,
    alt="Three rows of fourteen pictures drawn from the prior with beta 0, 1 and 20: odd shapes, digits, and fourteen times "
    "the same blurred average.",
)


def digit_probe(train_z: torch.Tensor, test_z: torch.Tensor) -> float:
    y = digits["train"].labels, digits["test"].labels
    return evaluation.label_efficiency(train_z, y[0], test_z, y[1], per_class=(10,), draws=3)[0]["mean"]


prices = {}
for beta, model in vaes.items():
    codes = [model.encode(x) for x in (x_train, x_test)]
    prices[beta] = {
        "kl": autoencoders.kl_to_standard_normal(*codes[1]).mean().item(),
        "pixels": (elbo(model, x_test, 0.0)).mean().item(),
        "probe": digit_probe(codes[0][0], codes[1][0]),
    }
plots.table(
    [{"beta": f"{beta:g}"} | row for beta, row in prices.items()],
    "The price of information (digits, two latent dimensions)",
    {
        "beta": "beta",
        "kl": "KL per image (nats)",
        "pixels": "log p(x|z) (nats)",
        "probe": "probe of mu, 100 labels",
    },
    {"kl": ".2f", "pixels": ".1f", "probe": ".1%"},
)
assert prices[20.0]["kl"] < 0.5 < prices[1.0]["kl"] < prices[0.0]["kl"]

# %% [markdown]
# **Judging an RBM by its reconstruction error.** Step 1: it fell for every learner, whatever the likelihood did.
#
# **Judging an encoder by its loss.** Ask the results table: do the columns "error" and "probe" agree?
#
# The table for the digits, with everything this chapter trained on them. A random RBM is the untrained baseline.

# %%
untrained_rbm = rbm.RBM(64, HIDDEN, torch.Generator().manual_seed(0))
with torch.no_grad():
    untrained_rbm.W.mul_(30)  # weights of 0.01 would leave every hidden unit at one half
    through = {"RBM, untrained": untrained_rbm.hidden} | {f"RBM, {k}": m.hidden for k, m in digit_rbm.items()}
    on_digits = {"raw pixels": (x_train, x_test)} | {
        name: (f(x_train), f(x_test)) for name, f in through.items()
    }
    layers = [x_train, x_test]
    for i, machine in enumerate(stack):
        layers = [machine.hidden(v) for v in layers]
        if i in (0, 3):
            on_digits[f"deep belief net, layer {i + 1}"] = tuple(layers)
    layers = [x_train, x_test]
    for layer in coder:
        layers = [torch.sigmoid(layer(v)) for v in layers]
    on_digits["stacked autoencoders, layer 4"] = tuple(layers)
    on_digits["VAE, two numbers"] = (vae.encode(x_train)[0], vae.encode(x_test)[0])
digit_results = {name: digit_probe(*pair) for name, pair in on_digits.items()}
plots.table(
    [{"features": "a guess", "probe": 0.1}]
    + [
        {"features": name, "numbers": on_digits[name][0].shape[1], "probe": value}
        for name, value in digit_results.items()
    ],
    "Linear probe on digits, 100 labels, nothing fine-tuned (mean of 3 draws)",
    {"features": "features", "numbers": "numbers", "probe": "probe, 100 labels"},
    {"probe": ".1%"},
)
assert digit_results["VAE, two numbers"] > 0.25

# %% [markdown]
# On digits the raw pixels are a strong baseline, and what fails to beat them is shown failing. This is worth remembering
# when you read that a method "learns good features of digits": digits are an easy place to look good, and an easy place
# for pixels.

# %% [markdown]
# ## Step 6: self-taught learning
#
# So far the unlabelled pictures came from the same world as the labelled ones. [Raina et al.
# (2007)](https://doi.org/10.1145/1273496.1273592) asked for less: unlabelled data of *any* kind, say random photographs,
# when the task is to tell characters apart. Their tool is **sparse coding**: a dictionary $B$ of patches (atoms $b_k$) such
# that every patch $x$ is a sum of few atoms,
#
# $$\min_{B,\,s}\ \sum_i \tfrac12\big\lVert x_i - \textstyle\sum_k s_{ik}\, b_k\big\rVert^2 + \lambda \lVert s_i\rVert_1, \qquad \lVert b_k\rVert = 1 .$$
#
# Learn $B$ from the *other* data, then describe your labelled pictures by their codes $s$. With $B$ fixed, $s$ comes from
# **ISTA** ([Beck and Teboulle, 2009](https://doi.org/10.1137/080716542), tell its history): a gradient step, then shrink
# everything towards zero. Ten lines.


# %%
def ista(x, B, penalty, steps):
    """Codes s [N, K] of patches x [N, P] in atoms B [K, P]"""
    step = 1 / torch.linalg.eigvalsh(B @ B.T)[-1]
    s = torch.zeros(len(x), len(B), dtype=x.dtype)
    for _ in range(steps):
        s = s + step * (x - s @ B) @ B.T  # downhill in the squared error
        s = s.sign() * (s.abs() - step * penalty).clamp(min=0)  # downhill in the sum of absolute values
    return s


# %%
# NBVAL_CHECK_OUTPUT
generator = torch.Generator().manual_seed(0)
patches = torch.randn(20, 12, generator=generator, dtype=torch.float64)
atoms = F.normalize(torch.randn(16, 12, generator=generator, dtype=torch.float64), dim=1)
print(
    "ista agrees with the package:",
    torch.allclose(ista(patches, atoms, 0.2, 40), autoencoders.sparse_codes(patches, atoms, 0.2, 40)),
)

# %%
ATOMS, PENALTY, PATCH = 64, 0.15, 8


def patches_of(images: torch.Tensor) -> torch.Tensor:
    """uint8 or [0, 1] images [N, 3, S, S] -> patches [N, T, 192], each with its mean taken out, of length about 1."""
    x = images.float() / 255 if images.dtype == torch.uint8 else images
    x = encoders.patchify(x, PATCH)
    x = x - x.mean(dim=2, keepdim=True)
    return x / (
        x.norm(dim=2, keepdim=True) + 0.5
    )  # nearly flat patches stay small: their noise is not blown up


def picture_codes(images: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """Positive and negative parts of the codes, averaged over the four quarters: [N, 4 * 2 * ATOMS]."""
    x = patches_of(images)  # [N, 16, 192]
    s = autoencoders.sparse_codes(x.flatten(0, 1), B, PENALTY, steps=20)
    s = torch.cat([s.clamp(min=0), (-s).clamp(min=0)], dim=1).view(len(x), 2, 2, 2, 2, -1)
    return s.mean(dim=(2, 4)).flatten(1)  # rows of patches: quarter, place in quarter; the same for columns


photographs = widgets.photographs(256)
corners = torch.randint(0, 225, (1000, 2), generator=torch.Generator().manual_seed(0)).tolist()
sources = {
    "the same world": unlabeled.images[:1000],
    "two photographs": torch.stack(
        [photographs[i % 2, :, r : r + 32, c : c + 32] for i, (r, c) in enumerate(corners)]
    ),
    "textures without objects": data.shapes("unlabeled", n=1000, objects=False, world=1).images,
}
dictionaries = {
    name: autoencoders.learn_dictionary(
        patches_of(images).flatten(0, 1), ATOMS, PENALTY, rounds=15, batch_size=1500
    )
    for name, images in sources.items()
}
dictionaries["noise (no data)"] = F.normalize(
    torch.randn(ATOMS, 3 * PATCH**2, generator=torch.Generator().manual_seed(0)), dim=1
)
taught = {
    name: probe(*(picture_codes(s.images, B) for s in (train, test)), draws=3)
    for name, B in dictionaries.items()
}
fig = plots.image_grid(
    torch.cat([B[:20].view(-1, 3, PATCH, PATCH) / B[:20].abs().amax(dim=1).view(-1, 1, 1, 1) / 2 + 0.5
               for B in list(dictionaries.values())[:3]]),
    columns=20,
    title="Twenty atoms each. Rows: " + ", ".join(list(dictionaries)[:3]),
)  # fmt: skip
plots.show(
    fig,
    alt="Three rows of twenty 8 by 8 colour patches: dictionary atoms learned from the shapes world, from photographs and "
    "from textures. Many are edges and stripes.",
)
plots.table(
    [{"source": "raw pixels", **results["raw pixels"]}]
    + [{"source": name, **row} for name, row in taught.items()],
    f"Sparse codes from unlabelled patches of ... (probe of the world's ten kinds, 100 labels, chance {chance:.0%})",
    {"source": "the dictionary saw", "probe": "probe", "spread": "spread over draws"},
    ".1%",
)
results |= {
    f"sparse coding, {name}": row
    for name, row in taught.items()
    if name in ("the same world", "two photographs")
}

# %% [markdown]
# Three comparisons, in order. *Codes against pixels*: is describing patches by few atoms a better language? *Learned
# against noise*: does the dictionary have to be learned at all? *Photographs against the same world*: does it matter
# where the unlabelled patches came from? [Coates et al. (2011)](https://proceedings.mlr.press/v15/coates11a.html) later
# asked the second question in earnest, and found that the way features are extracted matters more than how the
# dictionary is learned.

# %%
helped = taught["two photographs"]["probe"] - results["raw pixels"]["probe"]
lost = taught["the same world"]["probe"] - taught["two photographs"]["probe"]
learned = taught["two photographs"]["probe"] - taught["noise (no data)"]["probe"]
print(f"Codes learned on photographs against raw pixels: {100 * helped:+.1f} points.")
print(f"Against a dictionary of noise: {100 * learned:+.1f} points.")
print(
    f"What the photographs cost against patches of the same world: {100 * lost:+.1f} points (below zero: a gain)."
)

# %%
show_results("The chapter's results on the embedded world")
book.results_table(("simclr",), "For comparison: a minute of SimCLR (chapter 13) with the same encoder")

# %% [markdown]
# ## Exercises
#
# Replace `return NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on your answers.
#
# ### 1 · Free energy (•, 6 minutes)
#
# <details><summary>Hint 1</summary>Which part of the energy depends on one hidden unit $h_j$? Sum its two cases.</details>
# <details><summary>Hint 2</summary>$\sum_{h_j\in\{0,1\}} e^{h_j x} = 1 + e^x$, and its logarithm is `softplus`.</details>

# %%


def my_free_energy(v: torch.Tensor, W: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """v [N, V], W [V, H], a [V], b [H] -> [N]"""
    return NOT_ATTEMPTED


ch01.check_free_energy(my_free_energy)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_free_energy(v, W, a, b):
#     return -v @ a - F.softplus(b + v @ W).sum(dim=1)
# ```
# </details>
#
# ### 2 · The update of contrastive divergence (•, 5 minutes)
#
# `v0, h0` are the data and their hidden probabilities, `vk, hk` the end of the chain. A persistent chain may have another
# number of rows than the batch.
#
# <details><summary>Hint 1</summary>An average of outer products $v h^\top$ is one matrix product.</details>
# <details><summary>Hint 2</summary>Which of the two averages should make weights grow?</details>

# %%


def my_cd_update(v0: torch.Tensor, h0: torch.Tensor, vk: torch.Tensor, hk: torch.Tensor) -> torch.Tensor:
    """v0 [N, V], h0 [N, H], vk [M, V], hk [M, H] -> [V, H]"""
    return NOT_ATTEMPTED


ch01.check_cd_update(my_cd_update)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_cd_update(v0, h0, vk, hk):
#     return v0.T @ h0 / len(v0) - vk.T @ hk / len(vk)
# ```
# </details>
#
# ### 3 · The price of a code (•, 6 minutes)
#
# The divergence of $\mathcal N(\mu, \mathrm{diag}(\sigma^2))$ from $\mathcal N(0, I)$, from $\mu$ and $\log\sigma^2$.
#
# <details><summary>Hint 1</summary>A code that equals the prior costs nothing. Test your formula there.</details>
# <details><summary>Hint 2</summary>`log_var.exp()` is $\sigma^2$.</details>

# %%


def my_kl(mu: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
    """mu, log_var [N, D] -> [N] nats"""
    return NOT_ATTEMPTED


ch01.check_gaussian_kl(my_kl)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_kl(mu, log_var):
#     return 0.5 * (mu.square() + log_var.exp() - log_var - 1).sum(dim=1)
# ```
# </details>
#
# ### 4 · Which way is uphill? (••, 6 minutes)
#
# From noisy points, a denoiser's answers and the noise level: the slope of $\log p_\sigma$.
#
# <details><summary>Hint 1</summary>Near the data, where does the density grow: towards the denoiser's answer, or away from it?</details>
# <details><summary>Hint 2</summary>A slope has units of one over length. What must you divide a length by?</details>

# %%


def my_score(noisy: torch.Tensor, denoised: torch.Tensor, sigma: float) -> torch.Tensor:
    """noisy, denoised [N, D] -> [N, D]"""
    return NOT_ATTEMPTED


ch01.check_score(my_score)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_score(noisy, denoised, sigma):
#     return (denoised - noisy) / sigma**2
# ```
# </details>
#
# ### 5 · A tighter bound (•••, 10 minutes)
#
# `log_joint[k, i]` is $\log p(x_i, z_k)$ and `log_q[k, i]` is $\log q(z_k\mid x_i)$ for the $k$-th draw. It has to work for
# pictures whose log-likelihood is −2,000.
#
# <details><summary>Hint 1</summary>The mean is inside the logarithm.</details>
# <details><summary>Hint 2</summary>Never leave the logarithm: `logsumexp`.</details>
# <details><summary>Hint 3</summary>A sum of K terms is not their mean.</details>

# %%


def my_importance_bound(log_joint: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """log_joint, log_q [K, N] -> [N] nats"""
    return NOT_ATTEMPTED


ch01.check_importance_bound(my_importance_bound)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_importance_bound(log_joint, log_q):
#     return (log_joint - log_q).logsumexp(dim=0) - math.log(len(log_q))
# ```
# </details>

# %% [markdown]
# ## Claims put to the test
#
# The verdict is computed from the numbers, by a rule you can read in the cell: a difference counts when it exceeds twice
# the standard error over the draws of the labels.

# %%


def clearly(better: str, worse: str) -> bool:
    error = math.hypot(results[better]["spread"], results[worse]["spread"]) / math.sqrt(5)
    return results[better]["probe"] - results[worse]["probe"] > 2 * error


restored = clearly("inpainting", "autoencoder")
denoised = clearly("denoising", "autoencoder")
book.claim(
    "C-98",
    "Restoring missing or damaged parts transfers better than plain autoencoding.",
    "reproduced" if restored and denoised else "mixed" if restored or denoised else "not reproduced here",
    {
        f"probe, {name}": results[name]["probe"]
        for name in ("untrained network", "autoencoder", "denoising", "inpainting")
    }
    | {"spread over draws, autoencoder": results["autoencoder"]["spread"]},
    "balestriero2023cookbook",
)

# %% [markdown]
# One short run each, on one small world: the chapters on restoring images (05) and on masked images (18) ask again, with
# longer runs.

# %% [markdown]
# ## Where it comes from, where it went
#
# [Hopfield networks](https://doi.org/10.1073/pnas.79.8.2554) stored memories as minima of an energy; the Boltzmann machine
# ([Ackley, Hinton and Sejnowski, 1985](https://doi.org/10.1207/s15516709cog0901_7)) added hidden units and temperature, the
# harmonium the restriction that made it practical, CD the learning rule that made it fast. Stacked, they opened the
# decade of deep learning; [stacked denoising autoencoders](https://jmlr.org/papers/v11/vincent10a.html) (Vincent et al.,
# 2010) matched them with plain backpropagation, and by 2012 labels, ReLUs and dropout made both unnecessary for
# supervised tasks. The ideas did not leave:
#
# - hide a part, restore it: context encoders (chapter 05), BERT (08), masked autoencoders (18);
# - a denoiser is a score: diffusion models (07);
# - energies without $Z$: noise-contrastive estimation (13) turns the missing constant into a parameter;
# - the price of information: the VAE's KL became the discrete codes of the VQ-VAE (07), which BEiT (18) predicts;
# - unlabelled data of another kind: every model that is pretrained on the web.
#
# **Further reading.** [Hinton's practical guide](https://www.cs.toronto.edu/~hinton/absps/guideTR.pdf) to training RBMs
# (2010); [LeCun et al.'s tutorial on energy-based learning](http://yann.lecun.com/exdb/publis/pdf/lecun-06.pdf) (2006).
#
# ### Quiz
#
# **1.** An RBM's reconstruction error has been falling for an hour. May you conclude that it models the data better?
#
# <details><summary>Answer</summary>No. Reconstruction looks at one short step from the data. The likelihood also depends on all the places far from the data, through Z. Compare free energies of held-out data with those of other pictures, look at long chains, or estimate Z.</details>
#
# **2.** Your denoising autoencoder is trained at noise level 1 and fed clean pictures. Why does it blur them?
#
# <details><summary>Answer</summary>It answers with the mean of all clean pictures that might be behind its input at that noise level. At level 1 there are many, so the mean is smooth, also when the input happens to be clean. A model that is told the noise level does better: chapter 07.</details>
#
# **3.** Two VAEs have the same ELBO. One spends 20 nats on the code, the other none. Which one can be useful for
# recognition?
#
# <details><summary>Answer</summary>Only the first: the second has q(z|x) = p(z), its code does not depend on the picture. The ELBO cannot tell them apart; the KL term can.</details>
