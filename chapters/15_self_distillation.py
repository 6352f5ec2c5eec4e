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
# - write BYOL in twenty lines, and say what each part is for by breaking it;
# - derive, for linear networks, when a direction of the embedding lives and when it dies;
# - explain what the stop-gradient, the predictor, the moving average and weight decay each do in that derivation;
# - say which collapse centring prevents in DINO, which one sharpening prevents, and read both off two curves;
# - place SimSiam, MSF, ISD, iBOT, DINOv2 and knowledge distillation on one map.
#
# **You need** chapter 13 (NT-Xent), eigenvalues, and the chain rule.
# **Time**: 68 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("15")

# %% [markdown]
# ## The puzzle: a test you can pass by saying nothing
#
# NT-Xent asks two views of a picture to agree *and* to differ from the views of all other pictures. Take the
# second half away. What is left is: two views of a picture shall agree. In code, one line:

# %%
import copy
import math
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import data, evaluation, exercises, plots, views, widgets
from ssl_lessons.book.exercises import ch15
from ssl_lessons.book.widgets import linear_byol
from ssl_lessons.diagnostics import diagnose, uniformity
from ssl_lessons.losses import distillation
from ssl_lessons.methods.byol import BYOL
from ssl_lessons.models import build_encoder
from ssl_lessons.training import Monitor, pretrain, recipes

recipe = recipes.get_recipe("quick", method="byol")
unlabeled = data.shapes("unlabeled", n=8192, world=1)
train, test = data.shapes("train", n=2000, world=1), data.shapes("test", n=2000, world=1)


def agreement_loss(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """p, z [N, D]: mean squared distance of the unit-length rows, 2 - 2 cos. From 0 to 4."""
    return (F.normalize(p, dim=1) - F.normalize(z, dim=1)).square().sum(dim=1).mean()


generator = torch.Generator().manual_seed(0)
first, second = views.make_views(unlabeled.images[:256], (recipe.policy, recipe.policy), generator)
fresh = recipe.build(seed=0).eval()
with torch.no_grad():
    z1, z2 = fresh.embed(first), fresh.embed(second)
constant = torch.ones(256, 128)
plots.table(
    [
        {"network": "untrained encoder and projector", "loss": agreement_loss(z1, z2).item()},
        {
            "network": "answers (1, 1, ..., 1), whatever it sees",
            "loss": agreement_loss(constant, constant).item(),
        },
    ],
    "Two views of 256 pictures shall agree (0 is perfect)",
    {"network": "network", "loss": "loss"},
    ".3f",
)

# %% [markdown]
# The constant network is perfect. It has learned nothing, and no other network can beat it. This is
# **collapse**, and gradient descent should find it: nothing is easier than to say the same thing every time.
#
# Two papers of 2020 trained with this very loss and got features as good as SimCLR's: BYOL ([Grill et al.,
# 2020](https://arxiv.org/abs/2006.07733)) and SimSiam ([Chen and He,
# 2021](https://arxiv.org/abs/2011.10566)). They added two small things.
#
# - A **predictor**: a small network on *one* side. Its output for view 1 shall agree with the embedding of
#   view 2.
# - A **stop-gradient** on the other side: the embedding of view 2 is treated as a constant, a target.
#
# Neither forbids the constant answer: the constant network still has loss 0. So does it help?
#
# Here is the smallest experiment that can tell. The data are 8-dimensional Gaussian vectors $x$; a view is $x$
# plus noise; student and predictor are plain matrices $W$ and $P$; gradient descent on
# $\tfrac12\lVert P W x_1 - W x_2\rVert^2$. Four versions, with and without each of the two things.
#
# > **Predict before you go on.** (1) Which of the four versions collapse? (2) Which of the four has the lowest
# > loss at the end?

# %%
D, NOISE, DECAY, LR, BATCH = 8, 0.25, 0.01, 0.05, 256


def linear_byol_run(predictor=True, stop_gradient=True, momentum=None, start=None, steps=400, seed=0):
    """Gradient descent by hand: losses [steps] and the variances of the 8 directions of W x [steps, 8]."""
    g = torch.Generator().manual_seed(seed)
    W = torch.linalg.qr(torch.randn(D, D, generator=g))[0] * torch.linspace(0.2, 0.7, D)
    P = torch.eye(D) if not predictor else 0.5 * torch.eye(D) if start is None else start
    teacher, losses, variances = W, [], []
    for _ in range(steps):
        x = torch.randn(BATCH, D, generator=g)
        x1, x2 = x + NOISE**0.5 * torch.randn(2, BATCH, D, generator=g)
        error = x1 @ W.T @ P.T - x2 @ teacher.T
        grad_w, grad_p = P.T @ error.T @ x1 / BATCH, error.T @ (x1 @ W.T) / BATCH
        if not stop_gradient:
            grad_w = grad_w - error.T @ x2 / BATCH
        W = W - LR * (grad_w + DECAY * W)
        if predictor:
            P = P - LR * (grad_p + DECAY * P)
        teacher = W if momentum is None else momentum * teacher + (1 - momentum) * W
        losses.append(error.square().sum(dim=1).mean().item() / 2)
        variances.append(torch.linalg.svdvals(W).square())
    return torch.tensor(losses), torch.stack(variances)


arms = {
    "neither": {"predictor": False, "stop_gradient": False},
    "predictor only": {"stop_gradient": False},
    "stop-gradient only": {"predictor": False},
    "both": {},
}
toy = {name: linear_byol_run(**options) for name, options in arms.items()}

fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2)
for (name, (losses, variances)), color, style in zip(toy.items(), plots.COLORS, ("-", "--", "-.", "-")):
    left.plot(losses, style, color=color, label=name)
    right.plot(variances.mean(dim=1), style, color=color, label=name)
left.set(title="Three losses go to zero. They are the failures", xlabel="step", ylabel="loss", ylim=(0, None))
right.set(
    title="Only one version keeps pictures apart",
    xlabel="step",
    ylabel="mean variance of W x per direction",
    yscale="log",
    ylim=(1e-6, 2),
)
left.legend()
plots.show(
    fig,
    alt="Left: the losses of the versions with neither, predictor only and stop-gradient only fall to zero; the "
    "loss with both rises and levels off. Right, log axis: the variance of the embedding falls by orders of "
    "magnitude in the first three and rises to a plateau in the version with both.",
)
for name, (losses, variances) in toy.items():
    print(f"{name:19} loss {losses[0]:.2f} -> {losses[-1]:.4f}, smallest variance {variances[-1].min():.1e}")

# %% [markdown]
# With both, and only with both, the network does not collapse; and its loss *rises* while it learns. A loss
# that nobody is minimising: with a stop-gradient, the update is no longer the gradient of anything. That is
# the key to the puzzle, and the rest of this chapter unlocks it, first for matrices, then for real networks,
# then for DINO, which throws the predictor away.

# %% [markdown]
# ## The idea, step 1: without the stop-gradient, length can only be lost
#
# Notation for the linear model, after [Tian et al. (2021)](https://arxiv.org/abs/2102.06810): views $x_1, x_2$
# of the same $x$; student $W$ $[D, D]$, predictor $P$ $[D, D]$, teacher $W_a$ $[D, D]$ (equal to $W$ when
# there is no moving average); $x$ has covariance $I$, a view adds noise of variance $\sigma^2$ in every
# direction. All expectations are over pictures and views.
#
# Take the loss without stop-gradient, $J(W) = \tfrac12\mathbb{E}\lVert P W x_1 - W x_2\rVert^2$. Scale the
# network: $J(cW) = c^2 J(W)$. Differentiate by $c$ at $c = 1$:
#
# $$\langle W, \nabla J(W)\rangle = 2 J(W) \ge 0.$$
#
# Gradient descent moves $W$ along $-\nabla J$, so its squared length changes at the rate
# $-2\langle W, \nabla J\rangle = -4J \le 0$. *Whatever the predictor does*, the embedding shrinks until the
# loss is zero. For views that differ, $J = 0$ means $W = 0$.
#
# With the stop-gradient, only the first $W$ is differentiated, and the update is
# $g = \mathbb{E}[P^\top(P W x_1 - W x_2)\,x_1^\top]$. Its product with $W$,
#
# $$\langle W, g\rangle = \mathbb{E}\,\langle P W x_1,\; P W x_1 - W x_2\rangle,$$
#
# has no fixed sign: it is negative, and the embedding grows, whenever the prediction falls short of its
# target. That is the **gradient of the spread**, and it is the whole secret: a prediction of a noisy view
# *should* fall short. We compute how far.

# %%
# NBVAL_CHECK_OUTPUT
generator = torch.Generator().manual_seed(0)
W, P = (torch.randn(D, D, generator=generator, dtype=torch.float64) for _ in range(2))
x = torch.randn(4096, D, generator=generator, dtype=torch.float64)
x1, x2 = x + 0.5 * torch.randn(2, 4096, D, generator=generator, dtype=torch.float64)


def gradient_of_length(P: torch.Tensor, stop_gradient: bool) -> tuple[float, float]:
    """<W, gradient> and 2 J."""
    w = W.clone().requires_grad_()
    target = x2 @ w.T
    J = (x1 @ w.T @ P.T - (target.detach() if stop_gradient else target)).square().sum(dim=1).mean() / 2
    (gradient,) = torch.autograd.grad(J, w)
    return (gradient * W).sum().item(), 2 * J.item()


for scale in (0.3, 1.0):
    product, twice = gradient_of_length(scale * torch.eye(D, dtype=torch.float64), stop_gradient=False)
    print(f"predictor {scale} I, gradient through both sides: <W, grad> = 2 J: {abs(product - twice) < 1e-9}")
    product, _ = gradient_of_length(scale * torch.eye(D, dtype=torch.float64), stop_gradient=True)
    print(f"predictor {scale} I, stop-gradient: the embedding {'grows' if product < 0 else 'shrinks'}")

# %% [markdown]
# ## Step 2: the stop-gradient alone is not enough
#
# Without a predictor ($P = I$), the expectation is quick: $\mathbb{E}[x_1x_1^\top] = (1 + \sigma^2) I$ and
# $\mathbb{E}[x_2x_1^\top] = I$, so $g = W(1 + \sigma^2) - W_a$. If the teacher is the student itself,
#
# $$\dot W = -\sigma^2 W,$$
#
# an exponential death at the rate of the view noise. A teacher that lags behind helps for a while: it
# remembers a longer $W$. With $\dot W_a = \beta(W - W_a)$ the two equations are linear, and the slower of the
# two rates solves $\lambda^2 + (1 + \sigma^2 + \beta)\lambda + \beta\sigma^2 = 0$. All three coefficients are
# positive, so both rates are negative. **A moving average delays this collapse. It cannot prevent it.**

# %%
rows = []
for momentum in (None, 0.9, 0.99):
    _, variances = linear_byol_run(predictor=False, momentum=momentum, steps=800)
    beta = math.inf if momentum is None else (1 - momentum) / LR  # per unit of time: one step is LR
    b = 1 + NOISE + beta
    rate = -NOISE if momentum is None else (-b + math.sqrt(b**2 - 4 * beta * NOISE)) / 2
    halves = (variances[700] / variances[400]).log().mean().item() / (2 * 300 * LR)
    rows.append({"momentum": str(momentum or "no teacher"), "measured": halves, "theory": rate - DECAY})
plots.table(
    rows,
    "Stop-gradient without predictor: growth rate of W (steps 400 to 700; weight decay included)",
    {"momentum": "teacher momentum", "measured": "measured", "theory": "theory, about"},
    ".3f",
)

# %% [markdown]
# ## Step 3: with a predictor, every direction fights for itself
#
# Now let $P$ learn as well, $\alpha$ times as fast as $W$, both with weight decay $\eta$. The expected updates
# are ([Tian et al.](https://arxiv.org/abs/2102.06810), for isotropic noise)
#
# $$\dot P = -\alpha\big((1 + \sigma^2)\,P F - W_a W^\top\big) - \eta P, \qquad
# \dot W = -P^\top\big((1 + \sigma^2)\,P W - W_a\big) - \eta W, \qquad F = W W^\top.$$
#
# $F$ is the covariance of the noise-free embeddings: its eigenvalues are the variances of the directions of
# the embedding. Two facts make this solvable. Training aligns the eigenvectors of $P$ with those of $F$
# (they prove it; you will see it); then, if the teacher is a shorter or longer copy of the student, $W_a = \tau W$,
# everything falls apart into single directions. For one direction let $s$ be its variance (the eigenvalue of
# $F$), and $p$ the eigenvalue of $P$:
#
# $$\boxed{\;\dot p = \alpha\, s\,\big[\tau - (1 + \sigma^2)p\big] - \eta p, \qquad
# \dot s = 2\, p\, s\,\big[\tau - (1 + \sigma^2)p\big] - 2\eta s\;}$$
#
# Check one line yourself: $\dot F = \dot W W^\top + W\dot W^\top$, and in the shared eigenbasis
# $\dot W W^\top$ becomes $-p\big((1+\sigma^2)p s - \tau s\big) - \eta s$.
#
# Now read. The bracket $\tau - (1+\sigma^2)p$ is **how far the predictor falls short**. The best predictor of
# a noisy view shrinks: $p^* = \tau/(1 + \sigma^2)$, as in any regression on noisy inputs.
#
# - **Variance grows exactly while the predictor falls short**, $0 < p < p^*$: the student makes up for it by
#   shouting louder. A perfect predictor ($p = p^*$) would leave only the weight decay.
# - **Without a predictor** $p = 1 > p^*$: the bracket is negative for ever. That was step 2.
# - **A dead predictor** ($p = 0$) pulls nothing up, and $p < 0$ pushes the direction down.
# - **Both feed each other.** Multiply the first equation by $2p/\alpha$ and compare:
#   $\frac{d}{dt}\big(s - p^2/\alpha\big) = -2\eta\big(s - p^2/\alpha\big)$. Whatever the start, weight decay
#   drives the pair onto the parabola $s = p^2/\alpha$. On it, only one equation is left:
#
# $$\dot p = p\,\big(\tau p - (1+\sigma^2)p^2 - \eta\big) \quad\Rightarrow\quad
# p = 0 \;\text{ or }\; p_\pm = \frac{\tau \pm\sqrt{\tau^2 - 4\eta(1+\sigma^2)}}{2(1+\sigma^2)}.$$
#
# The middle one, $p_-$, repels. A direction that starts above it climbs to $p_+$ and lives; one that starts
# below it slides to 0 and dies. Weight decay moves the watershed: without any, every direction with $p > 0$
# lives; above $\eta = \tau^2/4(1+\sigma^2)$ none does.
#
# Are these equations the truth, or a cartoon? Put the noisy $8\times 8$ gradient descent from the puzzle
# beside them: same start, and time = step times learning rate.

# %%
STEPS = 800
_, variances = linear_byol_run(steps=STEPS)
start = torch.linspace(0.2, 0.7, D).square().flip(0)
path = linear_byol.follow(
    torch.full((D,), 0.5), start, seconds=STEPS * LR, steps=STEPS, decay=DECAY, noise=NOISE
)
p_low, p_high = linear_byol.fixed_points(DECAY, NOISE)[1:]

fig, (left, right) = plots.new_figure(9.0, 3.2, 1, 2)
for i in range(0, D, 2):
    color = plots.COLORS[i // 2]
    left.plot(path.s[:, i], color=color, label=f"starts at {start[i]:.2f}")
    left.plot(range(0, STEPS, 40), variances[::40, i], "o", color=color, markersize=3.5)
left.axhline(p_high**2, color=plots.GRAY, linestyle=":")
left.set(
    title="Dots: gradient descent. Lines: the two equations",
    xlabel="step",
    ylabel="variance of a direction, s",
    ylim=(0, 1.15),
)
left.legend(fontsize=7)
grid = torch.linspace(0, 1.1, 300, dtype=torch.float64)
for decay, style in ((0.0, "--"), (0.1, "-"), (0.22, "-.")):
    speed = grid**2 - (1 + NOISE) * grid**3 - decay * grid
    right.plot(grid, speed, style, label=f"weight decay {decay:g}")
    for p in linear_byol.fixed_points(decay, NOISE)[1:]:
        right.plot([p], [0], "o", color="black", markersize=4)
right.axhline(0, color=plots.GRAY, linewidth=0.8)
right.set(title="Above zero the direction grows", xlabel="p (predictor, one direction)", ylabel="dp/dt")
right.set_ylim(-0.12, 0.13)
right.legend(fontsize=7)
plots.show(
    fig,
    alt="Left: variances of four directions over 800 steps; dots from stochastic gradient descent follow the "
    "curves of the two differential equations towards one common resting value. Right: the speed of p against p "
    "for three weight decays; without decay it is positive up to 0.8, with 0.1 it is negative below a threshold, "
    "with 0.22 it is negative everywhere.",
)
apart = (path.s[1:].float() - variances).abs()
print(f"largest gap between equations and gradient descent: {apart.max():.3f} (variance, of {p_high**2:.2f})")
print(
    f"a direction lives if its p starts above {p_low:.3f}; it then rests at p = {p_high:.3f}, s = {p_high**2:.3f}"
)

# %% [markdown]
# The dots are noisy (each is one random draw), and early on the eigenvectors are not yet aligned; the shape,
# the order and the resting place are right. Notice what happens to the *spectrum*: directions that started
# six times apart end nearly equal. Nobody asked for that.
#
# ### A bad predictor at the start, and a predictor nobody trains
#
# The equations also say what a bad start does. Let $P$ begin at zero, at random, or *negative*. The claim in
# the literature is that a linear predictor recovers. And DirectPred ([Tian et al.,
# 2021](https://arxiv.org/abs/2102.06810)) does not train $P$ at all: after every step it *sets* it,
# from the eigenvectors of $F$, to $p = \sqrt s + \epsilon\max s$, the very curve that training was heading for
# ($\alpha = 1$).

# %%


def direct_pred_run(epsilon: float, steps: int = STEPS, seed: int = 0) -> torch.Tensor:
    """As linear_byol_run, but P is set from the running covariance of the embeddings: variances [steps, 8]."""
    g = torch.Generator().manual_seed(seed)
    W = torch.linalg.qr(torch.randn(D, D, generator=g))[0] * torch.linspace(0.2, 0.7, D)
    f_hat, variances = W @ W.T, []
    for _ in range(steps):
        x = torch.randn(BATCH, D, generator=g)
        x1, x2 = x + NOISE**0.5 * torch.randn(2, BATCH, D, generator=g)
        z = x1 @ W.T
        f_hat = 0.7 * f_hat + 0.3 * z.T @ z / BATCH
        s, U = torch.linalg.eigh(f_hat)
        P = U @ torch.diag(s.clamp_min(0).sqrt() + epsilon * s.max()) @ U.T
        W = W - LR * (P.T @ (z @ P.T - x2 @ W.T).T @ x1 / BATCH + DECAY * W)
        variances.append(torch.linalg.svdvals(W).square())
    return torch.stack(variances)


generator = torch.Generator().manual_seed(3)
starts = {
    "P = 0.5 I": 0.5 * torch.eye(D),
    "P = 0": torch.zeros(D, D),
    "P random": torch.randn(D, D, generator=generator) / D**0.5,
    "P = -0.5 I": -0.5 * torch.eye(D),
}
recovered = {name: linear_byol_run(start=P, steps=2 * STEPS)[1] for name, P in starts.items()}
recovered |= {f"DirectPred, epsilon {e:g}": direct_pred_run(e, 2 * STEPS) for e in (0.0, 0.1)}
ALIVE = 0.01  # of a possible variance of about 1
alive = {name: int((v[-1] > ALIVE).sum()) for name, v in recovered.items()}
plots.table(
    [
        {
            "start": name,
            "lowest": v.mean(dim=1).min().item(),
            "end": v[-1].mean().item(),
            "alive": f"{alive[name]} of {D}",
        }
        for name, v in recovered.items()
    ],
    "Linear BYOL from good and bad predictors",
    {
        "start": "predictor",
        "lowest": "lowest mean variance",
        "end": "at the end",
        "alive": "directions alive",
    },
    ".3f",
)

# %% [markdown]
# A zero predictor recovers completely. A random or negative one recovers too, if you only look at the mean:
# the embedding is alive. But look at the last column. Where $p$ was negative, $\dot s < 0$ had killed the
# variance before $p$ came back up, and a dead direction gives $p$ no gradient. The result is a **dimensional
# collapse that no curve of the loss shows**. Remember it when you see how few directions our small BYOL uses
# below. DirectPred has no such memory: it never lets $p$ go negative.
#
# Everything above is about the squared distance. BYOL's loss normalises first; then the length of the
# embedding cannot be lost, and the bracket becomes a comparison of each direction with the *average* one. The
# conclusion stays: the equations push variances together instead of to zero ([Halvagal et al.,
# 2023](https://arxiv.org/abs/2212.04858) do this calculation).

# %% [markdown]
# ## Step 4: BYOL, written out
#
# From matrices back to networks. BYOL ([Grill et al., 2020](https://arxiv.org/abs/2006.07733)) has a
# **student** (encoder $f$ and projector $g$) with a **predictor** $q$, and a **teacher** of the same
# architecture without one. With $\bar u = u/\lVert u\rVert$, and $\theta$, $\xi$ the weights of student and
# teacher,
#
# $$L = \big\lVert\,\overline{q(g_\theta(f_\theta(v_1)))} - \mathrm{sg}\,\overline{g_\xi(f_\xi(v_2))}\,\big\rVert^2 = 2 - 2\cos, \qquad
# \xi \leftarrow m\,\xi + (1 - m)\,\theta,$$
#
# plus the same with the views exchanged (equation 2 of the paper; sg is the stop-gradient). The teacher is an
# **exponential moving average** (EMA) of the student: it takes no gradient at all. SimSiam ([Chen and He,
# 2021](https://arxiv.org/abs/2011.10566)) is BYOL with $m = 0$: the teacher is the student of this moment. (In
# print you find that the *symmetrised* loss is what saves SimSiam. In the toy above nothing is symmetric. You
# will see the claim tested.)

# %%


@torch.no_grad()
def ema_update(student, teacher, m: float) -> None:
    for s, t in zip(student.parameters(), teacher.parameters()):
        t.mul_(m).add_(s, alpha=1 - m)


def my_byol_loss(student, predictor, teacher, v1, v2):
    p1, p2 = predictor(student(v1)), predictor(student(v2))
    with torch.no_grad():  # the stop-gradient
        z1, z2 = teacher(v1), teacher(v2)
    return agreement_loss(p1, z2) + agreement_loss(p2, z1)


# %%
# NBVAL_CHECK_OUTPUT
method = recipe.build(seed=0)
student = torch.nn.Sequential(method.encoder, method.projector)
with torch.no_grad():
    for weights in method.teacher.parameters():
        weights.mul_(1.1)  # a teacher unlike the student
mine, theirs = copy.deepcopy(method.teacher), method.teacher
value = my_byol_loss(student, method.predictor, mine, first, second)
print("same loss as the package:", torch.allclose(value, method([first, second]), atol=1e-5))
method.after_step(progress=0.0)
ema_update(student, mine, method.momentum)
print(
    "same teacher:",
    all(torch.allclose(a, b, atol=1e-6) for a, b in zip(mine.parameters(), theirs.parameters())),
)
a, b = torch.randn(2, 9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
print("agreement_loss is byol_loss:", torch.allclose(agreement_loss(a, b), distillation.byol(a, b)))

# %% [markdown]
# ## The run
#
# BYOL on our pictures, 300 steps, from the same untrained encoder as every method of this book. Watch the
# right panel: the spread of the features. **Before you look**: will the loss fall monotonically?

# %%
monitor = Monitor(train[:1000], train[1000:2000], every=30)
method = recipe.build(seed=0)
history = pretrain(
    method,
    unlabeled.images,
    method.views(recipe.policy),
    steps=300,
    monitor=monitor,
    **recipe.training(),
)
plots.show(
    plots.training_panel(history, "BYOL learns without a single negative", chance=1 / len(train.classes)),
    alt="Three panels over 300 steps of BYOL: the loss, the kNN accuracy, which rises well above chance, and the "
    "spread and rank of the features, which do not collapse.",
)


# %%
def quality(encoder) -> dict:
    a, b = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    probe = evaluation.label_efficiency(a, train.labels, b, test.labels, per_class=(10,), draws=5)[0]["mean"]
    return {"probe": probe, "knn": evaluation.knn_accuracy(a, train.labels, b, test.labels)}


families, _ = book.recorded("families")
recorded = next(row for row in families if row["method"] == "byol" and row["arm"] == "live")
before = next(row for row in families if row["method"] == "untrained" and row["seed"] == 0)
live = quality(method.encoder)
plots.table(
    [
        {"name": "untrained encoder", **{k: before[k] for k in ("probe", "knn")}},
        {"name": "BYOL, what just ran", **live},
        {"name": "BYOL, the same run on record", **{k: recorded[k] for k in ("probe", "knn")}},
    ],
    "300 steps of BYOL",
    {"name": "representation", "probe": "probe, 100 labels", "knn": "kNN, 2,000 labels"},
    ".1%",
)
assert abs(live["probe"] - recorded["probe"]) < 0.06, "the live run no longer agrees with the record"
print("At the end of the run:", diagnose(method.embed(views.normalize(test.images[:500]))).verdict)

# %% [markdown]
# And here is the whole family beside the leading methods of the neighbouring chapters: one minute of training
# each on two cores, the same encoder and pictures (iBOT needs a vision transformer, ViT), three seeds.

# %%
FAMILY = ("byol", "simsiam", "msf", "dino", "ibot")
has_run = {row["method"] for row in families if row["arm"] == "minute"}
book.results_table(
    [m for m in ("untrained_vit", "simclr", "moco_v2", "vicreg", "swav", *FAMILY) if m in has_run],
    "One minute each: the running table",
)

# %%
median = {
    m: sorted(row["probe"] for row in families if row["method"] == m and row["arm"] == "minute")
    for m in ("untrained", "untrained_vit", "simclr", *FAMILY)
}
median = {m: values[len(values) // 2] for m, values in median.items() if values}
for m in FAMILY:
    if m in median:
        floor = median["untrained_vit" if m == "ibot" else "untrained"]
        print(f"{m:8} {100 * (median[m] - floor):+5.1f} points over its untrained encoder, "
              f"{100 * (median[m] - median['simclr']):+5.1f} over SimCLR")  # fmt: skip

# %% [markdown]
# Be honest with this table. In one minute, self-distillation is a slow learner, slower than anything with
# negatives or with explicit decorrelation; a method that does not clear its untrained encoder by 15 points has
# not had enough time, and the table says so. (Look at iBOT's steps: with a transformer, and a head on every token
# of student and teacher, a minute buys few of them.) The theory says why. A
# direction grows at a rate proportional to
# its own $p$ and $s$: *small directions wait*, and the effective rank below shows how few have been woken.
# Negatives push on all directions from the first step. On ImageNet the race lasts a thousand times longer, and
# there BYOL comes out ahead of SimCLR ([Grill et al., 2020](https://arxiv.org/abs/2006.07733), table 1).
#
# ## The teacher: how far behind, and does it matter?
#
# A moving average with momentum $m$ forgets half of a weight after $\ln\tfrac12/\ln m$ steps. BYOL starts at
# $m = 0.996$ and lets it rise to 1 along half a cosine, $m_k = 1 - (1 - m)(\cos(\pi k/K) + 1)/2$: a teacher
# that stops moving as the student's learning rate goes to zero. Look at the recorded runs (250 steps of BYOL
# with one thing changed; the line below the figure says how they were made).

# %%
record, origin = book.recorded("self_distillation")


def arm(name: str, group: str = "byol") -> dict:
    """The recorded run of that name (seed 0)."""
    return next(row for row in record if (row["group"], row["arm"], row["seed"]) == (group, name, 0))


def half_life(m: float) -> float:
    return math.log(0.5) / math.log(m)


momenta = {"momentum_0.9": 0.9, "byol": 0.97, "momentum_0.99": 0.99, "momentum_0.999": 0.999}
fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2)
for (name, m), color in zip(momenta.items(), plots.COLORS):
    trace = arm(name)["trace"]
    label = f"{m:g} (half-life {half_life(m):.0f} steps)" if name != "byol" else f"{m:g} rising to 1"
    left.plot(trace["step"], trace["teacher_distance"], "o-", color=color, markersize=3, label=label)
    right.plot(trace["step"], [100 * k for k in trace["knn"]], "o-", color=color, markersize=3)
left.set(
    title="The teacher trails its student",
    xlabel="step",
    ylabel="|student - teacher| / |student|",
)
right.set(title="A teacher too slow for the run holds it back", xlabel="step", ylabel="kNN accuracy (%)")
left.legend(title="momentum", fontsize=7)
plots.show(
    fig,
    alt="Left: relative distance of teacher and student weights over the training, for four momenta; the larger the "
    "momentum, the larger the distance. Right: the kNN accuracy of the same runs.",
)
print(origin)
plots.table(
    [
        {
            "arm": f"{m:g}" + (" rising" if name == "byol" else ""),
            "half": half_life(m),
            "student": arm(name)["probe"],
            "teacher": arm(name)["teacher_probe"],
        }
        for name, m in momenta.items()
    ],
    "Who is better at the end, the student or the teacher? (probe, 100 labels)",
    {"arm": "momentum", "half": "half-life (steps)", "student": "student", "teacher": "teacher"},
    {"half": ".0f", "student": ".1%", "teacher": ".1%"},
)

# %% [markdown]
# The rule to take home is about the *ratio*: a half-life much longer than the run is a frozen random teacher.
# The famous 0.996 or 0.999 belong to runs of hundreds of thousands of steps.
#
# Is the teacher necessary, then? One popular text says the moving average is crucial, and two pages later
# that it is not ([Balestriero et al., 2023](https://arxiv.org/abs/2304.12210)). In our equations it enters as
# $\tau$ only: it changes *when* things happen, not *whether*. What the equations need is a predictor that
# keeps up with the student; a slow teacher is one way to give it time, a **faster predictor** is another
# (SimSiam's authors found that a predictor whose learning rate does not decay does better).

# %% [markdown]
# ## What goes wrong: take one part away
#
# First live, on a smaller network, forty steps each, so that you see it happen; then on record. The verdict is
# `diagnose`'s, from the embeddings of pictures it has not trained on.

# %%
BROKEN = {
    "healthy": {},
    "no predictor, no EMA": {"predictor": False, "momentum": 0.0, "rising": False},
    "no predictor, EMA 0.97": {"predictor": False},
    "no stop-gradient": {"stop_gradient": False},
}
watched = Monitor(train[:300], train[300:600], every=8)
panels, rows = {}, []
for name, options in BROKEN.items():
    torch.manual_seed(0)
    broken = BYOL(build_encoder("convnet", width=8, dim=128), hidden_dim=256, out_dim=64, **options)
    panels[name] = pretrain(
        broken,
        unlabeled.images[:4096],
        broken.views(recipe.policy),
        steps=40,
        monitor=watched,
        progress=False,
        **recipe.training() | {"batch_size": 128},
    )
    last = panels[name][-1]
    rows.append({"version": name, **{k: last[k] for k in ("loss", "knn", "spread_z", "verdict")}})

fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2)
for (name, steps), color, style in zip(panels.items(), plots.COLORS, ("-", "--", "-.", ":")):
    left.plot([r["step"] for r in steps], [r["loss"] for r in steps], style, color=color, label=name)
    seen = [r for r in steps if "spread_z" in r]
    right.plot([r["step"] for r in seen], [r["spread_z"] for r in seen], style, color=color)
left.set(
    title="The broken versions have the lower loss",
    xlabel="step",
    ylabel="loss (both directions)",
    ylim=(0, 4),
)
right.set(
    title="and nothing left to tell pictures apart",
    xlabel="step",
    ylabel="spread of z (1 = all)",
    yscale="log",
)
left.legend(fontsize=7)
plots.show(
    fig,
    alt="Left: over 40 steps the losses of the three broken versions fall towards zero, below that of the healthy one. "
    "Right, log axis: the spread of their embeddings falls far below that of the healthy version.",
)
plots.table(
    rows,
    "After 40 steps",
    {"version": "version", "loss": "loss", "knn": "kNN", "spread_z": "spread of z", "verdict": "diagnosis"},
    {"loss": ".3f", "knn": ".1%", "spread_z": ".4f"},
)

# %% [markdown]
# As in the toy: the lower the loss, the worse the network. And look at where the curves on the right *begin*.
# An untrained network with its untrained head is nearly collapsed to start with: a common direction plus a
# little. The healthy version climbs out, with nothing pushing pictures apart. That is $\dot s > 0$, live.
#
# **How to see it**: never watch the loss of such a
# method alone; log the spread of the unit-length embeddings beside it.
#
# Now the longer, recorded runs, with more parts exchanged.

# %%
NAMES = {
    "byol": "BYOL",
    "no_predictor": "no predictor (EMA kept)",
    "no_predictor_no_ema": "no predictor, no EMA",
    "no_stop_gradient": "no stop-gradient",
    "one_sided": "not symmetrised",
    "no_ema": "no EMA, predictor at the same rate",
    "no_ema_fast_predictor": "no EMA, predictor 10 times faster",
    "slow_predictor": "EMA, predictor at the same rate",
    "linear_predictor": "linear predictor, random start",
    "linear_from_identity": "linear predictor, starts at I/2",
    "no_batch_norm": "no BatchNorm in the heads",
}
NAMES = {name: title for name, title in NAMES.items() if any(row["arm"] == name for row in record)}
columns = ("probe", "knn", "loss", "spread_z", "rank_z", "verdict")
plots.table(
    [{"arm": title, **{k: arm(name)[k] for k in columns}} for name, title in NAMES.items()],
    f"BYOL with one part changed, {arm('byol')['steps']} steps, seed 0 (chance 10 %)",
    {"arm": "version", "probe": "probe", "knn": "kNN", "loss": "loss", "spread_z": "spread of z",
     "rank_z": "effective rank of z", "verdict": "diagnosis"},
    {"probe": ".1%", "knn": ".1%", "loss": ".3f", "spread_z": ".4f", "rank_z": ".1f"},
)  # fmt: skip
print(origin)

# %% [markdown]
# Go through it with the equations in your hand. The three collapsed rows at the top are steps 1 and 2. The
# rows without a moving average live: the teacher is a convenience, not a life-saver. And symmetrising the loss
# neither saves nor kills.
#
# **BatchNorm** deserves a remark. Soon after BYOL came out, a suspicion spread that its BatchNorm layers
# were hidden negatives: subtracting the batch mean makes it impossible for all embeddings of a batch to be
# equal. The authors answered by training it with group normalisation and weight standardisation instead, at
# 73.2 against 74.3 % ([Richemond et al., 2020](https://arxiv.org/abs/2010.10241)): no batch statistics, no
# collapse. So batch statistics are not *the* reason. Yet look at our row without BatchNorm in the heads.
# There is a milder reading of what the layer does, and step 3 has a name for it: the *watershed*. The
# untrained heads make embeddings that are nearly all alike (a common direction plus a little), each direction
# starts with a tiny $s$, and BatchNorm lifts it over the watershed on the first step. On this reading, group
# normalisation and a careful initialisation do the same job. One run cannot prove it.
#
# ### Did the linear predictor do what the equations say?
#
# A matrix as predictor is the case that we can predict. Two predictions. (1) The *start* matters: a random
# matrix has negative $p$ in half of the directions, and a direction once dead stays dead, so a start at $I/2$
# should do better than PyTorch's random one. (2) The *shape*: the same eigenvectors as the covariance $F$ of
# the embeddings, and $p = \sqrt{\alpha s}$ along each. Another reading in print is that the predictor
# *whitens*: then $p$ would have to *fall* with $s$. Look at the two rows of the table for the first, and at the
# picture for the second. It has few points that count: after so short a run nearly all directions are still
# asleep, and of those the theory says only that $p$ fades from its start.

# %%
linear_arms = [name for name in ("linear_from_identity", "linear_predictor") if name in NAMES]
for name in linear_arms:
    print(f"{NAMES[name]}: spread of z {arm(name)['spread_z']:.3f}, probe {arm(name)['probe']:.1%}")
linear = arm(linear_arms[0])
s = torch.tensor(linear["f_eigenvalues"])
p = torch.tensor(linear["predictor_along"])
awake = (s > 1e-3 * s[0]) & (p > 0)
asleep = ~awake & (p > 0)  # a log axis shows no negative p
line = torch.stack([s[awake].log(), torch.ones(int(awake.sum()))], dim=1)
slope = torch.linalg.lstsq(line, p[awake].log()[:, None]).solution[0].item()
fig, ax = plots.new_figure(5.6, 3.4)
ax.plot(s[asleep], p[asleep], ".", color=plots.GRAY, markersize=4, label="asleep: p is what is left of its start")
ax.plot(s[awake], p[awake], "o", color=plots.COLORS[0], label="awake")
for power, style, text in ((0.5, "-", "theory: the root of s"), (-0.5, "--", "whitening: one over the root of s")):
    level = (p[awake].log() - power * s[awake].log()).mean().exp()
    ax.plot(s[awake], level * s[awake] ** power, style, color=plots.COLORS[1], label=text)
ax.set(
    xscale="log",
    yscale="log",
    xlabel="variance of the direction, s (log)",
    ylabel="predictor along it, p (log)",
    title=f"Directions awake: {int(awake.sum())}; the stronger is predicted more strongly",
)
ax.legend(fontsize=7)
plots.show(
    fig,
    alt=f"Scatter of the strength of a trained linear predictor against the variance of each direction, both on log axes. "
    f"{int(awake.sum())} directions of large variance lie near a line of slope one half (fitted: {slope:.2f}); the others, "
    f"of tiny variance, lie near {p[asleep].median():.2f}, whatever their variance.",
)
print(f"slope over the {int(awake.sum())} directions that are awake: {slope:.2f}")
print(f"share of the predictor off the eigenvectors of F: {linear['off_diagonal']:.0%}; "
      f"asymmetry |P - P'| / |P|: {linear['asymmetry']:.2f}")  # fmt: skip

# %% [markdown]
# ## DINO: no predictor, but a centre and a knife
#
# DINO ([Caron et al., 2021](https://arxiv.org/abs/2104.14294)) removes the predictor from BYOL and changes
# the question. Student and teacher end in $K$ **prototypes**, and what they exchange is not a direction but a
# distribution: *which of K drawers does this picture belong in?* Nobody says what the drawers are for.
#
# $$P_t = \mathrm{softmax}\big((g_t - c)/\tau_t\big), \qquad P_s = \mathrm{softmax}(g_s/\tau_s), \qquad
# L = -\sum_k P_t[k]\log P_s[k]$$
#
# $g_t, g_s$ $[N, K]$: the logits of teacher and student for *different* views (the student also gets small
# crops, the teacher only the large ones); $c$ $[K]$: the **centre**, a running mean of the teacher's logits,
# $c\leftarrow m c + (1-m)\,\overline{g_t}$ (equation 4); $\tau_t < \tau_s$: **sharpening**. Two slips to watch
# for in print: it is the *teacher* that is centred, not the student; and with one temperature for both sides
# nothing is sharpened.

# %%


def my_dino_loss(student, teacher, center, tau_s=0.1, tau_t=0.04):
    """student, teacher: lists of logits [N, K], the teacher's for the first of the student's views."""
    terms = []
    for i, g_t in enumerate(teacher):
        p = ((g_t - center) / tau_t).softmax(dim=1)
        for j, g_s in enumerate(student):
            if i != j:  # never the same view on both sides
                terms.append(-(p * (g_s / tau_s).log_softmax(dim=1)).sum(dim=1).mean())
    return sum(terms) / len(terms)


# %%
# NBVAL_CHECK_OUTPUT
generator = torch.Generator().manual_seed(0)
logits, center = torch.randn(4, 8, 16, generator=generator), torch.randn(16, generator=generator)
mine, theirs = (f(list(logits), list(logits[:2]), center) for f in (my_dino_loss, distillation.dino))
print("agrees with ssl_lessons.losses.dino:", torch.allclose(mine, theirs))
large, small = 2, 6
print(f"{large} large and {small} small crops make", large * (large + small) - large, "terms")

# %% [markdown]
# Why two things? Because there are two ways to agree without looking, and each device alone leads into one of
# them. Split the loss: $L = H(P_t) + \mathrm{KL}(P_t\Vert P_s)$, the entropy of the teacher's answer plus the
# divergence from the student's.
#
# - **One drawer takes all.** The teacher is certain, $H = 0$, whatever the picture. Sharpening *feeds* this: it
#   exaggerates the favourite. Centring stops it: what is always on top is subtracted.
# - **Every drawer equally.** The teacher shrugs, $H = \log K$, whatever the picture. Centring *feeds* this: it
#   flattens whatever stands out on average. Sharpening stops it.
#
# In both, student and teacher agree perfectly: KL goes to 0. **Predict** for the four combinations where $H$
# and KL will end.

# %%
DINO_ARMS = {
    "both": "centring and sharpening",
    "no_centering": "sharpening only",
    "no_sharpening": "centring only",
    "neither": "neither",
}
log_k = math.log(arm("both", "dino")["prototypes"])
fig, (left, right) = plots.new_figure(9.0, 3.0, 1, 2)
for (name, title), color, style in zip(DINO_ARMS.items(), plots.COLORS, ("-", "--", "-.", ":")):
    trace = arm(name, "dino")["trace"]
    left.plot(trace["step"], trace["entropy"], style, color=color, label=title)
    right.plot(trace["step"], trace["kl"], style, color=color)
left.axhline(log_k, color=plots.GRAY, linewidth=0.8)
left.annotate(
    "log K: shrugs", (1, log_k), xycoords=("axes fraction", "data"), ha="right", va="top", fontsize=8
)
left.set(title="Entropy of the teacher's answers", xlabel="step", ylabel="nats", ylim=(-0.2, log_k + 0.3))
right.set(title="KL(teacher || student): zero means collapse", xlabel="step", ylabel="nats")
left.legend(fontsize=7)
plots.show(
    fig,
    alt="Entropy of the teacher's answers and KL divergence to the student over the training, for DINO with both "
    "devices, with sharpening only, with centring only and with neither.",
)
print(origin)
last = {name: {k: v[-1] for k, v in arm(name, "dino")["trace"].items()} for name in DINO_ARMS}
plots.table(
    [
        {"arm": DINO_ARMS[name], "entropy": row["entropy"], "kl": row["kl"], "drawers": math.exp(row["usage"] * log_k),
         "knn": arm(name, "dino")["knn"], "verdict": arm(name, "dino")["verdict"]}
        for name, row in last.items()
    ],
    f"DINO's four arms after {arm('both', 'dino')['steps']} steps (log K = {log_k:.2f})",
    {"arm": "teacher", "entropy": "entropy", "kl": "KL", "drawers": "drawers in use", "knn": "kNN",
     "verdict": "diagnosis"},
    {"entropy": ".2f", "kl": ".3f", "drawers": ".1f", "knn": ".1%"},
)  # fmt: skip

# %% [markdown]
# ("Drawers in use" is the perplexity of the average answer: the exponential of its entropy.) The curves show
# both failures. Without sharpening the teacher shrugs and KL dies. Without centring the answers become certain
# and a few drawers swallow everything; read the column to see how many are left, and what is left to predict
# with them. One more thing to notice: what collapses are the *answers*. How fast the features below the head
# follow is another question, and the kNN column answers it for this short run.
#
# Compare with chapter 17: "no drawer may stay empty, every picture must choose" is a clustering method's
# constraint. SwAV enforces it exactly in each batch, DINO softly with a running mean. DINOv2 went back to
# SwAV's way.
#
# ### iBOT, DINOv2, and attention that finds objects
#
# **iBOT** ([Zhou et al., 2022](https://arxiv.org/abs/2111.07832)) plays DINO's game twice: for the whole
# picture, and for every *hidden patch*: the student sees a blank, the teacher sees the patch, and the student
# has to name its drawer. The teacher is the tokenizer that a masked image model needs (chapter 18), and it is
# trained on the way. **DINOv2** ([Oquab et al., 2024](https://arxiv.org/abs/2304.07193)) is DINO plus iBOT's
# patch term with separate heads, Sinkhorn-Knopp centring, the KoLeo regulariser below, and above all 142
# million curated pictures: no InfoNCE and no negatives anywhere, although you can read that in print. It does
# not fit in a minute; its parts do. **Mugs** ([Zhou et al., 2022](https://arxiv.org/abs/2203.14415)) joins
# three granularities (picture, neighbourhood, group) in one loss.
#
# DINO's most famous picture is its attention: the [CLS] token of a ViT trained without labels looks at the
# objects. Does our tiny ViT (no class token, 64 patches, 200 short steps) do so? We know
# where the object is, because we drew it. For each test picture, take as many most-looked-at patches as the
# object covers, and compute intersection over union (IoU). The opponent to beat is not chance but *the middle
# of the picture*.

# %%
looks = arm("attention", "related")
against = looks["dino"] - looks["untrained"]
print(f"trained minus untrained: {100 * against:+.1f} points; trained minus the middle: "
      f"{100 * (looks['dino'] - looks['image_center']):+.1f} points.")  # fmt: skip
plots.show(
    plots.bars(
        {
            "random patches": 100 * looks["random"],
            "untrained ViT": 100 * looks["untrained"],
            "ViT trained by DINO": 100 * looks["dino"],
            "the middle of the picture": 100 * looks["image_center"],
        },
        "Does the attention find the object?",
        xlabel="IoU with the object's patches (%)",
    ),
    alt="Bars of the overlap between the most attended patches and the object: random patches, untrained ViT, ViT "
    "trained by DINO, and the middle of the picture.",
)
side = int(len(looks["maps"][0]) ** 0.5)
maps = torch.tensor(looks["maps"])
maps = (maps / maps.max(dim=1, keepdim=True).values).view(-1, 1, side, side)
maps = F.interpolate(maps, scale_factor=4).expand(-1, 3, -1, -1)
shown = torch.cat([test.images[: len(maps)] / 255, maps])
plots.show(
    plots.image_grid(
        shown, columns=len(maps), title="Test pictures, and where the trained ViT looks (white: most)"
    ),
    alt="Six pictures of objects above six coarse maps of the attention of a small vision transformer.",
)
print(f"Objects cover {looks['object_share']:.0%} of the patches. {origin}")

# %% [markdown]
# Read this bar chart as it is. The published effect needs long training, many small patches and large
# pictures. Ours is small, trained briefly, and compared with two opponents that pictures of attention maps
# seldom meet: an untrained network, and a detector that never looks at the picture and bets on the middle.

# %% [markdown]
# ## The relatives
#
# ### KoLeo: spread out, but only from your nearest neighbour
#
# $$L_\text{KoLeo} = -\frac1n\sum_i\log\min_{j\ne i}\lVert z_i - z_j\rVert$$
#
# ([Sablayrolles et al., 2019](https://arxiv.org/abs/1806.03198); unit-length $z$.) It is an estimate of
# differential entropy by nearest-neighbour distances: one line, no temperature. On a circle you can see it
# work, starting from a cloud that is nearly collapsed.

# %%
generator = torch.Generator().manual_seed(0)
points = torch.tensor([1.0, 0.0]) + 0.25 * torch.randn(40, 2, generator=generator)
snapshots = {0: points.clone()}
points.requires_grad_()
for step in range(1, 301):
    (gradient,) = torch.autograd.grad(distillation.koleo(points), points)
    with torch.no_grad():
        points -= 0.1 * gradient
    if step in (30, 300):
        snapshots[step] = points.detach().clone()

fig, axes = plots.new_figure(8.0, 2.9, 1, 3)
for ax, (step, z) in zip(axes, snapshots.items()):
    unit = F.normalize(z, dim=1)
    ax.plot(unit[:, 0], unit[:, 1], "o", color=plots.COLORS[0], markersize=4)
    ax.set(title=f"step {step}: uniformity {uniformity(z):.2f}", xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal",
           xlabel="z, first coordinate", ylabel="z, second coordinate")  # fmt: skip
plots.show(
    fig,
    alt="Forty points on a circle at the start, after 30 and after 300 steps of gradient descent on the KoLeo loss; "
    "from a cluster on one side they spread.",
)

# %% [markdown]
# ### MSF and ISD: agree with the neighbours, too
#
# In **MSF**, mean shift ([Koohpayegani et al., 2021](https://arxiv.org/abs/2105.07269)), the student of BYOL
# predicts not only its target but the target's $k$ nearest neighbours in a queue of earlier targets. That is
# clustering without clusters; $k = 1$ is BYOL. It helps as long as neighbours are of the same kind. Are they?
# Ask the network that has just been trained.

# %%
with torch.no_grad():
    queue = F.normalize(method.embed(views.normalize(train.images)), dim=1)
    target = F.normalize(method.embed(views.normalize(test.images)), dim=1)
neighbours = (target @ queue.T).topk(50, dim=1).indices
same_kind = (train.labels[neighbours] == test.labels[:, None]).float()
purity = {k: same_kind[:, :k].mean().item() for k in (1, 2, 5, 10, 20, 50)}
plots.table(
    [{"k": k, "purity": v} for k, v in purity.items()],
    f"Neighbours of the same kind, in a queue of {len(queue):,} (chance {1 / len(train.classes):.0%})",
    {"k": "neighbours", "purity": "of the same kind"},
    ".1%",
)

# %% [markdown]
# So part of what MSF pulls together does not belong together *yet*; the running table shows what comes
# out of it in a minute. **ISD** ([Tejankar et al., 2021](https://arxiv.org/abs/2012.09259)) takes the opposite
# way back to contrastive learning: the queue holds *anchors*, and student and teacher shall find the same
# anchors similar, $\mathrm{KL}\big(\mathrm{softmax}(t\cdot a/\tau)\,\Vert\,\mathrm{softmax}(q\cdot a/\tau)\big)$.
# InfoNCE with soft answers: a negative of the same kind is no longer a mistake.

# %%
relatives = {"BYOL": arm("byol"), "ISD": arm("isd")}
plots.table(
    [
        {"name": name, **{k: row[k] for k in ("probe", "knn", "rank_z", "verdict")}}
        for name, row in relatives.items()
    ],
    f"The same frame, teacher and predictor, two losses ({arm('isd')['steps']} steps, seed 0)",
    {"name": "loss", "probe": "probe", "knn": "kNN", "rank_z": "effective rank of z", "verdict": "diagnosis"},
    {"probe": ".1%", "knn": ".1%", "rank_z": ".1f"},
)

# %% [markdown]
# ### Where "distillation" and "teacher" come from
#
# **Knowledge distillation** ([Hinton et al., 2015](https://arxiv.org/abs/1503.02531)): a large network has
# learned with labels; a small student learns its *probabilities*, softened by a temperature, instead of the
# labels. Give the student the teacher's own size and you have **born-again networks** ([Furlanello et al.,
# 2018](https://arxiv.org/abs/1805.04770)). **Mean Teacher** ([Tarvainen and Valpola,
# 2017](https://arxiv.org/abs/1703.01780)) put the moving average in the teacher's chair: few labels, many
# pictures without, and on those the student agrees with its own average. Take away the last labels, and you
# stand before the puzzle of this chapter.

# %%
kd, mt = arm("knowledge_distillation", "related"), arm("mean_teacher", "related")
plots.table(
    [
        {"what": "teacher: a wide network, 2,000 labels", "accuracy": kd["teacher"]},
        {"what": "small student, the same labels", "accuracy": kd["labels"]},
        {"what": "small student, the teacher's answers (temperature 1)", "accuracy": kd["T=1"]},
        {"what": "small student, softened answers (temperature 4)", "accuracy": kd["T=4"]},
        {"what": "born again: a wide student of the wide teacher", "accuracy": kd["born_again"]},
        {"what": "40 labels only", "accuracy": mt["labels_only"]},
        {"what": "40 labels, and agreement with the mean teacher", "accuracy": mt["mean_teacher"]},
        {"what": "the mean teacher itself", "accuracy": mt["mean_teacher_ema"]},
    ],
    "With labels: test accuracy (one seed, chance 10 %)",
    {"what": "trained on", "accuracy": "accuracy"},
    ".1%",
)
print(f"soft answers instead of labels: {100 * (max(kd['T=1'], kd['T=4']) - kd['labels']):+.1f} points for the student; "
      f"agreement with the mean teacher: {100 * (mt['mean_teacher'] - mt['labels_only']):+.1f} points.")  # fmt: skip
print(origin)

# %% [markdown]
# With pictures drawn by a program there is little doubt about a label, and soft answers have little to add to
# it: dark knowledge needs classes that resemble each other. Unlabelled pictures are another matter.
#
# ## Play: keep five directions alive
#
# The two equations of step 3, for five directions that start at different places. Left: the speed of $p$ on
# the parabola; filled dots attract, the open one repels. Right: the variance of each direction over time.

# %%
widgets.explore(
    linear_byol.render,
    linear_byol.controls(),
    static=[{"decay": 0.05}, {"predictor": "none"}, {"decay": 0.22}, {"decay": 0.1, "rate": 0.3}],
    alt=linear_byol.describe,
    columns=2,
)

# %% [markdown]
# > **Try.** (1) Find the weight decay at which the last direction dies, and compare it with
# > $1/4(1 + \sigma^2)$. (2) Does the predictor's learning rate change which directions live? What does it
# > change? (3) Slow the teacher down. Does any direction live that died before?

# %% [markdown]
# ## Exercises
#
# Replace `return exercises.NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on
# your answers.
#
# ### 1 · BYOL's loss (•, 4 minutes)
#
# <details><summary>Hint 1</summary>Unit length first, row by row.</details>
# <details><summary>Hint 2</summary>Two rows that agree give 0, opposite ones 4.</details>

# %%


def my_agreement(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """prediction, target [N, D] -> a scalar."""
    return exercises.NOT_ATTEMPTED


ch15.check_byol_loss(my_agreement)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_agreement(prediction, target):
#     return 2 - 2 * F.cosine_similarity(prediction, target).mean()
# ```
# </details>
#
# ### 2 · A teacher to measure (•, 5 minutes)
#
# Your run has 760 steps. You want a teacher in which a weight of the student counts half after 76 of them.
# Which momentum?
#
# <details><summary>Hint 1</summary>After $n$ updates, the old teacher's share is $m^n$.</details>

# %%


def momentum_for_half_life(steps: float) -> float:
    """Half-life in steps -> momentum."""
    return exercises.NOT_ATTEMPTED


ch15.check_momentum_for_half_life(momentum_for_half_life)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def momentum_for_half_life(steps):
#     return 0.5 ** (1 / steps)
# ```
# </details>
#
# ### 3 · DINO's teacher (••, 6 minutes)
#
# Its answer to a batch: centred, then sharpened.
#
# <details><summary>Hint 1</summary>The centre lives in the space of the logits.</details>
# <details><summary>Hint 2</summary>A small temperature sharpens; the temperature also divides the centre.</details>

# %%


def teacher_probabilities(logits: torch.Tensor, center: torch.Tensor, temperature: float) -> torch.Tensor:
    """logits [N, K], center [K] -> [N, K], rows sum to 1."""
    return exercises.NOT_ATTEMPTED


ch15.check_teacher_probabilities(teacher_probabilities)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def teacher_probabilities(logits, center, temperature):
#     return ((logits - center) / temperature).softmax(dim=1)
# ```
# </details>
#
# ### 4 · Where a living direction rests (•••, 10 minutes)
#
# The linear model with $\tau = 1$: weight decay and view noise given, return $p_+$, or 0 when no direction can
# live.
#
# <details><summary>Hint 1</summary>Set the bracket of the last equation of step 3 to zero: a quadratic in p.</details>
# <details><summary>Hint 2</summary>Two roots: one repels.</details>
# <details><summary>Hint 3</summary>No real root: only $p = 0$ is left.</details>

# %%


def resting_point(decay: float, noise: float) -> float:
    """-> p+, or 0.0"""
    return exercises.NOT_ATTEMPTED


ch15.check_resting_point(resting_point)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def resting_point(decay, noise):
#     room = 1 - 4 * decay * (1 + noise)
#     return (1 + math.sqrt(room)) / (2 * (1 + noise)) if room > 0 else 0.0
# ```
# </details>

# %% [markdown]
# ## Claims put to the test
#
# Verdicts are computed from the numbers by the rules you can read in the cell. Those about single runs are
# about directions, not sizes: one seed, 250 steps, a small world.

# %%


def verdict(holds: bool, partly: bool = False) -> str:
    return "reproduced" if holds else "mixed" if partly else "not reproduced here"


def collapsed(name: str) -> bool:
    """Less than a tenth of healthy BYOL's spread, or a diagnosis of collapse."""
    return arm(name)["spread_z"] < 0.1 * arm("byol")["spread_z"] or "collapse" in arm(name)["verdict"]


def evidence(*names: str) -> dict:
    numbers = {}
    for name in names:
        numbers[f"spread of z, {NAMES[name]}"] = arm(name)["spread_z"]
        numbers[f"probe, {NAMES[name]}"] = arm(name)["probe"]
    return numbers


book.claim(
    "C-42",
    "Removing the predictor collapses BYOL and SimSiam.",
    verdict(collapsed("no_predictor") and collapsed("no_predictor_no_ema"), collapsed("no_predictor_no_ema")),
    evidence("byol", "no_predictor", "no_predictor_no_ema"),
    "grill2020bootstrap",
)
book.claim(
    "C-43",
    "Removing the stop-gradient collapses the network.",
    verdict(collapsed("no_stop_gradient")),
    evidence("byol", "no_stop_gradient"),
    "chen2021exploring",
)
book.claim(
    "C-44",
    "The moving-average teacher is not necessary.",
    verdict(
        not collapsed("no_ema") and not collapsed("no_ema_fast_predictor"),
        not collapsed("no_ema_fast_predictor"),
    ),
    evidence("byol", "no_ema", "no_ema_fast_predictor"),
    "chen2021exploring",
)
book.claim(
    "C-45",
    "... provided the predictor learns faster.",
    verdict(arm("no_ema_fast_predictor")["probe"] > arm("no_ema")["probe"] + 0.02),
    evidence("no_ema", "no_ema_fast_predictor"),
    "balestriero2023cookbook",
)
lost = arm("byol")["probe"] - max(arm("no_ema")["probe"], arm("no_ema_fast_predictor")["probe"])
book.claim(
    "C-46",
    "Slow updates by a moving average are crucial to BYOL's success.",
    verdict(lost > 0.1, lost > 0.05),
    {"probe with a moving average": arm("byol")["probe"], "probe lost without it, at best": lost},
    "balestriero2023cookbook",
)
gained = {name: arm(name)["probe"] - before["probe"] for name in (*linear_arms, "byol")}
best_linear = max(gained[name] for name in linear_arms)
book.claim(
    "C-47",
    "Even a linear predictor works.",
    verdict(
        all(gained[name] > 0.7 * gained["byol"] for name in linear_arms),
        best_linear > 0.7 * gained["byol"] or not all(collapsed(name) for name in linear_arms),
    ),
    {f"probe gained over untrained, {NAMES[name]}": value for name, value in gained.items()}
    | {f"effective rank of z, {NAMES[name]}": arm(name)["rank_z"] for name in (*linear_arms, "byol")},
    "shi2020run",
)
bad = ("P = 0", "P random", "P = -0.5 I")
book.claim(
    "C-48",
    "A linear predictor recovers from a poor initialisation.",
    verdict(all(alive[n] == D for n in bad), any(alive[n] == D for n in bad)),
    {f"directions alive of {D}, from {name}": alive[name] for name in starts},
    "balestriero2023cookbook",
)
book.claim(
    "C-49",
    "Symmetrising the loss and stopping the gradient on one branch prevents collapse.",
    verdict(not collapsed("no_predictor_no_ema"), False),
    {"spread of z, symmetrised and stop-gradient, but no predictor": arm("no_predictor_no_ema")["spread_z"],
     "spread of z, one-sided, with predictor": arm("one_sided")["spread_z"]},
)  # fmt: skip
book.claim(
    "C-50",
    "BatchNorm in the heads plays an important role in BYOL.",
    verdict(collapsed("no_batch_norm"), arm("no_batch_norm")["probe"] < arm("byol")["probe"] - 0.05),
    evidence("byol", "no_batch_norm"),
    "richemond2020byol",
)

# %%
book.claim(
    "C-51",
    "The predictor acts as a whitening operator.",
    verdict(slope < -0.1, abs(slope) <= 0.1),
    {f"slope of log p against log s, {int(awake.sum())} directions": slope, "whitening would give": -0.5, "the linear theory gives": 0.5},
    "balestriero2023cookbook",
)
ends = {name: (row["entropy"] / log_k, row["kl"]) for name, row in last.items()}
healthy_kl = ends["both"][1]
drawers = {n: math.exp(row["usage"] * log_k) for n, row in last.items()}  # perplexity of the mean answer
one_drawer = ends["no_centering"][0] < 0.1 and drawers["no_centering"] < 3
shrug = ends["no_sharpening"][0] > 0.9 and ends["no_sharpening"][1] < healthy_kl / 10
quality_lost = all(
    arm(n, "dino")["knn"] < arm("both", "dino")["knn"] - 0.03 for n in ("no_centering", "no_sharpening")
)
book.claim(
    "C-52",
    "Without centring one dimension dominates, without sharpening the output becomes uniform; either alone "
    "collapses.",
    verdict(one_drawer and shrug and quality_lost, one_drawer or shrug),
    {f"entropy / log K, {DINO_ARMS[n]}": e for n, (e, _) in ends.items()}
    | {f"KL, {DINO_ARMS[n]}": kl for n, (_, kl) in ends.items()}
    | {f"drawers in use, {DINO_ARMS[n]}": d for n, d in drawers.items()}
    | {f"kNN, {DINO_ARMS[n]}": arm(n, "dino")["knn"] for n in ("both", "no_centering", "no_sharpening")},
    "caron2021emerging",
)
ahead = {m: arm(n)["teacher_probe"] - arm(n)["probe"] for n, m in momenta.items()}
book.claim(
    "C-53",
    "The teacher is better than the student during training.",
    verdict(min(ahead.values()) > 0, max(ahead.values()) > 0.01),
    {f"probe of teacher minus student, momentum {m:g}": d for m, d in ahead.items()},
    "caron2021emerging",
)

# %% [markdown]
# Not tested here: that a moving average on the projector alone is enough ([Pham et al.,
# 2022](https://arxiv.org/abs/2208.05744)), and that BYOL is explained by *running away* from a mean teacher
# ([Shi et al., 2020](https://arxiv.org/abs/2011.10944)). The parts for both are in this chapter.

# %% [markdown]
# ## Where it comes from, where it went
#
# The teacher came from distillation ([Hinton et al., 2015](https://arxiv.org/abs/1503.02531)), became a moving
# average in semi-supervised learning ([Tarvainen and Valpola, 2017](https://arxiv.org/abs/1703.01780)) and a
# keeper of consistent keys in [MoCo (2020)](https://arxiv.org/abs/1911.05722). [BYOL
# (2020)](https://arxiv.org/abs/2006.07733) dropped the negatives, [SimSiam
# (2021)](https://arxiv.org/abs/2011.10566) the moving average; [Tian et al.
# (2021)](https://arxiv.org/abs/2102.06810) explained both with the equations you now know. [DINO
# (2021)](https://arxiv.org/abs/2104.14294) dropped the predictor and met the vision transformer, [iBOT
# (2022)](https://arxiv.org/abs/2111.07832) added masked patches, [DINOv2 (2024)](https://arxiv.org/abs/2304.07193)
# scale. The other road (keep the variance up *explicitly*, and need neither teacher nor predictor) is chapter
# 16; the masked road is chapter 18.
#
# **Further reading.** [Halvagal et al. (2023)](https://arxiv.org/abs/2212.04858): the same analysis for the
# cosine loss, and a loss without the slow directions. [Richemond et al.
# (2020)](https://arxiv.org/abs/2010.10241): three pages that settle the BatchNorm question with one experiment.
#
# ### Quiz
#
# **1.** Your BYOL run has loss 0.02 after 200 steps; your colleague's has 0.6. Who should worry?
#
# <details><summary>Answer</summary>You, probably. The constant network has loss 0. Look at the spread of the unit-length embeddings, and at kNN; the loss alone cannot tell great from dead.</details>
#
# **2.** Why does a *perfect* predictor not make the embedding grow, and why is that no problem?
#
# <details><summary>Answer</summary>Growth needs the bracket $\tau - (1 + \sigma^2)p > 0$: the prediction must fall short. At $p = p^*$ it does not, and only weight decay is left; variance shrinks a little, the predictor follows it down along the parabola and falls short again. The resting point $p_+ < p^*$ is where the two balance.</details>
#
# **3.** In DINO you set $\tau_t = \tau_s$ and keep the centring. What do the entropy and the KL divergence do?
#
# <details><summary>Answer</summary>Nothing sharpens any more, centring flattens: the entropy of the teacher goes to $\log K$, KL to 0. Uniform collapse: every picture gets the same shrug.</details>
