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
# - say before a study how probably it will decide anything, and how many seeds, or domains, it needs;
# - turn an open question into a hypothesis, a rule, a pilot, a command and a result that would change your mind;
# - read the ledger of this book: what it found, what it could not decide, and what deciding would cost.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb) (InfoNCE), [chapter 20b](20b_projector.ipynb) (the projector)
# and [chapter 22](22_the_knobs.ipynb) (choosing on other seeds). **Time**: 18 minutes to read, under a minute to run on
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
# Twenty-six chapters compared statements of the literature with runs, by one rule and in four words.

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

ledger = book.judged()
tried = [one for one in ledger if one.verdicts["drawn"].n]
statements = len({one.claim.id for one in ledger})
print(f"{statements} statements, judged {len(ledger)} times")
print(f"{len(tried)} of these with runs in a drawn world; the four words:")
print(", ".join(evidence.WORDS))

# %% [markdown]
# > **Predict before you go on.** (1) Of those with runs in a drawn world, which share got a yes or a no: about a
# > quarter, a half, or three quarters (one in three)? (2) A method is truly 3 points better, its lead scatters by 3 points
# > from seed to seed, and you run three seeds. In which share of such studies do you find out: 15, 30, 60 or 90 % (one in four)? (3) A contrastive loss pushes every picture away from 64
# > others. Replace them by something *universal*, the same in each step: 64 pictures chosen once, 64 pictures of noise, or
# > 64 random points on the sphere. Which of the three is sure to teach nothing (one in three)?
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
# The **power** is the chance of either, *before* the data. It needs nothing but $\delta, \sigma, n, m$, and ten lines:


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
    assert np.allclose(chances(3, 3, n), [said[w] for w in WORDS])
    print(f"{n:2d} seeds:", ", ".join(f"{w} {said[w]:.0%}" for w in WORDS))
found_out = evidence.chances(3, 3, 3, margin=2)[evidence.HOLDS]
assert 0.25 < found_out < 0.35

# %% [markdown]
# That is (2): with three seeds you find out in about 30 % of the studies. Ten more hours of the same three seeds change nothing; a smaller
# $\sigma$ does (pair the arms, read with more labels), and so does a larger $n$.
#
# ## Write it down first
#
# Who sees a result believes to have known it. `Study` keeps results closed until a prediction with a reason is on disk,
# and refuses one that comes later, or a plan that has changed since.

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
# [`examples/study/my_study.py`](https://github.com/ssl-lessons/ssl-lessons/blob/main/examples/study/my_study.py) is
# an empty notebook of this kind. The four questions that follow are those with which [the page that the course
# rebuilds](25_capstone_stl10_simclr.ipynb) ends. None is answered here. Each is cut down until one command could give an answer.
#
# ## 1 · Is there a criterion that names the right pretext before the grid search?
#
# **Hypothesis.** No score of one run does it, but a *ranking borrowed* from another domain, where you have labels, picks
# better than a score without labels.
#
# **Measured.** Not a rank correlation: you take one policy, not a ranking. With $p$ an arm's probe and $q$ the score,
# $\text{regret} = \max_a p_a - p_{\arg\max_a q_a}$: what the pick costs.
#
# **Pilot.** [Chapter 26d](26d_a_policy_for_your_domain.ipynb) has 36 augmentation policies in two worlds, objects
# upright and from above.

# %%
record, origin = book.recorded("extensions", world=2)
runs = [r for r in record if r["part"] == "policies" and r.get("parts") is not None]
DOMAINS = ("upright", "from above")
SCORES = {"gradient norm": "grad", "loss": "losses", "RankMe": "rank_h", "which quarter": "quarter"}


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
costs = {name: [regret(column(d, k), probes[d]) for d in DOMAINS] for name, k in SCORES.items()}
costs["early kNN (uses 1,000 labels)"] = [regret(column(d, "early"), probes[d]) for d in DOMAINS]
costs["borrowed: the probe in the other world"] = [regret(probes[other[d]], probes[d]) for d in DOMAINS]
costs["a policy drawn at random"] = [float((probes[d].max() - probes[d]).mean()) for d in DOMAINS]
lines = [
    {"score": name} | {d: 100 * c for d, c in zip(DOMAINS, v)} for name, v in costs.items()
]
plots.table(lines, "Regret of the policy with the largest score (points)", {"score": "score"} | {d: d for d in DOMAINS}, ".1f")
agree = spearmanr(probes["upright"], probes["from above"]).statistic
print(f"rank correlation of the two worlds' probes over 36 policies: {agree:.2f}")
print(origin)

# %%
borrowed = costs["borrowed: the probe in the other world"]
quarter = costs["which quarter"]
assert agree > 0.8 and min(borrowed) > 0.02
assert quarter[0] < 0.01 and quarter[1] > 2 * borrowed[1]
for name in ("gradient norm", "loss", "RankMe"):
    assert all(a > b for a, b in zip(costs[name], borrowed))

# %% [markdown]
# The two worlds rank the policies much alike, and still the best of one costs points in the other: look at regret. *Which
# quarter* picks the best policy where pictures have an up and fails where they have none, so a score must know its
# domain. The borrowed pick beats the three others in both worlds. But two worlds are $n = 2$, and more seeds of the same
# worlds do not change that: **what you want to generalise over is what you must draw.**

# %%
gained = [a - b for a, b in zip(costs["RankMe"], borrowed)]
OPEN = "uv run python benchmarks/open_questions.py"
criterion = Study(
    "criterion",
    hypothesis="A ranking borrowed from other worlds picks a better policy than RankMe.",
    treatment="probe of the pick with the largest mean probe in the other worlds",
    control="probe of the pick with the largest RankMe",
    measured="probe with ten labels per class, mean over seeds",
    changes_my_mind="an interval over worlds below two points, or a world in which "
    "the borrowed pick is worse than a random one",
    effect=mean(gained), spread=float(np.std(gained, ddof=1)), unit="worlds",
    seeds=(0, 1, 2), command=f"{OPEN} --parts criterion --seeds 0",
)  # fmt: skip
criterion.card()

# %% [markdown]
# (A spread from two worlds is itself a guess: plan for more than the card says.)
#
# ## 2 · Is there a universal set of negatives?
#
# **Hypothesis.** 64 pictures chosen once do as well as 64 drawn anew at every step.
#
# Start with what cannot work, (3). Let $z$ be a unit vector, $u_1, \dots, u_K$ random points of the sphere, $\tau$ the
# temperature. InfoNCE pushes $z$ down the slope of $\log \sum_k e^{z \cdot u_k / \tau}$. By the law of large numbers the sum
# tends to $K\, \mathbb{E}\, e^{z \cdot u / \tau}$, and this expectation is **the same for all $z$**, for turning the sphere
# turns $z$ and leaves the distribution of $u$ alone. A function that is constant has no slope. What is left of the loss
# asks both views to agree, and a network that maps everything to one point does.

# %%
g = torch.Generator().manual_seed(0)
z = F.normalize(torch.randn(300, 128, generator=g), dim=1)
uneven = {}
for k in (64, 1024, 16384):
    u = F.normalize(torch.randn(k, 128, generator=g), dim=1)
    uneven[k] = (z @ u.T / 0.1).logsumexp(dim=1).std().item()
    print(f"{k:6d} random points: the push differs over z by {uneven[k]:.3f} nats")
assert 3 < uneven[64] / uneven[1024] < 5 and 3 < uneven[1024] / uneven[16384] < 5

# %% [markdown]
# Sixteen times as many points, a quarter of the push. So a universal *set of vectors* is hopeless; a universal set of
# *pictures* is not, because the encoder, which moves, gives them new vectors at every step. Pictures of noise would serve every
# domain. A pilot, one seed:


# %%
class Against(SimCLR):
    """32 pairs against a crowd: pictures drawn anew, pictures given, or points given."""

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
unlabeled, train, test = (data.shapes(s, n=n) for s, n in zip(data.SPLITS, (4096, 2000, 1000)))
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
    (row,) = evaluation.label_efficiency(h, train.labels, h_test, test.labels, (10,), draws=5)
    return {"probe": row["mean"], "spread": z and diagnostics.spread(z(h_test))}


# %%
table = {
    "raw pixels": look(evaluation.pixels),
    "untrained": look(lambda x, e=settle(encoder(), unlabeled.images[:1000]): evaluation.extract_features(e, x)),
}
for name, (crowd, anew) in CROWDS.items():
    method = Against(encoder(), crowd, anew)
    history = pretrain(
        method, unlabeled.images, (policy,) * 2, steps=200, batch_size=32, lr=3e-3,
        weight_decay=1e-4, seed=0, progress=False,
    )  # fmt: skip
    read = lambda x, e=method.encoder: evaluation.extract_features(e, x)
    table[name] = look(read, lambda h, m=method: m.eval().projector(h).detach())
    table[name]["loss"] = mean([r["loss"] for r in history[-20:]])

# %% tags=["hide-input"]
plots.table(
    [{"arm": "chance", "probe": 0.1, "loss": math.log(65)}]
    + [{"arm": arm} | row for arm, row in table.items()],
    "200 steps, one seed; spread of z: 1 even, 0 a point",
    {"arm": "negatives", "probe": "probe, 100 labels", "spread": "spread of z", "loss": "loss"},
    {"probe": ".1%", "spread": ".2f", "loss": ".2f"},
)

# %%
print({k: v for k, v in table.items()})
