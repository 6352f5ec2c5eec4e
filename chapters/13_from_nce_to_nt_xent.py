# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 · From "data or noise?" to NT-Xent: why does picking one picture out of 511 teach a network to see?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/13_from_nce_to_nt_xent.ipynb)
#
# **After this chapter you can**
#
# - fit a density you cannot normalise by training a classifier (noise-contrastive estimation, NCE);
# - derive InfoNCE from it, and say what its best critic computes;
# - use the bound $I \ge \log K - L$, and name the two things it does *not* say;
# - write NT-Xent in ten lines, and spot four famous ways to get it wrong;
# - predict what the temperature $\tau$ does to the gradient, before you touch the slider.
#
# **You need** chapter 00, logistic regression, the softmax, and the chain rule.
# **Time**: 70 minutes to read, about 50 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("13")

# %% [markdown]
# ## The puzzle: find the other half
#
# SimCLR plays one game. Take 256 pictures, cut two random views out of each, and shuffle. Show the network
# one view: it has to point at the view that came from the same picture, among the 511 others. Here is one
# such view, and fifteen of its candidates. The partner is among them.

# %%
import copy
import math
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import data, evaluation, exercises, losses, plots, views, widgets
from ssl_lessons.book.exercises import ch13
from ssl_lessons.diagnostics import feature_std
from ssl_lessons.methods import Method
from ssl_lessons.training import Monitor, pretrain, recipes

N = 256  # images per batch; 2N views
CANDIDATES = 2 * N - 1
recipe = recipes.get_recipe("quick")
no_colour = recipe.policy.replace(jitter_p=0.0, grayscale_p=0.0)  # crop and flip only

unlabeled = data.shapes("unlabeled", n=8192, world=1)
train, test = data.shapes("train", n=1500, world=1), data.shapes("test", n=1000, world=1)


def two_views(images: torch.Tensor, policy, seed: int = 0) -> list[torch.Tensor]:
    return views.make_views(images, (policy, policy), torch.Generator().manual_seed(seed))


first, second = two_views(unlabeled.images[:N], no_colour)
shown = torch.cat([first[:1], second[torch.tensor([7, 3, 12, 5, 9, 0, 14, 2, 11, 1, 8, 13, 4, 10, 6])]])
fig = plots.image_grid(
    views.denormalize(shown),
    columns=8,
    titles=["anchor", *map(str, range(1, 16))],
    title="Which of the fifteen is the other half of the anchor?",
)
plots.show(
    fig,
    alt="A random crop of a drawn object, titled anchor, and fifteen numbered crops; one of "
    "them comes "
    "from the same picture.",
)

# %% [markdown]
# Now replace the network by a *colour meter*. It computes six numbers per view, the mean and the standard
# deviation of red, green and blue, and points at the view whose six numbers are closest. It has no idea what
# a shape is.
#
# > **Predict before you go on.** (1) How often does the colour meter point at the right one of 511: as often
# > as a guess, one time in twenty, or more often than not? (2) How well do its six numbers tell the ten kinds
# > of objects apart? (3) What changes if each view also gets its own random tint?

# %%


def colour_meter(x: torch.Tensor) -> torch.Tensor:
    """[N, 3, S, S] -> [N, 6]"""
    return torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3))], dim=1)


def play(policy) -> tuple[float, float]:
    """The game with the colour meter: how often it is right, and the loss over 511 candidates."""
    z = torch.cat([colour_meter(v) for v in two_views(unlabeled.images[:N], policy)])
    z = (z - z.mean(dim=0)) / z.std(dim=0)
    scores = -2 * torch.cdist(z, z).square()
    scores.fill_diagonal_(-math.inf)
    partner = torch.arange(2 * N).roll(N)
    return (scores.argmax(dim=1) == partner).float().mean().item(), F.cross_entropy(scores, partner).item()


meter_knn = evaluation.knn_accuracy(
    colour_meter(views.normalize(train.images)),
    train.labels,
    colour_meter(views.normalize(test.images)),
    test.labels,
)
game = {"crop and flip": play(no_colour), "crop, flip and tint": play(recipe.policy)}
plots.table(
    [{"views": "a guess", "right": 1 / CANDIDATES, "loss": math.log(CANDIDATES)}]
    + [{"views": name, "right": right, "loss": loss} for name, (right, loss) in game.items()],
    "The colour meter plays the game (loss in nats, lower is better)",
    {"views": "views made by", "right": "picks the partner", "loss": "loss"},
    {"right": ".1%", "loss": ".2f"},
)
print(
    f"Kinds told apart by the same six numbers (a vote of the k nearest neighbours, kNN): "
    f"{meter_knn:.1%}; a guess: {1 / len(train.classes):.0%}."
)

# %% [markdown]
# (A loss above chance is possible: the meter is sure of itself, and wrong.) So a machine can be good at the
# game and nearly blind to the thing you care about. Keep that in mind: this chapter derives where the game
# comes from, proves what winning it means (less than is often said), and shows how three choices (which
# views, which negatives, which temperature) decide what is learned.

# %% [markdown]
# ## The idea, step 1: learn a density by telling data from noise
#
# You have samples of a variable $x$ and a model you can only write up to a constant, $\log\phi(x; a)$. To
# turn it into a density you need $\log Z(a) = \log\int \phi(x; a)\,dx$, and in high dimension nobody can
# compute that integral. Maximum likelihood is stuck.
#
# [Gutmann and Hyvärinen (2010)](https://proceedings.mlr.press/v9/gutmann10a.html) found a way around:
# **noise-contrastive estimation (NCE)**. For every data point draw $k$ points from a noise density $p_n$ that
# you know, throw all in one bag, and train a logistic regression to say which are data. Why does that give a
# density? By Bayes' rule, in a bag with one data point for $k$ noise points,
#
# $$P(\text{data}\mid x) = \frac{p_d(x)}{p_d(x) + k\,p_n(x)} = \sigma\big(\underbrace{\log p_d(x) - \log k\,p_n(x)}_{\text{the best logit}}\big).$$
#
# The sigmoid $\sigma$ is one-to-one, so *the* optimal logit is the log-ratio of data to noise. Therefore
# write your model into the logit,
#
# $$G(x) = \log\phi(x; a) - c - \log k\,p_n(x), \qquad L_\text{NCE} = -\sum_{\text{data}}\log\sigma(G) - \sum_{\text{noise}}\log\sigma(-G),$$
#
# and $c$, an ordinary parameter, has nowhere to go but to $\log Z$: only a normalised model matches the
# ratio. ($x$: a number; $a, c$: numbers; $k$: noise points per data point; $\sigma(G) = 1/(1 + e^{-G})$.) One
# condition: $p_n(x) > 0$ wherever $p_d(x) \neq 0$, or no noise point ever visits some data.
#
# Try it on a double well, $\log\phi(x; a) = a x^2/2 - x^4/4$, whose $Z$ has no elementary form. In one
# dimension a fine grid gives us the truth to compare with.

# %%
GRID = torch.linspace(-5, 5, 4001, dtype=torch.float64)
A_TRUE = 2.0
noise = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 2.0)


def log_phi(x, a):
    return a * x**2 / 2 - x**4 / 4


def log_z(a) -> float:
    return float(torch.logsumexp(log_phi(GRID, a), dim=0) + math.log(GRID[1] - GRID[0]))


def draw_data(n: int, generator) -> torch.Tensor:
    cdf = torch.softmax(log_phi(GRID, A_TRUE), dim=0).cumsum(dim=0)
    return GRID[
        torch.searchsorted(cdf, torch.rand(n, generator=generator, dtype=torch.float64)).clamp(
            max=len(GRID) - 1
        )
    ]


def fit_nce(x: torch.Tensor, y: torch.Tensor, iterations: int = 20) -> torch.Tensor:
    """(a, c) from data x [n] and noise y [k n]: the logit is linear in both, so Newton's method does it."""
    u, k = torch.cat([x, y]), len(y) / len(x)
    is_data = (torch.arange(len(u)) < len(x)).double()
    slope = torch.stack([u**2 / 2, -torch.ones_like(u)], dim=1)  # dG/da, dG/dc: [n + kn, 2]
    offset = -(u**4) / 4 - noise.log_prob(u) - math.log(k)
    theta = torch.zeros(2, dtype=torch.float64)
    for _ in range(iterations):
        p = torch.sigmoid(slope @ theta + offset)
        hessian = slope.T @ (slope * (p * (1 - p))[:, None])
        theta = theta - torch.linalg.solve(hessian, slope.T @ (p - is_data))
    return theta


generator = torch.Generator().manual_seed(0)
K_NOISE, n_data = (1, 3, 10, 30), 1000
fits = {
    k: torch.stack(
        [
            fit_nce(
                draw_data(n_data, generator),
                2 * torch.randn(k * n_data, generator=generator, dtype=torch.float64),
            )
            for _ in range(40)
        ]
    )
    for k in K_NOISE
}
plots.table(
    [{"k": "truth", "a": A_TRUE, "c": log_z(A_TRUE)}]
    + [
        {
            "k": str(k),
            "a": float(f[:, 0].mean()),
            "sa": float(f[:, 0].std()),
            "c": float(f[:, 1].mean()),
            "sc": float(f[:, 1].std()),
        }
        for k, f in fits.items()
    ],
    f"NCE recovers the parameter and log Z ({n_data} data points, 40 repetitions)",
    {
        "k": "noise per data point",
        "a": "a",
        "sa": "its spread",
        "c": "c, the estimate of log Z",
        "sc": "its spread",
    },
    ".3f",
)

# %%
fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2)
a_hat, c_hat = fits[10][0].tolist()
left.hist(draw_data(n_data, generator).numpy(), bins=50, density=True, color="#cccccc", label="a data sample")
left.plot(GRID, (log_phi(GRID, A_TRUE) - log_z(A_TRUE)).exp(), color=plots.COLORS[0], label="true density")
left.plot(
    GRID, (log_phi(GRID, a_hat) - c_hat).exp(), "--", color=plots.COLORS[1], label="NCE, one fit with k = 10"
)
left.plot(GRID, noise.log_prob(GRID).exp(), ":", color=plots.GRAY, label="noise")
left.set(
    xlim=(-4.5, 4.5),
    title="A classifier has learned a normalised density",
    xlabel="x",
    ylabel="density (per unit of x)",
)
left.legend(loc="upper left", fontsize=7)
right.boxplot([f[:, 1].numpy() for f in fits.values()], tick_labels=None, widths=0.5)
right.set_xticks(range(1, len(K_NOISE) + 1), [str(k) for k in K_NOISE])
right.axhline(log_z(A_TRUE), color=plots.COLORS[0], linestyle=":", label="true log Z")
right.set(
    title="More noise, less spread; the centre is right from the start",
    xlabel="noise points per data point, k",
    ylabel="c, the estimate of log Z (nats)",
)
right.legend()
plots.show(
    fig,
    alt="Left: a two-humped true density and the density fitted by noise-contrastive "
    "estimation lie on top of each other. Right: box plots of the "
    "estimated log partition function for 1, 3, 10 and 30 noise points per data point, all centred "
    "on the true value and narrowing.",
)

# %% [markdown]
# The constant came out of a *classifier*. Nobody integrated anything. (If you let the noise depend on the
# data point, say $y = x + \epsilon$, the constant cancels instead of being learned: that is *conditional
# NCE*, [Ceylan and Gutmann, 2018](https://arxiv.org/abs/1806.03664).)
#
# ## Step 2: from "data or noise?" to "which one of K?"
#
# Now let there be a context $c$ (one view of a picture) and $K$ candidates $x_1,\dots,x_K$. One of them was
# drawn from $p(x\mid c)$ (the other view of the *same* picture), the others from $p(x)$ (views of any
# picture). Which one? All orders were equally likely, so by Bayes' rule, after dividing by $\prod_j p(x_j)$,
#
# $$P(i \text{ is the positive}\mid x_1,\dots,x_K, c) = \frac{p(x_i\mid c)/p(x_i)}{\sum_{j=1}^K p(x_j\mid c)/p(x_j)}.$$
#
# A network that scores each candidate with a critic $f(x, c)$ and takes the softmax, trained by
# cross-entropy, is doing
#
# $$L_\text{InfoNCE} = -\,\mathbb{E}\,\log\frac{e^{f(x_+, c)}}{\sum_{j=1}^K e^{f(x_j, c)}}, \qquad\text{best when}\qquad f(x, c) = \log\frac{p(x\mid c)}{p(x)} + \text{const}(c),$$
#
# because then its softmax *is* the posterior above ([van den Oord et al.,
# 2018](https://arxiv.org/abs/1807.03748), section 2.3). Compare with step 1: the binary question pins the
# logit down completely, so it can learn $\log Z$. The $K$-way question only compares candidates with each
# other: adding a constant to all scores changes nothing, and normalisation is neither needed nor learned.
#
# The $K-1$ negatives need not be drawn separately: the other pictures of the batch are samples of $p(x)$
# already paid for. These are **in-batch negatives**, in use since the $N$-pair loss ([Sohn,
# 2016](https://papers.nips.cc/paper/2016/hash/6b180037abbebea991d8b1232f8a8ca9-Abstract.html)).

# %%


def info_nce_of(scores: torch.Tensor) -> torch.Tensor:
    """scores [..., K, K]: row i = context i, column j = candidate j, positives on the diagonal."""
    return (scores.logsumexp(dim=-1) - scores.diagonal(dim1=-2, dim2=-1)).mean()


# %% [markdown]
# ## Step 3: what the loss says about information, and what it cannot say
#
# The mutual information $I(x; c) = \mathbb{E}\log\frac{p(x\mid c)}{p(x)}$ (in nats) is the expectation of
# exactly that best critic. So the loss must know something about it. Let $J$ be the index of the positive,
# uniform on $1..K$, and $X$ the whole line-up of candidates. Three lines:
#
# 1. A cross-entropy is never below the conditional entropy: $L \ge H(J\mid X, c)$. Hence
#    $\log K - L \le \log K - H(J\mid X, c) = I(J; X\mid c)$.
# 2. $H \ge 0$, so $I(J; X\mid c) \le \log K$.
# 3. $I(J; X\mid c)$ is the average divergence of $p(X\mid c, J)$ from its mean over $J$, and the mean is the
#    reference that makes it smallest; measured from $\prod_j p(x_j)$ instead, all but one factor cancel and
#    it is $\mathbb{E}\log\frac{p(x_+\mid c)}{p(x_+)} = I(x; c)$.
#
# $$\boxed{\;\log K - L \;\le\; \min\big(I(x; c),\ \log K\big)\;}$$
#
# This holds for every critic, good or bad ([Poole et al., 2019](https://arxiv.org/abs/1905.06922) put this
# bound among its relatives). Note what it does **not** say. The *loss* is not a bound on the information,
# only $\log K - L$ is. With $K$ candidates you can certify at most $\log K$ nats. And when $x$ and $c$ are
# embeddings $z_1, z_2$ of two views $v_1, v_2$, it is $I(z_1; z_2)$ that training raises a bound on;
# $I(v_1; v_2)$, which is larger, was fixed when you chose the views.
#
# You can check this without training anything. For $d$ pairs of Gaussians with correlation $\rho$ the truth
# is $I = -\tfrac d2\log(1 - \rho^2)$, and the best critic is known in closed form.

# %%
DIM = 20


def log_ratio(x: torch.Tensor, c: torch.Tensor, rho: float) -> torch.Tensor:
    """log p(x_j | c_i) / p(x_j) for Gaussians x, c [B, K, d] with correlation rho: [B, K, K]."""
    squares = x.square().sum(dim=-1)[:, None, :] + c.square().sum(dim=-1)[:, :, None]
    quadratic = rho**2 * squares - 2 * rho * c @ x.mT
    return -x.shape[-1] / 2 * math.log(1 - rho**2) - quadratic / (2 * (1 - rho**2))


def best_loss(information: float, k: int, seed: int = 0) -> float:
    """InfoNCE of the best possible critic on Gaussians with that much mutual information, 8,192 contexts."""
    rho = math.sqrt(1 - math.exp(-2 * information / DIM))
    generator = torch.Generator().manual_seed(seed)
    c, e = torch.randn(2, 8192 // k, k, DIM, generator=generator)
    return info_nce_of(log_ratio(rho * c + math.sqrt(1 - rho**2) * e, c, rho)).item()


INFORMATION, SIZES = (1.0, 2.0, 4.0, 8.0, 16.0), (4, 16, 64, 256, 1024)
bound = {(i, k): math.log(k) - best_loss(i, k) for i in INFORMATION for k in SIZES}

fig, ax = plots.new_figure(6.4, 3.6)
for i, color in zip(INFORMATION, plots.COLORS):
    ax.plot(SIZES, [bound[i, k] for k in SIZES], "o-", color=color, markersize=4, label=f"I = {i:g}")
    ax.axhline(i, color=color, linestyle=":", linewidth=0.8)
ax.plot(SIZES, [math.log(k) for k in SIZES], color="black", linestyle="--", label="ceiling log K")
ax.set(
    xscale="log",
    xticks=SIZES,
    xticklabels=SIZES,
    ylim=(0, 11),
    xlabel="candidates K",
    ylabel="certified: log K - loss (nats)",
    title="Even the perfect critic certifies at most log K",
)
ax.minorticks_off()
ax.legend(title="true information (nats)", ncols=2, loc="upper left")
plots.show(
    fig,
    alt="Certified information against the number of candidates, for five true values. Each "
    "curve stays under its true value and under "
    "the dashed line log K; with 16 nats to find, the curve lies on the ceiling throughout.",
)

# %% [markdown]
# Read the top curve: there are 16 nats to find, and the perfect critic reports the ceiling. More candidates
# raise it, logarithmically: each extra nat needs $e$ times the batch. Now the sentence "the loss is a lower
# bound on the mutual information", which you can read in print:

# %%
sentence = [
    {"information": i, "loss": best_loss(i, 16), "bound": math.log(16) - best_loss(i, 16)}
    for i in (0.1, 0.5, 1.0, 4.0, 16.0)
]
for row in sentence:
    row["loss below I?"] = "yes" if row["loss"] <= row["information"] else "no"
    below = row["bound"] <= row["information"] + 0.01  # nats of sampling error
    row["log K - loss below I?"] = "yes" if below else "no"
plots.table(
    sentence,
    "Best critic, K = 16 candidates, in nats: which column is the lower bound?",
    {
        "information": "true I",
        "loss": "loss",
        "bound": "log K - loss",
        "loss below I?": "loss below I?",
        "log K - loss below I?": "log K - loss below I?",
    },
    ".3f",
)

# %% [markdown]
# The loss *falls* when the information rises. A lower bound that falls when the thing rises would be a
# strange one.
#
# And one more warning, which the colour meter has already given you: information about *what* is not in the
# formula. Any invertible function of the picture keeps all its information ([Tschannen et al.,
# 2020](https://arxiv.org/abs/1907.13625)), useful or not. We come back to this with two trained networks.

# %% [markdown]
# ## Step 4: NT-Xent, written out
#
# SimCLR ([Chen et al., 2020](https://arxiv.org/abs/2002.05709)) makes four choices and calls the result
# NT-Xent, *normalised temperature-scaled cross-entropy*:
#
# - the critic is the **cosine similarity** of two embeddings, divided by a **temperature**:
#   $f = \mathrm{sim}(z_i, z_j)/\tau$ with $\mathrm{sim}(u, v) = u^\top v / \lVert u\rVert\lVert v\rVert$;
# - all $2N$ views of the batch are anchors, so the loss is **symmetric** in the two views;
# - the candidates of an anchor are all *other* views: $2N-1$ of them, the partner and $2N-2$ negatives;
# - both views of all pictures go through the encoder and a small projector as one batch.
#
# $$L = -\frac{1}{2N}\sum_{i=1}^{2N}\log\frac{\exp(\mathrm{sim}(z_i, z_{p(i)})/\tau)}{\sum_{k\ne i}\exp(\mathrm{sim}(z_i, z_k)/\tau)}$$
#
# $z$ is $[2N, D]$, $p(i)$ is the partner of $i$ (that is $i \pm N$), and $\tau > 0$ is a number (equation 1
# of the paper; the temperature in such a softmax comes from [Wu et al.,
# 2018](https://arxiv.org/abs/1805.01978)). In code, line by line:

# %%


# fmt: off
def nt_xent(z1: torch.Tensor, z2: torch.Tensor, tau: float) -> torch.Tensor:
    """z1, z2 [N, D]: two views of the same N pictures, in the same order. Nats."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)                       # [2N, D], rows of length 1
    sim = z @ z.T                                                     # [2N, 2N] cosines
    mask = torch.eye(len(z), dtype=torch.bool, device=z.device)       # a view must not meet itself
    logits = (sim / tau).masked_fill(mask, -math.inf)
    positive = torch.arange(len(z), device=z.device).roll(len(z1))    # i <-> i + N
    log_p = logits.gather(1, positive[:, None])[:, 0] - logits.logsumexp(dim=1)
    return -log_p.mean()
# fmt: on


# %%
# NBVAL_CHECK_OUTPUT
generator = torch.Generator().manual_seed(0)
z1, z2 = torch.randn(2, 50, 16, generator=generator, dtype=torch.float64)
agrees = all(torch.allclose(nt_xent(z1, z2, tau), losses.nt_xent(z1, z2, tau)) for tau in (0.05, 0.2, 1.0))
same = torch.ones(50, 16, dtype=torch.float64)
print("agrees with ssl_lessons.losses.nt_xent at three temperatures:", agrees)
print("all embeddings equal gives log(2N - 1):", abs(nt_xent(same, same, 0.1).item() - math.log(99)) < 1e-9)

# %% [markdown]
# Remember $\log(2N-1)$. It is the loss of a network that cannot tell any two views apart, whatever the
# temperature, and the first number to compare a loss curve with.

# %% [markdown]
# ## Step 5: the gradient, and who gets pushed
#
# Look at one anchor. Write $s_+$ for the cosine with its partner, $s_j$ for those with its negatives, and
# $p_+, p_j$ for their softmax weights, so that
# $L = -s_+/\tau + \log\big(e^{s_+/\tau} + \sum_j e^{s_j/\tau}\big)$. Two derivatives:
#
# $$\frac{\partial L}{\partial s_j} = \frac{p_j}{\tau}, \qquad \frac{\partial L}{\partial s_+} = -\frac{1 - p_+}{\tau}.$$
#
# The pull on the partner equals the total push on the negatives, since $\sum_j p_j = 1 - p_+$. How is the
# push shared? Divide:
#
# $$r_j = \frac{\partial L/\partial s_j}{\sum_k \partial L/\partial s_k} = \frac{e^{s_j/\tau}}{\sum_k e^{s_k/\tau}}.$$
#
# The positive has dropped out. The **share** of a negative depends on the negatives and on $\tau$ alone
# ([Wang and Liu, 2021](https://arxiv.org/abs/2012.09740), section 3). A negative that is closer by $\Delta s$
# is pushed $e^{\Delta s/\tau}$ times as hard. As $\tau\to\infty$ all are pushed alike; as $\tau\to 0$ only
# the closest is.
#
# Two more things to read off. $p_j/\tau$ is positive at *every* cosine: the push does not stop at a right
# angle, it spreads the embeddings over the sphere (which, in many dimensions, leaves most of them nearly
# orthogonal). And the gradient reaches the encoder through the negatives as well as through the anchor,
# because here they are views in the same batch.

# %%
# NBVAL_CHECK_OUTPUT
s = (
    torch.cat([torch.tensor([0.8]), torch.rand(510, generator=generator) * 1.6 - 0.8])
    .double()
    .requires_grad_()
)
for tau in (0.05, 0.2, 1.0):
    (gradient,) = torch.autograd.grad(s.div(tau).logsumexp(dim=0) - s[0] / tau, s)
    p = (s / tau).softmax(dim=0).detach()
    by_hand = torch.cat([-(1 - p[:1]) / tau, p[1:] / tau])
    shares = (s[1:] / tau).softmax(dim=0).detach()
    print(
        f"tau {tau}: gradient as derived {torch.allclose(gradient, by_hand)}, "
        f"shares as derived {torch.allclose(gradient[1:] / gradient[1:].sum(), shares)}"
    )

# %% [markdown]
# > **Predict.** In a real batch, sort the 510 negatives of an anchor by similarity. At $\tau = 1$, what share
# > of the push falls on the most similar tenth of them: 12 %, 30 %, 60 %? And at $\tau = 0.05$? Write your
# > two numbers down; the run will tell.

# %% [markdown]
# ## Step 6: three small choices around the loss
#
# **Length.** Without L2 normalisation the critic is a dot product, and a long embedding has in effect its own
# low temperature: length becomes a knob that the network can turn instead of learning. With it, length
# changes nothing, and the gradient is orthogonal to $z$.

# %%
z1, z2 = torch.randn(2, 64, 32, generator=generator, dtype=torch.float64)
z2 = z1 + z2  # partners resemble each other


def without_norm(z1, z2, tau):
    logits = (torch.cat([z1, z2]) @ torch.cat([z1, z2]).T / tau).fill_diagonal_(-math.inf)
    return F.cross_entropy(logits, torch.arange(2 * len(z1)).roll(len(z1)))


rows = []
for scale in (0.3, 1.0, 3.0):
    row = {"embeddings": f"z times {scale:g}"}
    for name, loss in (("with", nt_xent), ("without", without_norm)):
        a = (scale * z1).requires_grad_()
        value = loss(a, scale * z2, 1.0)
        (g,) = torch.autograd.grad(value, a)
        row |= {
            f"loss {name}": value.item(),
            f"radial {name}": F.cosine_similarity(g, a, dim=1).abs().mean().item(),
        }
    rows.append(row)
plots.table(
    rows,
    "The same embeddings, shorter and longer (temperature 1)",
    {
        "embeddings": "embeddings",
        "loss with": "loss, normalised",
        "loss without": "loss, not normalised",
        "radial with": "|cos(gradient, z)|, normalised",
        "radial without": "|cos(gradient, z)|, not normalised",
    },
    ".3f",
)

# %% [markdown]
# **One batch or two.** BatchNorm subtracts the mean of whatever batch it gets. Push both sets of views
# through together and a systematic difference between them is visible to the network; push them through one
# after the other and BatchNorm removes it. Provoke it: the second views are the first ones, all a good deal
# darker.

# %%


@torch.no_grad()
def embed(encoder, *batches: torch.Tensor) -> torch.Tensor:
    encoder = copy.deepcopy(encoder).train()  # a copy: BatchNorm's running statistics change on every call
    return torch.cat([encoder(batch) for batch in batches])


fresh = recipe.build(seed=0).encoder
bright, dark = first, first - 1.5
rows = []
for name, h in (
    ("together: enc(cat(v1, v2))", embed(fresh, torch.cat([bright, dark]))),
    ("apart: enc(v1), enc(v2)", embed(fresh, bright, dark)),
):
    h1, h2 = (h - h.mean(dim=0)).chunk(2)
    rows.append(
        {
            "batching": name,
            "cosine": F.cosine_similarity(h1, h2).mean().item(),
            "loss": nt_xent(h1, h2, 0.1).item(),
        }
    )
plots.table(
    rows,
    f"An untrained encoder sees v and a darker v (chance loss {math.log(CANDIDATES):.2f})",
    {"batching": "batching", "cosine": "mean cosine of partners", "loss": "NT-Xent at 0.1"},
    ".2f",
)

# %% [markdown]
# Neither is wrong, but they are different losses. SimCLR batches together; methods whose two branches differ
# (a momentum encoder, a student and a teacher) batch apart.
#
# **One side or both.** You may let only the first views search (one-sided) or average both directions
# (symmetrised, as NT-Xent does by construction). What changes is not that half of the network stops learning;
# the bug list below counts what does.

# %% [markdown]
# ## The run: your ten lines train a network
#
# Everything below uses the `nt_xent` you have just read. `Contrastive` is all there is to a method: encoder,
# projector, loss. Three short runs of the same recipe from the same weights: temperature 0.1, temperature 1,
# and temperature 0.1 *without the tint* (crop and flip only), the setting in which the colour meter was so
# good. Besides the loss you see the kNN accuracy on labelled pictures, and whether the features collapse.

# %%
STEPS = 90


class Contrastive(Method):
    """The encoder and projector of the recipe with any loss(z1, z2)."""

    def __init__(self, recipe, loss):
        super().__init__()
        built = recipe.build(seed=0)
        self.encoder, self.projector, self.loss = built.encoder, built.projector, loss

    def forward(self, views, labels=None):
        z1, z2 = self.projector(self.encoder(torch.cat(views))).chunk(2)
        return self.loss(z1, z2)


monitor = Monitor(train[:1000], train[1000:1500], every=18)


def learn(loss, policy=recipe.policy, steps=STEPS, monitor=monitor, progress=True, **changes):
    method = Contrastive(recipe, loss)
    history = pretrain(
        method,
        unlabeled.images,
        (policy, policy),
        steps=steps,
        monitor=monitor,
        progress=progress,
        **{**recipe.training(), **changes},
    )
    return method, history


runs = {
    "temperature 0.1": learn(partial(nt_xent, tau=0.1)),
    "temperature 1": learn(partial(nt_xent, tau=1.0)),
    "0.1, no tint": learn(partial(nt_xent, tau=0.1), policy=no_colour),
}

# %%
fig = plots.training_panel(
    {name: history for name, (_, history) in runs.items()},
    "The lowest loss belongs to the network that learns least",
    chance=1 / len(train.classes),
    chance_loss=math.log(CANDIDATES),
)
plots.show(
    fig,
    alt="Three training curves. Left, the loss: the run without tint falls far below the other "
    "two. Middle, kNN accuracy: the same run "
    "stays lowest, temperature 0.1 is highest. Right, the spread of the features: none of the three "
    "collapses.",
)

# %%
DRAWS = 3  # of 100 labels


def evaluate(name: str, a: torch.Tensor, b: torch.Tensor, loss: float | None = None) -> dict:
    """A row of the results table from training and test features; `loss` adds the certified information."""
    probe = evaluation.label_efficiency(a, train.labels, b, test.labels, per_class=(10,), draws=DRAWS)[0]
    row = {
        "name": name,
        "probe": probe["mean"],
        "std": probe["std"],
        "std_z": feature_std(b),
        "knn": evaluation.knn_accuracy(a, train.labels, b, test.labels),
    }
    return row if loss is None else row | {"loss": loss, "bound": math.log(CANDIDATES) - loss}


def evaluate_run(name: str, encoder, history=None) -> dict:
    a, b = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    return evaluate(name, a, b, None if history is None else sum(row["loss"] for row in history[-10:]) / 10)


chance = 1 / len(train.classes)
results = {"chance": {"name": "a guess", "probe": chance, "knn": chance}}
results["pixels"] = evaluate("raw pixels", evaluation.pixels(train.images), evaluation.pixels(test.images))
results["untrained"] = evaluate_run("untrained encoder", fresh)
for name, (method, history) in runs.items():
    results[name] = evaluate_run(f"SimCLR, {name}", method.encoder, history)
HEADINGS = {
    "name": "representation",
    "probe": "probe, 100 labels",
    "std": f"spread over {DRAWS} draws",
    "knn": "kNN, 1,500 labels",
    "std_z": "feature std",
    "loss": "loss",
    "bound": "log 511 - loss (nats)",
}
FORMATS = {"probe": ".1%", "std": ".1%", "knn": ".1%", "std_z": ".2f", "loss": ".2f", "bound": ".2f"}
plots.table(
    list(results.values()),
    f"After {STEPS} steps of {N} pictures, tested on {len(test):,} pictures",
    HEADINGS,
    FORMATS,
)

# %% [markdown]
# Compare the probe with the last column. The run without tint certifies far more information between the two
# views than the run with tint, out of $\log 511\approx 6.24$ nats. And its features are of little use for
# telling the objects apart: it has rebuilt the colour meter. **A higher bound is not a better
# representation.** What the views share decides *which* information the loss can be earned with; the tint
# makes colour worthless, so that shape is what is left ([Chen et al.,
# 2020](https://arxiv.org/abs/2002.05709), section 3.1, saw it with colour histograms of real photographs).
#
# Do not compare the losses of the two temperatures: $\tau$ sets the scale of the loss. Compare kNN and probe.
# And look at the row of raw pixels: with 1,500 labels, nearest neighbours in pixel space are a baseline to
# respect in this world, because the objects are roughly centred and of similar size. With 100 labels and a
# linear probe they are not. One number is never the whole comparison.

# %% [markdown]
# ### Who gets pushed, in a batch of the trained network
#
# Now for your second prediction. Take the network trained at 0.1 and a batch it has not trained on, and sort
# the 510 negatives of each anchor.

# %%


@torch.no_grad()
def embed_batch(method, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    method.eval()
    where = next(method.parameters()).device
    both = two_views(images, recipe.policy, seed=1)
    return tuple(method.projector(method.encoder(v.to(where))).float().cpu() for v in both)


def mean_tenths(similarity: torch.Tensor, tau: float) -> torch.Tensor:
    """similarity [2N, 2N - 2] of anchors to negatives -> share of the push per tenth, hardest first [10]."""
    r = (similarity.sort(dim=1, descending=True).values / tau).softmax(dim=1)
    return torch.stack([part.sum(dim=1).mean() for part in r.tensor_split(10, dim=1)])


z1, z2 = embed_batch(runs["temperature 0.1"][0], train.images[:N])
z = F.normalize(torch.cat([z1, z2]), dim=1)
not_a_pair = ~torch.eye(N, dtype=torch.bool).repeat(2, 2)
negatives = (z @ z.T)[not_a_pair].view(2 * N, 2 * N - 2)
taus = torch.logspace(math.log10(0.02), math.log10(2), 30).tolist()
hardest = [100 * mean_tenths(negatives, tau)[0].item() for tau in taus]
easiest = [100 * mean_tenths(negatives, tau)[5:].sum().item() for tau in taus]

fig, ax = plots.new_figure(6.4, 3.2)
ax.plot(taus, hardest, color=plots.COLORS[1], label="the most similar tenth")
ax.plot(taus, easiest, "--", color=plots.COLORS[0], label="the less similar half")
ax.axhline(10, color=plots.COLORS[1], linestyle=":", linewidth=0.8)
ax.axhline(50, color=plots.COLORS[0], linestyle=":", linewidth=0.8)
ax.set(
    xscale="log",
    ylim=(0, 100),
    xlabel="temperature (no unit)",
    ylabel="share of the push (%)",
    title="The colder the softmax, the fewer negatives do the work (dotted: all alike)",
)
ax.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1, 2], ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"])
ax.minorticks_off()
ax.legend()
plots.show(
    fig,
    alt="Share of the push on negatives against temperature. The most similar tenth takes "
    "nearly all of it at 0.02 and falls towards "
    "10 percent at 2; the less similar half rises from nothing towards 50 percent.",
)
push = {tau: mean_tenths(negatives, tau) for tau in (0.05, 0.1, 0.2, 1.0)}
for tau, share in push.items():
    print(
        f"temperature {tau:4}: hardest tenth {share[0]:.0%} of the push, easiest half {share[5:].sum():.0%}"
    )

# %% [markdown]
# A low temperature is a hard-negative miner that costs nothing. It is a blunt one, too: in a batch with ten
# kinds of objects, the most similar "negatives" of a boat are other boats. Wang and Liu call the conflict the
# *uniformity-tolerance dilemma*.
#
# ### Six temperatures, three seeds each
#
# Two short runs are an anecdote. Here is the same recipe trained longer at six temperatures, from a record
# that takes too long for one sitting (the line under the figure says where it comes from). Alignment is the
# mean squared distance of partners (low: views agree), uniformity the log of the mean pair potential (low:
# spread over the sphere), both on the projector's output $z$ ([Wang and Isola,
# 2020](https://arxiv.org/abs/2005.10242)).

# %%
record, origin = book.recorded("temperature")
TAUS = sorted({row["temperature"] for row in record})


def recorded(*keys: str) -> torch.Tensor:
    """[temperatures, seeds] of a column, or of the difference of two."""
    of = {(row["temperature"], row["seed"]): row for row in record}
    seeds = sorted({row["seed"] for row in record})
    table = [[[of[tau, seed][key] for key in keys] for seed in seeds] for tau in TAUS]
    first, *rest = torch.tensor(table, dtype=torch.float64).unbind(dim=-1)
    return first - sum(rest)


def against_tau(ax, values: torch.Tensor, title: str, ylabel: str) -> None:
    ax.plot(TAUS, values.mean(dim=1), color=plots.COLORS[0])
    ax.plot(TAUS, values, "o", color=plots.COLORS[0], markersize=3, markerfacecolor="white")
    ax.set(xscale="log", title=title, xlabel="temperature (no unit)", ylabel=ylabel)
    ax.set_xticks(TAUS, [f"{tau:g}" for tau in TAUS])
    ax.minorticks_off()


fig, axes = plots.new_figure(8.6, 5.0, 2, 2)
against_tau(axes[0, 0], 100 * recorded("probe"), "Probe accuracy", "accuracy, 100 labels (%)")
axes[0, 0].axhline(100 * chance, color=plots.GRAY, linestyle=":", label="chance")
axes[0, 0].set_ylim(bottom=0)
axes[0, 0].legend()
against_tau(
    axes[0, 1], recorded("alignment"), "Alignment: how far apart partners are", "mean squared distance"
)
against_tau(axes[1, 0], recorded("uniformity"), "Uniformity: lower is more spread", "log mean pair potential")
against_tau(
    axes[1, 1], recorded("within", "between"), "Same class minus other class", "difference of mean cosines"
)
plots.show(
    fig,
    alt=f"Four panels against temperature from {TAUS[0]} to {TAUS[-1]}, three seeds each: "
    f"probe accuracy, which is highest at "
    f"{TAUS[int(recorded('probe').mean(dim=1).argmax())]}; alignment; uniformity; and within-class "
    f"minus between-class cosine.",
)
print(origin)
columns = ("probe", "knn", "loss", "alignment", "uniformity", "within", "between", "rank_h", "rank_z")
plots.table(
    [
        {
            "temperature": f"{tau:g}",
            **{key: recorded(key)[i].mean().item() for key in columns},
            "seed spread": recorded("probe")[i].std().item(),
        }
        for i, tau in enumerate(TAUS)
    ],
    "Means over the seeds of the record; the last column is the spread of the probe",
)

# %%
probe_of = dict(zip(TAUS, recorded("probe").mean(dim=1).tolist()))
live = {0.1: results["temperature 0.1"]["probe"], 1.0: results["temperature 1"]["probe"]}
print(f"live, {STEPS} steps, one seed: probe {live[0.1]:.1%} at 0.1 and {live[1.0]:.1%} at 1")
print(f"record, longer, mean of seeds: probe {probe_of[0.1]:.1%} at 0.1 and {probe_of[1.0]:.1%} at 1")
same_direction = (live[0.1] > live[1.0]) == (probe_of[0.1] > probe_of[1.0])
print(
    "The live runs are shorter than the record, so only the direction can be compared: it",
    "agrees." if same_direction else "does NOT agree.",
)

# %% [markdown]
# ## What goes wrong (1): formulas in print
#
# You will meet these losses in surveys and tutorials before you meet them in papers, and small slips are
# copied along. Five from three texts that are otherwise worth your time: a survey ([Jaiswal et al.,
# 2020](https://arxiv.org/abs/2011.00362)), a cookbook ([Balestriero et al.,
# 2023](https://arxiv.org/abs/2304.12210)), and an overview page. Each gets a test: what does the formula give
# where you know the answer? The perfect network of the test has cosine 1 between partners and -1 to
# everything else, so a correct loss at $\tau = 0.07$ is zero to many digits. At chance all cosines are equal.

# %%


def crowd_loss(candidates: torch.Tensor, tau: float) -> torch.Tensor:
    """-log softmax of the first of the listed cosines."""
    return (candidates / tau).logsumexp(dim=0) - candidates[0] / tau


def printed_term(cosines: torch.Tensor) -> torch.Tensor:
    """NT-Xent as the cookbook prints it: the ratio itself, without logarithm and without temperature."""
    return -cosines[0].exp() / cosines.exp().sum()


def slope_at_chance(loss) -> float:
    s = torch.zeros(CANDIDATES, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss(s), s)[0][0].abs().item()


perfect = torch.cat([torch.ones(1), -torch.ones(2 * N - 2)]).double()
floor_right = crowd_loss(perfect, 0.07).item()
floor_twice = crowd_loss(torch.cat([perfect, perfect[:1]]), 0.07).item()  # k_0 is the positive, counted again
floor_self = crowd_loss(torch.cat([perfect, torch.ones(1)]), 0.07).item()  # the anchor itself, cosine 1
gradient_ratio = slope_at_chance(partial(crowd_loss, tau=0.1)) / slope_at_chance(printed_term)
score = torch.tensor([0.5, 0.2], dtype=torch.float64)
softmax_shift = (crowd_loss(score + 1, 1.0) - crowd_loss(score, 1.0)).item()
nce = [
    F.softplus(-s[0]) + F.softplus(s[1]) for s in (score, score + 1)
]  # logits of one data, one noise point
nce_shift = (nce[1] - nce[0]).item()
plots.table(
    [
        {
            "text": "overview",
            "slip": "says the InfoNCE loss is a lower bound on the mutual information",
            "test": "best critic, I = 0.5 nats, K = 16",
            "found": f"loss {sentence[1]['loss']:.2f} > 0.5",
            "right": "log K - loss is the bound",
        },
        {
            "text": "survey, eq. 3",
            "slip": "a softmax over one positive and one negative is called NCE",
            "test": "add 1 to both scores: softmax, NCE",
            "found": f"{softmax_shift:.2f}, {nce_shift:+.2f}",
            "right": "InfoNCE with K = 2; NCE would notice",
        },
        {
            "text": "survey, eq. 4",
            "slip": "adds the positive to a sum that starts at i = 0, where MoCo's positive sits",
            "test": "perfect network",
            "found": f"loss {floor_twice:.3f}, right {floor_right:.1e}",
            "right": "count it once; floor 0, not log 2",
        },
        {
            "text": "cookbook, InfoNCE",
            "slip": "the sum includes the anchor itself (k = i)",
            "test": "perfect network",
            "found": f"loss {floor_self:.3f}, right {floor_right:.1e}",
            "right": "exclude k = i; floor 0, not log 2",
        },
        {
            "text": "cookbook, NT-Xent",
            "slip": "no logarithm and no temperature",
            "test": "pull on the partner at chance, tau 0.1",
            "found": f"{gradient_ratio:,.0f} times too weak",
            "right": "-log of exp(sim / tau) ratio",
        },
    ],
    "Printed and right",
    {"text": "text", "slip": "what the print says", "test": "test", "found": "found", "right": "right form"},
)

# %% [markdown]
# The survey's name matters most for understanding: its two-way softmax contains no noise density, so it
# cannot learn a normaliser. Its equation 4 is fine when $k_0,\dots,k_K$ are all negatives, as the line below
# it says; it goes wrong when you fill in the indices of [MoCo](https://arxiv.org/abs/1911.05722), whose $k_0$
# is the positive.
#
# ### Would the printed NT-Xent train?
#
# A gradient thousands of times too weak sounds fatal. Is it? It depends on a part of your code that has
# nothing to do with the loss. SGD (stochastic gradient descent) takes steps proportional to the gradient;
# Adam divides the gradient by its own size. **Predict**, then look.

# %%


def printed_nt_xent(z1, z2):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    weights = (z @ z.T).exp() * (1 - torch.eye(len(z), device=z.device))
    partner = torch.arange(len(z), device=z.device).roll(len(z1))
    return -(weights.gather(1, partner[:, None])[:, 0] / weights.sum(dim=1)).mean()


def gradient_of(loss, z1, z2) -> torch.Tensor:
    """d loss / d embeddings, [2N, D]"""
    a = torch.cat([z1, z2]).double().requires_grad_()
    return torch.autograd.grad(loss(*a.chunk(2)), a)[0]


SHORT = 36
sgd = {"optimizer": "sgd", "lr": 0.06, "weight_decay": 5e-4}
arms = {
    "right, SGD": (partial(nt_xent, tau=0.1), sgd),
    "printed, SGD": (printed_nt_xent, sgd),
    "printed, AdamW": (printed_nt_xent, {}),
}
printed = {"untrained": results["untrained"]}
for name, (loss, changes) in arms.items():
    method, _ = learn(loss, steps=SHORT, monitor=None, progress=False, **changes)
    printed[name] = evaluate_run(name, method.encoder)
plots.table(
    list(printed.values()),
    f"The printed loss after {SHORT} steps, same weights at the start (chance {chance:.0%})",
    {k: HEADINGS[k] for k in ("name", "probe", "std", "knn", "std_z")},
    FORMATS,
)
for tau in (1.0, 0.1):
    pair = [gradient_of(loss, z1, z2).flatten() for loss in (printed_nt_xent, partial(nt_xent, tau=tau))]
    print(
        f"cosine of the printed form's gradient with NT-Xent's at temperature {tau}: "
        f"{F.cosine_similarity(*pair, dim=0):.3f}"
    )

# %% [markdown]
# Under SGD the printed form stands still: its row differs from the untrained one mostly because the batch
# statistics have settled, which needs no training. Under Adam it trains, and now you can say as what:
# $\partial(-p_+)/\partial s = p_+\,\partial(-\log p_+)/\partial s$, and without a temperature $p_+$ is nearly
# the same small number for all anchors, so Adam scales it away and what remains is NT-Xent at $\tau = 1$. A
# wrong formula that still trains is the worst kind: nothing tells you.

# %% [markdown]
# ## What goes wrong (2): four famous bugs
#
# Each runs without an error. Run the wrong version beside the right one and learn what to look for.
#
# **Bug 1: the self-pair is not masked.** Every view finds itself, with cosine 1. **Bug 2: `F.normalize(z,
# dim=0)`**, one axis off: columns get length 1, rows do not.

# %%
generator = torch.Generator().manual_seed(0)
pairs = F.normalize(
    torch.randn(64, 256, generator=generator), dim=1
)  # 64 pictures whose two views agree exactly
half = torch.arange(128).roll(64)


def unmasked(z1, z2, tau):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    return F.cross_entropy(z @ z.T / tau, half)


def wrong_axis(z1, z2, tau):
    z = F.normalize(torch.cat([z1, z2]), dim=0)
    return F.cross_entropy((z @ z.T / tau).fill_diagonal_(-math.inf), half)


plots.table(
    [
        {"loss": name, "value": f(pairs, pairs, 0.07).item(), "self": diagonal}
        for name, f, diagonal in (
            ("right", nt_xent, (F.normalize(pairs, dim=1) ** 2).sum(dim=1).mean().item()),
            ("self-pair not masked", unmasked, (F.normalize(pairs, dim=1) ** 2).sum(dim=1).mean().item()),
            (
                "normalised over dim=0",
                wrong_axis,
                (F.normalize(torch.cat([pairs, pairs]), dim=0) ** 2).sum(dim=1).mean().item(),
            ),
        )
    ],
    f"Views that agree perfectly (log 2 = {math.log(2):.3f}, chance {math.log(127):.2f})",
    {"loss": "version", "value": "loss at tau 0.07", "self": "cosine of a row with itself"},
    ".3f",
)

# %% [markdown]
# *How to see bug 1*: the loss stops at $\log 2$ and will not go lower, however good the network. *How to see
# bug 2*: a row's product with itself is not 1. Assert it once in your code; the loss alone still looks
# plausible and still falls.
#
# **Bug 3: `exp` in half precision.** The largest number in float16 is 65,504, so `exp(1 / tau)` overflows as
# soon as $\tau < 1/\log 65504 \approx 0.09$. A textbook formula typed in as it stands (exponentiate, sum,
# divide, log) breaks exactly at the popular temperature 0.07. Log-sum-exp subtracts the maximum first.

# %%
# NBVAL_CHECK_OUTPUT
cosines = torch.tensor([1.0, 0.3, -0.2])
for tau in (0.2, 0.1, 0.07):
    scaled = (cosines / tau).half()
    naive = -(scaled.exp()[0] / scaled.exp().sum()).log()
    safe = scaled.float().logsumexp(dim=0) - scaled.float()[0]
    print(
        f"tau {tau}: exp in float16 finite {bool(scaled.exp().isfinite().all())}, naive loss finite "
        f"{bool(naive.isfinite())}, "
        f"log-sum-exp in float32 finite {bool(safe.isfinite())}"
    )

# %% [markdown]
# *How to see it*: at a low temperature, as in the last line, the loss is NaN or infinite once the embeddings
# are made half precision by hand (`.half()`), and fine in float32. Under `torch.autocast` on a GPU, exp, log
# and sum run in float32, and the bug stays hidden. `losses.nt_xent` computes half precision in float32.
#
# **Bug 4: the one-sided loss.** You compute cross-entropy of `z1 @ z2.T / tau` and call it SimCLR. It is
# often said that then only one branch learns. Count instead: which pairs of views feel a push, and does the
# second view get a gradient?

# %%


def info_nce(z1, z2, tau):
    return info_nce_of(F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / tau)


def symmetric_info_nce(z1, z2, tau):
    return (info_nce(z1, z2, tau) + info_nce(z2, z1, tau)) / 2


full = gradient_of(partial(nt_xent, tau=0.1), z1, z2)
rows = []
n_pairs = N * (2 * N - 1)  # pairs of different views
for name, loss, touched in (
    ("NT-Xent", nt_xent, n_pairs),
    ("InfoNCE, both directions", symmetric_info_nce, N * N),
    ("InfoNCE, z1 searches z2", info_nce, N * N),
    ("the same, z2 detached", lambda a, b, tau: info_nce(a, b.detach(), tau), N * N),
):
    g = gradient_of(partial(loss, tau=0.1), z1, z2)
    rows.append(
        {
            "loss": name,
            "value": loss(z1, z2, 0.1).item(),
            "z1": g[:N].norm().item(),
            "z2": g[N:].norm().item(),
            "pairs": touched / n_pairs,
            "cosine": F.cosine_similarity(g.flatten(), full.flatten(), dim=0).item(),
        }
    )
one_sided = {row["loss"]: row for row in rows}
plots.table(
    rows,
    "Trained embeddings of 256 pictures at temperature 0.1",
    {
        "loss": "loss",
        "value": "value",
        "z1": "gradient norm, z1",
        "z2": "gradient norm, z2",
        "pairs": "pairs compared",
        "cosine": "cosine with NT-Xent's gradient",
    },
    {"value": ".2f", "z1": ".3f", "z2": ".3f", "pairs": ".0%", "cosine": ".3f"},
)

# %% [markdown]
# Both views get a gradient in the one-sided loss, and in this batch it points the same way. What changes:
# views are compared with the *other* set only, so half of the pairs are never compared, and chance is
# $\log N$ instead of $\log(2N-1)$. Only a `detach` leaves the second branch without a gradient, as in MoCo,
# whose negatives come from a queue. *How to see it*: the value at the first steps, when all is still chance.

# %% [markdown]
# ## Play: the temperature slider
#
# Two anchors from the trained network's batch: the *easy* one, whose partner stands out most from the crowd,
# and the *hard* one, whose partner stands out least. Top: the cosines of its 510 negatives and of its
# positive. Middle: the softmax weights, on a log axis: a straight line, the steeper the lower $\tau$. Bottom: the share
# of the push, per tenth of the negatives. Drag the temperature, and watch three things: how much does the
# positive win of the easy anchor, and of the hard one; on how few negatives does the push come to rest; and
# when are all negatives alike?

# %%
crowds = widgets.temperature.crowds(z1, z2)
widgets.explore(
    partial(widgets.temperature.render_weights, batch=crowds),
    widgets.temperature.controls(),
    static=[{"tau": tau, "anchor": anchor} for anchor in ("hard", "easy") for tau in (0.05, 0.2, 1.0)],
    alt=partial(widgets.temperature.describe_weights, batch=crowds),
    columns=3,
)

# %% [markdown]
# > **Try.** (1) Find the temperature at which the hard anchor's hardest tenth takes half of the push. (2)
# > Switch to the easy anchor without moving the slider. Why is the positive's weight so different, and why
# > does that not matter for the shares?

# %% [markdown]
# ## Exercises
#
# Replace `return exercises.NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on
# your answers.
#
# ### 1 · The bound (•, 3 minutes)
#
# You read in a log file: InfoNCE loss 0.9 with 16 candidates. How many nats of mutual information does that
# certify? Write the function.
#
# <details><summary>Hint 1</summary>Which of the two is the bound: the loss, or something minus the loss?</details>
# <details><summary>Hint 2</summary>A perfect loss of 0 must certify the ceiling.</details>

# %%


def mi_bound(loss: float, candidates: int) -> float:
    """Nats certified by an InfoNCE loss with that many candidates, the positive included."""
    return exercises.NOT_ATTEMPTED


ch13.check_mi_bound(mi_bound)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def mi_bound(loss, candidates):
#     return math.log(candidates) - loss
# ```
#
# Natural logarithm, because the loss is in nats.
# </details>
#
# ### 2 · InfoNCE with in-batch negatives (•, 8 minutes)
#
# One-sided: each query looks for its positive among the N positives of the batch.
#
# <details><summary>Hint 1</summary>Make all rows unit length first; then one matrix product holds all cosines.</details>
# <details><summary>Hint 2</summary>Row i is query i, and its right answer is column i.</details>
# <details><summary>Hint 3</summary>`F.cross_entropy(logits, target)` with target 0, 1, ..., N - 1.</details>

# %%


def my_info_nce(query: torch.Tensor, positive: torch.Tensor, temperature: float) -> torch.Tensor:
    """query, positive [N, D] -> a scalar in nats."""
    return exercises.NOT_ATTEMPTED


ch13.check_info_nce(my_info_nce)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_info_nce(query, positive, temperature):
#     logits = F.normalize(query, dim=1) @ F.normalize(positive, dim=1).T / temperature
#     return F.cross_entropy(logits, torch.arange(len(query)))
# ```
# </details>
#
# ### 3 · Who gets pushed (••, 8 minutes)
#
# From the similarities of N anchors to K negatives each, compute each negative's share of the push. It must
# stay finite at temperature 0.01.
#
# <details><summary>Hint 1</summary>Step 5 has the formula; the positive is not in it.</details>
# <details><summary>Hint 2</summary>The shares of one anchor, a row, sum to 1.</details>
# <details><summary>Hint 3</summary>Do not exponentiate by hand.</details>

# %%


def negative_weights(similarities: torch.Tensor, temperature: float) -> torch.Tensor:
    """[N, K] cosines to negatives -> [N, K] shares, rows sum to 1."""
    return exercises.NOT_ATTEMPTED


ch13.check_negative_weights(negative_weights)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def negative_weights(similarities, temperature):
#     return (similarities / temperature).softmax(dim=1)
# ```
# </details>
#
# ### 4 · A cross-entropy that survives (••, 10 minutes)
#
# Mean cross-entropy without `F.cross_entropy`, `softmax` or `logsumexp`, finite for logits up to ten
# thousand.
#
# <details><summary>Hint 1</summary>Adding the same number to all logits of a row changes nothing. Which number keeps `exp` in range?</details>
# <details><summary>Hint 2</summary>Stay in logarithms to the end: a probability that underflows to 0 has no logarithm.</details>
# <details><summary>Hint 3</summary>log sum exp(x) = m + log sum exp(x - m), with m the row maximum.</details>

# %%


def stable_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """logits [N, K], target [N] (indices) -> a scalar."""
    return exercises.NOT_ATTEMPTED


ch13.check_stable_cross_entropy(stable_cross_entropy)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def stable_cross_entropy(logits, target):
#     shifted = logits - logits.max(dim=1, keepdim=True).values
#     log_sum = shifted.exp().sum(dim=1).log()
#     return (log_sum - shifted.gather(1, target[:, None])[:, 0]).mean()
# ```
# </details>
#
# ### 5 · NT-Xent from memory (•••, 15 minutes)
#
# Close the chapter, open an empty page, write it. The checker knows the usual ways to be wrong, and names
# yours.
#
# <details><summary>Hint 1</summary>Stack the views, normalise the rows, one matrix product.</details>
# <details><summary>Hint 2</summary>Two index questions: who must be left out of row i, and where is the partner of i?</details>
# <details><summary>Hint 3</summary>`masked_fill` with -inf, `torch.arange(2 * N).roll(N)`.</details>

# %%


def my_nt_xent(z1: torch.Tensor, z2: torch.Tensor, temperature: float) -> torch.Tensor:
    """z1, z2 [N, D] -> a scalar in nats, the mean over all 2N views."""
    return exercises.NOT_ATTEMPTED


ch13.check_nt_xent(my_nt_xent)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_nt_xent(z1, z2, temperature):
#     z = F.normalize(torch.cat([z1, z2]), dim=1)
#     logits = (z @ z.T / temperature).fill_diagonal_(-math.inf)
#     return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))
# ```
# </details>

# %% [markdown]
# ## Claims put to the test
#
# Statements from the literature, each with what this chapter measured. The verdict is computed from the
# numbers, by a rule you can read in the cell.

# %%


def verdict(holds: bool, partly: bool = False) -> str:
    return "reproduced" if holds else "mixed" if partly else "not reproduced here"


under = all(b <= min(i, math.log(k)) + 0.1 for (i, k), b in bound.items())  # 0.1 nats: sampling error
saturated = all(math.log(k) - bound[16.0, k] < 0.1 for k in SIZES)
book.claim(
    "C-116",
    "The InfoNCE bound is I >= log K - L, and it saturates at log K.",
    verdict(under and saturated, under or saturated),
    {"true information (nats)": 16.0, "certified with K = 256": bound[16.0, 256], "log 256": math.log(256)},
    "poole2019variational",
)

tint, plain = results["temperature 0.1"], results["0.1, no tint"]
shortcut = plain["bound"] > tint["bound"] and plain["probe"] < tint["probe"]
book.claim(
    "C-117",
    "Mutual information between the views is high only if the encoder has captured semantics.",
    verdict(not shortcut),
    {
        "certified without tint (nats)": plain["bound"],
        "probe without tint": plain["probe"],
        "certified with tint (nats)": tint["bound"],
        "probe with tint": tint["probe"],
    },
)

share = [100 * s for s in (push[0.05][0].item(), push[0.2][0].item(), push[1.0][0].item())]
book.claim(
    "C-19",
    "The temperature controls how much weight the hard negatives get.",
    verdict(share[0] > 2 * share[2] and share[0] > share[1] > share[2]),
    {f"push on the hardest tenth at {t} (%)": s for t, s in zip((0.05, 0.2, 1.0), share)},
    "wang2021understanding",
)

focus, spread_out = push[0.1][0].item() > 0.2, push[1.0][0].item() > 0.2
book.claim(
    "C-36",
    "Softmax losses with a temperature already focus on hard negatives.",
    verdict(focus and spread_out, focus),
    f"The hardest tenth takes {push[0.1][0]:.0%} of the push at temperature 0.1, but "
    f"{push[1.0][0]:.0%} at 1 (all alike: 10%). "
    "Rule: over 20% at both temperatures; at 0.1 only, mixed.",
    "balestriero2023cookbook",
)
easy = {tau: push[tau][5:].sum().item() for tau in (0.1, 1.0)}
book.claim(
    "C-37",
    "Easy negatives contribute little to the gradient.",
    verdict(max(easy.values()) < 0.1, easy[0.1] < 0.1),
    f"The easier half of the negatives takes {easy[0.1]:.0%} of the push at temperature 0.1 and "
    f"{easy[1.0]:.0%} at 1 (all alike: 50%). "
    "Rule: under 10%.",
    "jaiswal2021survey",
)

# %%
gap, spread = recorded("within", "between").mean(dim=1), recorded("uniformity").mean(dim=1)
peak = int(gap.argmax())
# Tightens: from 1 downwards classes draw together. Collapses: at the low end the gap is gone again by half, and
# the cloud bunches (uniformity has lost half of its best value).
tightens = gap[peak] > 1.5 * gap[-1] and TAUS[peak] < 1.0
collapses = gap[0] < gap[peak] / 2 and spread[0] > spread.min() / 2
book.claim(
    "C-17",
    "A lower temperature tightens clusters, but eventually collapses.",
    verdict(bool(tightens and collapses), bool(tightens or collapses)),
    {
        **{f"within - between at {t:g}": g for t, g in zip(TAUS, gap.tolist())},
        f"uniformity at {TAUS[0]:g}": spread[0].item(),
        "best uniformity": spread.min().item(),
        f"probe at {TAUS[0]:g}": probe_of[TAUS[0]],
        "best probe": max(probe_of.values()),
    },
)

three = [TAUS.index(t) for t in (0.05, 0.1, 0.2)]
means, seed_std = recorded("probe")[three].mean(dim=1), recorded("probe")[three].std(dim=1).mean()
apart = (means.max() - means.min()) / (seed_std * math.sqrt(2 / recorded("probe").shape[1]))
book.claim(
    "C-18",
    "Sweeping the temperature over 0.05, 0.1 and 0.2 changes the probe.",
    verdict(bool(apart > 3), bool(apart > 2)),
    {
        **{f"probe at {TAUS[i]:g}": m for i, m in zip(three, means.tolist())},
        "spread over seeds": seed_std.item(),
        "largest difference in standard errors": apart.item(),
    },
)

final = dict(zip(TAUS, recorded("loss").mean(dim=1).tolist()))
near = [abs(value - 2.5) < 0.25 for value in final.values()]
book.claim(
    "C-25",
    "Expect the loss to settle near 2.5.",
    verdict(all(near), any(near)),
    {"chance, log 511": math.log(511), **{f"final loss at {t:g}": v for t, v in final.items()}},
)

still = printed["printed, SGD"]["probe"] < printed["right, SGD"]["probe"] - 0.1
adam = printed["printed, AdamW"]["probe"] > printed["untrained"]["probe"] + 0.1
book.claim(
    "C-21",
    "NT-Xent as printed, without logarithm and temperature, would train a network.",
    verdict(adam and not still, adam),
    {f"probe, {name}": row["probe"] for name, row in printed.items()}
    | {"gradient too weak by": gradient_ratio},
    "balestriero2023cookbook",
)

# %% [markdown]
# The claims about clusters, the sweep and the final loss rest on the record above (our small world, not
# STL-10 or ImageNet); the others on what ran in front of you. "Not reproduced here" says exactly that.

# %% [markdown]
# ## Where it comes from, where it went
#
# NCE ([Gutmann and Hyvärinen, 2010](https://proceedings.mlr.press/v9/gutmann10a.html); the long version with
# images is from [2012](https://jmlr.org/papers/v13/gutmann12a.html)) was quickly put to work on language
# models ([Mnih and Teh, 2012](https://arxiv.org/abs/1206.6426)), where the softmax over all words was the
# bottleneck; word2vec's negative sampling ([Mikolov et al., 2013](https://arxiv.org/abs/1310.4546)) is a
# relative that gave up the density. [Ma and Collins (2018)](https://arxiv.org/abs/1809.01812) set the binary
# and the ranking (which-of-K) forms side by side. On images, [Sohn
# (2016)](https://papers.nips.cc/paper/2016/hash/6b180037abbebea991d8b1232f8a8ca9-Abstract.html) used the
# batch as negatives, [Wu et al. (2018)](https://arxiv.org/abs/1805.01978) a memory bank with a temperature,
# [van den Oord et al. (2018)](https://arxiv.org/abs/1807.03748) gave InfoNCE its name and its bound. [MoCo
# (2019)](https://arxiv.org/abs/1911.05722) took the negatives from a queue, and [SimCLR
# (2020)](https://arxiv.org/abs/2002.05709) showed how far the plain batch goes; CLIP ([Radford et
# al., 2021](https://arxiv.org/abs/2103.00020)) kept the loss, replaced the second view by a caption, and
# learns the temperature. [BYOL (2020)](https://arxiv.org/abs/2006.07733) and [SimSiam
# (2021)](https://arxiv.org/abs/2011.10566) dropped the negatives; they kept the symmetrised loss.
#
# **Further reading.** On information: [Poole et al. (2019)](https://arxiv.org/abs/1905.06922) for the bounds,
# [McAllester and Stratos (2020)](https://arxiv.org/abs/1811.04251) for why *no* sample-based lower bound gets
# far beyond the logarithm of the sample, [Tschannen et al. (2020)](https://arxiv.org/abs/1907.13625) for why
# that is not what makes features good. On geometry and temperature: [Wang and Isola
# (2020)](https://arxiv.org/abs/2005.10242), [Wang and Liu (2021)](https://arxiv.org/abs/2012.09740). On hard
# negatives by design: [Robinson et al. (2021)](https://arxiv.org/abs/2010.04592). On schedules for the
# temperature: [Kukleva et al. (2023)](https://arxiv.org/abs/2303.13664).
#
# ### Quiz
#
# **1.** Two teams train on the same pictures. Team A reports an NT-Xent loss of 1.0, team B of 3.0. Whose
# features are better?
#
# <details><summary>Answer</summary>You cannot tell. The loss depends on the temperature, on the number of candidates and on how hard the views make the game. The run without tint in this chapter has by far the lowest loss and the worst probe. Ask for the probe, for chance,
# $\log(2N-1)$, and for the temperature.</details>
#
# **2.** Why can binary NCE learn $\log Z$, and InfoNCE cannot?
#
# <details><summary>Answer</summary>The logit of "data or noise?" has one right value for each $x$, the log-ratio of two densities, one of them known. A softmax over candidates does not change when you add a constant to all scores, so no loss built on it can prefer one constant over another.</details>
#
# **3.** You halve the temperature. The gap in cosine between your hardest negative and the next is 0.1. By
# what factor does the ratio of their pushes change, from 0.2 to 0.1?
#
# <details><summary>Answer</summary>The ratio of the pushes is $e^{\Delta s/\tau}$: $e^{0.5}\approx 1.6$ at 0.2 and $e^{1}\approx 2.7$ at 0.1. Halving the temperature squares the ratio, so it changes by the factor $e^{0.5}$ here.</details>
