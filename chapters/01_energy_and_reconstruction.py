# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Energy and reconstruction: what stops a machine that rebuilds pictures from just copying them?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/01_energy_and_reconstruction.ipynb)
#
# **After this chapter you can**
#
# - train a restricted Boltzmann machine (RBM) by contrastive divergence (CD), and say exactly what CD gets wrong;
# - prove that a linear autoencoder is principal component analysis (PCA), and name four ways to stop a wide one from
#   copying;
# - read a denoiser as the slope of a log density;
# - test whether a machine knows what is *not* data.
#
# **You need** [chapter 00](00_start_here.ipynb), the chain rule, Bayes' rule, and eigenvectors for one section.
# **Time**: 30 minutes to read, about a minute to run on two CPU cores. Companions: [01b](01b_sparse_coding.ipynb) on
# dictionaries of patches, [01c](01c_stacks_and_priors.ipynb) on deep stacks and the variational autoencoder.

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

device = book.setup("01")

# %% [markdown]
# ## The puzzle: four copying machines
#
# Four machines look at a picture, write down some numbers, and rebuild the picture from the numbers. A keeps all 3,072
# pixel values: a perfect copy. B keeps 256 principal components, C keeps 16. D is a convolutional network that was
# never trained: 256 numbers from random filters, turned back into a picture by the best linear map. Then each gets no
# picture at all: the same pixels, shuffled.

# %%
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, evaluation, plots, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch01
from ssl_lessons.book.widgets import denoising
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.models import encoders
from ssl_lessons.models.generative import autoencoders, rbm

fit = data.shapes("unlabeled", n=2048)
train, test = data.shapes("train", n=2000), data.shapes("test", n=2000)

# %%
names = ("fit", "train", "test", "shuffled")
places = torch.randperm(32 * 32, generator=torch.Generator().manual_seed(0))
shuffled = test.images.flatten(2)[:, :, places].view_as(test.images)
pictures = dict(zip(names, (fit.images, train.images, test.images, shuffled)))
x = {name: evaluation.pixels(images) for name, images in pictures.items()}  # [N, 3072]
mean_picture = x["fit"].mean(dim=0)
axes = torch.svd_lowrank(x["fit"] - mean_picture, q=260, niter=2)[2]  # [3072, 260]
random_net = encoders.build_encoder("convnet", width=16, dim=256)
random_net = encoders.untrained(random_net, 0, fit.images)


def codes_of(machine: str) -> dict[str, torch.Tensor]:
    """The numbers that a machine writes down, [N, numbers] for each set of pictures."""
    if machine == "D":
        return {
            n: evaluation.extract_features(random_net, v) for n, v in pictures.items()
        }
    kept = axes[:, : {"B": 256, "C": 16}.get(machine)]
    centred = {name: v - mean_picture for name, v in x.items()}
    return centred if machine == "A" else {n: v @ kept for n, v in centred.items()}


# %%
def rebuild(codes: dict, name: str) -> torch.Tensor:
    """The best linear picture from a code, learned on the pictures of `fit`."""
    if codes["fit"].shape[1] == 3072:
        return codes[name] + mean_picture
    known, new = (F.pad(codes[n], (0, 1), value=1.0) for n in ("fit", name))
    gram = known.T @ known + 1e-3 * torch.eye(known.shape[1])
    return new @ torch.linalg.solve(gram, known.T @ x["fit"])


def unexplained(rebuilt: torch.Tensor, name: str) -> float:
    """Squared error as a share of the variance of the pixels."""
    return float((rebuilt - x[name]).square().mean() / x[name].var(dim=0).mean())


machines, rebuilt = {}, {}
for m in "ABCD":
    codes = codes_of(m)
    rebuilt[m] = rebuild(codes, "test")
    machines[m] = {
        "copy": unexplained(rebuilt[m], "test"),
        "not data": unexplained(rebuild(codes, "shuffled"), "shuffled"),
        "knn": evaluation.knn_accuracy(
            codes["train"], train.labels, codes["test"], test.labels
        ),
    }

# %% tags=["hide-input"]
plots.show(
    plots.image_grid(
        torch.cat(
            [r[:4].clamp(0, 1).unflatten(1, (3, 32, 32)) for r in rebuilt.values()]
        ),
        columns=8,
        titles=[m for m in rebuilt for _ in range(4)],
        title="Four copying machines, the same four pictures each",
    ),
    alt="Four pictures rebuilt by four machines. A copies them exactly, B nearly, "
    "C leaves coloured clouds, D blurred shapes.",
)

# %% [markdown]
# > **Predict before you go on.** (1) Machine B threw away eleven of every twelve numbers. When somebody classifies new
# > pictures by their neighbours among 2,000 labelled ones (chance: 10 %), is the perfect copy A clearly better than B?
# > (A coin is right half of the time.) (2) Which machines fail on the shuffled pictures?

# %% tags=["hide-input"]
KEPT = {"A": "A: all 3,072", "B": "B: 256 components", "C": "C: 16 components",
        "D": "D: 256 random filters"}  # fmt: skip
plots.table(
    [{"machine": "chance", "knn": 0.1}]
    + [{"machine": KEPT[m]} | row for m, row in machines.items()],
    "Copying and recognising",
    {
        "machine": "machine: numbers kept",
        "copy": "unexplained variance, pictures",
        "not data": "the same, shuffled pixels",
        "knn": "kNN, 2,000 labels",
    },
    ".1%",
)
a, b, c, d = (machines[m] for m in "ABCD")
assert a["copy"] < 1e-6 and a["not data"] < 1e-6
assert a["knn"] < b["knn"] + 0.03 and b["copy"] < 0.06
assert min(row["not data"] - row["copy"] for row in (b, c, d)) > 0.2
assert 0.12 < d["knn"] < c["knn"] - 0.1 < a["knn"]

# %% [markdown]
# The perfect copy is no better a student than B. (Its pixels have the mean picture taken out.) A copies shuffled pixels
# as perfectly as pictures. The others fail, because what they keep, or the map back, was fitted to pictures. **A is
# perfect at copying because it knows nothing about what it copies.**
#
# *A model of the data must also say what is not data.* Two roads lead there. One gives every picture an energy, low for
# data and high for the rest. The other rebuilds pictures, and has to be hindered from copying.
#
# ## Road one: energy
#
# [Hopfield (1982)](https://doi.org/10.1073/pnas.79.8.2554) stored patterns as the minima of an energy. To learn one,
# give every picture $v \in \{0,1\}^V$ an energy and let $p(v) \propto e^{-\text{energy}}$. To make it flexible, add
# *hidden* units $h \in \{0,1\}^H$. [Smolensky
# (1986)](https://stanford.edu/~jlmcc/papers/PDP/Volume%201/Chap6_PDP86.pdf) allowed connections only *between* the two
# layers and called it a harmonium; today it is the **restricted Boltzmann machine**:
#
# $$E(v, h) = -a^\top v - b^\top h - v^\top W h, \qquad p(v, h) = \frac{e^{-E(v, h)}}{Z}, \qquad Z = \sum_{v, h} e^{-E(v, h)}.$$
#
# ($a \in \mathbb{R}^V$, $b \in \mathbb{R}^H$: biases; $W \in \mathbb{R}^{V\times H}$: weights; $Z$: the **partition
# function**, which makes it a probability.)
#
# *Easy: conditionals.* Given $v$, the energy is one term per hidden unit, so these are independent, and likewise the
# other way; with $\sigma(u) = 1/(1+e^{-u})$,
#
# $$p(h_j = 1\mid v) = \sigma(b_j + v^\top W_{\cdot j}), \qquad p(v_i = 1\mid h) = \sigma(a_i + W_{i\cdot} h).$$
#
# *Easy: summing out $h$.* The sum over $2^H$ states factorises into $H$ sums over two:
#
# $$p(v) = \frac{e^{-F(v)}}{Z}, \qquad F(v) = -a^\top v - \sum_j \log\big(1 + e^{\,b_j + v^\top W_{\cdot j}}\big).$$
#
# $F$ is the **free energy**; $\log(1 + e^u)$ is `softplus`.
#
# *Hard: $Z$*, a sum over $2^V$ pictures. It cancels when you *compare* two pictures, but it is in the gradient of the
# log-likelihood. Differentiate $\log Z = \log\sum_v e^{-F(v)}$:
#
# $$\frac{\partial\, \langle\log p\rangle_\text{data}}{\partial W_{ij}} = \langle v_i h_j\rangle_\text{data} - \langle v_i h_j\rangle_\text{model}.$$
#
# The first average gives data *low* energy. The second gives everything the model believes in *high* energy. Learning
# stops when its fantasies are, on average, like the data.
#
# ### A world so small that nothing is hard
#
# Pictures of 3×3 pixels, and only 14 of the 512 are data: whole rows on, or whole columns on. All states can be
# listed, so the exact gradient is there to compare with. The tensors carry a leading dimension for three machines with
# different random weights, trained side by side.

# %%
states = rbm.all_states(9)  # [512, 9]: every 3x3 picture
three = rbm.all_states(3)
stripes = torch.cat([three.repeat_interleave(3, dim=1), three.repeat(1, 3)])
stripes = stripes.unique(dim=0)  # [14, 9]
is_data = (states[:, None] == stripes).all(dim=2).any(dim=1)  # [512]


def free_energy(v, W, a, b):
    """v [..., N, 9], W [..., 9, 8], a [..., 1, 9], b [..., 1, 8] -> [..., N]"""
    return -(v * a).sum(dim=-1) - F.softplus(b + v @ W).sum(dim=-1)


def hidden(v, W, b):
    """p(h = 1 | v): v [..., N, 9] -> [..., N, 8]"""
    return torch.sigmoid(b + v @ W)


def gibbs(v, k, W, a, b, generator):
    """k times: draw h given v, then v given h."""
    for _ in range(k):
        h = torch.bernoulli(hidden(v, W, b), generator=generator)
        v = torch.bernoulli(torch.sigmoid(a + h @ W.mT), generator=generator)
    return v


# %% tags=["hide-input"]
plots.show(
    plots.image_grid(
        F.pad(stripes.view(-1, 1, 3, 3), (1, 1, 1, 1), value=0.5),
        columns=14,
        title="The whole data set: bars and stripes",
    ),
    alt="Fourteen 3 by 3 pictures of full rows or full columns, in grey frames.",
)

# %%
generator = torch.Generator().manual_seed(0)
W, a, b = (torch.randn(s, generator=generator) for s in ((9, 4), (1, 9), (1, 4)))
energies = torch.stack(  # [16, 512], one h per row
    [-(states @ a[0] + states @ W @ h + b[0] @ h) for h in rbm.all_states(4)]
)
assert torch.allclose(
    free_energy(states, W, a, b), -(-energies).logsumexp(0), atol=1e-4
)

# %% [markdown]
# ### Contrastive divergence: fantasies that never went far
#
# The second average needs samples from the model. Block Gibbs sampling (all $h$ given $v$, all $v$ given $h$, and
# again) gets there *eventually*. [Hinton (2002)](https://doi.org/10.1162/089976602760128018) proposed not to wait:
# start the chain **at the data**, take $k$ steps, often just one, and use where you end:
#
# $$\Delta W \propto \langle v\, h^\top\rangle_\text{data} - \langle v\, h^\top\rangle_{k\text{ steps from the data}} \qquad\text{(CD-}k\text{)}.$$
#
# What it never hears about is a fantasy *far away*, which no short walk from the data reaches. [Tieleman
# (2008)](https://doi.org/10.1145/1390156.1390290) changed one line: keep the chains from one update to the next
# instead of restarting them. The weights move slowly, so the chains stay near the model, and travel. That is
# **persistent** CD (PCD).
#
# > **Predict.** Four learners: the exact gradient, CD-1, CD-10, PCD. No model can do better than
# > $-\log 14 \approx -2.6$ nats per picture. Who gets closest, and can you tell from the reconstruction error, the
# > distance between a picture and what comes back after one step up to $h$ and down again?

# %%
SEEDS, UPDATES, RATE = 3, 2000, 0.2
batch = stripes.repeat(8, 1).expand(SEEDS, -1, -1)  # eight chains for each picture


def correlations(v, p, W, b):
    """Averages under weights p [..., N, 1] that sum to 1: <v h>, <v>, <h>."""
    h = hidden(v, W, b)
    return (p * v).mT @ h, (p * v).sum(-2, keepdim=True), (p * h).sum(-2, keepdim=True)


def fantasies(learner, chain, W, a, b, generator):
    """Pictures [SEEDS, N, 9] that the machine believes in, and their weights."""
    if learner == "exact":
        v = states.expand(SEEDS, -1, -1)
        return v, free_energy(v, W, a, b).neg().softmax(dim=1)[..., None]
    start, k = (chain, 1) if learner == "PCD" else (batch, int(learner[3:]))
    v = gibbs(start, k, W, a, b, generator)
    return v, torch.full((1, v.shape[1], 1), 1 / v.shape[1])


# %%
def learn(learner: str) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    W = 0.1 * torch.randn(SEEDS, 9, 8, generator=generator)
    a, b, chain = torch.zeros(SEEDS, 1, 9), torch.zeros(SEEDS, 1, 8), batch
    even, trace = torch.full((1, batch.shape[1], 1), 1 / batch.shape[1]), []
    for step in range(1, UPDATES + 1):
        chain, p = fantasies(learner, chain, W, a, b, generator)
        up, down = correlations(batch, even, W, b), correlations(chain, p, W, b)
        W, a, b = (w + RATE * (u - d) for w, u, d in zip((W, a, b), up, down))
        if step % 50 == 0:
            log_p = free_energy(states, W, a, b).neg().log_softmax(dim=1)
            again = torch.sigmoid(a + hidden(stripes, W, b) @ W.mT)
            copy = (again - stripes).square().mean(dim=(1, 2))
            row = {"step": step, "log p": log_p[:, is_data].mean(1), "copy": copy}
            trace.append(row | {"W": W, "a": a, "b": b})
    return trace


learners = {name: learn(name) for name in ("exact", "CD-1", "CD-10", "PCD")}

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.2, 3.0, 1, 2)
for (name, trace), dash, color in zip(
    learners.items(), ("-", "--", "-.", ":"), plots.COLORS
):
    steps = [row["step"] for row in trace]
    for ax, key in ((left, "log p"), (right, "copy")):
        lines = torch.stack([row[key] for row in trace])  # [measurements, SEEDS]
        ax.plot(steps, lines.mean(1), dash, color=color, label=name)
        ax.fill_between(
            steps, lines.min(1).values, lines.max(1).values, color=color, alpha=0.15
        )
left.axhline(-math.log(14), color=plots.GRAY, linestyle=":")
left.annotate("best possible", (0, -math.log(14)), va="bottom", fontsize=8)
left.set(
    title="What we want: CD-1 and PCD stop short", xlabel="update", ylim=(-6.5, -2.2)
)
left.set_ylabel("mean log p(v) of the data (nats)")
right.set(title="What one can see: hardly any of it", xlabel="update", yscale="log")
right.set_ylabel("mean squared reconstruction error")
left.legend()
ends = {name: trace[-1]["log p"] for name, trace in learners.items()}
plots.show(
    fig,
    alt="Left: exact log-likelihood during training. Ends: "
    + ", ".join(f"{name} {v.mean():.2f}" for name, v in ends.items())
    + ". Right: the reconstruction errors of the four fall together.",
)
plots.table(
    [
        {"learner": name}
        | {"log p": f"{v.mean():.2f} ({v.min():.2f} to {v.max():.2f})"}
        | {"copy": learners[name][-1]["copy"].mean().item()}
        for name, v in ends.items()
    ],
    f"After {UPDATES} updates: mean of three seeds (lowest to highest)",
    {"learner": "learner", "log p": "log p (nats)", "copy": "reconstruction error"},
    {"copy": ".5f"},
)

# %%
assert ends["exact"].min() > max(ends["CD-1"].max(), ends["PCD"].max()) + 0.05
assert ends["CD-10"].min() > ends["CD-1"].max() + 0.05
assert max(t[-1]["copy"].max() for t in learners.values()) < 2e-3

# %% [markdown]
# All four copy almost perfectly in the end, and they do *not* model equally well: the exact gradient and CD-10 get
# closest, CD-1 and PCD stop short, and hardly anything in the right panel says so. (PCD's curve is restless: a run
# stopped at another moment may look better or worse than CD-1.) **Never judge an RBM by how well it copies.**
#
# How wrong is CD-$k$? In this world the *expected* update needs no sampling. The distribution after $k$ rounds is a row
# vector times the $k$-th power of a 512×512 matrix of transition probabilities.


# %%
def transition(W, a, b):
    """[512, 512]: from picture v to picture v' in one Gibbs round, h summed out."""
    h = rbm.all_states(8).double()
    up, down = (
        hidden(states.double(), W, b)[:, None],
        torch.sigmoid(a + h @ W.T)[:, None],
    )
    to_h = torch.where(h[None] == 1, up, 1 - up).prod(dim=2)  # [512, 256]
    to_v = torch.where(states[None] == 1, down, 1 - down).prod(dim=2)  # [256, 512]
    return to_h @ to_v


K = (1, 2, 5, 10, 20, 50, 100)
start = is_data.double() / 14
bias, matrices = {}, {}
for row in (learners["exact"][i] for i in (3, 19, -1)):
    W, a, b = (row[name][0].double() for name in "Wab")
    p = free_energy(states.double(), W, a, b).neg().softmax(dim=0)
    T = matrices[row["step"]] = transition(W, a, b)
    after = [start @ torch.linalg.matrix_power(T, k) for k in K]
    moves = [correlations(states.double(), (q - p)[:, None], W, b)[0] for q in after]
    exact = correlations(states.double(), (start - p)[:, None], W, b)[0]
    bias[row["step"]] = [float(m.norm() / exact.norm()) for m in moves]

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.0, 2.8)
for (step, values), dash, marker in zip(bias.items(), ("-", "--", ":"), "os^"):
    ax.plot(K, values, dash, marker=marker, markersize=4, label=f"after {step} updates")
ax.set(xscale="log", yscale="log", ylim=(1e-3, 2), xlabel="Gibbs steps k")
ax.set(ylabel="error / exact gradient", title="Old machines need longer chains")
ax.legend()
plots.show(
    fig,
    alt="Error of the expected CD-k update as a share of the exact gradient, by k. At "
    + ", ".join(f"k = 1 {v[0]:.2f} after {step} updates" for step, v in bias.items())
    + "; all fall with k, the oldest machine's last.",
)
young, grown, old = bias.values()
assert young[0] < 0.4 and young[0] < grown[0] < old[0]
assert all(v[-1] < v[0] for v in bias.values()) and young[3] < old[3]
assert old[0] > 0.5

# %% [markdown]
# Measured against the gradient that it stands in for, the error is small at first and most of that gradient later:
# with large weights the chain sits where it started. **CD is a good approximation while you need it least.**
#
# ## Road two: reconstruction
#
# $$z = f(x), \qquad \hat x = g(z), \qquad L_\text{AE} = \lVert x - g(f(x))\rVert^2 .$$
#
# ($x \in \mathbb{R}^P$ is a picture, $z \in \mathbb{R}^D$ its code; both maps are learned by backpropagation,
# [Rumelhart, Hinton and Williams, 1986](https://doi.org/10.1038/323533a0).) What does the smallest one learn?
#
# Let $f(x) = Ax$ and $g(z) = Bz$ with $D < P$, and centred data $X$ (rows are pictures). $BA$ has rank at most $D$,
# whatever $A$ and $B$ are, and the matrix of rank $D$ closest to $X$ is known ([Eckart and Young,
# 1936](https://doi.org/10.1007/BF02288367)): keep the $D$ largest singular values. So the best error is the variance
# left out by PCA, and on the data $BA$ acts as the projection onto the first $D$ principal directions. Nothing fixes
# $B$ itself: $(BR^{-1})(RA)$ is the same map for every invertible $R$. The *subspace* is PCA's, the axes are arbitrary
# ([Bourlard and Kamp, 1988](https://doi.org/10.1007/BF00332918)). Check it on scikit-learn's handwritten digits, 8×8
# pixels, made black and white.

# %%
digits = {split: data.digits(split) for split in ("train", "test")}
ink, new = ((digits[s].images[:, 0].flatten(1) > 127).float() for s in digits)
centred = (ink - ink.mean(dim=0)).double()
D = 8
torch.manual_seed(0)
A, B = nn.Linear(64, D, bias=False).double(), nn.Linear(D, 64, bias=False).double()
optimizer = torch.optim.LBFGS(
    [A.weight, B.weight], max_iter=100, history_size=20, line_search_fn="strong_wolfe"
)


def linear_error() -> torch.Tensor:
    optimizer.zero_grad()
    error = (centred - B(A(centred))).square().sum(dim=1).mean()
    error.backward()
    return error


optimizer.step(linear_error)
_, s, Vt = torch.linalg.svd(centred, full_matrices=False)
left_out = float(s[D:].square().sum() / len(centred))
basis = torch.linalg.qr(B.weight.detach())[0]
cosines = torch.linalg.svdvals(Vt[:D] @ basis)  # of the angles between the subspaces
print(f"error {linear_error().item():.4f}, left out by PCA {left_out:.4f}")
print(f"smallest cosine between the two subspaces {cosines.min():.4f}")
assert linear_error().item() < 1.01 * left_out and cosines.min() > 0.95

# %% [markdown]
# So "reconstruct through a narrow code" *is* machine B of the puzzle. When the code is wide ($D \ge P$), nothing stops
# a network from becoming machine A. Ways to let the code be rich and still forbid copying:
#
# - **sparse**: a wide code of which few entries may be on ([01b](01b_sparse_coding.ipynb));
# - **contractive**: a code that hardly moves when the input does, $\lVert\partial f/\partial x\rVert_F^2$ small
#   ([Rifai et al., 2011](https://icml.cc/2011/papers/455_icmlpaper.pdf)), as long as the decoder does not undo it;
# - **noisy input**: rebuild $x$ from a damaged $\tilde x$, next;
# - **noisy code**, with a price for information: the variational autoencoder ([01c](01c_stacks_and_priors.ipynb)).
#
# ### The denoising autoencoder
#
# [Vincent et al. (2008)](https://doi.org/10.1145/1390156.1390294) damage the input and ask for the clean picture:
#
# $$L_\text{DAE} = \mathbb{E}\,\lVert x - r(\tilde x)\rVert^2, \qquad r = g\circ f, \quad \tilde x = x + \sigma\epsilon \text{ (for example)},$$
#
# $\epsilon$ standard normal, $\sigma$ the noise level (a number here, no longer the sigmoid). The identity is now a
# bad answer: it passes the noise on. The minimiser of a squared error is the conditional mean,
# $r^*(\tilde x) = \mathbb{E}[x\mid\tilde x]$: the average of all the clean pictures that could have led here. And for
# Gaussian noise that average is a *slope*. Let
# $p_\sigma(\tilde x) = \int p(x)\,\mathcal N(\tilde x; x, \sigma^2 I)\,dx$ be the density of noisy points.
# Differentiate under the integral, with $\nabla_{\tilde x}\mathcal N = \mathcal N\,(x - \tilde x)/\sigma^2$, and
# divide by $p_\sigma$:
#
# $$\nabla \log p_\sigma(\tilde x) = \frac{\mathbb{E}[x\mid\tilde x] - \tilde x}{\sigma^2} = \frac{r^*(\tilde x) - \tilde x}{\sigma^2}.$$
#
# A denoiser knows which way is uphill in log density. In the language of energy: the slope is minus the gradient of the
# energy, and $Z$ is gone, since it does not depend on $\tilde x$. The two roads meet. ([Vincent,
# 2011](https://doi.org/10.1162/NECO_a_00142), proved that training a denoiser *is* matching this slope, the *score*;
# [chapter 07](07_generate_to_understand.ipynb) builds a generator on it.) In the plane you can see it: for data
# $x_1, \dots, x_n$ the conditional mean is a weighted mean of the points, with weights
# $\propto e^{-\lVert\tilde x - x_i\rVert^2/2\sigma^2}$.

# %%
SIGMA = 0.25
generator = torch.Generator().manual_seed(0)
angle = 5.2 * torch.rand(400, generator=generator)
points = torch.stack([angle.cos(), angle.sin()], dim=1) * (0.6 + 0.15 * angle[:, None])


def exact_denoiser(noisy: torch.Tensor) -> torch.Tensor:
    """E[x | noisy] when x is one of `points`, all equally likely: [N, 2] -> [N, 2]"""
    distance = torch.cdist(noisy, points).square()
    return (-distance / (2 * SIGMA**2)).softmax(dim=1) @ points


torch.manual_seed(0)
denoiser = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(),
                         nn.Linear(64, 2))  # fmt: skip
optimizer = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
for _ in range(600):
    clean = points[torch.randint(400, (256,))]
    noisy = autoencoders.add_gaussian(clean, SIGMA)
    loss = (denoiser(noisy) - clean).square().sum(dim=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %% tags=["hide-input"]
ticks = torch.linspace(-1.7, 1.7, 12)
grid = torch.cartesian_prod(ticks, ticks)
with torch.no_grad():
    arrows = {"the network": denoiser(grid) - grid,
              "the exact conditional mean": exact_denoiser(grid) - grid}  # fmt: skip
    noisy = autoencoders.add_gaussian(points, SIGMA, generator)
    both = denoiser(noisy) - noisy, exact_denoiser(noisy) - noisy
fig, panels = plots.new_figure(7.4, 3.5, 1, 2, sharex=True, sharey=True)
for ax, (name, field) in zip(panels, arrows.items()):
    ax.plot(points[:, 0], points[:, 1], ".", color=plots.GRAY, markersize=2)
    ax.quiver(
        *grid.T.numpy(), *field.T.numpy(), color=plots.COLORS[0], angles="xy", scale=12
    )
    ax.set(title=f"{name}: r(x) - x", xlabel="first coordinate", aspect="equal")
panels[0].set_ylabel("second coordinate")
plots.show(
    fig,
    alt="Two fields of arrows around a spiral of points, from a trained denoiser "
    "and from the exact conditional mean. In both, arrows point towards the spiral.",
)
agreement = F.cosine_similarity(*both).median().item()
print(f"median cosine between learned and exact slope: {agreement:.2f}")
assert agreement > 0.8

# %% [markdown]
# ## The run: is this a digit?
#
# Five machines learn the digits without labels: a narrow autoencoder, three wide ones (256 hidden units for 64 pixels:
# plain, denoising, contractive), and an RBM. Then each is asked for its *cost*, squared error or free energy, on new
# digits and on pictures that are none: every pixel drawn on its own, on as often as in the digits. **How often does a
# digit cost less than a non-digit?** The identity cannot tell: 50 %.


# %%
class Autoencoder(nn.Module):
    """64 pixels, one sigmoid layer, 64 pixels."""

    def __init__(self, width: int):
        super().__init__()
        self.enter, self.leave = nn.Linear(64, width), nn.Linear(width, 64)

    def code(self, v):
        return torch.sigmoid(self.enter(v))

    def forward(self, v):
        return self.leave(self.code(v))

    def cost(self, v):
        return (self(v) - v).square().mean(dim=1)

    def contraction(self, h):
        """Squared Frobenius norm of d code / d v at codes h [N, width]: [N]"""
        return (h * (1 - h)).square() @ self.enter.weight.square().sum(dim=1)


# %%
def fit_digits(seed: int, width=256, noise=0.0, contract=0.0, steps=450) -> Autoencoder:
    torch.manual_seed(seed)
    machine = Autoencoder(width)
    optimizer = torch.optim.Adam(machine.parameters(), lr=5e-3)
    for _ in range(steps):
        v = ink[torch.randint(len(ink), (100,))]
        h = machine.code(autoencoders.add_gaussian(v, noise))
        loss = (machine.leave(h) - v).square().sum(dim=1).mean()
        if contract:
            loss = loss + contract * machine.contraction(h).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return machine.requires_grad_(False)


# %%
def fit_rbm(seed: int) -> rbm.RBM:
    machine = rbm.train_rbm(ink, 100, steps=700, lr=0.05, seed=seed)
    machine.code, machine.cost = machine.hidden, machine.free_energy
    return machine.requires_grad_(False)


RECIPES = {
    "narrow, 16 units": partial(fit_digits, width=16),
    "wide, plain": fit_digits,
    "wide, noisy input": partial(fit_digits, noise=0.5),
    "wide, contractive": partial(fit_digits, contract=0.5),
    "RBM, CD-1": fit_rbm,
}
trained = {
    name: [make(seed) for seed in range(SEEDS)] for name, make in RECIPES.items()
}


# %%
def beats(digit_cost, other_cost) -> float:
    """Share of pairs in which the digit costs less; a tie counts half."""
    less = (digit_cost[:, None] < other_cost).float()
    return float((less + 0.5 * (digit_cost[:, None] == other_cost).float()).mean())


def vote(code) -> float:
    known, asked = (digits[s].labels for s in ("train", "test"))
    return evaluation.knn_accuracy(code(ink), known, code(new), asked)


loose = torch.bernoulli(
    ink.mean(dim=0).expand(500, 64), generator=torch.Generator().manual_seed(0)
)
answers = {
    name: {
        "copy": [m.cost(loose).mean().item() for m in ms],
        "tells": [beats(m.cost(new), m.cost(loose)) for m in ms],
        "knn": [vote(m.code) for m in ms],
    }
    for name, ms in trained.items()
}
with torch.no_grad():
    fresh = Autoencoder(256)
identity = {"copy": [0.0], "tells": [0.5], "knn": [vote(lambda v: v)]}
answers = {"identity (pixels)": identity} | answers
answers["untrained, wide"] = {"knn": [vote(fresh.code)]}


# %% tags=["hide-input"]
def pm(values, form=".1%"):
    mean = sum(values) / len(values)
    same = f"{min(values):{form}}" == f"{max(values):{form}}"
    return f"{mean:{form}}" + (
        "" if same else f" ({min(values):{form}} to {max(values):{form}})"
    )


for row in (answers["RBM, CD-1"],):
    row.pop("copy")
plots.table(
    [{"machine": "chance", "tells": "50%", "knn": "10%"}]
    + [
        {"machine": name}
        | {k: pm(v, ".4f" if k == "copy" else ".1%") for k, v in row.items()}
        for name, row in answers.items()
    ],
    "Digits, three seeds: mean (lowest to highest)",
    {
        "machine": "machine",
        "copy": "error on non-digits",
        "tells": "a digit costs less than a non-digit",
        "knn": "kNN of the code, 1,297 labels",
    },
)
tells = {name: row["tells"] for name, row in answers.items() if "tells" in row}
plain = tells.pop("wide, plain")
hindered = [v for name, t in tells.items() if name in RECIPES for v in t]
assert 0.6 < min(plain) and max(plain) + 0.05 < min(hindered)
assert (
    max(answers["wide, plain"]["copy"])
    < 0.01
    < min(answers["narrow, 16 units"]["copy"])
)
assert max(max(row["knn"]) for n, row in answers.items() if n in RECIPES) <= (
    identity["knn"][0] + 0.005
)

# %% [markdown]
# The wide plain network rebuilds pictures that are no digits almost perfectly, and is the worst trained judge of
# digits. (It is not quite the identity: it prefers the digit four times in five.) Whatever hinders it (fewer units,
# noise, contraction) makes a machine that copies worse and *knows* better, about as well as the RBM. None of it beats
# raw pixels at recognising digits.
#
# ## The drawn world: three roads to one probe
#
# One small conv net with a decoder rebuilds pictures of the drawn world: as they are (*autoencoder*), under Gaussian
# noise as strong as a picture's own contrast (*denoising*), or with half of their 8×8 squares hidden (*inpainting*).
# Same weights at the start, same pictures, same steps; three seeds.
#
# > **Predict.** Which of the three copies clean pictures best, which gives the best features, and do they beat the kNN
# > of pixels?

# %%
record, origin = book.recorded("early_methods", world=2)
LONG = max(row["steps"] for row in record)
SHORT = min(row["steps"] for row in record if row["steps"])


def recorded(arm: str, key: str, steps: int = LONG) -> list:
    """One entry per seed: for a probe the accuracies of its draws of labels."""
    return book.per_seed([r for r in record if r["steps"] in (0, steps)], key, arm=arm)


def mean_probe(arm: str, steps: int = LONG) -> list[float]:
    return [sum(draws) / len(draws) for draws in recorded(arm, "probe", steps)]


# %% tags=["hide-input"]
ARMS = ("autoencoder", "denoising", "inpainting")
rows = [{"features": "chance", "probe": "10.0%", "knn": "10.0%"}]
for name, arm, steps in (
    ("pixels, mean taken out", "pixels", 0),
    ("256 principal components", "components", 0),
    ("untrained, settled", "untrained", 0),
    *((f"{arm}, {steps} steps", arm, steps) for steps in (SHORT, LONG) for arm in ARMS),
    (f"variational (01c), {LONG} steps", "variational", LONG),
):
    if recorded(arm, "knn", steps):
        row = {"features": name, "probe": pm(mean_probe(arm, steps))}
        row["knn"] = pm(recorded(arm, "knn", steps))
        if arm in (*ARMS, "components", "variational"):
            row["error"] = pm(recorded(arm, "error", steps))
        rows.append(row)
plots.table(
    rows,
    f"Drawn world, {len(recorded('untrained', 'knn'))} seeds: mean (lowest to highest)",
    {
        "features": "features",
        "error": "unexplained variance, clean pictures",
        "probe": "probe, 100 labels (5 draws each)",
        "knn": "kNN, 2,000 labels",
    },
)
print(origin)

# %%
floor, copies = mean_probe("untrained"), recorded("autoencoder", "error")
for arm in ARMS:
    assert all(p > f + 0.02 for p, f in zip(mean_probe(arm), floor))
mean_knn = {arm: sum(k := recorded(arm, "knn")) / len(k) for arm in (*ARMS, "pixels")}
assert max(mean_knn[arm] for arm in ARMS) < mean_knn["pixels"] + 0.03
assert mean_knn["inpainting"] < mean_knn["pixels"] - 0.03
assert copies and sum(copies) < 0.85 * sum(recorded("autoencoder", "error", SHORT))
assert all(e < o for arm in ARMS[1:] for e, o in zip(copies, recorded(arm, "error")))

# %% [markdown]
# With 2,000 labels, neighbours among plain pixels are as good as those in the best of the codes. With 100 labels a
# linear probe finds little in pixels, or in the untrained network, and more in all three codes. The plain autoencoder
# copies clean pictures best in every seed, yet its probe is not visibly better than the others'. Nearly four times the
# training copies much better and raises kNN, not the probe.
#
# What do the codes hold? Read each of the world's factors linearly.

# %% tags=["hide-input"]
SHOWN = {"kind": "kind", "object_hue": "object's hue", "background_hue": "ground's hue",
         "background_texture": "ground's texture",
         "polarity": "light on dark?"}  # fmt: skip
plots.table(
    [
        {"code": arm}
        | {
            key: pm([row[key] for row in recorded(arm, "factors")], ".2f")
            for key in SHOWN
        }
        for arm in ("untrained", *ARMS)
    ],
    f"Factors read from the code (0 chance, 1 perfect), {LONG} steps, mean (range)",
    {"code": "code of"} | SHOWN,
)


def factor(arm: str, key: str) -> list[float]:
    return [row[key] for row in recorded(arm, "factors")]


for arm in ARMS:
    assert (
        max(factor(arm, "background_texture"))
        < 0.2
        < 0.9
        < min(factor(arm, "polarity"))
    )
    assert min(factor(arm, "kind")) > max(factor("untrained", "kind")) + 0.2
    assert min(factor(arm, "background_hue")) > 0.9
assert max(factor("inpainting", "object_hue")) < min(
    factor("autoencoder", "object_hue")
)

# %% [markdown]
# Polarity and the ground's hue are read from the untrained network, too. Learned are much of the object's hue and some
# of its kind; the pattern of the ground cannot be read linearly from any of them.
#
# ## What goes wrong: a judge that copies
#
# An RBM's reconstruction error falls, however far the likelihood gets; an autoencoder's falls, whatever it knows. The
# test that caught the copier is yours to keep: **feed the machine something that is not data, and see whether it
# minds.**
#
# ## Play: the noise slider
#
# The wide plain machine and the one trained at noise level 0.5 look at digits. Drag the noise that goes *in*; the bars
# are distances from the clean digit. **From which level on does training under noise pay? And why does it cost
# something below?**


# %%
def as_pictures(machine):
    """The machine on pictures [N, 1, 8, 8]."""
    return lambda v: machine(v.flatten(1)).unflatten(1, (1, 8, 8))


scene = {
    "images": new[:8].unflatten(1, (1, 8, 8)),
    "models": {"plain": as_pictures(trained["wide, plain"][0]),
               "denoising": as_pictures(trained["wide, noisy input"][0])},
    "display": lambda v: v,
}  # fmt: skip
widgets.explore(
    partial(denoising.render, **scene),
    denoising.controls(0.5, high=1.5),
    static=[{"level": 0.1}, {"level": 0.5}, {"level": 0.6, "kind": "hidden patches"}],
    alt=partial(denoising.describe, **scene),
    columns=3,
)

# %%
levels = [round(0.05 * i, 2) for i in range(31)]
pair = {"images": scene["images"], "models": scene["models"]}
distance = {v: denoising.errors(level=v, kind="Gaussian", **pair) for v in levels}
pays = [v for v in levels if distance[v]["denoising"] < distance[v]["plain"]]
print(f"training under noise pays from level {pays[0]} to {pays[-1]}")
assert 0.1 <= pays[0] <= 0.4 and pays[-1] == levels[-1]
assert distance[0.0]["plain"] < distance[0.0]["denoising"] / 2

# %% [markdown]
# Below about a quarter the plain machine wins, because it may copy: there is next to no noise to remove, and the
# denoiser answers with an *average* of all digits that might lie behind its input at level 0.5. Above, it pays.
#
# ## Exercises
#
# Replace a stub and run the cell. Solutions stand at the end. Tensors are float, `N` pictures of `V` pixels, `H`
# hidden units.
#
# ### 1 · A judge that needs no Z (••, 10 minutes)
# $\log p(v)$ needs $Z$. The **pseudo-log-likelihood** does not: $\sum_i \log p(v_i \mid \text{all other pixels})$.
# Return it in nats, `[N]`, for binary `v` `[N, V]`, `W` `[V, H]`, `a` `[V]`, `b` `[H]`.
#
# <details><summary>Hint 1</summary>Given the other pixels, only two pictures are possible: v, and v with pixel i
# flipped.</details>
# <details><summary>Hint 2</summary>Two probabilities proportional to $e^{-F}$ that sum to 1: a sigmoid of a difference.
# It must survive differences of hundreds of nats: `F.logsigmoid`.</details>


# %%
def pseudo_log_likelihood(v, W, a, b) -> torch.Tensor:
    return NOT_ATTEMPTED


ch01.check_pseudo_log_likelihood(pseudo_log_likelihood)

# %% [markdown]
# ### 2 · Two planted bugs (••, 8 minutes)
# This update of $W$ runs, the weights grow, the reconstructions get better, and the likelihood does not. `v0` `[N, V]`
# and `h0` `[N, H]` are the data and their hidden probabilities, `vk` `[M, V]` and `hk` `[M, H]` the ends of persistent
# chains, of which there may be more or fewer than data. Repair both bugs.
#
# ```python
# def found_update(v0, h0, vk, hk):
#     return torch.outer(v0.mean(0), h0.mean(0)) - vk.T @ hk / len(v0)
# ```
#
# <details><summary>Hint</summary>Which average does CD take: of products, or a product of averages? And over how many
# rows?</details>


# %%
def repaired_update(v0, h0, vk, hk) -> torch.Tensor:
    return NOT_ATTEMPTED


ch01.check_cd_update(repaired_update)

# %% [markdown]
# ### 3 · How long a chain? (••, 8 minutes)
# The error of the expected CD-$k$ update shrinks, in the end, like $|\lambda_2|^k$, where $\lambda_2$ is the
# eigenvalue of the transition matrix that is second largest in size. `T` is a float64 tensor `[S, S]` whose rows sum
# to 1, `share` a float between 0 and 1. Return the smallest whole `k` with $|\lambda_2|^k \le$ `share`, an int. (Then
# try `matrices[200]` and `matrices[2000]` above, a young and an old machine.)
#
# <details><summary>Hint</summary>`torch.linalg.eigvals` gives complex numbers in no particular order; one of them is 1
# for every such matrix.</details>


# %%
def rounds_needed(T: torch.Tensor, share: float) -> int:
    return NOT_ATTEMPTED


ch01.check_rounds_needed(rounds_needed)

# %% [markdown]
# ### 4 · The best linear denoiser (•••, 15 minutes)
# Pictures have mean `mean` `[P]` and covariance `C` `[P, P]`; the input is $\tilde x = x + \sigma\epsilon$. Among all
# *linear* maps (with a constant), which one rebuilds $x$ best in the mean square? Return its answers for `noisy` `[N,
# P]`, a tensor `[N, P]`. Then say what it does along each principal direction, and compare with PCA's answer, "keep or
# drop".
#
# <details><summary>Hint 1</summary>Work with $x - $ `mean`. Set the derivative of $\mathbb{E}\lVert x - M\tilde
# x\rVert^2$ with respect to the matrix $M$ to zero.</details>
# <details><summary>Hint 2</summary>You need $\mathbb{E}\,x\tilde x^\top = C$ and
# $\mathbb{E}\,\tilde x\tilde x^\top = C + \sigma^2 I$.</details>


# %%
def linear_denoiser(noisy, mean, C, sigma: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch01.check_linear_denoiser(linear_denoiser)

# %% [markdown]
# ## Claims, tested
#
# Seeds are paired; the label draws of each are averaged; the floor is the untrained network.

# %%
PLAIN = recorded("autoencoder", "probe")
FLOOR = recorded("untrained", "probe")
book.claim("C-98", drawn=Runs(recorded("inpainting", "probe"), PLAIN, FLOOR))
book.claim("C-98b", drawn=Runs(recorded("denoising", "probe"), PLAIN, FLOOR))

# %% [markdown]
# The two verdicts speak of this conv net, one size of hole, one level of noise, and runs of half a minute. The three
# probes lie close together: so small a difference says little about the roads themselves.
#
# ## Where it comes from, where it went
#
# The Boltzmann machine ([Ackley, Hinton and Sejnowski, 1985](https://doi.org/10.1207/s15516709cog0901_7)) added hidden
# units and temperature to Hopfield's energies. The ideas did not leave:
#
# - hide a part, restore it: context encoders ([05](05_restore_the_image.ipynb)), masked autoencoders
#   ([18](18_masked_images.ipynb));
# - a denoiser is a score: diffusion models ([07](07_generate_to_understand.ipynb));
# - energies without $Z$: noise-contrastive estimation ([13](13_from_nce_to_nt_xent.ipynb)) turns the constant into a
#   parameter.
#
# **Further reading.** [Hinton's practical guide](https://www.cs.toronto.edu/~hinton/absps/guideTR.pdf) to training RBMs
# (2010); [LeCun et al.'s tutorial on energy-based learning](http://yann.lecun.com/exdb/publis/pdf/lecun-06.pdf) (2006).
#
# ## A question
#
# An RBM's reconstruction error has been falling for an hour. May you conclude that it models the data better?
# <details><summary>Answer</summary>No. Reconstruction looks at one short step from the data. The likelihood also
# depends on all the places far from the data, through Z. Compare free energies of held-out data with those of pictures
# that are no data, look at long chains, or use the pseudo-likelihood of exercise 1.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def pseudo_log_likelihood(v, W, a, b):
#     def energy(u):  # free energy [..., V] -> [...]
#         return -u @ a - F.softplus(b + u @ W).sum(dim=-1)
#
#     flips = torch.eye(v.shape[1], dtype=v.dtype)
#     flipped = (v[:, None] - flips).abs()  # [N, V, V]: pixel i flipped in row i
#     return F.logsigmoid(energy(flipped) - energy(v)[:, None]).sum(dim=1)
#
#
# def repaired_update(v0, h0, vk, hk):
#     # Averages of products, each over its own number of rows. A product of averages knows
#     # nothing of which units are on together.
#     return v0.T @ h0 / len(v0) - vk.T @ hk / len(vk)
#
#
# def rounds_needed(T, share):
#     second = torch.linalg.eigvals(T).abs().sort().values[-2]
#     return math.ceil(math.log(share) / math.log(second))
#
#
# def linear_denoiser(noisy, mean, C, sigma):
#     # Along a direction with variance s the answer is s / (s + sigma^2): a soft cut,
#     # where PCA has a hard one. Directions much weaker than the noise are nearly dropped.
#     gain = torch.linalg.solve(C + sigma**2 * torch.eye(len(C), dtype=C.dtype), C)
#     return mean + (noisy - mean) @ gain
# ```
