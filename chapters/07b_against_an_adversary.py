# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07b · Against an adversary: what does a critic teach an encoder?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/07b_against_an_adversary.ipynb)
#
# **After this chapter you can** derive what a generative adversarial network (GAN) minimises and why its training runs
# in circles, prove when a game of pairs forces an encoder to invert a generator and when it forces nothing, tell mode
# collapse, blur and false detail by numbers, and test whether a generator's drawings may be trusted as a looking glass.
#
# **You need** [chapter 07](07_generate_to_understand.ipynb), of which this is an optional companion, and entropy.
# **Time**: 30 minutes to read, half a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("07b")

# %% [markdown]
# ## The puzzle: a referee who sees pairs
#
# Three pictures, three codes, each as frequent as the others. An *encoder* $E$ is handed a picture and names a code. A
# *generator* $G$ is handed a code and shows a picture. A critic sees one pair (picture, code) and says which of the two
# made it. Nobody ever compares a picture with its reconstruction.

# %%
import itertools
import math
import statistics

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt

from ssl_lessons import data, plots, views
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch07b
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.models.generative import bigan, painting, vq

E, G = (2, 0, 1), (2, 0, 0)  # E[x] is a code, G[z] is a picture
print("the encoder's pairs:  ", sorted((x, E[x]) for x in range(3)))
print("the generator's pairs:", sorted((G[z], z) for z in range(3)))
assert {(x, E[x]) for x in range(3)} & {(G[z], z) for z in range(3)} == {(0, 2)}

# %% [markdown]
# Both make the pair (0, 2); each of the other four gives its maker away.
#
# > **Predict before you go on.** There are 27 encoders and 27 generators. (a) In how many of the 729 games is the best
# > critic helpless? (b) What do you know about the encoder then? (c) The players may throw dice now: $E$ gives a
# > *distribution* over codes, $G$ one over pictures. Is your answer to (b) still right? (A number drawn evenly on a
# > logarithmic scale from 1 to 729 hits (a) within a factor of two about one time in five.)
#
# ## A game instead of a likelihood
#
# Let data have density $p(x)$ and a generator $q(x)$. A critic $D(x)\in(0,1)$ is the chance it gives to "data". The
# game of [Goodfellow et al. (2014)](https://arxiv.org/abs/1406.2661):
#
# $$\min_q\max_D\ V = \mathbb{E}_{x\sim p}\log D(x) + \mathbb{E}_{x\sim q}\log\big(1 - D(x)\big).$$
#
# One $x$ contributes $p\log D + q\log(1-D)$. Set the derivative $p/D - q/(1-D)$ to zero:
#
# $$D^*(x) = \frac{p(x)}{p(x)+q(x)}, \qquad V(D^*) = 2\,\mathrm{JSD}(p\,\Vert\,q) - 2\log 2 .$$
#
# The Jensen-Shannon divergence is the mean Kullback-Leibler divergence of $p$ and $q$ from their average; it is zero
# only for $q=p$. In practice the generator descends $-\log D$ on its own pictures instead of $\log(1-D)$.


# %%
def critic_loss(real, fake):
    """Logits [N], [M] -> -E log D(real) - E log(1 - D(fake))"""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def jsd(p, q):
    """Two tables of probabilities of one shape -> nats"""
    entropy = torch.special.entr
    return entropy((p + q) / 2).sum() - (entropy(p).sum() + entropy(q).sum()) / 2


# %%
draw = torch.Generator().manual_seed(0)
p, q = torch.randn(2, 6, generator=draw).double().softmax(dim=1)
best = p / (p + q)
value = (p * best.log() + q * (1 - best).log()).sum()
assert torch.isclose(value, 2 * jsd(p, q) - 2 * math.log(2))
for _ in range(200):  # no other critic does better
    other = torch.rand(6, generator=draw).double()
    assert (p * other.log() + q * (1 - other).log()).sum() < value
real, fake = torch.randn(2, 9, generator=draw)
assert torch.equal(critic_loss(real, fake), bigan.critic_loss(real, fake))
sure = torch.tensor([-20.0], requires_grad=True)  # "generated", says a sure critic
slopes = {
    saturating: torch.autograd.grad(bigan.generator_loss(sure, saturating), sure)[0]
    for saturating in (True, False)
}
assert slopes[True].abs() < 1e-8 and slopes[False].abs() > 0.99

# %% [markdown]
# The last lines are why: where the critic is sure, $\log(1-D)$ has slope $\sigma(-20)\approx 2\cdot10^{-9}$, and $-\log
# D$ slope 1.
#
# ### Why it runs in circles
#
# The smallest GAN ([Mescheder et al., 2018](https://arxiv.org/abs/1801.04406)): data sit at 0, the generator is one
# point $\theta$, the critic a slope, $D(x) = \sigma(\psi x)$. The critic descends $\log(1+e^{\psi\theta})$ with step
# $\eta$, the generator ascends it. Both gradients have the factor $s = \sigma(\psi\theta)$:
#
# $$\psi\leftarrow\psi-\eta s\theta, \qquad \theta\leftarrow\theta+\eta s\psi \qquad\Rightarrow\qquad
# \psi^2+\theta^2\leftarrow(1+\eta^2s^2)(\psi^2+\theta^2).$$
#
# A step at right angles to the position can turn and never approach. A smaller $\eta$ slows the escape and does not
# stop it. What does: the critic pays for steepness at the data, $\frac\gamma2\lVert\nabla_x\,\text{logit}\rVert^2$ (the
# R1 penalty), here $\frac\gamma2\psi^2$.


# %%
def dirac_gan(gamma: float, steps: int = 400, lr: float = 0.2) -> torch.Tensor:
    """The path (psi, theta) [steps + 1, 2] of simultaneous steps."""
    psi, theta, path = 0.0, 1.0, [(0.0, 1.0)]
    for _ in range(steps):
        s = 1 / (1 + math.exp(-psi * theta))
        psi, theta = psi - lr * (s * theta + gamma * psi), theta + lr * s * psi
        path.append((psi, theta))
    return torch.tensor(path, dtype=torch.float64)


orbits = {"no penalty": dirac_gan(0.0), "R1, γ = 0.3": dirac_gan(0.3)}
path = orbits["no penalty"]
s = path.prod(dim=1).sigmoid()[:-1]
growth = path[1:].square().sum(dim=1) / path[:-1].square().sum(dim=1)
assert torch.allclose(growth, 1 + 0.2**2 * s**2) and (growth > 1).all()
assert orbits["R1, γ = 0.3"][-1].norm() < 0.05

# %% tags=["hide-input"]
fig, ax = plots.new_figure(4.6, 3.4)
for (name, path), style, color in zip(
    orbits.items(), ("-", "--"), plots.COLORS, strict=False
):
    ax.plot(path[:, 1], path[:, 0], style, color=color, linewidth=1, label=name)
ax.plot(0, 0, "k+", markersize=10)
ax.set(title="Away from the equilibrium, or into it", aspect="equal")
ax.set(xlabel="generator θ", ylabel="critic ψ")
ax.legend(fontsize=8)
plots.show(
    fig,
    alt="Paths of critic and generator: without a penalty an outward spiral, with the "
    "R1 penalty an inward spiral that ends at the equilibrium.",
)

# %% [markdown]
# Circles and a missing slope have cures. A third thing the game does not forbid on its way: a generator that draws a
# few good pictures and nothing else, **mode collapse**.
#
# ## Pairs: when must the encoder invert?
#
# **BiGAN** ([Donahue et al., 2017](https://arxiv.org/abs/1605.09782)) and **ALI** ([Dumoulin et al.,
# 2017](https://arxiv.org/abs/1606.00704)) show the critic pairs $(x, E(x))$ and $(G(z), z)$, with $z\sim\mathcal N(0,
# I)$:
#
# $$\min_{G,E}\max_D\ \mathbb{E}_{x}\log D\big(x, E(x)\big) + \mathbb{E}_z\log\big(1 - D(G(z), z)\big).$$
#
# With the best critic this is the JSD of two *joint* distributions. If it is zero and both players are **maps**, then a
# pair satisfies $z = E(x)$ (it could be of the first kind) and $x = G(z)$ (it could be of the second). So $E$ inverts
# $G$.


# %%
def joints(E, G):
    """Tables E [K, M] of z given x, G [M, K] of x given z -> two joints [K, M]"""
    return E / len(E), (G / len(G)).T


K = 3
maps = list(itertools.product(range(K), repeat=K))
table = {m: F.one_hot(torch.tensor(m), K).double() for m in maps}
helpless = [(e, g) for e in maps for g in maps if jsd(*joints(table[e], table[g])) == 0]
print(f"helpless in {len(helpless)} of {len(maps) ** 2} games")
assert len(helpless) == math.factorial(K)
assert 0.2 < math.log(2 * 6 / (6 / 2)) / math.log(729) < 0.22  # the chance of a guess
assert all(g[e[x]] == x for e, g in helpless for x in range(K))
dice = torch.full((K, K), 1 / K, dtype=torch.float64)
assert jsd(*joints(dice, dice)) < 1e-12

# %% [markdown]
# (a) Six, one per permutation. (b) $E = G^{-1}$, everything. (c) No: an encoder that throws dice without looking,
# beside a generator that does the same, leaves the critic as helpless. ALI's encoder throws dice too, a Gaussian around
# $\mu(x)$. [Li et al. (2017)](https://arxiv.org/abs/1709.01215) point this out and add a term for the reconstruction.
#
# Let eight pictures and eight codes play, with dice, against the exact best critic: gradient steps (Adam) on the JSD of
# the joints. Three starts differ in how decided the players are at first.


# %%
def information(joint):
    """What the code says about the picture, in nats."""
    entropy = torch.special.entr
    rows, columns = joint.sum(dim=1), joint.sum(dim=0)
    return entropy(rows).sum() + entropy(columns).sum() - entropy(joint).sum()


def game_of_dice(scale, steps=150, K=8):
    """Rows (JSD, information) per step."""
    draw = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn(2, K, K, generator=draw)).requires_grad_()
    optimizer, seen = torch.optim.Adam([logits], lr=0.2), []
    for _ in range(steps):
        encoded, generated = joints(*logits.softmax(dim=2))
        loss = jsd(encoded, generated)
        seen.append((loss.item(), information(encoded).item()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.tensor(seen)


games = {scale: game_of_dice(scale) for scale in (0.1, 1.0, 6.0)}

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.0, 2.9, 1, 2)
for (scale, seen), style, color in zip(
    games.items(), ("-", "--", ":"), plots.COLORS, strict=False
):
    left.plot(seen[:, 0], style, color=color, label=f"logits of size {scale:g}")
    right.plot(seen[:, 1], style, color=color)
right.axhline(math.log(8), color=plots.GRAY, linewidth=0.8)
left.set(title="Every game is won", xlabel="step", ylabel="JSD of pairs (nats)")
right.set(title="The encoders know different things (line: all)", xlabel="step")
right.set(ylabel="information (nats)", ylim=(-0.1, 2.2))
left.legend(fontsize=8)
ends = [seen[-1].tolist() for seen in games.values()]
assert max(gap for gap, _ in ends) < 0.005
assert ends[0][1] < 0.05 < 0.1 < ends[1][1] < 1.0 < 1.8 < ends[2][1]
plots.show(
    fig,
    alt="Left: the Jensen-Shannon divergence of the pairs falls to zero in all three "
    "games. Right: the information that the code holds about the picture ends near "
    "zero, in between, and high, by the start; a line marks log 8.",
)
print("information at the end:", *(f"{known:.2f}" for _, known in ends), "nats")

# %% [markdown]
# All three critics end helpless; the encoders range from nearly nothing to nearly all of $\log 8 = 2.08$ nats. **What
# an adversary of pairs teaches is agreement of two joint distributions. Knowledge is guaranteed only if the players are
# deterministic.** Networks without dice are. But do they reach the end of the game?
#
# ### The game on real digits
#
# scikit-learn's digits, 64 pixels, codes of 16 numbers, networks of three layers, the R1 penalty, 8,000 steps, three
# seeds. The rivals have the same two networks and as many steps (not seconds); no learning rate
# was tuned for anyone: an **autoencoder** (squared error, no critic); a plain GAN with an encoder that learns
# afterwards, in 4,000 further steps, to name the code of a *drawing* (the **latent regressor**, Donahue et al.'s own
# comparison); and the inside of the GAN's critic, 128 numbers, of the kind [DCGAN](https://arxiv.org/abs/1511.06434)
# used as features. A judge trained on labelled digits names the kind of a picture; $\exp(\text{entropy})$ of the kinds
# drawn counts them, from 1 (always the same digit) to 10.

# %%
record, origin = book.recorded("generate", world=2)


def of(arm: str, key: str) -> list:
    """One number per seed."""
    return book.per_seed(record, key, arm=arm)


def mean(arm: str, key: str) -> float:
    return statistics.fmean(of(arm, key))


def gains(arm: str, key: str, other: str, other_key: str) -> list[float]:
    """Arm minus other, seed by seed."""
    return [a - b for a, b in zip(of(arm, key), of(other, other_key), strict=True)]


# %% tags=["hide-input"]
FLOOR, BIGAN, ALI, GAN, AUTO = (
    f"digits: {name}" for name in ("floors", "bigan", "ali", "gan", "autoencoder")
)
ROWS = [  # name, arm, key of the probe, key of the error, key of the kind
    ("raw pixels (64)", FLOOR, "probe_pixels", None, "judge"),
    ("16 principal components", FLOOR, "probe_pca", "error_pca", None),
    ("untrained encoder", FLOOR, "probe_untrained", None, None),
    ("autoencoder", AUTO, "probe", "error", "same_kind"),
    ("BiGAN, E(x)", BIGAN, "probe", "error", "same_kind"),
    ("ALI, mean of the code", ALI, "probe", "error", "same_kind"),
    ("GAN, latent regressor", GAN, "probe", "error", "same_kind"),
    ("GAN, code found by search", GAN, "probe_search", None, None),
    ("GAN, inside the critic (128)", GAN, "probe_critic", None, None),
    ("the same critic, untrained", GAN, "probe_critic_untrained", None, None),
    ("the mean digit", FLOOR, None, "error_mean", None),
    ("somebody else's digit", FLOOR, None, "error_other", None),
]

# %% tags=["hide-input"]
rows = [{"name": "chance", "probe": 0.1, "kind": 0.1}]
for name, arm, probe, error, kind in ROWS:
    row = {"name": name, "n": len(of(arm, probe or error))}
    for column, key in (("probe", probe), ("error", error), ("kind", kind)):
        row |= {column: mean(arm, key)} if key else {}
    if probe:
        row["spread"] = f"{min(of(arm, probe)):.1%} to {max(of(arm, probe)):.1%}"
    rows.append(row)
plots.table(
    rows,
    "Digits: probe with 100 labels; error of G(E(x)) as a share of the variance; how "
    "often its kind is right",
    {"name": "features", "probe": "probe", "spread": "over seeds", "error": "error",
     "kind": "right kind", "n": "seeds"},
    {"probe": ".1%", "error": ".0%", "kind": ".0%"},
)  # fmt: skip
print(origin)


# %% tags=["hide-input"]
def picture(arm: str, key: str = "picture", seed: int = 0):
    """A recorded strip as an array."""
    import base64
    import io

    return plt.imread(io.BytesIO(base64.b64decode(of(arm, key)[seed])))


def spaced(image, side: int = 8, gap: int = 1):
    """The strip's tiles with white gaps between them."""
    rows, columns = (size // side for size in image.shape[:2])
    tiles = torch.tensor(image[..., :3]).reshape(rows, side, columns, side, 3)
    tiles = F.pad(tiles, (0, 0, 0, gap, 0, 0, 0, gap, 0, 0), value=1.0)
    return tiles.flatten(2, 3).flatten(0, 1)


# %% tags=["hide-input"]
LABELS = ("real", "drawn", "rebuilt")
fig, axes = plots.new_figure(8.6, 4.6, 2, 1)
for ax, arm, name in zip(axes, (BIGAN, GAN), ("BiGAN", "GAN"), strict=True):
    ax.imshow(spaced(picture(arm)), interpolation="nearest")
    ax.set_yticks([9 * i + 4 for i in range(3)], LABELS)
    ax.set_xticks([])
    wide, kinds = of(arm, "variance")[0], of(arm, "kinds")[0]
    ax.set_title(f"{name}, seed 0: {kinds:.1f} of 10 kinds, {wide:.0%} of the variance")
plots.show(
    fig,
    alt="Two blocks of three rows of twelve digits, 8 by 8 pixels: real digits, digits "
    "drawn from random codes, and the real ones rebuilt; above for the BiGAN, below "
    "for the GAN with its latent regressor. Titles say how varied the drawings are.",
)

# %% tags=["hide-input"]
fig, axes = plots.new_figure(9.4, 2.9, 1, 3)
LINES = {BIGAN: ("BiGAN", "o-"), ALI: ("ALI", "^:"), AUTO: ("autoencoder", "s--")}
for (arm, (name, style)), color in zip(LINES.items(), plots.COLORS, strict=False):
    seen = of(arm, "trace")[0]
    steps = [row["step"] for row in seen]
    for ax, key in zip(axes, ("error", "kinds", "probe"), strict=True):
        if key in seen[0]:  # an autoencoder draws nothing
            values = [row[key] * (1 if key == "kinds" else 100) for row in seen]
            ax.plot(steps, values, style, color=color, ms=4, label=name)
axes[0].axhline(100, color=plots.GRAY, linewidth=0.8)
axes[0].set(title="Error of G(E(x)) (line: mean digit)", ylabel="% of the variance")
axes[1].axhline(10, color=plots.GRAY, linewidth=0.8)
axes[1].set(title="Kinds drawn (line: all ten)", ylabel="exp(entropy)")
axes[2].set(title="Probe of E(x)", ylabel="accuracy (%)")
for ax in axes:
    ax.set(xlabel="step", ylim=(0, None))
axes[2].legend(fontsize=8)
plots.show(
    fig,
    alt="Over 8,000 steps of one seed, for BiGAN, ALI and an autoencoder: the error of "
    "rebuilt digits with a line at that of the mean digit, the kinds drawn with a line "
    "at ten (no autoencoder), and the probe.",
)

# %%
worse = gains(BIGAN, "error", FLOOR, "error_mean")
against_auto = gains(BIGAN, "probe", AUTO, "probe")
against_start = gains(BIGAN, "probe", FLOOR, "probe_untrained")
inside = gains(GAN, "probe_critic", GAN, "probe_critic_untrained")
print("error of G(E(x)) minus the mean digit's:", *(f"{d:+.0%}" for d in worse))
for name, values in (
    ("BiGAN minus autoencoder", against_auto),
    ("BiGAN minus untrained", against_start),
    ("critic minus untrained critic", inside),
):
    print(f"{name}, probe:", *(f"{d:+.1%}" for d in values))
encoders = [of(arm, "probe") for arm in (BIGAN, ALI, GAN)]
assert max(max(values) for values in encoders) < min(of(FLOOR, "probe_pixels")) - 0.01
assert statistics.fmean(against_start) > 0.02 and max(against_auto) < 0
assert statistics.fmean(worse) > 0.05 and mean(BIGAN, "same_kind") < 0.5
assert max(gains(GAN, "error", BIGAN, "error")) < -0.3
assert min(of(GAN, "same_kind")) > max(of(BIGAN, "same_kind"))
assert statistics.fmean(inside) > 0.01 and min(inside) > -0.01

# %%
traces = {arm: of(arm, "trace") for arm in (BIGAN, ALI)}
for step in (0, 500, 8000):
    seen = [row for t in traces[BIGAN] for row in t if row["step"] == step]
    averages = {
        key: statistics.fmean(row[key] for row in seen)
        for key in ("kinds", "variance", "error")
    }
    print(step, "steps:", *(f"{key} {value:.2f}" for key, value in averages.items()))
first, early, late = ([t[i] for t in traces[BIGAN]] for i in (0, 1, -1))
assert max(row["kinds"] for row in first) < 2 and early[0]["step"] == 500
assert all(a["kinds"] < b["kinds"] for a, b in zip(early, late, strict=True))
assert statistics.fmean(row["variance"] for row in late) > 0.8
assert statistics.fmean(row["kinds"] for row in late) > 8
for arm, name in ((BIGAN, "BiGAN"), (ALI, "ALI")):
    errors = [[row["error"] for row in t if row["step"] > 500] for t in traces[arm]]
    swing = statistics.fmean(max(seen) - min(seen) for seen in errors)
    print(f"{name}: the error swings by {swing:.2f} between 1,000 and 8,000 steps")
    assert swing > 0.2

# %% [markdown]
# Raw pixels beat every encoder that played. BiGAN's $E$ has learned something (it is above the untrained encoder) and
# less than the autoencoder of the same size. And it does *not* invert: what comes back misses more than the mean digit
# would, and mostly it has the wrong kind. The regressor, which learned from drawings alone, inverts better. Yet its
# code probes worst of all, in the mean; the code found by search no better than the untrained encoder's. To invert a
# generator is not to make the kind easy to read.
#
# ALI, with dice, ends *better*, but both errors go up and down (left panel: one seed): where you stop decides much.
#
# What profits from the adversary is the adversary: *inside the critic* the probe reads more than in the same critic
# untrained. Compare within that pair only: 128 numbers, where the encoders have 16, are strong on digits even when
# *random*.
#
# **What goes wrong: few kinds, and what they do not explain.** Untrained, the generator draws one kind. A game that
# *stays* there, or falls back, is in mode collapse: count kinds whenever you train a GAN. This one passes: at the end
# most kinds are drawn, about as varied as real digits. Yet the error of $G(E(x))$ is still above the mean digit's: the
# drawings vary as they should, and the pairing is wrong. The theorem speaks of the *end* of the game.
#
# ### Without an encoder: search
#
# A plain GAN has no $E$, but $G$ has a gradient. **GAN inversion** ([Creswell and Bharath,
# 2016](https://arxiv.org/abs/1611.05644)) freezes $G$ and searches for the code by gradient; here $z^* =
# \arg\min_z\lVert G(z)-x\rVert^2$. Three starts: a random draw, zero, and what an encoder says.

# %% tags=["hide-input"]
STARTS = ("random", "zero", "encoder")
NETS = {GAN: "GAN, regressor", BIGAN: "BiGAN"}


def search(arm: str, start: str, steps: int, key: str = "error") -> list[float]:
    """One number per seed of the search from that start, after so many steps."""
    found = []
    for rows in of(arm, "inversion"):
        (row,) = [r for r in rows if r["start"] == start and r["steps"] == steps]
        found.append(row[key])
    return found


# %% tags=["hide-input"]
rows = []
for arm, name in NETS.items():
    for start in STARTS:
        row = {"name": f"{name}, from {start}", "n": len(of(arm, "inversion"))}
        for steps in (0, 20, 100, 500):
            row[f"e{steps}"] = statistics.fmean(search(arm, start, steps))
        row["length"] = statistics.fmean(search(arm, start, 500, "length"))
        rows.append(row)
plots.table(
    rows,
    "Error of 200 digits, share of the variance (a draw of z has length 4.0 ± 0.7)",
    {"name": "generator, start", "e0": "at the start", "e20": "20 steps",
     "e100": "100", "e500": "500", "length": "length of z*", "n": "seeds"},
    {f"e{steps}": ".0%" for steps in (0, 20, 100, 500)} | {"length": ".1f"},
)  # fmt: skip

# %%
head_start = {}
for arm in NETS:
    for steps in (20, 500):
        pairs = zip(
            search(arm, "random", steps), search(arm, "encoder", steps), strict=True
        )
        head_start[arm, steps] = [a - b for a, b in pairs]
        print(f"{NETS[arm]}, {steps} steps: random minus encoder", end=" ")
        print(*(f"{d:+.1%}" for d in head_start[arm, steps]))
assert min(head_start[GAN, 20]) > 0.3
late = {start: statistics.fmean(search(BIGAN, start, 20)) for start in STARTS}
assert late["zero"] < late["encoder"]
lead = statistics.fmean(search(GAN, "zero", 500))
lead -= statistics.fmean(search(GAN, "encoder", 500))
assert abs(lead) < 0.03
for arm in NETS:
    assert max(search(arm, "zero", 500)) < min(search(arm, "encoder", 0))
lengths = [search(arm, start, 500, "length") for arm in NETS for start in STARTS]
assert min(min(values) for values in lengths) > 4.85  # nine draws of ten are shorter
below = torch.special.gammainc(torch.tensor(8.0), torch.tensor(4.85**2 / 2))  # chi2
assert abs(below - 0.9) < 0.005

# %% [markdown]
# An encoder's start saves steps if the encoder inverts: the regressor's does, and after 500 steps zero has caught up
# with it. BiGAN's is a worse start than zero. The search copies better than the generator's own encoder does, and ends
# at codes longer than nine of ten draws. So a low error is no proof that a picture is among the generator's drawings;
# read the length beside it.
#
# ## An adversary against blur
#
# Squared error forgives blur. **VQGAN** ([Esser et al., 2021](https://arxiv.org/abs/2012.09841)) puts a perceptual loss
# in place of the VQ-VAE's squared error (here it stays) and adds a critic that judges *patches*; its opinion is weighed
# so that it pulls as hard on the decoder's last layer as the reconstruction does:
#
# $$L = L_\text{VQ} + \lambda\,L_\text{GAN}, \qquad \lambda = \frac{\lVert\nabla_\text{last}L_\text{rec}\rVert}{\lVert\nabla_\text{last}L_\text{GAN}\rVert+\delta} .$$


# %%
def weight_of_the_critic(rec, adv, last_layer, delta=1e-6):
    """Two losses and the decoder's last weights -> lambda"""
    pull = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        for loss in (rec, adv)
    ]
    return (pull[0] / (pull[1] + delta)).clamp(max=1e4).detach()


x = views.normalize(data.shapes("test", n=64, seed=0, world=2).images)
torch.manual_seed(0)
model, critic = painting.VQVAE(), vq.PatchCritic()
rebuilt, _, _ = model(x)
rec, adv = F.mse_loss(rebuilt, x), -critic(rebuilt).mean()
last_layer = model.decoder[-1].weight
weight = weight_of_the_critic(rec, adv, last_layer)
assert torch.equal(weight, vq.adaptive_weight(rec, adv, last_layer))

# %% [markdown]
# ### Sharp, or merely rough?
#
# The strength of edges is no measure: noise and checkerboards have edges. Split pictures into bands of spatial
# frequency and ask per band: how much **power** is there, as a share of the real picture's, and is it the **same**
# detail, the correlation with the real one?

# %%
BANDS = ((0.5, 2.5), (2.5, 5.5), (5.5, 10.5), (10.5, 16.5))  # cycles per picture


def bands(rebuilt, x):
    """Pictures [N, 3, S, S] -> power and correlation per band, 4 numbers each"""
    a, b = (torch.fft.fft2(t - t.mean((2, 3), keepdim=True)) for t in (rebuilt, x))
    f = torch.fft.fftfreq(x.shape[-1], 1 / x.shape[-1])
    cycles = (f.square() + f[:, None].square()).sqrt()
    power, same = [], []
    for low, high in BANDS:
        inside = (cycles > low) & (cycles <= high)
        p_a, p_b = (t[..., inside].abs().square().sum() for t in (a, b))
        power.append((p_a / p_b).item())
        cross = (a[..., inside] * b[..., inside].conj()).real.sum()
        same.append((cross / (p_a * p_b).sqrt()).item())
    return power, same


# %%
padded = F.pad(x, (1, 1, 1, 1), "replicate")
blurred = F.avg_pool2d(F.avg_pool2d(padded, 2, 1), 2, 1)  # 1, 2, 1 each way
stripes = (torch.arange(32) % 2 * 2.0 - 1).expand(32, 32)
gap = (x - blurred).square().mean().sqrt()
for name, y in (("blurred", blurred), ("blurred, striped", blurred + gap * stripes)):
    power, same = bands(y, x)
    print(f"{name:16} power", *(f"{v:5.0%}" for v in power), end="   ")
    print("same", *(f"{v:4.2f}" for v in same))
    assert same[0] > 0.95
    assert (power[3] < 0.3) if name == "blurred" else (power[3] > 1.3 and same[3] < 0.3)

# %% [markdown]
# Blur takes power from the fine bands; stripes bring power and no truth. The record, on drawn pictures (world 2): a
# VQ-VAE like chapter 07's, 500 steps (its decoder enlarges by repetition, so that it draws no checkerboard of its own;
# compare within this table only), and from the *same weights* 300 further steps on the same batches, once without and
# once with the critic (at half of $\lambda$).

# %% tags=["hide-input"]
START, PLAIN, SHARP = (
    f"adversary: vq{name}" for name in (" start", ", no critic", ", critic")
)
VQS = {START: "VQ-VAE", PLAIN: "300 more steps", SHARP: "300 more steps, critic"}

# %%
begun = [error < 0.95 for error in of(START, "error")]  # the mean picture scores 1
used = [f"{codes:.0f}" for codes in of(START, "perplexity")]
print("starts, error:", *(f"{e:.2f}" for e in of(START, "error")), "perplexity:", *used)
assert begun == [True, True, False] and of(START, "perplexity")[2] > 40
assert min(of(PLAIN, "error")[2], of(SHARP, "error")[2]) > 0.99


def alive(arm: str, key: str) -> list:
    """Of the runs whose start had learned."""
    return [value for value, ok in zip(of(arm, key), begun, strict=True) if ok]


# %% tags=["hide-input"]
rows = [{"name": "chance", "probe": 0.1}]
for arm, name in {"pixels": "raw pixels", "edges": "edges, no network"}.items():
    rows.append({"name": name, "probe": mean(arm, "probe"), "n": len(of(arm, "probe"))})
rows.append({"name": "the VQ-VAE untrained", "n": sum(begun)})
for column, key in (("probe", "probe_untrained"), ("codes", "probe_codes_untrained")):
    rows[-1][column] = statistics.fmean(alive(START, key))
for arm, name in VQS.items():
    values = alive(arm, "probe")
    row = {"name": name, "codes": statistics.fmean(alive(arm, "probe_codes"))}
    row |= {"spread": f"{min(values):.1%} to {max(values):.1%}", "n": len(values)}
    for key in ("probe", "error", "perplexity"):
        row[key] = statistics.fmean(alive(arm, key))
    for key in ("power", "same"):
        row[key] = statistics.fmean(v[-1] for v in alive(arm, key))
    rows.append(row)
plots.table(
    rows,
    "64 codes, 8 x 8 places. Power and correlation: at 11 to 16 cycles per picture",
    {"name": "model", "error": "error", "power": "fine power", "same": "fine corr.",
     "perplexity": "perplexity", "probe": "probe, encoder", "spread": "over seeds",
     "codes": "probe, codes", "n": "seeds"},
    {"error": ".1%", "power": ".0%", "same": ".2f", "perplexity": ".0f",
     "probe": ".1%", "codes": ".1%"},
)  # fmt: skip

# %% tags=["hide-input"]
strips = [picture(START, "truth"), *(picture(arm) for arm in VQS)]
fig, axes = plots.new_figure(8.8, 3.7, 4, 1)
for ax, image, name in zip(axes, strips, ("pictures", *VQS.values()), strict=True):
    ax.imshow(image, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([16], [name])
plots.show(
    fig,
    alt="Four rows of ten pictures: originals, rebuilt by the VQ-VAE, after 300 more "
    "steps, and after 300 more steps with a critic.",
)

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.0, 2.9, 1, 2)
NAMES = ("1-2", "3-5", "6-10", "11-16")
for (arm, name), style, color in zip(
    VQS.items(), ("o:", "s--", "^-"), plots.COLORS, strict=False
):
    for ax, key in ((left, "power"), (right, "same")):
        average = torch.tensor(alive(arm, key)).mean(dim=0)
        ax.plot(NAMES, average, style, color=color, label=name, ms=5)
left.axhline(1, color=plots.GRAY, linewidth=0.8)
left.set(title="Power, as a share of the real (line: 1)", ylim=(0, None))
right.set(title="Correlation with the real detail", ylim=(0, 1.02))
for ax in (left, right):
    ax.set_xlabel("cycles per picture")
right.legend(fontsize=8)
plots.show(
    fig,
    alt="Power and correlation per band of spatial frequency for the VQ-VAE, after 300 "
    "more steps, and after 300 more steps with a critic; means of two runs.",
)

# %%
def added(key: str, band: int | None = None) -> list[float]:
    """With minus without critic, run by run; of a band where there are bands."""
    pairs = zip(alive(SHARP, key), alive(PLAIN, key), strict=True)
    return [a - b if band is None else a[band] - b[band] for a, b in pairs]


price, learned = added("error"), added("probe")
stronger, truer = ([added(key, band) for band in range(4)] for key in ("power", "same"))
lines = {"error": price, "probe of the encoder": learned}
lines |= {f"power at {name} cycles": v for name, v in zip(NAMES, stronger)}
for name, values in lines.items():
    print(f"with minus without critic, {name}:", *(f"{v:+.1%}" for v in values))
assert min(price) > 0
assert statistics.fmean(alive(SHARP, "error")) < statistics.fmean(alive(START, "error"))
assert min(stronger[3]) > 0 and max(v[3] for v in alive(SHARP, "power")) < 0.5
assert all(min(stronger[i]) < 0 < max(stronger[i]) for i in (0, 1, 2))
assert max(max(band) for band in truer) < 0.02

# %% tags=["hide-input"]
untrained = mean(START, "probe_untrained")
reads = [statistics.fmean(alive(arm, "probe")) for arm in (PLAIN, SHARP)]
assert max(reads) < untrained < mean("edges", "probe")
assert max(reads) < mean("pixels", "probe") and all(abs(v - 0.1) < 0.03 for v in reads)
assert abs(statistics.fmean(learned)) < 0.02

# %% [markdown]
# One of three starts had learned nothing: it paints the mean picture, at a perplexity of more than forty. Table and
# curves are of the two others. Compare the last two rows, not the first with the last. The critic *gives* a little
# power in the finest band, in both runs (still far below the real); in the three others the runs disagree. It *costs*
# squared error, and no band gains in correlation: what was added is not the picture's own. The strips (the first run)
# show more contrast and (partly wrong) colour, not detail. In 300 steps this critic has not made sharp pictures.
#
# What it teaches the *encoder* this table cannot show. Both probes of the encoder stand near chance and below the
# untrained network, the codes' hardly better: where nothing is read, no difference can appear.
#
# ## A generator as a looking glass
#
# Freeze somebody else's encoder and train a generator on its features. What the generator gets right, beyond what it
# paints without them, must be in the features. **A decoder with squared error** draws the mean of all pictures with
# those features ([Dosovitskiy and Brox, 2016](https://arxiv.org/abs/1506.02753)). The record: SimCLR, 400 steps, its
# features $h$ and its *projection* behind the projector, and the untrained encoder; decoders of 800 steps each.

# %% tags=["hide-input"]
PLACES = {"untrained h": "untrained h", "h": "h", "z": "projection"}
FACTS = {"kind": "kind", "background_hue": "ground hue", "object_hue": "object hue"}
rows = []
for place, name in PLACES.items():
    arm = f"glass: decoder from {place}"
    row = {"name": name, "numbers": of(arm, "numbers")[0], "n": len(of(arm, "probe"))}
    row |= {key: mean(arm, f"error_{key}") for key in ("colour", "layout", "pixels")}
    for fact in FACTS:
        row[fact] = statistics.fmean(read[fact] for read in of(arm, "read"))
    rows.append(row | {"probe": mean(arm, "probe")})
plots.table(
    rows,
    "What a decoder misses (share of variance; the mean picture: 100%), what a probe "
    "reads (0 = chance, 1 = all), probe with 100 labels",
    {"name": "code", "numbers": "numbers", "colour": "misses: ground colour",
     "layout": "misses: light and dark", "pixels": "misses: pixels"}
    | {fact: f"reads: {name}" for fact, name in FACTS.items()}
    | {"probe": "probe", "n": "seeds"},
    {key: ".0%" for key in ("colour", "layout", "pixels")}
    | {fact: ".2f" for fact in FACTS} | {"probe": ".1%"},
)  # fmt: skip


# %%
def mirror(place: str, key: str) -> list[float]:
    arm = f"glass: decoder from {place}"
    if key in FACTS:
        return [read[key] for read in of(arm, "read")]
    return of(arm, key)


for key in ("error_colour", "error_layout", "kind", "background_hue"):
    for a, b in (("h", "untrained h"), ("z", "h")):
        pairs = zip(mirror(a, key), mirror(b, key), strict=True)
        print(f"{key}: {PLACES[a]} minus {PLACES[b]}", end=" ")
        print(*(f"{u - v:+.2f}" for u, v in pairs))
misses = {
    key: [statistics.fmean(mirror(place, key)) for place in PLACES]
    for key in ("error_colour", "error_layout", "kind", "background_hue")
}
untrained, inside, behind = misses["error_colour"]
assert untrained < inside < behind < 0.4 and untrained < 0.05
untrained, inside, behind = misses["error_layout"]
assert inside < behind < untrained
assert min(misses["kind"][1:]) > misses["kind"][0] + 0.2
untrained, inside, behind = misses["background_hue"]
assert untrained > inside + 0.2 and inside > behind + 0.1

# %% [markdown]
# SimCLR's views recolour every picture, and the colour goes: the untrained network misses next to nothing of the
# ground's colour, $h$ more, the projection most. From both of SimCLR's codes this decoder gives better silhouettes than
# from the untrained one; over all pixels $h$ is level with it. Behind the projector the probe reads little of the hue,
# and the decoder still paints most of the ground's colour. The decoder is nonlinear, and its error counts brightness
# too, which is not hue. Compare down a column, not across. That the projection probes above $h$ here, [chapter
# 20b](20b_projector.ipynb) explains.
#
# ### Several drawings from one code
#
# In a mean picture grey may mean "it is grey" or "I do not know". **RCDM** ([Bordes et al.,
# 2022](https://arxiv.org/abs/2112.09164)) trains a diffusion model on the features and draws *several* pictures: what
# stays the same is in $h$, what varies was made up. That reading rests on a condition. Let $\hat x_1, \hat x_2, \dots$
# be drawings from the code of $x$. If they are honest draws of $p(x\mid h)$, then truth and drawing are two independent
# draws of one distribution, and
#
# $$\mathbb{E}\,\lVert\hat x_1 - x\rVert^2 = 2\,\mathbb{E}\operatorname{Var}(x\mid h) = 2\cdot(\text{variance among the drawings}).$$
#
# So print the **error of one drawing** beside **made up**. An error of more than twice the variance belongs to a
# painter that is surer than it may be; its "made up = 0" proves nothing about $h$. Passing the test is necessary, not
# sufficient: a painter that ignores its code and draws from all pictures passes too. The control, told nothing, is of
# that kind.

# %% tags=["hide-input"]
TOLD = {"nothing": "nothing", "untrained h": "untrained h", "h": "h"}
rows = []
for place, name in TOLD.items():
    arm = f"glass: rcdm from {place}"
    row = {"name": name, "n": len(of(arm, "steps"))}
    for key in ("colour", "layout"):
        row[f"free_{key}"] = mean(arm, f"made_up_{key}")
        row[f"error_{key}"] = mean(arm, f"error_{key}")
    rows.append(row)
plots.table(
    rows,
    "Six drawings per code, shares of the real variance (honest: error = 2 x made up)",
    {"name": "told", "free_colour": "ground colour: made up",
     "error_colour": "error of one drawing", "free_layout": "light and dark: made up",
     "error_layout": "error of one drawing ", "n": "seeds"},
    {f"{a}_{b}": ".2f" for a in ("free", "error") for b in ("colour", "layout")},
)  # fmt: skip

# %% tags=["hide-input"]
fig, axes = plots.new_figure(8.8, 2.9, 1, 3)
for ax, (place, name) in zip(axes, TOLD.items(), strict=True):
    ax.imshow(picture(f"glass: rcdm from {place}"), interpolation="nearest")
    ax.set_title(f"told {name}", fontsize=9)
    ax.set_axis_off()
plots.show(
    fig,
    alt="Three blocks of five rows: a picture and five drawings from its code, by "
    "painters that were told nothing, the untrained features, and SimCLR's features.",
)

# %%
honest = {}
for place, name in TOLD.items():
    arm = f"glass: rcdm from {place}"
    for key in ("colour", "layout"):
        pairs = zip(of(arm, f"error_{key}"), of(arm, f"made_up_{key}"), strict=True)
        honest[place, key] = [a / (2 * b) for a, b in pairs]
        print(f"{name}, {key}: error over 2 x made up", end=" ")
        print(*(f"{v:.1f}" for v in honest[place, key]))
assert all(0.8 < v < 1.25 for v in honest["nothing", "colour"])
assert all(0.8 < v < 1.25 for v in honest["nothing", "layout"])
for place in ("untrained h", "h"):
    for key in ("colour", "layout"):
        assert min(honest[place, key]) > 1.5
low, high = (
    mean(f"glass: rcdm from {place}", "error_layout") for place in ("h", "untrained h")
)
assert low < high
low, high = (
    mean(f"glass: rcdm from {place}", "error_colour") for place in ("untrained h", "h")
)
assert low < high and mean("glass: rcdm from h", "made_up_layout") < 0.05

# %% [markdown]
# The painter told nothing passes. The painters told features do not: their errors are well above what their spread
# allows. By "made up" alone, $h$ would fix the silhouettes entirely. So read the *error*: it is an upper bound on what
# $h$ leaves open. By it, the painter gets less colour and more layout out of $h$ than out of the untrained features.
# (Six drawings of 100 pictures at 16 x 16; 1,500 steps.)
#
# **The answer to the title.** An adversary teaches its opponents whatever makes two clouds alike; what an encoder knows
# is guaranteed only at the end of a game without dice. On these digits, in three runs, the game stopped short of that
# end: the generator learned to draw, the encoder read worse than plain
# reconstruction, and the critic's own features gained a few points on the untrained one's.
#
# ## Exercises
#
# Replace a stub and run the cell. Solutions stand at the end.
#
# ### 1 · How strong a penalty? (••, 10 minutes)
# Near the equilibrium, $s\approx\frac12$, and a step of the Dirac-GAN is a matrix times $(\psi, \theta)$. For floats
# `gamma` and `lr` return, as a float, the factor by which the *slowest* part of the distance changes per step. Predict
# before you plot it for `lr = 0.2`: does a larger $\gamma$ always help?
#
# <details><summary>Hint 1</summary>Write both updates as one 2 x 2 matrix. The penalty acts on one of its entries.</details>
# <details><summary>Hint 2</summary>The largest absolute value among the eigenvalues, which may be complex.</details>


# %%
def shrink(gamma: float, lr: float) -> float:
    return NOT_ATTEMPTED


ch07b.check_shrink(shrink)

# %% [markdown]
# ### 2 · What the best critic sees (••, 8 minutes)
# Above, all pictures and codes were equally frequent. Now `p` `[K]` are the frequencies of pictures, `prior` `[M]`
# those of codes, `E` `[K, M]` the encoder's distributions over codes (rows sum to 1), `G` `[M, K]` the generator's over
# pictures; all float64, zeros allowed. Return the JSD of the pairs, in nats, a float or scalar. Then find players with
# a JSD of zero for $K = 4$, $M = 2$. How much can $E$ know?
#
# <details><summary>Hint 1</summary>A joint probability is a frequency times a conditional one.</details>


# %%
def gap_of_pairs(E, G, p, prior) -> torch.Tensor:
    return NOT_ATTEMPTED


ch07b.check_gap(gap_of_pairs)

# %% [markdown]
# ### 3 · May this painter be trusted? (••, 8 minutes)
# `drawn` `[N, R, D]`: $R$ drawings from each of $N$ codes, $D$ numbers measured on each; `truth` `[N, D]`: the same
# numbers of the true pictures; float64. Return one number, float or scalar: the mean squared error of a drawing,
# divided by what it would be if the drawings were honest. Use unbiased variances, and divide the two means, not each
# pair.
#
# <details><summary>Hint 1</summary>The identity above the last table.</details>
# <details><summary>Hint 2</summary>With R - 1 in the denominator the variance among R drawings is unbiased.</details>


# %%
def trust(drawn: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch07b.check_trust(trust)

# %% [markdown]
# ## Claims, tested
#
# Three statements of authors, the first two on digits. Source and rule stand in
# [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv). Read the first with care:
# the printed line says how near *random* features of the critic's 128 numbers come to the same rule.

# %%
floor, plain = of(FLOOR, "probe_untrained"), of(AUTO, "probe")
chance = gains(GAN, "probe_critic_untrained", AUTO, "probe")
print("untrained critic minus autoencoder, probe:", *(f"{d:+.1%}" for d in chance))
assert statistics.fmean(chance) > -0.05
critic, player = of(GAN, "probe_critic"), of(BIGAN, "probe")
hue = [mirror(place, "background_hue") for place in ("h", "z")]
probes = (mirror("h", "probe"), mirror("z", "probe"))
book.claim("C-141", drawn=Runs(critic, plain, floor))
book.claim("C-142", drawn=Runs(player, plain, floor))
hues = Runs(*hue, mirror("untrained h", "probe"), learned=probes)
book.claim("C-140", drawn=hues)

# %% [markdown]
# ## Where it comes from, where it went
#
# [BigBiGAN](https://arxiv.org/abs/1907.02544) played the game at the scale of ImageNet. The critic itself as the
# classifier: [CatGAN](https://arxiv.org/abs/1511.06390) lets it sort pictures into categories, [improved GAN
# training](https://arxiv.org/abs/1606.03498) gives it one class more, "generated", and "[bad
# GAN](https://arxiv.org/abs/1705.09783)" shows that such a classifier wants a generator that draws badly. Between two
# domains, [CycleGAN](https://arxiv.org/abs/1703.10593) and [DiscoGAN](https://arxiv.org/abs/1703.05192) ask for the way
# back to be the inverse. From text: [Reed et al. (2016)](https://arxiv.org/abs/1605.05396). With style:
# [StyleGAN](https://arxiv.org/abs/1812.04948).
#
# ### Quiz
#
# **1.** A critic says 0.5 for every picture. Is the generator perfect?
# <details><summary>Answer</summary>If it is the best possible critic, yes: p / (p + q) = 1/2 everywhere means q = p. A bad
# critic says nothing.</details>
#
# **2.** A colleague trains ALI; the critic ends helpless on pairs. She concludes that the code determines the picture.
# <details><summary>Answer</summary>It need not: with dice the game is also won by an encoder that ignores the picture.
# Measure the error of G(E(x)), or probe the code.</details>
#
# **3.** Drawings from an encoder's features always show the same colour, and the wrong one. What is in the features?
# <details><summary>Answer</summary>You cannot tell. The variance among drawings is zero and the error is not, so the painter
# is no honest draw of p(x | h). Probe the features for colour, or train the painter longer.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def shrink(gamma, lr):
#     step = torch.tensor([[1 - lr * gamma, -lr / 2], [lr / 2, 1.0]])
#     return torch.linalg.eigvals(step).abs().max().item()
#     # Below gamma = 1 the path turns, and the factor is sqrt(1 - lr gamma + lr^2 / 4): above 1 unless gamma > lr / 4.
#     # Beyond gamma = 1 the eigenvalues are real, and the slow one, 1 - lr (gamma - sqrt(gamma^2 - 1)) / 2, goes back
#     # to 1: a critic that may not be steep hardly tells the generator where to go. (Near gamma = 2 / lr the other
#     # one passes -1: the path diverges.)
#
#
# def gap_of_pairs(E, G, p, prior):
#     return jsd(p[:, None] * E, (prior[:, None] * G).T)
#     # K = 4, M = 2: let E send two pictures to each code, and G draw one of the two by dice. E knows log 2 of log 4
#     # nats, and no more fits into two codes. E is a map here and G is not.
#
#
# def trust(drawn, truth):
#     error = (drawn - truth[:, None]).square().mean()
#     return error / (2 * drawn.var(dim=1).mean())
# ```
