# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Can a network learn what a picture shows without being told?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/00_start_here.ipynb)
#
# **After this chapter you can** pretrain an image encoder without a single label, measure what it has learned
# with a linear probe, compare it with the three baselines that matter, and say which properties of a picture it
# keeps and which it throws away.
#
# **You need** Python, and a little PyTorch. Everything else is explained on the way.
# **Time**: 27 minutes to read, about one minute to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("00")

# %% [markdown]
# > **How this book works.** Every chapter is a notebook that runs from top to bottom in about a minute. It opens
# > with a puzzle, derives an idea, writes the idea out in code, trains it in front of you, breaks it on purpose, and
# > lets you play. What a chapter is *about* is written out in its cells; what it merely *needs* comes from the small
# > package `ssl_lessons`, which you can read in an evening. Numbers in the text are printed by the code that measured
# > them. Exercises check your answer and tell you which mistake you made; skipping one breaks nothing.

# %% [markdown]
# ## A puzzle
#
# Here are four rows of three pictures. In each row the middle picture shows **the same kind of thing** as the left
# one, with every colour, texture and position drawn anew. The right picture shows **something else**, painted in
# exactly the colours, on exactly the background, of the left one.

# %%
import torch

from ssl_lessons import data, evaluation, exercises, plots, views, widgets
from ssl_lessons.book.exercises import ch00
from ssl_lessons.methods import Supervised
from ssl_lessons.models import encoders
from ssl_lessons.training import default_monitor, pretrain, recipes

SEED = 0


def triples(n: int, seed: int) -> torch.Tensor:
    """[3n, 3, 32, 32]: n pictures, then n of the same kind in other colours, then n of another kind in the same."""
    left, middle = data.sample_factors(n, seed, world=1), data.sample_factors(n, seed + 1, world=1)
    middle["kind"] = left["kind"]
    shift = torch.randint(1, 10, (n,), generator=torch.Generator().manual_seed(seed))
    right = left | {"kind": (left["kind"] + shift) % 10}
    return torch.cat([data.render(table, size=32) for table in (left, middle, right)])


puzzle = triples(4, seed=11)
rows = puzzle.view(3, 4, 3, 32, 32).transpose(0, 1).flatten(0, 1)
plots.show(
    plots.image_grid(rows, columns=3, titles=["picture", "same kind", "same colours"] * 4),
    alt="Four rows of three small drawings. The middle one shows the same object as the left one in other colours; "
    "the right one shows a different object in the same colours and on the same background.",
)

# %% [markdown]
# Which of the two is *closer* to the left picture? You say: the middle one. Now ask the pixels.
#
# **Predict before you run the next cell.** Take a thousand such rows and measure closeness by cosine similarity. In
# what share of the rows is the same kind closer than the same colours, if you compare (a) raw pixels, (b) the
# features of a neural network that has never been trained?


# %%
def same_kind_is_closer(features: torch.Tensor) -> float:
    """Share of rows whose middle picture is closer to the left one than the right one is; features [3n, D]."""
    z = torch.nn.functional.normalize(features - features.mean(0), dim=1)
    left, middle, right = z.chunk(3)
    return float(((left * middle).sum(1) > (left * right).sum(1)).float().mean())


recipe = recipes.get_recipe("quick")
fresh = recipe.build(SEED).encoder  # a small convolutional network with random weights
test_rows = triples(1000, seed=100)
puzzle_scores = {
    "raw pixels": same_kind_is_closer(evaluation.pixels(test_rows)),
    "untrained network": same_kind_is_closer(evaluation.extract_features(fresh, test_rows)),
}
for name, score in puzzle_scores.items():
    print(f"{name}: the same kind is closer in {score:.0%} of 1,000 rows")

# %% [markdown]
# Neither sees what you see. To a camera, two blue pictures are alike, whatever stands in them. The question of this
# chapter, and of the whole book, is whether a network can learn to see past that **without anyone telling it what a
# boat is**.
#
# The usual way is to tell it: collect labels, train a classifier. Labels cost money and attention; pictures are
# free. In **self-supervised learning** (SSL) the network makes its own exercises out of unlabelled pictures.

# %% [markdown]
# ## The idea: two views, one thing
#
# Take a picture and alter it twice, at random: crop it, mirror it, shift its colours, perhaps remove them. You get
# two **views**. Both still show the same thing, although hardly a pixel agrees. Do this for a whole batch of
# pictures, shuffle all views together, and set the network one exercise: *for each view, find its partner.*

# %%
unlabeled = data.shapes("unlabeled", size=32, n=8192, seed=SEED, world=1)
train = data.shapes("train", size=32, n=2000, seed=SEED, world=1)
test = data.shapes("test", size=32, n=2000, seed=SEED, world=1)

generator = torch.Generator().manual_seed(3)
pictures = unlabeled.images[:8]
first, second = views.make_views(pictures, (recipe.policy, recipe.policy), generator)
shown = torch.cat([pictures.float() / 255, views.denormalize(first), views.denormalize(second)])
plots.show(
    plots.image_grid(shown, columns=8, title="Top: eight pictures. Below: two random views of each"),
    alt="Eight drawings in a row and, under each, two randomly cropped, mirrored and recoloured versions of it.",
)

# %% [markdown]
# A network that wins this game cannot rely on colour, because colour differs between partners. It cannot rely on
# position, because the crop moves things. What is left, and what tells one picture from another, is largely *what is
# in it*. That is the bet of SimCLR ([Chen et al. 2020](https://arxiv.org/abs/2002.05709)).
#
# **In symbols.** An encoder $f$ turns a view into a feature vector $h \in \mathbb{R}^{d}$ (here $d = 256$), and a
# small **projector** $g$ turns $h$ into $z = g(h) \in \mathbb{R}^{128}$. With $N$ pictures there are $2N$ vectors
# $z_i$; write $j(i)$ for the partner of $i$, $s_{ik} = z_i^\top z_k / (\lVert z_i\rVert \lVert z_k\rVert)$ for the
# cosine similarity, and $\tau$ for a positive number called the **temperature**. The loss is a cross-entropy, "which
# of the other $2N-1$ views is my partner?" (Chen et al. 2020, equation 1):
#
# $$ L = \frac{1}{2N} \sum_{i=1}^{2N} -\log
# \frac{\exp(s_{i,j(i)} / \tau)}{\sum_{k \ne i} \exp(s_{ik} / \tau)} $$
#
# Ten lines say the same. [Chapter 13](13_from_nce_to_nt_xent.ipynb) derives them; here you only need to believe them.


# %%
def nt_xent(z1: torch.Tensor, z2: torch.Tensor, temperature: float) -> torch.Tensor:
    """The loss above for views z1, z2 [N, D]; row i of z1 and row i of z2 are partners."""
    z = torch.nn.functional.normalize(torch.cat([z1, z2]), dim=1)  # [2N, D], unit length
    logits = z @ z.T / temperature  # [2N, 2N]
    logits.fill_diagonal_(float("-inf"))  # nobody is their own partner
    n = len(z1)
    partner = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
    return torch.nn.functional.cross_entropy(logits, partner)


# %% [markdown]
# One check before you trust it. If the network gives every view the same vector, it can only guess among $2N - 1$
# candidates, so the loss must be $\log(2N - 1)$. And it must agree with the package's tested version.

# %%
# NBVAL_CHECK_OUTPUT
from ssl_lessons import losses

alike, noise = torch.ones(256, 128), torch.randn(2, 256, 128, generator=torch.Generator().manual_seed(0))
print(f"all alike: {nt_xent(alike, alike, 0.1):.4f}, log(511) = {torch.log(torch.tensor(511.0)):.4f}")
agree = torch.allclose(nt_xent(*noise, 0.1), losses.nt_xent(*noise, 0.1), atol=1e-5)
print("agrees with ssl_lessons.losses.nt_xent:", agree)

# %% [markdown]
# ## The run
#
# Now train. `pretrain` draws a batch of 256 pictures, makes two views of each, computes the loss and takes one
# optimiser step, over and over. **It never sees a label.** The labels of a few held-out pictures are used on the side,
# to show you whether anything is being learned: kNN (k nearest neighbours) classifies a picture by a vote of the
# pictures whose features are most similar.

# %%
STEPS = 230

simclr = recipe.build(SEED)
history = pretrain(
    simclr,
    unlabeled.images,
    (recipe.policy, recipe.policy),
    steps=STEPS,
    seed=SEED,
    monitor=default_monitor(train, STEPS, images=500),
    on_measure=plots.watch(
        title="The loss falls, the neighbours get better, and the features keep many directions",
        alt="Three curves over training steps: the loss falls below its chance level, online kNN accuracy climbs far "
        "above chance, and the spread and rank of the features do not collapse.",
        chance=0.1,
        chance_loss=float(torch.log(torch.tensor(511.0))),
    ),
    **recipe.training(),
)

# %% [markdown]
# On the left, the loss against the value of a network that knows nothing. In the middle, the vote of the neighbours against
# chance. On the right, two measures that warn of **collapse**, the failure in which all pictures get the same
# features: the spread of the features (0 means collapsed) and RankMe, the number of directions they use. Chapter 20 is
# about what happens when these fall.

# %% [markdown]
# ## How good is it? Three baselines
#
# A number alone says nothing. Three comparisons decide whether the pretraining was worth it:
#
# - **raw pixels**: what you get without any network;
# - **an untrained encoder** of the same shape: what the architecture gives away for free;
# - **the same encoder trained from scratch on the labels you have**: what you would have done without SSL. It comes twice:
#   on the labelled pictures as they are, and with the same random views that SimCLR gets and three times the steps (more
#   would help it further still). A baseline that is not given its chance proves nothing.
#
# All are judged by the same **linear probe**: freeze the features, draw ten labelled pictures per class (100 labels),
# fit a logistic regression, and score it on 2,000 test pictures. The regularisation is chosen by cross-validation
# *inside* the 100 labels. Because 100 labels can be a lucky or an unlucky draw, there are five draws, and every
# contestant gets the same ones (the networks trained from scratch, which take longest, get three of them).

# %%
DRAWS = 5


def probe_scores(train_x: torch.Tensor, test_x: torch.Tensor) -> list[float]:
    """Test accuracies of linear probes with ten labels per class, one per draw."""
    found = evaluation.label_efficiency(
        train_x, train.labels, test_x, test.labels, per_class=(10,), draws=DRAWS, seed=SEED
    )
    return found[0]["accuracies"]


def features_of(encoder) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(evaluation.extract_features(encoder, s.images) for s in (train, test))


def supervised(draw: int, policy: views.Policy, steps: int) -> tuple[float, torch.nn.Module]:
    """The same encoder trained from scratch on one draw of 100 labels: test accuracy, and the encoder."""
    few = train[data.label_subset(train.labels, 10, seed=SEED + draw)]
    torch.manual_seed(draw)
    model = Supervised(encoders.untrained(fresh, seed=draw), n_classes=10)
    options = {"steps": steps, "batch_size": 50, "lr": 3e-3, "seed": draw, "progress": False}
    pretrain(model, few.images, (policy,), labels=few.labels, **options)
    h = evaluation.extract_features(model.encoder, test.images)
    with torch.no_grad():
        right = model.classifier.cpu()(h).argmax(1) == test.labels
    return float(right.float().mean()), model.encoder


# %%
features = {
    "raw pixels": (evaluation.pixels(train.images), evaluation.pixels(test.images)),
    "untrained encoder": features_of(fresh),
    "SimCLR, no labels": features_of(simclr.encoder),
}
scores = {name: probe_scores(*pair) for name, pair in features.items()}
plain = [supervised(draw, views.Policy.none(32), steps=100) for draw in range(3)]
augmented = [supervised(draw, recipe.policy, steps=300) for draw in range(3)]
scores["supervised, plain"] = [accuracy for accuracy, _ in plain]
scores["supervised, augmented"] = [accuracy for accuracy, _ in augmented]

plots.show(
    plots.bars(
        {name: [100 * s for s in values] for name, values in scores.items()},
        title="What 100 labels buy: on frozen features, and from scratch",
        xlabel="test accuracy with 100 labels (%); dots: draws of labels",
        chance=10,
    ),
    alt="Bars of test accuracy with 100 labels: raw pixels, an untrained encoder, SimCLR features, and encoders "
    "trained from scratch on the 100 labels without and with augmentation. "
    + ", ".join(f"{name} {100 * sum(v) / len(v):.0f} percent" for name, v in scores.items())
    + ". Chance is 10 percent.",
)


# %%
def knn(name: str, subset=slice(None)) -> float:
    train_x, test_x = features[name]
    return evaluation.knn_accuracy(train_x[subset], train.labels[subset], test_x, test.labels)


def row(name: str) -> dict:
    values = torch.tensor(scores[name])
    line = {"representation": name, "probe, 100 labels": float(values.mean()), "spread": float(values.std())}
    if name in features:
        draws = [data.label_subset(train.labels, 10, seed=SEED + draw) for draw in range(DRAWS)]
        line["kNN, 100 labels"] = sum(knn(name, draw) for draw in draws) / DRAWS
        line["kNN, 2,000 labels"] = knn(name)
    return line


guess = dict.fromkeys(("probe, 100 labels", "kNN, 100 labels", "kNN, 2,000 labels"), 0.1)
plots.table(
    [row(name) for name in scores] + [{"representation": "chance"} | guess],
    caption="Test accuracy; the spread is over the draws of labels. From scratch: accuracy of the network itself",
    floatfmt=".1%",
)
means = {name: sum(v) / len(v) for name, v in scores.items()}
assert means["SimCLR, no labels"] > means["untrained encoder"] + 0.15
assert means["supervised, augmented"] > means["SimCLR, no labels"] > means["supervised, plain"]

# %% [markdown]
# Read it twice, because it is not what the advertisement says. Features that never saw a label beat pixels, the untrained
# network, and the network trained on the 100 labels as they are. But the network trained on the same labels **with the same
# augmentation** beats them in turn. In this small world of ten rigid drawings, most of what there is to learn is what *does
# not matter* (colour, position, size), and it is the augmentation that says so, with labels or without. On photographs, with
# their endless variety, few labels do not get a network that far, and pretraining wins
# ([Chen et al. 2020](https://arxiv.org/abs/2006.10029)). What the unlabelled route has in any case: it needed no label, so
# it did not have to know beforehand which question will be asked. Hold that thought until the factor probe below.
#
# Do not overlook the last column either. With 2,000 labels, a vote of neighbours in *pixel* space does well too: among so many
# labelled pictures there is often one that nearly coincides with yours. Labels in plenty forgive a poor
# representation. The point of a good one is the first column, where labels are scarce.
#
# And the puzzle? Ask the trained features the question that pixels could not answer.

# %%
puzzle_scores["after SimCLR"] = same_kind_is_closer(evaluation.extract_features(simclr.encoder, test_rows))
for name, score in puzzle_scores.items():
    print(f"{name}: the same kind is closer in {score:.0%} of 1,000 rows")
assert puzzle_scores["after SimCLR"] > puzzle_scores["untrained network"] + 0.2

# %% [markdown]
# Much better than before, and still wrong more often than not. The test is unfair on purpose: the right picture shares
# *everything* with the left one except the kind, down to position, light and pattern, and a short run has not unlearned
# all of these. The next section shows how to see which ones it has.
#
# ## What goes wrong: the colour shortcut
#
# The exercise "find your partner" is only as good as the way you make partners. Leave the colours alone, and crop
# and mirror only. **Predict**: will the loss be higher or lower than before? Will the probe be better or worse?

# %%
FEWER = 100

no_color = recipe.with_(policy=recipe.policy.scaled(0).replace(grayscale_p=0))
shortcut = no_color.build(SEED)
shortcut_history = pretrain(
    shortcut, unlabeled.images, (no_color.policy,) * 2, steps=FEWER, seed=SEED, **no_color.training()
)
features["without colour jitter"] = features_of(shortcut.encoder)
scores["without colour jitter"] = probe_scores(*features["without colour jitter"])


def settled_loss(history: list[dict], steps: int) -> float:
    """Mean loss over the last ten of the first `steps` steps."""
    return sum(r["loss"] for r in history[steps - 10 : steps]) / 10


loss_with, loss_without = settled_loss(history, FEWER), settled_loss(shortcut_history, FEWER)
probe_without = sum(scores["without colour jitter"]) / DRAWS
print(f"loss after {FEWER} steps: {loss_with:.2f} with colour jitter, {loss_without:.2f} without")
print(
    f"probe with 100 labels: {means['SimCLR, no labels']:.1%} with ({STEPS} steps), {probe_without:.1%} without"
)

# %% [markdown]
# The loss is far *lower* and the features are worse. Without colour jitter the two partners share their colours, and
# colours alone pick the partner out of hundreds. The network solves the exercise that you set, not the one that you
# had in mind. A low loss is no evidence of learning; that is why this book never shows a loss without a probe.
#
# Because these pictures are drawn by a program, you can look at the shortcut directly. Every picture comes with the
# **factors** it was drawn from: kind, position, hue, texture, light. A **factor probe** asks how well each of them can
# be read from the features by a linear model: 0 means no better than chance, 1 means perfectly.

# %%
FACTORS = (
    "kind",
    "x",
    "scale",
    "polarity",
    "object_hue",
    "background_hue",
    "background_texture",
    "light_angle",
)


def factor_scores(name: str) -> dict[str, float]:
    train_x, test_x = features[name]
    chosen = [{k: s.factors[k] for k in FACTORS} for s in (train, test)]
    return evaluation.factor_probe(train_x, chosen[0], test_x, chosen[1])


features["supervised, augmented"] = features_of(augmented[0][1])
kept = {
    name: factor_scores(name)
    for name in ("untrained encoder", "SimCLR, no labels", "without colour jitter", "supervised, augmented")
}
plots.show(
    plots.factor_bars(
        kept,
        title="With colour jitter the kind is kept and the object's hue forgotten; without it, hues stay",
    ),
    alt="Grouped bars of how well each generating factor can be read from four encoders. "
    + " ".join(
        f"{name}: kind {k['kind']:.2f}, object hue {k['object_hue']:.2f}, background hue {k['background_hue']:.2f}."
        for name, k in kept.items()
    ),
)

# %% [markdown]
# This is the picture to remember. **The augmentation decides what is forgotten**: what differs between partners is
# dropped, what they share and what sets them apart from others is kept. `polarity` (light thing on dark ground or the
# reverse) survives in both, since no augmentation here inverts it. Nobody told the network that the kind matters; it
# is simply what is left. And compare the supervised network beyond the first group: it was asked for the kind. What has it kept of
# the rest, and which of the two would you rather have when the next question is *where* the thing is, or how large?

# %% [markdown]
# ## Play: whose neighbours are these?
#
# Choose a picture and a representation, and look at the nearest neighbours. Move through some pictures with *raw
# pixels*, then with *SimCLR*, then with the shortcut. You learn to see what each of them looks at.

# %%
some = test[:500]
spaces = {name: pair[1][:500] for name, pair in features.items()}
neighbors = widgets.Neighbors(some, spaces)
widgets.explore(
    neighbors.render,
    neighbors.controls,
    static=[{"query": 7, "space": name} for name in spaces],
    alt=neighbors.alt,
    columns=1,
)

# %% [markdown]
# ## Exercises
#
# Replace the stub, run the cell, and read what the checker says. Each checker tries your function on random inputs
# and, when it fails, tells you which well-known mistake it resembles.
#
# ### 1 · Cosine similarity (• , 5 minutes)
# Write the similarity that the loss is built on: all pairs of rows of `a` `[N, D]` and `b` `[M, D]`, as `[N, M]`.
#
# <details><summary>Hint 1</summary>Divide each row by its length first.</details>
# <details><summary>Hint 2</summary>The length of a row is a norm over the last dimension; keep that dimension so that
# the division broadcasts.</details>
# <details><summary>Hint 3</summary>After that, one matrix product is all.</details>


# %%
def cosine_similarity(a, b):
    return exercises.NOT_ATTEMPTED


ch00.check_cosine_similarity(cosine_similarity)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def cosine_similarity(a, b):
#     a = a / a.norm(dim=1, keepdim=True)
#     b = b / b.norm(dim=1, keepdim=True)
#     return a @ b.T
# ```
# </details>
#
# ### 2 · Vote of the neighbours (••, 10 minutes)
# Predict a label for every row of `test_x` by a majority vote of its `k` nearest rows of `train_x` in cosine
# similarity.
#
# <details><summary>Hint 1</summary>`topk` of the similarities gives you the indices of the neighbours.</details>
# <details><summary>Hint 2</summary>`train_y[indices]` are their labels, `[M, k]`.</details>
# <details><summary>Hint 3</summary>`torch.mode(..., dim=1).values` is the majority.</details>


# %%
def knn_predict(train_x, train_y, test_x, k):
    return exercises.NOT_ATTEMPTED


ch00.check_knn_predict(knn_predict)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def knn_predict(train_x, train_y, test_x, k):
#     normalize = torch.nn.functional.normalize
#     similarity = normalize(test_x, dim=1) @ normalize(train_x, dim=1).T
#     neighbours = similarity.topk(k, dim=1).indices
#     return torch.mode(train_y[neighbours], dim=1).values
# ```
# </details>
#
# ### 3 · A fair draw of labels (••, 10 minutes)
# Draw `per_class` random examples of every class. `labels` is `[N]`, with -1 where there is no label; return the
# indices of the chosen examples. Use the given `generator` for every random choice.
#
# <details><summary>Hint 1</summary>Go through the classes one by one; skip -1.</details>
# <details><summary>Hint 2</summary>`(labels == c).nonzero().flatten()` are the members of class `c`.</details>
# <details><summary>Hint 3</summary>`torch.randperm(len(members), generator=generator)[:per_class]` picks some of
# them without repetition.</details>


# %%
def draw_labels(labels, per_class, generator):
    return exercises.NOT_ATTEMPTED


ch00.check_label_subset(draw_labels)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def draw_labels(labels, per_class, generator):
#     chosen = []
#     for c in labels[labels >= 0].unique():
#         members = (labels == c).nonzero().flatten()
#         chosen.append(members[torch.randperm(len(members), generator=generator)[:per_class]])
#     return torch.cat(chosen)
# ```
# </details>
#
# ### 4 · The score of a factor (••, 10 minutes)
# The factor probe scores a continuous factor by $R^2$: one minus the squared error of the prediction, divided by the
# squared error of always guessing the mean of the targets. Write it for `target` `[N]` and `prediction` `[N]`.
#
# <details><summary>Hint</summary>A squared correlation is not the same thing: it forgives a prediction that is
# shifted or scaled.</details>


# %%
def factor_score(target, prediction):
    return exercises.NOT_ATTEMPTED


ch00.check_factor_score(factor_score)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def factor_score(target, prediction):
#     residual = ((target - prediction) ** 2).sum()
#     baseline = ((target - target.mean()) ** 2).sum()
#     return 1 - residual / baseline
# ```
# </details>

# %% [markdown]
# ## Claims, tested
#
# Each chapter puts statements of the literature to the test and says what came out here, in this small world and
# this short run.

# %%
simclr_mean, plain_mean = means["SimCLR, no labels"], means["supervised, plain"]
augmented_mean = means["supervised, augmented"]
book.claim(
    "C-71",
    "Colour distortion is essential: without it the network takes a colour shortcut.",
    "reproduced" if simclr_mean > probe_without + 0.2 else "not reproduced here",
    {
        "probe with colour jitter": simclr_mean,
        "probe without": probe_without,
        "object hue readable with": kept["SimCLR, no labels"]["object_hue"],
        "object hue readable without": kept["without colour jitter"]["object_hue"],
    },
    source="https://arxiv.org/abs/2002.05709",
)
book.claim(
    "C-72",
    "A loss that falls while the probe stalls is the sign of a shortcut in the augmentation.",
    "reproduced" if loss_without < loss_with and probe_without < simclr_mean - 0.2 else "not reproduced here",
    {"loss with jitter": loss_with, "loss without": loss_without, "probe without": probe_without},
    source="https://arxiv.org/abs/2002.05709",
)
book.claim(
    "C-115",
    "A pretrained encoder needs far fewer labels than training on labels alone.",
    "reproduced"
    if simclr_mean > augmented_mean
    else "mixed"
    if simclr_mean > plain_mean
    else "not reproduced here",
    {
        "SimCLR + probe, 100 labels": simclr_mean,
        "supervised, 100 labels as they are": plain_mean,
        "supervised, 100 labels, same augmentation": augmented_mean,
    },
    source="https://arxiv.org/abs/2006.10029",
)

# %% [markdown]
# ## Where it comes from, where it went
#
# Making a network predict one part of its input from another is an old idea: [Becker and Hinton
# (1992)](https://doi.org/10.1038/355161a0) let two networks agree on neighbouring patches of an image, and
# [Bromley et al. (1993)](https://proceedings.neurips.cc/paper/1993/hash/288cc0ff022877bd3df94bc9360b9c5d-Abstract.html)
# trained twin networks on pairs of signatures. [Dosovitskiy et al. (2014)](https://arxiv.org/abs/1406.6909) made every
# picture its own class; [Wu et al. (2018)](https://arxiv.org/abs/1805.01978) turned the classes into a memory of
# features, and [van den Oord et al. (2018)](https://arxiv.org/abs/1807.03748) named the loss InfoNCE. SimCLR
# ([Chen et al. 2020](https://arxiv.org/abs/2002.05709)) showed how far the plain recipe goes when augmentation,
# projector and batch are chosen well. What followed removed the partner search altogether
# ([BYOL](https://arxiv.org/abs/2006.07733), [VICReg](https://arxiv.org/abs/2105.04906)) or hid parts of the picture
# instead ([MAE](https://arxiv.org/abs/2111.06377)).
#
# **Further reading**: a broad practical guide is the [Cookbook of Self-Supervised
# Learning](https://arxiv.org/abs/2304.12210) (Balestriero et al. 2023). **Next**: [chapter
# 13](13_from_nce_to_nt_xent.ipynb) takes the loss apart; [chapter 25](25_capstone_stl10_simclr.ipynb) trains it at
# full size on real photographs.
#
# ## Three questions
#
# **1.** The loss of run A is half that of run B. Which encoder is better?
# <details><summary>Answer</summary>You cannot tell. The two runs may have played different games: with weaker
# augmentation the partner is easier to find and the loss is lower, as the colour shortcut showed. Compare them by a
# probe, on the same labels.</details>
#
# **2.** Why must the untrained encoder be in the table?
# <details><summary>Answer</summary>A convolutional network with random weights is already a representation. Only the
# difference to it is what pretraining has added.</details>
#
# **3.** You want to sort flowers by colour. Is this SimCLR encoder a good start?
# <details><summary>Answer</summary>No. The factor probe shows that it has dropped hue, because the augmentation made
# hue useless. Augmentation has to leave alone what your task needs.</details>
