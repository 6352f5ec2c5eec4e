# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 27 · What is still open, and which run would close it?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/27_open_questions.ipynb)
#
# **After this chapter you can**
#
# - say before a study how likely it is to decide anything, and how many seeds, or domains, it needs;
# - turn an open question into a hypothesis, a rule, a pilot, a command and a result that would change your mind;
# - read the ledger of this book: what it found, what it could not decide, and what deciding would cost.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb) (InfoNCE), [chapter 20b](20b_projector.ipynb) (the projector)
# and [chapter 22](22_the_knobs.ipynb) (choosing on other seeds). **Time**: 30 minutes to read, under a minute to run on
# two CPU cores. Nothing is downloaded.

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

device = book.setup("27")

# %% [markdown]
# ## The puzzle: what did all those runs decide?
#
# The chapters before this one compared statements of the literature with runs, by one rule and in four words.

# %%
import collections
import math
import tempfile
from statistics import fmean as mean

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import stdtrit
from scipy.stats import spearmanr

from ssl_lessons import data, diagnostics, evaluation, losses, plots, views, widgets
from ssl_lessons.book import Study
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch27
from ssl_lessons.book.widgets import power as board
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation import evidence
from ssl_lessons.methods import SimCLR
from ssl_lessons.models import build_encoder, settle
from ssl_lessons.training import pretrain, recipes

# %%
ledger = book.judged()
tried = [one for one in ledger if one.verdicts["drawn"].n]
statements = len({one.claim.id for one in ledger})
print(f"{statements} statements, judged {len(ledger)} times")
print(f"{len(tried)} of these with runs in a drawn world; the four words:")
print(", ".join(evidence.WORDS))

# %% [markdown]
# > **Predict before you go on.** (1) Of those with runs in a drawn world, which share got a yes or a no: about a third,
# > two thirds, or nine tenths (one in three)? (2) A method is truly 3 points better, its lead scatters by 3 points from
# > seed to seed, and you run three seeds. In which share of such studies do you find out: 15, 30, 60 or 90 % (one in
# > four)? (3) A contrastive loss pushes every picture away from 64 others. Replace them by something *universal*, the
# > same in each step: 64 pictures chosen once, 64 pictures of noise, or 64 random points on the sphere. Which of the
# > three is sure to teach nothing (one in three)?
#
# ## Power: ask before you run
#
# Let $d_1, \dots, d_n$ be the differences of two arms, one per seed, with true mean $\delta$ and standard deviation
# $\sigma$; $\bar d$ their mean, $s$ their estimated deviation, $m$ the **margin**, the smallest difference you care
# about, and $t_{n-1}$ the 95 % point of Student's distribution. The book says
#
# $$\textit{holds} \iff \bar d - t_{n-1} \tfrac{s}{\sqrt n} > 0 \ \text{ and }\ \bar d \ge m, \qquad
# \textit{does not hold} \iff \bar d + t_{n-1} \tfrac{s}{\sqrt n} < m .$$
#
# That is for *higher*; *no worse* holds where a lead of the control by the margin is excluded. The **power** is the
# chance of either, *before* the data. It needs nothing but $\delta, \sigma, n, m$, and a few lines of luck (the
# package's own function integrates instead):


# %%
def chances(delta, sigma, n, m=2.0, studies=4000):
    """How often a study holds, does not hold, cannot tell; all in points."""
    luck = np.random.default_rng(0).standard_normal((studies, n))
    d = delta + sigma * luck
    half = stdtrit(n - 1, 0.95) * d.std(axis=1, ddof=1) / math.sqrt(n)
    holds = (d.mean(axis=1) - half > 0) & (d.mean(axis=1) >= m)
    fails = d.mean(axis=1) + half < m
    return holds.mean(), fails.mean(), 1 - holds.mean() - fails.mean()


WORDS = (evidence.HOLDS, evidence.FAILS, evidence.UNSURE)
for n in (3, 5, 10, 20):
    said = evidence.chances(3, 3, n, margin=2)
    assert np.allclose(chances(3, 3, n), [said[w] for w in WORDS], atol=0.03)
    print(f"{n:2d} seeds:", ", ".join(f"{w} {said[w]:.0%}" for w in WORDS))
found_out = evidence.chances(3, 3, 3, margin=2)[evidence.HOLDS]
assert 0.25 < found_out < 0.35

# %% [markdown]
# That is (2): with three seeds you find out in about 30 % of the studies. Reading the same three runs again changes
# nothing; a smaller $\sigma$ does (pair the arms, read with more labels), and so does a larger $n$.
#
# ## Write it down first
#
# Whoever sees a result believes they knew it. `Study` measures nothing before a prediction with a reason is on disk,
# and refuses one that comes later, or a changed plan. (It cannot see whether you read a record first.)

# %%
folder = tempfile.TemporaryDirectory()
luck = np.random.default_rng(7).normal(size=8)
study = Study(
    "rehearsal", hypothesis="Made-up numbers: A beats B.", treatment="A", control="B",
    measured="score", changes_my_mind="an interval below two points",
    effect=0.03, spread=0.03, seeds=tuple(range(8)), folder=folder.name,
)  # fmt: skip


def measure(seed):
    return {"treatment": 0.5 + 0.03 + 0.03 * luck[seed], "control": 0.5}


try:
    study.results(measure)
except InputError as closed:
    print("refused:", closed)
else:
    raise AssertionError("results without a prediction")

# %%
study.predict(low=1, high=5, because="I made the numbers up that way")
verdict = study.results(measure)
try:
    study.predict(low=0, high=9, because="I always thought so")
except InputError as late:
    print("refused:", late)
else:
    raise AssertionError("a prediction after the results")

# %% [markdown]
# The template
# [`examples/study/my_study.py`](https://github.com/ssl-lessons/ssl-lessons/blob/main/examples/study/my_study.py) is an
# empty notebook of this kind. The four questions that follow are those with which [the page that the course
# rebuilds](25_capstone_stl10_simclr.ipynb) ends. None is answered here. Each is cut down to one command; its card says
# how probably that decides.
#
# ## 1 · Is there a criterion that names the right pretext before the grid search?
#
# **Hypothesis.** No score of one run does it, but a *ranking borrowed* from another domain, where you have labels,
# picks better than a score without labels.
#
# **Measured.** Not a rank correlation: you take one policy, not a ranking. With $p$ an arm's probe and $q$ the score,
# $\text{regret} = \max_a p_a - p_{\arg\max_a q_a}$: what the pick costs.
#
# **Pilot.** [Chapter 26d](26d_a_policy_for_your_domain.ipynb) has 36 augmentation policies in two worlds, objects
# upright and from above.

# %%
record, policies_from = book.recorded("extensions", world=2)
runs = [r for r in record if r["part"] == "policies" and r.get("parts") is not None]
DOMAINS = ("upright", "from above")
SCORES = {"gradient norm": "grad", "loss": "losses", "RankMe": "rank_h"}
SCORES |= {"which quarter": "quarter", "early kNN (uses 1,000 labels)": "early"}
BORROWED = "borrowed: the probe in the other world"


def column(domain, key):
    """One number per policy: the mean over seeds (and over the run, for curves)."""
    found = collections.defaultdict(list)
    for r in runs:
        if r["data"] == domain:
            found[r["arm"]].append(float(np.mean(r[key])))
    return np.array([mean(found[arm]) for arm in sorted(found)])


def regret(score, probe):
    return probe.max() - probe[score.argmax()]


# %% tags=["hide-input"]
probes = {d: column(d, "probe") for d in DOMAINS}
other = dict(zip(DOMAINS, DOMAINS[::-1]))
costs = {
    name: [regret(column(d, k), probes[d]) for d in DOMAINS]
    for name, k in SCORES.items()
}
costs[BORROWED] = [regret(probes[other[d]], probes[d]) for d in DOMAINS]
costs["a policy drawn at random"] = [
    float((probes[d].max() - probes[d]).mean()) for d in DOMAINS
]
lines = [
    {"score": name} | {d: 100 * c for d, c in zip(DOMAINS, v)}
    for name, v in costs.items()
]
plots.table(
    lines,
    "Regret of the policy with the largest score (points)",
    {"score": "score"} | {d: d for d in DOMAINS},
    ".1f",
)
agree = spearmanr(probes["upright"], probes["from above"]).statistic
print(f"rank correlation of the two worlds' probes over 36 policies: {agree:.2f}")
print(policies_from)

# %%
borrowed = costs[BORROWED]
quarter = costs["which quarter"]
assert agree > 0.8 and min(borrowed) > 0.02
assert quarter[0] < 0.01 and quarter[1] > 2 * borrowed[1]
assert mean(quarter) < mean(borrowed)
for name in ("gradient norm", "loss", "RankMe"):
    assert all(a > b for a, b in zip(costs[name], borrowed))

# %% [markdown]
# The two worlds rank the policies much alike, and still the best of one costs points in the other: look at regret.
# *Which quarter* picks the best policy where pictures have an up and fails where they have none, so a score must know
# its domain. The borrowed pick beats gradient norm, loss and RankMe in both worlds (a random draw beats two of them,
# too). On average over the two, *which quarter* costs less: it is the rival. But two worlds are $n = 2$, and more seeds
# of the same worlds do not change that: **what you want to generalise over is what you must draw.**

# %%
gained = [a - b for a, b in zip(quarter, borrowed)]
OPEN = "uv run python benchmarks/open_questions.py"
criterion = Study(
    "criterion",
    hypothesis="A ranking borrowed from other worlds picks better than which quarter.",
    treatment="probe of the pick with the largest mean probe in the other worlds",
    control="probe of the pick with the largest which-quarter score",
    measured="probe with ten labels per class, one seed",
    changes_my_mind="an interval over worlds below two points, or a world in which "
    "the borrowed pick is worse than a random one",
    effect=0.03, spread=float(np.std(gained, ddof=1)), unit="worlds", minutes=90,
    seeds=(0, 1, 2), command=f"{OPEN} --parts criterion --seeds 0",
)  # fmt: skip
criterion.card()

# %% [markdown]
# (The effect is a wish: in the pilot the borrowed pick gained in one world and lost in the other. And a spread from two
# worlds is itself a guess: plan for more than the card says.)
#
# ## 2 · Is there a universal set of negatives?
#
# **Hypothesis.** 64 pictures chosen once do as well as 64 drawn anew at every step.
#
# Start with what cannot work, (3). Let $z$ be a unit vector, $u_1, \dots, u_K$ random points of the sphere, $\tau$ the
# temperature. The negatives push $z$ down the slope of $\log \sum_k e^{z \cdot u_k / \tau}$. The $u_k$ are fixed, so
# the lowest place is **the same for every picture**, and both views agree there: a network that maps everything to this
# point is optimal, for any $K$. With many points even that push goes: $\frac1K \sum_k e^{z \cdot u_k / \tau}$ tends to
# an expectation that turning the sphere leaves alone, hence to a constant in $z$.

# %%
g = torch.Generator().manual_seed(0)
z = F.normalize(torch.randn(300, 128, generator=g), dim=1)
uneven = {}
for k in (64, 1024, 16384):
    u = F.normalize(torch.randn(k, 128, generator=g), dim=1)
    uneven[k] = (z @ u.T / 0.1).logsumexp(dim=1).std().item()
    print(f"{k:6d} random points: the log of the sum differs over z by {uneven[k]:.3f}")
assert 3 < uneven[64] / uneven[1024] < 5 and 3 < uneven[1024] / uneven[16384] < 5

# %% [markdown]
# Sixteen times as many points, a quarter of the unevenness. So a universal *set of vectors* is hopeless; a universal
# set of *pictures* is not: the encoder, which moves, gives them new vectors at every step. Noise would serve every
# domain. A pilot, one seed:


# %%
class Against(SimCLR):
    """32 pairs against a crowd: pictures drawn anew, or given, or points given."""

    def __init__(self, encoder, crowd, anew=False):
        super().__init__(encoder, temperature=0.1)
        self.crowd, self.anew = crowd, anew

    def forward(self, pair, labels=None):
        if self.crowd.ndim == 2:
            z1, z2, u = *self.pair(pair), self.crowd.to(pair[0].device)
        else:
            some = torch.randint(len(self.crowd), (64,)) if self.anew else slice(64)
            new = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
            shown = views.augment(self.crowd[some], policy, new).to(pair[0].device)
            z1, z2, u = self.embed(torch.cat([*pair, shown])).split([32, 32, 64])
        return sum(losses.info_nce(a, b, u, 0.1) for a, b in ((z1, z2), (z2, z1))) / 2


# %%
policy = recipes.get_recipe("quick").policy
sizes = dict(zip(data.SPLITS, (4096, 2000, 1000)))
unlabeled, train, test = (data.shapes(split, n=n) for split, n in sizes.items())
g = torch.Generator().manual_seed(0)
CROWDS = {
    "drawn anew": (unlabeled.images, True),
    "chosen once": (unlabeled.images[:64], False),
    "noise": (torch.randint(256, (64, 3, 32, 32), generator=g).byte(), False),
    "random points": (torch.randn(64, 128, generator=g), False),
}


def encoder():
    torch.manual_seed(0)
    return build_encoder("convnet", width=16, dim=256)


def look(f, z=None) -> dict:
    h, h_test = f(train.images), f(test.images)
    (row,) = evaluation.label_efficiency(
        h, train.labels, h_test, test.labels, (10,), draws=5
    )
    return {"probe": row["mean"], "spread": z and diagnostics.spread(z(h_test))}


# %%
def through(net):
    return lambda images: evaluation.extract_features(net, images)


table = {
    "raw pixels": look(evaluation.pixels),
    "untrained": look(through(settle(encoder(), unlabeled.images[:1000]))),
}
for name, (crowd, anew) in CROWDS.items():
    method = Against(encoder(), crowd, anew)
    history = pretrain(
        method, unlabeled.images, (policy,) * 2, steps=200, batch_size=32, lr=3e-3,
        weight_decay=1e-4, seed=0, progress=False,
    )  # fmt: skip
    head = method.projector.eval().requires_grad_(False)
    table[name] = look(through(method.encoder), head)
    table[name]["loss"] = mean([r["loss"] for r in history[-20:]])

# %% tags=["hide-input"]
plots.table(
    [{"arm": "chance", "probe": 0.1, "loss": math.log(65)}]
    + [{"arm": arm} | row for arm, row in table.items()],
    "200 steps, one seed, 100 labels; spread of z: 1 even, 0 a point",
    {"arm": "negatives", "probe": "probe", "spread": "spread of z", "loss": "loss"},
    {"probe": ".1%", "spread": ".2f", "loss": ".2f"},
)

# %%
floor = max(table[a]["probe"] for a in ("raw pixels", "untrained"))
pilot = {a: 100 * (table[a]["probe"] - table["drawn anew"]["probe"]) for a in CROWDS}
print({a: f"{d:+.1f} points" for a, d in pilot.items()}, f"floor {floor:.1%}")
spread = {arm: table[arm]["spread"] for arm in CROWDS}
assert 8 * spread["random points"] < spread["drawn anew"] < 2 * spread["chosen once"]
assert 2 * spread["noise"] < spread["drawn anew"] and table["noise"]["loss"] < 0.5
assert min(table[a]["probe"] for a in ("drawn anew", "chosen once")) > floor + 0.03
assert table["random points"]["probe"] < floor + 0.015
assert table["random points"]["loss"] < 0.1
assert floor < table["noise"]["probe"] < table["drawn anew"]["probe"]

# %% [markdown]
# That is (3): against **random points** the loss falls to nearly nothing, $z$ is nearly a point, and the features are
# no better than the floor. Noise is solved as well (a loss near 0, less than half of the spread), and its features lie
# between floor and pictures. Pictures chosen once spread $z$ as pictures drawn anew do, and both learn. One seed
# decides nothing between these two. A pilot shows whether the arms learn, and what a run costs. How much differences
# scatter is borrowed from two other arms of [chapter 14b](14b_which_negatives_help.ipynb), at another batch size: three
# differences, so the number of seeds is a rough guess.

# %%
negatives, _ = book.recorded("negatives", world=2)
plain, queue = (book.per_seed(negatives, "probe", **w) for w in (
    {"group": "plain", "arm": "NT-Xent"}, {"group": "queue", "arm": "InfoNCE, 4096"},
))  # fmt: skip
scatter = float(np.std([a - b for a, b in zip(plain, queue)], ddof=1))
enough = range(evidence.pairs_to_decide(0.0, scatter))
universal = Study(
    "universal",
    hypothesis="64 pictures chosen once are as good negatives as 64 drawn anew.",
    treatment="chosen once", control="drawn anew",
    measured="probe with ten labels per class", rule="no_worse",
    changes_my_mind="a loss of two points or more; and, about pictures as "
    "negatives, if noise does as well",
    effect=0.0, spread=scatter, seeds=tuple(enough), minutes=len(enough),
    command=f"{OPEN} --parts negatives --seeds {' '.join(map(str, enough))}",
)  # fmt: skip
universal.card()


# %%
def from_record(seed):
    """What the command above will have written for one seed."""
    rows, _ = book.recorded("open_questions", world=2)
    of_seed = [r for r in rows if r["part"] == "negatives" and r["seed"] == seed]
    arms = {"treatment": "chosen once", "control": "drawn anew", "floor": "untrained"}
    return {k: book.per_seed(of_seed, "probe", arm=a)[0] for k, a in arms.items()}


# universal.predict(low=..., high=..., because="...")  # first this, then the command,
# universal.results(from_record)  # then this

# %% [markdown]
# ## 3 · Can an algorithm choose between contrast, reconstruction and masks?
#
# **Hypothesis.** A look at a quarter of the run, on held-out labels, chooses better than always taking contrast.
#
# The rival is what makes this hard: not a random loss, but the *constant* one. Only where domains disagree can any
# algorithm win. **Pilot.** [Chapter 05](05_restore_the_image.ipynb)'s record has a loss of each kind in three worlds.

# %%
tasks, tasks_from = book.recorded("pretext", world=2)
WORLDS = ("upright objects", "any colour", "own colours")
LOSSES = {"contrast": "simclr", "reconstruct": "restore nothing"}
LOSSES |= {"mask": "context_encoder"}
FLOORS = {"raw pixels": "pixels", "untrained": "untrained"}


def of(arm, world):
    return book.per_seed(tasks, "probe", arm=arm, data=world, read="whole")


found = {n: [mean(of(a, w)) for w in WORLDS] for n, a in (FLOORS | LOSSES).items()}
best = [max(found[name][i] for name in LOSSES) for i in range(3)]
lost = [b - c for b, c in zip(best, found["contrast"])]

# %% tags=["hide-input"]
plots.table(
    [{"loss": "chance"} | {w: 10.0 for w in WORLDS}]
    + [
        {"loss": n} | {w: 100 * v for w, v in zip(WORLDS, values)}
        for n, values in found.items()
    ]
    + [
        {"loss": "lost by always taking contrast"}
        | {w: 100 * v for w, v in zip(WORLDS, lost)}
    ],
    "Probe with 100 labels (%), means over two or three seeds; last row in points",
    {"loss": "loss"} | {w: w for w in WORLDS},
    ".1f",
)
print(tasks_from)
assert lost[0] == lost[1] == 0 and lost[2] > 0.05
assert found["raw pixels"][2] > best[2] > found["mask"][2] > found["contrast"][2]
assert all(found["mask"][i] < found["raw pixels"][i] + 0.03 for i in (0, 1))

# %% [markdown]
# Where every kind has its own colour, the augmentation removes the answer, contrast comes last of the three, and raw
# pixels beat them all. (In the two other worlds the mask does not leave the floor.) So there is something to choose
# (the run leaves "do not train" out, and gives contrast no steps for the price of the looks). Note what is counted:
# worlds.

# %%
choose = Study(
    "choose",
    hypothesis="Choosing by an early look beats always taking contrast.",
    treatment="the loss with the best early held-out score",
    control="contrast",
    measured="mean score over the factors of a set of pictures",
    changes_my_mind="no gain of two points over the constant; "
    "or a sum of losses that beats both",
    effect=mean(lost), spread=float(np.std(lost, ddof=1)), unit="sets of pictures",
    seeds=(0, 1, 2, 3), command=f"{OPEN} --parts choose", minutes=12,
)  # fmt: skip
choose.card()

# %% [markdown]
# The mean lead is a perfect chooser's in these three worlds, and comes from one of them; the run has other sets. The
# run has four sets of pictures, up to seventeen factors each, three losses and a sum of two. By the card it decides
# little; it is a second pilot, and a start of the list that you need.
#
# ## 4 · When is the projection head unnecessary?
#
# **Hypothesis.** One run *with* a head tells for which labels the head pays: where $h$ keeps more than $z$, the head
# has shielded something. [Chapter 20b](20b_projector.ipynb) has the reason; the rule is ours, and untested.
#
# **Measured.** For factor $f$ let $h_f, z_f$ be what is read from both, $b_f$ from a network trained without a head. A
# head pays $h_f - b_f$. The rule: take a head where $h_f > z_f$. Trap: the luck of $h_f$ is in the gap *and* in the
# pay, which makes even a useless rule look right. So take the gap from the other seeds.

# %%
trained, heads_from = book.recorded("collapse_heads", world=2)
read = {
    key: np.array(
        [list(v.values()) for v in book.per_seed(trained, key[1], head=key[0])]
    )
    for key in (("mlp", "factors_h"), ("mlp", "factors_z"), ("none", "factors_h"))
}
h, z_head, bare = read.values()  # [seeds, factors]
names = list(book.per_seed(trained, "factors_h", head="none")[0])
pays, gap = h - bare, h - z_head
elsewhere = (gap.sum(axis=0) - gap) / (len(gap) - 1)
ruled = (pays * (elsewhere > 0)).mean(axis=1)  # without a head: pays 0
always = pays.mean(axis=1)
room = np.maximum(pays.mean(axis=0), 0).mean() - always.mean()

# %% tags=["hide-input"]
shown = {"h": h, "z": z_head, "trained without a head": bare, "the head pays": pays}
plots.table(
    [
        {"factor": n} | {key: 100 * v.mean(axis=0)[i] for key, v in shown.items()}
        for i, n in enumerate(names)
    ],
    "Read linearly (0 chance, 100 perfect), means of three seeds",
    {"factor": "factor"} | {key: key for key in shown},
    ".1f",
)
print(heads_from)
print(f"rule minus always a head: {100 * (ruled - always).mean():+.2f} points")
print(f"a perfect rule: {100 * room:+.2f} points")
assert 0 <= room < 0.01 and always.mean() > 0.02

# %% [markdown]
# The pilot says that this study *cannot* be won here: a rule that knew everything would gain less than a point over
# "always a head", and the margin is two. More seeds would have been wasted. What is missing are factors for which a
# head costs something. So the run has all seventeen factors, and a weak jitter beside the strong one. (Effect and
# spread on the card are wishes.)

# %%
heads = Study(
    "heads",
    hypothesis="'A head where h keeps more than z' beats 'always a head'.",
    treatment="mean pay of the rule, gaps from the other seeds",
    control="mean pay of the head",
    measured="mean over seventeen factors and two strengths of jitter",
    changes_my_mind="a rule that gains nothing where a perfect one gains two points",
    effect=0.03, spread=max(0.01, float(np.std(ruled - always, ddof=1))),
    command=f"{OPEN} --parts heads", minutes=3,
)  # fmt: skip
heads.card()

# %% [markdown]
# ## And the others
#
# What the tutorial, the survey and the cookbook call open, as first runs:
#
# | question | first run | who must be beaten |
# |---|---|---|
# | How to combine pretexts? | contrast + mask, one to one (`--parts choose`); then other weights | the better of the two alone |
# | Which augmentations, and why? | a balanced half of all policies, as in [26d](26d_a_policy_for_your_domain.ipynb) | the policy for photographs |
# | Which negatives, how many? | [14b](14b_which_negatives_help.ipynb) with more seeds | all of the batch |
# | Do large batches transfer better? | [24b](24b_machines_and_learning_rates.ipynb)'s record, read on another world | a small batch, its own rate |
# | Synthetic pictures for real ones? | drawn objects, read on digits (`--parts choose`) | the untrained encoder |
# | How good are these data? | a pool half without objects: all of it, a filtered half, the clean half | a random half |
# | Uncurated, unbalanced data? | the imbalances of [17b](17b_relatives_and_the_long_tail.ipynb) | the balanced pool of as many pictures |
# | Biases of the data set? | train where ground and kind go together, read where they do not | pixels, under the same change |
# | Social biases of embeddings? | [02b](02b_directions.ipynb)'s planted bias, with traces left | a fair text |
# | Equivariant instead of invariant? | predict the turn of a view, and read the turn | SimCLR without turns |
# | Is pretraining worth its energy? | points per processor second (many records have seconds) | from scratch, as many seconds |
# | Theory, guarantees, fairness, robustness? | one bound of [19b](19b_what_theory_promises.ipynb), as a number | the trivial bound |
#
# ## The ledger: what this book found

# %%
counts = {
    world: collections.Counter(one.verdicts[world].word for one in ledger)
    for world in ("drawn", "photographs")
}
plots.table(
    [
        {"verdict": word} | {w: counts[w][word] for w in counts}
        for word in evidence.WORDS
    ],
    "How often each word was said",
    {"verdict": "verdict", "drawn": "drawn worlds", "photographs": "photographs"},
)
order = [word for word, _ in counts["drawn"].most_common()]
print("most frequent first:", ", ".join(order))
decided = sum(counts["drawn"][w] for w in (evidence.HOLDS, evidence.FAILS))
print(f"a yes or a no: {decided} of {len(tried)} with runs in a drawn world")
assert 0.55 < decided / len(tried) < 0.75
assert order[0] == evidence.HOLDS and 2 * counts["drawn"][order[0]] < len(ledger)
assert 2 * counts["photographs"][evidence.UNTESTED] > len(ledger)

# %% [markdown]
# That is (1): about two thirds got a yes or a no. *Holds here* leads, with fewer than half; the rest was refuted,
# stayed open, or was not tested: an arm did not learn, or nobody ran it. And look at the second column: most was never
# tried on photographs. What holds in a drawn world is a statement about that world. Every row stands at the end of this
# chapter.
#
# ## What could not be decided, and the cheapest run that would
#
# For each *cannot tell* the rule says how many seeds would probably decide; with one or two so far, three is only the
# least that may. Times are rough: two runs to a seed, each as long as the median run of the slowest record that the
# chapter reads; a dash where none has times.

# %%
waiting = book.undecided()
assert waiting and all(u.more > 0 for u in waiting)
lines = [
    {
        "claim": f"{u.judged.claim.id} ({u.world})",
        "statement": u.judged.claim.statement,
        "more": u.more if u.more < 190 else "more than 190",
        "minutes": u.minutes,
        "run": ", ".join(f"benchmarks/{r}.py" for r in u.judged.records),
    }
    for u in waiting
]

# %% tags=["hide-input"]
plots.table(
    lines[:12],
    f"The twelve cheapest of {len(lines)}",
    {"claim": "claim", "statement": "statement", "more": "more seeds"}
    | {"minutes": "minutes", "run": "by"},
    ".0f",
)
cheap = [u for u in waiting if u.minutes is not None and u.minutes <= 10]
timed = sum(u.minutes is not None for u in waiting)
assert timed
print(f"{len(cheap)} of {timed} with known times could be decided in ten minutes each;")
print(f"{sum(u.more > 20 for u in waiting)} need more than twenty seeds more")

# %% [markdown]
# Two warnings. The estimate is itself measured on few seeds, so plan for more; where it lies near its margin, hardly any
# number suffices (you are about to see why). And who runs seeds until a verdict comes has changed the rule: fix the
# number first, and stop there.
#
# ## Play: an effect exactly at your margin
#
# **What helps more, half the spread or twice the seeds? And how many seeds decide four studies of five when the true
# effect *is* the margin?**

# %%
widgets.explore(
    board.render,
    board.controls(),
    static=[{}, {"spread": 1.5}, {"effect": 2.0}, {"effect": 0.0}],
    captions=["3 points, spread 3", "half the spread", "effect = margin", "no effect"],
    alt=board.describe,
    columns=2,
)
stuck = board.chances(2, 3, 40, 2)
half, double = (board.chances(3, *c, 2)[evidence.HOLDS] for c in ((1.5, 3), (3, 6)))
print(f"half the spread: {half:.0%}, twice the seeds: {double:.0%}")
assert 0.35 < stuck[evidence.UNSURE] < 0.5 and abs(half - double) < 0.08

# %% [markdown]
# From three seeds, half the spread helps as much as twice the seeds; from many, as much as four times
# ($\sigma / \sqrt n$). And at the margin more seeds stop helping: half of all estimates lie below it, so that forty
# seeds or four thousand decide about half of the studies. Set the margin where you would act, not where you expect the
# truth.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · The push of a crowd (••, 10 minutes)
# `z` `[D]` and the rows of `crowd` `[K, D]` are unit vectors (float tensors), `t` the temperature. Return the gradient
# `[D]` of $\log \sum_k e^{z \cdot u_k / t}$ in `z`, without its part along `z`. Then try it on `crowd` and `-crowd`
# together: what do you expect?
#
# <details><summary>Hint</summary>The gradient of a log-sum-exp is a mean with softmax weights.</details>


# %%
def push(z: torch.Tensor, crowd: torch.Tensor, t: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch27.check_push(push)

# %% [markdown]
# ### 2 · What a pick costs (•, 3 minutes)
# `score` and `probe` are float tensors `[P]`. Return the regret of picking by the largest score. Which is larger: the
# regret at a rank correlation of 0.85, or at 0.5? Find two cases that answer differently.


# %%
def regret_of(score: torch.Tensor, probe: torch.Tensor) -> float:
    return NOT_ATTEMPTED


ch27.check_regret(regret_of)

# %% [markdown]
# ### 3 · The rival (••, 10 minutes)
# `early` and `final`, float tensors `[D, L]`: scores of L losses in D domains, early and at the end. Return how much
# better *choosing by `early` in each domain* is, on average, than the best constant choice. The constant must be
# honest.
#
# <details><summary>Hint</summary>In each domain the constant is the loss that is best over the other domains.</details>


# %%
def chooser(early: torch.Tensor, final: torch.Tensor) -> float:
    return NOT_ATTEMPTED


ch27.check_chooser(chooser)

# %% [markdown]
# ### 4 · What gets published (•, 5 minutes on paper)
# The true effect is 2 points, the spread 4, three seeds. Only studies with an interval above 0 and an estimate of two
# points or more are published. By how many points does the mean published effect exceed the true one? Forecast, then
# run.

# %%
forecast = NOT_ATTEMPTED  # points


def exaggeration() -> float:
    d = 2 + 4 * np.random.default_rng(1).standard_normal((20000, 3))
    half = stdtrit(2, 0.95) * d.std(axis=1, ddof=1) / math.sqrt(3)
    out = (d.mean(axis=1) - half > 0) & (d.mean(axis=1) >= 2)
    return d.mean(axis=1)[out].mean() - 2


ch27.judge_forecast(forecast, exaggeration, near=0.7)

# %% [markdown]
# ## Claims
#
# None. An open question becomes a claim of
# [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv) when its rule is written
# there before its run; add yours.
#
# ## Where it comes from, where it went
#
# The questions end [the page with the build](25_capstone_stl10_simclr.ipynb), the tutorial, the survey and the
# cookbook. How many seeds: [Colas et al. (2018)](https://arxiv.org/abs/1806.08295) for reinforcement learning; which
# sources of variance count: [Bouthillier et al. (2021)](https://arxiv.org/abs/2103.03098). Plans written down first,
# for predictive models: [Hofman et al. (2023)](https://arxiv.org/abs/2311.18807). On question 2: how many negatives are
# best is argued in [Ash et al. (2021)](https://arxiv.org/abs/2106.09943) and [Awasthi et al.
# (2022)](https://arxiv.org/abs/2205.01789); uniform points as the aim of a contrastive loss, not as its negatives, in
# [Wang and Isola (2020)](https://arxiv.org/abs/2005.10242). On question 4: [Bordes et al.
# (2022)](https://arxiv.org/abs/2206.13378).
#
# ## Two questions
#
# **1.** Five seeds, all on one data set, an interval from 1 to 3 points. "Our loss is better." Better than what is not
# the problem. What is?
# <details><summary>Answer</summary>The seeds generalise over first weights and batches, on this data set. For "better" in
# general the data sets are the sample, and n is 1.</details>
#
# **2.** Your study cannot tell, and says that 40 seeds would. Name two things to try before you pay for them.
# <details><summary>Answer</summary>Lower the spread (pair the arms, share label draws, read with more labels), and look at the
# room: would even a perfect treatment pass the margin? If not, change the question.</details>

# %% [markdown]
# ## The whole ledger


# %% tags=["hide-input"]
def told(verdict):
    return f"{verdict.word} (n = {verdict.n})" if verdict.n else verdict.word


plots.table(
    [
        {"id": one.claim.id, "statement": one.claim.statement}
        | {"chapter": one.chapter.partition("_")[0]}
        | {w: told(one.verdicts[w]) for w in counts}
        for one in ledger
    ],
    "Every claim that a chapter judged",
    {"id": "claim", "statement": "statement", "drawn": "drawn world"}
    | {"photographs": "photographs", "chapter": "chapter"},
)

# %% [markdown]
# ## Solutions
#
# ```python
# def push(z, crowd, t):
#     slope = (crowd @ z / t).softmax(0) @ crowd / t
#     return slope - (slope @ z) * z
#     # crowd and -crowd: not zero, near points weigh more; but it shrinks as the crowd fills the sphere.
#
#
# def regret_of(score, probe):
#     return probe.max() - probe[score.argmax()]
#     # swap the best with the next (high correlation, some cost); shuffle all but the best (low, none)
#
#
# def chooser(early, final):
#     others = final.sum(0) - final
#     picked, constant = (
#         final.gather(1, s.argmax(1, keepdim=True)) for s in (early, others)
#     )
#     return (picked - constant).mean()
#
#
# forecast = exaggeration()
# ```
