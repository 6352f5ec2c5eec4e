# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · Learning distances: who says which two things are near?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/04_learning_distances.ipynb)
#
# **After this chapter you can**
#
# - turn a table of distances into a map with one eigenvalue problem (multidimensional scaling, MDS), and a graph of
#   neighbours into a map with another (locally linear embedding, LLE);
# - derive the objective of 1992 that taught a network depth without a single label, and say what it will learn when
#   the light changes;
# - write the contrastive, triplet, lifted-structure, N-pair and soft-nearest-neighbour losses in a few lines each, and
#   see one family in them;
# - provoke the collapse that hard negatives cause, and recognise it;
# - turn metric learning into self-supervised learning by changing one line, and prove that a loss of 2007 then *is* the
#   loss of SimCLR.
#
# **You need** chapter 00, eigenvectors, and the softmax.
# **Time**: 81 minutes to read, about 55 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("04")

# %% [markdown]
# ## The puzzle: which of the two is nearer?
#
# You see six anchors. Beside each stand two other pictures, A and B. One of the two shows the same kind of object as
# the anchor; it took up another place, another colour, another background. The other shows another kind of object
# that stands exactly where the anchor stood, in its colours, on its background.

# %%
import copy
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, evaluation, losses, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch04
from ssl_lessons.book.widgets import margin as margin_widget
from ssl_lessons.data import label_subset
from ssl_lessons.diagnostics import feature_std, spread
from ssl_lessons.losses import metric
from ssl_lessons.methods import Method
from ssl_lessons.models import embedding
from ssl_lessons.training import Monitor, pretrain, recipes


def judged_triples(n: int, seed: int = 0) -> list[torch.Tensor]:
    """Anchors, the same kinds with all else redrawn, other kinds with all else kept: three times [n, 3, 32, 32]."""
    anchor, redrawn = data.sample_factors(n, seed, world=1), data.sample_factors(n, seed + 1, world=1)
    same_kind = redrawn | {"kind": anchor["kind"]}
    other_kind = anchor | {"kind": (anchor["kind"] + 1 + redrawn["kind"] % 9) % 10}
    return [data.render(factors) for factors in (anchor, same_kind, other_kind)]


triples = judged_triples(500)
SHOWN = ((0, 1, 2), (3, 5, 6))  # which triples, in two rows
SWAP = {1, 2, 5}  # in these, A is the other kind
strip, names = [], []
for t in sum(SHOWN, ()):
    a, same, other = (images[t] for images in triples)
    strip += [a, other, same] if t in SWAP else [a, same, other]
    names += ["anchor", "A", "B"]
fig = plots.image_grid(
    torch.stack(strip), columns=9, titles=names, title="A or B: which belongs to the anchor?"
)
plots.show(
    fig,
    alt="Six triples of small pictures. In each, one picture shows the anchor's kind of object in other colours at "
    "another place, and one shows another kind of object in the anchor's colours at the anchor's place.",
)

# %% [markdown]
# You are right every time, without effort. Now let the machine choose: the picture at the smaller distance wins.
#
# > **Predict before you go on.** In 500 such triples, how often does the *pixel distance* (the root of the summed
# > squared differences) side with you: always, half of the time, hardly ever? And an untrained convolutional network,
# > whose features at least do not care where the object stands? A coin is right half of the time.

# %%


def triples_right(represent) -> float:
    """How often the same kind is nearer than the same place and colours; represent: images -> [n, D]."""
    a, same, other = (represent(images) for images in triples)
    return ((a - same).norm(dim=1) < (a - other).norm(dim=1)).float().mean().item()


def unit_features(encoder, images: torch.Tensor) -> torch.Tensor:
    return F.normalize(evaluation.extract_features(encoder, images), dim=1)


recipe = recipes.get_recipe("quick")
untrained = recipe.build(seed=0).encoder
judged = {
    "a coin": 0.5,
    "pixels": triples_right(evaluation.pixels),
    "untrained encoder": triples_right(partial(unit_features, untrained)),
}
plots.table(
    [{"who": who, "right": right} for who, right in judged.items()],
    "How often the distance agrees with you (500 triples)",
    {"who": "distance", "right": "picks the same kind"},
    ".1%",
)
assert max(judged["pixels"], judged["untrained encoder"]) < 0.3

# %% [markdown]
# Far below the coin. That is not bad luck: pixel distance *measures* place, colour and background, and we built the
# triples so that those point the wrong way. The distance is not wrong, it answers another question.
#
# So somebody has to say which two things are near. This chapter is the history of who was asked: first the numbers
# themselves (1952 to 2000), then the neighbour next door (1992), then people with labels (1993 to 2016), and in the end
# nobody: the picture and its own distorted copy. The losses hardly change on the way. The last table of the chapter
# changes one line of code and lands in self-supervised learning (SSL).

# %% [markdown]
# ## Step 1: a map from a table of distances
#
# Suppose you get no coordinates, only a table: $\delta_{ij}$, the distance of thing $i$ from thing $j$. Can you draw
# the map? If there is a configuration $x_1,\dots,x_N$ with these distances, put its mean at the origin and look at the
# inner products $b_{ij} = x_i^\top x_j$:
#
# $$\delta_{ij}^2 = \|x_i - x_j\|^2 = b_{ii} + b_{jj} - 2 b_{ij}.$$
#
# The first term is constant along row $i$, the second along column $j$. Subtract every row's mean and every column's
# mean, and both are gone; because the mean of all $x$ is zero, $\sum_j b_{ij} = 0$ and nothing is lost of the third. In
# matrices, with $J = I - \tfrac1N \mathbf 1\mathbf 1^\top$ (multiplying by $J$ subtracts means):
#
# $$B = -\tfrac12\, J\, \Delta^{2} J, \qquad B = X X^\top,$$
#
# where $\Delta^2$ holds the *squared* distances, $[N, N]$, and $X$ is $[N, D]$. The eigenvectors of $B$, each times
# the root of its eigenvalue, are coordinates; keep the two largest and you have the best flat map. This is **classical
# multidimensional scaling** ([Torgerson, 1952](https://doi.org/10.1007/BF02288916); the book is [Cox and Cox, 1994, second edition
# 2000](https://doi.org/10.1201/9780367801700)).

# %%


def my_mds(D: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances [N, N] -> coordinates [N, dim] and all eigenvalues, largest first."""
    J = torch.eye(len(D), dtype=D.dtype) - 1 / len(D)
    B = -J @ D**2 @ J / 2
    values, vectors = torch.linalg.eigh(B)  # in increasing order
    return (vectors[:, -dim:] * values[-dim:].sqrt()).flip(1), values.flip(0)


def up_to_sign(a: torch.Tensor, b: torch.Tensor, atol: float = 1e-6) -> bool:
    """Eigenvectors have no sign: equal columns, each possibly turned round."""
    return all(min((x - y).abs().max(), (x + y).abs().max()) < atol for x, y in zip(a.T, b.T))


# %%
# NBVAL_CHECK_OUTPUT
from sklearn.decomposition import PCA
from sklearn.manifold import LocallyLinearEmbedding

digits = data.digits("train", n=300)
X = digits.images[:, 0].flatten(1).double() / 255  # [300, 64]
D = embedding.distances(X)
map_mds, eigenvalues = my_mds(D, 2)
print("agrees with the package:", up_to_sign(map_mds, embedding.classical_mds(D, 2)[0]))
pca = torch.from_numpy(PCA(2).fit_transform(X.numpy()))
print("on Euclidean distances it is principal component analysis (PCA):", up_to_sign(map_mds, pca))
whole = embedding.classical_mds(D, 64)[0]
print("with all 64 dimensions the distances come out exactly:", embedding.stress(D, whole) < 1e-6)

# %% [markdown]
# So on plain distances MDS tells you nothing that PCA did not. Its point is that it never asked for coordinates: any
# table will do, travel times, ratings of similarity, the number of different letters in two words. And the eigenvalues
# answer a question you could not ask PCA: if some are clearly *negative*, no set of points has these distances.
#
# What does it preserve? *All* distances alike, and as the big ones have the big squares, mostly the big ones. That is
# the flaw. Watch a small drawn cat walk over a plain ground. Two numbers say all there is to know about each picture: how far
# to the right, how far up.

# %%


def walking_cat(n: int = 400, reach: float = 0.6) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey pictures [n, 1024] of one cat at n places, and the places [n, 2]."""
    one = {name: values[:1].repeat(n) for name, values in data.sample_factors(1, seed=4, world=1).items()}
    place = reach * (2 * torch.rand(n, 2, generator=torch.Generator().manual_seed(1)) - 1)
    plain = {
        "kind": torch.full((n,), 3),
        "rotation": torch.zeros(n),
        "scale": torch.full((n,), 0.4),
        "background_texture": torch.zeros(n).long(),
    }
    factors = one | plain | {"x": place[:, 0], "y": place[:, 1]}
    return data.render(factors).double().mean(dim=1).flatten(1) / 255, place.double()


walk, place = walking_cat()
gaps = embedding.distances(walk)[torch.triu_indices(400, 400, 1).unbind()]
steps = embedding.distances(place)[torch.triu_indices(400, 400, 1).unbind()]
fig, ax = plots.new_figure(6.0, 2.8)
ax.plot(steps[::8], gaps[::8], ".", markersize=1.5, color=plots.COLORS[0])
ax.set(
    title="Pixel distance knows near from far, and nothing beyond",
    xlabel="how far the cat has walked (half image widths)",
    ylabel="pixel distance",
)
plots.show(
    fig,
    alt="Pixel distance of two pictures against how far the cat moved between them: a steep rise at small moves, "
    "then a plateau on which the distance no longer grows.",
)

# %% [markdown]
# For small steps the pixel distance grows with the step. Once the two cats no longer overlap, all distances are the
# same: a big distance says "far" and not how far. A method that mostly preserves big distances preserves the part that
# says nothing.
#
# ## Step 2: a map from neighbours
#
# **Locally linear embedding** ([Roweis and Saul, 2000](https://doi.org/10.1126/science.290.5500.2323)) believes only
# the small ones. Let $\mathcal N(i)$ be the $k$ nearest neighbours of $x_i$. If the data lie on a smooth sheet, a
# neighbourhood is nearly flat, and $x_i$ is nearly a weighted mean of its neighbours:
#
# $$\min_w\; \Big\|x_i - \sum_{j\in\mathcal N(i)} w_{ij} x_j\Big\|^2 \quad\text{such that}\quad \sum_j w_{ij} = 1.$$
#
# Because the weights sum to 1, move $x_i$ inside: the cost is $\|\sum_j w_{ij}(x_i - x_j)\|^2 = w^\top C w$ with
# $C_{jl} = (x_j - x_i)^\top(x_l - x_i)$. Lagrange: $C w = \lambda\mathbf 1$. Solve $C w = \mathbf 1$, divide by the sum,
# done. These weights do not notice if you turn, move or scale the whole patch, so they describe the *sheet* and not the
# room it hangs in. Then look for the flat map $y$ in which every point keeps its weights:
#
# $$\min_y \sum_i \Big\|y_i - \sum_j w_{ij} y_j\Big\|^2 = \min_Y \operatorname{tr}\, Y^\top (I - W)^\top (I - W)\, Y, \qquad \textstyle\sum_i y_i = 0,\quad \tfrac1N Y^\top Y = I.$$
#
# The two constraints are the interesting part. Without them the answer is $Y = 0$: everything at one point, cost
# zero. **This is the collapse that half of this book fights, and the remedy of the year 2000 is the remedy of chapter
# 16**: mean zero, covariance the identity. With them, the answer is the eigenvectors of the smallest eigenvalues, but
# for the first (the constant).

# %%


def my_lle(X: torch.Tensor, k: int, dim: int, ridge: float = 1e-3) -> torch.Tensor:
    """Points [N, D] -> map [N, dim]."""
    N = len(X)
    W = torch.zeros(N, N, dtype=X.dtype)
    for i, neighbours in enumerate(embedding.nearest_neighbors(X, k)):
        Z = X[neighbours] - X[i]
        C = Z @ Z.T
        C = C + ridge * C.trace() * torch.eye(k)  # with more neighbours than dimensions C is singular
        w = torch.linalg.solve(C, torch.ones(k, dtype=X.dtype))
        W[i, neighbours] = w / w.sum()
    R = torch.eye(N, dtype=X.dtype) - W
    _, vectors = torch.linalg.eigh(R.T @ R)
    return vectors[:, 1 : dim + 1] * N**0.5


# %%
# NBVAL_CHECK_OUTPUT
K = 8
map_lle = my_lle(walk, K, 2)
print("agrees with the package:", up_to_sign(map_lle, embedding.lle(walk, K)[0], 1e-4))
learner = LocallyLinearEmbedding(n_neighbors=K, n_components=2, eigen_solver="dense")
reference = learner.fit_transform(walk.numpy())
print("agrees with scikit-learn:", up_to_sign(map_lle, torch.from_numpy(reference) * 400**0.5, 1e-3))

# %%


def linear_r2(features: torch.Tensor, target: torch.Tensor) -> float:
    """How much of the target [N, m] a linear function of the features explains, 1 = all."""
    design = torch.cat([features, torch.ones(len(features), 1, dtype=features.dtype)], dim=1)
    rest = target - design @ torch.linalg.lstsq(design, target).solution
    return 1 - (rest.square().sum() / (target - target.mean(dim=0)).square().sum()).item()


def swiss_roll(n: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    """A rolled-up sheet: points [n, 3] and how far along the sheet they lie [n]."""
    u, h = torch.rand(2, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = 1.5 * math.pi * (1 + 2 * u)
    return torch.stack([t * t.cos(), 20 * h, t * t.sin()], dim=1), t


def follows(y: torch.Tensor, t: torch.Tensor) -> float:
    """The best rank correlation of a coordinate of the map with t."""
    ranks = [values.argsort().argsort().double() for values in (*y.T, t)]
    return max(torch.corrcoef(torch.stack([r, ranks[-1]]))[0, 1].abs().item() for r in ranks[:-1])


roll, along = swiss_roll()
maps = {"MDS": embedding.classical_mds(embedding.distances(roll))[0], "LLE": my_lle(roll, K, 2)}
unrolled = {name: follows(y, along) for name, y in maps.items()}
fig, axes = plots.new_figure(9.4, 3.1, 1, 3)
shades = {"c": along, "cmap": "viridis", "s": 9}
axes[0].scatter(roll[:, 0], roll[:, 2], **shades)
axes[0].set(title="A rolled-up sheet, from the side", xlabel="x1", ylabel="x3")
for ax, (name, y) in zip(axes[1:], maps.items()):
    ax.scatter(*y.T, **shades)
    ax.set(title=f"{name}: follows the sheet to {unrolled[name]:.2f} (rank)", xlabel="y1", ylabel="y2")
plots.show(
    fig,
    alt="Left: a spiral of points, coloured along the sheet. Middle: the map by multidimensional scaling is still a "
    "spiral seen from some side. Right: in the map by locally linear embedding the colours run in order.",
)
assert unrolled["LLE"] > 0.95 > 0.5 > unrolled["MDS"]
cat = {"MDS": embedding.classical_mds(embedding.distances(walk))[0], "LLE": map_lle}
for name, y in cat.items():
    print(f"Of the cat's place, a linear function of the {name} map explains {linear_r2(y, place):.0%}.")

# %% [markdown]
# MDS keeps the long straight lines through the room, and the roll stays a roll. LLE walks along the sheet from neighbour
# to neighbour, and unrolls it. On the walking cat it has less to offer: four hundred pictures are few for a sheet that
# bends so sharply (a step of one pixel turns every outline over), so neighbourhoods are not flat. Local methods want
# many neighbours, near.

# %% [markdown]
# ### What a neighbour graph knows
#
# LLE believes its neighbours. It is exactly as good as they are. On real handwritten digits, and on our full picture
# world where everything varies at once: what do the ten nearest neighbours in pixel space have in common?

# %%
unlabeled = data.shapes("unlabeled", n=5760, world=1)  # no run below sees more
train, test = data.shapes("train", n=1500, world=1), data.shapes("test", n=1000, world=1)


def agreement(neighbours: torch.Tensor, values: torch.Tensor) -> dict:
    """How often a neighbour [N, k] has the same value [N], and how often a random other would."""
    share = torch.bincount(values).double() / len(values)
    return {
        "same": (values[neighbours] == values[:, None]).double().mean().item(),
        "chance": share.square().sum().item(),
    }


near_digits = embedding.nearest_neighbors(X, 10)
near_world = embedding.nearest_neighbors(evaluation.pixels(test.images[:500]), 10)
graph = [{"question": "digits: the same digit?"} | agreement(near_digits, digits.labels)]
graph += [
    {"question": f"picture world: {words}"} | agreement(near_world, test.factors[name].values[:500])
    for name, words in {
        "kind": "the same kind of object?",
        "polarity": "light on dark, or dark on light?",
        "background_texture": "the same background texture?",
    }.items()
]
plots.table(
    graph,
    "What ten nearest neighbours in pixel space agree on",
    {"question": "question", "same": "a neighbour agrees", "chance": "a random picture does"},
    ".1%",
)
assert graph[0]["same"] > 0.8 and graph[1]["same"] < 0.4 and graph[2]["same"] > 0.7

# %% [markdown]
# For the digits the graph is gold: they are centred, of one size, bright on dark. In the picture world the neighbours
# agree on whether the ground is dark, and about the object they are wrong most of the time. No eigenvector can repair
# that: **the map is as good as the answer to "who is near", and so far only pixels were asked.**

# %% [markdown]
# ## Step 3: ask the patch next door (1992)
#
# [Becker and Hinton (1992)](https://doi.org/10.1038/355161a0) asked somebody else. Two small modules look at two
# *neighbouring patches* of the world. The dots on the two patches are unrelated. But the patches usually belong to one
# surface, so they share its depth, its light, its texture. Nobody tells the modules which. They only get the rule:
# **say something on which you both agree**. Their demonstration is famous: from random dots they discovered depth.
#
# Here is the miniature. A *random-dot stereogram*: the left eye sees a strip of dots, the right eye sees the same dots
# shifted by the disparity $d$, which tells the depth. A module gets the two strips of its patch, 20 numbers. One pixel
# alone says nothing about $d$; nor does any weighted sum of the pixels.

# %%
WIDTH = 10  # pixels per eye


def stereo_patch(d: torch.Tensor, generator, dots: int = 6) -> torch.Tensor:
    """Left and right strip of fresh random dots at disparities d [n]: [n, 2 WIDTH]."""
    place = (WIDTH + 6) * torch.rand(len(d), dots, generator=generator) - 3
    sign = torch.randn(len(d), dots, generator=generator).sign()
    x = torch.arange(WIDTH).float()

    def eye(shift):
        distance = x - (place + shift[:, None])[:, :, None]  # [n, dots, WIDTH]
        return (sign[:, :, None] * (-distance.square()).exp()).sum(dim=1)

    return torch.cat([eye(-d / 2), eye(d / 2)], dim=1)


def surfaces(n: int, seed: int, lamp: float = 0.0) -> tuple[torch.Tensor, ...]:
    """Two neighbouring patches of n surfaces, their disparity and their brightness: [n, 20], [n, 20], [n], [n]."""
    generator = torch.Generator().manual_seed(seed)
    d = 4 * torch.rand(n, generator=generator) - 2
    brightness = lamp * torch.randn(n, generator=generator)
    patches = [stereo_patch(d, generator) + brightness[:, None] for _ in range(2)]
    return *patches, d, brightness


a_patch, b_patch, disparity, _ = surfaces(4, seed=5)
fig, axes = plots.new_figure(9.4, 2.6, 1, 4, sharey=True)
for n, ax in enumerate(axes):
    for row, patch in enumerate((a_patch[n], b_patch[n])):
        for eye, style in enumerate(("-", "--")):
            strip = patch[eye * WIDTH : (eye + 1) * WIDTH] - 5 * row
            ax.plot(strip, style, color=plots.COLORS[eye], linewidth=1.2)
    ax.set(title=f"Surface {n + 1}: shift {disparity[n]:+.1f}", xlabel="pixel", yticks=[])
axes[0].set_ylabel("patch b      patch a")
fig.suptitle("Different dots, one depth: how far is the right eye's strip (dashed) from the left eye's?")
plots.show(
    fig,
    alt="Four surfaces, each with two patches; every patch has a left strip and a right strip that is the same curve "
    "shifted. Within a surface both patches have the same shift but unrelated curves.",
)

# %% [markdown]
# ### The objective
#
# Let $a$ and $b$ be the two outputs, one number each. Why not simply ask that $\mathbb E (a - b)^2$ be small? You
# know the answer from LLE: $a = b = 0$. What you want is that the outputs *tell* something. Suppose both are a common
# signal plus noise of their own, $a = s + \epsilon_a$ and $b = s + \epsilon_b$, Gaussian, with variances $\sigma_s^2$
# and $\sigma^2$. The best joint report is the mean $(a + b)/2$: it holds the signal with variance $\sigma_s^2$ and
# noise with variance $\sigma^2/2$. The mutual information of a Gaussian channel is half the logarithm of 1 plus the
# signal-to-noise ratio:
#
# $$I\Big(\tfrac{a+b}2;\, s\Big) = \tfrac12\log\Big(1 + \frac{\sigma_s^2}{\sigma^2/2}\Big) = \tfrac12\log\frac{4\sigma_s^2 + 2\sigma^2}{2\sigma^2} = \boxed{\tfrac12\log\frac{V(a + b)}{V(a - b)}}$$
#
# since $V(a+b) = 4\sigma_s^2 + 2\sigma^2$ and $V(a - b) = 2\sigma^2$: the unknown $s$ has dropped out, and what is left
# can be measured from the two outputs alone. Read it: *agree* (make $V(a - b)$ small) *and vary* (keep $V(a + b)$
# large). It does not change when both outputs are scaled, so shrinking to a point gains nothing. With equal variances
# and correlation $r$ it is $\operatorname{artanh} r$. Becker and Hinton called the method IMAX.

# %%


def imax(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Outputs [N], [N] -> nats."""
    return ((a + b).var() / (a - b).var()).log() / 2


def small_network() -> nn.Module:
    """Strips [N, 20] -> one number each [N]."""
    torch.manual_seed(0)
    hidden = [nn.Linear(2 * WIDTH, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(64, 1), nn.Flatten(0))


def teach(loss, lamp: float = 0.0, steps: int = 200, batch: int = 500) -> dict:
    """Train one module on both patches (shared weights); what its output follows on new surfaces."""
    module = small_network()
    untaught = correlation(module, lamp)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    a, b, _, _ = surfaces(10_000, seed=1, lamp=lamp)
    for _ in range(steps):
        pick = torch.randint(len(a), (batch,))
        optimizer.zero_grad()
        loss(*module(torch.cat([a[pick], b[pick]])).chunk(2)).backward()
        optimizer.step()
    return {"module": module, "untaught": untaught} | correlation(module, lamp)


@torch.no_grad()
def correlation(module, lamp: float) -> dict:
    a, _, d, brightness = surfaces(2000, seed=2, lamp=lamp)
    out = module(a)
    found = {"depth": abs(torch.corrcoef(torch.stack([out, d]))[0, 1].item()), "std": out.std().item()}
    if lamp:
        found["brightness"] = abs(torch.corrcoef(torch.stack([out, brightness]))[0, 1].item())
    return found


taught = {
    "agree and vary (IMAX)": teach(lambda a, b: -imax(a, b)),
    "only agree (squared difference)": teach(lambda a, b: (a - b).square().mean()),
    "IMAX, and a lamp that flickers": teach(lambda a, b: -imax(a, b), lamp=2.0),
}
a_patch, _, d, _ = surfaces(2000, seed=2)
a_new, _, d_new, _ = surfaces(4000, seed=3)
linear = max(0.0, linear_r2(a_new, d_new[:, None])) ** 0.5  # fitted with the answers known
rows = [{"who": "the best weighted sum of pixels, fitted to the true depth", "depth": linear}]
rows += [{"who": "untrained module"} | taught["agree and vary (IMAX)"]["untaught"]]
rows += [{"who": who} | result for who, result in taught.items()]
plots.table(
    rows,
    "What the output of a module follows, on new surfaces (0: nothing, 1: exactly)",
    {"who": "module", "depth": "|correlation| with depth", "brightness": "with brightness", "std": "std"},
    {"depth": ".2f", "brightness": ".2f", "std": ".4f"},
)
best, flat, lamp = taught.values()
assert best["depth"] > 0.7 > 0.3 > linear and flat["std"] < 0.05 and lamp["brightness"] > 0.8

# %%
fig, ax = plots.new_figure(5.6, 2.9)
with torch.no_grad():
    out = best["module"](a_patch)
ax.plot(d, out, ".", markersize=2.5, color=plots.COLORS[0])
ax.set(
    title="Nobody told the module about depth",
    xlabel="true disparity (pixels), never shown in training",
    ylabel="output of the module",
)
plots.show(
    fig,
    alt="The output of the trained module against the true disparity: the points follow a rising or falling band.",
)

# %% [markdown]
# Three lessons, all of which return in this book. **(1)** Agreement between two views of one thing is a teacher: this
# is self-supervised learning, in 1992. **(2)** Agreement alone collapses; something must ask for variation (here the
# numerator, in chapter 16 the variance term of VICReg, in chapter 13 the negatives). **(3)** When two things are shared,
# the easier one is learned: the lamp wins over depth, although depth is still there. Replace the lamp by the colour of
# a photograph, and you have the reason for colour jitter.

# %%
# NBVAL_CHECK_OUTPUT
generator = torch.Generator().manual_seed(0)
s, e1, e2 = torch.randn(3, 200_000, generator=generator, dtype=torch.float64)
a, b = s + 0.5 * e1, s + 0.5 * e2
print("agrees with the package:", torch.allclose(imax(a, b), embedding.imax(a, b)))
channel = 0.5 * math.log(1 + 2 / 0.25)
print("is the information of the mean about the signal:", abs(imax(a, b).item() - channel) < 0.01)
r = torch.corrcoef(torch.stack([a, b]))[0, 1]
print("is artanh of the correlation:", abs(imax(a, b) - torch.atanh(r)).item() < 0.01)

# %% [markdown]
# ## Step 4: ask a clerk (1993)
#
# A bank wants to check signatures written with a pen on a tablet. It cannot train a classifier: tomorrow's customers
# are not known today. [Bromley et al. (1993)](https://proceedings.neurips.cc/paper/1993/hash/288cc0ff022877bd3df94bc9360b9c5d-Abstract.html)
# trained a *comparison* instead. Two copies of one network, with the same weights, read one signature each; a joining
# unit takes the cosine of the two feature vectors; the clerk only says "same hand" or "forged". They called it a
# **siamese** network. After training, one half is kept: a customer is a stored feature vector.
#
# In miniature: a signature is a closed pen stroke $(x(t), y(t))$, five harmonics per writer. Nobody signs twice alike:
# slant, size and rhythm vary a lot, the shape a little. A skilled forger copies the shape, but not as well, and with
# a trembling hand. As in the paper, the network reads the motion of the pen and not only its track. We ask for a cosine
# of 1 for the same hand and of 0 for a forgery: many customers cannot all be *opposite* to one another.

# %%
HARMONICS, MOMENTS = 5, 64
generator = torch.Generator().manual_seed(0)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator)


def sign(writers: torch.Tensor, forged: torch.Tensor) -> torch.Tensor:
    """One signature per writer [n, 2, HARMONICS, 2], by a forger where forged [n]: pen positions [n, 2, MOMENTS]."""
    n, bad = len(writers), forged.float()[:, None]
    shape = writers + (0.05 + 0.07 * bad)[:, :, None, None] * normal(*writers.shape)
    t = torch.linspace(0, 1, MOMENTS)
    wobble = (2 * math.pi * t + 6 * torch.rand(n, 1, generator=generator)).sin()
    rhythm = t + 0.06 * normal(n, 1) * wobble
    phase = 2 * math.pi * torch.arange(1, HARMONICS + 1)[:, None] * rhythm[:, None]  # [n, HARMONICS, MOMENTS]
    pen = torch.einsum("nchb,nhtb->nct", shape, torch.stack([phase.sin(), phase.cos()], dim=-1))
    pen = pen + 0.015 * bad[:, :, None] * normal(n, 2, MOMENTS)
    slant, size = 0.35 * normal(n), (0.2 * normal(n)).exp()
    turn = torch.stack([slant.cos(), -slant.sin(), slant.sin(), slant.cos()], dim=1).view(n, 2, 2)
    return size[:, None, None] * turn @ (pen - pen.mean(dim=2, keepdim=True))


def customers(n: int) -> torch.Tensor:
    return normal(n, 2, HARMONICS, 2) / torch.arange(1, HARMONICS + 1)[:, None]


def signature_pairs(writers: torch.Tensor, n: int) -> tuple[torch.Tensor, ...]:
    """Genuine signatures, what is compared with them, whether that is genuine, and whether it is a skilled forgery."""
    who = torch.randint(len(writers), (n,), generator=generator)
    genuine = torch.rand(n, generator=generator) < 0.5
    skilled = ~genuine & (torch.rand(n, generator=generator) < 0.5)
    stranger = (who + torch.randint(1, len(writers), (n,), generator=generator)) % len(writers)
    second = torch.where(genuine | skilled, who, stranger)
    return sign(writers[who], torch.zeros(n)), sign(writers[second], skilled), genuine, skilled


class Motion(nn.Module):
    """Position, velocity and acceleration of the pen: [n, 2, MOMENTS] -> [n, 6, MOMENTS]."""

    def forward(self, pen):
        velocity = 5 * pen.diff(dim=2, prepend=pen[:, :, :1])
        return torch.cat([pen, velocity, 5 * velocity.diff(dim=2, prepend=velocity[:, :, :1])], dim=1)


def half() -> nn.Module:
    """A time-delay network, that is a convolution over time: [n, 2, MOMENTS] -> [n, 32]."""
    torch.manual_seed(0)
    layers = [Motion(), nn.Conv1d(6, 32, 7, 2, 3), nn.ReLU(), nn.Conv1d(32, 32, 5, 2, 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(8), nn.Flatten(), nn.Linear(256, 32))


def cosines(network, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cosine_similarity(*network(torch.cat([x, y])).flatten(1).chunk(2))


old_customers, new_customers = customers(300), customers(60)
siamese, fresh_half = half(), half()
optimizer = torch.optim.Adam(siamese.parameters(), lr=3e-3)
for _ in range(300):
    x, y, genuine, _ = signature_pairs(old_customers, 128)
    loss = (cosines(siamese, x, y) - genuine.float()).square().mean()  # same hand: 1, forged: 0
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
x, y, genuine, skilled = signature_pairs(new_customers, 2000)


def equal_error(score: torch.Tensor, genuine: torch.Tensor) -> float:
    """The error rate at the threshold where as many genuine ones are refused as forgeries pass; chance is 50 %."""
    thresholds = score.sort().values
    refused = torch.stack([(score[genuine] < t).float().mean() for t in thresholds[::10]])
    passed = torch.stack([(score[~genuine] >= t).float().mean() for t in thresholds[::10]])
    where = (refused - passed).abs().argmin()
    return ((refused + passed)[where] / 2).item()


against = {"skilled forgery": genuine | skilled, "another customer": ~skilled}
verification = {}
with torch.no_grad():
    networks = {"pen positions as they are": nn.Flatten(), "untrained half": fresh_half, "siamese": siamese}
    for name, network in networks.items():
        score = cosines(network, x, y)
        verification[name] = {what: equal_error(score[rows], genuine[rows]) for what, rows in against.items()}
plots.table(
    [{"who": "a coin", **dict.fromkeys(against, 0.5)}] + [{"who": n} | v for n, v in verification.items()],
    "Equal error rate on 60 customers who were never seen in training (lower is better)",
    {"who": "the cosine of", **{what: f"against: {what}" for what in against}},
    ".1%",
)
assert verification["siamese"]["skilled forgery"] < verification["untrained half"]["skilled forgery"] - 0.05

# %%
fig, axes = plots.new_figure(9.4, 2.4, 1, 5)
who = new_customers[:1].repeat(5, 1, 1, 1)
drawn = sign(who, torch.tensor([0, 0, 0, 1, 1]).bool())
with torch.no_grad():
    score = cosines(siamese, drawn[:1].repeat(5, 1, 1), drawn)
for n, ax in enumerate(axes):
    ax.plot(*drawn[n], color=plots.COLORS[0 if n < 3 else 1], linewidth=1.2)
    kind = "stored" if n == 0 else "genuine" if n < 3 else "forged"
    ax.set(title=f"{kind}: cosine {score[n]:.2f}", aspect="equal", xticks=[], yticks=[], xlabel="x")
axes[0].set_ylabel("y")
fig.suptitle("One new customer: slant and size may differ, the hand may not")
plots.show(
    fig,
    alt="Five pen strokes of one writer: a stored signature, two genuine ones and two forged ones, each with its cosine.",
)

# %% [markdown]
# The network verifies people it has never met, because it learned a *distance* and not a list of names. Nearly all of
# this book's machinery is here: two branches, shared weights, a cosine. What will change is who says "same".
#
# ## Step 5: a metric is a linear map
#
# Between the clerk and the deep networks lies a decade in which the network was a single matrix. For any matrix $L$,
#
# $$d_A(x, x')^2 = (x - x')^\top A\,(x - x') = \|L x - L x'\|^2, \qquad A = L^\top L,$$
#
# is the **Mahalanobis distance** of $A$, and every positive semi-definite $A$ has such an $L$. So learning a metric is
# learning a linear encoder. Three answers to "what should $L$ do", with $z = L x$:
#
# - **Pairs**, [Xing et al. (2002)](https://papers.nips.cc/paper_files/paper/2002/hash/c3e4035af2a1cde9f21e1ae1951ac80b-Abstract.html):
#   the similar pairs $S$ near, while the dissimilar ones $D$ keep a total distance of 1. As one loss:
#   $\sum_S \|z - z'\|^2 - \log \sum_D \|z - z'\|$.
# - **Push and pull**, large margin nearest neighbours (LMNN, [Weinberger and Saul,
#   2009](https://jmlr.org/papers/v10/weinberger09a.html)): pull only the $k$ nearest of my own class (the
#   *targets*), and push only those of another class who stand nearer than a target plus a margin (the *impostors*):
#   $(1-\mu)\sum_{i,\,j \rightsquigarrow i} \|z_i - z_j\|^2 + \mu \sum_{i,\,j\rightsquigarrow i,\,l} [1 + \|z_i - z_j\|^2 - \|z_i - z_l\|^2]_+$.
# - **Soft neighbours**, neighbourhood components analysis (NCA, [Goldberger et al.,
#   2004](https://papers.nips.cc/paper_files/paper/2004/hash/42fe880812925e520249e808937738d2-Abstract.html)): the kNN
#   rule itself is a step function, without a gradient. So let point $i$ pick *one* neighbour at random, near ones more
#   likely, and maximise how often it has the right label:
#   $$p_{ij} = \frac{e^{-\|z_i - z_j\|^2}}{\sum_{k\ne i} e^{-\|z_i - z_k\|^2}}, \qquad L_\text{NCA} = 1 - \frac1N\sum_i \sum_{j \ne i,\ y_j = y_i} p_{ij}.$$
#
# The softmax over distances is born here; remember it. (In the [Cookbook](https://arxiv.org/abs/2304.12210)'s equation
# 2 the denominator sums over *all* pairs of the batch, a point with itself included. That is another function: it is
# not a probability of anything that $i$ could pick.)

# %%


def squared(z):
    """All squared distances [N, N] through inner products: fast, but tiny distances drown in rounding."""
    length = z.square().sum(dim=1)
    return (length[:, None] + length - 2 * z @ z.T).clamp(min=0)


def my_xing(z1, z2, same):
    """Pairs [P, D], [P, D], truth values [P]."""
    d = (z1 - z2).norm(dim=1)
    return (d[same] ** 2).sum() - d[~same].sum().log()


def my_lmnn(z, y, targets, mu=0.5):
    """z [N, D], labels [N], targets [N, k]; divided by N."""
    d2 = squared(z)
    pull = d2.gather(1, targets)
    push = F.relu(1 + pull[:, :, None] - d2[:, None, :]) * (y[:, None] != y)[:, None, :]
    return ((1 - mu) * pull.sum() + mu * push.sum()) / len(z)


def my_nca(z, y):
    """z [N, D], labels [N]."""
    d2 = squared(z)
    p = (-d2).fill_diagonal_(-math.inf).softmax(dim=1)
    return 1 - (p * (y[:, None] == y)).sum(dim=1).mean()


# %% [markdown]
# The test bed: real digits, photographed on a badly lit table. Each gets a random brightness ramp that is stronger than
# the digit. Three hundred of them carry a label.

# %%


def badly_lit(images: data.ImageSet, seed: int) -> torch.Tensor:
    """Digits [N, 64] plus ramps: left-right, up-down, twisted, and overall."""
    v, u = torch.meshgrid(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8), indexing="ij")
    ramps = torch.stack([u, v, u * v, torch.ones_like(u)]).flatten(1).double()
    strength = torch.randn(len(images), 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return images.images[:, 0].flatten(1).double() / 255 + strength @ ramps


all_train, all_test = data.digits("train"), data.digits("test")
lit_train, lit_test = badly_lit(all_train, 0), badly_lit(all_test, 1)
chosen = label_subset(all_train.labels, 30, seed=0)
x_fit, y_fit = lit_train[chosen], all_train.labels[chosen]


def nearest_accuracy(L: torch.Tensor, k: int = 3) -> float:
    """Majority of the 3 nearest of the 300 labelled digits, on the 500 test digits."""
    order = torch.cdist(lit_test @ L.T, x_fit @ L.T).topk(k, largest=False).indices
    return (F.one_hot(y_fit[order], 10).sum(dim=1).argmax(dim=1) == all_test.labels).double().mean().item()


def learn_metric(loss, start: torch.Tensor, lr: float, steps: int = 80) -> torch.Tensor:
    """Gradient descent on L [64, 64] for loss(z [300, 64])."""
    L = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([L], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(x_fit @ L.T).backward()
        optimizer.step()
    return L.detach()


i, j = torch.triu_indices(300, 300, 1)
keep = (y_fit[i] == y_fit[j]) | (torch.rand(len(i), generator=torch.Generator().manual_seed(0)) < 0.1)
i, j = i[keep], j[keep]
same = y_fit[i] == y_fit[j]
targets = embedding.target_neighbors(x_fit, y_fit, k=3)
eye = torch.eye(64, dtype=torch.float64)
values, vectors = torch.linalg.eigh(torch.cov(lit_train.T) + 1e-3 * eye)
metrics = {
    "Euclidean": eye,
    "whitened (no labels)": vectors @ torch.diag(values**-0.5) @ vectors.T,
    "Xing: pairs": learn_metric(lambda z: my_xing(z[i], z[j], same), 0.1 * eye, lr=0.01),
    "LMNN: push and pull": learn_metric(lambda z: my_lmnn(z, y_fit, targets), eye, lr=0.01),
    "NCA: soft neighbours": learn_metric(lambda z: my_nca(z, y_fit), eye, lr=0.02),
}
linear_scores = {name: nearest_accuracy(L) for name, L in metrics.items()}
plots.table(
    [{"metric": "a guess", "accuracy": 0.1}]
    + [{"metric": n, "accuracy": a} for n, a in linear_scores.items()],
    "Badly lit digits, 3 nearest neighbours among 300 labelled ones",
    {"metric": "distance", "accuracy": "accuracy on 500 test digits"},
    ".1%",
)
assert (
    min(linear_scores[n] for n in ("LMNN: push and pull", "NCA: soft neighbours"))
    > linear_scores["Euclidean"] + 0.05
)

# %%
# NBVAL_CHECK_OUTPUT
z = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
y = torch.arange(20) % 4
near = embedding.target_neighbors(z, y, k=2)
alike = y[:10] == y[10:].roll(2)
print(
    "Xing:", torch.allclose(my_xing(z[:10], z[10:], alike), embedding.side_information(z[:10], z[10:], alike))
)
print("LMNN:", torch.allclose(my_lmnn(z, y, near), embedding.lmnn(z, y, near)))
print("NCA: ", torch.allclose(my_nca(z, y), metric.nca(z, y)))

# %% [markdown]
# ## Step 6: the same wishes, with a deep network
#
# Replace the matrix by a network $f$ and let $z = f(x)$. Five losses, in the order they came. Throughout, $d_{ij} =
# \|z_i - z_j\|$.
#
# **Contrastive loss** ([Chopra et al., 2005](https://doi.org/10.1109/CVPR.2005.202); in this form [Hadsell et al.,
# 2006](https://doi.org/10.1109/CVPR.2006.100), equation 4). Xing's two sums, pair by pair: similar pairs are springs;
# dissimilar ones push only while nearer than a margin $m$.
#
# $$L = \tfrac12 d^2 \ \text{ if same}, \qquad \tfrac12 [m - d]_+^2\ \text{ if not}.$$
#
# Why the hinge? A push without end would drive everything apart for ever; beyond $m$ they are different enough. Why is
# the margin on $d$ and not on $d^2$? The force is the derivative by $d$: $-(m - d)$, a spring that is *strongest at
# zero*. Had we written $[m - d^2]_+$, the force would be $-2d$: nothing when two different things sit on one spot. The
# weakness: one number $m$ must fit all classes, and "similar" means *at distance zero*.
#
# **Triplet loss** (LMNN's push, without the pull; for images [Chechik et al.,
# 2010](https://jmlr.org/papers/v11/chechik10a.html), in a deep network FaceNet, [Schroff et al.,
# 2015](https://arxiv.org/abs/1503.03832)). Only the *order* matters: anchor $a$ nearer to positive $p$ than to negative
# $n$, by a margin.
#
# $$L = [\,d_{ap}^2 - d_{an}^2 + m\,]_+$$
#
# The weakness: there are $N^3$ triplets and most are solved, with no gradient. So choose: **mining**. *Hardest*: the
# nearest negative of all. *Semi-hard*: the nearest negative that is at least farther than the positive. FaceNet warns
# that the hardest lead to collapse; you will provoke it below.

# %%


def contrastive_loss(z1, z2, same, m):
    """z1, z2 [P, D]: pairs; same [P] bool."""
    d = (z1 - z2).norm(dim=1)
    return torch.where(same, d**2, F.relu(m - d) ** 2).mean() / 2


def triplet_loss(a, p, n, m):
    """a, p, n [T, D]."""
    return F.relu((a - p).square().sum(dim=1) - (a - n).square().sum(dim=1) + m).mean()


@torch.no_grad()
def mine(z, y, how: str) -> torch.Tensor:
    """For every ordered pair (a, p) of one label a negative: "random", "semi-hard", "hardest". Rows [T, 3]."""
    d = squared(z)
    same = y[:, None] == y
    a, p = (same & ~torch.eye(len(z), dtype=torch.bool, device=z.device)).nonzero().T
    allowed = ~same[a]
    if how == "random":
        return torch.stack([a, p, allowed.double().multinomial(1)[:, 0]], dim=1)
    if how == "semi-hard":
        allowed = allowed & (d[a] > d[a, p][:, None])
    n = d[a].masked_fill(~allowed, math.inf).argmin(dim=1)
    return torch.stack([a, p, n], dim=1)[allowed.any(dim=1)]


# %% [markdown]
# **Lifted structure** ([Oh Song et al., 2016](https://arxiv.org/abs/1511.06452), equation 4). Mining throws away what
# the batch has already computed: all $N^2$ distances. Use them all. For each positive pair, the hardest negative of
# *either* end; and because the maximum jumps, its smooth upper bound, $\max_k x_k \le \log\sum_k e^{x_k}$:
#
# $$J_{ij} = d_{ij} + \log\Big(\sum_{k:\,y_k\ne y_i} e^{m - d_{ik}} + \sum_{l:\,y_l\ne y_j} e^{m - d_{jl}}\Big), \qquad L = \frac1{2|P|}\sum_{(i,j)\in P} [J_{ij}]_+^2.$$
#
# **N-pair** ([Sohn, 2016](https://papers.nips.cc/paper/2016/hash/6b180037abbebea991d8b1232f8a8ca9-Abstract.html)). The
# same year, another smooth maximum. Take $N$ pairs $(a_i, p_i)$, *one per class*; the negatives of $a_i$ are the other
# pairs' positives, already computed; compare inner products:
#
# $$L = \frac1N\sum_i \log\Big(1 + \sum_{j\ne i} e^{a_i^\top p_j - a_i^\top p_i}\Big) = -\frac1N\sum_i\log\frac{e^{a_i^\top p_i}}{\sum_j e^{a_i^\top p_j}}.$$
#
# On the right the same thing, divided through by $e^{a_i^\top p_i}$: a softmax that picks the partner, the loss of
# chapter 13. Note what limits it: with ten classes a batch has ten pairs. Unless every *picture* is a class of its own...
#
# **Soft nearest neighbours** ([Salakhutdinov and Hinton, 2007](https://proceedings.mlr.press/v2/salakhutdinov07a.html);
# with a temperature $T$, [Frosst et al., 2019](https://arxiv.org/abs/1902.01889)). NCA on a deep network, with a
# logarithm, so that a point whose neighbours are all wrong still feels a pull:
#
# $$L = -\frac1N\sum_i\log\frac{\sum_{j\ne i,\,y_j = y_i} e^{-d_{ij}^2/T}}{\sum_{k\ne i} e^{-d_{ik}^2/T}}.$$

# %%


def lifted_loss(z, y, m):
    """z [N, D], labels [N]."""
    d = squared(z).clamp(min=1e-12).sqrt()  # the root has no slope at 0
    same = y[:, None] == y
    i, j = same.triu(1).nonzero().T
    push = (m - d).masked_fill(same, -math.inf)
    J = d[i, j] + torch.logsumexp(torch.cat([push[i], push[j]], dim=1), dim=1)
    return (F.relu(J) ** 2).mean() / 2


def n_pair_loss(a, p):
    """a, p [N, D]: row i of both is pair i."""
    return F.cross_entropy(a @ p.T, torch.arange(len(a), device=a.device))


def soft_neighbour_loss(z, y, T):
    """z [N, D], labels [N]."""
    logits = (-squared(z) / T).fill_diagonal_(-math.inf)
    mine = logits.masked_fill(y[:, None] != y, -math.inf)
    return (logits.logsumexp(dim=1) - mine.logsumexp(dim=1)).mean()


# %%
# NBVAL_CHECK_OUTPUT
generator = torch.Generator().manual_seed(0)
z1, z2 = torch.randn(2, 12, 4, generator=generator, dtype=torch.float64)
z, y = torch.cat([z1, z2]), torch.arange(24) % 5
a, p, n = z[mine(z, y, "semi-hard")].unbind(dim=1)
pairs = {
    "contrastive": (
        contrastive_loss(z1, z2, y[:12] < 2, 1.5),
        metric.contrastive_pairs(z1, z2, y[:12] < 2, 1.5),
    ),
    "triplet": (triplet_loss(a, p, n, 0.5), metric.triplet(a, p, n, 0.5)),
    "lifted structure": (lifted_loss(z, y, 1.0), metric.lifted_structure(z, y, 1.0)),
    "N-pair": (n_pair_loss(z1, z2), metric.n_pair(z1, z2)),
    "soft neighbours": (soft_neighbour_loss(z, y, 0.7), metric.soft_nearest_neighbor(z, y, 0.7)),
}
for name, (here, package) in pairs.items():
    print(f"{name} agrees with ssl_lessons.losses.metric:", torch.allclose(here, package))
print("semi-hard mining agrees:", torch.equal(mine(z, y, "semi-hard"), metric.semi_hard_triplets(z, y)))
z_twice = (torch.zeros(24, 4), torch.zeros(24, 4))
print("N-pair at chance is log N:", abs(n_pair_loss(*z_twice).item() - math.log(24)) < 1e-6)

# %% [markdown]
# ### One family, one picture
#
# [Tian (2022)](https://arxiv.org/abs/2201.12680) noticed that eight such losses are one, with two functions left open
# (the Cookbook's figure 8):
#
# $$L_{\phi,\psi} = \frac1N\sum_i \phi\Big(\sum_{j\ne i}\psi\big(\tfrac12 d_{i,\text{pos}}^2 - \tfrac12 d_{ij}^2\big)\Big).$$
#
# Triplet: $\phi(x) = x$, $\psi(x) = [x + m]_+$. N-pair: $\phi = \log(1 + x)$, $\psi = e^x$. InfoNCE: the same with a
# temperature. The other rows are the *soft triplet* ([Tian et al., 2020](https://arxiv.org/abs/2010.00578)), the
# *modified triplet* ([Coria et al., 2020](https://arxiv.org/abs/2003.14021), for speakers' voices) and the linear
# *triplet contrastive* ([Ji et al., 2021](https://arxiv.org/abs/2110.02473)). All that differs is **how the push is
# shared among the negatives**. Take one anchor, its positive at cosine 0.6, and negatives at every cosine from -0.5 to
# 0.9. Who is pushed?

# %%
similarity = torch.linspace(-0.5, 0.9, 29, dtype=torch.float64)  # of the negatives to the anchor
positive_at = 0.6


def push_shares(phi, psi) -> torch.Tensor:
    """Each negative's share of the push: gradient of the loss by its cosine, divided by the sum. [29]"""
    s = similarity.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(phi(psi(s - positive_at).sum()), s)
    return gradient / gradient.sum()


curves = {}  # losses whose shares are equal, under one name
for name, (phi, psi) in metric.phi_psi_table(temperature=0.1, margin=0.2).items():
    shares = push_shares(phi, psi)
    curves.setdefault(tuple((1e5 * shares).round().tolist()), []).append((name.replace("_", " "), shares))
fig, ax = plots.new_figure(7.4, 3.0)
for n, members in enumerate(curves.values()):
    label = ", ".join(name for name, _ in members)
    ax.plot(
        similarity, 100 * members[0][1], ("-", "--", "-.", ":")[n % 4], color=plots.COLORS[n], label=label
    )
ax.axvline(positive_at, color=plots.GRAY, linewidth=0.8)
ax.annotate("positive", (positive_at, 0), (4, 4), textcoords="offset points", fontsize=8, color=plots.GRAY)
ax.set(
    yscale="symlog",
    ylim=(0, 100),
    title=f"Eight losses, {len(curves)} ways to share the push",
    xlabel="cosine of a negative to the anchor",
    ylabel="share of the push (%)",
)
ax.set_yticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
ax.legend(loc="upper left")
plots.show(
    fig,
    alt="Share of the push against the cosine of the negative. InfoNCE and the soft triplet rise steeply towards the "
    "most similar negatives; the triplet is a step; MINE, tuplet and lifted structure rise gently; the linear loss is flat.",
)

# %% [markdown]
# Fewer curves than losses, because $\phi$ stands outside the sum: it decides how loudly an anchor pushes as a whole, and
# $\psi'$ alone decides *whom*. The linear loss pushes everybody alike, the triplet everybody inside the margin alike,
# an exponential the similar ones more; a temperature of 0.1 makes it nearly a choice of the hardest, without mining.

# %%
# NBVAL_CHECK_OUTPUT
z1, z2 = (F.normalize(v, dim=1) for v in torch.randn(2, 9, 5, generator=generator, dtype=torch.float64))
table = metric.phi_psi_table(temperature=0.2, margin=0.5)


def gradient_of(loss) -> torch.Tensor:
    leaf = z1.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


def against_first_views(z, tau):
    """A softmax over the partner and the other pictures' first views."""
    d2 = (z[:, None] - z).square().sum(dim=2).fill_diagonal_(math.inf)
    logits = torch.cat([-(z - z2).square().sum(dim=1, keepdim=True), -d2], dim=1) / 2 / tau
    return tau * F.cross_entropy(logits, torch.zeros(len(z), dtype=torch.long))


def every_triplet(z):
    i, j = (~torch.eye(len(z), dtype=torch.bool)).nonzero().T
    return triplet_loss(z[i], z2[i], z[j], 2 * 0.5) * (len(z) - 1) / 2


def row_of_family(z, name):
    return metric.phi_psi(z, z2, *table[name])


identities = {
    "info_nce": partial(against_first_views, tau=0.2),
    "tuplet": partial(against_first_views, tau=1.0),
    "triplet": every_triplet,
}
family_holds = {
    name: torch.allclose(gradient_of(partial(row_of_family, name=name)), gradient_of(loss))
    for name, loss in identities.items()
}
for name, holds in family_holds.items():
    print(f"{name}: same gradient as the loss it is named after: {holds}")

# %% [markdown]
# ## What goes wrong: hard negatives, and a printed formula
#
# Hard negatives teach most, so always take the hardest? Try it. Our world, with the true labels (the network may know
# everything), unit-length embeddings, margin 0.2, and three ways to choose the negative. A batch has 128 pictures, so
# the nearest negative is nearly always nearer than the positive.
#
# > **Predict.** Which of the three has the loss $m = 0.2$ after a while, and stays there? What must the embeddings look
# > like then?

# %%
ROWS, STEPS = 128, 75  # pictures through the network per step, and steps: under 20 ms each on two idle cores
labelled = data.shapes("train", n=3200, seed=1, world=1)  # not the pictures that are probed
gentle = recipe.policy.replace(jitter_p=0.0, grayscale_p=0.0, crop_scale=(0.5, 1.0))
POLICIES = {
    "labels": (gentle,),
    "views": (recipe.policy, recipe.policy),
}  # one gentle view, or two strong ones
monitor = Monitor(train[:400], train[400:800], every=20)


class MetricLearner(Method):
    """Encoder, projector, and a loss(z, y): rows with the same y belong together."""

    def __init__(self, loss, unit: bool = True, head: bool = True):
        super().__init__()
        built = recipe.build(seed=0)
        self.encoder, self.projector = built.encoder, built.projector if head else nn.Identity()
        self.loss, self.unit = loss, unit

    def embed(self, x):
        z = self.projector(self.encoder(x))
        return F.normalize(z, dim=1) if self.unit else z

    def forward(self, views, labels=None):
        z = self.embed(torch.cat(views)).float()
        picture = torch.arange(len(views[0]), device=z.device).repeat(len(views))
        y = picture if labels is None else labels  # the one line
        with torch.autocast(z.device.type, enabled=False):
            return self.loss(z, y)


def train_with(source: str, loss, steps: int = STEPS, pictures=None, quiet: bool = True, **options):
    """source "labels": ROWS labelled pictures, one view each; "views": ROWS / 2 pictures, two views each."""
    method = MetricLearner(loss, **options)
    pictures = (labelled if source == "labels" else unlabeled) if pictures is None else pictures
    policies = POLICIES[source]
    history = pretrain(
        method,
        pictures.images,
        policies,
        steps=steps,
        labels=pictures.labels if source == "labels" else None,
        monitor=monitor,
        progress=not quiet,
        on_alarm=lambda report: None,  # you are about to see it yourself
        **recipe.training() | {"batch_size": ROWS // len(policies)},
    )
    return method, history


def mined_triplets(how: str, m: float = 0.2):
    def loss(z, y):
        rows = mine(z, y, how)
        return triplet_loss(*z[rows].unbind(dim=1), m) if len(rows) else 0 * z.sum()

    return loss


mining = {}
for how in ("random", "semi-hard", "hardest"):
    mining[how] = train_with("labels", mined_triplets(how), quiet=False)

# %%
fig = plots.training_panel(
    {name: history for name, (_, history) in mining.items()},
    "The hardest negatives: the loss settles at the margin, and the embedding is a point",
    chance=1 / len(train.classes),
)
fig.axes[0].axhline(0.2, color=plots.GRAY, linestyle=":")
plots.show(
    fig,
    alt="Loss, kNN accuracy and feature spread of three triplet runs. With random and with semi-hard negatives the "
    "accuracy rises; with the hardest negatives the loss sits at the margin.",
)


@torch.no_grad()
def embed(method, images: torch.Tensor) -> torch.Tensor:
    """z, with this batch's statistics in BatchNorm: the running ones lag behind in a run so short."""
    where = next(method.parameters()).device
    return copy.deepcopy(method).train().embed(views.normalize(images.to(where))).float().cpu()


mined = {}
for how, (method, history) in mining.items():
    last = {"loss": history[-1]["loss"], "knn": history[-1]["knn"]}
    mined[how] = last | {"spread": spread(embed(method, test.images))}
columns = {
    "negatives": "negatives",
    "loss": "final loss",
    "spread": "spread of z (0: a point)",
    "knn": "kNN of h",
}
plots.table(
    [{"negatives": how} | row for how, row in mined.items()],
    f"Triplets with true labels after {STEPS} steps, margin 0.2",
    columns,
    {"loss": ".3f", "spread": ".3f", "knn": ".1%"},
)
assert (
    abs(mined["hardest"]["loss"] - 0.2) < 0.02
    and mined["hardest"]["spread"] < 0.02 < mined["semi-hard"]["spread"]
)

# %% [markdown]
# Why does it pay to give up? At the start the embedding knows nothing, so the hardest of some 115 negatives is nearer than
# the positive: $d_{ap}^2 - d_{an}^2 > 0$, and the loss is *above* $m$. Shrink everything by a factor $c < 1$ and the
# loss becomes $c^2(d_{ap}^2 - d_{an}^2) + m$: **smaller**. All the network has to learn is to give the same answer
# always; then the loss is exactly $m$. A semi-hard negative is by definition farther than the positive,
# $d_{ap}^2 - d_{an}^2 < 0$, and now shrinking makes the loss *larger*. That sign is the whole secret. ([Hermans et al.,
# 2017](https://arxiv.org/abs/1703.07737) train with the hardest after all, with other settings and more care.)
#
# The second accident is in print. The Cookbook's equation 3 gives the triplet loss as
#
# $$\sum_{(i,j)\in P}\;\sum_{(k,l)\notin P,\;k = i} \text{ReLU}\big(\|z_i - z_j\|^2 - \|z_i - z_k\| + m\big).$$
#
# Read the index: $k = i$, so the second norm is $\|z_i - z_i\| = 0$. There is *no negative* in it; it should be $z_l$,
# and squared. You know by now what the network makes of such a loss. (Equation 1, the contrastive loss, has lost its
# exponents on the way; read it as in step 6.)

# %%


def printed_triplet(z, y, m=0.2):
    i, j = (y[:, None] == y).triu(1).nonzero().T
    return F.relu((z[i] - z[j]).square().sum(dim=1) - 0 + m).mean()  # |z_i - z_k| with k = i


printed_method, printed_history = train_with("views", printed_triplet, steps=40)
printed = {"loss": printed_history[-1]["loss"], "spread": spread(embed(printed_method, test.images))}
printed["untrained"] = spread(embed(MetricLearner(printed_triplet), test.images))
print(
    f"Equation 3 as printed: loss {printed['loss']:.3f} (margin 0.2), spread of z {printed['spread']:.3f} "
    f"(untrained {printed['untrained']:.3f})"
)
assert printed["spread"] < 0.5 * printed["untrained"]

# %% [markdown]
# ## The run: from labels to views, by changing one line
#
# Look at `MetricLearner.forward` above. With labels, `y` is the class. Without, `y` is **which picture this view was
# cut from**. That is the shift from metric learning to self-supervision: the losses stay, the clerk goes, and a random
# crop with a random tint says "same". In front of you: the same losses, encoder, batch of 128 and number of steps, once
# with labels, once with views. (Two different pictures of one kind differ enough; with labels they are only cropped a
# little. Two views of *one* picture need the hard crop and the tint, or their colours give the partner away: the lamp of
# step 3, and all of chapter 13.)
#
# One of these runs deserves a theorem. Take the soft nearest neighbour loss of 2007, put the rows on the unit sphere,
# and let `y` be the picture. Every row has exactly *one* other row with its `y`. On the sphere $d^2 = 2 - 2\cos$, so
#
# $$-\log\frac{e^{-d_{ij}^2/T}}{\sum_{k\ne i}e^{-d_{ik}^2/T}} = -\log\frac{e^{\cos_{ij}/(T/2)}}{\sum_{k\ne i}e^{\cos_{ik}/(T/2)}},$$
#
# and that is NT-Xent, the loss of [SimCLR (2020)](https://arxiv.org/abs/2002.05709), at temperature $\tau = T/2$. Not
# like it: it.

# %%
# NBVAL_CHECK_OUTPUT
z1, z2 = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
on_sphere = F.normalize(torch.cat([z1, z2]), dim=1)
picture = torch.arange(40).repeat(2)
for tau in (0.05, 0.1, 0.5):
    old, new = soft_neighbour_loss(on_sphere, picture, T=2 * tau), losses.nt_xent(z1, z2, tau)
    print(f"soft neighbours (2007) at T = {2 * tau} is NT-Xent (2020) at {tau}: {torch.allclose(old, new)}")

# %%


def contrastive_of(z, y, m=1.4):
    """All pairs of one label, and as many random pairs of two."""
    same = y[:, None] == y
    i, j = same.triu(1).nonzero().T
    k, other = (~same).triu(1).nonzero().T
    pick = torch.randperm(len(k), device=z.device)[: len(i)]
    i, j = torch.cat([i, k[pick]]), torch.cat([j, other[pick]])
    return contrastive_loss(z[i], z[j], y[i] == y[j], m)


def n_pair_of(z, y, l2=0.1):
    """Views come as two halves; of labels, two rows per class: ten pairs, whatever the batch."""
    half = len(z) // 2
    if torch.equal(y[:half], y[half:]):
        rows = torch.arange(len(z), device=z.device).view(2, half)
    else:
        rows = torch.stack([(y == c).nonzero()[:2, 0] for c in y.unique() if (y == c).sum() > 1], dim=1)
    a, p = z[rows]
    return n_pair_loss(a, p) + l2 * torch.cat([a, p]).square().sum(dim=1).mean()


soft = partial(soft_neighbour_loss, T=0.2)
RUNS = {  # name: (loss, options)
    "contrastive": (contrastive_of, {}),
    "triplet, semi-hard": (mined_triplets("semi-hard"), {}),
    "lifted structure": (partial(lifted_loss, m=1.0), {"unit": False}),
    "N-pair": (n_pair_of, {"unit": False}),
    "soft neighbours": (soft, {}),
}
runs = {("labels", "triplet, semi-hard"): mining["semi-hard"]}
for source in ("labels", "views"):
    for name, (loss, options) in RUNS.items():
        if (source, name) not in runs:
            runs[source, name] = train_with(source, loss, **options)

# %%
DRAWS = 3  # of 100 labels


def judge(represent, distance=None, probed: bool = True) -> dict:
    """A row of the results table; represent: images -> features [n, D]; distance: images -> what distances are taken of."""
    a, b = represent(train.images), represent(test.images)
    row = {
        "knn": evaluation.knn_accuracy(a, train.labels, b, test.labels),
        "triples": triples_right(lambda images: F.normalize((distance or represent)(images), dim=1)),
        "std": feature_std(b),
    }
    if probed:
        probe = evaluation.label_efficiency(a, train.labels, b, test.labels, per_class=(10,), draws=DRAWS)[0]
        row |= {"probe": probe["mean"], "spread": probe["std"]}
    return row


def judge_run(method, **options) -> dict:
    """Probe and neighbours of the features h; the puzzle's triples in z, where the loss has shaped the distance."""
    return judge(partial(evaluation.extract_features, method.encoder), partial(embed, method), **options)


chance = 1 / len(train.classes)
results = {"chance": {"loss": "a guess", "probe": chance, "knn": chance, "triples": 0.5}}
results["pixels"] = {"loss": "raw pixels"} | judge(evaluation.pixels)
results["untrained"] = {"loss": "untrained encoder"} | judge(partial(evaluation.extract_features, untrained))
for (source, name), (method, _) in runs.items():
    used = len(labelled) if source == "labels" else 0
    results[source, name] = {"loss": name, "source": source, "used": used} | judge_run(method)
HEADINGS = {
    "loss": "loss",
    "source": "who says 'same'",
    "used": "labels used",
    "probe": "probe, 100 labels",
    "spread": f"spread over {DRAWS} draws",
    "knn": "kNN, 1,500 labels",
    "triples": "the puzzle's triples",
    "std": "feature std",
}
FORMATS = {"probe": ".1%", "spread": ".1%", "knn": ".1%", "triples": ".1%", "std": ".2f"}
caption = f"The same losses, two sources of pairs: {STEPS} steps of {ROWS} pictures"
plots.table(list(results.values()), caption, HEADINGS, FORMATS)

# %%
fig, ax = plots.new_figure(7.6, 3.4)
for n, source in enumerate(("labels", "views")):
    where = [m + 0.38 * n for m in range(len(RUNS))]
    probes = [100 * results[source, name]["probe"] for name in RUNS]
    whiskers = [100 * results[source, name]["spread"] for name in RUNS]
    ax.bar(where, probes, 0.36, color=plots.COLORS[n], label=f"pairs from {source}")
    ax.errorbar(where, probes, whiskers, fmt="none", color="black", capsize=3)
for name, style in (("untrained", "--"), ("pixels", "-."), ("chance", ":")):
    ax.axhline(100 * results[name]["probe"], linestyle=style, color=plots.GRAY, linewidth=1, label=name)
ax.set_xticks([m + 0.19 for m in range(len(RUNS))], list(RUNS))
ax.set(
    title="The same losses, with a clerk and without",
    ylabel="probe, 100 labels (%)",
    xlabel="loss",
    ylim=(0, 100),
)
ax.legend(ncols=3, loc="upper left")
plots.show(
    fig,
    alt="Probe accuracy of five losses with pairs from labels and with pairs from views, beside the untrained encoder, raw pixels and chance.",
)
assert results["views", "soft neighbours"]["probe"] > results["untrained"]["probe"] + 0.05
assert results["labels", "soft neighbours"]["probe"] > results["views", "soft neighbours"]["probe"]
assert results["labels", "soft neighbours"]["triples"] > 0.6 > 0.3 > results["pixels"]["triples"]

# %% [markdown]
# Read the rows in pairs. With most losses labels are far ahead: they say directly what the probe will ask. But views cost
# nothing, nothing about the *losses* had to be invented for them, and the probe leaves the untrained encoder and the
# pixels behind. (Nearest neighbours with all 1,500 labels are another matter: pixels are good at that here, and a minute
# of training, not two seconds, beats them; see chapter 13.) Now go back to the puzzle, column "the puzzle's triples": how
# far has each distance come from the pixels' answer, and which passes the coin?
#
# N-pair is the loss to watch, the one that labels help least: with them it sees one pair per class, ten in a batch. With
# views every picture is a class of its own, and the same batch holds 64. That is the door through which
# [CPC](https://arxiv.org/abs/1807.03748) and SimCLR came in.
#
# ### The paradigm shift, row by row
#
# The [Cookbook](https://arxiv.org/abs/2304.12210) (figure 4) sums up in five rows what changed between metric learning
# and contrastive self-supervision. Here is a measurement for each. Four more runs: without the projector, with only 256
# pictures, with labels for five of the ten kinds, and N-pair with the explicit normalisation that the Cookbook calls
# unstable.

# %%


def n_pair_unit(z, y):
    return n_pair_of(z, y, l2=0.0)


extra = {
    "without projector": train_with("views", soft, head=False),
    "256 pictures": train_with("views", soft, pictures=unlabeled[:256]),
    "five kinds": train_with("labels", soft, pictures=labelled[labelled.labels < 5]),
    "N-pair, unit length": train_with("views", n_pair_unit),
}
side = {name: judge_run(method, probed=name != "five kinds") for name, (method, _) in extra.items()}

# %%
unseen = test[test.labels >= 5]


def zero_shot(encoder) -> float:
    """Of the ten nearest neighbours of a picture of an unseen kind, among unseen kinds, how many are of its kind?"""
    return evaluation.precision_at_k(evaluation.extract_features(encoder, unseen.images), unseen.labels, k=10)


zero_shot_of = {
    "pixels": evaluation.precision_at_k(evaluation.pixels(unseen.images), unseen.labels, k=10),
    "untrained": zero_shot(untrained),
    "five kinds": zero_shot(extra["five kinds"][0].encoder),
    "views": zero_shot(runs["views", "soft neighbours"][0].encoder),
}
views_soft, labels_soft = results["views", "soft neighbours"], results["labels", "soft neighbours"]
shift = [
    {"row": "pairs come from", "old": "class labels", "new": "augmentations", "what": "probe",
     "before": labels_soft["probe"], "after": views_soft["probe"]},
    {"row": "negatives", "old": "mined (semi-hard)", "new": "all others in the batch", "what": "probe, pairs from views",
     "before": results["views", "triplet, semi-hard"]["probe"], "after": views_soft["probe"]},
    {"row": "network", "old": "encoder", "new": "encoder + projector", "what": "probe of the encoder",
     "before": side["without projector"]["probe"], "after": views_soft["probe"]},
    {"row": "data", "old": "small (256 pictures)", "new": "large (5,760)", "what": "probe",
     "before": side["256 pictures"]["probe"], "after": views_soft["probe"]},
    {"row": "judged by", "old": "retrieval on unseen kinds", "new": "the same, and probes", "what": "precision at 10, unseen kinds",
     "before": zero_shot_of["five kinds"], "after": zero_shot_of["views"]},
]  # fmt: skip
for row in shift:
    gain = row["after"] - row["before"]
    row["ahead"] = "the new" if gain > 0.05 else "the old" if gain < -0.05 else "a draw"
plots.table(
    shift,
    "The Cookbook's five rows, measured (soft nearest neighbours; left: the old way, right: the new)",
    {"row": "what changed", "old": "metric learning", "new": "contrastive SSL", "what": "measured here",
     "before": "old way", "after": "new way", "ahead": "ahead by 5 points"},
    {"before": ".1%", "after": ".1%"},
)  # fmt: skip
found = ", ".join(f"{name} {value:.1%}" for name, value in zero_shot_of.items())
print(f"Precision at 10 among unseen kinds: {found}; a guess 20%.")

# %% [markdown]
# Look down the last column before you repeat the story: in runs this short, the new way is hardly ever the better one.
# The projector and the amount of data show in long runs, and these last two seconds (chapter 13 and its neighbours return
# to both); the gain of the new way is not in this table at all: it is that its labels cost nothing, so that it *can* be
# run for long, on everything. "Old" and "new" differ in one thing per row here; in the literature they changed together.
# And the last row compares two kinds of knowledge: labels for *other* kinds, or no labels at all.
#
# ## Play: margin and mining
#
# Eighteen points in the plane, three classes, no network: every point follows the force it feels (arrows). Solid lines
# pull the first point, dotted lines push it. Choose a loss, then drag the step. Watch: (1) with the contrastive loss,
# which dissimilar points are left alone? (2) With triplets, how fast does the number that still moves anything fall?
# (3) With the hardest triplets, what happens to the radius of the cloud *first*?

# %%
PAIRS, ALL, SEMI, HARDEST = margin_widget.LOSSES
shown = [(PAIRS, 0), (PAIRS, 30), (ALL, 30), (SEMI, 30), (HARDEST, 6), (HARDEST, 60)]
widgets.explore(
    margin_widget.render,
    margin_widget.controls(),
    static=[{"loss": name, "step": step} for name, step in shown],
    alt=margin_widget.describe,
    captions=[f"{name}, step {step}" for name, step in shown],
    columns=3,
)

# %% [markdown]
# > **Try.** Set the margin to 3 with the contrastive loss: when does the cloud stop growing? Set it to 0.2 with
# > semi-hard triplets: why does nothing move after a few steps, although the classes are hardly apart?

# %% [markdown]
# ## Exercises
#
# Replace `return NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on your answers.
#
# ### 1 · Double centring (•, 5 minutes)
#
# From distances to inner products.
#
# <details><summary>Hint 1</summary>Which power of the distances is linear in the inner products?</details>
# <details><summary>Hint 2</summary>Either two products with $J$, or: subtract row means and column means, and then something has been subtracted twice.</details>

# %%


def my_double_center(distance: torch.Tensor) -> torch.Tensor:
    """[N, N] distances -> [N, N] inner products around the mean"""
    return NOT_ATTEMPTED


ch04.check_double_center(my_double_center)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_double_center(distance):
#     J = torch.eye(len(distance), dtype=distance.dtype) - 1 / len(distance)
#     return -J @ distance**2 @ J / 2
# ```
# </details>
#
# ### 2 · The weights of one point (••, 8 minutes)
#
# LLE's weights for one point and its neighbours, with no more neighbours than dimensions (so without a ridge).
#
# <details><summary>Hint 1</summary>Put the point at the origin: subtract it from its neighbours.</details>
# <details><summary>Hint 2</summary>Solve $C w = \mathbf 1$ with the Gram matrix $C$ of the shifted neighbours.</details>
# <details><summary>Hint 3</summary>The right-hand side stands for $\lambda\mathbf 1$ with an unknown $\lambda$. Which condition fixes it?</details>

# %%


def my_weights(x: torch.Tensor, neighbors: torch.Tensor) -> torch.Tensor:
    """x [D], neighbors [k, D] -> weights [k] of sum 1"""
    return NOT_ATTEMPTED


ch04.check_lle_weights(my_weights)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_weights(x, neighbors):
#     Z = neighbors - x
#     w = torch.linalg.solve(Z @ Z.T, torch.ones(len(Z), dtype=Z.dtype))
#     return w / w.sum()
# ```
# </details>
#
# ### 3 · Agree, and vary (•, 5 minutes)
#
# IMAX's objective for the outputs of two modules.
#
# <details><summary>Hint 1</summary>Two variances and a logarithm.</details>
# <details><summary>Hint 2</summary>Which variance must become small when the modules agree? It is the denominator.</details>

# %%


def my_imax(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a, b [N] -> nats"""
    return NOT_ATTEMPTED


ch04.check_imax(my_imax)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_imax(a, b):
#     return ((a + b).var() / (a - b).var()).log() / 2
# ```
# </details>
#
# ### 4 · The contrastive loss from memory (••, 8 minutes)
#
# The mean over the pairs, with the halves of the paper.
#
# <details><summary>Hint 1</summary>The margin is compared with the distance, not with its square.</details>
# <details><summary>Hint 2</summary>`torch.where(same, ..., ...)`</details>

# %%


def my_contrastive(z1: torch.Tensor, z2: torch.Tensor, same: torch.Tensor, margin: float) -> torch.Tensor:
    """z1, z2 [N, D], same [N] bool -> a scalar"""
    return NOT_ATTEMPTED


ch04.check_contrastive(my_contrastive)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_contrastive(z1, z2, same, margin):
#     d = (z1 - z2).norm(dim=1)
#     return torch.where(same, d**2, F.relu(margin - d) ** 2).mean() / 2
# ```
# </details>
#
# ### 5 · Semi-hard triplets (•••, 15 minutes)
#
# For every ordered pair of the same label: the nearest negative that is farther than the positive, in squared distance.
# The mean of the hinges over all pairs that have one.
#
# <details><summary>Hint 1</summary>All squared distances first, [N, N]; then loop over the pairs, or build [pairs, N].</details>
# <details><summary>Hint 2</summary>Put infinity where a negative is not allowed, then take the minimum.</details>
# <details><summary>Hint 3</summary>A pair without an allowed negative is left out of the mean; a pair whose hinge is zero is not.</details>

# %%


def my_semi_hard(z: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """z [N, D], labels [N] -> a scalar"""
    return NOT_ATTEMPTED


ch04.check_semi_hard(my_semi_hard)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_semi_hard(z, labels, margin):
#     d = (z[:, None] - z).square().sum(dim=2)
#     same = labels[:, None] == labels
#     a, p = (same & ~torch.eye(len(z), dtype=torch.bool)).nonzero().T
#     near = d[a, p]
#     far = d[a].masked_fill(same[a] | (d[a] <= near[:, None]), math.inf).amin(dim=1)
#     has_one = far < math.inf
#     return F.relu(near - far + margin)[has_one].mean()
# ```
# </details>

# %% [markdown]
# ## Claims put to the test
#
# Statements from the literature, each with what this chapter measured. The verdict is computed from the numbers, by a
# rule you can read in the cell. The runs are short and use one seed; a difference counts when it exceeds 3 points of
# kNN accuracy.

# %%
POINTS = 0.03


def verdict(holds: bool, partly: bool = False) -> str:
    return "reproduced" if holds else "mixed" if partly else "not reproduced here"


book.claim(
    "C-22",
    "The triplet loss, as printed in the Cookbook's equation 3, trains an embedding.",
    verdict(printed["spread"] > 0.5 * printed["untrained"]),
    {
        "spread of z": printed["spread"],
        "untrained": printed["untrained"],
        "final loss": printed["loss"],
        "margin": 0.2,
    },
    "balestriero2023cookbook",
)

book.claim(
    "C-24",
    "InfoNCE, N-pair and triplet losses are members of one family with two free functions.",
    verdict(all(family_holds.values()), any(family_holds.values())),
    f"The gradient is that of the loss the row is named after for {', '.join(family_holds)}"
    if all(family_holds.values())
    else f"Gradients equal: {family_holds}",
    "tian2022understanding",
)

better = mined["semi-hard"]["knn"] > mined["random"]["knn"] + POINTS
worse = mined["hardest"]["knn"] < mined["random"]["knn"] - POINTS
book.claim(
    "C-35",
    "Hard negatives improve representations.",
    verdict(better and not worse, better),
    {f"kNN, {how} negatives": row["knn"] for how, row in mined.items()},
    "jaiswal2021survey",
)

raw, unit = results["views", "N-pair"], side["N-pair, unit length"]
book.claim(
    "C-23",
    "Explicit normalisation is unstable in the N-pair loss; a penalty on the length is better.",
    verdict(
        raw["probe"] > unit["probe"] + POINTS and raw["knn"] > unit["knn"] + POINTS,
        raw["knn"] > unit["knn"] + POINTS,
    ),
    {
        "probe, inner products and penalty": raw["probe"],
        "probe, unit length": unit["probe"],
        "kNN, inner products and penalty": raw["knn"],
        "kNN, unit length": unit["knn"],
        "kNN, unit length and temperature 0.1 (soft neighbours)": views_soft["knn"],
    },
    "balestriero2023cookbook",
)

# %% [markdown]
# About the last claim: without normalisation the first loss is huge, because the length of the embedding acts as a
# temperature that nobody has set; with it, two cosines differ by 2 at most, and the softmax over 64 candidates stays
# nearly flat whatever the network does. Neither is unstable here; both have the wrong temperature. Setting it by hand is
# the last step on the way to NT-Xent.
#
# ## Where it comes from, where it went
#
# Maps from distances are older than computers ([Torgerson, 1952](https://doi.org/10.1007/BF02288916), for
# psychologists' tables of judged similarity); in 2000 [LLE](https://doi.org/10.1126/science.290.5500.2323) made them
# local. [Becker and Hinton (1992)](https://doi.org/10.1038/355161a0) put agreement in place of a teacher; their
# ratio of variances lives on in the correlation methods of chapter 16, their information in chapter 13. [Bromley et al.
# (1993)](https://proceedings.neurips.cc/paper/1993/hash/288cc0ff022877bd3df94bc9360b9c5d-Abstract.html) built the two
# branches. Metric learning refined the question for two decades: pairs, triplets (the online, bilinear OASIS of [Chechik
# et al., 2010](https://jmlr.org/papers/v11/chechik10a.html)), tuples, neighbourhoods; a relative asks for the label
# of a *bag* and not of each thing in it, multiple-instance learning ([Dietterich et al.,
# 1997](https://doi.org/10.1016/S0004-3702%2896%2900034-3)). [Musgrave et al. (2020)](https://arxiv.org/abs/2003.08505)
# measured them all under equal conditions, and found much less progress than reported: keep that in mind whenever a
# table compares losses.
#
# The step to self-supervision was taken several times: [Wang and Gupta (2015)](https://arxiv.org/abs/1505.00687) let a
# tracker in a video say "same", with a triplet loss; [Sermanet et al. (2018)](https://arxiv.org/abs/1704.06888) let two
# cameras say it; [Dosovitskiy et al. (2014)](https://arxiv.org/abs/1406.6909) and [Wu et al.
# (2018)](https://arxiv.org/abs/1805.01978) made every picture its own class; [CPC](https://arxiv.org/abs/1807.03748) and
# [SimCLR](https://arxiv.org/abs/2002.05709) kept the softmax of NCA and N-pair. With the labels back in,
# [SupCon](https://arxiv.org/abs/2004.11362) closed the circle.
#
# ### Quiz
#
# **1.** LLE and IMAX both minimise a disagreement that is zero at "everything equal". What does each do against it, and
# where does the remedy stand in its formula?
#
# <details><summary>Answer</summary>LLE demands mean zero and covariance I of the map: a constraint. IMAX divides: the variance of the difference stands over the variance of the sum, so that shrinking both changes nothing. VICReg and Barlow Twins (chapter 16) use the first idea as a penalty.</details>
#
# **2.** A colleague trains with triplets. The loss falls quickly from 0.35 to exactly 0.20 and stays there. Her margin
# is 0.2. What has happened, what would you look at, and what would you change?
#
# <details><summary>Answer</summary>All embeddings are equal, so both distances are 0 and the loss is the margin. Look at the spread of z. Choose semi-hard or random negatives (at least at first), or lower the learning rate.</details>
#
# **3.** Why does N-pair profit more from the step from labels to views than the triplet loss does?
#
# <details><summary>Answer</summary>It allows one pair per class in a batch. With ten labels that is ten pairs, so nine negatives per anchor; with views every picture is a class, and the negatives grow with the batch. A triplet has one negative either way.</details>
