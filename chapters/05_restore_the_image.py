# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · Restore the image: what does a network learn by repairing what you broke?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/05_restore_the_image.ipynb)
#
# **After this chapter you can**
#
# - break a picture in five ways, train one network to repair each, and say beforehand what the repair will look
#   like;
# - derive why squared error paints blur, and what an adversary changes;
# - convert sRGB to CIE Lab from the definition, and turn "which colour?" into a classification whose rare answers
#   count;
# - build a split-brain autoencoder, in which no half sees what it predicts;
# - tell data on which colour is the answer from data on which it is the shortcut.
#
# **You need** a network trained with squared error and with cross-entropy, and the probe of chapter 00 (a linear
# classifier on frozen features).
# **Time**: 56 minutes to read, about 50 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("05")

# %% [markdown]
# ## The puzzle: colour these
#
# Two worlds of the same ten objects. In the first, every object may have any colour. In the second, each kind has a
# colour of its own, as lemons and tomatoes have. (The colours are put on so that they leave the lightness alone; how,
# step 3 explains.) You see eight pictures of each world, without their colours.

# %%
import math
from functools import partial

import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_image
from torch import nn

from ssl_lessons import data, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch05
from ssl_lessons.book.widgets import color_bins
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.colorization import Colorization
from ssl_lessons.methods.context_encoder import DAMAGES, ContextEncoder, Restore
from ssl_lessons.methods.split_brain import SplitBrain
from ssl_lessons.models import LabChannels, build_encoder
from ssl_lessons.training import pretrain, recipes
from ssl_lessons.views import color

N, LABELLED, TESTED = 2048, 1000, 1000


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def world(split: str, n: int, own: bool, swap: bool = False) -> data.ImageSet:
    """own: the hue of an object belongs to its kind, up to a little noise.  swap: it wears the hue of another kind."""
    plain = data.shapes(split, 32, n, world=1)
    kind, hue = (plain.factors[name].values for name in ("kind", "object_hue"))
    if own:
        noise = 0.2 * torch.randn(n, generator=seeded(0))
        hue = 2 * math.pi * (kind + 5 * swap) / 10 + noise
    return data.recolour(plain, hue)


WORLDS = {"any colour": False, "own colours": True}
unlabeled, train, test = (
    {name: world(split, n, own) for name, own in WORLDS.items()}
    for split, n in (("unlabeled", N), ("train", LABELLED), ("test", TESTED))
)

shown = torch.cat([test[name].images[:8] for name in WORLDS])
as_gray = color.rgb_to_lab(shown.float() / 255)[:, :1] / 100  # the lightness, see step 3
fig = plots.image_grid(
    as_gray, columns=8, title="Above: any colour. Below: every kind has its own. Which can you colour?"
)
plots.show(
    fig,
    alt="Two rows of eight gray pictures of objects on textured backgrounds: boats, cups, houses and others. "
    "Nothing in the gray pictures tells the two worlds apart.",
)

# %% [markdown]
# > **Predict before you go on.** A network will learn to colour each world, from gray pictures alone. In which world
# > will it succeed? And in which world will its *features* know more about the objects, although nobody ever told it
# > their names?

# %% [markdown]
# ## The idea: break it, repair it, keep the repairer
#
# Take a picture $x$, damage it, $d(x)$, and train a network to give $x$ back:
#
# $$L = \mathbb{E}\,\Big\| m \odot \big(x - g(f(d(x)))\big)\Big\|^2,$$
#
# $f$ the encoder (images to features $h$), $g$ a decoder that paints, $m$ a mask of the pixels that count. The
# decoder is thrown away, $f$ is kept. Everything in this chapter is a choice of the damage $d$:
#
# | damage | known as | |
# |---|---|---|
# | nothing | autoencoder | the answer is in the question: copying suffices |
# | noise | denoising autoencoder | [Vincent et al., 2008](https://doi.org/10.1145/1390156.1390294), chapter 01 |
# | small squares replaced by their mean | super-resolution | [Ledig et al., 2017](https://arxiv.org/abs/1609.04802) |
# | a hole in the middle | context encoder, inpainting | [Pathak et al., 2016](https://arxiv.org/abs/1604.07379) |
# | scattered squares | masked generation | chapter 18 |
# | the colour | colourisation | [Zhang et al., 2016](https://arxiv.org/abs/1603.08511) |
#
# In the last four, part of the picture is *gone*, and whoever wants it back has to know pictures.
#
# ### What can the best network do?
#
# Let $z = d(x)$ be what the network sees, and $c$ its answer for this $z$. For one pixel,
#
# $$\mathbb{E}\big[(x - c)^2 \mid z\big] = \mathrm{Var}(x \mid z) + \big(\mathbb{E}[x \mid z] - c\big)^2 .$$
#
# (Add and subtract $\mathbb{E}[x \mid z]$; the mixed term has mean zero.) So:
#
# - the **best answer is the conditional mean** $\mathbb{E}[x \mid z]$, the average of all pictures that fit what is
#   left;
# - the **floor of the loss** is the conditional variance, and no network gets below it.
#
# Two consequences. First, the average of several sharp pictures is a blurred one: squared error paints **blur**
# wherever more than one answer fits. Second, if nothing else in $z$ tells the answer, the best network answers with a
# constant, and there is nothing to learn. Here is the first consequence on a toy, arithmetic only: a hole that may
# contain one of two crosses, with probabilities 0.6 and 0.4.

# %%
line = torch.arange(15)
plus = ((line[:, None] == 7) | (line[None] == 7)).float()
cross = ((line[:, None] == line[None]) | (line[:, None] + line[None] == 14)).float()
answers = {"plus (60 %)": plus, "cross (40 %)": cross, "their mean": 0.6 * plus + 0.4 * cross}


def expected_error(answer: torch.Tensor) -> float:
    """Mean squared error of one fixed answer when the truth is plus or cross."""
    return (0.6 * (answer - plus).square() + 0.4 * (answer - cross).square()).mean().item()


fig, axes = plots.new_figure(6.4, 2.2, 1, 3)
for ax, (name, picture) in zip(axes, answers.items()):
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
    ax.axis("off")
    ax.set_title(f"{name}\nerror {expected_error(picture):.3f}")
fig.suptitle("Of three answers, the one that is never true has the smallest error")
plots.show(
    fig,
    alt="A plus, a cross, and the mean of both, a gray star. Expected squared errors: "
    + ", ".join(f"{name} {expected_error(picture):.3f}" for name, picture in answers.items())
    + ".",
)
floor = (0.6 * 0.4 * (plus - cross).square()).mean().item()
assert abs(expected_error(answers["their mean"]) - floor) < 1e-6 and floor < expected_error(plus)

# %% [markdown]
# ## Step 1: five ways to break a picture
#
# Each damage in a line or two. Views are normalised, so that 0 is the mean colour: a hole filled with zeros is *gray*.
# (The [Cookbook](https://arxiv.org/abs/2304.12210), section 2.5, says that context encoders fill it with white; the
# white holes are in the paper's figures, the network sees the mean.)

# %%


def add_noise(x, sigma=1.0):
    return x + sigma * torch.randn_like(x)


def shrink(x, factor=4):
    return F.interpolate(F.avg_pool2d(x, factor), scale_factor=factor)


def remove_colour(x):
    weights = torch.tensor(views.LUMINANCE).view(1, 3, 1, 1)
    return (x * weights).sum(dim=1, keepdim=True).expand_as(x) / weights.sum()


def cut_hole(x):
    hole = torch.zeros(1, 1, *x.shape[2:], dtype=torch.bool)
    quarter = x.shape[-1] // 4
    hole[:, :, quarter:-quarter, quarter:-quarter] = True
    return x.masked_fill(hole, 0.0)


def restoration_loss(f, g, x, damaged, counted):
    """counted: bool [N, 1, S, S], the pixels that enter the mean"""
    error = (g(f(damaged)) - x).square()
    return error[counted.expand_as(error)].mean()


# %%
# NBVAL_CHECK_OUTPUT
x = torch.randn(4, 3, 32, 32, generator=seeded(0))
for name, mine in {"shrunken": shrink, "gray": remove_colour, "hole": cut_hole}.items():
    print(f"{name} agrees with the package:", torch.allclose(mine(x), DAMAGES[name](x)[0], atol=1e-6))
torch.manual_seed(0)
method = Restore(build_encoder("convnet", width=4, dim=16), "hole").eval()
damaged, counted = DAMAGES["hole"](x)
mine = restoration_loss(method.encoder, method.painter, x, damaged, counted)
print("restoration_loss agrees with the package:", torch.allclose(mine, method([x])))

# %% [markdown]
# ### The run
#
# One encoder and one painter per damage, the same steps for each. For comparison, the error of *not learning*: the
# damaged picture itself, and for holes their surroundings smoothed in.

# %%
recipe = recipes.get_recipe("quick")
STEPS, BATCH, LR = 40, 64, 3e-3


def fresh(seed: int = 0, **options) -> nn.Module:
    torch.manual_seed(seed)
    return build_encoder("convnet", **{"width": 16, "dim": 256} | options)


def learn(method: Method, images: torch.Tensor, **changes) -> list[dict]:
    """Train a method on uint8 images with its own views; the history."""
    settings = {
        "steps": STEPS,
        "batch_size": BATCH,
        "lr": LR,
        "device": torch.device("cpu"),
        "progress": False,
    }
    return pretrain(method, images, method.views(recipe.policy), **settings | changes)


def probe_features(a: torch.Tensor, b: torch.Tensor, world: str = "any colour") -> dict:
    """Probe with 10 labels per class (three draws) and kNN on all labels."""
    labels = train[world].labels, test[world].labels
    row = evaluation.label_efficiency(a, labels[0], b, labels[1], per_class=(10,), draws=3)[0]
    knn = evaluation.knn_accuracy(a, labels[0], b, labels[1])
    return {"probe": row["mean"], "std": row["std"], "knn": knn}


def probe(encoder: nn.Module, world: str = "any colour") -> dict:
    return probe_features(
        *(evaluation.extract_features(encoder, s[world].images) for s in (train, test)), world
    )


def without_learning(
    name: str, x: torch.Tensor, damaged: torch.Tensor, counted: torch.Tensor
) -> torch.Tensor:
    """The damaged pictures, with the mean of the visible pixels of each channel in the place of hidden ones."""
    if name not in ("hole", "scattered"):
        return damaged
    seen = (~counted).float()
    mean = (x * seen).sum(dim=(2, 3), keepdim=True) / seen.sum(dim=(2, 3), keepdim=True)
    return torch.where(counted, mean, x)


@torch.no_grad()
def repair(method: Restore, x: torch.Tensor) -> dict:
    """Damaged and painted pictures, and the mean squared errors of both on the pixels that count."""
    method.eval()
    torch.manual_seed(0)
    damaged, counted = DAMAGES[method.damage](x)
    painted = method.paint(damaged)
    where = counted.expand_as(x)
    lazy = without_learning(method.damage, x, damaged, counted)
    return {
        "damaged": damaged,
        "painted": torch.where(where, painted, x) if method.damage in ("hole", "scattered") else painted,
        "error": (painted - x)[where].square().mean().item(),
        "lazy": (lazy - x)[where].square().mean().item(),
    }


pictures = views.normalize(test["any colour"].images[:400])
repairers, repaired = {}, {}
for damage in DAMAGES:
    repairers[damage] = Restore(fresh(), damage)
    learn(repairers[damage], unlabeled["any colour"].images)
    repaired[damage] = repair(repairers[damage], pictures)

CHOSEN = 5
columns = [views.denormalize(pictures[CHOSEN : CHOSEN + 1])]
for found in repaired.values():
    columns.append(
        views.denormalize(
            torch.cat([found["damaged"][CHOSEN : CHOSEN + 1], found["painted"][CHOSEN : CHOSEN + 1]])
        )
    )
blank = torch.ones_like(columns[0])
top = torch.cat([columns[0], *(pair[:1] for pair in columns[1:])])
bottom = torch.cat([blank, *(pair[1:] for pair in columns[1:])])
fig = plots.image_grid(
    torch.cat([top, bottom]),
    columns=7,
    titles=["the picture", *DAMAGES, "", *(f"MSE {found['error']:.2f}" for found in repaired.values())],
    title="Above: damaged in six ways. Below: painted after a few seconds of training each",
)
plots.show(
    fig,
    alt="One picture, six damaged versions of it (unchanged, noise, coarse squares, gray, a hole, scattered holes) and "
    "below each what the network paints: blurred versions. Mean squared errors: "
    + ", ".join(f"{name} {found['error']:.2f}" for name, found in repaired.items())
    + ".",
)

# %%
damage_rows = [
    {
        "name": "raw pixels",
        **probe_features(*(evaluation.pixels(s["any colour"].images) for s in (train, test))),
    },
    {"name": "untrained encoder", **probe(fresh())},
]
for damage, found in repaired.items():
    damage_rows.append(
        {
            "name": f"restore: {damage}",
            "lazy": found["lazy"],
            "error": found["error"],
            **probe(repairers[damage].encoder),
        }
    )
plots.table(
    [{"name": "chance", "probe": 0.1, "knn": 0.1}, *damage_rows],
    f"World of any colour, {STEPS} steps each (errors in units of the normalised pixels)",
    {
        "name": "representation",
        "lazy": "error without learning",
        "error": "error after",
        "probe": "probe, 100 labels",
        "std": "spread over 3 draws",
        "knn": f"kNN, {LABELLED:,} labels",
    },
    {"lazy": ".2f", "error": ".2f", "probe": ".1%", "std": ".1%", "knn": ".1%"},
)
assert repaired["hole"]["error"] < repaired["hole"]["lazy"]

# %% [markdown]
# Everything is blurred: all that the painter knows of a picture went through 256 numbers, and where these leave more
# than one picture open, it paints their mean. Do not be misled by the errors: a small error is no sign of good
# features. The plain autoencoder has an easy task and the damaged ones a hard one; it is the probe that says what the
# features are worth. And with so few steps, differences of a few points in it are noise. The record at the end trains
# longer.

# %% [markdown]
# ## Step 2: the context encoder, and what an adversary changes
#
# Pathak et al. saw the blur, and knew why. Their answer: a second network, the **critic** $D$, looks at patches and
# says whether they were cut from a photograph or painted. The painter gets a bonus for being believed:
#
# $$L_\text{adv} = \max_D\; \mathbb{E}\log D(x) + \mathbb{E}\log\big(1 - D(g(f(z)))\big), \qquad L = \lambda_\text{rec} L_\text{rec} + \lambda_\text{adv} L_\text{adv},$$
#
# with .999 and .001 in the paper. Think of the toy above: a gray star is never true, and a critic notices at once. To
# be believed, the painter has to *decide* on a plus or a cross, although deciding costs squared error.
#
# Two players usually mean two optimisers. One is enough, if the critic's loss reaches the painter with the *opposite
# sign*: a layer that is the identity on the way forward, and multiplies the gradient by $-\lambda$ on the way back.

# %%


class Opposite(torch.autograd.Function):
    """Forward: x. Backward: -factor times the gradient."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.factor * gradient, None


def adversarial_loss(
    critic: nn.Module, real: torch.Tensor, painted: torch.Tensor, weight: float
) -> torch.Tensor:
    """The critic minimises it; `painted` is pushed to maximise it."""
    for_real, for_painted = critic(real), critic(Opposite.apply(painted, weight))
    return (F.softplus(-for_real).mean() + F.softplus(for_painted).mean()) / 2  # -log D, -log(1 - D)


# %%
# NBVAL_CHECK_OUTPUT
torch.manual_seed(0)
context = ContextEncoder(build_encoder("convnet", width=4, dim=16), adversarial=0.2).eval()
view, hole = context.cut(x)
mine = F.mse_loss(context.paint(view), hole) + adversarial_loss(
    context.critic, hole, context.paint(view), 0.2
)
print("both terms agree with the package:", torch.allclose(mine, context([x]), atol=1e-6))
value = torch.tensor([2.0], requires_grad=True)
(3 * Opposite.apply(value, 0.5)).backward()
print("gradient of 3x through the layer with factor 0.5:", value.grad.item())

# %%
contexts = {
    "reconstruction only": ContextEncoder(fresh()),
    "with the adversary": ContextEncoder(fresh(), adversarial=0.3),
}
context_rows, holes = [], {}


def sharpness(patch: torch.Tensor) -> float:
    """Mean absolute difference of neighbouring pixels."""
    return (patch.diff(dim=2).abs().mean() + patch.diff(dim=3).abs().mean()).item() / 2


for name, method in contexts.items():
    learn(method, unlabeled["any colour"].images, steps=60)
    method.eval()
    with torch.no_grad():
        view, hole = method.cut(pictures)
        holes[name] = method.paint(view)
    context_rows.append(
        {
            "name": name,
            "error": F.mse_loss(holes[name], hole).item(),
            "sharpness": sharpness(holes[name]),
            "colour": holes[name].std(dim=1).mean().item(),
            **probe(method.encoder),
        }
    )
context_rows.append(
    {
        "name": "the true middles",
        "error": 0.0,
        "sharpness": sharpness(hole),
        "colour": hole.std(dim=1).mean().item(),
    }
)
plots.table(
    context_rows,
    "Painting the middle of the picture",
    {
        "name": "trained by",
        "error": "squared error in the hole",
        "sharpness": "sharpness",
        "colour": "spread of the channels",
        "probe": "probe, 100 labels",
        "knn": "kNN",
    },
    {"error": ".3f", "sharpness": ".3f", "colour": ".3f", "probe": ".1%", "knn": ".1%"},
)
PAINTED = slice(8, 15)
filled = []
for painted in (None, *holes.values()):
    whole = view[PAINTED].clone()
    if painted is not None:
        whole[:, :, 8:24, 8:24] = painted[PAINTED]
    filled.append(views.denormalize(whole))
filled.append(views.denormalize(pictures[PAINTED]))
fig = plots.image_grid(
    torch.cat(filled),
    columns=7,
    title="Hole; reconstruction only; with the adversary; the truth (one per row)",
)
plots.show(
    fig,
    alt="Four rows of seven pictures: with a gray square in the middle; the square painted by reconstruction alone; by "
    "reconstruction and adversary; and the originals. "
    + " ".join(f"{row['name']}: sharpness {row['sharpness']:.3f}." for row in context_rows),
)

# %% [markdown]
# Read error, sharpness and the spread of the channels (0 is gray) together, and then the rows of pictures. Squared
# error alone chooses the small error, and gives up edges and colours, as derived. The adversary asks for statistics
# that look like those of real patches, and every decision that was not the right one costs error. What a critic
# notices first depends on how long both have trained: here it has had a few dozen steps, in which colour is easier to
# criticise than edges. For *features*, Pathak et al. used the reconstruction loss alone: they could not get the
# adversary to train with the network they wanted to transfer. That the prettier picture need not come from the better
# representation is a theme of chapter 07.

# %% [markdown]
# ## Step 3: colour as a classification
#
# ### A space in which lightness and colour are apart
#
# Red, green and blue are what a screen emits. **CIE Lab** says what an eye sees: $L$ from black (0) to white (100),
# $a$ from green to red, $b$ from blue to yellow, with distances that look about equally large everywhere. Three steps
# lead there (IEC 61966-2-1 for sRGB, CIE 15 for Lab): undo the screen's transfer curve; mix to the standard
# observer's $X, Y, Z$; take cube roots relative to white.
#
# The mixing matrix needs no table of numbers. Each primary is given by its chromaticity $(x, y)$, that is, up to a
# scale; the three scales are fixed by *one* condition, that full red, green and blue add up to white.

# %%


def mixing_matrix() -> torch.Tensor:
    """Linear sRGB -> XYZ, [3, 3]"""
    primaries = [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)]  # x, y of red, green, blue
    columns = torch.tensor([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries], dtype=torch.float64).T
    white = torch.tensor([0.95047, 1.0, 1.08883], dtype=torch.float64)  # daylight, D65
    return columns * torch.linalg.solve(columns, white)


def to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """sRGB in [0, 1] -> CIE Lab, both [N, 3, H, W]"""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("ij,njhw->nihw", mixing_matrix().to(rgb), linear)
    t = xyz / mixing_matrix().to(rgb).sum(dim=1).view(3, 1, 1)  # white is the sum of the columns
    f = torch.where(t > (6 / 29) ** 3, t.clamp(min=1e-9) ** (1 / 3), t / (3 * (6 / 29) ** 2) + 4 / 29)
    X, Y, Z = f.unbind(1)
    return torch.stack([116 * Y - 16, 500 * (X - Y), 200 * (Y - Z)], dim=1)


# %%
# NBVAL_CHECK_OUTPUT
some = torch.rand(1, 3, 8, 8, generator=seeded(0), dtype=torch.float64)
print("to_lab agrees with the package:", torch.allclose(to_lab(some), color.rgb_to_lab(some)))
print("there and back:", torch.allclose(color.lab_to_rgb(to_lab(some)), some, atol=1e-8))
red = to_lab(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1)).flatten()
print("pure red:", ", ".join(f"{v:.2f}" for v in red.tolist()))

# %%
photo = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None]
photo = F.interpolate(photo.float() / 255, (160, 240), mode="bilinear", antialias=True).clamp(0, 1)
lab_photo = color.rgb_to_lab(photo)
fig, axes = plots.new_figure(9.4, 2.1, 1, 4)
axes[0].imshow(photo[0].permute(1, 2, 0))
axes[0].set_title("A photograph")
for ax, i, name, limits, cmap in (
    (axes[1], 0, "L: lightness", (0, 100), "gray"),
    (axes[2], 1, "a: green to red", (-80, 80), "PiYG_r"),
    (axes[3], 2, "b: blue to yellow", (-80, 80), "PuOr_r"),
):
    shown = ax.imshow(lab_photo[0, i], vmin=limits[0], vmax=limits[1], cmap=cmap)
    fig.colorbar(shown, ax=ax)
    ax.set_title(name)
for ax in axes:
    ax.axis("off")
fig.suptitle("The drawing is in L, what is missing is in a and b")
plots.show(
    fig,
    alt="A photograph of a flower before green leaves, and its three Lab channels: L is a sharp gray picture, a "
    "separates the flower from the leaves, b is smoother.",
)

# %% [markdown]
# ### Why not regress a and b?
#
# A cup may be red or green. By the derivation above, squared error paints the mean of both, and the mean of opposite
# colours is **gray**. So [Zhang et al. (2016)](https://arxiv.org/abs/1603.08511) cut the $ab$ plane into squares of
# side 10, keep those that hold a colour of the screen, and *classify*: a distribution can hold two opinions. Three
# refinements, each one line:
#
# 1. **Soft targets.** A colour is spread over its five nearest bins, $Z_q \propto \exp(-d_q^2 / 2\sigma^2)$, $\sigma = 5$: a
#    near miss is less wrong than a far one.
# 2. **Rebalancing.** Most pixels of most pictures are nearly gray. With smoothed frequencies $p_q$ of the bins, weigh
#    the loss of a pixel whose nearest bin is $q$ by
#    $$w_q \propto \Big((1 - \lambda)\, p_q + \frac{\lambda}{Q}\Big)^{-1}, \qquad \sum_q p_q w_q = 1 .$$
#    The second condition says that the expected weight is 1, so that the learning rate keeps its meaning.
# 3. **The annealed mean.** To paint, one colour must come out of the distribution: its mean is grayish, its mode patchy.
# So take the mean after sharpening, $p_q^{1/T}$, normalised; $T = 1$ is the mean, $T \to 0$ the mode; the paper takes
# 0.38.

# %%


def balance(p: torch.Tensor, lam: float = 0.5) -> torch.Tensor:
    """p [Q] -> w [Q]"""
    w = 1 / ((1 - lam) * p + lam / len(p))
    return w / (p * w).sum()


def one_colour(p: torch.Tensor, bins: torch.Tensor, T: float = 0.38) -> torch.Tensor:
    """p [..., Q], bins [Q, 2] -> ab [..., 2]"""
    q = p ** (1 / T)
    return (q / q.sum(dim=-1, keepdim=True)) @ bins


def colour_loss(logits: torch.Tensor, ab: torch.Tensor, bins: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """logits [M, Q] and true colours [M, 2] of M pixels -> a scalar"""
    square = torch.cdist(ab, bins).square()
    distance, near = square.topk(5, dim=1, largest=False)  # [M, 5], nearest first
    Z = (-distance / (2 * 5**2)).softmax(dim=1)
    cross_entropy = -(Z * logits.log_softmax(dim=1).gather(1, near)).sum(dim=1)
    return (w[near[:, 0]] * cross_entropy).mean()


# %%
# NBVAL_CHECK_OUTPUT
torch.manual_seed(0)
colorizer = Colorization(build_encoder("convnet", width=4, dim=16), grid=20).eval()
p = torch.rand(len(colorizer.bins), generator=seeded(0))
p = p / p.sum()
colorizer.weights.copy_(balance(p))
cells = F.avg_pool2d(color.rgb_to_lab(views.denormalize(x))[:, 1:], 4).movedim(1, -1).reshape(-1, 2)
logits = colorizer.logits(x).movedim(1, -1).reshape(len(cells), -1)
mine = colour_loss(logits, cells, colorizer.bins, colorizer.weights)
print("colour_loss agrees with the package:", torch.allclose(mine, colorizer([x]), rtol=1e-4))
print("balance agrees with the package:", torch.allclose(balance(p), color.rebalancing(p)))
same = torch.allclose(one_colour(p, colorizer.bins), color.annealed_mean(p.log(), colorizer.bins), atol=1e-4)
print("one_colour agrees with the package:", same)
print("expected weight:", round((p * balance(p)).sum().item(), 4))

# %% [markdown]
# ## Play: bins, weights, and one colour out of many
#
# The pixels are those of the flower. Left: all bins that hold a colour of the screen, with a dot where the photograph
# has pixels. Middle: the weights. Right: what a pixel becomes that is probably yellow, or else blue.

# %%
pixels_ab = lab_photo[0, 1:].flatten(1).T[::7].contiguous()
widgets.explore(
    partial(color_bins.render, ab=pixels_ab),
    color_bins.controls(),
    static=[{}, {"lam": 1.0, "temperature": 1.0}, {"grid": 40, "lam": 0.05, "temperature": 0.05}],
    alt=partial(color_bins.describe, ab=pixels_ab),
    columns=1,
    captions=[
        "as in the paper",
        "no rebalancing, plain mean",
        "coarse bins, strong rebalancing, nearly the mode",
    ],
)
print(f"Bins of side 10 found here: {len(color.ab_bins(10))}; the paper counts 313.")

# %% [markdown]
# > **Try.** (1) At which temperature does the pixel stop being grayish? Does it pass through every colour in between,
# > or jump? (2) Lower $\lambda$ towards 0. What happens to the weights of bins that never occur, and why is
# > $\lambda = 0$ not allowed? (3) With bins of side 40 the mode is blue, although yellow has more of the probability.
# > How can that be?

# %% [markdown]
# ## Step 4: where colour is the answer
#
# Now settle the puzzle. The same colouriser on both worlds. Its encoder sees $L$ only, also when it is probed. Quality of the
# colours: the mean distance in the $ab$ plane, beside that of painting everything gray; and how colourful the
# painting is, its mean distance from gray.

# %%


COLOUR_STEPS = 210
colorizers = {where: Colorization(fresh(), grid=20) for where in WORLDS}


@torch.no_grad()
def coloured(method: Colorization, x: torch.Tensor, temperature: float = 0.38) -> torch.Tensor:
    """Normalised views -> sRGB with painted colours."""
    return method.eval().paint(x, temperature)


def colour_distance(rgb: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    """Mean ab distance to the truth, and mean ab distance from gray."""
    ab, true_ab = (color.rgb_to_lab(v)[:, 1:] for v in (rgb, truth))
    return (ab - true_ab).norm(dim=1).mean().item(), ab.norm(dim=1).mean().item()


colour_rows, painted = [], {}
for where, method in colorizers.items():
    learn(method, unlabeled[where].images, steps=COLOUR_STEPS, lr=4e-3)
    x = views.normalize(test[where].images[:300])
    truth = views.denormalize(x)
    painted[where] = coloured(method, x)
    middles = [
        v[:, :, 8:24, 8:24] for v in (painted[where], truth, remove_colour(truth))
    ]  # where the objects are
    off, vivid = colour_distance(middles[0], middles[1])
    colour_rows.append(
        {
            "world": where,
            "off": off,
            "gray": colour_distance(middles[2], middles[1])[0],
            "vivid": vivid,
            "true": colour_distance(middles[1], middles[1])[1],
            "untrained": probe(LabChannels(fresh(), "L"), where)["probe"],
            **probe(method.encoder, where),
        }
    )
plots.table(
    colour_rows,
    f"Colouring the two worlds, {COLOUR_STEPS} steps",
    {
        "world": "world",
        "off": "colours off by",
        "gray": "all gray: off by",
        "vivid": "colourfulness",
        "true": "true colourfulness",
        "untrained": "probe, untrained",
        "probe": "probe, after",
        "knn": "kNN, after",
    },
    {
        "off": ".1f",
        "gray": ".1f",
        "vivid": ".1f",
        "true": ".1f",
        "untrained": ".1%",
        "probe": ".1%",
        "knn": ".1%",
    },
)

# %%
FIRST = slice(0, 7)
rows = []
for where in WORLDS:
    rows.append(views.denormalize(views.normalize(test[where].images[FIRST])))
    rows.append(painted[where][FIRST])
fig = plots.image_grid(
    torch.cat(rows),
    columns=7,
    title="Rows: any colour, true and painted; own colours, true and painted",
)
plots.show(
    fig,
    alt="Four rows of seven pictures: the world of any colour and its painting, nearly gray; the world of own colours "
    "and its painting, in paler versions of the true colours. "
    + " ".join(
        f"{r['world']}: colours off by {r['off']:.0f}, colourfulness {r['vivid']:.0f}."
        for r in colour_rows
    ),
)
by = {row["world"]: row for row in colour_rows}
assert by["own colours"]["vivid"] > 3 * by["any colour"]["vivid"]
assert by["own colours"]["probe"] > by["any colour"]["probe"] > by["any colour"]["untrained"]

# %% [markdown]
# ("Untrained" is an encoder with random weights that sees the same as the trained one beside it: lightness only. It
# is a strong baseline here, for a picture without its colours has fewer ways to look different.)
#
# In the second world, whoever knows the kind knows the colour: the task can only be solved by *recognising the
# object*, and no label was needed. In the first, lightness says nothing about hue, and the painter does not find one
# (compare "colours off by" with "all gray"). Then why are its features a little better than before? Look at an outline:
# a cell there holds two hues, and the mean of two hues is nearer to gray. *Where the outlines run* can be seen in the
# lightness, and it is worth something in the loss. A task teaches whatever helps to solve it, not what you had in mind.
# (The record below has a control that settles it: with the colours of *another* picture as the answer, the gain is
# gone.) So the condition under which colourisation teaches the kind by its colour is:
#
# > **The missing part must depend on what you care about, and what is left must not give it away otherwise.**
#
# The record below also has the second world without rebalancing ("plain": no hue of this world is rare, so it changes
# little; on photographs, where most pixels are nearly gray, it decides) and by plain regression ("restore gray"): compare
# what that is worth to the probe.

# %% [markdown]
# ### A real photograph
#
# Train on small crops of the left part of the flower photograph, then colour its right part, square by square. One
# photograph is all the network ever sees.

# %%
SIDE = 24
photo_bytes = (255 * photo[0]).round().to(torch.uint8)
left, right = photo_bytes[:, :, :120], photo_bytes[:, :, 120:]


def crops(picture: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """n random squares, resized to 32 px: uint8 [n, 3, 32, 32]"""
    g = seeded(seed)
    top = torch.randint(picture.shape[1] - SIDE, (n,), generator=g)
    at = torch.randint(picture.shape[2] - SIDE, (n,), generator=g)
    cut = torch.stack([picture[:, i : i + SIDE, j : j + SIDE] for i, j in zip(top.tolist(), at.tolist())])
    return F.interpolate(cut.float(), (32, 32), mode="bilinear").round().to(torch.uint8)


on_photo = Colorization(fresh(), grid=10)
learn(on_photo, crops(left, 1024, 0), steps=60)
height, width = (s // SIDE * SIDE for s in right.shape[1:])
squares = (
    right[:, :height, :width].unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE).permute(1, 2, 0, 3, 4).flatten(0, 1)
)
x = views.normalize(squares, 32)


def whole(parts: torch.Tensor) -> torch.Tensor:
    """Squares [n, 3, 32, 32] back in their places: [3, H, W]"""
    rows, columns = height // SIDE, width // SIDE
    return parts.view(rows, columns, 3, 32, 32).permute(2, 0, 3, 1, 4).reshape(3, rows * 32, columns * 32)


versions = {
    "what it sees": remove_colour(views.denormalize(x)),
    "mean, T = 1": coloured(on_photo, x, 1.0),
    "annealed, T = 0.38": coloured(on_photo, x, 0.38),
    "the truth": views.denormalize(x),
}
fig, axes = plots.new_figure(7.6, 3.4, 1, 4)
for ax, (name, version) in zip(axes, versions.items()):
    ax.imshow(whole(version).permute(1, 2, 0).clamp(0, 1))
    ax.axis("off")
    ax.set_title(name)
fig.suptitle("Coloured from the other half of the photograph, square by square")
photo_off = {name: colour_distance(v.clamp(0, 1), versions["the truth"]) for name, v in versions.items()}
plots.show(
    fig,
    alt="The right part of the flower photograph: in gray, coloured by the mean, coloured by the annealed mean, and as it was. "
    + " ".join(
        f"{name}: colours off by {off:.0f}, colourfulness {vivid:.0f}."
        for name, (off, vivid) in photo_off.items()
    ),
)

# %% [markdown]
# ## Step 5: split brain, or how to see everything and predict it all
#
# A colouriser has two faults. It never sees colour, so its features cannot describe it. And at test time it throws a
# third of the data away. An autoencoder sees all, but may copy. The **split-brain autoencoder** ([Zhang et al.,
# 2017](https://arxiv.org/abs/1611.09842)) has both virtues: split the channels, $x = (x_1, x_2)$, and let one half
# predict the other, *both ways*:
#
# $$\hat x_2 = F_1(x_1), \qquad \hat x_1 = F_2(x_2), \qquad h = \big(h_1(x_1),\, h_2(x_2)\big).$$
#
# No half can copy, since what it predicts is not in its input; together they have seen everything. Here $x_1 = L$ and
# $x_2 = ab$, both predicted by classification. Any split will do: left and right, sound and picture. Two *views* that
# predict each other lead to the contrastive methods of chapter 13, once prediction is replaced by agreement.

# %%


def split_brain_loss(light, colour, to_colour, to_light, x, L_class, ab_class):
    """light, colour: encoders that see L or ab only; to_colour, to_light: painters of logits [N, classes, s, s]."""
    return F.cross_entropy(to_colour(light(x)), ab_class) + F.cross_entropy(to_light(colour(x)), L_class)


torch.manual_seed(0)
split = SplitBrain(build_encoder("convnet", width=8, dim=128))
x = views.normalize(test["own colours"].images[:8])
split.eval()
mine = split_brain_loss(
    split.encoder.light, split.encoder.colour, split.to_colour, split.to_light, x, *split.targets(x)
)
assert torch.allclose(mine, split([x]))
split.train()
learn(split, unlabeled["own colours"].images, steps=80)

halves = {
    "L half": split.encoder.light,
    "ab half": split.encoder.colour,
    "both halves": split.encoder,
    "colouriser (sees L)": colorizers["own colours"].encoder,
    "untrained encoder (sees RGB)": fresh(),
}
ASKED = ("kind", "object_texture", "background_hue", "polarity")
half_rows = []
for name, encoder in halves.items():
    a, b = (evaluation.extract_features(encoder, s["own colours"].images) for s in (train, test))
    factors = [{k: s["own colours"].factors[k] for k in ASKED} for s in (train, test)]
    half_rows.append(
        {
            "name": name,
            **probe_features(a, b, "own colours"),
            **evaluation.factor_probe(a, factors[0], b, factors[1]),
        }
    )
plots.table(
    half_rows,
    "World of own colours: what each half knows (factors: 0 is chance, 1 is perfect)",
    {
        "name": "features of",
        "probe": "kind, 100 labels",
        "knn": "kNN",
        **{k: k.replace("_", " ") for k in ASKED},
    },
    {"probe": ".1%", "knn": ".1%", **{k: ".2f" for k in ASKED}},
)

# %% [markdown]
# The hue of the *background* is a good test: it is free in this world, and the lightness says nothing about it. The
# $ab$ half must know it, the $L$ half cannot, and the two together have it. A representation that never sees colour
# is blind to it forever: fine for naming shapes, useless where colour is the class.

# %% [markdown]
# ## What goes wrong: where colour is the shortcut
#
# In the second world, colour gives the kind away. A network that *sees* colours and is asked for kinds will read the
# colour and look no further. Test it: take labelled pictures from the world of own colours as
# neighbours; then repaint the test pictures,
# every kind in the colour of another. Shapes are unchanged.
#
# > **Predict.** Which features survive: the mean colour of the picture, the untrained encoder (sees RGB), the $ab$
# > half, the colouriser (sees $L$ only)?

# %%
swapped = world("test", TESTED, own=True, swap=True)


def mean_colour(images: torch.Tensor) -> torch.Tensor:
    """Mean and deviation of a and b in the middle of the picture: [N, 4]"""
    ab = color.rgb_to_lab(images.float() / 255)[:, 1:, 8:24, 8:24].flatten(2)
    return torch.cat([ab.mean(dim=2), ab.std(dim=2)], dim=1)


readers = {"mean colour (4 numbers)": mean_colour} | {
    name: partial(evaluation.extract_features, encoder)
    for name, encoder in halves.items()
    if name != "both halves"
}
shortcut_rows = []
for name, features in readers.items():
    a = features(train["own colours"].images)
    same, other = (
        evaluation.knn_accuracy(a, train["own colours"].labels, features(s.images), s.labels)
        for s in (test["own colours"], swapped)
    )
    shortcut_rows.append({"name": name, "same": same, "swapped": other})
plots.table(
    shortcut_rows,
    f"Nearest neighbours among {LABELLED:,} labelled pictures of the world of own colours (chance 10 %)",
    {"name": "features", "same": "same world", "swapped": "colours swapped"},
    ".1%",
)
kept = {row["name"]: row["swapped"] - row["same"] for row in shortcut_rows}
assert kept["mean colour (4 numbers)"] < -0.1
assert abs(kept["colouriser (sees L)"]) < 0.05

# %% [markdown]
# Four numbers name many of the objects, until the colours change; then they are worse than a guess, since every kind
# now wears the colour of another. The colouriser never sees a hue and does not notice. So the same dependence between
# colour and kind that makes colourisation *teach* is a *trap* for whoever sees the colours. That is why contrastive
# methods tint their views so strongly (chapter 13 shows what happens without), and why a pretext task that
# **removes** colour and one that **predicts** it are two answers to one question.

# %% [markdown]
# ## The record: longer runs, every damage
#
# Same encoder, the same number of steps for each. "Upright objects" is the world of the other chapters, in which a
# colour also changes the lightness; the first two worlds are those of this chapter. "Untrained L" is what a colouriser
# starts from, an untrained encoder that sees the lightness only; "misplaced" is the control of step 4, a colouriser
# that is graded on the colours of another picture.

# %%
record, origin = book.recorded("pretext")
ARMS = ("pixels", "untrained", "untrained L", *(f"restore {d}" for d in DAMAGES), "context_encoder",
        "context_encoder adversary", "colorization", "colorization plain", "colorization misplaced", "split_brain", "simclr")  # fmt: skip
PLACES = ("any colour", "own colours", "upright objects")


def of(arm: str, world: str, key: str = "probe") -> list[float]:
    """One number per seed."""
    rows = sorted((r for r in record if (r["arm"], r["data"]) == (arm, world)), key=lambda r: r["seed"])
    return [row[key] for row in rows if row.get(key) is not None]


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


plots.table(
    [
        {
            "arm": arm,
            **{w: mean(of(arm, w)) for w in PLACES},
            **{f"knn {w}": mean(of(arm, w, "knn")) for w in PLACES},
        }
        for arm in ARMS
        if of(arm, "upright objects") or of(arm, "any colour")
    ],
    "Probe with 10 labels per class, and kNN (means over the seeds)",
    {"arm": "trained by"} | {w: f"probe: {w}" for w in PLACES} | {f"knn {w}": f"kNN: {w}" for w in PLACES},
    ".1%",
)
print(origin)

# %% [markdown]
# SimCLR is in the last line as a measure of what is possible with the same encoder and steps (chapter 13). Restoring
# pixels spends the encoder on everything that has pixels: the background, its texture, the light. What the class
# depends on is a small part of that. Chapter 18 comes back to the idea with a different encoder, more hiding and a
# loss on the hidden part only, and it becomes one of the best methods there are.

# %% [markdown]
# ## Exercises
#
# Replace `return NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on your answers.
#
# ### 1 · The loss of a hole (•, 5 minutes)
#
# Mean squared error over the hidden pixels and their channels, and over nothing else.
#
# <details><summary>Hint 1</summary>How many numbers are hidden in the whole batch?</details>
# <details><summary>Hint 2</summary>`hole` has no channel dimension; multiplication broadcasts, a mean does not know about it.</details>

# %%


def my_hole_loss(x: torch.Tensor, painted: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """x, painted [N, C, S, S]; hole [S, S], 1 where a pixel is hidden -> a scalar"""
    return NOT_ATTEMPTED


ch05.check_hole_loss(my_hole_loss)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_hole_loss(x, painted, hole):
#     return (x - painted)[:, :, hole.bool()].square().mean()
# ```
# </details>
#
# ### 2 · Linear light (•, 5 minutes)
#
# The first step towards Lab: undo the transfer curve of sRGB.
#
# <details><summary>Hint 1</summary>Two formulas, and the value 0.04045 decides between them.</details>
# <details><summary>Hint 2</summary>`torch.where(condition, a, b)` computes both and picks.</details>

# %%


def my_linear(v: torch.Tensor) -> torch.Tensor:
    """v [K], sRGB in [0, 1] -> [K], linear light"""
    return NOT_ATTEMPTED


ch05.check_linear(my_linear)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_linear(v):
#     return torch.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
# ```
# </details>
#
# ### 3 · Rebalancing (••, 8 minutes)
#
# Weights for the classes, from their frequencies.
#
# <details><summary>Hint 1</summary>First the proportional part; the constant comes last.</details>
# <details><summary>Hint 2</summary>"Expected weight 1" is a condition on the sum of `p * w`, not on the sum of `w`.</details>

# %%


def my_rebalancing(p: torch.Tensor, lam: float) -> torch.Tensor:
    """p [Q], sum 1 -> w [Q]"""
    return NOT_ATTEMPTED


ch05.check_rebalancing(my_rebalancing)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_rebalancing(p, lam):
#     w = 1 / ((1 - lam) * p + lam / len(p))
#     return w / (p * w).sum()
# ```
# </details>
#
# ### 4 · One colour from many (••, 8 minutes)
#
# The annealed mean, for a batch of pixels.
#
# <details><summary>Hint 1</summary>Sharpen, normalise, average: in this order.</details>
# <details><summary>Hint 2</summary>A small temperature must make the largest probability larger. Is it $p^T$ or $p^{1/T}$?</details>

# %%


def my_annealed_mean(p: torch.Tensor, bins: torch.Tensor, T: float) -> torch.Tensor:
    """p [N, Q], bins [Q, 2] -> [N, 2]"""
    return NOT_ATTEMPTED


ch05.check_annealed_mean(my_annealed_mean)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_annealed_mean(p, bins, T):
#     return (p.log() / T).softmax(dim=1) @ bins
# ```
# </details>

# %% [markdown]
# ## Claims put to the test
#
# Statements from the literature, each with what this chapter measured. The verdict is computed from the numbers, by a
# rule you can read in the cell: a difference counts when it exceeds three points.

# %%


def verdict(holds: bool, partly: bool = False) -> str:
    return "reproduced" if holds else "mixed" if partly else "not reproduced here"


plain = mean(of("restore nothing", "upright objects"))
missing = {
    d: mean(of(f"restore {d}", "upright objects")) for d in ("noise", "shrunken", "gray", "hole", "scattered")
}
better = [d for d, value in missing.items() if value > plain + 0.03]
book.claim(
    "C-98",
    "Restoring missing parts transfers better than plain autoencoding.",
    verdict({"hole", "scattered"} <= set(better), bool(better)),
    {"probe, plain autoencoder": plain} | {f"probe, {d}": value for d, value in missing.items()},
    "balestriero2023cookbook",
)

blind = {row["name"]: row["background_hue"] for row in half_rows}
cannot = blind["colouriser (sees L)"] < 0.5 * blind["both halves"]
depends = mean(of("colorization", "own colours")) > mean(of("colorization", "any colour")) + 0.03
book.claim(
    "C-78",
    "Pretext tasks that take the colour away fail where the classes differ by colour.",
    verdict(cannot, blind["colouriser (sees L)"] < blind["both halves"]),
    {f"hue of the background from {name}": value for name, value in blind.items()},
    "jaiswal2021survey",
)
print(
    "Does colourisation gain more where colour depends on the kind? Probe, any colour "
    f"{mean(of('colorization', 'any colour')):.1%}, own colours {mean(of('colorization', 'own colours')):.1%}: "
    f"{'yes' if depends else 'no'}."
)

# %% [markdown]
# A small drawn world, a small network, short runs: "not reproduced here" says exactly that.

# %% [markdown]
# ## Where it comes from, where it went
#
# Repairing as a way to learn is older than its name: the denoising autoencoder ([Vincent et al.,
# 2008](https://doi.org/10.1145/1390156.1390294)) already hid parts of the input. [Pathak et al.
# (2016)](https://arxiv.org/abs/1604.07379) hid a large, connected part, so that copying neighbours was not enough,
# and added the adversary of [Goodfellow et al. (2014)](https://arxiv.org/abs/1406.2661). In the same year [Zhang et
# al. (2016)](https://arxiv.org/abs/1603.08511) and [Larsson et al. (2016)](https://arxiv.org/abs/1603.06668) coloured
# pictures by classification, the latter with histograms of hue and chroma from features of all layers; [Larsson et
# al. (2017)](https://arxiv.org/abs/1703.04044) then studied colouring as a pretext task. [Zhang et al.
# (2017)](https://arxiv.org/abs/1611.09842) closed the circle with the split brain, and [Vondrick et al.
# (2018)](https://arxiv.org/abs/1806.09594) coloured videos by copying colours from a reference frame, which taught
# the network to track. Inpainting returned as masked image modelling ([He et al.,
# 2022](https://arxiv.org/abs/2111.06377), chapter 18), denoising as diffusion (chapter 07).
#
# **Further reading.** [Goyal et al. (2019)](https://arxiv.org/abs/1905.01235) scale colourisation and jigsaw puzzles
# to more data and harder versions of the task.
#
# ### Quiz
#
# **1.** A colleague trains an inpainting network with squared error and complains about the blur. She doubles the
# network. Will it help?
#
# <details><summary>Answer</summary>Only as far as the blur came from a poor approximation of the conditional mean. Where several answers fit the context, the mean of all of them is the optimum, and a larger network gets closer to it: the blur is the right answer to the question that was asked. Change the question: an adversary, a classification, a sample.</details>
#
# **2.** Why are the rebalancing weights normalised to an expected weight of 1 rather than to sum 1?
#
# <details><summary>Answer</summary>The loss is an average over pixels, and a pixel of bin q turns up with probability p_q. With sum p w = 1 the size of the loss, and so of the gradient, is what it would be without weights; the learning rate keeps its meaning.</details>
#
# **3.** You have pictures of leaves, and the disease is visible as a slight yellowing. Colourisation or split brain?
#
# <details><summary>Answer</summary>Split brain. The colouriser's encoder sees lightness only, at training and at test time, and can at best guess the usual colour of a leaf, not the colour of this one. The ab half of the split brain sees the yellow.</details>
