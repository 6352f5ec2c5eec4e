# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 17 · Clustering: can a network invent its own classes, and learn from them?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/17_clustering.ipynb)
#
# **After this chapter you can**
#
# - cluster with k-means, see a cluster run empty, and repair it;
# - train a network on labels that it made up itself (DeepCluster), and say why that is not a circle;
# - name the cheapest way to cheat, and the constraint that forbids it;
# - derive the Sinkhorn-Knopp iteration from that constraint, and write it in four lines;
# - write SwAV's swapped prediction, and tell what each of its relatives (SeLa, PCL, MSN, NAT, ...) changes;
# - say what all of them assume about your data, and what happens when it is not true.
#
# **You need** chapters 00 and 13, the softmax, and Lagrange multipliers.
# **Time**: 60 minutes to read, about 55 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("17")

# %% [markdown]
# ## The puzzle: labels from a network that knows nothing
#
# SimCLR (chapter 13) treats every picture as a class of its own: two views of a boat are to agree, and any
# two boats are to be kept apart. With ten kinds of objects, about one in ten "negatives" shows the same
# kind as the anchor. It would be kinder to have a few classes, and to let all boats share one.
#
# But you have no classes. All you have is a network. So take an **untrained** one, with random weights, and
# let it make them up: compute the features of all 8,192 pictures and group them into 64 clusters.

# %%
import math
from functools import partial

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from ssl_lessons import data, diagnostics, evaluation, exercises, plots, views, widgets
from ssl_lessons.book.exercises import ch17
from ssl_lessons.book.widgets import sinkhorn as sinkhorn_widget
from ssl_lessons.losses import clustering as losses
from ssl_lessons.losses import info_nce
from ssl_lessons.methods.deepcluster import whiten
from ssl_lessons.training import Monitor, pretrain, recipes

CLUSTERS = 64
unlabeled, train, test = (
    data.shapes(split, 32, n, world=1) for split, n in (("unlabeled", 8192), ("train", 2000), ("test", 2000))
)
kinds = unlabeled.factors["kind"].values  # the true classes: only to measure, never to train
CHANCE = 1 / len(train.classes)


def purity(clusters: torch.Tensor, kinds: torch.Tensor) -> float:
    """The share of pictures that show the commonest kind of their cluster; clusters, kinds [N]."""
    table = F.one_hot(clusters).T.double() @ F.one_hot(kinds).double()  # [clusters, kinds] counts
    return float(table.max(dim=1).values.sum() / len(kinds))


quick = recipes.get_recipe("quick", "deepcluster")
newborn = quick.build(seed=0, n_images=len(unlabeled))
features = evaluation.extract_features(
    torch.nn.Sequential(newborn.encoder, newborn.projector), unlabeled.images
)
first_labels, _ = losses.kmeans(whiten(features, newborn.pca_dim), CLUSTERS)
sizes = torch.bincount(first_labels, minlength=CLUSTERS)
shown = torch.cat([(first_labels == c).nonzero()[:8, 0] for c in sizes.argsort(descending=True)[[5, 20, 40]]])
fig = plots.image_grid(
    unlabeled.images[shown],
    columns=8,
    title="Three of 64 clusters of an untrained network, one per row",
)
plots.show(
    fig,
    alt="Three rows of eight pictures; within a row the pictures share colour, brightness or texture rather than the kind of object.",
)
shuffled = first_labels[torch.randperm(len(first_labels), generator=torch.Generator().manual_seed(0))]
start_purity, chance_purity = purity(first_labels, kinds), purity(shuffled, kinds)
print(f"purity of the clusters: {start_purity:.1%}; of the same labels dealt at random: {chance_purity:.1%}")

# %% [markdown]
# The rows are alike in colour and light more than in the kind of object. These are poor labels (though
# better than dealt at random: keep that in mind). Now train the network to predict them, as if they were
# real, from augmented views of the pictures. Then cluster the new features, throw the old labels away,
# train on the new ones, and so on.
#
# > **Predict before you go on.** After a hundred training steps and four such rounds, the purity of the
# > clusters is: (a) the same, since the network has only learned what it was told; (b) lower, since it learns
# > colours ever better; (c) higher. And if (c): where does the information come from?

# %% [markdown]
# ## The idea, step 1: k-means, and a cluster that nobody visits
#
# First the tool. Given points $x_1,\dots,x_N \in \mathbb{R}^D$, k-means looks for $K$ centroids $m_k$ and a
# cluster $a(i) \in \{1,\dots,K\}$ for each point that make
#
# $$J = \sum_{i=1}^N \lVert x_i - m_{a(i)}\rVert^2$$
#
# small. [Lloyd (1957, in print 1982)](https://doi.org/10.1109/TIT.1982.1056489) alternates two steps, and
# neither can raise $J$: for fixed centroids the nearest one is the best cluster of a point; for fixed
# clusters the mean is the best centroid (set the derivative $-2\sum_{i: a(i)=k}(x_i - m_k)$ to zero). There
# are finitely many clusterings, so it stops; not always at the best one.

# %%


def lloyd(x: torch.Tensor, centroids: torch.Tensor, rounds: int = 8, reseed: bool = False):
    """x [N, D], centroids [K, D] -> (clusters [N], centroids [K, D], J after each assignment)."""
    costs = []
    for _ in range(rounds):
        distance = torch.cdist(x, centroids).square()
        nearest, a = distance.min(dim=1)
        costs.append(nearest.sum().item())
        for k in range(len(centroids)):
            if (a == k).any():
                centroids = centroids.index_copy(0, torch.tensor([k]), x[a == k].mean(dim=0, keepdim=True))
            elif reseed:  # empty: move it to the point that is served worst
                centroids = centroids.index_copy(0, torch.tensor([k]), x[nearest.argmax()][None])
    return a, centroids, costs


generator = torch.Generator().manual_seed(0)
blobs = torch.tensor([[0.0, 0.0], [4.0, 0.5], [1.5, 4.0], [5.0, 4.5]]).repeat_interleave(60, dim=0)
blobs = blobs + 0.55 * torch.randn(240, 2, generator=generator)
bad_start = torch.tensor(
    [[0.0, 1.0], [4.5, 0.0], [4.5, 3.0], [20.0, -9.0]]
)  # the last one is far from everything
plain, repaired = (lloyd(blobs, bad_start, reseed=reseed) for reseed in (False, True))

fig, axes = plots.new_figure(8.4, 2.9, 1, 3)
for ax, (a, m, _), title in zip(
    axes, (plain, repaired), ("As is: one centroid never moves", "Re-seeded: all four serve")
):
    ax.scatter(*blobs.T, c=[plots.COLORS[k] for k in a], s=8)
    inside = m[m[:, 0] < 10]
    ax.scatter(*inside.T, marker="x", color="black", s=60)
    ax.set(title=title, xlabel="first coordinate", ylabel="second coordinate", xlim=(-2, 7), ylim=(-2, 6.5))
axes[2].plot(plain[2], "o-", color=plots.COLORS[1], label="as is")
axes[2].plot(repaired[2], "s--", color=plots.COLORS[0], label="re-seeded")
axes[2].set(
    title="The objective falls, then stays", xlabel="round", ylabel="J (squared distance)", ylim=(0, None)
)
axes[2].legend()
plots.show(
    fig,
    alt="Left: four groups of points, clustered into three because one centroid is far away. Middle: with re-seeding, "
    "each group has its own centroid. Right: the objective falls in both cases and ends much lower with re-seeding.",
)
labels_library, _ = losses.kmeans(blobs, 4)
library = sum(
    (blobs[labels_library == k] - blobs[labels_library == k].mean(0)).square().sum() for k in range(4)
).item()
print(f"J: as is {plain[2][-1]:.1f}, re-seeded {repaired[2][-1]:.1f}, scikit-learn {library:.1f}")

# %% [markdown]
# A centroid that starts, or is left, in the desert is nobody's nearest: its cluster is empty, its mean is
# $0/0$, and $K$ has quietly become $K-1$. Every real implementation has a repair. scikit-learn moves it to
# the point farthest from its centroid, as above; DeepCluster puts it beside the centroid of a non-empty
# cluster and splits that. Remember the picture: the *unused cluster* is this chapter's recurring villain.
#
# ## Step 2: DeepCluster, predict what you have made up
#
# **DeepCluster** ([Caron et al., 2018](https://arxiv.org/abs/1807.05520)) alternates two problems. With an
# encoder $f_\theta$ and a linear classifier $W$:
#
# $$\text{(1)}\quad \min_{m, a}\sum_i \lVert f_\theta(x_i) - m_{a(i)}\rVert^2 \qquad\qquad \text{(2)}\quad \min_{\theta, W}\ -\frac1N\sum_i \log\operatorname{softmax}\big(W f_\theta(t(x_i))\big)_{a(i)}$$
#
# (1) is k-means on whitened, normalised features of the *plain* pictures; (2) is ordinary supervised
# training on the pseudo-labels $a$, on *augmented* pictures $t(x_i)$. The two are never minimised together:
# the sum of both is a way some texts print it, but no gradient flows into $a$ or $m$. And after each (1), $W$
# is thrown away, because cluster 7 of today has nothing to do with cluster 7 of yesterday.
#
# In (2) there is a detail that will matter: an image of cluster $k$ gets weight $1/N_k$, one over the size of
# its cluster, so that a large cluster does not win by its size. (The paper draws images uniformly over the
# clusters, which has the same mean.)

# %%


def weighted_cross_entropy(logits: torch.Tensor, clusters: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """logits [N, K], clusters [N], sizes [K]: every cluster pulls with the same force."""
    log_p = logits - logits.logsumexp(dim=1, keepdim=True)
    weight = 1 / sizes[clusters]
    return -(weight * log_p[torch.arange(len(logits)), clusters]).sum() / weight.sum()


logits = torch.randn(200, CLUSTERS, generator=generator, dtype=torch.float64)
ours = weighted_cross_entropy(logits, first_labels[:200], sizes.double())
assert torch.allclose(ours, losses.deepcluster(logits, first_labels[:200], sizes))

# %% [markdown]
# Now the puzzle's experiment, with the package's DeepCluster (one screen, look it up). A hundred steps, a
# new clustering every 25, and a list that keeps them.

# %%


def deepcluster_run(steps: int, **options) -> list[torch.Tensor]:
    """The clusterings [8192] of a run of DeepCluster, from the untrained network's to one after the last step."""
    method = quick.with_(options=quick.options | options).build(seed=0, n_images=len(unlabeled))
    refresh, log = method.refresh, []

    def refresh_and_note(extract):
        refresh(extract)
        log.append(method.pseudo_labels.cpu().clone())

    method.refresh = refresh_and_note
    pretrain(method, unlabeled.images, method.views(quick.policy), steps=steps, **quick.training())
    method.refresh(partial(evaluation.extract_features, images=unlabeled.images))
    return log


def usage(clusters: torch.Tensor) -> float:
    """How many clusters are in use: exp(entropy of their sizes), from 1 to K."""
    return float(sinkhorn_widget.perplexity(torch.bincount(clusters, minlength=CLUSTERS) / len(clusters)))


bootstrapped = deepcluster_run(100, refresh_every=25)
rounds = [{"round": i, "purity": purity(c, kinds), "used": usage(c)} for i, c in enumerate(bootstrapped)]
plots.table(
    [{"round": "dealt at random", "purity": chance_purity, "used": usage(shuffled)}] + rounds,
    "DeepCluster: purity of each round's clusters (round 0: untrained network)",
    {"round": "clustering", "purity": "purity", "used": "clusters in use, of 64"},
    {"purity": ".1%", "used": ".1f"},
)

# %%
shown = bootstrapped[-1]
picks = torch.bincount(shown, minlength=CLUSTERS).argsort(descending=True)[[5, 20, 40]]
fig = plots.image_grid(
    unlabeled.images[torch.cat([(shown == c).nonzero()[:8, 0] for c in picks])],
    columns=8,
    title="Three clusters after 100 steps, one per row",
)
plots.show(
    fig,
    alt="Three rows of eight pictures from clusters of the trained network; rows are more alike in the kind or outline of the object than before.",
)
assert rounds[-1]["purity"] > start_purity

# %% [markdown]
# It rises: the network pulls itself up by its bootstraps. Where does the information come from? Not from the
# labels alone. Three things were put in that you did not count:
#
# - **the architecture**: even with random weights, a stack of convolutions maps similar pictures to similar
#   features (compare row one of the table with the one below it);
# - **the views**: labels are made on plain pictures and predicted from cropped, tinted ones. What the tint
#   destroys cannot be predicted, so those parts of the labels are noise to the network, and it keeps the rest;
# - **the average**: a network fits the regular part of noisy labels first.
#
# So each round's labels depend a little more on what survives the views. That is the same source that SimCLR
# draws from. Other names for the loop: *feature clustering*; and in speech, HuBERT ([Hsu et al.,
# 2021](https://arxiv.org/abs/2106.07447)) re-clusters its own features twice and watches the purity of its
# units rise (*iterative cluster refinement*).
#
# **Online DeepCluster** ([ODC, Zhan et al., 2020](https://arxiv.org/abs/2006.10645)) removes the jerk between
# two rounds. A *sample memory* keeps a running feature and a label for every image, a *centroid memory* the
# centroids; each step updates the entries of its batch, every tenth step the centroids. Small clusters are
# dissolved and large ones split as it goes. No epoch of feature extraction, no fresh classifier.
#
# ## Step 3: the cheapest way to cheat
#
# Look at problem (2) with the eyes of an optimiser that may choose *both* sides. Labels $q(k\mid x_i)$ (rows
# of $Q$, non-negative, sum 1) and predictions $p_\theta(k\mid x_i)$:
#
# $$\min_{Q, \theta}\ -\frac1N\sum_i\sum_k q(k\mid x_i)\log p_\theta(k\mid x_i).$$
#
# The best is zero, and the cheapest way there ignores the pictures: **one label for all**. DeepCluster
# escapes since it never minimises over $Q$ with that objective: k-means has another, which spreads its
# centroids over the data. That is a patch, not a principle. What would be a principle? Forbid the cheat:
#
# $$\sum_i q(k\mid x_i) = \frac{N}{K} \quad\text{for every } k. \tag{balance}$$
#
# Every label is used equally often. Now one label for all is not allowed, and labels that all pictures share
# in equal parts ($q = 1/K$) cost $\log K$ nats: to get below, the network has to tell pictures apart. This is
# **SeLa**, *self-labelling* ([Asano, Rupprecht and Vedaldi, 2020](https://arxiv.org/abs/1911.05371)). Labels
# and network now lower *one* objective in turn.
#
# ## Step 4: balanced labels are a transport problem
#
# For fixed predictions the problem in $Q$ is linear. Scale it to total mass 1, $Q_{ik} = q(k\mid x_i)/N$, and
# write $S_{ik}$ for the score of image $i$ with label $k$ (here $\log p_\theta$):
#
# $$\max_{Q \ge 0}\ \langle Q, S\rangle = \sum_{ik} Q_{ik} S_{ik} \quad\text{subject to}\quad \sum_k Q_{ik} = \frac1N,\quad \sum_i Q_{ik} = \frac1K .$$
#
# $N$ sources with mass $1/N$, $K$ sinks with room for $1/K$, and a profit per route: **optimal transport**. As
# a linear programme with $NK$ variables it is slow, and you need it in every training step. [Cuturi
# (2013)](https://arxiv.org/abs/1306.0895) adds a little entropy, $H(Q) = -\sum Q_{ik}\log Q_{ik}$:
#
# $$\max_{Q}\ \langle Q, S\rangle + \varepsilon H(Q).$$
#
# Watch what that does. The Lagrangian with multipliers $\alpha_i$ for the rows and $\beta_k$ for the
# columns has derivative
#
# $$\frac{\partial}{\partial Q_{ik}} = S_{ik} - \varepsilon(\log Q_{ik} + 1) + \alpha_i + \beta_k = 0 \quad\Longrightarrow\quad Q_{ik} = \underbrace{e^{\alpha_i/\varepsilon - 1}}_{u_i}\ e^{S_{ik}/\varepsilon}\ \underbrace{e^{\beta_k/\varepsilon}}_{v_k}.$$
#
# ($Q \ge 0$ takes care of itself.) So $Q = \operatorname{diag}(u)\,e^{S/\varepsilon}\operatorname{diag}(v)$:
# the softmax weights you know, with one factor per row and one per column, chosen so that the sums are right.
# $H$ is strictly concave, so there is exactly one solution. And to find $u$ and $v$, do the obvious: scale the
# columns until they are right, which spoils the rows; scale the rows, which spoils the columns, less; repeat.
# [Sinkhorn and Knopp (1967)](https://doi.org/10.2140/pjm.1967.21.343) proved that it converges. With
# logarithms, so that nothing overflows when $\varepsilon$ is small:

# %%


# fmt: off
def sinkhorn(scores: torch.Tensor, epsilon: float, iterations: int) -> torch.Tensor:
    """scores [N, K] -> N Q [N, K]: each image hands out 1, each cluster gets about N / K."""
    n, k = scores.shape
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(dim=0) + math.log(n / k)       # columns: v
        log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)           # rows: u
    return log_q.exp()
# fmt: on


# %%
# NBVAL_CHECK_OUTPUT
scores = torch.rand(40, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
agrees = all(
    torch.allclose(sinkhorn(scores, e, t), losses.sinkhorn_knopp(scores, e, t))
    for e in (0.01, 0.05, 0.5)
    for t in (1, 3, 50)
)
print("agrees with ssl_lessons.losses.clustering.sinkhorn_knopp:", agrees)
q = sinkhorn(scores, 0.05, 500)
print("rows sum to 1:", torch.allclose(q.sum(dim=1), torch.ones(40).double()))
print("columns sum to N / K:", torch.allclose(q.sum(dim=0), torch.full((8,), 5.0).double()))
u = (q.log() - scores / 0.05).double()
u = u - u.mean(dim=1, keepdim=True) - u.mean(dim=0) + u.mean()
print("log Q - S / epsilon is a row term plus a column term:", u.abs().max().item() < 1e-9)

# %% [markdown]
# See it work. Six images and three clusters, and cluster 0 is everybody's favourite. (Zero iterations: the
# plain softmax.)

# %%
liked = torch.tensor(
    [[0.9, 0.2, 0.1], [0.9, 0.7, 0.1], [0.8, 0.6, 0.0], [0.9, 0.1, 0.8], [0.7, 0.0, 0.6], [0.9, 0.4, 0.4]]
)
STAGES = (0, 1, 3, 20)
fig, axes = plots.new_figure(8.6, 2.7, 1, len(STAGES))
for ax, t in zip(axes, STAGES):
    q = losses.sinkhorn_knopp(liked, 0.2, t)
    ax.imshow(q, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for (i, k), value in zip(
        torch.cartesian_prod(torch.arange(6), torch.arange(3)).tolist(), q.flatten().tolist()
    ):
        ax.text(
            k,
            i,
            f"{value:.2f}",
            ha="center",
            va="center",
            color="white" if value < 0.6 else "black",
            fontsize=8,
        )
    sums = ", ".join(f"{s:.2f}" for s in q.sum(dim=0))
    ax.set(
        title=f"{t} iterations",
        xlabel=f"cluster (gets {sums})",
        ylabel="image",
        xticks=range(3),
        yticks=range(6),
    )
plots.show(
    fig,
    alt="Four heat maps of the same six by three assignment after 0, 1, 3 and 20 iterations. At first cluster 0 takes most of the mass; after 20 iterations every cluster gets mass 2, and the images that like another cluster next best have moved there.",
)

# %%
STEPS_SHOWN = range(0, 31)
fig, (left, right) = plots.new_figure(8.4, 2.9, 1, 2)
for epsilon, color in zip((0.02, 0.05, 0.2, 1.0), plots.COLORS):
    wrong = [
        (losses.sinkhorn_knopp(scores, epsilon, t).sum(dim=0) / 5 - 1).abs().max().item() for t in STEPS_SHOWN
    ]
    left.plot(STEPS_SHOWN, [max(w, 1e-9) for w in wrong], color=color, label=f"epsilon {epsilon:g}")
left.set(
    yscale="log",
    ylim=(1e-8, 10),
    xlabel="iterations",
    ylabel="largest error of a column sum (relative)",
    title="A larger epsilon balances faster",
)
left.legend()
epsilons = torch.logspace(-3, 0.5, 24).tolist()
plans = [losses.sinkhorn_knopp(scores, e, 2000) for e in epsilons]
seats = scores.repeat_interleave(5, dim=1)  # five seats per cluster: hard assignments are then permutations
best = float(seats[linear_sum_assignment(seats.numpy(), maximize=True)].mean())
right.axhline(best, color=plots.GRAY, linestyle=":", label="the linear programme")
right.plot(
    epsilons, [float((p * scores).sum() / 40) for p in plans], color=plots.COLORS[0], label="profit <Q, S>"
)
right.plot(
    epsilons,
    [float(sinkhorn_widget.perplexity(p).mean() / 8) for p in plans],
    "--",
    color=plots.COLORS[1],
    label="share of clusters an image is spread over",
)
right.set(
    xscale="log", xlabel="epsilon", ylabel="profit; share (no unit)", title="...and blurs the assignment"
)
right.legend()
plots.show(
    fig,
    alt="Left: the error of the column sums falls with the iterations, faster for larger epsilon. Right: with growing epsilon the profit falls and each image is spread over more clusters.",
)

# %% [markdown]
# The two ends: $\varepsilon\to 0$ is the linear programme, whose best plans are hard assignments;
# $\varepsilon\to\infty$ is the uniform plan that knows nothing. SeLa sets $S = \log p_\theta$ and
# $\varepsilon = 1/25$ (it writes $P^\lambda$ with $\lambda = 25$), iterates to convergence over the **whole
# data set**, some eighty times in a training, and rounds each row to its largest entry.

# %% [markdown]
# ## Step 5: SwAV, the same on the fly
#
# **SwAV**, *swapping assignments between views* ([Caron et al., 2020](https://arxiv.org/abs/2006.09882)),
# needs no pass over the data set. It balances **inside the batch**, between two views:
#
# - $K$ **prototypes** $c_k$, learned vectors of length 1; the scores of a view are cosines, $S_{ik} = z_i^\top c_k$;
# - each view gets its **code** $q$ by three Sinkhorn iterations with $\varepsilon = 0.05$, without gradient;
# - and the **swapped prediction**: each view must predict the code of the *other* view,
#
# $$L = -\frac{1}{2N}\sum_{i}\sum_k\big[\,q^{(2)}_{ik}\log p^{(1)}_{ik} + q^{(1)}_{ik}\log p^{(2)}_{ik}\big],\qquad p^{(v)}_{ik} = \operatorname{softmax}_k\big(z^{(v)\top}_i c_k/\tau\big).$$
#
# Why swap? Predicting your *own* code asks for nothing that you do not have already: sharpening your scores
# would do. Predicting the code of the other view asks two views of a picture to agree on a cluster. Here is
# all of it.

# %%


# fmt: off
def swapped_prediction(scores1, scores2, tau: float = 0.1, epsilon: float = 0.05) -> torch.Tensor:
    """scores1, scores2 [N, K]: cosines of two views with the prototypes.  Nats."""
    with torch.no_grad():                                              # codes are targets
        q1, q2 = (sinkhorn(s, epsilon, 3) for s in (scores1, scores2))
    log_p1, log_p2 = ((s / tau).log_softmax(dim=1) for s in (scores1, scores2))
    return -((q2 * log_p1) + (q1 * log_p2)).sum(dim=1).mean() / 2
# fmt: on


# %%
# NBVAL_CHECK_OUTPUT
s1, s2 = torch.randn(2, 50, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64).tanh()
print("agrees with losses.swav:", torch.allclose(swapped_prediction(s1, s2), losses.swav([s1, s2])))
same = torch.zeros(50, 16, dtype=torch.float64)
print("all scores equal gives log K:", abs(swapped_prediction(same, same).item() - math.log(16)) < 1e-9)
favourite = same.clone()
favourite[:, 0] = 1  # everybody loves prototype 0
print(
    "one prototype for all, balanced:   loss above log K:",
    swapped_prediction(favourite, favourite).item() > math.log(16),
)
print(
    "one prototype for all, unbalanced: loss near 0:",
    losses.swav([favourite, favourite], iterations=0).item() < 1e-2,
)

# %% [markdown]
# The last two lines are the chapter in a nutshell. Without the balance, sending everyone to prototype 0 is
# the perfect solution. With it, the codes refuse: the scores of a collapsed network say nothing about who
# should go where, so the codes are uniform, and a confident "prototype 0" is punished.
#
# Two additions of the paper. **Multi-crop**: besides two large views, several small ones (half the side, a
# small part of the picture), which only *predict*; codes come from the large views. Small crops are cheap,
# and each adds predictions (`n_small=` in the package). **The queue**: with 3,000 prototypes and a batch of
# 256, "equal parts" makes no sense; so embeddings of earlier batches join the balancing and are then
# dropped. With 64 prototypes and 256 images we need none.
#
# One change of ours: the paper's $\varepsilon = 0.05$ and $\tau = 0.1$ are for runs of days. Early in a run the
# cosines of different images are nearly alike, and divided by a large $\varepsilon$ they give codes that are nearly
# uniform: nothing to learn from, and the loss can rest on $\log K$ for a long time. The quick recipe uses 0.03
# and 0.2, which start sooner.
#
# ## The run: SwAV, 300 steps
#
# The package's SwAV is the code above plus the projector and the prototypes. The same encoder, data and
# number of images per step as every family in this book. Besides the loss, the picture shows the kNN
# accuracy on labelled pictures and two collapse measures.

# %%
STEPS = 300
recipe = recipes.get_recipe("quick", "swav")
swav = recipe.build(seed=0, n_images=len(unlabeled))
at_start = swav.scores(swav.embed(views.normalize(test.images[:128]))).detach()
history = pretrain(
    swav,
    unlabeled.images,
    swav.views(recipe.policy),
    steps=STEPS,
    monitor=Monitor(train[:1000], train[1000:1500], every=30),
    **recipe.training(),
)
swav.cpu()
fig = plots.training_panel(
    history,
    "SwAV: the loss leaves log K slowly, and the features improve",
    chance=CHANCE,
    chance_loss=swav.chance_loss(256),
)
plots.show(
    fig,
    alt="Left: SwAV's loss starts above log 64 and falls below it. Middle: kNN accuracy rises well above chance. Right: spread and RankMe of the features stay away from collapse.",
)

# %% [markdown]
# Read the loss with care. It is a cross-entropy against codes that are soft themselves, so it cannot reach
# zero; and while the prototypes are still random, the codes are noise, and nothing can be predicted better
# than $\log K$.

# %%
record, record_origin = book.recorded("families")


def probe_of(encoder) -> float:
    h, h_test = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    return evaluation.label_efficiency(h, train.labels, h_test, test.labels, per_class=(10,), draws=5)[0][
        "mean"
    ]


def with_runs(*names: str) -> list[str]:
    return [name for name in names if any(row["method"] == name for row in record)]


EARLIER = with_runs("simclr", "moco_v2", "byol", "vicreg")
FAMILY = with_runs("deepcluster", "online_deepcluster", "sela", "swav", "pcl", "msn")
book.results_table((*EARLIER, *FAMILY), "One minute of training each; this chapter's family last")

live = probe_of(swav.encoder)
before = next(row["probe"] for row in record if row["method"] == "swav" and row["arm"] == "live")
TOLERANCE = 0.06  # the same steps and seed; other processors round differently, and 300 steps amplify it
print(f"\nSwAV after {STEPS} steps: probe {live:.1%} just now, {before:.1%} in the record")
assert abs(live - before) < TOLERANCE

# %% [markdown]
# ### What have the prototypes become?
#
# For three prototypes, the eight test pictures that they score highest.

# %%
with torch.no_grad():
    assigned = torch.cat([swav.assign(views.normalize(b)) for b in test.images.split(500)])
busiest = assigned.mean(dim=0).argsort(descending=True)[[0, 16, 32]]
top = assigned[:, busiest].topk(8, dim=0).indices.T
fig = plots.image_grid(
    test.images[top.flatten()], columns=8, title="Three prototypes, one per row: their eight favourite pictures"
)
plots.show(
    fig,
    alt="Three rows of eight pictures, the favourites of three prototypes; most rows share the kind or the outline of the object across colours and grounds.",
)
hard = assigned.argmax(dim=1)
test_purity = purity(hard, test.labels)
spread = float(sinkhorn_widget.perplexity(assigned.mean(dim=0)))
print(
    f"purity of the assignment of test pictures: {test_purity:.1%}; prototypes in use: {spread:.1f} of {assigned.shape[1]}"
)

# %% [markdown]
# ## The relatives, one change each
#
# ### PCL: contrast with your centroid
#
# **PCL**, *prototypical contrastive learning* ([Li et al., 2021](https://arxiv.org/abs/2005.04966)), keeps
# InfoNCE (with a momentum encoder, chapter 14) and adds a second InfoNCE in which the "positive" is the
# centroid of the image's own cluster and the "negatives" are the other centroids. For $M$ clusterings with
# different numbers of clusters:
#
# $$L = \text{InfoNCE} - \frac1N\sum_i\frac1M\sum_m\log\frac{\exp(v_i\cdot c^m_{s}/\phi^m_{s})}{\sum_j\exp(v_i\cdot c^m_j/\phi^m_j)},\qquad \phi = \frac{\sum_{z \in \text{cluster}}\lVert z - c\rVert}{Z\log(Z + \alpha)}.$$
#
# $s$ is the cluster of image $i$ in clustering $m$; $Z$ the size of a cluster. $\phi$ is a temperature for
# each cluster: a loose cluster gets a high one, so its members are pulled less hard; then all are scaled to
# the mean $\tau$. This keeps one cluster from swallowing the rest. Clustering is the E-step, training the
# M-step of an expectation-maximisation.

# %%


def prototype_term(v, centroids, own, phi) -> torch.Tensor:
    """v [N, D] and centroids [K, D] of unit length, own cluster [N], phi [K]."""
    logits = v @ centroids.T / phi
    return (logits.logsumexp(dim=1) - logits[torch.arange(len(v)), own]).mean()


v, key = F.normalize(torch.randn(2, 60, 12, generator=generator, dtype=torch.float64), dim=2)
own, means = losses.kmeans(v, 5)
means = F.normalize(means.double(), dim=1)
phi = losses.prototype_concentration(v, means, own, 0.2)
whole = info_nce(v, key, None, 0.2) + prototype_term(v, means, own, phi)
assert torch.allclose(whole, losses.protonce(v, key, [means], [own], [phi], 0.2))

tight = torch.eye(2, 12, dtype=torch.float64).repeat_interleave(30, dim=0)
tight = F.normalize(tight + tight.new_tensor([0.05, 0.5]).repeat_interleave(30)[:, None] * v, dim=1)
pair = torch.arange(2).repeat_interleave(30)
centers = F.normalize(torch.stack([tight[:30].mean(0), tight[30:].mean(0)]), dim=1)
small, large = losses.prototype_concentration(tight, centers, pair, 0.2).tolist()
print(f"phi of a tight cluster {small:.3f}, of a loose one {large:.3f} (mean 0.2)")

# %% [markdown]
# **InterCLR** ([Xie et al., 2022](https://arxiv.org/abs/2008.11702)) goes half-way: the positive is
# *another image* of the same online cluster, taken from ODC's memory. **Divide and Contrast** ([DnC, Tian
# et al., 2021](https://arxiv.org/abs/2105.08054)) clusters in order to make contrast *harder*: train a base
# model, split the data into a few clusters, train one expert inside each (whose negatives are now all
# look-alikes), then distil base and experts into one student.
#
# ### NAT: the targets come first
#
# **Noise as targets** ([Bojanowski and Joulin, 2017](https://arxiv.org/abs/1704.05310)) is the oldest and
# the most radical. Draw one random direction $c_j$ per image before training. The network has to map the
# images onto these $N$ directions, one each, and only *which* image gets which is free:
#
# $$\min_\theta\min_P\ \frac{1}{2N}\sum_i\lVert z_i - (PC)_i\rVert^2,\qquad P \in \{0,1\}^{N\times M},\quad P\mathbf 1 = \mathbf 1,\quad P^\top\mathbf 1 \le \mathbf 1 .$$
#
# Every image gets exactly one target, every target serves at most one image: a transport problem with seats
# for one, so nothing can collapse. The best $P$ is found for one batch at a time by the Hungarian
# algorithm, exactly. (A widely read survey prints both constraints on the same side of $P$; then nothing
# keeps all images from choosing the same target.)

# %%
directions = torch.linspace(0, 2 * math.pi, 25)[:24]
targets = torch.stack([directions.cos(), directions.sin()], dim=1)
clump = F.normalize(torch.tensor([1.0, 0.3]) + 0.35 * torch.randn(24, 2, generator=generator), dim=1)
order = losses.nat_assignment(clump, targets)
greedy = (clump @ targets.T).argmax(dim=1)  # the printed constraints: a target may serve any number of images
fig, axes = plots.new_figure(7.6, 3.4, 1, 2)
for ax, chosen, title in zip(
    axes, (order, greedy), ("One seat per target: spread out", "Any number per target: stay")
):
    for z, t in zip(clump, targets[chosen]):
        ax.annotate(
            "",
            xy=t.tolist(),
            xytext=z.tolist(),
            arrowprops={"arrowstyle": "->", "color": plots.GRAY, "lw": 0.8},
        )
    ax.plot(*targets.T, "o", color=plots.COLORS[0], markersize=4, label="targets")
    ax.plot(*clump.T, "s", color=plots.COLORS[1], markersize=4, label="images")
    ax.set(
        title=title,
        xlabel="z, first coordinate",
        ylabel="z, second coordinate",
        aspect="equal",
        xlim=(-1.2, 1.2),
        ylim=(-1.2, 1.2),
    )
axes[0].legend(loc="center")
plots.show(
    fig,
    alt="Left: arrows from 24 bunched points to 24 targets all around the circle, one each. Right: without the limit of one, arrows go only to the few nearest targets.",
)
used_right, used_printed = len(set(order.tolist())), len(set(greedy.tolist()))
print(f"targets used: {used_right} of 24 with one seat each, {used_printed} with the constraint as printed")

# %% [markdown]
# ### MSN: no codes, a regulariser
#
# **MSN**, *masked Siamese networks* ([Assran et al., 2022](https://arxiv.org/abs/2204.07141)), replaces the
# hard balance by a soft wish, and the second view by a *masked* one. A momentum encoder sees the whole view
# and gives the target $p^+$; the student sees a view with some patches hidden (a transformer simply drops
# those tokens) and predicts it:
#
# $$L = \frac{1}{MN}\sum_{i,m} H(p^+_i, p_{i,m}) - \lambda H(\bar p),\qquad \bar p = \frac{1}{MN}\sum_{i,m} p_{i,m},\qquad H(p, q) = -\sum_k p_k\log q_k .$$
#
# Two ways to collapse, two guards. *All on one prototype*: then $\bar p$ has no entropy, and the
# **mean-entropy** term punishes it. *Everything uniform*: the target is **sharpened**, its temperature
# (0.025 in the paper) is below the student's (0.1), so a uniform prediction is never a fixed point. Note
# the difference between $H(\bar p)$, the entropy of the mean (wanted: high), and the mean of the entropies
# (wanted: low).

# %%


# fmt: off
def masked_siamese(student, teacher, tau=0.1, tau_target=0.025, weight=1.0) -> torch.Tensor:
    """student: list of [N, K] scores of masked views; teacher [N, K] scores of the whole view.  Nats."""
    target = (teacher.detach() / tau_target).softmax(dim=1)            # sharp
    p = torch.stack([(s / tau).softmax(dim=1) for s in student])       # [M, N, K]
    match = -(target * p.log()).sum(dim=2).mean()
    mean_p = p.mean(dim=(0, 1))                                        # [K]
    return match + weight * (mean_p * mean_p.log()).sum()
# fmt: on


s3 = torch.randn(50, 16, generator=generator, dtype=torch.float64).tanh()
assert torch.allclose(masked_siamese([s1, s2], s3), losses.msn([s1, s2], s3))

# %% [markdown]
# A wish can be traded against something else, a constraint cannot. Suppose that the teacher sends
# *everybody* to prototype 0, and the student gives it $a$ and shares the rest evenly. Then $\bar p$ is that
# same prediction, and with $\lambda = 1$
#
# $$L(a) = -\log a + a\log a + (1 - a)\log\frac{1 - a}{K - 1}.$$
#
# Where is its minimum, and how good is it?

# %%
a = torch.linspace(0.01, 0.99, 981, dtype=torch.float64)
hedge = -a.log() + torch.xlogy(a, a) + torch.xlogy(1 - a, (1 - a) / (CLUSTERS - 1))
print(f"all images alike, a = {a[hedge.argmin()]:.2f}: loss {hedge.min():.2f}")
print(
    f"uniform over all prototypes: loss 0; every image sure, all prototypes in use: {-math.log(CLUSTERS):.2f}"
)

# %% [markdown]
# A hedge: half-way to the best loss, without looking at a single picture. The runs of the paper get past it; our
# miniature walks straight in, as you will see below. The way out is in the authors' code as an option and
# on by default in our package: balance the *targets* with three Sinkhorn iterations. Then the teacher
# cannot send everybody to one place.

# %% [markdown]
# ## What all of them assume
#
# Equal parts. SeLa and SwAV say it in a constraint, MSN in a regulariser, k-means prefers clusters of
# similar size, and SimCLR's negatives spread the embeddings evenly over the sphere. [Assran et al.
# (2023)](https://arxiv.org/abs/2210.07277) call it the **hidden uniform prior**. If your data really falls
# into classes of similar size, those are a cheap way to fill the clusters evenly. If it does not, if a
# third of all pictures are birds, then a uniform clustering *must* cut the birds into pieces, by colour or
# texture for instance, and lump rare kinds together.
#
# Their repair, **PMSN**: ask for another distribution. Replace $-\lambda H(\bar p)$ by
# $\lambda\operatorname{KL}(\bar p\,\Vert\,\pi)$ with a prior $\pi_k \propto k^{-\gamma}$, a power law. For
# the uniform $\pi$ this is MSN again, up to the constant $\log K$. Sinkhorn takes a prior just as easily:
# the columns get $N\pi_k$ instead of $N/K$.

# %%
# NBVAL_CHECK_OUTPUT
uniform = torch.full((16,), 1 / 16, dtype=torch.float64)
difference = losses.msn([s1], s3, prior=uniform) - losses.msn([s1], s3)
print("uniform prior = MSN + log K:", abs(difference.item() - math.log(16)) < 1e-9)
prior = losses.power_law_prior(16, 1.0).double()
q = losses.sinkhorn_knopp(s1, 0.05, 500, prior)
print(
    "Sinkhorn with a power-law prior, columns as asked:",
    torch.allclose(q.mean(dim=0), prior / prior.sum(), atol=1e-6),
)

# %% [markdown]
# Now the test. Take a **long-tailed world**: 8,192 pictures in which the commonest kind is a hundred times
# as frequent as the rarest. Pretrain on it; probe, as always, with ten labels per kind, on balanced test
# pictures. If the result is worse than after pretraining on the balanced world, is it the prior's fault?
# Not necessarily: there are simply fewer different pictures of the rare kinds to learn from. So there is a
# **control**: *supervised* training on the very same pictures, whose loss has no uniform prior over
# clusters. Only what SSL loses *beyond* the control can be blamed on the prior. These are many runs, so
# they come from a record (half the batch and fewer steps than the table above: do not compare the two).

# %%
rows, origin = book.recorded("clustering")


def recorded(arm: str, key: str = "probe", imbalance: int = 1) -> list[float]:
    return [r[key] for r in rows if r["arm"] == arm and r["imbalance"] == imbalance]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


TAILED = [arm for arm in ("supervised", "simclr", "swav", "msn", "pmsn") if recorded(arm, imbalance=100)]
tailed = []
for arm in TAILED:
    even, long = mean(recorded(arm)), mean(recorded(arm, imbalance=100))
    tailed.append(
        {
            "arm": arm, "even": even, "long": long, "drop": even - long,
            "head": mean(recorded(arm, "knn_head", 100)) - mean(recorded(arm, "knn_head")),
            "tail": mean(recorded(arm, "knn_tail", 100)) - mean(recorded(arm, "knn_tail")),
            "seeds": len(recorded(arm, imbalance=100)),
        }
    )  # fmt: skip
drop = {row["arm"]: row["drop"] for row in tailed}
plots.table(
    tailed,
    "Pretraining on the balanced and on the long-tailed world (means over the seeds)",
    {
        "arm": "method", "even": "probe, balanced", "long": "probe, long-tailed", "drop": "loss by the tail",
        "head": "kNN change, 3 commonest kinds", "tail": "kNN change, 3 rarest kinds", "seeds": "seeds",
    },
    {"even": ".1%", "long": ".1%", "drop": ".1%", "head": "+.1%", "tail": "+.1%"},
)  # fmt: skip
counts = torch.bincount(data.shapes("unlabeled", 32, 8192, imbalance=100, world=1).factors["kind"].values).tolist()
print("pictures per kind in the long-tailed world:", dict(zip(train.classes, counts)))
print(origin)

# %%
fig = plots.bars(
    {
        f"{arm}, {name}": [100 * p for p in recorded(arm, imbalance=k)]
        for arm in TAILED
        for name, k in (("balanced", 1), ("long-tailed", 100))
    },
    "What a long tail costs: each method, and the supervised control",
    "probe with 100 labels (%)",
    chance=100 * CHANCE,
)
plots.show(
    fig,
    alt=f"Bars of probe accuracy after pretraining on the balanced and on the long-tailed world, for {', '.join(TAILED)}.",
)

# %% [markdown]
# Read the table in three steps. *Does a long tail hurt?* Compare the two probe columns. *Is it the prior?*
# Compare the loss of each SSL method with the loss of the control, in the first row: only the excess
# counts. *Does a matching prior help?* Compare MSN and PMSN, in the long-tailed column and in the balanced
# one. The verdicts below are computed from these numbers.
#
# ### Three small relatives, and a perfect clustering
#
# From the same record: NAT, InterCLR and Divide and Contrast in miniature (their code is in
# `benchmarks/clustering.py`, ten to twenty lines each). And the experiment behind this chapter's opening: SimCLR
# whose negatives are *never* of the anchor's kind, which needs the labels and is what a perfect clustering
# could give. How much do the false negatives really cost?

# %%
small_ones = [
    arm
    for arm in (
        "simclr",
        "simclr without false negatives",
        "supervised",
        "nat",
        "interclr",
        "simclr, 1200 steps",
        "dnc",
    )
    if recorded(arm)
]
plots.table(
    [{"arm": "chance", "probe": CHANCE, "knn": CHANCE}]
    + [
        {
            "arm": arm,
            "probe": mean(recorded(arm)),
            "low": min(recorded(arm)),
            "high": max(recorded(arm)),
            "knn": mean(recorded(arm, "knn")),
            "seeds": len(recorded(arm)),
        }
        for arm in small_ones
    ],
    "Half batch, 250 steps (Divide and Contrast and its control: 1,200 steps in all)",
    {"arm": "arm", "probe": "probe", "low": "lowest", "high": "highest", "knn": "kNN", "seeds": "seeds"},
    {key: ".1%" for key in ("probe", "low", "high", "knn")},
)
print(origin)

# %% [markdown]
# ## What goes wrong
#
# The guards, taken away one by one. Each run is short, forty steps with half the batch; you will see that
# the damage is done early.
#
# **(1) SwAV without Sinkhorn**: the code is the plain softmax of the scores. **(2) MSN with unbalanced
# targets**, mean entropy only (the hedge?). **(3) MSN with neither.** **(4) DeepCluster without its
# guards:** no whitening before k-means and no weights in the loss.
#
# > **Predict.** For each: what does the loss do, and how many of the 64 clusters are in use at the end?

# %%
SHORT = 40


def short_run(name: str, **options):
    """Forty steps of a method's quick recipe, half the batch, with some options changed: (method, history)."""
    chosen = recipes.get_recipe("quick", name)
    method = chosen.with_(options=chosen.options | options).build(seed=0, n_images=len(unlabeled))
    settings = chosen.training() | {"batch_size": 128}
    return method, pretrain(
        method, unlabeled.images, method.views(chosen.policy), steps=SHORT, progress=False, **settings
    )


@torch.no_grad()
def autopsy(name: str, method, history) -> dict:
    method.cpu().eval()
    x = views.normalize(test.images[:1000])
    p, z = method.assign(x), method.embed(x)
    return {
        "run": name,
        "first": history[0]["loss"],
        "last": history[-1]["loss"],
        "used": float(sinkhorn_widget.perplexity(p.mean(dim=0))),
        "hard": usage(p.argmax(dim=1)),
        "largest": float(torch.bincount(p.argmax(dim=1)).max() / len(p)),
        "blind": diagnostics.diagnose(z).verdict,
        "verdict": diagnostics.diagnose(z, assignments=p).verdict,
    }


runs = {
    "SwAV without Sinkhorn": short_run("swav", sinkhorn=False),
    "MSN": short_run("msn"),
    "MSN, mean entropy only": short_run("msn", sinkhorn=False),
    "MSN, neither": short_run("msn", sinkhorn=False, entropy_weight=0.0),
}
autopsies = {name: autopsy(name, *run) for name, run in runs.items()}
plots.table(
    list(autopsies.values()),
    "With and without the guard",
    {
        "run": "run", "first": "first loss", "last": "last loss", "used": "prototypes in use (soft)",
        "hard": "in use (hard)", "largest": "largest cluster", "blind": "diagnosis of z alone", "verdict": "with the assignments",
    },
    {"first": ".2f", "last": ".2f", "used": ".1f", "hard": ".1f", "largest": ".0%"},
)  # fmt: skip

# %% [markdown]
# Without a guard the loss falls to almost nothing within a few steps, and one prototype gets everything:
# the cheapest way to cheat, found by gradient descent before it has learned anything about pictures. With
# the mean entropy alone, compare the last loss with the hedge computed above. Then look at the two columns
# on the right. The embeddings alone can look sound for a while, since the pictures still differ *inside*
# the one cluster. The assignments tell. This failure has a name of its own, **cluster collapse**, and the
# first thing to look at in any run of this family is not the loss: it is how many clusters are in use.
#
# (That a guarded loss stays high is no flaw. It cannot fall until two views of a picture agree on something.)
#
# Now DeepCluster. Its k-means never gives one cluster everything, so expect something milder.

# %%
unguarded = deepcluster_run(50, refresh_every=25, balance=False, pca_dim=0)
plots.table(
    [
        {
            "run": name,
            "round": i,
            "used": usage(c),
            "largest": float(torch.bincount(c).max() / len(c)),
            "purity": purity(c, kinds),
        }
        for name, run in (("guarded", bootstrapped[:3]), ("no whitening, no weights", unguarded))
        for i, c in enumerate(run)
    ],
    "DeepCluster's clusters, round by round",
    {
        "run": "run",
        "round": "clustering",
        "used": "clusters in use, of 64",
        "largest": "largest cluster",
        "purity": "purity",
    },
    {"used": ".1f", "largest": ".1%", "purity": ".1%"},
)

# %% [markdown]
# Milder: k-means cannot give one cluster everything, and these runs are short. But the sizes are less even and the clusters
# less pure. Whitening makes every direction of the features count equally before k-means sees them; without it, the few
# directions with the largest variance (overall colour and brightness) decide alone. And without weights, a large
# cluster pulls the network in proportion to its size.
#
# ## Play: epsilon and iterations
#
# The score matrix of 128 test pictures and the 64 prototypes you have trained; the same with a favourite
# (0.5 added to one prototype's cosines); and the scores before training. Top: who is assigned where.
# Bottom: what each prototype gets.

# %%
with torch.no_grad():
    trained = swav.eval().scores(swav.embed(views.normalize(test.images[:128])))
popular = trained.clone()
popular[:, 7] += 0.5
matrices = {"as trained": trained, "with a favourite": popular, "before training": at_start}
widgets.explore(
    partial(sinkhorn_widget.render, batch=matrices),
    sinkhorn_widget.controls(tuple(matrices)),
    static=[
        {"iterations": 0}, {"iterations": 3},
        {"scores": "with a favourite", "iterations": 0}, {"scores": "with a favourite", "iterations": 3},
    ],
    alt=partial(sinkhorn_widget.describe, batch=matrices),
    columns=2,
)  # fmt: skip

# %% [markdown]
# > **Try.** (1) Give the favourite one iteration. Is it gone? Why is one enough to remove a bonus that is the
# > same for all images? (2) At $\varepsilon = 1$, how many prototypes is an image spread over? What would the
# > network learn from such codes? (3) Find the smallest $\varepsilon$ for which three iterations still balance.

# %% [markdown]
# ## Exercises
#
# Replace `return exercises.NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on
# your answers.
#
# ### 1 · Purity (•, 5 minutes)
#
# <details><summary>Hint 1</summary>For each cluster, count the labels of its members; the largest count are its hits.</details>
# <details><summary>Hint 2</summary>Add the hits of all clusters before you divide.</details>

# %%


def cluster_purity(clusters: torch.Tensor, labels: torch.Tensor) -> float:
    """clusters [N], labels [N] -> the share of images whose label is the commonest one of their cluster."""
    return exercises.NOT_ATTEMPTED


ch17.check_cluster_purity(cluster_purity)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def cluster_purity(clusters, labels):
#     hits = sum(torch.bincount(labels[clusters == c]).max() for c in clusters.unique())
#     return hits / len(labels)
# ```
#
# Beware: purity rises with the number of clusters; with one image per cluster it is 1. Compare only at
# equal $K$.
# </details>
#
# ### 2 · The mean entropy (•, 5 minutes)
#
# MSN's regulariser, without its sign. A prototype that nobody uses must not give NaN.
#
# <details><summary>Hint 1</summary>Which comes first, the mean over the images or the entropy?</details>
# <details><summary>Hint 2</summary>$0\log 0$ counts as 0: `torch.special.entr`.</details>

# %%


def mean_entropy(p: torch.Tensor) -> torch.Tensor:
    """p [N, K], rows sum to 1 -> the entropy of the mean prediction, in nats."""
    return exercises.NOT_ATTEMPTED


ch17.check_mean_entropy(mean_entropy)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def mean_entropy(p):
#     return torch.special.entr(p.mean(dim=0)).sum()
# ```
# </details>
#
# ### 3 · Sinkhorn-Knopp (••, 12 minutes)
#
# Close your eyes to step 4 and write it. It must stay finite in float32 when scores / epsilon is a thousand.
#
# <details><summary>Hint 1</summary>Work with logarithms; dividing by a sum becomes subtracting a `logsumexp`.</details>
# <details><summary>Hint 2</summary>Columns to N / K first, then rows to 1, in each iteration.</details>
# <details><summary>Hint 3</summary>A constant in all of `log_q` is removed by the next row step; the `exp` comes last.</details>

# %%


def my_sinkhorn(scores: torch.Tensor, epsilon: float, iterations: int) -> torch.Tensor:
    """scores [N, K] -> assignments [N, K], rows sum to 1."""
    return exercises.NOT_ATTEMPTED


ch17.check_sinkhorn(my_sinkhorn)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_sinkhorn(scores, epsilon, iterations):
#     log_q = scores / epsilon
#     for _ in range(iterations):
#         log_q = log_q - log_q.logsumexp(dim=0)
#         log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)
#     return log_q.exp()
# ```
#
# The factor N / K of the columns may be left out: the row step removes it.
# </details>
#
# ### 4 · Swapped prediction (••, 10 minutes)
#
# The codes are given.
#
# <details><summary>Hint 1</summary>Who predicts whose code?</details>
# <details><summary>Hint 2</summary>`F.cross_entropy` takes soft targets.</details>

# %%


def my_swapped_prediction(scores1, scores2, q1, q2, temperature: float) -> torch.Tensor:
    """scores and codes of two views, all [N, K] -> a scalar in nats."""
    return exercises.NOT_ATTEMPTED


ch17.check_swapped_prediction(my_swapped_prediction)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_swapped_prediction(scores1, scores2, q1, q2, temperature):
#     return (F.cross_entropy(scores1 / temperature, q2) + F.cross_entropy(scores2 / temperature, q1)) / 2
# ```
# </details>
#
# ### 5 · On paper: one iteration and a favourite (•••, 10 minutes)
#
# Show that adding a number $b_k$ to column $k$ of the scores, the same for all images, does not change what
# Sinkhorn returns after one iteration or more. What does it do to the softmax? Why is this the kind of
# change a collapsing network makes?
#
# <details><summary>Solution</summary>The column step divides column $k$ by its sum. The bonus multiplies all entries of the column by $e^{b_k/\varepsilon}$, and its sum by the same,
# so it cancels at once. In the softmax (rows only) the favourite takes everything as $b_k/\varepsilon$
# grows. A network that collapses raises the score of one prototype for every image, which is exactly such a
# bonus; the codes do not notice it, so nothing rewards it.</details>

# %% [markdown]
# ## Claims put to the test

# %%


def verdict(holds: bool, partly: bool = False) -> str:
    return "reproduced" if holds else "mixed" if partly else "not reproduced here"


def minute(name: str) -> list[float]:
    return [r["probe"] for r in record if r["method"] == name and r["arm"] == "minute"]


# What chance alone does to a difference of two runs: two standard deviations, from SimCLR's seeds in the
# running table.
simclr_minute = torch.tensor(minute("simclr"))
NOISE = float(2 * math.sqrt(2) * simclr_minute.std()) if len(simclr_minute) > 1 else 0.04
gain = mean(recorded("simclr without false negatives")) - mean(recorded("simclr"))
hurts = gain > NOISE
best_cluster = max(FAMILY, key=lambda name: mean(minute(name)))
avoids = mean(minute(best_cluster)) > mean(minute("simclr")) + NOISE
book.claim(
    "C-38",
    "Negatives of the anchor's own class hurt contrastive learning; clustering avoids it.",
    verdict(hurts and avoids, hurts or avoids),
    {
        "probe, SimCLR": mean(recorded("simclr")),
        "probe, SimCLR without false negatives": mean(recorded("simclr without false negatives")),
        "gain by removing them": gain,
        "what counts as a difference": NOISE,
        f"probe after a minute, {best_cluster}": mean(minute(best_cluster)),
        "probe after a minute, SimCLR": mean(minute("simclr")),
    },
    "jaiswal2021survey",
)

excess = {arm: drop[arm] - drop["supervised"] for arm in ("simclr", "swav", "msn") if arm in drop}
worse = [arm for arm, e in excess.items() if e > NOISE]
book.claim(
    "C-126",
    "A uniform prior over clusters hurts when the pretraining data is imbalanced.",
    verdict(len(worse) == len(excess), bool(worse)),
    {f"probe lost on the long tail, {arm}": d for arm, d in drop.items()}
    | {f"lost beyond the supervised control, {arm}": e for arm, e in excess.items()},
    "balestriero2023cookbook",
)

repaired_by = mean(recorded("pmsn", imbalance=100)) - mean(recorded("msn", imbalance=100))
costs_elsewhere = mean(recorded("msn")) - mean(recorded("pmsn"))
book.claim(
    "C-127",
    "A prior that matches the long tail (a power law) repairs it.",
    verdict(
        repaired_by > NOISE and drop["pmsn"] < drop["msn"], repaired_by > NOISE or drop["pmsn"] < drop["msn"]
    ),
    {
        "probe on the long tail, MSN": mean(recorded("msn", imbalance=100)),
        "probe on the long tail, PMSN": mean(recorded("pmsn", imbalance=100)),
        "gain of the power law there": repaired_by,
        "its cost on balanced data": costs_elsewhere,
    },
    "assran2023hidden",
)

book.claim(
    "Q-22",
    "As printed, the constraints of noise as targets (both on the columns of P) assign every image its own target.",
    verdict(used_printed == 24, False),
    {"targets used as printed, of 24": used_printed, "targets used with one constraint per side": used_right},
    "balestriero2023cookbook",
)

# %% [markdown]
# The first three rest on recorded runs in a small world with ten kinds, few seeds each. A difference counts
# only if it is larger than two standard deviations of the difference between two equal runs, measured on
# SimCLR's seeds.

# %% [markdown]
# ## Where it comes from, where it went
#
# Learning classifiers and labels together is older than deep learning: *maximum margin clustering* ([Xu et
# al.,
# 2004](https://papers.nips.cc/paper_files/paper/2004/hash/6403675579f6114559c90de0014cd3d6-Abstract.html))
# looks for the labels that a support vector machine separates with the widest margin, *discriminative
# clustering* ([Joulin, Bach and Ponce, 2010](https://doi.org/10.1109/CVPR.2010.5539868)) for those that a
# ridge regression fits best; both met the one-cluster solution, and both forbade it by a constraint on the
# balance. [NAT (2017)](https://arxiv.org/abs/1704.05310) fixed the targets, [DeepCluster
# (2018)](https://arxiv.org/abs/1807.05520) made k-means work at the scale of ImageNet, *local aggregation*
# ([Zhuang et al., 2019](https://arxiv.org/abs/1903.12355)) pulls an image towards its close neighbours and
# pushes it from its background neighbours, and [SeLa (2020)](https://arxiv.org/abs/1911.05371) brought
# optimal transport. [SwAV (2020)](https://arxiv.org/abs/2006.09882) made it online. [PCL
# (2021)](https://arxiv.org/abs/2005.04966) brought clusters to MoCo (a second version, PCL v2, adds MoCo
# v2's projector and tuning). From SwAV the line leads to DINO (chapter 15), which replaces Sinkhorn by
# centring and sharpening, to [MSN (2022)](https://arxiv.org/abs/2204.07141), and back: several later models
# of the DINO family use Sinkhorn-Knopp again.
#
# Is SwAV a member of the correlation family of chapter 16? A well-known cookbook files it there. The common
# ground: equal use of all prototypes and equal use of all dimensions are both ways to forbid collapse
# through a statistic of the batch.
#
# **Further reading.** On entropic transport: [Cuturi (2013)](https://arxiv.org/abs/1306.0895). On the hidden
# prior: [Assran et al. (2023)](https://arxiv.org/abs/2210.07277). On uncurated data: [Tian et al.
# (2021)](https://arxiv.org/abs/2105.08054).
#
# ### Quiz
#
# **1.** Why does DeepCluster re-initialise its classifier after each clustering, and SeLa not?
#
# <details><summary>Answer</summary>k-means numbers its clusters arbitrarily, from scratch each time; the old weights refer to old numbers. SeLa computes new labels *from the
# classifier's own predictions*: label 7 is still the label that output 7 likes best.</details>
#
# **2.** SwAV with 3,000 prototypes and batches of 256, no queue. What do the codes look like?
#
# <details><summary>Answer</summary>Every prototype is to get 256/3000 of an image: less than a tenth. So every image is spread over about a dozen prototypes whatever $\varepsilon$ is, and which ones depends on the accident of the
# batch. The queue makes the crowd larger than $K$.</details>
#
# **3.** Your data has one kind in 90 % of the pictures. You train SwAV with 64 prototypes. What will most
# prototypes stand for?
#
# <details><summary>Answer</summary>For pieces of that kind: balance forces about 58 of the 64 onto it, cut along whatever still varies inside it: pose, colour, ground. The remaining kinds share about six.</details>
