# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · Generate to understand: does a machine that can draw a thing know what it is?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/07_generate_to_understand.ipynb)
#
# **After this chapter you can**
#
# - derive what a generative adversarial network (GAN) minimises, and why its training runs in circles;
# - turn a GAN round with an encoder (BiGAN, ALI) or by search (GAN inversion), and prove that the encoder must invert;
# - build a vector-quantised autoencoder (VQ-VAE), pass a gradient through a choice, and put an autoregressive prior on
#   its codes;
# - derive a small diffusion model, connect it with the score of chapter 01, and probe it layer by layer and noise level
#   by noise level;
# - use a generator as a *measuring device*: draw what a frozen representation kept, and see what it dropped.
#
# **You need** chapter 01 (denoising, the score, the ELBO), chapter 00 for SimCLR and the probe, Bayes' rule.
# **Time**: 73 minutes to read, about 60 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("07")

# %% [markdown]
# ## The puzzle: two painters
#
# "What I cannot create, I do not understand" stood on Richard Feynman's blackboard. Does the converse hold: whoever can
# create, understands? Here are pictures of the world of this book, and pictures by two painters who have studied 4,000 of
# them.

# %%
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch07
from ssl_lessons.book.widgets import diffusion as diffusion_widget
from ssl_lessons.models import encoders
from ssl_lessons.models.generative import bigan, diffusion, vq
from ssl_lessons.models.generative.autoencoders import ConvDecoder
from ssl_lessons.training import pretrain, recipes

unlabeled = data.shapes("unlabeled", n=4096, world=1)
train, test = data.shapes("train", n=1000, world=1), data.shapes("test", n=1000, world=1)
chance = 1 / len(train.classes)
x_unlabeled, x_train, x_test = (
    views.normalize(s.images) for s in (unlabeled, train, test)
)  # [N, 3, 32, 32], about [-2, 2]

generator = torch.Generator().manual_seed(0)
flat = x_unlabeled[:2048].flatten(1)
mean = flat.mean(dim=0)
_, sizes, directions = torch.svd_lowrank(flat - mean, q=100, niter=2)
first = x_unlabeled[torch.randint(len(x_unlabeled), (8,), generator=generator)]
weights = torch.randn(8, 100, generator=generator) * sizes / math.sqrt(2048)
second = (mean + weights @ directions.T).unflatten(1, (3, 32, 32))
fig = plots.image_grid(
    views.denormalize(torch.cat([x_test[:8], first, second])).clamp(0, 1),
    columns=8,
    title="Top: the world. Middle: the first painter. Bottom: the second painter",
)
plots.show(
    fig,
    alt="Three rows of eight pictures: pictures of the world, pictures by the first painter that look just like them, and "
    "coloured clouds by the second painter.",
)

# %% [markdown]
# > **Predict before you go on.** Which painter knows more about cups and cats? You may ask each of them one question
# > about a *new* picture. Which question would you ask?


# %%
def to_nearest(x: torch.Tensor) -> float:
    """Mean distance to the nearest picture that the painters have studied."""
    return torch.cdist(x.flatten(1), x_unlabeled.flatten(1)).min(dim=1).values.mean().item()


plots.table(
    [
        {"pictures": "new pictures of the world", "distance": to_nearest(x_test[:200])},
        {"pictures": "the first painter's", "distance": to_nearest(first)},
        {"pictures": "the second painter's", "distance": to_nearest(second)},
    ],
    "Distance to the nearest studied picture",
    {"pictures": "pictures", "distance": "mean distance"},
    ".1f",
)
assert to_nearest(first) < 0.1  # rounding: a distance of exactly 0

# %% [markdown]
# The first painter is a drawer full of copies: it pulls one out at random. Its work is perfect and it understands nothing;
# shown a new picture, it has nothing to say. The second painter draws badly (it fitted a Gaussian to 100 principal
# components), but at least it can describe any new picture by its 100 numbers.
#
# So the samples of a generator are no evidence of understanding. What could be: a generator has to hold, somewhere, the
# *causes* of a picture, and if we can go **backwards**, from a picture to its causes, we have a representation. Four ways
# back follow: train an encoder beside the generator (BiGAN), search for the code (inversion), generate codes instead of
# pixels (VQ-VAE), or read the inside of a network that undoes noise (diffusion). And a fifth turns the tables and uses a
# generator to look into somebody else's representation.

# %% [markdown]
# ## Step 1: a game instead of a likelihood
#
# A generator $G$ maps noise $z\sim\mathcal N(0, I)$ to pictures; call the distribution of its pictures $q(x)$. Chapter 01
# needed probabilities to train; a **GAN** ([Goodfellow et al., 2014](https://arxiv.org/abs/1406.2661)) needs a critic $D(x) \in
# (0, 1)$, the chance that $x$ is data:
#
# $$\min_G\max_D\ V = \mathbb{E}_{x\sim p}\log D(x) + \mathbb{E}_{x\sim q}\log\big(1 - D(x)\big).$$
#
# Take one picture $x$. It contributes $p\log D + q\log(1 - D)$; set the derivative $p/D - q/(1-D)$ to zero:
#
# $$D^*(x) = \frac{p(x)}{p(x) + q(x)}, \qquad V(D^*) = 2\,\mathrm{JSD}(p\,\Vert\,q) - 2\log 2,$$
#
# with the Jensen-Shannon divergence (JSD), the mean Kullback-Leibler divergence of $p$ and $q$ from their average. (You
# have met $D^*$: it is the "data or noise?" classifier of chapter 13, with a noise that *learns*.) It is zero only if
# $q = p$. In practice the generator minimises $-\log D(G(z))$ in place of $\log(1 - D(G(z)))$: the same wish, but with a
# gradient when the critic is sure.


# %%
def critic_loss(real, fake):
    """Logits [N], [M] -> -E log D(real) - E log(1 - D(fake))"""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake):
    """-E log D(fake)"""
    return F.softplus(-fake).mean()


# %%
# NBVAL_CHECK_OUTPUT
real, fake = (torch.randn(9, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
print(
    "critic_loss agrees with the package:",
    torch.equal(critic_loss(real, fake), bigan.critic_loss(real, fake)),
)
print("generator_loss agrees:", torch.equal(generator_loss(fake), bigan.generator_loss(fake)))
print(
    "a critic that cannot tell costs 2 log 2:",
    abs(critic_loss(0 * real, 0 * fake).item() - 2 * math.log(2)) < 1e-6,
)

# %% [markdown]
# ### Why it runs in circles
#
# The smallest GAN there is ([Mescheder et al., 2018](https://arxiv.org/abs/1801.04406)): the data sit at 0, the generator is
# a single point $\theta$, the critic a slope, $D(x) = \sigma(\psi x)$. The critic descends $\log(1 + e^{\psi\theta})$, the
# generator ascends it. Write $s = \sigma(\psi\theta)$ for the common factor of both gradients:
#
# $$\psi \leftarrow \psi - \eta\, s\,\theta, \qquad \theta \leftarrow \theta + \eta\, s\,\psi \qquad\Longrightarrow\qquad
# \psi^2 + \theta^2 \leftarrow (1 + \eta^2 s^2)\,(\psi^2 + \theta^2).$$
#
# The two steps are at right angles to the position $(\psi, \theta)$, so they can only turn and never approach, and a finite
# step size drives them outwards. No learning rate cures that. What does: make the critic pay for steepness at the data,
# $\tfrac\gamma2\,\mathbb{E}\lVert\nabla_x D\rVert^2$ on its logit (the R1 penalty), here $\tfrac\gamma2\psi^2$.


# %%
def dirac_gan(gamma: float, steps: int = 400, lr: float = 0.2) -> torch.Tensor:
    """The path (psi, theta) [steps + 1, 2] of simultaneous gradient steps."""
    psi, theta, path = 0.0, 1.0, [(0.0, 1.0)]
    for _ in range(steps):
        s = 1 / (1 + math.exp(-psi * theta))
        psi, theta = psi - lr * (s * theta + gamma * psi), theta + lr * s * psi
        path.append((psi, theta))
    return torch.tensor(path)


orbits = {"plain": dirac_gan(0.0), "with R1 penalty": dirac_gan(0.3)}
radius = {name: path.norm(dim=1) for name, path in orbits.items()}
fig, (left, right) = plots.new_figure(8.4, 3.2, 1, 2, width_ratios=[1, 1.3])
for (name, path), dash in zip(orbits.items(), ("-", "--")):
    left.plot(path[:, 1], path[:, 0], dash, linewidth=1, label=name)
    right.plot(radius[name], dash)
left.plot(0, 0, "k+", markersize=10)
left.set(title="The smallest GAN", xlabel="generator θ", ylabel="critic ψ", aspect="equal")
left.legend(loc="upper left")
right.set(title="Distance from the equilibrium", xlabel="step", ylabel="sqrt(θ² + ψ²)", ylim=(0, None))
plots.show(
    fig,
    alt="Left: the path of generator and critic, an outward spiral without and an inward spiral with the R1 penalty. Right: "
    "the distance from the equilibrium grows without the penalty and falls to zero with it.",
)
sure = torch.tensor([-20.0], requires_grad=True)  # the critic is sure that this one is generated
pull = {
    saturating: torch.autograd.grad(bigan.generator_loss(sure, saturating), sure)[0].abs().item()
    for saturating in (True, False)
}
print(
    f"Gradient on a picture that the critic is sure about: {pull[True]:.1e} from log(1 - D), {pull[False]:.1f} from -log D"
)
assert radius["plain"][-1] > 1 and radius["with R1 penalty"][-1] < 0.05

# %% [markdown]
# Keep the two failures apart: *no convergence* (the circle), and *no gradient* (a critic that is too good). The first is
# cured by the penalty, the second by the other loss. And there is a third: the game only asks that pictures look real, one
# by one. A generator that draws a single perfect picture is safe until the critic catches up, and then it moves on: **mode
# collapse**. On a ring of eight clusters you can count. One pair of players is balanced; in the other the generator takes
# steps ten times as large, and no penalty calms the critic.

# %%
centres = torch.stack([torch.tensor([math.cos(a), math.sin(a)]) for a in torch.arange(8) * math.pi / 4])


def ring(n: int) -> torch.Tensor:
    return centres[torch.randint(8, (n,))] + 0.05 * torch.randn(n, 2)


def mlp(*widths: int, last: nn.Module | None = None) -> nn.Sequential:
    layers = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1], *([last] if last else []))


def train_gan(data_of, G: nn.Module, D: nn.Module, z_dim: int, steps: int, gamma: float, hurry: float = 1.0):
    """Alternating steps of critic and generator; `hurry` multiplies the generator's learning rate."""
    opt_g = torch.optim.Adam(G.parameters(), lr=1e-3 * hurry, betas=(0.5, 0.99))
    opt_d = torch.optim.Adam(D.parameters(), lr=1e-3, betas=(0.5, 0.99))
    for _ in range(steps):
        x = data_of(128).requires_grad_(gamma > 0)
        fake, on_real = G(torch.randn(128, z_dim)), D(x).squeeze(1)
        loss = critic_loss(on_real, D(fake.detach()).squeeze(1))
        if gamma:
            loss = loss + gamma / 2 * bigan.gradient_penalty(on_real, x)
        opt_d.zero_grad()
        loss.backward()
        opt_d.step()
        loss = generator_loss(D(fake).squeeze(1))
        opt_g.zero_grad()
        loss.backward()
        opt_g.step()


painted, found = {}, {}
for name, gamma, hurry in (("balanced, with R1", 0.2, 1.0), ("a hasty generator, no R1", 0.0, 10.0)):
    torch.manual_seed(0)
    G, D = mlp(2, 64, 64, 2), mlp(2, 64, 64, 1)
    train_gan(ring, G, D, 2, steps=320, gamma=gamma, hurry=hurry)
    with torch.no_grad():
        painted[name] = G(torch.randn(1000, 2))
fig, axes = plots.new_figure(7.6, 3.6, 1, 2, sharex=True, sharey=True)
for ax, (name, x) in zip(axes, painted.items()):
    distance, nearest = torch.cdist(x, centres).min(dim=1)
    share = torch.bincount(nearest[distance < 0.25], minlength=8) / len(x)
    found[name] = int((share > 0.02).sum())
    ax.plot(*centres.T, "o", color=plots.COLORS[1], markersize=14, fillstyle="none")
    ax.plot(*x.T, ".", color=plots.COLORS[0], markersize=2)
    ax.set(title=f"{name}: {found[name]} of 8 clusters", xlabel="x1", ylabel="x2", aspect="equal")
    ax.set(xlim=(-1.8, 1.8), ylim=(-1.8, 1.8))
plots.show(
    fig,
    alt="Points drawn by two generators over a ring of eight circles that mark the clusters of the data. The titles say how "
    "many clusters each of them reaches.",
)
assert found["balanced, with R1"] >= 6

# %% [markdown]
# Look between the clusters, too. A generator is continuous and its noise is one connected cloud, so it cannot jump: the
# bridges stay.

# %% [markdown]
# ## Step 2: an encoder beside the generator
#
# A GAN goes from $z$ to $x$ only. **BiGAN** ([Donahue et al., 2017](https://arxiv.org/abs/1605.09782)) and **ALI** ([Dumoulin
# et al., 2017](https://arxiv.org/abs/1606.00704)) had the same idea within days of each other: add an encoder $E$, and show the critic
# *pairs*.
#
# $$\min_{G, E}\max_D\ \mathbb{E}_{x\sim p}\log D\big(x, E(x)\big) + \mathbb{E}_z\log\big(1 - D(G(z), z)\big).$$
#
# By step 1, at the best critic this is the JSD of two *joint* distributions, of pairs $(x, E(x))$ and of pairs
# $(G(z), z)$. It is smallest when they are the same. And then: in every pair of the first kind the code is $E(x)$; in every
# pair of the second kind the picture is $G(z)$; if both kinds are one, a pair $(x, z)$ satisfies **both** $z = E(x)$ and
# $x = G(z)$. So $E$ inverts $G$, although nobody ever computed a reconstruction error. (ALI draws $z$ from
# $\mathcal N(\mu(x), \sigma^2(x))$: one flag below.) Real pictures from here on: scikit-learn's digits, eight by eight.

# %%
digits = {split: data.digits(split) for split in ("train", "test")}
d_train, d_test = (
    digits[s].images[:, 0].flatten(1).float() / 127.5 - 1 for s in ("train", "test")
)  # [N, 64] in [-1, 1]
Z = 16


def bigan_losses(encoded, generated):
    """Logits of (x, E(x)) and of (G(z), z) -> the critic's loss, and the loss of encoder and generator together."""
    return critic_loss(encoded, generated), critic_loss(generated, encoded)


def train_bigan(stochastic: bool, steps: int = 450, lr: float = 2e-3, gamma: float = 0.1):
    """stochastic: ALI's encoder, with mean and log variance."""
    torch.manual_seed(0)
    G = mlp(Z, 128, 128, 64, last=nn.Tanh())
    E = mlp(64, 128, 128, 2 * Z if stochastic else Z)
    D = bigan.PairCritic(64, Z, hidden=128)
    opt_ge = torch.optim.Adam([*G.parameters(), *E.parameters()], lr=lr, betas=(0.5, 0.99))
    opt_d = torch.optim.Adam(D.parameters(), lr=lr, betas=(0.5, 0.99))
    for _ in range(steps):
        x, z = d_train[torch.randint(len(d_train), (128,))], torch.randn(128, Z)
        code, fake = E(x), G(z)
        if stochastic:
            mu, log_var = code.chunk(2, dim=1)
            code = mu + (log_var / 2).exp() * torch.randn_like(mu)
        xs = x.clone().requires_grad_()
        on_real = D(xs, code.detach())
        loss = bigan_losses(on_real, D(fake.detach(), z))[0] + gamma / 2 * bigan.gradient_penalty(on_real, xs)
        opt_d.zero_grad()
        loss.backward()
        opt_d.step()
        loss = bigan_losses(D(x, code), D(fake, z))[1]
        opt_ge.zero_grad()
        loss.backward()
        opt_ge.step()
    for net in (G, E, D):
        net.requires_grad_(False)
    return G, (lambda x: E(x)[:, :Z]), D  # for ALI: the mean


# %%
# NBVAL_CHECK_OUTPUT
a, b = (torch.randn(9, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
mine = bigan_losses(a, b)
print("bigan_losses agree with the package:",
      torch.equal(mine[0], bigan.bigan_critic_loss(a, b)) and torch.equal(mine[1], bigan.bigan_player_loss(a, b)))  # fmt: skip

# %%
games = {"BiGAN": train_bigan(False), "ALI": train_bigan(True)}
torch.manual_seed(0)
plain_g, plain_d = mlp(Z, 128, 128, 64, last=nn.Tanh()), mlp(64, 128, 128, 1)
train_gan(
    lambda n: d_train[torch.randint(len(d_train), (n,))].clone(), plain_g, plain_d, Z, steps=450, gamma=0.5
)
plain_g.requires_grad_(False), plain_d.requires_grad_(False)
G, E, _ = games["BiGAN"]
z = torch.randn(16, Z, generator=torch.Generator().manual_seed(0))
rows = {
    "real digits": d_test[:16],
    "GAN, G(z)": plain_g(z),
    "BiGAN, G(z)": G(z),
    "BiGAN, G(E(real digits))": G(E(d_test[:16])),
}
fig = plots.image_grid(
    (torch.cat(list(rows.values())).view(-1, 1, 8, 8) + 1) / 2, columns=16, title="Rows: " + "; ".join(rows)
)
plots.show(
    fig,
    alt="Four rows of sixteen 8 by 8 pictures: real digits, digits drawn by a GAN, digits drawn by a BiGAN, and the BiGAN's "
    "rebuilt versions of the real digits.",
)


def digit_error(rebuilt: torch.Tensor, x: torch.Tensor = d_test) -> float:
    """Share of the pixels' variance that is not explained."""
    return ((rebuilt - x).square().mean() / d_test.var(dim=0).mean()).item()


shuffled = d_test[torch.randperm(len(d_test), generator=torch.Generator().manual_seed(0))]
inverse = {name: digit_error(g(e(d_test))) for name, (g, e, _) in games.items()}
print("Unexplained variance of G(E(x)): " + ", ".join(f"{name} {v:.0%}" for name, v in inverse.items())
      + f"; the digit of somebody else: {digit_error(shuffled):.0%}; the mean digit: {digit_error(d_train.mean(dim=0)):.0%}")  # fmt: skip
assert min(inverse.values()) < digit_error(shuffled)

# %% [markdown]
# Look at the last row, and at the numbers under it. $E = G^{-1}$ is a statement about the *end* of the game, and after some
# hundred moves the game has not ended: the encoder was never asked to reconstruct, and the adversary forgives what it does
# not notice. In long runs on large images what comes back is known for being of the same *kind*, not the same picture. For
# copying that is a defect. For recognition it might be just right.
#
# ### Without an encoder: GAN inversion
#
# The plain GAN has no $E$. But $G$ is differentiable, so search: $z^* = \arg\min_z\lVert G(z) - x\rVert^2$, by gradient
# descent on $z$ with $G$ frozen. The landscape has many valleys; a good start helps, and an encoder can be one.

# %%
some = d_test[:100]
searches = {}
for name, generator_net, start in (
    ("GAN, from a random z", plain_g, torch.randn(100, Z, generator=torch.Generator().manual_seed(1))),
    ("BiGAN, from a random z", G, torch.randn(100, Z, generator=torch.Generator().manual_seed(1))),
    ("BiGAN, from E(x)", G, E(some)),
):
    searches[name] = {"before": digit_error(generator_net(start), some)}
    found_z, _ = bigan.invert(generator_net, some, start, steps=150)
    searches[name] |= {
        "after": digit_error(generator_net(found_z), some),
        "length": found_z.norm(dim=1).mean().item(),
    }
plots.table(
    [{"search": name} | row for name, row in searches.items()],
    f"150 steps of search for the code of 100 digits (a draw of z has length about {math.sqrt(Z):.0f})",
    {
        "search": "search",
        "before": "unexplained variance at the start",
        "after": "at the end",
        "length": "mean length of z*",
    },
    {"before": ".0%", "after": ".0%", "length": ".1f"},
)
assert all(row["after"] < row["before"] for row in searches.values())

# %% [markdown]
# The search finds better copies than the encoder, at the price of 150 passes, and of codes that may lie where the
# generator never draws (compare their length with that of a draw). Now the probe, on 100 labelled digits, ten of each.
# The last entrant is the *critic's* inside, which [DCGAN](https://arxiv.org/abs/1511.06434) and [improved GAN
# training](https://arxiv.org/abs/1606.03498) used as features.


# %%
def digit_probe(features) -> dict:
    y = digits["train"].labels, digits["test"].labels
    pair = features(d_train).detach(), features(d_test).detach()
    row = evaluation.label_efficiency(pair[0], y[0], pair[1], y[1], per_class=(10,), draws=3)[0]
    return {"numbers": pair[0].shape[1], "probe": row["mean"], "spread": row["std"]}


torch.manual_seed(1)
random_e = mlp(64, 128, 128, Z)
digit_results = {
    "raw pixels": digit_probe(lambda x: x),
    "untrained encoder": digit_probe(random_e),
    "BiGAN, E(x)": digit_probe(E),
    "ALI, mean of q(z|x)": digit_probe(games["ALI"][1]),
    "GAN, inside the critic": digit_probe(plain_d[:4]),
    "GAN, z found by search": digit_probe(
        lambda x: bigan.invert(plain_g, x, torch.zeros(len(x), Z), steps=60)[0]
    ),
}
plots.table(
    [{"features": "a guess", "probe": 0.1}]
    + [{"features": name, **row} for name, row in digit_results.items()],
    "Linear probe on digits, 100 labels (mean of 3 draws)",
    {"features": "features", "numbers": "numbers", "probe": "probe", "spread": "spread over draws"},
    {"probe": ".1%", "spread": ".1%"},
)

# %% [markdown]
# Whatever the order, note the yardstick: on digits raw pixels are strong, and 16 numbers found by a game have to compete
# with 64 given ones. [BigBiGAN](https://arxiv.org/abs/1907.02544) played this game at the scale of ImageNet, and for a time
# it was among the best ways to learn from unlabelled images.

# %% [markdown]
# ## Step 3: generate codes, not pixels
#
# Chapter 01's VAE paid for each nat of a continuous code. The **VQ-VAE** ([van den Oord et al.,
# 2017](https://arxiv.org/abs/1711.00937)) uses *words*: a codebook $e_1..e_K\in\mathbb{R}^D$. The encoder gives a vector
# $z_e(x)$ for each place of a small grid, and the nearest code takes its place: $z_q = e_k$ with $k = \arg\min_j\lVert z_e -
# e_j\rVert$. A choice has no gradient. Two devices:
#
# - **straight-through**: forwards $z_q$; backwards pretend that it was $z_e$. In code, with sg (stop-gradient) =
#   `detach`: $z_e + \mathrm{sg}[z_q - z_e]$;
# - two terms that keep the pretence honest, by keeping $z_e$ and $z_q$ close:
#
# $$L = \lVert x - g(z_q)\rVert^2 + \underbrace{\lVert\mathrm{sg}[z_e] - e\rVert^2}_{\text{codes move to the encoder}} + \beta\underbrace{\lVert z_e - \mathrm{sg}[e]\rVert^2}_{\text{the encoder commits}}.$$
#
# The second term is $k$-means in disguise: its gradient pulls each code to the mean of its members. (The stop-gradients do
# not change the *value*; they decide who moves.)


# %%
def quantize(z_e, codebook, beta=0.25):
    """z_e [N, D], codebook [K, D] -> z_q with a straight-through gradient [N, D], the two extra terms, indices [N]"""
    k = torch.cdist(z_e, codebook).argmin(dim=1)
    e = codebook[k]
    loss = (z_e.detach() - e).square().mean() + beta * (z_e - e.detach()).square().mean()
    return z_e + (e - z_e).detach(), loss, k


# %%
# NBVAL_CHECK_OUTPUT
module = vq.VectorQuantizer(6, 4).double()
z_e = torch.randn(10, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
mine, theirs = quantize(z_e, module.codebook), module(z_e.T[None, :, :, None])
same_values = torch.allclose(mine[0], theirs[0][0, :, :, 0].T) and torch.allclose(mine[1], theirs[1])
print("values and loss agree with the package:", same_values)
(through,) = torch.autograd.grad((3 * mine[0]).sum(), z_e, retain_graph=True)
print("the decoder's gradient passes unchanged:", torch.equal(through, torch.full_like(z_e, 3)))
(pull_on_codes,) = torch.autograd.grad(mine[1], module.codebook)
k = mine[2][0]
members = z_e.detach()[mine[2] == k]
to_mean = 2 * len(members) / z_e.numel() * (members.mean(dim=0) - module.codebook[k])
print("a code is pulled to the mean of its members:", torch.allclose(-pull_on_codes[k], to_mean))


# %%
CODES, DIM, WIDTH = 64, 16, 16


class CodeAutoencoder(nn.Module):
    """[N, 3, 32, 32] -> an 8x8 grid of vectors -> [N, 3, 32, 32], with something discrete in the middle."""

    def __init__(self, middle: int):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, WIDTH, 4, 2, 1), nn.ReLU(), nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, 1, 1), nn.ReLU(), nn.Conv2d(2 * WIDTH, middle, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(DIM, 2 * WIDTH, 3, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(2 * WIDTH, WIDTH, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(WIDTH, 3, 4, 2, 1),
        )  # fmt: skip
        self.vq = vq.VectorQuantizer(CODES, DIM)


class VQVAE(CodeAutoencoder):
    def __init__(self):
        super().__init__(DIM)

    def codes(self, x):
        return vq.nearest_code(self.encoder(x).movedim(1, -1), self.vq.codebook)

    def forward(self, x, step=0):
        z, loss, _ = self.vq(self.encoder(x))
        return self.decoder(z), loss


class DVAE(CodeAutoencoder):
    """The discrete VAE of DALL-E: logits over the codes, a relaxed sample, a price in nats."""

    def __init__(self):
        super().__init__(CODES)

    def codes(self, x):
        return self.encoder(x).argmax(dim=1)

    def forward(self, x, step=0):
        logits = self.encoder(x).movedim(1, -1)
        temperature = max(0.5, 1 - step / 200)  # softer at first: easier gradients
        soft = F.gumbel_softmax(logits, tau=temperature, dim=-1)
        price = vq.uniform_kl(logits).sum(dim=(1, 2)).mean() / x[0].numel()
        return self.decoder((soft @ self.vq.codebook).movedim(-1, 1)), 0.1 * price


def train_codes(model, steps: int, restart: bool = True) -> list[float]:
    torch.manual_seed(0)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=3e-3), []
    for step in range(steps):
        x = x_unlabeled[torch.randint(len(x_unlabeled), (64,))]
        if restart and isinstance(model, VQVAE) and step % 10 == 0 and step < steps // 2:
            model.vq.restart_unused(model.encoder(x))
        rebuilt, extra = model(x, step)
        loss = F.mse_loss(rebuilt, x) + extra
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


VQ_STEPS = {"VQ-VAE": 220, "VQ-VAE, no restarts": 40, "discrete VAE": 130}
torch.manual_seed(0)
coders = {"VQ-VAE": VQVAE(), "VQ-VAE, no restarts": VQVAE(), "discrete VAE": DVAE()}
with torch.no_grad():
    coders["VQ-VAE, no restarts"].vq.codebook.mul_(8)  # a codebook far from where the encoder starts
for name, model in coders.items():
    train_codes(model, VQ_STEPS[name], restart="no restarts" not in name)


@torch.no_grad()
def rebuild_codes(model, x: torch.Tensor) -> torch.Tensor:
    """Through the hard codes, also for the discrete VAE."""
    return model.decoder(model.vq.look_up(model.codes(x)))


def edges(x: torch.Tensor) -> float:
    """Mean step between neighbouring pixels: low when blurred."""
    across, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    return (across.abs().mean() + down.abs().mean()).item() / 2


def code_report(model) -> dict:
    rebuilt = rebuild_codes(model, x_test[:500])
    return {
        "perplexity": vq.perplexity(model.codes(x_test[:500]), CODES),
        "error": ((rebuilt - x_test[:500]).square().mean() / x_test.var(dim=0).mean()).item(),
        "edges": edges(rebuilt) / edges(x_test[:500]),
    }


reports = {name: code_report(m) for name, m in coders.items()}

# %% [markdown]
# **What goes wrong: a dead codebook.** A code that no vector chooses gets no gradient, so it never moves, so no vector will
# ever choose it. The second model started with its codes far away; look at its *perplexity* below, the exponential of the
# entropy of code usage (64 = all in equal use, 1 = one word for everything). The first model moves unused codes onto random
# encoder outputs now and then. It is a collapse again, that of chapter 17's clusters. (The third, the **discrete VAE**, is the
# tokenizer of [DALL-E](https://arxiv.org/abs/2102.12092) that BEiT borrowed in chapter 18. It chooses softly while it
# trains, by a *Gumbel softmax* ([Jang et al., 2017](https://arxiv.org/abs/1611.01144)), and pays the VAE's price,
# $\mathrm{KL}(q\Vert\text{uniform}) = \log K - H(q)$ per place.)
#
# ### An adversary against blur: VQGAN in miniature
#
# Squared error forgives blur: an edge that may be here or there is best drawn in between. [Esser et al.
# (2021)](https://arxiv.org/abs/2012.09841) added the critic of step 1, looking at *patches*, and weighed its opinion so that
# it pulls as hard on the decoder's last layer as the reconstruction does:
#
# $$L = L_\text{VQ} + \lambda\, L_\text{GAN}, \qquad \lambda = \frac{\lVert\nabla_{\text{last}} L_\text{rec}\rVert}{\lVert\nabla_{\text{last}} L_\text{GAN}\rVert + \delta}.$$


# %%
def sharpen(model: VQVAE, steps: int, share: float = 0.5) -> VQVAE:
    """Continue training against a patch critic; `share` scales the adaptive weight."""
    torch.manual_seed(1)
    critic = vq.PatchCritic(16)
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    opt_critic = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.99))
    for _ in range(steps):
        x = x_unlabeled[torch.randint(len(x_unlabeled), (64,))]
        rebuilt, extra = model(x)
        rec, adv = F.mse_loss(rebuilt, x), -critic(rebuilt).mean()
        weight = share * vq.adaptive_weight(rec, adv, model.decoder[-1].weight)
        opt.zero_grad()
        (rec + extra + weight * adv).backward()
        opt.step()
        loss = vq.hinge_critic_loss(critic(x), critic(rebuilt.detach()))
        opt_critic.zero_grad()
        loss.backward()
        opt_critic.step()
    return model


start_from = VQVAE()
start_from.load_state_dict(coders["VQ-VAE"].state_dict())
coders["VQGAN"] = sharpen(start_from, steps=60)
reports["VQGAN"] = code_report(coders["VQGAN"])
fig = plots.image_grid(
    views.denormalize(
        torch.cat([x_test[:8]] + [rebuild_codes(m, x_test[:8]) for m in coders.values()])
    ).clamp(0, 1),
    columns=8,
    title="Rows: pictures; " + "; ".join(coders),
)
plots.show(
    fig,
    alt="Five rows of eight pictures: originals, and rebuilt from 64 discrete codes each by a VQ-VAE, one with a dead codebook, "
    "a discrete VAE and a VQGAN.",
)
plots.table(
    [{"model": name, **row} for name, row in reports.items()],
    f"{CODES} codes, 8 x 8 places per picture ({64 * math.log2(CODES):.0f} bits; the raw picture has {3072 * 8:,})",
    {
        "model": "model",
        "perplexity": "codes in use (perplexity)",
        "error": "unexplained variance",
        "edges": "edges, as a share of the real",
    },
    {"perplexity": ".1f", "error": ".1%", "edges": ".0%"},
)
assert reports["VQ-VAE, no restarts"]["perplexity"] < reports["VQ-VAE"]["perplexity"] / 2

# %% [markdown]
# Compare "edges" with "unexplained variance" in the rows of VQ-VAE and VQGAN: what does the adversary give with one hand,
# and take with the other?
#
# ### A prior on the codes
#
# A VQ-VAE cannot draw yet: random codes give confetti. Codes are words, a picture is a sentence of 64 of them, and
# chapter 03 has the model for sentences, predict the next from those before:
# $p(k_1..k_{64}) = \prod_i p(k_i\mid k_1..k_{i-1})$. Here a tiny transformer with a causal mask, in reading order. VQ-VAE plus
# prior is *hybrid* self-prediction: the autoencoder takes care of the texture, the prior of the composition.


# %%
class Prior(nn.Module):
    """Logits of the next code at each of 64 places: codes [N, T] -> [N, T, CODES]; place i sees the places before i."""

    def __init__(self, dim: int = 64, depth: int = 2):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(dim))
        self.words = nn.Embedding(CODES, dim)
        self.register_buffer("places", encoders.sincos_positions(8, dim))
        self.blocks = encoders.transformer_blocks(dim, depth, heads=4)
        self.out = nn.Linear(dim, CODES)

    def states(self, codes):
        shifted = torch.cat([self.start.expand(len(codes), 1, -1), self.words(codes[:, :-1])], dim=1)
        x = shifted + self.places[: codes.shape[1]]
        causal = torch.full((x.shape[1], x.shape[1]), -math.inf).triu(1)
        for block in self.blocks:
            x = block(x, src_mask=causal)
        return x

    def forward(self, codes):
        return self.out(self.states(codes))


coder = coders["VQ-VAE"].requires_grad_(False)
sentences = {
    name: torch.cat([coder.codes(b) for b in x.split(500)]).flatten(1)
    for name, x in (("unlabeled", x_unlabeled), ("train", x_train), ("test", x_test))
}
torch.manual_seed(0)
prior = Prior()
PRIOR_STEPS = 100
optimizer = torch.optim.AdamW(prior.parameters(), lr=3e-3)
for _ in range(PRIOR_STEPS):
    batch = sentences["unlabeled"][torch.randint(len(x_unlabeled), (32,))]
    loss = F.cross_entropy(prior(batch).flatten(0, 1), batch.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
_ = prior.requires_grad_(False).eval()

# %%
# NBVAL_CHECK_OUTPUT
changed = sentences["test"][:5].clone()
changed[:, 40] = (changed[:, 40] + 1) % CODES
moved = (prior(changed) - prior(sentences["test"][:5])).abs().amax(dim=(0, 2))
print("changing code 40 changes no prediction up to place 40:", bool((moved[:41] < 1e-4).all()))
print("and changes the next one:", bool(moved[41] > 1e-4))


# %%
def draw_pictures(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.zeros(n, 64, dtype=torch.long)
    for i in range(64):
        p = prior(codes[:, : i + 1])[:, i].softmax(dim=1)
        codes[:, i] = torch.multinomial(p, 1, generator=generator)[:, 0]
    return coder.decoder(coder.vq.look_up(codes.view(n, 8, 8)))


seen, held_out = sentences["unlabeled"], sentences["test"][:300]
used = torch.bincount(seen.flatten(), minlength=CODES) + 1.0
pairs = (
    torch.bincount(seen[:, :-1].flatten() * CODES + seen[:, 1:].flatten(), minlength=CODES**2).view(
        CODES, CODES
    )
    + 1.0
)
log_used, log_next = (used / used.sum()).log(), (pairs / pairs.sum(dim=1, keepdim=True)).log()
nats = {
    "nothing (all codes alike)": math.log(CODES),
    "how often each code is used": -log_used[held_out].mean().item(),
    "the code before": -log_next[held_out[:, :-1], held_out[:, 1:]].mean().item(),
    "all codes before (the prior)": F.cross_entropy(prior(held_out).flatten(0, 1), held_out.flatten()).item(),
}
confetti = torch.randint(CODES, (8, 8, 8), generator=torch.Generator().manual_seed(0))
fig = plots.image_grid(
    views.denormalize(torch.cat([coder.decoder(coder.vq.look_up(confetti)), draw_pictures(8)])).clamp(0, 1),
    columns=8,
    title="Top: random codes. Bottom: codes drawn by the prior",
)
plots.show(
    fig,
    alt="Two rows of eight pictures: confetti from random codes, and pictures with calmer grounds and blobs from the prior.",
)
plots.table(
    [{"model": name, "nats": value} for name, value in nats.items()],
    "How surprising is the next code of a new picture?",
    {"model": "predicted from", "nats": "nats per code"},
    ".2f",
)
assert nats["all codes before (the prior)"] < nats["how often each code is used"]

# %% [markdown]
# After so short a training the prior knows grounds and blobs, not cups. The recipe (a discrete autoencoder, then a
# transformer), with very much more of everything, drew the pictures of [DALL-E](https://arxiv.org/abs/2102.12092). As
# representations we keep two things for the final table: the *bag of codes* of each quarter of the picture, and the prior's
# hidden states.


# %%
def bag_of_codes(codes: torch.Tensor) -> torch.Tensor:
    """Sentences [N, 64] -> how often each code occurs in each quarter [N, 4 * CODES]"""
    return F.one_hot(codes.view(-1, 2, 4, 2, 4), CODES).float().mean(dim=(2, 4)).flatten(1)


def prior_states(codes: torch.Tensor) -> torch.Tensor:
    """Mean of the prior's last hidden states over each quarter [N, 4 * 64]"""
    states = torch.cat([prior.states(b) for b in codes.split(250)])
    return states.view(-1, 2, 4, 2, 4, states.shape[-1]).mean(dim=(2, 4)).flatten(1)


def probe(train_x: torch.Tensor, test_x: torch.Tensor, draws: int = 3) -> dict:
    """A linear probe on frozen features with 100 labels: mean accuracy and spread over draws of the labels."""
    row = evaluation.label_efficiency(
        train_x, train.labels, test_x, test.labels, per_class=(10,), draws=draws
    )[0]
    return {"probe": row["mean"], "spread": row["std"]}


fresh = encoders.untrained(encoders.build_encoder("convnet", width=16, dim=256)).eval()
results = {
    "raw pixels": probe(evaluation.pixels(train.images), evaluation.pixels(test.images)),
    "untrained network": probe(*(evaluation.extract_features(fresh, s.images) for s in (train, test))),
    "VQ-VAE, bag of codes": probe(bag_of_codes(sentences["train"]), bag_of_codes(sentences["test"])),
    "prior on the codes, hidden states": probe(
        prior_states(sentences["train"]), prior_states(sentences["test"])
    ),
}

# %% [markdown]
# ## Step 4: the noise comes in small steps
#
# Chapter 01 ended its section on denoising with a promise: a denoiser knows the slope of the log density,
# $\nabla\log p_\sigma(\tilde x) = (r(\tilde x) - \tilde x)/\sigma^2$. If you know which way is uphill, you can *walk* to the
# data: **Langevin dynamics**, $x \leftarrow x + \tfrac\eta2\nabla\log p(x) + \sqrt{\eta}\,\epsilon$, ends in samples of $p$. [Song
# and Ermon (2019)](https://arxiv.org/abs/1907.05600) saw what is missing: far from the data nobody taught the denoiser
# anything, and between two clusters no walk crosses the valley. Their cure (noise-conditional score networks, NCSN): learn
# the slopes at *many* noise levels, start at the largest, where all clusters melt into one hill, and walk while the noise
# cools down.
#
# On two clusters of unequal size the slope at every noise level is known in closed form. One cluster holds 80 % of the
# points. Both walks take the same number of steps.

# %%
HEIGHTS, PLACES, SPREAD = torch.tensor([0.8, 0.2]), torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.3


def slope(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The score of the two clusters under noise of deviation sigma: x [N, 2] -> [N, 2]"""
    variance = SPREAD**2 + sigma**2
    which = (HEIGHTS.log() - torch.cdist(x, PLACES).square() / (2 * variance)).softmax(dim=1)
    return (which @ PLACES - x) / variance


def walk(levels: list[float], steps: int, n: int = 1500) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = 6 * torch.rand(n, 2, generator=generator) - 3
    for sigma in levels:
        eta = 0.1 * (SPREAD**2 + sigma**2)
        for _ in range(steps):
            x = x + eta / 2 * slope(x, sigma) + math.sqrt(eta) * torch.randn(x.shape, generator=generator)
    return x


cooling = torch.logspace(math.log10(4), math.log10(0.05), 10).tolist()
walks = {"one small noise level": walk([0.05], 500), "ten levels, cooling": walk(cooling, 50)}
in_the_big = {name: (x[:, 0] < 0).float().mean().item() for name, x in walks.items()}
fig, axes = plots.new_figure(8.0, 2.6, 1, 2, sharey=True)
for ax, (name, x) in zip(axes, walks.items()):
    ax.plot(x[:, 0], x[:, 1], ".", markersize=1.5)
    ax.set(
        title=f"{name}: {in_the_big[name]:.0%} in the cluster of 80%", xlabel="x1", ylabel="x2", xlim=(-4, 4)
    )
plots.show(
    fig,
    alt="Two clouds of walkers. With one small noise level they split about evenly between the clusters; with ten cooling "
    "levels about four fifths end in the larger one.",
)
assert abs(in_the_big["ten levels, cooling"] - 0.8) < 0.1 < abs(in_the_big["one small noise level"] - 0.8)

# %% [markdown]
# ### Denoising diffusion
#
# **DDPM** ([Ho et al., 2020](https://arxiv.org/abs/2006.11239), after [Sohl-Dickstein et al.,
# 2015](https://arxiv.org/abs/1503.03585)) shrinks the picture while the noise grows, so that the variance stays near 1:
#
# $$q(x_t\mid x_{t-1}) = \mathcal N\big(\sqrt{1 - \beta_t}\,x_{t-1},\ \beta_t I\big), \qquad t = 1..T.$$
#
# *Jump.* Let $\alpha_t = 1 - \beta_t$ and $\bar\alpha_t = \prod_{s\le t}\alpha_s$. If $x_{t-1} = \sqrt{\bar\alpha_{t-1}}\,x_0 +
# \sqrt{1 - \bar\alpha_{t-1}}\,\epsilon$, then one more step makes the variance $\alpha_t(1 - \bar\alpha_{t-1}) + \beta_t = 1 -
# \bar\alpha_t$. By induction
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon .$$
#
# *Back.* Given $x_0$, Bayes' rule says what $x_{t-1}$ was. There are two Gaussian opinions about it, one from $x_0$ (precision
# $1/(1 - \bar\alpha_{t-1})$) and one from $x_t$ (precision $\alpha_t/\beta_t$). Precisions add, and weigh the means:
#
# $$q(x_{t-1}\mid x_t, x_0) = \mathcal N\!\left(\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t\,x_0 + \sqrt{\alpha_t}\,(1 - \bar\alpha_{t-1})\,x_t}{1 - \bar\alpha_t},\ \ \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\,\beta_t I\right).$$
#
# *Learn.* We do not know $x_0$; a network guesses the noise, $\epsilon_\theta(x_t, t)$, and the jump, solved for $x_0$, turns
# that into a guess $\hat x_0$. The loss of the paper is the plainest one, $\mathbb{E}\,\lVert\epsilon -
# \epsilon_\theta(x_t, t)\rVert^2$ (the terms of an ELBO like chapter 01's, with their weights dropped). *And the score*: the
# best guess is $\mathbb{E}[\epsilon\mid x_t]$, so by chapter 01's identity
#
# $$\nabla\log q(x_t) = -\frac{\epsilon_\theta(x_t, t)}{\sqrt{1 - \bar\alpha_t}} .$$
#
# *Noise or picture?* Each follows from the other, so the network may as well guess the picture; from the jump,
# $\lVert\epsilon - \epsilon_\theta\rVert^2 = \frac{\bar\alpha_t}{1 - \bar\alpha_t}\lVert x_0 - \hat x_0\rVert^2$. Only the
# weights of the noise levels differ: guessing noise cares about the cleanest pictures and hardly about the noisiest. That
# makes sharp samples in the end (Ho et al. chose it for that); guessing the picture learns the coarse things first. With a
# few hundred steps, coarse things are what we can hope for, so our network guesses the picture.
#
# NCSN and DDPM learn the same thing. A diffusion model *is* one denoising autoencoder for all noise levels at once, and it
# is told the level.

# %%
T = 100
schedule = diffusion.linear_schedule(T)
beta, alpha, alpha_bar = schedule


def jump(x0, t, noise):
    """q(x_t | x_0): x0, noise [N, ...], t [N]"""
    a = alpha_bar[t].view(-1, *[1] * (x0.ndim - 1))
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def step_back(x0, xt, t: int):
    """Mean and variance of q(x_{t-1} | x_t, x_0) for one t > 0"""
    before = alpha_bar[t - 1]
    mean = (before.sqrt() * beta[t] * x0 + alpha[t].sqrt() * (1 - before) * xt) / (1 - alpha_bar[t])
    return mean, beta[t] * (1 - before) / (1 - alpha_bar[t])


# %%
# NBVAL_CHECK_OUTPUT
generator = torch.Generator().manual_seed(0)
x0, noise = (torch.randn(5, 4, generator=generator) for _ in range(2))
t = torch.full((5,), 30)
print(
    "jump agrees with the package:",
    torch.allclose(jump(x0, t, noise), diffusion.add_noise(x0, t, noise, schedule)),
)
mine, theirs = step_back(x0, noise, 30), diffusion.posterior(x0, noise, t, schedule)
print(
    "step_back agrees:",
    torch.allclose(mine[0], theirs[0]) and torch.allclose(mine[1].expand(5, 1), theirs[1]),
)
x = torch.full((100_000,), 1.5)
for i in range(31):
    x = alpha[i].sqrt() * x + beta[i].sqrt() * torch.randn(x.shape, generator=generator)
close = abs(x.mean() - 1.5 * alpha_bar[30].sqrt()) < 0.01 and abs(x.var() - 1 + alpha_bar[30]) < 0.02
print("31 small steps = one jump:", bool(close))


# %%
class Painter(nn.Module):
    """Guesses the clean picture; `forward` returns the noise that this guess implies (what the samplers want)."""

    def __init__(self, **options):
        super().__init__()
        self.net = diffusion.UNet(T, width=16, **options)

    def forward(self, xt, t, told=None):
        a = alpha_bar[t].view(-1, 1, 1, 1)
        return (xt - a.sqrt() * self.net(xt, t, told)) / (1 - a).sqrt()


def train_painter(
    painter: Painter, x: torch.Tensor, steps: int, told: torch.Tensor | None = None
) -> list[float]:
    """x [N, 3, S, S]; told [N, C], if given, goes to the network with each picture.  Returns the losses."""
    optimizer = torch.optim.AdamW(painter.parameters(), lr=3e-3)
    cooldown = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    losses = []
    for _ in range(steps):
        i, t = torch.randint(len(x), (64,)), torch.randint(T, (64,))
        guess = painter.net(jump(x[i], t, torch.randn_like(x[i])), t, None if told is None else told[i])
        loss = F.mse_loss(guess, x[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cooldown.step()
        losses.append(loss.item())
    painter.requires_grad_(False)
    return losses


torch.manual_seed(0)
painter = Painter()
losses = train_painter(painter, x_unlabeled, steps=200)
final_loss = sum(losses[-20:]) / 20

LEVELS = (2, 10, 25, 50, 90)
t = torch.tensor(LEVELS)
one = x_test[:1].expand(len(LEVELS), -1, -1, -1)
noisy = jump(one, t, torch.randn(one.shape, generator=torch.Generator().manual_seed(1)))
guesses = painter.net(noisy, t)
fig = plots.image_grid(
    views.denormalize(torch.cat([noisy, guesses])).clamp(0, 1),
    columns=len(LEVELS),
    titles=[f"{alpha_bar[i]:.0%} picture" for i in LEVELS] + ["guess of x0"] * len(LEVELS),
    title="One picture, five noise levels, five guesses",
)
plots.show(
    fig,
    alt="Top: one picture under five levels of noise, from hardly any to nearly pure noise. Bottom: the network's guess of the "
    "clean picture, sharp at little noise and a blurred cloud at much.",
)
drawn = diffusion.sample(painter, (8, 3, 32, 32), schedule, torch.Generator().manual_seed(0), clip=2.0)
fig = plots.image_grid(
    views.denormalize(drawn).clamp(0, 1),
    columns=8,
    title=f"Drawn from pure noise in {T} steps (loss {final_loss:.2f})",
)
plots.show(
    fig, alt="Eight pictures drawn by the diffusion model from pure noise: coloured grounds and blobs."
)
assert final_loss < 0.8 * losses[0]

# %% [markdown]
# ## The run: a map of what the denoiser knows, layer by layer and noise level by noise level
#
# The network was trained to undo noise. Does it know what it denoises? Feed it a picture *under noise of level t*, stop at
# a layer, average each quarter, and read two facts linearly: the kind of object, and the hue of the ground. [Baranchuk et
# al. (2022)](https://arxiv.org/abs/2112.03126) made such maps of large models.
#
# > **Predict.** Where is the kind of object best read: in the first layer, in the middle, in the last? With hardly any
# > noise, or with a lot? Think what the task *needs* at each level: at little noise, the neighbouring pixels are enough.


# %%
def layer_features(x: torch.Tensor, level: int) -> list[torch.Tensor]:
    """Every layer's output under noise of that level, averaged over quarters: a list of [N, 4 C]"""
    outputs = []
    for i, batch in enumerate(x.split(250)):
        noise = torch.randn(batch.shape, generator=torch.Generator().manual_seed(1000 * level + i))
        t = torch.full((len(batch),), level)
        outputs.append(
            [F.adaptive_avg_pool2d(h, 2).flatten(1) for h in painter.net.features(jump(batch, t, noise), t)]
        )
    return [torch.cat(layer) for layer in zip(*outputs)]


def readable(pair, facts, sets=(train, test)) -> dict[str, float]:
    """Linear readability of facts about the scene (0 = chance, 1 = perfectly) from features of two sets of pictures."""
    tables = [{f: s.factors[f] for f in facts} for s in sets]
    return evaluation.factor_probe(pair[0], tables[0], pair[1], tables[1])


FACTS = ("kind", "background_hue")
layers = diffusion.UNet.LAYERS
halves = train[:500], train[500:]  # the best cell is chosen here, inside the train split
maps = {f: torch.zeros(len(layers), len(LEVELS)) for f in FACTS}
for column, level in enumerate(LEVELS):
    for row, h in enumerate(layer_features(x_train, level)):
        for f, value in readable(h.split(500), FACTS, halves).items():
            maps[f][row, column] = value
fig, axes = plots.new_figure(9.4, 3.0, 1, 2)
for ax, f in zip(axes, FACTS):
    image = ax.imshow(maps[f].numpy(), aspect="auto", vmin=0)
    fig.colorbar(image, ax=ax, label="score (0 = chance)")
    ax.set_xticks(range(len(LEVELS)), [str(level + 1) for level in LEVELS])
    ax.set_yticks(range(len(layers)), layers)
    row, column = divmod(int(maps[f].argmax()), len(LEVELS))
    ax.set(
        title=f"{f.replace('_', ' ')}: best in {layers[row]}, step {LEVELS[column] + 1}",
        xlabel="noise level (step of 100)",
    )
plots.show(
    fig,
    alt="Two heat maps over layers and noise levels: how well the kind of object and the hue of the ground can be read from the "
    "diffusion model. The title of each names its best cell.",
)
best_row, best_column = divmod(int(maps["kind"].argmax()), len(LEVELS))
best_level = LEVELS[best_column]
cell = [layer_features(x, best_level)[best_row] for x in (x_train, x_test)]
results[f"diffusion, {layers[best_row]}, step {best_level + 1}"] = probe(*cell)
assert maps["background_hue"].max() > maps["kind"].max() > 0

# %% [markdown]
# The two maps differ, because the two facts do: the hue of the ground is the same everywhere and survives averaging over
# noise; the kind is a matter of edges. (Both maps are read on one half of the train pictures after a fit to the other, and
# the best cell is chosen there. The final table probes that cell on the test pictures, once.)
#
# ## Play: noise level and layer
#
# Drag the noise level and pick a layer. The strip shows what the network sees and guesses at that level, the map how much
# of the kind the layer tells. Find the level at which the guess loses the object but keeps the colours. Is that where the
# map says the kind can no longer be read?

# %%
scene = {
    "images": x_test[:6], "model": painter, "s": schedule, "times": LEVELS, "layers": layers,
    "scores": maps["kind"], "display": views.denormalize,
}  # fmt: skip
widgets.explore(
    partial(diffusion_widget.render, **scene),
    diffusion_widget.controls(LEVELS, layers, best_column),
    static=[{"place": i} for i in (0, 2, 4)] + [{"layer": layers[-1]}],
    alt=partial(diffusion_widget.describe, **scene),
    columns=2,
)

# %% [markdown]
# ## Step 5: a generator as a looking glass
#
# Now turn the tables. Take somebody else's encoder (SimCLR, chapter 00), freeze it, and train a generator *conditioned on
# its features*. Whatever the generator gets right must have been in the features; whatever it has to make up was not.
# **RCDM** ([Bordes et al., 2022](https://arxiv.org/abs/2112.09164)) does this with a diffusion model. First the plain version,
# a decoder with squared error, which draws the *mean* of all pictures with those features (an old idea: [Mahendran and
# Vedaldi, 2015](https://arxiv.org/abs/1412.0035), inverted features by search). We decode from the two places of SimCLR: $h$
# before and $z$ after the projector.

# %%
recipe = recipes.get_recipe("quick")
simclr = recipe.build(seed=0)
pretrain(simclr, unlabeled.images, simclr.views(recipe.policy), steps=50, batch_size=128, lr=3e-3, seed=0)
simclr.requires_grad_(False)


def places_of(x: torch.Tensor) -> dict[str, torch.Tensor]:
    h = torch.cat([simclr.encoder(b) for b in x.split(512)])
    with torch.no_grad():
        return {"untrained h": torch.cat([fresh(b) for b in x.split(512)]), "h": h, "z": simclr.projector(h)}


codes = {name: places_of(x) for name, x in (("unlabeled", x_unlabeled), ("train", x_train), ("test", x_test))}
scale = {key: (v.mean(dim=0), v.std(dim=0) + 1e-3) for key, v in codes["unlabeled"].items()}
codes = {name: {k: (v - scale[k][0]) / scale[k][1] for k, v in row.items()} for name, row in codes.items()}
results["SimCLR, h (50 steps)"] = probe(codes["train"]["h"], codes["test"]["h"])


def train_decoder(key: str, steps: int = 70) -> ConvDecoder:
    torch.manual_seed(0)
    decoder = ConvDecoder(codes["unlabeled"][key].shape[1])
    optimizer = torch.optim.Adam(decoder.parameters(), lr=3e-3)
    for _ in range(steps):
        i = torch.randint(len(x_unlabeled), (64,))
        loss = F.mse_loss(decoder(codes["unlabeled"][key][i]), x_unlabeled[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return decoder.eval().requires_grad_(False)


decoders = {key: train_decoder(key) for key in ("untrained h", "h", "z")}
decoded = {key: decoder(codes["test"][key]) for key, decoder in decoders.items()}
fig = plots.image_grid(
    views.denormalize(torch.cat([x_test[:8], *(d[:8] for d in decoded.values())])).clamp(0, 1),
    columns=8,
    title="Rows: pictures; decoded from " + "; from ".join(decoded),
)
plots.show(
    fig,
    alt="Four rows of eight pictures: originals, and pictures decoded from an untrained encoder, from SimCLR's features h and from "
    "its projection z.",
)

# %% [markdown]
# Two kinds of evidence, side by side: what the *decoder* manages to draw, as a share of variance (the colour of the
# corners, mostly ground; and what is light and what is dark, at 8×8), and what a *linear probe* reads from the code.


# %%
def corner_colour(x: torch.Tensor) -> torch.Tensor:
    """Mean colour of the four corners [N, 3]: mostly ground"""
    n = x.shape[-1] // 6
    rows = torch.cat([x[..., :n, :], x[..., -n:, :]], dim=-2)
    return torch.cat([rows[..., :n], rows[..., -n:]], dim=-1).mean(dim=(2, 3))


def layout(x: torch.Tensor) -> torch.Tensor:
    """Grey picture at 8x8 without its mean [N, 64]: what is light, what is dark, and where"""
    grey = F.adaptive_avg_pool2d(x.mean(dim=1, keepdim=True), 8).flatten(1)
    return grey - grey.mean(dim=1, keepdim=True)


def explained(truth: torch.Tensor, drawn: torch.Tensor) -> float:
    return 1 - ((drawn - truth).square().sum() / (truth - truth.mean(dim=0)).square().sum()).item()


shown = ("kind", "x", "polarity", "object_hue", "background_hue")
kept = {key: readable((codes["train"][key], codes["test"][key]), shown) for key in decoders}
plots.table(
    [
        {
            "from": key,
            "colour": explained(corner_colour(x_test), corner_colour(d)),
            "layout": explained(layout(x_test), layout(d)),
            **kept[key],
        }
        for key, d in decoded.items()
    ],
    "What the decoder draws right (share of variance), and what a linear probe reads (0 = chance, 1 = perfectly)",
    {"from": "code", "colour": "drawn: ground colour", "layout": "drawn: light and dark"}
    | {f: f"read: {f.replace('_', ' ')}" for f in shown},
    ".2f",
)
assert kept["h"]["kind"] > kept["untrained h"]["kind"]
assert kept["z"]["background_hue"] < kept["untrained h"]["background_hue"]

# %% [markdown]
# SimCLR's views recolour every picture, so colour does not help to find the partner: follow the two hues down the rows, then
# the kind. And compare $h$ with $z$: the projector may drop what the views destroy, which is why we probe before it
# (chapter 00).
#
# A mean picture hides one thing: grey may mean "I know that it is grey" or "I do not know". So let a *diffusion model* draw,
# several times from the same $h$. What stays the same is in $h$; what changes was made up.

# %%
RCDM_STEPS, DRAWS, ASKED = 60, 5, 30
small = F.avg_pool2d(x_unlabeled, 2)  # 16x16: four times as cheap


for name, x in (("unlabeled", x_unlabeled), ("test", x_test)):
    codes[name]["nothing"] = torch.zeros(len(x), 8)  # the control
drawings = {}
for key in ("nothing", "untrained h", "h"):
    torch.manual_seed(0)
    rcdm = Painter(condition=codes["test"][key].shape[1], size=16)
    train_painter(rcdm, small, RCDM_STEPS, codes["unlabeled"][key])
    told = codes["test"][key][:ASKED].repeat_interleave(DRAWS, dim=0)
    x = diffusion.sample(
        rcdm,
        (len(told), 3, 16, 16),
        schedule,
        torch.Generator().manual_seed(0),
        condition=told,
        steps=15,
        clip=2.0,
    )
    drawings[key] = x.unflatten(0, (ASKED, DRAWS))
truth = F.avg_pool2d(x_test[:ASKED], 2)
rows = [
    torch.cat([truth[i : i + 1], drawings["h"][i], truth[i : i + 1], drawings["untrained h"][i]])
    for i in range(4)
]
fig = plots.image_grid(
    views.denormalize(torch.cat(rows)).clamp(0, 1),
    columns=2 * DRAWS + 2,
    titles=(["picture"] + ["from h"] * DRAWS + ["picture"] + ["untrained"] * DRAWS) * 4,
    title="Each row: one picture, and what a diffusion model draws from its features alone",
)
plots.show(
    fig,
    alt="Four rows; in each a picture, five drawings from SimCLR's features of it, the picture again, and five drawings from an "
    "untrained encoder's features.",
)


def made_up(x: torch.Tensor, quantity) -> float:
    """Variance among drawings from one code, as a share of the variance among all drawings: 0 = fixed by the code."""
    q = quantity(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return (q.var(dim=1).mean() / q.flatten(0, 1).var(dim=0).mean()).item()


free = {
    key: {"colour": made_up(x, corner_colour), "layout": made_up(x, layout)} for key, x in drawings.items()
}
plots.table(
    [{"told": key, **row} for key, row in free.items()],
    f"How much is made up: variance among {DRAWS} drawings from one code / among all (1 = the code does not matter)",
    {"told": "the painter was told", "colour": "ground colour", "layout": "light and dark"},
    ".2f",
)
assert min(free["nothing"].values()) > 0.7 and free["untrained h"]["colour"] < free["nothing"]["colour"]

# %% [markdown]
# The control, told nothing, makes everything up. Against it you can read the other two rows, one quantity at a time. A number
# near zero has to be read with care: a painter trained for so few steps believes its code and hardly looks at the noise, so it
# draws the *mean* picture of its code, as the decoder did, and varies less than it should. A real RCDM, trained for very much
# longer, varies exactly in what the code leaves open. This
# is the answer to the chapter's question in its sharpest form: a generator does not have to understand, but it can be made
# to *show* what somebody else understood.

# %%
plots.table(
    [{"features": "a guess", "probe": chance}] + [{"features": name, **row} for name, row in results.items()],
    "The chapter's results on the embedded world: a linear probe with 100 labels",
    {"features": "features", "probe": "probe", "spread": "spread over draws"},
    ".1%",
)
book.results_table(("simclr",), "For comparison: a minute of SimCLR")

# %% [markdown]
# ## Exercises
#
# Replace `return NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on your answers.
#
# ### 1 · The best critic (•, 4 minutes)
#
# There are $K$ pictures in the world; data show picture $i$ with probability $p_i$, a generator with $q_i$.
#
# <details><summary>Hint 1</summary>Maximise p log D + q log(1 - D), for one picture.</details>

# %%


def my_best_critic(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """p, q [K] -> D [K]"""
    return NOT_ATTEMPTED


ch07.check_best_critic(my_best_critic)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_best_critic(p, q):
#     return p / (p + q)
# ```
# </details>
#
# ### 2 · Straight through (••, 6 minutes)
#
# Forwards the code, backwards the identity for `z`, and nothing for the code. The checker looks at the gradients.
#
# <details><summary>Hint 1</summary>`z + something` has gradient 1 with respect to z, if the something carries none.</details>
# <details><summary>Hint 2</summary>What must the something be, for the sum to equal the code?</details>

# %%


def my_straight_through(z: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """z, code [N, D] -> [N, D]"""
    return NOT_ATTEMPTED


ch07.check_straight_through(my_straight_through)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_straight_through(z, code):
#     return z + (code - z).detach()
# ```
# </details>
#
# ### 3 · Noise at once (•, 4 minutes)
#
# <details><summary>Hint 1</summary>The variance of the sum must be alpha_bar Var(x0) + (1 - alpha_bar).</details>

# %%


def my_add_noise(x0: torch.Tensor, noise: torch.Tensor, alpha_bar: float) -> torch.Tensor:
    """x0, noise [N, D] -> x_t [N, D]"""
    return NOT_ATTEMPTED


ch07.check_add_noise(my_add_noise)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_add_noise(x0, noise, alpha_bar):
#     return alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * noise
# ```
# </details>
#
# ### 4 · What is behind the noise? (•, 4 minutes)
#
# <details><summary>Hint 1</summary>Solve the line of exercise 3 for x0.</details>

# %%


def my_predict_x0(xt: torch.Tensor, epsilon: torch.Tensor, alpha_bar: float) -> torch.Tensor:
    """xt, epsilon [N, D] -> x0 [N, D]"""
    return NOT_ATTEMPTED


ch07.check_predict_x0(my_predict_x0)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_predict_x0(xt, epsilon, alpha_bar):
#     return (xt - (1 - alpha_bar) ** 0.5 * epsilon) / alpha_bar**0.5
# ```
# </details>
#
# ### 5 · One step back (•••, 12 minutes)
#
# The mean of $q(x_{t-1}\mid x_t, x_0)$ from $\alpha_t$, $\bar\alpha_t$ and $\bar\alpha_{t-1}$.
#
# <details><summary>Hint 1</summary>Two opinions about x_{t-1}: mean sqrt(alpha_bar_before) x0 with variance 1 - alpha_bar_before; mean xt / sqrt(alpha) with variance (1 - alpha) / alpha.</details>
# <details><summary>Hint 2</summary>Weight each mean by its precision (one over the variance), divide by the sum of the precisions.</details>
# <details><summary>Hint 3</summary>Multiply top and bottom by (1 - alpha)(1 - alpha_bar_before): then it survives alpha_bar_before = 1.</details>

# %%


def my_posterior_mean(x0, xt, alpha: float, alpha_bar: float, alpha_bar_before: float) -> torch.Tensor:
    """x0, xt [N, D] -> [N, D]"""
    return NOT_ATTEMPTED


ch07.check_posterior_mean(my_posterior_mean)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_posterior_mean(x0, xt, alpha, alpha_bar, alpha_bar_before):
#     from_x0 = alpha_bar_before**0.5 * (1 - alpha) * x0
#     from_xt = alpha**0.5 * (1 - alpha_bar_before) * xt
#     return (from_x0 + from_xt) / (1 - alpha_bar)
# ```
# </details>

# %% [markdown]
# ## Claims put to the test
#
# The verdict is computed from the numbers, by a rule you can read in the cell.

# %%
turns_away = radius["plain"][-1] > radius["plain"][0]
no_gradient = pull[True] < 1e-6
book.claim(
    "C-102",
    "GANs are hard to train: the game does not converge, and a critic that is too strong leaves nothing to learn from.",
    "reproduced"
    if turns_away and no_gradient
    else "mixed"
    if turns_away or no_gradient
    else "not reproduced here",
    {
        "distance from equilibrium at the start": radius["plain"][0].item(),
        "after 400 steps": radius["plain"][-1].item(),
        "with R1 penalty": radius["with R1 penalty"][-1].item(),
        "gradient from a sure critic, log(1 - D)": pull[True],
        "gradient from a sure critic, -log D": pull[False],
    },
    "jaiswal2021survey",
)


def block_features(x: torch.Tensor) -> list[torch.Tensor]:
    """The output of each of SimCLR's four convolutional blocks, averaged over quarters."""
    outputs = []
    for i, layer in enumerate(simclr.encoder.layers):
        x = layer(x)
        if i % 3 == 2:  # convolution, norm, ReLU
            outputs.append(F.adaptive_avg_pool2d(x, 2).flatten(1))
    return outputs


by_block = [
    readable(h.split(500), ("kind",), halves)["kind"] for h in block_features(x_train)
]
by_layer = maps["kind"][:, best_column].tolist()
rises = [scores[-1] == max(scores) for scores in (by_block, by_layer)]
book.claim(
    "C-110",
    "Features of later layers probe better than those of earlier layers.",
    "reproduced" if all(rises) else "mixed" if any(rises) else "not reproduced here",
    {f"SimCLR, block {i + 1}: kind": v for i, v in enumerate(by_block)}
    | {f"diffusion, {name}: kind": v for name, v in zip(layers, by_layer)},
    "jaiswal2021survey",
)

# %% [markdown]
# The second rule asks whether the *last* layer is the best one. Remember what the last layers are for: an encoder's end
# states what the loss compares; a U-Net's end has to hand back pixels.

# %% [markdown]
# ## Where it comes from, where it went
#
# GANs ([2014](https://arxiv.org/abs/1406.2661)) made generation a learned game, and a family followed: with an encoder
# ([BiGAN](https://arxiv.org/abs/1605.09782), [ALI](https://arxiv.org/abs/1606.00704), at scale
# [BigBiGAN](https://arxiv.org/abs/1907.02544)), between two domains ([CycleGAN](https://arxiv.org/abs/1703.10593),
# [DiscoGAN](https://arxiv.org/abs/1703.05192)), from text ([Reed et al., 2016](https://arxiv.org/abs/1605.05396)), with style
# ([StyleGAN](https://arxiv.org/abs/1812.04948)), and for semi-supervised learning through the critic
# ([CatGAN](https://arxiv.org/abs/1511.06390), [improved GAN training](https://arxiv.org/abs/1606.03498), and the puzzling
# "[bad GAN](https://arxiv.org/abs/1705.09783)", whose generator is better for the classifier when it is worse at drawing).
# (A survey lists PixelRNN among the children of the GAN. It is autoregressive: chapter 03.) Discrete codes
# ([VQ-VAE](https://arxiv.org/abs/1711.00937)) joined generation and language models
# ([VQGAN](https://arxiv.org/abs/2012.09841), [DALL-E](https://arxiv.org/abs/2102.12092)) and gave masked image modelling its
# targets (chapter 18). Diffusion, proposed in [2015](https://arxiv.org/abs/1503.03585) from thermodynamics and in
# [2019](https://arxiv.org/abs/1907.05600) from score matching, was unified with it by [Song et al.
# (2021)](https://arxiv.org/abs/2011.13456) and overtook the GANs in [2021](https://arxiv.org/abs/2105.05233).
#
# As *representation learners* on natural images, generators were overtaken by the methods of chapters 13 to 18. But the
# inside of a diffusion model turned out to know a good deal ([Baranchuk et al., 2022](https://arxiv.org/abs/2112.03126)), and
# as a looking glass a generator shows what no accuracy can ([RCDM](https://arxiv.org/abs/2112.09164)).
#
# ### Quiz
#
# **1.** A GAN's critic says 0.5 for every picture. Is the generator perfect?
#
# <details><summary>Answer</summary>If the critic is the best possible one, yes: p/(p+q) = 1/2 everywhere means q = p. If it is merely a bad critic, you have learned nothing.</details>
#
# **2.** Why does VQ-VAE need the commitment term, if the codes already move towards the encoder?
#
# <details><summary>Answer</summary>Nothing would keep the encoder from running away from them: through the straight-through gradient it only hears what the decoder wants, as if it were not quantised. The codes would follow too slowly, and the pretence z_q ≈ z_e would break.</details>
#
# **3.** A colleague shows pictures drawn from SimCLR's features by RCDM. All have the right object and wild colours. She concludes
# that her diffusion model is bad at colours. What do you check?
#
# <details><summary>Answer</summary>Condition it on something that contains colour (pixels, or an untrained encoder). If the colours come out right there, the diffusion model is fine, and it is SimCLR that dropped the colours.</details>
