# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08b · What makes two sentences neighbours?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/08b_sentences.ipynb)
#
# **After this chapter you can**
#
# - turn a network that knows words into one that compares sentences, by a dozen definitions of "neighbour";
# - ask a sentence vector what it keeps: who, what, when, where, and *who did it to whom*;
# - see when all cosines are nearly one, say what whitening changes about it, and what it does not.
#
# **You need** [chapter 08](08_the_missing_word.ipynb) (masked words) and [chapter 13](13_from_nce_to_nt_xent.ipynb)
# (InfoNCE).
# **Time**: 23 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("08b")

# %% [markdown]
# ## The puzzle: which two say the same?
#
# - **A** the mariner has not hindered the physician at the harbour
# - **B** the doctor was aided by the sailor at the port
# - **C** the physician has not hindered the mariner at the harbour
#
# You say A and B, although they share only *the* and *at*. A and C have all their words in common, and opposite roles.

# %%
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import evaluation, losses, plots, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch08b
from ssl_lessons.book.widgets import rewording
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.modalities.words import english, isotropy, positives, sentences
from ssl_lessons.modalities.words import sentence_objectives as objectives
from ssl_lessons.training import fit

train = sentences.documents(4000, seed=0)
exam = sentences.exam(seed=0)
for line in train.tokens[0]:
    print(sentences.decode(line))

# %% [markdown]
# A drawn language again. A **meaning** is six factors: agent and patient (two of four persons), deed, sign
# (well or ill), tense, place. Every person, deed and place has three names. One sentence in four is passive, one in
# four denies the opposite. In a document the next sentence keeps each factor most of the time and draws its words anew.
#
# The exam asks three things of the cosines of sentence vectors. **find**: of 250 answers and 1,500 near misses, is the
# nearest one of the same meaning? **One factor**: is the answer nearer than a sentence that differs in the
# roles, the sign, the tense, ... alone? **likeness**: the rank correlation of cosines with the number of factors two
# sentences share. All words are drawn anew, so a third of the names agree by chance.

# %%
A, B, C = (
    sentences.encode(s)[None]
    for s in (
        "the mariner has not hindered the physician at the harbour",
        "the doctor was aided by the sailor at the port",
        "the physician has not hindered the mariner at the harbour",
    )
)


def compare(vectors) -> None:
    a, b, c = (F.normalize(vectors(x), dim=1)[0] for x in (A, B, C))
    print(f"cosine of A and B {a @ b:.2f}, of A and C {a @ c:.2f}")


compare(positives.counts)
words = exam(positives.counts)
print({name: round(value, 2) for name, value in words.items()})
assert words["find"] < 0.15 and abs(words["roles"] - 0.5) < 0.1

# %% [markdown]
# > **Predict before you go on.** We take a masked language model and teach it which two sentences are neighbours: (a) a
# > sentence and itself, with other dropout; (b) a sentence and a piece of it; (c) a sentence and the next one; (d) a
# > sentence and its translation back from another tongue. (1) Which two follow the meaning best? Guessing gets one of
# > six pairs. (2) Which of the four can tell A from C?
#
# ## The idea
#
# Let $x_i$ be a sentence, $h(x_i) \in \mathbb R^{64}$ the mean of the last states over its words, $x_i^+$ its
# neighbour, and $\operatorname{sim}$ the cosine. In a batch of $N$ pairs, with temperature $\tau = 0.05$,
#
# $$\ell_i = -\log \frac{e^{\operatorname{sim}(h(x_i), h(x_i^+)) / \tau}}
# {\sum_{j=1}^{N} e^{\operatorname{sim}(h(x_i), h(x_j^+)) / \tau}} .$$
#
# This is the InfoNCE you know. **In most of what follows only $x_i^+$ changes.** Expect three things of the formula.
# What differs between $x_i$ and $x_i^+$ does not help to find it, and may be forgotten. What is the same *and* differs
# between the sentences of a batch helps. What is not needed to tell 64 sentences apart need not be learned.
#
# First the start that all share, BERT's question of [chapter 08](08_the_missing_word.ipynb):

# %%
torch.manual_seed(0)
start = objectives.encoder(seed=0).to(device)
task = objectives.MaskedWords(start, train).to(device)
curve = fit(task, task, steps=500, lr=3e-3, seed=0, progress=True)
start = task.encoder.eval()
print(f"loss {curve[0]:.2f} at first, {sum(curve[-20:]) / 20:.2f} at the end")


def vectors(network, ids):
    return objectives.features(partial(objectives.pooled, network), ids)


before = exam(partial(vectors, start))
compare(partial(vectors, start))
print(f"mean cosine of two sentences drawn at random: {before['cosine']:.2f}")


# %% [markdown]
# Two sentences drawn at random have a cosine far from zero. The vectors lie in a cone; BERT's do as well ([Li et al.,
# 2020](https://arxiv.org/abs/2011.05864)). More below. Now the loop, with the neighbour as its argument:


# %%
def contrast(pairs, steps: int = 200, seed: int = 0):
    """pairs(task, generator) -> sentences [64, T] and their neighbours [64, T']."""
    task = objectives.Objective(start, train).to(device)  # a copy of the start

    def loss(generator):
        z, z_plus = (task.vectors(x) for x in pairs(task, generator))
        return losses.info_nce(z, z_plus, temperature=0.05)

    curve = fit(task, loss, steps, lr=3e-3, seed=seed)
    return task, sum(curve[-20:]) / 20


def simcse(task, generator):
    x, _ = task.sentence(generator)
    return x, x  # the dropout of the network makes the difference


def translated(task, generator):
    x, _ = task.sentence(generator)
    return x, positives.back_translation(x, generator)


def next_one(task, generator):
    doc, this, after = task.places(generator)
    return train.tokens[doc, this], train.tokens[doc, after]


# %%
live = {"masked words": before, "bag of words": words}
networks = {}
for name, pairs in (
    ("itself (SimCSE)", simcse),
    ("translated back", translated),
    ("the next one (quick-thought)", next_one),
):
    networks[name], end = contrast(pairs)
    live[name] = exam(partial(objectives.features, networks[name].vectors))
    print(f"{name}: loss {end:.2f} at the end")
    compare(networks[name].vectors)

# %% tags=["hide-input"]
ASKED = ("find", "likeness", "roles", "sign", "deed", "tense", "place", "patient")
CHANCE = {"find": "0", "likeness": "0"} | dict.fromkeys(ASKED[2:], "50")
percent = "{:.0%}".format
plots.table(
    [{"neighbour": "chance", **CHANCE}]
    + [{"neighbour": n} | {k: percent(v[k]) for k in ASKED} for n, v in live.items()],
    "The exam, one seed, 200 steps",
)

# %% [markdown]
# ## The ways
#
# | name | neighbour | also asked |
# |---|---|---|
# | SimCSE | the sentence itself, other dropout | |
# | masking, cropping | the same with one word in five hidden (token cutoff); a run of seven words in ten | |
# | EDA | a synonym put in place or inserted, two words swapped, or one deleted | |
# | contextual | hidden words drawn anew from the masked language model | |
# | back translation | into the second tongue and back, word by word | |
# | CERT | the same, with a slow encoder and a queue (MoCo) | |
# | quick-thought | the next sentence | |
# | DeCLUTR | a sentence of the same document, two away at most | masked words |
# | CONPONO | the sentence $k$ away, $k = \pm 1, \pm 2$, others of the document among the negatives | |
# | translations | the meaning said in the other tongue, voice and denial drawn anew (InfoXLM's contrast) | |
# | skip-thought | none: write the sentences before and after from the vector | |
# | IS-BERT | none: is this run of words from this sentence? (Jensen-Shannon) | |
#
# A thesaurus or a translator is knowledge that somebody put in; a crop is free. What does each do to a meaning? Ask a
# hasty reader, who takes the person before the deed for its subject and any *not* for a denial:

# %%
some = train.flat()[0][:2000]
kept = {}
for name, way in positives.WAYS.items():
    kept[name] = positives.kept(way, some, torch.Generator().manual_seed(0))
plots.table(
    [{"way": n, **{k: percent(v) for k, v in x.items()}} for n, x in kept.items()],
    "Sentences of which a factor is still read the same; words: names kept",
)
back = kept["back translation"]
assert back["agent"] == 1 and back["words"] < 0.4
assert kept["cropping"]["place"] < 0.7 and kept["EDA"]["agent"] < 0.95

# %% [markdown]
# ## Play: change the words, keep the meaning
#
# **Find a way and a strength that leave fewer than half of the names and all of the meaning. Which factor does cropping
# lose first, and why that one?**

# %%
widgets.explore(
    rewording.render,
    rewording.CONTROLS,
    static=[
        {"way": "hide words", "strength": 0.3},
        {"way": "crop", "strength": 0.3},
        {"way": "thesaurus", "strength": 0.9},
    ],
    captions=["three in ten hidden", "three in ten cropped", "a thesaurus"],
    alt=rewording.describe,
    columns=1,
)
assert rewording.kept("thesaurus", 0.9)["words"] < 0.5
assert rewording.kept("thesaurus", 0.9)["sign"] == 1
crop = rewording.kept("crop", 0.3)
assert min(crop, key=crop.get) == "place"

# %% [markdown]
# A thesaurus, strong enough, or the translation. A crop loses the place first: it is the last word, while before the
# first person there is still *the*.
#
# ## The run: which neighbour teaches what
#
# | equal for all | |
# |---|---|
# | start | the masked language model of the seed, 1,500 steps |
# | budget | 500 steps of 64 sentences (and of as many neighbours) |
# | learning rate | the best of five after 170 steps, by *likeness* on another world |
# | not equal | heads (CONPONO, IS-BERT, SBERT), a decoder (skip-thought), a queue (CERT), 160 sentences (CONPONO), |
# | | one hard negative per sentence, and what is known: a thesaurus, labels |
#
# Floors: counts of words, TF-IDF (rare words weigh more), the mean of chapter 02's word vectors (learned over sentence
# borders), the encoder untrained and with masked words only. *Labels*: neighbours are sentences of the same meaning,
# drawn for each sentence.

# %%
record, origin = book.recorded("sentences")
runs = [r for r in record if r["part"] == "runs"]
arms = list(dict.fromkeys(r["arm"] for r in runs))


def of(arm: str, *path, part: str = "runs") -> list[float]:
    """One value per seed."""
    column = book.per_seed(record, path[0], part=part, arm=arm)
    return column if len(path) == 1 else [row[path[1]] for row in column]


def mean(values) -> float:
    return sum(values) / len(values)


def spread(values) -> str:
    a, b, c = (100 * v for v in (mean(values), min(values), max(values)))
    return f"{a:.0f} ({b:.0f} to {c:.0f})"


# %% tags=["hide-input"]
plots.table(
    [{"arm": "chance", **CHANCE}]
    + [{"arm": a} | {k: spread(of(a, "exam", k)) for k in ASKED} for a in arms],
    "The exam (%), mean and range over seeds",
    {"arm": "neighbour"} | {k: k for k in ASKED},
)
print(origin)

# %%
floors = [a for a in arms if mean(of(a, "steps")) == 0]
taught = [a for a in arms if a not in floors]
free = [a for a in taught if "labels" not in a]
for k in ASKED:
    top = max(free, key=lambda a: mean(of(a, "exam", k)))
    low = max(floors, key=lambda a: mean(of(a, "exam", k)))
    ceiling = max(mean(of(a, "exam", k)) for a in taught if a not in free)
    print(f"{k}: best without labels {top} ({mean(of(top, 'exam', k)):.0%});")
    print(f"      best floor {low} ({mean(of(low, 'exam', k)):.0%}),")
    print(f"      with labels {ceiling:.0%}")

# %% tags=["hide-input"]
FACTORS = tuple(sentences.FACTORS)
plots.table(
    [{"arm": "chance"} | dict.fromkeys(FACTORS, "0")]
    + [{"arm": a} | {k: spread(of(a, "factors", k)) for k in FACTORS} for a in arms],
    "A linear readout of 400 labels (0 chance, 100 always right)",
    {"arm": "neighbour"} | {k: k for k in FACTORS},
)
print(origin)

# %%
NEXT, BACK = "quick-thought", "positive: back translation"
ITSELF, CROP = "positive: nothing (dropout)", "positive: cropping"


def like(arm: str) -> list[float]:
    return of(arm, "exam", "likeness")


knows = [a for a in free if min(of(a, "exam", "roles")) > 0.6]
for a in (NEXT, BACK, CROP, ITSELF):
    print(f"{a}: likeness {spread(like(a))}, roles {spread(of(a, 'exam', 'roles'))}")
print("roles told above 60 % in every seed, without labels:", knows or "by none")

# %% tags=["hide-input"]
assert knows == ["translations"]
tuned = [r for r in record if r["part"] == "tuning"]
for way in ("nothing (dropout)", "masking", "cropping", "contextual"):
    tries = [r for r in tuned if r["way"] == f"positive: {way}"]
    tries = sorted(tries, key=lambda r: float(r["arm"].split("lr ")[1]))
    found = [r["exam"]["likeness"] for r in tries]
    assert found == sorted(found, reverse=True) and len(found) == 5
for x, y, *rest in zip(*map(like, (NEXT, BACK, CROP, ITSELF)), strict=True):
    assert x > y > max(rest)

# %% tags=["hide-input"]
company = mean(like("mean of word2vec"))
assert mean(like(NEXT)) > company > max(mean(like(a)) for a in (ITSELF, CROP))
assert company > max(mean(like(a)) for a in ("bag of words", "TF-IDF")) + 0.1
found = [mean(of(a, "exam", "find")) for a in (BACK, "mean of word2vec")]
assert found[0] > found[1] + 0.05
fig, ax = plots.new_figure(6.4, 3.2)
shown = sorted((*free, "labels: and contradictions"), key=lambda a: mean(like(a)))
bars = ax.barh(shown, [100 * mean(like(a)) for a in shown], color=plots.COLORS[0])
bars[shown.index("labels: and contradictions")].set_color(plots.COLORS[2])
best = [a for a in shown if a in free][-6:]
assert {NEXT, "DeCLUTR", "translations", "skip-thought", "CERT", BACK} == set(best)
ax.axvline(100 * company, color=plots.COLORS[1], ls="--", label="mean of word vectors")
ax.axvline(100 * mean(like("masked words")), color="gray", ls=":", label="the start")
title = "Next sentences and translations follow the meaning best"
ax.set(title=title, xlabel="likeness (%)")
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
plots.show(
    fig,
    alt="Likeness, mean of seeds. "
    + "; ".join(f"{a} {100 * mean(like(a)):.0f}" for a in shown)
    + f"; mean of word vectors {100 * company:.0f}.",
)

# %% [markdown]
# (1) **By likeness the next sentence, then the translation**, which is no better than the mean of word vectors; by
# *find* the translation leads. SimCSE and crops stay below the word vectors in both. The formula says why: the words
# *are* what a sentence shares with itself and with its pieces, and they find it among 64. Nothing asks for *the
# physician* and *the doctor* to be alike. In a pair of translations two thirds of the names differ, so they help less
# than what they name. Of the next sentence, too, only what is meant is the same; but not all of it, and not always.
#
# On real text [SimCSE does well](https://arxiv.org/abs/2104.08821). Perhaps because BERT has read three billion words
# before, and what people call similar shares words more often than in this exam. That is a guess.
#
# The strongest floor is older than all of them. Means of word vectors learned over sentence borders know the synonyms
# of deeds and places (not of persons): these names keep the same company. Roles are in no word.
#
# (2) None of the four does so in every seed. This translation goes word by word and keeps the voice, so no passive is
# ever asked to be near its active. Where the voice is drawn anew, in *translations* and *labels: same meaning*, roles
# are learned from such batches.
#
# Dropout, masking, cropping and contextual words take the smallest rate on the list: each larger one cost more
# likeness. A method that is not above the start has not learned *here*; that says nothing about the method. (The live
# runs take one rate for all.)
#
# ## The cosine of everything is high
#
# A cosine of 0.8 means nothing by itself. If the vectors have a common direction, it says how large that direction is:
# with $M$ unit vectors $u_i$ and their mean $\bar u$, the mean cosine of two different ones is
# $(M \|\bar u\|^2 - 1) / (M - 1)$ (exercise 1). **Whitening** takes it out and makes the cloud equally long in
# every direction:
#
# $$\tilde h = (h - \mu) W, \qquad W = U \Lambda^{-1/2}, \qquad \Sigma = U \Lambda U^\top ,$$
#
# with mean $\mu$ and covariance $\Sigma$ of the vectors of many sentences, and of $U$ perhaps only the first columns.
# **BERT-flow** fits an invertible network $f$ that makes the cloud a standard Gaussian, by the likelihood:
# $\tfrac12 \|f(h)\|^2 - \log |\det f'(h)|$. Neither trains the encoder, and neither sees a label.

# %%
cloud = vectors(start, some)
cures = {
    "as it is": lambda z: z,
    "whitened, all 63": isotropy.whitening(cloud, keep=63),
    "whitened, first 32": isotropy.whitening(cloud, keep=32),
    "flow": isotropy.flow(cloud),
}
cured = {}
for name, cure in cures.items():
    cured[name] = exam(lambda ids, cure=cure: cure(vectors(start, ids)))
    narrow, found = (cured[name][k] for k in ("cosine", "likeness"))
    print(f"{name}: mean cosine {narrow:.2f}, likeness {found:.2f}")
for name in ("whitened", "flow"):
    for a, b in zip(like(f"masked words, {name}"), like("masked words"), strict=True):
        assert a < b
assert all(c["likeness"] >= cured["as it is"]["likeness"] for c in cured.values())
white = cures["whitened, all 63"](cloud)
assert (torch.cov(white.T) - torch.eye(63)).abs().max() < 0.01
assert abs(cured["whitened, all 63"]["cosine"]) < 0.05 < cured["as it is"]["cosine"]

# %% [markdown]
# (63: the last layer norm takes one dimension away.) The common direction is gone, by construction. Do the cosines
# follow the meaning better? Here a little; in the record, after three times the training, worse in every seed (claim
# C-363). Whitening makes all directions equally long, those that hold the wording as well.
#
# ## Labels, and the sentence that says the opposite
#
# **SBERT** reads two sentences by one encoder and classifies $[a; b; |a - b|]$ of their vectors: same, contradicting,
# or neither. **Supervised SimCSE** puts a contradiction $x_j^-$ of every sentence into the denominator of all:
# $\sum_j \big( e^{\operatorname{sim}(h_i, h_j^+) / \tau} + e^{\operatorname{sim}(h_i, h_j^-) / \tau} \big)$ with
# $h_i = h(x_i)$. Where nobody wrote contradictions, **DPR** takes the text that shares most words with the query and is
# no answer (BM25).

# %%
for a in ("labels: same meaning", "labels: and contradictions", "labels: and BM25"):
    told = (f"{k} {spread(of(a, 'exam', k))}" for k in ("find", "sign", "roles"))
    print(f"{a}: {', '.join(told)}")

# %% tags=["hide-input"]
plain = "labels: same meaning"


def hard(kind: str, k: str) -> list[float]:
    return of(f"labels: and {kind}", "exam", k)


signs, roles = of(plain, "exam", "sign"), of(plain, "exam", "roles")
assert min(hard("contradictions", "sign")) > max(signs) + 0.2
assert min(hard("BM25", "roles")) > 0.9 > min(roles) > 0.6
assert max(hard("BM25", "sign")) < 0.7

# %% [markdown]
# The pairs are made alike in all three lines. The contradiction teaches the **sign**, in every seed. The text with most
# words in common makes the **roles** sure, which the labels alone learn in one seed more than in another: often it is
# the sentence in which the two persons have changed places. **The same positives, other negatives: another thing is
# learned.**
#
# ## What goes wrong: a batch of equals
#
# Somebody sorts the corpus, and every batch holds 64 sentences that say the same. The loss can still fall, by whatever
# tells the sentences apart: the words.


# %%
def equals(task, generator):
    meaning = sentences.meanings(1, generator).expand(64, -1)
    x = sentences.say(meaning, sentences.styles(64, generator))
    return x, x


spoiled, end = contrast(equals)
after = exam(partial(objectives.features, spoiled.vectors))
print(f"loss {end:.2f} (log 64 is {torch.tensor(64.0).log():.2f})")
usual = live["itself (SimCSE)"]["likeness"]
print(f"likeness {after['likeness']:.2f}; with usual batches {usual:.2f}")
for name in ("nothing (dropout)", "back translation"):
    found = spread(of(name, "exam", "likeness", part="equals"))
    usual = spread(of(f"positive: {name}", "exam", "likeness"))
    print(f"record, {name}: {found}; usual batches {usual}")

# %% tags=["hide-input"]
for name in ("nothing (dropout)", "back translation"):
    worse = of(name, "exam", "likeness", part="equals")
    assert max(worse) < min(min(like(f"positive: {name}")), min(like("untrained")))

# %% [markdown]
# All positives were right. What the batch holds constant cannot tell its sentences apart, so it is not kept: here that
# was the meaning, and less of it is left than an untrained encoder has.
#
# **The test to reuse**: before you train, count how many sentences of a batch mean the same, and what that costs at
# best (exercise 4). And dropout 0? Both sides are then the same vector, and only the denominator is left to learn from:

# %%
for rate, values in (
    ("0", of("0", "exam", "likeness", part="dropout")),
    ("0.1", of("positive: nothing (dropout)", "exam", "likeness")),
    ("0.3", of("0.3", "exam", "likeness", part="dropout")),
):
    print(f"dropout {rate}: likeness {spread(values)}")
across = {a: of(a, "found", part="tongues") for a in ("masked words", "translations")}
print(f"the same in the other tongue: found {spread(across['translations'])} %,")
print(f"before {spread(across['masked words'])} (guessing 0.4)")

# %% [markdown]
# No rate lifts likeness far over the start, so these lines say nothing about dropout. The last two are InfoXLM's
# contrast alone, without its masked words in both tongues: three seeds, far apart.
#
# ## Real English
#
# Python's manual, a tenth of its paragraphs held out, as in [chapter 08](08_the_missing_word.ipynb). Nobody has said
# which of its sentences are alike, but two things can be read off the text. **next**: is the nearest held-out sentence,
# or one of the nearest ten, the one that follows in the paragraph? **topic**: a linear readout, 800 labels, of which of
# the eight longest topics a sentence is from.

# %% tags=["hide-input"]
real = [r for r in record if r["part"] == "english"]
real_arms = list(dict.fromkeys(r["arm"] for r in real))


def manual(arm: str, k: str) -> list[float]:
    return of(arm, "exam", k, part="english")


def longest(part: int) -> float:
    """How often the topic with the most sentences to learn from is right."""
    cut = english.split(part)
    told, asked = (x.topic[x.topic < 8] for x in (cut.train, cut.test))
    return float((asked == told.mode().values).double().mean())


REAL = {"next 1": "next, first", "next 10": "next, first ten", "topic": "topic"}
by_lot = mean([1 / n for n in manual("untrained", "among")])
lot = {
    "next 1": f"{100 * by_lot:.1f}",
    "next 10": f"{1000 * by_lot:.0f}",
    "topic": spread([longest(part) for part in range(3)]) + " (the longest)",
}
plots.table(
    [{"vectors": "chance"} | {v: lot[k] for k, v in REAL.items()}]
    + [
        {"vectors": a} | {v: spread(manual(a, k)) for k, v in REAL.items()}
        for a in real_arms
    ],
    "Sentences of the manual (%), mean and range over three parts",
)
print(origin)

# %% tags=["hide-input"]
ten = {a: manual(a, "next 10") for a in real_arms}
for a, values in ten.items():
    assert a == "TF-IDF" or all(x < y for x, y in zip(values, ten["TF-IDF"]))
started = ten["masked words"]
assert mean(ten["SimCSE"]) < mean(started)
assert all(x > y for x, y in zip(ten["quick-thought"], started, strict=True))
firsts = (manual(a, "next 1") for a in ("quick-thought", "masked words"))
assert sum(x > y for x, y in zip(*firsts)) == 1
level = mean(manual("quick-thought", "topic")) - mean(manual("bag of words", "topic"))
assert abs(level) < 0.05

# %% [markdown]
# **TF-IDF wins** *next*, perhaps as neighbours share rare words. SimCSE, at the best of four learning rates, finds the
# next sentence no better than the masked words it starts from. Quick-thought was trained on the very question: among
# ten it gains in every part, to just above word2vec; at first, in one. For topics it is about as good as counts. One
# manual is little to learn from: neither method is judged.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · How narrow is the cone? (•, 5 minutes)
# `z` is a float tensor `[N, D]`. Return the mean cosine of two different rows, a scalar.
#
# <details><summary>Hint</summary>The squared length of the mean unit row counts every row with itself as well.</details>


# %%
def mean_cosine(z: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch08b.check_mean_cosine(mean_cosine)

# %% [markdown]
# ### 2 · Hard negatives (••, 8 minutes)
# `z`, `positive` and `negative` are float tensors `[N, D]`; row i of `negative` contradicts row i of `z`. Return the
# loss of supervised SimCSE: cosines, all 2N candidates for every sentence, the mean over the sentences.
#
# <details><summary>Hint</summary>Concatenate the scores; the right candidate of row i is column i.</details>


# %%
def hard_loss(z, positive, negative, temperature: float):
    return NOT_ATTEMPTED


ch08b.check_hard(hard_loss)

# %% [markdown]
# ### 3 · Whiten what you have not seen (••, 8 minutes)
# Fit a whitening to `z`, a float tensor `[N, D]`, apply it to `x`, `[M, D]`, and return the cosines of its rows,
# `[M, M]`.
#
# <details><summary>Hint</summary>`torch.linalg.eigh(torch.cov(z.T))`.</details>


# %%
def whitened_cosines(z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch08b.check_whitened(whitened_cosines)

# %% [markdown]
# ### 4 · What twins cost (•••, 12 minutes)
# A batch has `batch` sentences, each with one of `meanings` meanings, drawn evenly. A network knows the meaning of each
# and nothing else. Return its mean loss (InfoNCE, nats) when it cannot tell a positive from those of its twins: exact,
# not by drawing. Then defend a batch size for this chapter's 576 meanings.
#
# <details><summary>Hint</summary>With b twins the loss is log(1 + b); b is binomial.</details>


# %%
def cost_of_twins(batch: int, meanings: int) -> float:
    return NOT_ATTEMPTED


ch08b.check_twins(cost_of_twins)

# %% [markdown]
# ## Claims, tested

# %%
SIMCSE, BASE = "positive: nothing (dropout)", of("masked words", "exam", "likeness")


def likeness(arm: str, part: str = "runs") -> list[float]:
    return of(arm, "exam", "likeness", part=part)


book.claim("C-360", drawn=Runs(likeness(SIMCSE), likeness("0", "dropout"), floor=BASE))
labelled = likeness("labels: and contradictions")
book.claim("C-361", drawn=Runs(labelled, likeness(SIMCSE), floor=BASE))
book.claim("C-362", drawn=Runs(hard("contradictions", "sign"), signs))
book.claim("C-363", drawn=Runs(likeness("masked words, whitened"), BASE))

# %%
both = [likeness(a) for a in ("quick-thought", "skip-thought")]
book.claim("C-364", drawn=Runs(*both, floor=BASE))
mined, alone, asleep = (
    of(a, "exam", "find") for a in ("labels: and BM25", plain, "masked words")
)
book.claim("C-365", drawn=Runs(mined, alone, floor=asleep))
crops = likeness("positive: cropping")
book.claim("C-366", drawn=Runs(crops, likeness(SIMCSE), floor=BASE))

# %% [markdown]
# ## Where it comes from, where it went
#
# [Skip-thought](https://arxiv.org/abs/1506.06726) (Kiros et al., 2015) writes the neighbours,
# [quick-thought](https://arxiv.org/abs/1803.02893) chooses them; [CONPONO](https://arxiv.org/abs/2005.10389) and
# [DeCLUTR](https://arxiv.org/abs/2006.03659) look further. [SBERT](https://arxiv.org/abs/1908.10084) made BERT compare
# sentences by labels, [IS-BERT](https://arxiv.org/abs/2009.12061), [CERT](https://arxiv.org/abs/2005.12766) and
# [SimCSE](https://arxiv.org/abs/2104.08821) without. Second sentences:
# [back-translation](https://arxiv.org/abs/1511.06709), [contextual](https://arxiv.org/abs/1805.06201) words (with a
# label, by two LSTMs), [EDA](https://arxiv.org/abs/1901.11196), [cutoff](https://arxiv.org/abs/2009.13818).
# [BERT-flow](https://arxiv.org/abs/2011.05864) and [whitening](https://arxiv.org/abs/2103.15316) need no labels.
# [InfoXLM](https://arxiv.org/abs/2007.07834): two tongues; [DPR](https://arxiv.org/abs/2004.04906): questions and
# passages. That crops beat dropout: [González-Márquez et al. (2026)](https://arxiv.org/abs/2508.03453).
#
# ## Two questions
#
# **1.** Your encoder finds "the dog bit the man" nearest to "the man bit the dog". Which neighbours do you add?
# <details><summary>Answer</summary>Negatives with the same words in other roles: then the words no longer find the positive. Positives alone do not force it.</details>
#
# **2.** Two sentences have cosine 0.9. Are they alike?
# <details><summary>Answer</summary>Compare with the mean cosine of two sentences drawn at random, or whiten first.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def mean_cosine(z):
#     n, mean = len(z), F.normalize(z, dim=1).mean(0)
#     return (n * mean @ mean - 1) / (n - 1)
#
#
# def hard_loss(z, positive, negative, temperature):
#     z, p, n = (F.normalize(v, dim=1) for v in (z, positive, negative))
#     scores = torch.cat([z @ p.T, z @ n.T], dim=1) / temperature
#     return F.cross_entropy(scores, torch.arange(len(z)))
#
#
# def whitened_cosines(z, x):
#     values, vectors = torch.linalg.eigh(torch.cov(z.T))
#     y = F.normalize((x - z.mean(0)) @ (vectors / values.sqrt()), dim=1)
#     return y @ y.T
#
#
# def cost_of_twins(batch, meanings):
#     # 576 meanings, batch 64: about 0.07 nats of 4.2. Ten times as many sentences: 0.62.
#     from math import comb, log
#
#     p, n = 1 / meanings, batch - 1
#     chance = [comb(n, b) * p**b * (1 - p) ** (n - b) for b in range(batch)]
#     return sum(c * log(1 + b) for b, c in enumerate(chance))
# ```
