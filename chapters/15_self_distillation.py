# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 · Self-distillation: why does it not collapse without negatives?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/15_self_distillation.ipynb)
#
# **After this chapter you can**
#
# - derive, for linear networks, when a direction of the embedding lives and when it dies;
# - say what stop-gradient, predictor, moving average and weight decay each do in that derivation;
# - write BYOL in twenty lines, and break it in the three ways that kill it;
# - explain what a student can learn from a teacher that knows nothing.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb), eigenvalues, and the chain rule.
# **Time**: 32 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.
# The companion [15b](15b_centre_and_sharpen.ipynb) has DINO and its relatives.

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

device = book.setup("15")

# %% [markdown]
# ## The puzzle: a test you can pass by saying nothing
#
# NT-Xent ([chapter 13](13_from_nce_to_nt_xent.ipynb)) asks two views of a picture to agree *and* to differ from all
# other pictures. Without the second half the network that answers $(1, 1, \dots, 1)$ to everything is perfect: loss 0,
# nothing learned. That is **collapse**.
#
# Two papers trained with this very loss and got features as good as SimCLR's: BYOL ([Grill et al.,
# 2020](https://arxiv.org/abs/2006.07733)) and SimSiam ([Chen and He, 2021](https://arxiv.org/abs/2011.10566)). They
# added a **predictor**, a small network on *one* side, whose output for view 1 shall agree with the embedding of view
# 2; and a **stop-gradient** on the other side, which treats that embedding as a constant. Neither forbids the constant
# answer.
#
# The smallest experiment: 8-dimensional Gaussian vectors $x$; a view is $x$ plus noise; student and predictor are
# matrices $W$ and $P$; gradient descent on $\tfrac12\lVert P W x_1 - W x_2\rVert^2$, with and without each of the two.
#
# > **Predict before you go on.** (1) Which of the four versions collapse? (A guess is right once in 16 times.) (2)
# > Which of the four has the *highest* loss at the end? (Once in four.) (3) Later a network shall learn to predict
# > another one that has random weights and never changes. Will the student's features be better than those of a network
# > before training? (Once in two.)

# %%
import copy
import math
import statistics

import torch
import torch.nn.functional as F

from ssl_lessons import data, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch15
from ssl_lessons.book.widgets import linear_byol
from ssl_lessons.diagnostics import diagnose
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.losses import distillation
from ssl_lessons.methods.byol import BYOL
from ssl_lessons.models import build_encoder, settle
from ssl_lessons.training import Monitor, pretrain, recipes

D, NOISE, DECAY, RATE, BATCH = 8, 0.25, 0.01, 0.05, 256
HALF = 0.5 * torch.eye(D)


# %%
def descend(P=HALF, learn_p=True, stop=True, momentum=0.0, set_p=None, steps=400):
    """Gradient descent by hand: losses [steps], and W, P after every step."""
    g = torch.Generator().manual_seed(0)
    W = torch.linalg.qr(torch.randn(D, D, generator=g))[0]
    W = teacher = W * torch.linspace(0.2, 0.7, D)
    losses, path = [], []
    for _ in range(steps):
        x = torch.randn(BATCH, D, generator=g)
        x1, x2 = x + NOISE**0.5 * torch.randn(2, BATCH, D, generator=g)
        error = x1 @ W.T @ P.T - x2 @ teacher.T
        step_w, step_p = P.T @ error.T @ x1 / BATCH, error.T @ (x1 @ W.T) / BATCH
        if not stop:  # the second W moves as well
            step_w = step_w - error.T @ x2 / BATCH
        W = W - RATE * (step_w + DECAY * W)
        if learn_p:
            P = P - RATE * (step_p + DECAY * P)
        P = P if set_p is None else set_p(W @ W.T)
        teacher = momentum * teacher + (1 - momentum) * W
        losses.append(error.square().sum(dim=1).mean().item() / 2)
        path.append((W, P))
    return torch.tensor(losses), path


# %%
def variances(path) -> torch.Tensor:
    """Variances of the directions of the embedding, largest first: [steps, D]"""
    return torch.stack([torch.linalg.svdvals(W).square() for W, _ in path])


none = {"P": torch.eye(D), "learn_p": False}
arms = {
    "neither": descend(**none, stop=False),
    "predictor only": descend(stop=False),
    "stop-gradient only": descend(**none),
    "both": descend(),
}

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2)
for (name, (losses, path)), color, style in zip(
    arms.items(), plots.COLORS, ("-", "--", "-.", "-"), strict=False
):
    left.plot(losses, style, color=color, label=name)
    right.plot(variances(path).mean(dim=1), style, color=color)
left.set(title="Three losses go to zero. They are the failures", xlabel="step")
left.set(ylabel="loss", ylim=(0, None))
right.set(title="Only one version keeps pictures apart", xlabel="step")
right.set(yscale="log", ylim=(1e-6, 2), ylabel="mean variance per direction")
left.legend(loc="center right")
ends = {n: (v[-1].item(), variances(p)[-1]) for n, (v, p) in arms.items()}
dead = [name for name, (loss, s) in ends.items() if s.max() < 1e-4]
assert dead == ["neither", "predictor only", "stop-gradient only"]
assert all(ends[name][0] < 1e-3 for name in dead)
rising = arms["both"][0]
assert rising[-1] > 1.5 * rising[0] and ends["both"][1].min() > 0.3
plots.show(
    fig,
    alt="Left: the losses of the versions with neither, predictor only and "
    "stop-gradient only fall to zero; the loss with both rises and levels off. "
    "Right, log axis: the variance of the embedding falls by orders of magnitude in "
    "the first three and rises to a plateau in the version with both.",
)
print(f"with both: loss {rising[0]:.2f} at the start, {rising[-1]:.2f} at the end")

# %% [markdown]
# (1) All but "both" collapse. (2) "Both" ends with the highest loss, and it *rises* while the network learns: the
# update is not the gradient of anything.
#
# ## The idea, step 1: without the stop-gradient, length can only be lost
#
# After [Tian et al. (2021)](https://arxiv.org/abs/2102.06810): views $x_1, x_2$ of $x$; student $W$, predictor $P$,
# teacher $W_a$, all $[D, D]$ ($W_a = W$ without a moving average); $x$ has covariance $I$, and a view adds noise of
# variance $\sigma^2$ in every direction.
#
# The loss without stop-gradient, $J(W) = \tfrac12\mathbb{E}\lVert P W x_1 - W x_2\rVert^2$, has $J(cW) = c^2 J(W)$.
# Differentiate by $c$ at $c = 1$:
#
# $$\langle W, \nabla J(W)\rangle = 2 J(W) \ge 0.$$
#
# Gradient descent moves $W$ along $-\nabla J$, so its squared length changes at the rate $-4J \le 0$. *Whatever the
# predictor does*, the embedding shrinks until the loss is zero; for views that differ, that means $W = 0$. With the
# stop-gradient only the first $W$ is differentiated; the update $g$ has
#
# $$\langle W, g\rangle = \mathbb{E}\,\langle P W x_1,\; P W x_1 - W x_2\rangle,$$
#
# which is negative, so that the embedding *grows*, when the prediction falls short of its target.

# %%
# NBVAL_CHECK_OUTPUT
draw = torch.Generator().manual_seed(0)
W0, x = (torch.randn(n, D, generator=draw, dtype=torch.float64) for n in (D, 4096))
x1, x2 = x + 0.5 * torch.randn(2, 4096, D, generator=draw, dtype=torch.float64)


def along_w(p: float, stop: bool) -> tuple[float, float]:
    """<W, gradient> and 2 J for the predictor p I."""
    w = W0.clone().requires_grad_()
    target = x2 @ w.T
    error = p * (x1 @ w.T) - (target.detach() if stop else target)
    J = error.square().sum(dim=1).mean() / 2
    (gradient,) = torch.autograd.grad(J, w)
    return (gradient * W0).sum().item(), 2 * J.item()


for p in (0.3, 1.0):
    product, twice = along_w(p, stop=False)
    assert abs(product - twice) < 1e-9
    grows = along_w(p, stop=True)[0] < 0
    print(f"predictor {p} I, stop-gradient: it {'grows' if grows else 'shrinks'}")

# %% [markdown]
# ## Step 2: the stop-gradient alone is not enough
#
# Without a predictor, $P = I$: $\mathbb{E}[x_1x_1^\top] = (1 + \sigma^2) I$ and $\mathbb{E}[x_2x_1^\top] = I$, so the
# update is $W(1 + \sigma^2) - W_a$. If the teacher is the student, $\dot W = -\sigma^2 W$: death at the rate of the
# view noise. With weight decay $\eta$ on the student and a teacher that follows at the rate $\beta$,
#
# $$\frac{d}{dt}\begin{pmatrix} W\\ W_a\end{pmatrix} = \begin{pmatrix} -(1+\sigma^2+\eta) & 1\\ \beta & -\beta\end{pmatrix}\begin{pmatrix} W\\ W_a\end{pmatrix},\qquad \lambda^2 + (1+\sigma^2+\eta+\beta)\,\lambda + \beta(\sigma^2+\eta) = 0 .$$
#
# All coefficients are positive, so both rates $\lambda$ are negative. **A moving average delays this collapse. It
# cannot prevent it.**

# %%
rows = []
for m in (0.0, 0.9, 0.99):
    s = variances(descend(**none, momentum=m, steps=800)[1])
    measured = (s[700] / s[400]).log().mean().item() / (2 * 300 * RATE)
    keep = 1 - RATE * (1 + NOISE + DECAY)  # one step of (W, W_a)
    step = torch.tensor([[keep, RATE], [(1 - m) * keep, m + (1 - m) * RATE]])
    rate = torch.linalg.eigvals(step.double()).abs().max().log().item() / RATE
    rows.append({"momentum": f"{m:g}", "measured": measured, "theory": rate})
    assert abs(measured / rate - 1) < 0.04 and rate < 0
assert 6 < rows[0]["theory"] / rows[2]["theory"] < 8

# %% tags=["hide-input"]
plots.table(
    rows,
    "Stop-gradient, no predictor: growth rate of W per unit of time (steps 400 to 700)",
    {"momentum": "teacher's momentum", "measured": "measured", "theory": "theory"},
    ".4f",
)

# %% [markdown]
# ## Step 3: with a predictor, every direction fights for itself
#
# Now let $P$ learn as well, $\alpha$ times as fast as $W$, both with weight decay:
#
# $$\dot P = -\alpha\big((1 + \sigma^2)\,P F - W_a W^\top\big) - \eta P, \qquad
# \dot W = -P^\top\big((1 + \sigma^2)\,P W - W_a\big) - \eta W, \qquad F = W W^\top.$$
#
# $F$ is the covariance of the noise-free embeddings; its eigenvalues are the variances of the directions. Training
# turns the eigenvectors of $P$ into those of $F$ (see below); then, with $W_a = \tau W$, all falls apart into single
# directions. Let $s$ be the variance of one, and $p$ the eigenvalue of $P$:
#
# $$\boxed{\;\dot p = \alpha\, s\,\big[\tau - (1 + \sigma^2)p\big] - \eta p, \qquad
# \dot s = 2\, p\, s\,\big[\tau - (1 + \sigma^2)p\big] - 2\eta s\;}$$
#
# The bracket is **how far the predictor falls short**. The best predictor from a noisy view is
# $p^* = \tau/(1 + \sigma^2)$. ($\tau$ is 1 where the teacher is the student or both rest, and above 1 while it trails a
# shrinking student.)
#
# - **Variance grows exactly while the predictor falls short**, $0 < p < p^*$, against nothing but weight decay.
# - **No predictor** is $p = 1 > p^*$ (for $\tau = 1$): the bracket is negative for ever.
# - **A dead predictor**, $p = 0$, pulls nothing up, and $p < 0$ pushes the direction down.
# - **Both feed each other.** Multiply the first equation by $2p/\alpha$ and subtract:
#   $\frac{d}{dt}(s - p^2/\alpha) = -2\eta\,(s - p^2/\alpha)$. Weight decay drives the pair onto the parabola
#   $s = p^2/\alpha$. On it,
#
# $$\dot p = p\,\big(\tau p - (1+\sigma^2)p^2 - \eta\big) \quad\Rightarrow\quad
# p = 0 \;\text{ or }\; p_\pm = \frac{\tau \pm\sqrt{\tau^2 - 4\eta(1+\sigma^2)}}{2(1+\sigma^2)}.$$
#
# The middle one, $p_-$, repels: a **watershed**. A direction that starts above it lives; one that starts below slides
# to 0 and dies. Above $\eta = \tau^2/4(1+\sigma^2)$ none lives.

# %%
STEPS = 800
found = variances(descend(steps=STEPS)[1])
start = torch.linspace(0.2, 0.7, D).square().flip(0)
path = linear_byol.follow(
    torch.full((D,), 0.5), start, STEPS * RATE, STEPS, decay=DECAY, noise=NOISE
)
p_low, p_high = linear_byol.fixed_points(DECAY, NOISE)[1:]
gap = (path.s[1:].float() - found).abs().max().item()
print(f"largest gap between equations and descent: {gap:.3f}, of {p_high**2:.2f}")
assert gap < 0.08 and found[0].max() > 10 * found[0].min()
assert found[-1].max() < 2 * found[-1].min()

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.0, 3.2, 1, 2)
for i in range(0, D, 2):
    color = plots.COLORS[i // 2]
    left.plot(path.s[:, i], color=color, label=f"starts at {start[i]:.2f}")
    left.plot(range(0, STEPS, 40), found[::40, i], "o", color=color, markersize=3.5)
left.axhline(p_high**2, color=plots.GRAY, linestyle=":")
left.set(title="Dots: gradient descent. Lines: the two equations", xlabel="step")
left.set(ylabel="variance of a direction, s", ylim=(0, 1.15))
left.legend(fontsize=8, loc="lower right")
grid = torch.linspace(0, 1.1, 300, dtype=torch.float64)
for decay, style in ((0.0, "--"), (0.1, "-"), (0.22, "-.")):
    speed = grid**2 - (1 + NOISE) * grid**3 - decay * grid
    right.plot(grid, speed, style, label=f"weight decay {decay:g}")
    for p in linear_byol.fixed_points(decay, NOISE)[1:]:
        right.plot([p], [0], "o", color="black", markersize=4)
right.axhline(0, color=plots.GRAY, linewidth=0.8)
right.set(title="Above zero the direction grows", ylim=(-0.12, 0.13))
right.set(xlabel="p (predictor, one direction)", ylabel="dp/dt")
right.legend(fontsize=8, loc="lower left")
assert len(linear_byol.fixed_points(0.22, NOISE)) == 1
plots.show(
    fig,
    alt="Left: variances of four directions over 800 steps; dots from stochastic "
    "gradient descent follow the curves of the two differential equations towards one "
    "common resting value. Right: the speed of p against p for three weight decays; "
    "with 0.1 it is negative below a threshold, with 0.22 everywhere.",
)

# %% [markdown]
# This start, $P = I/2$, is aligned with *every* basis, and proves nothing about eigenvectors.
#
# ### Starts that are not kind
#
# Let $P$ begin at zero, negative, at random, or at $I/2$ plus a random matrix. If $P$ and $F$ come to share
# eigenvectors, two numbers go to zero: the asymmetry $\lVert P - P^\top\rVert / \lVert P\rVert$, and the commutator
# $\lVert PF - FP\rVert / \lVert P\rVert\lVert F\rVert$.

# %%
draw = torch.Generator().manual_seed(3)
random = torch.randn(D, D, generator=draw) / D**0.5
starts = {
    "zero": 0 * HALF,
    "half, and random": HALF + random / 2,
    "random": random,
    "minus half": -HALF,
}
sunk, runs = {}, {}
for name, P in starts.items():
    losses, runs[name] = descend(P, steps=4800)
    sunk[name] = losses[-200:].mean().item()
assert max(sunk["random"], sunk["minus half"]) < 0.7 * min(sunk["zero"], 1.0)
print("loss at the end:", {name: round(value, 2) for name, value in sunk.items()})


def apart(W, P) -> tuple[float, float]:
    """Asymmetry of P, and commutator of P and F = W W'."""
    F_, size = W @ W.T, P.norm()
    both = ((P - P.T).norm() / size, (P @ F_ - F_ @ P).norm() / (size * F_.norm()))
    return tuple(float(v) for v in both)


alive = {n: [int((variances([w])[0] > 0.01).sum()) for w in r] for n, r in runs.items()}
first, last = (
    {n: apart(*r[i]) for n, r in runs.items()} for i in (0, len(runs["zero"]) - 1)
)

# %% tags=["hide-input"]
plots.table(
    [
        {
            "start": name,
            "asymmetry": f"{first[name][0]:.2f} → {last[name][0]:.2f}",
            "commutator": f"{first[name][1]:.3f} → {last[name][1]:.3f}",
            "least": min(alive[name]),
            "end": alive[name][-1],
            "variance": float(variances(runs[name][-1:]).mean()),
        }
        for name in runs
    ],
    f"Linear BYOL from four predictors, 4,800 steps ({D} directions)",
    {"start": "predictor at the start", "asymmetry": "asymmetry of P",
     "commutator": "commutator", "least": "alive, at the worst",
     "end": "alive, at the end", "variance": "mean variance"},
    ".2f",
)  # fmt: skip
mixed = "half, and random"
assert first[mixed][0] > 0.5 > 0.1 > last[mixed][0]
assert first[mixed][1] > 0.1 > 0.01 > last[mixed][1]
assert first["random"][1] > 0.15 > 0.03 > last["random"][1]
assert alive["zero"][-1] == alive[mixed][-1] == D
assert max(alive["random"][-1], alive["minus half"][-1]) <= D - 2
assert 1 <= min(alive["random"]) < alive["random"][-1]  # one woke
lost = torch.cat([variances(runs[n][-1:])[0] for n in ("random", "minus half")])
assert lost[lost < 0.01].max() < 1e-5

# %% [markdown]
# $P$ and $F$ come to commute. As the living variances end equal, this shows only that $P$ no longer mixes living with
# dead directions.
#
# A zero predictor recovers completely. From a random or negative one, in this draw, some directions stay dead:
# $\dot s < 0$ had killed the variance before $p$ came back up, and a dead direction gives $p$ no gradient. That is a
# **dimensional collapse**, and its loss settles *lower* than the healthy one.

# %% [markdown]
# ## Step 4: BYOL, written out
#
# A **student** (encoder $f$, projector $g$; weights $\theta$) with a **predictor** $q$; a **teacher** of the same
# architecture (weights $\xi$) without one. With $\bar u = u/\lVert u\rVert$ and sg for the stop-gradient,
#
# $$L = \big\lVert\,\overline{q(g_\theta(f_\theta(v_1)))} - \mathrm{sg}\,\overline{g_\xi(f_\xi(v_2))}\,\big\rVert^2 = 2 - 2\cos, \qquad
# \xi \leftarrow m\,\xi + (1 - m)\,\theta,$$
#
# plus the same with the views exchanged (equation 2 of the paper). The teacher is an **exponential moving average**
# (EMA) of the student. SimSiam is BYOL with $m = 0$.


# %%
@torch.no_grad()
def ema_update(student, teacher, m: float) -> None:
    for s, t in zip(student.parameters(), teacher.parameters(), strict=True):
        t.mul_(m).add_(s, alpha=1 - m)


def distance(prediction, target) -> torch.Tensor:
    """[N, D], [N, D]: mean squared distance of the unit-length rows, 0 to 4."""
    return 2 - 2 * F.cosine_similarity(prediction, target).mean()


def my_byol_loss(student, predictor, teacher, v1, v2) -> torch.Tensor:
    p1, p2 = predictor(student(v1)), predictor(student(v2))
    with torch.no_grad():  # the stop-gradient
        z1, z2 = teacher(v1), teacher(v2)
    return distance(p1, z2) + distance(p2, z1)


# %%
policy = recipes.get_recipe("quick").policy
unlabeled = data.shapes("unlabeled", n=8192)
train, test = data.shapes("train", n=2000), data.shapes("test", n=2000)


def newborn(width=16, dim=256, **options) -> BYOL:
    torch.manual_seed(0)
    return BYOL(build_encoder("convnet", width=width, dim=dim), **options)


method = newborn()
student = torch.nn.Sequential(method.encoder, method.projector)
with torch.no_grad():
    for weights in method.teacher.parameters():
        weights.mul_(1.1)  # a teacher unlike the student
mine, theirs = copy.deepcopy(method.teacher), method.teacher
draw = torch.Generator().manual_seed(0)
pair = views.make_views(unlabeled.images[:64], (policy, policy), draw)
value = my_byol_loss(student, method.predictor, mine, *pair)
assert torch.allclose(value, method(pair), atol=1e-5)
method.after_step(progress=0.0)
ema_update(student, mine, method.momentum)
for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
    assert torch.allclose(a, b, atol=1e-6)
a, b = torch.randn(2, 9, 5, dtype=torch.float64, generator=draw)
assert torch.allclose(distance(a, b), distillation.byol(a, b))

# %% [markdown]
# ### And with unit length?
#
# BYOL normalises both sides. Then $J(cW) = J(W)$, so $\langle W, \nabla J\rangle = 0$, and length cannot be lost. With
# many directions $\lVert PWx_1\rVert$ is nearly the same for all pictures, and the same calculation gives, up to a
# common positive factor,
#
# $$\dot s_k \propto 2\,p_k s_k\Big[1 - \frac{p_k}{\bar p}\Big], \qquad \bar p = \frac{\sum_j p_j^2 s_j}{\sum_j p_j s_j}.$$
#
# The rival of a direction is no longer the best predictor but the *average* one: those below $\bar p$ grow at the
# expense of those above. The same parabola follows, on which the strong have the large $p$: variances are pushed
# together, as long as the weak keep a trace of variance and a positive $p$ ([Halvagal et al.,
# 2023](https://arxiv.org/abs/2212.04858)).

# %%
draw, many = torch.Generator().manual_seed(0), 64
p = 0.3 + 0.5 * torch.rand(many, generator=draw, dtype=torch.float64)
s = torch.linspace(0.05, 1, many, dtype=torch.float64)
w = s.sqrt().requires_grad_()  # W and P are diagonal
x = torch.randn(8000, many, generator=draw, dtype=torch.float64)
x1, x2 = x + 0.5 * torch.randn(2, 8000, many, generator=draw, dtype=torch.float64)
loss = -F.cosine_similarity(p * w * x1, (w * x2).detach()).mean()
(gradient,) = torch.autograd.grad(loss, w)
measured = -2 * w.detach() * gradient
average = (p**2 * s).sum() / (p * s).sum()
theory = 2 * p * s * (1 - p / average)
agreement = torch.corrcoef(torch.stack([measured, theory]))[0, 1].item()
print(f"theory and measurement correlate by {agreement:.4f}")
assert agreement > 0.99
assert abs(measured.sum()) < 1e-12  # no length is lost

# %% [markdown]
# ## The run
#
# 250 batches of 128 pictures. (*Settled*: BatchNorm statistics were measured first.)

# %%
SETTINGS = {"batch_size": 128, "optimizer": "sgd", "lr": 0.12, "weight_decay": 5e-4}
method = newborn()
history = pretrain(
    method,
    unlabeled.images,
    (policy, policy),
    steps=250,
    monitor=Monitor(train[:600], train[600:1200], every=50),
    **SETTINGS,
)


# %%
def quality(encoder) -> dict:
    """Probe with 100 labels, kNN with 2,000."""
    a, b = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    labelled = (a, train.labels, b, test.labels)
    draws = evaluation.label_efficiency(*labelled, per_class=(10,), draws=5)
    return {"probe": draws[0]["mean"], "knn": evaluation.knn_accuracy(*labelled)}


live = quality(method.encoder)
verdict = diagnose(method.embed(views.normalize(test.images[:500]))).verdict
record, origin = book.recorded("self_distillation", world=2)


def of(arm: str, key: str = "probe", group: str = "byol") -> list:
    """One number per seed."""
    return book.per_seed(record, key, group=group, arm=arm)


def mean(arm: str, key: str = "probe", group: str = "byol") -> float:
    return statistics.fmean(of(arm, key, group))


# %% tags=["hide-input"]
plots.show(
    plots.training_panel(history, "BYOL learns without a single negative", chance=0.1),
    alt="Three panels over 250 steps of BYOL: the loss, the kNN accuracy, which rises "
    "above chance, and the spread and rank of the features, which do not collapse.",
)
minute, _ = book.recorded("embedded_world", world=2)


def line(name: str, arm: str, group: str = "byol") -> dict:
    values = of(arm, "probe", group)
    row = {"name": name, "probe": mean(arm, "probe", group), "n": len(values)}
    row |= {"spread": f"{min(values):.1%} to {max(values):.1%}"}
    return row | {"knn": mean(arm, "knn", group)}


def other(arm: str) -> dict:
    rows = [r for r in minute if r["arm"] == arm]
    values = [r["probe"] for r in rows]
    return {
        "name": f"{arm}, {rows[0]['steps']} steps of 256",
        "probe": sum(values) / len(values),
        "spread": f"{min(values):.1%} to {max(values):.1%}",
        "knn": sum(r["knn"] for r in rows) / len(rows),
        "n": len(rows),
    }


plots.table(
    [
        {"name": "chance", "probe": 0.1, "knn": 0.1},
        line("raw pixels", "pixels", "floor"),
        line("edges, no network", "edges", "floor"),
        line("untrained, settled", "untrained", "floor"),
        {"name": "BYOL, what just ran", "n": 1} | live,
        line("BYOL, on record", "byol"),
        other("byol"),
        other("simclr"),
        other("vicreg"),
    ],
    "BYOL after 250 batches of 128, beside its neighbours' longer runs",
    {"name": "features", "probe": "probe, 100 labels", "spread": "over seeds",
     "knn": "kNN, 2,000 labels", "n": "seeds"},
    {"probe": ".1%", "knn": ".1%"},
)  # fmt: skip
print(origin)

# %%
assert verdict == "healthy" and history[-1]["knn"] > 0.15
assert abs(live["probe"] - of("byol")[0]) < 0.06  # the live run and the record agree
assert mean("byol") > mean("untrained", group="floor") + 0.05
edges = [min(of("edges", key, "floor")) for key in ("probe", "knn")]
assert edges[0] > max(of("byol")) and edges[1] > max(of("byol", "knn")) + 0.1
assert abs(mean("pixels", "knn", "floor") - mean("byol", "knn")) < 0.06
print("loss, every 50 steps:", *(f"{r['loss']:.2f}" for r in history if "knn" in r))
assert min(of("byol", "loss")) > 0.4
slow = [r["probe"] for r in minute if r["arm"] == "byol"]
fast = [r["probe"] for r in minute if r["arm"] in ("simclr", "vicreg")]
assert max(slow) < min(fast) - 0.1

# %% [markdown]
# The loss falls while BYOL learns, to nowhere near the 0 of the constant answer. Edges without any network beat BYOL in
# both columns, and raw pixels are level with BYOL in the vote. By the probe BYOL is clearly above the same encoder
# before training. But in three times the steps and six times the pictures it stays far behind SimCLR and VICReg. Not
# enough time?

# %% tags=["hide-input"]
longest = {
    r["arm"]: {k: [float(v) for v in t.split()] for k, t in r["trace"].items()}
    for r in record
    if r["group"] == "long"
}
trace = longest["byol"]
fig, (left, right) = plots.new_figure(9.0, 2.8, 1, 2)
for key, mark, name in (("knn", "s--", "vote (kNN)"), ("held_out", "o-", "probe")):
    left.plot(trace["step"][1:], [100 * v for v in trace[key][1:]], mark, label=name)
right.plot(trace["step"][1:], trace["rank_z"][1:], "o-", color=plots.COLORS[2])
left.set(title="Held-out train pictures", xlabel="step", ylabel="accuracy (%)")
left.set_ylim(0, 60)
right.set(
    title="Directions in use", xlabel="step", ylabel="RankMe of z", ylim=(0, None)
)
left.legend()
kept, vote, rank = (trace[key] for key in ("held_out", "knn", "rank_z"))
plots.show(
    fig,
    alt="Left: along a BYOL run of 3,000 steps a probe stays between "
    f"{min(kept[1:]):.0%} and {max(kept):.0%}, the vote goes from {vote[1]:.0%} to "
    f"{vote[-1]:.0%}. Right: the effective rank of the embeddings goes from "
    f"{rank[1]:.1f} to {rank[-1]:.1f}.",
)
print(
    f"step 250: probe {kept[1]:.1%}, vote {vote[1]:.1%}, rank {rank[1]:.1f};", end=" "
)
print(f"step 3,000: {kept[-1]:.1%}, {vote[-1]:.1%}, {rank[-1]:.1f}")
assert abs(kept[-1] - kept[1]) < 0.03 and vote[-1] > vote[1]
assert rank[-1] < 0.6 * rank[1]

# %% [markdown]
# No: the probe stays where it was, while the vote gains a few points and the embeddings fall to three directions. (One
# seed.) At unit length the equations let small directions grow; here they go. On ImageNet, with a larger network and
# runs a hundred times longer, BYOL comes out ahead of SimCLR ([paper](https://arxiv.org/abs/2006.07733), table 1).
#
# ## What the teacher is
#
# A moving average forgets half of a weight in $\ln\tfrac12/\ln m$ steps. BYOL starts at 0.996 and lets $m$ rise to 1
# along half a cosine; ours starts at 0.97. The paper's *own motive* was a teacher at rest (section 3): a student that
# predicts a fixed random network reaches 18.8 % on ImageNet, where the random network itself has 1.4 %.

# %%
MOMENTA = {
    "fixed target": "1: random, never moves",
    "momentum 0.999": "0.999",
    "momentum 0.99": "0.99",
    "byol": "0.97 rising to 1 (BYOL)",
    "momentum 0": "0: the student itself",
}
HALF_LIFE = {"momentum 0.999": 0.999, "momentum 0.99": 0.99, "byol": 0.97}
half = {arm: math.log(0.5) / math.log(m) for arm, m in HALF_LIFE.items()}

# %% tags=["hide-input"]
before_all = [
    {"name": "chance", "probe": 0.1, "knn": 0.1},
    line("raw pixels", "pixels", "floor"),
    line("the encoder before training, settled", "untrained", "floor"),
]
plots.table(
    before_all
    + [
        line(name, arm)
        | {"half": half.get(arm), "teacher": mean(arm, "teacher_probe")}
        | {"distance": mean(arm, "teacher_distance"), "verdict": of(arm, "verdict")[0]}
        for arm, name in MOMENTA.items()
    ],
    "The same student, five teachers (250 steps; teachers settled before the probe)",
    {"name": "teacher's momentum", "half": "half-life (steps)", "probe": "student",
     "spread": "over seeds", "teacher": "teacher", "knn": "student's kNN",
     "distance": "distance of the weights", "verdict": "diagnosis, seed 0"},
    {"probe": ".1%", "teacher": ".1%", "knn": ".1%", "half": ".0f", "distance": ".2f"},
)  # fmt: skip
print(origin)

# %%
before, frozen = of("untrained", group="floor"), of("fixed target")
gain = [b - a for a, b in zip(before, frozen, strict=True)]
print("fixed random teacher, student minus untrained:", *(f"{g:+.1%}" for g in gain))
bootstrap = [b - a for a, b in zip(frozen, of("byol"), strict=True)]
print("BYOL minus that student:", *(f"{g:+.1%}" for g in bootstrap))
assert min(gain) > 0.02 and min(bootstrap) > 0.02
without = of("momentum 0")
assert min(without) > max(before) + 0.05 and min(of("momentum 0", "spread_z")) > 0.6

# %% [markdown]
# (3) Yes, a student can learn from a teacher that knows nothing. A reason: the teacher's answer for one view can be
# predicted from another only by what both share. One that follows fast enough teaches more.
#
# In the equations the average enters only as $\tau$, which is 1 at rest: it changes *when*, hardly *whether*. Without
# any average BYOL stays alive here, and its student is as far above the start as with one (predictor four times faster
# in both).
#
# ## What goes wrong: take one part away
#
# First live, on a smaller network; the spread is 1 where new pictures point everywhere, 0 where all point the same way.

# %%
BROKEN = {
    "whole": {},
    "no predictor, no average": {"predictor": False, "momentum": 0.0, "rising": False},
    "no predictor, average kept": {"predictor": False},
    "no stop-gradient": {"stop_gradient": False},
}
small = {"width": 8, "dim": 128, "hidden_dim": 256, "out_dim": 64}
watched, panels = Monitor(train[:300], train[300:600], every=8), {}
for name, options in BROKEN.items():
    broken = newborn(**small, **options)
    job = {"steps": 40, "monitor": watched, "progress": False} | SETTINGS
    job["on_alarm"] = lambda report: None
    steps = pretrain(broken, unlabeled.images[:4096], (policy, policy), **job)
    panels[name] = [row for row in steps if "spread_z" in row]

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2)
for (name, seen), color, style in zip(
    panels.items(), plots.COLORS, ("-", "--", "-.", ":"), strict=False
):
    step = [row["step"] for row in seen[1:]]
    left.plot(step, [r["loss"] for r in seen[1:]], style, color=color, label=name)
    right.plot(step, [row["spread_z"] for row in seen[1:]], style, color=color)
left.set(title="The broken versions have the lower loss", xlabel="step", ylabel="loss")
right.set(title="and nothing left to tell pictures apart", xlabel="step", yscale="log")
right.set_ylabel("spread of z (log)")
left.legend(fontsize=8)
final = {name: seen[-1] for name, seen in panels.items()}
whole = final["whole"]
for name in list(BROKEN)[1:]:
    assert final[name]["loss"] < 0.5 * whole["loss"]
    assert final[name]["spread_z"] < 0.2 * whole["spread_z"]
plots.show(
    fig,
    alt="Left: over 40 steps the losses of the three broken versions fall towards "
    "zero, below that of the whole one. Right, log axis: the spread of their "
    "embeddings falls far below that of the whole version.",
)
for name, row in final.items():
    print(f"{name:27} spread {row['spread_z']:.4f}: diagnosed as {row['verdict']}")

# %% [markdown]
# The printed diagnosis can come late: plot the spread, and never the loss of such a method by itself. On record, three
# seeds each:

# %% tags=["hide-input"]
NAMES = {
    "byol": "BYOL",
    "no predictor": "no predictor (average kept)",
    "no stop-gradient": "no stop-gradient",
    "momentum 0": "no average",
    "momentum 0, rate 1": "no average, predictor at the student's rate",
    "momentum 0, rate 10": "no average, predictor 10 times faster",
    "simsiam": "SimSiam",
    "simsiam, one-sided": "SimSiam, one view predicts, not both",
    "linear": "a matrix as predictor, random start",
    "linear, identity": "a matrix as predictor, starts at I/2",
    "no norm": "no normalisation anywhere",
    "group norm": "group norm, standardised weights",
}
plots.table(
    before_all
    + [
        line(name, arm)
        | {"loss": mean(arm, "loss"), "spread_z": mean(arm, "spread_z")}
        | {"effective_rank_z": mean(arm, "effective_rank_z")}
        | {"verdict": ", ".join(sorted(set(of(arm, "verdict"))))}
        for arm, name in NAMES.items()
    ],
    "BYOL with one part changed, 250 steps (predictor 4 times faster unless it says)",
    {"name": "version", "probe": "probe", "spread": "over seeds", "knn": "kNN",
     "loss": "loss", "spread_z": "spread of z",
     "effective_rank_z": "effective rank of z", "verdict": "diagnosis"},
    {"probe": ".1%", "knn": ".1%", "loss": ".3f", "spread_z": ".4f",
     "effective_rank_z": ".1f"},
)  # fmt: skip
print(origin)

# %%
for arm in ("no predictor", "no stop-gradient"):
    assert max(of(arm, "spread_z")) < 0.1 < 0.5 < min(of("byol", "spread_z"))
    assert mean(arm, "loss") < 0.1 * mean("byol", "loss")
print("probe lost without an average, per seed:", end=" ")
pairs = zip(of("byol"), of("momentum 0"), strict=True)
print(*(f"{a - b:+.1%}" for a, b in pairs))
alive_z = ("momentum 0", "momentum 0, rate 1", "momentum 0, rate 10")
for arm in (*alive_z, "simsiam", "simsiam, one-sided"):
    assert min(of(arm, "spread_z")) > 0.6 and min(of(arm)) > max(before) + 0.05
for arm in ("linear", "no norm", "group norm"):
    assert max(of(arm, "spread_z")) < 0.1

# %% [markdown]
# Without predictor or stop-gradient $z$ dies (at unit length step 1 gives no reason). No row dies for want of an
# average, and SimSiam lives with one view predicting as with both (its loss is minus the cosine). A matrix with a
# random start nearly dies. The effective rank of a point counts noise: read the spread first.
#
# **BatchNorm.** Were BYOL's BatchNorm layers hidden negatives? With the batch mean subtracted, the embeddings of a
# batch cannot all be equal. Its authors trained it with group normalisation and weight standardisation instead: 73.9
# against 74.3 % ([Richemond et al., 2020](https://arxiv.org/abs/2010.10241), abstract). The last row is that experiment
# in small, the one before has no normalisation at all.

# %%
for arm in ("no norm", "group norm"):
    own = of(f"untrained, {arm}", group="floor")
    more = [a - b for a, b in zip(of(arm), own, strict=True)]
    print(f"{arm}: probe minus its own start", *(f"{v:+.1%}" for v in more))
    if arm == "no norm":
        assert sorted(more)[1] > 0.02
    spread = ", ".join(f"{v:.4f}" for v in of(arm, "spread_z"))
    print(f"    spread of z {spread}")

# %% [markdown]
# Here both collapse. So *whether* a recipe needs batch statistics depends on the rest of it (ours was never tuned
# without). Without any normalisation the encoder below the dead $z$ has learned in two seeds of three.

# %% [markdown]
# ### Does a real predictor do what the equations say?
#
# For a matrix we can predict: along the eigenvectors of the (centred) covariance of its inputs, $p$ should *rise* with
# $s$, as on the parabola. (If the predictor whitened, as [Balestriero et al., 2023](https://arxiv.org/abs/2304.12210),
# figure 5, have it, $p$ would *fall*.)

# %%
MATRICES = {
    "random start, 250 steps": ("linear", "byol"),
    "starts at I/2, 250 steps": ("linear, identity", "byol"),
    "random start, 3,000 steps": ("linear", "long"),
}
two, lines = {}, []
for name, (arm, group) in MATRICES.items():
    s, p = (
        torch.tensor([[float(v) for v in text.split()] for text in of(arm, key, group)])
        for key in ("eigenvalues", "along")
    )  # [seeds, 64]
    two[name] = (s[:, :2].sum(dim=1) / s.sum(dim=1)).min().item()
    row = {"name": name, "two": two[name], "n": len(s), "knn": mean(arm, "knn", group)}
    row["alive"] = " ".join(str(int((v > 1e-3 * v[0]).sum())) for v in s)
    places = [v[:10].argsort().argsort().double() for v in (*s, *p)]
    pairs = zip(places[: len(s)], places[len(s) :], strict=True)
    row["rho"] = statistics.fmean(
        torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in pairs
    )
    lines.append(row | {"spread": mean(arm, "spread_z", group)})

# %% tags=["hide-input"]
plots.table(
    lines,
    "A matrix as predictor: what is left of 128 directions",
    {"name": "matrix", "n": "seeds", "alive": "above 1/1000 of the first, by seed",
     "two": "variance in the first two (at least)",
     "rho": "rank correlation of p and s",
     "spread": "spread of z", "knn": "kNN"},
    {"two": ".0%", "rho": "+.2f", "spread": ".3f", "knn": ".1%"},
)  # fmt: skip
dead, half, slow = lines
assert (
    min(two.values()) > 0.9 and abs(slow["knn"] - mean("pixels", "knn", "floor")) < 0.02
)
assert dead["spread"] < 0.1 and min(half["spread"], slow["spread"]) > 0.1
assert slow["knn"] > dead["knn"] + 0.1

# %% [markdown]
# The random start that nearly dies in a short run comes back in a long one, whose warm-up is twelve times as long, too:
# in two directions only, with the vote of raw pixels. The rank correlation of that row is one seed, and counts eight
# directions that are all but dead; it rules out neither parabola nor whitening.
#
# ## Play: keep five directions alive
#
# Five directions start on the parabola at different places. Left: the speed of $p$; filled dots attract, the open one
# repels. **Raise the weight decay until the last direction dies, and compare with $1/4(1+\sigma^2)$. Then slow the
# teacher down: who lives that died before?**

# %%
widgets.explore(
    linear_byol.render,
    linear_byol.controls(),
    static=[
        {"decay": 0.05},
        {"predictor": "none"},
        {"decay": 0.22},
        {"decay": 0.1, "rate": 0.3},
    ],
    alt=linear_byol.describe,
    columns=2,
)


# %%
def lives(**options) -> int:
    return linear_byol.alive(linear_byol.run(**options))


by_decay = [(f"{d:g}", lives(decay=d)) for d in (0.05, 0.1, 0.17, 0.19, 0.21, 0.25)]
print("alive by weight decay:", by_decay)
assert lives(decay=0.17) > lives(decay=0.19) > lives(decay=0.25) == 0
# decay above the limit, a slow teacher: on the axis, and ten times as long
start = torch.tensor(linear_byol.STARTS, dtype=torch.float64)
late = linear_byol.follow(start, start**2, 600.0, 900, decay=0.22, rate=0.1)
shown, left = lives(decay=0.22, rate=0.1), linear_byol.alive(late)
print(f"alive at 0.22: {lives(decay=0.22)}; with a slow teacher {shown}, later {left}")
assert shown > lives(decay=0.22) == left == 0
for other in ({"rate": 0.1}, {"rate": 1.0}, {"speed": 0.2}, {"speed": 5.0}):
    for decay in (0.05, 0.15):
        assert lives(decay=decay, **other) == lives(decay=decay)

# %% [markdown]
# The limit is 0.2; just above it, at 0.21, two directions are still fading. Between 0.17 and 0.19 the third dies,
# *below* the limit: the watershed has risen past its start. Above the limit a slow teacher seems to save some: they
# only die later. Neither teacher nor predictor's rate changes who lives at the two decays tried.
#
# ## Exercises
#
# Solutions stand at the end.
#
# ### 1 · A test for the missing stop-gradient (••, 8 minutes)
# `loss` is a function of two float tensors, `loss(prediction, target)`, `[N, D]` each, that returns a scalar. Return
# True if a gradient flows into the target, else False.
#
# <details><summary>Hint 1</summary>Make tensors that require a gradient, and ask for the target's.</details>
# <details><summary>Hint 2</summary>Rows that agree already have no gradient to see. A loss may need no gradient at all
# (`requires_grad`): then nothing leaks. And `torch.autograd.grad` can be told that an input may be unused.</details>


# %%
def leaks(loss) -> bool:
    return NOT_ATTEMPTED


ch15.check_leaks(leaks)

# %% [markdown]
# ### 2 · How much decay can it bear? (••, 10 minutes)
# A direction starts on the parabola with predictor `p` (a float above 0), the view noise is `noise`, $\tau = 1$. Return
# the weight decay below which it lives, a float. Then find the direction of the widget that explains why one dies
# between 0.17 and 0.19.
#
# <details><summary>Hint 1</summary>It lives if it starts above the watershed, and if there is one.</details>
# <details><summary>Hint 2</summary>The speed of p at its start is positive as long as p - (1 + noise) p² exceeds the decay. Is that needed for a start above p+?</details>


# %%
def bearable_decay(p: float, noise: float) -> float:
    return NOT_ATTEMPTED


ch15.check_bearable_decay(bearable_decay)

# %% [markdown]
# ### 3 · How long does a lagging teacher hold out? (••, 10 minutes)
# Stop-gradient, no predictor, no weight decay, steps of size `rate` (as in `descend`: student first, then teacher).
# Return the number of steps, a float, in which the embedding's *variance* falls to a half once the slower of the two
# modes is all that is left. `momentum`, `noise` and `rate` are floats.
#
# <details><summary>Hint 1</summary>One step is a 2 x 2 matrix; it stands above, with decay.</details>
# <details><summary>Hint 2</summary>The larger eigenvalue multiplies the *length* in each step.</details>


# %%
def steps_to_half(momentum: float, noise: float, rate: float) -> float:
    return NOT_ATTEMPTED


ch15.check_steps_to_half(steps_to_half)

# %% [markdown]
# ### 4 · A predictor that nobody trains (•••, 12 minutes)
# DirectPred ([Tian et al., 2021](https://arxiv.org/abs/2102.06810)) sets the predictor after every step, from the
# covariance of its inputs: the same eigenvectors, and $p = \sqrt{s} + \epsilon\max_j s_j$ along them. `F` is a
# symmetric float tensor `[D, D]`, `epsilon` a float; return `[D, D]`. Eigenvalues may come out slightly negative. Then
# plug it into `descend(learn_p=False, set_p=...)`, and predict first: how many of the eight directions live?
#
# <details><summary>Hint</summary>`torch.linalg.eigh` gives the eigenvectors as columns.</details>


# %%
def direct_predictor(F: torch.Tensor, epsilon: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch15.check_direct_predictor(direct_predictor)

# %% [markdown]
# ## Claims, tested
#
# That removing the predictor or the stop-gradient collapses BYOL and SimSiam is judged in [chapter
# 20](20_collapse.ipynb).

# %%
floor = of("untrained", group="floor")


def spreads(treatment: str, control: str) -> Runs:
    """Spreads of z; the probes say who learned."""
    learned = (of(treatment), of(control))
    return Runs(of(treatment, "spread_z"), of(control, "spread_z"), floor, learned)


def probes(treatment: str, control: str) -> Runs:
    return Runs(of(treatment), of(control), floor)


book.claim("C-44", drawn=spreads("momentum 0", "byol"))
book.claim("C-45", drawn=probes("momentum 0, rate 10", "momentum 0, rate 1"))
book.claim("C-46", drawn=probes("momentum 0.99", "momentum 0"))
book.claim("C-47", drawn=probes("linear", "no predictor"))
book.claim("C-48", drawn=None)
book.claim("C-49", drawn=spreads("simsiam, one-sided", "simsiam"))

# %%
book.claim("C-50a", drawn=probes("byol", "no norm"))
starts_of = (floor, of("untrained, group norm", group="floor"))
higher = [max(pair) for pair in zip(*starts_of, strict=True)]
book.claim("C-50b", drawn=Runs(of("group norm"), of("byol"), higher))
book.claim("C-51b", drawn=None)

# %% [markdown]
# C-48 speaks of ten epochs and more: the runs with both starts are four epochs long (there the start matters), the long
# one has no counterpart. C-51b asks for eight living directions.
#
# ## Where it comes from, where it went
#
# The moving average came from semi-supervised learning ([Tarvainen and Valpola,
# 2017](https://arxiv.org/abs/1703.01780)). [DINO](https://arxiv.org/abs/2104.14294) dropped the predictor:
# [15b](15b_centre_and_sharpen.ipynb).
#
# ### Quiz
#
# **1.** Your BYOL run has loss 0.02 after 200 steps, your colleague's 0.6. Who should worry?
# <details><summary>Answer</summary>You, probably. The constant network has loss 0. Look at the spread and at kNN.</details>
#
# **2.** Why does a *perfect* predictor not make the embedding grow, and why is that no problem?
# <details><summary>Answer</summary>Growth needs a prediction that falls short. At $p^*$ only weight decay is left; variance shrinks a
# little, the predictor follows it down and falls short again. At $p_+ < p^*$ the two balance.</details>
#
# **3.** A teacher has momentum 0.999 in a run of 250 steps. Which *other* row of the table of teachers should it
# resemble?
# <details><summary>Answer</summary>The one that never moves: in 250 steps it has moved by less than a quarter.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def leaks(loss):
#     g = torch.Generator().manual_seed(0)
#     prediction, target = (torch.randn(8, 5, generator=g, requires_grad=True) for _ in range(2))
#     value = loss(prediction, target)
#     if not value.requires_grad:  # nothing learns from it, neither side
#         return False
#     (gradient,) = torch.autograd.grad(value, target, allow_unused=True)
#     return gradient is not None and bool(gradient.abs().max() > 0)
#
#
# def bearable_decay(p, noise):
#     # On the left of the hump the start must climb: decay < p - (1 + noise) p^2. On its right the watershed is lower
#     # than p for every decay that has one. p = 0.3 gives 0.1875 (between 0.17 and 0.19), p = 0.6 the limit, 0.2.
#     best = 1 / (2 * (1 + noise))
#     p = min(p, best)
#     return p - (1 + noise) * p**2
#
#
# def steps_to_half(momentum, noise, rate):
#     keep = 1 - rate * (1 + noise)
#     step = torch.tensor([[keep, rate], [(1 - momentum) * keep, momentum + (1 - momentum) * rate]]).double()
#     return math.log(0.5) / (2 * math.log(torch.linalg.eigvals(step).abs().max()))
#
#
# def direct_predictor(F, epsilon):
#     s, U = torch.linalg.eigh(F)
#     s = s.clamp_min(0)
#     return U @ torch.diag(s.sqrt() + epsilon * s.max()) @ U.T
#     # descend(learn_p=False, set_p=lambda F: direct_predictor(F, 0.1)): all eight live: p = sqrt(s) starts
#     # at 0.2 or more, above the watershed (0.010).
# ```
