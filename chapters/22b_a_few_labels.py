# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 22b · A hundred labels and eight thousand pictures: both at once, or one after the other?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/22b_a_few_labels.ipynb)
#
# **After this chapter you can**
#
# - write pseudo-labels, consistency, virtual adversarial training and MixMatch in a few lines each;
# - say what each assumes of the pictures, and show a case where the assumption turns a mistake into a conviction;
# - compare them with pretraining without letting either side see more labels than the other.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb) (SimCLR) and [chapter 23](23_evaluation.ipynb) (probes,
# fine-tuning, few labels). A companion to [chapter 22](22_the_knobs.ipynb).
# **Time**: 16 minutes to read, about half a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("22b")

# %% [markdown]
# ## The puzzle: six labels
#
# Two classes lie on two half moons. Three points of each have a label, 494 have none. Eyes see at once where the
# boundary should run. A network that learns from the six labels does not.

# %%
from statistics import fmean as mean

import torch
import torch.nn.functional as F

from ssl_lessons import data, losses, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch22b
from ssl_lessons.book.widgets import two_moons
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import Runs

SEEDS = range(5)


def labels_only(model, moons, generator, done):
    return F.cross_entropy(model(moons.few), moons.y)


# %% [markdown]
# A rule is the loss of one step: it sees the model, the points (`moons.x` [500, 2] without labels; `moons.few` [6, 2]
# with `moons.y` [6]), a source of chance, and which share of the run is `done`.
#
# The oldest idea: let the network label the other points itself, and believe it (pseudo-labels, Lee 2013). With
# $p(c \mid x)$ the network's probability of class $c$, $n$ labelled points $x_i$ with labels $y_i$, $m$ points $x_j$
# without, and $\alpha$ a weight that grows from 0,
#
# $$L = -\tfrac1n \sum_{i} \log p(y_i \mid x_i) \; - \; \alpha\, \tfrac1m \sum_{j} \log \max_c p(c \mid x_j).$$


# %%
def ramp(done):
    """0 to 1 in the first two fifths: a beginner's guesses weigh nothing."""
    return min(1.0, done / 0.4)


def pseudo_labels(model, moons, generator, done):
    guess = ramp(done) * losses.pseudo_label(model(moons.x))
    return labels_only(model, moons, generator, done) + guess


# %% [markdown]
# > **Predict before you go on.** The same network, six labels, five seeds. (1) By how many points do pseudo-labels beat
# > labels only, on new points? Half of all points are right by guessing, so at most 50. (2) Is there a rule that
# > gets above 90 % without one more label? A coin: one in two.
#
# ## Two more rules
#
# **Consistency.** What is said of a point must also be said of its noisy copy $x'_j$. With the target
# $q_j = \mathrm{softmax}(\ell(x_j) / T)$, where $\ell$ are the logits, no gradient flows through $q_j$, and $T < 1$
# makes it more decided (UDA, [Xie et al., 2020](https://arxiv.org/abs/1904.12848)):
#
# $$L_u = \tfrac1m \sum_j \mathrm{KL}\big(q_j \,\|\, p(\cdot \mid x'_j)\big).$$
#
# **The worst copy.** Noise hits every direction alike, and most directions are harmless. Virtual adversarial training
# (VAT, [Miyato et al., 2018](https://arxiv.org/abs/1704.03976)) goes a length $\varepsilon$ in the direction that
# changes the answer most. Near $r = 0$ the divergence $D(r) = \mathrm{KL}(p(\cdot \mid x) \,\|\, p(\cdot \mid x + r))$
# has first derivative 0, as it is at its least there, so $D(r) \approx \tfrac12 r^\top H r$ with its Hessian $H$, and
# the worst direction is the first eigenvector of $H$. One step of the power method finds it roughly: start with a
# random unit vector $d$, take the gradient of $D$ at $r = \xi d$ for a small $\xi$, which is about $\xi H d$, and scale
# it to length $\varepsilon$. That is one more backward pass, and no Hessian.


# %%
def noisy_copies(model, moons, generator, done):
    noisy = moons.x + 0.3 * torch.randn(moons.x.shape, generator=generator)
    away = losses.consistency(
        model(moons.x), model(noisy), temperature=0.4, threshold=0
    )
    return labels_only(model, moons, generator, done) + away


def worst_copies(model, moons, generator, done):
    away = losses.vat(model, moons.x, radius=0.5, generator=generator)
    return labels_only(model, moons, generator, done) + away


RULES = {
    "labels only": labels_only,
    "pseudo-labels": pseudo_labels,
    "noisy copies": noisy_copies,
    "worst copies": worst_copies,
}

# %%
scores, models = {}, {}
for name, rule in RULES.items():
    for seed in SEEDS:
        models[name, seed] = two_moons.learn(rule, each=3, seed=seed)
        found = two_moons.accuracy(models[name, seed], two_moons.moons(3, seed))
        scores.setdefault(name, []).append(found)

# %% tags=["hide-input"]
control = scores["labels only"]
lines = []
for name, found in scores.items():
    d = [100 * (a - b) for a, b in zip(found, control)]
    entry = {"rule": name, "mean": mean(found), "low": min(found), "high": max(found)}
    if name != "labels only":
        entry["gain"] = "{:+.1f} ({:+.1f} to {:+.1f})".format(*evidence.interval(d))
    lines.append(entry)
plots.table(
    lines, "New points right: six labels, five seeds",
    {"rule": "rule", "mean": "mean", "low": "lowest", "high": "highest",
     "gain": "over labels only, points, 90 %"},
    {"mean": ".1%", "low": ".1%", "high": ".1%"},
)  # fmt: skip

# %%
gain = {name: 100 * (mean(found) - mean(control)) for name, found in scores.items()}
print(f"(1) pseudo-labels: {gain['pseudo-labels']:+.1f} points over labels only")
above = [name for name, found in scores.items() if mean(found) > 0.9]
print("(2) above 90 %:", ", ".join(above) or "none")
assert abs(gain["pseudo-labels"]) < 3 and gain["worst copies"] > 6

# %% [markdown]
# Pseudo-labels change next to nothing. A boundary through a crowd costs with them, too, which is Lee's reason for them;
# but there is a cheaper way out: larger logits, and the boundary stays. The other two rules ask for the same answer
# *around* each point, which larger logits do not give: points close to each other shall have the same answer, so the
# boundary moves to where no points are. That is the assumption of this whole family, and where classes touch it fails.
#
# ## What goes wrong: wrong and sure
#
# A test that you can run on any classifier with some held-out labels: among its *wrong* answers, which share has a
# confidence above 0.95?


# %%
@torch.no_grad()
def wrong_and_sure(model, x, y, level=0.95) -> float:
    """Share of the wrong answers that are given with a confidence above `level`."""
    confidence, answer = model(x).softmax(dim=1).max(dim=1)
    return (confidence[answer != y] > level).float().mean().item()


sure = {}
for (name, seed), model in models.items():
    moons = two_moons.moons(3, seed)
    share = wrong_and_sure(model, moons.x_test, moons.y_test)
    sure.setdefault(name, []).append(share)
for name in RULES:
    each = ", ".join(f"{v:.0%}" for v in sure[name])
    print(f"{name}: {mean(sure[name]):.0%} of the wrong answers are sure ({each})")
assert mean(sure["pseudo-labels"]) > max(0.85, mean(sure["labels only"]))

# %% [markdown]
# With pseudo-labels nine in ten of the wrong answers pass a threshold of 0.95: here it removes few mistakes.
#
# ## Pictures mixed, labels mixed
#
# With few labels one can also make more *labelled* pictures. mixup ([Zhang et al.,
# 2018](https://arxiv.org/abs/1710.09412)) draws $\lambda$ from $\mathrm{Beta}(\beta, \beta)$ and mixes two pictures
# $a$ and $b$ with their labels,
#
# $$\tilde x = \lambda x_a + (1 - \lambda)\, x_b, \qquad \tilde y = \lambda y_a + (1 - \lambda)\, y_b ;$$
#
# CutMix ([Yun et al., 2019](https://arxiv.org/abs/1905.04899)) pastes a box of $x_b$ into $x_a$ and mixes the labels by
# the areas. MixMatch ([Berthelot et al., 2019](https://arxiv.org/abs/1905.02249)) puts all of it together: guess a
# label from several views (the mean of their probabilities, sharpened: $p_c^{1/T}$ over its sum), mix labelled and
# guessed pictures by mixup with $\max(\lambda, 1 - \lambda)$, and ask for the guess by squared differences, in which no
# single wrong guess can weigh much.

# %% tags=["hide-input"]
eight = data.shapes("train", n=8)
x, y = eight.images.float() / 255, F.one_hot(eight.labels, 10).float()
order, chance = torch.arange(8).roll(1), torch.Generator().manual_seed(2)
rows = [x, views.mixup(x, y, order, 0.6)[0], views.cutmix(x, y, order, 0.6, chance)[0]]
title = "Pictures; mixed with the one on the left, 0.6 to 0.4; a box of it pasted"
plots.show(
    plots.image_grid(torch.cat(rows), columns=8, title=title),
    alt="Eight drawings; the same mixed with their left neighbours; the same with "
    "a box of the neighbour pasted in.",
)

# %% [markdown]
# ## Both at once, or one after the other?
#
# Back to pictures: 8,192 without labels, and 10 labels for each of ten classes. On one side everything above and
# **S4L** ([Zhai et al., 2019](https://arxiv.org/abs/1905.03670)), which adds a pretext task (how far was the picture
# turned?) to the labelled loss: labels and pictures in one run. On the other SimCLR on the pictures first, and the
# labels after it, for a frozen probe or for fine-tuning. 1,000 steps of 256 pictures (UDA, MixMatch and SimCLR view
# theirs twice; the turns take 64, four times each). Those that use labels at once see 64 labelled views in each step,
# and *64 a step* shows what these do alone. *vat* adds the entropy of the guesses, as its authors do, on weakly
# distorted views; UDA counts only pictures of which the guess is above 0.8. Fine-tuning takes 500 steps of 100, with
# SimCLR's encoder or from scratch. Rate and weight come from a list for each arm but SimCLR's and the fine-tuned ones',
# which have the defaults, by 1,000 held-out labels of another world, after 250 steps.

# %%
record, origin = book.recorded("semi_supervised", world=2)
arms = [r for r in record if r["part"] == "arms"]
FLOORS = ("pixels", "untrained, probe")
names = list(dict.fromkeys(r["arm"] for r in arms))
PER_CLASS = sorted({r["per_class"] for r in arms}, reverse=True)


def of(arm: str, per_class: int) -> list[float]:
    """Test accuracy, one number per seed."""
    return book.per_seed(arms, "accuracy", arm=arm, per_class=per_class)


# %% tags=["hide-input"]
def line(arm: str, per_class: int) -> dict:
    found = of(arm, per_class)
    d = [100 * (a - b) for a, b in zip(found, of("labels only", per_class))]
    low, high = f"{min(found):.1%}", f"{max(found):.1%}"
    return {
        "arm": arm, "mean": mean(found), "range": f"{low} to {high}", "n": len(found),
        "gain": "{:+.1f} ({:+.1f} to {:+.1f})".format(*evidence.interval(d))
        if arm != "labels only" else "",
    }  # fmt: skip


HEADINGS = {
    "arm": "what is done", "mean": "accuracy", "range": "range", "n": "seeds",
    "gain": "over labels only, points, 90 %",
}  # fmt: skip
for per_class in PER_CLASS:
    plots.table(
        sorted((line(arm, per_class) for arm in names), key=lambda e: -e["mean"]),
        f"Test accuracy with {10 * per_class} labels (chance 10 %)",
        HEADINGS,
        {"mean": ".1%"},
    )
print(origin)

# %%
for per_class in PER_CLASS:
    floor = max(mean(of(arm, per_class)) for arm in FLOORS)
    score = {a: mean(of(a, per_class)) for a in names if a not in FLOORS}
    low = [a for a in score if score[a] <= floor + 0.02]
    print(f"{10 * per_class} labels: floor {floor:.1%};", end=" ")
    print(f"best: {max(score, key=score.get)}")
    print("    not two points above the floor:", ", ".join(low) or "none")

# %%
alone = of("labels only, 64 a step", 10)
at_once = ("pseudo-labels", "rotations", "vat", "uda", "mixmatch")
sure_of = []
for arm in at_once:
    added = [100 * (a - b) for a, b in zip(of(arm, 10), alone)]
    estimate, low, high = evidence.interval(added)
    print(f"{arm}, over 64 a step: {estimate:+.1f} ({low:+.1f} to {high:+.1f}) points")
    sure_of += [arm] if low > 0 else []
later, scratch = (
    of(a, 10) for a in ("simclr, fine-tuned", "from scratch, fine-tuned alike")
)
gained = [100 * (a - b) for a, b in zip(later, scratch)]
numbers = "{:+.1f} ({:+.1f} to {:+.1f})".format(*evidence.interval(gained))
print(f"SimCLR, fine-tuned, over the same from scratch: {numbers} points")
assert abs(mean(gained)) < 2

# %%
score = {a: mean(of(a, 10)) for a in names}
ahead = [a for a in score if score[a] > score["labels only"]]
assert set(ahead) == {"vat", "mixup"} and sure_of == ["vat", "uda"]
assert all(score[a] > mean(later) for a in at_once)
chosen = [r for r in arms if r["seed"] == 0 and r.get("chosen")]
assert sum(r["chosen"][0] == 0.01 for r in chosen) > len(chosen) / 2

# %% [markdown]
# Every arm has learned, and the plainest is hard to beat: nothing but a hundred labelled pictures, distorted anew in
# every step. Only mixup and VAT have a higher mean, and for VAT three seeds cannot exclude zero. Against the same 64
# labelled views a step, VAT gains most, then UDA; of the other three, three seeds cannot say. One after the other ends
# below all five, but saw fewer labelled views at a rate that nobody tuned; and here its pretraining adds nothing that
# three seeds can see to the same fine-tuning from scratch. Most arms take the largest rate of their list: better ones
# may lie outside.
#
# ## What goes wrong: tuned with labels you do not have
#
# Each arm but SimCLR's was tuned with 1,000 labels, ten times what it learns from. [Oliver et al.
# (2018)](https://arxiv.org/abs/1804.09170) asked what is left of such results when the validation set is as small as
# the labelled one. Here is the arithmetic: with $v$ validation labels an accuracy $A$ has a standard error of
# $\sqrt{A (1 - A) / v}$, and the best settings of one arm differ by less.

# %%
tuning = [r for r in record if r["part"] == "tuning"]
spread = {}
for r in tuning:
    spread.setdefault(r["arm"], []).append(r["held_out"])
for arm, found in spread.items():
    found.sort(reverse=True)
    error = (2 * found[0] * (1 - found[0]) / 100) ** 0.5
    near = [v for v in found if v > found[0] - error]
    print(f"{arm}: best {found[0]:.1%}; 100 labels (error {error:.1%}) leave", end=" ")
    print(f"{len(near)} of {len(found)} settings, down to {near[-1]:.1%}")

# %% [markdown]
# The error is that of the difference of two settings (two independent sets of answers are assumed; on shared pictures
# it is smaller). With a hundred labels you choose blindly among the settings that are left; the last number is what
# that may cost. Pretraining has the same disease in a milder form: its settings, too, were chosen with labels ([chapter
# 22](22_the_knobs.ipynb) shows what can be chosen without).
#
# ## Play: labels against assumptions
#
# **How many labels in each moon does *labels only* need to reach what *worst copies* reaches with one?** And is there a
# seed with one label at which an assumption makes it worse?

# %%
board = two_moons.Board(RULES)
widgets.explore(
    board.render,
    board.controls,
    static=[
        {"rule": "labels only"},
        {"rule": "pseudo-labels"},
        {"rule": "noisy copies"},
        {"rule": "worst copies"},
    ],
    captions=list(RULES),
    alt=board.describe,
    columns=2,
)

# %% [markdown]
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · What is the pasted box worth? (••, 8 minutes)
# CutMix draws a centre `(y, x)` (ints) and a `side` (float), and pastes rows `y - half` to `y + half` (without the
# last) with `half = int(height * side) // 2`, columns likewise with the width; what sticks out of the picture is cut
# off. Return the share of its label that the first picture keeps, a float. The formula $1 - \mathrm{side}^2$ has a bug.
#
# <details><summary>Hint</summary>Count pixels of the box that lie inside the picture.</details>


# %%
def box_share(height: int, width: int, y: int, x: int, side: float) -> float:
    return NOT_ATTEMPTED


ch22b.check_box_share(box_share)

# %% [markdown]
# ### 2 · A guess (••, 6 minutes)
# `logits` [K, C] (float64) are of K views of one picture. Return MixMatch's guess [C] as a tensor: mean over the views,
# then sharpened with `temperature` $T$.
#
# <details><summary>Hint</summary>Views vote with probabilities. What does $p^{1/T}$ need to become a distribution
# again?</details>


# %%
def guess(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch22b.check_guess(guess)

# %% [markdown]
# ### 3 · Whom to believe? (•••, 10 minutes)
# `confidence` [N] (float64) and `right` [N] (bool) are of held-out pictures; no two confidences are equal. You will
# believe every answer with a confidence at or above a threshold; a right one helps as much as a wrong one harms. Return
# the threshold (one of the confidences; the larger of two that tie) with the largest *right minus wrong*, and that
# number, as a pair of numbers.
#
# <details><summary>Hint</summary>Sort by confidence, falling, and add up +1 and -1.</details>


# %%
def believe(confidence: torch.Tensor, right: torch.Tensor) -> tuple[float, float]:
    return NOT_ATTEMPTED


ch22b.check_believe(believe)

# %% [markdown]
# ### 4 · Predict, then run (•, 5 minutes on paper)
# One label in each moon, five seeds. By how many points does *worst copies* beat (+) or miss (-) *labels only*, on
# average? A number in place of the stub *before* the run; the run starts only then. Within two points is near.
#
# <details><summary>Hint</summary>One label may lie at the end of its moon, or in the bend. What does the rule do to
# the rest?</details>


# %%
def one_label() -> float:
    found = {}
    for name in ("worst copies", "labels only"):
        runs = [two_moons.learn(RULES[name], each=1, seed=s) for s in SEEDS]
        each = [
            two_moons.accuracy(m, two_moons.moons(1, s)) for m, s in zip(runs, SEEDS)
        ]
        found[name] = 100 * mean(each)
    return found["worst copies"] - found["labels only"]


forecast = NOT_ATTEMPTED
ch22b.judge_forecast(forecast, one_label)

# %% [markdown]
# ## Claims, tested
#
# Statements and rules stand in
# [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv).

# %%
ten = {arm: of(arm, 10) for arm in names}
floor = ten["untrained, probe"]
best_at_once = [max(seed) for seed in zip(*(ten[arm] for arm in at_once))]
book.claim("C-290", drawn=Runs(ten["rotations"], alone, floor))
book.claim("C-291", drawn=Runs(ten["uda"], ten["vat"], floor))
book.claim("C-292", drawn=Runs(ten["simclr, fine-tuned"], best_at_once, floor))

# %% [markdown]
# ## Where it comes from, where it went
#
# Believing one's own labels is older than deep networks; Lee's report of 2013 brought it to them. UDA's point is that
# the *distortion* matters: strong augmentations of pictures, back translation of sentences. FixMatch and its heirs keep
# a hard pseudo-label from a weak view and ask for it on a strong one. S4L joined the two fields of this chapter; [Chen
# et al. (2020)](https://arxiv.org/abs/2006.10029) argue for one after the other: a big network, pretrained without
# labels, fine-tuned with few, then distilled with its own answers on the unlabelled pictures, which is a pseudo-label
# at last.
#
# ## Two questions
#
# **1.** A classifier is 99 % sure on nine tenths of your unlabelled pictures. May you train on those answers?
# <details><summary>Answer</summary>Not because it is sure: train on them and it will be surer, right or wrong. Ask
# held-out labels how many of its sure answers are wrong.</details>
#
# **2.** Why does VAT need no label, and why is it called *virtual*?
# <details><summary>Answer</summary>Adversarial training moves a picture so that the *true* label becomes less likely.
# Here the network's own answer stands for the label, so the pictures need none.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# forecast = ...  # your own number, before the run
#
#
# def box_share(height, width, y, x, side):
#     def covered(centre, length):
#         half = int(length * side) // 2
#         return min(centre + half, length) - max(centre - half, 0)
#
#     return 1 - covered(y, height) * covered(x, width) / (height * width)
#
#
# def guess(logits, temperature):
#     p = logits.softmax(dim=1).mean(dim=0) ** (1 / temperature)
#     return p / p.sum()
#
#
# def believe(confidence, right):
#     order = confidence.argsort(descending=True)
#     gains = (2 * right[order].double() - 1).cumsum(dim=0)
#     return confidence[order][gains.argmax()], gains.max()
# ```
