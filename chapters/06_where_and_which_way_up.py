# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Where and which way up: what must a network understand to put a picture back in order?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/06_where_and_which_way_up.ipynb)
#
# **After this chapter you can**
#
# - turn any picture into a labelled example by turning, cutting or shuffling it;
# - compute in advance the best accuracy that such a task allows on given data, and name the data on which it must
#   teach nothing;
# - provoke two famous shortcuts (lines that go on, colours that part at the edge of a lens), and block them;
# - read the features of such a network the way it was trained, and see what you miss if you do not.
#
# **You need** a network trained with cross-entropy, Bayes' rule, and the probe of
# [chapter 00](00_start_here.ipynb). **Time**: 30 minutes to read, about a minute to run on two CPU cores. The
# companion [06b](06b_labels_that_are_equations.ipynb) has the tasks whose label is an equation or the picture itself.

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

device = book.setup("06")

# %% [markdown]
# ## The puzzle: which way up?
#
# Three small worlds, drawn by a program: objects standing upright, the same objects seen from above (turned by any
# angle), and textures without any object. Each picture below was turned by 0, 1, 2 or 3 quarters, at random.

# %%
import itertools
import math
from functools import partial
from statistics import fmean as mean

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch06
from ssl_lessons.book.widgets import puzzle
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.methods.jigsaw import Jigsaw
from ssl_lessons.methods.relative_position import RelativePosition
from ssl_lessons.methods.rotation import Rotation
from ssl_lessons.models import build_encoder, settle
from ssl_lessons.training import pretrain, recipes
from ssl_lessons.views import pretext

# %%
WORLDS = {
    "upright objects": {},
    "seen from above": {"oriented": False},
    "textures": {"objects": False},
}
unlabeled = {
    w: data.shapes("unlabeled", n=2048, **switch) for w, switch in WORLDS.items()
}
train = {w: data.shapes("train", n=1000, **switch) for w, switch in WORLDS.items()}
test = {w: data.shapes("test", n=1000, **switch) for w, switch in WORLDS.items()}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# %% tags=["hide-input"]
SHOWN = 8
dealt_turns = torch.randint(4, (3 * SHOWN,), generator=seeded(1))
dealt = pretext.rotate(
    torch.cat([test[name].images[:SHOWN] for name in WORLDS]), dealt_turns
)
fig = plots.image_grid(
    dealt,
    columns=SHOWN,
    title="Turned by 0 to 3 quarters: which of these can you put upright?",
)
plots.show(
    fig,
    alt="Three rows of eight small pictures, each turned by a random number of "
    "quarter turns. First row: houses, "
    "cups and other objects with an upright pose. Second row: the same objects at "
    "any angle. Third row: stripes, "
    "dots and other textures.",
)

# %% [markdown]
# > **Predict before you go on.** A network will be trained to tell the four turns apart, on each world by itself.
# > Guessing gives 25 %. What will it reach on the first row, the second, the third? Could a larger network, or more
# > pictures, do better on the second?
#
# The idea of this chapter: *whoever can undo what was done to a picture must know something about pictures*, and the
# label (what was done) costs nothing.

# %% [markdown]
# ## The idea: a label that costs nothing, and what it is worth
#
# Take an image $x$, draw $t$ from a set of $T$ transformations (here: four turns), and show the network $x' = t(x)$.
# The **pretext task** (nobody needs the answer) is to say $t$. Its loss is the cross-entropy
#
# $$L = -\,\mathbb{E}_{x}\,\frac1T \sum_{t} \log q_\theta\big(t \mid t(x)\big),$$
#
# with $q_\theta$ the network's softmax over the $T$ answers. Then the classifier on top is thrown away, and the
# features below it are kept. What does the task teach? By Bayes' rule, with all $t$ equally likely,
#
# $$p(t \mid x') = \frac{p(x' \mid t)}{\sum_s p(x' \mid s)} = \frac{p_\text{data}(t^{-1} x')}{\sum_s p_\text{data}(s^{-1} x')}.$$
#
# (Turning moves pixels and changes no density.) Nobody can be right more often than by naming the most probable $t$,
# so
#
# $$\text{accuracy} \;\le\; \sum_{x'} \max_t\, p(x', t).$$
#
# Now suppose the *data* do not change their distribution under $t$: $p_\text{data}(t^{-1}x) = p_\text{data}(x)$ for all
# $t$. Then the numerator is the same for every $t$, the answer is $1/T$ whatever $x'$ is, and the ceiling is chance.
# **Impossible, for every network and any amount of data**. Conversely, whatever makes $p_\text{data}(t^{-1}x)$ differ
# from $p_\text{data}(x)$ is what the network will look for:
#
# > **A pretext task teaches what breaks the symmetry. If nothing does, it teaches nothing. If something silly does,
# > it teaches that.**
#
# The ceiling for four tiny worlds:


# %%
def ceiling(joint: torch.Tensor) -> float:
    """joint [X, T], probability of x' (row) after t (column) -> best accuracy."""
    return joint.max(dim=1).values.sum().item()


# Under four turns a house gives 4 different pictures, stripes 2, a disc 1.
house, stripes, disc = torch.eye(4), torch.eye(2).repeat(1, 2), torch.ones(1, 4)
tiny = {
    "houses, always upright": house / 4,
    "stripes, always upright": stripes / 4,
    "discs": disc / 4,
    "houses at any angle": torch.full((4, 4), 1 / 16),
}
for name, joint in tiny.items():
    print(f"{name}: {len(joint)} pictures can be seen, ceiling {ceiling(joint):.0%}")
assert [ceiling(joint) for joint in tiny.values()] == [1.0, 0.5, 0.25, 0.25]

# %% [markdown]
# Stripes come back after half a turn, so two of four answers can never be told apart: ceiling one half. A house at
# any angle is *as bad as a disc*, although every single picture of it has an orientation. The symmetry that counts
# is the one of the **distribution**.
#
# The second world is turned by angles that are uniform on the circle, and so are its light and its textures: the
# symmetry holds exactly, and 25 % is the ceiling. So it is for the textures. In the first world, gravity breaks it.

# %% [markdown]
# ## Step 1: rotation
#
# Quarter turns only move pixels. At any other angle blurred pixels or black corners would tell. That choice is why
# **RotNet** ([Gidaris et al., 2018](https://arxiv.org/abs/1803.07728)) is so simple. All four copies of an image are in
# the batch.


# %%
def turn(x: torch.Tensor, k: int) -> torch.Tensor:
    """x [N, C, S, S] turned counter-clockwise by k quarters."""
    for _ in range(k % 4):
        x = x.transpose(2, 3).flip(2)
    return x


def rotation_loss(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """network: images [N, 3, S, S] -> logits [N, 4]"""
    total = 0.0
    for k in range(4):
        label = torch.full((len(x),), k)
        total = total + F.cross_entropy(network(turn(x, k)), label) / 4
    return total


# %%
# NBVAL_CHECK_OUTPUT
x = torch.randn(6, 3, 8, 8, generator=seeded(0))
same = all(torch.equal(turn(x, k), torch.rot90(x, k, (2, 3))) for k in range(-1, 6))
print("turn equals torch.rot90:", same)
torch.manual_seed(0)
method = Rotation(build_encoder("convnet", width=8, dim=32)).eval()
mine = rotation_loss(method.predict, x)
print("rotation_loss agrees with the package:", torch.allclose(mine, method([x])))

# %% [markdown]
# One small convolutional network per world (fewer steps where little is needed or nothing can be had), and as a fourth
# world stripes that always stand upright. Accuracy is on new pictures.

# %%
recipe = recipes.get_recipe("quick")


def fresh(seed: int = 0, **options) -> nn.Module:
    torch.manual_seed(seed)
    return build_encoder("convnet", **{"width": 16, "dim": 256} | options)


def learn(method, images: torch.Tensor, steps: int = 100, **changes):
    """Train a pretext task on uint8 images with its own views."""
    settings = {"batch_size": 64, "lr": 4e-3, "progress": False} | changes
    pretrain(method, images, method.views(recipe.policy), steps=steps, **settings)
    return method


def upright_stripes(n: int, seed: int) -> torch.Tensor:
    """Vertical stripes of random width, place and colours: uint8 [n, 3, 32, 32]"""
    u = torch.rand(n, 8, generator=seeded(seed))
    along = torch.linspace(0, 2 * math.pi, 33)[:-1]
    waves = (2 + 3 * u[:, :1]) * along + 2 * math.pi * u[:, 1:2]
    light = (waves.sin() > 0).float()[:, None, None, :].expand(-1, 1, 32, -1)
    one, other = u[:, 2:5, None, None], u[:, 5:8, None, None]
    return (255 * (light * one + (1 - light) * other)).to(torch.uint8)


# %%
STEPS = {"upright objects": 120, "seen from above": 40, "textures": 40}
rotnets = {
    w: learn(Rotation(fresh()), unlabeled[w].images, steps)
    for w, steps in STEPS.items()
}
rotnets["upright stripes"] = learn(Rotation(fresh()), upright_stripes(1024, 0), 40)
new = {w: test[w].images[:500] for w in WORLDS}
new["upright stripes"] = upright_stripes(500, 1)
CEILINGS = {
    "upright objects": 1.0,
    "seen from above": 0.25,
    "textures": 0.25,
    "upright stripes": 0.5,
}
reached = {w: rotnets[w].accuracy(new[w]) for w in CEILINGS}

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 2.6)
place = torch.arange(len(CEILINGS))
ax.bar(place, [100 * value for value in reached.values()], 0.6)
for at, top in zip(place.tolist(), CEILINGS.values()):
    ax.plot([at - 0.4, at + 0.4], [100 * top, 100 * top], color="black", linewidth=2)
ax.axhline(25, color=plots.GRAY, linestyle=":")
ax.set_xticks(place, list(CEILINGS))
ax.set(
    title="Telling turns apart: bars are reached, black lines are the ceiling",
    ylabel="right answers (%)",
    ylim=(0, 108),
)
plots.show(
    fig,
    alt="Bars of the accuracy of telling four quarter turns apart on new pictures, "
    "with the ceiling of each world. "
    + " ".join(
        f"{w}: {100 * value:.0f} percent, ceiling {100 * CEILINGS[w]:.0f}."
        for w, value in reached.items()
    ),
)
print(", ".join(f"{w} {value:.1%}" for w, value in reached.items()))
assert abs(reached["seen from above"] - 0.25) < 0.05
assert abs(reached["textures"] - 0.25) < 0.05
assert reached["upright objects"] > 0.28
assert 0.4 < reached["upright stripes"] < 0.56

# %% [markdown]
# **The answer to the puzzle.** On the second and the third row the network guesses, and no larger network will do
# better. On upright objects it is above chance after 120 short steps, and far from its ceiling. (Is a ceiling of 100 %
# generous? A fish upside down is nearly a fish, so it is a little lower.)
#
# Nothing crashes where there is nothing to learn, and the loss may even fall, by learning single training pictures by
# heart. **How to see it**: compare the accuracy of the task with chance on *new* pictures before you look at anything
# else.

# %% [markdown]
# ## Step 2: relative position
#
# [Doersch et al. (2015)](https://arxiv.org/abs/1505.05192) asked: two patches of one image, on which of eight sides of
# the first does the second lie? A network that knows what an ear looks like knows that the head is next to it. The
# encoder $f$ sees each patch alone; a classifier $g$ sees both features, $v_0$ the centre patch and $v_j$ its neighbour
# on side $j$:
#
# $$q(j \mid x) = \mathrm{softmax}\Big(g\big(f(v_0),\, f(v_j)\big)\Big)_j, \qquad j = 1, \dots, 8.$$


# %%
def nine_patches(x: torch.Tensor, gap: int = 0) -> torch.Tensor:
    """x [N, 3, S, S] -> [N, 9, 3, s, s] in reading order, `gap` pixels between two."""
    cell = x.shape[-1] // 3
    s = cell - gap
    rows = [slice(r * cell + gap // 2, r * cell + gap // 2 + s) for r in range(3)]
    return torch.stack([x[:, :, a, b] for a in rows for b in rows], dim=1)


def position_loss(encoder, head, patches: torch.Tensor) -> torch.Tensor:
    """The centre patch is number 4; the eight others are the answers 0 to 7."""
    h = encoder(patches.flatten(0, 1)).view(len(patches), 9, -1)
    total = 0.0
    for answer, place in enumerate((0, 1, 2, 3, 5, 6, 7, 8)):
        logits = head(torch.cat([h[:, 4], h[:, place]], dim=1))
        total = total + F.cross_entropy(logits, torch.full((len(h),), answer)) / 8
    return total


# %%
# NBVAL_CHECK_OUTPUT
x = torch.randn(5, 3, 48, 48, generator=seeded(0))
torch.manual_seed(0)
small = build_encoder("convnet", width=8, dim=32)
context = RelativePosition(small, gap=0.25, jitter=False).eval()
mine = position_loss(context.encoder, context.classifier, nine_patches(x, gap=4))
print("nine_patches agrees:", torch.equal(nine_patches(x, 4), pretext.tiles(x, 3, 12)))
print("position_loss agrees:", torch.allclose(mine, context([x])))

# %% [markdown]
# ## What goes wrong, 1: it found a shortcut
#
# What silly things tell where a patch lies?
#
# 1. **Lines that go on.** Put two patches side by side without a gap, and a line of one continues in the other.
# 2. **The lens.** A real lens bends the colours differently, so that red and blue part from green, the more so the
#    farther from the centre (*chromatic aberration*). From one patch alone, the direction in which they part tells
#    where it lies. Doersch et al. report networks that could say where in the picture a patch had been.
#
# The clean test bench is a world in which there is nothing to understand: long straight lines of any colour at any
# angle. Whatever a network reaches there above one in eight is a shortcut.


# %%
def long_lines(n: int, seed: int, lens: float = 0.0) -> torch.Tensor:
    """Six straight lines per picture, seen through a lens: uint8 [n, 3, 32, 32]"""
    u = torch.rand(n, 6, 5, generator=seeded(seed))
    axis = (torch.arange(32) + 0.5) / 32 - 0.5
    angle, offset = math.pi * u[..., 0, None, None], 1.2 * (u[..., 1, None, None] - 0.5)
    away = axis * angle.cos() + axis[:, None] * angle.sin() - offset  # [n, 6, 32, 32]
    picture = torch.full((n, 3, 32, 32), 0.5)
    for line, colour in zip((away.abs() < 0.03).unbind(1), u[..., 2:].unbind(1)):
        picture = torch.where(line[:, None], colour[:, :, None, None], picture)
    return pretext.chromatic_aberration((255 * picture).to(torch.uint8), lens)


ARMS = {  # the lens, and what is done against the shortcuts
    "patches touch": (0.0, {"gap": 0.0, "jitter": False}),
    "gap and jitter": (0.0, {}),
    "gap and jitter, poor lens": (0.12, {}),
    "gap, jitter, lens, colours dropped": (0.12, {"colours": "drop"}),
}
shortcuts = {}
for name, (lens, options) in ARMS.items():
    task = RelativePosition(fresh(width=8, dim=128), **options)
    learn(task, long_lines(2048, 0, lens), steps=150)
    shortcuts[name] = task.accuracy(long_lines(500, 1, lens))

# %% [markdown]
# *Gap and jitter*: a quarter of each cell stays free, and a patch sits anywhere in its cell. *Colours dropped*: each
# patch keeps one random colour channel, the other two become faint noise (one of the paper's two remedies).

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.0, 2.6, 1, 2, width_ratios=(1, 1.7))
seen = [long_lines(4, 1, lens) for lens in (0.0, 0.12)]
left.imshow(
    torch.cat([torch.cat(list(s[:3]), dim=2) for s in seen], dim=1).permute(1, 2, 0)
)
left.axis("off")
left.set_title("Above: lines. Below: through the lens")
right.barh(list(shortcuts), [100 * value for value in shortcuts.values()])
right.axvline(12.5, color=plots.GRAY, linestyle=":", label="chance")
right.invert_yaxis()
right.set(title="Placing patches that show nothing", xlabel="right answers (%)")
right.legend()
plots.show(
    fig,
    alt="Left: pictures of six straight coloured lines, and the same with red and "
    "blue fringes. Right: bars of the "
    "accuracy of placing their patches, chance 12.5 percent. "
    + " ".join(
        f"{name}: {100 * value:.0f} percent." for name, value in shortcuts.items()
    ),
)
touch, apart, through, dropped = shortcuts.values()
print(", ".join(f"{name} {value:.1%}" for name, value in shortcuts.items()))
assert min(touch, through) > apart + 0.04
assert dropped < through - 0.08 and dropped < 0.18

# %% [markdown]
# Both shortcuts are taken, and both remedies help. (Dropping colours also makes lines harder to match; the test does
# not tell the two apart.) The gap does not take all: a patch that sits anywhere in its cell can come close to its
# neighbour, and a straight line that leaves one cell arrives in the next.

# %% [markdown]
# ## Step 3: jigsaw puzzles, and orders that are hard to confuse
#
# [Noroozi and Favaro (2016)](https://arxiv.org/abs/1603.09246) shuffle all nine patches and ask for the permutation.
# There are $9! = 362{,}880$, too many for a softmax: they fix a set of $P$ permutations and ask *which of the set*. If
# two of them differ in two places only, telling them apart hangs on two tiles that may both be sky. So choose orders
# with a large **Hamming distance** (the number of places in which they differ), greedily: start with any, then always
# add the one farthest from those chosen (in the paper from their average, here from the nearest of them).


# %%
def far_orders(tiles: int, count: int, seed: int = 0) -> torch.Tensor:
    """int64 [count, tiles]: each next order is as far as can be from all before."""
    everyone = torch.tensor(list(itertools.permutations(range(tiles))))
    everyone = everyone[torch.rand(len(everyone), generator=seeded(seed)).argsort()]
    least = torch.full((len(everyone),), tiles + 1)
    chosen = [0]
    while len(chosen) < count:
        distance = (everyone != everyone[chosen[-1]]).sum(dim=1)
        least = torch.minimum(least, distance)
        chosen.append(int(least.argmax()))
    return everyone[chosen]


print("six orders of six tiles:", far_orders(6, 6).tolist())
assert pretext.minimum_distance(far_orders(6, 6)) == 6

# %% [markdown]
# How far apart *can* $P$ orders of $n$ tiles be? Suppose all differ in at least $d$ places. Then no two agree in their
# first $n - d + 1$ places (they would differ in at most $d - 1$). There are $n!/(d-1)!$ possible beginnings, so
#
# $$P \le \frac{n!}{(d-1)!}.$$
#
# For nine tiles: at most 9 orders can differ everywhere.

# %% tags=["hide-input"]
COUNTS = (2, 9, 30, 60, 100)
nine = pretext.permutation_set(9, max(COUNTS))
rows = []
for count in COUNTS:
    draws = torch.stack(
        [torch.randperm(9, generator=seeded(100 + i)) for i in range(count)]
    )
    found = [pretext.minimum_distance(orders) for orders in (draws, nine[:count])]
    bound = pretext.distance_bound(9, count)
    rows.append(
        {"count": count, "random": found[0], "greedy": found[1], "bound": bound}
    )
    assert found[0] < found[1] <= bound or count == 2
plots.table(
    rows,
    "Nine tiles: the smallest distance between two orders of the set",
    {
        "count": "orders in the set",
        "random": "drawn at random",
        "greedy": "greedy",
        "bound": "no set has more than",
    },
)

# %% [markdown]
# The paper takes 1,000 orders, and fights shortcuts too: random gaps between the tiles, and every tile normalised to
# mean 0 and deviation 1, so that brightness and shading do not tell neighbours.
#
# ## What goes wrong, 2: you read it the wrong way
#
# The jigsaw encoder was trained on nine small tiles, one at a time, each normalised by itself. A probe on whole
# pictures tests it on inputs it does not know. Read it as it was trained: cut the picture, encode nine tiles, put the
# nine features side by side.
#
# > **Predict.** How much does that change the probe (10 labels per class, chance 10 %)? And how much of the change is
# > due to cutting and normalising alone, with an encoder that was never trained?


# %%
def on_tiles(encoder: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Features of the nine tiles side by side: uint8 [N, 3, 32, 32] -> [N, 9 dim]"""
    encoder.eval()
    torch.manual_seed(0)  # the places of the tiles
    with torch.no_grad():
        cut = jigsaw.cut(views.normalize(images, 48))
        return torch.cat(
            [encoder(t.flatten(0, 1)).view(len(t), -1) for t in cut.split(250)]
        )


def probe(features, world: str = "upright objects") -> float:
    """10 labels per class, mean of three draws."""
    a, b = (features(s[world].images) for s in (train, test))
    y, y_test = train[world].labels, test[world].labels
    rows = evaluation.label_efficiency(a, y, b, y_test, per_class=(10,), draws=3)
    return rows[0]["mean"]


# %%
puzzles = unlabeled["upright objects"].images
jigsaw = learn(Jigsaw(fresh(), orders=24), puzzles, steps=70)
untrained = settle(fresh(), unlabeled["upright objects"].images[:1024])
read = {
    "whole": lambda encoder: partial(evaluation.extract_features, encoder),
    "tiles": lambda encoder: partial(on_tiles, encoder),
}
reading = {
    (name, how): probe(read[how](encoder))
    for name, encoder in {"untrained": untrained, "jigsaw": jigsaw.encoder}.items()
    for how in read
}
task = jigsaw.accuracy(new["upright objects"])
print(f"the task: {task:.0%} right, a guess {1 / 24:.0%}")
for (name, how), value in reading.items():
    print(f"{name}, read on {how}: {value:.1%}")
assert reading["jigsaw", "tiles"] > reading["jigsaw", "whole"] + 0.03

# %% [markdown]
# Read on tiles the jigsaw network is better, and part of that is the preparation alone, as the untrained row shows (its
# BatchNorm statistics are those of whole pictures here; the record below takes those of the pieces). The gain of
# training is the difference *within* a reading, never across.
#
# ## The record: which pretext task fits which data?
#
# With the sentence of this chapter you can predict an answer: *a task is worth something where the data break its
# symmetry by what you care about*. Here are longer runs (300 steps), with three seeds, on all three worlds. The label
# is the kind of object; among textures, which texture it is. *Exemplar, 64* and SimCLR ask *which picture is it*
# ([06b](06b_labels_that_are_equations.ipynb) and [chapter 13](13_from_nce_to_nt_xent.ipynb)).

# %%
record, origin = book.recorded("pretext", world=2)
READ = {"jigsaw": "tiles", "relative_position": "patches"}


def of(arm: str, world: str, key: str = "probe", how: str = "whole") -> list[float]:
    """One number per seed, of features read in one way."""
    return book.per_seed(record, key, arm=arm, data=world, read=how)


# %% tags=["hide-input"]
TASKS = ("rotation", "relative_position", "jigsaw", "exemplar 64", "simclr")


def shown(values: list[float]) -> str:
    return (
        f"{100 * mean(values):.1f} ({100 * min(values):.0f} to {100 * max(values):.0f})"
    )


rows = [
    {"arm": "chance", "read": ""}
    | {w: f"{100 / len(test[w].classes):.1f}" for w in WORLDS}
]
lines = [
    ("pixels", "whole"),
    ("untrained", "whole"),
    ("untrained", "patches"),
    ("untrained", "tiles"),
]
lines += [(arm, READ.get(arm, "whole")) for arm in TASKS]
for arm, how in lines:
    row = {"arm": arm.replace("_", " "), "read": how}
    rows.append(row | {w: shown(of(arm, w, how=how)) for w in WORLDS})
plots.table(
    rows,
    "Probe with 10 labels per class (%): mean and range over the seeds",
    {"arm": "trained by", "read": "read on"} | {w: w for w in WORLDS},
)
seeds = {len(of(arm, w, how=how)) for arm, how in lines for w in WORLDS}
print(f"{min(seeds)} to {max(seeds)} seeds. {origin}")

# %% tags=["hide-input"]
gain = torch.tensor(
    [
        [
            mean(of(arm, w, how=READ.get(arm, "whole")))
            - mean(of("untrained", w, how=READ.get(arm, "whole")))
            for w in WORLDS
        ]
        for arm in TASKS
    ]
)
fig, ax = plots.new_figure(6.4, 2.6)
limit = 100 * float(gain.abs().max())
image = ax.imshow(100 * gain, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
for i in range(len(TASKS)):
    for j in range(3):
        ink = "white" if 100 * gain[i, j].abs() > 0.6 * limit else "black"
        ax.text(j, i, f"{100 * gain[i, j]:+.0f}", ha="center", va="center", color=ink)
ax.set_xticks(range(3), list(WORLDS))
ax.set_yticks(range(len(TASKS)), [arm.replace("_", " ") for arm in TASKS])
ax.set_title("Gain over the untrained encoder, read the same way")
fig.colorbar(image, ax=ax, label="points")
plots.show(
    fig,
    alt="Heat map of the gain in the probe over an untrained encoder, in points. "
    + " ".join(
        f"{arm}: "
        + ", ".join(f"{w} {100 * gain[i, j]:+.0f}" for j, w in enumerate(WORLDS))
        + "."
        for i, arm in enumerate(TASKS)
    ),
)

# %% [markdown]
# **First the rows that nobody trained.** Nine tiles of an *untrained* encoder tell textures apart twice as well as the
# same encoder on the whole picture, and far better than three of five rows trained here. Not because there are nine:
# nine *patches* do no better than the whole picture. But each tile is divided by its own deviation, so that faint
# textures become loud. Most of the jigsaw's lead is the preparation of the pictures, not the task. From above, no probe
# with 100 labels gains more than five points or so. The position and jigsaw networks solve their *tasks* there as well
# as upright.

# %%
up, above, texture = gain.unbind(1)
which = [TASKS.index(arm) for arm in ("exemplar 64", "simclr")]
assert mean(of("untrained", "textures", how="tiles")) > 1.7 * mean(
    of("untrained", "textures")
)
assert above.max() < 0.08
nine = [mean(of("untrained", "textures", how=how)) for how in ("patches", "whole")]
assert nine[0] < nine[1] + 0.02
for arm, how in READ.items():
    solved = [mean(of(arm, w, "pretext", how)) for w in WORLDS]
    assert abs(solved[0] - solved[1]) < 0.05
assert up[0] == up.max() and up[0] > 0.25
assert above[0] < 0.03 and texture[0] < 0
assert all(0.07 < up[TASKS.index(arm)] < 0.2 for arm in READ)
assert all(up[i] > 0.15 for i in which) and texture[which[1]] > 0.15
lost = min(of("exemplar 64", "textures"))
assert sum(v > 0.3 for v in of("exemplar 64", "textures")) == 2 and lost < 0.25

# %% [markdown]
# **Then the sentence of this chapter.** *Rotation* gains most where gravity breaks the symmetry, and nothing from
# above; on textures it even costs a few points. *Position* and *jigsaw* ask how parts lie to each other: they gain on
# upright objects, a good deal less than rotation does. *Which picture is it?* needs no broken symmetry, only pictures
# that differ: SimCLR gains on objects and on textures, exemplar on objects, and on textures in two runs of three.
#
# The table is no order of methods: steps and learning rate are equal, and tuned for none of them.
#
# ## Covariant or invariant?
#
# Instead of *predicting* a turn, use turns by any angle as an *augmentation* in SimCLR: two views that are turned
# differently count as the same. So probe two things: what is it, and by how many quarters was it turned?

# %% tags=["hide-input"]
plots.table(
    [
        {
            "arm": arm,
            **{w: shown(of(arm, w)) for w in ("upright objects", "seen from above")},
            "upright": shown(of(arm, "upright objects", "upright")),
        }
        for arm in ("untrained", "simclr", "simclr turned", "rotation")
    ],
    "What is it (100 labels), and which way up is it (four turns, 400 labels)? (%)",
    {
        "arm": "trained by",
        "upright objects": "kind: upright objects",
        "seen from above": "kind: seen from above",
        "upright": "which way up (chance 25)",
    },
)

# %% [markdown]
# Only one encoder can say which way up a picture is: the one that was asked. SimCLR's can hardly, so there was little
# that turning could take away *of that*. But on upright objects SimCLR loses more than ten points of the *kind* when it
# has to treat a house and a fallen house as the same. From above turning does not help either: it costs a point or two
# on average.

# %%
arm_mean = {
    arm: [mean(of(arm, w, key)) for w, key in (("upright objects", "probe"),
          ("seen from above", "probe"), ("upright objects", "upright"))]
    for arm in ("untrained", "simclr", "simclr turned", "rotation")
}  # fmt: skip
turned, plain = arm_mean["simclr turned"], arm_mean["simclr"]
assert plain[0] - turned[0] > 0.1 and 0 < plain[1] - turned[1] < 0.04
assert arm_mean["rotation"][2] > 0.45 and max(turned[2], plain[2]) < 0.36

# %% [markdown]
# An augmentation is a statement about what does *not* matter; a pretext task is a statement about what does. Neither is
# true by itself. [Weng and Kim's tutorial](https://neurips.cc/Conferences/2021/Schedule?showEvent=21895) files these
# tasks under **innate relationship prediction**, beside *autoregressive*, *masked* prediction and hybrids
# ([06b](06b_labels_that_are_equations.ipynb) shows one picture under all four).

# %% [markdown]
# ## Play: you against the network
#
# Four ways to put the dealt picture right. Choose one.

# %%
ROUNDS = 100


def player(method):
    return lambda x: method.eval().predict((x - 0.5) / 0.25)


games = {
    world: puzzle.rotation_game(
        test[world].images[500 : 500 + ROUNDS].float() / 255, player(rotnets[world])
    )
    for world in WORLDS
}
widgets.explore(
    partial(puzzle.render, games=games),
    puzzle.controls(games),
    static=[
        {"round": 1},
        {"round": 1, "answer": "A"},
        {"game": "textures", "round": 2, "answer": "B"},
    ],
    alt=partial(puzzle.describe, games=games),
    columns=1,
    captions=["upright objects, undecided", "upright objects, A", "textures, B"],
)
noise = math.sqrt(0.25 * 0.75 / ROUNDS)
for world, game in games.items():
    print(f"{world}: the network wins {game.score:.0%} of {ROUNDS} rounds")
print(f"A guess wins 25%, give or take {2 * noise:.0%}.")

# %% [markdown]
# > **Try.** (1) Play ten rounds of *seen from above*. You cannot win in the long run, and neither can it. (2) Find an
# > upright object on which the network is confidently wrong. What does it seem to look at?

# %% [markdown]
# ## Exercises
#
# Tensors are float64 unless it says otherwise; float32 answers are accepted. Solutions stand at the end of the
# notebook.
#
# ### 1 · Which ceiling has your data set? (••, 8 minutes)
#
# The text gave you the joint table. Now you get the data: a list of different pictures and how probable each one is.
# Turn each by 0 to 3 quarters; how often can anybody be right? Two turned pictures that are equal, pixel by pixel, are
# one thing that can be seen.
#
# <details><summary>Hint 1</summary>Collect, for every picture that can be seen, four probabilities.</details>
# <details><summary>Hint 2</summary>A dictionary from `tuple(x.flatten().tolist())` to a list of four numbers.</details>


# %%
def my_ceiling(pictures: torch.Tensor, p: torch.Tensor) -> float:
    """pictures [N, S, S], all different; p [N], sum 1 -> one number"""
    return NOT_ATTEMPTED


ch06.check_ceiling(my_ceiling)

# %% [markdown]
# ### 2 · Somebody mirrors the batch (••, 6 minutes)
#
# A colleague adds a mirror to RotNet's augmentations: with probability $m$ a picture is flipped left to right, *after*
# it was turned. In your data every picture is as probable as its mirror image; no picture equals one of its own turns,
# or one of their mirror images; and without the mirror all turns could be told. What is the ceiling now?
#
# <details><summary>Hint 1</summary>Mirror a picture that was turned by one quarter. By how many quarters does the result look turned, if you take it for a mirrored picture that was turned afterwards?</details>
# <details><summary>Hint 2</summary>Which answers can still be told apart? Of two that cannot, name the likelier one.</details>


# %%
def my_mirrored_ceiling(m: float) -> float:
    """m from 0 to 1 -> the best accuracy over the four turns, from 0 to 1"""
    return NOT_ATTEMPTED


ch06.check_mirrored_ceiling(my_mirrored_ceiling)

# %% [markdown]
# ### 3 · Orders that differ everywhere (••, 8 minutes)
#
# The bound says that at most $n$ orders of $n$ tiles differ in every place. Reach it for any $n$, without a search.
#
# <details><summary>Hint</summary>What happens to every place if you shift an order by one?</details>


# %%
def my_orders(n: int) -> torch.Tensor:
    """n -> int64 [n, n]: rows are orders of 0 to n-1, no two equal in any place"""
    return NOT_ATTEMPTED


ch06.check_orders(my_orders)

# %% [markdown]
# ### 4 · Is it above chance? (•••, 10 minutes)
#
# Your relative-position network answers eight questions about each of $N$ pictures of nothing. Is its accuracy above
# $1/8$, or is it luck? Give the distance from chance in standard errors. Beware: the eight answers about one picture
# share its centre patch, its lines and its colours.
#
# <details><summary>Hint 1</summary>What are the independent draws: $8N$ answers, or $N$ pictures?</details>
# <details><summary>Hint 2</summary>Average within each picture first; the standard error of a mean of $N$ numbers is their standard deviation (with $N - 1$) over $\sqrt N$.</details>


# %%
def my_distance_from_chance(right: torch.Tensor) -> float:
    """right: bool [N, 8] -> (accuracy - 1/8) / its standard error"""
    return NOT_ATTEMPTED


ch06.check_distance_from_chance(my_distance_from_chance)

# %% [markdown]
# ## Claims put to the test
#
# Statement, source, rule and margin of each stand in
# [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv). "Rotation fails on
# textures" is not among them: on textures of uniform angles it cannot come out otherwise.

# %%
above, way_up, tiles = (
    partial(of, world="seen from above"),
    partial(of, world="upright objects", key="upright"),
    partial(of, world="upright objects", how="tiles"),
)
TURNS = ("simclr turned", "simclr", "untrained")
book.claim("C-77a", drawn=Runs(*map(above, TURNS)))
book.claim("C-77b", drawn=Runs(*map(way_up, TURNS)))
book.claim("C-87", drawn=Runs(*map(tiles, ("jigsaw 500", "jigsaw 4", "untrained"))))

# %% [markdown]
# ## Where it comes from, where it went
#
# The puzzle's authors later mixed in tiles of another picture (Jigsaw++), and passed what a deeper network had learned
# on to a shallower one through clusters ([Noroozi et al., 2018](https://arxiv.org/abs/1805.00385)), a step towards
# [chapter 17](17_clustering.ipynb). [Zhang et al. (2019)](https://arxiv.org/abs/1901.04596) regress the parameters of a
# transformation (AET), [Goyal et al. (2019)](https://arxiv.org/abs/1905.01235) scaled the puzzles up, and [Yamaguchi et
# al. (2019)](https://arxiv.org/abs/1912.11603) mix rotation with image enhancement, because rotation alone hardly
# captures textures.
#
# **Further reading.** [Kolesnikov et al. (2019)](https://arxiv.org/abs/1901.09005) revisit these tasks with one
# architecture after another, and find that the ranking of tasks changes with the network.
#
# ### Quiz
#
# **1.** A satellite company trains RotNet on its pictures and reports 25.1 % accuracy of the task. The engineer proposes
# a deeper network. What do you say?
#
# <details><summary>Answer</summary>Seen from above, the distribution does not change under quarter turns, so chance is the ceiling for every network. (If accuracy were well above 25 %, look for what broke the symmetry: shadows at one time of day, a date printed in a corner, the camera's vignette.) Use a task that keeps its label here, such as telling pictures apart. (Turns as an augmentation are often advised there; the record above saw no gain from them.)</details>
#
# **2.** Your relative-position network reaches 60 % after ten minutes and its features are useless. Name two suspects
# and one test.
#
# <details><summary>Answer</summary>Lines that go on across the border, and chromatic aberration. Train or test it on pictures in which there is nothing to understand, with and without a gap, in colour and with one channel only. What still works there is a shortcut.</details>
#
# **3.** A paper reports that jigsaw features probe no better than untrained ones. What do you ask first?
#
# <details><summary>Answer</summary>What the encoder was shown when it was probed. Trained on normalised tiles and probed on whole pictures, it is tested on inputs it does not know; and the untrained row has to be read in the same way.</details>
#
# ### Solutions
#
# <details><summary>1 · Which ceiling has your data set?</summary>
#
# ```python
# def my_ceiling(pictures, p):
#     seen = {}
#     for picture, weight in zip(pictures, p.tolist()):
#         for k in range(4):
#             key = tuple(picture.rot90(k, (0, 1)).flatten().tolist())
#             seen.setdefault(key, [0.0] * 4)[k] += weight / 4
#     return sum(max(row) for row in seen.values())
# ```
# </details>
#
# <details><summary>2 · Somebody mirrors the batch</summary>
#
# A mirror turns the direction of turning around: the mirror image of a picture turned by one quarter is the mirrored
# picture turned by three. So what looks like one quarter was one, unmirrored, with probability $1 - m$, or three,
# mirrored, with probability $m$. Upright and half a turn are what they seem. With $m = \tfrac12$ three answers in
# four are right at best. Mirror *before* the turn, and nothing is lost.
#
# ```python
# def my_mirrored_ceiling(m):
#     return (1 + max(m, 1 - m)) / 2
# ```
# </details>
#
# <details><summary>3 · Orders that differ everywhere</summary>
#
# ```python
# def my_orders(n):
#     line = torch.arange(n)
#     return (line[:, None] + line) % n
# ```
# </details>
#
# <details><summary>4 · Is it above chance?</summary>
#
# ```python
# def my_distance_from_chance(right):
#     share = right.double().mean(dim=1)
#     return ((share.mean() - 1 / 8) / (share.std() / len(share) ** 0.5)).item()
# ```
# Take the $8N$ answers for independent, and where those about one picture rise and fall together the error comes out too
# small: luck looks like a shortcut. (They can also push each other away: who always says "left" is right exactly once per
# picture.)
# </details>
