# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06b · Labels that are equations, or the picture itself: what is left to ask when nothing was turned or cut?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/06b_labels_that_are_equations.ipynb)
#
# **After this chapter you can**
#
# - write a task whose label is an equation, say which constant solves it, and forbid that constant;
# - train the two simplest baselines of all, "which picture is it?" in 2014 and in 2023;
# - say what PIRL wants from the tiles of a puzzle, and why that is the opposite of solving it.
#
# **You need** [chapter 06](06_where_and_which_way_up.ipynb). **Time**: 14 minutes to read, about half a minute to run
# on two CPU cores.

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

device = book.setup("06b")

# %% [markdown]
# ## The puzzle: count what you like
#
# Let $\phi(x) \in \mathbb{R}_{\ge 0}^K$ count $K$ kinds of things in a picture, whatever they are. Cut $x$ into four
# quarters $T_1 x, \dots, T_4 x$; shrink $x$ to half its side, $Dx$, so that it has the size of a quarter. What is
# counted in the whole is the sum of what is counted in the quarters ([Noroozi et al.,
# 2017](https://arxiv.org/abs/1708.06734)):
#
# $$\phi(Dx) = \sum_{j=1}^{4} \phi(T_j x).$$
#
# There is no label in this equation. A network is trained on the squared difference of its two sides.
#
# > **Predict.** What is the easiest $\phi$ that makes the loss zero? And if that one is forbidden, what will the
# > numbers in $\phi$ count?

# %%
import math

import torch
from torch import nn

from ssl_lessons import data, plots, views
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch06
from ssl_lessons.losses.clustering import kmeans
from ssl_lessons.methods.counting import Counting, counting
from ssl_lessons.methods.diet import DIET
from ssl_lessons.models import build_encoder, patchify
from ssl_lessons.training import pretrain, recipes
from ssl_lessons.views import pretext

recipe = recipes.get_recipe("quick")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# %% [markdown]
# The easiest answer is to count nothing: $\phi = 0$ solves the equation exactly. So the loss has a second term: the
# counts of a *different* picture $y$ must differ, by a margin $M$,
#
# $$L = \Big\|\phi(Dx) - \sum_j \phi(T_j x)\Big\|^2 + \max\Big(0,\; M - \Big\|\phi(Dy) - \sum_j \phi(T_j x)\Big\|^2\Big).$$


# %%
def counting_loss(whole: torch.Tensor, parts: torch.Tensor, M: float = 10.0):
    """whole [N, K]: phi(D x); parts [N, 4, K]: phi(T_j x); y is the next image."""
    total = parts.sum(dim=1)
    same = (whole - total).square().sum(dim=1)
    other = (whole.roll(-1, dims=0) - total).square().sum(dim=1)
    return (same + (M - other).clamp(min=0)).mean()


# %%
# NBVAL_CHECK_OUTPUT
g = seeded(0)
whole, parts = 2 * torch.rand(8, 5, generator=g), torch.rand(8, 4, 5, generator=g)
agrees = torch.allclose(counting_loss(whole, parts), counting(whole, parts))
print("counting_loss agrees with the package:", agrees)
zero = torch.zeros(8, 5), torch.zeros(8, 4, 5)
print(
    "counting nothing costs", counting(*zero, contrast=0.0).item(), "without the term"
)
print("and", counting_loss(*zero).item(), "with it")

# %% [markdown]
# Train with it and without it, on pictures with 0 to 9 discs of about one size.


# %%
def blobs(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures with 0 to 9 light discs: uint8 [n, 3, 32, 32], and their number [n]"""
    g = seeded(seed)
    number = torch.randint(10, (n,), generator=g)
    u = torch.rand(n, 9, 3, generator=g)
    axis = torch.arange(32) + 0.5
    dx, dy = (axis - (3 + 26 * u[..., i : i + 1]) for i in (0, 1))  # [n, 9, 32]
    away = dx[:, :, None, :].square() + dy[:, :, :, None].square()
    inside = away < (2 + u[..., 2]).square()[..., None, None]
    there = (torch.arange(9) < number[:, None])[..., None, None]
    light = (inside & there).any(dim=1)[:, None].float().expand(-1, 3, -1, -1)
    return (60 + 150 * light).to(torch.uint8), number


# %%
images, _ = blobs(1024, 0)
new, number = blobs(500, 1)


def fresh(seed: int = 0, **options) -> nn.Module:
    torch.manual_seed(seed)
    return build_encoder("convnet", **{"width": 8, "dim": 64} | options)


def count(contrast: float, seed: int) -> torch.Tensor:
    """The sum of all counts of each new picture [500], after training."""
    method = Counting(fresh(seed), counts=16, contrast=contrast)
    settings = {"steps": 80, "batch_size": 64, "lr": 4e-3, "seed": seed}
    pretrain(method, images, method.views(recipe.policy), progress=False, **settings)
    with torch.no_grad():
        return method.eval().embed(views.normalize(new)).sum(dim=1)


with_term = [count(1.0, seed) for seed in range(3)]
without = count(0.0, 0)
ink = (new[:, 0] > 130).float().sum(dim=(1, 2))


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([a.float(), b.float()]))[0, 1].item()


found = [correlation(total, number) for total in with_term]

# %% tags=["hide-input"]
fig, axes = plots.new_figure(9.0, 2.7, 1, 4, width_ratios=(1, 1.3, 1.3, 1.3))
tile = torch.cat([torch.cat(list(new[i : i + 2]), dim=2) for i in (0, 2)], dim=1)
axes[0].imshow(tile.permute(1, 2, 0).numpy())
axes[0].axis("off")
axes[0].set_title("Discs")
shake = 0.25 * (torch.rand(len(number), generator=seeded(2)) - 0.5)
panels = {
    f"with the term\n(correlation {found[0]:.2f})": with_term[0],
    "without it": without,
    f"light pixels\n(correlation {correlation(ink, number):.2f})": ink,
}
for ax, (title, total) in zip(axes[1:], panels.items()):
    ax.plot(number + shake, total, ".", markersize=3)
    ax.set(title=title, xlabel="discs in the picture")
    ax.set_ylim(
        bottom=min(0.0, float(total.min())), top=max(1.0, 1.05 * float(total.max()))
    )
axes[1].set_ylabel("sum of the counts")
plots.show(
    fig,
    alt="Left: four pictures with light discs. Then three scatter plots against "
    "the number of discs: the sum of the "
    f"counts trained with the second term, correlation {found[0]:.2f}; without it, "
    "zero for all pictures; the number "
    f"of light pixels, correlation {correlation(ink, number):.2f}.",
)

# %%
print("correlation with the number of discs, three seeds:", [f"{c:.2f}" for c in found])
print(f"light pixels: with the number {correlation(ink, number):.2f}, ", end="")
print(f"with the sum {correlation(ink, with_term[0]):.2f}")
assert min(found) > 0.5 and float(without.max()) < 0.1
assert correlation(ink, number) > max(found)

# %% [markdown]
# **The simplest rule wins first**: the number of light pixels follows the number of discs better than anything the
# network learned. With the second term the sum of its counts rises with the number of discs, in all three runs,
# although nobody ever said "three". Without it, the network says nothing, which solves the equation. Keep that for
# [chapter 20](20_collapse.ipynb): **where outputs of a network only have to agree with each other, some constant agrees
# perfectly.**
#
# Does the network count *objects*? The [Cookbook](https://arxiv.org/abs/2304.12210) says that such a model outputs the
# number of objects in an image. The equation asks for less: for anything that adds up over quarters *and* survives
# shrinking. That second half is worth an exercise, below: the light area itself does not survive it.

# %% [markdown]
# ## Which picture is it?
#
# **Exemplar-CNN** ([Dosovitskiy et al., 2014](https://arxiv.org/abs/1406.6909)) is older than all tasks of chapter 06.
# Cut a patch out of each of $N$ images, where there is something to see. Each patch is a *class of its own*; moved,
# turned, scaled and tinted copies are the examples of the class. Train a softmax over the $N$ classes. The
# transformation is no longer the question: it is what the answer must *not* depend on.

# %% tags=["hide-input"]
objects = data.shapes("unlabeled", n=64).images
seeds = pretext.seed_patches(objects[:6], 20, seeded(3))
policy = recipe.policy.replace(rotation=20.0)
copies = torch.cat([views.augment(seeds, policy, seeded(i)) for i in range(3)])
both = torch.cat([views.normalize(seeds, 32), copies])
fig = plots.image_grid(
    views.denormalize(both),
    columns=6,
    title="Six classes: the seed (top row) and three of its examples",
)
plots.show(
    fig,
    alt="Four rows of six patches. The first row shows patches of objects; below "
    "each of them are three copies that are "
    "shifted, scaled, slightly turned and tinted.",
)

# %% [markdown]
# Nine years later **DIET** ([Balestriero, 2023](https://arxiv.org/abs/2302.10260); [Ibrahim et al.,
# 2024](https://arxiv.org/abs/2406.10743)) asks the same of whole pictures,
# with today's augmentations: picture $x_n$, view $T(x_n)$, encoder $f$, one matrix $W$ with a row per picture, and
#
# $$L = \text{cross-entropy}\big(W f(T(x_n)),\; n\big)$$
#
# with label smoothing: the target gives a share $s$ of its weight evenly to all $N$ classes. There is no projector, no
# pair, no teacher; it is the simplest baseline there is.


# %%
def diet_loss(W, f, view, n, s: float = 0.8):
    """W [classes, dim], view [B, 3, S, S], n int64 [B]: which picture it shows."""
    log_p = (f(view) @ W.T).log_softmax(dim=1)  # [B, classes]
    hit = log_p[torch.arange(len(n)), n]
    return -((1 - s) * hit + s * log_p.mean(dim=1)).mean()


method = DIET(fresh(), n_images=64, label_smoothing=0.8).eval()
view, which = views.augment(objects[:8], recipe.policy, seeded(0)), torch.arange(8)
mine = diet_loss(method.classifier.weight, method.encoder, view, which)
assert torch.allclose(mine, method([view], None, which), atol=1e-5)
print("diet_loss agrees with the package.")

# %% [markdown]
# [Wu et al. (2018)](https://arxiv.org/abs/1805.01978) replaced the $N$ rows of $W$ by a memory of features
# ([chapter 14](14_negatives.ipynb)), SimCLR replaced the memory by the batch
# ([chapter 13](13_from_nce_to_nt_xent.ipynb)).
#
# **PIRL** ([Misra and van der Maaten, 2020](https://arxiv.org/abs/1912.01991)) turned the jigsaw around. Predicting
# the order of tiles forces the features to *contain* it: they are **covariant** with the transformation. For
# recognising a cat, the order of its tiles is a nuisance. So PIRL takes the shuffled tiles as a second view, and asks
# that picture and tiles have *similar* features and other pictures different ones: **invariant**. Same tiles, opposite
# wish.
#
# ## The record
#
# The same encoder and 300 steps for each, upright objects, three seeds. *Exemplar 64* and *DIET 64* are trained on 64
# pictures only, each seen 300 times; of 512 pictures each is seen 75 times; of all 4,096 (plain *DIET*, PIRL), about
# nine times. Counting is read on pictures of half the side, as it was trained, beside an untrained encoder read in the
# same way.
#
# > **Predict.** Rank DIET with 64, 512 and 4,096 pictures. Is the best of them above or below SimCLR, which had all
# > 4,096?

# %%
record, origin = book.recorded("pretext", world=2)


def of(arm: str, key: str = "probe", how: str = "whole") -> list[float]:
    """One number per seed, upright objects."""
    return book.per_seed(record, key, arm=arm, data="upright objects", read=how)


LINES = [
    ("pixels", "whole"),
    ("untrained", "whole"),
    ("untrained", "half"),
    ("counting", "half"),
    ("counting", "whole"),
]
for name in ("exemplar", "diet"):  # the plain name: all 4,096 pictures
    LINES += [(arm, "whole") for arm in (f"{name} 64", f"{name} 512", name)]
LINES += [(arm, "whole") for arm in ("pirl", "rotation", "simclr")]


# %% tags=["hide-input"]
def shown(values: list[float]) -> str:
    mean = sum(values) / len(values)
    return f"{100 * mean:.1f} ({100 * min(values):.0f} to {100 * max(values):.0f})"


plots.table(
    [{"arm": "chance", "probe": "10.0", "knn": "10.0"}]
    + [
        {
            "arm": f"{arm} 4096" if arm in ("exemplar", "diet") else arm,
            "read": how,
            "probe": shown(of(arm, "probe", how)),
            "knn": shown(of(arm, "knn", how)),
        }
        for arm, how in LINES
    ],
    "Upright objects: mean and range over the seeds (%)",
    {
        "arm": "trained by",
        "read": "read on",
        "probe": "probe, 100 labels",
        "knn": "kNN, 2,000 labels",
    },
)
print(f"{len(of('simclr'))} seeds. {origin}")

# %% [markdown]
# **The baselines first.** Nearest neighbours among raw *pixels* beat counting, PIRL, and both
# classifiers with 4,096 classes.
#
# **Then the surprise.** DIET with only 64 pictures probes as well as SimCLR with 4,096, in as many steps: no pairs, no
# projector, no negatives to choose. Both baselines fall when they get *more* pictures, down to the untrained encoder.
# That is no law about data. A row of $W$ is *pulled* to its picture only when that picture comes by, 300 times or nine;
# at all other steps it is mostly pushed away. That may be why (the runs differ in their number of classes, too).
# SimCLR's comparison has no rows to fill. In a long run the rows would fill, and the order may turn.


# %%
def average(arm: str, key: str = "probe", how: str = "whole") -> float:
    return sum(of(arm, key, how)) / len(of(arm, key, how))


for name in ("exemplar", "diet"):
    few, some = (average(f"{name} {n}") for n in (64, 512))
    many = average(name)
    assert few > some + 0.01 and some > many + 0.1
    assert abs(many - average("untrained")) < 0.04
assert abs(average("diet 64") - average("simclr")) < 0.06
assert 0.38 < average("pixels", "knn") < 0.48
assert 0.05 < average("counting") - average("untrained") < 0.1
floor_knn = ("counting", "knn", "half"), ("pirl", "knn"), ("diet", "knn")
assert average("pixels", "knn") > max(average(*arm) for arm in floor_knn)

# %% [markdown]
# *Counting*, read as it was trained, and *PIRL* stay within a few points of an untrained encoder, and below it by
# nearest neighbours: in 300 steps they have not been tested, let alone refuted. (PIRL's memory holds one entry per
# picture, and fills as slowly as a row of $W$.) Read on whole pictures, which it never saw, counting gains some seven
# points: reading the way a task was trained is the fair comparison, and need not be the best one.
#
# ## Four framings of one picture
#
# [Weng and Kim (2021)](https://neurips.cc/Conferences/2021/Schedule?showEvent=21895) sort all tasks that need no second
# sample, **self-prediction**, by what is kept back: what comes *next* (autoregressive), what is *hidden* (masked), a
# *relationship* that holds inside the sample, or the next *code* of a learned alphabet (a hybrid: first compress, then
# predict). Here is one picture under all four, as sixteen patches. How much can the answer hold?

# %%
patches = patchify(data.shapes("unlabeled", n=64).images, 8)  # uint8 [64, 16, 192]
one, hidden = patches[0], torch.randperm(16, generator=seeded(0)) < 12
alphabet = kmeans(patches.flatten(0, 1).float(), k=32)[1]  # of all pictures
codes = torch.cdist(one.float(), alphabet).argmin(dim=1)  # int64 [16]
turns = pretext.rotate(objects[:1].repeat(4, 1, 1, 1), torch.arange(4))
framings = {  # what is shown, what is asked, among how many values
    "autoregressive": (one[:8], one[8], 256),
    "masked": (one[~hidden], one[hidden], 256),
    "innate relationship": (turns[2], torch.tensor(2), 4),
    "hybrid": (codes[:8], codes[8], 32),
}
bits = {name: asked.numel() * math.log2(v) for name, (_, asked, v) in framings.items()}
for name, (given, *_) in framings.items():
    print(f"{name}: shown {list(given.shape)}, asked for {bits[name]:,.0f} bits")
assert bits["innate relationship"] < bits["hybrid"] < 0.01 * bits["autoregressive"]
assert bits["masked"] == 12 * bits["autoregressive"]

# %% [markdown]
# Masking asks for most here (twelve patches, not one), mostly detail: pixels that no class depends on. A relationship
# asks for two bits, and those can be had for little (chapter 06's shortcuts). The hybrid stands between: a code has
# forgotten the detail before anybody is asked ([chapter 07](07_generate_to_understand.ipynb) has such alphabets).
# Counting, above, is a relationship too, with an equation for an answer; Exemplar-CNN and DIET compare samples, and are
# none of the four ([chapter 13b](13b_slips_in_print.ipynb) has that other half).
#
# ## Exercises
#
# Solutions stand at the end.
#
# ### 1 · What survives shrinking? (••, 8 minutes)
#
# A large picture with many things in it, none of them cut by the lines between the quarters. Take four candidates for
# $\phi$: the `"number"` of things, the length of all their `"edge"`s in pixels, the area of light `"ink"` in pixels,
# and the mean `"brightness"` of the picture on black ground. For which is the equation true? Give for each the ratio
# $\phi(Dx) \big/ \sum_j \phi(T_j x)$.
#
# <details><summary>Hint 1</summary>On the right, the quarters have their full size; on the left, everything is half as long.</details>
# <details><summary>Hint 2</summary>A mean is a sum over a number of pixels. Which number, on either side?</details>


# %%
def my_ratios(name: str) -> float:
    """name: "number", "edge", "ink" or "brightness" -> the ratio"""
    return NOT_ATTEMPTED


ch06.check_ratios(my_ratios)

# %% [markdown]
# ### 2 · A smoothed target, without a library (••, 6 minutes)
#
# `diet_loss` above never builds the target. Build it: class $n$ and a share $s$ spread over *all* $K$ classes, then the
# cross-entropy. (float64 logits, int64 index.)
#
# <details><summary>Hint</summary>What weight does the right class get in all?</details>


# %%
def my_smoothed_loss(
    logits: torch.Tensor, index: torch.Tensor, s: float
) -> torch.Tensor:
    """logits [N, K], index int64 [N], s from 0 to below 1 -> a scalar"""
    return NOT_ATTEMPTED


ch06.check_smoothed_loss(my_smoothed_loss)

# %% [markdown]
# ### Quiz
#
# **1.** Why does the counting loss need a contrastive term when rotation prediction needs none?
#
# <details><summary>Answer</summary>In rotation prediction the label differs between copies, so a constant output costs log 4. The counting equation has no label: the constant zero satisfies it exactly. Something must make "always the same" expensive, here the margin between different pictures.</details>
#
# **2.** You have a million pictures and want to try DIET. What will W cost, and what will be rare?
#
# <details><summary>Answer</summary>A row of W per picture: with 512 features, half a billion weights, many times the encoder. And each class is seen once per epoch, so in a short run nearly every row has been pulled a handful of times.</details>
#
# ### Solutions
#
# <details><summary>1 · What survives shrinking?</summary>
#
# ```python
# def my_ratios(name):
#     return {"number": 1.0, "edge": 0.5, "ink": 0.25, "brightness": 0.25}[name]
# ```
# Lengths halve, areas become a quarter; four quarters have four mean brightnesses and the shrunken whole has one. Of
# these four only the number of things solves the equation: it asks for less than objects, and for more than a sum.
# </details>
#
# <details><summary>2 · A smoothed target</summary>
#
# ```python
# def my_smoothed_loss(logits, index, s):
#     K = logits.shape[1]
#     target = (1 - s) * torch.eye(K, dtype=logits.dtype)[index] + s / K
#     return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
# ```
# </details>
