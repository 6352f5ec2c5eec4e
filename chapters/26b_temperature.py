# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 26b · Does a low temperature tighten clusters until they collapse?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/26b_temperature.ipynb)
#
# **After this chapter you can**
#
# - say which of three measures of "tight" follows the classes, and which only follows the whole cloud;
# - prove that a cloud of embeddings can warm its own softmax up, and cannot cool it down;
# - read off the temperature at which a trained network really works.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb), which sweeps the temperature and says what the gradient does;
# [chapter 20](20_collapse.ipynb) for collapse. This is a companion of [chapter 26](26_capstone_extensions.ipynb).
# **Time**: 19 minutes to read, about half a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("26b")

# %% [markdown]
# ## The puzzle: one number that rises
#
# The task of the applied researcher reads: sweep the temperature $\tau$ of SimCLR and test whether a lower one tightens
# clusters until they collapse. Train twice, everything equal, at $\tau = 0.1$ and at a tenth of it. Then take
# embeddings of pictures of *one* kind, and average their cosines.

# %%
from statistics import fmean as mean

import torch
import torch.nn.functional as F

from ssl_lessons import data, diagnostics, evaluation, losses, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch26b
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.models import settle
from ssl_lessons.training import pretrain, recipes

COLD, MILD, STEPS = 0.01, 0.1, 100
recipe = recipes.get_recipe("quick")
unlabeled = data.shapes("unlabeled", n=4096)
train, test = data.shapes("train", n=2000), data.shapes("test", n=2000)


def train_at(tau: float, steps: int = STEPS):
    method = recipe.with_(options=recipe.options | {"temperature": tau}).build(0)
    settings = recipe.training() | {"batch_size": 128, "seed": 0, "progress": False}
    pretrain(method, unlabeled.images, (recipe.policy,) * 2, steps=steps, **settings)
    return method.cpu().eval()


networks = {tau: train_at(tau) for tau in (COLD, MILD)}
untrained = settle(recipe.build(0), unlabeled.images[:1024]).cpu().eval()


# %%
@torch.no_grad()
def embed(method, x: torch.Tensor) -> torch.Tensor:
    """Unit-length embeddings of normalised pictures [N, 3, S, S]: [N, D]"""
    return F.normalize(method.projector(method.encoder(x)).double(), dim=1)


def cosines(u: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Mean cosine of two pictures of one class, and of two classes."""
    cosine, same = u @ u.T, labels[:, None] == labels
    itself = torch.eye(len(u), dtype=torch.bool)
    return cosine[same & ~itself].mean().item(), cosine[~same].mean().item()


pictures = views.normalize(test.images)
clouds = {tau: embed(method, pictures) for tau, method in networks.items()}
clouds["untrained"] = embed(untrained, pictures)
c_in, c_out = zip(*(cosines(u, test.labels) for u in clouds.values()), strict=True)
for tau, value in zip(clouds, c_in, strict=True):
    print(f"temperature {tau}: mean cosine within a class {value:.2f}")
assert c_in[0] > 0.9 and c_in[0] > c_in[1] + 0.1

# %% [markdown]
# At the low temperature pictures of one kind point in nearly the same direction. Tight?
#
# > **Predict before you go on.** (1) The mean cosine of pictures of *different* kinds at 0.01: near 0, as for unrelated
# > directions, or near the same number? (2) Is this a collapse? A collapsed network wins nothing at the game it plays.
# > (3) Whose neighbours tell the kinds apart better? A coin gets this right half of the time.


# %%
def vote(encoder=None) -> float:
    """kNN with 2,000 labels on the frozen features h, or on pixels."""
    h = [
        evaluation.pixels(s.images)
        if encoder is None
        else evaluation.extract_features(encoder, s.images)
        for s in (train, test)
    ]
    return evaluation.knn_accuracy(h[0], train.labels, h[1], test.labels)


pair = views.make_views(
    test.images[:256], (recipe.policy,) * 2, torch.Generator().manual_seed(0)
)
seen = {tau: [embed(m, v) for v in pair] for tau, m in networks.items()}
game = {tau: losses.nt_xent(*u, tau).item() for tau, u in seen.items()}
votes = {tau: vote(m.encoder) for tau, m in networks.items()}
votes["untrained"], pixel_vote = vote(untrained.encoder), vote()

# %% tags=["hide-input"]
plots.table(
    [
        {"name": f"temperature {tau}" if tau != "untrained" else tau, "in": a, "out": b,
         "loss": game.get(tau), "knn": votes[tau]}
        for tau, a, b in zip(clouds, c_in, c_out, strict=True)
    ]
    + [{"name": "raw pixels", "knn": pixel_vote}],
    f"After {STEPS} steps of batch 128 (chance: loss 6.24, kNN 10 %)",
    {"name": "", "in": "cosine within a class", "out": "between classes",
     "loss": "loss at its own temperature", "knn": "kNN of h, 2,000 labels"},
    {"in": ".3f", "out": ".3f", "loss": ".2f", "knn": ".1%"},
)  # fmt: skip
assert c_out[0] > 0.9 and abs(c_in[0] - c_out[0]) < 0.05
assert game[COLD] < 6.24 - 0.15 and game[MILD] < 6.24 - 0.3
assert votes[MILD] > votes[COLD] + 0.05 and votes[MILD] < pixel_vote + 0.02
assert abs(c_in[1] - c_out[1]) < 0.05

# %% [markdown]
# (1) Near the same number: strangers are as close as relatives. The *whole cloud* has drawn together. (2) No: the loss
# is well below chance, so partners are still told from strangers. (3) The milder one, though after so few steps neither
# is clearly better than raw pixels, and its $z$ shows no classes yet either. So a high cosine within classes says
# nothing about classes. Why does the cloud shrink, and what would be a fair measure?
#
# ## The idea: a bunched cloud is a warmer softmax
#
# Let $u_1, \dots, u_N$ be unit embeddings with mean $\bar u$, and $S = 1 - \lVert\bar u\rVert^2$ their **spread**: 1 if
# their mean is 0, 0 in a point ([chapter 20](20_collapse.ipynb)). Suppose that the cloud is a narrow cone around a unit
# direction $m$: with unit vectors $v_i$ orthogonal to $m$ whose mean is 0,
#
# $$u_i = \sqrt{1 - S}\;m + \sqrt{S}\;v_i, \qquad\text{so}\qquad u_i^\top u_j = (1 - S) + S\,v_i^\top v_j .$$
#
# NT-Xent divides cosines by $\tau$ and takes a softmax. The constant $(1-S)/\tau$ is the same for all candidates and
# cancels; what is left is the softmax of $v_i^\top v_j$ at another temperature:
#
# $$\boxed{\;L_\tau(u) = L_t(v), \qquad t = \tau / S \;\ge\; \tau\;}$$
#
# Call $t$ the **effective temperature**. Embeddings have no length with which to be more or less sure; bunching gives
# that back. Two things follow at once.
#
# - A network can *warm its softmax up* as far as it likes, by shrinking $S$. It cannot cool it: $S \le 1$.
# - With $c_\text{in}$ and $c_\text{out}$ the mean cosines within and between classes, bunching multiplies the *difference*
#   $c_\text{in} - c_\text{out}$ by $S$. It does not touch the ratio of mean squared distances,
#   $\rho = (1 - c_\text{in})/(1 - c_\text{out})$: the squared distance of unit vectors is $2 - 2\cos$, and $S$ cancels.
#   $\rho = 1$: classes do not show. $\rho = 0$: classes are points.
#
# Check all of it on numbers.


# %%
def bunch(v: torch.Tensor, spread: float) -> torch.Tensor:
    """Unit rows [N, D] with mean 0 -> [N, D + 1]: a cone around a new axis."""
    axis = torch.full((len(v), 1), (1 - spread) ** 0.5, dtype=v.dtype)
    return torch.cat([axis, spread**0.5 * v], dim=1)


def ratio(u: torch.Tensor, labels: torch.Tensor) -> float:
    within, between = cosines(u, labels)
    return (1 - within) / (1 - between)


draw = torch.randn(2, 64, 8, generator=torch.Generator().manual_seed(0)).double()
kinds = torch.arange(64) % 4
v1 = F.normalize(draw[0] + 2 * F.one_hot(kinds, 8), dim=1)
v2 = F.normalize(v1 + 0.3 * draw[1], dim=1)
for S in (0.5, 0.1, 0.02):
    cold = losses.nt_xent(bunch(v1, S), bunch(v2, S), 0.2 * S)
    assert torch.isclose(cold, losses.nt_xent(v1, v2, 0.2), rtol=1e-6)
    assert abs(ratio(bunch(v1, S), kinds) - ratio(v1, kinds)) < 1e-9
print("bunched and cooled by the same factor: the same loss, the same ratio")

# %% [markdown]
# (The identity needs no mean of 0; only $S$ as one minus the squared length of the mean does.)
#
# ## Does a real network do that?
#
# If it does, the spread of a trained cloud is no accident: it is what makes the softmax right at the temperature of
# training. So take the two trained clouds, and ask *at which temperature the loss on fresh views would be lowest*.
# Before you look: for a network that never noticed its temperature, both would have their minimum at the same place.

# %%
GRID = [0.002 * 1.25**k for k in range(28)]
curves = {
    tau: [losses.nt_xent(*u, other).item() for other in GRID] for tau, u in seen.items()
}
best = {tau: GRID[values.index(min(values))] for tau, values in curves.items()}
spreads = {tau: diagnostics.spread(u) for tau, u in clouds.items()}
own = {tau: tau / spreads[tau] for tau in networks}

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 3.0)
for (tau, values), style, color in zip(
    curves.items(), ("-", "--"), plots.COLORS, strict=False
):
    ax.plot(GRID, values, style, color=color, label=f"trained at {tau}")
    ax.axvline(tau, color=color, linestyle=":")
ax.axhline(6.24, color=plots.GRAY, linestyle="-.", label="chance")
ax.set(
    xscale="log", ylim=(5.2, 7), xlabel="temperature at which the loss is computed",
    ylabel="NT-Xent, 256 fresh pictures (nats)",
    title="Each cloud fits the temperature it was trained at (dotted)",
)  # fmt: skip
ax.legend()
plots.show(
    fig,
    alt="Loss of two clouds against the temperature. "
    + " ".join(f"Trained at {t}: lowest at {b:.3f}." for t, b in best.items()),
)
for tau in networks:
    print(f"trained at {tau}: best read at {best[tau]:.3f}, spread {spreads[tau]:.3f}")
    print(f"   effective temperature {own[tau]:.2f}")
assert all(0.6 < best[tau] / tau < 1.7 for tau in networks)
assert all(0.2 < t < 0.7 for t in own.values())
assert spreads[COLD] < 0.25 * spreads[MILD] and 0.5 < own[COLD] / own[MILD] < 2

# %% [markdown]
# Each minimum lies at its own training temperature, a factor of ten apart, and the *effective* temperatures are nearly
# equal. The cold network has undone most of the cooling. This is two runs of one seed; now three seeds.
#
# ## The record: six temperatures, three seeds, 500 steps
#
# Same recipe, batch 256. [Chapter 13](13_from_nce_to_nt_xent.ipynb) reads this record for the probe and the gap between
# partners and strangers. Here are the columns that it does not have: effective temperature and ratio.

# %%
record, origin = book.recorded("temperature", world=2)
UNTRAINED = 0.0  # the row of the untrained network
for row in record:
    row["t"] = row["temperature"] / row["spread_z"]
    row["difference"] = row["within"] - row["between"]
    row["ratio"] = (1 - row["within"]) / (1 - row["between"])
TAUS = sorted({row["temperature"] for row in record} - {UNTRAINED})


def recorded(tau: float, key: str) -> list[float]:
    """One value per seed."""
    return book.per_seed(record, key, temperature=tau)


# %% tags=["hide-input"]
floor, _ = book.recorded("embedded_world", world=2)
pixels = [row for row in floor if row["arm"] == "pixels"]
KEYS = {
    "spread_z": "spread S", "t": "effective t", "within": "cosine within",
    "difference": "within minus between", "ratio": "ratio of distances",
    "uniformity": "uniformity", "probe": "probe, 100 labels", "knn": "kNN",
}  # fmt: skip


def shown(values: list[float], scale: float, digits: int) -> str:
    m, half = scale * mean(values), scale * (max(values) - min(values)) / 2
    return f"{m:.{digits}f} ± {half:.{digits}f}"


rows = [
    {"tau": f"{tau:g}" if tau else "untrained"}
    | {
        key: None
        if (key == "t" and not tau)
        else shown(
            recorded(tau, key), *((100, 1) if key in ("probe", "knn") else (1, 2))
        )
        for key in KEYS
    }
    for tau in (*TAUS, UNTRAINED)
]
rows.append(
    {"tau": "raw pixels"}
    | {key: shown([r[key] for r in pixels], 100, 1) for key in ("probe", "knn")}
)
plots.table(
    rows,
    "Mean and half the range of three seeds; z unless said otherwise (chance 10 %)",
    {"tau": "temperature"}
    | {k: name + (" (%)" if k in ("probe", "knn") else "") for k, name in KEYS.items()},
)
print(origin)

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.0, 3.2, 1, 2)
left.plot(TAUS, [mean(recorded(t, "t")) for t in TAUS], "o-", label="mean of the seeds")
left.plot(TAUS, TAUS, ":", color=plots.GRAY, label="no bunching: t = tau")
left.set(
    xscale="log", yscale="log", xlabel="temperature", ylabel="effective temperature"
)
left.set_title("Up to 0.1 the network chooses for itself")
left.legend()
for key, style in (("within", "o-"), ("difference", "s--"), ("ratio", "^:")):
    values = [mean(recorded(t, key)) for t in TAUS]
    right.plot(TAUS, values, style, label=KEYS[key])
right.set(xscale="log", xlabel="temperature", ylabel="measured on z", ylim=(0, 1.05))
right.set_title("Three measures of tightness, three answers")
right.legend()
for ax in (left, right):
    ax.set_xticks(TAUS, [f"{tau:g}" for tau in TAUS])
    ax.minorticks_off()
plots.show(
    fig,
    alt="Left: effective temperature against temperature: "
    + ", ".join(f"{mean(recorded(t, 't')):.2f} at {t:g}" for t in TAUS)
    + ". Right, cosine within, difference and ratio against temperature; ratio: "
    + ", ".join(f"{mean(recorded(t, 'ratio')):.2f} at {t:g}" for t in TAUS) + ".",
)  # fmt: skip

# %%
low = [t for tau in TAUS[:3] for t in recorded(tau, "t")]  # 0.02, 0.05, 0.1
assert max(low) < 1.3 * min(low) and min(own.values()) > 2 * mean(low)
assert all(t < 1.1 * tau for tau in TAUS[3:] for t in recorded(tau, "t"))
fair = [mean(recorded(tau, "ratio")) for tau in TAUS[:5]]  # 0.02 to 0.5
assert max(fair) - min(fair) < 0.05 and min(recorded(TAUS[5], "ratio")) > 0.9
assert min(recorded(0.05, "within")) > max(recorded(0.2, "within")) + 0.1
assert max(recorded(0.05, "difference")) < min(recorded(0.2, "difference")) - 0.05
assert min(recorded(0.1, "probe")) > max(recorded(UNTRAINED, "probe")) + 0.1
assert min(recorded(0.02, "knn")) > max(r["knn"] for r in pixels) + 0.1
assert min(recorded(0.02, "uniformity")) > max(recorded(0.2, "uniformity")) + 1

# %% [markdown]
# At 0.02, 0.05 and 0.1, a factor of five apart, the softmax really works at nearly one and the same temperature, the
# column *effective t*: the spread follows the temperature. From 0.2 on the mean is all but 0, $S$ cannot grow, and $t$
# is nearly $\tau$: a network that would like to be surer cannot be. (An $S$ of 1 does not say that the sphere is evenly
# used: see the uniformity at 1.)
#
# So, three answers to "is it tight?". The **cosine within classes** says: yes, very. The **difference** says: no, the
# reverse. The **ratio**, which bunching cannot move, says: from 0.02 to 0.5 nothing that three seeds
# could tell, and at 1 $z$ has lost the classes. The first describes the cone; the second is cone times classes, since
# bunching multiplies it by $S$.
#
# And **collapse**? Bunched by a factor, with all that it knows kept in the rest, is not collapsed: kNN at 0.02 is far
# above the untrained network and pixels. If $S = \tau/t$, the cloud becomes a point only as $\tau$ goes to 0. What the
# table does not show is *why* the probe is a few points lower at 0.02.
#
# Now the uniformity, which is *worst* at the low end here. [Wang and Liu (2021)](https://arxiv.org/abs/2012.09740)
# report: the lower the temperature, the more uniform. From 0.5 down to 0.2, where the mean is at the centre, our column
# agrees; below, where the cloud is bunched, it turns round. They train for 200 epochs. The formula offers a
# reconciliation: after 100 small steps the two networks above wanted a $t$ a few times as high as those of the record
# after 500 larger ones. The surer a network becomes of its partners, the colder the softmax that fits, and
# $S = \tau / t$ grows until it is 1. Then bunching is over, and what they saw can begin. That predicts what three times
# as many steps must do. An older record has such runs: the first drawn world, and two seeds only, so it can speak and
# not decide.

# %%
short_runs, _ = book.recorded("temperature")
long_runs, long_origin = book.recorded("extensions")
long_runs = [r for r in long_runs if r["part"] == "temperature" and r["steps"] == 1200]
LONG = sorted({r["temperature"] for r in long_runs})


def worked_at(rows, tau: float) -> list[float]:
    """Effective temperatures; ten classes of equal size give the mean cosine."""
    rows = [r for r in rows if r["temperature"] == tau]
    return [tau / (1 - 0.1 * r["within"] - 0.9 * r["between"]) for r in rows]


# %% tags=["hide-input"]
plots.table(
    [
        {"tau": f"{tau:g}", "short": mean(worked_at(short_runs, tau)),
         "long": mean(worked_at(long_runs, tau)), "n": len(worked_at(long_runs, tau))}
        for tau in LONG
    ],
    "Effective temperature after 400 and 1,200 steps, first drawn world",
    {"tau": "temperature", "short": "400 steps", "long": "1,200 steps",
     "n": "seeds (long)"},
    {"short": ".3f", "long": ".3f"},
)  # fmt: skip
print(long_origin)
cold = [t for t in LONG if t < 0.1]
assert all(
    max(worked_at(long_runs, t)) < min(worked_at(short_runs, t)) - 0.02 for t in cold
)

# %% [markdown]
# At the cold end the longer runs work at a lower effective temperature in both seeds, as predicted. What the table does
# not show is a run so long that nothing is bunched.
#
# ## Which temperature is best?
#
# Compare neighbours, and the ends with 0.2, pair by pair; the smallest difference worth caring about is two points.

# %%
PAIRS = ((0.1, 0.05), (0.2, 0.1), (0.2, 0.05), (0.2, 0.5), (0.2, 0.02), (0.2, 1.0))
found = {}
for a, b in PAIRS:
    probes = [recorded(tau, "probe") for tau in (a, b, UNTRAINED)]
    found[a, b] = evidence.compare(probes[0], probes[1], floor=probes[2])
    print(f"probe at {a:g} minus at {b:g} = {found[a, b]}")
assert found[0.2, 0.02].low > 0.02 and found[0.2, 1.0].low > 0.1
assert max(abs(found[pair].estimate) for pair in PAIRS[:2]) < 0.02

# %% [markdown]
# Three seeds tell the two ends from the middle, and 0.5 from it by a hair (of six comparisons one may be luck). Between
# 0.05 and 0.2 they name no best temperature: the estimates are below two points, and the lines say how many seeds would
# decide. Does the best one *move* with longer training? This record has one length, so it cannot tell; an answer needs
# at least three seeds at two lengths.
#
# ## What goes wrong: a number that follows the cloud
#
# You monitor "intra-class similarity", it rises, and you report tighter clusters. Test a measure before you trust it:
# change what it should *not* see. Bunch a cloud, and ask what moves.


# %%
def follows_the_cloud(measure, spread: float = 0.2) -> bool:
    """Does a measure(u, labels) of tightness change if the cloud is bunched?"""
    before, after = measure(v1, kinds), measure(bunch(v1, spread), kinds)
    return abs(after - before) > 1e-6


def difference(u: torch.Tensor, labels: torch.Tensor) -> float:
    within, between = cosines(u, labels)
    return within - between


MEASURES = {
    "cosine within": lambda u, labels: cosines(u, labels)[0],
    "within minus between": difference,
    "ratio of distances": ratio,
}
verdicts = {name: follows_the_cloud(f) for name, f in MEASURES.items()}
print({name: "follows" if v else "does not follow" for name, v in verdicts.items()})
assert list(verdicts.values()) == [True, True, False]

# %% [markdown]
# ## Play: bunch it yourself
#
# The cloud that was trained at 0.1, its mean taken off and its rows brought to length 1, then bunched to the spread on
# the slider. A "class" is one picture here, in its two views: after 100 steps $z$ shows no kinds yet. **At which spread
# is the loss at temperature 0.02 lowest, and what does the ratio do on the way there?**

# %%
center = torch.cat(seen[MILD]).mean(dim=0)
around = [F.normalize(u - center, dim=1) for u in seen[MILD]]
SLOPE = [0.01 * 1.2**k for k in range(26)]
at_cold = [losses.nt_xent(*(bunch(v, S) for v in around), 0.02).item() for S in SLOPE]
wanted = SLOPE[at_cold.index(min(at_cold))]
print(f"lowest at S = {wanted:.2f}, that is at t = {0.02 / wanted:.2f}")
assert 0.02 < wanted < 0.5


# %% tags=["hide-input"]
def measured(spread: float) -> dict[str, float]:
    u = bunch(torch.cat(around), spread)
    return {name: f(u, torch.arange(256).repeat(2)) for name, f in MEASURES.items()}


def render(spread: float):
    fig, (a, b) = plots.new_figure(7.6, 2.6, 1, 2)
    a.plot(SLOPE, at_cold, color=plots.COLORS[0])
    loss = losses.nt_xent(*(bunch(v, spread) for v in around), 0.02).item()
    a.plot([spread], [loss], "o", color=plots.COLORS[1])
    a.set(xscale="log", xlabel="spread S", ylabel="loss at 0.02 (nats)")
    b.barh(list(MEASURES), list(measured(spread).values()), color=plots.COLORS[2])
    b.set(xlim=(-0.1, 1.05), title=f"S = {spread:.2f}")
    return fig


def describe(spread: float) -> str:
    values = ", ".join(f"{k} {v:.2f}" for k, v in measured(spread).items())
    return f"Loss against spread, and three measures at spread {spread:.2f}: {values}."


widgets.explore(
    render,
    {"spread": widgets.Slider(0.01, 0.95, 0.3, "spread", log=True)},
    static=[{"spread": S} for S in (0.02, wanted, 0.9)],
    alt=describe,
    columns=1,
)
narrow, wide = (list(measured(S).values()) for S in (0.02, 0.9))
assert narrow[0] > 0.97 and narrow[1] < 0.1 * wide[1] and wide[1] > 0.1
assert abs(narrow[2] - wide[2]) < 1e-6 < 1 - wide[2]

# %% [markdown]
# The loss has its minimum inside, a bunched cloud, at the printed spread. The cosine within classes climbs towards 1 as
# you bunch further, the difference falls to 0, and the ratio never moves.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · How far would it bunch? (•, 5 minutes)
# A network trained at `tau` (a float) would fit best at the effective temperature `wanted` (a float). Return the spread
# that gives it, or the one that comes closest where none does.
#
# <details><summary>Hint</summary>Solve for S. Which values can S not have?</details>


# %%
def spread_for(tau: float, wanted: float) -> float:
    return NOT_ATTEMPTED


ch26b.check_spread_for(spread_for)

# %% [markdown]
# ### 2 · A thermometer (••, 8 minutes)
# `z` is a float tensor `[N, D]` of embeddings of different pictures, *not* of unit length, `tau` the temperature of
# training. Return the effective temperature, a scalar tensor or a float. Then argue: if all rows of `z` are
# multiplied by 3, what should change?
#
# <details><summary>Hint</summary>Length 1 first, then the mean, then its squared length.</details>


# %%
def effective_temperature(z: torch.Tensor, tau: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch26b.check_effective_temperature(effective_temperature)

# %% [markdown]
# ### 3 · How tight is tight? (••, 10 minutes)
# The ratio by its words, without the formula of this chapter: the mean squared distance of two *different* rows of one
# class over that of two rows of different classes. `z` is a float tensor `[N, D]`, brought to unit length first;
# `labels` is int64 `[N]`. Return a scalar tensor.
#
# <details><summary>Hint</summary>`labels[:, None] == labels` is the mask of equal classes. What stands on its
# diagonal, and does it belong there?</details>


# %%
def my_tightness(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch26b.check_tightness(my_tightness)

# %% [markdown]
# ## Claims, tested
#
# The two halves of the hypothesis, the first by two measures, and what Wang and Liu say of uniformity, within their
# range of temperatures. C-17a and C-17b stand in [chapter 13](13_from_nce_to_nt_xent.ipynb) too, beside those about the
# probe.


# %%
def compared(tau: float, other: float, key: str) -> Runs:
    learned = (recorded(tau, "probe"), recorded(other, "probe"))
    floor = recorded(UNTRAINED, "probe")
    return Runs(recorded(tau, key), recorded(other, key), floor, learned)


T02, T05, T10, T20, T50, _ = TAUS
book.claim("C-17a", drawn=compared(T05, T20, "difference"))
book.claim("C-17f", drawn=compared(T05, T20, "ratio"))
book.claim("C-17b", drawn=compared(T02, T10, "spread_z"))
pair = ("temperature", "0.1"), ("temperature", "0.5")
photographs = book.on_photographs(*pair, "uniformity")  # 2,000 steps
drawn = compared(T10, T50, "uniformity")
book.claim("C-17e", drawn=drawn, photographs=photographs)

# %% [markdown]
# Read the third beside the second. The embeddings do bunch, but tightness does not come with it, and the features
# survive. The first verdict is no second witness: its difference is multiplied by $S$, so it had to fall with the
# temperature. The last is about short runs, the paper's sentence about long ones; on photographs, after 2,000 steps, it
# holds.
#
# ## Where it comes from, where it went
#
# A softmax with a temperature on unit embeddings is in [Wu et al. (2018)](https://arxiv.org/abs/1805.01978), and
# uniformity in [Wang and Isola (2020)](https://arxiv.org/abs/2005.10242). [Wang and Liu
# (2021)](https://arxiv.org/abs/2012.09740) call the mean cosine within classes *tolerance* and warn that too much
# uniformity destroys it. [CLIP](https://arxiv.org/abs/2103.00020) learns the temperature instead of choosing it: then
# nothing *need* be bunched to make the softmax fit.
#
# ## Two questions
#
# **1.** At temperature 0.01 the mean cosine within classes is close to 1. Are the clusters tight?
# <details><summary>Answer</summary>One number cannot say. If the mean cosine between classes is as high, the whole cloud
# has drawn together. Compare squared distances within and between classes: no bunching changes their ratio.</details>
#
# **2.** You train at temperature 1 and find a spread of 0.99. What would the network like to do, and why can it not?
# <details><summary>Answer</summary>Be surer: its softmax is too flat to tell a partner from hundreds of strangers. Its
# effective temperature is $\tau / S$, and $S$ cannot exceed 1. Only you can lower $\tau$.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def spread_for(tau, wanted):
#     # S = tau / t; a sphere that is full cannot be fuller.
#     return min(1.0, tau / wanted)
#
#
# def effective_temperature(z, tau):
#     # Length plays no part: z and 3 z have the same directions.
#     u = F.normalize(z, dim=1)
#     return tau / (1 - u.mean(dim=0).square().sum())
#
#
# def my_tightness(z, labels):
#     z = F.normalize(z, dim=1)
#     distance, same = 2 - 2 * z @ z.T, labels[:, None] == labels
#     itself = torch.eye(len(z), dtype=torch.bool)
#     return distance[same & ~itself].mean() / distance[~same].mean()
# ```
