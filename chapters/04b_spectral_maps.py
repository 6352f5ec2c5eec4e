# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04b · Maps from distances: whom do you believe, and what keeps the map from falling into a point?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/04b_spectral_maps.ipynb)
#
# **After this chapter you can**
#
# - turn a table of distances into a map with one eigenproblem (multidimensional scaling, MDS), and a graph of neighbours
#   into a map with another (locally linear embedding, Laplacian eigenmaps);
# - say which of the two coordinates of a sheet such a map finds, before you run it;
# - derive the objective of 1992 that taught a network depth without a label, and predict what else it may learn;
# - learn a metric that is a single matrix, and check it against a baseline that needs no labels.
#
# **You need** eigenvectors. This is an optional companion of [chapter 04](04_learning_distances.ipynb).
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

device = book.setup("04b")

# %% [markdown]
# ## The puzzle: two sheets
#
# Six hundred points lie on a sheet of paper, rolled up in space. You get their distances and want the flat sheet back:
# two numbers per point, how far *along* the roll and how far *across*. There are two such sheets, a long narrow one
# and a broad one.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, evaluation, plots
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch04
from ssl_lessons.data import label_subset
from ssl_lessons.losses import metric
from ssl_lessons.models import embedding


def rolled_sheet(turns: float, width: float, n: int = 600):
    """Points [n, 3] and where they lie on the flat sheet, along and across [n, 2]."""
    g = torch.Generator().manual_seed(0)
    u, h = torch.rand(2, n, generator=g, dtype=torch.float64)
    t = math.pi * (1.5 + 2 * turns * u)
    along = (t * (1 + t**2).sqrt() + t.asinh()) / 2  # length of the spiral
    points = torch.stack([t * t.cos(), width * h, t * t.sin()], dim=1)
    return points, torch.stack([along, width * h], dim=1)


SHEETS = {"narrow": rolled_sheet(1.5, 20.0), "broad": rolled_sheet(1.0, 40.0)}

# %% tags=["hide-input"]
fig = plots.new_figure(8.0, 3.2)[0]
fig.clf()
for n, (name, (x, flat)) in enumerate(SHEETS.items()):
    ax = fig.add_subplot(1, 2, n + 1, projection="3d")
    ax.scatter(*x.T, c=flat[:, 0], cmap="viridis", s=6)
    size = (flat.max(dim=0).values - flat.min(dim=0).values).tolist()
    ax.set_title(f"The {name} sheet: {size[0]:.0f} long, {size[1]:.0f} wide")
    ax.set(xlabel="x1", ylabel="x2", zlabel="x3")
plots.show(fig, alt="Two rolled-up sheets of points, coloured along the roll.")

# %% [markdown]
# > **Predict before you go on.** Four methods follow: MDS believes all distances alike; Isomap, LLE and Laplacian eigenmaps
# > believe only the near ones. Each gives two coordinates per point, for each sheet. In which of the eight maps can you
# > read *both* numbers, along and across? (A coin for each: all eight right in one of 256 cases.)
#
# "Read" means: what a straight line through the map explains, $R^2$, 1 for all and 0 for nothing.


# %%
def r2(features, target):
    """How much of each column of the target [N, m] a linear function explains: [m]."""
    design = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
    rest = target - design @ torch.linalg.lstsq(design, target).solution
    return 1 - rest.square().sum(0) / (target - target.mean(0)).square().sum(0)


# %% [markdown]
# ## Step 1: believe all distances
#
# You get a table: $\delta_{ij}$, the distance of thing $i$ from thing $j$. If there is a configuration $x_1,\dots,x_N$ with
# these distances, put its mean at the origin and look at the inner products $b_{ij} = x_i^\top x_j$:
#
# $$\delta_{ij}^2 = \|x_i - x_j\|^2 = b_{ii} + b_{jj} - 2 b_{ij}.$$
#
# The first term is constant along row $i$, the second along column $j$. Subtract every row's and every column's mean, and
# both are gone; because the mean of all $x$ is zero, $\sum_j b_{ij} = 0$, and nothing is lost of the third. With $J = I -
# \tfrac1N \mathbf 1\mathbf 1^\top$ (multiplying by $J$ subtracts means), $\Delta$ the matrix of squared distances $[N, N]$
# and $X$ the points $[N, D]$:
#
# $$B = -\tfrac12\, J\, \Delta J, \qquad B = X X^\top.$$
#
# The eigenvectors of $B$, each times the root of its eigenvalue, are coordinates; the two largest give the best flat map.
# This is **classical multidimensional scaling** ([Torgerson, 1952](https://doi.org/10.1007/BF02288916); the book is [Cox
# and Cox, 2000](https://doi.org/10.1201/9780367801700)).


# %%
def my_mds(distance, dim=2):
    """Distances [N, N] -> coordinates [N, dim], eigenvalues, largest first."""
    J = torch.eye(len(distance), dtype=distance.dtype) - 1 / len(distance)
    values, vectors = torch.linalg.eigh(-J @ distance**2 @ J / 2)  # increasing
    return (vectors[:, -dim:] * values[-dim:].sqrt()).flip(1), values.flip(0)


def up_to_sign(a, b, atol=1e-6):
    """Eigenvectors have no sign: equal columns, each possibly turned round."""
    off = [min((x - y).abs().max(), (x + y).abs().max()) for x, y in zip(a.T, b.T)]
    return bool(max(off) < atol)


# %%
# NBVAL_CHECK_OUTPUT
digits = data.digits("train", n=300)
X = digits.images[:, 0].flatten(1).double() / 255  # [300, 64]
table = embedding.distances(X)
flat_digits, eigenvalues = my_mds(table)
_, _, axes = torch.linalg.svd(X - X.mean(0), full_matrices=False)
pca = (X - X.mean(0)) @ axes[:2].T
whole = embedding.classical_mds(table, 64)[0]
print(
    "agrees with the package:",
    up_to_sign(flat_digits, embedding.classical_mds(table)[0]),
)
print("on plain distances it is PCA:", up_to_sign(flat_digits, pca))
print("in all 64 dimensions it is exact:", embedding.stress(table, whole) < 1e-6)

# %% [markdown]
# So on plain distances MDS tells you nothing that principal component analysis (PCA) did not. Its point is that it never
# asked for coordinates: travel times, ratings of similarity, letters in which two words differ, any table will do. And if
# some eigenvalues are clearly *negative*, no set of points has these distances.
#
# What does it preserve? *All* distances alike, and as the big ones have the big squares, mostly the big ones. Watch what
# that means for pictures: a small cat walks over a plain ground. Two numbers say all about each picture.


# %%
def walking_cat(n=400, reach=0.6):
    """Grey pictures [n, 1024] of one cat at n places, and the places [n, 2]."""
    one = {k: v[:1].repeat(n) for k, v in data.sample_factors(1, seed=4).items()}
    g = torch.Generator().manual_seed(1)
    place = reach * (2 * torch.rand(n, 2, generator=g) - 1)
    plain = {
        "kind": torch.full((n,), 3), "rotation": torch.zeros(n),
        "scale": torch.full((n,), 0.4), "background_texture": torch.zeros(n).long(),
    }  # fmt: skip
    pictures = data.render(one | plain | {"x": place[:, 0], "y": place[:, 1]})
    return pictures.double().mean(dim=1).flatten(1) / 255, place.double()


walk, place = walking_cat()
upper = torch.triu_indices(400, 400, 1).unbind()
gap = embedding.distances(walk)[upper]  # between pictures
step = embedding.distances(place)[upper]  # between places

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.0, 2.6)
ax.plot(step[::8], gap[::8], ".", markersize=1.5, color=plots.COLORS[0])
ax.set(
    title="Pixel distance knows near from far, and nothing beyond",
    xlabel="how far the cat has walked (half image widths)",
    ylabel="pixel distance",
)
plots.show(
    fig,
    alt="Pixel distance of two pictures against how far the cat moved between them: a "
    "steep rise at small moves, then a plateau.",
)
close, far = step < 0.2, step > 0.6
follow = [
    torch.corrcoef(torch.stack([step[m], gap[m]]))[0, 1].item() for m in (close, far)
]
print(
    f"correlation with the walk: {follow[0]:.2f} below 0.2, {follow[1]:.2f} beyond 0.6"
)
assert follow[0] > 0.6 > 0.35 > abs(follow[1])

# %% [markdown]
# Once the two cats no longer overlap, all distances are nearly the same: a big distance says "far" and not how far. A
# method that preserves mostly the big distances preserves the part that says nothing.
#
# ## Step 2: believe only the near ones
#
# **Isomap** ([Tenenbaum et al., 2000](https://doi.org/10.1126/science.290.5500.2319)) keeps the distances to the $k$
# nearest neighbours and replaces all others by the length of the shortest path from neighbour to neighbour. Then MDS.
#
# **Locally linear embedding** (LLE, [Roweis and Saul, 2000](https://doi.org/10.1126/science.290.5500.2323)) keeps no
# distance at all. Let $\mathcal N(i)$ be the $k$ nearest neighbours of $x_i$. On a smooth sheet $x_i$ is nearly a weighted
# mean of its neighbours:
#
# $$\min_w\; \Big\|x_i - \sum_{j\in\mathcal N(i)} w_{ij} x_j\Big\|^2 \quad\text{such that}\quad \sum_j w_{ij} = 1.$$
#
# Because the weights sum to 1, the cost is $\|\sum_j w_{ij}(x_i - x_j)\|^2 = w^\top C w$ with $C_{jl} = (x_j -
# x_i)^\top(x_l - x_i)$. Lagrange: solve $C w = \mathbf 1$, divide by the sum. These weights do not change when you turn,
# move or scale the patch: they describe the *sheet*, not the room it hangs in. Then find the flat map $y$, rows of $Y$
# $[N, 2]$, in which every point keeps its weights:
#
# $$\min_Y \sum_i \Big\|y_i - \sum_j w_{ij} y_j\Big\|^2 = \min_Y \operatorname{tr}\, Y^\top (I - W)^\top (I - W)\, Y, \qquad \textstyle\sum_i y_i = 0,\quad \tfrac1N Y^\top Y = I.$$
#
# The constraints are the interesting part. Without them the answer is $Y = 0$: everything at one point, cost zero. **This
# is the collapse that half of this book fights, and the remedy of the year 2000 is that of [chapter
# 16](16_correlation.ipynb)**: mean zero, covariance the identity. With them, the answer is the eigenvectors of the smallest
# eigenvalues, but for the first (the constant).
#
# **Laplacian eigenmaps** ([Belkin and Niyogi, 2003](https://doi.org/10.1162/089976603321780317)) ask even less: neighbours
# shall be near. With $a_{ij} = 1$ for neighbours, else 0, and $g_i = \sum_j a_{ij}$:
#
# $$\min_Y \sum_{ij} a_{ij}\,\|y_i - y_j\|^2 \quad\text{such that}\quad Y^\top G Y = I,\quad Y^\top G \mathbf 1 = 0,\quad G = \operatorname{diag}(g).$$
#
# (Without the second constraint the constant vector would win, at cost 0.) Read it as a siamese network without a network: pull what belongs together, and forbid the point by a constraint.


# %%
def my_lle(x, k=8, dim=2, ridge=1e-3):
    """Points [N, D] -> map [N, dim]."""
    W = torch.zeros(len(x), len(x), dtype=x.dtype)
    for i, neighbours in enumerate(embedding.nearest_neighbors(x, k)):
        Z = x[neighbours] - x[i]
        C = Z @ Z.T  # singular with more neighbours than dimensions: add a ridge
        C = C + ridge * C.trace() * torch.eye(k)
        w = torch.linalg.solve(C, torch.ones(k, dtype=x.dtype))
        W[i, neighbours] = w / w.sum()
    R = torch.eye(len(x), dtype=x.dtype) - W
    return torch.linalg.eigh(R.T @ R)[1][:, 1 : dim + 1] * len(x) ** 0.5


def my_eigenmaps(x, k=8, dim=2):
    A = torch.zeros(len(x), len(x), dtype=x.dtype)
    A.scatter_(1, embedding.nearest_neighbors(x, k), 1.0)
    A = torch.maximum(A, A.T)  # neighbours in either direction
    g = A.sum(dim=1)
    scaled = torch.eye(len(x)) - A / (g[:, None] * g).sqrt()  # G^-1/2 (G - A) G^-1/2
    y = torch.linalg.eigh(scaled)[1][:, 1 : dim + 1] / g.sqrt()[:, None]
    return y * g.sum().sqrt()


# %%
# NBVAL_CHECK_OUTPUT
from sklearn.manifold import LocallyLinearEmbedding

cat_lle, cat_maps = my_lle(walk), my_eigenmaps(walk)
learner = LocallyLinearEmbedding(n_neighbors=8, n_components=2, eigen_solver="dense")
sklearn = torch.from_numpy(learner.fit_transform(walk.numpy())) * 400**0.5
print(
    "LLE agrees with the package:", up_to_sign(cat_lle, embedding.lle(walk, 8)[0], 1e-4)
)
print("and with scikit-learn:", up_to_sign(cat_lle, sklearn, 1e-3))
ours = embedding.laplacian_eigenmaps(walk, 8)
print("eigenmaps agree with the package:", up_to_sign(cat_maps, ours, 1e-4))

# %%
METHODS = {
    "MDS": lambda x: my_mds(embedding.distances(x))[0],
    "Isomap": lambda x: embedding.isomap(x, 8),
    "LLE": my_lle,
    "eigenmaps": my_eigenmaps,
}
maps = {(s, m): f(x) for s, (x, _) in SHEETS.items() for m, f in METHODS.items()}
read = {(s, m): r2(y, SHEETS[s][1]).tolist() for (s, m), y in maps.items()}
for name, f in METHODS.items():
    read["cat", name] = r2(f(walk), place).tolist()
noise = torch.randn(600, 2, generator=torch.Generator().manual_seed(0)).double()
read["narrow", "two random numbers"] = r2(noise, SHEETS["narrow"][1]).tolist()

# %% tags=["hide-input"]
rows = []
for m in (*METHODS, "two random numbers"):
    row = {"method": m}
    for s in ("narrow", "broad", "cat"):
        if (s, m) in read:
            row |= {f"{s}{i}": value for i, value in enumerate(read[s, m])}
    rows.append(row)
plots.table(
    rows,
    "R2: what can be read from a map of two dimensions, 8 neighbours (one draw)",
    {"method": "map", "narrow0": "narrow: along", "narrow1": "narrow: across",
     "broad0": "broad: along", "broad1": "broad: across",
     "cat0": "cat: to the right", "cat1": "cat: up"},
    ".2f",
)  # fmt: skip
fig, axes = plots.new_figure(9.4, 2.9, 1, 4)
for ax, (s, m) in zip(
    axes,
    [("narrow", "MDS"), ("narrow", "LLE"), ("broad", "LLE"), ("broad", "eigenmaps")],
):
    ax.scatter(*maps[s, m].T, c=SHEETS[s][1][:, 0], cmap="viridis", s=5)
    ax.set_title(
        f"{m}, {s}:\nalong {read[s, m][0]:.2f}, across {read[s, m][1]:.2f}", fontsize=9
    )
    ax.set(xlabel="y1", xticks=[], yticks=[])
axes[0].set_ylabel("y2")
plots.show(
    fig,
    alt="Four maps, coloured along the sheet. MDS of the narrow sheet is a spiral. "
    "LLE of the narrow sheet is a thin curve. LLE and eigenmaps of the broad sheet are "
    "filled areas with the colours in order.",
)

# %%
both = {key for key, values in read.items() if min(values) > 0.75}
assert {("narrow", "Isomap"), ("broad", "Isomap"), ("broad", "LLE")} <= both
assert ("broad", "eigenmaps") in both and len(both - {("cat", m) for m in METHODS}) == 4
assert min(read["cat", "Isomap"] + read["cat", "eigenmaps"]) > 0.9
assert max(read["cat", "MDS"]) < 0.9 and max(read["cat", "LLE"]) < 0.93
assert max(read["narrow", "MDS"]) < 0.3 and read["broad", "MDS"][0] < 0.7
for m in ("LLE", "eigenmaps"):
    assert read["narrow", m][0] > 0.9 and read["narrow", m][1] < 0.3

# %% [markdown]
# Four of the eight maps show both: Isomap's two, and those of LLE and eigenmaps on the *broad* sheet. MDS leaves the
# roll a roll. On the narrow sheet LLE and eigenmaps unroll **one** of the two dimensions and know next to nothing of
# the other: LLE's map is a thin curve.
#
# Why? Both look for the *smoothest* functions on the sheet. On a strip of length $\ell$ and width $b$ those are waves; the
# cost of one with $p$ half waves along and $q$ across grows with $(p/\ell)^2 + (q/b)^2$. The smoothest is $(1, 0)$:
# along. Next comes $(2, 0)$, a function of the same coordinate, unless $(0, 1)$ costs less: $1/b < 2/\ell$. **A sheet more
# than twice as long as wide loses its width.** The constraint that forbids the point is to blame: it asks for uncorrelated
# coordinates, and a bent copy is uncorrelated ([Goldberg et al., 2008](https://arxiv.org/abs/0806.2646) prove the price of
# normalisation). It returns as *dimensional* collapse in [chapter 20](20_collapse.ipynb).
#
# And the cat? Its walk is a square, no strip. MDS, which believes the plateau, loses a good part of both numbers; Isomap
# and eigenmaps, which believe small steps only, read off nearly all of both, out of a thousand pixels and with nobody
# saying what moves. LLE does worse than they do: one pixel's step turns every outline over, so that a picture is a poor
# weighted mean of its neighbours. (One draw of points each; another number of neighbours changes the second decimals, and
# sometimes more, as you see next.)
#
# ### What goes wrong: one short cut
#
# Isomap looks like the winner. Give it ten neighbours instead of eight.

# %%
for k in (8, 10):
    along, across = r2(embedding.isomap(SHEETS["narrow"][0], k), SHEETS["narrow"][1])
    print(
        f"Isomap, {k} neighbours, narrow sheet: along {along:.2f}, across {across:.2f}"
    )
assert across < 0.3
x, flat = SHEETS["narrow"]
edge = flat[embedding.nearest_neighbors(x, 10)] - flat[:, None]
jumps = int((edge.norm(dim=2) > 20).sum())
print(f"of {edge[..., 0].numel():,} neighbour relations, wrong: {jumps}")
assert 1 <= jumps < 6

# %% [markdown]
# So few of 6,000 relations lead from one layer of the roll to the next, and every path that they shorten takes them: the
# map across is gone. Whoever believes neighbours must have the right ones.
#
# ### What a neighbour graph of pictures knows
#
# On real handwritten digits, and in our picture world where everything varies at once: what do the ten nearest neighbours
# in pixel space have in common?

# %%
test = data.shapes("test", n=500)


def agreement(x, values):
    """How often a neighbour has the same value [N], and a random other picture."""
    same = values[embedding.nearest_neighbors(x, 10)] == values[:, None]
    share = torch.bincount(values).double() / len(values)
    return {"same": same.double().mean().item(), "chance": share.square().sum().item()}


pixels = evaluation.pixels(test.images)
graph = {"digits: the same digit?": agreement(X, digits.labels)}
for factor, question in {
    "kind": "picture world: the same kind of object?",
    "polarity": "picture world: both light on dark, or both dark on light?",
    "background_texture": "picture world: the same background texture?",
}.items():
    graph[question] = agreement(pixels, test.factors[factor].values)

# %% tags=["hide-input"]
plots.table(
    [{"question": q} | row for q, row in graph.items()],
    "What ten nearest neighbours in pixel space agree on",
    {
        "question": "question",
        "same": "a neighbour agrees",
        "chance": "a random picture",
    },
    ".1%",
)
digit, kind, polarity, _ = (row["same"] for row in graph.values())
assert digit > 0.8 and kind < 0.35 and polarity > 0.65

# %% [markdown]
# For the digits the graph is gold: they are centred, of one size, bright on dark. In the picture world the neighbours agree
# on whether the ground is dark, and about the object they are wrong most of the time. No eigenvector repairs that: **the
# map is as good as the answer to "who is near", and so far only pixels were asked.**
#
# ## Step 3: ask the patch next door (1992)
#
# [Becker and Hinton (1992)](https://doi.org/10.1038/355161a0) asked somebody else. Two small modules look at two
# *neighbouring patches*. The dots on the patches are unrelated, but both usually belong to one surface and share its depth.
# Nobody tells the modules. They only get the rule: **say something on which you both agree**. From random dots they
# discovered depth.
#
# In miniature: the left eye sees a strip of dots, the right eye the same dots shifted by the *disparity*, which tells the
# depth. A module gets the two strips of its patch, 20 numbers, of which no weighted sum says anything about the shift.

# %%
WIDTH = 10  # pixels per eye


def stereo_patch(shift, g, dots=6):
    """Left and right strip of fresh dots at disparities `shift` [n]: [n, 2 WIDTH]."""
    spot = (WIDTH + 6) * torch.rand(len(shift), dots, generator=g) - 3
    sign = torch.randn(len(shift), dots, generator=g).sign()[:, :, None]
    x = torch.arange(WIDTH).float()

    def eye(by):
        away = x - (spot + by[:, None])[:, :, None]  # [n, dots, WIDTH]
        return (sign * (-away.square()).exp()).sum(dim=1)

    return torch.cat([eye(-shift / 2), eye(shift / 2)], dim=1)


def surfaces(n, seed, lamp=0.0):
    """Two neighbouring patches of n surfaces [n, 20] each, disparity, brightness."""
    g = torch.Generator().manual_seed(seed)
    shift = 4 * torch.rand(n, generator=g) - 2
    light = lamp * torch.randn(n, generator=g)
    a, b = (stereo_patch(shift, g) + light[:, None] for _ in range(2))
    return a, b, shift, light


# %% [markdown]
# Let $a$ and $b$ be the two outputs, one number each. To ask only that $\mathbb E (a - b)^2$ be small gives $a = b = 0$: the
# point, again. What you want is that the outputs *tell* something. Suppose both are a common signal plus noise of their
# own, $a = s + \epsilon_a$, $b = s + \epsilon_b$, all Gaussian, with variances $\sigma_s^2$ and $\sigma^2$. The best joint
# report is the mean, which holds the signal and noise of variance $\sigma^2/2$; with $V$ for variances,
#
# $$I\Big(\tfrac{a+b}2;\, s\Big) = \tfrac12\log\Big(1 + \frac{\sigma_s^2}{\sigma^2/2}\Big) = \tfrac12\log\frac{4\sigma_s^2 + 2\sigma^2}{2\sigma^2} = \boxed{\tfrac12\log\frac{V(a + b)}{V(a - b)}}$$
#
# The unknown $s$ has dropped out; what is left can be measured. *Agree* (make $V(a - b)$ small) *and vary* (keep $V(a +
# b)$ large). Scaling both outputs changes nothing: here a ratio forbids the point, where LLE has a constraint. With equal
# variances and correlation $r$ it is $\operatorname{artanh} r$. The method is called IMAX.


# %%
def imax(a, b):
    """Outputs [N], [N] -> nats."""
    return ((a + b).var() / (a - b).var()).log() / 2


@torch.no_grad()
def correlations(module, lamp):
    a, _, shift, light = surfaces(2000, seed=2, lamp=lamp)
    out = module(a)
    r = torch.corrcoef(torch.stack([out, shift, light + 1e-9 * shift]))[0].abs()
    return {"depth": r[1].item(), "light": r[2].item(), "std": out.std().item()}


def teach(loss, lamp=0.0, steps=200, batch=500):
    """One module for both patches, strips [N, 20] -> [N]; what its output follows."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(2 * WIDTH, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, 1), nn.Flatten(0),
    )  # fmt: skip
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    a, b, _, _ = surfaces(10_000, seed=1, lamp=lamp)
    for _ in range(steps):
        pick = torch.randint(len(a), (batch,))
        optimizer.zero_grad()
        loss(*module(torch.cat([a[pick], b[pick]])).chunk(2)).backward()
        optimizer.step()
    return correlations(module, lamp)


# %%
taught = {
    "untrained": teach(lambda a, b: -imax(a, b), steps=0),
    "agree and vary (IMAX)": teach(lambda a, b: -imax(a, b)),
    "only agree (squared difference)": teach(lambda a, b: (a - b).square().mean()),
    "IMAX, a faint lamp flickers": teach(lambda a, b: -imax(a, b), lamp=0.3),
    "IMAX, a bright lamp flickers": teach(lambda a, b: -imax(a, b), lamp=2.0),
}
a_new, _, shift, _ = surfaces(4000, seed=3)
best_sum = r2(a_new.double(), shift[:, None].double()).clamp(min=0).sqrt().item()

# %% tags=["hide-input"]
rows = [
    {"who": "best weighted sum of pixels, fitted to the true depth", "depth": best_sum}
]
for who, row in taught.items():
    rows.append(
        {"who": who} | {k: v for k, v in row.items() if k != "light" or "lamp" in who}
    )
plots.table(
    rows,
    "What the output of a module follows, on new surfaces (0: nothing, 1: exactly)",
    {
        "who": "module",
        "depth": "|correlation| with depth",
        "light": "with the light",
        "std": "std",
    },
    {"depth": ".2f", "light": ".2f", "std": ".4f"},
)
_, imax_row, flat_row, faint, bright = taught.values()
assert imax_row["depth"] > 0.7 > 0.3 > best_sum and flat_row["std"] < 0.05
assert bright["light"] > 0.8 > 0.4 > bright["depth"]
assert faint["depth"] > 0.7 > 0.4 > faint["light"]

# %% [markdown]
# Three lessons that return in this book. Agreement between two views of one thing is a teacher. Agreement *alone*
# collapses: "only agree" ends at a point. And when two things are shared, the one that is *easier to agree on*
# is learned: a bright lamp wins over depth, a faint one, drowned in the dots, does not. Replace the lamp by the colour of a
# photograph, and you have the reason for colour jitter. (One seed; where the change happens depends on the dots.)
#
# ## Step 4: a metric is a matrix
#
# Before deep networks the network was a single matrix. For any $M$, $[D, D]$,
#
# $$d(x, x')^2 = \|M x - M x'\|^2 = (x - x')^\top M^\top M\,(x - x')$$
#
# is a **Mahalanobis distance**. So learning a metric is learning a linear encoder $z = Mx$. What should it do?
#
# - Nothing with labels: **whiten**, $M = C^{-1/2}$ with $C$ the covariance of all pictures. All directions count alike.
# - Whiten *within classes*: $C$ the covariance around the class means. Directions in which equals differ count little.
# - **Pairs**, [Xing et al. (2002)](https://papers.nips.cc/paper_files/paper/2002/hash/c3e4035af2a1cde9f21e1ae1951ac80b-Abstract.html):
#   similar pairs near, while the dissimilar ones keep a total distance: $\sum_\text{sim} \|z - z'\|^2 - \log \sum_\text{dis} \|z - z'\|$.
# - **Push and pull**, large margin nearest neighbours (LMNN, [Weinberger and Saul,
#   2009](https://jmlr.org/papers/v10/weinberger09a.html)): pull the $k$ nearest of the own class (the *targets*), push
#   those of another class who stand nearer than a target plus a margin: the triplet loss, before the networks.
# - **Soft neighbours**, neighbourhood components analysis (NCA, [Goldberger et al.,
#   2004](https://papers.nips.cc/paper_files/paper/2004/hash/42fe880812925e520249e808937738d2-Abstract.html)): let point $i$
#   pick *one* neighbour at random, near ones more likely, and maximise how often it has the right label $c$:
#   $$p_{ij} = \frac{e^{-\|z_i - z_j\|^2}}{\sum_{k\ne i} e^{-\|z_i - z_k\|^2}}, \qquad L_\text{NCA} = 1 - \frac1N\sum_i \sum_{j \ne i,\ c_j = c_i} p_{ij}.$$
#
# Here the softmax over distances enters metric learning (stochastic neighbour embedding had used it for maps in 2002);
# [chapter 04](04_learning_distances.ipynb) follows it to SimCLR. (Equation 2 of
# [Balestriero et al., 2023](https://arxiv.org/abs/2304.12210), figure 2, sums its denominator over *all* pairs of the batch, a
# point with itself included: then it is not a probability of anything that $i$ could pick.)


# %%
def squared(z):
    """All squared distances [N, N], fast; tiny ones drown in rounding."""
    length = z.square().sum(dim=1)
    return (length[:, None] + length - 2 * z @ z.T).clamp(min=0)


def my_lmnn(z, c, targets):
    """z [N, D], labels [N], targets [N, k]; pull and push weigh the same."""
    d2 = squared(z)
    pull = d2.gather(1, targets)
    push = F.relu(1 + pull[:, :, None] - d2[:, None, :])
    push = push * (c[:, None] != c)[:, None, :]
    return (pull.sum() + push.sum()) / 2 / len(z)


def my_nca(z, c):
    """z [N, D], labels [N]."""
    p = (-squared(z)).fill_diagonal_(-math.inf).softmax(dim=1)
    return 1 - (p * (c[:, None] == c)).sum(dim=1).mean()


g = torch.Generator().manual_seed(0)
z, c = torch.randn(20, 3, generator=g, dtype=torch.float64), torch.arange(20) % 4
near = embedding.target_neighbors(z, c, k=2)
assert torch.allclose(my_nca(z, c), metric.nca(z, c))
assert torch.allclose(my_lmnn(z, c, near), embedding.lmnn(z, c, near))

# %% [markdown]
# The test bed: real digits on a badly lit table. Each gets a brightness ramp stronger than the digit. 300 carry a label.
#
# > **Predict.** Five metrics: order them by how often three nearest neighbours then find the right digit. (Right by
# > luck: once in 120.)


# %%
def badly_lit(images, seed):
    """Digits [N, 64] plus ramps: left-right, up-down, twisted, and overall."""
    v, u = torch.meshgrid(*2 * [torch.linspace(-1, 1, 8)], indexing="ij")
    ramps = torch.stack([u, v, u * v, torch.ones_like(u)]).flatten(1).double()
    g = torch.Generator().manual_seed(seed)
    strength = torch.randn(len(images), 4, generator=g, dtype=torch.float64)
    return images.images[:, 0].flatten(1).double() / 255 + strength @ ramps


def nearest_accuracy(M, chosen):
    """Majority of the 3 nearest of the 300 labelled digits, on 500 test digits."""
    away = torch.cdist(lit_test @ M.T, lit_train[chosen] @ M.T)
    votes = all_train.labels[chosen][away.topk(3, largest=False).indices]
    winner = F.one_hot(votes, 10).sum(dim=1).argmax(dim=1)
    return (winner == all_test.labels).double().mean().item()


def inverse_root(covariance):
    values, vectors = torch.linalg.eigh(covariance + 1e-3 * EYE)
    return vectors @ torch.diag(values**-0.5) @ vectors.T


def descend(loss, start, lr, steps=80):
    """Gradient descent on M [64, 64] for loss(M)."""
    M = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([M], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(M).backward()
        optimizer.step()
    return M.detach()


# %%
EYE, DRAWS = torch.eye(64, dtype=torch.float64), 3
all_train, all_test = data.digits("train"), data.digits("test")
lit_train, lit_test = badly_lit(all_train, 0), badly_lit(all_test, 1)


def metrics_for(chosen):
    """The metrics learned from the labelled digits `chosen` [300]."""
    x, c = lit_train[chosen], all_train.labels[chosen]
    means = torch.stack([x[c == k].mean(dim=0) for k in range(10)])
    i, j = torch.triu_indices(300, 300, 1)
    luck = torch.rand(len(i), generator=torch.Generator().manual_seed(0)) < 0.05
    keep = (c[i] == c[j]) | luck
    i, j = i[keep], j[keep]
    targets = embedding.target_neighbors(x, c, k=3)
    return {
        "Euclidean": EYE,
        "whitened (no labels)": inverse_root(torch.cov(lit_train.T)),
        "whitened within classes": inverse_root(torch.cov((x - means[c]).T)),
        "Xing: pairs": descend(
            lambda M: embedding.side_information(x[i] @ M.T, x[j] @ M.T, c[i] == c[j]),
            0.1 * EYE, lr=0.01),
        "LMNN: push and pull": descend(
            lambda M: my_lmnn(x @ M.T, c, targets), EYE, lr=0.01),
        "NCA: soft neighbours": descend(lambda M: my_nca(x @ M.T, c), EYE, lr=0.02),
    }  # fmt: skip


# %%
accuracy = {}
for draw in range(DRAWS):
    chosen = label_subset(all_train.labels, 30, seed=draw)
    for name, M in metrics_for(chosen).items():
        accuracy.setdefault(name, []).append(nearest_accuracy(M, chosen))

# %% tags=["hide-input"]
score = {name: sum(values) / DRAWS for name, values in accuracy.items()}
plots.table(
    [{"metric": "a guess", "accuracy": 0.1}]
    + [
        {"metric": n, "accuracy": score[n], "low": min(v), "high": max(v)}
        for n, v in accuracy.items()
    ],
    f"Badly lit digits, 3 nearest among 300 labelled ones, {DRAWS} draws of labels",
    {
        "metric": "distance",
        "accuracy": "mean accuracy",
        "low": "lowest",
        "high": "highest",
    },
    ".1%",
)
learned = ("Xing: pairs", "LMNN: push and pull", "NCA: soft neighbours")
assert min(score[n] for n in learned) > score["Euclidean"] + 0.05
assert score["whitened (no labels)"] > score["Euclidean"] + 0.5
assert score["NCA: soft neighbours"] == min(score[n] for n in learned)
assert score["NCA: soft neighbours"] < score["whitened (no labels)"] + 0.08
assert score["whitened within classes"] > max(score[n] for n in learned) - 0.01

# %% [markdown]
# Baselines first: a closed form of one line, whitening within classes, is about as good as the best of the matrices that
# were learned by gradient descent, and whitening *without any label* brings most of the way: it comes close to NCA, the
# last of the learned ones after 80 steps. The reason is the test bed. The ramps are four directions of huge variance in
# which equals differ, and every method here has to find and shrink just those. What the table does not show: a problem in
# which the useful directions are not a matter of variance. For those people took networks.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Tensors are float32 here; float64 is accepted. Solutions
# stand at the end; skipping one breaks nothing.
#
# ### 1 · Is there such a map? (••, 8 minutes)
# `distance` is a symmetric float tensor `[N, N]` with zeros on the diagonal. Return an int: how many dimensions the
# points need that have exactly these distances, or -1 if no points have them. Count an eigenvalue as zero if its absolute
# value is below a thousandth of the largest.
#
# <details><summary>Hint 1</summary>Step 1 turns the table into inner products around the mean.</details>
# <details><summary>Hint 2</summary>A matrix of inner products has no negative eigenvalue. What is its rank?</details>


# %%
def dimensions_needed(distance):
    return NOT_ATTEMPTED


ch04.check_dimensions_needed(dimensions_needed)

# %% [markdown]
# ### 2 · Which wave comes next? (••, 8 minutes)
# A flat sheet is `length` long and `width` wide (floats, `length >= width`). Laplacian eigenmaps with a map of `dim`
# dimensions (an int) find the `dim` smoothest waves $(p, q) \ne (0, 0)$, $p, q = 0, 1, 2, \dots$. What is the smallest
# `dim` in whose map some coordinate depends on the position *across*? Return an int. (Then compare with the narrow sheet
# above, 89 long and 20 wide.)
#
# <details><summary>Hint</summary>How many waves $(p, 0)$ are cheaper than $(0, 1)$? A tie counts as found in
# time.</details>


# %%
def map_with_width(length, width):
    return NOT_ATTEMPTED


ch04.check_map_with_width(map_with_width)

# %% [markdown]
# ### 3 · What will it learn? (•, 6 minutes)
# Two linear modules look at neighbouring patches. Feature $k$ of a patch is a part that both patches share, of variance
# `shared[k]`, plus a part of its own, of variance `own[k]` (float tensors `[K]`, all independent, above 0). Which single
# feature maximises IMAX, and how many nats does it give? Return a tuple `(index, nats)`, an int and a float. (First
# guess: the feature of the largest variance?)
#
# <details><summary>Hint</summary>$V(a + b)$ holds the shared part twice, so four times its variance.</details>


# %%
def what_is_learned(shared, own):
    return NOT_ATTEMPTED


ch04.check_what_is_learned(what_is_learned)

# %% [markdown]
# ## Where it comes from, where it went
#
# Maps from distances are older than computers (Torgerson's were for psychologists' tables of judged similarity); in 2000
# Isomap and LLE made them local, with one eigenproblem each, no network and no new picture: the map is a table. A siamese
# network with a pair loss is its parametric form ([Hadsell et al., 2006](https://doi.org/10.1109/CVPR.2006.100), say so in
# the title: "Dimensionality Reduction by Learning an Invariant Mapping"). IMAX's ratio of variances lives on in the
# correlation methods of [chapter 16](16_correlation.ipynb); and in [HaoChen et al.
# (2021)](https://arxiv.org/abs/2106.04156) contrastive learning itself becomes a spectral method, on the graph whose edges
# join two views of one picture. An online, bilinear relative of LMNN is OASIS ([Chechik et al.,
# 2010](https://jmlr.org/papers/v11/chechik10a.html)); another relative asks for the label of a *bag* and not of each thing
# in it, multiple-instance learning ([Dietterich et al., 1997](https://doi.org/10.1016/S0004-3702%2896%2900034-3)).
#
# ## A question
#
# LLE, eigenmaps and IMAX all minimise a disagreement that is zero at "everything equal". What does each do against it, and
# where does the remedy stand in its formula?
# <details><summary>Answer</summary>LLE and eigenmaps demand uncorrelated coordinates of fixed variance: a constraint. IMAX
# divides: the variance of the difference stands over the variance of the sum, so that shrinking both changes nothing. A
# contrastive loss pushes instead.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def dimensions_needed(distance):
#     J = torch.eye(len(distance), dtype=distance.dtype) - 1 / len(distance)
#     values = torch.linalg.eigvalsh(-J @ distance**2 @ J / 2)
#     zero = values.abs().max() / 1000
#     return -1 if values.min() < -zero else int((values > zero).sum())
#
#
# def map_with_width(length, width):
#     # (p, 0) costs (p / length)^2, and (0, 1) costs 1 / width^2: cheaper are all p below length / width.
#     # 89 by 20: p = 1 to 4 come first, so the fifth coordinate. (4, 0) and (0, 1) cost nearly the same, though: on the 600
#     # points above, with 8 neighbours, already the fourth has it.
#     return math.ceil(length / width)
#
#
# def what_is_learned(shared, own):
#     # V(a + b) = 4 shared + 2 own, V(a - b) = 2 own: only the ratio counts, not the variance.
#     nats = (1 + 2 * shared / own).log() / 2
#     return int(nats.argmax()), float(nats.max())
# ```
