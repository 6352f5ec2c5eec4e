# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 22 · Which knob should you turn first?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/22_the_knobs.ipynb)
#
# **After this chapter you can**
#
# - measure what a knob is worth without paying a premium to the knob with the most settings;
# - say which two knobs must be turned together, and why a batch can never be changed alone;
# - choose a setting without test labels, and state what the choice cost you.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb) (SimCLR), [chapter 20](20_collapse.ipynb) (collapse) and
# [chapter 21](21_quality_without_labels.ipynb) (measures without labels).
# **Time**: 31 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.
# Companions: [22b](22b_a_few_labels.ipynb) uses labels and pictures at once, [22c](22c_what_a_view_keeps.ipynb) asks
# what a view should keep, [22d](22d_small_knobs.ipynb) turns eleven smaller knobs.

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

device = book.setup("22")

# %% [markdown]
# ## The puzzle: twelve knobs and one afternoon
#
# You have a SimCLR that works and a machine until tonight. Twelve knobs are in reach: how small a **crop** may be, how
# strong the colour **jitter** is, how often a view is **gray**, **blur**, **flip**, the **temperature**, the **learning
# rate** and its **schedule**, **weight decay**, the **optimiser**, the **batch**, and the **projector**.

# %%
import math
from functools import partial
from statistics import fmean as mean

import numpy as np
import torch

from ssl_lessons import data, evaluation, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch22
from ssl_lessons.book.widgets import knobs as board
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.training import Monitor, pretrain, recipes

TWELVE = ("crop", "jitter", "gray", "blur", "flip", "temperature", "learning rate")
TWELVE += ("schedule", "weight decay", "optimiser", "batch", "projector")
recipe = recipes.get_recipe("quick")
unlabeled = data.shapes("unlabeled", n=8192)
train, test = (data.shapes(split, n=2000) for split in ("train", "test"))

# %% tags=["hide-input"]
turns = {
    "the base": recipe.policy,
    "crops down to 0.05": recipe.policy.replace(crop_scale=(0.05, 1.0)),
    "no jitter": recipe.policy.scaled(0.0),
    "blur in every view": recipe.policy.replace(blur_p=1.0),
}
rows = [
    views.make_views(train.images[:10], (policy,), torch.Generator().manual_seed(3))[0]
    for policy in turns.values()
]
plots.show(
    plots.image_grid(
        views.denormalize(torch.cat(rows)),
        columns=10,
        title="Ten pictures, one row per setting: " + "; ".join(turns),
    ),
    alt="Views of the same ten drawings under four policies, the same random numbers "
    "in each row: " + ", ".join(turns) + ".",
)
print(f"three of twelve can be named in {math.comb(12, 3)} ways")

# %% [markdown]
# Down a column: one picture, the same random numbers. Small crops lose the object, no jitter keeps its colours, blur
# rubs out texture. (In the record, *blur on* blurs every second view.)
#
# > **Predict before you go on.** (1) Which three of the twelve move the probe most, from their worst to their best
# > setting? Naming all three by luck: once in 220. (2) Is any single turn *better than the base*, by two points or
# > more? A coin: one in two. (3) You have no labels and keep the run with the lowest loss. Which knob have you turned?
#
# ## The base, live
#
# Everything below is measured around one base: the quick recipe (batch 256, AdamW at 0.004 with warm-up and cosine,
# temperature 0.1, projector of two layers) for 250 steps on 8,192 pictures. Here is one
# row of the record, half as many steps, trained in front of you.

# %%
STEPS = 125
method = recipe.build(seed=0)
history = pretrain(
    method, unlabeled.images, (recipe.policy,) * 2, steps=STEPS, seed=0,
    monitor=Monitor(train[:1000], train[1000:], every=25), **recipe.training(),
)  # fmt: skip

# %%
record, origin = book.recorded("knobs", world=2)
simclr = [r for r in record if r["method"] == "simclr"]


def of(knob: str, level: str = "", key: str = "probe", rows=simclr) -> list[float]:
    """One number per seed."""
    return book.per_seed(rows, key, knob=knob, level=level)


def probe(encoder) -> float:
    h, h_test = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    (row,) = evaluation.label_efficiency(
        h, train.labels, h_test, test.labels, (10,), draws=5
    )
    return row["mean"]


live = probe(method.encoder)

# %% tags=["hide-input"]
looks = [r for r in history if "knn" in r]
plots.table(
    [{k: r[k] for k in ("step", "loss", "knn", "rank", "verdict")} for r in looks],
    "The live run: loss, quality on held-out train images, and health",
    {"step": "step", "loss": "loss", "knn": "kNN", "rank": "RankMe of h",
     "verdict": "diagnosis"},
    {"loss": ".2f", "knn": ".1%", "rank": ".0f"},
)  # fmt: skip
plots.table(
    [{"run": "chance", "mean": 0.1}]
    + [
        {"run": name, "mean": mean(v), "low": min(v), "high": max(v)}
        for name, v in {
            "raw pixels": of("pixels"),
            "the same encoder, untrained": of("untrained"),
            "125 steps, recorded": of("steps", "125"),
            "the base, 250 steps, recorded": of("base"),
        }.items()
    ]
    + [{"run": "125 steps, live, seed 0", "mean": live}],
    "Probe with 100 labels: mean and range over seeds",
    {"run": "run", "mean": "probe", "low": "lowest", "high": "highest"},
    ".1%",
)
print(origin)

# %%
again = of("steps", "125")[0]
print(f"live {live:.1%}, the record's row of seed 0 {again:.1%}")
assert abs(live - again) < 0.05 and live > mean(of("untrained")) + 0.02

# %% [markdown]
# The live row agrees with the record to a few points; kernels of another machine round otherwise. All runs of one seed
# share pictures and first weights, unless the knob is about just these (pictures, imbalance, widths, projector), and,
# where batch and pictures agree, the order of the batches and the random numbers of the views. So compare *within* a
# seed: the luck that two runs share cancels in their difference.
#
# ## Best minus worst is a crooked ruler
#
# Take a knob with $K$ settings, $n$ seeds each. Let $y_{ks} = \mu_k + b_s + e_{ks}$: the setting's true worth, the luck
# of the seed that all settings share, and noise of standard deviation $\sigma$. The obvious size of a knob is
#
# $$R = \max_k \bar y_k - \min_k \bar y_k, \qquad \bar y_k = \frac1n \sum_s y_{ks}.$$
#
# $b_s$ cancels; good. But let all $\mu_k$ be *equal*, with normal noise: the $\bar y_k$ are then $K$ draws of standard
# deviation $\sigma / \sqrt n$ around one value, and $R$ is their range, on average $d_K\, \sigma / \sqrt n$ with
# $d_2 = 1.13$, $d_5 = 2.33$, $d_{10} = 3.08$. A knob that does nothing looks worth something, and the more, the more
# settings you tried. Sorted by $R$, knobs are sorted in part by how many settings they have.
#
# The cure: choose on some seeds, measure on another. For each seed $s$ let $k^+_s$ and $k^-_s$ be the best and the
# worst setting *over the other seeds*, and take $D_s = y_{k^+_s s} - y_{k^-_s s}$. The choice does not know $e_{ks}$,
# so for equal $\mu_k$ the expected $D_s$ is zero, whatever $K$. If the knob does something, $D_s$ is at most the true
# range, on average, and a little less where the choice errs: it errs on the careful side.


# %%
def seen(table: np.ndarray) -> float:
    """Best minus worst mean; table [K settings, n seeds]."""
    means = table.mean(axis=1)
    return means.max() - means.min()


def crossed(table: np.ndarray) -> np.ndarray:
    """[n]: for each seed, best minus worst, both chosen over the other seeds."""
    others = table.sum(axis=1, keepdims=True) - table
    s = np.arange(table.shape[1])
    return table[others.argmax(axis=0), s] - table[others.argmin(axis=0), s]


# %%
rng = np.random.default_rng(0)
COUNTS, SIGMA, TRIALS = (2, 3, 5, 10), 2.0, 1500  # sigma in points
ranges, honest, alarms = [], [], {0.90: [], 0.95: []}
for k in COUNTS:
    worlds = rng.normal(0, SIGMA, (TRIALS, k, 3))  # no setting does anything
    ranges.append(mean(map(seen, worlds)))
    pairs = [crossed(world) for world in worlds]
    honest.append(float(np.mean(pairs)))
    for level, found in alarms.items():
        found.append(mean(evidence.interval(d, level)[1] > 0 for d in pairs))
    print(
        f"{k:2d} settings: best minus worst {ranges[-1]:.1f} points, crossed "
        f"{honest[-1]:+.2f}; above zero, 90 % intervals: {alarms[0.90][-1]:.1%}, "
        f"95 %: {alarms[0.95][-1]:.1%}"
    )
assert ranges[-1] > 2.5 * ranges[0] and max(map(abs, honest)) < 0.2
assert min(alarms[0.90]) > 0.08 and max(alarms[0.95]) < 0.075

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.0, 2.8)
ax.plot(COUNTS, ranges, "o-", color=plots.COLORS[1], label="best minus worst")
ax.plot(COUNTS, honest, "s-", color=plots.COLORS[0], label="crossed")
ax.axhline(0, color=plots.GRAY, linestyle=":")
ax.set(
    title="A knob that does nothing, three seeds",
    xlabel="settings tried", ylabel="apparent effect (points)",
)  # fmt: skip
ax.legend()
plots.show(
    fig,
    alt="Apparent effect of a knob without effect against the number of settings. Best "
    f"minus worst rises from {ranges[0]:.1f} to {ranges[-1]:.1f} points; the crossed "
    f"difference stays at {min(honest):+.2f} to {max(honest):+.2f}.",
)

# %% [markdown]
# One trap is left. A 90 % interval should lie above zero once in twenty times where there is nothing, and here it does
# so once in ten. With two settings you see why: which of them is called "best" is read off the data, so a lucky streak
# in *either* direction comes out as plus. Both tails of Student's distribution end up on one side. Below, crossed
# numbers therefore get 95 % intervals, which brings the false alarms back to about one in twenty. Over twelve idle
# knobs at least one such alarm still comes up about every second time ($1 - 0.95^{12} = 46\,\%$).
#
# ## One page: what to turn first


# %%
Levels = dict[str, np.ndarray]  # setting -> probes in points, one per seed


def effect(levels: Levels) -> tuple[float, float, float]:
    return evidence.interval(crossed(np.array([*levels.values()])), 0.95)


def gain(levels: Levels, base: str) -> tuple[float, float, float]:
    """The setting that is best over the other seeds (the base, perhaps) - base."""
    table = np.array([*levels.values()])
    others = table.sum(axis=1, keepdims=True) - table
    picked = table[others.argmax(axis=0), np.arange(table.shape[1])]
    return evidence.interval(picked - levels[base], 0.95)


def drawn(knob: str) -> Levels:
    return {name: 100 * np.array(v) for name, v in board.levels(simclr, knob).items()}


measured = {knob: drawn(knob) for knob in board.knobs(simclr)}
usual = {knob: board.usual(simclr, knob) for knob in measured}

# %%
effects = {knob: effect(levels) for knob, levels in measured.items()}
gains = {knob: gain(levels, usual[knob]) for knob, levels in measured.items()}
turned = sorted((k for k in measured if k in TWELVE), key=lambda k: -effects[k][0])
spent = sorted((k for k in measured if k not in TWELVE), key=lambda k: -effects[k][0])
missing = [knob for knob in TWELVE if knob not in measured]


# %% tags=["hide-input"]
def line(knob: str, levels: Levels, base: str) -> dict:
    means = {name: v.mean() for name, v in levels.items()}
    best, worst = max(means, key=means.get), min(means, key=means.get)
    return {
        "knob": knob, "n": len(means), "worst": f"{worst} ({means[worst]:.1f})",
        "best": f"{best} ({means[best]:.1f})",
        "seen": seen(np.array([*levels.values()])),
        "crossed": "{:+.1f} ({:+.1f} to {:+.1f})".format(*effect(levels)),
        "gain": "{:+.1f} ({:+.1f} to {:+.1f})".format(*gain(levels, base)),
    }  # fmt: skip


HEADINGS = {
    "knob": "knob", "n": "settings", "worst": "worst (probe)", "best": "best (probe)",
    "seen": "best - worst, seen", "crossed": "crossed, 95 %",
    "gain": "over the base, 95 %",
}  # fmt: skip
for group, name in ((turned, "Knobs of the recipe"), (spent, "Data, size and budget")):
    lines = [line(k, measured[k], usual[k]) for k in group]
    plots.table(lines, f"{name}, in points", HEADINGS, ".1f")
print(origin)


# %% tags=["hide-input"]
def draw_knob(ax, y: int, levels: Levels, base: str) -> list[float]:
    """Every setting minus the base at height y; their means, sorted."""
    others = {name: v - levels[base] for name, v in levels.items() if name != base}
    for d in others.values():
        ax.plot([d.min(), d.max()], [y, y], color=plots.COLORS[0], alpha=0.35)
        ax.plot(d.mean(), y, "o", color=plots.COLORS[0])
    ends = [pick(others, key=lambda name: others[name].mean()) for pick in (min, max)]
    left, right = min(map(min, others.values())), max(map(max, others.values()))
    look = {"va": "center", "textcoords": "offset points", "fontsize": 8}
    name = ends[0] if len(others) > 1 else ""
    ax.annotate(name, (left, y), ha="right", xytext=(-5, 0), **look)
    ax.annotate(ends[1], (right, y), ha="left", xytext=(5, 0), **look)
    return sorted(float(d.mean()) for d in others.values())


# %% tags=["hide-input"]
def draw_knobs(order: list[str], measured: dict, usual: dict, where: str) -> dict:
    """The figure, and for every knob the means of its settings minus the base."""
    fig, ax = plots.new_figure(7.0, 0.8 + 0.33 * len(order))
    spans = {k: draw_knob(ax, -y, measured[k], usual[k]) for y, k in enumerate(order)}
    ax.axvline(0, color=plots.COLORS[1])
    ax.set_yticks([-y for y in range(len(order))], order)
    ax.margins(x=0.16)
    ax.set_ylim(0.6 - len(order), 0.6)
    ax.set(
        title=f"{where}, every setting against the base: mean and range (ends named)",
        xlabel="probe minus the base's, same seed (points)",
    )
    plots.show(
        fig,
        alt=f"{where}, probe of every setting minus the base's, points, lowest and "
        "highest mean: "
        + ", ".join(f"{k} {v[0]:+.1f} to {v[-1]:+.1f}" for k, v in spans.items())
        + ".",
    )
    return spans


spans = draw_knobs(turned, measured, usual, "Drawn world")

# %%
first = turned[:3]
print("(1) most is moved by", ", ".join(f"{k} ({effects[k][0]:.1f})" for k in first))
close = [k for k in turned[3:] if effects[k][2] > effects[first[-1]][1]]
print("    their intervals overlap with the third's:", ", ".join(close) or "none")
better = [k for k in turned if gains[k][1] > 0 and gains[k][0] >= 2]
said = [f"{k} ({gains[k][0]:+.1f})" for k in sorted(better, key=lambda k: -gains[k][0])]
print("(2) better than the base by two points or more:", ", ".join(said) or "none")
right = [k for k in turned if effects[k][1] > 0 and k not in better]
print("    matters, no turn shown to beat the base:", ", ".join(right) or "none")
print("    not tested (fewer than three complete seeds):", ", ".join(missing) or "none")
assert {"batch", "schedule", "projector"} <= set(better)
assert spent[0] == "steps" and all(effects[k][1] < 0 for k in ("pictures", "imbalance"))
assert set(turned[:5]) == {"crop", "batch", "optimiser", "temperature", "jitter"}
assert effects[turned[4]][0] > 14 and max(spans["learning rate"]) < 2

# %%
def by_knn(knob: str) -> float:
    table = board.levels(simclr, knob, "knn").values()
    return float(crossed(100 * np.array(list(table))).mean())


order = sorted(turned, key=lambda k: -by_knn(k))[:4]
print("by kNN, 2,000 labels:", ", ".join(f"{k} ({by_knn(k):.1f})" for k in order))
uncropped, cropped = (mean(of(*p, key="knn")) for p in (("crop", "1"), ("base", "")))
print(f"kNN without crops {uncropped:.1%}, the base {cropped:.1%}")
slow = 100 * (np.array(of("learning rate", "/4")) - of("base"))
print("a quarter of the rate, each seed:", ", ".join(f"{d:+.1f}" for d in slow))
assert order[0] == "jitter" and uncropped > cropped and max(slow) < -10

# %% [markdown]
# **Which first?** Here, check crop, batch, optimiser, temperature and jitter: from its worst to its best setting each
# moves the probe by 14 points or more, and three seeds hardly rank them. Then take the turns that beat the base: no
# projector, batch 64, a constant rate.
#
# But know your ruler: a linear probe on 100 labels. Read by kNN with 2,000 labels, jitter comes first, crops fall
# behind, and the run *without* crops passes the base. A knob's worth is a statement about a measure, too.
#
# The last two columns differ. *Crossed* says how much you can lose or win with a knob; *over the base* what a turn
# still wins when the setting is picked on other seeds (+0.0 from +0.0 to +0.0: on every pair of seeds the base itself
# was best). *Crossed* is careful where several settings tie: the learning rate has level ones on top, the choice among
# them changes with the seed, and its interval holds zero, although a quarter of the rate costs ten points or more in
# every seed.
#
# So there are knobs that matter and are right: check them on new data, then leave them alone. And some are *wrong*
# here. The base was tuned for 800 steps and gets 250. A likely reason, not tested: a run cut short has more use for
# many steps (a smaller batch) and for a rate that does not fall. What a projector is worth depends on what the views
# throw away and the probe asks for ([chapter 20b](20b_projector.ipynb)).
#
# A wider range of levels makes any knob longer. SGD and LARS had two rates each: their row says that an untuned
# optimiser is bad, not which one is.
#
# The second group is bought: budgets differ. Steps are worth most. Runs this short see 512 pictures 125 times; what
# that costs, or a hundredfold imbalance, three seeds do not show.
#
# **And photographs?** Four knobs on Tiny ImageNet; jitter takes gray along, and its base is half of ours. 512,000
# pictures (projector: twice that), the rate tuned for each batch and head.

# %% tags=["hide-input"]
photos, photo_origin = book.recorded("photographs")
AT = {"jitter": "1", "temperature": "0.1", "batch": "256", "projector": "MLP"}


def photo(group: str, arm: str, key: str = "accuracy_10") -> np.ndarray:
    return 100 * np.array(book.per_seed(photos, key, group=group, arm=arm))


there = {knob: {} for knob in AT}
for r in photos:
    if r["group"] in AT and not r["arm"].endswith(", z"):
        name = r["arm"].split(",")[0]
        there[r["group"]][name] = photo(r["group"], r["arm"])
lines = [line(knob, levels, AT[knob]) for knob, levels in there.items()]
floor, flat = photo("labels", "untrained").mean(), photo("labels", "pixels").mean()
plots.table(
    lines,
    "SimCLR on photographs of 20 kinds, 10 labels per class, in points; untrained "
    f"{floor:.1f}, pixels {flat:.1f}",
    HEADINGS,
    ".1f",
)
print(photo_origin)
outside = draw_knobs(list(AT), there, AT, "Photographs")

# %%
turns = {(k, name): v - there[k][AT[k]] for k in AT for name, v in there[k].items()}
for (knob, name), d in turns.items():
    if name != AT[knob]:
        low, high = evidence.interval(d)[1:]
        print(f"{knob} {name}: {d.mean():+.1f} points ({low:+.1f} to {high:+.1f})")
sizes = {knob: effect(levels) for knob, levels in there.items()}
assert min(sizes["jitter"][1], sizes["temperature"][1]) > 0
assert max(sizes["batch"][0], sizes["projector"][0]) < 2
both = measured["jitter"], there["jitter"]
best = [max(levels, key=lambda k: levels[k].mean()) for levels in both]
assert best == ["1", "0.5"] and turns["jitter", "2"].max() < -4

# %% [markdown]
# **Jitter and temperature move the probe there too; batch and projector hardly do** (by kNN a projector counts:
# [20b](20b_projector.ipynb)). Where a knob should stand does not carry over: the drawn recipe's jitter, 2 on this
# scale, costs over four points; half of the base's is best in the mean. A likely reason: there colour helps to tell
# what a thing is.
#
# ## Two knobs at once
#
# One knob at a time assumes that what a turn is worth does not depend on the others. Test it with a difference of
# differences: for knobs $p$ and $q$, $y_{pq} - y_p - y_q + y_0$, zero if their effects add up.


# %%
def together(row: dict) -> tuple[float, float, float]:
    """What the second turn adds to the first, in points: estimate and interval."""
    (a, low), (b, high) = row["pair"]
    cells = [of(row["knob"], row["level"]), of(a, low), of(b, high), of("base")]
    d = [both - one - two + none for both, one, two, none in zip(*cells)]
    return evidence.interval(100 * np.array(d))


def complete(row: dict) -> bool:
    return len(of(row["knob"], row["level"])) == len(of("base")) >= board.FEWEST


pairs = {(r["knob"], r["level"]): r for r in simclr if "pair" in r}
pairs = {name: r for name, r in pairs.items() if complete(r)}
extra = {name: together(r) for name, r in pairs.items()}
for (knob, level), (d, low, high) in sorted(extra.items(), key=lambda i: -abs(i[1][0])):
    word = "" if low <= 0 <= high else "  <- they do not add up"
    print(f"{knob} ({level}): {d:+.1f} points ({low:+.1f} to {high:+.1f}){word}")
off = {
    "no jitter": of("jitter", "0"), "no crops": of("crop", "1"),
    "neither": of("jitter x crop", "0, 1"),
    "no jitter, no projector": of("jitter x projector", "0, none"),
    "untrained": of("untrained"),
}  # fmt: skip
print("; ".join(f"{name} {mean(v):.1%}" for name, v in off.items()))
assert mean(off["neither"]) > min(map(mean, (off["no jitter"], off["no crops"]))) - 0.05
assert mean(off["no jitter, no projector"]) < mean(off["no jitter"]) - 0.04

# %% tags=["hide-input"]
RATES, SIZES = ("/4", "x1", "x4"), ("64", "256", "512")


def corner(rate: str, size: str) -> list[float]:
    if rate == "x1":
        return of("base") if size == "256" else of("batch", size)
    if size == "256":
        return of("learning rate", rate)
    return of("learning rate x batch", f"{rate}, {size}")


def heat(ax, grid, rows, columns, text):
    ax.imshow(grid, cmap="Blues", aspect="auto", vmin=10)
    for i, j in np.ndindex(grid.shape):
        dark = grid[i, j] > 10 + 0.6 * (grid.max() - 10)
        ax.text(j, i, text(i, j), ha="center", va="center", fontsize=9,
                color="white" if dark else "black")  # fmt: skip
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)


# %% tags=["hide-input"]
corners = [f"{rate}, {size}" for rate in ("/4", "x4") for size in ("64", "512")]
if all(("learning rate x batch", level) in pairs for level in corners):
    grid = np.array([[100 * mean(corner(r, s)) for s in SIZES] for r in RATES])
    fig, ax = plots.new_figure(4.8, 2.8)
    heat(ax, grid, RATES, SIZES, lambda i, j: f"{grid[i, j]:.1f}")
    ax.set(title="Probe (%), 64,000 pictures", xlabel="batch", ylabel="learning rate")
    best = {s: RATES[int(grid[:, j].argmax())] for j, s in enumerate(SIZES)}
    plots.show(fig, alt=f"Heat map of the probe. Highest mean by batch: {best}.")
    print("highest mean of the three rates, by batch:", best)
    for size in ("64", "512"):
        d = 100 * (np.array(corner("x4", size)) - corner("x1", size))
        e, low, high = evidence.interval(d)
        print(f"batch {size}, x4 less x1: {e:+.1f} ({low:+.1f} to {high:+.1f})")
        assert low < 0 < high
    assert all(grid[0] < grid[1])

# %% [markdown]
# In the map, a quarter of the rate costs points at every batch, and four times the rate is not told apart from the
# base's at 64 or 512: this grid does not show that each batch wants its own rate.
#
# **The pairs to turn together are, here, jitter with crops and jitter with the projector.** Jitter and crops: with
# either missing the probe has lost most of what it can lose, so the second loss costs nothing. That is how much is
# missing, not why: kNN falls without jitter and not without crops. Jitter and projector: with a shortcut in reach, $h$
# keeps something behind a projector; without one it falls back towards the untrained encoder. The very turn that wins
# with good views loses with bad ones.
#
# The SimCLR paper's figure 5 is such a table for pairs of augmentations: its text says that one pair stands out, crops
# with colour distortion ([Chen et al. 2020](https://arxiv.org/abs/2002.05709), section 3.1). The first claim below asks
# for it here.
#
# ## What goes wrong: a batch is never alone
#
# Somebody halves the batch twice and reports "the effect of the batch". But steps times batch is the number of pictures
# seen, so a change of the batch changes a second thing with it: as many steps show fewer pictures; as many pictures
# take more steps. And the rate that suits one batch need not suit another (in the map one served all three: a finding,
# not a rule). A test for any two rows:


# %%
def differs(a: dict, b: dict) -> list[str]:
    """What two runs do not share, budget included."""
    return [k for k in ("batch", "steps", "seen", "lr", "pictures") if a[k] != b[k]]


def row(knob: str, level: str) -> dict:
    return next(r for r in simclr if (r["knob"], r["level"]) == (knob, level))


three = {
    "as many steps": ("batch, equal steps", "64"),
    "as many pictures": ("batch", "64"),
}
trials = [("learning rate x batch", rates) for rates in ("/4, 64", "x4, 64")]
trials = [("batch", "64")] + [place for place in trials if place in pairs]
three["as many pictures, its own rate"] = max(
    trials, key=lambda t: mean(of(*t, key="held_out"))
)
worth = {}
for name, place in three.items():
    worth[name] = 100 * (np.array(of(*place)) - of("base"))
    d, low, high = evidence.interval(worth[name])
    found = differs(row(*place), row("base", ""))
    assert "batch" in found and len(found) >= 2  # never alone
    print(f"64 against 256, {name}: {d:+.1f} points ({low:+.1f} to {high:+.1f})")
    print("    they differ in", ", ".join(found))
assert max(worth["as many steps"]) < 0 < min(worth["as many pictures"])
assert three["as many pictures, its own rate"] == three["as many pictures"]

# %% [markdown]
# Even the *sign* of "the effect of the batch" depends on what else you held fixed, in every seed, and none of these is
# the effect of the batch alone: that quantity does not exist. Say which budget you held fixed, and tune the rate for
# each batch (here: the best of three on held-out train images, the base's once more, so the last two lines agree).
#
# ## Choosing without test labels
#
# All settings of the twelve knobs, one pool. Keep the run that a rule likes best, averaged over seeds. The rules read:
# the **loss**; **RankMe** of $h$ ([chapter 21](21_quality_without_labels.ipynb)); **which quarter**, whether a linear
# layer can tell how far a picture was turned ([chapter 26d](26d_a_policy_for_your_domain.ipynb)); a **look at labels
# early**, kNN on train labels after a fifth of the run, and the same **late**, at its end; and **held-out labels**, a
# probe fitted on one half of the labelled train images' features and scored on the other. What does each cost?

# %%
SCORES = {
    "lowest loss": lambda r: -r["loss"],
    "largest RankMe": lambda r: r["rank_h"],
    "which quarter": lambda r: r["quarter"],
    "early kNN (labels)": lambda r: r["online"][1][1],
    "late kNN (labels)": lambda r: r["online"][-1][1],
    "held-out labels": lambda r: r["held_out"],
}
pool = [("base", "")] + [
    (k, level) for k in turned for level in board.levels(simclr, k) if level != usual[k]
]
same_loss = [p for p in pool if p[0] not in ("temperature", "batch")]


def scored(place: tuple, score) -> float:
    rows = [r for r in simclr if (r["knob"], r["level"]) == place]
    return mean(score(r) for r in rows)


def pick(score, among: list) -> tuple:
    return max(among, key=lambda place: scored(place, score))


picks = {name: pick(score, pool) for name, score in SCORES.items()}
picks["lowest loss, where losses compare"] = pick(SCORES["lowest loss"], same_loss)
top = evidence.held_out_best({place: of(*place) for place in pool})

# %% tags=["hide-input"]
lines = [
    {"rule": "no rule: the base", "picks": "base", "probe": mean(of("base"))},
    {"rule": "by lot", "picks": "", "probe": mean(mean(of(*p)) for p in pool)},
    {"rule": "test labels, on the other seeds", "picks": "", "probe": mean(top)},
]
for name, place in picks.items():
    d = 100 * (np.array(of(*place)) - of("base"))
    lines.append(
        {
            "rule": name, "picks": " ".join(place), "probe": mean(of(*place)),
            "base": "{:+.1f} ({:+.1f} to {:+.1f})".format(*evidence.interval(d)),
        }
    )  # fmt: skip
for entry in lines:
    entry["regret"] = 100 * (mean(top) - entry["probe"])
plots.table(
    lines,
    f"What a choice among {len(pool)} settings costs",
    {"rule": "rule", "picks": "picks", "probe": "its probe",
     "base": "minus the base, points", "regret": "below test labels, points"},
    {"probe": ".1%", "regret": ".1f"},
)  # fmt: skip

# %%
fooled = picks["lowest loss, where losses compare"]
print("(3) the lowest loss, among runs whose losses compare, has", *fooled)
cost = {name: mean(of("base")) - mean(of(*place)) for name, place in picks.items()}
assert cost["lowest loss"] > 0.1 and cost["largest RankMe"] > 0.1
begun = scored(picks["largest RankMe"], SCORES["largest RankMe"])
before, ours = (mean(of(knob, key="rank_h")) for knob in ("untrained", "base"))
print(f"RankMe: its pick {begun:.0f}, the base {ours:.0f}, untrained {before:.0f}")
assert before > begun > ours
easiest = sorted(same_loss, key=lambda p: scored(p, SCORES["lowest loss"]))[-2:]
assert set(easiest) == {("crop", "1"), ("jitter", "0")}
assert picks["late kNN (labels)"] == ("crop", "0.5")
assert picks["early kNN (labels)"] == ("crop", "1")
worse = [name for name, c in cost.items() if c >= 0.02]
print("two points or more below the base:", ", ".join(worse) or "no rule's pick")

# %% [markdown]
# A loss is a number on its own scale: temperature and batch change the scale itself (chance is $\log(2B - 1)$ for batch
# $B$), so comparing losses across them means nothing. Among runs that share the scale it means something, and not what
# you want: it says how *easy* the task is, and easy views are those that keep what tells pictures apart at a glance:
# the two lowest losses among comparable runs are *crop 1* and *jitter 0*. RankMe likes a run that has hardly begun:
# training lowers the rank of an untrained encoder. Early kNN picks *crop 1*, late kNN *crop 0.5*: the first rule is
# early *and* another question than a probe with 100 labels. (The held-out probe needs all 2,000 labels; few people have
# them.)
#
# ## The same turns, other methods
#
# Do the knobs keep their meaning when the loss changes? The same five turns for VICReg and BYOL, and each method's own
# number (SimCLR: temperature, 0.05 and 0.5; VICReg: covariance weight, 0 and 25; BYOL: the teacher's momentum, 0.5 and
# 0.9995, which is slower than the run).

# %%
METHODS = {"simclr": "SimCLR", "vicreg": "VICReg", "byol": "BYOL"}
TURNS = {
    "base": ("base", ""), "rate / 4": ("learning rate", "/4"),
    "rate x 4": ("learning rate", "x4"), "no jitter": ("jitter", "0"),
    "batch 64": ("batch", "64"), "no projector": ("projector", "none"),
    "own, low": ("own", "low"), "own, high": ("own", "high"),
}  # fmt: skip
OWN = {("own", "low"): ("temperature", "0.05"), ("own", "high"): ("temperature", "0.5")}


def rows_of(name: str, place: tuple) -> list[dict]:
    place = OWN.get(place, place) if name == "simclr" else place
    places = [r for r in record if r["method"] == name and r.get("verdict")]
    return [r for r in places if (r["knob"], r["level"]) == place]


ready = [
    name for name in METHODS
    if all(len(rows_of(name, p)) >= board.FEWEST for p in TURNS.values())
]  # fmt: skip
late = [METHODS[name] for name in METHODS if name not in ready]
print("not tested (fewer than three complete seeds):", ", ".join(late) or "none")

# %% tags=["hide-input"]
def percent(name: str, place: tuple) -> float:
    """Mean probe; a run that broke off counts as chance."""
    return 100 * mean(r.get("probe", 0.1) for r in rows_of(name, place))


grid = np.array([[percent(name, p) for p in TURNS.values()] for name in ready])
found = {}
for i, name in enumerate(ready):
    for j, place in enumerate(TURNS.values()):
        words = [r["verdict"] for r in rows_of(name, place)]
        if words := [word for word in words if word != "healthy"]:
            found[i, j] = f"{max(words, key=words.count)} ({len(words)})"

# %% tags=["hide-input"]
fig, ax = plots.new_figure(9.8, 1.2 + 0.7 * len(ready))


def cell_text(i: int, j: int) -> str:
    named = found.get((i, j), "").replace(" collapse", "\ncollapse")
    named = named.replace("student drift", "student\ndrift")
    return f"{grid[i, j]:.1f}" + (f"\n{named}" if named else "")


heat(ax, grid, [METHODS[m] for m in ready], list(TURNS), cell_text)
ax.tick_params(axis="x", labelsize=9)
ax.set(title="Probe (%), and what the diagnosis calls unhealthy (in how many seeds)")
plots.show(
    fig,
    alt="Probe by method and turn. "
    + " ".join(
        f"{METHODS[m]}: "
        + ", ".join(f"{t} {grid[i, j]:.1f} {found.get((i, j), '')}".strip()
                    for j, t in enumerate(TURNS)) + "."
        for i, m in enumerate(ready)
    ),
)  # fmt: skip
for name in ready:
    rows = [r for r in record if (r["method"], r["knob"]) == (name, "untrained")]
    print(f"{METHODS[name]}: untrained {mean(r['probe'] for r in rows):.1%}")

# %%
got = {name: dict(zip(TURNS, grid[i])) for i, name in enumerate(ready)}
shared = list(TURNS)[1:6]
assert all(min(shared, key=got[name].get) == "no jitter" for name in ready)
for name in ("vicreg", "byol"):  # within three points of untrained
    assert got[name]["no jitter"] < 100 * mean(of("untrained")) + 3


def minus_base(name: str, turn: str) -> tuple[float, float, float]:
    runs = [rows_of(name, TURNS[t]) for t in (turn, "base")]
    a, b = ({r["seed"]: r["probe"] for r in rows} for rows in runs)
    return evidence.interval(100 * np.array([a[s] - b[s] for s in sorted(a)]))


LOOKED_AT = [("simclr", "rate x 4"), ("vicreg", "rate x 4")]
LOOKED_AT += [(name, "no projector") for name in METHODS]

# %%
moved = {place: minus_base(*place) for place in LOOKED_AT}
for (name, turn), (d, low, high) in moved.items():
    print(f"{METHODS[name]}, {turn}: {d:+.1f} ({low:+.1f} to {high:+.1f})")
assert moved["vicreg", "rate x 4"][2] < 0 and moved["byol", "no projector"][2] < 0
idle = ("simclr", "rate x 4"), ("vicreg", "no projector")
assert all(moved[place][2] > 0 for place in idle)

# %% [markdown]
# Some turns mean the same to all three: no jitter is the worst of the five in the mean, and leaves VICReg and BYOL next
# to their untrained encoder. Others do not: four times the rate costs VICReg points and is not shown to cost SimCLR
# any, though the intervals are wide; and the turn that won most for SimCLR, no projector, costs BYOL points and is not
# told apart from nothing for VICReg. A knob's worth is a statement about a method. (Each is turned around its own quick
# recipe: VICReg has SimCLR's rate, BYOL has SGD.)
#
# A named collapse is a verdict about $z$ and the run ([chapter 20](20_collapse.ipynb)); the number above it is the
# probe of $h$. The two need not agree, and a healthy cell can be a poor one.
#
# ## Play: turn one knob
#
# Every recorded run. The gray band holds the base's seeds, the dotted line is the encoder before training. **Which
# knobs have all their diamonds in the band? And which lower the loss while the probe falls?**
#
# <details><summary>Answer</summary>Blur, flip, weight decay, pictures, precision and imbalance. Jitter turned down to 0 and crop 1 lower the loss and the probe; so does batch
# 64 at equal steps, on another scale of the loss.</details>

# %%
band = 100 * np.array(of("base"))
calm = {
    k for k in measured
    if all(band.min() <= v.mean() <= band.max() for v in measured[k].values())
}  # fmt: skip
assert calm == {"blur", "flip", "weight decay", "pictures", "precision", "imbalance"}
widgets.explore(
    partial(board.render, rows=simclr),
    board.controls(list(measured)),
    static=[
        {"knob": "jitter"},
        {"knob": "jitter", "key": "loss"},
        {"knob": turned[1]},
        {"knob": turned[-1]},
    ],
    captions=[
        "jitter: the probe",
        "jitter: the loss",
        "second in the table",
        "last in the table",
    ],
    alt=partial(board.describe, rows=simclr),
    columns=2,
)

# %% [markdown]
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · Find the planted bug (••, 7 minutes)
# `parameters` is a list of `(name, shape)`, shape a tuple of ints. The function should return how many numbers weight
# decay acts on: those of convolutions and linear layers, not biases, not BatchNorm. `decayed_with_a_bug` has a bug that
# is easy to make, and the knob *weight decay* then does something else than its name says. Return the repaired count.
#
# <details><summary>Hint</summary>`("layers.1.weight", (8,))` is a BatchNorm.</details>


# %%
def decayed_with_a_bug(parameters: list) -> int:
    return sum(math.prod(shape) for name, shape in parameters if "bias" not in name)


def decayed(parameters: list) -> int:
    return NOT_ATTEMPTED


ch22.check_decayed(decayed)

# %% [markdown]
# ### 2 · How many seeds? (••, 10 minutes)
# Paired differences have standard deviation `spread`, and you care about an `effect` (both floats, in points). If the
# estimate came out at exactly `effect`, from how many seeds $n \ge 2$ on would its 90 % interval, estimate
# $\pm\, t_{n-1,\,0.95}\, \mathrm{spread} / \sqrt n$, leave out zero? Return an int. Then put in the spread
# printed below and an effect of 2 points.
#
# <details><summary>Hint</summary>`scipy.special.stdtrit(df, 0.95)` is Student's quantile. Count upwards.</details>


# %%
def seeds_to_see(spread: float, effect: float) -> int:
    return NOT_ATTEMPTED


ch22.check_seeds_to_see(seeds_to_see)

# %%
spreads = [
    100 * np.std(np.array(of(*place)) - of("base"), ddof=1) for place in pool[1:]
]
spread = float(np.median(spreads))
print(f"median spread of setting minus base over seeds: {spread:.2f} points")

# %% [markdown]
# ### 3 · Defend a design with a number (•••, 12 minutes)
# You can afford `runs` runs. True worths of settings have standard deviation `between`, a run adds noise of standard
# deviation `within`; both normal. Try $K$ settings with $n = \mathrm{runs} / K$ seeds each ($K \ge 2$ a divisor of
# `runs`) and keep the one with the best mean. The pick's *true* worth, above the average setting, is on average
#
# $$G(K) = \frac{\mathrm{between}^2}{\sqrt{\mathrm{between}^2 + \mathrm{within}^2 / n}}\; m_K, \qquad m_K = \text{expected largest of } K \text{ standard normals}$$
#
# (`ch22.largest_of(K)`). Return the best $K$ and its $G$. First derive $G$: what is the expected worth of a setting,
# given its mean?
#
# <details><summary>Hint</summary>Given a mean $\bar y$ above average, the expected worth is the share
# $\mathrm{between}^2 / (\mathrm{between}^2 + \mathrm{within}^2 / n)$ of it; and the largest of $K$ means is, on
# average, $m_K$ times their standard deviation.</details>


# %%
def spend(runs: int, between: float, within: float) -> tuple[int, float]:
    return NOT_ATTEMPTED


ch22.check_spend(spend)

# %% [markdown]
# ### 4 · Predict, then run (•, 5 minutes on paper)
# Sixty steps, learning rate four times the base's, against sixty steps with a quarter of it; same seed. By how many
# points does the probe of the first beat (+) or miss (-) that of the second? Put a number in place of the stub *before*
# the run; the run (half a minute) starts only then. Within two points is near.
#
# <details><summary>Hint</summary>At 250 steps both rates are in the figure above. What do fewer steps leave of either?</details>


# %%
def short_runs() -> float:
    found = []
    for factor in (4.0, 0.25):
        quick = recipe.with_(lr=recipe.lr * factor)
        run = quick.build(seed=0)
        pretrain(
            run, unlabeled.images, (quick.policy,) * 2, steps=60, seed=0,
            progress=False, **quick.training(),
        )  # fmt: skip
        found.append(probe(run.eval().encoder))
    return 100 * (found[0] - found[1])


forecast = NOT_ATTEMPTED
ch22.judge_forecast(forecast, short_runs)

# %% [markdown]
# ## Claims, tested
#
# Statements and rules stand in
# [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv). What colour jitter alone is
# worth is a claim of [chapter 00](00_start_here.ipynb), temperature of [chapter 13](13_from_nce_to_nt_xent.ipynb),
# batches of [chapter 14](14_negatives.ipynb), the projector of [chapter 20b](20b_projector.ipynb), LARS of [chapter
# 24b](24b_machines_and_learning_rates.ipynb), the strength of jitter of [chapter 25](25_capstone_stl10_simclr.ipynb).

# %%
alone = [max(pair) for pair in zip(of("jitter", "0"), of("crop", "1"))]
book.claim("C-74", drawn=Runs(of("base"), alone, of("untrained")))
more = of("views", "2 + 4 small, as many pixels")
assert mean(of("crop", "0.05")) < mean(of("base")) - 0.05
both, uncropped = (np.array(of(*p, key="knn")) for p in (("base", ""), ("crop", "1")))
told = {
    "by kNN, crops and jitter less jitter alone": both - uncropped,
    "multi-crop with as many steps less two views":
        np.array(of("views", "2 + 4 small, as many steps")) - of("base"),
}  # fmt: skip
for name, d in told.items():
    d, low, high = evidence.interval(100 * d)
    print(f"{name}: {d:+.1f} points ({low:+.1f} to {high:+.1f})")
    assert -10 < d < 0
book.claim("C-83", drawn=Runs(more, of("base"), of("untrained")))

# %% [markdown]
# In the first, both singles keep flips and gray views, as the base does; the control is the better of the two, seed by
# seed, which favours it. The paper transforms one branch only there; here both are. And by kNN the composition does not
# win: the verdict is about the probe. In the second, two views of 32 px and four of 16 px meet every other view, as in
# SwAV's multi-crop, with as many pixels seen as the base and so two thirds of its steps; with as many steps it loses
# much less, as printed, so most of the loss is steps.
#
# ## Where it comes from, where it went
#
# Warm-up, and a rate that grows with the batch: [Goyal et al. (2017)](https://arxiv.org/abs/1706.02677). Decay along a
# cosine, there with restarts, here a single half: [Loshchilov and Hutter (2017)](https://arxiv.org/abs/1608.03983).
# Weight decay apart from the gradient's scale, AdamW: [Loshchilov and Hutter (2019)](https://arxiv.org/abs/1711.05101),
# after Adam ([Kingma and Ba, 2015](https://arxiv.org/abs/1412.6980)). Multi-crop: [Caron et al.
# (2020)](https://arxiv.org/abs/2006.09882). SimCLR ([Chen et al., 2020](https://arxiv.org/abs/2002.05709)) turns many
# of these knobs one by one. [Bordes et al. (2023)](https://arxiv.org/abs/2303.01986) turn them again, tune properly,
# and find that large batches and strong augmentation are not needed: with Gaussian noise alone they report useful
# features. Here *jitter 0* stays above the untrained encoder, far below the base; it was not tuned again.
#
# ## Two questions
#
# **1.** A paper compares ten settings of its own knob with one setting of the baseline, three seeds each, and reports
# the best. What do you ask for?
# <details><summary>Answer</summary>The same number of tries for the baseline, or the best setting chosen on some seeds and
# reported on others. Ten equal settings alone give a range of about three standard deviations of a mean.</details>
#
# **2.** Your probe is level for temperatures from 0.05 to 0.2. May you write that temperature does not matter?
# <details><summary>Answer</summary>Not beyond that range, this budget and this batch; and "level" needs an interval that
# leaves out the effect you would care about. Widen the range before you call a knob idle.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# forecast = ...  # your own number, before the run
#
#
# def decayed(parameters):
#     return sum(math.prod(shape) for name, shape in parameters if len(shape) > 1)
#
#
# def seeds_to_see(spread, effect):
#     from scipy.special import stdtrit
#
#     n = 2
#     while stdtrit(n - 1, 0.95) * spread / math.sqrt(n) >= effect:
#         n += 1
#     return n  # a spread of 1.2 and an effect of 2 points: 4, one seed more than this record has
#
#
# def spend(runs, between, within):
#     def gain(k):
#         noise = within**2 * k / runs
#         return between**2 / math.sqrt(between**2 + noise) * ch22.largest_of(k)
#
#     best = max((k for k in range(2, runs + 1) if runs % k == 0), key=gain)
#     return best, gain(best)
# ```
