# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · What does a network learn about language by repairing sentences?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/08_the_missing_word.ipynb)
#
# **After this chapter you can**
#
# - write down, in a few lines each, what BERT, GPT, ALBERT, ELECTRA, BART, T5 and a masked diffusion model are asked;
# - ask a network about a gap so that counting neighbours cannot answer, and read what it says;
# - find the two classic mistakes, a target in plain sight and a question that the topic answers, with a test.
#
# **You need** [chapter 07](07_generate_to_understand.ipynb) (generation as a teacher).
# **Time**: 27 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("08")

# %% [markdown]
# ## The puzzle: is, are, was or were?
#
# *some judges were fearing the broken pot. the judges who the singer met ___ blaming the repaired kettle.*
#
# You fill the gap at once. The verb belongs to *judges* and not to the singer who stands nearer; and *were* before it
# tells the tense. A rule that looks at the two neighbours of the gap sees *met* and *blaming*, and nothing of this.

# %%
import itertools
import math
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import plots, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch08
from ssl_lessons.book.widgets import gap
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.modalities.words import corruptions, english, language, repair
from ssl_lessons.modalities.words.transformer import Transformer
from ssl_lessons.training import fit

train = language.stories(20_000, seed=0)
test = language.stories(2000, seed=0, split="test")
print(*test.text(0), sep="\n")
print(f"{len(language.VOCABULARY)} words, {len(train):,} stories to learn from")

# %% [markdown]
# The language is drawn, so everything behind a sentence is known: the **topic** of the story, its **tense**, the
# **number** of the subject, the **polarity** ("not enjoying" is against), who the **subject** is, and the order. A
# person comes with *a* before *the* and before *she*; a thing is broken before it is repaired. A word of a topic
# belongs to two topics.
#
# Three kinds of gaps, all in the second of two neighbouring sentences. **Agreement**: the number of the auxiliary,
# where a clause puts somebody of the other number in between. **Tense**: of the same word. **Polarity**: a verb for or
# against after *not*, which turns round what the rest lets expect.

# %%
generator = torch.Generator().manual_seed(0)
gaps = repair.gaps(test, generator)
pairs = language.pairs(train, generator)[0]
counts = repair.Counts(pairs)


def answers(fill) -> dict[str, float]:
    return {
        kind: repair.right(fill(ids, place), good, bad)
        for kind, (ids, place, good, bad) in gaps.items()
    }


by_counting = answers(counts.fill)
for kind, share in by_counting.items():
    print(f"{kind:>10}: counting the two neighbours is right in {share:.0%}")

# %% [markdown]
# > **Predict before you go on.** A transformer of two layers sees 58,000 pairs of sentences, fifteen words in a hundred
# > hidden, and has to name them. Nobody tells it what a subject is. For each kind of gap: is it right in about
# > 50, 75 or 100 %? A blind guess gets one of the three kinds right; a coin at the gap is right in 50 %.
#
# ## The idea: BERT
#
# Let $x = (x_1, \dots, x_L)$ be the words of a text, $V$ the number of words there are. Choose a set $M$ of places,
# each with probability 0.15, damage them, $\tilde x$, and ask for what was there:
#
# $$\mathcal L_{\text{MLM}} = -\frac{1}{|M|} \sum_{i \in M} \log p_\theta(x_i \mid \tilde x), \qquad
# p_\theta(\cdot \mid \tilde x) = \operatorname{softmax}(W h_i(\tilde x) + c)$$
#
# with $h_i \in \mathbb R^{64}$ the state of the transformer at place $i$, $W$ of shape $V \times 64$ (here, as in BERT,
# the word vectors themselves), $c \in \mathbb R^V$. Of the places in $M$, 80 in a hundred show `[MASK]`, 10 a random
# word, 10 the right one. Why the last two? In use, there is no `[MASK]`. A network that knows that a visible word is
# always right has no reason to form an opinion of it: its state may just hold the word. With 80/10/10 every word is
# suspect.

# %%
text = pairs[:1]
shown, chosen = corruptions.bert(text, torch.Generator().manual_seed(3))
print("was:  ", language.decode(text[0]))
print("shown:", language.decode(shown[0]))
asked = [language.VOCABULARY[w] for w in text[0, chosen[0]]]
print("asked for:", asked)


# %%
def masked_lm(encoder, ids, generator):
    shown, chosen = corruptions.bert(ids, generator)  # 15 %, then 80/10/10
    ids, shown, chosen = (x.to(device) for x in (ids, shown, chosen))
    scores = encoder.logits(encoder(shown))  # [B, T, V]
    return F.cross_entropy(scores[chosen], ids[chosen])


class Bert(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Transformer().to(device)  # 2 layers, 4 heads, width 64


def batch(generator):
    rows = torch.randint(len(train), (64,), generator=generator)
    return language.pairs(train[rows], generator)[0]


# %%
torch.manual_seed(0)
bert = Bert()
before = answers(partial(repair.fill, bert))
curve = fit(
    bert,
    lambda g: masked_lm(bert.encoder, batch(g), g),
    steps=900,
    lr=3e-3,
    seed=0,
    progress=True,
)
after = answers(partial(repair.fill, bert))
assert min(after["agreement"], after["tense"]) > 0.9 > after["polarity"] + 0.1
by_lot = math.log(len(language.VOCABULARY))
print(f"loss: {curve[0]:.2f} at first (log V is {by_lot:.2f}),")
print(f"{sum(curve[-20:]) / 20:.2f} at the end")

# %% tags=["hide-input"]
plots.table(
    [
        {"rule": "a coin", **dict.fromkeys(gaps, 0.5)},
        {"rule": "counting neighbours", **by_counting},
        {"rule": "the network, untrained", **before},
        {"rule": "the network after 900 steps", **after},
    ],
    "Right answers in gaps, one run",
    floatfmt=".0%",
)

# %% [markdown]
# That answers the puzzle for one run. Agreement and tense: nearly always right, from nothing but hidden words. The
# network looks past the nearer noun, and it looks up the tense in the sentence before. **Polarity is another matter.**
# An answer below the coin is no bad luck: whoever goes by the mood of a story and gives *not* too little weight names
# the wrong side. The record below has longer runs.
#
# ## Other questions about the same sentences
#
# **GPT** asks for the next word: $-\sum_i \log p_\theta(x_i \mid x_{<i})$, each word seeing only those before it. Every
# word is asked for, not one in seven; but no word knows what follows.
#
# **Two sentences.** BERT adds a question at `[CLS]`: does B follow A, or is B from another text (NSP)? **ALBERT** asks
# instead whether B stands before A (SOP). Swapped sentences have the same topic, so the topic cannot answer.
#
# **ELECTRA** has a small generator fill the gaps; the encoder says of *every* word whether it was replaced. With $r_i =
# 1$ if place $i$ was hidden and the generator's word differs from $x_i$, and $D_i$ the sigmoid of one score,
#
# $$\mathcal L_{\text{RTD}} = -\frac1L \sum_{i=1}^{L} r_i \log D_i + (1 - r_i) \log(1 - D_i)$$
#
# The total is the generator's own MLM loss plus $50\,\mathcal L_{\text{RTD}}$; no gradient passes through the drawn
# words.
#
# **BART** damages the text and has a decoder write it anew. The damage is a choice: hide words, **delete** them,
# replace a run by a single `[MASK]` (**infilling**), **permute** the sentences, or **rotate** the text to start
# anywhere. **T5** hides runs as well, but its decoder writes only what is missing.

# %%
g = torch.Generator().manual_seed(4)
for name in ("hide", "delete", "infill", "permute", "rotate"):
    damaged = getattr(corruptions, name)(text, g)
    damaged = damaged[0] if isinstance(damaged, tuple) else damaged
    print(f"{name:>8}: {language.decode(damaged[0])}")
short, wanted = corruptions.t5(text, g)
print(f"      t5: {language.decode(short[0])}  ->  {language.decode(wanted[0])}")

# %% [markdown]
# Train three of them: the next word, the order of two sentences, and BART's infilling. Each is asked about the gaps in
# the form it knows: GPT reads what stands before the gap, BART's decoder writes up to it. SOP says nothing about words,
# so it is asked its own question, on new pairs.


# %%
def train_one(name: str, steps: int) -> torch.nn.Module:
    module = repair.build(name, seed=0).to(device)
    curve = fit(module, repair.batch_loss(module, train), steps, lr=3e-3, seed=0)
    end = sum(curve[-20:]) / 20
    print(f"{name}: loss {curve[0]:.2f} at first, {end:.2f} at the end")
    return module


@torch.no_grad()
def knows_the_order(module) -> float:
    ids, label, _ = language.pairs(test, torch.Generator().manual_seed(1), "swapped")
    answer = module.head(module.encoder(ids.to(device))[:, 0]).argmax(dim=1)
    return float((answer.cpu() == label).float().mean())


gpt, sop = train_one("gpt", 350), train_one("sop", 450)
infilling = train_one("bart: infilling", 250)
in_order = knows_the_order(sop)
print(f"SOP: in order or swapped? right in {in_order:.0%} of {len(test):,} new pairs")

# %% tags=["hide-input"]
plots.table(
    [{"rule": "a coin", **dict.fromkeys(gaps, 0.5)}]
    + [
        {"rule": name, **answers(partial(repair.fill, module))}
        for name, module in (
            ("BERT, 900 steps", bert),
            ("GPT, 350 steps", gpt),
            ("BART infilling, 250 steps", infilling),
        )
    ],
    "Right answers in gaps, one run each",
    floatfmt=".0%",
)

# %% [markdown]
# ## Diffusion with words: one division
#
# Masked language modelling with 15 % is not trained to *write*: it has never seen a nearly empty page. **Masked
# diffusion** ([Sahoo et al., 2024](https://arxiv.org/abs/2406.07524); [Nie et al.,
# 2025](https://arxiv.org/abs/2502.09992)) hides each word with probability $t$, and draws $t$ evenly from $(0, 1]$ anew
# for every text:
#
# $$\mathcal L_{\text{diff}} = \mathbb E_{t, M}\Bigl[\frac{1}{tL} \sum_{i \in M} -\log p_\theta(x_i \mid \tilde x)\Bigr]
# \;\ge\; -\frac1L \log p_\theta(x)$$
#
# Why a bound, and why $1/t$? Integrate $t$ out. A given set of $m \ge 1$ hidden places has weight
#
# $$\int_0^1 \frac1t\, t^{m} (1 - t)^{L - m}\, dt = \frac{(m-1)!\,(L-m)!}{L!} = \frac{1}{m}\binom{L}{m}^{-1}$$
#
# which is exactly: draw an order of the $L$ words, uncover them one by one, and count each step once. For one order,
# the chain rule makes the sum $-\log p_\theta(x \mid \text{order})$. The loss is the *mean over orders* of minus the
# logarithm. With $p_\theta(x)$, the probability of writing $x$ in a random order, which is the *mean* of $p_\theta(x
# \mid \text{order})$, Jensen's inequality says which is larger. With the true conditionals all orders agree, and the
# bound is tight. Check it where everything can be listed, eight texts of three words (in nats per text, so times $L$):

# %%
torch.manual_seed(0)
texts = list(itertools.product((0, 1), repeat=3))
p = dict(zip(texts, torch.randn(8).double().softmax(0).tolist()))


def conditional(seen: dict, i: int, word: int, power: float = 1.0) -> float:
    """p(word i | what is seen), the true one; another power makes a wrong model."""
    fits = {x: q for x, q in p.items() if all(x[k] == w for k, w in seen.items())}
    mass = [sum(q for x, q in fits.items() if x[i] == w) ** power for w in (0, 1)]
    return mass[word] / sum(mass)


# %%
def diffusion_bound(x, power=1.0):
    total = 0.0
    for m in (1, 2, 3):
        for hidden in itertools.combinations(range(3), m):
            seen = {k: x[k] for k in range(3) if k not in hidden}
            nats = sum(-math.log(conditional(seen, i, x[i], power)) for i in hidden)
            total += nats / (m * math.comb(3, m))
    return total


def random_order(x, power=1.0):
    """-log of the mean over orders of the product of the chain rule."""
    orders = [
        math.prod(
            conditional({k: x[k] for k in order[:n]}, order[n], x[order[n]], power)
            for n in range(3)
        )
        for order in itertools.permutations(range(3))
    ]
    return -math.log(sum(orders) / len(orders))


# %%
for x in texts:
    assert abs(diffusion_bound(x) + math.log(p[x])) < 1e-9  # true conditionals: tight
    assert diffusion_bound(x, 0.4) >= random_order(x, 0.4) - 1e-12
slack = [diffusion_bound(x, 0.4) - random_order(x, 0.4) for x in texts]
print(f"true: exact. Wrong: above by {min(slack):.4f} to {max(slack):.4f} nats")

# %% [markdown]
# ## The run: what each question teaches
#
# | equal for all | |
# |---|---|
# | encoder | 2 layers, 4 heads, width 64, from the same initial weights |
# | data | 2,000 steps of 64 pairs of sentences of 20,000 stories |
# | learning rate | for each the best of three after 600 steps, by held-out stories; many lie at the list's edge |
# | not equal | decoders of BART and T5 and ELECTRA's generator cost extra; "equal compute" takes ELECTRA's steps away |
#
# Each answers gaps in the form it was trained in: GPT from the left, BART by its decoder, ELECTRA by how original a
# word looks; permutation and rotation meet `[MASK]` here for the first time. NSP and SOP alone say nothing about words.

# %%
record, origin = book.recorded("language")
runs = [r for r in record if r["part"] == "runs"]
arms = list(dict.fromkeys(r["arm"] for r in runs))
by_arm = {a: {r["seed"] for r in runs if r["arm"] == a} for a in arms}
seeds = sorted(set.intersection(*by_arm.values()))


def of(arm: str, *path) -> list[float] | None:
    """One value per seed; path leads into the row."""
    values = []
    for seed in seeds:
        value = next(r for r in runs if (r["arm"], r["seed"]) == (arm, seed))
        for step in path:
            if isinstance(value, dict) and step not in value:
                return None
            value = value[step]
        values.append(value)
    return values


def mean(values):
    return sum(values) / len(values)


# %% tags=["hide-input"]
def shown_as(values) -> str:
    if values is None:
        return "-"
    low, high = 100 * min(values), 100 * max(values)
    return f"{100 * mean(values):.0f} ({low:.0f} to {high:.0f})"


floors = ("neighbour counts", "untrained")
fillers = [a for a in arms if of(a, "gaps", "agreement") is not None]
plots.table(
    [{"objective": "a coin", **dict.fromkeys(gaps, "50")}]
    + [
        {"objective": a} | {kind: shown_as(of(a, "gaps", kind)) for kind in gaps}
        for a in (*floors, *(a for a in fillers if a not in floors))
    ],
    f"Right answers in gaps (%), mean and range over seeds {seeds}",
)
print(origin)

# %%
learned = {}
for kind in gaps:
    floor = max(of("neighbour counts", "gaps", kind)) + 0.05
    learned[kind] = [
        a for a in fillers if a not in floors and min(of(a, "gaps", kind)) > floor
    ]
    print(f"{kind}: above counting by five points in every seed:", end=" ")
    print(", ".join(learned[kind]) or "none")

# %% tags=["hide-input"]
assert {"mlm", "gpt", "diffusion", "mlm + nsp", "mlm + sop"} <= set(learned["tense"])
assert {"mlm", "gpt", "diffusion", "bart: permutation"} <= set(learned["agreement"])
assert sum(v > 0.9 for v in of("electra", "gaps", "agreement")) == 1
assert set(learned["polarity"]) == {"gpt", "bart: infilling"}
below = ("mlm + nsp", "diffusion", "t5", "bart: permutation", "bart: rotation")
assert max(max(of(a, "gaps", "polarity")) for a in below) < 0.5
assert min(of("mlm + sop", "gaps", "polarity")) > 0.5
assert sum(v > 0.9 for v in of("electra", "gaps", "tense")) == 1
rates = {r["arm"]: r["rate"] for r in runs if "rate" in r}
assert sum(rate != 3e-3 for rate in rates.values()) >= 5
assert max(of("t5", "gaps", "agreement")) < 0.8

# %% [markdown]
# **Agreement and tense** are learned by all that fill gaps, T5's agreement only in part, except **ELECTRA**: agreement
# in one seed of three, tense in another. More steps, or a higher rate than our list has, were not tried. (Why BART's
# permutation learns agreement although its encoder never meets a gap in training is not measured here.)
#
# **Polarity** separates them. GPT answers it in every seed, and BART's infilling too. Writing every word is not the
# reason: BART's other four do so as well and do not clear the bar. With NSP beside it BERT is below the coin in all
# three seeds, as are diffusion, T5, permutation and rotation; with SOP beside it, it is not. We do not know why.
#
# Now the same encoders frozen, a linear layer with up to 1,000 labels (fewer for polarity and subject, see below) on
# the mean over the words of the second sentence. *Polarity* counts where no word says it outright, *subject* where a
# pronoun stands. *near* and *order* read `[CLS]` and the mean: is the second sentence from the same story, and do the
# two stand in order? *Word counts* are of the second sentence (for near and order: of each), *both sentences* of the
# two together.

# %% tags=["hide-input"]
FACTORS = ("topic", "number", "polarity", "subject", "near", "order")
CHANCE = dict(zip(FACTORS, ("12", "50", "50", "12", "50", "50")))
probed = [a for a in arms if of(a, "layers") and of(a, "layers")[0]]
plots.table(
    [{"features": "chance", **CHANCE}]
    + [
        {"features": a} | {f: shown_as(of(a, "layers", -1, f)) for f in FACTORS}
        for a in probed
    ],
    "Linear probe of the last layer (%), mean and range over seeds",
)
print(origin)

# %%
simple = ("word counts", "word counts, both sentences", "untrained")
for f in FACTORS:
    best = {a: mean(of(a, "layers", -1, f)) for a in probed}
    top = max((a for a in probed if a not in simple), key=lambda a: best[a])
    floor = max(simple, key=lambda a: best[a])
    print(f"{f}: best {top} ({best[top]:.0%}); best floor {floor} ({best[floor]:.0%})")

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 3.0)
drawn = ("gpt", "mlm", "untrained", "nsp")
by_layer = {
    arm: [100 * mean(of(arm, "layers", k, "polarity")) for k in range(3)]
    for arm in drawn
}
for (arm, values), color, mark in zip(by_layer.items(), plots.COLORS, "osd^"):
    ax.plot(range(3), values, mark + "-", color=color, label=arm)
ax.set_xticks(range(3), ["words", "layer 1", "layer 2"])
ax.set(title="Polarity: some layers add it, some drop it")
ax.set(ylabel="linear probe (%), mean of seeds")
ax.legend()
assert by_layer["gpt"][2] > by_layer["gpt"][0] + 10
assert by_layer["nsp"][2] < by_layer["nsp"][0] - 10
assert max(of("sop", "layers", 2, "polarity")) < min(of("sop", "layers", 0, "polarity"))
plots.show(
    fig,
    alt="Probe of polarity after each layer. "
    + " ".join(
        f"{arm}: " + ", ".join(f"{v:.0f}" for v in values) + "."
        for arm, values in by_layer.items()
    ),
)

# %% tags=["hide-input"]
def probe(arm: str, factor: str) -> list[float]:
    return of(arm, "layers", -1, factor)


trained = [a for a in probed if a not in simple]
both = "word counts, both sentences"
assert min(probe("word counts", "number")) > 0.99
topics = max(mean(probe(a, "topic")) for a in trained)
assert topics < mean(probe("word counts", "topic"))
assert min(probe("gpt", "polarity")) > max(probe(both, "polarity")) + 0.05
who = max(max(probe(a, "subject")) for a in trained)
assert who < min(probe("untrained", "subject")) < min(probe(both, "subject")) - 0.2
assert max(probe("mlm, always [MASK]", "topic")) < min(probe("mlm", "topic"))
assert min(probe("sop", "near")) > 0.7
assert min(probe("nsp", "near")) > max(probe("mlm", "near"))
assert min(probe("sop", "order")) > 0.8 > max(probe("mlm + nsp", "order"))

# %% [markdown]
# Read the floors first. **Topic**: a count of words says it better than any encoder; **number**: as well as any.
# **Polarity** where no word says it is a verb, turned round by *not*: no sum of word counts can say that. After GPT's
# first layer a line reads it; NSP, which can nearly do without it, drops it on the way, and so does SOP. **Subject**:
# no trained encoder shows who *she* is as well as the untrained one, and a count over both sentences does far better.
# None of our gaps needs it. **Near and order**: who is asked a question answers it best; but NSP learns some order as
# well, and SOP which sentences are near. Always `[MASK]` leaves the gaps as they were within the spread, and less of
# the topic in the last layer.
#
# That a network fills a gap and that the mean of its states *shows* it to a linear layer are two things, and the two
# tables differ. What neither shows: fine-tuning, which is how these networks are used, and larger ones.
#
# ## Real English
#
# Now Python's manual ([chapter 02](02_words_from_neighbours.ipynb)), a tenth of its paragraphs held out, without near
# copies (a run of eight words in common). Each word seen five times in training is hidden once. The floors count runs
# of two or three words, from the left as GPT reads, or from both sides. *Kind*: a linear readout says whether a modal,
# a preposition, a container, ... is hidden, fitted on half of each kind's words, asked about the **other**.
# *Elsewhere*: scikit-learn's descriptions of data sets. Networks take 4,000 steps of 16 sentences. Move the `___`:

# %%
text = english.split(0)
held, near = len(text.test), text.near
print(f"{len(text.train):,} sentences, {held} held out, {near} near copies dropped")
question = text.encode("the ___ statement is used to leave a loop")
trigrams = english.Ngrams(text.train.ids, len(text.words))
at = (question == language.MASK).nonzero()[:, 1]
likely = trigrams.fill(question, at, both=True)[0].topk(5).indices
print("counts say:", *(text.words[i] for i in likely))

# %% tags=["hide-input"]
real = [r for r in record if r["part"] == "english"]
COUNTED = ("unigram", "bigram", "trigram", "two neighbours")
BOTH = ("bigram, both sides", "trigram, both sides")
real_arms = (*COUNTED, *BOTH, "bag of words", "untrained", "gpt", "mlm", "electra")


def manual(arm: str, *path) -> list[float] | None:
    """One value per seed, or None where it was not asked."""
    rows = sorted((r for r in real if r["arm"] == arm), key=lambda r: r["seed"])
    for step in path:
        rows = [r.get(step) for r in rows]
        if None in rows:
            return None
    return rows


def most_frequent(part: int) -> float:
    """The share of the commonest kind among those that are asked about."""
    cut = english.split(part)
    _, kind, asked = english.classes(cut.words, cut.test.ids)
    return float(kind[asked].bincount().max() / asked.sum())


most = [most_frequent(part) for part in range(3)]


# %% tags=["hide-input"]
def bits_as(values) -> str:
    if values is None:
        return "-"
    return f"{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


plots.table(
    [
        {
            "rule": a,
            "first guess": shown_as(manual(a, "top1")),
            "first five": shown_as(manual(a, "top5")),
            "bits per word": bits_as(manual(a, "bits")),
            "kind": shown_as(manual(a, "kinds")),
            "elsewhere, first": shown_as(manual(a, "elsewhere", "top1")),
        }
        for a in real_arms
    ]
    + [{"rule": "the most frequent kind", "kind": shown_as(most)}],
    "Hidden words of the manual (%, and bits), mean and range over three parts",
)
print(origin)
print("gaps asked of ELECTRA:", *manual("electra", "gaps"))

# %%
said = {r["arm"]: r["said"] for r in real if "said" in r}
for k, asked in enumerate(said["mlm"]):
    print(asked["shown"], "|", asked["answer"])
    for a in ("trigram, both sides", "gpt", "mlm"):
        print(f"    {a}:", ", ".join(said[a][k]["guesses"]))

# %% tags=["hide-input"]
def above(a: str, b: str, *path) -> bool:
    return all(x > y for x, y in zip(manual(a, *path), manual(b, *path), strict=True))


for a in ("gpt", "mlm"):
    assert above("trigram, both sides", a, "top1") and above(a, "unigram", "top1")
    assert above("trigram, both sides", a, "elsewhere", "top1")
    assert mean(manual("trigram, both sides", "kinds")) > mean(manual(a, "kinds"))
assert abs(mean(manual("gpt", "bits")) - mean(manual("trigram", "bits"))) < 0.1
assert above("bigram, both sides", "mlm", "top1") and above("gpt", "trigram", "kinds")
assert max(manual("electra", "top5")) < min(manual("unigram", "top5"))
assert max(manual("mlm", "bits")) - min(manual("mlm", "bits")) > 0.5
assert {setting["rate"] for setting in manual("mlm", "setting")} == {0.4}

# %% [markdown]
# **Counting wins**, *elsewhere* too; in *kind* in two parts of three. From both sides it names a third of the words at
# the first guess, GPT and the masked model a fifth. GPT is level with the trigram; in *kind* it is above it, in one
# part barely. The masked model makes less of both sides than counts of pairs do. Its parts differ widely; its rate is
# the highest that was tried. It hides 40 words in 100, better than 15 in one short run, as [Wettig et al.
# (2023)](https://arxiv.org/abs/2202.08005) found for large models. ELECTRA (few gaps, one learning rate) stays below
# the unigram: not tested. More text is not measured here.
#
# ## What goes wrong, 1: the topic answers
#
# Does NSP teach coherence? Half of its pairs are wrong ones, and tense and topic alone tell most of these, with no idea
# of order:

# %%
first_thing = language.VOCABULARY.index("boat")
word = torch.arange(len(language.VOCABULARY))
thing = (word >= first_thing) & (word < first_thing + 48)
family = torch.where(thing, (word - first_thing) // 6, -1)
tense = torch.full_like(word, -1)
for t, pair in enumerate(language.AUXILIARIES):
    tense[[language.VOCABULARY.index(w) for w in pair]] = t


def same_topic_and_tense(ids):
    things, tenses = (x[ids][x[ids] >= 0].view(len(ids), 2) for x in (family, tense))
    near = (things[:, 0] - things[:, 1] + 1) % 8 <= 2
    return (near & (tenses[:, 0] == tenses[:, 1])).long()


shortcut = {}
for name, wrong in {"NSP": "random", "SOP": "swapped"}.items():
    ids, label, _ = language.pairs(test, torch.Generator().manual_seed(0), wrong)
    shortcut[name] = float((same_topic_and_tense(ids) == label).float().mean())
    print(f"{name}: same topic and tense? is right in {shortcut[name]:.0%}")
assert shortcut["NSP"] > 0.85 and abs(shortcut["SOP"] - 0.5) < 0.03

# %% [markdown]
# **The test to reuse**: before you train on a question, answer it with the dullest rule you have. This one ignores the
# order of the sentences altogether, so it must be at chance on SOP, and is.
#
# ## What goes wrong, 2: the word in plain sight
#
# Count every word in the loss, not only the chosen ones. The loss falls beautifully: six words in seven only need
# copying.

# %%
leak = [r for r in record if r["part"] == "leak" and r["seed"] in seeds]
for row in leak:
    fair = next(r for r in runs if (r["arm"], r["seed"]) == ("mlm", row["seed"]))
    a, b = (mean(list(r["gaps"].values())) for r in (row, fair))
    print(
        f"seed {row['seed']}: loss {row['losses'][-1]:.2f} with the leak, "
        f"{fair['losses'][-1]:.2f} without; gaps {a:.0%} and {b:.0%}"
    )
    assert row["losses"][-1] < 0.25 * fair["losses"][-1]

# %% [markdown]
# The answers are no better for it: in two seeds of three fewer gaps are right, in one more. **Losses can be compared
# only where they ask for the same words.** The test: take both over the chosen words alone. And where a network may not
# look (GPT, at later words), exchange a word: if what it says changes, it looks.

# %%
ids, place, *_ = (x[:50] for x in gaps["tense"])
swapped = ids.clone()
swapped[torch.arange(50), place + 1] = language.VOCABULARY.index("boat")
print("A later word was exchanged. What they say moved by")
for name, module, looks in (("GPT", gpt, False), ("BERT", bert, True)):
    said = [repair.fill(module, x, place) for x in (ids, swapped)]
    change = float((said[0] - said[1]).abs().max())
    print(f"{change:.1e} ({name})")
    assert (change > 1e-4) == looks

# %% [markdown]
# ## Play: hide a word
#
# Three networks of the record. **Find a word that the two who see both sides know and GPT cannot, and one where GPT is
# as good. What stands after the gap in each?** (A star: the word that was there. `[SEP]` is never hidden in training:
# leave it out.)

# %%
found = {
    a: next(r["guesses"] for r in runs if r["arm"] == a and r.get("guesses"))
    for a in ("mlm", "gpt", "diffusion")
}
widgets.explore(
    partial(gap.render, found=found),
    gap.controls(),
    static=[{"sentence": 1, "place": 3}, {"sentence": 2, "place": 3}],
    captions=["after one subject", "after another"],
    alt=partial(gap.describe, found=found),
    columns=1,
)

# %% [markdown]
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · 80/10/10 (•, 5 minutes)
# `ids` and `other` are integers `[B, T]`, `chosen` is bool `[B, T]`, `kind` a float `[B, T]` from 0 to 1. A chosen word
# becomes `other` where `kind < 0.1`, stays where `0.1 <= kind < 0.2`, and becomes `mask_id` elsewhere. Return the ids
# shown.
#
# <details><summary>Hint</summary>`torch.where` inside `torch.where`, and a last one for what was not chosen.</details>


# %%
def corrupt(ids, chosen, kind, other, mask_id):
    return NOT_ATTEMPTED


ch08.check_corrupt(corrupt)

# %% [markdown]
# ### 2 · The planted bug (••, 8 minutes)
# This loss falls far below the right one, by copying. Repair it. `logits` is a float `[B, T, V]`,
# `ids` integers `[B, T]`, `chosen` bool `[B, T]`. Every chosen word of the batch weighs the same.
#
# ```python
# def loss(logits, ids, chosen):
#     return F.cross_entropy(logits.flatten(0, 1), ids.flatten())
# ```
#
# <details><summary>Hint</summary>Which words are asked about?</details>


# %%
def repaired_loss(logits, ids, chosen):
    return NOT_ATTEMPTED


ch08.check_loss(repaired_loss)

# %% [markdown]
# ### 3 · The bound (••, 8 minutes)
# `ce` is a float `[B, T]`, minus the log-probability of each word; `mask` is bool `[B, T]`, which were hidden; `t` is a
# float `[B]`. No padding, so $L$ = T. Return the masked-diffusion loss in nats per word, a scalar.
#
# <details><summary>Hint</summary>Divide by $tL$, not by how many happened to be hidden.</details>


# %%
def diffusion_loss(ce, mask, t):
    return NOT_ATTEMPTED


ch08.check_bound(diffusion_loss)

# %% [markdown]
# ### 4 · How many are missing? (••, 10 minutes)
# `ids` are integers `[T]`, `gone` is bool `[T]`. Replace every *run* of gone words by one `mask_id` and return the
# shorter ids (a tensor). Which of the three, one mask per word, one per run, none at all, tells the network most?
#
# <details><summary>Hint</summary>A run starts where a word is gone and the one before it is not.</details>


# %%
def merge(ids, gone, mask_id):
    return NOT_ATTEMPTED


ch08.check_merge(merge)

# %% [markdown]
# ### 5 · Predict, then run (•, 5 minutes on paper)
# Hide every word of the *first* sentence and ask the network of this chapter about the gaps in the second. By how many
# points does its share of right answers about **tense** change? Put a number in place of the stub *before* the run; the
# run starts only then. Within five points is near. (And agreement? Think, then print it.)
#
# <details><summary>Hint</summary>Where in the two sentences does it stand which tense is right?</details>


# %%
def without_the_first(kind: str = "tense") -> float:
    ids, place, good, bad = gaps[kind]
    first = corruptions.words(ids) & (language.segments(ids) == 0)
    blind = torch.where(first, language.MASK, ids)
    found = repair.right(repair.fill(bert, blind, place), good, bad)
    return 100 * (found - after[kind])


forecast = NOT_ATTEMPTED
ch08.judge_forecast(forecast, without_the_first, near=5)

# %% [markdown]
# ## Claims, tested
#
# ALBERT's about coherence, by a probe of the order; ELECTRA's about samples, at equal compute, by gaps. The first is
# narrow: SOP was trained on the very question of the probe, so it could at most say what NSP fails to teach, not what
# SOP is good for. ELECTRA's is judged on short runs in which it has hardly learned.

# %% tags=["hide-input"]
def gap_mean(arm: str) -> list[float]:
    return [mean(list(kinds.values())) for kinds in of(arm, "gaps")]


def order_probe(arm: str) -> list[float]:
    return of(arm, "layers", -1, "order")


# %%
book.claim(
    "C-143",
    drawn=Runs(
        order_probe("mlm + sop"),
        order_probe("mlm + nsp"),
        floor=order_probe("word counts"),
    ),
)
book.claim(
    "C-144",
    drawn=Runs(
        gap_mean("electra, equal compute"),
        gap_mean("mlm"),
        floor=gap_mean("neighbour counts"),
    ),
)
level = evidence.compare(gap_mean("electra"), gap_mean("mlm"), learns="none")
print(f"ELECTRA at equal steps minus MLM, gaps: {level}")

# %% [markdown]
# ## Where it comes from, where it went
#
# [BERT](https://arxiv.org/abs/1810.04805) (Devlin et al., 2019) brought the missing word;
# [GPT](https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf) (Radford et al.,
# 2018) the next one. [ALBERT](https://arxiv.org/abs/1909.11942) (Lan et al., 2020) exchanged NSP for SOP,
# [ELECTRA](https://arxiv.org/abs/2003.10555) (Clark et al., 2020) the missing word for the false one.
# [BART](https://arxiv.org/abs/1910.13461) (Lewis et al., 2020) compared corruptions,
# [T5](https://arxiv.org/abs/1910.10683) (Raffel et al., 2020) almost everything.
# [UL2](https://arxiv.org/abs/2205.05131) mixes denoisers; [COCO-LM](https://arxiv.org/abs/2102.08473) has ELECTRA's
# encoder correct the false words and compares sequences. [Wang et al. (2022)](https://arxiv.org/abs/2204.05832) compare
# architectures and objectives for what they do without further training.
#
# ## Two questions
#
# **1.** Somebody shows `[MASK]` for every word, with BERT's loss. What is learned?
# <details><summary>Answer</summary>How often each word stands at each place: only the lengths are in sight. In masked diffusion the same happens at t = 1, which is one draw of many.</details>
#
# **2.** Why can a masked-diffusion loss be compared with GPT's in one direction only?
# <details><summary>Answer</summary>It is an upper bound. If it is lower than GPT's nats, the diffusion model assigns the text more
# probability; if it is higher, the bound may be loose.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# forecast = ...  # your own number, before the run
#
#
# def corrupt(ids, chosen, kind, other, mask_id):
#     damaged = torch.where(kind < 0.1, other, torch.where(kind < 0.2, ids, mask_id))
#     return torch.where(chosen, damaged, ids)
#
#
# def repaired_loss(logits, ids, chosen):
#     return F.cross_entropy(logits[chosen], ids[chosen])
#
#
# def diffusion_loss(ce, mask, t):
#     return ((ce * mask).sum(1) / t).mean() / ce.shape[1]
#
#
# def merge(ids, gone, mask_id):
#     # One per word tells most: how many are missing, and where. None at all tells least.
#     before = torch.cat([gone[:1] & False, gone[:-1]])
#     first = gone & ~before
#     return torch.where(first, mask_id, ids)[~gone | first]
# ```
