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
# - turn any picture into a labelled example by turning, cutting, shuffling or shrinking it, and write the six
#   classical tasks of this kind in a few lines each;
# - compute in advance the best accuracy that such a task allows on given data, and name the data on which it
#   must fail;
# - provoke the two famous shortcuts (continuing edges, colours that part at the edge of a lens), and block them;
# - choose a set of permutations that are hard to confuse, and say how good a set can be;
# - answer "which pretext task fits which data?" with a measured table.
#
# **You need** a network trained with cross-entropy, Bayes' rule, and the probe of chapter 00 (a linear classifier
# on frozen features).
# **Time**: 62 minutes to read, about 55 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("06")

# %% [markdown]
# ## The puzzle: which way up?
#
# Three small worlds, drawn by a program: objects standing upright, the same objects seen from above (turned by any
# angle), and backgrounds without any object. Each picture below was turned by 0, 1, 2 or 3 quarters, at random.

# %%
import itertools
import math
from functools import partial

import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_image
from torch import nn

from ssl_lessons import data, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch06
from ssl_lessons.book.widgets import puzzle
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.counting import Counting, counting
from ssl_lessons.methods.exemplar import Exemplar
from ssl_lessons.methods.jigsaw import Jigsaw
from ssl_lessons.methods.pirl import PIRL
from ssl_lessons.methods.relative_position import RelativePosition
from ssl_lessons.methods.rotation import Rotation
from ssl_lessons.models import build_encoder
from ssl_lessons.training import pretrain, recipes
from ssl_lessons.views import pretext

N, LABELLED, TESTED = 2048, 1000, 1000
WORLDS = {
    "upright objects": {},
    "seen from above": {"oriented": False},
    "textures": {"objects": False},
}
unlabeled = {name: data.shapes("unlabeled", 32, N, **switch, world=1) for name, switch in WORLDS.items()}
train = {name: data.shapes("train", 32, LABELLED, **switch, world=1) for name, switch in WORLDS.items()}
test = {name: data.shapes("test", 32, TESTED, **switch, world=1) for name, switch in WORLDS.items()}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SHOWN = 8
dealt_turns = torch.randint(4, (3 * SHOWN,), generator=seeded(1))
dealt = pretext.rotate(torch.cat([test[name].images[:SHOWN] for name in WORLDS]), dealt_turns)
fig = plots.image_grid(
    dealt, columns=SHOWN, title="Turned by 0 to 3 quarters: which of these can you put upright?"
)
plots.show(
    fig,
    alt="Three rows of eight small pictures, each turned by a random number of quarter turns. First row: houses, "
    "cups and other objects with an upright pose. Second row: the same objects at any angle. Third row: stripes, "
    "dots and other textures.",
)

# %% [markdown]
# > **Predict before you go on.** A network will be trained to tell the four turns apart, on each world by itself.
# > Guessing gives 25 %. What will it reach on the first row, the second, the third? Could a larger network do
# > better on the second?
#
# You can put the first row upright because you know houses. That is the idea of this chapter: *whoever can undo
# what was done to a picture must know something about pictures*, and the label (what was done) costs nothing.

# %% [markdown]
# ## The idea: a label that costs nothing, and what it is worth
#
# Take an image $x$, draw $t$ from a set of $T$ transformations (here: four turns), and show the network $x' = t(x)$.
# The pretext task ("pretext": an excuse; nobody needs the answer) is to say $t$. Its loss is the cross-entropy
#
# $$L = -\,\mathbb{E}_{x}\,\frac1T \sum_{t} \log q_\theta\big(t \mid t(x)\big),$$
#
# with $q_\theta$ the network's softmax over the $T$ answers. Then the classifier on top is thrown away, and the
# features below it are kept. What does the task teach? Ask how well it can be solved at all. By Bayes' rule, with all
# $t$ equally likely,
#
# $$p(t \mid x') = \frac{p(x' \mid t)}{\sum_s p(x' \mid s)} = \frac{p_\text{data}(t^{-1} x')}{\sum_s p_\text{data}(s^{-1} x')}.$$
#
# (Turning moves pixels and changes no density.) Nobody can be right more often than by naming the most probable $t$,
# so
#
# $$\text{accuracy} \;\le\; \sum_{x'} \max_t\, p(x', t).$$
#
# Now suppose the *data* do not change their distribution under $t$: $p_\text{data}(t^{-1}x) = p_\text{data}(x)$ for
# all $t$. Then the numerator is the same for every $t$, the answer is $1/T$ whatever $x'$ is, and the ceiling is
# chance. Not "hard to learn": **impossible, for every network and any amount of data**. Conversely, whatever makes
# $p_\text{data}(t^{-1}x)$ differ from $p_\text{data}(x)$ is what the network will look for. So here is the sentence
# to take home:
#
# > **A pretext task teaches what breaks the symmetry. If nothing does, it teaches nothing. If something silly does,
# > it teaches that.**
#
# The second world is turned by angles that are uniform on the circle, and so are its light and its textures. The
# symmetry holds exactly: 25 % is the ceiling. So it is for the textures. In the first world, gravity breaks it. Here
# is the ceiling for four tiny worlds, all of it arithmetic.

# %%


def ceiling(joint: torch.Tensor) -> float:
    """joint [X, T], probabilities of seeing x' after transformation t -> the best possible accuracy."""
    return joint.max(dim=1).values.sum().item()


# Orbits of a picture under four turns: a house has 4 different ones, stripes 2, a disc 1.
house, stripes, disc = torch.eye(4), torch.eye(2).repeat(1, 2), torch.ones(1, 4)
tiny = {
    "houses, always upright": house / 4,
    "stripes, always upright": stripes / 4,
    "discs": disc / 4,
    "houses at any angle": torch.full((4, 4), 1 / 16),
}
plots.table(
    [{"world": name, "pictures": len(joint), "ceiling": ceiling(joint)} for name, joint in tiny.items()],
    "The best possible accuracy of telling four turns apart",
    {"world": "world", "pictures": "pictures that can be seen", "ceiling": "ceiling"},
    {"ceiling": ".0%"},
)

# %% [markdown]
# Stripes come back after half a turn, so two of four answers can never be told apart: ceiling one half. A house at
# any angle is *as bad as a disc*, although every single picture of it has an orientation. The symmetry that counts
# is the one of the **distribution**.

# %% [markdown]
# ## Step 1: rotation
#
# Quarter turns need no interpolation: a transpose and a flip only move pixels. With any other angle, the network
# could look at the blurred pixels or the black corners instead of the object. That choice is why **RotNet** ([Gidaris
# et al., 2018](https://arxiv.org/abs/1803.07728)) is so simple. All four copies of an image are in the batch.

# %%


def turn(x: torch.Tensor, k: int) -> torch.Tensor:
    """x [N, C, S, S] turned counter-clockwise by k quarters."""
    for _ in range(k):
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
print("turn equals torch.rot90:", all(torch.equal(turn(x, k), torch.rot90(x, k, (2, 3))) for k in range(4)))
torch.manual_seed(0)
method = Rotation(build_encoder("convnet", width=8, dim=32)).eval()
print("rotation_loss agrees with the package:", torch.allclose(rotation_loss(method.predict, x), method([x])))

# %% [markdown]
# ### The run
#
# One small convolutional network per world, the same steps for each, and stripes that always stand upright as a
# fourth world. Then two measurements: the accuracy of the pretext task on new pictures, and the probe, a linear
# classifier on the frozen features trained with 10 labels per class (what the object is; in the texture worlds,
# which texture it is).

# %%
recipe = recipes.get_recipe("quick")
STEPS, BATCH, LR = 100, 64, 4e-3


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


def upright_stripes(n: int, seed: int) -> torch.Tensor:
    """Vertical stripes of random width, place and colours: uint8 [n, 3, 32, 32]"""
    u = torch.rand(n, 9, generator=seeded(seed))
    waves = (2 + 3 * u[:, :1]) * torch.linspace(0, 2 * math.pi, 33)[:-1] + 2 * math.pi * u[:, 1:2]
    mix = (waves.sin() > 0).float()[:, None, None, :].expand(-1, 1, 32, -1)
    one, other = u[:, 3:6, None, None], u[:, 6:9, None, None]
    return (255 * (mix * one + (1 - mix) * other)).to(torch.uint8)


@torch.no_grad()
def rotation_accuracy(method: Rotation, images: torch.Tensor) -> float:
    """Share of right answers over all four turns of each picture."""
    method.eval()
    turned, turns = pretext.four_rotations(views.normalize(images))
    right = [method.predict(a).argmax(dim=1) == b for a, b in zip(turned.split(500), turns.split(500))]
    return torch.cat(right).float().mean().item()


def probe(encoder: nn.Module, world: str = "upright objects") -> dict:
    """Probe with 10 labels per class (three draws) and kNN on all labels, on frozen features."""
    a, b = (evaluation.extract_features(encoder, s[world].images) for s in (train, test))
    return probe_features(a, b, world)


def probe_features(a: torch.Tensor, b: torch.Tensor, world: str = "upright objects") -> dict:
    labels = train[world].labels, test[world].labels
    row = evaluation.label_efficiency(a, labels[0], b, labels[1], per_class=(10,), draws=3)[0]
    return {
        "probe": row["mean"],
        "std": row["std"],
        "knn": evaluation.knn_accuracy(a, labels[0], b, labels[1]),
    }


rotnets, rotation_rows = {}, []
for name in WORLDS:
    rotnets[name] = Rotation(fresh())
    learn(rotnets[name], unlabeled[name].images)
    rotation_rows.append(
        {
            "world": name,
            "ceiling": 1.0 if name == "upright objects" else 0.25,
            "pretext": rotation_accuracy(rotnets[name], test[name].images[:500]),
            "untrained": probe(fresh(), name)["probe"],
            "chance": 1 / len(test[name].classes),
            **probe(rotnets[name].encoder, name),
        }
    )
rotnets["stripes"] = Rotation(fresh())
learn(rotnets["stripes"], upright_stripes(1024, 0), steps=40)
rotation_rows.append(
    {
        "world": "upright stripes",
        "ceiling": 0.5,
        "pretext": rotation_accuracy(rotnets["stripes"], upright_stripes(500, 1)),
    }
)
plots.table(
    rotation_rows,
    f"Rotation, {STEPS} steps of {BATCH} pictures",
    {
        "world": "world",
        "ceiling": "ceiling of the task",
        "pretext": "accuracy of the task",
        "chance": "chance, labels",
        "untrained": "probe, untrained",
        "probe": "probe, after",
        "knn": "kNN, after",
    },
    ".1%",
)
reached = {row["world"]: row["pretext"] for row in rotation_rows}
assert abs(reached["seen from above"] - 0.25) < 0.04 and abs(reached["textures"] - 0.25) < 0.04
assert reached["upright objects"] > 0.35 and 0.4 < reached["upright stripes"] < 0.55

# %% [markdown]
# The ceiling is a prediction without a single free parameter, and the network obeys it. Only gravity teaches. (Does
# the first world's ceiling of 100 % look generous? A fish upside down is nearly a fish; so it is a little lower.)
#
# Now compare the *probe* before and after in the two worlds where there was nothing to learn. Whatever moved there,
# the task did not move it on purpose. Nothing crashes, no dimension collapses, and the loss may even fall, by
# learning single training pictures by heart. **How to see it**: compare the pretext accuracy with chance on *new*
# pictures, before you look at anything else.

# %% [markdown]
# ### Real images: which digits have no way up?
#
# Scikit-learn's digits, 1,797 small scans of handwriting, are real. Which digits will the network confuse with
# their half turn? Write down your list. Then look at the bars.

# %%
digits_unlabeled, digits_test = data.digits("unlabeled", 32), data.digits("test", 32)


class PlainRotation(Rotation):
    """No flip and hardly any crop: a mirrored digit is no digit."""

    def views(self, policy):
        return (views.Policy.none(policy.size),)


digit_net = PlainRotation(fresh(width=8, dim=128))
learn(digit_net, digits_unlabeled.images, steps=100)


@torch.no_grad()
def turn_confusion(method: Rotation, images: torch.Tensor) -> torch.Tensor:
    """[4, 4]: turned by i quarters (row), answered j (column), shares per row."""
    method.eval()
    turned, turns = pretext.four_rotations(views.normalize(images))
    answers = method.predict(turned).argmax(dim=1)
    return F.one_hot(turns * 4 + answers, 16).sum(dim=0).view(4, 4) / len(images)


confusions = [turn_confusion(digit_net, digits_test.images[digits_test.labels == d]) for d in range(10)]
half_turn = [torch.stack([c[k, (k + 2) % 4] for k in range(4)]).mean().item() for c in confusions]
right = [c.diagonal().mean().item() for c in confusions]
fig, (left, middle) = plots.new_figure(9.0, 2.8, 1, 2, width_ratios=(2, 1))
left.bar([d - 0.2 for d in range(10)], [100 * r for r in right], 0.4, label="right")
left.bar([d + 0.2 for d in range(10)], [100 * h for h in half_turn], 0.4, label="off by half a turn")
left.axhline(25, color=plots.GRAY, linestyle=":", label="chance")
left.set(
    title="Some digits have no way up",
    xlabel="digit",
    ylabel="share of the pictures (%)",
    ylim=(0, 128),
)
left.set_xticks(range(10))
left.set_yticks(range(0, 101, 25))
left.legend(ncols=3, loc="upper left")
where = torch.stack([digits_test.images[digits_test.labels == d][0] for d in (0, 1, 6, 8, 9)])
strip = torch.cat([torch.cat(list(where), dim=2), torch.cat(list(where.rot90(2, (2, 3))), dim=2)], dim=1)
middle.imshow(strip.permute(1, 2, 0).numpy())
middle.axis("off")
middle.set_title("Above: upright. Below: half a turn")
plots.show(
    fig,
    alt="Left: bars per digit, how often its turn is told and how often it is taken for its half turn. "
    + " ".join(
        f"{d}: {100 * r:.0f} and {100 * h:.0f} percent." for d, (r, h) in enumerate(zip(right, half_turn))
    )
    + " Right: the digits 0, 1, 6, 8 and 9 upright and turned by half a turn; they look alike, 6 and 9 change places.",
)
hardest = sorted(range(10), key=lambda d: right[d])
print("from the hardest to the easiest:", ", ".join(map(str, hardest)))

# %% [markdown]
# 0, 1 and 8 nearly come back to themselves, and they are the hardest. And 6 and 9? On paper each is the half turn of
# the other, and then no network could tell. The bars say how far writers keep to that: a 6 is curled with another
# movement than a 9, and whatever breaks the symmetry is learned. A shortcut is in the picture, too: digits fill the
# height of their frame and not its width, so the blank margins tell a quarter turn from a half one, whatever the
# digit.

# %% [markdown]
# ## Step 2: relative position, and the two shortcuts
#
# Three years before RotNet, [Doersch et al. (2015)](https://arxiv.org/abs/1505.05192) asked: two patches of one
# image, on which of eight sides of the first does the second lie? A network that knows what an ear looks like knows
# that the head is next to it. The encoder $f$ sees each patch alone; a classifier sees both features:
#
# $$q(k \mid x) = \mathrm{softmax}\Big(g\big(f(\text{centre}),\, f(\text{neighbour}_k)\big)\Big)_k, \qquad k = 1, \dots, 8.$$

# %%


def nine_patches(x: torch.Tensor, gap: int = 0) -> torch.Tensor:
    """x [N, 3, S, S] -> [N, 9, 3, s, s], left to right, top to bottom; `gap` pixels between two patches."""
    cell = x.shape[-1] // 3
    s = cell - gap
    rows = [slice(r * cell + gap // 2, r * cell + gap // 2 + s) for r in range(3)]
    return torch.stack([x[:, :, a, b] for a in rows for b in rows], dim=1)


def position_loss(encoder: nn.Module, head: nn.Module, patches: torch.Tensor) -> torch.Tensor:
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
context = RelativePosition(build_encoder("convnet", width=8, dim=32), gap=0.25, jitter=False).eval()
mine = position_loss(context.encoder, context.classifier, nine_patches(x, gap=4))
print("nine_patches agrees with the package:", torch.equal(nine_patches(x, 4), pretext.tiles(x, 3, 12)))
print("position_loss agrees with the package:", torch.allclose(mine, context([x])))

# %% [markdown]
# Now the trap. "If something silly breaks the symmetry, it teaches that." What silly things tell where a patch lies?
#
# 1. **Edges that go on.** Put two patches side by side without a gap, and the stripes of one continue in the other.
#    Matching lines needs no knowledge of objects.
# 2. **The lens.** A real lens bends the colours differently, so that red, green and blue part towards the corners
#    (chromatic aberration). From one patch alone, the direction in which they part tells where the centre of the
#    picture is. Doersch et al. noticed when a network knew where in its picture a patch had been, whatever it showed.
#
# Here is what the lens does to a real photograph; the amount is exaggerated, so that you can see it.

# %%
photo = torch.from_numpy(load_sample_image("china.jpg").copy())
photo = photo.permute(2, 0, 1)[None, :, :420, :420]
photo = F.interpolate(photo.float(), (192, 192), mode="bilinear", antialias=True).round().to(torch.uint8)
lens = pretext.chromatic_aberration(photo, 0.04)
fig, axes = plots.new_figure(9.0, 2.7, 1, 4)
for ax, picture, title in (
    (axes[0], photo[0], "A photograph"),
    (axes[1], lens[0], "Through a poor lens"),
    (axes[2], lens[0, :, 96:144, 40:88], "Left of the centre"),
    (axes[3], lens[0, :, 96:144, 135:183], "Right of the centre"),
):
    ax.imshow(picture.permute(1, 2, 0).numpy())
    ax.axis("off")
    ax.set_title(title)
fig.suptitle("The colours part away from the centre: every patch says where it was")
plots.show(
    fig,
    alt="A photograph of a Chinese temple; the same with red and blue shifted against each other, more so "
    "towards the edges; two details of the roofs, left and right, with coloured fringes that point in opposite directions.",
)

# %% [markdown]
# ### Provoke it, block it
#
# The clean test bench is the *texture* world: no objects, so there is nothing to understand, and whatever accuracy
# above $1/8$ a network reaches is a shortcut (or the shading of the light, which all arms have). Five arms, all on
# textures. *Jitter* moves every patch at random inside its cell. *Dropping* keeps one random colour channel per patch
# and replaces the other two by faint noise.
#
# > **Predict.** Order the five arms by accuracy.

# %%
LENS = 0.12
texture_images = {
    "clean": (unlabeled["textures"].images, test["textures"].images[:500]),
    "lens": tuple(
        pretext.chromatic_aberration(s["textures"].images[:n], LENS) for s, n in ((unlabeled, N), (test, 500))
    ),
}
ARMS = {
    "patches touch": ("clean", {"gap": 0.0, "jitter": False}),
    "gap and jitter": ("clean", {}),
    "touch, lens": ("lens", {"gap": 0.0, "jitter": False}),
    "gap and jitter, lens": ("lens", {}),
    "gap and jitter, lens, colours dropped": ("lens", {"colours": "drop"}),
}


@torch.no_grad()
def position_accuracy(method: RelativePosition, images: torch.Tensor) -> float:
    """Share of right answers over the eight neighbours of each picture's centre."""
    method.eval()
    torch.manual_seed(0)  # the jitter
    x = views.normalize(images, round(method.zoom * images.shape[-1]))
    answers = method.predict(method.patches(x)).argmax(dim=2)
    return (answers == torch.arange(8)).float().mean().item()


shortcuts = {}
for name, (which, options) in ARMS.items():
    arm = RelativePosition(fresh(), **options)
    learn(arm, texture_images[which][0], steps=60)
    shortcuts[name] = position_accuracy(arm, texture_images[which][1])
assert max(shortcuts.values()) > 0.125 + 0.03
plots.show(
    plots.bars(
        {name: 100 * value for name, value in shortcuts.items()},
        "Placing patches that show nothing but texture",
        "accuracy (%), eight places",
        chance=12.5,
    ),
    alt="Bars of the accuracy of placing texture patches. "
    + " ".join(f"{name}: {100 * value:.0f} percent." for name, value in shortcuts.items()),
)
touch, apart, lens_touch, lens_apart, dropped = (100 * value for value in shortcuts.values())
print(
    f"Worth of the border: {touch - apart:+.1f} points, with the lens {lens_touch - lens_apart:+.1f}. Worth of the lens: "
    f"{lens_touch - touch:+.1f} (touching), {lens_apart - apart:+.1f} (apart). Dropping colours: {dropped - lens_apart:+.1f}."
)

# %% [markdown]
# Chance is 12.5 %, and none of these pictures shows anything. Whatever stands clearly above the line was earned
# without understanding: by lines that go on across a border, by the direction in which red and blue part, or by the
# light, which falls from one side. Compare the arms in pairs, as the line below the bars does: *touch* against *gap*
# is what the border is worth, *clean* against *lens* what the lens is worth, and the last arm says what is left when
# the colours are dropped. A cue worth nothing after so few steps may only take longer to find: Doersch et al. trained
# far longer, and blocked both.
#
# **How to see a shortcut**: run the task on pictures in which there is nothing to understand. A network takes the
# cheapest cue that works, and you will not be asked.

# %% [markdown]
# ## Step 3: jigsaw puzzles, and orders that are hard to confuse
#
# Why ask about two patches when there are nine? [Noroozi and Favaro (2016)](https://arxiv.org/abs/1603.09246) shuffle
# all of them and ask for the permutation. There are $9! = 362{,}880$, too many for a softmax, so they fix a set of
# $P$ permutations and ask *which of the set*. Which ones? If two of them differ in two places only, telling them apart
# hangs on two tiles that may both be sky. So choose orders with a large **Hamming distance** (the number of places in
# which they differ), greedily: start with any, then always add the one farthest from those chosen.

# %%


def far_orders(tiles: int, count: int, seed: int = 0) -> torch.Tensor:
    """Greedy: int64 [count, tiles], each next order has the largest smallest distance to those before."""
    everyone = torch.tensor(list(itertools.permutations(range(tiles))))
    order = torch.rand(len(everyone), generator=seeded(seed)).argsort()
    everyone = everyone[order]
    least = torch.full((len(everyone),), tiles + 1)
    chosen = [0]
    while len(chosen) < count:
        least = torch.minimum(least, (everyone != everyone[chosen[-1]]).sum(dim=1))
        chosen.append(int(least.argmax()))
    return everyone[chosen]


# %% [markdown]
# How far apart *can* $P$ orders of $n$ tiles be? Suppose all differ in at least $d$ places. Then no two agree in their
# first $n - d + 1$ places (they would differ in at most $d - 1$). There are $n!/(d-1)!$ possible beginnings, so
#
# $$P \le \frac{n!}{(d-1)!}.$$
#
# For nine tiles: at most 9 orders can differ everywhere, at most 72 in eight places, at most 504 in seven.

# %%
COUNTS = (2, 9, 30, 60, 100)
nine = pretext.permutation_set(9, max(COUNTS))
rows = []
for count in COUNTS:
    draws = torch.stack([torch.randperm(9, generator=seeded(100 + i)) for i in range(count)])
    rows.append(
        {
            "count": count,
            "random": pretext.minimum_distance(draws),
            "greedy": pretext.minimum_distance(nine[:count]),
            "bound": pretext.distance_bound(9, count),
        }
    )
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

# %%
# NBVAL_CHECK_OUTPUT
six = far_orders(6, 6)
print("far_orders(6, 6) differ in every place:", pretext.minimum_distance(six) == 6)
print("and so do the package's:", pretext.minimum_distance(pretext.permutation_set(6, 6)) == 6)
cut = torch.arange(6).expand(6, -1)[:, :, None]
print(
    "shuffled, then put back:",
    torch.equal(pretext.shuffle(pretext.shuffle(cut, six), pretext.invert(six)), cut),
)

# %% [markdown]
# The greedy set meets the bound up to nine orders (it always does: a Latin rectangle can be extended to a Latin
# square), then falls behind it; random orders are far below both. The paper takes 1,000 orders. It found that at
# equal number a larger distance gives better features, and that a handful of orders is too easy a puzzle.
#
# The rest of the recipe is against shortcuts: random gaps between the tiles, and every tile normalised to mean 0 and
# deviation 1, so that brightness and shading do not tell neighbours.

# %%
jigsaw = Jigsaw(fresh(), orders=24)
learn(jigsaw, unlabeled["upright objects"].images, steps=STEPS)
position = RelativePosition(fresh())
learn(position, unlabeled["upright objects"].images, steps=STEPS)


@torch.no_grad()
def jigsaw_accuracy(method: Jigsaw, images: torch.Tensor) -> float:
    method.eval()
    torch.manual_seed(0)  # the jitter and the orders
    cut = method.cut(views.normalize(images, round(method.zoom * images.shape[-1])))
    order = torch.randint(len(method.permutations), (len(cut),))
    answers = method.predict(pretext.shuffle(cut, method.permutations[order])).argmax(dim=1)
    return (answers == order).float().mean().item()


# %% [markdown]
# ## Step 4: counting, or how nothing can be a perfect answer
#
# Here is a task without any label at all. Let $\phi(x) \in \mathbb{R}_{\ge 0}^K$ count $K$ kinds of things in a
# picture, whatever they are. Cut $x$ into four quarters $T_1 x, \dots, T_4 x$; shrink $x$ to half its side, $Dx$, so
# that it has the size of a quarter. What is counted in the whole is the sum of what is counted in the quarters
# ([Noroozi et al., 2017](https://arxiv.org/abs/1708.06734)):
#
# $$\phi(Dx) = \sum_{j=1}^{4} \phi(T_j x).$$
#
# > **Predict.** Train on the squared difference of the two sides. What is the easiest $\phi$ that makes it zero?
#
# Counting nothing: $\phi = 0$. So the counts of a *different* image $y$ must differ, by a margin $M$:
#
# $$L = \Big\|\phi(Dx) - \sum_j \phi(T_j x)\Big\|^2 + \max\Big(0,\; M - \Big\|\phi(Dy) - \sum_j \phi(T_j x)\Big\|^2\Big).$$

# %%


def counting_loss(whole: torch.Tensor, parts: torch.Tensor, M: float = 10.0) -> torch.Tensor:
    """whole [N, K]: phi(D x); parts [N, 4, K]: phi(T_j x); y is the next image of the batch."""
    total = parts.sum(dim=1)
    same = (whole - total).square().sum(dim=1)
    other = (whole.roll(-1, dims=0) - total).square().sum(dim=1)
    return (same + (M - other).clamp(min=0)).mean()


def blobs(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures with 0 to 9 discs of about one size: uint8 [n, 3, 32, 32] and their number [n]"""
    g = seeded(seed)
    number = torch.randint(10, (n,), generator=g)
    u = torch.rand(n, 9, 3, generator=g)
    grid = torch.arange(32) + 0.5
    dx, dy = (grid - (3 + 26 * u[..., i : i + 1]) for i in (0, 1))  # [n, 9, 32]
    inside = (dx[:, :, None, :].square() + dy[:, :, :, None].square()) < (2 + u[..., 2]).square()[
        ..., None, None
    ]
    there = torch.arange(9) < number[:, None]
    mask = (inside & there[..., None, None]).any(dim=1)[:, None].float()
    return (60 + 150 * mask.expand(-1, 3, -1, -1)).to(torch.uint8), number


# %%
# NBVAL_CHECK_OUTPUT
g = seeded(0)
whole, parts = 2 * torch.rand(8, 5, generator=g), torch.rand(8, 4, 5, generator=g)
print(
    "counting_loss agrees with the package:",
    torch.allclose(counting_loss(whole, parts), counting(whole, parts)),
)
nothing = torch.zeros(8, 5), torch.zeros(8, 4, 5)
print("counting nothing costs", counting_loss(*nothing).item(), "with the second term,", counting(*nothing, contrast=0.0).item(), "without")  # fmt: skip

# %%
blob_images, _ = blobs(1024, 0)
new_blobs, number = blobs(500, 1)
counters = {}
for name, contrast in (("with the contrastive term", 1.0), ("without it", 0.0)):
    counter = Counting(fresh(width=8, dim=64), counts=16, contrast=contrast)
    history = learn(counter, blob_images, steps=80)
    counter.eval()
    with torch.no_grad():
        phi = counter.embed(views.normalize(new_blobs))
    total = phi.sum(dim=1)
    counters[name] = {
        "total": total,
        "loss": sum(row["loss"] for row in history[-10:]) / 10,
        "correlation": torch.corrcoef(torch.stack([total, number.float()]))[0, 1].item()
        if total.std() > 1e-6
        else 0.0,
    }
assert (
    counters["with the contrastive term"]["correlation"] > 0.5
    and float(counters["without it"]["total"].max()) < 0.1
)
fig, axes = plots.new_figure(8.6, 2.8, 1, 3, width_ratios=(1, 1.4, 1.4))
axes[0].imshow(
    torch.cat([torch.cat(list(new_blobs[i : i + 2]), dim=2) for i in (0, 2)], dim=1).permute(1, 2, 0).numpy()
)
axes[0].axis("off")
axes[0].set_title("Pictures of blobs")
spread = 0.25 * (torch.rand(len(number), generator=seeded(2)) - 0.5)
for ax, (name, found) in zip(axes[1:], counters.items()):
    ax.plot(number + spread, found["total"], ".", markersize=3)
    ax.set(
        title=f"{name}:\ncorrelation {found['correlation']:.2f}",
        xlabel="blobs in the picture",
        ylabel="sum of the counts",
    )
    ax.set_ylim(bottom=min(0, float(found["total"].min())))
plots.show(
    fig,
    alt="Left: four pictures with some light discs. Middle: trained with the contrastive term, the sum of the counts "
    f"follows the number of discs, correlation {counters['with the contrastive term']['correlation']:.2f}. Right: without "
    f"it, the counts are near zero, up to {float(counters['without it']['total'].max()):.2f}.",
)
print(f"loss at the end: {counters['with the contrastive term']['loss']:.2f} with the term (counting nothing costs 10), {counters['without it']['loss']:.4f} without")  # fmt: skip

# %% [markdown]
# With the second term, the numbers in $\phi$ go up with the number of blobs, although nobody ever said "three". They
# need not be counts of *objects*: the [Cookbook](https://arxiv.org/abs/2304.12210) says that the model outputs the
# number of objects in an image, but the equation asks only for *something that adds up*. Edge length adds up. So does
# the amount of light ink. An object that a cut divides in two should be counted in neither quarter, or as a half in
# each, and the loss does not care.
#
# Without the second term the loss is smallest of all, and the network says nothing. Keep this picture for chapter 20:
# **where outputs of a network only have to agree with each other, some constant agrees perfectly.**

# %% [markdown]
# ## Step 5: exemplar networks and PIRL, two ways to the present
#
# **Exemplar-CNN** ([Dosovitskiy et al., 2014](https://arxiv.org/abs/1406.6909)) is older than all of the above, and
# reads like a method of 2018. Cut a patch out of each of $N$ images, where there is something to see (with probability
# proportional to the squared gradient inside). Each patch is a *class of its own*; moved, turned, scaled and tinted
# copies are the examples of the class. Train a softmax over the $N$ classes. The transformation is no longer the
# question: it is what the answer must *not* depend on.

# %%
seeds = pretext.seed_patches(unlabeled["upright objects"].images[:6], 20, seeded(3))
policy = recipe.policy.replace(rotation=20.0)
copies = torch.cat([views.augment(seeds, policy, seeded(i)) for i in range(4)])
both = torch.cat([views.normalize(seeds, 32), copies])
fig = plots.image_grid(
    views.denormalize(both), columns=6, title="Six surrogate classes: the seed (top) and four of its examples"
)
plots.show(
    fig,
    alt="Five rows of six patches. The first row shows patches of objects; below each of them are four copies that are "
    "shifted, scaled, slightly turned and tinted.",
)

# %% [markdown]
# The paper trains on 8,000 such classes and sees more of them hurt: two patches of sky are two classes and cannot be
# told apart. [Wu et al. (2018)](https://arxiv.org/abs/1805.01978) replaced the $N$ weight vectors by a memory of
# features (chapter 14), SimCLR replaced the memory by the batch (chapter 13).
#
# **PIRL** ([Misra and van der Maaten, 2020](https://arxiv.org/abs/1912.01991)) turned the jigsaw around. Predicting
# the order forces the features to *contain* it: they are **covariant** with the transformation. For recognising a
# cat, the order of its tiles is a nuisance. So PIRL takes the shuffled tiles as a second view, and asks that image
# and tiles have *similar* features and other images different ones: **invariant**. Same tiles, opposite wish.

# %%
objects = unlabeled["upright objects"].images
exemplar = Exemplar(fresh(), n_images=N)
learn(exemplar, objects, batch_size=2 * BATCH)
pirl = PIRL(fresh(), n_images=N)
learn(pirl, objects, batch_size=2 * BATCH, optimizer="sgd", lr=0.06, weight_decay=5e-4)
count_objects = Counting(fresh())
learn(count_objects, objects)

# %% [markdown]
# ## All of them, one table
#
# Same encoder, same pictures, the same number of steps for each. Chance and the two honest baselines are in the table.
# The pretext accuracy is measured on new pictures.

# %%
results = [
    {"name": "chance", "probe": 0.1, "knn": 0.1},
    {
        "name": "raw pixels",
        **probe_features(*(evaluation.pixels(s["upright objects"].images) for s in (train, test))),
    },
    {"name": "untrained encoder", **probe(fresh())},
]
new_pictures = test["upright objects"].images[:500]
for name, method, accuracy, guess in (
    (
        "rotation",
        rotnets["upright objects"],
        rotation_accuracy(rotnets["upright objects"], new_pictures),
        1 / 4,
    ),
    ("relative position", position, position_accuracy(position, new_pictures), 1 / 8),
    ("jigsaw, 24 orders", jigsaw, jigsaw_accuracy(jigsaw, new_pictures), 1 / 24),
    ("counting", count_objects, None, None),
    (f"exemplar, {N:,} classes", exemplar, None, None),
    ("PIRL", pirl, None, None),
):
    results.append({"name": name, "task": accuracy, "guess": guess, **probe(method.encoder)})
HEADINGS = {
    "name": "representation",
    "guess": "task, guessed",
    "task": "task, reached",
    "probe": "probe, 100 labels",
    "std": "spread over 3 draws",
    "knn": f"kNN, {LABELLED:,} labels",
}
plots.table(results, f"Upright objects, {STEPS} steps each", HEADINGS, ".1%")

# %% [markdown]
# Two different questions are in this table. *Task, reached* says whether the pretext task was learned at all: compare
# it with the guess beside it. The probe says whether what was learned is of use for naming the object. They are not
# the same: a task can be half solved from the shading of the background and teach nothing about boats. And a hundred
# short steps are a sketch; the record below trains longer.
#
# ## Which pretext task fits which data?
#
# The survey of [Jaiswal et al. (2021)](https://arxiv.org/abs/2011.00362), section 2.5, asks the question and answers
# with anecdotes. With the sentence of this chapter, you can predict an answer: *a task is worth something where the
# data break its symmetry by what you care about*. The record trains every task on every world, longer than we have
# time for here.

# %%
record, origin = book.recorded("pretext")
RECORDED = ("pixels", "untrained", "rotation", "relative_position", "jigsaw", "counting", "exemplar", "pirl", "context_encoder",
            "untrained L", "colorization", "split_brain", "simclr")  # fmt: skip


def of(arm: str, world: str, key: str = "probe") -> list[float]:
    """One number per seed."""
    rows = sorted((r for r in record if (r["arm"], r["data"]) == (arm, world)), key=lambda r: r["seed"])
    return [row[key] for row in rows if row.get(key) is not None]


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


plots.table(
    [
        {"arm": arm}
        | {w: mean(of(arm, w)) for w in WORLDS}
        | {f"task {w}": mean(of(arm, w, "pretext")) for w in WORLDS}
        for arm in RECORDED
        if of(arm, "upright objects")
    ],
    "Probe with 10 labels per class (means over the seeds), and how well the task itself is solved",
    {"arm": "pretext task"}
    | {w: f"probe: {w}" for w in WORLDS}
    | {f"task {w}": f"task: {w}" for w in WORLDS},
    ".1%",
)
print(origin)

# %%
SHOW = [arm for arm in RECORDED if "untrained" not in arm and arm != "pixels" and all(of(arm, w) for w in WORLDS)]
START = {"colorization": "untrained L"}  # a colouriser never sees colour, so neither does its untrained twin
gain = torch.tensor([[mean(of(arm, w)) - mean(of(START.get(arm, "untrained"), w)) for w in WORLDS] for arm in SHOW])
fig, ax = plots.new_figure(6.4, 0.9 + 0.3 * len(SHOW))
limit = float(gain.abs().max())
image = ax.imshow(100 * gain.numpy(), cmap="RdBu", vmin=-100 * limit, vmax=100 * limit, aspect="auto")
for i in range(len(SHOW)):
    for j in range(3):
        ink = "white" if gain[i, j].abs() > 0.6 * limit else "black"
        ax.text(j, i, f"{100 * gain[i, j]:+.0f}", ha="center", va="center", fontsize=8, color=ink)
ax.set_xticks(range(3), list(WORLDS))
ax.set_yticks(range(len(SHOW)), [arm.replace("_", " ") for arm in SHOW])
ax.set_title("What each pretext task is worth on which data")
fig.colorbar(image, ax=ax, label="probe minus untrained (points)")
plots.show(
    fig,
    alt="Heat map of the gain over an untrained encoder in points, pretext tasks against worlds. "
    + " ".join(
        f"{arm}: " + ", ".join(f"{w} {100 * gain[i, j]:+.0f}" for j, w in enumerate(WORLDS)) + "."
        for i, arm in enumerate(SHOW)
    ),
)
best = {w: SHOW[int(gain[:, j].argmax())] for j, w in enumerate(WORLDS)}
print("best task:", ", ".join(f"{w}: {arm}" for w, arm in best.items()))

# %% [markdown]
# Read it by columns. Rotation can earn something in the first world only. Tasks that ask *which image is it*
# (exemplar, PIRL, SimCLR) need no broken symmetry: every image differs from every other one, in all three worlds.
# That is one reason why they took over: **they carry their label with them wherever they go.** What it takes to cash
# it in is another matter: exemplar and PIRL keep a class or a memory *per image*, and in runs of this length each image
# comes by only a few times. SimCLR makes its classes anew in every batch.
#
# Two more questions are in the record. Does a *harder* puzzle teach more ([Goyal et al.,
# 2019](https://arxiv.org/abs/1905.01235))? And do more surrogate classes help, or collide?

# %%
ORDERS = sorted({int(r["arm"].split()[1]) for r in record if r["arm"].startswith("jigsaw ")})
CLASSES = sorted({int(r["arm"].split()[1]) for r in record if r["arm"].startswith("exemplar ")})
fig, axes = plots.new_figure(8.6, 2.8, 1, 2)
for ax, arm, counts, xlabel in (
    (axes[0], "jigsaw", ORDERS, "orders in the set"),
    (axes[1], "exemplar", CLASSES, "surrogate classes"),
):
    ax.plot(counts, [100 * mean(of(f"{arm} {c}", "upright objects")) for c in counts], "o-", label="probe")
    ax.plot(
        counts, [100 * mean(of(f"{arm} {c}", "upright objects", "knn")) for c in counts], "s--", label="kNN"
    )
    ax.axhline(
        100 * mean(of("untrained", "upright objects")),
        color=plots.GRAY,
        linestyle="-.",
        label="untrained, probe",
    )
    ax.set(xscale="log", xlabel=xlabel, ylabel="accuracy (%)", ylim=(0, None))
    ax.set_xticks(counts, [str(c) for c in counts])
    ax.minorticks_off()
    ax.legend()
axes[0].set_title("Jigsaw: does a harder puzzle teach more?")
axes[1].set_title("Exemplar: do more classes help?")
plots.show(
    fig,
    alt="Left: probe and kNN accuracy against the number of jigsaw orders. "
    + " ".join(f"{c}: {100 * mean(of(f'jigsaw {c}', 'upright objects')):.0f} percent." for c in ORDERS)
    + " Right: the same against the number of surrogate classes. "
    + " ".join(f"{c}: {100 * mean(of(f'exemplar {c}', 'upright objects')):.0f} percent." for c in CLASSES),
)

# %% [markdown]
# All runs take the same number of steps. So with more classes each class is seen less often, and the right panel mixes
# two answers: classes that collide, and classes for which there was no time.

# %% [markdown]
# ## Covariant or invariant? Two downstream tasks disagree
#
# Turn the question around. Instead of *predicting* a turn, use turns by any angle as an *augmentation* in SimCLR: two
# views that are turned differently count as the same. Good for pictures from above, the survey says; bad when someone
# needs to know which way is up. So probe two things: what is it, and by how many quarters was it turned? The record
# has SimCLR with and without turns, and RotNet.

# %%
turned_rows = [
    {
        "arm": arm,
        **{f"kind {w}": mean(of(arm, w)) for w in ("upright objects", "seen from above")},
        "upright": mean(of(arm, "upright objects", "upright")),
    }
    for arm in ("untrained", "simclr", "simclr turned", "rotation")
]
plots.table(
    turned_rows,
    "What is it (100 labels), and which way up is it (four turns, 400 labels)?",
    {
        "arm": "trained by",
        "kind upright objects": "kind: upright objects",
        "kind seen from above": "kind: seen from above",
        "upright": "which way up",
    },
    ".1%",
)

# %% [markdown]
# An augmentation is a statement about what does *not* matter; a pretext task is a statement about what does. Neither
# is true by itself. [Weng and Kim's tutorial](https://neurips.cc/Conferences/2021/Schedule?showEvent=21895) files the
# tasks of this chapter under **innate relationship prediction**, one of four kinds of self-prediction. Here is one
# picture under all four.

# %%
one = views.normalize(test["upright objects"].images[3:4])
raster = torch.arange(32 * 32).view(1, 1, 32, 32)
hidden = torch.rand(1, 1, 4, 4, generator=seeded(5)).repeat_interleave(8, 2).repeat_interleave(8, 3) < 0.6
four = torch.cat(
    [
        one,
        torch.where(raster < 18 * 32 + 13, one, torch.zeros_like(one)),
        torch.where(hidden, torch.zeros_like(one), one),
        turn(one, 1),
        pretext.assemble(pretext.shuffle(pretext.tiles(turn(one, 3), 2), torch.tensor([[2, 0, 3, 1]]))),
    ]
)
fig = plots.image_grid(
    views.denormalize(four),
    columns=5,
    titles=["the picture", "autoregressive", "masked", "innate relation", "several at once"],
    title="Four ways to ask a picture about itself",
)
plots.show(
    fig,
    alt="One picture five times: as it is; its lower part missing, to be predicted pixel by pixel; "
    "some squares missing; turned by a quarter; turned and cut into four shuffled tiles.",
)

# %% [markdown]
# *Autoregressive*: what comes next (chapter 03)? *Masked*: what is missing (chapters 05 and 18)? *Innate relation*:
# how do the parts belong together (this chapter)? *Hybrid*: several at once.

# %% [markdown]
# ## Play: you against the network
#
# Four ways to put the dealt picture right. Choose one; then the network's answer and the truth appear. The rotation
# network of each world plays its own world; the jigsaw is played in four orders.

# %%
four_orders = jigsaw.permutations[:4]


def rotation_player(method):
    return lambda x: method.eval().predict((x - 0.5) / 0.25)


def jigsaw_player(cut: torch.Tensor) -> torch.Tensor:
    x = pretext.normalize_tiles((cut - 0.5) / 0.25)
    return jigsaw.eval().predict(x)[:, :4]


ROUNDS = 40
as_colours = {name: test[name].images[500 : 500 + ROUNDS].float() / 255 for name in WORLDS}
games = {
    f"rotation: {name}": puzzle.rotation_game(as_colours[name], rotation_player(rotnets[name]))
    for name in WORLDS
}
large = F.interpolate(as_colours["upright objects"], (48, 48), mode="bilinear")
games["jigsaw"] = puzzle.jigsaw_game(large, four_orders, jigsaw_player, gap=2)
widgets.explore(
    partial(puzzle.render, games=games),
    puzzle.controls(games),
    static=[
        {},
        {"answer": "A"},
        {"game": "rotation: textures", "answer": "B"},
        {"game": "jigsaw", "answer": "C"},
    ],
    alt=partial(puzzle.describe, games=games),
    columns=1,
    captions=["upright objects, undecided", "upright objects, A", "textures, B", "jigsaw, C"],
)
plots.table(
    [{"game": name, "score": game.score} for name, game in games.items()],
    f"The network's score over {ROUNDS} rounds (25 % is a guess)",
    {"game": "game", "score": "rounds won"},
    {"score": ".0%"},
)

# %% [markdown]
# > **Try.** (1) Play ten rounds of *seen from above* and keep your score. You cannot win, and neither can it. (2)
# > Find an upright object on which the network is confidently wrong. What does it seem to look at? (3) In the jigsaw,
# > cover the object with your hand: can you still solve it from the background?

# %% [markdown]
# ## Exercises
#
# Replace `return NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on your answers.
#
# ### 1 · A quarter turn (•, 5 minutes)
#
# For any whole number `k`, also 5.
#
# <details><summary>Hint 1</summary>A transpose is a reflection on the diagonal. Which flip makes it a turn?</details>
# <details><summary>Hint 2</summary>Follow one corner: counter-clockwise, the top right one goes to the top left.</details>

# %%


def my_rotate(x: torch.Tensor, k: int) -> torch.Tensor:
    """x [N, C, S, S] -> the same shape, turned counter-clockwise by k quarters"""
    return NOT_ATTEMPTED


ch06.check_rotate(my_rotate)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_rotate(x, k):
#     for _ in range(k % 4):
#         x = x.transpose(2, 3).flip(2)
#     return x
# ```
# `torch.rot90(x, k, dims=(2, 3))` does the same.
# </details>
#
# ### 2 · The best possible guess (•, 6 minutes)
#
# You know the joint probabilities of pictures (rows) and transformations (columns). How often can anybody be right?
#
# <details><summary>Hint 1</summary>You see the row. Which column do you name?</details>
# <details><summary>Hint 2</summary>The entries are joint probabilities: how often a row turns up is already in them.</details>

# %%


def my_ceiling(joint: torch.Tensor) -> torch.Tensor:
    """joint [X, T], sum 1 -> a scalar"""
    return NOT_ATTEMPTED


ch06.check_ceiling(my_ceiling)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_ceiling(joint):
#     return joint.max(dim=1).values.sum()
# ```
# </details>
#
# ### 3 · The next permutation (••, 8 minutes)
#
# One step of the greedy search.
#
# <details><summary>Hint 1</summary>All distances at once: `(candidates[:, None] != chosen[None]).sum(dim=2)` is [C, P].</details>
# <details><summary>Hint 2</summary>A set is as good as its closest pair. Which reduction over P says that?</details>

# %%


def my_next_permutation(chosen: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """chosen [P, T], candidates [C, T] -> one candidate [T]; the first one of several equally good"""
    return NOT_ATTEMPTED


ch06.check_next_permutation(my_next_permutation)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_next_permutation(chosen, candidates):
#     distance = (candidates[:, None] != chosen[None]).sum(dim=2)
#     return candidates[distance.min(dim=1).values.argmax()]
# ```
# </details>
#
# ### 4 · Counting (•••, 10 minutes)
#
# The loss with both terms, from memory. The checker knows the usual slips.
#
# <details><summary>Hint 1</summary>Which side of the equation is summed over the quarters?</details>
# <details><summary>Hint 2</summary>The other image enters through its shrunken version only: `whole.roll(-1, dims=0)`.</details>
# <details><summary>Hint 3</summary>The hinge is on the squared distance, per image; the mean comes last.</details>

# %%


def my_counting(whole: torch.Tensor, parts: torch.Tensor, margin: float) -> torch.Tensor:
    """whole [N, K], parts [N, 4, K] -> a scalar; the other image is the next one of the batch"""
    return NOT_ATTEMPTED


ch06.check_counting(my_counting)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_counting(whole, parts, margin):
#     total = parts.sum(dim=1)
#     same = (whole - total).square().sum(dim=1)
#     other = (whole.roll(-1, dims=0) - total).square().sum(dim=1)
#     return (same + (margin - other).clamp(min=0)).mean()
# ```
# </details>

# %% [markdown]
# ## Claims put to the test
#
# Statements from the literature, each with what this chapter measured. The verdict is computed from the numbers, by a
# rule you can read in the cell.

# %%


def verdict(holds: bool, partly: bool = False) -> str:
    return "reproduced" if holds else "mixed" if partly else "not reproduced here"


fails = abs(reached["textures"] - 0.25) < 0.04
works = reached["upright objects"] > 0.35
book.claim(
    "C-76",
    "Predicting rotations fails on texture images.",
    verdict(fails and works, fails or works),
    {
        "accuracy, upright objects": reached["upright objects"],
        "accuracy, textures": reached["textures"],
        "accuracy, upright stripes (ceiling 0.5)": reached["upright stripes"],
        "accuracy, objects seen from above": reached["seen from above"],
        "chance": 0.25,
    },
    "jaiswal2021survey",
)

above = mean(of("simclr turned", "seen from above")) - mean(of("simclr", "seen from above"))
lost = mean(of("simclr", "upright objects", "upright")) - mean(
    of("simclr turned", "upright objects", "upright")
)
book.claim(
    "C-77",
    "Invariance to rotation helps for pictures from above and hurts where one must know which way is up.",
    verdict(above > 0.02 and lost > 0.05, above > 0.02 or lost > 0.05),
    {
        "gain of turns, kind, seen from above": above,
        "gain of turns, kind, upright objects": mean(of("simclr turned", "upright objects"))
        - mean(of("simclr", "upright objects")),
        "loss of turns, which way up": lost,
    },
    "jaiswal2021survey",
)

first, hardest_set = (mean(of(f"jigsaw {c}", "upright objects")) for c in (ORDERS[0], ORDERS[-1]))
peak = max(ORDERS, key=lambda c: mean(of(f"jigsaw {c}", "upright objects")))
book.claim(
    "C-87",
    "Harder pretext tasks close the gap: more permutations give better features.",
    verdict(hardest_set > first + 0.03 and peak == ORDERS[-1], max(mean(of(f"jigsaw {c}", "upright objects")) for c in ORDERS) > first + 0.03),
    {f"probe, {c} orders": mean(of(f"jigsaw {c}", "upright objects")) for c in ORDERS}
    | {"simclr": mean(of("simclr", "upright objects")), "untrained": mean(of("untrained", "upright objects"))},
    "goyal2019scaling",
)  # fmt: skip

# %% [markdown]
# All of this in a small drawn world, with a small network and short runs. "Not reproduced here" says exactly that.

# %% [markdown]
# ## Where it comes from, where it went
#
# [Dosovitskiy et al. (2014)](https://arxiv.org/abs/1406.6909) made classes out of single patches, [Doersch et al.
# (2015)](https://arxiv.org/abs/1505.05192) asked where a patch lies and documented every shortcut they fell for.
# [Noroozi and Favaro (2016)](https://arxiv.org/abs/1603.09246) built the whole puzzle, [Noroozi et al.
# (2017)](https://arxiv.org/abs/1708.06734) replaced the label by an equation, and later distilled a deeper jigsaw
# network into a shallow one through clusters, Jigsaw++ ([Noroozi et al., 2018](https://arxiv.org/abs/1805.00385)), a
# step towards chapter 17. [Gidaris et al. (2018)](https://arxiv.org/abs/1803.07728) found that four turns are enough;
# [Zhang et al. (2019)](https://arxiv.org/abs/1901.04596) regress the parameters of a transformation from both
# pictures (AET), and [Yamaguchi et al. (2019)](https://arxiv.org/abs/1912.11603) mix rotation with image enhancement,
# because rotation alone says little about texture. [Goyal et al. (2019)](https://arxiv.org/abs/1905.01235) scaled the
# puzzles up: more data, more permutations, and a gap to supervised features that closes but does not vanish. Then
# [PIRL](https://arxiv.org/abs/1912.01991) turned prediction into invariance, and the field went with it. (The
# [Cookbook](https://arxiv.org/abs/2304.12210), section 2.1, cites the context encoder of chapter 05 as a jigsaw
# method; that is a slip.)
#
# **Further reading.** [Kolesnikov et al. (2019)](https://arxiv.org/abs/1901.09005) revisit these tasks with one
# architecture after another, and find that the ranking of tasks changes with the network.
#
# ### Quiz
#
# **1.** A satellite company trains RotNet on its pictures and reports 25.1 % pretext accuracy. The engineer proposes a
# deeper network. What do you say?
#
# <details><summary>Answer</summary>Seen from above, the distribution does not change under quarter turns, so chance is the ceiling for every network. (If accuracy were well above 25 %, look for what broke the symmetry: shadows at one time of day, a date printed in a corner, the camera's vignette.) Use a task that keeps its label here, such as instance discrimination with turns as an augmentation.</details>
#
# **2.** Your relative-position network reaches 60 % after ten minutes and its features are useless. Name two suspects
# and one test that needs no training.
#
# <details><summary>Answer</summary>Continuing edges and chromatic aberration. Test: feed it patches of pictures in which there is nothing to understand (textures), with and without a gap, in colour and with one channel only. What still works there is a shortcut.</details>
#
# **3.** Why does the counting loss need a contrastive term when rotation prediction needs none?
#
# <details><summary>Answer</summary>In rotation prediction the label differs between copies, so a constant output costs log 4. The counting equation has no label: the constant zero satisfies it exactly. Something must make "always the same" expensive, here the margin between different images. Chapter 20 is about nothing else.</details>
