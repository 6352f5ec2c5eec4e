# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · Words from neighbours: how do a word's neighbours become its meaning?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/02_words_from_neighbours.ipynb)
#
# **After this chapter you can**
#
# - train word vectors with skip-gram, CBOW and GloVe, a line or two each;
# - say what the softmax over a vocabulary costs, and what three ways around it give up: a tree of decisions,
#   noise-contrastive estimation (NCE), negative sampling (NEG);
# - derive what NEG learns, a shifted table of counts against chance, and find that table in trained vectors;
# - say which choices decide what "similar" means.
#
# **You need** the softmax, logistic regression and the singular value decomposition (SVD).
# **Time**: 26 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.
# The companion [02b](02b_directions.ipynb) asks what the *differences* between word vectors mean.

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

device = book.setup("02")

# %% [markdown]
# ## The puzzle: the missing word
#
# Nearly every Python brings a part of its manual with it, tens of thousands of words of English. Here are sentences from it. The same
# word is missing from all of them.

# %%
import math
from functools import partial
from statistics import fmean as mean

import torch
import torch.nn.functional as F

from ssl_lessons import plots, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch02
from ssl_lessons.book.widgets import analogy as window_widget
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.modalities.words import corpora, counts, exams, geometry, objectives
from ssl_lessons.modalities.words.training import fit_glove, learn

sentences = corpora.python_documentation()
manual = counts.read(sentences, min_count=5)
HIDDEN = "dictionary"
lines = [line for line in sentences if HIDDEN in line and 9 <= len(line) <= 16]
for line in lines[:: max(1, len(lines) // 6)][:6]:
    print(" ".join("_____" if word == HIDDEN else word for word in line))
print(f"\n{len(manual.tokens):,} words, {len(manual.words):,} different ones")

# %% [markdown]
# Nobody gave you a definition; the neighbours gave it away: a word that fits into the same gaps is a word of the same
# kind. This is the *distributional hypothesis* ([Harris, 1954](https://doi.org/10.1080/00437956.1954.11659520)).
#
# A machine can count company: for every word, how often each other word stands at most four places away. That is a row
# of numbers per word; compare rows by their cosine.
#
# > **Predict before you go on.** The machine looks up the six rows nearest to the row of "can". How many of the six are
# > other modal verbs ("may", "must", ...; five are on our list, and six words drawn at random would contain 0.03 of
# > them)? And how many if each count is first divided by what chance alone would give (then the logarithm, and 0
# > where that is negative)?

# %%
table = counts.cooccurrence(manual, window=4)  # n [V, V]


def against_chance(n: torch.Tensor) -> torch.Tensor:
    """log of count over expected count, 0 where that is negative: [V, V]."""
    expected = n.sum(dim=1, keepdim=True) * n.sum(dim=0, keepdim=True) / n.sum()
    return torch.where(n > 0, (n / expected).log(), 0.0).clamp(min=0)


def neighbours(vectors: torch.Tensor, word: str, n: int = 6) -> list[str]:
    i = manual.index(word)
    _, found = geometry.nearest(vectors, vectors[i], n, exclude=[i])
    return [manual.words[j] for j in found]


ratios = against_chance(table)
modals = set(corpora.DOCUMENTATION_GROUPS["modals"])
classes = exams.manual_classes(manual)

# %% tags=["hide-input"]
found = {"rows of counts": table, "rows of log(count / expected)": ratios}
rows, modal_hits, beside_hits = [], [], []
for name, vectors in found.items():
    near = neighbours(vectors, "can")
    modal_hits.append(sum(word in modals for word in near))
    beside_hits.append(
        sum(float(ratios[manual.index("can"), manual.index(w)]) > 0 for w in near)
    )
    rows.append(
        {
            "vectors": name,
            "can": ", ".join(near),
            "modals": modal_hits[-1],
            "beside": beside_hits[-1],
            "list": ", ".join(neighbours(vectors, "list", 4)),
        }
    )
plots.table(
    rows,
    'The six nearest to "can", and the four nearest to "list"',
    {
        "vectors": "vectors",
        "can": 'nearest to "can"',
        "modals": "modal verbs",
        "beside": 'stand beside "can" more often than chance',
        "list": 'nearest to "list"',
    },
)
assert modal_hits[0] >= 3 > 1 >= modal_hits[1] and beside_hits[1] > beside_hits[0]

# %% [markdown]
# Plain counts find most of the modal verbs; divided by chance, hardly one is found. In a row of counts the largest
# numbers stand under "the", "be", "a": two such rows agree when the words are *used alike*. Divided by chance, the
# rare, telling neighbours get the say, and "can" moves to words that stand *beside* it, such as "be". Neither is the
# truth about similarity.
#
# Keep the second table: what word2vec learns will be that table.
#
# ## The idea: let a word predict its neighbours
#
# The **skip-gram** model ([Mikolov et al., 2013a](https://arxiv.org/abs/1301.3781)) gives each of $V$ words two vectors
# of dimension $D$: $v_w$ for when it is in the centre, $u_w$ for when it is a neighbour. With scores $s_{wc} =
# u_c^\top v_w$ it predicts each neighbour $c$ of $w$ by
#
# $$p(c\mid w) = \frac{e^{s_{wc}}}{\sum_{j=1}^{V} e^{s_{wj}}}, \qquad L = -\frac1N\sum_{(w, c)}\log p(c\mid w),$$
#
# over all $N$ pairs at most `window` places apart. **CBOW**, the *continuous bag of words*, turns it around: the mean
# $h$ of the neighbours' vectors predicts the word in the middle. The predictions are thrown away, the vectors kept.
#
# ### The denominator, and three ways around it
#
# Each step of the softmax touches all $V$ words: hopeless with a million of them and a billion pairs.
#
# **A tree.** Put the words at the leaves of a binary tree and give each *inner node* $m$ a vector $a_m$. A word is the
# sequence of turns $\epsilon_m = \pm1$ that leads to it, and
#
# $$p(c\mid w) = \prod_{m \text{ on the way to } c} \sigma\big(\epsilon_m\, a_m^\top v_w\big), \qquad \sigma(x) = \frac1{1 + e^{-x}}.$$
#
# This **hierarchical softmax** ([Morin and Bengio, 2005](https://proceedings.mlr.press/r5/morin05a.html)) is
# normalised, exactly: at each node the two turns share what arrives, since $\sigma(x) + \sigma(-x) = 1$. The price is
# one dot product per decision. A Huffman tree, which joins the two rarest groups again and again, keeps the ways to
# frequent words short:

# %%
tree = objectives.huffman(manual.counts)  # nodes and turns, [V, longest way]
centre = torch.randn(20, generator=torch.Generator().manual_seed(0)).double()
inner = torch.randn(len(manual.words), 20, generator=torch.Generator().manual_seed(1))
turns = tree.turns * (inner.double() @ centre)[tree.nodes]  # of every way
p = torch.where(tree.turns != 0, turns.sigmoid(), 1.0).prod(dim=1)  # of every word
frequency = manual.counts / manual.counts.sum()
decisions = float((tree.turns.abs().sum(dim=1) * frequency).sum())
entropy = float(-(frequency * frequency.log2()).sum())
print(f"sum of all probabilities: {p.sum():.6f}")
print(f"decisions per word: {decisions:.2f} (entropy {entropy:.2f} bits)")
print(f"dot products of the softmax: {len(manual.words):,}")
assert abs(p.sum() - 1) < 1e-9 and entropy <= decisions < entropy + 1

# %% [markdown]
# **NCE** ([Gutmann and Hyvärinen, 2010](https://proceedings.mlr.press/v9/gutmann10a.html); for word vectors [Mnih and
# Kavukcuoglu, 2013](https://papers.nips.cc/paper/2013/hash/db2b4182156b2f1f817860ac9f409ad7-Abstract.html)) does not
# normalise. Draw $k$ noise words from a distribution $q$ and learn to tell the observed neighbour from them. **NEG**,
# negative sampling ([Mikolov et al., 2013b](https://arxiv.org/abs/1310.4546)), does the same and leaves $q$ out of the
# formula.
#
# Mix one observed neighbour of $w$ with $k$ noise words. By Bayes' rule a word $c$ of this mixture was observed with
# probability
#
# $$P(\text{observed}\mid c, w) = \frac{p(c\mid w)}{p(c\mid w) + k\,q(c)} = \sigma\big(\log p(c\mid w) - \log k\,q(c)\big).$$
#
# A flexible logistic regression finds exactly this logit. So the two losses, with noise words $r_1, \dots, r_k$,
#
# $$L_\text{NCE} = -\log\sigma\big(s_{wc} - \log k q(c)\big) - \sum_{i=1}^{k}\log\sigma\big(-s_{wr_i} + \log k q(r_i)\big), \qquad L_\text{NEG} = -\log\sigma(s_{wc}) - \sum_{i=1}^k\log\sigma(-s_{wr_i})$$
#
# have their minima at
#
# $$s^\text{NCE}_{wc} = \log p(c\mid w), \qquad\qquad s^\text{NEG}_{wc} = \log p(c\mid w) - \log k\,q(c) .$$
#
# With NCE, $e^s$ is a probability and sums to 1 without anybody having normalised it. With NEG it is a *ratio* to the
# noise. (They agree only where $k\,q(c) = 1$: uniform noise and $k = V$; [Dyer, 2014](https://arxiv.org/abs/1410.8251).)


# %%
def negative_sampling(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """positive [B]: scores of observed pairs; negative [B, k]: with k noise words."""
    return -(F.logsigmoid(positive) + F.logsigmoid(-negative).sum(dim=1)).mean()


def nce(positive, negative, log_q_positive, log_q_negative) -> torch.Tensor:
    """The same with log q of the same words: [B] and [B, k]."""
    log_k = math.log(negative.shape[1])
    return negative_sampling(
        positive - log_k - log_q_positive, negative - log_k - log_q_negative
    )


# %% tags=["hide-input"]
g = torch.Generator().manual_seed(0)
pos, neg = (
    torch.randn(50, generator=g).double(),
    torch.randn(50, 5, generator=g).double(),
)
log_q = [torch.rand(*s, generator=g).double().log() for s in ((50,), (50, 5))]
ours = negative_sampling(pos, neg), nce(pos, neg, *log_q)
package = (
    objectives.negative_sampling_loss(pos, neg),
    objectives.nce_loss(pos, neg, *log_q),
)
assert all(map(torch.allclose, ours, package))
uniform = [torch.full(s, -math.log(5)) for s in ((50,), (50, 5))]
assert torch.allclose(nce(pos, neg, *uniform), ours[0])

# %% [markdown]
# ### A language of four words, solved exactly
#
# Four words, a known $p(c\mid w)$, noise that is not uniform, and one free score per pair, so that nothing limits the
# model. All probabilities are multiples of $\frac1{12}$: a batch can hold every pair exactly as often as it should,
# each with six noise words that represent $q$ exactly.

# %%
TWELFTHS = torch.tensor([[1, 8, 2, 1], [8, 1, 1, 2], [1, 1, 2, 8], [2, 1, 6, 3]])
NOISE = torch.tensor([0, 0, 0, 1, 2, 3])  # q = (1/2, 1/6, 1/6, 1/6), k = 6
truth = TWELFTHS.double() / 12  # p(c | w)
toy_log_q = (torch.bincount(NOISE).double() / len(NOISE)).log()


def solve(loss) -> torch.Tensor:
    """The scores s [4, 4] with the least loss(of pairs, of noise, c, rows of s)."""
    w, c = TWELFTHS.nonzero(as_tuple=True)
    w, c = w.repeat_interleave(TWELFTHS[w, c]), c.repeat_interleave(TWELFTHS[w, c])
    s = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([s], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(s[w, c], s[w[:, None], NOISE], c, s[w])
        value.backward()
        return value

    optimizer.step(closure)
    return s.detach()


# %%
solved = {
    "softmax": solve(lambda pos, neg, c, row: F.cross_entropy(row, c)),
    "NCE": solve(
        lambda pos, neg, c, row: nce(
            pos, neg, toy_log_q[c], toy_log_q[NOISE].expand_as(neg)
        )
    ),
    "NEG": solve(lambda pos, neg, c, row: negative_sampling(pos, neg)),
}

# %% tags=["hide-input"]
errors = {}
for name, s in solved.items():
    sums = s.exp().sum(dim=1)
    errors[name] = {
        "sum": f"{sums.min():.3f} to {sums.max():.3f}",
        "probability": float((s.exp() - truth).abs().max()),
        "normalised": float((s.softmax(dim=1) - truth).abs().max()),
        "ratio": float((s - (truth.log() - math.log(6) - toy_log_q)).abs().max()),
    }
plots.table(
    [{"loss": name, **row} for name, row in errors.items()],
    "Three losses at their minimum, four words, known probabilities",
    {
        "loss": "loss",
        "sum": "sum of exp(s) per word",
        "probability": "error of exp(s)",
        "normalised": "error of softmax(s)",
        "ratio": "distance of s to log p - log kq",
    },
    ".1e",
)
assert errors["softmax"]["normalised"] < 1e-3 < 0.1 < errors["softmax"]["probability"]
assert errors["NCE"]["probability"] < 1e-3 < 0.1 < errors["NCE"]["ratio"]
assert errors["NEG"]["ratio"] < 1e-3 < 0.1 < errors["NEG"]["normalised"]

# %% [markdown]
# The softmax has the probabilities once you normalise; its sums mean nothing. NCE has them *without* normalising. NEG has
# them neither way: what it has exactly is the log-ratio.
#
# > **Predict.** Train skip-gram on a text with NCE, with NEG and with the softmax, and add up $e^{s}$ over the
# > vocabulary, for each word. For which will the sums lie near 1?
#
# ## A text with known answers
#
# The second text is a little language made by a program. Its nouns come in pairs (king and queen, France and Paris);
# the two words of a pair go with the same things ("crown", "throne"), and each form has words of its own ("he", "she").
# One *concept* is a pair with its things, or an occupation with its own. The exam: is a content word's nearest
# neighbour of the same concept?

# %%
text = corpora.little_language(12_000)
little = counts.read(text)
concept = exams.concepts(little)  # vectors [V, D] -> share of words
for line in text[3:7]:
    print(" ".join(line))
print(f"\n{len(little.tokens):,} words, {len(little.words)} different ones")
print(f"a neighbour drawn at random is of the same concept: {concept.chance:.1%}")

# %% [markdown]
# ### The details that made word2vec work
#
# The runs below use the first three; subsampling waits for the manual.
#
# - **Noise to the power 3/4.** $q(c) \propto \text{count}(c)^{3/4}$: between the distribution of words and the uniform.
# - **A window that varies.** Each word draws its own radius from 1 to `window`, so near neighbours count more.
# - **Two vectors per word.** At the end $v$ is kept and $u$ thrown away.
# - **Subsampling.** A word of relative frequency $f$ is kept with probability $\min(1, \sqrt{t/f})$, *before* windows
#   are cut: "the" goes, and what is left moves closer together.
#
# ## The run
#
# A batch `b` has 1,024 words `b.word`, a neighbour of each, all neighbours (`b.windows`) and five noise words
# (`b.noise`). `model.score(h, c)` is $u_c^\top h + b_c$ with a bias $b_c$ that is trained for NCE and the softmax
# (`bias=True`: probabilities need one) and 0 otherwise.


# %%
def skip_gram(model, b):
    v = model.input[b.word]
    return negative_sampling(model.score(v, b.neighbour), model.score(v, b.noise))


def cbow(model, b):
    h = model.context_mean(b.windows)
    return negative_sampling(model.score(h, b.word), model.score(h, b.noise))


def skip_gram_nce(model, b):
    v = model.input[b.word]
    scores = model.score(v, b.neighbour), model.score(v, b.noise)
    return nce(*scores, b.log_q[b.neighbour], b.log_q[b.noise])


def skip_gram_softmax(model, b):
    scores = model.input[b.word] @ model.output.T + model.bias
    return F.cross_entropy(scores, b.neighbour)


# %%
STEPS = 600
runs = {
    "NCE": learn(little, skip_gram_nce, STEPS, bias=True, watch=concept),
    "NEG": learn(little, skip_gram, STEPS, watch=concept),
    "softmax": learn(little, skip_gram_softmax, STEPS, bias=True, watch=concept),
    "CBOW": learn(little, cbow, STEPS, watch=concept),
}
vectors = {name: model.input.detach() for name, (model, _) in runs.items()}

# %% tags=["hide-input"]
fig, panels = plots.new_figure(9.6, 2.8, 1, 3)
marks = dict(zip(runs, "os^D"))
for (name, (_, seen)), color in zip(runs.items(), plots.COLORS):
    steps = [row["step"] for row in seen]
    style = {"color": color, "marker": marks[name], "markersize": 3}
    panels[0].plot(
        steps, [r["loss"] / seen[0]["loss"] for r in seen], label=name, **style
    )
    panels[1].plot(steps, [100 * row["quality"] for row in seen], **style)
    panels[2].plot(steps, [row["spread"] for row in seen], **style)
panels[1].axhline(100 * concept.chance, color=plots.GRAY, linestyle=":")
panels[0].set(title="Loss", xlabel="step", ylabel="loss / first loss")
panels[1].set(title="Quality (dotted: chance)", xlabel="step")
panels[1].set(ylabel="same concept (%)", ylim=(0, 103))
panels[2].set(title="Spread (0 = one point)", xlabel="step", ylabel="spread")
fig.legend(loc="outside lower center", ncols=4)
fig.suptitle(
    "All four learn the concepts; at first all nearly become one point, NCE longest"
)
ends = {name: seen[-1] for name, (_, seen) in runs.items()}
lowest = {name: min(r["spread"] for r in seen) for name, (_, seen) in runs.items()}
plots.show(
    fig,
    alt="Loss, quality and spread of four trainings. "
    + " ".join(
        f"{name}: quality {r['quality']:.0%}, spread {r['spread']:.2f} at the end, "
        f"lowest {lowest[name]:.2f}."
        for name, r in ends.items()
    ),
)
assert min(r["quality"] for r in ends.values()) > 0.5
first = {n: seen[0]["spread"] for n, (_, seen) in runs.items()}
assert all(lowest[n] < 0.5 * min(first[n], r["spread"]) for n, r in ends.items())
at60 = {
    n: next(r["spread"] for r in s if r["step"] == 60) for n, (_, s) in runs.items()
}
assert at60["NCE"] < 0.1 < min(v for n, v in at60.items() if n != "NCE")

# %% [markdown]
# In the first steps all vectors draw close to one point;
# after sixty steps only NCE is still there. All of them recover. A spread measured early is no verdict.


# %%
@torch.no_grad()
def log_sums(model) -> torch.Tensor:
    """log sum_c exp(s_wc) for every word: [V]."""
    return (model.input @ model.output.T + model.bias).logsumexp(dim=1)


sums = {name: log_sums(runs[name][0]) for name in ("NCE", "NEG", "softmax")}
weight = little.counts / little.counts.sum()
typical = {name: float((weight * s.abs()).sum()) for name, s in sums.items()}

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 2.8)
for (name, s), color, style in zip(sums.items(), plots.COLORS, ("-", "--", "-.")):
    share = torch.linspace(0, 100, len(s))
    ax.plot(sorted(s.tolist()), share, style, color=color, label=name)
ax.axvline(0, color=plots.GRAY, linestyle=":")
ax.set(
    title="Only NCE has normalised itself: its sums lie near 1, here near 0",
    xlabel="log of the sum over the vocabulary of exp(score)",
    ylabel="share of words below (%)",
)
ax.legend()
plots.show(
    fig,
    alt="Cumulative curves of the log-sums of exponentiated scores, a word each. Mean "
    "absolute value: " + ", ".join(f"{n} {t:.2f}" for n, t in typical.items()) + ".",
)
print({name: round(value, 2) for name, value in typical.items()}, "mean |log sum|")
assert typical["NCE"] < 0.5 and min(typical["NEG"], typical["softmax"]) > 1

# %% [markdown]
# NCE's sums lie within a small factor of 1 (mean over the words of the text), those of the other two nowhere near it.
# You need sums of 1 when you want $p(c \mid w)$. For vectors you do not.
#
# ## What negative sampling really learns: the table
#
# [Levy and Goldberg
# (2014)](https://papers.nips.cc/paper_files/paper/2014/hash/feab05aa91085b7a8012516bc3533958-Abstract.html) asked what the
# best scores would be if the vectors were long enough to give every pair its own. Let $n_{wc}$ count the pair, $n_w =
# \sum_c n_{wc}$ and $n_c = \sum_w n_{wc}$ the words, $N$ all pairs as before, and let the noise be $q(c) = n_c/N$. The expected NEG
# loss that concerns the pair is
#
# $$\ell(s_{wc}) = -n_{wc}\log\sigma(s_{wc}) - k\,n_w\,\frac{n_c}{N}\,\log\sigma(-s_{wc}).$$
#
# Set the derivative to zero, with $\frac{d}{ds}\log\sigma(s) = \sigma(-s)$:
#
# $$n_{wc}\,\sigma(-s) = k\frac{n_w n_c}{N}\,\sigma(s) \quad\Longrightarrow\quad e^{s} = \frac{\sigma(s)}{\sigma(-s)} = \frac{n_{wc} N}{k\,n_w n_c} \quad\Longrightarrow\quad \boxed{\,u_c^\top v_w = \mathrm{PMI}(w, c) - \log k\,}$$
#
# where $\mathrm{PMI}(w, c) = \log\frac{P(w, c)}{P(w)P(c)}$ is the **pointwise mutual information** ([Church and Hanks,
# 1990](https://aclanthology.org/J90-1003/)): the log-ratio to chance of the puzzle. The check, on the *expected* loss:

# %%
K = 5
n = counts.cooccurrence(little, window=5).float()
expected_noise = K * n.sum(dim=1, keepdim=True) * n.sum(dim=0) / n.sum()  # k n_w q(c)


def factorise(dim: int, steps: int = 400) -> torch.Tensor:
    """The scores u.v [V, V] of dim-dimensional vectors with the least expected loss."""
    generator = torch.Generator().manual_seed(0)
    v, u = (0.1 * torch.randn(len(n), dim, generator=generator) for _ in range(2))
    optimizer = torch.optim.Adam([v.requires_grad_(), u.requires_grad_()], lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        s = v @ u.T
        loss = -(n * F.logsigmoid(s) + expected_noise * F.logsigmoid(-s)).sum()
        (loss / n.sum()).backward()
        optimizer.step()
    return (v @ u.T).detach()


often = n >= 5  # cells with enough counts to have a PMI worth comparing
target = (counts.pmi(n).float() - math.log(K))[often]
scores = {dim: factorise(dim)[often] for dim in (2, 10, 40, len(n))}

# %% tags=["hide-input"]
fit = {
    d: float(torch.corrcoef(torch.stack([s, target]))[0, 1]) for d, s in scores.items()
}
fig, axes = plots.new_figure(9.6, 2.7, 1, 4, sharex=True, sharey=True)
for ax, (dim, s) in zip(axes, scores.items()):
    ax.plot(target[::7], s[::7], ".", markersize=2, color=plots.COLORS[0])
    ax.axline((0, 0), slope=1, color=plots.COLORS[1], linewidth=0.8)
    ax.set(title=f"{dim} dimensions, r = {fit[dim]:.2f}", xlabel="PMI - log k (nats)")
axes[0].set_ylabel("learned u·v (nats)")
fig.suptitle("With enough dimensions, negative sampling returns the shifted PMI table")
plots.show(
    fig,
    alt="Learned score against PMI minus log k. Correlation: "
    + ", ".join(f"{d} dimensions {r:.2f}" for d, r in fit.items()),
)
assert fit[len(n)] > 0.95 and fit[2] < fit[10] < min(0.97, fit[40])

# %% [markdown]
# So the famous network is a matrix factorisation: it weighs a cell by how often it turns up, as a pair or as noise (an
# SVD weighs all alike), and a pair that never occurs wants $s = -\infty$ (in the table of *positive* PMI it is 0).
#
# ### GloVe: fit the logarithm of the counts directly
#
# Let $X_{wc}$ be how often $c$ stands near $w$, a neighbour two places away counted one half, three places a third, and
# $P(c\mid w) = X_{wc}/\sum_j X_{wj}$. **GloVe** ([Pennington et al., 2014](https://aclanthology.org/D14-1162/)) starts
# from *ratios of probabilities*: $P(c\mid\textit{ice})/P(c\mid\textit{steam})$ is large for $c$ = *solid*, small for *gas*,
# and near 1 for *water*. If a difference of vectors is to encode such a ratio, dot products must be logarithms:
#
# $$v_w^\top u_c + b_w + \tilde b_c \approx \log X_{wc}, \qquad L_\text{GloVe} = \sum_{X_{wc} > 0} \min\Big(1, \frac{X_{wc}}{x_\text{max}}\Big)^{3/4}\big(v_w^\top u_c + b_w + \tilde b_c - \log X_{wc}\big)^2 .$$
#
# The biases $b, \tilde b$ can soak up how frequent the two words are; since $\log X_{wc}$ is the PMI plus a term per row and
# a term per column, what is left for the dot products is PMI again, up to such terms. At the end $v + u$ is kept.


# %%
def glove(v, u, b, b_out, X, x_max: float):
    """v, u [V, D]; b, b_out [V]; X [V, V] counts."""
    w, c = (X > 0).nonzero(as_tuple=True)
    error = (v[w] * u[c]).sum(dim=1) + b[w] + b_out[c] - X[w, c].log()
    return ((X[w, c] / x_max).clamp(max=1) ** 0.75 * error.square()).sum()


X = counts.cooccurrence(little, 5, harmonic=True).float()
fitted = fit_glove(X, steps=150, x_max=100.0)
v, u, b, b_out = fitted
bias_fit = float(torch.corrcoef(torch.stack([b + b_out, X.sum(dim=1).log()]))[0, 1])
print(f"GloVe: same concept {concept(v + u):.0%}")
print(f"its biases against log-frequency: correlation {bias_fit:.2f}")
assert torch.allclose(
    glove(*fitted, X, 100.0), objectives.glove_loss(*fitted, X), rtol=1e-4
)
assert concept(v + u) > 0.5 and bias_fit > 0.3

# %% [markdown]
# ## The complete table
#
# All methods, recorded, three seeds. A seed makes the text, too. Trained vectors and the SVD have 40 dimensions, raw
# counts and the PMI table one per word. The networks see the same number of examples ("no negatives" a quarter: it has
# long collapsed), GloVe reads the whole table of counts. *Spread* is 0 for one point, *RankMe* a soft count of
# dimensions ([chapter 20](20_collapse.ipynb)). Analogies: *king* is to *queen* as *uncle* is to ...?, explained in
# [02b](02b_directions.ipynb); the short text has 1,500 sentences.

# %%
record, origin = book.recorded("words")


def arm(exam: str, name: str, key: str, setting: float) -> list[float]:
    """One number per seed."""
    mine = [r for r in record if (r["exam"], r["arm"]) == (exam, name)]
    mine = [r for r in mine if r["setting"] == setting]
    return [r[key] for r in sorted(mine, key=lambda r: r["seed"])]


LONG, SHORT = 12_000, 1500  # sentences
FAMILIES = ("people", "places", "verbs")


def solved_analogies(name: str, exam: str = "little", setting=LONG) -> list[float]:
    families = [arm(exam, name, family, setting) for family in FAMILIES]
    return [mean(seed) for seed in zip(*families)]


# %% tags=["hide-input"]
def pm(values, form=".0%"):
    if not values:
        return ""
    return f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


chance_row = {"name": "chance", "concept": f"{concept.chance:.0%}"}
chance_row["analogies"] = f"{1 / (len(little.words) - 3):.1%}"
rows = [chance_row]
ORDER = [
    "untrained", "raw counts", "PMI table", "PMI table, SVD", "GloVe",
    "skip-gram, softmax", "skip-gram, tree", "skip-gram, NCE", "skip-gram, NEG",
    "CBOW, NEG", "no negatives",
]  # fmt: skip
for name in ORDER:
    rows.append(
        {
            "name": name,
            "concept": pm(arm("little", name, "concept", LONG)),
            "sum": pm([r for r in arm("little", name, "concept_sum", LONG)])
            if name.startswith(("skip", "CBOW", "no"))
            else "",
            "analogies": pm(solved_analogies(name)),
            "short": pm(solved_analogies(name, "short", SHORT)),
            "spread": pm(arm("little", name, "spread", LONG), ".2f"),
            "rank": f"{mean(arm('little', name, 'rank', LONG)):.0f}",
        }
    )
plots.table(
    rows,
    "The little language: means of three seeds (lowest to highest)",
    {
        "name": "vectors",
        "concept": "same concept",
        "sum": "the same with v + u",
        "analogies": "analogies",
        "short": "analogies, short text",
        "spread": "spread",
        "rank": "RankMe",
    },
)
print(origin)

# %%
concepts = {name: arm("little", name, "concept", LONG) for name in ORDER}
nets = [name for name in ORDER if name.startswith(("skip", "CBOW"))]
assert min(concepts["PMI table"]) > max(max(concepts[name]) for name in nets)
assert min(min(concepts[name]) for name in nets) > 0.5 > 5 * max(concepts["untrained"])
summed = [
    arm("little", name, "concept_sum", LONG) for name in nets if "tree" not in name
]
assert min(map(min, summed)) > 0.9 > max(concepts["skip-gram, NEG"])

# %% [markdown]
# First: **counting is enough**. The PMI table, and its SVD to 40 dimensions, beat every trained $v$. But that is a
# matter of a detail: with $v + u$, which GloVe keeps anyway, the networks close the gap. (Not the tree: its $u$ belong
# to nodes, not to words.) Analogies on the long text hardly separate the methods, since even raw counts solve them all;
# only GloVe is behind, and drops out on the short text (300 steps on the whole table, not tuned for it). The untrained
# vectors have nearly full rank: no sign of knowledge.
#
# ## What goes wrong: no negatives
#
# The last row has no noise words. Then $-\log\sigma(u_c^\top v_w)$ has an easy minimum: make every score large, with all
# vectors pointing the same way.

# %%
dead = {key: arm("little", "no negatives", key, LONG) for key in ("loss", "spread")}
print(
    "without negatives: loss",
    pm(dead["loss"], ".4f"),
    "spread",
    pm(dead["spread"], ".2f"),
)
assert max(dead["loss"]) < 0.01 and max(dead["spread"]) < 0.2
assert max(concepts["no negatives"]) < 0.5 * min(concepts["skip-gram, NEG"])
assert mean(concepts["no negatives"]) > mean(concepts["untrained"])

# %% [markdown]
# The loss is perfect, and nearly all that was to be learned is missing. This is *collapse*, the subject of [chapter
# 20](20_collapse.ipynb). Here the negatives prevent it; in the softmax the denominator does.
#
# ## Real English: one setting decides
#
# Back to the manual. We made a small answer sheet: six classes of words that should look alike (containers, modals,
# prepositions, ...). Is the nearest of these words of the same class? Every method gets the text twice: whole, and
# subsampled at $t = 0.001$.
#
# > **Predict.** What will subsampling do here?

# %% tags=["hide-input"]
NAMES = [
    "untrained", "raw counts", "PMI table", "PMI table, SVD", "GloVe",
    "skip-gram, tree", "skip-gram, NEG", "CBOW, NEG",
]  # fmt: skip
whole = {name: arm("manual", name, "class", 0.0) for name in NAMES}
thinned = {name: arm("manual", name, "class", 1e-3) for name in NAMES}
plots.table(
    [
        {
            "name": "chance",
            "whole": f"{classes.chance:.0%}",
            "thinned": f"{classes.chance:.0%}",
        }
    ]
    + [{"name": n, "whole": pm(whole[n]), "thinned": pm(thinned[n])} for n in NAMES],
    f"Python's manual, {len(classes.label)} words: is the nearest of the same class?",
    {"name": "vectors", "whole": "whole text", "thinned": "subsampled"},
)
print(origin)

# %%
best = max(mean(whole[name]) for name in NAMES)
assert mean(whole["raw counts"]) > best - 0.05
assert mean(whole["raw counts"]) > mean(whole["skip-gram, NEG"]) + 0.02
assert mean(whole["skip-gram, NEG"]) > mean(whole["PMI table"]) + 0.1
assert mean(whole["skip-gram, NEG"]) > mean(thinned["skip-gram, NEG"]) + 0.15
fallen = [name for name in NAMES[1:] if mean(whole[name]) > mean(thinned[name]) + 0.1]
print("lose more than ten points by subsampling:", "; ".join(fallen))
assert {"raw counts", "skip-gram, NEG", "CBOW, NEG", "skip-gram, tree"} <= set(fallen)

# %% [markdown]
# Nothing that was learned is clearly better than the raw counts of the whole text. The tree and CBOW come level with
# them, and PMI falls far behind, probably because it looks for what stands *beside* a word. With 46 words (2 points
# each) differences below about ten points mean little. And subsampling takes more than ten points from counts and
# networks alike: our classes ask how words are used, "the", "of" and "be" tell that best, and they are what is thrown
# out. (Most of our 46 words are themselves frequent enough to be thinned. What the authors report, better vectors for
# *less frequent* words of a very long text, is another question, and not tested here.) Nor does the table show what
# word2vec was built for: billions of words, read as a stream.
#
# ## Play: the window
#
# The widget factorises the manual's PMI table for any window and any $k$, with no training: by the boxed formula $k$
# only shifts the table by $\log k$ before the negative cells are cut off. **Set the window to 1 and look up "can":
# which words come, and what happens to them as the window grows? Then raise $k$: what share of the cells is left?** (At
# $k = 10$ the neighbours below are mostly accident.)

# %%
tables = window_widget.tables(manual, windows=8, dim=40)
words = [w for w in ("can", "list", "function", "called", "integer") if w in manual]
widgets.explore(
    partial(window_widget.render, table=tables),
    window_widget.controls(words),
    static=[{"window": x, "negatives": k} for k in (1, 10) for x in (1, 3, 8)],
    alt=partial(window_widget.describe, table=tables),
    brief=partial(window_widget.brief, table=tables),
    columns=3,
)

# %% tags=["hide-input"]
hits, left = {}, {}
for window, k in ((1, 1), (8, 1), (1, 10)):
    near, left[window, k] = window_widget.neighbours(window, k, "can", tables)
    hits[window, k] = sum(word in modals for word, _ in near)
print("modal verbs among the eight nearest, by (window, k):", hits)
print("share of cells left:", {key: f"{share:.1%}" for key, share in left.items()})
assert hits[1, 1] >= 3 and hits[8, 1] <= hits[1, 1] - 2
assert left[1, 10] < 0.7 * left[1, 1]

# %% [markdown]
# With a window of 1 the nearest to "can" are other modals even in the PMI table: the words directly before and after it
# say how it is used. A wide window finds the words that stand around it. Counts or ratios, window, threshold: each
# choice decides what "similar" means.
#
# ## Exercises
#
# Solutions stand at the end.
#
# ### 1 · What is left of the text? (•, 5 minutes)
# `counts` (float tensor `[V]`) says how often each word occurs, `t` (a float) is the threshold of subsampling. Which share
# of the *text* is kept, on average? Return one number. Before you run it, guess it for the manual at $t = 0.001$.
#
# <details><summary>Hint</summary>A word that fills 5 % of the text decides over 5 % of it.</details>


# %%
def kept_share(counts: torch.Tensor, t: float) -> float:
    return NOT_ATTEMPTED


ch02.check_kept_share(kept_share)

# %% [markdown]
# ### 2 · The optimum as word2vec really has it (••, 10 minutes)
# The boxed formula holds for noise $q(c) = n_c/N$. The program draws it in proportion to $n_c^{3/4}$. Derive the
# optimum for any power: `n` is a float tensor `[V, V]` of pair counts, all positive, `k` an int, `power` a float. Return the
# scores `[V, V]`. First predict: are the scores of rare neighbours higher or lower than with power 1?
#
# <details><summary>Hint 1</summary>Only one factor of the loss changes.</details>
# <details><summary>Hint 2</summary>$q$ must sum to 1.</details>


# %%
def optimal_scores(n: torch.Tensor, k: int, power: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch02.check_optimal_scores(optimal_scores)

# %% [markdown]
# ### 3 · Get the probabilities back (••, 8 minutes)
# Somebody hands you scores `s` `[W, V]` trained by NEG with noise `q` `[V]` (float tensors) and wants $p(c\mid w)$. Return
# `[W, V]` with rows that sum to 1, even where the training was stopped early. Why do you not need $k$?
#
# <details><summary>Hint</summary>Solve the minimum of NEG for $p(c\mid w)$; then normalise.</details>


# %%
def probabilities(s: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch02.check_probabilities(probabilities)

# %% [markdown]
# ### 4 · The price of a word (•••, 15 minutes)
# How many decisions does the hierarchical softmax take per word of the *text*, with the Huffman tree of `counts` (float
# tensor `[V]`, at least two words)? Return one number. You need no tree: every joining of two groups puts one more decision
# in front of all the words in both.
#
# <details><summary>Hint 1</summary>`heapq` gives you the two smallest of a list again and again.</details>
# <details><summary>Hint 2</summary>Add up the sizes of all joined groups.</details>


# %%
def mean_decisions(counts: torch.Tensor) -> float:
    return NOT_ATTEMPTED


ch02.check_mean_decisions(mean_decisions)

# %% [markdown]
# ## Claims, tested

# %%
small = [
    solved_analogies(name, "short", SHORT)
    for name in ("skip-gram, NEG", "PMI table, SVD", "untrained")
]
book.claim("C-131c", drawn=Runs(*small))

# %% [markdown]
# The short text, where the analogies leave room; one untuned setting, $v$ alone, unshifted positive PMI.
#
# ## Where it comes from, where it went
#
# Word vectors are older than word2vec: [Bengio et al. (2003)](https://www.jmlr.org/papers/v3/bengio03a.html) learned
# them inside a neural language model and ran into the denominator; [Bengio and Senécal
# (2008)](https://doi.org/10.1109/TNN.2007.912312) sampled it. Word2vec dropped the hidden layer and kept the tree.
#
# One vector per word cannot tell the *bank* of a river from the other one. ELMo ([Peters et al.,
# 2018](https://arxiv.org/abs/1802.05365)) and BERT ([Devlin et al., 2019](https://arxiv.org/abs/1810.04805)) compute a
# vector per word *in its sentence*. "Observed or noise" grew into InfoNCE ([chapter 13](13_from_nce_to_nt_xent.ipynb)):
# replace "neighbour" by "other view of the same picture".
#
# **Further reading.** [Levy et al. (2015)](https://aclanthology.org/Q15-1016/) compare all methods with all details
# equal.
#
# ### Quiz
#
# **1.** What does a larger $k$ do to the optimum of NEG?
#
# <details><summary>Answer</summary>It lowers every cell by the same $\log k$: no information changes, as long as the
# dimensions suffice. With few dimensions the pairs that never occur weigh more.</details>
#
# **2.** Two sets of vectors of the same text disagree about the neighbours of "can". Which one is wrong?
#
# <details><summary>Answer</summary>Perhaps neither. Ask for window, subsampling and weighting, and for the exam that your
# use of the vectors comes closest to.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def kept_share(counts, t):
#     frequency = counts / counts.sum()
#     return (frequency * (t / frequency).sqrt().clamp(max=1)).sum()
#
#
# def optimal_scores(n, k, power):
#     # q(c) takes the place of n_c / N. Rare neighbours are drawn more often as noise: their scores fall.
#     q = n.sum(dim=0) ** power
#     q = q / q.sum()
#     return (n / (k * n.sum(dim=1, keepdim=True) * q)).log()
#
#
# def probabilities(s, q):
#     # p = k q e^s; k is the same for all neighbours, so it cancels when you normalise.
#     return (s + q.log()).softmax(dim=1)
#
#
# def mean_decisions(counts):
#     import heapq
#
#     groups, total = sorted(counts.tolist()), 0.0
#     while len(groups) > 1:
#         joined = heapq.heappop(groups) + heapq.heappop(groups)
#         heapq.heappush(groups, joined)
#         total += joined
#     return total / sum(counts.tolist())
# ```
