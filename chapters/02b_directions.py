# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02b · Directions: what does the difference between two word vectors mean, and can you take it out?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/02b_directions.ipynb)
#
# **After this chapter you can**
#
# - explain why *king* - *man* + *woman* can work, and which rule of the test makes it look better than it is;
# - measure a planted bias in word vectors, remove its direction, and find what is left;
# - tell a measured effect that grows with the amount of text from one that noise had hidden.
#
# **You need** [chapter 02](02_words_from_neighbours.ipynb), of which this is an optional companion.
# **Time**: 13 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("02b")

# %% [markdown]
# ## The puzzle: object is to objects as function is to ...?
#
# The famous way to answer: take the vectors, compute *objects* - *object* + *function*, and look for the word with the
# largest cosine to the result ([Mikolov, Yih and Zweig, 2013](https://aclanthology.org/N13-1090/)). The usual test has a
# rule that is easy to miss: the three given words may not be the answer.
#
# > **Predict before you go on.** Drop that rule, on Python's manual. How often will the answer be (1) *functions*, (2)
# > *function*, the word you typed in last? And how often would (2) be the answer of vectors that know nothing at all, random
# > numbers? (One word of a thousand, drawn at random: 0.1 %.)

# %%
import math
from statistics import fmean as mean

import torch
import torch.nn.functional as F

from ssl_lessons import plots
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch02
from ssl_lessons.modalities.words import corpora, counts, exams, geometry, training

record, origin = book.recorded("words")


def recorded(exam: str, name: str, key: str, setting: float = 0.0) -> list[float]:
    """One number per seed."""
    return book.per_seed(record, key, exam=exam, arm=name, setting=setting)


# %% tags=["hide-input"]
NAMES = [
    "untrained", "raw counts", "PMI table", "PMI table, SVD", "GloVe",
    "skip-gram, tree", "skip-gram, NEG", "CBOW, NEG",
]  # fmt: skip
SHARES = {
    "ruled": "right, given words not allowed",
    "free": "right, any word allowed",
    "third": "answer is the third word",
    "lookup": "right by the nearest to the third word",
}


def pm(values, form=".0%"):
    return f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


manual = counts.read(corpora.python_documentation(), min_count=5)
chance = f"{1 / len(manual.words):.1%}"
plots.table(
    [{"name": "a word drawn at random"} | dict.fromkeys(SHARES, chance)]
    + [
        {"name": name} | {key: pm(recorded("manual", name, key)) for key in SHARES}
        for name in NAMES
    ],
    f"{len(exams.plurals(manual))} questions about plurals in the manual, three seeds",
    {"name": "vectors"} | SHARES,
)
print(origin)
most = {name: mean(recorded("manual", name, "third")) for name in NAMES}
free = {name: mean(recorded("manual", name, "free")) for name in NAMES}
assert 0.4 < most.pop("untrained") < 0.65
assert sum(share > 0.5 for share in most.values()) > len(NAMES) / 2
assert max(free.values()) < 0.2
ruled = {name: mean(recorded("manual", name, "ruled")) for name in NAMES}
assert max(ruled, key=ruled.get) == "PMI table"

# %% [markdown]
# (2), for most of these vectors more often than not, and for *random* vectors in half of the questions. Here is why:
# the sum holds *objects* and *function* themselves, each with a cosine of 1 to its own term, so that any other word has
# to beat both. Vectors that know nothing answer with one of the two. Without the rule none gets even a fifth of the
# questions right; with it, the column is led by a table that nobody trained. The rule takes away the two words that
# would have won, and the third word's nearest neighbour scores less still. [Linzen
# (2016)](https://arxiv.org/abs/1606.07736) shows how much of the published accuracy comes from that; [Nissim et al.
# (2020)](https://arxiv.org/abs/1905.09866) that some shocking analogies in print are artefacts of it. A fair report
# gives both numbers, and what a plain lookup of the third word's neighbour scores.
#
# ## The idea: why a difference can carry a meaning at all
#
# Take rows of pointwise mutual information (PMI), which [chapter 02](02_words_from_neighbours.ipynb) found in trained
# vectors. Let $c$ run over the neighbours:
#
# $$\mathrm{PMI}(\textit{king}, c) - \mathrm{PMI}(\textit{man}, c) = \log\frac{p(c\mid \textit{king})}{p(c\mid \textit{man})}.$$
#
# How frequent $c$ is has cancelled. In the little language a neighbour is either a *thing*, and its probability depends
# on the concept alone ("crown" goes with king as with queen), or a *form word*, and depends on the form alone ("he"
# goes with king as with man). For a thing $p(c\mid\textit{king})/p(c\mid\textit{man}) =
# p(c\mid\textit{queen})/p(c\mid\textit{woman})$; for a form word both ratios are 1. So in every column
#
# $$\mathrm{PMI}(\textit{king}, c) - \mathrm{PMI}(\textit{man}, c) = \mathrm{PMI}(\textit{queen}, c) - \mathrm{PMI}(\textit{woman}, c):$$
#
# a parallelogram, because logarithms turn independent factors into sums. In a natural language this holds as far as the
# two factors are independent there ([Arora et al., 2016](https://arxiv.org/abs/1502.03520); [Allen and Hospedales,
# 2019](https://arxiv.org/abs/1901.09813), make it precise).
#
# Train skip-gram on a little language, one with a special twist that comes later, and look at the steps from *she* to
# *he*, from *queen* to *king*, and so on.

# %%
COMPANY = 0.5  # the twist
little = counts.read(corpora.little_language(12_000, company=COMPANY))
concept, jobs = exams.concepts(little), exams.occupations(little)
model, _ = training.learn(little, training.skip_gram, 600)
v = model.input.detach()

steps = F.normalize(v[jobs.pairs[:, 0]] - v[jobs.pairs[:, 1]], dim=1)  # she -> he
cosines = steps @ steps.T
same_step = float((cosines.sum() - len(steps)) / (len(steps) * (len(steps) - 1)))
he = v[jobs.pairs[:, 0]]
crossed = F.normalize(he - he.roll(4, dims=0), dim=1) @ steps.T  # two he-words
print(f"mean cosine of two steps from she to he: {same_step:.2f}")
guess = math.sqrt(2 / math.pi / v.shape[1])  # of random directions
print("mean |cosine| of such a step and the difference of two he-words:")
print(f"{float(crossed.abs().mean()):.2f} (random directions {guess:.2f})")

# %% tags=["hide-input"]
people = jobs.pairs[len(exams.PRONOUNS) :]
g = jobs.direction(v)
unit = F.normalize(v, dim=1)
rest = unit - (unit @ g)[:, None] * g
members = rest[people.flatten()]
other = torch.linalg.svd(members - members.mean(dim=0), full_matrices=False).Vh[0]
fig, ax = plots.new_figure(6.4, 3.8)
SHOWN = ("king", "prince", "father", "uncle", "duke", "monk")  # others lie on top
few = [pair for pair in people.tolist() if little.words[pair[0]] in SHOWN]
for n, pair in enumerate(few):
    x, y = (unit[pair] @ g).tolist(), (rest[pair] @ other).tolist()
    ax.plot(x, y, "o-", markersize=4, color=plots.COLORS[n % len(plots.COLORS)])
    for i, word in enumerate(little.words[k] for k in pair):
        ax.annotate(
            word,
            (x[i], y[i]),
            textcoords="offset points",
            xytext=(6, -3) if i == 0 else (-6, -3),
            ha="left" if i == 0 else "right",
            fontsize=8,
        )
ax.margins(0.22)
ax.set(
    title="From she to he is nearly the same step for all",
    xlabel="component along the he-she direction (of unit vectors)",
    ylabel="strongest other direction",
)
plots.show(
    fig,
    alt="Six pairs of words joined by lines, such as king and queen. All lines run "
    f"from left to right; the mean cosine of two differences is {same_step:.2f}.",
)
assert same_step > 0.5 and float(crossed.abs().mean()) < 0.3
assert ((unit[people[:, 0]] - unit[people[:, 1]]) @ g > 0).all()

# %% [markdown]
# All pairs step to the right, the six shown and the four left out, whatever their height. The picture shows two of forty dimensions, one of them chosen so
# that the pairs differ along it; the printed cosines use all.
#
# ## The text has opinions
#
# Vectors learn from text whatever is in it. The occupations of the little language are *planted* with a bias: of a
# nurse, an engineer, a judge it says "he" or "she" in proportions that we chose. So we know the truth.
#
# [Bolukbasi et al. (2016)](https://arxiv.org/abs/1607.06520) take pairs that differ in gender by definition (she/he,
# woman/man; we add the rest of our pairs) and find the unit direction $g$ along which they differ most: centre each pair, take the first principal
# component. The **lean** of a word is its cosine with $g$; the **direct bias** of words that should be neutral is the
# mean of $|\cos(v, g)|$.

# %%
g = jobs.direction(v)
lean = jobs.lean(v, g)
r = float(torch.corrcoef(torch.stack([jobs.share, lean]))[0, 1])

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 3.4)
ax.plot(100 * jobs.share, lean, "o", color=plots.COLORS[0])
names = [little.words[i] for i in jobs.jobs.tolist()]
for n, name in enumerate(names):
    left = name in ("nurse", "carpenter")
    ax.annotate(
        name,
        (float(100 * jobs.share[n]), float(lean[n])),
        textcoords="offset points",
        xytext=(-7, -2) if left else (7, 4) if name == "plumber" else (7, -6),
        ha="right" if left else "left",
        fontsize=8,
    )
ax.axhline(0, color=plots.GRAY, linestyle=":")
ax.margins(x=0.16, y=0.15)
ax.set(
    title=f"The vectors have measured the planted bias (r = {r:.2f})",
    xlabel='how often the text says "he" of the occupation (%)',
    ylabel="cosine with the he-she direction",
)
plots.show(
    fig,
    alt="Twelve occupations: planted share of he against the cosine of the vector with "
    f"the gender direction; correlation {r:.2f}.",
)
recorded_r = [x for c in (0.0, 0.5) for x in recorded("bias", "skip-gram, NEG", "r", c)]
assert r > 0.8 and min(recorded_r) > 0.8

# %% [markdown]
# Nobody told the vectors about proportions; neighbours were enough. (On real text the shares would be unknown, and the
# same plot would be a claim about the text, not a test.)
#
# ### Hard debiasing, and what it leaves
#
# The remedy of the same paper has two steps. **Neutralise**: subtract from every word that should be neutral its
# component along $g$, and make it unit length again. **Equalise**: give the two words of a pair the same vector but for the
# sign of their component along $g$. Afterwards every neutral word is exactly as far from "he" as from "she".

# %%


def neutralise(v: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """v [N, D] without its component along the unit vector g [D]; unit rows."""
    v = F.normalize(v, dim=1)
    return F.normalize(v - (v @ g)[:, None] * g, dim=1)


clean = geometry.hard_debias(v, g, jobs.pairs)  # both steps, all words
assert torch.allclose(neutralise(v[jobs.jobs], g), clean[jobs.jobs], atol=1e-6)
assert geometry.direct_bias(clean[jobs.jobs], g) < 1e-5

# %% [markdown]
# The direct bias is 0 now, to the last digit. But measure and remedy use the same $g$: zero is an identity, not a finding.
# A test must not use $g$. [Gonen and Goldberg (2019)](https://arxiv.org/abs/1903.03862) cluster the most biased words
# into two, and ask how well the clusters match the way they leaned.
#
# Now the twist. In this text half of the sentences about a *she*-leaning occupation name, in place of one of its own things,
# one of four others (bicycle, kettle, ...), and of a *he*-leaning one, one of another four. That depends on the occupation
# alone, not on the
# pronoun of the sentence: a plumber has a van, whoever the plumber is. Such company is an *indirect* trace of the bias.
#
# > **Predict.** After hard debiasing: how many of the twelve occupations do two clusters sort by side (1) in this text,
# > (2) in a text without the twist? (A random split gets 61 % right on average, since the better of the two namings
# > counts; exercise 2 derives it.)

# %%
sides = jobs.side  # 1 where the text says "he" more often
for name, vectors in (("as trained", v), ("debiased", clean)):
    split = geometry.split_in_two(vectors[jobs.jobs])  # 2-means, no g
    groups = [[names[i] for i in (split == s).nonzero()[:, 0].tolist()] for s in (0, 1)]
    share = geometry.alignment(split, sides)
    print(f"{name}: {share:.0%} on their side\n  {groups[0]}\n  {groups[1]}")

# %% tags=["hide-input"]
random = torch.Generator().manual_seed(0)
draws = [
    geometry.alignment((torch.rand(12, generator=random) < 0.5).long(), sides)
    for _ in range(4000)
]
KEYS = ("direct", "cluster", "neighbour", "people", "concept")
rows = [
    {"text": "chance", "cluster": f"{mean(draws):.0%}", "neighbour": f"{5 / 11:.0%}"}
]
after = {}
for company, text in ((0.0, "no indirect trace"), (COMPANY, "with a trace")):
    for when in ("before", "after"):
        found = {
            k: recorded("bias", "skip-gram, NEG", f"{k}_{when}", company) for k in KEYS
        }
        after[company, when] = found
        line = {"text": f"{text}, {when}", "direct": pm(found["direct"], ".2f")}
        rows.append(line | {k: pm(found[k]) for k in KEYS[1:]})
plots.table(
    rows,
    "Twelve occupations before and after hard debiasing, skip-gram, three seeds",
    {
        "text": "text",
        "direct": "direct bias",
        "cluster": "clusters match sides",
        "neighbour": "nearest is of the same side",
        "people": "king : queen",
        "concept": "same concept",
    },
)
print(origin)

# %%
trace, none = after[COMPANY, "after"], after[0.0, "after"]
assert max(trace["direct"] + none["direct"]) < 1e-5
assert abs(mean(draws) - 0.613) < 0.02
assert min(trace["cluster"]) > 0.9 and min(trace["neighbour"]) > 0.9
assert mean(none["cluster"]) < 0.8 and mean(none["neighbour"]) < 0.7
assert mean(after[0.0, "before"]["cluster"]) > 0.75
for key in ("people", "concept"):
    assert mean(trace[key]) > mean(after[COMPANY, "before"][key]) - 0.1
assert geometry.alignment(geometry.split_in_two(clean[jobs.jobs]), sides) > 0.9

# %% [markdown]
# Read the column of clusters from above. Without the trace, debiasing works: like no longer stands by like, by a
# measure that knows nothing of $g$ (clusters at chance; the nearest neighbour is even more often of the other side).
# With the trace all of them can, and each occupation's nearest neighbour is of its own side: the bias sits in the
# *company*, off the direction $g$, and removing a direction does not reach it. That is Gonen and Goldberg's finding,
# here with a cause that we planted, so it shows *that* it can happen and why, not how often it does in real text. Note
# the last two columns, too: the repair costs little that this exam sees.
#
# And note what the test cannot say. Make the pronouns fair, and keep the company:

# %%
fair = counts.read(corpora.little_language(12_000, bias=0.0, company=COMPANY))
rows_of_pmi = counts.shifted_positive_pmi(counts.cooccurrence(fair, 5))
split = geometry.split_in_two(rows_of_pmi[exams.occupations(fair).jobs])
print(f"fair pronouns, same company: {geometry.alignment(split, sides):.0%}")
assert geometry.alignment(split, sides) > 0.9

# %% [markdown]
# The clusters look the same. They show that the sides can be told apart; that it is a *bias* you know only from outside.
#
# ## Would more text help?
#
# "The model is biased because it has seen too little text" is a hope you can test. Read more and more of the same
# language, with the planted bias and without, and measure the direct bias of the rows of PMI.
#
# > **Predict.** With more text the direct bias of the planted text (1) falls, (2) stays, (3) rises.
#
# Measure it twice. A row of a small table is signal plus noise, $x = s + \epsilon$. The noise makes it longer without
# leaning to either side, so it should *dilute* every cosine. A second text of the same language has the same signal and
# other noise: $x \cdot y \approx |s|^2$. So divide by lengths without noise, $\sqrt{x \cdot y}$, and take the direction
# from the other text. (The direction $g$ is noisy too: hence the factor $\sqrt{g \cdot h}$, $h$ that of the other text.)


# %%
def measure(first, second) -> tuple[float, float]:
    """Direct bias in the first of two texts: as it is, and corrected for noise."""
    a, b, at = exams.halves(first, second)  # PMI rows of both, and the words
    g, h = at.direction(a), at.direction(b)
    x, y = a[at.jobs], b[at.jobs]
    signal = (x * y).sum(dim=1).clamp(min=1e-9).sqrt() * (g @ h).sqrt()
    corrected = ((x @ h + y @ g) / 2 / signal).abs().mean()
    return geometry.direct_bias(x, g), float(corrected)


SIZES, SEEDS = (1000, 2000, 4000, 8000), (10, 11, 12)
growth = {}
for name, amount in (("planted", 1.0), ("fair", 0.0)):
    found = []
    for seed in SEEDS:
        text = corpora.little_language(2 * SIZES[-1], seed=seed, bias=amount)
        other = text[SIZES[-1] :]
        found.append([measure(text[:size], other[:size]) for size in SIZES])
    growth[name] = torch.tensor(found)  # [seeds, sizes, 2]

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 3.2)
LINES = [
    ("planted", 0, "o-"),
    ("planted", 1, "s--"),
    ("fair", 0, "^-"),
    ("fair", 1, "v--"),
]
for (name, which, style), color in zip(LINES, plots.COLORS):
    values = growth[name][..., which]
    label = f"{name}, {('as measured', 'corrected')[which]}"
    ax.plot(SIZES, values.mean(dim=0), style, color=color, markersize=4, label=label)
    band = values.min(dim=0).values, values.max(dim=0).values
    ax.fill_between(SIZES, *band, color=color, alpha=0.2)
ax.set(
    xscale="log",
    ylim=(0, None),
    xlabel="sentences read",
    ylabel="direct bias (mean |cosine|)",
    title="The planted bias seems to grow; without the noise it was there at once",
)
ax.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
ax.minorticks_off()
ax.legend(fontsize=8, ncols=2, loc="center left", bbox_to_anchor=(0.0, 0.5))
bias = {
    f"{n} {('measured', 'corrected')[k]}": growth[n][..., k].mean(0)
    for n, k, _ in LINES
}
plots.show(
    fig,
    alt="Direct bias against sentences read, band over three seeds. "
    + " ".join(
        f"{name}: {line[0]:.3f} at {SIZES[0]:,}, {line[-1]:.3f} at {SIZES[-1]:,}."
        for name, line in bias.items()
    ),
)
rise = float(bias["planted measured"][-1] - bias["planted measured"][0])
left = float(bias["planted corrected"][-1] - bias["planted corrected"][0])
print(f"planted: rises by {rise:.3f}; corrected for noise by {left:+.3f}")
assert rise > 0.015 and abs(left) < 0.4 * rise
assert bias["fair measured"][-1] < 0.7 * bias["fair measured"][0]
assert bias["planted measured"].min() > 2 * bias["fair measured"].max()

# %% [markdown]
# It rises. In the fair text there is nothing but noise, and more text removes it. The planted bias is what the text
# *says*; more text makes the measurement of it sharper, and its noise-free value was there from the start. So vectors
# of a short text that look less biased may only be noisier.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end of the notebook.
#
# ### 1 · More than one direction (••, 10 minutes)
# A bias may need several directions. `w` is a float tensor `[N, D]`, `G` a float tensor `[k, D]` whose rows are directions of
# any length and **not** at right angles. Return `w` without any component in their span, rows of unit length.
#
# <details><summary>Hint 1</summary>Remove one direction, then the other: is anything of the first back?</details>
# <details><summary>Hint 2</summary>`torch.linalg.qr(G.T).Q` has orthonormal columns with the same span.</details>


# %%
def neutralise_subspace(w: torch.Tensor, G: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch02.check_neutralize_subspace(neutralise_subspace)

# %% [markdown]
# ### 2 · The chance level of the cluster test (••, 10 minutes)
# `n` words (an even int), half on each side. Every word falls into one of two clusters by a fair coin. What share is right on
# average, if the better of the two namings of the clusters counts? Return a float, exactly (no simulation).
#
# <details><summary>Hint 1</summary>How is the number $M$ of words that agree with the first naming distributed?</details>
# <details><summary>Hint 2</summary>The better naming has $\max(M, n - M)$ right; `math.comb`.</details>


# %%
def chance_alignment(n: int) -> float:
    return NOT_ATTEMPTED


ch02.check_chance_alignment(chance_alignment)

# %% [markdown]
# ### 3 · A clean bill of health (•••, 12 minutes)
# Fool the auditor: return `(w, g)`, float tensors `[n, d]` and `[d]`, with a direct bias of 0 (`n` even and at least 8, `d` at
# least 3), while 2-means on the unit rows of `w` still separates the first half of the words from the second. All `n` words
# must be different.
#
# <details><summary>Hint 1</summary>Every row at right angles to $g$.</details>
# <details><summary>Hint 2</summary>The halves on opposite sides of another axis, plus a little noise.</details>


# %%
def fool(n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    return NOT_ATTEMPTED


ch02.check_fool(fool)

# %% [markdown]
# ## No claim
#
# This chapter enters nothing into the book's table of claims. Trace and bias were planted: the results explain
# mechanisms. How strong such traces are in real text, the papers measure.
#
# ## Where it comes from, where it went
#
# [Levy and Goldberg (2014)](https://aclanthology.org/W14-1618/) explain the analogy test by what it maximises. [Caliskan et
# al. (2017)](https://arxiv.org/abs/1608.07187) measure human-like associations in vectors of real text. [Bolukbasi et al.
# (2016)](https://arxiv.org/abs/1607.06520) defined direct bias and its removal; [Gonen and Goldberg
# (2019)](https://arxiv.org/abs/1903.03862) showed what stays.
#
# ### Quiz
#
# **1.** Somebody removes the gender direction and reports a direct bias of zero. What do you ask?
#
# <details><summary>Answer</summary>Whether the bias was measured with the direction that was removed: then zero is an
# identity. Ask for a test without it, such as clusters or neighbours.</details>
#
# **2.** An analogy test gives 40 %. Which two numbers do you want beside it?
#
# <details><summary>Answer</summary>The accuracy when the given words may be answers, and what the third
# word's nearest neighbour alone scores.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def neutralise_subspace(w, G):
#     basis = torch.linalg.qr(G.T).Q  # [D, k], orthonormal columns
#     return F.normalize(w - w @ basis @ basis.T, dim=1)
#
#
# def chance_alignment(n):
#     # M is binomial(n, 1/2). For n = 12: 61 %.
#     return sum(math.comb(n, m) * max(m, n - m) for m in range(n + 1)) / (n * 2**n)
#
#
# def fool(n, d):
#     w = 0.1 * torch.randn(n, d)
#     w[:, 0] = 0  # nothing along g
#     w[: n // 2, 1] += 1
#     w[n // 2 :, 1] -= 1
#     g = torch.zeros(d)
#     g[0] = 1
#     return w, g
# ```
