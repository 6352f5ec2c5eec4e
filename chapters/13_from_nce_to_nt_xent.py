# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 · From "data or noise?" to NT-Xent: why does picking one view out of 511 teach a network to see?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/13_from_nce_to_nt_xent.ipynb)
#
# **After this chapter you can**
#
# - fit a density that you cannot normalise by training a classifier (noise-contrastive estimation, NCE);
# - derive InfoNCE from it, and prove $I \ge \log K - L$, with what that does *not* say;
# - write NT-Xent in six lines, test it, and predict what the temperature does to its gradient.
#
# **You need** [chapter 00](00_start_here.ipynb), logistic regression, the softmax and the chain rule.
# **Time**: 30 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("13")

# %% [markdown]
# ## The puzzle: find the other half
#
# SimCLR plays one game. Take 256 pictures, make two random views of each, and shuffle. Show the network one view: it
# has to point at its partner from the same picture, among the 511 others. Here is one view with fifteen of its
# candidates, the partner among them.

# %%
import math
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import data, evaluation, losses, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch13
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.methods import Method
from ssl_lessons.models import settle
from ssl_lessons.training import default_monitor, pretrain, recipes

N = 256  # pictures in a batch, 2N views
CANDIDATES = 2 * N - 1
recipe = recipes.get_recipe("quick")
no_tint = recipe.policy.replace(jitter_p=0.0, grayscale_p=0.0)  # crop and mirror only
unlabeled = data.shapes("unlabeled", n=8192)
train, test = data.shapes("train", n=2000), data.shapes("test", n=2000)


def two_views(images: torch.Tensor, policy, seed: int = 0) -> list[torch.Tensor]:
    return views.make_views(
        images, (policy, policy), torch.Generator().manual_seed(seed)
    )


# %% tags=["hide-input"]
first, second = two_views(unlabeled.images[:N], no_tint)
order = torch.tensor([7, 3, 12, 5, 9, 0, 14, 2, 11, 1, 8, 13, 4, 10, 6])
plots.show(
    plots.image_grid(
        views.denormalize(torch.cat([first[:1], second[order]])),
        columns=8,
        titles=["anchor", *map(str, range(1, 16))],
        title="Which of the fifteen is the other half of the anchor?",
    ),
    alt="A random crop of a drawing, titled anchor, and fifteen numbered crops; one of "
    "them comes from the same picture as the anchor.",
)

# %% [markdown]
# Replace the network by a *colour meter*. It computes six numbers per view, the mean and the standard deviation of red,
# green and blue, and points at the view whose six numbers are closest.
#
# > **Predict before you go on.** (1) How often does the colour meter point at the right one of 511 (a guess: 0.2 %)?
# > (2) How well do its six numbers tell the ten kinds of things apart (a guess: 10 %)? (3) What changes if every view
# > also gets its own random tint?


# %%
def colour_meter(x: torch.Tensor) -> torch.Tensor:
    """[N, 3, S, S] -> [N, 6]"""
    return torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3))], dim=1)


def play(policy) -> dict:
    """The game with the colour meter: how often it is right, and its loss."""
    z = torch.cat([colour_meter(v) for v in two_views(unlabeled.images[:N], policy)])
    z = (z - z.mean(dim=0)) / z.std(dim=0)
    scores = -2 * torch.cdist(z, z).square()
    scores.fill_diagonal_(-math.inf)
    partner = torch.arange(2 * N).roll(N)
    right = (scores.argmax(dim=1) == partner).float().mean()
    return {"right": right.item(), "loss": F.cross_entropy(scores, partner).item()}


game = {"crop, mirror": play(no_tint), "crop, mirror, tint": play(recipe.policy)}
meter = [colour_meter(views.normalize(s.images)) for s in (train, test)]
meter_knn = evaluation.knn_accuracy(meter[0], train.labels, meter[1], test.labels)

# %% tags=["hide-input"]
plots.table(
    [{"views": "a guess", "right": 1 / CANDIDATES, "loss": math.log(CANDIDATES)}]
    + [{"views": name} | row for name, row in game.items()],
    "The colour meter plays the game (loss: natural logarithms, nats)",
    {"views": "views made by", "right": "picks the partner", "loss": "loss"},
    {"right": ".1%", "loss": ".2f"},
)
print(f"kinds told apart by the same six numbers: {meter_knn:.1%} (kNN, 2,000 labels)")
assert game["crop, mirror"]["right"] > 0.5 and meter_knn < 0.3
assert game["crop, mirror, tint"]["loss"] > math.log(CANDIDATES)
assert 5 / CANDIDATES < game["crop, mirror, tint"]["right"] < 0.2

# %% [markdown]
# With plain crops the meter is right more often than not, and it is nearly blind to what you care about. The tint costs
# it most of its wins (a loss above chance means that it is sure of itself, and wrong). So the game alone teaches
# nothing in particular.
#
# ## The idea, step 1: learn a density by telling data from noise
#
# You have samples of a variable $x$ and a model that you can write only up to a constant, $\log\phi(x; a)$. To turn it
# into a density you need $\log Z(a) = \log\int \phi(x; a)\,dx$, and in high dimension nobody can compute that integral.
#
# [Gutmann and Hyvärinen (2010)](https://proceedings.mlr.press/v9/gutmann10a.html) found a way around it,
# **noise-contrastive estimation (NCE)**. For every data point draw $\nu$ points (one, in that paper) from a noise
# density $p_n$ that you know, throw all into one bag, and train a logistic regression to say which are data. By Bayes'
# rule
#
# $$P(\text{data}\mid x) = \frac{p_d(x)}{p_d(x) + \nu\,p_n(x)} = \sigma\big(\log p_d(x) - \log \nu\,p_n(x)\big),$$
#
# where $p_d$ is the density of the data and $\sigma(G) = 1/(1 + e^{-G})$. The sigmoid is one-to-one, so *the* optimal
# logit is the log-ratio of data to noise. Therefore write your model into the logit,
#
# $$G(x) = \log\phi(x; a) - b - \log \nu\,p_n(x), \qquad
# L_\text{NCE} = -\sum_{\text{data}}\log\sigma(G) - \sum_{\text{noise}}\log\sigma(-G),$$
#
# and with enough data $b$, an ordinary parameter, goes to $\log Z$: only a normalised model matches the ratio. Two
# conditions: some $a$ gives the true density, and $p_n(x) > 0$ wherever $p_d(x) > 0$.
#
# Try it on a double well, $\log\phi(x; a) = a x^2/2 - x^4/4$. In one dimension a fine grid gives you the true $Z$.

# %%
GRID = torch.linspace(-5, 5, 4001, dtype=torch.float64)
A_TRUE = 2.0
noise = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 2.0)  # p_n


def log_phi(x: torch.Tensor, a: float) -> torch.Tensor:
    return a * x**2 / 2 - x**4 / 4


def fit_nce(x: torch.Tensor, y: torch.Tensor, iterations: int = 20) -> torch.Tensor:
    """(a, b) from data x [n] and noise y [nu n]; G is linear in both: Newton."""
    u, nu = torch.cat([x, y]), len(y) / len(x)
    is_data = (torch.arange(len(u)) < len(x)).double()
    slope = torch.stack([u**2 / 2, -torch.ones_like(u)], dim=1)  # dG/da, dG/db
    rest = log_phi(u, 0.0) - noise.log_prob(u) - math.log(nu)
    theta = torch.zeros(2, dtype=torch.float64)
    for _ in range(iterations):
        p = torch.sigmoid(slope @ theta + rest)
        hessian = (slope.T * p * (1 - p)) @ slope
        theta = theta - torch.linalg.solve(hessian, slope.T @ (p - is_data))
    return theta


# %%
NOISE_PER_POINT, POINTS, REPEATS = (1, 3, 10), 1000, 200
log_z = float(log_phi(GRID, A_TRUE).logsumexp(0) + math.log(GRID[1] - GRID[0]))
cdf = log_phi(GRID, A_TRUE).softmax(0).cumsum(0)
generator = torch.Generator().manual_seed(0)
fits = {nu: [] for nu in NOISE_PER_POINT}
for _ in range(REPEATS):
    uniform = torch.rand(POINTS, generator=generator, dtype=torch.float64)
    x = GRID[torch.searchsorted(cdf, uniform).clamp(max=len(GRID) - 1)]
    most = max(NOISE_PER_POINT) * POINTS
    y = 2 * torch.randn(most, generator=generator, dtype=torch.float64)
    for nu in NOISE_PER_POINT:
        fits[nu].append(fit_nce(x, y[: nu * POINTS]))
fits = {nu: torch.stack(f) for nu, f in fits.items()}  # [REPEATS, 2]

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2)
a_hat, b_hat = fits[10][0].tolist()
left.hist(x.numpy(), bins=50, density=True, color="#cccccc", label="a data sample")
left.plot(
    GRID, (log_phi(GRID, A_TRUE) - log_z).exp(), color=plots.COLORS[0], label="truth"
)
left.plot(
    GRID, (log_phi(GRID, a_hat) - b_hat).exp(), "--", color=plots.COLORS[1], label="NCE"
)
left.plot(GRID, noise.log_prob(GRID).exp(), ":", color=plots.GRAY, label="noise")
left.set(xlim=(-4.5, 4.5), xlabel="x", ylabel="density (per unit of x)")
left.set_title("A classifier has learned a normalised density")
left.legend(loc="upper left", fontsize=7)
right.boxplot([f[:, 1].numpy() for f in fits.values()], widths=0.5)
right.set_xticks(range(1, len(fits) + 1), [str(nu) for nu in fits])
right.axhline(log_z, color=plots.COLORS[0], linestyle=":", label="true log Z")
right.set_title("More noise, less spread; the centre is right at once")
right.set(
    xlabel="noise points per data point", ylabel="b, the estimate of log Z (nats)"
)
right.legend()
plots.show(
    fig,
    alt="Left: a two-humped true density and the one fitted by noise-contrastive "
    "estimation lie on top of each other. Right: box plots of the estimated log "
    "partition function for 1, 3 and 10 noise points per data point, all centred on "
    "the true value and narrowing.",
)

# %%
spread = {nu: f[:, 1].std().item() for nu, f in fits.items()}
error = {nu: (f[:, 1].mean() - log_z).abs().item() for nu, f in fits.items()}
assert all(error[nu] < 4 * spread[nu] / math.sqrt(REPEATS) for nu in fits)
assert spread[1] > spread[3] > spread[10]
print(
    "spread of b over 200 repetitions:", {nu: round(s, 3) for nu, s in spread.items()}
)

# %% [markdown]
# The constant came out of a *classifier*. (If the noise depends on the data point, the constant cancels: *conditional
# NCE*, [Ceylan and Gutmann, 2018](https://arxiv.org/abs/1806.03664).)
#
# ## Step 2: from "data or noise?" to "which one of K?"
#
# Now let there be a context $c$ (one view of a picture) and $K$ candidates $x_1,\dots,x_K$. One of them was drawn from
# $p(x\mid c)$ (the other view of the *same* picture), the others from $p(x)$ (views of any picture). Before you look
# all positions are equally likely, so by Bayes' rule, after dividing by $\prod_j p(x_j)$,
#
# $$P(i \text{ is the positive}\mid x_1,\dots,x_K, c) = \frac{r_i}{\sum_{j=1}^K r_j},
# \qquad r_j = \frac{p(x_j\mid c)}{p(x_j)}.$$
#
# A network that scores every candidate with a **critic** $f(x, c)$, a number, and is trained by the cross-entropy of
# the softmax over its scores, minimises
#
# $$L_\text{InfoNCE} = -\,\mathbb{E}\,\log\frac{e^{f(x_+, c)}}{\sum_{j=1}^K e^{f(x_j, c)}},
# \qquad\text{best when}\qquad f(x, c) = \log\frac{p(x\mid c)}{p(x)} + \text{const}(c),$$
#
# because then its softmax *is* the posterior above ($x_+$ is the positive; [van den Oord et al.,
# 2018](https://arxiv.org/abs/1807.03748), section 2.3). "Data or noise?" pins the logit down completely, so it can learn
# $\log Z$. "Which of K?" only compares candidates: adding a constant to all scores changes nothing, and normalisation is
# neither needed nor learned.
#
# The $K-1$ negatives need not be drawn separately: the other pictures of the batch are samples of $p(x)$. These are
# **in-batch negatives**, in use at the latest since the $N$-pair loss ([Sohn,
# 2016](https://papers.nips.cc/paper/2016/hash/6b180037abbebea991d8b1232f8a8ca9-Abstract.html)).


# %%
def info_nce_of(scores: torch.Tensor) -> torch.Tensor:
    """scores [..., K, K]: a row per context, positives on the diagonal."""
    return (scores.logsumexp(dim=-1) - scores.diagonal(dim1=-2, dim2=-1)).mean()


# %% [markdown]
# ## Step 3: what the loss says about information, and what it cannot say
#
# The mutual information $I(x; c) = \mathbb{E}\log\frac{p(x\mid c)}{p(x)}$ (in nats) is the mean of $\log r$ at the
# positive. Four short steps:
#
# 1. No critic beats the posterior: $L \ge L^* = -\mathbb{E}\log\big(r_+ / \sum_j r_j\big)$.
# 2. Move $K$ to the left: $\log K - L^* = \mathbb{E}\log r_+ - \mathbb{E}\log m$, with the mean $m = \frac1K\sum_j r_j$.
# 3. The first term is $I(x; c)$. In the second, $m$ is a ratio of two densities of the whole line-up: given $c$, with
#    the positive at a random place, against $K$ independent draws, $\prod_j p(x_j)$. The mean of its logarithm under the
#    first of them is a Kullback-Leibler divergence, and none is negative. Hence $\log K - L^* \le I(x; c)$.
# 4. A cross-entropy is not negative: $L \ge 0$, so $\log K - L \le \log K$.
#
# $$\boxed{\;\log K - L \;\le\; \min\big(I(x; c),\ \log K\big)\;}$$
#
# This holds for every critic, good or bad, and independent negatives (van den Oord et al.; relatives: [Poole et al.,
# 2019](https://arxiv.org/abs/1905.06922)). Check it: for $d$ pairs of Gaussians with correlation $\rho$ the truth is
# $I = -\frac d2\log(1 - \rho^2)$, and the best critic has a closed form. A *bad* one is three times as sure.

# %%
DIM = 20


def log_ratio(x: torch.Tensor, c: torch.Tensor, rho: float) -> torch.Tensor:
    """log p(x_j | c_i) / p(x_j) for x, c [B, K, d] with correlation rho: [B, K, K]."""
    squares = x.square().sum(-1)[:, None, :] + c.square().sum(-1)[:, :, None]
    quadratic = rho**2 * squares - 2 * rho * c @ x.mT
    return -DIM / 2 * math.log(1 - rho**2) - quadratic / (2 * (1 - rho**2))


def certified(information: float, k: int, sureness: float = 1.0) -> float:
    """log K - loss (nats) of a critic that is `sureness` times the best one."""
    rho = math.sqrt(1 - math.exp(-2 * information / DIM))
    generator = torch.Generator().manual_seed(0)
    c, e = torch.randn(2, 8192 // k, k, DIM, generator=generator)
    x = rho * c + math.sqrt(1 - rho**2) * e
    return math.log(k) - info_nce_of(sureness * log_ratio(x, c, rho)).item()


INFORMATION, SIZES = (1.0, 2.0, 4.0, 16.0), (4, 16, 64, 256, 1024)
bound = {(i, k): certified(i, k) for i in INFORMATION for k in SIZES}
too_sure = {k: certified(2.0, k, sureness=3.0) for k in SIZES}
assert all(
    b <= min(i, math.log(k)) + 0.1 for (i, k), b in bound.items()
)  # 0.1: sampling
assert all(too_sure[k] < bound[2.0, k] - 0.2 for k in SIZES)
assert all(abs(bound[16.0, k] - math.log(k)) < 0.1 for k in SIZES)

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 3.6)
for i, color, mark in zip(INFORMATION, plots.COLORS, "osD^", strict=False):
    ax.plot(
        SIZES, [bound[i, k] for k in SIZES], mark + "-", color=color, label=f"I = {i:g}"
    )
    ax.axhline(i, color=color, linestyle=":", linewidth=0.8)
ax.plot(
    SIZES,
    list(too_sure.values()),
    "x--",
    color=plots.COLORS[1],
    label="I = 2, too sure",
)
ax.plot(SIZES, [math.log(k) for k in SIZES], color=plots.GRAY, label="ceiling log K")
ax.set(xscale="log", ylim=(-1, 9), xlabel="candidates K")
ax.set_xticks(SIZES, [str(k) for k in SIZES])
ax.set(ylabel="certified: log K - loss (nats)")
ax.set_title("Even the perfect critic certifies at most log K")
ax.minorticks_off()
ax.legend(title="true information (nats)", ncols=2, loc="upper left", fontsize=7)
plots.show(
    fig,
    alt="Certified information against the number of candidates, for four true values. "
    "Each curve stays under its true value and under the ceiling log K; with 16 nats "
    "to find the curve lies on the ceiling; an overconfident critic certifies less.",
)

# %% [markdown]
# Read the top curve: there are 16 nats to find, and the perfect critic reports the ceiling. Each further nat needs $e$
# times the batch. The overconfident critic certifies less. Three things the formula does **not** say:
#
# - The *loss* is not a lower bound on the information: it *falls* when the information rises. $\log K - L$ is the bound.
# - When $x$ and $c$ are embeddings $z_1, z_2$ of two views $v_1, v_2$, training raises a bound on $I(z_1; z_2)$;
#   $I(v_1; v_2)$, which is at least as large, was fixed when you chose the views.
# - Information about *what* does not occur in it. Any invertible function of a picture keeps all its information,
#   useful or not ([Tschannen et al., 2020](https://arxiv.org/abs/1907.13625)).
#
# ## Step 4: NT-Xent, written out
#
# SimCLR ([Chen et al., 2020](https://arxiv.org/abs/2002.05709)) makes four choices and calls the result NT-Xent,
# *normalised temperature-scaled cross-entropy*:
#
# - the critic is the **cosine similarity** of two embeddings over a **temperature**: $f = s/\tau$ with
#   $s_{ij} = z_i^\top z_j / \lVert z_i\rVert\lVert z_j\rVert$;
# - all $2N$ views of the batch are anchors, so the loss is **symmetric** in the two views;
# - the candidates of an anchor are all *other* views: $2N-1$ of them, the partner and $2N-2$ negatives;
# - both views of all pictures go through the encoder and a small projector as one batch.
#
# $$L = -\frac{1}{2N}\sum_{i=1}^{2N}\log\frac{\exp(s_{i,j(i)}/\tau)}{\sum_{k\ne i}\exp(s_{ik}/\tau)}$$
#
# $z$ is $[2N, D]$, $j(i) = i \pm N$ is the partner of $i$, and $\tau > 0$ a number (equation 1 of the paper). In
# code:


# %%
def nt_xent(z1: torch.Tensor, z2: torch.Tensor, tau: float) -> torch.Tensor:
    """z1, z2 [N, D]: two views of the same N pictures, in the same order. Nats."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)  # [2N, D], rows of length 1
    logits = z @ z.T / tau  # [2N, 2N] cosines over temperature
    logits = logits.fill_diagonal_(-math.inf)  # a view must not meet itself
    partner = torch.arange(len(z), device=z.device).roll(len(z1))  # i <-> i + N
    own = logits.gather(1, partner[:, None])[:, 0]
    return (logits.logsumexp(dim=1) - own).mean()


# %% [markdown]
# By hand: two pictures, A and B, two views each, embeddings in the plane: A and its partner A' at 0 and 30 degrees, B
# and B' at 100 and 150.

# %%
degrees = torch.tensor([0.0, 100.0, 30.0, 150.0])  # A, B, A', B': z1 first, then z2
z = torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin()], dim=1)
cosines, tau = z @ z.T, 0.5
p = (cosines / tau).fill_diagonal_(-math.inf).softmax(dim=1)
partner = torch.tensor([2, 3, 0, 1])
term = -p[torch.arange(4), partner].log()  # -log of the partner's share, per anchor
assert torch.allclose(nt_xent(*z.chunk(2), tau), term.mean())
assert torch.allclose(losses.nt_xent(*z.chunk(2), tau), term.mean(), atol=1e-6)

# %% tags=["hide-input"]
names = ("A", "B", "A'", "B'")
plots.table(
    [
        {"anchor": a}
        | {
            b: "not used" if i == k else f"{cosines[i, k]:+.2f}"
            for k, b in enumerate(names)
        }
        | {"p": p[i, partner[i]].item(), "loss": term[i].item()}
        for i, a in enumerate(names)
    ],
    f"Cosines of four views; shares and losses at tau = {tau}: mean {term.mean():.2f}",
    {"anchor": "anchor"} | {b: f"with {b}" for b in names}
    | {"p": "share of the partner", "loss": "-log share"},
    {"p": ".2f", "loss": ".2f"},
)  # fmt: skip

# %% [markdown]
# In the first row the cosines with B, A' and B', over 0.5, go through a softmax; minus the logarithm of the share of A'
# is the loss of anchor A.
#
# ## Step 5: the gradient, and who gets pushed
#
# For one anchor write $s_+$ for the cosine with its partner, $s_j$ for those with its negatives, and $p_+, p_j$ for
# their softmax shares, so that $L = -s_+/\tau + \log\big(e^{s_+/\tau} + \sum_j e^{s_j/\tau}\big)$. Two derivatives:
#
# $$\frac{\partial L}{\partial s_j} = \frac{p_j}{\tau}, \qquad \frac{\partial L}{\partial s_+} = -\frac{1 - p_+}{\tau}.$$
#
# The pull on the partner equals the total push on the negatives, since $\sum_j p_j = 1 - p_+$. How is the push shared?
# Divide:
#
# $$w_j = \frac{\partial L/\partial s_j}{\sum_k \partial L/\partial s_k} = \frac{e^{s_j/\tau}}{\sum_k e^{s_k/\tau}}.$$
#
# The positive has dropped out. The **share** $w_j$ of a negative depends on the negatives and on $\tau$ alone ([Wang and
# Liu, 2021](https://arxiv.org/abs/2012.09740), section 3). A negative that is closer by $\Delta$ is pushed
# $e^{\Delta/\tau}$ times as hard (per unit of cosine). As $\tau\to\infty$ all are pushed alike; as $\tau\to 0$ only the closest is. And
# $p_j/\tau$ is positive at *every* cosine: the push does not stop at a right angle, it spreads the embeddings over the
# sphere. Autograd agrees:

# %%
# NBVAL_CHECK_OUTPUT
generator = torch.Generator().manual_seed(0)
s = (1.6 * torch.rand(511, generator=generator).double() - 0.8).requires_grad_()
for tau in (0.05, 0.2, 1.0):  # s[0] is the positive
    (slope,) = torch.autograd.grad((s / tau).logsumexp(0) - s[0] / tau, s)
    p = (s / tau).softmax(0).detach()
    pull_and_push = torch.cat([-(1 - p[:1]), p[1:]]) / tau
    share = (s[1:] / tau).softmax(0).detach()
    agree = torch.allclose(slope, pull_and_push)
    agree &= torch.allclose(slope[1:] / slope[1:].sum(), share)
    print(f"tau {tau}: as derived: {bool(agree)}")

# %% [markdown]
# > **Predict.** In a real batch, sort the 510 negatives of an anchor by similarity. What share of the push falls on the
# > most similar tenth of them, at $\tau = 1$ and at $\tau = 0.05$? (If all were pushed alike: 10 %.)
#
# ## The run: your six lines train a network
#
# Two short runs from the same weights: the recipe as it is, and *without the tint*.

# %%
STEPS = 130


class Contrastive(Method):
    """Encoder and projector of the quick recipe, with the loss of this chapter."""

    def __init__(self, tau: float = 0.1):
        super().__init__()
        built = recipe.build(seed=0)
        self.encoder, self.projector, self.tau = built.encoder, built.projector, tau

    def forward(self, views, labels=None):
        return nt_xent(
            *self.projector(self.encoder(torch.cat(views))).chunk(2), self.tau
        )


def learn(policy) -> tuple[Contrastive, list[dict]]:
    method = Contrastive()
    watch = default_monitor(train, STEPS, images=500)
    settings = {"steps": STEPS, "seed": 0, "monitor": watch} | recipe.training()
    return method, pretrain(method, unlabeled.images, (policy, policy), **settings)


runs = {"with tint": learn(recipe.policy), "without tint": learn(no_tint)}
fresh = settle(recipe.build(seed=0).encoder, unlabeled.images[:2048])

# %% tags=["hide-input"]
fig = plots.training_panel(
    {name: history for name, (_, history) in runs.items()},
    "The lower loss belongs to the network that learns less",
    chance=0.1,
    chance_loss=math.log(CANDIDATES),
)
plots.show(
    fig,
    alt="Training curves of two runs. The loss of the run without tint falls far below "
    "that of the run with tint; its kNN accuracy stays below. Beside them spread and "
    "rank of the embeddings.",
)


# %%
def row_of(name: str, x: torch.Tensor, x_test: torch.Tensor, loss=math.nan) -> dict:
    """Probe with 100 labels, three draws of them; kNN; what the loss certifies."""
    sets = (x, train.labels, x_test, test.labels)
    probe = evaluation.label_efficiency(*sets, per_class=(10,), draws=3)[0]
    row = {"name": name, "probe": probe["mean"], "std": probe["std"]}
    row |= {"knn": evaluation.knn_accuracy(*sets), "loss": loss}
    return row | {"bound": math.log(CANDIDATES) - loss}


def encoded(encoder) -> list[torch.Tensor]:
    return [evaluation.extract_features(encoder, s.images) for s in (train, test)]


results = {
    "pixels": row_of("pixels", *(evaluation.pixels(s.images) for s in (train, test)))
}
results["meter"] = row_of("colour meter", *meter)
results["untrained"] = row_of("untrained encoder", *encoded(fresh))
for name, (method, history) in runs.items():
    loss = sum(r["loss"] for r in history[-10:]) / 10
    results[name] = row_of(f"SimCLR {name}", *encoded(method.encoder), loss)

# %% tags=["hide-input"]
rows = [{k: v for k, v in row.items() if v == v} for row in results.values()]
plots.table(
    [{"name": "chance", "probe": 0.1, "knn": 0.1, "loss": math.log(CANDIDATES)}, *rows],
    f"After {STEPS} steps of {N} pictures, tested on {len(test):,} pictures",
    {
        "name": "representation",
        "probe": "probe, 100 labels",
        "std": "spread over 3 draws",
        "knn": "kNN, 2,000 labels", "loss": "loss", "bound": "log 511 - loss (nats)",
    },
    {"probe": ".1%", "std": ".1%", "knn": ".1%", "loss": ".2f", "bound": ".2f"},
)  # fmt: skip
tint, plain = results["with tint"], results["without tint"]
untrained = results["untrained"]
assert plain["bound"] > tint["bound"] + 0.5 and plain["probe"] < tint["probe"] - 0.05
assert results["pixels"]["knn"] > max(plain["knn"], untrained["knn"]) + 0.05
assert plain["probe"] < untrained["probe"] + 0.03

# %% [markdown]
# For kNN raw pixels beat both untrained features and those of the run without tint. That run certifies far more
# information, of at most $\log 511\approx 6.24$ nats, and tells things apart no better than an untrained network does.
# **A higher bound is not a better representation.** (Negatives in pairs of views are not independent: NT-Xent may
# certify up to $\log 2$ nats too much.) What the views share decides *which* information the loss can be earned with;
# the tint makes colour worth far less ([Chen et al., 2020](https://arxiv.org/abs/2002.05709), section 3.1, saw the same
# in colour histograms of photographs). (One run each; the claims have three.)
#
# **Who gets pushed?** Take the network trained with tint and a batch that it has not seen, and sort the 510 negatives
# of each anchor.


# %%
@torch.no_grad()
def embed_batch(method, images: torch.Tensor) -> list[torch.Tensor]:
    """The embeddings of two views of each picture, [N, D] each."""
    method.eval().cpu()
    pair = two_views(images, recipe.policy, seed=1)
    return [method.projector(method.encoder(v)).float() for v in pair]


z1, z2 = embed_batch(runs["with tint"][0], train.images[:N])
z = F.normalize(torch.cat([z1, z2]), dim=1)
others = ~torch.eye(N, dtype=torch.bool).repeat(2, 2)  # neither itself nor its partner
negatives = (z @ z.T)[others].view(2 * N, 2 * N - 2).sort(dim=1, descending=True).values
taus = torch.logspace(math.log10(0.02), math.log10(2), 30).tolist()
shares = {tau: (negatives / tau).softmax(dim=1) for tau in (0.05, 1.0, *taus)}
hardest = {t: 100 * w[:, :51].sum(1).mean().item() for t, w in shares.items()}
easiest = {t: 100 * w[:, 255:].sum(1).mean().item() for t, w in shares.items()}

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 3.2)
for values, name, style, color, even in (
    (hardest, "the most similar tenth", "-", plots.COLORS[1], 10),
    (easiest, "the less similar half", "--", plots.COLORS[0], 50),
):
    ax.plot(taus, [values[t] for t in taus], style, color=color, label=name)
    ax.axhline(even, color=color, linestyle=":", linewidth=0.8)
ax.set(
    xscale="log", ylim=(0, 100), xlabel="temperature", ylabel="share of the push (%)"
)
ax.set_title("The colder, the fewer negatives do the work (dotted: all alike)")
ax.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1, 2], [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2])
ax.minorticks_off()
ax.legend()
plots.show(
    fig,
    alt="Share of the push against temperature. The most similar tenth takes most "
    "of it at 0.02 and little more than its even share at 2; the less similar half "
    "rises from nothing towards 50 percent.",
)
for tau in (1.0, 0.05):
    print(
        f"temperature {tau}: the hardest tenth takes {hardest[tau]:.0f} % of the push"
    )
assert hardest[0.05] > 35 and hardest[1.0] < 20 and easiest[0.05] < 20

# %% [markdown]
# At 1 the hardest tenth gets little more than its even share, at 0.05 several times as much. A low temperature is a
# hard-negative miner that costs nothing, and a blunt one: in a batch with ten kinds of things, the "negatives" most like
# a boat are other boats. Wang and Liu's *uniformity-tolerance dilemma*: spread out, or let like stay near like?
#
# ### Six temperatures, three seeds each
#
# The same recipe, 500 steps. Uniformity is the log of the mean of $e^{-2\lVert u_i-u_j\rVert^2}$ over pairs of unit
# embeddings $u$ ([Wang and Isola, 2020](https://arxiv.org/abs/2005.10242)).

# %%
record, origin = book.recorded("temperature", world=2)
UNTRAINED = 0.0  # the row of the untrained network
for row in record:
    row["tightness"] = row["within"] - row["between"]
TAUS = sorted({row["temperature"] for row in record} - {UNTRAINED})


def recorded(tau: float, key: str) -> list[float]:
    """One value per seed."""
    return book.per_seed(record, key, temperature=tau)


# %% tags=["hide-input"]
PANELS = {
    "probe": ("Probe: a broad middle, worst at 1", "accuracy, 100 labels (%)"),
    "uniformity": ("Uniformity: lower is more spread", "log mean pair potential"),
    "gap": ("Partner against nearest negatives", "difference of cosines"),
    "tightness": ("Same class minus other class", "difference of mean cosines"),
}
fig, axes = plots.new_figure(8.6, 5.0, 2, 2)
for ax, (key, (title, label)) in zip(axes.flat, PANELS.items(), strict=True):
    values = torch.tensor([recorded(t, key) for t in (*TAUS, UNTRAINED)])
    values = 100 * values if key == "probe" else values
    ax.plot(TAUS, values[:-1].mean(1), color=plots.COLORS[0], label="mean")
    ax.plot(TAUS, values[:-1], "o", color=plots.COLORS[0], markersize=3)
    floor = values[-1].mean().item()
    ax.axhline(floor, color=plots.GRAY, linestyle=":", label="untrained")
    ax.set(xscale="log", title=title, xlabel="temperature", ylabel=label)
    ax.set_xticks(TAUS, [f"{tau:g}" for tau in TAUS])
    ax.minorticks_off()
axes[0, 0].set_ylim(bottom=0)
axes[0, 0].legend()
means = {k: [sum(recorded(t, k)) / len(recorded(t, k)) for t in TAUS] for k in PANELS}
plots.show(
    fig,
    alt="Four panels against temperature, a point per seed. The temperatures: "
    + f"{', '.join(f'{t:g}' for t in TAUS)}. "
    + ". ".join(f"{k}: {', '.join(f'{v:.2f}' for v in m)}" for k, m in means.items()),
)
print(origin)

# %%
probes = {t: recorded(t, "probe") for t in (UNTRAINED, *TAUS)}
assert min(probes[0.1]) > max(probes[UNTRAINED]) + 0.1
assert {r["steps"] for r in record} == {0, 500}
middle = [p for t in (0.05, 0.1, 0.2) for p in probes[t]]
assert max(probes[1.0]) + 0.1 < min(middle) and max(middle) - min(middle) < 0.05
assert max(probes[0.02]) < min(middle)
assert min(recorded(0.02, "uniformity")) > max(recorded(0.05, "uniformity"))
assert max(g for t in TAUS for g in recorded(t, "gap")) < 0
apart = {t: sum(recorded(t, "tightness")) for t in TAUS}
assert {0.2, 0.5} == set(sorted(apart, key=apart.get)[-2:])

# %% [markdown]
# Features are about equally good from 0.05 to 0.2, a little worse at 0.02 and 0.5, and far worse at 1, where all
# negatives are pushed nearly alike. The coldest cloud is bunched, so its gap is nearest to 0, yet negative like all:
# the ten nearest of 2,000 strangers stand closer than the partner. The difference of the class cosines is largest at
# 0.2 and 0.5, but bunching shrinks that difference: [26b](26b_temperature.ipynb) takes it out.
#
# ## What goes wrong: a loss that is nearly right
#
# A wrong contrastive loss rarely crashes. Five properties that follow from the formula catch most slips in a second.


# %%
def slips(loss) -> list[str]:
    """What a contrastive loss(z1, z2, tau) gets wrong, compared with NT-Xent."""
    z1, z2 = torch.randn(2, 32, 16, generator=torch.Generator().manual_seed(0)).double()
    value, alike, apart = loss(z1, z2, 0.2), torch.ones(32, 16), torch.eye(32)
    order = torch.arange(32).flip(0)
    same = partial(torch.allclose, atol=1e-6)
    holds = {
        "all alike: log(2N - 1)": abs(loss(alike, alike, 0.2) - math.log(63)) < 1e-4,
        "perfect: 0": abs(loss(apart, apart, 0.05)) < 1e-4,
        "length does not matter": same(loss(3 * z1, z2, 0.2), value),
        "views may be swapped": same(loss(z2, z1, 0.2), value),
        "order does not matter": same(loss(z1[order], z2[order], 0.2), value),
    }
    return [name for name, good in holds.items() if not good]


# %%
def self_pair_kept(z1, z2, tau):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    return F.cross_entropy(z @ z.T / tau, torch.arange(len(z)).roll(len(z1)))


def wrong_axis(z1, z2, tau):
    z = F.normalize(torch.cat([z1, z2]), dim=0)  # columns get length 1, rows do not
    logits = (z @ z.T / tau).fill_diagonal_(-math.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))


def one_sided(z1, z2, tau):
    return info_nce_of(F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / tau)


for loss in (nt_xent, self_pair_kept, wrong_axis, one_sided):
    print(f"{loss.__name__}: {'; '.join(slips(loss)) or 'nothing found'}")
assert not slips(nt_xent) and "length does not matter" in slips(wrong_axis)
assert all("all alike: log(2N - 1)" in slips(f) for f in (self_pair_kept, one_sided))

# %% [markdown]
# The second keeps the diagonal: every view finds itself, and the loss stops at $\log 2$, however good the network. The
# third normalises over the wrong axis: right at chance, given away by the length. The last is no bug but another
# loss: only the first views search, among the second ones. [Chapter 13b](13b_slips_in_print.ipynb) asks which slips
# training forgives.
#
# ## Play: the temperature slider
#
# Two anchors from the trained network's batch: the *easy* one, whose partner stands out most from the crowd, and the
# *hard* one. Left: cosines. Middle: softmax shares on a logarithmic axis, hence on a straight line. Right: the share of
# the push, per tenth of the negatives. **Cool the hard anchor all the way: what becomes of its partner's share, and on
# how many negatives does the push rest?**

# %%
crowds = widgets.temperature.crowds(z1, z2)
widgets.explore(
    partial(widgets.temperature.render_weights, batch=crowds),
    widgets.temperature.controls(),
    static=[
        {"tau": t, "anchor": a} for a in ("hard", "easy") for t in (0.01, 0.2, 1.0)
    ],
    alt=partial(widgets.temperature.describe_weights, batch=crowds),
    brief=partial(widgets.temperature.brief_weights, batch=crowds),
    columns=1,
)

# %%
coldest = 0.005  # the lower end of the slider
left = widgets.temperature.weigh(crowds["hard"], coldest).positive
few = widgets.temperature.effective_negatives(crowds["hard"], coldest)
print(f"hard anchor at {coldest}: partner {left:.1g}, push on {few:.1f} negatives")
assert left < 1e-3 and few < 30

# %% [markdown]
# Cooling only makes a wrong answer surer: some negatives lie closer than the partner, whose share vanishes, and the whole
# push comes to rest on the few that are nearest.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end.
#
# ### 1 · How large a batch? (•, 5 minutes)
# Somebody wants to certify `nats` of mutual information by InfoNCE and expects to reach a loss of `loss` (both floats).
# How many candidates per anchor are needed at least, the positive included? Return an int. (Then try 20 nats, and decide
# whether you believe sentences such as "our encoder captures 20 nats".)
#
# <details><summary>Hint</summary>Solve the bound for $K$; a candidate cannot be split.</details>


# %%
def candidates_needed(nats: float, loss: float) -> int:
    return NOT_ATTEMPTED


ch13.check_candidates_needed(candidates_needed)

# %% [markdown]
# ### 2 · Choose the temperature (••, 8 minutes)
# Your two nearest negatives differ by `gap` in cosine (a float above 0). You want the nearer one to be pushed exactly
# `ratio` times as hard as the other (a float above 1). Which temperature does it? Then say what happens to the ratio
# when somebody halves your temperature.
#
# <details><summary>Hint</summary>Divide two of the shares of step 5; everything but the gap cancels.</details>


# %%
def temperature_for(gap: float, ratio: float) -> float:
    return NOT_ATTEMPTED


ch13.check_temperature_for(temperature_for)

# %% [markdown]
# ### 3 · NT-Xent from memory (••, 12 minutes)
# `z1`, `z2` are float tensors `[N, D]`, `temperature` is a float; return a scalar tensor in nats, the mean over all
# $2N$ views.
#
# <details><summary>Hint 1</summary>Stack the views, normalise the rows, one matrix product.</details>
# <details><summary>Hint 2</summary>Two questions of indices: who must be left out of row i, and where is the partner
# of i?</details>


# %%
def my_nt_xent(z1: torch.Tensor, z2: torch.Tensor, temperature: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch13.check_nt_xent(my_nt_xent)

# %% [markdown]
# ### 4 · More than two views (•••, 20 minutes)
# Now there are $V$ views per picture: `z` is a float tensor `[V, N, D]`, `temperature` a float. Every view is an anchor
# and has $V - 1$ partners. Average $-\log$ of the softmax share over all anchors **and** all their partners; the
# softmax of an anchor runs over all other views, its other partners among them. For $V = 2$ this must be NT-Xent.
# Return a scalar tensor. Then argue: with all partners at cosine 1 and all negatives at $-1$, how low can this loss get
# for $V = 4$?
#
# <details><summary>Hint 1</summary>`z.flatten(0, 1)` puts view $v$ of picture $n$ into row $vN + n$.</details>
# <details><summary>Hint 2</summary>Rows $i$ and $k$ show the same picture if $i \bmod N = k \bmod N$.</details>
# <details><summary>Hint 3</summary>`log_softmax` of the masked logits holds minus infinity on the diagonal; choose the
# partners by a mask before you average.</details>


# %%
def nt_xent_many(z: torch.Tensor, temperature: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch13.check_nt_xent_many(nt_xent_many)

# %% [markdown]
# ## Claims, tested
#
# Three recorded seeds, compared pair by pair, by rules that stand in [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv) since before the runs. The first
# claim takes the 1,000-step runs of chapter 00; photographs are Tiny ImageNet, 2,000 steps of 256 pictures.


# %%
def compared(tau: float, other: float, key: str = "probe") -> Runs:
    """Runs at two temperatures; both have to beat the untrained network."""
    learned = (probes[tau], probes[other])
    return Runs(recorded(tau, key), recorded(other, key), probes[UNTRAINED], learned)


def on_photographs(tau: float, other: float) -> Runs:
    """The probe with 10 labels per class."""
    return book.on_photographs(*(("temperature", f"{t:g}") for t in (tau, other)))


# %%
COLDEST, COLD, COOL, MILD, WARM, HOT = TAUS
minute, _ = book.recorded("embedded_world", world=2)
tinted, untinted = (
    sorted((r for r in minute if r["arm"] == a), key=lambda r: r["seed"])
    for a in ("simclr", "no colour")
)
bounds = [[math.log(CANDIDATES) - r["loss"] for r in arm] for arm in (tinted, untinted)]
learned = tuple([r["probe"] for r in arm] for arm in (tinted, untinted))
book.claim("C-117", drawn=Runs(*bounds, probes[UNTRAINED], learned))
book.claim("C-18", drawn=compared(COOL, COLD), photographs=on_photographs(COOL, COLD))
book.claim("C-18b", drawn=compared(MILD, HOT), photographs=on_photographs(MILD, HOT))
book.claim("C-18c", drawn=compared(MILD, COLD), photographs=on_photographs(MILD, COLD))
book.claim("C-17a", drawn=compared(COLD, MILD, "tightness"))
book.claim("C-17b", drawn=compared(COLDEST, COOL, "spread_z"))
book.claim("C-17c", drawn=compared(COLD, WARM, "within"))
book.claim(
    "C-17d", drawn=compared(COLDEST, MILD), photographs=on_photographs(COLDEST, MILD)
)
book.claim("C-19b", drawn=compared(COLD, WARM, "gap"))

# %% [markdown]
# At 0.02 the embeddings *are* bunched, but classes do not get tighter on the way there, and the difference of cosines
# could not show it ([26b](26b_temperature.ipynb)). Wang and Liu, after long runs, find the opposite of bunching; ours are short. And the bunched cloud explains most of the last verdict: where everything is close, so are partner
# and strangers. On photographs the cold end spoils nothing.
#
# ## Where it comes from, where it went
#
# NCE was soon put to work on language models ([Mnih and Teh, 2012](https://arxiv.org/abs/1206.6426)); word2vec's
# negative sampling ([Mikolov et al., 2013](https://arxiv.org/abs/1310.4546)) gave up the density. On images, [Wu et al.
# (2018)](https://arxiv.org/abs/1805.01978) used a memory bank and a temperature; [MoCo
# (2019)](https://arxiv.org/abs/1911.05722) took the negatives from a queue; CLIP ([Radford et al.,
# 2021](https://arxiv.org/abs/2103.00020)) replaced the second view by a caption, and learns the temperature.
#
# **Further reading**: [McAllester and Stratos (2020)](https://arxiv.org/abs/1811.04251) show that no high-confidence
# lower bound that holds *whatever the distribution* gets far beyond the logarithm of the number of samples.
#
# ## A question
#
# Two teams train on the same pictures. Team A reports an NT-Xent loss of 1.0, team B of 3.0. Whose features are
# better?
# <details><summary>Answer</summary>You cannot tell. The loss depends on the temperature, on the number of candidates and
# on how hard the views make the game: without tint it was lower and the probe worse. Ask for the probe.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def candidates_needed(nats, loss):
#     # log K - loss >= nats. Twenty nats need half a billion candidates even at a loss of 0.
#     return math.ceil(math.exp(nats + loss))
#
#
# def temperature_for(gap, ratio):
#     # exp(gap / tau) = ratio. Halving tau squares the ratio.
#     return gap / math.log(ratio)
#
#
# def my_nt_xent(z1, z2, temperature):
#     z = F.normalize(torch.cat([z1, z2]), dim=1)
#     logits = (z @ z.T / temperature).fill_diagonal_(-math.inf)
#     return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))
#
#
# def nt_xent_many(z, temperature):
#     # At best three partners share the softmax of an anchor evenly: log 3, not 0.
#     n, rows = z.shape[1], F.normalize(z.flatten(0, 1), dim=1)
#     log_p = (rows @ rows.T / temperature).fill_diagonal_(-math.inf).log_softmax(1)
#     picture = torch.arange(len(rows)) % n
#     partner = (picture[:, None] == picture) & ~torch.eye(len(rows), dtype=torch.bool)
#     return -log_p[partner].mean()
# ```
