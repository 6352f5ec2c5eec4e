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
# - derive canonical correlation analysis (CCA), and compute it with one singular value decomposition;
# - write Barlow Twins, VICReg and W-MSE as three ways to keep CCA's one constraint;
# - tell which constraint is missing from the shape of a cloud: a point, a line, or noise;
# - predict how far VICReg's cloud spreads, before you look;
# - prove in one line that "push the dimensions apart" and "push the images apart" are nearly the same penalty.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb), eigenvectors, and the singular value decomposition.
# **Time**: 31 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("16")

# %% [markdown]
# ## The puzzle: two instruments, and noise louder than the music
#
# Two instruments with eight channels each listen to the same place. Two faint signals reach both of them: a slow wave
# and a square wave. Each instrument also hears three loud noises of its own, and every channel records some mixture of
# all five. You get the channels.

# %%
import math
from statistics import fmean as mean

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, diagnostics, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch16
from ssl_lessons.book.widgets import decorrelation
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.losses import correlation
from ssl_lessons.training import default_monitor, pretrain, recipes

LENGTH, HALF = 800, 400  # moments in time; the first half to fit, the second to judge


def randn(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# %%
def two_instruments(seed: int = 2):
    """The hidden signals [T, 2] and what each instrument records, [T, 8]."""
    g, t = torch.Generator().manual_seed(seed), torch.arange(LENGTH).double()
    slow, square = (2 * math.pi * t / 130).sin(), (2 * math.pi * t / 83).sin().sign()
    signals, records = torch.stack([slow, square], dim=1), []
    for _ in range(2):
        private, mixture = 3 * randn(LENGTH, 3, generator=g), randn(5, 8, generator=g)
        hiss = 0.5 * randn(LENGTH, 8, generator=g)
        records.append(torch.cat([signals, private], dim=1) @ mixture + hiss)
    return signals, *records


signals, X, Y = two_instruments()

# %% tags=["hide-input"]
fig, axes = plots.new_figure(9.0, 2.8, 2, 2, sharex=True)
for column, (name, record) in enumerate({"first": X, "second": Y}.items()):
    for row in range(2):
        axes[row, column].plot(
            record[:, row], color=plots.COLORS[column], linewidth=0.7
        )
        axes[row, column].set_title(f"The {name} instrument, channel {row + 1} of 8")
        axes[row, column].set_ylabel("reading")
for ax in axes[1]:
    ax.set_xlabel("time (samples)")
plots.show(
    fig,
    alt="Four traces, the first two channels of each instrument. All look like noise.",
)

# %% [markdown]
# > **Predict before you go on.** Three people look for the signals. Ann takes the two directions in which the first
# > instrument varies most (principal component analysis, PCA), Ben takes the four. Cleo takes the two directions in
# > which the two instruments *agree* best. Who finds both waves? (A guess is right once in three times.) Does Cleo need
# > to know what a wave is?
#
# A picture under two random augmentations is the same situation: the content is shared, crop and tint are private.
#
# ## The idea: agree, and be told apart
#
# Let $x \in \mathbb{R}^{D_x}$ and $y \in \mathbb{R}^{D_y}$ be the two recordings at one moment, with mean zero,
# covariances $\Sigma_x, \Sigma_y$ and cross-covariance $\Sigma_{xy} = \mathbb{E}[x y^\top]$. Look for directions $a$,
# $b$ such that $u_x = a^\top x$ and $u_y = b^\top y$ correlate as much as possible:
#
# $$\max_{a, b}\; a^\top \Sigma_{xy}\, b \qquad\text{such that}\qquad a^\top \Sigma_x a = b^\top \Sigma_y b = 1.$$
#
# The constraints fix the scale: without them, *minimising* $\mathbb{E}(u_x - u_y)^2$ gives $a = b = 0$. With Lagrange
# multipliers $\kappa/2, \kappa'/2$ the derivatives by $a$ and $b$ vanish when
#
# $$\Sigma_{xy} b = \kappa\, \Sigma_x a, \qquad \Sigma_{xy}^\top a = \kappa'\, \Sigma_y b.$$
#
# Multiply by $a^\top$ and by $b^\top$: both multipliers equal $a^\top\Sigma_{xy} b$, the correlation itself. Call it
# $\rho$, and substitute $\tilde a = \Sigma_x^{1/2} a$, $\tilde b = \Sigma_y^{1/2} b$, which have length 1:
#
# $$K \tilde b = \rho\, \tilde a, \quad K^\top \tilde a = \rho\, \tilde b, \qquad K = \Sigma_x^{-1/2}\, \Sigma_{xy}\, \Sigma_y^{-1/2}.$$
#
# Pairs of singular vectors of $K$, the best first, uncorrelated with each other: **whiten both sides and take the
# singular value decomposition (SVD) of their cross-covariance; the singular values are the correlations** ([Hotelling,
# 1936](https://doi.org/10.1093/biomet/28.3-4.321)).


# %%
def inverse_root(covariance: torch.Tensor) -> torch.Tensor:
    """C^(-1/2), symmetric: [D, D] -> [D, D]"""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values**-0.5) @ vectors.T


def my_cca(x: torch.Tensor, y: torch.Tensor):
    """x [N, Dx], y [N, Dy] -> correlations [k], directions A [Dx, k] and B [Dy, k]."""
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    root_x, root_y = (inverse_root(torch.cov(side.T)) for side in (x, y))
    K = root_x @ (x.T @ y / (len(x) - 1)) @ root_y
    left, rho, right = torch.linalg.svd(K, full_matrices=False)
    return rho, root_x @ left, root_y @ right.T


rho, A, B = my_cca(X[:HALF], Y[:HALF])
u_x, u_y = (X - X[:HALF].mean(dim=0)) @ A, (Y - Y[:HALF].mean(dim=0)) @ B
assert torch.allclose(rho, correlation.cca(X[:HALF], Y[:HALF]).correlations)


# %%
def explained(features: torch.Tensor) -> list[float]:
    """R^2 of a line through the features for each hidden signal, second half: [2]."""
    design = torch.cat([features, torch.ones(LENGTH, 1).double()], dim=1)
    fit = torch.linalg.lstsq(design[:HALF], signals[:HALF]).solution
    error = (signals - design @ fit)[HALF:].square().mean(dim=0)
    return (1 - error / signals[HALF:].var(dim=0, correction=0)).tolist()


components = X @ torch.linalg.svd(X[:HALF] - X[:HALF].mean(dim=0))[2].T
found = {
    "Ann: the 2 largest components": explained(components[:, :2]),
    "the 3 largest": explained(components[:, :3]),
    "Ben: the 4 largest": explained(components[:, :4]),
    "the 5 largest": explained(components[:, :5]),
    "Cleo: the 2 first canonical directions": explained(u_x[:, :2]),
    "all 8 channels, the answers known": explained(X),
}

# %% tags=["hide-input"]
plots.table(
    [{"who": w, "wave": a, "square": b} for w, (a, b) in found.items()],
    "Share of each signal that is found (R², second half of the recording)",
    {
        "who": "features of the first instrument",
        "wave": "slow wave",
        "square": "square wave",
    },
    ".2f",
)
fig, (left, right) = plots.new_figure(9.0, 2.8, 1, 2, width_ratios=[2, 1])
design = torch.cat([u_x[:, :2], torch.ones(LENGTH, 1).double()], dim=1)
recovered = design @ torch.linalg.lstsq(design[:HALF], signals[:HALF]).solution
for i, name in enumerate(("slow wave", "square wave")):
    shift = 3.5 * i
    left.plot(
        recovered[HALF:, i] + shift, color=plots.COLORS[i], linewidth=0.8, label=name
    )
    left.plot(signals[HALF:, i] + shift, color=plots.GRAY, linestyle=":")
left.set(ylim=(-1.8, 7.5), xlabel="time (samples)", ylabel="signal, shifted")
left.set_title("What Cleo found (dotted: the truth)")
left.legend(loc="upper right", ncols=2)
later = [
    torch.corrcoef(torch.stack([u_x[HALF:, i], u_y[HALF:, i]]))[0, 1].item()
    for i in range(8)
]
right.bar(range(1, 9), rho.numpy(), color="#bbbbbb", label="first half (fitted)")
right.plot(range(1, 9), later, "o", color=plots.COLORS[1], label="second half")
right.set(
    title="Two correlations are real",
    xlabel="canonical direction",
    ylabel="correlation",
)
right.legend()
plots.show(
    fig,
    alt="Left: the two signals recovered by canonical correlation analysis follow "
    "the truth. "
    "Right: of eight correlations two are high and stay high on the second half; "
    "the others drop to about zero.",
)  # fmt: skip

# %%
cleo = min(found["Cleo: the 2 first canonical directions"])
ben = min(found["Ben: the 4 largest"])
assert max(found["the 3 largest"]) < 0.1 and ben < 0.3 and cleo > 0.85
assert min(later[:2]) > 0.8 and max(map(abs, later[2:])) < 0.25
print(f"worse of the two waves: Ben {ben:.2f}, Cleo {cleo:.2f}")

# %% [markdown]
# Cleo wins, and she never asked what a wave is. The three loud noises fill the first three components; to stop at five
# Ben would have to know that there are five sources. *Agreement* needs no such number: how many correlations survive on
# new data tells how many things are shared.
#
# ### The sentence this chapter is about
#
# Take $k$ directions at once, $U_x = XA$, $U_y = YB$, with $\mathrm{Cov}(U_x) = \mathrm{Cov}(U_y) = I$. For the first
# $k$ canonical pairs
#
# $$\mathbb{E}\,\|u_x - u_y\|^2 = \mathbb{E}\,\|u_x\|^2 + \mathbb{E}\,\|u_y\|^2 - 2\,\mathbb{E}\,u_x^\top u_y = 2k - 2\sum_{i=1}^k \rho_i,$$
#
# and any other $A, B$ with identity covariances give at least as much. So maximising correlation **is** pulling the two
# views together *under the constraint that each view's covariance is the identity*: the answer to the title.

# %%
k, inside = 5, slice(0, HALF)


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    return ((one - two)[inside].square().sum() / (HALF - 1)).item()


assert torch.allclose(torch.cov(u_x[inside].T), torch.eye(8).double())
assert abs(distance(u_x[:, :k], u_y[:, :k]) - (2 * k - 2 * rho[:k].sum().item())) < 1e-9
turn = torch.linalg.qr(randn(k, k, generator=torch.Generator().manual_seed(0)))[0]
assert distance(u_x[:, :k], u_y[:, :k] @ turn) > distance(u_x[:, :k], u_y[:, :k]) + 1

# %% [markdown]
# ### The trap: with few samples, everything correlates
#
# CCA divides by an estimated covariance. Two recordings of pure noise, 16 channels each, share *nothing*:

# %%
SIZES, CHANNELS = (20, 24, 32, 40, 64, 128, 256, 512, 1024, 2048), 16
generator, trap = torch.Generator().manual_seed(0), {0.0: [], 1.0: []}
for n in SIZES:
    noise = randn(2, n, CHANNELS, generator=generator)
    for ridge, values in trap.items():
        first = correlation.cca(*noise, regularization=ridge).correlations[0]
        values.append(first.item())
perfect = [r for n, r in zip(SIZES, trap[0.0], strict=True) if n <= 2 * CHANNELS]
assert min(perfect) > 1 - 1e-6 and trap[0.0][-1] < 0.3
assert all(a < b for a, b in zip(trap[1.0], trap[0.0], strict=True))

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.2, 2.6)
for (ridge, values), style in zip(trap.items(), ("o-", "s--"), strict=True):
    label = f"{ridge:g} added to every variance" if ridge else "plain"
    ax.plot(SIZES, values, style, markersize=4, label=label)
ax.axvline(2 * CHANNELS, color=plots.GRAY, linestyle=":", label="N = Dx + Dy")
ax.set(xscale="log", ylim=(0, 1.05), xlabel="samples N (16 + 16 channels)")
ax.set_title("Pure noise, and a perfect correlation")
ax.set_ylabel("first correlation")
ax.legend()
plots.show(
    fig,
    alt="First canonical correlation of two independent noise recordings against "
    "the number of samples: "
    "exactly 1 up to N = 32, the number of channels of both, and falling slowly "
    "after; lower with a ridge.",
)  # fmt: skip

# %% [markdown]
# Up to $N = D_x + D_y$ the correlation of noise is exactly 1: there are enough free directions to fit anything. A ridge
# (a constant added to the variances) helps a little. **A batch is a small sample**. With 256 images and 512 dimensions
# nobody can whiten a batch.
#
# ## From lines to networks
#
# Bent relations need *functions* of $x$ and $y$. [Breiman and Friedman
# (1985)](https://doi.org/10.1080/01621459.1985.10478157) found the best function of one variable each by turns:
# $f(x) \propto \mathbb{E}[g(y) \mid x]$, then $g(y) \propto \mathbb{E}[f(x) \mid y]$ (alternating conditional
# expectations, ACE): on bins, power iteration for CCA on one-hot codes ([Makur et al.,
# 2015](https://doi.org/10.1109/ALLERTON.2015.7447113), built on this view; [Painsky et al.,
# 2020](https://doi.org/10.3390/e22020208), compressed the features).

# %% tags=["hide-input"]
generator = torch.Generator().manual_seed(0)
x = 4 * torch.rand(4000, generator=generator).double() - 2
y = x**2 + 0.4 * randn(4000, generator=generator)  # a parabola: no correlation
grid = torch.arange(1, 20).double() / 20
codes = [F.one_hot(torch.searchsorted(w.quantile(grid), w)).double() for w in (x, y)]
joint = codes[0].T @ codes[1] / len(x)  # P(bin of x, bin of y), [20, 20]
p_x, p_y = joint.sum(dim=1), joint.sum(dim=0)
f = torch.linspace(-1, 1, 20).double() ** 3 + 1
for _ in range(50):
    g = joint.T @ f / p_y  # E[f | y]
    f = joint @ (g / (p_y @ g**2).sqrt()) / p_x  # E[g | x]
    f = f - p_x @ f  # mean zero
ace = (p_x @ f**2).sqrt().item()
one_hot = correlation.cca(codes[0][:, 1:], codes[1][:, 1:]).correlations[0].item()
plain = torch.corrcoef(torch.stack([x, y]))[0, 1].item()
print(
    f"correlation {plain:+.2f}; by ACE {ace:.3f}, by CCA on one-hot codes {one_hot:.3f}"
)
assert abs(plain) < 0.1 and ace > 0.8 and abs(ace - one_hot) < 1e-6

# %% [markdown]
# But bins do not scale: eight variables make $20^8$ cells. So let two networks compute features $h_1(x)$, $h_2(y)$ and
# train them to maximise what CCA would find in them: **Deep CCA** ([Andrew et al.,
# 2013](https://proceedings.mlr.press/v28/andrew13.html), after [Hsieh,
# 2000](https://doi.org/10.1016/S0893-6080%2800%2900067-8)),
#
# $$L_\text{DCCA} = -\sum_{i=1}^{k} \rho_i\Big( (C_1 + \eta I)^{-1/2}\, C_{12}\, (C_2 + \eta I)^{-1/2} \Big),$$
#
# with $C_1, C_2$ the covariances over the batch, $C_{12}$ their cross-covariance, $\rho_i(\cdot)$ the singular values
# and $\eta$ the ridge. A **deep canonically correlated autoencoder** (DCCAE, [Wang et al.,
# 2015](https://proceedings.mlr.press/v37/wangb15.html)) adds decoders and the error of rebuilding $x$ and $y$. Two
# features per view, again three loud private noises in each; shared are an angle and a number $b$, bent differently.


# %% tags=["hide-input"]
def bent_views(n: int, seed: int) -> list[torch.Tensor]:
    """[n, 6] and [n, 5]: shared things bent differently, private noise, all rotated."""
    g, fixed = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    angle, b = 2 * torch.rand(n, generator=g) - 1, torch.randn(n, generator=g)
    circle = torch.stack([(3 * angle).cos(), (3 * angle).sin(), b], dim=1)
    both = []
    for s in (circle, torch.stack([angle, b**2], dim=1)):
        s = s + 0.1 * torch.randn(s.shape, generator=g)
        both.append(torch.cat([s, 1.5 * torch.randn(n, 3, generator=g)], dim=1))
    turns = [
        torch.linalg.qr(torch.randn(*2 * z.shape[1:], generator=fixed))[0] for z in both
    ]
    return [z @ turn for z, turn in zip(both, turns, strict=True)]


def mlp(inputs: int, outputs: int) -> nn.Module:
    sizes = (inputs, 32, 32, outputs)
    layers = [
        [nn.Linear(a, b), nn.Tanh()] for a, b in zip(sizes, sizes[1:], strict=False)
    ]
    return nn.Sequential(*sum(layers, [])[:-1])


def agreement(old1, old2, new1, new2) -> float:
    """Sum of two canonical correlations: found on the old features, read on the new."""
    _, a, b = correlation.cca(old1.double(), old2.double(), k=2)
    pairs = torch.cat([new1.double() @ a, new2.double() @ b], dim=1)
    return torch.corrcoef(pairs.T)[:2, 2:].diagonal().sum().item()


fit, fresh = bent_views(600, seed=1), bent_views(600, seed=2)


# %%
def train_views(agree: float, rebuild: float, steps: int = 100) -> list[torch.Tensor]:
    """Weights of Deep CCA and of reconstruction -> features, fitted and fresh."""
    torch.manual_seed(0)
    encoders = nn.ModuleList(mlp(z.shape[1], 2) for z in fit)
    decoders = nn.ModuleList(mlp(2, z.shape[1]) for z in fit)
    weights = [*encoders.parameters(), *decoders.parameters()]
    optimizer = torch.optim.Adam(weights, lr=1e-2)
    for _ in range(steps):
        h = [net(z) for net, z in zip(encoders, fit, strict=True)]
        error = sum(
            F.mse_loss(d(c), z) for d, c, z in zip(decoders, h, fit, strict=True)
        )
        loss = agree * correlation.dcca(*h) + rebuild * error
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return [
            net(z)
            for both in (fit, fresh)
            for net, z in zip(encoders, both, strict=True)
        ]


# %%
deep = {"linear CCA": agreement(*fit, *fresh)}
ARMS = {"Deep CCA": (1, 0), "DCCAE, weight 0.3": (1, 0.3), "DCCAE, weight 3": (1, 3)}
for name, weights in (ARMS | {"autoencoders alone": (0, 1)}).items():
    deep[name] = agreement(*train_views(*weights))
print("sum of two correlations on fresh data (2 is perfect):")
for name, value in deep.items():
    print(f"  {name:20} {value:.2f}")
assert deep["Deep CCA"] > max(deep["linear CCA"], deep["DCCAE, weight 3"]) + 0.2
assert deep["autoencoders alone"] < 0.5

# %% [markdown]
# With two features to spend, autoencoders spend them on the loud private noise; reconstruction is loyal to *variance*,
# correlation to *agreement*. A little of it beside the correlation costs little, a lot spoils the agreement.
#
# ## A point, a line, noise, and the cloud we want
#
# Now both views go through *one* network; $z_1, z_2 \in \mathbb{R}^{N\times D}$ are its outputs for a batch of $N$
# pictures, and Deep CCA would have to invert a $D\times D$ matrix estimated from them. So only *measure* how far a
# batch is from the sentence above, with $C(z)$ the covariance of a view:
#
# $$s = \frac{1}{ND}\sum_{n} \|z_{1,n} - z_{2,n}\|^2, \quad v(z) = \frac1D\sum_j \max\big(0,\ 1 - \sqrt{C_{jj} + \varepsilon}\,\big), \quad c(z) = \frac1D \sum_{i\ne j} C_{ij}^2 .$$
#
# ($\varepsilon = 10^{-4}$.) $s$ asks whether the views agree, $v$ whether every dimension has deviation 1 (the
# constraint's diagonal), $c$ whether two dimensions repeat each other (its off-diagonal).


# %%
def pull(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    return (z1 - z2).square().mean()


def hinge(z: torch.Tensor) -> torch.Tensor:
    return F.relu(1 - (z.var(dim=0) + 1e-4).sqrt()).mean()


def off_diagonal(matrix: torch.Tensor) -> torch.Tensor:
    """Sum of the squares off the diagonal."""
    return matrix.square().sum() - matrix.diagonal().square().sum()


def copies(z: torch.Tensor) -> torch.Tensor:
    return off_diagonal(torch.cov(z.T)) / z.shape[1]


# %%
N, generator = 256, torch.Generator().manual_seed(0)
wide, narrow = randn(N, 2, generator=generator), randn(N, 1, generator=generator)
noise = randn(6, N, 2, generator=generator)
CLOUDS = {
    "point": (0.02 * noise[0], 0.02 * noise[1]),
    "line": (narrow + 0.15 * noise[2], narrow + 0.15 * noise[3]),
    "noise": (noise[4], noise[5]),
    "cloud": (wide + 0.15 * noise[0], wide + 0.15 * noise[1]),
}

# %% tags=["hide-input"]
fig, axes = plots.new_figure(9.4, 2.6, 1, 4, sharey=True)
for ax, (name, pair) in zip(axes, CLOUDS.items(), strict=True):
    for a, b in zip(*(z[:60] for z in pair), strict=True):
        ax.plot(*torch.stack([a, b]).T.numpy(), color="#aaaaaa", linewidth=0.7)
    for z, mark, color in zip(pair, "o^", plots.COLORS, strict=False):
        ax.plot(*z[:60].T.numpy(), mark, color=color, markersize=3)
    ax.set(xlim=(-3, 3), ylim=(-3, 3), xlabel="dimension 1", title=name)
axes[0].set_ylabel("dimension 2")
plots.show(
    fig,
    alt="Four clouds in the plane, the two views of a picture joined by a line. Point: "
    "all in one place. Line: a thin diagonal, partners close. Noise: a round cloud, "
    "partners far apart. Cloud: a round cloud, partners close.",
)  # fmt: skip

# %% [markdown]
# Partners are joined by a line. Point, line and noise are useless.
#
# > **Predict.** Each of $s$, $v$, $c$ forbids one of point, line and noise, and lets the two others pass. Which one
# > which? (A guess gets all three right once in six times.)

# %%
costs = {
    name: {
        "pull s": pull(*pair).item(),
        "hinge v": hinge(pair[0]).item(),
        "copies c": copies(pair[0]).item(),
    }
    for name, pair in CLOUDS.items()
}
assert costs["point"]["hinge v"] > 0.9 and costs["line"]["copies c"] > 0.8
assert costs["noise"]["pull s"] > 1.5 and max(costs["cloud"].values()) < 0.15
assert sum(value > 0.15 for row in costs.values() for value in row.values()) == 3

# %% tags=["hide-input"]
plots.table(
    [{"cloud": name} | row for name, row in costs.items()],
    "What each of the three numbers says about each cloud",
    {"cloud": "cloud"} | {key: key for key in costs["point"]},
    ".2f",
)

# %% [markdown]
# $v$ forbids the point, $c$ the line, $s$ the noise.
#
# ## Three losses
#
# **VICReg** ([Bardes et al., 2022](https://arxiv.org/abs/2105.04906)): variance, invariance, covariance,
#
# $$L_\text{VICReg} = \lambda\, s + \mu\, \tfrac12\big(v(z_1) + v(z_2)\big) + \nu\,\big(c(z_1) + c(z_2)\big), \qquad \lambda = \mu = 25,\ \nu = 1.$$
#
# **Barlow Twins** ([Zbontar et al., 2021](https://arxiv.org/abs/2103.03230)): standardise each dimension over the batch
# (mean 0, deviation 1; call it $\hat z$), correlate every dimension of view 1 with every dimension of view 2, and ask
# for the identity:
#
# $$R_{ij} = \frac1N \sum_n \hat z_{1,ni}\, \hat z_{2,nj}, \qquad L_\text{BT} = \sum_i (1 - R_{ii})^2 + \beta \sum_i \sum_{j\ne i} R_{ij}^2 .$$
#
# The diagonal pulls, the rest keeps dimensions apart.
#
# **W-MSE** ([Ermolov et al., 2021](https://arxiv.org/abs/2007.06346)) keeps the constraint exactly. It whitens each
# view by $F^{-1}$, where $FF^\top = C$ (Cholesky), puts the rows on the unit sphere and takes the squared distance. It
# needs no SVD, since the network finds the rotation, but $N$ well above $D$, hence few outputs.


# %%
def vicreg(z1, z2, inv: float = 25.0, var: float = 25.0, cov: float = 1.0):
    """z1, z2 [N, D] -> a scalar, like the next two"""
    spread = var / 2 * (hinge(z1) + hinge(z2)) + cov * (copies(z1) + copies(z2))
    return inv * pull(z1, z2) + spread


def barlow_twins(z1, z2, beta: float = 5e-3, eps: float = 1e-5):
    views = (z1, z2)
    h1, h2 = ((z - z.mean(0)) / (z.var(0, correction=0) + eps).sqrt() for z in views)
    R = h1.T @ h2 / len(z1)  # [D, D]
    return (1 - R.diagonal()).square().sum() + beta * off_diagonal(R)


def whiten(z):
    """z [N, D] -> [N, D] with mean 0 and covariance I."""
    z = z - z.mean(dim=0)
    factor = torch.linalg.cholesky(z.T @ z / (len(z) - 1))
    return torch.linalg.solve_triangular(factor, z.T, upper=False).T


def w_mse(z1, z2):
    w1, w2 = (F.normalize(whiten(z), dim=1) for z in (z1, z2))
    return (w1 - w2).square().sum(dim=1).mean()


# %%
LOSSES, verdicts = (vicreg, barlow_twins, w_mse), []
for name, pair in CLOUDS.items():
    verdicts.append({loss.__name__: loss(*pair).item() for loss in LOSSES})
    for loss in LOSSES:
        theirs = getattr(correlation, loss.__name__)
        assert torch.allclose(loss(*pair), theirs(*pair), rtol=1e-6), name
for loss in LOSSES:
    *useless, wanted = (row[loss.__name__] for row in verdicts)
    values = (f"{k} {row[loss.__name__]:7.3f}" for k, row in zip(CLOUDS, verdicts))
    print(f"{loss.__name__:13}", *values)
    assert wanted < 0.5 * min(useless)

# %% [markdown]
# W-MSE's whitening blows up the point until it has variance 1, finds only noise, and charges almost as much as for pure
# noise. (Barlow Twins charges little for the line: two dimensions can repeat each other once; the sum grows with
# $D(D-1)$.)
#
# ## The run: VICReg, live
#
# The quick recipe with the paper's weights and 512 outputs.

# %%
STEPS, SHORT = 120, 30
recipe = recipes.get_recipe("quick", method="vicreg")
unlabeled = data.shapes("unlabeled", n=8192)
train, test = data.shapes("train", n=2000), data.shapes("test", n=2000)


def learn(steps: int, monitor=None, **weights):
    """VICReg with other weights: the trained method and its history."""
    method = recipe.with_(options=recipe.options | weights).build(seed=0)
    settings = {"steps": steps, "seed": 0, "progress": monitor is not None}
    settings |= {"monitor": monitor} | recipe.training()
    policies = method.views(recipe.policy)
    return method, pretrain(method, unlabeled.images, policies, **settings)


method, history = learn(STEPS, default_monitor(train, STEPS, images=500))

# %% tags=["hide-input"]
collapsed = method.chance_loss(recipe.batch_size)
fig = plots.training_panel(history, "VICReg, live", chance=0.1, chance_loss=collapsed)
assert history[-1]["loss"] < collapsed
plots.show(
    fig,
    alt="Training curves of VICReg: the loss, which falls below that of a collapsed "
    "network, the accuracy of the neighbours, and spread and rank.",
)

# %%
record, origin = book.recorded("correlation", world=2)


SEEDS = [
    {r["seed"] for r in record if r["arm"] == a} for a in {r["arm"] for r in record}
]
SEEDS = sorted(set.intersection(*SEEDS))  # those that every arm has


def of(arm: str, key: str = "probe") -> list[float]:
    """One number per seed."""
    return book.per_seed([r for r in record if r["seed"] in SEEDS], key, arm=arm)


sets = [evaluation.extract_features(method.encoder, s.images) for s in (train, test)]
sets = (sets[0], train.labels, sets[1], test.labels)
live = evaluation.label_efficiency(*sets, per_class=(10,), draws=5)[0]["mean"]
live_knn = evaluation.knn_accuracy(*sets)


# %% tags=["hide-input"]
def spread_of(arm: str, key: str) -> str:
    values = of(arm, key)
    return f"{mean(values):.1%} ({min(values):.1%} to {max(values):.1%})"


FAMILY = ("pixels", "untrained", "simclr", "vicreg", "barlow", "w_mse")
TITLES = {"pixels": "raw pixels", "untrained": "untrained encoder, settled",
          "simclr": "SimCLR (chapter 13)", "vicreg": "VICReg",
          "barlow": "Barlow Twins", "w_mse": "W-MSE"}  # fmt: skip
rows = [{"name": "chance", "probe": "10.0%", "knn": "10.0%"}]
for arm in FAMILY:
    row = {
        "name": TITLES[arm],
        "steps": max(of(arm, "steps")) or None,
        "n": len(of(arm)),
    }
    rows.append(row | {key: spread_of(arm, key) for key in ("probe", "knn")})
rows.append({"name": "VICReg, live", "steps": STEPS, "n": 1})
rows[-1] |= {"probe": f"{live:.1%}", "knn": f"{live_knn:.1%}"}
plots.table(
    rows,
    "Test accuracy, means over the seeds (lowest to highest)",
    {"name": "features", "steps": "steps", "n": "seeds",
     "probe": "probe, 100 labels", "knn": "kNN, 2,000 labels"},
)  # fmt: skip
print(origin)

# %%
knn = {arm: mean(of(arm, "knn")) for arm in FAMILY}
assert knn["pixels"] > knn["w_mse"] + 0.01 and knn["barlow"] < knn["pixels"] + 0.05
assert knn["untrained"] == min(knn.values())
assert min(of("vicreg")) > max(of("pixels") + of("untrained")) + 0.1
assert mean(of("vicreg")) > mean(of("simclr"))
assert min(of("barlow") + of("w_mse")) > max(of("untrained")) + 0.03
assert live > max(of("untrained")) + 0.05

# %% [markdown]
# After these 250 steps the neighbours of raw pixels are better than W-MSE's, and those of Barlow Twins lie around them.
# VICReg is well above all of them and ahead of SimCLR at equal steps. Barlow Twins and W-MSE have learned something,
# and much less. The table does not say where longer runs end, and each recipe was tuned in short runs only.

# %% [markdown]
# ## A tug-of-war you can compute
#
# The hinge asks for deviation 1 in every dimension. Let all $D$ dimensions have deviation $\sigma$, let the two views
# of a dimension correlate by $\rho$, and let two different dimensions have the mean squared correlation $r^2$. Then
# partners lie $2\sigma^2(1-\rho)$ apart per dimension, a squared covariance is $r^2\sigma^4$, and
#
# $$L(\sigma) = \underbrace{2\lambda(1-\rho)\,\sigma^2}_{\text{pull}} \;+\; \underbrace{\mu\,(1-\sigma)}_{\text{hinge}} \;+\; \underbrace{2\nu\,(D-1)\,r^2\,\sigma^4}_{\text{copies, two views}} .$$
#
# The hinge pushes with constant force, and the other two forces vanish at $\sigma = 0$: no point, as long as $\mu > 0$.
# (Almost: with $\varepsilon$ under the root the hinge's slope vanishes there as well, and a tiny $\mu$ *is* overrun;
# exercise 2.) Away from the point nothing says that the minimum lies at 1.
#
# > **Predict.** The network is trained. Is the deviation of a dimension nearer to 1, to 0.7, or to 0.3? (A guess: one
# > in three.)


# %%
@torch.no_grad()
def embedded(method, images: torch.Tensor) -> torch.Tensor:
    """z of two views of each picture, [2, N, D], BatchNorm as in training."""
    policies, g = method.views(recipe.policy), torch.Generator().manual_seed(1)
    both = torch.cat(views.make_views(images, policies, g))
    where = next(method.parameters()).device
    return torch.stack(method.train().embed(both.to(where)).float().cpu().chunk(2))


def r_squared(z: torch.Tensor) -> float:
    """Mean squared correlation of two different dimensions."""
    return (off_diagonal(torch.corrcoef(z.T)) / (z.shape[1] * (z.shape[1] - 1))).item()


z1, z2 = embedded(method, test.images[:1024])
D, variance = z1.shape[1], (z1.var(dim=0) + z2.var(dim=0)) / 2
cross = ((z1 - z1.mean(dim=0)) * (z2 - z2.mean(dim=0))).sum(dim=0) / (len(z1) - 1)
view_rho, r2 = (cross / variance).mean().item(), (r_squared(z1) + r_squared(z2)) / 2
sigma = torch.linspace(0, 1, 1001)
terms = {
    "pull": 2 * 25 * (1 - view_rho) * sigma**2,
    "hinge": 25 * (1 - sigma),
    "copies": 2 * (D - 1) * r2 * sigma**4,
}
total = sum(terms.values())
predicted, measured = sigma[total.argmin()].item(), variance.sqrt().mean().item()

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.2, 2.8)
for (name, values), dash in zip(terms.items(), ("--", "-.", ":"), strict=True):
    ax.plot(sigma, values, dash, label=name)
ax.plot(sigma, total, color=plots.GRAY, label="sum")
ax.axvline(measured, color=plots.GRAY, linewidth=0.8, linestyle=(0, (1, 3)))
ax.set(ylim=(0, 40), xlabel="deviation of a dimension", ylabel="cost")
ax.set_title(f"Least at {predicted:.2f}; measured {measured:.2f} (vertical line)")
ax.legend()
plots.show(
    fig,
    alt=f"The cost of a deviation, a sum of three terms, is least at "
    f"{predicted:.2f}; measured {measured:.2f}.",
)  # fmt: skip
no_copies = min(1.0, 25 / (4 * 25 * (1 - view_rho)))
print(f"views correlate by {view_rho:.2f},", end=" ")
print(f"two dimensions by {r2**0.5:.2f} (root mean square)")
print(f"deviation: predicted {predicted:.2f}, measured {measured:.2f};", end=" ")
print(f"with the first two terms alone {no_copies:.2f}")
assert abs(predicted - measured) < 0.06 and measured < 0.42 < no_copies

# %% [markdown]
# About 0.3, with nothing fitted. Pull and hinge alone would settle at nearly twice that; each dimension pays for its
# covariances with all $D - 1$ others. Hence: *when you change the number of outputs, rescale the weights*.
#
# ## What goes wrong: take a part away
#
# 30 steps without the variance term, 30 without the covariance term.

# %%
broken = {
    "untrained": recipe.build(seed=0),
    "all three terms": method,
    "no variance term": learn(SHORT, variance_weight=0.0)[0],
    "no covariance term": learn(SHORT, covariance_weight=0.0)[0],
}
axes_of, deviations = {}, {}
for name, trained in broken.items():
    z = embedded(trained, test.images[:512])[0]
    axes_of[name] = torch.linalg.svdvals(z - z.mean(dim=0)) / math.sqrt(len(z) - 1)
    deviations[name] = z.std(dim=0).mean().item()
first, second = axes_of["no covariance term"][:2]
assert first > 10 * second and 0.9 < deviations["no covariance term"] < 1.15
point, cloud = (axes_of[n][:100] for n in ("no variance term", "all three terms"))
assert (point < 0.3 * cloud).all()

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 3.0)
for (name, values), style in zip(axes_of.items(), (":", "-", "--", "-."), strict=True):
    ax.plot(range(1, 101), values[:100].clamp_min(1e-4), style, label=name)
ax.set(
    xscale="log", yscale="log", xlabel="direction, by size", ylabel="deviation along it"
)
ax.set_title("A cloud, a point and a line in 512 dimensions")
ax.legend()
plots.show(
    fig,
    alt="Deviation of the embeddings along their first hundred directions. Without "
    "the variance term all are far "
    "smaller than with all three terms; without the covariance term the first "
    "towers over the rest.",
)  # fmt: skip

# %% [markdown]
# Without the variance term every direction shrinks: on the way to a point. Without the covariance term one direction
# takes all the variance: a line, although the mean deviation of a dimension is 1.

# %% tags=["hide-input"]
PARTS = {
    "untrained": "untrained", "vicreg": "VICReg, 512 outputs",
    "no variance": "no variance term", "no covariance": "no covariance term",
    "no half": "variance weight doubled", "16 fixed": "16 outputs",
    "16 scaled": "16 outputs, covariance weight times 32",
    "barlow": "Barlow Twins", "barlow, lambda 0": "Barlow Twins, beta 0",
}  # fmt: skip
plots.table(
    [
        {"arm": title, "n": len(of(arm)), "knn": mean(of(arm, "knn"))}
        | {"probe": spread_of(arm, "probe")}
        | {key: mean(of(arm, key)) for key in ("std_z", "correlation_z", "rank_z")}
        for arm, title in PARTS.items()
    ],
    "What each part is worth, after 250 steps (means over the seeds; correlation: root "
    "mean square over pairs of dimensions)",
    {"arm": "arm", "n": "seeds", "probe": "probe, 100 labels", "knn": "kNN",
     "std_z": "deviation of z", "correlation_z": "correlation of z",
     "rank_z": "RankMe of z"},
    {"knn": ".1%", "std_z": ".3f", "correlation_z": ".2f", "rank_z": ".0f"},
)  # fmt: skip
print(origin)

# %%
whole, floor = mean(of("vicreg")), mean(of("untrained"))
assert mean(of("no variance", "std_z")) < 0.1 * mean(of("vicreg", "std_z"))
assert mean(of("no covariance", "correlation_z")) > 0.9
assert max(mean(of("no variance")), mean(of("no covariance"))) < whole - 0.08
assert mean(of("no half", "std_z")) > mean(of("vicreg", "std_z")) + 0.08
assert mean(of("16 fixed", "rank_z")) < 0.5 * mean(of("16 scaled", "rank_z"))
assert mean(of("16 fixed", "correlation_z")) > 0.8
assert mean(of("16 scaled")) > mean(of("16 fixed")) + 0.02
assert (
    mean(of("barlow, lambda 0", "correlation_z"))
    > mean(of("barlow", "correlation_z")) + 0.1
)

# %% [markdown]
# Without the variance term the deviation tells; without the covariance term (or $\beta$) the correlation: near 1 means
# copies. Sixteen outputs at the default weights end in copies as well, and multiplying the covariance weight by
# $512/16$ undoes that. **Look at the deviation of each dimension *and* at the correlation between them**.
#
# ### The famous half
#
# Equation 6 of the VICReg paper adds $v(z_1) + v(z_2)$ with weight 25. The authors' code divides each by two, and also
# divides $s$ by $D$, which equation 5 does not. The weights 25, 25, 1 belong to the *code*: type in equation 6 and your
# variance weight is 50; type in equation 5 as well and the pull is $D$ times too strong. *How to see it*: a constant
# batch must cost about 25, not 50, and two batches that differ by 1 everywhere must have $s = 1$, not $D$.

# %%
constant = torch.ones(64, 12).double()
print(
    f"constant batch: {vicreg(constant, constant):.2f} by the code's weights", end=", "
)
print(f"{vicreg(constant, constant, var=50.0):.2f} with the half forgotten")
gain = [a - b for a, b in zip(of("no half"), of("vicreg"), strict=True)]
print(
    "what the doubled weight does to the probe, per seed:", *(f"{g:+.1%}" for g in gain)
)

# %% [markdown]
# The deviation grows, as the tug-of-war says it must. So few seeds do not decide what that does to the features.
#
# ## Apart in which sense?
#
# Contrastive losses push *images* apart, these push *dimensions* apart. Let $Z$ be a batch, $[N, D]$. The dimensions
# are compared by $Z^\top Z$, the images by $Z Z^\top$, and the trace of a product does not care for the order:
#
# $$\|Z^\top Z\|_F^2 = \operatorname{tr}(Z^\top Z Z^\top Z) = \operatorname{tr}(Z Z^\top Z Z^\top) = \|Z Z^\top\|_F^2 .$$
#
# Take the diagonals out on both sides:
#
# $$\underbrace{\sum_{i\ne j} (Z^\top Z)_{ij}^2}_{\text{dimensions}} + \sum_j \|Z_{\cdot j}\|^4 \;=\; \underbrace{\sum_{m\ne n} (z_m^\top z_n)^2}_{\text{images}} + \sum_n \|z_n\|^4 .$$
#
# If the lengths of the columns are fixed (by the variance term) and those of the rows too (by normalisation), the two
# penalties differ by a constant. [Garrido et al. (2023)](https://arxiv.org/abs/2206.02574) call the families
# *dimension-contrastive* and *sample-contrastive*, and walk from one to the other in two steps: **VICReg-exp** replaces
# the squares in $c$ by $\frac1D\sum_i\log\sum_{j\ne i} e^{C_{ij}/\tau}$, with a temperature $\tau$ (their equation 11),
# and **VICReg-ctr** does the same with the transposed batch:


# %%
def copies_exp(z: torch.Tensor, tau: float = 0.1) -> torch.Tensor:
    """VICReg-exp compares dimensions; VICReg-ctr is the same function of z.T."""
    C = torch.cov(z.T) / tau
    return C.fill_diagonal_(-math.inf).logsumexp(dim=1).mean()


Z = randn(256, 32, generator=torch.Generator().manual_seed(1))
of_dimensions = off_diagonal(Z.T @ Z) + Z.norm(dim=0).pow(4).sum()
of_images = off_diagonal(Z @ Z.T) + Z.norm(dim=1).pow(4).sum()
assert torch.isclose(of_dimensions, of_images, rtol=1e-12)
line = Z[:, :1].expand(-1, 32)  # dimensions that are copies: a line
tight = Z[:1] + 0.01 * Z  # images that are copies: a point
assert (
    copies_exp(line) > copies_exp(Z) + 1 and copies_exp(tight.T) > copies_exp(Z.T) + 1
)

# %% [markdown]
# So Barlow Twins, whose formula contains no pair of different pictures, compares them all the same: in
# $\|Z_1^\top Z_2\|_F^2$ the similarity of two pictures in view 1 is multiplied by that in view 2. What is left of the
# divide are weights, normalisation, and which of $N$ and $D$ is larger. ([16b](16b_one_number_for_a_cloud.ipynb) shows
# a useless cloud that gets past every constraint here by making a few rows very long.)
#
# ## Play: three weights, one cloud
#
# A *linear* network from six inputs to the plane, trained on VICReg's loss alone. The inputs are made like the
# instruments: two signals that both views share (the second with more noise), four loud nuisances that each view has
# for itself, all mixed. **Keep covariance at 10 and lower only the *variance* weight. At 0 you get the
# point. What do you meet on the way?**

# %%
widgets.explore(
    decorrelation.render,
    decorrelation.controls(),
    static=[{}, {"covariance": 0.0}, {"invariance": 0.0}, {"variance": 0.0}],
    alt=decorrelation.describe,
    columns=2,
    captions=[
        "all three terms",
        "no covariance",
        "no invariance",
        "no variance",
    ],
)

# %%
ends = {mu: decorrelation.flow(25.0, float(mu), 10.0) for mu in (25, 10, 5, 2, 0)}
for mu, flow in ends.items():
    print(f"variance weight {mu:2}: {decorrelation.verdict(flow)}")
exact = correlation.cca(*decorrelation.two_views()[1], k=2).correlations.mean().item()
print(
    f"views correlate by {ends[25].shared[-1]:.3f}; by CCA, in closed form, {exact:.3f}"
)
assert decorrelation.verdict(ends[2]) == "collapsed to a line"
assert decorrelation.verdict(ends[0]) == "collapsed to a point"
assert abs(ends[25].shared[-1] - exact) < 0.02

# %% [markdown]
# A *line* before the point, with the covariance term in place. The term counts $\sigma^4$: in a small cloud it is
# nearly silent, both dimensions turn to the signal that agrees better, and the fainter one is lost. With all three
# terms at work the linear network ends where CCA is in closed form.
#
# ## Exercises
#
# Solutions stand at the end.
#
# ### 1 · Two machines, one matrix (•, 8 minutes)
# A batch is spread over machines: `z1`, `z2` are float tensors `[machines, n, D]`. A colleague lets each machine
# compute Barlow's $R$ of its own `n` pictures with `z.std(dim=0)` and averages the matrices. That is wrong twice.
# Return the $R$ of the *whole* batch, `[D, D]`, without $\varepsilon$.
#
# <details><summary>Hint 1</summary>Is the correlation of a whole the mean of the correlations of its parts? Think of parts
# with different means.</details>
# <details><summary>Hint 2</summary>A batch compared with itself must have ones on the diagonal. Does `std()` with its
# default give that?</details>


# %%
def cross_correlation(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch16.check_cross_correlation(cross_correlation)

# %% [markdown]
# ### 2 · When is the point stable? (••, 10 minutes)
# With $\varepsilon$ under the root the hinge is $\mu\,(1 - \sqrt{\sigma^2 + \varepsilon})$. Below which variance weight
# $\mu$ is $\sigma = 0$ a minimum of the tug-of-war? `invariance` ($\lambda$), `rho` ($\rho$) and `eps` are floats;
# return a float. Then think of the line that Play met at weight 2: how far is the paper's 25 from your number?
#
# <details><summary>Hint 1</summary>At 0 the slope vanishes. What decides then?</details>
# <details><summary>Hint 2</summary>$\sqrt{\sigma^2 + \varepsilon} \approx \sqrt\varepsilon + \sigma^2 / (2\sqrt\varepsilon)$;
# the copies count $\sigma^4$ and do not matter.</details>


# %%
def weight_below_which_the_point_is_stable(invariance, rho, eps) -> float:
    return NOT_ATTEMPTED


ch16.check_stable_point(weight_below_which_the_point_is_stable)

# %% [markdown]
# ### 3 · Whiten, and turn back (••, 10 minutes)
# Many matrices whiten; Cholesky's is one. ZCA whitening uses the symmetric one, $C^{-1/2}$, which changes the data the
# least. `z` is a float tensor `[N, D]`; return `[N, D]` with mean 0 and covariance $I$ (divided by $N - 1$).
#
# <details><summary>Hint 1</summary>`torch.linalg.eigh(torch.cov(z.T))` gives eigenvalues and eigenvectors (columns).</details>
# <details><summary>Hint 2</summary>Rotate into the eigenvectors, divide by the roots of the eigenvalues. You are white
# now. What is left to do?</details>


# %%
def my_zca_whiten(z: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch16.check_zca_whiten(my_zca_whiten)

# %% [markdown]
# ### 4 · The covariance term without a covariance (•••, 15 minutes)
# VICReg's paper uses 8,192 outputs: $C$ has 67 million entries. Compute $c(z)$ of a float tensor `z` `[N, D]`, $N$ far
# below $D$, without ever forming a matrix with $D\times D$ entries. Return a scalar tensor.
#
# <details><summary>Hint 1</summary>The duality, with which mean taken away first?</details>
# <details><summary>Hint 2</summary>Which sum of fourth powers goes to the other side, and which cancels against the
# diagonal of $ZZ^\top$?</details>
# <details><summary>Hint 3</summary>$C$ divides by $N - 1$, so its squares divide by $(N-1)^2$; $c$ divides by $D$ once.</details>


# %%
def covariance_term(z: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch16.check_covariance_term(covariance_term)

# %% [markdown]
# ## Claims, tested
#
# Whether SimCLR, behind the same projector and tuned alike, does as well as VICReg is judged in [chapter
# 19](19_one_view_of_all.ipynb).

# %%
book.claim("C-7a", drawn=Runs(of("16 scaled"), of("16 fixed"), of("untrained")))

# %% [markdown]
# ## Where it comes from, where it went
#
# [Balestriero and LeCun (2022)](https://arxiv.org/abs/2205.11508) found closed forms for VICReg, Barlow Twins and
# SimCLR with linear networks. $v$ and $c$ without the pull are called VCReg ([Mialon et al.,
# 2022](https://arxiv.org/abs/2209.14905)).
#
# ### Quiz
#
# **1.** A colleague trains with the pull and the variance term only. Every dimension of $z$ has deviation 1, so she
# rules out collapse. Is she right?
# <details><summary>Answer</summary>No. All dimensions can be copies of one: the line. Look at the correlation between
# dimensions, or at the spectrum.</details>
#
# **2.** You double the batch in Barlow Twins and nothing else, and the dimensions are truly uncorrelated. What happens
# to the off-diagonal sum?
# <details><summary>Answer</summary>It halves. The correlation of N independent pairs has variance about 1/N, so the sum of
# D(D - 1) squares is about D(D - 1)/N although every true correlation is zero.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def cross_correlation(z1, z2):
#     # All pictures count alike: put them into one batch first (an all-gather), and divide by N twice.
#     z1, z2 = z1.flatten(0, 1), z2.flatten(0, 1)
#     z1, z2 = ((z - z.mean(dim=0)) / z.std(dim=0, correction=0) for z in (z1, z2))
#     return z1.T @ z2 / len(z1)
#
#
# def weight_below_which_the_point_is_stable(invariance, rho, eps):
#     # Near 0: L = const + [2 invariance (1 - rho) - mu / (2 sqrt(eps))] sigma^2. With the paper's numbers below 1.
#     return 4 * invariance * (1 - rho) * math.sqrt(eps)
#
#
# def my_zca_whiten(z):
#     z = z - z.mean(dim=0)
#     values, vectors = torch.linalg.eigh(torch.cov(z.T))
#     return z @ vectors @ torch.diag(values**-0.5) @ vectors.T
#
#
# def covariance_term(z):
#     z = z - z.mean(dim=0)
#     images, columns = z @ z.T, z.square().sum(dim=0)  # [N, N] and [D]
#     # sum over i != j of C_ij^2 = |Z Z^T|^2 (diagonal included) minus the fourth powers of the columns' lengths
#     return (images.square().sum() - columns.square().sum()) / ((len(z) - 1) ** 2 * z.shape[1])
# ```
