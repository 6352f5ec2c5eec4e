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
# - say what the pictures of a generator prove about its understanding, and what does prove something;
# - build an autoencoder with words in the middle (VQ-VAE), pass a gradient through a choice, and revive a dead codebook;
# - derive a small diffusion model and connect it with the slope of the log density;
# - map what a denoiser knows, layer by layer and noise level by noise level, and tell learning from architecture.
#
# **You need** [chapter 01](01_energy_and_reconstruction.ipynb) (denoising, autoencoders), [chapter
# 03](03_one_step_ahead.ipynb) (predict the next symbol), Gaussians and Bayes' rule.
# **Time**: 27 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.
# The companion [07b](07b_against_an_adversary.ipynb) has the adversaries: GAN, BiGAN, VQGAN.

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

device = book.setup("07")

# %% [markdown]
# ## The puzzle: two painters
#
# "What I cannot create, I do not understand" stood on Richard Feynman's last blackboard. Does the converse hold:
# whoever can create, understands? Here are pictures of the world of this book, and by two painters who have studied the
# same 8,192 pictures.

# %%
import math
import operator
import statistics
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import data, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch07
from ssl_lessons.book.widgets import diffusion as diffusion_widget
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.models.generative import diffusion, painting, vq

unlabeled, test = data.shapes("unlabeled", n=8192), data.shapes("test", n=1000)
x_unlabeled, x_test = (views.normalize(s.images) for s in (unlabeled, test))

draw = torch.Generator().manual_seed(0)
first = x_unlabeled[torch.randint(len(x_unlabeled), (64,), generator=draw)]
components = painting.Components(x_unlabeled, 100)  # principal components, a Gaussian
second = components.draw(64)

# %% tags=["hide-input"]
fig = plots.image_grid(
    views.denormalize(torch.cat([x_test[:8], first[:8], second[:8]])).clamp(0, 1),
    columns=8,
    title="Top: the world. Middle: the first painter. Bottom: the second painter",
)
plots.show(
    fig,
    alt="Three rows of eight pictures: pictures of the world, pictures by the first "
    "painter that look just like them, and coloured clouds by the second painter.",
)

# %% [markdown]
# > **Predict before you go on.** (1) Which painter knows more about cups and cats?  You
# > may ask each of them one question about a *new* picture. Which question? (2) At the end, three machines that draw
# > are asked what is on new pictures, and so is the second painter, by a hundred numbers per picture. How many of the
# > three beat it?

# %%
nearest = {
    "new pictures of the world": painting.to_nearest(x_test[:64], x_unlabeled),
    "the first painter's": painting.to_nearest(first, x_unlabeled),
    "the second painter's": painting.to_nearest(second, x_unlabeled),
}
near = {name: distance.mean().item() for name, distance in nearest.items()}
for name, distance in near.items():
    print(f"distance to the nearest studied picture, {name}: {distance:.1f}")
new, copied, cloudy = near.values()
assert copied < 0.1 < new < cloudy

# %% [markdown]
# The first painter copies: shown a new picture, all it can do is to point at the most similar copy. The second fits a
# Gaussian to 100 principal components. It draws clouds, but it *describes* any new picture, by its 100 numbers. So **a
# drawing proves nothing. Ask for a way back**, from a picture to what the machine holds about it, and probe that.
#
# ## Step 1: pictures in words
#
# The **VQ-VAE** ([van den Oord et al., 2017](https://arxiv.org/abs/1711.00937)) is an autoencoder with a dictionary in
# the middle: $K$ codes $e_1, \dots, e_K \in \mathbb{R}^D$. The encoder turns a picture into a small grid of vectors
# $z \in \mathbb{R}^D$. At each place the nearest code replaces the vector, and the decoder sees only the codes:
#
# $$k = \arg\min_j \lVert z - e_j\rVert, \qquad z \mapsto e_k .$$
#
# Ours: $8\times 8$ places, $K = 64$, $D = 16$, so 384 bits per picture. A choice has no gradient. *Straight through*:
# forwards $e_k$ goes on; backwards its gradient is handed to $z$. With sg for stop-gradient: $z + \mathrm{sg}[e_k -
# z]$. *Two terms* keep $z$ and $e_k$ close:
#
# $$L = \lVert x - \text{decoded}\rVert^2 + \underbrace{\lVert\mathrm{sg}[z] - e_k\rVert^2}_{\text{codes move to the vectors}} + \beta\,\underbrace{\lVert z - \mathrm{sg}[e_k]\rVert^2}_{\text{vectors commit}} .$$
#
# The stop-gradients do not change the value, they decide who moves. The first of the two terms is $k$-means: it pulls
# each code to the mean of the vectors that chose it. We take $\beta = 0.25$.


# %%
def quantize(z, codebook, beta=0.25):
    """z [N, D], codebook [K, D] -> what the decoder sees [N, D], loss, choice [N]."""
    k = torch.cdist(z, codebook).argmin(dim=1)
    e = codebook[k]
    to_vectors = (z.detach() - e).square().mean()
    commit = (z - e.detach()).square().mean()
    return z + (e - z).detach(), to_vectors + beta * commit, k


# %%
# NBVAL_CHECK_OUTPUT
package = vq.VectorQuantizer(6, 4).double()
z = torch.randn(10, 4, generator=draw, dtype=torch.float64).requires_grad_()
seen, extra, k = quantize(z, package.codebook)
theirs = package(z.T[None, :, :, None])
assert torch.allclose(seen, theirs[0][0, :, :, 0].T)
assert torch.allclose(extra, theirs[1])
(through,) = torch.autograd.grad((3 * seen).sum(), z, retain_graph=True)
assert torch.equal(through, torch.full_like(z, 3))
(pull,) = torch.autograd.grad(extra, package.codebook)
members = z.detach()[k == k[0]]
to_mean = 2 * len(members) / z.numel() * (members.mean(dim=0) - package.codebook[k[0]])
assert torch.allclose(-pull[k[0]], to_mean)
print("the decoder's gradient reaches the encoder; codes move to the mean of members")

# %% [markdown]
# The runs come from a record: three seeds, 300 batches of 64. (The prior below takes 300 of 32 on top, the denoiser 600
# of 64.) Learning rates come from small grids, on held-out pictures of another world; each best one lies at an end of
# its grid. (A third rate, twice as high, was a little better for the denoiser; one of three long runs with it, not
# recorded, failed.)

# %%
record, origin = book.recorded("generate", world=2)


def of(arm: str, key: str = "probe") -> list:
    """One value per seed."""
    return book.per_seed(record, key, arm=arm)


def mean(arm: str, key: str = "probe") -> float:
    return statistics.fmean(of(arm, key))


def shown(arm: str, key: str = "pictures", seed: int = 0) -> torch.Tensor:
    """Pictures in the record: [8, 3, 32, 32]."""
    return painting.from_strip(of(arm, key)[seed])


# %% tags=["hide-input"]
real = views.denormalize(x_test[:8])
dying = [shown("vq, codebook x 8, no restarts", seed=seed) for seed in (0, 1)]
numbers = views.denormalize(components.rebuild(x_test[:8])).clamp(0, 1)
plots.show(
    plots.image_grid(
        torch.cat([real, numbers, shown("vq"), *dying]),
        columns=8,
        title="New; 100 numbers; VQ-VAE; a dictionary of two words; of one word",
    ),
    alt="Five rows of eight pictures: new pictures of the world, the same ones rebuilt "
    "from 100 principal components, from a VQ-VAE's codes in shades of grey, from a "
    "dictionary of two words, still with silhouettes, and from one of one word: eight "
    "times one grey picture.",
)


# %%
def colourful(x: torch.Tensor) -> float:
    """Mean deviation of the three channels of a pixel."""
    return x.std(dim=1).mean().item()


def knows(arm: str, name: str = "kind") -> float:
    """A fact read linearly, 2,000 labels: 0 is chance, 1 is perfect."""
    return statistics.fmean(facts[name] for facts in of(arm, "facts"))


assert max(colourful(shown(a)) for a in ("vq", "prior")) < 0.4 * colourful(real)
for arm, when in (("vq, untrained", "before"), ("vq", "after")):
    print(f"ground's hue, codes {when} training: {knows(arm, 'background_hue'):.2f}")
assert knows("vq", "background_hue") < knows("vq, untrained", "background_hue") - 0.1

# %% [markdown]
# Training first of all *forgot*: the words are shades of grey, and codes before training tell the ground's colour
# better.
#
# ### What goes wrong: a dictionary of a word or two
#
# A code that no vector chooses gets no gradient. It stays where it is, and most likely nobody will ever choose it: it
# is **dead**. The remedy of [Dhariwal et al. (2020)](https://arxiv.org/abs/2005.00341) is a *restart*: now and then,
# put unused codes where some vector is. No restarts, or codes that start far from all vectors, may be to blame. Both
# are varied, for the same number of steps (restarts: every tenth step of the first half, from the first on).
# *Perplexity* is the exponential of the entropy of code use: 64 if all are used alike, 1 if one word says everything.
# *Fine power* is the power of the rebuilt pictures at 8 to 16 cycles (light-dark periods) per picture, over that of the
# real ones: below 100 % is blur, and part of what is there may be the decoder's checkerboard.

# %% tags=["hide-input"]
VQ_ROWS = {
    "mean image": "the mean image",
    "components": "second painter, 100 real numbers",
    "vq, untrained": "VQ-VAE before training, codes put on vectors",
    "vq": "VQ-VAE",
    "vq, no restarts": "no restarts",
    "vq, codebook x 8": "codes start 8 times too long",
    "vq, codebook x 8, no restarts": "both",
}
plots.table(
    [
        {"name": name, "perplexity": mean(arm, "perplexity") if "vq" in arm else None}
        | {"error": mean(arm, "error")}
        | {"spread": f"{min(of(arm, 'error')):.1%} to {max(of(arm, 'error')):.1%}"}
        | {"fine": statistics.fmean(v[-1] for v in of(arm, "power"))}
        | {"wrong": statistics.fmean(v[-1] for v in of(arm, "power_of_error"))}
        for arm, name in VQ_ROWS.items()
    ],
    "Pictures through a VQ-VAE and back (300 steps, mean of the seeds)",
    {"name": "who", "perplexity": "perplexity (of 64)", "error": "unexplained variance",
     "spread": "over seeds", "fine": "fine power",
     "wrong": "error at 8-16 cycles, over real power"},
    {"perplexity": ".1f", "error": ".1%", "fine": ".0%", "wrong": ".0%"},
)  # fmt: skip
print(origin)

# %%
for length in (
    1,
    8,
):  # before any training: how many words, before and after one restart
    torch.manual_seed(0)
    newborn = painting.VQVAE(64)
    with torch.no_grad():
        newborn.vq.codebook.mul_(length)
        none = vq.perplexity(newborn.codes(x_test), 64)
        moved = newborn.vq.restart_unused(newborn.encoder(first))
        some = vq.perplexity(newborn.codes(x_test), 64)
    print(f"codes x {length}: perplexity {none:.1f}; {moved} of 64 moved: {some:.0f}")
    assert none < 5 and moved > 50 and some > 30

# %% tags=["hide-input"]
whole, start, both = ("vq", "vq, codebook x 8", "vq, codebook x 8, no restarts")
alone = "vq, no restarts"
assert max(of("components", "error")) < min(of("vq", "error")) - 0.1
assert max(of(alone, "perplexity")) < 0.5 * min(of(whole, "perplexity"))
assert mean(alone, "error") < mean(whole, "error") + 0.05
assert abs(mean(start, "error") - mean(whole, "error")) < 0.02
assert min(of(start, "perplexity")) > 2 * max(of(alone, "perplexity"))
assert max(of(both, "perplexity")) < 3
words = [round(found) for found in of(both, "perplexity")]
assert words == [2, 1, 1]  # the figure's last rows
assert min(of(both, "error")[1:]) > 0.99
assert mean(both, "perplexity") < 0.5 * mean(alone, "perplexity")
assert min(of(both, "error")) > max(of(whole, "error")) + 0.02
untrained_codes = (
    "vq, untrained"  # many words, and a decoder that makes nothing of them
)
assert min(of(untrained_codes, "perplexity")) > 20
assert min(of(untrained_codes, "error")) > 0.9
fine = [errors[-1] for arm in VQ_ROWS for errors in of(arm, "power_of_error")]
assert min(fine) > 0.9

# %% [markdown]
# The second painter rebuilds best by far, with 100 real numbers against 384 bits. Among the VQ-VAEs no single cause
# kills. Without restarts most words are lost, for about four points of error, less than the spread of the seeds. With a
# bad start and restarts hardly anything is lost: the first restart moves nearly all codes (printed). With *both* causes
# one of three seeds keeps two words, the others end with one word and the mean picture (the figure's last two rows). So
# print both: perplexity counts the words in use, the error says whether the decoder makes something of them (untrained,
# it does not). The last column is about 100 % for all: of the finest details next to nothing is right.
#
# ### A prior, so that it can draw
#
# A VQ-VAE alone cannot draw: random codes give confetti. But its pictures are sentences of 64 words, and [chapter
# 03](03_one_step_ahead.ipynb) predicts the next word from those before: $p(k_1, \dots, k_{64}) = \prod_i p(k_i \mid
# k_1, \dots, k_{i-1})$. A small causal transformer learns it in reading order, on the codes of the 8,192 pictures.

# %% tags=["hide-input"]
NATS = {
    "nothing": "nothing (all codes alike)",
    "frequency": "how often a code is used",
    "before": "the code before",
    "prior": "all codes before (the prior)",
}
plots.table(
    [
        {"from": name, "nats": statistics.fmean(n[key] for n in of("prior", "nats"))}
        for key, name in NATS.items()
    ],
    "How surprising is the next code of a new picture? (mean of the seeds)",
    {"from": "predicted from", "nats": "nats per code"},
    ".2f",
)

# %% tags=["hide-input"]
plots.show(
    plots.image_grid(
        torch.cat([shown("prior", "confetti"), shown("prior")]),
        columns=8,
        title="Top: random codes. Bottom: codes drawn by the prior after 300 steps",
    ),
    alt="Two rows of eight pictures: confetti from random codes, and pictures drawn "
    "by the prior.",
)

# %%
for n in of("prior", "nats"):
    assert n["prior"] < n["before"] < n["frequency"] < n["nothing"]

# %% [markdown]
# The prior beats the counts: the place in the picture, and codes further back, tell it something.
#
# ## Step 2: the noise comes in small steps
#
# A denoiser knows which way is uphill: for noise of deviation $\sigma$, the best guess $r(\tilde x)$ of the clean
# picture gives $\nabla\log p_\sigma(\tilde x) = (r(\tilde x) - \tilde x)/\sigma^2$ ([chapter
# 01](01_energy_and_reconstruction.ipynb)). Knowing the slope, you can *walk* to the data, a little uphill and a little
# at random (Langevin dynamics): $x \leftarrow x + \tfrac\eta2\nabla\log p(x) + \sqrt\eta\,\epsilon$. But between two
# clusters there is a valley that no short walk crosses. [Song and Ermon (2019)](https://arxiv.org/abs/1907.05600) learn
# the slopes at *many* noise levels: start at the largest, where all clusters melt into one hill, and let the noise cool
# down while you walk. On two clusters, one of which holds 80 % of the data, the slopes are known exactly. Both walks
# take 500 steps.

# %%
SHARE, CENTRES = torch.tensor([0.8, 0.2]), torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
WIDTH = 0.3  # deviation of a cluster


def slope(x, sigma: float):
    """Slope of log p for the clusters under noise sigma: x [N, 2] -> [N, 2]."""
    variance = WIDTH**2 + sigma**2
    logits = SHARE.log() - torch.cdist(x, CENTRES).square() / (2 * variance)
    return (logits.softmax(dim=1) @ CENTRES - x) / variance


# %%
def walk(levels, steps: int, n: int = 1500):
    draw = torch.Generator().manual_seed(0)
    x = 6 * torch.rand(n, 2, generator=draw) - 3
    for sigma in levels:
        eta = 0.1 * (WIDTH**2 + sigma**2)
        for _ in range(steps):
            noise = torch.randn(x.shape, generator=draw)
            x = x + eta / 2 * slope(x, sigma) + math.sqrt(eta) * noise
    return x


cooling = torch.logspace(math.log10(4), math.log10(0.05), 10).tolist()
walks = {"one small noise level": walk([0.05], 500), "ten, cooling": walk(cooling, 50)}
big = {name: (x[:, 0] < 0).float().mean().item() for name, x in walks.items()}
print({name: f"{share:.0%} in the cluster of 80 %" for name, share in big.items()})
assert abs(big["ten, cooling"] - 0.8) < 0.05
assert abs(big["one small noise level"] - 0.5) < 0.05

# %% [markdown]
# With one level the walkers stay where they happened to start, half and half. Cooling nearly finds the right shares.
#
# ### Denoising diffusion
#
# **DDPM** ([Ho et al., 2020](https://arxiv.org/abs/2006.11239), after [Sohl-Dickstein et al.,
# 2015](https://arxiv.org/abs/1503.03585)) shrinks the picture while the noise grows, so that the variance stays near 1:
# $q(x_t \mid x_{t-1}) = \mathcal N(\sqrt{1-\beta_t}\,x_{t-1},\, \beta_t I)$ for $t = 1, \dots, T$. Let
# $\alpha_t = 1 - \beta_t$ and $\bar\alpha_t = \alpha_1 \cdots \alpha_t$.
#
# *Jump.* If $x_{t-1} = \sqrt{\bar\alpha_{t-1}}\,x_0 + \sqrt{1-\bar\alpha_{t-1}}\,\epsilon$, one more step leaves the
# factor $\sqrt{\alpha_t\bar\alpha_{t-1}}$ on $x_0$ and the variance
# $\alpha_t(1-\bar\alpha_{t-1}) + \beta_t = 1 - \bar\alpha_t$. So, by induction,
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon, \qquad \epsilon\sim\mathcal N(0, I).$$
#
# *Back.* If you knew $x_0$, there would be two Gaussian opinions about $x_{t-1}$. One, from $x_0$: mean
# $\sqrt{\bar\alpha_{t-1}}\,x_0$, variance $1-\bar\alpha_{t-1}$. The other, from $x_t$: mean $x_t/\sqrt{\alpha_t}$,
# variance $\beta_t/\alpha_t$. Bayes' rule adds their precisions and weighs their means by them.
#
# *Learn.* You do not know $x_0$, so a network guesses it from $x_t$ and $t$. Ho et al. let it guess the noise, with the
# loss $\lVert\epsilon - \hat\epsilon\rVert^2$; either guess gives the other through the jump, and
#
# $$\lVert\epsilon - \hat\epsilon\rVert^2 = \frac{\bar\alpha_t}{1-\bar\alpha_t}\,\lVert x_0 - \hat x_0\rVert^2 .$$
#
# Only the weight of the noise levels differs. Guessing noise cares most about nearly clean pictures; guessing the
# picture learns coarse things first, all that our few steps can hope for. So ours guesses $x_0$.
#
# *Draw.* Begin with noise, guess $x_0$, and draw $x_{t-1}$ from the Gaussian of *Back* with the guess in place of
# $x_0$: fresh noise of its variance, $\beta_t(1-\bar\alpha_{t-1})/(1-\bar\alpha_t)$, but none at the last step.
#
# *And the slope.* The best guess is $\hat\epsilon = \mathbb{E}[\epsilon\mid x_t]$, so
# $\nabla\log q(x_t) = -\hat\epsilon/\sqrt{1-\bar\alpha_t}$. A diffusion model *is* one denoising autoencoder for all
# noise levels, which is told the level.

# %%
T = 100
schedule = diffusion.linear_schedule(T)
beta, alpha, alpha_bar = schedule


def jump(x0, t, noise):
    """x0, noise [N, C, S, S], t [N] counted from 0 -> x_t."""
    a = alpha_bar[t].view(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


# %%
# NBVAL_CHECK_OUTPUT
x = torch.full((100_000,), 1.5)
for i in range(31):
    noise = torch.randn(x.shape, generator=draw)
    x = alpha[i].sqrt() * x + beta[i].sqrt() * noise
assert abs(x.mean() - 1.5 * alpha_bar[30].sqrt()) < 0.01
assert abs(x.var() - (1 - alpha_bar[30])) < 0.02
x0, noise, guess = torch.randn(3, 5, 1, 4, 4, generator=draw)
t = torch.full((5,), 30)
xt = jump(x0, t, noise)
assert torch.allclose(xt, diffusion.add_noise(x0, t, noise, schedule))
implied = (xt - alpha_bar[30].sqrt() * guess) / (1 - alpha_bar[30]).sqrt()
weight = alpha_bar[30] / (1 - alpha_bar[30])
left, right = F.mse_loss(implied, noise), weight * F.mse_loss(guess, x0)
assert torch.allclose(left, right, rtol=1e-4)
spread = 0.7  # one Gaussian pixel: the best guess and the slope are known
variance = alpha_bar[30] * spread**2 + 1 - alpha_bar[30]
best = (1 - alpha_bar[30]).sqrt() * xt / variance  # E[noise | x_t]
assert torch.allclose(diffusion.score(best, t, schedule), -xt / variance, atol=1e-5)
print("31 small steps make one jump; noise or picture: a weight; and the slope fits")

# %% [markdown]
# A U-Net (down to an eighth of the side, and up again, with shortcuts) does the guessing. 150 batches live:


# %%
def denoising_loss(denoiser, x0):
    t = torch.randint(T, (len(x0),))
    return F.mse_loss(denoiser.net(jump(x0, t, torch.randn_like(x0)), t), x0)


torch.manual_seed(0)
denoiser = painting.Denoiser(schedule)
wrong_before = denoising_loss(denoiser, x_test[:500]).item()
painting.train_denoiser(denoiser, x_unlabeled, steps=150)
denoiser.requires_grad_(False)
wrong = denoising_loss(denoiser, x_test[:500]).item()
print(f"error of the guess, on new pictures: {wrong_before:.2f} -> {wrong:.2f}")
assert wrong < 0.7 * wrong_before

# %% [markdown]
# From the record (600 batches), seed 0 draws:

# %% tags=["hide-input"]
plots.show(
    plots.image_grid(
        shown("diffusion"),
        columns=8,
        title="Drawn by the diffusion model after 600 steps",
    ),
    alt="Eight pictures drawn by the diffusion model.",
)

# %% [markdown]
# Patchy grounds, a blob of another colour, no detail.

# %% tags=["hide-input"]
DRAWERS = {
    "copies": "the first painter (copies)",
    "components": "the second painter",
    "prior": "VQ-VAE and prior",
    "diffusion": "diffusion, 600 steps",
}


def power(arm: str, octave: int) -> float:
    return statistics.fmean(p[octave] for p in of(arm, "drawn_power"))


# %% tags=["hide-input"]
plots.table(
    [
        {"name": name}
        | {f"b{i}": power(arm, i) for i in range(4)}
        | {"near": mean(arm, "drawn_nearest")}
        for arm, name in DRAWERS.items()
    ],
    "64 drawings, mean of the seeds: power by cycles, over the real; distance to the "
    f"nearest studied picture (new pictures: {mean('copies', 'new_nearest'):.1f})",
    {"name": "who draws", "b0": "1-2 cycles", "b1": "2-4", "b2": "4-8", "b3": "8-16",
     "near": "nearest"},
    {f"b{i}": ".0%" for i in range(4)} | {"near": ".1f"},
)  # fmt: skip

# %%
makers = [arm for arm in DRAWERS if arm != "copies"]
assert max(power(arm, 3) for arm in makers) < 0.25 < power("copies", 3)
real_ones = mean("copies", "new_nearest")
assert min(mean(arm, "drawn_nearest") for arm in makers) > 0.9 * real_ones
assert power("prior", 2) < power("diffusion", 2) < power("components", 2) < 1

# %% [markdown]
# Everyone but the copier lacks fine detail. Nobody else copies, on average.
#
# ## The run: a map of what the denoiser knows
#
# Give the network a picture under noise of level $t$, stop at one of its five layers, average each quarter of the
# picture, and read two facts linearly: the *kind* of object (one of ten) and the *hue of the ground*. 0 is chance, 1 is
# perfect. [Baranchuk et al. (2022)](https://arxiv.org/abs/2112.03126) read large diffusion models by layer and noise
# step, too, for every pixel. Beside it stands the same map of the same network **before training**. The blocks of this
# U-Net start with a last convolution of zeros, which makes the untrained network a *linear* map of the pixels: too low
# a floor. The control has random ones instead.
#
# > **Predict.** (3) Which of the two facts does training teach? (4) Where is the kind read best: at an end of the
# > network or inside, with hardly any noise or with some?

# %%
LEVELS, LAYERS = (2, 10, 25, 50, 90), diffusion.UNet.LAYERS


def mapped(arm: str, fact: str) -> torch.Tensor:
    """Mean over the seeds, [layers, levels]; read on held-out train pictures."""
    return torch.tensor([seed_map[fact] for seed_map in of(arm, "map")]).mean(dim=0)


maps = {
    (fact, arm): mapped(arm, fact)
    for fact in ("kind", "background_hue")
    for arm in ("diffusion, untrained", "diffusion")
}
top = {key: grid.max().item() for key, grid in maps.items()}

# %% tags=["hide-input"]
fig, axes = plots.new_figure(9.4, 5.4, 2, 2)
for ax, ((fact, arm), scores) in zip(axes.flat, maps.items(), strict=True):
    image = ax.imshow(
        scores.numpy(),
        aspect="auto",
        vmin=0,
        vmax=max(top[fact, "diffusion"], top[fact, "diffusion, untrained"]),
    )
    fig.colorbar(image, ax=ax, label="score (0 = chance)")
    ax.set_xticks(range(5), [f"{alpha_bar[level]:.0%}" for level in LEVELS])
    ax.set_yticks(range(5), LAYERS)
    stage = "before training" if "untrained" in arm else "after training"
    ax.set(title=f"{fact.replace('_', ' ')}, {stage}: best {scores.max():.2f}")
    ax.set_xlabel(r"share of variance that is picture, $\bar\alpha_t$")
plots.show(
    fig,
    alt="Four heat maps over layers and noise levels. Kind of object before and after "
    "training, hue of the ground before and after training; each title has the best "
    "score of its map; one scale of colours per fact.",
)  # fmt: skip
print(origin)

# %%
seen, seen_before = (
    maps["background_hue", arm] for arm in ("diffusion", "diffusion, untrained")
)
by_seed = {
    arm: torch.tensor([seed_map["kind"] for seed_map in of(arm, "map")])
    for arm in ("diffusion, untrained", "diffusion")
}  # [seeds, layers, levels]
for arm, kinds in by_seed.items():
    rows, columns = zip(*(divmod(int(k.argmax()), len(LEVELS)) for k in kinds))
    best = [f"{LAYERS[r]} at {alpha_bar[LEVELS[c]]:.0%}" for r, c in zip(rows, columns)]
    print(f"kind, best cell of each seed, {arm}:", ", ".join(best))
    hidden = kinds[:, 2:, 2:4].mean(dim=(1, 2))  # from the middle up, 50 and 7 %
    print("  from the middle up, 50 % and 7 %:", [f"{v:.2f}" for v in hidden.tolist()])
print(f"hue, middle, 7 %: {seen_before[2, 3]:.2f} before, {seen[2, 3]:.2f} after")

# %% tags=["hide-input"]
fresh, trained = by_seed.values()
assert (trained[:, 2:, 2:4] - fresh[:, 2:, 2:4]).mean(dim=(1, 2)).min() > 0.05
assert fresh[:, :, 2:].max() < 0.06 and trained[:, :, 4].max() < 0.05
assert trained.mean(dim=0).max() < fresh.mean(dim=0).max() + 0.02
best = [kinds[:, :, 0].amax(dim=1) for kinds in (trained, fresh)]  # at 99 %
assert (best[0] > best[1]).sum() == 2  # two seeds of three gain a little
assert (seen - seen_before)[:, :3].abs().max() < 0.06
assert seen[2, 3] > seen_before[2, 3] + 0.1
assert set(rows) <= {1, 3}  # the seeds' best cells: next to an end, never at one
assert len(set(columns)) > 1  # and at levels that differ

# %% [markdown]
# (3) With hardly any noise (99 %), neither. The two maps of the hue are alike, and averaged over the seeds the best
# cell for the kind is as good before training (two seeds of three gain a little). In this column the trained maps are
# mostly **architecture**. Under noise, the kind: at 50 and 7 % the random network has lost it, the trained one has not,
# from the middle up, in each seed. Of the ground's hue the former loses only part (printed). To see *through the
# noise*, that is what the denoiser has **learned**. (4) The best cells of the three trained networks lie between an end
# and the middle, at noise levels that do not agree (printed). So do two of three untrained ones: little is shown, and
# nothing about the level. In diffusion models that generalise, a middle level is best ([Li et al.,
# 2025](https://arxiv.org/abs/2502.05743)).
#
# ## The answer
#
# For each machine, its way back, read in three ways: by a *probe* (a linear classifier, 100 labels), by neighbours
# (*kNN*: the nearest of 2,000 labelled pictures vote), and linearly with 2,000 labels. *Codes by quarters* counts each
# code in each quarter of the picture; *states* are the prior's activations, averaged. Layer and level were chosen on
# train pictures and tested once.

# %% tags=["hide-input"]
WAYS = {
    "pixels": ("raw pixels", ""),
    "edges": ("edges, no network", ""),
    "untrained": ("random encoder, norms settled", "features"),
    "components": ("the second painter", "100 numbers"),
    "vq": ("VQ-VAE, 300 steps", "codes by quarters"),
    "vq, no restarts": ("the same, no restarts", "codes by quarters"),
    "prior": ("prior on its codes, 300 more", "states, best layer"),
    "diffusion": ("diffusion, 600 steps", "best layer and level"),
    "simclr": ("SimCLR, 250 steps of 128", "features"),
}
BEFORE = {"vq": "vq, untrained", "vq, no restarts": "vq, untrained"}
BEFORE |= {"prior": "prior, untrained"}
BEFORE |= {"diffusion": "diffusion, untrained", "simclr": "simclr, untrained"}


def spread(values: list, form: str) -> str:
    low, high = min(values), max(values)
    return f"{statistics.fmean(values):{form}} ({low:{form}} to {high:{form}})"


# %% tags=["hide-input"]
rows = [{"name": "chance", "probe": "10.0%", "knn": "10.0%", "kind": "0.00"}]
for arm, (name, read) in WAYS.items():
    row = {"name": name, "read": read, "probe": spread(of(arm), ".1%")}
    row["knn"] = spread(of(arm, "knn"), ".1%")
    row["kind"] = spread([facts["kind"] for facts in of(arm, "facts")], ".2f")
    if old := BEFORE.get(arm):
        row |= {"p0": mean(old), "k0": mean(old, "knn"), "f0": knows(old)}
    rows.append(row)
plots.table(
    rows,
    "What is on a new picture? (in brackets: from seed to seed; 'before': the same "
    "network before training)",
    {"name": "who", "read": "what is read", "probe": "probe, 100 labels",
     "p0": "before",
     "knn": "kNN, 2,000 labels", "k0": "before ",
     "kind": "kind, linear, 2,000 labels (0 = chance)", "f0": "before  "},
    {"p0": ".1%", "k0": ".1%", "f0": ".2f"},
)  # fmt: skip
print(origin)

# %%
GENERATORS, SECOND = ("vq", "prior", "diffusion"), "components"
READERS = {
    "100 labels": mean,
    "2,000 labels, kNN": partial(mean, key="knn"),
    "2,000 labels, linear": knows,
}
for reader, score in READERS.items():
    ahead = [arm for arm in GENERATORS if score(arm) > score(SECOND)]
    print(f"ahead of the second painter, {reader}: {len(ahead)} of 3", *ahead)
gain = {arm: knows(arm) - knows(BEFORE[arm]) for arm in GENERATORS}
print(
    "kind, linear, gained by training:", {arm: f"{v:+.2f}" for arm, v in gain.items()}
)

# %% tags=["hide-input"]
most = {key: max(mean(arm, key) for arm in GENERATORS) for key in ("probe", "knn")}
assert min(mean(SECOND, "knn"), mean("pixels", "knn")) > most["knn"] + 0.1
assert most["probe"] < mean(SECOND) + 0.03
edges = {"probe": mean("edges"), "knn": mean("edges", "knn"), "kind": knows("edges")}
most["kind"] = max(knows(arm) for arm in GENERATORS)
assert all(edges[key] > most[key] for key in most)
assert abs(edges["probe"] - mean("simclr")) < 0.04
assert edges["knn"] > mean("simclr", "knn") + 0.1
assert knows(SECOND) < 0.05 < 0.08 < min(knows(arm) for arm in GENERATORS)
assert min(knows(a) for a in GENERATORS) > knows("simclr, untrained") - 0.03
assert mean("vq", "knn") < mean("vq, untrained", "knn") + 0.02
assert gain["vq"] < 0.05 < gain["diffusion"] < 0.1 < gain["prior"]
assert max(GENERATORS, key=knows) == "prior"
trained, fresh = (
    [f["kind"] for f in of(a, "facts")] for a in ("diffusion", BEFORE["diffusion"])
)
assert min(after - before for after, before in zip(trained, fresh)) > 0.03
lost = map(operator.sub, of("diffusion", "knn"), of("diffusion, untrained", "knn"))
assert max(lost) < 0
for key in ("probe", "knn"):  # few words say more than many
    few, many = of("vq, no restarts", key), of("vq", key)
    assert min(map(operator.sub, few, many)) > 0.01
assert (
    knows("simclr") > most["kind"] + 0.05 and mean("simclr", "knn") > most["knn"] + 0.1
)
assert mean("simclr") > most["probe"] + 0.1

# %% [markdown]
# Edges, without any network, beat all three that draw, whoever reads, and, by neighbours, SimCLR. Prediction (2)
# depends on the reader. With 100 labels or by neighbours none of the three beats the hundred numbers, for a *linear*
# reader with 2,000 labels all three: it finds next to nothing in the numbers, most in the prior. So does (1): by
# neighbours the second painter beats the first (the row of raw pixels); to the other readers neither says much.
#
# The codes of the VQ-VAE *with restarts* say no more of the kind than before training, to a linear reader or to
# neighbours; without restarts, few words left, 100 labels and neighbours read more than with them, in each seed. The
# denoiser learned a little, for a linear reader and in each seed; for neighbours it lost some. The prior learned most,
# for a linear reader. SimCLR, which draws nothing, is ahead of all three after 250 steps (of 128 pictures in two views
# of changed colours: a hint that no generator had).
#
# So the answer to the title is: *the drawings do not tell you; the way back says: little, beyond what an untrained
# network gives*. One reason may be (untested) that a loss on pixels pays for every pixel, and few depend on what is
# shown. This does not say that generators cannot know. Longer runs ([`benchmarks/generate.py
# --long`](https://github.com/ssl-lessons/ssl-lessons/blob/main/benchmarks/generate.py)) were not made here. On
# photographs (CIFAR-10, Tiny ImageNet) probes inside diffusion models are comparable to contrastive learning ([Xiang et
# al., 2023](https://arxiv.org/abs/2303.09769), abstract).
#
# ## Play: noise level and layer
#
# The strip shows what the live network (150 steps) sees and guesses, the map what the recorded ones (600 steps) know of
# the kind, times 100. Its axis counts diffusion steps. **Find the level at which the guess loses the object. Is that
# where the map goes dark?**

# %%
scene = {
    "images": x_test[:6], "model": denoiser, "s": schedule, "times": LEVELS,
    "layers": LAYERS, "scores": maps["kind", "diffusion"], "display": views.denormalize,
}  # fmt: skip
place = int(maps["kind", "diffusion"].max(dim=0).values.argmax())
widgets.explore(
    partial(diffusion_widget.render, **scene),
    diffusion_widget.controls(LEVELS, LAYERS, place),
    static=[{"place": i} for i in (0, 2, 3, 4)],
    alt=partial(diffusion_widget.describe, **scene),
    columns=2,
)

# %%
objects = mapped("diffusion", "object_hue").max(dim=0).values
grounds = seen.max(dim=0).values
assert objects[3] < 0.7 * objects[0] and grounds[3] > 0.9 * grounds[0]
kinds_left = maps["kind", "diffusion"].mean(dim=0)  # per level
assert kinds_left[3] > 0.6 * kinds_left[0] and grounds[4] < 0.2

# %% [markdown]
# <details><summary>Answer</summary>Yes: both go at step 91, and the ground with them. At step 51 (7 % of the variance is picture) the guess keeps a blob; a linear probe has half lost the object's hue, not the ground's, and reads most of the kind, in the mean of the seeds.</details>
#
# ## Exercises
#
# Replace `return NOT_ATTEMPTED` and run the cell; the checker answers. Solutions are at the end.
#
# ### 1 · How many words are in use? (••, 6 minutes)
#
# Perplexity from counts: `counts` is float64 `[K]`, how often each code was used; some are zero. Before you write it:
# what is it for half of all choices on one code, the rest evenly on 32 others?
#
# <details><summary>Hint 1</summary>Turn counts into shares; the entropy is minus the sum of share times log share.</details>
# <details><summary>Hint 2</summary>A share of zero adds nothing, but 0 · log 0 is nan: leave those codes out first (a small number inside the log would distort the rest).</details>


# %%
def my_perplexity(counts: torch.Tensor) -> float:
    """counts [K] -> from 1 to K"""
    return NOT_ATTEMPTED


ch07.check_perplexity(my_perplexity)

# %% [markdown]
# ### 2 · Straight through (•, 4 minutes)
#
# Forwards the code, backwards the identity for `z`, and nothing for the code. Both are float64 `[N, D]`. The checker
# looks at the gradients.
#
# <details><summary>Hint 1</summary>`z + something` has gradient 1 with respect to z, if the something carries none.</details>


# %%
def my_straight_through(z: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """z, code [N, D] -> [N, D]"""
    return NOT_ATTEMPTED


ch07.check_straight_through(my_straight_through)

# %% [markdown]
# ### 3 · One step back (•••, 12 minutes)
#
# The mean of $q(x_{t-1}\mid x_t, x_0)$ from $\alpha_t$, $\bar\alpha_t$ and $\bar\alpha_{t-1}$. `x0`, `xt` are float64
# `[N, D]`, the rest are floats. At the first step $\bar\alpha_{t-1} = 1$: a variance of zero, which your code must
# survive.
#
# <details><summary>Hint 1</summary>Weigh the two means of the text ("Back") by one over their variances, and divide by the sum of the weights.</details>
# <details><summary>Hint 2</summary>If you now divide by zero at alpha_bar_before = 1: multiply top and bottom by (1 - alpha)(1 - alpha_bar_before).</details>
# <details><summary>Hint 3</summary>The sum of the weights then becomes 1 - alpha_bar.</details>


# %%
def my_posterior_mean(x0, xt, alpha: float, alpha_bar: float, alpha_bar_before: float):
    """x0, xt [N, D] -> [N, D]"""
    return NOT_ATTEMPTED


ch07.check_posterior_mean(my_posterior_mean)

# %% [markdown]
# ### 4 · A step without dice (••, 8 minutes)
#
# DDIM ([Jiaming Song et al., 2021](https://arxiv.org/abs/2010.02502)) draws without fresh noise: it keeps the noise
# that a guess of the picture implies, and jumps to the level before with *that* noise. `xt` and the guess `x0` are
# float64 `[N, D]`.
#
# <details><summary>Hint 1</summary>Solve the jump at level t for the noise.</details>
# <details><summary>Hint 2</summary>Then write the jump at the level before, with this noise.</details>


# %%
def my_ddim_step(xt, x0, alpha_bar: float, alpha_bar_before: float):
    """xt, x0 [N, D] -> x at the level before [N, D]"""
    return NOT_ATTEMPTED


ch07.check_ddim_step(my_ddim_step)

# %% [markdown]
# ## Claims put to the test
#
# Where in a network are the good features? Layers and levels were fixed before the runs, and each is reduced to 64
# principal components, so that none wins by being wider (the second painter keeps its 100).


# %%
def part(arm: str, key: str, *places: int) -> list[float]:
    """Per seed, the best of these stages, layers or levels."""
    return [max(values[i] for i in places) for values in of(arm, key)]


# %%
last, untrained = part("simclr", "stages", 3), part("simclr, untrained", "stages", 3)
earliest = part("simclr", "stages", 0)
book.claim("C-110", drawn=Runs(last, earliest, untrained))
inside, outside = part("diffusion", "layers", 2), part("diffusion", "layers", 4)
numbers = of("components")  # pixels by their principal components: a floor, too


def floor(key: str) -> list[float]:
    """The better of the untrained network and the second painter, per seed."""
    return [
        max(v) for v in zip(part("diffusion, untrained", key, 2), numbers, strict=True)
    ]


book.claim("C-110d", drawn=Runs(inside, outside, floor("layers")))
some = part("diffusion", "levels", 2)
ends = part("diffusion", "levels", 0, 4)  # the better of hardly any noise and much
book.claim("C-110e", drawn=Runs(some, ends, floor("levels")))

# %% [markdown]
# The denoiser's floor is the better of its untrained twin and the second painter: it reads no better than those, so it
# tests neither statement.
#
# ## Where it comes from, where it went
#
# The discrete VAE of [DALL-E](https://arxiv.org/abs/2102.12092) chooses its codes softly, by a [Gumbel
# softmax](https://arxiv.org/abs/1611.01144); such codes became the targets of masked image modelling ([chapter
# 18](18_masked_images.ipynb)). [Yang Song et al. (2021)](https://arxiv.org/abs/2011.13456) show diffusion and score
# matching to be one; [Dhariwal and Nichol (2021)](https://arxiv.org/abs/2105.05233) pass the GANs with diffusion.
#
# ### Quiz
#
# **1.** A colleague reads the ground's colour from her diffusion model with $R^2 = 0.97$ and concludes that it has
# learned colours. Which number do you ask for?
#
# <details><summary>Answer</summary>The same number for the same network before training. In this chapter, with little noise, it is about as high.</details>
#
# **2.** Perplexity 64 of 64: is the VQ-VAE good?
#
# <details><summary>Answer</summary>Its words are in use. Read its error, as in the row before training.</details>
#
# ## Solutions
#
# **1.** (For the question: entropy $\tfrac12\ln 2 + \tfrac12\ln 64$, so $\sqrt{2\cdot 64} = 11.3$.)
#
# ```python
# def my_perplexity(counts):
#     share = counts[counts > 0] / counts.sum()
#     return math.exp(-(share * share.log()).sum())
# ```
#
# **2.**
#
# ```python
# def my_straight_through(z, code):
#     return z + (code - z).detach()
# ```
#
# **3.**
#
# ```python
# def my_posterior_mean(x0, xt, alpha, alpha_bar, alpha_bar_before):
#     from_x0 = alpha_bar_before**0.5 * (1 - alpha) * x0
#     from_xt = alpha**0.5 * (1 - alpha_bar_before) * xt
#     return (from_x0 + from_xt) / (1 - alpha_bar)
# ```
#
# **4.**
#
# ```python
# def my_ddim_step(xt, x0, alpha_bar, alpha_bar_before):
#     noise = (xt - alpha_bar**0.5 * x0) / (1 - alpha_bar) ** 0.5
#     return alpha_bar_before**0.5 * x0 + (1 - alpha_bar_before) ** 0.5 * noise
# ```
