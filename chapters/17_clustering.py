# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 17 · Clustering: can a network teach itself with labels that it made up?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/17_clustering.ipynb)
#
# **After this chapter you can**
#
# - train a network on labels from k-means (DeepCluster), and say what decides how good it becomes;
# - name the cheapest way to cheat, derive Sinkhorn-Knopp from the constraint that forbids it, and write it in four lines;
# - write SwAV's swapped prediction, and find a collapsed run by the one number that shows it.
#
# **You need** [chapter 00](00_start_here.ipynb) and [chapter 13](13_from_nce_to_nt_xent.ipynb), the softmax, and
# Lagrange multipliers. **Time**: 29 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.
# The companion [17b](17b_relatives_and_the_long_tail.ipynb) has the relatives (SeLa, PCL, NAT) and the long tail.

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

device = book.setup("17")

# %% [markdown]
# ## The puzzle: four teachers
#
# SimCLR ([chapter 13](13_from_nce_to_nt_xent.ipynb)) treats every picture as a class of its own, so it pushes boats
# away from boats. A few classes would be kinder, but you have no labels. So make some up: describe every picture by a
# few numbers, group the 8,192 descriptions into 64 clusters, and train a network to predict the cluster of a picture
# from augmented views of it.
#
# Here are four teachers. One deals the labels **at random**. One is the network itself, **untrained**. One is a
# **thumbnail** of 16 x 16 pixels. One looks at **edges**: how fast the brightness changes, on a 16 x 16 grid, without
# colour.

# %%
import math
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import data, diagnostics, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch17
from ssl_lessons.book.widgets import sinkhorn as sinkhorn_widget
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.losses import clustering as losses
from ssl_lessons.methods.deepcluster import whiten
from ssl_lessons.models import settle
from ssl_lessons.training import Monitor, pretrain, recipes

CLUSTERS = 64
unlabeled = data.shapes("unlabeled", n=8192)
train, test = data.shapes("train", n=2000), data.shapes("test", n=2000)
kinds = unlabeled.factors["kind"].values  # to measure with, never to train with


# %% [markdown]
# How good are labels? Their **purity** is the share of pictures that show the commonest kind of their cluster. (It
# grows with the number of clusters, up to 1 for one picture each: compare only at equal number.)


# %%
def cluster(features: torch.Tensor) -> torch.Tensor:
    """[N, D] -> [N]: k-means on 64 whitened directions, rows of length 1."""
    return losses.kmeans(whiten(features, 64), CLUSTERS)[0]


# %%
record, origin = book.recorded("clustering", world=2)


def recorded(arm: str, key: str = "probe", crowd: str = "even") -> dict[int, float]:
    """seed -> number"""
    rows = [r for r in record if (r["arm"], r["crowd"]) == (arm, crowd)]
    return {
        r["seed"]: r[key] for r in sorted(rows, key=lambda r: r["seed"]) if key in r
    }


def mean(arm: str, key: str = "probe", crowd: str = "even") -> float:
    numbers = recorded(arm, key, crowd).values()
    return sum(numbers) / len(numbers)


# %%
quick = recipes.get_recipe("quick", "deepcluster")
newborn = settle(quick.build(0, n_images=8192), unlabeled.images[:2048])
network = torch.nn.Sequential(newborn.encoder, newborn.projector)
own = cluster(evaluation.extract_features(network, unlabeled.images))
generator = torch.Generator().manual_seed(0)
teachers = {
    "at random": own[torch.randperm(len(own), generator=generator)],
    "untrained network": own,
    "edges": cluster(evaluation.edges(unlabeled.images)),
}
taught = {name: evaluation.purity(labels, kinds) for name, labels in teachers.items()}
taught["thumbnail, recorded"] = mean("by thumbnail", "made", "taught")
for name, value in taught.items():
    print(f"purity of the labels, {name}: {value:.1%}")
assert taught["at random"] < 0.16 and taught["untrained network"] < 0.3
assert taught["untrained network"] < taught["thumbnail, recorded"] - 0.05
assert taught["thumbnail, recorded"] < taught["edges"] - 0.05

# %% tags=["hide-input"]
shown = []
for name in ("untrained network", "edges"):
    sizes = torch.bincount(teachers[name], minlength=CLUSTERS)
    for c in sizes.argsort(descending=True)[[10, 30]]:
        shown.append((teachers[name] == c).nonzero()[:8, 0])
plots.show(
    plots.image_grid(
        unlabeled.images[torch.cat(shown)],
        columns=8,
        title="Two clusters of the untrained network (top), two of the edges",
    ),
    alt="Four rows of eight pictures. The upper two rows are clusters of an untrained "
    "network, the lower two are clusters of edge descriptions.",
)

# %% [markdown]
# Convolutions with random weights are a poor teacher, hardly better than chance: look at the upper rows.
#
# > **Predict before you go on.** Each teacher gets a student: the same network, the same 100 steps. We ask the students'
# > features for the kind of a picture, by the vote of neighbours (chance: 10 %; the network before training: about 23 %; raw
# > pixels: about 43 %) and by a linear probe with 100 labels (before training: about 13 %). (1) Who beats raw pixels in the vote?
# > (2) Can the student of the *untrained network* learn anything, and get purer clusters than the untrained network? (3) A last
# > student is its own teacher: every 25 steps we cluster its *new* features, throw the old labels away, and go on. Does
# > that help?
#
# ## The idea, step 1: k-means, then pretend
#
# Given points $x_1,\dots,x_N \in \mathbb{R}^D$, k-means looks for $K$ centroids $m_k$ and a cluster
# $a(i) \in \{1,\dots,K\}$ for every point that make $J = \sum_i \lVert x_i - m_{a(i)}\rVert^2$ small. [Lloyd (1957, in
# print 1982)](https://doi.org/10.1109/TIT.1982.1056489) alternates two steps, and neither can raise $J$: for fixed
# centroids the nearest is best; for fixed clusters the mean is best. A centroid that starts in the desert is nobody's
# nearest, an **unused cluster**: its mean is $0/0$, and $K$ has become $K - 1$. So most implementations have a repair.
#
# **DeepCluster** ([Caron et al., 2018](https://arxiv.org/abs/1807.05520)) alternates, with an encoder $f_\theta$, a linear
# classifier $W$ and an augmentation $t$,
#
# $$\text{(1)}\quad \min_{m, a}\sum_i \lVert f_\theta(x_i) - m_{a(i)}\rVert^2, \qquad \text{(2)}\quad \min_{\theta, W}\ -\frac1N\sum_i \log\operatorname{softmax}\big(W f_\theta(t(x_i))\big)_{a(i)} .$$
#
# (1) is k-means on whitened features of *plain* pictures, (2) is ordinary supervised training on *augmented* ones. No
# gradient flows into $a$ or $m$. After each (1) a fresh $W$ begins: cluster 7 of today has nothing to do with cluster 7 of
# yesterday. In (2) a picture weighs one over the size of its cluster, so that a large cluster does not win by its size.

# %%
STUDY = 100  # steps
student = quick.build(seed=0, n_images=8192)
student.refresh_every = 0  # the teacher never changes his mind
student.pseudo_labels.copy_(teachers["untrained network"])
student.sizes.copy_(torch.bincount(teachers["untrained network"], minlength=CLUSTERS))
settings = {"steps": STUDY, "progress": False} | quick.training()
_ = pretrain(student, unlabeled.images, student.views(quick.policy), **settings)


# %%
def report(method) -> dict:
    """kNN with 2,000 labels, probe with 100, purity of 64 clusters of test features."""
    encoder = method.cpu().eval().encoder
    h, h_test = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    labelled = (h, train.labels, h_test, test.labels)
    draws = evaluation.label_efficiency(*labelled, per_class=(10,), draws=5)
    return {
        "purity": evaluation.purity(cluster(h_test), test.labels),
        "knn": evaluation.knn_accuracy(*labelled),
        "probe": draws[0]["mean"],
    }


before, pupil = report(newborn), report(student)
print(f"probe: before {before['probe']:.1%}, after {pupil['probe']:.1%}")
assert pupil["probe"] > before["probe"] + 0.02

# %% [markdown]
# The other students, and this one again, with three seeds each from a record. *Settled* means that the untrained
# network's BatchNorm statistics were computed first, without a step.

# %% tags=["hide-input"]
rows = [{"name": "chance", "knn": 0.1, "probe": 0.1}]
TAUGHT = {
    "by nobody": "no student: untrained, settled",
    "by chance": "student of: chance",
    "by an untrained network": "student of: the untrained network",
    "by thumbnail": "student of: the thumbnail",
    "by edges": "student of: the edges",
    "by itself": "student of: itself",
}
shown = [(a, "even", f"no network: {a}") for a in ("pixels", "thumbnail", "edges")]
shown += [(arm, "taught", name) for arm, name in TAUGHT.items()]
for arm, crowd, name in shown:
    found = {
        k: recorded(arm, k, crowd).values() for k in ("made", "purity", "knn", "probe")
    }
    rows.append({"name": name} | {k: sum(v) / len(v) for k, v in found.items() if v})
    low, high = min(found["probe"]), max(found["probe"])
    rows[-1] |= {"spread": f"{low:.1%} to {high:.1%}", "n": len(found["probe"])}
plots.table(
    rows,
    f"Teachers and students, {STUDY} steps each",
    {
        "name": "features", "made": "purity of the labels",
        "purity": "purity of the features' clusters", "knn": "vote (kNN)",
        "probe": "probe, 100 labels", "spread": "over seeds", "n": "seeds",
    },
    {key: ".1%" for key in ("made", "purity", "knn", "probe")},
)  # fmt: skip
print(origin)
of = {arm: partial(mean, arm, crowd="taught") for arm in TAUGHT}
fresh, cheap, clever = "by an untrained network", "by thumbnail", "by edges"


def ends(arm: str) -> tuple[float, float]:
    """Lowest and highest probe over the seeds."""
    numbers = recorded(arm, crowd="taught").values()
    return min(numbers), max(numbers)


# %%
assert (
    abs(of["by nobody"]("knn") - 0.23) < 0.015 and abs(of["by nobody"]() - 0.13) < 0.01
)
assert (
    abs(mean("pixels", "knn") - 0.43) < 0.015
    and 0.04 < of[fresh]() - of["by nobody"]() < 0.08
)
assert mean("edges", "knn") > max(of[arm]("knn") for arm in TAUGHT) + 0.1
assert min(of[cheap]("knn"), of[clever]("knn")) > mean("pixels", "knn") + 0.03
assert of[cheap]("knn") > mean("thumbnail", "knn") + 0.03
assert of[cheap]() > mean("thumbnail") + 0.1
assert of[clever]("knn") < mean("edges", "knn") - 0.2
assert of["by chance"]("knn") < of["by nobody"]("knn") - 0.01
assert ends(cheap)[0] < ends(clever)[1] and ends(clever)[0] < ends(cheap)[1]
assert of[clever]("made") > of[cheap]("made") + 0.1
assert of[fresh]() > max(of["by nobody"](), of["by chance"]()) + 0.03
assert abs(of[fresh]("knn") - of["by nobody"]("knn")) < 0.04
pure = {arm: of[arm]("purity") for arm in (fresh, "by nobody", "by chance")}
assert pure.pop(fresh) > max(pure.values()) + 0.015
assert abs(of["by chance"]() - of["by nobody"]()) < 0.03
assert abs(of["by itself"]() - of[fresh]()) < 0.03

# %% [markdown]
# **Edges without any network** win the vote by far and are level with the best in the probe. In a drawn world the
# outline is the kind (that photographs are as easy nobody promises).
#
# 1. The students of the *thumbnail* and of the *edges*, on average. The thumbnail's student beats its own teacher, in
#    both columns. The edges' students stay far below *their* teacher's vote, scatter widely, and are no better than the
#    thumbnail's, although their labels were far purer. Purity is not all.
# 2. Something, by the probe: about six points, and clusters purer than those of the untrained network. The vote hardly
#    moves. Labels dealt at random teach nothing, and cost some of the vote.
# 3. Not in a hundred steps: new labels every 25 steps give the probe that the old ones gave.
#
# Give them four times as long: one student keeps the labels of the untrained network, the other makes new ones after
# every lesson of 100 steps.

# %% tags=["hide-input"]
LESSONS = {
    "by an untrained network, four times": "400 steps, the first labels",
    "by itself, four lessons": "400 steps, own new labels after every 100",
}
rows = []
for arm, name in LESSONS.items():
    found = {k: recorded(arm, k, "taught").values() for k in ("purity", "knn", "probe")}
    rows.append({"name": name} | {k: sum(v) / len(v) for k, v in found.items()})
    low, high = min(found["probe"]), max(found["probe"])
    rows[-1] |= {"spread": f"{low:.1%} to {high:.1%}", "n": len(found["probe"])}
plots.table(
    rows,
    "Does a student that teaches itself get further?",
    {
        "name": "labels", "purity": "purity of the features' clusters",
        "knn": "vote (kNN)", "probe": "probe, 100 labels", "spread": "over seeds",
        "n": "seeds",
    },
    {key: ".1%" for key in ("purity", "knn", "probe")},
)  # fmt: skip
kept, renewed = (recorded(arm, crowd="taught") for arm in LESSONS)
seeds = renewed.keys() & kept.keys()
assert sum(renewed[seed] - kept[seed] for seed in seeds) / len(seeds) > 0.03
assert sum(kept.values()) / len(kept) > of[fresh]() + 0.01

# %% [markdown]
# **Yes**: it can teach itself, if every lesson begins with labels from the last one's features. (Nothing says that this
# goes on for ever.)
#
# Where does a student's gain come from? Not from the labels alone. They are made on plain pictures and predicted from
# cropped and tinted ones. What the tint destroys cannot be predicted. So a lesson favours what survives the views
# (argued, not measured).
#
# ## Step 2: the cheapest way to cheat
#
# Look at (2) with the eyes of an optimiser that may choose labels *and* network. With labels $q(k\mid x_i)$ (rows of $Q$,
# non-negative, sum 1) and predictions $p_\theta(k\mid x_i)$,
#
# $$\min_{Q, \theta}\ -\frac1N\sum_i\sum_k q(k\mid x_i)\log p_\theta(k\mid x_i)$$
#
# is zero for **one label for all**, whatever the pictures. DeepCluster escapes because k-means, not this objective, chooses its labels. The
# principled way is to forbid the cheat:
#
# $$\sum_i q(k\mid x_i) = \frac{N}{K} \quad\text{for every } k. \tag{balance}$$
#
# Now labels that all pictures share in equal parts cost $\log K$ nats, and to get below, the network must tell pictures
# apart. This is **SeLa**, *self-labelling* ([Asano, Rupprecht and Vedaldi, 2020](https://arxiv.org/abs/1911.05371)).
#
# ## Step 3: balanced labels are a transport problem
#
# For fixed predictions the problem in $Q$ is linear. Scale it to total mass 1, $Q_{ik} = q(k\mid x_i)/N$, and write
# $S_{ik}$ for the score of picture $i$ with label $k$:
#
# $$\max_{Q \ge 0}\ \sum_{ik} Q_{ik} S_{ik} \quad\text{subject to}\quad \sum_k Q_{ik} = \frac1N,\quad \sum_i Q_{ik} = \frac1K .$$
#
# $N$ sources, $K$ sinks with room for $1/K$ each, a profit per route: **optimal transport**. As a linear programme it
# is slow. [Cuturi (2013)](https://arxiv.org/abs/1306.0895) adds $\varepsilon$ times the entropy
# $-\sum Q_{ik}\log Q_{ik}$. With multipliers $\alpha_i$ for the rows and $\beta_k$ for the columns, the derivative of
# the Lagrangian is
#
# $$S_{ik} - \varepsilon(\log Q_{ik} + 1) + \alpha_i + \beta_k = 0 \quad\Longrightarrow\quad Q_{ik} = \underbrace{e^{\alpha_i/\varepsilon - 1}}_{u_i}\ e^{S_{ik}/\varepsilon}\ \underbrace{e^{\beta_k/\varepsilon}}_{v_k}.$$
#
# A softmax with a factor per row and one per column, chosen so that the sums are right. To find them, scale the columns
# until they are right, which spoils the rows; scale the rows, which spoils the columns, less; repeat. [Sinkhorn and
# Knopp (1967)](https://doi.org/10.2140/pjm.1967.21.343) proved that it converges. In logarithms nothing overflows:


# %%
def sinkhorn(scores: torch.Tensor, epsilon: float, iterations: int) -> torch.Tensor:
    """scores [N, K] -> N Q [N, K]: rows sum to 1, columns to about N / K."""
    n, k = scores.shape
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(dim=0) + math.log(n / k)  # columns: v
        log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)  # rows: u
    return log_q.exp()


# %%
# NBVAL_CHECK_OUTPUT
draw = torch.Generator().manual_seed(1)
scores = torch.rand(40, 8, generator=draw, dtype=torch.float64)
q = sinkhorn(scores, 0.05, 500)
assert torch.allclose(sinkhorn(scores, 0.05, 3), losses.sinkhorn_knopp(scores, 0.05, 3))
print("rows sum to 1:", torch.allclose(q.sum(dim=1), torch.ones(40).double()))
print(
    "columns sum to N / K:",
    torch.allclose(q.sum(dim=0), torch.full((8,), 5.0).double()),
)

# %% [markdown]
# Six pictures, three clusters, and cluster 0 is everybody's favourite. Zero iterations are the plain softmax.

# %% tags=["hide-input"]
liked = torch.tensor(
    [[0.9, 0.2, 0.1], [0.9, 0.7, 0.1], [0.8, 0.6, 0.0],
     [0.9, 0.1, 0.8], [0.7, 0.0, 0.6], [0.9, 0.4, 0.4]]
)  # fmt: skip
STAGES = (0, 1, 3, 20)
fig, axes = plots.new_figure(8.6, 2.7, 1, len(STAGES))
plans = {t: losses.sinkhorn_knopp(liked, 0.2, t) for t in STAGES}
for ax, (t, plan) in zip(axes, plans.items(), strict=True):
    ax.imshow(plan, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for i in range(6):
        for k in range(3):
            value = float(plan[i, k])
            ink = "white" if value < 0.6 else "black"
            ax.text(
                k, i, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8
            )
    sums = ", ".join(f"{s:.1f}" for s in plan.sum(dim=0))
    ax.set(title=f"{t} iterations", xlabel=f"cluster (gets {sums})")
    ax.set(xticks=range(3), yticks=range(6))
axes[0].set_ylabel("picture")
assert plans[0].sum(0)[0] > 3 and (plans[20].sum(0) - 2).abs().max() < 0.05
plots.show(
    fig,
    alt="Four heat maps of six pictures by three clusters after 0, 1, 3 and 20 "
    "iterations. At first cluster 0 takes most; at the end each cluster gets 2.",
)

# %% [markdown]
# Those who liked another cluster nearly as well have moved. A small $\varepsilon$ gives hard assignments and needs many
# iterations, a large one spreads every picture over all clusters.
#
# ## Step 4: SwAV, a new label in every step
#
# **SwAV**, *swapping assignments between views* ([Caron et al., 2020](https://arxiv.org/abs/2006.09882)), balances **inside
# the batch**, between two views:
#
# - $K$ **prototypes** $c_k$, learned vectors of length 1; the scores of a view are cosines, $S_{ik} = z_i^\top c_k$;
# - each view gets its **code** $q$ by three Sinkhorn iterations ($\varepsilon = 0.05$ in the paper), without gradient;
# - the **swapped prediction**: each view must predict the code of the *other* view,
#
# $$L = -\frac{1}{2N}\sum_{i,k}\big[\,q^{(2)}_{ik}\log p^{(1)}_{ik} + q^{(1)}_{ik}\log p^{(2)}_{ik}\big],\qquad p^{(v)}_{ik} = \operatorname{softmax}_k\big(S^{(v)}_{ik}/\tau\big).$$
#
# Why swap? Predicting your *own* code asks for nothing but sharper scores. Predicting the other view's code asks two views
# of a picture to agree on a cluster.


# %%
def swapped_prediction(s1, s2, tau: float = 0.1, epsilon: float = 0.05) -> torch.Tensor:
    """s1, s2 [N, K]: cosines of two views with the prototypes.  Nats."""
    with torch.no_grad():  # codes are targets
        q1, q2 = (sinkhorn(s, epsilon, 3) for s in (s1, s2))
    log_p1, log_p2 = ((s / tau).log_softmax(dim=1) for s in (s1, s2))
    return -(q2 * log_p1 + q1 * log_p2).sum(dim=1).mean() / 2


# %%
# NBVAL_CHECK_OUTPUT
draw = torch.Generator().manual_seed(2)
s1, s2 = torch.randn(2, 50, 16, generator=draw, dtype=torch.float64).tanh()
assert torch.allclose(swapped_prediction(s1, s2), losses.swav([s1, s2]))
alike = torch.zeros(50, 16, dtype=torch.float64)
favourite = alike.clone()
favourite[:, 0] = 1  # everybody is sure of prototype 0
print(f"all scores equal: {swapped_prediction(alike, alike):.2f}; {math.log(16):.2f}")
print(
    f"one prototype for all, balanced: {swapped_prediction(favourite, favourite):.2f}"
)
cheat = losses.swav([favourite, favourite], iterations=0)
print(f"one prototype for all, unbalanced: {cheat:.4f}")

# %% [markdown]
# Without the balance, sending everyone to prototype 0 is perfect. With it, the scores of a collapsed network say
# nothing about who should go where, so the codes are uniform, and a confident "prototype 0" is punished.
#
# (The paper adds *multi-crop*, small extra views that only predict, and, for batches smaller than $K$, a *queue* of earlier
# embeddings that join the balancing. With 64 prototypes and 256 pictures neither is needed here. The quick recipe has
# $\varepsilon = 0.03$ and $\tau = 0.2$: in a young network all cosines are nearly alike, and a large $\varepsilon$ turns them into
# codes without content.)
#
# ## The run: SwAV

# %%
STEPS = 130
recipe = recipes.get_recipe("quick", "swav")
swav = recipe.build(seed=0)
with torch.no_grad():
    at_start = swav.scores(swav.embed(views.normalize(test.images[:128])))
history = pretrain(
    swav,
    unlabeled.images,
    swav.views(recipe.policy),
    steps=STEPS,
    monitor=Monitor(train[:1000], train[1000:1500], every=40),
    **recipe.training(),
)
_ = swav.cpu().eval()

# %% tags=["hide-input"]
fig = plots.training_panel(
    history,
    "SwAV: the loss falls below log K, and the features improve",
    chance=0.1,
    chance_loss=math.log(CLUSTERS),
)
last = sum(row["loss"] for row in history[-10:]) / 10
seen = [row["knn"] for row in history if "knn" in row]
assert last < math.log(CLUSTERS) - 0.2 and seen[-1] > seen[0] + 0.05
plots.show(
    fig,
    alt="Left: SwAV's loss falls below log 64. Middle: kNN accuracy, which ends "
    "higher. Right: collapse measures over the run.",
)

# %% [markdown]
# With soft codes it cannot reach zero; while the two views agree on nothing, it stands at about $\log K$. It ends below
# that.
#
# ### What have the prototypes become?
#
# For three prototypes, one busy, one middling, one rare: the eight test pictures that they score highest.

# %%
with torch.no_grad():
    batches = [views.normalize(b) for b in test.images.split(500)]
    assigned = torch.cat([swav.assign(b) for b in batches])  # [2000, 64]
hard = assigned.argmax(dim=1)
by_prototype = evaluation.purity(hard, test.labels)
shuffled = evaluation.purity(
    hard[torch.randperm(2000, generator=generator)], test.labels
)
by_features = report(swav)
print(f"purity, pictures by their first prototype: {by_prototype:.1%}")
print(f"the same prototypes dealt at random: {shuffled:.1%}")
print(f"purity, clusters of the features h: {by_features['purity']:.1%}")
print(f"kNN of the features h: {by_features['knn']:.1%}")
assert shuffled + 0.01 < by_prototype < by_features["purity"] - 0.05

# %%
gray = test.images.float().mean(dim=1)
inside, whole = gray[:, 8:24, 8:24].mean(dim=(1, 2)), gray.mean(dim=(1, 2))
light = (inside > whole).long()  # a light thing on a dark ground?
by_light, most = (
    evaluation.purity(hard, light),
    max(light.float().mean(), 1 - light.float().mean()),
)
print(f"purity for 'light on dark?': {by_light:.1%}, guessing: {most:.1%}")
spread = float(torch.special.entr(assigned).sum(dim=1).exp().mean())
print(f"one picture is spread over {spread:.0f} prototypes; loss {last:.2f}")
assert by_light > 0.9 > most + 0.3 and 16 < spread < 48
assert abs(last - math.log(CLUSTERS / 2)) < 0.25

# %% tags=["hide-input"]
order = torch.bincount(hard, minlength=CLUSTERS).argsort(descending=True)
top = assigned[:, order[[0, 16, 32]]].topk(8, dim=0).indices.T
plots.show(
    plots.image_grid(
        test.images[top.flatten()],
        columns=8,
        title="Three prototypes, one per row: their eight favourite pictures",
    ),
    alt="Three rows of eight pictures, the favourites of three of SwAV's prototypes.",
)

# %% [markdown]
# The prototypes have **not** become kinds. Pictures that share a first prototype share the kind only a little more
# often than pictures dealt at random. What they share, almost without exception, is *light thing on a dark ground* or
# the reverse (by a crude meter: the middle of the picture against all of it). The tint leaves that sign alone. And it
# is nearly all that the predictions say: one picture is spread over about half of the 64 prototypes. The loss told you:
# a network that knows one bit pays $\log 64 - \log 2 = 3.47$.
#
# Yet the *features* $h$ under them fall into purer (if more) clusters.
#
# ### The family side by side, three seeds

# %%
ARMS = ("pixels", "edges", "untrained", "simclr", "deepcluster", "swav", "msn")

# %% tags=["hide-input"]
rows = [{"arm": "chance", "probe": 0.1, "knn": 0.1}]
for arm in ARMS:
    values = recorded(arm).values()
    rows.append(
        {"arm": arm, "probe": mean(arm), "low": min(values), "high": max(values)}
    )
    rows[-1] |= {"knn": mean(arm, "knn"), "n": len(values)}
plots.table(
    rows,
    "250 steps of 128 pictures; the same encoder in all rows from 'untrained' on",
    {
        "arm": "method", "probe": "probe, 100 labels", "low": "lowest",
        "high": "highest", "knn": "vote (kNN)", "n": "seeds",
    },
    {key: ".1%" for key in ("probe", "low", "high", "knn")},
)  # fmt: skip
print(origin)
assert mean("edges") > max(mean(a) for a in ("deepcluster", "swav", "msn")) + 0.02
assert (
    abs(mean("edges") - mean("simclr")) < 0.06
    and mean("edges", "knn") > mean("simclr", "knn") + 0.1
)
assert mean("pixels", "knn") > mean("deepcluster", "knn") + 0.08
assert abs(mean("pixels", "knn") - mean("swav", "knn")) < 0.06
assert all(mean(a) > mean("untrained") + 0.04 for a in ("deepcluster", "swav", "msn"))
assert mean("simclr") > max(mean(a) for a in ("deepcluster", "swav", "msn")) + 0.03
assert of[cheap]() > max(mean(a) for a in ("deepcluster", "swav", "msn")) + 0.02

# %% [markdown]
# Edges win by the vote of neighbours and are level with SimCLR in the probe; raw pixels beat DeepCluster by that vote
# and are level with SwAV. With few labels (the probe) all methods beat pixels and the untrained network, and SimCLR,
# without any cluster, beats these three. Budgets are equal in steps and pictures; short runs favour methods that start
# fast, and all were tuned only briefly. On ImageNet SwAV's paper reports the reverse order of SwAV and SimCLR.
#
# ## A softer guard: MSN
#
# **MSN**, *masked Siamese networks* ([Assran et al., 2022](https://arxiv.org/abs/2204.07141)), writes the balance as a
# wish. A momentum encoder sees a whole view and gives a *sharpened* target $p^+$ (temperature 0.025, below the student's
# 0.1); the student sees another view with patches hidden, and predicts it:
#
# $$L = \frac{1}{N}\sum_{i} H(p^+_i, p_i) - \lambda H(\bar p),\qquad \bar p = \frac{1}{N}\sum_{i} p_i,\qquad H(p, q) = -\sum_k p_k\log q_k,\quad H(p) = H(p, p) .$$
#
# Sharpening makes the uniform answer unstable, since the target enlarges the smallest preference; the **mean entropy**
# $H(\bar p)$ (wanted: high) punishes one prototype for all.


# %%
def masked_siamese(student, teacher, tau=0.1, tau_target=0.025, weight=1.0):
    """student, teacher [N, K]: cosines of masked and whole views.  Nats."""
    target = (teacher.detach() / tau_target).softmax(dim=1)
    p = (student / tau).softmax(dim=1)
    match = -(target * p.log()).sum(dim=1).mean()
    p_bar = p.mean(dim=0)  # [K]
    return match + weight * (p_bar * p_bar.log()).sum()


assert torch.allclose(masked_siamese(s1, s2), losses.msn([s1], s2))

# %% [markdown]
# A wish can be traded; a constraint cannot. Suppose that the teacher sends *everybody* to prototype 0, and the student
# gives it the share $a$ and divides the rest evenly. Then $\bar p$ is that same prediction, and with $\lambda = 1$
#
# $$L(a) = -\log a + a\log a + (1 - a)\log\frac{1 - a}{K - 1}.$$
#
# > **Predict.** With $K = 64$, uniform answers cost 0 and perfect ones $-\log 64 = -4.16$. How low does this cheat get?

# %%
a = torch.linspace(0.001, 0.999, 9981, dtype=torch.float64)
hedge = -a.log() + torch.xlogy(a, a) + torch.xlogy(1 - a, (1 - a) / (CLUSTERS - 1))
cheapest, share = float(hedge.min()), float(a[hedge.argmin()])
print(f"all pictures alike, a = {share:.2f}: loss {cheapest:.2f}")
assert abs(share - 0.30) < 0.01 and abs(cheapest + 2.31) < 0.01

# %% [markdown]
# A **hedge**: more than half-way to the best loss, without a look at a single picture. The authors' configuration has
# the mean entropy *and* Sinkhorn on the targets switched on, and so has our package; below we switch them off.
#
# ## What goes wrong: the guards, taken away
#
# Forty steps with half the batch: SwAV and MSN as they are; SwAV with the plain softmax as its code; MSN with the mean
# entropy only; MSN with neither.
#
# > **Predict.** For each: where does the loss go, and how many of the 64 prototypes are in use at the end?

# %%
SHORT = 40


def short_run(name: str, **options):
    """Forty steps of a quick recipe with some options changed: (method, losses)."""
    chosen = recipes.get_recipe("quick", name)
    method = chosen.with_(options=chosen.options | options).build(seed=0)
    settings = chosen.training() | {
        "batch_size": 128,
        "steps": SHORT,
        "progress": False,
    }
    rows = pretrain(method, unlabeled.images, method.views(chosen.policy), **settings)
    return method.cpu().eval(), [row["loss"] for row in rows]


# %%
@torch.no_grad()
def autopsy(method, loss: list[float]) -> dict:
    x = views.normalize(test.images[:1000])
    p, z = method.assign(x), method.embed(x)  # [N, K], [N, D]
    use = diagnostics.diagnose(z, assignments=p)
    largest = torch.bincount(p.argmax(dim=1)).max() / len(p)
    return {
        "first": loss[0], "last": sum(loss[-5:]) / 5, "largest": float(largest),
        "soft": float(sinkhorn_widget.perplexity(p.mean(dim=0))),
        "hard": len(p.argmax(dim=1).unique()),
        "blind": diagnostics.diagnose(z).verdict, "verdict": use.verdict,
    }  # fmt: skip


# %%
dead = {
    "SwAV": short_run("swav"),
    "SwAV without Sinkhorn": short_run("swav", sinkhorn=False),
    "MSN": short_run("msn"),
    "MSN, mean entropy only": short_run("msn", sinkhorn=False),
    "MSN, neither": short_run("msn", sinkhorn=False, entropy_weight=0.0),
}
bodies = {name: autopsy(*run) for name, run in dead.items()}

# %% tags=["hide-input"]
plots.table(
    [{"run": name} | body for name, body in bodies.items()],
    f"With and without the guards, {SHORT} steps, one run each",
    {
        "run": "run", "first": "first loss", "last": "last losses",
        "soft": "prototypes in use (soft)", "hard": "first choice of somebody",
        "largest": "largest group", "blind": "diagnosis of z alone",
        "verdict": "with the assignments",
    },
    {"first": ".2f", "last": ".2f", "soft": ".1f", "largest": ".0%"},
)  # fmt: skip
naked = bodies["SwAV without Sinkhorn"]
assert naked["last"] < 0.3 and naked["largest"] > 0.9 and naked["soft"] < 3
hedging = bodies["MSN, mean entropy only"]
assert abs(hedging["last"] - cheapest) < 0.2 and hedging["largest"] > 0.9
assert bodies["MSN, neither"]["largest"] > 0.9 and bodies["MSN, neither"]["last"] < 0.3
assert all(bodies[name]["soft"] > 40 for name in ("SwAV", "MSN"))
assert all(10 < bodies[name]["hard"] < 55 for name in ("SwAV", "MSN"))
assert "complete" not in hedging["blind"]
assert hedging["verdict"] == "cluster collapse"

# %% [markdown]
# Without Sinkhorn SwAV's loss falls to almost nothing within forty steps, and one prototype gets everything: the cheat
# of step 2. MSN with the mean entropy alone walks straight into the hedge, computed above to cost $-2.31$.
#
# In the hedge, $z$ alone passes for healthy, because pictures still differ *inside* the one cluster. **Cluster
# collapse** is seen in the number of prototypes in use; soft use alone is not enough, since even answers use everything
# and say nothing, and a hedge uses half ([chapter 20](20_collapse.ipynb)).
#
# ## Play: epsilon and iterations
#
# The scores of 128 test pictures and the 64 prototypes of your run; the same with a favourite (0.5 added to one prototype);
# and the scores before training. Left: who is assigned where. Right: what each prototype gets. **Give the favourite one
# iteration: is it gone? Then, at $\varepsilon = 1$, over how many prototypes is a picture spread?**

# %%
with torch.no_grad():
    trained = swav.scores(swav.embed(views.normalize(test.images[:128])))
popular = trained.clone()
popular[:, 7] += 0.5
matrices = {
    "as trained": trained,
    "with a favourite": popular,
    "before training": at_start,
}
widgets.explore(
    partial(sinkhorn_widget.render, batch=matrices),
    sinkhorn_widget.controls(tuple(matrices)),
    static=[
        {"scores": s, "iterations": t}
        for s in ("as trained", "with a favourite")
        for t in (0, 3)
    ],
    alt=partial(sinkhorn_widget.describe, batch=matrices),
    brief=partial(sinkhorn_widget.brief, batch=matrices),
    columns=1,
)

# %%
once = sinkhorn_widget.balance(losses.sinkhorn_knopp(popular, 0.05, 1))
wide = sinkhorn_widget.balance(losses.sinkhorn_knopp(trained, 1.0, 3))
same = losses.sinkhorn_knopp(trained, 0.05, 1)
assert torch.allclose(losses.sinkhorn_knopp(popular, 0.05, 1), same, atol=1e-4)
print(f"favourite, one iteration: the largest share is {once['largest']:.1%}")
print(f"epsilon 1: a picture on {wide['undecided']:.0f} prototypes")
assert wide["undecided"] > 55

# %% [markdown]
# One iteration removes the bonus completely: the column step divides it out. A collapsing network raises one prototype
# for *all* pictures: such a bonus, and nothing rewards it. At $\varepsilon = 1$ the codes are nearly uniform.
#
# ## Exercises
#
# Solutions stand at the end.
#
# ### 1 · The mean entropy, as a regulariser (•, 6 minutes)
# `p` is a float tensor `[N, K]` whose rows sum to 1; return $H(\bar p)$ as a scalar tensor, in nats. A prototype that
# nobody uses must give NaN neither in the value nor in the gradient.
#
# <details><summary>Hint</summary>$0\log 0$ counts as 0, but the slope of $-m\log m$ at 0 is infinite: clamp what goes into
# the logarithm. And a regulariser that has no gradient regularises nothing.</details>


# %%
def mean_entropy(p: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch17.check_mean_entropy(mean_entropy)

# %% [markdown]
# ### 2 · Unequal parts (••, 12 minutes)
# Your clusters shall have *different* sizes: cluster $k$ gets the share `prior[k]` (a float tensor `[K]`, positive, sum 1).
# Change the four lines of step 3. `scores` is a float tensor `[N, K]`, `epsilon` a float, `iterations` an int; each
# iteration ends with the rows. It must stay finite in float32 when scores / epsilon is a thousand.
#
# <details><summary>Hint</summary>What did the columns get before, as a share of $N$?</details>


# %%
def sinkhorn_prior(scores, epsilon: float, iterations: int, prior) -> torch.Tensor:
    return NOT_ATTEMPTED


ch17.check_sinkhorn_prior(sinkhorn_prior)

# %% [markdown]
# ### 3 · How heavy a wish? (•••, 15 minutes)
# Let the weight $\lambda$ of the mean entropy vary. In the hedge above, which share $a$ does a collapsed student choose
# for `clusters` $K$ (int, 2 or more) and `weight` $\lambda$ (float, above 0)? Derive a condition on $a$, solve it
# numerically, return a float correct to five digits. Then argue: is there a $\lambda$ at which a collapsed student does best with even shares?
#
# <details><summary>Hint 1</summary>$\lambda$ multiplies everything in $L(a)$ but the first term.</details>
# <details><summary>Hint 2</summary>$L'(a)$ rises through zero once, between $1/K$ and 1: bisect.</details>


# %%
def hedged_share(clusters: int, weight: float) -> float:
    return NOT_ATTEMPTED


ch17.check_hedged_share(hedged_share)

# %% [markdown]
# ## Claims, tested
#
# A survey ([Jaiswal et al., 2020](https://arxiv.org/abs/2011.00362), section 3.4) says two things: that negatives of the anchor's own kind hurt
# ([chapter 14b](14b_which_negatives_help.ipynb) asks an oracle), and that clustering avoids it.


# %%
def paired(first: tuple, second: tuple, key: str = "probe") -> Runs:
    """Runs of two (arm, crowd); learned: a probe above the untrained one."""
    numbers = [recorded(arm, key, crowd) for arm, crowd in (first, second)]
    probes = [recorded(arm, "probe", crowd) for arm, crowd in (first, second)]
    floor = recorded("untrained")
    seeds = sorted(set.intersection(*(set(v) for v in (*numbers, floor))))
    ordered = [[v[s] for s in seeds] for v in (*numbers, floor, *probes)]
    return Runs(*ordered[:3], tuple(ordered[3:]))


book.claim("C-38b", drawn=paired(("swav", "even"), ("simclr", "even"), "tightness"))

# %% [markdown]
# It is judged by what the survey speaks of, the similarity of the embeddings $z$ of one kind against those of different
# kinds. A likely reason: SwAV's $z$ holds hardly more than that one bit.
#
# ## Where it comes from, where it went
#
# *Maximum margin clustering* ([Xu et al.,
# 2004](https://papers.nips.cc/paper_files/paper/2004/hash/6403675579f6114559c90de0014cd3d6-Abstract.html)) looks for
# the labels that a support vector machine separates with the widest margin, *discriminative clustering* (Bach and
# Harchaoui, 2007) for those that least squares fits best; [Joulin, Bach and Ponce
# (2010)](https://doi.org/10.1109/CVPR.2010.5539868) segment pictures with it. *Online Deep Clustering* ([Zhan et al.,
# 2020](https://arxiv.org/abs/2006.10645)) keeps a memory of features and centroids. From SwAV the line leads to DINO
# ([chapter 15b](15b_centre_and_sharpen.ipynb)), which replaces Sinkhorn by centring and sharpening.
#
# ## A question
#
# SwAV with 3,000 prototypes and batches of 256, no queue. What do the codes look like?
# <details><summary>Answer</summary>Every prototype is to get 256/3000 of a picture. So a picture is spread over at least
# about a dozen prototypes, however small $\varepsilon$ is (a large one spreads it over all), and which ones depends on the accident
# of the batch. The queue makes the crowd larger than $K$.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def mean_entropy(p):
#     m = p.mean(dim=0)
#     return -(m * m.clamp_min(1e-12).log()).sum()  # the slope of entr(0) is infinite
#
#
# def sinkhorn_prior(scores, epsilon, iterations, prior):
#     log_q = scores / epsilon
#     for _ in range(iterations):
#         log_q = log_q - log_q.logsumexp(dim=0) + (len(scores) * prior).log()
#         log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)
#     return log_q.exp()
#
#
# def hedged_share(clusters, weight):
#     # L'(a) = -1 / a + weight (log a - log((1 - a) / (K - 1))).  At a = 1 / K the bracket
#     # is 0 and L' < 0: whatever the weight, a collapsed student keeps more than an even
#     # share. The heavier the wish the closer to even, but never there: a weight only makes
#     # the cheat dearer, Sinkhorn forbids it.
#     low, high = 1 / clusters, 1 - 1e-12
#     for _ in range(100):
#         a = (low + high) / 2
#         slope = -1 / a + weight * math.log(a * (clusters - 1) / (1 - a))
#         low, high = (a, high) if slope < 0 else (low, a)
#     return a
# ```
