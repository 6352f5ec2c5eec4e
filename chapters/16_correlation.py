# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 16 · Correlation: if nobody is pushed away, what keeps the dimensions apart?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/16_correlation.ipynb)
#
# **After this chapter you can**
#
# - derive canonical correlation analysis (CCA) from two lines of Lagrange multipliers, and compute it with one
#   singular value decomposition;
# - extend it to bent relations in two ways, one from 1985 (alternating conditional expectations) and one from
#   2013 (Deep CCA);
# - read Barlow Twins, VICReg and W-MSE as three ways to keep CCA's one constraint, and write each in ten lines;
# - name what breaks when a term is missing, and recognise it in a covariance matrix;
# - prove in one line that "push the dimensions apart" and "push the images apart" are the same penalty.
#
# **You need** chapter 13, eigenvectors, and the singular value decomposition.
# **Time**: 78 minutes to read, about 55 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("16")

# %% [markdown]
# ## The puzzle: two instruments, and noise louder than the music
#
# Two instruments with eight channels each listen to the same place. Two faint signals reach both of them: a
# slow wave and a square wave. Each instrument also picks up three loud sources of its own, which the other does
# not hear, and every channel hears some mixture of everything. You get the channels. You do not get the signals,
# and nobody tells you how the channels are mixed.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, diagnostics, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch16
from ssl_lessons.book.widgets import decorrelation
from ssl_lessons.losses import correlation
from ssl_lessons.training import Monitor, pretrain, recipes

LENGTH, HALF = 800, 400  # samples in time; the first half is for fitting, the second for judging


def randn(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def two_instruments(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The hidden signals [T, 2] and what each instrument records, [T, 8]."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(LENGTH, dtype=torch.float64)
    signals = torch.stack([(2 * math.pi * t / 130).sin(), (2 * math.pi * t / 83).sin().sign()], dim=1)
    records = []
    for _ in range(2):
        private = 3 * randn(LENGTH, 3, generator=generator)
        mixture = randn(5, 8, generator=generator)
        hiss = 0.5 * randn(LENGTH, 8, generator=generator)
        records.append(torch.cat([signals, private], dim=1) @ mixture + hiss)
    return signals, *records


signals, X, Y = two_instruments()
fig, axes = plots.new_figure(9.0, 3.0, 2, 2, sharex=True)
for column, (name, record) in enumerate({"first": X, "second": Y}.items()):
    for row in range(2):
        channel = (3, 5)[row]
        axes[row, column].plot(record[:, channel], color=plots.COLORS[column], linewidth=0.7)
        axes[row, column].set(ylabel="reading", title=f"The {name} instrument, channel {channel + 1} of 8")
for ax in axes[1]:
    ax.set_xlabel("time (samples)")
fig.suptitle("Somewhere in here are a slow wave and a square wave, twice")
plots.show(
    fig,
    alt="Four traces, two channels of each instrument. All look like broad-band noise; no wave is visible.",
)

# %% [markdown]
# > **Predict before you go on.** Three people look for the signals. Ann takes the two directions in which the
# > first instrument varies most (principal component analysis, PCA). Ben takes the four. Cleo looks for
# > directions in which the two instruments *agree*. Who finds the waves? And does Cleo need to know what a wave
# > is?
#
# The answer is the subject of this chapter. An image under two random augmentations is exactly this situation:
# the content is shared, the crop and the tint are private, and what varies most is rarely what you want.

# %% [markdown]
# ## Step 1: canonical correlation analysis
#
# Let $x \in \mathbb{R}^{D_x}$ and $y \in \mathbb{R}^{D_y}$ be the two recordings at one moment, with mean zero,
# covariances $\Sigma_x, \Sigma_y$ and cross-covariance $\Sigma_{xy} = \mathbb{E}[x y^\top]$. Look for one
# direction in each, $a$ and $b$, such that $u = a^\top x$ and $v = b^\top y$ correlate as much as possible:
#
# $$\max_{a, b}\; a^\top \Sigma_{xy}\, b \qquad\text{such that}\qquad a^\top \Sigma_x a = 1,\quad b^\top \Sigma_y b = 1.$$
#
# The constraints fix the scale, because a correlation does not change when $a$ gets longer. Without them the
# maximum would be infinite; had we asked to *minimise* $\mathbb{E}(u - v)^2$ instead, the answer would be
# $a = b = 0$. Remember that second case.
#
# Lagrange: with multipliers $\lambda/2, \mu/2$ the derivatives by $a$ and by $b$ vanish when
#
# $$\Sigma_{xy} b = \lambda\, \Sigma_x a, \qquad \Sigma_{xy}^\top a = \mu\, \Sigma_y b.$$
#
# Multiply the first by $a^\top$ and the second by $b^\top$: both multipliers equal $a^\top\Sigma_{xy} b$, the
# correlation itself. Call it $\rho$. Now change variables to $\tilde a = \Sigma_x^{1/2} a$ and
# $\tilde b = \Sigma_y^{1/2} b$, unit vectors by the constraints:
#
# $$K \tilde b = \rho\, \tilde a, \quad K^\top \tilde a = \rho\, \tilde b, \qquad K = \Sigma_x^{-1/2}\, \Sigma_{xy}\, \Sigma_y^{-1/2}.$$
#
# That is the definition of a singular vector pair of $K$. So the best pair is the first one, the second-best
# (uncorrelated with the first) is the second one, and so on: **whiten both sides, take the singular value
# decomposition (SVD) of what remains of the cross-covariance; the singular values are the correlations**
# ([Hotelling, 1936](https://doi.org/10.1093/biomet/28.3-4.321)).

# %%


def inverse_root(covariance: torch.Tensor) -> torch.Tensor:
    """C^(-1/2), symmetric: [D, D] -> [D, D]"""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values**-0.5) @ vectors.T


def my_cca(x: torch.Tensor, y: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x [N, Dx], y [N, Dy] -> correlations [k], directions A [Dx, k] and B [Dy, k]."""
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    root_x, root_y = (inverse_root(torch.cov(z.T)) for z in (x, y))
    K = root_x @ (x.T @ y / (len(x) - 1)) @ root_y
    left, rho, right = torch.linalg.svd(K)
    return rho[:k], root_x @ left[:, :k], root_y @ right[:k].T


rho, A, B = my_cca(X[:HALF], Y[:HALF], 8)
u, v = (X - X[:HALF].mean(dim=0)) @ A, (Y - Y[:HALF].mean(dim=0)) @ B


def explained(features: torch.Tensor) -> list[float]:
    """How much of each hidden signal a line through the features explains: R^2 on the second half, [2]."""
    design = torch.cat([features, torch.ones(LENGTH, 1, dtype=torch.float64)], dim=1)
    fit = torch.linalg.lstsq(design[:HALF], signals[:HALF]).solution
    error = (signals - design @ fit)[HALF:]
    return (1 - error.square().mean(dim=0) / signals[HALF:].var(dim=0, correction=0)).tolist()


_, _, axes_of_x = torch.linalg.svd(X[:HALF] - X[:HALF].mean(dim=0))
components = X @ axes_of_x.T
found = {
    "Ann: the 2 largest principal components": explained(components[:, :2]),
    "Ben: the 4 largest": explained(components[:, :4]),
    "Cleo: the 2 first canonical directions": explained(u[:, :2]),
    "all 8 channels, with the answers known": explained(X),
}
plots.table(
    [{"who": who, "wave": wave, "square": square} for who, (wave, square) in found.items()],
    "Share of each hidden signal that is found (R², on the second half of the recording)",
    {"who": "features of the first instrument", "wave": "slow wave", "square": "square wave"},
    ".2f",
)

# %%
fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2, width_ratios=[2, 1])
design = torch.cat([u[:, :2], torch.ones(LENGTH, 1, dtype=torch.float64)], dim=1)
recovered = design @ torch.linalg.lstsq(design[:HALF], signals[:HALF]).solution
for i, name in enumerate(("slow wave", "square wave")):
    left.plot(recovered[HALF:, i] + 3 * i, color=plots.COLORS[i], linewidth=0.8, label=f"{name}, from CCA")
    left.plot(signals[HALF:, i] + 3 * i, color="black", linestyle=":", linewidth=1)
left.set(
    ylim=(-1.8, 6),
    title="Both signals were there (dotted: the truth)",
    xlabel="time (samples)",
    ylabel="signal",
)
left.set_yticks([])
left.legend(loc="upper right", ncols=2)
held_out = [float(torch.corrcoef(torch.stack([u[HALF:, i], v[HALF:, i]]))[0, 1]) for i in range(8)]
right.bar(range(1, 9), rho.numpy(), color="#cccccc", label="first half (fitted)")
right.plot(range(1, 9), held_out, "o", color=plots.COLORS[1], label="second half")
right.axhline(0, color="black", linewidth=0.6)
right.set(title="Two correlations are real", xlabel="canonical direction", ylabel="correlation")
right.legend()
plots.show(
    fig,
    alt="Left: the slow wave and the square wave recovered by canonical correlation analysis follow the truth "
    "closely. Right: of eight canonical correlations, two are high and stay high on the second half of "
    "the recording; the other six drop to about zero.",
)

# %% [markdown]
# Cleo wins, and she never asked what a wave is. What varies most is the private noise, so PCA takes that first;
# what *agrees* is what both sides share. And the number of correlations that survive on new data tells how many
# things are shared.
#
# ### The sentence this chapter is about
#
# Take $k$ directions at once, $U = XA$ and $V = YB$ with $\mathrm{Cov}(U) = \mathrm{Cov}(V) = I$. Then
#
# $$\mathbb{E}\,\|u - v\|^2 = \mathbb{E}\,\|u\|^2 + \mathbb{E}\,\|v\|^2 - 2\,\mathbb{E}\,u^\top v = 2k - 2\sum_{i=1}^k \rho_i.$$
#
# So maximising correlation **is** pulling the two views together, *under the constraint that each view's
# covariance is the identity*. The pull is the part that every method of this book has. The constraint is the
# answer to the title: its diagonal (every variance is 1) forbids the collapse to a point, and everything off the
# diagonal (no dimension correlates with another) forbids the collapse to a line.

# %%
# NBVAL_CHECK_OUTPUT
package = correlation.cca(X[:HALF], Y[:HALF])
print("my_cca agrees with the package:", torch.allclose(rho, package.correlations))
inside, k = slice(0, HALF), 5
distance = (u[inside, :k] - v[inside, :k]).square().sum(dim=1).sum() / (HALF - 1)
print(
    "distance = 2k - 2 (sum of correlations):",
    abs(distance.item() - (2 * k - 2 * rho[:k].sum().item())) < 1e-9,
)
print("Cov(U) is the identity:", torch.allclose(torch.cov(u[inside].T), torch.eye(8, dtype=torch.float64)))

# %% [markdown]
# ### The trap: with few samples, everything correlates
#
# CCA divides by an estimated covariance. With $N$ samples in $D$ dimensions that estimate is poor, and singular
# for $N \le D$. Here are two recordings of pure noise, 16 channels each, that share *nothing*.

# %%
SIZES, CHANNELS = (20, 24, 32, 40, 64, 128, 256, 512, 1024, 2048), 16
generator = torch.Generator().manual_seed(0)
trap = []
for n in SIZES:
    noise = randn(2, n, CHANNELS, generator=generator)
    trap.append([correlation.cca(*noise, regularization=r).correlations[0].item() for r in (0.0, 1.0)])
trap = torch.tensor(trap)
fig, ax = plots.new_figure(6.2, 2.8)
ax.plot(SIZES, trap[:, 0], "o-", markersize=4, label="plain")
ax.plot(SIZES, trap[:, 1], "s--", markersize=4, label="1 added to every variance")
ax.axvline(2 * CHANNELS, color=plots.GRAY, linestyle=":", label="N = Dx + Dy")
ax.axhline(0, color="black", linewidth=0.6)
ax.set(
    xscale="log",
    title="Pure noise, and a perfect correlation",
    xlabel="samples N (16 + 16 channels)",
    ylabel="first canonical correlation",
)
ax.legend()
plots.show(
    fig,
    alt="First canonical correlation of two independent noise recordings against the number of samples. It is "
    "exactly 1 up to N = 32, the number of channels of both, and falls slowly after; with a "
    "regularised covariance it is lower throughout.",
)

# %% [markdown]
# Up to $N = D_x + D_y$ the correlation of noise is exactly 1: there are enough free directions to fit anything.
# Adding a constant $r$ to the variances (a ridge) helps. Keep this picture in mind for the rest of the chapter:
# **a batch is a small sample**. With 256 images and 512 dimensions, nobody can whiten a batch.

# %% [markdown]
# ## Step 2: bent relations
#
# CCA sees straight lines only. If $y = x^2 + \text{noise}$ and $x$ is symmetric, the correlation is zero although
# $x$ tells nearly all about $y$. What are the best *functions* $f(x)$ and $g(y)$?
#
# **ACE**, alternating conditional expectations ([Breiman and Friedman,
# 1985](https://doi.org/10.1080/01621459.1985.10478157)): fix $g$. Among all $f$ with mean 0 and variance 1, the
# correlation $\mathbb{E}[f(x) g(y)] = \mathbb{E}\big[f(x)\,\mathbb{E}[g(y)\mid x]\big]$ is largest for
# $f(x) \propto \mathbb{E}[g(y) \mid x]$ (Cauchy-Schwarz). Then fix $f$ and do the same for $g$. Repeat. On bins,
# a conditional expectation is a weighted mean, and the algorithm is a few lines.

# %%
BINS = 20


def ace(joint: torch.Tensor, iterations: int = 50) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Joint probabilities [bins, bins] -> f [bins], g [bins] and their correlation."""
    px, py = joint.sum(dim=1), joint.sum(dim=0)

    def standard(values, p):
        values = values - (p * values).sum()
        return values / (p * values.square()).sum().sqrt()

    f = standard(randn(len(px), generator=torch.Generator().manual_seed(0)), px)
    for _ in range(iterations):
        g = standard(joint.T @ f / py, py)  # E[f | y]
        f = standard(joint @ g / px, px)  # E[g | x]
    return f, g, (f @ joint @ g).item()


def binned(values: torch.Tensor) -> torch.Tensor:
    """The bin of each value, all bins equally full."""
    edges = torch.quantile(values, torch.arange(1, BINS, dtype=torch.float64) / BINS)
    return torch.searchsorted(edges, values)


generator = torch.Generator().manual_seed(0)
x = 4 * torch.rand(4000, generator=generator, dtype=torch.float64) - 2
y = x**2 + 0.4 * randn(4000, generator=generator)
in_x, in_y = F.one_hot(binned(x)).double(), F.one_hot(binned(y)).double()  # [4000, bins]
joint = in_x.T @ in_y / len(x)
f, g, maximal = ace(joint)
plain = torch.corrcoef(torch.stack([x, y]))[0, 1].item()

fig, axes = plots.new_figure(9.0, 2.6, 1, 3)
axes[0].plot(x[:800], y[:800], ".", markersize=2, color=plots.GRAY)
axes[0].set(title=f"Correlation {plain:.2f}", xlabel="x", ylabel="y")
for ax, bins, values, name in ((axes[1], in_x, f, "x"), (axes[2], in_y, g, "y")):
    centres = bins.T @ (x if name == "x" else y) / bins.sum(dim=0)
    ax.plot(centres, values * f[0].sign(), "o-", markersize=3)
    ax.set(xlabel=name, ylabel=f"{'f' if name == 'x' else 'g'}({name})")
axes[1].set_title("ACE finds the parabola ...")
axes[2].set_title(f"... and correlation {maximal:.2f}")
plots.show(
    fig,
    alt="Left: points along a parabola with no correlation. Middle: the function f found by ACE is a "
    "parabola in x. Right: the function g is nearly a straight line in y.",
)

# %% [markdown]
# Is this a new principle? No: a function on bins is a linear function of the one-hot code of the bin. ACE is
# power iteration for **CCA on one-hot codes**, and its $K$ is $P_{ij}/\sqrt{p_i q_j}$, with $P$ the joint
# probabilities and $p, q$ the marginals. (Its first singular value is 1, for the constant functions, which the
# mean-zero condition takes out.) [Makur et al. (2015)](https://doi.org/10.1109/ALLERTON.2015.7447113) built on
# this view to find many pairs of functions at once, and [Painsky et al.
# (2020)](https://doi.org/10.3390/e22020208) bounded how much can be learned from samples.

# %%
# NBVAL_CHECK_OUTPUT
by_svd = torch.linalg.svdvals(joint / torch.outer(joint.sum(dim=1), joint.sum(dim=0)).sqrt())
by_cca = (
    correlation.cca(in_x[:, 1:], in_y[:, 1:]).correlations[0].item()
)  # one column follows from the others
print("ACE = second singular value of the joint table:", abs(maximal - by_svd[1].item()) < 1e-6)
print("ACE = CCA on one-hot codes:", abs(maximal - by_cca) < 1e-6)

# %% [markdown]
# ### Deep CCA: let networks choose the functions
#
# Bins do not scale: twenty bins per variable, eight variables, $20^8$ cells. Let two networks compute the
# features, $h_1 = f_1(x; \theta_1)$ and $h_2 = f_2(y; \theta_2)$, and train them to maximise what CCA would find
# in their outputs ([Andrew et al., 2013](https://proceedings.mlr.press/v28/andrew13.html), after a first neural
# version by [Hsieh, 2000](https://doi.org/10.1016/S0893-6080%2800%2900067-8)):
#
# $$L_\text{DCCA} = -\sum_{i=1}^{k} \sigma_i\Big( (C_1 + r I)^{-1/2}\, C_{12}\, (C_2 + r I)^{-1/2} \Big),$$
#
# $C_1, C_2$ the covariances of the outputs over the batch, $C_{12}$ their cross-covariance, $\sigma_i$ the
# singular values, $r$ the ridge from the trap above. All of it is differentiable. (Do not differentiate through
# an eigendecomposition if you can avoid it: its gradient divides by differences of eigenvalues. With a Cholesky
# factor $C = L L^\top$ in place of the root, the singular values are the same and the gradient is harmless. Why
# the same? Another root of $C$ differs by a rotation, and a rotation changes no singular value.)
#
# A **deep canonically correlated autoencoder** (DCCAE, [Wang et al.,
# 2015](https://proceedings.mlr.press/v37/wangb15.html)) adds two decoders and the error of reconstructing $x$ and
# $y$ from $h_1$ and $h_2$. (The [Cookbook](https://arxiv.org/abs/2304.12210), section 2.4, calls the objective of
# 2013 DCCAE; the autoencoder came two years later.)
#
# > **Predict.** Two features per view, three loud private noises in each. What does reconstruction do to the
# > correlation as you turn its weight up?

# %%


def dcca_loss(h1: torch.Tensor, h2: torch.Tensor, r: float = 1e-3) -> torch.Tensor:
    """h1, h2 [N, D] -> minus the sum of all canonical correlations."""
    h1, h2 = h1 - h1.mean(dim=0), h2 - h2.mean(dim=0)
    eye = torch.eye(h1.shape[1], dtype=h1.dtype)
    L1, L2 = (torch.linalg.cholesky(h.T @ h / (len(h) - 1) + r * eye) for h in (h1, h2))
    K = torch.linalg.inv(L1) @ (h1.T @ h2 / (len(h1) - 1)) @ torch.linalg.inv(L2).T
    return -torch.linalg.svdvals(K).sum()


def bent_views(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[n, 6] and [n, 5]: one shows an angle as a point on a circle, the other as a number; one shows b, the
    other b squared; plus three private noises each, and everything rotated.
    """
    generator, fixed = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    angle, b = 2 * torch.rand(n, generator=generator) - 1, torch.randn(n, generator=generator)
    shared = (
        torch.stack([(3 * angle).cos(), (3 * angle).sin(), b], dim=1),
        torch.stack([angle, b**2], 1),
    )
    both = []
    for s in shared:
        s = s + 0.1 * torch.randn(s.shape, generator=generator)
        both.append(torch.cat([s, 1.5 * torch.randn(n, 3, generator=generator)], dim=1))
    turns = [torch.linalg.qr(torch.randn(z.shape[1], z.shape[1], generator=fixed))[0] for z in both]
    return tuple(z @ turn for z, turn in zip(both, turns))


def held_out_correlation(fitted: list[torch.Tensor], fresh: list[torch.Tensor]) -> float:
    """Sum of the two canonical correlations of `fresh` along directions found on `fitted`."""
    found = correlation.cca(*(z.double() for z in fitted), k=2)
    a, b = ((new.double() - old.double().mean(dim=0)) @ w for old, new, w in zip(fitted, fresh, found[1:]))
    return sum(torch.corrcoef(torch.stack([a[:, i], b[:, i]]))[0, 1].item() for i in range(2))


def mlp(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, outputs)
    )


fit, fresh = bent_views(600, seed=1), bent_views(600, seed=2)


def train_views(agree: float, rebuild: float, steps: int = 100) -> dict:
    """Deep CCA with weight `agree`, reconstruction with weight `rebuild`: what comes out on fresh data."""
    torch.manual_seed(0)
    encoders = [mlp(z.shape[1], 2) for z in fit]
    decoders = [mlp(2, z.shape[1]) for z in fit]
    optimizer = torch.optim.Adam([p for net in encoders + decoders for p in net.parameters()], lr=1e-2)
    for _ in range(steps):
        h = [net(z) for net, z in zip(encoders, fit)]
        error = sum(F.mse_loss(net(c), z) for net, c, z in zip(decoders, h, fit))
        loss = agree * dcca_loss(*h) + rebuild * error
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        h, new = ([net(z) for net, z in zip(encoders, both)] for both in (fit, fresh))
        kept = [1 - F.mse_loss(net(c), z) / z.var() for net, c, z in zip(decoders, new, fresh)]
    return {"correlation": held_out_correlation(h, new), "kept": sum(kept).item() / 2}


deep = {
    "linear CCA": {"correlation": held_out_correlation(fit, fresh)},
    "Deep CCA": train_views(1.0, 0.0),
    "DCCAE, weight 0.3": train_views(1.0, 0.3),
    "DCCAE, weight 3": train_views(1.0, 3.0),
    "autoencoder only": train_views(0.0, 1.0),
}
plots.table(
    [{"method": name, **row} for name, row in deep.items()],
    "Two features per view, on fresh data (correlation: 2 is perfect)",
    {"method": "method", "correlation": "sum of two correlations", "kept": "variance reconstructed"},
    ".2f",
)

# %%
# NBVAL_CHECK_OUTPUT
h1, h2 = (randn(50, 4, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
print("dcca_loss agrees with the package:", torch.allclose(dcca_loss(h1, h2), correlation.dcca(h1, h2)))

# %% [markdown]
# Reconstruction is loyal to *variance*, correlation to *agreement*. With two features to spend, the autoencoder
# spends them on the loud private noise, like Ann; a little reconstruction beside the correlation costs little, a
# lot turns it into Ann. In vision, where crops and tints are private noise, that is a reason to leave the decoder
# out. (Chapter 18 will make reconstruction work after all, by hiding the input.)

# %% [markdown]
# ## Step 3: three ways to keep the constraint in a small batch
#
# Now both views go through *one* network, $z_1$ and $z_2$ are its outputs for a batch of $N$ images, and we want:
#
# $$\text{pull } z_1 \text{ and } z_2 \text{ together, while } \mathrm{Cov}(z) = I.$$
#
# Deep CCA would invert a $D\times D$ covariance estimated from $N$ images. You have seen what that does. Three
# families of ways out:
#
# | | the constraint is | on which matrix | a collapsed batch |
# |---|---|---|---|
# | **W-MSE** ([Ermolov et al., 2021](https://arxiv.org/abs/2007.06346)) | exact: whiten, with few dimensions | covariance of each view | cannot be whitened |
# | **Barlow Twins** ([Zbontar et al., 2021](https://arxiv.org/abs/2103.03230)) | a penalty | cross-*correlation* of the views | costs $D$ |
# | **VICReg** ([Bardes et al., 2022](https://arxiv.org/abs/2105.04906)) | two penalties | covariance of each view | costs the hinge |
#
# ### W-MSE: whiten the batch
#
# Whiten each view by $W = L^{-1}$ from the Cholesky factor of its covariance, put the rows on the unit sphere,
# and take the squared distance:
#
# $$L_\text{W-MSE} = \frac1N \sum_i \Big\| \frac{w_{1,i}}{\|w_{1,i}\|} - \frac{w_{2,i}}{\|w_{2,i}\|} \Big\|^2, \qquad w = W(z - \bar z).$$
#
# Up to the projection on the sphere it is the sentence of step 1. Unlike Deep CCA it does not search for the best
# rotation of the second view (the network has to do that), so it needs no SVD. It does need $N$ well above $D$,
# hence small outputs; the authors whiten random sub-batches, to draw the small-sample noise anew each time.

# %%


def whiten(z: torch.Tensor) -> torch.Tensor:
    """z [N, D] -> [N, D] with mean 0 and covariance I."""
    z = z - z.mean(dim=0)
    L = torch.linalg.cholesky(z.T @ z / (len(z) - 1))
    return torch.linalg.solve_triangular(L, z.T, upper=False).T


def w_mse(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    """z1, z2 [N, D] -> a scalar in [0, 4]"""
    w1, w2 = (F.normalize(whiten(z), dim=1) for z in (z1, z2))
    return (w1 - w2).square().sum(dim=1).mean()


# %% [markdown]
# ### Barlow Twins: one matrix should be the identity
#
# Standardise each dimension over the batch (mean 0, deviation 1) and correlate every dimension of view 1 with
# every dimension of view 2:
#
# $$C_{ij} = \frac1N \sum_b \hat z_{1,bi}\, \hat z_{2,bj}, \qquad L_\text{BT} = \sum_i (1 - C_{ii})^2 + \lambda \sum_i \sum_{j\ne i} C_{ij}^2 .$$
#
# The diagonal pulls the views together; the rest says that dimension $j$ of one view must not be predictable from
# dimension $i$ of the other. Once the views agree, $C$ is the correlation matrix of either, and $C = I$ is CCA's
# constraint. The name honours Horace Barlow's idea that the brain recodes to reduce redundancy.

# %%


def barlow_twins(z1: torch.Tensor, z2: torch.Tensor, lambd: float = 5e-3, eps: float = 1e-5) -> torch.Tensor:
    """z1, z2 [N, D] -> a scalar"""
    z1, z2 = ((z - z.mean(dim=0)) / (z.var(dim=0, correction=0) + eps).sqrt() for z in (z1, z2))
    C = z1.T @ z2 / len(z1)  # [D, D]
    diagonal = C.diagonal()
    return (1 - diagonal).square().sum() + lambd * (C - diagonal.diag()).square().sum()


# %% [markdown]
# ### VICReg: variance, invariance, covariance
#
# Three terms, one for each thing that is wanted. With $C(z)$ the covariance matrix of a view (divided by $N-1$):
#
# $$s = \frac{1}{ND}\sum_i \|z_{1,i} - z_{2,i}\|^2, \quad v(z) = \frac1D\sum_j \max\big(0,\ 1 - \sqrt{C_{jj} + \epsilon}\,\big), \quad c(z) = \frac1D \sum_{i\ne j} C_{ij}^2,$$
#
# $$L_\text{VICReg} = 25\, s + 25\, \tfrac12\big(v(z_1) + v(z_2)\big) + 1\,\big(c(z_1) + c(z_2)\big).$$
#
# Each view is regularised on its own, so the two branches could be different networks. $v$ and $c$ together,
# without the pull, are called VCReg ([Mialon et al., 2022](https://arxiv.org/abs/2209.14905)).

# %%


def vicreg(z1: torch.Tensor, z2: torch.Tensor, inv: float = 25.0, var: float = 25.0, cov: float = 1.0):
    """z1, z2 [N, D] -> a scalar"""
    loss = inv * F.mse_loss(z1, z2)
    for z in (z1, z2):
        z = z - z.mean(dim=0)
        C = z.T @ z / (len(z) - 1)  # [D, D]
        loss = loss + var / 2 * F.relu(1 - (C.diagonal() + 1e-4).sqrt()).mean()
        loss = loss + cov * (C - C.diagonal().diag()).square().sum() / len(C)
    return loss


# %%
# NBVAL_CHECK_OUTPUT
generator = torch.Generator().manual_seed(0)
z1 = randn(64, 12, generator=generator)
z2 = z1 + 0.5 * randn(64, 12, generator=generator)
for mine, theirs in (
    (w_mse, correlation.w_mse),
    (barlow_twins, correlation.barlow_twins),
    (vicreg, correlation.vicreg),
):
    agree = all(torch.allclose(mine(s * z1, s * z2), theirs(s * z1, s * z2)) for s in (0.1, 1.0, 3.0))
    print(f"{mine.__name__} agrees with the package: {agree}")
w1, w2 = whiten(z1), whiten(z2)
total = (w1 - w2).square().sum() / 63
best = 2 * 12 + 2 * correlation.dcca(z1, z2, regularization=0.0)
print("distance of whitened views >= 2D - 2 (sum of canonical correlations):", bool(total >= best))

# %% [markdown]
# ## Step 4: why the hinge sits on the standard deviation
#
# Suppose a dimension has nearly collapsed, its deviation is tiny. How hard does the variance term push it apart?
# Per image, the derivative of the deviation is $\partial\,\mathrm{std}/\partial z_b = (z_b - \bar z) / ((N-1)\,
# \mathrm{std})$: the small numerator is divided by the small deviation, and the push keeps its strength. With a
# hinge on the *variance*, $1 - C_{jj}$, it is $2 (z_b - \bar z)/(N-1)$: it dies with the deviation. The dimension
# that needs the push most gets the least.

# %%
shape = randn(256, 1, generator=torch.Generator().manual_seed(0))
shape = (shape - shape.mean()) / shape.std()
deviations = torch.logspace(-5, 0, 60, dtype=torch.float64)[:-1]


def push(term, deviation: float) -> float:
    """Length of the gradient of a term on 256 values with that deviation."""
    z = (deviation * shape).requires_grad_()
    return torch.autograd.grad(term(z), z)[0].norm().item()


hinges = {
    "on the deviation, as in VICReg (eps = 1e-4)": correlation.vicreg_variance,
    "on the deviation, eps = 1e-10": lambda z: correlation.vicreg_variance(z, eps=1e-10),
    "on the variance": lambda z: F.relu(1 - z.var(dim=0)).mean(),
}
pushes = {name: [push(term, d) for d in deviations.tolist()] for name, term in hinges.items()}
fig, ax = plots.new_figure(6.2, 3.0)
for (name, values), dash in zip(pushes.items(), ("-", "--", ":")):
    ax.plot(deviations, values, dash, label=name)
ax.set(
    xscale="log",
    yscale="log",
    title="The nearer to collapse, the weaker the push of a hinge on the variance",
    xlabel="standard deviation of the dimension (units of z)",
    ylabel="length of the gradient",
)
ax.legend(title="hinge")
plots.show(
    fig,
    alt="Length of the gradient against the standard deviation on log axes. For the hinge on the deviation it is "
    "flat until the deviation falls below the square root of epsilon, then drops; for the "
    "hinge on the variance it falls in proportion from the start.",
)

# %% [markdown]
# The $\epsilon$ under the root buys a finite gradient at exactly zero (where the root has none) and pays with a
# weaker push below $\sqrt\epsilon$. At *exact* collapse all $z_b$ are equal and the push is zero for every
# version: a constant has no direction to grow in. Noise gets you out of it, a loss does not.
#
# ## Step 5: apart in which sense? A one-line duality
#
# Contrastive losses push *images* apart. The losses here push *dimensions* apart. Two philosophies? Let
# $Z \in \mathbb{R}^{N\times D}$ be a batch. The dimensions are compared by $Z^\top Z$ ($D\times D$), the images by
# $Z Z^\top$ ($N\times N$), and
#
# $$\|Z^\top Z\|_F^2 = \operatorname{tr}(Z^\top Z Z^\top Z) = \operatorname{tr}(Z Z^\top Z Z^\top) = \|Z Z^\top\|_F^2 .$$
#
# Take the diagonals out on both sides:
#
# $$\underbrace{\sum_{i\ne j} (Z^\top Z)_{ij}^2}_{\text{dimensions: VICReg's } c} + \sum_j \|Z_{\cdot j}\|^4 \;=\; \underbrace{\sum_{a\ne b} (z_a^\top z_b)^2}_{\text{images: squared similarities}} + \sum_a \|z_a\|^4 .$$
#
# If the columns' lengths are fixed (by the variance term) and the rows' lengths too (by normalisation), the two
# penalties differ by a constant, and their gradients agree where both are fixed. [Garrido et al.
# (2023)](https://arxiv.org/abs/2206.02574) call the families *dimension-contrastive* and *sample-contrastive*,
# and walk from VICReg to SimCLR in two small steps, each of which keeps the accuracy: **VICReg-exp** replaces the
# squares by the logarithm of a sum of exponentials, **VICReg-ctr** applies it to the transpose, so that images
# are compared. In code the second step is `.T`:

# %%
# NBVAL_CHECK_OUTPUT


def off_diagonal(gram: torch.Tensor) -> torch.Tensor:
    return gram.square().sum() - gram.diagonal().square().sum()


Z = randn(256, 32, generator=torch.Generator().manual_seed(1))
of_dimensions = off_diagonal(Z.T @ Z) + Z.norm(dim=0).pow(4).sum()
of_images = off_diagonal(Z @ Z.T) + Z.norm(dim=1).pow(4).sum()
duality_error = abs(of_dimensions / of_images - 1).item()
print("dimensions apart = images apart, up to the lengths:", duality_error < 1e-12)
centred = Z - Z.mean(dim=0)
c_by_images = (off_diagonal(centred @ centred.T) + centred.norm(dim=1).pow(4).sum() - centred.norm(dim=0).pow(4).sum()) / (255**2 * 32)  # fmt: skip
print("VICReg's c, computed from similarities of images:", torch.allclose(c_by_images, correlation.vicreg_covariance(Z)))  # fmt: skip

# %% [markdown]
# So "contrastive against non-contrastive" is no deep divide; the difference left is in the weights, the
# normalisation, and whether $N$ or $D$ is the larger number. ([Balestriero and LeCun
# (2022)](https://arxiv.org/abs/2205.11508) find the same from the side of spectral embeddings.) Some slides file
# Barlow Twins under "classification between samples". Its formula contains no pair of different images at all;
# only through this identity do they come in.

# %% [markdown]
# ## The run: VICReg, live
#
# The recipe of the running table with the weights of the paper (25, 25, 1) and a projector with 512 outputs. The
# paper calls its projector an *expander*, because its output (8,192) is wider than the features.

# %%
STEPS = 300
recipe = recipes.get_recipe("quick", method="vicreg")
unlabeled = data.shapes("unlabeled", 32, 8192, 0, world=1)
train, test = data.shapes("train", 32, 2000, 0, world=1), data.shapes("test", 32, 2000, 0, world=1)
chance = 1 / len(train.classes)


@torch.no_grad()
def embeddings(method, images: torch.Tensor) -> torch.Tensor:
    """Projector outputs [N, D] in evaluation mode, on the CPU."""
    method.eval()
    where = next(method.parameters()).device
    return torch.cat([method.embed(views.normalize(b.to(where))).float().cpu() for b in images.split(500)])


@torch.no_grad()
def settled(method):
    """After some passes in training mode: BatchNorm's running statistics, 0 and 1 at first, have caught up."""
    for batch in unlabeled.images[:5120].split(256):
        method.train().embed(views.normalize(batch))
    return method


fresh = settled(recipe.build(seed=0))
before = {
    "h": evaluation.extract_features(fresh.encoder, test.images[:1000]),
    "z": embeddings(fresh, test.images[:1000]),
}
method = recipe.build(seed=0)
history = pretrain(
    method,
    unlabeled.images,
    method.views(recipe.policy),
    steps=STEPS,
    seed=0,
    monitor=Monitor(train[:1000], train[1000:1500], every=50),
    **recipe.training(),
)
after = {
    "h": evaluation.extract_features(method.encoder, test.images[:1000]),
    "z": embeddings(method, test.images[:1000]),
}

# %%
collapsed_loss = method.chance_loss(recipe.batch_size)
fig = plots.training_panel(
    history,
    "VICReg: the loss leaves the collapsed value, kNN climbs, the features stay spread",
    chance=chance,
    chance_loss=collapsed_loss,
)
plots.show(
    fig,
    alt="Training curves of VICReg. The loss falls from just below the value of a collapsed network; the kNN "
    "accuracy rises far above chance; the standard deviation and the rank of the features do not collapse.",
)

# %%


def evaluate_encoder(name: str, encoder) -> dict:
    """A row of the results from the frozen features of the train and test images."""
    a, b = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    probe = evaluation.label_efficiency(a, train.labels, b, test.labels, per_class=(10,), draws=5)[0]
    return {
        "name": name,
        "probe": probe["mean"],
        "knn": evaluation.knn_accuracy(a, train.labels, b, test.labels),
        "rank": diagnostics.rank_me(b),
    }


HEADINGS = {"name": "features", "probe": "probe, 100 labels", "knn": "kNN, 2,000 labels", "rank": "RankMe"}
FORMATS = {"probe": ".1%", "knn": ".1%", "rank": ".0f"}
live = evaluate_encoder(f"VICReg, {STEPS} steps, live", method.encoder)
families, _ = book.recorded("families")


def on_record(name: str, arm: str) -> dict:
    """The recorded run of a method with seed 0."""
    return next(r for r in families if (r["method"], r["arm"], r["seed"]) == (name, arm, 0))


recorded_live = on_record("vicreg", "live")
plots.table(
    [
        {"name": "a guess", "probe": chance, "knn": chance},
        {**on_record("pixels", "minute"), "name": "raw pixels (record)", "rank": None},
        {**on_record("untrained", "minute"), "name": "untrained encoder (record)", "rank": on_record("untrained", "minute")["rank_h"]},
        {**recorded_live, "name": f"VICReg, {recorded_live['steps']} steps (record)", "rank": recorded_live["rank_h"]},
        live,
    ],
    f"The live run, tested on {len(test):,} pictures",
    HEADINGS,
    FORMATS,
)  # fmt: skip
print(f"probe live {live['probe']:.1%}, on record for the same run {recorded_live['probe']:.1%}")
assert abs(live["probe"] - recorded_live["probe"]) < 0.06, "the live run does not repeat the record"

# %% [markdown]
# (The recorded run was made on one machine and yours on another; sums in another order drift apart over hundreds
# of steps. The cell checks that the probe agrees within 6 points.)
#
# ### The running table
#
# Three seeds per method, the same encoder, data and budget. The budget is processor time, so a costlier step means
# fewer of them.

# %%
book.results_table(
    ["simclr", "moco_v2", "byol", "barlow_twins", "vicreg", "w_mse"],
    "One minute of training each: median of three seeds (lowest to highest probe)",
)

# %% [markdown]
# Two of the three family members are as good as anything in this book after a minute. W-MSE, fully constrained, is
# not, although the constraint of all three is the same. Keep the question; "What goes wrong" answers it.
#
# ### How far did the constraint get? A tug-of-war you can compute
#
# The hinge asks for deviation 1 in every dimension. Is it met? Let all $D$ dimensions have deviation $\sigma$ in
# both views, let the views of a dimension correlate by $\rho$, and let two different dimensions have the mean
# squared correlation $r^2$. Then the squared distance of partners is $2\sigma^2(1-\rho)$ per dimension, a
# covariance is $r\sigma^2$, and with the weights $\lambda, \mu, \nu$ (invariance, variance, covariance) the loss is
#
# $$L(\sigma) = \underbrace{2\lambda(1-\rho)\,\sigma^2}_{\text{pull}} \;+\; \underbrace{\mu\,(1-\sigma)}_{\text{hinge}} \;+\; \underbrace{2\nu\,(D-1)\,r^2\,\sigma^4}_{\text{covariance, two views}} .$$
#
# Two terms shrink the cloud, one spreads it. Where is the minimum? Set $L'(\sigma) = 0$; one number comes out. It
# is never zero (the hinge's slope is constant, the other slopes vanish at zero): **no complete collapse, whatever
# the other weights, as long as $\mu > 0$**. But it need not be 1. Measure $\rho$ and $r^2$ on new pictures, and compare the predicted with the
# measured deviation.

# %%


@torch.no_grad()
def two_embeddings(method, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    both = views.make_views(images, method.views(recipe.policy), torch.Generator().manual_seed(1))
    method.train()  # BatchNorm with the statistics of the batch, as the loss sees it
    where = next(method.parameters()).device
    z = method.projector(method.encoder(torch.cat(both).to(where))).float().cpu()
    method.eval()
    return z.chunk(2)


def rms_correlation(z: torch.Tensor) -> float:
    """Root mean squared correlation of two different dimensions; constant dimensions are left out."""
    c = torch.corrcoef(z[:, z.std(dim=0) > 1e-6].T)
    return off_diagonal(c).div(len(c) * (len(c) - 1)).sqrt().item()


z1, z2 = two_embeddings(method, test.images[:1024])
D = z1.shape[1]
variance = (z1.var(dim=0) + z2.var(dim=0)) / 2
shared = ((z1 - z1.mean(dim=0)) * (z2 - z2.mean(dim=0))).sum(dim=0).div(1023 * variance).mean().item()
r_squared = (rms_correlation(z1) ** 2 + rms_correlation(z2) ** 2) / 2
sigma = torch.linspace(0, 1, 1001)
terms = {
    "pull": 2 * method.invariance_weight * (1 - shared) * sigma**2,
    "hinge": method.variance_weight * (1 - sigma),
    "covariance": 2 * method.covariance_weight * (D - 1) * r_squared * sigma**4,
}
total = sum(terms.values())
predicted, measured = sigma[total.argmin()].item(), variance.sqrt().mean().item()

fig, (left, middle, right) = plots.new_figure(9.4, 3.0, 1, 3)
for (name, values), dash in zip(terms.items(), ("--", "-.", ":")):
    left.plot(sigma, values, dash, label=name)
left.plot(sigma, total, color="black", label="sum")
left.axvline(measured, color=plots.GRAY, linewidth=0.8)
left.set(
    ylim=(0, 1.6 * method.variance_weight),
    title=f"Least at {predicted:.2f}; measured {measured:.2f}",
    xlabel="deviation of a dimension",
    ylabel="cost",
)
left.legend(loc="upper right", ncols=2)
shown = middle.imshow(torch.corrcoef(after["z"][:, :48].T), vmin=-1, vmax=1, cmap="RdBu_r")
middle.set(title=f"Correlations of z, RMS {rms_correlation(after['z']):.2f}", xlabel="dimension", ylabel="dimension")  # fmt: skip
fig.colorbar(shown, ax=middle, label="correlation")
for (name, z), dash in zip({"untrained": before["z"], "after VICReg": after["z"]}.items(), ("--", "-")):
    values = diagnostics.singular_values(z)
    right.plot(range(1, len(values) + 1), (values / values[0]).clamp_min(1e-5), dash, label=name)
right.set(
    yscale="log",
    title="Spectrum of z, before and after",
    xlabel="direction, by size",
    ylabel="singular value / largest",
)
right.legend()
plots.show(
    fig,
    alt=f"Left: the cost of a deviation, a sum of three terms, is least at {predicted:.2f}; the measured deviation "
    f"is {measured:.2f}. Middle: heat map of the correlations between 48 dimensions. Right: singular values "
    "of z before and after training.",
)
print(
    f"views correlate by {shared:.2f}; two dimensions by {r_squared**0.5:.2f} (RMS); deviation predicted {predicted:.2f}, "
    f"measured {measured:.2f}; without the covariance term the formula would give "
    f"{min(1.0, method.variance_weight / (4 * method.invariance_weight * (1 - shared))):.2f}"
)

# %% [markdown]
# The sketch fits nothing, it only needs two other measured numbers, and it shows who holds the cloud down: each
# dimension pays for its covariances with all $D - 1$ others. That is the reason behind an advice you will meet again below:
# *when you change the number of outputs, rescale the weights*. (Do not compare the heat map with that of an
# untrained network, whose dimensions are random mixtures of everything. Compare it with a network that was trained
# without the covariance term. That comes next.)

# %% [markdown]
# ### Uncorrelated is not independent; what about the features below?
#
# The penalty works on $z$ and knows about straight-line relations only. You keep $h$, the features *before* the
# projector. [Mialon et al. (2022)](https://arxiv.org/abs/2209.14905) argue that decorrelating the outputs of a
# wide nonlinear projector makes its *inputs* pairwise independent: many random nonlinear functions of $h$ that are
# all uncorrelated are a kernel test of independence in disguise. Measure it with one: HSIC, the Hilbert-Schmidt
# independence criterion ([Gretton et al., 2005](https://doi.org/10.1007/11564089_7)). For two variables $a, b$
# with Gaussian kernel matrices $K, L$ over the batch, centred by $H = I - \frac1N \mathbf{1}\mathbf{1}^\top$,
#
# $$\mathrm{HSIC}(a, b) = \frac{1}{(N-1)^2} \operatorname{tr}(K H L H),$$
#
# zero in the limit only for independent variables, however bent their relation. `correlation.hsic` scales it so
# that a variable has 1 with itself. (It has been used as a training loss, too: [Li et al.,
# 2021](https://arxiv.org/abs/2106.08320).)

# %%


def mean_pair(matrix: torch.Tensor) -> float:
    """Mean of the off-diagonal entries."""
    return ((matrix.sum() - matrix.trace()) / (len(matrix) * (len(matrix) - 1))).item()


generator = torch.Generator().manual_seed(0)
independent = torch.randn(256, 64, generator=generator)
dependence = {
    "independent Gaussians (the floor)": independent,
    "h, untrained": before["h"][:256, :64],
    "h, after VICReg": after["h"][:256, :64],
    "z, untrained": before["z"][:256, :64],
    "z, after VICReg": after["z"][:256, :64],
}
dependence_rows = [
    {
        "what": name,
        "correlation": mean_pair(torch.corrcoef(t.T).abs()),
        "hsic": mean_pair(correlation.hsic(t)),
    }
    for name, t in dependence.items()
]
plots.table(
    dependence_rows,
    "Mean over all pairs of 64 dimensions, 256 pictures (lower: less dependent)",
    {"what": "dimensions of", "correlation": "|correlation|", "hsic": "HSIC, scaled"},
    ".3f",
)

# %% [markdown]
# The first comparison, before against after, is not the fair one: independence is cheap for features that say
# little about the picture, and a batch of objects of ten kinds makes any features that tell the kinds apart depend on
# each other. The fair question is what happens to *useful* features with and without the penalty. The record below
# has that comparison.

# %% [markdown]
# ## What goes wrong (1): take a term away
#
# > **Predict.** Which of these end in a point, which in a line, and which look fine? (a) VICReg without the
# > variance term. (b) Without the covariance term. (c) Barlow Twins with $\lambda = 0$. For each: what happens to
# > the deviation of the dimensions, and to the correlations between them?

# %%
SHORT = 30
broken = {
    "VICReg, all terms": ("vicreg", {}),
    "no variance term": ("vicreg", {"variance_weight": 0.0}),
    "no covariance term": ("vicreg", {"covariance_weight": 0.0}),
    "Barlow Twins, lambda 0": ("barlow_twins", {"lambd": 0.0}),
}


def shape_of(z: torch.Tensor) -> dict:
    """Mean deviation, root mean squared correlation between dimensions, RankMe of the centred z, verdict."""
    return {
        "std": z.std(dim=0).mean().item(),
        "correlation": rms_correlation(z),
        "rank": diagnostics.rank_me(z - z.mean(dim=0)),
        "verdict": diagnostics.diagnose(z).verdict,
    }


clinic, clinic_z = [], {}
for name, (which, options) in broken.items():
    chosen = recipes.get_recipe("quick", method=which)
    short = chosen.with_(options={**chosen.options, **options}).build(seed=0)
    pretrain(
        short,
        unlabeled.images,
        short.views(chosen.policy),
        steps=SHORT,
        seed=0,
        progress=False,
        **chosen.training(),
    )
    clinic_z[name] = embeddings(short, test.images[:500])
    clinic.append({"run": name, **shape_of(clinic_z[name])})
plots.table(
    clinic,
    f"After {SHORT} steps: the embeddings z of 500 new pictures",
    {
        "run": "run",
        "std": "mean deviation",
        "correlation": "RMS correlation of two dimensions",
        "rank": "RankMe",
        "verdict": "diagnose(z) says",
    },
    {"std": ".3f", "correlation": ".2f", "rank": ".1f"},
)

# %% [markdown]
# Without the variance term the pull has no opponent and everything shrinks towards one point. (The covariance
# term even helps it: small numbers have small covariances.) Without the covariance term each dimension keeps its
# spread, but nothing says that they must differ, so they tend to carry the same few things. The same holds for
# Barlow Twins with $\lambda = 0$; its standardisation hides it from a look at the deviations. **Check both:** the
# deviation of each dimension *and* the correlation between them.
#
# Thirty steps show the beginning. The record below trains each arm longer, over the seeds on record, and also takes the
# famous half away.

# %%
sweep, sweep_origin = book.recorded("correlation")
SWEEP_STEPS = max(row["steps"] for row in sweep)


def of(arm: str, key: str) -> list[float]:
    """One number per seed."""
    return [row[key] for row in sorted(sweep, key=lambda r: r["seed"]) if row["arm"] == arm]


def mean(values) -> float:
    return sum(values) / len(values)


def recorded_arms(*names: str) -> list[str]:
    """Those of the arms that the record holds."""
    return [name for name in names if of(name, "probe")]


ABLATIONS = ("untrained", "vicreg", "no half", "no covariance", "no variance", "barlow", "barlow, lambda 0")
plots.table(
    [
        {
            "arm": arm,
            "seeds": len(of(arm, "probe")),
            "probe": mean(of(arm, "probe")),
            "knn": mean(of(arm, "knn")),
            "std": mean(of(arm, "std_z")),
            "correlation": mean(of(arm, "correlation_z")),
            "rank": mean(of(arm, "rank_z")),
            "hsic": mean(of(arm, "hsic_h")),
            "verdict": ", ".join(sorted(set(of(arm, "verdict")))),
        }
        for arm in recorded_arms(*ABLATIONS)
    ],
    f"{SWEEP_STEPS} steps: what is lost with each part (means over the seeds)",
    {
        "arm": "arm",
        "seeds": "seeds",
        "probe": "probe",
        "knn": "kNN",
        "std": "deviation of z",
        "correlation": "correlation of z",
        "rank": "RankMe of z",
        "hsic": "HSIC of h",
        "verdict": "diagnose(z)",
    },
    {"probe": ".1%", "knn": ".1%", "std": ".3f", "correlation": ".2f", "rank": ".0f", "hsic": ".2f"},
)
print(
    f"Twice the variance weight ('no half'): probe {mean(of('no half', 'probe')) - mean(of('vicreg', 'probe')):+.1%}, "
    f"deviation of z {mean(of('vicreg', 'std_z')):.2f} -> {mean(of('no half', 'std_z')):.2f}"
)
print(sweep_origin)

# %% [markdown]
# Read the columns together. Without the variance term the deviation is what tells: `diagnose` looks at directions,
# not at lengths, on purpose (a cloud shrunk to a hundredth has the same shape), so it may see nothing wrong with a
# point that is not yet quite a point. Without the covariance term it is the correlation: near 1 means that the
# dimensions are copies, and the probe of $h$ falls with it. And the dependence between the *features* is lowest
# where both terms are at work, although neither of them ever sees the features: that is Mialon's effect. The
# untrained encoder is no fair comparison in that column, as its features say little about the picture in the first
# place.
#
# Last, the arm "no half" has twice the variance weight. By the tug-of-war its deviations must be larger. Are they? And
# is a larger deviation good for anything?
#
# ## What goes wrong (2): two famous bugs
#
# **The missing half.** Equation 6 of the VICReg paper adds $v(z_1) + v(z_2)$ with weight 25. The authors' code
# divides each by two, and also divides the squared distance by $D$, which equation 5 does not. The weights 25, 25,
# 1 belong to the *code*. Type in the equation and your variance weight is 50 (and, if you forget to divide by
# $D$, your invariance weight is $25 D$). Nothing crashes. *How to see it*: evaluate the loss on a constant batch.
# With the half it is $25\,(1 - \sqrt{\epsilon})$, without it twice that.
#
# **The unbiased deviation.** Barlow's $C_{ij}$ is a correlation: the mean of products divided by biased
# deviations. `z.std(dim=0)` is unbiased by default, so the perfect batch gets $C_{ii} = (N-1)/N$, and the loss
# does not reach zero. *How to see it*: compare a batch with itself.

# %%


def barlow_unbiased(z1, z2, lambd=0.0):
    z1, z2 = ((z - z.mean(dim=0)) / z.std(dim=0) for z in (z1, z2))
    return (1 - (z1.T @ z2 / len(z1)).diagonal()).square().sum()


constant = torch.ones(64, 12, dtype=torch.float64)
bugs = [
    {"bug": "VICReg, constant batch", "right": vicreg(constant, constant).item(),
     "wrong": vicreg(constant, constant, var=50.0).item()}
]  # fmt: skip
for n in (8, 64, 256):
    same = randn(n, 512, generator=torch.Generator().manual_seed(n))
    bugs.append(
        {
            "bug": f"Barlow Twins (diagonal), a batch of {n} with itself, D = 512",
            "right": barlow_twins(same, same, lambd=0.0, eps=1e-12).item(),
            "wrong": barlow_unbiased(same, same).item(),
        }
    )
plots.table(
    bugs,
    "The loss where you know the answer",
    {"bug": "test", "right": "right", "wrong": "with the bug"},
    ".3g",
)

# %% [markdown]
# Is the second bug serious? Look at its size beside the loss of a collapsed network, $D$. At large batches it is
# a blemish; at batch 8 it matters. The first one changes the balance between the terms at any batch size. Whether
# that costs accuracy in our world, the table above tells ("no half").

# %% [markdown]
# ## What goes wrong (3): a few outliers can pay the bill
#
# "Whitened points cannot collapse", you may read. Can they not? The covariance is a *second moment*, and second
# moments can be bought by a few. Here is a batch of 256 pictures with 16 output dimensions. For each dimension there
# are two pictures far out on its axis. **All other pictures sit at one point**, up to a little noise of each view's
# own.

# %%


def outlier_batch(n: int = 256, dims: int = 16, each: int = 2, noise: float = 3e-4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    place = torch.zeros(n, dims, dtype=torch.float64)
    place[: each * dims] = torch.eye(dims, dtype=torch.float64).repeat_interleave(each, dim=0)
    place = place / place.std(dim=0)  # deviation 1 in every dimension, as VICReg wants it
    return [place + noise / 0.09 * randn(n, dims, generator=generator) for _ in range(2)]


def kurtosis(z: torch.Tensor) -> float:
    """Mean fourth moment of the standardised dimensions: 3 for a Gaussian, large for rare outliers."""
    z = (z - z.mean(dim=0)) / z.std(dim=0).clamp_min(1e-12)
    return z.pow(4).mean().item()


generator = torch.Generator().manual_seed(1)
gaussian = randn(256, 16, generator=generator)
clouds = {
    "a Gaussian cloud, views correlate by 0.9": [gaussian, 0.9 * gaussian + 0.19**0.5 * randn(256, 16, generator=generator)],
    "32 outliers, 224 pictures in one point": outlier_batch(),
}  # fmt: skip
plots.table(
    [
        {
            "cloud": name,
            "w_mse": w_mse(*pair).item(),
            "barlow": barlow_twins(*pair).item(),
            "vicreg": vicreg(*pair).item(),
            "kurtosis": kurtosis(pair[0]),
        }
        for name, pair in clouds.items()
    ],
    "All three losses prefer the cloud that is of no use",
    {
        "cloud": "embeddings",
        "w_mse": "W-MSE",
        "barlow": "Barlow Twins",
        "vicreg": "VICReg",
        "kurtosis": "kurtosis",
    },
    ".3f",
)
plots.table(
    [
        {
            "method": name,
            "probe": mean([r["probe"] for r in families if (r["method"], r["arm"]) == (name, "minute")]),
            "rank": mean([r["rank_z"] for r in families if (r["method"], r["arm"]) == (name, "minute")]),
            "verdict": ", ".join(
                sorted({r["verdict"] for r in families if (r["method"], r["arm"]) == (name, "minute")})
            ),
        }
        for name in ("barlow_twins", "vicreg", "w_mse")
    ],
    "The recorded minute, seen from z",
    {"method": "method", "probe": "probe", "rank": "RankMe of z", "verdict": "diagnose(z)"},
    {"probe": ".1%", "rank": ".0f"},
)
print(f"kurtosis of z after the live run: {kurtosis(after['z']):.1f} (a Gaussian has 3)")

# %% [markdown]
# Every condition of step 1 is met: mean zero, variance one, no correlation, views that agree. And seven pictures in
# eight cannot be told apart. The constraint is about *dimensions*; nothing in it says that most *pictures* must
# differ. (By the duality the two are the same only while the rows have equal lengths, and here they do not.) W-MSE is
# the most exposed of the three: it is blind to the length of $z$, has few dimensions to serve, and whitening
# stretches whatever little variance a network leaves until it counts fully. *How to see it*: the kurtosis, a
# collapsed rank of $z$ in evaluation, a kNN accuracy that falls while the loss falls.

# %% [markdown]
# ## Play: three weights, one cloud
#
# A *linear* network from six inputs to the plane, trained on VICReg's loss alone. The inputs are made like the
# instruments of the puzzle: two signals that both views share (with a little noise), four loud nuisances that
# each view has for itself, all mixed. Partners are joined by a line; the colour is the first shared signal. Drag
# the weights and predict: point, line, or cloud? And do partners meet?

# %%
widgets.explore(
    decorrelation.render,
    decorrelation.controls(),
    static=[{}, {"covariance": 0.0}, {"variance": 0.0}, {"invariance": 0.0}],
    alt=decorrelation.describe,
    columns=2,
    captions=["all three terms", "no covariance", "no variance", "no invariance"],
)

# %% [markdown]
# > **Try.** (1) With all three terms, the correlation of the views ends close to what CCA finds in closed form
# > (next cell). VICReg with a linear network *is* approximate CCA. (2) Lower the covariance weight from 10 to 1.
# > Which of the two signals is lost first, and why is it the noisier one? (3) Set invariance to 1. The cloud is
# > perfectly white. What is it a picture of?

# %%
_, both = decorrelation.two_views()
exact = correlation.cca(*both, k=2).correlations.mean().item()
by_descent = decorrelation.flow(25.0, 25.0, 10.0).shared[-1]
print(
    f"mean correlation of the two views: CCA, closed form {exact:.3f}; VICReg by gradient descent {by_descent:.3f}"
)

# %% [markdown]
# ## Three questions of design, from the record
#
# **How many output dimensions?** Covariance methods were said to need thousands. [Garrido et al.
# (2023)](https://arxiv.org/abs/2206.02574) found two confounders: the projector's *hidden* layer used to shrink
# with the output, and the covariance term was not rescaled. Three arms for each small output: *narrow* (the hidden
# layer shrinks too), *fixed* (hidden layer kept at 512), *scaled* (kept, and the covariance weight multiplied by
# $512/D$, so that a dimension feels as much pressure as among 512).
#
# **Must the projector be trained?** [Mialon et al. (2022)](https://arxiv.org/abs/2209.14905) say that the penalty
# is satisfied by the encoder, and a random projector will do. **Does a wider projector make the features more
# independent?** They say yes, and name HSIC as the measure.

# %%
OUTPUTS = (16, 64)
fig, (left, right) = plots.new_figure(9.2, 3.2, 1, 2)
for kind, marker, dash in (("narrow", "o", ":"), ("fixed", "s", "--"), ("scaled", "^", "-")):
    arms = recorded_arms(*(f"{d} {kind}" for d in OUTPUTS), "vicreg")
    where = [512 if arm == "vicreg" else int(arm.split()[0]) for arm in arms]
    left.plot(where, [100 * mean(of(arm, "probe")) for arm in arms], dash, marker=marker, label=kind)
    for d, arm in zip(where, arms):
        left.plot([d] * len(of(arm, "probe")), [100 * p for p in of(arm, "probe")], ".", color="black", markersize=3)  # fmt: skip
left.axhline(100 * mean(of("untrained", "probe")), color=plots.GRAY, linestyle="-.", label="untrained")
left.axhline(100 * chance, color=plots.GRAY, linestyle=":", label="chance")
left.set(
    xscale="log",
    ylim=(0, None),
    title="Few output dimensions, three ways (dots: seeds)",
    xlabel="output dimensions of the projector",
    ylabel="probe accuracy, 100 labels (%)",
)
left.set_xticks([16, 64, 512], ["16", "64", "512"])
left.minorticks_off()
left.legend(ncols=2)
HIDDEN = {"trained": (("hidden 64", 64), ("vicreg", 512), ("hidden 2048", 2048)),
          "frozen": (("frozen", 512), ("frozen 2048", 2048))}  # fmt: skip
for i, (kind, arms) in enumerate(HIDDEN.items()):
    right.plot([w for _, w in arms], [mean(of(a, "hsic_h")) for a, _ in arms], "-" if i == 0 else "--",
               color=plots.COLORS[i], label=f"{kind} projector")  # fmt: skip
    for arm, width in arms:
        right.plot(
            [width] * len(of(arm, "hsic_h")), of(arm, "hsic_h"), "o", color=plots.COLORS[i], markersize=3
        )
right.axhline(mean(of("untrained", "hsic_h")), color=plots.GRAY, linestyle="-.", label="untrained encoder")
right.set(
    xscale="log",
    ylim=(0, None),
    title="Dependence of the features h (dots: seeds)",
    xlabel="hidden width of the projector",
    ylabel="mean pairwise HSIC",
)
right.set_xticks([64, 512, 2048], ["64", "512", "2048"])
right.minorticks_off()
right.legend()
plots.show(
    fig,
    alt="Left: probe accuracy against the number of output dimensions for projectors that shrink, keep their "
    "hidden width, or also rescale the covariance weight. Right: mean pairwise HSIC of the features "
    "against the hidden width, for trained and for frozen random projectors, with the untrained encoder as a line.",
)
plots.table(
    [
        {
            "arm": arm,
            "probe": mean(of(arm, "probe")),
            "range": f"{min(of(arm, 'probe')):.1%} to {max(of(arm, 'probe')):.1%}",
            "knn": mean(of(arm, "knn")),
            "hsic": mean(of(arm, "hsic_h")),
            "rank": mean(of(arm, "rank_h")),
        }
        for arm in recorded_arms("untrained", "vicreg", "16 narrow", "16 fixed", "16 scaled", "64 narrow", "64 fixed", "64 scaled",
                    "hidden 64", "hidden 2048", "frozen", "frozen 2048")
    ],
    f"All arms after {SWEEP_STEPS} steps (means over the seeds)",
    {"arm": "arm", "probe": "probe", "range": "over the seeds", "knn": "kNN", "hsic": "HSIC of h", "rank": "RankMe of h"},
    {"probe": ".1%", "knn": ".1%", "hsic": ".3f", "rank": ".0f"},
)  # fmt: skip

# %% [markdown]
# Read the probe beside the HSIC before you conclude anything about width: an arm that has not learned in so few
# steps, at a learning rate chosen for another width, is dependent for reasons of its own. And compare *narrow* with
# *fixed* before you credit the hidden layer with what the covariance weight does.
#
# ## Exercises
#
# Replace `return NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on your answers.
#
# ### 1 · The cross-correlation matrix (•, 6 minutes)
#
# Barlow's $C$, without the $\epsilon$.
#
# <details><summary>Hint 1</summary>Each dimension is standardised over the batch, so which `dim` do mean and deviation run over?</details>
# <details><summary>Hint 2</summary>A batch compared with itself must have ones on the diagonal. Does `std()` with its default give that?</details>

# %%


def my_cross_correlation(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    """z1, z2 [N, D] -> [D, D]"""
    return NOT_ATTEMPTED


ch16.check_cross_correlation(my_cross_correlation)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_cross_correlation(z1, z2):
#     z1, z2 = ((z - z.mean(dim=0)) / z.std(dim=0, correction=0) for z in (z1, z2))
#     return z1.T @ z2 / len(z1)
# ```
# </details>
#
# ### 2 · The variance hinge (•, 5 minutes)
#
# VICReg's $v(z)$, with $\epsilon = 10^{-4}$ under the root.
#
# <details><summary>Hint 1</summary>`torch.var` divides by N - 1; that is what is wanted here.</details>
# <details><summary>Hint 2</summary>The hinge is per dimension, the mean comes last.</details>

# %%


def my_variance_term(z: torch.Tensor) -> torch.Tensor:
    """z [N, D] -> a scalar"""
    return NOT_ATTEMPTED


ch16.check_variance_term(my_variance_term)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_variance_term(z):
#     return F.relu(1 - (z.var(dim=0) + 1e-4).sqrt()).mean()
# ```
# </details>
#
# ### 3 · Whiten, and turn back (••, 10 minutes)
#
# Many matrices whiten. ZCA whitening uses the symmetric one, $C^{-1/2}$, which changes the data the least.
#
# <details><summary>Hint 1</summary>`torch.linalg.eigh(torch.cov(z.T))` gives eigenvalues and eigenvectors (as columns).</details>
# <details><summary>Hint 2</summary>Rotate into the eigenvectors, divide by the roots of the eigenvalues. You are white now. What is left to do?</details>
# <details><summary>Hint 3</summary>Rotate back: $V\,\mathrm{diag}(\lambda^{-1/2})\,V^\top$.</details>

# %%


def my_zca_whiten(z: torch.Tensor) -> torch.Tensor:
    """z [N, D] -> [N, D], mean 0, covariance I (divided by N - 1)"""
    return NOT_ATTEMPTED


ch16.check_zca_whiten(my_zca_whiten)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_zca_whiten(z):
#     z = z - z.mean(dim=0)
#     values, vectors = torch.linalg.eigh(torch.cov(z.T))
#     return z @ vectors @ torch.diag(values**-0.5) @ vectors.T
# ```
# </details>
#
# ### 4 · VICReg from memory (•••, 12 minutes)
#
# All three terms, weights 25, 25, 1, normalised as in the authors' code. The checker knows the usual slips.
#
# <details><summary>Hint 1</summary>Which two terms are per view, and which of those is averaged over the views?</details>
# <details><summary>Hint 2</summary>`F.mse_loss` divides by N and by D, which is what the code does.</details>
# <details><summary>Hint 3</summary>The covariance matrix without its diagonal, squared, summed, divided by D.</details>

# %%


def my_vicreg(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    """z1, z2 [N, D] -> a scalar"""
    return NOT_ATTEMPTED


ch16.check_vicreg(my_vicreg)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_vicreg(z1, z2):
#     loss = 25 * F.mse_loss(z1, z2)
#     for z in (z1, z2):
#         C = torch.cov(z.T)
#         loss = loss + 25 / 2 * F.relu(1 - (C.diagonal() + 1e-4).sqrt()).mean()
#         loss = loss + (C - C.diagonal().diag()).square().sum() / len(C)
#     return loss
# ```
# </details>

# %% [markdown]
# ## Claims put to the test
#
# Statements from the literature, each with what this chapter measured. The verdict is computed from the numbers,
# by a rule you can read in the cell. A difference counts when it exceeds twice its standard error over the seeds;
# where the record has one seed, a tenth of the larger value.

# %%


def verdict(holds: bool, partly: bool = False) -> str:
    return "reproduced" if holds else "mixed" if partly else "not reproduced here"


def gap(better: str, worse: str, key: str = "probe") -> tuple[float, float]:
    """Mean difference over the seeds that both have, and its standard error (none with one seed: nan)."""
    by_seed = [{row["seed"]: row[key] for row in sweep if row["arm"] == arm} for arm in (better, worse)]
    common = sorted(by_seed[0].keys() & by_seed[1].keys())
    difference = torch.tensor([by_seed[0][seed] - by_seed[1][seed] for seed in common], dtype=torch.float64)
    error = (difference.std() / math.sqrt(len(common))).item() if len(common) > 1 else math.nan
    return difference.mean().item(), error


def clearly(better: str, worse: str, key: str = "probe") -> bool:
    difference, error = gap(better, worse, key)
    return difference > (
        0.1 * max(mean(of(better, key)), mean(of(worse, key))) if math.isnan(error) else 2 * error
    )


shrunk = mean(of("no variance", "std_z")) < 0.1 * mean(of("vicreg", "std_z"))
repeated = mean(of("no covariance", "correlation_z")) > 1.5 * mean(of("vicreg", "correlation_z"))
book.claim(
    "C-56",
    "The variance and the covariance term prevent collapse.",
    verdict(shrunk and repeated, shrunk or repeated),
    {
        "deviation of z": mean(of("vicreg", "std_z")),
        "without the variance term": mean(of("no variance", "std_z")),
        "correlation of two dimensions": mean(of("vicreg", "correlation_z")),
        "without the covariance term": mean(of("no covariance", "correlation_z")),
        "probe": mean(of("vicreg", "probe")),
        "probe without variance": mean(of("no variance", "probe")),
        "probe without covariance": mean(of("no covariance", "probe")),
    },
    "bardes2022vicreg",
)

best_small = max(("16 fixed", "16 scaled"), key=lambda arm: mean(of(arm, "probe")))
helped = clearly(best_small, "16 narrow")
no_need = not clearly("vicreg", best_small) or gap("vicreg", best_small)[0] < 0.03
book.claim(
    "C-7",
    "A large output dimension is not a requirement for covariance methods once hidden width and weights are tuned.",
    verdict(helped and no_need, helped or no_need),
    {
        "probe, 512 outputs": mean(of("vicreg", "probe")),
        "16 outputs, narrow": mean(of("16 narrow", "probe")),
        "16 outputs, hidden layer kept": mean(of("16 fixed", "probe")),
        "16 outputs, kept and scaled": mean(of("16 scaled", "probe")),
    },
    "garrido2023duality",
)

suffices = not clearly("vicreg", "frozen") or gap("vicreg", "frozen")[0] < 0.03
useful = mean(of("frozen", "probe")) > mean(of("untrained", "probe")) + 0.15
book.claim(
    "C-13",
    "The projector need not be optimised: a random projector suffices for variance-covariance regularisation.",
    verdict(suffices, useful),
    {
        "probe, trained projector": mean(of("vicreg", "probe")),
        "probe, frozen random projector": mean(of("frozen", "probe")),
        "the same, hidden width 2048": mean(of("frozen 2048", "probe")),
        "untrained encoder": mean(of("untrained", "probe")),
    },
    "mialon2022variance",
)

widths = [mean(of(arm, "hsic_h")) for arm in ("hidden 64", "vicreg", "hidden 2048")]
falls = clearly("hidden 64", "hidden 2048", "hsic_h")
book.claim(
    "C-14",
    "Wider projectors give more pairwise independence of the features.",
    verdict(falls and widths[0] > widths[1] > widths[2], falls),
    {f"HSIC of h, hidden width {w}": v for w, v in zip((64, 512, 2048), widths)}
    | {
        f"probe, hidden width {w}": mean(of(arm, "probe"))
        for w, arm in ((64, "hidden 64"), (512, "vicreg"), (2048, "hidden 2048"))
    }
    | {"frozen, 512": mean(of("frozen", "hsic_h")), "frozen, 2048": mean(of("frozen 2048", "hsic_h"))}
    | {"untrained": mean(of("untrained", "hsic_h"))},
    "mialon2022variance",
)

# %%
minute = {
    name: [r["probe"] for r in families if r["method"] == name and r["arm"] == "minute"]
    for name in ("simclr", "vicreg", "barlow_twins")
}
identity = duality_error < 1e-12
close = abs(mean(minute["simclr"]) - mean(minute["vicreg"])) < 0.05
book.claim(
    "C-120",
    "Contrastive and covariance-based methods are equivalent up to normalisation.",
    verdict(identity and close, identity or close),
    f"The identity of the two penalties holds to {duality_error:.0e}. One minute of training each: probe "
    f"{mean(minute['simclr']):.1%} for SimCLR, {mean(minute['vicreg']):.1%} for VICReg, "
    f"{mean(minute['barlow_twins']):.1%} for Barlow Twins. Rule: the identity, and SimCLR and VICReg within 5 points.",
    "garrido2023duality",
)

# %% [markdown]
# The sweeps are short, on one small world, with one encoder. "Not reproduced here" says exactly that.

# %% [markdown]
# ## Where it comes from, where it went
#
# [Hotelling (1936)](https://doi.org/10.1093/biomet/28.3-4.321) asked how two sets of measurements are related;
# everything here is his question. [Breiman and Friedman (1985)](https://doi.org/10.1080/01621459.1985.10478157)
# found the best functions of one variable each, [Makur et al.
# (2015)](https://doi.org/10.1109/ALLERTON.2015.7447113) many functions of many, [Hsieh
# (2000)](https://doi.org/10.1016/S0893-6080%2800%2900067-8) and [Andrew et al.
# (2013)](https://proceedings.mlr.press/v28/andrew13.html) brought networks, [Wang et al.
# (2015)](https://proceedings.mlr.press/v37/wangb15.html) set them beside autoencoders. In 2021 three groups
# arrived at views of one image almost at once: [W-MSE](https://arxiv.org/abs/2007.06346) by whitening, [Barlow
# Twins](https://arxiv.org/abs/2103.03230) by redundancy reduction, [VICReg](https://arxiv.org/abs/2105.04906) by
# splitting the wish into three terms. [Garrido et al. (2023)](https://arxiv.org/abs/2206.02574) closed the circle
# to the contrastive losses of chapters 13 and 14. The [Cookbook](https://arxiv.org/abs/2304.12210) also counts
# SwAV in this family; its balanced assignments are a constraint of the same spirit, but on cluster sizes (chapter
# 17).
#
# **Further reading.** [Mialon et al. (2022)](https://arxiv.org/abs/2209.14905) on what the projector is for;
# [Balestriero and LeCun (2022)](https://arxiv.org/abs/2205.11508) on the closed form of all these losses for linear
# networks; [Li et al. (2021)](https://arxiv.org/abs/2106.08320) on maximising dependence measured by kernels.
#
# ### Quiz
#
# **1.** A colleague trains with the pull and the variance term only. Every dimension of $z$ has deviation 1, so she
# rules out collapse. Is she right?
#
# <details><summary>Answer</summary>No. All dimensions can be copies of one. Each has deviation 1, and the cloud is a line. Look at the correlation between dimensions, or at the spectrum.</details>
#
# **2.** Why does W-MSE use 64 output dimensions and VICReg 8,192?
#
# <details><summary>Answer</summary>W-MSE inverts the covariance of a (sub-)batch, which needs clearly more images than dimensions. VICReg only penalises its entries; it never inverts anything, and an estimate with rank below D still has a gradient.</details>
#
# **3.** You double the batch in Barlow Twins and nothing else. Do you expect the off-diagonal sum to change for
# embeddings whose dimensions are truly uncorrelated?
#
# <details><summary>Answer</summary>Yes, it halves. The correlation of N independent pairs has variance about 1/N, so the sum of D(D - 1) squares is about D(D - 1)/N although every true correlation is zero: the trap of step 1 in another dress.</details>
