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
# **After this chapter you can** pretrain an image encoder (a network that turns a picture into a list of numbers, its
# **features**) without a single label, measure what it has learned, compare it fairly with training on labels alone,
# and say which properties of a picture it keeps and which it throws away.
#
# **You need** Python, and a little PyTorch. Everything else is explained on the way. **Time**: 30 minutes to read,
# about a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("00")

# %% [markdown]
# > **How this book works.** Every chapter is a notebook that runs from top to bottom in about a minute. It opens with
# > a puzzle, derives an idea, writes it out in code, trains it in front of you, breaks it on purpose, and lets you play.
# > What a chapter is *about* stands in its cells; what it merely *needs* comes from the small package `ssl_lessons`.
# > Cells that only draw are folded: open them if you like, you lose nothing if you do not. Numbers come from the code
# > that measured them. What takes longer than a minute was run before and recorded, with the command that repeats it.

# %% [markdown]
# ## A puzzle
#
# Four rows of three pictures. In each row the middle picture shows **the same kind of thing** as the left one, with
# every colour, texture and position drawn anew. The right picture shows **something else**, in exactly the colours, at
# the same place, on exactly the background of the left one.

# %%
import math

import torch
from torch.nn.functional import cross_entropy, normalize

from ssl_lessons import data, evaluation, losses, plots, views, widgets
from ssl_lessons.book import capstone
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch00
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.models import settle
from ssl_lessons.training import default_monitor, pretrain, recipes

SEED = 0


def triples(n: int, seed: int) -> torch.Tensor:
    """[3n, 3, 32, 32]: n pictures, n of the same kind, n in the same colours."""
    left, middle = data.sample_factors(n, seed), data.sample_factors(n, seed + 1)
    middle["kind"] = left["kind"]
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randint(1, 10, (n,), generator=generator)
    right = left | {"kind": (left["kind"] + shift) % 10}
    return torch.cat([data.render(table, size=32) for table in (left, middle, right)])


# %% tags=["hide-input"]
four = triples(4, seed=11).view(3, 4, 3, 32, 32).transpose(0, 1).flatten(0, 1)
plots.show(
    plots.image_grid(
        four, columns=3, titles=["picture", "same kind", "same colours"] * 4
    ),
    alt="Four rows of three small drawings. The middle one shows the same object as "
    "the left one in other colours and at another place; the right one shows a "
    "different object in the same colours, at the same place, on the same background.",
)

# %% [markdown]
# Which of the two is *closer* to the left picture? You say: the middle one. Now ask the pixels.
#
# **Predict before you run the next cell.** Take a thousand such rows and measure closeness by cosine similarity, after
# subtracting the mean of all pictures (what all share says nothing). In what share of the rows is the same kind closer
# than the same colours, for (a) raw pixels, (b) the features of a network that was never trained? Somebody who tosses a
# coin gets 50 %.


# %%
def same_kind_is_closer(features: torch.Tensor) -> float:
    """Share of rows whose middle picture is closer to the left one than the right is.

    features [3n, D]: left, middle and right pictures.
    """
    left, middle, right = normalize(features - features.mean(0), dim=1).chunk(3)
    return float(((left * middle).sum(1) > (left * right).sum(1)).float().mean())


recipe = recipes.get_recipe("quick")
unlabeled = data.shapes("unlabeled", n=8192)
fresh = recipe.build(SEED).encoder  # a small convolutional network, random weights
settle(fresh, unlabeled.images[:2048])
test_rows = triples(1000, seed=100)
puzzle = {
    "raw pixels": same_kind_is_closer(evaluation.pixels(test_rows)),
    "untrained network": same_kind_is_closer(
        evaluation.extract_features(fresh, test_rows)
    ),
}
for name, score in puzzle.items():
    print(f"{name}: the same kind is closer in {score:.0%} of 1,000 rows")
assert max(puzzle.values()) < 0.25

# %% [markdown]
# Both do far worse than the coin: they choose the picture with the same colours, place and background. To a camera,
# two blue pictures are alike, whatever stands in them. The question of this chapter, and of the book, is whether a
# network can learn to see past that **without anyone telling it what a boat is**.
#
# (`settle` shows the untrained network some pictures before it is measured. A network normalises what flows through
# it, with averages that it collects while it runs, and one that has seen nothing has none. No weight changes.)
#
# The usual way is to tell it: collect labels, train a classifier. Labels cost money and attention; pictures are free.
# In **self-supervised learning** (SSL) the network makes its own exercises out of unlabelled pictures.

# %% [markdown]
# ## The idea: two views, one thing
#
# Take a picture and alter it twice, at random: crop it, mirror it, shift its colours, perhaps remove them. You get two
# **views**. Both show the same thing, although hardly a pixel agrees. Do this for a whole batch of pictures, shuffle
# all views together, and set the network one exercise: *for each view, find its partner.*

# %%
generator = torch.Generator().manual_seed(3)
pictures = unlabeled.images[:8]
policies = (recipe.policy, recipe.policy)  # what may happen to a view, and how strongly
first, second = views.make_views(pictures, policies, generator)

# %% tags=["hide-input"]
shown = [pictures.float() / 255, views.denormalize(first), views.denormalize(second)]
plots.show(
    plots.image_grid(
        torch.cat(shown),
        columns=8,
        title="Top: eight pictures. Below: two views of each",
    ),
    alt="Eight drawings in a row and, under each, two randomly cropped, mirrored and "
    "recoloured versions of it.",
)

# %% [markdown]
# Colour mostly differs between partners, so it helps little. What is left, and what tells one picture from another, is
# largely *what is in it*. That is the bet of SimCLR ([Chen et al. 2020](https://arxiv.org/abs/2002.05709)).
#
# **In symbols.** An encoder $f$ turns a view into a feature vector $h \in \mathbb{R}^{d}$ (here $d = 256$), and a small
# **projector** $g$ turns $h$ into $z = g(h) \in \mathbb{R}^{128}$. The loss looks at $z$; what one keeps and uses
# afterwards is $h$ ([chapter 20](20_collapse.ipynb) asks why). With $N$ pictures there are $2N$ vectors $z_i$. Write
# $j(i)$ for the partner of $i$, $s_{ik} = z_i^\top z_k / (\lVert z_i\rVert \lVert z_k\rVert)$ for the cosine
# similarity, and $\tau$ for a positive number, the **temperature**. The loss is a cross-entropy, "which of the other
# $2N-1$ views is my partner?" (Chen et al. 2020, equation 1, averaged over all views):
#
# $$ L = \frac{1}{2N} \sum_{i=1}^{2N} -\log
# \frac{\exp(s_{i,j(i)} / \tau)}{\sum_{k \ne i} \exp(s_{ik} / \tau)} $$
#
# Six lines say the same. [Chapter 13](13_from_nce_to_nt_xent.ipynb) derives them; here you only need to believe them.


# %%
def nt_xent(z1: torch.Tensor, z2: torch.Tensor, temperature: float) -> torch.Tensor:
    """The loss for views z1, z2 [N, D]; row i of z1 and row i of z2 are partners."""
    z = normalize(torch.cat([z1, z2]), dim=1)  # [2N, D], unit length
    s = z @ z.T / temperature  # [2N, 2N]
    s.fill_diagonal_(float("-inf"))  # nobody is their own partner
    n = len(z1)
    partner = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
    return cross_entropy(s, partner)


# %% [markdown]
# Check it before you trust it. If the network gives every view the same vector, it can only guess among $2N - 1$
# candidates, so the loss must be $\log(2N - 1)$: with $N = 256$ pictures, $\log 511$. And it must agree with the
# package's tested version.

# %%
# NBVAL_CHECK_OUTPUT
alike = torch.ones(256, 128)
noise = torch.randn(2, 256, 128, generator=torch.Generator().manual_seed(0))
print(f"all alike: {nt_xent(alike, alike, 0.1):.4f}")
print(f"log(511):  {math.log(511):.4f}")
agree = torch.allclose(nt_xent(*noise, 0.1), losses.nt_xent(*noise, 0.1), atol=1e-5)
print("agrees with ssl_lessons.losses.nt_xent:", agree)

# %% [markdown]
# ## The run
#
# `pretrain` draws a batch of 256 pictures, makes two views of each, computes the loss and takes one step of the
# optimiser, over and over. **It never sees a label.** The labels of a few pictures are used on the side, to show you
# whether anything is being learned: kNN (k nearest neighbours) lets the pictures with the most similar features vote,
# the nearer the louder.

# %%
STEPS = 200
CHANCE_LOSS = math.log(511)  # of a network that knows nothing
train, test = data.shapes("train", n=2000), data.shapes("test", n=2000)

simclr = recipe.build(SEED)
history = pretrain(
    simclr,
    unlabeled.images,
    policies,
    steps=STEPS,
    seed=SEED,
    monitor=default_monitor(train, STEPS, images=500),
    on_measure=plots.watch(
        title="The loss falls, the neighbours get better, nothing collapses",
        alt="Three curves over training steps: the loss falls below its chance level, "
        "kNN accuracy climbs above chance, and beside them the spread and the "
        "rank of the features, which ends above 20.",
        chance=0.1,
        chance_loss=CHANCE_LOSS,
    ),
    **recipe.training(),  # batch size, optimiser, learning rate
)
assert history[-1]["loss"] < CHANCE_LOSS and history[-1]["knn"] > 0.3
assert history[-1]["rank"] > 20 and history[0]["loss"] > CHANCE_LOSS

# %% [markdown]
# *Left*, the loss, against that of a network that knows nothing (dotted). It starts above the line: at first the
# similarities are noise, and noise divided by $\tau = 0.1$ makes a confident guesser who is wrong. *Middle*, the vote of
# the neighbours against chance. *Right*, two measures that warn of **collapse**, the failure in which all pictures get
# the same features: the spread of the features, and [RankMe](https://arxiv.org/abs/2210.02885), the number of directions
# they use. RankMe may well sink
# while the network drops what does not matter; trouble is when it heads for 1. [Chapter 20](20_collapse.ipynb) shows
# that in all its forms.

# %% [markdown]
# ## How good is it?
#
# A number alone says nothing. First compare **frozen features** with frozen features: a **linear probe** draws ten
# labelled pictures per class (100 labels), fits a logistic regression on their features and is scored on 2,000 test
# pictures. Raw pixels and the *untrained* encoder must be in the table: a random network is already a representation,
# and only the difference to it is what pretraining has added.


# %%
def features_of(encoder) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of the train and of the test pictures."""
    sets = (train, test)
    return tuple(evaluation.extract_features(encoder, s.images) for s in sets)


features = {
    "raw pixels": (evaluation.pixels(train.images), evaluation.pixels(test.images)),
    "untrained encoder": features_of(fresh),
    "SimCLR": features_of(simclr.encoder),
}


def probe(name: str) -> list[float]:
    """Accuracies of linear probes: ten labels per class, five draws of labels."""
    x, x_test = features[name]
    rows = evaluation.label_efficiency(
        x, train.labels, x_test, test.labels, per_class=(10,), draws=5, seed=SEED
    )
    return rows[0]["accuracies"]


scores = {name: probe(name) for name in features}

# %% [markdown]
# Then compare **whole networks** with whole networks. What would you do without SSL? Train the encoder *from scratch*
# on the 100 labels, with the same random views. The fair opponent is not the frozen probe, which may change nothing
# inside the network, but the pretrained encoder **fine-tuned** on the same 100 labels: same call, same steps, same
# views, only the starting point differs.

# %%
few = train[data.label_subset(train.labels, 10, seed=SEED)]
given = (few.images, few.labels, test.images, test.labels)
options = {"policy": recipe.policy, "steps": 200}
whole = {
    "from scratch": evaluation.fine_tune(fresh, *given, **options),
    "fine-tuned": evaluation.fine_tune(simclr.encoder, *given, **options),
}

# %% tags=["hide-input"]
table = []
for name, values in scores.items():
    x, x_test = features[name]
    table.append(
        {
            "representation": name,
            "how": "frozen, linear probe",
            "accuracy": sum(values) / len(values),
            "spread": torch.tensor(values).std().item(),
            "knn": evaluation.knn_accuracy(x, train.labels, x_test, test.labels),
        }
    )
for name, found in whole.items():
    table.append(
        {"representation": name, "how": "whole network", "accuracy": found.accuracy}
    )
table.append({"representation": "chance", "accuracy": 0.1, "knn": 0.1})
plots.table(
    table,
    f"Test accuracy with 100 labels, after {STEPS} steps; spread over draws of labels",
    {
        "representation": "network",
        "how": "read by",
        "accuracy": "100 labels",
        "spread": "spread",
        "knn": "kNN, 2,000 labels",
    },
    floatfmt=".1%",
)

# %%
mean = {row["representation"]: row["accuracy"] for row in table}
neighbours = {row["representation"]: row.get("knn") for row in table}
assert mean["SimCLR"] > max(mean["untrained encoder"], mean["raw pixels"]) + 0.1
assert neighbours["raw pixels"] > neighbours["untrained encoder"] + 0.1

# %% [markdown]
# Features that never saw a label beat pixels and the untrained network by a wide margin. Look at the last column too: a
# vote of neighbours in *pixel* space beats the untrained network by far. Behind a random network neighbours tell less
# than in the pixels themselves; a baseline has to be measured, not guessed.
#
# One draw of labels and a run of a few seconds decide nothing between *from scratch* and *fine-tuned*. So the same
# comparison was recorded: three runs of five times as many steps, three draws of labels each, two to fifty labels per
# class.

# %%
record, origin = book.recorded("embedded_world", world=2)
print(origin)


def recorded(arm: str, key: str) -> list:
    """One value per seed."""
    return book.per_seed(record, key, arm=arm)


def by_labels(arm: str, count: int) -> list[list[float]]:
    """Accuracies with `count` labels per class, [seeds, draws]."""
    return [row[str(count)] for row in recorded(arm, "by_labels")]


# %% tags=["hide-input"]
counts = [int(c) for c in recorded("simclr", "by_labels")[0]]
curves = {
    "pretrained, fine-tuned": "fine-tuned",
    "pretrained, frozen": "simclr",
    "from scratch": "scratch",
    "untrained, frozen": "untrained",
}
fig, ax = plots.new_figure(6.0, 3.4)
at = {}
for (name, arm), color, mark in zip(curves.items(), plots.COLORS, "osD^", strict=False):
    runs = 100 * torch.tensor([by_labels(arm, c) for c in counts]).mean(2)  # [K, seeds]
    at[arm] = runs.mean(1).tolist()
    ax.plot(counts, at[arm], mark + "-", color=color, label=name)
    ax.fill_between(counts, runs.amin(1), runs.amax(1), color=color, alpha=0.2)
ax.set(xscale="log", xlabel="labels per class", ylabel="test accuracy (%)")
ax.set_ylim(0, 100)
ax.set_xticks(counts, counts)
ax.minorticks_off()
ax.set_title("Pretraining saves labels (bands: lowest to highest of three runs)")
ax.legend(loc="upper left")
plots.show(
    fig,
    alt="Test accuracy against labels per class. "
    + " ".join(
        f"{name}: {at[arm][0]:.0f} percent with {counts[0]} labels per class, "
        f"{at[arm][-1]:.0f} with {counts[-1]}."
        for name, arm in curves.items()
    ),
)

# %%
arms = ("simclr", "fine-tuned", "scratch")
frozen, tuned, scratch = (torch.tensor(at[arm]) for arm in arms)
assert bool((tuned > scratch).all() and (tuned > frozen).all())
assert bool((frozen > scratch)[-1] and (frozen < scratch)[:-1].any())
assert scratch[-1] - scratch[-2] < 3  # from 25 to 50 labels

# %% [markdown]
# At every number of labels the fine-tuned network beats the one that starts from nothing. Now follow the *frozen*
# curve: it lies below "from scratch" at some counts and above it at others, although the pretraining is the same.
# Whoever compares those two can prove what they like. What the figure does not show: every whole network had 300
# steps with labels. From 25 to 50 labels the curve from scratch hardly rises, so 300 steps may be too few for it;
# longer ones were not recorded.
#
# **And photographs?** The same comparison on 47,200 of them (Tiny ImageNet at 32 pixels), with labels for 20 classes, so
# that chance is 5 %:

# %%
photo_record, photo_origin = book.recorded("photographs")
WHOLE, FROZEN = ("fine-tuned", "from scratch"), ("frozen", "untrained")
photo = capstone.label_runs(photo_record, WHOLE + FROZEN)
photo_counts = sorted(photo.accuracies["frozen"])
seen = {
    arm: 100 * torch.tensor(photo.means(arm, photo_counts)) for arm in photo.accuracies
}  # [counts, seeds]
print(photo_origin)
print(f"training seeds: {len(photo.seeds)}")

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.0, 3.4)
shown_as = {"fine-tuned": "pretrained, fine-tuned", "frozen": "pretrained, frozen"}
styles = zip((*WHOLE, *FROZEN, "pixels"), plots.COLORS, "oDs^x", strict=False)
for arm, color, mark in styles:
    values = seen[arm]
    ax.plot(photo_counts, values.mean(1), mark + "-", color=color,
            label=shown_as.get(arm, arm))  # fmt: skip
    low, high = values.amin(1), values.amax(1)
    ax.fill_between(photo_counts, low, high, color=color, alpha=0.2)
ax.axhline(5, color=plots.GRAY, linestyle=":")
ax.set(xscale="log", xlabel="labels per class", ylabel="test accuracy (%)")
ax.set_ylim(0, None)
ax.set_xticks(photo_counts, photo_counts)
ax.minorticks_off()
ax.set_title(f"Photographs: a smaller lead (seeds: {len(photo.seeds)})")
ax.legend(loc="upper left")
plots.show(
    fig,
    alt="Test accuracy on photographs against labels per class. "
    + " ".join(
        f"{arm}: {v[0].mean():.0f} percent with {photo_counts[0]} labels per class, "
        f"{v[-1].mean():.0f} with {photo_counts[-1]}."
        for arm, v in seen.items()
    ),
)

# %%
many = photo_counts.index(25)
lead = (seen["fine-tuned"] - seen["from scratch"]).mean(1)
assert 0.5 < lead.mean() and lead.max() < max(t - s for t, s in zip(tuned, scratch))
few = (seen["fine-tuned"] - seen["frozen"]).mean(1)[0]
assert few < 3 < (seen["fine-tuned"] - seen["frozen"]).mean(1)[-1]
assert (seen["frozen"][many:] > seen["untrained"][many:] + 5).all()

# %% [markdown]
# On average the fine-tuned network is ahead of the one from scratch, by less than in the drawn world; with the fewest
# labels the frozen probe does as well. Both whole networks had 500 steps, the longest that were tried, and "from scratch" was
# still gaining. The network is small, the pictures are tiny, the pretraining was short (4,000 steps): no match for
# published gains. [Chapter 25](25_capstone_stl10_simclr.ipynb) reads the same record more closely.
#
# And the puzzle? Ask the trained features what pixels could not answer. Ask the projector's output $z$ as well, which
# the loss itself has shaped.

# %%
h = evaluation.extract_features(simclr.encoder, test_rows)
with torch.no_grad():
    z = simclr.projector.eval()(h)
puzzle |= {"SimCLR, h": same_kind_is_closer(h), "SimCLR, z": same_kind_is_closer(z)}
tuned_h = evaluation.extract_features(whole["fine-tuned"].encoder, test_rows)
puzzle["fine-tuned on 100 labels"] = same_kind_is_closer(tuned_h)
for name, score in puzzle.items():
    print(f"{name}: the same kind is closer in {score:.0%} of 1,000 rows")
assert puzzle["SimCLR, h"] > puzzle["untrained network"] + 0.05
assert puzzle["SimCLR, h"] < puzzle["SimCLR, z"] < 0.5
assert puzzle["fine-tuned on 100 labels"] > puzzle["SimCLR, h"] + 0.05

# %% [markdown]
# The trained ones have begun to look past the surface, and none is there: for most rows, what the right picture shares
# still wins. The test is unfair on purpose: it shares *everything* except the kind. $z$, which the loss compares,
# comes closer than $h$, and a hundred labels push $h$ the same way. The factor probe below reads $h$ and $z$.
#
# ## What goes wrong: the colour shortcut
#
# The exercise "find your partner" is only as good as the way you make partners. Leave the colours alone; crop and
# mirror only. **Predict**: will the loss be higher or lower than before? Will the probe be better or worse? (Two
# coins get both right in 25 %.)

# %%
no_color = recipe.with_(policy=recipe.policy.scaled(0).replace(grayscale_p=0))
shortcut = no_color.build(SEED)
shortcut_history = pretrain(
    shortcut,
    unlabeled.images,
    (no_color.policy, no_color.policy),
    steps=STEPS,
    seed=SEED,
    **no_color.training(),
)
features["SimCLR without colour jitter"] = features_of(shortcut.encoder)
scores["SimCLR without colour jitter"] = probe("SimCLR without colour jitter")

# %%
runs = {"SimCLR": history, "SimCLR without colour jitter": shortcut_history}
for name, rows in runs.items():
    loss, accuracy = rows[-1]["loss"], sum(scores[name]) / len(scores[name])
    print(f"{name}: loss {loss:.2f}, probe with 100 labels {accuracy:.1%}")
print(f"untrained encoder: probe with 100 labels {mean['untrained encoder']:.1%}")
assert shortcut_history[-1]["loss"] < history[-1]["loss"] - 1
by_shortcut = sum(scores["SimCLR without colour jitter"]) / 5
assert by_shortcut < min(mean["untrained encoder"] + 0.03, mean["SimCLR"] - 0.1)

# %% [markdown]
# The same number of steps, a far *lower* loss, and with 100 labels a probe no better than on untrained features. (`scaled(0)` sets the
# strength of all colour jitter to zero, and `grayscale_p` is the chance that a view loses its colour.) The suspicion:
# without jitter the two partners share their colours, and colours alone pick the partner out of hundreds. Test it
# without any network: find the partner by the histogram of a view's colours.


# %%
def found_by_colour(policy: views.Policy) -> float:
    """Share of 512 views whose nearest colour histogram is that of their partner."""
    draw = torch.Generator().manual_seed(0)
    pair = views.make_views(unlabeled.images[:256], (policy, policy), draw)
    colours = views.denormalize(torch.cat(pair)).clamp(0, 0.999)  # [512, 3, S, S]
    bins = (8 * colours).long()
    cell = (64 * bins[:, 0] + 8 * bins[:, 1] + bins[:, 2]).flatten(1)
    histogram = torch.zeros(512, 512).scatter_add_(1, cell, torch.ones(cell.shape))
    s = normalize(histogram.sqrt(), dim=1) @ normalize(histogram.sqrt(), dim=1).T
    partner = (torch.arange(512) + 256) % 512
    return float((s.fill_diagonal_(-1).argmax(1) == partner).float().mean())


plain, jittered = found_by_colour(no_color.policy), found_by_colour(recipe.policy)
print(f"partner found by colours: {plain:.0%} without jitter, {jittered:.0%} with it")
assert plain > 0.9 and jittered < 0.2

# %% [markdown]
# So the network solved the exercise that you set, not the one that you had in mind. A low loss is no evidence of having
# learned what you want; never trust a loss without a probe.
#
# Because these pictures are drawn by a program, you can look at the shortcut directly. Every picture comes with the
# **factors** it was drawn from. A **factor probe** asks how well each of them can be read from the features by a linear
# model: 0 means no better than chance, 1 means perfectly.

# %%
FACTORS = ("kind", "object_hue", "x", "y", "scale")


def factor_scores(name: str) -> dict[str, float]:
    x, x_test = features[name]
    chosen = [{k: s.factors[k] for k in FACTORS} for s in (train, test)]
    return evaluation.factor_probe(x, chosen[0], x_test, chosen[1])


with torch.no_grad():
    features["SimCLR, z"] = tuple(simclr.projector(h) for h in features["SimCLR"])
shown = ("untrained encoder", "SimCLR", "SimCLR, z", "SimCLR without colour jitter")
kept = {name: factor_scores(name) for name in shown}

# %% tags=["hide-input"]
plots.show(
    plots.factor_bars(kept, title="With colour jitter, kind is kept and hue forgotten"),
    alt="Grouped bars of how well five factors can be read from four representations. "
    + " ".join(
        f"{name}: " + ", ".join(f"{k} {v:.2f}" for k, v in row.items()) + "."
        for name, row in kept.items()
    ),
)

# %%
with_jitter, without = kept["SimCLR"], kept["SimCLR without colour jitter"]
assert with_jitter["kind"] > kept["untrained encoder"]["kind"] + 0.1
assert with_jitter["object_hue"] < 0.2 < without["object_hue"]
assert all(with_jitter[k] > kept["untrained encoder"][k] + 0.1 for k in ("x", "y"))
assert with_jitter["x"] > with_jitter["y"] - 0.1
for long in recorded("simclr", "factors"):  # the longer runs, three seeds
    assert long["object_hue"] < 0.1 and min(long["x"], long["y"]) > 0.6
for long in recorded("no colour", "factors"):
    assert long["object_hue"] > 0.6
assert all(kept["SimCLR, z"][k] < with_jitter[k] for k in ("object_hue", "x", "y"))

# %% [markdown]
# This is the picture to remember. **The augmentation decides what is forgotten.** Hue differs between partners, and hue
# is all but gone; where partners share it, it stays. Nobody told the network that the kind matters: it is what is left.
# (One run, but the three longer ones of the record say the same of hue and position.)
#
# But look at the position ($x$ to the right, $y$ down). Crops move things, and still both can be read *better* than
# before training. How much of the position do two views of a picture share? Ask the crops.

# %%
generator = torch.Generator().manual_seed(0)
both = {"x": [], "y": []}
for _ in range(2):
    drawn = views.draw(recipe.policy, 2000, (32, 32), generator)
    top, left, height, width = drawn["boxes"].T  # of the crop, in pixels
    x, y = (16 + 16 * unlabeled.factors[k].values[:2000] for k in ("x", "y"))  # roughly
    across = (x - left) / width  # where the thing stands in the view: 0 left, 1 right
    both["x"].append(torch.where(drawn["flip"], 1 - across, across))
    both["y"].append((y - top) / height)
shared = {k: float(torch.corrcoef(torch.stack(v))[0, 1]) for k, v in both.items()}
for name, value in shared.items():
    print(f"correlation of {name} in the two views: {value:.2f}")
assert shared["y"] > 0.25 and abs(shared["x"]) < 0.1

# %% [markdown]
# The height $y$ is shared to a degree: large crops move things little. Left and right are not shared at all, since
# half of the views are mirrored; and $h$ tells them apart as well as up and down. So the rule has a limit: what
# partners do not share *may* go, and need not. The loss sees $z$ only. Compare the bars of $z$: it has thrown away
# more than $h$, of the position too. What one keeps for later use is $h$.
#
# ## Play: whose neighbours are these?
#
# Choose a picture and a representation, and look at the nearest neighbours: first by *raw pixels*, then by *SimCLR*,
# then by the shortcut. Which of them would you hire to sort your holiday pictures by what is on them? (For one picture
# luck decides; the column kNN above averages over all test pictures.)

# %%
some = test[:500]
spaces = {name: features[name][1][:500] for name in scores}
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
# Replace a stub, run the cell, and read what the checker says: it tries your function on random inputs and names the
# mistake that it recognises. Solutions stand at the end of the notebook; skipping one breaks nothing.
#
# ### 1 · Vote of the neighbours (••, 10 minutes)
# kNN was only described. Write it: predict a label for every row of `test_x` `[M, D]` by an unweighted majority vote of
# its `k` nearest rows of `train_x` `[N, D]` (float tensors) in cosine similarity. `train_y` `[N]` holds int64 labels;
# return int64 `[M]`.
#
# <details><summary>Hint 1</summary>`topk` of the similarities gives you the indices of the neighbours.</details>
# <details><summary>Hint 2</summary>`train_y[indices]` are their labels, `[M, k]`; `torch.mode` knows majorities.</details>


# %%
def knn_predict(train_x, train_y, test_x, k):
    return NOT_ATTEMPTED


ch00.check_knn_predict(knn_predict)

# %% [markdown]
# ### 2 · A fair draw of labels (••, 10 minutes)
# Every number above rests on "ten labels per class, drawn at random". Draw `per_class` examples of every class so that
# every picture of a class has the same chance. `labels` is an int64 tensor `[N]`, with -1 where there is no label;
# return the indices of the chosen examples as an int64 tensor. Use `generator` for every random choice.
#
# <details><summary>Hint</summary>Go through the classes; `torch.randperm(n, generator=generator)` shuffles.</details>


# %%
def draw_labels(labels, per_class, generator):
    return NOT_ATTEMPTED


ch00.check_label_subset(draw_labels)

# %% [markdown]
# ### 3 · The loss that gets stuck (•••, 15 minutes)
# A colleague reports that her loss falls nicely and then *never* goes below 0.69, however long she trains. Her code:
#
# ```python
# z = normalize(torch.cat([z1, z2]), dim=1)
# s = z @ z.T / temperature
# n = len(z1)
# partner = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
# return cross_entropy(s, partner)
# ```
#
# Find the bug. Then explain the 0.69: write the value that *her* loss takes when the network is perfect, that is when
# partners have the same $z$ and the vectors of different pictures are orthogonal (take $z$ long enough for that). `n`:
# int, `temperature`: float; return a float.
#
# <details><summary>Hint 1</summary>Compare her lines with `nt_xent` above: one is missing.</details>
# <details><summary>Hint 2</summary>In each row of `s`, how many entries are $1/\tau$, and how many are 0?</details>


# %%
def stuck_at(n, temperature):
    return NOT_ATTEMPTED


ch00.check_stuck_at(stuck_at)

# %% [markdown]
# ### 4 · Frozen or fine-tuned? (•••, 15 minutes)
# You have the recorded curves and must advise somebody: from how many labels per class on is fine-tuning *surely* the
# better choice? `labels` `[K]` (ascending), `frozen` and `tuned` `[K, S]` hold accuracies, float tensors, column $s$ of
# both from the same training seed. Return the smallest count such that at it **and at all larger ones** the 90 %
# interval of the paired difference, tuned minus frozen, lies above 0; return 0 if there is none.
# `evaluation.evidence.interval(differences)` gives (mean, low, high).
#
# <details><summary>Hint</summary>Go through the counts from the largest down, and stop at the first that is not
# sure.</details>


# %%
def fine_tune_from(labels, frozen, tuned):
    return NOT_ATTEMPTED


ch00.check_fine_tune_from(fine_tune_from)

# %% [markdown]
# ## Claims, tested
#
# Each chapter puts statements of the literature to the test. Statement, source and rule come from one table; the runs
# are three recorded seeds, compared pair by pair: estimate, [90 % interval], number of seeds. The four possible
# verdicts are *holds here*, *does not hold here*, *cannot tell* and *not tested*, and each of the first three can come
# out: a rule changed after a run is marked.

# %%
floor = recorded("untrained", "probe")
accuracy = {arm: recorded(arm, "probe") for arm in ("simclr", "no colour")}
hue = {a: [f["object_hue"] for f in recorded(a, "factors")] for a in accuracy}
coloured, plain = ("jitter", "1"), ("jitter", "0")  # on photographs: half ours
book.claim(
    "C-71",
    drawn=Runs(accuracy["simclr"], accuracy["no colour"], floor),
    photographs=book.on_photographs(coloured, plain),
)
book.claim("C-71b", drawn=Runs(hue["no colour"], hue["simclr"]))
losses_at_the_end = recorded("no colour", "loss"), recorded("simclr", "loss")
both = (accuracy["no colour"], accuracy["simclr"])
book.claim(
    "C-72",
    drawn=Runs(*losses_at_the_end, floor, learned=both),
    photographs=book.on_photographs(plain, coloured, "loss"),
)

# %%
FIVE, TEN, FIFTY = 5, 10, 50  # labels per class
start = by_labels("untrained", TEN)
ten = Runs(by_labels("fine-tuned", TEN), by_labels("scratch", TEN), start)
of = photo.accuracies
floor_photo, HUNDRED = of["untrained"][TEN], 100
ten_photo = Runs(of["fine-tuned"][TEN], of["from scratch"][TEN], floor_photo)
book.claim("C-115", drawn=ten, photographs=ten_photo)
tenth = Runs(by_labels("fine-tuned", FIVE), by_labels("scratch", FIFTY), start)
tenth_photo = Runs(of["fine-tuned"][TEN], of["from scratch"][HUNDRED], floor_photo)
book.claim("C-115b", drawn=tenth, photographs=tenth_photo)

# %% [markdown]
# Each rule names the smallest difference worth caring about, its margin. A difference that sits right on its margin
# takes more seeds than anybody runs: then the interval says more than the word, such as "surely positive, and
# about as large as the rule asks". The last claim is the strong form of "pretraining saves labels", a tenth of them
# for the same accuracy.
#
# Here colours are drawn independently of the kind, so that they can only mislead. The drawn world is small and its
# things are rigid; what holds in it need not hold for photographs. The last line of each table says what photographs
# say, or *not tested* where nothing was recorded.
#
# ## Where it comes from, where it went
#
# Making two networks agree is an old idea: [Becker and Hinton (1992)](https://doi.org/10.1038/355161a0) let them agree on
# neighbouring patches of an image, and [Bromley et al.
# (1993)](https://proceedings.neurips.cc/paper/1993/hash/288cc0ff022877bd3df94bc9360b9c5d-Abstract.html)
# trained twins on labelled pairs of signatures, genuine and forged. [Dosovitskiy et al. (2014)](https://arxiv.org/abs/1406.6909) made each
# of many image patches its own class; [Wu et al. (2018)](https://arxiv.org/abs/1805.01978) turned the classes into a memory of
# features, and [van den Oord et al. (2018)](https://arxiv.org/abs/1807.03748) named the loss InfoNCE. SimCLR
# ([Chen et al. 2020](https://arxiv.org/abs/2002.05709)) showed how far the plain recipe goes when augmentation,
# projector and batch are chosen well. What followed removed the partner search altogether
# ([BYOL](https://arxiv.org/abs/2006.07733), [VICReg](https://arxiv.org/abs/2105.04906)) or hid parts of the picture
# instead ([MAE](https://arxiv.org/abs/2111.06377)).
#
# **Further reading**: a broad practical guide is the [Cookbook of Self-Supervised
# Learning](https://arxiv.org/abs/2304.12210) (Balestriero et al. 2023). **Next**: [chapter
# 13](13_from_nce_to_nt_xent.ipynb) takes the loss apart; [chapter 25](25_capstone_stl10_simclr.ipynb) prepares it for
# full size on real photographs.
#
# ## Three questions
#
# **1.** The loss of run A is half that of run B. Which encoder is better?
# <details><summary>Answer</summary>You cannot tell. The two runs may have played different games: with weaker
# augmentation the partner is easier to find and the loss is lower, as the colour shortcut showed. Compare them by a
# probe, on the same labels.</details>
#
# **2.** A paper compares a linear probe on pretrained features with a network trained from scratch. What is wrong?
# <details><summary>Answer</summary>One arm may change all its weights, the other only the last layer. If the frozen arm
# wins all the same, that is strong; if it loses, you have learned nothing. Compare frozen with frozen and fine-tuned with
# from scratch, on the same labels, with the same augmentation and steps.</details>
#
# **3.** You want to sort flowers by colour. Is this SimCLR encoder a good start?
# <details><summary>Answer</summary>No. The factor probe shows that it has dropped the hue of the object, because the
# augmentation made hue useless. Augmentation has to leave alone what your task needs.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def knn_predict(train_x, train_y, test_x, k):
#     similarity = normalize(test_x, dim=1) @ normalize(train_x, dim=1).T
#     neighbours = similarity.topk(k, dim=1).indices
#     return torch.mode(train_y[neighbours], dim=1).values
#
#
# def draw_labels(labels, per_class, generator):
#     chosen = []
#     for c in labels[labels >= 0].unique():
#         members = (labels == c).nonzero().flatten()
#         chosen.append(members[torch.randperm(len(members), generator=generator)[:per_class]])
#     return torch.cat(chosen)
#
#
# def stuck_at(n, temperature):
#     # The diagonal is not masked: each row has two entries 1 / temperature, herself and her partner,
#     # and 2n - 2 zeros. At a low temperature the zeros vanish, and log 2 = 0.69 is left.
#     return math.log(2 + (2 * n - 2) * math.exp(-1 / temperature))
#
#
# def fine_tune_from(labels, frozen, tuned):
#     first = 0
#     for k in reversed(range(len(labels))):
#         if evaluation.evidence.interval(tuned[k] - frozen[k])[1] <= 0:
#             break
#         first = int(labels[k])
#     return first
# ```
